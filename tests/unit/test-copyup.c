// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copy-up on real layers: every type of object, hard links and the index, metacopy, files without a name, concurrent
 * callers; and each again while the nth layer syscall fails: nothing under the final name, nothing in work, the errno arrives.
 */
// wrap: ply_sys_open ply_sys_dup ply_sys_stat ply_sys_mkdir ply_sys_mknod ply_sys_symlink ply_sys_tmpfile ply_sys_link
// wrap: ply_sys_unlink ply_sys_rename ply_sys_readlink ply_sys_chown ply_sys_chmod ply_sys_utimens ply_sys_ftruncate
// wrap: ply_sys_fsync ply_sys_lseek ply_sys_pread ply_sys_pwrite ply_sys_copy_range ply_sys_clone_file ply_sys_fallocate
// wrap: ply_sys_getxattr ply_sys_setxattr ply_sys_listxattr ply_sys_removexattr ply_sys_getxattr_alloc
// wrap: ply_sys_listxattr_alloc ply_sys_handle ply_sys_open_beneath
#include "unit.h"

#include "faults.h"

#include "attr.h"
#include "copyup.h"
#include "copyup_data.h"
#include "dirops.h"
#include "hash.h"
#include "lookup.h"
#include "origin.h"
#include "xattr.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static char base[200];
static struct ply_options opt;
static struct ply_fs *fs;
static const char *xns = "trusted";

/* ---- the stage ---- */

static int rm_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st, (void)flag, (void)f;
	return remove(path);
}

static const char *at(const char *path)
{
	static char full[4][512];
	static unsigned int i;

	i = (i + 1) % 4;
	snprintf(full[i], sizeof(full[i]), "%s/%s", base, path);
	return full[i];
}

static void sh(const char *cmd)
{
	char line[2048];

	snprintf(line, sizeof(line), "cd %s && %s", base, cmd);
	assert_int_equal(system(line), 0);
}

static void fs_open(const char *more)
{
	char opts[700], err[512] = "";
	char *argv[] = { (char[]){ "plyfs" }, (char[]){ "-o" }, opts, (char[]){ "/nonexistent-mountpoint" }, NULL };

	snprintf(opts, sizeof(opts), "lowerdir=%s/l1:%s/l2,upperdir=%s/up,workdir=%s/work%s%s", base, base, base, base,
		 geteuid() ? ",userxattr" : "", more);
	if (ply_options_parse(&opt, 4, argv, err, sizeof(err), NULL))
		fail_msg("%s", err);
	if (ply_fs_new(&fs, &opt, err, sizeof(err)))
		fail_msg("%s", err);
}

static void fs_close(void)
{
	ply_fs_free(fs);
	ply_options_free(&opt);
}

#define FSYNC_OFF ",index=on,fsync=0"

/* Made once, copied for each test and for each fault. */
static void make_template(void)
{
	mkdir(base, 0755);
	sh("mkdir -p t && cd t && mkdir -p l1/d l2/d/e/f up work && echo content >l2/d/e/f/file && chmod 6751 l2/d/e/f/file && "
	   "setfattr -n user.u -v v l2/d/e/f/file && setfattr -n user.dir -v v l2/d/e && "
	   "touch -d '2001-02-03 04:05:06.789' l2/d/e/f/file l2/d/e/f l2/d/e l2/d && chmod 2770 l2/d/e && "
	   "ln -s ../target l2/d/e/link && touch -hd '2002-02-03 04:05:06.789' l2/d/e/link && mkfifo -m 622 l2/d/e/fifo && "
	   "echo hard >l2/a && ln l2/a l2/d/b && ln l2/a l2/d/e/c && : >l2/empty && "
	   "touch -d '2003-02-03 04:05:06.789' l2 l2/d/e l1/d l2/d");
}

static void stage(const char *more)
{
	static const char *const dirs[] = { "l1", "l2", "up", "work" };

	for (size_t i = 0; i < PLY_ARRAY_SIZE(dirs); i++)
		nftw(at(dirs[i]), rm_one, 16, FTW_DEPTH | FTW_PHYS);
	sh("cp -a t/. .");
	fs_open(more);
}

static void stage_end(void)
{
	fs_close();
}

/* The node at a path, with a reference. */
static struct ply_node *walk(const char *path)
{
	char *text = strdup(path), *save = NULL, *name;
	struct ply_node *n = ply_node_ref(fs->graph, fs->root);

	for (name = strtok_r(text, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		struct ply_node *next;
		struct stat st;
		int r = ply_lookup(fs, n, name, &next, &st);

		if (r)
			fail_msg("%s: %s", path, strerror(-r));
		ply_node_put(fs->graph, n);
		n = next;
	}
	free(text);
	return n;
}

static void put(struct ply_node *n)
{
	ply_node_put(fs->graph, n);
}

static bool exists(const char *path)
{
	struct stat st;

	return !lstat(at(path), &st);
}

static bool has_mark(const char *path, const char *mark)
{
	char name[64];

	snprintf(name, sizeof(name), "%s.overlay.%s", xns, mark);
	return lgetxattr(at(path), name, NULL, 0) >= 0;
}

static unsigned int count_entries(const char *path)
{
	DIR *d = opendir(at(path));
	unsigned int n = 0;

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void same_attrs(const char *a, const char *b)
{
	struct stat x, y;

	assert_int_equal(lstat(at(a), &x), 0);
	assert_int_equal(lstat(at(b), &y), 0);
	assert_int_equal(x.st_mode, y.st_mode);
	assert_int_equal(x.st_uid, y.st_uid);
	assert_int_equal(x.st_gid, y.st_gid);
	assert_int_equal(x.st_rdev, y.st_rdev);
	if (!S_ISDIR(x.st_mode))
		assert_int_equal(x.st_size, y.st_size);
	assert_memory_equal(&x.st_mtim, &y.st_mtim, sizeof(x.st_mtim));
}

static void same_content(const char *a, const char *b)
{
	char cmd[1200];

	snprintf(cmd, sizeof(cmd), "cmp %s %s", a, b);
	sh(cmd);
}

/* ---- what a copy is ---- */

static void test_file(void **state)
{
	struct ply_node *n;

	(void)state;
	stage(",index=on");
	n = walk("d/e/f/file");
	assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_DATA), 0);
	assert_int_equal(atomic_load(&n->layer), PLY_LAYER_UPPER);
	assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_DATA), 0);
	same_attrs("l2/d/e/f/file", "up/d/e/f/file");
	same_attrs("l2/d/e/f", "up/d/e/f");
	same_attrs("l2/d/e", "up/d/e");
	same_attrs("l1/d", "up/d");
	same_content("l2/d/e/f/file", "up/d/e/f/file");
	sh("test \"$(getfattr --only-values -n user.u up/d/e/f/file)\" = v");
	sh("test \"$(getfattr --only-values -n user.dir up/d/e)\" = v");
	assert_true(has_mark("up/d/e/f/file", "origin"));
	assert_true(has_mark("up/d/e", "origin"));
	assert_true(has_mark("up/d/e/f", "impure"));
	assert_true(has_mark("up", "impure"));
	assert_false(has_mark("up/d/e/f/file", "metacopy"));
	assert_false(has_mark("up/d/e", "opaque"));
	assert_int_equal(count_entries("work/work"), 0);
	put(n);
	stage_end();
}

static void test_other_types(void **state)
{
	static const char *const names[] = { "link", "fifo", "sock", "null" };

	(void)state;
	stage(FSYNC_OFF);
	sh("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"l2/d/e/sock\")' 2>/dev/null || mkfifo l2/d/e/sock");
	sh("mknod -m 640 l2/d/e/null c 1 3 2>/dev/null || mkfifo l2/d/e/null");
	sh("touch -d '2001-01-01 01:01:01.5' l2/d/e/fifo l2/d/e/sock; chown -h 12:34 l2/d/e/link 2>/dev/null; true");
	for (size_t i = 0; i < PLY_ARRAY_SIZE(names); i++) {
		char path[64], lower[64], upper[64];
		struct ply_node *n;

		snprintf(path, sizeof(path), "d/e/%s", names[i]);
		snprintf(lower, sizeof(lower), "l2/%s", path);
		snprintf(upper, sizeof(upper), "up/%s", path);
		n = walk(path);
		assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_META), 0);
		same_attrs(lower, upper);
		put(n);
	}
	sh("test \"$(readlink up/d/e/link)\" = ../target");
	assert_int_equal(count_entries("work/work"), 0);
	stage_end();
}

static void test_sparse(void **state)
{
	struct ply_node *n;
	struct stat st;

	(void)state;
	stage(FSYNC_OFF);
	sh("truncate -s 64M l2/sparse && printf x | dd of=l2/sparse bs=1 seek=33554432 conv=notrunc status=none && "
	   "printf yz | dd of=l2/sparse bs=1 conv=notrunc status=none && touch l2/sparse");
	n = walk("sparse");
	assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_DATA), 0);
	same_content("l2/sparse", "up/sparse");
	assert_int_equal(lstat(at("up/sparse"), &st), 0);
	assert_int_equal(st.st_size, 64 << 20);
	assert_true(st.st_blocks * 512 < 4 << 20);
	put(n);
	stage_end();
}

/* The ways of moving bytes that this filesystem would not take by itself. */
static void test_data_fallback(void **state)
{
	static const char pattern[] = "pattern of some length";
	char buf[3 * 4096];
	int in, out;

	(void)state;
	in = open(at("in"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (off_t off = 0; off < 700000; off += (off_t)sizeof(pattern))
		assert_int_equal(pwrite(in, pattern, sizeof(pattern), off), sizeof(pattern));
	for (int size = 0; size < 3; size++) {
		off_t len = size == 0 ? 0 : size == 1 ? 699999 : 4096;

		out = open(at("out"), O_RDWR | O_CREAT | O_TRUNC, 0600);
		faults_arm(size ? 2 : 1, EXDEV, FAULTS_CHANGES);	/* the copy_file_range, if there is one */
		assert_in_range(ply_copyup_data(in, out, len, size != 0, (len & 1) != 0), 0, 1);
		faults_disarm();
		assert_int_equal(lseek(out, 0, SEEK_END), len);
		for (off_t off = 0; off < len; off += (off_t)sizeof(buf) / 2) {
			ssize_t n = pread(out, buf, sizeof(buf) / 2, off);

			assert_int_equal(pread(in, buf + sizeof(buf) / 2, (size_t)n, off), n);
			assert_memory_equal(buf, buf + sizeof(buf) / 2, (size_t)n);
		}
		close(out);
	}
	close(in);
}

static void test_trunc(void **state)
{
	struct ply_node *n;
	struct stat st, low;

	(void)state;
	stage(FSYNC_OFF);
	n = walk("d/e/f/file");
	assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_TRUNC), 0);
	assert_int_equal(lstat(at("up/d/e/f/file"), &st), 0);
	assert_int_equal(lstat(at("l2/d/e/f/file"), &low), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(st.st_mode, low.st_mode);
	assert_int_equal(low.st_size, 8);
	assert_true(st.st_mtim.tv_sec > low.st_mtim.tv_sec);
	put(n);
	stage_end();
}

static void test_index(void **state)
{
	struct ply_node *a, *b, *c;
	struct stat st = { 0 };

	(void)state;
	stage(FSYNC_OFF);
	a = walk("a");
	b = walk("d/b");
	assert_ptr_equal(a, b);
	if (!fs->work.index) {
		put(a);
		put(b);
		stage_end();
		skip();
	}
	assert_int_equal(ply_copyup(fs, a, PLY_COPYUP_DATA), 0);
	assert_true(atomic_load(&a->flags) & PLY_N_INDEXED);
	assert_int_equal(count_entries("work/index"), 1);
	assert_int_equal(count_entries("work/work"), 0);
	assert_true(exists("up/a") != exists("up/d/b"));
	assert_true(has_mark(exists("up/a") ? "up/a" : "up/d/b", "nlink"));
	assert_int_equal(ply_attr_get(fs, a, NULL, &st), 0);
	assert_int_equal(st.st_nlink, 3);
	c = walk("d/e/c");
	assert_ptr_equal(a, c);
	put(a);
	put(b);
	put(c);
	/* A new mount knows it as well. */
	fs_close();
	fs_open(FSYNC_OFF);
	c = walk("d/e/c");
	assert_int_equal(atomic_load(&c->layer), PLY_LAYER_UPPER);
	assert_int_equal(ply_attr_get(fs, c, NULL, &st), 0);
	assert_int_equal(st.st_nlink, 3);
	put(c);
	stage_end();
}

/* Names go one by one, those that upper has first; who has it open goes on. */
static void test_index_unlinked(void **state)
{
	static const char *const dirs[] = { "", "d", "d/e" }, *const names[] = { "a", "b", "c" };
	struct stat st = { .st_mode = 0640 };
	unsigned int left = 3;
	struct ply_node *n;

	(void)state;
	stage(FSYNC_OFF);
	n = walk("a");
	if (!fs->work.index) {
		put(n);
		stage_end();
		skip();
	}
	put(walk("d/b"));
	put(walk("d/e/c"));
	assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_DATA), 0);
	for (int in_upper = 1; in_upper >= 0; in_upper--) {
		for (size_t i = 0; i < PLY_ARRAY_SIZE(dirs); i++) {
			struct ply_node *dir = walk(dirs[i]);
			char path[64];

			snprintf(path, sizeof(path), "up/%s/%s", dirs[i], names[i]);
			if (ply_lookup(fs, dir, names[i], &(struct ply_node *){ NULL }, &st) == 0) {
				put(n);		/* what the lookup gave */
				if (exists(path) == (in_upper == 1)) {
					assert_int_equal(ply_dirops_unlink(fs, dir, names[i]), 0);
					assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
					assert_int_equal(st.st_nlink, --left);
				}
			}
			put(dir);
		}
	}
	assert_int_equal(left, 0);
	assert_int_equal(count_entries("work/index"), 0);
	st.st_mode = 0640;
	assert_int_equal(ply_attr_set(fs, n, NULL, NULL, PLY_SET_MODE, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	put(n);
	stage_end();
}

static void test_links_without_index(void **state)
{
	struct ply_node *a, *c;
	struct stat st = { .st_size = 2 };

	(void)state;
	stage(",index=off,fsync=0");
	a = walk("a");
	c = walk("d/e/c");
	assert_int_equal(ply_copyup(fs, a, PLY_COPYUP_DATA), 0);
	assert_int_equal(ply_attr_set(fs, a, NULL, NULL, PLY_SET_SIZE, &st), 0);
	assert_int_equal(lstat(at("up/a"), &st), 0);
	assert_int_equal(st.st_size, 2);
	assert_int_equal(st.st_nlink, 1);
	assert_false(has_mark("up/a", "origin"));
	/* The link is broken, as documented. */
	assert_int_equal(ply_attr_get(fs, c, NULL, &st), 0);
	assert_int_equal(st.st_size, 5);
	put(a);
	put(c);
	stage_end();
}

/* ---- metacopy ---- */

#define METACOPY ",metacopy=on,redirect_dir=on,index=on,fsync=0"

static void test_metacopy(void **state)
{
	struct ply_node *n;
	struct stat st = { .st_mode = 04711 }, low;

	(void)state;
	stage(METACOPY);
	n = walk("d/e/f/file");
	assert_int_equal(ply_attr_set(fs, n, NULL, NULL, PLY_SET_MODE, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 04711);
	assert_int_equal(st.st_size, 8);
	assert_true(st.st_blocks > 0);
	assert_true(has_mark("up/d/e/f/file", "metacopy"));
	assert_true(atomic_load(&n->flags) & PLY_N_METACOPY);
	assert_int_equal(lstat(at("up/d/e/f/file"), &st), 0);
	assert_int_equal(st.st_size, 8);
	{
		int fd = open(at("up/d/e/f/file"), O_RDONLY);

		assert_true(lseek(fd, 0, SEEK_DATA) < 0);	/* nothing but a hole */
		close(fd);
	}
	{
		ply_autoloc loc = PLY_LOC_INIT;

		PLY_RDLOCK(tree, &fs->tree);
		assert_int_equal(ply_node_locate_data(fs->graph, n, &loc), 0);
		assert_int_equal(loc.layer->index, 2);
	}
	/* While data are written into it, its times are those from before. */
	{
		struct ply_attr_hold hold = { .n = n, .st.st_mtim.tv_sec = 5 };
		uint64_t seq = ply_attr_hold_seq();

		ply_attr_hold_begin(&hold);
		assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
		assert_int_equal(st.st_mtim.tv_sec, 5);
		ply_attr_hold_end(&hold);
		assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
		assert_int_not_equal(st.st_mtim.tv_sec, 5);
		assert_true(ply_attr_hold_seq() != seq);
	}
	/* Now the data as well, without the owner's seeing a change. */
	assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_DATA), 0);
	assert_false(atomic_load(&n->flags) & PLY_N_METACOPY);
	assert_false(has_mark("up/d/e/f/file", "metacopy"));
	same_content("l2/d/e/f/file", "up/d/e/f/file");
	assert_int_equal(lstat(at("up/d/e/f/file"), &st), 0);
	assert_int_equal(lstat(at("l2/d/e/f/file"), &low), 0);
	assert_int_equal(st.st_mode, S_IFREG | 04711);
	assert_memory_equal(&st.st_mtim, &low.st_mtim, sizeof(low.st_mtim));
	put(n);
	stage_end();
}

static void test_metacopy_trunc(void **state)
{
	struct stat st = { .st_mode = 0600 };
	struct ply_node *n;

	(void)state;
	stage(METACOPY);
	n = walk("d/e/f/file");
	assert_int_equal(ply_attr_set(fs, n, NULL, NULL, PLY_SET_MODE, &st), 0);
	assert_true(has_mark("up/d/e/f/file", "metacopy"));
	st.st_size = 0;
	assert_int_equal(ply_attr_set(fs, n, NULL, NULL, PLY_SET_SIZE, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_false(has_mark("up/d/e/f/file", "metacopy"));
	put(n);
	stage_end();
}

/* ---- no name ---- */

static void test_unnamed(void **state)
{
	struct ply_node *dir, *n, *l;
	struct stat st = { .st_mode = 0640 };

	(void)state;
	stage(FSYNC_OFF);
	dir = walk("d/e");
	n = walk("d/e/f/file");
	l = walk("d/e/link");
	put(dir);
	dir = walk("d/e/f");
	ply_name_remove(fs->graph, dir, "file", n, true);
	put(dir);
	dir = walk("d/e");
	ply_name_remove(fs->graph, dir, "link", l, true);
	assert_int_equal(ply_attr_set(fs, n, NULL, NULL, PLY_SET_MODE, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(st.st_size, 8);
	assert_int_equal(st.st_nlink, 0);
	st.st_size = 3;
	assert_int_equal(ply_attr_set(fs, n, NULL, NULL, PLY_SET_SIZE, &st), 0);
	assert_int_equal(st.st_size, 3);
	st.st_mtim.tv_sec = 77;
	assert_int_equal(ply_attr_set(fs, l, NULL, NULL, PLY_SET_MTIME, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 77);
	assert_false(exists("up/d/e/f/file"));
	assert_false(exists("up/d/e/link"));
	assert_int_equal(count_entries("work/work"), 0);
	put(dir);
	put(n);
	put(l);
	stage_end();
}

static void test_readonly(void **state)
{
	struct ply_node *n;

	(void)state;
	stage(FSYNC_OFF ",ro");
	n = walk("d/e/f/file");
	assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_META), -EROFS);
	assert_int_equal(ply_copyup_dir(fs, fs->root), -EROFS);
	assert_int_equal(count_entries("up"), 0);
	put(n);
	stage_end();
}

/* ---- several at once ---- */

static void *copy_it(void *arg)
{
	struct ply_node *n = arg;

	return ply_copyup(fs, n, PLY_COPYUP_DATA) ? arg : NULL;
}

static void test_concurrent(void **state)
{
	struct ply_counter_block before, after;
	pthread_t thread[8];
	struct ply_node *n;

	(void)state;
	stage(FSYNC_OFF);
	sh("dd if=/dev/urandom of=l2/d/e/f/big bs=64k count=64 status=none");
	n = walk("d/e/f/big");
	ply_counters_sum(&before);
	for (size_t i = 0; i < PLY_ARRAY_SIZE(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, copy_it, n), 0);
	for (size_t i = 0; i < PLY_ARRAY_SIZE(thread); i++) {
		void *r;

		pthread_join(thread[i], &r);
		assert_null(r);
	}
	ply_counters_sum(&after);
	/* three directories and one file */
	assert_int_equal(after.c[PLY_C_copyups] - before.c[PLY_C_copyups], 4);
	same_content("l2/d/e/f/big", "up/d/e/f/big");
	put(n);
	stage_end();
}

/* ---- faults ---- */

struct fault_case {
	const char *path;
	enum ply_copyup_what what;
	const char *options;
	bool meta_first;		/* a metacopy is made before the faults begin */
};

/* After a failure: lower serves the node as before, upper and work have no trace. */
static void check_clean(const struct fault_case *f, struct ply_node *n)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "up/%s", f->path);
	assert_int_equal(count_entries("work/work"), 0);
	if (f->meta_first) {
		assert_true(has_mark(path, "metacopy"));
		assert_true(atomic_load(&n->flags) & PLY_N_METACOPY);
		assert_int_equal(lstat(at(path), &st), 0);
		assert_int_equal(st.st_size, 8);
		return;
	}
	assert_false(exists(path));
	assert_int_equal(count_entries("work/index"), 0);
	assert_int_not_equal(n->type == S_IFDIR && ply_dir_upper(n), true);
	if (n->type != S_IFDIR)
		assert_int_equal(atomic_load(&n->layer), 2);
}

static void check_done(const struct fault_case *f, struct ply_node *n)
{
	char path[128], lower[128];
	struct stat st;

	snprintf(path, sizeof(path), "up/%s", f->path);
	snprintf(lower, sizeof(lower), "l2/%s", f->path);
	assert_int_equal(count_entries("work/work"), 0);
	assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
	if (n->type == S_IFREG && f->what == PLY_COPYUP_DATA && exists(path)) {
		same_content(path, lower);
		assert_false(has_mark(path, "metacopy"));
	}
	if (exists(path) && !f->meta_first && f->what != PLY_COPYUP_TRUNC)
		same_attrs(path, lower);
}

/* The directory is synced after the publication, which stays: all that is told is that it may not be durable. */
static bool strict_came_late(const struct fault_case *f, const char *failed)
{
	char path[128];

	snprintf(path, sizeof(path), "up/%s", f->path);
	return strstr(f->options, "strict") && exists(path) &&
	       (!strcmp(failed, "ply_sys_fsync") || !strcmp(failed, "ply_sys_open"));
}

static void run_faults(const struct fault_case *f, int err, int flags)
{
	for (long n = 1;; n++) {
		struct ply_node *node;
		const char *failed;
		int r;

		stage(f->options);
		node = walk(f->path);
		if (f->meta_first)
			assert_int_equal(ply_copyup(fs, node, PLY_COPYUP_META), 0);
		faults_arm(n, err, flags);
		r = ply_copyup(fs, node, f->what);
		failed = faults_disarm();
		if (failed && r && r != -err)
			fail_msg("%s: call %ld (%s) failed with %d, the caller got %d", f->path, n, failed, err, -r);
		if (!r)
			check_done(f, node);
		else if (strict_came_late(f, failed))
			check_done(f, node);
		else if (!(flags & FAULTS_STAY))
			check_clean(f, node);
		else if (!f->meta_first && node->type != S_IFDIR)
			assert_int_equal(atomic_load(&node->layer), 2);
		/* What failed once goes through when it is tried again. */
		if (r) {
			assert_int_equal(ply_copyup(fs, node, f->what), 0);
			if (!(flags & FAULTS_STAY))
				check_done(f, node);
		}
		put(node);
		fs_close();
		if (!failed)
			break;
		assert_in_range(n, 1, 400);
	}
}

static const struct fault_case fault_cases[] = {
	{ "d/e/f/file", PLY_COPYUP_DATA, ",index=on", false },
	{ "d/e/f/file", PLY_COPYUP_META, METACOPY, false },
	{ "d/e/f/file", PLY_COPYUP_DATA, METACOPY, true },
	{ "d/e/f/file", PLY_COPYUP_TRUNC, FSYNC_OFF, false },
	{ "d/e/link", PLY_COPYUP_META, FSYNC_OFF, false },
	{ "d/e/fifo", PLY_COPYUP_META, FSYNC_OFF, false },
	{ "d/e/f", PLY_COPYUP_META, ",index=on,fsync=strict", false },
	{ "d/e/c", PLY_COPYUP_DATA, FSYNC_OFF, false },
	{ "empty", PLY_COPYUP_DATA, FSYNC_OFF, false },
};

static void test_faults_io(void **state)
{
	(void)state;
	for (size_t i = 0; i < PLY_ARRAY_SIZE(fault_cases); i++)
		run_faults(&fault_cases[i], EIO, FAULTS_ANY);
}

static void test_faults_space(void **state)
{
	(void)state;
	for (size_t i = 0; i < PLY_ARRAY_SIZE(fault_cases); i++)
		run_faults(&fault_cases[i], ENOSPC, FAULTS_CHANGES);
}

static void test_faults_dead_disk(void **state)
{
	(void)state;
	for (size_t i = 0; i < PLY_ARRAY_SIZE(fault_cases); i++)
		if (strstr(fault_cases[i].options, "fsync=0"))
			run_faults(&fault_cases[i], EIO, FAULTS_CHANGES | FAULTS_STAY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_other_types),
		cmocka_unit_test(test_sparse),
		cmocka_unit_test(test_data_fallback),
		cmocka_unit_test(test_trunc),
		cmocka_unit_test(test_index),
		cmocka_unit_test(test_index_unlinked),
		cmocka_unit_test(test_links_without_index),
		cmocka_unit_test(test_metacopy),
		cmocka_unit_test(test_metacopy_trunc),
		cmocka_unit_test(test_unnamed),
		cmocka_unit_test(test_readonly),
		cmocka_unit_test(test_concurrent),
		cmocka_unit_test(test_faults_io),
		cmocka_unit_test(test_faults_space),
		cmocka_unit_test(test_faults_dead_disk),
	};
	const char *tmp = getenv("TMPDIR");
	int r;

	ply_hash_init();
	umask(022);
	if (geteuid())
		xns = "user";
	snprintf(base, sizeof(base), "%s/copyup.%d", tmp ? tmp : "/tmp", (int)getpid());
	make_template();
	r = cmocka_run_group_tests(tests, NULL, NULL);
	nftw(base, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	return r;
}
