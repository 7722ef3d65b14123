// SPDX-License-Identifier: GPL-2.0-only
/* Mappings of files in passthrough mode. */
#include "abi.h"
#include "env.h"
#include "server.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096

static struct srv *s;
static sigjmp_buf sigbus_jump;

static void sigbus(int sig)
{
	siglongjmp(sigbus_jump, sig);
}

static int prepare(const char *name, const char *data, int flags, int *id)
{
	env_write(data, "%s/%s", s->backing, name);
	*id = srv_passthrough(s, name);
	return srv_open(s, name, flags);
}

static void shared(void)
{
	int id, fd = prepare("shared", "0123456789", O_RDWR, &id), below;
	char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *map2, path[64], buf[4];
	struct stat st;

	if (!tap_ok(map != MAP_FAILED, "shared, writable"))
		return;
	tap_ok(!memcmp(map, "0123456789", 10), "shows the file");
	tap_ok(pwrite(fd, "W", 1, 1) == 1 && map[1] == 'W', "shows a write");
	memcpy(map + 2, "MM", 2);
	tap_ok(env_fd_contains(fd, "0WMM456789"), "read shows a store");
	tap_ok(env_contains("0WMM456789", "mmap/shared"), "so does the backing file");
	snprintf(path, sizeof(path), "mmap/shared");
	below = open(path, O_RDWR);
	tap_ok(pwrite(below, "B", 1, 4) == 1 && map[4] == 'B', "shows a write below");
	map2 = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, below, 0);
	map[5] = 'P';
	tap_ok(map2 != MAP_FAILED && map2[5] == 'P', "shares its pages with a mapping of the backing file");
	munmap(map2, PAGE);
	tap_ok(!msync(map, PAGE, MS_SYNC), "msync");
	tap_ok(!fstat(fd, &st) && st.st_size == 10, "the size is unchanged");
	close(fd);
	map[6] = 'C';
	tap_ok(pread(below, buf, 1, 6) == 1 && buf[0] == 'C', "lives on after close");
	tap_ok(srv_wait_count(s, FUSE_RELEASE, 1), "for which RELEASE did not wait");
	tap_eq(srv_unregister(s->fd, id), 0, "close the id");
	map[7] = 'I';
	tap_ok(pread(below, buf, 1, 7) == 1 && buf[0] == 'I', "lives on after that");
	munmap(map, PAGE);
	close(below);
	tap_eq(s->count[FUSE_READ] + s->count[FUSE_WRITE], 0, "the server saw nothing of it");
}

static void private(void)
{
	int id, fd = prepare("private", "0123456789", O_RDONLY, &id);
	char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	if (!tap_ok(map != MAP_FAILED, "private, writable, of an O_RDONLY file"))
		return;
	map[0] = 'p';
	tap_ok(env_fd_contains(fd, "0123456789") && map[0] == 'p' && map[1] == '1', "a store stays private");
	munmap(map, PAGE);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	tap_ok(map == MAP_FAILED && errno == EACCES, "shared, writable, of an O_RDONLY file");
	map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	tap_ok(map != MAP_FAILED && mprotect(map, PAGE, PROT_READ | PROT_WRITE) && errno == EACCES,
	       "nor by mprotect");
	munmap(map, PAGE);
	close(fd);
	srv_unregister(s->fd, id);
}

static void truncated(void)
{
	int id, fd = prepare("trunc", "data", O_RDWR, &id);
	volatile char *map;
	int got;

	tap_ok(!ftruncate(fd, 2 * PAGE), "two pages");
	map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	map[PAGE] = 'x';
	tap_ok(!ftruncate(fd, 2), "truncate below the mapping");
	tap_eq(map[2], 0, "the rest of the page is zero");
	signal(SIGBUS, sigbus);
	got = sigsetjmp(sigbus_jump, 1);
	if (!got)
		(void)map[PAGE];
	signal(SIGBUS, SIG_DFL);
	tap_eq(got, SIGBUS, "SIGBUS behind the end");
	munmap((void *)(uintptr_t)map, 2 * PAGE);
	close(fd);
	srv_unregister(s->fd, id);
}

/* FOPEN_DIRECT_IO with passthrough: the mapping is of the backing file, io is the server's */
static void direct(void)
{
	int id, fd;
	char *map;

	fd = prepare("direct", "0123456789", O_RDONLY, &id);
	close(fd);
	srv_reply(s, "direct", FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO, id);
	fd = srv_open(s, "direct", O_RDWR);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	tap_ok(map != MAP_FAILED, "with FOPEN_DIRECT_IO: shared");
	if (map != MAP_FAILED) {
		map[0] = 'm';
		tap_ok(env_contains("m123456789", "mmap/direct"), "with FOPEN_DIRECT_IO: a store lands below");
		munmap(map, PAGE);
	}
	close(fd);
	srv_unregister(s->fd, id);
}

/* A read-only mapping, then execution: what dynamic linkers do */
static void execution(void)
{
	char cmd[256], path[64];
	pid_t pid;
	int id, fd, status;

	if (system("cp /bin/true mmap/exe && chmod 755 mmap/exe")) {
		tap_skip("cannot copy /bin/true", "execve");
		return;
	}
	id = srv_passthrough(s, "exe");
	snprintf(path, sizeof(path), "%s/exe", s->mnt);
	pid = fork();
	if (!pid) {
		execl(path, "exe", NULL);
		_exit(127);
	}
	status = env_wait(pid);
	tap_eq(status, 0, "execve");
	fd = srv_open(s, "exe", O_RDWR);
	tap_ok(fd >= 0, "writable again afterwards");
	close(fd);
	snprintf(cmd, sizeof(cmd), "%s </dev/null", path);
	tap_eq(system(cmd), 0, "once more");
	srv_unregister(s->fd, id);
}

/* What holds what: the backing filesystem is busy as long as there is a mapping, and not longer */
static void busy(void)
{
	struct srv *t;
	char *map;
	int fd, id;

	env_mount_tmpfs("busy");
	t = srv_new("busy", "busy-mnt");
	env_write("0123", "busy/f");
	if (srv_start(t))
		tap_bail("mount");
	id = srv_passthrough(t, "f");
	fd = srv_open(t, "f", O_RDWR);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	srv_unregister(t->fd, id);
	tap_ok(umount2("busy", 0) && errno == EBUSY, "a mapping keeps the backing filesystem busy");
	munmap(map, PAGE);
	kill(t->pid, SIGKILL);
	env_wait(t->pid);
	t->pid = 0;
	srv_stop(t);
	tap_eq(umount2("busy", 0) ? -errno : 0, 0, "afterwards it can be unmounted");
}

int main(void)
{
	env_init(true);
	s = srv_new("mmap", "mmap-mnt");
	if (srv_start(s))
		tap_bail("mount");

	shared();
	private();
	truncated();
	direct();
	execution();
	busy();

	srv_stop(s);
	return tap_done();
}
