// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Threads look up, list, create, remove, rename and copy up in a small union at the same time: no error that could not
 * be, no reference left over, and after a remount the tree is the same.
 */
#include "unit.h"

#include "copyup.h"
#include "dirops.h"
#include "rename.h"
#include "stage.h"

#include <dirent.h>
#include <pthread.h>

enum { THREADS = 4, STEPS = 4000, DIRS = 3, NAMES = 6 };

static struct ply_cred cred;
static _Atomic(const char *) wrong;
static atomic_int wrong_errno;

static void check(const char *what, int r, int a, int b, int c)
{
	if (!r || r == a || r == b || r == c)
		return;
	atomic_store(&wrong_errno, -r);
	atomic_store(&wrong, what);
}

static struct ply_node *get_dir(unsigned int i)
{
	struct ply_node *n = NULL;
	struct stat st;
	char name[16];

	snprintf(name, sizeof(name), "d%u", i);
	return stage_walk(name, &n, &st) ? NULL : n;
}

static void one_step(uint64_t *s, struct stage_names *names)
{
	struct ply_node *d = get_dir((unsigned int)(rnd(s) % DIRS)), *e, *n = NULL;
	char name[16], other[16];
	unsigned int what = rnd(s) % 12;
	struct stat st;
	int fd, r;

	if (!d) {
		check("directory", -ENOENT, 0, 0, 0);
		return;
	}
	snprintf(name, sizeof(name), "n%u", (unsigned int)(rnd(s) % NAMES));
	snprintf(other, sizeof(other), "n%u", (unsigned int)(rnd(s) % NAMES));
	switch (what) {
	case 0:
	case 1:
		r = ply_dirops_create(fs, d, name, 0644, O_RDWR, &cred, &fd, &n, &st);
		check("create", r, -EEXIST, 0, 0);
		if (!r)
			close(fd);
		break;
	case 2:
		check("mkdir", r = ply_dirops_mkdir(fs, d, name, 0755, &cred, &n, &st), -EEXIST, 0, 0);
		break;
	case 3:
		r = -1;
		check("unlink", ply_dirops_unlink(fs, d, name), -ENOENT, -EISDIR, 0);
		break;
	case 4:
		r = -1;
		check("rmdir", ply_dirops_rmdir(fs, d, name), -ENOENT, -ENOTDIR, -ENOTEMPTY);
		break;
	case 5:
	case 6:
		r = -1;
		e = get_dir((unsigned int)(rnd(s) % DIRS));
		check("rename", ply_rename(fs, d, name, e, other, rnd(s) % 4 ? 0 : RENAME_EXCHANGE), -ENOENT, -EISDIR, -ENOTDIR);
		ply_node_put(fs->graph, e);
		break;
	case 7:
		r = ply_lookup(fs, d, name, &n, &st);
		check("lookup", r, -ENOENT, 0, 0);
		if (!r && n->type == S_IFREG)
			check("copy-up", ply_copyup(fs, n, PLY_COPYUP_DATA), -ESTALE, -ENOENT, 0);
		break;
	case 8:
		r = -1;
		stage_list(d, 0, rnd(s) % 2, 100, names);
		for (size_t i = 2; i < names->n; i++)
			for (size_t k = i + 1; k < names->n; k++)
				if (!strcmp(names->name[i], names->name[k]))
					check("listed twice", -EIO, 0, 0, 0);
		stage_names_free(names);
		break;
	case 9:
		r = -1;
		ply_dircache_drop(fs, d);
		break;
	default:
		r = ply_lookup(fs, d, name, &n, &st);
		check("lookup", r, -ENOENT, 0, 0);
		if (!r && (st.st_mode & S_IFMT) != n->type)
			check("type", -EIO, 0, 0, 0);
		break;
	}
	if (!r) {
		ply_node_lookup_inc(fs->graph, n);
		ply_node_forget(fs->graph, n->id, 1);
		ply_node_put(fs->graph, n);
	}
	ply_node_put(fs->graph, d);
}

static void *worker(void *arg)
{
	struct stage_names *names = malloc(sizeof(*names));
	uint64_t s = *(unsigned int *)arg;

	for (int i = 0; i < STEPS && !atomic_load(&wrong) && names; i++)
		one_step(&s, names);
	free(names);
	return NULL;
}

static void dump(struct ply_buf *out)
{
	for (unsigned int i = 0; i < DIRS; i++) {
		struct ply_node *d = get_dir(i);

		assert_non_null(d);
		for (unsigned int k = 0; k < NAMES; k++) {
			struct ply_node *n;
			struct stat st;
			char name[16];
			int r;

			snprintf(name, sizeof(name), "n%u", k);
			r = ply_lookup(fs, d, name, &n, &st);
			assert_true(!r || r == -ENOENT);
			ply_buf_printf(out, "d%u/%s: %o %llx\n", i, name, r ? 0 : n->type, r ? 0 : (unsigned long long)n->ino);
			if (!r)
				ply_node_put(fs->graph, n);
		}
		ply_node_put(fs->graph, d);
	}
}

static void test_threads(void **state)
{
	ply_autobuf live = { 0 }, again = { 0 };
	struct ply_graph_stats gs;
	unsigned int seed[THREADS];
	pthread_t t[THREADS];

	(void)state;
	stage_begin("mkdir -p l1/d0 l1/d1 l2/d1 l2/d2/n1 up/d0 work && for i in 0 1 2 3 4 5; do echo $i >l1/d0/n$i; echo $i >l2/d1/n$i; done && "
		    "ln l1/d0/n0 l1/d1/n0 && mkdir l1/d1/n5");
	stage_open("l1 l2", true, ",fsync=0,redirect_dir=on");
	for (unsigned int i = 0; i < THREADS; i++) {
		seed[i] = i * 77 + 5;
		assert_int_equal(pthread_create(&t[i], NULL, worker, &seed[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	if (atomic_load(&wrong))
		fail_msg("%s: %s", atomic_load(&wrong), strerror(atomic_load(&wrong_errno)));
	ply_graph_stats(fs->graph, &gs);
	assert_int_equal(gs.nodes, 1);
	assert_int_equal(gs.identities, 0);
	dump(&live);
	stage_close();
	stage_open("l1 l2", true, ",fsync=0,redirect_dir=on");
	dump(&again);
	assert_string_equal(live.data, again.data);
	stage_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("graphrace", tests, NULL, NULL);
}
