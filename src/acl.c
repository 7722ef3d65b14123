// SPDX-License-Identifier: GPL-2.0-or-later
#include "acl.h"

#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#define ACL_HEADER sizeof(struct posix_acl_xattr_header)
#define ACL_ENTRY sizeof(struct posix_acl_xattr_entry)
#define RWX (ACL_READ | ACL_WRITE | ACL_EXECUTE)
#define RWX_ALL ((mode_t)(S_IRWXU | S_IRWXG | S_IRWXO))

/* A value need not be aligned: entries are read and written through copies. */
struct entry {
	unsigned int tag, perm;
	uint32_t id;
};

static size_t acl_count(size_t len)
{
	return len < ACL_HEADER ? 0 : (len - ACL_HEADER) / ACL_ENTRY;
}

static struct entry acl_get(const void *val, size_t i)
{
	struct posix_acl_xattr_entry e;

	memcpy(&e, (const char *)val + ACL_HEADER + i * ACL_ENTRY, sizeof(e));
	return (struct entry){ le16toh(e.e_tag), le16toh(e.e_perm), le32toh(e.e_id) };
}

static void acl_put(void *val, size_t i, struct entry x)
{
	struct posix_acl_xattr_entry e = {
		htole16((uint16_t)x.tag), htole16((uint16_t)x.perm), htole32(x.id)
	};

	memcpy((char *)val + ACL_HEADER + i * ACL_ENTRY, &e, sizeof(e));
}

int ply_acl_check(const void *val, size_t len)
{
	/* The tag that may come next, as in the kernel's posix_acl_valid(); 0: complete. */
	unsigned int state = ACL_USER_OBJ;
	bool needs_mask = false;
	uint32_t version;

	if (!len)
		return 0;
	if (len < ACL_HEADER || (len - ACL_HEADER) % ACL_ENTRY)
		return -EINVAL;
	memcpy(&version, val, sizeof(version));
	if (le32toh(version) != POSIX_ACL_XATTR_VERSION)
		return -EINVAL;
	if (!acl_count(len))
		return 0;
	for (size_t i = 0; i < acl_count(len); i++) {
		struct entry e = acl_get(val, i);

		if (e.perm & ~RWX)
			return -EINVAL;
		switch (e.tag) {
		case ACL_USER_OBJ:
			if (state != ACL_USER_OBJ)
				return -EINVAL;
			state = ACL_USER;
			break;
		case ACL_USER:
			if (state != ACL_USER || e.id == UINT32_MAX)
				return -EINVAL;
			needs_mask = true;
			break;
		case ACL_GROUP_OBJ:
			if (state != ACL_USER)
				return -EINVAL;
			state = ACL_GROUP;
			break;
		case ACL_GROUP:
			if (state != ACL_GROUP || e.id == UINT32_MAX)
				return -EINVAL;
			needs_mask = true;
			break;
		case ACL_MASK:
			if (state != ACL_GROUP)
				return -EINVAL;
			state = ACL_OTHER;
			break;
		case ACL_OTHER:
			if (state != ACL_OTHER && (state != ACL_GROUP || needs_mask))
				return -EINVAL;
			state = 0;
			break;
		default:
			return -EINVAL;
		}
	}
	return state ? -EINVAL : 0;
}

/* The entry that the group bits of the mode stand for: the mask if there is one. */
static size_t acl_group_class(const void *val, size_t n)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned int tag = acl_get(val, i).tag;

		if (tag == ACL_MASK)
			return i;
		if (tag == ACL_GROUP_OBJ)
			found = i;
	}
	return found;
}

/* How far up the mode an entry's bits stand; -1: not in the mode. */
static int acl_shift(const void *val, size_t group_class, size_t i)
{
	unsigned int tag = acl_get(val, i).tag;

	if (tag == ACL_USER_OBJ)
		return 6;
	if (tag == ACL_OTHER)
		return 0;
	return i == group_class ? 3 : -1;
}

/* More than three entries, or a mask: the mode does not say it all. */
static bool acl_is_extended(const void *val, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned int tag = acl_get(val, i).tag;

		if (tag == ACL_USER || tag == ACL_GROUP || tag == ACL_MASK)
			return true;
	}
	return false;
}

int ply_acl_inherit(const void *val, size_t len, mode_t *mode, void *out)
{
	size_t n = acl_count(len), group_class;
	mode_t kept = 0;
	int r = ply_acl_check(val, len);

	if (r < 0 || !n)
		return r;
	group_class = acl_group_class(val, n);
	memcpy(out, val, len);
	for (size_t i = 0; i < n; i++) {
		int shift = acl_shift(val, group_class, i);
		struct entry e = acl_get(val, i);

		if (shift < 0)
			continue;
		e.perm &= *mode >> shift;
		kept |= e.perm << shift;
		acl_put(out, i, e);
	}
	*mode = (*mode & ~RWX_ALL) | kept;
	return acl_is_extended(val, n);
}

int ply_acl_chmod(void *val, size_t len, mode_t mode)
{
	size_t n = acl_count(len), group_class;
	int r = ply_acl_check(val, len);

	if (r < 0 || !n)
		return r;
	group_class = acl_group_class(val, n);
	for (size_t i = 0; i < n; i++) {
		int shift = acl_shift(val, group_class, i);
		struct entry e = acl_get(val, i);

		if (shift < 0)
			continue;
		e.perm = mode >> shift & RWX;
		acl_put(val, i, e);
	}
	return 0;
}

int ply_acl_equiv_mode(const void *val, size_t len, mode_t *mode)
{
	size_t n = acl_count(len), group_class;
	mode_t bits = 0;
	int r = ply_acl_check(val, len);

	if (r < 0 || !n)
		return r;
	group_class = acl_group_class(val, n);
	for (size_t i = 0; i < n; i++) {
		int shift = acl_shift(val, group_class, i);

		if (shift >= 0)
			bits |= acl_get(val, i).perm << shift;
	}
	*mode = (*mode & ~RWX_ALL) | bits;
	return acl_is_extended(val, n);
}

int ply_acl_map(void *val, size_t len,
		int64_t (*map)(void *arg, uint32_t id, int is_gid), void *arg)
{
	size_t n = acl_count(len);
	int r = ply_acl_check(val, len);

	if (r < 0)
		return r;
	/* First all questions, then the change: a failure leaves the value as it was. */
	for (int store = 0; store < 2; store++) {
		for (size_t i = 0; i < n; i++) {
			struct entry e = acl_get(val, i);
			int64_t id;

			if (e.tag != ACL_USER && e.tag != ACL_GROUP)
				continue;
			id = map(arg, e.id, e.tag == ACL_GROUP);
			if (id < 0 || id >= UINT32_MAX)
				return -EINVAL;
			e.id = (uint32_t)id;
			if (store)
				acl_put(val, i, e);
		}
	}
	return 0;
}
