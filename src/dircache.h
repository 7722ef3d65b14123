/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dircache: the merged names of one union directory: name -> (layer, type, inode number),
 * ordered by a keyed 63-bit hash of the name. The hash is also the readdir cookie: a listing stays valid
 * while names come and go and when the cache is dropped and built again.
 *
 * In chunks, found by how far along a hash is (a few cache misses, in a directory of any size); bounded over all
 * directories: the least recently used idle one is dropped past the limit. One that is larger than that alone stays
 * while it is being listed.
 */
#ifndef PLY_DIRCACHE_H
#define PLY_DIRCACHE_H

#include "fs.h"

struct ply_dircache_entry {
	uint64_t cookie;	/* > 0; off of the dirent is this */
	uint64_t ino;		/* st_ino if it is certain (lower or upper without origin); 0: must be looked up */
	uint16_t layer;		/* topmost layer that has the name */
	uint16_t end;		/* no layer from here on has it; 0: not known */
	uint8_t type;		/* DT_*; never DT_UNKNOWN */
	const char *name;
};

/* What all caches together may take; the graph's hook for dying directories is set here. */
#define PLY_DIRCACHE_LIMIT (64u << 20)
int ply_dircaches_new(struct ply_fs *fs, size_t limit);
void ply_dircaches_limit(struct ply_fs *fs, size_t limit);
void ply_dircaches_free(struct ply_fs *fs);	/* after the graph */
/* Gives back caches that were not used since the call before; building calls it about once a minute. */
void ply_dircaches_trim(struct ply_fs *fs);
struct ply_dircache_stats { uint64_t caches, entries, bytes; };
void ply_dircaches_stats(struct ply_fs *fs, struct ply_dircache_stats *out);

/*
 * Makes sure dir has its cache (reads every contributing layer, top first; hides what
 * whiteouts, .wh. and private names hide). Caller holds tree for reading and dir->lock for writing. *out is
 * pinned against dropping until ply_dircache_put().
 */
int ply_dircache_build(struct ply_fs *fs, struct ply_node *dir, struct ply_dircache **out);
/* The same for lookups that will follow, or -EFBIG: more than `most` bytes would be read (dcbuild.h). */
int ply_dircache_build_within(struct ply_fs *fs, struct ply_node *dir, uint64_t most, struct ply_dircache **out);
/* The cache if there is one, pinned; NULL otherwise. Caller holds dir->lock (reading is enough). */
struct ply_dircache *ply_dircache_get(struct ply_fs *fs, struct ply_node *dir);
void ply_dircache_put(struct ply_fs *fs, struct ply_dircache *dc);
/* Drops dir's cache unless somebody uses it: after a listing that will not come back soon. */
void ply_dircache_drop(struct ply_fs *fs, struct ply_node *dir);
/* 0 and *out (name points into the cache: valid under dir->lock), or -ENOENT. */
int ply_dircache_find(struct ply_dircache *dc, const char *name, struct ply_dircache_entry *out);
/* The first entries with a cookie > after, at most max; how many there were. Names as above. */
unsigned int ply_dircache_next(struct ply_dircache *dc, uint64_t after, struct ply_dircache_entry *out, unsigned int max);
/*
 * Names change: called under dir->lock held for writing (or tree for writing), after the
 * layers changed; no-ops without a cache. A failed insertion (memory) drops the cache instead.
 * remove also sets dir->lost_name.
 */
void ply_dircache_added(struct ply_fs *fs, struct ply_node *dir, const char *name, uint8_t type);
void ply_dircache_removed(struct ply_fs *fs, struct ply_node *dir, const char *name);
/* name is now in upper (copied up): its layer changes, the cookie stays; ino stays. */
void ply_dircache_upped(struct ply_fs *fs, struct ply_node *dir, const char *name);
/* Is there any name at all: for rmdir. Builds. 0 empty, -ENOTEMPTY, -errno. Locks as build. */
int ply_dircache_is_empty(struct ply_fs *fs, struct ply_node *dir);

#endif
