/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rmtree: removing trees without following a symlink, without recursion, at any depth. */
#ifndef PLY_RMTREE_H
#define PLY_RMTREE_H

#include "sys.h"

/*
 * All names of a directory, one after the other, each with its NUL. For who removes some of them: what
 * getdents gives after a removal is undefined.
 */
int ply_rmtree_names(int dirfd, struct ply_buf *out);
#define PLY_FOR_EACH_NAME(p, buf) \
	for (const char *p = (buf).data; p && p < (buf).data + (buf).len; p += strlen(p) + 1)

/* A directory that its owner locked himself out of (mode 0 is what the kernel's overlayfs makes): 0700. */
void ply_rmtree_make_ours(struct ply_at at);
/* Removes what is no directory, and empty directories; nothing there is 0. -ENOTEMPTY: one that holds something. */
int ply_rmtree_shallow(struct ply_at at);
/* Removes everything inside directory fd but the name `keep`, which may be NULL. */
int ply_rmtree_empty(int dirfd, const char *keep);

#endif
