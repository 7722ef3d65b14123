// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * idmap: an idmapped clone of a mount.
 *
 *   idmap SOURCE TARGET ON-DISK SHOWN LENGTH     ids of users and groups; mounts a clone of what is mounted at SOURCE at TARGET
 *
 * Status 77 where the kernel or the filesystem has no idmapped mounts.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Numbers and structs of linux/mount.h, which older headers lack or cannot be included beside sys/mount.h. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#define CLONE_TREE 1u
#define IDMAP 0x00100000u
#define FROM_EMPTY_PATH 4u

struct attr {
	uint64_t set, clear, propagation, userns_fd;
};

static int skip(const char *what)
{
	fprintf(stderr, "idmap: %s: %s\n", what, strerror(errno));
	return 77;
}

static int put(pid_t pid, const char *file, const char *text)
{
	char path[64];
	int fd, bad;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	bad = fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return bad;
}

/* A user namespace with that map; its fd, or -1. */
static int userns(const char *map)
{
	char path[64], c;
	int ready[2], fd = -1;
	pid_t pid;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (pid == 0) {
		close(ready[0]);
		if (unshare(CLONE_NEWUSER) || write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	if (pid > 0) {
		if (read(ready[0], &c, 1) == 1 && !put(pid, "uid_map", map) && !put(pid, "gid_map", map)) {
			snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
			fd = open(path, O_RDONLY | O_CLOEXEC);
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	close(ready[0]);
	return fd;
}

int main(int argc, char **argv)
{
	struct attr a = { .set = IDMAP };
	char map[128];
	int ns, tree;

	if (argc != 6) {
		fprintf(stderr, "usage: idmap SOURCE TARGET ON-DISK SHOWN LENGTH\n");
		return 2;
	}
	snprintf(map, sizeof(map), "%s %s %s\n", argv[3], argv[4], argv[5]);
	ns = userns(map);
	if (ns < 0)
		return skip("user namespace");
	tree = (int)syscall(SYS_open_tree, AT_FDCWD, argv[1], CLONE_TREE | O_CLOEXEC);
	if (tree < 0)
		return skip("open_tree");
	a.userns_fd = (uint64_t)ns;
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &a, sizeof(a)))
		return skip("mount_setattr");
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, argv[2], FROM_EMPTY_PATH)) {
		perror("idmap: move_mount");
		return 1;
	}
	return 0;
}
