/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lookup: (directory, name) -> node, through the layers: first layer wins, directories
 * merge, whiteouts and opaque marks hide, redirects, metacopy and the index are followed
 * (kernel: fs/overlayfs/namei.c ovl_lookup).
 */
#ifndef PLY_LOOKUP_H
#define PLY_LOOKUP_H

#include "dircache.h"
#include "fs.h"

/* May a user look this name up: -ENAMETOOLONG, -ENOENT (AUFS's private names), -EINVAL. */
int ply_lookup_check_name(const char *name);
/*
 * Takes tree for reading and dir->lock inside. *out has a reference; raw stat of
 * the metadata object in *st (owner as on disk; pass to ply_attr_show). -ENOENT (absent), -ENAMETOOLONG (> 255
 * bytes), -ENOTDIR, -ESTALE (redirect loops and other hostile content: -ESTALE / -EIO), -errno of the layer.
 */
int ply_lookup(struct ply_fs *fs, struct ply_node *dir, const char *name,
	       struct ply_node **out, struct stat *st);
/* The node alone: one that is known already is not looked at in its layer. */
int ply_lookup_node(struct ply_fs *fs, struct ply_node *dir, const char *name, struct ply_node **out);
/* Same for callers that hold tree (any way) and dir->lock (any way; not needed under tree for writing). */
int ply_lookup_locked(struct ply_fs *fs, struct ply_node *dir, const char *name,
		      struct ply_node **out, struct stat *st);
/*
 * Does any lower layer of `dir` have `name` (after the upper; whiteouts count as hiding)?
 * So: must a whiteout stay behind when the upper's object goes. 1 yes, 0 no, -errno.
 * Locks as ply_lookup_locked. Uses the dircache's layers only as a hint never wrongly.
 */
int ply_lookup_lower_has(struct ply_fs *fs, struct ply_node *dir, const char *name);
/* What is at `name` of dir's upper directory: 0 nothing, 1 a whiteout, 2 an object; -errno. Locks as above. */
int ply_lookup_upper_state(struct ply_fs *fs, struct ply_node *dir, const char *name, struct stat *st);
/*
 * The same for a name that has the live node n, which may tell it without looking: then *sure, and *st is not set
 * (such a file has no other link). Somebody else's changes of upper are not seen then.
 */
int ply_lookup_node_state(struct ply_fs *fs, struct ply_node *dir, const char *name, struct ply_node *n,
			  struct stat *st, bool *sure);
/*
 * After something was made in upper at (dir, name) by us: node for it. Caller holds dir->lock
 * for writing (or tree for writing). A directory made here is opaque or has no lower: pure. *out has a reference.
 */
int ply_lookup_created(struct ply_fs *fs, struct ply_node *dir, const char *name,
		       const struct stat *st, struct ply_node **out);

#endif
