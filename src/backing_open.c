// SPDX-License-Identifier: GPL-2.0-or-later
#include "backing_file.h"
#include "copyup.h"
#include "log.h"
#include <errno.h>

struct open_ctx {
	struct ply_fs *fs;
	struct ply_backing_pool *pool;
	struct ply_node *n;		/* the node that was asked for */
	struct ply_file *f;
	struct ply_node *cur;		/* the file that is current: n, or its successor */
	int flags;
	pid_t pid;
	bool pathless;
	int wfd;			/* for writers: O_RDWR fd of the upper file */
	int rfd;			/* O_RDONLY fd that was needed on the way, of layer rlayer */
	uint16_t rlayer;
	uint16_t layer;			/* of the data, when it was decided */
	struct ply_handle *h;		/* counted, and in the pool's list, from the decision on */
};

/* Whether the layer can do O_DIRECT is known after the open; our own buffers are not aligned. */
static void drop_direct(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT);
}

static bool wants_write(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

/* The writable fd of the upper file. Opening it is also the permission check that the kernel skips for a backing file. */
static int open_writable(struct ply_fs *fs, struct ply_node *cur, int flags, int *out)
{
	int extra = flags & O_DIRECT, fd, err;
	uint16_t layer;

	err = ply_handle_open_data(fs, cur, O_RDWR | extra, &fd, &layer);
	if (err == -EACCES)
		err = ply_handle_open_data(fs, cur, O_WRONLY | extra, &fd, &layer);
	/* chattr +a */
	if (err == -EPERM && (flags & O_APPEND))
		err = ply_handle_open_data(fs, cur, O_WRONLY | O_APPEND | extra, &fd, &layer);
	if (err)
		return err;
	if (PLY_WARN_ON(layer != PLY_LAYER_UPPER)) {
		close(fd);
		return -EIO;
	}
	if (extra)
		drop_direct(fd);
	*out = fd;
	return 0;
}

static int open_readable(struct open_ctx *c)
{
	int err;

	if (c->rfd >= 0 && c->rlayer == ply_handle_data_layer(c->fs, c->cur))
		return 0;
	if (c->rfd >= 0) {
		close(c->rfd);
		c->rfd = -1;
	}
	err = ply_handle_open_data(c->fs, c->cur, O_RDONLY | (c->flags & O_DIRECT), &c->rfd, &c->rlayer);
	if (!err && (c->flags & O_DIRECT))
		drop_direct(c->rfd);
	return err;
}

/*
 * A backing file is written without CAP_FSETID: suid and sgid go, whoever writes. Root's write must leave them, so
 * a file that has them is written through the daemon.
 */
static bool drops_suid(int fd)
{
	struct stat st;

	return !ply_sys_stat(PLY_FD(fd), &st) &&
	       ((st.st_mode & S_ISUID) || (st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP));
}

/*
 * Registers the data of c->cur, which was in `layer`, for c->f, which is busy. 0: f->bid is set, and counted for
 * one handle. -EAGAIN: the data moved meanwhile, decide again; -EKEYREJECTED: not with this mode; anything else: no passthrough.
 */
static int register_file(struct open_ctx *c, uint16_t layer)
{
	struct ply_fs *fs = c->fs;
	struct backing_id *b, *old;
	int err, id;

	pthread_mutex_lock(&c->pool->lock);
	old = ply_bfile_id_detach_locked(c->pool, c->f);
	pthread_mutex_unlock(&c->pool->lock);
	ply_bfile_id_free(fs, old);

	err = open_readable(c);
	if (err)
		return err == -EAGAIN ? -EIO : err;
	if (c->rlayer != layer)
		return -EAGAIN;
	if (layer == PLY_LAYER_UPPER && drops_suid(c->rfd))
		return -EKEYREJECTED;
	b = malloc(sizeof(*b));
	if (!b)
		return -ENOMEM;
	id = fs->up.backing_open ? fs->up.backing_open(fs->up.arg, c->rfd) : -EOPNOTSUPP;
	if (id <= 0) {
		free(b);
		return id == -EAGAIN || !id ? -EIO : id;
	}
	ply_count(PLY_C_backing_open, 1);
	*b = (struct backing_id){ .owner = c->f, .id = id, .fd = -1, .layer = layer };
	ply_list_init(&b->lru);
	/* Of a lower file it is needed after a copy-up, when the graph leads to the upper one. */
	if (layer != PLY_LAYER_UPPER)
		b->fd = ply_take_fd(&c->rfd);
	pthread_mutex_lock(&c->pool->lock);
	c->f->bid = b;
	ply_bfile_id_use_locked(c->pool, c->f);
	ply_list_add(&c->pool->handles, &c->h->link);
	pthread_mutex_unlock(&c->pool->lock);
	return 0;
}

/* A failed registration: is it so for good, and what do people read about it. */
static void register_failed(struct open_ctx *c, uint16_t layer, int err)
{
	static atomic_bool said;
	bool lasting;

	if (err == -EKEYREJECTED)
		return;
	lasting = err == -ELOOP || err == -EPERM || err == -EOPNOTSUPP || err == -EINVAL || err == -ENODEV;

	if (lasting) {
		pthread_mutex_lock(&c->pool->lock);
		c->f->refused = true;
		pthread_mutex_unlock(&c->pool->lock);
	}
	if (!atomic_exchange(&said, true))
		ply_warn("a file of %s cannot be opened in passthrough (%s); it and others like it are read through the daemon",
			 c->fs->layers.layer[layer].path,
			 err == -ELOOP ? "stacked too deeply" : strerror(-err));
}

/* Results beside 0 and -errno. */
enum {
	OPEN_STALE = 1,		/* the hand-off is to be made, or was: the answer is ESTALE */
	OPEN_AGAIN = 2,		/* another thread made it meanwhile: start again with the successor */
};

/*
 * Decides and counts one handle. On success *mode is CACHED or PASSTHROUGH and the handle is counted.
 * OPEN_*, -ETXTBSY, -errno: nothing is counted.
 */
static int open_decide(struct open_ctx *c, enum ply_io_mode *mode)
{
	struct ply_fs *fs = c->fs;
	struct ply_backing_pool *p = c->pool;
	struct ply_file *f = c->f;
	bool no_pt = false;

	for (;;) {
		struct ply_io_state s = { .pathless = c->pathless, .wants_write = wants_write(c->flags) };
		enum backing_tri may;
		uint16_t layer;
		int err;

		ply_bfile_lock_idle(p, f);
		s.stale = (c->n->flags & PLY_N_STALE) != 0;
		layer = ply_handle_data_layer(fs, c->cur);
		s.cached = f->cached;
		s.passthrough = f->passthrough;
		s.pt_stale = f->passthrough && f->bid->layer != layer;
		may = no_pt ? TRI_NO : ply_bfile_may_locked(fs, f, layer, c->flags);
		s.eligible = may == TRI_YES;
		/* Handed off meanwhile: c->cur is not the file any more. */
		if (s.stale && c->cur == c->n) {
			pthread_mutex_unlock(&p->lock);
			return OPEN_AGAIN;
		}
		if (may == TRI_UNKNOWN && !s.cached && !s.passthrough && !(s.stale && !s.pathless)) {
			uint8_t elf = TRI_NO, is_static = TRI_NO;

			f->busy = true;
			pthread_mutex_unlock(&p->lock);
			err = open_readable(c);
			if (!err)
				ply_bfile_look(fs, c->cur, c->rfd, &elf, &is_static);
			pthread_mutex_lock(&p->lock);
			if (!err) {
				f->is_elf = elf;
				f->is_static = is_static;
			}
			ply_bfile_idle_locked(p, f);
			pthread_mutex_unlock(&p->lock);
			if (err)
				return err;
			continue;
		}
		*mode = ply_backing_decide(&s);
		switch (*mode) {
		case PLY_IO_HANDOFF:
			pthread_mutex_unlock(&p->lock);
			return OPEN_STALE;
		case PLY_IO_BUSY:
			pthread_mutex_unlock(&p->lock);
			return -ETXTBSY;
		case PLY_IO_CACHED:
			c->layer = layer;
			f->cached++;
			p->stats.cached_handles++;
			ply_list_add(&p->handles, &c->h->link);
			ply_bfile_count_cached(fs, f, layer, s.eligible);
			pthread_mutex_unlock(&p->lock);
			return 0;
		case PLY_IO_PASSTHROUGH:
			break;
		}
		if (PLY_WARN_ON(s.wants_write && (s.passthrough ? f->bid->layer : layer) != PLY_LAYER_UPPER)) {
			pthread_mutex_unlock(&p->lock);
			return -EIO;
		}
		if (f->bid && (s.passthrough || f->bid->layer == layer)) {
			ply_bfile_id_use_locked(p, f);
			ply_list_add(&p->handles, &c->h->link);
			pthread_mutex_unlock(&p->lock);
			ply_count(PLY_C_backing_reuse, 1);
			ply_count(PLY_C_open_passthrough, 1);
			return 0;
		}
		f->busy = true;
		pthread_mutex_unlock(&p->lock);
		err = register_file(c, layer);
		if (err && err != -EAGAIN) {
			register_failed(c, layer, err);
			no_pt = true;
		}
		pthread_mutex_lock(&p->lock);
		ply_bfile_idle_locked(p, f);
		pthread_mutex_unlock(&p->lock);
		if (!err) {
			ply_count(PLY_C_open_passthrough, 1);
			return 0;
		}
	}
}

/* Uncounts the handle; what must be closed after it is closed here. */
static void open_uncount(struct ply_fs *fs, struct ply_node *n, struct ply_handle *h, bool passthrough)
{
	struct ply_backing_pool *p = fs->backing;
	struct ply_file *f = n->file;
	struct backing_id *b = NULL;

	pthread_mutex_lock(&p->lock);
	ply_list_del(&h->link);
	if (passthrough) {
		p->stats.passthrough_handles--;
		if (--f->passthrough == 0)
			/* An id keeps its file: not that of an unlinked one, nor one that is not the data any more. */
			b = ply_bfile_id_idle_locked(p, f, !(n->flags & (PLY_N_STALE | PLY_N_UNLINKED)) &&
					   f->bid->layer == ply_handle_data_layer(fs, n));
	} else {
		p->stats.cached_handles--;
		f->cached--;
	}
	pthread_mutex_unlock(&p->lock);
	ply_bfile_id_free(fs, b);
}

/*
 * A lower file that was opened before needs no fd until the kernel asks for pages that it has dropped. In upper the file
 * could become one that may not be opened any more.
 */
static bool open_can_wait(const struct open_ctx *c)
{
	return c->cur == c->n && c->rfd < 0 && !(c->flags & O_DIRECT) && c->layer != PLY_LAYER_UPPER &&
	       c->f->readable == c->layer;
}

/* The fd of a cached handle that only reads, and its layer. */
static int open_cached(struct open_ctx *c)
{
	int err;

	if (open_can_wait(c)) {
		c->rlayer = c->layer;
		return 0;
	}
	err = open_readable(c);
	if (err)
		return err;
	if (c->cur == c->n)
		c->f->readable = c->rlayer;
	c->wfd = ply_take_fd(&c->rfd);
	return 0;
}

/*
 * Cached opens on a node that was handed off: another node's page cache holds the file too. And readahead(2) fills the
 * node's own page cache even in passthrough, where writes do not come by.
 */
static void reply_fill(struct open_ctx *c, enum ply_io_mode mode, struct ply_open_reply *out)
{
	bool stale = (c->n->flags & PLY_N_STALE) != 0;

	out->passthrough = mode == PLY_IO_PASSTHROUGH;
	out->backing_id = out->passthrough ? c->f->bid->id : 0;
	out->keep_cache = !out->passthrough && !stale && !c->f->passed;
	out->direct_io = !out->passthrough && stale;
}

/* A file is written by way of the node it had before: what the kernel keeps for the present one must not be kept. */
static void mark_changing(struct open_ctx *c)
{
	struct ply_file *f = ply_bfile_of(c->cur);

	if (f)
		f->mappable = true;
	if (c->fs->up.inval_inode)
		c->fs->up.inval_inode(c->fs->up.arg, c->cur->id, -1, 0);
}

/* The mode is decided and counted: makes the handle, takes the fds. */
static int open_finish(struct open_ctx *c, enum ply_io_mode mode, bool kill_priv, struct ply_open_reply *out)
{
	struct ply_fs *fs = c->fs;
	bool reads_cached = mode == PLY_IO_CACHED && c->wfd < 0;
	struct ply_handle *h = c->h;
	bool was_mappable, append_only;
	int err;

	append_only = c->wfd >= 0 && (c->flags & O_APPEND) && (fcntl(c->wfd, F_GETFL) & O_APPEND);
	if (c->flags & O_TRUNC) {
		ply_creds_fsetid(!kill_priv);
		err = ply_sys_ftruncate(c->wfd, 0);
		if (err)
			return err;
		ply_backing_cut(c->n, 0);
	}
	err = reads_cached ? open_cached(c) : 0;
	if (err)
		return err;
	h->fd = ply_take_fd(&c->wfd);
	h->layer = reads_cached ? c->rlayer : PLY_LAYER_UPPER;
	reply_fill(c, mode, out);
	/* Its fd can't read, and would append whole pages again when the kernel writes back: nothing of it is cached. */
	if (append_only && !out->passthrough) {
		out->keep_cache = false;
		out->direct_io = true;
	}
	if (out->passthrough) {
		h->passthrough = true;
		/* f->bid is stable while a handle is counted. */
		h->shared_fd = c->f->bid->fd;
		h->layer = c->f->bid->layer;
		h->mappable = (c->flags & O_ACCMODE) == O_RDWR;
	}
	if (h->mappable) {
		was_mappable = atomic_exchange(&c->f->mappable, true);
		/* What the kernel keeps of the attributes has no time limit; from now on replies have. */
		if (!was_mappable && fs->up.inval_inode)
			fs->up.inval_inode(fs->up.arg, c->n->id, -1, 0);
	}
	if (h->writable && c->cur != c->n)
		mark_changing(c);
	out->h = h;
	return 0;
}

/* Decides, counts and makes the handle. */
static int open_counted(struct open_ctx *c, bool kill_priv, struct ply_open_reply *out)
{
	struct ply_fs *fs = c->fs;
	enum ply_io_mode mode;
	int err = ply_handle_new(fs, c->n, -1, PLY_LAYER_UPPER, c->flags, &c->h);

	if (err)
		return err;
	err = open_decide(c, &mode);
	if (!err) {
		err = open_finish(c, mode, kill_priv, out);
		if (!err)
			return 0;
		open_uncount(fs, c->n, c->h, mode == PLY_IO_PASSTHROUGH);
	}
	ply_handle_free(fs, c->h);
	return err;
}

/* Names that the kernel still has for the old node lead to the new one at their next use. */
static void expire_names(struct ply_fs *fs, struct ply_node *next)
{
	struct ply_node *parent;
	char name[256];
	unsigned int i;

	for (i = 0; fs->up.inval_entry && !ply_name_at(fs->graph, next, i, &parent, name); i++) {
		fs->up.inval_entry(fs->up.arg, parent->id, name);
		ply_node_put(fs->graph, parent);
	}
}

/* The data went to another object under live passthrough handles: the file gets a new node. */
static int hand_off(struct ply_fs *fs, struct ply_node *n)
{
	struct ply_node *next;
	int err;

	if (n->flags & (PLY_N_STALE | PLY_N_UNLINKED))
		return 0;
	err = ply_node_copyup_lock(fs->graph, n);
	if (err)
		return err;
	/* Whoever found n by a name goes on as if the name still led there: none may be on its way. */
	pthread_rwlock_wrlock(&fs->tree);
	err = ply_node_handoff(fs->graph, n, &next);
	pthread_rwlock_unlock(&fs->tree);
	ply_node_copyup_unlock(fs->graph, n);
	if (err)
		return err;
	ply_count(PLY_C_handoffs, 1);
	expire_names(fs, next);
	ply_node_put(fs->graph, next);
	return 0;
}

/* Makes the hand-off where it is still to be made, remembers who was told, and gives the error for the reply. */
static int answer_stale(struct ply_fs *fs, struct ply_node *n, pid_t pid)
{
	int err = hand_off(fs, n);

	if (err && err != -ESTALE)
		return err;
	ply_autonode(cur, fs, ply_node_current(fs->graph, n));
	ply_bfile_mark_set(fs->backing, n, cur.n, pid);
	/* Old handles' attributes are those of their file now (ply_backing_snapshot_attr). */
	if (fs->up.inval_inode)
		fs->up.inval_inode(fs->up.arg, n->id, -1, 0);
	return -ESTALE;
}

static int copyup_for_write(struct ply_fs *fs, struct ply_node *cur, bool trunc)
{
	if (!ply_fs_writable(fs))
		return -EROFS;
	return ply_copyup(fs, cur, trunc ? PLY_COPYUP_TRUNC : PLY_COPYUP_DATA);
}

static int open_once(struct open_ctx *c, bool kill_priv, struct ply_open_reply *out)
{
	struct ply_fs *fs = c->fs;
	int err;

	/* A copy-up without data is the cut already. */
	if (c->flags & O_TRUNC)
		ply_backing_cut(c->n, 0);
	if (wants_write(c->flags)) {
		err = copyup_for_write(fs, c->cur, (c->flags & O_TRUNC) != 0);
		if (!err)
			err = open_writable(fs, c->cur, c->flags, &c->wfd);
		if (err)
			return err == -ESTALE && (c->cur->flags & PLY_N_STALE) ? OPEN_AGAIN : err;
	} else if (c->flags & O_DIRECT) {
		/* The kernel gives the flag to the backing file: what its filesystem says to it is the answer. */
		err = open_readable(c);
		if (err)
			return err;
	}
	return open_counted(c, kill_priv, out);
}

static void open_ctx_release(struct open_ctx *c)
{
	if (c->wfd >= 0)
		close(c->wfd);
	if (c->rfd >= 0)
		close(c->rfd);
	c->wfd = c->rfd = -1;
}

int ply_backing_open(struct ply_fs *fs, struct ply_node *n, int flags, bool kill_priv, pid_t pid, struct ply_open_reply *out)
{
	struct open_ctx c = { .fs = fs, .pool = fs->backing, .n = n, .flags = flags, .pid = pid, .wfd = -1, .rfd = -1 };
	int err, tries;

	if (n->type != S_IFREG)
		return n->type == S_IFDIR ? -EISDIR : -ENXIO;
	c.f = ply_bfile_of(n);
	if (!c.f)
		return -ENOMEM;
	c.pathless = fs->passthrough && ply_bfile_mark_take(c.pool, n, pid);
	for (tries = 0; tries < 16; tries++) {
		/* One that is handed off from here on is found out at the decision. */
		ply_autonode(next, fs, n->flags & PLY_N_STALE ? ply_node_current(fs->graph, n) : NULL);

		c.cur = next.n ? next.n : n;
		err = open_once(&c, kill_priv, out);
		open_ctx_release(&c);
		if (err == OPEN_STALE)
			return answer_stale(fs, n, pid);
		if (err == OPEN_AGAIN)
			continue;
		/* It may have been cut nevertheless: of a call that failed the kernel expects no change. */
		if (err && (flags & O_TRUNC) && fs->up.inval_inode)
			fs->up.inval_inode(fs->up.arg, n->id, -1, 0);
		return err;
	}
	return -EIO;
}

int ply_backing_opened_new(struct ply_fs *fs, struct ply_node *n, int fd, int flags, struct ply_open_reply *out)
{
	struct open_ctx c = {
		.fs = fs, .pool = fs->backing, .n = n, .cur = n, .flags = flags & ~(O_TRUNC | O_DIRECT), .wfd = fd, .rfd = -1,
	};
	int err;

	c.f = ply_bfile_of(n);
	if (!c.f)
		return -ENOMEM;
	err = open_counted(&c, false, out);
	if (err > 0)
		err = -EIO;	/* nobody else knows it yet */
	/* On failure fd stays the caller's: nothing can fail once the handle has it. */
	c.wfd = -1;
	open_ctx_release(&c);
	if (!err)
		ply_count(PLY_C_open_create, 1);
	return err;
}

void ply_backing_release(struct ply_fs *fs, struct ply_handle *h)
{
	struct ply_node *n = h->node;
	bool writable = h->writable;

	/* Our own fd first: what its close changes (blocks set aside) is then seen after the notify. */
	ply_handle_close(h);
	open_uncount(fs, n, h, h->passthrough);
	/* With the writeback cache the kernel does so by itself, and an inode that it writes back would have to be waited for. */
	if (writable && fs->up.inval_inode && !fs->writeback) {
		fs->up.inval_inode(fs->up.arg, n->id, -1, 0);
		ply_count(PLY_C_notify_inval, 1);
	}
	ply_handle_free(fs, h);
}

int ply_backing_check_setsize(struct ply_fs *fs, struct ply_node *n, off_t size, pid_t pid)
{
	struct ply_backing_pool *p = fs->backing;
	struct ply_file *f = n->type == S_IFREG ? atomic_load(&n->file) : NULL;
	bool handoff, pathless;
	int err;

	if (!f || !fs->passthrough)
		return 0;
	pathless = ply_bfile_mark_take(p, n, pid);
	pthread_mutex_lock(&p->lock);
	handoff = f->passthrough && f->bid->layer != PLY_LAYER_UPPER;
	pthread_mutex_unlock(&p->lock);
	if (pathless || (!handoff && !(n->flags & PLY_N_STALE)))
		return 0;
	if (!(n->flags & PLY_N_STALE)) {
		err = copyup_for_write(fs, n, size == 0);
		if (err && err != -ESTALE)
			return err;
	}
	return answer_stale(fs, n, pid);
}
