// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * opens --setup LOWER [FILES]           make the files
 * opens [OPTIONS] UNION [FILES]         open them from eight threads at once
 *
 * Every file of the lower layer is opened for reading and for its first writing by threads that work on the same few
 * files at a time. Each 8-byte word of a file says which file and which version it is. A writer announces a version
 * before it opens and publishes it after it has closed, so a reader knows the range that each word must be in; where
 * nothing is announced beyond what is published, one version alone. Records appended to log files are all there at the
 * end, in each writer's order.
 *
 * With --snapshot, a handle that was opened before may keep what it saw; otherwise it sees what is published.
 */
#include "race.h"

#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define THREADS 8
#define WINDOW 24
#define PER_DIR 100
#define MAX_WORDS 2048
#define LOGS_PER 10		/* one log for so many files */

struct file {
	atomic_uint announced, published;
	pthread_mutex_t write;
};

static struct file *files;
static unsigned int nfiles = 3000, nlogs;
static int root;
static atomic_uint base;	/* where the window is */
static atomic_ulong turns;
static atomic_bool stop;
static bool snapshot;
static unsigned int *appended;	/* records of each thread in each log */
static uint64_t seed;

static unsigned int file_words(unsigned int i)
{
	static const unsigned int words[] = { 512, 40, 2048, 700 };

	return words[i % 4];
}

/* Every other file has two names, in different directories. */
static void file_path(unsigned int i, bool second, char *out, size_t size)
{
	if (second && i % 2)
		snprintf(out, size, "links%u/f%u", i / PER_DIR, i);
	else
		snprintf(out, size, "d%u/f%u", i / PER_DIR, i);
}

static void words_fill(uint64_t *w, unsigned int file, unsigned int version)
{
	for (unsigned int k = 0; k < file_words(file); k++)
		w[k] = (uint64_t)file << 32 | version;
}

/* Are the bytes read whole words of this file, of versions low to high, and of one version if there is only one? */
static void words_check(const char *how, unsigned int file, const uint64_t *w, ssize_t n, unsigned int low,
			unsigned int high, bool one)
{
	unsigned int want = file_words(file), first = 0;

	if (n < 0) {
		race_error("%s f%u: %s", how, file, strerrorname_np(errno));
		return;
	}
	/* Between announcing and publishing, the file may just be truncated. */
	if (n != (ssize_t)(want * 8) && (low == high || n % 8 || n > (ssize_t)(want * 8))) {
		race_error("%s f%u: %zd bytes, must be %u (versions %u to %u)", how, file, n, want * 8, low, high);
		return;
	}
	for (unsigned int k = 0; k < n / 8; k++) {
		unsigned int version = w[k];

		if (w[k] >> 32 != file || version < low || version > high) {
			race_error("%s f%u: word %u is %#llx, must be of versions %u to %u", how, file, k,
				   (unsigned long long)w[k], low, high);
			return;
		}
		if (!k)
			first = version;
		if (one && version != first) {
			race_error("%s f%u: mixes versions %u and %u", how, file, first, version);
			return;
		}
	}
}

static int open_file(unsigned int i, bool second, int flags)
{
	char path[64];
	int fd;

	file_path(i, second, path, sizeof(path));
	fd = openat(root, path, flags | O_CLOEXEC, 0644);
	if (fd < 0)
		race_error("open %#x of %s: %s", flags, path, strerrorname_np(errno));
	return fd;
}

static ssize_t read_mapped(int fd, uint64_t *w)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st))
		return -1;
	p = mmap(NULL, MAX_WORDS * 8, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -1;
	memcpy(w, p, st.st_size);
	munmap(p, MAX_WORDS * 8);
	return st.st_size;
}

static void reader(uint64_t *rng, unsigned int i, uint64_t *w)
{
	struct file *f = &files[i];
	unsigned int low = f->published, high, then;
	int fd = open_file(i, race_below(rng, 2), O_RDONLY);
	/* A mapping beyond the end after a truncation is SIGBUS by rights: only where nobody truncates. */
	bool map = i % 3 && race_below(rng, 3) == 0;
	ssize_t n;

	if (fd < 0)
		return;
	n = map ? read_mapped(fd, w) : pread(fd, w, MAX_WORDS * 8, 0);
	high = f->announced;
	words_check(map ? "map" : "read", i, w, n, low, high, low == high);
	/* Hold the handle over somebody's write, if there is one, then look again. */
	for (int k = 0; k < 40 && f->published == low && !stop; k++)
		usleep(50);
	then = snapshot ? low : f->published;
	n = pread(fd, w, MAX_WORDS * 8, 0);
	high = f->announced;
	words_check("held handle", i, w, n, then, high, then == high);
	close(fd);
}

static void publish(struct file *f, unsigned int version)
{
	f->published = version;
	pthread_mutex_unlock(&f->write);
}

static void writer(uint64_t *rng, unsigned int i, uint64_t *w)
{
	struct file *f = &files[i];
	bool trunc = i % 3 == 0 && race_below(rng, 2), by_map = !trunc && race_below(rng, 4) == 0;
	size_t size = file_words(i) * 8;
	unsigned int version;
	int fd = -1;
	ssize_t n;

	/* The open itself races with all others; only what changes the content is one at a time. */
	if (!trunc) {
		fd = open_file(i, race_below(rng, 2), O_RDWR);
		if (fd < 0)
			return;
	}
	pthread_mutex_lock(&f->write);
	version = ++f->announced;
	if (trunc) {
		fd = open_file(i, race_below(rng, 2), O_WRONLY | O_TRUNC);
		if (fd < 0) {
			publish(f, version - 1);
			return;
		}
	} else {
		n = pread(fd, w, MAX_WORDS * 8, 0);
		words_check("writer's read", i, w, n, version - 1, version - 1, true);
	}
	words_fill(w, i, version);
	if (by_map) {
		void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (p == MAP_FAILED) {
			race_error("mmap f%u: %s", i, strerrorname_np(errno));
		} else {
			memcpy(p, w, size);
			if (msync(p, size, MS_SYNC))
				race_error("msync f%u: %s", i, strerrorname_np(errno));
			munmap(p, size);
		}
	} else {
		n = write(fd, w, size);
		if (n != (ssize_t)size)
			race_error("write f%u: %zd %s", i, n, strerrorname_np(errno));
	}
	if (close(fd))
		race_error("close f%u: %s", i, strerrorname_np(errno));
	publish(f, version);
}

static void appender(unsigned int thread, unsigned int log)
{
	unsigned int *count = &appended[log * THREADS + thread];
	char path[64], record[33];
	int fd;

	snprintf(path, sizeof(path), "logs/l%u", log);
	fd = openat(root, path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0) {
		race_error("open of %s for appending: %s", path, strerrorname_np(errno));
		return;
	}
	snprintf(record, sizeof(record), "%7u %22u\n", thread, *count);
	if (write(fd, record, 31) != 31)
		race_error("append to %s: %s", path, strerrorname_np(errno));
	else
		++*count;
	close(fd);
}

static void logs_check(void)
{
	char path[64], record[32];

	for (unsigned int log = 0; log < nlogs; log++) {
		unsigned int next[THREADS] = { 0 }, thread, number, total = 0;
		FILE *f;
		int fd;

		snprintf(path, sizeof(path), "logs/l%u", log);
		fd = openat(root, path, O_RDONLY | O_CLOEXEC);
		f = fd < 0 ? NULL : fdopen(fd, "r");
		if (!f || fread(record, 1, 31, f) != 31 || memcmp(record, "header", 6)) {
			race_error("%s: the lower's first record is gone", path);
			if (f)
				fclose(f);
			continue;
		}
		while (fread(record, 1, 31, f) == 31) {
			record[31] = '\0';
			total++;
			if (sscanf(record, "%u %u", &thread, &number) != 2 || thread >= THREADS || number != next[thread]) {
				race_error("%s: record %u is '%.30s'", path, total, record);
				break;
			}
			next[thread]++;
		}
		for (unsigned int t = 0; t < THREADS; t++)
			if (next[t] != appended[log * THREADS + t])
				race_error("%s: %u records of thread %u, must be %u", path, next[t], t,
					   appended[log * THREADS + t]);
		fclose(f);
	}
}

static void *work(void *arg)
{
	unsigned int thread = (uintptr_t)arg;
	uint64_t rng = seed * 64 + thread, *w = malloc(MAX_WORDS * 8);

	if (!w)
		race_die("malloc", "");
	while (!stop) {
		unsigned int i = (base + race_below(&rng, WINDOW)) % nfiles;

		if (race_below(&rng, 12) == 0)
			appender(thread, i % nlogs);
		else if (thread % 2)
			writer(&rng, i, w);
		else
			reader(&rng, i, w);
		if (++turns % 8 == 0)
			base++;
	}
	free(w);
	return NULL;
}

static void final_check(void)
{
	uint64_t *w = malloc(MAX_WORDS * 8);

	if (!w)
		race_die("malloc", "");
	for (unsigned int i = 0; i < nfiles; i++) {
		for (int second = 0; second < 2; second++) {
			int fd = open_file(i, second, O_RDONLY);

			if (fd < 0)
				continue;
			words_check(second ? "end, second name" : "end", i, w, pread(fd, w, MAX_WORDS * 8, 0),
				    files[i].published, files[i].published, true);
			close(fd);
		}
	}
	free(w);
	logs_check();
}

static void setup(void)
{
	uint64_t *w = malloc(MAX_WORDS * 8);
	char path[64], second[64];

	if (!w || mkdirat(root, "logs", 0755))
		race_die("cannot make", "logs");
	for (unsigned int i = 0; i < nfiles; i++) {
		int fd;

		if (i % PER_DIR == 0) {
			snprintf(path, sizeof(path), "d%u", i / PER_DIR);
			snprintf(second, sizeof(second), "links%u", i / PER_DIR);
			if (mkdirat(root, path, 0755) || mkdirat(root, second, 0755))
				race_die("cannot make", path);
		}
		file_path(i, false, path, sizeof(path));
		file_path(i, true, second, sizeof(second));
		words_fill(w, i, 0);
		fd = openat(root, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
		if (fd < 0 || write(fd, w, file_words(i) * 8) < 0 || close(fd))
			race_die("cannot make", path);
		if (i % 2 && linkat(root, path, root, second, 0))
			race_die("cannot link", second);
	}
	for (unsigned int i = 0; i < nlogs; i++) {
		int fd;

		snprintf(path, sizeof(path), "logs/l%u", i);
		fd = openat(root, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
		if (fd < 0 || dprintf(fd, "header of this log file       \n") != 31 || close(fd))
			race_die("cannot make", path);
	}
	free(w);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "setup", 0, NULL, 's' }, { "seconds", 1, NULL, 't' }, { "seed", 1, NULL, 'x' },
		{ "snapshot", 0, NULL, 'p' }, { 0 },
	};
	pthread_t threads[THREADS];
	const char *seed_arg = NULL;
	bool make = false;
	int seconds = 10, c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's': make = true; break;
		case 't': seconds = atoi(optarg); break;
		case 'x': seed_arg = optarg; break;
		case 'p': snapshot = true; break;
		default: return 2;
		}
	}
	if (optind >= argc) {
		fprintf(stderr, "usage: opens [--setup | OPTIONS] DIRECTORY [FILES]\n");
		return 2;
	}
	if (optind + 1 < argc)
		nfiles = strtoul(argv[optind + 1], NULL, 0);
	nlogs = nfiles / LOGS_PER + 1;
	root = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		race_die("cannot open", argv[optind]);
	if (make) {
		setup();
		return 0;
	}
	files = calloc(nfiles, sizeof(*files));
	appended = calloc((size_t)nlogs * THREADS, sizeof(*appended));
	if (!files || !appended)
		race_die("calloc", "");
	for (unsigned int i = 0; i < nfiles; i++)
		pthread_mutex_init(&files[i].write, NULL);
	seed = race_seed(seed_arg);
	for (unsigned int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i))
			race_die("pthread_create", "");
	sleep(seconds);
	stop = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%lu turns, window at %u of %u files\n", (unsigned long)turns, (unsigned int)base, nfiles);
	final_check();
	return race_result("opens");
}
