// SPDX-License-Identifier: GPL-2.0-or-later
#include "owndir.h"
#include "compat.h"
#include "rmtree.h"
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>

/*
 * ext4 makes the inodes of a directory's files beside it, and, where it has no journal, looks through all those there that
 * were freed within minutes before it takes one: after a container of 10,000 files was thrown away each copy-up of the next
 * took 100 us more. A directory that is made under the flag goes to where few are, by its name (kernel: find_group_orlov). The
 * name comes from the parent's generation, which is random: the next work directory goes elsewhere, and what a crash leaves is
 * found again. To one of few places, whose bitmaps the kernel then has: to read one from a disk takes longer than all else here.
 */
#define APART_PLACES 16

static int owndir_plain(int base, const char *name, bool *made)
{
	int r = ply_sys_mkdir(PLY_AT(base, name), 0700);

	*made = !r;
	return r;
}

/* Sets *made, false before, if it makes it. */
static int owndir_apart(int base, const char *name, bool *made)
{
	char tmp[sizeof("#work") + 8];
	unsigned int generation;
	struct stat st;
	int flags, top, r;

	if (!ply_sys_stat(PLY_AT(base, name), &st))
		return -EEXIST;
	if (ply_sys_ioctl(base, FS_IOC_GETFLAGS, &flags) || ply_sys_ioctl(base, FS_IOC_GETVERSION, &generation))
		return owndir_plain(base, name, made);
	top = flags | FS_TOPDIR_FL;
	if (top == flags || ply_sys_ioctl(base, FS_IOC_SETFLAGS, &top))
		return owndir_plain(base, name, made);
	snprintf(tmp, sizeof(tmp), "#work%x", generation & (APART_PLACES - 1));
	r = ply_sys_mkdir(PLY_AT(base, tmp), 0700);
	/* What a crash left here is empty; what is not is somebody's. */
	if (r == -EEXIST && !ply_sys_rmdir(PLY_AT(base, tmp)))
		r = ply_sys_mkdir(PLY_AT(base, tmp), 0700);
	(void)ply_sys_ioctl(base, FS_IOC_SETFLAGS, &flags);
	if (r)
		return r == -EEXIST ? owndir_plain(base, name, made) : r;
	r = ply_sys_rename(PLY_AT(base, tmp), PLY_AT(base, name), 0);
	if (r)
		(void)ply_sys_rmdir(PLY_AT(base, tmp));
	*made = !r;
	return r;
}

/*
 * Of a new directory, what it inherited from a default ACL or a set-group-ID parent: changed only where there is something. It
 * has no other ACL than one that comes with a default one.
 */
static void owndir_inherits_nothing(struct ply_at at, int fd)
{
	struct stat st;

	if (ply_sys_getxattr(PLY_FD(fd), "system.posix_acl_default", NULL, 0) >= 0) {
		(void)ply_sys_removexattr(at, "system.posix_acl_default");
		(void)ply_sys_removexattr(at, "system.posix_acl_access");
	}
	if (ply_sys_stat(PLY_FD(fd), &st) || (st.st_mode & 07777) != 0700)
		ply_rmtree_make_ours(at);
}

int ply_owndir_open(int base, const char *name, bool apart, bool *made)
{
	struct ply_at at = PLY_AT(base, name);
	bool fresh = false;
	int r = apart ? owndir_apart(base, name, &fresh) : owndir_plain(base, name, &fresh), fd;

	if (r && r != -EEXIST)
		return r;
	fd = ply_sys_open(at, O_RDONLY | O_DIRECTORY, 0);
	if (fd == -EACCES) {
		/* The kernel makes it with mode 0. */
		ply_rmtree_make_ours(at);
		fd = ply_sys_open(at, O_RDONLY | O_DIRECTORY, 0);
	}
	if (!r && fd >= 0)
		owndir_inherits_nothing(at, fd);
	if (fd >= 0 && made)
		*made = fresh;
	return fd;
}

bool ply_owndir_is_apart(int work, int upper)
{
	const int kept = FS_TOPDIR_FL | FS_INDEX_FL | FS_EXTENT_FL | FS_INLINE_DATA_FL;	/* how it is kept itself */
	uint64_t magic;
	int up, down;

	return !ply_sys_fs_magic(work, &magic) && magic == EXT4_SUPER_MAGIC && !ply_sys_ioctl(upper, FS_IOC_GETFLAGS, &up) &&
	       !ply_sys_ioctl(work, FS_IOC_GETFLAGS, &down) && (up | kept) == (down | kept);
}
