// SPDX-License-Identifier: GPL-2.0-or-later
#include "ahead.h"
#include "handle.h"

#include <fcntl.h>

#define READERS 32
#define STEP 4			/* directories and symlinks may stand between two files */
#define RUN 4			/* so many in a row before anything is done */
#define WINDOW 16		/* files that are fetched before they are opened */
#define BURST 2			/* at one open: somebody may be waiting for this thread */
#define BYTES (64 << 10)	/* of each */
/* Two in a row were there already: so many opens are left alone, and each time twice as many. */
#define PAUSE_FIRST 16
#define PAUSE_MOST 1024

/* A thread that opens files. */
struct reader {
	atomic_int pid;
	_Atomic uint64_t last, next;	/* node numbers: opened last; to be fetched next */
	atomic_uint run;		/* opens in a row, one after another */
	atomic_uint had;		/* files in a row that were there already */
	atomic_uint pause, wait;	/* opens to be left alone: last time, and now */
};

static struct reader readers[READERS];

#define get(p) atomic_load_explicit(p, memory_order_relaxed)
#define set(p, v) atomic_store_explicit(p, v, memory_order_relaxed)

enum { AHEAD_NONE, AHEAD_OTHER, AHEAD_HAD, AHEAD_ASKED };

/* Is it the next one, and the run long enough? */
static bool reader_goes_on(struct reader *r, uint64_t id, pid_t pid)
{
	uint64_t last = get(&r->last);
	bool same = get(&r->pid) == pid;

	set(&r->last, id);
	if (same && id > last && id - last <= STEP) {
		unsigned int run = get(&r->run);

		if (run >= RUN)
			return true;
		set(&r->run, run + 1);
		return false;
	}
	if (!same) {
		set(&r->pid, pid);
		set(&r->had, 0);
		set(&r->pause, 0);
		set(&r->wait, 0);
	}
	set(&r->run, 0);
	set(&r->next, 0);
	return false;
}

/* AHEAD_NONE: there is no such node so far. */
static int ahead_one(struct ply_fs *fs, uint64_t id)
{
	ply_autonode(n, fs, ply_node_get(fs->graph, id));
	ply_autofd fd = -1;
	uint16_t layer;
	int opened;

	if (!n.n)
		return AHEAD_NONE;
	if (n.n->type != S_IFREG || atomic_load(&n.n->flags) & (PLY_N_STALE | PLY_N_UNLINKED) ||
	    ply_handle_data_layer(fs, n.n) == PLY_LAYER_UPPER)
		return AHEAD_OTHER;
	if (ply_handle_open_data(fs, n.n, O_RDONLY | O_NONBLOCK, &opened, &layer))
		return AHEAD_OTHER;
	fd = opened;
	if (layer == PLY_LAYER_UPPER)
		return AHEAD_OTHER;
	if (!ply_sys_is_cold(fd))
		return AHEAD_HAD;
	ply_sys_read_ahead(fd, 0, BYTES);
	ply_count(PLY_C_read_ahead, 1);
	return AHEAD_ASKED;
}

static void reader_had(struct reader *r)
{
	unsigned int had = get(&r->had) + 1, pause = get(&r->pause);

	set(&r->had, had);
	if (had < 2)
		return;
	pause = pause ? ply_min(2 * pause, (unsigned int)PAUSE_MOST) : PAUSE_FIRST;
	set(&r->pause, pause);
	set(&r->wait, pause);
	set(&r->had, 0);
}

void ply_ahead_opened(struct ply_fs *fs, const struct ply_node *n, pid_t pid)
{
	struct reader *r = &readers[(unsigned int)pid % READERS];
	uint64_t id = n->id, next;

	if (pid <= 0 || !reader_goes_on(r, id, pid))
		return;
	if (get(&r->wait)) {
		set(&r->wait, get(&r->wait) - 1);
		return;
	}
	next = ply_max(get(&r->next), id + 1);
	for (int i = 0; i < BURST && next <= id + WINDOW; i++) {
		int what = ahead_one(fs, next);

		if (what == AHEAD_NONE)
			break;
		next++;
		if (what == AHEAD_ASKED) {
			set(&r->had, 0);
			set(&r->pause, 0);
		} else if (what == AHEAD_HAD) {
			reader_had(r);
			break;
		}
	}
	set(&r->next, next);
}
