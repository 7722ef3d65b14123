// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tight loops over a list of names, timed by a clock around the loop: the start of a process does not count.
 *
 *   loops [-C DIR] [-t THREADS] [-r REPEATS] OPERATION LIST
 *
 * LIST has one name a line, relative to DIR; thread i takes the lines i, i + THREADS, ... Prints for each repeat, on a line,
 * nanoseconds, nanoseconds of the processor, and how many names there were. An operation that does not end as it should (absent: with ENOENT) ends the program with 1.
 *
 *   stat absent open read create rename unlink   of every name: open is open + close, read is open + read to the end + close,
 *                                                create makes an empty file, rename appends ".r"
 *   list      of every directory: its names, not sorted; they are counted, not the directories
 *   openw     open for writing; the close is not timed
 *   cached    bytes of the files' page cache, in place of the nanoseconds
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Linux 6.5; older headers do not have it.
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

struct cache_range {
	uint64_t off, len;
};

struct cache_stat {
	uint64_t cache, dirty, writeback, evicted, recently_evicted;
};

struct job {
	pthread_t thread;
	size_t first, step;
	uint64_t sum;
};

static char **names;
static size_t count;
static void (*operation)(const char *name, struct job *job);
static pthread_barrier_t start;

static void fail(const char *what, const char *name)
{
	fprintf(stderr, "loops: %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int open_or_fail(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		fail("open", name);
	return fd;
}

static void op_stat(const char *name, struct job *job)
{
	struct stat st;

	(void)job;
	if (lstat(name, &st))
		fail("stat", name);
}

static void op_absent(const char *name, struct job *job)
{
	struct stat st;

	(void)job;
	if (!lstat(name, &st)) {
		errno = EEXIST;
		fail("stat", name);
	}
	if (errno != ENOENT)
		fail("stat", name);
}

static void op_open(const char *name, struct job *job)
{
	(void)job;
	close(open_or_fail(name, O_RDONLY));
}

static void op_read(const char *name, struct job *job)
{
	char buf[16384];
	int fd = open_or_fail(name, O_RDONLY);
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		job->sum += (uint64_t)n;
	if (n < 0)
		fail("read", name);
	close(fd);
}

static void op_create(const char *name, struct job *job)
{
	(void)job;
	close(open_or_fail(name, O_WRONLY | O_CREAT | O_EXCL));
}

static void op_rename(const char *name, struct job *job)
{
	char to[4096];

	(void)job;
	snprintf(to, sizeof(to), "%s.r", name);
	if (rename(name, to))
		fail("rename", name);
}

static void op_unlink(const char *name, struct job *job)
{
	(void)job;
	if (unlink(name))
		fail("unlink", name);
}

static void op_list(const char *name, struct job *job)
{
	DIR *d = opendir(name);

	if (!d)
		fail("opendir", name);
	errno = 0;
	while (readdir(d))
		job->sum++;
	if (errno)
		fail("readdir", name);
	closedir(d);
}

static void op_openw(const char *name, struct job *job)
{
	uint64_t from = now(CLOCK_MONOTONIC);
	int fd = open_or_fail(name, O_WRONLY);

	job->sum += now(CLOCK_MONOTONIC) - from;
	close(fd);
}

static void op_cached(const char *name, struct job *job)
{
	struct cache_range range = { 0, 0 };
	struct cache_stat cs = { 0 };
	long page = sysconf(_SC_PAGESIZE);
	int fd = open_or_fail(name, O_RDONLY);

	if (syscall(SYS_cachestat, fd, &range, &cs, 0))
		fail("cachestat", name);
	job->sum += cs.cache * (uint64_t)page;
	close(fd);
}

static const struct {
	const char *name;
	void (*run)(const char *name, struct job *job);
} operations[] = {
	{ "stat", op_stat },	 { "absent", op_absent }, { "open", op_open },	 { "read", op_read },	  { "create", op_create },
	{ "rename", op_rename }, { "unlink", op_unlink }, { "openw", op_openw }, { "cached", op_cached },
	{ "list", op_list },
};

static void *worker(void *arg)
{
	struct job *job = arg;

	pthread_barrier_wait(&start);
	for (size_t i = job->first; i < count; i += job->step)
		operation(names[i], job);
	return NULL;
}

static void read_list(const char *path)
{
	FILE *f = fopen(path, "re");
	size_t room = 0, size = 0;
	char *line = NULL;
	ssize_t n;

	if (!f)
		fail("open", path);
	while ((n = getline(&line, &size, f)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (count == room) {
			room = room ? room * 2 : 1024;
			names = realloc(names, room * sizeof(*names));
			if (!names)
				fail("memory for", path);
		}
		names[count] = strdup(line);
		if (!names[count++])
			fail("memory for", path);
	}
	free(line);
	fclose(f);
}

static void run(size_t threads)
{
	struct job *jobs = calloc(threads, sizeof(*jobs));
	uint64_t from, took, cpu, sum = 0;

	if (!jobs || pthread_barrier_init(&start, NULL, (unsigned int)threads + 1))
		fail("memory for", "threads");
	for (size_t i = 0; i < threads; i++) {
		jobs[i].first = i;
		jobs[i].step = threads;
		errno = pthread_create(&jobs[i].thread, NULL, worker, &jobs[i]);
		if (errno)
			fail("start", "thread");
	}
	cpu = now(CLOCK_PROCESS_CPUTIME_ID);
	from = now(CLOCK_MONOTONIC);
	pthread_barrier_wait(&start);
	for (size_t i = 0; i < threads; i++) {
		pthread_join(jobs[i].thread, NULL);
		sum += jobs[i].sum;
	}
	took = now(CLOCK_MONOTONIC) - from;
	cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	if (operation == op_openw || operation == op_cached)
		took = sum;
	printf("%llu %llu %zu\n", (unsigned long long)took, (unsigned long long)cpu, operation == op_list ? (size_t)sum : count);
	pthread_barrier_destroy(&start);
	free(jobs);
}

int main(int argc, char **argv)
{
	const char *dir = NULL;
	long threads = 1, repeats = 1;
	int c;

	while ((c = getopt(argc, argv, "C:t:r:")) != -1) {
		if (c == 'C')
			dir = optarg;
		else if (c == 't')
			threads = strtol(optarg, NULL, 10);
		else if (c == 'r')
			repeats = strtol(optarg, NULL, 10);
		else
			optind = argc + 1;
	}
	for (size_t i = 0; optind + 2 == argc && i < sizeof(operations) / sizeof(*operations); i++)
		if (!strcmp(operations[i].name, argv[optind]))
			operation = operations[i].run;
	if (!operation || threads < 1 || threads > 1024 || repeats < 1) {
		fputs("usage: loops [-C DIR] [-t THREADS] [-r REPEATS] OPERATION LIST\n", stderr);
		return 2;
	}
	read_list(argv[optind + 1]);
	if (dir && chdir(dir))
		fail("chdir", dir);
	for (long i = 0; i < repeats; i++)
		run((size_t)threads);
	return 0;
}
