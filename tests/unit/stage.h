/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A scratch directory with layers on which a whole struct ply_fs is opened. Include after unit.h. */
#ifndef PLY_TESTS_STAGE_H
#define PLY_TESTS_STAGE_H

#include "dircache.h"
#include "hash.h"
#include "lookup.h"
#include "readdir.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

static char base[200];
static struct ply_options opt;
static struct ply_fs *fs;

static inline int stage_rm_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st, (void)flag, (void)f;
	return remove(path);
}

static inline void stage_clear(void)
{
	nftw(base, stage_rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Shell commands in the scratch directory. */
static inline void sh(const char *cmd)
{
	char line[4096];
	int n = snprintf(line, sizeof(line), "cd %s && { %s ; }", base, cmd);

	assert_in_range(n, 1, sizeof(line) - 1);
	if (system(line))
		fail_msg("%s", cmd);
}

static inline void stage_begin(const char *cmd)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(base, sizeof(base), "%.150s/plyfs-stage.%d", tmp ? tmp : "/tmp", (int)getpid());
	stage_clear();
	assert_int_equal(mkdir(base, 0755), 0);
	if (cmd)
		sh(cmd);
}

/* lower: "l1 l2 +d1": names in the scratch directory, + for data-only; upper: with "up" and "work". */
static inline int stage_try(const char *lower, bool upper, const char *more, char *err, size_t errlen)
{
	static char opts[8192];
	char arg0[] = "plyfs", dash[] = "-o", point[] = "/nonexistent-mountpoint", list[2048], *save = NULL;
	char *argv[] = { arg0, dash, opts, point, NULL };
	const char *sep = "lowerdir=";
	size_t n = 0;
	int r;

	ply_hash_init();
	snprintf(list, sizeof(list), "%s", lower);
	for (char *l = strtok_r(list, " ", &save); l; l = strtok_r(NULL, " ", &save)) {
		bool data = l[0] == '+';

		n += (size_t)snprintf(opts + n, sizeof(opts) - n, "%s%s/%s", data ? "::" : sep, base, l + data);
		sep = ":";
	}
	if (upper)
		n += (size_t)snprintf(opts + n, sizeof(opts) - n, ",upperdir=%s/up,workdir=%s/work", base, base);
	snprintf(opts + n, sizeof(opts) - n, "%s%s", geteuid() ? ",userxattr" : "", more);
	r = ply_options_parse(&opt, 4, argv, err, errlen, NULL);
	if (r)
		return r;
	r = ply_fs_new(&fs, &opt, err, errlen);
	if (r)
		ply_options_free(&opt);
	return r;
}

static inline void stage_open(const char *lower, bool upper, const char *more)
{
	char err[512] = "";

	if (stage_try(lower, upper, more, err, sizeof(err)))
		fail_msg("%s", err);
}

static inline void stage_close(void)
{
	ply_fs_free(fs);
	ply_options_free(&opt);
	fs = NULL;
}

static inline void stage_end(void)
{
	stage_close();
	stage_clear();
}

/* "a/b/c" -> its node with a reference; "" is the root. */
static inline int stage_walk(const char *path, struct ply_node **out, struct stat *st)
{
	struct ply_node *n = ply_node_ref(fs->graph, fs->root), *next;
	char copy[4096], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	memset(st, 0, sizeof(*st));
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		int r = ply_lookup(fs, n, name, &next, st);

		ply_node_put(fs->graph, n);
		if (r)
			return r;
		n = next;
	}
	*out = n;
	return 0;
}

static inline struct ply_node *stage_node(const char *path)
{
	struct ply_node *n = NULL;
	struct stat st;
	int r = stage_walk(path, &n, &st);

	if (r)
		fail_msg("%s: %s", path, strerror(-r));
	return n;
}

/* The result of looking the path up. */
static inline int stage_look(const char *path, struct stat *st)
{
	struct ply_node *n;
	struct stat tmp;
	int r = stage_walk(path, &n, st ? st : &tmp);

	if (!r)
		ply_node_put(fs->graph, n);
	return r;
}

/* Content of a regular file, as a union's reader gets it; malloced. */
static inline char *stage_read(struct ply_node *n, ssize_t *len)
{
	ply_autoloc loc = PLY_LOC_INIT;
	char *buf = calloc(1, 4097);
	int fd, r;

	assert_non_null(buf);
	pthread_rwlock_rdlock(&fs->tree);
	r = ply_node_locate_data(fs->graph, n, &loc);
	pthread_rwlock_unlock(&fs->tree);
	if (r) {
		*len = r;
		return buf;
	}
	fd = ply_sys_open(loc.at, O_RDONLY, 0);
	*len = fd < 0 ? fd : ply_sys_pread(fd, buf, 4096, 0);
	if (fd >= 0)
		close(fd);
	return buf;
}

static inline void stage_content(const char *path, const char *want)
{
	struct ply_node *n = stage_node(path);
	ssize_t len;
	char *got = stage_read(n, &len);

	ply_node_put(fs->graph, n);
	if (len < 0)
		fail_msg("%s: %s", path, strerror((int)-len));
	assert_string_equal(got, want);
	free(got);
}

struct stage_names {
	char *name[4096];
	uint64_t off[4096], ino[4096];
	uint8_t type[4096];
	size_t n, room;
};

static inline int stage_emit(void *arg, const struct ply_readdir_entry *e)
{
	struct stage_names *s = arg;

	if (s->n == s->room)
		return 1;
	s->name[s->n] = strdup(e->name);
	s->off[s->n] = e->off;
	s->ino[s->n] = e->ino;
	s->type[s->n++] = e->type;
	if (e->node)
		ply_node_put(fs->graph, e->node);
	return 0;
}

/* All names from off on, "." and ".." too; at most room. */
static inline bool stage_list(struct ply_node *dir, uint64_t off, bool plus, size_t room, struct stage_names *s)
{
	bool end = false;

	memset(s, 0, sizeof(*s));
	s->room = room;
	assert_int_equal(ply_readdir(fs, dir, off, plus, 0, stage_emit, s, &end), 0);
	return end;
}

static inline void stage_names_free(struct stage_names *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->name[i]);
	s->n = 0;
}

#endif
