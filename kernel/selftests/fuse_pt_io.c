// SPDX-License-Identifier: GPL-2.0-only
/* read, write, splice, append, truncate, direct and asynchronous io; attributes and privileges after them. */
#include "abi.h"
#include "env.h"
#include "server.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct srv *s;
static char name[16];
static int file_no;

/* A new file with this content, opened in passthrough mode. The fd; the last one is closed by the next call. */
static int fresh(const char *data, int flags)
{
	static int id;
	int fd;

	/* The table of names is small: a name is used again after it was unlinked on the mount */
	if (id) {
		char path[64];

		srv_unregister(s->fd, id);
		snprintf(path, sizeof(path), "%s/%s", s->mnt, name);
		unlink(path);
	}
	snprintf(name, sizeof(name), "f%d", ++file_no);
	env_write(data, "%s/%s", s->backing, name);
	id = srv_passthrough(s, name);
	if (id <= 0)
		tap_bail("register %s: %d", name, id);
	fd = srv_open(s, name, flags);
	if (fd < 0)
		tap_bail("open %s: %d", name, fd);
	return fd;
}

static long fd_size(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -errno : (long)st.st_size;
}

static bool backing_is(const char *data)
{
	return env_contains(data, "%s/%s", s->backing, name);
}

static void plain(void)
{
	struct iovec iov[2];
	char buf[16] = "";
	int fd = fresh("0123456789", O_RDWR);

	tap_eq(fd_size(fd), 10, "size before");
	tap_ok(env_fd_contains(fd, "0123456789"), "read");
	tap_ok(pread(fd, buf, 4, 8) == 2 && pread(fd, buf, 4, 10) == 0, "read at the end");
	tap_ok(read(fd, buf, 3) == 3 && read(fd, buf + 3, 3) == 3 && !memcmp(buf, "012345", 6), "the position moves");
	tap_ok(pwrite(fd, "AB", 2, 4) == 2 && backing_is("0123AB6789"), "write");
	tap_eq(fd_size(fd), 10, "size after a write inside");
	tap_ok(lseek(fd, 0, SEEK_END) == 10 && write(fd, "xyz", 3) == 3 && backing_is("0123AB6789xyz"), "write at the end");
	tap_eq(fd_size(fd), 13, "size after it");
	tap_eq(env_size("%s/%s", s->mnt, name), 13, "size by name");
	iov[0] = (struct iovec){ "<", 1 };
	iov[1] = (struct iovec){ ">>", 2 };
	tap_ok(pwritev(fd, iov, 2, 1) == 3 && backing_is("0<>>AB6789xyz"), "pwritev");
	tap_ok(pwritev2(fd, iov, 1, 0, RWF_APPEND) == 1 && backing_is("0<>>AB6789xyz<"), "RWF_APPEND");
	tap_ok(pwritev2(fd, iov, 1, 2, RWF_DSYNC) == 1, "RWF_DSYNC");
	tap_ok(write(fd, "", 0) == 0 && read(fd, buf, 0) == 0, "nothing at all");
	tap_eq(s->count[FUSE_READ] + s->count[FUSE_WRITE], 0, "no READ, no WRITE reached the server");

	/* What others write below is seen at once */
	env_write("below", "%s/%s", s->backing, name);
	tap_ok(env_fd_contains(fd, "below"), "written below, read above");
	close(fd);

	fd = srv_open(s, name, O_RDONLY);
	tap_ok(write(fd, "x", 1) < 0 && errno == EBADF, "write to an O_RDONLY file");
	close(fd);
	fd = srv_open(s, name, O_WRONLY);
	tap_ok(read(fd, buf, 1) < 0 && errno == EBADF, "read from an O_WRONLY file");
	close(fd);
	fd = srv_open(s, name, O_RDWR | O_TRUNC);
	tap_ok(fd >= 0 && fd_size(fd) == 0 && backing_is(""), "O_TRUNC");
	close(fd);
}

static void direct_and_passthrough(void)
{
	uint64_t reads = s->count[FUSE_READ], writes = s->count[FUSE_WRITE];
	int fd = fresh("0123456789", O_RDONLY), id = srv_reply(s, name, 0, 0)->backing_id;

	close(fd);
	id = srv_register(s, name);
	srv_reply(s, name, FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO, id);
	fd = srv_open(s, name, O_RDWR);
	tap_ok(env_fd_contains(fd, "0123456789") && s->count[FUSE_READ] > reads, "FOPEN_DIRECT_IO: reads go to the server");
	tap_ok(pwrite(fd, "x", 1, 0) == 1 && s->count[FUSE_WRITE] > writes, "FOPEN_DIRECT_IO: writes too");
	close(fd);
	srv_unregister(s->fd, id);
}

static void append(void)
{
	int fd = fresh("base", O_RDWR | O_APPEND), flags;

	tap_ok(write(fd, "+1", 2) == 2 && backing_is("base+1"), "O_APPEND");
	env_write("longer base", "%s/%s", s->backing, name);
	tap_ok(write(fd, "+2", 2) == 2 && backing_is("longer base+2"), "O_APPEND after the file grew below");
	tap_eq(fd_size(fd), 13, "size after it");
	tap_eq(lseek(fd, 0, SEEK_CUR), 13, "position after it");
	tap_ok(pwrite(fd, "+3", 2, 0) == 2 && backing_is("longer base+2+3"), "pwrite appends");
	close(fd);

	fd = fresh("base", O_RDWR);
	flags = fcntl(fd, F_GETFL);
	tap_ok(!fcntl(fd, F_SETFL, flags | O_APPEND) && pwrite(fd, "+", 1, 0) == 1 && backing_is("base+"),
	       "O_APPEND by fcntl");
	tap_ok(!fcntl(fd, F_SETFL, flags) && pwrite(fd, "B", 1, 0) == 1 && backing_is("Base+"), "and taken away");
	close(fd);
}

static void truncation(void)
{
	int fd = fresh("0123456789", O_RDWR);
	char path[64];

	tap_ok(!ftruncate(fd, 4) && fd_size(fd) == 4 && backing_is("0123"), "ftruncate");
	tap_ok(pwrite(fd, "end", 3, 6) == 3 && fd_size(fd) == 9, "write behind the end");
	snprintf(path, sizeof(path), "%s/%s", s->mnt, name);
	tap_ok(!truncate(path, 2) && fd_size(fd) == 2 && env_fd_contains(fd, "01"), "truncate by name");
	tap_ok(!fallocate(fd, 0, 0, 100) && fd_size(fd) == 100, "fallocate");
	close(fd);
}

static void limits(void)
{
	struct rlimit old, small = { 4, 4 };
	int fd = fresh("", O_RDWR), status;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGXFSZ, SIG_IGN);
		getrlimit(RLIMIT_FSIZE, &old);
		small.rlim_max = old.rlim_max;
		setrlimit(RLIMIT_FSIZE, &small);
		if (pwrite(fd, "123456", 6, 0) != 4)
			_exit(1);
		_exit(pwrite(fd, "5", 1, 4) < 0 && errno == EFBIG ? 0 : 2);
	}
	status = env_wait(pid);
	tap_eq(status, 0, "RLIMIT_FSIZE");
	tap_ok(pwrite(fd, "x", 1, -1) < 0 && errno == EINVAL, "a negative offset");
	close(fd);
}

static void splices(void)
{
	int fd = fresh("0123456789", O_RDWR), out = open("out", O_RDWR | O_CREAT | O_TRUNC, 0644), p[2], dev;
	uint64_t before = s->count[FUSE_READ] + s->count[FUSE_WRITE];
	off_t off = 2;
	loff_t in_off;
	char buf[16];

	if (pipe(p))
		tap_bail("pipe");
	tap_eq(sendfile(out, fd, &off, 5), 5, "sendfile from it");
	tap_ok(off == 7 && env_fd_contains(out, "23456"), "what it gave");
	off = 0;
	tap_eq(sendfile(fd, out, &off, 5), 5, "sendfile to it");
	tap_ok(backing_is("2345656789"), "what it wrote");
	in_off = 8;
	tap_eq(splice(fd, &in_off, p[1], NULL, 10, 0), 2, "splice from it");
	tap_ok(read(p[0], buf, 16) == 2 && !memcmp(buf, "89", 2) && in_off == 10, "what it gave");
	tap_ok(write(p[1], "spliced in", 10) == 10, "a full pipe");
	in_off = 8;
	tap_eq(splice(p[0], NULL, fd, &in_off, 10, 0), 10, "splice to it, behind the end");
	tap_ok(in_off == 18 && backing_is("23456567spliced in"), "what it wrote");
	tap_eq(fd_size(fd), 18, "size after it");
	tap_ok(write(p[1], "pos", 3) == 3 && lseek(fd, 0, SEEK_SET) == 0 && splice(p[0], NULL, fd, NULL, 3, 0) == 3 &&
	       lseek(fd, 0, SEEK_CUR) == 3 && backing_is("pos56567spliced in"), "splice at the position");
	tap_eq(s->count[FUSE_READ] + s->count[FUSE_WRITE], before, "the server saw nothing of it");
	dev = open("/dev/null", O_WRONLY);
	tap_eq(splice(fd, NULL, p[1], NULL, 100, 0), 15, "the rest to a pipe");
	tap_eq(splice(p[0], NULL, dev, NULL, 100, 0), 15, "and away");
	off = 0;
	tap_ok(copy_file_range(fd, &off, out, NULL, 3, 0) == 3 || errno == EXDEV, "copy_file_range");
	close(dev);
	close(p[0]);
	close(p[1]);
	close(out);
	close(fd);
}

static void attributes(void)
{
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct stat st;
	char path[64], buf[4];
	int fd = fresh("0123", O_RDWR);

	/* Attributes are valid for an hour: they change for invalidation only */
	snprintf(path, sizeof(path), "%s/%s", s->backing, name);
	utimensat(AT_FDCWD, path, old, 0);
	close(fd);
	fd = fresh("0123", O_RDWR);
	snprintf(path, sizeof(path), "%s/%s", s->backing, name);
	utimensat(AT_FDCWD, path, old, 0);
	tap_ok(!fstat(fd, &st), "fstat");
	tap_ok(pwrite(fd, "4567", 4, 4) == 4 && !fstat(fd, &st) && st.st_size == 8 && st.st_mtim.tv_sec > 1000,
	       "a write changes size and mtime");
	utimensat(AT_FDCWD, path, old, 0);
	tap_ok(pwritev2(fd, &(struct iovec){ "8", 1 }, 1, 0, RWF_APPEND) == 1 && !fstat(fd, &st) && st.st_size == 9,
	       "an append changes the size");
	old[0].tv_sec = 2000;
	utimensat(AT_FDCWD, path, old, 0);
	tap_ok(pread(fd, buf, 4, 0) == 4 && !fstat(fd, &st) && (st.st_atim.tv_sec > 2000 || st.st_atim.tv_sec == 2000),
	       "a read invalidates atime");
	close(fd);
}

/* suid and sgid after a write by somebody without CAP_FSETID */
static void privileges(struct srv *killpriv)
{
	struct srv *was = s;
	struct stat st;
	char path[64];
	int fd, v2;

	for (v2 = 0; v2 < 2; v2++) {
		s = v2 ? killpriv : was;
		if (v2) {
			/* The backing filesystem does it, for what was registered without CAP_FSETID */
			env_cap(CAP_FSETID, false);
			snprintf(name, sizeof(name), "p");
			env_write("data", "%s/p", s->backing);
			srv_passthrough(s, "p");
			env_cap(CAP_FSETID, true);
			fd = srv_open(s, "p", O_RDWR);
		} else {
			fd = fresh("data", O_RDWR);
		}
		snprintf(path, sizeof(path), "%s/%s", s->mnt, name);
		tap_ok(!chmod(path, 06775) && !stat(path, &st) && (st.st_mode & 07777) == 06775, "V2 %d: chmod 6775", v2);
		if (!v2)
			tap_ok(pwrite(fd, "D", 1, 0) == 1 && !stat(path, &st) && (st.st_mode & 07777) == 06775,
			       "V2 %d: CAP_FSETID keeps it", v2);
		env_cap(CAP_FSETID, false);
		tap_ok(pwrite(fd, "d", 1, 0) == 1, "V2 %d: write without CAP_FSETID", v2);
		env_cap(CAP_FSETID, true);
		snprintf(path, sizeof(path), "%s/%s", s->backing, name);
		tap_ok(!stat(path, &st) && (st.st_mode & 07777) == 0775, "V2 %d: suid and sgid are gone", v2);
		close(fd);
	}
	s = was;
}

/* A thread of io on ext4, with the old interface for asynchronous io */
static long aio(int fd, int opcode, void *buf, size_t len, off_t off, unsigned int flags)
{
	struct iocb cb = { .aio_lio_opcode = (uint16_t)opcode, .aio_fildes = (uint32_t)fd, .aio_buf = (uintptr_t)buf,
			   .aio_nbytes = len, .aio_offset = off, .aio_rw_flags = (int)flags }, *cbs[] = { &cb };
	struct io_event ev = { .res = -ETIMEDOUT };
	aio_context_t ctx = 0;
	long err;

	if (syscall(SYS_io_setup, 4, &ctx))
		return -errno;
	if (syscall(SYS_io_submit, ctx, 1, cbs) != 1)
		err = -errno;
	else if (syscall(SYS_io_getevents, ctx, 1, 1, &ev, NULL) != 1)
		err = -errno;
	else
		err = (long)ev.res;
	syscall(SYS_io_destroy, ctx);
	return err;
}

static void asynchronous(void)
{
	struct srv *was = s;
	char *buf = aligned_alloc(4096, 8192);
	int fd, i, flags;
	bool same = true;

	fd = fresh("0123456789", O_RDWR);
	tap_eq(aio(fd, IOCB_CMD_PREAD, buf, 100, 2, 0), 8, "aio read");
	tap_ok(!memcmp(buf, "23456789", 8), "what it gave");
	tap_eq(aio(fd, IOCB_CMD_PWRITE, "aio", 3, 10, 0), 3, "aio write");
	tap_ok(fd_size(fd) == 13 && backing_is("0123456789aio"), "what it wrote");
	tap_eq(aio(fd, IOCB_CMD_PWRITE, "!", 1, 0, RWF_APPEND), 1, "aio append");
	tap_ok(fd_size(fd) == 14 && backing_is("0123456789aio!"), "what it wrote");
	tap_eq(aio(fd, IOCB_CMD_PREAD, buf, 100, 1000, 0), 0, "aio read behind the end");
	tap_eq(aio(fd, IOCB_CMD_FSYNC, NULL, 0, 0, 0), 0, "aio fsync");
	close(fd);

	if (!env_mount_ext4("io-ext4")) {
		tap_skip("cannot mount ext4", "direct io");
		free(buf);
		return;
	}
	s = srv_new("io-ext4", "io-ext4-mnt");
	if (srv_start(s))
		tap_bail("mount");
	env_write("", "io-ext4/d");
	srv_passthrough(s, "d");
	fd = srv_open(s, "d", O_RDWR | O_DIRECT);
	tap_ok(fd >= 0, "O_DIRECT");
	memset(buf, 'd', 8192);
	tap_eq(pwrite(fd, buf, 4096, 0), 4096, "direct write");
	tap_eq(pwrite(fd, buf, 100, 4096), -1, "unaligned direct write");
	tap_eq(aio(fd, IOCB_CMD_PWRITE, buf, 4096, 4096, 0), 4096, "aio direct write");
	tap_eq(fd_size(fd), 8192, "size after it");
	memset(buf, 0, 8192);
	tap_eq(aio(fd, IOCB_CMD_PREAD, buf, 8192, 0, 0), 8192, "aio direct read");
	for (i = 0; i < 8192; i++)
		same &= buf[i] == 'd';
	tap_ok(same, "what it gave");
	tap_eq(aio(fd, IOCB_CMD_PWRITE, buf, 100, 0, 0), -EINVAL, "unaligned aio direct write");
	for (i = 2; i < 200 && aio(fd, IOCB_CMD_PWRITE, buf, 4096, i * 4096, 0) == 4096 && fd_size(fd) == (i + 1) * 4096; i++)
		;
	tap_eq(i, 200, "size after each of many aio direct writes");
	flags = fcntl(fd, F_GETFL);
	tap_ok(!fcntl(fd, F_SETFL, flags & ~O_DIRECT), "O_DIRECT taken away");
	close(fd);
	srv_stop(s);
	s = was;
	umount2("io-ext4", 0);
	free(buf);
}

/* The file is on tmpfs below, where direct io is new: either all of it works or none */
static void direct_refused(void)
{
	int below, fd;

	fd = fresh("data", O_RDONLY);
	close(fd);
	below = open("io", O_RDONLY | O_DIRECTORY);
	fd = openat(below, name, O_RDONLY | O_DIRECT);
	close(below);
	if (fd >= 0) {
		close(fd);
		tap_skip("this tmpfs can", "O_DIRECT where the backing filesystem cannot");
		return;
	}
	tap_eq(srv_open(s, name, O_RDONLY | O_DIRECT), -EIO, "O_DIRECT where the backing filesystem cannot");
}

int main(void)
{
	struct srv *killpriv;

	env_init(true);
	s = srv_new("io", "io-mnt");
	killpriv = srv_new("killpriv", "killpriv-mnt");
	killpriv->init_flags |= FUSE_HANDLE_KILLPRIV_V2;
	if (srv_start(s) || srv_start(killpriv))
		tap_bail("mount");

	plain();
	direct_and_passthrough();
	append();
	truncation();
	limits();
	splices();
	attributes();
	privileges(killpriv);
	asynchronous();
	direct_refused();

	srv_stop(killpriv);
	srv_stop(s);
	return tap_done();
}
