/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copyup: brings an object to upper, under its final name in one step, with its ancestors.
 * Concurrent callers for one node wait for one copy. Failure leaves no trace and the caller gets the errno.
 */
#ifndef PLY_COPYUP_H
#define PLY_COPYUP_H

#include "fs.h"

enum ply_copyup_what {
	PLY_COPYUP_DATA,	/* the file as a whole (completes a metacopy) */
	PLY_COPYUP_META,	/* metadata only where the mount creates metacopy files, else whole */
	PLY_COPYUP_TRUNC,	/* no data: the caller truncates to 0 */
};
/*
 * Takes the copy-up lock, then tree/dir inside; the caller holds no lock. 0 also when there
 * was nothing to do. -EROFS on a read-only mount; -ESTALE: the node is stale (caller takes ply_node_current()).
 * A node without a name gets an unnamed upper object (O_TMPFILE, pinned). Hard-linked lower files are
 * indexed (fs->work.index). Sets overlay.origin, overlay.impure on the parent, redirect for metacopy where needed.
 */
int ply_copyup(struct ply_fs *fs, struct ply_node *n, enum ply_copyup_what what);
/*
 * The same for a request that must be served also on a stale node: goes to the node that is
 * current. *out has a reference to it.
 */
int ply_copyup_current(struct ply_fs *fs, struct ply_node *n, enum ply_copyup_what what, struct ply_node **out);
/* The directory (and its ancestors) is in upper. Same locking. */
int ply_copyup_dir(struct ply_fs *fs, struct ply_node *dir);
/* Marks an upper directory overlay.impure=y once. dir has an upper. The caller holds tree (any way). */
int ply_copyup_mark_impure(struct ply_fs *fs, struct ply_node *dir);

#endif
