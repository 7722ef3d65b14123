/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resolve: what the layers say about one name of a directory (kernel: ovl_lookup,
 * ovl_lookup_layer, ovl_lookup_single in fs/overlayfs/namei.c). Makes no node.
 */
#ifndef PLY_RESOLVE_H
#define PLY_RESOLVE_H

#include "fs.h"

/* Overlay attributes that an object was seen to have. */
enum {
	PLY_MARK_OPAQUE = 1,
	PLY_MARK_REDIRECT = 2,
	PLY_MARK_METACOPY = 4,
	PLY_MARK_ORIGIN = 8,
	PLY_MARK_IMPURE = 16,
	PLY_MARK_FUSE_ORIGIN = 32,	/* fuse-overlayfs's */
	PLY_MARK_ALL = 63,
};

struct ply_resolved {
	/* The object with the metadata: the topmost. */
	unsigned int layer;
	struct stat st;
	unsigned int marks;
	bool xwhite;			/* a directory of upper that holds xattr whiteouts */
	/* Directories: the lowers that merge; paths belong to this struct. */
	struct ply_ldir *lower;
	int *fd;			/* beside lower, or NULL: directories that were opened, to be read, on the way; -1 */
	unsigned int nlower;
	struct stat lower_st;		/* of lower[0] */
	/* Metacopy: where the data is. */
	struct ply_dataref *data;
	unsigned int wasted;		/* layers that were asked in vain */
};

/* What is known of a name before it is looked for; all 0: nothing. */
struct ply_resolve_hint {
	unsigned int from;		/* the topmost layer that has it */
	unsigned int end;		/* no layer from here on has it; 0: not known */
	unsigned int patience;		/* so many layers may be asked in vain; 0: all */
};

void ply_resolved_free(struct ply_resolved *r);
/* Open directories are the new node's, whose lowers are r's. */
void ply_resolved_keep_fds(struct ply_fs *fs, struct ply_resolved *r, struct ply_node *n);
#define ply_autoresolved __attribute__((cleanup(ply_resolved_free))) struct ply_resolved

/*
 * *out is zero before. -ENOENT absent; -EIO metacopy without data and other broken content; -EPERM a redirect that may
 * not be followed; -EAGAIN hint->patience came to its end. Caller holds tree, and dir->lock unless tree for writing.
 */
int ply_resolve(struct ply_fs *fs, struct ply_node *dir, const char *name, const struct ply_resolve_hint *hint,
		struct ply_resolved *out);
/* The same for an entry of work/index, whose lower (at layer, name of dir) was resolved to *low before. */
int ply_resolve_indexed(struct ply_fs *fs, struct ply_node *dir, const char *name, const struct ply_resolved *low,
			const char *hex, const struct stat *st, struct ply_resolved *out);
/* Marks of an object. */
int ply_resolve_marks(const struct ply_layer *l, struct ply_at at, unsigned int *marks);
/* May ld hold xattr whiteouts? */
bool ply_resolve_xwhite(const struct ply_fs *fs, const struct ply_ldir *ld);
/* New dataref for `name` below ld of dir. */
int ply_resolve_dataref(struct ply_fs *fs, struct ply_node *dir, struct ply_ldir *ld, const char *name,
			struct ply_dataref **out);

#endif
