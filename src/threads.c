// SPDX-License-Identifier: GPL-2.0-or-later
#include "threads.h"
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#define THREADS_AGAIN 20000000		/* ns */

int64_t ply_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

struct timespec ply_after_ns(int64_t ns)
{
	ns += ply_now_ns();
	return (struct timespec){ .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
}

void ply_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t mono;

	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(c, &mono);
	pthread_condattr_destroy(&mono);
}

void ply_threads_end(pthread_mutex_t *lock, pthread_cond_t *ended, const unsigned int *nended, unsigned int n, int sig,
		     pthread_t (*thread_of)(const void *arg, unsigned int i), const void *arg)
{
	unsigned int i;

	pthread_mutex_lock(lock);
	/* A signal just before a thread goes to sleep is lost: once more until each has come out. */
	while (*nended < n) {
		struct timespec until = ply_after_ns(THREADS_AGAIN);

		for (i = 0; i < n; i++)
			pthread_kill(thread_of(arg, i), sig);
		pthread_cond_timedwait(ended, lock, &until);
	}
	pthread_mutex_unlock(lock);
	for (i = 0; i < n; i++)
		pthread_join(thread_of(arg, i), NULL);
}

void ply_thread_go_anywhere(void)
{
	cpu_set_t set;

	if (!sched_getaffinity(getpid(), sizeof(set), &set))
		(void)sched_setaffinity(0, sizeof(set), &set);
}
