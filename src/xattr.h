/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xattr: users' extended attributes, ACLs and capabilities; private ones hidden, nested ones escaped, ids mapped. */
#ifndef PLY_XATTR_H
#define PLY_XATTR_H

#include "fs.h"

/* size 0: only the length. -ENODATA, -ERANGE, -EOPNOTSUPP (noxattrs, noacl). */
ssize_t ply_xattr_get(struct ply_fs *fs, struct ply_node *n, const char *name, void *val, size_t size);
ssize_t ply_xattr_list(struct ply_fs *fs, struct ply_node *n, char *list, size_t size);
/* Copies up first (metadata only with metacopy). Setting an access ACL updates the mode; kill_sgid: FUSE_SETXATTR_ACL_KILL_SGID. */
int ply_xattr_set(struct ply_fs *fs, struct ply_node *n, const char *name, const void *val, size_t size,
		  int flags, bool kill_sgid);
int ply_xattr_remove(struct ply_fs *fs, struct ply_node *n, const char *name);
/*
 * For copy-up: copies every attribute of a layer object that belongs to the file (not overlay.opaque,
 * origin, redirect and the like; nested overlays' stay escaped) to another object. Those that the upper
 * can't hold: security.* and system.* errors EOPNOTSUPP are skipped as the kernel does; ENOSPC, EDQUOT, EIO are returned.
 */
int ply_xattr_copy(struct ply_fs *fs, const struct ply_layer *from, struct ply_at src, struct ply_at dst);
/* A new object in a directory with a default ACL that was made in work (so nothing was inherited): what it inherits; *mode is masked by ACL or umask. */
int ply_xattr_inherit(struct ply_fs *fs, struct ply_at updir, struct ply_at dst, mode_t *mode, mode_t umask);
/* Has updir a default ACL? 1/0/-errno. */
int ply_xattr_has_default_acl(struct ply_fs *fs, struct ply_at updir);

#endif
