/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fsop's commands on open files: their flags, bytes, holes and mappings */

static const struct word open_words[] = {
	{ "r", O_RDONLY }, { "w", O_WRONLY }, { "rw", O_RDWR }, { "creat", O_CREAT }, { "excl", O_EXCL },
	{ "trunc", O_TRUNC }, { "append", O_APPEND }, { "tmpfile", O_TMPFILE }, { "direct", O_DIRECT },
	{ "dir", O_DIRECTORY }, { "nofollow", O_NOFOLLOW }, { "path", O_PATH }, { "sync", O_SYNC },
	{ "dsync", O_DSYNC }, { "noatime", O_NOATIME }, { "nonblock", O_NONBLOCK },
};

static int do_open(int argc, char **argv) /* NAME P FLAGS [MODE] */
{
	int fd = open(argv[1], WORDS(open_words, argv[2]), argc > 3 ? num(argv[3]) : 0666);

	if (fd < 0)
		return -errno;
	put(argv[0], fd);
	return 0;
}

static int do_openat(int argc, char **argv) /* NAME FD PATH FLAGS [MODE] */
{
	int fd = openat(fdof(argv[1]), argv[2], WORDS(open_words, argv[3]), argc > 4 ? num(argv[4]) : 0666);

	if (fd < 0)
		return -errno;
	put(argv[0], fd);
	return 0;
}

static int do_reopen(int argc, char **argv) /* NAME FD FLAGS: through /proc/self/fd */
{
	char path[64];
	int fd;

	(void)argc;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fdof(argv[1]));
	fd = open(path, WORDS(open_words, argv[2]));
	if (fd < 0)
		return -errno;
	put(argv[0], fd);
	return 0;
}

static int do_close(int argc, char **argv)
{
	struct handle *h = get(argv[0]);
	int err;

	(void)argc;
	err = h->dir ? closedir(h->dir) : close(h->fd);
	h->name[0] = 0;
	return syserr(err);
}

static int do_pread(int argc, char **argv) /* FD OFF LEN WANT */
{
	size_t len = num(argv[2]);
	char *buf = NULL;
	ssize_t n;

	(void)argc;
	if (posix_memalign((void **)&buf, 4096, len + 1))
		return -ENOMEM;
	n = pread(fdof(argv[0]), buf, len, num(argv[1]));
	return expect_bytes("pread", buf, n, argv[3]);
}

static int do_read(int argc, char **argv) /* FD LEN WANT */
{
	size_t len = num(argv[1]);
	char *buf = malloc(len + 1);

	(void)argc;
	return expect_bytes("read", buf, read(fdof(argv[0]), buf, len), argv[2]);
}

static int wrote(ssize_t n, size_t len)
{
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : mismatch_num("short write", n, len);
}

static int do_pwrite(int argc, char **argv) /* FD OFF DATA */
{
	size_t len;
	char *b = bytes(argv[2], &len);

	(void)argc;
	return wrote(pwrite(fdof(argv[0]), b, len, num(argv[1])), len);
}

static int do_write(int argc, char **argv) /* FD DATA */
{
	size_t len;
	char *b = bytes(argv[1], &len);

	(void)argc;
	return wrote(write(fdof(argv[0]), b, len), len);
}

/* FD OFF LEN BYTE: the range gets (or must have) that byte everywhere */
static int fill_or_check(char **argv, bool fill)
{
	long long off = num(argv[1]), end = off + num(argv[2]);
	const size_t chunk = 128 << 10;
	size_t blen;
	char *b = bytes(argv[3], &blen), *want = NULL, *buf = NULL;
	int err = 0;

	if (posix_memalign((void **)&want, 4096, chunk) || posix_memalign((void **)&buf, 4096, chunk))
		return -ENOMEM;
	memset(want, blen ? b[0] : 0, chunk);
	for (; !err && off < end; off += chunk) {
		size_t len = end - off < (long long)chunk ? (size_t)(end - off) : chunk;
		ssize_t n = fill ? pwrite(fdof(argv[0]), want, len, off) : pread(fdof(argv[0]), buf, len, off);

		if (n < 0)
			err = -errno;
		else if ((size_t)n != len)
			err = mismatch_num(fill ? "short write" : "short read", n, len);
		else if (!fill && memcmp(buf, want, len)) {
			fprintf(stderr, "fsop: check: other bytes than '%s' near %lld\n", argv[3], off);
			err = -MISMATCH;
		}
	}
	free(want);
	free(buf);
	return err;
}

static int do_fill(int argc, char **argv)
{
	(void)argc;
	return fill_or_check(argv, true);
}

static int do_check(int argc, char **argv)
{
	(void)argc;
	return fill_or_check(argv, false);
}

static const struct word whence_words[] = {
	{ "set", SEEK_SET }, { "cur", SEEK_CUR }, { "end", SEEK_END }, { "data", SEEK_DATA }, { "hole", SEEK_HOLE },
};

static int do_lseek(int argc, char **argv) /* FD OFF WHENCE [WANT] */
{
	off_t o = lseek(fdof(argv[0]), num(argv[1]), WORDS(whence_words, argv[2]));

	if (o < 0)
		return -errno;
	return argc > 3 && o != num(argv[3]) ? mismatch_num("lseek", o, num(argv[3])) : 0;
}

static int do_truncate(int argc, char **argv) /* P LEN */
{
	(void)argc;
	if (argv[0][0] == '@')
		return syserr(ftruncate(fdof(argv[0] + 1), num(argv[1])));
	return syserr(truncate(argv[0], num(argv[1])));
}

static const struct word falloc_words[] = {
	{ "alloc", 0 }, { "keep", FALLOC_FL_KEEP_SIZE }, { "punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE },
	{ "zero", FALLOC_FL_ZERO_RANGE }, { "collapse", FALLOC_FL_COLLAPSE_RANGE }, { "insert", FALLOC_FL_INSERT_RANGE },
};

static int do_fallocate(int argc, char **argv) /* FD MODE OFF LEN */
{
	(void)argc;
	return syserr(fallocate(fdof(argv[0]), WORDS(falloc_words, argv[1]), num(argv[2]), num(argv[3])));
}

static int do_fsync(int argc, char **argv)
{
	(void)argc;
	return syserr(fsync(fdof(argv[0])));
}

static int do_fdatasync(int argc, char **argv)
{
	(void)argc;
	return syserr(fdatasync(fdof(argv[0])));
}

static int do_syncfs(int argc, char **argv)
{
	(void)argc;
	return syserr(syncfs(fdof(argv[0])));
}

static int do_copy(int argc, char **argv) /* IN OFF OUT OFF LEN: copy_file_range, all of LEN */
{
	loff_t in = num(argv[1]), out = num(argv[3]);
	long long len = num(argv[4]);

	(void)argc;
	while (len > 0) {
		ssize_t n = copy_file_range(fdof(argv[0]), &in, fdof(argv[2]), &out, len, 0);

		if (n < 0)
			return -errno;
		if (!n)
			return mismatch_num("copy: bytes left", len, 0);
		len -= n;
	}
	return 0;
}

static int do_sendfile(int argc, char **argv) /* IN OFF OUT LEN */
{
	off_t off = num(argv[1]);
	long long len = num(argv[3]);
	ssize_t n;

	(void)argc;
	n = sendfile(fdof(argv[2]), fdof(argv[0]), &off, len);
	return n < 0 ? -errno : n == len ? 0 : mismatch_num("sendfile", n, len);
}

static int do_splice(int argc, char **argv) /* IN OFF OUT OFF LEN: through a pipe */
{
	loff_t in = num(argv[1]), out = num(argv[3]);
	long long len = num(argv[4]);
	int p[2], err = 0;
	ssize_t n;

	(void)argc;
	if (pipe(p))
		return -errno;
	n = splice(fdof(argv[0]), &in, p[1], NULL, len, 0);
	if (n == len)
		n = splice(p[0], NULL, fdof(argv[2]), &out, len, 0);
	if (n != len)
		err = n < 0 ? -errno : mismatch_num("splice", n, len);
	close(p[0]);
	close(p[1]);
	return err;
}

static const struct word prot_words[] = {
	{ "r", PROT_READ }, { "w", PROT_WRITE }, { "rw", PROT_READ | PROT_WRITE }, { "x", PROT_READ | PROT_EXEC },
};

static int do_mmap(int argc, char **argv) /* NAME FD OFF LEN PROT shared|private */
{
	size_t len = num(argv[3]);
	char *p = mmap(NULL, len, WORDS(prot_words, argv[4]), strcmp(argv[5], "shared") ? MAP_PRIVATE : MAP_SHARED,
		       fdof(argv[1]), num(argv[2]));
	struct handle *h;

	(void)argc;
	if (p == MAP_FAILED)
		return -errno;
	h = put(argv[0], -1);
	h->map = p;
	h->len = len;
	return 0;
}

static int do_mread(int argc, char **argv) /* MAP OFF LEN WANT */
{
	(void)argc;
	return expect_bytes("mread", get(argv[0])->map + num(argv[1]), num(argv[2]), argv[3]);
}

static int do_mwrite(int argc, char **argv) /* MAP OFF DATA */
{
	size_t len;
	char *b = bytes(argv[2], &len);

	(void)argc;
	memcpy(get(argv[0])->map + num(argv[1]), b, len);
	return 0;
}

static int do_msync(int argc, char **argv)
{
	struct handle *h = get(argv[0]);

	(void)argc;
	return syserr(msync(h->map, h->len, MS_SYNC));
}

static int do_munmap(int argc, char **argv)
{
	struct handle *h = get(argv[0]);

	(void)argc;
	h->name[0] = 0;
	return syserr(munmap(h->map, h->len));
}
