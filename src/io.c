// SPDX-License-Identifier: GPL-2.0-or-later
#include "backing.h"
#include "copyup.h"
#include "io.h"
#include "log.h"
#include <errno.h>
#include <linux/fs.h>

int ply_io_fsync(struct ply_fs *fs, struct ply_handle *h, bool datasync)
{
	int fd, err;

	if (!ply_fs_writable(fs) || fs->opt->fsync == PLY_FSYNC_OFF || fs->opt->volatile_)
		return 0;
	err = ply_handle_fd(fs, h, &fd);
	if (err)
		return err;
	if (h->shared_fd >= 0 || h->layer != PLY_LAYER_UPPER)
		return 0;
	return ply_sys_fsync(fd, datasync);
}

/* An fd of the upper directory that can do more than an O_PATH one; -ENODATA: there is none. */
static int io_open_upper_dir(struct ply_fs *fs, struct ply_node *dir, int *out)
{
	struct ply_dirfd *d;
	struct ply_ldir *up;
	int err, fd;

	PLY_RDLOCK(tree, &fs->tree);
	up = ply_dir_upper(dir);
	if (!up)
		return -ENODATA;
	err = ply_dirfd_get(fs->graph, dir, up, &d);
	if (err)
		return err;
	fd = ply_sys_open(PLY_FD(d->fd), O_RDONLY | O_DIRECTORY, 0);
	ply_dirfd_put(fs->graph, d);
	if (fd < 0)
		return fd;
	*out = fd;
	return 0;
}

int ply_io_fsyncdir(struct ply_fs *fs, struct ply_node *dir, bool datasync)
{
	ply_autofd fd = -1;
	int err;

	if (!ply_fs_writable(fs) || fs->opt->fsync == PLY_FSYNC_OFF || fs->opt->volatile_)
		return 0;
	err = io_open_upper_dir(fs, dir, &fd);
	if (err)
		return err == -ENODATA ? 0 : err;
	return ply_sys_fsync(fd, datasync);
}

ssize_t ply_io_read(struct ply_fs *fs, struct ply_handle *h, void *buf, size_t size, off_t off)
{
	int fd, err = ply_handle_fd(fs, h, &fd);

	return err ? err : ply_sys_pread(fd, buf, size, off);
}

/* The fd to change the file's data by; this thread keeps suid and sgid of the file, or drops them. */
static int io_fd_to_write(struct ply_fs *fs, struct ply_handle *h, bool kill, int *out)
{
	int fd, err;

	if (!h->writable)
		return -EBADF;
	err = ply_handle_fd(fs, h, &fd);
	if (err)
		return err;
	if (PLY_WARN_ON(h->layer != PLY_LAYER_UPPER))
		return -EIO;
	ply_creds_fsetid(!kill);
	*out = fd;
	return 0;
}

/* 0: all of it; -errno: *done bytes */
static int io_write_all(struct ply_fs *fs, struct ply_handle *h, const void *buf, size_t size, off_t off, bool kill, size_t *done)
{
	int fd, err = io_fd_to_write(fs, h, kill, &fd);

	for (*done = 0; !err && *done < size;) {
		ssize_t n = ply_sys_pwrite(fd, (const char *)buf + *done, size - *done, off + (off_t)*done);

		if (n > 0)
			*done += (size_t)n;
		else
			err = n < 0 ? (int)n : -EIO;
	}
	return err;
}

ssize_t ply_io_write(struct ply_fs *fs, struct ply_handle *h, const void *buf, size_t size, off_t off, bool kill)
{
	size_t done;
	int err = io_write_all(fs, h, buf, size, off, kill, &done);

	return done ? (ssize_t)done : err;
}

#define IO_TIMES 64
static pthread_mutex_t io_times[IO_TIMES] = { [0 ... IO_TIMES - 1] = PTHREAD_MUTEX_INITIALIZER };

void ply_io_times_lock(struct ply_fs *fs, struct ply_node *n)
{
	if (fs->writeback)
		pthread_mutex_lock(&io_times[n->id % IO_TIMES]);
}

void ply_io_times_unlock(struct ply_fs *fs, struct ply_node *n)
{
	if (fs->writeback)
		pthread_mutex_unlock(&io_times[n->id % IO_TIMES]);
}

/* The file's mtime, to be put back: see ply_io_write_back(). */
struct io_mtime {
	struct timespec at;
	bool known;
};

static void io_mtime_hold(struct ply_fs *fs, struct ply_handle *h, int fd, struct io_mtime *t)
{
	struct stat st;

	t->known = false;
	if (!fs->writeback)
		return;
	ply_io_times_lock(fs, h->node);
	if (ply_sys_stat(PLY_FD(fd), &st))
		return;
	t->at = st.st_mtim;
	t->known = true;
}

static void io_mtime_restore(struct ply_fs *fs, struct ply_handle *h, int fd, const struct io_mtime *t, bool changed)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, t->at };

	/* Where that is refused (chattr +a) the time is the writing's. */
	if (t->known && changed)
		(void)ply_sys_utimens(PLY_FD(fd), ts);
	ply_io_times_unlock(fs, h->node);
}

ssize_t ply_io_write_back(struct ply_fs *fs, struct ply_handle *h, const void *buf, size_t size, off_t off, bool kill)
{
	struct io_mtime t;
	size_t done;
	int fd, err;

	err = ply_handle_fd(fs, h, &fd);
	if (err)
		return err;
	io_mtime_hold(fs, h, fd, &t);
	err = io_write_all(fs, h, buf, size, off, kill, &done);
	io_mtime_restore(fs, h, fd, &t, done || !err);
	/* Nobody looks at how much it was (kernel: fuse_writepage_end()): the pages would be called clean, and lost. */
	return err ? err : (ssize_t)size;
}

int ply_io_fallocate(struct ply_fs *fs, struct ply_handle *h, int mode, off_t off, off_t len, bool kill)
{
	struct io_mtime t;
	int fd, err = io_fd_to_write(fs, h, kill, &fd);

	if (err)
		return err;
	io_mtime_hold(fs, h, fd, &t);
	err = ply_sys_fallocate(fd, mode, off, len);
	io_mtime_restore(fs, h, fd, &t, !err);
	return err;
}

off_t ply_io_lseek(struct ply_fs *fs, struct ply_handle *h, off_t off, int whence)
{
	int fd, err;

	/*
	 * What the kernel has not written back yet would be called a hole, and cp would lose it. From the first such
	 * question on, the kernel answers for itself that all is data.
	 */
	if (fs->writeback && ply_backing_has_writer(fs, h->node))
		return -ENOSYS;
	err = ply_handle_fd(fs, h, &fd);
	return err ? err : ply_sys_lseek(fd, off, whence);
}

ssize_t ply_io_copy_range(struct ply_fs *fs, struct ply_handle *in, off_t ioff, struct ply_handle *out, off_t ooff,
			  size_t len, unsigned int flags, bool kill)
{
	struct io_mtime t;
	ssize_t n;
	int ifd, ofd, err = io_fd_to_write(fs, out, kill, &ofd);

	if (!err)
		err = ply_handle_fd(fs, in, &ifd);
	if (err)
		return err;
	io_mtime_hold(fs, out, ofd, &t);
	n = ply_sys_copy_range(ifd, &ioff, ofd, &ooff, len, flags);
	io_mtime_restore(fs, out, ofd, &t, n > 0);
	return n;
}

int ply_io_statfs(struct ply_fs *fs, struct statvfs *st)
{
	const struct ply_layer *l = fs->layers.upper ? fs->layers.upper : &fs->layers.layer[1];
	int err = ply_sys_statfs(l->fd, st);

	if (err)
		return err;
	/* Longer names are refused before any layer sees them. */
	if (st->f_namemax > 255 || !st->f_namemax)
		st->f_namemax = 255;
	return 0;
}

/* An fd of the object for ioctls that only read. */
static int io_open_for_ioctl(struct ply_fs *fs, struct ply_node *n, int *out)
{
	ply_autoloc loc = PLY_LOC_INIT;
	int err, fd;

	PLY_RDLOCK(tree, &fs->tree);
	err = ply_node_locate(fs->graph, n, &loc);
	if (err)
		return err;
	fd = ply_sys_open(loc.at, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	*out = fd;
	return 0;
}

int ply_io_ioctl(struct ply_fs *fs, struct ply_node *n, struct ply_handle *h, unsigned int cmd, void *arg)
{
	ply_autofd own = -1;
	bool set = false;
	int fd, err;

	switch (cmd) {
	case FS_IOC_GETFLAGS:
	case FS_IOC32_GETFLAGS:
		cmd = FS_IOC_GETFLAGS;
		break;
	case FS_IOC_SETFLAGS:
	case FS_IOC32_SETFLAGS:
		cmd = FS_IOC_SETFLAGS;
		set = true;
		break;
	case FS_IOC_FSGETXATTR:
		break;
	case FS_IOC_FSSETXATTR:
		set = true;
		break;
	default:
		return -ENOTTY;
	}
	if (n->type != S_IFREG && n->type != S_IFDIR)
		return -ENOTTY;
	if (set) {
		if (!ply_fs_writable(fs))
			return -EROFS;
		err = n->type == S_IFDIR ? ply_copyup_dir(fs, n) : ply_copyup(fs, n, PLY_COPYUP_META);
		if (err)
			return err;
	}
	if (h && !set) {
		err = ply_handle_fd(fs, h, &fd);
		if (err)
			return err;
	} else {
		err = io_open_for_ioctl(fs, n, &own);
		if (err)
			return err;
		fd = own;
	}
	err = ply_sys_ioctl(fd, cmd, arg);
	return err < 0 ? err : 0;
}
