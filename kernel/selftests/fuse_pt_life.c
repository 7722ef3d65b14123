// SPDX-License-Identifier: GPL-2.0-only
/* How long things live: the server, ids, files, mounts. */
#include "abi.h"
#include "env.h"
#include "server.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY 5000

static struct srv *start(const char *name)
{
	char mnt[64];
	struct srv *s;

	snprintf(mnt, sizeof(mnt), "%s-mnt", name);
	s = srv_new(name, mnt);
	env_write("data", "%s/f", name);
	if (srv_start(s))
		tap_bail("mount");
	return s;
}

static void kill_server(struct srv *s)
{
	kill(s->pid, SIGKILL);
	env_wait(s->pid);
	s->pid = 0;
}

/* The server dies and nobody has the device: the connection is aborted, open files go on */
static void death(void)
{
	struct srv *s;
	int fd, i;

	env_mount_tmpfs("death");
	s = start("death");
	for (i = 0; i < 100; i++)
		srv_register(s, "f");
	srv_passthrough(s, "f");
	fd = srv_open(s, "f", O_RDWR);
	close(s->fd);
	s->fd = -1;
	kill_server(s);
	tap_ok(env_fd_contains(fd, "data"), "the server is dead: reading goes on");
	tap_ok(pwrite(fd, "D", 1, 0) < 0 || env_contains("Data", "death/f"), "the server is dead: a write is done or fails");
	tap_ok(srv_open(s, "f", O_RDONLY) == -ENOTCONN, "the server is dead: no new open");
	tap_ok(umount2("death", 0) && errno == EBUSY, "the open file and the ids hold the backing filesystem");
	close(fd);
	srv_stop(s);
	for (i = 0; umount2("death", 0) && i < 10000; i++)
		usleep(1000);
	tap_ok(i < 10000, "after close and unmount nothing does");
}

/* Somebody else has the device: a new server goes on with the connection and its ids */
static void successor(void)
{
	struct srv *s = start("succ");
	int id = srv_passthrough(s, "f"), fd, fd2;
	pid_t first = s->pid;

	s->go = 0;
	tap_eq(srv_spawn(s), 0, "a second server in waiting");
	fd = srv_open(s, "f", O_RDWR);
	kill(first, SIGKILL);
	env_wait(first);
	tap_ok(env_fd_contains(fd, "data"), "the device is held: reading goes on");
	s->go = 1;
	fd2 = srv_open(s, "f", O_RDWR);
	tap_ok(fd2 >= 0 && env_fd_contains(fd2, "data"), "opens with the id of the old one");
	tap_eq(srv_unregister(s->fd, id), 0, "and can close it");
	close(fd);
	close(fd2);
	srv_stop(s);
}

static void many(void)
{
	struct srv *s;
	int *ids = calloc(MANY, sizeof(*ids)), i, bad = 0, twice = 0, fd, id;

	env_mount_tmpfs("many");
	s = start("many");
	fd = open("many/f", O_RDONLY);
	for (i = 0; i < MANY; i++) {
		ids[i] = srv_register_fd(s->fd, fd);
		bad += ids[i] <= 0;
		twice += i && ids[i] == ids[i - 1];
	}
	close(fd);
	tap_eq(bad, 0, "%d ids at once", MANY);
	tap_eq(twice, 0, "all different");
	srv_reply(s, "f", FOPEN_PASSTHROUGH, ids[MANY - 1]);
	tap_ok(env_contains("data", "many-mnt/f"), "the last one works");
	for (i = bad = 0; i < MANY; i += 2)
		bad += srv_unregister(s->fd, ids[i]) != 0;
	tap_eq(bad, 0, "every other one closed");
	for (i = bad = 0; i < MANY; i += 2)
		bad += srv_unregister(s->fd, ids[i]) != -ENOENT;
	tap_eq(bad, 0, "they are gone");
	id = srv_register(s, "f");
	for (i = 1, bad = 0; i < MANY; i += 2)
		bad += ids[i] == id;
	tap_ok(id > 0 && !bad, "a new one is none that is in use");
	free(ids);
	/* The rest is left to the end of the connection */
	srv_stop(s);
	for (i = 0; umount2("many", 0) && i < 10000; i++)
		usleep(1000);
	tap_ok(i < 10000, "ids that were left do not hold the backing filesystem");
}

static int send_fd(int sock, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { { 0 } };
	char c = 'x';
	struct iovec iov = { &c, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof(u.buf) };
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

static int recv_fd(int sock)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { { 0 } };
	char c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof(u.buf) };
	int fd = -1;

	if (recvmsg(sock, &msg, 0) == 1 && CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}

static void others(void)
{
	struct srv *s = start("others");
	int id = srv_passthrough(s, "f"), fd = srv_open(s, "f", O_RDWR), sv[2], got;
	uint64_t releases;
	pid_t pid;

	/* fork: the file is one, its last close counts */
	releases = s->count[FUSE_RELEASE];
	pid = fork();
	if (!pid)
		_exit(pwrite(fd, "fork", 4, 0) == 4 ? 0 : 1);
	tap_eq(env_wait(pid), 0, "a child writes");
	tap_ok(env_fd_contains(fd, "fork"), "the parent reads it");
	tap_eq((long)s->count[FUSE_RELEASE], (long)releases, "the child's end is no RELEASE");

	/* SCM_RIGHTS: a file that is in nobody's table but in flight */
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		tap_bail("socketpair");
	tap_eq(send_fd(sv[0], fd), 0, "a file is sent");
	close(fd);
	srv_unregister(s->fd, id);
	tap_ok(umount2(s->mnt, 0) && errno == EBUSY, "in flight it keeps the mount busy");
	got = recv_fd(sv[1]);
	tap_ok(got >= 0 && env_fd_contains(got, "fork"), "the receiver reads it");
	close(got);
	tap_ok(srv_wait_count(s, FUSE_RELEASE, releases + 1), "and its close is the RELEASE");
	close(sv[0]);
	close(sv[1]);
	srv_stop(s);
}

/* The device goes away while ids are open and files are not */
static void detached(void)
{
	struct srv *s;
	int fd, i;

	env_mount_tmpfs("lazy");
	s = start("lazy");
	srv_passthrough(s, "f");
	fd = srv_open(s, "f", O_RDWR);
	tap_eq(umount2(s->mnt, MNT_DETACH) ? -errno : 0, 0, "lazy unmount with an open file");
	tap_ok(env_fd_contains(fd, "data"), "which still reads");
	close(fd);
	srv_stop(s);
	for (i = 0; umount2("lazy", 0) && i < 10000; i++)
		usleep(1000);
	tap_ok(i < 10000, "and holds nothing after its close");
}

int main(void)
{
	env_init(true);
	death();
	successor();
	many();
	others();
	detached();
	return tap_done();
}
