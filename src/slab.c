// SPDX-License-Identifier: GPL-2.0-or-later
#include "slab.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SLAB_SIZE (size_t)(64 << 10)
#define REGION_SLABS 16			/* mapped at once: few mappings, however much there is */
#define REGION_SIZE (REGION_SLABS * SLAB_SIZE)
#define SLAB_HEAD 16			/* the slab's description, for those who have an object only */
#define SLAB_WARM 4			/* empty ones that keep their memory: one object that comes and goes must cost little */

#if defined(__SANITIZE_ADDRESS__)
#define SLAB_IS_MALLOC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_IS_MALLOC 1
#endif
#endif
#ifndef SLAB_IS_MALLOC
#define SLAB_IS_MALLOC 0
#endif

struct ply_slab {
	struct ply_list link;		/* partial or empty; of a full one not in any list */
	char *mem;
	void *free;			/* chain of freed objects */
	uint32_t used;			/* objects */
	uint32_t fresh;			/* offset of what was never used */
	uint32_t size;			/* of an object; 0: empty */
};

struct ply_slab_region {
	struct ply_slab_region *next;
	void *map;
	size_t len;
	struct ply_slab slab[REGION_SLABS];
};

void ply_slabs_init(struct ply_slabs *s)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	for (size_t i = 0; i < PLY_SLAB_CLASSES; i++)
		ply_list_init(&s->partial[i]);
	ply_list_init(&s->empty);
}

void ply_slabs_end(struct ply_slabs *s)
{
	while (s->regions) {
		struct ply_slab_region *r = s->regions;

		s->regions = r->next;
		munmap(r->map, r->len);
		free(r);
	}
	pthread_mutex_destroy(&s->lock);
}

/* More empty slabs, at an address that is a multiple of their size. No lock: mapping may wait for others that map. */
static struct ply_slab_region *region_make(void)
{
	struct ply_slab_region *r = calloc(1, sizeof(*r));
	uintptr_t at;

	if (!r)
		return NULL;
	r->len = REGION_SIZE + SLAB_SIZE;
	r->map = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r->map == MAP_FAILED) {
		free(r);
		return NULL;
	}
	/* A page of its own for a few nodes, not two megabytes. */
	(void)madvise(r->map, r->len, MADV_NOHUGEPAGE);
	at = ((uintptr_t)r->map + SLAB_SIZE - 1) & ~(uintptr_t)(SLAB_SIZE - 1);
	for (unsigned int i = 0; i < REGION_SLABS; i++)
		r->slab[i].mem = (char *)r->map + (at - (uintptr_t)r->map) + i * SLAB_SIZE;
	return r;
}

static void slabs_add(struct ply_slabs *s, struct ply_slab_region *r)
{
	for (unsigned int i = 0; i < REGION_SLABS; i++)
		ply_list_add_tail(&s->empty, &r->slab[i].link);
	r->next = s->regions;
	s->regions = r;
}

/* NULL: there is none. */
static struct ply_slab *slab_with_room(struct ply_slabs *s, uint32_t size)
{
	struct ply_list *partial = &s->partial[size / 8 - 1];
	struct ply_slab *slab;

	if (!ply_list_empty(partial))
		return ply_container_of(partial->next, struct ply_slab, link);
	if (ply_list_empty(&s->empty))
		return NULL;
	slab = ply_container_of(s->empty.next, struct ply_slab, link);
	if (s->warm)
		s->warm--;
	ply_list_del(&slab->link);
	slab->free = NULL;
	slab->used = 0;
	slab->fresh = SLAB_HEAD;
	slab->size = size;
	memcpy(slab->mem, &slab, sizeof(slab));
	ply_list_add(partial, &slab->link);
	return slab;
}

static bool slab_is_full(const struct ply_slab *slab)
{
	return !slab->free && slab->fresh + slab->size > SLAB_SIZE;
}

void *ply_slab_alloc(struct ply_slabs *s, size_t size)
{
	uint32_t rounded = (uint32_t)((size + 7) & ~(size_t)7);
	struct ply_slab *slab;
	void *p = NULL;

	if (SLAB_IS_MALLOC || size > PLY_SLAB_MAX || !size)
		return calloc(1, size);
	pthread_mutex_lock(&s->lock);
	slab = slab_with_room(s, rounded);
	if (!slab) {
		struct ply_slab_region *r;

		pthread_mutex_unlock(&s->lock);
		r = region_make();
		pthread_mutex_lock(&s->lock);
		if (r)
			slabs_add(s, r);
		slab = slab_with_room(s, rounded);
	}
	if (slab) {
		if (slab->free) {
			p = slab->free;
			memcpy(&slab->free, p, sizeof(slab->free));
		} else {
			p = slab->mem + slab->fresh;
			slab->fresh += rounded;
		}
		slab->used++;
		if (slab_is_full(slab))
			ply_list_del(&slab->link);
	}
	pthread_mutex_unlock(&s->lock);
	if (p)
		memset(p, 0, size);
	return p;
}

/* False: its memory is to be given back, which takes a while; it is in no list until then. */
static bool slab_keep(struct ply_slabs *s, struct ply_slab *slab)
{
	ply_list_del(&slab->link);
	slab->size = 0;
	if (s->warm >= SLAB_WARM)
		return false;
	s->warm++;
	ply_list_add(&s->empty, &slab->link);
	return true;
}

void ply_slab_free(struct ply_slabs *s, void *p, size_t size)
{
	struct ply_slab *slab;
	bool kept;

	if (!p)
		return;
	if (SLAB_IS_MALLOC || size > PLY_SLAB_MAX || !size) {
		free(p);
		return;
	}
	memcpy(&slab, (char *)p - ((uintptr_t)p & (SLAB_SIZE - 1)), sizeof(slab));
	pthread_mutex_lock(&s->lock);
	/* The one that was freed from last is filled first: the others may become empty. */
	if (slab_is_full(slab))
		ply_list_add_tail(&s->partial[slab->size / 8 - 1], &slab->link);
	memcpy(p, &slab->free, sizeof(slab->free));
	slab->free = p;
	kept = --slab->used || slab_keep(s, slab);
	pthread_mutex_unlock(&s->lock);
	if (kept)
		return;
	(void)madvise(slab->mem, SLAB_SIZE, MADV_DONTNEED);
	pthread_mutex_lock(&s->lock);
	ply_list_add_tail(&s->empty, &slab->link);
	pthread_mutex_unlock(&s->lock);
}
