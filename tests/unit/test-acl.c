// SPDX-License-Identifier: GPL-2.0-or-later
/* The kernel is the oracle: each answer is compared with what it does on a file in TMPDIR. */
#include "unit.h"
#include "acl.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_ENTRIES 12

struct acl {
	size_t len;
	uint8_t val[4 + MAX_ENTRIES * 8];
};

static void acl_start(struct acl *a)
{
	const uint32_t version = htole32(POSIX_ACL_XATTR_VERSION);

	memset(a, 0, sizeof(*a));
	memcpy(a->val, &version, 4);
	a->len = 4;
}

static void acl_add(struct acl *a, unsigned int tag, unsigned int perm, uint32_t id)
{
	struct posix_acl_xattr_entry e = { htole16((uint16_t)tag), htole16((uint16_t)perm), htole32(id) };

	assert_true(a->len + 8 <= sizeof(a->val));
	memcpy(a->val + a->len, &e, 8);
	a->len += 8;
}

#define NO_ID UINT32_MAX

/* user::perms user:1000:perms group::perms group:2000:perms mask::perms other::perms, some left out */
static void acl_random(struct acl *a, uint64_t *seed, bool extended)
{
	bool mask = extended;

	acl_start(a);
	acl_add(a, ACL_USER_OBJ, rnd(seed) & 7, NO_ID);
	if (extended && rnd(seed) & 1)
		acl_add(a, ACL_USER, rnd(seed) & 7, 1000);
	if (extended && rnd(seed) & 1)
		acl_add(a, ACL_USER, rnd(seed) & 7, 1001);
	acl_add(a, ACL_GROUP_OBJ, rnd(seed) & 7, NO_ID);
	if (extended && rnd(seed) & 1)
		acl_add(a, ACL_GROUP, rnd(seed) & 7, 2000);
	if (mask)
		acl_add(a, ACL_MASK, rnd(seed) & 7, NO_ID);
	acl_add(a, ACL_OTHER, rnd(seed) & 7, NO_ID);
}

static char dir[256], path[300];

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof(dir), "%s/plyfs-acl.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/x", dir);
	umask(0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	rmdir(path);
	return rmdir(dir);
}

static bool have_acls(void)
{
	struct acl a;

	acl_start(&a);
	acl_add(&a, ACL_USER_OBJ, 7, NO_ID);
	acl_add(&a, ACL_USER, 7, 1000);
	acl_add(&a, ACL_GROUP_OBJ, 7, NO_ID);
	acl_add(&a, ACL_MASK, 7, NO_ID);
	acl_add(&a, ACL_OTHER, 7, NO_ID);
	return setxattr(dir, PLY_ACL_DEFAULT, a.val, a.len, 0) == 0 &&
	       removexattr(dir, PLY_ACL_DEFAULT) == 0;
}

/* In a user namespace the kernel refuses ids that are not mapped there; that is no question of form. */
static bool all_ids_are_mapped(void)
{
	unsigned long inside = 1, outside = 1, n = 0;
	FILE *f = fopen("/proc/self/uid_map", "re");

	if (!f)
		return false;
	if (fscanf(f, "%lu %lu %lu", &inside, &outside, &n) != 3)
		n = 0;
	fclose(f);
	return !inside && !outside && n == UINT32_MAX;
}

static void get_acl(const char *name, struct acl *a)
{
	ssize_t n = getxattr(path, name, a->val, sizeof(a->val));

	a->len = n < 0 ? 0 : (size_t)n;
}

static void make_file(mode_t mode)
{
	int fd;

	unlink(path);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	close(fd);
}

static mode_t mode_of(const char *p)
{
	struct stat st;

	assert_int_equal(lstat(p, &st), 0);
	return st.st_mode;
}

/* Sequences of entries, right and wrong: accepted by us exactly when setxattr(2) takes them. */
static void check_is_the_kernels(void **state)
{
	static const unsigned int tag[] = {
		ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER, 0x40, 0
	};
	uint64_t seed = 4711;
	unsigned int good = 0;

	(void)state;
	if (!have_acls() || !all_ids_are_mapped())
		skip();
	make_file(0644);
	for (int round = 0; round < 20000; round++) {
		struct acl a;
		void *copy;
		int ours, kernels;

		acl_random(&a, &seed, round & 1);
		/* One entry out, in, or changed; or a length that does not fit. */
		switch (rnd(&seed) % 6) {
		case 0:
			a.len -= 8;
			break;
		case 1:
			acl_add(&a, tag[rnd(&seed) % 8], (unsigned int)rnd(&seed) & 15, (uint32_t)rnd(&seed) | 1);
			break;
		case 2:
			a.val[4 + rnd(&seed) % (a.len - 4)] ^= (uint8_t)(1 << rnd(&seed) % 8);
			break;
		case 3:
			a.len = rnd(&seed) % a.len;
			if (!a.len)
				a.len = 1;
			break;
		case 4:
			memmove(a.val + 4, a.val + 12, a.len - 12);
			a.len -= 8;
			break;
		default:
			break;
		}
		copy = exact(a.val, a.len);
		ours = ply_acl_check(copy, a.len);
		free(copy);
		kernels = setxattr(path, PLY_ACL_ACCESS, a.val, a.len, 0) == 0 ? 0 : -EINVAL;
		assert_int_equal(ours, kernels);
		good += ours == 0;
	}
	assert_in_range(good, 2000, 18000);
}

static void a_new_file_inherits_as_the_kernels(void **state)
{
	uint64_t seed = 815;

	(void)state;
	if (!have_acls())
		skip();
	for (int round = 0; round < 4000; round++) {
		mode_t mode = (mode_t)(rnd(&seed) & 0777), ours = S_IFREG | mode;
		struct acl def, out = { 0 }, kernels;
		int r;

		acl_random(&def, &seed, round % 3);
		assert_int_equal(setxattr(dir, PLY_ACL_DEFAULT, def.val, def.len, 0), 0);
		make_file(mode);
		get_acl(PLY_ACL_ACCESS, &kernels);
		r = ply_acl_inherit(def.val, def.len, &ours, out.val);
		assert_int_equal(r, kernels.len > 0);
		assert_int_equal(ours, mode_of(path));
		if (r)
			assert_memory_equal(out.val, kernels.val, def.len);
	}
	removexattr(dir, PLY_ACL_DEFAULT);
}

static void chmod_changes_it_as_the_kernels(void **state)
{
	uint64_t seed = 42;

	(void)state;
	if (!have_acls())
		skip();
	make_file(0600);
	for (int round = 0; round < 4000; round++) {
		mode_t mode = (mode_t)(rnd(&seed) & 0777);
		struct acl a, kernels;

		acl_random(&a, &seed, true);
		assert_int_equal(setxattr(path, PLY_ACL_ACCESS, a.val, a.len, 0), 0);
		assert_int_equal(chmod(path, mode), 0);
		get_acl(PLY_ACL_ACCESS, &kernels);
		assert_int_equal(ply_acl_chmod(a.val, a.len, mode), 0);
		assert_int_equal(a.len, kernels.len);
		assert_memory_equal(a.val, kernels.val, a.len);
	}
}

static void an_acl_sets_the_mode_as_the_kernels(void **state)
{
	uint64_t seed = 23;

	(void)state;
	if (!have_acls())
		skip();
	for (int round = 0; round < 4000; round++) {
		mode_t ours;
		struct acl a, kernels;
		int r;

		make_file((mode_t)(rnd(&seed) & 0777));
		ours = mode_of(path);
		acl_random(&a, &seed, round % 3);
		assert_int_equal(setxattr(path, PLY_ACL_ACCESS, a.val, a.len, 0), 0);
		get_acl(PLY_ACL_ACCESS, &kernels);
		r = ply_acl_equiv_mode(a.val, a.len, &ours);
		assert_int_equal(r, kernels.len > 0);
		assert_int_equal(ours, mode_of(path));
	}
}

static void no_entries_mean_no_acl(void **state)
{
	mode_t mode = S_IFREG | 0640;
	struct acl a;

	(void)state;
	acl_start(&a);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(ply_acl_check(a.val, a.len), 0);
		assert_int_equal(ply_acl_inherit(a.val, a.len, &mode, NULL), 0);
		assert_int_equal(ply_acl_equiv_mode(a.val, a.len, &mode), 0);
		assert_int_equal(ply_acl_chmod(a.val, a.len, 0777), 0);
		assert_int_equal(mode, S_IFREG | 0640);
		a.len = 0;
	}
}

static void broken_acls_change_nothing(void **state)
{
	mode_t mode = S_IFREG | 0640;
	struct acl a, out = { 0 };

	(void)state;
	acl_start(&a);
	acl_add(&a, ACL_USER_OBJ, 7, NO_ID);
	acl_add(&a, ACL_GROUP_OBJ, 7, NO_ID);
	acl_add(&a, ACL_OTHER, 7, NO_ID);
	for (size_t len = 1; len < a.len; len++) {
		void *copy = exact(a.val, len);

		if (len != 4) {
			assert_int_equal(ply_acl_inherit(copy, len, &mode, out.val), -EINVAL);
			assert_int_equal(ply_acl_equiv_mode(copy, len, &mode), -EINVAL);
			assert_int_equal(ply_acl_chmod(copy, len, 0), -EINVAL);
		}
		assert_memory_equal(copy, a.val, len);
		free(copy);
	}
	assert_int_equal(mode, S_IFREG | 0640);
}

static int64_t map_by_table(void *arg, uint32_t id, int is_gid)
{
	(void)arg;
	if (id == 1001)
		return -1;
	return is_gid ? (int64_t)id + 50000 : id == 3000 ? (int64_t)UINT32_MAX : id + 100000;
}

static void ids_are_mapped_all_or_none(void **state)
{
	struct acl a, want, before;

	(void)state;
	acl_start(&a);
	acl_start(&want);
	acl_add(&a, ACL_USER_OBJ, 7, NO_ID);
	acl_add(&want, ACL_USER_OBJ, 7, NO_ID);
	acl_add(&a, ACL_USER, 5, 1000);
	acl_add(&want, ACL_USER, 5, 101000);
	acl_add(&a, ACL_GROUP_OBJ, 7, NO_ID);
	acl_add(&want, ACL_GROUP_OBJ, 7, NO_ID);
	acl_add(&a, ACL_GROUP, 1, 2000);
	acl_add(&want, ACL_GROUP, 1, 52000);
	acl_add(&a, ACL_MASK, 7, NO_ID);
	acl_add(&want, ACL_MASK, 7, NO_ID);
	acl_add(&a, ACL_OTHER, 0, NO_ID);
	acl_add(&want, ACL_OTHER, 0, NO_ID);
	assert_int_equal(ply_acl_map(a.val, a.len, map_by_table, NULL), 0);
	assert_memory_equal(a.val, want.val, a.len);
	for (int bad = 0; bad < 2; bad++) {
		acl_start(&a);
		acl_add(&a, ACL_USER_OBJ, 7, NO_ID);
		acl_add(&a, ACL_USER, 5, 1000);
		acl_add(&a, ACL_USER, 5, bad ? 1001 : 3000);
		acl_add(&a, ACL_GROUP_OBJ, 7, NO_ID);
		acl_add(&a, ACL_MASK, 7, NO_ID);
		acl_add(&a, ACL_OTHER, 0, NO_ID);
		before = a;
		assert_int_equal(ply_acl_map(a.val, a.len, map_by_table, NULL), -EINVAL);
		assert_memory_equal(a.val, before.val, a.len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_is_the_kernels),
		cmocka_unit_test(a_new_file_inherits_as_the_kernels),
		cmocka_unit_test(chmod_changes_it_as_the_kernels),
		cmocka_unit_test(an_acl_sets_the_mode_as_the_kernels),
		cmocka_unit_test(no_entries_mean_no_acl),
		cmocka_unit_test(broken_acls_change_nothing),
		cmocka_unit_test(ids_are_mapped_all_or_none),
	};

	return cmocka_run_group_tests_name("acl", tests, setup, teardown);
}
