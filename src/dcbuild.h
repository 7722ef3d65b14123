/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dcbuild: reads the layers of one directory and merges their names, for dircache. */
#ifndef PLY_DCBUILD_H
#define PLY_DCBUILD_H

#include "fs.h"

struct ply_dcrec {
	uint64_t cookie;
	uint64_t ino;
	uint32_t name;			/* offset into the names that belong to it */
	uint32_t layer : 12;
	uint32_t end : 12;		/* behind the bottommost layer that has the name, in whatever form; 0: not known */
	uint32_t type : 4;
	uint32_t white : 1;		/* while merging: hides the name below */
};
_Static_assert(PLY_MAX_LAYERS + 1 < 1 << 12, "layers are numbered in 12 bits");

struct ply_dcbuild {
	uint64_t most;			/* so many bytes are read, in addition to PLY_DCBUILD_SMALL of each layer's directory */
	bool keep;			/* lookups will follow: what has few names stays open for them */
	struct ply_dcrec *rec;		/* in order of (hash, name); cookie is the hash; a name may stand there twice */
	size_t n, cap;
	struct ply_buf names;
	uint32_t *index;		/* hash table: number of a rec + 1 */
	size_t mask, indexed;		/* so many recs are in it */
};

void ply_dcbuild_free(struct ply_dcbuild *b);
#define ply_autodcbuild __attribute__((cleanup(ply_dcbuild_free))) struct ply_dcbuild

/*
 * All names of dir, without what is hidden. *b is zero but for what the caller wants. Caller holds tree and dir->lock.
 * -EFBIG: there is more to read.
 */
#define PLY_DCBUILD_SMALL 4096
int ply_dcbuild_merge(struct ply_fs *fs, struct ply_node *dir, struct ply_dcbuild *b);
/* In dircache.c: where the name's cookie starts. */
uint64_t ply_dircache_hash(const char *name);

#endif
