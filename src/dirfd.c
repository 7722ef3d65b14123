// SPDX-License-Identifier: GPL-2.0-or-later
/* dirfd: how objects are reached: open directories of layers, paths, places of nodes (node.h). */
#include "graph.h"
#include "counters.h"
#include "node.h"

#include <errno.h>

/* ---- the cache; fds lock held ---- */

static void dirfd_unhook(struct ply_graph *g, struct ply_dirfd *d)
{
	if (d->owner)
		d->owner->dirfd = NULL;
	d->owner = NULL;
	ply_list_del(&d->lru);
	g->nfds -= !d->borrowed;
}

/* Takes up to `want` unused ones off, latest used last; they are chained by lru and belong to the caller. */
static void dirfd_evict(struct ply_graph *g, unsigned int want, struct ply_list *out)
{
	while (want-- && !ply_list_empty(&g->lru)) {
		struct ply_dirfd *d = ply_container_of(g->lru.prev, struct ply_dirfd, lru);

		dirfd_unhook(g, d);
		ply_list_add(out, &d->lru);
		ply_count(PLY_C_dirfd_evicted, 1);
	}
}

static void dirfd_close_list(struct ply_list *l)
{
	while (!ply_list_empty(l)) {
		struct ply_dirfd *d = ply_container_of(l->next, struct ply_dirfd, lru);

		ply_list_del(&d->lru);
		if (!d->borrowed)
			close(d->fd);
		free(d);
	}
}

static void dirfd_hold(struct ply_dirfd *d)
{
	if (!d->refs++)
		ply_list_del(&d->lru);
}

void ply_dirfd_put(struct ply_graph *g, struct ply_dirfd *d)
{
	struct ply_list gone;

	if (!d)
		return;
	ply_list_init(&gone);
	pthread_mutex_lock(&g->fds_lock);
	if (!--d->refs) {
		if (!d->owner) {
			g->nfds -= !d->borrowed;
			ply_list_add(&gone, &d->lru);
		} else if (!d->pinned) {
			ply_list_add(&g->lru, &d->lru);
		}
		if (g->nfds > g->max_fds)
			dirfd_evict(g, g->nfds - g->max_fds, &gone);
	}
	pthread_mutex_unlock(&g->fds_lock);
	dirfd_close_list(&gone);
}

void ply_graph_close_dir(struct ply_graph *g, struct ply_dir *dir)
{
	struct ply_ldir *up = atomic_load(&dir->upper);
	struct ply_list gone;

	ply_list_init(&gone);
	pthread_mutex_lock(&g->fds_lock);
	for (unsigned int i = 0; i < dir->nlower + 1u; i++) {
		struct ply_ldir *ld = i < dir->nlower ? &dir->lower[i] : up;
		struct ply_dirfd *d = ld ? ld->dirfd : NULL;

		if (!d)
			continue;
		if (d->refs) {		/* whoever has it closes it */
			d->owner = NULL;
			ld->dirfd = NULL;
		} else {
			dirfd_unhook(g, d);
			ply_list_add(&gone, &d->lru);
		}
	}
	pthread_mutex_unlock(&g->fds_lock);
	dirfd_close_list(&gone);
}

/* ---- paths ---- */

struct ply_ldir *ply_dir_layer(struct ply_node *dir, unsigned int layer)
{
	struct ply_dir *d = dir->dir;
	unsigned int lo = 0, hi = d->nlower;

	if (layer == PLY_LAYER_UPPER)
		return ply_dir_upper(dir);
	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;

		if (d->lower[mid].layer < layer)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < d->nlower && d->lower[lo].layer == layer ? &d->lower[lo] : NULL;
}

struct ply_ldir *ply_dir_top(struct ply_node *dir)
{
	struct ply_ldir *up = ply_dir_upper(dir);

	if (up)
		return up;
	return dir->dir->nlower ? &dir->dir->lower[0] : NULL;
}

/*
 * Writes the way to ld from the nearest ancestor whose directory of this layer is open (*base, held;
 * only if asked for), else from the layer's root, to buf. The table lock
 * keeps names; tree, which the caller holds, keeps paths. A loop, not a recursion: any depth.
 */
static int dir_walk_up(struct ply_graph *g, struct ply_node *dir, struct ply_ldir *ld,
		       struct ply_dirfd **base, struct ply_buf *buf)
{
	unsigned int layer = ld->layer;
	ply_autobuf names = { 0 };	/* of struct ply_name *, deepest first */
	const char *from = "";
	struct ply_node *n = dir;
	int r = 0;

	PLY_MUTEX(lock, &g->lock);
	for (;;) {
		struct ply_name *nm;

		if (base && n != dir) {
			pthread_mutex_lock(&g->fds_lock);
			*base = ld->dirfd;
			if (*base)
				dirfd_hold(*base);
			pthread_mutex_unlock(&g->fds_lock);
			if (*base)
				break;
		}
		if (ld->path) {
			from = ld->path;
			break;
		}
		/* The upper directory of a removed one is where its pinned fd says, not at a name. */
		if (layer == PLY_LAYER_UPPER && atomic_load(&n->dir->removed))
			return -ENOENT;
		for (nm = n->names; nm && !nm->parent; nm = nm->next)
			;
		if (!nm)
			return -ENOENT;
		r = ply_buf_add(&names, &nm, sizeof(nm));
		if (r)
			return r;
		n = nm->parent;
		ld = ply_dir_layer(n, layer);
		if (!ld)
			return -ENOENT;
	}
	r = ply_buf_addstr(buf, from);
	for (size_t i = names.len / sizeof(struct ply_name *); !r && i > 0; i--) {
		struct ply_name *nm;

		memcpy(&nm, names.data + (i - 1) * sizeof(nm), sizeof(nm));
		if (buf->len)
			r = ply_buf_addstr(buf, "/");
		if (!r)
			r = ply_buf_addstr(buf, nm->name);
	}
	return r;
}

int ply_dir_path(struct ply_graph *g, struct ply_node *dir, struct ply_ldir *ld, struct ply_buf *buf)
{
	ply_autobuf path = { 0 };
	int r = dir_walk_up(g, dir, ld, NULL, &path);

	return r ? r : ply_buf_addstr(buf, path.data);
}

int ply_dir_freeze(struct ply_graph *g, struct ply_node *dir)
{
	struct ply_dir *d = dir->dir;

	for (unsigned int i = 0; i < d->nlower; i++) {
		ply_autobuf path = { 0 };
		int r;

		if (d->lower[i].path)
			continue;
		r = ply_dir_path(g, dir, &d->lower[i], &path);
		if (r)
			return r;
		d->lower[i].path = ply_take_ptr(&path.data);
	}
	return 0;
}

int ply_dir_set_upper(struct ply_graph *g, struct ply_node *dir)
{
	struct ply_ldir *none = NULL, *up;

	(void)g;
	if (ply_dir_upper(dir))
		return 0;
	up = calloc(1, sizeof(*up));
	if (!up)
		return -ENOMEM;
	up->layer = PLY_LAYER_UPPER;
	if (!atomic_compare_exchange_strong(&dir->dir->upper, &none, up))
		free(up);
	else
		atomic_store(&dir->layer, PLY_LAYER_UPPER);
	return 0;
}

/* ---- opening ---- */

static int dirfd_open(struct ply_graph *g, struct ply_node *dir, struct ply_ldir *ld, int flags)
{
	ply_autobuf path = { 0 };
	struct ply_dirfd *base = NULL;
	int r = dir_walk_up(g, dir, ld, &base, &path);

	if (!r)
		r = ply_sys_open_beneath(base ? base->fd : g->ls->layer[ld->layer].fd, path.data, flags | O_DIRECTORY);
	ply_dirfd_put(g, base);
	return r;
}

/* The one that is open, held, or NULL. */
static struct ply_dirfd *dirfd_find(struct ply_graph *g, struct ply_ldir *ld)
{
	struct ply_dirfd *d;

	PLY_MUTEX(lock, &g->fds_lock);
	d = ld->dirfd;
	if (d)
		dirfd_hold(d);
	return d;
}

/* The fd of one that is open to be read and that nobody has had so far, or -1. */
static int dirfd_take_unread(struct ply_graph *g, struct ply_ldir *ld)
{
	struct ply_dirfd *d;
	int fd;

	PLY_MUTEX(lock, &g->fds_lock);
	d = ld->dirfd;
	if (!d || !d->unread || d->refs || d->pinned)
		return -1;
	dirfd_unhook(g, d);
	fd = d->fd;
	free(d);
	return fd;
}

int ply_dirfd_open_read(struct ply_graph *g, struct ply_node *dir, struct ply_ldir *ld)
{
	const int flags = O_RDONLY | O_NONBLOCK;
	struct ply_dirfd *d;
	int fd = dirfd_take_unread(g, ld);

	if (fd >= 0)
		return fd;
	d = dirfd_find(g, ld);

	if (!d)
		return dirfd_open(g, dir, ld, flags);
	fd = ply_sys_open(PLY_AT(d->fd, "."), flags | O_DIRECTORY, 0);
	ply_dirfd_put(g, d);
	return fd;
}

bool ply_dirfd_give_back(void *graph)
{
	struct ply_graph *g = graph;
	struct ply_list gone;
	bool some;

	ply_list_init(&gone);
	pthread_mutex_lock(&g->fds_lock);
	dirfd_evict(g, g->nfds / 2 + 1, &gone);
	pthread_mutex_unlock(&g->fds_lock);
	some = !ply_list_empty(&gone);
	dirfd_close_list(&gone);
	return some;
}

static struct ply_dirfd *dirfd_new(struct ply_ldir *ld, int fd, bool borrowed)
{
	struct ply_dirfd *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->fd = fd;
	d->owner = ld;
	d->borrowed = d->pinned = borrowed;
	ply_list_init(&d->lru);
	return d;
}

/* The new one, or that of another thread that was faster; held. */
static struct ply_dirfd *dirfd_enter(struct ply_graph *g, struct ply_ldir *ld, struct ply_dirfd *fresh)
{
	struct ply_dirfd *d;
	struct ply_list gone;

	ply_list_init(&gone);
	if (!fresh->borrowed)
		ply_count(PLY_C_dirfd_opened, 1);
	pthread_mutex_lock(&g->fds_lock);
	d = ld->dirfd;
	if (d) {
		ply_list_add(&gone, &fresh->lru);
	} else {
		d = ld->dirfd = fresh;
		g->nfds += !d->borrowed;
		if (g->nfds > g->max_fds)
			dirfd_evict(g, g->nfds - g->max_fds, &gone);
	}
	dirfd_hold(d);
	pthread_mutex_unlock(&g->fds_lock);
	dirfd_close_list(&gone);
	return d;
}

int ply_dirfd_get(struct ply_graph *g, struct ply_node *dir, struct ply_ldir *ld, struct ply_dirfd **out)
{
	/* A root needs no descriptor beside its layer's. */
	bool root = dir->id == PLY_ROOT_ID;
	struct ply_dirfd *d = dirfd_find(g, ld);
	int fd;

	if (d) {
		*out = d;
		return 0;
	}
	fd = root ? g->ls->layer[ld->layer].fd : dirfd_open(g, dir, ld, O_PATH);
	if (fd < 0)
		return fd;
	d = dirfd_new(ld, fd, root);
	if (!d) {
		if (!root)
			close(fd);
		return -ENOMEM;
	}
	*out = dirfd_enter(g, ld, d);
	return 0;
}

void ply_dirfd_keep(struct ply_graph *g, struct ply_ldir *ld, int fd, bool unread)
{
	struct ply_dirfd *d = dirfd_new(ld, fd, false);

	if (!d) {
		close(fd);
		return;
	}
	d->unread = unread;
	ply_dirfd_put(g, dirfd_enter(g, ld, d));
}

unsigned int ply_dirfd_room(const struct ply_graph *g)
{
	return g->max_fds / 2;
}

int ply_dirfd_pin(struct ply_graph *g, struct ply_node *dir)
{
	struct ply_ldir *up = ply_dir_upper(dir);
	struct ply_dirfd *d;
	int r;

	if (!up)
		return 0;
	r = ply_dirfd_get(g, dir, up, &d);
	if (r)
		return r;
	pthread_mutex_lock(&g->fds_lock);
	d->pinned = true;
	pthread_mutex_unlock(&g->fds_lock);
	ply_dirfd_put(g, d);
	return 0;
}

/* ---- places ---- */

int ply_node_pin(struct ply_graph *g, struct ply_node *n, struct ply_at at)
{
	int fd = ply_sys_open(at, O_PATH, 0);

	if (fd < 0)
		return fd;
	ply_node_lock(g, n);
	if (n->pin_fd < 0) {
		n->pin_fd = fd;
		fd = -1;
	}
	ply_node_unlock(g, n);
	if (fd >= 0)
		close(fd);
	return 0;
}

void ply_loc_release(struct ply_loc *loc)
{
	if (loc->dirfd)
		ply_dirfd_put(loc->g, loc->dirfd);
	if (loc->own_fd >= 0)
		close(loc->own_fd);
	loc->dirfd = NULL;
	loc->own_fd = -1;
}

static int locate_dir(struct ply_graph *g, struct ply_node *n, struct ply_loc *loc)
{
	struct ply_ldir *ld = ply_dir_top(n);
	int r;

	if (!ld)
		return -ENOENT;
	r = ply_dirfd_get(g, n, ld, &loc->dirfd);
	if (r)
		return r;
	loc->layer = &g->ls->layer[ld->layer];
	loc->at = PLY_FD(loc->dirfd->fd);
	return 0;
}

/*
 * By name. In upper only a live name leads to the file, or its index entry; in a lower a dead one
 * does as well. *parent has a reference (NULL: it is the index directory).
 */
static int locate_name(struct ply_graph *g, struct ply_node *n, bool upper, struct ply_node **parent, char name[256])
{
	const struct ply_name *best = NULL;

	PLY_MUTEX(lock, &g->lock);
	for (const struct ply_name *nm = n->names; nm; nm = nm->next) {
		if (!nm->parent) {
			if (!upper)
				continue;
			best = nm;
			break;
		}
		if (upper ? nm->dead : nm->elsewhere)
			continue;
		if (!best || best->dead)
			best = nm;
	}
	if (!best || strlen(best->name) > 255)
		return -ENOENT;
	strcpy(name, best->name);
	*parent = best->parent;
	if (*parent)
		(*parent)->refs++;
	return 0;
}

static int locate_object(struct ply_graph *g, struct ply_node *n, unsigned int layer, struct ply_loc *loc)
{
	struct ply_node *parent;
	struct ply_ldir *ld;
	int r = locate_name(g, n, layer == PLY_LAYER_UPPER, &parent, loc->name);

	if (r)
		return r;
	if (!parent) {
		loc->at = PLY_AT(g->index_fd, loc->name);
		return 0;
	}
	ld = ply_dir_layer(parent, layer);
	r = ld ? ply_dirfd_get(g, parent, ld, &loc->dirfd) : -ENOENT;
	ply_node_put(g, parent);
	if (r)
		return r;
	loc->at = PLY_AT(loc->dirfd->fd, loc->name);
	return 0;
}

int ply_node_locate(struct ply_graph *g, struct ply_node *node, struct ply_loc *loc)
{
	struct ply_node *n;
	unsigned int layer;
	int r = 0;

	loc->g = g;
	if (S_ISDIR(node->type))
		return locate_dir(g, node, loc);
	n = ply_node_current(g, node);
	ply_node_lock(g, n);
	layer = atomic_load(&n->layer);
	if (layer == PLY_LAYER_UPPER && n->pin_fd >= 0) {
		r = ply_sys_dup(n->pin_fd);
		if (r >= 0) {
			loc->own_fd = r;
			loc->at = PLY_FD(r);
			r = 0;
		}
	}
	ply_node_unlock(g, n);
	if (!r && loc->own_fd < 0)
		r = locate_object(g, n, layer, loc);
	loc->layer = &g->ls->layer[layer];
	ply_node_put(g, n);
	return r;
}

/* The data of a metacopy file, by path from a layer's root. */
static int locate_path(struct ply_graph *g, unsigned int layer, char *path, struct ply_loc *loc)
{
	char *base = strrchr(path, '/');
	const char *dir = "";
	struct stat st;
	int fd, r;

	if (base) {
		*base++ = '\0';
		dir = path;
	} else {
		base = path;
	}
	if (strlen(base) > 255)
		return -EIO;
	fd = ply_sys_open_beneath(g->ls->layer[layer].fd, dir, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? -EIO : fd;
	strcpy(loc->name, base);
	loc->own_fd = fd;
	loc->at = PLY_AT(fd, loc->name);
	loc->layer = &g->ls->layer[layer];
	/* The file is there for everybody who looks; that its data are lost is no matter of names. */
	r = ply_sys_stat(loc->at, &st);
	if (r == -ENOENT || (!r && !S_ISREG(st.st_mode)))
		r = -EIO;
	return r;
}

int ply_node_locate_data(struct ply_graph *g, struct ply_node *node, struct ply_loc *loc)
{
	struct ply_node *n = ply_node_current(g, node);
	ply_autofree char *path = NULL;
	unsigned int layer = 0;
	bool meta;
	int r;

	loc->g = g;
	ply_node_lock(g, n);
	meta = (atomic_load(&n->flags) & PLY_N_METACOPY) && n->data;
	if (meta) {
		layer = n->data->layer;
		path = strdup(n->data->path);
	}
	ply_node_unlock(g, n);
	if (!meta)
		r = ply_node_locate(g, n, loc);
	else if (!path)
		r = -ENOMEM;
	else
		r = locate_path(g, layer, path, loc);
	ply_node_put(g, n);
	return r;
}

int ply_node_data_blocks(struct ply_graph *g, struct ply_node *node, blkcnt_t *out)
{
	struct ply_node *n = ply_node_current(g, node);
	ply_autoloc loc = PLY_LOC_INIT;
	uint64_t known = 0;
	struct stat st;
	int r = 0;

	ply_node_lock(g, n);
	if ((atomic_load(&n->flags) & PLY_N_METACOPY) && n->data)
		known = n->data->blocks;
	ply_node_unlock(g, n);
	if (!known) {
		r = ply_node_locate_data(g, n, &loc);
		if (!r)
			r = ply_sys_stat(loc.at, &st);
		if (!r)
			known = (uint64_t)st.st_blocks + 1;
		/* Wherever the node is by now: its data are the same while they are a lower's. */
		ply_node_lock(g, n);
		if (!r && (atomic_load(&n->flags) & PLY_N_METACOPY) && n->data)
			n->data->blocks = known;
		ply_node_unlock(g, n);
	}
	ply_node_put(g, n);
	if (r)
		return r;
	*out = (blkcnt_t)(known - 1);
	return 0;
}

/* ---- times of directories that are put back ---- */

static _Atomic uint64_t restore_seq;
static atomic_uint restore_active;

void ply_dir_restore_begin(void)
{
	/* In this order: who sees the new sequence sees that one is going on. */
	atomic_fetch_add(&restore_active, 1);
	atomic_fetch_add(&restore_seq, 1);
}

void ply_dir_restore_end(void)
{
	atomic_fetch_sub(&restore_active, 1);
}

bool ply_dir_restoring(void)
{
	return atomic_load(&restore_active) != 0;
}

uint64_t ply_dir_restore_seq(void)
{
	return atomic_load(&restore_seq);
}
