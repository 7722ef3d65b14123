// SPDX-License-Identifier: GPL-2.0-only
/* FUSE_DEV_IOC_BACKING_OPEN and _CLOSE: arguments, privilege, clones. */
#include "abi.h"
#include "env.h"
#include "server.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static struct srv *s, *other;

static int map_open(int devfd, int fd, uint32_t flags, uint64_t padding)
{
	struct fuse_backing_map map = { .fd = fd, .flags = flags, .padding = padding };
	int id = ioctl(devfd, FUSE_DEV_IOC_BACKING_OPEN, &map);

	return id < 0 ? -errno : id;
}

static void arguments(void)
{
	int fd = open("ioctl/f", O_RDONLY), pipefd[2], sock, id, id2;

	tap_eq(map_open(s->fd, -1, 0, 0), -EBADF, "fd -1");
	tap_eq(map_open(s->fd, 999, 0, 0), -EBADF, "an fd that is not open");
	tap_eq(map_open(s->fd, fd, 1, 0), -EINVAL, "flags");
	tap_eq(map_open(s->fd, fd, 1U << 31, 0), -EINVAL, "the highest flag");
	tap_eq(map_open(s->fd, fd, 0, 1), -EINVAL, "padding");
	tap_eq(map_open(s->fd, fd, 0, 1ULL << 63), -EINVAL, "the highest bit of the padding");
	tap_eq(ioctl(s->fd, FUSE_DEV_IOC_BACKING_OPEN, NULL) ? -errno : 0, -EFAULT, "no map");
	tap_eq(ioctl(s->fd, FUSE_DEV_IOC_BACKING_CLOSE, NULL) ? -errno : 0, -EFAULT, "no id");

	id = map_open(s->fd, fd, 0, 0);
	tap_ok(id > 0, "a regular file, O_RDONLY");
	id2 = map_open(s->fd, fd, 0, 0);
	tap_ok(id2 > 0 && id2 != id, "the same file again has another id");
	tap_eq(srv_unregister(s->fd, id), 0, "close an id");
	tap_eq(srv_unregister(s->fd, id), -ENOENT, "close it once more");
	tap_eq(srv_unregister(s->fd, id2), 0, "close the other id");
	tap_eq(srv_unregister(s->fd, 0), -EINVAL, "close id 0");
	tap_eq(srv_unregister(s->fd, -1), -EINVAL, "close id -1");
	tap_eq(srv_unregister(s->fd, 0x7fffffff), -ENOENT, "close an id that never was");
	close(fd);

	fd = open("ioctl/f", O_PATH);
	id = map_open(s->fd, fd, 0, 0);
	tap_ok(id > 0, "O_PATH");
	srv_unregister(s->fd, id);
	close(fd);

	fd = open("ioctl", O_RDONLY | O_DIRECTORY);
	tap_eq(map_open(s->fd, fd, 0, 0), -EISDIR, "a directory");
	close(fd);
	fd = open("ioctl/link", O_PATH | O_NOFOLLOW);
	tap_eq(map_open(s->fd, fd, 0, 0), -EINVAL, "a symlink");
	close(fd);
	fd = open("/dev/null", O_RDWR);
	tap_eq(map_open(s->fd, fd, 0, 0), -EINVAL, "a device");
	close(fd);
	fd = open("ioctl/fifo", O_RDWR);
	tap_eq(map_open(s->fd, fd, 0, 0), -EINVAL, "a fifo");
	close(fd);
	if (pipe(pipefd))
		tap_bail("pipe");
	tap_eq(map_open(s->fd, pipefd[0], 0, 0), -EINVAL, "a pipe");
	close(pipefd[0]);
	close(pipefd[1]);
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	tap_eq(map_open(s->fd, sock, 0, 0), -EINVAL, "a socket");
	close(sock);
	tap_eq(map_open(s->fd, s->fd, 0, 0), -EINVAL, "the FUSE device itself");

	fd = open("ioctl/gone", O_RDWR | O_CREAT, 0644);
	unlink("ioctl/gone");
	id = map_open(s->fd, fd, 0, 0);
	tap_ok(id > 0, "an unlinked file");
	srv_unregister(s->fd, id);
	close(fd);
}

static void privilege(void)
{
	int fd = open("ioctl/f", O_RDONLY), id = map_open(s->fd, fd, 0, 0);
	pid_t pid;

	env_cap(CAP_SYS_ADMIN, false);
	tap_eq(map_open(s->fd, fd, 0, 0), -EPERM, "register without CAP_SYS_ADMIN");
	tap_eq(srv_unregister(s->fd, id), -EPERM, "close without CAP_SYS_ADMIN");
	env_cap(CAP_SYS_ADMIN, true);
	tap_eq(srv_unregister(s->fd, id), 0, "close with it");

	/* All capabilities, but in a user namespace of its own: 0 fine, 1 wrong, 2 cannot be tried */
	pid = fork();
	if (!pid) {
		if (unshare(CLONE_NEWUSER))
			_exit(2);
		_exit(map_open(s->fd, fd, 0, 0) != -EPERM);
	}
	id = env_wait(pid);
	if (id == 2)
		tap_skip("no user namespaces", "register from a user namespace");
	else
		tap_eq(id, 0, "register from a user namespace");
	close(fd);
}

static void clones(void)
{
	int fd = open("ioctl/f", O_RDONLY), clone, second, id, id2;
	uint32_t old = (uint32_t)s->fd;

	clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	tap_eq(map_open(clone, fd, 0, 0), -EPERM, "register on a device that is no clone yet");
	tap_eq(ioctl(clone, FUSE_DEV_IOC_CLONE, &old) ? -errno : 0, 0, "clone");

	id = map_open(clone, fd, 0, 0);
	tap_ok(id > 0, "register on the clone");
	srv_reply(s, "f", FOPEN_PASSTHROUGH, id);
	tap_ok(env_contains("of ioctl", "ioctl-mnt/f"), "an id of the clone is one of the connection");
	tap_ok(s->count[FUSE_READ] == 0, "and passes through");
	id2 = map_open(s->fd, fd, 0, 0);
	tap_ok(id2 > 0 && id2 != id, "ids of the original and of the clone are of one map");
	tap_eq(srv_unregister(s->fd, id), 0, "close the clone's id on the original");
	tap_eq(srv_unregister(clone, id2), 0, "close the original's id on the clone");

	/*
	 * FUSE_DEV_IOC_CLONE: the connection comes from the fd in the argument and goes to the one the ioctl is called on.
	 * Two connections show it: a device cloned from the other one must be of the other one.
	 */
	second = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	old = (uint32_t)other->fd;
	tap_eq(ioctl(second, FUSE_DEV_IOC_CLONE, &old) ? -errno : 0, 0, "clone of the other connection");
	id = map_open(second, fd, 0, 0);
	tap_ok(id > 0, "register on it");
	tap_eq(srv_unregister(s->fd, id), -ENOENT, "the id is not of the first connection");
	tap_eq(srv_unregister(other->fd, id), 0, "but of the one that was passed in");
	old = (uint32_t)s->fd;
	tap_eq(ioctl(second, FUSE_DEV_IOC_CLONE, &old) ? -errno : 0, -EINVAL, "a device that has a connection");
	tap_eq(ioctl(s->fd, FUSE_DEV_IOC_CLONE, &second) ? -errno : 0, -EINVAL, "the original as the new one");
	old = (uint32_t)fd;
	close(second);
	second = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	tap_eq(ioctl(second, FUSE_DEV_IOC_CLONE, &old) ? -errno : 0, -EINVAL, "clone of what is no FUSE device");
	old = (uint32_t)clone;
	tap_eq(ioctl(second, FUSE_DEV_IOC_CLONE, &old) ? -errno : 0, 0, "clone of a clone");
	id = map_open(second, fd, 0, 0);
	tap_eq(srv_unregister(s->fd, id), 0, "is of the same connection");
	close(second);
	close(clone);
	close(fd);
}

int main(void)
{
	env_init(true);
	s = srv_new("ioctl", "ioctl-mnt");
	other = srv_new("other", "other-mnt");
	env_write("of ioctl", "ioctl/f");
	if (symlink("f", "ioctl/link") || mkfifo("ioctl/fifo", 0644))
		tap_bail("mkfifo");
	if (srv_start(s) || srv_start(other))
		tap_bail("mount");

	arguments();
	privilege();
	clones();

	srv_stop(other);
	srv_stop(s);
	return tap_done();
}
