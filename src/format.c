// SPDX-License-Identifier: GPL-2.0-or-later
#include "format.h"

#include "util.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define OVL_XATTR_NAMES(prefix) {		\
	[OVL_OPAQUE] = prefix "opaque",		\
	[OVL_REDIRECT] = prefix "redirect",	\
	[OVL_ORIGIN] = prefix "origin",		\
	[OVL_IMPURE] = prefix "impure",		\
	[OVL_NLINK] = prefix "nlink",		\
	[OVL_UPPER] = prefix "upper",		\
	[OVL_UUID] = prefix "uuid",		\
	[OVL_METACOPY] = prefix "metacopy",	\
	[OVL_PROTATTR] = prefix "protattr",	\
	[OVL_WHITEOUT_ATTR] = prefix "whiteout"	\
}

static const char *const ovl_prefix[] = {
	[PLY_XNS_TRUSTED] = "trusted.overlay.",
	[PLY_XNS_USER] = "user.overlay.",
};

/* Inside an own prefix this marks an attribute of an overlay that is nested in ours. */
#define OVL_ESCAPE "overlay."

static bool has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

const char *ply_format_attr(enum ply_xns xns, enum ply_ovl_attr attr)
{
	static const char *const trusted[OVL_ATTR_COUNT] = OVL_XATTR_NAMES("trusted.overlay.");
	static const char *const user[OVL_ATTR_COUNT] = OVL_XATTR_NAMES("user.overlay.");

	return xns == PLY_XNS_USER ? user[attr] : trusted[attr];
}

/* What fuse-overlayfs and containers/storage keep in layers. */
static bool is_foreign_private(const char *name)
{
	return has_prefix(name, "user.fuseoverlayfs.") ||
	       has_prefix(name, "security.fuseoverlayfs.") ||
	       has_prefix(name, "user.containers.override_");
}

bool ply_format_is_escaped(enum ply_xns xns, const char *name)
{
	return has_prefix(name, ovl_prefix[xns]) &&
	       has_prefix(name + strlen(ovl_prefix[xns]), OVL_ESCAPE);
}

bool ply_format_is_private(enum ply_xns xns, const char *name)
{
	if (has_prefix(name, ovl_prefix[xns]))
		return !ply_format_is_escaped(xns, name);
	return is_foreign_private(name);
}

int ply_format_escape(enum ply_xns xns, const char *name, char out[256])
{
	size_t prefix = strlen(ovl_prefix[xns]), len = strlen(name);
	bool own = has_prefix(name, ovl_prefix[xns]);

	if (is_foreign_private(name))
		return -EOPNOTSUPP;
	if (len + (own ? strlen(OVL_ESCAPE) : 0) > XATTR_NAME_MAX)
		return -ERANGE;
	if (!own) {
		memcpy(out, name, len + 1);
		return 0;
	}
	memcpy(out, ovl_prefix[xns], prefix);
	memcpy(out + prefix, OVL_ESCAPE, strlen(OVL_ESCAPE));
	memcpy(out + prefix + strlen(OVL_ESCAPE), name + prefix, len - prefix + 1);
	return 0;
}

int ply_format_unescape(enum ply_xns xns, const char *name, char out[256])
{
	size_t prefix = strlen(ovl_prefix[xns]), len = strlen(name);

	if (ply_format_is_private(xns, name) || len > XATTR_NAME_MAX)
		return -ENODATA;
	if (!ply_format_is_escaped(xns, name)) {
		memcpy(out, name, len + 1);
		return 0;
	}
	memcpy(out, name, prefix);
	memcpy(out + prefix, name + prefix + strlen(OVL_ESCAPE),
	       len - prefix - strlen(OVL_ESCAPE) + 1);
	return 0;
}

int ply_format_opaque(const void *val, size_t len)
{
	const char *v = val;

	return len == 1 && (*v == 'y' || *v == 'x') ? *v : 0;
}

static bool is_dot_or_dotdot(const char *s, size_t len)
{
	return (len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.');
}

int ply_format_redirect(const char *val, size_t len, bool *absolute)
{
	const char *p = val, *end = val + len;
	bool abs;

	if (!len || len > XATTR_SIZE_MAX || memchr(val, 0, len))
		return -EINVAL;
	abs = *p == '/';
	if (abs)
		p++;
	else if (memchr(val, '/', len))
		return -EINVAL;
	for (;;) {
		const char *slash = memchr(p, '/', (size_t)(end - p));
		size_t n = (size_t)((slash ? slash : end) - p);

		if (!n || is_dot_or_dotdot(p, n))
			return -EINVAL;
		if (!slash)
			break;
		p = slash + 1;
	}
	*absolute = abs;
	return 0;
}

/* struct ovl_metacopy: version, len of all, flags, digest_algo, digest[]. */
#define METACOPY_HEADER 4

int ply_format_metacopy(const void *val, size_t len, struct ply_metacopy *out)
{
	struct ply_metacopy m = { 0 };
	const uint8_t *v = val;

	if (len) {
		if (len < METACOPY_HEADER || len > METACOPY_HEADER + sizeof(m.digest) ||
		    v[0] != 0 || v[1] != len)
			return -EINVAL;
		m.flags = v[2];
		m.digest_algo = v[3];
		m.digest_len = (uint8_t)(len - METACOPY_HEADER);
		memcpy(m.digest, v + METACOPY_HEADER, m.digest_len);
	}
	*out = m;
	return 0;
}

/* struct ovl_fb: version, magic, len of all, flags, type, uuid[16], fid[]. */
#define OVL_FH_VERSION 0
#define OVL_FH_MAGIC 0xfb
#define OVL_FH_HEADER 21
#define OVL_FH_FLAG_BIG_ENDIAN 1
#define OVL_FH_FLAG_ANY_ENDIAN 2
#define OVL_FH_FLAG_PATH_UPPER 4
#define OVL_FH_FLAG_ALL 7

#if __BYTE_ORDER == __BIG_ENDIAN
#define OVL_FH_FLAG_CPU_ENDIAN OVL_FH_FLAG_BIG_ENDIAN
#else
#define OVL_FH_FLAG_CPU_ENDIAN 0
#endif

int ply_format_fh_parse(const void *val, size_t len, struct ply_fh *out)
{
	const uint8_t *v = val;
	struct ply_fh fh = { 0 };

	if (!len)
		return -ENODATA;
	if (len < OVL_FH_HEADER || v[2] < OVL_FH_HEADER || len < v[2] || v[1] != OVL_FH_MAGIC ||
	    v[2] - OVL_FH_HEADER > PLY_FH_MAX)
		return -EINVAL;
	if (v[0] > OVL_FH_VERSION || (v[3] & ~OVL_FH_FLAG_ALL))
		return -ENODATA;
	fh.foreign = !(v[3] & OVL_FH_FLAG_ANY_ENDIAN) &&
		     (v[3] & OVL_FH_FLAG_BIG_ENDIAN) != OVL_FH_FLAG_CPU_ENDIAN;
	fh.is_upper = v[3] & OVL_FH_FLAG_PATH_UPPER;
	fh.type = v[4];
	memcpy(fh.uuid, v + 5, sizeof(fh.uuid));
	fh.len = (uint8_t)(v[2] - OVL_FH_HEADER);
	memcpy(fh.fid, v + OVL_FH_HEADER, fh.len);
	*out = fh;
	return 0;
}

size_t ply_format_fh_build(const struct ply_fh *fh, uint8_t out[21 + PLY_FH_MAX])
{
	size_t fid = ply_min(fh->len, PLY_FH_MAX);

	out[0] = OVL_FH_VERSION;
	out[1] = OVL_FH_MAGIC;
	out[2] = (uint8_t)(OVL_FH_HEADER + fid);
	out[3] = OVL_FH_FLAG_CPU_ENDIAN ^ (fh->foreign ? OVL_FH_FLAG_BIG_ENDIAN : 0);
	if (fh->is_upper)
		out[3] |= OVL_FH_FLAG_PATH_UPPER;
	out[4] = fh->type;
	memcpy(out + 5, fh->uuid, sizeof(fh->uuid));
	memcpy(out + OVL_FH_HEADER, fh->fid, fid);
	return OVL_FH_HEADER + fid;
}

int ply_format_index_name(const struct ply_fh *fh, char out[PLY_INDEX_NAME_MAX])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t rec[OVL_FH_HEADER + PLY_FH_MAX];
	size_t len = ply_format_fh_build(fh, rec);

	if (2 * len > NAME_MAX)
		return -ENAMETOOLONG;
	for (size_t i = 0; i < len; i++) {
		out[2 * i] = hex[rec[i] >> 4];
		out[2 * i + 1] = hex[rec[i] & 15];
	}
	out[2 * len] = 0;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int ply_format_index_parse(const char *name, struct ply_fh *out)
{
	uint8_t rec[NAME_MAX / 2];
	size_t len = strlen(name);

	if (len % 2 || len / 2 > sizeof(rec) || len / 2 < OVL_FH_HEADER)
		return -EINVAL;
	len /= 2;
	for (size_t i = 0; i < len; i++) {
		int hi = hex_digit(name[2 * i]), lo = hex_digit(name[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		rec[i] = (uint8_t)(hi << 4 | lo);
	}
	/* A value may have a tail that is ignored; two names for one record may not be. */
	if (rec[2] != len)
		return -EINVAL;
	return ply_format_fh_parse(rec, len, out);
}

/* Unsigned number of the whole of [p, end); bounded so that nothing overflows. */
static int parse_number(const char *p, const char *end, int base, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (p == end)
		return -EINVAL;
	for (; p < end; p++) {
		int d = *p - '0';

		if (d < 0 || d >= base)
			return -EINVAL;
		v = v * (uint64_t)base + (uint64_t)d;
		if (v > max)
			return -EINVAL;
	}
	*out = v;
	return 0;
}

int ply_format_nlink_parse(const char *val, size_t len, bool *relative_to_upper, int *diff)
{
	uint64_t n;

	if (len < 3 || (val[0] != 'U' && val[0] != 'L') || (val[1] != '+' && val[1] != '-') ||
	    parse_number(val + 2, val + len, 10, INT_MAX, &n) < 0)
		return -EINVAL;
	*relative_to_upper = val[0] == 'U';
	*diff = val[1] == '-' ? -(int)n : (int)n;
	return 0;
}

size_t ply_format_nlink_build(bool relative_to_upper, int diff, char out[16])
{
	return (size_t)snprintf(out, 16, "%c%+d", relative_to_upper ? 'U' : 'L', diff);
}

bool ply_format_is_aufs_reserved(const char *name)
{
	return has_prefix(name, PLY_AUFS_PREFIX PLY_AUFS_PREFIX);
}

const char *ply_format_aufs_whiteout(const char *name)
{
	const char *inner = name + strlen(PLY_AUFS_PREFIX);

	if (!has_prefix(name, PLY_AUFS_PREFIX) || ply_format_is_aufs_reserved(name))
		return NULL;
	return *inner && !is_dot_or_dotdot(inner, strlen(inner)) ? inner : NULL;
}

/* "block-8-1", "char-1-3"; further "-" parts are for a future that we don't know. */
static int override_parse_device(const char *p, const char *end, struct ply_override *o)
{
	const char *dash = memchr(p, '-', (size_t)(end - p)), *next;
	uint64_t n;

	if (!dash || parse_number(p, dash, 10, UINT32_MAX, &n) < 0)
		return -EINVAL;
	o->major = (uint32_t)n;
	dash++;
	next = memchr(dash, '-', (size_t)(end - dash));
	if (parse_number(dash, next ? next : end, 10, UINT32_MAX, &n) < 0)
		return -EINVAL;
	o->minor = (uint32_t)n;
	return 0;
}

static const struct {
	const char *word;
	mode_t fmt;
} override_types[] = {
	{ "file", S_IFREG }, { "dir", S_IFDIR }, { "symlink", S_IFLNK },
	{ "pipe", S_IFIFO }, { "socket", S_IFSOCK }, { "block-", S_IFBLK }, { "char-", S_IFCHR },
};

static int override_parse_type(const char *p, const char *end, struct ply_override *o)
{
	size_t len = (size_t)(end - p);

	for (size_t i = 0; i < PLY_ARRAY_SIZE(override_types); i++) {
		size_t n = strlen(override_types[i].word);
		bool device = override_types[i].word[n - 1] == '-';

		if (len < n || (!device && len != n) || memcmp(p, override_types[i].word, n) != 0)
			continue;
		o->mode = (o->mode & 07777) | override_types[i].fmt;
		o->has_type = true;
		return device ? override_parse_device(p + n, end, o) : 0;
	}
	return -EINVAL;
}

static bool is_file_type(uint32_t fmt)
{
	for (size_t i = 0; i < PLY_ARRAY_SIZE(override_types); i++)
		if (override_types[i].fmt == fmt)
			return true;
	return false;
}

int ply_format_override_parse(const char *val, size_t len, struct ply_override *out)
{
	const char *field[5], *end = val + len;
	struct ply_override o = { 0 };
	uint64_t uid, gid, mode;
	size_t n = 0;

	if (!len || len >= PLY_OVERRIDE_MAX)
		return -EINVAL;
	/* field[i]..field[i + 1] - 1; what follows a fourth field is for a future that we don't know. */
	field[n++] = val;
	for (const char *p = val; n < 5; p++) {
		p = p < end ? memchr(p, ':', (size_t)(end - p)) : NULL;
		if (!p)
			break;
		field[n++] = p + 1;
	}
	if (n < 3)
		return -EINVAL;
	if (n < 5)
		field[n] = end + 1;
	if (parse_number(field[0], field[1] - 1, 10, UINT32_MAX - 1, &uid) < 0 ||
	    parse_number(field[1], field[2] - 1, 10, UINT32_MAX - 1, &gid) < 0 ||
	    parse_number(field[2], field[3] - 1, 8, 0177777, &mode) < 0)
		return -EINVAL;
	o.uid = (uint32_t)uid;
	o.gid = (uint32_t)gid;
	o.mode = (uint32_t)mode;
	if (o.mode & S_IFMT) {
		if (!is_file_type(o.mode & S_IFMT))
			return -EINVAL;
		o.has_type = true;
	}
	if (n > 3) {
		int r = override_parse_type(field[3], field[4] - 1, &o);

		if (r < 0)
			return r;
	}
	*out = o;
	return 0;
}

size_t ply_format_override_build(const struct ply_override *o, char out[PLY_OVERRIDE_MAX])
{
	int n = snprintf(out, PLY_OVERRIDE_MAX, "%u:%u:0%o", o->uid, o->gid, o->mode & 07777);

	if (!o->has_type)
		return (size_t)n;
	for (size_t i = 0; i < PLY_ARRAY_SIZE(override_types); i++) {
		mode_t fmt = override_types[i].fmt;

		if ((o->mode & S_IFMT) != fmt)
			continue;
		n += snprintf(out + n, PLY_OVERRIDE_MAX - (size_t)n, ":%s", override_types[i].word);
		if (fmt == S_IFBLK || fmt == S_IFCHR)
			n += snprintf(out + n, PLY_OVERRIDE_MAX - (size_t)n, "%u-%u",
				      o->major, o->minor);
	}
	return (size_t)n;
}

/* struct vfs_cap_data and vfs_ns_cap_data of linux/capability.h, little endian. */
#define CAP_REVISION(magic) ((magic) >> 24)
#define CAP_V3_ROOTID 20
#define CAP_V3_SIZE 24

static int cap_check_v3(const void *val, size_t len)
{
	static const size_t size[] = { 0, 12, 20, CAP_V3_SIZE };
	uint32_t magic;

	if (len < sizeof(magic))
		return -EINVAL;
	memcpy(&magic, val, sizeof(magic));
	magic = CAP_REVISION(le32toh(magic));
	if (magic < 1 || magic > 3 || len != size[magic])
		return -EINVAL;
	return magic == 3 ? 0 : -ENODATA;
}

int ply_format_cap_rootid(const void *val, size_t len, uint32_t *rootid)
{
	int r = cap_check_v3(val, len);
	uint32_t id;

	if (r < 0)
		return r;
	memcpy(&id, (const char *)val + CAP_V3_ROOTID, sizeof(id));
	*rootid = le32toh(id);
	return 0;
}

int ply_format_cap_set_rootid(void *val, size_t len, uint32_t rootid)
{
	int r = cap_check_v3(val, len);

	if (r < 0)
		return r;
	rootid = htole32(rootid);
	memcpy((char *)val + CAP_V3_ROOTID, &rootid, sizeof(rootid));
	return 0;
}

size_t ply_format_cap_widen(char val[PLY_CAP_MAX], size_t len)
{
	uint32_t magic;

	if (len != CAP_V3_ROOTID || cap_check_v3(val, len) != -ENODATA)
		return len;
	memcpy(&magic, val, sizeof(magic));
	magic = htole32((le32toh(magic) & 0xffffffu) | 3u << 24);
	memcpy(val, &magic, sizeof(magic));
	memset(val + CAP_V3_ROOTID, 0, sizeof(uint32_t));
	return CAP_V3_SIZE;
}
