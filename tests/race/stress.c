// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stress --setup LOWER1 LOWER2                    fill two lower layers
 * stress [--seconds S | --ops N] [--seed X] [--no-move] --state FILE UNION
 *                                                 eight workers in shared directories; then check, and write down what
 *                                                 must be there
 * stress --verify FILE UNION                      check again, after a remount
 *
 * Each worker is the only one who touches the names that bear its number, so it knows what every call must return: an
 * ENOENT, EEXIST, ENOTEMPTY, ESTALE or EIO that does not follow from its own doings is an error. Beside that all of them
 * quarrel about a few common names, where only a sane errno is demanded, and a mover renames the shared directories,
 * which the workers hold by descriptor.
 */
#include "race.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <sys/stat.h>

#define WORKERS 8
#define SHARED 5
#define OWN 6			/* directories of its own that a worker may have */
#define DIRS (SHARED + OWN)
#define NAMES 24		/* names of a worker in one directory */
#define FILES 256
#define COMMON 6
#define MAX_SIZE 20000		/* beyond it nothing is appended */

struct file {
	uint64_t seed;
	off_t valid, size;	/* content up to valid, zeros up to size */
	int links;
};

struct worker {
	int id;
	uint64_t rng;
	pthread_t thread;
	struct file files[FILES];
	short ent[DIRS][NAMES];		/* the file of each name, -1: none */
	short own[SHARED][OWN];		/* own directory that bears this name there, -1: none */
	struct { bool used; short shared, name; } dirs[OWN];
	unsigned long ops;
};

static struct worker workers[WORKERS];
static int shared_fd[SHARED];
static int root_fd;
static atomic_bool stop;
static unsigned long max_ops;
static uint64_t seed;

static const char *err(int e)
{
	return e ? strerrorname_np(e) : "success";
}

/* The directory descriptor and relative path of a name. */
static int at(const struct worker *w, int dir, int name, char *path, size_t size)
{
	if (dir < SHARED) {
		snprintf(path, size, "w%d-%d", w->id, name);
		return shared_fd[dir];
	}
	dir -= SHARED;
	snprintf(path, size, "w%d-d%d/w%d-%d", w->id, w->dirs[dir].name, w->id, name);
	return shared_fd[w->dirs[dir].shared];
}

static void wrong(const struct worker *w, const char *what, const char *path, int got, int want)
{
	race_error("worker %d op %lu: %s %s: %s, must be %s", w->id, w->ops, what, path, err(got), err(want));
}

static bool expect(const struct worker *w, const char *what, const char *path, int ret, int want)
{
	int got = ret < 0 ? errno : 0;

	if (got != want)
		wrong(w, what, path, got, want);
	return got == want;
}

static void check_content(const struct worker *w, int dirfd, const char *path, const struct file *f)
{
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	unsigned char buf[2048];
	struct stat st;
	off_t off = 0;
	ssize_t n;

	if (!expect(w, "open for reading", path, fd, 0))
		return;
	if (fstat(fd, &st))
		wrong(w, "fstat", path, errno, 0);
	else if (st.st_size != f->size || st.st_nlink != (nlink_t)f->links)
		race_error("worker %d op %lu: %s: size %lld, nlink %lu; must be %lld, %d", w->id, w->ops, path,
			   (long long)st.st_size, (unsigned long)st.st_nlink, (long long)f->size, f->links);
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++, off++) {
			unsigned char want = off < f->valid ? race_byte(f->seed, off) : 0;

			if (buf[i] != want) {
				race_error("worker %d op %lu: %s: byte %lld is %d, must be %d", w->id, w->ops, path,
					   (long long)off, buf[i], want);
				goto out;
			}
		}
	}
	if (n < 0)
		wrong(w, "read", path, errno, 0);
	else if (off != f->size)
		race_error("worker %d op %lu: %s: %lld bytes read, must be %lld", w->id, w->ops, path, (long long)off,
			   (long long)f->size);
out:
	close(fd);
}

static void put_content(const struct worker *w, int fd, const char *path, uint64_t content, off_t off, size_t len)
{
	unsigned char *buf = malloc(len + 1);
	ssize_t n;

	if (!buf)
		race_die("malloc", path);
	race_fill(content, off, buf, len);
	n = write(fd, buf, len);
	if (n != (ssize_t)len)
		wrong(w, "write", path, n < 0 ? errno : ENOSPC, 0);
	free(buf);
}

static int any_dir(struct worker *w)
{
	for (int i = 0; i < 8; i++) {
		int d = race_below(&w->rng, DIRS);

		if (d < SHARED || w->dirs[d - SHARED].used)
			return d;
	}
	return race_below(&w->rng, SHARED);
}

static bool any_name(struct worker *w, bool used, int *dir, int *name)
{
	for (int i = 0; i < 40; i++) {
		*dir = any_dir(w);
		*name = race_below(&w->rng, NAMES);
		if ((w->ent[*dir][*name] >= 0) == used)
			return true;
	}
	return false;
}

static void drop_name(struct worker *w, int dir, int name)
{
	w->files[w->ent[dir][name]].links--;
	w->ent[dir][name] = -1;
}

static void do_create(struct worker *w)
{
	int dir, name, dirfd, fd, i = 0;
	struct file *f = NULL;
	char path[64];

	if (!any_name(w, false, &dir, &name))
		return;
	while (i < FILES && w->files[i].links)
		i++;
	if (i == FILES)
		return;
	f = &w->files[i];
	dirfd = at(w, dir, name, path, sizeof(path));
	fd = openat(dirfd, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	if (!expect(w, "create", path, fd, 0))
		return;
	f->seed = race_next(&w->rng);
	f->valid = f->size = race_below(&w->rng, 6000);
	f->links = 1;
	w->ent[dir][name] = i;
	put_content(w, fd, path, f->seed, 0, f->size);
	close(fd);
}

static void do_rewrite(struct worker *w)
{
	int dir, name, dirfd, fd;
	bool append = race_below(&w->rng, 2);
	struct file *f;
	char path[64];
	size_t len;

	if (!any_name(w, true, &dir, &name))
		return;
	f = &w->files[w->ent[dir][name]];
	append = append && f->valid == f->size && f->size < MAX_SIZE;
	dirfd = at(w, dir, name, path, sizeof(path));
	fd = openat(dirfd, path, (append ? O_APPEND : O_TRUNC) | O_WRONLY | O_CLOEXEC);
	if (!expect(w, append ? "open for appending" : "open for writing", path, fd, 0))
		return;
	len = race_below(&w->rng, 6000);
	if (!append) {
		f->seed = race_next(&w->rng);
		f->size = 0;
	}
	put_content(w, fd, path, f->seed, f->size, len);
	f->size += len;
	f->valid = f->size;
	close(fd);
}

static void do_truncate(struct worker *w)
{
	int dir, name, dirfd, fd;
	struct file *f;
	char path[64];
	off_t size;

	if (!any_name(w, true, &dir, &name))
		return;
	f = &w->files[w->ent[dir][name]];
	size = race_below(&w->rng, 9000);
	dirfd = at(w, dir, name, path, sizeof(path));
	fd = openat(dirfd, path, O_RDWR | O_CLOEXEC);
	if (!expect(w, "open for truncating", path, fd, 0))
		return;
	if (expect(w, "ftruncate", path, ftruncate(fd, size), 0)) {
		f->size = size;
		if (f->valid > size)
			f->valid = size;
	}
	close(fd);
}

static void do_rename(struct worker *w)
{
	int dir, name, dir2, name2, fd, fd2, old, new, flags = 0;
	char path[64], path2[64];
	unsigned int k = race_below(&w->rng, 10);

	if (!any_name(w, true, &dir, &name) || !any_name(w, k < 4, &dir2, &name2))
		return;
	old = w->ent[dir][name];
	new = w->ent[dir2][name2];
	if (k == 0)
		flags = RENAME_EXCHANGE;
	else if (k == 1 || k == 5)
		flags = RENAME_NOREPLACE;
	fd = at(w, dir, name, path, sizeof(path));
	fd2 = at(w, dir2, name2, path2, sizeof(path2));
	if (dir == dir2 && name == name2)
		return;
	if (k == 1) {
		expect(w, "rename without replacing", path, renameat2(fd, path, fd2, path2, flags), EEXIST);
		return;
	}
	if (!expect(w, flags == RENAME_EXCHANGE ? "exchange" : "rename", path, renameat2(fd, path, fd2, path2, flags), 0))
		return;
	if (flags == RENAME_EXCHANGE) {
		w->ent[dir][name] = new;
		w->ent[dir2][name2] = old;
	} else if (old != new) {
		/* Two names of one file: rename(2) does nothing. */
		if (new >= 0)
			drop_name(w, dir2, name2);
		w->ent[dir2][name2] = old;
		w->ent[dir][name] = -1;
	}
}

static void do_link(struct worker *w)
{
	int dir, name, dir2, name2, fd, fd2;
	char path[64], path2[64];
	bool taken = race_below(&w->rng, 5) == 0;

	if (!any_name(w, true, &dir, &name) || !any_name(w, taken, &dir2, &name2))
		return;
	fd = at(w, dir, name, path, sizeof(path));
	fd2 = at(w, dir2, name2, path2, sizeof(path2));
	if (expect(w, "link", path2, linkat(fd, path, fd2, path2, 0), taken ? EEXIST : 0) && !taken) {
		w->ent[dir2][name2] = w->ent[dir][name];
		w->files[w->ent[dir][name]].links++;
	}
}

static void do_unlink(struct worker *w)
{
	int dir, name, dirfd, fd = -1;
	struct file *f;
	struct stat st;
	char path[64];

	if (!any_name(w, true, &dir, &name))
		return;
	f = &w->files[w->ent[dir][name]];
	dirfd = at(w, dir, name, path, sizeof(path));
	if (race_below(&w->rng, 3) == 0)
		fd = openat(dirfd, path, O_RDWR | O_CLOEXEC);
	if (expect(w, "unlink", path, unlinkat(dirfd, path, 0), 0))
		drop_name(w, dir, name);
	if (fd >= 0) {
		/* With the writeback cache the kernel counts links itself; it asks again in a moment where it may have erred. */
		for (int i = 0; i < 500 && !fstat(fd, &st) && st.st_nlink != (nlink_t)f->links; i++)
			usleep(10000);
		if (fstat(fd, &st))
			wrong(w, "fstat of an unlinked file", path, errno, 0);
		else if (st.st_nlink != (nlink_t)f->links || st.st_size != f->size)
			race_error("worker %d op %lu: %s unlinked: nlink %lu, size %lld; must be %d, %lld", w->id, w->ops, path,
				   (unsigned long)st.st_nlink, (long long)st.st_size, f->links, (long long)f->size);
		close(fd);
	}
}

static bool own_is_empty(const struct worker *w, int i)
{
	for (int n = 0; n < NAMES; n++)
		if (w->ent[SHARED + i][n] >= 0)
			return false;
	return true;
}

static void do_own_dir(struct worker *w)
{
	int i = race_below(&w->rng, OWN), s = race_below(&w->rng, SHARED), n = race_below(&w->rng, OWN), fd, want;
	char path[64], path2[64];

	snprintf(path2, sizeof(path2), "w%d-d%d", w->id, n);
	if (!w->dirs[i].used) {
		want = w->own[s][n] >= 0 ? EEXIST : 0;
		if (!expect(w, "mkdir", path2, mkdirat(shared_fd[s], path2, 0755), want) || want)
			return;
		w->dirs[i].used = true;
	} else {
		snprintf(path, sizeof(path), "w%d-d%d", w->id, w->dirs[i].name);
		fd = shared_fd[w->dirs[i].shared];
		if (race_below(&w->rng, 3) == 0) {
			want = own_is_empty(w, i) ? 0 : ENOTEMPTY;
			if (!expect(w, "rmdir", path, unlinkat(fd, path, AT_REMOVEDIR), want) || want)
				return;
			w->dirs[i].used = false;
			w->own[w->dirs[i].shared][w->dirs[i].name] = -1;
			return;
		}
		if (w->own[s][n] >= 0)
			return;
		if (!expect(w, "rename of a directory", path, renameat(fd, path, shared_fd[s], path2), 0))
			return;
		w->own[w->dirs[i].shared][w->dirs[i].name] = -1;
	}
	w->dirs[i].shared = s;
	w->dirs[i].name = n;
	w->own[s][n] = i;
}

static void do_check(struct worker *w)
{
	bool used = race_below(&w->rng, 3);
	int dir, name, dirfd;
	struct stat st;
	char path[64];

	if (!any_name(w, used, &dir, &name))
		return;
	dirfd = at(w, dir, name, path, sizeof(path));
	if (used)
		check_content(w, dirfd, path, &w->files[w->ent[dir][name]]);
	else
		expect(w, "stat", path, fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW), ENOENT);
}

/* A listing shows all of one's own names, once, and none that are gone; and the lower's untouched ones. */
static void check_listing(const struct worker *w, int shared)
{
	int seen[NAMES] = { 0 }, own[OWN] = { 0 }, fillers = 0, id, n, used;
	int fd = openat(shared_fd[shared], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *de;
	DIR *d;

	if (!expect(w, "open of a shared directory", ".", fd, 0))
		return;
	d = fdopendir(fd);
	while (d && (errno = 0, de = readdir(d))) {
		fillers += de->d_name[0] == 'z';
		used = 0;
		if (sscanf(de->d_name, "w%d-d%d%n", &id, &n, &used) == 2 && !de->d_name[used]) {
			if (id == w->id && n >= 0 && n < OWN)
				own[n]++;
		} else if (sscanf(de->d_name, "w%d-%d%n", &id, &n, &used) == 2 && !de->d_name[used]) {
			if (id == w->id && n >= 0 && n < NAMES)
				seen[n]++;
		}
	}
	if (errno)
		wrong(w, "readdir", ".", errno, 0);
	if (d)
		closedir(d);
	if (fillers != 60)
		race_error("worker %d op %lu: listing of s%d has %d of 60 untouched names", w->id, w->ops, shared, fillers);
	for (n = 0; n < NAMES; n++)
		if (seen[n] != (w->ent[shared][n] >= 0))
			race_error("worker %d op %lu: listing of s%d has w%d-%d %d times, must be %d", w->id, w->ops, shared,
				   w->id, n, seen[n], w->ent[shared][n] >= 0);
	for (n = 0; n < OWN; n++)
		if (own[n] != (w->own[shared][n] >= 0))
			race_error("worker %d op %lu: listing of s%d has w%d-d%d %d times, must be %d", w->id, w->ops, shared,
				   w->id, n, own[n], w->own[shared][n] >= 0);
}

static void sane(const struct worker *w, const char *what, const char *path, int ret)
{
	int e = errno;

	/* EPERM: link(2) of a directory. */
	if (ret < 0 && e == EPERM && !strcmp(what, "link"))
		return;
	if (ret < 0 && e != ENOENT && e != EEXIST && e != ENOTEMPTY && e != ENOTDIR && e != EISDIR)
		race_error("worker %d op %lu: %s of common %s: %s", w->id, w->ops, what, path, err(e));
}

/* All workers on the same few names: who wins is open, that somebody does is not. */
static void do_common(struct worker *w)
{
	int s = shared_fd[race_below(&w->rng, SHARED)], t = shared_fd[race_below(&w->rng, SHARED)], fd;
	char a[32], b[32], buf[64];

	snprintf(a, sizeof(a), "x%u", race_below(&w->rng, COMMON));
	snprintf(b, sizeof(b), "x%u", race_below(&w->rng, COMMON));
	switch (race_below(&w->rng, 8)) {
	case 0:
		fd = openat(s, a, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);
		sane(w, "create", a, fd);
		break;
	case 1:
		fd = openat(s, a, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0644);
		sane(w, "create or truncate", a, fd);
		if (fd >= 0 && write(fd, "common", 6) != 6)
			wrong(w, "write to common", a, errno, 0);
		break;
	case 2:
		fd = openat(s, a, O_RDONLY | O_CLOEXEC);
		sane(w, "open", a, fd);
		if (fd >= 0 && read(fd, buf, sizeof(buf)) < 0 && errno != EISDIR)
			wrong(w, "read of common", a, errno, 0);
		break;
	case 3:
		sane(w, "unlink", a, unlinkat(s, a, 0));
		return;
	case 4:
		sane(w, "rename", a, renameat(s, a, t, b));
		return;
	case 5:
		sane(w, "link", a, linkat(s, a, t, b, 0));
		return;
	case 6:
		sane(w, "mkdir", a, mkdirat(s, a, 0755));
		return;
	default:
		sane(w, "rmdir", a, unlinkat(s, a, AT_REMOVEDIR));
		return;
	}
	if (fd >= 0)
		close(fd);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (w->ops = 0; !stop && (!max_ops || w->ops < max_ops); w->ops++) {
		unsigned int k = race_below(&w->rng, 100);

		if (k < 16)
			do_create(w);
		else if (k < 26)
			do_rewrite(w);
		else if (k < 32)
			do_truncate(w);
		else if (k < 50)
			do_rename(w);
		else if (k < 57)
			do_link(w);
		else if (k < 69)
			do_unlink(w);
		else if (k < 76)
			do_own_dir(w);
		else if (k < 88)
			do_check(w);
		else if (k < 90)
			check_listing(w, race_below(&w->rng, SHARED));
		else
			do_common(w);
	}
	return NULL;
}

static void shared_name(char *out, size_t size, int s, bool moved)
{
	snprintf(out, size, "%c%d", moved ? 't' : 's', s);
}

static void *move(void *arg)
{
	uint64_t rng = seed ^ 0x77;
	bool moved[SHARED] = { false };
	char a[8], b[8];

	(void)arg;
	while (!stop) {
		int s = race_below(&rng, SHARED);

		shared_name(a, sizeof(a), s, moved[s]);
		shared_name(b, sizeof(b), s, !moved[s]);
		if (renameat(root_fd, a, root_fd, b))
			race_error("mover: rename of %s: %s", a, err(errno));
		else
			moved[s] = !moved[s];
		usleep(3000);
	}
	for (int s = 0; s < SHARED; s++) {
		shared_name(a, sizeof(a), s, true);
		shared_name(b, sizeof(b), s, false);
		if (moved[s] && renameat(root_fd, a, root_fd, b))
			race_error("mover: rename back of %s: %s", a, err(errno));
	}
	return NULL;
}

static void make_file(int fd, const char *path, const struct file *f)
{
	unsigned char *buf = malloc(f->size);

	if (!buf)
		race_die("malloc", path);
	race_fill(f->seed, 0, buf, f->size);
	fd = openat(fd, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, buf, f->size) != f->size)
		race_die("cannot make", path);
	close(fd);
	free(buf);
}

/*
 * What a worker finds in the layers: names 0 to 5 of each shared directory (0 to 2 in the first layer, 3 to 5 in the
 * second, 4 a second name of 3) and one own directory with two files. With a layer >= 0 they are made there.
 */
static void initial(struct worker *w, int layer)
{
	int next = 0;
	char path[64];

	memset(w->ent, -1, sizeof(w->ent));
	memset(w->own, -1, sizeof(w->own));
	w->dirs[0].used = true;
	w->own[0][0] = 0;
	if (layer == 0 && mkdirat(shared_fd[0], (snprintf(path, sizeof(path), "w%d-d0", w->id), path), 0755))
		race_die("cannot make", path);
	for (int d = 0; d <= SHARED; d++) {
		for (int n = 0; n < (d < SHARED ? 6 : 2); n++) {
			int in = d < SHARED && n >= 3, fd = at(w, d, n, path, sizeof(path));
			struct file *f;

			if (n == 4) {
				char first[64];

				at(w, d, 3, first, sizeof(first));
				w->ent[d][4] = w->ent[d][3];
				w->files[w->ent[d][3]].links++;
				if (layer == in && linkat(fd, first, fd, path, 0))
					race_die("cannot link", path);
				continue;
			}
			f = &w->files[next];
			f->seed = race_mix(w->id * 1000 + next);
			f->size = f->valid = 100 + f->seed % 9000;
			f->links = 1;
			w->ent[d][n] = next++;
			if (layer == in)
				make_file(fd, path, f);
		}
	}
}

static void open_shared(int root, bool make)
{
	char name[8];

	for (int s = 0; s < SHARED; s++) {
		shared_name(name, sizeof(name), s, false);
		if (make && mkdirat(root, name, 0755))
			race_die("cannot make", name);
		shared_fd[s] = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (shared_fd[s] < 0)
			race_die("cannot open", name);
	}
}

static void setup(char **layers)
{
	struct file filler = { .seed = 1, .size = 10 };
	char name[32];

	for (int layer = 0; layer < 2; layer++) {
		int root = open(layers[layer], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (root < 0)
			race_die("cannot open", layers[layer]);
		open_shared(root, true);
		for (int s = 0; s < SHARED; s++) {
			for (int i = 0; i < 40; i++) {
				/* 20 of them are in both layers. */
				snprintf(name, sizeof(name), "z%d", i + layer * 20);
				make_file(shared_fd[s], name, &filler);
			}
			snprintf(name, sizeof(name), "x%d", layer + s % 4);
			make_file(shared_fd[s], name, &filler);
		}
		for (int i = 0; i < WORKERS; i++) {
			workers[i].id = i;
			memset(workers[i].files, 0, sizeof(workers[i].files));
			initial(&workers[i], layer);
		}
		for (int s = 0; s < SHARED; s++)
			close(shared_fd[s]);
		close(root);
	}
}

static void check_all(void)
{
	char path[64];

	for (int i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];

		for (int s = 0; s < SHARED; s++)
			check_listing(w, s);
		for (int d = 0; d < DIRS; d++) {
			for (int n = 0; n < NAMES; n++) {
				struct stat st;
				int fd;

				if (d >= SHARED && !w->dirs[d - SHARED].used)
					continue;
				fd = at(w, d, n, path, sizeof(path));
				if (w->ent[d][n] >= 0)
					check_content(w, fd, path, &w->files[w->ent[d][n]]);
				else
					expect(w, "stat", path, fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW), ENOENT);
			}
		}
	}
}

/* The state file is the workers' own memory, for the same binary to read after the remount. */
static void state(const char *file, bool save)
{
	FILE *f = fopen(file, save ? "we" : "re");

	if (!f || (save ? fwrite(workers, sizeof(workers), 1, f) : fread(workers, sizeof(workers), 1, f)) != 1 || fclose(f))
		race_die("state file", file);
}

static void run(int seconds, bool mover)
{
	pthread_t m;

	for (int i = 0; i < WORKERS; i++) {
		workers[i].id = i;
		workers[i].rng = seed * 100 + i;
		initial(&workers[i], -1);
	}
	for (int i = 0; i < WORKERS; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			race_die("pthread_create", "");
	if (mover && pthread_create(&m, NULL, move, NULL))
		race_die("pthread_create", "");
	if (!max_ops) {
		sleep(seconds);
		stop = true;
	}
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	stop = true;
	if (mover)
		pthread_join(m, NULL);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "setup", 0, NULL, 's' }, { "seconds", 1, NULL, 't' }, { "ops", 1, NULL, 'n' }, { "seed", 1, NULL, 'x' },
		{ "no-move", 0, NULL, 'm' }, { "state", 1, NULL, 'o' }, { "verify", 1, NULL, 'v' }, { 0 },
	};
	const char *out = NULL, *verify = NULL, *seed_arg = NULL;
	bool layers = false, mover = true;
	unsigned long ops = 0;
	int seconds = 20, c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's': layers = true; break;
		case 't': seconds = atoi(optarg); break;
		case 'n': max_ops = strtoul(optarg, NULL, 0); break;
		case 'x': seed_arg = optarg; break;
		case 'm': mover = false; break;
		case 'o': out = optarg; break;
		case 'v': verify = optarg; break;
		default: return 2;
		}
	}
	umask(022);
	if (argc - optind != (layers ? 2 : 1)) {
		fprintf(stderr, "usage: stress --setup LOWER1 LOWER2 | stress [OPTIONS] UNION\n");
		return 2;
	}
	if (layers) {
		setup(argv + optind);
		return 0;
	}
	root_fd = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		race_die("cannot open", argv[optind]);
	open_shared(root_fd, false);
	if (verify) {
		state(verify, false);
	} else {
		seed = race_seed(seed_arg);
		run(seconds, mover);
		for (int i = 0; i < WORKERS; i++)
			ops += workers[i].ops;
		printf("%lu operations\n", ops);
	}
	check_all();
	if (out)
		state(out, true);
	return race_result("stress");
}
