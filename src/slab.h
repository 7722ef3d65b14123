/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * slab: memory for many small objects of a few sizes, without malloc's header and rounding to 16. Whole
 * slabs that have become empty go back to the system. With AddressSanitizer it is malloc, so that that sees all.
 */
#ifndef PLY_SLAB_H
#define PLY_SLAB_H

#include "util.h"
#include <pthread.h>

#define PLY_SLAB_MAX 384	/* larger objects are malloc's */
#define PLY_SLAB_CLASSES (PLY_SLAB_MAX / 8)

struct ply_slab;
struct ply_slab_region;

struct ply_slabs {
	pthread_mutex_t lock;				/* leaf */
	struct ply_list partial[PLY_SLAB_CLASSES];	/* slabs with room, by object size / 8 - 1 */
	struct ply_list empty;				/* those that still have their memory first */
	unsigned int warm;				/* how many have */
	struct ply_slab_region *regions;
};

void ply_slabs_init(struct ply_slabs *s);
/* Whatever is still allocated goes with it, but for objects larger than PLY_SLAB_MAX. */
void ply_slabs_end(struct ply_slabs *s);
/* Zeroed, aligned to 8. NULL without memory. */
void *ply_slab_alloc(struct ply_slabs *s, size_t size);
/* With the size that it was allocated with. */
void ply_slab_free(struct ply_slabs *s, void *p, size_t size);

#endif
