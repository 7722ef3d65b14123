/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuse_mount: puts a libfuse session on a mount point and takes it away again. mount(2) directly where that is
 * allowed (root, or root of a user namespace), else by fusermount3.
 */
#ifndef PLY_FUSE_MOUNT_H
#define PLY_FUSE_MOUNT_H

#include "options.h"
#include <fuse_lowlevel.h>

struct ply_mount {
	struct fuse_session *se;	/* NULL: none */
	const char *path;		/* borrowed from the options */
	int fd;				/* owned by se */
	uint64_t dev, mnt_id;		/* 0: not known */
	bool mounted;
	bool allow_root;		/* idmapped mounts cannot be had: with them the kernel does not say who asks */
	bool uring_wanted;
	bool uring;			/* from process_init on: the kernel agreed */
	size_t uring_payload;
	char uring_why[200];		/* it is not used: "" or why */
};

int ply_mount_make(struct ply_mount *m, const struct ply_options *opt, const struct fuse_lowlevel_ops *ops,
		   void *userdata, char *err, size_t errlen);
/*
 * Lets libfuse answer INIT (in buf->mem), and adds what it does not know: FUSE_ALLOW_IDMAP (7.41), for idmapped mounts of the
 * union. The kernel wants default_permissions with it, which each mount here has; from then on only requests
 * that make something say whose they are. And, if m->uring_wanted, FUSE_OVER_IO_URING (7.42): if m->uring is true after this, the kernel
 * waits for its queues to be served. No other thread may use the device yet: for the time of
 * the answer its number is that of a socket.
 */
void ply_mount_process_init(struct ply_mount *m, struct fuse_buf *buf);
/* Once it is served: learns how to tell this mount from another one at the same place. Sends no request. */
void ply_mount_identify(struct ply_mount *m);
/* Lazy unmount, of this very mount only. sync: the kernel writes back first (it must still be served). */
void ply_mount_undo(struct ply_mount *m, bool sync);
void ply_mount_free(struct ply_mount *m);

#endif
