// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Lookup: each rule by hand, then random layers compared with what the kernel's overlayfs
 * makes of the same directories.
 */
#include "unit.h"

#include "graph.h"
#include "stage.h"

#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

static const char *xns(void)
{
	return geteuid() ? "user" : "trusted";
}

static void mark(const char *path, const char *attr, const void *val, size_t len)
{
	char name[64], full[600];

	snprintf(name, sizeof(name), "%s.overlay.%s", xns(), attr);
	snprintf(full, sizeof(full), "%s/%s", base, path);
	if (setxattr(full, name, val, len, 0))
		fail_msg("%s on %s: %s", name, path, strerror(errno));
}

#define mark_str(p, a, s) mark(p, a, s, strlen(s))

/* ---- by hand ---- */

static void test_layers(void **state)
{
	struct ply_node *a, *b;
	struct stat st;

	(void)state;
	stage_begin("mkdir -p l1/d l2/d/e l3/d up work && echo 1 >l1/d/f && echo 2 >l2/d/f && echo 3 >l3/d/g && "
		    "echo 2 >l2/x && mkdir l3/x && mkdir l2/y && echo 3 >l3/y && echo z >l3/x/z && "
		    "mknod l1/gone c 0 0 && echo 2 >l2/gone && mknod l3/only c 0 0");
	stage_open("l1 l2 l3", true, "");
	stage_content("d/f", "1\n");
	stage_content("d/g", "3\n");
	assert_int_equal(stage_look("d/e", &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(stage_look("x", &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(stage_look("x/z", &st), -ENOTDIR);
	assert_int_equal(stage_look("y", &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(stage_look("gone", &st), -ENOENT);
	assert_int_equal(stage_look("only", &st), -ENOENT);
	assert_int_equal(stage_look("none", &st), -ENOENT);
	a = stage_node("d");
	b = stage_node("d");
	assert_ptr_equal(a, b);
	assert_int_equal(a->dir->nlower, 3);
	ply_node_put(fs->graph, a);
	ply_node_put(fs->graph, b);
	stage_end();
}

static void test_names(void **state)
{
	struct ply_node *n;
	struct stat st;
	char name[300];

	(void)state;
	stage_begin("mkdir l1 l2 && : >l1/.wh.b && : >l2/.wh.a && : >l2/a && : >l2/b && : >l1/.wh..wh.aufs");
	stage_open("l1 l2", false, "");
	memset(name, 'x', sizeof(name));
	name[256] = '\0';
	assert_int_equal(ply_lookup(fs, fs->root, name, &n, &st), -ENAMETOOLONG);
	name[255] = '\0';
	assert_int_equal(ply_lookup(fs, fs->root, name, &n, &st), -ENOENT);
	assert_int_equal(stage_look(".wh.a", &st), -ENOENT);
	assert_int_equal(stage_look(".wh..wh.aufs", &st), -ENOENT);
	assert_int_equal(stage_look("a", &st), 0);
	assert_int_equal(stage_look("b", &st), -ENOENT);
	assert_int_equal(ply_lookup(fs, fs->root, "a/b", &n, &st), -EINVAL);
	stage_end();
}

static void test_opaque(void **state)
{
	struct stat st;

	(void)state;
	stage_begin("mkdir -p l1/k l1/u l1/f l1/w l1/in l1/x l2 && "
		    "for d in k u f w in x; do mkdir -p l2/$d; : >l2/$d/old; : >l1/$d/new; done && "
		    ": >l1/.wh.w && : >l1/in/.wh..wh..opq && : >l1/x/old && : >l1/x/old2 && : >l2/x/old2");
	mark_str("l1/k", "opaque", "y");
	sh("setfattr -n user.overlay.opaque -v y l1/u && setfattr -n user.fuseoverlayfs.opaque -v y l1/f");
	mark_str("l1/x", "opaque", "x");
	mark("l1/x/old", "whiteout", "y", 1);
	stage_open("l1 l2", false, "");
	for (int i = 0; i < 2; i++) {		/* the second time from the listing */
		static const char *const closed[] = { "k", "u", "f", "w", "in", "x" };

		for (size_t k = 0; k < PLY_ARRAY_SIZE(closed); k++) {
			char path[32];
			struct ply_node *d;
			struct stage_names *names = malloc(sizeof(*names));

			snprintf(path, sizeof(path), "%s/old", closed[k]);
			if (stage_look(path, &st) != -ENOENT)
				fail_msg("%s shows", path);
			snprintf(path, sizeof(path), "%s/new", closed[k]);
			assert_int_equal(stage_look(path, &st), 0);
			d = stage_node(closed[k]);
			stage_list(d, 0, false, 100, names);
			assert_int_equal(names->n, k == 5 ? 4 : 3);
			stage_names_free(names);
			ply_node_put(fs->graph, d);
			free(names);
		}
		assert_int_equal(stage_look("x/old2", &st), 0);
	}
	stage_end();
}

static void test_root_opaque(void **state)
{
	struct stat st;

	(void)state;
	stage_begin("mkdir l1 l2 l3 && : >l2/.wh..wh..opq && : >l2/b && : >l3/c && : >l1/a");
	stage_open("l1 l2 l3", false, "");
	assert_int_equal(stage_look("a", &st), 0);
	assert_int_equal(stage_look("b", &st), 0);
	assert_int_equal(stage_look("c", &st), -ENOENT);
	stage_end();
}

static void test_redirect(void **state)
{
	struct ply_node *n;
	struct stat st;

	(void)state;
	stage_begin("mkdir -p up/new up/abs up/opq/in l1/old/sub l1/p/q/r l2/old/sub l2/p/q/r l2/p/q2 work && "
		    "mknod up/old c 0 0 && echo 1 >l1/old/f && echo 2 >l2/old/sub/g && echo q >l2/p/q/r/deep && "
		    "echo q2 >l2/p/q2/x");
	mark_str("up/new", "redirect", "old");
	mark_str("up/abs", "redirect", "/p/q");
	mark_str("up/opq", "opaque", "y");
	mark_str("up/opq/in", "redirect", "/p/q");
	mark_str("l1/p/q", "redirect", "q2");
	stage_open("l1 l2", true, ",redirect_dir=on");
	stage_content("new/f", "1\n");
	stage_content("new/sub/g", "2\n");
	assert_int_equal(stage_look("old", &st), -ENOENT);
	/* l1/p/q is renamed below: from there on l2 is looked at under q2. */
	stage_content("abs/x", "q2\n");
	stage_content("opq/in/x", "q2\n");
	assert_int_equal(stage_look("abs/r", &st), 0);
	assert_int_equal(stage_look("abs/r/deep", &st), -ENOENT);
	n = stage_node("abs");
	assert_int_equal(n->dir->nlower, 2);
	assert_string_equal(n->dir->lower[0].path, "p/q");
	assert_string_equal(n->dir->lower[1].path, "p/q2");
	ply_node_put(fs->graph, n);
	stage_close();
	stage_open("l1 l2", true, ",redirect_dir=nofollow");
	assert_int_equal(stage_look("new", &st), -EPERM);
	stage_end();
}

static void test_metacopy(void **state)
{
	struct stat st;
	struct ply_node *n;

	(void)state;
	stage_begin("mkdir -p up l1 l2/sub d1/x d2/x work && echo data2 >l2/f && truncate -s 6 l1/f && truncate -s 6 up/f && "
		    "truncate -s 6 up/moved && echo moved >l2/sub/m && truncate -s 6 up/lost && truncate -s 6 l1/nodata && "
		    "truncate -s 6 up/store && echo store >d2/x/y && truncate -s 6 up/bad && truncate -s 6 up/isdir && mkdir l1/isdir && "
		    "truncate -s 6 l2/bottom && truncate -s 9 up/missing && truncate -s 9 up/broken && : >l2/broken");
	mark("up/f", "metacopy", "", 0);
	mark("l1/f", "metacopy", "", 0);
	mark("up/moved", "metacopy", "", 0);
	mark_str("up/moved", "redirect", "/sub/m");
	mark("up/lost", "metacopy", "", 0);
	mark("l1/nodata", "metacopy", "", 0);
	mark("up/store", "metacopy", "", 0);
	mark_str("up/store", "redirect", "/x/y");
	mark("up/missing", "metacopy", "", 0);
	mark_str("up/missing", "redirect", "/x/nothing");
	mark("up/bad", "metacopy", "", 0);
	mark_str("up/bad", "redirect", "../../etc/passwd");
	mark("up/isdir", "metacopy", "", 0);
	mark("l2/bottom", "metacopy", "", 0);
	mark("up/broken", "metacopy", "\1\2\3\4\5", 5);
	stage_open("l1 l2 +d1 +d2", true, ",redirect_dir=on");
	stage_content("f", "data2\n");
	n = stage_node("f");
	assert_true(n->flags & PLY_N_METACOPY);
	assert_int_equal(n->data->layer, 2);
	ply_node_put(fs->graph, n);
	stage_content("moved", "moved\n");
	stage_content("store", "store\n");
	assert_int_equal(stage_look("lost", &st), -EIO);
	assert_int_equal(stage_look("nodata", &st), -EIO);
	assert_int_equal(stage_look("bad", &st), -EIO);
	assert_int_equal(stage_look("isdir", &st), -EIO);
	assert_int_equal(stage_look("bottom", &st), -EIO);
	assert_int_equal(stage_look("broken", &st), -EIO);
	assert_int_equal(stage_look("x", &st), -ENOENT);
	/* The store is asked when the data is wanted. */
	assert_int_equal(stage_look("missing", &st), 0);
	assert_int_equal(st.st_size, 9);
	n = stage_node("missing");
	{
		ssize_t len;

		free(stage_read(n, &len));
		assert_int_equal(len, -EIO);
	}
	ply_node_put(fs->graph, n);
	stage_end();
}

static void test_hostile(void **state)
{
	static const char *const paths[] = { "d", "d/d", "link", "link/x", "long", "loop", "loop/loop", "loop/loop/loop" };
	char big[70000];
	struct stat st;

	(void)state;
	stage_begin("mkdir -p l1/d l1/long l1/loop l1/comp l2/d/d l2/loop l3/loop/loop && ln -s /etc l1/link && "
		    "ln -s ../.. l2/d/up && mkdir -p l2/up2 && ln -s /etc l2/etc && mkdir l1/viasym");
	mark_str("l1/d", "redirect", "/../../etc");
	memset(big, 'a', sizeof(big));
	big[0] = '/';
	mark("l1/long", "redirect", big, 2000);
	mark_str("l1/loop", "redirect", "/loop");
	mark_str("l2/loop", "redirect", "/loop/loop");
	memset(big, '/', 300);
	mark("l1/comp", "redirect", big, 300);
	mark_str("l1/viasym", "redirect", "/etc/ssl");
	stage_open("l1 l2 l3", false, "");
	for (size_t i = 0; i < PLY_ARRAY_SIZE(paths); i++)
		stage_look(paths[i], &st);
	assert_int_equal(stage_look("d", &st), -EIO);
	assert_int_equal(stage_look("comp", &st), -EIO);
	assert_int_equal(stage_look("long", &st), 0);
	assert_int_equal(stage_look("link", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	/* A redirect through a symlink of a layer ends there. */
	assert_int_equal(stage_look("viasym", &st), 0);
	assert_int_equal(stage_look("viasym/certs", &st), -ENOENT);
	stage_end();
}

static void test_hardlinks(void **state)
{
	struct ply_node *a, *b, *c;

	(void)state;
	stage_begin("mkdir -p l1/d l2 up work && echo x >l1/a && ln l1/a l1/d/b && echo u >up/u && ln up/u up/v && echo 1 >l2/c");
	stage_open("l1 l2", false, "");
	a = stage_node("a");
	b = stage_node("d/b");
	c = stage_node("c");
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	ply_node_put(fs->graph, a);
	ply_node_put(fs->graph, b);
	ply_node_put(fs->graph, c);
	stage_close();
	stage_open("l1 l2", true, ",index=off");
	a = stage_node("a");
	b = stage_node("d/b");
	assert_ptr_not_equal(a, b);
	assert_int_equal(a->ino, b->ino);
	ply_node_put(fs->graph, a);
	ply_node_put(fs->graph, b);
	a = stage_node("u");
	b = stage_node("v");
	assert_ptr_equal(a, b);
	ply_node_put(fs->graph, a);
	ply_node_put(fs->graph, b);
	stage_end();
}

/* Layers that share inodes: one file, though the names are found in different layers. */
static void test_shared_inode(void **state)
{
	struct ply_node *a, *b;
	struct stat st;

	(void)state;
	stage_begin("mkdir -p l1 l2/d && echo x >l1/a && ln l1/a l2/d/b");
	stage_open("l1 l2", false, "");
	for (int i = 0; i < 2; i++) {
		a = stage_node(i ? "d/b" : "a");
		b = stage_node(i ? "a" : "d/b");
		assert_ptr_equal(a, b);
		stage_content("a", "x\n");
		stage_content("d/b", "x\n");
		assert_int_equal(stage_look("a", &st), 0);
		assert_int_equal(stage_look("d/b", &st), 0);
		ply_node_put(fs->graph, a);
		ply_node_put(fs->graph, b);
	}
	stage_end();
}

/* Many lookups build the listing; then names are found in their layer, and absent ones without asking. */
static void test_cache_pays(void **state)
{
	struct stat st;
	char name[32];

	(void)state;
	stage_begin("mkdir l0 && for i in 1 2 3 4 5 6 7 8; do mkdir l$i; : >l$i/f$i; done && : >l8/bottom && : >l3/.wh.bottom2 && : >l8/bottom2");
	stage_open("l0 l1 l2 l3 l4 l5 l6 l7 l8", false, "");
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "absent%d", i);
		assert_int_equal(stage_look(name, &st), -ENOENT);
	}
	assert_non_null(fs->root->dir->cache);
	for (int i = 1; i < 9; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(stage_look(name, &st), 0);
	}
	assert_int_equal(stage_look("bottom", &st), 0);
	assert_int_equal(stage_look("bottom2", &st), -ENOENT);
	stage_end();
}

#define MANY "l1 l2 l3 l4 l5 l6 l7 l8 l9 l10 l11 l12 l13 l14 l15 l16 l17 l18 l19 l20"

/* Of many layers the listing is built by the first lookup that asks in vain; it knows where a name has its end, too. */
static void test_cache_of_many(void **state)
{
	static const struct { const char *name; unsigned int layer, end; } want[] = {
		{ "f8", 8, 9 }, { "d", 3, 8 }, { "e", 20, 21 }, { "cut", 2, 10 }, { "file", 4, 7 }, { "up", 0, 12 }, { "new", 0, 1 },
	};
	struct ply_dircache_entry e;
	struct ply_dircache *dc;
	struct stat st;
	char name[32];

	(void)state;
	stage_begin("mkdir -p up/up up/new work " MANY " && for i in " MANY "; do : >$i/f${i#l}; done && mkdir l3/d l7/d l20/e l2/cut l9/cut "
		    "l11/up l6/file && mknod l5/cut c 0 0 && : >l4/file && : >l3/d/above && : >l7/d/below && : >l9/cut/hidden && : >l11/up/low");
	stage_open(MANY, true, "");
	assert_int_equal(stage_look("f1", &st), 0);
	assert_null(fs->root->dir->cache);
	assert_int_equal(stage_look("f20", &st), 0);
	assert_non_null(fs->root->dir->cache);
	dc = ply_dircache_get(fs, fs->root);
	for (size_t i = 0; i < PLY_ARRAY_SIZE(want); i++) {
		assert_int_equal(ply_dircache_find(dc, want[i].name, &e), 0);
		if (e.layer != want[i].layer || e.end != want[i].end)
			fail_msg("%s: %u to %u", want[i].name, e.layer, e.end);
	}
	/* What is made in upper anew may have been hidden: nothing is known. What was there is below where it was. */
	ply_dircache_added(fs, fs->root, "other", DT_DIR);
	ply_dircache_added(fs, fs->root, "d", DT_DIR);
	assert_int_equal(ply_dircache_find(dc, "other", &e), 0);
	assert_int_equal(e.end, 0);
	assert_int_equal(ply_dircache_find(dc, "d", &e), 0);
	assert_int_equal(e.end, 8);
	ply_dircache_put(fs, dc);
	ply_dircache_drop(fs, fs->root);
	for (int round = 0; round < 2; round++) {
		for (int i = 1; i <= 20; i++) {
			snprintf(name, sizeof(name), "f%d", i);
			assert_int_equal(stage_look(name, &st), 0);
		}
		assert_int_equal(stage_look("d/above", &st), 0);
		assert_int_equal(stage_look("d/below", &st), 0);
		assert_int_equal(stage_look("up/low", &st), 0);
		assert_int_equal(stage_look("cut/hidden", &st), -ENOENT);
		assert_int_equal(stage_look("e/x", &st), -ENOENT);
		assert_int_equal(stage_look("nothing", &st), -ENOENT);
		assert_non_null(fs->root->dir->cache);
	}
	stage_end();
	/* What was read for lookups is open for them, as far as descriptors go. */
	stage_begin("for i in " MANY "; do mkdir -p $i/d && : >$i/d/f${i#l}; done");
	stage_open(MANY, false, "");
	for (unsigned int max = 0; max <= 64; max += 16) {
		struct ply_node *n = stage_node("d");
		struct ply_graph_stats s;

		fs->graph->max_fds = max;
		ply_dircache_drop(fs, n);
		assert_int_equal(stage_look("d/nothing", &st), -ENOENT);
		ply_graph_stats(fs->graph, &s);
		assert_in_range(s.dirfds, ply_min(max, 20u), max + 1);
		for (int i = 1; i <= 20; i++) {
			snprintf(name, sizeof(name), "d/f%d", i);
			assert_int_equal(stage_look(name, &st), 0);
			assert_int_equal(stage_look("d/nothing", &st), -ENOENT);
		}
		assert_non_null(n->dir->cache);
		ply_graph_stats(fs->graph, &s);
		assert_in_range(s.dirfds, max < 20 ? max : 20, max + 1);
		ply_node_put(fs->graph, n);
	}
	stage_end();
	/* A big one is not read for the sake of one name. */
	stage_begin("mkdir " MANY " && for i in " MANY "; do : >$i/f${i#l}; done && seq 0 2999 | sed 's|^|l20/a-long-name|' | xargs touch");
	stage_open(MANY, false, "");
	assert_int_equal(stage_look("nothing", &st), -ENOENT);
	assert_null(fs->root->dir->cache);
	for (int i = 0; i < 3000 && !fs->root->dir->cache; i++) {
		snprintf(name, sizeof(name), "a-long-name%d", i);
		assert_int_equal(stage_look(name, &st), 0);
	}
	assert_non_null(fs->root->dir->cache);
	stage_end();
	stage_begin("mkdir " MANY " && seq 0 2999 | sed 's|^|l10/a-long-name|' | xargs touch");
	stage_open(MANY, false, "");
	assert_int_equal(stage_look("nothing", &st), -ENOENT);
	assert_null(fs->root->dir->cache);
	stage_end();
}

/* What ends the merging of one directory of twenty. */
static void test_end_of_many(void **state)
{
	static const struct { const char *make; int last; } how[] = {
		{ ":", 20 }, { "rm -r l10/d", 20 }, { "rm -r l10/d && : >l10/d", 9 }, { "rm -r l10/d && ln -s ../l20/d l10/d", 9 },
		{ "rm -r l10/d && mknod l10/d c 0 0", 9 }, { ": >l10/.wh.d", 10 }, { "rm -r l10/d && : >l10/.wh.d", 9 },
		{ ": >l10/d/.wh..wh..opq", 10 }, { ": >l20/d/.wh..wh..opq", 20 }, { "chmod 0 l10/d", 20 },
		{ "setfattr -n user.fuseoverlayfs.opaque -v y l10/d", 10 },
	};
	struct stat st;
	char name[32];

	(void)state;
	for (size_t i = 0; i < 2 * PLY_ARRAY_SIZE(how) + 3; i++) {
		int last = i / 2 < PLY_ARRAY_SIZE(how) ? how[i / 2].last : 10;
		bool list = i % 2;

		stage_begin("for i in " MANY "; do mkdir -p $i/d && : >$i/d/f${i#l}; done");
		if (i / 2 < PLY_ARRAY_SIZE(how)) {
			if (geteuid() && strstr(how[i / 2].make, "chmod")) {
				stage_clear();
				continue;
			}
			sh(how[i / 2].make);
		} else if (i == 2 * PLY_ARRAY_SIZE(how)) {
			mark_str("l10/d", "opaque", "y");
		} else {
			/* Holds xattr whiteouts: no end. From there on it is another directory, of other layers. */
			if (i % 2) {
				mark_str("l10/d", "opaque", "x");
			} else {
				sh("for i in " MANY "; do mkdir $i/old && : >$i/old/f${i#l} && : >$i/old/o${i#l}; done && "
				   "for i in 11 15 20; do rm -r l$i/d; done");
				mark_str("l10/d", "redirect", "old");
			}
			last = 20;
		}
		stage_open(MANY, false, ",redirect_dir=on");
		if (list) {
			struct ply_node *d = stage_node("d");
			struct ply_dircache *dc;

			pthread_rwlock_wrlock(&d->dir->lock);
			assert_int_equal(ply_dircache_build(fs, d, &dc), 0);
			pthread_rwlock_unlock(&d->dir->lock);
			ply_dircache_put(fs, dc);
			ply_node_put(fs->graph, d);
		}
		for (int k = 1; k <= 20; k++) {
			int want = k <= last ? 0 : -ENOENT;

			if (k == 10 && i / 2 < PLY_ARRAY_SIZE(how) && strstr(how[i / 2].make, "rm -r"))
				want = -ENOENT;
			snprintf(name, sizeof(name), "d/f%d", k);
			if (stage_look(name, &st) != want)
				fail_msg("case %zu: %s", i, name);
		}
		stage_end();
	}
}

/* Deeper than PATH_MAX. */
static void test_deep(void **state)
{
	enum { DEPTH = 60 };
	struct ply_node *n = NULL, *next;
	struct stat st;
	char name[201];

	(void)state;
	stage_begin("mkdir -p l1 l2");
	memset(name, 'n', 200);
	name[200] = '\0';
	for (int l = 1; l < 3; l++) {
		char top[16];
		int fd, sub;

		snprintf(top, sizeof(top), "l%d", l);
		sh("true");
		fd = open(base, O_RDONLY | O_DIRECTORY);
		sub = openat(fd, top, O_RDONLY | O_DIRECTORY);
		close(fd);
		for (int i = 0; i < DEPTH; i++) {
			assert_int_equal(mkdirat(sub, name, 0755), 0);
			fd = openat(sub, name, O_RDONLY | O_DIRECTORY);
			close(sub);
			sub = fd;
		}
		close(openat(sub, top, O_CREAT | O_WRONLY, 0644));
		close(sub);
	}
	stage_open("l1 l2", false, "");
	n = ply_node_ref(fs->graph, fs->root);
	for (int i = 0; i < DEPTH; i++) {
		assert_int_equal(ply_lookup(fs, n, name, &next, &st), 0);
		ply_node_put(fs->graph, n);
		n = next;
	}
	/* Nothing of the way is open: it is walked at once. */
	fs->graph->max_fds = 0;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ply_lookup(fs, n, i & 1 ? "l1" : "l2", &next, &st), 0);
		ply_node_put(fs->graph, next);
	}
	{
		struct ply_graph_stats s;

		ply_graph_stats(fs->graph, &s);
		assert_in_range(s.dirfds, 0, 2);
	}
	ply_node_put(fs->graph, n);
	stage_close();
	sh("rm -rf l1 l2");
	stage_clear();
}

/* ---- against the kernel ---- */

static const char *const alphabet[] = { "a", "b", "c", "d" };

static void kernel_dump(struct ply_buf *out, int dirfd, const char *path)
{
	int fd = openat(dirfd, path[0] ? path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);

	if (fd < 0) {
		ply_buf_printf(out, "%s: opendir %s\n", path, strerror(errno));
		return;
	}
	for (size_t i = 0; i < PLY_ARRAY_SIZE(alphabet); i++) {
		char sub[256], text[64] = "";
		struct stat st;

		snprintf(sub, sizeof(sub), "%s%s%s", path, path[0] ? "/" : "", alphabet[i]);
		if (fstatat(fd, alphabet[i], &st, AT_SYMLINK_NOFOLLOW)) {
			if (errno != ENOENT)
				ply_buf_printf(out, "%s: %s\n", sub, strerror(errno));
			continue;
		}
		if (S_ISDIR(st.st_mode)) {
			ply_buf_printf(out, "%s/\n", sub);
			kernel_dump(out, dirfd, sub);
		} else if (S_ISREG(st.st_mode)) {
			int f = openat(fd, alphabet[i], O_RDONLY);
			ssize_t n = f < 0 ? -errno : read(f, text, sizeof(text) - 1);

			ply_buf_printf(out, "%s: %s\n", sub, n < 0 ? strerror((int)-n) : text);
			if (f >= 0)
				close(f);
		} else {
			ply_buf_printf(out, "%s: type %o\n", sub, st.st_mode & S_IFMT);
		}
	}
	close(fd);
}

static void our_dump(struct ply_buf *out, struct ply_node *dir, const char *path, bool list)
{
	struct stage_names *names = NULL;

	if (list) {
		names = malloc(sizeof(*names));
		stage_list(dir, 0, false, 100, names);
	}
	for (size_t i = 0; i < PLY_ARRAY_SIZE(alphabet); i++) {
		char sub[256];
		struct ply_node *n;
		struct stat st;
		size_t k = 0;
		int r = ply_lookup(fs, dir, alphabet[i], &n, &st);

		for (; list && k < names->n; k++)
			if (!strcmp(names->name[k], alphabet[i]))
				break;
		if (list && (r == -ENOENT) != (k == names->n))
			fail_msg("%s/%s is %s, but %slisted", path, alphabet[i], strerror(-r), k == names->n ? "not " : "");
		snprintf(sub, sizeof(sub), "%s%s%s", path, path[0] ? "/" : "", alphabet[i]);
		if (r) {
			if (r != -ENOENT)
				ply_buf_printf(out, "%s: %s\n", sub, strerror(-r));
			continue;
		}
		if (list) {
			assert_int_equal(names->ino[k], n->ino);
			assert_int_equal(names->type[k], IFTODT(st.st_mode));
		}
		if (S_ISDIR(st.st_mode)) {
			ply_buf_printf(out, "%s/\n", sub);
			our_dump(out, n, sub, list);
		} else if (S_ISREG(st.st_mode)) {
			ssize_t len;
			char *text = stage_read(n, &len);

			ply_buf_printf(out, "%s: %s\n", sub, len < 0 ? strerror((int)-len) : text);
			free(text);
		} else {
			ply_buf_printf(out, "%s: type %o\n", sub, st.st_mode & S_IFMT);
		}
		ply_node_put(fs->graph, n);
	}
	if (list) {
		stage_names_free(names);
		free(names);
	}
}

static void random_redirect(uint64_t *s, char *out, size_t size, bool file)
{
	if (!file && rnd(s) % 2) {
		snprintf(out, size, "%s", alphabet[rnd(s) % 4]);
		return;
	}
	switch (rnd(s) % 3) {
	case 0:
		snprintf(out, size, "/%s", alphabet[rnd(s) % 4]);
		break;
	case 1:
		snprintf(out, size, "/%s/%s", alphabet[rnd(s) % 4], alphabet[rnd(s) % 4]);
		break;
	default:
		snprintf(out, size, "/%s/%s/%s", alphabet[rnd(s) % 4], alphabet[rnd(s) % 4], alphabet[rnd(s) % 4]);
	}
}

static void random_dir(uint64_t *s, const char *path, unsigned int depth)
{
	char sub[300], full[600], text[400];

	for (size_t i = 0; i < PLY_ARRAY_SIZE(alphabet); i++) {
		unsigned int kind = rnd(s) % 20;

		snprintf(sub, sizeof(sub), "%s/%s", path, alphabet[i]);
		snprintf(full, sizeof(full), "%s/%s", base, sub);
		if (kind < 3)
			continue;
		if (kind < 12 && depth < 3) {
			assert_int_equal(mkdir(full, 0755), 0);
			if (rnd(s) % 8 == 0) {
				mark_str(sub, "opaque", "y");
			} else if (rnd(s) % 5 == 0) {
				random_redirect(s, text, sizeof(text), false);
				mark_str(sub, "redirect", text);
			}
			random_dir(s, sub, depth + 1);
		} else if (kind < 14) {
			assert_int_equal(mknod(full, S_IFCHR, makedev(0, 0)), 0);
		} else if (kind == 14) {
			assert_int_equal(symlink("/etc", full), 0);
		} else {
			int fd = open(full, O_CREAT | O_WRONLY, 0644);
			bool meta = kind >= 18;

			snprintf(text, sizeof(text), "%-60s", sub);
			if (meta)
				assert_int_equal(ftruncate(fd, 60), 0);
			else
				assert_int_equal(write(fd, text, 60), 60);
			close(fd);
			if (meta) {
				mark(sub, "metacopy", "", 0);
				if (rnd(s) % 2) {
					random_redirect(s, text, sizeof(text), true);
					mark_str(sub, "redirect", text);
				}
			}
		}
	}
}

static bool kernel_mount(unsigned int layers)
{
	char opts[4096], at[300];
	int n = snprintf(opts, sizeof(opts), "redirect_dir=on,metacopy=on,index=off,lowerdir=%s/l1", base);

	for (unsigned int i = 2; i <= layers; i++)
		n += snprintf(opts + n, sizeof(opts) - (size_t)n, ":%s/l%u", base, i);
	snprintf(opts + n, sizeof(opts) - (size_t)n, ",upperdir=%s/up,workdir=%s/kwork", base, base);
	snprintf(at, sizeof(at), "%s/mnt", base);
	return !mount("overlay", at, "overlay", MS_RDONLY, opts);
}

/*
 * Where redirects show one lower directory in two places, the kernel can't: ESTALE or ELOOP for the second. Takes
 * these places out of a dump.
 */
static void without_aliases(const struct ply_buf *kernel, struct ply_buf *dump)
{
	static const char *const words[] = { ": Stale file handle\n", ": Too many levels of symbolic links\n" };
	ply_autofree char *copy = strdup(kernel->data);

	for (char *line = copy; line && *line;) {
		char *end = strchr(line, '\n'), *p, *next;
		size_t len;

		for (size_t i = 0; i < PLY_ARRAY_SIZE(words); i++) {
			len = (size_t)(end + 1 - line);
			if (len < strlen(words[i]) || memcmp(end + 1 - strlen(words[i]), words[i], strlen(words[i])))
				continue;
			len -= strlen(words[i]);
			for (p = dump->data; *p; p = next) {
				next = strchr(p, '\n') + 1;
				if (!strncmp(p, line, len) && strchr("/:", p[len])) {
					memmove(p, next, strlen(next) + 1);
					next = p;
				}
			}
		}
		line = end + 1;
	}
}

static void test_kernel(void **state)
{
	enum { ROUNDS = 60 };
	char at[300];

	(void)state;
	if (geteuid() || unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		skip();
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		ply_autobuf kernel = { 0 }, cold = { 0 }, warm = { 0 }, again = { 0 };
		/* Of many a directory is looked up by opening it. */
		unsigned int layers = seed % 5 ? 1 + seed % 5 : 17;
		uint64_t s = seed * 7919 + 13;
		int fd;

		for (int i = 0; i < 10; i++)
			rnd(&s);
		stage_begin("mkdir up work kwork mnt");
		random_dir(&s, "up", 0);
		for (unsigned int i = 1; i <= layers; i++) {
			char dir[16], full[300];

			snprintf(dir, sizeof(dir), "l%u", i);
			snprintf(full, sizeof(full), "%s/%s", base, dir);
			assert_int_equal(mkdir(full, 0755), 0);
			random_dir(&s, dir, 0);
		}
		snprintf(at, sizeof(at), "%s/mnt", base);
		if (!kernel_mount(layers)) {
			stage_clear();
			skip();
		}
		fd = open(at, O_RDONLY | O_DIRECTORY);
		kernel_dump(&kernel, fd, "");
		close(fd);
		assert_int_equal(umount2(at, 0), 0);
		ply_buf_addstr(&kernel, "");

		char lower[128] = "";

		for (unsigned int i = 1; i <= layers; i++)
			snprintf(lower + strlen(lower), sizeof(lower) - strlen(lower), "%sl%u", i > 1 ? " " : "", i);
		stage_open(lower, true, ",redirect_dir=on,metacopy=on,fsync=0");
		our_dump(&cold, fs->root, "", false);
		our_dump(&warm, fs->root, "", true);
		our_dump(&again, fs->root, "", true);
		ply_buf_addstr(&cold, "");
		ply_buf_addstr(&warm, "");
		ply_buf_addstr(&again, "");
		without_aliases(&kernel, &cold);
		without_aliases(&kernel, &warm);
		without_aliases(&kernel, &again);
		without_aliases(&kernel, &kernel);
		if (strcmp(kernel.data, cold.data)) {
			print_error("seed %d, kernel:\n%s\nplyfs:\n%s\n", (int)seed, kernel.data, cold.data);
			fail();
		}
		assert_string_equal(cold.data, warm.data);
		assert_string_equal(cold.data, again.data);
		stage_end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_opaque),
		cmocka_unit_test(test_root_opaque),
		cmocka_unit_test(test_redirect),
		cmocka_unit_test(test_metacopy),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_hardlinks),
		cmocka_unit_test(test_shared_inode),
		cmocka_unit_test(test_cache_pays),
		cmocka_unit_test(test_cache_of_many),
		cmocka_unit_test(test_end_of_many),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_kernel),
	};

	return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
