// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_reply.h"
#include "plyfs-fuse.h"
#include <errno.h>
#include <time.h>

_Thread_local const struct fuse_in_header *ply_fuse_request;

int ply_reply_errno(int err)
{
	/* What goes beyond the kernel's range would be a broken reply, and no errno of a layer is there. */
	return err < 0 && err > -512 ? -err : err ? EIO : 0;
}

void ply_reply_err(fuse_req_t req, int err)
{
	fuse_reply_err(req, ply_reply_errno(err));
}

static double attr_timeout(const struct ply_fuse *f, struct ply_node *n)
{
	return ply_backing_attr_volatile(f->fs, n) ? 0 : f->timeout;
}

static void entry_fill(struct ply_fuse *f, struct ply_node *n, const struct stat *st, struct fuse_entry_param *e)
{
	*e = (struct fuse_entry_param){
		.ino = n->id,
		.attr = *st,
		.attr_timeout = attr_timeout(f, n),
		.entry_timeout = f->timeout,
	};
}

void ply_reply_entry(fuse_req_t req, struct ply_node *n, const struct stat *st)
{
	struct ply_fuse *f = ply_reply_fuse(req);
	struct fuse_entry_param e;

	entry_fill(f, n, st, &e);
	ply_node_lookup_inc(f->fs->graph, n);
	if (fuse_reply_entry(req, &e) == -ENOENT)
		ply_node_forget(f->fs->graph, e.ino, 1);
}

void ply_reply_attr(fuse_req_t req, struct ply_node *n, const struct stat *st)
{
	fuse_reply_attr(req, st, attr_timeout(ply_reply_fuse(req), n));
}

uint32_t ply_reply_open_flags(const struct ply_open_reply *o)
{
	uint32_t flags = o->passthrough ? FOPEN_PASSTHROUGH : 0;

	if (o->keep_cache)
		flags |= FOPEN_KEEP_CACHE;
	if (o->direct_io)
		flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
	/* There is no FLUSH; at a close the kernel would still look for pages to write back, of which these handles make none. */
	if (o->passthrough || !o->h->writable)
		flags |= FOPEN_NOFLUSH;
	return flags;
}

static void open_fill(const struct ply_open_reply *o, struct fuse_file_info *fi)
{
	uint32_t flags = ply_reply_open_flags(o);

	*fi = (struct fuse_file_info){
		.fh = ply_reply_fh(o), .flags = o->h->flags, .backing_id = o->passthrough ? o->backing_id : 0,
		.keep_cache = (flags & FOPEN_KEEP_CACHE) != 0, .direct_io = (flags & FOPEN_DIRECT_IO) != 0,
		.parallel_direct_writes = (flags & FOPEN_PARALLEL_DIRECT_WRITES) != 0,
		.noflush = (flags & FOPEN_NOFLUSH) != 0,
	};
}

void ply_reply_create(fuse_req_t req, struct ply_node *n, const struct stat *st, const struct ply_open_reply *o)
{
	struct ply_fuse *f = ply_reply_fuse(req);
	struct fuse_entry_param e;
	struct fuse_file_info fi;

	entry_fill(f, n, st, &e);
	open_fill(o, &fi);
	ply_node_lookup_inc(f->fs->graph, n);
	if (fuse_reply_create(req, &e, &fi) == -ENOENT) {
		ply_backing_release(f->fs, o->h);
		ply_node_forget(f->fs->graph, e.ino, 1);
	}
}

void ply_reply_read_wait(struct ply_node *n, off_t off, off_t got)
{
	int64_t ns = ply_backing_cut_wait(n, off, got);
	struct timespec t = { .tv_nsec = ns };

	if (ns)
		nanosleep(&t, NULL);
}

int ply_reply_dir_begin(struct ply_reply_dir *d, fuse_req_t req, size_t size, bool plus)
{
	*d = (struct ply_reply_dir){ .req = req, .plus = plus, .size = size };
	d->buf = malloc(size ? size : 1);
	return d->buf ? 0 : -ENOMEM;
}

int ply_reply_dir_add(struct ply_reply_dir *d, const char *name, uint64_t off, uint64_t ino, uint8_t type,
		      struct ply_node *n, const struct stat *st)
{
	struct ply_fuse *f = ply_reply_fuse(d->req);
	size_t left = d->size - d->used, need;

	if (!d->plus) {
		struct stat brief = { .st_ino = ino, .st_mode = (mode_t)type << 12 };

		need = fuse_add_direntry(d->req, d->buf + d->used, left, name, &brief, (off_t)off);
	} else {
		struct fuse_entry_param e = { .attr = { .st_ino = ino, .st_mode = (mode_t)type << 12 } };

		if (n && ply_buf_reserve(&d->told, sizeof(n->id)))
			n = NULL;
		if (n)
			entry_fill(f, n, st, &e);
		need = fuse_add_direntry_plus(d->req, d->buf + d->used, left, name, &e, (off_t)off);
	}
	if (need > left)
		return 1;
	d->used += need;
	if (d->plus && n) {
		ply_node_lookup_inc(f->fs->graph, n);
		ply_buf_add(&d->told, &n->id, sizeof(n->id));
	}
	return 0;
}

void ply_reply_dir_end(struct ply_reply_dir *d, int err)
{
	struct ply_graph *g = ply_reply_fuse(d->req)->fs->graph;
	uint64_t id;
	size_t i;

	if (err)
		ply_reply_err(d->req, err);
	if (err || fuse_reply_buf(d->req, d->buf, d->used) == -ENOENT)
		for (i = 0; i < d->told.len; i += sizeof(id)) {
			memcpy(&id, d->told.data + i, sizeof(id));
			ply_node_forget(g, id, 1);
		}
	free(d->buf);
	ply_buf_free(&d->told);
}
