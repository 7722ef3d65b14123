// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys.h"
#include "sys_call.h"

#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#define NAME_LEN_MAX 255

/* --- running out of descriptors --- */

#define GIVE_TRIES 8

static _Atomic(ply_sys_give_fds_fn) give_fds;
static _Atomic(void *) give_fds_arg;

void ply_sys_set_give_fds(ply_sys_give_fds_fn give, void *arg)
{
	atomic_store(&give_fds_arg, arg);
	atomic_store(&give_fds, give);
}

static bool sys_give_fds(int tries)
{
	ply_sys_give_fds_fn give = atomic_load(&give_fds);

	return give && tries < GIVE_TRIES && give(atomic_load(&give_fds_arg));
}

/* A call that opens: when no descriptor is left, again once a cache has given some back. */
#define SYS_OPEN(call) ({						\
	int tries_ = 0;							\
	long fd_;							\
									\
	do {								\
		fd_ = SYS_RETRY(call);					\
	} while ((fd_ == -EMFILE || fd_ == -ENFILE) && sys_give_fds(tries_++)); \
	fd_;								\
})

static inline bool is_fd_itself(struct ply_at at)
{
	return !at.name[0];
}

/* --- what this kernel has --- */

enum feature { HAS_OPENAT2, HAS_FCHMODAT2, HAS_XATTRAT, FEATURES };

static atomic_int features[FEATURES];	/* 0 not asked yet, 1 there, 2 missing */

/*
 * A call that exists finds the fd -1 bad. ENOSYS would be the only other answer, were
 * it not for seccomp filters that say EPERM to what they don't know: hence a
 * probe, as EPERM of the real call can be true.
 */
static bool sys_has(enum feature f)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC };
	struct ply_xattr_args args = { 0 };
	int state = atomic_load_explicit(&features[f], memory_order_relaxed);
	long r = -1;

	if (state)
		return state == 1;
	errno = 0;
	switch (f) {
	case HAS_OPENAT2:
		r = syscall(SYS_openat2, -1, "x", &how, sizeof(how));
		break;
	case HAS_FCHMODAT2:
		r = syscall(SYS_fchmodat2, -1, "x", 0, AT_SYMLINK_NOFOLLOW);
		break;
	case HAS_XATTRAT:
		r = syscall(SYS_getxattrat, -1, "x", AT_SYMLINK_NOFOLLOW, "user.x", &args, sizeof(args));
		break;
	case FEATURES:
		break;
	}
	state = r < 0 && errno == EBADF ? 1 : 2;
	atomic_store_explicit(&features[f], state, memory_order_relaxed);
	return state == 1;
}

/* --- ways to an object --- */

#define PROC_PATH_MAX (sizeof("/proc/self/fd/2147483647/") + NAME_LEN_MAX)

/* Through the magic link to the object itself, whatever kind of fd it is. */
static int proc_path(struct ply_at at, char out[PROC_PATH_MAX])
{
	int n;

	if (strlen(at.name) > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	if (at.fd < 0 && at.fd != AT_FDCWD)
		return -EBADF;
	if (at.fd == AT_FDCWD)
		n = snprintf(out, PROC_PATH_MAX, "./%s", at.name);
	else
		n = snprintf(out, PROC_PATH_MAX, is_fd_itself(at) ? "/proc/self/fd/%d%s" : "/proc/self/fd/%d/%s",
			     at.fd, at.name);
	return n < 0 || (size_t)n >= PROC_PATH_MAX ? -ENAMETOOLONG : 0;
}

/* Directories are reached without /proc; it alone opens one that may be read but not searched. */
static int reopen(int fd, int flags, mode_t mode)
{
	char path[PROC_PATH_MAX];
	int r;

	if (flags & O_DIRECTORY) {
		r = (int)SYS_RETRY(openat(fd, ".", flags | O_CLOEXEC, mode));
		if (r != -EACCES)
			return r;
	}
	r = proc_path(PLY_FD(fd), path);
	if (r)
		return r;
	return (int)SYS_RETRY(open(path, (flags & ~O_NOFOLLOW) | O_CLOEXEC, mode));
}

int ply_sys_open(struct ply_at at, int flags, mode_t mode)
{
	if (is_fd_itself(at))
		return reopen(at.fd, flags, mode);
	return (int)SYS_OPEN(openat(at.fd, at.name, flags | O_NOFOLLOW | O_CLOEXEC, mode));
}

/* openat2 refuses flags that open ignores. */
static int openat2_flags(int flags)
{
	if (flags & O_PATH)
		return flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return (flags & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_ASYNC | O_DIRECT | O_DIRECTORY |
			 O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_NOCTTY | O_TRUNC)) | O_LARGEFILE;
}

static int open_resolved(int fd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)openat2_flags(flags),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};

	return (int)SYS_OPEN(syscall(SYS_openat2, fd, path, &how, sizeof(how)));
}

/* The same by hand. O_NOFOLLOW on each component stands for RESOLVE_NO_SYMLINKS. */
static int open_by_hand(int fd, const char *path, int flags)
{
	ply_autofd dir = -1;
	char name[NAME_LEN_MAX + 1];
	int at = fd;

	for (;;) {
		size_t n = strcspn(path, "/");
		const char *rest = path + n + strspn(path + n, "/");
		int next;

		if (n > NAME_LEN_MAX)
			return -ENAMETOOLONG;
		memcpy(name, path, n);
		name[n] = '\0';
		if (!*rest) {
			/* "dir/" demands a directory, as it does in openat2. */
			if (path[n])
				flags |= O_DIRECTORY;
			return (int)SYS_OPEN(openat(at, name, flags | O_NOFOLLOW | O_CLOEXEC));
		}
		next = (int)SYS_OPEN(openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
		if (next < 0)
			return next;
		if (dir >= 0)
			close(dir);
		dir = at = next;
		path = rest;
	}
}

static bool climbs(const char *path)
{
	for (;;) {
		size_t n = strcspn(path, "/");

		if (n == 2 && path[0] == '.' && path[1] == '.')
			return true;
		if (!path[n])
			return false;
		path += n + 1;
	}
}

int ply_sys_open_beneath(int fd, const char *path, int flags)
{
	ply_autofd dir = -1;

	if (path[0] == '/' || climbs(path))
		return -EXDEV;
	while (path[0] == '.' && path[1] == '/')
		path += 1 + strspn(path + 1, "/");
	if (!path[0] || !strcmp(path, "."))
		return ply_sys_open(PLY_FD(fd), flags, 0);
	flags = (flags | O_NOFOLLOW | O_CLOEXEC) & ~(O_CREAT | O_EXCL);
	if (!sys_has(HAS_OPENAT2))
		return open_by_hand(fd, path, flags);

	/* Beyond PATH_MAX the kernel takes it in pieces only. */
	while (strlen(path) >= PATH_MAX) {
		char piece[PATH_MAX / 2];
		size_t n = sizeof(piece) - 1;
		int next;

		while (n && path[n] != '/')
			n--;
		if (!n)
			return -ENAMETOOLONG;
		memcpy(piece, path, n);
		piece[n] = '\0';
		next = open_resolved(fd, piece, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (next < 0)
			return next;
		if (dir >= 0)
			close(dir);
		fd = dir = next;
		path += n + strspn(path + n, "/");
		if (!path[0])
			return ply_sys_open(PLY_FD(fd), flags | O_DIRECTORY, 0);
	}
	return open_resolved(fd, path, flags);
}

int ply_sys_open_path(const char *path, int flags)
{
	return (int)SYS_RETRY(open(path, flags | O_CLOEXEC));
}

int ply_sys_dup(int fd)
{
	return (int)SYS_RETRY(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

int ply_sys_dup_over(int fd, int over)
{
	int r = (int)SYS_RETRY(dup3(fd, over, O_CLOEXEC));

	return r < 0 ? r : 0;
}

void ply_sys_reserve_fds(unsigned int n)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return;
	n = (unsigned int)ply_min((rlim_t)n, lim.rlim_cur);

	/* The table never shrinks. Any descriptor will do. */
	ply_autofd any = n ? ply_sys_open_path("/", O_PATH) : -1;
	int last = any >= 0 ? (int)SYS_RETRY(fcntl(any, F_DUPFD_CLOEXEC, (int)n - 1)) : -1;

	if (last >= 0)
		close(last);
}

int ply_sys_stat(struct ply_at at, struct stat *st)
{
	struct stat tmp;
	int r;

	if (is_fd_itself(at))
		r = (int)SYS_RETRY(fstat(at.fd, &tmp));
	else
		r = (int)SYS_RETRY(fstatat(at.fd, at.name, &tmp, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT));
	if (!r)
		*st = tmp;
	return r;
}

int ply_sys_identity(int fd, dev_t *dev, uint64_t *ino, uint64_t *mnt)
{
	struct statx stx;
	struct stat st;
	int r = (int)SYS_RETRY(statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
				     STATX_INO | STATX_MNT_ID, &stx));

	if (!r) {
		*dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
		*ino = stx.stx_ino;
		*mnt = stx.stx_mask & STATX_MNT_ID ? stx.stx_mnt_id : 0;
		return 0;
	}
	/* EINVAL: the libc's stand-in for a missing statx knows fewer flags. */
	if (r != -ENOSYS && r != -EPERM && r != -EINVAL)
		return r;
	r = ply_sys_stat(PLY_FD(fd), &st);
	if (r)
		return r;
	*dev = st.st_dev;
	*ino = st.st_ino;
	*mnt = 0;
	return 0;
}

/* --- a mode that keeps its owner out --- */

static atomic_bool lends;

void ply_sys_set_lend(bool on)
{
	atomic_store(&lends, on);
}

bool ply_sys_lends(void)
{
	return atomic_load_explicit(&lends, memory_order_relaxed);
}

/* What a call needs of an object: for the owner, these bits of its mode. */
struct need {
	struct ply_at at;
	mode_t bits;
	bool dirs_only;
};

#define NEEDS_MAX 4

struct lent {
	unsigned int n;
	struct {
		int fd;
		mode_t was, now;
	} of[NEEDS_MAX];
};

/* Two at once would each take the other's mode for the object's own. A leaf: nothing is locked below it. */
static pthread_mutex_t lend_lock = PTHREAD_MUTEX_INITIALIZER;

static void lend_one(struct lent *l, const struct need *need)
{
	ply_autofd fd = ply_sys_open(need->at, O_PATH, 0);
	struct stat st;
	mode_t was;

	if (fd < 0 || ply_sys_stat(PLY_FD(fd), &st) || S_ISLNK(st.st_mode) || (need->dirs_only && !S_ISDIR(st.st_mode)))
		return;
	was = st.st_mode & 07777;
	if ((was & need->bits) == need->bits || ply_sys_chmod(PLY_FD(fd), was | need->bits))
		return;
	l->of[l->n].was = was;
	l->of[l->n].now = was | need->bits;
	l->of[l->n++].fd = ply_take_fd(&fd);
}

/* False, and nothing to end: it is not the mode that is in the way, or not ours. */
static bool lend_begin(struct lent *l, const struct need *needs, unsigned int n)
{
	l->n = 0;
	pthread_mutex_lock(&lend_lock);
	for (unsigned int i = 0; i < n; i++)
		lend_one(l, &needs[i]);
	if (!l->n)
		pthread_mutex_unlock(&lend_lock);
	return l->n;
}

static void lend_end(struct lent *l)
{
	struct stat st;

	while (l->n--) {
		int fd = l->of[l->n].fd;

		/* Somebody's chmod in between stays. */
		if (!ply_sys_stat(PLY_FD(fd), &st) && (st.st_mode & 07777) == l->of[l->n].now)
			(void)ply_sys_chmod(PLY_FD(fd), l->of[l->n].was);
		close(fd);
	}
	pthread_mutex_unlock(&lend_lock);
}

/* A call that changes upper: refused for a mode, again once that has been put aside. */
#define SYS_LEND(call, ...) ({						\
	long lend_r_ = SYS_RETRY(call);					\
									\
	if (lend_r_ == -EACCES && ply_sys_lends()) {			\
		const struct need needs_[] = { __VA_ARGS__ };		\
		struct lent lent_;					\
									\
		if (lend_begin(&lent_, needs_, PLY_ARRAY_SIZE(needs_))) { \
			lend_r_ = SYS_RETRY(call);			\
			lend_end(&lent_);				\
		}							\
	}								\
	lend_r_; })
#define NEED_NAMES(dirfd) { .at = PLY_FD(dirfd), .bits = 0300 }
#define NEED_WRITE(what) { .at = (what), .bits = 0200 }
#define NEED_MOVED(what) { .at = (what), .bits = 0200, .dirs_only = true }

/* --- names --- */

int ply_sys_mkdir(struct ply_at at, mode_t mode)
{
	return (int)SYS_LEND(mkdirat(at.fd, at.name, mode), NEED_NAMES(at.fd));
}

int ply_sys_mknod(struct ply_at at, mode_t mode, dev_t rdev)
{
	return (int)SYS_LEND(mknodat(at.fd, at.name, mode, rdev), NEED_NAMES(at.fd));
}

int ply_sys_symlink(const char *target, struct ply_at at)
{
	return (int)SYS_LEND(symlinkat(target, at.fd, at.name), NEED_NAMES(at.fd));
}

int ply_sys_tmpfile(int dirfd, int flags, mode_t mode)
{
	int r = (int)SYS_OPEN(openat(dirfd, ".", O_TMPFILE | flags | O_CLOEXEC, mode));

	/* What a kernel without O_TMPFILE makes of its bits: open a directory for writing. */
	return r == -EISDIR || r == -ENOENT ? -EOPNOTSUPP : r;
}

int ply_sys_link(struct ply_at from, struct ply_at to)
{
	static atomic_bool through_proc;
	char path[PROC_PATH_MAX];
	int r;

	if (!is_fd_itself(from))
		return (int)SYS_LEND(linkat(from.fd, from.name, to.fd, to.name, 0), NEED_NAMES(to.fd));
	if (!atomic_load_explicit(&through_proc, memory_order_relaxed)) {
		/* Without CAP_DAC_READ_SEARCH: ENOENT. */
		r = (int)SYS_LEND(linkat(from.fd, "", to.fd, to.name, AT_EMPTY_PATH), NEED_NAMES(to.fd));
		if (r != -ENOENT && r != -EPERM && r != -EINVAL)
			return r;
	}
	r = proc_path(from, path);
	if (r)
		return r;
	r = (int)SYS_LEND(linkat(AT_FDCWD, path, to.fd, to.name, AT_SYMLINK_FOLLOW), NEED_NAMES(to.fd));
	if (!r)
		atomic_store_explicit(&through_proc, true, memory_order_relaxed);
	return r;
}

int ply_sys_unlink(struct ply_at at)
{
	return (int)SYS_LEND(unlinkat(at.fd, at.name, 0), NEED_NAMES(at.fd));
}

int ply_sys_rmdir(struct ply_at at)
{
	return (int)SYS_LEND(unlinkat(at.fd, at.name, AT_REMOVEDIR), NEED_NAMES(at.fd));
}

int ply_sys_rename(struct ply_at from, struct ply_at to, unsigned int flags)
{
	int r;

	if (!flags)
		return (int)SYS_LEND(renameat(from.fd, from.name, to.fd, to.name), NEED_NAMES(from.fd), NEED_NAMES(to.fd),
				     NEED_MOVED(from));
	r = (int)SYS_LEND(renameat2(from.fd, from.name, to.fd, to.name, flags), NEED_NAMES(from.fd), NEED_NAMES(to.fd),
			  NEED_MOVED(from), NEED_MOVED(to));
	/* A filesystem that does not know the flag says EINVAL; so does this for a kernel. */
	return r == -ENOSYS ? -EINVAL : r;
}

int ply_sys_readlink(struct ply_at at, char **out)
{
	ply_autofree char *buf = NULL;
	size_t size = 256;

	for (;;) {
		ssize_t n;
		char *p = realloc(buf, size);

		if (!p)
			return -ENOMEM;
		buf = p;
		n = SYS_RETRY(readlinkat(at.fd, at.name, buf, size));
		if (n < 0)
			return n == -ENOENT && is_fd_itself(at) ? -EINVAL : (int)n;
		if ((size_t)n < size) {
			buf[n] = '\0';
			*out = ply_take_ptr(&buf);
			return 0;
		}
		if (size > (1u << 20))
			return -ENAMETOOLONG;
		size *= 4;
	}
}

/* --- attributes --- */

int ply_sys_chown(struct ply_at at, uid_t uid, gid_t gid)
{
	return (int)SYS_RETRY(fchownat(at.fd, at.name, uid, gid,
				       AT_SYMLINK_NOFOLLOW | (is_fd_itself(at) ? AT_EMPTY_PATH : 0)));
}

int ply_sys_chmod(struct ply_at at, mode_t mode)
{
	ply_autofd fd = -1;
	char path[PROC_PATH_MAX];
	struct stat st;
	int r;

	if (sys_has(HAS_FCHMODAT2))
		return (int)SYS_RETRY(syscall(SYS_fchmodat2, at.fd, at.name, mode,
					      AT_SYMLINK_NOFOLLOW | (is_fd_itself(at) ? AT_EMPTY_PATH : 0)));
	if (!is_fd_itself(at)) {
		fd = ply_sys_open(at, O_PATH, 0);
		if (fd < 0)
			return fd;
		at = PLY_FD(fd);
	}
	r = ply_sys_stat(at, &st);
	if (r)
		return r;
	/* Some filesystems of older kernels change a symlink's mode and then fail. */
	if (S_ISLNK(st.st_mode))
		return -EOPNOTSUPP;
	r = proc_path(at, path);
	if (r)
		return r;
	return (int)SYS_RETRY(chmod(path, mode));
}

int ply_sys_utimens(struct ply_at at, const struct timespec ts[2])
{
	char path[PROC_PATH_MAX];
	int r;

	if (!is_fd_itself(at))
		return (int)SYS_RETRY(utimensat(at.fd, at.name, ts, AT_SYMLINK_NOFOLLOW));
	r = (int)SYS_RETRY(utimensat(at.fd, "", ts, AT_EMPTY_PATH));
	if (r != -EINVAL && r != -ENOENT)
		return r;
	/* AT_EMPTY_PATH here is of Linux 5.8. */
	r = proc_path(at, path);
	if (r)
		return r;
	return (int)SYS_RETRY(utimensat(AT_FDCWD, path, ts, 0));
}

/* --- data --- */

int ply_sys_ftruncate(int fd, off_t size)
{
	return (int)SYS_RETRY(ftruncate(fd, size));
}

int ply_sys_fallocate(int fd, int mode, off_t off, off_t len)
{
	return (int)SYS_RETRY(fallocate(fd, mode, off, len));
}

int ply_sys_fsync(int fd, bool data_only)
{
	ply_autofd again = -1;
	int r = (int)SYS_RETRY(data_only ? fdatasync(fd) : fsync(fd));

	if (r != -EBADF)
		return r;
	again = reopen(fd, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (again < 0)
		return again;
	return (int)SYS_RETRY(data_only ? fdatasync(again) : fsync(again));
}

int ply_sys_syncfs(int fd)
{
	ply_autofd again = -1;
	int r = (int)SYS_RETRY(syncfs(fd));

	if (r != -EBADF)
		return r;
	again = reopen(fd, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (again < 0)
		return again;
	return (int)SYS_RETRY(syncfs(again));
}

off_t ply_sys_lseek(int fd, off_t off, int whence)
{
	off_t r;

	do {
		r = lseek(fd, off, whence);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -(off_t)errno : r;
}

ssize_t ply_sys_pread(int fd, void *buf, size_t len, off_t off)
{
	return SYS_RETRY(pread(fd, buf, len, off));
}

ssize_t ply_sys_pwrite(int fd, const void *buf, size_t len, off_t off)
{
	return SYS_RETRY(pwrite(fd, buf, len, off));
}

ssize_t ply_sys_copy_range(int in, off_t *ioff, int out, off_t *ooff, size_t len, unsigned int flags)
{
	return SYS_RETRY(copy_file_range(in, ioff, out, ooff, len, flags));
}

int ply_sys_clone_file(int out, int in)
{
	return (int)SYS_RETRY(ioctl(out, FICLONE, in));
}

int ply_sys_ioctl(int fd, unsigned long req, void *arg)
{
	int r = ioctl(fd, req, arg);

	return r < 0 ? -errno : r;
}

int ply_sys_map(int fd, off_t off, size_t len, void **out)
{
	void *map = mmap(NULL, len, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, off);

	if (map == MAP_FAILED)
		return -errno;
	*out = map;
	return 0;
}

void ply_sys_unmap(void *map, size_t len)
{
	(void)munmap(map, len);
}

int ply_sys_set_direct(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = on ? flags | O_DIRECT : flags & ~O_DIRECT;
	return fcntl(fd, F_SETFL, flags) ? -errno : 0;
}

void ply_sys_read_ahead(int fd, off_t off, off_t len)
{
	(void)posix_fadvise(fd, off, len, POSIX_FADV_WILLNEED);
}

bool ply_sys_is_cold(int fd)
{
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };

	return preadv2(fd, &iov, 1, 0, RWF_NOWAIT) < 0 && errno == EAGAIN;
}

uint64_t ply_sys_blocks_read(void)
{
	struct rusage use;

	return getrusage(RUSAGE_THREAD, &use) ? 0 : (uint64_t)use.ru_inblock;
}

void ply_sys_write_out(int fd, off_t off, off_t len)
{
	(void)sync_file_range(fd, off, len, SYNC_FILE_RANGE_WRITE);
}

int ply_sys_flock(int fd, int op)
{
	return (int)SYS_RETRY(flock(fd, op));
}

/* --- extended attributes --- */

/*
 * Only names go the short way: the *xattrat calls do not take O_PATH fds with an
 * empty path, and the magic link takes all.
 */
static bool xattr_short_way(struct ply_at at)
{
	return !is_fd_itself(at) && sys_has(HAS_XATTRAT);
}

/* struct posix_acl_xattr_header, posix_acl_xattr_entry */
#define ACL_HEADER 4u
#define ACL_ENTRY 8u

ssize_t ply_sys_getxattr(struct ply_at at, const char *name, void *val, size_t size)
{
	struct ply_xattr_args args = { .value = (uintptr_t)val, .size = (uint32_t)size };
	char path[PROC_PATH_MAX];
	int r;

	if (xattr_short_way(at))
		return SYS_RETRY(syscall(SYS_getxattrat, at.fd, at.name, AT_SYMLINK_NOFOLLOW, name, &args,
					 sizeof(args)));
	r = proc_path(at, path);
	if (r)
		return r;
	/*
	 * Linux up to 6.1 maps the ids of an ACL for an idmapped mount only if the buffer, not the value, has the length of
	 * some ACL.
	 */
	if (size > ACL_HEADER && !strncmp(name, "system.posix_acl_", 17))
		size -= (size - ACL_HEADER) % ACL_ENTRY;
	return is_fd_itself(at) ? SYS_RETRY(getxattr(path, name, val, size)) :
				  SYS_RETRY(lgetxattr(path, name, val, size));
}

int ply_sys_setxattr(struct ply_at at, const char *name, const void *val, size_t size, int flags)
{
	struct ply_xattr_args args = {
		.value = (uintptr_t)val, .size = (uint32_t)size, .flags = (uint32_t)flags
	};
	char path[PROC_PATH_MAX];
	int r;

	if (xattr_short_way(at))
		return (int)SYS_LEND(syscall(SYS_setxattrat, at.fd, at.name, AT_SYMLINK_NOFOLLOW, name, &args,
					     sizeof(args)), NEED_WRITE(at));
	/* All but O_PATH ones are taken as they are. */
	if (is_fd_itself(at)) {
		r = (int)SYS_LEND(fsetxattr(at.fd, name, val, size, flags), NEED_WRITE(at));
		if (r != -EBADF)
			return r;
	}
	r = proc_path(at, path);
	if (r)
		return r;
	return (int)SYS_LEND(is_fd_itself(at) ? setxattr(path, name, val, size, flags) :
						lsetxattr(path, name, val, size, flags), NEED_WRITE(at));
}

ssize_t ply_sys_listxattr(struct ply_at at, char *list, size_t size)
{
	char path[PROC_PATH_MAX];
	int r;

	if (xattr_short_way(at))
		return SYS_RETRY(syscall(SYS_listxattrat, at.fd, at.name, AT_SYMLINK_NOFOLLOW, list, size));
	r = proc_path(at, path);
	if (r)
		return r;
	return is_fd_itself(at) ? SYS_RETRY(listxattr(path, list, size)) : SYS_RETRY(llistxattr(path, list, size));
}

ssize_t ply_sys_listxattr_fd(int fd, char *list, size_t size)
{
	return SYS_RETRY(flistxattr(fd, list, size));
}

int ply_sys_removexattr(struct ply_at at, const char *name)
{
	char path[PROC_PATH_MAX];
	int r;

	if (xattr_short_way(at))
		return (int)SYS_LEND(syscall(SYS_removexattrat, at.fd, at.name, AT_SYMLINK_NOFOLLOW, name), NEED_WRITE(at));
	r = proc_path(at, path);
	if (r)
		return r;
	return (int)SYS_LEND(is_fd_itself(at) ? removexattr(path, name) : lremovexattr(path, name), NEED_WRITE(at));
}

/* name == NULL: the list of names. */
static ssize_t xattr_read(struct ply_at at, const char *name, char *buf, size_t size)
{
	return name ? ply_sys_getxattr(at, name, buf, size) : ply_sys_listxattr(at, buf, size);
}

static ssize_t xattr_alloc(struct ply_at at, const char *name, char **val)
{
	ply_autofree char *buf = NULL;
	char small[256];
	ssize_t n = xattr_read(at, name, small, sizeof(small));

	if (n >= 0) {
		buf = malloc((size_t)n + 1);
		if (!buf)
			return -ENOMEM;
		memcpy(buf, small, (size_t)n);
	}
	/* It can grow between the question for its length and that for its value. */
	while (n == -ERANGE) {
		size_t size;
		char *p;

		n = xattr_read(at, name, NULL, 0);
		if (n < 0)
			return n;
		size = (size_t)n + 64;
		p = realloc(buf, size + 1);
		if (!p)
			return -ENOMEM;
		buf = p;
		n = xattr_read(at, name, buf, size);
	}
	if (n < 0)
		return n;
	buf[n] = '\0';
	*val = ply_take_ptr(&buf);
	return n;
}

ssize_t ply_sys_getxattr_alloc(struct ply_at at, const char *name, char **val)
{
	return xattr_alloc(at, name, val);
}

ssize_t ply_sys_listxattr_alloc(struct ply_at at, char **list)
{
	return xattr_alloc(at, NULL, list);
}
