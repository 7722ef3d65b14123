// SPDX-License-Identifier: GPL-2.0-or-later
// wrap: ply_ring_init ply_ring_free ply_ring_fill ply_ring_enter ply_ring_next ply_ring_has_next fuse_session_fd
/*
 * How many queues the kernel has: one too few, and it would hold back requests for ever. And its threads, with a ring that is
 * played here: the first ones get a request each and are held up in it, those that come to help cannot begin at first.
 */
#include "unit.h"

#include "fuse_uring.h"
#include "fuse_workers.h"
#include "plyfs-fuse.h"
#include "ring.h"
#include "threads.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/uio.h>

int __wrap_ply_ring_init(struct ply_ring *r, unsigned int entries, int file);
void __wrap_ply_ring_free(struct ply_ring *r);
void __wrap_ply_ring_fill(struct ply_ring *r, const struct ply_ring_cmd *c);
int __wrap_ply_ring_enter(struct ply_ring *r, bool wait);
bool __wrap_ply_ring_next(struct ply_ring *r, uint64_t *tag, int32_t *res);
bool __wrap_ply_ring_has_next(const struct ply_ring *r);
int __wrap_fuse_session_fd(const struct fuse_session *se);

#define FIRST 2			/* threads of the start, on one processor */
#define FAILING 40		/* more than threads are ever made */

static atomic_uint inits, asked, serving, ended;
static atomic_bool release;
static _Thread_local struct iovec *buffer;

int __wrap_fuse_session_fd(const struct fuse_session *se)
{
	(void)se;
	return -1;
}

int __wrap_ply_ring_init(struct ply_ring *r, unsigned int entries, int file)
{
	unsigned int n = atomic_fetch_add(&inits, 1);

	(void)entries;
	(void)file;
	r->fd = -1;
	return n >= FIRST && n < FIRST + FAILING ? -EMFILE : 0;
}

void __wrap_ply_ring_free(struct ply_ring *r)
{
	(void)r;
}

void __wrap_ply_ring_fill(struct ply_ring *r, const struct ply_ring_cmd *c)
{
	(void)r;
	if (c->addr && !c->tag)
		buffer = (struct iovec *)(uintptr_t)c->addr;
}

int __wrap_ply_ring_enter(struct ply_ring *r, bool wait)
{
	(void)r;
	if (wait)
		usleep(1000);
	return 0;
}

/* One request for each thread, once it waits for some. */
bool __wrap_ply_ring_next(struct ply_ring *r, uint64_t *tag, int32_t *res)
{
	const struct fuse_in_header in = { .len = sizeof(in), .opcode = FUSE_STATFS, .unique = 2 };
	struct fuse_uring_req_header *head;

	(void)r;
	if (!buffer)
		return false;
	head = buffer[0].iov_base;
	memcpy(head->in_out, &in, sizeof(in));
	buffer = NULL;
	atomic_fetch_add(&asked, 1);
	*tag = 0;
	*res = 0;
	return true;
}

bool __wrap_ply_ring_has_next(const struct ply_ring *r)
{
	(void)r;
	return false;
}

static void hold(void *arg, struct fuse_buf *buf)
{
	(void)arg;
	(void)buf;
	atomic_fetch_add(&serving, 1);
	while (!atomic_load(&release))
		usleep(1000);
}

static void count_end(void *arg)
{
	(void)arg;
	atomic_fetch_add(&ended, 1);
}

static void on_wake(int sig)
{
	(void)sig;
}

static void who_cannot_begin_tries_again(void **state)
{
	const struct ply_uring_conf conf = { .serve = hold, .ended = count_end };
	struct sigaction wake = { .sa_handler = on_wake };
	int64_t limit = ply_now_ns() + 60 * 1000000000LL;
	struct ply_uring *u;
	cpu_set_t was, one;
	char why[200];
	int cpu = 0;

	(void)state;
	sigaction(PLY_WORKERS_WAKE, &wake, NULL);
	assert_int_equal(sched_getaffinity(0, sizeof(was), &was), 0);
	while (!CPU_ISSET(cpu, &was))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	if (ply_uring_new(&u, &conf, why, sizeof(why)))
		skip();
	assert_int_equal(atomic_load(&inits), FIRST);
	assert_int_equal(ply_uring_go(u, 1 << 16), 0);
	while (atomic_load(&serving) <= FIRST && ply_now_ns() < limit)
		usleep(1000);
	/* A third request is served while two are held up. */
	assert_true(atomic_load(&serving) > FIRST);
	assert_true(atomic_load(&inits) > FIRST + FAILING);
	atomic_store(&release, true);
	assert_true(ply_uring_serves(u));
	ply_uring_stop(u);
	assert_int_equal(atomic_load(&ended), ply_uring_threads(u));
	ply_uring_free(u);
	sched_setaffinity(0, sizeof(was), &was);
}

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
		cmocka_unit_test(who_cannot_begin_tries_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
