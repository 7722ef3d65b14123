// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Each layer syscall of lookups and listings fails once: the errno arrives, and nothing that was not learnt is
 * remembered. An error is never "absent".
 */
// wrap: ply_sys_open ply_sys_open_beneath ply_sys_dup ply_sys_stat ply_sys_getxattr ply_sys_listxattr
// wrap: ply_sys_getxattr_alloc ply_sys_listxattr_alloc ply_sys_handle ply_sys_readdir
#include "unit.h"

#include "faults.h"
#include "stage.h"

static void stage_set(bool cache)
{
	const char *x = geteuid() ? "user" : "trusted";
	char cmd[2000];

	snprintf(cmd, sizeof(cmd),
		 "mkdir -p up/d l1/d l2/d/sub up/moved l2/old work && mknod up/gone c 0 0 && echo g >l1/gone && "
		 "echo f >l2/d/f && echo data >l2/meta && truncate -s 5 up/meta && echo h >l2/h1 && ln l2/h1 l2/d/h2 && "
		 "echo o >l2/old/o && : >l1/d/.wh.white && : >l2/d/white && "
		 "setfattr -n %s.overlay.metacopy up/meta && setfattr -n %s.overlay.redirect -v old up/moved", x, x);
	stage_begin(cmd);
	stage_open("l1 l2", true, ",fsync=0");
	if (cache) {
		struct ply_dircache *dc;

		pthread_rwlock_wrlock(&fs->root->dir->lock);
		assert_int_equal(ply_dircache_build(fs, fs->root, &dc), 0);
		pthread_rwlock_unlock(&fs->root->dir->lock);
		ply_dircache_put(fs, dc);
	}
}

static const struct { const char *path; int result; const char *content; } paths[] = {
	{ "d/f", 0, "f\n" }, { "d/sub", 0, NULL }, { "gone", -ENOENT, NULL }, { "meta", 0, "data\n" },
	{ "h1", 0, "h\n" }, { "d/h2", 0, "h\n" }, { "moved/o", 0, "o\n" }, { "d/white", -ENOENT, NULL },
	{ "none", -ENOENT, NULL }, { "d/none", -ENOENT, NULL },
};

static void test_lookup(void **state)
{
	static const int errnos[] = { EIO, ENOMEM, EACCES };

	(void)state;
	for (size_t i = 0; i < PLY_ARRAY_SIZE(paths); i++)
		for (int cache = 0; cache < 2; cache++)
			for (long n = 1;; n++) {
				const char *failed;
				int r, err = errnos[n % 3];

				stage_set(cache);
				faults_arm(n, err, FAULTS_ANY);
				r = stage_look(paths[i].path, NULL);
				failed = faults_disarm();
				/* Attributes of the overlay that may not be read (EACCES) may count as absent. */
				if (r != paths[i].result && (!failed || r != -err))
					fail_msg("%s: %s after %s failed", paths[i].path, strerror(-r), failed ? failed : "nothing");
				if (failed && r == paths[i].result && err != EACCES && strcmp(failed, "ply_sys_open") &&
				    strcmp(failed, "ply_sys_readdir") && strcmp(failed, "ply_sys_handle"))
					fail_msg("%s: nobody heard that %s failed", paths[i].path, failed);
				if (err != EACCES) {
					assert_int_equal(stage_look(paths[i].path, NULL), paths[i].result);
					if (paths[i].content)
						stage_content(paths[i].path, paths[i].content);
				}
				stage_end();
				if (!failed)
					break;
				assert_in_range(n, 1, 200);
			}
}

struct names {
	unsigned int n, bad;
};

static int emit(void *arg, const struct ply_readdir_entry *e)
{
	struct names *s = arg;

	s->n++;
	if (!strcmp(e->name, "white") || !strcmp(e->name, "gone"))
		s->bad++;
	if (e->node)
		ply_node_put(fs->graph, e->node);
	return 0;
}

/* A listing is complete or an error; what was hidden stays hidden. */
static void test_listing(void **state)
{
	(void)state;
	for (int plus = 0; plus < 2; plus++)
		for (int sub = 0; sub < 2; sub++)
			for (long n = 1;; n++) {
				struct names s = { 0 };
				struct ply_node *d;
				const char *failed;
				bool end = false;
				int r;

				stage_set(false);
				d = stage_node(sub ? "d" : "");
				faults_arm(n, EIO, FAULTS_ANY);
				r = ply_readdir(fs, d, 2, plus, 0, emit, &s, &end);
				failed = faults_disarm();
				assert_int_equal(s.bad, 0);
				if (failed && r)
					assert_int_equal(r, -EIO);
				else
					assert_int_equal(r, 0);
				if (!r && end)
					assert_int_equal(s.n, sub ? 3 : 5);
				s = (struct names){ 0 };
				assert_int_equal(ply_readdir(fs, d, 2, plus, 0, emit, &s, &end), 0);
				assert_int_equal(s.n, sub ? 3 : 5);
				assert_true(end);
				ply_node_put(fs->graph, d);
				stage_end();
				if (!failed)
					break;
				assert_in_range(n, 1, 200);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookup),
		cmocka_unit_test(test_listing),
	};

	return cmocka_run_group_tests_name("lookupfaults", tests, NULL, NULL);
}
