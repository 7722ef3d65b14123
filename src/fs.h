/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fs: owns everything of one mount. Made before serving, freed after. */
#ifndef PLY_FS_H
#define PLY_FS_H

#include "counters.h"
#include "creds.h"
#include "inum.h"
#include "layer.h"
#include "node.h"
#include "options.h"
#include "workdir.h"

struct ply_backing_pool;	/* backing.h */
struct ply_dircaches;		/* dircache.h: LRU of all directory caches */

/*
 * What the core asks of the FUSE tier. Never called with a lock held (a notify can
 * wait for a request). Tests plug in their own. All may be NULL before the session serves.
 */
struct ply_upcalls {
	void *arg;
	/* Drop the kernel's cached attributes (off < 0) or also its pages / listing. */
	void (*inval_inode)(void *arg, uint64_t nodeid, int64_t off, int64_t len);
	/* Queued, told in order: the name is looked up again before its next use; "": the attributes of `parent`. */
	void (*inval_entry)(void *arg, uint64_t parent, const char *name);
	/* Register / release a backing file. >0 id, or -errno (backing.h). */
	int (*backing_open)(void *arg, int fd);
	void (*backing_close)(void *arg, int id);
};

struct ply_fs {
	const struct ply_options *opt;
	struct ply_layers layers;
	struct ply_workdir work;		/* only with layers.upper */
	struct ply_inum inum;
	pthread_rwlock_t tree;
	struct ply_graph *graph;
	struct ply_node *root;
	struct ply_dircaches *dircaches;
	struct ply_backing_pool *backing;
	struct ply_upcalls up;
	/* negotiated, set by fuse_session at INIT, constant afterwards */
	bool passthrough;			/* INIT granted it */
	unsigned int stack_depth;
	bool writeback;
	bool killpriv_v2;
	char passthrough_why[200];		/* why not */
	dev_t dev;				/* unused by replies: the kernel shows the mount's own */
	bool map_ids;				/* some idmap is not the identity */
};

/*
 * Opens layers and work directory as opt says, makes graph and root. err: one line
 * for people. opt must outlive it.
 */
int ply_fs_new(struct ply_fs **out, const struct ply_options *opt, char *err, size_t errlen);
void ply_fs_free(struct ply_fs *fs);

static inline bool ply_fs_writable(const struct ply_fs *fs)
{
	return fs->layers.upper && !fs->opt->ro;
}

/* A node reference that ends with its scope. */
struct ply_noderef {
	struct ply_fs *fs;
	struct ply_node *n;
};
void ply_noderef_release(struct ply_noderef *r);
#define ply_autonode(var, fsp, nodep)					\
	__attribute__((unused, cleanup(ply_noderef_release)))		\
	struct ply_noderef var = { (fsp), (nodep) }

#endif
