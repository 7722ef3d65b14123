// SPDX-License-Identifier: GPL-2.0-or-later
// wrap: malloc calloc realloc strdup strndup
#include "unit.h"
#include "options.h"
#include "util.h"

#include <errno.h>
#include <stdio.h>

static char err[512];
static char *warn;

/* The allocation that fails, counted down; 0: none. */
static int fail_at;

static bool fails(void)
{
	return fail_at && --fail_at == 0;
}

#define WRAP(type, name, params, args)			\
	type __real_##name params;			\
	type __wrap_##name params;			\
	type __wrap_##name params			\
	{						\
		return fails() ? NULL : __real_##name args; \
	}
WRAP(void *, malloc, (size_t n), (n))
WRAP(void *, calloc, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, (void *p, size_t n), (p, n))
WRAP(char *, strdup, (const char *s), (s))
WRAP(char *, strndup, (const char *s, size_t n), (s, n))

static int parse(struct ply_options *o, const char *const argv[])
{
	char *copy[16];
	int argc = 0, r;

	for (; argv[argc]; argc++) {
		assert_true(argc < 15);
		copy[argc] = strdup(argv[argc]);
		assert_non_null(copy[argc]);
	}
	copy[argc] = NULL;
	err[0] = 0;
	free(warn);
	warn = NULL;
	r = ply_options_parse(o, argc, copy, err, sizeof(err), &warn);
	for (int i = 0; i < argc; i++)
		free(copy[i]);
	assert_int_equal(r == 0, err[0] == 0);
	return r;
}
#define PARSE(o, ...) parse(o, (const char *const[]){ __VA_ARGS__, NULL })

/* Over one lower, with a mount point. */
static int parse_list_as(const char *name, struct ply_options *o, const char *list)
{
	return PARSE(o, name, "-o", "lowerdir=/l", "-o", list, "/m");
}

static int parse_list(struct ply_options *o, const char *list)
{
	return parse_list_as("plyfs", o, list);
}

static void accept(struct ply_options *o, const char *list)
{
	if (parse_list(o, list) != 0)
		fail_msg("'%s': %s", list, err);
}

/* Refused, in one line that holds `word`, and nothing is left to free. */
static void refuse(const char *list, const char *word)
{
	struct ply_options o;

	if (parse_list(&o, list) != -EINVAL)
		fail_msg("'%s' was accepted", list);
	if (!strstr(err, word) || strchr(err, '\n'))
		fail_msg("'%s': '%s' does not say '%s'", list, err, word);
	assert_null(o.lower);
	assert_null(o.fsname);
	assert_null(warn);
}

static void assert_layers(const struct ply_options *o, const char *const want[])
{
	size_t n = 0;

	for (; want[n]; n++) {
		assert_true(n < o->nlower);
		assert_string_equal(o->lower[n], want[n]);
	}
	assert_int_equal(o->nlower, n);
	assert_null(o->lower[n]);
}
#define ASSERT_LAYERS(o, ...) assert_layers(o, (const char *const[]){ __VA_ARGS__, NULL })

/* ---- defaults and argv ---- */

static void defaults(void **state)
{
	struct ply_options o;

	(void)state;
	assert_int_equal(PARSE(&o, "/usr/bin/plyfs", "-o", "lowerdir=/l,upperdir=/u,workdir=/w", "/m"), 0);
	ASSERT_LAYERS(&o, "/l");
	assert_string_equal(o.upper, "/u");
	assert_string_equal(o.work, "/w");
	assert_string_equal(o.mountpoint, "/m");
	assert_null(o.source);
	assert_string_equal(o.fsname, "plyfs");
	assert_string_equal(o.subtype, "plyfs");
	assert_null(o.kernel_opts);
	assert_null(o.context);
	assert_int_equal(o.redirect_dir, PLY_REDIRECT_ON);
	assert_int_equal(o.index, PLY_AUTO);
	assert_int_equal(o.metacopy, PLY_OFF);
	assert_int_equal(o.fsync, PLY_FSYNC_AUTO);
	assert_int_equal(o.passthrough, PLY_PT_AUTO);
	assert_int_equal(o.max_stack_depth, -1);
	assert_true(o.timeout < 0);
	assert_int_equal(o.threads, 0);
	assert_false(o.foreground || o.ro || o.suid || o.nosuid || o.has_allow || o.volatile_ || o.userxattr);
	assert_false(o.as_fuse_overlayfs || o.fake || o.writeback_off || o.noacl || o.squash_to_root);
	assert_true(ply_idmap_is_identity(&o.uids) && ply_idmap_is_identity(&o.gids));
	assert_string_equal(o.static_paths[0], "/usr");
	assert_string_equal(o.static_paths[10], "/gnu/store");
	assert_null(o.static_paths[11]);
	assert_null(warn);
	ply_options_free(&o);
	ply_options_free(&o);
}

static void without_an_upper_redirects_are_followed_only(void **state)
{
	struct ply_options o;

	(void)state;
	accept(&o, "");
	assert_int_equal(o.redirect_dir, PLY_REDIRECT_FOLLOW);
	ply_options_free(&o);
	accept(&o, "redirect_dir=nofollow,workdir=/w");
	assert_int_equal(o.redirect_dir, PLY_REDIRECT_NOFOLLOW);
	assert_null(o.work);
	assert_non_null(strstr(warn, "workdir"));
	ply_options_free(&o);
}

static void the_forms_of_argv(void **state)
{
	struct ply_options o;

	(void)state;
	/* containerd through mount.fuse3 */
	assert_int_equal(PARSE(&o, "fuse-overlayfs", "overlay", "/t", "-o",
			       "workdir=W,upperdir=U,lowerdir=P1:P2,dev,suid"), 0);
	assert_true(o.as_fuse_overlayfs && o.dev && o.suid);
	assert_string_equal(o.source, "overlay");
	assert_string_equal(o.fsname, "overlay");
	assert_string_equal(o.subtype, "fuse-overlayfs");
	assert_string_equal(o.mountpoint, "/t");
	ASSERT_LAYERS(&o, "P1", "P2");
	assert_null(o.kernel_opts);
	ply_options_free(&o);
	/* mount(8) */
	assert_int_equal(PARSE(&o, "plyfs", "src", "/t", "-o", "rw,noexec,nosuid,nodev,lowerdir=a,dev,suid"), 0);
	assert_true(o.noexec && o.dev && o.suid && !o.nosuid && !o.nodev);
	assert_string_equal(o.kernel_opts, "noexec");
	ply_options_free(&o);
	setenv("POSIXLY_CORRECT", "1", 1);
	assert_int_equal(PARSE(&o, "plyfs", "/t", "-olowerdir=a", "-fd", "-s"), 0);
	unsetenv("POSIXLY_CORRECT");
	assert_true(o.foreground && o.debug);
	assert_int_equal(o.threads, 1);
	ply_options_free(&o);
	assert_int_equal(PARSE(&o, "plyfs", "--foreground", "--options=lowerdir=a", "--", "-m"), 0);
	assert_string_equal(o.mountpoint, "-m");
	ply_options_free(&o);
	assert_int_equal(PARSE(&o, "plyfs", "-d", "-o", "lowerdir=a", "/t"), 0);
	assert_true(o.foreground && o.debug);
	ply_options_free(&o);
	/* mount -t plyfs: mount.plyfs, whose -f and -s are others */
	assert_int_equal(PARSE(&o, "/sbin/mount.plyfs", "s", "/t", "-f", "-s", "-n", "-v", "-o", "rw,lowerdir=a,what"), 0);
	assert_true(o.fake && !o.foreground);
	assert_int_equal(o.threads, 0);
	assert_non_null(strstr(warn, "'what'"));
	ply_options_free(&o);
}

static void help_and_version_need_nothing_else(void **state)
{
	static const char *const ask[] = { "-h", "--help", "-V", "--version" };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct ply_options o;

		assert_int_equal(PARSE(&o, "plyfs", ask[i]), 0);
		assert_int_equal(o.show_help, i < 2);
		assert_int_equal(o.show_version, i >= 2);
		ply_options_free(&o);
	}
}

static void broken_argv(void **state)
{
	struct ply_options o;

	(void)state;
	assert_int_equal(PARSE(&o, "plyfs", "-o", "lowerdir=a"), -EINVAL);
	assert_non_null(strstr(err, "mount point"));
	assert_int_equal(PARSE(&o, "plyfs", "-o", "lowerdir=a", ""), -EINVAL);
	assert_int_equal(PARSE(&o, "plyfs", "-o", "lowerdir=a", "s", "m", "x"), -EINVAL);
	assert_non_null(strstr(err, "'x'"));
	assert_int_equal(PARSE(&o, "plyfs", "/m", "-o"), -EINVAL);
	assert_non_null(strstr(err, "-o"));
	assert_int_equal(PARSE(&o, "plyfs", "-x", "/m"), -EINVAL);
	assert_non_null(strstr(err, "-x"));
	assert_int_equal(PARSE(&o, "plyfs", "--what", "/m"), -EINVAL);
	assert_non_null(strstr(err, "--what"));
	assert_int_equal(PARSE(&o, "plyfs", "/m"), -EINVAL);
	assert_non_null(strstr(err, "lowerdir"));
	assert_int_equal(PARSE(&o, "plyfs", "/m", "-o", "lowerdir=a,upperdir=u"), -EINVAL);
	assert_non_null(strstr(err, "workdir"));
	assert_int_equal(PARSE(&o, "fuse-overlayfs", "--what", "-x", "/m", "-o", "lowerdir=a"), 0);
	assert_non_null(strstr(warn, "--what"));
	ply_options_free(&o);
	/* No room for the text is no reason to write it. */
	assert_int_equal(ply_options_parse(&o, 1, (char *[]){ (char[]){ "plyfs" }, NULL }, NULL, 0, NULL), -EINVAL);
}

/* ---- layers ---- */

static void escapes(void **state)
{
	struct ply_options o;

	(void)state;
	assert_int_equal(PARSE(&o, "plyfs", "/m", "-o",
			       "lowerdir=/a\\:b:/c\\\\:d:/e\\,f:/g\\040h\\134:/i\\\\j:/k\\x2dl:/\\000:/\\400:/q\\\"r"), 0);
	ASSERT_LAYERS(&o, "/a:b", "/c:d", "/e,f", "/g h\\", "/i\\j", "/k\\x2dl", "/\\000", "/\\400", "/q\"r");
	ply_options_free(&o);
	assert_int_equal(PARSE(&o, "plyfs", "/m", "-o", "upperdir=/u\\,\\040\\:x:y,workdir=/w\\\\,lowerdir=/a\\"), 0);
	assert_string_equal(o.upper, "/u, :x:y");
	assert_string_equal(o.work, "/w\\");
	ASSERT_LAYERS(&o, "/a\\");
	ply_options_free(&o);
	/* mount(8) quotes what holds commas; a quote inside a name is a letter. */
	assert_int_equal(PARSE(&o, "plyfs", "/m", "-o", "upperdir=\"/u,1\",workdir=\"w,lowerdir=\"/a,b:/c\""), 0);
	assert_string_equal(o.upper, "/u,1");
	assert_string_equal(o.work, "\"w");
	ASSERT_LAYERS(&o, "/a,b", "/c");
	ply_options_free(&o);
}

static void layers_add_up(void **state)
{
	struct ply_options o;

	(void)state;
	assert_int_equal(PARSE(&o, "plyfs", "/m", "-o", "lowerdir=x:y,lowerdir=/a:/b", "-o", "lowerdir+=/c:d,lowerdir+=e",
			       "-o", "datadir+=/f"), 0);
	ASSERT_LAYERS(&o, "/a", "/b", "/c:d", "e", "/f");
	assert_int_equal(o.ndata, 1);
	ply_options_free(&o);
	assert_int_equal(PARSE(&o, "plyfs", "/m", "-o", "lowerdir=/a:/b::/c::/d"), 0);
	ASSERT_LAYERS(&o, "/a", "/b", "/c", "/d");
	assert_int_equal(o.ndata, 2);
	ply_options_free(&o);
	/* strtok() of fuse-overlayfs */
	assert_int_equal(PARSE(&o, "fuse-overlayfs", "/m", "-o", "lowerdir=:/a:/b:"), 0);
	ASSERT_LAYERS(&o, "/a", "/b");
	assert_int_equal(o.ndata, 0);
	ply_options_free(&o);
}

static void broken_layers(void **state)
{
	static const char *const bad[] = {
		"lowerdir", "lowerdir=", "lowerdir=:", "lowerdir=::", "lowerdir=:/a", "lowerdir=/a:", "lowerdir=/a::",
		"lowerdir=::/a", "lowerdir=/a:::/b", "lowerdir=/a::/b:/c", "lowerdir+=", "datadir+=/a,lowerdir+=/b",
		"lowerdir=/a::/d,lowerdir+=/b", "lowerdir=/a::/b:", "lowerdir=/a::/b::",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i], "lowerdir");
	refuse("lowerdir=,datadir+=/a", "data-only");
	refuse("lowerdir=:::", "empty");
	refuse("upperdir=,workdir=/w", "upperdir");
	refuse("upperdir=/u,workdir=", "workdir");
}

static void five_hundred_layers_and_no_more(void **state)
{
	ply_autobuf text = { 0 };
	struct ply_options o;

	(void)state;
	ply_buf_addstr(&text, "lowerdir=/layer/0");
	for (int i = 1; i < 500; i++)
		ply_buf_printf(&text, ":/layer/%d", i);
	accept(&o, text.data);
	assert_int_equal(o.nlower, 500);
	assert_string_equal(o.lower[499], "/layer/499");
	ply_options_free(&o);
	ply_buf_addstr(&text, "::/layer/500");
	refuse(text.data, "500");
	text.len -= strlen("::/layer/500");
	ply_buf_addstr(&text, ",lowerdir+=/layer/500");
	refuse(text.data, "500");
}

/* ---- single options ---- */

static void podmans_commas(void **state)
{
	struct ply_options o;

	(void)state;
	accept(&o, ",lowerdir=a:b,upperdir=u,workdir=w,,volatile,context=\"system_u:object_r:container_file_t:s0:c1,c2\","
		   "uidmapping=:0:1:1000:1000:0:1,gidmapping=0:5:10,xattr_permissions=2,");
	assert_true(o.volatile_);
	assert_int_equal(o.fsync, PLY_FSYNC_OFF);
	assert_string_equal(o.context, "context=\"system_u:object_r:container_file_t:s0:c1,c2\"");
	assert_int_equal(ply_idmap_show(&o.uids, 1000), 0);
	assert_int_equal(ply_idmap_store(&o.gids, 14), 9);
	assert_int_equal(o.xattr_perm, PLY_XPERM_CONTAINERS);
	ply_options_free(&o);
	accept(&o, "context=a:b,fscontext=\"x,y\",rootcontext=r,defcontext=d");
	assert_string_equal(o.context, "context=\"a:b\",fscontext=\"x,y\",rootcontext=\"r\",defcontext=\"d\"");
	ply_options_free(&o);
	refuse("context=", "context");
	refuse("context=a\"b", "context");
}

static void words(void **state)
{
	struct ply_options o;

	(void)state;
	accept(&o, "redirect_dir=off,index=on,xino=off,passthrough=required,max_stack_depth=2,timeout=0.5,threads=4,"
		   "userxattr,noacl,noxattrs=1,static_nlink,fast_ino=1,writeback=0,io_uring,clone_fd,default_permissions,"
		   "fsname=my\\040fs,subtype=x,plugins=p");
	assert_int_equal(o.redirect_dir, PLY_REDIRECT_OFF);
	assert_int_equal(o.index, PLY_ON);
	assert_int_equal(o.xino, PLY_OFF);
	assert_int_equal(o.passthrough, PLY_PT_REQUIRED);
	assert_int_equal(o.max_stack_depth, 2);
	assert_true(o.timeout == 0.5);
	assert_int_equal(o.threads, 4);
	assert_true(o.userxattr && o.noacl && o.noxattrs && o.static_nlink && o.fast_ino && o.writeback_off);
	assert_true(o.io_uring && o.clone_fd && o.default_permissions);
	assert_string_equal(o.fsname, "my fs");
	assert_string_equal(o.subtype, "x");
	ply_options_free(&o);
	accept(&o, "noxattrs=0,writeback=1,fast_ino=0,noacl,acl,static_nlink=0,passthrough=full,passthrough=off,timeout=inf");
	assert_false(o.noxattrs || o.writeback_off || o.fast_ino || o.noacl || o.static_nlink);
	assert_int_equal(o.passthrough, PLY_PT_OFF);
	assert_true(o.timeout < 0);
	ply_options_free(&o);
	accept(&o, "static=/a\\:b:/c,allow_root");
	assert_string_equal(o.static_paths[0], "/a:b");
	assert_string_equal(o.static_paths[1], "/c");
	assert_null(o.static_paths[2]);
	assert_true(o.has_allow && o.allow_root && !o.allow_other);
	ply_options_free(&o);
	accept(&o, "static=,allow_other,metacopy=on,upperdir=u,workdir=w");
	assert_non_null(o.static_paths);
	assert_null(o.static_paths[0]);
	assert_true(o.has_allow && o.allow_other);
	assert_int_equal(o.metacopy, PLY_ON);
	ply_options_free(&o);
	accept(&o, "noallow_other");
	assert_true(o.has_allow && !o.allow_other && !o.allow_root);
	ply_options_free(&o);
}

static void fsync_words(void **state)
{
	static const struct {
		const char *list;
		enum ply_fsync_mode mode;
		bool is_volatile;
	} t[] = {
		{ "fsync=0", PLY_FSYNC_OFF, false }, { "fsync=1", PLY_FSYNC_ON, false },
		{ "fsync=auto", PLY_FSYNC_AUTO, false }, { "fsync=strict", PLY_FSYNC_STRICT, false },
		{ "fsync=volatile", PLY_FSYNC_OFF, true }, { "volatile", PLY_FSYNC_OFF, true },
		{ "volatile,fsync=0", PLY_FSYNC_OFF, true }, { "fsync=0,volatile", PLY_FSYNC_OFF, true },
		{ "volatile,fsync=strict", PLY_FSYNC_STRICT, false }, { "fsync=1,volatile", PLY_FSYNC_OFF, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct ply_options o;

		accept(&o, t[i].list);
		assert_int_equal(o.fsync, t[i].mode);
		assert_int_equal(o.volatile_, t[i].is_volatile);
		ply_options_free(&o);
	}
}

static void threads_and_threaded(void **state)
{
	static const struct {
		const char *list;
		unsigned int n;
	} t[] = {
		{ "threaded=0", 1 }, { "threaded=1", 0 }, { "threads=7,threaded=1", 7 }, { "threaded=0,threaded=1", 0 },
		{ "threads=7,threaded=0", 1 }, { "threads=1024", 1024 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct ply_options o;

		accept(&o, t[i].list);
		assert_int_equal(o.threads, t[i].n);
		ply_options_free(&o);
	}
}

static void malformed_values(void **state)
{
	static const char *const bad[] = {
		"redirect_dir=maybe", "redirect_dir", "redirect_dir=", "index=2", "metacopy=auto", "xino=yes",
		"passthrough=on", "passthrough", "max_stack_depth=3", "max_stack_depth=-1", "max_stack_depth=",
		"max_stack_depth=1x", "timeout=", "timeout=x", "timeout=1s", "timeout=-1", "timeout=nan", "timeout= 1",
		"timeout=1e999", "threads=-1", "threads=1025", "threads=", "threads=4k", "threads=99999999999999999999",
		"threaded=2", "threaded=", "fsync=2", "fsync=", "fsync", "volatile=1", "uidmapping=0:0", "gidmapping=x",
		"uidmapping=0:0:1:0:1:1", "squash_to_uid=-1", "squash_to_uid=4294967295", "squash_to_gid=root",
		"squash_to_uid", "xattr_permissions=3", "noxattrs=2", "static=usr", "static=/a::/b", "fsname=", "subtype=",
		"plugins=", "ro=1", "suid=0", "allow_other=1", "debug=1", "acl=1", "userxattr=x", "nfs_export=on",
		"verity=require", "verity=on", "uuid=x", "remount", "nooverride_creds", "remount=1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char key[32] = { 0 };

		memcpy(key, bad[i], strcspn(bad[i], "="));
		refuse(bad[i], key);
	}
}

static void unknown_words(void **state)
{
	struct ply_options o;

	(void)state;
	refuse("foo", "'foo'");
	refuse("foo=bar", "'foo'");
	refuse("=", "''");
	refuse("UPPERDIR=/u", "unknown");
	refuse("uperdir=/u", "did you mean 'upperdir'");
	refuse("passthru=off", "unknown");
	refuse("metacpy=on", "did you mean 'metacopy'");
	refuse("a_very_long_word_that_is_nothing_at_all_and_no_option=1", "unknown");
	assert_int_equal(parse_list_as("/usr/bin/fuse-overlayfs", &o, "foo,bar=1,redirect_dir=off"), 0);
	assert_string_equal(warn, "unknown option 'foo' is ignored\nunknown option 'bar' is ignored\n");
	ply_options_free(&o);
	assert_int_equal(parse_list_as("fuse-overlayfs", &o, "fsync=maybe"), -EINVAL);
	accept(&o, "auto_unmount");
	assert_non_null(strstr(warn, "auto_unmount"));
	ply_options_free(&o);
}

static void mount_words(void **state)
{
	struct ply_options o;

	(void)state;
	accept(&o, "defaults,rw,relatime,nofail,_netdev,noauto,user,x-systemd.automount,X-mount.mkdir=0755,"
		   "comment=hello,async,nodiratime,strictatime,nonempty,loud,nfs_export=off,verity=off,uuid=auto");
	assert_string_equal(o.kernel_opts, "strictatime,nodiratime");
	assert_false(o.ro || o.atime_off);
	assert_null(warn);
	ply_options_free(&o);
	accept(&o, "ro,nosuid,nodev,noexec,noatime,sync,dirsync,lazytime,nosymfollow");
	assert_string_equal(o.kernel_opts, "ro,nosuid,nodev,noexec,noatime,sync,dirsync,lazytime,nosymfollow");
	assert_true(o.ro && o.nosuid && o.nodev && o.noexec && o.atime_off);
	ply_options_free(&o);
	accept(&o, "ro,rw,noexec,exec,noatime,relatime,nosuid,suid,nodev,dev,sync,async");
	assert_null(o.kernel_opts);
	assert_true(!o.ro && o.exec && !o.noexec && o.suid && !o.nosuid && o.dev && !o.nodev && !o.atime_off);
	ply_options_free(&o);
}

static void what_belongs_together(void **state)
{
	struct ply_options o;

	(void)state;
	accept(&o, "squash_to_root");
	assert_true(o.squash_to_root && o.uids.squash && o.gids.squash);
	assert_int_equal(ply_idmap_show(&o.uids, 7), 0);
	ply_options_free(&o);
	accept(&o, "squash_to_uid=5");
	assert_true(o.uids.squash && !o.gids.squash);
	assert_int_equal(ply_idmap_store(&o.uids, 7), 5);
	assert_int_equal(ply_idmap_store(&o.gids, 7), 7);
	ply_options_free(&o);
	refuse("squash_to_root,squash_to_gid=1", "squash_to_root");
	refuse("metacopy=on,redirect_dir=off,upperdir=u,workdir=w", "metacopy");
	assert_int_equal(parse_list_as("fuse-overlayfs", &o, "metacopy=on,redirect_dir=off,upperdir=u,workdir=w"), 0);
	assert_int_equal(o.metacopy, PLY_OFF);
	assert_non_null(strstr(warn, "metacopy"));
	ply_options_free(&o);
	accept(&o, "plugins=x");
	ply_options_free(&o);
	refuse("plugins=x,lowerdir+=//plug/data", "plugin");
	accept(&o, "lowerdir+=//srv/data");
	ply_options_free(&o);
	assert_int_equal(parse_list_as("fuse-overlayfs", &o, "lowerdir+=//plug/data"), -EINVAL);
}

/* What the man page and --help promise: every option that is read is named there. */
static void help_names_every_option(void **state)
{
	static const char *const names[] = {
		"lowerdir=", "lowerdir+=", "datadir+=", "upperdir=", "workdir=", "redirect_dir=", "index=", "metacopy=",
		"xino=", "userxattr", "volatile", "fsync=", "timeout=", "threaded=", "threads=", "noacl", "noxattrs",
		"ro", "suid", "dev", "exec", "allow_other", "allow_root", "default_permissions", "fsname=", "subtype=",
		"passthrough=", "max_stack_depth=", "static=", "uidmapping=", "gidmapping=", "squash_to_root",
		"squash_to_uid=", "squash_to_gid=", "xattr_permissions=", "static_nlink", "fast_ino=", "writeback=",
		"plugins=", "context=", "io_uring", "clone_fd", "-f", "-d", "-h", "-V", "--version", "--help",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strstr(ply_options_help, names[i]))
			fail_msg("--help does not name '%s'", names[i]);
}

/* Each allocation fails once: -ENOMEM with a line about it, and a sanitizer finds nothing left behind. */
static void out_of_memory(void **state)
{
	static const char list[] = "lowerdir=/a:/b::/c,lowerdir=/d:/e,datadir+=/f,upperdir=/u,workdir=/w,static=/x:/y,"
		"uidmapping=0:0:1:5:5:1,context=\"a,b\",fsname=n,noatime,nosuid,unknown,metacopy=on,redirect_dir=off";
	int n, r = -ENOMEM;

	(void)state;
	for (n = 1; r == -ENOMEM; n++) {
		char *argv[] = { (char[]){ "fuse-overlayfs" }, (char[]){ "src" }, (char[]){ "/m" }, (char[]){ "-o" },
			strdup(list), NULL };
		struct ply_options o;

		free(warn);
		warn = NULL;
		err[0] = 0;
		fail_at = n;
		r = ply_options_parse(&o, 5, argv, err, sizeof(err), &warn);
		fail_at = 0;
		free(argv[4]);
		if (r == 0)
			ply_options_free(&o);
		else
			assert_non_null(strstr(err, "out of memory"));
	}
	assert_int_equal(r, 0);
	assert_in_range(n, 40, 200);
}

/* Random lists of real pieces: never a crash, never an error without a text. */
static void noise_is_harmless(void **state)
{
	static const char *const piece[] = {
		"lowerdir", "+", "=", ":", "::", ",", "\\", "\"", "/a", "upperdir", "workdir", "=0", "=1", "=on", "\\040",
		"context", "x-", "static", "uidmapping", "0:0:1", "fsync", "timeout", "\\:", "\\,", "volatile", "\xff", " ",
	};
	uint64_t seed = 88172645463325252ULL;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct ply_options o;
		ply_autobuf text = { 0 };

		ply_buf_addstr(&text, "lowerdir=/l,");
		for (unsigned int n = (unsigned int)(rnd(&seed) % 14); n; n--)
			ply_buf_addstr(&text, piece[rnd(&seed) % PLY_ARRAY_SIZE(piece)]);
		if (parse_list_as(round & 1 ? "fuse-overlayfs" : "plyfs", &o, text.data) == 0) {
			assert_true(o.nlower > o.ndata);
			ply_options_free(&o);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(without_an_upper_redirects_are_followed_only),
		cmocka_unit_test(the_forms_of_argv),
		cmocka_unit_test(help_and_version_need_nothing_else),
		cmocka_unit_test(broken_argv),
		cmocka_unit_test(escapes),
		cmocka_unit_test(layers_add_up),
		cmocka_unit_test(broken_layers),
		cmocka_unit_test(five_hundred_layers_and_no_more),
		cmocka_unit_test(podmans_commas),
		cmocka_unit_test(words),
		cmocka_unit_test(fsync_words),
		cmocka_unit_test(threads_and_threaded),
		cmocka_unit_test(malformed_values),
		cmocka_unit_test(unknown_words),
		cmocka_unit_test(mount_words),
		cmocka_unit_test(what_belongs_together),
		cmocka_unit_test(help_names_every_option),
		cmocka_unit_test(out_of_memory),
		cmocka_unit_test(noise_is_harmless),
	};
	int r = cmocka_run_group_tests_name("options", tests, NULL, NULL);

	free(warn);
	return r;
}
