// SPDX-License-Identifier: GPL-2.0-or-later
#include "backing.h"
#include "copyup.h"
#include "log.h"
#include <errno.h>
#include <time.h>

#define BACKING_FMODE_EXEC 0x20		/* in FUSE_OPEN's flags when execve(2) opens (kernel: include/linux/fs.h) */
#define BACKING_STATIC_MIN (128 << 10)	/* smaller files of static= paths gain nothing */
#define BACKING_MARKS 256
#define BACKING_MARK_NS 2000000000LL
#define BACKING_CUT_NS 1000000000LL

/* A registered file. */
struct backing_id {
	struct ply_list lru;		/* while no handle uses it */
	struct ply_file *owner;
	int id;
	int fd;				/* O_RDONLY, of a lower file only; an upper one is reached through the graph */
	uint16_t layer;
};

enum backing_tri { TRI_UNKNOWN, TRI_NO, TRI_YES };

/* Under pool->lock but where it says otherwise. */
struct ply_file {
	unsigned int cached, passthrough;	/* live handles, from before the open reply until RELEASE */
	struct backing_id *bid;			/* all live passthrough handles use this one */
	bool busy;				/* one thread is opening or registering it */
	bool refused;				/* registration failed for good: cached from now on */
	uint8_t is_elf, is_static;		/* enum backing_tri */
	_Atomic int64_t cut;			/* when it was last made shorter; 0: never (writeback cache only) */
	atomic_bool mappable;			/* was open O_RDWR in passthrough: a mapping may still be written */
};

/* An open was answered ESTALE: if the same thread opens the same node again without a lookup, there is no path. */
struct backing_mark {
	pid_t pid;
	uint64_t node, current;
	int64_t when;
};

struct ply_backing_pool {
	struct ply_fs *fs;
	pthread_mutex_t lock;
	pthread_cond_t idle;			/* some file is not busy any more */
	struct ply_list lru;			/* ids that no handle uses, latest first */
	struct ply_list handles;
	unsigned int ncached, max_cached;
	struct ply_backing_stats stats;
	struct backing_mark mark[BACKING_MARKS];
};

enum ply_io_mode ply_backing_decide(const struct ply_io_state *s)
{
	if (s->stale && !s->pathless)
		return PLY_IO_HANDOFF;
	if (s->cached)
		return PLY_IO_CACHED;
	if (s->passthrough) {
		if (!s->pt_stale)
			return PLY_IO_PASSTHROUGH;
		if (!s->pathless)
			return PLY_IO_HANDOFF;
		/* Only the old object can be given: a reader gets its snapshot, a writer must not have it. */
		return s->wants_write ? PLY_IO_BUSY : PLY_IO_PASSTHROUGH;
	}
	return s->eligible ? PLY_IO_PASSTHROUGH : PLY_IO_CACHED;
}

/* --- files and ids --- */

static void id_free(struct ply_fs *fs, struct backing_id *b)
{
	if (!b)
		return;
	if (b->id > 0 && fs->up.backing_close) {
		fs->up.backing_close(fs->up.arg, b->id);
		ply_count(PLY_C_backing_close, 1);
	}
	if (b->fd >= 0)
		close(b->fd);
	free(b);
}

/* Takes the id off its file. Only while no handle uses it; the caller frees it after unlocking. */
static struct backing_id *id_detach_locked(struct ply_backing_pool *p, struct ply_file *f)
{
	struct backing_id *b = f->bid;

	if (!b)
		return NULL;
	ply_list_del(&b->lru);
	p->ncached--;
	f->bid = NULL;
	return b;
}

/* The last handle is gone: keeps the id for the next open; returns one to be freed, if there are too many. */
static struct backing_id *id_idle_locked(struct ply_backing_pool *p, struct ply_file *f, bool keep)
{
	struct backing_id *b = f->bid;

	if (!b)
		return NULL;
	p->stats.live_ids--;
	ply_list_add(&p->lru, &b->lru);
	p->ncached++;
	if (!keep)
		return id_detach_locked(p, f);
	if (p->ncached > p->max_cached) {
		struct backing_id *last = ply_container_of(p->lru.prev, struct backing_id, lru);

		return id_detach_locked(p, last->owner);
	}
	return NULL;
}

static void id_use_locked(struct ply_backing_pool *p, struct ply_file *f)
{
	if (f->passthrough++ == 0) {
		if (!ply_list_empty(&f->bid->lru)) {
			ply_list_del(&f->bid->lru);
			p->ncached--;
		}
		p->stats.live_ids++;
	}
	p->stats.passthrough_handles++;
}

/* The graph frees a node. */
static void file_free(void *arg, struct ply_file *f)
{
	struct ply_fs *fs = arg;
	struct ply_backing_pool *p = fs->backing;
	struct backing_id *b;

	if (p) {
		pthread_mutex_lock(&p->lock);
		b = f->passthrough ? NULL : id_detach_locked(p, f);
		pthread_mutex_unlock(&p->lock);
		id_free(fs, b);
	}
	free(f);
}

static struct ply_file *file_of(struct ply_node *n)
{
	struct ply_file *f = atomic_load_explicit(&n->file, memory_order_acquire);

	if (!f) {
		struct ply_file *made = calloc(1, sizeof(*made));

		if (!made)
			return NULL;
		if (atomic_compare_exchange_strong(&n->file, &f, made))
			f = made;
		else
			free(made);
	}
	return f;
}

static void file_lock_idle(struct ply_backing_pool *p, struct ply_file *f)
{
	pthread_mutex_lock(&p->lock);
	while (f->busy)
		pthread_cond_wait(&p->idle, &p->lock);
}

static void file_idle_locked(struct ply_backing_pool *p, struct ply_file *f)
{
	f->busy = false;
	pthread_cond_broadcast(&p->idle);
}

int ply_backing_pool_new(struct ply_fs *fs, unsigned int max_ids)
{
	struct ply_backing_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->fs = fs;
	p->max_cached = max_ids;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->idle, NULL);
	ply_list_init(&p->lru);
	ply_list_init(&p->handles);
	fs->backing = p;
	ply_graph_set_hooks(fs->graph, file_free, NULL, fs);
	return 0;
}

void ply_backing_pool_free(struct ply_fs *fs)
{
	struct ply_backing_pool *p = fs->backing;

	if (!p)
		return;
	/* The connection is gone, and with it its ids; what was open when it went was never released. */
	memset(&fs->up, 0, sizeof(fs->up));
	while (!ply_list_empty(&p->handles))
		ply_backing_release(fs, ply_container_of(p->handles.next, struct ply_handle, link));
	while (!ply_list_empty(&p->lru)) {
		struct backing_id *b = ply_container_of(p->lru.next, struct backing_id, lru);

		id_detach_locked(p, b->owner);
		id_free(fs, b);
	}
	fs->backing = NULL;
	pthread_cond_destroy(&p->idle);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void ply_backing_stats(struct ply_fs *fs, struct ply_backing_stats *out)
{
	struct ply_backing_pool *p = fs->backing;

	pthread_mutex_lock(&p->lock);
	*out = p->stats;
	out->cached_ids = p->ncached;
	pthread_mutex_unlock(&p->lock);
}

/* --- opens without a path --- */

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static bool mark_take_locked(struct ply_backing_pool *p, const struct ply_node *n, pid_t pid)
{
	struct backing_mark *m = &p->mark[(unsigned int)pid % BACKING_MARKS];
	bool hit = m->node == n->id && m->pid == pid && now_ns() - m->when < BACKING_MARK_NS;

	if (hit)
		m->node = 0;
	return hit;
}

static void mark_set(struct ply_backing_pool *p, const struct ply_node *n, const struct ply_node *current, pid_t pid)
{
	struct backing_mark *m = &p->mark[(unsigned int)pid % BACKING_MARKS];

	pthread_mutex_lock(&p->lock);
	*m = (struct backing_mark){ .pid = pid, .node = n->id, .current = current->id, .when = now_ns() };
	pthread_mutex_unlock(&p->lock);
}

void ply_backing_looked_up(struct ply_fs *fs, struct ply_node *n, pid_t pid)
{
	struct ply_backing_pool *p = fs->backing;
	struct backing_mark *m = &p->mark[(unsigned int)pid % BACKING_MARKS];

	/* Read without the lock: only this thread's own mark matters to it, and it waits for our reply. */
	if (!fs->passthrough || !__atomic_load_n(&m->node, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&p->lock);
	if (m->pid == pid && (m->current == n->id || m->node == n->id))
		m->node = 0;
	pthread_mutex_unlock(&p->lock);
}

void ply_backing_cut(struct ply_fs *fs, struct ply_node *n)
{
	struct ply_file *f = fs->writeback && n->type == S_IFREG ? file_of(n) : NULL;

	if (f)
		f->cut = now_ns();
}

bool ply_backing_cut_lately(struct ply_fs *fs, struct ply_node *n)
{
	struct ply_file *f = fs->writeback ? atomic_load(&n->file) : NULL;

	return f && f->cut && now_ns() - f->cut < BACKING_CUT_NS;
}

/* --- policy --- */

/* Is the file below one of the static= paths? */
static bool policy_is_static(struct ply_fs *fs, struct ply_node *n)
{
	ply_autobuf rev = { 0 };	/* names from the file upwards, each with its NUL */
	struct ply_node *at = ply_node_ref(fs->graph, n);
	ply_autofree char *path = NULL;
	size_t end, len = 0;
	bool yes = false;
	char **s;

	while (at->id != PLY_ROOT_ID) {
		struct ply_node *parent;
		char name[256];
		int err = ply_name_any(fs->graph, at, &parent, name);

		ply_node_put(fs->graph, at);
		if (err)
			return false;
		at = parent;
		if (ply_buf_add(&rev, name, strlen(name) + 1)) {
			ply_node_put(fs->graph, at);
			return false;
		}
	}
	ply_node_put(fs->graph, at);
	path = malloc(rev.len + 2);
	if (!path)
		return false;
	for (end = rev.len; end > 0;) {
		size_t start = end - 1;

		while (start > 0 && rev.data[start - 1])
			start--;
		path[len++] = '/';
		memcpy(path + len, rev.data + start, end - 1 - start);
		len += end - 1 - start;
		end = start;
	}
	path[len] = '\0';
	for (s = fs->opt->static_paths; s && *s && !yes; s++) {
		size_t k = strlen(*s);

		while (k > 0 && (*s)[k - 1] == '/')
			k--;
		yes = !strncmp(path, *s, k) && (path[k] == '/' || (path[k] == '\0' && k));
	}
	return yes;
}

/* What the answer needs from the file itself, once. No lock held. */
static void policy_look(struct ply_fs *fs, struct ply_node *cur, int fd, uint8_t *is_elf, uint8_t *is_static)
{
	char magic[4];
	struct stat st;

	*is_elf = ply_sys_pread(fd, magic, 4, 0) == 4 && !memcmp(magic, "\177ELF", 4) ? TRI_YES : TRI_NO;
	*is_static = TRI_NO;
	if (*is_elf == TRI_NO && !ply_sys_stat(PLY_FD(fd), &st) && st.st_size >= BACKING_STATIC_MIN &&
	    policy_is_static(fs, cur))
		*is_static = TRI_YES;
}

/* May a fresh open of this file, whose data is in `layer`, be passthrough? TRI_UNKNOWN: policy_look() first. */
static enum backing_tri policy_locked(struct ply_fs *fs, const struct ply_file *f, uint16_t layer, int flags)
{
	if (!__atomic_load_n(&fs->passthrough, __ATOMIC_RELAXED) || f->refused ||
	    fs->opt->passthrough == PLY_PT_OFF || fs->layers.layer[layer].passthrough != PLY_PT_OK)
		return TRI_NO;
	if (layer == PLY_LAYER_UPPER || !ply_fs_writable(fs) || fs->opt->passthrough == PLY_PT_FULL)
		return TRI_YES;
	if (flags & BACKING_FMODE_EXEC)
		return TRI_YES;
	if (f->is_elf == TRI_UNKNOWN)
		return TRI_UNKNOWN;
	return f->is_elf == TRI_YES || f->is_static == TRI_YES ? TRI_YES : TRI_NO;
}

static void count_cached(struct ply_fs *fs, const struct ply_file *f, uint16_t layer, bool eligible)
{
	ply_count(PLY_C_open_cached, 1);
	if (!__atomic_load_n(&fs->passthrough, __ATOMIC_RELAXED)) {
		ply_count(fs->opt->passthrough == PLY_PT_OFF ? PLY_C_fallback_policy : PLY_C_fallback_privilege, 1);
		return;
	}
	switch (fs->layers.layer[layer].passthrough) {
	case PLY_PT_OK:
		ply_count(f->refused ? PLY_C_fallback_error : eligible ? PLY_C_fallback_live : PLY_C_fallback_policy, 1);
		break;
	case PLY_PT_TOO_DEEP:
		ply_count(PLY_C_fallback_depth, 1);
		break;
	case PLY_PT_BY_OPTION:
		ply_count(PLY_C_fallback_policy, 1);
		break;
	case PLY_PT_NO_CLONE:
	case PLY_PT_PRIVILEGE:
	case PLY_PT_KERNEL:
		ply_count(PLY_C_fallback_privilege, 1);
		break;
	}
}

/* --- opening --- */

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
 * Registers the data of c->cur, which was in `layer`, for c->f, which is busy. 0: f->bid is set, and counted for
 * one handle. -EAGAIN: the data moved meanwhile, decide again; anything else: no passthrough.
 */
static int register_file(struct open_ctx *c, uint16_t layer)
{
	struct ply_fs *fs = c->fs;
	struct backing_id *b, *old;
	int err, id;

	pthread_mutex_lock(&c->pool->lock);
	old = id_detach_locked(c->pool, c->f);
	pthread_mutex_unlock(&c->pool->lock);
	id_free(fs, old);

	err = open_readable(c);
	if (err)
		return err == -EAGAIN ? -EIO : err;
	if (c->rlayer != layer)
		return -EAGAIN;
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
	id_use_locked(c->pool, c->f);
	pthread_mutex_unlock(&c->pool->lock);
	return 0;
}

/* A failed registration: is it so for good, and what do people read about it. */
static void register_failed(struct open_ctx *c, uint16_t layer, int err)
{
	static atomic_bool said;
	bool lasting = err == -ELOOP || err == -EPERM || err == -EOPNOTSUPP || err == -EINVAL || err == -ENODEV;

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

		file_lock_idle(p, f);
		s.stale = (c->n->flags & PLY_N_STALE) != 0;
		layer = ply_handle_data_layer(fs, c->cur);
		s.cached = f->cached;
		s.passthrough = f->passthrough;
		s.pt_stale = f->passthrough && f->bid->layer != layer;
		may = no_pt ? TRI_NO : policy_locked(fs, f, layer, c->flags);
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
				policy_look(fs, c->cur, c->rfd, &elf, &is_static);
			pthread_mutex_lock(&p->lock);
			if (!err) {
				f->is_elf = elf;
				f->is_static = is_static;
			}
			file_idle_locked(p, f);
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
			f->cached++;
			p->stats.cached_handles++;
			count_cached(fs, f, layer, s.eligible);
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
			id_use_locked(p, f);
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
		file_idle_locked(p, f);
		pthread_mutex_unlock(&p->lock);
		if (!err) {
			ply_count(PLY_C_open_passthrough, 1);
			return 0;
		}
	}
}

/* Uncounts one handle; what must be closed after it is closed here. */
static void open_uncount(struct ply_fs *fs, struct ply_node *n, bool passthrough)
{
	struct ply_backing_pool *p = fs->backing;
	struct ply_file *f = n->file;
	struct backing_id *b = NULL;

	pthread_mutex_lock(&p->lock);
	if (passthrough) {
		p->stats.passthrough_handles--;
		if (--f->passthrough == 0)
			/* An id keeps its file: not that of an unlinked one, nor one that is not the data any more. */
			b = id_idle_locked(p, f, !(n->flags & (PLY_N_STALE | PLY_N_UNLINKED)) &&
					   f->bid->layer == ply_handle_data_layer(fs, n));
	} else {
		p->stats.cached_handles--;
		f->cached--;
	}
	pthread_mutex_unlock(&p->lock);
	id_free(fs, b);
}

/* Cached opens on a node that was handed off: another node's page cache holds the file too. */
static void reply_fill(struct open_ctx *c, enum ply_io_mode mode, struct ply_open_reply *out)
{
	bool stale = (c->n->flags & PLY_N_STALE) != 0;

	out->passthrough = mode == PLY_IO_PASSTHROUGH;
	out->backing_id = out->passthrough ? c->f->bid->id : 0;
	out->keep_cache = !out->passthrough && !stale;
	out->direct_io = !out->passthrough && stale;
}

/* A file is written by way of the node it had before: what the kernel keeps for the present one must not be kept. */
static void mark_changing(struct open_ctx *c)
{
	struct ply_file *f = file_of(c->cur);

	if (f)
		f->mappable = true;
	if (c->fs->up.inval_inode)
		c->fs->up.inval_inode(c->fs->up.arg, c->cur->id, -1, 0);
}

/* The mode is decided and counted: makes the handle, takes the fds. */
static int open_finish(struct open_ctx *c, enum ply_io_mode mode, bool kill_priv, struct ply_open_reply *out)
{
	struct ply_fs *fs = c->fs;
	struct ply_handle *h;
	bool was_mappable;
	int err;

	if (c->flags & O_TRUNC) {
		ply_backing_cut(fs, c->n);
		ply_creds_fsetid(!kill_priv);
		err = ply_sys_ftruncate(c->wfd, 0);
		if (err)
			return err;
	}
	if (mode == PLY_IO_CACHED && c->wfd < 0) {
		err = open_readable(c);
		if (err)
			return err;
		c->wfd = ply_take_fd(&c->rfd);
	}
	err = ply_handle_new(fs, c->n, c->wfd, c->wfd >= 0 && mode == PLY_IO_CACHED && !wants_write(c->flags) ?
			     c->rlayer : PLY_LAYER_UPPER, c->flags, &h);
	if (err)
		return err;
	c->wfd = -1;
	reply_fill(c, mode, out);
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
	pthread_mutex_lock(&c->pool->lock);
	ply_list_add(&c->pool->handles, &h->link);
	pthread_mutex_unlock(&c->pool->lock);
	out->h = h;
	return 0;
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
	pthread_rwlock_rdlock(&fs->tree);
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
	mark_set(fs->backing, n, cur.n, pid);
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
	enum ply_io_mode mode;
	int err;

	/* A copy-up without data is the cut already. */
	if (c->flags & O_TRUNC)
		ply_backing_cut(fs, c->n);
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
	err = open_decide(c, &mode);
	if (err)
		return err;
	err = open_finish(c, mode, kill_priv, out);
	if (err)
		open_uncount(fs, c->n, mode == PLY_IO_PASSTHROUGH);
	return err;
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
	c.f = file_of(n);
	if (!c.f)
		return -ENOMEM;
	if (fs->passthrough) {
		pthread_mutex_lock(&c.pool->lock);
		c.pathless = mark_take_locked(c.pool, n, pid);
		pthread_mutex_unlock(&c.pool->lock);
	}
	for (tries = 0; tries < 16; tries++) {
		ply_autonode(cur, fs, ply_node_current(fs->graph, n));

		c.cur = cur.n;
		err = open_once(&c, kill_priv, out);
		open_ctx_release(&c);
		if (err == OPEN_STALE)
			return answer_stale(fs, n, pid);
		if (err != OPEN_AGAIN)
			return err;
	}
	return -EIO;
}

int ply_backing_opened_new(struct ply_fs *fs, struct ply_node *n, int fd, int flags, struct ply_open_reply *out)
{
	struct open_ctx c = {
		.fs = fs, .pool = fs->backing, .n = n, .cur = n, .flags = flags & ~(O_TRUNC | O_DIRECT), .wfd = fd, .rfd = -1,
	};
	enum ply_io_mode mode;
	int err;

	c.f = file_of(n);
	if (!c.f)
		return -ENOMEM;
	err = open_decide(&c, &mode);
	if (!err) {
		err = open_finish(&c, mode, false, out);
		if (err)
			open_uncount(fs, n, mode == PLY_IO_PASSTHROUGH);
	}
	if (err > 0)
		err = -EIO;	/* nobody else knows it yet */
	/* On failure fd stays the caller's. */
	c.wfd = -1;
	open_ctx_release(&c);
	if (!err)
		ply_count(PLY_C_open_create, 1);
	return err;
}

void ply_backing_release(struct ply_fs *fs, struct ply_handle *h)
{
	struct ply_node *n = ply_node_ref(fs->graph, h->node);
	struct ply_backing_pool *p = fs->backing;
	bool passthrough = h->passthrough, writable = h->writable;

	pthread_mutex_lock(&p->lock);
	ply_list_del(&h->link);
	pthread_mutex_unlock(&p->lock);
	/* Our own fd first: what its close changes (blocks set aside) is then seen after the notify. */
	ply_handle_free(fs, h);
	open_uncount(fs, n, passthrough);
	if (writable && fs->up.inval_inode) {
		fs->up.inval_inode(fs->up.arg, n->id, -1, 0);
		ply_count(PLY_C_notify_inval, 1);
	}
	ply_node_put(fs->graph, n);
}

int ply_backing_check_setsize(struct ply_fs *fs, struct ply_node *n, off_t size, pid_t pid)
{
	struct ply_backing_pool *p = fs->backing;
	struct ply_file *f = n->type == S_IFREG ? atomic_load(&n->file) : NULL;
	bool handoff, pathless;
	int err;

	if (!f || !fs->passthrough)
		return 0;
	pthread_mutex_lock(&p->lock);
	pathless = mark_take_locked(p, n, pid);
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

/* Does anybody have the upper file open for writing (or mapped so)? A read lease is granted only when not. */
static bool file_has_writer(struct ply_fs *fs, struct ply_node *n)
{
	ply_autofd fd = -1;
	uint16_t layer;

	if (ply_handle_open_data(fs, n, O_RDONLY, &fd, &layer))
		return true;
	if (fcntl(fd, F_SETLEASE, F_RDLCK))
		return true;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return false;
}

bool ply_backing_attr_volatile(struct ply_fs *fs, struct ply_node *n)
{
	struct ply_backing_pool *p = fs->backing;
	struct ply_file *f;
	bool writer;

	if (n->type != S_IFREG)
		return false;
	if (n->flags & PLY_N_STALE)
		return true;
	f = atomic_load_explicit(&n->file, memory_order_acquire);
	if (!f || !f->mappable)
		return false;
	pthread_mutex_lock(&p->lock);
	if (f->busy || f->passthrough) {
		pthread_mutex_unlock(&p->lock);
		return true;
	}
	/* Opens wait meanwhile, so that none of them meets our lease. */
	f->busy = true;
	pthread_mutex_unlock(&p->lock);
	writer = file_has_writer(fs, n);
	pthread_mutex_lock(&p->lock);
	if (!writer)
		f->mappable = false;
	file_idle_locked(p, f);
	pthread_mutex_unlock(&p->lock);
	/* These attributes may have been read before the last store: the next reply can be kept. */
	return true;
}

void ply_backing_snapshot_attr(struct ply_fs *fs, struct ply_node *n, struct stat *st)
{
	struct ply_backing_pool *p = fs->backing;
	ply_autofd fd = -1;
	struct ply_file *f;
	struct stat old;

	if (n->type != S_IFREG || !(n->flags & PLY_N_STALE))
		return;
	f = atomic_load(&n->file);
	if (!f)
		return;
	pthread_mutex_lock(&p->lock);
	if (f->passthrough && f->bid->fd >= 0)
		fd = ply_sys_dup(f->bid->fd);
	pthread_mutex_unlock(&p->lock);
	if (fd < 0 || ply_sys_stat(PLY_FD(fd), &old))
		return;
	st->st_size = old.st_size;
	st->st_blocks = old.st_blocks;
	st->st_mtim = old.st_mtim;
}
