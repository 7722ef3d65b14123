/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuse_guard: a thread that gives notices to the kernel must not keep the connection alive when the daemon is killed.
 *
 * For a notice about a name the kernel waits for the directory's lock, and no signal ends that wait. Who has the lock may wait for
 * our answer. When the daemon is killed there, the connection would end with its last open device; the thread that is in the
 * middle of its write keeps that open, together with the layers' locks: everybody would wait for ever, and no new daemon could
 * take the upper.
 *
 * So the thread gets a table of descriptors of its own, with nothing in it but a device of its own: all else ends with the
 * daemon, the requests that it had read too. Those that it had not read are answered by a child process, the guard, until
 * the thread has come out. Not over io_uring: those requests end with the connection only, that is by umount -f.
 */
#ifndef PLY_FUSE_GUARD_H
#define PLY_FUSE_GUARD_H

#include <sys/types.h>

struct ply_guard {
	pid_t pid;			/* 0: none */
	int pipe[2];
};

#define PLY_GUARD_INIT { .pid = 0, .pipe = { -1, -1 } }

/*
 * By the thread, before its first notice: from then on `device` is the only descriptor that it has. Where the system refuses
 * something of it (Linux before 5.9) all stays as it is.
 */
void ply_guard_start(struct ply_guard *g, int device);
/* When the thread has ended, by another one. */
void ply_guard_stop(struct ply_guard *g);
/*
 * main() calls it before all else: the guard is our program, run anew, so that it has none of our memory. Returns if this process
 * is not one.
 */
void ply_guard_main(int argc, char **argv);
/*
 * What the guard does when the daemon is gone: refuses each request of `device`, until the connection is gone or `thread`, the
 * reading end of a pipe, says that its other end is.
 */
void ply_guard_drain(int device, int thread);

#endif
