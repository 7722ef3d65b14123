// SPDX-License-Identifier: GPL-2.0-or-later
/* The graph: references, names, identities, forgets, hand-off; places of nodes and the fd cache on real layers. */
#include "unit.h"

#include "graph.h"
#include "stage.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>

static struct ply_layers none;

static struct ply_graph *graph(struct ply_node **root)
{
	struct ply_graph *g;

	ply_hash_init();
	assert_int_equal(ply_graph_new(&g, &none, 16), 0);
	assert_int_equal(ply_node_new_root(g, NULL, 0, true, root), 0);
	return g;
}

static struct ply_node *make(struct ply_graph *g, struct ply_node *parent, const char *name, mode_t type)
{
	struct ply_node *n, *have = NULL;

	assert_int_equal(ply_node_new_named(g, type, 77, PLY_LAYER_UPPER, NULL, 0, S_ISDIR(type), name, &n), 0);
	assert_int_equal(ply_name_add(g, parent, name, n, &have), 0);
	return n;
}

static uint64_t nodes(struct ply_graph *g)
{
	struct ply_graph_stats s;

	ply_graph_stats(g, &s);
	return s.nodes;
}

/* The tables grow and shrink bucket by bucket: everything is found at each size, and the memory goes. */
static void test_tables(void **state)
{
	enum { ALL = 3000 };
	struct ply_node *root, *n;
	struct ply_graph *g = graph(&root);
	struct ply_graph_stats s;
	uint64_t bytes, id[ALL];
	char name[16];

	(void)state;
	ply_graph_stats(g, &s);
	bytes = s.bytes;
	for (int i = 0; i < ALL; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		n = make(g, root, name, S_IFREG);
		id[i] = n->id;
		for (int k = i; k >= 0; k -= 1 + i / 8) {
			snprintf(name, sizeof(name), "n%d", k);
			n = ply_name_find(g, root, name);
			assert_int_equal(n->id, id[k]);
			ply_node_put(g, n);
			n = ply_node_get(g, id[k]);
			assert_int_equal(n->id, id[k]);
			ply_node_put(g, n);
		}
	}
	ply_graph_stats(g, &s);
	assert_int_equal(s.names, ALL);
	assert_in_range(s.bytes - bytes, 0, ALL * 160);
	for (int i = 0; i < ALL; i++) {
		n = ply_node_get(g, id[i]);
		ply_node_put(g, n);
		ply_node_put(g, n);
		for (int k = i; k < ALL; k += 1 + (ALL - i) / 8) {
			n = ply_node_get(g, id[k]);
			assert_int_equal(n != NULL, k != i);
			ply_node_put(g, n);
			snprintf(name, sizeof(name), "n%d", k);
			n = ply_name_find(g, root, name);
			assert_int_equal(n != NULL, k != i);
			ply_node_put(g, n);
		}
	}
	ply_graph_stats(g, &s);
	assert_int_equal(s.names, 0);
	assert_in_range(s.bytes, 0, 2 * bytes);
	ply_graph_free(g);
}

static void test_refs(void **state)
{
	struct ply_node *root, *d, *f, *again;
	struct ply_graph *g = graph(&root);
	uint64_t id;

	(void)state;
	d = make(g, root, "d", S_IFDIR);
	f = make(g, d, "f", S_IFREG);
	id = f->id;
	assert_int_equal(nodes(g), 3);
	/* The child's name keeps the directory. */
	ply_node_put(g, d);
	assert_int_equal(nodes(g), 3);
	again = ply_name_find(g, d, "f");
	assert_ptr_equal(again, f);
	ply_node_put(g, again);
	ply_node_lookup_inc(g, f);
	ply_node_lookup_inc(g, f);
	ply_node_put(g, f);
	assert_int_equal(nodes(g), 3);
	ply_node_forget(g, id, 1);
	assert_int_equal(nodes(g), 3);
	again = ply_node_get(g, id);
	assert_ptr_equal(again, f);
	ply_node_put(g, again);
	ply_node_forget(g, id, 1);
	assert_int_equal(nodes(g), 1);
	assert_null(ply_node_get(g, id));
	ply_node_forget(g, id, 5);		/* late or hostile */
	ply_node_forget(g, PLY_ROOT_ID, UINT64_MAX);
	again = ply_node_get(g, PLY_ROOT_ID);
	assert_ptr_equal(again, root);
	ply_node_put(g, again);
	d = make(g, root, "d", S_IFDIR);
	assert_true(d->id > id);		/* never used again */
	ply_node_put(g, d);
	ply_node_put(g, root);
	assert_int_equal(nodes(g), 1);
	ply_graph_free(g);
}

static void test_names(void **state)
{
	struct ply_node *root, *a, *b, *d, *have = NULL, *parent;
	struct ply_graph *g = graph(&root);
	char name[256];

	(void)state;
	a = make(g, root, "a", S_IFREG);
	b = make(g, root, "b", S_IFREG);
	d = make(g, root, "d", S_IFDIR);
	assert_int_equal(ply_name_add(g, root, "a", a, &have), 0);
	assert_int_equal(ply_name_add(g, root, "a", b, &have), -EEXIST);
	assert_ptr_equal(have, a);
	ply_node_put(g, have);
	memset(name, 'x', 255);
	name[255] = '\0';
	assert_int_equal(ply_name_add(g, d, name, a, &have), 0);
	assert_int_equal(ply_name_any(g, a, &parent, name), 0);
	assert_ptr_equal(parent, d);
	assert_int_equal(strlen(name), 255);
	ply_node_put(g, parent);

	/* Removing one name leaves the other; removing what is another's does nothing. */
	ply_name_remove(g, root, "a", b, false);
	assert_ptr_equal(ply_name_find(g, root, "a"), a);
	ply_node_put(g, a);
	ply_name_remove(g, root, "a", a, false);
	assert_null(ply_name_find(g, root, "a"));
	assert_false(a->flags & PLY_N_UNLINKED);
	ply_name_remove(g, d, name, a, true);
	assert_true(a->flags & PLY_N_UNLINKED);
	assert_int_equal(ply_name_any(g, a, &parent, name), -ENOENT);
	assert_null(ply_name_find(g, d, name));
	/* A link gives it a name again. */
	assert_int_equal(ply_name_add(g, root, "again", a, &have), 0);
	assert_false(a->flags & PLY_N_UNLINKED);

	ply_name_move(g, root, "b", d, ply_name_prepare("moved"), b);
	assert_null(ply_name_find(g, root, "b"));
	have = ply_name_find(g, d, "moved");
	assert_ptr_equal(have, b);
	ply_node_put(g, have);
	ply_name_exchange(g, d, "moved", b, ply_name_prepare("moved"), root, "again", a, ply_name_prepare("again"));
	have = ply_name_find(g, d, "moved");
	assert_ptr_equal(have, a);
	ply_node_put(g, have);
	have = ply_name_find(g, root, "again");
	assert_ptr_equal(have, b);
	ply_node_put(g, have);
	ply_node_put(g, a);
	ply_node_put(g, b);
	ply_node_put(g, d);
	assert_int_equal(nodes(g), 1);
	ply_graph_free(g);
}

static void test_idents(void **state)
{
	struct ply_node *root, *a, *b, *have = NULL;
	struct ply_graph *g = graph(&root);
	struct ply_graph_stats s;

	(void)state;
	a = make(g, root, "a", S_IFREG);
	b = make(g, root, "b", S_IFREG);
	for (uint64_t i = 0; i < 5000; i++)
		assert_int_equal(ply_ident_add(g, 3, i, i % 2 ? a : b, &have), 0);
	assert_int_equal(ply_ident_add(g, 4, 8, a, &have), 0);
	assert_int_equal(ply_ident_add(g, 3, 7, a, &have), 0);
	assert_int_equal(ply_ident_add(g, 3, 8, a, &have), -EEXIST);
	assert_ptr_equal(have, b);
	ply_node_put(g, have);
	ply_ident_drop(g, b);
	assert_null(ply_ident_find(g, 3, 8));
	have = ply_ident_find(g, 3, 9);
	assert_ptr_equal(have, a);
	ply_node_put(g, have);
	ply_node_put(g, a);
	ply_node_put(g, b);
	ply_graph_stats(g, &s);
	assert_int_equal(s.identities, 0);
	assert_int_equal(s.nodes, 1);
	ply_graph_free(g);
}

/* Whoever looked a name up may go by the sequence alone: it tells of everything that can change the answer. */
static void test_names_seq(void **state)
{
	struct ply_node *root, *a, *b, *n, *have = NULL;
	struct ply_graph *g = graph(&root);
	uint64_t seq = ply_graph_names_seq(g);

#define CHANGED(yes) do { assert_int_equal(ply_graph_names_seq(g) != seq, yes); seq = ply_graph_names_seq(g); } while (0)
	(void)state;
	a = make(g, root, "a", S_IFREG);
	CHANGED(true);
	b = make(g, root, "b", S_IFREG);
	CHANGED(true);
	n = ply_name_find(g, root, "a");
	ply_node_put(g, n);
	assert_null(ply_name_find(g, root, "c"));
	assert_int_equal(ply_name_add(g, root, "a", a, &have), 0);
	assert_int_equal(ply_name_add(g, root, "a", b, &have), -EEXIST);
	ply_node_put(g, have);
	CHANGED(false);
	ply_name_move(g, root, "a", root, ply_name_prepare("c"), a);
	CHANGED(true);
	ply_name_exchange(g, root, "c", a, ply_name_prepare("c"), root, "b", b, ply_name_prepare("b"));
	CHANGED(true);
	assert_int_equal(ply_node_handoff(g, a, &n), 0);
	CHANGED(true);
	ply_name_remove(g, root, "b", n, true);
	CHANGED(true);
	ply_name_remove(g, root, "c", b, false);
	CHANGED(true);
	ply_node_put(g, n);
	ply_node_put(g, a);
	ply_node_put(g, b);
	seq = ply_graph_names_seq(g);
	/* Forgotten: the name is there no more. */
	a = make(g, root, "a", S_IFREG);
	CHANGED(true);
	ply_node_put(g, a);
	CHANGED(true);
#undef CHANGED
	assert_int_equal(nodes(g), 1);
	ply_graph_free(g);
}

static void test_handoff(void **state)
{
	struct ply_node *root, *old, *new, *more, *have = NULL;
	struct ply_graph *g = graph(&root);

	(void)state;
	old = make(g, root, "f", S_IFREG);
	assert_int_equal(ply_name_add(g, root, "link", old, &have), 0);
	assert_int_equal(ply_ident_add(g, 0, 5, old, &have), 0);
	assert_int_equal(ply_node_handoff(g, old, &new), 0);
	assert_ptr_not_equal(old, new);
	assert_int_equal(old->ino, new->ino);
	assert_true(new->id > old->id);
	assert_true(old->flags & PLY_N_STALE);
	assert_false(new->flags & PLY_N_STALE);
	have = ply_name_find(g, root, "f");
	assert_ptr_equal(have, new);
	ply_node_put(g, have);
	have = ply_ident_find(g, 0, 5);
	assert_ptr_equal(have, new);
	ply_node_put(g, have);
	assert_int_equal(ply_node_handoff(g, old, &more), 0);
	assert_ptr_equal(more, new);
	ply_node_put(g, more);
	/* And once more: the chain is followed to its end. */
	assert_int_equal(ply_node_handoff(g, new, &more), 0);
	have = ply_node_current(g, old);
	assert_ptr_equal(have, more);
	ply_node_put(g, have);
	/* The names were in the memory of the first. */
	ply_node_put(g, old);
	ply_node_put(g, new);
	have = ply_name_find(g, root, "link");
	assert_ptr_equal(have, more);
	ply_node_put(g, have);
	ply_node_put(g, more);
	assert_int_equal(nodes(g), 1);
	ply_graph_free(g);
}

/* A path that no recursion would survive goes away in one put. */
static void test_deep(void **state)
{
	struct ply_node *root, *n;
	struct ply_graph *g = graph(&root);

	(void)state;
	n = ply_node_ref(g, root);
	for (int i = 0; i < 300000; i++) {
		struct ply_node *next = make(g, n, "d", S_IFDIR);

		ply_node_put(g, n);
		n = next;
	}
	assert_int_equal(nodes(g), 300001);
	ply_node_put(g, n);
	assert_int_equal(nodes(g), 1);
	ply_graph_free(g);
}

/* DESIGN: at most about 150 bytes a cached node and its name, and all of it comes back. */
static void test_memory(void **state)
{
	enum { FILES = 100000 };
	struct ply_node *root, *d;
	struct ply_graph *g = graph(&root);
	struct mallinfo2 before, full, after;
	uint64_t first;
	char name[32];

	(void)state;
	d = make(g, root, "d", S_IFDIR);
	before = mallinfo2();
	first = d->id + 1;
	for (int i = 0; i < FILES; i++) {
		struct ply_node *n;

		snprintf(name, sizeof(name), "file-%07d", i);
		n = make(g, d, name, S_IFREG);
		ply_node_lookup_inc(g, n);
		ply_node_put(g, n);
	}
	full = mallinfo2();
	for (uint64_t id = first; id < first + FILES; id++)
		ply_node_forget(g, id, 1);
	after = mallinfo2();
	assert_int_equal(nodes(g), 2);
	ply_node_put(g, d);
	ply_graph_free(g);
	if (full.uordblks == before.uordblks)
		skip();			/* an allocator of a sanitizer */
	assert_in_range(full.uordblks + full.hblkhd - before.uordblks - before.hblkhd, 1, 150 * FILES);
	assert_in_range(after.uordblks + after.hblkhd, 0, before.uordblks + before.hblkhd + 100000);
}

/* ---- many threads ---- */

struct race {
	struct ply_graph *g;
	struct ply_node *root;
	unsigned int seed;
};

static void *race_names(void *arg)
{
	struct race *r = arg;
	uint64_t s = r->seed;

	for (int i = 0; i < 20000; i++) {
		char name[8];
		struct ply_node *n, *have = NULL;

		snprintf(name, sizeof(name), "%u", (unsigned int)(rnd(&s) % 20));
		n = ply_name_find(r->g, r->root, name);
		if (!n) {
			assert_int_equal(ply_node_new_named(r->g, S_IFREG, 5, 0, NULL, 0, false, name, &n), 0);
			if (ply_name_add(r->g, r->root, name, n, &have) == -EEXIST) {
				ply_node_put(r->g, n);
				n = have;
			}
		}
		ply_node_lookup_inc(r->g, n);
		if (rnd(&s) % 8 == 0)
			ply_name_remove(r->g, r->root, name, n, false);
		ply_node_copyup_lock(r->g, n);
		ply_node_copyup_unlock(r->g, n);
		ply_node_forget(r->g, n->id, 1);
		ply_node_put(r->g, n);
	}
	return NULL;
}

static void test_race(void **state)
{
	struct ply_node *root;
	struct ply_graph *g = graph(&root);
	struct race r[4];
	pthread_t t[4];

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		r[i] = (struct race){ .g = g, .root = root, .seed = i + 1 };
		assert_int_equal(pthread_create(&t[i], NULL, race_names, &r[i]), 0);
	}
	for (unsigned int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(nodes(g), 1);
	ply_graph_free(g);
}

/* ---- places ---- */

static void test_places(void **state)
{
	struct ply_node *d, *e, *f;
	struct ply_loc loc = PLY_LOC_INIT;
	struct ply_buf path = { 0 };
	struct stat st;

	(void)state;
	stage_begin("mkdir -p l1/a/b/c l2/a/b/c && echo x >l2/a/b/c/f");
	stage_open("l1 l2", false, "");
	d = stage_node("a");
	e = stage_node("a/b/c");
	f = stage_node("a/b/c/f");
	fs->graph->max_fds = 0;
	assert_int_equal(ply_dir_path(fs->graph, e, &e->dir->lower[1], &path), 0);
	assert_string_equal(path.data, "a/b/c");
	path.len = 0;
	assert_int_equal(ply_node_locate(fs->graph, f, &loc), 0);
	assert_int_equal(loc.layer->index, 2);
	assert_string_equal(loc.name, "f");
	assert_int_equal(ply_sys_stat(loc.at, &st), 0);
	ply_loc_release(&loc);
	/* A directory that moves keeps its places in the lowers; so does all below it. */
	assert_int_equal(ply_dir_freeze(fs->graph, d), 0);
	ply_name_move(fs->graph, fs->root, "a", fs->root, ply_name_prepare("elsewhere"), d);
	assert_int_equal(ply_node_locate(fs->graph, f, &loc), 0);
	assert_int_equal(ply_sys_stat(loc.at, &st), 0);
	ply_loc_release(&loc);
	/* Removed from the union, but somebody has it open: the lower's name still leads there. */
	ply_name_remove(fs->graph, e, "f", f, true);
	assert_int_equal(ply_node_locate(fs->graph, f, &loc), 0);
	assert_int_equal(ply_sys_stat(loc.at, &st), 0);
	ply_loc_release(&loc);
	/* With a pin the name does not matter. */
	atomic_store(&f->layer, PLY_LAYER_UPPER);
	assert_int_equal(ply_node_locate(fs->graph, f, &loc), -ENOENT);
	ply_loc_release(&loc);
	assert_int_equal(ply_node_pin(fs->graph, f, PLY_FD(fs->layers.layer[1].fd)), 0);
	assert_int_equal(ply_node_locate(fs->graph, f, &loc), 0);
	assert_int_equal(loc.at.name[0], 0);
	ply_loc_release(&loc);
	ply_buf_free(&path);
	ply_node_put(fs->graph, d);
	ply_node_put(fs->graph, e);
	ply_node_put(fs->graph, f);
	assert_int_equal(nodes(fs->graph), 1);
	stage_end();
}

static void test_fd_limit(void **state)
{
	struct ply_graph_stats s;
	struct stat st;
	char path[64];

	(void)state;
	stage_begin("for i in 1 2 3 4 5 6 7 8 9; do for j in 1 2 3 4 5 6 7 8 9; do mkdir -p l1/$i/$j; : >l1/$i/$j/f; done; done; mkdir -p l2/1");
	stage_open("l1 l2", false, "");
	fs->graph->max_fds = 5;
	for (int round = 0; round < 3; round++)
		for (int i = 11; i < 100; i++) {
			if (i % 10 == 0)
				continue;
			snprintf(path, sizeof(path), "%d/%d/f", i / 10, i % 10);
			assert_int_equal(stage_look(path, &st), 0);
			ply_graph_stats(fs->graph, &s);
			assert_in_range(s.dirfds, 0, 5);
		}
	ply_graph_stats(fs->graph, &s);
	assert_int_equal(s.nodes, 1);
	stage_end();
}

/* Out of descriptors: those of directories that nobody uses make room for whoever opens something. */
static void test_fd_pressure(void **state)
{
	enum { LIMIT = 120, FILES = 90 };
	struct ply_node *dir[100] = { NULL };
	struct ply_graph_stats s;
	struct rlimit was, low;
	struct stat st;
	char path[64];
	int fd[FILES];

	(void)state;
	stage_begin("for i in 1 2 3 4 5 6 7 8 9; do for j in 1 2 3 4 5 6 7 8 9; do mkdir -p l1/$i/$j; : >l1/$i/$j/f; done; done; mkdir -p l2/1");
	stage_open("l1 l2", false, "");
	fs->graph->max_fds = 1000;
	getrlimit(RLIMIT_NOFILE, &was);
	low = was;
	low.rlim_cur = LIMIT;
	setrlimit(RLIMIT_NOFILE, &low);
	for (int i = 11; i < 100; i++) {
		if (i % 10 == 0)
			continue;
		snprintf(path, sizeof(path), "%d/%d/f", i / 10, i % 10);
		assert_int_equal(stage_look(path, &st), 0);
		path[3] = '\0';
		dir[i] = stage_node(path);
		assert_int_equal(stage_look(strcat(path, "/f"), &st), 0);
	}
	ply_graph_stats(fs->graph, &s);
	assert_true(s.dirfds > 50);
	for (int i = 0; i < FILES; i++) {
		fd[i] = ply_sys_open(PLY_AT(fs->layers.layer[1].fd, "1"), O_PATH, 0);
		assert_true(fd[i] >= 0);
	}
	for (int i = 0; i < FILES; i++)
		assert_int_equal(close(fd[i]), 0);
	for (int i = 0; i < 100; i++)
		ply_node_put(fs->graph, dir[i]);
	setrlimit(RLIMIT_NOFILE, &was);
	stage_end();
}

/* An upper directory that was removed is reached by its pinned fd, also when another one has its name. */
static void test_removed_dir(void **state)
{
	struct ply_node *d;
	struct ply_loc loc = PLY_LOC_INIT;
	struct stat st, was;

	(void)state;
	stage_begin("mkdir -p up/d work l1");
	stage_open("l1", true, "");
	d = stage_node("d");
	assert_int_equal(stage_look("d", &was), 0);
	assert_int_equal(ply_dirfd_pin(fs->graph, d), 0);
	fs->graph->max_fds = 0;
	atomic_store(&d->dir->removed, true);
	ply_name_remove(fs->graph, fs->root, "d", d, false);
	sh("mv up/d up/away && mkdir up/d");
	assert_int_equal(ply_node_locate(fs->graph, d, &loc), 0);
	assert_int_equal(ply_sys_stat(loc.at, &st), 0);
	assert_int_equal(st.st_ino, was.st_ino);
	ply_loc_release(&loc);
	assert_int_equal(stage_look("d/x", &st), -ENOENT);
	assert_int_equal(stage_look("d", &st), 0);
	assert_int_not_equal(st.st_ino, was.st_ino);
	ply_node_put(fs->graph, d);
	assert_int_equal(nodes(fs->graph), 1);
	stage_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refs),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_idents),
		cmocka_unit_test(test_names_seq),
		cmocka_unit_test(test_handoff),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_race),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_fd_limit),
		cmocka_unit_test(test_fd_pressure),
		cmocka_unit_test(test_removed_dir),
	};

	return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
