// SPDX-License-Identifier: GPL-2.0-or-later
/* Extended attributes as users see them: hidden, escaped, mapped, refused; and what copies inherit. */
// wrap: ply_sys_getxattr ply_sys_setxattr ply_sys_listxattr_alloc ply_sys_removexattr ply_sys_getxattr_alloc
#include "disk.h"

#include "faults.h"

#include "acl.h"
#include "attr.h"
#include "copyup.h"
#include "hash.h"
#include "xattr.h"

#include <errno.h>
#include <sys/xattr.h>

static void stage(const char *before, const char *more)
{
	stage_made("mkdir -p low/d up work && echo f >low/f && setfattr -n user.a -v 1 low/f && setfattr -n user.b -v 22 low/f",
		   before, more);
}

static bool listed(struct ply_node *n, const char *name)
{
	ply_autofree char *list = NULL;
	ssize_t len = ply_xattr_list(fs, n, &list);

	assert_true(len >= 0);
	for (const char *p = list; p < list + len; p += strlen(p) + 1)
		if (!strcmp(p, name))
			return true;
	return false;
}

static void test_basic(void **state)
{
	struct ply_node *n;
	char val[64];

	(void)state;
	stage(NULL, "");
	n = get("f");
	assert_int_equal(ply_xattr_get(fs, n, "user.b", val, sizeof(val)), 2);
	assert_int_equal(ply_xattr_get(fs, n, "user.b", NULL, 0), 2);
	assert_int_equal(ply_xattr_get(fs, n, "user.b", val, 1), -ERANGE);
	assert_int_equal(ply_xattr_get(fs, n, "user.none", val, sizeof(val)), -ENODATA);
	assert_true(listed(n, "user.a"));
	/* What fails must not copy up. */
	assert_int_equal(ply_xattr_remove(fs, n, "user.none"), -ENODATA);
	assert_int_equal(ply_xattr_set(fs, n, "user.a", "x", 1, XATTR_CREATE, false), -EEXIST);
	assert_int_equal(ply_xattr_set(fs, n, "user.none", "x", 1, XATTR_REPLACE, false), -ENODATA);
	assert_int_equal(ply_xattr_set(fs, n, "user.c", val, 65537, 0, false), -E2BIG);
	assert_int_not_equal(atomic_load(&n->layer), PLY_LAYER_UPPER);
	assert_int_equal(ply_xattr_set(fs, n, "user.c", "new", 3, XATTR_CREATE, false), 0);
	assert_int_equal(ply_xattr_get(fs, n, "user.c", val, sizeof(val)), 3);
	assert_int_equal(ply_xattr_set(fs, n, "user.empty", NULL, 0, 0, false), 0);
	assert_int_equal(ply_xattr_get(fs, n, "user.empty", val, sizeof(val)), 0);
	assert_int_equal(getxattr(at("up/f"), "user.b", val, sizeof(val)), 2);
	assert_int_equal(ply_xattr_remove(fs, n, "user.a"), 0);
	assert_false(listed(n, "user.a"));
	assert_int_equal(getxattr(at("low/f"), "user.a", val, sizeof(val)), 1);
	ply_node_put(fs->graph, n);
	stage_end();
}

static void test_private(void **state)
{
	char inner[64], outer[64], disk[64], val[16];
	const char *ns = root ? "trusted" : "user";
	struct ply_node *n;

	(void)state;
	stage(NULL, "");
	snprintf(inner, sizeof(inner), "%s.overlay.opaque", ns);
	snprintf(disk, sizeof(disk), "%s.overlay.overlay.opaque", ns);
	snprintf(outer, sizeof(outer), "%s.overlay.origin", ns);
	n = get("f");
	assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_DATA), 0);
	assert_true(lgetxattr(at("up/f"), outer, NULL, 0) > 0);
	assert_false(listed(n, outer));
	assert_int_equal(ply_xattr_get(fs, n, outer, val, sizeof(val)), -ENODATA);
	/* An overlay inside of this one keeps its marks, and they are not taken for ours. */
	assert_int_equal(ply_xattr_set(fs, n, inner, "y", 1, 0, false), 0);
	assert_true(listed(n, inner));
	assert_int_equal(lgetxattr(at("up/f"), disk, val, sizeof(val)), 1);
	assert_true(lgetxattr(at("up/f"), inner, val, sizeof(val)) < 0);
	assert_int_equal(ply_xattr_set(fs, n, "user.fuseoverlayfs.opaque", "y", 1, 0, false), -EOPNOTSUPP);
	assert_int_equal(ply_xattr_get(fs, n, "user.fuseoverlayfs.opaque", val, sizeof(val)), -ENODATA);
	ply_node_put(fs->graph, n);
	stage_end();
}

static void test_copy_keeps_nested(void **state)
{
	const char *ns = root ? "trusted" : "user";
	char cmd[300], name[64], val[16];
	struct ply_node *n;

	(void)state;
	snprintf(cmd, sizeof(cmd), "setfattr -n %s.overlay.overlay.opaque -v y low/d && setfattr -n %s.overlay.opaque -v y low/d && "
		 "setfattr -n %s.overlayish -v y low/d", ns, ns, ns);
	stage(cmd, "");
	n = get("d");
	assert_int_equal(ply_copyup_dir(fs, n), 0);
	snprintf(name, sizeof(name), "%s.overlay.overlay.opaque", ns);
	assert_int_equal(lgetxattr(at("up/d"), name, val, sizeof(val)), 1);
	snprintf(name, sizeof(name), "%s.overlayish", ns);
	assert_int_equal(lgetxattr(at("up/d"), name, val, sizeof(val)), 1);
	assert_true(listed(n, name));
	snprintf(name, sizeof(name), "%s.overlay.opaque", ns);
	assert_true(lgetxattr(at("up/d"), name, val, sizeof(val)) < 0);
	assert_true(listed(n, name));		/* the inner one's */
	ply_node_put(fs->graph, n);
	stage_end();
}

static void test_off(void **state)
{
	struct ply_node *n;
	ply_autofree char *list = NULL;
	char val[64];

	(void)state;
	stage("setfacl -m u:1234:rwx low/f", ",noxattrs");
	n = get("f");
	assert_int_equal(ply_xattr_get(fs, n, "user.a", val, sizeof(val)), -EOPNOTSUPP);
	assert_int_equal(ply_xattr_list(fs, n, &list), -EOPNOTSUPP);
	assert_null(list);
	assert_int_equal(ply_xattr_set(fs, n, "user.a", "x", 1, 0, false), -EOPNOTSUPP);
	assert_int_equal(ply_xattr_remove(fs, n, "user.a"), -EOPNOTSUPP);
	ply_node_put(fs->graph, n);
	stage_end();

	stage("setfacl -m u:1234:rwx low/f", ",noacl");
	n = get("f");
	assert_int_equal(ply_xattr_get(fs, n, PLY_ACL_ACCESS, val, sizeof(val)), -EOPNOTSUPP);
	assert_false(listed(n, PLY_ACL_ACCESS));
	assert_true(listed(n, "user.a"));
	/* It is the file's all the same. */
	assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_DATA), 0);
	assert_true(getxattr(at("up/f"), PLY_ACL_ACCESS, NULL, 0) > 0);
	ply_node_put(fs->graph, n);
	stage_end();
}

/* user::rw- user:ID:r-- group::r-- mask::r-- other::--- */
static size_t make_acl(uint32_t id, uint8_t *out)
{
	char hex[120];

	snprintf(hex, sizeof(hex), "0200000001000600ffffffff02000400%02x%02x%02x%02x04000400ffffffff10000400ffffffff20000000ffffffff",
		 id & 0xff, id >> 8 & 0xff, id >> 16 & 0xff, id >> 24);
	return from_hex(hex, out);
}

static void test_acl(void **state)
{
	uint8_t acl[64], got[64];
	struct ply_node *n;
	struct stat st;
	size_t len = make_acl(1234, acl);

	(void)state;
	stage("chmod 2755 low/f", "");
	n = get("f");
	assert_int_equal(ply_xattr_set(fs, n, PLY_ACL_ACCESS, acl, len, 0, false), 0);
	assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(ply_xattr_get(fs, n, PLY_ACL_ACCESS, got, sizeof(got)), len);
	assert_memory_equal(acl, got, len);
	assert_int_equal(ply_xattr_set(fs, n, PLY_ACL_ACCESS, acl, len, 0, true), 0);
	assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_true(ply_xattr_set(fs, n, PLY_ACL_ACCESS, "junk", 4, 0, false) < 0);
	assert_int_equal(ply_xattr_remove(fs, n, PLY_ACL_ACCESS), 0);
	assert_int_equal(ply_xattr_get(fs, n, PLY_ACL_ACCESS, got, sizeof(got)), -ENODATA);
	ply_node_put(fs->graph, n);
	stage_end();
}

static void test_mapped(void **state)
{
	uint8_t acl[64], want[64], got[64];
	struct ply_node *n;
	size_t len = make_acl(5, acl);

	(void)state;
	make_acl(100005, want);
	stage("setfacl -m u:100007:r low/f", ",uidmapping=100000:0:1000,gidmapping=100000:0:1000");
	n = get("f");
	assert_true(ply_xattr_get(fs, n, PLY_ACL_ACCESS, got, sizeof(got)) > 0);
	assert_int_equal(got[16], 7);
	assert_int_equal(got[17], 0);
	assert_int_equal(ply_xattr_set(fs, n, PLY_ACL_ACCESS, acl, len, 0, false), 0);
	assert_int_equal(getxattr(at("up/f"), PLY_ACL_ACCESS, got, sizeof(got)), len);
	assert_memory_equal(want, got, len);
	make_acl(5000, acl);
	assert_true(ply_xattr_set(fs, n, PLY_ACL_ACCESS, acl, len, 0, false) < 0);
	ply_node_put(fs->graph, n);
	stage_end();
}

static void test_inherit(void **state)
{
	mode_t mode = S_IFDIR | 0777;
	char val[128];

	(void)state;
	stage("setfacl -d -m u:1234:rx,o::- up && mkdir up/plain && setfacl -b up/plain && setfacl -k up/plain && mkdir work/x", "");
	int up = open(at("up"), O_RDONLY | O_DIRECTORY);

	assert_int_equal(ply_xattr_has_default_acl(fs, PLY_FD(up)), 1);
	assert_int_equal(ply_xattr_has_default_acl(fs, PLY_AT(up, "plain")), 0);
	int work = open(at("work"), O_RDONLY | O_DIRECTORY);

	assert_int_equal(ply_xattr_inherit(fs, PLY_FD(up), PLY_AT(work, "x"), &mode, 077), 0);
	assert_int_equal(mode & 0007, 0);
	assert_int_equal(mode & 0700, 0700);
	assert_true(getxattr(at("work/x"), PLY_ACL_DEFAULT, val, sizeof(val)) > 0);
	assert_true(getxattr(at("work/x"), PLY_ACL_ACCESS, val, sizeof(val)) > 0);
	mode = S_IFREG | 0666;
	assert_int_equal(ply_xattr_inherit(fs, PLY_AT(up, "plain"), PLY_AT(work, "x"), &mode, 027), 0);
	assert_int_equal(mode, S_IFREG | 0640);
	close(up);
	close(work);
	stage_end();
}

/* override_stat of containers: what an ordinary user can't set is kept beside. */
static void test_containers(void **state)
{
	static const char caps[20] = { 0, 0, 0, 2, 1 };
	struct ply_node *n;
	char val[64];

	(void)state;
	stage("for d in low up; do setfattr -n user.containers.override_stat -v 0:0:0755 $d; done; "
	      "setfattr -n user.containers.override_stat -v 12:34:0104755 low/f; "
	      "setfattr -n user.containers.override_security.capability -v 0x0100000201000000000000000000000000000000 low/f",
	      ",xattr_permissions=2");
	n = get("f");
	assert_true(listed(n, "security.capability"));
	assert_false(listed(n, "user.containers.override_stat"));
	assert_int_equal(ply_xattr_get(fs, n, "security.capability", val, sizeof(val)), 20);
	assert_int_equal(ply_copyup(fs, n, PLY_COPYUP_DATA), 0);
	assert_int_equal(getxattr(at("up/f"), "user.containers.override_security.capability", val, sizeof(val)), 20);
	assert_true(getxattr(at("up/f"), "user.containers.override_stat", val, sizeof(val)) > 0);
	assert_memory_equal(val, "12:34:", 6);
	assert_int_equal(ply_xattr_set(fs, n, "security.capability", caps, sizeof(caps), 0, false), 0);
	assert_int_equal(getxattr(at("up/f"), "user.containers.override_security.capability", val, sizeof(val)), 20);
	assert_memory_equal(val, caps, 20);
	assert_int_equal(ply_xattr_remove(fs, n, "security.capability"), 0);
	assert_int_equal(ply_xattr_get(fs, n, "security.capability", val, sizeof(val)), -ENODATA);
	ply_node_put(fs->graph, n);
	stage_end();
}

static void test_symlink(void **state)
{
	struct ply_node *n;
	ply_autofree char *list = NULL;
	char val[8];
	ssize_t len;

	(void)state;
	stage("ln -s f low/link", "");
	n = get("link");
	assert_int_equal(ply_xattr_set(fs, n, "user.x", "1", 1, 0, false), -EPERM);
	assert_int_equal(ply_xattr_get(fs, n, "user.a", val, sizeof(val)), -ENODATA);
	if (root) {
		assert_int_equal(ply_xattr_set(fs, n, "trusted.x", "1", 1, 0, false), 0);
		assert_int_equal(ply_xattr_get(fs, n, "trusted.x", val, sizeof(val)), 1);
		assert_int_equal(lgetxattr(at("up/link"), "trusted.x", val, sizeof(val)), 1);
		assert_true(listed(n, "trusted.x"));
		len = ply_xattr_list(fs, n, &list);
		assert_int_equal(len, sizeof("trusted.x"));
		assert_true(ply_xattr_list_has_trusted(list, (size_t)len));
		assert_int_equal(ply_xattr_list_hide_trusted(list, (size_t)len), 0);
	}
	ply_node_put(fs->graph, n);
	stage_end();
}

static void test_faults(void **state)
{
	(void)state;
	for (long i = 1;; i++) {
		struct ply_node *n;
		char val[8];
		int r;

		stage(NULL, "");
		n = get("f");
		faults_arm(i, EIO, FAULTS_ANY);
		r = ply_xattr_set(fs, n, "user.c", "1", 1, XATTR_CREATE, false);
		const char *failed = faults_disarm();

		if (r)
			assert_int_equal(r, -EIO);
		assert_int_equal(ply_xattr_get(fs, n, "user.a", val, sizeof(val)), 1);
		assert_int_equal(ply_xattr_get(fs, n, "user.c", val, sizeof(val)), r ? -ENODATA : 1);
		ply_node_put(fs->graph, n);
		stage_end();
		if (!failed)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_basic),
		cmocka_unit_test(test_private),
		cmocka_unit_test(test_copy_keeps_nested),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_acl),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_inherit),
		cmocka_unit_test(test_containers),
		cmocka_unit_test(test_symlink),
		cmocka_unit_test(test_faults),
	};
	const char *tmp = getenv("TMPDIR");

	ply_hash_init();
	umask(022);
	root = !geteuid();
	snprintf(base, sizeof(base), "%s/xattr.%d", tmp ? tmp : "/tmp", (int)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
