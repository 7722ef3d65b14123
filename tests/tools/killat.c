// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * killat FILE COMMAND...: runs a command and kills it in front of one of its system calls that change something, or
 * lets that call fail.
 *
 * FILE holds four 32-bit numbers in the order of the machine. The first is how many of these calls may still be made, and
 * counts down; at 1 it happens to the call. 0: none is counted. The second counts them all. The third becomes 1 when it has
 * happened. The fourth is the errno with which the call fails; 0: the command is killed.
 * Ends as the command did, with 137 when it was killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const int calls[] = {
	SYS_openat, SYS_pwrite64, SYS_copy_file_range, SYS_sendfile, SYS_fallocate, SYS_ftruncate, SYS_ioctl,
	SYS_linkat, SYS_symlinkat, SYS_mkdirat, SYS_mknodat, SYS_unlinkat, SYS_renameat2, SYS_fchown, SYS_fchownat, SYS_fchmod,
	SYS_fchmodat, SYS_utimensat, SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_removexattr, SYS_lremovexattr,
	SYS_fremovexattr, SYS_fsync, SYS_fdatasync, SYS_syncfs,
#ifdef SYS_setxattrat
	SYS_setxattrat, SYS_removexattrat,
#endif
#ifdef SYS_fchmodat2
	SYS_fchmodat2,
#endif
};
#define NCALLS (sizeof(calls) / sizeof(calls[0]))

static void die(const char *what)
{
	perror(what);
	exit(126);
}

static int watch_me(void)
{
	struct sock_filter code[NCALLS + 3];
	struct sock_fprog prog = { NCALLS + 3, code };
	size_t i;
	int fd;

	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (i = 0; i < NCALLS; i++)
		code[i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i],
							   (uint8_t)(NCALLS - i), 0);
	code[NCALLS + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[NCALLS + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
	if (fd < 0)
		die("seccomp");
	return fd;
}

/* A descriptor over a socket: the one who is watched cannot make calls that wait for its watcher. */
static void fd_send(int sock, int fd)
{
	char c[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof(c) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof(int));
	if (sendmsg(sock, &m, 0) != 1)
		die("sendmsg");
}

static int fd_receive(int sock)
{
	char c[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof(c) };
	int fd;

	if (recvmsg(sock, &m, 0) != 1 || !CMSG_FIRSTHDR(&m))
		die("recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	return fd;
}

static int changes(const struct seccomp_data *d)
{
	return d->nr != SYS_openat || (d->args[2] & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)));
}

static void serve(int fd, pid_t pid, volatile uint32_t *count)
{
	struct seccomp_notif req;
	struct seccomp_notif_resp resp;
	/* Older kernels tell of the end of all that are watched only when they have been waited for. */
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN } };

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			die("poll");
		if ((p[0].revents & POLLHUP) || (p[1].revents && !(p[0].revents & POLLIN)))
			return;
		memset(&req, 0, sizeof(req));
		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &req)) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			die("receiving a notification");
		}
		resp = (struct seccomp_notif_resp){ .id = req.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
		if (changes(&req.data)) {
			count[1]++;
			if (count[0] == 1) {
				count[2] = 1;
				if (!count[3]) {
					kill(pid, SIGKILL);
					return;
				}
				resp.flags = 0;
				resp.error = -(int)count[3];
			}
			if (count[0])
				count[0]--;
		}
		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &resp) && errno != ENOENT)
			die("answering");
	}
}

int main(int argc, char **argv)
{
	volatile uint32_t *count;
	int sock[2], file, fd, status;
	pid_t pid;

	if (argc < 3 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock))
		die("usage: killat FILE COMMAND...");
	file = open(argv[1], O_RDWR | O_CLOEXEC);
	if (file < 0)
		die(argv[1]);
	count = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (count == MAP_FAILED)
		die("mmap");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		fd_send(sock[1], watch_me());
		execvp(argv[2], argv + 2);
		die(argv[2]);
	}
	close(sock[1]);
	fd = fd_receive(sock[0]);
	serve(fd, pid, count);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
