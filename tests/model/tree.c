// SPDX-License-Identifier: GPL-2.0-or-later
/* Walks of both trees: the list of paths to choose from, and the comparison. */
#include "model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_DIFFS 20

struct entry {
	char name[256];
	ino_t ino;
	unsigned char type;
};

struct listing {
	struct entry *e;
	size_t n;
};

/* plain (ino, birth) <-> union ino: proves link structure and stable numbers at once. */
struct pair {
	uint64_t ino, birth, other;
};

struct pairs {
	struct pair *p;
	size_t n, cap;
};

static struct pairs known;

static int entry_cmp(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int list_dir(int dirfd, const char *name, struct listing *l)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *de;
	size_t cap = 0;
	DIR *d;

	l->e = NULL;
	l->n = 0;
	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d)
		model_die("fdopendir", name);
	while ((errno = 0, de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (l->n == cap) {
			cap = cap ? cap * 2 : 32;
			l->e = realloc(l->e, cap * sizeof(*l->e));
			if (!l->e)
				model_die("realloc", name);
		}
		snprintf(l->e[l->n].name, sizeof(l->e[0].name), "%s", de->d_name);
		l->e[l->n].ino = de->d_ino;
		l->e[l->n].type = de->d_type;
		l->n++;
	}
	if (errno) {
		int err = errno;

		closedir(d);
		free(l->e);
		l->e = NULL;
		l->n = 0;
		return -err;
	}
	closedir(d);
	if (l->n)
		qsort(l->e, l->n, sizeof(*l->e), entry_cmp);
	return 0;
}

static int time_text(const struct model *m, const struct timespec *ts, char *out, size_t size)
{
	/* What the clock wrote differs between the sides by nature; what utimensat wrote must not. */
	if (ts->tv_sec >= m->start - 5)
		return snprintf(out, size, "now");
	return snprintf(out, size, "%lld.%09ld", (long long)ts->tv_sec, ts->tv_nsec);
}

int stat_text(const struct model *m, const struct stat *st, char *out, size_t size)
{
	int n = snprintf(out, size, "mode=%06o uid=%u gid=%u", st->st_mode, st->st_uid, st->st_gid);

	if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode))
		n += snprintf(out + n, size - n, " size=%lld", (long long)st->st_size);
	if (!S_ISDIR(st->st_mode) && m->feat.nlink)
		n += snprintf(out + n, size - n, " nlink=%u", (unsigned int)st->st_nlink);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		n += snprintf(out + n, size - n, " rdev=%u:%u", major(st->st_rdev), minor(st->st_rdev));
	n += snprintf(out + n, size - n, " mtime=");
	n += time_text(m, &st->st_mtim, out + n, size - n);
	return n;
}

static int name_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int xattr_text(int fd, const char *path, char *out, size_t size)
{
	static char list[4096], value[4096], *names[128];
	ssize_t len = fd >= 0 ? flistxattr(fd, list, sizeof(list)) : llistxattr(path, list, sizeof(list));
	size_t count = 0;
	int n = 0;

	if (len < 0)
		return snprintf(out, size, " listxattr=%s", strerrorname_np(errno));
	for (char *p = list; p < list + len && count < 128; p += strlen(p) + 1)
		names[count++] = p;
	if (count)
		qsort(names, count, sizeof(names[0]), name_cmp);
	out[0] = '\0';
	for (size_t i = 0; i < count && (size_t)n + 300 < size; i++) {
		ssize_t v = fd >= 0 ? fgetxattr(fd, names[i], value, sizeof(value)) :
			lgetxattr(path, names[i], value, sizeof(value));

		if (v < 0)
			n += snprintf(out + n, size - n, " %s:%s", names[i], strerrorname_np(errno));
		else
			n += snprintf(out + n, size - n, " %s=%zd:%08x", names[i], v,
				      (unsigned int)hash_bytes(1, value, v));
	}
	return n;
}

static int content_text(int dirfd, const char *name, const struct stat *st, char *out, size_t size)
{
	static unsigned char buf[65536];
	uint64_t h = 1;
	off_t total = 0;
	ssize_t n;
	int fd;

	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(dirfd, name, (char *)buf, sizeof(buf));
		if (n < 0)
			return snprintf(out, size, " readlink=%s", strerrorname_np(errno));
		return snprintf(out, size, " -> %.*s", (int)n, (char *)buf);
	}
	if (!S_ISREG(st->st_mode))
		return 0;
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME);
	if (fd < 0)
		return snprintf(out, size, " open=%s", strerrorname_np(errno));
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		h = hash_bytes(h, buf, n);
		total += n;
	}
	if (n < 0)
		n = snprintf(out, size, " read=%s", strerrorname_np(errno));
	else
		n = snprintf(out, size, " bytes=%lld content=%016llx", (long long)total, (unsigned long long)h);
	close(fd);
	return n;
}

static int object_text(const struct model *m, int dirfd, const char *name, struct stat *st, char *out, size_t size)
{
	char path[300];
	int n;

	if (fstatat(dirfd, name, st, AT_SYMLINK_NOFOLLOW)) {
		st->st_mode = 0;
		return snprintf(out, size, "stat=%s", strerrorname_np(errno));
	}
	n = stat_text(m, st, out, size);
	n += content_text(dirfd, name, st, out + n, size - n);
	/* Through /proc, because there is no llistxattrat everywhere: only the last component must not be followed. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, name);
	return n + xattr_text(-1, path, out + n, size - n);
}

static void pairs_add(struct pairs *ps, uint64_t ino, uint64_t birth, uint64_t other)
{
	if (ps->n == ps->cap) {
		ps->cap = ps->cap ? ps->cap * 2 : 1024;
		ps->p = realloc(ps->p, ps->cap * sizeof(*ps->p));
		if (!ps->p)
			model_die("realloc", "pairs");
	}
	ps->p[ps->n++] = (struct pair){ ino, birth, other };
}

static int pair_cmp(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	if (x->birth != y->birth)
		return x->birth < y->birth ? -1 : 1;
	return 0;
}

static int other_cmp(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	if (x->other != y->other)
		return x->other < y->other ? -1 : 1;
	return pair_cmp(a, b);
}

struct walk {
	struct model *m;
	struct pairs now;
	int diffs;
	dev_t dev;
};

static void differs(struct walk *w, const char *path, const char *what, const char *a, const char *b)
{
	if (++w->diffs > MAX_DIFFS)
		return;
	fprintf(stderr, "  %s: %s\n    union: %s\n    plain: %s\n", path, what, a, b);
}

static unsigned char dtype(mode_t mode)
{
	return (mode & S_IFMT) >> 12;
}

static void note_pair(struct walk *w, int dirfd, const char *name, const struct stat *other)
{
	struct statx sx;

	if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &sx) || !(sx.stx_mask & STATX_BTIME))
		return;
	pairs_add(&w->now, sx.stx_ino, sx.stx_btime.tv_sec * 1000000000ULL + sx.stx_btime.tv_nsec, other->st_ino);
}

static void walk_dirs(struct walk *w, int dir[2], char *path, size_t len)
{
	struct listing l[2];
	static const char *const no_entry = "no such name";
	static char text[2][MODEL_OUT * 2];	/* of one object: nothing of it is needed below */
	size_t i = 0, j = 0;
	int err[2];

	for (int s = 0; s < 2; s++)
		err[s] = list_dir(dir[s], ".", &l[s]);
	if (err[0] != err[1]) {
		differs(w, path, "listing", strerror(-err[0]), strerror(-err[1]));
		goto out;
	}
	while (i < l[0].n || j < l[1].n) {
		int c = i == l[0].n ? 1 : j == l[1].n ? -1 : strcmp(l[0].e[i].name, l[1].e[j].name);
		const char *name = c <= 0 ? l[0].e[i].name : l[1].e[j].name;
		struct stat st[2];
		size_t add;

		if (i && c <= 0 && !strcmp(l[0].e[i - 1].name, name))
			differs(w, path, "listed twice", name, name);
		add = len + 1 + strlen(name);
		if (add >= MODEL_PATH * 4)
			model_die("path too long", path);
		path[len] = '/';
		memcpy(path + len + 1, name, strlen(name) + 1);
		if (c) {
			object_text(w->m, dir[c < 0 ? 0 : 1], name, &st[0], text[0], sizeof(text[0]));
			differs(w, path, "only on one side", c < 0 ? text[0] : no_entry, c < 0 ? no_entry : text[0]);
			if (c < 0)
				i++;
			else
				j++;
			path[len] = '\0';
			continue;
		}
		for (int s = 0; s < 2; s++)
			object_text(w->m, dir[s], name, &st[s], text[s], sizeof(text[s]));
		if (strcmp(text[0], text[1]))
			differs(w, path, "object", text[0], text[1]);
		if (w->m->feat.holes && S_ISREG(st[0].st_mode) && st[0].st_blocks > st[1].st_blocks + 2048) {
			snprintf(text[0], sizeof(text[0]), "%lld blocks", (long long)st[0].st_blocks);
			snprintf(text[1], sizeof(text[1]), "%lld blocks", (long long)st[1].st_blocks);
			differs(w, path, "holes were filled", text[0], text[1]);
		}
		if (l[0].e[i].type != DT_UNKNOWN && l[0].e[i].type != dtype(st[0].st_mode)) {
			snprintf(text[0], sizeof(text[0]), "d_type %u", l[0].e[i].type);
			snprintf(text[1], sizeof(text[1]), "mode %o", st[0].st_mode);
			differs(w, path, "d_type is not the type", text[0], text[1]);
		}
		if (w->m->feat.dino && st[0].st_mode && l[0].e[i].ino != st[0].st_ino) {
			snprintf(text[0], sizeof(text[0]), "d_ino %llu", (unsigned long long)l[0].e[i].ino);
			snprintf(text[1], sizeof(text[1]), "st_ino %llu", (unsigned long long)st[0].st_ino);
			differs(w, path, "d_ino is not st_ino", text[0], text[1]);
		}
		if (w->m->feat.ino && st[0].st_mode)
			note_pair(w, dir[1], name, &st[0]);
		if (S_ISDIR(st[0].st_mode) && S_ISDIR(st[1].st_mode)) {
			int sub[2];

			for (int s = 0; s < 2; s++)
				sub[s] = openat(dir[s], name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (sub[0] >= 0 && sub[1] >= 0)
				walk_dirs(w, sub, path, add);
			else
				differs(w, path, "directory does not open", "", "");
			for (int s = 0; s < 2; s++)
				if (sub[s] >= 0)
					close(sub[s]);
		}
		path[len] = '\0';
		i++;
		j++;
	}
out:
	for (int s = 0; s < 2; s++)
		free(l[s].e);
}

static void check_pairs(struct walk *w, bool keep)
{
	struct pairs *now = &w->now;
	char a[64], b[64];

	if (now->n)
		qsort(now->p, now->n, sizeof(now->p[0]), other_cmp);
	for (size_t i = 1; i < now->n; i++) {
		const struct pair *x = &now->p[i - 1], *y = &now->p[i];

		if (x->other == y->other && pair_cmp(x, y)) {
			snprintf(a, sizeof(a), "one inode %llu", (unsigned long long)x->other);
			snprintf(b, sizeof(b), "inodes %llu and %llu", (unsigned long long)x->ino,
				 (unsigned long long)y->ino);
			differs(w, "(links)", "two files are one", a, b);
		}
	}
	if (now->n)
		qsort(now->p, now->n, sizeof(now->p[0]), pair_cmp);
	for (size_t i = 1; i < now->n; i++) {
		const struct pair *x = &now->p[i - 1], *y = &now->p[i];

		if (!pair_cmp(x, y) && x->other != y->other) {
			snprintf(a, sizeof(a), "inodes %llu and %llu", (unsigned long long)x->other,
				 (unsigned long long)y->other);
			snprintf(b, sizeof(b), "one inode %llu", (unsigned long long)x->ino);
			differs(w, "(links)", "one file is two", a, b);
		}
	}
	for (size_t i = 0, k = 0; keep && i < now->n && k < known.n;) {
		int c = pair_cmp(&now->p[i], &known.p[k]);

		if (!c && now->p[i].other != known.p[k].other) {
			snprintf(a, sizeof(a), "was %llu, is %llu", (unsigned long long)known.p[k].other,
				 (unsigned long long)now->p[i].other);
			snprintf(b, sizeof(b), "inode %llu", (unsigned long long)now->p[i].ino);
			differs(w, "(numbers)", "st_ino changed", a, b);
		}
		if (c <= 0)
			i++;
		if (c > 0)
			k++;
	}
	free(known.p);
	known = *now;
}

int tree_compare(struct model *m, bool keep_ino)
{
	struct walk w = { .m = m };
	static char path[MODEL_PATH * 4 + 1], text[2][MODEL_OUT];
	struct stat st;

	strcpy(path, ".");
	for (int s = 0; s < 2; s++)
		object_text(m, m->root[s], ".", &st, text[s], sizeof(text[s]));
	if (strcmp(text[0], text[1]))
		differs(&w, path, "object", text[0], text[1]);
	walk_dirs(&w, m->root, path, 1);
	check_pairs(&w, keep_ino);
	if (w.diffs > MAX_DIFFS)
		fprintf(stderr, "  and %d more\n", w.diffs - MAX_DIFFS);
	return w.diffs;
}

static void scan_dir(struct model *m, int dirfd, char *path, size_t len, size_t *cap)
{
	struct listing l;

	if (list_dir(dirfd, ".", &l))
		model_die("cannot list the plain directory", path);
	for (size_t i = 0; i < l.n; i++) {
		size_t add = len + !!len + strlen(l.e[i].name);

		/* Deeper objects exist and are compared; they are reached through directory slots only. */
		if (add >= MODEL_PATH - 300)
			continue;
		snprintf(path + len, MODEL_PATH - len, "%s%s", len ? "/" : "", l.e[i].name);
		if (m->npaths == *cap) {
			*cap = *cap ? *cap * 2 : 512;
			m->paths = realloc(m->paths, *cap * sizeof(*m->paths));
			m->types = realloc(m->types, *cap * sizeof(*m->types));
			if (!m->paths || !m->types)
				model_die("realloc", path);
		}
		m->paths[m->npaths] = strdup(path);
		m->types[m->npaths++] = (mode_t)l.e[i].type << 12;
		if (l.e[i].type == DT_DIR) {
			int fd = openat(dirfd, l.e[i].name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (fd < 0)
				model_die("cannot open in the plain directory", path);
			scan_dir(m, fd, path, add, cap);
			close(fd);
		}
		path[len] = '\0';
	}
	free(l.e);
}

void tree_scan(struct model *m)
{
	static size_t cap;
	char path[MODEL_PATH] = "";

	while (m->npaths)
		free(m->paths[--m->npaths]);
	scan_dir(m, m->root[PLAIN], path, 0, &cap);
}
