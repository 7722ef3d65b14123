// SPDX-License-Identifier: GPL-2.0-or-later
#include "attr.h"
#include "copyup.h"
#include "io.h"
#include "log.h"
#include "origin.h"

#include <errno.h>

#define ATTR_PERM 07777
#define ATTR_TIMES ((unsigned int)(PLY_SET_ATIME | PLY_SET_MTIME | PLY_SET_ATIME_NOW | PLY_SET_MTIME_NOW))

/*
 * A file may be unlinked between being located and being used. It was pinned before, so
 * the second try does not need the name any more.
 */
#define ATTR_TRIES 2
#define ATTR_FILLS 100		/* other files are filled all the time: no reason to look for ever */

/* ---- showing ---- */

/*
 * Link count of the lower inode that an indexed file was copied from: needed
 * only where a kernel left overlay.nlink relative to it. 0: not known.
 */
static unsigned int attr_lower_nlink(struct ply_fs *fs, struct ply_node *n)
{
	struct ply_node *parent;
	unsigned int i, nlink = 0;
	char name[256];

	if (ply_name_any(fs->graph, n, &parent, name))
		return 0;
	for (i = 0; i < parent->dir->nlower && !nlink; i++) {
		struct ply_ldir *ld = &parent->dir->lower[i];
		struct ply_dirfd *d;
		struct stat st;

		if (ply_dirfd_get(fs->graph, parent, ld, &d))
			continue;
		if (!ply_sys_stat(PLY_AT(d->fd, name), &st) && !S_ISDIR(st.st_mode) && !S_ISCHR(st.st_mode))
			nlink = (unsigned int)st.st_nlink;
		ply_dirfd_put(fs->graph, d);
	}
	ply_node_put(fs->graph, parent);
	return nlink;
}

/*
 * The union's count of an inode in the index; it may have names that nobody asked for so far, also
 * when those that are known are gone. Caller holds tree.
 */
static int attr_show_indexed(struct ply_fs *fs, struct ply_node *n, struct stat *st)
{
	unsigned int nlink;
	int i, r = -ENOENT;

	for (i = 0; i < ATTR_TRIES && r == -ENOENT; i++) {
		ply_autoloc loc = PLY_LOC_INIT;

		r = ply_node_locate(fs->graph, n, &loc);
		if (!r)
			r = ply_index_nlink(fs, loc.at, st, attr_lower_nlink(fs, n), &nlink);
	}
	if (r == -ENODATA) {
		if (atomic_load(&n->flags) & PLY_N_UNLINKED)
			st->st_nlink = 0;
		return 0;
	}
	if (!r)
		st->st_nlink = nlink;
	return r;
}

/* A metacopy file occupies what its data occupy. Caller holds tree. */
static int attr_show_metacopy(struct ply_fs *fs, struct ply_node *n, struct stat *st)
{
	blkcnt_t blocks;
	int r;

	ply_attr_hold_apply(n, st);
	r = ply_node_data_blocks(fs->graph, n, &blocks);
	if (!r)
		st->st_blocks = blocks;
	else if (r == -ENOENT || r == -EIO)
		st->st_blocks = (st->st_size + 511) / 512;	/* lost; but it can be seen, and removed */
	else
		return r;
	return 0;
}

static unsigned int attr_dir_nlink(const struct ply_fs *fs, struct ply_node *n, const struct stat *st)
{
	struct ply_dir *d = n->dir;

	if (atomic_load(&d->removed))
		return 0;
	/* Counting subdirectories of a merged one would mean listing it: 1 says "not counted". */
	if (fs->opt->static_nlink || d->nlower + (ply_dir_upper(n) ? 1u : 0u) > 1)
		return 1;
	return (unsigned int)st->st_nlink;
}

int ply_attr_show_locked(struct ply_fs *fs, struct ply_node *n, struct stat *st)
{
	unsigned int flags = atomic_load(&n->flags);
	struct stat out = *st;
	int r = 0;

	out.st_ino = n->ino;
	out.st_dev = fs->dev;
	out.st_uid = ply_idmap_show(&fs->opt->uids, st->st_uid);
	out.st_gid = ply_idmap_show(&fs->opt->gids, st->st_gid);
	if (n->type == S_IFDIR) {
		out.st_nlink = attr_dir_nlink(fs, n, st);
	} else {
		if (flags & PLY_N_INDEXED)
			r = attr_show_indexed(fs, n, &out);
		else if ((flags & PLY_N_UNLINKED) && atomic_load(&n->layer) != PLY_LAYER_UPPER)
			out.st_nlink = 0;	/* an upper inode counts itself: it may have names nobody asked for */
		if (!r && (flags & PLY_N_METACOPY))
			r = attr_show_metacopy(fs, n, &out);
	}
	if (!r)
		*st = out;
	return r;
}

int ply_attr_show(struct ply_fs *fs, struct ply_node *n, struct stat *st)
{
	if (!(atomic_load(&n->flags) & (PLY_N_INDEXED | PLY_N_METACOPY)))
		return ply_attr_show_locked(fs, n, st);

	PLY_RDLOCK(tree, &fs->tree);
	return ply_attr_show_locked(fs, n, st);
}

/* Raw stat of where the node's metadata are now. Caller holds tree. */
static int attr_stat(struct ply_fs *fs, struct ply_node *n, struct stat *st)
{
	int i, r = -ENOENT;

	for (i = 0; i < ATTR_TRIES && r == -ENOENT; i++) {
		ply_autoloc loc = PLY_LOC_INIT;

		r = ply_node_locate(fs->graph, n, &loc);
		if (!r)
			r = ply_layer_stat(loc.layer, loc.at, st);
	}
	return r;
}

static int attr_get_now(struct ply_fs *fs, struct ply_node *n, struct stat *st)
{
	int r = attr_stat(fs, n, st);

	return r ? r : ply_attr_show_locked(fs, n, st);
}

/* Caller holds tree. */
static int attr_get_dir(struct ply_fs *fs, struct ply_node *dir, struct stat *st)
{
	uint64_t seq = ply_dir_restore_seq();
	int r;

	if (!ply_dir_restoring()) {
		r = attr_get_now(fs, dir, st);
		if (ply_dir_restore_seq() == seq)
			return r;
	}
	/* A copy-up may be between its new entry and putting the directory's times back. */
	PLY_RDLOCK(lock, &dir->dir->lock);
	return attr_get_now(fs, dir, st);
}

static int attr_get_located(struct ply_fs *fs, struct ply_node *n, struct stat *st)
{
	struct stat now;
	uint64_t seq;
	bool meta;
	int i, r;

	PLY_RDLOCK(tree, &fs->tree);
	/* The inode of a metacopy into which data were written meanwhile is looked at again. */
	for (i = 0; i < ATTR_FILLS; i++) {
		meta = atomic_load(&n->flags) & PLY_N_METACOPY;
		seq = ply_attr_hold_seq();
		r = S_ISDIR(n->type) ? attr_get_dir(fs, n, &now) : attr_get_now(fs, n, &now);
		if (r || !meta || ply_attr_hold_seq() == seq)
			break;
	}
	if (!r)
		*st = now;
	return r;
}

/* Its layer lost the way to it, but somebody still has it open. */
static int attr_get_open(struct ply_fs *fs, struct ply_node *n, struct ply_handle *h, struct stat *st)
{
	struct stat now;
	int fd, r;

	r = ply_handle_fd(fs, h, &fd);
	if (!r)
		r = ply_layer_stat(&fs->layers.layer[h->layer], PLY_FD(fd), &now);
	if (!r)
		r = ply_attr_show(fs, n, &now);
	if (!r)
		*st = now;
	return r;
}

int ply_attr_get(struct ply_fs *fs, struct ply_node *node, struct ply_handle *h, struct stat *st)
{
	/* Nobody hands a directory off. */
	if (S_ISDIR(node->type))
		return attr_get_located(fs, node, st);

	ply_autonode(cur, fs, ply_node_current(fs->graph, node));
	int r = attr_get_located(fs, cur.n, st);

	if ((r == -ENOENT || r == -ESTALE) && h && !(atomic_load(&cur.n->flags) & PLY_N_METACOPY))
		r = attr_get_open(fs, cur.n, h, st);
	return r;
}

/* ---- setattr ---- */

struct attr_change {
	struct ply_fs *fs;
	struct ply_node *n;		/* current */
	unsigned int what;
	uid_t uid;			/* on disk; -1: stays */
	gid_t gid;
	mode_t mode;
	off_t size;
	int size_fd;			/* writable, borrowed from a handle; -1: none */
	struct timespec ts[2];
};

static void attr_change_times(struct attr_change *c, const struct stat *st)
{
	c->ts[0] = st->st_atim;
	c->ts[1] = st->st_mtim;
	if (c->what & PLY_SET_ATIME_NOW)
		c->ts[0] = (struct timespec){ .tv_nsec = UTIME_NOW };
	else if (!(c->what & PLY_SET_ATIME))
		c->ts[0] = (struct timespec){ .tv_nsec = UTIME_OMIT };
	if (c->what & PLY_SET_MTIME_NOW)
		c->ts[1] = (struct timespec){ .tv_nsec = UTIME_NOW };
	else if (!(c->what & PLY_SET_MTIME))
		c->ts[1] = (struct timespec){ .tv_nsec = UTIME_OMIT };
}

/* Everything that can be refused before anything changes. */
static int attr_change_check(struct attr_change *c, const struct stat *st)
{
	int r = 0;

	if (!ply_fs_writable(c->fs))
		return -EROFS;
	if ((c->what & PLY_SET_MODE) && S_ISLNK(c->n->type))
		return -EOPNOTSUPP;
	if ((c->what & PLY_SET_SIZE) && !S_ISREG(c->n->type))
		return S_ISDIR(c->n->type) ? -EISDIR : -EINVAL;
	c->uid = (uid_t)-1;
	c->gid = (gid_t)-1;
	if (c->what & PLY_SET_UID)
		r = ply_attr_store_id(&c->fs->opt->uids, st->st_uid, &c->uid);
	if (!r && (c->what & PLY_SET_GID))
		r = ply_attr_store_id(&c->fs->opt->gids, st->st_gid, &c->gid);
	if (r)
		return r;
	c->mode = st->st_mode & ATTR_PERM;
	c->size = st->st_size;
	attr_change_times(c, st);
	return 0;
}

static int attr_apply_size(struct attr_change *c, struct ply_at at)
{
	ply_autofd own = -1;
	int fd = c->size_fd, r;

	if (fd < 0) {
		fd = own = ply_sys_open(at, O_WRONLY | O_NONBLOCK, 0);
		if (fd < 0)
			return fd;
	}
	/* The filesystem drops suid and sgid for a thread without CAP_FSETID. */
	ply_creds_fsetid(!(c->what & PLY_SET_KILL_PRIV));
	r = ply_sys_ftruncate(fd, c->size);
	ply_creds_fsetid(true);
	return r;
}

/* suid always goes; sgid where it means a group's execution and not mandatory locking. */
static mode_t attr_killed(mode_t mode)
{
	mode &= ~(mode_t)S_ISUID;
	return mode & S_IXGRP ? mode & ~(mode_t)S_ISGID : mode;
}

/* Owner and mode that are kept in override_stat. The caller holds the copy-up lock: nobody else writes it now. */
static int attr_apply_override(struct attr_change *c, struct ply_at at, bool touch)
{
	struct stat st;
	mode_t perm;
	int r;

	r = ply_layer_stat(c->fs->layers.upper, at, &st);
	if (r)
		return r;
	perm = st.st_mode & ATTR_PERM;
	if (!S_ISDIR(c->n->type) && (touch || (c->what & (PLY_SET_UID | PLY_SET_GID | PLY_SET_KILL_PRIV))))
		perm = attr_killed(perm);
	if (c->what & PLY_SET_MODE)
		perm = c->mode;
	if (c->what & PLY_SET_UID)
		st.st_uid = c->uid;
	if (c->what & PLY_SET_GID)
		st.st_gid = c->gid;
	r = ply_attr_write_override(c->fs, at, st.st_uid, st.st_gid, c->n->type | perm, st.st_rdev);
	if (!r && (c->what & PLY_SET_MODE))
		r = ply_sys_chmod(at, ply_attr_override_backing(c->mode));
	return r;
}

static int attr_apply(struct attr_change *c, struct ply_at at)
{
	/* chown(-1, -1) arrives as nothing at all, or as a ctime, and drops suid, sgid and capabilities all the same. */
	bool touch = !(c->what & ~(unsigned int)(PLY_SET_KILL_PRIV | PLY_SET_CTIME));
	int r = 0;

	ply_creds_fsetid(true);		/* this thread's last request may have left it off */
	if (c->what & PLY_SET_SIZE)
		r = attr_apply_size(c, at);
	if (!r && ply_attr_has_override(c->fs)) {
		if (touch || (c->what & (PLY_SET_UID | PLY_SET_GID | PLY_SET_MODE | PLY_SET_KILL_PRIV)))
			r = attr_apply_override(c, at, touch);
	} else if (!r) {
		if (touch || (c->what & (PLY_SET_UID | PLY_SET_GID)))
			r = ply_sys_chown(at, c->uid, c->gid);
		if (!r && (c->what & PLY_SET_MODE))
			r = ply_sys_chmod(at, c->mode);
	}
	if (!r && (c->what & ATTR_TIMES))
		r = ply_sys_utimens(at, c->ts);
	return r;
}

/* Changes the upper object and says what became of it. Caller holds tree. */
static int attr_change_located(struct attr_change *c, struct stat *st)
{
	ply_autoloc loc = PLY_LOC_INIT;
	int r;

	r = ply_node_locate(c->fs->graph, c->n, &loc);
	if (r)
		return r;
	/* A name that leads to lower must not be touched, whatever went wrong before. */
	if (PLY_WARN_ON(!loc.layer->is_upper))
		return -EIO;
	r = attr_apply(c, loc.at);
	if (!r)
		r = ply_layer_stat(loc.layer, loc.at, st);
	if (!r)
		r = ply_attr_show_locked(c->fs, c->n, st);
	return r;
}

static int attr_change_once(struct attr_change *c, struct stat *st)
{
	int i, r = -ENOENT;

	PLY_RDLOCK(tree, &c->fs->tree);
	if (S_ISDIR(c->n->type) && (c->what & ATTR_TIMES)) {
		/* Copy-up puts a directory's times back: not those from before our change. */
		PLY_WRLOCK(lock, &c->n->dir->lock);
		return attr_change_located(c, st);
	}
	for (i = 0; i < ATTR_TRIES && r == -ENOENT; i++)
		r = attr_change_located(c, st);
	return r;
}

/* What was to be copied up is copied: pages that the kernel writes back need not wait for that. */
static int attr_change_upper(struct attr_change *c, struct stat *st)
{
	int r;

	ply_io_times_lock(c->fs, c->n);
	r = attr_change_once(c, st);
	ply_io_times_unlock(c->fs, c->n);
	return r;
}

static enum ply_copyup_what attr_copyup_kind(const struct attr_change *c)
{
	if (!(c->what & PLY_SET_SIZE))
		return (c->what & PLY_SET_MODE) && S_ISREG(c->n->type) && !ply_attr_may_lack_data(c->fs, c->mode) ?
			PLY_COPYUP_DATA : PLY_COPYUP_META;
	return c->size ? PLY_COPYUP_DATA : PLY_COPYUP_TRUNC;
}

/*
 * With the writeback cache the kernel keeps the times, and tells them after each unlink, for the new ctime's sake. What has
 * lost its last name and is in lower still is not copied up for that: only a user asks for another mtime.
 */
static bool attr_is_told_of_unlink(struct ply_fs *fs, struct ply_node *node, unsigned int what, const struct stat *st,
				   struct stat *now)
{
	if (what != (PLY_SET_MTIME | PLY_SET_CTIME) || S_ISDIR(node->type))
		return false;

	ply_autonode(cur, fs, ply_node_current(fs->graph, node));
	return (atomic_load(&cur.n->flags) & PLY_N_UNLINKED) && atomic_load(&cur.n->layer) != PLY_LAYER_UPPER &&
	       !attr_get_located(fs, cur.n, now) && now->st_mtim.tv_sec == st->st_mtim.tv_sec &&
	       now->st_mtim.tv_nsec == st->st_mtim.tv_nsec;
}

int ply_attr_set(struct ply_fs *fs, struct ply_node *node, struct ply_handle *h,
		 const struct ply_cred *cred, unsigned int what, struct stat *st)
{
	struct attr_change c = { .fs = fs, .n = node, .what = what, .size_fd = -1 };
	struct ply_node *cur;
	struct stat now;
	int r;

	(void)cred;			/* default_permissions: the kernel has checked who may */
	r = attr_change_check(&c, st);
	if (r)
		return r;
	if (attr_is_told_of_unlink(fs, node, what, st, &now)) {
		*st = now;
		return 0;
	}
	r = ply_copyup_current(fs, node, attr_copyup_kind(&c), &cur);
	if (r)
		return r;

	ply_autonode(ref, fs, cur);

	c.n = ref.n;
	/* The handle may be all that is allowed to write to it. */
	if ((what & PLY_SET_SIZE) && h && h->writable && (ply_handle_fd(fs, h, &c.size_fd) || h->layer != PLY_LAYER_UPPER))
		c.size_fd = -1;
	if (ply_attr_has_override(fs) || (atomic_load(&c.n->flags) & PLY_N_METACOPY)) {
		/* Read, modify, write: one at a time. And not while a metacopy's data are filled in. */
		r = ply_node_copyup_lock(fs->graph, c.n);
		if (r)
			return r;
		r = attr_change_upper(&c, &now);
		ply_node_copyup_unlock(fs->graph, c.n);
	} else {
		r = attr_change_upper(&c, &now);
	}
	if (!r)
		*st = now;
	return r;
}
