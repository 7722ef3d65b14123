/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuse_follow: a thread that serves one client, which waits for each answer, runs on the processor on which that client does.
 *
 * While one of the two runs the other one waits, so a second processor helps neither; but to wake what sleeps on another one
 * takes longer than all that an open costs there: 2 us more if that processor is polling, 40 us if a virtual one has halted.
 * The kernel prefers the idle processor nevertheless. Only the watch of the workers asks, a few hundred times a second.
 */
#ifndef PLY_FUSE_FOLLOW_H
#define PLY_FUSE_FOLLOW_H

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

/* What a thread served in one tick. */
struct ply_follow_tick {
	unsigned int requests;
	pid_t client;			/* thread that sent them; 0: not known */
	bool shared;			/* others did too, or what was asked for goes on while its client does: data */
};

struct ply_follow {
	unsigned int alike;		/* ticks in a row in which it would have paid */
	pid_t client;
	int stat;			/* the client's file in /proc; -1 */
	int cpu;			/* the thread is bound to it; -1: to where it was before */
	cpu_set_t before;
};

void ply_follow_init(struct ply_follow *f);
/* After each tick: binds the thread, or lets it go. */
void ply_follow_tick(struct ply_follow *f, pid_t thread, const struct ply_follow_tick *k);
/* The thread has ended, or is about to. */
void ply_follow_forget(struct ply_follow *f);

/* Pure: is the thread to be where its client is? */
bool ply_follow_pays(struct ply_follow *f, const struct ply_follow_tick *k);
/* Of the text of /proc/PID/stat the processor; -1: it does not say. */
int ply_follow_cpu_of(const char *text);

#endif
