/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuse_workers: the threads that read requests from the device.
 *
 * Each thread more that waits in read(2) costs a wake-up: the kernel wakes the one that waited longest, whose CPU is
 * cold, while the one that has just answered would find the next request without sleeping. So one thread reads as
 * long as it keeps up. What it takes is measured by a watch, a thread that ticks while requests come: it adds readers
 * when all of them are held up in a request while others wait, or have no time left; and takes them away again.
 */
#ifndef PLY_FUSE_WORKERS_H
#define PLY_FUSE_WORKERS_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#define PLY_WORKERS_WAKE SIGUSR2	/* gets a worker out of its read at the end; blocked and handled by whoever starts them */

struct ply_workers;

struct ply_workers_conf {
	struct fuse_session *se;
	size_t room;			/* for the largest request */
	unsigned int max;		/* of threads that serve; 1: no watch is needed, and there is none */
	/* Serves one request. No lock is held. */
	void (*serve)(void *arg, struct fuse_buf *buf);
	/* A worker has ended: the connection is gone, or cannot be read. The last thing that its thread does. */
	void (*ended)(void *arg);
	void *arg;
};

/* Starts one worker. -errno. */
int ply_workers_start(struct ply_workers **out, const struct ply_workers_conf *conf);
/* INIT is answered: from now on there are as many as it takes. -errno. */
int ply_workers_watch(struct ply_workers *p);
/* Has one ended? *err: 0, or -errno of its read. */
bool ply_workers_ended(struct ply_workers *p, int *err);
/* How many have been made. */
unsigned int ply_workers_count(struct ply_workers *p);
/* Ends and joins all of them, once; NULL is fine. Requests in progress are finished first. */
void ply_workers_stop(struct ply_workers *p);
void ply_workers_free(struct ply_workers *p);

/* --- the watch's judgement, pure --- */

/* What was seen in one tick. Times in ns. */
struct ply_workers_tick {
	unsigned int readers;		/* that read and serve, >= 1 */
	unsigned int max, cpus;
	int64_t window;			/* since the last tick */
	int64_t busy;			/* of all readers together, within it */
	int64_t held;			/* every reader has been serving its request for at least this long; 0: one reads */
	unsigned int sleep;		/* readers that sleep in their request; others compute, or wait for a CPU as a new one would */
	bool pending;			/* a request waits for a reader */
};
/* Between ticks. */
struct ply_workers_trend { unsigned int full, slept, low; };
/* Is it worth asking which readers sleep? */
bool ply_workers_may_grow(const struct ply_workers_tick *k);
/* By how many the readers are to change: 1, 0, -1. */
int ply_workers_judge(struct ply_workers_trend *t, const struct ply_workers_tick *k);

#endif
