/* SPDX-License-Identifier: GPL-2.0-or-later */
/* whiteout: telling that a lower name is gone, reading and writing all forms (CONTRACTS.md). */
#ifndef PLY_WHITEOUT_H
#define PLY_WHITEOUT_H

#include "layer.h"
#include "workdir.h"

/*
 * What `name` in directory dir of layer l is, given its stat (or st == NULL: absent):
 * 1 it is whited out there (char 0/0, or - in a directory marked 'x' - a zero-size file with
 * overlay.whiteout; or a .wh.NAME exists, looked for only when l->aufs), 0 not, -errno.
 */
int ply_whiteout_check(const struct ply_layer *l, int dirfd, bool dir_has_xattr_whiteouts,
		       const char *name, const struct stat *st);
/*
 * Is an entry (a character device, by its type) of an upper directory on dev the inode that this mount's whiteouts are links to?
 * False: it may be a whiteout all the same.
 */
bool ply_whiteout_is_shared(const struct ply_workdir *w, dev_t dev, uint64_t ino);
/*
 * Puts a whiteout at `name` of upper directory dirfd, which must not exist (-EEXIST).
 * The kernel's char 0/0 hard-linked from one reusable inode in work where possible, else
 * mknod; else xattr whiteout (marks dirfd opaque=x first); else .wh.NAME. Atomic. What it makes belongs to
 * this directory and name: don't make one elsewhere and move it here (park, replace do that as it must be done).
 */
int ply_whiteout_create(struct ply_workdir *w, int dirfd, const char *name);
/*
 * Replaces what is at `name` (a non-directory) of upper directory dirfd by a whiteout in one step:
 * rename of a fresh whiteout over it.
 */
int ply_whiteout_replace(struct ply_workdir *w, int dirfd, const char *name);
/*
 * The first half of replacing a directory: RENAME_EXCHANGE with a whiteout in work, where it waits as `tmp`. Then either it is
 * discarded, or back again with unpark, which takes the whiteout away.
 */
int ply_whiteout_park(struct ply_workdir *w, int dirfd, const char *name, char tmp[PLY_TMP_MAX]);
int ply_whiteout_unpark(struct ply_workdir *w, int dirfd, const char *name, const char *tmp);
/*
 * Before a whiteout is moved into upper directory dirfd by a rename: marks it opaque=x where whiteouts
 * are xattrs. 1: it is opaque and needs none, 0, -errno.
 */
int ply_whiteout_prepare(struct ply_workdir *w, int dirfd);
/*
 * Removes what whites out `name` in upper directory dirfd without anything in its place (rollback only).
 * An object at `name` is left alone. -ENOENT: there was no whiteout.
 */
int ply_whiteout_remove(struct ply_workdir *w, int dirfd, const char *name);
/* An object has just come to `name`: a .wh.NAME beside it has nothing to say any more. No-op where none is. */
void ply_whiteout_clear_aufs(struct ply_workdir *w, int dirfd, const char *name);

#endif
