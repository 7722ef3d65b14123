/* SPDX-License-Identifier: GPL-2.0-or-later */
/* handle: an open file description of the union (fi->fh). */
#ifndef PLY_HANDLE_H
#define PLY_HANDLE_H

#include "fs.h"

struct ply_handle {
	struct ply_node *node;		/* reference */
	pthread_mutex_t lock;		/* leaf: the swap of fd */
	int fd;				/* of the layer file; writable when the open was */
	uint16_t layer;			/* where fd's file is */
	bool writable, passthrough, flock_used;
	int flags;			/* of the open */
	void *backing;			/* backing.h's record for a passthrough handle */
};

int ply_handle_new(struct ply_fs *fs, struct ply_node *n, int fd, uint16_t layer, int flags, struct ply_handle **out); /* takes fd on success */
void ply_handle_free(struct ply_fs *fs, struct ply_handle *h);
/*
 * fd to use now, for reading or for anything on the file: when the node's data went to
 * upper since the open, a cached read-only handle is switched to the upper file first (old fd is kept
 * until free, others may be reading through it). Passthrough handles keep theirs. -errno.
 */
int ply_handle_fd(struct ply_fs *fs, struct ply_handle *h, int *fd);

#endif
