// SPDX-License-Identifier: GPL-2.0-or-later
#include "backing_file.h"

#define BACKING_FMODE_EXEC 0x20		/* in FUSE_OPEN's flags when execve(2) opens (kernel: include/linux/fs.h) */
#define BACKING_STATIC_MIN (128 << 10)	/* smaller files of static= paths gain nothing */

/* Is the file below one of the static= paths? */
static bool policy_is_static(struct ply_fs *fs, struct ply_node *n)
{
	ply_autobuf rev = { 0 };	/* names from the file upwards, each with its NUL */
	struct ply_node *at = ply_node_ref(fs->graph, n);
	ply_autofree char *path = NULL;
	size_t end, len = 0;
	bool yes = false;
	char **s;

	while (at->id != PLY_ROOT_ID) {
		struct ply_node *parent;
		char name[256];
		int err = ply_name_any(fs->graph, at, &parent, name);

		ply_node_put(fs->graph, at);
		if (err)
			return false;
		at = parent;
		if (ply_buf_add(&rev, name, strlen(name) + 1)) {
			ply_node_put(fs->graph, at);
			return false;
		}
	}
	ply_node_put(fs->graph, at);
	path = malloc(rev.len + 2);
	if (!path)
		return false;
	for (end = rev.len; end > 0;) {
		size_t start = end - 1;

		while (start > 0 && rev.data[start - 1])
			start--;
		path[len++] = '/';
		memcpy(path + len, rev.data + start, end - 1 - start);
		len += end - 1 - start;
		end = start;
	}
	path[len] = '\0';
	for (s = fs->opt->static_paths; s && *s && !yes; s++) {
		size_t k = strlen(*s);

		while (k > 0 && (*s)[k - 1] == '/')
			k--;
		yes = !strncmp(path, *s, k) && (path[k] == '/' || (path[k] == '\0' && k));
	}
	return yes;
}

void ply_bfile_look(struct ply_fs *fs, struct ply_node *cur, int fd, uint8_t *is_elf, uint8_t *is_static)
{
	char magic[4];
	struct stat st;

	*is_elf = ply_sys_pread(fd, magic, 4, 0) == 4 && !memcmp(magic, "\177ELF", 4) ? TRI_YES : TRI_NO;
	*is_static = TRI_NO;
	if (*is_elf == TRI_NO && !ply_sys_stat(PLY_FD(fd), &st) && st.st_size >= BACKING_STATIC_MIN &&
	    policy_is_static(fs, cur))
		*is_static = TRI_YES;
}

enum backing_tri ply_bfile_may_locked(struct ply_fs *fs, const struct ply_file *f, uint16_t layer, int flags)
{
	if (!__atomic_load_n(&fs->passthrough, __ATOMIC_RELAXED) || f->refused ||
	    fs->opt->passthrough == PLY_PT_OFF || fs->layers.layer[layer].passthrough != PLY_PT_OK)
		return TRI_NO;
	if (layer == PLY_LAYER_UPPER || !ply_fs_writable(fs) || fs->opt->passthrough == PLY_PT_FULL)
		return TRI_YES;
	if (flags & BACKING_FMODE_EXEC)
		return TRI_YES;
	if (f->is_elf == TRI_UNKNOWN)
		return TRI_UNKNOWN;
	return f->is_elf == TRI_YES || f->is_static == TRI_YES ? TRI_YES : TRI_NO;
}

void ply_bfile_count_cached(struct ply_fs *fs, const struct ply_file *f, uint16_t layer, bool eligible)
{
	ply_count(PLY_C_open_cached, 1);
	if (!__atomic_load_n(&fs->passthrough, __ATOMIC_RELAXED)) {
		ply_count(fs->opt->passthrough == PLY_PT_OFF ? PLY_C_fallback_policy : PLY_C_fallback_privilege, 1);
		return;
	}
	switch (fs->layers.layer[layer].passthrough) {
	case PLY_PT_OK:
		ply_count(f->refused ? PLY_C_fallback_error : eligible ? PLY_C_fallback_live : PLY_C_fallback_policy, 1);
		break;
	case PLY_PT_TOO_DEEP:
		ply_count(PLY_C_fallback_depth, 1);
		break;
	case PLY_PT_BY_OPTION:
		ply_count(PLY_C_fallback_policy, 1);
		break;
	case PLY_PT_NO_CLONE:
	case PLY_PT_PRIVILEGE:
	case PLY_PT_KERNEL:
		ply_count(PLY_C_fallback_privilege, 1);
		break;
	}
}
