// SPDX-License-Identifier: GPL-2.0-or-later
#include "publish.h"
#include "attr_store.h"
#include "dircache.h"
#include "log.h"
#include "origin.h"

#include <errno.h>

/* Where the copy goes: locked, and with what is needed to leave the directory as it was. */
struct publish_place {
	struct ply_node *parent;
	struct ply_dirfd *dir;
	char name[256];
	struct stat st;			/* of the directory, before */
	bool in_index;			/* the copy is an index entry now */
};

static void publish_switch(struct ply_copyup_ctx *c)
{
	struct ply_graph *g = c->fs->graph;
	struct ply_node *n = c->n;
	struct ply_dataref *old = NULL;
	uint16_t flags;

	ply_node_lock(g, n);
	flags = atomic_load(&n->flags);
	if (c->metacopy) {
		if (c->dataref) {
			old = n->data;
			n->data = ply_take_ptr(&c->dataref);
		}
		flags |= PLY_N_METACOPY;
	} else {
		old = n->data;
		n->data = NULL;
		flags &= (uint16_t)~PLY_N_METACOPY;
	}
	if (c->indexed)
		flags |= PLY_N_INDEXED;
	if (c->pin >= 0 && n->pin_fd < 0)
		n->pin_fd = ply_take_fd(&c->pin);
	atomic_store(&n->flags, flags);
	atomic_store(&n->layer, PLY_LAYER_UPPER);
	ply_node_unlock(g, n);
	free(old);
	c->made = false;
}

void ply_publish_data(struct ply_fs *fs, struct ply_node *n)
{
	struct ply_dataref *old;

	ply_node_lock(fs->graph, n);
	old = n->data;
	n->data = NULL;
	atomic_store(&n->flags, (uint16_t)(atomic_load(&n->flags) & ~PLY_N_METACOPY));
	ply_node_unlock(fs->graph, n);
	free(old);
}

int ply_publish_impure(struct ply_fs *fs, struct ply_node *dir)
{
	struct ply_dirfd *d;
	int r;

	if (!fs->layers.can.xattr || atomic_load(&dir->dir->impure))
		return 0;
	r = ply_dirfd_get(fs->graph, dir, ply_dir_upper(dir), &d);
	if (r)
		return r;
	r = ply_sys_setxattr(PLY_FD(d->fd), ply_format_attr(fs->layers.xns, OVL_IMPURE), "y", 1, 0);
	ply_dirfd_put(fs->graph, d);
	if (!r)
		atomic_store(&dir->dir->impure, true);
	return r;
}

/* ---- steps under the directory's lock ---- */

/* rename that never replaces, also where RENAME_NOREPLACE is unknown: nobody else works in upper. */
static int publish_rename(struct ply_at from, struct ply_at to)
{
	struct stat st;
	int r = ply_sys_rename(from, to, RENAME_NOREPLACE);

	if (r != -EINVAL)
		return r;
	r = ply_sys_stat(to, &st);
	if (r != -ENOENT)
		return r ? r : -EEXIST;
	return ply_sys_rename(from, to, 0);
}

static int publish_set_nlink(struct ply_copyup_ctx *c, struct ply_at at, bool to_upper, int diff)
{
	char val[16];
	size_t len = ply_format_nlink_build(to_upper, diff, val);

	return ply_sys_setxattr(at, ply_format_attr(c->fs->layers.xns, OVL_NLINK), val, len, 0);
}

static int publish_into_index(struct ply_copyup_ctx *c, struct ply_at at)
{
	struct stat st;
	int r = 0, i;

	for (i = 0; i < 2; i++) {
		r = c->tmp[0] ? publish_rename(ply_copyup_at(c), at) : ply_sys_link(PLY_FD(c->fd), at);
		if (r != -EEXIST)
			return r;
		/* One that counts was found by lookup. This one is what a failed copy-up could not take back. */
		r = ply_sys_stat(at, &st);
		if (!r)
			r = st.st_nlink == 1 ? ply_sys_unlink(at) : -EIO;
		if (r)
			return r;
	}
	return -EIO;
}

/*
 * Hard links: the copy becomes an index entry first. From then on every lower name
 * leads to it, after a crash as well, and the union's link count is the lower's.
 */
static int publish_index(struct ply_copyup_ctx *c, struct publish_place *p)
{
	struct ply_at at = PLY_AT(c->fs->work.index_fd, c->index_name);
	int links = (int)c->st.st_nlink;
	int r = ply_workdir_make_index(&c->fs->work);

	if (!r)
		r = ply_node_set_index(c->fs->graph, c->n, c->index_name);
	if (!r)
		r = publish_set_nlink(c, ply_copyup_at(c), true, links - 1);
	if (r)
		return r;
	r = publish_into_index(c, at);
	if (r)
		return r;
	p->in_index = true;
	/* While the upper's own count changes, it is told relative to the lower's. */
	return publish_set_nlink(c, at, false, 0);
}

static void publish_index_undo(struct ply_copyup_ctx *c, struct publish_place *p)
{
	if (!p->in_index)
		return;
	ply_sys_unlink(PLY_AT(c->fs->work.index_fd, c->index_name));
	if (c->tmp[0])
		c->made = false;	/* that was its only name */
}

/* Onto the name, which must be free. */
static int publish_onto(struct ply_copyup_ctx *c, struct publish_place *p)
{
	struct ply_at to = PLY_AT(p->dir->fd, p->name);
	int r;

	if (p->in_index)
		r = ply_sys_link(PLY_AT(c->fs->work.index_fd, c->index_name), to);
	else if (c->tmp[0])
		r = publish_rename(ply_copyup_at(c), to);
	else
		r = ply_sys_link(PLY_FD(c->fd), to);
	if (r == -EEXIST) {
		/* The node says that the name is only in lower: somebody else writes to upper. */
		ply_warn("copy-up of '%s': the name appeared in upper meanwhile; is upperdir used by another program?",
			 p->name);
		return -EIO;
	}
	if (!r && p->in_index)
		publish_set_nlink(c, to, true, (int)c->st.st_nlink - 2);
	return r;
}

/*
 * The new inode's own number leads to the node too. Only once it is published: an inode that is thrown
 * away must not leave its number behind. Not fatal: the names that exist are the node's already.
 */
static void publish_identity(struct ply_copyup_ctx *c, struct publish_place *p)
{
	struct ply_node *have = NULL;
	struct stat st;

	if (c->is_dir || c->st.st_nlink < 2 || ply_sys_stat(PLY_AT(p->dir->fd, p->name), &st))
		return;
	if (ply_ident_add(c->fs->graph, ply_layers_fs(&c->fs->layers, st.st_dev, p->dir->fd), st.st_ino,
			  c->n, &have) == -EEXIST)
		ply_node_put(c->fs->graph, have);
}

/* A hard link that the index can't take (its handle is too long) has names in lower that don't lead to the copy. */
static int publish_pin(struct ply_copyup_ctx *c)
{
	if (!c->fs->work.index || c->is_dir || c->st.st_nlink < 2)
		return 0;
	c->pin = ply_sys_open(ply_copyup_at(c), O_PATH, 0);
	return c->pin < 0 ? c->pin : 0;
}

static int publish_place_it(struct ply_copyup_ctx *c, struct publish_place *p)
{
	struct timespec ts[2];
	int r;

	r = ply_sys_stat(PLY_FD(p->dir->fd), &p->st);
	if (!r && !c->indexed)
		r = publish_pin(c);
	if (!r && c->has_origin)
		r = ply_publish_impure(c->fs, p->parent);
	if (!r && c->indexed)
		r = publish_index(c, p);
	if (!r)
		r = publish_onto(c, p);
	if (r) {
		publish_index_undo(c, p);
		return r;
	}
	if (c->is_dir) {
		r = ply_dir_set_upper(c->fs->graph, c->n);
		if (r) {
			ply_sys_rename(PLY_AT(p->dir->fd, p->name), ply_copyup_at(c), 0);
			return r;
		}
	}
	/* That a copy was made is no change of the directory, as users see it. */
	ts[0] = p->st.st_atim;
	ts[1] = p->st.st_mtim;
	ply_sys_utimens(PLY_FD(p->dir->fd), ts);
	publish_identity(c, p);
	ply_dircache_upped(c->fs, p->parent, p->name);
	publish_switch(c);
	return 0;
}

/* ---- places ---- */

/* Under tree and the parent's lock: is the name still this node's? 0, or 1. */
static int publish_still(struct ply_copyup_ctx *c, struct publish_place *p)
{
	struct ply_node *now = ply_name_find(c->fs->graph, p->parent, p->name);

	if (now)
		ply_node_put(c->fs->graph, now);
	return now == c->n ? 0 : 1;
}

/* 1: the name went away, or its directory is not in upper. */
static int publish_locked(struct ply_copyup_ctx *c, struct publish_place *p)
{
	struct ply_ldir *ld;
	int r;

	PLY_WRLOCK(lock, &p->parent->dir->lock);
	ld = ply_dir_upper(p->parent);
	if (!ld || publish_still(c, p))
		return 1;
	r = ply_dirfd_get(c->fs->graph, p->parent, ld, &p->dir);
	if (r)
		return r;
	ply_dir_restore_begin();
	r = publish_place_it(c, p);
	ply_dir_restore_end();
	ply_dirfd_put(c->fs->graph, p->dir);
	return r;
}

/*
 * For strict alone: the new entry itself on disk. (What was made durable before is
 * complete with or without it.)
 */
static int publish_sync_dir(struct ply_copyup_ctx *c, struct ply_node *parent)
{
	struct ply_dirfd *d;
	int fd, r;

	if (!c->fs->work.sync || c->fs->opt->fsync != PLY_FSYNC_STRICT)
		return 0;

	PLY_RDLOCK(tree, &c->fs->tree);
	r = ply_dirfd_get(c->fs->graph, parent, ply_dir_upper(parent), &d);
	if (r)
		return r;
	fd = ply_sys_open(PLY_FD(d->fd), O_RDONLY | O_DIRECTORY, 0);
	ply_dirfd_put(c->fs->graph, d);
	PLY_RWUNLOCK(tree);
	if (fd < 0)
		return fd;
	r = ply_sys_fsync(fd, false);
	close(fd);
	return r;
}

/* No name is left: whoever has it open goes on with an object that has none either. */
static int publish_unnamed(struct ply_copyup_ctx *c)
{
	int r;

	if (c->is_dir)
		return -ENOENT;
	c->indexed = false;
	if (c->pin < 0) {
		c->pin = ply_sys_open(ply_copyup_at(c), O_PATH, 0);
		if (c->pin < 0)
			return c->pin;
	}
	if (c->tmp[0]) {
		r = ply_sys_unlink(ply_copyup_at(c));
		if (r)
			return r;
	}
	publish_switch(c);
	return 0;
}

int ply_publish(struct ply_copyup_ctx *c)
{
	struct publish_place p = { 0 };
	int r;

	PLY_RDLOCK(tree, &c->fs->tree);
	r = ply_name_any(c->fs->graph, c->n, &p.parent, p.name);
	if (r == -ENOENT)
		return publish_unnamed(c);
	if (r)
		return r;
	r = publish_locked(c, &p);
	PLY_RWUNLOCK(tree);
	if (!r)
		r = publish_sync_dir(c, p.parent);
	ply_node_put(c->fs->graph, p.parent);
	return r;
}
