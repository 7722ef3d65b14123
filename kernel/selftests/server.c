// SPDX-License-Identifier: GPL-2.0-only
#include "server.h"
#include "abi.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SRV_BUF (1 << 20)
#define SRV_FIRST 2		/* nodeid of file[0]; 1 is the root */

struct srv *srv_new(const char *backing, const char *mnt)
{
	struct srv *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (s == MAP_FAILED)
		tap_bail("mmap");
	snprintf(s->backing, sizeof(s->backing), "%s", backing);
	snprintf(s->mnt, sizeof(s->mnt), "%s", mnt);
	s->init_flags = FUSE_PASSTHROUGH | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES;
	s->depth = 1;
	s->attr_valid = 3600;
	s->fd = -1;
	s->go = 1;
	mkdir(backing, 0755);
	mkdir(mnt, 0755);
	return s;
}

/* ---- the server process ---- */

struct request {
	struct srv *s;
	int dirfd;
	const struct fuse_in_header *in;
	const void *arg;
};

static void reply(struct request *r, int err, const void *data, size_t len)
{
	struct fuse_out_header out = { .len = (uint32_t)(sizeof(out) + len), .error = -err, .unique = r->in->unique };
	struct iovec iov[2] = { { &out, sizeof(out) }, { (void *)(uintptr_t)data, len } };

	/* ENOENT: the request was interrupted or the connection is gone */
	if (writev(r->s->fd, iov, len ? 2 : 1) < 0 && errno != ENOENT && errno != ENODEV)
		fprintf(stderr, "# server: reply to %u: %s\n", r->in->opcode, strerror(errno));
}

static struct srv_file *file_of(struct request *r)
{
	uint64_t i = r->in->nodeid - SRV_FIRST;

	return r->in->nodeid >= SRV_FIRST && i < SRV_FILES ? &r->s->file[i] : NULL;
}

static struct srv_file *file_by_name(struct srv *s, const char *name)
{
	int i;

	for (i = 0; i < s->nfiles; i++)
		if (!strcmp(s->file[i].name, name))
			return &s->file[i];
	if (s->nfiles == SRV_FILES)
		return NULL;
	snprintf(s->file[i].name, sizeof(s->file[i].name), "%s", name);
	s->nfiles++;
	return &s->file[i];
}

static int get_attr(struct request *r, const char *name, uint64_t ino, struct fuse_attr *a)
{
	struct stat st;

	if (fstatat(r->dirfd, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return errno;
	memset(a, 0, sizeof(*a));
	a->ino = ino;
	a->size = (uint64_t)st.st_size;
	a->blocks = (uint64_t)st.st_blocks;
	a->atime = (uint64_t)st.st_atim.tv_sec;
	a->atimensec = (uint32_t)st.st_atim.tv_nsec;
	a->mtime = (uint64_t)st.st_mtim.tv_sec;
	a->mtimensec = (uint32_t)st.st_mtim.tv_nsec;
	a->ctime = (uint64_t)st.st_ctim.tv_sec;
	a->ctimensec = (uint32_t)st.st_ctim.tv_nsec;
	a->mode = st.st_mode;
	a->nlink = (uint32_t)st.st_nlink;
	a->uid = st.st_uid;
	a->gid = st.st_gid;
	a->blksize = 4096;
	return 0;
}

static const char *name_of(struct request *r)
{
	struct srv_file *f = file_of(r);

	return f ? f->name : "";
}

static void op_init(struct request *r)
{
	const struct fuse_init_in *in = r->arg;
	struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION };
	uint64_t flags;

	r->s->offered = in->flags;
	if (in->flags & FUSE_INIT_EXT)
		r->s->offered |= (uint64_t)in->flags2 << 32;
	r->s->minor = in->minor;

	flags = (r->s->init_flags & r->s->offered) | FUSE_INIT_EXT;
	out.flags = (uint32_t)flags;
	out.flags2 = (uint32_t)(flags >> 32);
	out.max_readahead = in->max_readahead;
	out.max_write = 128 * 1024;
	out.max_background = 16;
	out.congestion_threshold = 12;
	out.time_gran = 1;
	abi_set_depth(&out, r->s->depth);
	reply(r, 0, &out, sizeof(out));
	r->s->initialized = 1;
}

static int fill_entry(struct request *r, const char *name, struct fuse_entry_out *e)
{
	struct srv_file *f;
	struct stat st;

	memset(e, 0, sizeof(*e));
	if (fstatat(r->dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno;
	f = file_by_name(r->s, name);
	if (!f)
		return ENOSPC;
	e->nodeid = (uint64_t)(f - r->s->file) + SRV_FIRST;
	e->generation = 1;
	e->entry_valid = e->attr_valid = r->s->attr_valid;
	return get_attr(r, name, e->nodeid, &e->attr);
}

static void op_lookup(struct request *r)
{
	struct fuse_entry_out e;
	int err = fill_entry(r, r->arg, &e);

	reply(r, err, &e, err ? 0 : sizeof(e));
}

static void op_getattr(struct request *r)
{
	struct fuse_attr_out out = { .attr_valid = r->s->attr_valid };
	int err = get_attr(r, name_of(r), r->in->nodeid, &out.attr);

	reply(r, err, &out, err ? 0 : sizeof(out));
}

static void op_setattr(struct request *r)
{
	const struct fuse_setattr_in *in = r->arg;
	const char *name = name_of(r);
	int fd, err = 0;

	if (in->valid & FATTR_SIZE) {
		fd = openat(r->dirfd, name, O_WRONLY);
		if (fd < 0 || ftruncate(fd, (off_t)in->size))
			err = errno;
		if (fd >= 0)
			close(fd);
	}
	if (!err && in->valid & (FATTR_UID | FATTR_GID) &&
	    fchownat(r->dirfd, name, in->valid & FATTR_UID ? in->uid : (uid_t)-1,
		     in->valid & FATTR_GID ? in->gid : (gid_t)-1, 0))
		err = errno;
	if (!err && in->valid & FATTR_MODE && fchmodat(r->dirfd, name, in->mode & 07777, 0))
		err = errno;
	if (err)
		reply(r, err, NULL, 0);
	else
		op_getattr(r);
}

/* fh says how to open the backing file for READ and WRITE */
static void fill_open(const struct srv_file *f, uint32_t flags, struct fuse_open_out *out)
{
	memset(out, 0, sizeof(*out));
	out->fh = flags & (O_ACCMODE | O_APPEND | O_DIRECT);
	out->open_flags = f->open_flags;
	abi_set_backing(out, f->backing_id);
}

static void op_open(struct request *r)
{
	const struct fuse_open_in *in = r->arg;
	struct srv_file *f = file_of(r);
	struct fuse_open_out out;

	r->s->last_open_flags = in->flags;
	if (!f) {
		reply(r, ENOENT, NULL, 0);
		return;
	}
	if (in->flags & O_TRUNC) {
		int fd = openat(r->dirfd, f->name, O_WRONLY | O_TRUNC);

		if (fd >= 0)
			close(fd);
	}
	fill_open(f, in->flags, &out);
	reply(r, 0, &out, sizeof(out));
}

static void op_create(struct request *r)
{
	const struct fuse_create_in *in = r->arg;
	const char *name = (const char *)(in + 1);
	struct {
		struct fuse_entry_out e;
		struct fuse_open_out o;
	} out;
	int err, fd;

	/* The file is there already when the test has prepared it as a backing file under another name */
	fd = openat(r->dirfd, name, O_CREAT | O_RDWR, in->mode & 07777);
	if (fd < 0) {
		reply(r, errno, NULL, 0);
		return;
	}
	close(fd);
	err = fill_entry(r, name, &out.e);
	if (!err)
		fill_open(&r->s->file[out.e.nodeid - SRV_FIRST], in->flags, &out.o);
	reply(r, err, &out, err ? 0 : sizeof(out));
}

static void op_read(struct request *r)
{
	const struct fuse_read_in *in = r->arg;
	int fd = openat(r->dirfd, name_of(r), O_RDONLY);
	char *buf = malloc(in->size);
	ssize_t n = fd < 0 ? -1 : pread(fd, buf, in->size, (off_t)in->offset);

	reply(r, n < 0 ? errno : 0, buf, n < 0 ? 0 : (size_t)n);
	free(buf);
	if (fd >= 0)
		close(fd);
}

static void op_write(struct request *r)
{
	const struct fuse_write_in *in = r->arg;
	struct fuse_write_out out = { 0 };
	int fd = openat(r->dirfd, name_of(r), O_WRONLY);
	ssize_t n = fd < 0 ? -1 : pwrite(fd, in + 1, in->size, (off_t)in->offset);

	out.size = n < 0 ? 0 : (uint32_t)n;
	reply(r, n < 0 ? errno : 0, &out, n < 0 ? 0 : sizeof(out));
	if (fd >= 0)
		close(fd);
}

static void op_fallocate(struct request *r)
{
	const struct fuse_fallocate_in *in = r->arg;
	int fd = openat(r->dirfd, name_of(r), O_RDWR);
	int err = fd < 0 || fallocate(fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) ? errno : 0;

	reply(r, err, NULL, 0);
	if (fd >= 0)
		close(fd);
}

static void op_getxattr(struct request *r)
{
	const struct fuse_getxattr_in *in = r->arg;
	const char *name = (const char *)(in + 1);
	struct fuse_getxattr_out out = { 0 };
	char path[512], buf[4096];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", r->s->backing, name_of(r));
	n = getxattr(path, name, buf, sizeof(buf));
	if (n < 0) {
		reply(r, errno, NULL, 0);
	} else if (!in->size) {
		out.size = (uint32_t)n;
		reply(r, 0, &out, sizeof(out));
	} else {
		reply(r, (size_t)n > in->size ? ERANGE : 0, buf, (size_t)n > in->size ? 0 : (size_t)n);
	}
}

static void op_removexattr(struct request *r)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", r->s->backing, name_of(r));
	reply(r, removexattr(path, r->arg) ? errno : 0, NULL, 0);
}

static void op_unlink(struct request *r)
{
	struct srv_file *f = file_by_name(r->s, r->arg);
	int err = unlinkat(r->dirfd, r->arg, 0) ? errno : 0;

	/* A later file of this name is another node */
	if (!err && f)
		snprintf(f->name, sizeof(f->name), "/gone");
	reply(r, err, NULL, 0);
}

static void op_readdir(struct request *r)
{
	/* Enough for overlayfs to look into an empty one */
	const struct fuse_read_in *in = r->arg;
	struct {
		struct fuse_dirent d;
		char name[8];
	} ent[2] = {
		{ { .ino = 1, .off = 1, .namelen = 1, .type = DT_DIR }, "." },
		{ { .ino = 1, .off = 2, .namelen = 2, .type = DT_DIR }, ".." },
	};

	reply(r, 0, ent, in->offset ? 0 : sizeof(ent));
}

static void op_statfs(struct request *r)
{
	struct fuse_statfs_out out = { .st = { .bsize = 4096, .namelen = 255, .frsize = 4096, .blocks = 1000 } };

	reply(r, 0, &out, sizeof(out));
}

static void serve(struct request *r)
{
	struct fuse_open_out open_out = { 0 };

	switch (r->in->opcode) {
	case FUSE_INIT: op_init(r); break;
	case FUSE_LOOKUP: op_lookup(r); break;
	case FUSE_GETATTR: op_getattr(r); break;
	case FUSE_SETATTR: op_setattr(r); break;
	case FUSE_OPEN: op_open(r); break;
	case FUSE_CREATE: op_create(r); break;
	case FUSE_READ: op_read(r); break;
	case FUSE_WRITE: op_write(r); break;
	case FUSE_FALLOCATE: op_fallocate(r); break;
	case FUSE_GETXATTR: op_getxattr(r); break;
	case FUSE_REMOVEXATTR: op_removexattr(r); break;
	case FUSE_UNLINK: op_unlink(r); break;
	case FUSE_READDIR: op_readdir(r); break;
	case FUSE_STATFS: op_statfs(r); break;
	case FUSE_OPENDIR: reply(r, 0, &open_out, sizeof(open_out)); break;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_DESTROY: reply(r, 0, NULL, 0); break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT: break;
	default: reply(r, ENOSYS, NULL, 0);
	}
}

static void run(struct srv *s)
{
	char *buf = malloc(SRV_BUF);
	struct request r = { .s = s, .dirfd = open(s->backing, O_RDONLY | O_DIRECTORY) };
	ssize_t n;

	if (!buf || r.dirfd < 0)
		_exit(2);
	umask(0);
	for (;;) {
		n = read(s->fd, buf, SRV_BUF);
		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n < 0)
			break;
		r.in = (const void *)buf;
		r.arg = buf + sizeof(*r.in);
		if (r.in->opcode < 64)
			s->count[r.in->opcode]++;
		serve(&r);
	}
	_exit(0);
}

/* ---- the test's side ---- */

int srv_spawn(struct srv *s)
{
	pid_t pid = fork();
	int fd;

	if (pid < 0)
		return -errno;
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGINT, SIG_DFL);
		/* Nothing of the test is kept open by the server, above all no file of its own mount */
		for (fd = 3; fd < 1024; fd++)
			if (fd != s->fd)
				close(fd);
		while (!s->go)
			usleep(1000);
		run(s);
	}
	/* Not by the child: the memory is shared */
	s->pid = pid;
	return 0;
}

int srv_start(struct srv *s)
{
	char opts[512];
	int i, err;

	s->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (s->fd < 0)
		return -errno;
	snprintf(opts, sizeof(opts), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", s->fd);
	if (mount("selftest", s->mnt, "fuse", 0, opts)) {
		err = -errno;
		close(s->fd);
		return err;
	}
	err = srv_spawn(s);
	for (i = 0; !err && !s->initialized && i < 60000; i++)
		usleep(1000);
	/* The reply is written, but is it taken in? A request that comes after it tells. */
	if (!err && s->initialized) {
		struct stat st;

		snprintf(opts, sizeof(opts), "%s/no-such-name", s->mnt);
		stat(opts, &st);
	}
	return s->initialized ? err : -ETIMEDOUT;
}

void srv_stop(struct srv *s)
{
	int status;

	if (umount2(s->mnt, 0) && errno != EINVAL) {
		tap_ok(false, "unmount %s", s->mnt);
		umount2(s->mnt, MNT_DETACH);
	}
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, &status, 0);
	}
	munmap(s, sizeof(*s));
}

struct srv_file *srv_reply(struct srv *s, const char *name, uint32_t open_flags, int backing_id)
{
	struct srv_file *f = file_by_name(s, name);

	if (!f)
		tap_bail("too many files");
	f->open_flags = open_flags;
	f->backing_id = backing_id;
	return f;
}

int srv_register_fd(int devfd, int fd)
{
	struct fuse_backing_map map = { .fd = fd };
	int id = ioctl(devfd, FUSE_DEV_IOC_BACKING_OPEN, &map);

	return id < 0 ? -errno : id;
}

int srv_unregister(int devfd, int id)
{
	return ioctl(devfd, FUSE_DEV_IOC_BACKING_CLOSE, &id) ? -errno : 0;
}

int srv_register(struct srv *s, const char *name)
{
	char path[512];
	int fd, id;

	snprintf(path, sizeof(path), "%s/%s", s->backing, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	id = srv_register_fd(s->fd, fd);
	close(fd);
	return id;
}

int srv_passthrough(struct srv *s, const char *name)
{
	int id = srv_register(s, name);

	if (id > 0)
		srv_reply(s, name, FOPEN_PASSTHROUGH, id);
	return id;
}

int srv_open(struct srv *s, const char *name, int flags)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", s->mnt, name);
	fd = open(path, flags | O_CLOEXEC, 0644);
	return fd < 0 ? -errno : fd;
}

int srv_wait_count(struct srv *s, int opcode, uint64_t want)
{
	int i;

	for (i = 0; s->count[opcode] < want && i < 60000; i++)
		usleep(1000);
	return s->count[opcode] >= want;
}
