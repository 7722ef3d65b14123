// SPDX-License-Identifier: GPL-2.0-or-later
//
// wrap: ply_sys_open ply_sys_open_beneath ply_sys_dup ply_sys_stat ply_sys_statfs ply_sys_fs_magic
// wrap: ply_sys_mkdir ply_sys_mknod ply_sys_symlink ply_sys_tmpfile ply_sys_link ply_sys_unlink ply_sys_rmdir
// wrap: ply_sys_rename ply_sys_readlink ply_sys_chown ply_sys_chmod ply_sys_utimens ply_sys_ftruncate
// wrap: ply_sys_getxattr ply_sys_setxattr ply_sys_listxattr ply_sys_removexattr ply_sys_getxattr_alloc
// wrap: ply_sys_listxattr_alloc ply_sys_readdir
#include "unit.h"
#include "faults.h"
#include "union.h"

#include <errno.h>
#include <sys/xattr.h>

/* What the module itself says is at `name` of u. */
static int check(struct union_dirs *u, const char *name)
{
	struct ply_layer *l = u->ls->upper;
	struct stat st;
	int fd = scratch_open(&u->s, "u"), r;

	r = ply_sys_stat(PLY_AT(fd, name), &st);
	assert_true(!r || r == -ENOENT || r == -ENAMETOOLONG);
	r = ply_whiteout_check(l, fd, ply_layer_opaque(l, PLY_FD(fd)) == 'x', name, r ? NULL : &st);
	close(fd);
	return r;
}

static int upper_fd(struct union_dirs *u)
{
	return scratch_open(&u->s, "u");
}

/* Whichever form: made, seen, not made twice, removed. */
static void life_of_a_whiteout(void **state)
{
	struct union_dirs *u = *state;
	int fd = upper_fd(u);

	union_open(u);
	assert_int_equal(check(u, "a"), 0);
	assert_int_equal(ply_whiteout_create(&u->w, fd, "a"), 0);
	assert_int_equal(check(u, "a"), 1);
	assert_int_equal(check(u, "b"), 0);
	if (u->w.whiteout_form != PLY_WH_AUFS)
		assert_int_equal(ply_whiteout_create(&u->w, fd, "a"), -EEXIST);
	scratch_file(&u->s, "u/b", "");
	assert_int_equal(check(u, "b"), 0);
	assert_int_equal(ply_whiteout_create(&u->w, fd, "b"), -EEXIST);
	assert_int_equal(ply_whiteout_remove(&u->w, fd, "a"), 0);
	assert_int_equal(check(u, "a"), 0);
	assert_int_equal(ply_whiteout_remove(&u->w, fd, "a"), -ENOENT);
	/* Never the object. */
	assert_int_equal(ply_whiteout_remove(&u->w, fd, "b"), -ENOENT);
	assert_true(scratch_has(&u->s, "u/b"));
	union_close(u);
	assert_int_equal(scratch_count(&u->s, "w/work"), 0);
	close(fd);
}

static void replacing_a_file(void **state)
{
	struct union_dirs *u = *state;
	int fd = upper_fd(u);

	union_open(u);
	scratch_file(&u->s, "u/f", "x");
	assert_int_equal(symlinkat("f", fd, "l"), 0);
	assert_int_equal(ply_whiteout_replace(&u->w, fd, "f"), 0);
	assert_int_equal(ply_whiteout_replace(&u->w, fd, "l"), 0);
	assert_int_equal(check(u, "f"), 1);
	assert_int_equal(check(u, "l"), 1);
	union_close(u);
	assert_int_equal(scratch_count(&u->s, "w/work"), 0);
	close(fd);
}

static void replacing_a_directory(void **state)
{
	struct union_dirs *u = *state;
	int fd = upper_fd(u), d;
	char tmp[PLY_TMP_MAX];

	union_open(u);
	scratch_dir(&u->s, "u/d");
	d = scratch_open(&u->s, "u/d");
	for (int i = 0; i < 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(ply_whiteout_create(&u->w, d, name), 0);
	}
	assert_int_equal(ply_whiteout_park(&u->w, fd, "d", tmp), 0);
	ply_workdir_discard(&u->w, tmp);
	assert_int_equal(check(u, "d"), 1);
	close(d);
	union_close(u);
	assert_int_equal(scratch_count(&u->s, "w/work"), 0);
	close(fd);
}

static void parking_a_directory(void **state)
{
	struct union_dirs *u = *state;
	int fd = upper_fd(u);
	char tmp[PLY_TMP_MAX];

	union_open(u);
	scratch_dir(&u->s, "u/d");
	scratch_file(&u->s, "u/d/f", "x");
	assert_int_equal(ply_whiteout_park(&u->w, fd, "d", tmp), 0);
	assert_int_equal(check(u, "d"), 1);
	assert_int_equal(ply_whiteout_unpark(&u->w, fd, "d", tmp), 0);
	assert_int_equal(check(u, "d"), 0);
	assert_true(scratch_has(&u->s, "u/d/f"));
	assert_int_equal(ply_whiteout_park(&u->w, fd, "d", tmp), 0);
	assert_int_equal(check(u, "d"), 1);
	ply_workdir_discard(&u->w, tmp);
	assert_int_equal(check(u, "d"), 1);
	union_close(u);
	assert_int_equal(scratch_count(&u->s, "w/work"), 0);
	close(fd);
}

static void all_of_it(void **state)
{
	struct union_dirs *u = *state;

	life_of_a_whiteout(state);
	union_remove(u);
	union_make(u);
	replacing_a_file(state);
	union_remove(u);
	union_make(u);
	replacing_a_directory(state);
	union_remove(u);
	union_make(u);
	parking_a_directory(state);
}

static void as_xattrs(void **state)
{
	(void)state;
	union_masked("whiteout", all_of_it);
}

static void as_aufs(void **state)
{
	(void)state;
	union_masked("whiteout,xattr", all_of_it);
}

static void without_exchange(void **state)
{
	(void)state;
	union_masked("rename-exchange", all_of_it);
}

static void without_any_flag(void **state)
{
	(void)state;
	union_masked("rename-flags", all_of_it);
}

static void without_links(void **state)
{
	(void)state;
	union_masked("link", all_of_it);
}

static void xattrs_without_links(void **state)
{
	(void)state;
	union_masked("link,whiteout", all_of_it);
}

static void aufs_by_environment_body(void **state)
{
	struct union_dirs *u = *state;
	int fd = upper_fd(u);

	setenv("FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT", "1", 1);
	union_open(u);
	assert_int_equal(u->w.whiteout_form, PLY_WH_AUFS);
	assert_false(u->ls->can.rename_whiteout);
	assert_int_equal(ply_whiteout_create(&u->w, fd, "a"), 0);
	assert_true(scratch_has(&u->s, "u/.wh.a"));
	assert_int_equal(check(u, "a"), 1);
	union_close(u);
	close(fd);
	union_remove(u);
	union_make(u);
	all_of_it(state);
}

static void aufs_by_environment(void **state)
{
	(void)state;
	union_masked("", aufs_by_environment_body);
}

static void links_to_one_inode(void **state)
{
	struct union_dirs *u = *state;
	int fd = upper_fd(u);
	struct stat a, b;

	union_open(u);
	if (u->w.whiteout_form != PLY_WH_CHARDEV) {
		union_close(u);
		close(fd);
		skip();
	}
	assert_int_equal(ply_whiteout_create(&u->w, fd, "a"), 0);
	assert_int_equal(ply_whiteout_create(&u->w, fd, "b"), 0);
	assert_int_equal(fstatat(fd, "a", &a, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(fstatat(fd, "b", &b, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISCHR(a.st_mode) && !a.st_rdev);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(a.st_nlink, 3);
	/* Known by its number, as a listing tells it, for as long as it is the one. */
	assert_true(ply_whiteout_is_shared(&u->w, a.st_dev, a.st_ino));
	assert_false(ply_whiteout_is_shared(&u->w, a.st_dev + 1, a.st_ino));
	assert_false(ply_whiteout_is_shared(&u->w, a.st_dev, a.st_ino + 1));
	assert_false(ply_whiteout_is_shared(&u->w, a.st_dev, 0));
	/* Somebody else's clean-up does no harm. */
	assert_int_equal(unlinkat(u->s.fd, "w/work/#whiteout", 0), 0);
	assert_int_equal(ply_whiteout_create(&u->w, fd, "c"), 0);
	assert_int_equal(fstatat(fd, "c", &b, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(a.st_ino != b.st_ino);
	assert_true(ply_whiteout_is_shared(&u->w, b.st_dev, b.st_ino));
	assert_false(ply_whiteout_is_shared(&u->w, a.st_dev, a.st_ino));
	union_close(u);
	close(fd);
}

/* ext4 has 65,000 links to an inode. */
static void more_links_than_an_inode_has(void **state)
{
	struct union_dirs *u = *state;
	int fd = upper_fd(u);
	char name[32];
	struct stat st;

	union_open(u);
	assert_int_equal(ply_whiteout_create(&u->w, fd, "first"), 0);
	if (u->w.whiteout_form != PLY_WH_AUFS) {
		/* The limit is reached by hand. */
		int wfd = scratch_open(&u->s, "w"), r = 0, i;

		scratch_dir(&u->s, "w/many");
		for (i = 0; i < 70000 && !r; i++) {
			snprintf(name, sizeof(name), "many/%d", i);
			r = linkat(wfd, "work/#whiteout", wfd, name, 0) ? -errno : 0;
		}
		close(wfd);
		if (r) {
			assert_int_equal(r, -EMLINK);
			assert_int_equal(ply_whiteout_create(&u->w, fd, "second"), 0);
			assert_int_equal(check(u, "second"), 1);
			assert_int_equal(fstatat(fd, "second", &st, AT_SYMLINK_NOFOLLOW), 0);
			assert_int_equal(st.st_nlink, 2);
		}
	}
	union_close(u);
	close(fd);
}

static void odd_names(void **state)
{
	static const char *const names[] = { "\xff\xfe", "\n", ".wh.x", "#whiteout", " ", "-" };
	struct union_dirs *u = *state;
	int fd = upper_fd(u);
	char name[257];

	union_open(u);
	for (size_t i = 0; i < PLY_ARRAY_SIZE(names); i++) {
		assert_int_equal(ply_whiteout_create(&u->w, fd, names[i]), 0);
		assert_int_equal(check(u, names[i]), 1);
	}
	memset(name, 'n', 256);
	name[256] = '\0';
	assert_int_equal(ply_whiteout_create(&u->w, fd, name), -ENAMETOOLONG);
	assert_int_equal(check(u, name), 0);
	name[255] = '\0';
	assert_int_equal(check(u, name), 0);
	if (u->w.whiteout_form != PLY_WH_AUFS) {
		assert_int_equal(ply_whiteout_create(&u->w, fd, name), 0);
		assert_int_equal(check(u, name), 1);
	}
	union_close(u);
	close(fd);
}

static void in_lowers_of_others(void **state)
{
	struct union_dirs *u = *state;
	struct ply_layer *l;
	struct stat st;
	int fd;

	scratch_file(&u->s, "l1/.wh.gone", "");
	scratch_file(&u->s, "l1/.wh.both", "");
	scratch_file(&u->s, "l1/both", "");
	scratch_file(&u->s, "l1/empty", "");
	scratch_file(&u->s, "l1/full", "x");
	union_open(u);
	l = &u->ls->layer[1];
	fd = scratch_open(&u->s, "l1");
	assert_int_equal(ply_whiteout_check(l, fd, false, "gone", NULL), 1);
	assert_int_equal(ply_whiteout_check(l, fd, false, "none", NULL), 0);
	/* A name beside its .wh. is there; it is the lower ones that are not. */
	assert_int_equal(fstatat(fd, "both", &st, 0), 0);
	assert_int_equal(ply_whiteout_check(l, fd, false, "both", &st), 0);
	l->aufs = false;
	assert_int_equal(ply_whiteout_check(l, fd, false, "gone", NULL), 0);
	assert_int_equal(fstatat(fd, "empty", &st, 0), 0);
	assert_int_equal(ply_whiteout_check(l, fd, true, "empty", &st), 0);
	if (!ply_sys_setxattr(PLY_AT(fd, "empty"), ply_format_attr(l->xns, OVL_WHITEOUT_ATTR), "", 0, 0)) {
		assert_int_equal(ply_whiteout_check(l, fd, true, "empty", &st), 1);
		assert_int_equal(ply_whiteout_check(l, fd, false, "empty", &st), 0);
		assert_int_equal(ply_sys_setxattr(PLY_AT(fd, "full"), ply_format_attr(l->xns, OVL_WHITEOUT_ATTR), "y", 1,
						  0), 0);
		assert_int_equal(fstatat(fd, "full", &st, 0), 0);
		assert_int_equal(ply_whiteout_check(l, fd, true, "full", &st), 0);
	}
	close(fd);
	union_close(u);
}

static void opaque_needs_no_xattr_whiteout_body(void **state)
{
	struct union_dirs *u = *state;
	int fd;

	union_open(u);
	if (u->w.whiteout_form != PLY_WH_XATTR) {
		union_close(u);
		return;
	}
	scratch_dir(&u->s, "u/d");
	scratch_file(&u->s, "u/d/f", "x");
	fd = scratch_open(&u->s, "u/d");
	assert_int_equal(ply_sys_setxattr(PLY_FD(fd), ply_format_attr(u->ls->xns, OVL_OPAQUE), "y", 1, 0), 0);
	assert_int_equal(ply_whiteout_replace(&u->w, fd, "f"), 0);
	assert_int_equal(scratch_count(&u->s, "u/d"), 0);
	assert_int_equal(ply_whiteout_create(&u->w, fd, "g"), 0);
	assert_int_equal(scratch_count(&u->s, "u/d"), 0);
	assert_int_equal(ply_layer_opaque(u->ls->upper, PLY_FD(fd)), 'y');
	close(fd);
	union_close(u);
}

static void opaque_needs_no_xattr_whiteout(void **state)
{
	(void)state;
	union_masked("whiteout", opaque_needs_no_xattr_whiteout_body);
}

/* After each failure the name is as before or whited out, never just gone; work/ is empty again. */
static void no_failure_shows_the_lower(void **state)
{
	struct union_dirs *u = *state;
	char tmp[PLY_TMP_MAX];
	const char *failed;
	long n;

	for (int is_dir = 0; is_dir < 2; is_dir++) {
		for (n = 1;; n++) {
			int fd, r;
			bool there;

			union_open(u);
			fd = upper_fd(u);
			if (is_dir)
				scratch_dir(&u->s, "u/x");
			else
				scratch_file(&u->s, "u/x", "x");
			faults_arm(n, ENOSPC, FAULTS_ANY);
			r = is_dir ? ply_whiteout_park(&u->w, fd, "x", tmp) : ply_whiteout_replace(&u->w, fd, "x");
			if (is_dir && !r)
				ply_workdir_discard(&u->w, tmp);
			failed = faults_disarm();
			there = check(u, "x") == 0;
			/* Where cleaning up alone has failed the deed is done. */
			if (r)
				assert_true(r == -ENOSPC && there && scratch_has(&u->s, "u/x"));
			else
				assert_false(there);
			union_close(u);
			assert_int_equal(scratch_count(&u->s, "w/work"), 0);
			close(fd);
			union_remove(u);
			union_make(u);
			if (!failed)
				break;
			assert_true(n < 100);
		}
		assert_true(n > 2);
	}
}

static void no_failure_shows_the_lower_without_exchange(void **state)
{
	(void)state;
	union_masked("rename-flags", no_failure_shows_the_lower);
}

static void no_failure_shows_the_lower_with_aufs(void **state)
{
	(void)state;
	union_masked("mknod,xattr", no_failure_shows_the_lower);
}

struct racer {
	struct union_dirs *u;
	int fd, id, bad;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	for (int i = 0; i < 200; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%d-%d", r->id, i);
		if (ply_whiteout_create(&r->u->w, r->fd, name))
			r->bad++;
	}
	return NULL;
}

static void by_several_threads(void **state)
{
	struct union_dirs *u = *state;
	struct racer r[4];
	pthread_t t[4];
	int fd = upper_fd(u);

	union_open(u);
	for (int i = 0; i < 4; i++) {
		r[i] = (struct racer){ u, fd, i, 0 };
		assert_int_equal(pthread_create(&t[i], NULL, race, &r[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(r[i].bad, 0);
	}
	assert_int_equal(scratch_count(&u->s, "u"), 800);
	union_close(u);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_xattrs),
		cmocka_unit_test(as_aufs),
		cmocka_unit_test(without_exchange),
		cmocka_unit_test(without_any_flag),
		cmocka_unit_test(without_links),
		cmocka_unit_test(xattrs_without_links),
		cmocka_unit_test(aufs_by_environment),
		cmocka_unit_test(opaque_needs_no_xattr_whiteout),
		cmocka_unit_test(no_failure_shows_the_lower_without_exchange),
		cmocka_unit_test(no_failure_shows_the_lower_with_aufs),
		union_test(life_of_a_whiteout),
		union_test(replacing_a_file),
		union_test(replacing_a_directory),
		union_test(parking_a_directory),
		union_test(links_to_one_inode),
		union_test(more_links_than_an_inode_has),
		union_test(odd_names),
		union_test(in_lowers_of_others),
		union_test(no_failure_shows_the_lower),
		union_test(by_several_threads),
	};

	return cmocka_run_group_tests_name("whiteout", tests, NULL, NULL);
}
