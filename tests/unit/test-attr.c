// SPDX-License-Identifier: GPL-2.0-or-later
/* stat and setattr of every type of object, owners mapped, and modes kept in override_stat. */
// wrap: ply_sys_stat ply_sys_chown ply_sys_chmod ply_sys_utimens ply_sys_ftruncate ply_sys_setxattr
#include "disk.h"

#include "faults.h"

#include "attr.h"
#include "copyup.h"
#include "hash.h"

#include <errno.h>
#include <sys/xattr.h>

static void stage(const char *before, const char *more)
{
	stage_made("mkdir -p low/d/x up work && echo content >low/file && ln -s nowhere low/link && mkfifo low/fifo && "
		   "touch -hd '2001-02-03 04:05:06.7' low/file low/link low/fifo low/d", before, more);
}

static int set(struct ply_node *n, unsigned int what, struct stat *st)
{
	return ply_attr_set(fs, n, NULL, NULL, what, st);
}

static void test_types(void **state)
{
	static const char *const names[] = { "file", "link", "fifo", "d" };
	struct stat st, low;

	(void)state;
	stage(NULL, "");
	for (size_t i = 0; i < PLY_ARRAY_SIZE(names); i++) {
		struct ply_node *n = get(names[i]);
		char path[32];

		snprintf(path, sizeof(path), "low/%s", names[i]);
		assert_int_equal(lstat(at(path), &low), 0);
		assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
		assert_int_equal(st.st_mode, low.st_mode);
		assert_int_equal(st.st_ino, n->ino);
		assert_memory_equal(&st.st_mtim, &low.st_mtim, sizeof(st.st_mtim));

		st.st_mode = 01711;
		assert_int_equal(set(n, PLY_SET_MODE, &st), n->type == S_IFLNK ? -EOPNOTSUPP : 0);
		if (n->type == S_IFLNK)
			assert_int_not_equal(atomic_load(&n->layer), PLY_LAYER_UPPER);
		else
			assert_int_equal(st.st_mode, n->type | 01711);
		st.st_atim = (struct timespec){ 5, 999999999 };
		st.st_mtim = (struct timespec){ 0, 0 };
		assert_int_equal(set(n, PLY_SET_ATIME, &st), 0);
		assert_int_equal(st.st_atim.tv_sec, 5);
		assert_int_equal(st.st_atim.tv_nsec, 999999999);
		assert_memory_equal(&st.st_mtim, &low.st_mtim, sizeof(st.st_mtim));
		assert_int_equal(set(n, PLY_SET_MTIME_NOW | PLY_SET_MTIME, &st), 0);
		assert_true(st.st_mtim.tv_sec > low.st_mtim.tv_sec);
		if (root) {
			st.st_uid = 77;
			assert_int_equal(set(n, PLY_SET_UID, &st), 0);
			assert_int_equal(st.st_uid, 77);
			assert_int_equal(st.st_gid, low.st_gid);
			st.st_gid = 78;
			assert_int_equal(set(n, PLY_SET_GID, &st), 0);
			assert_int_equal(st.st_uid, 77);
			assert_int_equal(st.st_gid, 78);
		}
		assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
		assert_int_equal(st.st_ino, n->ino);
		snprintf(path, sizeof(path), "low/%s", names[i]);
		assert_int_equal(lstat(at(path), &st), 0);
		assert_int_equal(st.st_mode, low.st_mode);
		assert_int_equal(st.st_uid, low.st_uid);
		ply_node_put(fs->graph, n);
	}
	stage_end();
}

static void test_size(void **state)
{
	struct ply_node *n, *d;
	struct stat st = { .st_size = 3 };

	(void)state;
	stage("chmod 6755 low/file", "");
	n = get("file");
	d = get("d");
	assert_int_equal(set(d, PLY_SET_SIZE, &st), -EISDIR);
	assert_int_equal(set(n, PLY_SET_SIZE, &st), 0);
	assert_int_equal(st.st_size, 3);
	if (root)
		assert_int_equal(st.st_mode & 07777, 06755);
	sh("test \"$(cat up/file)\" = con && test \"$(cat low/file)\" = content");
	st.st_size = 100000;
	assert_int_equal(set(n, PLY_SET_SIZE | PLY_SET_KILL_PRIV, &st), 0);
	assert_int_equal(st.st_size, 100000);
	assert_int_equal(st.st_mode & 07777, 0755);
	st.st_size = 0;
	assert_int_equal(set(n, PLY_SET_SIZE, &st), 0);
	assert_int_equal(st.st_size, 0);
	ply_node_put(fs->graph, n);
	ply_node_put(fs->graph, d);
	stage_end();
}

/* chown by whomever takes suid and sgid away, chown(-1, -1) too; from a directory it does not. */
static void test_chown_kills(void **state)
{
	struct ply_node *n, *d;
	struct stat st = { 0 };

	(void)state;
	stage("chmod 6755 low/file; chmod 2755 low/d", "");
	n = get("file");
	d = get("d");
	assert_int_equal(set(n, 0, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(set(d, 0, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02755);
	ply_node_put(fs->graph, n);
	ply_node_put(fs->graph, d);
	stage_end();
}

static void test_mapped(void **state)
{
	struct stat st = { .st_uid = 5, .st_gid = 6 };
	struct ply_node *n;

	(void)state;
	if (!root)
		skip();
	stage("chown 100001:100002 low/file", ",uidmapping=100000:0:1000,gidmapping=100000:0:1000");
	n = get("file");
	assert_int_equal(set(n, PLY_SET_UID | PLY_SET_GID, &st), 0);
	assert_int_equal(st.st_uid, 5);
	assert_int_equal(lstat(at("up/file"), &st), 0);
	assert_int_equal(st.st_uid, 100005);
	assert_int_equal(st.st_gid, 100006);
	st.st_uid = 5000;
	assert_int_equal(set(n, PLY_SET_UID, &st), -EOVERFLOW);
	ply_node_put(fs->graph, n);
	n = get("d");			/* root's, which nobody is */
	assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
	assert_int_equal(st.st_uid, 65534);
	ply_node_put(fs->graph, n);
	stage_end();
}

static void test_override(void **state)
{
	struct ply_node *n;
	struct stat st = { 0 }, disk;

	(void)state;
	stage("for d in low up; do setfattr -n user.containers.override_stat -v 0:0:0755 $d; done; "
	      "setfattr -n user.containers.override_stat -v 12:34:04755 low/file; "
	      "echo >low/null; setfattr -n user.containers.override_stat -v 0:0:0666:char-1-3 low/null; "
	      "setfattr -n user.containers.override_stat -v 7:8:02750:dir low/d", ",xattr_permissions=2");
	n = get("file");
	assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
	assert_int_equal(st.st_uid, 12);
	assert_int_equal(st.st_gid, 34);
	assert_int_equal(st.st_mode, S_IFREG | 04755);
	st.st_mode = 02600;
	assert_int_equal(set(n, PLY_SET_MODE, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 02600);
	assert_int_equal(st.st_uid, 12);
	assert_int_equal(lstat(at("up/file"), &disk), 0);
	assert_int_equal(disk.st_mode, S_IFREG | 0755);
	assert_int_equal(disk.st_uid, geteuid());
	st.st_uid = 99;
	assert_int_equal(set(n, PLY_SET_UID, &st), 0);
	assert_int_equal(st.st_uid, 99);
	assert_int_equal(st.st_gid, 34);
	ply_node_put(fs->graph, n);

	n = get("null");
	assert_int_equal(n->type, S_IFCHR);
	st.st_mode = 0600;
	assert_int_equal(set(n, PLY_SET_MODE, &st), 0);
	assert_int_equal(st.st_mode, S_IFCHR | 0600);
	assert_int_equal(st.st_rdev, 0x103);
	assert_int_equal(lstat(at("up/null"), &disk), 0);
	assert_true(S_ISREG(disk.st_mode));
	ply_node_put(fs->graph, n);

	n = get("d");
	st.st_gid = 9;
	assert_int_equal(set(n, PLY_SET_GID, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 02750);
	assert_int_equal(st.st_uid, 7);
	assert_int_equal(st.st_gid, 9);
	ply_node_put(fs->graph, n);
	stage_end();
}

static void test_init(void **state)
{
	struct stat have, st;
	int up;

	(void)state;
	stage(NULL, "");
	sh("touch up/new && chmod 600 up/new && mkdir up/newdir");
	up = open(at("up"), O_RDONLY | O_DIRECTORY);
	assert_int_equal(lstat(at("up/new"), &have), 0);
	assert_int_equal(ply_attr_init(fs, PLY_AT(up, "new"), &have, have.st_uid, have.st_gid, S_IFREG | 04711, 0), 0);
	assert_int_equal(lstat(at("up/new"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 04711);
	/* Nothing to do is no syscall. */
	faults_arm(1, EIO, FAULTS_CHANGES | FAULTS_STAY);
	assert_int_equal(ply_attr_init(fs, PLY_AT(up, "new"), &st, st.st_uid, st.st_gid, st.st_mode, 0), 0);
	assert_null(faults_disarm());
	if (root) {
		assert_int_equal(ply_attr_init(fs, PLY_AT(up, "new"), &st, 5, 6, S_IFREG | 06711, 0), 0);
		assert_int_equal(lstat(at("up/new"), &st), 0);
		assert_int_equal(st.st_mode, S_IFREG | 06711);
		assert_int_equal(st.st_uid, 5);
	}
	close(up);
	stage_end();
}

static void test_dir_nlink(void **state)
{
	struct ply_node *n, *m;
	struct stat st;

	(void)state;
	stage("mkdir -p up/m low/m", "");
	n = get("d");
	m = get("m");
	assert_int_equal(ply_attr_get(fs, m, NULL, &st), 0);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
	assert_int_equal(st.st_nlink, 3);
	atomic_store(&n->dir->removed, true);
	assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	atomic_store(&n->dir->removed, false);
	ply_node_put(fs->graph, n);
	ply_node_put(fs->graph, m);
	stage_end();
}

static void test_readonly(void **state)
{
	struct stat st = { .st_mode = 0600 };
	struct ply_node *n;

	(void)state;
	stage(NULL, ",ro");
	n = get("file");
	assert_int_equal(set(n, PLY_SET_MODE, &st), -EROFS);
	assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
	ply_node_put(fs->graph, n);
	stage_end();
}

static void test_faults(void **state)
{
	(void)state;
	for (long i = 1;; i++) {
		struct stat st = { .st_mode = 0600, .st_mtim.tv_sec = 9 }, now;
		struct ply_node *n;
		const char *failed;
		int r;

		stage(NULL, "");
		n = get("file");
		assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_DATA), 0);
		faults_arm(i, EROFS, FAULTS_ANY);
		r = set(n, PLY_SET_MODE | PLY_SET_MTIME, &st);
		failed = faults_disarm();
		assert_int_equal(r, failed ? -EROFS : 0);
		if (r)			/* outputs only on success */
			assert_int_equal(st.st_mode, 0600);
		assert_int_equal(ply_attr_get(fs, n, NULL, &now), 0);
		ply_node_put(fs->graph, n);
		stage_end();
		if (!failed)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_chown_kills),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_override),
		cmocka_unit_test(test_init),
		cmocka_unit_test(test_dir_nlink),
		cmocka_unit_test(test_readonly),
		cmocka_unit_test(test_faults),
	};
	const char *tmp = getenv("TMPDIR");

	ply_hash_init();
	umask(022);
	root = !geteuid();
	snprintf(base, sizeof(base), "%s/attr.%d", tmp ? tmp : "/tmp", (int)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
