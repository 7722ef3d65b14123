// SPDX-License-Identifier: GPL-2.0-or-later
#include "dcbuild.h"
#include "origin.h"
#include "whiteout.h"

#include <dirent.h>
#include <errno.h>

#ifndef BTRFS_SUPER_MAGIC
#define BTRFS_SUPER_MAGIC 0x9123683E
#endif

#define INDEX_MIN 64
/* What the kernel has read stays with an open directory. */
#define KEEP_NAMES 32

struct merge {
	struct ply_fs *fs;
	struct ply_dcbuild *b;
	const struct ply_layer *layer;	/* the one that is read now */
	int fd;
	dev_t dev;
	unsigned int fsidx;
	uint64_t left;			/* so many bytes may still be read */
	unsigned int names;		/* in this layer */
	bool xwhite, last;
	bool inos_certain;
	bool dir_inos_certain;
	bool saw_aufs;
	struct ply_buf hidden;		/* .wh. names of this layer: they hide in the layers below only */
};

void ply_dcbuild_free(struct ply_dcbuild *b)
{
	free(b->rec);
	free(b->index);
	ply_buf_free(&b->names);
}

static uint32_t *index_slot(struct ply_dcbuild *b, uint64_t hash, const char *name)
{
	size_t i = hash & b->mask;

	for (; b->index[i]; i = (i + 1) & b->mask) {
		const struct ply_dcrec *rec = &b->rec[b->index[i] - 1];

		if (rec->cookie == hash && !strcmp(b->names.data + rec->name, name))
			break;
	}
	return &b->index[i];
}

/* Puts what was read so far into the index: one layer never has a name twice, so the last layer's are not looked for. */
static int index_extend(struct ply_dcbuild *b)
{
	size_t size = b->index ? b->mask + 1 : INDEX_MIN;

	if (b->indexed == b->n)
		return 0;
	while (size < 2 * b->n)
		size *= 2;
	if (!b->index || size > b->mask + 1) {
		uint32_t *index = calloc(size, sizeof(*index));

		if (!index)
			return -ENOMEM;
		free(b->index);
		b->index = index;
		b->mask = size - 1;
		b->indexed = 0;
	}
	for (; b->indexed < b->n; b->indexed++) {
		uint32_t *slot = index_slot(b, b->rec[b->indexed].cookie, b->names.data + b->rec[b->indexed].name);

		if (!*slot)
			*slot = (uint32_t)b->indexed + 1;
	}
	return 0;
}

static int build_reserve(struct ply_dcbuild *b)
{
	if (b->n == b->cap) {
		size_t cap = b->cap ? 2 * b->cap : 32;
		struct ply_dcrec *rec;

		if (cap > UINT32_MAX)
			return -ENOMEM;
		rec = realloc(b->rec, cap * sizeof(*rec));
		if (!rec)
			return -ENOMEM;
		b->rec = rec;
		b->cap = cap;
	}
	return 0;
}

/* rec->cookie is the name's hash. */
static int build_add(struct ply_dcbuild *b, struct ply_dcrec *rec, const char *name)
{
	int r = build_reserve(b);

	if (r)
		return r;
	if (b->names.len > UINT32_MAX - 512)
		return -ENOMEM;
	rec->name = (uint32_t)b->names.len;
	r = ply_buf_add(&b->names, name, strlen(name) + 1);
	if (r)
		return r;
	b->rec[b->n++] = *rec;
	return 0;
}

/* What a higher layer has already decided about it, or NULL. */
static struct ply_dcrec *build_find(struct ply_dcbuild *b, uint64_t hash, const char *name)
{
	uint32_t slot = b->index ? *index_slot(b, hash, name) : 0;

	return slot ? &b->rec[slot - 1] : NULL;
}

/* d_type alone does not say: a whiteout, or an unknown or overridden type. 1: there is nothing (any more). */
static int merge_stat(struct merge *m, const char *name, struct ply_dcrec *rec)
{
	struct ply_at at = PLY_AT(m->fd, name);
	struct stat st;
	int r = ply_layer_stat(m->layer, at, &st);

	if (r)
		return r == -ENOENT ? 1 : r;
	rec->type = IFTODT(st.st_mode) & 0xf;
	if (ply_layer_is_whiteout_stat(&st)) {
		rec->white = true;
	} else if (m->xwhite && S_ISREG(st.st_mode) && !st.st_size) {
		ply_autofree char *val = NULL;
		ssize_t len = ply_layer_getattr(m->layer, at, OVL_WHITEOUT_ATTR, &val);

		if (len < 0 && len != -ENODATA)
			return (int)len;
		rec->white = len >= 0;
	}
	if (m->inos_certain)
		rec->ino = ply_inum_make(&m->fs->inum, ply_origin_fs(m->fs, at, &st), st.st_ino);
	return 0;
}

static int merge_entry(void *arg, const struct ply_dirent *d)
{
	struct merge *m = arg;
	struct ply_dcrec rec = { .layer = m->layer->index & 0xfff, .end = (m->layer->index + 1) & 0xfff, .type = d->type & 0xf };
	struct ply_dcrec *above;
	int r;

	m->names++;
	if (strlen(d->name) > 255)
		return 0;
	if (!strncmp(d->name, PLY_AUFS_PREFIX, strlen(PLY_AUFS_PREFIX))) {
		const char *hidden = ply_format_aufs_whiteout(d->name);

		m->saw_aufs = true;
		return hidden && !m->last ? ply_buf_add(&m->hidden, hidden, strlen(hidden) + 1) : 0;
	}
	rec.cookie = ply_dircache_hash(d->name);
	above = build_find(m->b, rec.cookie, d->name);
	if (above) {
		above->end = rec.end;
		return 0;
	}
	if (d->type == DT_DIR ? m->dir_inos_certain : m->inos_certain)
		rec.ino = ply_inum_make(&m->fs->inum, m->fsidx, d->ino);
	if (d->type == DT_CHR && m->layer->is_upper && ply_whiteout_is_shared(&m->fs->work, m->dev, d->ino)) {
		rec.white = true;
	} else if (d->type == DT_CHR || d->type == DT_UNKNOWN ||
		   (d->type == DT_REG && (m->xwhite || m->layer->override != PLY_XPERM_NONE))) {
		r = merge_stat(m, d->name, &rec);
		if (r)
			return r < 0 ? r : 0;
	}
	return build_add(m->b, &rec, d->name);
}

static int merge_hidden(struct merge *m)
{
	/* What is there in this layer itself is not hidden. */
	int r = m->hidden.len ? index_extend(m->b) : 0;

	for (size_t i = 0; !r && i < m->hidden.len; i += strlen(m->hidden.data + i) + 1) {
		const char *name = m->hidden.data + i;
		struct ply_dcrec rec = { .cookie = ply_dircache_hash(name), .white = true };

		if (!build_find(m->b, rec.cookie, name))
			r = build_add(m->b, &rec, name);
	}
	if (r)
		return r;
	m->hidden.len = 0;
	return 0;
}

/* How much there is to read, and which inode numbers in this directory are what stat will say. */
static int merge_look(struct merge *m, struct ply_node *dir, struct ply_ldir *ld)
{
	struct ply_layers *ls = &m->fs->layers;
	struct stat st;
	int r = ply_sys_stat(PLY_FD(m->fd), &st);

	if (r)
		return r;
	if (st.st_size > PLY_DCBUILD_SMALL) {
		uint64_t more = (uint64_t)st.st_size - PLY_DCBUILD_SMALL;

		if (more > m->left)
			return -EFBIG;
		m->left -= more;
	}
	m->dev = st.st_dev;
	m->fsidx = ply_layers_fs(ls, st.st_dev, m->fd);
	m->inos_certain = true;
	if (m->layer->is_upper) {
		ply_autofree char *val = NULL;

		if (!atomic_load(&dir->dir->impure) &&
		    ply_layer_getattr(m->layer, PLY_FD(m->fd), OVL_IMPURE, &val) > 0)
			atomic_store(&dir->dir->impure, true);
		m->inos_certain = !atomic_load(&dir->dir->impure);
	}
	/* A subvolume has another number seen from inside. */
	m->dir_inos_certain = m->inos_certain && ls->fs[m->fsidx].magic != BTRFS_SUPER_MAGIC;
	m->xwhite = ld->xwhite || (m->layer->is_upper && !ls->can.chardev_whiteout);
	return 0;
}

static int merge_layer(struct merge *m, struct ply_node *dir, struct ply_ldir *ld)
{
	ply_autofd fd = ply_dirfd_open_read(m->fs->graph, dir, ld);
	int r;

	if (fd < 0)
		return fd;
	m->layer = &m->fs->layers.layer[ld->layer];
	m->fd = fd;
	m->saw_aufs = false;
	m->names = 0;
	r = merge_look(m, dir, ld);
	if (!r)
		r = index_extend(m->b);
	if (!r)
		r = ply_sys_readdir(fd, merge_entry, m);
	if (!r)
		r = merge_hidden(m);
	if (r)
		return r;
	/* What an upper without better whiteouts gets later must be looked for each time. */
	if (m->saw_aufs)
		atomic_store(&ld->aufs, PLY_AUFS_SOME);
	else if (!m->layer->is_upper)
		atomic_store(&ld->aufs, PLY_AUFS_NONE);
	if (m->b->keep && m->names <= KEEP_NAMES && dir->id != PLY_ROOT_ID)
		ply_dirfd_keep(m->fs->graph, ld, ply_take_fd(&fd), false);
	return 0;
}

static int rec_compare(const void *a, const void *b, void *arg)
{
	const struct ply_dcrec *x = a, *y = b;
	const struct ply_dcbuild *build = arg;

	if (x->cookie != y->cookie)
		return x->cookie < y->cookie ? -1 : 1;
	return strcmp(build->names.data + x->name, build->names.data + y->name);
}

int ply_dcbuild_merge(struct ply_fs *fs, struct ply_node *dir, struct ply_dcbuild *b)
{
	struct merge m = { .fs = fs, .b = b, .left = b->most };
	struct ply_ldir *up = ply_dir_upper(dir);
	size_t n = 0;
	int r = 0;

	if (up) {
		m.last = !dir->dir->nlower;
		r = merge_layer(&m, dir, up);
	}
	for (unsigned int i = 0; !r && i < dir->dir->nlower; i++) {
		m.last = i + 1u == dir->dir->nlower;
		r = merge_layer(&m, dir, &dir->dir->lower[i]);
	}
	ply_buf_free(&m.hidden);
	if (r)
		return r;
	for (size_t i = 0; i < b->n; i++)
		if (!b->rec[i].white)
			b->rec[n++] = b->rec[i];
	b->n = n;
	if (n)
		qsort_r(b->rec, n, sizeof(b->rec[0]), rec_compare, b);
	return 0;
}
