/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk: a union of real directories, in a scratch directory: low, up, work. Names below `base`, which the program sets
 * before the first stage_made(); `root`: it may do what only root may.
 */
#ifndef PLY_TEST_DISK_H
#define PLY_TEST_DISK_H

#include "unit.h"

#include "lookup.h"

#include <ftw.h>
#include <sys/stat.h>

static char base[200];
static struct ply_options opt;
static struct ply_fs *fs;
static bool root;

static int rm_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st, (void)flag, (void)f;
	return remove(path);
}

static void sh(const char *cmd)
{
	char line[2048];

	snprintf(line, sizeof(line), "cd %s && %s", base, cmd);
	assert_int_equal(system(line), 0);
}

static const char *at(const char *path)
{
	static char full[4][512];
	static unsigned int i;

	i = (i + 1) % 4;
	snprintf(full[i], sizeof(full[i]), "%s/%s", base, path);
	return full[i];
}

/* Anew: `make` and, unless NULL, `before` are run in base by a shell; `more` are options, each with a comma before it. */
static void stage_made(const char *make, const char *before, const char *more)
{
	char opts[900], err[512] = "";
	char *argv[] = { (char[]){ "plyfs" }, (char[]){ "-o" }, opts, (char[]){ "/nonexistent-mountpoint" }, NULL };

	nftw(base, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	mkdir(base, 0755);
	sh(make);
	if (before)
		sh(before);
	snprintf(opts, sizeof(opts), "lowerdir=%s/low,upperdir=%s/up,workdir=%s/work,fsync=0%s%s", base, base, base,
		 root ? "" : ",userxattr", more);
	if (ply_options_parse(&opt, 4, argv, err, sizeof(err), NULL))
		fail_msg("%s", err);
	if (ply_fs_new(&fs, &opt, err, sizeof(err)))
		fail_msg("%s", err);
}

static void stage_end(void)
{
	ply_fs_free(fs);
	ply_options_free(&opt);
	nftw(base, rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct ply_node *get(const char *name)
{
	struct ply_node *n;
	struct stat st;

	assert_int_equal(ply_lookup(fs, fs->root, name, &n, &st), 0);
	return n;
}

#endif
