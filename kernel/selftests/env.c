// SPDX-License-Identifier: GPL-2.0-only
#include "env.h"
#include "abi.h"
#include "server.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENV_SECONDS 900

static char env_dir[512];

static void env_cleanup(void)
{
	if (chdir("/"))
		return;
	umount2(env_dir, MNT_DETACH);
	rmdir(env_dir);
}

bool env_has_passthrough(void)
{
	struct srv *s = srv_new("probe", "probe-mnt");
	bool has;

	has = !srv_start(s) && (s->offered & FUSE_PASSTHROUGH);
	srv_stop(s);
	return has;
}

void env_init(bool need_passthrough)
{
	if (geteuid())
		tap_skip_all("needs root");
	if (access("/dev/fuse", R_OK | W_OK))
		tap_skip_all("no /dev/fuse");
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		tap_skip_all("no mount namespace of one's own");
	snprintf(env_dir, sizeof(env_dir), "%s/fuse-pt.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(env_dir))
		tap_bail("%s", env_dir);
	if (!env_mount_tmpfs(env_dir) || chdir(env_dir))
		tap_bail("tmpfs at %s", env_dir);
	atexit(env_cleanup);
	signal(SIGPIPE, SIG_IGN);
	alarm(ENV_SECONDS);
	umask(022);
	if (need_passthrough && !env_has_passthrough())
		tap_skip_all("the kernel has no passthrough");
}

bool env_mount_tmpfs(const char *dir)
{
	mkdir(dir, 0755);
	return !mount("none", dir, "tmpfs", 0, "mode=755");
}

bool env_mount_ext4(const char *dir)
{
	char cmd[512];

	mkdir(dir, 0755);
	snprintf(cmd, sizeof(cmd), "exec >/dev/null 2>&1; truncate -s 64M %s.img && "
		 "PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F %s.img && mount -t ext4 -o loop %s.img %s", dir, dir, dir, dir);
	return !system(cmd);
}

bool env_mount_overlay(const char *dir, const char *lower, const char *upper, const char *work)
{
	char opts[512];

	mkdir(dir, 0755);
	mkdir(lower, 0755);
	mkdir(upper, 0755);
	mkdir(work, 0755);
	snprintf(opts, sizeof(opts), "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
	return !mount("none", dir, "overlay", 0, opts);
}

#define ENV_PATH(path, fmt) do {				\
	va_list ap_;						\
	va_start(ap_, fmt);					\
	vsnprintf(path, sizeof(path), fmt, ap_);		\
	va_end(ap_);						\
} while (0)

void env_write(const char *data, const char *fmt, ...)
{
	char path[512];
	ssize_t len = (ssize_t)strlen(data);
	int fd;

	ENV_PATH(path, fmt);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, data, (size_t)len) != len || close(fd))
		tap_bail("write %s", path);
}

bool env_fd_contains(int fd, const char *data)
{
	char buf[4096];
	ssize_t n = pread(fd, buf, sizeof(buf), 0);

	if (n == (ssize_t)strlen(data) && !memcmp(buf, data, (size_t)n))
		return true;
	if (n < 0)
		tap_note("read: %s", strerror(errno));
	else
		tap_note("have \"%.*s\" (%zd), want \"%s\"", n > 100 ? 100 : (int)n, buf, n, data);
	return false;
}

bool env_contains(const char *data, const char *fmt, ...)
{
	char path[512];
	bool is;
	int fd;

	ENV_PATH(path, fmt);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		tap_note("open %s: %s", path, strerror(errno));
		return false;
	}
	is = env_fd_contains(fd, data);
	close(fd);
	return is;
}

long env_size(const char *fmt, ...)
{
	char path[512];
	struct stat st;

	ENV_PATH(path, fmt);
	return stat(path, &st) ? -errno : (long)st.st_size;
}

int env_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			tap_bail("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void env_cap(int cap, bool on)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	uint32_t bit = 1U << (cap % 32);

	if (syscall(SYS_capget, &head, data))
		tap_bail("capget");
	if (on)
		data[cap / 32].effective |= bit;
	else
		data[cap / 32].effective &= ~bit;
	if (syscall(SYS_capset, &head, data))
		tap_bail("capset");
}
