// SPDX-License-Identifier: GPL-2.0-or-later
#include "unit.h"
#include "idmap.h"

#include <errno.h>

static void podmans_mapping_goes_both_ways(void **state)
{
	struct ply_idmap m = { 0 };

	(void)state;
	assert_int_equal(ply_idmap_parse(&m, ":0:1:1234:1234:0:1:1235:1235:64302"), 0);
	assert_int_equal(m.n, 3);
	assert_false(ply_idmap_is_identity(&m));
	assert_int_equal(ply_idmap_show(&m, 0), 1);
	assert_int_equal(ply_idmap_show(&m, 1233), 1234);
	assert_int_equal(ply_idmap_show(&m, 1234), 0);
	assert_int_equal(ply_idmap_show(&m, 1235), 1235);
	assert_int_equal(ply_idmap_show(&m, 65536), 65536);
	assert_int_equal(ply_idmap_show(&m, 65537), PLY_ID_OVERFLOW);
	assert_int_equal(ply_idmap_store(&m, 0), 1234);
	assert_int_equal(ply_idmap_store(&m, 1), 0);
	assert_int_equal(ply_idmap_store(&m, 65537), PLY_ID_INVALID);
	for (uint32_t id = 0; id <= 65536; id++)
		assert_int_equal(ply_idmap_store(&m, ply_idmap_show(&m, id)), id);
	ply_idmap_free(&m);
	assert_true(ply_idmap_is_identity(&m));
}

static void no_mapping_is_identity(void **state)
{
	struct ply_idmap m = { 0 };

	(void)state;
	assert_true(ply_idmap_is_identity(&m));
	assert_int_equal(ply_idmap_show(&m, 4000000000u), 4000000000u);
	assert_int_equal(ply_idmap_store(&m, 7), 7);
	assert_int_equal(ply_idmap_parse(&m, ""), 0);
	assert_true(ply_idmap_is_identity(&m));
	assert_int_equal(ply_idmap_parse(&m, "0:0:4294967295"), 0);
	assert_true(ply_idmap_is_identity(&m));
	assert_int_equal(ply_idmap_show(&m, 4294967294u), 4294967294u);
	assert_int_equal(ply_idmap_show(&m, PLY_ID_INVALID), PLY_ID_OVERFLOW);
	ply_idmap_free(&m);
}

static void squash_wins(void **state)
{
	struct ply_idmap m = { 0 };

	(void)state;
	assert_int_equal(ply_idmap_parse(&m, "0:100000:65536:"), 0);
	assert_int_equal(ply_idmap_show(&m, 5), 100005);
	m.squash = true;
	m.squash_to = 42;
	assert_false(ply_idmap_is_identity(&m));
	assert_int_equal(ply_idmap_show(&m, 5), 42);
	assert_int_equal(ply_idmap_store(&m, 0), 42);
	ply_idmap_free(&m);
}

static void broken_text_changes_nothing(void **state)
{
	static const char *const bad[] = {
		"0", "0:0", "0:0:", "0:0:0", "a:0:1", "0:0:1:1", "0:0:1:1:1", "0:0:1::2:2:1", "-1:0:1",
		"0:0:+1", " 0:0:1", "0:0:1 ", "4294967295:0:1", "0:4294967295:1", "0:0:4294967296",
		"1:0:4294967295", "0:1:4294967295", "99999999999999999999:0:1", "0:0:1::", "::0:0:1", "0,0,1",
		/* overlaps, on disk and as shown */
		"0:0:10:9:100:1", "0:0:10:100:9:1", "10:10:5:0:0:11", "0:0:1:0:1:1",
	};
	struct ply_idmap m = { 0 };

	(void)state;
	assert_int_equal(ply_idmap_parse(&m, "0:5:1"), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (ply_idmap_parse(&m, bad[i]) != -EINVAL)
			fail_msg("'%s' was accepted", bad[i]);
		assert_int_equal(m.n, 1);
		assert_int_equal(ply_idmap_show(&m, 0), 5);
	}
	ply_idmap_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(podmans_mapping_goes_both_ways),
		cmocka_unit_test(no_mapping_is_identity),
		cmocka_unit_test(squash_wins),
		cmocka_unit_test(broken_text_changes_nothing),
	};

	return cmocka_run_group_tests_name("idmap", tests, NULL, NULL);
}
