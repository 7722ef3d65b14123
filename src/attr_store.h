/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attr_store: owner, mode and type of an object in upper or work, in the form that the upper keeps them. */
#ifndef PLY_ATTR_STORE_H
#define PLY_ATTR_STORE_H

#include "fs.h"

/*
 * Owner, mode (and type through override_stat) for an object that was just made in upper or work:
 * what mkdir/mknod/create/symlink call. uid/gid as presented; mode with S_IFMT. Where the filesystem
 * already gave it the right owner this is no syscall.
 */
int ply_attr_init(struct ply_fs *fs, struct ply_at at, const struct stat *have,
		  uid_t uid, gid_t gid, mode_t mode, dev_t rdev);
/* Is it as it shall be already: does ply_attr_init() change nothing of an object that looks like that? */
bool ply_attr_is(struct ply_fs *fs, const struct stat *have, uid_t uid, gid_t gid, mode_t mode);
/* For copy-up: owner as on disk (already mapped), from a lower stat with override applied. */
int ply_attr_copy(struct ply_fs *fs, struct ply_at at, const struct stat *lower);

/* Does the upper keep owner, mode and type in override_stat? */
bool ply_attr_has_override(const struct ply_fs *fs);
/*
 * Writes override_stat; mode with S_IFMT. Symlinks and fifos on some filesystems can't carry it: that is
 * ignored, as containers/storage does.
 */
int ply_attr_write_override(struct ply_fs *fs, struct ply_at at, uid_t uid, gid_t gid, mode_t mode, dev_t rdev);
/* Of a file with this mode, can we always read and take away the mark that its data are elsewhere? */
bool ply_attr_may_lack_data(const struct ply_fs *fs, mode_t mode);
/* The mode on disk of an object whose mode is in override_stat. */
mode_t ply_attr_override_backing(mode_t mode);
/* Id as presented -> on disk. -EOVERFLOW where unmapped. */
int ply_attr_store_id(const struct ply_idmap *map, uint32_t shown, uint32_t *disk);

/*
 * While the data of a metacopy are filled in, its inode's times are not what users
 * shall see. `st`: those that count. The holder has the node's copy-up lock; whoever changes
 * attributes of a metacopy takes that lock as well.
 */
struct ply_attr_hold {
	struct ply_list link;
	const struct ply_node *n;
	struct stat st;
};
void ply_attr_hold_begin(struct ply_attr_hold *h);
void ply_attr_hold_end(struct ply_attr_hold *h);
/* Puts the held times into a stat of the node's inode, if they are held. */
void ply_attr_hold_apply(const struct ply_node *n, struct stat *st);
/* Changes with each begin and end: a stat taken between two equal values was taken within one state. */
uint64_t ply_attr_hold_seq(void);

#endif
