/* SPDX-License-Identifier: GPL-2.0-or-later */
/* compat: what older libcs and kernel headers lack; numbers from the kernel's UAPI headers. */
#ifndef PLY_COMPAT_H
#define PLY_COMPAT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>		/* RENAME_* */
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342		/* Linux 5.4's header */
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452			/* Linux 6.6 */
#endif
#ifndef SYS_setxattrat
#define SYS_setxattrat 463			/* Linux 6.13, these four */
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#endif
#ifndef SYS_statmount
#define SYS_statmount 457			/* Linux 6.8, these two */
#define SYS_listmount 458
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif
#ifndef MOUNT_ATTR_RDONLY
#define MOUNT_ATTR_RDONLY 0x00000001
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef RENAME_WHITEOUT
#define RENAME_WHITEOUT (1 << 2)
#endif
#ifndef O_PATH
#define O_PATH 010000000
#endif

/* struct fsuuid2 and FS_IOC_GETFSUUID of <linux/fs.h>, Linux 6.9 */
struct ply_fsuuid2 {
	uint8_t len;
	uint8_t uuid[16];
};
#define PLY_IOC_GETFSUUID _IOR(0x15, 0, struct ply_fsuuid2)

/* EXT4_IOC_GETFSUUID, Linux 6.0. Its size is that of the head. */
struct ply_ext4_uuid {
	uint32_t len, flags;
	uint8_t uuid[16];
};
#define PLY_EXT4_IOC_GETFSUUID _IOR('f', 44, uint32_t[2])

/* struct xfs_fsop_geom_v1 and XFS_IOC_FSGEOMETRY_V1 of <xfs/xfs_fs.h> */
struct ply_xfs_geometry {
	uint64_t sizes[8];
	uint8_t uuid[16];
	uint64_t more[4];
};
#define PLY_XFS_IOC_FSGEOMETRY _IOR('X', 100, struct ply_xfs_geometry)

/* struct mount_attr of <linux/mount.h>, which old libcs lack and new ones clash with. */
struct ply_mount_attr {
	uint64_t attr_set;
	uint64_t attr_clr;
	uint64_t propagation;
	uint64_t userns_fd;
};

/* struct mnt_id_req and struct statmount of <linux/mount.h>, as of Linux 6.8; strings are offsets in str */
struct ply_mnt_id_req {
	uint32_t size, spare;
	uint64_t mnt_id, param;
};
struct ply_statmount {
	uint32_t size, mnt_opts;
	uint64_t mask;
	uint32_t sb_dev_major, sb_dev_minor;
	uint64_t sb_magic;
	uint32_t sb_flags, fs_type;
	uint64_t mnt_id, mnt_parent_id;
	uint32_t mnt_id_old, mnt_parent_id_old;
	uint64_t mnt_attr, mnt_propagation, mnt_peer_group, mnt_master, propagate_from;
	uint32_t mnt_root, mnt_point;
	uint64_t later[50];
	char str[];
};
#define PLY_STATMOUNT_SB_BASIC 0x1
#define PLY_STATMOUNT_MNT_BASIC 0x2
#define PLY_STATMOUNT_MNT_ROOT 0x8
#define PLY_STATMOUNT_MNT_POINT 0x10
#define PLY_LSMT_ROOT UINT64_MAX
#define PLY_STATX_MNT_ID_UNIQUE 0x4000
#define PLY_MOUNT_ATTR_IDMAP 0x00100000

/* struct xattr_args of <linux/xattr.h> */
struct ply_xattr_args {
	uint64_t __attribute__((aligned(8))) value;
	uint32_t size;
	uint32_t flags;
};

#endif
