// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * corrupt --setup LOWER
 * corrupt --expect coherent|snapshot [--upper DIR] UNION
 *
 * The corruption matrix: somebody has a lower file open (reads it, maps it, runs it) while somebody else changes it. For
 * each cell the program prints what the writer got, what the old reader sees and what a fresh open sees. Never allowed:
 * a mixture of old and new, and a fresh open that does not see what was written. `coherent` demands that the old reader
 * sees the new content, except of an executable; `snapshot` lets it keep the old one, whole. That the layers are
 * untouched is checked by the caller.
 */
#include "race.h"

#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGE 4096
#define OLD_SIZE (3 * PAGE)
#define MAX_SIZE (16 << 20)	/* the program itself with a sanitizer in it is the largest file */

enum reader { R_READ, R_PRIVATE, R_SHARED, R_ELF, R_EXEC, READERS };
enum writer {
	W_RDWR, W_APPEND, W_TRUNC, W_STORE, W_TRUNCATE, W_EXTEND, W_PUNCH, W_ALLOCATE, W_COPY, W_LINK, W_DIRFD, W_PROCFD,
	W_CHMOD, W_RENAMED, WRITERS
};

static const char *const reader_names[] = { "read", "private map", "shared map", "elf", "exec" };
static const char *const writer_names[] = {
	"O_RDWR", "O_APPEND", "O_TRUNC", "MAP_SHARED", "truncate", "extend", "punch", "fallocate", "copy_file_range",
	"hard link", "old dirfd", "/proc/self/fd", "chmod", "after rename",
};

struct bytes {
	unsigned char *p;
	size_t n;
};

struct cell {
	enum reader r;
	enum writer w;
	char dir[32], name[32], path[80], link[80];
	struct bytes old, new;
	int dirfd, fd, hold;
	pid_t child;
	void *map;
};

static const char *upper;
static bool coherent;
static int root;

static struct bytes bytes_new(void)
{
	struct bytes b = { .p = calloc(1, MAX_SIZE) };

	if (!b.p)
		race_die("calloc", "");
	return b;
}

static bool same(const struct bytes *a, const struct bytes *b)
{
	return a->n == b->n && !memcmp(a->p, b->p, a->n);
}

static struct bytes read_all(int fd)
{
	struct bytes b = bytes_new();
	ssize_t n;

	while (b.n < MAX_SIZE && (n = pread(fd, b.p + b.n, MAX_SIZE - b.n, b.n)) > 0)
		b.n += n;
	return b;
}

static struct bytes read_path(int dir, const char *path)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	struct bytes b;

	if (fd < 0) {
		race_error("fresh open of %s: %s", path, strerrorname_np(errno));
		return bytes_new();
	}
	b = read_all(fd);
	close(fd);
	return b;
}

/* What is in a mapping, without being killed where it has no page any more. */
static struct bytes read_map(const void *map, size_t len)
{
	struct bytes b = bytes_new();
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

	while (b.n < len && pread(mem, b.p + b.n, PAGE, (off_t)(uintptr_t)map + b.n) == PAGE)
		b.n += PAGE;
	close(mem);
	return b;
}

/* The bytes as a mapping of `len` shows them: whole pages, zeros after the end. */
static struct bytes as_map(const struct bytes *b, size_t len)
{
	struct bytes m = bytes_new();

	memcpy(m.p, b->p, b->n);
	m.n = (b->n + PAGE - 1) / PAGE * PAGE;
	if (m.n > len)
		m.n = (len + PAGE - 1) / PAGE * PAGE;
	return m;
}

static void names(struct cell *c, int r, int w)
{
	memset(c, 0, sizeof(*c));
	c->r = r;
	c->w = w;
	c->fd = c->hold = -1;
	snprintf(c->dir, sizeof(c->dir), "%d-%d", r, w);
	strcpy(c->name, "file");
	snprintf(c->path, sizeof(c->path), "%s/file", c->dir);
	snprintf(c->link, sizeof(c->link), "%s/second", c->dir);
}

static void put_file(const char *path, const struct bytes *b)
{
	int fd = openat(root, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0755);

	if (fd < 0 || write(fd, b->p, b->n) != (ssize_t)b->n || close(fd))
		race_die("cannot make", path);
}

static void setup(void)
{
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct bytes exe = read_all(self), plain = bytes_new();
	struct cell c;

	close(self);
	plain.n = OLD_SIZE;
	race_fill(1, 0, plain.p, plain.n);
	put_file("source", &plain);
	for (int r = 0; r < READERS; r++) {
		for (int w = 0; w < WRITERS; w++) {
			names(&c, r, w);
			if (mkdirat(root, c.dir, 0755))
				race_die("cannot make", c.dir);
			race_fill(100 + r * WRITERS + w, 0, plain.p, plain.n);
			put_file(c.path, r == R_ELF || r == R_EXEC ? &exe : &plain);
			/* Only where it is the point: a file with one name is the common case. */
			if (w == W_LINK && linkat(root, c.path, root, c.link, 0))
				race_die("cannot link", c.link);
		}
	}
	free(exe.p);
	free(plain.p);
}

static void wait_for_line(int fd)
{
	char ch;

	while (read(fd, &ch, 1) == 1 && ch != '\n')
		;
}

/* Run the file itself: it says that it is there and stays until its stdin is closed. */
static void start_child(struct cell *c)
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		race_die("pipe", "");
	c->child = fork();
	if (!c->child) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		if (!fchdir(root))
			execl(c->path, c->path, "--hold", NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	wait_for_line(out[0]);
	close(out[0]);
	c->hold = in[1];
}

static void reader_start(struct cell *c)
{
	volatile unsigned char touch;

	c->dirfd = openat(root, c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	c->fd = openat(root, c->path, O_RDONLY | O_CLOEXEC);
	if (c->dirfd < 0 || c->fd < 0)
		race_die("cannot open", c->path);
	c->old = read_all(c->fd);
	if (c->r == R_PRIVATE || c->r == R_SHARED) {
		c->map = mmap(NULL, c->old.n, PROT_READ, c->r == R_SHARED ? MAP_SHARED : MAP_PRIVATE, c->fd, 0);
		if (c->map == MAP_FAILED)
			race_die("mmap", c->path);
		/* One page is there, the others come later. */
		touch = *(volatile unsigned char *)c->map;
		(void)touch;
	}
	if (c->r == R_EXEC)
		start_child(c);
}

static void overwrite(struct bytes *b, uint64_t seed, size_t off, size_t len)
{
	race_fill(seed, off, b->p + off, len);
	if (off + len > b->n)
		b->n = off + len;
}

static int write_part(struct cell *c, int fd, size_t off, size_t len)
{
	int ret = 0;

	if (fd < 0)
		return errno;
	overwrite(&c->new, 7777, off, len);
	if (pwrite(fd, c->new.p + off, len, off) != (ssize_t)len)
		ret = errno;
	if (close(fd))
		ret = errno;
	return ret;
}

static int write_map(struct cell *c)
{
	int fd = openat(root, c->path, O_RDWR | O_CLOEXEC), ret = 0;
	unsigned char *p;

	if (fd < 0)
		return errno;
	p = mmap(NULL, c->old.n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		ret = errno;
	} else {
		overwrite(&c->new, 7777, PAGE + 10, PAGE);
		memcpy(p + PAGE + 10, c->new.p + PAGE + 10, PAGE);
		if (msync(p, c->old.n, MS_SYNC))
			ret = errno;
		munmap(p, c->old.n);
	}
	if (close(fd))
		ret = errno;
	return ret;
}

static int write_truncate(struct cell *c, size_t size)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", root, c->path);
	if (truncate(path, size))
		return errno;
	if (size < c->new.n)
		memset(c->new.p + size, 0, c->new.n - size);
	c->new.n = size;
	return 0;
}

static int write_fallocate(struct cell *c, bool punch)
{
	int fd = openat(root, c->path, O_RDWR | O_CLOEXEC), ret = 0;
	off_t off = punch ? PAGE : (off_t)c->old.n;

	if (fd < 0)
		return errno;
	if (fallocate(fd, punch ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : 0, off, PAGE))
		ret = errno;
	else if (punch)
		memset(c->new.p + PAGE, 0, PAGE);
	else
		c->new.n += PAGE;
	close(fd);
	return ret;
}

static int write_copy(struct cell *c)
{
	int from = openat(root, "source", O_RDONLY | O_CLOEXEC), to = openat(root, c->path, O_RDWR | O_CLOEXEC), ret = 0;
	off64_t in = 0, out = PAGE;
	struct bytes source;
	ssize_t n = 0;

	if (to < 0 || from < 0) {
		ret = errno;
		goto out;
	}
	source = read_all(from);
	while (out < 2 * PAGE && (n = copy_file_range(from, &in, to, &out, 2 * PAGE - out, 0)) > 0)
		;
	if (n < 0)
		ret = errno;
	else
		memcpy(c->new.p + PAGE, source.p, PAGE);
	free(source.p);
out:
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return ret;
}

/* 0 or the errno that the writer got; c->new is what the file must hold then. */
static int writer_run(struct cell *c)
{
	char path[64], moved[64];

	c->new = bytes_new();
	memcpy(c->new.p, c->old.p, c->old.n);
	c->new.n = c->old.n;
	switch (c->w) {
	case W_APPEND:
		return write_part(c, openat(root, c->path, O_WRONLY | O_APPEND | O_CLOEXEC), c->old.n, 1000);
	case W_TRUNC: {
		int fd = openat(root, c->path, O_WRONLY | O_TRUNC | O_CLOEXEC);

		if (fd >= 0) {
			memset(c->new.p, 0, c->new.n);
			c->new.n = 0;
		}
		return write_part(c, fd, 0, 5000);
	}
	case W_STORE:
		return write_map(c);
	case W_TRUNCATE:
		return write_truncate(c, 5000);
	case W_EXTEND:
		return write_truncate(c, c->old.n + 3000);
	case W_PUNCH:
		return write_fallocate(c, true);
	case W_ALLOCATE:
		return write_fallocate(c, false);
	case W_COPY:
		return write_copy(c);
	case W_LINK:
		return write_part(c, openat(root, c->link, O_RDWR | O_CLOEXEC), 100, PAGE);
	case W_DIRFD:
		return write_part(c, openat(c->dirfd, c->name, O_RDWR | O_CLOEXEC), 100, PAGE);
	case W_PROCFD:
		snprintf(path, sizeof(path), "/proc/self/fd/%d", c->fd);
		return write_part(c, open(path, O_RDWR | O_CLOEXEC), 100, PAGE);
	case W_CHMOD:
		return fchmodat(root, c->path, 0700, 0) ? errno : 0;
	case W_RENAMED:
		/* Away and back: the writer's open comes by a name that the reader's did not. */
		snprintf(moved, sizeof(moved), "%s/moved", c->dir);
		if (renameat(root, c->path, root, moved))
			return errno;
		snprintf(c->path, sizeof(c->path), "%s", moved);
		strcpy(c->name, "moved");
		/* fall through */
	case W_RDWR:
	case WRITERS:
		break;
	}
	return write_part(c, openat(root, c->path, O_RDWR | O_CLOEXEC), 100, PAGE);
}

static const char *verdict(const struct bytes *seen, const struct bytes *old, const struct bytes *new)
{
	bool is_new = same(seen, new);

	if (same(seen, old))
		return is_new ? "old = new" : "old";
	return is_new ? "new" : "MIXTURE";
}

static const char *reader_sees(struct cell *c)
{
	struct bytes seen, old, new;
	const char *v;

	if (!c->map) {
		seen = read_all(c->fd);
		v = verdict(&seen, &c->old, &c->new);
		free(seen.p);
		return v;
	}
	seen = read_map(c->map, c->old.n);
	old = as_map(&c->old, c->old.n);
	new = as_map(&c->new, c->old.n);
	v = verdict(&seen, &old, &new);
	free(seen.p);
	free(old.p);
	free(new.p);
	return v;
}

static void complain(const struct cell *c, const char *what)
{
	race_error("FAIL %s x %s: %s", reader_names[c->r], writer_names[c->w], what);
}

static void fresh(struct cell *c, int dir, const char *path, const char *what)
{
	struct bytes b = read_path(dir, path);
	struct stat st;

	if (!same(&b, &c->new))
		complain(c, what);
	if (fstatat(dir, path, &st, 0) || st.st_size != (off_t)c->new.n)
		complain(c, "stat shows another size");
	free(b.p);
}

static void in_upper(struct cell *c)
{
	int fd = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct bytes b;

	if (fd < 0)
		race_die("cannot open", upper);
	/* Of two names, the one that was not used need not be there: the index has the file. */
	b = read_path(fd, c->w == W_LINK ? c->link : c->path);
	if (!same(&b, &c->new))
		complain(c, "what was written is not in upper");
	free(b.p);
	close(fd);
}

/* Afterwards everything is ordinary again. */
static void write_again(struct cell *c)
{
	int ret = write_part(c, openat(root, c->path, O_WRONLY | O_APPEND | O_CLOEXEC), c->new.n, 10);

	if (ret)
		race_error("FAIL %s x %s: a later append: %s", reader_names[c->r], writer_names[c->w], strerrorname_np(ret));
	else
		fresh(c, root, c->path, "a later append is not seen");
}

static void reader_end(struct cell *c)
{
	int status = 0;

	if (c->map)
		munmap(c->map, c->old.n);
	if (c->child > 0) {
		close(c->hold);
		if (waitpid(c->child, &status, 0) != c->child || status)
			complain(c, "the running program did not end well");
	}
	close(c->fd);
}

static void run_cell(int r, int w)
{
	struct cell c;
	const char *seen;
	int ret;

	names(&c, r, w);
	reader_start(&c);
	ret = writer_run(&c);
	if (ret) {
		/* Nothing was changed then. */
		memcpy(c.new.p, c.old.p, c.old.n);
		c.new.n = c.old.n;
	}
	seen = reader_sees(&c);
	printf("%-12s x %-16s writer: %-8s reader sees: %s\n", reader_names[r], writer_names[w],
	       ret ? strerrorname_np(ret) : "ok", seen);
	fflush(stdout);
	/* An executable that runs cannot be written; a snapshot cannot be opened for writing without a path. */
	if (ret && !(ret == ETXTBSY && (r == R_EXEC || (w == W_PROCFD && (!coherent || r == R_ELF)))))
		complain(&c, strerrorname_np(ret));
	if (!strcmp(seen, "MIXTURE"))
		complain(&c, "the old reader sees a mixture");
	if (coherent && r != R_ELF && r != R_EXEC && !strcmp(seen, "old"))
		complain(&c, "the old reader sees the old content");
	fresh(&c, root, c.path, "a fresh open does not see what was written");
	fresh(&c, c.dirfd, c.name, "an open below an old directory handle does not see what was written");
	if (w == W_LINK)
		fresh(&c, root, c.link, "an open by the second name does not see what was written");
	if (upper && !ret && w != W_CHMOD)
		in_upper(&c);
	/* The reader once more: opening and reading by others must not have changed what it sees. */
	if (strcmp(reader_sees(&c), seen))
		complain(&c, "the old reader sees something else the second time");
	reader_end(&c);
	fresh(&c, root, c.path, "after the reader's close a fresh open does not see what was written");
	write_again(&c);
	close(c.dirfd);
	free(c.old.p);
	free(c.new.p);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "setup", 0, NULL, 's' }, { "expect", 1, NULL, 'e' }, { "upper", 1, NULL, 'u' }, { "hold", 0, NULL, 'h' },
		{ 0 },
	};
	bool make = false;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's': make = true; break;
		case 'e': coherent = !strcmp(optarg, "coherent"); break;
		case 'u': upper = optarg; break;
		case 'h':
			puts("running");
			fflush(stdout);
			while (getchar() != EOF)
				;
			return 0;
		default: return 2;
		}
	}
	if (argc - optind != 1) {
		fprintf(stderr, "usage: corrupt --setup LOWER | corrupt --expect coherent|snapshot [--upper DIR] UNION\n");
		return 2;
	}
	root = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		race_die("cannot open", argv[optind]);
	if (make) {
		setup();
		return 0;
	}
	for (int r = 0; r < READERS; r++)
		for (int w = 0; w < WRITERS; w++)
			run_cell(r, w);
	return race_result("corrupt");
}
