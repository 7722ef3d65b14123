/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * origin: which lower object an upper object was copied from (overlay.origin), the
 * index of hard links, and the st_ino that follows from them.
 */
#ifndef PLY_ORIGIN_H
#define PLY_ORIGIN_H

#include "fs.h"

/*
 * The record for a lower object. Filesystems without file handles get a record of our
 * own (handle type that no kernel uses; the inode number as fid). -EOPNOTSUPP never; -errno of the syscall.
 */
int ply_origin_of(struct ply_fs *fs, const struct ply_layer *l, struct ply_at at,
		  const struct stat *st, struct ply_fh *out);
/* Index (ply_layers_fs) of the filesystem that an object with this stat is on, also where a layer spans several. */
unsigned int ply_origin_fs(struct ply_fs *fs, struct ply_at at, const struct stat *st);
/* Stores it on an upper (or temporary) object. An empty value where fh is NULL (kernel: no usable handle). */
int ply_origin_set(struct ply_fs *fs, struct ply_at at, const struct ply_fh *fh);
/* Reads it; -ENODATA when there is none or it is to be ignored. */
int ply_origin_get(struct ply_fs *fs, const struct ply_layer *l, struct ply_at at, struct ply_fh *out);
/*
 * The inode number (fs index, ino) of the object that a record names, without opening it
 * where the handle type is known (ext4, xfs, btrfs, tmpfs, ours), else by open_by_handle_at. -ENODATA when it can't be known.
 */
int ply_origin_ino(struct ply_fs *fs, const struct ply_fh *fh, unsigned int *fsidx, uint64_t *ino);
/*
 * The same from what fuse-overlayfs left: the path in the lowers that an upper object with this stat was copied from.
 * Costs lookups; only for objects that have the attribute. -ENODATA.
 */
int ply_origin_by_path(struct ply_fs *fs, struct ply_at at, const struct stat *st, unsigned int *fsidx, uint64_t *ino);
/* st_ino of an upper object with this stat: its origin's number, else its own. */
uint64_t ply_origin_st_ino(struct ply_fs *fs, const struct ply_layer *l, struct ply_at at, const struct stat *st);

/* The index (only when fs->work.index). Entry of a lower object, as loc in work/index: 0 and *st, or -ENOENT. */
int ply_index_find(struct ply_fs *fs, const struct ply_fh *fh, char name[PLY_INDEX_NAME_MAX], struct stat *st);
/* Union link count of an indexed upper inode: overlay.nlink applied to st_nlink values; -ENODATA: not recorded. */
int ply_index_nlink(struct ply_fs *fs, struct ply_at upper, const struct stat *upper_st,
		    unsigned int lower_nlink, unsigned int *out);
/*
 * Records that the union link count changes by `delta` before a name of an indexed inode is made or
 * removed (kernel: ovl_set_nlink_upper: relative to the upper's st_nlink as it will be after it).
 */
int ply_index_set_nlink(struct ply_fs *fs, struct ply_at upper, int union_minus_upper);
/* The same relative to the lower's count, which is true before and after a name comes up (kernel: ovl_set_nlink_lower). */
int ply_index_set_nlink_lower(struct ply_fs *fs, struct ply_at upper, int union_minus_lower);
/* Removes the entry when the union count is 0. */
int ply_index_drop(struct ply_fs *fs, const struct ply_fh *fh);

#endif
