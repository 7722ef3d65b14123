/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The union of floor.c, without the protocol: what is in memory, and where it is in the layers. Part of that one program. Its
 * caller holds the lock.
 */
#include "plyfs-fuse.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LAYERS 512
#define UPPER 0				/* among the layers; then the lowers, top first */
#define BUCKETS (1U << 17)
#define COPY_CHUNK (16 << 20)

struct node {
	struct node *parent, *chain;		/* where its name is, and those of the same hash */
	struct node *prev, *next;		/* in its directory */
	struct node *first, *last;		/* of a directory */
	char *name;
	uint64_t cookie;			/* grows in the list of a directory */
	struct fuse_attr attr;
	int *dirs;				/* of a directory: descriptors of it in each layer; 0: not open yet */
	int layer, data;			/* where its attributes are, and its bytes */
	bool below;				/* there is something of its name in lower, too */
	bool whiteout;				/* nothing but that: a name that is gone */
	/* while it is open */
	unsigned int opens, cached, writers;
	int fd, backing;			/* -1 */
};

static struct node root;
static int layers, work;			/* how many there are; its descriptor */
static struct node *buckets[BUCKETS];
static uint64_t last_ino, last_cookie;
static unsigned int last_tmp;

static void die(const char *what, const char *name)
{
	fprintf(stderr, "floor: %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

/* --- names --- */

static struct node **name_bucket(const struct node *dir, const char *name)
{
	uint32_t h = (uint32_t)((uintptr_t)dir >> 4) * 2654435761U;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619U;
	return &buckets[h % BUCKETS];
}

/* What is known of a name, be it that it is gone. */
static struct node *name_known(const struct node *dir, const char *name)
{
	struct node *n = *name_bucket(dir, name);

	while (n && (n->parent != dir || strcmp(n->name, name)))
		n = n->chain;
	return n;
}

static struct node *name_find(const struct node *dir, const char *name)
{
	struct node *n = name_known(dir, name);

	return n && !n->whiteout ? n : NULL;
}

static void name_add(struct node *n, struct node *dir, const char *name)
{
	struct node **b = name_bucket(dir, name);

	n->name = strdup(name);
	if (!n->name)
		die("memory for", name);
	n->parent = dir;
	n->chain = *b;
	*b = n;
	if (n->whiteout)
		return;
	n->cookie = ++last_cookie;
	n->prev = dir->last;
	n->next = NULL;
	*(dir->last ? &dir->last->next : &dir->first) = n;
	dir->last = n;
}

/* The node keeps its old name and place: who has it open may need the lower file. */
static void name_remove(struct node *n)
{
	struct node **b = name_bucket(n->parent, n->name);

	while (*b != n)
		b = &(*b)->chain;
	*b = n->chain;
	if (n->whiteout)
		return;
	*(n->prev ? &n->prev->next : &n->parent->first) = n->next;
	*(n->next ? &n->next->prev : &n->parent->last) = n->prev;
}

static struct node *node_new(struct node *dir, const char *name, int layer)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		die("memory for", name);
	n->layer = n->data = layer;
	n->below = layer != UPPER;
	n->fd = n->backing = -1;
	n->attr.ino = ++last_ino;
	name_add(n, dir, name);
	return n;
}

/* The name is gone; if there is something of it in lower that has to be remembered. */
static void node_removed(struct node *n)
{
	struct node *gone;

	name_remove(n);
	n->attr.nlink = 0;
	if (!n->below)
		return;
	gone = calloc(1, sizeof(*gone));
	if (!gone)
		die("memory for", n->name);
	gone->whiteout = true;
	name_add(gone, n->parent, n->name);
}

/* --- places --- */

static int dir_fd(struct node *dir, int layer)
{
	if (!dir->dirs) {
		dir->dirs = calloc((size_t)layers, sizeof(*dir->dirs));
		if (!dir->dirs)
			die("memory for", dir->name);
	}
	if (!dir->dirs[layer])
		dir->dirs[layer] = openat(dir_fd(dir->parent, layer), dir->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir->dirs[layer] < 0)
		die("open", dir->name);
	return dir->dirs[layer];
}

static void attr_set(struct node *n, const struct stat *st)
{
	n->attr = (struct fuse_attr){
		.ino = n->attr.ino, .size = (uint64_t)st->st_size, .blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec, .atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtime = (uint64_t)st->st_mtim.tv_sec, .mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctime = (uint64_t)st->st_ctim.tv_sec, .ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode, .nlink = S_ISDIR(st->st_mode) ? 1 : (uint32_t)st->st_nlink,
		.uid = st->st_uid, .gid = st->st_gid, .blksize = (uint32_t)st->st_blksize,
	};
}

/* One fstat, in the layer of the attributes. */
static int attr_read(struct node *n)
{
	struct stat st;
	int r;

	if (S_ISDIR(n->attr.mode))
		r = fstatat(dir_fd(n, n->layer), "", &st, AT_EMPTY_PATH);
	else if (n->fd >= 0 && n->data == n->layer)
		r = fstat(n->fd, &st);
	else if (!n->attr.nlink)
		return 0;
	else
		r = fstatat(dir_fd(n->parent, n->layer), n->name, &st, AT_SYMLINK_NOFOLLOW);
	if (r)
		return errno;
	attr_set(n, &st);
	return 0;
}

static void origin_set(struct node *n, int fd)
{
	/* struct ovl_fb: version, magic, length, flags, type, uuid[16]; then the handle */
	struct {
		char head[21];
		char handle[128];
	} fb = { .head = { 0, (char)0xfb } };
	struct {
		struct file_handle h;
		char room[128];
	} fh = { .h.handle_bytes = sizeof(fh.room) };
	int mount_id, at = S_ISDIR(n->attr.mode) ? dir_fd(n, n->layer) : dir_fd(n->parent, n->layer);

	if (name_to_handle_at(at, S_ISDIR(n->attr.mode) ? "" : n->name, &fh.h, &mount_id, AT_EMPTY_PATH))
		return;
	fb.head[2] = (char)(sizeof(fb.head) + fh.h.handle_bytes);
	fb.head[4] = (char)fh.h.handle_type;
	memcpy(fb.handle, fh.room, fh.h.handle_bytes);
	fsetxattr(fd, "trusted.overlay.origin", &fb, sizeof(fb.head) + fh.h.handle_bytes, 0);
}

static void tmp_name(char name[16])
{
	snprintf(name, 16, "#%u", ++last_tmp);
}

/* A directory of the root begins in work, and what is made in it lies where work lies: see set_up_work(). */
static int upper_mkdir(const struct node *parent, int at, const char *name, mode_t mode)
{
	char tmp[16];

	if (parent != &root)
		return mkdirat(at, name, mode) ? errno : 0;
	tmp_name(tmp);
	return mkdirat(work, tmp, mode) || renameat2(work, tmp, at, name, RENAME_NOREPLACE) ? errno : 0;
}

/* A directory's own in upper, made if need be. */
static int upper_dir(struct node *dir)
{
	int at, fd;

	if (dir->layer == UPPER)
		return dir_fd(dir, UPPER);
	at = upper_dir(dir->parent);
	if (upper_mkdir(dir->parent, at, dir->name, dir->attr.mode & 07777))
		die("mkdir", dir->name);
	fd = openat(at, dir->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		die("open", dir->name);
	if (dir->attr.uid != geteuid() || dir->attr.gid != getegid())
		(void)!fchown(fd, dir->attr.uid, dir->attr.gid);
	origin_set(dir, fd);
	dir_fd(dir, dir->layer);
	dir->dirs[UPPER] = fd;
	dir->layer = UPPER;
	return fd;
}

static int whiteout_make(int at, const char *name)
{
	if (!linkat(work, "whiteout", at, name, 0))
		return 0;
	return (errno == EMLINK || errno == ENOENT) && !mknodat(at, name, S_IFCHR, 0) ? 0 : errno;
}

/* --- copies --- */

/* From the source's pages to the disk, past the page cache: no slower than the disk. How far that went, in whole chunks. */
static off_t copy_direct(int in, int out, off_t size)
{
	off_t done = 0;
	void *map;

	if (fcntl(out, F_SETFL, O_DIRECT))
		return 0;
	for (; size - done >= COPY_CHUNK; done += COPY_CHUNK) {
		map = mmap(NULL, COPY_CHUNK, PROT_READ, MAP_SHARED | MAP_POPULATE, in, done);
		if (map == MAP_FAILED)
			break;
		if (pwrite(out, map, COPY_CHUNK, done) != COPY_CHUNK)
			size = done;
		munmap(map, COPY_CHUNK);
		if (size == done)
			break;
	}
	fcntl(out, F_SETFL, 0);
	return done;
}

static int copy_data(int in, int out, uint64_t size)
{
	off_t at, to;
	ssize_t n;

	if (!ioctl(out, FICLONE, in))
		return 0;
	for (at = to = copy_direct(in, out, (off_t)size); (uint64_t)at < size;) {
		n = copy_file_range(in, &at, out, &to, size - (uint64_t)at, 0);
		if (n <= 0)
			return n ? errno : EIO;
	}
	return fsync(out) ? errno : 0;
}

static int data_fd(struct node *n, int flags)
{
	return openat(dir_fd(n->parent, n->data), n->name, flags | O_NOFOLLOW | O_CLOEXEC);
}

/* The file in upper, with these attributes and all its bytes, none of them (bytes 0), or those of lower. */
static int copy_up(struct node *n, const struct fuse_attr *want, bool data)
{
	struct timespec ts[2] = { { (time_t)want->atime, want->atimensec }, { (time_t)want->mtime, want->mtimensec } };
	int at = upper_dir(n->parent), in, fd, r = 0;

	fd = openat(work, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, want->mode & 07777);
	if (fd < 0)
		return errno;
	if (!data && want->size && (ftruncate(fd, (off_t)want->size) || fsetxattr(fd, "trusted.overlay.metacopy", "", 0, 0)))
		r = errno;
	if (data && want->size) {
		in = data_fd(n, O_RDONLY);
		r = in < 0 ? errno : copy_data(in, fd, want->size);
		close(in);
	}
	origin_set(n, fd);
	if (!r && (want->uid != geteuid() || want->gid != getegid()) && fchown(fd, want->uid, want->gid))
		r = errno;
	if (!r && (futimens(fd, ts) || linkat(fd, "", at, n->name, AT_EMPTY_PATH)))
		r = errno;
	if (!r) {
		n->layer = UPPER;
		if (data || !want->size)
			n->data = UPPER;
	}
	if (!r && n->data == UPPER && n->fd >= 0)
		dup3(fd, n->fd, O_CLOEXEC);
	close(fd);
	return r ? r : attr_read(n);
}

static int copy_whole(struct node *n)
{
	if (n->data == UPPER)
		return 0;
	return n->layer == UPPER ? EOPNOTSUPP : copy_up(n, &n->attr, true);
}
