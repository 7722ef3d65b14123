// SPDX-License-Identifier: GPL-2.0-or-later
#include "listers.h"
#include "hash.h"

#include <time.h>

#define LISTERS 64
#define LISTINGS 256
#define IGNORED 6		/* names left alone before no attributes are given any more */
#define PROVEN 4		/* names looked up before only each ... */
#define PROBE_EACH 8		/* ... so many listings leave one out */
/*
 * In one listing: so many names to the next that is left out. fts(3) looks at nothing before it has 100,000 names, so
 * whoever is known to look at what he lists is given more than those six times over.
 */
#define PROBE_NAMES 1500
#define PROBE_NAMES_LOOKER 20000
#define IDLE_SECONDS 2		/* later it may be another program with the same number */

/* A thread that lists. */
struct lister {
	atomic_int pid;
	atomic_uint ignored, looked_up, listings;
	_Atomic time_t last;
};

/* What was given to it lately, by directory. */
struct listing {
	_Atomic uint64_t dir;
	_Atomic uint64_t name;		/* hash; 0: any file */
	atomic_uint given;		/* names with attributes since then */
	atomic_int pid;
};

static struct lister listers[LISTERS];
static struct listing listings[LISTINGS];

#define get(p) atomic_load_explicit(p, memory_order_relaxed)
#define set(p, v) atomic_store_explicit(p, v, memory_order_relaxed)

static struct lister *lister_of(pid_t pid)
{
	return &listers[(unsigned int)pid % LISTERS];
}

static struct listing *listing_of(const struct ply_node *dir)
{
	return &listings[dir->id % LISTINGS];
}

static uint64_t name_hash(const char *name)
{
	return ply_hash(name, strlen(name), 0) | 1;
}

bool ply_listers_want(pid_t pid)
{
	struct lister *l = lister_of(pid);
	struct timespec now;

	if (pid <= 0)
		return true;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (get(&l->pid) != pid || now.tv_sec - get(&l->last) > IDLE_SECONDS) {
		set(&l->pid, pid);
		set(&l->ignored, 0);
		set(&l->looked_up, 0);
	}
	set(&l->last, now.tv_sec);
	return get(&l->ignored) < IGNORED;
}

bool ply_listers_probe(pid_t pid)
{
	struct lister *l = lister_of(pid);
	unsigned int n = get(&l->listings) + 1;

	if (pid <= 0)
		return false;
	set(&l->listings, n);
	return get(&l->looked_up) < PROVEN || n % PROBE_EACH == 0;
}

void ply_listers_given(pid_t pid, const struct ply_node *dir, unsigned int names)
{
	struct listing *g = listing_of(dir);

	if (pid <= 0)
		return;
	/* Another listing's place: it is forgotten, the name that it left out too. */
	if (get(&g->dir) != dir->id || get(&g->pid) != pid) {
		set(&g->dir, 0);
		set(&g->name, 1);
		set(&g->given, 0);
		set(&g->pid, pid);
		set(&g->dir, dir->id);
	}
	set(&g->given, get(&g->given) + names);
}

bool ply_listers_probe_on(pid_t pid, const struct ply_node *dir)
{
	const struct listing *g = listing_of(dir);

	return pid > 0 && get(&g->dir) == dir->id && get(&g->pid) == pid &&
		get(&g->given) >= (get(&lister_of(pid)->looked_up) ? PROBE_NAMES_LOOKER : PROBE_NAMES);
}

void ply_listers_left_out(pid_t pid, const struct ply_node *dir, const char *name)
{
	struct listing *g = listing_of(dir);
	struct lister *l = lister_of(pid);

	set(&g->name, name ? name_hash(name) : 0);
	set(&g->given, 0);
	set(&g->pid, pid);
	set(&g->dir, dir->id);
	if (name)
		set(&l->ignored, get(&l->ignored) + 1);
}

void ply_listers_looked_up(const struct ply_node *dir, const char *name)
{
	struct listing *g = listing_of(dir);
	struct lister *l;

	if (get(&g->dir) != dir->id || (get(&g->name) && get(&g->name) != name_hash(name)))
		return;
	set(&g->dir, 0);
	l = lister_of(get(&g->pid));
	if (get(&l->pid) != get(&g->pid))
		return;
	set(&l->ignored, 0);
	set(&l->looked_up, get(&l->looked_up) + 1);
}
