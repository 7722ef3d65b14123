// SPDX-License-Identifier: GPL-2.0-or-later
#include "unit.h"
#include "inum.h"

static void one_filesystem_keeps_its_numbers(void **state)
{
	struct ply_inum in;

	(void)state;
	ply_inum_init(&in, 1);
	assert_int_equal(ply_inum_make(&in, 0, 2), 2);
	assert_int_equal(ply_inum_make(&in, 0, 11018371), 11018371);
	assert_int_equal(ply_inum_make(&in, 0, INT64_MAX), INT64_MAX);
	assert_true(ply_inum_make(&in, 0, UINT64_MAX) >> 63);
}

static void zero_and_one_are_never_given(void **state)
{
	static const unsigned int nfs[] = { 1, 2, 3, 500, 1024 };

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		struct ply_inum in;

		ply_inum_init(&in, nfs[i]);
		for (unsigned int fs = 0; fs < nfs[i]; fs++)
			for (uint64_t ino = 0; ino < 4; ino++)
				assert_true(ply_inum_make(&in, fs, ino) > 1);
		assert_int_not_equal(ply_inum_make(&in, 0, 0), ply_inum_make(&in, 0, 1));
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Equal inode numbers on all filesystems, small ones, huge ones, and some in between. */
static void no_two_objects_share_a_number(void **state)
{
	static const unsigned int nfs[] = { 1, 2, 3, 4, 5, 64, 65, 1024 };
	static uint64_t got[1024 * 64];

	(void)state;
	for (size_t i = 0; i < sizeof(nfs) / sizeof(nfs[0]); i++) {
		struct ply_inum in;
		size_t n = 0;

		ply_inum_init(&in, nfs[i]);
		for (unsigned int fs = 0; fs < nfs[i]; fs++)
			for (unsigned int k = 0; k < 64; k++)
				got[n++] = ply_inum_make(&in, fs, k < 32 ? k : UINT64_MAX >> (k - 32));
		qsort(got, n, sizeof(got[0]), compare);
		for (size_t k = 1; k < n; k++)
			assert_int_not_equal(got[k], got[k - 1]);
	}
}

static void a_remount_gives_the_same(void **state)
{
	struct ply_inum a, b;

	(void)state;
	ply_inum_init(&a, 5);
	ply_inum_init(&b, 5);
	for (uint64_t ino = 1; ino; ino <<= 1)
		assert_int_equal(ply_inum_make(&a, 4, ino), ply_inum_make(&b, 4, ino));
	/* Written down: it must be the same in the next release too. */
	assert_int_equal(ply_inum_make(&a, 4, 7), UINT64_C(4) << 60 | 7);
	assert_int_equal(ply_inum_make(&a, 4, UINT64_MAX), UINT64_C(0xea4145bfd26d337a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_filesystem_keeps_its_numbers),
		cmocka_unit_test(zero_and_one_are_never_given),
		cmocka_unit_test(no_two_objects_share_a_number),
		cmocka_unit_test(a_remount_gives_the_same),
	};

	return cmocka_run_group_tests_name("inum", tests, NULL, NULL);
}
