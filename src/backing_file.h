/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * backing_file: the inside of backing: what is kept for a file, its registered id, and what opens were told. Nobody
 * but the three files of backing includes it.
 */
#ifndef PLY_BACKING_FILE_H
#define PLY_BACKING_FILE_H

#include "backing.h"

#define BACKING_MARKS 256

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
	bool passed;				/* was open in passthrough: what the kernel has cached of it may be old */
	uint8_t is_elf, is_static;		/* enum backing_tri */
	_Atomic uint16_t readable;		/* a lower layer: it was opened there; no lock */
	_Atomic int64_t cut_at, cut_size;	/* ply_backing_cut(); no lock */
	atomic_bool mappable;			/* was open O_RDWR in passthrough: a mapping may still be written */
};

/* An open was answered ESTALE: if the same thread opens the same node again without a lookup, there is no path. */
struct backing_mark {
	_Atomic uint64_t node;			/* 0: no mark; read without the lock */
	uint64_t current;
	int64_t when;
	pid_t pid;
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

/* --- backing_file.c --- */

/* The node's file, made when missing; NULL: no memory. */
struct ply_file *ply_bfile_of(struct ply_node *n);
/* Takes the pool's lock when nobody is opening the file. */
void ply_bfile_lock_idle(struct ply_backing_pool *p, struct ply_file *f);
/* Not busy any more; wakes who waits. */
void ply_bfile_idle_locked(struct ply_backing_pool *p, struct ply_file *f);

/* Counts a handle that uses f->bid. */
void ply_bfile_id_use_locked(struct ply_backing_pool *p, struct ply_file *f);
/* The last handle is gone: keeps the id for the next open, or not; returns one to be freed after unlocking, or NULL. */
struct backing_id *ply_bfile_id_idle_locked(struct ply_backing_pool *p, struct ply_file *f, bool keep);
/* Takes the id off its file. Only while no handle uses it; the caller frees it after unlocking. */
struct backing_id *ply_bfile_id_detach_locked(struct ply_backing_pool *p, struct ply_file *f);
/* Releases it at the kernel; NULL is fine. No locks. */
void ply_bfile_id_free(struct ply_fs *fs, struct backing_id *b);

/* An open of n by this thread is answered ESTALE; the file is `current` now. */
void ply_bfile_mark_set(struct ply_backing_pool *p, const struct ply_node *n, const struct ply_node *current, pid_t pid);
/* Was it, with no lookup since? Then there is no path. Forgets it. Takes the pool's lock where there is any mark. */
bool ply_bfile_mark_take(struct ply_backing_pool *p, const struct ply_node *n, pid_t pid);

/* --- backing_policy.c --- */

/* May a fresh open of this file, whose data is in `layer`, be passthrough? TRI_UNKNOWN: ply_bfile_look() first. */
enum backing_tri ply_bfile_may_locked(struct ply_fs *fs, const struct ply_file *f, uint16_t layer, int flags);
/* What that answer needs from the file itself, once. fd can read it. No lock held. */
void ply_bfile_look(struct ply_fs *fs, struct ply_node *cur, int fd, uint8_t *is_elf, uint8_t *is_static);
/* A cached open, and why it is not passthrough. */
void ply_bfile_count_cached(struct ply_fs *fs, const struct ply_file *f, uint16_t layer, bool eligible);

#endif
