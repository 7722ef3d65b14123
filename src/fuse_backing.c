// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_backing.h"
#include "compat.h"
#include "creds.h"
#include "log.h"
#include "plyfs-fuse.h"
#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdarg.h>

#ifndef BTRFS_SUPER_MAGIC
#define BTRFS_SUPER_MAGIC 0x9123683E
#endif

#define PROBE_WAIT_MS 5000		/* for INIT, which is queued when the superblock is made */
#define PROBE_ENTRIES 4000		/* of a layer, at most, in search of a regular file */
#define PROBE_DEPTH 8
#define PROBE_DEPTH_MAX 2		/* the kernel's FILESYSTEM_MAX_STACK_DEPTH */

/* fsconfig(2), as libcs before 2.36 do not have it */
enum { PROBE_SET_STRING = 1, PROBE_CMD_CREATE = 6 };

/* --- a session that nobody sees --- */

struct probe {
	int dev, sb;
};

static void probe_close(struct probe *p)
{
	if (p->sb >= 0)
		close(p->sb);
	if (p->dev >= 0)
		close(p->dev);
	p->sb = p->dev = -1;
}

static int probe_set(int sb, const char *key, const char *val)
{
	return syscall(SYS_fsconfig, sb, PROBE_SET_STRING, key, val, 0) ? -errno : 0;
}

static int probe_superblock(struct probe *p)
{
	char dev[16];
	int err;

	snprintf(dev, sizeof(dev), "%d", p->dev);
	err = probe_set(p->sb, "fd", dev);
	if (!err)
		err = probe_set(p->sb, "rootmode", "40000");
	if (!err)
		err = probe_set(p->sb, "user_id", "0");
	if (!err)
		err = probe_set(p->sb, "group_id", "0");
	if (!err && syscall(SYS_fsconfig, p->sb, PROBE_CMD_CREATE, NULL, NULL, 0))
		err = -errno;
	return err;
}

/* The kernel wants room for its smallest buffer. */
struct probe_in {
	struct fuse_in_header h;
	struct fuse_init_in init;
	char rest[FUSE_MIN_READ_BUFFER];
};

/* Answers INIT by hand. -EOPNOTSUPP: this kernel knows no passthrough. */
static int probe_init(struct probe *p, unsigned int depth)
{
	struct {
		struct fuse_out_header h;
		struct fuse_init_out init;
	} out = { .h = { .len = sizeof(out) } };
	ply_autofree struct probe_in *in = malloc(sizeof(*in));
	struct pollfd pfd = { .fd = p->dev, .events = POLLIN };
	uint64_t flags;
	ssize_t n;

	if (!in)
		return -ENOMEM;
	if (poll(&pfd, 1, PROBE_WAIT_MS) != 1)
		return -ETIMEDOUT;
	n = read(p->dev, in, sizeof(*in));
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(in->h) + sizeof(in->init) || in->h.opcode != FUSE_INIT)
		return -EOPNOTSUPP;
	flags = in->init.flags | (in->init.flags & FUSE_INIT_EXT ? (uint64_t)in->init.flags2 << 32 : 0);
	if (!(flags & FUSE_PASSTHROUGH))
		return -EOPNOTSUPP;
	out.h.unique = in->h.unique;
	out.init.major = FUSE_KERNEL_VERSION;
	out.init.minor = in->init.minor;
	out.init.max_write = 4096;
	out.init.flags = FUSE_INIT_EXT;
	out.init.flags2 = (uint32_t)(FUSE_PASSTHROUGH >> 32);
	plyfs_fuse_set_max_stack_depth(&out.init, depth);
	return write(p->dev, &out, sizeof(out)) < 0 ? -errno : 0;
}

static int probe_open(struct probe *p, unsigned int depth)
{
	int err;

	*p = (struct probe){ -1, -1 };
	p->dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (p->dev < 0)
		return -errno;
	p->sb = (int)syscall(SYS_fsopen, "fuse", 1);
	err = p->sb < 0 ? -errno : probe_superblock(p);
	if (!err)
		err = probe_init(p, depth);
	if (err)
		probe_close(p);
	return err;
}

/* --- registration --- */

int ply_fuse_backing_open(int dev, int fd)
{
	struct fuse_backing_map map = { .fd = fd };
	int err = ply_creds_registration_begin(), id;

	if (err)
		return err;
	id = ply_sys_ioctl(dev, FUSE_DEV_IOC_BACKING_OPEN, &map);
	ply_creds_registration_end();
	return id;
}

void ply_fuse_backing_close(int dev, int id)
{
	uint32_t which = (uint32_t)id;

	ply_sys_ioctl(dev, FUSE_DEV_IOC_BACKING_CLOSE, &which);
}

/* --- a regular file of a layer --- */

struct search {
	unsigned int budget;
	char file[256];
	char dirs[8][256];
	unsigned int ndirs;
};

static int search_entry(void *arg, const struct ply_dirent *d)
{
	struct search *s = arg;

	if (!s->budget--)
		return 1;
	if (strlen(d->name) > 255)
		return 0;
	if (d->type == DT_REG) {
		strcpy(s->file, d->name);
		return 1;
	}
	if (d->type == DT_DIR && s->ndirs < PLY_ARRAY_SIZE(s->dirs))
		strcpy(s->dirs[s->ndirs++], d->name);
	return 0;
}

/* Overlayfs shows files under other device numbers than directories: the filesystem's type must do. */
static bool same_type(int a, int b)
{
	uint64_t ta, tb;

	return !ply_sys_fs_magic(a, &ta) && !ply_sys_fs_magic(b, &tb) && ta == tb;
}

/* An O_RDONLY fd of some regular file at or below dir, on the same filesystem; -ENOENT. */
static int search_file(int dir, dev_t dev, unsigned int depth, unsigned int *budget)
{
	ply_autofree struct search *s = calloc(1, sizeof(*s));
	ply_autofd fd = -1;
	struct stat st;
	unsigned int i;

	if (!s)
		return -ENOMEM;
	s->budget = *budget;
	fd = ply_sys_open(PLY_FD(dir), O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	if (ply_sys_stat(PLY_FD(fd), &st) || st.st_dev != dev)
		return -ENOENT;
	ply_sys_readdir(fd, search_entry, s);
	*budget = s->budget > PROBE_ENTRIES ? 0 : s->budget;
	if (s->file[0]) {
		int file = ply_sys_open(PLY_AT(fd, s->file), O_RDONLY | O_NONBLOCK, 0);

		if (file >= 0 && !ply_sys_stat(PLY_FD(file), &st) && S_ISREG(st.st_mode) && same_type(file, fd))
			return file;
		if (file >= 0)
			close(file);
	}
	for (i = 0; i < s->ndirs && depth < PROBE_DEPTH && *budget; i++) {
		ply_autofd sub = ply_sys_open(PLY_AT(fd, s->dirs[i]), O_RDONLY | O_DIRECTORY, 0);
		int file = sub < 0 ? sub : search_file(sub, dev, depth + 1, budget);

		if (file >= 0)
			return file;
	}
	return -ENOENT;
}

/* A file on the layer's filesystem: the upper's own temporary, some file of a lower. */
static int layer_file(struct ply_fs *fs, const struct ply_layer *l)
{
	unsigned int budget = PROBE_ENTRIES;
	char tmp[PLY_TMP_MAX];
	int fd;

	if (!l->is_upper || !fs->work.ls)
		return search_file(l->fd, l->root_stat.st_dev, 0, &budget);
	if (fs->work.probe_fd >= 0)
		return ply_sys_dup(fs->work.probe_fd);
	fd = ply_sys_tmpfile(fs->work.fd, O_RDWR, 0600);
	if (fd >= 0)
		return fd;
	ply_workdir_tmpname(&fs->work, tmp);
	fd = ply_sys_open(PLY_AT(fs->work.fd, tmp), O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd >= 0)
		ply_workdir_discard(&fs->work, tmp);
	return fd;
}

/* --- what each layer needs --- */

/* No file of these is stacked on another filesystem's, whatever their devices are. */
static bool depth_is_one(uint64_t magic)
{
	return magic == EXT4_SUPER_MAGIC || magic == XFS_SUPER_MAGIC || magic == BTRFS_SUPER_MAGIC ||
	       magic == TMPFS_MAGIC;
}

/* Filesystems that are stacked on others where no file tells. */
static int depth_guess(uint64_t magic)
{
	return magic == 0x794c7630 /* overlayfs */ || magic == 0x65735546 /* FUSE */ ? PROBE_DEPTH_MAX : 1;
}

/*
 * Tries all filesystems that are not known yet at this depth. *deeper: one of them needs more. -errno: no such session
 * can be had.
 */
static int probe_depth(struct ply_fs *fs, int depth, bool *deeper)
{
	struct ply_layers *ls = &fs->layers;
	struct probe p;
	unsigned int i;
	int err = probe_open(&p, (unsigned int)depth);

	if (err)
		return err;
	*deeper = false;
	for (i = ls->upper ? 0 : 1; i < ls->n; i++) {
		struct ply_layer *l = &ls->layer[i];
		struct ply_layerfs *f = &ls->fs[l->fs];
		ply_autofd fd = -1;
		int id;

		if (l->passthrough != PLY_PT_OK || f->depth)
			continue;
		fd = layer_file(fs, l);
		if (fd < 0)
			continue;
		id = ply_fuse_backing_open(p.dev, fd);
		if (id > 0) {
			ply_fuse_backing_close(p.dev, id);
			f->depth = depth;
		} else if (id != -ELOOP) {
			f->depth = id == -EPERM ? -EACCES : id;	/* -1 means too deep */
		} else if (depth == PROBE_DEPTH_MAX) {
			f->depth = -1;
		} else {
			*deeper = true;
		}
	}
	probe_close(&p);
	return 0;
}

static void refuse(struct ply_layer *l, enum ply_pt_verdict v, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void refuse(struct ply_layer *l, enum ply_pt_verdict v, const char *fmt, ...)
{
	va_list ap;

	l->passthrough = v;
	va_start(ap, fmt);
	vsnprintf(l->why, sizeof(l->why), fmt, ap);
	va_end(ap);
}

static void refuse_all(struct ply_fs *fs, enum ply_pt_verdict v, const char *why)
{
	unsigned int i;

	for (i = 0; i < fs->layers.n; i++)
		if (fs->layers.layer[i].passthrough == PLY_PT_OK)
			refuse(&fs->layers.layer[i], v, "%s", why);
	fs->stack_depth = 0;
	snprintf(fs->passthrough_why, sizeof(fs->passthrough_why), "%s", why);
}

/* Reasons that hold for all layers, without asking the kernel. */
static bool refused_outright(struct ply_fs *fs)
{
	if (fs->opt->passthrough == PLY_PT_OFF) {
		refuse_all(fs, PLY_PT_BY_OPTION, "passthrough=off");
		return true;
	}
	if (fs->opt->max_stack_depth == 0) {
		refuse_all(fs, PLY_PT_BY_OPTION, "max_stack_depth=0");
		return true;
	}
	/* For tests: as on a kernel without CONFIG_FUSE_PASSTHROUGH. */
	if (secure_getenv("PLYFS_MASK_PASSTHROUGH")) {
		refuse_all(fs, PLY_PT_KERNEL, "the kernel does not offer it (masked by PLYFS_MASK_PASSTHROUGH)");
		return true;
	}
	if (!fs->layers.in_init_userns || !ply_creds_has(CAP_SYS_ADMIN)) {
		refuse_all(fs, PLY_PT_PRIVILEGE,
			   "registering files needs CAP_SYS_ADMIN in the initial user namespace");
		return true;
	}
	return false;
}

/*
 * True: each layer's depth is known, and INIT will tell whether this kernel has passthrough at all, so no session
 * is needed to try it out, which takes a third of the time of a mount. Who requires it hears before the mount is there.
 */
static bool depths_are_known(struct ply_fs *fs)
{
	struct ply_layers *ls = &fs->layers;
	bool known = fs->opt->passthrough != PLY_PT_REQUIRED;
	unsigned int i;

	for (i = ls->upper ? 0 : 1; i < ls->n && known; i++)
		known = ls->layer[i].passthrough != PLY_PT_OK || depth_is_one(ls->fs[ls->layer[i].fs].magic);
	for (i = ls->upper ? 0 : 1; i < ls->n && known; i++)
		if (ls->layer[i].passthrough == PLY_PT_OK)
			ls->fs[ls->layer[i].fs].depth = 1;
	return known;
}

static int probe_all(struct ply_fs *fs)
{
	struct ply_layers *ls = &fs->layers;
	int limit = fs->opt->max_stack_depth > 0 ? fs->opt->max_stack_depth : PROBE_DEPTH_MAX;
	int depth = 1, err = 0;
	bool deeper;
	unsigned int i;

	for (i = 1; i < ls->n; i++)
		if (ls->layer[i].passthrough == PLY_PT_OK && !ls->layer[i].ro_clone)
			refuse(&ls->layer[i], PLY_PT_NO_CLONE,
			       "no read-only clone of its mount can be made, without which it could be written");
	deeper = !depths_are_known(fs);
	for (depth = 1; depth <= PROBE_DEPTH_MAX && !err && deeper; depth++)
		err = probe_depth(fs, depth, &deeper);
	if (err)
		return err;
	depth = fs->opt->max_stack_depth > 0 ? limit : 1;
	for (i = ls->upper ? 0 : 1; i < ls->n; i++) {
		struct ply_layer *l = &ls->layer[i];
		int need = ls->fs[l->fs].depth;

		if (l->passthrough != PLY_PT_OK)
			continue;
		if (!need)
			need = depth_guess(ls->fs[l->fs].magic);
		if (need < -1)
			refuse(l, PLY_PT_KERNEL, "the kernel refuses its files: %s", strerror(-need));
		else if (need == -1)
			refuse(l, PLY_PT_TOO_DEEP, "its filesystem is stacked too deeply: it needs a max_stack_depth above %d, the kernel's limit",
			       PROBE_DEPTH_MAX);
		else if (need > limit)
			refuse(l, PLY_PT_TOO_DEEP, "its filesystem is stacked: it needs max_stack_depth=%d, the limit is %d", need, limit);
		else if (need > depth)
			depth = need;
	}
	fs->stack_depth = (unsigned int)depth;
	return 0;
}

/* The first layer without passthrough and how many there are; NULL: none. */
static const struct ply_layer *first_refused(const struct ply_fs *fs, unsigned int *n)
{
	const struct ply_layers *ls = &fs->layers;
	const struct ply_layer *bad = NULL;
	unsigned int i;

	*n = 0;
	for (i = ls->upper ? 0 : 1; i < ls->n; i++)
		if (ls->layer[i].passthrough != PLY_PT_OK && !(*n)++)
			bad = &ls->layer[i];
	return bad;
}

/* What the verdicts mean for the mount. */
static int conclude(struct ply_fs *fs, char *err, size_t errlen)
{
	unsigned int nbad, n = fs->layers.n - (fs->layers.upper ? 0 : 1);
	const struct ply_layer *bad = first_refused(fs, &nbad);

	if (!bad)
		return 0;
	if (nbad == n) {
		fs->stack_depth = 0;
		if (!fs->passthrough_why[0])
			snprintf(fs->passthrough_why, sizeof(fs->passthrough_why), "%s", bad->why);
	}
	if (fs->opt->passthrough != PLY_PT_REQUIRED)
		return 0;
	snprintf(err, errlen, "passthrough=required, but layer %s cannot have it: %s", bad->path, bad->why);
	return -EOPNOTSUPP;
}

void ply_fuse_backing_report(const struct ply_fs *fs)
{
	unsigned int nbad;
	const struct ply_layer *bad = first_refused(fs, &nbad);

	if (!fs->passthrough && !bad)
		ply_info("no passthrough: %s", fs->passthrough_why);
	else if (bad && bad->passthrough == PLY_PT_BY_OPTION)
		ply_debug("no passthrough: %s", bad->why);
	else if (nbad > 1)
		ply_info("no passthrough on layer %s and %u more: %s", bad->path, nbad - 1, bad->why);
	else if (bad)
		ply_info("no passthrough on layer %s: %s", bad->path, bad->why);
}

void ply_fuse_backing_not_offered(struct ply_fs *fs)
{
	refuse_all(fs, PLY_PT_KERNEL, "the kernel does not offer it (Linux 6.9 with CONFIG_FUSE_PASSTHROUGH)");
}

int ply_fuse_backing_probe(struct ply_fs *fs, char *err, size_t errlen)
{
	if (!refused_outright(fs)) {
		int r = probe_all(fs);

		if (r == -EOPNOTSUPP)
			ply_fuse_backing_not_offered(fs);
		else if (r)
			refuse_all(fs, PLY_PT_KERNEL, "it cannot be tried out: fsopen of fuse fails");
	}
	return conclude(fs, err, errlen);
}

/* --- after INIT --- */

/* Has a layer before this one the same filesystem? */
static bool fs_is_verified(const struct ply_layers *ls, unsigned int i)
{
	unsigned int k;

	for (k = ls->upper ? 0 : 1; k < i; k++)
		if (ls->layer[k].fs == ls->layer[i].fs && ls->layer[k].passthrough == PLY_PT_OK)
			return true;
	return false;
}

/* Registers a file of each filesystem. */
static int verify_all(struct ply_fs *fs)
{
	struct ply_layers *ls = &fs->layers;
	unsigned int i;

	for (i = ls->upper ? 0 : 1; i < ls->n; i++) {
		ply_autofd fd = -1;
		int id;

		if (ls->layer[i].passthrough != PLY_PT_OK || fs_is_verified(ls, i))
			continue;
		fd = layer_file(fs, &ls->layer[i]);
		if (fd < 0)
			continue;
		id = fs->up.backing_open(fs->up.arg, fd);
		if (id <= 0)
			return id;
		fs->up.backing_close(fs->up.arg, id);
	}
	return 0;
}

int ply_fuse_backing_verify(struct ply_fs *fs, char *err, size_t errlen)
{
	int r = fs->passthrough ? verify_all(fs) : 0;

	ply_workdir_probed(&fs->work);
	if (r) {
		snprintf(fs->passthrough_why, sizeof(fs->passthrough_why), "the kernel did not grant it (%s)", strerror(-r));
		/* Requests are being served already. */
		__atomic_store_n(&fs->passthrough, false, __ATOMIC_RELAXED);
	}
	if (fs->passthrough || fs->opt->passthrough != PLY_PT_REQUIRED)
		return 0;
	snprintf(err, errlen, "passthrough=required, but %s%s", r ? "" : "it cannot be had: ", fs->passthrough_why);
	return -EOPNOTSUPP;
}
