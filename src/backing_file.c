// SPDX-License-Identifier: GPL-2.0-or-later
#include "backing_file.h"
#include <errno.h>
#include <time.h>

#define BACKING_MARK_NS 2000000000LL
#define BACKING_CUT_NS 100000000LL	/* for the kernel to run a thread that it has woken */

/* --- files and ids --- */

void ply_bfile_id_free(struct ply_fs *fs, struct backing_id *b)
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

struct backing_id *ply_bfile_id_detach_locked(struct ply_backing_pool *p, struct ply_file *f)
{
	struct backing_id *b = f->bid;

	if (!b)
		return NULL;
	ply_list_del(&b->lru);
	p->ncached--;
	f->bid = NULL;
	return b;
}

struct backing_id *ply_bfile_id_idle_locked(struct ply_backing_pool *p, struct ply_file *f, bool keep)
{
	struct backing_id *b = f->bid;

	if (!b)
		return NULL;
	p->stats.live_ids--;
	ply_list_add(&p->lru, &b->lru);
	p->ncached++;
	if (!keep)
		return ply_bfile_id_detach_locked(p, f);
	if (p->ncached > p->max_cached) {
		struct backing_id *last = ply_container_of(p->lru.prev, struct backing_id, lru);

		return ply_bfile_id_detach_locked(p, last->owner);
	}
	return NULL;
}

void ply_bfile_id_use_locked(struct ply_backing_pool *p, struct ply_file *f)
{
	if (f->passthrough++ == 0) {
		if (!ply_list_empty(&f->bid->lru)) {
			ply_list_del(&f->bid->lru);
			p->ncached--;
		}
		p->stats.live_ids++;
		f->passed = true;
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
		b = f->passthrough ? NULL : ply_bfile_id_detach_locked(p, f);
		pthread_mutex_unlock(&p->lock);
		ply_bfile_id_free(fs, b);
	}
	free(f);
}

struct ply_file *ply_bfile_of(struct ply_node *n)
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

void ply_bfile_lock_idle(struct ply_backing_pool *p, struct ply_file *f)
{
	pthread_mutex_lock(&p->lock);
	while (f->busy)
		pthread_cond_wait(&p->idle, &p->lock);
}

void ply_bfile_idle_locked(struct ply_backing_pool *p, struct ply_file *f)
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

		ply_bfile_id_detach_locked(p, b->owner);
		ply_bfile_id_free(fs, b);
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

bool ply_bfile_mark_take(struct ply_backing_pool *p, const struct ply_node *n, pid_t pid)
{
	struct backing_mark *m = &p->mark[(unsigned int)pid % BACKING_MARKS];
	bool hit;

	/* Read without the lock: only this thread's own mark matters to it, and it waits for our reply. */
	if (!atomic_load_explicit(&m->node, memory_order_relaxed))
		return false;
	PLY_MUTEX(lock, &p->lock);
	hit = m->node == n->id && m->pid == pid && now_ns() - m->when < BACKING_MARK_NS;
	if (hit)
		m->node = 0;
	return hit;
}

void ply_bfile_mark_set(struct ply_backing_pool *p, const struct ply_node *n, const struct ply_node *current, pid_t pid)
{
	struct backing_mark *m = &p->mark[(unsigned int)pid % BACKING_MARKS];

	pthread_mutex_lock(&p->lock);
	m->pid = pid;
	m->current = current->id;
	m->when = now_ns();
	m->node = n->id;
	pthread_mutex_unlock(&p->lock);
}

void ply_backing_looked_up(struct ply_fs *fs, struct ply_node *n, pid_t pid)
{
	struct ply_backing_pool *p = fs->backing;
	struct backing_mark *m = &p->mark[(unsigned int)pid % BACKING_MARKS];

	/* As above. */
	if (!fs->passthrough || !atomic_load_explicit(&m->node, memory_order_relaxed))
		return;
	pthread_mutex_lock(&p->lock);
	if (m->pid == pid && (m->current == n->id || m->node == n->id))
		m->node = 0;
	pthread_mutex_unlock(&p->lock);
}

void ply_backing_mode_changed(struct ply_fs *fs, struct ply_node *n)
{
	struct ply_file *f = n->type == S_IFREG ? atomic_load(&n->file) : NULL;
	struct backing_id *b;

	if (!f)
		return;
	ply_bfile_lock_idle(fs->backing, f);
	b = f->passthrough ? NULL : ply_bfile_id_detach_locked(fs->backing, f);
	pthread_mutex_unlock(&fs->backing->lock);
	ply_bfile_id_free(fs, b);
}

void ply_backing_cut(struct ply_node *n, off_t size)
{
	struct ply_file *f = n->type == S_IFREG ? ply_bfile_of(n) : NULL;

	if (!f)
		return;
	f->cut_size = size;
	f->cut_at = now_ns();
}

int64_t ply_backing_cut_wait(struct ply_node *n, off_t off, off_t got)
{
	struct ply_file *f = atomic_load(&n->file);
	int64_t left;

	/* What grew since then was written by who knows the size. */
	if (!f || !f->cut_at || !(off + got == f->cut_size || (!got && off >= f->cut_size)))
		return 0;
	left = f->cut_at + BACKING_CUT_NS - now_ns();
	return left > 0 ? left : 0;
}

bool ply_backing_has_writer(struct ply_fs *fs, const struct ply_node *n)
{
	struct ply_backing_pool *p = fs->backing;
	struct ply_list *l;
	bool found = false;

	pthread_mutex_lock(&p->lock);
	for (l = p->handles.next; l != &p->handles && !found; l = l->next) {
		const struct ply_handle *h = ply_container_of(l, struct ply_handle, link);

		found = h->node == n && h->writable;
	}
	pthread_mutex_unlock(&p->lock);
	return found;
}

/* --- attributes --- */

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
	ply_bfile_idle_locked(p, f);
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
	/* Under the lock, for once: it can't block, and the fd could be closed. */
	if (f->passthrough && f->bid->fd >= 0)
		fd = ply_sys_dup(f->bid->fd);
	pthread_mutex_unlock(&p->lock);
	if (fd < 0 || ply_sys_stat(PLY_FD(fd), &old))
		return;
	st->st_size = old.st_size;
	st->st_blocks = old.st_blocks;
	st->st_mtim = old.st_mtim;
}
