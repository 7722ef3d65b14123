// SPDX-License-Identifier: GPL-2.0-or-later
#include "mountinfo.h"

#include "compat.h"
#include "sys.h"
#include <errno.h>
#include <limits.h>

#ifndef OVERLAYFS_SUPER_MAGIC
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#endif

/* Deeper than this is no place for a layer. */
#define ANCESTORS_MAX 65536

/* --- one by one --- */

#define ASK_AT_ONCE 128
#define ASK_STRINGS 16384

static bool mount_ask(uint64_t id, uint64_t what, struct ply_statmount *out, size_t size)
{
	struct ply_mnt_id_req req = { .size = sizeof(req), .mnt_id = id, .param = what };

	return !syscall(SYS_statmount, &req, out, size, 0) && (out->mask & what) == what;
}

/* Can all mounts be asked, and is none an overlayfs, whose options are to be read? */
static bool no_overlay(void)
{
	struct ply_mnt_id_req req = { .size = sizeof(req), .mnt_id = PLY_LSMT_ROOT };
	uint64_t id[ASK_AT_ONCE];
	struct ply_statmount m;
	long n;

	do {
		n = syscall(SYS_listmount, &req, id, PLY_ARRAY_SIZE(id), 0);
		for (long i = 0; i < n; i++)
			if (!mount_ask(id[i], PLY_STATMOUNT_SB_BASIC, &m, sizeof(m)) || m.sb_magic == OVERLAYFS_SUPER_MAGIC)
				return false;
		if (n > 0)
			req.param = id[n - 1];
	} while (n == (long)PLY_ARRAY_SIZE(id));
	/* There is "/" at least. */
	return n > 0 || (!n && req.param);
}

int ply_mountinfo_read(struct ply_mountinfo *mi)
{
	if (!no_overlay())
		return ply_mountinfo_read_text(mi);
	*mi = (struct ply_mountinfo){ .ask = true };
	return 0;
}

/* --- all of them, as text --- */

int ply_mountinfo_read_text(struct ply_mountinfo *mi)
{
	ply_autofd fd = ply_sys_open_path("/proc/self/mountinfo", O_RDONLY);
	ply_autobuf b = { 0 };

	if (fd < 0)
		return fd;
	for (;;) {
		ssize_t n;

		if (ply_buf_reserve(&b, 16384))
			return -ENOMEM;
		n = ply_sys_pread(fd, b.data + b.len, 16383, (off_t)b.len);
		if (n < 0)
			return (int)n;
		b.len += (size_t)n;
		if (!n)
			break;
	}
	b.data[b.len] = '\0';
	mi->ask = false;
	mi->len = b.len;
	mi->text = ply_take_ptr(&b.data);
	return 0;
}

void ply_mountinfo_free(struct ply_mountinfo *mi)
{
	free(mi->text);
	*mi = (struct ply_mountinfo){ 0 };
}

void ply_mountinfo_place_free(struct ply_place *p)
{
	free(p->dir);
	free(p->fs_path);
	*p = (struct ply_place){ 0 };
}

/* The fields of a line that matter, still escaped: "36 35 98:0 /root /mnt opts [tags] - type source superopts". */
struct mount_line {
	unsigned long long id;
	const char *fs, *root, *point, *opts, *type, *super;
	size_t fs_len, root_len, point_len, opts_len, type_len, super_len;
};

static const char *next_word(const char *p, const char *end, const char **word, size_t *len)
{
	while (p < end && *p == ' ')
		p++;
	*word = p;
	while (p < end && *p != ' ')
		p++;
	*len = (size_t)(p - *word);
	return p;
}

static bool line_parse(const char *p, const char *end, struct mount_line *out)
{
	const char *word;
	char *stop;
	size_t len;

	out->id = strtoull(p, &stop, 10);
	if (stop == p)
		return false;
	p = next_word(stop, end, &word, &len);
	p = next_word(p, end, &out->fs, &out->fs_len);
	p = next_word(p, end, &out->root, &out->root_len);
	p = next_word(p, end, &out->point, &out->point_len);
	p = next_word(p, end, &out->opts, &out->opts_len);
	do {
		p = next_word(p, end, &word, &len);
	} while (len && !(len == 1 && word[0] == '-'));
	p = next_word(p, end, &out->type, &out->type_len);
	p = next_word(p, end, &word, &len);
	p = next_word(p, end, &out->super, &out->super_len);
	return out->type_len;
}

/* \040 and the like, malloced. */
static char *unescaped(const char *s, size_t len)
{
	char *out = malloc(len + 1), *d = out;

	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\\' && len - i > 3 && s[i + 1] >= '0' && s[i + 1] <= '3' && s[i + 2] >= '0' &&
		    s[i + 2] <= '7' && s[i + 3] >= '0' && s[i + 3] <= '7') {
			*d++ = (char)((s[i + 1] - '0') << 6 | (s[i + 2] - '0') << 3 | (s[i + 3] - '0'));
			i += 3;
		} else {
			*d++ = s[i];
		}
	}
	*d = '\0';
	return out;
}

static const char *line_end(const struct ply_mountinfo *mi, const char *p)
{
	const char *e = memchr(p, '\n', (size_t)(mi->text + mi->len - p));

	return e ? e : mi->text + mi->len;
}

static bool line_of_mount(const struct ply_mountinfo *mi, uint64_t id, struct mount_line *out)
{
	for (const char *p = mi->text; p && p < mi->text + mi->len;) {
		const char *e = line_end(mi, p);

		if (line_parse(p, e, out) && out->id == id)
			return true;
		p = e + 1;
	}
	return false;
}

/* The path of an fd in this mount namespace, or NULL. */
static char *path_of_fd(int fd)
{
	char link[64], *path = NULL;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (ply_sys_readlink(PLY_AT(AT_FDCWD, link), &path))
		return NULL;
	if (path[0] == '/')
		return path;
	free(path);
	return NULL;
}

/* Is `path` the prefix `dir` ("" is the root) or below it? Returns what follows, with its '/', or NULL. */
static const char *below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (strncmp(path, dir, n) || (path[n] && path[n] != '/'))
		return NULL;
	return path + n;
}

static void strip_slash(char *path)
{
	size_t n = strlen(path);

	while (n && path[n - 1] == '/')
		path[--n] = '\0';
}

/* Is `word` one of the comma list? */
static bool has_word(const char *list, size_t len, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list, *end = list + len; p < end;) {
		const char *e = memchr(p, ',', (size_t)(end - p));

		if (!e)
			e = end;
		if ((size_t)(e - p) == n && !memcmp(p, word, n))
			return true;
		p = e + 1;
	}
	return false;
}

/* What is to be known of one mount. */
struct mount_facts {
	char fs[24];
	char *root, *point;
	bool idmapped;
};

static void facts_free(struct mount_facts *f)
{
	free(f->root);
	free(f->point);
}

/* 1: known, 0: not, -ENOMEM. The same for the other two. */
static int facts_read(const struct ply_mountinfo *mi, uint64_t mnt, struct mount_facts *out)
{
	struct mount_facts f = { .fs = "" };
	struct mount_line l;

	if (!mi->text || !mnt || !line_of_mount(mi, mnt, &l) || l.fs_len >= sizeof(f.fs))
		return 0;
	memcpy(f.fs, l.fs, l.fs_len);
	f.idmapped = has_word(l.opts, l.opts_len, "idmapped");
	f.root = unescaped(l.root, l.root_len);
	f.point = unescaped(l.point, l.point_len);
	if (!f.root || !f.point) {
		facts_free(&f);
		return -ENOMEM;
	}
	*out = f;
	return 1;
}

static int facts_ask(int fd, struct mount_facts *out)
{
	const uint64_t what = PLY_STATMOUNT_SB_BASIC | PLY_STATMOUNT_MNT_BASIC | PLY_STATMOUNT_MNT_ROOT |
			      PLY_STATMOUNT_MNT_POINT;
	const size_t size = sizeof(struct ply_statmount) + ASK_STRINGS;
	ply_autofree struct ply_statmount *m = malloc(size);
	struct mount_facts f = { .fs = "" };
	struct statx sx;

	if (!m)
		return -ENOMEM;
	/* The short ids are used again, and statmount() does not take them. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, PLY_STATX_MNT_ID_UNIQUE, &sx) ||
	    !(sx.stx_mask & PLY_STATX_MNT_ID_UNIQUE) || !mount_ask(sx.stx_mnt_id, what, m, size))
		return 0;
	snprintf(f.fs, sizeof(f.fs), "%u:%u", m->sb_dev_major, m->sb_dev_minor);
	f.idmapped = m->mnt_attr & PLY_MOUNT_ATTR_IDMAP;
	f.root = strdup(m->str + m->mnt_root);
	f.point = strdup(m->str + m->mnt_point);
	if (!f.root || !f.point) {
		facts_free(&f);
		return -ENOMEM;
	}
	*out = f;
	return 1;
}

static int facts_find(const struct ply_mountinfo *mi, int fd, uint64_t mnt, struct mount_facts *out)
{
	struct ply_mountinfo all = { 0 };
	int r = mi->ask ? facts_ask(fd, out) : facts_read(mi, mnt, out);

	/* The path of a mount can be longer than what was asked with. */
	if (!mi->ask || r)
		return r;
	r = ply_mountinfo_read_text(&all);
	r = r ? 0 : facts_read(&all, mnt, out);
	ply_mountinfo_free(&all);
	return r;
}

static int place_in_fs(const struct ply_mountinfo *mi, int fd, struct ply_place *p)
{
	ply_autofree char *path = NULL, *root = NULL, *point = NULL;
	struct mount_facts f;
	const char *rest;
	int r = facts_find(mi, fd, p->mnt, &f);

	if (r <= 0)
		return r;
	root = f.root;
	point = f.point;
	p->idmapped = f.idmapped;
	path = path_of_fd(fd);
	if (!path)
		return 0;
	strip_slash(path);
	strip_slash(root);
	strip_slash(point);
	rest = below(path, point);
	if (!rest)
		return 0;
	if (asprintf(&p->fs_path, "%s%s", root, rest) < 0) {
		p->fs_path = NULL;
		return -ENOMEM;
	}
	memcpy(p->fs, f.fs, sizeof(p->fs));
	return 0;
}

static bool dir_same(const struct ply_place_dir *a, const struct ply_place_dir *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

static int place_add(struct ply_place *p, size_t *room, const struct ply_place_dir *dir, size_t n)
{
	if (p->n + n > *room) {
		size_t want = ply_max(2 * *room, p->n + n + 16);
		struct ply_place_dir *more = realloc(p->dir, want * sizeof(*more));

		if (!more)
			return -ENOMEM;
		p->dir = more;
		*room = want;
	}
	memcpy(p->dir + p->n, dir, n * sizeof(*dir));
	p->n += n;
	return 0;
}

/* A directory on one mount has one parent: where its ancestors are known. */
static size_t place_meets(const struct ply_place *near, const struct ply_place_dir *d)
{
	size_t i;

	for (i = 0; i < near->n; i++)
		if (d->mnt && d->mnt == near->dir[i].mnt && dir_same(d, &near->dir[i]))
			break;
	return i;
}

static int place_up(int fd, const struct ply_place *near, struct ply_place *p)
{
	ply_autofd cur = -1;
	size_t room = 0;

	while (p->n < ANCESTORS_MAX) {
		struct ply_place_dir d;
		int next, r = ply_sys_identity(cur < 0 ? fd : cur, &d.dev, &d.ino, &d.mnt);

		/* An ancestor that does not answer ends what can be known. */
		if (r)
			return p->n ? 0 : r;
		if (p->n && dir_same(&d, &p->dir[p->n - 1]) && d.mnt == p->dir[p->n - 1].mnt)
			return 0;	/* "/" */
		if (!p->n)
			p->mnt = d.mnt;
		if (near) {
			size_t i = place_meets(near, &d);

			if (i < near->n)
				return place_add(p, &room, near->dir + i, near->n - i);
		}
		r = place_add(p, &room, &d, 1);
		if (r)
			return r;
		next = ply_sys_open(PLY_AT(cur < 0 ? fd : cur, ".."), O_PATH | O_DIRECTORY, 0);
		if (next < 0)
			return 0;
		if (cur >= 0)
			close(cur);
		cur = next;
	}
	return 0;
}

int ply_mountinfo_place(const struct ply_mountinfo *mi, int fd, const struct ply_place *near, struct ply_place *out)
{
	struct ply_place p = { 0 };
	int r = place_up(fd, near, &p);

	if (!r)
		r = place_in_fs(mi, fd, &p);
	if (r) {
		ply_mountinfo_place_free(&p);
		return r;
	}
	*out = p;
	return 0;
}

bool ply_mountinfo_is_same(const struct ply_place *a, const struct ply_place *b)
{
	return a->n && b->n && dir_same(&a->dir[0], &b->dir[0]);
}

bool ply_mountinfo_is_reached_from(const struct ply_place *inside, const struct ply_place *outer)
{
	if (!outer->n)
		return false;
	for (size_t i = 0; i < inside->n; i++)
		if (dir_same(&inside->dir[i], &outer->dir[0]))
			return true;
	return false;
}

bool ply_mountinfo_is_below(const struct ply_place *inside, const struct ply_place *outer)
{
	if (ply_mountinfo_is_reached_from(inside, outer))
		return true;
	return inside->fs_path && outer->fs_path && !strcmp(inside->fs, outer->fs) &&
	       below(inside->fs_path, outer->fs_path);
}

bool ply_mountinfo_used_by_overlay(const struct ply_mountinfo *mi, const char *key, int fd)
{
	ply_autofree char *path = NULL;
	size_t klen = strlen(key);

	for (const char *p = mi->text; p && p < mi->text + mi->len;) {
		const char *e = line_end(mi, p), *o;
		struct mount_line l;

		if (line_parse(p, e, &l) && l.type_len == 7 && !memcmp(l.type, "overlay", 7)) {
			if (!path)
				path = path_of_fd(fd);
			if (!path)
				return false;
			for (o = l.super; o < l.super + l.super_len;) {
				const char *comma = memchr(o, ',', (size_t)(l.super + l.super_len - o));
				size_t n = (size_t)((comma ? comma : l.super + l.super_len) - o);

				if (n > klen + 1 && !memcmp(o, key, klen) && o[klen] == '=') {
					ply_autofree char *val = unescaped(o + klen + 1, n - klen - 1);

					if (val)
						strip_slash(val);
					if (val && !strcmp(val, path))
						return true;
				}
				o += n + 1;
			}
		}
		p = e + 1;
	}
	return false;
}
