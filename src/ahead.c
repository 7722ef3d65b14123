// SPDX-License-Identifier: GPL-2.0-or-later
#include "ahead.h"
#include "handle.h"
#include "threads.h"

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

/* ---- directories ---- */

#define LISTED 4		/* directories, before anything is done for who lists them */
#define BESIDE 64		/* nodes made after a directory among which the next ones are looked for */
#define BESIDE_LEAST 16		/* so many are known still: later */
#define SEEN 512
#define QUEUE 64
#define NAMES_MOST 4096		/* of one directory */
#define NAMES_KEPT 256		/* with more it is not kept open: the kernel keeps what was read of it so long */

/* A thread that lists. */
struct walker {
	atomic_int pid;
	atomic_uint listed;
};

static struct walker walkers[READERS];
static _Atomic uint64_t seen[SEEN];	/* nodes that were looked at as the next ones */
static atomic_uint dirs_wait;		/* listings to be left alone */

static struct {
	pthread_mutex_t lock;		/* leaf */
	pthread_cond_t more;
	pthread_t thread;
	bool running, stop;
	struct ply_fs *fs;
	uint64_t id[QUEUE];		/* directories, a ring */
	unsigned int first, n;
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER };

static int count_name(void *arg, const struct ply_dirent *d)
{
	unsigned int *n = arg;

	(void)d;
	return ++*n > NAMES_MOST;
}

/* Of one layer; it stays open, for whoever lists it, as if nobody had read it. */
static void fetch_layer(struct ply_fs *fs, struct ply_node *dir, struct ply_ldir *ld)
{
	unsigned int names = 0;
	ply_autofd fd = -1;

	{
		PLY_RDLOCK(tree, &fs->tree);
		fd = ply_dirfd_open_read(fs->graph, dir, ld);
	}
	/* For the disk nobody's rename waits: it was not asked for. */
	if (fd < 0 || ply_sys_readdir(fd, count_name, &names) || names > NAMES_KEPT || ply_sys_lseek(fd, 0, SEEK_SET))
		return;
	PLY_RDLOCK(tree, &fs->tree);
	ply_dirfd_keep(fs->graph, ld, ply_take_fd(&fd), true);
}

/* Did it take a disk? */
static bool fetch_dir(struct ply_fs *fs, uint64_t id)
{
	uint64_t before = ply_sys_blocks_read();

	ply_autonode(dir, fs, ply_node_get(fs->graph, id));
	if (!dir.n || dir.n->type != S_IFDIR || atomic_load(&dir.n->dir->cache))
		return true;
	for (unsigned int i = 0; i < dir.n->dir->nlower; i++)
		fetch_layer(fs, dir.n, &dir.n->dir->lower[i]);
	return ply_sys_blocks_read() != before;
}

static void *fetch_main(void *arg)
{
	unsigned int had = 0, pause = 0;

	ply_thread_go_anywhere();
	pthread_mutex_lock(&queue.lock);
	while (!queue.stop) {
		struct ply_fs *fs = queue.fs;
		uint64_t id;
		bool cold;

		if (!queue.n) {
			pthread_cond_wait(&queue.more, &queue.lock);
			continue;
		}
		id = queue.id[queue.first++ % QUEUE];
		queue.n--;
		pthread_mutex_unlock(&queue.lock);
		cold = fetch_dir(fs, id);
		had = cold ? 0 : had + 1;
		if (cold)
			pause = 0;
		pthread_mutex_lock(&queue.lock);
		if (had >= 2) {
			pause = pause ? ply_min(2 * pause, (unsigned int)PAUSE_MOST) : PAUSE_FIRST;
			set(&dirs_wait, pause);
			had = queue.n = 0;
		}
	}
	pthread_mutex_unlock(&queue.lock);
	return arg;
}

static void queue_add(struct ply_fs *fs, const uint64_t *id, unsigned int n)
{
	PLY_MUTEX(lock, &queue.lock);

	if (queue.stop)
		return;
	queue.fs = fs;
	for (unsigned int i = 0; i < n && queue.n < QUEUE; i++)
		queue.id[(queue.first + queue.n++) % QUEUE] = id[i];
	/* When no thread can be made, the next one tries again. */
	if (!queue.running)
		queue.running = !pthread_create(&queue.thread, NULL, fetch_main, NULL);
	pthread_cond_signal(&queue.more);
}

/* The directories among the nodes that were made after this one go into the queue, if they were not there lately. */
static void queue_beside(struct ply_fs *fs, uint64_t id)
{
	uint64_t dirs[BESIDE];
	unsigned int found = 0;

	for (uint64_t i = id + 1; i <= id + BESIDE; i++) {
		if (get(&seen[i % SEEN]) == i)
			continue;
		ply_autonode(n, fs, ply_node_get(fs->graph, i));

		if (!n.n)
			break;
		set(&seen[i % SEEN], i);
		if (n.n->type == S_IFDIR)
			dirs[found++] = i;
	}
	if (found)
		queue_add(fs, dirs, found);
}

void ply_ahead_listed(struct ply_fs *fs, const struct ply_node *dir, pid_t pid)
{
	struct walker *w = &walkers[(unsigned int)pid % READERS];
	uint64_t far = dir->id + BESIDE_LEAST;

	if (pid <= 0)
		return;
	if (get(&w->pid) != pid) {
		set(&w->pid, pid);
		set(&w->listed, 0);
	}
	if (get(&w->listed) < LISTED) {
		set(&w->listed, get(&w->listed) + 1);
		return;
	}
	if (get(&dirs_wait)) {
		set(&dirs_wait, get(&dirs_wait) - 1);
		return;
	}
	if (get(&seen[far % SEEN]) != far)
		queue_beside(fs, dir->id);
}

void ply_ahead_end(void)
{
	bool running;

	pthread_mutex_lock(&queue.lock);
	queue.stop = true;
	running = queue.running;
	pthread_cond_signal(&queue.more);
	pthread_mutex_unlock(&queue.lock);
	if (running)
		pthread_join(queue.thread, NULL);
	pthread_mutex_lock(&queue.lock);
	queue.running = queue.stop = false;
	queue.n = 0;
	pthread_mutex_unlock(&queue.lock);
}
