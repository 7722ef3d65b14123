/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_session: the mount, INIT, the threads that serve, signals, the end. */
#ifndef PLY_FUSE_SESSION_H
#define PLY_FUSE_SESSION_H

#include "fuse_reply.h"
#include <stdio.h>

struct ply_session;

/*
 * Blocks the signals that end or query the daemon (they wait until ply_session_run) and ignores those that must
 * not kill it. Before any thread starts.
 */
void ply_session_block_signals(void);
/*
 * Probes what passthrough can do, makes the session and mounts at fs->opt->mountpoint, which must be an absolute path.
 * err: one line for people.
 */
int ply_session_new(struct ply_session **out, struct ply_fs *fs, char *err, size_t errlen);
/*
 * Serves until the mount is gone or a signal says so. live() is called once, when INIT is answered and the mount
 * works. 0: ended as asked for; -errno: it could not start, or the device failed (err).
 */
int ply_session_run(struct ply_session *s, void (*live)(void *arg), void *arg, char *err, size_t errlen);
/*
 * For live(): ready(arg) is called once, by the thread that called ply_session_run, when fd can be read or the end has
 * begun because it was asked for.
 */
void ply_session_when_readable(struct ply_session *s, int fd, void (*ready)(void *arg), void *arg);
/* Ends the connection. The core is freed after this by its owner. */
void ply_session_free(struct ply_session *s);

/* For the status: what INIT said. */
struct ply_session_info {
	unsigned int proto_major, proto_minor;	/* the kernel's */
	unsigned int max_write;
	uint64_t dev;				/* st_dev of the mount; 0: not known */
	unsigned int threads;
	bool posix_acl, killpriv_v2, readdirplus, setxattr_ext;
	bool io_uring;				/* requests come over it */
	unsigned int io_uring_threads;
	const char *io_uring_why;		/* it was asked for and is not used; else "" */
};
void ply_session_info(struct ply_session *s, struct ply_session_info *out);
struct ply_fs *ply_session_fs(struct ply_session *s);

#endif
