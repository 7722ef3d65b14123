/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A core without a mount, and a kernel that registers backing files on paper. Include after unit.h. */
#ifndef PLY_TESTS_OPEN_UNION_H
#define PLY_TESTS_OPEN_UNION_H

#include "backing.h"
#include "hash.h"
#include "io.h"
#include "lookup.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#define OU_IDS 64

struct open_union {
	char base[200];
	struct ply_options opt;
	struct ply_fs *fs;
	/* the kernel on paper */
	int next_id, nopen, refuse;	/* refuse: the error that registration gives */
	bool is_open[OU_IDS];
	unsigned int calls, invals;
};

static inline int ou_backing_open(void *arg, int fd)
{
	struct open_union *u = arg;

	assert_true(fcntl(fd, F_GETFD) >= 0);
	/* Whatever is registered must not be a way to write. */
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	u->calls++;
	if (u->refuse)
		return u->refuse;
	assert_true(u->next_id < OU_IDS);
	u->is_open[u->next_id] = true;
	u->nopen++;
	return u->next_id++;
}

static inline void ou_backing_close(void *arg, int id)
{
	struct open_union *u = arg;

	assert_true(id > 0 && id < OU_IDS && u->is_open[id]);
	u->is_open[id] = false;
	u->nopen--;
}

static inline void ou_inval(void *arg, uint64_t nodeid, int64_t off, int64_t len)
{
	struct open_union *u = arg;

	(void)nodeid, (void)off, (void)len;
	u->invals++;
}

static inline int ou_rm(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st, (void)flag, (void)f;
	return remove(path);
}

static inline void ou_put(struct open_union *u, const char *path, const char *text)
{
	char full[512];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", u->base, path);
	f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static inline void ou_is(struct open_union *u, const char *path, const char *text)
{
	char full[512], buf[256];
	size_t n;
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", u->base, path);
	f = fopen(full, "r");
	assert_non_null(f);
	n = fread(buf, 1, sizeof(buf) - 1, f);
	buf[n] = '\0';
	fclose(f);
	assert_string_equal(buf, text);
}

/* low: text "lower text", elf (looks like a program), usr/big (128 KiB), usr/small. */
static inline void ou_make(struct open_union *u, const char *more, unsigned int max_ids)
{
	const char *tmp = getenv("TMPDIR");
	char opts[1024], err[512] = "", prog[] = "plyfs", o[] = "-o", mp[] = "/nonexistent-mountpoint", big[512];
	char *argv[] = { prog, o, opts, mp, NULL };
	unsigned int i;

	memset(u, 0, sizeof(*u));
	u->next_id = 1;
	snprintf(u->base, sizeof(u->base), "%s/plyfs-open-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(u->base));
	for (i = 0; i < 4; i++) {
		static const char *const dirs[] = { "low", "low/usr", "up", "work" };

		snprintf(big, sizeof(big), "%s/%s", u->base, dirs[i]);
		assert_int_equal(mkdir(big, 0755), 0);
	}
	ou_put(u, "low/text", "lower text");
	ou_put(u, "low/elf", "\177ELF lower");
	ou_put(u, "low/usr/small", "small");
	ou_put(u, "low/usr/big", "");
	snprintf(big, sizeof(big), "%s/low/usr/big", u->base);
	assert_int_equal(truncate(big, 128 << 10), 0);
	snprintf(opts, sizeof(opts), "lowerdir=%s/low,upperdir=%s/up,workdir=%s/work,fsync=0%s%s", u->base, u->base, u->base,
		 geteuid() ? ",userxattr" : "", more);
	if (ply_options_parse(&u->opt, 4, argv, err, sizeof(err), NULL))
		fail_msg("%s", err);
	ply_hash_init();
	if (ply_fs_new(&u->fs, &u->opt, err, sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(ply_backing_pool_new(u->fs, max_ids), 0);
	u->fs->up = (struct ply_upcalls){
		.arg = u, .inval_inode = ou_inval, .backing_open = ou_backing_open, .backing_close = ou_backing_close,
	};
	u->fs->passthrough = u->opt.passthrough != PLY_PT_OFF;
	u->fs->stack_depth = 1;
}

static inline void ou_remove(struct open_union *u)
{
	ply_backing_pool_free(u->fs);
	ply_fs_free(u->fs);
	ply_options_free(&u->opt);
	nftw(u->base, ou_rm, 16, FTW_DEPTH | FTW_PHYS);
}

/* The node at a path of one or two names; the thread `pid` looks it up. */
static inline struct ply_node *ou_find(struct open_union *u, const char *path, pid_t pid)
{
	struct ply_node *dir = ply_node_ref(u->fs->graph, u->fs->root), *n;
	char copy[64], *name, *save = NULL;
	struct stat st;

	snprintf(copy, sizeof(copy), "%s", path);
	for (name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		assert_int_equal(ply_lookup(u->fs, dir, name, &n, &st), 0);
		ply_node_put(u->fs->graph, dir);
		dir = n;
	}
	/* The kernel keeps what it has looked up. */
	ply_node_lookup_inc(u->fs->graph, dir);
	ply_backing_looked_up(u->fs, dir, pid);
	return dir;
}

static inline void ou_reads(struct open_union *u, struct ply_handle *h, const char *text)
{
	char buf[256];
	ssize_t n = ply_io_read(u->fs, h, buf, sizeof(buf) - 1, 0);

	assert_true(n >= 0);
	buf[n] = '\0';
	assert_string_equal(buf, text);
}

static inline void ou_writes(struct open_union *u, struct ply_handle *h, const char *text)
{
	assert_int_equal(ply_io_write(u->fs, h, text, strlen(text), 0, false), (ssize_t)strlen(text));
}

/* Nothing is open; so many ids are kept. */
static inline void ou_idle(struct open_union *u, unsigned int kept)
{
	struct ply_backing_stats s;

	ply_backing_stats(u->fs, &s);
	assert_int_equal(s.cached_handles, 0);
	assert_int_equal(s.passthrough_handles, 0);
	assert_int_equal(s.live_ids, 0);
	assert_int_equal(s.cached_ids, kept);
	assert_int_equal(u->nopen, kept);
}

#endif
