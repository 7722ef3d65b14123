/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fsop's directory commands: they use getdents64 itself, so that cookies and small buffers are what the kernel gives */

struct dirent64_raw {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

struct entry {
	char *name;
	uint64_t ino;
	int64_t off;
	uint8_t type;
};

struct listing {
	struct entry *e;
	size_t n, max;
};

static ssize_t getdents_raw(int fd, void *buf, size_t len)
{
	return syscall(SYS_getdents64, fd, buf, len);
}

/* appends what one getdents64 gives; 1 more may come, 0 end, -errno */
static int list_some(int fd, size_t bufsize, struct listing *l)
{
	static union {
		char raw[32768];
		struct dirent64_raw align;
	} b;
	ssize_t n = getdents_raw(fd, b.raw, bufsize < sizeof(b.raw) ? bufsize : sizeof(b.raw));

	if (n <= 0)
		return n ? -errno : 0;
	for (char *p = b.raw; p < b.raw + n;) {
		struct dirent64_raw *d = (struct dirent64_raw *)(void *)p;

		if (l->n == l->max) {
			l->max = l->max ? l->max * 2 : 256;
			l->e = realloc(l->e, l->max * sizeof(*l->e));
			if (!l->e)
				return -ENOMEM;
		}
		l->e[l->n++] = (struct entry){ strdup(d->name), d->ino, d->off, d->type };
		p += d->reclen;
	}
	return 1;
}

static int list_all(int fd, size_t bufsize, struct listing *l)
{
	int err;

	while ((err = list_some(fd, bufsize, l)) > 0)
		;
	return err;
}

static int cmp_entry(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static bool is_dots(const char *n)
{
	return !strcmp(n, ".") || !strcmp(n, "..");
}

static int dir_fd(const char *p)
{
	if (p[0] == '@')
		return lseek(fdof(p + 1), 0, SEEK_SET) < 0 ? -1 : fdof(p + 1);
	return open(p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int do_ls(int argc, char **argv) /* P [WANT]: sorted names, a blank between, without dots; prints without WANT */
{
	static char out[1 << 20];
	struct listing l = { 0 };
	int fd = dir_fd(argv[0]), err;

	if (fd < 0)
		return -errno;
	err = list_all(fd, 32768, &l);
	if (argv[0][0] != '@')
		close(fd);
	if (err)
		return err;
	qsort(l.e, l.n, sizeof(*l.e), cmp_entry);
	out[0] = 0;
	for (size_t i = 0, o = 0; i < l.n; i++)
		if (!is_dots(l.e[i].name) && o < sizeof(out))
			o += snprintf(out + o, sizeof(out) - o, "%s%s", o ? " " : "", l.e[i].name);
	if (argc > 1)
		return strcmp(out, argv[1]) ? mismatch("ls", out, argv[1]) : 0;
	puts(out);
	return 0;
}

/* P: every entry's d_type and d_ino are its lstat's, nothing comes twice, "." is the directory itself */
static int do_lscheck(int argc, char **argv)
{
	struct listing l = { 0 };
	int fd = dir_fd(argv[0]), err, dots = 0;
	struct stat st;

	(void)argc;
	if (fd < 0)
		return -errno;
	err = list_all(fd, 32768, &l);
	if (err)
		return err;
	qsort(l.e, l.n, sizeof(*l.e), cmp_entry);
	for (size_t i = 0; i < l.n; i++) {
		const struct entry *e = &l.e[i];

		if (i && !strcmp(e->name, l.e[i - 1].name))
			return mismatch("listed twice", e->name, "once");
		dots += is_dots(e->name);
		if (!strcmp(e->name, ".."))
			continue;
		if (fstatat(fd, e->name, &st, AT_SYMLINK_NOFOLLOW))
			return mismatch(e->name, strerrorname_np(errno), "what is listed is there");
		if (st.st_ino != e->ino) {
			fprintf(stderr, "fsop: %s: d_ino %llu, st_ino %llu\n", e->name, (unsigned long long)e->ino,
				(unsigned long long)st.st_ino);
			return -MISMATCH;
		}
		if (e->type != IFTODT(st.st_mode))
			return mismatch_num(e->name, e->type, IFTODT(st.st_mode));
	}
	return dots == 2 ? 0 : mismatch_num("dots", dots, 2);
}

/* P: seeking to every entry's cookie goes on with the entry after it */
static int do_seekcheck(int argc, char **argv)
{
	struct listing l = { 0 };
	int fd = dir_fd(argv[0]), err;
	size_t step;

	(void)argc;
	if (fd < 0)
		return -errno;
	err = list_all(fd, 1024, &l);
	step = l.n > 300 ? l.n / 300 : 1;
	for (size_t k = 0; !err && k < l.n; k += step) {
		size_t i = l.n - 1 - k; /* backwards: nothing may depend on the order */
		struct listing some = { 0 };

		if (lseek(fd, l.e[i].off, SEEK_SET) < 0)
			return -errno;
		err = list_some(fd, 1024, &some);
		if (err < 0)
			return err;
		err = 0;
		if (i + 1 == l.n ? some.n : !some.n || strcmp(some.e[0].name, l.e[i + 1].name))
			return mismatch("after seek", some.n ? some.e[0].name : "(end)",
					i + 1 == l.n ? "(end)" : l.e[i + 1].name);
	}
	return err;
}

/* PATH: unlinks everything while listing with a small buffer; one pass must be enough */
static int do_rmlist(int argc, char **argv)
{
	int fd = dir_fd(argv[0]), err;

	(void)argc;
	if (fd < 0)
		return -errno;
	do {
		struct listing l = { 0 };

		err = list_some(fd, 1024, &l);
		for (size_t i = 0; i < l.n; i++) {
			if (is_dots(l.e[i].name))
				continue;
			if (unlinkat(fd, l.e[i].name, l.e[i].type == DT_DIR ? AT_REMOVEDIR : 0))
				return -errno;
		}
	} while (err > 0);
	close(fd);
	return err < 0 ? err : syserr(rmdir(argv[0]));
}

/*
 * PATH N: while the directory is listed, names come and go (N a buffer). What was there
 * before and after must be listed exactly once, a comer or goer at most once.
 */
static int do_churn(int argc, char **argv)
{
	struct listing before = { 0 }, seen = { 0 };
	int fd = dir_fd(argv[0]), per = num(argv[1]), serial = 0, err;

	(void)argc;
	if (fd < 0)
		return -errno;
	err = list_all(fd, 32768, &before);
	if (err || lseek(fd, 0, SEEK_SET) < 0)
		return err ?: -errno;
	while ((err = list_some(fd, 1024, &seen)) > 0) {
		for (int i = 0; i < per; i++, serial++) {
			char name[64];
			int f;

			snprintf(name, sizeof(name), "churn-%d", serial);
			f = openat(fd, name, O_CREAT | O_EXCL | O_WRONLY, 0600);
			if (f < 0)
				return -errno;
			close(f);
			if (serial % 2 == 0)
				continue;
			snprintf(name, sizeof(name), "churn-%d", serial - 1);
			if (unlinkat(fd, name, 0))
				return -errno;
		}
		if (serial > 100000)
			return mismatch_num("the listing never ends", serial, 0);
	}
	if (err)
		return err;
	qsort(seen.e, seen.n, sizeof(*seen.e), cmp_entry);
	for (size_t i = 1; i < seen.n; i++)
		if (!strcmp(seen.e[i].name, seen.e[i - 1].name))
			return mismatch("listed twice", seen.e[i].name, "once");
	for (size_t i = 0; i < before.n; i++)
		if (!is_dots(before.e[i].name) && !bsearch(&before.e[i], seen.e, seen.n, sizeof(*seen.e), cmp_entry))
			return mismatch("not listed", before.e[i].name, "once");
	return 0;
}

static int do_opendir(int argc, char **argv) /* NAME PATH */
{
	int fd = dir_fd(argv[1]);

	(void)argc;
	if (fd < 0)
		return -errno;
	put(argv[0], fd);
	return 0;
}

static int do_readdir(int argc, char **argv) /* NAME COUNT|end: reads on, at least so many entries, or to the end */
{
	struct listing l = { 0 };
	int err = 1;

	(void)argc;
	if (!strcmp(argv[1], "end"))
		return list_all(fdof(argv[0]), 32768, &l);
	while (err > 0 && l.n < (size_t)num(argv[1]))
		err = list_some(fdof(argv[0]), 280, &l);
	return err < 0 ? err : l.n < (size_t)num(argv[1]) ? mismatch_num("readdir", l.n, num(argv[1])) : 0;
}

static int do_rewinddir(int argc, char **argv)
{
	(void)argc;
	return syserr(lseek(fdof(argv[0]), 0, SEEK_SET));
}

/* PATH PREFIX N: makes N files of their own name as content; the directory must be there */
static int do_mkmany(int argc, char **argv)
{
	int fd = dir_fd(argv[0]);

	(void)argc;
	if (fd < 0)
		return -errno;
	for (long i = 0; i < num(argv[2]); i++) {
		char name[256];
		int f;

		snprintf(name, sizeof(name), "%s%ld", argv[1], i);
		f = openat(fd, name, O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (f < 0 || write(f, name, strlen(name)) < 0)
			return -errno;
		close(f);
	}
	close(fd);
	return 0;
}

static int do_statmany(int argc, char **argv) /* PATH PREFIX N */
{
	int fd = dir_fd(argv[0]);

	(void)argc;
	if (fd < 0)
		return -errno;
	for (long i = 0; i < num(argv[2]); i++) {
		struct stat st;
		char name[256];

		snprintf(name, sizeof(name), "%s%ld", argv[1], i);
		if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
			return -errno;
	}
	close(fd);
	return 0;
}

/* PATH NAME DEPTH: a chain of directories of that name, built (or removed) step by step */
static int do_mkdeep(int argc, char **argv)
{
	int fd = dir_fd(argv[0]);

	(void)argc;
	if (fd < 0)
		return -errno;
	for (long i = 0; i < num(argv[2]); i++) {
		int next;

		if (mkdirat(fd, argv[1], 0755) && errno != EEXIST)
			return -errno;
		next = openat(fd, argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (next < 0)
			return -errno;
		close(fd);
		fd = next;
	}
	put("deep", fd); /* the deepest one, for what follows */
	return 0;
}

static int do_rmdeep(int argc, char **argv)
{
	long depth = num(argv[2]);
	int *fds = calloc(depth + 1, sizeof(*fds)), err = 0;

	(void)argc;
	fds[0] = dir_fd(argv[0]);
	if (fds[0] < 0)
		return -errno;
	for (long i = 1; i <= depth; i++) {
		fds[i] = openat(fds[i - 1], argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fds[i] < 0)
			return -errno;
	}
	for (long i = depth; i > 0 && !err; i--)
		err = syserr(unlinkat(fds[i - 1], argv[1], AT_REMOVEDIR));
	for (long i = 0; i <= depth; i++)
		close(fds[i]);
	free(fds);
	return err;
}
