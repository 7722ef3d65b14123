// SPDX-License-Identifier: GPL-2.0-or-later
/* Listings: complete in any buffer size, while names come and go, d_ino and d_type as stat says. */
#include "unit.h"

#include "copyup.h"
#include "dirops.h"
#include "listers.h"
#include "stage.h"

#include <dirent.h>

static struct ply_cred cred;

/* Lists in pieces of `room` names. */
static size_t list_all(struct ply_node *dir, bool plus, size_t room, struct stage_names *all)
{
	struct stage_names *part = malloc(sizeof(*part));
	uint64_t off = 0;
	bool end;

	assert_non_null(part);
	memset(all, 0, sizeof(*all));
	do {
		end = stage_list(dir, off, plus, room, part);
		for (size_t i = 0; i < part->n; i++) {
			assert_true(all->n < PLY_ARRAY_SIZE(all->name));
			if (all->n)
				assert_true(part->off[i] > off);
			off = part->off[i];
			all->name[all->n] = part->name[i];
			all->ino[all->n] = part->ino[i];
			all->type[all->n] = part->type[i];
			all->off[all->n++] = part->off[i];
		}
	} while (!end || part->n);
	free(part);
	return all->n;
}

static void test_pieces(void **state)
{
	static const size_t rooms[] = { 1, 2, 3, 7, 64, 65, 4000 };
	struct stage_names *all = malloc(sizeof(*all));

	(void)state;
	stage_begin("mkdir -p l1 l2 up work && (cd l1 && seq 0 300 | xargs touch) && (cd l2 && seq 200 500 | xargs mkdir) && : >up/250");
	for (int writable = 0; writable < 2; writable++) {
		stage_open("l1 l2", writable, "");
		for (size_t i = 0; i < PLY_ARRAY_SIZE(rooms); i++) {
			bool seen[501] = { false };
			size_t n = list_all(fs->root, i & 1, rooms[i], all);

			assert_int_equal(n, 503);
			assert_string_equal(all->name[0], ".");
			assert_string_equal(all->name[1], "..");
			for (size_t k = 2; k < n; k++) {
				int num = atoi(all->name[k]);

				assert_false(seen[num]);
				seen[num] = true;
				assert_int_equal(all->type[k], num <= 300 ? DT_REG : DT_DIR);
			}
			stage_names_free(all);
		}
		stage_close();
	}
	stage_clear();
	free(all);
}

static void check_inos(struct ply_node *dir, bool plus)
{
	struct stage_names *all = malloc(sizeof(*all));
	size_t n = list_all(dir, plus, 10, all);

	for (size_t k = 2; k < n; k++) {
		struct ply_node *node;
		struct stat st;

		assert_int_equal(ply_lookup(fs, dir, all->name[k], &node, &st), 0);
		if (all->ino[k] != node->ino)
			fail_msg("%s: d_ino %llx, st_ino %llx", all->name[k], (unsigned long long)all->ino[k],
				 (unsigned long long)node->ino);
		assert_int_equal(all->type[k], IFTODT(st.st_mode));
		ply_node_put(fs->graph, node);
	}
	stage_names_free(all);
	free(all);
}

/* Before and after copy-up, and after a remount. */
static void test_inos(void **state)
{
	static const char *const names[] = { "d/f", "d/sub", "d/link", "d/g" };
	uint64_t ino[PLY_ARRAY_SIZE(names)];
	struct ply_node *d, *n, *out;
	struct stat st;

	(void)state;
	stage_begin("mkdir -p l1/d/sub l2/d/sub up/d work && echo f >l1/d/f && ln -s x l2/d/link && echo g >l2/d/g && "
		    "ln l2/d/g l2/d/h && echo own >up/d/own && mkdir up/d/owndir");
	stage_open("l1 l2", true, ",fsync=0");
	d = stage_node("d");
	check_inos(d, false);
	check_inos(d, true);
	for (size_t i = 0; i < PLY_ARRAY_SIZE(names); i++) {
		n = stage_node(names[i]);
		ino[i] = n->ino;
		if (n->type == S_IFDIR)
			assert_int_equal(ply_copyup_dir(fs, n), 0);
		else
			assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_DATA), 0);
		assert_int_equal(n->ino, ino[i]);
		ply_node_put(fs->graph, n);
	}
	assert_int_equal(ply_dirops_mkdir(fs, d, "made", 0755, &cred, &out, &st), 0);
	ply_node_put(fs->graph, out);
	check_inos(d, false);
	check_inos(d, true);
	ply_dircache_drop(fs, d);
	check_inos(d, false);
	ply_node_put(fs->graph, d);
	for (int round = 0; round < 2; round++) {
		stage_close();
		stage_open("l1 l2", true, ",fsync=0");
		d = stage_node("d");
		check_inos(d, round);
		ply_node_put(fs->graph, d);
		for (size_t i = 0; i < PLY_ARRAY_SIZE(names); i++) {
			n = stage_node(names[i]);
			assert_int_equal(n->ino, ino[i]);
			ply_node_put(fs->graph, n);
		}
	}
	stage_end();
}

/* A reader in the middle: what is there all the time is seen once, whatever happens to the rest. */
static void test_changing(void **state)
{
	struct stage_names *part = malloc(sizeof(*part));
	unsigned int seen[400] = { 0 };
	uint64_t off = 0;
	char name[16];
	int step = 0;
	bool end;

	(void)state;
	stage_begin("mkdir -p l1 up work && (cd l1 && seq 0 2 399 | xargs touch)");
	stage_open("l1", true, ",fsync=0");
	do {
		end = stage_list(fs->root, off, step & 1, 5, part);
		for (size_t i = 0; i < part->n; i++) {
			off = part->off[i];
			if (part->name[i][0] != '.')
				seen[atoi(part->name[i])]++;
		}
		if (step < 200) {
			struct ply_node *out;
			struct stat st;
			int fd;

			/* An odd name comes; one name in four goes. */
			snprintf(name, sizeof(name), "%d", step * 2 + 1);
			assert_int_equal(ply_dirops_create(fs, fs->root, name, 0644, O_RDWR, &cred, &fd, &out, &st), 0);
			close(fd);
			ply_node_put(fs->graph, out);
			if (step % 2) {
				snprintf(name, sizeof(name), "%d", step * 2);
				assert_int_equal(ply_dirops_unlink(fs, fs->root, name), 0);
			}
			if (step % 50 == 0)
				ply_dircache_drop(fs, fs->root);
		}
		step++;
		stage_names_free(part);
	} while (!end);
	for (int i = 0; i < 400; i++) {
		assert_in_range(seen[i], 0, 1);
		if (i % 4 == 0)
			assert_int_equal(seen[i], 1);
	}
	assert_true(fs->root->dir->lost_name);
	free(part);
	stage_end();
}

/* Broken names are listed; removed directories are empty. */
static void test_odd(void **state)
{
	struct stage_names *all = malloc(sizeof(*all));
	struct ply_node *d;

	(void)state;
	stage_begin("mkdir -p up l1/d work && truncate -s 5 up/broken && : >l1/d/x");
	sh(geteuid() ? "setfattr -n user.overlay.metacopy up/broken" : "setfattr -n trusted.overlay.metacopy up/broken");
	stage_open("l1", true, "");
	assert_int_equal(list_all(fs->root, true, 10, all), 4);
	stage_names_free(all);
	d = stage_node("d");
	atomic_store(&d->dir->removed, true);
	assert_int_equal(list_all(d, false, 10, all), 2);
	stage_names_free(all);
	ply_node_put(fs->graph, d);
	stage_end();
	free(all);
}

struct lister {
	bool looks;			/* at each name that came alone, when the reply is there */
	uint64_t last;
	size_t room, bare, nodes;
	char name[200][16];
};

static int lister_emit(void *arg, const struct ply_readdir_entry *e)
{
	struct lister *l = arg;

	if (!l->room)
		return 1;
	l->room--;
	l->last = e->off;
	if (e->node) {
		l->nodes++;
		ply_node_put(fs->graph, e->node);
	} else if (e->name[0] != '.') {
		snprintf(l->name[l->bare++], sizeof(l->name[0]), "%s", e->name);
	}
	return 0;
}

/* Lists the root as the kernel asks for it; how many names came with attributes. */
static size_t lister_run(pid_t pid, bool looks)
{
	struct lister *l = calloc(1, sizeof(*l));
	bool end = false;
	size_t nodes;

	assert_non_null(l);
	while (!end) {
		l->room = PLY_ARRAY_SIZE(l->name);
		l->bare = 0;
		assert_int_equal(ply_readdir(fs, fs->root, l->last, true, pid, lister_emit, l, &end), 0);
		for (size_t i = 0; looks && i < l->bare; i++)
			ply_listers_looked_up(fs->root, l->name[i]);
	}
	nodes = l->nodes;
	free(l);
	return nodes;
}

/* Whoever looks at nothing gets names only, before a big directory is at its end. */
static void test_listers(void **state)
{
	const size_t all = 25000;

	(void)state;
	stage_begin("mkdir -p l1 && (cd l1 && seq 1 25000 | xargs touch)");
	stage_open("l1", false, "");
	assert_in_range(lister_run(101, false), 1000, all / 2);
	/* At once, the next time. */
	assert_in_range(lister_run(101, false), 0, 200);
	/* Whoever looks gets all, but for what is left out now and then. */
	assert_in_range(lister_run(102, true), all - 50, all - 1);
	/* A thread that has looked may look once more, after the whole listing. */
	assert_in_range(lister_run(102, false), all - 50, all - 1);
	/* It does look: at any file that it was given the name of. */
	ply_listers_left_out(101, fs->root, NULL);
	ply_listers_looked_up(fs->root, "7");
	assert_in_range(lister_run(101, true), all - 50, all - 1);
	/* Nobody knows who it is. */
	assert_int_equal(lister_run(0, false), all);
	stage_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_inos),
		cmocka_unit_test(test_changing),
		cmocka_unit_test(test_odd),
		cmocka_unit_test(test_listers),
	};

	return cmocka_run_group_tests_name("readdir", tests, NULL, NULL);
}
