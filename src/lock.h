/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lock: the one page about locks.
 *
 * Order, outermost first:
 *
 *	1. copyup	one node's copy-up (ply_node_copyup_lock). A parent's before its
 *			child's is never held together: ancestors are brought up first, one by one.
 *	2. times	io.c: a file's mtime while pages are written back, or while it is set;
 *			only with the writeback cache. Never across a copy-up.
 *	3. tree		fs->tree, rwlock, writers preferred: held for reading by whoever relies
 *			on where names lead (lookup, create, unlink, publish, reopening a
 *			directory fd), for writing by rename, and by a hand-off (backing_open.c) under the
 *			node's copy-up lock. NEVER taken twice by a thread.
 *	4. dir		ply_dir.lock of ONE directory, rwlock: for writing while names in
 *			it change, for reading by lookup. Under tree held for writing no dir lock is needed.
 *			rmdir alone takes two: the parent's, then the child's.
 *	5. cache	ply_dircache's own mutex (inside dircache.c).
 *	6. table	graph->lock: ids, identities, names, lookup counts, references.
 *	7. node		striped leaf mutex (ply_node_lock): location and io mode of a node.
 *	   fds		the directory-fd cache's leaf mutex.
 *	   burials	graph.h: an unlinked object's last close, and rmdir; held across those system calls, and only the
 *			fds' and backing files' mutexes are taken under it.
 *	   slab		slab.c's leaf mutex, also around the calls that get and give back its memory.
 *
 * No syscall under 6 and 7 (closing an evicted fd happens after unlocking). No lock at all
 * across a reply or a notify: a notify can wait for a request that needs that lock.
 * Data I/O (read, write, the data phase of a copy-up) holds none of 3-7.
 *
 * `_locked` in a name: the caller holds the lock that the prototype names.
 */
#ifndef PLY_LOCK_H
#define PLY_LOCK_H

#include <pthread.h>

/* A rwlock on which waiting writers hold back new readers. */
void ply_rwlock_init(pthread_rwlock_t *l);

static inline void ply_rwunlock_cleanup(pthread_rwlock_t **l)
{
	if (*l)
		pthread_rwlock_unlock(*l);
}

static inline void ply_mutex_unlock_cleanup(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}

/* Scope guards: PLY_RDLOCK(g, &fs->tree); ... released at the end of the scope. */
#define PLY_RDLOCK(var, l)						\
	__attribute__((cleanup(ply_rwunlock_cleanup))) pthread_rwlock_t *var = (l); \
	pthread_rwlock_rdlock(var)
#define PLY_WRLOCK(var, l)						\
	__attribute__((cleanup(ply_rwunlock_cleanup))) pthread_rwlock_t *var = (l); \
	pthread_rwlock_wrlock(var)
#define PLY_MUTEX(var, m)						\
	__attribute__((cleanup(ply_mutex_unlock_cleanup))) pthread_mutex_t *var = (m); \
	pthread_mutex_lock(var)
/* Releases a guard before its scope ends. */
#define PLY_RWUNLOCK(var) do { pthread_rwlock_unlock(var); (var) = NULL; } while (0)
#define PLY_MUTEX_UNLOCK(var) do { pthread_mutex_unlock(var); (var) = NULL; } while (0)

#endif
