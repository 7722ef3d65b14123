/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attr: stat and setattr of union inodes; owners mapped; override_stat written where the mount keeps it. */
#ifndef PLY_ATTR_H
#define PLY_ATTR_H

#include "fs.h"
#include "handle.h"

/* Raw stat of the metadata object -> what users see: st_ino, nlink (1 for merged directories, union count for indexed files, 0 unlinked), owner mapped, size/blocks of metacopy data. */
int ply_attr_show(struct ply_fs *fs, struct ply_node *n, struct stat *st);
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
/*
 * Owner, mode (and type through override_stat) for an object that was just made in upper or work:
 * what mkdir/mknod/create/symlink/copy-up call. uid/gid as presented; mode with S_IFMT. Where the filesystem
 * already gave it the right owner this is no syscall.
 */
int ply_attr_init(struct ply_fs *fs, struct ply_at at, const struct stat *have,
		  uid_t uid, gid_t gid, mode_t mode, dev_t rdev);
/* For copy-up: owner as on disk (already mapped), from a lower stat with override applied. */
int ply_attr_copy(struct ply_fs *fs, struct ply_at at, const struct stat *lower);

#endif
