/* SPDX-License-Identifier: GPL-2.0-or-later */
/* graph: what node.c and dirfd.c share; nobody else includes it. */
#ifndef PLY_GRAPH_H
#define PLY_GRAPH_H

#include "layer.h"
#include "lock.h"
#include "util.h"

#define GRAPH_STRIPES 64

struct ply_hlink;
struct ply_node;
struct ply_dir;
struct ply_file;

/* Chained hash table; grows and shrinks by itself. */
struct ply_htable {
	struct ply_hlink **bucket;
	size_t mask, n;
	uint64_t (*hash)(const struct ply_hlink *l);
};

struct ply_graph {
	struct ply_layers *ls;
	int index_fd;
	_Atomic uint64_t index_seq;	/* indexed files that came up; also counted when their copy-up ends */
	void (*file_free)(void *arg, struct ply_file *file);
	void (*dc_free)(struct ply_node *dir);
	void *hook_arg;

	pthread_mutex_t lock;		/* table lock: everything down to the blank line */
	struct ply_htable ids, names;
	struct ply_htable idents, owners;	/* identities by object, and by node */
	uint64_t next_id;
	uint64_t nlookup, bytes;

	struct {
		pthread_mutex_t lock;
		pthread_cond_t copyup;
	} stripe[GRAPH_STRIPES];

	pthread_mutex_t fds_lock;
	struct ply_list lru;		/* fds that nobody uses now, latest first */
	unsigned int nfds, max_fds;
};

/* dirfd.c: closes what the directory has open; its node is gone from all tables. */
void ply_graph_close_dir(struct ply_graph *g, struct ply_dir *dir);

#endif
