// SPDX-License-Identifier: GPL-2.0-or-later
#include "layer.h"

#include "creds.h"
#include "lock.h"
#include "log.h"
#include "mountinfo.h"
#include <errno.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <sys/sysmacros.h>

#ifndef BTRFS_SUPER_MAGIC
#define BTRFS_SUPER_MAGIC 0x9123683E
#endif
#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

/* --- filesystems --- */

static bool uuid_is_clear(const struct ply_layerfs *a, const struct ply_layerfs *b)
{
	/* Subvolumes of one btrfs differ in st_dev only: a handle means the same through each. */
	return memcmp(a->uuid, b->uuid, sizeof(a->uuid)) ||
	       (a->magic == BTRFS_SUPER_MAGIC && b->magic == BTRFS_SUPER_MAGIC);
}

static bool fs_opens_handles(struct ply_at at, int root_fd)
{
	uint8_t fid[PLY_FH_MAX];
	ply_autofd back = -1;
	int type, len = ply_sys_handle(at, &type, fid);

	if (len < 0 || root_fd < 0)
		return false;
	back = ply_sys_open_handle(root_fd, type, fid, (unsigned int)len);
	return back >= 0;
}

/* Handles of FUSE are the server's node ids of the moment: no identity that lasts. */
static bool fs_has_handles(const struct ply_layerfs *f, int fd)
{
	uint8_t fid[PLY_FH_MAX];
	int type;

	return f->magic != FUSE_SUPER_MAGIC && ply_sys_handle(PLY_FD(fd), &type, fid) >= 0;
}

static void fs_probe(struct ply_layerfs *f, int fd)
{
	if (ply_sys_fs_magic(fd, &f->magic))
		f->magic = 0;
	f->knows_uuid = !ply_sys_fs_uuid(fd, f->uuid);
	if (!f->knows_uuid)
		memset(f->uuid, 0, sizeof(f->uuid));
	f->root_fd = ply_sys_open(PLY_FD(fd), O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
	f->has_handles = fs_has_handles(f, fd);
	f->can_open_handles = f->has_handles && fs_opens_handles(PLY_FD(fd), f->root_fd);
}

static unsigned int fs_find(struct ply_layers *ls, dev_t dev, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (ls->fs[i].dev == dev)
			break;
	return i;
}

unsigned int ply_layers_fs(struct ply_layers *ls, dev_t dev, int fd)
{
	unsigned int n = atomic_load_explicit(&ls->nfs, memory_order_acquire), i = fs_find(ls, dev, n);
	struct ply_layerfs new = { .dev = dev, .has_uuid = true };

	/* Entries that are counted do not change: no lock for what is known. */
	if (i < n)
		return i;
	fs_probe(&new, fd);
	PLY_MUTEX(guard, &ls->fs_lock);
	n = atomic_load_explicit(&ls->nfs, memory_order_relaxed);
	i = fs_find(ls, dev, n);
	if (i < n || n == PLY_MAX_FS) {
		if (new.root_fd >= 0)
			close(new.root_fd);
		return ply_min(i, PLY_MAX_FS - 1u);
	}
	for (unsigned int k = 0; k < n; k++) {
		if (!uuid_is_clear(&new, &ls->fs[k])) {
			new.has_uuid = false;
			__atomic_store_n(&ls->fs[k].has_uuid, false, __ATOMIC_RELAXED);
		}
	}
	ls->fs[n] = new;
	atomic_store_explicit(&ls->nfs, n + 1, memory_order_release);
	return n;
}

void ply_layers_learn_uuid(struct ply_layers *ls, unsigned int fs, const uint8_t uuid[16])
{
	unsigned int n, i, k;

	PLY_MUTEX(guard, &ls->fs_lock);
	n = atomic_load_explicit(&ls->nfs, memory_order_relaxed);
	memcpy(ls->fs[fs].uuid, uuid, sizeof(ls->fs[fs].uuid));
	ls->fs[fs].knows_uuid = true;
	/* It may be another's, and is no longer that of those that have none. */
	for (i = 0; i < n; i++) {
		ls->fs[i].has_uuid = true;
		for (k = 0; k < n; k++)
			ls->fs[i].has_uuid &= k == i || uuid_is_clear(&ls->fs[i], &ls->fs[k]);
	}
}

/* --- opening --- */

static int fail(char *err, size_t errlen, int r, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static int fail(char *err, size_t errlen, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return r;
}

static void layer_verdict(struct ply_layer *l, enum ply_pt_verdict v, const char *why)
{
	l->passthrough = v;
	snprintf(l->why, sizeof(l->why), "%s", why);
}

/* What messages call a layer: by the option that it was given with. */
static const char *layer_word(const struct ply_layer *l)
{
	return l->is_upper ? "upperdir" : "lowerdir";
}

static void layer_find_override(struct ply_layer *l, enum ply_xattr_perm asked)
{
	static const struct { const char *name; enum ply_xattr_perm mode; } forms[] = {
		{ "security.fuseoverlayfs.override_stat", PLY_XPERM_PRIVILEGED },
		{ "user.containers.override_stat", PLY_XPERM_CONTAINERS },
		{ "user.fuseoverlayfs.override_stat", PLY_XPERM_CONTAINERS },
	};

	/* What an upper is told to have it goes on with in the form it has it in: fuse-overlayfs 1 writes the last one. */
	if (!l->is_upper)
		asked = PLY_XPERM_NONE;
	if (asked != PLY_XPERM_NONE) {
		l->override = asked;
		l->override_name = forms[asked == PLY_XPERM_PRIVILEGED ? 0 : 1].name;
	}
	for (size_t i = 0; i < PLY_ARRAY_SIZE(forms); i++) {
		if (asked != PLY_XPERM_NONE && forms[i].mode != asked)
			continue;
		if (ply_sys_getxattr(PLY_FD(l->fd), forms[i].name, NULL, 0) >= 0) {
			l->override = forms[i].mode;
			l->override_name = forms[i].name;
			return;
		}
	}
}

/* The layer's directory as it is given; symlinks (podman's overlay/l/NAME) are followed this once. */
static int layer_pin(struct ply_layer *l, char *err, size_t errlen)
{
	ply_autofd fd = -1, readable = -1;
	int r;

	if (!l->path[0])
		return fail(err, errlen, -EINVAL, "%s: empty path", layer_word(l));
	fd = ply_sys_open_path(l->path, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return fail(err, errlen, fd, "%s '%s': %s%s", layer_word(l), l->path, strerror(-fd),
			    fd == -EMFILE ? "; raise the limit of open files (ulimit -n)" : "");
	readable = ply_sys_open(PLY_FD(fd), O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
	if (readable < 0)
		return fail(err, errlen, readable, "%s '%s' cannot be read: %s", layer_word(l), l->path,
			    strerror(-readable));
	r = ply_sys_stat(PLY_FD(fd), &l->root_stat);
	if (r)
		return fail(err, errlen, r, "%s '%s': %s", layer_word(l), l->path, strerror(-r));
	l->fd = ply_take_fd(&fd);
	return 0;
}

/*
 * From here on a lower is reached through a clone of its own: nobody can write through it, no later mount
 * (ours too) shows up in it, and an unmount of the original does not take it away.
 */
static void layer_clone(struct ply_layer *l)
{
	int fd = ply_sys_clone_mount_ro(l->fd);

	if (fd < 0) {
		l->passthrough = PLY_PT_NO_CLONE;
		snprintf(l->why, sizeof(l->why), "no read-only clone of its mount can be made: %s", strerror(-fd));
		return;
	}
	close(l->fd);
	l->fd = fd;
	l->ro_clone = true;
}

static void layer_probe(struct ply_layers *ls, struct ply_layer *l, const struct ply_options *opt)
{
	ssize_t n;

	if (opt->passthrough == PLY_PT_OFF)
		layer_verdict(l, PLY_PT_BY_OPTION, "passthrough=off");
	n = ply_sys_getxattr(PLY_FD(l->fd), ply_format_attr(l->xns, OVL_OPAQUE), NULL, 0);
	l->has_xattrs = n != -EOPNOTSUPP;
	layer_find_override(l, opt->xattr_perm);
	l->fs = ply_layers_fs(ls, l->root_stat.st_dev, l->fd);
	if (!l->is_upper && !ls->fs[l->fs].root_fd_lower) {
		int fd = ply_sys_open(PLY_FD(l->fd), O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);

		/* Nobody else has the table yet. */
		if (fd >= 0) {
			if (ls->fs[l->fs].root_fd >= 0)
				close(ls->fs[l->fs].root_fd);
			ls->fs[l->fs].root_fd = fd;
			ls->fs[l->fs].root_fd_lower = true;
		}
	}
}

/* --- how they lie to each other --- */

struct places {
	struct ply_place *of;		/* by layer index */
	struct ply_place work, mountpoint;
	unsigned int n;
	bool have_mountpoint;
};

static void places_free(struct places *p)
{
	for (unsigned int i = 0; p->of && i < p->n; i++)
		ply_mountinfo_place_free(&p->of[i]);
	free(p->of);
	ply_mountinfo_place_free(&p->work);
	ply_mountinfo_place_free(&p->mountpoint);
}

/* Before the clones are made: from those no way leads up. */
static int places_find(struct places *p, struct ply_layers *ls, const struct ply_options *opt, char *err,
		       size_t errlen)
{
	ply_autofd work = -1, mountpoint = -1;
	struct ply_place *first;
	int r;

	/* Without /proc bind mounts are not seen through; all else is. */
	if (ply_mountinfo_read(&ls->mounts))
		ls->mounts = (struct ply_mountinfo){ 0 };
	p->n = ls->n;
	p->of = calloc(ls->n, sizeof(*p->of));
	if (!p->of)
		return fail(err, errlen, -ENOMEM, "out of memory");
	/* They mostly lie side by side. */
	first = &p->of[ls->upper ? 0 : 1];
	for (unsigned int i = ls->upper ? 0 : 1; i < ls->n; i++) {
		r = ply_mountinfo_place(&ls->mounts, ls->layer[i].fd, first, &p->of[i]);
		if (r)
			return fail(err, errlen, r, "%s '%s': %s", layer_word(&ls->layer[i]),
				    ls->layer[i].path, strerror(-r));
	}
	if (ls->upper) {
		work = ply_sys_open_path(opt->work, O_PATH | O_DIRECTORY);
		if (work < 0)
			return fail(err, errlen, work, "workdir '%s': %s", opt->work, strerror(-work));
		r = ply_mountinfo_place(&ls->mounts, work, first, &p->work);
		if (r)
			return fail(err, errlen, r, "workdir '%s': %s", opt->work, strerror(-r));
	}
	/* What is wrong with the mount point itself mount(2) will say. */
	if (opt->mountpoint)
		mountpoint = ply_sys_open_path(opt->mountpoint, O_PATH | O_DIRECTORY);
	p->have_mountpoint = mountpoint >= 0 && !ply_mountinfo_place(&ls->mounts, mountpoint, first, &p->mountpoint);
	return 0;
}

static int check_upper(const struct places *p, const struct ply_layers *ls, const struct ply_options *opt, char *err,
		       size_t errlen)
{
	const struct ply_place *upper = &p->of[PLY_LAYER_UPPER], *work = &p->work;
	struct statvfs sv;

	if (!ply_sys_statfs(ls->upper->fd, &sv) && (sv.f_flag & ST_RDONLY))
		return fail(err, errlen, -EROFS,
			    "upperdir '%s' is on a read-only mount; for a read-only union leave upperdir and workdir out",
			    opt->upper);
	if (ply_mountinfo_is_below(work, upper) || ply_mountinfo_is_below(upper, work))
		return fail(err, errlen, -EINVAL,
			    "workdir '%s' and upperdir '%s' must be separate: neither may be the other or lie inside it",
			    opt->work, opt->upper);
	for (unsigned int i = 1; i < ls->n; i++) {
		const struct ply_place *lower = &p->of[i];
		const char *path = ls->layer[i].path;

		if (ply_mountinfo_is_same(lower, upper))
			return fail(err, errlen, -EINVAL, "upperdir '%s' and lowerdir '%s' are the same directory",
				    opt->upper, path);
		if (ply_mountinfo_is_below(upper, lower))
			return fail(err, errlen, -EINVAL, "upperdir '%s' lies inside lowerdir '%s'", opt->upper, path);
		if (ply_mountinfo_is_below(lower, upper))
			return fail(err, errlen, -EINVAL, "lowerdir '%s' lies inside upperdir '%s'", path, opt->upper);
		if (ply_mountinfo_is_below(work, lower))
			return fail(err, errlen, -EINVAL, "workdir '%s' lies inside lowerdir '%s'", opt->work, path);
		if (ply_mountinfo_is_below(lower, work))
			return fail(err, errlen, -EINVAL, "lowerdir '%s' lies inside workdir '%s'", path, opt->work);
	}
	if (work->dir[0].dev != upper->dir[0].dev)
		return fail(err, errlen, -EXDEV,
			    "workdir '%s' and upperdir '%s' are on different filesystems; put them side by side",
			    opt->work, opt->upper);
	if (work->mnt != upper->mnt)
		return fail(err, errlen, -EXDEV,
			    "workdir '%s' and upperdir '%s' are on different mounts; put them side by side on one",
			    opt->work, opt->upper);
	return 0;
}

/* An overlap of lowers is defined: each shows what is in it. It is seldom meant. */
static void warn_overlap(const struct places *p, const struct ply_layers *ls)
{
	for (unsigned int i = 1; i < ls->n; i++) {
		for (unsigned int k = 1; k < ls->n; k++) {
			/* By ancestors only: 500 layers make 250,000 pairs. */
			if (i == k || !ply_mountinfo_is_reached_from(&p->of[i], &p->of[k]))
				continue;
			ply_warn("lowerdir '%s' and lowerdir '%s' overlap", ls->layer[k].path, ls->layer[i].path);
			return;
		}
	}
}

static int check_mountpoint(const struct places *p, const struct ply_layers *ls, const struct ply_options *opt,
			    char *err, size_t errlen)
{
	const struct ply_place *m = &p->mountpoint;

	if (!p->have_mountpoint)
		return 0;
	for (unsigned int i = ls->upper ? 0 : 1; i < ls->n; i++) {
		const struct ply_layer *l = &ls->layer[i];
		const struct ply_place *at = &p->of[i];

		/* The usual way to make one directory writable: mount over it. Its clone does not see the mount. */
		if (ply_mountinfo_is_same(m, at)) {
			if (!l->is_upper && l->ro_clone)
				continue;
			return fail(err, errlen, -EINVAL,
				    "mount point '%s' is %s '%s' itself; mount somewhere else", opt->mountpoint,
				    layer_word(l), l->path);
		}
		if (ply_mountinfo_is_reached_from(m, at))
			return fail(err, errlen, -EINVAL,
				    "mount point '%s' lies inside %s '%s'; mount somewhere outside the layers",
				    opt->mountpoint, layer_word(l), l->path);
		if (ply_mountinfo_is_reached_from(at, m))
			return fail(err, errlen, -EINVAL,
				    "%s '%s' lies inside the mount point '%s' and would be hidden by the mount",
				    layer_word(l), l->path, opt->mountpoint);
	}
	if (ls->upper && (ply_mountinfo_is_reached_from(m, &p->work) || ply_mountinfo_is_reached_from(&p->work, m)))
		return fail(err, errlen, -EINVAL, "workdir '%s' and the mount point '%s' must not lie inside each other",
			    opt->work, opt->mountpoint);
	return 0;
}

static int layers_alloc(struct ply_layers *ls, const struct ply_options *opt)
{
	ls->n = 1 + (unsigned int)opt->nlower;
	/* Most of it is never touched. */
	ls->fs = malloc(PLY_MAX_FS * sizeof(*ls->fs));
	if (!ls->fs)
		return -ENOMEM;
	ls->layer = calloc(ls->n, sizeof(*ls->layer));
	if (!ls->layer)
		return -ENOMEM;
	for (unsigned int i = 0; i < ls->n; i++) {
		ls->layer[i].index = i;
		ls->layer[i].fd = -1;
		ls->layer[i].xns = ls->xns;
	}
	ls->first_data = ls->n - (unsigned int)opt->ndata;
	if (opt->upper) {
		ls->upper = &ls->layer[PLY_LAYER_UPPER];
		ls->upper->is_upper = true;
		ls->upper->path = strdup(opt->upper);
		if (!ls->upper->path)
			return -ENOMEM;
	}
	for (unsigned int i = 1; i < ls->n; i++) {
		ls->layer[i].path = strdup(opt->lower[i - 1]);
		if (!ls->layer[i].path)
			return -ENOMEM;
		ls->layer[i].data_only = i >= ls->first_data;
	}
	return 0;
}

static int count_entry(void *arg, const struct ply_dirent *d)
{
	(void)d;
	*(bool *)arg = false;
	return 1;
}

static bool dir_is_empty(int fd)
{
	ply_autofd dir = ply_sys_open(PLY_FD(fd), O_RDONLY | O_DIRECTORY, 0);
	bool empty = true;

	return dir >= 0 && ply_sys_readdir(dir, count_entry, &empty) >= 0 && empty;
}

static void layers_find_aufs(struct ply_layers *ls)
{
	for (unsigned int i = 1; i < ls->first_data; i++)
		ls->layer[i].aufs = i + 1 < ls->first_data;
	if (ls->upper)
		ls->upper->aufs = !dir_is_empty(ls->upper->fd);
}

static int layers_check_counts(const struct ply_options *opt, char *err, size_t errlen)
{
	if (!opt->nlower)
		return fail(err, errlen, -EINVAL, "no lowerdir: at least one is needed");
	if (opt->nlower > PLY_MAX_LAYERS)
		return fail(err, errlen, -EINVAL, "%zu lower layers: at most %d are possible", opt->nlower,
			    PLY_MAX_LAYERS);
	if (opt->ndata >= opt->nlower)
		return fail(err, errlen, -EINVAL, "data-only layers (after '::') need a lowerdir above them");
	if (opt->upper && !opt->work)
		return fail(err, errlen, -EINVAL, "upperdir '%s' needs a workdir on the same filesystem", opt->upper);
	if (opt->upper && opt->xattr_perm == PLY_XPERM_PRIVILEGED && !ply_creds_has(CAP_SYS_ADMIN))
		return fail(err, errlen, -EPERM, "xattr_permissions=1 needs root; use xattr_permissions=2");
	return 0;
}

static int layers_open(struct ply_layers *ls, const struct ply_options *opt, struct places *p, char *err, size_t errlen)
{
	int r;

	if (layers_alloc(ls, opt))
		return fail(err, errlen, -ENOMEM, "out of memory");
	for (unsigned int i = ls->upper ? 0 : 1; i < ls->n; i++) {
		r = layer_pin(&ls->layer[i], err, errlen);
		if (r)
			return r;
	}
	r = places_find(p, ls, opt, err, errlen);
	if (!r && ls->upper)
		r = check_upper(p, ls, opt, err, errlen);
	if (r)
		return r;
	for (unsigned int i = 1; i < ls->n; i++) {
		if (p->of[i].idmapped) {
			ls->layer[i].uids = &opt->uids;
			ls->layer[i].gids = &opt->gids;
		}
		layer_clone(&ls->layer[i]);
	}
	r = check_mountpoint(p, ls, opt, err, errlen);
	if (r)
		return r;
	warn_overlap(p, ls);
	for (unsigned int i = ls->upper ? 0 : 1; i < ls->n; i++)
		layer_probe(ls, &ls->layer[i], opt);
	layers_find_aufs(ls);
	return 0;
}

int ply_layers_open(struct ply_layers *ls, const struct ply_options *opt, char *err, size_t errlen)
{
	struct places p = { .n = 0 };
	int r;

	memset(ls, 0, sizeof(*ls));
	atomic_init(&ls->nfs, 0);
	pthread_mutex_init(&ls->fs_lock, NULL);
	/* trusted.* is the initial user namespace's alone. */
	ls->in_init_userns = ply_creds_in_init_userns();
	ls->xns = !opt->userxattr && ply_creds_has(CAP_SYS_ADMIN) && ls->in_init_userns ?
			  PLY_XNS_TRUSTED : PLY_XNS_USER;
	r = layers_check_counts(opt, err, errlen);
	if (!r)
		r = layers_open(ls, opt, &p, err, errlen);
	places_free(&p);
	if (r)
		ply_layers_close(ls);
	return r;
}

void ply_layers_close(struct ply_layers *ls)
{
	unsigned int nfs = atomic_load(&ls->nfs);

	ply_mountinfo_free(&ls->mounts);
	for (unsigned int i = 0; i < nfs; i++)
		if (ls->fs[i].root_fd >= 0)
			close(ls->fs[i].root_fd);
	for (unsigned int i = 0; ls->layer && i < ls->n; i++) {
		if (ls->layer[i].fd >= 0)
			close(ls->layer[i].fd);
		free(ls->layer[i].path);
	}
	free(ls->layer);
	free(ls->fs);
	pthread_mutex_destroy(&ls->fs_lock);
	ls->layer = ls->upper = NULL;
	ls->fs = NULL;
	ls->n = 0;
	atomic_store(&ls->nfs, 0);
}

/* --- reading one object of a layer --- */

/* What has no value: no such attribute, no attributes at all, or none that this process may see. */
static bool xattr_is_absent(const struct ply_layer *l, ssize_t r)
{
	return r == -ENODATA || r == -EOPNOTSUPP || ((r == -EACCES || r == -EPERM) && l->xns == PLY_XNS_USER);
}

static void override_apply(const struct ply_override *o, struct stat *st)
{
	mode_t type = st->st_mode & S_IFMT;

	st->st_uid = o->uid;
	st->st_gid = o->gid;
	/* Only a regular file can stand for something else. */
	if (o->has_type && S_ISREG(type)) {
		mode_t as = o->mode & S_IFMT;

		if (as == S_IFIFO || as == S_IFSOCK || as == S_IFCHR || as == S_IFBLK) {
			type = as;
			st->st_size = 0;
			st->st_blocks = 0;
			st->st_rdev = as == S_IFCHR || as == S_IFBLK ? makedev(o->major, o->minor) : 0;
		}
	}
	st->st_mode = type | (o->mode & 07777);
}

/* An id that was mapped by the mount below us, as upper has it on disk. */
static uint32_t id_unmapped(const struct ply_idmap *m, uint32_t id)
{
	uint32_t disk = ply_idmap_store(m, id);

	return disk == PLY_ID_INVALID ? PLY_ID_OVERFLOW : disk;
}

int ply_layer_stat(const struct ply_layer *l, struct ply_at at, struct stat *st)
{
	char val[PLY_OVERRIDE_MAX];
	struct ply_override o;
	struct stat tmp;
	ssize_t n;
	int r = ply_sys_stat(at, &tmp);

	if (r)
		return r;
	if (l->uids) {
		tmp.st_uid = id_unmapped(l->uids, tmp.st_uid);
		tmp.st_gid = id_unmapped(l->gids, tmp.st_gid);
	}
	if (l->override != PLY_XPERM_NONE && !ply_layer_is_whiteout_stat(&tmp)) {
		n = ply_sys_getxattr(at, l->override_name, val, sizeof(val));
		if (n < 0 && n != -ERANGE && n != -ENODATA && n != -EOPNOTSUPP && n != -EACCES && n != -EPERM)
			return (int)n;
		/* A record that is not one (too long, not numbers) is not followed. */
		if (n > 0 && !ply_format_override_parse(val, (size_t)n, &o))
			override_apply(&o, &tmp);
	}
	*st = tmp;
	return 0;
}

ssize_t ply_layer_getattr(const struct ply_layer *l, struct ply_at at, enum ply_ovl_attr a, char **val)
{
	ssize_t n;

	if (!l->has_xattrs)
		return -ENODATA;
	n = ply_sys_getxattr_alloc(at, ply_format_attr(l->xns, a), val);
	return n < 0 && xattr_is_absent(l, n) ? -ENODATA : n;
}

bool ply_layer_is_whiteout_stat(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static int opaque_value(struct ply_at dir, const char *name)
{
	char val[4];
	ssize_t n = ply_sys_getxattr(dir, name, val, sizeof(val));

	if (n < 0)
		return n == -ERANGE || n == -ENODATA ? 0 : (int)n;
	return ply_format_opaque(val, (size_t)n);
}

/* One listxattr, which is mostly empty, instead of a question for each form of the mark. */
static int opaque_by_xattr(const struct ply_layer *l, struct ply_at dir)
{
	const char *ours = ply_format_attr(l->xns, OVL_OPAQUE);
	const char *rootless = ply_format_attr(PLY_XNS_USER, OVL_OPAQUE);
	ply_autofree char *list = NULL;
	ssize_t n = ply_sys_listxattr_alloc(dir, &list);
	int found = 0;

	if (n < 0)
		return xattr_is_absent(l, n) ? 0 : (int)n;
	for (const char *p = list; p < list + n; p += strlen(p) + 1) {
		int v;

		if (!strcmp(p, ours)) {
			v = opaque_value(dir, p);
			if (v)
				return v;
		} else if (!strcmp(p, rootless) || !strcmp(p, "user.fuseoverlayfs.opaque")) {
			/* 'x' here would be of attributes that this mount does not read. */
			v = opaque_value(dir, p);
			if (v == 'y')
				found = 'y';
		}
	}
	return found;
}

static int name_exists(int fd, const char *name)
{
	struct stat st;
	int r = ply_sys_stat(PLY_AT(fd, name), &st);

	return r == -ENOENT || r == -ENAMETOOLONG ? 0 : r ? r : 1;
}

static int opaque_by_name(struct ply_at dir)
{
	char whiteout[sizeof(PLY_AUFS_PREFIX) + 255];
	ply_autofd fd = -1;
	int r;

	if (!dir.name[0])
		return name_exists(dir.fd, PLY_AUFS_OPAQUE);
	if (strlen(dir.name) <= 255) {
		snprintf(whiteout, sizeof(whiteout), PLY_AUFS_PREFIX "%s", dir.name);
		r = name_exists(dir.fd, whiteout);
		if (r)
			return r;
	}
	fd = ply_sys_open(dir, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	return name_exists(fd, PLY_AUFS_OPAQUE);
}

int ply_layer_opaque(const struct ply_layer *l, struct ply_at dir)
{
	int r = 0, by_name;

	if (l->has_xattrs)
		r = opaque_by_xattr(l, dir);
	if (r < 0 || r == 'y' || !l->aufs)
		return r;
	by_name = opaque_by_name(dir);
	/* Whoever may not search the directory sees nothing of it anyway. */
	if (by_name < 0 && by_name != -EACCES)
		return by_name;
	return by_name == 1 ? 'y' : r;
}
