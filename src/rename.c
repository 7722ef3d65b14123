// SPDX-License-Identifier: GPL-2.0-or-later
#include "rename.h"
#include "copyup.h"
#include "dirops.h"
#include "log.h"
#include "lookup.h"
#include "origin.h"
#include "whiteout.h"

#include <dirent.h>
#include <errno.h>

#define RENAME_TRIES 16

/* One of the two names, as it is under the lock. */
struct rename_end {
	struct ply_node *dir;
	const char *name;
	struct ply_node *node;		/* NULL: no such name */
	struct ply_dirfd *up;
	int state;			/* ply_lookup_upper_state */
	int lower;			/* a lower has the name: a whiteout must stay when it goes */
	struct stat st;			/* with state != 0 */
};

struct rename_ctx {
	struct ply_fs *fs;
	struct rename_end from, to;
	unsigned int flags;
	bool again;			/* not the first try */
	uint64_t names_seq;		/* from before the two names were looked for */
	bool blind;			/* nobody looked at the target on disk: it must not be replaced */
	struct ply_name *name_to, *name_from;	/* names made beforehand */
	struct ply_unlink_index victim;
	bool links_left;		/* the file that was replaced has other names */
	bool parked;			/* the target directory waits in work under `tmp` */
	bool parked_whiteout;		/* ... and a whiteout took its place */
	char tmp[PLY_TMP_MAX];
};

/* ---- before the lock: bring everything up ---- */

static int rename_bring_up(struct ply_fs *fs, struct ply_node *n)
{
	if (n->type != S_IFDIR)
		return ply_copyup(fs, n, PLY_COPYUP_DATA);
	/* A directory with lowers moves by a redirect or not at all: EXDEV makes mv copy it. */
	if (n->dir->nlower && fs->opt->redirect_dir != PLY_REDIRECT_ON)
		return -EXDEV;
	return ply_copyup_dir(fs, n);
}

static int rename_prepare(struct rename_ctx *c)
{
	struct ply_fs *fs = c->fs;
	int r;

	c->names_seq = ply_graph_names_seq(fs->graph);
	r = ply_lookup_node(fs, c->from.dir, c->from.name, &c->from.node);
	if (r)
		return r;
	/* The kernel has just looked both names up; that the target is free is seen under the lock. */
	if (c->again || (c->flags & RENAME_EXCHANGE))
		r = ply_lookup_node(fs, c->to.dir, c->to.name, &c->to.node);
	else
		c->to.node = ply_name_find(fs->graph, c->to.dir, c->to.name);
	if (r == -ENOENT)
		c->to.node = NULL;
	else if (r)
		return r;
	if (c->to.node && (c->flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (!c->to.node && (c->flags & RENAME_EXCHANGE))
		return -ENOENT;
	r = ply_copyup_dir(fs, c->from.dir);
	if (!r)
		r = ply_copyup_dir(fs, c->to.dir);
	if (!r)
		r = rename_bring_up(fs, c->from.node);
	if (r || !c->to.node)
		return r;
	if (c->flags & RENAME_EXCHANGE)
		return rename_bring_up(fs, c->to.node);
	/* A name of a lower hard link goes: the count is kept on the index inode. */
	if (fs->work.index && (atomic_load(&c->to.node->flags) & PLY_N_HARDLINK) &&
	    atomic_load(&c->to.node->layer) != PLY_LAYER_UPPER)
		r = ply_copyup(fs, c->to.node, PLY_COPYUP_META);
	return r;
}

/* ---- under the lock: look ---- */

/*
 * A target that has no node is most often free: the kernel looked it up just now. Where no lower can show through
 * there, the rename itself finds out: as one that replaces nothing. If something is there (that we did not see,
 * or a whiteout), the next try looks.
 */
static bool rename_may_be_blind(const struct rename_ctx *c)
{
	return !c->again && !(c->flags & RENAME_EXCHANGE) && !c->to.dir->dir->nlower && !c->from.lower &&
	       c->fs->layers.can.rename_whiteout;
}

/* Does the name still lead where it did before the lock? */
static bool rename_is_still(const struct rename_ctx *c, const struct rename_end *e)
{
	struct ply_graph *g = c->fs->graph;
	struct ply_node *now;

	if (ply_graph_names_seq(g) == c->names_seq)
		return true;
	now = ply_name_find(g, e->dir, e->name);
	if (now)
		ply_node_put(g, now);
	return now == e->node;
}

static int rename_look(struct rename_ctx *c, struct rename_end *e)
{
	struct ply_fs *fs = c->fs;
	struct ply_ldir *ld;
	bool sure;
	int r;

	if (atomic_load(&e->dir->dir->removed))
		return -ENOENT;
	if (!rename_is_still(c, e))
		return -EAGAIN;
	ld = ply_dir_upper(e->dir);
	if (!ld)
		return -EAGAIN;
	r = ply_dirfd_get(fs->graph, e->dir, ld, &e->up);
	if (r)
		return r;
	if (e->node) {
		e->st.st_nlink = 1;
		e->state = ply_lookup_node_state(fs, e->dir, e->name, e->node, &e->st, &sure);
	} else if (e == &c->to && rename_may_be_blind(c)) {
		c->blind = true;
		return 0;
	} else {
		e->state = ply_lookup_upper_state(fs, e->dir, e->name, &e->st);
	}
	if (e->state < 0)
		return e->state;
	e->lower = e->dir->dir->nlower ? ply_lookup_lower_has(fs, e->dir, e->name) : 0;
	if (e->lower < 0)
		return e->lower;
	/* Without a node: nothing may be there that the look before the lock did not see. */
	if (!e->node && (e->state == 2 || (e->state == 0 && e->lower)))
		return -EAGAIN;
	return 0;
}

static bool rename_is_below(struct rename_ctx *c, struct ply_node *dir, struct ply_node *top)
{
	struct ply_graph *g = c->fs->graph;
	struct ply_node *n = ply_node_ref(g, dir);
	bool below;
	char name[256];

	for (;;) {
		struct ply_node *parent;

		below = n == top;
		if (below || n->id == PLY_ROOT_ID || ply_name_any(g, n, &parent, name))
			break;
		ply_node_put(g, n);
		n = parent;
	}
	ply_node_put(g, n);
	return below;
}

static int rename_check_types(struct rename_ctx *c)
{
	struct ply_node *from = c->from.node, *to = c->to.node;

	if (from->type == S_IFDIR && rename_is_below(c, c->to.dir, from))
		return -EINVAL;
	if (!to)
		return 0;
	if (c->flags & RENAME_EXCHANGE) {
		if (to->type == S_IFDIR && rename_is_below(c, c->from.dir, to))
			return -EINVAL;
		return 0;
	}
	if (to->type == S_IFDIR && from->type != S_IFDIR)
		return -EISDIR;
	if (to->type != S_IFDIR && from->type == S_IFDIR)
		return -ENOTDIR;
	return to->type == S_IFDIR ? ply_dircache_is_empty(c->fs, to) : 0;
}

/* ---- redirects and opaque marks: where lowers are found after the move ---- */

/*
 * The directory's path in the union of the lowers, "/a/b": what an absolute
 * redirect holds (kernel: ovl_get_redirect). Ancestors that carry a redirect themselves
 * stand for where they come from.
 */
static int rename_lower_path(struct rename_ctx *c, struct ply_node *dir, struct ply_buf *out)
{
	struct ply_fs *fs = c->fs;
	struct ply_graph *g = fs->graph;
	struct ply_node *n = ply_node_ref(g, dir);
	ply_autobuf path = { 0 };
	int r = 0;

	while (n->id != PLY_ROOT_ID) {
		ply_autofree char *redirect = NULL;
		struct ply_node *parent;
		ply_autobuf next = { 0 };
		char name[256];
		const char *step = name;
		bool absolute = false;
		struct ply_ldir *ld = ply_dir_upper(n);

		r = ply_name_any(g, n, &parent, name);
		if (r)
			break;
		if (ld) {
			struct ply_dirfd *d;
			ssize_t len;

			r = ply_dirfd_get(g, n, ld, &d);
			if (!r) {
				len = ply_layer_getattr(fs->layers.upper, PLY_FD(d->fd), OVL_REDIRECT, &redirect);
				ply_dirfd_put(g, d);
				if (len >= 0 && !ply_format_redirect(redirect, (size_t)len, &absolute))
					step = redirect;
				else if (len < 0 && len != -ENODATA)
					r = (int)len;
			}
		}
		if (!r)
			r = ply_buf_printf(&next, "%s%s%s", absolute ? "" : "/", step, path.data ? path.data : "");
		if (r) {
			ply_node_put(g, parent);
			break;
		}
		ply_buf_free(&path);
		path = next;
		next = (struct ply_buf){ 0 };
		ply_node_put(g, n);
		n = parent;
		if (absolute)
			break;
	}
	ply_node_put(g, n);
	if (r)
		return r;
	*out = path;
	path = (struct ply_buf){ 0 };
	return 0;
}

static int rename_set_redirect(struct rename_ctx *c, struct rename_end *e, bool same_dir)
{
	struct ply_fs *fs = c->fs;
	struct ply_at at = PLY_AT(e->up->fd, e->name);
	ply_autofree char *old = NULL;
	ply_autobuf path = { 0 };
	const char *value = e->name;
	bool absolute = false;
	ssize_t len;
	int r;

	len = ply_layer_getattr(fs->layers.upper, at, OVL_REDIRECT, &old);
	if (len < 0 && len != -ENODATA)
		return (int)len;
	if (len >= 0 && !ply_format_redirect(old, (size_t)len, &absolute) && (absolute || same_dir))
		return 0;
	if (!same_dir) {
		r = rename_lower_path(c, e->node, &path);
		if (r)
			return r;
		value = path.data;
	}
	r = ply_sys_setxattr(at, ply_format_attr(fs->layers.xns, OVL_REDIRECT), value, strlen(value), 0);
	/* No room for it, or no such attributes: mv copies instead. */
	return r == -ENOSPC || r == -EOPNOTSUPP || r == -ERANGE || r == -E2BIG || r == -EPERM ? -EXDEV : r;
}

/* Before `e` moves into `dir`: its marks say what lies below it there. */
static int rename_mark(struct rename_ctx *c, struct rename_end *e, struct ply_node *dir)
{
	struct ply_fs *fs = c->fs;
	struct ply_at at = PLY_AT(e->up->fd, e->name);
	bool same_dir = e->dir == dir;
	struct ply_fh fh;
	int r;

	if (!same_dir && ply_origin_get(fs, fs->layers.upper, at, &fh) == 0) {
		r = ply_copyup_mark_impure(fs, dir);
		if (r)
			return r;
	}
	if (e->node->type != S_IFDIR)
		return 0;
	if (e->node->dir->nlower) {
		r = rename_set_redirect(c, e, same_dir);
		return r ? r : ply_dir_freeze(fs->graph, e->node);
	}
	if (!dir->dir->nlower)
		return 0;
	if (ply_layer_opaque(fs->layers.upper, at) == 'y')
		return 0;
	r = ply_dirops_mark_opaque(fs, e->up->fd, at);
	return r == -EEXIST ? 0 : r;
}

/* ---- the change on disk ---- */

/* An indexed file that is seen at this name only through a lower needs the name in upper first. */
static int rename_link_up(struct rename_ctx *c, struct rename_end *e)
{
	int r;

	if (e->state == 2)
		return 0;
	if (PLY_WARN_ON(e->node->type == S_IFDIR || atomic_load(&e->node->layer) != PLY_LAYER_UPPER))
		return -EIO;
	r = ply_dirops_link_up(c->fs, e->dir, e->up->fd, e->name, e->node, &e->st);
	if (!r)
		e->state = 2;
	return r;
}

/*
 * The target directory is empty for the union but not on disk (whiteouts): it waits in work, a whiteout
 * in its place where a lower would show through. A crash here leaves the target removed.
 */
static int rename_park(struct rename_ctx *c)
{
	struct ply_fs *fs = c->fs;
	int r;

	if (c->to.lower) {
		r = ply_whiteout_park(&fs->work, c->to.up->fd, c->to.name, c->tmp);
		c->parked_whiteout = !r;
	} else {
		ply_workdir_tmpname(&fs->work, c->tmp);
		r = ply_sys_rename(PLY_AT(c->to.up->fd, c->to.name), PLY_AT(fs->work.fd, c->tmp), 0);
	}
	c->parked = !r;
	return r;
}

static void rename_unpark(struct rename_ctx *c)
{
	int r;

	if (!c->parked)
		return;
	r = ply_whiteout_unpark(&c->fs->work, c->to.up->fd, c->to.name, c->tmp);
	if (r)
		ply_err("rename: '%s' could not be put back: %s", c->to.name, strerror(-r));
}

/* The object goes to the new name; what the old name must show afterwards is put there with it where the filesystem can. */
static int rename_move(struct rename_ctx *c)
{
	struct ply_fs *fs = c->fs;
	struct ply_at from = PLY_AT(c->from.up->fd, c->from.name), to = PLY_AT(c->to.up->fd, c->to.name);
	bool is_dir = c->from.node->type == S_IFDIR;
	bool over_whiteout = c->parked ? c->parked_whiteout : c->to.state == 1;
	int r;

	if (c->blind) {
		r = ply_sys_rename(from, to, RENAME_NOREPLACE);
		return r == -EEXIST || r == -ENOTEMPTY || r == -EINVAL ? -EAGAIN : r;
	}
	if (over_whiteout && is_dir) {
		/* The whiteout changes places with the directory. */
		r = c->from.lower ? ply_whiteout_prepare(&fs->work, c->from.up->fd) : 0;
		if (r < 0)
			return r;
		r = ply_sys_rename(from, to, RENAME_EXCHANGE);
		if (!r && !c->from.lower)
			ply_sys_unlink(from);
		if (r != -ENOENT && r != -EINVAL)
			return r;
		r = r == -EINVAL ? ply_sys_unlink(to) : 0;
		if (r)
			return r;
	}
	if (!c->from.lower)
		return ply_sys_rename(from, to, 0);
	if (fs->layers.can.rename_whiteout) {
		r = ply_sys_rename(from, to, RENAME_WHITEOUT);
		if (r != -EINVAL && r != -EPERM)
			return r;
	}
	/* Two steps: a crash between them shows the file twice, never not at all. */
	r = ply_sys_rename(from, to, 0);
	if (!r) {
		r = ply_whiteout_create(&fs->work, c->from.up->fd, c->from.name);
		if (r)
			ply_sys_rename(to, from, 0);
	}
	return r;
}

static int rename_replace(struct rename_ctx *c)
{
	struct ply_fs *fs = c->fs;
	struct ply_node *victim = c->to.node;
	int r = 0;

	c->victim.indexed = false;
	if (victim && victim->type == S_IFDIR) {
		if (ply_dir_upper(victim))
			r = ply_dirfd_pin(fs->graph, victim);
	} else if (victim) {
		/* In upper without this name: as an upper's name it goes together with its link. */
		if (c->to.state == 0 && (atomic_load(&victim->flags) & PLY_N_INDEXED) &&
		    atomic_load(&victim->layer) == PLY_LAYER_UPPER)
			r = rename_link_up(c, &c->to);
		if (!r && c->to.state == 2)
			r = ply_node_pin(fs->graph, victim, PLY_AT(c->to.up->fd, c->to.name));
		if (!r)
			r = ply_dirops_index_begin(fs, victim, &c->victim);
	}
	if (r)
		return r;
	r = rename_move(c);
	if ((r == -ENOTEMPTY || r == -EEXIST) && victim && c->to.state == 2) {
		r = rename_park(c);
		if (!r)
			r = rename_move(c);
		if (r)
			rename_unpark(c);
		else
			ply_workdir_discard(&fs->work, c->tmp);
	}
	if (!r && victim && victim->type != S_IFDIR)
		ply_dirops_index_end(fs, &c->victim);
	if (!r)
		ply_whiteout_clear_aufs(&fs->work, c->to.up->fd, c->to.name);
	return r;
}

/* ---- the change in memory, which cannot fail ---- */

static void rename_forget_victim(struct rename_ctx *c)
{
	struct ply_graph *g = c->fs->graph;
	struct ply_node *victim = c->to.node;
	bool keep;

	if (victim->type == S_IFDIR) {
		atomic_store(&victim->dir->removed, true);
		keep = victim->dir->nlower > 0;
	} else {
		keep = atomic_load(&victim->layer) != PLY_LAYER_UPPER;
		c->links_left = c->victim.indexed ? !c->victim.last : c->to.state == 2 && c->to.st.st_nlink > 1;
		if (c->victim.indexed ? c->victim.last : c->to.state == 2 && c->to.st.st_nlink <= 1)
			ply_ident_drop(g, victim);
	}
	ply_name_remove(g, c->to.dir, c->to.name, victim, keep);
	ply_dircache_removed(c->fs, c->to.dir, c->to.name);
}

static void rename_names(struct rename_ctx *c)
{
	struct ply_fs *fs = c->fs;
	struct ply_graph *g = fs->graph;
	struct rename_end *f = &c->from, *t = &c->to;

	if (c->flags & RENAME_EXCHANGE) {
		ply_name_exchange(g, f->dir, f->name, f->node, ply_take_ptr(&c->name_from),
				  t->dir, t->name, t->node, ply_take_ptr(&c->name_to));
		ply_dircache_removed(fs, f->dir, f->name);
		ply_dircache_removed(fs, t->dir, t->name);
		ply_dircache_added(fs, f->dir, f->name, IFTODT(t->node->type));
		ply_dircache_added(fs, t->dir, t->name, IFTODT(f->node->type));
		return;
	}
	if (t->node)
		rename_forget_victim(c);
	ply_name_move(g, f->dir, f->name, t->dir, ply_take_ptr(&c->name_to), f->node);
	ply_dircache_removed(fs, f->dir, f->name);
	ply_dircache_added(fs, t->dir, t->name, IFTODT(f->node->type));
}

static int rename_locked(struct rename_ctx *c)
{
	PLY_WRLOCK(tree, &c->fs->tree);
	int r;

	r = rename_look(c, &c->from);
	if (!r)
		r = rename_look(c, &c->to);
	if (!r && !c->from.node)
		r = -EAGAIN;
	if (r)
		return r;
	/* Two names of one file: nothing to do, says POSIX. */
	if (c->from.node == c->to.node)
		return 0;
	r = rename_check_types(c);
	if (!r)
		r = rename_link_up(c, &c->from);
	if (!r && (c->flags & RENAME_EXCHANGE))
		r = rename_link_up(c, &c->to);
	if (!r)
		r = rename_mark(c, &c->from, c->to.dir);
	if (!r && (c->flags & RENAME_EXCHANGE))
		r = rename_mark(c, &c->to, c->from.dir);
	if (r)
		return r;
	if (c->flags & RENAME_EXCHANGE)
		r = ply_sys_rename(PLY_AT(c->from.up->fd, c->from.name), PLY_AT(c->to.up->fd, c->to.name),
				   RENAME_EXCHANGE);
	else
		r = rename_replace(c);
	if (!r)
		rename_names(c);
	return r;
}

static void rename_end_release(struct ply_fs *fs, struct rename_end *e)
{
	if (e->up)
		ply_dirfd_put(fs->graph, e->up);
	if (e->node)
		ply_node_put(fs->graph, e->node);
	e->up = NULL;
	e->node = NULL;
}

int ply_rename(struct ply_fs *fs, struct ply_node *odir, const char *oname,
	       struct ply_node *ndir, const char *nname, unsigned int flags)
{
	int r = ply_dirops_check_name(nname), i;

	if (r)
		return r;
	if (strlen(oname) > 255)
		return -ENAMETOOLONG;
	if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (!ply_fs_writable(fs))
		return -EROFS;
	for (i = 0; i < RENAME_TRIES; i++) {
		struct rename_ctx c = {
			.fs = fs, .flags = flags, .again = i > 0,
			.from = { .dir = odir, .name = oname }, .to = { .dir = ndir, .name = nname },
			.name_to = ply_name_prepare(nname),
		};

		if (flags & RENAME_EXCHANGE)
			c.name_from = ply_name_prepare(oname);
		r = c.name_to && (c.name_from || !(flags & RENAME_EXCHANGE)) ? rename_prepare(&c) : -ENOMEM;
		if (!r)
			r = rename_locked(&c);
		if (!r && c.links_left)
			ply_dirops_links_left(fs, ndir, nname, c.to.node);
		rename_end_release(fs, &c.from);
		rename_end_release(fs, &c.to);
		ply_name_discard(c.name_to);
		ply_name_discard(c.name_from);
		if (r != -EAGAIN && r != -ESTALE)
			return r;
	}
	return -EIO;
}
