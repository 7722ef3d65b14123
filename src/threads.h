/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * threads: what the two kinds of threads that serve requests (fuse_workers, fuse_uring) share: a clock, conditions that
 * wait by it, and the end of threads that sleep in the kernel; and the beginning of those that they make.
 */
#ifndef PLY_THREADS_H
#define PLY_THREADS_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t ply_now_ns(void);
/* That many nanoseconds from now, for pthread_cond_timedwait() on a condition of ply_cond_init(). */
struct timespec ply_after_ns(int64_t ns);
void ply_cond_init(pthread_cond_t *c);
/*
 * Sends the signal to each of n threads until *nended is n, then joins them. *nended is under lock, which is not held by the
 * caller; who adds to it signals ended. thread_of(arg, i) is the i-th.
 */
void ply_threads_end(pthread_mutex_t *lock, pthread_cond_t *ended, const unsigned int *nended, unsigned int n, int sig,
		     pthread_t (*thread_of)(const void *arg, unsigned int i), const void *arg);

/*
 * First thing in a thread that was made by one that serves: that one may be bound to where its client runs (fuse_follow). This one
 * may run where the first thread may.
 */
void ply_thread_go_anywhere(void);

#endif
