// SPDX-License-Identifier: GPL-2.0-or-later
/* How many queues the kernel has: one too few, and it would hold back requests for ever. */
#include "unit.h"

#include "fuse_uring.h"

static void lists_of_processors(void **state)
{
	static const struct {
		const char *list;
		unsigned int n;
	} t[] = {
		{ "0\n", 1 }, { "0-1\n", 2 }, { "0-239", 240 }, { "0-3,8-11\n", 8 }, { "0,2,4\n", 3 },
		{ "", 0 }, { "\n", 0 }, { "0-\n", 0 }, { "-3\n", 0 }, { "3-1\n", 0 }, { "0 1\n", 0 }, { "0-99999999\n", 0 },
		{ "none\n", 0 }, { ",1\n", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(ply_uring_count_cpus(t[i].list), t[i].n);
}

/* Where no thread of ours serves, replies go the usual way. */
static void no_request_no_payload(void **state)
{
	(void)state;
	assert_null(ply_uring_payload(1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_of_processors),
		cmocka_unit_test(no_request_no_payload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
