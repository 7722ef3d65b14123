// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_session.h"
#include "creds.h"
#include "fuse_backing.h"
#include "fuse_mount.h"
#include "fuse_notify.h"
#include "fuse_ops.h"
#include "log.h"
#include "plyfs-fuse.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#define SESSION_THREADS 16		/* at most, unless threads= says otherwise */
#define SESSION_WAKE SIGUSR2		/* gets a worker out of its read at the end */
#define SESSION_FOREVER 1e9		/* seconds; the kernel caps it */

struct ply_session {
	struct ply_fuse fuse;
	struct ply_fs *fs;
	struct ply_mount mount;
	struct ply_notify *notify;
	struct ply_session_info info;

	pthread_mutex_t lock;		/* leaf: everything down to the blank line */
	pthread_cond_t ended;		/* a worker has ended */
	pthread_t *worker;
	unsigned int nworkers, navail, nended, max_workers;
	bool live;			/* INIT is answered */
	int error;

	atomic_bool exiting;
	bool init_seen;			/* by the worker that serves INIT */
	int event;			/* eventfd: live, or a worker has ended */
};

/* --- INIT --- */

static void want(struct fuse_conn_info *conn, uint64_t cap, bool on)
{
	if (on)
		fuse_set_feature_flag(conn, cap);
	else
		fuse_unset_feature_flag(conn, cap);
}

static void session_on_init(struct ply_fuse *f, struct fuse_conn_info *conn)
{
	struct ply_session *s = ply_container_of(f, struct ply_session, fuse);
	const struct ply_options *opt = s->fs->opt;
	struct ply_fs *fs = s->fs;
	bool forever = opt->timeout < 0;

	/* The umask is applied by us: a default ACL takes its place. */
	want(conn, FUSE_CAP_DONT_MASK, true);
	want(conn, FUSE_CAP_POSIX_ACL, !opt->noacl && !opt->noxattrs);
	want(conn, FUSE_CAP_SETXATTR_EXT, true);
	want(conn, FUSE_CAP_NO_OPENDIR_SUPPORT, true);
	want(conn, FUSE_CAP_PARALLEL_DIROPS, true);
	want(conn, FUSE_CAP_CACHE_SYMLINKS, true);
	want(conn, FUSE_CAP_READDIRPLUS, true);
	want(conn, FUSE_CAP_READDIRPLUS_AUTO, false);
	want(conn, FUSE_CAP_ATOMIC_O_TRUNC, true);
	want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2, true);
	want(conn, FUSE_CAP_HANDLE_KILLPRIV, false);
	want(conn, FUSE_CAP_ASYNC_DIO, true);
	want(conn, FUSE_CAP_ASYNC_READ, true);
	want(conn, FUSE_CAP_IOCTL_DIR, true);
	want(conn, FUSE_CAP_EXPORT_SUPPORT, false);
	want(conn, FUSE_CAP_FLOCK_LOCKS, false);
	want(conn, FUSE_CAP_POSIX_LOCKS, false);
	want(conn, FUSE_CAP_SPLICE_WRITE, true);
	want(conn, FUSE_CAP_SPLICE_MOVE, false);
	/* Small requests are the rule, and each would pass a pipe. */
	want(conn, FUSE_CAP_SPLICE_READ, false);
	/* Whoever changes layers behind our back says so by a timeout. */
	want(conn, FUSE_CAP_AUTO_INVAL_DATA, !forever);
	want(conn, FUSE_CAP_OVER_IO_URING, false);

	if (fs->stack_depth && !fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH)) {
		fs->stack_depth = 0;
		snprintf(fs->passthrough_why, sizeof(fs->passthrough_why), "the kernel does not offer it");
	}
	if (fs->stack_depth) {
		conn->max_backing_stack_depth = fs->stack_depth - 1;
		fs->passthrough = true;
	} else {
		want(conn, FUSE_CAP_PASSTHROUGH, false);
		fs->writeback = ply_fs_writable(fs) && !opt->writeback_off && forever &&
				fuse_set_feature_flag(conn, FUSE_CAP_WRITEBACK_CACHE);
	}
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->time_gran = 1;

	f->setxattr_ext = fuse_get_feature_flag(conn, FUSE_CAP_SETXATTR_EXT);
	fs->killpriv_v2 = fuse_get_feature_flag(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
	s->info.proto_major = conn->proto_major;
	s->info.proto_minor = conn->proto_minor;
	s->info.max_write = conn->max_write;
	s->info.setxattr_ext = f->setxattr_ext;
	s->info.killpriv_v2 = fs->killpriv_v2;
	s->info.posix_acl = fuse_get_feature_flag(conn, FUSE_CAP_POSIX_ACL);
	s->info.readdirplus = fuse_get_feature_flag(conn, FUSE_CAP_READDIRPLUS);
	s->init_seen = true;
}

/* --- workers --- */

static void *session_work(void *arg);

static void session_post(struct ply_session *s)
{
	uint64_t one = 1;

	if (write(s->event, &one, sizeof(one)) < 0)
		ply_debug("eventfd: %s", strerror(errno));
}

/* Called with s->lock held. */
static int session_start_worker_locked(struct ply_session *s)
{
	pthread_t t;
	int err = pthread_create(&t, NULL, session_work, s);

	if (err)
		return -err;
	s->worker[s->nworkers++] = t;
	s->navail++;
	return 0;
}

static void session_serve(struct ply_session *s, struct fuse_buf *buf)
{
	const struct fuse_in_header *in = buf->flags & FUSE_BUF_IS_FD ? NULL : buf->mem;
	/* Bursts of these must not make threads. */
	bool quick = in && (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET);

	pthread_mutex_lock(&s->lock);
	if (!quick && --s->navail == 0 && s->live && s->nworkers < s->max_workers)
		session_start_worker_locked(s);
	pthread_mutex_unlock(&s->lock);
	if (in)
		ply_count_op(in->opcode);
	/* The last request of this thread may have left it without; writes say what they want. */
	if (in && in->opcode != FUSE_WRITE)
		ply_creds_fsetid(true);
	ply_fuse_request = in;
	if (in && in->opcode == FUSE_INIT)
		ply_mount_process_init(&s->mount, buf);
	else
		fuse_session_process_buf(s->fuse.se, buf);
	ply_fuse_request = NULL;
	pthread_mutex_lock(&s->lock);
	if (!quick)
		s->navail++;
	if (!s->live && s->init_seen) {
		s->live = true;
		session_post(s);
	}
	pthread_mutex_unlock(&s->lock);
}

static void *session_work(void *arg)
{
	struct ply_session *s = arg;
	struct fuse_buf buf = { 0 };
	sigset_t wake;
	int res = 0;

	sigemptyset(&wake);
	sigaddset(&wake, SESSION_WAKE);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	while (!s->exiting) {
		res = fuse_session_receive_buf(s->fuse.se, &buf);
		if (res == -EINTR || res == -EAGAIN)
			continue;
		if (res <= 0)
			break;
		session_serve(s, &buf);
	}
	free(buf.mem);
	pthread_mutex_lock(&s->lock);
	if (res < 0 && !s->exiting && !s->error)
		s->error = res;
	s->nended++;
	pthread_cond_broadcast(&s->ended);
	pthread_mutex_unlock(&s->lock);
	session_post(s);
	return NULL;
}

static void session_stop(struct ply_session *s)
{
	unsigned int i;

	s->exiting = true;
	fuse_session_exit(s->fuse.se);
	pthread_mutex_lock(&s->lock);
	/* A signal just before the read is lost: once more until each has come out. */
	while (s->nended < s->nworkers) {
		struct timespec until;

		for (i = 0; i < s->nworkers; i++)
			pthread_kill(s->worker[i], SESSION_WAKE);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 20000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&s->ended, &s->lock, &until);
	}
	pthread_mutex_unlock(&s->lock);
	for (i = 0; i < s->nworkers; i++)
		pthread_join(s->worker[i], NULL);
	s->nworkers = 0;
}

/* --- signals --- */

static void on_wake(int sig)
{
	(void)sig;
}

static void signals_ours(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGQUIT);
	sigaddset(set, SIGUSR1);
}

void ply_session_block_signals(void)
{
	struct sigaction wake = { .sa_handler = on_wake };
	sigset_t set;

	signals_ours(&set);
	sigaddset(&set, SESSION_WAKE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigaction(SESSION_WAKE, &wake, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* A lease that is broken (backing.c) sends it. */
	signal(SIGIO, SIG_IGN);
}

static void log_counters(struct ply_session *s)
{
	struct ply_counter_block *sum = calloc(1, sizeof(*sum));
	struct ply_graph_stats g;
	uint64_t requests = 0;
	size_t i;

	if (!sum)
		return;
	ply_counters_sum(sum);
	ply_graph_stats(s->fs->graph, &g);
	for (i = 0; i < PLY_OPCODES; i++)
		requests += sum->op[i];
	ply_info("%s: requests=%llu nodes=%llu dirfds=%llu", s->fs->opt->mountpoint, (unsigned long long)requests,
		 (unsigned long long)g.nodes, (unsigned long long)g.dirfds);
	for (i = 0; i < PLY_C_COUNT; i++)
		if (sum->c[i])
			ply_info("%s: %s=%llu", s->fs->opt->mountpoint, ply_counter_names[i],
				 (unsigned long long)sum->c[i]);
	free(sum);
}

/* Waits for the first event: true when a signal asks for the end. */
static bool session_wait(struct ply_session *s, int sigfd)
{
	struct pollfd p[2] = { { .fd = sigfd, .events = POLLIN }, { .fd = s->event, .events = POLLIN } };
	struct signalfd_siginfo si;
	uint64_t n;

	if (poll(p, 2, -1) < 0)
		return false;
	if ((p[1].revents & POLLIN) && read(s->event, &n, sizeof(n)) < 0)
		ply_debug("eventfd: %s", strerror(errno));
	if (!(p[0].revents & POLLIN) || read(sigfd, &si, sizeof(si)) != sizeof(si))
		return false;
	if (si.ssi_signo == SIGUSR1) {
		log_counters(s);
		return false;
	}
	return true;
}

/* --- upcalls of the core --- */

static int up_backing_open(void *arg, int fd)
{
	struct ply_session *s = arg;

	return ply_fuse_backing_open(fuse_session_fd(s->fuse.se), fd);
}

static void up_backing_close(void *arg, int id)
{
	struct ply_session *s = arg;

	ply_fuse_backing_close(fuse_session_fd(s->fuse.se), id);
}

static void up_inval_inode(void *arg, uint64_t nodeid, int64_t off, int64_t len)
{
	struct ply_session *s = arg;

	/* -ENOENT: the kernel does not have it, so there is nothing to drop. */
	fuse_lowlevel_notify_inval_inode(s->fuse.se, nodeid, off, len);
}

static void up_inval_entry(void *arg, uint64_t parent, const char *name)
{
	struct ply_session *s = arg;

	ply_notify_expire_entry(s->notify, parent, name);
}

/* --- the whole --- */

int ply_session_new(struct ply_session **out, struct ply_fs *fs, char *err, size_t errlen)
{
	struct ply_session *s = calloc(1, sizeof(*s));
	struct fuse_lowlevel_ops ops;
	int r;

	if (!s) {
		snprintf(err, errlen, "out of memory");
		return -ENOMEM;
	}
	s->fs = s->fuse.fs = fs;
	s->event = -1;
	s->mount.fd = -1;
	s->fuse.on_init = session_on_init;
	s->fuse.timeout = fs->opt->timeout < 0 ? SESSION_FOREVER : fs->opt->timeout;
	s->max_workers = fs->opt->threads ? fs->opt->threads : SESSION_THREADS;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->ended, NULL);
	s->worker = calloc(s->max_workers, sizeof(*s->worker));
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!s->worker || s->event < 0) {
		snprintf(err, errlen, "out of memory or descriptors");
		ply_session_free(s);
		return -ENOMEM;
	}
	r = ply_fuse_backing_probe(fs, err, errlen);
	if (!r) {
		ply_fuse_ops_fill(&ops, fs->opt);
		r = ply_mount_make(&s->mount, fs->opt, &ops, &s->fuse, err, errlen);
	}
	if (r) {
		ply_session_free(s);
		return r;
	}
	s->fuse.se = s->mount.se;
	fs->up = (struct ply_upcalls){
		.arg = s,
		.inval_inode = up_inval_inode, .inval_entry = up_inval_entry,
		.backing_open = up_backing_open, .backing_close = up_backing_close,
	};
	r = ply_notify_start(&s->notify, s->fuse.se);
	if (r) {
		snprintf(err, errlen, "no thread can be made: %s", strerror(-r));
		ply_mount_undo(&s->mount, false);
		ply_session_free(s);
		return r;
	}
	*out = s;
	return 0;
}

static bool session_ended(struct ply_session *s, bool *live)
{
	bool ended;

	pthread_mutex_lock(&s->lock);
	ended = s->nended > 0;
	*live = s->live;
	pthread_mutex_unlock(&s->lock);
	return ended;
}

int ply_session_run(struct ply_session *s, void (*live)(void *arg), void *arg, char *err, size_t errlen)
{
	bool said = false, is_live, asked = false;
	sigset_t set;
	int sigfd, r;

	signals_ours(&set);
	sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	pthread_mutex_lock(&s->lock);
	r = sigfd < 0 ? -errno : session_start_worker_locked(s);
	pthread_mutex_unlock(&s->lock);
	if (r)
		snprintf(err, errlen, "cannot start serving: %s", strerror(-r));
	while (!r && !asked && !session_ended(s, &is_live)) {
		if (is_live && !said) {
			said = true;
			ply_mount_identify(&s->mount);
			s->info.dev = s->mount.dev;
			r = ply_fuse_backing_verify(s->fs, err, errlen);
			if (r)
				break;
			live(arg);
			ply_fuse_backing_report(s->fs);
		}
		asked = session_wait(s, sigfd);
	}
	/* While the workers serve: what the kernel holds back is written now. */
	if (asked || r)
		ply_mount_undo(&s->mount, s->fs->writeback);
	/* It may wait for a lock whose holder waits for a worker. */
	ply_notify_stop(s->notify);
	s->notify = NULL;
	session_stop(s);
	if (sigfd >= 0)
		close(sigfd);
	if (!r && !said && !asked) {
		snprintf(err, errlen, "the kernel ended the connection before it was established");
		r = s->error ? s->error : -EPROTO;
	} else if (!r && s->error) {
		snprintf(err, errlen, "reading from the FUSE device failed: %s", strerror(-s->error));
		r = s->error;
	}
	return r;
}

void ply_session_free(struct ply_session *s)
{
	if (!s)
		return;
	ply_notify_stop(s->notify);
	ply_mount_free(&s->mount);
	memset(&s->fs->up, 0, sizeof(s->fs->up));
	if (s->event >= 0)
		close(s->event);
	free(s->worker);
	pthread_cond_destroy(&s->ended);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void ply_session_info(struct ply_session *s, struct ply_session_info *out)
{
	*out = s->info;
	pthread_mutex_lock(&s->lock);
	out->threads = s->nworkers;
	pthread_mutex_unlock(&s->lock);
}

struct ply_fs *ply_session_fs(struct ply_session *s)
{
	return s->fs;
}
