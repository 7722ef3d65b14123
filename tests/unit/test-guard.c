// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the guard does with requests that a killed daemon had not read: a socket is the device, as both keep messages apart. And
 * the guard itself: a process that starts when it is asked for, and ends with the thread.
 */
#include "unit.h"

#include "fuse_guard.h"
#include "plyfs-fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct drain {
	int device[2], thread[2];
	pthread_t t;
};

static void *drains(void *arg)
{
	const struct drain *d = arg;

	ply_guard_drain(d->device[1], d->thread[0]);
	return NULL;
}

static void drain_open(struct drain *d)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, d->device), 0);
	assert_int_equal(pipe2(d->thread, O_CLOEXEC), 0);
}

static void drain_start(struct drain *d)
{
	drain_open(d);
	assert_int_equal(pthread_create(&d->t, NULL, drains, d), 0);
}

static void drain_end(struct drain *d)
{
	pthread_join(d->t, NULL);
	for (int i = 0; i < 2; i++) {
		if (d->device[i] >= 0)
			close(d->device[i]);
		if (d->thread[i] >= 0)
			close(d->thread[i]);
	}
}

static void ask(const struct drain *d, uint32_t opcode, uint64_t unique, size_t more)
{
	char buf[4096] = { 0 };
	struct fuse_in_header in = { .len = (uint32_t)(sizeof(in) + more), .opcode = opcode, .unique = unique };

	memcpy(buf, &in, sizeof(in));
	assert_int_equal(send(d->device[0], buf, sizeof(in) + more, 0), sizeof(in) + more);
}

static void is_refused(const struct drain *d, uint64_t unique)
{
	struct fuse_out_header out;

	assert_int_equal(recv(d->device[0], &out, sizeof(out), 0), sizeof(out));
	assert_int_equal(out.len, sizeof(out));
	assert_int_equal(out.error, -ENOTCONN);
	assert_int_equal(out.unique, unique);
}

static void refuses_what_wants_an_answer(void **state)
{
	struct drain d;

	(void)state;
	drain_start(&d);
	ask(&d, FUSE_LOOKUP, 2, 5);
	is_refused(&d, 2);
	/* Nobody waits for these, and an answer is an error. */
	ask(&d, FUSE_FORGET, 4, 8);
	ask(&d, FUSE_BATCH_FORGET, 6, 24);
	ask(&d, FUSE_INTERRUPT, 8, 8);
	ask(&d, FUSE_WRITE, 10, 2000);
	is_refused(&d, 10);
	ask(&d, FUSE_GETATTR, 12, 16);
	is_refused(&d, 12);
	close(d.thread[1]);
	d.thread[1] = -1;
	drain_end(&d);
}

static void ends_with_the_connection(void **state)
{
	struct drain d;

	(void)state;
	drain_start(&d);
	ask(&d, FUSE_LOOKUP, 2, 5);
	is_refused(&d, 2);
	close(d.device[0]);
	d.device[0] = -1;
	drain_end(&d);
}

/* The thread is gone before anybody looks: what waits is the business of the connection's end. */
static void ends_with_the_thread(void **state)
{
	struct drain d;
	struct fuse_out_header out;

	(void)state;
	drain_open(&d);
	close(d.thread[1]);
	d.thread[1] = -1;
	ask(&d, FUSE_LOOKUP, 2, 5);
	assert_int_equal(pthread_create(&d.t, NULL, drains, &d), 0);
	pthread_join(d.t, NULL);
	assert_int_equal(recv(d.device[0], &out, sizeof(out), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	close(d.device[0]);
	close(d.device[1]);
	close(d.thread[0]);
}

/* --- the process --- */

struct thread {
	struct ply_guard g;
	int device, other;
	atomic_bool started, end;
	bool sees_other;
};

static void *gives_notices(void *arg)
{
	struct thread *t = arg;

	ply_guard_start(&t->g, t->device);
	t->sees_other = fcntl(t->other, F_GETFD) >= 0;
	atomic_store(&t->started, true);
	while (!atomic_load(&t->end))
		usleep(1000);
	return NULL;
}

static void thread_begin(struct thread *t, pthread_t *id, int device, int other)
{
	*t = (struct thread){ .g = PLY_GUARD_INIT, .device = device, .other = other };
	assert_int_equal(pthread_create(id, NULL, gives_notices, t), 0);
	while (!atomic_load(&t->started))
		usleep(1000);
}

static void thread_end(struct thread *t, pthread_t id)
{
	atomic_store(&t->end, true);
	pthread_join(id, NULL);
}

static bool name_is(pid_t pid, const char *want)
{
	char path[64], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (f) {
		if (!fgets(name, sizeof(name), f))
			name[0] = '\0';
		fclose(f);
	}
	name[strcspn(name, "\n")] = '\0';
	return !strcmp(name, want);
}

static void answers_when_the_daemon_is_gone(void **state)
{
	int device[2];
	struct drain d = { .device = { -1, -1 } };
	struct thread t;
	pthread_t id;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, device), 0);
	d.device[0] = device[0];
	thread_begin(&t, &id, device[1], device[0]);
	if (!t.g.pid) {			/* Linux before 5.9 */
		thread_end(&t, id);
		ply_guard_stop(&t.g);
		close(device[0]);
		close(device[1]);
		skip();
	}
	/* Of its own: no descriptor but the device. The rest of the process keeps its. */
	assert_false(t.sees_other);
	assert_true(fcntl(device[0], F_GETFD) >= 0);
	while (!name_is(t.g.pid, "plyfs-guard"))
		usleep(1000);
	ask(&d, FUSE_LOOKUP, 2, 5);
	/* While the daemon lives it is not the guard that answers. */
	assert_int_equal(poll(&(struct pollfd){ .fd = device[0], .events = POLLIN }, 1, 50), 0);
	/* The daemon is gone, as far as the guard knows. */
	close(t.g.pipe[1]);
	t.g.pipe[1] = -1;
	is_refused(&d, 2);
	thread_end(&t, id);
	assert_int_equal(waitpid(t.g.pid, NULL, 0), t.g.pid);
	t.g.pid = 0;
	ply_guard_stop(&t.g);
	close(device[0]);
	close(device[1]);
}

/* Where the program cannot be run anew. */
static void answers_as_a_fork(void **state)
{
	char dir[] = "/tmp/plyfs-guard-XXXXXX";
	int device[2], status;
	struct drain d = { .device = { -1, -1 } };
	struct thread t;
	pthread_t id;
	pid_t pid;

	(void)state;
#ifdef __SANITIZE_THREAD__
	skip();		/* there vfork() is fork(), and nobody learns that the child could not run it */
#endif
	if (geteuid())
		skip();
	assert_non_null(mkdtemp(dir));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, device), 0);
	d.device[0] = device[0];
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (chroot(dir) || chdir("/"))
			_exit(2);
		thread_begin(&t, &id, device[1], device[0]);
		close(device[1]);
		if (!t.g.pid)
			_exit(3);
		/* Both are gone, one after the other. */
		close(t.g.pipe[1]);
		ask(&d, FUSE_LOOKUP, 2, 5);
		is_refused(&d, 2);
		thread_end(&t, id);
		_exit(waitpid(t.g.pid, NULL, 0) != t.g.pid);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(rmdir(dir), 0);
	close(device[0]);
	close(device[1]);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 2 || WEXITSTATUS(status) == 3)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void is_stopped(void **state)
{
	int device[2];
	struct thread t;
	pthread_t id;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, device), 0);
	thread_begin(&t, &id, device[1], device[0]);
	pid = t.g.pid;
	thread_end(&t, id);
	ply_guard_stop(&t.g);
	assert_int_equal(t.g.pid, 0);
	assert_int_equal(t.g.pipe[0], -1);
	assert_int_equal(t.g.pipe[1], -1);
	if (pid) {
		assert_int_equal(kill(pid, 0), -1);
		assert_int_equal(errno, ESRCH);
	}
	ply_guard_stop(&t.g);
	close(device[0]);
	close(device[1]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_what_wants_an_answer),
		cmocka_unit_test(ends_with_the_connection),
		cmocka_unit_test(ends_with_the_thread),
		cmocka_unit_test(answers_when_the_daemon_is_gone),
		cmocka_unit_test(answers_as_a_fork),
		cmocka_unit_test(is_stopped),
	};

	ply_guard_main(argc, argv);
	return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
