/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Layers and a work directory on a scratch directory: l1, l2, u, w. Include after unit.h. */
#ifndef PLY_TESTS_UNION_H
#define PLY_TESTS_UNION_H

#include "scratch.h"
#include "whiteout.h"
#include "workdir.h"

struct union_dirs {
	struct scratch s;
	struct ply_options o;
	char *lower[2];
	char path[4][300];
	struct ply_layers *ls;
	struct ply_workdir w;
	char err[512];
};

static inline void union_make(struct union_dirs *u)
{
	static const char *const names[] = { "l1", "l2", "u", "w" };

	memset(u, 0, sizeof(*u));
	scratch_make(&u->s);
	for (int i = 0; i < 4; i++) {
		scratch_dir(&u->s, names[i]);
		strcpy(u->path[i], u->s.path);
		strcat(strcat(u->path[i], "/"), names[i]);
	}
	u->lower[0] = u->path[0];
	u->lower[1] = u->path[1];
	u->o.lower = u->lower;
	u->o.nlower = 2;
	u->o.upper = u->path[2];
	u->o.work = u->path[3];
	u->o.index = PLY_AUTO;
	u->ls = calloc(1, sizeof(*u->ls));
	assert_non_null(u->ls);
}

static inline int union_try(struct union_dirs *u)
{
	int r;

	u->err[0] = '\0';
	assert_int_equal(ply_layers_open(u->ls, &u->o, u->err, sizeof(u->err)), 0);
	r = ply_workdir_open(&u->w, u->ls, &u->o, u->err, sizeof(u->err));
	if (r)
		ply_layers_close(u->ls);
	return r;
}

static inline void union_open(struct union_dirs *u)
{
	int r = union_try(u);

	if (r)
		print_error("%d: %s\n", r, u->err);
	assert_int_equal(r, 0);
}

static inline void union_close(struct union_dirs *u)
{
	ply_workdir_close(&u->w);
	ply_layers_close(u->ls);
}

static inline void union_remove(struct union_dirs *u)
{
	scratch_remove(&u->s);
	free(u->ls);
}

static inline int union_setup(void **state)
{
	struct union_dirs *u = calloc(1, sizeof(*u));

	if (!u)
		return -1;
	union_make(u);
	*state = u;
	return 0;
}

static inline int union_teardown(void **state)
{
	struct union_dirs *u = *state;

	union_remove(u);
	free(u);
	return 0;
}

#define union_test(f) cmocka_unit_test_setup_teardown(f, union_setup, union_teardown)

/* A test that makes and removes its own union, on a kernel that lacks the words. */
static inline int union_run_one(void *arg)
{
	const struct CMUnitTest t = { "masked", *(CMUnitTestFunction *)arg, union_setup, union_teardown, NULL };

	return _cmocka_run_group_tests("masked", &t, 1, NULL, NULL);
}

static inline void union_masked(const char *words, CMUnitTestFunction f)
{
	scratch_masked(words, union_run_one, &f);
}

#endif
