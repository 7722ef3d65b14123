/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * readdir: listings from the dircache. Stateless: the cookie is the position.
 *
 * The kernel caches listings (OPENDIR is answered ENOSYS). It serves a reader who waits at
 * position p from a listing that another reader brought only if some entry in it ends at p; if the
 * name at p has gone meanwhile, the reader would see an early end. So the end of a
 * listing of a directory that has lost a name (dir->lost_name) is preceded by an
 * inval_inode(dir, 0, 0): the kernel then drops those pages and asks us instead.
 */
#ifndef PLY_READDIR_H
#define PLY_READDIR_H

#include "fs.h"

struct ply_readdir_entry {
	const char *name;
	uint64_t off;			/* cookie to go on after this entry */
	uint64_t ino;
	uint8_t type;			/* DT_* */
	struct ply_node *node;		/* plus only, may be NULL (".", "..", races): reference is the callback's */
	const struct stat *st;		/* plus only: as shown to users (ply_attr_show applied) */
};
/*
 * Lists from `off` on: "." (off 1), ".." (off 2), then cookies (>= 16). emit returns 0 to go on,
 * 1 when the buffer is full (the entry was not taken, and the node reference stays ours). plus: looks each name
 * up that the kernel does not know already, unless `pid` (0: nobody) does not care (listers.h).
 * Takes its own locks; emit is called without any. Returns 0, or -errno when nothing was emitted.
 * *at_end: the end was reached (the caller does the inval of the comment above before an empty reply).
 */
int ply_readdir(struct ply_fs *fs, struct ply_node *dir, uint64_t off, bool plus, pid_t pid,
		int (*emit)(void *arg, const struct ply_readdir_entry *e), void *arg, bool *at_end);

#endif
