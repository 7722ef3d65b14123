// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * treesum: one line for every object of a tree, sorted, so that two trees (or one tree
 * at two times) can be compared with diff: name, type, mode, owner, size, device, times,
 * link count, content (as a hash), extended attributes.
 *
 *   treesum [-c] [-i] [-u] DIR
 *     -c  also the change time
 *     -i  also the inode number
 *     -u  a union is listed: leave out what a union may answer differently from one
 *         mount to the next (size and link count of directories)
 *
 * Hard links show as a reference to the first name of the file. Works below PATH_MAX
 * because it walks by descriptor. Does not cross into other mounts.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

struct seen {
	dev_t dev;
	ino_t ino;
	char *name;
};

static bool with_ctime, with_ino, is_union;
static dev_t root_dev;
static struct seen *seen;
static size_t n_seen, max_seen;
static bool failed;

static void trouble(const char *path, const char *what)
{
	printf("%s\tERROR %s: %s\n", path, what, strerrorname_np(errno));
	failed = true;
}

static uint64_t hash(uint64_t h, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t w;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&w, p, 8);
		h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	for (; len; p++, len--)
		h = (h ^ *p) * 0x100000001b3ULL;
	return h ^ h >> 32;
}

static void print_escaped(const char *s, size_t len)
{
	for (; len; s++, len--) {
		unsigned char c = (unsigned char)*s;

		if (c > ' ' && c < 127 && c != '\\')
			putchar(c);
		else
			printf("\\x%02x", c);
	}
}

static char *escaped_path(const char *path, const char *name)
{
	size_t plen = strlen(path);
	char *out = malloc(plen + strlen(name) * 4 + 2), *o = out;

	memcpy(o, path, plen);
	o += plen;
	*o++ = '/';
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;

		if (c > ' ' && c < 127 && c != '\\')
			*o++ = c;
		else
			o += sprintf(o, "\\x%02x", c);
	}
	*o = 0;
	return out;
}

/* content of a file; holes are read as the zeros they are */
static int hash_file(const char *name, off_t size, uint64_t *out)
{
	static char buf[256 << 10];
	int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
	uint64_t h = 1469598103934665603ULL;
	off_t got = 0;
	ssize_t n;

	if (fd < 0 && errno == EPERM)
		fd = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		h = hash(h, buf, n);
		got += n;
	}
	if (n < 0) {
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	close(fd);
	if (got != size) {
		errno = ENODATA; /* st_size lies */
		return -1;
	}
	*out = h;
	return 0;
}

static int cmp_str(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_xattrs(const char *path, const char *name)
{
	static char list[65536], value[65536];
	static char *names[2048];
	ssize_t len = llistxattr(name, list, sizeof(list));
	size_t n = 0;

	if (len < 0) {
		if (errno != ENOTSUP)
			trouble(path, "listxattr");
		return;
	}
	for (char *p = list; p < list + len && n < sizeof(names) / sizeof(names[0]); p += strlen(p) + 1)
		names[n++] = p;
	if (n)
		qsort(names, n, sizeof(*names), cmp_str);
	for (size_t i = 0; i < n; i++) {
		ssize_t v = lgetxattr(name, names[i], value, sizeof(value));

		printf(" [%s=", names[i]);
		if (v < 0)
			printf("?%s", strerrorname_np(errno));
		else if (v <= 64)
			print_escaped(value, v);
		else
			printf("%zd:%016llx", v, (unsigned long long)hash(7, value, v));
		putchar(']');
	}
}

static const char *hard_link(const struct stat *st, const char *path)
{
	for (size_t i = 0; i < n_seen; i++)
		if (seen[i].dev == st->st_dev && seen[i].ino == st->st_ino)
			return seen[i].name;
	if (n_seen == max_seen) {
		max_seen = max_seen ? max_seen * 2 : 64;
		seen = realloc(seen, max_seen * sizeof(*seen));
		if (!seen)
			abort();
	}
	seen[n_seen++] = (struct seen){ st->st_dev, st->st_ino, strdup(path) };
	return NULL;
}

/* the object `name` of the current directory, or the current directory itself as "." */
static void print_object(const char *path, const char *name, const struct stat *st)
{
	bool dir = S_ISDIR(st->st_mode);
	const char *first = NULL;
	uint64_t h = 0;

	printf("%s\t%06o %u:%u", *path ? path : "/", st->st_mode, st->st_uid, st->st_gid);
	if (!dir || !is_union)
		printf(" n%lu s%lld", (unsigned long)st->st_nlink, (long long)st->st_size);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		printf(" r%u:%u", major(st->st_rdev), minor(st->st_rdev));
	printf(" m%lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	if (with_ctime)
		printf(" c%lld.%09ld", (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
	if (with_ino)
		printf(" i%llu", (unsigned long long)st->st_ino);
	if (!dir && st->st_nlink > 1)
		first = hard_link(st, path);
	if (first)
		printf(" = %s", first);
	if (S_ISREG(st->st_mode)) {
		if (hash_file(name, st->st_size, &h)) {
			trouble(path, "read");
			return;
		}
		printf(" h%016llx", (unsigned long long)h);
	}
	if (S_ISLNK(st->st_mode)) {
		static char target[PATH_MAX];
		ssize_t n = readlink(name, target, sizeof(target));

		if (n < 0)
			trouble(path, "readlink");
		printf(" -> ");
		print_escaped(target, n < 0 ? 0 : n);
	}
	print_xattrs(path, name);
	putchar('\n');
}

/* lists the current directory into a sorted array */
static char **list_dir(const char *path, size_t *count)
{
	size_t n = 0, max = 0;
	char **names = NULL;
	DIR *d = opendir(".");
	struct dirent *e;

	*count = 0;
	if (!d) {
		trouble(path, "opendir");
		return NULL;
	}
	while (errno = 0, (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (n == max) {
			max = max ? max * 2 : 64;
			names = realloc(names, max * sizeof(*names));
			if (!names)
				abort();
		}
		names[n++] = strdup(e->d_name);
	}
	if (errno)
		trouble(path, "readdir");
	closedir(d);
	if (n)
		qsort(names, n, sizeof(*names), cmp_str);
	*count = n;
	return names;
}

static void walk(const char *path)
{
	size_t n;
	char **names = list_dir(path, &n);

	for (size_t i = 0; i < n; i++) {
		char *sub = escaped_path(path, names[i]);
		struct stat st;

		if (lstat(names[i], &st)) {
			trouble(sub, "lstat");
		} else {
			print_object(sub, names[i], &st);
			if (S_ISDIR(st.st_mode) && st.st_dev == root_dev) {
				int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

				if (here < 0 || chdir(names[i])) {
					trouble(sub, "chdir");
				} else {
					walk(sub);
					if (fchdir(here)) {
						perror("treesum: fchdir");
						exit(2);
					}
				}
				if (here >= 0)
					close(here);
			}
		}
		free(sub);
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv)
{
	struct stat st;
	int c;

	while ((c = getopt(argc, argv, "ciu")) != -1) {
		switch (c) {
		case 'c': with_ctime = true; break;
		case 'i': with_ino = true; break;
		case 'u': is_union = true; break;
		default: return 2;
		}
	}
	if (optind + 1 != argc || chdir(argv[optind]) || lstat(".", &st)) {
		perror("treesum [-c] [-i] [-u] DIR");
		return 2;
	}
	root_dev = st.st_dev;
	print_object("", ".", &st);
	walk("");
	return failed;
}
