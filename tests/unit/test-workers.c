// SPDX-License-Identifier: GPL-2.0-or-later
/* How many threads read requests: the judgement of the watch, tick by tick. */
#include "unit.h"

#include "fuse_follow.h"
#include "fuse_workers.h"

#define MS 1000000LL

/* One reader on two CPUs, at most sixteen; everything else 0. */
static struct ply_workers_tick tick(void)
{
	return (struct ply_workers_tick){ .readers = 1, .max = 16, .cpus = 2, .window = 2 * MS };
}

/* What becomes of n ticks that are all the same: their sum. */
static int judge(const struct ply_workers_tick *k, unsigned int n)
{
	struct ply_workers_trend t = { 0 };
	int sum = 0;

	while (n--)
		sum += ply_workers_judge(&t, k);
	return sum;
}

static void test_one_that_keeps_up_stays_alone(void **state)
{
	struct ply_workers_tick k = tick();

	(void)state;
	k.busy = 2 * MS * 6 / 10;
	k.pending = true;	/* a RELEASE behind an OPEN */
	k.held = 10000;
	assert_int_equal(judge(&k, 100), 0);
}

static void test_a_request_that_sleeps_gets_company_at_once(void **state)
{
	struct ply_workers_tick k = tick();

	(void)state;
	k.busy = 2 * MS;
	k.held = MS;
	k.sleep = 1;
	assert_int_equal(judge(&k, 100), 0);	/* nobody waits behind it */
	k.pending = true;
	assert_int_equal(judge(&k, 1), 1);
	k.readers = k.sleep = 15;
	k.busy = 15 * k.window;
	assert_int_equal(judge(&k, 1), 1);
	k.readers = k.sleep = 16;
	k.busy = 16 * k.window;
	assert_int_equal(judge(&k, 100), 0);
}

static void test_requests_that_wait_for_a_disk(void **state)
{
	struct ply_workers_tick k = tick();

	(void)state;
	/* Each is short, but no time is left between them. */
	k.busy = k.window;
	k.sleep = 1;
	k.held = 50000;
	k.pending = true;
	assert_int_equal(judge(&k, 2), 0);
	assert_int_equal(judge(&k, 3), 1);
}

static void test_requests_that_compute(void **state)
{
	struct ply_workers_tick k = tick();

	(void)state;
	k.busy = k.window;
	k.held = MS;
	k.pending = true;
	/* On two CPUs the clients have the other one. */
	assert_int_equal(judge(&k, 100), 0);
	k.cpus = 8;
	assert_int_equal(judge(&k, 3), 1);
	k.readers = 4;
	k.busy = 4 * k.window;
	assert_int_equal(judge(&k, 100), 0);
	k.cpus = 1;
	k.readers = 1;
	k.busy = k.window;
	assert_int_equal(judge(&k, 100), 0);
	/* A large copy: the others have waited long enough. */
	k.held = 25 * MS;
	assert_int_equal(judge(&k, 1), 1);
}

static void test_one_tick_without_a_queue_starts_anew(void **state)
{
	struct ply_workers_tick full = tick(), idle = tick();
	struct ply_workers_trend t = { 0 };
	unsigned int i;

	(void)state;
	full.busy = full.window;
	full.pending = true;
	for (i = 0; i < 20; i++)
		assert_int_equal(ply_workers_judge(&t, i % 3 == 2 ? &idle : &full), 0);
}

static void test_who_is_not_needed_any_more_goes(void **state)
{
	struct ply_workers_tick k = tick();

	(void)state;
	k.readers = 3;
	k.busy = k.window;		/* two could do it with ease */
	assert_int_equal(judge(&k, 7), 0);
	assert_int_equal(judge(&k, 8), -1);
	k.busy = k.window * 16 / 10;	/* three are in use */
	assert_int_equal(judge(&k, 100), 0);
	k.readers = 1;
	k.busy = 0;
	assert_int_equal(judge(&k, 100), 0);
}

static void test_one_client_is_followed(void **state)
{
	struct ply_follow_tick k = { .requests = 100, .client = 7 }, few = { .requests = 3, .client = 7 };
	struct ply_follow_tick many = { .requests = 100, .client = 7, .shared = true }, hidden = { .requests = 100 };
	struct ply_follow f;

	(void)state;
	ply_follow_init(&f);
	f.client = 7;
	/* one tick may be the end of something */
	assert_false(ply_follow_pays(&f, &k));
	assert_true(ply_follow_pays(&f, &k));
	assert_true(ply_follow_pays(&f, &k));
	assert_false(ply_follow_pays(&f, &many));
	assert_false(ply_follow_pays(&f, &k));
	assert_true(ply_follow_pays(&f, &k));
	assert_false(ply_follow_pays(&f, &few));
	assert_false(ply_follow_pays(&f, &hidden));
	assert_false(ply_follow_pays(&f, &hidden));
	/* another one than before */
	assert_false(ply_follow_pays(&f, &k));
	k.client = 8;
	assert_false(ply_follow_pays(&f, &k));
}

static void test_where_a_client_runs(void **state)
{
	(void)state;
	assert_int_equal(ply_follow_cpu_of("12 (a) b) 1 2) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 "
					   "27 28 29 30 31 32 33 34 35 5 0 0 0\n"), 5);
	assert_int_equal(ply_follow_cpu_of("12 (a) S 1 2 3"), -1);
	assert_int_equal(ply_follow_cpu_of(""), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_that_keeps_up_stays_alone),
		cmocka_unit_test(test_a_request_that_sleeps_gets_company_at_once),
		cmocka_unit_test(test_requests_that_wait_for_a_disk),
		cmocka_unit_test(test_requests_that_compute),
		cmocka_unit_test(test_one_tick_without_a_queue_starts_anew),
		cmocka_unit_test(test_who_is_not_needed_any_more_goes),
		cmocka_unit_test(test_one_client_is_followed),
		cmocka_unit_test(test_where_a_client_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
