// SPDX-License-Identifier: GPL-2.0-or-later
/* The merged names of a directory: what is in it, order, cookies that last, changes, and the memory bound. */
#include "unit.h"

#include "stage.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/sysmacros.h>

static struct ply_dircache *build(struct ply_node *dir)
{
	struct ply_dircache *dc;

	pthread_rwlock_wrlock(&dir->dir->lock);
	assert_int_equal(ply_dircache_build(fs, dir, &dc), 0);
	pthread_rwlock_unlock(&dir->dir->lock);
	return dc;
}

static size_t count(struct ply_dircache *dc)
{
	struct ply_dircache_entry e = { 0 };
	size_t n = 0;

	while (ply_dircache_next(dc, e.cookie, &e, 1))
		n++;
	return n;
}

static void test_merge(void **state)
{
	static const struct { const char *name; unsigned int layer; uint8_t type; } want[] = {
		{ "up", 0, DT_REG }, { "one", 1, DT_REG }, { "two", 2, DT_LNK }, { "dir", 0, DT_DIR }, { "same", 1, DT_DIR },
		{ "aufs2", 2, DT_REG }, { "fifo", 2, DT_FIFO }, { "null", 2, DT_CHR },
	};
	static const char *const hidden[] = { "gone", "aufs", ".wh.aufs", ".wh..wh..opq", "white2" };
	struct ply_dircache_entry e;
	struct ply_dircache *dc;

	(void)state;
	stage_begin("mkdir -p up/dir l1/dir l1/same l2 work && : >up/up && : >l1/one && ln -s x l2/two && : >l2/same && "
		    "mknod up/gone c 0 0 && : >l1/gone && : >l1/.wh.aufs && : >l2/aufs && : >l2/.wh.aufs2 && : >l2/aufs2 && "
		    "mkfifo l2/fifo && mknod l2/null c 1 3 && mknod l2/white2 c 0 0");
	stage_open("l1 l2", true, "");
	dc = build(fs->root);
	for (size_t i = 0; i < PLY_ARRAY_SIZE(want); i++) {
		struct ply_node *n;
		struct stat st;

		if (ply_dircache_find(dc, want[i].name, &e))
			fail_msg("%s is missing", want[i].name);
		assert_int_equal(e.layer, want[i].layer);
		assert_int_equal(e.type, want[i].type);
		assert_string_equal(e.name, want[i].name);
		assert_true(e.cookie >= 16 && e.cookie < UINT64_C(1) << 63);
		assert_int_equal(stage_walk(want[i].name, &n, &st), 0);
		assert_int_equal(e.ino, n->ino);
		ply_node_put(fs->graph, n);
	}
	for (size_t i = 0; i < PLY_ARRAY_SIZE(hidden); i++)
		assert_int_equal(ply_dircache_find(dc, hidden[i], &e), -ENOENT);
	assert_int_equal(count(dc), PLY_ARRAY_SIZE(want));
	/* Nothing is behind the last, wherever a reader says that it was. */
	assert_int_equal(ply_dircache_next(dc, (UINT64_C(1) << 63) - 1, &e, 1), 0);
	assert_int_equal(ply_dircache_next(dc, UINT64_MAX - 1, &e, 1), 0);
	ply_dircache_put(fs, dc);
	stage_end();
}

/* Thousands of names come and go in any order; a rebuilt cache has the same cookies. */
static void test_changes(void **state)
{
	enum { NAMES = 3000 };
	static uint64_t cookie[NAMES];
	static bool have[NAMES];
	struct ply_dircache_entry e;
	struct ply_dircache *dc;
	uint64_t s = 4711;
	size_t n = 0;
	char name[32];

	(void)state;
	stage_begin("mkdir -p up l1 work && cd up && seq 0 2999 | sed s/^/n/ | xargs touch");
	stage_open("l1", true, "");
	dc = build(fs->root);
	assert_int_equal(count(dc), NAMES);
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(ply_dircache_find(dc, name, &e), 0);
		cookie[i] = e.cookie;
		have[i] = true;
	}
	for (int round = 0; round < 20000; round++) {
		int i = (int)(rnd(&s) % NAMES);

		snprintf(name, sizeof(name), "n%d", i);
		if (have[i])
			ply_dircache_removed(fs, fs->root, name);
		else
			ply_dircache_added(fs, fs->root, name, DT_REG);
		have[i] = !have[i];
	}
	assert_true(fs->root->dir->lost_name);
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(ply_dircache_find(dc, name, &e), have[i] ? 0 : -ENOENT);
		if (have[i])
			assert_int_equal(e.cookie, cookie[i]);
		n += have[i];
	}
	assert_int_equal(count(dc), n);
	ply_dircache_put(fs, dc);
	ply_dircache_drop(fs, fs->root);
	assert_null(fs->root->dir->cache);
	dc = build(fs->root);
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(ply_dircache_find(dc, name, &e), 0);
		assert_int_equal(e.cookie, cookie[i]);
	}
	ply_dircache_added(fs, fs->root, "n5", DT_DIR);
	assert_int_equal(ply_dircache_find(dc, "n5", &e), 0);
	assert_int_equal(e.type, DT_DIR);
	assert_int_equal(e.cookie, cookie[5]);
	ply_dircache_put(fs, dc);
	stage_end();
}

/* What changes held is counted, and no more: otherwise the bound on all caches would drift. */
static void test_counted(void **state)
{
	enum { NAMES = 3000, LONG = 200 };
	struct ply_dircache_stats st;
	struct ply_dircache *dc;
	char name[LONG + 1];
	size_t empty;

	(void)state;
	stage_begin("mkdir -p up l1 work");
	stage_open("l1", true, "");
	dc = build(fs->root);
	ply_dircaches_stats(fs, &st);
	empty = st.bytes;
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < NAMES; i++) {
			snprintf(name, sizeof(name), "%0*d", round % 2 ? 8 : LONG, i);
			ply_dircache_added(fs, fs->root, name, DT_REG);
		}
		ply_dircaches_stats(fs, &st);
		assert_int_equal(st.entries, NAMES);
		assert_true(st.bytes > (size_t)NAMES * (round % 2 ? 8 : LONG));
		assert_true(st.bytes < (size_t)NAMES * (LONG + 64) * 4);
		for (int i = 0; i < NAMES; i++) {
			snprintf(name, sizeof(name), "%0*d", round % 2 ? 8 : LONG, (i * 7) % NAMES);
			ply_dircache_removed(fs, fs->root, name);
		}
		ply_dircaches_stats(fs, &st);
		assert_int_equal(st.entries, 0);
		/* The array of chunks stays as long as it was. */
		assert_true(st.bytes >= empty && st.bytes < empty + (size_t)NAMES * 8);
	}
	ply_dircache_put(fs, dc);
	stage_end();
}

static void test_upped(void **state)
{
	struct ply_dircache_entry e, before;
	struct ply_dircache *dc;

	(void)state;
	stage_begin("mkdir -p up l1 work && : >l1/f");
	stage_open("l1", true, "");
	dc = build(fs->root);
	assert_int_equal(ply_dircache_find(dc, "f", &before), 0);
	ply_dircache_upped(fs, fs->root, "f");
	assert_int_equal(ply_dircache_find(dc, "f", &e), 0);
	assert_int_equal(e.layer, 0);
	assert_int_equal(e.cookie, before.cookie);
	assert_int_equal(e.ino, before.ino);
	ply_dircache_put(fs, dc);
	stage_end();
}

static void test_empty(void **state)
{
	struct ply_node *d;

	(void)state;
	stage_begin("mkdir -p up/d up/e l1/d l1/e work && : >l1/d/x && mknod up/d/x c 0 0 && : >l1/e/x");
	stage_open("l1", true, "");
	d = stage_node("d");
	pthread_rwlock_wrlock(&d->dir->lock);
	assert_int_equal(ply_dircache_is_empty(fs, d), 0);
	pthread_rwlock_unlock(&d->dir->lock);
	ply_node_put(fs->graph, d);
	d = stage_node("e");
	pthread_rwlock_wrlock(&d->dir->lock);
	assert_int_equal(ply_dircache_is_empty(fs, d), -ENOTEMPTY);
	pthread_rwlock_unlock(&d->dir->lock);
	ply_node_put(fs->graph, d);
	stage_end();
}

/* A small limit: caches that nobody uses go, the least recently used first; the one in use stays. */
static void test_limit(void **state)
{
	struct ply_dircache_stats st;
	struct ply_dircache *dc[20];
	struct ply_node *d[20];
	char name[16];

	(void)state;
	stage_begin("mkdir l1 && for i in $(seq 0 19); do mkdir l1/$i; (cd l1/$i && seq 1 100 | xargs touch); done");
	stage_open("l1", false, "");
	ply_dircaches_limit(fs, 20000);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "%d", i);
		d[i] = stage_node(name);
		dc[i] = build(d[i]);
		if (i)
			ply_dircache_put(fs, dc[i]);
	}
	ply_dircaches_stats(fs, &st);
	assert_in_range(st.bytes, 1, 20000);
	assert_in_range(st.caches, 1, 10);
	assert_non_null(d[0]->dir->cache);
	assert_null(d[1]->dir->cache);
	assert_non_null(d[19]->dir->cache);
	ply_dircache_put(fs, dc[0]);
	/* What was not used between two trims goes. */
	ply_dircaches_trim(fs);
	ply_dircaches_trim(fs);
	ply_dircaches_stats(fs, &st);
	assert_int_equal(st.caches, 0);
	assert_int_equal(st.bytes, 0);
	assert_int_equal(st.entries, 0);
	/* One that is too large alone is not read anew for each reply of its listing. */
	ply_dircaches_limit(fs, 1000);
	for (int i = 0; i < 100 && !d[4]->dir->cache; i++) {
		ply_dircache_put(fs, build(d[4]));
		ply_dircache_put(fs, build(d[5]));
	}
	assert_non_null(d[4]->dir->cache);
	/* A directory takes its cache along. */
	ply_dircache_put(fs, build(d[3]));
	for (int i = 0; i < 20; i++)
		ply_node_put(fs->graph, d[i]);
	ply_dircaches_stats(fs, &st);
	assert_int_equal(st.caches, 0);
	stage_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_counted),
		cmocka_unit_test(test_upped),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests_name("dircache", tests, NULL, NULL);
}
