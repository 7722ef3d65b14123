// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * listing --setup LOWER1 LOWER2         make the directories
 * listing [OPTIONS] UNION               list them while they change
 *
 * What is in a directory from the beginning to the end of a listing is listed exactly once. First step by step: one
 * reader pauses in the middle, names around its position go and come, another reader lists from the start to the end
 * (which may fill a cache that serves the first reader afterwards), the first one goes on or seeks back. Then with
 * threads.
 */
#include "race.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define STEP_DIRS 60
#define STEP_NAMES 120
#define BIG_NAMES 500
#define THREADS 6
#define LIST_MAX 4096

struct raw_dirent {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

struct name {
	char name[40];
	int64_t off;
};

struct list {
	struct name *v;
	size_t n;
};

static int root;
static uint64_t seed;
static atomic_bool stop;
static atomic_ulong listings, changes;

static void list_init(struct list *l)
{
	l->n = 0;
	l->v = malloc(LIST_MAX * sizeof(*l->v));
	if (!l->v)
		race_die("malloc", "");
}

/* Read on until at least `want` names are there, or to the end; 0 or -errno. */
static int list_read(int fd, struct list *l, size_t want, size_t chunk)
{
	char *buf = malloc(chunk);
	int ret = 0;

	if (!buf)
		race_die("malloc", "");
	while (l->n < want) {
		long n = syscall(SYS_getdents64, fd, buf, chunk);

		if (n <= 0) {
			ret = n ? -errno : 0;
			break;
		}
		for (long o = 0; o < n && l->n < LIST_MAX; o += ((struct raw_dirent *)(buf + o))->d_reclen) {
			const struct raw_dirent *de = (const struct raw_dirent *)(buf + o);

			if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
				continue;
			snprintf(l->v[l->n].name, sizeof(l->v[0].name), "%s", de->d_name);
			l->v[l->n++].off = de->d_off;
		}
	}
	free(buf);
	return ret;
}

static int count_of(const struct list *l, const char *name)
{
	int n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += !strcmp(l->v[i].name, name);
	return n;
}

static int open_dir(const char *name)
{
	int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		race_die("cannot open", name);
	return fd;
}

static void create(int dir, const char *name)
{
	int fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	if (fd < 0)
		race_error("create %s: %s", name, strerrorname_np(errno));
	else
		close(fd);
}

static void list_whole(const char *dir, size_t chunk)
{
	struct list l;
	int fd = open_dir(dir), err;

	list_init(&l);
	err = list_read(fd, &l, LIST_MAX, chunk);
	if (err)
		race_error("listing of %s: %s", dir, strerrorname_np(-err));
	close(fd);
	free(l.v);
}

/* What was there before, is there after and was not touched must be seen once. */
static void step_check(const char *dir, const char *what, const struct list *before, const struct list *seen,
		       const struct list *gone)
{
	int missing = 0, doubled = 0;
	const char *example = "";

	for (size_t i = 0; i < before->n; i++) {
		int n = count_of(seen, before->v[i].name);

		if (count_of(gone, before->v[i].name) || n == 1)
			continue;
		example = before->v[i].name;
		if (n)
			doubled++;
		else
			missing++;
	}
	if (missing || doubled)
		race_error("%s: %s: of %zu names, %d are missing and %d doubled, for instance %s", dir, what, before->n, missing,
			   doubled, example);
}

static void take(struct list *gone, int dir, const struct list *before, size_t i, bool rename)
{
	char new[48];

	if (i >= before->n || count_of(gone, before->v[i].name))
		return;
	snprintf(new, sizeof(new), "new-%s", before->v[i].name);
	if (rename ? renameat(dir, before->v[i].name, dir, new) : unlinkat(dir, before->v[i].name, 0))
		race_error("%s of %s: %s", rename ? "rename" : "unlink", before->v[i].name, strerrorname_np(errno));
	gone->v[gone->n++] = before->v[i];
}

static void step(int k)
{
	static const char *const whats[] = {
		"the last seen name removed", "the next name removed", "all around removed", "the last seen name renamed",
		"names created", "all seen names removed",
	};
	size_t at, chunk = k % 2 ? 300 : 1000, edge;
	struct list before, seen, gone;
	uint64_t rng = seed + k;
	int what = k % 6, fd, err;
	char dir[16], name[32];

	snprintf(dir, sizeof(dir), "p%d", k);
	list_init(&before);
	list_init(&seen);
	list_init(&gone);
	fd = open_dir(dir);
	/* With the cache warm from a first listing, or not. */
	err = list_read(fd, &before, LIST_MAX, 4096);
	if (err || before.n != STEP_NAMES)
		race_error("%s: %zu names (%s), must be %d", dir, before.n, strerrorname_np(-err), STEP_NAMES);
	close(fd);
	fd = open_dir(dir);
	at = 1 + race_below(&rng, before.n - 2);
	err = list_read(fd, &seen, at, chunk);
	if (err)
		race_error("%s: listing: %s", dir, strerrorname_np(-err));
	/* Which one is the last seen in this listing; its order need not be that of the first. */
	edge = 0;
	while (edge < before.n && strcmp(before.v[edge].name, seen.v[seen.n - 1].name))
		edge++;
	if (k / 6 % 2)
		list_whole(dir, 4096);
	switch (what) {
	case 0: take(&gone, fd, &before, edge, false); break;
	case 1: take(&gone, fd, &before, edge + 1, false); break;
	case 2:
		for (size_t i = edge > 5 ? edge - 5 : 0; i < edge + 6; i++)
			take(&gone, fd, &before, i, false);
		break;
	case 3: take(&gone, fd, &before, edge, true); break;
	case 4:
		for (int i = 0; i < 30; i++) {
			snprintf(name, sizeof(name), "a%d-%d", k, i);
			create(fd, name);
		}
		break;
	default:
		for (size_t i = 0; i <= edge; i++)
			take(&gone, fd, &before, i, false);
	}
	list_whole(dir, 32768);
	if (k / 12 % 2)
		list_whole(dir, 500);
	err = list_read(fd, &seen, LIST_MAX, chunk);
	if (err)
		race_error("%s: listing: %s", dir, strerrorname_np(-err));
	step_check(dir, whats[what], &before, &seen, &gone);

	/* Back to where it paused: the same rest again. */
	if (at < seen.n) {
		seen.n = at;
		if (lseek(fd, seen.v[at - 1].off, SEEK_SET) < 0)
			race_error("%s: seekdir: %s", dir, strerrorname_np(errno));
		err = list_read(fd, &seen, LIST_MAX, chunk);
		if (err)
			race_error("%s: listing after seekdir: %s", dir, strerrorname_np(-err));
		step_check(dir, "seekdir back", &before, &seen, &gone);
	}
	/* And from the start. */
	seen.n = 0;
	lseek(fd, 0, SEEK_SET);
	list_read(fd, &seen, LIST_MAX, chunk);
	for (size_t i = 0; i < gone.n; i++)
		if (count_of(&seen, gone.v[i].name))
			race_error("%s: %s is gone and still listed", dir, gone.v[i].name);
	step_check(dir, "rewinddir", &before, &seen, &gone);
	close(fd);
	free(before.v);
	free(seen.v);
	free(gone.v);
}

/* Names "k..." stay; "v..." of the lower and "c..." of the upper come and go. */
static void *change(void *arg)
{
	unsigned int thread = (uintptr_t)arg;
	uint64_t rng = seed * 16 + thread;
	int dir = open_dir("big");
	char a[32], b[32];

	while (!stop) {
		unsigned int k = race_below(&rng, 40), what = race_below(&rng, 5);
		int fd;

		/* Each thread has names of its own, so that the result of every call is known to be one of two. */
		snprintf(a, sizeof(a), "%c%u-%u", what & 1 ? 'c' : 'v', thread, k);
		snprintf(b, sizeof(b), "%c%u-%u", k & 1 ? 'c' : 'v', thread, race_below(&rng, 40));
		switch (what) {
		case 0:
		case 1:
			fd = openat(dir, a, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
			if (fd < 0)
				race_error("create %s: %s", a, strerrorname_np(errno));
			else
				close(fd);
			break;
		case 2:
		case 3:
			if (unlinkat(dir, a, 0) && errno != ENOENT)
				race_error("unlink %s: %s", a, strerrorname_np(errno));
			break;
		default:
			if (renameat(dir, a, dir, b) && errno != ENOENT)
				race_error("rename %s: %s", a, strerrorname_np(errno));
		}
		changes++;
	}
	close(dir);
	return NULL;
}

static void *list(void *arg)
{
	uint64_t rng = seed * 16 + 8 + (uintptr_t)arg;
	unsigned int n;
	struct list l;

	list_init(&l);
	while (!stop) {
		unsigned char seen[BIG_NAMES] = { 0 };
		int fd = open_dir("big"), missing = 0, doubled = 0, err = 0;
		static const size_t chunks[] = { 280, 700, 4096, 32768 };
		size_t chunk = chunks[race_below(&rng, 4)];

		l.n = 0;
		while (!err && l.n < LIST_MAX) {
			size_t was = l.n;

			err = list_read(fd, &l, l.n + 1, chunk);
			if (l.n == was)
				break;
			if (race_below(&rng, 10) == 0)
				usleep(200);
		}
		if (err)
			race_error("listing: %s", strerrorname_np(-err));
		for (size_t i = 0; i < l.n; i++)
			if (sscanf(l.v[i].name, "k%u", &n) == 1 && n < BIG_NAMES)
				seen[n]++;
		for (int i = 0; i < BIG_NAMES; i++) {
			missing += !seen[i];
			doubled += seen[i] > 1;
		}
		if (missing || doubled)
			race_error("listing in chunks of %zu: of %d names, %d are missing and %d doubled", chunk, BIG_NAMES,
				   missing, doubled);
		listings++;
		close(fd);
	}
	free(l.v);
	return NULL;
}

static void setup(char **layers)
{
	char dir[16], name[48];

	for (int layer = 0; layer < 2; layer++) {
		int fd = open(layers[layer], O_RDONLY | O_DIRECTORY | O_CLOEXEC), d;

		if (fd < 0)
			race_die("cannot open", layers[layer]);
		root = fd;
		for (int k = 0; k < STEP_DIRS; k++) {
			/* Some are merged, some in one layer alone. */
			if (layer && k % 3 == 2)
				continue;
			snprintf(dir, sizeof(dir), "p%d", k);
			if (mkdirat(fd, dir, 0755))
				race_die("cannot make", dir);
			d = open_dir(dir);
			for (int i = 0; i < STEP_NAMES; i++) {
				snprintf(name, sizeof(name), "name-%d-%d", k, i);
				if (k % 3 == 2 || i % 3 == layer || i % 3 == 2)
					create(d, name);
			}
			close(d);
		}
		if (mkdirat(fd, "big", 0755))
			race_die("cannot make", "big");
		d = open_dir("big");
		for (int i = 0; i < BIG_NAMES; i++) {
			snprintf(name, sizeof(name), "k%d", i);
			if (i % 3 == layer || i % 3 == 2)
				create(d, name);
		}
		for (int i = 0; i < THREADS * 20; i++) {
			snprintf(name, sizeof(name), "v%d-%d", i % THREADS, i / THREADS);
			create(d, name);
		}
		close(d);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "setup", 0, NULL, 's' }, { "seconds", 1, NULL, 't' }, { "seed", 1, NULL, 'x' }, { 0 },
	};
	pthread_t threads[THREADS];
	const char *seed_arg = NULL;
	bool make = false;
	int seconds = 8, c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's': make = true; break;
		case 't': seconds = atoi(optarg); break;
		case 'x': seed_arg = optarg; break;
		default: return 2;
		}
	}
	if (argc - optind != (make ? 2 : 1)) {
		fprintf(stderr, "usage: listing --setup LOWER1 LOWER2 | listing [OPTIONS] UNION\n");
		return 2;
	}
	if (make) {
		setup(argv + optind);
		return race_errors != 0;
	}
	root = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		race_die("cannot open", argv[optind]);
	seed = race_seed(seed_arg);
	for (int k = 0; k < STEP_DIRS; k++)
		step(k);
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, i % 2 ? change : list, (void *)i))
			race_die("pthread_create", "");
	sleep(seconds);
	stop = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%lu listings over %lu changes\n", (unsigned long)listings, (unsigned long)changes);
	return race_result("listing");
}
