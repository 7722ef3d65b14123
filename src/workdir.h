/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * workdir: work/ beside the upper: temporary names, the reusable whiteout, the index
 * directory, locks on upper and work, the volatile marker; clean-up at mount.
 */
#ifndef PLY_WORKDIR_H
#define PLY_WORKDIR_H

#include "layer.h"

#define PLY_TMP_MAX 32

struct ply_workdir {
	struct ply_layers *ls;
	int base_fd;			/* workdir= itself (flocked) */
	int fd;				/* work/work: temporaries; O_PATH|O_DIRECTORY usable for *at() */
	int index_fd;			/* work/index, -1 without index; a directory without such names until it is made */
	int upper_lock_fd;		/* flock on upper */
	int probe_fd;			/* O_RDWR, a nameless regular file of upper's filesystem, until ply_workdir_probed(); -1 */
	bool index;			/* index is in use */
	atomic_bool index_unmade;	/* there is no work/index yet: see ply_workdir_make_index() */
	pthread_mutex_t index_lock;	/* leaf: making it */
	/*
	 * ext4: work was put where few inodes are (workdir.c says why), which upper's root may not be. A directory
	 * for the root that is made here and moved there takes what will be made in it along.
	 */
	bool apart;
	bool sync;			/* make durable before publishing (fsync=auto|1|strict) */
	atomic_ulong counter;		/* temp names */
	pthread_mutex_t whiteout_lock;	/* leaf: the shared whiteout's link count and name */
	bool have_whiteout;
	_Atomic uint64_t whiteout_ino;	/* on upper's st_dev; 0: none, or no device */
	/*
	 * How a whiteout is written: the kernel's char 0/0, else the kernel's xattr form, else AUFS's
	 * .wh.NAME (at once where FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT is in the environment).
	 */
	enum ply_whiteout_form { PLY_WH_CHARDEV, PLY_WH_XATTR, PLY_WH_AUFS } whiteout_form;
	bool dirty;			/* opened: close() cleans up */
};

/*
 * Locks upper and work (flock; busy: -EBUSY with a line that says who to ask, after waiting a
 * few seconds for a daemon whose mount has just ended), makes
 * work/work, empties it (left by a crash) without following symlinks, probes ls->can.* by
 * doing it, sets the volatile marker (refuses a marker left behind as the kernel does), verifies
 * index entries (drops those whose union inode is gone: no name but the index, and overlay.nlink says
 * that no lower name is left). Where trusted.* cannot be set on upper, ls->xns and upper->xns become
 * PLY_XNS_USER. With xattr_permissions= the upper's root gets its override_stat. err: a line for people.
 */
int ply_workdir_open(struct ply_workdir *w, struct ply_layers *ls, const struct ply_options *opt,
		     char *err, size_t errlen);
/*
 * Before anything is put into the index: makes work/index if it is not there yet. Whoever looks for a name in index_fd, or
 * removes one, does not need it.
 */
int ply_workdir_make_index(struct ply_workdir *w);
/* Nothing more is tried on probe_fd. */
void ply_workdir_probed(struct ply_workdir *w);
/* Removes temporaries; the volatile marker stays. Harmless on a zeroed or failed one. */
/* For a read-only mount with an upper: only the index is used, and only where it is there already. */
void ply_workdir_open_readonly(struct ply_workdir *w, struct ply_layers *ls, const struct ply_options *opt);
void ply_workdir_close(struct ply_workdir *w);
/* A fresh name in w->fd. */
void ply_workdir_tmpname(struct ply_workdir *w, char out[PLY_TMP_MAX]);
/* Removes a temporary of any type, directories with all they hold (no symlink followed). Best effort. */
void ply_workdir_discard(struct ply_workdir *w, const char *tmp);
/* The lower inode that an index entry is of: its link count, or -errno where it cannot be opened. */
int ply_workdir_lower_nlink(struct ply_layers *ls, const struct ply_fh *fh);
/* The first half of it for a directory: what it holds. */
int ply_workdir_clear(struct ply_workdir *w, const char *tmp);
/* Removes everything inside directory fd (whiteouts of a dead merged directory). -ENOTEMPTY never. */
int ply_workdir_empty(int dirfd);

#endif
