/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dcbuild: reads the layers of one directory and merges their names, for dircache. */
#ifndef PLY_DCBUILD_H
#define PLY_DCBUILD_H

#include "fs.h"

struct ply_dcrec {
	uint64_t cookie;
	uint64_t ino;
	uint32_t name;			/* offset into the names that belong to it */
	uint16_t layer;
	uint8_t type;
	bool white;			/* while merging: hides the name below */
};

struct ply_dcbuild {
	struct ply_dcrec *rec;		/* in order of (hash, name); cookie is the hash; a name may stand there twice */
	size_t n, cap;
	struct ply_buf names;
	uint32_t *index;		/* hash table: number of a rec + 1 */
	size_t mask, indexed;		/* so many recs are in it */
};

void ply_dcbuild_free(struct ply_dcbuild *b);
#define ply_autodcbuild __attribute__((cleanup(ply_dcbuild_free))) struct ply_dcbuild

/* All names of dir, without what is hidden. *b is zero. Caller holds tree and dir->lock. */
int ply_dcbuild_merge(struct ply_fs *fs, struct ply_node *dir, struct ply_dcbuild *b);
/* In dircache.c: where the name's cookie starts. */
uint64_t ply_dircache_hash(const char *name);

#endif
