/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xattr: users' extended attributes, ACLs and capabilities; private ones hidden, nested ones escaped, ids mapped. */
#ifndef PLY_XATTR_H
#define PLY_XATTR_H

#include "xattr_store.h"

/* size 0: only the length. -ENODATA, -ERANGE, -EOPNOTSUPP (noxattrs, noacl). */
ssize_t ply_xattr_get(struct ply_fs *fs, struct ply_node *n, const char *name, void *val, size_t size);
/* The names, each with its NUL; *list is set where there are any, and is the caller's to free. -EOPNOTSUPP (noxattrs). */
ssize_t ply_xattr_list(struct ply_fs *fs, struct ply_node *n, char **list);
/* trusted.* is listed to CAP_SYS_ADMIN only, as of a local filesystem. hide: in place, its new length. */
bool ply_xattr_list_has_trusted(const char *list, size_t len);
size_t ply_xattr_list_hide_trusted(char *list, size_t len);
/* Copies up first (metadata only with metacopy). Setting an access ACL updates the mode; kill_sgid: FUSE_SETXATTR_ACL_KILL_SGID. */
int ply_xattr_set(struct ply_fs *fs, struct ply_node *n, const char *name, const void *val, size_t size,
		  int flags, bool kill_sgid);
int ply_xattr_remove(struct ply_fs *fs, struct ply_node *n, const char *name);

#endif
