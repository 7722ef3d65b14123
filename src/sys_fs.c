// SPDX-License-Identifier: GPL-2.0-or-later
/* What sys asks of filesystems as a whole: handles, the uuid, directories in full, clones of mounts. */
#include "sys.h"
#include "sys_call.h"

#include <linux/btrfs.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

int ply_sys_statfs(int fd, struct statvfs *st)
{
	struct statvfs tmp;
	int r = (int)SYS_RETRY(fstatvfs(fd, &tmp));

	if (!r)
		*st = tmp;
	return r;
}

int ply_sys_fs_magic(int fd, uint64_t *magic)
{
	struct statfs tmp;
	int r = (int)SYS_RETRY(fstatfs(fd, &tmp));

	if (!r)
		*magic = (uint64_t)(uint32_t)tmp.f_type;
	return r;
}

/* --- file handles, and the identity of a filesystem --- */

int ply_sys_handle(struct ply_at at, int *type, uint8_t fid[128])
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + 128];
	} u;
	int flags = at.name[0] ? 0 : AT_EMPTY_PATH, mount_id, r;

	u.h.handle_bytes = 128;
	r = (int)SYS_RETRY(name_to_handle_at(at.fd, at.name, &u.h, &mount_id, flags));
	if (r)
		return r == -ENOSYS ? -EOPNOTSUPP : r;
	if (u.h.handle_bytes > 128)
		return -EOVERFLOW;
	*type = u.h.handle_type;
	memcpy(fid, u.room + offsetof(struct file_handle, f_handle), u.h.handle_bytes);
	return (int)u.h.handle_bytes;
}

int ply_sys_open_handle(int mount_fd, int type, const uint8_t *fid, unsigned int len)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + 128];
	} u;
	ply_autofd again = -1;
	int r;

	if (len > 128)
		return -EINVAL;
	u.h.handle_bytes = len;
	u.h.handle_type = type;
	memcpy(u.room + offsetof(struct file_handle, f_handle), fid, len);
	r = (int)SYS_RETRY(open_by_handle_at(mount_fd, &u.h, O_PATH | O_CLOEXEC));
	if (r != -EBADF)
		return r;
	/* It does not take an O_PATH fd for the mount. */
	again = ply_sys_open(PLY_FD(mount_fd), O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
	if (again < 0)
		return again;
	return (int)SYS_RETRY(open_by_handle_at(again, &u.h, O_PATH | O_CLOEXEC));
}

/* By the ioctl of Linux 6.9, or else by that of the filesystem. */
static int fs_uuid(int fd, uint8_t uuid[16])
{
	struct ply_fsuuid2 any = { 0 };
	struct ply_ext4_uuid ext4 = { .len = sizeof(ext4.uuid) };
	struct ply_xfs_geometry xfs;
	struct btrfs_ioctl_fs_info_args btrfs = { 0 };
	const uint8_t *found;
	uint64_t magic;
	int r = ply_sys_ioctl(fd, PLY_IOC_GETFSUUID, &any), s;

	if (!r) {
		if (any.len != sizeof(any.uuid))
			return -EOPNOTSUPP;
		memcpy(uuid, any.uuid, sizeof(any.uuid));
		return 0;
	}
	if (r == -EBADF || ply_sys_fs_magic(fd, &magic))
		return r;
	switch (magic) {
	case EXT4_SUPER_MAGIC:
		s = ply_sys_ioctl(fd, PLY_EXT4_IOC_GETFSUUID, &ext4);
		found = ext4.uuid;
		break;
	case XFS_SUPER_MAGIC:
		s = ply_sys_ioctl(fd, PLY_XFS_IOC_FSGEOMETRY, &xfs);
		found = xfs.uuid;
		break;
	case BTRFS_SUPER_MAGIC:
		s = ply_sys_ioctl(fd, BTRFS_IOC_FS_INFO, &btrfs);
		found = btrfs.fsid;
		break;
	default:
		return r;
	}
	if (s)
		return s == -EBADF ? s : r;
	memcpy(uuid, found, 16);
	return 0;
}

/* Does this kernel tell of a uuid at all? Its own tmpfs has one since it does. */
static bool fs_uuid_is_told(void)
{
	struct ply_fsuuid2 any = { 0 };
	ply_autofd fd = memfd_create("uuid", MFD_CLOEXEC);

	return fd >= 0 && !ply_sys_ioctl(fd, PLY_IOC_GETFSUUID, &any);
}

int ply_sys_fs_uuid(int fd, uint8_t uuid[16])
{
	ply_autofd again = -1;
	int r = fs_uuid(fd, uuid);

	if (r == -EBADF) {
		again = ply_sys_open(PLY_FD(fd), O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
		r = again < 0 ? again : fs_uuid(again, uuid);
	}
	if (r == -ENOTTY && fs_uuid_is_told()) {
		memset(uuid, 0, 16);
		return 0;
	}
	return r;
}

/* --- directories --- */

#define DENTS_FIRST 2048		/* what most directories fit into */
#define DENTS_ONE 280			/* at most, of one name */
#define DENTS_SIZE (128u << 10)

struct dirent64_raw {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

static int dents_each(const char *buf, long n, int (*each)(void *arg, const struct ply_dirent *d), void *arg)
{
	long pos = 0;

	while (pos < n) {
		const struct dirent64_raw *raw = (const void *)(buf + pos);
		struct ply_dirent d = { .ino = raw->d_ino, .type = raw->d_type, .name = raw->d_name };
		int r;

		pos += raw->d_reclen;
		if (d.name[0] == '.' && (!d.name[1] || (d.name[1] == '.' && !d.name[2])))
			continue;
		r = each(arg, &d);
		if (r)
			return r;
	}
	return 0;
}

int ply_sys_readdir(int fd, int (*each)(void *arg, const struct ply_dirent *d), void *arg)
{
	_Alignas(struct dirent64_raw) char first[DENTS_FIRST];
	ply_autofree char *large = NULL;
	char *buf = first;
	size_t size = sizeof(first);

	for (;;) {
		long n = SYS_RETRY(syscall(SYS_getdents64, fd, buf, size));
		int r;

		if (n <= 0)
			return (int)n;
		r = dents_each(buf, n, each, arg);
		if (r)
			return r;
		/* Memory that is mapped, touched and given back costs more than the call. */
		if (!large && n > DENTS_FIRST - DENTS_ONE) {
			large = malloc(DENTS_SIZE);
			if (!large)
				return -ENOMEM;
			buf = large;
			size = DENTS_SIZE;
		}
	}
}

int ply_sys_clone_mount_ro(int dirfd)
{
	struct ply_mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY, .propagation = MS_PRIVATE };
	ply_autofd fd = -1;
	int r;

	fd = (int)SYS_RETRY(syscall(SYS_open_tree, dirfd, "",
				    AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
	if (fd < 0)
		return fd;
	r = (int)SYS_RETRY(syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)));
	if (r)
		return r;
	return ply_take_fd(&fd);
}
