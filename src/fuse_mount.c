// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_mount.h"
#include "fuse_uring.h"
#include "log.h"
#include "plyfs-fuse.h"
#include "sys.h"
#include <errno.h>
#include <poll.h>
#include <spawn.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

extern char **environ;

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000		/* Linux 5.8 */
#endif

/* What the words of mount(8) mean to mount(2). */
static const struct {
	const char *word;
	unsigned long set, clear;
} mount_words[] = {
	{ "ro", MS_RDONLY, 0 }, { "rw", 0, MS_RDONLY },
	{ "nosuid", MS_NOSUID, 0 }, { "nodev", MS_NODEV, 0 }, { "noexec", MS_NOEXEC, 0 },
	{ "sync", MS_SYNCHRONOUS, 0 }, { "async", 0, MS_SYNCHRONOUS }, { "dirsync", MS_DIRSYNC, 0 },
	{ "noatime", MS_NOATIME, MS_RELATIME | MS_STRICTATIME }, { "atime", 0, MS_NOATIME },
	{ "relatime", MS_RELATIME, MS_NOATIME | MS_STRICTATIME }, { "norelatime", 0, MS_RELATIME },
	{ "strictatime", MS_STRICTATIME, MS_NOATIME | MS_RELATIME }, { "nostrictatime", 0, MS_STRICTATIME },
	{ "nodiratime", MS_NODIRATIME, 0 }, { "diratime", 0, MS_NODIRATIME },
#ifdef MS_NOSYMFOLLOW
	{ "nosymfollow", MS_NOSYMFOLLOW, 0 },
#endif
	{ "symfollow", 0, 0 },
};

static unsigned long mount_flags(const struct ply_options *opt)
{
	/* Nobody reads access times through a union, and each would be a change. */
	unsigned long flags = MS_NOATIME;
	const char *w = opt->kernel_opts ? opt->kernel_opts : "";
	size_t i;

	while (*w) {
		size_t n = strcspn(w, ",");

		for (i = 0; i < PLY_ARRAY_SIZE(mount_words); i++)
			if (strlen(mount_words[i].word) == n && !strncmp(w, mount_words[i].word, n))
				flags = (flags & ~mount_words[i].clear) | mount_words[i].set;
		w += n + (w[n] == ',');
	}
	if (opt->ro || !opt->upper)
		flags |= MS_RDONLY;
	return flags;
}

static bool others_may(const struct ply_options *opt)
{
	return opt->has_allow ? opt->allow_other || opt->allow_root : geteuid() == 0;
}

/* mount(2): fd of the device, -EPERM where only fusermount3 may, -errno. */
static int mount_direct(const struct ply_options *opt, char *err, size_t errlen)
{
	ply_autobuf type = { 0 }, data = { 0 };
	ply_autofd fd = -1;
	struct stat st;
	int e;

	if (stat(opt->mountpoint, &st)) {
		e = -errno;
		snprintf(err, errlen, "mount point %s: %s", opt->mountpoint, strerror(-e));
		return e;
	}
	if (!S_ISDIR(st.st_mode)) {
		snprintf(err, errlen, "mount point %s is not a directory", opt->mountpoint);
		return -ENOTDIR;
	}
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		e = -errno;
		snprintf(err, errlen, "/dev/fuse: %s%s", strerror(-e),
			 e == -ENOENT || e == -ENODEV ? "; is the fuse module loaded (modprobe fuse)?" : "");
		return e;
	}
	if (ply_buf_printf(&type, "fuse%s%s", opt->subtype ? "." : "", opt->subtype ? opt->subtype : "") ||
	    ply_buf_printf(&data, "fd=%d,rootmode=%o,user_id=%u,group_id=%u,default_permissions%s%s%s", fd,
			   (unsigned int)(st.st_mode & S_IFMT), geteuid(), getegid(), others_may(opt) ? ",allow_other" : "",
			   opt->context ? "," : "", opt->context ? opt->context : "")) {
		snprintf(err, errlen, "out of memory");
		return -ENOMEM;
	}
	if (mount(opt->fsname ? opt->fsname : "plyfs", opt->mountpoint, type.data, mount_flags(opt), data.data)) {
		e = -errno;
		snprintf(err, errlen, "cannot mount at %s: %s%s", opt->mountpoint, strerror(-e),
			 e == -EINVAL && opt->context ? "; is SELinux enabled, which context= needs?" : "");
		return e;
	}
	return ply_take_fd(&fd);
}

/* Commas and backslashes of a value that libfuse splits. */
static int add_escaped(struct ply_buf *b, const char *key, const char *val)
{
	int r = ply_buf_printf(b, ",%s=", key);

	for (; !r && *val; val++) {
		if (*val == ',' || *val == '\\')
			r = ply_buf_add(b, "\\", 1);
		if (!r)
			r = ply_buf_printf(b, "%c", *val);
	}
	return r;
}

static struct fuse_session *session_make(const struct ply_options *opt, const struct fuse_lowlevel_ops *ops, void *userdata)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *se = NULL;
	ply_autobuf o = { 0 };

	/* Read again by libfuse only where fusermount3 mounts. */
	if (!ply_buf_printf(&o, "default_permissions%s%s%s", others_may(opt) ? ",allow_other" : "",
			    opt->allow_root ? ",allow_root" : "", opt->debug ? ",debug" : "") &&
	    !add_escaped(&o, "fsname", opt->fsname ? opt->fsname : "plyfs") &&
	    !add_escaped(&o, "subtype", opt->subtype ? opt->subtype : "plyfs") &&
	    !ply_buf_printf(&o, ",%s", mount_flags(opt) & MS_RDONLY ? "ro" : "rw") &&
	    !ply_buf_printf(&o, "%s%s", mount_flags(opt) & MS_NOEXEC ? ",noexec" : "",
			    mount_flags(opt) & MS_NOATIME ? ",noatime" : "") &&
	    !fuse_opt_add_arg(&args, "plyfs") && !fuse_opt_add_arg(&args, "-o") && !fuse_opt_add_arg(&args, o.data))
		se = fuse_session_new(&args, ops, sizeof(*ops), userdata);
	fuse_opt_free_args(&args);
	return se;
}

static void fuse_says(enum fuse_log_level level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void fuse_says(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[512];
	size_t n;

	vsnprintf(line, sizeof(line), fmt, ap);
	n = strlen(line);
	if (n && line[n - 1] == '\n')
		line[n - 1] = '\0';
	ply_log(level >= FUSE_LOG_DEBUG ? PLY_LOG_DEBUG : level >= FUSE_LOG_NOTICE ? PLY_LOG_INFO : PLY_LOG_WARN,
		"%s", line);
}

int ply_mount_make(struct ply_mount *m, const struct ply_options *opt, const struct fuse_lowlevel_ops *ops,
		   void *userdata, char *err, size_t errlen)
{
	char where[32];
	int fd;

	*m = (struct ply_mount){ .fd = -1, .path = opt->mountpoint, .allow_root = opt->allow_root };
	fuse_set_log_func(fuse_says);
	m->se = session_make(opt, ops, userdata);
	if (!m->se) {
		snprintf(err, errlen, "libfuse refuses the session");
		return -EINVAL;
	}
	fd = mount_direct(opt, err, errlen);
	if (fd >= 0) {
		snprintf(where, sizeof(where), "/dev/fd/%d", fd);
		if (fuse_session_mount(m->se, where)) {
			umount2(opt->mountpoint, MNT_DETACH);
			close(fd);
			snprintf(err, errlen, "libfuse does not take the device");
			ply_mount_free(m);
			return -EIO;
		}
	} else if (fd == -EPERM && geteuid() != 0) {
		if (fuse_session_mount(m->se, opt->mountpoint)) {
			snprintf(err, errlen, "fusermount3 could not mount at %s", opt->mountpoint);
			ply_mount_free(m);
			return -EPERM;
		}
	} else {
		ply_mount_free(m);
		return fd;
	}
	m->fd = fuse_session_fd(m->se);
	m->mounted = true;
	m->uring_wanted = opt->io_uring;
	if (m->uring_wanted && ply_uring_hook(m->se)) {
		m->uring_wanted = false;
		snprintf(m->uring_why, sizeof(m->uring_why), "libfuse was built without custom I/O (-Denable-custom-io=true)");
	}
	fuse_set_log_func(fuse_says);
	return 0;
}

/* What is mounted at the path now. */
static int mount_id_at(const char *path, uint64_t *dev, uint64_t *id)
{
	struct statx sx;

	/* From what the kernel knows: no request, so that a mount that is stuck or dead does no harm. */
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID, &sx))
		return -errno;
	*dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	*id = sx.stx_mask & STATX_MNT_ID ? sx.stx_mnt_id : 0;
	return 0;
}

/* --- INIT --- */

/* False: the kernel does not offer it. */
static bool init_uring(struct ply_mount *m, uint32_t flags2, const struct fuse_init_out *out)
{
	static const char knob[] = "/sys/module/fuse/parameters/enable_uring";

	if (flags2 & (uint32_t)(FUSE_OVER_IO_URING >> 32)) {
		m->uring_payload = ply_max((size_t)out->max_write, (size_t)out->max_pages * (size_t)sysconf(_SC_PAGESIZE));
		m->uring = true;
		return true;
	}
	if (access(knob, F_OK))
		snprintf(m->uring_why, sizeof(m->uring_why), "this kernel does not have it (Linux 6.14, CONFIG_FUSE_IO_URING)");
	else
		snprintf(m->uring_why, sizeof(m->uring_why), "the kernel does not allow it: write Y to %s", knob);
	return false;
}

/* Puts flags into the answer that libfuse does not know. */
static void init_amend(struct ply_mount *m, const struct fuse_in_header *in, char *reply, size_t len)
{
	const struct fuse_init_in *asked = (const struct fuse_init_in *)(const void *)(in + 1);
	const uint32_t idmap = (uint32_t)(FUSE_ALLOW_IDMAP >> 32);
	uint32_t flags2;
	struct fuse_out_header head;
	struct fuse_init_out out;

	if (len != sizeof(head) + sizeof(out) || in->len < sizeof(*in) + sizeof(*asked))
		return;
	memcpy(&head, reply, sizeof(head));
	memcpy(&out, reply + sizeof(head), sizeof(out));
	flags2 = asked->flags & FUSE_INIT_EXT ? asked->flags2 : 0;
	if (head.error)
		return;
	if ((flags2 & idmap) && !m->allow_root)
		out.flags2 |= idmap;
	if (m->uring_wanted && init_uring(m, flags2, &out))
		out.flags2 |= (uint32_t)(FUSE_OVER_IO_URING >> 32);
	if (out.flags2)
		out.flags |= FUSE_INIT_EXT;
	memcpy(reply + sizeof(head), &out, sizeof(out));
}

void ply_mount_process_init(struct ply_mount *m, struct fuse_buf *buf)
{
	ply_autofd device = fcntl(m->fd, F_DUPFD_CLOEXEC, 0), ours = -1, libfuses = -1;
	char reply[512];
	int pair[2];
	ssize_t n;

	/* The answer is one writev() of less than PIPE_BUF. */
	if (device < 0 || pipe2(pair, O_CLOEXEC | O_NONBLOCK)) {
		fuse_session_process_buf(m->se, buf);
		return;
	}
	ours = pair[0];
	libfuses = pair[1];
	if (dup3(libfuses, m->fd, O_CLOEXEC) < 0) {
		fuse_session_process_buf(m->se, buf);
		return;
	}
	fuse_session_process_buf(m->se, buf);
	while (dup3(device, m->fd, O_CLOEXEC) < 0 && (errno == EBUSY || errno == EINTR))
		;
	n = read(ours, reply, sizeof(reply));
	if (n <= 0)
		return;
	init_amend(m, buf->mem, reply, (size_t)n);
	if (write(device, reply, (size_t)n) < 0)
		ply_debug("INIT: %s", strerror(errno));
}

void ply_mount_identify(struct ply_mount *m)
{
	uint64_t dev, id;

	if (mount_id_at(m->path, &dev, &id))
		return;
	m->dev = dev;
	m->mnt_id = id;
}

static bool connection_is_dead(const struct ply_mount *m)
{
	struct pollfd p = { .fd = m->fd };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

static void fusermount_undo(const char *path)
{
	char prog[] = "fusermount3", u[] = "-u", q[] = "-q", z[] = "-z", end[] = "--";
	ply_autofree char *copy = strdup(path);
	char *argv[] = { prog, u, q, z, end, copy, NULL };
	int status;
	pid_t pid;

	if (copy && !posix_spawnp(&pid, prog, NULL, NULL, argv, environ))
		waitpid(pid, &status, 0);
}

void ply_mount_undo(struct ply_mount *m, bool sync)
{
	uint64_t dev, id;

	if (!m->mounted)
		return;
	m->mounted = false;
	/* It may have been unmounted long since, and another mount be there. */
	if (connection_is_dead(m) || mount_id_at(m->path, &dev, &id))
		return;
	if (m->dev && (dev != m->dev || id != m->mnt_id))
		return;
	if (sync) {
		ply_autofd fd = open(m->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0)
			ply_sys_syncfs(fd);
	}
	if (umount2(m->path, MNT_DETACH | UMOUNT_NOFOLLOW) && errno == EPERM)
		fusermount_undo(m->path);
}

void ply_mount_free(struct ply_mount *m)
{
	if (m->se)
		fuse_session_destroy(m->se);
	m->se = NULL;
	m->fd = -1;
}
