// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_workers.h"
#include "fuse_follow.h"
#include "log.h"
#include "plyfs-fuse.h"
#include "threads.h"
#include "util.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WORKERS_TICK 2000000		/* ns */
#define WORKERS_HELD 500000		/* ns asleep in one request: whoever waits behind it has waited long enough */
#define WORKERS_LONG 20000000		/* ns in one request in any case */
#define WORKERS_IDLE 3			/* ticks without a request, after which the watch sleeps */
#define WORKERS_IDLE_MORE 16		/* and while there is more than one reader: time to take some away */
#define WORKERS_AHEAD 65536		/* bytes of a READ that the kernel sends before its client wants them */
#define WORKERS_FULL 3			/* ticks in a row without time left: one more */
#define WORKERS_LOW 8			/* ticks in a row in which one less would do */

struct worker {
	/* A cache line that its own thread alone writes. */
	_Alignas(64) _Atomic int64_t since;	/* when its request began; 0: it serves none */
	_Atomic int64_t busy;			/* ns in all requests before it */
	_Atomic uint64_t served;
	_Atomic pid_t client;			/* whose request was the last one */
	_Atomic uint32_t shared;		/* requests of another client than the one before, and reading ahead */

	/* The watch's, and what does not change. */
	_Alignas(64) struct ply_workers *all;
	pthread_t thread;
	_Atomic pid_t tid;			/* 0: it has not begun */
	int stat;				/* its file in /proc; -1: not opened yet */
	int64_t last_busy, last_since;
	uint64_t last_served;
	uint32_t last_shared;
	struct ply_follow follow;
	pthread_cond_t go;		/* not parked any more */
	bool parked;			/* p->lock */
};

struct ply_workers {
	struct ply_workers_conf conf;
	struct worker *worker;
	unsigned int cpus;

	/* Read for each request, written when the number of readers changes. */
	_Alignas(64) atomic_uint readers;	/* not parked; these four are written under lock */
	atomic_uint want;
	atomic_bool asleep;			/* the watch: wake it */
	atomic_bool exiting;

	_Alignas(64) pthread_mutex_t lock;	/* leaf: everything below */
	pthread_cond_t ended;			/* a worker has ended */
	pthread_cond_t watch;			/* it shall look */
	pthread_t watcher;
	bool has_watch;
	unsigned int n, nended;
	int error;
	struct ply_workers_trend trend;
	int64_t last_tick;
};

/* --- judgement --- */

static bool tick_is_full(const struct ply_workers_tick *k)
{
	return k->busy >= k->window * k->readers / 10 * 9;
}

bool ply_workers_may_grow(const struct ply_workers_tick *k)
{
	return k->pending && k->readers < k->max && (k->held >= WORKERS_HELD || tick_is_full(k));
}

int ply_workers_judge(struct ply_workers_trend *t, const struct ply_workers_tick *k)
{
	/* Those that compute need a CPU each, and leave the others to their clients. */
	unsigned int computing = k->cpus / 2 ? k->cpus / 2 : 1;

	t->low = k->readers > 1 && k->busy < k->window * (k->readers - 1) / 10 * 6 ? t->low + 1 : 0;
	if (t->low >= WORKERS_LOW) {
		t->low = 0;
		return -1;
	}
	if (!ply_workers_may_grow(k)) {
		t->full = t->slept = 0;
		return 0;
	}
	if (k->held >= (k->sleep == k->readers ? WORKERS_HELD : WORKERS_LONG)) {
		*t = (struct ply_workers_trend){ 0 };
		return 1;
	}
	t->full = tick_is_full(k) ? t->full + 1 : 0;
	t->slept = t->full && k->sleep * 2 >= k->readers ? t->slept + 1 : t->full ? t->slept : 0;
	if (t->full < WORKERS_FULL)
		return 0;
	if (t->slept < WORKERS_FULL - 1 && k->readers >= computing) {
		t->full = t->slept = 0;
		return 0;
	}
	*t = (struct ply_workers_trend){ 0 };
	return 1;
}

/* --- workers --- */

/* Is one reader too many? Then this one waits until it is needed. */
static void worker_park(struct worker *w, struct fuse_buf *buf)
{
	struct ply_workers *p = w->all;

	pthread_mutex_lock(&p->lock);
	if (p->readers > p->want && !p->exiting) {
		p->readers--;
		w->parked = true;
		/* It is as large as the largest request. */
		free(buf->mem);
		*buf = (struct fuse_buf){ 0 };
		while (w->parked && !p->exiting)
			pthread_cond_wait(&w->go, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

static void worker_wake_watch(struct ply_workers *p)
{
	pthread_mutex_lock(&p->lock);
	p->asleep = false;
	pthread_cond_signal(&p->watch);
	pthread_mutex_unlock(&p->lock);
}

/* For fuse_follow. FORGET and RELEASE do not say who, and nobody waits for them. */
static void worker_saw(struct worker *w, const struct fuse_in_header *in)
{
	const struct fuse_read_in *read = (const void *)(in + 1);
	bool ahead = in->opcode == FUSE_READ && read->size >= WORKERS_AHEAD;

	if (!in->pid || (!ahead && (pid_t)in->pid == atomic_load_explicit(&w->client, memory_order_relaxed)))
		return;
	atomic_store_explicit(&w->client, (pid_t)in->pid, memory_order_relaxed);
	atomic_store_explicit(&w->shared, atomic_load_explicit(&w->shared, memory_order_relaxed) + 1, memory_order_relaxed);
}

static void worker_serve(struct worker *w, struct fuse_buf *buf)
{
	struct ply_workers *p = w->all;
	int64_t begin = ply_now_ns(), took;

	/* In this order for the watch, which does it the other way round before it sleeps. */
	atomic_store(&w->since, begin);
	if (atomic_load(&p->asleep))
		worker_wake_watch(p);
	worker_saw(w, buf->mem);
	p->conf.serve(p->conf.arg, buf);
	took = ply_now_ns() - begin;
	atomic_store_explicit(&w->busy, atomic_load_explicit(&w->busy, memory_order_relaxed) + took, memory_order_relaxed);
	atomic_store_explicit(&w->served, atomic_load_explicit(&w->served, memory_order_relaxed) + 1, memory_order_relaxed);
	atomic_store_explicit(&w->since, 0, memory_order_release);
}

/*
 * As fuse_session_receive_buf(), but that its read(2) is no place where this thread can be cancelled: nobody does, and that
 * costs two locked instructions. > 0: bytes; 0: the connection is gone; -errno.
 */
static ssize_t worker_read(struct worker *w, struct fuse_buf *buf)
{
	const struct ply_workers_conf *conf = &w->all->conf;
	ssize_t n;

	if (!buf->mem)
		buf->mem = malloc(conf->room);
	if (!buf->mem)
		return -ENOMEM;
	n = syscall(SYS_read, fuse_session_fd(conf->se), buf->mem, conf->room);
	if (n < 0 && errno == ENODEV) {
		fuse_session_exit(conf->se);
		return 0;
	}
	/* ENOENT: who asked was interrupted meanwhile. */
	if (n < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	if ((size_t)n < sizeof(struct fuse_in_header))
		return -EIO;
	buf->size = (size_t)n;
	return n;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct ply_workers *p = w->all;
	struct fuse_buf buf = { 0 };
	sigset_t wake;
	ssize_t res = 0;

	sigemptyset(&wake);
	sigaddset(&wake, PLY_WORKERS_WAKE);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	atomic_store(&w->tid, (pid_t)syscall(SYS_gettid));
	while (!atomic_load_explicit(&p->exiting, memory_order_relaxed)) {
		if (atomic_load_explicit(&p->readers, memory_order_relaxed) >
		    atomic_load_explicit(&p->want, memory_order_relaxed)) {
			worker_park(w, &buf);
			continue;
		}
		res = worker_read(w, &buf);
		if (res == -EINTR || res == -EAGAIN)
			continue;
		if (res <= 0)
			break;
		worker_serve(w, &buf);
	}
	free(buf.mem);
	pthread_mutex_lock(&p->lock);
	if (res < 0 && !p->exiting && !p->error)
		p->error = (int)res;
	p->nended++;
	pthread_cond_broadcast(&p->ended);
	pthread_mutex_unlock(&p->lock);
	p->conf.ended(p->conf.arg);
	return NULL;
}

/* One reader more: who is parked, or a new thread. */
static int workers_more_locked(struct ply_workers *p)
{
	struct worker *w;
	unsigned int i;
	int err;

	for (i = 0; i < p->n; i++)
		if (p->worker[i].parked)
			break;
	w = &p->worker[i];
	if (i < p->n) {
		w->parked = false;
		pthread_cond_signal(&w->go);
	} else {
		w->all = p;
		w->stat = -1;
		ply_follow_init(&w->follow);
		pthread_cond_init(&w->go, NULL);
		err = pthread_create(&w->thread, NULL, worker_main, w);
		if (err) {
			pthread_cond_destroy(&w->go);
			return -err;
		}
		p->n++;
	}
	p->want = ++p->readers;
	return 0;
}

/* --- the watch --- */

static bool workers_pending(struct ply_workers *p)
{
	struct pollfd d = { .fd = fuse_session_fd(p->conf.se), .events = POLLIN };

	return poll(&d, 1, 0) == 1 && (d.revents & POLLIN);
}

/* Does it sleep in the request that the tick saw? What cannot be known counts as sleep. */
static bool worker_sleeps(struct worker *w)
{
	char text[128];
	const char *end;
	ssize_t n = 0;

	/* Most mounts never need to know. */
	if (w->stat < 0) {
		snprintf(text, sizeof(text), "/proc/self/task/%d/stat", (int)atomic_load(&w->tid));
		w->stat = open(text, O_RDONLY | O_CLOEXEC);
	}
	if (w->stat >= 0)
		n = pread(w->stat, text, sizeof(text) - 1, 0);
	/* Meanwhile it may have come to its end, and sleep in read(2). */
	if (atomic_load(&w->since) != w->last_since)
		return false;
	if (n <= 0)
		return true;
	text[n] = '\0';
	/* "PID (NAME) STATE", and R is running or would like to */
	end = strrchr(text, ')');
	return !end || strncmp(end, ") R", 3) != 0;
}

/* Before watch_worker(), which forgets what there was at the last tick. */
static void watch_follow_locked(struct ply_workers *p, struct worker *w)
{
	uint32_t shared = atomic_load_explicit(&w->shared, memory_order_relaxed);
	struct ply_follow_tick k = {
		.requests = (unsigned int)(atomic_load_explicit(&w->served, memory_order_relaxed) - w->last_served),
		.client = atomic_load_explicit(&w->client, memory_order_relaxed),
		.shared = shared != w->last_shared || p->readers > 1 || w->parked,
	};

	w->last_shared = shared;
	ply_follow_tick(&w->follow, atomic_load(&w->tid), &k);
}

/* What one worker did since the last tick. False: nothing. */
static bool watch_worker(struct worker *w, struct ply_workers_tick *k, int64_t now)
{
	uint64_t served = atomic_load_explicit(&w->served, memory_order_relaxed);
	int64_t since = atomic_load(&w->since), held = since && since < now ? now - since : 0, busy;
	bool active = since || served != w->last_served;

	busy = atomic_load_explicit(&w->busy, memory_order_relaxed) + held;
	if (!w->parked) {
		/* The two were not read at once. */
		k->busy += ply_max(ply_min(busy - w->last_busy, k->window), 0);
		k->held = ply_min(k->held, held);
	}
	w->last_served = served;
	w->last_busy = busy;
	w->last_since = since;
	return active;
}

/* False: nothing was served. */
static bool watch_tick_locked(struct ply_workers *p)
{
	int64_t now = ply_now_ns();
	struct ply_workers_tick k = {
		.readers = p->readers, .max = p->conf.max, .cpus = p->cpus,
		.window = now - p->last_tick, .held = INT64_MAX,
	};
	bool active = false;
	unsigned int i;

	for (i = 0; p->cpus > 1 && i < p->n; i++)
		watch_follow_locked(p, &p->worker[i]);
	for (i = 0; i < p->n; i++)
		active |= watch_worker(&p->worker[i], &k, now);
	p->last_tick = now;
	k.pending = k.held && workers_pending(p);
	for (i = 0; i < p->n && ply_workers_may_grow(&k); i++)
		k.sleep += !p->worker[i].parked && worker_sleeps(&p->worker[i]);
	switch (ply_workers_judge(&p->trend, &k)) {
	case 1:
		if (workers_more_locked(p))
			ply_debug("no thread can be made");
		break;
	case -1:
		p->want = p->readers - 1;
		break;
	}
	return active;
}

static bool workers_serve_locked(struct ply_workers *p)
{
	unsigned int i;

	for (i = 0; i < p->n; i++)
		if (atomic_load(&p->worker[i].since))
			return true;
	return false;
}

static void *watch_main(void *arg)
{
	struct ply_workers *p = arg;
	/* Nothing is to be seen before the first request, which wakes it. */
	unsigned int idle = WORKERS_IDLE_MORE;

	pthread_mutex_lock(&p->lock);
	while (!p->exiting) {
		struct timespec until;

		if (idle >= (p->readers > 1 ? WORKERS_IDLE_MORE : WORKERS_IDLE)) {
			atomic_store(&p->asleep, true);
			if (!workers_serve_locked(p))
				pthread_cond_wait(&p->watch, &p->lock);
			p->asleep = false;
			idle = 0;
			p->last_tick = ply_now_ns();
			continue;
		}
		until = ply_after_ns(WORKERS_TICK);
		pthread_cond_timedwait(&p->watch, &p->lock, &until);
		idle = watch_tick_locked(p) ? 0 : idle + 1;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* --- the whole --- */

static unsigned int cpu_count(void)
{
	cpu_set_t set;

	/* More of them than fit into the set is enough, too. */
	return sched_getaffinity(0, sizeof(set), &set) ? CPU_SETSIZE : (unsigned int)CPU_COUNT(&set);
}

void ply_workers_free(struct ply_workers *p)
{
	unsigned int i;

	if (!p)
		return;
	for (i = 0; i < p->n; i++) {
		if (p->worker[i].stat >= 0)
			close(p->worker[i].stat);
		ply_follow_forget(&p->worker[i].follow);
		pthread_cond_destroy(&p->worker[i].go);
	}
	pthread_cond_destroy(&p->watch);
	pthread_cond_destroy(&p->ended);
	pthread_mutex_destroy(&p->lock);
	free(p->worker);
	free(p);
}

int ply_workers_start(struct ply_workers **out, const struct ply_workers_conf *conf)
{
	size_t size = sizeof(struct worker) * conf->max;
	struct ply_workers *p = aligned_alloc(64, sizeof(*p));
	struct worker *w = aligned_alloc(64, size);
	int err;

	if (!p || !w) {
		free(p);
		free(w);
		return -ENOMEM;
	}
	memset(p, 0, sizeof(*p));
	memset(w, 0, size);
	p->conf = *conf;
	p->worker = w;
	p->cpus = cpu_count();
	pthread_mutex_init(&p->lock, NULL);
	ply_cond_init(&p->ended);
	ply_cond_init(&p->watch);
	pthread_mutex_lock(&p->lock);
	err = workers_more_locked(p);
	pthread_mutex_unlock(&p->lock);
	if (err) {
		ply_workers_free(p);
		return err;
	}
	*out = p;
	return 0;
}

int ply_workers_watch(struct ply_workers *p)
{
	int err;

	if (p->conf.max < 2)
		return 0;
	p->last_tick = ply_now_ns();
	err = pthread_create(&p->watcher, NULL, watch_main, p);
	p->has_watch = !err;
	return -err;
}

bool ply_workers_ended(struct ply_workers *p, int *err)
{
	bool ended;

	pthread_mutex_lock(&p->lock);
	ended = p->nended > 0;
	*err = p->error;
	pthread_mutex_unlock(&p->lock);
	return ended;
}

unsigned int ply_workers_count(struct ply_workers *p)
{
	unsigned int n;

	pthread_mutex_lock(&p->lock);
	n = p->n;
	pthread_mutex_unlock(&p->lock);
	return n;
}

static pthread_t worker_thread(const void *arg, unsigned int i)
{
	return ((const struct worker *)arg)[i].thread;
}

void ply_workers_stop(struct ply_workers *p)
{
	unsigned int i;

	if (!p)
		return;
	fuse_session_exit(p->conf.se);
	pthread_mutex_lock(&p->lock);
	p->exiting = true;
	pthread_cond_signal(&p->watch);
	pthread_mutex_unlock(&p->lock);
	/* It makes threads. */
	if (p->has_watch)
		pthread_join(p->watcher, NULL);
	pthread_mutex_lock(&p->lock);
	for (i = 0; i < p->n; i++)
		pthread_cond_signal(&p->worker[i].go);
	pthread_mutex_unlock(&p->lock);
	ply_threads_end(&p->lock, &p->ended, &p->nended, p->n, PLY_WORKERS_WAKE, worker_thread, p->worker);
}
