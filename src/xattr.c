// SPDX-License-Identifier: GPL-2.0-or-later
#include "xattr.h"
#include "acl.h"
#include "attr.h"
#include "copyup.h"
#include "log.h"

#include <errno.h>
#include <sys/xattr.h>

#define XATTR_TRUSTED "trusted."
#define XATTR_MAX 65536			/* XATTR_SIZE_MAX, XATTR_LIST_MAX */

/* Does this mount have such attributes at all? */
static bool xattr_is_off(const struct ply_fs *fs, const char *name)
{
	return fs->opt->noxattrs || (fs->opt->noacl && ply_xattr_is_acl(name));
}

#define XATTR_CAPS "security.capability"

/* ---- reading ---- */

/*
 * A file may be unlinked between being located and being used. It was pinned before, so
 * the second try does not need the name any more.
 */
#define XATTR_TRIES 2

static ssize_t xattr_get_once(struct ply_fs *fs, struct ply_node *n, const char *name, void *val, size_t size)
{
	ply_autoloc loc = PLY_LOC_INIT;
	char disk[256];
	ssize_t len;
	int r;

	r = ply_node_locate(fs->graph, n, &loc);
	if (r)
		return r;
	r = ply_xattr_to_disk(loc.layer, name, disk);
	if (r)
		return r == -EOPNOTSUPP ? -ENODATA : r;
	len = ply_sys_getxattr(loc.at, disk, val, size);
	if (len > 0 && size && loc.layer->uids) {
		r = ply_xattr_map_value(fs, name, val, (size_t)len, true);
		if (r)
			return r;
	}
	/* A layer that knows no attributes has none: to anything else the kernel fails every permission check. */
	return len == -EOPNOTSUPP && (ply_xattr_is_acl(name) || !loc.layer->is_upper) ? -ENODATA : len;
}

/* Caller holds tree. */
static ssize_t xattr_get_at(struct ply_fs *fs, struct ply_node *n, const char *name, void *val, size_t size)
{
	ssize_t len = -ENOENT;
	int i;

	for (i = 0; i < XATTR_TRIES && len == -ENOENT; i++)
		len = xattr_get_once(fs, n, name, val, size);
	return len;
}

/*
 * File capabilities of revision 2 name no root: they are those of root on disk. Where that one shows as another, they
 * become revision 3, as the kernel does it on idmapped mounts.
 */
static ssize_t xattr_get_caps(struct ply_fs *fs, struct ply_node *n, void *val, size_t size)
{
	char buf[PLY_CAP_MAX];
	ssize_t len = xattr_get_at(fs, n, XATTR_CAPS, buf, sizeof(buf));
	int r;

	if (len <= 0)
		return len;
	if (ply_idmap_show(&fs->opt->uids, 0) != 0)
		len = (ssize_t)ply_format_cap_widen(buf, (size_t)len);
	r = ply_xattr_map_value(fs, XATTR_CAPS, buf, (size_t)len, false);
	if (r || !size)
		return r ? r : len;
	if ((size_t)len > size)
		return -ERANGE;
	memcpy(val, buf, (size_t)len);
	return len;
}

ssize_t ply_xattr_get(struct ply_fs *fs, struct ply_node *node, const char *name, void *val, size_t size)
{
	ply_autonode(cur, fs, ply_node_current(fs->graph, node));
	ssize_t len;
	int r;

	if (xattr_is_off(fs, name))
		return -EOPNOTSUPP;

	PLY_RDLOCK(tree, &fs->tree);
	if (fs->map_ids && !strcmp(name, XATTR_CAPS))
		return xattr_get_caps(fs, cur.n, val, size);
	len = xattr_get_at(fs, cur.n, name, val, size);
	if (len <= 0 || !size)
		return len;
	r = ply_xattr_map_value(fs, name, val, (size_t)len, false);
	return r ? r : len;
}

/* Translates a list of the layer in place: never longer than it was, since only prefixes are taken away. */
static size_t xattr_filter_list(struct ply_fs *fs, const struct ply_layer *l, char *list, size_t len)
{
	char *in = list, *out = list, *end = list + len;
	char user[256];

	while (in < end) {
		size_t n = strlen(in) + 1;

		if (!ply_xattr_to_user(l, in, user) && !xattr_is_off(fs, user)) {
			size_t m = strlen(user) + 1;

			memcpy(out, user, m);
			out += m;
		}
		in += n;
	}
	return (size_t)(out - list);
}

static ssize_t xattr_list_once(struct ply_fs *fs, struct ply_node *n, char **list)
{
	ply_autoloc loc = PLY_LOC_INIT;
	ssize_t len = ply_node_locate(fs->graph, n, &loc);

	if (!len)
		len = ply_sys_listxattr_alloc(loc.at, list);
	if (len > 0)
		len = (ssize_t)xattr_filter_list(fs, loc.layer, *list, (size_t)len);
	return len;
}

ssize_t ply_xattr_list(struct ply_fs *fs, struct ply_node *node, char **list)
{
	ply_autonode(cur, fs, ply_node_current(fs->graph, node));
	ssize_t len = -ENOENT;
	int i;

	if (fs->opt->noxattrs)
		return -EOPNOTSUPP;

	PLY_RDLOCK(tree, &fs->tree);
	for (i = 0; i < XATTR_TRIES && len == -ENOENT; i++)
		len = xattr_list_once(fs, cur.n, list);
	return len;
}

static bool xattr_is_trusted(const char *name)
{
	return !strncmp(name, XATTR_TRUSTED, strlen(XATTR_TRUSTED));
}

bool ply_xattr_list_has_trusted(const char *list, size_t len)
{
	const char *p;

	for (p = list; p < list + len; p += strlen(p) + 1)
		if (xattr_is_trusted(p))
			return true;
	return false;
}

size_t ply_xattr_list_hide_trusted(char *list, size_t len)
{
	char *in = list, *out = list, *end = list + len;

	while (in < end) {
		size_t n = strlen(in) + 1;

		if (!xattr_is_trusted(in)) {
			memmove(out, in, n);
			out += n;
		}
		in += n;
	}
	return (size_t)(out - list);
}

/* ---- writing ---- */

struct xattr_change {
	struct ply_fs *fs;
	struct ply_node *n;		/* current, in upper */
	const char *name;		/* as users say it */
	const void *val;		/* NULL: remove; ids as on disk */
	size_t size;
	int flags;
	bool kill_sgid;
};

/*
 * The filesystem gave the inode the mode that the ACL implies. What is left to do: sgid
 * for a caller outside the group, and the mode that users see where override_stat keeps it.
 */
static int xattr_follow_acl(struct xattr_change *c, struct ply_at at)
{
	mode_t mode;
	struct stat st;
	int r = ply_layer_stat(c->fs->layers.upper, at, &st);

	if (r)
		return r;
	mode = st.st_mode;
	if (ply_attr_has_override(c->fs) && c->val) {
		r = ply_acl_equiv_mode(c->val, c->size, &mode);
		if (r < 0)
			return r;
	}
	if (c->kill_sgid)
		mode &= ~(mode_t)S_ISGID;
	if (mode == st.st_mode)
		return 0;
	if (ply_attr_has_override(c->fs))
		return ply_attr_write_override(c->fs, at, st.st_uid, st.st_gid, c->n->type | (mode & 07777),
					       st.st_rdev);
	return ply_sys_chmod(at, mode & 07777);
}

static int xattr_apply_once(struct xattr_change *c)
{
	ply_autoloc loc = PLY_LOC_INIT;
	char disk[256];
	int r;

	r = ply_node_locate(c->fs->graph, c->n, &loc);
	if (r)
		return r;
	if (PLY_WARN_ON(!loc.layer->is_upper))
		return -EIO;
	r = ply_xattr_to_disk(loc.layer, c->name, disk);
	if (r)
		return r;
	ply_creds_fsetid(true);		/* an ACL must not cost the sgid bit of a group that is not ours */
	if (c->val)
		r = ply_sys_setxattr(loc.at, disk, c->val, c->size, c->flags);
	else
		r = ply_sys_removexattr(loc.at, disk);
	if (!r && c->val && !strcmp(c->name, PLY_ACL_ACCESS) &&
	    (c->kill_sgid || ply_attr_has_override(c->fs)))
		r = xattr_follow_acl(c, loc.at);
	return r;
}

static int xattr_apply(struct xattr_change *c)
{
	int i, r = -ENOENT;

	PLY_RDLOCK(tree, &c->fs->tree);
	for (i = 0; i < XATTR_TRIES && r == -ENOENT; i++)
		r = xattr_apply_once(c);
	return r;
}

/* What will be refused is refused before a copy is made for it. */
static int xattr_check(struct xattr_change *c, struct ply_node *n)
{
	ssize_t have;
	char disk[256];
	int r;

	if (!ply_fs_writable(c->fs))
		return -EROFS;
	if (xattr_is_off(c->fs, c->name))
		return -EOPNOTSUPP;
	if (c->size > XATTR_MAX)
		return -E2BIG;
	r = ply_xattr_to_disk(c->fs->layers.upper, c->name, disk);
	if (r)
		return r;
	if (c->val && !(c->flags & (XATTR_CREATE | XATTR_REPLACE)))
		return 0;

	PLY_RDLOCK(tree, &c->fs->tree);
	have = xattr_get_at(c->fs, n, c->name, NULL, 0);
	if (c->val && (c->flags & XATTR_CREATE))
		return have >= 0 ? -EEXIST : have == -ENODATA ? 0 : (int)have;
	return have < 0 ? (int)have : 0;
}

static int xattr_change(struct xattr_change *c, struct ply_node *node)
{
	struct ply_node *cur;
	int r;

	ply_autonode(first, c->fs, ply_node_current(c->fs->graph, node));
	r = xattr_check(c, first.n);
	if (!r)
		r = ply_copyup_current(c->fs, first.n, PLY_COPYUP_META, &cur);
	if (r)
		return r;

	ply_autonode(ref, c->fs, cur);
	c->n = ref.n;
	/*
	 * An ACL changes the mode in override_stat: read, modify, write, one at a time. And filling in a metacopy's
	 * data puts back what was there before.
	 */
	if (!(ply_xattr_is_acl(c->name) && ply_attr_has_override(c->fs)) &&
	    !(atomic_load(&c->n->flags) & PLY_N_METACOPY))
		return xattr_apply(c);
	r = ply_node_copyup_lock(c->fs->graph, c->n);
	if (r)
		return r;
	r = xattr_apply(c);
	ply_node_copyup_unlock(c->fs->graph, c->n);
	return r;
}

int ply_xattr_set(struct ply_fs *fs, struct ply_node *n, const char *name, const void *val, size_t size,
		  int flags, bool kill_sgid)
{
	struct xattr_change c = {
		.fs = fs, .name = name, .val = val ? val : "", .size = size, .flags = flags, .kill_sgid = kill_sgid,
	};
	ply_autofree void *copy = NULL;
	int r;

	if (fs->map_ids && size && size <= XATTR_MAX) {
		copy = malloc(size);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, val, size);
		r = ply_xattr_map_value(fs, name, copy, size, true);
		if (r)
			return r;
		c.val = copy;
	}
	return xattr_change(&c, n);
}

int ply_xattr_remove(struct ply_fs *fs, struct ply_node *n, const char *name)
{
	struct xattr_change c = { .fs = fs, .name = name };

	return xattr_change(&c, n);
}
