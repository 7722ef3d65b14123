// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the FUSE protocol itself costs a union: a union that does as little as one can, and still answers right.
 *
 *   floor [-s] [-t THREADS] LOWER:... UPPER WORK TARGET
 *
 * Served in the foreground, by one thread (-t: more) with bare read() and writev() on /dev/fuse; what INIT grants, validity times
 * and replies are those of plyfs, so the kernel asks for the same. All names and attributes of the layers are in memory
 * before the mount is there, nothing is checked, nothing can be configured, nothing is forgotten. What is left:
 *
 *   LOOKUP, READDIRPLUS, GETATTR   from memory; of what is in upper one fstat. With -s the first two make one fstat of each name in
 *                                  lower as well: a union that does not have its layers in memory cannot do without
 *   OPEN of a lower file           nothing; it is read through the page cache, by pread, opened by its first READ
 *   OPEN, CREATE in upper          openat, for CREATE fstat, BACKING_OPEN: passthrough; at the last RELEASE BACKING_CLOSE, close
 *   RENAME                         one renameat
 *   UNLINK, RMDIR                  in upper unlinkat; of a lower name linkat of the one whiteout onto it; if it is in both, linkat
 *                                  of a whiteout and renameat2(EXCHANGE), and, after the reply, what is left is taken away
 *   SETATTR of a lower file        a metacopy that has its new mode from the beginning: open(O_TMPFILE), ftruncate, fsetxattr of
 *                                  metacopy and of the origin (name_to_handle_at), fchown if it is not the daemon's, futimens,
 *                                  linkat, fstat, close. In upper: fchmodat, fchownat, utimensat, truncate as asked, and fstat
 *   OPEN for writing of a lower    open(O_TMPFILE), FICLONE, else mmap of 16 MiB each and a direct write of it, copy_file_range of
 *                                  the rest and fsync; the origin, futimens, linkat
 *   a directory's first change     mkdirat and the origin, a directory of the root by way of work
 *
 * It is no filesystem to use: all that is made is root's; there are no symlinks, devices and hard links, no opaque directories or
 * whiteouts in lower, attributes that are set but cannot be read, directories of lower and metacopies that cannot be renamed, metacopies
 * that cannot be written, other times of directories in which something was copied; and a node is never freed.
 */
#include "floor.h"
#include <dirent.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/uio.h>

#define FOREVER 1000000000
#define MAX_WRITE (1U << 20)

/* fh of an open file */
#define FH_CACHED 1
#define FH_WRITER 2

struct request {
	const struct fuse_in_header *h;
	const void *in;
	struct node *n;
	char *out;				/* MAX_WRITE */
	size_t len;
	char trash[16];				/* a name in work, to be taken away after the reply */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int dev;
static bool stats;

/* --- replies --- */

static void *reply(struct request *q, size_t len)
{
	q->len = len;
	return memset(q->out, 0, len);
}

static void entry_fill(struct fuse_entry_out *e, struct node *n)
{
	e->nodeid = (uintptr_t)n;
	e->entry_valid = FOREVER;
	e->attr_valid = n->writers ? 0 : FOREVER;
	e->attr = n->attr;
}

static int attr_reply(struct request *q, struct node *n)
{
	struct fuse_attr_out *out = reply(q, sizeof(*out));

	out->attr_valid = n->writers ? 0 : FOREVER;
	out->attr = n->attr;
	return 0;
}

/* --- requests: 0 or an errno; with the lock held --- */

static int op_init(struct request *q)
{
	const struct fuse_init_in *in = q->in;
	struct fuse_init_out *out = reply(q, sizeof(*out));

	out->major = FUSE_KERNEL_VERSION;
	out->minor = in->minor < 45 ? in->minor : 45;
	out->max_readahead = in->max_readahead;
	out->flags = in->flags & (FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_DO_READDIRPLUS |
				  FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_POSIX_ACL | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |
				  FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT);
	if (in->flags & FUSE_INIT_EXT)
		out->flags2 = in->flags2 & (uint32_t)(FUSE_PASSTHROUGH >> 32);
	if (out->flags2)
		plyfs_fuse_set_max_stack_depth(out, 1);
	out->max_background = 64;
	out->congestion_threshold = 48;
	out->max_write = MAX_WRITE;
	out->max_pages = MAX_WRITE / 4096;
	out->time_gran = 1;
	return 0;
}

static int op_lookup(struct request *q)
{
	struct node *n = name_find(q->n, q->in);
	struct fuse_entry_out *out = reply(q, sizeof(*out));

	if (n && (stats || n->layer == UPPER))
		attr_read(n);
	if (n)
		entry_fill(out, n);
	else
		out->entry_valid = FOREVER;
	return 0;
}

static int op_getattr(struct request *q)
{
	int r = q->n->layer == UPPER ? attr_read(q->n) : 0;

	return r ? r : attr_reply(q, q->n);
}

static bool dir_add(struct request *q, size_t size, bool plus, const char *name, uint64_t cookie, uint64_t ino, uint32_t mode,
		    struct node *n)
{
	size_t head = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET, len = strlen(name);
	size_t need = FUSE_DIRENT_ALIGN(head + len);
	char *at = q->out + q->len;
	struct fuse_dirent *d = plus ? &((struct fuse_direntplus *)(void *)at)->dirent : (void *)at;

	if (q->len + need > size)
		return false;
	memset(at, 0, need);
	if (plus && n)
		entry_fill(&((struct fuse_direntplus *)(void *)at)->entry_out, n);
	d->ino = ino;
	d->off = cookie;
	d->namelen = (uint32_t)len;
	d->type = mode >> 12;
	memcpy(d->name, name, len);
	q->len += need;
	return true;
}

static int op_readdir(struct request *q)
{
	const struct fuse_read_in *in = q->in;
	size_t size = in->size < MAX_WRITE ? in->size : MAX_WRITE;
	bool plus = q->h->opcode == FUSE_READDIRPLUS;
	struct node *n;

	/* The cookies of "." and ".." are not among those of names. */
	if (in->offset < 1 && !dir_add(q, size, plus, ".", 1, q->n->attr.ino, S_IFDIR, NULL))
		return 0;
	if (in->offset < 2 && !dir_add(q, size, plus, "..", 2, q->n->parent->attr.ino, S_IFDIR, NULL))
		return 0;
	for (n = q->n->first; n; n = n->next) {
		if (n->cookie <= in->offset)
			continue;
		if (stats || n->layer == UPPER)
			attr_read(n);
		if (!dir_add(q, size, plus, n->name, n->cookie, n->attr.ino, n->attr.mode, n))
			break;
	}
	return 0;
}

static int op_setattr(struct request *q)
{
	const struct fuse_setattr_in *in = q->in;
	struct node *n = q->n;
	struct fuse_attr a = n->attr;
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
	bool dir = S_ISDIR(a.mode), truncates = in->valid & FATTR_SIZE && in->size != a.size;
	int at, r = 0;

	a.mode = in->valid & FATTR_MODE ? (a.mode & S_IFMT) | (in->mode & 07777) : a.mode;
	a.uid = in->valid & FATTR_UID ? in->uid : a.uid;
	a.gid = in->valid & FATTR_GID ? in->gid : a.gid;
	if (!dir && n->layer != UPPER) {
		if (in->valid & FATTR_ATIME && !(in->valid & FATTR_ATIME_NOW))
			a.atime = in->atime, a.atimensec = in->atimensec;
		if (in->valid & FATTR_MTIME && !(in->valid & FATTR_MTIME_NOW))
			a.mtime = in->mtime, a.mtimensec = in->mtimensec;
		r = copy_up(n, &a, truncates);
		if (r || !(truncates || in->valid & (FATTR_ATIME_NOW | FATTR_MTIME_NOW)))
			return r ? r : attr_reply(q, n);
	}
	if (in->valid & FATTR_ATIME)
		ts[0] = (struct timespec){ (time_t)in->atime, in->valid & FATTR_ATIME_NOW ? UTIME_NOW : in->atimensec };
	if (in->valid & FATTR_MTIME)
		ts[1] = (struct timespec){ (time_t)in->mtime, in->valid & FATTR_MTIME_NOW ? UTIME_NOW : in->mtimensec };
	if (truncates)
		r = copy_whole(n);
	if (r)
		return r;
	if (dir)
		upper_dir(n);
	if (!n->parent || n == &root)
		return EPERM;
	at = upper_dir(n->parent);
	if (truncates) {
		int fd = openat(at, n->name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

		if (fd < 0 || ftruncate(fd, (off_t)in->size))
			r = errno;
		close(fd);
	}
	if (!r && in->valid & (FATTR_UID | FATTR_GID) && fchownat(at, n->name, a.uid, a.gid, AT_SYMLINK_NOFOLLOW))
		r = errno;
	if (!r && in->valid & FATTR_MODE && fchmodat(at, n->name, a.mode & 07777, 0))
		r = errno;
	if (!r && in->valid & (FATTR_ATIME | FATTR_MTIME) && utimensat(at, n->name, ts, AT_SYMLINK_NOFOLLOW))
		r = errno;
	if (!r)
		r = attr_read(n);
	return r ? r : attr_reply(q, n);
}

/* A file whose bytes are in upper in passthrough, unless it is open through the page cache, or passthrough cannot be had. */
static void open_fill(struct node *n, struct fuse_open_out *out, bool writer)
{
	struct fuse_backing_map map = { .fd = n->fd };

	if (n->data == UPPER && !n->cached && n->backing < 0)
		n->backing = ioctl(dev, FUSE_DEV_IOC_BACKING_OPEN, &map);
	out->fh = writer ? FH_WRITER : 0;
	if (n->backing < 0) {
		out->fh |= FH_CACHED;
		out->open_flags = FOPEN_KEEP_CACHE;
		n->cached++;
	} else {
		out->open_flags = FOPEN_PASSTHROUGH;
		plyfs_fuse_set_backing_id(out, n->backing);
	}
	n->opens++;
	n->writers += writer;
}

static int op_open(struct request *q)
{
	const struct fuse_open_in *in = q->in;
	bool truncate = in->flags & O_TRUNC, writer = (in->flags & O_ACCMODE) != O_RDONLY || truncate;
	struct fuse_attr a = q->n->attr;
	struct node *n = q->n;
	int r = 0;

	if (truncate && n->layer != UPPER) {
		a.size = 0;
		r = copy_up(n, &a, false);
	} else if (writer) {
		r = copy_whole(n);
	}
	if (r)
		return r;
	if (n->data == UPPER && n->fd < 0) {
		n->fd = data_fd(n, O_RDWR);
		if (n->fd < 0)
			return errno;
	}
	if (truncate && ftruncate(n->fd, 0))
		return errno;
	open_fill(n, reply(q, sizeof(struct fuse_open_out)), writer);
	return 0;
}

static int op_release(struct request *q)
{
	const struct fuse_release_in *in = q->in;
	uint32_t id = (uint32_t)q->n->backing;
	struct node *n = q->n;

	n->cached -= in->fh & FH_CACHED ? 1 : 0;
	n->writers -= in->fh & FH_WRITER ? 1 : 0;
	if (--n->opens)
		return 0;
	if (n->backing >= 0)
		ioctl(dev, FUSE_DEV_IOC_BACKING_CLOSE, &id);
	if (n->fd >= 0)
		close(n->fd);
	n->fd = n->backing = -1;
	return 0;
}

/* A name that is new, and a whiteout that may be in its place. */
static struct node *create_node(struct request *q, const char *name)
{
	struct node *known = name_known(q->n, name), *n;

	if (known) {
		unlinkat(upper_dir(q->n), name, 0);
		name_remove(known);
	}
	n = node_new(q->n, name, UPPER);
	n->below = known;
	return n;
}

static int op_create(struct request *q)
{
	const struct fuse_create_in *in = q->in;
	const char *name = (const char *)(in + 1);
	struct fuse_entry_out *entry = reply(q, sizeof(*entry) + sizeof(struct fuse_open_out));
	struct node *n;
	struct stat st;

	if (name_find(q->n, name))
		return EEXIST;
	n = create_node(q, name);
	n->fd = openat(upper_dir(q->n), name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, in->mode & 07777 & ~in->umask);
	if (n->fd < 0) {
		node_removed(n);
		return errno;
	}
	fstat(n->fd, &st);
	attr_set(n, &st);
	open_fill(n, (struct fuse_open_out *)(void *)(entry + 1), true);
	entry_fill(entry, n);
	return 0;
}

static int op_mkdir(struct request *q)
{
	const struct fuse_mkdir_in *in = q->in;
	const char *name = (const char *)(in + 1);
	struct node *n;
	int r;

	if (name_find(q->n, name))
		return EEXIST;
	n = create_node(q, name);
	n->attr.mode = S_IFDIR;
	r = upper_mkdir(q->n, upper_dir(q->n), name, in->mode & 07777 & ~in->umask);
	if (r) {
		node_removed(n);
		return r;
	}
	if (n->below) {
		int fd = openat(upper_dir(q->n), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0);
		close(fd);
	}
	r = attr_read(n);
	if (!r)
		entry_fill(reply(q, sizeof(struct fuse_entry_out)), n);
	return r;
}

/* UNLINK and RMDIR. */
static int op_remove(struct request *q)
{
	struct node *n = name_find(q->n, q->in);
	int at, r = 0;

	if (!n)
		return ENOENT;
	if (n->first)
		return ENOTEMPTY;
	at = upper_dir(q->n);
	if (!n->below) {
		r = unlinkat(at, n->name, S_ISDIR(n->attr.mode) ? AT_REMOVEDIR : 0) ? errno : 0;
	} else if (n->layer != UPPER) {
		r = whiteout_make(at, n->name);
	} else {
		tmp_name(q->trash);
		r = whiteout_make(work, q->trash);
		if (!r && renameat2(work, q->trash, at, n->name, RENAME_EXCHANGE))
			r = errno;
	}
	if (!r)
		node_removed(n);
	return r;
}

/* What a whiteout took the place of: a file, or a directory of whiteouts. */
static void trash_remove(const char *name)
{
	struct dirent *e;
	DIR *d;
	int fd;

	if (!unlinkat(work, name, 0))
		return;
	fd = openat(work, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fdopendir(fd);
	if (!d)
		die("list", name);
	while ((e = readdir(d)))
		if (e->d_type != DT_DIR)
			unlinkat(fd, e->d_name, 0);
	closedir(d);
	unlinkat(work, name, AT_REMOVEDIR);
}

static int op_rename(struct request *q)
{
	const struct fuse_rename_in *in = q->in;
	const char *from = (const char *)(in + 1), *to = from + strlen(from) + 1;
	struct node *dir = in->newdir == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)in->newdir;
	struct node *n = name_find(q->n, from), *known = name_known(dir, to);
	int r;

	if (!n)
		return ENOENT;
	if (S_ISDIR(n->attr.mode) ? n->below || known : known && S_ISDIR(known->attr.mode))
		return EXDEV;
	r = S_ISDIR(n->attr.mode) ? 0 : copy_whole(n);
	if (r)
		return r;
	if (renameat2(upper_dir(q->n), from, upper_dir(dir), to, n->below ? RENAME_WHITEOUT : 0))
		return errno;
	node_removed(n);
	n->attr.nlink = 1;
	n->below = known && (known->whiteout || known->below);
	if (known)
		name_remove(known);
	if (known && !known->whiteout)
		known->attr.nlink = 0;
	/* The old name is kept by who may be reading it; this happens once to a file. */
	name_add(n, dir, to);
	return 0;
}

static void path_of(struct node *n, char path[512])
{
	int at = S_ISDIR(n->attr.mode) ? upper_dir(n) : upper_dir(n->parent);

	snprintf(path, 512, "/proc/self/fd/%d/%s", at, S_ISDIR(n->attr.mode) ? "." : n->name);
}

static int op_setxattr(struct request *q)
{
	const struct fuse_setxattr_in *in = q->in;
	const char *name = (const char *)(in + 1);
	char path[512];
	int r = 0;

	if (!S_ISDIR(q->n->attr.mode) && q->n->layer != UPPER)
		r = copy_up(q->n, &q->n->attr, false);
	if (r)
		return r;
	path_of(q->n, path);
	return lsetxattr(path, name, name + strlen(name) + 1, in->size, (int)in->flags) ? errno : 0;
}

static int op_removexattr(struct request *q)
{
	char path[512];

	if (q->n->layer != UPPER)
		return ENODATA;
	path_of(q->n, path);
	return lremovexattr(path, q->in) ? errno : 0;
}

static int op_getxattr(struct request *q)
{
	(void)q;
	return ENODATA;
}

static int op_statfs(struct request *q)
{
	struct fuse_statfs_out *out = reply(q, sizeof(*out));
	struct statfs s;

	if (fstatfs(dir_fd(&root, UPPER), &s))
		return errno;
	out->st.blocks = s.f_blocks;
	out->st.bfree = s.f_bfree;
	out->st.bavail = s.f_bavail;
	out->st.files = s.f_files;
	out->st.ffree = s.f_ffree;
	out->st.bsize = (uint32_t)s.f_bsize;
	out->st.frsize = (uint32_t)s.f_frsize;
	out->st.namelen = (uint32_t)s.f_namelen;
	return 0;
}

/* --- requests that move bytes or wait for the disk: without the lock --- */

static int io_fd(struct node *n)
{
	int fd;

	pthread_mutex_lock(&lock);
	if (n->fd < 0)
		n->fd = data_fd(n, O_RDONLY);
	fd = n->fd;
	pthread_mutex_unlock(&lock);
	return fd;
}

static int op_read(struct request *q)
{
	const struct fuse_read_in *in = q->in;
	ssize_t n = pread(io_fd(q->n), q->out, in->size < MAX_WRITE ? in->size : MAX_WRITE, (off_t)in->offset);

	if (n < 0)
		return errno;
	q->len = (size_t)n;
	return 0;
}

static int op_write(struct request *q)
{
	const struct fuse_write_in *in = q->in;
	ssize_t n = pwrite(io_fd(q->n), in + 1, in->size, (off_t)in->offset);

	if (n < 0)
		return errno;
	((struct fuse_write_out *)reply(q, sizeof(struct fuse_write_out)))->size = (uint32_t)n;
	return 0;
}

static int op_fsync(struct request *q)
{
	const struct fuse_fsync_in *in = q->in;
	int fd = io_fd(q->n);

	return (in->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(fd) : fsync(fd)) ? errno : 0;
}

/* --- serving --- */

static int (*const locked_ops[])(struct request *) = {
	[FUSE_LOOKUP] = op_lookup,	     [FUSE_GETATTR] = op_getattr,	  [FUSE_SETATTR] = op_setattr,
	[FUSE_READDIR] = op_readdir,	     [FUSE_READDIRPLUS] = op_readdir,	  [FUSE_OPEN] = op_open,
	[FUSE_RELEASE] = op_release,	     [FUSE_CREATE] = op_create,		  [FUSE_MKDIR] = op_mkdir,
	[FUSE_UNLINK] = op_remove,	     [FUSE_RMDIR] = op_remove,		  [FUSE_RENAME] = op_rename,
	[FUSE_SETXATTR] = op_setxattr,	     [FUSE_REMOVEXATTR] = op_removexattr, [FUSE_GETXATTR] = op_getxattr,
	[FUSE_STATFS] = op_statfs,	     [FUSE_INIT] = op_init,
};

static int (*const io_ops[])(struct request *) = {
	[FUSE_READ] = op_read, [FUSE_WRITE] = op_write, [FUSE_FSYNC] = op_fsync,
};

/* What is not here is not asked again: OPENDIR, FLUSH, ACCESS, ... */
static int serve_one(struct request *q)
{
	uint32_t op = q->h->opcode;
	int r;

	if (op < sizeof(io_ops) / sizeof(*io_ops) && io_ops[op])
		return io_ops[op](q);
	if (op >= sizeof(locked_ops) / sizeof(*locked_ops) || !locked_ops[op])
		return ENOSYS;
	pthread_mutex_lock(&lock);
	r = locked_ops[op](q);
	pthread_mutex_unlock(&lock);
	return r;
}

static void *serve(void *arg)
{
	size_t room = MAX_WRITE + 4096;
	char *in = aligned_alloc(4096, room), *out = aligned_alloc(4096, MAX_WRITE);
	struct fuse_in_header *h = (void *)in;

	(void)arg;
	if (!in || !out)
		die("memory for", "a thread");
	for (;;) {
		struct request q = { .h = h, .in = h + 1, .out = out };
		struct fuse_out_header head = { 0 };
		struct iovec v[2] = { { &head, sizeof(head) }, { out, 0 } };

		if (read(dev, in, room) < 0) {
			if (errno == EINTR || errno == EAGAIN || errno == ENOENT)
				continue;
			exit(errno != ENODEV);
		}
		if (h->opcode == FUSE_FORGET || h->opcode == FUSE_BATCH_FORGET || h->opcode == FUSE_INTERRUPT)
			continue;
		q.n = h->nodeid == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)h->nodeid;
		head.unique = h->unique;
		head.error = -serve_one(&q);
		v[1].iov_len = head.error ? 0 : q.len;
		head.len = (uint32_t)(sizeof(head) + v[1].iov_len);
		/* ENOENT: whoever asked does not wait any more. */
		if (writev(dev, v, v[1].iov_len ? 2 : 1) < 0 && errno != ENOENT)
			die("answer", "a request");
		if (q.trash[0])
			trash_remove(q.trash);
	}
}

/* --- before --- */

static void walk(struct node *dir, int layer)
{
	int fd = openat(dir_fd(dir, layer), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;
	struct node *n;

	if (!d)
		die("list", dir->name);
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			die("stat", e->d_name);
		if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
			continue;
		n = name_find(dir, e->d_name);
		if (!n) {
			n = node_new(dir, e->d_name, layer);
			attr_set(n, &st);
		}
		if (S_ISDIR(st.st_mode) && S_ISDIR(n->attr.mode))
			walk(n, layer);
	}
	closedir(d);
}

static void add_layer(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		die("open", path);
	if (layers == LAYERS) {
		errno = E2BIG;
		die("open", path);
	}
	root.dirs[layers++] = fd;
}

/*
 * ext4 makes the inodes of a directory's files beside it, and looks first at all those there that were freed within minutes, for
 * each new file; so in a directory that it has put elsewhere, as it does with those of its own root, by their names. Each time to
 * another place, so that what an earlier run has removed does not matter.
 */
static void set_up_work(const char *path)
{
	char name[16];
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), flags, topdir;

	if (fd < 0)
		die("open", path);
	if (!ioctl(fd, FS_IOC_GETFLAGS, &flags)) {
		topdir = flags | FS_TOPDIR_FL;
		ioctl(fd, FS_IOC_SETFLAGS, &topdir);
	}
	snprintf(name, sizeof(name), "#work%x", (unsigned int)getpid());
	if (mkdirat(fd, name, 0700))
		die("mkdir", name);
	ioctl(fd, FS_IOC_SETFLAGS, &flags);
	work = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (work < 0 || mknodat(work, "whiteout", S_IFCHR, 0))
		die("set up", path);
	close(fd);
}

static void set_up(char *lower, const char *upper, const char *work_path)
{
	struct rlimit files;
	char *path;
	int i;

	umask(0);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	root = (struct node){ .parent = &root, .name = (char[]){ "/" }, .attr.mode = S_IFDIR, .attr.ino = ++last_ino };
	root.dirs = calloc(LAYERS, sizeof(*root.dirs));
	if (!root.dirs)
		die("memory for", "layers");
	last_cookie = 2;
	add_layer(upper);
	while ((path = strsep(&lower, ":")))
		add_layer(path);
	set_up_work(work_path);
	if (attr_read(&root))
		die("stat", upper);
	for (i = 1; i < layers; i++)
		walk(&root, i);
}

int main(int argc, char **argv)
{
	char options[128];
	long threads = 1;
	pthread_t t;
	int c;

	while ((c = getopt(argc, argv, "st:")) != -1) {
		if (c == 's')
			stats = true;
		else if (c == 't')
			threads = strtol(optarg, NULL, 10);
		else
			optind = argc + 1;
	}
	if (optind + 4 != argc || threads < 1 || threads > 1024) {
		fputs("usage: floor [-s] [-t THREADS] LOWER:... UPPER WORK TARGET\n", stderr);
		return 2;
	}
	argv += optind;
	set_up(argv[0], argv[1], argv[2]);
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		die("open", "/dev/fuse");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", dev);
	if (mount("floor", argv[3], "fuse.floor", MS_NOATIME, options))
		die("mount on", argv[3]);
	while (--threads) {
		errno = pthread_create(&t, NULL, serve, NULL);
		if (errno)
			die("start", "a thread");
	}
	serve(NULL);
	return 0;
}
