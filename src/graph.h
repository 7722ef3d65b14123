/* SPDX-License-Identifier: GPL-2.0-or-later */
/* graph: what node.c, name.c and dirfd.c share; nobody else includes it. */
#ifndef PLY_GRAPH_H
#define PLY_GRAPH_H

#include "layer.h"
#include "lock.h"
#include "slab.h"
#include "util.h"

#define GRAPH_STRIPES 64

struct ply_node;
struct ply_name;
struct ply_dir;
struct ply_file;

/* Chained hash table; grows and shrinks by itself, a bucket at a time: nobody waits for the whole to be made anew. */
struct ply_htable {
	struct ply_hlink **bucket;
	size_t size, cap;		/* buckets, and what there is memory for */
	size_t mask;			/* the next power of two - 1, or size - 1 */
	size_t n;
	uint64_t (*hash)(const struct ply_hlink *l);
};

struct ply_graph {
	struct ply_layers *ls;
	int index_fd;
	_Atomic uint64_t index_seq;	/* indexed files that came up; also counted when their copy-up ends */
	void (*file_free)(void *arg, struct ply_file *file);
	void (*dc_free)(struct ply_node *dir);
	void *hook_arg;
	atomic_size_t freed, live;	/* nodes freed since memory was given back; nodes that were left at the last one */

	struct ply_slabs slabs;		/* nodes with their first names */

	pthread_mutex_t lock;		/* table lock: everything down to the blank line */
	struct ply_htable ids, names;
	struct ply_htable idents, owners;	/* identities by object, and by node */
	uint64_t next_id;
	uint64_t nlookup, bytes;
	_Atomic uint64_t names_seq;	/* written under it; ply_graph_names_seq() */

	struct {
		pthread_mutex_t lock;
		pthread_cond_t copyup;
	} stripe[GRAPH_STRIPES];

	/*
	 * Held for reading while what keeps an unlinked object is closed, for writing across an rmdir in upper: the
	 * kernel's rmdir turns round and round, on a processor, for as long as one of the directory's names is on its way out
	 * (shrink_dcache_parent), which takes until its blocks are free in the journal.
	 */
	pthread_rwlock_t burials;

	pthread_mutex_t fds_lock;
	struct ply_list lru;		/* fds that nobody uses now, latest first */
	unsigned int nfds, max_fds;
};

/* Bytes of a struct ply_name before its text, without the padding that sizeof has. */
#define PLY_NAME_HEAD offsetof(struct ply_name, name)

/* The pointer to its node stands before a name that is not embedded. */
struct ply_name_own {
	struct ply_node *node;
	uint64_t name[];
};
struct ply_node *ply_graph_name_node(const struct ply_name *nm);

/* An identity of a node; in two tables, so that all of a node's can be found. */
struct ply_ident {
	struct ply_hlink by_object, by_node;
	struct ply_node *node;
	uint64_t ino;
	unsigned int fs;
};

/* All with the table lock held, but for the last two. */
void ply_htable_add(struct ply_htable *t, struct ply_hlink *l);
void ply_htable_del(struct ply_htable *t, struct ply_hlink *l);
/* Something will be added soon: what that will have to touch is fetched meanwhile. */
void ply_htable_expect(const struct ply_htable *t);
/* node NULL: whoever has the name. */
struct ply_name *ply_graph_find_name(const struct ply_graph *g, const struct ply_node *parent,
				     const char *name, const struct ply_node *node);
struct ply_ident *ply_graph_find_ident(const struct ply_graph *g, unsigned int fs, uint64_t ino);
/* A name is about to be found no more, or otherwise: before the table lock is released. */
static inline void ply_graph_names_changed(struct ply_graph *g)
{
	atomic_store_explicit(&g->names_seq, atomic_load_explicit(&g->names_seq, memory_order_relaxed) + 1, memory_order_relaxed);
}
/* Takes a name out of its node's list and the table; its parent's reference goes to the caller. */
void ply_graph_detach_name(struct ply_graph *g, struct ply_name *nm);
void ply_graph_free_name(struct ply_graph *g, struct ply_name *nm);
/* All identities of a node go to *list. */
void ply_graph_drop_idents(struct ply_graph *g, struct ply_node *n, struct ply_hlink **list);
/* Drops a reference; a node that dies goes onto *dead, for ply_graph_unlock(). */
void ply_graph_unref(struct ply_graph *g, struct ply_node *n, struct ply_hlink **dead);
/* Releases the table lock, then frees what died and whatever that alone kept. */
void ply_graph_unlock(struct ply_graph *g, struct ply_hlink *dead);
void ply_graph_free_idents(struct ply_hlink *list);

/* dirfd.c: closes what the directory has open; its node is gone from all tables. */
void ply_graph_close_dir(struct ply_graph *g, struct ply_dir *dir);

#endif
