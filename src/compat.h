/* SPDX-License-Identifier: GPL-2.0-or-later */
/* compat: what older libcs and kernel headers lack; numbers from the kernel's UAPI headers. */
#ifndef PLY_COMPAT_H
#define PLY_COMPAT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>		/* RENAME_* */
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452			/* Linux 6.6 */
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
#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200			/* Linux 6.5 */
#endif
#ifndef O_PATH
#define O_PATH 010000000
#endif
#ifndef FS_IOC_GETFSUUID			/* Linux 6.9 */
struct ply_fsuuid2 {
	uint8_t len;
	uint8_t uuid[16];
};
#define PLY_IOC_GETFSUUID _IOR(0x15, 0, struct ply_fsuuid2)
#endif

#endif
