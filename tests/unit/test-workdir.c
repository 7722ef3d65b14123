// SPDX-License-Identifier: GPL-2.0-or-later
//
// wrap: ply_sys_open ply_sys_open_beneath ply_sys_dup ply_sys_stat ply_sys_statfs ply_sys_fs_magic
// wrap: ply_sys_mkdir ply_sys_mknod ply_sys_symlink ply_sys_tmpfile ply_sys_link ply_sys_unlink ply_sys_rmdir
// wrap: ply_sys_rename ply_sys_readlink ply_sys_chown ply_sys_chmod ply_sys_utimens ply_sys_ftruncate
// wrap: ply_sys_fallocate ply_sys_fsync ply_sys_syncfs ply_sys_lseek ply_sys_pread ply_sys_pwrite
// wrap: ply_sys_copy_range ply_sys_clone_file ply_sys_ioctl ply_sys_flock ply_sys_getxattr ply_sys_setxattr
// wrap: ply_sys_listxattr ply_sys_removexattr ply_sys_getxattr_alloc ply_sys_listxattr_alloc ply_sys_handle
// wrap: ply_sys_open_path ply_sys_open_handle ply_sys_readdir ply_sys_clone_mount_ro
#include "unit.h"
#include "faults.h"
#include "union.h"

#include <errno.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/xattr.h>

static void opens_and_probes(void **state)
{
	struct union_dirs *u = *state;
	char a[PLY_TMP_MAX], b[PLY_TMP_MAX];

	union_open(u);
	assert_true(scratch_has(&u->s, "w/work"));
	assert_int_equal(scratch_count(&u->s, "w/work"), 0);
	assert_int_equal(scratch_count(&u->s, "u"), 0);
	assert_true(u->ls->can.dtype && u->ls->can.link);
	assert_true(u->ls->can.rename_exchange);
	assert_true(u->w.sync);
	assert_true(u->w.fd >= 0);
	ply_workdir_tmpname(&u->w, a);
	ply_workdir_tmpname(&u->w, b);
	assert_string_not_equal(a, b);
	assert_int_equal(a[0], '#');
	union_close(u);
	assert_int_equal(u->w.fd, -1);
	ply_workdir_close(&u->w);
}

/* Where ext4 makes its inodes: nothing of how that was brought about stays. */
static void work_is_made_apart(void **state)
{
	struct union_dirs *u = *state;
	int fd = scratch_open(&u->s, "w"), flags, after;
	unsigned int generation;
	uint64_t magic;
	char left[32];

	if (ply_sys_fs_magic(fd, &magic) || magic != EXT4_SUPER_MAGIC ||
	    ply_sys_ioctl(fd, FS_IOC_GETFLAGS, &flags) || ply_sys_ioctl(fd, FS_IOC_GETVERSION, &generation)) {
		close(fd);
		skip();
	}
	/* What a crash in between left. */
	snprintf(left, sizeof(left), "w/#work%x", generation & 15);
	scratch_dir(&u->s, left);
	union_open(u);
	assert_true(u->w.apart);
	assert_false(scratch_has(&u->s, left));
	assert_true(scratch_has(&u->s, "w/work"));
	assert_int_equal(ply_sys_ioctl(fd, FS_IOC_GETFLAGS, &after), 0);
	assert_int_equal(after & FS_TOPDIR_FL, flags & FS_TOPDIR_FL);
	union_close(u);
	union_open(u);
	assert_true(u->w.apart);
	assert_false(scratch_has(&u->s, left));
	union_close(u);
	close(fd);
}

/* A name like ours is not ours yet: what is in it stays. */
static void work_takes_nobodys(void **state)
{
	struct union_dirs *u = *state;
	int fd = scratch_open(&u->s, "w");
	unsigned int generation;
	char theirs[32], file[40];

	if (ply_sys_ioctl(fd, FS_IOC_GETVERSION, &generation)) {
		close(fd);
		skip();
	}
	snprintf(theirs, sizeof(theirs), "w/#work%x", generation & 15);
	snprintf(file, sizeof(file), "%s/file", theirs);
	scratch_dir(&u->s, theirs);
	scratch_file(&u->s, file, "x");
	union_open(u);
	assert_true(scratch_has(&u->s, file));
	assert_true(scratch_has(&u->s, "w/work"));
	union_close(u);
	assert_true(scratch_has(&u->s, file));
	close(fd);
}

static void syncing_is_a_flag(void **state)
{
	struct union_dirs *u = *state;

	u->o.fsync = PLY_FSYNC_OFF;
	union_open(u);
	assert_false(u->w.sync);
	union_close(u);
	u->o.fsync = PLY_FSYNC_STRICT;
	union_open(u);
	assert_true(u->w.sync);
	union_close(u);
}

static void nothing_is_there_body(void **state)
{
	struct union_dirs *u = *state;

	union_open(u);
	assert_false(u->ls->can.tmpfile);
	assert_false(u->ls->can.xattr);
	assert_false(u->ls->can.rename_exchange);
	assert_false(u->ls->can.rename_whiteout);
	assert_false(u->ls->can.reflink);
	assert_false(u->ls->can.chardev_whiteout);
	assert_false(u->w.index);
	assert_int_equal(u->w.whiteout_form, PLY_WH_AUFS);
	assert_true(u->ls->upper->aufs);
	union_close(u);
	assert_int_equal(scratch_count(&u->s, "u"), 0);
}

static void nothing_is_there(void **state)
{
	(void)state;
	union_masked("tmpfile,xattr,xattrat,rename-flags,reflink,mknod,handles,uuid,flock", nothing_is_there_body);
}

static void no_links_body(void **state)
{
	struct union_dirs *u = *state;

	union_open(u);
	assert_false(u->ls->can.link);
	assert_false(u->ls->can.tmpfile);
	assert_false(u->w.index);
	union_close(u);
	assert_int_equal(scratch_count(&u->s, "w/work"), 0);
}

static void no_links(void **state)
{
	(void)state;
	union_masked("link", no_links_body);
}

static void no_chardev_body(void **state)
{
	struct union_dirs *u = *state;

	union_open(u);
	assert_false(u->ls->can.chardev_whiteout);
	assert_int_equal(u->w.whiteout_form, u->ls->can.xattr ? PLY_WH_XATTR : PLY_WH_AUFS);
	union_close(u);
}

static void no_chardev(void **state)
{
	(void)state;
	union_masked("whiteout", no_chardev_body);
}

static void a_crash_is_cleaned_up(void **state)
{
	struct union_dirs *u = *state;
	char deep[32];
	int at;

	scratch_dir(&u->s, "w/work");
	scratch_file(&u->s, "w/work/#1", "left");
	scratch_file(&u->s, "precious", "stay");
	assert_int_equal(symlinkat("../..", u->s.fd, "w/work/#2"), 0);
	assert_int_equal(mkfifoat(u->s.fd, "w/work/#3", 0), 0);
	scratch_dir(&u->s, "w/work/#4");
	scratch_dir(&u->s, "w/work/#4/locked");
	scratch_file(&u->s, "w/work/#4/locked/f", "x");
	assert_int_equal(symlinkat("/etc", u->s.fd, "w/work/#4/locked/l"), 0);
	assert_int_equal(fchmodat(u->s.fd, "w/work/#4/locked", 0, 0), 0);
	assert_int_equal(fchmodat(u->s.fd, "w/work/#4", 0, 0), 0);
	/* Deeper than any recursion should go, and than PATH_MAX. */
	at = scratch_open(&u->s, "w/work");
	for (int i = 0; i < 3000; i++) {
		int next;

		snprintf(deep, sizeof(deep), "d%d", i);
		assert_int_equal(mkdirat(at, deep, 0700), 0);
		next = openat(at, deep, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
		assert_int_equal(mkdirat(at, "other", 0700), 0);
		assert_int_equal(mkdirat(at, "#dead0", 0), 0);
	}
	close(at);
	union_open(u);
	assert_int_equal(scratch_count(&u->s, "w/work"), 0);
	assert_true(scratch_has(&u->s, "precious"));
	assert_true(scratch_has(&u->s, "l1"));
	union_close(u);
}

static void discard_takes_all_types(void **state)
{
	struct union_dirs *u = *state;

	union_open(u);
	scratch_file(&u->s, "w/work/#f", "x");
	scratch_dir(&u->s, "w/work/#d");
	scratch_dir(&u->s, "w/work/#e");
	scratch_dir(&u->s, "w/work/#e/sub");
	scratch_file(&u->s, "w/work/#e/sub/f", "x");
	ply_workdir_discard(&u->w, "#f");
	ply_workdir_discard(&u->w, "#d");
	ply_workdir_discard(&u->w, "#e");
	ply_workdir_discard(&u->w, "#none");
	assert_int_equal(scratch_count(&u->s, "w/work"), 0);
	union_close(u);
}

static void busy_is_refused(void **state)
{
	struct union_dirs *u = *state;
	int fd = scratch_open(&u->s, "u");

	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(union_try(u), -EBUSY);
	assert_non_null(strstr(u->err, "in use"));
	assert_non_null(strstr(u->err, "/u'"));
	close(fd);
	fd = scratch_open(&u->s, "w");
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(union_try(u), -EBUSY);
	assert_non_null(strstr(u->err, "/w'"));
	close(fd);
	union_open(u);
	fd = scratch_open(&u->s, "u");
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
	union_close(u);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	close(fd);
}

static void *unlock_soon(void *arg)
{
	const struct timespec t = { 0, 200000000 };

	nanosleep(&t, NULL);
	close(*(int *)arg);
	return NULL;
}

static void a_daemon_that_ends_is_waited_for(void **state)
{
	struct union_dirs *u = *state;
	int fd = scratch_open(&u->s, "u");
	pthread_t t;

	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(pthread_create(&t, NULL, unlock_soon, &fd), 0);
	union_open(u);
	pthread_join(t, NULL);
	union_close(u);
}

static void volatile_leaves_its_marker(void **state)
{
	struct union_dirs *u = *state;

	u->o.volatile_ = true;
	union_open(u);
	assert_false(u->w.sync);
	/* Where the kernel has it. */
	assert_true(scratch_has(&u->s, "w/work/incompat/volatile/dirty"));
	union_close(u);
	assert_true(scratch_has(&u->s, "w/work/incompat/volatile/dirty"));
	assert_int_equal(union_try(u), -EINVAL);
	assert_non_null(strstr(u->err, "incompat/volatile"));
	u->o.volatile_ = false;
	assert_int_equal(union_try(u), -EINVAL);
	assert_int_equal(unlinkat(u->s.fd, "w/work/incompat/volatile/dirty", 0), 0);
	assert_int_equal(unlinkat(u->s.fd, "w/work/incompat/volatile", AT_REMOVEDIR), 0);
	union_open(u);
	assert_false(scratch_has(&u->s, "w/work/incompat"));
	union_close(u);
	scratch_dir(&u->s, "w/work/incompat");
	scratch_dir(&u->s, "w/work/incompat/future");
	assert_int_equal(union_try(u), -EINVAL);
	assert_non_null(strstr(u->err, "future"));
}

static void override_is_marked_on_upper(void **state)
{
	struct union_dirs *u = *state;
	char *val;
	ssize_t n;

	u->o.xattr_perm = PLY_XPERM_CONTAINERS;
	if (union_try(u)) {
		assert_non_null(strstr(u->err, "xattr_permissions"));
		skip();
	}
	n = ply_sys_getxattr_alloc(PLY_AT(u->s.fd, "u"), "user.containers.override_stat", &val);
	assert_true(n > 0);
	assert_non_null(strstr(val, ":0755"));
	free(val);
	union_close(u);
}

/* --- the index --- */

static int origin_of(struct union_dirs *u, const char *lower, struct ply_fh *fh)
{
	int type, len = ply_sys_handle(PLY_AT(u->s.fd, lower), &type, fh->fid);

	if (len < 0)
		return len;
	fh->type = (uint8_t)type;
	fh->len = (uint8_t)len;
	fh->is_upper = fh->foreign = false;
	memcpy(fh->uuid, u->ls->fs[0].uuid, sizeof(fh->uuid));
	return 0;
}

/* An entry for `lower`, as copy-up leaves it; returns its path from the scratch directory. */
static void make_entry(struct union_dirs *u, const char *lower, const char *nlink, const char *upper_name, char path[400])
{
	uint8_t rec[21 + PLY_FH_MAX];
	char name[PLY_INDEX_NAME_MAX];
	struct ply_fh fh;
	size_t len;

	assert_int_equal(origin_of(u, lower, &fh), 0);
	assert_int_equal(ply_format_index_name(&fh, name), 0);
	snprintf(path, 400, "w/index/%s", name);
	scratch_file(&u->s, path, "copied");
	len = ply_format_fh_build(&fh, rec);
	assert_int_equal(ply_sys_setxattr(PLY_AT(u->s.fd, path), ply_format_attr(u->ls->xns, OVL_ORIGIN), rec, len, 0), 0);
	if (nlink)
		assert_int_equal(ply_sys_setxattr(PLY_AT(u->s.fd, path), ply_format_attr(u->ls->xns, OVL_NLINK), nlink,
						  strlen(nlink), 0), 0);
	if (upper_name)
		assert_int_equal(linkat(u->s.fd, path, u->s.fd, upper_name, 0), 0);
}

/* Most mounts do without; the first that puts something in finds it made. */
static void index_is_made_when_it_is_needed(void **state)
{
	struct union_dirs *u = *state;
	bool known;
	int fd;

	union_open(u);
	if (!u->w.index) {
		union_close(u);
		skip();
	}
	known = u->ls->can.tmpfile && u->ls->fs[u->ls->upper->fs].knows_uuid && u->ls->fs[u->ls->layer[1].fs].knows_uuid;
	assert_int_equal(scratch_has(&u->s, "w/index"), !known);
	fd = u->w.index_fd;
	assert_true(fd >= 0);
	assert_int_equal(ply_sys_unlink(PLY_AT(fd, "00fb")), -ENOENT);
	assert_int_equal(ply_workdir_make_index(&u->w), 0);
	assert_int_equal(u->w.index_fd, fd);
	assert_true(scratch_has(&u->s, "w/index"));
	if (known)
		assert_true(ply_sys_getxattr(PLY_FD(fd), ply_format_attr(u->ls->xns, OVL_UPPER), NULL, 0) > 21);
	assert_int_equal(ply_sys_mkdir(PLY_AT(fd, "here"), 0700), 0);
	assert_true(scratch_has(&u->s, "w/index/here"));
	assert_int_equal(ply_sys_rmdir(PLY_AT(fd, "here")), 0);
	assert_int_equal(ply_workdir_make_index(&u->w), 0);
	union_close(u);
	/* What was there is used from the start. */
	union_open(u);
	assert_true(u->w.index && !u->w.index_unmade);
	union_close(u);
}

/* Nobody sees it half made: until its owner is noted nothing goes into it. */
static void index_that_cannot_be_made(void **state)
{
	struct union_dirs *u = *state;
	int r;

	union_open(u);
	if (!u->w.index || !u->w.index_unmade) {
		union_close(u);
		skip();
	}
	for (long n = 1; u->w.index_unmade; n++) {
		faults_arm(n, ENOSPC, FAULTS_ANY);
		r = ply_workdir_make_index(&u->w);
		if (!faults_disarm())
			assert_int_equal(r, 0);
		assert_int_equal(r, u->w.index_unmade ? -ENOSPC : 0);
	}
	assert_true(ply_sys_getxattr(PLY_FD(u->w.index_fd), ply_format_attr(u->ls->xns, OVL_UPPER), NULL, 0) > 21);
	union_close(u);
}

static void index_keeps_what_is_needed(void **state)
{
	struct union_dirs *u = *state;
	char live[400], alias[400], orphan[400], silent[400], wrong[400];

	scratch_file(&u->s, "l1/live", "x");
	scratch_file(&u->s, "l1/alias", "x");
	scratch_file(&u->s, "l1/orphan", "x");
	scratch_file(&u->s, "l1/silent", "x");
	scratch_file(&u->s, "l1/wrong", "x");
	union_open(u);
	if (!u->w.index) {
		union_close(u);
		skip();
	}
	assert_int_equal(ply_workdir_make_index(&u->w), 0);
	make_entry(u, "l1/live", "U+0", "u/live", live);
	/* Its upper name is gone; a lower name still leads here. */
	make_entry(u, "l1/alias", "U+0", NULL, alias);
	make_entry(u, "l1/orphan", "U-1", NULL, orphan);
	make_entry(u, "l1/silent", NULL, NULL, silent);
	make_entry(u, "l1/wrong", "U+0", NULL, wrong);
	assert_int_equal(ply_sys_setxattr(PLY_AT(u->s.fd, wrong), ply_format_attr(u->ls->xns, OVL_ORIGIN), "", 0, 0), 0);
	scratch_file(&u->s, "w/index/#5", "left over");
	scratch_dir(&u->s, "w/index/#6");
	union_close(u);
	union_open(u);
	assert_true(u->w.index);
	assert_true(scratch_has(&u->s, live));
	assert_true(scratch_has(&u->s, alias));
	assert_true(scratch_has(&u->s, silent));
	assert_false(scratch_has(&u->s, orphan));
	assert_false(scratch_has(&u->s, wrong));
	assert_false(scratch_has(&u->s, "w/index/#5"));
	assert_false(scratch_has(&u->s, "w/index/#6"));
	union_close(u);
}

static void index_counts_lower_names(void **state)
{
	struct union_dirs *u = *state;
	char kept[400], gone[400];
	bool can_open;

	scratch_file(&u->s, "l1/kept", "x");
	assert_int_equal(linkat(u->s.fd, "l1/kept", u->s.fd, "l1/kept2", 0), 0);
	scratch_file(&u->s, "l1/gone", "x");
	union_open(u);
	if (!u->w.index) {
		union_close(u);
		skip();
	}
	assert_int_equal(ply_workdir_make_index(&u->w), 0);
	make_entry(u, "l1/kept", "L-1", NULL, kept);
	make_entry(u, "l1/gone", "L-1", NULL, gone);
	can_open = u->ls->fs[0].can_open_handles;
	union_close(u);
	union_open(u);
	assert_true(scratch_has(&u->s, kept));
	/* Who may not open the lower by its handle cannot know. */
	assert_true(scratch_has(&u->s, gone) == !can_open);
	union_close(u);
}

static void index_of_another_upper(void **state)
{
	struct union_dirs *u = *state;

	union_open(u);
	if (!u->w.index) {
		union_close(u);
		skip();
	}
	assert_int_equal(ply_workdir_make_index(&u->w), 0);
	assert_int_equal(ply_sys_getxattr(PLY_AT(u->s.fd, "u"), ply_format_attr(u->ls->xns, OVL_ORIGIN), NULL, 0) > 21, 1);
	union_close(u);
	scratch_dir(&u->s, "v");
	strcpy(strrchr(u->o.upper, '/'), "/v");
	union_open(u);
	assert_false(u->w.index);
	assert_int_equal(u->w.index_fd, -1);
	union_close(u);
	u->o.index = PLY_ON;
	assert_int_equal(union_try(u), -ESTALE);
	assert_non_null(strstr(u->err, "another upperdir"));
	u->o.index = PLY_OFF;
	union_open(u);
	assert_false(u->w.index);
	union_close(u);
}

static void index_with_strange_names(void **state)
{
	struct union_dirs *u = *state;

	union_open(u);
	if (!u->w.index) {
		union_close(u);
		skip();
	}
	assert_int_equal(ply_workdir_make_index(&u->w), 0);
	union_close(u);
	scratch_file(&u->s, "w/index/not-hex", "x");
	union_open(u);
	assert_false(u->w.index);
	assert_true(scratch_has(&u->s, "w/index/not-hex"));
	union_close(u);
	u->o.index = PLY_ON;
	assert_int_equal(union_try(u), -EINVAL);
}

/* --- when something fails --- */

static int open_fds(void)
{
	int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;

	assert_true(fd >= 0);
	assert_int_equal(ply_sys_readdir(fd, scratch_count_, &n), 0);
	close(fd);
	return n;
}

/* Whatever fails at mount: a reason, no fd left, and the next try succeeds. */
static void each_failure_is_told(void **state)
{
	struct union_dirs *u = *state;
	int before = open_fds();

	u->o.volatile_ = true;
	u->o.xattr_perm = PLY_XPERM_CONTAINERS;
	for (long n = 1;; n++) {
		const char *failed;
		int r;

		scratch_file(&u->s, "l1/f", "x");
		u->err[0] = '\0';
		faults_arm(n, EIO, FAULTS_ANY);
		r = ply_layers_open(u->ls, &u->o, u->err, sizeof(u->err));
		if (!r) {
			r = ply_workdir_open(&u->w, u->ls, &u->o, u->err, sizeof(u->err));
			failed = faults_disarm();
			if (!r)
				ply_workdir_close(&u->w);
			ply_layers_close(u->ls);
		} else {
			failed = faults_disarm();
		}
		if (r && !u->err[0])
			print_error("%s: %d without a word\n", failed, r);
		assert_true(!r || u->err[0]);
		assert_int_equal(open_fds(), before);
		/* Nothing else stays beside the two, whatever name it had while it was made. */
		assert_int_equal(scratch_count(&u->s, "w"), scratch_has(&u->s, "w/work") + scratch_has(&u->s, "w/index"));
		if (!failed) {
			if (r)
				print_error("%s\n", u->err);
			assert_true(!r || strstr(u->err, "xattr_permissions"));
			break;
		}
		union_remove(u);
		union_make(u);
		u->o.volatile_ = true;
		u->o.xattr_perm = PLY_XPERM_CONTAINERS;
		assert_true(n < 1000);
	}
}

/* --- beside the kernel's overlayfs --- */

static int mount_overlay(struct union_dirs *u, const char *on, const char *more)
{
	char opts[1600];

	snprintf(opts, sizeof(opts), "lowerdir=%s:%s,upperdir=%s,workdir=%s%s", u->path[0], u->path[1], u->path[2],
		 u->path[3], more);
	return mount("none", on, "overlay", 0, opts) ? -errno : 0;
}

static void kernel_takes_ours_body(void **state)
{
	struct union_dirs *u = *state;
	char on[300];

	snprintf(on, sizeof(on), "%s/m", u->s.path);
	scratch_dir(&u->s, "m");
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount_overlay(u, on, ",index=on"))
		return;
	/* While the kernel has it, we must not. */
	assert_int_equal(union_try(u), -EBUSY);
	assert_non_null(strstr(u->err, "kernel"));
	assert_int_equal(umount(on), 0);
	/* Its index is ours, and ours its. */
	u->o.index = PLY_ON;
	union_open(u);
	assert_int_equal(u->w.index, u->ls->can.xattr && u->ls->fs[0].has_handles);
	union_close(u);
	assert_int_equal(mount_overlay(u, on, ",index=on"), 0);
	assert_int_equal(umount(on), 0);
	assert_int_equal(mount_overlay(u, on, ",volatile"), 0);
	assert_int_equal(umount(on), 0);
	assert_int_equal(union_try(u), -EINVAL);
	assert_non_null(strstr(u->err, "volatile"));
	assert_int_equal(unlinkat(u->s.fd, "w/work/incompat/volatile/dirty", 0), 0);
	assert_int_equal(unlinkat(u->s.fd, "w/work/incompat/volatile", AT_REMOVEDIR), 0);
	u->o.volatile_ = true;
	union_open(u);
	union_close(u);
	assert_int_equal(mount_overlay(u, on, ""), -EINVAL);
}

static void kernel_takes_ours(void **state)
{
	(void)state;
	if (geteuid())
		skip();
	union_masked("", kernel_takes_ours_body);
}

/* Made first by us, then used by the kernel. */
static void kernel_takes_a_new_one_body(void **state)
{
	struct union_dirs *u = *state;
	char on[300];

	snprintf(on, sizeof(on), "%s/m", u->s.path);
	scratch_dir(&u->s, "m");
	union_open(u);
	union_close(u);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return;
	if (mount_overlay(u, on, ",index=on")) {
		/* In a user namespace the kernel's is another format. */
		assert_int_equal(u->ls->xns, PLY_XNS_USER);
		return;
	}
	assert_int_equal(umount(on), 0);
}

static void kernel_takes_a_new_one(void **state)
{
	(void)state;
	if (geteuid())
		skip();
	union_masked("", kernel_takes_a_new_one_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_there),
		cmocka_unit_test(no_links),
		cmocka_unit_test(no_chardev),
		cmocka_unit_test(kernel_takes_ours),
		cmocka_unit_test(kernel_takes_a_new_one),
		union_test(opens_and_probes),
		union_test(work_is_made_apart),
		union_test(work_takes_nobodys),
		union_test(syncing_is_a_flag),
		union_test(a_crash_is_cleaned_up),
		union_test(discard_takes_all_types),
		union_test(busy_is_refused),
		union_test(a_daemon_that_ends_is_waited_for),
		union_test(volatile_leaves_its_marker),
		union_test(override_is_marked_on_upper),
		union_test(each_failure_is_told),
		union_test(index_is_made_when_it_is_needed),
		union_test(index_that_cannot_be_made),
		union_test(index_keeps_what_is_needed),
		union_test(index_counts_lower_names),
		union_test(index_of_another_upper),
		union_test(index_with_strange_names),
	};

	return cmocka_run_group_tests_name("workdir", tests, NULL, NULL);
}
