// SPDX-License-Identifier: GPL-2.0-or-later
#include "slab.h"
#include "unit.h"

#include <stdlib.h>

#define OBJECTS 20000

struct object {
	unsigned char *at;
	size_t size;
};

static void fill(struct object *o, size_t size, unsigned char with)
{
	assert_non_null(o->at);
	assert_int_equal((uintptr_t)o->at % 8, 0);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(o->at[i], 0);
	memset(o->at, with, size);
	o->size = size;
}

static void check(const struct object *o, unsigned char with)
{
	for (size_t i = 0; i < o->size; i++)
		assert_int_equal(o->at[i], with);
}

static void objects_of_all_sizes_do_not_overlap(void **state)
{
	struct object *o = calloc(OBJECTS, sizeof(*o));
	struct ply_slabs s;
	unsigned int seed = 1;

	(void)state;
	assert_non_null(o);
	ply_slabs_init(&s);
	for (unsigned int round = 0; round < 5 * OBJECTS; round++) {
		unsigned int i;

		seed = seed * 1103515245 + 12345;
		i = (seed >> 8) % OBJECTS;
		if (o[i].at) {
			check(&o[i], (unsigned char)i);
			ply_slab_free(&s, o[i].at, o[i].size);
			o[i].at = NULL;
		} else {
			size_t size = 1 + (seed >> 16) % (PLY_SLAB_MAX + 100);

			o[i].at = ply_slab_alloc(&s, size);
			fill(&o[i], size, (unsigned char)i);
		}
	}
	for (unsigned int i = 0; i < OBJECTS; i++) {
		if (!o[i].at)
			continue;
		check(&o[i], (unsigned char)i);
		ply_slab_free(&s, o[i].at, o[i].size);
	}
	ply_slabs_end(&s);
	free(o);
}

static size_t empty_slabs(const struct ply_slabs *s)
{
	size_t n = 0;

	for (const struct ply_list *l = s->empty.next; l != &s->empty; l = l->next)
		n++;
	return n;
}

/* Other sizes come after the first have gone: no slab is lost to the size that it had. */
static void emptied_slabs_are_used_again(void **state)
{
	static const char zero[96];
	static void *p[OBJECTS];
	struct ply_slabs s;
	size_t empty = 0;

	(void)state;
	ply_slabs_init(&s);
	for (size_t size = 96; size >= 64; size -= 8) {
		for (int i = 0; i < OBJECTS; i++) {
			p[i] = ply_slab_alloc(&s, size);
			assert_non_null(p[i]);
			assert_memory_equal(p[i], zero, size);
			memset(p[i], 0xff, size);
		}
		for (int i = 0; i < OBJECTS; i++)
			ply_slab_free(&s, p[(i * 7919) % OBJECTS], size);
		/* All of them are empty now, and no more were needed than the first time. */
		if (size == 96)
			empty = empty_slabs(&s);
		assert_int_equal(empty_slabs(&s), empty);
	}
	ply_slabs_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_of_all_sizes_do_not_overlap),
		cmocka_unit_test(emptied_slabs_are_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
