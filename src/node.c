// SPDX-License-Identifier: GPL-2.0-or-later
/* node: the graph: tables, lifetimes and references of nodes. */
#include "graph.h"
#include "hash.h"
#include "log.h"
#include "node.h"

#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#define TABLE_MIN 256
#define TRIM_MIN 4096

#define const_of(ptr, type, member) \
	((const type *)(const void *)((const char *)(ptr) - offsetof(type, member)))

/* ---- hash tables ---- */

/*
 * Numbers are given in order, and who is looked up after another is used after it: 64 in a row share the cache lines of their
 * buckets. Which lines depends on the secret, so that nobody can hold just those inodes that meet in one bucket.
 */
static inline uint64_t hash_id(uint64_t id)
{
	return ply_hash2(id / 64, 0) ^ id % 64;
}

static uint64_t hash_node(const struct ply_hlink *l)
{
	const struct ply_node *n = const_of(l, struct ply_node, link);

	return hash_id(n->id);
}

static uint64_t hash_key_name(const struct ply_node *parent, const char *name, size_t len)
{
	return ply_hash(name, len, parent->id);
}

static uint64_t hash_name(const struct ply_hlink *l)
{
	const struct ply_name *nm = const_of(l, struct ply_name, link);

	return hash_key_name(nm->parent, nm->name, strlen(nm->name));
}

static uint64_t hash_object(const struct ply_hlink *l)
{
	const struct ply_ident *i = const_of(l, struct ply_ident, by_object);

	return ply_hash2(i->ino, i->fs);
}

static uint64_t hash_owner(const struct ply_hlink *l)
{
	const struct ply_ident *i = const_of(l, struct ply_ident, by_node);

	return ply_hash2(i->node->id, 1);
}

static int table_init(struct ply_htable *t, uint64_t (*hash)(const struct ply_hlink *))
{
	t->hash = hash;
	t->size = t->cap = TABLE_MIN;
	t->mask = TABLE_MIN - 1;
	t->bucket = calloc(TABLE_MIN, sizeof(*t->bucket));
	return t->bucket ? 0 : -ENOMEM;
}

/* Linear hashing: buckets up to the size are split already, the others not so far. */
static inline struct ply_hlink **table_head(const struct ply_htable *t, uint64_t hash)
{
	size_t i = hash & t->mask;

	return &t->bucket[i < t->size ? i : i & t->mask >> 1];
}

static bool table_reserve(struct ply_htable *t, size_t cap)
{
	struct ply_hlink **bucket = realloc(t->bucket, cap * sizeof(*bucket));

	if (!bucket)
		return false;
	t->bucket = bucket;
	t->cap = cap;
	return true;
}

/* What is in a chain goes to where it belongs now. */
static void table_place(struct ply_htable *t, struct ply_hlink *l)
{
	while (l) {
		struct ply_hlink *next = l->next;
		struct ply_hlink **head = table_head(t, t->hash(l));

		l->next = *head;
		*head = l;
		l = next;
	}
}

/* One bucket more. Without memory the table stays as it is: longer chains, still right. */
static void table_split(struct ply_htable *t)
{
	struct ply_hlink **from, *chain;

	if (t->size == t->cap && !table_reserve(t, 2 * t->cap))
		return;
	if (t->size > t->mask)
		t->mask = 2 * t->mask + 1;
	from = &t->bucket[t->size & t->mask >> 1];
	chain = *from;
	*from = NULL;
	t->bucket[t->size++] = NULL;
	table_place(t, chain);
}

static void table_join(struct ply_htable *t)
{
	struct ply_hlink *chain = t->bucket[--t->size];

	if (t->size == (t->mask >> 1) + 1)
		t->mask >>= 1;
	table_place(t, chain);
	/* It may move, and need not. */
	if (t->cap > TABLE_MIN && t->size <= t->cap / 4)
		(void)table_reserve(t, t->cap / 2);
}

static bool table_is_full(const struct ply_htable *t)
{
	return t->n >= t->size;
}

/* The chain that is split next: that of the bucket beside the last one. */
static const struct ply_hlink *table_next_chain(const struct ply_htable *t)
{
	return table_is_full(t) ? t->bucket[t->size & (t->size > t->mask ? t->mask : t->mask >> 1)] : NULL;
}

/* Its link, and what its hash is made of, which may be in the next cache line. */
static void fetch_link(const struct ply_hlink *l)
{
	__builtin_prefetch(l);
	__builtin_prefetch((const char *)l + PLY_NAME_HEAD + 16);
}

void ply_htable_expect(const struct ply_htable *t)
{
	const struct ply_hlink *l = table_next_chain(t);

	if (l)
		fetch_link(l);
}

/* The next one in that chain, when the first is there. */
static void table_expect_more(const struct ply_htable *t)
{
	const struct ply_hlink *l = table_next_chain(t);

	if (l && l->next)
		fetch_link(l->next);
}

void ply_htable_add(struct ply_htable *t, struct ply_hlink *l)
{
	struct ply_hlink **head;

	if (table_is_full(t))
		table_split(t);
	head = table_head(t, t->hash(l));
	l->next = *head;
	*head = l;
	t->n++;
}

void ply_htable_del(struct ply_htable *t, struct ply_hlink *l)
{
	struct ply_hlink **p = table_head(t, t->hash(l));

	for (; *p; p = &(*p)->next)
		if (*p == l) {
			*p = l->next;
			t->n--;
			break;
		}
	for (int i = 0; i < 2 && t->size > TABLE_MIN && t->n < t->size / 2; i++)
		table_join(t);
}

static struct ply_node *find_id(const struct ply_graph *g, uint64_t id)
{
	struct ply_hlink *l = *table_head(&g->ids, hash_id(id));

	for (; l; l = l->next) {
		struct ply_node *n = ply_container_of(l, struct ply_node, link);

		if (n->id == id)
			return n;
	}
	return NULL;
}

struct ply_node *ply_graph_name_node(const struct ply_name *nm)
{
	const char *at = (const char *)nm;

	if (nm->embedded)
		return (struct ply_node *)(uintptr_t)(at - sizeof(struct ply_node));
	return ((const struct ply_name_own *)(const void *)(at - offsetof(struct ply_name_own, name)))->node;
}

/* node NULL: whoever has the name. */
struct ply_name *ply_graph_find_name(const struct ply_graph *g, const struct ply_node *parent,
				  const char *name, const struct ply_node *node)
{
	struct ply_hlink *l = *table_head(&g->names, hash_key_name(parent, name, strlen(name)));

	for (; l; l = l->next) {
		struct ply_name *nm = ply_container_of(l, struct ply_name, link);

		if (nm->parent == parent && (!node || ply_graph_name_node(nm) == node) && !strcmp(nm->name, name))
			return nm;
	}
	return NULL;
}

struct ply_ident *ply_graph_find_ident(const struct ply_graph *g, unsigned int fs, uint64_t ino)
{
	struct ply_hlink *l = *table_head(&g->idents, ply_hash2(ino, fs));

	for (; l; l = l->next) {
		struct ply_ident *i = ply_container_of(l, struct ply_ident, by_object);

		if (i->fs == fs && i->ino == ino)
			return i;
	}
	return NULL;
}

/* ---- the graph ---- */

int ply_graph_new(struct ply_graph **out, struct ply_layers *ls, unsigned int max_dirfds)
{
	struct ply_graph *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->ls = ls;
	g->index_fd = -1;
	g->next_id = PLY_ROOT_ID + 1;
	g->max_fds = max_dirfds;
	ply_list_init(&g->lru);
	ply_slabs_init(&g->slabs);
	pthread_mutex_init(&g->lock, NULL);
	pthread_mutex_init(&g->fds_lock, NULL);
	ply_rwlock_init(&g->burials);
	for (int i = 0; i < GRAPH_STRIPES; i++) {
		pthread_mutex_init(&g->stripe[i].lock, NULL);
		pthread_cond_init(&g->stripe[i].copyup, NULL);
	}
	if (table_init(&g->ids, hash_node) || table_init(&g->names, hash_name) ||
	    table_init(&g->idents, hash_object) || table_init(&g->owners, hash_owner)) {
		ply_graph_free(g);
		return -ENOMEM;
	}
	*out = g;
	return 0;
}

void ply_graph_set_hooks(struct ply_graph *g, ply_file_free_fn file_free, ply_dircache_free_fn dc_free, void *arg)
{
	if (file_free) {
		g->file_free = file_free;
		g->hook_arg = arg;
	}
	if (dc_free)
		g->dc_free = dc_free;
}

void ply_graph_set_index_dir(struct ply_graph *g, int index_fd)
{
	g->index_fd = index_fd;
}

/* What keeps an unlinked file or directory is closed: it goes, on disk as well. */
static void node_bury(struct ply_graph *g, struct ply_node *n)
{
	struct ply_dir *d = S_ISDIR(n->type) ? n->dir : NULL;
	struct ply_file *f = S_ISREG(n->type) ? atomic_load(&n->file) : NULL;
	bool unlinked = n->pin_fd >= 0 || (d && atomic_load(&d->removed));

	if (unlinked)
		pthread_rwlock_rdlock(&g->burials);
	if (n->pin_fd >= 0)
		close(n->pin_fd);
	if (d)
		ply_graph_close_dir(g, d);
	if (f && g->file_free)
		g->file_free(g->hook_arg, f);
	if (unlinked)
		pthread_rwlock_unlock(&g->burials);
}

int ply_node_rmdir(struct ply_graph *g, struct ply_at at)
{
	PLY_WRLOCK(burials, &g->burials);
	return ply_sys_rmdir(at);
}

/* The node is in no table any more and nobody has it. Frees no other node. */
static void node_destroy(struct ply_graph *g, struct ply_node *n)
{
	bool stale = atomic_load(&n->flags) & PLY_N_STALE;

	node_bury(g, n);
	if (!stale)
		free(n->data);
	if (S_ISDIR(n->type) && n->dir) {
		struct ply_dir *d = n->dir;
		struct ply_ldir *up = atomic_load(&d->upper);

		if (atomic_load(&d->cache) && g->dc_free)
			g->dc_free(n);
		for (unsigned int i = 0; i < d->nlower; i++)
			free(d->lower[i].path);
		if (up) {
			free(up->path);
			free(up);
		}
		pthread_rwlock_destroy(&d->lock);
		free(d);
	}
	ply_slab_free(&g->slabs, n, sizeof(*n) + n->room);
}

static void graph_free_all(struct ply_graph *g)
{
	for (size_t i = 0; i < g->ids.size; i++)
		for (struct ply_hlink *l = g->ids.bucket[i]; l; l = l->next) {
			struct ply_node *n = ply_container_of(l, struct ply_node, link);

			while (n->names) {
				struct ply_name *nm = n->names;

				n->names = nm->next;
				if (!nm->embedded)
					ply_name_discard(nm);
			}
		}
	for (size_t i = 0; i < g->ids.size; i++)
		while (g->ids.bucket[i]) {
			struct ply_hlink *l = g->ids.bucket[i];

			g->ids.bucket[i] = l->next;
			node_destroy(g, ply_container_of(l, struct ply_node, link));
		}
	if (!g->idents.bucket)
		return;
	for (size_t i = 0; i < g->idents.size; i++)
		while (g->idents.bucket[i]) {
			struct ply_hlink *l = g->idents.bucket[i];

			g->idents.bucket[i] = l->next;
			free(ply_container_of(l, struct ply_ident, by_object));
		}
}

void ply_graph_free(struct ply_graph *g)
{
	if (!g)
		return;
	if (g->ids.bucket)
		graph_free_all(g);
	free(g->ids.bucket);
	free(g->names.bucket);
	free(g->idents.bucket);
	free(g->owners.bucket);
	ply_slabs_end(&g->slabs);
	for (int i = 0; i < GRAPH_STRIPES; i++) {
		pthread_mutex_destroy(&g->stripe[i].lock);
		pthread_cond_destroy(&g->stripe[i].copyup);
	}
	pthread_mutex_destroy(&g->fds_lock);
	pthread_rwlock_destroy(&g->burials);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/* ---- making ---- */

/* Takes the paths over on success only. */
static int dir_new(const struct ply_ldir *lower, unsigned int nlower, bool has_upper, bool root,
		   struct ply_dir **out)
{
	struct ply_dir *d = calloc(1, sizeof(*d) + nlower * sizeof(d->lower[0]));
	struct ply_ldir *up = NULL;

	if (!d)
		return -ENOMEM;
	if (has_upper) {
		up = calloc(1, sizeof(*up));
		if (up && root)
			up->path = calloc(1, 1);
		if (!up || (root && !up->path)) {
			free(up);
			free(d);
			return -ENOMEM;
		}
		up->layer = PLY_LAYER_UPPER;
	}
	ply_rwlock_init(&d->lock);
	atomic_store(&d->upper, up);
	d->nlower = (uint16_t)nlower;
	for (unsigned int i = 0; i < nlower; i++) {
		d->lower[i].layer = lower[i].layer;
		d->lower[i].xwhite = lower[i].xwhite;
		atomic_init(&d->lower[i].aufs, atomic_load(&lower[i].aufs));
		d->lower[i].path = lower[i].path;
	}
	*out = d;
	return 0;
}

static size_t node_size(const struct ply_node *n)
{
	size_t size = sizeof(*n) + n->room;

	if (S_ISDIR(n->type))
		size += sizeof(*n->dir) + n->dir->nlower * sizeof(n->dir->lower[0]);
	return size;
}

static int node_make(struct ply_graph *g, uint64_t id, mode_t type, uint64_t ino, uint16_t layer,
		     const struct ply_ldir *lower, unsigned int nlower, bool has_upper,
		     const char *name, struct ply_node **out)
{
	size_t room = name ? PLY_NAME_HEAD + strlen(name) + 1 : 0;
	struct ply_node *n;

	if (PLY_WARN_ON(!ino) || nlower > UINT16_MAX || room > UINT16_MAX)
		return -EIO;
	n = ply_slab_alloc(&g->slabs, sizeof(*n) + room);
	if (!n)
		return -ENOMEM;
	n->type = (uint16_t)(type & S_IFMT);
	n->ino = ino;
	n->pin_fd = -1;
	n->refs = 1;
	n->room = (uint16_t)room;
	atomic_store(&n->layer, layer);
	if (S_ISDIR(type) && dir_new(lower, nlower, has_upper, id == PLY_ROOT_ID, &n->dir)) {
		ply_slab_free(&g->slabs, n, sizeof(*n) + room);
		return -ENOMEM;
	}

	PLY_MUTEX(lock, &g->lock);
	n->id = id ? id : g->next_id++;
	if (name)
		table_expect_more(&g->names);
	ply_htable_add(&g->ids, &n->link);
	g->bytes += node_size(n);
	*out = n;
	return 0;
}

int ply_node_new_named(struct ply_graph *g, mode_t type, uint64_t ino, uint16_t layer,
		       const struct ply_ldir *lower, unsigned int nlower, bool has_upper,
		       const char *name, struct ply_node **out)
{
	return node_make(g, 0, type, ino, layer, lower, nlower, has_upper, name, out);
}

int ply_node_new(struct ply_graph *g, mode_t type, uint64_t ino, uint16_t layer,
		 const struct ply_ldir *lower, unsigned int nlower, bool has_upper,
		 struct ply_node **out)
{
	return node_make(g, 0, type, ino, layer, lower, nlower, has_upper, NULL, out);
}

int ply_node_new_root(struct ply_graph *g, const struct ply_ldir *lower, unsigned int nlower, bool has_upper,
		      struct ply_node **out)
{
	uint16_t layer = has_upper || !nlower ? PLY_LAYER_UPPER : lower[0].layer;

	return node_make(g, PLY_ROOT_ID, S_IFDIR, 1, layer, lower, nlower, has_upper, NULL, out);
}

/* ---- references; the table lock is held ---- */

static bool node_is_dead(const struct ply_node *n)
{
	return !n->refs && !n->nlookup && n->id != PLY_ROOT_ID;
}

/* Drops a reference; a node that dies goes onto *dead (chained by its link once it is out of the table). */
void ply_graph_unref(struct ply_graph *g, struct ply_node *n, struct ply_hlink **dead)
{
	if (PLY_WARN_ON(!n->refs))
		return;
	n->refs--;
	if (!node_is_dead(n))
		return;
	ply_htable_del(&g->ids, &n->link);
	g->bytes -= node_size(n);
	n->link.next = *dead;
	*dead = &n->link;
}

void ply_graph_drop_idents(struct ply_graph *g, struct ply_node *n, struct ply_hlink **list)
{
	struct ply_hlink *l, *next;

	for (l = *table_head(&g->owners, ply_hash2(n->id, 1)); l; l = next) {
		struct ply_ident *i = ply_container_of(l, struct ply_ident, by_node);

		next = l->next;
		if (i->node != n)
			continue;
		ply_htable_del(&g->owners, &i->by_node);
		ply_htable_del(&g->idents, &i->by_object);
		g->bytes -= sizeof(*i);
		i->by_node.next = *list;
		*list = &i->by_node;
		/* The table may have shrunk: start again. */
		next = *table_head(&g->owners, ply_hash2(n->id, 1));
	}
}

void ply_graph_free_idents(struct ply_hlink *list)
{
	while (list) {
		struct ply_ident *i = ply_container_of(list, struct ply_ident, by_node);

		list = list->next;
		free(i);
	}
}

void ply_graph_free_name(struct ply_graph *g, struct ply_name *nm)
{
	if (nm->embedded)
		return;
	g->bytes -= PLY_NAME_HEAD + strlen(nm->name) + 1;
	ply_name_discard(nm);
}

/* Takes a name out of its node's list and the table; its parent's reference goes to the caller. */
void ply_graph_detach_name(struct ply_graph *g, struct ply_name *nm)
{
	struct ply_name **p = &ply_graph_name_node(nm)->names;

	while (*p && *p != nm)
		p = &(*p)->next;
	if (*p)
		*p = nm->next;
	if (nm->parent && !nm->dead) {
		ply_htable_del(&g->names, &nm->link);
		ply_graph_names_changed(g);
	}
}

/*
 * Everything that dying nodes hold: parents through their names, successors.
 * One by one with a work list: a path may be a million directories deep.
 * *freed gets all nodes that are to be destroyed after unlocking.
 */
static void graph_reap(struct ply_graph *g, struct ply_hlink *dead, struct ply_hlink **freed,
		       struct ply_hlink **idents)
{
	while (dead) {
		struct ply_node *n = ply_container_of(dead, struct ply_node, link);

		dead = n->link.next;
		if (atomic_load(&n->flags) & PLY_N_HARDLINK)
			ply_graph_drop_idents(g, n, idents);
		while (n->names) {
			struct ply_name *nm = n->names;
			struct ply_node *parent = nm->parent;

			ply_graph_detach_name(g, nm);
			ply_graph_free_name(g, nm);
			if (parent)
				ply_graph_unref(g, parent, &dead);
		}
		if ((atomic_load(&n->flags) & PLY_N_STALE) && n->successor)
			ply_graph_unref(g, n->successor, &dead);
		n->link.next = *freed;
		*freed = &n->link;
	}
}

/*
 * The kernel forgets in masses. What was freed lies between what is kept; malloc gives it back to the
 * system when told to: each time as much went as is left.
 */
static void graph_give_back(struct ply_graph *g, size_t freed)
{
#ifdef __GLIBC__
	size_t since = atomic_fetch_add(&g->freed, freed) + freed;

	if (since < TRIM_MIN || since < atomic_load(&g->live) || !atomic_compare_exchange_strong(&g->freed, &since, 0))
		return;
	malloc_trim(0);
#else
	(void)g, (void)freed;
#endif
}

/* Unlocks, then frees what died. */
void ply_graph_unlock(struct ply_graph *g, struct ply_hlink *dead)
{
	struct ply_hlink *freed = NULL, *idents = NULL;
	size_t n = 0;

	graph_reap(g, dead, &freed, &idents);
	if (freed)
		atomic_store(&g->live, g->ids.n);
	pthread_mutex_unlock(&g->lock);
	ply_graph_free_idents(idents);
	while (freed) {
		struct ply_node *node = ply_container_of(freed, struct ply_node, link);

		freed = node->link.next;
		node_destroy(g, node);
		n++;
	}
	if (n)
		graph_give_back(g, n);
}

struct ply_node *ply_node_get(struct ply_graph *g, uint64_t id)
{
	PLY_MUTEX(lock, &g->lock);
	struct ply_node *n = find_id(g, id);

	if (n)
		n->refs++;
	return n;
}

struct ply_node *ply_node_ref(struct ply_graph *g, struct ply_node *n)
{
	PLY_MUTEX(lock, &g->lock);

	n->refs++;
	return n;
}

void ply_node_put(struct ply_graph *g, struct ply_node *n)
{
	struct ply_hlink *dead = NULL;

	if (!n)
		return;
	pthread_mutex_lock(&g->lock);
	ply_graph_unref(g, n, &dead);
	ply_graph_unlock(g, dead);
}

void ply_node_lookup_inc(struct ply_graph *g, struct ply_node *n)
{
	PLY_MUTEX(lock, &g->lock);

	n->nlookup++;
	g->nlookup++;
}

void ply_node_forget(struct ply_graph *g, uint64_t id, uint64_t nlookup)
{
	struct ply_hlink *dead = NULL;
	struct ply_node *n;

	pthread_mutex_lock(&g->lock);
	n = find_id(g, id);
	if (n) {
		nlookup = ply_min(nlookup, n->nlookup);
		n->refs++;
		n->nlookup -= nlookup;
		g->nlookup -= nlookup;
		ply_graph_unref(g, n, &dead);
	}
	ply_graph_unlock(g, dead);
}
