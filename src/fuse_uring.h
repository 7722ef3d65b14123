/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuse_uring: requests over io_uring (Linux 6.14, FUSE 7.42), for whoever asks for it by -o io_uring.
 *
 * The kernel has one queue of requests for each processor, and takes what a client asks for to the queue of the processor that it
 * runs on. An answer and the wait for the next request are one system call, and whoever is bound to that processor is waked
 * there, without a signal to another one. FORGET and INTERRUPT still come through the device: its workers go on.
 *
 * Two threads for each processor that we may use, bound to it, each with one buffer: it takes the next request by the call that
 * answers the one before. With one buffer no request waits behind one that is held up, unless all threads are: a watch gives
 * a queue one more as soon as only one is left that is not. (A buffer that comes later takes the next request first,
 * and those that wait after it: so it must come before.) The kernel prefers the thread that was last to answer, so that the
 * others sleep until they are needed.
 *
 * Why not libfuse's own (3.18, fuse_uring.c): it serves only its own loop, which alone can stop it, by pthread_cancel of
 * threads that may hold locks; a request that takes long keeps those behind it, and answers already given, waiting;
 * and nothing of ours runs before a request.
 */
#ifndef PLY_FUSE_URING_H
#define PLY_FUSE_URING_H

#include <fuse_lowlevel.h>
#include <stdbool.h>

struct ply_uring;

struct ply_uring_conf {
	struct fuse_session *se;
	unsigned int max;		/* of threads; 0: two for each processor, and some more where they are needed */
	/* As in fuse_workers.h. */
	void (*serve)(void *arg, struct fuse_buf *buf);
	void (*ended)(void *arg);
	void *arg;
};

/*
 * Replies of this session pass here: those to requests that a thread of ours serves go to its buffer. The session's log function is
 * reset. -EOPNOTSUPP: libfuse was built without custom I/O.
 */
int ply_uring_hook(struct fuse_session *se);
/*
 * Before INIT is answered: all that can fail because of the system. The threads wait. -errno, and why, for people.
 */
int ply_uring_new(struct ply_uring **out, const struct ply_uring_conf *conf, char *why, size_t whylen);
/*
 * INIT is answered, and the kernel now holds back all requests until each queue is served. payload: the largest request or answer.
 * Returns when they are served; -errno: they come through the device instead.
 */
int ply_uring_go(struct ply_uring *u, size_t payload);
/* Do all queues have their threads? */
bool ply_uring_serves(struct ply_uring *u);
unsigned int ply_uring_threads(struct ply_uring *u);
/* Ends and joins all threads, once; NULL is fine. */
void ply_uring_stop(struct ply_uring *u);
void ply_uring_free(struct ply_uring *u);

/* Where the answer of the request that this thread serves is wanted, if it has at most `size` bytes. NULL: nowhere special. */
char *ply_uring_payload(size_t size);

/* The answer of the request that this thread serves, with its header, in one piece. False: it goes to the device. */
bool ply_uring_answer(const void *answer, size_t len);

/* "0-3,8" of /sys/devices/system/cpu/possible: how many. 0: it is no such list. */
unsigned int ply_uring_count_cpus(const char *list);

#endif
