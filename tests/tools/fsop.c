// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fsop: does and checks file operations for the bats files.
 *
 *   fsop [-C dir] CMD ARG... , CMD ARG... , ...
 *
 * Commands run one after the other in one process, so that handles live on
 * from one to the next; a single "," separates them.  "!ENAME CMD" demands
 * that CMD fails with that errno, "child CMD" runs it in a forked process.
 * The first failure ends the program with status 1 and one line on stderr.
 *
 * An FD argument is a name given by open, or "cwd", or "-" followed by a path
 * where a command takes both ("P" below: the path itself, or @NAME for a
 * handle).  Data arguments know \n \t \\ \0 \xHH, and 0x... is bytes in hex.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define MISMATCH 100000 /* a result that is not an errno: it was not what the test expects */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

struct word {
	const char *name;
	unsigned long value;
};

struct handle {
	char name[32];
	int fd;
	DIR *dir;
	char *map;
	size_t len;
};

static struct handle handles[256];

static int syserr(long ret)
{
	return ret < 0 ? -errno : 0;
}

static int mismatch(const char *what, const char *got, const char *want)
{
	fprintf(stderr, "fsop: %s: got '%.300s', want '%.300s'\n", what, got, want);
	return -MISMATCH;
}

static int mismatch_num(const char *what, long long got, long long want)
{
	fprintf(stderr, "fsop: %s: got %lld, want %lld\n", what, got, want);
	return -MISMATCH;
}

static __attribute__((noreturn)) void usage(const char *what, const char *arg)
{
	fprintf(stderr, "fsop: %s: %s\n", what, arg);
	exit(2);
}

static long long num(const char *s)
{
	char *end;
	long long v = strtoll(s, &end, 0);

	switch (*end) {
	case 'k': v <<= 10; end++; break;
	case 'm': v <<= 20; end++; break;
	case 'g': v <<= 30; end++; break;
	}
	if (end == s || *end)
		usage("not a number", s);
	return v;
}

/* "a+b+c" -> or of the table's values; a plain number is taken as it is */
static unsigned long words(const struct word *t, size_t n, const char *s)
{
	char *dup = strdup(s), *save = NULL;
	unsigned long v = 0;

	for (char *w = strtok_r(dup, "+", &save); w; w = strtok_r(NULL, "+", &save)) {
		size_t i = 0;

		while (i < n && strcmp(t[i].name, w))
			i++;
		v |= i < n ? t[i].value : (unsigned long)num(w);
	}
	free(dup);
	return v;
}
#define WORDS(t, s) words(t, ARRAY_SIZE(t), s)

static struct handle *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(handles); i++)
		if (handles[i].name[0] && !strcmp(handles[i].name, name))
			return &handles[i];
	return NULL;
}

static struct handle *get(const char *name)
{
	struct handle *h = find(name);

	if (!h)
		usage("no such handle", name);
	return h;
}

static struct handle *put(const char *name, int fd)
{
	struct handle *h = find(name);

	for (size_t i = 0; !h && i < ARRAY_SIZE(handles); i++)
		if (!handles[i].name[0])
			h = &handles[i];
	if (!h)
		usage("too many handles", name);
	memset(h, 0, sizeof(*h));
	snprintf(h->name, sizeof(h->name), "%s", name);
	h->fd = fd;
	return h;
}

static int fdof(const char *name)
{
	if (!strcmp(name, "cwd"))
		return AT_FDCWD;
	return get(name)->fd;
}

/* bytes of a data argument; the result lives until the program ends */
static char *bytes(const char *s, size_t *len)
{
	char *out = malloc(strlen(s) + 1), *o = out;

	if (!strncmp(s, "0x", 2)) {
		unsigned int b;

		for (s += 2; sscanf(s, "%2x", &b) == 1 && s[0] && s[1]; s += 2)
			*o++ = (char)b;
	} else {
		while (*s) {
			unsigned int b;

			if (*s != '\\') {
				*o++ = *s++;
				continue;
			}
			s++;
			switch (*s) {
			case 'n': *o++ = '\n'; s++; break;
			case 't': *o++ = '\t'; s++; break;
			case '0': *o++ = 0; s++; break;
			case 'x':
				if (sscanf(s + 1, "%2x", &b) != 1)
					usage("bad escape", s);
				*o++ = (char)b;
				s += 3;
				break;
			default: *o++ = *s ? *s++ : '\\';
			}
		}
	}
	*o = 0;
	*len = o - out;
	return out;
}

static int expect_bytes(const char *what, const char *got, ssize_t n, const char *want)
{
	int err = errno;	/* bytes() allocates, and a malloc() that succeeds may change it */
	size_t wlen;
	char *w = bytes(want, &wlen);

	if (n < 0)
		return -err;
	if ((size_t)n == wlen && !memcmp(got, w, wlen))
		return 0;
	fprintf(stderr, "fsop: %s: got %zd bytes '%.*s', want %zu bytes '%s'\n", what, n, (int)n, got, wlen, want);
	return -MISMATCH;
}

#include "fsop-data.h"

/* ---- attributes ---- */

static int statof(const char *p, struct stat *st)
{
	if (p[0] == '@')
		return syserr(fstat(fdof(p + 1), st));
	return syserr(lstat(p, st));
}

static int do_stat(int argc, char **argv) /* P FIELD WANT [FIELD WANT]... */
{
	struct stat st, other;
	int err = statof(argv[0], &st);

	if (err)
		return err;
	for (int i = 1; i + 1 < argc; i += 2) {
		const char *f = argv[i], *w = argv[i + 1];
		char got[64], want[64];

		snprintf(want, sizeof(want), "%s", w);
		if (!strcmp(f, "mode"))
			snprintf(got, sizeof(got), "%o", st.st_mode & 07777);
		else if (!strcmp(f, "type"))
			snprintf(got, sizeof(got), "%s", S_ISREG(st.st_mode) ? "f" : S_ISDIR(st.st_mode) ? "d" :
				 S_ISLNK(st.st_mode) ? "l" : S_ISFIFO(st.st_mode) ? "p" : S_ISSOCK(st.st_mode) ? "s" :
				 S_ISCHR(st.st_mode) ? "c" : "b");
		else if (!strcmp(f, "uid"))
			snprintf(got, sizeof(got), "%u", st.st_uid);
		else if (!strcmp(f, "gid"))
			snprintf(got, sizeof(got), "%u", st.st_gid);
		else if (!strcmp(f, "nlink"))
			snprintf(got, sizeof(got), "%lu", (unsigned long)st.st_nlink);
		else if (!strcmp(f, "size"))
			snprintf(got, sizeof(got), "%lld", (long long)st.st_size),
			snprintf(want, sizeof(want), "%lld", num(w));
		else if (!strcmp(f, "rdev"))
			snprintf(got, sizeof(got), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
		else if (!strcmp(f, "atime"))
			snprintf(got, sizeof(got), "%lld.%09ld", (long long)st.st_atim.tv_sec, st.st_atim.tv_nsec);
		else if (!strcmp(f, "mtime"))
			snprintf(got, sizeof(got), "%lld.%09ld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
		else if (!strcmp(f, "maxblocks")) { /* at most so many blocks of 512 bytes */
			if (st.st_blocks > num(w))
				return mismatch_num("st_blocks", st.st_blocks, num(w));
			continue;
		} else if (!strcmp(f, "same")) { /* the same file as */
			err = statof(w, &other);
			if (err)
				return err;
			snprintf(got, sizeof(got), "%lx:%lu", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
			snprintf(want, sizeof(want), "%lx:%lu", (unsigned long)other.st_dev, (unsigned long)other.st_ino);
		} else
			usage("no such field", f);
		if (strcmp(got, want)) {
			fprintf(stderr, "fsop: %s: ", argv[0]);
			return mismatch(f, got, want);
		}
	}
	return 0;
}

static int do_now(int argc, char **argv) /* P mtime|ctime: within the last 10 minutes */
{
	struct stat st;
	int err = statof(argv[0], &st);
	time_t now = time(NULL), t;

	(void)argc;
	if (err)
		return err;
	t = argv[1][0] == 'm' ? st.st_mtime : argv[1][0] == 'c' ? st.st_ctime : st.st_atime;
	return t < now - 600 || t > now + 2 ? mismatch_num(argv[1], t, now) : 0;
}

static int do_newer(int argc, char **argv) /* P m|c P: the first is later than the second */
{
	struct stat a, b;
	int err = statof(argv[0], &a);
	const struct timespec *x, *y;

	(void)argc;
	if (!err)
		err = statof(argv[2], &b);
	if (err)
		return err;
	x = argv[1][0] == 'm' ? &a.st_mtim : &a.st_ctim;
	y = argv[1][0] == 'm' ? &b.st_mtim : &b.st_ctim;
	if (x->tv_sec > y->tv_sec || (x->tv_sec == y->tv_sec && x->tv_nsec > y->tv_nsec))
		return 0;
	return mismatch_num("not newer, ns", x->tv_nsec, y->tv_nsec);
}

static int do_chmod(int argc, char **argv) /* P MODE (octal with a leading 0) */
{
	(void)argc;
	if (argv[0][0] == '@')
		return syserr(fchmod(fdof(argv[0] + 1), num(argv[1])));
	return syserr(chmod(argv[0], num(argv[1])));
}

static int do_chown(int argc, char **argv) /* P UID GID, never follows */
{
	(void)argc;
	if (argv[0][0] == '@')
		return syserr(fchown(fdof(argv[0] + 1), num(argv[1]), num(argv[2])));
	return syserr(lchown(argv[0], num(argv[1]), num(argv[2])));
}

static struct timespec when(const char *s)
{
	struct timespec t = { 0, 0 };
	long long sec;
	long ns = 0;

	if (!strcmp(s, "now"))
		t.tv_nsec = UTIME_NOW;
	else if (!strcmp(s, "omit"))
		t.tv_nsec = UTIME_OMIT;
	else if (sscanf(s, "%lld.%9ld", &sec, &ns) >= 1)
		t.tv_sec = sec, t.tv_nsec = ns;
	else
		usage("bad time", s);
	return t;
}

static int do_utime(int argc, char **argv) /* P ATIME MTIME: SEC.NNNNNNNNN, now, omit; never follows */
{
	struct timespec t[2] = { when(argv[1]), when(argv[2]) };

	(void)argc;
	if (argv[0][0] == '@')
		return syserr(futimens(fdof(argv[0] + 1), t));
	return syserr(utimensat(AT_FDCWD, argv[0], t, AT_SYMLINK_NOFOLLOW));
}

static int do_access(int argc, char **argv) /* PATH r+w+x */
{
	static const struct word t[] = { { "f", F_OK }, { "r", R_OK }, { "w", W_OK }, { "x", X_OK } };

	(void)argc;
	return syserr(faccessat(AT_FDCWD, argv[0], WORDS(t, argv[1]), AT_EACCESS));
}

/* ---- names ---- */

static int do_mkdir(int argc, char **argv) /* PATH [MODE] */
{
	return syserr(mkdir(argv[0], argc > 1 ? num(argv[1]) : 0777));
}

static int do_mkdirat(int argc, char **argv) /* FD PATH [MODE] */
{
	return syserr(mkdirat(fdof(argv[0]), argv[1], argc > 2 ? num(argv[2]) : 0777));
}

static int do_rmdir(int argc, char **argv)
{
	(void)argc;
	return syserr(rmdir(argv[0]));
}

static int do_unlink(int argc, char **argv)
{
	(void)argc;
	return syserr(unlink(argv[0]));
}

static int do_unlinkat(int argc, char **argv) /* FD PATH [dir] */
{
	return syserr(unlinkat(fdof(argv[0]), argv[1], argc > 2 ? AT_REMOVEDIR : 0));
}

static int do_symlink(int argc, char **argv) /* TARGET PATH */
{
	(void)argc;
	return syserr(symlink(argv[0], argv[1]));
}

static int do_readlink(int argc, char **argv) /* PATH WANT */
{
	static char buf[PATH_MAX];

	(void)argc;
	return expect_bytes("readlink", buf, readlink(argv[0], buf, sizeof(buf)), argv[1]);
}

static int do_link(int argc, char **argv) /* P PATH; @FD gives a name to an O_TMPFILE */
{
	char path[64];

	(void)argc;
	if (argv[0][0] != '@')
		return syserr(linkat(AT_FDCWD, argv[0], AT_FDCWD, argv[1], 0));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fdof(argv[0] + 1));
	return syserr(linkat(AT_FDCWD, path, AT_FDCWD, argv[1], AT_SYMLINK_FOLLOW));
}

static int do_rename(int argc, char **argv) /* FROM TO [noreplace|exchange|whiteout] */
{
	static const struct word t[] = {
		{ "noreplace", RENAME_NOREPLACE }, { "exchange", RENAME_EXCHANGE }, { "whiteout", RENAME_WHITEOUT },
	};

	return syserr(renameat2(AT_FDCWD, argv[0], AT_FDCWD, argv[1], argc > 2 ? WORDS(t, argv[2]) : 0));
}

static int do_mknod(int argc, char **argv) /* PATH f|p|s|c|b MODE [MAJ MIN] */
{
	mode_t m = argv[1][0] == 'f' ? S_IFREG : argv[1][0] == 'p' ? S_IFIFO : argv[1][0] == 's' ? S_IFSOCK :
		   argv[1][0] == 'c' ? S_IFCHR : S_IFBLK;

	return syserr(mknod(argv[0], m | num(argv[2]), argc > 4 ? makedev(num(argv[3]), num(argv[4])) : 0));
}

static int do_bind(int argc, char **argv) /* NAME PATH: a socket by bind(2) */
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)argc;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", argv[1]);
	put(argv[0], s);
	return syserr(bind(s, (struct sockaddr *)&a, sizeof(a)) ?: listen(s, 4));
}

static int do_connect(int argc, char **argv) /* PATH */
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)argc;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", argv[0]);
	return syserr(connect(s, (struct sockaddr *)&a, sizeof(a)));
}

#include "fsop-xattr.h"

/* ---- the process ---- */

static int do_user(int argc, char **argv) /* UID GID: becomes that user, without capabilities */
{
	(void)argc;
	if (setgroups(0, NULL) || setresgid(num(argv[1]), num(argv[1]), num(argv[1])) ||
	    setresuid(num(argv[0]), num(argv[0]), num(argv[0])))
		return -errno;
	/* else /proc/self/fd belongs to root */
	return syserr(prctl(PR_SET_DUMPABLE, 1));
}

static int do_umask(int argc, char **argv)
{
	(void)argc;
	umask(num(argv[0]));
	return 0;
}

static int do_chdir(int argc, char **argv) /* P */
{
	(void)argc;
	return syserr(argv[0][0] == '@' ? fchdir(fdof(argv[0] + 1)) : chdir(argv[0]));
}

static int do_getcwd(int argc, char **argv) /* [WANT] */
{
	char *d = getcwd(NULL, 0);

	if (!d)
		return -errno;
	return argc && strcmp(d, argv[0]) ? mismatch("getcwd", d, argv[0]) : 0;
}

static int do_sh(int argc, char **argv) /* SCRIPT */
{
	int st = system(argv[0]);

	(void)argc;
	return st ? mismatch_num("sh: status", WIFEXITED(st) ? WEXITSTATUS(st) : -1, 0) : 0;
}

static int do_watch(int argc, char **argv) /* NAME PATH: inotify on everything but access */
{
	int fd = inotify_init1(IN_NONBLOCK);

	(void)argc;
	put(argv[0], fd);
	return syserr(inotify_add_watch(fd, argv[1], IN_ALL_EVENTS & ~IN_ACCESS));
}

static int do_event(int argc, char **argv) /* NAME: at least one event has come */
{
	static char buf[4096];
	ssize_t n = read(fdof(argv[0]), buf, sizeof(buf));

	(void)argc;
	return n > 0 ? 0 : -errno;
}

#include "fsop-dir.h"

struct command {
	const char *name;
	int min, max;
	int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
	{ "open", 3, 4, do_open }, { "openat", 4, 5, do_openat }, { "reopen", 3, 3, do_reopen },
	{ "close", 1, 1, do_close }, { "pread", 4, 4, do_pread }, { "read", 3, 3, do_read },
	{ "pwrite", 3, 3, do_pwrite }, { "write", 2, 2, do_write }, { "fill", 4, 4, do_fill },
	{ "check", 4, 4, do_check }, { "lseek", 3, 4, do_lseek }, { "truncate", 2, 2, do_truncate },
	{ "fallocate", 4, 4, do_fallocate }, { "fsync", 1, 1, do_fsync }, { "fdatasync", 1, 1, do_fdatasync },
	{ "syncfs", 1, 1, do_syncfs }, { "copy", 5, 5, do_copy }, { "sendfile", 4, 4, do_sendfile },
	{ "splice", 5, 5, do_splice }, { "mmap", 6, 6, do_mmap }, { "mread", 4, 4, do_mread },
	{ "mwrite", 3, 3, do_mwrite }, { "msync", 1, 1, do_msync }, { "munmap", 1, 1, do_munmap },
	{ "stat", 1, 99, do_stat }, { "now", 2, 2, do_now }, { "newer", 3, 3, do_newer },
	{ "chmod", 2, 2, do_chmod }, { "chown", 3, 3, do_chown },
	{ "utime", 3, 3, do_utime }, { "access", 2, 2, do_access }, { "mkdir", 1, 2, do_mkdir },
	{ "mkdirat", 2, 3, do_mkdirat }, { "rmdir", 1, 1, do_rmdir }, { "unlink", 1, 1, do_unlink },
	{ "unlinkat", 2, 3, do_unlinkat }, { "symlink", 2, 2, do_symlink }, { "readlink", 2, 2, do_readlink },
	{ "link", 2, 2, do_link }, { "rename", 2, 3, do_rename }, { "mknod", 3, 5, do_mknod },
	{ "bind", 2, 2, do_bind }, { "connect", 1, 1, do_connect }, { "setx", 3, 4, do_setx },
	{ "getx", 3, 3, do_getx }, { "rmx", 2, 2, do_rmx }, { "listx", 1, 2, do_listx },
	{ "setacl", 3, 3, do_setacl }, { "getacl", 2, 3, do_getacl }, { "flock", 2, 2, do_flock },
	{ "lock", 4, 5, do_lock }, { "getlk", 5, 5, do_getlk }, { "flags", 1, 2, do_flags },
	{ "setflags", 2, 2, do_setflags }, { "fsgetxattr", 1, 1, do_fsgetxattr },
	{ "fssetxattr", 2, 2, do_fssetxattr }, { "statfs", 2, 2, do_statfs }, { "user", 2, 2, do_user },
	{ "umask", 1, 1, do_umask }, { "chdir", 1, 1, do_chdir }, { "getcwd", 0, 1, do_getcwd }, { "sh", 1, 1, do_sh },
	{ "watch", 2, 2, do_watch }, { "event", 1, 1, do_event },
	{ "ls", 1, 2, do_ls }, { "lscheck", 1, 1, do_lscheck }, { "seekcheck", 1, 1, do_seekcheck },
	{ "rmlist", 1, 1, do_rmlist }, { "churn", 2, 2, do_churn }, { "opendir", 2, 2, do_opendir },
	{ "readdir", 2, 2, do_readdir }, { "rewinddir", 1, 1, do_rewinddir }, { "mkmany", 3, 3, do_mkmany },
	{ "statmany", 3, 3, do_statmany }, { "mkdeep", 3, 3, do_mkdeep }, { "rmdeep", 3, 3, do_rmdeep },
};

static int run(int argc, char **argv)
{
	size_t i = 0;

	if (argc && !strcmp(argv[0], "child")) {
		int st;
		pid_t pid = fork();

		if (!pid)
			_exit(-run(argc - 1, argv + 1) & 0xff);
		if (pid < 0 || waitpid(pid, &st, 0) < 0)
			return -errno;
		return WIFEXITED(st) && WEXITSTATUS(st) < 200 ? -WEXITSTATUS(st) : -MISMATCH;
	}
	while (argc && i < ARRAY_SIZE(commands) && strcmp(commands[i].name, argv[0]))
		i++;
	if (!argc || i == ARRAY_SIZE(commands))
		usage("no such command", argc ? argv[0] : "");
	if (argc - 1 < commands[i].min || argc - 1 > commands[i].max)
		usage("wrong number of arguments", argv[0]);
	return commands[i].run(argc - 1, argv + 1);
}

/* one command with its expectation; 0 when it went as it should */
static int step(int argc, char **argv)
{
	const char *want = argc && argv[0][0] == '!' ? argv[0] + 1 : NULL;
	const char *name;
	int err;

	if (want)
		argc--, argv++;
	err = run(argc, argv);
	if (err == -MISMATCH) {
		name = "unexpected result";
	} else {
		name = err ? strerrorname_np(-err) : "success";
		if (want ? name && !strcmp(name, want) : !err)
			return 0;
	}
	fprintf(stderr, "fsop:");
	for (int i = 0; i < argc; i++)
		fprintf(stderr, " %.100s%s", argv[i], strlen(argv[i]) > 100 ? "..." : "");
	fprintf(stderr, ": %s%s%s\n", name ?: "?", want ? ", want " : "", want ?: "");
	return 1;
}

int main(int argc, char **argv)
{
	int at = 1;

	if (argc > 2 && !strcmp(argv[1], "-C")) {
		if (chdir(argv[2])) {
			perror(argv[2]);
			return 2;
		}
		at = 3;
	}
	if (at >= argc)
		usage("usage", "fsop [-C dir] CMD ARG... , CMD ARG... , ...");
	while (at < argc) {
		int end = at;

		while (end < argc && strcmp(argv[end], ","))
			end++;
		if (step(end - at, argv + at))
			return 1;
		at = end + 1;
	}
	return 0;
}
