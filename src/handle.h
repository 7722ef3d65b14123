/* SPDX-License-Identifier: GPL-2.0-or-later */
/* handle: an open file description of the union (fi->fh). */
#ifndef PLY_HANDLE_H
#define PLY_HANDLE_H

#include "fs.h"

struct ply_handle {
	struct ply_node *node;		/* reference */
	pthread_mutex_t lock;		/* leaf: the swap of fd */
	_Atomic int fd;			/* of the layer file; writable when the open was; -1: not needed so far */
	int old_fd;			/* what fd was before the file was copied up: others may be reading through it */
	int shared_fd;			/* passthrough of a lower file: backing's fd of it, borrowed; else -1 */
	_Atomic uint16_t layer;		/* where fd's file is */
	bool writable, passthrough;
	bool mappable;			/* passthrough and O_RDWR: can be written through a mapping */
	int flags;			/* of the open */
	struct ply_list link;		/* backing's: all handles of the mount */
	/*
	 * Set when the kernel is told, read when it gives the handle back: what one thread made another one uses, and
	 * the way through the kernel is none that the language (or ThreadSanitizer) knows.
	 */
	atomic_bool told;
};

/* Takes a reference on n, and fd on success (-1 is fine for passthrough handles). */
int ply_handle_new(struct ply_fs *fs, struct ply_node *n, int fd, uint16_t layer, int flags, struct ply_handle **out);
/* Its fds go, it stays: for what is to be done between this and the end. */
void ply_handle_close(struct ply_handle *h);
void ply_handle_free(struct ply_fs *fs, struct ply_handle *h);
/*
 * fd to use now, for reading or for anything on the file: when the node's data went to
 * upper since the open, a cached read-only handle is switched to the upper file first (old fd is kept
 * until free, others may be reading through it). Passthrough handles keep theirs. The fd is the handle's. -errno.
 * The caller holds no lock (tree is taken for reading).
 */
int ply_handle_fd(struct ply_fs *fs, struct ply_handle *h, int *fd);

/* The layer in which the node's data is now (metacopy followed). Takes the node lock for a metacopy only. */
uint16_t ply_handle_data_layer(struct ply_fs *fs, struct ply_node *n);
/* Opens the data of a node (which must be current) with these open(2) flags, and tells its layer. Takes tree for reading. */
int ply_handle_open_data(struct ply_fs *fs, struct ply_node *n, int flags, int *fd, uint16_t *layer);

#endif
