// SPDX-License-Identifier: GPL-2.0-or-later
#include "optset.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define STATIC_DEFAULT \
	"/usr:/bin:/sbin:/lib:/lib32:/lib64:/libx32:/opt:/boot:/nix/store:/gnu/store"
#define THREADS_MAX 1024

struct word {
	const char *name;
	int value;
};

struct option_def {
	const char *name;
	enum { ARG_NONE, ARG_MAYBE, ARG_NEEDED } arg;
	/* `val` is raw text, or NULL where none was given. */
	int (*set)(struct ply_optset *p, const struct option_def *d, const char *val);
	size_t offset;			/* of the member in struct ply_options, if that is all */
	const struct word *words;
	int value;
	const char *text;
};

int ply_optset_fail(struct ply_optset *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (p->errlen)
		vsnprintf(p->err, p->errlen, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int ply_optset_nomem(struct ply_optset *p)
{
	ply_optset_fail(p, "out of memory while reading the options");
	return -ENOMEM;
}

/* ---- text ---- */

/*
 * One character of a value at *s. True: it was escaped, or is none of the
 * separators. "\:" "\," "\"" and "\\" stand for their second character, "\040"
 * for its byte, and "\\:" for ":" too: that is what people write for
 * fuse-overlayfs, where two readers unescape in turn. Any other backslash is
 * itself: callers that escape nothing have names like "dev-disk\x2dby".
 */
static bool take_char(const char **s, char *out)
{
	const char *c = *s;

	*s += 1;
	*out = c[0];
	if (c[0] != '\\')
		return c[0] != ':';
	if (c[1] == '\\' && c[2] == ':') {
		*out = ':';
		*s += 2;
	} else if (c[1] && strchr("\\:,\"", c[1])) {
		*out = c[1];
		*s += 1;
	} else if (c[1] >= '0' && c[1] <= '3' && c[2] >= '0' && c[2] <= '7' &&
		   c[3] >= '0' && c[3] <= '7' && memcmp(c + 1, "000", 3) != 0) {
		*out = (char)((c[1] - '0') << 6 | (c[2] - '0') << 3 | (c[3] - '0'));
		*s += 3;
	}
	return true;
}

/* Unescapes up to the next ':' (if `split`) or the end; *s is left at the ':' or the NUL. */
static char *unescape(const char **s, bool split)
{
	char *out = malloc(strlen(*s) + 1);
	size_t n = 0;

	while (out && **s) {
		const char *before = *s;
		char c;

		if (!take_char(s, &c) && split) {
			*s = before;
			break;
		}
		out[n++] = c;
	}
	if (out)
		out[n] = 0;
	return out;
}

static int parse_uint(const char *text, unsigned long max, unsigned long *out)
{
	unsigned long v = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		v = v * 10 + (unsigned long)(*text - '0');
		if (v > max)
			return -EINVAL;
	}
	*out = v;
	return 0;
}

static void *member(struct ply_optset *p, const struct option_def *d)
{
	return (char *)p->o + d->offset;
}

/* ---- how a value is set ---- */

static int set_ignore(struct ply_optset *p, const struct option_def *d, const char *val)
{
	(void)p;
	(void)d;
	(void)val;
	return 0;
}

static int set_ignore_loudly(struct ply_optset *p, const struct option_def *d, const char *val)
{
	(void)val;
	if (ply_buf_printf(&p->warn, "option '%s' is ignored: %s\n", d->name, d->text) < 0)
		return ply_optset_nomem(p);
	return 0;
}

static int set_refuse(struct ply_optset *p, const struct option_def *d, const char *val)
{
	return ply_optset_fail(p, "option '%s%s%s' is not supported: %s", d->name, val ? "=" : "",
		    val ? val : "", d->text);
}

static int set_mount_word(struct ply_optset *p, const struct option_def *d, const char *val)
{
	(void)val;
	p->group[d->value] = d->text;
	return 0;
}

static int set_flag(struct ply_optset *p, const struct option_def *d, const char *val)
{
	(void)val;
	*(bool *)member(p, d) = d->value;
	return 0;
}

/* NAME, NAME=0|1|off|on; d->value is what "on" stores. */
static int set_bool(struct ply_optset *p, const struct option_def *d, const char *val)
{
	bool on = true;

	if (val && (!strcmp(val, "0") || !strcmp(val, "off")))
		on = false;
	else if (val && strcmp(val, "1") != 0 && strcmp(val, "on") != 0)
		return ply_optset_fail(p, "option '%s=%s': use 0 or 1", d->name, val);
	*(bool *)member(p, d) = on == (bool)d->value;
	return 0;
}

static int find_word(struct ply_optset *p, const struct option_def *d, const char *val, int *out)
{
	ply_autobuf list = { 0 };

	for (const struct word *w = d->words; w->name; w++) {
		if (!strcmp(w->name, val)) {
			*out = w->value;
			return 0;
		}
		if (ply_buf_printf(&list, "%s%s", w == d->words ? "" : w[1].name ? ", " : " or ",
				   w->name) < 0)
			return ply_optset_nomem(p);
	}
	return ply_optset_fail(p, "option '%s=%s': unknown value, use %s", d->name, val, list.data);
}

static int set_word(struct ply_optset *p, const struct option_def *d, const char *val)
{
	int v = 0, r = find_word(p, d, val, &v);

	if (r < 0)
		return r;
	*(int *)member(p, d) = v;
	return 0;
}

/* Words of the kernel's overlayfs that change nothing here, but whose spelling is checked. */
static int set_word_ignored(struct ply_optset *p, const struct option_def *d, const char *val)
{
	int v = 0, r = find_word(p, d, val, &v);

	if (r < 0)
		return r;
	return v ? set_refuse(p, d, val) : 0;
}

static int set_string(struct ply_optset *p, const struct option_def *d, const char *val)
{
	char **m = member(p, d);
	char *s;

	if (!*val)
		return ply_optset_fail(p, "option '%s=' is empty: give a value or leave it out", d->name);
	s = unescape(&val, false);
	if (!s)
		return ply_optset_nomem(p);
	free(*m);
	*m = s;
	return 0;
}

static int set_fsync(struct ply_optset *p, const struct option_def *d, const char *val)
{
	enum { FSYNC_VOLATILE = 100 };
	static const struct word words[] = {
		{ "0", PLY_FSYNC_OFF }, { "1", PLY_FSYNC_ON }, { "auto", PLY_FSYNC_AUTO },
		{ "strict", PLY_FSYNC_STRICT }, { "volatile", FSYNC_VOLATILE },
		{ NULL, 0 }
	};
	struct option_def dw = *d;
	int v = 0, r;

	dw.words = words;
	r = find_word(p, &dw, val ? val : "volatile", &v);
	if (r < 0)
		return r;
	/* "volatile,fsync=0" is no contradiction: the mark in work/ stays. */
	if (v != PLY_FSYNC_OFF)
		p->o->volatile_ = v == FSYNC_VOLATILE;
	p->o->fsync = v == FSYNC_VOLATILE ? PLY_FSYNC_OFF : (enum ply_fsync_mode)v;
	return 0;
}

static int set_timeout(struct ply_optset *p, const struct option_def *d, const char *val)
{
	char *end;
	double t;

	if (!strcmp(val, "inf") || !strcmp(val, "infinity")) {
		p->o->timeout = -1;
		return 0;
	}
	t = strtod(val, &end);
	if (*end || end == val || isspace((unsigned char)*val) || !isfinite(t) || t < 0)
		return ply_optset_fail(p, "option '%s=%s': use a number of seconds, or inf", d->name, val);
	p->o->timeout = t;
	return 0;
}

static int set_threads(struct ply_optset *p, const struct option_def *d, const char *val)
{
	unsigned long n;

	if (parse_uint(val, THREADS_MAX, &n) < 0)
		return ply_optset_fail(p, "option '%s=%s': use a number from 0 (as many as it takes) to %d",
			    d->name, val, THREADS_MAX);
	p->o->threads = (unsigned int)n;
	return 0;
}

static int set_threaded(struct ply_optset *p, const struct option_def *d, const char *val)
{
	unsigned long n;

	if (parse_uint(val, 1, &n) < 0)
		return ply_optset_fail(p, "option '%s=%s': use 0 or 1", d->name, val);
	if (!n)
		p->o->threads = 1;
	else if (p->o->threads == 1)
		p->o->threads = 0;
	return 0;
}

static int set_depth(struct ply_optset *p, const struct option_def *d, const char *val)
{
	unsigned long n;

	if (parse_uint(val, 2, &n) < 0)
		return ply_optset_fail(p, "option '%s=%s': use 0 (no passthrough), 1 or 2", d->name, val);
	p->o->max_stack_depth = (int)n;
	return 0;
}

static int set_mapping(struct ply_optset *p, const struct option_def *d, const char *val)
{
	int r = ply_idmap_parse(member(p, d), val);

	if (r == -ENOMEM)
		return ply_optset_nomem(p);
	if (r < 0)
		return ply_optset_fail(p, "option '%s=%s': use triples ON-DISK:SHOWN:LENGTH, separated by ':', "
			    "that do not overlap", d->name, val);
	return 0;
}

static int set_squash_to(struct ply_optset *p, const struct option_def *d, const char *val)
{
	unsigned long id;

	if (parse_uint(val, UINT32_MAX - 1, &id) < 0)
		return ply_optset_fail(p, "option '%s=%s': use a numeric id below 4294967295", d->name, val);
	if (d->value) {
		p->squash_gid = true;
		p->squash_to_gid = (uint32_t)id;
	} else {
		p->squash_uid = true;
		p->squash_to_uid = (uint32_t)id;
	}
	return 0;
}

/* Kept as text for mount(2), always quoted there: categories hold commas. */
static int set_context(struct ply_optset *p, const struct option_def *d, const char *val)
{
	if (!*val || strchr(val, '"'))
		return ply_optset_fail(p, "option '%s=%s': use %s=\"LABEL\", the quotes around the whole label",
			    d->name, val, d->name);
	if (ply_buf_printf(&p->context, "%s%s=\"%s\"", p->context.len ? "," : "", d->name, val) < 0)
		return ply_optset_nomem(p);
	return 0;
}

static int set_allow(struct ply_optset *p, const struct option_def *d, const char *val)
{
	(void)val;
	p->o->has_allow = true;
	p->o->allow_other = d->value == 1;
	p->o->allow_root = d->value == 2;
	return 0;
}

static int set_debug(struct ply_optset *p, const struct option_def *d, const char *val)
{
	(void)d;
	(void)val;
	p->o->debug = p->o->foreground = true;
	return 0;
}

/* ---- layers and path lists ---- */

/* Takes `path`, also on failure. */
static int add_lower(struct ply_optset *p, const char *option, char *path, bool data)
{
	struct ply_options *o = p->o;
	ply_autofree char *owned = path;

	if (!path)
		return ply_optset_nomem(p);
	if (!*path)
		return ply_optset_fail(p, "option '%s': a path in it is empty; separate paths by one ':' "
			    "(data-only layers by '::'), and write '\\:' for a ':' in a name", option);
	if (!data && o->ndata)
		return ply_optset_fail(p, "option '%s': layer '%s' comes after a data-only layer; put all "
			    "'::' layers last", option, path);
	if (o->nlower == PLY_MAX_LAYERS)
		return ply_optset_fail(p, "option '%s': more than %d layers; merge some of them", option,
			    PLY_MAX_LAYERS);
	if (!o->lower) {
		o->lower = calloc(PLY_MAX_LAYERS + 1, sizeof(*o->lower));
		if (!o->lower)
			return ply_optset_nomem(p);
	}
	o->lower[o->nlower++] = ply_take_ptr(&owned);
	o->ndata += data;
	return 0;
}

/* L1:L2::DATA1::DATA2 */
static int set_lowerdir(struct ply_optset *p, const struct option_def *d, const char *val)
{
	struct ply_options *o = p->o;
	bool gap = false;	/* an empty path just before: the second ':' of '::' */

	ply_options_free_list(o->lower);
	o->lower = NULL;
	o->nlower = o->ndata = 0;
	if (!*val)
		return 0;
	for (bool first = true, more = true; more; first = false) {
		char *path = unescape(&val, true);
		bool empty = path && !*path;
		int r;

		more = *val == ':';
		val += more;
		/* strtok() in fuse-overlayfs does not see a ':' at either end. */
		if (empty && !gap && (o->as_fuse_overlayfs || (!first && more))) {
			gap = !first && more;
			free(path);
			continue;
		}
		r = add_lower(p, d->name, path, gap);
		if (r < 0)
			return r;
		gap = false;
	}
	return 0;
}

/* One more layer; a ':' in it is an ordinary character, as in the kernel's option. */
static int set_lowerdir_add(struct ply_optset *p, const struct option_def *d, const char *val)
{
	return add_lower(p, d->name, unescape(&val, false), d->value);
}

static int set_static(struct ply_optset *p, const struct option_def *d, const char *val)
{
	size_t n = 0, cap = 2;
	char **list;

	for (const char *c = val; *c; c++)
		cap += *c == ':';
	list = calloc(cap, sizeof(*list));
	while (list && *val) {
		list[n] = unescape(&val, true);
		if (!list[n]) {
			ply_options_free_list(list);
			return ply_optset_nomem(p);
		}
		if (*list[n] != '/') {
			ply_optset_fail(p, "option '%s': '%s' is no absolute path inside the mount; use "
			     "/PATH:/PATH", d->name, list[n]);
			ply_options_free_list(list);
			return -EINVAL;
		}
		n++;
		if (*val == ':')
			val++;
	}
	if (!list)
		return ply_optset_nomem(p);
	ply_options_free_list(p->o->static_paths);
	p->o->static_paths = list;
	return 0;
}

/* ---- the table ---- */

#define MEMBER(m) offsetof(struct ply_options, m)
#define FLAG(n, m, v) { .name = n, .set = set_flag, .offset = MEMBER(m), .value = v }
#define BOOL(n, m, v) { .name = n, .arg = ARG_MAYBE, .set = set_bool, .offset = MEMBER(m), .value = v }
#define STRING(n, m) { .name = n, .arg = ARG_NEEDED, .set = set_string, .offset = MEMBER(m) }
#define WORD(n, m, w) \
	{ .name = n, .arg = ARG_NEEDED, .set = set_word, .offset = MEMBER(m), .words = w }
#define VALUE(n, f, m) { .name = n, .arg = ARG_NEEDED, .set = f, .offset = MEMBER(m) }
#define MOUNT(n, g, t) { .name = n, .set = set_mount_word, .value = g, .text = t }
#define IGNORED(n) { .name = n, .arg = ARG_MAYBE, .set = set_ignore }

static const struct word words_redirect[] = {
	{ "on", PLY_REDIRECT_ON }, { "follow", PLY_REDIRECT_FOLLOW },
	{ "nofollow", PLY_REDIRECT_NOFOLLOW }, { "off", PLY_REDIRECT_OFF }, { NULL, 0 }
};
static const struct word words_tri[] = {
	{ "on", PLY_ON }, { "off", PLY_OFF }, { "auto", PLY_AUTO }, { NULL, 0 }
};
static const struct word words_on_off[] = { { "on", PLY_ON }, { "off", PLY_OFF }, { NULL, 0 } };
static const struct word words_passthrough[] = {
	{ "auto", PLY_PT_AUTO }, { "full", PLY_PT_FULL }, { "off", PLY_PT_OFF },
	{ "required", PLY_PT_REQUIRED }, { NULL, 0 }
};
static const struct word words_xattr_perm[] = {
	{ "0", PLY_XPERM_NONE }, { "1", PLY_XPERM_PRIVILEGED }, { "2", PLY_XPERM_CONTAINERS },
	{ NULL, 0 }
};
/* Value 1: refused. */
static const struct word words_nfs_export[] = { { "off", 0 }, { "on", 1 }, { NULL, 0 } };
static const struct word words_verity[] = {
	{ "off", 0 }, { "on", 1 }, { "require", 1 }, { NULL, 0 }
};
static const struct word words_uuid[] = {
	{ "auto", 0 }, { "on", 0 }, { "off", 0 }, { "null", 0 }, { NULL, 0 }
};

static const struct option_def options[] = {
	VALUE("lowerdir", set_lowerdir, lower),
	VALUE("lowerdir+", set_lowerdir_add, lower),
	{ .name = "datadir+", .arg = ARG_NEEDED, .set = set_lowerdir_add, .value = 1 },
	STRING("upperdir", upper),
	STRING("workdir", work),
	STRING("fsname", fsname),
	STRING("subtype", subtype),
	STRING("plugins", plugins),
	VALUE("static", set_static, static_paths),
	WORD("redirect_dir", redirect_dir, words_redirect),
	WORD("index", index, words_tri),
	WORD("metacopy", metacopy, words_on_off),
	WORD("xino", xino, words_tri),
	WORD("passthrough", passthrough, words_passthrough),
	WORD("xattr_permissions", xattr_perm, words_xattr_perm),
	{ .name = "fsync", .arg = ARG_NEEDED, .set = set_fsync },
	{ .name = "volatile", .set = set_fsync },
	VALUE("max_stack_depth", set_depth, max_stack_depth),
	VALUE("timeout", set_timeout, timeout),
	VALUE("threads", set_threads, threads),
	VALUE("threaded", set_threaded, threads),
	VALUE("uidmapping", set_mapping, uids),
	VALUE("gidmapping", set_mapping, gids),
	{ .name = "squash_to_uid", .arg = ARG_NEEDED, .set = set_squash_to, .value = 0 },
	{ .name = "squash_to_gid", .arg = ARG_NEEDED, .set = set_squash_to, .value = 1 },
	BOOL("squash_to_root", squash_to_root, 1),
	BOOL("static_nlink", static_nlink, 1),
	BOOL("fast_ino", fast_ino, 1),
	BOOL("writeback", writeback_off, 0),
	BOOL("noxattrs", noxattrs, 1),
	BOOL("noacl", noacl, 1),
	FLAG("acl", noacl, 0),
	BOOL("userxattr", userxattr, 1),
	BOOL("clone_fd", clone_fd, 1),
	BOOL("io_uring", io_uring, 1),
	{ .name = "allow_other", .set = set_allow, .value = 1 },
	{ .name = "allow_root", .set = set_allow, .value = 2 },
	{ .name = "noallow_other", .set = set_allow, .value = 0 },
	FLAG("default_permissions", default_permissions, 1),
	{ .name = "debug", .set = set_debug },
	{ .name = "context", .arg = ARG_NEEDED, .set = set_context },
	{ .name = "fscontext", .arg = ARG_NEEDED, .set = set_context },
	{ .name = "defcontext", .arg = ARG_NEEDED, .set = set_context },
	{ .name = "rootcontext", .arg = ARG_NEEDED, .set = set_context },

	/* Mount flags: what the kernel does with them is the text. */
	MOUNT("ro", PLY_GROUP_RO, "ro"), MOUNT("rw", PLY_GROUP_RO, NULL),
	MOUNT("suid", PLY_GROUP_SUID, "suid"), MOUNT("nosuid", PLY_GROUP_SUID, "nosuid"),
	MOUNT("dev", PLY_GROUP_DEV, "dev"), MOUNT("nodev", PLY_GROUP_DEV, "nodev"),
	MOUNT("exec", PLY_GROUP_EXEC, "exec"), MOUNT("noexec", PLY_GROUP_EXEC, "noexec"),
	MOUNT("noatime", PLY_GROUP_ATIME, "noatime"), MOUNT("atime", PLY_GROUP_ATIME, NULL),
	MOUNT("relatime", PLY_GROUP_ATIME, NULL), MOUNT("norelatime", PLY_GROUP_ATIME, NULL),
	MOUNT("strictatime", PLY_GROUP_ATIME, "strictatime"),
	MOUNT("nostrictatime", PLY_GROUP_ATIME, NULL),
	MOUNT("nodiratime", PLY_GROUP_DIRATIME, "nodiratime"), MOUNT("diratime", PLY_GROUP_DIRATIME, NULL),
	MOUNT("sync", PLY_GROUP_SYNC, "sync"), MOUNT("async", PLY_GROUP_SYNC, NULL),
	MOUNT("dirsync", PLY_GROUP_DIRSYNC, "dirsync"),
	MOUNT("lazytime", PLY_GROUP_LAZYTIME, "lazytime"), MOUNT("nolazytime", PLY_GROUP_LAZYTIME, NULL),
	MOUNT("nosymfollow", PLY_GROUP_SYMFOLLOW, "nosymfollow"),
	MOUNT("symfollow", PLY_GROUP_SYMFOLLOW, NULL),

	/* Words of fstab and mount(8) that say nothing to us (x-*, X-*, comment=: ply_optset_set). */
	IGNORED("defaults"), IGNORED("auto"), IGNORED("noauto"), IGNORED("user"), IGNORED("nouser"),
	IGNORED("users"), IGNORED("nousers"), IGNORED("owner"), IGNORED("noowner"),
	IGNORED("group"), IGNORED("nogroup"), IGNORED("_netdev"), IGNORED("nofail"),
	IGNORED("mand"), IGNORED("nomand"), IGNORED("iversion"), IGNORED("noiversion"),
	IGNORED("silent"), IGNORED("loud"), IGNORED("_rnetdev"), IGNORED("uhelper"),
	IGNORED("helper"), IGNORED("nonempty"), IGNORED("seclabel"),
	/* What the mount shall be to others; engines say it in passing. */
	IGNORED("private"), IGNORED("rprivate"), IGNORED("slave"), IGNORED("rslave"),
	IGNORED("shared"), IGNORED("rshared"), IGNORED("unbindable"), IGNORED("runbindable"),

	/* Words of the kernel's overlayfs and of libfuse that we have no use for. */
	{ .name = "nfs_export", .arg = ARG_NEEDED, .set = set_word_ignored,
	  .words = words_nfs_export, .text = "leave it out" },
	{ .name = "verity", .arg = ARG_NEEDED, .set = set_word_ignored,
	  .words = words_verity, .text = "digests are not verified; leave it out" },
	{ .name = "uuid", .arg = ARG_NEEDED, .set = set_word_ignored, .words = words_uuid },
	{ .name = "override_creds", .set = set_ignore },
	{ .name = "nooverride_creds", .set = set_refuse, .text = "leave it out" },
	{ .name = "auto_unmount", .set = set_ignore_loudly,
	  .text = "the mount ends when the daemon ends, and the other way round" },
	{ .name = "remount", .set = set_refuse, .text = "unmount and mount again" },
};

/* Edit distance, given up at 3: good enough for one slip of the finger. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[32];
	size_t la = strlen(a), lb = strlen(b);

	if (la >= PLY_ARRAY_SIZE(row) || lb >= PLY_ARRAY_SIZE(row))
		return 3;
	for (unsigned int j = 0; j <= lb; j++)
		row[j] = j;
	for (unsigned int i = 1; i <= la; i++) {
		unsigned int diagonal = row[0];

		row[0] = i;
		for (unsigned int j = 1; j <= lb; j++) {
			unsigned int d = ply_min(row[j], row[j - 1]) + 1;

			d = ply_min(d, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = row[j];
			row[j] = d;
		}
	}
	return row[lb];
}

int ply_optset_unknown(struct ply_optset *p, const char *key)
{
	const char *best = NULL;
	unsigned int best_distance = 3;

	if (p->lenient) {
		if (ply_buf_printf(&p->warn, "unknown option '%s' is ignored\n", key) < 0)
			return ply_optset_nomem(p);
		return 0;
	}
	for (size_t i = 0; i < PLY_ARRAY_SIZE(options); i++) {
		unsigned int d = distance(key, options[i].name);

		if (d < best_distance && d < strlen(key)) {
			best_distance = d;
			best = options[i].name;
		}
	}
	if (best)
		return ply_optset_fail(p, "unknown option '%s': did you mean '%s'?", key, best);
	return ply_optset_fail(p, "unknown option '%s': see plyfs --help; if it belongs to a path, write "
		    "'\\,' for a ',' in it", key);
}

int ply_optset_default_static(struct ply_optset *p)
{
	static const struct option_def d = { .name = "static" };

	return set_static(p, &d, STATIC_DEFAULT);
}

int ply_optset_set(struct ply_optset *p, const char *key, const char *val)
{
	for (size_t i = 0; i < PLY_ARRAY_SIZE(options); i++) {
		const struct option_def *d = &options[i];

		if (strcmp(d->name, key) != 0)
			continue;
		if (d->arg == ARG_NONE && val)
			return ply_optset_fail(p, "option '%s' takes no value: leave '=%s' out", key, val);
		if (d->arg == ARG_NEEDED && !val)
			return ply_optset_fail(p, "option '%s' needs a value: write %s=VALUE", key, key);
		return d->set(p, d, val);
	}
	return ply_optset_unknown(p, key);
}
