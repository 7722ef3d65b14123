// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer: bytes from disk and from setxattr(2) through format and acl. The first
 * byte picks the record, the rest is its value. Besides not crashing: what is
 * accepted must survive being written and read again.
 */
#include "acl.h"
#include "format.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void try_handle(const uint8_t *val, size_t len)
{
	uint8_t rec[21 + PLY_FH_MAX];
	char name[PLY_INDEX_NAME_MAX];
	struct ply_fh a, b;

	if (ply_format_fh_parse(val, len, &a) < 0)
		return;
	must(ply_format_fh_parse(rec, ply_format_fh_build(&a, rec), &b) == 0);
	must(memcmp(&a, &b, sizeof(a)) == 0);
	if (ply_format_index_name(&a, name) < 0)
		return;
	must(ply_format_index_parse(name, &b) == 0);
	must(memcmp(&a, &b, sizeof(a)) == 0);
}

static void try_names(enum ply_xns xns, const char *name)
{
	char disk[256], back[256];
	struct ply_fh fh;
	const char *inner;

	if (ply_format_escape(xns, name, disk) == 0) {
		must(!ply_format_is_private(xns, disk));
		must(ply_format_unescape(xns, disk, back) == 0);
		must(strcmp(back, name) == 0);
	}
	if (ply_format_unescape(xns, name, back) == 0) {
		must(ply_format_escape(xns, back, disk) == 0);
		must(strcmp(disk, name) == 0);
	}
	inner = ply_format_aufs_whiteout(name);
	must(!inner || (*inner && !ply_format_is_aufs_reserved(name)));
	ply_format_index_parse(name, &fh);
}

static void try_override(const char *val, size_t len)
{
	char out[PLY_OVERRIDE_MAX];
	struct ply_override a, b;

	if (ply_format_override_parse(val, len, &a) < 0)
		return;
	must(ply_format_override_parse(out, ply_format_override_build(&a, out), &b) == 0);
	must(a.uid == b.uid && a.gid == b.gid && a.mode == b.mode && a.has_type == b.has_type);
}

static int64_t id_plus_one(void *arg, uint32_t id, int is_gid)
{
	(void)arg;
	return (int64_t)id + 1 + is_gid;
}

static void try_acl(void *val, size_t len, mode_t mode)
{
	void *out = malloc(len + 1);
	mode_t m = mode;
	int r;

	must(out != NULL);
	r = ply_acl_inherit(val, len, &m, out);
	must((r >= 0) == (ply_acl_check(val, len) == 0));
	if (r > 0) {
		must(ply_acl_check(out, len) == 0);
		mode_t again = m;

		must(ply_acl_equiv_mode(out, len, &again) == 1 && again == m);
		must((m & ~mode) == 0);
	}
	if (ply_acl_chmod(val, len, mode & 0777) == 0 && len > 4) {
		mode_t again = 0;

		must(ply_acl_equiv_mode(val, len, &again) >= 0 && again == (mode & 0777));
	}
	ply_acl_map(val, len, id_plus_one, NULL);
	free(out);
}

static void try_numbers(void *val, size_t len)
{
	struct ply_metacopy m;
	uint32_t id;
	char out[16];
	bool b, b2;
	int d, d2;

	if (ply_format_nlink_parse(val, len, &b, &d) == 0) {
		must(ply_format_nlink_parse(out, ply_format_nlink_build(b, d, out), &b2, &d2) == 0);
		must(b == b2 && d == d2);
	}
	if (ply_format_metacopy(val, len, &m) == 0)
		must(m.digest_len <= sizeof(m.digest));
	if (ply_format_cap_set_rootid(val, len, 1234) == 0)
		must(ply_format_cap_rootid(val, len, &id) == 0 && id == 1234);
	ply_format_opaque(val, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *val;
	bool b;

	if (!size)
		return 0;
	val = malloc(size);	/* the value, and a NUL for the names */
	must(val != NULL);
	memcpy(val, data + 1, size - 1);
	val[size - 1] = 0;
	switch (data[0] % 6) {
	case 0:
		try_handle(data + 1, size - 1);
		break;
	case 1:
		try_names(data[0] & 0x80 ? PLY_XNS_USER : PLY_XNS_TRUSTED, val);
		break;
	case 2:
		try_override((const char *)data + 1, size - 1);
		break;
	case 3:
		try_acl(val, size - 1, (mode_t)(data[0] * 257u) & 07777);
		break;
	case 4:
		try_numbers(val, size - 1);
		break;
	default:
		ply_format_redirect((const char *)data + 1, size - 1, &b);
	}
	free(val);
	return 0;
}
