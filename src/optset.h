/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * optset: the table of options: one name and its value -> struct ply_options.
 * What stands around it (commas, quotes, argv, defaults, checks of the whole)
 * is optparse's.
 */
#ifndef PLY_OPTSET_H
#define PLY_OPTSET_H

#include "options.h"
#include "util.h"

/* Words of one group exclude each other; the last one said counts. */
enum ply_mount_group {
	PLY_GROUP_RO, PLY_GROUP_SUID, PLY_GROUP_DEV, PLY_GROUP_EXEC, PLY_GROUP_ATIME,
	PLY_GROUP_DIRATIME, PLY_GROUP_SYNC, PLY_GROUP_DIRSYNC, PLY_GROUP_LAZYTIME,
	PLY_GROUP_SYMFOLLOW, PLY_GROUP_COUNT
};

/* What one reading of argv carries along. */
struct ply_optset {
	struct ply_options *o;
	char *err;
	size_t errlen;
	struct ply_buf warn;
	struct ply_buf context;
	const char *group[PLY_GROUP_COUNT];	/* NULL: the kernel's default */
	bool helper;			/* called by mount(8) as mount.TYPE: other letters */
	bool lenient;			/* unknown words are ignored with a warning */
	bool squash_uid, squash_gid;
	uint32_t squash_to_uid, squash_to_gid;
};

/* Writes the line for the person; always -EINVAL, and -ENOMEM. */
int ply_optset_fail(struct ply_optset *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int ply_optset_nomem(struct ply_optset *p);
/* `val` is raw text without its quotes, NULL where there was no '='. 0, -EINVAL or -ENOMEM. */
int ply_optset_set(struct ply_optset *p, const char *key, const char *val);
/* A word that nobody knows: 0 with a warning where that is allowed, else -EINVAL. */
int ply_optset_unknown(struct ply_optset *p, const char *key);
/* The default of static=. */
int ply_optset_default_static(struct ply_optset *p);

#endif
