/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * faults: makes the nth call of a ply_sys_* function fail. A test program includes
 * this header once, after cmocka's, and has these lines for the linker (see autogen.sh):
 *
 *	// wrap: ply_sys_open ply_sys_open_beneath ply_sys_dup ply_sys_stat ply_sys_statfs ply_sys_fs_magic
 *	// wrap: ply_sys_mkdir ply_sys_mknod ply_sys_symlink ply_sys_tmpfile ply_sys_link ply_sys_unlink ply_sys_rmdir
 *	// wrap: ply_sys_rename ply_sys_readlink ply_sys_chown ply_sys_chmod ply_sys_utimens ply_sys_ftruncate
 *	// wrap: ply_sys_fallocate ply_sys_fsync ply_sys_syncfs ply_sys_lseek ply_sys_pread ply_sys_pwrite
 *	// wrap: ply_sys_copy_range ply_sys_clone_file ply_sys_ioctl ply_sys_flock ply_sys_getxattr ply_sys_setxattr
 *	// wrap: ply_sys_listxattr ply_sys_removexattr ply_sys_getxattr_alloc ply_sys_listxattr_alloc ply_sys_handle
 *	// wrap: ply_sys_open_path ply_sys_open_handle ply_sys_readdir ply_sys_clone_mount_ro
 *
 * (at the start of a line, without the star; fewer names: only those can fail.)
 * The usual loop: set the stage, then
 *
 *	for (long n = 1;; n++) {
 *		faults_arm(n, EIO, FAULTS_ANY);
 *		r = what_is_tested();
 *		if (!faults_disarm())
 *			break;			// fewer than n calls: it went through
 *		... r must be 0 (a fallback was found) or -EIO, and the layers as before or as after
 *	}
 */
#ifndef PLY_TEST_FAULTS_H
#define PLY_TEST_FAULTS_H

#include "sys.h"
#include <stdatomic.h>

enum {
	FAULTS_ANY = 0,
	FAULTS_CHANGES = 1,		/* count and fail only calls that change something on disk */
	FAULTS_STAY = 2,		/* once it failed all later ones (of that class) fail too, as on a dead disk */
};

static atomic_long faults_left_, faults_seen_;
static atomic_int faults_errno_, faults_flags_;
static _Atomic(const char *) faults_name_;

/* From now on the nth call (1 is the next) fails with err, without being carried out. */
static inline void faults_arm(long nth, int err, int flags)
{
	atomic_store(&faults_name_, NULL);
	atomic_store(&faults_seen_, 0);
	atomic_store(&faults_errno_, err);
	atomic_store(&faults_flags_, flags);
	atomic_store(&faults_left_, nth);
}

/* The name of the function that failed since faults_arm(), or NULL: none did. */
static inline const char *faults_disarm(void)
{
	atomic_store(&faults_left_, 0);
	return atomic_load(&faults_name_);
}

/* Calls since faults_arm(). */
static inline long faults_seen(void)
{
	return atomic_load(&faults_seen_);
}

/* 0, or the -errno that this call has to fail with. */
static inline int faults_now_(const char *name, bool changes)
{
	long left;

	if (atomic_load(&faults_left_) <= 0)
		return 0;
	if ((atomic_load(&faults_flags_) & FAULTS_CHANGES) && !changes)
		return 0;
	atomic_fetch_add(&faults_seen_, 1);
	left = atomic_load(&faults_left_);
	if (left > 1) {
		atomic_fetch_sub(&faults_left_, 1);
		return 0;
	}
	if (!atomic_load(&faults_name_))
		atomic_store(&faults_name_, name);
	if (!(atomic_load(&faults_flags_) & FAULTS_STAY))
		atomic_store(&faults_left_, 0);
	return -atomic_load(&faults_errno_);
}

/* Weak: a program that does not wrap a name has no __real_ of it, and no caller of its __wrap_. */
#define FAULTS_WRAP(changes, type, name, params, args)				\
	__attribute__((weak)) type __real_ply_sys_##name params;		\
	type __wrap_ply_sys_##name params;					\
	type __wrap_ply_sys_##name params					\
	{									\
		int faults_r_ = faults_now_("ply_sys_" #name, changes);		\
		return faults_r_ ? faults_r_ : __real_ply_sys_##name args;	\
	}

FAULTS_WRAP(flags & (O_CREAT | O_TRUNC), int, open, (struct ply_at at, int flags, mode_t mode), (at, flags, mode))
FAULTS_WRAP(false, int, open_beneath, (int fd, const char *path, int flags), (fd, path, flags))
FAULTS_WRAP(false, int, open_path, (const char *path, int flags), (path, flags))
FAULTS_WRAP(false, int, dup, (int fd), (fd))
FAULTS_WRAP(false, int, stat, (struct ply_at at, struct stat *st), (at, st))
FAULTS_WRAP(false, int, statfs, (int fd, struct statvfs *st), (fd, st))
FAULTS_WRAP(false, int, fs_magic, (int fd, uint64_t *magic), (fd, magic))
FAULTS_WRAP(true, int, mkdir, (struct ply_at at, mode_t mode), (at, mode))
FAULTS_WRAP(true, int, mknod, (struct ply_at at, mode_t mode, dev_t rdev), (at, mode, rdev))
FAULTS_WRAP(true, int, symlink, (const char *target, struct ply_at at), (target, at))
FAULTS_WRAP(true, int, tmpfile, (int dirfd, int flags, mode_t mode), (dirfd, flags, mode))
FAULTS_WRAP(true, int, link, (struct ply_at from, struct ply_at to), (from, to))
FAULTS_WRAP(true, int, unlink, (struct ply_at at), (at))
FAULTS_WRAP(true, int, rmdir, (struct ply_at at), (at))
FAULTS_WRAP(true, int, rename, (struct ply_at from, struct ply_at to, unsigned int flags), (from, to, flags))
FAULTS_WRAP(false, int, readlink, (struct ply_at at, char **out), (at, out))
FAULTS_WRAP(true, int, chown, (struct ply_at at, uid_t uid, gid_t gid), (at, uid, gid))
FAULTS_WRAP(true, int, chmod, (struct ply_at at, mode_t mode), (at, mode))
FAULTS_WRAP(true, int, utimens, (struct ply_at at, const struct timespec ts[2]), (at, ts))
FAULTS_WRAP(true, int, ftruncate, (int fd, off_t size), (fd, size))
FAULTS_WRAP(true, int, fallocate, (int fd, int mode, off_t off, off_t len), (fd, mode, off, len))
FAULTS_WRAP(true, int, fsync, (int fd, bool data_only), (fd, data_only))
FAULTS_WRAP(true, int, syncfs, (int fd), (fd))
FAULTS_WRAP(false, off_t, lseek, (int fd, off_t off, int whence), (fd, off, whence))
FAULTS_WRAP(false, ssize_t, pread, (int fd, void *buf, size_t len, off_t off), (fd, buf, len, off))
FAULTS_WRAP(true, ssize_t, pwrite, (int fd, const void *buf, size_t len, off_t off), (fd, buf, len, off))
FAULTS_WRAP(true, ssize_t, copy_range, (int in, off_t *ioff, int out, off_t *ooff, size_t len, unsigned int flags),
	    (in, ioff, out, ooff, len, flags))
FAULTS_WRAP(true, int, clone_file, (int out, int in), (out, in))
FAULTS_WRAP(false, int, ioctl, (int fd, unsigned long req, void *arg), (fd, req, arg))
FAULTS_WRAP(false, int, flock, (int fd, int op), (fd, op))
FAULTS_WRAP(false, ssize_t, getxattr, (struct ply_at at, const char *name, void *val, size_t size),
	    (at, name, val, size))
FAULTS_WRAP(true, int, setxattr, (struct ply_at at, const char *name, const void *val, size_t size, int flags),
	    (at, name, val, size, flags))
FAULTS_WRAP(false, ssize_t, listxattr, (struct ply_at at, char *list, size_t size), (at, list, size))
FAULTS_WRAP(true, int, removexattr, (struct ply_at at, const char *name), (at, name))
FAULTS_WRAP(false, ssize_t, getxattr_alloc, (struct ply_at at, const char *name, char **val), (at, name, val))
FAULTS_WRAP(false, ssize_t, listxattr_alloc, (struct ply_at at, char **list), (at, list))
FAULTS_WRAP(false, int, handle, (struct ply_at at, int *type, uint8_t fid[128]), (at, type, fid))
FAULTS_WRAP(false, int, open_handle, (int mount_fd, int type, const uint8_t *fid, unsigned int len),
	    (mount_fd, type, fid, len))
FAULTS_WRAP(false, int, readdir, (int fd, int (*each)(void *arg, const struct ply_dirent *d), void *arg),
	    (fd, each, arg))
FAULTS_WRAP(false, int, clone_mount_ro, (int dirfd), (dirfd))

/* Never wrapped: weak references alone would not bring sys.o and sys_fs.o out of the library. */
static __attribute__((used)) int (*const faults_keep_sys_)(int, dev_t *, uint64_t *, uint64_t *) = ply_sys_identity;
static __attribute__((used)) int (*const faults_keep_sys_fs_)(int, uint8_t *) = ply_sys_fs_uuid;

#endif
