// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * times DIR			what copy-up must not let anybody see, and must not undo
 *
 * DIR holds regular files of a lower layer. Some threads have them copied up: first their metadata (chmod), then their
 * data (open for writing, where metacopy leaves them for later). Meanwhile others set the times of DIR and of the files,
 * and demand that a stat says so at once and ever after. Nothing else changes those.
 */
#include "race.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#define COPIERS 4
#define CHECKS 3

static int dir_fd;
static char **names;
static size_t nnames;
static atomic_size_t next_name;
static atomic_bool stop;

static void check(const char *what, const char *name, time_t want)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, name[0] ? 0 : AT_EMPTY_PATH))
		race_error("stat of %s '%s': %s", what, name, strerror(errno));
	else if (st.st_mtime != want)
		race_error("%s '%s': mtime %lld, set %lld", what, name, (long long)st.st_mtime, (long long)want);
}

static void set(const char *name, time_t when)
{
	struct timespec ts[2] = { { .tv_sec = when }, { .tv_sec = when } };
	int r = name[0] ? utimensat(dir_fd, name, ts, 0) : futimens(dir_fd, ts);

	if (r)
		race_error("utimes of '%s': %s", name, strerror(errno));
}

static void *copy(void *arg)
{
	size_t i;
	int fd;

	while ((i = atomic_fetch_add(&next_name, 1)) < nnames) {
		if (fchmodat(dir_fd, names[i], 0640, 0))
			race_error("chmod of '%s': %s", names[i], strerror(errno));
		set(names[i], 1000 + (time_t)i);
		check("file", names[i], 1000 + (time_t)i);
		fd = openat(dir_fd, names[i], O_RDWR | O_CLOEXEC);
		if (fd < 0)
			race_error("open of '%s': %s", names[i], strerror(errno));
		else
			close(fd);
		check("file", names[i], 1000 + (time_t)i);
	}
	return arg;
}

/* Opens the file that is likely to be chmodded now: then its data are filled in while another looks at its times. */
static void *meddle(void *arg)
{
	while (!atomic_load(&stop)) {
		size_t i = atomic_load(&next_name);
		int fd;

		i = i ? i - 1 : 0;
		fd = openat(dir_fd, names[i < nnames ? i : nnames - 1], O_RDWR | O_CLOEXEC);
		if (fd >= 0)
			close(fd);
	}
	return arg;
}

static void *clock_dir(void *arg)
{
	for (time_t t = 1000; !atomic_load(&stop); t++) {
		set("", t);
		for (int i = 0; i < CHECKS; i++)
			check("directory", "", t);
	}
	return arg;
}

static void read_names(void)
{
	DIR *d = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;

	if (!d)
		race_die("cannot read", "the directory");
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		names = realloc(names, (nnames + 1) * sizeof(*names));
		if (!names || !(names[nnames++] = strdup(e->d_name)))
			race_die("no memory", "");
	}
	closedir(d);
}

int main(int argc, char **argv)
{
	pthread_t copiers[COPIERS], other[2];

	if (argc != 2) {
		fprintf(stderr, "usage: times DIR\n");
		return 2;
	}
	dir_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		race_die("cannot open", argv[1]);
	read_names();
	if (!nnames)
		race_die("no files in", argv[1]);
	if (pthread_create(&other[0], NULL, clock_dir, NULL) || pthread_create(&other[1], NULL, meddle, NULL))
		race_die("pthread_create", "");
	for (int i = 0; i < COPIERS; i++)
		if (pthread_create(&copiers[i], NULL, copy, NULL))
			race_die("pthread_create", "");
	for (int i = 0; i < COPIERS; i++)
		pthread_join(copiers[i], NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(other[i], NULL);
	for (size_t i = 0; i < nnames; i++)
		check("file, at the end,", names[i], 1000 + (time_t)i);
	printf("%zu files, %d errors\n", nnames, atomic_load(&race_errors));
	return atomic_load(&race_errors) != 0;
}
