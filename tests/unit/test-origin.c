// SPDX-License-Identifier: GPL-2.0-or-later
/* Origins: records of lower objects lead back to their inode numbers; the index and its link counts. */
#include "unit.h"

#include "copyup.h"
#include "dirops.h"
#include "origin.h"
#include "stage.h"

#include <sys/xattr.h>

static const char *xns(void)
{
	return geteuid() ? "user" : "trusted";
}

static struct ply_at at(unsigned int layer, const char *name)
{
	return PLY_AT(fs->layers.layer[layer].fd, name);
}

static void test_records(void **state)
{
	static const char *const names[] = { "f", "d", "l", "p" };

	(void)state;
	stage_begin("mkdir -p l1/d up work && : >l1/f && ln -s x l1/l && mkfifo l1/p && : >up/o");
	stage_open("l1", true, "");
	for (int pass = 0; pass < 2; pass++) {
		struct ply_layerfs *f = &fs->layers.fs[fs->layers.layer[1].fs];

		/* The second time on a filesystem without handles. */
		if (pass)
			f->has_handles = false;
		for (size_t i = 0; i < PLY_ARRAY_SIZE(names); i++) {
			struct ply_fh fh, back;
			unsigned int fsidx;
			struct stat st;
			uint64_t ino;

			assert_int_equal(ply_sys_stat(at(1, names[i]), &st), 0);
			assert_int_equal(ply_origin_of(fs, &fs->layers.layer[1], at(1, names[i]), &st, &fh), 0);
			assert_int_equal(ply_origin_ino(fs, &fh, &fsidx, &ino), 0);
			assert_int_equal(ino, st.st_ino);
			assert_int_equal(fsidx, fs->layers.layer[1].fs);
			assert_int_equal(ply_origin_set(fs, at(0, "o"), &fh), 0);
			assert_int_equal(ply_origin_get(fs, fs->layers.upper, at(0, "o"), &back), 0);
			assert_int_equal(back.len, fh.len);
			assert_memory_equal(back.fid, fh.fid, fh.len);
			assert_int_equal(ply_origin_st_ino(fs, fs->layers.upper, at(0, "o"), &st),
					 ply_inum_make(&fs->inum, fsidx, ino));
		}
	}
	stage_end();
}

static void test_broken(void **state)
{
	static const char *const values[] = { "", "x", "\xfb", "0123456789012345678901234567890" };
	char name[64];
	struct ply_fh fh;
	struct stat st;

	(void)state;
	stage_begin("mkdir -p l1 up work && : >up/o");
	stage_open("l1", true, "");
	snprintf(name, sizeof(name), "%s.overlay.origin", xns());
	assert_int_equal(ply_sys_stat(at(0, "o"), &st), 0);
	for (size_t i = 0; i < PLY_ARRAY_SIZE(values); i++) {
		assert_int_equal(ply_sys_setxattr(at(0, "o"), name, values[i], strlen(values[i]), 0), 0);
		assert_int_equal(ply_origin_get(fs, fs->layers.upper, at(0, "o"), &fh), -ENODATA);
		assert_int_equal(ply_origin_st_ino(fs, fs->layers.upper, at(0, "o"), &st),
				 ply_inum_make(&fs->inum, fs->layers.upper->fs, st.st_ino));
	}
	/* Of a filesystem that is not here. */
	fh = (struct ply_fh){ .type = 1, .len = 8 };
	memset(fh.uuid, 0xee, sizeof(fh.uuid));
	assert_int_equal(ply_origin_ino(fs, &fh, &(unsigned int){ 0 }, &(uint64_t){ 0 }), -ENODATA);
	stage_end();
}

/* What fuse-overlayfs notes is the path that the file was copied from. */
static void test_fuse_overlayfs(void **state)
{
	struct ply_node *n;
	struct stat st;

	(void)state;
	stage_begin("mkdir -p l1 l2/d up work && echo x >l2/d/f && : >up/moved && : >up/odd && "
		    "setfattr -n user.fuseoverlayfs.origin -v /d/f up/moved && "
		    "setfattr -n user.fuseoverlayfs.origin -v ../../../etc/passwd up/odd");
	stage_open("l1 l2", true, "");
	n = stage_node("moved");
	assert_int_equal(ply_sys_stat(at(2, "d/f"), &st), 0);
	assert_int_equal(n->ino, ply_inum_make(&fs->inum, fs->layers.layer[2].fs, st.st_ino));
	ply_node_put(fs->graph, n);
	n = stage_node("odd");
	assert_int_equal(ply_sys_stat(at(0, "odd"), &st), 0);
	assert_int_equal(n->ino, ply_inum_make(&fs->inum, fs->layers.upper->fs, st.st_ino));
	ply_node_put(fs->graph, n);
	stage_end();
}

/* One of three lower names is copied up: all of them are that file, also after a remount. */
static void test_index(void **state)
{
	struct ply_node *a, *b, *c;
	struct stat st;
	uint64_t ino;

	(void)state;
	stage_begin("mkdir -p l1/x l1/y up work && echo one >l1/a && ln l1/a l1/x/b && ln l1/a l1/y/c");
	stage_open("l1", true, ",index=on,fsync=0");
	if (!fs->work.index) {
		stage_end();
		skip();
	}
	a = stage_node("a");
	ino = a->ino;
	assert_int_equal(ply_copyup(fs, a, PLY_COPYUP_DATA), 0);
	b = stage_node("x/b");
	assert_ptr_equal(a, b);
	ply_node_put(fs->graph, a);
	ply_node_put(fs->graph, b);
	sh("echo two >up/a");
	for (int round = 0; round < 3; round++) {
		/* In each order, so that the first one is found by the index, by name, by identity. */
		static const char *const order[3][3] = { { "x/b", "a", "y/c" }, { "a", "y/c", "x/b" }, { "y/c", "x/b", "a" } };

		stage_close();
		stage_open("l1", true, ",index=on,fsync=0");
		a = stage_node(order[round][0]);
		b = stage_node(order[round][1]);
		c = stage_node(order[round][2]);
		assert_ptr_equal(a, b);
		assert_ptr_equal(a, c);
		assert_int_equal(a->ino, ino);
		assert_true(a->flags & PLY_N_INDEXED);
		assert_int_equal(atomic_load(&a->layer), PLY_LAYER_UPPER);
		stage_content(order[round][0], "two\n");
		stage_content("x/b", "two\n");
		ply_node_put(fs->graph, a);
		ply_node_put(fs->graph, b);
		ply_node_put(fs->graph, c);
	}
	/* Names go one after the other; the last takes the entry with it. */
	assert_int_equal(ply_dirops_unlink(fs, fs->root, "a"), 0);
	stage_content("y/c", "two\n");
	a = stage_node("x");
	assert_int_equal(ply_dirops_unlink(fs, a, "b"), 0);
	stage_content("y/c", "two\n");
	ply_node_put(fs->graph, a);
	stage_close();
	stage_open("l1", true, ",index=on,fsync=0");
	stage_content("y/c", "two\n");
	assert_int_equal(stage_look("a", &st), -ENOENT);
	a = stage_node("y");
	assert_int_equal(ply_dirops_unlink(fs, a, "c"), 0);
	ply_node_put(fs->graph, a);
	sh("test -z \"$(ls work/index)\"");
	stage_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_fuse_overlayfs),
		cmocka_unit_test(test_index),
	};

	return cmocka_run_group_tests_name("origin", tests, NULL, NULL);
}
