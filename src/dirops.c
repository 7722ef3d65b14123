// SPDX-License-Identifier: GPL-2.0-or-later
#include "dirops.h"
#include "attr.h"
#include "copyup.h"
#include "log.h"
#include "lookup.h"
#include "origin.h"
#include "whiteout.h"
#include "xattr.h"

#include <dirent.h>
#include <errno.h>
#include <sys/sysmacros.h>

#define DIROPS_NAME_MAX 255
#define DIROPS_TRIES 16		/* another thread changed the name between look and lock */

int ply_dirops_check_name(const char *name)
{
	if (strlen(name) > DIROPS_NAME_MAX)
		return -ENAMETOOLONG;
	if (!strncmp(name, PLY_AUFS_PREFIX, strlen(PLY_AUFS_PREFIX)))
		return -EINVAL;
	return 0;
}

int ply_dirops_mark_opaque(struct ply_fs *fs, int dirfd, struct ply_at at)
{
	struct ply_layers *ls = &fs->layers;

	if (ls->can.xattr)
		return ply_sys_setxattr(at, ply_format_attr(ls->xns, OVL_OPAQUE), "y", 1, 0);

	ply_autofd dir = ply_sys_open(PLY_AT(dirfd, at.name), O_PATH | O_DIRECTORY, 0);

	if (dir < 0)
		return dir;
	return ply_sys_mknod(PLY_AT(dir, PLY_AUFS_OPAQUE), S_IFREG | 0600, 0);
}

/* ---- making ---- */

struct dirops_make {
	mode_t mode;			/* with S_IFMT */
	dev_t rdev;
	const char *target;		/* symlink */
	int flags;			/* open flags of create */
	const struct ply_cred *cred;
	int fd;				/* create: the open file */
	bool seen;			/* its stat is what it still is */
};

/* One directory in which a name is about to come, with what is there. Under the locks. */
struct dirops_place {
	struct ply_dirfd *up;		/* put by dirops_place_release */
	struct ply_graph *g;
	struct stat dirst;
	bool whiteout;			/* something in upper hides the name */
};

static void dirops_place_release(struct dirops_place *p)
{
	if (p->up)
		ply_dirfd_put(p->g, p->up);
}
#define dirops_autoplace __attribute__((cleanup(dirops_place_release))) struct dirops_place

/*
 * The name must be free. In a directory without lowers that is known by the
 * creation itself (O_EXCL): then nothing is asked here, unless `ask`.
 */
static int dirops_place_open(struct ply_fs *fs, struct ply_node *dir, const char *name,
			     bool ask, struct dirops_place *p)
{
	struct ply_ldir *ld = ply_dir_upper(dir);
	struct ply_node *have;
	struct stat st;
	int r;

	if (atomic_load(&dir->dir->removed))
		return -ENOENT;
	if (PLY_WARN_ON(!ld))
		return -EIO;
	have = ply_name_find(fs->graph, dir, name);
	if (have) {
		ply_node_put(fs->graph, have);
		return -EEXIST;
	}
	p->g = fs->graph;
	r = ply_dirfd_get(fs->graph, dir, ld, &p->up);
	if (r)
		return r;
	r = ply_layer_stat(fs->layers.upper, PLY_FD(p->up->fd), &p->dirst);
	if (r)
		return r;
	if (!dir->dir->nlower && !ask)
		return 0;
	r = ply_lookup_upper_state(fs, dir, name, &st);
	if (r < 0)
		return r;
	if (r == 2)
		return -EEXIST;
	p->whiteout = r == 1;
	if (p->whiteout || !dir->dir->nlower)
		return 0;
	r = ply_lookup_lower_has(fs, dir, name);
	return r > 0 ? -EEXIST : r;
}

static int dirops_make_object(struct ply_fs *fs, struct dirops_make *m, struct ply_at at, mode_t mode)
{
	bool override = fs->layers.upper->override != PLY_XPERM_NONE;
	int fd;

	/* With override_stat the type is an attribute and the file is the owner's own. */
	if (override)
		mode |= 0755;
	switch (m->mode & S_IFMT) {
	case S_IFDIR:
		return ply_sys_mkdir(at, mode & 07777);
	case S_IFLNK:
		return ply_sys_symlink(m->target, at);
	case S_IFREG:
		fd = ply_sys_open(at, O_CREAT | O_EXCL | O_RDWR | (m->flags & (O_SYNC | O_DSYNC)),
				  mode & 07777);
		if (fd < 0)
			return fd;
		m->fd = fd;
		return 0;
	default:
		if (override)
			return ply_sys_mknod(at, S_IFREG | (mode & 07777), 0);
		return ply_sys_mknod(at, (m->mode & S_IFMT) | (mode & 07777), m->rdev);
	}
}

static void dirops_unmake(struct dirops_make *m, struct ply_at at)
{
	if (m->fd >= 0)
		close(ply_take_fd(&m->fd));
	if (S_ISDIR(m->mode))
		ply_sys_rmdir(at);
	else
		ply_sys_unlink(at);
}

/* Who owns it and which group it gets in a setgid directory. Ids as presented. */
static void dirops_owner(struct ply_fs *fs, struct dirops_make *m, const struct stat *dirst,
			 uid_t *uid, gid_t *gid)
{
	*uid = m->cred->uid;
	*gid = m->cred->gid;
	if (dirst->st_mode & S_ISGID) {
		*gid = ply_idmap_show(&fs->opt->gids, dirst->st_gid);
		if (S_ISDIR(m->mode))
			m->mode |= S_ISGID;
	}
}

/* For later lookups, as the kernel gives it: no lower is worth asking. */
static void dirops_hint_opaque(struct ply_fs *fs, struct ply_node *dir, int dirfd, struct ply_at at)
{
	if (dir->dir->nlower && fs->layers.can.xattr)
		ply_dirops_mark_opaque(fs, dirfd, at);
}

/* Under its final name: nothing was there and no lower has it. */
static int dirops_make_here(struct ply_fs *fs, struct dirops_make *m, struct dirops_place *p,
			    struct ply_node *dir, const char *name, struct stat *st)
{
	struct ply_at at = PLY_AT(p->up->fd, name);
	/* Whether a default ACL decides about the mode; unasked where the umask has no say: the layer's mode is taken then. */
	int acl = 1, r;
	mode_t mode;
	uid_t uid;
	gid_t gid;

	dirops_owner(fs, m, &p->dirst, &uid, &gid);
	mode = m->mode;
	if (!S_ISLNK(mode) && (mode & m->cred->umask)) {
		acl = ply_xattr_has_default_acl(fs, PLY_FD(p->up->fd));
		if (acl <= 0)
			mode &= ~m->cred->umask;
	}
	r = dirops_make_object(fs, m, at, mode);
	if (r)
		return r;
	if (S_ISDIR(mode))
		dirops_hint_opaque(fs, dir, p->up->fd, at);
	r = ply_sys_stat(m->fd >= 0 ? PLY_FD(m->fd) : at, st);
	if (!r) {
		if (acl > 0 && fs->layers.upper->override == PLY_XPERM_NONE)
			mode = (mode & S_IFMT) | (st->st_mode & 07777);
		m->seen = ply_attr_is(fs, st, uid, gid, mode);
		if (!m->seen)
			r = ply_attr_init(fs, at, st, uid, gid, mode, m->rdev);
	}
	if (r) {
		dirops_unmake(m, at);
		return r;
	}
	return 0;
}

/* Moves a finished temporary onto a name that a whiteout holds, in one step where the filesystem can. */
static int dirops_replace_whiteout(struct ply_fs *fs, int updir, const char *name,
				   const char *tmp, bool is_dir)
{
	struct ply_at from = PLY_AT(fs->work.fd, tmp), to = PLY_AT(updir, name);
	int r;

	if (!is_dir) {
		r = ply_sys_rename(from, to, 0);
	} else {
		r = ply_sys_rename(from, to, RENAME_EXCHANGE);
		if (!r)
			ply_workdir_discard(&fs->work, tmp);
		else if (r == -ENOENT)			/* a .wh. whiteout: nothing is at the name itself */
			r = ply_sys_rename(from, to, 0);
		else if (r == -EINVAL || r == -ENOSYS) {
			r = ply_sys_unlink(to);
			if (!r)
				r = ply_sys_rename(from, to, 0);
		}
	}
	if (!r)
		ply_whiteout_clear_aufs(&fs->work, updir, name);
	return r;
}

/* In the work directory, and then under its name, which is free or has a whiteout. */
static int dirops_make_in_work(struct ply_fs *fs, struct dirops_make *m, struct dirops_place *p, struct ply_node *dir,
			       const char *name, struct stat *st)
{
	char tmp[PLY_TMP_MAX];
	struct ply_at at;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	int r;

	ply_workdir_tmpname(&fs->work, tmp);
	at = PLY_AT(fs->work.fd, tmp);
	dirops_owner(fs, m, &p->dirst, &uid, &gid);
	mode = m->mode;
	r = dirops_make_object(fs, m, at, S_ISLNK(mode) ? mode : (mode & S_IFMT) | 0700);
	if (r)
		return r;
	if (S_ISDIR(mode) && p->whiteout)
		r = ply_dirops_mark_opaque(fs, fs->work.fd, at);
	else if (S_ISDIR(mode))
		dirops_hint_opaque(fs, dir, fs->work.fd, at);
	if (!r)
		r = ply_sys_stat(at, st);
	if (!r && !S_ISLNK(mode))
		r = ply_xattr_inherit(fs, PLY_FD(p->up->fd), at, &mode, m->cred->umask);
	if (!r)
		r = ply_attr_init(fs, at, st, uid, gid, mode, m->rdev);
	if (!r && p->whiteout)
		r = dirops_replace_whiteout(fs, p->up->fd, name, tmp, S_ISDIR(mode));
	else if (!r)
		r = ply_sys_rename(at, PLY_AT(p->up->fd, name), RENAME_NOREPLACE);
	/* A filesystem that cannot rename so: made in place then, as where it cannot rename across. */
	if (r == -EINVAL && !p->whiteout)
		r = -EXDEV;
	if (r) {
		if (m->fd >= 0)
			close(ply_take_fd(&m->fd));
		ply_workdir_discard(&fs->work, tmp);
	}
	return r;
}

static int dirops_make(struct ply_fs *fs, struct ply_node *dir, const char *name, struct dirops_make *m,
		       struct ply_node **out, struct stat *st)
{
	int r;

	m->fd = -1;
	m->seen = false;
	r = ply_dirops_check_name(name);
	if (r)
		return r;
	if (!ply_fs_writable(fs))
		return -EROFS;
	r = ply_copyup_dir(fs, dir);
	if (r)
		return r;

	PLY_RDLOCK(tree, &fs->tree);
	PLY_WRLOCK(lock, &dir->dir->lock);
	dirops_autoplace p = { 0 };

	r = dirops_place_open(fs, dir, name, false, &p);
	if (r)
		return r;
	if (!p.whiteout) {
		bool apart = S_ISDIR(m->mode) && dir == fs->root && fs->work.apart;

		r = apart ? dirops_make_in_work(fs, m, &p, dir, name, st) : -EXDEV;
		if (r == -EXDEV)
			r = dirops_make_here(fs, m, &p, dir, name, st);
		if (r == -EEXIST && !dir->dir->nlower) {
			/* Something is there after all: a whiteout that has nothing to hide, perhaps. */
			ply_dirfd_put(fs->graph, p.up);
			p.up = NULL;
			r = dirops_place_open(fs, dir, name, true, &p);
			if (!r && !p.whiteout)
				r = -EEXIST;
		}
	}
	if (!r && p.whiteout)
		r = dirops_make_in_work(fs, m, &p, dir, name, st);
	if (r)
		return r;
	ply_dircache_added(fs, dir, name, IFTODT(m->mode));
	r = m->seen ? 0 : ply_layer_stat(fs->layers.upper, PLY_AT(p.up->fd, name), st);
	if (!r)
		r = ply_lookup_created(fs, dir, name, st, out);
	if (r) {
		if (m->fd >= 0)
			close(ply_take_fd(&m->fd));
		return r;
	}
	return ply_attr_show_locked(fs, *out, st);
}

int ply_dirops_mkdir(struct ply_fs *fs, struct ply_node *dir, const char *name, mode_t mode,
		     const struct ply_cred *cred, struct ply_node **out, struct stat *st)
{
	struct dirops_make m = { .mode = S_IFDIR | (mode & 01777), .cred = cred };

	return dirops_make(fs, dir, name, &m, out, st);
}

int ply_dirops_mknod(struct ply_fs *fs, struct ply_node *dir, const char *name, mode_t mode, dev_t rdev,
		     const struct ply_cred *cred, struct ply_node **out, struct stat *st)
{
	struct dirops_make m = { .mode = mode, .rdev = rdev, .cred = cred };
	int r;

	if (!(mode & S_IFMT))
		m.mode |= S_IFREG;
	/* On disk this is a whiteout: the kernel's overlayfs says EPERM too. */
	if (S_ISCHR(mode) && rdev == makedev(0, 0))
		return -EPERM;
	r = dirops_make(fs, dir, name, &m, out, st);
	if (!r && m.fd >= 0)
		close(m.fd);
	return r;
}

int ply_dirops_symlink(struct ply_fs *fs, struct ply_node *dir, const char *name, const char *target,
		       const struct ply_cred *cred, struct ply_node **out, struct stat *st)
{
	struct dirops_make m = { .mode = S_IFLNK | 0777, .target = target, .cred = cred };

	return dirops_make(fs, dir, name, &m, out, st);
}

int ply_dirops_create(struct ply_fs *fs, struct ply_node *dir, const char *name, mode_t mode, int flags,
		      const struct ply_cred *cred, int *fd, struct ply_node **out, struct stat *st)
{
	struct dirops_make m = { .mode = S_IFREG | (mode & 07777), .flags = flags, .cred = cred };
	int r = dirops_make(fs, dir, name, &m, out, st);

	if (!r)
		*fd = m.fd;
	return r;
}

int ply_dirops_tmpfile(struct ply_fs *fs, struct ply_node *dir, mode_t mode, int flags,
		       const struct ply_cred *cred, int *fdp, struct ply_node **out, struct stat *st)
{
	struct dirops_make m = { .mode = S_IFREG | (mode & 07777), .cred = cred, .fd = -1 };
	struct ply_dirfd *up;
	struct stat dirst;
	int acl = 1, r;
	uid_t uid;
	gid_t gid;

	if (!ply_fs_writable(fs))
		return -EROFS;
	if (!fs->layers.can.tmpfile)
		return -EOPNOTSUPP;
	r = ply_copyup_dir(fs, dir);
	if (r)
		return r;

	PLY_RDLOCK(tree, &fs->tree);
	if (atomic_load(&dir->dir->removed))
		return -ENOENT;
	r = ply_dirfd_get(fs->graph, dir, ply_dir_upper(dir), &up);
	if (r)
		return r;
	r = ply_layer_stat(fs->layers.upper, PLY_FD(up->fd), &dirst);
	if (!r && (m.mode & cred->umask)) {
		acl = ply_xattr_has_default_acl(fs, PLY_FD(up->fd));
		if (acl <= 0)
			m.mode &= ~cred->umask;
	}
	ply_autofd fd = r ? r : ply_sys_tmpfile(up->fd, O_RDWR | (flags & (O_EXCL | O_SYNC | O_DSYNC)), m.mode & 07777);

	ply_dirfd_put(fs->graph, up);
	if (fd < 0)
		return fd;
	r = ply_sys_stat(PLY_FD(fd), st);
	if (r)
		return r;
	dirops_owner(fs, &m, &dirst, &uid, &gid);
	r = ply_attr_init(fs, PLY_FD(fd), st, uid, gid,
			  acl > 0 && fs->layers.upper->override == PLY_XPERM_NONE ? st->st_mode : m.mode, 0);
	if (!r)
		r = ply_layer_stat(fs->layers.upper, PLY_FD(fd), st);
	if (r)
		return r;

	struct ply_node *n;

	r = ply_node_new(fs->graph, S_IFREG,
			 ply_inum_make(&fs->inum, ply_layers_fs(&fs->layers, st->st_dev, fd), st->st_ino),
			 PLY_LAYER_UPPER, NULL, 0, false, &n);
	if (r)
		return r;
	atomic_fetch_or(&n->flags, PLY_N_UNLINKED);
	r = ply_node_pin(fs->graph, n, PLY_FD(fd));
	if (!r)
		r = ply_attr_show_locked(fs, n, st);
	if (r) {
		ply_node_put(fs->graph, n);
		return r;
	}
	*fdp = ply_take_fd(&fd);
	*out = n;
	return 0;
}

/* ---- links ---- */

/* The union's count of an indexed inode; *lower: that of its origin, 0 where that cannot be known. */
static int dirops_index_links(struct ply_fs *fs, struct ply_at at, const struct stat *st, const struct ply_fh *fh,
			      unsigned int *lower, unsigned int *links)
{
	int n = ply_workdir_lower_nlink(&fs->layers, fh);

	*lower = n > 0 ? (unsigned int)n : 0;
	return ply_index_nlink(fs, at, st, *lower, links);
}

int ply_dirops_index_begin(struct ply_fs *fs, struct ply_node *n, struct ply_unlink_index *ui)
{
	ply_autoloc loc = PLY_LOC_INIT;
	unsigned int links, lower;
	struct stat st;
	int r;

	ui->indexed = ui->last = false;
	if (!(atomic_load(&n->flags) & PLY_N_INDEXED))
		return 0;
	r = ply_node_locate(fs->graph, n, &loc);
	if (!r)
		r = ply_sys_stat(loc.at, &st);
	if (r)
		return r;
	r = ply_origin_get(fs, loc.layer, loc.at, &ui->fh);
	if (!r)
		r = dirops_index_links(fs, loc.at, &st, &ui->fh, &lower, &links);
	if (r)
		return r == -ENODATA ? 0 : r;
	ui->indexed = true;
	ui->last = links <= 1;
	/* The entry goes as well, which may be all that leads to it. */
	if (ui->last)
		r = ply_node_pin(fs->graph, n, loc.at);
	if (r)
		return r;
	/* Relative to the upper's own count: a name that leaves the upper takes it along. */
	return ply_index_set_nlink(fs, loc.at, (int)links - (int)st.st_nlink);
}

void ply_dirops_index_end(struct ply_fs *fs, struct ply_unlink_index *ui)
{
	if (ui->indexed && ui->last)
		ply_index_drop(fs, &ui->fh);
}

int ply_dirops_link_up(struct ply_fs *fs, struct ply_node *dir, int updir, const char *name, struct ply_node *n,
		       struct stat *st)
{
	ply_autoloc loc = PLY_LOC_INIT;
	unsigned int links, lower = 0;
	struct ply_fh fh;
	bool counted;
	int r;

	r = ply_node_locate(fs->graph, n, &loc);
	if (!r)
		r = ply_sys_stat(loc.at, st);
	if (r)
		return r;
	r = ply_origin_get(fs, loc.layer, loc.at, &fh);
	if (!r)
		r = dirops_index_links(fs, loc.at, st, &fh, &lower, &links);
	if (r && r != -ENODATA)
		return r;
	counted = !r;
	/*
	 * The union's count stays and the upper's grows. A crash between must not find too small a count, for which the
	 * index entry, and all that was written to the file, would be thrown away.
	 */
	r = counted && lower ? ply_index_set_nlink_lower(fs, loc.at, (int)links - (int)lower) : 0;
	if (!r)
		r = ply_sys_link(loc.at, PLY_AT(updir, name));
	if (r)
		return r;
	ply_dircache_upped(fs, dir, name);
	st->st_nlink++;
	return counted ? ply_index_set_nlink(fs, loc.at, (int)links - (int)st->st_nlink) : 0;
}

int ply_dirops_link(struct ply_fs *fs, struct ply_node *n, struct ply_node *dir, const char *name,
		    struct stat *st)
{
	struct ply_node *have = NULL;
	int r;

	if (n->type == S_IFDIR)
		return -EPERM;
	r = ply_dirops_check_name(name);
	if (r)
		return r;
	if (!ply_fs_writable(fs))
		return -EROFS;
	r = ply_copyup(fs, n, PLY_COPYUP_DATA);
	if (!r)
		r = ply_copyup_dir(fs, dir);
	if (r)
		return r;

	PLY_RDLOCK(tree, &fs->tree);
	/* Handed off meanwhile, as copy-up says it too: link(2) looks the file up again. */
	if (atomic_load(&n->flags) & PLY_N_STALE)
		return -ESTALE;
	PLY_WRLOCK(lock, &dir->dir->lock);
	dirops_autoplace p = { 0 };
	ply_autoloc loc = PLY_LOC_INIT;

	r = dirops_place_open(fs, dir, name, true, &p);
	if (!r)
		r = ply_node_locate(fs->graph, n, &loc);
	if (r)
		return r;
	if (p.whiteout) {
		char tmp[PLY_TMP_MAX];

		ply_workdir_tmpname(&fs->work, tmp);
		r = ply_sys_link(loc.at, PLY_AT(fs->work.fd, tmp));
		if (!r) {
			r = dirops_replace_whiteout(fs, p.up->fd, name, tmp, false);
			if (r)
				ply_workdir_discard(&fs->work, tmp);
		}
	} else {
		r = ply_sys_link(loc.at, PLY_AT(p.up->fd, name));
	}
	if (r)
		return r;
	ply_dircache_added(fs, dir, name, IFTODT(n->type));
	r = ply_layer_stat(fs->layers.upper, PLY_AT(p.up->fd, name), st);
	if (r)
		return r;
	/* An origin moves along with the file into a directory whose listing must know that. */
	struct ply_fh fh;

	if (ply_origin_get(fs, fs->layers.upper, PLY_AT(p.up->fd, name), &fh) == 0)
		ply_copyup_mark_impure(fs, dir);
	r = ply_ident_add(fs->graph, ply_layers_fs(&fs->layers, st->st_dev, p.up->fd), st->st_ino, n, &have);
	if (r == -EEXIST) {
		ply_node_put(fs->graph, have);
		have = NULL;
	} else if (r) {
		return r;
	}
	r = ply_name_add(fs->graph, dir, name, n, &have);
	if (have)
		ply_node_put(fs->graph, have);
	return r ? r : ply_attr_show_locked(fs, n, st);
}

/* ---- removing ---- */

/* The node at (dir, name) as it is before any lock is held, and the type it must have. */
static int dirops_victim(struct ply_fs *fs, struct ply_node *dir, const char *name, bool want_dir,
			 struct ply_node **out)
{
	int r = ply_lookup_node(fs, dir, name, out);

	if (r)
		return r;
	if (((*out)->type == S_IFDIR) != want_dir) {
		r = want_dir ? -ENOTDIR : -EISDIR;
		ply_node_put(fs->graph, *out);
	}
	return r;
}

/* Is it still the same one, now that the locks are held? names_seq: from before it was looked for. */
static bool dirops_still(struct ply_fs *fs, struct ply_node *dir, const char *name, struct ply_node *n, uint64_t names_seq)
{
	struct ply_node *now;

	if (ply_graph_names_seq(fs->graph) == names_seq)
		return true;
	now = ply_name_find(fs->graph, dir, name);
	if (now)
		ply_node_put(fs->graph, now);
	return now == n;
}

void ply_dirops_links_left(struct ply_fs *fs, struct ply_node *dir, const char *name, struct ply_node *n)
{
	struct ply_node *parent;
	char other[256];
	unsigned int i;

	if (!fs->up.inval_entry)
		return;
	fs->up.inval_entry(fs->up.arg, dir->id, name);
	for (i = 0; !ply_name_at(fs->graph, n, i, &parent, other); i++) {
		fs->up.inval_entry(fs->up.arg, parent->id, other);
		ply_node_put(fs->graph, parent);
	}
	fs->up.inval_entry(fs->up.arg, n->id, "");
}

/* *left: the file has other names. */
static int dirops_unlink_try(struct ply_fs *fs, struct ply_node *dir, const char *name, struct ply_node *n,
			     uint64_t names_seq, bool *left)
{
	struct stat st = { .st_nlink = 1 };
	struct ply_unlink_index ui;
	struct ply_dirfd *up;
	int state, lower, r;
	bool lower_object, sure;

	PLY_RDLOCK(tree, &fs->tree);
	PLY_WRLOCK(lock, &dir->dir->lock);
	if (!dirops_still(fs, dir, name, n, names_seq))
		return -EAGAIN;
	state = ply_lookup_node_state(fs, dir, name, n, &st, &sure);
	if (state < 0)
		return state;
	/* A name that is not in upper is a lower's. */
	lower = sure && !state ? 1 : dir->dir->nlower ? ply_lookup_lower_has(fs, dir, name) : 0;
	if (lower < 0)
		return lower;
	if (state == 1 || (state == 0 && !lower))
		return -ENOENT;
	r = ply_dirfd_get(fs->graph, dir, ply_dir_upper(dir), &up);
	if (r)
		return r;
	lower_object = atomic_load(&n->layer) != PLY_LAYER_UPPER;
	/* Whoever has it open, or only knows it (O_PATH), goes on with the pin. */
	r = state == 2 ? ply_node_pin(fs->graph, n, PLY_AT(up->fd, name)) : 0;
	/* In upper without this name: as an upper's name it goes together with its link. */
	if (!r && state == 0 && (atomic_load(&n->flags) & PLY_N_INDEXED) && !lower_object) {
		r = ply_dirops_link_up(fs, dir, up->fd, name, n, &st);
		state = 2;
	}
	if (!r)
		r = ply_dirops_index_begin(fs, n, &ui);
	if (r)
		goto out;
	if (state == 0)
		r = ply_whiteout_create(&fs->work, up->fd, name);
	else if (lower)
		r = ply_whiteout_replace(&fs->work, up->fd, name);
	else
		r = ply_sys_unlink(PLY_AT(up->fd, name));
	if (r)
		goto out;
	ply_dirops_index_end(fs, &ui);
	*left = ui.indexed ? !ui.last : state == 2 && st.st_nlink > 1;
	if (ui.indexed ? ui.last : state == 2 && st.st_nlink <= 1)
		ply_ident_drop(fs->graph, n);
	ply_name_remove(fs->graph, dir, name, n, lower_object);
	ply_dircache_removed(fs, dir, name);
out:
	ply_dirfd_put(fs->graph, up);
	return r;
}

int ply_dirops_unlink(struct ply_fs *fs, struct ply_node *dir, const char *name)
{
	struct ply_node *n;
	bool left = false;
	int r, i;

	if (strlen(name) > DIROPS_NAME_MAX)
		return -ENAMETOOLONG;
	for (i = 0; i < DIROPS_TRIES; i++) {
		uint64_t seq = ply_graph_names_seq(fs->graph);

		r = dirops_victim(fs, dir, name, false, &n);
		if (r)
			return r;
		if (!ply_fs_writable(fs))
			r = -EROFS;
		else
			r = ply_copyup_dir(fs, dir);
		/* A name of a lower hard link goes: the count is kept on the index inode. */
		if (!r && fs->work.index && (atomic_load(&n->flags) & PLY_N_HARDLINK) &&
		    atomic_load(&n->layer) != PLY_LAYER_UPPER)
			r = ply_copyup(fs, n, PLY_COPYUP_META);
		if (!r)
			r = dirops_unlink_try(fs, dir, name, n, seq, &left);
		if (!r && left)
			ply_dirops_links_left(fs, dir, name, n);
		ply_node_put(fs->graph, n);
		if (r != -EAGAIN && r != -ESTALE)
			return r;
	}
	return -EIO;
}

/* A directory in work that holds nothing that counts. */
static void dirops_discard_dir(struct ply_fs *fs, const char *tmp)
{
	struct ply_at at = PLY_AT(fs->work.fd, tmp);
	int r = ply_node_rmdir(fs->graph, at);

	if (r == -ENOTEMPTY && !ply_workdir_clear(&fs->work, tmp))
		r = ply_node_rmdir(fs->graph, at);
	if (r)
		ply_workdir_discard(&fs->work, tmp);
}

/* An upper directory that holds nothing that counts: at most whiteouts. */
static int dirops_remove_upper_dir(struct ply_fs *fs, int updir, const char *name)
{
	char tmp[PLY_TMP_MAX];
	int r = ply_node_rmdir(fs->graph, PLY_AT(updir, name));

	if (r != -ENOTEMPTY && r != -EEXIST)
		return r;
	ply_workdir_tmpname(&fs->work, tmp);
	r = ply_sys_rename(PLY_AT(updir, name), PLY_AT(fs->work.fd, tmp), 0);
	if (!r)
		dirops_discard_dir(fs, tmp);
	return r;
}

/* The same where a lower one would show. */
static int dirops_hide_upper_dir(struct ply_fs *fs, int updir, const char *name)
{
	char tmp[PLY_TMP_MAX];
	int r = ply_whiteout_park(&fs->work, updir, name, tmp);

	if (!r)
		dirops_discard_dir(fs, tmp);
	return r;
}

static int dirops_rmdir_try(struct ply_fs *fs, struct ply_node *dir, const char *name, struct ply_node *n,
			    uint64_t names_seq)
{
	struct ply_dirfd *up;
	int lower, r;

	PLY_RDLOCK(tree, &fs->tree);
	PLY_WRLOCK(lock, &dir->dir->lock);
	if (!dirops_still(fs, dir, name, n, names_seq))
		return -EAGAIN;
	PLY_WRLOCK(inner, &n->dir->lock);
	r = ply_dircache_is_empty(fs, n);
	if (r)
		return r;
	lower = dir->dir->nlower ? ply_lookup_lower_has(fs, dir, name) : 0;
	if (lower < 0)
		return lower;
	r = ply_dirfd_get(fs->graph, dir, ply_dir_upper(dir), &up);
	if (r)
		return r;
	if (!ply_dir_upper(n))
		r = ply_whiteout_create(&fs->work, up->fd, name);
	else {
		r = ply_dirfd_pin(fs->graph, n);
		if (!r)
			r = lower ? dirops_hide_upper_dir(fs, up->fd, name) : dirops_remove_upper_dir(fs, up->fd, name);
	}
	ply_dirfd_put(fs->graph, up);
	if (r)
		return r;
	atomic_store(&n->dir->removed, true);
	ply_name_remove(fs->graph, dir, name, n, n->dir->nlower > 0);
	ply_dircache_removed(fs, dir, name);
	return 0;
}

int ply_dirops_rmdir(struct ply_fs *fs, struct ply_node *dir, const char *name)
{
	struct ply_node *n;
	int r, i;

	if (strlen(name) > DIROPS_NAME_MAX)
		return -ENAMETOOLONG;
	for (i = 0; i < DIROPS_TRIES; i++) {
		uint64_t seq = ply_graph_names_seq(fs->graph);

		r = dirops_victim(fs, dir, name, true, &n);
		if (r)
			return r;
		r = ply_fs_writable(fs) ? ply_copyup_dir(fs, dir) : -EROFS;
		if (!r)
			r = dirops_rmdir_try(fs, dir, name, n, seq);
		ply_node_put(fs->graph, n);
		if (r != -EAGAIN)
			return r;
	}
	return -EIO;
}

int ply_dirops_readlink(struct ply_fs *fs, struct ply_node *n, char **target)
{
	PLY_RDLOCK(tree, &fs->tree);
	ply_autoloc loc = PLY_LOC_INIT;
	int r = ply_node_locate(fs->graph, n, &loc);

	if (r)
		return r;
	return ply_sys_readlink(loc.at, target);
}
