// SPDX-License-Identifier: GPL-2.0-or-later
/* name: names and identities of nodes, hand-off, locks (node.h). */
#include "graph.h"
#include "log.h"
#include "node.h"

#include <errno.h>

#define NODE_NAME_MAX 255

/* ---- names ---- */

/* Table lock held: flags are the node lock's. */
static void node_set_flags(struct ply_graph *g, struct ply_node *n, unsigned int set, unsigned int clear)
{
	ply_node_lock(g, n);
	atomic_store(&n->flags, (uint16_t)((atomic_load(&n->flags) | set) & ~clear));
	ply_node_unlock(g, n);
}

static struct ply_name *name_alloc(const char *name)
{
	size_t len = strlen(name);
	struct ply_name_own *own = malloc(sizeof(*own) + ply_max(sizeof(struct ply_name), PLY_NAME_HEAD + len + 1));
	struct ply_name *nm;

	if (!own)
		return NULL;
	nm = (struct ply_name *)(void *)own->name;
	memset(nm, 0, PLY_NAME_HEAD);
	memcpy(nm->name, name, len + 1);
	return nm;
}

static void name_set_node(struct ply_name *nm, struct ply_node *node)
{
	if (!nm->embedded)
		ply_container_of((void *)nm, struct ply_name_own, name)->node = node;
}

void ply_name_discard(struct ply_name *prepared)
{
	if (prepared)
		free(ply_container_of((void *)prepared, struct ply_name_own, name));
}

/* The name goes into the list of its node, and into the table. */
static void name_attach(struct ply_graph *g, struct ply_name *nm, struct ply_node *parent, struct ply_node *node)
{
	name_set_node(nm, node);
	nm->parent = parent;
	nm->next = node->names;
	node->names = nm;
	if (!nm->embedded)
		g->bytes += PLY_NAME_HEAD + strlen(nm->name) + 1;
	if (parent && !nm->dead) {
		parent->refs++;
		ply_htable_add(&g->names, &nm->link);
		ply_graph_names_changed(g);
	}
}

static bool node_has_live_name(const struct ply_node *n)
{
	for (const struct ply_name *nm = n->names; nm; nm = nm->next)
		if (nm->parent && !nm->dead)
			return true;
	return false;
}

struct ply_node *ply_name_find(struct ply_graph *g, struct ply_node *parent, const char *name)
{
	PLY_MUTEX(lock, &g->lock);
	struct ply_name *nm = ply_graph_find_name(g, parent, name, NULL);
	struct ply_node *n;

	if (!nm) {
		ply_htable_expect(&g->names);
		return NULL;
	}
	n = ply_graph_name_node(nm);
	n->refs++;
	return n;
}

bool ply_name_known(struct ply_graph *g, struct ply_node *parent, const char *name, uint64_t *ino, mode_t *type)
{
	PLY_MUTEX(lock, &g->lock);
	struct ply_name *nm = ply_graph_find_name(g, parent, name, NULL);
	const struct ply_node *n = nm ? ply_graph_name_node(nm) : NULL;

	if (!n || !n->nlookup)
		return false;
	*ino = n->ino;
	*type = n->type;
	return true;
}

/* Memory behind the node if there is still some and the name fits, else its own. */
static struct ply_name *name_alloc_for(struct ply_node *node, const char *name)
{
	size_t size = PLY_NAME_HEAD + strlen(name) + 1;
	struct ply_name *nm;

	if (node->room < size)
		return name_alloc(name);
	nm = (struct ply_name *)(void *)(node + 1);
	if (nm->embedded)		/* in use; zeroed at first */
		return name_alloc(name);
	memset(nm, 0, PLY_NAME_HEAD);
	memcpy(nm->name, name, size - PLY_NAME_HEAD);
	nm->embedded = true;
	return nm;
}

static int name_add(struct ply_graph *g, struct ply_node *parent, const char *name,
		    struct ply_node *node, bool elsewhere, struct ply_node **have)
{
	PLY_MUTEX(lock, &g->lock);
	struct ply_name *nm = ply_graph_find_name(g, parent, name, NULL);

	if (nm) {
		struct ply_node *n = ply_graph_name_node(nm);

		if (n == node)
			return 0;
		n->refs++;
		*have = n;
		return -EEXIST;
	}
	if (strlen(name) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	nm = name_alloc_for(node, name);
	if (!nm)
		return -ENOMEM;
	nm->elsewhere = elsewhere;
	name_attach(g, nm, parent, node);
	if (atomic_load(&node->flags) & PLY_N_UNLINKED)
		node_set_flags(g, node, 0, PLY_N_UNLINKED);
	return 0;
}

int ply_name_add(struct ply_graph *g, struct ply_node *parent, const char *name,
		 struct ply_node *node, struct ply_node **have)
{
	return name_add(g, parent, name, node, false, have);
}

int ply_name_add_elsewhere(struct ply_graph *g, struct ply_node *parent, const char *name,
			   struct ply_node *node, struct ply_node **have)
{
	return name_add(g, parent, name, node, true, have);
}

void ply_name_remove(struct ply_graph *g, struct ply_node *parent, const char *name,
		     struct ply_node *node, bool keep_dead)
{
	struct ply_hlink *dead = NULL;
	struct ply_name *nm;

	pthread_mutex_lock(&g->lock);
	nm = ply_graph_find_name(g, parent, name, node);
	if (nm && keep_dead) {
		ply_htable_del(&g->names, &nm->link);
		ply_graph_names_changed(g);
		nm->dead = true;
	} else if (nm) {
		ply_graph_detach_name(g, nm);
		/* Memory behind a node is used once: the bytes may be in other hands after a hand-off. */
		ply_graph_free_name(g, nm);
		ply_graph_unref(g, parent, &dead);
	}
	if (nm && !node_has_live_name(node))
		node_set_flags(g, node, PLY_N_UNLINKED, 0);
	ply_graph_unlock(g, dead);
}

struct ply_name *ply_name_prepare(const char *name)
{
	return strlen(name) > NODE_NAME_MAX ? NULL : name_alloc(name);
}

/* Table lock held. Both may be in the table under one key for a moment: names are found by node too. */
static void name_move_locked(struct ply_graph *g, struct ply_node *op, const char *on, struct ply_node *np,
			     struct ply_name *prepared, struct ply_node *node, struct ply_hlink **dead)
{
	struct ply_name *old = ply_graph_find_name(g, op, on, node);

	name_attach(g, prepared, np, node);
	if (old) {
		ply_graph_detach_name(g, old);
		ply_graph_free_name(g, old);
		ply_graph_unref(g, op, dead);
	}
}

void ply_name_move(struct ply_graph *g, struct ply_node *op, const char *on,
		   struct ply_node *np, struct ply_name *prepared, struct ply_node *node)
{
	struct ply_hlink *dead = NULL;

	pthread_mutex_lock(&g->lock);
	name_move_locked(g, op, on, np, prepared, node, &dead);
	ply_graph_unlock(g, dead);
}

void ply_name_exchange(struct ply_graph *g,
		       struct ply_node *ap, const char *an, struct ply_node *a, struct ply_name *prepared_an,
		       struct ply_node *bp, const char *bn, struct ply_node *b, struct ply_name *prepared_bn)
{
	struct ply_hlink *dead = NULL;

	pthread_mutex_lock(&g->lock);
	name_move_locked(g, ap, an, bp, prepared_bn, a, &dead);
	name_move_locked(g, bp, bn, ap, prepared_an, b, &dead);
	ply_graph_unlock(g, dead);
}

int ply_name_at(struct ply_graph *g, struct ply_node *node, unsigned int i, struct ply_node **parent, char name[256])
{
	PLY_MUTEX(lock, &g->lock);

	for (struct ply_name *nm = node->names; nm; nm = nm->next) {
		if (!nm->parent || nm->dead || i-- > 0)
			continue;
		nm->parent->refs++;
		*parent = nm->parent;
		strcpy(name, nm->name);
		return 0;
	}
	return -ENOENT;
}

int ply_name_any(struct ply_graph *g, struct ply_node *node, struct ply_node **parent, char name[256])
{
	return ply_name_at(g, node, 0, parent, name);
}

int ply_node_set_index(struct ply_graph *g, struct ply_node *n, const char *hex)
{
	struct ply_name *fresh = name_alloc(hex), *nm;

	if (!fresh)
		return -ENOMEM;
	pthread_mutex_lock(&g->lock);
	for (nm = n->names; nm && nm->parent; nm = nm->next)
		;
	if (!nm) {
		name_attach(g, fresh, NULL, n);
		fresh = NULL;
	}
	node_set_flags(g, n, PLY_N_INDEXED, 0);
	pthread_mutex_unlock(&g->lock);
	ply_name_discard(fresh);
	return 0;
}

uint64_t ply_graph_index_seq(struct ply_graph *g)
{
	return atomic_load(&g->index_seq);
}

uint64_t ply_graph_names_seq(struct ply_graph *g)
{
	return atomic_load(&g->names_seq);
}

/* ---- identities ---- */

struct ply_node *ply_ident_find(struct ply_graph *g, unsigned int fs, uint64_t ino)
{
	PLY_MUTEX(lock, &g->lock);
	struct ply_ident *i = ply_graph_find_ident(g, fs, ino);

	if (!i)
		return NULL;
	i->node->refs++;
	return i->node;
}

int ply_ident_add(struct ply_graph *g, unsigned int fs, uint64_t ino, struct ply_node *node, struct ply_node **have)
{
	struct ply_ident *fresh = calloc(1, sizeof(*fresh)), *i;

	if (!fresh)
		return -ENOMEM;
	fresh->fs = fs;
	fresh->ino = ino;
	fresh->node = node;

	PLY_MUTEX(lock, &g->lock);
	i = ply_graph_find_ident(g, fs, ino);
	if (i) {
		free(fresh);
		if (i->node == node)
			return 0;
		i->node->refs++;
		*have = i->node;
		return -EEXIST;
	}
	ply_htable_add(&g->idents, &fresh->by_object);
	ply_htable_add(&g->owners, &fresh->by_node);
	g->bytes += sizeof(*fresh);
	node_set_flags(g, node, PLY_N_HARDLINK, 0);
	return 0;
}

void ply_ident_drop(struct ply_graph *g, struct ply_node *node)
{
	struct ply_hlink *list = NULL;

	pthread_mutex_lock(&g->lock);
	ply_graph_drop_idents(g, node, &list);
	node_set_flags(g, node, 0, PLY_N_HARDLINK);
	pthread_mutex_unlock(&g->lock);
	ply_graph_free_idents(list);
}

/* ---- hand-off ---- */

/* Names that live in the old node's memory need their own: it may be freed before the successor. */
static int handoff_own_names(struct ply_graph *g, struct ply_node *old)
{
	for (struct ply_name **p = &old->names; *p; p = &(*p)->next) {
		struct ply_name *nm = *p, *copy;

		if (!nm->embedded)
			continue;
		copy = name_alloc(nm->name);
		if (!copy)
			return -ENOMEM;
		name_set_node(copy, old);
		copy->parent = nm->parent;
		copy->dead = nm->dead;
		copy->elsewhere = nm->elsewhere;
		copy->next = nm->next;
		if (!nm->dead) {
			ply_htable_del(&g->names, &nm->link);
			ply_htable_add(&g->names, &copy->link);
		}
		g->bytes += PLY_NAME_HEAD + strlen(copy->name) + 1;
		*p = copy;
	}
	return 0;
}

/* Table lock held: everything that makes `old` this file becomes fresh's. */
static void handoff_move(struct ply_graph *g, struct ply_node *old, struct ply_node *fresh)
{
	struct ply_hlink *list = NULL;
	uint16_t flags;

	fresh->names = old->names;
	old->names = NULL;
	for (struct ply_name *nm = fresh->names; nm; nm = nm->next)
		name_set_node(nm, fresh);
	ply_graph_names_changed(g);
	ply_graph_drop_idents(g, old, &list);
	while (list) {
		struct ply_ident *i = ply_container_of(list, struct ply_ident, by_node);

		list = list->next;
		i->node = fresh;
		g->bytes += sizeof(*i);
		ply_htable_add(&g->idents, &i->by_object);
		ply_htable_add(&g->owners, &i->by_node);
	}
	ply_node_lock(g, old);
	flags = atomic_load(&old->flags);
	atomic_store(&fresh->layer, atomic_load(&old->layer));
	atomic_store(&fresh->flags, (uint16_t)(flags & ~PLY_N_COPYUP));
	fresh->pin_fd = old->pin_fd;
	old->pin_fd = -1;
	fresh->data = flags & PLY_N_METACOPY ? old->data : NULL;
	old->successor = fresh;
	fresh->refs++;
	atomic_store(&old->flags, (uint16_t)((flags | PLY_N_STALE) &
		     ~(PLY_N_METACOPY | PLY_N_HARDLINK | PLY_N_INDEXED)));
	ply_node_unlock(g, old);
}

int ply_node_handoff(struct ply_graph *g, struct ply_node *old, struct ply_node **out)
{
	struct ply_node *fresh;
	int r;

	if (atomic_load(&old->flags) & PLY_N_STALE) {
		*out = ply_node_current(g, old);
		return 0;
	}
	if (PLY_WARN_ON(S_ISDIR(old->type)))
		return -EIO;
	r = ply_node_new(g, old->type, old->ino, atomic_load(&old->layer), NULL, 0, false, &fresh);
	if (r)
		return r;
	pthread_mutex_lock(&g->lock);
	r = handoff_own_names(g, old);
	if (!r)
		handoff_move(g, old, fresh);
	pthread_mutex_unlock(&g->lock);
	if (r) {
		ply_node_put(g, fresh);
		return r;
	}
	*out = fresh;
	return 0;
}

struct ply_node *ply_node_current(struct ply_graph *g, struct ply_node *n)
{
	PLY_MUTEX(lock, &g->lock);

	while ((atomic_load(&n->flags) & PLY_N_STALE) && n->successor)
		n = n->successor;
	n->refs++;
	return n;
}

/* ---- locks ---- */

static unsigned int node_stripe(const struct ply_node *n)
{
	return (unsigned int)(n->id % GRAPH_STRIPES);
}

void ply_node_lock(struct ply_graph *g, struct ply_node *n)
{
	pthread_mutex_lock(&g->stripe[node_stripe(n)].lock);
}

void ply_node_unlock(struct ply_graph *g, struct ply_node *n)
{
	pthread_mutex_unlock(&g->stripe[node_stripe(n)].lock);
}

int ply_node_copyup_lock(struct ply_graph *g, struct ply_node *n)
{
	unsigned int s = node_stripe(n);

	ply_node_lock(g, n);
	while (atomic_load(&n->flags) & PLY_N_COPYUP)
		pthread_cond_wait(&g->stripe[s].copyup, &g->stripe[s].lock);
	atomic_store(&n->flags, (uint16_t)(atomic_load(&n->flags) | PLY_N_COPYUP));
	ply_node_unlock(g, n);
	return 0;
}

void ply_node_copyup_unlock(struct ply_graph *g, struct ply_node *n)
{
	ply_node_lock(g, n);
	if (atomic_load(&n->flags) & PLY_N_INDEXED)
		atomic_fetch_add(&g->index_seq, 1);
	atomic_store(&n->flags, (uint16_t)(atomic_load(&n->flags) & ~PLY_N_COPYUP));
	pthread_cond_broadcast(&g->stripe[node_stripe(n)].copyup);
	ply_node_unlock(g, n);
}

void ply_graph_stats(struct ply_graph *g, struct ply_graph_stats *out)
{
	struct ply_graph_stats s = { 0 };

	pthread_mutex_lock(&g->lock);
	s.nodes = g->ids.n;
	s.names = g->names.n;
	s.identities = g->idents.n;
	s.lookups = g->nlookup;
	s.bytes = g->bytes + sizeof(void *) * (g->ids.cap + g->names.cap + g->idents.cap + g->owners.cap);
	pthread_mutex_unlock(&g->lock);
	pthread_mutex_lock(&g->fds_lock);
	s.dirfds = g->nfds;
	pthread_mutex_unlock(&g->fds_lock);
	*out = s;
}
