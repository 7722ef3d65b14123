/* SPDX-License-Identifier: GPL-2.0-or-later */
/* owndir: directories that belong to the daemon, in the work directory: where ext4 puts them, and who may look into them. */
#ifndef PLY_OWNDIR_H
#define PLY_OWNDIR_H

#include "sys.h"

/*
 * Opens a directory of ours, made where missing (apart: where ext4 has few inodes), for reading. What lies about its access is
 * undone, as the kernel does. An fd, the caller's, or -errno. *made, which may be NULL: it is new, and nothing is in it.
 */
int ply_owndir_open(int base, const char *name, bool apart, bool *made);
/*
 * Would a directory that is made in work and moved to upper's root be what it would be if it was made there? All
 * flags that the root's children inherit are work's as well. What does not fit otherwise (quotas of projects, encryption)
 * cannot be moved.
 */
bool ply_owndir_is_apart(int work, int upper);

#endif
