// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The tree that both sides start from. Each layer is made by steps that are applied twice: to the layer in the on-disk
 * form (whiteouts, opaque marks), and to the plain directory as what the step means.
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

struct gen {
	struct model *m;
	struct rng rng;
	const char *layer;
	bool links, userxattr;
	int deep;			/* chains made in this layer: one is enough */
	char last_file[MODEL_PATH];	/* a regular file of this layer: what a hard link can be made to */
};

static bool found_link;

static int see_link(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)type;
	(void)ftw;
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1)
		found_link = true;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	if (remove(path))
		model_die("cannot remove", path);
	return 0;
}

static void join(char *out, const char *dir, const char *path)
{
	if (snprintf(out, MODEL_PATH * 2, "%s/%s", dir, path) >= MODEL_PATH * 2)
		model_die("path too long", path);
}

static bool exists(const char *dir, const char *path)
{
	static char full[MODEL_PATH * 2];
	struct stat st;

	join(full, dir, path);
	return !lstat(full, &st);
}

static void plain_remove(struct gen *g, const char *path)
{
	static char full[MODEL_PATH * 2];

	join(full, g->m->dir[PLAIN], path);
	nftw(full, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

/* Hiding one of several names would leave a link count in the lower layer that no union can correct. */
static bool has_links(struct gen *g, const char *path)
{
	static char full[MODEL_PATH * 2];

	join(full, g->m->dir[PLAIN], path);
	found_link = false;
	nftw(full, see_link, 32, FTW_PHYS);
	return found_link;
}

static void layer_parents(struct gen *g, const char *path)
{
	static char full[MODEL_PATH * 2];

	join(full, g->layer, path);
	for (char *p = full + strlen(g->layer) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdir(full, 0755) && errno != EEXIST)
			model_die("mkdir", full);
		*p = '/';
	}
}

/*
 * The attributes of an object: a function of seed, so that both copies get the same. Ordinary users meet
 * directories that they own, may write to, may only read, or cannot enter.
 */
static void attributes(struct gen *g, const char *full, mode_t type, uint64_t seed)
{
	static const unsigned int dir_modes[] = { 0755, 0777, 01777, 02775, 0700, 02777, 0755 };
	static const unsigned int file_modes[] = { 0644, 0666, 0600, 0755, 04755, 02755, 0444, 0777, 0, 0660 };
	static const unsigned char acl[] = {
		2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255,
		16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 1, 0, 255, 255, 255, 255,
	};
	struct rng r = { seed };
	struct timespec ts[2];
	char value[64];

	if (g->m->feat.chown && rng_chance(&r, 50) && lchown(full, rng_chance(&r, 50) ? 1234 : 0, rng_chance(&r, 50) ? 1234 : 0))
		model_die("chown", full);
	if (S_ISREG(type) || S_ISDIR(type)) {
		pattern(seed, 0, (unsigned char *)value, sizeof(value));
		if (rng_chance(&r, 25) && lsetxattr(full, "user.a", value, rng_below(&r, 60), 0))
			model_die("setxattr", full);
		if (rng_chance(&r, 10) && lsetxattr(full, "user.gen", value, rng_below(&r, 60), 0))
			model_die("setxattr", full);
	}
	if (g->m->feat.trusted && rng_chance(&r, 8) && lsetxattr(full, "trusted.t", "gen", 3, 0))
		model_die("setxattr", full);
	if (S_ISREG(type))
		chmod(full, file_modes[rng_below(&r, 10)]);
	else if (S_ISDIR(type))
		chmod(full, dir_modes[rng_below(&r, 7)]);
	else if (!S_ISLNK(type))
		chmod(full, 0666);
	if (!g->m->feat.off[OP_setacl] && (S_ISREG(type) || S_ISDIR(type))) {
		if (rng_chance(&r, 10) && lsetxattr(full, "system.posix_acl_access", acl, sizeof(acl), 0))
			model_die("acl", full);
		if (rng_chance(&r, 15) && S_ISDIR(type) && lsetxattr(full, "system.posix_acl_default", acl, sizeof(acl), 0))
			model_die("acl", full);
	}
	for (int i = 0; i < 2; i++) {
		ts[i].tv_sec = 86400LL * 365 + rng_below(&r, 1500000000);
		ts[i].tv_nsec = rng_below(&r, 1000000000);
	}
	if (utimensat(AT_FDCWD, full, ts, AT_SYMLINK_NOFOLLOW))
		model_die("utimensat", full);
}

static void fill(int fd, struct rng *r, const char *full)
{
	static unsigned char buf[131072];
	unsigned int kind = rng_below(r, 10);
	size_t n = kind < 2 ? 0 : kind < 5 ? rng_below(r, 300) : kind < 8 ? rng_below(r, 20000) : rng_below(r, 131072);

	pattern(rng_next(r), 0, buf, n);
	if (pwrite(fd, buf, n, 0) != (ssize_t)n)
		model_die("write", full);
	/* Sparse ones: a hole, some data in the middle, a hole to the end. */
	if (kind == 9 && (pwrite(fd, buf, n / 4, 1 << 20) < 0 || ftruncate(fd, (3 << 20) + rng_below(r, 5000))))
		model_die("write", full);
}

static void make_one(struct gen *g, const char *dir, const char *path, mode_t type, uint64_t seed)
{
	char full[MODEL_PATH * 2], target[300];
	struct rng r = { seed };
	int fd;

	join(full, dir, path);
	switch (type) {
	case S_IFDIR:
		if (mkdir(full, 0755))
			model_die("mkdir", full);
		return;
	case S_IFREG:
		fd = open(full, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0)
			model_die("create", full);
		fill(fd, &r, full);
		close(fd);
		break;
	case S_IFLNK:
		snprintf(target, sizeof(target), rng_chance(&r, 80) ? "n%u" : "/nonexistent/%u", rng_below(&r, 24));
		if (symlink(target, full))
			model_die("symlink", full);
		break;
	default:
		if (mknod(full, type | 0666, S_ISCHR(type) ? makedev(1, 3) : S_ISBLK(type) ? makedev(240, 9) : 0))
			model_die("mknod", full);
	}
	attributes(g, full, type, seed ^ 0x5555);
}

static void make(struct gen *g, const char *path, mode_t type)
{
	uint64_t seed = rng_next(&g->rng);

	layer_parents(g, path);
	make_one(g, g->layer, path, type, seed);
	make_one(g, g->m->dir[PLAIN], path, type, seed);
	if (S_ISREG(type))
		snprintf(g->last_file, sizeof(g->last_file), "%s", path);
}

static void make_link(struct gen *g, const char *path)
{
	static char from[MODEL_PATH * 2], to[MODEL_PATH * 2];

	layer_parents(g, path);
	for (int i = 0; i < 2; i++) {
		join(from, i ? g->layer : g->m->dir[PLAIN], g->last_file);
		join(to, i ? g->layer : g->m->dir[PLAIN], path);
		if (link(from, to))
			model_die("link", to);
	}
}

static void make_deep(struct gen *g, char *path)
{
	for (int i = 0; i < 12 && strlen(path) < MODEL_PATH - 400; i++) {
		make(g, path, S_IFDIR);
		snprintf(path + strlen(path), MODEL_PATH - strlen(path), "/deep%d", i);
	}
	make(g, path, S_IFREG);
}

static mode_t any_type(struct gen *g)
{
	unsigned int k = rng_below(&g->rng, 100);

	if (k < 22)
		return S_IFDIR;
	if (k < 34)
		return S_IFLNK;
	if (k < 38)
		return S_IFIFO;
	if (k < 41)
		return S_IFSOCK;
	if (k < 45 && g->m->feat.devices)
		return rng_chance(&g->rng, 70) ? S_IFCHR : S_IFBLK;
	return S_IFREG;
}

static void whiteout(struct gen *g, const char *path)
{
	static char full[MODEL_PATH * 2];

	layer_parents(g, path);
	join(full, g->layer, path);
	if (mknod(full, S_IFCHR, 0))
		model_die("whiteout", full);
	plain_remove(g, path);
}

static void opaque(struct gen *g, const char *path)
{
	static char full[MODEL_PATH * 2];

	plain_remove(g, path);
	make(g, path, S_IFDIR);
	join(full, g->layer, path);
	if (lsetxattr(full, g->userxattr ? "user.overlay.opaque" : "trusted.overlay.opaque", "y", 1, 0))
		model_die("opaque", full);
}

static void step(struct gen *g, bool bottom)
{
	struct model *m = g->m;
	static char path[MODEL_PATH];
	unsigned int k = rng_below(&g->rng, 100);

	if (!bottom && k < 28 && m->npaths) {
		const char *old = m->paths[rng_below(&g->rng, m->npaths)];
		bool dir;

		/* Only what this layer has not touched, and what still exists since the last scan. */
		if (exists(g->layer, old) || !exists(m->dir[PLAIN], old) || has_links(g, old))
			return;
		snprintf(path, sizeof(path), "%s", old);
		strcat(path, "/.");
		dir = exists(m->dir[PLAIN], path);
		if (k < 12) {
			whiteout(g, old);
		} else if (k < 18 && dir) {
			opaque(g, old);
		} else if (k < 24) {
			mode_t type = any_type(g);

			/* A directory over a directory would merge: that is the next case. */
			if (dir && S_ISDIR(type))
				type = S_IFREG;
			plain_remove(g, old);
			make(g, old, type);
		} else if (dir) {
			layer_parents(g, path);
		}
		return;
	}
	path[0] = '\0';
	if (m->npaths && rng_chance(&g->rng, 85)) {
		for (int i = 0; i < 40; i++) {
			size_t n = rng_below(&g->rng, m->npaths);

			if (S_ISDIR(m->types[n]) && exists(m->dir[PLAIN], m->paths[n]) && strlen(m->paths[n]) < 500) {
				snprintf(path, sizeof(path), "%s/", m->paths[n]);
				break;
			}
		}
	}
	snprintf(path + strlen(path), sizeof(path) - strlen(path), "n%u", rng_below(&g->rng, 30));
	if (exists(g->layer, path) || exists(m->dir[PLAIN], path))
		return;
	if (k > 97 && !g->deep++)
		make_deep(g, path);
	else if (k > 88 && g->links && g->last_file[0] && exists(g->layer, g->last_file))
		make_link(g, path);
	else
		make(g, path, any_type(g));
}

static struct gen *walk_gen;
static uint64_t walk_salt;

static void clear_xattrs(const char *full)
{
	static char list[4096];
	ssize_t len = llistxattr(full, list, sizeof(list));

	for (char *p = list; p < list + len; p += strlen(p) + 1)
		lremovexattr(full, p);
}

/* Directories get their attributes last, layer by layer: what is on top counts, as in the union. */
static int finish_dir(const char *full, const struct stat *st, int type, struct FTW *ftw)
{
	struct gen *g = walk_gen;
	const char *rel = full + strlen(g->layer);
	static char plain[MODEL_PATH * 2];
	uint64_t seed = hash_bytes(walk_salt, rel, strlen(rel));
	struct stat pst;

	(void)type;
	if (!S_ISDIR(st->st_mode) || !ftw->level)
		return 0;
	attributes(g, full, S_IFDIR, seed);
	join(plain, g->m->dir[PLAIN], rel + 1);
	if (lstat(plain, &pst) || !S_ISDIR(pst.st_mode))
		return 0;
	clear_xattrs(plain);
	if (g->m->feat.chown && lchown(plain, 0, 0))
		model_die("chown", plain);
	attributes(g, plain, S_IFDIR, seed);
	return 0;
}

int generate(struct model *m, int nlayers, char **layers, int scale, bool links, bool userxattr)
{
	static struct gen g;

	g = (struct gen){ .m = m, .rng = { m->seed * 77 + 5 }, .links = links, .userxattr = userxattr };
	for (int i = 0; i < nlayers; i++) {
		g.layer = layers[i];
		g.last_file[0] = '\0';
		g.deep = 0;
		for (int k = 0; k < scale; k++) {
			if (k % 8 == 0)
				tree_scan(m);
			step(&g, i == 0);
		}
	}
	walk_gen = &g;
	for (int i = 0; i < nlayers; i++) {
		g.layer = layers[i];
		walk_salt = m->seed + i;
		nftw(layers[i], finish_dir, 32, FTW_DEPTH | FTW_PHYS);
	}
	return 0;
}
