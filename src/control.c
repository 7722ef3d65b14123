// SPDX-License-Identifier: GPL-2.0-or-later
#include "control.h"
#include "log.h"
#include "plyfs-fuse.h"
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#define CONTROL_SEND_SECONDS 5		/* a client that does not read must not keep the others waiting */

struct ply_control {
	struct ply_session *session;
	pthread_t thread;		/* from the first client on */
	bool has_thread;
	int dir, listen, stop;		/* fds */
	char name[48];			/* of the socket in dir */
	ino_t ino;			/* the socket's, so that only our own is removed */
	uid_t owner;
};

/* --- the document --- */

static const char *const op_names[PLY_OPCODES] = {
	[FUSE_LOOKUP] = "lookup", [FUSE_FORGET] = "forget", [FUSE_GETATTR] = "getattr", [FUSE_SETATTR] = "setattr",
	[FUSE_READLINK] = "readlink", [FUSE_SYMLINK] = "symlink", [FUSE_MKNOD] = "mknod", [FUSE_MKDIR] = "mkdir",
	[FUSE_UNLINK] = "unlink", [FUSE_RMDIR] = "rmdir", [FUSE_RENAME] = "rename", [FUSE_LINK] = "link",
	[FUSE_OPEN] = "open", [FUSE_READ] = "read", [FUSE_WRITE] = "write", [FUSE_STATFS] = "statfs",
	[FUSE_RELEASE] = "release", [FUSE_FSYNC] = "fsync", [FUSE_SETXATTR] = "setxattr",
	[FUSE_GETXATTR] = "getxattr", [FUSE_LISTXATTR] = "listxattr", [FUSE_REMOVEXATTR] = "removexattr",
	[FUSE_FLUSH] = "flush", [FUSE_INIT] = "init", [FUSE_OPENDIR] = "opendir", [FUSE_READDIR] = "readdir",
	[FUSE_RELEASEDIR] = "releasedir", [FUSE_FSYNCDIR] = "fsyncdir", [FUSE_GETLK] = "getlk", [FUSE_SETLK] = "setlk",
	[FUSE_SETLKW] = "setlkw", [FUSE_ACCESS] = "access", [FUSE_CREATE] = "create", [FUSE_INTERRUPT] = "interrupt",
	[FUSE_BMAP] = "bmap", [FUSE_DESTROY] = "destroy", [FUSE_IOCTL] = "ioctl", [FUSE_POLL] = "poll",
	[FUSE_NOTIFY_REPLY] = "notify_reply", [FUSE_BATCH_FORGET] = "batch_forget", [FUSE_FALLOCATE] = "fallocate",
	[FUSE_READDIRPLUS] = "readdirplus", [FUSE_RENAME2] = "rename2", [FUSE_LSEEK] = "lseek",
	[FUSE_COPY_FILE_RANGE] = "copy_file_range", [FUSE_SETUPMAPPING] = "setupmapping",
	[FUSE_REMOVEMAPPING] = "removemapping", [FUSE_SYNCFS] = "syncfs",
	/* newer than some systems' headers */
	[51] = "tmpfile", [52] = "statx", [53] = "copy_file_range_64",
};

static const char *fs_name(uint64_t magic, char hex[24])
{
	static const struct { uint64_t magic; const char *name; } known[] = {
		{ 0xef53, "ext4" }, { 0x58465342, "xfs" }, { 0x9123683e, "btrfs" }, { 0x01021994, "tmpfs" },
		{ 0x794c7630, "overlay" }, { 0x65735546, "fuse" }, { 0x6969, "nfs" }, { 0xe0f5e1e2, "erofs" },
		{ 0x73717368, "squashfs" }, { 0xf2f52010, "f2fs" }, { 0x2fc12fc1, "zfs" }, { 0xca451a4e, "bcachefs" },
		{ 0xff534d42, "cifs" }, { 0xfe534d42, "smb" }, { 0x00c36400, "ceph" }, { 0x01021997, "9p" },
		{ 0x4d44, "vfat" }, { 0x2011bab0, "exfat" }, { 0x9660, "iso9660" }, { 0x858458f6, "ramfs" },
	};
	size_t i;

	for (i = 0; i < PLY_ARRAY_SIZE(known); i++)
		if (known[i].magic == magic)
			return known[i].name;
	snprintf(hex, 24, "0x%llx", (unsigned long long)magic);
	return hex;
}

static const char *verdict_name(enum ply_pt_verdict v)
{
	switch (v) {
	case PLY_PT_OK:
		return "yes";
	case PLY_PT_NO_CLONE:
		return "no-clone";
	case PLY_PT_TOO_DEEP:
		return "too-deep";
	case PLY_PT_PRIVILEGE:
		return "no-privilege";
	case PLY_PT_KERNEL:
		return "kernel";
	case PLY_PT_BY_OPTION:
		return "option";
	}
	return "?";
}

static const char *policy_name(enum ply_pt_policy p)
{
	switch (p) {
	case PLY_PT_AUTO:
		return "auto";
	case PLY_PT_FULL:
		return "full";
	case PLY_PT_OFF:
		return "off";
	case PLY_PT_REQUIRED:
		return "required";
	}
	return "?";
}

/* Names in layers and mount points need not be UTF-8, as JSON's strings must. */
static json_t *text(const char *s)
{
	json_t *j = json_string(s ? s : "");
	ply_autofree char *clean = NULL;
	size_t i;

	if (j || !s)
		return j;
	clean = strdup(s);
	for (i = 0; clean && clean[i]; i++)
		if ((unsigned char)clean[i] >= 0x80)
			clean[i] = '?';
	return json_string(clean ? clean : "");
}

static void put_number(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

static json_t *layer_doc(struct ply_fs *fs, const struct ply_layer *l)
{
	const struct ply_layerfs *f = &fs->layers.fs[l->fs];
	json_t *o = json_object();
	char hex[24], dev[32];

	snprintf(dev, sizeof(dev), "%u:%u", major(f->dev), minor(f->dev));
	put_number(o, "index", l->index);
	json_object_set_new(o, "path", text(l->path));
	json_object_set_new(o, "role", text(l->is_upper ? "upper" : l->data_only ? "data" : "lower"));
	json_object_set_new(o, "filesystem", text(fs_name(f->magic, hex)));
	json_object_set_new(o, "device", text(dev));
	json_object_set_new(o, "stack_depth", f->depth > 0 ? json_integer(f->depth) : json_null());
	json_object_set_new(o, "read_only_clone", json_boolean(l->ro_clone));
	json_object_set_new(o, "passthrough", text(verdict_name(l->passthrough)));
	json_object_set_new(o, "why", text(l->passthrough == PLY_PT_OK ? "" : l->why));
	return o;
}

static json_t *counters_doc(json_t *requests, json_t *depths)
{
	struct ply_counter_block *sum = calloc(1, sizeof(*sum));
	json_t *o = json_object();
	char num[16];
	size_t i;

	if (!sum)
		return o;
	ply_counters_sum(sum);
	for (i = 0; i < PLY_C_COUNT; i++)
		put_number(o, ply_counter_names[i], sum->c[i]);
	for (i = 0; i < PLY_OPCODES; i++) {
		if (!sum->op[i])
			continue;
		snprintf(num, sizeof(num), "op%zu", i);
		put_number(requests, op_names[i] ? op_names[i] : num, sum->op[i]);
	}
	for (i = 0; i < PLY_DEPTHS; i++) {
		if (!sum->depth[i])
			continue;
		snprintf(num, sizeof(num), "%zu", i);
		put_number(depths, num, sum->depth[i]);
	}
	free(sum);
	return o;
}

static uint64_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n > 3 ? n - 3 : 0;	/* ".", ".." and the directory's own */
}

static uint64_t resident_bytes(void)
{
	unsigned long long size, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &size, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static json_t *sizes_doc(struct ply_fs *fs)
{
	struct ply_graph_stats g;
	json_t *o = json_object();

	ply_graph_stats(fs->graph, &g);
	put_number(o, "nodes", g.nodes);
	put_number(o, "names", g.names);
	put_number(o, "identities", g.identities);
	put_number(o, "lookups", g.lookups);
	put_number(o, "graph_bytes", g.bytes);
	put_number(o, "directory_fds", g.dirfds);
	put_number(o, "fds", count_fds());
	put_number(o, "resident_bytes", resident_bytes());
	return o;
}

static json_t *protocol_doc(const struct ply_session_info *i)
{
	json_t *o = json_object();

	put_number(o, "major", i->proto_major);
	put_number(o, "minor", i->proto_minor);
	put_number(o, "max_write", i->max_write);
	json_object_set_new(o, "readdirplus", json_boolean(i->readdirplus));
	json_object_set_new(o, "posix_acl", json_boolean(i->posix_acl));
	json_object_set_new(o, "handle_killpriv_v2", json_boolean(i->killpriv_v2));
	json_object_set_new(o, "setxattr_ext", json_boolean(i->setxattr_ext));
	return o;
}

static json_t *io_uring_doc(const struct ply_session_info *i)
{
	json_t *o = json_object();

	json_object_set_new(o, "active", json_boolean(i->io_uring));
	json_object_set_new(o, "why", text(i->io_uring_why));
	put_number(o, "threads", i->io_uring_threads);
	return o;
}

static json_t *passthrough_doc(struct ply_fs *fs)
{
	struct ply_backing_stats b;
	json_t *o = json_object();

	ply_backing_stats(fs, &b);
	json_object_set_new(o, "policy", text(policy_name(fs->opt->passthrough)));
	json_object_set_new(o, "active", json_boolean(fs->passthrough));
	put_number(o, "max_stack_depth", fs->passthrough ? fs->stack_depth : 0);
	json_object_set_new(o, "why", text(fs->passthrough ? "" : fs->passthrough_why));
	put_number(o, "ids_live", b.live_ids);
	put_number(o, "ids_cached", b.cached_ids);
	put_number(o, "handles", b.passthrough_handles);
	put_number(o, "handles_cached_mode", b.cached_handles);
	return o;
}

static json_t *status_doc(struct ply_session *s)
{
	struct ply_fs *fs = ply_session_fs(s);
	json_t *o = json_object(), *layers = json_array(), *requests = json_object(), *depths = json_object();
	struct ply_session_info info;
	unsigned int i;
	char dev[32];

	ply_session_info(s, &info);
	snprintf(dev, sizeof(dev), "%u:%u", major(info.dev), minor(info.dev));
	json_object_set_new(o, "version", text(PACKAGE_VERSION));
	put_number(o, "pid", (uint64_t)getpid());
	json_object_set_new(o, "mountpoint", text(fs->opt->mountpoint));
	json_object_set_new(o, "source", text(fs->opt->fsname));
	json_object_set_new(o, "device", text(dev));
	json_object_set_new(o, "writable", json_boolean(ply_fs_writable(fs)));
	put_number(o, "threads", info.threads);
	json_object_set_new(o, "protocol", protocol_doc(&info));
	json_object_set_new(o, "passthrough", passthrough_doc(fs));
	json_object_set_new(o, "io_uring", io_uring_doc(&info));
	json_object_set_new(o, "writeback", json_boolean(fs->writeback));
	for (i = fs->layers.upper ? 0 : 1; i < fs->layers.n; i++)
		json_array_append_new(layers, layer_doc(fs, &fs->layers.layer[i]));
	json_object_set_new(o, "layers", layers);
	json_object_set_new(o, "counters", counters_doc(requests, depths));
	json_object_set_new(o, "requests", requests);
	json_object_set_new(o, "lookups_by_layer", depths);
	json_object_set_new(o, "sizes", sizes_doc(fs));
	return o;
}

/* --- serving --- */

static void control_answer(struct ply_control *c, int fd)
{
	struct timeval limit = { .tv_sec = CONTROL_SEND_SECONDS };
	socklen_t len = sizeof(struct ucred);
	ply_autofree char *doc = NULL;
	struct ucred peer;
	size_t done = 0, size;
	json_t *j;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || (peer.uid != 0 && peer.uid != c->owner))
		return;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	j = status_doc(c->session);
	doc = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	size = doc ? strlen(doc) : 0;
	while (done < size) {
		ssize_t n = send(fd, doc + done, size - done, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
}

static void control_client(struct ply_control *c)
{
	ply_autofd fd = accept4(c->listen, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0)
		control_answer(c, fd);
}

static void *control_work(void *arg)
{
	struct ply_control *c = arg;
	struct pollfd p[2] = { { .fd = c->listen, .events = POLLIN }, { .fd = c->stop, .events = POLLIN } };

	for (;;) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents)
			return NULL;
		control_client(c);
	}
}

/* Most mounts are never asked, and a thread costs more than a socket. */
static void control_first(void *arg)
{
	struct ply_control *c = arg;

	c->has_thread = !pthread_create(&c->thread, NULL, control_work, c);
	if (!c->has_thread) {
		control_client(c);
		ply_session_when_readable(c->session, c->listen, control_first, c);
	}
}

/* --- the socket --- */

/* Sockets in long paths are reached through the directory's fd: what /proc then has to make takes longer than the socket. */
static void control_address(struct sockaddr_un *a, const char *path, int dir, const char *name)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if ((size_t)snprintf(a->sun_path, sizeof(a->sun_path), "%s/%s", path, name) >= sizeof(a->sun_path))
		snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", dir, name);
}

size_t ply_control_dirs(char **dirs, size_t max)
{
	const char *run = secure_getenv("XDG_RUNTIME_DIR");
	struct dirent *e;
	size_t n = 0;
	DIR *d;

	if (n < max && (dirs[n] = strdup("/run/plyfs")))
		n++;
	if (run && *run == '/' && n < max && asprintf(&dirs[n], "%s/plyfs", run) >= 0)
		n++;
	if (geteuid() != 0)
		return n;
	/* root may ask everybody's */
	d = opendir("/run/user");
	while (d && n < max && (e = readdir(d)))
		if (e->d_name[0] != '.' && asprintf(&dirs[n], "/run/user/%s/plyfs", e->d_name) >= 0)
			n++;
	if (d)
		closedir(d);
	return n;
}

/* The directory for our socket, made when missing; nobody else may be able to put something there. */
static int control_open_dir(const struct ply_layers *ls, char **out)
{
	const char *run = secure_getenv("XDG_RUNTIME_DIR");
	ply_autofree char *path = NULL;
	ply_autofd fd = -1;
	struct stat st;

	if (geteuid() == 0 && ls->in_init_userns)
		path = strdup("/run/plyfs");
	else if (!run || *run != '/' || asprintf(&path, "%s/plyfs", run) < 0)
		return -ENOENT;
	if (!path)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		if (mkdir(path, 0700) && errno != EEXIST)
			return -errno;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return -EPERM;
	*out = ply_take_ptr(&path);
	return ply_take_fd(&fd);
}

/* The socket's own mode is what its name in the directory gets. */
static int control_bind(struct ply_control *c, const struct sockaddr_un *a)
{
	const struct sockaddr *name = (const struct sockaddr *)(const void *)a;

	if (fchmod(c->listen, 0600))
		return -errno;
	if (!bind(c->listen, name, sizeof(*a)))
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	/* What a daemon that was killed left: device numbers in use are unique. */
	unlinkat(c->dir, c->name, 0);
	return bind(c->listen, name, sizeof(*a)) ? -errno : 0;
}

static int control_listen(struct ply_control *c)
{
	ply_autofree char *path = NULL;
	struct sockaddr_un a;
	struct stat st;
	int r;

	c->dir = control_open_dir(&ply_session_fs(c->session)->layers, &path);
	if (c->dir < 0)
		return c->dir;
	c->listen = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->listen < 0)
		return -errno;
	control_address(&a, path, c->dir, c->name);
	r = control_bind(c, &a);
	if (r)
		return r;
	if (listen(c->listen, 8) || fstatat(c->dir, c->name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	c->ino = st.st_ino;
	return 0;
}

static void control_free(struct ply_control *c)
{
	struct stat st;

	if (c->ino && !fstatat(c->dir, c->name, &st, AT_SYMLINK_NOFOLLOW) && st.st_ino == c->ino)
		unlinkat(c->dir, c->name, 0);
	if (c->listen >= 0)
		close(c->listen);
	if (c->dir >= 0)
		close(c->dir);
	if (c->stop >= 0)
		close(c->stop);
	free(c);
}

void ply_control_start(struct ply_control **out, struct ply_session *s)
{
	struct ply_control *c = calloc(1, sizeof(*c));
	struct ply_session_info info;
	int err;

	*out = NULL;
	if (!c)
		return;
	ply_session_info(s, &info);
	c->session = s;
	c->owner = geteuid();
	c->dir = c->listen = -1;
	c->stop = eventfd(0, EFD_CLOEXEC);
	snprintf(c->name, sizeof(c->name), "%u:%u.sock", major(info.dev), minor(info.dev));
	err = c->stop < 0 ? -errno : !info.dev ? -ENODEV : control_listen(c);
	if (err) {
		ply_debug("plyctl cannot ask this mount: no socket (%s)", strerror(-err));
		control_free(c);
		return;
	}
	ply_session_when_readable(s, c->listen, control_first, c);
	*out = c;
}

void ply_control_stop(struct ply_control *c)
{
	uint64_t one = 1;

	if (!c)
		return;
	if (write(c->stop, &one, sizeof(one)) != sizeof(one))
		ply_debug("eventfd: %s", strerror(errno));
	if (c->has_thread)
		pthread_join(c->thread, NULL);
	control_free(c);
}
