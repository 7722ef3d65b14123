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

/* struct xattr_args of <linux/xattr.h> */
struct ply_xattr_args {
	uint64_t __attribute__((aligned(8))) value;
	uint32_t size;
	uint32_t flags;
};

#endif
