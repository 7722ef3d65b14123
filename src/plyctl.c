// SPDX-License-Identifier: GPL-2.0-or-later
/* plyctl: shows what plyfs mounts do; asks their daemons, never the mounts. */
#include "control.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CTL_DIRS 64
#define CTL_WAIT_SECONDS 10

static const char usage[] =
	"usage: plyctl status [--json | --openmetrics] [MOUNTPOINT...]\n"
	"       plyctl --help | --version\n"
	"Shows what plyfs mounts do: layers, passthrough, counters, sizes. Without MOUNTPOINT\n"
	"all mounts that you may ask. The mounts themselves are not touched.\n";

enum format { TABLE, JSON, OPENMETRICS };

/* --- finding mounts --- */

struct found {
	char *path;
	char device[32];		/* MAJOR:MINOR */
	bool fuse;
};

struct mounts {
	struct found *m;
	size_t n;
};

/* mountinfo writes space, tab, newline and backslash as octal. */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

static int mounts_add(struct mounts *ms, char *line)
{
	char *word[5], *type, *save = NULL;
	struct found *grown;
	size_t i;

	type = strstr(line, " - ");
	for (i = 0; i < 5; i++) {
		word[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!word[i])
			return 0;
	}
	if (!type || strlen(word[2]) >= sizeof(ms->m->device))
		return 0;
	grown = realloc(ms->m, (ms->n + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	ms->m = grown;
	unescape(word[4]);
	grown[ms->n].path = strdup(word[4]);
	if (!grown[ms->n].path)
		return -ENOMEM;
	grown[ms->n].fuse = !strncmp(type + 3, "fuse", 4);
	strcpy(grown[ms->n].device, word[2]);
	ms->n++;
	return 0;
}

static void mounts_free(struct mounts *ms)
{
	size_t i;

	for (i = 0; i < ms->n; i++)
		free(ms->m[i].path);
	free(ms->m);
	*ms = (struct mounts){ 0 };
}

static int mounts_read(struct mounts *ms)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	ply_autofree char *line = NULL;
	size_t cap = 0;
	int err = 0;

	if (!f)
		return -errno;
	while (!err && getline(&line, &cap, f) > 0)
		err = mounts_add(ms, line);
	fclose(f);
	return err;
}

/*
 * The absolute path without asking the mount itself: only what leads to it is resolved. What is said last stays
 * as it is, but for "." and "..", which need no name.
 */
static char *absolute(const char *arg)
{
	ply_autofree char *copy = strdup(arg), *parent = NULL;
	char *slash, *out = NULL;
	size_t n;

	if (!copy)
		return NULL;
	for (n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	slash = strrchr(copy, '/');
	if (!strcmp(slash ? slash + 1 : copy, ".") || !strcmp(slash ? slash + 1 : copy, "..") || !strcmp(copy, "/"))
		return realpath(copy, NULL);
	if (slash == copy)
		return strdup(copy);
	if (slash)
		*slash = '\0';
	parent = realpath(slash ? copy : ".", NULL);
	if (!parent)
		return NULL;
	if (asprintf(&out, "%s/%s", strcmp(parent, "/") ? parent : "", slash ? slash + 1 : copy) < 0)
		return NULL;
	return out;
}

/* The topmost mount at the path. */
static const struct found *mounts_find(const struct mounts *ms, const char *path)
{
	size_t i;

	for (i = ms->n; i > 0; i--)
		if (!strcmp(ms->m[i - 1].path, path))
			return &ms->m[i - 1];
	return NULL;
}

/* --- asking --- */

static int ask_dir(const char *dir, const char *device, json_t **out)
{
	struct timeval limit = { .tv_sec = CTL_WAIT_SECONDS };
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	ply_autofd d = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), s = -1;
	ply_autobuf doc = { 0 };
	json_error_t e;
	char buf[2048];
	ssize_t n;

	if (d < 0)
		return -errno;
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s.sock", d, device);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0 || connect(s, (struct sockaddr *)&a, sizeof(a)))
		return -errno;
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	while ((n = read(s, buf, sizeof(buf))) > 0)
		if (ply_buf_add(&doc, buf, (size_t)n))
			return -ENOMEM;
	if (n < 0)
		return -errno;
	/* The daemon hangs up on whom it does not know. */
	if (!doc.len)
		return -EACCES;
	*out = json_loadb(doc.data, doc.len, 0, &e);
	return *out ? 0 : -EPROTO;
}

static int ask(const char *device, json_t **out)
{
	char *dirs[CTL_DIRS];
	size_t n = ply_control_dirs(dirs, CTL_DIRS), i;
	int err = -ENOENT;

	for (i = 0; i < n; i++) {
		int r = err ? ask_dir(dirs[i], device, out) : err;

		if (!r)
			err = 0;
		/* That a directory is not there says less than anything else. */
		else if (err && r != -ENOENT && r != -ENOTDIR)
			err = r;
		free(dirs[i]);
	}
	return err;
}

/* --- showing --- */

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static unsigned long long num(const json_t *o, const char *key)
{
	return (unsigned long long)json_integer_value(json_object_get(o, key));
}

static bool yes(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

/* Nothing that a name contains may drive the terminal. */
static void say(const char *s)
{
	for (; *s; s++)
		putchar((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
}

static void table_layers(const json_t *doc)
{
	const json_t *l;
	size_t i;

	printf("  %-6s %-10s %-6s %-13s %s\n", "LAYER", "FILESYSTEM", "DEPTH", "PASSTHROUGH", "PATH");
	json_array_foreach(json_object_get(doc, "layers"), i, l) {
		const json_t *depth = json_object_get(l, "stack_depth");
		char d[16] = "-";

		if (json_is_integer(depth))
			snprintf(d, sizeof(d), "%lld", (long long)json_integer_value(depth));
		printf("  %-6s %-10s %-6s %-13s ", str(l, "role"), str(l, "filesystem"), d, str(l, "passthrough"));
		say(str(l, "path"));
		if (*str(l, "why")) {
			printf("  (");
			say(str(l, "why"));
			putchar(')');
		}
		putchar('\n');
	}
}

static void table_numbers(const char *title, json_t *o)
{
	const char *key;
	json_t *v;
	bool any = false;

	json_object_foreach(o, key, v) {
		if (!json_integer_value(v))
			continue;
		printf("%s%s=%lld", any ? " " : title, key, (long long)json_integer_value(v));
		any = true;
	}
	if (any)
		putchar('\n');
}

static void show_table(const json_t *doc)
{
	const json_t *pt = json_object_get(doc, "passthrough"), *pr = json_object_get(doc, "protocol");
	const json_t *io = json_object_get(doc, "io_uring");

	say(str(doc, "mountpoint"));
	printf("  (");
	say(str(doc, "source"));
	printf(", plyfs %s, pid %llu, %s)\n", str(doc, "version"), num(doc, "pid"), yes(doc, "writable") ? "writable" : "read-only");
	table_layers(doc);
	printf("  protocol     %llu.%llu, max_write %llu%s%s\n", num(pr, "major"), num(pr, "minor"), num(pr, "max_write"),
	       yes(pr, "posix_acl") ? ", ACLs" : "", yes(doc, "writeback") ? ", writeback cache" : "");
	printf("  passthrough  policy %s; ", str(pt, "policy"));
	if (yes(pt, "active")) {
		printf("granted at stack depth %llu\n", num(pt, "max_stack_depth"));
	} else {
		printf("none: ");
		say(str(pt, "why"));
		putchar('\n');
	}
	if (yes(io, "active")) {
		printf("  io_uring     %llu threads\n", num(io, "threads"));
	} else if (*str(io, "why")) {
		printf("  io_uring     not used: ");
		say(str(io, "why"));
		putchar('\n');
	}
	printf("  open files   %llu in passthrough, %llu cached; backing ids: %llu in use, %llu kept\n", num(pt, "handles"),
	       num(pt, "handles_cached_mode"), num(pt, "ids_live"), num(pt, "ids_cached"));
	table_numbers("  counters     ", json_object_get(doc, "counters"));
	table_numbers("  requests     ", json_object_get(doc, "requests"));
	table_numbers("  by layer     ", json_object_get(doc, "lookups_by_layer"));
	table_numbers("  sizes        ", json_object_get(doc, "sizes"));
}

static void metric_label(const json_t *doc)
{
	const char *s = str(doc, "mountpoint");

	printf("{mount=\"");
	for (; *s; s++) {
		if (*s == '\\' || *s == '"')
			putchar('\\');
		if (*s == '\n')
			fputs("\\n", stdout);
		else
			putchar(*s);
	}
	putchar('"');
}

/* One metric for each member of an object, or (label) one metric with the member's name as a label. */
static void metrics_of(const json_t *docs, const char *object, const char *metric, const char *label, bool counter)
{
	const char *suffix = counter ? "_total" : "", *key;
	json_t *doc, *v, *first = json_object_get(json_array_get(docs, 0), object);
	size_t i;

	if (label) {
		printf("# TYPE plyfs_%s %s\n", metric, counter ? "counter" : "gauge");
		json_array_foreach(docs, i, doc) {
			json_object_foreach(json_object_get(doc, object), key, v) {
				printf("plyfs_%s%s", metric, suffix);
				metric_label(doc);
				printf(",%s=\"%s\"} %lld\n", label, key, (long long)json_integer_value(v));
			}
		}
		return;
	}
	json_object_foreach(first, key, v) {
		if (!json_is_integer(v))
			continue;
		printf("# TYPE plyfs_%s%s %s\n", metric, key, counter ? "counter" : "gauge");
		json_array_foreach(docs, i, doc) {
			printf("plyfs_%s%s%s", metric, key, suffix);
			metric_label(doc);
			printf("} %llu\n", num(json_object_get(doc, object), key));
		}
	}
}

static void show_openmetrics(const json_t *docs)
{
	json_t *doc;
	size_t i;

	if (json_array_size(docs)) {
		printf("# TYPE plyfs_passthrough_active gauge\n");
		json_array_foreach(docs, i, doc) {
			printf("plyfs_passthrough_active");
			metric_label(doc);
			printf("} %d\n", yes(json_object_get(doc, "passthrough"), "active"));
		}
		metrics_of(docs, "counters", "", NULL, true);
		metrics_of(docs, "requests", "requests", "opcode", true);
		metrics_of(docs, "lookups_by_layer", "lookups", "layer", true);
		metrics_of(docs, "passthrough", "passthrough_", NULL, false);
		metrics_of(docs, "sizes", "", NULL, false);
	}
	printf("# EOF\n");
}

static void show(const json_t *docs, enum format f)
{
	json_t *doc;
	size_t i;

	switch (f) {
	case TABLE:
		json_array_foreach(docs, i, doc) {
			if (i)
				putchar('\n');
			show_table(doc);
		}
		break;
	case JSON:
		json_dumpf(docs, stdout, JSON_INDENT(2));
		putchar('\n');
		break;
	case OPENMETRICS:
		show_openmetrics(docs);
		break;
	}
}

/* --- status --- */

static int status_one(const struct mounts *ms, const char *arg, json_t *docs)
{
	ply_autofree char *path = absolute(arg);
	const struct found *m;
	json_t *doc;
	int err;

	if (!path) {
		fprintf(stderr, "plyctl: %s: %s\n", arg, strerror(errno));
		return 1;
	}
	m = mounts_find(ms, path);
	if (!m || !m->fuse) {
		fprintf(stderr, "plyctl: %s: %s\n", arg, m ? "no plyfs mount" : "nothing is mounted there");
		return 1;
	}
	err = ask(m->device, &doc);
	if (err) {
		fprintf(stderr, "plyctl: %s: %s\n", arg,
			err == -ENOENT ? "no plyfs mount, or one of somebody else" :
			err == -ECONNREFUSED ? "its daemon is gone" : strerror(-err));
		return 1;
	}
	json_array_append_new(docs, doc);
	return 0;
}

/* All that answer; a mount that shows at several places once. */
static void status_all(const struct mounts *ms, json_t *docs)
{
	size_t i, k;
	json_t *doc;

	for (i = 0; i < ms->n; i++) {
		bool seen = false;

		for (k = 0; k < i && !seen; k++)
			seen = !strcmp(ms->m[k].device, ms->m[i].device);
		if (ms->m[i].fuse && !seen && !ask(ms->m[i].device, &doc))
			json_array_append_new(docs, doc);
	}
}

static int status(int argc, char **argv)
{
	enum format f = TABLE;
	struct mounts ms = { 0 };
	bool named = false, words_only = false;
	json_t *docs;
	int i, bad = 0;

	for (i = 0; i < argc; i++) {
		if (words_only || argv[i][0] != '-') {
			named = true;
		} else if (!strcmp(argv[i], "--")) {
			words_only = true;
		} else if (!strcmp(argv[i], "--json")) {
			f = JSON;
		} else if (!strcmp(argv[i], "--openmetrics")) {
			f = OPENMETRICS;
		} else {
			fprintf(stderr, "plyctl: unknown option %s\n%s", argv[i], usage);
			return 2;
		}
	}
	if (mounts_read(&ms)) {
		fprintf(stderr, "plyctl: /proc/self/mountinfo cannot be read\n");
		mounts_free(&ms);
		return 1;
	}
	docs = json_array();
	words_only = false;
	for (i = 0; i < argc; i++) {
		if (!words_only && !strcmp(argv[i], "--"))
			words_only = true;
		else if (words_only || argv[i][0] != '-')
			bad |= status_one(&ms, argv[i], docs);
	}
	if (!named)
		status_all(&ms, docs);
	if (json_array_size(docs) || !named || f == JSON)
		show(docs, f);
	json_decref(docs);
	mounts_free(&ms);
	return bad;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && !strcmp(argv[1], "status"))
		return status(argc - 2, argv + 2);
	if (argc == 2 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"))) {
		fputs(usage, stdout);
		return 0;
	}
	if (argc == 2 && (!strcmp(argv[1], "-V") || !strcmp(argv[1], "--version"))) {
		printf("%s\n", PACKAGE_STRING);
		return 0;
	}
	fputs(usage, stderr);
	return 2;
}
