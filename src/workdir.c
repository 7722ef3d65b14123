// SPDX-License-Identifier: GPL-2.0-or-later
#include "workdir.h"

#include "compat.h"
#include "lock.h"
#include "log.h"
#include "mountinfo.h"
#include "owndir.h"
#include "rmtree.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <sys/file.h>

#ifndef BTRFS_SUPER_MAGIC
#define BTRFS_SUPER_MAGIC 0x9123683E
#endif

/* How long a daemon whose mount is gone may still hold its locks: it is flushing. */
#define LOCK_WAIT_STEPS 250
#define LOCK_WAIT_STEP_NS 20000000

static int fail(char *err, size_t errlen, int r, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static int fail(char *err, size_t errlen, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return r;
}

/* --- temporaries --- */

int ply_workdir_empty(int dirfd)
{
	return ply_rmtree_empty(dirfd, NULL);
}

void ply_workdir_tmpname(struct ply_workdir *w, char out[PLY_TMP_MAX])
{
	/* '#': the kernel, too, takes such names in work/index for leftovers. */
	snprintf(out, PLY_TMP_MAX, "#%lx", atomic_fetch_add_explicit(&w->counter, 1, memory_order_relaxed));
}

int ply_workdir_clear(struct ply_workdir *w, const char *tmp)
{
	ply_autofd dir = -1;

	ply_rmtree_make_ours(PLY_AT(w->fd, tmp));
	dir = ply_sys_open(PLY_AT(w->fd, tmp), O_RDONLY | O_DIRECTORY, 0);
	return dir < 0 ? dir : ply_workdir_empty(dir);
}

void ply_workdir_discard(struct ply_workdir *w, const char *tmp)
{
	int r = ply_rmtree_shallow(PLY_AT(w->fd, tmp));

	if (r == -ENOTEMPTY) {
		r = ply_workdir_clear(w, tmp);
		if (!r)
			r = ply_sys_rmdir(PLY_AT(w->fd, tmp));
	}
	if (r)
		ply_warn("work directory: '%s' cannot be removed: %s", tmp, strerror(-r));
}

/* --- locks --- */

/* Who holds a flock on that inode, from /proc/locks: "1: FLOCK  ADVISORY  WRITE 123 fd:00:456 0 EOF". 0 unknown. */
static int lock_holder(const struct stat *st)
{
	FILE *f = fopen("/proc/locks", "re");
	char line[256];
	int found = 0;

	while (f && !found && fgets(line, sizeof(line), f)) {
		unsigned long long ino;
		int pid;

		if (sscanf(line, "%*s FLOCK %*s %*s %d %*x:%*x:%llu", &pid, &ino) == 2 && ino == st->st_ino)
			found = pid;
	}
	if (f)
		fclose(f);
	return found > 0 ? found : 0;
}

static int lock_dir(int fd, bool *waited)
{
	const struct timespec step = { .tv_nsec = LOCK_WAIT_STEP_NS };
	int r;

	for (int i = 0;; i++) {
		r = ply_sys_flock(fd, LOCK_EX | LOCK_NB);
		if (r != -EWOULDBLOCK || i == LOCK_WAIT_STEPS)
			return r;
		*waited = true;
		nanosleep(&step, NULL);
	}
}

static int lock_or_say(int fd, const char *word, const char *path, bool *waited, char *err, size_t errlen)
{
	struct stat st;
	int r = lock_dir(fd, waited), pid;

	if (!r)
		return 0;
	if (r != -EWOULDBLOCK) {
		/* NFS and some FUSE filesystems lock no directories: then nothing protects but care. */
		ply_warn("%s '%s' cannot be locked (%s): do not use it in two mounts", word, path, strerror(-r));
		return 0;
	}
	pid = ply_sys_stat(PLY_FD(fd), &st) ? 0 : lock_holder(&st);
	if (pid)
		return fail(err, errlen, -EBUSY, "%s '%s' is in use by another mount (process %d); unmount that first",
			    word, path, pid);
	return fail(err, errlen, -EBUSY, "%s '%s' is in use by another mount; unmount that first", word, path);
}

static int lock_both(struct ply_workdir *w, const struct ply_options *opt, char *err, size_t errlen)
{
	struct ply_mountinfo *mi = &w->ls->mounts;
	bool waited = false;
	int r;

	w->base_fd = ply_sys_open_path(opt->work, O_RDONLY | O_DIRECTORY);
	if (w->base_fd < 0)
		return fail(err, errlen, w->base_fd, "workdir '%s': %s", opt->work, strerror(-w->base_fd));
	w->upper_lock_fd = ply_sys_open(PLY_FD(w->ls->upper->fd), O_RDONLY | O_DIRECTORY, 0);
	if (w->upper_lock_fd < 0)
		return fail(err, errlen, w->upper_lock_fd, "upperdir '%s': %s", opt->upper,
			    strerror(-w->upper_lock_fd));
	r = lock_or_say(w->upper_lock_fd, "upperdir", opt->upper, &waited, err, errlen);
	if (!r)
		r = lock_or_say(w->base_fd, "workdir", opt->work, &waited, err, errlen);
	if (r)
		return r;
	if (waited) {
		ply_mountinfo_free(mi);
		(void)ply_mountinfo_read(mi);
	}
	/* The kernel's overlayfs takes no flock. */
	if (ply_mountinfo_used_by_overlay(mi, "upperdir", w->upper_lock_fd) ||
	    ply_mountinfo_used_by_overlay(mi, "workdir", w->base_fd))
		return fail(err, errlen, -EBUSY, "upperdir '%s' or workdir '%s' is in use by an overlay mount of the kernel; "
			    "unmount that first", opt->upper, opt->work);
	return 0;
}

/* --- what others have left in work --- */

struct first_name {
	char name[NAME_MAX + 1];
};

static int first_name(void *arg, const struct ply_dirent *d)
{
	struct first_name *f = arg;

	snprintf(f->name, sizeof(f->name), "%s", d->name);
	return 1;
}

/*
 * work/work/incompat/NAME: who does not know NAME must not use the upper (kernel:
 * ovl_workdir_cleanup_recurse). The only NAME so far is "volatile".
 */
static int check_incompat(int work, const char *path, char *err, size_t errlen)
{
	ply_autofd fd = ply_sys_open(PLY_AT(work, "incompat"), O_RDONLY | O_DIRECTORY, 0);
	struct first_name f = { "" };
	int r;

	if (fd == -EACCES) {
		ply_rmtree_make_ours(PLY_AT(work, "incompat"));
		fd = ply_sys_open(PLY_AT(work, "incompat"), O_RDONLY | O_DIRECTORY, 0);
	}
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	if (fd < 0)
		return fail(err, errlen, fd, "workdir '%s': incompat: %s", path, strerror(-fd));
	r = ply_sys_readdir(fd, first_name, &f);
	if (r < 0)
		return fail(err, errlen, r, "workdir '%s': incompat: %s", path, strerror(-r));
	if (!f.name[0])
		return 0;
	if (strcmp(f.name, "volatile"))
		return fail(err, errlen, -EINVAL,
			    "workdir '%s': the upper uses the feature '%s', which is not known here", path, f.name);
	return fail(err, errlen, -EINVAL,
		    "workdir '%s': its last mount was volatile, so the upper may have lost data in a crash; "
		    "if it is good, remove %s/work/incompat/volatile", path, path);
}

/* file_name: in work, of which the marker can be another name. */
static int mark_volatile(int work, const char *file_name)
{
	ply_autofd incompat = ply_owndir_open(work, "incompat", false, NULL), marker = -1, file = -1;

	if (incompat < 0)
		return incompat;
	marker = ply_owndir_open(incompat, "volatile", false, NULL);
	if (marker < 0)
		return marker;
	if (!ply_sys_link(PLY_AT(work, file_name), PLY_AT(marker, "dirty")))
		return 0;
	file = ply_sys_open(PLY_AT(marker, "dirty"), O_WRONLY | O_CREAT, 0600);
	return file < 0 ? file : 0;
}

/* --- what the upper's filesystem can do: by doing it --- */

/*
 * Each new inode costs more than all else here, most of all where many were removed a while ago (ext4). So one file, `name`, and
 * one device serve for all.
 */

static int probe_dtype_one(void *arg, const struct ply_dirent *d)
{
	bool *known = arg;

	if (strcmp(d->name, "work"))
		return 0;
	*known = d->type == DT_DIR;
	return 1;
}

static void probe_dtype(struct ply_workdir *w)
{
	/* Nobody else reads it. */
	(void)ply_sys_readdir(w->base_fd, probe_dtype_one, &w->ls->can.dtype);
}

/* Makes the file. */
static int probe_tmpfile(struct ply_workdir *w, const char *name)
{
	int fd = ply_sys_tmpfile(w->fd, O_RDWR, 0600);

	if (fd >= 0) {
		w->ls->can.tmpfile = !ply_sys_link(PLY_FD(fd), PLY_AT(w->fd, name));
		if (w->ls->can.tmpfile)
			return fd;
		close(fd);
	}
	return ply_sys_open(PLY_AT(w->fd, name), O_RDWR | O_CREAT | O_EXCL, 0600);
}

/* On a file and on the directory: filesystems differ. */
static bool can_set(struct ply_workdir *w, struct ply_at file, enum ply_xns xns)
{
	const char *attr = ply_format_attr(xns, OVL_OPAQUE);

	if (ply_sys_setxattr(PLY_FD(w->fd), attr, "0", 1, 0))
		return false;
	(void)ply_sys_removexattr(PLY_FD(w->fd), attr);
	if (ply_sys_setxattr(file, attr, "0", 1, 0))
		return false;
	(void)ply_sys_removexattr(file, attr);
	return true;
}

static void probe_xattr(struct ply_workdir *w, struct ply_at file)
{
	struct ply_layers *ls = w->ls;

	ls->can.xattr = can_set(w, file, ls->xns);
	if (!ls->can.xattr && ls->xns == PLY_XNS_TRUSTED && can_set(w, file, PLY_XNS_USER)) {
		ply_warn("upperdir '%s' takes no trusted.* attributes: user.* are used, as with userxattr",
			 ls->upper->path);
		ls->xns = ls->upper->xns = PLY_XNS_USER;
		ls->can.xattr = true;
	}
	ls->upper->has_xattrs = ls->can.xattr;
	ls->can.acl = ply_sys_getxattr(file, "system.posix_acl_access", NULL, 0) != -EOPNOTSUPP;
}

static void probe_reflink(struct ply_workdir *w, int file)
{
	static const char block[4096];
	ply_autofd other = -1;

	/* Onto itself it is wrong where it is possible at all, and that is asked first. */
	if (ply_sys_clone_file(file, file) == -EOPNOTSUPP)
		return;
	other = ply_sys_tmpfile(w->fd, O_RDWR, 0600);
	if (other < 0) {
		char name[PLY_TMP_MAX];

		ply_workdir_tmpname(w, name);
		other = ply_sys_open(PLY_AT(w->fd, name), O_RDWR | O_CREAT | O_EXCL, 0600);
		if (other < 0)
			return;
		ply_workdir_discard(w, name);
	}
	if (ply_sys_pwrite(file, block, sizeof(block), 0) == (ssize_t)sizeof(block))
		w->ls->can.reflink = !ply_sys_clone_file(other, file);
	(void)ply_sys_ftruncate(file, 0);
}

static void probe_order(struct ply_workdir *w, uint64_t magic)
{
	/* Their journals have every change in the order in which they were made; btrfs logs single files apart, at an fsync. */
	w->ls->can.ordered = magic == EXT4_SUPER_MAGIC || magic == XFS_SUPER_MAGIC || magic == TMPFS_MAGIC;
	w->ls->can.clone_ordered = w->ls->can.reflink && magic == XFS_SUPER_MAGIC;
}

static bool is_whiteout_at(struct ply_workdir *w, const char *name)
{
	struct stat st;

	return !ply_sys_stat(PLY_AT(w->fd, name), &st) && ply_layer_is_whiteout_stat(&st);
}

/* From one directory to another: that is how the index does it. */
static void probe_link(struct ply_workdir *w, const char *name)
{
	struct ply_at to = PLY_AT(w->index_fd, name);

	/* The file has its name from a link: there are any. */
	w->ls->can.link = w->ls->can.tmpfile;
	if (w->ls->can.link)
		return;
	w->ls->can.link = !ply_sys_link(PLY_AT(w->fd, name), to);
	if (w->ls->can.link)
		(void)ply_sys_unlink(to);
}

/* Those of the kernel that have had it since Linux 4.7 and before. */
static bool makes_whiteouts(uint64_t magic)
{
	return magic == EXT4_SUPER_MAGIC || magic == XFS_SUPER_MAGIC || magic == BTRFS_SUPER_MAGIC || magic == TMPFS_MAGIC;
}

/* The file has its name again after this. */
static void probe_rename(struct ply_workdir *w, const char *name, const char *device, uint64_t magic)
{
	struct ply_layers *ls = w->ls;
	struct ply_at file = PLY_AT(w->fd, name), other = PLY_AT(w->fd, device);

	if (ls->can.chardev_whiteout) {
		ls->can.rename_exchange = !ply_sys_rename(file, other, RENAME_EXCHANGE);
		if (ls->can.rename_exchange && ply_sys_rename(file, other, RENAME_EXCHANGE))
			ls->can.rename_exchange = false;
	} else if (!ply_sys_mkdir(other, 0700)) {
		ls->can.rename_exchange = !ply_sys_rename(file, other, RENAME_EXCHANGE) &&
					  !ply_sys_rename(file, other, RENAME_EXCHANGE);
		ply_workdir_discard(w, device);
	}
	/* It would make one more inode; where it is refused after all, its callers do without. */
	if (ls->can.chardev_whiteout && ls->can.rename_exchange && makes_whiteouts(magic)) {
		ls->can.rename_whiteout = true;
		return;
	}
	if (!ply_sys_rename(file, other, RENAME_WHITEOUT)) {
		ls->can.rename_whiteout = is_whiteout_at(w, name);
		(void)ply_sys_rename(other, file, 0);
	}
}

static void probe_names(struct ply_workdir *w, const char *name, uint64_t magic)
{
	char device[PLY_TMP_MAX];

	ply_workdir_tmpname(w, device);
	w->ls->can.chardev_whiteout = !ply_sys_mknod(PLY_AT(w->fd, device), S_IFCHR, 0) && is_whiteout_at(w, device);
	probe_rename(w, name, device, magic);
	ply_workdir_discard(w, device);
	if (w->ls->can.chardev_whiteout)
		w->whiteout_form = PLY_WH_CHARDEV;
	else
		w->whiteout_form = w->ls->can.xattr ? PLY_WH_XATTR : PLY_WH_AUFS;
	if (getenv("FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT")) {
		w->whiteout_form = PLY_WH_AUFS;
		w->ls->can.chardev_whiteout = w->ls->can.rename_whiteout = false;
	}
	if (w->whiteout_form == PLY_WH_AUFS)
		w->ls->upper->aufs = true;
}

/* The file `name` is left, for what is tried later. */
static int probe(struct ply_workdir *w, const char *name, char *err, size_t errlen)
{
	const char *path = w->ls->upper->path;
	uint64_t magic = 0;

	w->probe_fd = probe_tmpfile(w, name);
	if (w->probe_fd < 0)
		return fail(err, errlen, w->probe_fd, "upperdir '%s': no file can be made in its workdir: %s", path,
			    strerror(-w->probe_fd));
	(void)ply_sys_fs_magic(w->probe_fd, &magic);
	probe_dtype(w);
	probe_xattr(w, PLY_AT(w->fd, name));
	probe_reflink(w, w->probe_fd);
	probe_order(w, magic);
	probe_names(w, name, magic);
	if (!w->ls->can.xattr)
		ply_warn("upperdir '%s' takes no extended attributes: renamed directories, hard links and inode numbers "
			 "are kept for this mount only", path);
	if (w->whiteout_form == PLY_WH_AUFS)
		ply_warn("upperdir '%s': whiteouts are written as .wh. files", path);
	return 0;
}

/* --- xattr_permissions= --- */

static int mark_override(struct ply_layer *upper, char *err, size_t errlen)
{
	struct ply_override o = { .uid = upper->root_stat.st_uid, .gid = upper->root_stat.st_gid,
				  .mode = upper->root_stat.st_mode };
	char val[PLY_OVERRIDE_MAX];
	size_t len;
	int r;

	if (ply_sys_getxattr(PLY_FD(upper->fd), upper->override_name, NULL, 0) >= 0)
		return 0;
	len = ply_format_override_build(&o, val);
	r = ply_sys_setxattr(PLY_FD(upper->fd), upper->override_name, val, len, 0);
	if (r)
		return fail(err, errlen, r, "upperdir '%s': xattr_permissions needs the attribute %s: %s", upper->path,
			    upper->override_name, strerror(-r));
	return 0;
}

/* --- the index --- */

static int handle_of(struct ply_layers *ls, const struct ply_layer *l, bool is_upper, struct ply_fh *out)
{
	struct ply_fh fh = { .is_upper = is_upper };
	int type, len = ply_sys_handle(PLY_FD(l->fd), &type, fh.fid);

	if (len < 0)
		return len;
	fh.type = (uint8_t)type;
	fh.len = (uint8_t)len;
	memcpy(fh.uuid, ls->fs[l->fs].uuid, sizeof(fh.uuid));
	*out = fh;
	return 0;
}

static bool uuid_is_null(const uint8_t uuid[16])
{
	static const uint8_t null[16];

	return !memcmp(uuid, null, sizeof(null));
}

/* A kernel that keeps uuid=null writes zeros: they match any. */
static bool same_handle(const struct ply_fh *a, const struct ply_fh *b)
{
	return a->type == b->type && a->len == b->len && !memcmp(a->fid, b->fid, a->len) &&
	       (!memcmp(a->uuid, b->uuid, sizeof(a->uuid)) || uuid_is_null(a->uuid) || uuid_is_null(b->uuid));
}

static int read_handle(const struct ply_layer *l, struct ply_at at, enum ply_ovl_attr attr, struct ply_fh *out)
{
	ply_autofree char *val = NULL;
	ssize_t n = ply_layer_getattr(l, at, attr, &val);

	return n < 0 ? (int)n : ply_format_fh_parse(val, (size_t)n, out);
}

static int write_handle(const struct ply_layer *l, struct ply_at at, enum ply_ovl_attr attr, const struct ply_fh *fh)
{
	uint8_t rec[21 + PLY_FH_MAX];
	size_t len = ply_format_fh_build(fh, rec);

	return ply_sys_setxattr(at, ply_format_attr(l->xns, attr), rec, len, 0);
}

int ply_workdir_lower_nlink(struct ply_layers *ls, const struct ply_fh *fh)
{
	unsigned int nfs = atomic_load(&ls->nfs);
	struct stat st;

	for (unsigned int i = 0; i < nfs; i++) {
		ply_autofd fd = -1;

		if (!ls->fs[i].has_uuid || !ls->fs[i].can_open_handles ||
		    memcmp(ls->fs[i].uuid, fh->uuid, sizeof(fh->uuid)))
			continue;
		fd = ply_sys_open_handle(ls->fs[i].root_fd, fh->type, fh->fid, fh->len);
		if (fd >= 0 && !ply_sys_stat(PLY_FD(fd), &st))
			return (int)st.st_nlink;
	}
	return -ESTALE;
}

/*
 * Is an entry of no use any more? The index must be its inode's only name, and the union's link count
 * (kernel: ovl_get_nlink), which counts lower names that are not copied up, must be gone. In doubt it stays.
 */
static bool index_is_orphan(struct ply_layers *ls, struct ply_at at, const struct ply_fh *fh, const struct stat *st)
{
	ply_autofree char *val = NULL;
	bool from_upper;
	ssize_t n;
	int diff, nlink;

	if (st->st_nlink != 1)
		return false;
	n = ply_layer_getattr(ls->upper, at, OVL_NLINK, &val);
	if (n < 0 || ply_format_nlink_parse(val, (size_t)n, &from_upper, &diff))
		return false;
	nlink = from_upper ? 1 : ply_workdir_lower_nlink(ls, fh);
	return nlink >= 0 && nlink + diff <= 0;
}

/* kernel: ovl_verify_index. 1: remove it, 0: keep it, -EINVAL: not an index that is known here. */
static int index_verify(struct ply_workdir *w, const char *name)
{
	struct ply_at at = PLY_AT(w->index_fd, name);
	struct ply_fh named, origin;
	struct stat st;
	int r;

	if (name[0] == '#')
		return 1;
	r = ply_sys_stat(at, &st);
	if (r)
		return r == -ENOENT ? 0 : r;
	r = ply_format_index_parse(name, &named);
	if (r)
		return -EINVAL;
	/* Of an inode that an NFS export must not find again; of a directory (nfs_export). */
	if (ply_layer_is_whiteout_stat(&st) || S_ISDIR(st.st_mode))
		return 0;
	r = read_handle(w->ls->upper, at, OVL_ORIGIN, &origin);
	if (r == -ENODATA || (!r && !same_handle(&named, &origin)))
		return 1;
	if (r)
		return r;
	return index_is_orphan(w->ls, at, &named, &st);
}

static int index_clean(struct ply_workdir *w)
{
	ply_autobuf names = { 0 };
	int r = ply_rmtree_names(w->index_fd, &names);

	if (r)
		return r;
	PLY_FOR_EACH_NAME(p, names) {
		r = index_verify(w, p);
		if (r == 1) {
			r = ply_rmtree_shallow(PLY_AT(w->index_fd, p));
			if (r == -ENOTEMPTY)
				r = 0;
		}
		if (r)
			return r;
	}
	return 0;
}

/*
 * What the handle of a layer's root is noted as: by us, or by the kernel's overlayfs, which knows each filesystem's uuid
 * and takes no other. Where it is not told to us, it is learnt there, and nothing is noted.
 */
static int index_bind_to(struct ply_workdir *w, const struct ply_layer *l, struct ply_at at, enum ply_ovl_attr attr)
{
	const struct ply_layer *upper = w->ls->upper;
	const struct ply_layerfs *f = &w->ls->fs[l->fs];
	struct ply_fh self, seen;
	int r = handle_of(w->ls, l, attr == OVL_UPPER, &self);

	if (r)
		return r;
	r = read_handle(upper, at, attr, &seen);
	if (r == -ENODATA)
		return f->knows_uuid ? write_handle(upper, at, attr, &self) : 0;
	if (r)
		return r;
	if (!same_handle(&self, &seen))
		return -ESTALE;
	if (!f->knows_uuid && !uuid_is_null(seen.uuid))
		ply_layers_learn_uuid(w->ls, l->fs, seen.uuid);
	return 0;
}

/* The index belongs to one upper; an upper whose root has no origin gets that of the first lower. */
static int index_bind(struct ply_workdir *w, int index_fd)
{
	const struct ply_layer *upper = w->ls->upper;
	int r = index_bind_to(w, upper, PLY_FD(index_fd), OVL_UPPER);

	if (r)
		return r;
	r = index_bind_to(w, &w->ls->layer[1], PLY_FD(upper->fd), OVL_ORIGIN);
	return r == -ESTALE || r == -EINVAL ? 0 : r;	/* another first lower than then: of no matter to us */
}

static const char *index_obstacle(const struct ply_workdir *w)
{
	struct ply_layers *ls = w->ls;

	if (!ls->can.xattr)
		return "the upper has no extended attributes";
	for (unsigned int i = 0; i < ls->first_data; i++)
		if (!ls->fs[ls->layer[i].fs].has_handles)
			return "a layer's filesystem has no lasting file handles";
	return NULL;
}

/*
 * Few mounts ever copy up a hard link, and to make a directory, to note whose it is and, for whoever throws the work directory
 * away, to remove it takes longer than most else of a mount. So where there is none it is made at its first use. Until then
 * another directory stands for it: work/work has no names that could be an index's.
 */
static int index_put_off(struct ply_workdir *w)
{
	const struct ply_layers *ls = w->ls;
	struct stat st;

	/* Not where something is yet to be tried in it, or to be learnt from what others noted. */
	if (!ls->can.tmpfile || !ls->fs[ls->upper->fs].knows_uuid || !ls->fs[ls->layer[1].fs].knows_uuid ||
	    ply_sys_stat(PLY_AT(w->base_fd, "index"), &st) != -ENOENT)
		return -EEXIST;
	w->index_fd = ply_sys_dup(w->fd);
	if (w->index_fd < 0)
		return w->index_fd;
	w->ls->can.link = true;
	atomic_store(&w->index_unmade, true);
	return 0;
}

int ply_workdir_make_index(struct ply_workdir *w)
{
	ply_autofd fd = -1;
	int r;

	if (!atomic_load_explicit(&w->index_unmade, memory_order_acquire))
		return 0;
	PLY_MUTEX(guard, &w->index_lock);
	if (!atomic_load_explicit(&w->index_unmade, memory_order_relaxed))
		return 0;
	fd = ply_owndir_open(w->base_fd, "index", false, NULL);
	if (fd < 0)
		return fd;
	r = index_bind(w, fd);
	if (!r)
		r = ply_sys_dup_over(fd, w->index_fd);
	if (!r)
		atomic_store_explicit(&w->index_unmade, false, memory_order_release);
	return r;
}

static int index_open(struct ply_workdir *w, const char *name, const struct ply_options *opt, char *err, size_t errlen)
{
	bool made = false;
	const char *why;
	int r;

	if (opt->index == PLY_OFF)
		return 0;
	why = index_obstacle(w);
	if (!why && !index_put_off(w)) {
		w->index = true;
		return 0;
	}
	if (!why) {
		w->index_fd = ply_owndir_open(w->base_fd, "index", false, &made);
		if (w->index_fd >= 0)
			probe_link(w, name);
		if (w->index_fd >= 0 && !w->ls->can.link) {
			close(ply_take_fd(&w->index_fd));
			(void)ply_sys_rmdir(PLY_AT(w->base_fd, "index"));
			why = "the upper has no hard links";
		}
	}
	if (why) {
		ply_log(opt->index == PLY_ON ? PLY_LOG_WARN : PLY_LOG_INFO, "index=off: %s", why);
		return 0;
	}
	r = w->index_fd < 0 ? w->index_fd : index_bind(w, w->index_fd);
	if (!r && !made)
		r = index_clean(w);
	w->index = !r;
	if (!r)
		return 0;
	if (w->index_fd >= 0)
		close(w->index_fd);
	w->index_fd = -1;
	if (opt->index == PLY_ON)
		return fail(err, errlen, r, "workdir '%s': its index cannot be used (%s); delete %s/index or use index=off",
			    opt->work, r == -ESTALE ? "it is of another upperdir" : strerror(-r), opt->work);
	ply_warn("workdir '%s': its index cannot be used (%s), so index=off", opt->work,
		 r == -ESTALE ? "it is of another upperdir" : strerror(-r));
	return 0;
}

/* --- open and close --- */

static int workdir_open(struct ply_workdir *w, const struct ply_options *opt, char *err, size_t errlen)
{
	char name[PLY_TMP_MAX];
	bool made = false;
	int r = lock_both(w, opt, err, errlen);

	if (r)
		return r;
	w->fd = ply_owndir_open(w->base_fd, "work", true, &made);
	if (w->fd < 0)
		return fail(err, errlen, w->fd, "workdir '%s': %s/work: %s", opt->work, opt->work, strerror(-w->fd));
	r = made ? 0 : check_incompat(w->fd, opt->work, err, errlen);
	if (r)
		return r;
	r = made ? 0 : ply_workdir_empty(w->fd);
	if (r)
		return fail(err, errlen, r, "workdir '%s': what is left in %s/work cannot be removed: %s", opt->work,
			    opt->work, strerror(-r));
	w->dirty = true;
	w->apart = ply_owndir_is_apart(w->fd, w->upper_lock_fd);
	ply_workdir_tmpname(w, name);
	r = probe(w, name, err, errlen);
	if (!r && w->ls->upper->override != PLY_XPERM_NONE)
		r = mark_override(w->ls->upper, err, errlen);
	if (!r)
		r = index_open(w, name, opt, err, errlen);
	if (r)
		return r;
	w->sync = opt->fsync != PLY_FSYNC_OFF && !opt->volatile_;
	if (opt->volatile_) {
		r = mark_volatile(w->fd, name);
		if (r)
			return fail(err, errlen, r, "workdir '%s': %s/work/incompat/volatile cannot be made: %s",
				    opt->work, opt->work, strerror(-r));
	}
	ply_workdir_discard(w, name);
	return 0;
}

int ply_workdir_open(struct ply_workdir *w, struct ply_layers *ls, const struct ply_options *opt, char *err,
		     size_t errlen)
{
	int r;

	memset(w, 0, sizeof(*w));
	w->ls = ls;
	w->base_fd = w->fd = w->index_fd = w->upper_lock_fd = w->probe_fd = -1;
	atomic_init(&w->counter, 0);
	pthread_mutex_init(&w->whiteout_lock, NULL);
	pthread_mutex_init(&w->index_lock, NULL);
	if (PLY_WARN_ON(!ls->upper))
		r = fail(err, errlen, -EINVAL, "no upperdir, so no workdir");
	else
		r = workdir_open(w, opt, err, errlen);
	if (r)
		ply_workdir_close(w);
	return r;
}

/* The index of this very upper, for reading; nothing is made, locked or cleaned. 0, or -errno: there is none to use. */
static int index_open_readonly(struct ply_workdir *w, const char *work)
{
	struct ply_fh self, seen;
	int r = handle_of(w->ls, w->ls->upper, true, &self);

	if (r)
		return r;
	w->base_fd = ply_sys_open(PLY_AT(AT_FDCWD, work), O_PATH | O_DIRECTORY, 0);
	if (w->base_fd < 0)
		return w->base_fd;
	w->index_fd = ply_sys_open(PLY_AT(w->base_fd, "index"), O_RDONLY | O_DIRECTORY, 0);
	if (w->index_fd < 0)
		return w->index_fd;
	r = read_handle(w->ls->upper, PLY_FD(w->index_fd), OVL_UPPER, &seen);
	if (!r && !same_handle(&self, &seen))
		r = -ESTALE;
	return r;
}

void ply_workdir_open_readonly(struct ply_workdir *w, struct ply_layers *ls, const struct ply_options *opt)
{
	memset(w, 0, sizeof(*w));
	w->ls = ls;
	w->base_fd = w->fd = w->index_fd = w->upper_lock_fd = w->probe_fd = -1;
	atomic_init(&w->counter, 0);
	pthread_mutex_init(&w->whiteout_lock, NULL);
	pthread_mutex_init(&w->index_lock, NULL);
	w->index = opt->work && opt->index != PLY_OFF && !index_open_readonly(w, opt->work);
}

void ply_workdir_probed(struct ply_workdir *w)
{
	if (w->ls && w->probe_fd >= 0)
		close(ply_take_fd(&w->probe_fd));
}

void ply_workdir_close(struct ply_workdir *w)
{
	if (!w->ls)
		return;
	ply_workdir_probed(w);
	if (w->dirty)
		(void)ply_rmtree_empty(w->fd, "incompat");
	if (w->fd >= 0)
		close(w->fd);
	if (w->index_fd >= 0)
		close(w->index_fd);
	/* The locks last. */
	if (w->base_fd >= 0)
		close(w->base_fd);
	if (w->upper_lock_fd >= 0)
		close(w->upper_lock_fd);
	pthread_mutex_destroy(&w->whiteout_lock);
	pthread_mutex_destroy(&w->index_lock);
	memset(w, 0, sizeof(*w));
	w->base_fd = w->fd = w->index_fd = w->upper_lock_fd = w->probe_fd = -1;
}
