// SPDX-License-Identifier: GPL-2.0-or-later
#include "lookup.h"
#include "dcbuild.h"
#include "log.h"
#include "origin.h"
#include "resolve.h"
#include "whiteout.h"

#include <errno.h>

#define LOOKUP_NAME_MAX 255
/* A cache is built after this many layers were asked in vain: for each layer of the directory; where there are many, in all ... */
#define BUILD_PER_LAYER 4
#define BUILD_PATIENCE 8
#define BUILD_MANY 16
/* ... and more for a big one: to read this much of it costs about as much as asking a layer. */
#define BUILD_BYTES_PER_TRY 256

int ply_lookup_check_name(const char *name)
{
	if (strlen(name) > LOOKUP_NAME_MAX)
		return -ENAMETOOLONG;
	/* AUFS's own names are never anybody's: what they mean in one layer they would mean in the next. */
	if (!strncmp(name, PLY_AUFS_PREFIX, strlen(PLY_AUFS_PREFIX)))
		return -ENOENT;
	if (!name[0] || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	return 0;
}

/* ---- when the merged listing pays ---- */

static unsigned int dir_layers(const struct ply_node *dir)
{
	return dir->dir->nlower + (atomic_load(&dir->dir->upper) ? 1u : 0u);
}

/* What reading it costs. */
static uint64_t ldir_bytes(struct ply_fs *fs, struct ply_node *dir, struct ply_ldir *ld)
{
	struct ply_dirfd *d;
	struct stat st;
	int r = ply_dirfd_get(fs->graph, dir, ld, &d);

	if (r)
		return 0;
	r = ply_sys_stat(PLY_FD(d->fd), &st);
	ply_dirfd_put(fs->graph, d);
	return !r && st.st_size > PLY_DCBUILD_SMALL ? (uint64_t)st.st_size - PLY_DCBUILD_SMALL : 0;
}

static uint64_t dir_bytes(struct ply_fs *fs, struct ply_node *dir)
{
	unsigned int n = dir_layers(dir);
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < n; i++)
		bytes += ldir_bytes(fs, dir, i < dir->dir->nlower ? &dir->dir->lower[i] : ply_dir_upper(dir));
	return bytes;
}

/* How many layers must have been asked in vain, if nothing else is known. */
static unsigned int dir_least(const struct ply_node *dir)
{
	unsigned int n = dir_layers(dir);

	return n < BUILD_MANY ? n * BUILD_PER_LAYER : BUILD_PATIENCE;
}

/* Not before that many, then. */
static void dir_cache_later(struct ply_node *dir, uint64_t need)
{
	atomic_store(&dir->dir->build_at, (unsigned int)ply_min(need, (uint64_t)UINT32_MAX));
}

/*
 * *most: what reading it may cost. To read a small directory is no more than to ask it for a name that it does not have, so
 * where there are many it is tried soon; the bottommost mostly has the most names, and is looked at before.
 */
static bool dir_cache_pays(struct ply_fs *fs, struct ply_node *dir, uint64_t *most)
{
	struct ply_dir *d = dir->dir;
	unsigned int n = dir_layers(dir), tries = atomic_load(&d->lookups), least = dir_least(dir);
	unsigned int build_at = atomic_load(&d->build_at);
	uint64_t need;

	if (n < 2 || tries < least || tries < build_at || atomic_load(&d->cache))
		return false;
	*most = UINT64_MAX;
	if (build_at)
		return true;
	if (n >= BUILD_MANY) {
		*most = (uint64_t)n * BUILD_BYTES_PER_TRY;
		if (ldir_bytes(fs, dir, &d->lower[d->nlower - 1]) <= *most)
			return true;
		*most = UINT64_MAX;
	}
	need = least + dir_bytes(fs, dir) / BUILD_BYTES_PER_TRY;
	if (tries >= need)
		return true;
	dir_cache_later(dir, need);
	return false;
}

static void dir_cache(struct ply_fs *fs, struct ply_node *dir)
{
	struct ply_dircache *dc;
	uint64_t most, tries;
	int r;

	if (!dir_cache_pays(fs, dir, &most))
		return;
	{
		PLY_WRLOCK(build, &dir->dir->lock);
		r = ply_dircache_build_within(fs, dir, most, &dc);
	}
	if (!r) {
		ply_dircache_put(fs, dc);
		return;
	}
	/* Too big for so few, and then it is built whatever it takes; or it cannot be read. */
	tries = atomic_load(&dir->dir->lookups);
	dir_cache_later(dir, r == -EFBIG ? ply_max(tries, dir_least(dir) + dir_bytes(fs, dir) / BUILD_BYTES_PER_TRY) : 2 * tries);
}

/* How many layers a lookup may ask in vain before the names are read; 0: as many as there are. */
static unsigned int dir_patience(const struct ply_node *dir)
{
	unsigned int tries = atomic_load(&dir->dir->lookups);

	if (dir_layers(dir) < BUILD_MANY || atomic_load(&dir->dir->build_at))
		return 0;
	return tries < BUILD_PATIENCE ? BUILD_PATIENCE - tries : 1;
}

/* ---- a node for what was found ---- */

/* Everything about the object that the new node will be. */
struct found {
	struct ply_fs *fs;
	struct ply_node *dir;
	const char *name;
	struct ply_resolved res;
	uint64_t ino;			/* st_ino */
	struct {
		unsigned int fs;
		uint64_t ino;
	} ident[2];			/* objects by which other names may find it */
	unsigned int nident;
	bool indexed;
	char hex[PLY_INDEX_NAME_MAX];	/* with indexed */
	struct ply_fh origin;		/* of a lower hard link */
	bool check_index;		/* it is one, and was not in the index */
	uint64_t index_seq;
};

static void found_ident(struct found *f, unsigned int fs, uint64_t ino)
{
	for (unsigned int i = 0; i < f->nident; i++)
		if (f->ident[i].fs == fs && f->ident[i].ino == ino)
			return;
	f->ident[f->nident].fs = fs;
	f->ident[f->nident++].ino = ino;
}

/* A place by which the object is reached while its directory is locked. */
static int found_open(struct found *f, struct ply_dirfd **d)
{
	struct ply_ldir *ld = ply_dir_layer(f->dir, f->res.layer);

	return ld ? ply_dirfd_get(f->fs->graph, f->dir, ld, d) : -ENOENT;
}

static int found_upper(struct found *f)
{
	struct ply_fs *fs = f->fs;
	const struct stat *st = &f->res.st;
	struct ply_fh fh;
	struct ply_dirfd *d;
	unsigned int ofs;
	uint64_t oino;
	int r = found_open(f, &d);

	if (r)
		return r;

	struct ply_at at = PLY_AT(d->fd, f->name);
	unsigned int ufs = ply_origin_fs(fs, at, st);
	bool linked = !S_ISDIR(st->st_mode) && st->st_nlink > 1, known = false;

	f->ino = ply_inum_make(&fs->inum, ufs, st->st_ino);
	if (f->res.marks & PLY_MARK_ORIGIN) {
		r = ply_origin_get(fs, fs->layers.upper, at, &fh);
		known = !r && !ply_origin_ino(fs, &fh, &ofs, &oino);
		if (known)
			f->ino = ply_inum_make(&fs->inum, ofs, oino);
	}
	if (!known && (f->res.marks & PLY_MARK_FUSE_ORIGIN) && !ply_origin_by_path(fs, at, st, &ofs, &oino))
		f->ino = ply_inum_make(&fs->inum, ofs, oino);
	if (linked) {
		found_ident(f, ufs, st->st_ino);
		if (fs->work.index && (f->res.marks & PLY_MARK_ORIGIN) && !r) {
			struct stat ist;

			f->indexed = !ply_index_find(fs, &fh, f->hex, &ist) &&
				     ist.st_ino == st->st_ino && ist.st_dev == st->st_dev;
			if (f->indexed && known)
				found_ident(f, ofs, oino);
		}
	}
	ply_dirfd_put(fs->graph, d);
	return 0;
}

/* A lower hard link: is it in upper already, under another of its names? */
static int found_ask_index(struct found *f)
{
	struct ply_resolved up = { 0 };
	struct stat st;
	int r;

	f->index_seq = ply_graph_index_seq(f->fs->graph);
	r = ply_index_find(f->fs, &f->origin, f->hex, &st);
	if (r == -ENOENT) {
		f->check_index = true;
		return 0;
	}
	if (r)
		return r;
	f->check_index = false;
	r = ply_resolve_indexed(f->fs, f->dir, f->name, &f->res, f->hex, &st, &up);
	if (r)
		return r;
	ply_resolved_free(&f->res);
	f->res = up;
	f->indexed = true;
	if (f->nident < PLY_ARRAY_SIZE(f->ident))
		found_ident(f, ply_origin_fs(f->fs, PLY_AT(f->fs->work.index_fd, f->hex), &st), st.st_ino);
	return 0;
}

static int found_lower(struct found *f)
{
	struct ply_fs *fs = f->fs;
	const struct ply_layer *l = &fs->layers.layer[f->res.layer];
	const struct stat *st = &f->res.st;
	struct ply_dirfd *d;
	unsigned int idx = l->fs;
	int r = 0;

	if (st->st_dev != l->root_stat.st_dev) {
		r = found_open(f, &d);
		/* Found by way of a redirect: only the layer itself is at hand. */
		idx = ply_origin_fs(fs, r ? PLY_FD(l->fd) : PLY_AT(d->fd, f->name), st);
		if (!r)
			ply_dirfd_put(fs->graph, d);
	}
	f->ino = ply_inum_make(&fs->inum, idx, st->st_ino);
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return 0;
	if (!fs->work.index) {
		/* Without an index each name would be copied up for itself: they are apart from the start. */
		if (!ply_fs_writable(fs))
			found_ident(f, idx, st->st_ino);
		return 0;
	}
	found_ident(f, idx, st->st_ino);
	r = found_open(f, &d);
	if (r)
		return r;
	r = ply_origin_of(fs, l, PLY_AT(d->fd, f->name), st, &f->origin);
	ply_dirfd_put(fs->graph, d);
	return r ? r : found_ask_index(f);
}

static int node_stat_now(struct ply_fs *fs, struct ply_node *n, struct stat *st)
{
	ply_autoloc loc = PLY_LOC_INIT;
	int r = ply_node_locate(fs->graph, n, &loc);

	return r ? r : ply_layer_stat(loc.layer, loc.at, st);
}

/* Of a directory not what a copy-up below it leaves for a moment: the kernel would keep that for ever. */
static int node_stat(struct ply_fs *fs, struct ply_node *n, struct stat *st)
{
	uint64_t seq = ply_dir_restore_seq();
	int r;

	if (!S_ISDIR(n->type))
		return node_stat_now(fs, n, st);
	if (!ply_dir_restoring()) {
		r = node_stat_now(fs, n, st);
		if (ply_dir_restore_seq() == seq)
			return r;
	}
	PLY_RDLOCK(lock, &n->dir->lock);
	return node_stat_now(fs, n, st);
}

/* Another name of a file that is there already. 0, or -ENOENT: not there. */
static int found_alias(struct found *f, struct ply_node **out)
{
	struct ply_graph *g = f->fs->graph;
	struct ply_node *n = NULL, *have = NULL;
	bool elsewhere;
	int r;

	for (unsigned int i = 0; i < f->nident && !n; i++)
		n = ply_ident_find(g, f->ident[i].fs, f->ident[i].ino);
	if (!n)
		return -ENOENT;
	/* Cannot be the same file, whatever its number: it gets a node that is found by name only. */
	if (n->type != (f->res.st.st_mode & S_IFMT)) {
		ply_node_put(g, n);
		f->nident = 0;
		f->check_index = false;
		return -ENOENT;
	}
	/* Layers can share an inode. This name is in another layer than the one where the node is reached. */
	elsewhere = f->res.layer != PLY_LAYER_UPPER && f->res.layer != atomic_load(&n->layer);
	r = elsewhere ? ply_name_add_elsewhere(g, f->dir, f->name, n, &have) :
			ply_name_add(g, f->dir, f->name, n, &have);
	if (r) {
		ply_node_put(g, n);
		n = have;
		r = r == -EEXIST ? 0 : r;
	}
	if (!r)
		*out = n;
	return r;
}

static int found_make_node(struct found *f, struct ply_node **out)
{
	struct ply_resolved *res = &f->res;
	struct ply_graph *g = f->fs->graph;
	bool upper = res->layer == PLY_LAYER_UPPER;
	struct ply_node *n;
	int r = ply_node_new_named(g, res->st.st_mode, f->ino, (uint16_t)res->layer, res->lower, res->nlower,
				   upper, f->name, &n);

	if (r)
		return r;
	/* The paths are the node's now. */
	ply_resolved_keep_fds(f->fs, res, n);
	free(res->lower);
	res->lower = NULL;
	res->nlower = 0;
	if (S_ISDIR(n->type) && upper) {
		ply_dir_upper(n)->xwhite = res->xwhite;
		atomic_store(&n->dir->impure, (res->marks & PLY_MARK_IMPURE) != 0);
	}
	if (res->data) {
		n->data = ply_take_ptr(&res->data);
		atomic_fetch_or(&n->flags, PLY_N_METACOPY);
	}
	if (f->indexed)
		r = ply_node_set_index(g, n, f->hex);
	if (r) {
		ply_node_put(g, n);
		return r;
	}
	*out = n;
	return 0;
}

/* Publishes the node's identities, then its name. -EAGAIN: somebody was faster with another name; look again. */
static int found_publish(struct found *f, struct ply_node *n, struct ply_node **out)
{
	struct ply_graph *g = f->fs->graph;
	struct ply_node *have = NULL;
	int r = 0;

	for (unsigned int i = 0; i < f->nident && !r; i++)
		r = ply_ident_add(g, f->ident[i].fs, f->ident[i].ino, n, &have);
	if (r == -EEXIST) {
		ply_node_put(g, have);
		return -EAGAIN;
	}
	/* A copy-up of another name may have come and gone, with its node, before ours could be found. */
	if (!r && f->check_index && ply_graph_index_seq(g) != f->index_seq)
		return -EAGAIN;
	if (!r)
		r = ply_name_add(g, f->dir, f->name, n, &have);
	if (r == -EEXIST) {
		ply_node_put(g, n);
		*out = have;
		return 0;
	}
	if (!r)
		*out = n;
	return r;
}

static int found_node(struct found *f, struct ply_node **out, struct stat *st)
{
	struct ply_node *n;
	int r = f->res.layer == PLY_LAYER_UPPER ? found_upper(f) : found_lower(f);

	if (r)
		return r;
	if (f->nident) {
		r = found_alias(f, &n);
		if (!r) {
			r = node_stat(f->fs, n, st);
			if (r)
				ply_node_put(f->fs->graph, n);
			else
				*out = n;
			return r;
		}
		if (r != -ENOENT)
			return r;
	}
	*st = f->res.st;
	r = found_make_node(f, &n);
	if (r)
		return r;
	r = found_publish(f, n, out);
	if (r) {
		ply_node_put(f->fs->graph, n);
	} else if (*out != n) {
		/* Somebody was faster, and may have changed it since we looked. */
		r = node_stat(f->fs, *out, st);
		if (r)
			ply_node_put(f->fs->graph, *out);
	}
	return r;
}

/* ---- lookup ---- */

static int lookup_cold(struct ply_fs *fs, struct ply_node *dir, const char *name, const struct ply_resolve_hint *hint,
		       struct ply_node **out, struct stat *st)
{
	int r, looked;

	do {
		struct found f = { .fs = fs, .dir = dir, .name = name };

		r = looked = ply_resolve(fs, dir, name, hint, &f.res);
		if (f.res.wasted && dir_layers(dir) > 1)
			atomic_fetch_add(&dir->dir->lookups, f.res.wasted);
		if (!r) {
			ply_count_depth(f.res.layer);
			r = found_node(&f, out, st);
		}
		ply_resolved_free(&f.res);
	} while (r == -EAGAIN && !looked);
	if (r == -ENOENT)
		ply_count(PLY_C_lookup_negative, 1);
	return r;
}

/* -EAGAIN: after so many layers that were asked in vain; 0: never. */
static int lookup_patiently(struct ply_fs *fs, struct ply_node *dir, const char *name, unsigned int patience,
			    struct ply_node **out, struct stat *st)
{
	struct ply_resolve_hint hint = { .patience = patience };
	struct ply_dircache_entry e;
	struct ply_dircache *dc;
	struct ply_node *n;
	int r;

	if (!S_ISDIR(dir->type))
		return -ENOTDIR;
	r = ply_lookup_check_name(name);
	if (r)
		return r;
	n = ply_name_find(fs->graph, dir, name);
	if (n) {
		struct stat now;

		r = node_stat(fs, n, &now);
		if (r) {
			ply_node_put(fs->graph, n);
			return r;
		}
		ply_count(PLY_C_lookup_cached, 1);
		*st = now;
		*out = n;
		return 0;
	}
	if (atomic_load(&dir->dir->removed))
		return -ENOENT;
	dc = ply_dircache_get(fs, dir);
	if (dc) {
		r = ply_dircache_find(dc, name, &e);
		ply_dircache_put(fs, dc);
		if (r) {
			ply_count(PLY_C_lookup_negative, 1);
			return r;
		}
		hint = (struct ply_resolve_hint){ .from = e.layer, .end = e.end };
	}
	return lookup_cold(fs, dir, name, &hint, out, st);
}

int ply_lookup_locked(struct ply_fs *fs, struct ply_node *dir, const char *name,
		      struct ply_node **out, struct stat *st)
{
	return lookup_patiently(fs, dir, name, 0, out, st);
}

int ply_lookup(struct ply_fs *fs, struct ply_node *dir, const char *name,
	       struct ply_node **out, struct stat *st)
{
	int r;

	if (!S_ISDIR(dir->type))
		return -ENOTDIR;
	PLY_RDLOCK(tree, &fs->tree);
	dir_cache(fs, dir);
	{
		PLY_RDLOCK(lock, &dir->dir->lock);
		r = lookup_patiently(fs, dir, name, dir_patience(dir), out, st);
		if (r != -EAGAIN)
			return r;
	}
	dir_cache(fs, dir);
	PLY_RDLOCK(lock, &dir->dir->lock);
	r = ply_lookup_locked(fs, dir, name, out, st);
	return r;
}

int ply_lookup_node(struct ply_fs *fs, struct ply_node *dir, const char *name, struct ply_node **out)
{
	struct ply_node *n = ply_name_find(fs->graph, dir, name);
	struct stat st;

	/* What it was found under is a name, of a directory. */
	if (!n)
		return ply_lookup(fs, dir, name, out, &st);
	*out = n;
	return 0;
}

/* ---- for those who change names ---- */

/* What ld has at `name`: 0 nothing, 1 a whiteout, 2 an object. */
static int ldir_state(struct ply_fs *fs, struct ply_node *dir, struct ply_ldir *ld, const char *name, struct stat *st)
{
	const struct ply_layer *l = &fs->layers.layer[ld->layer];
	struct ply_dirfd *d;
	struct stat found;
	int r = ply_dirfd_get(fs->graph, dir, ld, &d);

	if (r)
		return r == -ENOENT ? 0 : r;
	r = ply_layer_stat(l, PLY_AT(d->fd, name), &found);
	if (r == -ENOENT) {
		r = l->aufs && atomic_load(&ld->aufs) != PLY_AUFS_NONE ?
			ply_whiteout_check(l, d->fd, false, name, NULL) : 0;
	} else if (!r) {
		r = ply_whiteout_check(l, d->fd, ply_resolve_xwhite(fs, ld), name, &found);
		if (!r) {
			if (st)
				*st = found;
			r = 2;
		}
	}
	ply_dirfd_put(fs->graph, d);
	return r;
}

int ply_lookup_upper_state(struct ply_fs *fs, struct ply_node *dir, const char *name, struct stat *st)
{
	struct ply_ldir *up = ply_dir_upper(dir);

	return up ? ldir_state(fs, dir, up, name, st) : 0;
}

int ply_lookup_node_state(struct ply_fs *fs, struct ply_node *dir, const char *name, struct ply_node *n,
			  struct stat *st, bool *sure)
{
	/* Of several names some may be in upper and others not. */
	*sure = n->type != S_IFDIR && !(atomic_load(&n->flags) & (PLY_N_HARDLINK | PLY_N_INDEXED | PLY_N_STALE));
	if (!*sure)
		return ply_lookup_upper_state(fs, dir, name, st);
	return atomic_load(&n->layer) == PLY_LAYER_UPPER ? 2 : 0;
}

int ply_lookup_lower_has(struct ply_fs *fs, struct ply_node *dir, const char *name)
{
	struct ply_dircache_entry e;
	struct ply_dircache *dc;
	int r;

	if (!dir->dir->nlower)
		return 0;
	dc = ply_dircache_get(fs, dir);
	if (dc) {
		r = ply_dircache_find(dc, name, &e);
		ply_dircache_put(fs, dc);
		if (!r && e.layer != PLY_LAYER_UPPER)
			return 1;
		/* Absent from all layers, unless it is the upper's whiteout that hides it. */
		if (r) {
			r = ply_lookup_upper_state(fs, dir, name, NULL);
			if (r != 1)
				return r < 0 ? r : 0;
		}
	}
	for (unsigned int i = 0; i < dir->dir->nlower; i++) {
		r = ldir_state(fs, dir, &dir->dir->lower[i], name, NULL);
		if (r)
			return r < 0 ? r : r == 2;
	}
	return 0;
}

int ply_lookup_created(struct ply_fs *fs, struct ply_node *dir, const char *name,
		       const struct stat *st, struct ply_node **out)
{
	struct ply_node *n, *have = NULL;
	struct ply_dirfd *d;
	int r = ply_dirfd_get(fs->graph, dir, ply_dir_upper(dir), &d);

	if (r)
		return r;
	r = ply_node_new_named(fs->graph, st->st_mode,
			       ply_inum_make(&fs->inum, ply_origin_fs(fs, PLY_AT(d->fd, name), st), st->st_ino),
			       PLY_LAYER_UPPER, NULL, 0, S_ISDIR(st->st_mode), name, &n);
	ply_dirfd_put(fs->graph, d);
	if (r)
		return r;
	r = ply_name_add(fs->graph, dir, name, n, &have);
	if (r) {
		/* Whoever made the name has looked under the lock that there was none. */
		PLY_WARN_ON(r == -EEXIST);
		ply_node_put(fs->graph, have);
		ply_node_put(fs->graph, n);
		return r;
	}
	*out = n;
	return 0;
}
