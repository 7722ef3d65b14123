// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_direct.h"
#include "ahead.h"
#include "attr.h"
#include "fuse_uring.h"
#include "io.h"
#include "listers.h"
#include "log.h"
#include "lookup.h"
#include "plyfs-fuse.h"
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DIRECT_READ (64 << 10)		/* larger ones are cheaper by way of a pipe, without a copy */

/* One request. What it says is not read after its answer: over io_uring the next one may be there. */
struct direct {
	struct ply_fuse *f;
	struct ply_fs *fs;
	uint64_t unique, nodeid;
	pid_t pid;
	const void *arg;		/* what follows the header */
};

/* In one piece, and in one page. */
struct answer {
	_Alignas(256) struct fuse_out_header head;
	union {
		struct fuse_entry_out entry;
		struct fuse_attr_out attr;
		struct fuse_open_out open;
		char data[1];		/* of a READ, and more */
	};
};

/* What a READ found. Not the memory itself: each thread that is made would be given it, all zeros. */
static _Thread_local struct answer *direct_room;

/* --- answers --- */

/* -ENOENT: nobody waits for it any more. */
static int direct_send(const struct direct *d, struct answer *a, int error, size_t len)
{
	len += sizeof(a->head);
	a->head = (struct fuse_out_header){ .len = (uint32_t)len, .error = error, .unique = d->unique };
	if (ply_uring_answer(&a->head, len))
		return 0;
	/* Not write(): it would be a place where this thread can be cancelled, which costs as much again. */
	if (syscall(SYS_write, d->f->fd, &a->head, len) >= 0)
		return 0;
	PLY_WARN_ON(errno == EINVAL);
	return -errno;
}

static void direct_err(const struct direct *d, int err)
{
	struct answer a;

	direct_send(d, &a, -ply_reply_errno(err), 0);
}

static void attr_fill(struct fuse_attr *a, const struct stat *st)
{
	*a = (struct fuse_attr){
		.ino = st->st_ino, .size = (uint64_t)st->st_size, .blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec, .atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtime = (uint64_t)st->st_mtim.tv_sec, .mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctime = (uint64_t)st->st_ctim.tv_sec, .ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode, .nlink = (uint32_t)st->st_nlink, .uid = st->st_uid, .gid = st->st_gid,
		.rdev = (uint32_t)st->st_rdev, .blksize = (uint32_t)st->st_blksize,
	};
}

static void direct_entry(const struct direct *d, struct ply_node *n, const struct stat *st)
{
	const struct ply_fuse *f = d->f;
	bool keep = !ply_backing_attr_volatile(d->fs, n);
	uint64_t id = n->id;
	struct answer a;

	a.entry = (struct fuse_entry_out){
		.nodeid = id, .entry_valid = f->valid, .entry_valid_nsec = f->valid_nsec,
		.attr_valid = keep ? f->valid : 0, .attr_valid_nsec = keep ? f->valid_nsec : 0,
	};
	attr_fill(&a.entry.attr, st);
	ply_node_lookup_inc(d->fs->graph, n);
	if (direct_send(d, &a, 0, sizeof(a.entry)) == -ENOENT)
		ply_node_forget(d->fs->graph, id, 1);
}

/* --- requests --- */

static void direct_lookup(const struct direct *d)
{
	const char *name = d->arg;
	struct ply_node *n;
	struct answer a;
	struct stat st;
	int err;

	ply_autonode(dir, d->fs, ply_node_get(d->fs->graph, d->nodeid));
	/* The kernel passes names of up to 1,024 bytes. */
	err = strlen(name) > 255 ? -ENAMETOOLONG : !dir.n ? -ESTALE : dir.n->type != S_IFDIR ? -ENOTDIR : 0;
	if (!err)
		err = ply_lookup(d->fs, dir.n, name, &n, &st);
	if (err == -ENOENT) {
		a.entry = (struct fuse_entry_out){ .entry_valid = d->f->valid, .entry_valid_nsec = d->f->valid_nsec };
		direct_send(d, &a, 0, sizeof(a.entry));
		return;
	}
	if (err) {
		direct_err(d, err);
		return;
	}
	ply_autonode(ref, d->fs, n);
	err = ply_attr_show(d->fs, n, &st);
	if (err) {
		direct_err(d, err);
		return;
	}
	ply_backing_looked_up(d->fs, n, d->pid);
	if (n->type != S_IFDIR)
		ply_listers_looked_up(dir.n, name);
	direct_entry(d, n, &st);
}

static void direct_getattr(const struct direct *d)
{
	const struct fuse_getattr_in *in = d->arg;
	struct ply_handle *h = in->getattr_flags & FUSE_GETATTR_FH ? ply_reply_handle(in->fh) : NULL;
	struct answer a;
	struct stat st;
	bool keep;
	int err;

	ply_autonode(raw, d->fs, ply_node_get(d->fs->graph, d->nodeid));
	err = raw.n ? ply_attr_get(d->fs, raw.n, h, &st) : -ESTALE;
	if (err) {
		direct_err(d, err);
		return;
	}
	ply_backing_snapshot_attr(d->fs, raw.n, &st);
	keep = !ply_backing_attr_volatile(d->fs, raw.n);
	a.attr = (struct fuse_attr_out){
		.attr_valid = keep ? d->f->valid : 0, .attr_valid_nsec = keep ? d->f->valid_nsec : 0,
	};
	attr_fill(&a.attr.attr, &st);
	direct_send(d, &a, 0, sizeof(a.attr));
}

static void direct_open(const struct direct *d)
{
	const struct fuse_open_in *in = d->arg;
	bool kill = d->fs->killpriv_v2 && (in->open_flags & FUSE_OPEN_KILL_SUIDGID);
	bool reads = (in->flags & O_ACCMODE) == O_RDONLY;
	struct ply_open_reply o;
	struct answer a;
	int err;

	ply_autonode(n, d->fs, ply_node_get(d->fs->graph, d->nodeid));
	err = n.n ? ply_backing_open(d->fs, n.n, (int)in->flags, kill, d->pid, &o) : -ESTALE;
	if (err) {
		direct_err(d, err);
		return;
	}
	a.open = (struct fuse_open_out){ .fh = ply_reply_fh(&o), .open_flags = ply_reply_open_flags(&o) };
	if (o.passthrough)
		plyfs_fuse_set_backing_id(&a.open, o.backing_id);
	/* The caller was interrupted: no RELEASE will come. */
	if (direct_send(d, &a, 0, sizeof(a.open)) == -ENOENT)
		ply_backing_release(d->fs, o.h);
	else if (reads)
		ply_ahead_opened(d->fs, n.n, d->pid);
}

static void direct_release(const struct direct *d)
{
	const struct fuse_release_in *in = d->arg;

	ply_backing_release(d->fs, ply_reply_handle(in->fh));
	direct_err(d, 0);
}

static void direct_read(const struct direct *d)
{
	const struct fuse_read_in *in = d->arg;
	struct ply_handle *h = ply_reply_handle(in->fh);
	ssize_t n = -ENOMEM;

	if (!direct_room)
		direct_room = aligned_alloc(4096, 4096 + DIRECT_READ);
	if (direct_room)
		n = ply_io_read(d->fs, h, direct_room->data, in->size, (off_t)in->offset);
	if (n < 0) {
		direct_err(d, (int)n);
		return;
	}
	if ((size_t)n < in->size)
		ply_reply_read_wait(h->node, (off_t)in->offset, n);
	direct_send(d, direct_room, 0, (size_t)n);
}

/* Nobody waits for an answer, and there is none. */
static void direct_forget(const struct direct *d)
{
	const struct fuse_forget_in *in = d->arg;

	ply_node_forget(d->fs->graph, d->nodeid, in->nlookup);
}

/* --- the whole --- */

void ply_direct_thread_end(void)
{
	free(direct_room);
	direct_room = NULL;
}

static bool direct_takes_read(const struct fuse_in_header *in)
{
	const struct fuse_read_in *read = (const void *)(in + 1);

	/* Over io_uring it is read to where it shall be. */
	return read->size <= DIRECT_READ && !ply_uring_payload(read->size);
}

/* With allow_root nobody but root and who mounted. The kernel lets everybody in, and what is open may be closed. */
static bool direct_may(const struct ply_fuse *f, const struct fuse_in_header *in)
{
	return !f->allow_root || in->opcode == FUSE_RELEASE || in->opcode == FUSE_READ || in->uid == 0 || in->uid == f->owner;
}

bool ply_direct_serve(struct ply_fuse *f, const struct fuse_in_header *in, size_t size)
{
	static const struct {
		void (*serve)(const struct direct *d);
		size_t least;			/* bytes that follow the header */
	} ops[] = {
		[FUSE_LOOKUP] = { direct_lookup, 2 },
		[FUSE_FORGET] = { direct_forget, sizeof(struct fuse_forget_in) },
		[FUSE_GETATTR] = { direct_getattr, sizeof(struct fuse_getattr_in) },
		[FUSE_OPEN] = { direct_open, sizeof(struct fuse_open_in) },
		[FUSE_READ] = { direct_read, sizeof(struct fuse_read_in) },
		[FUSE_RELEASE] = { direct_release, sizeof(struct fuse_release_in) },
	};
	const struct direct d = {
		.f = f, .fs = f->fs, .unique = in->unique, .nodeid = in->nodeid, .pid = (pid_t)in->pid, .arg = in + 1,
	};

	if (in->opcode >= PLY_ARRAY_SIZE(ops) || !ops[in->opcode].serve || size < sizeof(*in) + ops[in->opcode].least)
		return false;
	if (in->opcode == FUSE_READ && !direct_takes_read(in))
		return false;
	if (f->debug)
		ply_debug("unique %llu, opcode %u, node %llu, process %u", (unsigned long long)in->unique, in->opcode,
			  (unsigned long long)in->nodeid, in->pid);
	if (in->opcode == FUSE_FORGET || direct_may(f, in))
		ops[in->opcode].serve(&d);
	else
		direct_err(&d, -EACCES);
	return true;
}
