// SPDX-License-Identifier: GPL-2.0-or-later
/* What each operation does on one side, and the text of what came of it. */
#include "model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define IO_MAX (256 * 1024)
#define LIST_MAX 4096

const char *const op_names[OP_COUNT] = {
#define X(name) #name,
	OP_KINDS(X)
#undef X
};

struct result {
	char *out;
	int n;
};

static void __attribute__((format(printf, 2, 3))) say(struct result *r, const char *fmt, ...)
{
	va_list ap;

	if (r->n >= MODEL_OUT - 1)
		return;
	va_start(ap, fmt);
	r->n += vsnprintf(r->out + r->n, MODEL_OUT - r->n, fmt, ap);
	va_end(ap);
	if (r->n >= MODEL_OUT)
		r->n = MODEL_OUT - 1;
}

/* Say how a call ended; true when it went well. */
static bool said(struct result *r, long ret)
{
	if (ret < 0)
		say(r, "%s", strerrorname_np(errno));
	else
		say(r, "%ld", ret);
	return ret >= 0;
}

static void say_stat(const struct model *m, struct result *r, int fd, const char *path, int flags)
{
	char text[MODEL_OUT];
	struct stat st;

	if (fstatat(fd, path, &st, flags)) {
		say(r, " stat=%s", strerrorname_np(errno));
		return;
	}
	stat_text(m, &st, text, sizeof(text));
	say(r, " %s", text);
}

static void op_open(struct model *m, enum side s, const struct op *op, int base, struct result *r)
{
	struct slot *slot = &m->slots[op->slot];
	int fd = openat(base, op->path, op->flags | O_CLOEXEC, op->mode);
	struct stat st;

	if (slot->fd[s] >= 0)
		close(slot->fd[s]);
	slot->fd[s] = fd;
	if (!said(r, fd < 0 ? -1 : 0))
		return;
	slot->flags = op->flags;
	slot->dir = slot->reg = false;
	if (!fstat(fd, &st)) {
		slot->dir = S_ISDIR(st.st_mode);
		slot->reg = S_ISREG(st.st_mode);
	}
	say_stat(m, r, fd, "", AT_EMPTY_PATH);
}

static void op_read(const struct op *op, int fd, struct result *r)
{
	unsigned char *buf = aligned_alloc(4096, IO_MAX);
	ssize_t n;

	if (!buf)
		model_die("aligned_alloc", "read");
	n = op->kind == OP_read ? read(fd, buf, op->len) : pread(fd, buf, op->len, op->off);
	if (said(r, n))
		say(r, " data=%016llx", (unsigned long long)hash_bytes(1, buf, n));
	free(buf);
}

static void strip_path(const struct op *op, int base)
{
	char link[64];
	struct stat st;
	int fd = openat(base, op->path, O_PATH | O_CLOEXEC);

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && (st.st_mode & 02010) == 02000 &&
	    chmod(link, st.st_mode & 05777))
		errno = 0;
	if (fd >= 0)
		close(fd);
}

/*
 * A passthrough write has the rights of the daemon's backing file: root, without CAP_FSETID, so that an ordinary user's
 * write drops suid and sgid. Root's drops them too, which other filesystems do not do; and an sgid bit that means
 * nothing (no execution by the group) stays for who is not in the group, as FUSE has it for every change of the
 * content. With the writeback cache, what was stored in a mapping is written by the daemon, and a daemon without
 * privilege outside its user namespace drops both by that. Where that is so, take such bits off before.
 */
static void strip_before(const struct model *m, const struct op *op, int fd, bool write)
{
	bool all = (write && !op->user && m->feat.root_strips) || (op->kind == OP_mmapwrite && m->feat.cached);
	mode_t off = all ? S_ISUID | S_ISGID : 0;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return;
	if (m->feat.sgid_lax && !(st.st_mode & S_IXGRP))
		off |= S_ISGID;
	if (!(st.st_mode & off))
		return;
	setfsuid(0);
	if (fchmod(fd, st.st_mode & 07777 & ~off))
		errno = 0;
	setfsuid(op->user);
}

static void op_write(struct model *m, const struct op *op, int fd, struct result *r)
{
	unsigned char *buf = aligned_alloc(4096, IO_MAX);

	strip_before(m, op, fd, true);
	if (!buf)
		model_die("aligned_alloc", "write");
	pattern(op->seed, op->off, buf, op->len);
	said(r, op->kind == OP_write ? write(fd, buf, op->len) : pwrite(fd, buf, op->len, op->off));
	say_stat(m, r, fd, "", AT_EMPTY_PATH);
	free(buf);
}

static void op_mmap(struct model *m, const struct op *op, int fd, struct result *r)
{
	bool store = op->kind == OP_mmapwrite;
	struct stat st;
	size_t len;
	unsigned char *p;

	if (store)
		strip_before(m, op, fd, false);
	/* A cached store becomes a write of the daemon, and that takes file capabilities away. */
	if (store && m->feat.sgid_lax) {
		setfsuid(0);
		if (fremovexattr(fd, "security.capability"))
			errno = 0;
		setfsuid(op->user);
	}
	if (fstat(fd, &st) || st.st_size <= op->off) {
		say(r, "beyond the end");
		return;
	}
	len = st.st_size - op->off < op->len ? st.st_size - op->off : op->len;
	p = mmap(NULL, len, store ? PROT_READ | PROT_WRITE : PROT_READ, op->flags, fd, op->off);
	if (p == MAP_FAILED) {
		said(r, -1);
		return;
	}
	say(r, "before=%016llx", (unsigned long long)hash_bytes(1, p, len));
	if (store) {
		pattern(op->seed, op->off, p, len);
		say(r, " msync=");
		said(r, msync(p, len, MS_SYNC));
	}
	munmap(p, len);
	say_stat(m, r, fd, "", AT_EMPTY_PATH);
}

static void op_fallocate(struct model *m, const struct op *op, int fd, struct result *r)
{
	said(r, fallocate(fd, op->flags, op->off, op->len));
	say_stat(m, r, fd, "", AT_EMPTY_PATH);
}

/*
 * Where data ends and a hole begins is the layer's own business (allocation, copy-up); what must hold is that no byte
 * of data lies in what is called a hole, and that offsets beyond the end are refused alike.
 */
static void op_seek(const struct op *op, int fd, struct result *r)
{
	off_t pos, end = lseek(fd, 0, SEEK_END);
	unsigned char buf[2048];

	if (op->flags != SEEK_DATA && op->flags != SEEK_HOLE) {
		pos = lseek(fd, op->off, op->flags);
		said(r, pos);
		return;
	}
	pos = lseek(fd, op->off, op->flags);
	if (op->off >= end) {
		said(r, pos);
		goto out;
	}
	if (pos < 0 && (op->flags == SEEK_HOLE || errno != ENXIO)) {
		said(r, pos);
		goto out;
	}
	if (pos < 0)
		pos = end;
	if (pos < op->off || pos > end)
		say(r, "out of range: %lld", (long long)pos);
	for (off_t o = op->off; op->flags == SEEK_DATA && o < pos; o += sizeof(buf)) {
		size_t want = pos - o < (off_t)sizeof(buf) ? (size_t)(pos - o) : sizeof(buf);
		ssize_t n = pread(fd, buf, want, o);

		for (ssize_t i = 0; i < n; i++) {
			if (buf[i]) {
				say(r, "data at %lld in a hole", (long long)(o + i));
				goto out;
			}
		}
	}
	say(r, "ok");
out:
	lseek(fd, op->off, SEEK_SET);
}

static void op_copyrange(struct model *m, enum side s, const struct op *op, int fd, struct result *r)
{
	int to = m->slots[op->slot2].fd[s];
	off64_t in = op->off, out = op->seed % 65536;
	long long left = op->len, total = 0;
	ssize_t n = 0;

	/* Between filesystems the kernel copies by itself, by way of the backing file. */
	strip_before(m, op, to, true);
	/* A short copy is allowed; what is in the file at the end is not negotiable. */
	while (left > 0 && (n = copy_file_range(fd, &in, to, &out, left, 0)) > 0) {
		left -= n;
		total += n;
	}
	if (n < 0 && !total)
		said(r, -1);
	else
		said(r, total);
	say_stat(m, r, to, "", AT_EMPTY_PATH);
}

static void say_times(const struct model *m, struct result *r, const struct op *op, const struct stat *st)
{
	char text[MODEL_OUT];

	stat_text(m, st, text, sizeof(text));
	say(r, " %s", text);
	/* An omitted atime is whatever earlier reads and the mount options left: not comparable. */
	if (op->seed % 4 < 2) {
		if (st->st_atim.tv_sec >= m->start - 5)
			say(r, " atime=now");
		else
			say(r, " atime=%lld.%09ld", (long long)st->st_atim.tv_sec, st->st_atim.tv_nsec);
	}
}

static void op_utimens(struct model *m, const struct op *op, int base, int fd, struct result *r)
{
	struct timespec ts[2];
	struct stat st;
	int ret;

	ts[0].tv_sec = op->off;
	ts[1].tv_sec = op->len;
	ts[0].tv_nsec = op->seed % 1000000000;
	ts[1].tv_nsec = op->seed / 7 % 1000000000;
	if (op->seed % 4 == 1)
		ts[0].tv_nsec = UTIME_NOW;
	if (op->seed % 4 == 2)
		ts[0].tv_nsec = UTIME_OMIT;
	if (op->seed % 4 == 3)
		ts[0].tv_nsec = ts[1].tv_nsec = UTIME_OMIT;
	if (op->seed / 4 % 4 == 1)
		ts[1].tv_nsec = UTIME_NOW;
	if (op->seed / 4 % 4 == 2)
		ts[1].tv_nsec = UTIME_OMIT;
	ret = fd >= 0 ? futimens(fd, ts) : utimensat(base, op->path, ts, op->flags);
	if (said(r, ret) && (fd >= 0 ? !fstat(fd, &st) : !fstatat(base, op->path, &st, op->flags)))
		say_times(m, r, op, &st);
}

/* The path as a string from the root of the process: for calls that have no *at() form. */
static const char *proc_path(int base, const char *path, char *buf, size_t size)
{
	snprintf(buf, size, "/proc/self/fd/%d/%s", base, path);
	return buf;
}

/* Taking away an ACL that is not there: ext4 says 0, overlayfs ENODATA, and nobody cares. */
static void said_removed(struct result *r, const char *name, int ret)
{
	if (ret < 0 && errno == ENODATA && !strncmp(name, "system.posix_acl_", 17))
		ret = 0;
	said(r, ret);
}

static void op_xattr(const struct op *op, int base, int fd, struct result *r)
{
	static char path[MODEL_PATH + 64], value[4096];

	ssize_t n;

	proc_path(base, op->path, path, sizeof(path));
	pattern(op->seed, 0, (unsigned char *)value, op->len);
	switch (op->kind) {
	case OP_fsetxattr:
		said(r, fsetxattr(fd, op->path2, value, op->len, op->flags));
		break;
	case OP_setxattr:
		said(r, lsetxattr(path, op->path2, value, op->len, op->flags));
		break;
	case OP_fremovexattr:
		said_removed(r, op->path2, fremovexattr(fd, op->path2));
		break;
	case OP_removexattr:
		said_removed(r, op->path2, lremovexattr(path, op->path2));
		break;
	default:
		n = op->kind == OP_fgetxattr ? fgetxattr(fd, op->path2, value, op->len) :
			lgetxattr(path, op->path2, value, op->len);
		if (said(r, n) && op->len)
			say(r, " value=%08x", (unsigned int)hash_bytes(1, value, n));
	}
}

static void put16(unsigned char **p, unsigned int v)
{
	*(*p)++ = v;
	*(*p)++ = v >> 8;
}

static void put32(unsigned char **p, unsigned int v)
{
	put16(p, v & 0xffff);
	put16(p, v >> 16);
}

static void acl_entry(unsigned char **p, unsigned int tag, unsigned int perm, unsigned int id)
{
	put16(p, tag);
	put16(p, perm & 7);
	put32(p, id);
}

/* The kernel's own form of an ACL, so that no library stands between the test and the file system. */
static void op_setacl(struct model *m, const struct op *op, int base, struct result *r)
{
	unsigned char acl[4 + 8 * 6], *p = acl;
	unsigned int id = m->feat.chown ? 1234 : 0;
	char path[MODEL_PATH + 64];

	proc_path(base, op->path, path, sizeof(path));
	if (op->flags) {
		said_removed(r, op->path2, lremovexattr(path, op->path2));
		say_stat(m, r, base, op->path, AT_SYMLINK_NOFOLLOW);
		return;
	}
	put32(&p, 2);
	acl_entry(&p, 0x01, op->mode >> 6, -1);
	if (op->seed & 1)
		acl_entry(&p, 0x02, op->seed >> 4, id);
	acl_entry(&p, 0x04, op->mode >> 3, -1);
	if (op->seed & 2)
		acl_entry(&p, 0x08, op->seed >> 8, id);
	if (op->seed & 3)
		acl_entry(&p, 0x10, op->seed >> 12, -1);
	acl_entry(&p, 0x20, op->mode, -1);
	said(r, lsetxattr(path, op->path2, acl, p - acl, 0));
	say_stat(m, r, base, op->path, AT_SYMLINK_NOFOLLOW);
}

static void op_setcap(const struct op *op, int base, struct result *r)
{
	struct vfs_cap_data cap = { .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE };
	char path[MODEL_PATH + 64];

	cap.data[0].permitted = 1 << (op->seed % 8);
	proc_path(base, op->path, path, sizeof(path));
	said(r, lsetxattr(path, "security.capability", &cap, sizeof(cap), 0));
}

static void op_readfile(const struct op *op, int base, struct result *r)
{
	unsigned char *buf = malloc(IO_MAX);
	int fd = openat(base, op->path, op->flags | O_CLOEXEC);
	long long total = 0;
	uint64_t h = 1;
	ssize_t n;

	if (!buf)
		model_die("malloc", "read");
	if (fd < 0) {
		said(r, -1);
		goto out;
	}
	while ((n = read(fd, buf, IO_MAX)) > 0 && total < (64 << 20)) {
		h = hash_bytes(h, buf, n);
		total += n;
	}
	if (n < 0)
		said(r, n);
	say(r, " bytes=%lld data=%016llx", total, (unsigned long long)h);
	close(fd);
out:
	free(buf);
}

static void op_writefile(struct model *m, const struct op *op, int base, struct result *r)
{
	int fd = openat(base, op->path, op->flags | O_CLOEXEC, op->mode);
	struct op w = *op;

	if (fd < 0) {
		said(r, -1);
		return;
	}
	w.kind = OP_pwrite;
	op_write(m, &w, fd, r);
	say(r, " close=");
	said(r, close(fd));
	say_stat(m, r, base, op->path, 0);
}

struct raw_dirent {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

struct names {
	struct name {
		char name[256];
		int64_t off;
		unsigned char type;
		int seen;
	} *v;
	size_t n;
};

/* Read on, with a small buffer so that the listing is really in the middle; at most `max` entries, about. */
static int names_read(int fd, struct names *l, size_t max)
{
	char buf[600];

	while (l->n < max) {
		long n = syscall(SYS_getdents64, fd, buf, sizeof(buf));

		if (n <= 0)
			return n ? -errno : 0;
		for (long o = 0; o < n; o += ((struct raw_dirent *)(buf + o))->d_reclen) {
			const struct raw_dirent *de = (const struct raw_dirent *)(buf + o);

			if (l->n == LIST_MAX)
				return -E2BIG;
			snprintf(l->v[l->n].name, sizeof(l->v[0].name), "%s", de->d_name);
			l->v[l->n].off = de->d_off;
			l->v[l->n].seen = 0;
			l->v[l->n++].type = de->d_type;
		}
	}
	return 0;
}

static void names_alloc(struct names *l)
{
	l->n = 0;
	l->v = calloc(LIST_MAX, sizeof(*l->v));
	if (!l->v)
		model_die("calloc", "listing");
}

static int name_order(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->name, ((const struct name *)b)->name);
}

static void op_list(int fd, struct result *r)
{
	struct names l;
	uint64_t h = 1;
	int err;

	names_alloc(&l);
	err = names_read(fd, &l, LIST_MAX);
	qsort(l.v, l.n, sizeof(*l.v), name_order);
	for (size_t i = 0; i < l.n; i++) {
		h = hash_bytes(h, l.v[i].name, strlen(l.v[i].name) + 1);
		h = hash_bytes(h, &l.v[i].type, 1);
	}
	say(r, "%d names=%zu hash=%08x", err, l.n, (unsigned int)h);
	for (size_t i = 0; i < l.n; i++)
		say(r, " %.20s:%u", l.v[i].name, l.v[i].type);
	free(l.v);
}

/* A listing that is continued after the directory changed: what was there throughout comes exactly once. */
static void op_listchange(const struct op *op, int fd, struct result *r)
{
	struct names before, during;
	char name[64];
	int err;

	names_alloc(&before);
	names_alloc(&during);
	err = names_read(fd, &before, LIST_MAX);
	qsort(before.v, before.n, sizeof(*before.v), name_order);
	lseek(fd, 0, SEEK_SET);
	if (!err)
		err = names_read(fd, &during, op->seed % (before.n + 1));
	for (unsigned int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "lc%u", (unsigned int)((op->seed >> 8) + i * 5) % 16);
		if (i & 1) {
			unlinkat(fd, name, 0);
		} else {
			int f = openat(fd, name, O_CREAT | O_WRONLY | O_NONBLOCK | O_CLOEXEC, 0644);	/* it may be a fifo */

			if (f >= 0)
				close(f);
		}
		for (size_t k = 0; k < before.n; k++)
			if (!strcmp(before.v[k].name, name))
				before.v[k].seen = -1000;
	}
	if (!err)
		err = names_read(fd, &during, LIST_MAX);
	say(r, "%d", err);
	for (size_t k = 0; k < before.n; k++) {
		for (size_t i = 0; i < during.n; i++)
			before.v[k].seen += !strcmp(before.v[k].name, during.v[i].name);
		if (before.v[k].seen >= 0 && before.v[k].seen != 1)
			say(r, " %s seen %d times", before.v[k].name, before.v[k].seen);
	}
	free(before.v);
	free(during.v);
}

static void op_seekdir(const struct op *op, int fd, struct result *r)
{
	struct names all, rest;
	size_t at;
	int err;

	names_alloc(&all);
	names_alloc(&rest);
	err = names_read(fd, &all, LIST_MAX);
	say(r, "%d", err);
	if (all.n) {
		at = op->seed % all.n;
		lseek(fd, all.v[at].off, SEEK_SET);
		err = names_read(fd, &rest, LIST_MAX);
		if (err || rest.n != all.n - at - 1)
			say(r, " from %zu of %zu: %d, %zu names", at, all.n, err, rest.n);
		for (size_t i = 0; i < rest.n && at + 1 + i < all.n; i++)
			if (strcmp(rest.v[i].name, all.v[at + 1 + i].name))
				say(r, " %s instead of %s", rest.v[i].name, all.v[at + 1 + i].name);
	}
	free(all.v);
	free(rest.v);
}

static void op_dir(const struct op *op, int base, struct result *r)
{
	int fd = openat(base, op->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		said(r, -1);
		return;
	}
	if (op->kind == OP_list)
		op_list(fd, r);
	else if (op->kind == OP_listchange)
		op_listchange(op, fd, r);
	else
		op_seekdir(op, fd, r);
	close(fd);
}

static void op_linkfd(struct model *m, const struct op *op, int base, int fd, struct result *r)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	said(r, linkat(AT_FDCWD, link, base, op->path, AT_SYMLINK_FOLLOW));
	say_stat(m, r, fd, "", AT_EMPTY_PATH);
}

static void op_readlink(const struct op *op, int base, struct result *r)
{
	char target[MODEL_PATH];
	ssize_t n = readlinkat(base, op->path, target, sizeof(target));

	if (said(r, n))
		say(r, " -> %.*s", (int)n, target);
}

/*
 * With its writeback cache FUSE keeps the times itself, and does not change them when a file is truncated to the size
 * that it has: ask for another.
 */
static off_t other_size(const struct model *m, const struct stat *st, off_t size)
{
	return m->feat.cached && S_ISREG(st->st_mode) && st->st_size == size ? size + 1 : size;
}

static void op_truncate(struct model *m, const struct op *op, int base, int fd, struct result *r)
{
	char path[MODEL_PATH + 64];
	off_t size = op->len;
	struct stat st;

	if (op->kind == OP_ftruncate) {
		if (!fstat(fd, &st))
			size = other_size(m, &st, size);
		said(r, ftruncate(fd, size));
		say_stat(m, r, fd, "", AT_EMPTY_PATH);
		return;
	}
	if (!fstatat(base, op->path, &st, 0))
		size = other_size(m, &st, size);
	said(r, truncate(proc_path(base, op->path, path, sizeof(path)), size));
	say_stat(m, r, base, op->path, AT_SYMLINK_NOFOLLOW);
}

/* Operations on a path whose result is a return value and the object's new attributes. */
static bool op_simple(struct model *m, const struct op *op, int base, struct result *r)
{
	static char path[MODEL_PATH + 64], text[MODEL_OUT];

	switch (op->kind) {
	case OP_stat:
		break;
	case OP_access:
		said(r, faccessat(base, op->path, op->mode & 7, op->flags));
		return true;
	case OP_rename:
	case OP_exchange:
		said(r, renameat2(base, op->path, base, op->path2, op->flags));
		say_stat(m, r, base, op->path2, AT_SYMLINK_NOFOLLOW);
		break;
	case OP_link:
		said(r, linkat(base, op->path, base, op->path2, op->flags));
		say_stat(m, r, base, op->path2, AT_SYMLINK_NOFOLLOW);
		break;
	case OP_symlink:
		said(r, symlinkat(op->path2, base, op->path));
		break;
	case OP_unlink:
		said(r, unlinkat(base, op->path, 0));
		break;
	case OP_rmdir:
		said(r, unlinkat(base, op->path, AT_REMOVEDIR));
		break;
	case OP_mkdir:
		said(r, mkdirat(base, op->path, op->mode));
		break;
	case OP_mknod:
	case OP_device:
		said(r, mknodat(base, op->path, op->mode, makedev(op->flags >> 8, op->flags & 255)));
		break;
	case OP_chmod:
		said(r, fchmodat(base, op->path, op->mode, 0));
		break;
	case OP_chown:
		said(r, fchownat(base, op->path, (uid_t)op->off, (gid_t)op->len, op->flags));
		break;
	case OP_listxattr:
		xattr_text(-1, proc_path(base, op->path, path, sizeof(path)), text, sizeof(text));
		say(r, "%s", text);
		return true;
	default:
		return false;
	}
	say_stat(m, r, base, op->path, AT_SYMLINK_NOFOLLOW);
	return true;
}

static void op_dispatch(struct model *m, enum side s, const struct op *op, int base, int fd, struct result *r)
{
	static char text[MODEL_OUT];

	if (op_simple(m, op, base, r))
		return;
	switch (op->kind) {
	case OP_open:
	case OP_opendir:
	case OP_tmpfile:
		op_open(m, s, op, base, r);
		break;
	case OP_close:
		said(r, close(fd));
		m->slots[op->slot].fd[s] = -1;
		break;
	case OP_read:
	case OP_pread:
		op_read(op, fd, r);
		break;
	case OP_write:
	case OP_pwrite:
		op_write(m, op, fd, r);
		break;
	case OP_mmapread:
	case OP_mmapwrite:
		op_mmap(m, op, fd, r);
		break;
	case OP_ftruncate:
	case OP_truncate:
		op_truncate(m, op, base, fd, r);
		break;
	case OP_fallocate:
		op_fallocate(m, op, fd, r);
		break;
	case OP_seek:
		op_seek(op, fd, r);
		break;
	case OP_fsync:
		said(r, op->flags ? fdatasync(fd) : fsync(fd));
		break;
	case OP_copyrange:
		op_copyrange(m, s, op, fd, r);
		break;
	case OP_fstat:
		say_stat(m, r, fd, "", AT_EMPTY_PATH);
		xattr_text(fd, NULL, text, sizeof(text));
		say(r, "%s", text);
		break;
	case OP_fchmod:
		said(r, fchmod(fd, op->mode));
		say_stat(m, r, fd, "", AT_EMPTY_PATH);
		break;
	case OP_fchown:
		said(r, fchown(fd, (uid_t)op->off, (gid_t)op->len));
		say_stat(m, r, fd, "", AT_EMPTY_PATH);
		break;
	case OP_utimens:
		op_utimens(m, op, base, -1, r);
		break;
	case OP_futimens:
		op_utimens(m, op, base, fd, r);
		break;
	case OP_linkfd:
		op_linkfd(m, op, base, fd, r);
		break;
	case OP_readlink:
		op_readlink(op, base, r);
		break;
	case OP_readfile:
		op_readfile(op, base, r);
		break;
	case OP_writefile:
		op_writefile(m, op, base, r);
		break;
	case OP_setacl:
		op_setacl(m, op, base, r);
		break;
	case OP_setcap:
		op_setcap(op, base, r);
		break;
	case OP_list:
	case OP_listchange:
	case OP_seekdir:
		op_dir(op, base, r);
		break;
	case OP_umask:
		umask(op->mode);
		break;
	default:
		op_xattr(op, base, fd, r);
	}
}

void op_run(struct model *m, enum side s, const struct op *op, char out[MODEL_OUT])
{
	int base = op->dslot < 0 ? m->root[s] : m->slots[op->dslot].fd[s];
	struct result r = { .out = out };

	out[0] = '\0';
	if (m->feat.sgid_lax && (op->kind == OP_truncate || op->kind == OP_open || op->kind == OP_writefile))
		strip_path(op, base);
	else if (m->feat.sgid_lax && op->kind >= OP_ftruncate && op->kind <= OP_copyrange && op->kind != OP_truncate)
		strip_before(m, op, op->kind == OP_copyrange ? m->slots[op->slot2].fd[s] : m->slots[op->slot].fd[s], false);
	/* Who may see trusted attributes is a matter of capabilities, which a daemon does not get to know. */
	if (op->user && op->kind != OP_fstat && op->kind != OP_listxattr) {
		setfsgid(op->user);
		setfsuid(op->user);
	}
	op_dispatch(m, s, op, base, m->slots[op->slot].fd[s], &r);
	if (op->user) {
		setfsuid(0);
		setfsgid(0);
	}
}

void slots_close(struct model *m)
{
	for (int i = 0; i < MODEL_SLOTS; i++) {
		for (int s = 0; s < 2; s++) {
			if (m->slots[i].fd[s] >= 0)
				close(m->slots[i].fd[s]);
			m->slots[i].fd[s] = -1;
		}
	}
}
