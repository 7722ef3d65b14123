// SPDX-License-Identifier: GPL-2.0-or-later
/* optparse: ply_options_parse() of options.h: commas, quotes, argv, and the checks of the whole. */
#include "optset.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

/* One "key", "key=value" or "key="; `tok` is ours to cut up. */
static int parse_token(struct ply_optset *p, char *tok)
{
	char *val = strchr(tok, '=');

	if (!*tok)
		return 0;	/* a double or trailing comma */
	if (!strncmp(tok, "x-", 2) || !strncmp(tok, "X-", 2) || !strncmp(tok, "comment=", 8))
		return 0;
	if (val) {
		size_t len;

		*val++ = 0;
		len = strlen(val);
		if (len > 1 && val[0] == '"' && val[len - 1] == '"') {
			val[len - 1] = 0;
			val++;
		}
	}
	return ply_optset_set(p, tok, val);
}

/* The end of the token that starts at `s`: a ',' that is neither escaped nor quoted, or the NUL. */
static const char *token_end(const char *s)
{
	bool value = false;

	for (; *s && *s != ','; s++) {
		if (*s == '\\' && s[1]) {
			s++;
		} else if (*s == '=' && !value) {
			value = true;
			if (s[1] == '"') {
				const char *q = strchr(s + 2, '"');

				/* No name is quoted by chance: a quote that does not close the value is a letter. */
				if (q && (q[1] == ',' || !q[1]))
					return q + 1;
			}
		}
	}
	return s;
}

static int parse_list(struct ply_optset *p, const char *text)
{
	for (;;) {
		const char *end = token_end(text);
		ply_autofree char *tok = strndup(text, (size_t)(end - text));
		int r;

		if (!tok)
			return ply_optset_nomem(p);
		r = parse_token(p, tok);
		if (r < 0)
			return r;
		if (!*end)
			return 0;
		text = end + 1;
	}
}

/* ---- argv ---- */

static int add_positional(struct ply_optset *p, const char *arg)
{
	struct ply_options *o = p->o;

	if (o->source)
		return ply_optset_fail(p, "too many arguments at '%s': give at most SOURCE and MOUNTPOINT", arg);
	o->source = o->mountpoint;
	o->mountpoint = strdup(arg);
	return o->mountpoint ? 0 : ply_optset_nomem(p);
}

static int parse_letter(struct ply_optset *p, int c, const char *arg)
{
	struct ply_options *o = p->o;

	switch (c) {
	case 1:
		return add_positional(p, optarg);
	case 'o':
		return parse_list(p, optarg);
	case 'h':
		o->show_help = true;
		return 0;
	case 'V':
		o->show_version = true;
		return 0;
	case 'f':
		if (p->helper)
			o->fake = true;
		else
			o->foreground = true;
		return 0;
	case 'd':
		return ply_optset_set(p, "debug", NULL);
	case 's':
		if (p->helper)
			p->lenient = true;
		else
			o->threads = 1;
		return 0;
	case 'r':
		return ply_optset_set(p, "ro", NULL);
	case 'w':
		return ply_optset_set(p, "rw", NULL);
	case 'n':	/* from mount(8): no mtab, verbose, and our own type */
	case 'v':
	case 't':
		return 0;
	case ':':
		return ply_optset_fail(p, "'%s' needs an argument: see plyfs --help", arg);
	default:
		if (o->as_fuse_overlayfs)
			return ply_optset_unknown(p, arg);
		return ply_optset_fail(p, "unknown option '%s': see plyfs --help", arg);
	}
}

static int parse_argv(struct ply_optset *p, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' },
		{ "foreground", no_argument, NULL, 'f' }, { "debug", no_argument, NULL, 'd' },
		{ "options", required_argument, NULL, 'o' }, { NULL, 0, NULL, 0 }
	};

	optind = 0;	/* glibc: start anew */
	opterr = 0;
	for (;;) {
		int at = ply_max(optind, 1);
		/* '-': arguments in their order, whatever POSIXLY_CORRECT says. */
		int c = getopt_long(argc, argv, "-:o:hVfdsrwnvt:", longs, NULL);
		int r;

		if (c == -1)
			break;
		r = parse_letter(p, c, at < argc ? argv[at] : "");
		if (r < 0)
			return r;
		if (p->o->show_help || p->o->show_version)
			return 0;
	}
	for (; optind < argc; optind++) {
		int r = add_positional(p, argv[optind]);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- the whole ---- */

static int replace_string(struct ply_optset *p, char **s, const char *val)
{
	free(*s);
	*s = strdup(val);
	return *s ? 0 : ply_optset_nomem(p);
}

static int finish_mount_words(struct ply_optset *p)
{
	struct ply_options *o = p->o;
	ply_autobuf words = { 0 };

	o->ro = p->group[PLY_GROUP_RO];
	o->suid = p->group[PLY_GROUP_SUID] && !strcmp(p->group[PLY_GROUP_SUID], "suid");
	o->nosuid = p->group[PLY_GROUP_SUID] && !o->suid;
	o->dev = p->group[PLY_GROUP_DEV] && !strcmp(p->group[PLY_GROUP_DEV], "dev");
	o->nodev = p->group[PLY_GROUP_DEV] && !o->dev;
	o->exec = p->group[PLY_GROUP_EXEC] && !strcmp(p->group[PLY_GROUP_EXEC], "exec");
	o->noexec = p->group[PLY_GROUP_EXEC] && !o->exec;
	o->atime_off = p->group[PLY_GROUP_ATIME] && !strcmp(p->group[PLY_GROUP_ATIME], "noatime");
	for (size_t i = 0; i < PLY_GROUP_COUNT; i++) {
		const char *w = p->group[i];

		/* "suid", "dev" and "exec" only take away what the program would add. */
		if (!w || !strcmp(w, "suid") || !strcmp(w, "dev") || !strcmp(w, "exec"))
			continue;
		if (ply_buf_printf(&words, "%s%s", words.len ? "," : "", w) < 0)
			return ply_optset_nomem(p);
	}
	o->kernel_opts = ply_take_ptr(&words.data);
	return 0;
}

static int finish_owners(struct ply_optset *p)
{
	struct ply_options *o = p->o;

	if (o->squash_to_root && (p->squash_uid || p->squash_gid))
		return ply_optset_fail(p, "squash_to_root and squash_to_%s exclude each other: leave one out",
			    p->squash_uid ? "uid" : "gid");
	o->uids.squash = o->squash_to_root || p->squash_uid;
	o->uids.squash_to = p->squash_to_uid;
	o->gids.squash = o->squash_to_root || p->squash_gid;
	o->gids.squash_to = p->squash_to_gid;
	return 0;
}

static int finish_layers(struct ply_optset *p)
{
	struct ply_options *o = p->o;

	if (!o->nlower)
		return ply_optset_fail(p, "lowerdir is missing: say -o lowerdir=DIR[:DIR...]");
	if (o->ndata == o->nlower)
		return ply_optset_fail(p, "lowerdir holds data-only layers and no other: put a layer with "
			    "directories before the '::'");
	if (o->upper && !o->work)
		return ply_optset_fail(p, "upperdir without workdir: add workdir=DIR, an empty directory on the "
			    "filesystem of '%s'", o->upper);
	if (o->work && !o->upper) {
		if (ply_buf_printf(&p->warn, "option 'workdir' is ignored: without upperdir the mount "
				   "is read-only\n") < 0)
			return ply_optset_nomem(p);
		free(o->work);
		o->work = NULL;
	}
	for (size_t i = 0; i < o->nlower; i++)
		if ((o->plugins || o->as_fuse_overlayfs) && !strncmp(o->lower[i], "//", 2))
			return ply_optset_fail(p, "layer '%s' needs a plugin, and plyfs loads none: give a "
				    "directory", o->lower[i]);
	if (!o->upper && o->redirect_dir == PLY_REDIRECT_ON)
		o->redirect_dir = PLY_REDIRECT_FOLLOW;
	if (o->metacopy != PLY_ON || o->redirect_dir == PLY_REDIRECT_ON || !o->upper)
		return 0;
	if (!o->as_fuse_overlayfs)
		return ply_optset_fail(p, "metacopy=on needs redirect_dir=on: a renamed file would lose its "
			    "data; leave one of the two options out");
	if (ply_buf_printf(&p->warn, "option 'metacopy=on' is ignored: it needs redirect_dir=on\n") < 0)
		return ply_optset_nomem(p);
	o->metacopy = PLY_OFF;
	return 0;
}

static int finish(struct ply_optset *p)
{
	struct ply_options *o = p->o;
	const char *name = o->as_fuse_overlayfs ? "fuse-overlayfs" : "plyfs";
	int r;

	if (o->show_help || o->show_version)
		return 0;
	if (!o->mountpoint || !*o->mountpoint)
		return ply_optset_fail(p, "no mount point given: plyfs -o lowerdir=DIR[:DIR...]"
			    "[,upperdir=DIR,workdir=DIR] [SOURCE] MOUNTPOINT");
	r = finish_layers(p);
	if (r == 0)
		r = finish_owners(p);
	if (r == 0)
		r = finish_mount_words(p);
	if (r == 0 && !o->fsname)
		r = replace_string(p, &o->fsname, o->source && *o->source ? o->source : name);
	if (r == 0 && !o->subtype)
		r = replace_string(p, &o->subtype, name);
	return r;
}

int ply_options_parse(struct ply_options *o, int argc, char **argv,
		      char *err, size_t errlen, char **warn)
{
	struct ply_optset p = { .o = o, .err = err, .errlen = errlen };
	const char *name = argc > 0 && argv[0] ? argv[0] : "plyfs";
	int r;

	if (strrchr(name, '/'))
		name = strrchr(name, '/') + 1;
	*o = (struct ply_options){
		.redirect_dir = PLY_REDIRECT_ON, .index = PLY_AUTO, .metacopy = PLY_OFF,
		.xino = PLY_AUTO, .fsync = PLY_FSYNC_AUTO, .passthrough = PLY_PT_AUTO,
		.max_stack_depth = -1, .timeout = -1,
		.as_fuse_overlayfs = !strcmp(name, "fuse-overlayfs"),
	};
	p.helper = !strncmp(name, "mount.", 6);
	p.lenient = o->as_fuse_overlayfs;
	r = ply_optset_default_static(&p);
	if (r == 0)
		r = parse_argv(&p, argc, argv);
	if (r == 0)
		r = finish(&p);
	o->context = ply_take_ptr(&p.context.data);
	if (r < 0)
		ply_options_free(o);
	else if (warn)
		*warn = ply_take_ptr(&p.warn.data);
	ply_buf_free(&p.warn);
	return r;
}
