// SPDX-License-Identifier: GPL-2.0-or-later
/* plyfs: the daemon. */
#include "ahead.h"
#include "backing.h"
#include "control.h"
#include "creds.h"
#include "fuse_guard.h"
#include "fuse_session.h"
#include "hash.h"
#include "log.h"
#include <errno.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define MAIN_NOFILE (1 << 20)		/* descriptors are enough here; more make tables that nobody uses */
#define MAIN_IDS_MAX 4096

struct daemon {
	struct ply_options opt;
	struct ply_fs *fs;
	struct ply_session *session;
	struct ply_control *control;
	int parent;			/* pipe to the waiting parent, or -1 */
};

static void fail(const char *what)
{
	ply_err("%s", what);
}

/* A mount whose daemon is gone hurts more programs than the one that used up the memory. */
static void ask_oom_killer(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "-500", 4) != 4)
		ply_debug("oom_score_adj stays as it is");
	if (fd >= 0)
		close(fd);
}

/*
 * Whoever mounts waits for the end of this process, which waits for its child and has nothing else to do: what its exit would
 * have to take apart may go before. The few pages of the program that are needed once more come back by themselves.
 */
static int forget_pages(struct dl_phdr_info *program, size_t size, void *arg)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	(void)size;
	(void)arg;
	for (unsigned int i = 0; i < program->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &program->dlpi_phdr[i];
		uintptr_t from = (program->dlpi_addr + h->p_vaddr) & ~(page - 1);
		uintptr_t to = (program->dlpi_addr + h->p_vaddr + h->p_memsz + page - 1) & ~(page - 1);

		/* As in the file: what was relocated is in a segment that was writable at first. */
		if (h->p_type == PT_LOAD && !(h->p_flags & PF_W))
			(void)madvise((void *)from, to - from, MADV_DONTNEED);
	}
	return 1;	/* not the libraries */
}

/*
 * The child goes on and returns the pipe by which it says that the mount is live; the parent waits for that
 * and exits as things went.
 */
static int daemonise(void)
{
	int p[2], status = 1;
	char ok;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC)) {
		fail("no pipe can be made");
		exit(1);
	}
	pid = fork();
	if (pid < 0) {
		fail("no process can be made");
		exit(1);
	}
	if (pid == 0) {
		close(p[0]);
		setsid();
		return p[1];
	}
	close(p[1]);
	/* It has enough to do. */
	if (geteuid() == 0)
		ask_oom_killer(pid);
	(void)dl_iterate_phdr(forget_pages, NULL);
	/* Without the byte the child has said on stderr why; it must be gone before we say that it failed. */
	if (read(p[0], &ok, 1) == 1)
		_exit(0);
	if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
		ply_err("the daemon was killed by signal %d before the mount was live", WTERMSIG(status));
	/* 0: it was live, and unmounted by somebody at once. */
	_exit(WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1);
}

/* sd_notify(3) of systemd, which is one datagram. */
static void notify_ready(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	static const char msg[] = "READY=1";
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	if (len < 2 || len > sizeof(a.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(a.sun_path, path, len);
	if (path[0] == '@')
		a.sun_path[0] = '\0';

	ply_autofd fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || sendto(fd, msg, sizeof(msg) - 1, MSG_NOSIGNAL, (struct sockaddr *)(void *)&a,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		ply_warn("NOTIFY_SOCKET: %s", strerror(errno));
	unsetenv("NOTIFY_SOCKET");
}

/* The mount works: lets the parent and its terminal go. */
static void on_live(void *arg)
{
	struct daemon *d = arg;
	char ok = 0;

	ply_control_start(&d->control, d->session);
	notify_ready();
	if (d->parent < 0)
		return;
	ply_log_to_syslog("plyfs");
	if (chdir("/"))
		ply_warn("chdir: %s", strerror(errno));
	/* Whoever reads our stderr to its end must see it. */
	{
		ply_autofd null = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (null >= 0) {
			dup2(null, 0);
			dup2(null, 1);
			dup2(null, 2);
		}
	}
	if (write(d->parent, &ok, 1) != 1)
		ply_debug("the parent is gone");
	close(d->parent);
	d->parent = -1;
}

/* Numbers below 3 would be taken by the first files that are opened. */
static void open_standard_fds(void)
{
	int fd;

	for (fd = 0; fd <= 2 && fcntl(fd, F_GETFD) >= 0; fd++)
		;
	if (fd > 2)
		return;
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

static unsigned int raise_nofile(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l))
		return 1024;
	if (l.rlim_cur < l.rlim_max) {
		rlim_t was = l.rlim_cur;

		l.rlim_cur = ply_min(l.rlim_max, (rlim_t)MAIN_NOFILE);
		if (l.rlim_cur < was || setrlimit(RLIMIT_NOFILE, &l))
			l.rlim_cur = was;
	}
	return (unsigned int)ply_min(l.rlim_cur, (rlim_t)MAIN_NOFILE);
}

static int make_mountpoint_absolute(struct ply_options *o)
{
	char *abs = realpath(o->mountpoint, NULL);

	if (!abs) {
		ply_err("mount point %s: %s%s", o->mountpoint, strerror(errno),
			errno == ENOTCONN ? "; a mount whose daemon is gone is there: umount it first" : "");
		return -EINVAL;
	}
	free(o->mountpoint);
	o->mountpoint = abs;
	return 0;
}

static int serve(struct daemon *d, unsigned int nofile)
{
	char err[1024] = "";
	int r = ply_fs_new(&d->fs, &d->opt, err, sizeof(err));

	if (!r) {
		/* A cached id of a lower file keeps a descriptor. */
		r = ply_backing_pool_new(d->fs, ply_min(nofile / 4, (unsigned int)MAIN_IDS_MAX));
		if (r)
			snprintf(err, sizeof(err), "out of memory");
	}
	if (!r)
		r = ply_session_new(&d->session, d->fs, err, sizeof(err));
	if (!r)
		r = ply_session_run(d->session, on_live, d, err, sizeof(err));
	if (r)
		fail(err);
	ply_control_stop(d->control);
	ply_ahead_end();
	ply_session_free(d->session);
	if (d->fs)
		ply_backing_pool_free(d->fs);
	ply_fs_free(d->fs);
	return r ? 1 : 0;
}

static int parse(struct daemon *d, int argc, char **argv)
{
	ply_autofree char *warn = NULL;
	char err[1024] = "", *line, *save = NULL;
	int r = ply_options_parse(&d->opt, argc, argv, err, sizeof(err), &warn);

	for (line = warn ? strtok_r(warn, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
		ply_warn("%s", line);
	if (r)
		fail(err);
	return r;
}

int main(int argc, char **argv)
{
	struct daemon d = { .parent = -1 };
	unsigned int nofile;
	int status;

	ply_guard_main(argc, argv);
	open_standard_fds();
	umask(0);
	if (parse(&d, argc, argv))
		return 1;
	if (d.opt.show_help || d.opt.show_version) {
		if (d.opt.show_version)
			printf("%s\nlibfuse %s\n", PACKAGE_STRING, fuse_pkgversion());
		else
			fputs(ply_options_help, stdout);
		ply_options_free(&d.opt);
		return 0;
	}
	ply_log_set_debug(d.opt.debug);
	if (make_mountpoint_absolute(&d.opt)) {
		ply_options_free(&d.opt);
		return 1;
	}
	if (!d.opt.foreground)
		d.parent = daemonise();
	else if (geteuid() == 0)
		ask_oom_killer(getpid());
	ply_session_block_signals();
	ply_hash_init();
	nofile = raise_nofile();
	/* Threads have what their maker has: before the first of them. */
	if (ply_creds_drop())
		ply_warn("privileges that are not needed could not be dropped");
	status = serve(&d, nofile);
	ply_options_free(&d.opt);
	return status;
}
