// SPDX-License-Identifier: GPL-2.0-or-later
#include "rmtree.h"

#include <errno.h>

static int names_add(void *arg, const struct ply_dirent *d)
{
	return ply_buf_add(arg, d->name, strlen(d->name) + 1);
}

int ply_rmtree_names(int dirfd, struct ply_buf *out)
{
	ply_autofd fd = ply_sys_open(PLY_FD(dirfd), O_RDONLY | O_DIRECTORY, 0);
	ply_autobuf names = { 0 };
	int r;

	if (fd < 0)
		return fd;
	r = ply_sys_readdir(fd, names_add, &names);
	if (r)
		return r;
	*out = names;
	names = (struct ply_buf){ 0 };
	return 0;
}

void ply_rmtree_make_ours(struct ply_at at)
{
	(void)ply_sys_chmod(at, 0700);
}

int ply_rmtree_shallow(struct ply_at at)
{
	int r = ply_sys_unlink(at);

	if (r == -EISDIR || r == -EPERM) {
		int d = ply_sys_rmdir(at);

		r = d == -ENOTDIR ? r : d;
	}
	if (r == -EEXIST)
		r = -ENOTEMPTY;
	return r == -ENOENT ? 0 : r;
}

/*
 * Empties subdirectory `name` of top: what in it is a directory with something in it
 * moves up into top under a new name. So there is no recursion, and no depth that is too deep.
 */
static int flatten(int top, const char *name, unsigned int *counter)
{
	ply_autofd dir = -1;
	ply_autobuf names = { 0 };
	int r;

	ply_rmtree_make_ours(PLY_AT(top, name));
	dir = ply_sys_open(PLY_AT(top, name), O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	r = ply_rmtree_names(dir, &names);
	if (r)
		return r;
	PLY_FOR_EACH_NAME(p, names) {
		char up[32];

		r = ply_rmtree_shallow(PLY_AT(dir, p));
		if (r != -ENOTEMPTY) {
			if (r)
				return r;
			continue;
		}
		ply_rmtree_make_ours(PLY_AT(dir, p));
		do {
			snprintf(up, sizeof(up), "#dead%x", (*counter)++);
			r = ply_sys_rename(PLY_AT(dir, p), PLY_AT(top, up), RENAME_NOREPLACE);
			if (r == -EINVAL)
				r = ply_sys_rename(PLY_AT(dir, p), PLY_AT(top, up), 0);
		} while (r == -EEXIST || r == -ENOTEMPTY || r == -ENOTDIR);
		if (r)
			return r;
	}
	return ply_sys_rmdir(PLY_AT(top, name));
}

int ply_rmtree_empty(int dirfd, const char *keep)
{
	unsigned int counter = 0;

	for (;;) {
		ply_autobuf names = { 0 };
		bool again = false;
		int r = ply_rmtree_names(dirfd, &names);

		if (r)
			return r;
		PLY_FOR_EACH_NAME(p, names) {
			if (keep && !strcmp(p, keep))
				continue;
			r = ply_rmtree_shallow(PLY_AT(dirfd, p));
			if (r == -ENOTEMPTY) {
				r = flatten(dirfd, p, &counter);
				again = true;
			}
			if (r)
				return r;
		}
		if (!again)
			return 0;
	}
}
