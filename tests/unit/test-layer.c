// SPDX-License-Identifier: GPL-2.0-or-later
#include "unit.h"
#include "scratch.h"

#include "layer.h"
#include "mountinfo.h"
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

/* Options with layers of a scratch directory: lowers are names, top first, ended by NULL. */
struct stage {
	struct ply_options o;
	char *lower[16];
	char path[20][300];
	int n;
	char err[512];
	struct ply_layers *ls;
};

static char *stage_path(struct stage *t, const struct scratch *s, const char *name)
{
	char *p = t->path[t->n++];

	snprintf(p, sizeof(t->path[0]), "%s/%s", s->path, name);
	return p;
}

static struct stage *stage_new(const struct scratch *s, const char *upper, const char *work, const char *mountpoint, ...)
{
	struct stage *t = calloc(1, sizeof(*t));
	const char *name;
	va_list ap;

	assert_non_null(t);
	t->ls = calloc(1, sizeof(*t->ls));
	assert_non_null(t->ls);
	va_start(ap, mountpoint);
	while ((name = va_arg(ap, const char *)))
		t->lower[t->o.nlower++] = stage_path(t, s, name);
	va_end(ap);
	t->o.lower = t->lower;
	t->o.upper = upper ? stage_path(t, s, upper) : NULL;
	t->o.work = work ? stage_path(t, s, work) : NULL;
	t->o.mountpoint = mountpoint ? stage_path(t, s, mountpoint) : NULL;
	return t;
}

static void stage_free(struct stage *t)
{
	free(t->ls);
	free(t);
}

static void stage_open(struct stage *t)
{
	int r = ply_layers_open(t->ls, &t->o, t->err, sizeof(t->err));

	if (r)
		print_error("%d: %s\n", r, t->err);
	assert_int_equal(r, 0);
}

/* Opening must fail with that errno and a line that has `say` in it. */
static void stage_refused(struct stage *t, int want, const char *say)
{
	int r = ply_layers_open(t->ls, &t->o, t->err, sizeof(t->err));

	if (r != want || !strstr(t->err, say))
		print_error("want %d '%s', got %d '%s'\n", want, say, r, t->err);
	assert_int_equal(r, want);
	assert_non_null(strstr(t->err, say));
	assert_null(strchr(t->err, '\n'));
	ply_layers_close(t->ls);
	stage_free(t);
}

static void dirs(const struct scratch *s)
{
	static const char *const names[] = { "a", "a/sub", "b", "c", "u", "u/in", "w", "w/in", "m" };

	for (size_t i = 0; i < PLY_ARRAY_SIZE(names); i++)
		scratch_dir(s, names[i]);
}

static void opens_in_order(void **state)
{
	struct scratch *s = *state;
	struct stage *t;
	struct stat st;

	dirs(s);
	assert_int_equal(unlinkat(s->fd, "u/in", AT_REMOVEDIR), 0);
	t = stage_new(s, "u", "w", "m", "a", "b", "c", NULL);
	stage_open(t);
	assert_int_equal(t->ls->n, 4);
	assert_int_equal(t->ls->first_data, 4);
	assert_ptr_equal(t->ls->upper, &t->ls->layer[0]);
	assert_true(t->ls->upper->is_upper);
	assert_int_equal(fstatat(s->fd, "b", &st, 0), 0);
	assert_int_equal(t->ls->layer[2].root_stat.st_ino, st.st_ino);
	assert_string_equal(t->ls->layer[2].path, t->lower[1]);
	assert_int_equal(atomic_load(&t->ls->nfs), 1);
	assert_int_equal(t->ls->layer[1].fs, 0);
	assert_int_equal(ply_layers_fs(t->ls, st.st_dev, s->fd), 0);
	/* Fresh upper and bottom: nothing of AUFS to look for. */
	assert_false(t->ls->upper->aufs);
	assert_true(t->ls->layer[1].aufs);
	assert_false(t->ls->layer[3].aufs);
	if (t->ls->layer[1].ro_clone) {
		assert_int_equal(ply_sys_mkdir(PLY_AT(t->ls->layer[1].fd, "x"), 0700), -EROFS);
		assert_true(t->ls->fs[0].root_fd_lower);
		assert_int_equal(ply_sys_mkdir(PLY_AT(t->ls->fs[0].root_fd, "x"), 0700), -EROFS);
		assert_int_equal(t->ls->layer[1].passthrough, PLY_PT_OK);
	} else {
		assert_int_equal(t->ls->layer[1].passthrough, PLY_PT_NO_CLONE);
		assert_true(strlen(t->ls->layer[1].why) > 0);
	}
	ply_layers_close(t->ls);
	ply_layers_close(t->ls);
	stage_free(t);
}

static void opens_in_order_without_clones_body(struct scratch *s)
{
	struct stage *t = stage_new(s, "u", "w", "m", "a", "b", NULL);

	stage_open(t);
	assert_false(t->ls->layer[1].ro_clone);
	assert_int_equal(t->ls->layer[1].passthrough, PLY_PT_NO_CLONE);
	assert_non_null(strstr(t->ls->layer[1].why, "clone"));
	ply_layers_close(t->ls);
	stage_free(t);
	/* Over its own root a lower needs a clone. */
	stage_refused(stage_new(s, NULL, NULL, "a", "a", "b", NULL), -EINVAL, "itself");
}

static int run_one(void *arg)
{
	const struct CMUnitTest *t = arg;

	return _cmocka_run_group_tests("masked", t, 1, NULL, NULL);
}

static void without_clones_fn(void **state)
{
	struct scratch s;

	(void)state;
	scratch_make(&s);
	dirs(&s);
	opens_in_order_without_clones_body(&s);
	scratch_remove(&s);
}

static void opens_without_clones(void **state)
{
	struct CMUnitTest t = cmocka_unit_test(without_clones_fn);

	(void)state;
	scratch_masked("clone", run_one, &t);
}

static void without_upper(void **state)
{
	struct scratch *s = *state;
	struct stage *t;

	dirs(s);
	t = stage_new(s, NULL, NULL, "m", "a", NULL);
	t->o.passthrough = PLY_PT_OFF;
	stage_open(t);
	assert_null(t->ls->upper);
	assert_int_equal(t->ls->layer[0].fd, -1);
	assert_int_equal(t->ls->layer[1].passthrough, PLY_PT_BY_OPTION);
	ply_layers_close(t->ls);
	stage_free(t);
}

static void a_layer_that_is_a_symlink(void **state)
{
	struct scratch *s = *state;
	struct stage *t;
	struct stat st;

	dirs(s);
	assert_int_equal(symlinkat("a", s->fd, "L"), 0);
	t = stage_new(s, NULL, NULL, NULL, "L", NULL);
	stage_open(t);
	assert_int_equal(fstatat(s->fd, "a", &st, 0), 0);
	assert_int_equal(t->ls->layer[1].root_stat.st_ino, st.st_ino);
	/* What happens to the path later is of no matter. */
	assert_int_equal(unlinkat(s->fd, "L", 0), 0);
	assert_int_equal(renameat(s->fd, "a", s->fd, "moved"), 0);
	assert_int_equal(ply_sys_stat(PLY_AT(t->ls->layer[1].fd, "sub"), &st), 0);
	ply_layers_close(t->ls);
	stage_free(t);
}

static void bad_layers_are_named(void **state)
{
	struct scratch *s = *state;
	struct stage *t;

	dirs(s);
	scratch_file(s, "file", "x");
	stage_refused(stage_new(s, NULL, NULL, NULL, "a", "none", NULL), -ENOENT, "none");
	stage_refused(stage_new(s, NULL, NULL, NULL, "file", NULL), -ENOTDIR, "file");
	stage_refused(stage_new(s, "none", "w", NULL, "a", NULL), -ENOENT, "upperdir");
	stage_refused(stage_new(s, "u", "none", NULL, "a", NULL), -ENOENT, "workdir");
	stage_refused(stage_new(s, "u", NULL, NULL, "a", NULL), -EINVAL, "workdir");
	stage_refused(stage_new(s, NULL, NULL, NULL, NULL), -EINVAL, "lowerdir");
	t = stage_new(s, NULL, NULL, NULL, "a", "b", NULL);
	t->o.ndata = 2;
	stage_refused(t, -EINVAL, "data-only");
	t = stage_new(s, NULL, NULL, NULL, "a", NULL);
	t->o.nlower = 501;
	stage_refused(t, -EINVAL, "500");
	if (geteuid()) {
		assert_int_equal(fchmodat(s->fd, "b", 0, 0), 0);
		stage_refused(stage_new(s, NULL, NULL, NULL, "a", "b", NULL), -EACCES, "cannot be read");
	}
}

static void overlaps_are_refused(void **state)
{
	struct scratch *s = *state;

	dirs(s);
	stage_refused(stage_new(s, "a", "w", NULL, "a", NULL), -EINVAL, "same directory");
	stage_refused(stage_new(s, "a/sub", "w", NULL, "b", "a", NULL), -EINVAL, "inside lowerdir");
	stage_refused(stage_new(s, "u", "w", NULL, "b", "u/in", NULL), -EINVAL, "inside upperdir");
	stage_refused(stage_new(s, "u", "a/sub", NULL, "a", NULL), -EINVAL, "inside lowerdir");
	stage_refused(stage_new(s, "u", "w", NULL, "w/in", NULL), -EINVAL, "inside workdir");
	stage_refused(stage_new(s, "u", "w", NULL, "w", NULL), -EINVAL, "workdir");
	stage_refused(stage_new(s, "u", "u", NULL, "a", NULL), -EINVAL, "separate");
	stage_refused(stage_new(s, "u", "u/in", NULL, "a", NULL), -EINVAL, "separate");
	stage_refused(stage_new(s, "w/in", "w", NULL, "a", NULL), -EINVAL, "separate");
	stage_refused(stage_new(s, "u", "w", "a/sub", "a", NULL), -EINVAL, "mount point");
	stage_refused(stage_new(s, "u", "w", "u", "a", NULL), -EINVAL, "mount point");
	stage_refused(stage_new(s, "u", "w", "u/in", "a", NULL), -EINVAL, "mount point");
	stage_refused(stage_new(s, "u", "w", "w", "a", NULL), -EINVAL, "mount point");
	stage_refused(stage_new(s, "u", "w", "w/in", "a", NULL), -EINVAL, "mount point");
	stage_refused(stage_new(s, "u", "w", "", "a", NULL), -EINVAL, "hidden by the mount");
}

static void lowers_may_overlap(void **state)
{
	struct scratch *s = *state;
	struct stage *t;

	dirs(s);
	t = stage_new(s, NULL, NULL, NULL, "a", "a/sub", "a", NULL);
	stage_open(t);
	ply_layers_close(t->ls);
	stage_free(t);
}

static void a_mount_point_may_be_a_lower_itself(void **state)
{
	struct scratch *s = *state;
	struct stage *t;
	int r;

	dirs(s);
	t = stage_new(s, "u", "w", "a", "a", NULL);
	r = ply_layers_open(t->ls, &t->o, t->err, sizeof(t->err));
	if (!r)
		assert_true(t->ls->layer[1].ro_clone);
	else
		assert_non_null(strstr(t->err, "itself"));
	ply_layers_close(t->ls);
	stage_free(t);
}

static void five_hundred_layers(void **state)
{
	struct scratch *s = *state;
	struct ply_layers *ls = calloc(1, sizeof(*ls));
	char **lower = calloc(PLY_MAX_LAYERS, sizeof(*lower)), name[16], err[256];
	struct ply_options o = { .lower = lower, .nlower = PLY_MAX_LAYERS };
	struct stat st;

	assert_non_null(ls);
	assert_non_null(lower);
	for (int i = 0; i < PLY_MAX_LAYERS; i++) {
		snprintf(name, sizeof(name), "%d", i);
		scratch_dir(s, name);
		assert_true(asprintf(&lower[i], "%s/%d", s->path, i) > 0);
	}
	assert_int_equal(ply_layers_open(ls, &o, err, sizeof(err)), 0);
	assert_int_equal(fstatat(s->fd, "499", &st, 0), 0);
	assert_int_equal(ls->layer[500].root_stat.st_ino, st.st_ino);
	assert_int_equal(atomic_load(&ls->nfs), 1);
	ply_layers_close(ls);
	for (int i = 0; i < PLY_MAX_LAYERS; i++)
		free(lower[i]);
	free(lower);
	free(ls);
}

/* --- with mounts --- */

/* A private mount namespace, in the masked child only. */
static int with_mounts(void *arg)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return 0;
	return run_one(arg);
}

static void in_bind_mounts_fn(void **state)
{
	struct scratch s;
	char from[300], to[300];
	struct stage *t;

	(void)state;
	scratch_make(&s);
	dirs(&s);
	snprintf(from, sizeof(from), "%s/a/sub", s.path);
	snprintf(to, sizeof(to), "%s/c", s.path);
	assert_int_equal(mount(from, to, NULL, MS_BIND, NULL), 0);
	/* c is a/sub in disguise. */
	stage_refused(stage_new(&s, "c", "w", NULL, "a", NULL), -EINVAL, "inside lowerdir");
	stage_refused(stage_new(&s, "a", "w", NULL, "c", NULL), -EINVAL, "inside upperdir");
	assert_int_equal(umount(to), 0);
	/* One filesystem, two mounts: rename between them is impossible. */
	snprintf(from, sizeof(from), "%s/w", s.path);
	assert_int_equal(mount(from, to, NULL, MS_BIND, NULL), 0);
	stage_refused(stage_new(&s, "u", "c", NULL, "a", NULL), -EXDEV, "different mounts");
	assert_int_equal(umount(to), 0);
	/* Another filesystem. */
	assert_int_equal(mount("none", to, "tmpfs", 0, NULL), 0);
	stage_refused(stage_new(&s, "u", "c", NULL, "a", NULL), -EXDEV, "different filesystems");
	t = stage_new(&s, "u", "w", NULL, "a", "c", NULL);
	stage_open(t);
	assert_int_equal(atomic_load(&t->ls->nfs), 2);
	assert_int_equal(t->ls->layer[2].fs, 1);
	/* Pinned: an unmount does not take it away. */
	assert_int_equal(umount2(to, MNT_DETACH), 0);
	assert_true(ply_sys_open(PLY_FD(t->ls->layer[2].fd), O_PATH | O_DIRECTORY, 0) >= 0);
	ply_layers_close(t->ls);
	stage_free(t);
	/* A read-only upper. */
	assert_int_equal(mount("none", to, "tmpfs", MS_RDONLY, NULL), 0);
	stage_refused(stage_new(&s, "c", "w", NULL, "a", NULL), -EROFS, "read-only");
	assert_int_equal(umount(to), 0);
	scratch_remove(&s);
}

static void in_bind_mounts(void **state)
{
	struct CMUnitTest t = cmocka_unit_test(in_bind_mounts_fn);

	(void)state;
	if (geteuid())
		skip();
	scratch_masked("", with_mounts, &t);
}

/* Asked mount by mount, where the kernel can, or read from the file: the same. In bind mounts, with names that the file escapes. */
static void places_asked_and_read_fn(void **state)
{
	static const char *const dir[] = { "a", "a/sub", "b", "x y\\z\n", "x y\\z\n/in" };
	struct ply_mountinfo mi = { 0 }, text = { 0 };
	struct ply_place p, q;
	char from[300], to[300];
	struct scratch s;

	(void)state;
	scratch_make(&s);
	dirs(&s);
	scratch_dir(&s, dir[3]);
	scratch_dir(&s, "a/sub/in");
	snprintf(from, sizeof(from), "%s/a/sub", s.path);
	snprintf(to, sizeof(to), "%s/%s", s.path, dir[3]);
	assert_int_equal(mount(from, to, NULL, MS_BIND, NULL), 0);
	assert_int_equal(ply_mountinfo_read(&mi), 0);
	assert_int_equal(ply_mountinfo_read_text(&text), 0);
	assert_true(mi.ask ? !mi.text : mi.text != NULL);
	for (size_t i = 0; i < PLY_ARRAY_SIZE(dir); i++) {
		ply_autofd fd = scratch_open(&s, dir[i]);

		assert_int_equal(ply_mountinfo_place(&mi, fd, NULL, &p), 0);
		assert_int_equal(ply_mountinfo_place(&text, fd, NULL, &q), 0);
		assert_non_null(p.fs_path);
		assert_non_null(q.fs_path);
		assert_string_equal(p.fs, q.fs);
		assert_string_equal(p.fs_path, q.fs_path);
		assert_int_equal(p.idmapped, q.idmapped);
		ply_mountinfo_place_free(&p);
		ply_mountinfo_place_free(&q);
	}
	ply_mountinfo_free(&mi);
	ply_mountinfo_free(&text);
	assert_int_equal(umount(to), 0);
	scratch_remove(&s);
}

static void places_asked_and_read(void **state)
{
	struct CMUnitTest t = cmocka_unit_test(places_asked_and_read_fn);

	(void)state;
	if (geteuid())
		skip();
	scratch_masked("", with_mounts, &t);
}

/* --- reading --- */

static int set(const struct scratch *s, const char *dir, const char *name, const char *val)
{
	return ply_sys_setxattr(PLY_AT(s->fd, dir), name, val, strlen(val), 0);
}

static void opaque_in_every_form(void **state)
{
	static const char *const forms[] = { "user.overlay.opaque", "user.fuseoverlayfs.opaque", "trusted.overlay.opaque" };
	struct scratch *s = *state;
	struct ply_layer *l;
	struct stage *t;
	int fd;

	dirs(s);
	t = stage_new(s, NULL, NULL, NULL, "a", "b", NULL);
	stage_open(t);
	l = &t->ls->layer[1];
	fd = scratch_open(s, "a");
	assert_int_equal(ply_layer_opaque(l, PLY_FD(fd)), 0);
	assert_int_equal(ply_layer_opaque(l, PLY_AT(fd, "sub")), 0);
	for (size_t i = 0; i < PLY_ARRAY_SIZE(forms); i++) {
		if (set(s, "c", forms[i], "y"))
			continue;
		if (forms[i][0] == 't' && l->xns != PLY_XNS_TRUSTED)
			continue;
		assert_int_equal(ply_layer_opaque(l, PLY_AT(s->fd, "c")), 'y');
		assert_int_equal(set(s, "c", forms[i], "yy"), 0);
		assert_int_equal(ply_layer_opaque(l, PLY_AT(s->fd, "c")), 0);
		assert_int_equal(set(s, "c", forms[i], "far too long for a mark"), 0);
		assert_int_equal(ply_layer_opaque(l, PLY_AT(s->fd, "c")), 0);
		assert_int_equal(set(s, "c", forms[i], "x"), 0);
		assert_int_equal(ply_layer_opaque(l, PLY_AT(s->fd, "c")),
				 strcmp(forms[i], ply_format_attr(l->xns, OVL_OPAQUE)) ? 0 : 'x');
		assert_int_equal(ply_sys_removexattr(PLY_AT(s->fd, "c"), forms[i]), 0);
	}
	/* AUFS: a mark in it, a whiteout beside it. Only where the layer may have such. */
	scratch_file(s, "a/sub/.wh..wh..opq", "");
	assert_int_equal(ply_layer_opaque(l, PLY_AT(fd, "sub")), 'y');
	l->aufs = false;
	assert_int_equal(ply_layer_opaque(l, PLY_AT(fd, "sub")), 0);
	l->aufs = true;
	assert_int_equal(unlinkat(s->fd, "a/sub/.wh..wh..opq", 0), 0);
	scratch_file(s, "a/.wh.sub", "");
	assert_int_equal(ply_layer_opaque(l, PLY_AT(fd, "sub")), 'y');
	close(fd);
	ply_layers_close(t->ls);
	stage_free(t);
}

static void attributes_are_read(void **state)
{
	struct scratch *s = *state;
	struct ply_layer *l;
	struct stage *t;
	char *val;

	dirs(s);
	scratch_file(s, "a/f", "x");
	t = stage_new(s, NULL, NULL, NULL, "a", NULL);
	t->o.userxattr = true;
	stage_open(t);
	l = &t->ls->layer[1];
	assert_int_equal(t->ls->xns, PLY_XNS_USER);
	assert_int_equal(ply_layer_getattr(l, PLY_AT(l->fd, "f"), OVL_REDIRECT, &val), -ENODATA);
	assert_int_equal(ply_layer_getattr(l, PLY_AT(l->fd, "none"), OVL_REDIRECT, &val), l->has_xattrs ? -ENOENT : -ENODATA);
	if (!set(s, "a/f", "user.overlay.redirect", "/x")) {
		assert_int_equal(ply_layer_getattr(l, PLY_AT(l->fd, "f"), OVL_REDIRECT, &val), 2);
		assert_string_equal(val, "/x");
		free(val);
	}
	l->has_xattrs = false;
	assert_int_equal(ply_layer_getattr(l, PLY_AT(l->fd, "f"), OVL_REDIRECT, &val), -ENODATA);
	ply_layers_close(t->ls);
	stage_free(t);
}

static void override_stat_is_applied(void **state)
{
	static const struct { const char *val; mode_t mode; uid_t uid; dev_t rdev; } want[] = {
		{ "12:34:0640", S_IFREG | 0640, 12, 0 },
		{ "12:34:0100640:file", S_IFREG | 0640, 12, 0 },
		{ "5:6:04755", S_IFREG | 04755, 5, 0 },
		{ "0:0:0600:pipe", S_IFIFO | 0600, 0, 0 },
		{ "0:0:0600:char-5-1", S_IFCHR | 0600, 0, 0x501 },
		{ "0:0:0600:block-8-2", S_IFBLK | 0600, 0, 0x802 },
		/* What a regular file cannot stand for. */
		{ "7:7:0700:dir", S_IFREG | 0700, 7, 0 },
	};
	struct scratch *s = *state;
	struct ply_layer *l;
	struct stage *t;
	struct stat st;

	dirs(s);
	scratch_file(s, "a/f", "text");
	if (set(s, "a", "user.containers.override_stat", "0:0:0755"))
		skip();
	t = stage_new(s, NULL, NULL, NULL, "a", "b", NULL);
	stage_open(t);
	l = &t->ls->layer[1];
	assert_int_equal(l->override, PLY_XPERM_CONTAINERS);
	assert_string_equal(l->override_name, "user.containers.override_stat");
	assert_int_equal(t->ls->layer[2].override, PLY_XPERM_NONE);
	assert_int_equal(ply_layer_stat(l, PLY_AT(l->fd, "f"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	for (size_t i = 0; i < PLY_ARRAY_SIZE(want); i++) {
		assert_int_equal(set(s, "a/f", "user.containers.override_stat", want[i].val), 0);
		assert_int_equal(ply_layer_stat(l, PLY_AT(l->fd, "f"), &st), 0);
		assert_int_equal(st.st_mode, want[i].mode);
		assert_int_equal(st.st_uid, want[i].uid);
		if (want[i].rdev)
			assert_int_equal(st.st_rdev, makedev(want[i].rdev >> 8, want[i].rdev & 0xff));
	}
	/* Nonsense is not followed. */
	assert_int_equal(set(s, "a/f", "user.containers.override_stat", "drop table"), 0);
	assert_int_equal(ply_layer_stat(l, PLY_AT(l->fd, "f"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	assert_int_equal(ply_layer_stat(l, PLY_FD(l->fd), &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
	assert_int_equal(ply_layer_stat(l, PLY_AT(l->fd, "none"), &st), -ENOENT);
	ply_layers_close(t->ls);
	stage_free(t);
	t = stage_new(s, "u", "w", NULL, "b", NULL);
	t->o.xattr_perm = PLY_XPERM_CONTAINERS;
	stage_open(t);
	assert_int_equal(t->ls->upper->override, PLY_XPERM_CONTAINERS);
	ply_layers_close(t->ls);
	stage_free(t);
}

static void places_know_their_ancestors(void **state)
{
	struct scratch *s = *state;
	struct ply_mountinfo mi = { 0 };
	struct ply_place a, sub, b, near;
	int fa, fsub, fb;

	dirs(s);
	assert_int_equal(ply_mountinfo_read(&mi), 0);
	fa = scratch_open(s, "a");
	fsub = scratch_open(s, "a/sub");
	fb = scratch_open(s, "b");
	assert_int_equal(ply_mountinfo_place(&mi, fa, NULL, &a), 0);
	assert_int_equal(ply_mountinfo_place(&mi, fsub, NULL, &sub), 0);
	assert_int_equal(ply_mountinfo_place(&mi, fb, NULL, &b), 0);
	assert_true(ply_mountinfo_is_below(&sub, &a));
	assert_true(ply_mountinfo_is_below(&a, &a));
	assert_false(ply_mountinfo_is_below(&a, &sub));
	assert_false(ply_mountinfo_is_below(&a, &b));
	assert_true(ply_mountinfo_is_reached_from(&sub, &a));
	assert_true(ply_mountinfo_is_same(&a, &a));
	assert_false(ply_mountinfo_is_same(&a, &sub));
	assert_int_equal(ply_mountinfo_place(&mi, -1, NULL, &a), -EBADF);
	/* The same by way of a place whose ancestors are some of its own, all, or its own child's. */
	for (const struct ply_place *known = &a; known; known = known == &a ? &b : known == &b ? &sub : NULL) {
		assert_int_equal(ply_mountinfo_place(&mi, fsub, known, &near), 0);
		assert_int_equal(near.n, sub.n);
		assert_memory_equal(near.dir, sub.dir, sub.n * sizeof(*sub.dir));
		assert_int_equal(near.mnt, sub.mnt);
		assert_string_equal(near.fs_path, sub.fs_path);
		ply_mountinfo_place_free(&near);
	}
	ply_mountinfo_place_free(&a);
	ply_mountinfo_place_free(&sub);
	ply_mountinfo_place_free(&b);
	ply_mountinfo_free(&mi);
	close(fa);
	close(fsub);
	close(fb);
}

/* Of the first kernels, which do not tell it: only one that nobody else has leads somewhere. */
static void a_learnt_uuid_is_compared(void **state)
{
	static const uint8_t a[16] = { 1 }, b[16] = { 2 };
	struct ply_layerfs fs[4] = { { .has_uuid = false }, { .has_uuid = false }, { .has_uuid = true }, { .has_uuid = true } };
	struct ply_layers ls = { .fs = fs, .fs_lock = PTHREAD_MUTEX_INITIALIZER };

	(void)state;
	atomic_store(&ls.nfs, 3);
	memcpy(fs[2].uuid, a, sizeof(a));
	ply_layers_learn_uuid(&ls, 0, a);
	assert_memory_equal(fs[0].uuid, a, sizeof(a));
	assert_true(fs[0].knows_uuid);
	assert_false(fs[0].has_uuid);
	assert_true(fs[1].has_uuid);
	assert_false(fs[2].has_uuid);
	ply_layers_learn_uuid(&ls, 0, b);
	assert_true(fs[0].has_uuid && fs[1].has_uuid && fs[2].has_uuid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_without_clones),
		cmocka_unit_test(in_bind_mounts),
		cmocka_unit_test(places_asked_and_read),
		scratch_test(opens_in_order),
		scratch_test(five_hundred_layers),
		scratch_test(without_upper),
		scratch_test(a_layer_that_is_a_symlink),
		scratch_test(bad_layers_are_named),
		scratch_test(overlaps_are_refused),
		scratch_test(lowers_may_overlap),
		scratch_test(a_mount_point_may_be_a_lower_itself),
		scratch_test(opaque_in_every_form),
		scratch_test(attributes_are_read),
		scratch_test(override_stat_is_applied),
		scratch_test(places_know_their_ancestors),
		cmocka_unit_test(a_learnt_uuid_is_compared),
	};

	return cmocka_run_group_tests_name("layer", tests, NULL, NULL);
}
