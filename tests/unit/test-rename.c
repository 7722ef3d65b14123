// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Names that come, go and move, on real layers, while the nth layer syscall fails: the lowers stay as they are, work/ is
 * left clean, the live tree is what a new mount of the same layers shows, and the errno arrives.
 *
 * wrap: see below; only calls that change something are made to fail (the rest is tested with lookup).
 */
// wrap: ply_sys_open ply_sys_mkdir ply_sys_mknod ply_sys_symlink ply_sys_tmpfile ply_sys_link ply_sys_unlink
// wrap: ply_sys_rmdir ply_sys_rename ply_sys_chown ply_sys_chmod ply_sys_utimens ply_sys_ftruncate ply_sys_fsync
// wrap: ply_sys_pwrite ply_sys_copy_range ply_sys_clone_file ply_sys_setxattr ply_sys_removexattr ply_sys_stat
#include "unit.h"

#include "faults.h"

#include "attr.h"
#include "backing.h"
#include "dirops.h"
#include "hash.h"
#include "lookup.h"
#include "readdir.h"
#include "rename.h"

#include <errno.h>
#include <ftw.h>
#include <sys/stat.h>

static char base[200];
static struct ply_options opt;
static struct ply_fs *fs;
static const struct ply_cred cred = { .umask = 022 };

/* ---- the stage ---- */

static int rm_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st, (void)flag, (void)f;
	return remove(path);
}

static void sh(const char *cmd)
{
	char line[1024];

	snprintf(line, sizeof(line), "cd %s && %s", base, cmd);
	assert_int_equal(system(line), 0);
}

static void fs_open(void)
{
	char opts[700], err[512] = "";
	char *argv[] = { (char[]){ "plyfs" }, (char[]){ "-o" }, opts, (char[]){ "/nonexistent-mountpoint" }, NULL };

	snprintf(opts, sizeof(opts), "lowerdir=%s/l1:%s/l2,upperdir=%s/up,workdir=%s/work,index=on,fsync=0%s",
		 base, base, base, base, geteuid() ? ",userxattr" : "");
	if (ply_options_parse(&opt, 4, argv, err, sizeof(err), NULL))
		fail_msg("%s", err);
	if (ply_fs_new(&fs, &opt, err, sizeof(err)))
		fail_msg("%s", err);
	if (ply_backing_pool_new(fs, 16))
		fail_msg("no memory");
}

static void fs_close(void)
{
	ply_backing_pool_free(fs);
	ply_fs_free(fs);
	ply_options_free(&opt);
}

static void stage_set(const char *more)
{
	nftw(base, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	mkdir(base, 0755);
	sh("mkdir -p l1/d/sub l2/d/deep l2/only/in l2/d/sub up work && mkdir -m 2775 l2/sgid && "
	   "echo l1 >l1/d/f && echo l2 >l2/d/f && echo g >l2/d/sub/g && echo a >l2/a && ln l2/a l2/b && "
	   "ln -s target l2/link && mkfifo l2/fifo && echo in >l2/only/in/x && mkdir l2/empty && "
	   "mkdir -p up/u/v && echo u >up/u/f && ln up/u/f up/hard && mkdir up/bare");
	if (more)
		sh(more);
	fs_open();
}

/* ---- the union as text ---- */

struct dump {
	struct ply_buf *out;
	struct ply_node *dir;
	const char *path;
	char **names;
	size_t n;
};

static int dump_emit(void *arg, const struct ply_readdir_entry *e)
{
	struct dump *d = arg;

	if (!strcmp(e->name, ".") || !strcmp(e->name, ".."))
		return 0;
	d->names = realloc(d->names, (d->n + 1) * sizeof(*d->names));
	assert_non_null(d->names);
	d->names[d->n++] = strdup(e->name);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void dump_dir(struct ply_buf *out, struct ply_node *dir, const char *path)
{
	struct dump d = { .out = out, .dir = dir, .path = path };
	bool end;
	size_t i;

	assert_int_equal(ply_readdir(fs, dir, 0, false, 0, dump_emit, &d, &end), 0);
	assert_true(end);
	if (d.n)
		qsort(d.names, d.n, sizeof(*d.names), by_name);
	for (i = 0; i < d.n; i++) {
		struct ply_node *n;
		struct stat st;
		char sub[512];
		int r = ply_lookup(fs, dir, d.names[i], &n, &st);

		if (r)
			fail_msg("%s/%s is listed, lookup says %s", path, d.names[i], strerror(-r));
		assert_int_equal(ply_attr_get(fs, n, NULL, &st), 0);
		snprintf(sub, sizeof(sub), "%s/%s", path, d.names[i]);
		ply_buf_printf(out, "%s %o %u:%u %llu %lld %lld\n", sub, st.st_mode, st.st_uid, st.st_gid,
			       (unsigned long long)st.st_ino, S_ISDIR(st.st_mode) ? 0 : (long long)st.st_nlink,
			       S_ISDIR(st.st_mode) ? 0 : (long long)st.st_size);
		if (S_ISDIR(st.st_mode))
			dump_dir(out, n, sub);
		ply_node_put(fs->graph, n);
		free(d.names[i]);
	}
	free(d.names);
}

static char *dump(void)
{
	struct ply_buf out = { 0 };

	ply_buf_addstr(&out, "");
	dump_dir(&out, fs->root, "");
	return out.data;
}

/* ---- acting by path ---- */

static struct ply_node *walk(const char *path)
{
	struct ply_node *n = ply_node_ref(fs->graph, fs->root), *next;
	char part[256];
	struct stat st;

	while (*path) {
		size_t len = strcspn(path, "/");

		snprintf(part, sizeof(part), "%.*s", (int)len, path);
		path += len + (path[len] == '/');
		if (ply_lookup(fs, n, part, &next, &st)) {
			ply_node_put(fs->graph, n);
			return NULL;
		}
		ply_node_put(fs->graph, n);
		n = next;
	}
	return n;
}

/* Splits "a/b/c" into the node of a/b and "c"; a walk that fails under a fault gives EIO. */
static struct ply_node *parent_of(const char *path, const char **name)
{
	char dir[256] = "";
	const char *slash = strrchr(path, '/');

	if (slash)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	*name = slash ? slash + 1 : path;
	return walk(dir);
}

struct action {
	const char *what;		/* mkdir create symlink fifo link unlink rmdir rename exchange */
	const char *a, *b;
	const char *more;		/* shell: further stage */
	int result;			/* without a fault */
};

static int act(const struct action *x)
{
	struct ply_node *da, *db = NULL, *n = NULL;
	const char *na, *nb = NULL;
	struct stat st;
	int r = -EIO, fd = -1;

	da = parent_of(x->a, &na);
	if (x->b)
		db = parent_of(x->b, &nb);
	if (!da || (x->b && !db))
		goto out;
	if (!strcmp(x->what, "mkdir"))
		r = ply_dirops_mkdir(fs, da, na, 0755, &cred, &n, &st);
	else if (!strcmp(x->what, "create"))
		r = ply_dirops_create(fs, da, na, 0644, O_RDWR, &cred, &fd, &n, &st);
	else if (!strcmp(x->what, "symlink"))
		r = ply_dirops_symlink(fs, da, na, "target", &cred, &n, &st);
	else if (!strcmp(x->what, "fifo"))
		r = ply_dirops_mknod(fs, da, na, S_IFIFO | 0600, 0, &cred, &n, &st);
	else if (!strcmp(x->what, "unlink"))
		r = ply_dirops_unlink(fs, da, na);
	else if (!strcmp(x->what, "rmdir"))
		r = ply_dirops_rmdir(fs, da, na);
	else if (!strcmp(x->what, "rename"))
		r = ply_rename(fs, da, na, db, nb, 0);
	else if (!strcmp(x->what, "noreplace"))
		r = ply_rename(fs, da, na, db, nb, RENAME_NOREPLACE);
	else if (!strcmp(x->what, "exchange"))
		r = ply_rename(fs, da, na, db, nb, RENAME_EXCHANGE);
	else if (!strcmp(x->what, "link")) {
		struct ply_node *src = walk(x->a);

		r = src ? ply_dirops_link(fs, src, db, nb, &st) : -EIO;
		if (src)
			ply_node_put(fs->graph, src);
	} else {
		fail_msg("no action %s", x->what);
	}
	if (!r && n)
		ply_node_put(fs->graph, n);
	if (fd >= 0)
		close(fd);
out:
	if (da)
		ply_node_put(fs->graph, da);
	if (db)
		ply_node_put(fs->graph, db);
	return r;
}

static char *lowers(void)
{
	char cmd[512], *text = calloc(1, 65536);
	FILE *p;

	snprintf(cmd, sizeof(cmd), "cd %s && find l1 l2 -printf '%%p %%y %%m %%U:%%G %%s %%n %%T@\\n' | sort; "
		 "cd %s && find l1 l2 -type f | sort | xargs cat", base, base);
	p = popen(cmd, "r");
	assert_non_null(p);
	assert_non_null(text);
	text[fread(text, 1, 65535, p)] = 0;
	pclose(p);
	return text;
}

static void work_is_clean(const struct action *x, const char *failed)
{
	char cmd[512], line[256] = "";
	FILE *p;

	snprintf(cmd, sizeof(cmd), "find %s/work/work -mindepth 1 ! -type c", base);
	p = popen(cmd, "r");
	assert_non_null(p);
	if (fgets(line, sizeof(line), p))
		fail_msg("%s %s: %s failed and left %s", x->what, x->a, failed ? failed : "nothing", line);
	pclose(p);
}

static const struct action actions[] = {
	{ "create", "new", NULL, NULL, 0 },
	{ "create", "d/new", NULL, NULL, 0 },
	{ "create", "only/in/new", NULL, NULL, 0 },
	{ "create", "d/f", NULL, NULL, -EEXIST },
	{ "create", "u/f", NULL, NULL, -EEXIST },
	{ "create", "gone", NULL, "mknod up/gone c 0 0 && echo gone >l2/gone", 0 },
	{ "mkdir", "gone", NULL, "mknod up/gone c 0 0 && mkdir l2/gone && echo x >l2/gone/x", 0 },
	{ "mkdir", "bare/stray", NULL, "mknod up/bare/stray c 0 0", 0 },
	{ "mkdir", "d/new", NULL, NULL, 0 },
	{ "mkdir", "sgid/new", NULL, NULL, 0 },
	{ "symlink", "gone", NULL, "mknod up/gone c 0 0 && echo gone >l2/gone", 0 },
	{ "fifo", "only/pipe", NULL, NULL, 0 },
	{ "link", "a", "d/a2", NULL, 0 },
	{ "link", "u/f", "gone", "mknod up/gone c 0 0 && echo gone >l2/gone", 0 },
	{ "link", "d/sub/g", "u/g", NULL, 0 },
	{ "unlink", "u/f", NULL, NULL, 0 },
	{ "unlink", "d/f", NULL, NULL, 0 },
	{ "unlink", "a", NULL, NULL, 0 },
	{ "unlink", "link", NULL, NULL, 0 },
	{ "unlink", "only/in/x", NULL, NULL, 0 },
	{ "unlink", "over", NULL, "echo l >l2/over && echo u >up/over", 0 },
	{ "rmdir", "bare", NULL, NULL, 0 },
	{ "rmdir", "empty", NULL, NULL, 0 },
	{ "rmdir", "d", NULL, NULL, -ENOTEMPTY },
	{ "rmdir", "m", NULL, "mkdir l2/m up/m && echo x >l2/m/x && mknod up/m/x c 0 0", 0 },
	{ "rmdir", "bare", NULL, "mknod up/bare/stray c 0 0", 0 },
	{ "rename", "u/f", "u/g", NULL, 0 },
	{ "rename", "d/f", "d/f2", NULL, 0 },
	{ "rename", "d/f", "u/f", NULL, 0 },
	{ "rename", "a", "c", NULL, 0 },
	{ "rename", "a", "b", NULL, 0 },
	{ "rename", "u/f", "a", NULL, 0 },
	{ "rename", "only", "d/only", NULL, 0 },
	{ "rename", "d", "e", NULL, 0 },
	{ "rename", "d", "only/e", NULL, 0 },
	{ "rename", "d/sub", "u/v", NULL, 0 },
	{ "rename", "u/v", "empty", NULL, 0 },
	{ "rename", "only", "m", "mkdir l2/m up/m && echo x >l2/m/x && mknod up/m/x c 0 0", 0 },
	{ "rename", "u", "m", "mkdir l2/m up/m && echo x >l2/m/x && mknod up/m/x c 0 0", 0 },
	{ "rename", "u", "gone", "mknod up/gone c 0 0 && mkdir l2/gone && echo x >l2/gone/x", 0 },
	{ "rename", "only", "gone", "mknod up/gone c 0 0 && mkdir l2/gone && echo x >l2/gone/x", 0 },
	{ "rename", "d/f", "gone", "mknod up/gone c 0 0 && mkdir l2/gone && echo x >l2/gone/x", 0 },
	{ "rename", "d", "d/sub/e", NULL, -EINVAL },
	{ "rename", "u", "d", NULL, -ENOTEMPTY },
	{ "noreplace", "u/f", "a", NULL, -EEXIST },
	{ "noreplace", "only/in/x", "x", NULL, 0 },
	{ "exchange", "u/f", "d/f", NULL, 0 },
	{ "exchange", "d", "u", NULL, 0 },
	{ "exchange", "a", "only", NULL, 0 },
	{ "exchange", "d/sub", "only/in", NULL, 0 },
};

static void check(const struct action *x, const char *before, const char *low, int r, const char *failed)
{
	char *live, *again, *now;

	live = dump();
	if (r)
		assert_string_equal(live, before);
	fs_close();
	work_is_clean(x, failed);
	now = lowers();
	assert_string_equal(now, low);
	fs_open();
	again = dump();
	if (strcmp(live, again)) {
		print_error("%s %s %s, %s failed, result %d\n", x->what, x->a, x->b ? x->b : "", failed ? failed : "nothing", r);
		assert_string_equal(live, again);
	}
	free(live);
	free(again);
	free(now);
}

/*
 * What an undo meets under "every later call fails too" is not promised; one failing call must leave no trace.
 * Two exceptions are documented: a target directory may be gone, as a crash could have it.
 */
static void test_actions(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < PLY_ARRAY_SIZE(actions); i++) {
		const struct action *x = &actions[i];
		long n;

		for (n = 1;; n++) {
			const char *failed;
			char *before, *low;
			int r;

			stage_set(x->more);
			before = dump();
			low = lowers();
			faults_arm(n, EDQUOT, FAULTS_CHANGES);
			r = act(x);
			failed = faults_disarm();
			if (failed && r && r != -EDQUOT && r != -EXDEV && r != x->result)
				fail_msg("%s %s: %s failed with EDQUOT, the caller got %s", x->what, x->a, failed,
					 strerror(-r));
			if (!failed && r != x->result)
				fail_msg("%s %s %s: %d instead of %d", x->what, x->a, x->b ? x->b : "", r, x->result);
			check(x, before, low, r, failed);
			fs_close();
			free(before);
			free(low);
			if (!failed)
				break;
			assert_in_range(n, 1, 200);
		}
	}
}

/* The directories that were moved stay what they are for later changes in them. */
static void test_moved(void **state)
{
	static const struct action steps[] = {
		{ "rename", "d", "e", NULL, 0 },
		{ "create", "d", NULL, NULL, 0 },
		{ "unlink", "e/f", NULL, NULL, 0 },
		{ "rename", "e/sub", "only/s", NULL, 0 },
		{ "rename", "only", "o", NULL, 0 },
		{ "rename", "o/s/g", "g", NULL, 0 },
		{ "rmdir", "o/s", NULL, NULL, 0 },
		{ "mkdir", "o/s", NULL, NULL, 0 },
		{ "create", "o/s/new", NULL, NULL, 0 },
		{ "rename", "o/in", "e/in", NULL, 0 },
		{ "mkdir", "only", NULL, NULL, 0 },
		{ "unlink", "d", NULL, NULL, 0 },
		{ "rename", "e", "d", NULL, 0 },
		{ "exchange", "d/in", "o", NULL, 0 },
	};
	char *low, *live = NULL;
	size_t i;

	(void)state;
	stage_set(NULL);
	low = lowers();
	for (i = 0; i < PLY_ARRAY_SIZE(steps); i++) {
		assert_int_equal(act(&steps[i]), 0);
		live = dump();
		check(&steps[i], live, low, 0, NULL);
		free(live);
	}
	fs_close();
	free(low);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_moved),
	};
	const char *tmp = getenv("TMPDIR");
	int r;

	ply_hash_init();
	umask(0);
	snprintf(base, sizeof(base), "%s/ply-rename-%d", tmp ? tmp : "/tmp", getpid());
	r = cmocka_run_group_tests(tests, NULL, NULL);
	nftw(base, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	return r;
}
