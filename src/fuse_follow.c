// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_follow.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLLOW_REQUESTS 8		/* in a tick: below, they are not what takes the client's time */
#define FOLLOW_TICKS 2
#define FOLLOW_FIELD 37			/* of stat(5), "processor", counted from the state on */

void ply_follow_init(struct ply_follow *f)
{
	*f = (struct ply_follow){ .stat = -1, .cpu = -1 };
}

bool ply_follow_pays(struct ply_follow *f, const struct ply_follow_tick *k)
{
	bool alike = k->requests >= FOLLOW_REQUESTS && k->client > 0 && !k->shared;

	f->alike = !alike ? 0 : k->client == f->client ? f->alike + 1 : 1;
	return f->alike >= FOLLOW_TICKS;
}

int ply_follow_cpu_of(const char *text)
{
	/* "PID (NAME) STATE ...", and the name may hold anything */
	const char *at = strrchr(text, ')');
	unsigned int i;

	for (i = 0; at && i < FOLLOW_FIELD; i++)
		at = strchr(at + 1, ' ');
	return at && at[1] >= '0' && at[1] <= '9' ? atoi(at + 1) : -1;
}

void ply_follow_forget(struct ply_follow *f)
{
	if (f->stat >= 0)
		close(f->stat);
	f->stat = -1;
	f->client = 0;
}

/* Where the client is, or was when it went to sleep. */
static int follow_where(struct ply_follow *f)
{
	char text[512];
	ssize_t n;

	if (f->stat < 0) {
		snprintf(text, sizeof(text), "/proc/%d/stat", (int)f->client);
		f->stat = open(text, O_RDONLY | O_CLOEXEC);
	}
	n = f->stat < 0 ? -1 : pread(f->stat, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	return ply_follow_cpu_of(text);
}

static void follow_let_go(struct ply_follow *f, pid_t thread)
{
	if (f->cpu >= 0)
		sched_setaffinity(thread, sizeof(f->before), &f->before);
	f->cpu = -1;
}

static void follow_to(struct ply_follow *f, pid_t thread, int cpu)
{
	cpu_set_t one;

	if (cpu == f->cpu)
		return;
	/* As somebody may have set it meanwhile. More processors than fit into a set: not there. */
	if (f->cpu < 0 && sched_getaffinity(thread, sizeof(f->before), &f->before))
		return;
	if (cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &f->before)) {
		follow_let_go(f, thread);
		return;
	}
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (!sched_setaffinity(thread, sizeof(one), &one))
		f->cpu = cpu;
}

void ply_follow_tick(struct ply_follow *f, pid_t thread, const struct ply_follow_tick *k)
{
	bool pays = ply_follow_pays(f, k);

	if (k->client != f->client) {
		ply_follow_forget(f);
		f->client = k->client;
	}
	if (pays)
		follow_to(f, thread, follow_where(f));
	else
		follow_let_go(f, thread);
}
