// SPDX-License-Identifier: GPL-2.0-or-later
#include "whiteout.h"

#include "lock.h"
#include "log.h"
#include <errno.h>

/* The one inode that all whiteouts of a mount are links to, as the kernel's overlayfs does it. */
#define SHARED "#whiteout"

#define AUFS_NAME_MAX (sizeof(PLY_AUFS_PREFIX) + 255)

/* ".wh.NAME", or -ENAMETOOLONG: such a name cannot exist. */
static int aufs_name(const char *name, char out[AUFS_NAME_MAX])
{
	if (strlen(name) + strlen(PLY_AUFS_PREFIX) > 255)
		return -ENAMETOOLONG;
	snprintf(out, AUFS_NAME_MAX, PLY_AUFS_PREFIX "%s", name);
	return 0;
}

int ply_whiteout_check(const struct ply_layer *l, int dirfd, bool dir_has_xattr_whiteouts, const char *name,
		       const struct stat *st)
{
	char wh[AUFS_NAME_MAX];
	struct stat tmp;
	int r;

	if (st) {
		ply_autofree char *val = NULL;
		ssize_t n;

		if (ply_layer_is_whiteout_stat(st))
			return 1;
		/* Beside a .wh. of its own layer a name is there: that hides lower ones only. */
		if (!dir_has_xattr_whiteouts || !S_ISREG(st->st_mode) || st->st_size)
			return 0;
		n = ply_layer_getattr(l, PLY_AT(dirfd, name), OVL_WHITEOUT_ATTR, &val);
		return n >= 0 ? 1 : n == -ENODATA ? 0 : (int)n;
	}
	if (!l->aufs || aufs_name(name, wh))
		return 0;
	r = ply_sys_stat(PLY_AT(dirfd, wh), &tmp);
	return r == -ENOENT ? 0 : r ? r : 1;
}

/* --- the shared inode --- */

static int shared_make(struct ply_workdir *w)
{
	struct ply_at at = PLY_AT(w->fd, SHARED);
	struct stat st;
	int r = ply_sys_unlink(at);

	atomic_store_explicit(&w->whiteout_ino, 0, memory_order_relaxed);
	if (r && r != -ENOENT)
		return r;
	if (w->whiteout_form == PLY_WH_CHARDEV) {
		r = ply_sys_mknod(at, S_IFCHR, 0);
		if (!r && !ply_sys_stat(at, &st) && st.st_dev == w->ls->upper->root_stat.st_dev)
			atomic_store_explicit(&w->whiteout_ino, st.st_ino, memory_order_relaxed);
	} else {
		/* A regular file of no size with the attribute; readable, or user.* would not be. */
		r = ply_sys_mknod(at, S_IFREG | 0644, 0);
		if (!r)
			r = ply_sys_setxattr(at, ply_format_attr(w->ls->xns, OVL_WHITEOUT_ATTR), "y", 1, 0);
		if (r)
			(void)ply_sys_unlink(at);
	}
	w->have_whiteout = !r;
	return r;
}

bool ply_whiteout_is_shared(const struct ply_workdir *w, dev_t dev, uint64_t ino)
{
	return ino && ino == atomic_load_explicit(&w->whiteout_ino, memory_order_relaxed) &&
	       dev == w->ls->upper->root_stat.st_dev;
}

/* Links the shared inode to `to`, which must not exist. */
static int shared_link(struct ply_workdir *w, struct ply_at to)
{
	int r;

	PLY_MUTEX(guard, &w->whiteout_lock);
	for (int i = 0; i < 2; i++) {
		if (!w->have_whiteout) {
			r = shared_make(w);
			if (r)
				return r;
		}
		r = ply_sys_link(PLY_AT(w->fd, SHARED), to);
		if (r != -EMLINK && r != -ENOENT)
			break;
		/* As many links as it takes; or somebody cleaned up behind us. */
		w->have_whiteout = false;
	}
	return r;
}

/* A whiteout at `to`, which must not exist; by link, or where the filesystem has no hard links of its own. */
static int whiteout_at(struct ply_workdir *w, struct ply_at to)
{
	char tmp[PLY_TMP_MAX];
	int r = shared_link(w, to);

	if (r != -EPERM && r != -EOPNOTSUPP && r != -ENOSYS && r != -EMLINK)
		return r;
	if (w->whiteout_form == PLY_WH_CHARDEV)
		return ply_sys_mknod(to, S_IFCHR, 0);
	ply_workdir_tmpname(w, tmp);
	r = ply_sys_mknod(PLY_AT(w->fd, tmp), S_IFREG | 0644, 0);
	if (r)
		return r;
	r = ply_sys_setxattr(PLY_AT(w->fd, tmp), ply_format_attr(w->ls->xns, OVL_WHITEOUT_ATTR), "y", 1, 0);
	if (!r)
		r = ply_sys_rename(PLY_AT(w->fd, tmp), to, RENAME_NOREPLACE);
	if (r)
		ply_workdir_discard(w, tmp);
	return r;
}

/*
 * Before the first xattr whiteout a directory is marked, so that others look for them.
 * 1: it is opaque, and there is nothing below it to be whited out.
 */
static int mark_for_xattr(struct ply_workdir *w, int dirfd)
{
	ply_autofree char *val = NULL;
	ssize_t n = ply_layer_getattr(w->ls->upper, PLY_FD(dirfd), OVL_OPAQUE, &val);
	int mark = n > 0 ? ply_format_opaque(val, (size_t)n) : 0;

	if (n < 0 && n != -ENODATA)
		return (int)n;
	if (mark)
		return mark == 'y';
	return ply_sys_setxattr(PLY_FD(dirfd), ply_format_attr(w->ls->xns, OVL_OPAQUE), "x", 1, 0);
}

int ply_whiteout_prepare(struct ply_workdir *w, int dirfd)
{
	return w->whiteout_form == PLY_WH_XATTR ? mark_for_xattr(w, dirfd) : 0;
}

/* --- AUFS --- */

static int aufs_create(int dirfd, const char *name)
{
	char wh[AUFS_NAME_MAX];
	int r = aufs_name(name, wh);

	if (r)
		return r;
	r = ply_sys_mknod(PLY_AT(dirfd, wh), S_IFREG | 0644, 0);
	/* One that stayed when the name came back is as good. */
	return r == -EEXIST ? 0 : r;
}

static int aufs_remove(int dirfd, const char *name)
{
	char wh[AUFS_NAME_MAX];
	int r = aufs_name(name, wh);

	return r ? r : ply_sys_unlink(PLY_AT(dirfd, wh));
}

/* --- writing --- */

int ply_whiteout_create(struct ply_workdir *w, int dirfd, const char *name)
{
	struct stat st;
	int r;

	switch (w->whiteout_form) {
	case PLY_WH_CHARDEV:
		break;
	case PLY_WH_XATTR:
		r = mark_for_xattr(w, dirfd);
		if (r)
			return r < 0 ? r : 0;
		break;
	case PLY_WH_AUFS:
		r = ply_sys_stat(PLY_AT(dirfd, name), &st);
		if (r != -ENOENT)
			return r ? r : -EEXIST;
		return aufs_create(dirfd, name);
	}
	return whiteout_at(w, PLY_AT(dirfd, name));
}

static int replace_file(struct ply_workdir *w, struct ply_at at)
{
	char tmp[PLY_TMP_MAX];
	int r;

	ply_workdir_tmpname(w, tmp);
	r = whiteout_at(w, PLY_AT(w->fd, tmp));
	if (r)
		return r;
	r = ply_sys_rename(PLY_AT(w->fd, tmp), at, 0);
	if (r)
		ply_workdir_discard(w, tmp);
	return r;
}

/* What is at `at` goes to work/tmp, a whiteout comes in its place. */
static int park_below_whiteout(struct ply_workdir *w, struct ply_at at, const char *tmp)
{
	int r;

	if (w->ls->can.rename_exchange) {
		r = whiteout_at(w, PLY_AT(w->fd, tmp));
		if (r)
			return r;
		r = ply_sys_rename(PLY_AT(w->fd, tmp), at, RENAME_EXCHANGE);
		if (r)
			ply_workdir_discard(w, tmp);
		return r;
	}
	if (w->ls->can.rename_whiteout)
		return ply_sys_rename(at, PLY_AT(w->fd, tmp), RENAME_WHITEOUT);
	/* Two steps: a crash between them lets the lower directory show again. Nothing better is left here. */
	r = ply_sys_rename(at, PLY_AT(w->fd, tmp), 0);
	if (r)
		return r;
	r = whiteout_at(w, at);
	if (r && ply_sys_rename(PLY_AT(w->fd, tmp), at, 0))
		ply_warn("'%s' cannot be put back into upper after a failure", at.name);
	return r;
}

int ply_whiteout_park(struct ply_workdir *w, int dirfd, const char *name, char tmp[PLY_TMP_MAX])
{
	struct ply_at at = PLY_AT(dirfd, name);
	int r = 0;

	ply_workdir_tmpname(w, tmp);
	switch (w->whiteout_form) {
	case PLY_WH_CHARDEV:
		return park_below_whiteout(w, at, tmp);
	case PLY_WH_XATTR:
		r = mark_for_xattr(w, dirfd);
		if (!r)
			return park_below_whiteout(w, at, tmp);
		break;
	case PLY_WH_AUFS:
		/* The whiteout stands beside the name: it first, so that at no time the lower one shows. */
		r = aufs_create(dirfd, name);
		break;
	}
	return r < 0 ? r : ply_sys_rename(at, PLY_AT(w->fd, tmp), 0);
}

int ply_whiteout_unpark(struct ply_workdir *w, int dirfd, const char *name, const char *tmp)
{
	struct ply_at at = PLY_AT(dirfd, name), from = PLY_AT(w->fd, tmp);
	struct stat st;
	int r = ply_sys_stat(at, &st);

	if (r == -ENOENT) {
		/* AUFS's .wh.NAME, if that is what hides it, hides lower ones only: it may stay. */
		return ply_sys_rename(from, at, 0);
	}
	if (r)
		return r;
	r = w->ls->can.rename_exchange ? ply_sys_rename(from, at, RENAME_EXCHANGE) : -EINVAL;
	if (!r) {
		ply_workdir_discard(w, tmp);
		return 0;
	}
	r = ply_sys_unlink(at);
	return r ? r : ply_sys_rename(from, at, 0);
}

int ply_whiteout_replace(struct ply_workdir *w, int dirfd, const char *name)
{
	int r;

	switch (w->whiteout_form) {
	case PLY_WH_CHARDEV:
		break;
	case PLY_WH_XATTR:
		r = mark_for_xattr(w, dirfd);
		if (r)
			return r < 0 ? r : ply_sys_unlink(PLY_AT(dirfd, name));
		break;
	case PLY_WH_AUFS:
		r = aufs_create(dirfd, name);
		return r ? r : ply_sys_unlink(PLY_AT(dirfd, name));
	}
	return replace_file(w, PLY_AT(dirfd, name));
}

/* Is what stands at `name` of an upper directory itself a whiteout? */
static int is_whiteout(struct ply_workdir *w, int dirfd, const char *name)
{
	struct stat st;
	int r = ply_sys_stat(PLY_AT(dirfd, name), &st);

	if (r)
		return r == -ENOENT ? 0 : r;
	return ply_whiteout_check(w->ls->upper, dirfd, w->whiteout_form == PLY_WH_XATTR, name, &st);
}

int ply_whiteout_remove(struct ply_workdir *w, int dirfd, const char *name)
{
	int r = is_whiteout(w, dirfd, name), beside;

	if (r < 0)
		return r;
	r = r ? ply_sys_unlink(PLY_AT(dirfd, name)) : -ENOENT;
	if ((r && r != -ENOENT) || !w->ls->upper->aufs)
		return r;
	beside = aufs_remove(dirfd, name);
	return beside == -ENOENT || beside == -ENAMETOOLONG ? r : beside;
}

void ply_whiteout_clear_aufs(struct ply_workdir *w, int dirfd, const char *name)
{
	if (w->ls->upper->aufs)
		(void)aufs_remove(dirfd, name);
}
