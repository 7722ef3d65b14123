/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * node: a union inode: its numbers, names, places, references. The graph is the table
 * of all of them. A name that has a live node is authoritative: upper belongs to this
 * daemon alone and lowers do not change, so lookup answers from here without asking the layers
 * (but for attributes).
 */
#ifndef PLY_NODE_H
#define PLY_NODE_H

#include "layer.h"
#include "lock.h"
#include "util.h"
#include <stdatomic.h>

struct ply_node;
struct ply_dircache;
struct ply_dircaches;
struct ply_file;		/* io mode of a regular file; owned by backing */

#define PLY_ROOT_ID 1

/* --- directory file descriptors --- */

struct ply_dirfd {		/* an O_PATH fd of one directory of one layer, in the LRU */
	struct ply_list lru;
	unsigned int refs;	/* fds lock */
	int fd;
	bool pinned;		/* never evicted: its path leads there no more (removed directory), or it is borrowed */
	bool borrowed;		/* the layer's own fd of its root: not closed, not counted */
	bool unread;		/* opened for reading, and not read so far: ply_dirfd_open_read() gives it away */
	struct ply_ldir *owner;	/* NULL once detached */
};

enum { PLY_AUFS_UNKNOWN, PLY_AUFS_NONE, PLY_AUFS_SOME };

/* One layer's directory that contributes to a union directory. */
struct ply_ldir {
	uint16_t layer;			/* index into ply_layers.layer */
	uint8_t xwhite;			/* directory holds xattr whiteouts (opaque=x) */
	_Atomic uint8_t aufs;		/* .wh. names in it: PLY_AUFS_... */
	/*
	 * Where it is in its layer: NULL = the parent node's ldir of the same layer + this
	 * node's name; else a path from the layer's root ("" = the root itself). Changes only under tree held for writing.
	 */
	char *path;
	struct ply_dirfd *dirfd;	/* fds lock; NULL: not open now */
};

/* What only directories have. */
struct ply_dir {
	pthread_rwlock_t lock;
	_Atomic(struct ply_ldir *) upper;	/* NULL: not in upper (yet); set once, by its copy-up */
	_Atomic(struct ply_dircache *) cache;	/* dircache's mutex */
	struct ply_dircaches *caches;		/* where it is counted */
	atomic_uint lookups;			/* since the cache was last dropped: when does it pay */
	atomic_uint build_at;			/* ... not before that many */
	atomic_bool removed;			/* rmdir'ed or replaced: nothing can be made in it (-ENOENT) */
	atomic_bool lost_name;			/* a name went since the node was made (readdir.h) */
	atomic_bool impure;			/* upper directory is known to carry overlay.impure */
	uint16_t nlower;
	struct ply_ldir lower[];		/* in order, topmost first; the set never changes */
};

/* --- names --- */

/* Of a cached file this and struct ply_node are all that there is: every byte counts. */
struct ply_name {
	struct ply_hlink link;		/* table lock, and all below */
	struct ply_name *next;		/* the node's other names */
	/* Holds a reference on it. NULL: this is not a name but the node's entry in work/index. */
	struct ply_node *parent;
	bool dead : 1;			/* gone from the union; kept because a lower object is reached by it */
	bool embedded : 1;		/* lives in the node's own memory, right behind it; else it knows its node: graph.h */
	bool elsewhere : 1;		/* found in another lower than node->layer: does not lead there */
	char name[];
};

/* Where the data of a metacopy file is: a lower layer and a path from its root. */
struct ply_dataref {
	uint64_t blocks;		/* node lock, once a node's: its st_blocks + 1; 0: not asked so far */
	uint16_t layer;
	char path[];
};

/* --- nodes --- */

enum {
	PLY_N_STALE = 1,		/* handed off: `successor` is the file now */
	PLY_N_UNLINKED = 2,		/* no name is left */
	PLY_N_INDEXED = 4,		/* has an entry in work/index; union nlink is in overlay.nlink */
	PLY_N_METACOPY = 8,		/* metadata in `layer`, data at `data` */
	PLY_N_HARDLINK = 16,		/* is in the identity table */
	PLY_N_COPYUP = 32,		/* ply_node_copyup_lock is held */
};

struct ply_node {
	struct ply_hlink link;
	uint64_t id;			/* FUSE nodeid; never reused */
	uint64_t ino;			/* st_ino */
	struct ply_name *names;		/* table lock; newest first */
	uint64_t nlookup;		/* table lock */
	uint32_t refs;			/* table lock: operations, children's names, handles, successor */
	int pin_fd;			/* node lock: O_PATH (or better) fd of an upper object that has no name any more; -1 */
	uint16_t type;			/* S_IFMT bits; never changes */
	/*
	 * Node lock; the copy-up lock for writing. Non-directories: the layer whose object
	 * has the metadata. PLY_LAYER_UPPER after copy-up. For directories: see dir.
	 */
	_Atomic uint16_t layer;
	_Atomic uint16_t flags;		/* node lock for writing */
	uint16_t room;			/* table lock: bytes behind the node that its first name may take */
	union {				/* node lock */
		struct ply_dataref *data;	/* only with PLY_N_METACOPY */
		struct ply_node *successor;	/* with PLY_N_STALE; holds a reference */
	};
	union {
		struct ply_dir *dir;		/* directories */
		_Atomic(struct ply_file *) file;/* regular files, made at first open; freed with the node */
	};
};

struct ply_graph;

/* Hook by which backing frees what it keeps on a node. Set once before serving. */
typedef void (*ply_file_free_fn)(void *arg, struct ply_file *file);
typedef void (*ply_dircache_free_fn)(struct ply_node *dir);

int ply_graph_new(struct ply_graph **out, struct ply_layers *ls, unsigned int max_dirfds);
/* A NULL hook leaves the one that is there; arg goes to file_free. */
void ply_graph_set_hooks(struct ply_graph *g, ply_file_free_fn file_free, ply_dircache_free_fn dc_free, void *arg);
/* Where entries of ply_node_set_index() are; borrowed. */
void ply_graph_set_index_dir(struct ply_graph *g, int index_fd);
void ply_graph_free(struct ply_graph *g);

/* --- making and finding; all take the table lock inside --- */

/*
 * A new node with one operation reference. For directories `nlower` ldirs are
 * copied from `lower` (their ->path is taken over) and `has_upper` makes the upper ldir
 * (path NULL = by name; "" for the root). ino 0 is refused. -ENOMEM.
 */
int ply_node_new(struct ply_graph *g, mode_t type, uint64_t ino, uint16_t layer,
		 const struct ply_ldir *lower, unsigned int nlower, bool has_upper,
		 struct ply_node **out);
/* The same, with room for the name that it will get: saves an allocation. */
int ply_node_new_named(struct ply_graph *g, mode_t type, uint64_t ino, uint16_t layer,
		       const struct ply_ldir *lower, unsigned int nlower, bool has_upper,
		       const char *name, struct ply_node **out);
/* The root: id PLY_ROOT_ID, ino 1, never freed. */
int ply_node_new_root(struct ply_graph *g, const struct ply_ldir *lower, unsigned int nlower, bool has_upper,
		      struct ply_node **out);

/* nodeid -> node with a reference, NULL when unknown (hostile or late request: ESTALE). */
struct ply_node *ply_node_get(struct ply_graph *g, uint64_t id);
struct ply_node *ply_node_ref(struct ply_graph *g, struct ply_node *n);
/* May free it, and then its parents' chain (iteratively). Never under a lock. */
void ply_node_put(struct ply_graph *g, struct ply_node *n);

/* The live node at (parent, name), with a reference, or NULL. */
struct ply_node *ply_name_find(struct ply_graph *g, struct ply_node *parent, const char *name);
/*
 * Is (parent, name) a live node that the kernel has? Then its number and type. What it caches for ever
 * need not be told again.
 */
bool ply_name_known(struct ply_graph *g, struct ply_node *parent, const char *name, uint64_t *ino, mode_t *type);
/*
 * Gives node the name (parent, name). When another live node has it already, that one
 * is returned in *have with a reference and -EEXIST. Directories have exactly one name.
 */
int ply_name_add(struct ply_graph *g, struct ply_node *parent, const char *name,
		 struct ply_node *node, struct ply_node **have);
/* The same for a name that was found in another lower layer than the one that node->layer tells. */
int ply_name_add_elsewhere(struct ply_graph *g, struct ply_node *parent, const char *name,
			   struct ply_node *node, struct ply_node **have);
/*
 * Takes the name away (unlink, rmdir). `keep_dead`: it stays as the way to the
 * node's lower object. Sets PLY_N_UNLINKED when it was the last. No-op when the name is not the node's.
 */
void ply_name_remove(struct ply_graph *g, struct ply_node *parent, const char *name,
		     struct ply_node *node, bool keep_dead);
/*
 * rename: node's name (op, on) becomes (np, nn). Cannot fail: `prepared` comes from
 * ply_name_prepare(). A target's name must have been removed before. Caller holds tree for writing.
 */
struct ply_name *ply_name_prepare(const char *name);
/* One that was prepared and is not wanted. */
void ply_name_discard(struct ply_name *prepared);
void ply_name_move(struct ply_graph *g, struct ply_node *op, const char *on,
		   struct ply_node *np, struct ply_name *prepared, struct ply_node *node);
/*
 * RENAME_EXCHANGE: a's name (ad, an) and b's name (bd, bn) change owners; names prepared beforehand: for_a = bn,
 * for_b = an (consumed). Neither node counts as unlinked in between. Caller holds tree for writing.
 */
void ply_name_exchange(struct ply_graph *g, struct ply_node *ad, const char *an, struct ply_node *a, struct ply_name *for_b,
		       struct ply_node *bd, const char *bn, struct ply_node *b, struct ply_name *for_a);
/* RENAME_EXCHANGE in one step: a at (ap, an) and b at (bp, bn) change places. Cannot fail; takes both prepared names. */
void ply_name_exchange(struct ply_graph *g,
		       struct ply_node *ap, const char *an, struct ply_node *a, struct ply_name *prepared_an,
		       struct ply_node *bp, const char *bn, struct ply_node *b, struct ply_name *prepared_bn);
/* Some live name: parent with a reference and the name copied. -ENOENT when unlinked. */
int ply_name_any(struct ply_graph *g, struct ply_node *node, struct ply_node **parent, char name[256]);
/* The i-th live name, for walks over all of them (which others may change meanwhile). -ENOENT behind the last. */
int ply_name_at(struct ply_graph *g, struct ply_node *node, unsigned int i, struct ply_node **parent, char name[256]);

/* Identity of hard-linked objects: (filesystem index, inode number) of a layer object. */
struct ply_node *ply_ident_find(struct ply_graph *g, unsigned int fs, uint64_t ino);
/* -EEXIST with *have when another node has it. A node may have several identities (lower's and upper's). */
int ply_ident_add(struct ply_graph *g, unsigned int fs, uint64_t ino, struct ply_node *node, struct ply_node **have);
/* All of the node's: its last name went, or it was handed off (then they move to the successor). */
void ply_ident_drop(struct ply_graph *g, struct ply_node *node);

/*
 * An indexed file (PLY_N_INDEXED) is reached by its entry in work/index, because it may have names that
 * exist in lower only. `hex` is the entry's name. Sets the flag. 0 when it has one already. -ENOMEM.
 */
int ply_node_set_index(struct ply_graph *g, struct ply_node *n, const char *hex);
/* Changes when the copy-up of an indexed file ends: did an alias come up since I looked? */
uint64_t ply_graph_index_seq(struct ply_graph *g);
/*
 * Changes with each name that comes, goes, or leads to another node. Taken before a ply_name_find(), and the same under a lock
 * that keeps names: what was found is still so.
 */
uint64_t ply_graph_names_seq(struct ply_graph *g);

/* Lookup counts: entry replies count up, FORGET down. */
void ply_node_lookup_inc(struct ply_graph *g, struct ply_node *n);
void ply_node_forget(struct ply_graph *g, uint64_t id, uint64_t nlookup);

/*
 * Hand-off (backing.h): a new node takes over all names, identities, ino, place and
 * flags of `old`; old becomes PLY_N_STALE with successor. Caller holds old's copy-up lock and tree for writing.
 * *out has a reference. Idempotent: an already stale node gives its successor.
 */
int ply_node_handoff(struct ply_graph *g, struct ply_node *old, struct ply_node **out);
/* Follows successors to the file that is current; reference on the result (n itself too). */
struct ply_node *ply_node_current(struct ply_graph *g, struct ply_node *n);

/* --- locks --- */
void ply_node_lock(struct ply_graph *g, struct ply_node *n);		/* leaf, striped */
void ply_node_unlock(struct ply_graph *g, struct ply_node *n);
/* One copy-up at a time per node; others wait. Not striped: hash of waiters inside. */
int ply_node_copyup_lock(struct ply_graph *g, struct ply_node *n);
void ply_node_copyup_unlock(struct ply_graph *g, struct ply_node *n);

/* --- reaching objects; the caller holds tree for reading (or writing) --- */

/*
 * fd of a directory's ldir, opened when it is not, by way of its parents
 * (iteratively; any depth). Put it back with ply_dirfd_put(). -ENOENT when the layer lost it.
 */
int ply_dirfd_get(struct ply_graph *g, struct ply_node *dir, struct ply_ldir *ld, struct ply_dirfd **out);
void ply_dirfd_put(struct ply_graph *g, struct ply_dirfd *d);
/* An fd of the same directory, to be read, with a position of its own; the caller closes it. Leaves nothing more open. */
int ply_dirfd_open_read(struct ply_graph *g, struct ply_node *dir, struct ply_ldir *ld);
/* Such a one, of any directory but the root, as what ply_dirfd_get() gives from now on. Takes fd over. unread: nobody has read it. */
void ply_dirfd_keep(struct ply_graph *g, struct ply_ldir *ld, int fd, bool unread);
/* So many at once may be opened to be kept. */
unsigned int ply_dirfd_room(const struct ply_graph *g);
/* For ply_sys_set_give_fds(): closes half of the directories that are open for nobody. */
bool ply_dirfd_give_back(void *graph);
/* Before a directory loses its name: its open (or now opened) upper fd stays reachable. */
int ply_dirfd_pin(struct ply_graph *g, struct ply_node *dir);
/* The directory's upper ldir, NULL when it has none. */
static inline struct ply_ldir *ply_dir_upper(struct ply_node *dir)
{
	return atomic_load_explicit(&dir->dir->upper, memory_order_acquire);
}
/* Copy-up of a directory is published: gives it the upper ldir (by name). -ENOMEM. */
int ply_dir_set_upper(struct ply_graph *g, struct ply_node *dir);
/* The ldir of the given layer, NULL if it does not contribute. */
struct ply_ldir *ply_dir_layer(struct ply_node *dir, unsigned int layer);
/* Topmost ldir: upper or lower[0]. */
struct ply_ldir *ply_dir_top(struct ply_node *dir);
/* Path of an ldir from its layer's root, appended to buf ("" for the root). For redirects, freezing, datarefs. */
int ply_dir_path(struct ply_graph *g, struct ply_node *dir, struct ply_ldir *ld, struct ply_buf *buf);
/* Freezes the lower ldirs' paths, before the directory moves. Caller holds tree for writing. */
int ply_dir_freeze(struct ply_graph *g, struct ply_node *dir);

/*
 * Around the steps of a copy-up that change a directory's times and put them back, under its
 * lock. A stat of a directory is good if none was going on and the sequence did not change meanwhile.
 */
void ply_dir_restore_begin(void);
void ply_dir_restore_end(void);
bool ply_dir_restoring(void);
uint64_t ply_dir_restore_seq(void);

/* A located object: use `at` while loc lives; release with ply_loc_release(). */
struct ply_loc {
	struct ply_at at;
	struct ply_layer *layer;
	struct ply_graph *g;
	struct ply_dirfd *dirfd;
	int own_fd;			/* dup of a pin, or -1 */
	char name[256];
};
/*
 * Where the node's metadata object is now: a name below a directory fd, the pinned
 * fd of one without a name, a dead name for lower objects, for directories their top ldir's fd itself. -ENOENT / -ESTALE.
 */
int ply_node_locate(struct ply_graph *g, struct ply_node *n, struct ply_loc *loc);
/* The same for the data (follows metacopy). */
int ply_node_locate_data(struct ply_graph *g, struct ply_node *n, struct ply_loc *loc);
/* st_blocks of a metacopy file's data, which lower keeps as they are: asked once. Errors as above. */
int ply_node_data_blocks(struct ply_graph *g, struct ply_node *n, blkcnt_t *out);
void ply_loc_release(struct ply_loc *loc);
#define ply_autoloc __attribute__((cleanup(ply_loc_release))) struct ply_loc
#define PLY_LOC_INIT { .own_fd = -1 }
/* Pins the upper object of a node that is about to lose its last name (opens O_PATH). Idempotent. */
int ply_node_pin(struct ply_graph *g, struct ply_node *n, struct ply_at at);
/* rmdir in upper, while no unlinked file is closed for the last time (graph.h: burials). */
int ply_node_rmdir(struct ply_graph *g, struct ply_at at);

/* --- for plyctl --- */
struct ply_graph_stats {
	uint64_t nodes, names, identities, lookups, bytes, dirfds;
};
void ply_graph_stats(struct ply_graph *g, struct ply_graph_stats *out);

#endif
