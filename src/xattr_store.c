// SPDX-License-Identifier: GPL-2.0-or-later
#include "xattr_store.h"
#include "acl.h"

#include <errno.h>

#define XATTR_OVERRIDE "user.containers.override_"
#define XATTR_NAME_LEN 255
#define XATTR_CAPS "security.capability"

static bool xattr_starts(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

/* What an ordinary user may not set on disk, and what override_stat of containers keeps elsewhere. */
static bool xattr_is_privileged(const char *name)
{
	return xattr_starts(name, "security.") || xattr_starts(name, "trusted.");
}

int ply_xattr_to_disk(const struct ply_layer *l, const char *name, char out[256])
{
	size_t len = strlen(name), plen = strlen(XATTR_OVERRIDE);

	if (l->override != PLY_XPERM_CONTAINERS || !xattr_is_privileged(name))
		return ply_format_escape(l->xns, name, out);
	if (plen + len > XATTR_NAME_LEN)
		return -ERANGE;
	memcpy(out, XATTR_OVERRIDE, plen);
	memcpy(out + plen, name, len + 1);
	return 0;
}

int ply_xattr_to_user(const struct ply_layer *l, const char *name, char out[256])
{
	if (l->override != PLY_XPERM_CONTAINERS)
		return ply_format_unescape(l->xns, name, out);
	/* The system's own labels on the file are not the container's. */
	if (xattr_is_privileged(name))
		return -ENODATA;
	if (!xattr_starts(name, XATTR_OVERRIDE))
		return ply_format_unescape(l->xns, name, out);
	name += strlen(XATTR_OVERRIDE);
	if (!xattr_is_privileged(name))
		return -ENODATA;
	memcpy(out, name, strlen(name) + 1);
	return 0;
}

/* ---- ids inside of values ---- */

bool ply_xattr_is_acl(const char *name)
{
	return !strcmp(name, PLY_ACL_ACCESS) || !strcmp(name, PLY_ACL_DEFAULT);
}

static int64_t xattr_show_id(void *arg, uint32_t id, int is_gid)
{
	const struct ply_options *o = arg;

	return ply_idmap_show(is_gid ? &o->gids : &o->uids, id);
}

static int64_t xattr_store_id(void *arg, uint32_t id, int is_gid)
{
	const struct ply_options *o = arg;
	uint32_t disk = ply_idmap_store(is_gid ? &o->gids : &o->uids, id);

	return disk == PLY_ID_INVALID ? -1 : (int64_t)disk;
}

int ply_xattr_map_value(struct ply_fs *fs, const char *name, void *val, size_t len, bool store)
{
	union {
		const struct ply_options *o;
		void *arg;
	} u = { .o = fs->opt };
	uint32_t root;

	if (!fs->map_ids || !len)
		return 0;
	if (ply_xattr_is_acl(name))
		return ply_acl_map(val, len, store ? xattr_store_id : xattr_show_id, u.arg);
	if (strcmp(name, XATTR_CAPS) != 0 || ply_format_cap_rootid(val, len, &root))
		return 0;
	root = store ? ply_idmap_store(&fs->opt->uids, root) : ply_idmap_show(&fs->opt->uids, root);
	if (root == PLY_ID_INVALID)
		return -EOVERFLOW;
	return ply_format_cap_set_rootid(val, len, root);
}

/* ---- copy-up ---- */

/* May the copy do without? err is what setting it said. */
static bool xattr_may_miss(const char *name, int err)
{
	if (err == -EOPNOTSUPP)
		return true;
	/* Labels that the system gives by itself, or keeps from us; capabilities are not among them. */
	return (err == -EPERM || err == -EACCES) && xattr_is_privileged(name) &&
	       strcmp(name, XATTR_CAPS) != 0;
}

static int xattr_copy_one(struct ply_fs *fs, const struct ply_layer *from, struct ply_at src, struct ply_at dst,
			  const char *disk)
{
	const struct ply_layer *to = fs->layers.upper;
	char user[256], name[256];
	ssize_t len;
	int r;

	r = ply_xattr_to_user(from, disk, user);
	if (r)
		return r == -ENODATA ? 0 : r;
	if (!strcmp(user, "security.evm"))
		return 0;	/* signs the inode that it is on */
	r = ply_xattr_to_disk(to, user, name);
	if (r)
		return r == -EOPNOTSUPP ? 0 : r;

	ply_autofree char *val = NULL;

	len = ply_sys_getxattr_alloc(src, disk, &val);
	if (len < 0)		/* listed, but not for us to read: labels of the system */
		return len == -ENODATA || xattr_may_miss(user, (int)len) ? 0 : (int)len;
	if (from->uids) {
		r = ply_xattr_map_value(fs, user, val, (size_t)len, true);
		if (r)
			return r;
	}
	r = ply_sys_setxattr(dst, name, val, (size_t)len, 0);
	return r && xattr_may_miss(user, r) ? 0 : r;
}

int ply_xattr_copy(struct ply_fs *fs, const struct ply_layer *from, struct ply_at src, struct ply_at dst)
{
	ply_autofree char *list = NULL;
	ssize_t len = ply_sys_listxattr_alloc(src, &list);
	int r;

	if (len < 0)
		return len == -EOPNOTSUPP ? 0 : (int)len;
	for (const char *name = list; name < list + len; name += strlen(name) + 1) {
		r = xattr_copy_one(fs, from, src, dst, name);
		if (r)
			return r;
	}
	return 0;
}

/* ---- inheritance ---- */

/* The default ACL: length, 0 when there is none, -errno. */
static ssize_t xattr_default_acl(struct ply_fs *fs, struct ply_at updir, char **val)
{
	ssize_t len;

	if (fs->opt->noacl || fs->opt->noxattrs)
		return 0;
	len = ply_sys_getxattr_alloc(updir, PLY_ACL_DEFAULT, val);
	return len == -ENODATA || len == -EOPNOTSUPP ? 0 : len;
}

int ply_xattr_has_default_acl(struct ply_fs *fs, struct ply_at updir)
{
	ssize_t len;

	if (fs->opt->noacl || fs->opt->noxattrs)
		return 0;
	len = ply_sys_getxattr(updir, PLY_ACL_DEFAULT, NULL, 0);
	if (len == -ENODATA || len == -EOPNOTSUPP)
		return 0;
	return len < 0 ? (int)len : len > 0;
}

int ply_xattr_inherit(struct ply_fs *fs, struct ply_at updir, struct ply_at dst, mode_t *mode, mode_t umask)
{
	ply_autofree char *def = NULL;
	ply_autofree char *access = NULL;
	mode_t m = *mode;
	ssize_t len;
	int r;

	if (S_ISLNK(m))
		return 0;
	len = xattr_default_acl(fs, updir, &def);
	if (len < 0)
		return (int)len;
	if (!len) {
		*mode = m & ~(umask & 0777);
		return 0;
	}
	access = malloc((size_t)len);
	if (!access)
		return -ENOMEM;
	r = ply_acl_inherit(def, (size_t)len, &m, access);
	if (r > 0)
		r = ply_sys_setxattr(dst, PLY_ACL_ACCESS, access, (size_t)len, 0);
	if (!r && S_ISDIR(m))
		r = ply_sys_setxattr(dst, PLY_ACL_DEFAULT, def, (size_t)len, 0);
	if (!r)
		*mode = m;
	return r;
}
