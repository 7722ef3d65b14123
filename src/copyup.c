// SPDX-License-Identifier: GPL-2.0-or-later
#include "copyup.h"
#include "attr_store.h"
#include "copyup_data.h"
#include "log.h"
#include "origin.h"
#include "publish.h"
#include "xattr_store.h"

#include <errno.h>

#define COPYUP_TRIES 64			/* hard links whose names move while they are copied */
#define COPYUP_CAPS "security.capability"

/* ---- looking ---- */

static bool copyup_done(struct ply_node *n, enum ply_copyup_what what)
{
	if (n->type == S_IFDIR)
		return ply_dir_upper(n);
	return atomic_load(&n->layer) == PLY_LAYER_UPPER &&
	       (what == PLY_COPYUP_META || !(atomic_load(&n->flags) & PLY_N_METACOPY));
}

/* Opens the node's data for reading: fd. */
static int copyup_open_data(struct ply_fs *fs, struct ply_node *n)
{
	ply_autoloc loc = PLY_LOC_INIT;
	int r;

	PLY_RDLOCK(tree, &fs->tree);
	r = ply_node_locate_data(fs->graph, n, &loc);
	return r ? r : ply_sys_open(loc.at, O_RDONLY | O_NONBLOCK, 0);
}

static int copyup_look(struct ply_copyup_ctx *c)
{
	int r;

	PLY_RDLOCK(tree, &c->fs->tree);
	r = ply_node_locate(c->fs->graph, c->n, &c->src);
	if (r)
		return r;
	c->from = c->src.layer;
	r = ply_layer_stat(c->from, c->src.at, &c->st);
	if (r)
		return r;
	/* Lower must not change below a mount; a directory in a file's place is caught here. */
	if ((c->st.st_mode & S_IFMT) != c->n->type)
		return -ESTALE;
	if (S_ISLNK(c->st.st_mode)) {
		r = ply_sys_readlink(c->src.at, &c->target);
		if (r)
			return r;
	}
	return 0;
}

/*
 * Where a metacopy's data are: the path in its layer, if the object is really found
 * there. Caller holds tree; 1: it can't be told, the data has to be copied.
 */
static int copyup_dataref(struct ply_copyup_ctx *c, struct ply_node *parent, const char *name)
{
	struct ply_ldir *ld = ply_dir_layer(parent, c->from->index);
	ply_autobuf path = { 0 };
	struct ply_dirfd *d;
	struct stat st;
	int r;

	if (!ld)
		return 1;
	r = ply_dirfd_get(c->fs->graph, parent, ld, &d);
	if (r)
		return r;
	/* Most often it is where it was just found. */
	if (d == c->src.dirfd && !strcmp(name, c->src.name))
		st = c->st;
	else
		r = ply_sys_stat(PLY_AT(d->fd, name), &st);
	ply_dirfd_put(c->fs->graph, d);
	if (r && r != -ENOENT)
		return r;
	if (r || st.st_ino != c->st.st_ino || st.st_dev != c->st.st_dev)
		return 1;
	r = ply_dir_path(c->fs->graph, parent, ld, &path);
	if (!r && path.len)
		r = ply_buf_addstr(&path, "/");
	if (!r)
		r = ply_buf_addstr(&path, name);
	if (r)
		return r;
	c->dataref = malloc(sizeof(*c->dataref) + path.len + 1);
	if (!c->dataref)
		return -ENOMEM;
	c->dataref->layer = (uint16_t)c->from->index;
	c->dataref->blocks = (uint64_t)st.st_blocks + 1;
	memcpy(c->dataref->path, path.data, path.len);
	c->dataref->path[path.len] = '\0';
	return 0;
}

/* Metadata alone is enough: finds out whether this file allows it. */
static int copyup_try_metacopy(struct ply_copyup_ctx *c)
{
	struct ply_node *parent;
	char name[256];
	int r;

	if (!S_ISREG(c->st.st_mode) || !c->st.st_size || !c->fs->layers.can.xattr)
		return 0;
	/* Whoever may not read the mark would take the holes for data. */
	if (!ply_attr_may_lack_data(c->fs, c->st.st_mode))
		return 0;

	PLY_RDLOCK(tree, &c->fs->tree);
	r = ply_name_any(c->fs->graph, c->n, &parent, name);
	if (r)
		return r == -ENOENT ? 0 : r;
	/* A metacopy in lower: its copy has the same data. */
	if (!(atomic_load(&c->n->flags) & PLY_N_METACOPY))
		r = copyup_dataref(c, parent, name);
	ply_node_put(c->fs->graph, parent);
	if (r < 0)
		return r;
	c->metacopy = !r;
	return 0;
}

/* Which marks the copy has to carry. */
static int copyup_decide(struct ply_copyup_ctx *c, enum ply_copyup_what what)
{
	const struct ply_options *o = c->fs->opt;
	bool links;
	int r;

	c->is_dir = S_ISDIR(c->st.st_mode);
	c->regular = S_ISREG(c->st.st_mode) ||
		     (c->fs->layers.upper->override != PLY_XPERM_NONE && !c->is_dir && !S_ISLNK(c->st.st_mode));
	links = !c->is_dir && c->st.st_nlink > 1;
	if (c->fs->layers.can.xattr) {
		r = ply_origin_of(c->fs, c->from, c->src.at, &c->st, &c->origin);
		if (r)
			return r;
		/* An index entry carries marks; user.* ones are for regular files and directories only. */
		c->indexed = links && c->fs->work.index &&
			     (c->regular || c->fs->layers.xns != PLY_XNS_USER) &&
			     !ply_format_index_name(&c->origin, c->index_name);
		/* A hard link that is broken by being copied is another file from now on. */
		c->has_origin = !links || c->indexed;
	}
	if (what == PLY_COPYUP_META && o->metacopy == PLY_ON &&
	    (o->redirect_dir == PLY_REDIRECT_ON || o->redirect_dir == PLY_REDIRECT_FOLLOW))
		return copyup_try_metacopy(c);
	return 0;
}

/* ---- making ---- */

/* Its final mode at once, where nothing but the owner may change that again. */
static mode_t copyup_mode(const struct ply_copyup_ctx *c)
{
	return c->fs->layers.upper->override == PLY_XPERM_NONE ? c->st.st_mode & 0777 : 0600;
}

static int copyup_make_named(struct ply_copyup_ctx *c)
{
	struct ply_at at;
	int r;

	ply_workdir_tmpname(&c->fs->work, c->tmp);
	at = PLY_AT(c->fs->work.fd, c->tmp);
	if (c->regular) {
		r = ply_sys_open(at, O_RDWR | O_CREAT | O_EXCL, copyup_mode(c));
		if (r >= 0) {
			c->fd = r;
			r = 0;
		}
	} else if (c->is_dir) {
		r = ply_sys_mkdir(at, 0700);
	} else if (S_ISLNK(c->st.st_mode)) {
		r = ply_sys_symlink(c->target, at);
	} else {
		r = ply_sys_mknod(at, (c->st.st_mode & S_IFMT) | 0600, c->st.st_rdev);
	}
	return r;
}

static int copyup_make(struct ply_copyup_ctx *c)
{
	int r;

	if (c->regular && c->fs->layers.can.tmpfile) {
		r = ply_sys_tmpfile(c->fs->work.fd, O_RDWR, copyup_mode(c));
		if (r >= 0) {
			c->fd = r;
			c->made = true;
			return 0;
		}
		if (r != -EOPNOTSUPP)
			return r;
	}
	r = copyup_make_named(c);
	c->made = !r;
	return r;
}

/* ---- filling ---- */

/* No lock but the node's copy-up lock is held here, however large the file is. */
static int copyup_fill_data(struct ply_copyup_ctx *c)
{
	int r;

	if (!S_ISREG(c->st.st_mode) || !c->st.st_size || c->trunc)
		return 0;
	/* The size of a metacopy file is that of its data. */
	if (c->metacopy)
		return ply_sys_ftruncate(c->fd, c->st.st_size);
	c->data = copyup_open_data(c->fs, c->n);
	if (c->data < 0)
		return c->data;
	r = ply_copyup_data(c->data, c->fd, c->st.st_size, c->fs->layers.can.reflink, c->fs->work.sync);
	c->cloned = r == 1 && c->fs->layers.can.clone_ordered;
	return r < 0 ? r : 0;
}

/* Marks that some objects can't carry in this namespace (user.* on a symlink): they do without. */
static int copyup_mark(int r, bool needed)
{
	return !needed && (r == -EPERM || r == -EOPNOTSUPP) ? 0 : r;
}

static int copyup_fill_metadata(struct ply_copyup_ctx *c)
{
	struct ply_at at = ply_copyup_at(c);
	struct timespec ts[2] = { c->st.st_atim, c->st.st_mtim };
	int r;

	/* The owner first: a new owner takes capabilities and suid away. */
	r = ply_attr_copy(c->fs, at, &c->st);
	if (!r)
		r = ply_xattr_copy(c->fs, c->from, c->src.at, at);
	if (!r && c->has_origin)
		r = copyup_mark(ply_origin_set(c->fs, at, &c->origin), c->indexed);
	if (!r && c->metacopy)
		r = ply_sys_setxattr(at, ply_format_attr(c->fs->layers.xns, OVL_METACOPY), "", 0, 0);
	if (c->trunc)
		ts[1].tv_nsec = UTIME_OMIT;	/* truncated now */
	if (!r)
		r = ply_sys_utimens(at, ts);
	return r;
}

/*
 * Durable before it can be seen: after a crash it is the old file or the whole new one. Where the filesystem's journal keeps
 * the order, nothing of a file without bytes of its own can come later than its name, nor a clone's bytes (kernel:
 * ovl_copy_up_file and metadata_fsync).
 */
static int copyup_sync(struct ply_copyup_ctx *c)
{
	bool strict = c->fs->opt->fsync == PLY_FSYNC_STRICT;
	bool in_order = c->data < 0 ? c->fs->layers.can.ordered : c->cloned;
	int fd, r;

	if (!c->fs->work.sync)
		return 0;
	if (c->fd >= 0)
		return !in_order || strict ? ply_sys_fsync(c->fd, false) : 0;
	if (!c->is_dir || !strict)
		return 0;
	fd = ply_sys_open(ply_copyup_at(c), O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	r = ply_sys_fsync(fd, false);
	close(fd);
	return r;
}

/* ---- one object ---- */

static void copyup_ctx_end(struct ply_copyup_ctx *c)
{
	if (c->made && c->tmp[0])
		ply_workdir_discard(&c->fs->work, c->tmp);
	ply_loc_release(&c->src);
	if (c->data >= 0)
		close(c->data);
	if (c->fd >= 0)
		close(c->fd);
	if (c->pin >= 0)
		close(c->pin);
	free(c->target);
	free(c->dataref);
}

/* Caller holds the node's copy-up lock. 0, -errno, or 1: begin again. */
static int copyup_object(struct ply_fs *fs, struct ply_node *n, enum ply_copyup_what what)
{
	struct ply_copyup_ctx c = {
		.fs = fs, .n = n, .trunc = what == PLY_COPYUP_TRUNC,
		.src = PLY_LOC_INIT, .data = -1, .fd = -1, .pin = -1,
	};
	int r;

	ply_creds_fsetid(true);		/* modes and ACLs are copied as they are */
	r = copyup_look(&c);
	if (!r)
		r = copyup_decide(&c, what);
	if (!r)
		r = copyup_make(&c);
	if (!r)
		r = copyup_fill_data(&c);
	if (!r)
		r = copyup_fill_metadata(&c);
	if (!r)
		r = copyup_sync(&c);
	if (!r)
		r = ply_publish(&c);
	if (!r)
		ply_count(c.metacopy ? PLY_C_copyup_meta : PLY_C_copyups, 1);
	copyup_ctx_end(&c);
	return r;
}

/* ---- the data of a metacopy ---- */

/* An upper inode without its data, while they are filled in. */
struct copyup_fill {
	struct ply_fs *fs;
	struct ply_node *n;
	int fd;				/* upper, writable */
	int data;			/* lower */
	struct ply_attr_hold hold;	/* with the stat of upper, as it is on disk, before */
	char *caps;			/* malloced; the first write drops them */
	ssize_t ncaps;
};

static int copyup_open_upper(struct ply_fs *fs, struct ply_node *n)
{
	ply_autoloc loc = PLY_LOC_INIT;
	int r;

	PLY_RDLOCK(tree, &fs->tree);
	r = ply_node_locate(fs->graph, n, &loc);
	if (r)
		return r;
	if (PLY_WARN_ON(!loc.layer->is_upper))
		return -EIO;
	return ply_sys_open(loc.at, O_RDWR | O_NONBLOCK, 0);
}

static int copyup_fill_open(struct copyup_fill *f, bool trunc)
{
	int r;

	f->fd = copyup_open_upper(f->fs, f->n);
	/* Unlinked between the two: it was pinned before, and is found without the name. */
	if (f->fd == -ENOENT)
		f->fd = copyup_open_upper(f->fs, f->n);
	if (f->fd < 0)
		return f->fd;
	r = ply_sys_stat(PLY_FD(f->fd), &f->hold.st);
	if (r || trunc)
		return r;
	f->ncaps = ply_sys_getxattr_alloc(PLY_FD(f->fd), COPYUP_CAPS, &f->caps);
	if (f->ncaps < 0 && f->ncaps != -ENODATA && f->ncaps != -EOPNOTSUPP)
		return (int)f->ncaps;
	f->data = copyup_open_data(f->fs, f->n);
	return f->data < 0 ? f->data : 0;
}

/* What writing changed beside the data. */
static int copyup_fill_restore(struct copyup_fill *f)
{
	struct timespec ts[2] = { f->hold.st.st_atim, f->hold.st.st_mtim };
	struct stat st;
	int r = 0;

	if (f->ncaps > 0)
		r = ply_sys_setxattr(PLY_FD(f->fd), COPYUP_CAPS, f->caps, (size_t)f->ncaps, 0);
	if (!r)
		r = ply_sys_stat(PLY_FD(f->fd), &st);
	if (!r && st.st_mode != f->hold.st.st_mode)
		r = ply_sys_chmod(PLY_FD(f->fd), f->hold.st.st_mode & 07777);
	if (!r)
		r = ply_sys_utimens(PLY_FD(f->fd), ts);
	return r;
}

/* A half-filled inode harms nobody, it only costs room. */
static void copyup_fill_undo(struct copyup_fill *f)
{
	ply_sys_fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, f->hold.st.st_size);
	copyup_fill_restore(f);
}

static int copyup_fill_run(struct copyup_fill *f, bool trunc)
{
	int r = copyup_fill_open(f, trunc);
	bool cloned = false;

	if (r)
		return r;
	/* Until the mark is gone readers are served from lower. */
	if (trunc) {
		r = ply_sys_ftruncate(f->fd, 0);
	} else {
		ply_attr_hold_begin(&f->hold);
		r = ply_copyup_data(f->data, f->fd, f->hold.st.st_size, f->fs->layers.can.reflink,
				    f->fs->work.sync);
		cloned = r == 1 && f->fs->layers.can.clone_ordered && f->fs->opt->fsync != PLY_FSYNC_STRICT;
		if (r >= 0)
			r = copyup_fill_restore(f);
	}
	if (!r && f->fs->work.sync && !cloned)
		r = ply_sys_fsync(f->fd, false);
	if (r && !trunc)
		copyup_fill_undo(f);
	if (!trunc)
		ply_attr_hold_end(&f->hold);
	/* Should this fail the data stay: who knows whether the mark is on disk. */
	if (!r)
		r = ply_sys_removexattr(PLY_FD(f->fd), ply_format_attr(f->fs->layers.xns, OVL_METACOPY));
	/* Whoever looked it up when it was empty already has done it. */
	if (r == -ENODATA)
		r = 0;
	if (!r)
		ply_publish_data(f->fs, f->n);
	return r;
}

/* Caller holds the node's copy-up lock. */
static int copyup_data(struct ply_fs *fs, struct ply_node *n, enum ply_copyup_what what)
{
	struct copyup_fill f = { .fs = fs, .n = n, .fd = -1, .data = -1, .hold.n = n };
	int r;

	ply_creds_fsetid(true);
	r = copyup_fill_run(&f, what == PLY_COPYUP_TRUNC);
	if (f.fd >= 0)
		close(f.fd);
	if (f.data >= 0)
		close(f.data);
	free(f.caps);
	if (!r)
		ply_count(PLY_C_copyups, 1);
	return r;
}

/* ---- nodes and their ancestors ---- */

/*
 * An answer about this node may have gone out that was true for a moment only, and be cached for ever.
 * Nothing is locked here, and attributes alone are dropped without waiting for anything.
 */
static void copyup_tell(struct ply_fs *fs, struct ply_node *n)
{
	if (fs->up.inval_inode)
		fs->up.inval_inode(fs->up.arg, n->id, -1, 0);
}

/* Takes the copy-up lock. 0, -errno, or 1: begin again with the ancestors. */
static int copyup_node(struct ply_fs *fs, struct ply_node *n, enum ply_copyup_what what)
{
	bool changed = false;
	int r = ply_node_copyup_lock(fs->graph, n);

	if (r)
		return r;
	if (atomic_load(&n->flags) & PLY_N_STALE) {
		r = -ESTALE;
	} else if (copyup_done(n, what)) {
		r = 0;			/* somebody else did it while we waited */
	} else if (n->type != S_IFDIR && atomic_load(&n->layer) == PLY_LAYER_UPPER) {
		r = copyup_data(fs, n, what);
		changed = true;
	} else {
		r = copyup_object(fs, n, what);
		changed = n->type == S_IFDIR && r <= 0;
	}
	ply_node_copyup_unlock(fs->graph, n);
	if (r < 0)
		ply_count(PLY_C_copyup_failed, 1);
	/* Its times while it was written; a directory's link count, 1 now that it is merged. */
	if (changed)
		copyup_tell(fs, n);
	return r;
}

/* The topmost directory that is not in upper, on the way to dir: referenced. */
static int copyup_topmost(struct ply_fs *fs, struct ply_node *dir, struct ply_node **out)
{
	struct ply_node *cur = ply_node_ref(fs->graph, dir), *parent;
	char name[256];
	int r;

	for (;;) {
		r = ply_name_any(fs->graph, cur, &parent, name);
		if (r) {
			ply_node_put(fs->graph, cur);
			return r;
		}
		if (ply_dir_upper(parent)) {
			ply_node_put(fs->graph, parent);
			*out = cur;
			return 0;
		}
		ply_node_put(fs->graph, cur);
		cur = parent;
	}
}

int ply_copyup_dir(struct ply_fs *fs, struct ply_node *dir)
{
	struct ply_node *top;
	int r;

	if (!ply_fs_writable(fs))
		return -EROFS;
	while (!ply_dir_upper(dir)) {
		r = copyup_topmost(fs, dir, &top);
		if (r)
			return r;
		r = copyup_node(fs, top, PLY_COPYUP_META);
		ply_node_put(fs->graph, top);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The directory of some name of n. */
static int copyup_parent(struct ply_fs *fs, struct ply_node *n)
{
	struct ply_node *parent;
	char name[256];
	int r = ply_name_any(fs->graph, n, &parent, name);

	if (r)
		return r == -ENOENT ? 0 : r;	/* no name: no directory is needed */
	r = ply_copyup_dir(fs, parent);
	ply_node_put(fs->graph, parent);
	return r;
}

int ply_copyup(struct ply_fs *fs, struct ply_node *n, enum ply_copyup_what what)
{
	int i, r = 1;

	if (n->type == S_IFDIR)
		return ply_copyup_dir(fs, n);
	if (!ply_fs_writable(fs))
		return -EROFS;
	for (i = 0; i < COPYUP_TRIES && r > 0; i++) {
		if (copyup_done(n, what) && !(atomic_load(&n->flags) & PLY_N_STALE))
			return 0;
		r = copyup_parent(fs, n);
		if (!r)
			r = copyup_node(fs, n, what);
	}
	return r > 0 ? -EBUSY : r;
}

int ply_copyup_current(struct ply_fs *fs, struct ply_node *n, enum ply_copyup_what what, struct ply_node **out)
{
	struct ply_node *cur;
	int r;

	for (;;) {
		cur = ply_node_current(fs->graph, n);
		r = ply_copyup(fs, cur, what);
		if (!r) {
			*out = cur;
			return 0;
		}
		/* Handed off between the two: its successor is there by now. */
		if (r != -ESTALE || !(atomic_load(&cur->flags) & PLY_N_STALE)) {
			ply_node_put(fs->graph, cur);
			return r;
		}
		ply_node_put(fs->graph, cur);
	}
}

int ply_copyup_mark_impure(struct ply_fs *fs, struct ply_node *dir)
{
	return ply_publish_impure(fs, dir);
}
