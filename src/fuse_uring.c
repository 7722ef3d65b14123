// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_uring.h"
#include "fuse_workers.h"
#include "log.h"
#include "plyfs-fuse.h"
#include "ring.h"
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
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>

#define URING_TICK 2000000		/* ns */
#define URING_HELD 2000000		/* ns in one request: whoever waits behind it has waited long enough */
#define URING_EACH 2			/* threads for each processor from the start */
#define URING_MORE 16			/* and beyond that, at most */
#define URING_AGAIN 20000000		/* ns until a thread that could not begin tries again */
#define URING_IDLE 16			/* ticks without a request, after which the watch sleeps */
#define URING_GIVE_WAY 32		/* requests */
#define URING_HEAD 4096			/* bytes before the payload: a request is put together there, in one piece */
#define URING_MIN_PAYLOAD 8192		/* of the kernel, FUSE_MIN_READ_BUFFER */

/* A buffer for one request, known to the kernel for one queue. */
struct slot {
	struct fuse_uring_req_header *head;
	char *payload;
	size_t size;
	struct iovec iov[2];
	uint64_t commit_id, unique;
	uint16_t qid;
	bool answered, dead;
};

struct group;

struct member {
	/* A cache line that its own thread alone writes. */
	_Alignas(64) _Atomic int64_t since;	/* when its request began; 0: it serves none */
	_Atomic uint64_t served;

	_Alignas(64) struct ply_uring *all;
	struct group *group;
	pthread_t thread;
	struct ply_ring ring;
	struct slot *slot;		/* one for each queue of the group */
	char *memory;
	size_t memory_size;
	bool first;			/* made at the start: without it nothing works */
};

/* Queues that share their threads. */
struct group {
	unsigned int nqueues;
	uint16_t *queue;
	int cpu;			/* that its threads are bound to; -1: none */
};

struct ply_uring {
	struct ply_uring_conf conf;
	struct group *group;
	struct member *member;
	unsigned int ngroups, nqueues, limit;
	uint16_t *queues;

	_Alignas(64) atomic_bool exiting;
	atomic_bool asleep;		/* the watch: wake it */

	_Alignas(64) pthread_mutex_t lock;	/* leaf: everything below */
	pthread_cond_t changed;
	pthread_cond_t watch;
	pthread_t watcher;
	bool has_watch;
	bool go;
	size_t payload;
	unsigned int n, nready, nserving, nended;
	unsigned int nfirst, nlost;	/* made at the start; of these ended */
	int error;
};

/* The request that this thread serves. */
static _Thread_local struct slot *uring_slot;

/* --- replies --- */

char *ply_uring_payload(size_t size)
{
	return uring_slot && size <= uring_slot->size ? uring_slot->payload : NULL;
}

/* The request's own bytes may be overwritten: handlers answer last. */
static ssize_t slot_answer(struct slot *e, const struct iovec *iov, int count)
{
	struct fuse_out_header out;
	size_t len = 0;
	int i;

	memcpy(&out, iov[0].iov_base, sizeof(out));
	for (i = 1; i < count; i++) {
		if (iov[i].iov_len > e->size - len) {
			errno = EINVAL;
			return -1;
		}
		memmove(e->payload + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	memcpy(e->head->in_out, &out, sizeof(out));
	e->head->ring_ent_in_out.payload_sz = (uint32_t)len;
	e->answered = true;
	return (ssize_t)(sizeof(out) + len);
}

static void slot_fail(struct slot *e)
{
	struct fuse_out_header out = { .len = sizeof(out), .error = -EIO, .unique = e->unique };
	struct iovec iov = { .iov_base = &out, .iov_len = sizeof(out) };

	slot_answer(e, &iov, 1);
}

bool ply_uring_answer(const void *answer, size_t len)
{
	const struct fuse_out_header *out = answer;
	struct slot *e = uring_slot;
	struct iovec iov[2];

	if (!e || e->answered || out->unique != e->unique)
		return false;
	iov[0] = (struct iovec){ .iov_base = (void *)(uintptr_t)out, .iov_len = sizeof(*out) };
	iov[1] = (struct iovec){ .iov_base = (void *)(uintptr_t)(out + 1), .iov_len = len - sizeof(*out) };
	return slot_answer(e, iov, 2) >= 0;
}

static ssize_t hook_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	struct slot *e = uring_slot;

	(void)userdata;
	/* Others are notices to the kernel. */
	if (e && !e->answered && out->unique == e->unique)
		return slot_answer(e, iov, count);
	return writev(fd, iov, count);
}

static ssize_t hook_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

static ssize_t hook_splice(int in, off_t *in_off, int out, off_t *out_off, size_t len, unsigned int flags, void *userdata)
{
	(void)userdata;
	return splice(in, in_off, out, out_off, len, flags);
}

static void hook_quiet(enum fuse_log_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)fmt;
	(void)ap;
}

int ply_uring_hook(struct fuse_session *se)
{
	static const struct fuse_custom_io io = {
		.writev = hook_writev, .read = hook_read, .splice_receive = hook_splice, .splice_send = hook_splice,
	};
	int r;

	/* What it says is said by us, in one line. */
	fuse_set_log_func(hook_quiet);
	r = fuse_session_custom_io(se, &io, sizeof(io), fuse_session_fd(se));
	fuse_set_log_func(NULL);
	return r ? -EOPNOTSUPP : 0;
}

/* --- threads --- */

static void uring_wake_watch(struct ply_uring *u)
{
	pthread_mutex_lock(&u->lock);
	u->asleep = false;
	pthread_cond_signal(&u->watch);
	pthread_mutex_unlock(&u->lock);
}

static void member_fill(struct member *m, unsigned int i, enum fuse_uring_cmd op)
{
	struct slot *e = &m->slot[i];
	struct fuse_uring_cmd_req cmd = { .qid = e->qid };
	struct ply_ring_cmd c = { .op = op, .cmd = &cmd, .cmd_size = sizeof(cmd), .tag = i };

	if (op == FUSE_IO_URING_CMD_REGISTER) {
		c.addr = (uintptr_t)e->iov;
		c.len = PLY_ARRAY_SIZE(e->iov);
	} else {
		cmd.commit_id = e->commit_id;
	}
	ply_ring_fill(&m->ring, &c);
}

/* The pieces of a request are put together in front of its payload, as if read from the device. */
static void member_serve(struct member *m, struct slot *e)
{
	struct ply_uring *u = m->all;
	const struct fuse_uring_ent_in_out *io = &e->head->ring_ent_in_out;
	struct fuse_in_header in;
	struct fuse_buf buf = { 0 };
	size_t op;

	memcpy(&in, e->head->in_out, sizeof(in));
	e->commit_id = io->commit_id;
	e->unique = in.unique;
	e->answered = false;
	op = in.len - sizeof(in) - io->payload_sz;
	if (in.len < sizeof(in) || io->payload_sz > e->size || op > sizeof(e->head->op_in)) {
		slot_fail(e);
		return;
	}
	buf.size = in.len;
	buf.mem = e->payload - op - sizeof(in);
	memcpy(buf.mem, &in, sizeof(in));
	memcpy((char *)buf.mem + sizeof(in), e->head->op_in, op);
	/* In this order for the watch, which does it the other way round before it sleeps. */
	atomic_store(&m->since, ply_now_ns());
	if (atomic_load(&u->asleep))
		uring_wake_watch(u);
	uring_slot = e;
	u->conf.serve(u->conf.arg, &buf);
	uring_slot = NULL;
	if (!e->answered)
		slot_fail(e);
	atomic_store_explicit(&m->served, atomic_load_explicit(&m->served, memory_order_relaxed) + 1, memory_order_relaxed);
	atomic_store_explicit(&m->since, 0, memory_order_release);
}

/* FORGETs come to another thread, and hold memory and descriptors until they are served: on a busy processor they go first. */
static void member_give_way(struct member *m)
{
	struct pollfd d = { .fd = fuse_session_fd(m->all->conf.se), .events = POLLIN };

	if (poll(&d, 1, 0) == 1 && (d.revents & POLLIN))
		sched_yield();
}

/* Serves what has come. False: no queue is left. */
static bool member_take(struct member *m)
{
	unsigned int i, alive = 0;
	uint64_t tag;
	int32_t res;

	while (ply_ring_next(&m->ring, &tag, &res)) {
		struct slot *e = &m->slot[tag];

		if (res == -EAGAIN || res == -EINTR) {
			member_fill(m, (unsigned int)tag, e->commit_id ? FUSE_IO_URING_CMD_COMMIT_AND_FETCH : FUSE_IO_URING_CMD_REGISTER);
			continue;
		}
		if (res) {
			/* These tell of the end of the connection. */
			if (res != -ENOTCONN && res != -ECONNABORTED && res != -ECANCELED)
				ply_warn("io_uring, queue of processor %u: %s", e->qid, strerror(-res));
			e->dead = true;
			continue;
		}
		member_serve(m, e);
		member_fill(m, (unsigned int)tag, FUSE_IO_URING_CMD_COMMIT_AND_FETCH);
		/* The next one shall not keep this answer waiting. */
		if (ply_ring_has_next(&m->ring))
			ply_ring_enter(&m->ring, false);
		if (atomic_load_explicit(&m->served, memory_order_relaxed) % URING_GIVE_WAY == 0) {
			ply_ring_enter(&m->ring, false);
			member_give_way(m);
		}
	}
	for (i = 0; i < m->group->nqueues; i++)
		alive += !m->slot[i].dead;
	return alive > 0;
}

static int member_memory(struct member *m, size_t payload)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), head = ply_max(page, (size_t)URING_HEAD);
	size_t one = 2 * head + (payload + page - 1) / page * page;
	unsigned int i, n = m->group->nqueues;

	m->slot = calloc(n, sizeof(*m->slot));
	m->memory_size = one * n;
	m->memory = mmap(NULL, m->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->memory == MAP_FAILED)
		m->memory = NULL;
	if (!m->slot || !m->memory)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		struct slot *e = &m->slot[i];

		e->qid = m->group->queue[i];
		e->head = (struct fuse_uring_req_header *)(void *)(m->memory + one * i);
		e->payload = m->memory + one * i + 2 * head;
		e->size = one - 2 * head;
		e->iov[0] = (struct iovec){ .iov_base = e->head, .iov_len = sizeof(*e->head) };
		e->iov[1] = (struct iovec){ .iov_base = e->payload, .iov_len = e->size };
	}
	return 0;
}

/* Tells the kernel of the buffers. 0: the queues of the group are served from now on. */
static int member_register(struct member *m)
{
	const struct fuse_uring_cmd_req none = { .qid = m->group->queue[0] };
	const struct ply_ring_cmd nothing = { .op = FUSE_IO_URING_CMD_REGISTER, .cmd = &none, .cmd_size = sizeof(none) };
	struct ply_uring *u = m->all;
	unsigned int i;
	int err, r;

	pthread_mutex_lock(&u->lock);
	if (!u->error)
		u->nready++;
	pthread_cond_broadcast(&u->changed);
	while (!u->go && !u->exiting)
		pthread_cond_wait(&u->changed, &u->lock);
	pthread_mutex_unlock(&u->lock);
	if (u->exiting)
		return -ECANCELED;
	err = member_memory(m, u->payload);
	for (i = 0; !err && i < m->group->nqueues; i++)
		member_fill(m, i, FUSE_IO_URING_CMD_REGISTER);
	/* The kernel waits for all queues: by a bad buffer it learns that there will be none. */
	if (err && m->first)
		ply_ring_fill(&m->ring, &nothing);
	do {
		r = ply_ring_enter(&m->ring, false);
	} while (r == -EINTR);
	return err ? err : r;
}

static void member_bind(const struct member *m)
{
	cpu_set_t set;

	if (m->group->cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(m->group->cpu, &set);
	/* Who may not is waked elsewhere. */
	if (sched_setaffinity(0, sizeof(set), &set))
		ply_debug("a thread cannot be bound to processor %d", m->group->cpu);
}

static void member_free(struct member *m)
{
	/* With it goes what the kernel knows of the buffers. */
	ply_ring_free(&m->ring);
	if (m->memory)
		munmap(m->memory, m->memory_size);
	m->memory = NULL;
	free(m->slot);
	m->slot = NULL;
}

static int member_begin(struct member *m)
{
	int err = ply_ring_init(&m->ring, m->group->nqueues, fuse_session_fd(m->all->conf.se));

	if (!err)
		err = member_register(m);
	if (err)
		member_free(m);
	return err;
}

/* It was made since all others are held up: what it lacks, descriptors or memory, may be there later. False: it is too late. */
static bool member_waits(struct ply_uring *u)
{
	struct timespec until = ply_after_ns(URING_AGAIN);
	bool again;

	pthread_mutex_lock(&u->lock);
	if (!u->exiting)
		pthread_cond_timedwait(&u->changed, &u->lock, &until);
	again = !u->exiting;
	pthread_mutex_unlock(&u->lock);
	return again;
}

static void *member_main(void *arg)
{
	struct member *m = arg;
	struct ply_uring *u = m->all;
	sigset_t wake;
	int err;

	sigemptyset(&wake);
	sigaddset(&wake, PLY_WORKERS_WAKE);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	member_bind(m);
	do {
		err = member_begin(m);
	} while (err && !m->first && member_waits(u));
	pthread_mutex_lock(&u->lock);
	if (err && m->first && !u->error)
		u->error = err;
	if (!err)
		u->nserving++;
	pthread_cond_broadcast(&u->changed);
	pthread_mutex_unlock(&u->lock);
	while (!err && !atomic_load_explicit(&u->exiting, memory_order_relaxed)) {
		err = ply_ring_enter(&m->ring, true);
		if (err == -EINTR || err == -EAGAIN || err == -EBUSY)
			err = 0;
		if (!member_take(m))
			break;
	}
	member_free(m);
	pthread_mutex_lock(&u->lock);
	u->nended++;
	u->nlost += m->first;
	pthread_cond_broadcast(&u->changed);
	pthread_mutex_unlock(&u->lock);
	u->conf.ended(u->conf.arg);
	return NULL;
}

static int uring_more_locked(struct ply_uring *u, struct group *g, bool first)
{
	struct member *m = &u->member[u->n];
	int err;

	m->all = u;
	m->first = first;
	m->group = g;
	m->ring.fd = -1;
	err = pthread_create(&m->thread, NULL, member_main, m);
	if (!err)
		u->n++;
	return -err;
}

/* --- the watch --- */

/* Is at most one thread of the group left that is not held up in a request? */
static bool watch_is_short_locked(struct ply_uring *u, const struct group *g, int64_t now)
{
	unsigned int i, left = 0, held = 0;

	for (i = 0; i < u->n; i++) {
		const struct member *m = &u->member[i];
		int64_t since = atomic_load(&m->since);

		if (m->group != g)
			continue;
		if (since && now - since >= URING_HELD)
			held++;
		else
			left++;
	}
	return held && left < 2;
}

static bool uring_serves_locked(struct ply_uring *u)
{
	unsigned int i;

	for (i = 0; i < u->n; i++)
		if (atomic_load(&u->member[i].since))
			return true;
	return false;
}

/* How many requests have been served. */
static uint64_t watch_tick_locked(struct ply_uring *u)
{
	int64_t now = ply_now_ns();
	uint64_t served = 0;
	unsigned int i;

	for (i = 0; i < u->ngroups && u->n < u->limit; i++)
		if (watch_is_short_locked(u, &u->group[i], now) && uring_more_locked(u, &u->group[i], false))
			ply_debug("no thread can be made");
	for (i = 0; i < u->n; i++)
		served += atomic_load_explicit(&u->member[i].served, memory_order_relaxed);
	return served;
}

static void *watch_main(void *arg)
{
	struct ply_uring *u = arg;
	unsigned int idle = 0;
	uint64_t served = 0;

	pthread_mutex_lock(&u->lock);
	while (!u->exiting) {
		struct timespec until;
		uint64_t now;

		if (idle >= URING_IDLE) {
			atomic_store(&u->asleep, true);
			if (!uring_serves_locked(u))
				pthread_cond_wait(&u->watch, &u->lock);
			u->asleep = false;
			idle = 0;
			continue;
		}
		until = ply_after_ns(URING_TICK);
		pthread_cond_timedwait(&u->watch, &u->lock, &until);
		now = watch_tick_locked(u);
		idle = now == served ? idle + 1 : 0;
		served = now;
	}
	pthread_mutex_unlock(&u->lock);
	return NULL;
}

/* --- queues --- */

unsigned int ply_uring_count_cpus(const char *list)
{
	unsigned int n = 0;

	while (*list && *list != '\n') {
		char *end;
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (end == list)
			return 0;
		list = end;
		if (*list == '-') {
			last = strtoul(list + 1, &end, 10);
			if (end == list + 1)
				return 0;
			list = end;
		}
		if (last < first || last > UINT16_MAX)
			return 0;
		n += (unsigned int)(last - first) + 1;
		if (*list == ',')
			list++;
		else if (*list && *list != '\n')
			return 0;
	}
	return n;
}

/* As many queues as the kernel has: with one too few it would hold back requests for ever. 0: not known. */
static unsigned int count_queues(void)
{
	char text[2048];
	ssize_t n;

	ply_autofd fd = open("/sys/devices/system/cpu/possible", O_RDONLY | O_CLOEXEC);

	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return ply_uring_count_cpus(text);
}

/*
 * One group for each processor that we may use, if there may be so many threads; the queues of other processors are dealt out
 * to them.
 */
static int uring_group(struct ply_uring *u)
{
	unsigned int q, used = 0, g, at = 0;
	cpu_set_t may;
	bool bound;

	if (sched_getaffinity(0, sizeof(may), &may))
		CPU_ZERO(&may);
	for (q = 0; q < u->nqueues; q++)
		used += q < CPU_SETSIZE && CPU_ISSET(q, &may);
	used = ply_max(used, 1U);
	u->ngroups = u->conf.max ? ply_min(used, u->conf.max) : used;
	u->limit = u->conf.max ? u->conf.max : used * URING_EACH + URING_MORE;
	bound = u->ngroups == used && used > 1;
	u->group = calloc(u->ngroups, sizeof(*u->group));
	u->queues = calloc(u->nqueues, sizeof(*u->queues));
	u->member = aligned_alloc(64, sizeof(*u->member) * u->limit);
	if (!u->group || !u->queues || !u->member)
		return -ENOMEM;
	memset(u->member, 0, sizeof(*u->member) * u->limit);
	for (g = 0; g < u->ngroups; g++) {
		unsigned int own = 0, other = 0;

		u->group[g] = (struct group){ .queue = u->queues + at, .cpu = -1 };
		for (q = 0; q < u->nqueues; q++) {
			bool ours = bound && q < CPU_SETSIZE && CPU_ISSET(q, &may);

			if ((ours ? own++ : other++) % (ours ? u->nqueues : u->ngroups) != g)
				continue;
			if (ours)
				u->group[g].cpu = (int)q;
			u->group[g].queue[u->group[g].nqueues++] = (uint16_t)q;
			at++;
		}
	}
	return 0;
}

/* --- the whole --- */

void ply_uring_free(struct ply_uring *u)
{
	if (!u)
		return;
	pthread_cond_destroy(&u->watch);
	pthread_cond_destroy(&u->changed);
	pthread_mutex_destroy(&u->lock);
	free(u->group);
	free(u->queues);
	free(u->member);
	free(u);
}

static int uring_start(struct ply_uring *u)
{
	unsigned int i;
	int err = 0;

	pthread_mutex_lock(&u->lock);
	for (i = 0; !err && i < ply_min(u->ngroups * URING_EACH, u->limit); i++)
		err = uring_more_locked(u, &u->group[i % u->ngroups], true);
	u->nfirst = u->n;
	while (!err && !u->error && u->nready < u->n)
		pthread_cond_wait(&u->changed, &u->lock);
	err = err ? err : u->error;
	pthread_mutex_unlock(&u->lock);
	return err;
}

int ply_uring_new(struct ply_uring **out, const struct ply_uring_conf *conf, char *why, size_t whylen)
{
	struct ply_uring *u = aligned_alloc(64, sizeof(*u));
	int err;

	if (!u) {
		snprintf(why, whylen, "out of memory");
		return -ENOMEM;
	}
	memset(u, 0, sizeof(*u));
	u->conf = *conf;
	pthread_mutex_init(&u->lock, NULL);
	ply_cond_init(&u->changed);
	ply_cond_init(&u->watch);
	u->nqueues = count_queues();
	if (!u->nqueues) {
		snprintf(why, whylen, "/sys/devices/system/cpu/possible cannot be read");
		ply_uring_free(u);
		return -ENOENT;
	}
	err = uring_group(u);
	if (!err)
		err = uring_start(u);
	if (err) {
		snprintf(why, whylen, "io_uring cannot be had here: %s%s", strerror(-err),
			 err == -EPERM ? " (sysctl kernel.io_uring_disabled, or a container's seccomp profile)" :
			 err == -ENOSYS || err == -EINVAL ? " (it takes Linux 6.14)" : "");
		ply_uring_stop(u);
		ply_uring_free(u);
		return err;
	}
	*out = u;
	return 0;
}

int ply_uring_go(struct ply_uring *u, size_t payload)
{
	int err;

	pthread_mutex_lock(&u->lock);
	u->payload = ply_max(payload, (size_t)URING_MIN_PAYLOAD);
	u->go = true;
	pthread_cond_broadcast(&u->changed);
	while (!u->error && u->nserving < u->nfirst)
		pthread_cond_wait(&u->changed, &u->lock);
	err = u->error;
	pthread_mutex_unlock(&u->lock);
	if (!err && u->limit > u->nfirst) {
		u->has_watch = !pthread_create(&u->watcher, NULL, watch_main, u);
		if (!u->has_watch)
			ply_warn("no thread can be made: each processor's requests are served one at a time");
	}
	return err;
}

bool ply_uring_serves(struct ply_uring *u)
{
	bool serves;

	pthread_mutex_lock(&u->lock);
	serves = u->go && u->nserving >= u->nfirst && !u->nlost && !u->error;
	pthread_mutex_unlock(&u->lock);
	return serves;
}

unsigned int ply_uring_threads(struct ply_uring *u)
{
	unsigned int n;

	pthread_mutex_lock(&u->lock);
	n = u->n;
	pthread_mutex_unlock(&u->lock);
	return n;
}

static pthread_t member_thread(const void *arg, unsigned int i)
{
	return ((const struct member *)arg)[i].thread;
}

void ply_uring_stop(struct ply_uring *u)
{
	if (!u)
		return;
	pthread_mutex_lock(&u->lock);
	u->exiting = true;
	pthread_cond_broadcast(&u->changed);
	pthread_cond_signal(&u->watch);
	pthread_mutex_unlock(&u->lock);
	/* It makes threads. */
	if (u->has_watch)
		pthread_join(u->watcher, NULL);
	ply_threads_end(&u->lock, &u->changed, &u->nended, u->n, PLY_WORKERS_WAKE, member_thread, u->member);
}
