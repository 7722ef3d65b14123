// SPDX-License-Identifier: GPL-2.0-or-later
/* The choice of the next operation, and its form as a line of text. */
#include "model.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

static const unsigned char weights[OP_COUNT] = {
	[OP_open] = 30, [OP_tmpfile] = 3, [OP_opendir] = 5, [OP_close] = 8, [OP_read] = 8, [OP_write] = 10,
	[OP_pread] = 12, [OP_pwrite] = 15, [OP_mmapread] = 6, [OP_mmapwrite] = 8, [OP_ftruncate] = 6,
	[OP_truncate] = 8, [OP_fallocate] = 6, [OP_seek] = 8, [OP_fsync] = 2, [OP_copyrange] = 6, [OP_fstat] = 8,
	[OP_fchmod] = 4, [OP_fchown] = 3, [OP_futimens] = 4, [OP_fsetxattr] = 4, [OP_fgetxattr] = 3,
	[OP_fremovexattr] = 2, [OP_linkfd] = 5, [OP_stat] = 15, [OP_access] = 5, [OP_readlink] = 4,
	[OP_readfile] = 20, [OP_writefile] = 25, [OP_rename] = 40, [OP_exchange] = 8, [OP_link] = 15,
	[OP_symlink] = 8, [OP_unlink] = 22, [OP_rmdir] = 12, [OP_mkdir] = 18, [OP_mknod] = 6, [OP_device] = 3,
	[OP_chmod] = 12, [OP_chown] = 10, [OP_utimens] = 12, [OP_setxattr] = 12, [OP_getxattr] = 6,
	[OP_removexattr] = 5, [OP_listxattr] = 5, [OP_setacl] = 8, [OP_setcap] = 4, [OP_list] = 8,
	[OP_listchange] = 5, [OP_seekdir] = 4, [OP_umask] = 1,
};

static const unsigned int modes[] = {
	0644, 0600, 0755, 0777, 0666, 0444, 0, 04755, 02755, 06775, 02644, 01777, 02775, 0700, 0640,
};

static unsigned int any_mode(struct rng *r)
{
	return modes[rng_below(r, sizeof(modes) / sizeof(modes[0]))];
}

static void any_name(struct rng *r, char *out, size_t size)
{
	static const char *const odd[] = {
		"a b", "x:y", "c,d", "\xff\xfe\x80", "e\\f", "-n", "quo\"te", "new\nline", "...", "\xc3\xa4",
	};
	unsigned int k = rng_below(r, 100);

	if (k < 6) {
		snprintf(out, size, "%s", odd[rng_below(r, sizeof(odd) / sizeof(odd[0]))]);
	} else if (k < 8) {
		size_t n = k == 6 ? 255 : 256;

		memset(out, 'L', n);
		out[n] = '\0';
		out[0] = 'a' + rng_below(r, 4);
	} else {
		snprintf(out, size, "n%u", rng_below(r, 24));
	}
}

static bool type_fits(mode_t type, mode_t want)
{
	return !want || type == want;
}

static const char *existing(const struct model *m, struct rng *r, mode_t want)
{
	for (int i = 0; i < 24 && m->npaths; i++) {
		size_t k = rng_below(r, m->npaths);

		if (type_fits(m->types[k], want))
			return m->paths[k];
	}
	return NULL;
}

static void old_path(const struct model *m, struct rng *r, const struct op *op, mode_t want, char *out)
{
	const char *p = existing(m, r, want);

	if (op->dslot >= 0 || !p)
		any_name(r, out, MODEL_PATH);
	else
		snprintf(out, MODEL_PATH, "%s", p);
}

static void new_path(const struct model *m, struct rng *r, const struct op *op, char *out)
{
	const char *dir = rng_chance(r, 85) ? existing(m, r, S_IFDIR) : NULL;
	char name[300];

	any_name(r, name, sizeof(name));
	if (op->dslot >= 0 || !dir || strlen(dir) > MODEL_PATH - 600)
		snprintf(out, MODEL_PATH, "%s", name);
	else
		snprintf(out, MODEL_PATH, "%s/%s", dir, name);
}

static void either_path(const struct model *m, struct rng *r, const struct op *op, mode_t want, char *out)
{
	if (rng_chance(r, 85))
		old_path(m, r, op, want, out);
	else
		new_path(m, r, op, out);
}

static void dir_path(const struct model *m, struct rng *r, const struct op *op, char *out)
{
	if (op->dslot >= 0 || rng_chance(r, 5))
		strcpy(out, ".");
	else
		either_path(m, r, op, rng_chance(r, 95) ? S_IFDIR : 0, out);
}

/* A slot that holds a regular file (or, with dir, a directory), or -1. */
static int any_slot(const struct model *m, struct rng *r, bool dir)
{
	int start = rng_below(r, MODEL_SLOTS);

	for (int i = 0; i < MODEL_SLOTS; i++) {
		const struct slot *s = &m->slots[(start + i) % MODEL_SLOTS];

		if (s->fd[UNION] >= 0 && s->fd[PLAIN] >= 0 && (dir ? s->dir : s->reg) && !(s->flags & O_PATH))
			return (start + i) % MODEL_SLOTS;
	}
	return -1;
}

static int open_flags(const struct model *m, struct rng *r)
{
	static const int access[] = { O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR, O_RDWR };
	int f = access[rng_below(r, 5)] | O_NONBLOCK;

	if (!m->feat.stale_readers && (f & O_ACCMODE) == O_RDONLY)
		f = O_RDWR | O_NONBLOCK;
	if (rng_chance(r, 30))
		f |= O_CREAT;
	if (rng_chance(r, 8))
		f |= O_EXCL | O_CREAT;
	if (rng_chance(r, 15) && (f & O_ACCMODE) != O_RDONLY)
		f |= O_TRUNC;
	if (rng_chance(r, 15))
		f |= O_APPEND;
	else if (rng_chance(r, 6) && m->feat.direct)
		f |= O_DIRECT;
	if (rng_chance(r, 10))
		f |= O_NOFOLLOW;
	if (rng_chance(r, 3))
		f |= O_NOATIME;
	if (rng_chance(r, 3))
		f |= rng_chance(r, 50) ? O_SYNC : O_DSYNC;
	return f;
}

static void pick_range(struct rng *r, struct op *op, long long max_len)
{
	op->off = rng_chance(r, 20) ? 0 : rng_below(r, 100000);
	if (rng_chance(r, 4))
		op->off += rng_below(r, 2 << 20);
	op->len = 1 + rng_below(r, max_len);
	if (rng_chance(r, 40)) {
		op->off &= ~4095LL;
		op->len = (op->len + 4095) & ~4095LL;
	}
}

static void pick_xattr(const struct model *m, struct rng *r, struct op *op)
{
	static const char *const names[] = {
		"user.a", "user.b", "user.mime_type", "trusted.t", "trusted.overlayfoo", "system.posix_acl_access",
		"user.\xff", "trusted.overlay.opaque",
	};
	unsigned int k = rng_below(r, m->feat.ovlxattr ? 8 : 7);
	bool set = op->kind == OP_setxattr || op->kind == OP_fsetxattr;

	/* Who may see them is a matter of capabilities, which a file system behind FUSE does not get to know. */
	if ((!m->feat.trusted || op->user) && !strncmp(names[k], "trusted.", 8))
		k = 0;
	/* ACLs are set by an operation of their own, with valid bytes. */
	if (set && k == 5)
		k = 1;
	snprintf(op->path2, sizeof(op->path2), "%s", names[k]);
	op->len = set ? rng_below(r, 120) : rng_chance(r, 80) ? 4000 : rng_below(r, 20);
	if (set)
		op->flags = rng_chance(r, 70) ? 0 : rng_chance(r, 50) ? XATTR_CREATE : XATTR_REPLACE;
}

static void pick_owner(struct rng *r, struct op *op)
{
	static const long long ids[] = { 0, 1234, 4321, -1 };

	op->off = ids[rng_below(r, 4)];
	op->len = ids[rng_below(r, 4)];
	op->flags = rng_chance(r, 80) ? AT_SYMLINK_NOFOLLOW : 0;
}

static void pick_times(struct rng *r, struct op *op)
{
	op->off = 86400LL * 365 + rng_below(r, 1500000000);
	op->len = 86400LL * 365 + rng_below(r, 1500000000);
	op->flags = rng_chance(r, 80) ? AT_SYMLINK_NOFOLLOW : 0;
}

/* Operations on an open file; false when the kind is none of them. */
static bool pick_slot_op(const struct model *m, struct rng *r, struct op *op)
{
	const struct slot *slot = &m->slots[op->slot];
	static const int falloc[] = {
		0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	};
	static const int whence[] = { SEEK_SET, SEEK_SET, SEEK_DATA, SEEK_HOLE };

	switch (op->kind) {
	case OP_close:
		return true;
	case OP_read:
	case OP_write:
	case OP_pread:
	case OP_pwrite:
		pick_range(r, op, rng_chance(r, 80) ? 5000 : 60000);
		if (slot->flags & O_DIRECT) {
			/* Alignment is the layer's business: ask for none that some layer may refuse. */
			op->kind = op->kind == OP_read ? OP_pread : op->kind == OP_write ? OP_pwrite : op->kind;
			op->off &= ~4095LL;
			op->len = (op->len + 4095) & ~4095LL;
		}
		return true;
	case OP_mmapread:
		op->flags = rng_chance(r, 50) ? MAP_SHARED : MAP_PRIVATE;
		/* fall through */
	case OP_mmapwrite:
		if (op->kind == OP_mmapwrite)
			op->flags = MAP_SHARED;
		pick_range(r, op, 60000);
		op->off &= ~4095LL;
		if (rng_chance(r, 60))
			op->off = 0;
		if (op->kind == OP_mmapread && !m->feat.mapped && (slot->flags & O_ACCMODE) == O_RDONLY)
			op->kind = OP_pread;
		return true;
	case OP_ftruncate:
		op->len = rng_chance(r, 30) ? 0 : rng_below(r, rng_chance(r, 5) ? 2 << 20 : 100000);
		return true;
	case OP_fallocate:
		op->flags = falloc[rng_below(r, 5)];
		pick_range(r, op, 60000);
		return true;
	case OP_seek:
		op->flags = whence[rng_below(r, 4)];
		op->off = rng_below(r, 60000);
		return true;
	case OP_fsync:
		op->flags = rng_below(r, 2);
		return true;
	case OP_copyrange:
		op->slot2 = any_slot(m, r, false);
		pick_range(r, op, 60000);
		if (op->slot2 == op->slot || ((slot->flags | m->slots[op->slot2].flags) & O_DIRECT))
			op->kind = OP_fstat;
		return true;
	case OP_fstat:
	case OP_fchmod:
	case OP_fgetxattr:
	case OP_fsetxattr:
	case OP_fremovexattr:
		op->mode = any_mode(r);
		if (op->kind == OP_fstat)
			op->user = 0;
		if (op->kind != OP_fstat && op->kind != OP_fchmod)
			pick_xattr(m, r, op);
		return true;
	case OP_fchown:
		pick_owner(r, op);
		return true;
	case OP_futimens:
		pick_times(r, op);
		return true;
	case OP_linkfd:
		op->user = 0;
		new_path(m, r, op, op->path);
		return true;
	default:
		return false;
	}
}

static void pick_path_op(const struct model *m, struct rng *r, struct op *op)
{
	static const mode_t nodes[] = { S_IFIFO, S_IFSOCK, S_IFREG };

	switch (op->kind) {
	case OP_open:
		op->slot = rng_below(r, MODEL_SLOTS);
		op->flags = open_flags(m, r);
		op->mode = any_mode(r);
		if ((op->flags & O_EXCL) || rng_chance(r, 10))
			new_path(m, r, op, op->path);
		else
			either_path(m, r, op, rng_chance(r, 90) ? S_IFREG : 0, op->path);
		break;
	case OP_tmpfile:
		op->slot = rng_below(r, MODEL_SLOTS);
		op->flags = O_TMPFILE | O_RDWR | (rng_chance(r, 20) ? O_EXCL : 0);
		op->mode = any_mode(r);
		dir_path(m, r, op, op->path);
		break;
	case OP_opendir:
		op->slot = rng_below(r, MODEL_SLOTS);
		op->flags = O_RDONLY | O_DIRECTORY;
		dir_path(m, r, op, op->path);
		break;
	case OP_truncate:
		either_path(m, r, op, S_IFREG, op->path);
		op->len = rng_chance(r, 30) ? 0 : rng_below(r, 100000);
		break;
	case OP_readfile:
		/* A device may have no end. */
		old_path(m, r, op, S_IFREG, op->path);
		op->flags = O_RDONLY | O_NONBLOCK;
		break;
	case OP_writefile:
		either_path(m, r, op, S_IFREG, op->path);
		op->flags = open_flags(m, r) & ~O_DIRECT;
		if ((op->flags & O_ACCMODE) == O_RDONLY)
			op->flags |= O_WRONLY;
		op->mode = any_mode(r);
		pick_range(r, op, 20000);
		break;
	case OP_rename:
	case OP_exchange:
		either_path(m, r, op, rng_chance(r, 40) ? S_IFDIR : 0, op->path);
		if (op->kind == OP_exchange || rng_chance(r, 35))
			old_path(m, r, op, rng_chance(r, 40) ? S_IFDIR : 0, op->path2);
		else
			new_path(m, r, op, op->path2);
		op->flags = op->kind == OP_exchange ? RENAME_EXCHANGE : rng_chance(r, 15) ? RENAME_NOREPLACE : 0;
		break;
	case OP_link:
		either_path(m, r, op, rng_chance(r, 80) ? S_IFREG : 0, op->path);
		new_path(m, r, op, op->path2);
		op->flags = rng_chance(r, 10) ? AT_SYMLINK_FOLLOW : 0;
		break;
	case OP_symlink:
		new_path(m, r, op, op->path);
		if (rng_chance(r, 80))
			any_name(r, op->path2, MODEL_PATH);
		else
			snprintf(op->path2, MODEL_PATH, "/nonexistent/%u", rng_below(r, 1000));
		break;
	case OP_unlink:
		either_path(m, r, op, rng_chance(r, 60) ? S_IFREG : 0, op->path);
		break;
	case OP_rmdir:
		either_path(m, r, op, rng_chance(r, 95) ? S_IFDIR : 0, op->path);
		break;
	case OP_mkdir:
		new_path(m, r, op, op->path);
		op->mode = any_mode(r);
		break;
	case OP_mknod:
		new_path(m, r, op, op->path);
		op->mode = nodes[rng_below(r, 3)] | (any_mode(r) & 0777);
		break;
	case OP_device:
		new_path(m, r, op, op->path);
		op->mode = (rng_chance(r, 70) ? S_IFCHR : S_IFBLK) | 0666;
		op->flags = S_ISCHR(op->mode) ? 1 << 8 | 3 : 240 << 8 | 9;
		op->user = 0;
		break;
	case OP_chmod:
		either_path(m, r, op, 0, op->path);
		op->mode = any_mode(r);
		break;
	case OP_chown:
		either_path(m, r, op, 0, op->path);
		pick_owner(r, op);
		break;
	case OP_utimens:
		either_path(m, r, op, 0, op->path);
		pick_times(r, op);
		break;
	case OP_setxattr:
	case OP_getxattr:
	case OP_removexattr:
	case OP_listxattr:
		either_path(m, r, op, 0, op->path);
		if (op->kind == OP_listxattr)
			op->user = 0;
		pick_xattr(m, r, op);
		break;
	case OP_setacl:
		either_path(m, r, op, 0, op->path);
		strcpy(op->path2, rng_chance(r, 50) ? "system.posix_acl_access" : "system.posix_acl_default");
		op->flags = rng_chance(r, 25);
		op->mode = any_mode(r) & 0777;
		break;
	case OP_setcap:
		either_path(m, r, op, S_IFREG, op->path);
		op->user = 0;
		break;
	case OP_list:
	case OP_listchange:
	case OP_seekdir:
		dir_path(m, r, op, op->path);
		break;
	case OP_umask: {
		static const unsigned int masks[] = { 0, 022, 022, 027, 077 };

		op->mode = masks[rng_below(r, 5)];
		op->user = 0;
		break;
	}
	default:
		either_path(m, r, op, op->kind == OP_readlink ? S_IFLNK : 0, op->path);
		op->mode = rng_below(r, 8);
		op->flags = rng_chance(r, 60) ? AT_SYMLINK_NOFOLLOW : 0;
		if (op->kind == OP_access)
			op->flags |= AT_EACCESS;
	}
}

void op_pick(const struct model *m, struct rng *r, struct op *op)
{
	unsigned int total = 0, k;
	int kind = 0;

	for (int i = 0; i < OP_COUNT; i++)
		total += m->feat.off[i] ? 0 : weights[i];
	k = rng_below(r, total);
	for (;; kind++) {
		unsigned int w = m->feat.off[kind] ? 0 : weights[kind];

		if (k < w)
			break;
		k -= w;
	}
	memset(op, 0, sizeof(*op));
	op->kind = kind;
	op->dslot = rng_chance(r, 8) ? any_slot(m, r, true) : -1;
	op->user = m->feat.users && rng_chance(r, 15) ? 1234 : 0;
	op->seed = rng_next(r) >> 16;
	op->slot = any_slot(m, r, false);
	if (op->slot >= 0 && pick_slot_op(m, r, op))
		return;
	if (op->slot < 0 || op->kind == OP_close) {
		struct op probe = *op;

		/* Nothing is open yet that this kind could work on: open something. */
		probe.slot = 0;
		if (pick_slot_op(m, r, &probe))
			op->kind = OP_open;
		op->slot = 0;
	}
	pick_path_op(m, r, op);
}

static void put_path(FILE *f, const char *p)
{
	fputs(" /", f);
	for (; *p; p++) {
		unsigned char c = *p;

		if (c <= ' ' || c == '%' || c >= 0x7f)
			fprintf(f, "%%%02x", c);
		else
			fputc(c, f);
	}
}

void op_print(FILE *f, const struct op *op)
{
	fprintf(f, "%s at=%d slot=%d,%d user=%u flags=%#x mode=%#o off=%lld len=%lld seed=%#llx", op_names[op->kind],
		op->dslot, op->slot, op->slot2, op->user, op->flags, op->mode, op->off, op->len,
		(unsigned long long)op->seed);
	put_path(f, op->path);
	put_path(f, op->path2);
	fputc('\n', f);
}

static int get_path(const char **line, char *out)
{
	const char *p = *line + strspn(*line, " ");
	size_t n = 0;

	if (*p++ != '/')
		return -1;
	while (*p && *p != ' ' && *p != '\n' && n < MODEL_PATH - 1) {
		unsigned int c = (unsigned char)*p++;

		if (c == '%' && sscanf(p, "%2x", &c) == 1)
			p += 2;
		out[n++] = c;
	}
	out[n] = '\0';
	*line = p;
	return 0;
}

int op_parse(const char *line, struct op *op)
{
	unsigned long long seed;
	char kind[32];
	int used = 0;

	memset(op, 0, sizeof(*op));
	if (sscanf(line, "%31s at=%d slot=%d,%d user=%u flags=%i mode=%i off=%lld len=%lld seed=%llx%n", kind,
		   &op->dslot, &op->slot, &op->slot2, &op->user, &op->flags, (int *)&op->mode, &op->off, &op->len,
		   &seed, &used) != 10 || !used)
		return -1;
	op->seed = seed;
	line += used;
	if (get_path(&line, op->path) || get_path(&line, op->path2))
		return -1;
	for (int i = 0; i < OP_COUNT; i++) {
		if (!strcmp(kind, op_names[i])) {
			op->kind = i;
			return 0;
		}
	}
	return -1;
}
