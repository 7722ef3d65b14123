// SPDX-License-Identifier: GPL-2.0-or-later
#include "unit.h"
#include "scratch.h"

#include "counters.h"
#include "lock.h"
#include <errno.h>
#include <limits.h>
#include <sys/xattr.h>

static void open_takes_one_component(void **state)
{
	struct scratch *s = *state;
	int fd;

	scratch_file(s, "f", "hello");
	assert_int_equal(symlinkat("f", s->fd, "l"), 0);
	fd = ply_sys_open(PLY_AT(s->fd, "f"), O_RDONLY, 0);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	assert_int_equal(ply_sys_open(PLY_AT(s->fd, "l"), O_RDONLY, 0), -ELOOP);
	assert_int_equal(ply_sys_open(PLY_AT(s->fd, "none"), O_RDONLY, 0), -ENOENT);
}

static void open_of_an_fd_itself(void **state)
{
	struct scratch *s = *state;
	char buf[8] = "";
	int p, fd;

	scratch_file(s, "f", "hello");
	p = ply_sys_open(PLY_AT(s->fd, "f"), O_PATH, 0);
	assert_true(p >= 0);
	fd = ply_sys_open(PLY_FD(p), O_RDWR, 0);
	assert_true(fd >= 0);
	assert_int_equal(ply_sys_pread(fd, buf, 7, 0), 5);
	assert_string_equal(buf, "hello");
	assert_int_equal(ply_sys_open(PLY_FD(p), O_RDONLY | O_DIRECTORY, 0), -ENOTDIR);
	close(fd);
	close(p);
	p = ply_sys_open(PLY_FD(s->fd), O_PATH | O_DIRECTORY, 0);
	fd = ply_sys_open(PLY_FD(p), O_RDONLY | O_DIRECTORY, 0);
	assert_true(fd >= 0);
	close(fd);
	close(p);
}

static void expect_beneath(int base, const char *path, int flags, int want)
{
	int fd = ply_sys_open_beneath(base, path, flags);

	if (want < 0) {
		assert_int_equal(fd, want);
		return;
	}
	if (fd < 0)
		print_error("%s: %d\n", path, fd);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static void beneath_never_leaves(void **state)
{
	struct scratch *s = *state;
	int a;

	scratch_dir(s, "a");
	scratch_dir(s, "a/b");
	scratch_file(s, "a/b/f", "x");
	scratch_file(s, "secret", "x");
	assert_int_equal(symlinkat("b", s->fd, "a/link"), 0);
	assert_int_equal(symlinkat("/", s->fd, "a/root"), 0);
	assert_int_equal(symlinkat("../secret", s->fd, "a/up"), 0);
	a = scratch_open(s, "a");
	expect_beneath(a, "", O_PATH, 0);
	expect_beneath(a, ".", O_RDONLY | O_DIRECTORY, 0);
	expect_beneath(a, "./", O_RDONLY | O_DIRECTORY, 0);
	expect_beneath(a, "b", O_PATH, 0);
	expect_beneath(a, "b/f", O_RDONLY, 0);
	expect_beneath(a, "./b//f", O_RDONLY, 0);
	expect_beneath(a, "b/f", 0x20 | O_RDONLY, 0);
	expect_beneath(a, "b/", O_PATH, 0);
	expect_beneath(a, "b/f/", O_PATH, -ENOTDIR);
	expect_beneath(a, "b/f/x", O_PATH, -ENOTDIR);
	expect_beneath(a, "b/none", O_PATH, -ENOENT);
	expect_beneath(a, "none/f", O_PATH, -ENOENT);
	expect_beneath(a, "..", O_PATH, -EXDEV);
	expect_beneath(a, "b/..", O_PATH, -EXDEV);
	expect_beneath(a, "b/../b", O_PATH, -EXDEV);
	expect_beneath(a, "/", O_PATH, -EXDEV);
	expect_beneath(a, "/etc/passwd", O_PATH, -EXDEV);
	expect_beneath(a, "..b", O_PATH, -ENOENT);
	/* A symlink is opened as itself with O_PATH, and leads nowhere. */
	expect_beneath(a, "link", O_PATH, 0);
	expect_beneath(a, "link", O_RDONLY, -ELOOP);
	expect_beneath(a, "up", O_RDONLY, -ELOOP);
	close(a);
	a = ply_sys_open_beneath(s->fd, "a/link/f", O_PATH);
	assert_true(a == -ELOOP || a == -ENOTDIR);
	a = ply_sys_open_beneath(s->fd, "a/root/etc", O_PATH);
	assert_true(a == -ELOOP || a == -ENOTDIR);
}

static void beneath_walks_beyond_path_max(void **state)
{
	struct scratch *s = *state;
	char name[201], *path = malloc(3 * PATH_MAX + 64);
	size_t len = 0;
	int at = dup(s->fd), fd;

	assert_non_null(path);
	memset(name, 'n', 200);
	name[200] = '\0';
	while (len < 3 * PATH_MAX - 256) {
		int next;

		assert_int_equal(mkdirat(at, name, 0700), 0);
		next = openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
		len += (size_t)sprintf(path + len, "%s/", name);
	}
	fd = openat(at, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	close(at);
	expect_beneath(s->fd, path, O_RDONLY | O_DIRECTORY, 0);
	strcpy(path + len, "f");
	expect_beneath(s->fd, path, O_RDONLY, 0);
	strcpy(path + len, "g");
	expect_beneath(s->fd, path, O_RDONLY, -ENOENT);
	strcpy(path + len, "..");
	expect_beneath(s->fd, path, O_RDONLY, -EXDEV);
	/* One component of 5,000 bytes. */
	memset(path, 'x', 5000);
	path[5000] = '\0';
	expect_beneath(s->fd, path, O_RDONLY, -ENAMETOOLONG);
	path[256] = '\0';
	expect_beneath(s->fd, path, O_RDONLY, -ENAMETOOLONG);
	path[255] = '\0';
	expect_beneath(s->fd, path, O_RDONLY, -ENOENT);
	free(path);
}

static void names_of_255_bytes_of_any_kind(void **state)
{
	struct scratch *s = *state;
	char name[257], val[8];
	struct stat st;
	ssize_t r;

	memset(name, '\xff', 255);
	name[255] = '\0';
	name[0] = '\n';
	scratch_file(s, name, "x");
	assert_int_equal(ply_sys_stat(PLY_AT(s->fd, name), &st), 0);
	assert_int_equal(ply_sys_chmod(PLY_AT(s->fd, name), 0640), 0);
	r = ply_sys_setxattr(PLY_AT(s->fd, name), "user.a", "b", 1, 0);
	if (r != -EOPNOTSUPP) {
		assert_int_equal(r, 0);
		assert_int_equal(ply_sys_getxattr(PLY_AT(s->fd, name), "user.a", val, sizeof(val)), 1);
	}
	name[255] = 'x';
	name[256] = '\0';
	assert_int_equal(ply_sys_stat(PLY_AT(s->fd, name), &st), -ENAMETOOLONG);
	assert_int_equal(ply_sys_chmod(PLY_AT(s->fd, name), 0640), -ENAMETOOLONG);
	r = ply_sys_getxattr(PLY_AT(s->fd, name), "user.a", val, sizeof(val));
	assert_true(r == -ENAMETOOLONG || r == -EOPNOTSUPP);
}

/* --- attributes --- */

static mode_t mode_of(struct ply_at at)
{
	struct stat st;

	assert_int_equal(ply_sys_stat(at, &st), 0);
	return st.st_mode & 07777;
}

static void chmod_of_all_types(void **state)
{
	struct scratch *s = *state;
	int fd;

	scratch_file(s, "f", "x");
	assert_int_equal(mkfifoat(s->fd, "fifo", 0600), 0);
	assert_int_equal(symlinkat("f", s->fd, "l"), 0);
	assert_int_equal(ply_sys_chmod(PLY_AT(s->fd, "f"), 0), 0);
	assert_int_equal(mode_of(PLY_AT(s->fd, "f")), 0);
	assert_int_equal(ply_sys_chmod(PLY_AT(s->fd, "fifo"), 0751), 0);
	assert_int_equal(mode_of(PLY_AT(s->fd, "fifo")), 0751);
	assert_int_equal(ply_sys_chmod(PLY_AT(s->fd, "l"), 0751), -EOPNOTSUPP);
	fd = ply_sys_open(PLY_AT(s->fd, "f"), O_PATH, 0);
	assert_int_equal(ply_sys_chmod(PLY_FD(fd), 0604), 0);
	assert_int_equal(mode_of(PLY_FD(fd)), 0604);
	close(fd);
	fd = ply_sys_open(PLY_AT(s->fd, "l"), O_PATH, 0);
	assert_true(fd >= 0);
	assert_int_equal(ply_sys_chmod(PLY_FD(fd), 0604), -EOPNOTSUPP);
	assert_int_equal(mode_of(PLY_AT(s->fd, "f")), 0604);
	close(fd);
}

static void times_and_owner_of_symlinks(void **state)
{
	const struct timespec ts[2] = { { 1000, 5 }, { 2000, 7 } };
	struct scratch *s = *state;
	char *target = NULL;
	struct stat st;
	int fd;

	scratch_file(s, "f", "x");
	assert_int_equal(ply_sys_symlink("f", PLY_AT(s->fd, "l")), 0);
	assert_int_equal(ply_sys_utimens(PLY_AT(s->fd, "l"), ts), 0);
	assert_int_equal(ply_sys_chown(PLY_AT(s->fd, "l"), geteuid(), getegid()), 0);
	assert_int_equal(ply_sys_stat(PLY_AT(s->fd, "l"), &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	assert_int_equal(ply_sys_stat(PLY_AT(s->fd, "f"), &st), 0);
	assert_true(st.st_mtim.tv_sec > 2000);
	fd = ply_sys_open(PLY_AT(s->fd, "l"), O_PATH, 0);
	assert_int_equal(ply_sys_utimens(PLY_FD(fd), (struct timespec[2]){ { 1, 0 }, { 2, 0 } }), 0);
	assert_int_equal(ply_sys_chown(PLY_FD(fd), geteuid(), getegid()), 0);
	assert_int_equal(ply_sys_stat(PLY_FD(fd), &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 2);
	assert_int_equal(ply_sys_readlink(PLY_FD(fd), &target), 0);
	assert_string_equal(target, "f");
	free(target);
	close(fd);
	assert_int_equal(ply_sys_readlink(PLY_AT(s->fd, "f"), &target), -EINVAL);
}

static void readlink_of_long_targets(void **state)
{
	struct scratch *s = *state;
	char target[PATH_MAX], *got;
	static const size_t lens[] = { 1, 255, 256, 257, 1023, 1024, 4000 };

	for (size_t i = 0; i < PLY_ARRAY_SIZE(lens); i++) {
		memset(target, 'a', lens[i]);
		target[lens[i]] = '\0';
		assert_int_equal(ply_sys_symlink(target, PLY_AT(s->fd, "l")), 0);
		assert_int_equal(ply_sys_readlink(PLY_AT(s->fd, "l"), &got), 0);
		assert_string_equal(got, target);
		free(got);
		assert_int_equal(ply_sys_unlink(PLY_AT(s->fd, "l")), 0);
	}
}

static void xattrs_of_any_length(void **state)
{
	struct scratch *s = *state;
	char *big = malloc(3000), *got, *list;
	ssize_t n;
	int fd;

	assert_non_null(big);
	memset(big, 'v', 3000);
	scratch_file(s, "f", "x");
	fd = ply_sys_open(PLY_AT(s->fd, "f"), O_PATH, 0);
	n = ply_sys_setxattr(PLY_FD(fd), "user.big", big, 3000, 0);
	if (n == -EOPNOTSUPP) {
		close(fd);
		free(big);
		skip();
	}
	assert_int_equal(n, 0);
	assert_int_equal(ply_sys_getxattr(PLY_FD(fd), "user.big", NULL, 0), 3000);
	assert_int_equal(ply_sys_getxattr(PLY_FD(fd), "user.big", big, 10), -ERANGE);
	n = ply_sys_getxattr_alloc(PLY_AT(s->fd, "f"), "user.big", &got);
	assert_int_equal(n, 3000);
	assert_memory_equal(got, big, 3000);
	assert_int_equal(got[3000], 0);
	free(got);
	assert_int_equal(ply_sys_setxattr(PLY_AT(s->fd, "f"), "user.empty", "", 0, 0), 0);
	n = ply_sys_getxattr_alloc(PLY_FD(fd), "user.empty", &got);
	assert_int_equal(n, 0);
	assert_string_equal(got, "");
	free(got);
	assert_int_equal(ply_sys_setxattr(PLY_AT(s->fd, "f"), "user.empty", "", 0, XATTR_CREATE), -EEXIST);
	n = ply_sys_listxattr_alloc(PLY_AT(s->fd, "f"), &list);
	assert_true(n >= (ssize_t)sizeof("user.big") + (ssize_t)sizeof("user.empty"));
	free(list);
	assert_int_equal(ply_sys_removexattr(PLY_AT(s->fd, "f"), "user.big"), 0);
	assert_int_equal(ply_sys_removexattr(PLY_FD(fd), "user.big"), -ENODATA);
	assert_int_equal(ply_sys_getxattr_alloc(PLY_FD(fd), "user.big", &got), -ENODATA);
	free(big);
	close(fd);
}

static void xattrs_of_a_symlink_are_its_own(void **state)
{
	struct scratch *s = *state;
	char *got;
	ssize_t n;
	int fd;

	scratch_file(s, "f", "x");
	if (ply_sys_setxattr(PLY_AT(s->fd, "f"), "user.a", "1", 1, 0) == -EOPNOTSUPP)
		skip();
	assert_int_equal(symlinkat("f", s->fd, "l"), 0);
	assert_int_equal(ply_sys_getxattr_alloc(PLY_AT(s->fd, "l"), "user.a", &got), -ENODATA);
	assert_int_equal(ply_sys_setxattr(PLY_AT(s->fd, "l"), "user.a", "2", 1, 0), -EPERM);
	fd = ply_sys_open(PLY_AT(s->fd, "l"), O_PATH, 0);
	assert_int_equal(ply_sys_getxattr_alloc(PLY_FD(fd), "user.a", &got), -ENODATA);
	assert_int_equal(ply_sys_setxattr(PLY_FD(fd), "user.a", "2", 1, 0), -EPERM);
	n = ply_sys_setxattr(PLY_FD(fd), "trusted.a", "3", 1, 0);
	if (!n) {
		assert_int_equal(ply_sys_getxattr(PLY_AT(s->fd, "f"), "trusted.a", NULL, 0), -ENODATA);
		assert_int_equal(ply_sys_getxattr(PLY_AT(s->fd, "l"), "trusted.a", NULL, 0), 1);
	}
	close(fd);
}

/* --- names --- */

static void link_of_an_fd(void **state)
{
	struct scratch *s = *state;
	struct stat st;
	int fd, p;

	scratch_file(s, "f", "x");
	p = ply_sys_open(PLY_AT(s->fd, "f"), O_PATH, 0);
	assert_int_equal(ply_sys_link(PLY_FD(p), PLY_AT(s->fd, "g")), 0);
	assert_int_equal(ply_sys_link(PLY_FD(p), PLY_AT(s->fd, "g")), -EEXIST);
	assert_int_equal(ply_sys_stat(PLY_FD(p), &st), 0);
	assert_int_equal(st.st_nlink, 2);
	close(p);
	assert_int_equal(symlinkat("f", s->fd, "l"), 0);
	p = ply_sys_open(PLY_AT(s->fd, "l"), O_PATH, 0);
	assert_int_equal(ply_sys_link(PLY_FD(p), PLY_AT(s->fd, "l2")), 0);
	assert_int_equal(ply_sys_stat(PLY_AT(s->fd, "l2"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	close(p);
	fd = ply_sys_tmpfile(s->fd, O_RDWR, 0600);
	if (fd == -EOPNOTSUPP)
		return;
	assert_true(fd >= 0);
	assert_int_equal(ply_sys_link(PLY_FD(fd), PLY_AT(s->fd, "t")), 0);
	assert_true(scratch_has(s, "t"));
	close(fd);
}

static void rename_with_flags(void **state)
{
	struct scratch *s = *state;
	int r;

	scratch_file(s, "a", "a");
	scratch_file(s, "b", "b");
	r = ply_sys_rename(PLY_AT(s->fd, "a"), PLY_AT(s->fd, "b"), RENAME_NOREPLACE);
	assert_true(r == -EEXIST || r == -EINVAL);
	r = ply_sys_rename(PLY_AT(s->fd, "a"), PLY_AT(s->fd, "b"), RENAME_EXCHANGE);
	assert_true(r == 0 || r == -EINVAL);
	assert_int_equal(ply_sys_rename(PLY_AT(s->fd, "a"), PLY_AT(s->fd, "b"), 0), 0);
	assert_false(scratch_has(s, "a"));
}

static int see(void *arg, const struct ply_dirent *d)
{
	int i;

	assert_true(strcmp(d->name, ".") && strcmp(d->name, ".."));
	assert_int_equal(sscanf(d->name, "name-of-some-length-%d", &i), 1);
	assert_true(i >= 0 && i < 5000);
	assert_int_equal(((char *)arg)[i], 0);
	((char *)arg)[i] = 1;
	return 0;
}

static int stop_at_third(void *arg, const struct ply_dirent *d)
{
	(void)d;
	return ++*(int *)arg == 3 ? 33 : 0;
}

static void readdir_of_many(void **state)
{
	struct scratch *s = *state;
	char *seen = calloc(1, 5000), name[64];
	int fd, n = 0;

	assert_non_null(seen);
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "name-of-some-length-%d", i);
		scratch_file(s, name, "");
	}
	fd = ply_sys_open(PLY_FD(s->fd), O_RDONLY | O_DIRECTORY, 0);
	assert_int_equal(ply_sys_readdir(fd, see, seen), 0);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(seen[i], 1);
	close(fd);
	fd = ply_sys_open(PLY_FD(s->fd), O_RDONLY | O_DIRECTORY, 0);
	assert_int_equal(ply_sys_readdir(fd, stop_at_third, &n), 33);
	assert_int_equal(n, 3);
	close(fd);
	free(seen);
}

static void handles_lead_back(void **state)
{
	struct scratch *s = *state;
	uint8_t fid[128];
	struct stat a, b;
	int type, len, fd, mnt;

	scratch_file(s, "f", "x");
	len = ply_sys_handle(PLY_AT(s->fd, "f"), &type, fid);
	if (len == -EOPNOTSUPP)
		skip();
	assert_in_range(len, 1, 128);
	mnt = ply_sys_open(PLY_FD(s->fd), O_PATH | O_DIRECTORY, 0);
	fd = ply_sys_open_handle(mnt, type, fid, (unsigned int)len);
	close(mnt);
	if (fd == -EPERM)
		skip();
	assert_true(fd >= 0);
	assert_int_equal(ply_sys_stat(PLY_FD(fd), &a), 0);
	assert_int_equal(ply_sys_stat(PLY_AT(s->fd, "f"), &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	close(fd);
	assert_int_equal(ply_sys_unlink(PLY_AT(s->fd, "f")), 0);
	fd = ply_sys_open_handle(s->fd, type, fid, (unsigned int)len);
	assert_true(fd == -ESTALE);
}

static void fsync_of_path_fds(void **state)
{
	struct scratch *s = *state;
	int fd;

	scratch_file(s, "f", "x");
	fd = ply_sys_open(PLY_AT(s->fd, "f"), O_PATH, 0);
	assert_int_equal(ply_sys_fsync(fd, false), 0);
	close(fd);
	fd = ply_sys_open(PLY_FD(s->fd), O_PATH | O_DIRECTORY, 0);
	assert_int_equal(ply_sys_fsync(fd, true), 0);
	assert_int_equal(ply_sys_fsync(-1, true), -EBADF);
	close(fd);
}

static void a_clone_is_read_only_and_apart(void **state)
{
	struct scratch *s = *state;
	int fd, f;

	scratch_dir(s, "d");
	scratch_file(s, "d/f", "x");
	fd = scratch_open(s, "d");
	f = ply_sys_clone_mount_ro(fd);
	close(fd);
	if (f < 0) {
		assert_true(f == -EPERM || f == -ENOSYS || f == -EINVAL);
		skip();
	}
	assert_int_equal(ply_sys_open(PLY_AT(f, "f"), O_RDWR, 0), -EROFS);
	assert_int_equal(ply_sys_chmod(PLY_AT(f, "f"), 0), -EROFS);
	assert_int_equal(ply_sys_mkdir(PLY_AT(f, "x"), 0700), -EROFS);
	fd = ply_sys_open(PLY_AT(f, "f"), O_RDONLY, 0);
	assert_true(fd >= 0);
	close(fd);
	/* The way up ends at its root. */
	fd = ply_sys_open(PLY_AT(f, ".."), O_PATH, 0);
	assert_true(fd >= 0);
	close(f);
	f = ply_sys_open(PLY_AT(fd, "f"), O_PATH, 0);
	assert_true(f >= 0);
	close(f);
	close(fd);
}

/* --- counters and locks --- */

static void *count_thread(void *arg)
{
	(void)arg;
	for (int i = 0; i < 1000; i++) {
		ply_count(PLY_C_copyups, 1);
		ply_count_op(3);
		ply_count_depth(2);
	}
	ply_count_op(100000);
	ply_count_depth(100000);
	return NULL;
}

static void counters_outlive_their_threads(void **state)
{
	struct ply_counter_block *a = malloc(sizeof(*a)), *b = malloc(sizeof(*b));
	pthread_t t[4];

	(void)state;
	assert_non_null(a);
	assert_non_null(b);
	ply_counters_sum(a);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, count_thread, NULL), 0);
	for (int i = 0; i < 50; i++)
		ply_counters_sum(b);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	count_thread(NULL);
	ply_counters_sum(b);
	assert_int_equal(b->c[PLY_C_copyups] - a->c[PLY_C_copyups], 5000);
	assert_int_equal(b->op[3] - a->op[3], 5000);
	assert_int_equal(b->depth[2] - a->depth[2], 5000);
	assert_int_equal(b->op[PLY_OPCODES - 1] - a->op[PLY_OPCODES - 1], 5);
	assert_int_equal(b->depth[PLY_DEPTHS - 1] - a->depth[PLY_DEPTHS - 1], 5);
	assert_string_equal(ply_counter_names[PLY_C_copyups], "copyups");
	free(a);
	free(b);
}

static int locked_return(pthread_mutex_t *m)
{
	PLY_MUTEX(guard, m);
	return 7;
}

static void guards_unlock(void **state)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_rwlock_t l;

	(void)state;
	ply_rwlock_init(&l);
	assert_int_equal(locked_return(&m), 7);
	assert_int_equal(pthread_mutex_trylock(&m), 0);
	pthread_mutex_unlock(&m);
	{
		PLY_WRLOCK(guard, &l);
		assert_int_equal(pthread_rwlock_tryrdlock(&l), EBUSY);
		PLY_RWUNLOCK(guard);
		assert_int_equal(pthread_rwlock_trywrlock(&l), 0);
		pthread_rwlock_unlock(&l);
	}
	{
		PLY_RDLOCK(guard, &l);
		assert_int_equal(pthread_rwlock_trywrlock(&l), EBUSY);
	}
	assert_int_equal(pthread_rwlock_trywrlock(&l), 0);
	pthread_rwlock_unlock(&l);
	pthread_rwlock_destroy(&l);
}

static const struct CMUnitTest tests[] = {
	scratch_test(open_takes_one_component),
	scratch_test(open_of_an_fd_itself),
	scratch_test(beneath_never_leaves),
	scratch_test(beneath_walks_beyond_path_max),
	scratch_test(names_of_255_bytes_of_any_kind),
	scratch_test(chmod_of_all_types),
	scratch_test(times_and_owner_of_symlinks),
	scratch_test(readlink_of_long_targets),
	scratch_test(xattrs_of_any_length),
	scratch_test(xattrs_of_a_symlink_are_its_own),
	scratch_test(link_of_an_fd),
	scratch_test(rename_with_flags),
	scratch_test(readdir_of_many),
	scratch_test(handles_lead_back),
	scratch_test(fsync_of_path_fds),
	scratch_test(a_clone_is_read_only_and_apart),
	cmocka_unit_test(counters_outlive_their_threads),
	cmocka_unit_test(guards_unlock),
};

static int all_again(void *arg)
{
	(void)arg;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

static void all_on_an_old_kernel(void **state)
{
	(void)state;
	scratch_masked("openat2,fchmodat2,xattrat,link-empty,utimens-empty,statx,clone", all_again, NULL);
}

static void all_on_a_poor_filesystem(void **state)
{
	(void)state;
	scratch_masked("tmpfile,xattr,handles,rename-flags", all_again, NULL);
}

int main(void)
{
	struct CMUnitTest more[PLY_ARRAY_SIZE(tests) + 2];

	/* First: what sys has once found out about the kernel would go into the child with it. */
	more[0] = (struct CMUnitTest)cmocka_unit_test(all_on_an_old_kernel);
	more[1] = (struct CMUnitTest)cmocka_unit_test(all_on_a_poor_filesystem);
	memcpy(more + 2, tests, sizeof(tests));
	return cmocka_run_group_tests_name("sys", more, NULL, NULL);
}
