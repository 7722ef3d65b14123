/* SPDX-License-Identifier: GPL-2.0-or-later */
/* io: what is done through a handle. Results as the syscall's; -errno. No locks are held. */
#ifndef PLY_IO_H
#define PLY_IO_H

#include "handle.h"

/* Nothing to do on a volatile mount, nor for a file of a lower layer. */
int ply_io_fsync(struct ply_fs *fs, struct ply_handle *h, bool datasync);
int ply_io_fsyncdir(struct ply_fs *fs, struct ply_node *dir, bool datasync);
ssize_t ply_io_read(struct ply_fs *fs, struct ply_handle *h, void *buf, size_t size, off_t off);
/* All of it, or -errno when nothing could be written. `kill`: drop suid, sgid as for an ordinary user. */
ssize_t ply_io_write(struct ply_fs *fs, struct ply_handle *h, const void *buf, size_t size, off_t off, bool kill);
/*
 * The same for pages that the kernel writes back on its own (FUSE_WRITE_CACHE): with the writeback cache it keeps the
 * file's mtime and tells it by SETATTR, but only if it is another than the last; so the layer's must not move by the writing.
 */
ssize_t ply_io_write_back(struct ply_fs *fs, struct ply_handle *h, const void *buf, size_t size, off_t off, bool kill);
/* Around the change of a SETATTR: no such write puts an older mtime back over it. lock.h; nothing without the writeback cache. */
void ply_io_times_lock(struct ply_fs *fs, struct ply_node *n);
void ply_io_times_unlock(struct ply_fs *fs, struct ply_node *n);
int ply_io_fallocate(struct ply_fs *fs, struct ply_handle *h, int mode, off_t off, off_t len, bool kill);
off_t ply_io_lseek(struct ply_fs *fs, struct ply_handle *h, off_t off, int whence);
ssize_t ply_io_copy_range(struct ply_fs *fs, struct ply_handle *in, off_t ioff, struct ply_handle *out, off_t ooff,
			  size_t len, unsigned int flags, bool kill);
/* Of the upper, or of the topmost lower. */
int ply_io_statfs(struct ply_fs *fs, struct statvfs *st);
/*
 * FS_IOC_GETFLAGS/SETFLAGS/FSGETXATTR/FSSETXATTR, others -ENOTTY. Copies up for setting. h may be NULL
 * (directories). arg: in and out, at least PLY_IO_IOCTL_MAX bytes.
 */
#define PLY_IO_IOCTL_MAX 64
int ply_io_ioctl(struct ply_fs *fs, struct ply_node *n, struct ply_handle *h, unsigned int cmd, void *arg);

#endif
