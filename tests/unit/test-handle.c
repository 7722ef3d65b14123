// SPDX-License-Identifier: GPL-2.0-or-later
/* An open file description: which file it reads while the union's file moves from layer to layer. */
#include "unit.h"

#include "open-union.h"

#include "copyup.h"

static struct ply_handle *open_cached(struct open_union *u, struct ply_node *n, int flags)
{
	struct ply_open_reply r;

	assert_int_equal(ply_backing_open(u->fs, n, flags, false, 1, &r), 0);
	assert_false(r.passthrough);
	return r.h;
}

static void test_reader_follows_a_copyup(void **state)
{
	struct ply_handle *r, *w;
	struct open_union u;
	struct ply_node *n;
	int before, after, again;

	(void)state;
	ou_make(&u, ",passthrough=off", 4);
	n = ou_find(&u, "text", 1);
	r = open_cached(&u, n, O_RDONLY);
	assert_int_equal(ply_handle_fd(u.fs, r, &before), 0);
	assert_int_equal(r->layer, 1);
	assert_int_equal(ply_handle_data_layer(u.fs, n), 1);
	w = open_cached(&u, n, O_WRONLY);
	assert_int_equal(w->layer, PLY_LAYER_UPPER);
	ou_writes(&u, w, "UPPER");
	ou_reads(&u, r, "UPPER text");
	assert_int_equal(ply_handle_fd(u.fs, r, &after), 0);
	assert_int_not_equal(before, after);
	/* who read through the old fd meanwhile still can */
	assert_true(fcntl(before, F_GETFD) >= 0);
	assert_int_equal(ply_handle_fd(u.fs, r, &again), 0);
	assert_int_equal(again, after);
	assert_int_equal(ply_io_write(u.fs, r, "x", 1, 0, false), -EBADF);
	ply_backing_release(u.fs, r);
	assert_true(fcntl(before, F_GETFD) < 0);
	ply_backing_release(u.fs, w);
	ply_node_put(u.fs->graph, n);
	ou_remove(&u);
}

static void test_metadata_does_not_switch(void **state)
{
	struct open_union u;
	struct ply_handle *r;
	struct ply_node *n;
	int before, after;

	(void)state;
	ou_make(&u, ",passthrough=off,metacopy=on", 4);
	n = ou_find(&u, "text", 1);
	r = open_cached(&u, n, O_RDONLY);
	assert_int_equal(ply_handle_fd(u.fs, r, &before), 0);
	assert_int_equal(ply_copyup(u.fs, n, PLY_COPYUP_META), 0);
	assert_int_equal(n->layer, PLY_LAYER_UPPER);
	assert_int_equal(ply_handle_data_layer(u.fs, n), 1);
	assert_int_equal(ply_handle_fd(u.fs, r, &after), 0);
	assert_int_equal(before, after);
	assert_int_equal(ply_copyup(u.fs, n, PLY_COPYUP_DATA), 0);
	assert_int_equal(ply_handle_data_layer(u.fs, n), PLY_LAYER_UPPER);
	ou_reads(&u, r, "lower text");
	assert_int_equal(ply_handle_fd(u.fs, r, &after), 0);
	assert_int_not_equal(before, after);
	ply_backing_release(u.fs, r);
	ply_node_put(u.fs->graph, n);
	ou_remove(&u);
}

/* A passthrough reader of an upper file has no fd before one is needed; one of a lower file keeps its file. */
static void test_passthrough_fds(void **state)
{
	struct ply_open_reply up, low;
	struct open_union u;
	struct ply_node *n;

	(void)state;
	ou_make(&u, "", 4);
	n = ou_find(&u, "elf", 1);
	assert_int_equal(ply_backing_open(u.fs, n, O_RDONLY, false, 1, &low), 0);
	assert_true(low.passthrough && low.h->shared_fd >= 0 && low.h->fd < 0);
	assert_int_equal(ply_copyup(u.fs, n, PLY_COPYUP_DATA), 0);
	ou_put(&u, "up/elf", "changed");
	ou_reads(&u, low.h, "\177ELF lower");
	assert_int_equal(ply_io_fsync(u.fs, low.h, false), 0);
	ply_backing_release(u.fs, low.h);
	assert_int_equal(ply_backing_open(u.fs, n, O_RDONLY, false, 1, &up), 0);
	assert_true(up.passthrough && up.h->shared_fd < 0 && up.h->fd < 0);
	ou_reads(&u, up.h, "changed");
	assert_true(up.h->fd >= 0);
	ply_backing_release(u.fs, up.h);
	ply_node_put(u.fs->graph, n);
	ou_remove(&u);
}

static void test_truncating_open(void **state)
{
	struct open_union u;
	struct ply_handle *w;
	struct ply_node *n;

	(void)state;
	ou_make(&u, ",passthrough=off", 4);
	n = ou_find(&u, "text", 1);
	w = open_cached(&u, n, O_RDWR | O_TRUNC);
	ou_reads(&u, w, "");
	ou_writes(&u, w, "new");
	ou_is(&u, "up/text", "new");
	ou_is(&u, "low/text", "lower text");
	assert_int_equal(ply_io_lseek(u.fs, w, 0, SEEK_HOLE), 3);
	assert_int_equal(ply_io_lseek(u.fs, w, 3, SEEK_DATA), -ENXIO);
	ply_backing_release(u.fs, w);
	ply_node_put(u.fs->graph, n);
	ou_remove(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reader_follows_a_copyup),
		cmocka_unit_test(test_metadata_does_not_switch),
		cmocka_unit_test(test_passthrough_fds),
		cmocka_unit_test(test_truncating_open),
	};

	return cmocka_run_group_tests_name("handle", tests, NULL, NULL);
}
