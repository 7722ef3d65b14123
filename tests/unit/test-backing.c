// SPDX-License-Identifier: GPL-2.0-or-later
/* The io mode of a file: every decision, every count, and what a failure leaves. */
#include "unit.h"

#include "open-union.h"

#include <pthread.h>
#include <stdatomic.h>

#define ME 100			/* threads */
#define OTHER 200

/* --- the decision, whole --- */

/* The rule once more, as a list: the first line that fits says the mode. '*': either. */
static const struct {
	const char *live;	/* c cached handles, p passthrough on the current data, o passthrough on old data, - none */
	char stale, pathless, write, eligible;
	enum ply_io_mode mode;
} rules[] = {
	/* the file is another node: who has a path goes there */
	{ "cpo-", 'y', 'n', '*', '*', PLY_IO_HANDOFF },
	/* live handles bind */
	{ "c", '*', '*', '*', '*', PLY_IO_CACHED },
	{ "p", '*', '*', '*', '*', PLY_IO_PASSTHROUGH },
	{ "o", 'n', 'n', '*', '*', PLY_IO_HANDOFF },
	{ "o", '*', 'y', 'n', '*', PLY_IO_PASSTHROUGH },
	{ "o", '*', 'y', 'y', '*', PLY_IO_BUSY },
	/* free to choose */
	{ "-", '*', '*', '*', 'y', PLY_IO_PASSTHROUGH },
	{ "-", '*', '*', '*', 'n', PLY_IO_CACHED },
};

static bool fits(char want, bool have)
{
	return want == '*' || (want == 'y') == have;
}

static enum ply_io_mode by_rules(char live, const struct ply_io_state *s)
{
	for (size_t i = 0; i < PLY_ARRAY_SIZE(rules); i++)
		if (strchr(rules[i].live, live) && fits(rules[i].stale, s->stale) && fits(rules[i].pathless, s->pathless) &&
		    fits(rules[i].write, s->wants_write) && fits(rules[i].eligible, s->eligible))
			return rules[i].mode;
	fail_msg("no rule");
	return PLY_IO_BUSY;
}

static void test_decide(void **state)
{
	unsigned int seen = 0;

	(void)state;
	for (const char *live = "cpo-"; *live; live++) {
		for (unsigned int bits = 0; bits < 16; bits++) {
			for (unsigned int n = 1; n < 4; n++) {
				struct ply_io_state s = {
					.cached = *live == 'c' ? n : 0,
					.passthrough = *live == 'p' || *live == 'o' ? n : 0,
					.pt_stale = *live == 'o',
					.stale = bits & 1, .pathless = bits & 2, .wants_write = bits & 4, .eligible = bits & 8,
				};
				enum ply_io_mode m = ply_backing_decide(&s);

				assert_int_equal(m, by_rules(*live, &s));
				seen |= 1u << m;
				/* What the kernel answers with EIO, or would write into the lower layer. */
				if (s.passthrough)
					assert_int_not_equal(m, PLY_IO_CACHED);
				if (s.cached)
					assert_int_not_equal(m, PLY_IO_PASSTHROUGH);
				if (s.passthrough && s.pt_stale && s.wants_write)
					assert_int_not_equal(m, PLY_IO_PASSTHROUGH);
			}
		}
	}
	assert_int_equal(seen, 15);
}

/* --- opens --- */

static int open_as(struct open_union *u, const char *path, int flags, pid_t pid, struct ply_open_reply *r)
{
	struct ply_node *n = ou_find(u, path, pid);
	int err = ply_backing_open(u->fs, n, flags, false, pid, r);

	ply_node_put(u->fs->graph, n);
	return err;
}

static void close_it(struct open_union *u, struct ply_open_reply *r)
{
	ply_backing_release(u->fs, r->h);
}

static void test_policy(void **state)
{
	static const struct { const char *more, *path; int flags; bool passthrough; } t[] = {
		{ "", "text", O_RDONLY, false },
		{ "", "text", O_RDONLY | 0x20, true },
		{ "", "elf", O_RDONLY, true },
		{ "", "usr/big", O_RDONLY, true },
		{ "", "usr/small", O_RDONLY, false },
		{ "", "text", O_RDWR, true },
		{ "", "text", O_WRONLY | O_TRUNC, true },
		{ ",static=/opt", "usr/big", O_RDONLY, false },
		{ ",static=/us", "usr/big", O_RDONLY, false },
		{ ",static=/opt:/usr/", "usr/big", O_RDONLY, true },
		{ ",static=/usr/big", "usr/big", O_RDONLY, true },
		{ ",passthrough=full", "text", O_RDONLY, true },
		{ ",passthrough=off", "elf", O_RDONLY, false },
		{ ",passthrough=off", "text", O_RDWR, false },
		{ ",ro", "text", O_RDONLY, true },
	};

	(void)state;
	for (size_t i = 0; i < PLY_ARRAY_SIZE(t); i++) {
		struct ply_open_reply r;
		struct open_union u;

		ou_make(&u, t[i].more, 8);
		assert_int_equal(open_as(&u, t[i].path, t[i].flags, ME, &r), 0);
		if (r.passthrough != t[i].passthrough)
			fail_msg("row %zu: passthrough %d", i, r.passthrough);
		assert_int_equal(r.backing_id > 0, t[i].passthrough);
		assert_int_equal(r.keep_cache, !t[i].passthrough);
		assert_false(r.direct_io);
		close_it(&u, &r);
		ou_idle(&u, t[i].passthrough);
		ou_is(&u, "low/text", "lower text");
		ou_remove(&u);
	}
}

static void test_ids_are_kept(void **state)
{
	struct ply_open_reply a, b, c;
	struct open_union u;

	(void)state;
	ou_make(&u, "", 2);
	assert_int_equal(open_as(&u, "elf", O_RDONLY, ME, &a), 0);
	assert_int_equal(open_as(&u, "elf", O_RDONLY | 0x20, OTHER, &b), 0);
	assert_int_equal(a.backing_id, b.backing_id);
	assert_int_equal(u.calls, 1);
	close_it(&u, &a);
	assert_int_equal(u.nopen, 1);
	close_it(&u, &b);
	ou_idle(&u, 1);
	/* again: no call */
	assert_int_equal(open_as(&u, "elf", O_RDONLY, ME, &a), 0);
	assert_int_equal(a.backing_id, b.backing_id);
	assert_int_equal(u.calls, 1);
	/* two more files: the one that nobody used longest goes, never one in use */
	assert_int_equal(open_as(&u, "usr/big", O_RDONLY, ME, &b), 0);
	assert_int_equal(open_as(&u, "text", O_RDWR, ME, &c), 0);
	close_it(&u, &b);
	close_it(&u, &c);
	assert_int_equal(u.nopen, 3);
	close_it(&u, &a);
	ou_idle(&u, 2);
	assert_false(u.is_open[b.backing_id]);
	assert_true(u.is_open[a.backing_id] && u.is_open[c.backing_id]);
	ou_remove(&u);
	assert_int_equal(u.nopen, 2);	/* went with the connection */
}

static void test_handoff(void **state)
{
	struct ply_open_reply old, old2, w, r;
	struct ply_node *n, *next;
	struct open_union u;

	(void)state;
	ou_make(&u, "", 8);
	n = ou_find(&u, "elf", ME);
	assert_int_equal(ply_backing_open(u.fs, n, O_RDONLY, false, ME, &old), 0);
	assert_true(old.passthrough);
	assert_int_equal(ply_backing_open(u.fs, n, O_RDWR, false, ME, &w), -ESTALE);
	/* the thread looks the path up again, and finds another node of the same number */
	next = ou_find(&u, "elf", ME);
	assert_ptr_not_equal(next, n);
	assert_int_equal(next->ino, n->ino);
	assert_int_equal(ply_backing_open(u.fs, next, O_RDWR, false, ME, &w), 0);
	assert_true(w.passthrough);
	assert_int_not_equal(w.backing_id, old.backing_id);
	ou_writes(&u, w.h, "XXXX");
	ou_reads(&u, old.h, "\177ELF lower");
	ou_is(&u, "low/elf", "\177ELF lower");
	ou_is(&u, "up/elf", "XXXX lower");
	/* the second name of a hard link still leads to the old node: another thread, then itself after a lookup */
	assert_int_equal(ply_backing_open(u.fs, n, O_RDONLY, false, OTHER, &r), -ESTALE);
	ply_node_put(u.fs->graph, ou_find(&u, "elf", OTHER));
	assert_int_equal(ply_backing_open(u.fs, n, O_RDONLY, false, OTHER, &r), -ESTALE);
	/* no lookup between: /proc/self/fd. A reader shares the snapshot, a writer is refused. */
	assert_int_equal(ply_backing_open(u.fs, n, O_RDONLY, false, OTHER, &old2), 0);
	assert_int_equal(old2.backing_id, old.backing_id);
	assert_int_equal(ply_backing_open(u.fs, n, O_WRONLY, false, OTHER, &r), -ESTALE);
	assert_int_equal(ply_backing_open(u.fs, n, O_WRONLY, false, OTHER, &r), -ETXTBSY);
	/* truncate(2) of the old node by path goes to the new one; the second time there is no path */
	assert_int_equal(ply_backing_check_setsize(u.fs, n, 3, ME), -ESTALE);
	assert_int_equal(ply_backing_check_setsize(u.fs, n, 3, ME), 0);
	assert_int_equal(ply_backing_check_setsize(u.fs, next, 3, ME), 0);
	close_it(&u, &old2);
	close_it(&u, &old);
	assert_false(u.is_open[old.backing_id]);
	/* the old node without old readers, and no path: the new file itself */
	assert_int_equal(ply_backing_open(u.fs, n, O_RDONLY, false, OTHER, &r), -ESTALE);
	assert_int_equal(ply_backing_open(u.fs, n, O_RDWR, false, OTHER, &r), 0);
	ou_reads(&u, r.h, "XXXX lower");
	close_it(&u, &r);
	close_it(&u, &w);
	ou_idle(&u, 1);
	ply_node_put(u.fs->graph, n);
	ply_node_put(u.fs->graph, next);
	ou_remove(&u);
}

#define HANDED 60		/* each takes an id */

struct looker {
	struct open_union *u;
	atomic_uint file;
	atomic_int wrong;
};

static void *look_up(void *arg)
{
	struct looker *l = arg;
	struct ply_graph *g = l->u->fs->graph;
	struct ply_node *n;
	unsigned int i;
	struct stat st;
	char name[16];
	int r;

	while ((i = atomic_load(&l->file)) < HANDED && !atomic_load(&l->wrong)) {
		snprintf(name, sizeof(name), "f%u", i);
		r = ply_lookup(l->u->fs, l->u->fs->root, name, &n, &st);
		if (r)
			atomic_store(&l->wrong, r);
		else
			ply_node_put(g, n);
	}
	return NULL;
}

/* A name is there throughout while its file gets a new node. */
static void test_lookup_during_handoff(void **state)
{
	struct looker l = { 0 };
	struct ply_open_reply old, w;
	struct open_union u;
	pthread_t t[2];
	char name[32];

	(void)state;
	for (int turn = 0; turn < 10; turn++) {
		ou_make(&u, ",passthrough=full", 8);
		l.u = &u;
		for (unsigned int i = 0; i < HANDED; i++) {
			snprintf(name, sizeof(name), "low/f%u", i);
			ou_put(&u, name, "lower");
		}
		atomic_store(&l.file, 0);
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&t[i], NULL, look_up, &l), 0);
		for (unsigned int i = 0; i < HANDED && !atomic_load(&l.wrong); i++) {
			struct ply_node *n;

			atomic_store(&l.file, i);
			snprintf(name, sizeof(name), "f%u", i);
			n = ou_find(&u, name, ME);
			assert_int_equal(ply_backing_open(u.fs, n, O_RDONLY, false, ME, &old), 0);
			assert_int_equal(ply_backing_open(u.fs, n, O_RDWR, false, ME, &w), -ESTALE);
			close_it(&u, &old);
			ply_node_put(u.fs->graph, n);
		}
		atomic_store(&l.file, HANDED);
		for (int i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		if (atomic_load(&l.wrong))
			fail_msg("%s: %s", name, strerror(-atomic_load(&l.wrong)));
		ou_remove(&u);
	}
}

static void test_setsize_hands_off(void **state)
{
	struct ply_open_reply old;
	struct ply_node *n, *next;
	struct open_union u;

	(void)state;
	ou_make(&u, "", 8);
	n = ou_find(&u, "elf", ME);
	assert_int_equal(ply_backing_check_setsize(u.fs, n, 0, ME), 0);
	assert_int_equal(ply_backing_open(u.fs, n, O_RDONLY, false, ME, &old), 0);
	assert_int_equal(ply_backing_check_setsize(u.fs, n, 2, ME), -ESTALE);
	next = ou_find(&u, "elf", ME);
	assert_ptr_not_equal(next, n);
	ou_reads(&u, old.h, "\177ELF lower");
	close_it(&u, &old);
	ou_idle(&u, 0);
	ply_node_put(u.fs->graph, n);
	ply_node_put(u.fs->graph, next);
	ou_remove(&u);
}

static void test_cached_stays_cached(void **state)
{
	struct ply_open_reply r, w, x;
	struct open_union u;

	(void)state;
	ou_make(&u, "", 8);
	assert_int_equal(open_as(&u, "text", O_RDONLY, ME, &r), 0);
	assert_false(r.passthrough);
	assert_int_equal(open_as(&u, "text", O_RDWR, ME, &w), 0);
	assert_false(w.passthrough);
	assert_int_equal(open_as(&u, "text", O_RDONLY | 0x20, ME, &x), 0);
	assert_false(x.passthrough);
	ou_writes(&u, w.h, "UPPER");
	ou_reads(&u, r.h, "UPPER text");
	ou_is(&u, "low/text", "lower text");
	close_it(&u, &r);
	close_it(&u, &w);
	close_it(&u, &x);
	ou_idle(&u, 0);
	/* nobody left: upper files are passthrough */
	assert_int_equal(open_as(&u, "text", O_RDONLY, ME, &r), 0);
	assert_true(r.passthrough);
	ou_reads(&u, r.h, "UPPER text");
	close_it(&u, &r);
	ou_remove(&u);
}

static void test_refused(void **state)
{
	static const struct { int err; bool lasting; } t[] = {
		{ -ELOOP, true }, { -EPERM, true }, { -ENOMEM, false }, { -ENFILE, false }, { -EAGAIN, false },
	};

	(void)state;
	for (size_t i = 0; i < PLY_ARRAY_SIZE(t); i++) {
		struct ply_open_reply r, s;
		struct open_union u;

		ou_make(&u, "", 8);
		u.refuse = t[i].err;
		assert_int_equal(open_as(&u, "elf", O_RDONLY, ME, &r), 0);
		assert_false(r.passthrough);
		u.refuse = 0;
		/* the first handle binds the second */
		assert_int_equal(open_as(&u, "elf", O_RDONLY, ME, &s), 0);
		assert_false(s.passthrough);
		close_it(&u, &r);
		close_it(&u, &s);
		ou_idle(&u, 0);
		assert_int_equal(open_as(&u, "elf", O_RDONLY, ME, &r), 0);
		assert_int_equal(r.passthrough, !t[i].lasting);
		close_it(&u, &r);
		ou_remove(&u);
	}
}

/* What the kernel cached of a file while that was open in passthrough is not kept: writes did not come by there. */
static void test_cached_after_passthrough(void **state)
{
	struct ply_open_reply a, b;
	struct open_union u;

	(void)state;
	ou_make(&u, "", 1);
	assert_int_equal(open_as(&u, "text", O_RDWR, ME, &a), 0);
	assert_true(a.passthrough);
	close_it(&u, &a);
	/* The one id that is kept goes to another file. */
	assert_int_equal(open_as(&u, "elf", O_RDONLY, ME, &b), 0);
	close_it(&u, &b);
	u.refuse = -ENFILE;
	assert_int_equal(open_as(&u, "text", O_RDONLY, ME, &a), 0);
	assert_false(a.passthrough);
	assert_false(a.keep_cache);
	close_it(&u, &a);
	/* One that never was keeps it. */
	assert_int_equal(open_as(&u, "usr/small", O_RDONLY, ME, &a), 0);
	assert_true(a.keep_cache);
	close_it(&u, &a);
	ou_remove(&u);
}

/* An open whose file cannot be had leaves no count. */
static void test_failed_open(void **state)
{
	struct ply_open_reply r;
	struct open_union u;
	struct ply_node *n;
	char path[512];

	(void)state;
	ou_make(&u, "", 8);
	n = ou_find(&u, "text", ME);
	snprintf(path, sizeof(path), "%s/low/text", u.base);
	assert_int_equal(unlink(path), 0);
	assert_true(ply_backing_open(u.fs, n, O_RDONLY, false, ME, &r) < 0);
	assert_true(ply_backing_open(u.fs, n, O_RDONLY | 0x20, false, ME, &r) < 0);
	assert_true(ply_backing_open(u.fs, n, O_RDWR, false, ME, &r) < 0);
	ou_idle(&u, 0);
	assert_int_equal(u.calls, 0);
	ply_node_put(u.fs->graph, n);
	n = ply_node_ref(u.fs->graph, u.fs->root);
	assert_int_equal(ply_backing_open(u.fs, n, O_RDONLY, false, ME, &r), -EISDIR);
	ply_node_put(u.fs->graph, n);
	ou_remove(&u);
}

/* What could be written through a mapping has no attributes that can be kept. */
static void test_volatile_attributes(void **state)
{
	struct ply_open_reply r;
	struct open_union u;
	struct ply_node *n;

	(void)state;
	ou_make(&u, "", 8);
	n = ou_find(&u, "text", ME);
	assert_false(ply_backing_attr_volatile(u.fs, n));
	assert_int_equal(ply_backing_open(u.fs, n, O_WRONLY, false, ME, &r), 0);
	assert_false(ply_backing_attr_volatile(u.fs, n));
	close_it(&u, &r);
	u.invals = 0;
	assert_int_equal(ply_backing_open(u.fs, n, O_RDWR, false, ME, &r), 0);
	assert_int_equal(u.invals, 1);
	assert_true(ply_backing_attr_volatile(u.fs, n));
	close_it(&u, &r);
	assert_int_equal(u.invals, 2);
	/* once more, since these could have been read before the last store; then never again */
	assert_true(ply_backing_attr_volatile(u.fs, n));
	if (geteuid() == 0)
		assert_false(ply_backing_attr_volatile(u.fs, n));
	ply_node_put(u.fs->graph, n);
	ou_remove(&u);
}

/* The daemon ends while files are open: nothing is lost on the way (a sanitizer looks). */
static void test_end_with_open_files(void **state)
{
	struct ply_open_reply a, b, c;
	struct open_union u;

	(void)state;
	ou_make(&u, "", 8);
	assert_int_equal(open_as(&u, "elf", O_RDONLY, ME, &a), 0);
	assert_int_equal(open_as(&u, "text", O_RDONLY, ME, &b), 0);
	assert_int_equal(open_as(&u, "usr/small", O_RDWR, ME, &c), 0);
	ou_remove(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decide),
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_ids_are_kept),
		cmocka_unit_test(test_handoff),
		cmocka_unit_test(test_lookup_during_handoff),
		cmocka_unit_test(test_setsize_hands_off),
		cmocka_unit_test(test_cached_stays_cached),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cached_after_passthrough),
		cmocka_unit_test(test_failed_open),
		cmocka_unit_test(test_volatile_attributes),
		cmocka_unit_test(test_end_with_open_files),
	};

	return cmocka_run_group_tests_name("backing", tests, NULL, NULL);
}
