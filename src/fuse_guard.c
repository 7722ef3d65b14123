// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_guard.h"
#include "compat.h"
#include "log.h"
#include "plyfs-fuse.h"
#include "util.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

#define GUARD_BUF ((size_t)2 << 20)	/* of one request; the kernel says if that is not enough */
#define GUARD_BUF_MAX ((size_t)1 << 30)
#define GUARD_NAME "plyfs-guard"

enum { GUARD_DEVICE, GUARD_DAEMON, GUARD_THREAD, GUARD_FDS };

static int guard_close_range(unsigned int from, unsigned int to, unsigned int flags)
{
	return from > to ? 0 : (int)syscall(SYS_close_range, from, to, flags);
}

/* `device` becomes one of its own of the same connection. Without, the original stays. */
static void guard_clone(int device)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	uint32_t of = (uint32_t)device;

	if (fd < 0)
		return;
	if (!ioctl(fd, FUSE_DEV_IOC_CLONE, &of))
		(void)dup3(fd, device, O_CLOEXEC);
	close(fd);
}

/* --- the guard --- */

static void guard_refuse(int device, const struct fuse_in_header *in)
{
	const struct fuse_out_header out = { .len = sizeof(out), .error = -ENOTCONN, .unique = in->unique };

	if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET || in->opcode == FUSE_INTERRUPT)
		return;
	/* -ENOENT: its caller was killed. */
	(void)!write(device, &out, sizeof(out));
}

void ply_guard_drain(int device, int thread)
{
	struct pollfd p[2] = { { .fd = thread, .events = POLLIN }, { .fd = device, .events = POLLIN } };
	size_t size = GUARD_BUF;
	char *buf = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (buf == MAP_FAILED || fcntl(device, F_SETFL, O_NONBLOCK))
		return;
	for (;;) {
		ssize_t n;

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[0].revents || (p[1].revents & POLLERR))
			return;
		n = read(device, buf, size);
		if (n >= (ssize_t)sizeof(struct fuse_in_header)) {
			guard_refuse(device, (const void *)buf);
		} else if (n < 0 && errno == EINVAL && size < GUARD_BUF_MAX) {
			buf = mremap(buf, size, 4 * size, MREMAP_MAYMOVE);
			size *= 4;
			if (buf == MAP_FAILED)
				return;
		} else if (n >= 0 || (errno != EAGAIN && errno != EINTR && errno != ENOENT)) {
			return;
		}
	}
}

static void guard_reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void guard_serve(const int fd[GUARD_FDS]) __attribute__((noreturn));
static void guard_serve(const int fd[GUARD_FDS])
{
	sigset_t set;
	char c;

	/* Its end is the business of the daemon, of the thread, and of the device. */
	sigfillset(&set);
	(void)sigprocmask(SIG_SETMASK, &set, NULL);
	(void)prctl(PR_SET_NAME, GUARD_NAME);
	guard_clone(fd[GUARD_DEVICE]);
	while (read(fd[GUARD_DAEMON], &c, 1) < 0 && errno == EINTR)
		;
	ply_guard_drain(fd[GUARD_DEVICE], fd[GUARD_THREAD]);
	_exit(0);
}

void ply_guard_main(int argc, char **argv)
{
	int fd[GUARD_FDS], i;

	if (argc != GUARD_FDS + 1 || strcmp(argv[0], GUARD_NAME))
		return;
	for (i = 0; i < GUARD_FDS; i++)
		fd[i] = atoi(argv[i + 1]);
	guard_serve(fd);
}

/* Returns if that may not be. In the memory of a process of many threads: it calls nothing but the kernel. */
static void guard_exec(const int fd[GUARD_FDS], char *const argv[])
{
	char *const none[] = { NULL };
	bool all = true;

	for (int i = 0; i < GUARD_FDS; i++)
		all = all && !fcntl(fd[i], F_SETFD, 0);
	/* No privileges come back this way. */
	if (all && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		(void)execve("/proc/self/exe", argv, none);
}

/*
 * Our program anew: of a fork, what the daemon has in memory would be copied, page by page, as it changes it. Where that cannot be
 * a fork does as well.
 */
static pid_t guard_fork(int device, int daemon, int thread, int other_end)
{
	const int fd[GUARD_FDS] = { [GUARD_DEVICE] = device, [GUARD_DAEMON] = daemon, [GUARD_THREAD] = thread };
	char name[] = GUARD_NAME, number[GUARD_FDS][12];
	char *argv[GUARD_FDS + 2] = { name };
	volatile bool failed = false;
	volatile pid_t pid;

	for (int i = 0; i < GUARD_FDS; i++) {
		snprintf(number[i], sizeof(number[i]), "%d", fd[i]);
		argv[i + 1] = number[i];
	}
	/* Not even its page tables are copied, for which all threads would wait. */
	pid = vfork();
	if (!pid) {
		guard_exec(fd, argv);
		failed = true;
		_exit(1);
	}
	if (!failed)
		return ply_max(pid, 0);
	guard_reap(pid);
	pid = fork();
	if (!pid) {
		close(other_end);
		guard_serve(fd);
	}
	return ply_max(pid, 0);
}

/* --- the thread --- */

void ply_guard_start(struct ply_guard *g, int device)
{
	int lo, hi, daemon, thread[2];

	/* Its other end is the daemon's alone, and ends with it. */
	if (pipe2(g->pipe, O_CLOEXEC))
		return;
	daemon = g->pipe[0];
	lo = ply_min(daemon, device);
	hi = ply_max(daemon, device);
	if (guard_close_range(0, (unsigned int)lo - 1, CLOSE_RANGE_UNSHARE)) {
		ply_debug("no descriptors of its own for the thread of notices: %s", strerror(errno));
		close(ply_take_fd(&g->pipe[0]));
		close(ply_take_fd(&g->pipe[1]));
		return;
	}
	(void)guard_close_range((unsigned int)lo + 1, (unsigned int)hi - 1, 0);
	(void)guard_close_range((unsigned int)hi + 1, ~0U, 0);
	guard_clone(device);
	if (!pipe2(thread, O_CLOEXEC)) {
		g->pid = guard_fork(device, daemon, thread[0], thread[1]);
		/* thread[1] stays: it ends with this thread. */
		close(thread[0]);
	}
	close(daemon);
}

void ply_guard_stop(struct ply_guard *g)
{
	if (g->pid > 0) {
		kill(g->pid, SIGKILL);
		guard_reap(g->pid);
	}
	g->pid = 0;
	for (int i = 0; i < 2; i++)
		if (g->pipe[i] >= 0)
			close(ply_take_fd(&g->pipe[i]));
}
