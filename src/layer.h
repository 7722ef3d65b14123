/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * layer: the ordered directories below the union. Immutable after ply_layers_open(),
 * but for the filesystem table, which grows under its own mutex.
 */
#ifndef PLY_LAYER_H
#define PLY_LAYER_H

#include "format.h"
#include "mountinfo.h"
#include "options.h"
#include "sys.h"
#include <pthread.h>
#include <stdatomic.h>

#define PLY_LAYER_UPPER 0	/* index of the upper; lowers are 1..n, also when there is no upper */
#define PLY_MAX_FS 1024

/* A filesystem (st_dev) that some layer object was seen on. */
struct ply_layerfs {
	dev_t dev;
	uint64_t magic;
	uint8_t uuid[16];		/* zero where the kernel does not tell, or the filesystem has none */
	bool knows_uuid;		/* the kernel tells it, or an overlayfs has noted it in upper */
	bool has_uuid;			/* no other entry has the same: an origin's uuid leads here (zero counts, as in the kernel) */
	bool has_handles;		/* name_to_handle_at works, and its handles outlive a remount (FUSE's do not) */
	bool can_open_handles;		/* open_by_handle_at works for us */
	/*
	 * Owned: a directory on it that open_by_handle_at(2) takes as its mount; below a lower's read-only clone
	 * where a lower is on it, so that what is opened is no more writable than that lower (of upper's
	 * own objects: open handles through upper->fd). -1 where there is none.
	 */
	int root_fd;
	bool root_fd_lower;		/* root_fd is below a lower */
	/* stack depth: what passthrough needs; known or probed by fuse_backing before serving */
	int depth;			/* 1, 2: needs max_stack_depth >= this; 0: unknown; -1: too deep; -errno < -1 otherwise */
};

enum ply_pt_verdict { PLY_PT_OK, PLY_PT_NO_CLONE, PLY_PT_TOO_DEEP, PLY_PT_PRIVILEGE, PLY_PT_KERNEL, PLY_PT_BY_OPTION };

struct ply_layer {
	unsigned int index;
	char *path;			/* as given: for messages */
	int fd;				/* O_PATH root; of lowers below a read-only clone where one could be made */
	bool ro_clone;
	bool is_upper, data_only;
	enum ply_xns xns;		/* where overlay.* attributes are read and written */
	bool has_xattrs;		/* the filesystem knows xattrs of that namespace */
	/*
	 * May hold .wh. names, so .wh.NAME and .wh..wh..opq are looked for. False only where that can be known without reading
	 * the whole layer: the bottom one (what its whiteouts hide is not there; listings
	 * still have to leave the names out), and an upper that was empty or never had one.
	 */
	bool aufs;
	enum ply_xattr_perm override;	/* override_stat found on its root, and which form */
	const char *override_name;	/* xattr that holds it, or NULL */
	/*
	 * uidmapping= and gidmapping=, of a lower that lies on an idmapped mount (podman makes those): its owners are
	 * as users see them already, and are turned back to what upper has for them. NULL otherwise.
	 */
	const struct ply_idmap *uids, *gids;
	unsigned int fs;		/* index into ply_layers.fs of its root */
	struct stat root_stat;
	enum ply_pt_verdict passthrough;
	char why[160];			/* the reason for a verdict that is not OK, for people */
};

struct ply_layers {
	struct ply_layer *upper;	/* &layer[0], or NULL */
	struct ply_layer *layer;	/* [0..n-1]; [0] is unused (fd -1) without upper */
	unsigned int n;			/* including slot 0 */
	unsigned int first_data;	/* index of the first data-only layer, n if none */
	bool in_init_userns;		/* this process was, when they were opened */
	enum ply_xns xns;		/* the mount's: user with userxattr or without CAP_SYS_ADMIN in the init namespace */
	/* what the upper can do, probed by doing it in the work directory */
	struct {
		bool chardev_whiteout;	/* mknod c 0 0 works */
		bool xattr;		/* overlay xattrs can be set */
		bool link;		/* hard links between directories: asked for the index */
		bool tmpfile;		/* O_TMPFILE + linkat */
		bool rename_whiteout, rename_exchange;
		bool dtype;
		bool reflink;
		bool ordered;		/* metadata: after a crash no change is there without those before it */
		bool clone_ordered;	/* and a clone's bytes are among them */
		bool acl;
	} can;
	struct ply_mountinfo mounts;	/* as they were found when the layers were opened; for who sets up the union */
	pthread_mutex_t fs_lock;
	struct ply_layerfs *fs;		/* [PLY_MAX_FS], of which nfs are valid */
	atomic_uint nfs;
};

/*
 * Opens and checks all layers as opt says: missing/unreadable layers, upper nested in or
 * equal to a lower or work, work and upper on one filesystem, the mount point inside a layer or a
 * layer inside the mount point's tree, order. One line for people in err. Pins every root, so that
 * the paths need not lead there any more afterwards. Lowers may overlap each other (a warning in the
 * log), and a mount point may be a lower's own root where that has a clone.
 * Does not touch the upper. The xattr namespace: trusted in the initial user namespace with CAP_SYS_ADMIN
 * unless userxattr; otherwise user. A lower written in the other namespace is detected per layer (its root or
 * existing marks) only as far as CONTRACTS demands (user.overlay.* of fuse-overlayfs, user.fuseoverlayfs.*).
 */
int ply_layers_open(struct ply_layers *ls, const struct ply_options *opt, char *err, size_t errlen);
void ply_layers_close(struct ply_layers *ls);
/* Index of dev in the table, added when new (probing uuid and handles through fd); PLY_MAX_FS - 1 at most. Thread safe. */
unsigned int ply_layers_fs(struct ply_layers *ls, dev_t dev, int fd);
/* While the union is set up, where the kernel does not tell it: the uuid of entry fs has been found in upper. */
void ply_layers_learn_uuid(struct ply_layers *ls, unsigned int fs, const uint8_t uuid[16]);

/* --- reading one object of a layer --- */
/* stat, with override_stat applied (owner, mode, type, rdev) where the layer has it. */
int ply_layer_stat(const struct ply_layer *l, struct ply_at at, struct stat *st);
/*
 * Overlay attribute of an object: length or -ENODATA; -ENODATA too where the filesystem has no xattrs, and
 * where user.* attributes are out of reach (a file that this process may not read).
 */
ssize_t ply_layer_getattr(const struct ply_layer *l, struct ply_at at, enum ply_ovl_attr a, char **val);
/* Is this stat a whiteout by its type (char 0/0)? */
bool ply_layer_is_whiteout_stat(const struct stat *st);
/*
 * Opaque mark of a directory in every form that CONTRACTS lists (xattr y, fuse-overlayfs's,
 * .wh..wh..opq): 'y', 'x' (holds xattr whiteouts) or 0; -errno. Given as (parent, name) it
 * also sees a .wh.NAME beside it: in an AUFS layer that hides the lower NAME and not this one.
 */
int ply_layer_opaque(const struct ply_layer *l, struct ply_at dir);

#endif
