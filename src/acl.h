/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * acl: POSIX ACLs in their xattr form (linux/posix_acl_xattr.h, version 2,
 * little endian) as pure functions over bytes.
 */
#ifndef PLY_ACL_H
#define PLY_ACL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PLY_ACL_ACCESS "system.posix_acl_access"
#define PLY_ACL_DEFAULT "system.posix_acl_default"

/*
 * 0, or -EINVAL for anything the kernel would refuse (posix_acl_from_xattr + posix_acl_valid).
 * No bytes, and a header without entries, are legal: setxattr of them removes the ACL. The
 * functions below then change nothing and return 0.
 */
int ply_acl_check(const void *val, size_t len);
/*
 * What a new file gets from its directory's default ACL (kernel:
 * posix_acl_create_masq): *mode is masked by it, `out` (same length as val)
 * becomes the access ACL. Returns 1 when `out` must be stored, 0 when the mode
 * alone says it all, -EINVAL.
 */
int ply_acl_inherit(const void *val, size_t len, mode_t *mode, void *out);
/* chmod: kernel's __posix_acl_chmod_masq, in place. 0 or -EINVAL. */
int ply_acl_chmod(void *val, size_t len, mode_t mode);
/*
 * setxattr of an access ACL: kernel's posix_acl_update_mode / posix_acl_equiv_mode.
 * Sets the permission bits of *mode; returns 1 when the ACL holds more than the
 * mode (store it), 0 when the mode says it all (remove the xattr), -EINVAL.
 */
int ply_acl_equiv_mode(const void *val, size_t len, mode_t *mode);
/* Maps the ids of all ACL_USER / ACL_GROUP entries in place; `map` returns -1 for unmappable -> -EINVAL, nothing changed. It is asked twice for each id. */
int ply_acl_map(void *val, size_t len,
		int64_t (*map)(void *arg, uint32_t id, int is_gid), void *arg);

#endif
