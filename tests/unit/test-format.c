// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The records were taken from an upper that kernel overlayfs (6.18) wrote with index=on,
 * redirect_dir=on, metacopy=on over ext4; broken ones are made from them.
 */
#include "unit.h"
#include "format.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#define ORIGIN_FILE "00fb1d000100000000000000000000000000000000b320a80043eebdfc"
#define UPPER_OF_INDEX "00fb1d0401000000000000000000000000000000008320a800e121a423"

/* ---- attribute names ---- */

static void attributes_have_the_kernels_names(void **state)
{
	(void)state;
	assert_string_equal(ply_format_attr(PLY_XNS_TRUSTED, OVL_OPAQUE), "trusted.overlay.opaque");
	assert_string_equal(ply_format_attr(PLY_XNS_USER, OVL_OPAQUE), "user.overlay.opaque");
	assert_string_equal(ply_format_attr(PLY_XNS_TRUSTED, OVL_WHITEOUT_ATTR), "trusted.overlay.whiteout");
	assert_string_equal(ply_format_attr(PLY_XNS_USER, OVL_NLINK), "user.overlay.nlink");
	for (int a = 0; a < OVL_ATTR_COUNT; a++) {
		assert_non_null(ply_format_attr(PLY_XNS_TRUSTED, (enum ply_ovl_attr)a));
		assert_true(ply_format_is_private(PLY_XNS_USER,
						  ply_format_attr(PLY_XNS_USER, (enum ply_ovl_attr)a)));
	}
}

static void private_names_are_told_apart(void **state)
{
	(void)state;
	assert_true(ply_format_is_private(PLY_XNS_TRUSTED, "trusted.overlay.opaque"));
	assert_true(ply_format_is_private(PLY_XNS_TRUSTED, "trusted.overlay."));
	assert_true(ply_format_is_private(PLY_XNS_TRUSTED, "trusted.overlay.overlayx"));
	assert_false(ply_format_is_private(PLY_XNS_TRUSTED, "trusted.overlay"));
	assert_false(ply_format_is_private(PLY_XNS_TRUSTED, "trusted.overlayfoo"));
	assert_false(ply_format_is_private(PLY_XNS_TRUSTED, "trusted.overlay.overlay.opaque"));
	assert_false(ply_format_is_private(PLY_XNS_TRUSTED, "user.overlay.opaque"));
	assert_false(ply_format_is_private(PLY_XNS_USER, "trusted.overlay.opaque"));
	assert_true(ply_format_is_private(PLY_XNS_USER, "user.overlay.opaque"));
	assert_true(ply_format_is_private(PLY_XNS_USER, "user.fuseoverlayfs.origin"));
	assert_true(ply_format_is_private(PLY_XNS_TRUSTED, "security.fuseoverlayfs.override_stat"));
	assert_true(ply_format_is_private(PLY_XNS_TRUSTED, "user.containers.override_stat"));
	assert_false(ply_format_is_private(PLY_XNS_TRUSTED, "user.containers.x"));
	assert_false(ply_format_is_private(PLY_XNS_TRUSTED, "security.capability"));
	assert_true(ply_format_is_escaped(PLY_XNS_TRUSTED, "trusted.overlay.overlay.opaque"));
	assert_false(ply_format_is_escaped(PLY_XNS_USER, "trusted.overlay.overlay.opaque"));
}

static void nested_names_are_escaped_and_back(void **state)
{
	static const char *const names[] = {
		"user.x", "trusted.overlay.opaque", "trusted.overlay.", "trusted.overlay.overlay.origin",
		"trusted.overlay.overlay.overlay.a", "trusted.overlayfoo", "user.overlay.opaque", "",
	};
	char disk[256], back[256];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		for (int x = 0; x < 2; x++) {
			assert_int_equal(ply_format_escape((enum ply_xns)x, names[i], disk), 0);
			assert_false(ply_format_is_private((enum ply_xns)x, disk));
			assert_int_equal(ply_format_unescape((enum ply_xns)x, disk, back), 0);
			assert_string_equal(back, names[i]);
		}
	assert_int_equal(ply_format_escape(PLY_XNS_TRUSTED, "trusted.overlay.opaque", disk), 0);
	assert_string_equal(disk, "trusted.overlay.overlay.opaque");
	assert_int_equal(ply_format_unescape(PLY_XNS_TRUSTED, "trusted.overlay.opaque", back), -ENODATA);
	assert_int_equal(ply_format_unescape(PLY_XNS_USER, "user.containers.override_stat", back), -ENODATA);
	assert_int_equal(ply_format_escape(PLY_XNS_USER, "user.containers.override_stat", disk), -EOPNOTSUPP);
	assert_int_equal(ply_format_escape(PLY_XNS_USER, "user.fuseoverlayfs.opaque", disk), -EOPNOTSUPP);
}

static void names_stay_within_255_bytes(void **state)
{
	char name[300], disk[256];

	(void)state;
	memset(name, 'n', sizeof(name));
	name[255] = 0;
	assert_int_equal(ply_format_escape(PLY_XNS_USER, name, disk), 0);
	assert_int_equal(strlen(disk), 255);
	name[255] = 'n';
	name[256] = 0;
	assert_int_equal(ply_format_escape(PLY_XNS_USER, name, disk), -ERANGE);
	assert_int_equal(ply_format_unescape(PLY_XNS_USER, name, disk), -ENODATA);
	memcpy(name, "user.overlay.", 13);
	name[247] = 0;
	assert_int_equal(ply_format_escape(PLY_XNS_USER, name, disk), 0);
	assert_int_equal(strlen(disk), 255);
	name[247] = 'n';
	name[248] = 0;
	assert_int_equal(ply_format_escape(PLY_XNS_USER, name, disk), -ERANGE);
}

/* ---- small values ---- */

static void opaque_is_one_letter(void **state)
{
	(void)state;
	assert_int_equal(ply_format_opaque("y", 1), 'y');
	assert_int_equal(ply_format_opaque("x", 1), 'x');
	assert_int_equal(ply_format_opaque("n", 1), 0);
	assert_int_equal(ply_format_opaque("yy", 2), 0);
	assert_int_equal(ply_format_opaque("", 0), 0);
	assert_int_equal(ply_format_opaque(NULL, 0), 0);
}

static int redirect(const char *val, size_t len, bool *absolute)
{
	char *copy = exact(val, len);
	int r = ply_format_redirect(copy, len, absolute);

	free(copy);
	return r;
}

static void redirects_never_lead_out(void **state)
{
	static const char *const bad[] = {
		"", "/", "//", "/a/", "/a//b", "//a", "a/b", "a/", ".", "..", "/.", "/..", "/a/..",
		"/../a", "/a/./b", "/a/../../etc",
	};
	static const char *const good[] = { "d", "/d/e", "/meta", "...", "/..a/.b", ".x", "/f", "\xff\x01" };
	bool absolute = false;
	char *big = malloc(70000);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (redirect(bad[i], strlen(bad[i]), &absolute) != -EINVAL)
			fail_msg("'%s' was accepted", bad[i]);
	assert_false(absolute);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(redirect(good[i], strlen(good[i]), &absolute), 0);
		assert_int_equal(absolute, good[i][0] == '/');
	}
	assert_int_equal(redirect("a\0b", 3, &absolute), -EINVAL);
	assert_int_equal(redirect("a\0", 2, &absolute), -EINVAL);
	assert_non_null(big);
	for (size_t i = 0; i < 70000; i++)
		big[i] = i % 200 ? 'p' : '/';
	assert_int_equal(redirect(big, 65536, &absolute), 0);
	assert_int_equal(redirect(big, 65537, &absolute), -EINVAL);
	free(big);
}

static void metacopy_checks_its_length(void **state)
{
	uint8_t rec[80] = { 0, 36, 0, 1 };
	struct ply_metacopy m = { .flags = 9 };

	(void)state;
	assert_int_equal(ply_format_metacopy("", 0, &m), 0);
	assert_int_equal(m.flags + m.digest_algo + m.digest_len, 0);
	memset(rec + 4, 0xab, sizeof(rec) - 4);
	for (size_t len = 1; len <= sizeof(rec); len++) {
		uint8_t *copy = exact(rec, len);

		assert_int_equal(ply_format_metacopy(copy, len, &m), len == 36 ? 0 : -EINVAL);
		free(copy);
	}
	assert_int_equal(m.digest_algo, 1);
	assert_int_equal(m.digest_len, 32);
	assert_memory_equal(m.digest, rec + 4, 32);
	rec[1] = 4;
	assert_int_equal(ply_format_metacopy(rec, 4, &m), 0);
	assert_int_equal(m.digest_len, 0);
	rec[1] = 68;
	assert_int_equal(ply_format_metacopy(rec, 68, &m), 0);
	assert_int_equal(m.digest_len, 64);
	rec[1] = 69;
	assert_int_equal(ply_format_metacopy(rec, 69, &m), -EINVAL);
	rec[0] = 1;
	rec[1] = 36;
	assert_int_equal(ply_format_metacopy(rec, 36, &m), -EINVAL);
}

static void nlink_is_a_signed_difference(void **state)
{
	static const char *const bad[] = {
		"", "U", "U+", "U1", "X+1", "+1", "U+-1", "U+0x1", "U+1 ", "U+2147483648", "U--1",
		"U+99999999999999999999999", "u+1",
	};
	char out[16];
	bool upper;
	int diff;

	(void)state;
	assert_int_equal(ply_format_nlink_parse("U-1", 3, &upper, &diff), 0);
	assert_true(upper);
	assert_int_equal(diff, -1);
	assert_int_equal(ply_format_nlink_parse("L+0", 3, &upper, &diff), 0);
	assert_false(upper);
	assert_int_equal(diff, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *copy = exact(bad[i], strlen(bad[i]));

		if (ply_format_nlink_parse(copy, strlen(bad[i]), &upper, &diff) != -EINVAL)
			fail_msg("'%s' was accepted", bad[i]);
		free(copy);
	}
	assert_int_equal(ply_format_nlink_build(true, -1, out), 3);
	assert_string_equal(out, "U-1");
	assert_int_equal(ply_format_nlink_build(false, 0, out), 3);
	assert_string_equal(out, "L+0");
	for (int d = -INT_MAX; d < INT_MAX - 100003; d += 100003) {
		size_t n = ply_format_nlink_build(d & 1, d, out);

		assert_int_equal(ply_format_nlink_parse(out, n, &upper, &diff), 0);
		assert_int_equal(upper, d & 1);
		assert_int_equal(diff, d);
	}
}

/* ---- file handles ---- */

static void the_kernels_origin_is_understood(void **state)
{
	uint8_t rec[64], out[21 + PLY_FH_MAX];
	size_t len = from_hex(ORIGIN_FILE, rec);
	char name[PLY_INDEX_NAME_MAX];
	struct ply_fh fh, again;

	(void)state;
	assert_int_equal(len, 29);
	assert_int_equal(ply_format_fh_parse(rec, len, &fh), 0);
	assert_int_equal(fh.type, 1);
	assert_int_equal(fh.len, 8);
	assert_false(fh.is_upper);
	assert_false(fh.foreign);
	/* FILEID_INO32_GEN: the inode number was 11018419 */
	assert_memory_equal(fh.fid, "\xb3\x20\xa8\x00", 4);
	assert_int_equal(ply_format_fh_build(&fh, out), len);
	assert_memory_equal(out, rec, len);
	/* The kernel's index entry of this file had exactly this name. */
	assert_int_equal(ply_format_index_name(&fh, name), 0);
	assert_string_equal(name, ORIGIN_FILE);
	assert_int_equal(ply_format_index_parse(name, &again), 0);
	assert_memory_equal(&again, &fh, sizeof(fh));
	len = from_hex(UPPER_OF_INDEX, rec);
	assert_int_equal(ply_format_fh_parse(rec, len, &fh), 0);
	assert_true(fh.is_upper);
	assert_int_equal(ply_format_fh_build(&fh, out), len);
	assert_memory_equal(out, rec, len);
}

/* What the same kernel wrote with lowers on tmpfs and xfs: other types, lengths and uuids. */
static void handles_of_other_filesystems(void **state)
{
	static const struct {
		const char *hex;
		uint8_t type;
		bool upper;
	} t[] = {
		{ "00fb210001a543770e12a141959e61b4f24e1532eb5865687e0400000000000000", 0x01, false },	/* tmpfs */
		{ "00fb210081c8b3e779bbcc461b97094796db2f83f181000a0000000000069176af", 0x81, false },	/* xfs */
		{ "00fb210481c8b3e779bbcc461b97094796db2f83f18100040000000000f384905b", 0x81, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint8_t rec[64], out[21 + PLY_FH_MAX];
		size_t len = from_hex(t[i].hex, rec);
		char name[PLY_INDEX_NAME_MAX];
		struct ply_fh fh;

		assert_int_equal(ply_format_fh_parse(rec, len, &fh), 0);
		assert_int_equal(fh.type, t[i].type);
		assert_int_equal(fh.len, 12);
		assert_int_equal(fh.is_upper, t[i].upper);
		assert_memory_equal(fh.uuid, rec + 5, 16);
		assert_int_equal(ply_format_fh_build(&fh, out), len);
		assert_memory_equal(out, rec, len);
		assert_int_equal(ply_format_index_name(&fh, name), 0);
		assert_string_equal(name, t[i].hex);
	}
}

static void every_cut_of_a_handle_is_refused(void **state)
{
	uint8_t rec[64];
	size_t len = from_hex(ORIGIN_FILE, rec);
	struct ply_fh fh;

	(void)state;
	for (size_t n = 0; n < len; n++) {
		uint8_t *copy = exact(rec, n);

		assert_int_equal(ply_format_fh_parse(copy, n, &fh), n ? -EINVAL : -ENODATA);
		free(copy);
	}
	/* A tail is ignored, as in the kernel. */
	assert_int_equal(ply_format_fh_parse(rec, len + 8, &fh), 0);
	assert_int_equal(fh.len, 8);
}

static void every_length_of_a_handle_goes_both_ways(void **state)
{
	(void)state;
	for (unsigned int n = 0; n <= PLY_FH_MAX; n++)
		for (unsigned int bits = 0; bits < 4; bits++) {
			struct ply_fh fh = {
				.type = (uint8_t)(n + 1), .len = (uint8_t)n, .is_upper = bits & 1, .foreign = bits & 2
			}, back;
			uint8_t out[21 + PLY_FH_MAX];
			char name[PLY_INDEX_NAME_MAX];
			size_t len;
			int r;

			memset(fh.uuid, 0x5a, sizeof(fh.uuid));
			memset(fh.fid, (int)n, n);
			len = ply_format_fh_build(&fh, out);
			assert_int_equal(len, 21 + n);
			assert_int_equal(ply_format_fh_parse(out, len, &back), 0);
			assert_memory_equal(&back, &fh, sizeof(fh));
			r = ply_format_index_name(&fh, name);
			assert_int_equal(r, n <= 106 ? 0 : -ENAMETOOLONG);
			if (r < 0)
				continue;
			assert_int_equal(ply_format_index_parse(name, &back), 0);
			assert_memory_equal(&back, &fh, sizeof(fh));
		}
}

static void strange_handles_are_ignored_or_refused(void **state)
{
	uint8_t rec[256] = { 0 };
	size_t len = from_hex(ORIGIN_FILE, rec);
	struct ply_fh fh;

	(void)state;
	rec[0] = 1;	/* version */
	assert_int_equal(ply_format_fh_parse(rec, len, &fh), -ENODATA);
	rec[0] = 0;
	rec[1] = 0xfa;	/* magic */
	assert_int_equal(ply_format_fh_parse(rec, len, &fh), -EINVAL);
	rec[1] = 0xfb;
	rec[3] = 8;	/* unknown flag */
	assert_int_equal(ply_format_fh_parse(rec, len, &fh), -ENODATA);
	rec[3] = 1;	/* big endian */
	assert_int_equal(ply_format_fh_parse(rec, len, &fh), 0);
	assert_int_equal(fh.foreign, __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
	rec[3] = 3;	/* any endian */
	assert_int_equal(ply_format_fh_parse(rec, len, &fh), 0);
	assert_false(fh.foreign);
	rec[3] = 0;
	rec[2] = 20;	/* shorter than its own header */
	assert_int_equal(ply_format_fh_parse(rec, len, &fh), -EINVAL);
	rec[2] = 21 + PLY_FH_MAX + 1;
	assert_int_equal(ply_format_fh_parse(rec, sizeof(rec), &fh), -EINVAL);
	rec[2] = 255;
	assert_int_equal(ply_format_fh_parse(rec, sizeof(rec), &fh), -EINVAL);
}

static void only_index_names_are_index_names(void **state)
{
	char name[600] = ORIGIN_FILE;
	struct ply_fh fh;

	(void)state;
	assert_int_equal(ply_format_index_parse("", &fh), -EINVAL);
	assert_int_equal(ply_format_index_parse("#5ddf", &fh), -EINVAL);
	assert_int_equal(ply_format_index_parse("work", &fh), -EINVAL);
	for (size_t n = 0; n < strlen(ORIGIN_FILE); n++) {
		name[n] = 0;
		assert_int_equal(ply_format_index_parse(name, &fh), -EINVAL);
		name[n] = 'g';
		assert_int_equal(ply_format_index_parse(name, &fh), -EINVAL);
		name[n] = 'F';
		assert_int_equal(ply_format_index_parse(name, &fh), -EINVAL);
		name[n] = ORIGIN_FILE[n];
	}
	strcat(name, "00");
	assert_int_equal(ply_format_index_parse(name, &fh), -EINVAL);
	memset(name, '0', 300);
	name[300] = 0;
	assert_int_equal(ply_format_index_parse(name, &fh), -EINVAL);
	strcpy(name, ORIGIN_FILE);
	name[1] = '1';
	assert_int_equal(ply_format_index_parse(name, &fh), -ENODATA);
}

/* ---- names in directories ---- */

static void aufs_names(void **state)
{
	(void)state;
	assert_string_equal(ply_format_aufs_whiteout(".wh.name"), "name");
	assert_string_equal(ply_format_aufs_whiteout(".wh..hidden"), ".hidden");
	assert_string_equal(ply_format_aufs_whiteout(".wh....."), "....");
	assert_null(ply_format_aufs_whiteout(".wh."));
	assert_null(ply_format_aufs_whiteout(".wh.."));
	assert_null(ply_format_aufs_whiteout(".wh..."));
	assert_null(ply_format_aufs_whiteout(".wh"));
	assert_null(ply_format_aufs_whiteout("wh.name"));
	assert_null(ply_format_aufs_whiteout(PLY_AUFS_OPAQUE));
	assert_true(ply_format_is_aufs_reserved(PLY_AUFS_OPAQUE));
	assert_true(ply_format_is_aufs_reserved(".wh..wh.plnk"));
	assert_true(ply_format_is_aufs_reserved(".wh..wh.aufs"));
	assert_true(ply_format_is_aufs_reserved(".wh..wh.orph"));
	assert_false(ply_format_is_aufs_reserved(".wh..wha"));
	assert_false(ply_format_is_aufs_reserved(".wh.x"));
}

/* ---- override_stat ---- */

static int override(const char *val, struct ply_override *o)
{
	char *copy = exact(val, strlen(val));
	int r = ply_format_override_parse(copy, strlen(val), o);

	free(copy);
	return r;
}

static void override_stat_of_all_writers(void **state)
{
	struct ply_override o;

	(void)state;
	assert_int_equal(override("0:0:755", &o), 0);
	assert_int_equal(o.mode, 0755);
	assert_false(o.has_type);
	assert_int_equal(override("1000:5:0100644", &o), 0);
	assert_int_equal(o.uid, 1000);
	assert_int_equal(o.gid, 5);
	assert_int_equal(o.mode, S_IFREG | 0644);
	assert_true(o.has_type);
	assert_int_equal(override("0:0:04755:file", &o), 0);
	assert_int_equal(o.mode, S_IFREG | 04755);
	assert_int_equal(override("0:0:01777:dir", &o), 0);
	assert_int_equal(o.mode, S_IFDIR | 01777);
	assert_int_equal(override("0:0:0777:symlink", &o), 0);
	assert_int_equal(o.mode, S_IFLNK | 0777);
	assert_int_equal(override("0:0:0644:pipe", &o), 0);
	assert_int_equal(o.mode, S_IFIFO | 0644);
	assert_int_equal(override("0:0:0644:socket", &o), 0);
	assert_int_equal(o.mode, S_IFSOCK | 0644);
	assert_int_equal(override("0:6:0660:block-259-70000", &o), 0);
	assert_int_equal(o.mode, S_IFBLK | 0660);
	assert_int_equal(o.major, 259);
	assert_int_equal(o.minor, 70000);
	assert_int_equal(override("0:0:0100666:char-1-3-later:and-more", &o), 0);
	assert_int_equal(o.mode, S_IFCHR | 0666);
	assert_int_equal(o.major * 10 + o.minor, 13);
}

static void broken_override_stat(void **state)
{
	static const char *const bad[] = {
		"", ":", "::", ":::", "0", "0:0", "0:0:", "0:0:8", "0:0:0o644", "a:0:644", "-1:0:644", "0:-1:644",
		"4294967295:0:644", "0:4294967296:644", "0:0:200000", "0:0:0150000", "0:0:644:", "0:0:644:fil",
		"0:0:644:files", "0:0:644:block", "0:0:644:block-", "0:0:644:block-1", "0:0:644:block-1-",
		"0:0:644:char--1", "0:0:644:char-1-x", "0:0:644:char-4294967296-1", "0:0:644 ", " 0:0:644",
		"0:0:000000000000000000000000000000000000000000000000000000000000000000644",
	};
	struct ply_override o = { .uid = 77 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (override(bad[i], &o) != -EINVAL)
			fail_msg("'%s' was accepted", bad[i]);
	assert_int_equal(ply_format_override_parse("0:0\0:644", 8, &o), -EINVAL);
	assert_int_equal(o.uid, 77);
}

static void assert_same(const struct ply_override *a, const struct ply_override *b)
{
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->has_type, b->has_type);
	assert_int_equal(a->major, b->major);
	assert_int_equal(a->minor, b->minor);
}

static void override_stat_goes_both_ways(void **state)
{
	static const uint32_t fmt[] = { 0, S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFBLK, S_IFCHR };

	(void)state;
	for (size_t i = 0; i < sizeof(fmt) / sizeof(fmt[0]); i++)
		for (uint32_t mode = 0; mode < 010000; mode++) {
			bool device = fmt[i] == S_IFBLK || fmt[i] == S_IFCHR;
			struct ply_override o = {
				.uid = UINT32_MAX - 1, .gid = UINT32_MAX - 1, .mode = fmt[i] | mode, .has_type = fmt[i],
				.major = device ? UINT32_MAX : 0, .minor = device ? UINT32_MAX : 0,
			}, back;
			char out[PLY_OVERRIDE_MAX];
			size_t n = ply_format_override_build(&o, out);

			assert_true(n < PLY_OVERRIDE_MAX && n == strlen(out));
			assert_int_equal(override(out, &back), 0);
			assert_same(&back, &o);
		}
	struct ply_override o = { .uid = 1, .gid = 2, .mode = S_IFCHR | 0644, .has_type = true, .major = 1, .minor = 3 };
	char out[PLY_OVERRIDE_MAX];

	ply_format_override_build(&o, out);
	assert_string_equal(out, "1:2:0644:char-1-3");
}

/* ---- file capabilities ---- */

static void capability_root_ids(void **state)
{
	/* setcap cap_net_raw+ep in a user namespace whose root is 100000, and outside. */
	uint8_t v3[24], v2[20];
	uint32_t id = 5;

	(void)state;
	assert_int_equal(from_hex("0100000300200000000000000000000000000000a0860100", v3), 24);
	assert_int_equal(from_hex("0100000200200000000000000000000000000000", v2), 20);
	assert_int_equal(ply_format_cap_rootid(v2, 20, &id), -ENODATA);
	assert_int_equal(ply_format_cap_set_rootid(v2, 20, 1), -ENODATA);
	assert_int_equal(id, 5);
	for (size_t n = 0; n < 24; n++) {
		uint8_t *copy = exact(v3, n);

		assert_int_equal(ply_format_cap_rootid(copy, n, &id), -EINVAL);
		assert_int_equal(ply_format_cap_set_rootid(copy, n, 1), -EINVAL);
		free(copy);
	}
	assert_int_equal(ply_format_cap_rootid(v3, 24, &id), 0);
	assert_int_equal(id, 100000);
	assert_int_equal(ply_format_cap_set_rootid(v3, 24, 0xfffffffe), 0);
	assert_int_equal(ply_format_cap_rootid(v3, 24, &id), 0);
	assert_int_equal(id, 0xfffffffe);
	v3[3] = 4;
	assert_int_equal(ply_format_cap_rootid(v3, 24, &id), -EINVAL);
	v3[3] = 2;
	assert_int_equal(ply_format_cap_rootid(v3, 24, &id), -EINVAL);
}

/* Any bytes at all: no crash, and what is accepted survives being written and read again. */
static void noise_is_harmless(void **state)
{
	uint64_t seed = 88172645463325252ULL;

	(void)state;
	for (int round = 0; round < 200000; round++) {
		uint8_t rec[64];
		size_t len = rnd(&seed) % sizeof(rec);
		struct ply_override o, o2;
		struct ply_metacopy m;
		struct ply_fh fh;
		bool b;
		int d;

		for (size_t i = 0; i < len; i++)
			rec[i] = round & 1 ? (uint8_t)"0123:-/.UL"[rnd(&seed) % 10] : (uint8_t)rnd(&seed);
		if (round & 2 && len > 4) {
			rec[0] = 0;
			rec[1] = 0xfb;
			rec[2] = (uint8_t)len;
			rec[3] &= 7;
		}
		ply_format_opaque(rec, len);
		ply_format_redirect((char *)rec, len, &b);
		ply_format_metacopy(rec, len, &m);
		ply_format_nlink_parse((char *)rec, len, &b, &d);
		if (ply_format_fh_parse(rec, len, &fh) == 0)
			assert_true(fh.len <= PLY_FH_MAX);
		if (ply_format_override_parse((char *)rec, len, &o) == 0) {
			char out[PLY_OVERRIDE_MAX];
			size_t n = ply_format_override_build(&o, out);

			assert_int_equal(ply_format_override_parse(out, n, &o2), 0);
			assert_same(&o, &o2);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attributes_have_the_kernels_names),
		cmocka_unit_test(private_names_are_told_apart),
		cmocka_unit_test(nested_names_are_escaped_and_back),
		cmocka_unit_test(names_stay_within_255_bytes),
		cmocka_unit_test(opaque_is_one_letter),
		cmocka_unit_test(redirects_never_lead_out),
		cmocka_unit_test(metacopy_checks_its_length),
		cmocka_unit_test(nlink_is_a_signed_difference),
		cmocka_unit_test(the_kernels_origin_is_understood),
		cmocka_unit_test(handles_of_other_filesystems),
		cmocka_unit_test(every_cut_of_a_handle_is_refused),
		cmocka_unit_test(every_length_of_a_handle_goes_both_ways),
		cmocka_unit_test(strange_handles_are_ignored_or_refused),
		cmocka_unit_test(only_index_names_are_index_names),
		cmocka_unit_test(aufs_names),
		cmocka_unit_test(override_stat_of_all_writers),
		cmocka_unit_test(broken_override_stat),
		cmocka_unit_test(override_stat_goes_both_ways),
		cmocka_unit_test(capability_root_ids),
		cmocka_unit_test(noise_is_harmless),
	};

	return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}
