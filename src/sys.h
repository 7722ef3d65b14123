/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sys: every syscall, in *at() form. Results: >= 0 or -errno; EINTR is retried
 * where that is right; fds are O_CLOEXEC. Nothing else in src/ but the programs
 * reads errno. Unit tests wrap these functions (-Wl,--wrap=ply_sys_...) to make
 * the nth call fail: so everything that can fail on a layer goes through here.
 */
#ifndef PLY_SYS_H
#define PLY_SYS_H

#include "compat.h"
#include "util.h"
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>

/*
 * An object of a layer: directory fd + one component, or name "" for the fd's own
 * object (any kind of fd, O_PATH too). Never follows a symlink.
 */
struct ply_at {
	int fd;
	const char *name;
};
#define PLY_AT(f, n) ((struct ply_at){ .fd = (f), .name = (n) })
#define PLY_FD(f) ((struct ply_at){ .fd = (f), .name = "" })

/*
 * Called when an open finds no free descriptor: closes some that are only cached, says whether it could.
 * Takes no lock that a caller of ply_sys_open may hold. NULL: nobody is asked.
 */
typedef bool (*ply_sys_give_fds_fn)(void *arg);
void ply_sys_set_give_fds(ply_sys_give_fds_fn give, void *arg);
/*
 * A daemon without CAP_DAC_OVERRIDE (a plain user's, by fusermount3) changes upper by the rules of modes, which others than the
 * one who asks may not have to keep: a copy of a read-only file gets its attributes, a read-only directory gets
 * what is copied up below it. With this on, calls that make, remove, move and mark objects, and get EACCES, have the
 * owner's missing bits set for their time. Whether the one who asks may has been checked on the union by then; no such call
 * ever goes to a lower layer.
 */
void ply_sys_set_lend(bool on);
bool ply_sys_lends(void);
/*
 * Opens at.name below at.fd, O_NOFOLLOW | O_CLOEXEC added. With name "" the
 * object of an O_PATH fd is reopened through /proc/self/fd with these flags
 * (needs a non-symlink). Never blocks on fifos: callers pass O_PATH or O_NONBLOCK for
 * what may not be a regular file.
 */
int ply_sys_open(struct ply_at at, int flags, mode_t mode);
/*
 * Opens a relative path of several components (any length, also beyond PATH_MAX:
 * walked in pieces) below fd without following any symlink or leaving it:
 * openat2 RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, or by hand where openat2 is missing. "" and "." open fd itself.
 */
int ply_sys_open_beneath(int fd, const char *path, int flags);
/* A path that a person gave, as the kernel takes it: symlinks are followed. */
int ply_sys_open_path(const char *path, int flags);
int ply_sys_dup(int fd);
/* `over` becomes another of fd, in one step. */
int ply_sys_dup_over(int fd, int over);
/*
 * Makes the process's table of descriptors large enough for so many, as far as the limit goes. A process with threads waits for
 * all processors (synchronize_rcu(), 13 ms and more) each time that its table doubles, in the middle of some request: before the first thread.
 */
void ply_sys_reserve_fds(unsigned int n);
int ply_sys_stat(struct ply_at at, struct stat *st);
/*
 * What identifies the object of an fd, from the cache: asks no network or FUSE server
 * (it may be dead). *mnt is the id of its mount in mountinfo, 0 where the kernel does not tell (before 5.8).
 */
int ply_sys_identity(int fd, dev_t *dev, uint64_t *ino, uint64_t *mnt);
int ply_sys_statfs(int fd, struct statvfs *st);
int ply_sys_fs_magic(int fd, uint64_t *magic);
int ply_sys_mkdir(struct ply_at at, mode_t mode);
int ply_sys_mknod(struct ply_at at, mode_t mode, dev_t rdev);
int ply_sys_symlink(const char *target, struct ply_at at);
/* fd of an O_TMPFILE in directory dirfd; -EOPNOTSUPP where the filesystem has none. */
int ply_sys_tmpfile(int dirfd, int flags, mode_t mode);
/* Hard link; from may be an fd ("" name: AT_EMPTY_PATH, or /proc/self/fd where that is refused). */
int ply_sys_link(struct ply_at from, struct ply_at to);
int ply_sys_unlink(struct ply_at at);
int ply_sys_rmdir(struct ply_at at);
/* renameat2 with flags; */
int ply_sys_rename(struct ply_at from, struct ply_at to, unsigned int flags);
/* Malloced, NUL terminated target in *out. */
int ply_sys_readlink(struct ply_at at, char **out);
int ply_sys_chown(struct ply_at at, uid_t uid, gid_t gid);
/* Any type; -EOPNOTSUPP for symlinks. fchmodat2, or through /proc/self/fd. */
int ply_sys_chmod(struct ply_at at, mode_t mode);
int ply_sys_utimens(struct ply_at at, const struct timespec ts[2]);
int ply_sys_ftruncate(int fd, off_t size);
int ply_sys_fallocate(int fd, int mode, off_t off, off_t len);
int ply_sys_fsync(int fd, bool data_only);
int ply_sys_syncfs(int fd);
off_t ply_sys_lseek(int fd, off_t off, int whence);
ssize_t ply_sys_pread(int fd, void *buf, size_t len, off_t off);
ssize_t ply_sys_pwrite(int fd, const void *buf, size_t len, off_t off);
ssize_t ply_sys_copy_range(int in, off_t *ioff, int out, off_t *ooff, size_t len, unsigned int flags);
int ply_sys_clone_file(int out, int in);			/* FICLONE */
/* Part of a file for other system calls to read from, not for us: what cannot be read is SIGBUS here and -EFAULT there. */
int ply_sys_map(int fd, off_t off, size_t len, void **out);
void ply_sys_unmap(void *map, size_t len);
int ply_sys_set_direct(int fd, bool on);		/* O_DIRECT from now on, or not; -EINVAL where there is none */
/* Hints, which nobody waits for: to be read soon; to be on disk soon. */
void ply_sys_read_ahead(int fd, off_t off, off_t len);
/* Must the start of the file be read from a disk? False also where the filesystem does not tell that without doing it. */
bool ply_sys_is_cold(int fd);
/* How much this thread has had read from disks, in blocks; 0 where the kernel does not count it. */
uint64_t ply_sys_blocks_read(void);
void ply_sys_write_out(int fd, off_t off, off_t len);
int ply_sys_ioctl(int fd, unsigned long req, void *arg);
int ply_sys_flock(int fd, int op);

/*
 * Extended attributes: of a name through /proc/self/fd/N/name, of an fd (O_PATH too)
 * through /proc/self/fd/N; symlinks themselves, never their targets.
 * get: length, -ENODATA, -ERANGE when size is too small (size 0 asks for the length).
 */
ssize_t ply_sys_getxattr(struct ply_at at, const char *name, void *val, size_t size);
int ply_sys_setxattr(struct ply_at at, const char *name, const void *val, size_t size, int flags);
ssize_t ply_sys_listxattr(struct ply_at at, char *list, size_t size);
/* Of an fd that is no O_PATH one: without a way through /proc. */
ssize_t ply_sys_listxattr_fd(int fd, char *list, size_t size);
int ply_sys_removexattr(struct ply_at at, const char *name);
/* Whole value or list, any length, malloced (val[len] == 0 added). Length or -errno. */
ssize_t ply_sys_getxattr_alloc(struct ply_at at, const char *name, char **val);
ssize_t ply_sys_listxattr_alloc(struct ply_at at, char **list);

/*
 * name_to_handle_at(2): *type, fid bytes (max PLY_FH_MAX 128) -> length or -errno; -EOPNOTSUPP where the filesystem
 * cannot open what it would give (AT_HANDLE_FID is no identity that lasts: not asked for).
 */
int ply_sys_handle(struct ply_at at, int *type, uint8_t fid[128]);
/* open_by_handle_at(2) with O_PATH; mount_fd any fd on that filesystem: what it opens is on mount_fd's mount, and no more writable. -EPERM without CAP_DAC_READ_SEARCH. */
int ply_sys_open_handle(int mount_fd, int type, const uint8_t *fid, unsigned int len);
/* The superblock's uuid, zeros where it has none; -ENOTTY/-EOPNOTSUPP where it is not told: before Linux 6.9 but for ext4, xfs, btrfs. */
int ply_sys_fs_uuid(int fd, uint8_t uuid[16]);

/* --- directories --- */
struct ply_dirent {
	uint64_t ino;
	uint8_t type;			/* DT_* (DT_UNKNOWN possible) */
	const char *name;
};
/*
 * Reads the whole directory fd (opened for reading, position 0) and calls
 * each() per entry without "." and ".."; a non-zero return stops and is returned.
 */
int ply_sys_readdir(int fd, int (*each)(void *arg, const struct ply_dirent *d), void *arg);

/* Read-only private detached clone of the directory's mount tree: open_tree + mount_setattr. fd (O_PATH) or -errno. */
int ply_sys_clone_mount_ro(int dirfd);

#endif
