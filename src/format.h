/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * format: the on-disk records of the kernel's overlayfs (fs/overlayfs/overlayfs.h,
 * Documentation/filesystems/overlayfs.rst) and of fuse-overlayfs, as pure functions
 * over bytes. Nothing from disk is trusted: validators return 0, -ENODATA (absent /
 * to be ignored) or another -errno (broken).
 */
#ifndef PLY_FORMAT_H
#define PLY_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Which namespace a layer's overlay attributes live in. */
enum ply_xns { PLY_XNS_TRUSTED, PLY_XNS_USER };

enum ply_ovl_attr {
	OVL_OPAQUE, OVL_REDIRECT, OVL_ORIGIN, OVL_IMPURE, OVL_NLINK, OVL_UPPER,
	OVL_UUID, OVL_METACOPY, OVL_PROTATTR, OVL_WHITEOUT_ATTR, OVL_ATTR_COUNT
};

/* "trusted.overlay.opaque" and so on; static strings. */
const char *ply_format_attr(enum ply_xns xns, enum ply_ovl_attr attr);

/* --- names of attributes as users see them --- */
/*
 * Is `name` private to the overlay in this namespace (trusted.overlay.* or
 * user.overlay.*, but not trusted.overlayfoo, and not what is_escaped below finds)?
 * Also true for what fuse-overlayfs
 * keeps in layers (user.fuseoverlayfs.*, security.fuseoverlayfs.*, user.containers.override_*).
 */
bool ply_format_is_private(enum ply_xns xns, const char *name);
/* An inner overlay's attribute, escaped on disk: trusted.overlay.overlay.X. */
bool ply_format_is_escaped(enum ply_xns xns, const char *name);
/*
 * User's name -> on-disk name: NAME inside the private prefix becomes
 * PREFIX overlay.NAME; others stay. `out` has room for XATTR_NAME_MAX + 1 (256).
 * -EOPNOTSUPP for names that users may not set, -ERANGE when too long.
 */
int ply_format_escape(enum ply_xns xns, const char *name, char out[256]);
/* On-disk name -> user's name. 0, or -ENODATA: hide it. */
int ply_format_unescape(enum ply_xns xns, const char *name, char out[256]);

/* --- values --- */
/* opaque: 'y' = opaque, 'x' = holds xattr whiteouts. Returns 'y', 'x' or 0. */
int ply_format_opaque(const void *val, size_t len);
/*
 * redirect: validates name or absolute path: no NUL, not empty, no "." or ".."
 * component, no '//' and no trailing '/', a relative one has no '/'. On success *absolute is set.
 * -EINVAL broken. Lengths up to 64 KiB are legal (XATTR_SIZE_MAX), and components longer than
 * NAME_MAX: looking them up gives ENAMETOOLONG.
 */
int ply_format_redirect(const char *val, size_t len, bool *absolute);

struct ply_metacopy {
	uint8_t flags;
	uint8_t digest_algo;
	uint8_t digest_len;
	uint8_t digest[64];
};
/* Empty value = version 0 without digest. -EINVAL broken or unknown version. */
int ply_format_metacopy(const void *val, size_t len, struct ply_metacopy *out);

#define PLY_FH_MAX 128			/* bytes of a file handle (MAX_HANDLE_SZ) */
struct ply_fh {
	uint8_t uuid[16];
	uint8_t type;			/* handle_type of name_to_handle_at(2) */
	uint8_t len;			/* bytes in fid */
	bool is_upper;			/* OVL_FH_FLAG_PATH_UPPER */
	bool foreign;			/* other endianness: compare only, never open_by_handle_at */
	uint8_t fid[PLY_FH_MAX];
};
/*
 * overlay.origin / overlay.upper: struct ovl_fb (kernel: fs/overlayfs/overlayfs.h):
 * version 0, magic 0xfb, len, flags, type, uuid[16], fid. Zero length: -ENODATA.
 * -ENODATA too for other versions/flags the kernel ignores; -EINVAL broken. The
 * kernel ignores a foreign one as well: there the caller looks at out->foreign.
 */
int ply_format_fh_parse(const void *val, size_t len, struct ply_fh *out);
/* Encodes; returns bytes written to out (at most 21 + PLY_FH_MAX). */
size_t ply_format_fh_build(const struct ply_fh *fh, uint8_t out[21 + PLY_FH_MAX]);
/*
 * Name of an index entry: lower case hex of the *encoded* record as the kernel
 * writes it (ovl_get_index_name_fh: hex of struct ovl_fb). `out` gets the NUL.
 * -ENAMETOOLONG for a handle of more than 106 bytes: such an inode cannot be indexed.
 */
#define PLY_INDEX_NAME_MAX (2 * (21 + PLY_FH_MAX) + 1)
int ply_format_index_name(const struct ply_fh *fh, char out[PLY_INDEX_NAME_MAX]);
/*
 * And back, for the clean-up at mount. -EINVAL: not an index name (work files "#..."
 * too); -ENODATA: written by a newer kernel, leave it alone.
 */
int ply_format_index_parse(const char *name, struct ply_fh *out);

/* overlay.nlink: "U+2", "L-1": nlink of the union minus that of the upper / lower inode. */
int ply_format_nlink_parse(const char *val, size_t len, bool *relative_to_upper, int *diff);
size_t ply_format_nlink_build(bool relative_to_upper, int diff, char out[16]);

/* --- names in directories --- */
/* ".wh..wh..opq", ".wh..wh..plnk", ".wh..wh.aufs", ".wh..wh.orph" and the like: reserved by AUFS. */
bool ply_format_is_aufs_reserved(const char *name);
/* ".wh.NAME" (not reserved): returns pointer to NAME inside, else NULL. NAME is never "", "." or "..". */
const char *ply_format_aufs_whiteout(const char *name);
#define PLY_AUFS_PREFIX ".wh."
#define PLY_AUFS_OPAQUE ".wh..wh..opq"

/* --- override_stat of containers/storage (CONTRACTS.md) --- */
struct ply_override {
	uint32_t uid, gid;
	uint32_t mode;			/* permission bits, with S_IFMT when a type was given (or in octmode) */
	bool has_type;
	uint32_t major, minor;
};
#define PLY_OVERRIDE_MAX 64
/* -EINVAL broken. A type wins over the S_IFMT bits in octmode; either sets has_type. */
int ply_format_override_parse(const char *val, size_t len, struct ply_override *out);
/* "uid:gid:0mode[:type]" as containers/storage writes it; NUL-terminated, length returned. */
size_t ply_format_override_build(const struct ply_override *o, char out[PLY_OVERRIDE_MAX]);

/* struct vfs_cap_data, revisions 1-3 (linux/capability.h): root id of revision 3. -ENODATA when not revision 3. */
int ply_format_cap_rootid(const void *val, size_t len, uint32_t *rootid);
/* Writes rootid into a revision 3 record in place. */
int ply_format_cap_set_rootid(void *val, size_t len, uint32_t rootid);
#define PLY_CAP_MAX 24
/* Revision 2 becomes revision 3 of root id 0, in place; anything else stays. The length. */
size_t ply_format_cap_widen(char val[PLY_CAP_MAX], size_t len);

#endif
