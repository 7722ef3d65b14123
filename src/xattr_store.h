/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xattr_store: attributes that come with the making of an object in upper: copied, or inherited. */
#ifndef PLY_XATTR_STORE_H
#define PLY_XATTR_STORE_H

#include "fs.h"

/*
 * User's name -> name on disk in a layer, and back: private ones are hidden, nested overlays' escaped,
 * and with override_stat of containers security.* and trusted.* are kept as user.containers.override_NAME.
 * to_disk: -EOPNOTSUPP, -ERANGE; to_user: -ENODATA for what users don't see.
 */
int ply_xattr_to_disk(const struct ply_layer *l, const char *name, char out[256]);
int ply_xattr_to_user(const struct ply_layer *l, const char *name, char out[256]);
bool ply_xattr_is_acl(const char *name);
/* Owners named in a value (ACL entries, the root of file capabilities), from disk to users or back (`store`), in place. */
int ply_xattr_map_value(struct ply_fs *fs, const char *name, void *val, size_t len, bool store);

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
