/* SPDX-License-Identifier: GPL-2.0-or-later */
/* publish: gives a finished copy its place in upper, and switches the node to it. */
#ifndef PLY_PUBLISH_H
#define PLY_PUBLISH_H

#include "copyup_ctx.h"

/*
 * The caller holds the node's copy-up lock and nothing else. Takes tree for reading and the parent's dir
 * lock for writing: the name is looked for again, since it may have been renamed or unlinked
 * during the copy. One without a name is kept by its pin alone. 0: published and switched (c->made is false
 * then); 1: the name is now in a directory that is not in upper yet, begin again; -errno, and nothing is left
 * but the temporary.
 */
int ply_publish(struct ply_copyup_ctx *c);
/* The node's data were filled in: it is no metacopy any more. Node lock inside; cannot fail. */
void ply_publish_data(struct ply_fs *fs, struct ply_node *n);
/* ply_copyup_mark_impure() itself. */
int ply_publish_impure(struct ply_fs *fs, struct ply_node *dir);

#endif
