/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Temporary directories for unit tests, and running tests again on a lesser kernel. Include after unit.h. */
#ifndef PLY_TESTS_SCRATCH_H
#define PLY_TESTS_SCRATCH_H

#include "../mask/mask.h"
#include "workdir.h"
#include <stdio.h>
#include <sys/wait.h>

struct scratch {
	char path[256];
	int fd;
};

static inline void scratch_make(struct scratch *s)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(s->path, sizeof(s->path), "%s/plyfs-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(s->path));
	s->fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(s->fd >= 0);
}

static inline void scratch_remove(struct scratch *s)
{
	assert_int_equal(ply_workdir_empty(s->fd), 0);
	close(s->fd);
	assert_int_equal(rmdir(s->path), 0);
}

/* Setup and teardown of a test that has a scratch as its state. */
static inline int scratch_setup(void **state)
{
	struct scratch *s = calloc(1, sizeof(*s));

	if (!s)
		return -1;
	scratch_make(s);
	*state = s;
	return 0;
}

static inline int scratch_teardown(void **state)
{
	struct scratch *s = *state;

	scratch_remove(s);
	free(s);
	return 0;
}

#define scratch_test(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

/* "a/b" below the scratch directory, with the text in it; its directory must be there. */
static inline void scratch_file(const struct scratch *s, const char *name, const char *text)
{
	int fd = openat(s->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static inline void scratch_dir(const struct scratch *s, const char *name)
{
	assert_int_equal(mkdirat(s->fd, name, 0755), 0);
}

static inline int scratch_open(const struct scratch *s, const char *name)
{
	int fd = openat(s->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static inline bool scratch_has(const struct scratch *s, const char *name)
{
	struct stat st;

	return !fstatat(s->fd, name, &st, AT_SYMLINK_NOFOLLOW);
}

static inline int scratch_count_(void *arg, const struct ply_dirent *d)
{
	(void)d;
	++*(int *)arg;
	return 0;
}

static inline int scratch_count(const struct scratch *s, const char *name)
{
	int fd = scratch_open(s, name), n = 0;

	assert_int_equal(ply_sys_readdir(fd, scratch_count_, &n), 0);
	close(fd);
	return n;
}

/*
 * Runs body(arg) in a process on which the words of mask.h lie; it must exit 0. What it asserts is
 * told on stderr. Skips where no filter can be installed.
 */
static inline void scratch_masked(const char *words, int (*body)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		/* Not into the parent's TAP. */
		dup2(2, 1);
		if (words[0] && mask_install(words))
			_exit(77);
		status = body(arg);
		fflush(NULL);
		_exit(status);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		print_error("masked '%s': status %x\n", words, status);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

#endif
