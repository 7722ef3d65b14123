/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attr: stat and setattr of union inodes; owners mapped; override_stat written where the mount keeps it. */
#ifndef PLY_ATTR_H
#define PLY_ATTR_H

#include "attr_store.h"
#include "handle.h"

/*
 * Raw stat of the metadata object (override_stat applied, owner as on disk) -> what users see: st_ino,
 * nlink (1 for merged directories, union count for indexed files, 0 unlinked), owner mapped, blocks of
 * metacopy data. Takes tree for reading where the layers must be asked (indexed files, metacopy): the
 * caller holds neither tree nor anything below it.
 */
int ply_attr_show(struct ply_fs *fs, struct ply_node *n, struct stat *st);
/* Same for callers that hold tree (any way). */
int ply_attr_show_locked(struct ply_fs *fs, struct ply_node *n, struct stat *st);
/* Current attributes as users see them. h may be NULL (fstat through a handle works for unlinked files). */
int ply_attr_get(struct ply_fs *fs, struct ply_node *n, struct ply_handle *h, struct stat *st);

enum {
	PLY_SET_MODE = 1, PLY_SET_UID = 2, PLY_SET_GID = 4, PLY_SET_SIZE = 8,
	PLY_SET_ATIME = 16, PLY_SET_MTIME = 32, PLY_SET_CTIME = 64,
	PLY_SET_ATIME_NOW = 128, PLY_SET_MTIME_NOW = 256,
	PLY_SET_KILL_PRIV = 512,	/* FATTR_KILL_SUIDGID: drop suid/sgid with this size change */
};
/*
 * Applies `what` of *st (owner as presented). Copies up first (metadata only where metacopy
 * is on and size is not set; size 0 without data). Any file type. On success *st is the result as users see it.
 * -EROFS, -EOVERFLOW/-EINVAL for unmapped ids, errno of the layer.
 */
int ply_attr_set(struct ply_fs *fs, struct ply_node *n, struct ply_handle *h,
		 const struct ply_cred *cred, unsigned int what, struct stat *st);

#endif
