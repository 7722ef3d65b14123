/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fsop's commands for extended attributes, ACLs, locks and ioctls */

static int do_setx(int argc, char **argv) /* P NAME VALUE [create|replace] */
{
	static const struct word t[] = { { "create", XATTR_CREATE }, { "replace", XATTR_REPLACE } };
	int flags = argc > 3 ? WORDS(t, argv[3]) : 0;
	size_t len;
	char *v = bytes(argv[2], &len);

	if (argv[0][0] == '@')
		return syserr(fsetxattr(fdof(argv[0] + 1), argv[1], v, len, flags));
	return syserr(lsetxattr(argv[0], argv[1], v, len, flags));
}

static int do_getx(int argc, char **argv) /* P NAME WANT */
{
	static char buf[65536];
	ssize_t n = argv[0][0] == '@' ? fgetxattr(fdof(argv[0] + 1), argv[1], buf, sizeof(buf)) :
					lgetxattr(argv[0], argv[1], buf, sizeof(buf));

	(void)argc;
	return expect_bytes(argv[1], buf, n, argv[2]);
}

static int do_rmx(int argc, char **argv) /* P NAME */
{
	(void)argc;
	if (argv[0][0] == '@')
		return syserr(fremovexattr(fdof(argv[0] + 1), argv[1]));
	return syserr(lremovexattr(argv[0], argv[1]));
}

static int cmp_str(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int do_listx(int argc, char **argv) /* P [WANT]: sorted names, a blank between; prints without WANT */
{
	static char buf[65536], out[65536];
	static char *names[1024];
	size_t n = 0;
	ssize_t len = argv[0][0] == '@' ? flistxattr(fdof(argv[0] + 1), buf, sizeof(buf)) :
					  llistxattr(argv[0], buf, sizeof(buf));

	if (len < 0)
		return -errno;
	for (char *p = buf; p < buf + len && n < ARRAY_SIZE(names); p += strlen(p) + 1)
		names[n++] = p;
	qsort(names, n, sizeof(*names), cmp_str);
	out[0] = 0;
	for (size_t i = 0; i < n; i++)
		snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s%s", i ? " " : "", names[i]);
	if (argc > 1)
		return strcmp(out, argv[1]) ? mismatch("listx", out, argv[1]) : 0;
	puts(out);
	return 0;
}

/* ACLs as text, "u::rwx,u:1000:rw-,g::r-x,m::rwx,o::r--", without libacl */
struct acl_entry {
	uint16_t tag, perm;
	uint32_t id;
};

static const struct {
	const char *text;
	uint16_t tag;
	bool id;
} acl_tags[] = {
	{ "u::", 1, false }, { "u:", 2, true }, { "g::", 4, false }, { "g:", 8, true }, { "m::", 16, false }, { "o::", 32, false },
};

static const char *acl_name(const char *type)
{
	return type[0] == 'd' ? "system.posix_acl_default" : "system.posix_acl_access";
}

static int do_setacl(int argc, char **argv) /* P access|default TEXT */
{
	static union {
		char raw[4 + 32 * sizeof(struct acl_entry)];
		uint32_t version;
	} buf;
	char *dup = strdup(argv[2]), *save = NULL, *at = buf.raw + 4;

	(void)argc;
	buf.version = 2;
	for (char *w = strtok_r(dup, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		struct acl_entry e = { .id = UINT32_MAX };
		const char *perm;
		size_t i = 0;

		while (i < ARRAY_SIZE(acl_tags) && strncmp(acl_tags[i].text, w, strlen(acl_tags[i].text)))
			i++;
		if (i == ARRAY_SIZE(acl_tags))
			usage("bad acl", w);
		e.tag = acl_tags[i].tag;
		if (acl_tags[i].id)
			e.id = strtoul(w + 2, NULL, 10);
		perm = strrchr(w, ':') + 1;
		e.perm = (strchr(perm, 'r') ? 4 : 0) | (strchr(perm, 'w') ? 2 : 0) | (strchr(perm, 'x') ? 1 : 0);
		memcpy(at, &e, sizeof(e));
		at += sizeof(e);
	}
	free(dup);
	if (argv[0][0] == '@')
		return syserr(fsetxattr(fdof(argv[0] + 1), acl_name(argv[1]), buf.raw, at - buf.raw, 0));
	return syserr(setxattr(argv[0], acl_name(argv[1]), buf.raw, at - buf.raw, 0));
}

static int do_getacl(int argc, char **argv) /* P access|default [WANT] */
{
	static char buf[65536], out[65536];
	ssize_t n = argv[0][0] == '@' ? fgetxattr(fdof(argv[0] + 1), acl_name(argv[1]), buf, sizeof(buf)) :
					getxattr(argv[0], acl_name(argv[1]), buf, sizeof(buf));

	if (n < 0)
		return -errno;
	out[0] = 0;
	for (char *p = buf + 4; p + sizeof(struct acl_entry) <= buf + n; p += sizeof(struct acl_entry)) {
		struct acl_entry e;
		size_t i = 0, o = strlen(out);

		memcpy(&e, p, sizeof(e));
		while (i < ARRAY_SIZE(acl_tags) && acl_tags[i].tag != e.tag)
			i++;
		if (i == ARRAY_SIZE(acl_tags))
			return mismatch_num("acl tag", e.tag, 0);
		o += snprintf(out + o, sizeof(out) - o, "%s%s", o ? "," : "", acl_tags[i].text);
		if (acl_tags[i].id)
			o += snprintf(out + o, sizeof(out) - o, "%u:", e.id);
		snprintf(out + o, sizeof(out) - o, "%c%c%c", e.perm & 4 ? 'r' : '-', e.perm & 2 ? 'w' : '-',
			 e.perm & 1 ? 'x' : '-');
	}
	if (argc > 2)
		return strcmp(out, argv[2]) ? mismatch("acl", out, argv[2]) : 0;
	puts(out);
	return 0;
}

/* ---- locks and ioctls ---- */

static int do_flock(int argc, char **argv) /* FD sh|ex|un[+nb] */
{
	static const struct word t[] = { { "sh", LOCK_SH }, { "ex", LOCK_EX }, { "un", LOCK_UN }, { "nb", LOCK_NB } };

	(void)argc;
	return syserr(flock(fdof(argv[0]), WORDS(t, argv[1])));
}

static int do_lock(int argc, char **argv) /* FD r|w|u START LEN [ofd|wait] */
{
	struct flock l = {
		.l_type = argv[1][0] == 'r' ? F_RDLCK : argv[1][0] == 'w' ? F_WRLCK : F_UNLCK,
		.l_whence = SEEK_SET, .l_start = num(argv[2]), .l_len = num(argv[3]),
	};
	int cmd = argc < 5 ? F_SETLK : !strcmp(argv[4], "ofd") ? F_OFD_SETLK : F_SETLKW;

	return syserr(fcntl(fdof(argv[0]), cmd, &l));
}

static int do_getlk(int argc, char **argv) /* FD r|w START LEN WANT(u|r|w) */
{
	struct flock l = {
		.l_type = argv[1][0] == 'r' ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET, .l_start = num(argv[2]), .l_len = num(argv[3]),
	};
	const char *got;

	(void)argc;
	if (fcntl(fdof(argv[0]), F_GETLK, &l))
		return -errno;
	got = l.l_type == F_UNLCK ? "u" : l.l_type == F_RDLCK ? "r" : "w";
	return strcmp(got, argv[4]) ? mismatch("getlk", got, argv[4]) : 0;
}

static int do_flags(int argc, char **argv) /* FD [WANT hex mask of FS_*_FL bits that must be set, among a i d A] */
{
	static const struct word t[] = {
		{ "none", 0 }, { "a", FS_APPEND_FL }, { "i", FS_IMMUTABLE_FL }, { "d", FS_NODUMP_FL }, { "A", FS_NOATIME_FL },
	};
	const int mask = FS_APPEND_FL | FS_IMMUTABLE_FL | FS_NODUMP_FL | FS_NOATIME_FL;
	int fl;

	if (ioctl(fdof(argv[0]), FS_IOC_GETFLAGS, &fl))
		return -errno;
	if (argc > 1 && (fl & mask) != (int)WORDS(t, argv[1]))
		return mismatch_num("flags", fl & mask, WORDS(t, argv[1]));
	return 0;
}

static int do_setflags(int argc, char **argv) /* FD none|a+i+d+A: of those four, exactly these */
{
	static const struct word t[] = {
		{ "none", 0 }, { "a", FS_APPEND_FL }, { "i", FS_IMMUTABLE_FL }, { "d", FS_NODUMP_FL }, { "A", FS_NOATIME_FL },
	};
	int fl;

	(void)argc;
	if (ioctl(fdof(argv[0]), FS_IOC_GETFLAGS, &fl))
		return -errno;
	fl &= ~(FS_APPEND_FL | FS_IMMUTABLE_FL | FS_NODUMP_FL | FS_NOATIME_FL);
	fl |= (int)WORDS(t, argv[1]);
	return syserr(ioctl(fdof(argv[0]), FS_IOC_SETFLAGS, &fl));
}

static int do_fsgetxattr(int argc, char **argv)
{
	struct fsxattr fx;

	(void)argc;
	return syserr(ioctl(fdof(argv[0]), FS_IOC_FSGETXATTR, &fx));
}

static int do_fssetxattr(int argc, char **argv) /* FD none|A|d */
{
	static const struct word t[] = { { "none", 0 }, { "A", FS_XFLAG_NOATIME }, { "d", FS_XFLAG_NODUMP } };
	struct fsxattr fx;

	(void)argc;
	if (ioctl(fdof(argv[0]), FS_IOC_FSGETXATTR, &fx))
		return -errno;
	fx.fsx_xflags = WORDS(t, argv[1]);
	return syserr(ioctl(fdof(argv[0]), FS_IOC_FSSETXATTR, &fx));
}

static int do_statfs(int argc, char **argv) /* PATH PATH: same size, block size and name length */
{
	struct statvfs a, b;

	(void)argc;
	if (statvfs(argv[0], &a) || statvfs(argv[1], &b))
		return -errno;
	if (a.f_bsize != b.f_bsize)
		return mismatch_num("f_bsize", a.f_bsize, b.f_bsize);
	if (a.f_namemax != b.f_namemax)
		return mismatch_num("f_namemax", a.f_namemax, b.f_namemax);
	if (a.f_frsize * a.f_blocks != b.f_frsize * b.f_blocks)
		return mismatch_num("total", a.f_frsize * a.f_blocks, b.f_frsize * b.f_blocks);
	return a.f_files != b.f_files ? mismatch_num("f_files", a.f_files, b.f_files) : 0;
}
