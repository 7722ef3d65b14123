// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "lock.h"

void ply_rwlock_init(pthread_rwlock_t *l)
{
	pthread_rwlockattr_t a;

	/*
	 * glibc's default lets readers overtake a waiting writer for ever. This kind holds
	 * new readers back, at the price that no thread may read-lock twice (glibc,
	 * pthread_rwlockattr_setkind_np(3)): rule 3 of lock.h.
	 */
	if (pthread_rwlockattr_init(&a)) {
		pthread_rwlock_init(l, NULL);
		return;
	}
	pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(l, &a);
	pthread_rwlockattr_destroy(&a);
}
