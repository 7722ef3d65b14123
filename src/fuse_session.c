// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_session.h"
#include "creds.h"
#include "fuse_backing.h"
#include "fuse_direct.h"
#include "fuse_mount.h"
#include "fuse_notify.h"
#include "fuse_ops.h"
#include "fuse_uring.h"
#include "fuse_workers.h"
#include "log.h"
#include "plyfs-fuse.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#define SESSION_THREADS 16		/* at most, unless threads= says otherwise */
#define SESSION_HEADERS 4096		/* before the bytes of the largest WRITE */
#define SESSION_FOREVER 1e9		/* seconds; the kernel caps it */

struct ply_session {
	struct ply_fuse fuse;
	struct ply_fs *fs;
	struct ply_mount mount;
	struct ply_notify *notify;
	struct ply_session_info info;

	struct ply_workers *workers;	/* from the run on */
	struct ply_uring *uring;	/* NULL: not asked for, or it cannot be had */
	bool init_seen;
	bool live;			/* INIT is answered */
	int event;			/* eventfd: a worker has ended */

	int also;			/* fd that the thread of the run waits for too; -1: none */
	void (*also_ready)(void *arg);
	void *also_arg;
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

	if (fs->stack_depth && !fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH))
		ply_fuse_backing_not_offered(fs);
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
	/* No operation looks whether its caller was interrupted: without, libfuse keeps no list of requests under a lock. */
	conn->no_interrupt = 1;

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

static void session_post(struct ply_session *s)
{
	uint64_t one = 1;

	if (write(s->event, &one, sizeof(one)) < 0)
		ply_debug("eventfd: %s", strerror(errno));
}

static void session_ended(void *arg)
{
	ply_direct_thread_end();
	session_post(arg);
}

static void session_serve_init(struct ply_session *s, struct fuse_buf *buf)
{
	ply_mount_process_init(&s->mount, buf);
	/* Nobody else gets a request before. */
	if (s->mount.uring)
		ply_uring_go(s->uring, s->mount.uring_payload);
	/* Of another major version the kernel asks again. */
	s->live |= s->init_seen;
}

static void session_serve(void *arg, struct fuse_buf *buf)
{
	const struct fuse_in_header *in = buf->flags & FUSE_BUF_IS_FD ? NULL : buf->mem;
	struct ply_session *s = arg;

	if (in)
		ply_count_op(in->opcode);
	/* The last request of this thread may have left it without; writes say what they want. */
	if (in && in->opcode != FUSE_WRITE)
		ply_creds_fsetid(true);
	ply_fuse_request = in;
	if (in && in->opcode == FUSE_INIT)
		session_serve_init(s, buf);
	else if (!in || !ply_direct_serve(&s->fuse, in, buf->size))
		fuse_session_process_buf(s->fuse.se, buf);
	ply_fuse_request = NULL;
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
	sigaddset(&set, PLY_WORKERS_WAKE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigaction(PLY_WORKERS_WAKE, &wake, NULL);
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

/* True when the signal asks for the end. */
static bool session_signalled(struct ply_session *s, int sigfd)
{
	struct signalfd_siginfo si;

	if (read(sigfd, &si, sizeof(si)) != sizeof(si))
		return false;
	if (si.ssi_signo != SIGUSR1)
		return true;
	log_counters(s);
	return false;
}

static void session_also(struct ply_session *s)
{
	bool wanted = s->also >= 0;

	s->also = -1;
	if (wanted)
		s->also_ready(s->also_arg);
}

/* Waits for the first event: true when a signal asks for the end. */
static bool session_wait(struct ply_session *s, int sigfd)
{
	struct pollfd p[3] = { { .fd = sigfd, .events = POLLIN }, { .fd = s->event, .events = POLLIN },
			       { .fd = s->also, .events = POLLIN } };
	uint64_t n;

	if (poll(p, 3, -1) < 0)
		return false;
	if ((p[1].revents & POLLIN) && read(s->event, &n, sizeof(n)) < 0)
		ply_debug("eventfd: %s", strerror(errno));
	if (p[2].revents)
		session_also(s);
	return (p[0].revents & POLLIN) && session_signalled(s, sigfd);
}

/*
 * INIT is there as soon as the mount is, and nobody is served before it is answered: no other thread is waited for.
 * True when a signal asks for the end.
 */
static bool session_await_init(struct ply_session *s, int sigfd, int *read_error)
{
	struct pollfd p[2] = { { .fd = sigfd, .events = POLLIN }, { .fd = s->mount.fd, .events = POLLIN } };
	struct fuse_buf buf = { 0 };
	bool asked = false;

	while (!s->live && !asked && !*read_error) {
		int n;

		if (poll(p, 2, -1) < 0)
			continue;
		asked = (p[0].revents & POLLIN) && session_signalled(s, sigfd);
		if (!p[1].revents || asked)
			continue;
		n = fuse_session_receive_buf(s->fuse.se, &buf);
		if (n > 0)
			session_serve(s, &buf);
		else if (n != -EINTR && n != -EAGAIN)
			*read_error = n ? n : -EPROTO;
	}
	free(buf.mem);
	return asked;
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
	s->event = s->also = -1;
	s->mount.fd = -1;
	s->fuse.on_init = session_on_init;
	s->fuse.timeout = fs->opt->timeout < 0 ? SESSION_FOREVER : ply_min(fs->opt->timeout, SESSION_FOREVER);
	s->fuse.valid = (uint64_t)s->fuse.timeout;
	s->fuse.valid_nsec = (uint32_t)((s->fuse.timeout - (double)s->fuse.valid) * 1e9);
	s->fuse.debug = fs->opt->debug;
	s->fuse.allow_root = fs->opt->allow_root;
	s->fuse.owner = getuid();
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->event < 0) {
		r = -errno;
		snprintf(err, errlen, "eventfd: %s", strerror(-r));
		ply_session_free(s);
		return r;
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
	s->fuse.fd = s->mount.fd;
	fs->up = (struct ply_upcalls){
		.arg = s,
		.inval_inode = up_inval_inode, .inval_entry = up_inval_entry,
		.backing_open = up_backing_open, .backing_close = up_backing_close,
	};
	r = ply_notify_start(&s->notify, s->fuse.se);
	if (r) {
		snprintf(err, errlen, "out of memory");
		ply_mount_undo(&s->mount, false);
		ply_session_free(s);
		return r;
	}
	*out = s;
	return 0;
}

/* Threads for io_uring, before INIT says that there are any. */
static void session_uring_start(struct ply_session *s)
{
	const struct ply_uring_conf conf = {
		.se = s->fuse.se, .max = s->fs->opt->threads,
		.serve = session_serve, .ended = session_ended, .arg = s,
	};

	if (s->mount.uring_wanted && ply_uring_new(&s->uring, &conf, s->mount.uring_why, sizeof(s->mount.uring_why)))
		s->mount.uring_wanted = false;
}

/* It was asked for, and what can be had instead is as good but for the time that it takes. */
static void session_uring_report(struct ply_session *s)
{
	if (!s->fs->opt->io_uring || (s->mount.uring && ply_uring_serves(s->uring)))
		return;
	if (!s->mount.uring) {
		ply_uring_stop(s->uring);
		ply_uring_free(s->uring);
		s->uring = NULL;
	}
	if (!s->mount.uring_why[0])
		snprintf(s->mount.uring_why, sizeof(s->mount.uring_why), "the kernel refuses what was negotiated");
	ply_warn("io_uring is not used: %s", s->mount.uring_why);
}

/* INIT is answered: what is to be there before anybody hears that the mount is. */
static int session_live(struct ply_session *s, const struct ply_workers_conf *conf, char *err, size_t errlen)
{
	int r;

	ply_mount_identify(&s->mount);
	s->info.dev = s->mount.dev;
	r = s->fs->opt->passthrough == PLY_PT_REQUIRED ? ply_fuse_backing_verify(s->fs, err, errlen) : 0;
	if (r)
		return r;
	session_uring_report(s);
	r = ply_workers_start(&s->workers, conf);
	if (r)
		snprintf(err, errlen, "cannot start serving: %s", strerror(-r));
	return r;
}

/* What nobody waits for. */
static void session_settle(struct ply_session *s)
{
	char why[sizeof(s->fs->passthrough_why)];

	if (s->fs->opt->passthrough != PLY_PT_REQUIRED)
		(void)ply_fuse_backing_verify(s->fs, why, sizeof(why));
	if (ply_workers_watch(s->workers))
		ply_warn("no thread can be made: requests are served one at a time");
	ply_fuse_backing_report(s->fs);
}

int ply_session_run(struct ply_session *s, void (*live)(void *arg), void *arg, char *err, size_t errlen)
{
	struct ply_workers_conf conf = {
		.se = s->fuse.se, .max = s->fs->opt->threads ? s->fs->opt->threads : SESSION_THREADS,
		.serve = session_serve, .ended = session_ended, .arg = s,
	};
	int sigfd, r = 0, read_error = 0;
	bool asked = false;
	sigset_t set;

	session_uring_start(s);
	signals_ours(&set);
	sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sigfd < 0) {
		r = -errno;
		snprintf(err, errlen, "cannot start serving: %s", strerror(-r));
	} else {
		asked = session_await_init(s, sigfd, &read_error);
	}
	conf.room = s->info.max_write + SESSION_HEADERS;
	if (s->live) {
		r = session_live(s, &conf, err, errlen);
		if (!r) {
			live(arg);
			session_settle(s);
		}
		while (!r && !asked && !ply_workers_ended(s->workers, &read_error))
			asked = session_wait(s, sigfd);
	}
	/* This may take long: who wants to know why is answered by another thread. */
	if (asked || r)
		session_also(s);
	/* While the workers serve, if they do: what the kernel holds back is written now. */
	if (asked || r)
		ply_mount_undo(&s->mount, s->fs->writeback && s->workers);
	/* It may wait for a lock whose holder waits for a worker. */
	ply_notify_stop(s->notify);
	ply_workers_stop(s->workers);
	ply_uring_stop(s->uring);
	if (sigfd >= 0)
		close(sigfd);
	/* A mount that was live and is gone before this thread came to say so has ended as any other. */
	if (!r && !s->live && !asked) {
		snprintf(err, errlen, "the kernel ended the connection before it was established");
		r = read_error ? read_error : -EPROTO;
	} else if (!r && read_error) {
		snprintf(err, errlen, "reading from the FUSE device failed: %s", strerror(-read_error));
		r = read_error;
	}
	return r;
}

void ply_session_free(struct ply_session *s)
{
	if (!s)
		return;
	ply_mount_free(&s->mount);
	ply_workers_free(s->workers);
	ply_uring_free(s->uring);
	ply_notify_free(s->notify);
	memset(&s->fs->up, 0, sizeof(s->fs->up));
	if (s->event >= 0)
		close(s->event);
	free(s);
}

void ply_session_when_readable(struct ply_session *s, int fd, void (*ready)(void *arg), void *arg)
{
	s->also_ready = ready;
	s->also_arg = arg;
	s->also = fd;
}

void ply_session_info(struct ply_session *s, struct ply_session_info *out)
{
	*out = s->info;
	out->threads = s->workers ? ply_workers_count(s->workers) : 0;
	out->io_uring = s->uring && s->mount.uring && ply_uring_serves(s->uring);
	out->io_uring_threads = s->uring ? ply_uring_threads(s->uring) : 0;
	out->io_uring_why = out->io_uring ? "" : s->mount.uring_why;
}

struct ply_fs *ply_session_fs(struct ply_session *s)
{
	return s->fs;
}
