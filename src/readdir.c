// SPDX-License-Identifier: GPL-2.0-or-later
#include "readdir.h"
#include "attr.h"
#include "dircache.h"
#include "listers.h"
#include "lookup.h"

#include <dirent.h>
#include <errno.h>

#define OFF_DOT 1
#define OFF_DOTDOT 2
/* Names that are copied at a time: emitting needs the locks to be free. */
#define BATCH 64
#define PROBE_MIN 4		/* files of a directory among which one is left out */

struct item {
	uint64_t cookie, ino;
	size_t name;
	uint8_t type;
};

struct listing {
	struct ply_fs *fs;
	struct ply_node *dir;
	bool plus;
	pid_t pid;
	bool known;			/* what the kernel knows stays valid there */
	bool want;			/* attributes of files too */
	bool probe;			/* the next one is left out */
	bool further;			/* not the first reply of the listing */
	int (*emit)(void *arg, const struct ply_readdir_entry *e);
	void *arg;
	uint64_t off;			/* the last one that was emitted or left out */
	bool emitted, full;
	unsigned int given;		/* entries with attributes */

	struct item item[BATCH];
	unsigned int n;
	bool complete;			/* nothing is behind the batch */
	struct ply_buf names;
};

/* Caller holds tree. */
static int listing_cache(struct listing *l, struct ply_dircache **out)
{
	pthread_rwlock_t *lock = &l->dir->dir->lock;
	int r;

	pthread_rwlock_rdlock(lock);
	*out = ply_dircache_get(l->fs, l->dir);
	pthread_rwlock_unlock(lock);
	if (*out)
		return 0;
	pthread_rwlock_wrlock(lock);
	r = ply_dircache_build(l->fs, l->dir, out);
	pthread_rwlock_unlock(lock);
	return r;
}

/* Copies the next names behind l->off. */
static int listing_fill(struct listing *l)
{
	struct ply_dircache *dc;
	uint64_t off = ply_max(l->off, (uint64_t)OFF_DOTDOT);
	struct ply_dircache_entry found[16];
	unsigned int n;
	int r;

	PLY_RDLOCK(tree, &l->fs->tree);
	l->n = 0;
	l->names.len = 0;
	l->complete = true;
	if (atomic_load(&l->dir->dir->removed))
		return 0;
	r = listing_cache(l, &dc);
	if (r)
		return r;

	PLY_RDLOCK(lock, &l->dir->dir->lock);
	do {
		n = ply_dircache_next(dc, off, found, PLY_ARRAY_SIZE(found));
		for (unsigned int i = 0; i < n; i++) {
			const struct ply_dircache_entry *e = &found[i];

			l->item[l->n] = (struct item){
				.cookie = e->cookie, .ino = e->ino, .type = e->type, .name = l->names.len,
			};
			r = ply_buf_add(&l->names, e->name, strlen(e->name) + 1);
			if (r)
				break;
			l->n++;
			off = e->cookie;
		}
		l->complete = n < PLY_ARRAY_SIZE(found) && !r;
	} while (!r && !l->complete && l->n + PLY_ARRAY_SIZE(found) <= BATCH);
	ply_dircache_put(l->fs, dc);
	return r;
}

/* 1: the name is gone; otherwise e is complete, with st in *st where it can be had. */
static int listing_look(struct listing *l, struct ply_readdir_entry *e, struct stat *st)
{
	struct ply_node *n;
	int r;

	PLY_RDLOCK(tree, &l->fs->tree);
	PLY_RDLOCK(lock, &l->dir->dir->lock);
	r = ply_lookup_locked(l->fs, l->dir, e->name, &n, st);
	if (!r && l->plus) {
		r = ply_attr_show_locked(l->fs, n, st);
		if (r) {
			e->ino = n->ino;
			PLY_RWUNLOCK(lock);
			PLY_RWUNLOCK(tree);
			ply_node_put(l->fs->graph, n);
			return 0;
		}
	}
	if (!r) {
		e->ino = n->ino;
		e->type = IFTODT(n->type);
		PLY_RWUNLOCK(lock);
		PLY_RWUNLOCK(tree);
		if (l->plus) {
			e->node = n;
			e->st = st;
		} else {
			ply_node_put(l->fs->graph, n);
		}
		return 0;
	}
	if (r == -ENOENT)
		return 1;
	/* It is there, but broken: listed, so that people see it and stat says why. */
	if (!e->ino)
		e->ino = e->off;
	return 0;
}

static void listing_emit(struct listing *l, struct ply_readdir_entry *e)
{
	if (l->emit(l->arg, e)) {
		l->full = true;
		if (e->node)
			ply_node_put(l->fs->graph, e->node);
		return;
	}
	l->emitted = true;
	l->given += e->node != NULL;
	l->off = e->off;
}

static uint64_t parent_ino(struct listing *l)
{
	struct ply_node *parent;
	char name[256];
	uint64_t ino;

	if (l->dir->id == PLY_ROOT_ID || ply_name_any(l->fs->graph, l->dir, &parent, name))
		return l->dir->ino;
	ino = parent->ino;
	ply_node_put(l->fs->graph, parent);
	return ino;
}

static void listing_dots(struct listing *l)
{
	struct ply_readdir_entry e = { .name = ".", .off = OFF_DOT, .type = DT_DIR };

	if (l->off < OFF_DOT) {
		e.ino = l->dir->ino;
		listing_emit(l, &e);
	}
	if (!l->full && l->off < OFF_DOTDOT) {
		e.name = "..";
		e.off = OFF_DOTDOT;
		e.ino = parent_ino(l);
		listing_emit(l, &e);
	}
}

/* How much of it is wanted. The first batch of a reply. */
static void listing_guess(struct listing *l)
{
	unsigned int files = 0;

	l->want = !l->plus || ply_listers_want(l->pid);
	if (!l->plus || !l->pid)
		return;
	for (unsigned int i = 0; i < l->n; i++)
		files += l->item[i].type != DT_DIR;
	if (files < PROBE_MIN)
		return;
	if (l->want)
		l->probe = l->further ? ply_listers_probe_on(l->pid, l->dir) : ply_listers_probe(l->pid);
	if (!l->want)
		ply_listers_left_out(l->pid, l->dir, NULL);
}

/* Is the name alone enough, with its number and type? */
static bool listing_name_only(struct listing *l, struct ply_readdir_entry *e)
{
	mode_t type;

	if (!l->plus)
		return e->ino;
	if (!l->want && e->ino && e->type != DT_DIR)
		return true;
	if (l->known && ply_name_known(l->fs->graph, l->dir, e->name, &e->ino, &type)) {
		e->type = IFTODT(type);
		return true;
	}
	/* Directories are entered, more often than not. */
	if (!e->ino || e->type == DT_DIR)
		return false;
	if (!l->probe)
		return false;
	l->probe = false;
	ply_listers_left_out(l->pid, l->dir, e->name);
	return true;
}

static void listing_batch(struct listing *l)
{
	for (unsigned int i = 0; i < l->n && !l->full; i++) {
		const struct item *it = &l->item[i];
		struct ply_readdir_entry e = {
			.name = l->names.data + it->name, .off = it->cookie, .ino = it->ino, .type = it->type,
		};
		struct stat st;

		if (!listing_name_only(l, &e) && listing_look(l, &e, &st)) {
			l->off = it->cookie;
			continue;
		}
		listing_emit(l, &e);
	}
}

int ply_readdir(struct ply_fs *fs, struct ply_node *dir, uint64_t off, bool plus, pid_t pid,
		int (*emit)(void *arg, const struct ply_readdir_entry *e), void *arg, bool *at_end)
{
	struct listing l = {
		.fs = fs, .dir = dir, .plus = plus, .pid = pid, .known = fs->opt->timeout < 0,
		.emit = emit, .arg = arg, .off = off, .further = off > OFF_DOTDOT,
	};
	bool guessed = false;
	int r = 0;

	if (!S_ISDIR(dir->type))
		return -ENOTDIR;
	listing_dots(&l);
	while (!l.full && !l.complete) {
		r = listing_fill(&l);
		if (r)
			break;
		if (!guessed)
			listing_guess(&l);
		guessed = true;
		listing_batch(&l);
	}
	ply_buf_free(&l.names);
	if (l.further && l.given)
		ply_listers_given(pid, dir, l.given);
	if (r && !l.emitted)
		return r;
	*at_end = !r && !l.full;
	/* The kernel keeps the listing; of one layer ours saves nothing but a few system calls next time. */
	if (*at_end && !l.emitted && dir->dir->nlower + (ply_dir_upper(dir) ? 1u : 0u) == 1)
		ply_dircache_drop(fs, dir);
	return 0;
}
