// SPDX-License-Identifier: GPL-2.0-or-later
#include "origin.h"
#include "compat.h"

#include <endian.h>
#include <errno.h>

#ifndef BTRFS_SUPER_MAGIC
#define BTRFS_SUPER_MAGIC 0x9123683E
#endif

/*
 * Handle types (include/linux/exportfs.h, fs/xfs/xfs_export.h, fs/btrfs/export.h) whose bytes hold
 * the inode number where it is known to be: then nothing needs to be opened.
 */
#define FID_INO32_GEN 1		/* {ino32, gen32}; tmpfs: {gen32, ino low, ino high} */
#define FID_XFS64 0x81		/* {ino64, gen32} */
#define FID_BTRFS 0x4d		/* {objectid64, root64, gen32} */
#define FID_BTRFS_PARENT 0x4e
#define FID_BTRFS_PARENT_ROOT 0x4f
/* Ours, for filesystems that have no handles or share a uuid: {ino64, index of the filesystem32}. Kernels ignore it. */
#define FID_PLY 0xf1
#define FID_PLY_LEN 12

static void own_record(unsigned int fsidx, uint64_t ino, struct ply_fh *out)
{
	uint64_t ino_le = htole64(ino);
	uint32_t fs_le = htole32(fsidx);

	out->type = FID_PLY;
	out->len = FID_PLY_LEN;
	memcpy(out->fid, &ino_le, 8);
	memcpy(out->fid + 8, &fs_le, 4);
}

unsigned int ply_origin_fs(struct ply_fs *fs, struct ply_at at, const struct stat *st)
{
	struct ply_layers *ls = &fs->layers;
	unsigned int n = atomic_load_explicit(&ls->nfs, memory_order_acquire);

	for (unsigned int i = 0; i < n; i++)
		if (ls->fs[i].dev == st->st_dev)
			return i;
	/* Met for the first time; only the object itself is surely there, not its directory. */
	ply_autofd fd = ply_sys_open(at, O_PATH, 0);

	return ply_layers_fs(ls, st->st_dev, fd >= 0 ? fd : at.fd);
}

int ply_origin_of(struct ply_fs *fs, const struct ply_layer *l, struct ply_at at,
		  const struct stat *st, struct ply_fh *out)
{
	unsigned int fsidx = ply_origin_fs(fs, at, st);
	const struct ply_layerfs *f = &fs->layers.fs[fsidx];
	struct ply_fh fh = { 0 };
	int type, len = -EOPNOTSUPP;

	(void)l;
	if (f->has_handles && f->has_uuid) {
		len = ply_sys_handle(at, &type, fh.fid);
		if (len < 0 && len != -EOPNOTSUPP && len != -EOVERFLOW)
			return len;
	}
	if (len >= 0 && type >= 0 && type < 0xff && len <= PLY_FH_MAX) {
		fh.type = (uint8_t)type;
		fh.len = (uint8_t)len;
	} else {
		own_record(fsidx, st->st_ino, &fh);
	}
	if (f->has_uuid)
		memcpy(fh.uuid, f->uuid, sizeof(fh.uuid));
	*out = fh;
	return 0;
}

int ply_origin_set(struct ply_fs *fs, struct ply_at at, const struct ply_fh *fh)
{
	uint8_t val[21 + PLY_FH_MAX];
	size_t len = fh ? ply_format_fh_build(fh, val) : 0;

	return ply_sys_setxattr(at, ply_format_attr(fs->layers.xns, OVL_ORIGIN), val, len, 0);
}

int ply_origin_get(struct ply_fs *fs, const struct ply_layer *l, struct ply_at at, struct ply_fh *out)
{
	ply_autofree char *val = NULL;
	ssize_t len = ply_layer_getattr(l, at, OVL_ORIGIN, &val);
	struct ply_fh fh;
	int r;

	(void)fs;
	if (len < 0)
		return (int)len;
	r = ply_format_fh_parse(val, (size_t)len, &fh);
	/* A record that is broken or from a machine of the other byte order tells nothing. */
	if (r == -EINVAL || (!r && fh.foreign))
		return -ENODATA;
	if (!r)
		*out = fh;
	return r;
}

/* The number in the handle itself; 0: not known to be there. */
static uint64_t fid_ino(uint64_t magic, const struct ply_fh *fh)
{
	uint32_t w[3] = { 0 };
	uint64_t ino = 0;

	memcpy(w, fh->fid, ply_min((size_t)fh->len, sizeof(w)));
	memcpy(&ino, fh->fid, ply_min((size_t)fh->len, sizeof(ino)));
	switch (magic) {
	case EXT4_SUPER_MAGIC:
		return fh->type == FID_INO32_GEN && fh->len == 8 ? w[0] : 0;
	case XFS_SUPER_MAGIC:
		if (fh->type == FID_XFS64 && fh->len >= 12)
			return ino;
		return fh->type == FID_INO32_GEN && fh->len == 8 ? w[0] : 0;
	case TMPFS_MAGIC:
		return fh->type == FID_INO32_GEN && fh->len == 12 ? (uint64_t)w[2] << 32 | w[1] : 0;
	case BTRFS_SUPER_MAGIC:
		return fh->type >= FID_BTRFS && fh->type <= FID_BTRFS_PARENT_ROOT && fh->len >= 20 ? ino : 0;
	default:
		return 0;
	}
}

static int ino_by_opening(struct ply_fs *fs, const struct ply_layerfs *f, const struct ply_fh *fh,
			  unsigned int *fsidx, uint64_t *ino)
{
	struct stat st;
	int r;

	if (!f->can_open_handles)
		return -ENODATA;
	ply_autofd fd = ply_sys_open_handle(f->root_fd, fh->type, fh->fid, fh->len);

	if (fd < 0)
		return -ENODATA;
	r = ply_sys_stat(PLY_FD(fd), &st);
	if (r)
		return r;
	*fsidx = ply_layers_fs(&fs->layers, st.st_dev, fd);
	*ino = st.st_ino;
	return 0;
}

int ply_origin_ino(struct ply_fs *fs, const struct ply_fh *fh, unsigned int *fsidx, uint64_t *ino)
{
	struct ply_layers *ls = &fs->layers;
	unsigned int n = atomic_load_explicit(&ls->nfs, memory_order_acquire), found = n, matches = 0;
	uint64_t num;

	if (fh->foreign || fh->is_upper)
		return -ENODATA;
	if (fh->type == FID_PLY) {
		uint32_t idx;

		if (fh->len != FID_PLY_LEN)
			return -ENODATA;
		memcpy(&num, fh->fid, 8);
		memcpy(&idx, fh->fid + 8, 4);
		if (le32toh(idx) >= n)
			return -ENODATA;
		*ino = le64toh(num);
		*fsidx = le32toh(idx);
		return 0;
	}
	for (unsigned int i = 0; i < n; i++) {
		if (!ls->fs[i].has_uuid || memcmp(ls->fs[i].uuid, fh->uuid, sizeof(fh->uuid)))
			continue;
		found = ply_min(found, i);
		matches++;
	}
	if (!matches)
		return -ENODATA;
	/* Subvolumes: only the object itself knows in which it is. */
	if (matches > 1)
		return ino_by_opening(fs, &ls->fs[found], fh, fsidx, ino);
	num = fid_ino(ls->fs[found].magic, fh);
	if (!num)
		return ino_by_opening(fs, &ls->fs[found], fh, fsidx, ino);
	*fsidx = found;
	*ino = num;
	return 0;
}

int ply_origin_by_path(struct ply_fs *fs, struct ply_at at, const struct stat *st, unsigned int *fsidx, uint64_t *ino)
{
	ply_autofree char *path = NULL;
	ssize_t len = ply_sys_getxattr_alloc(at, "user.fuseoverlayfs.origin", &path);

	if (len <= 0 || strlen(path) != (size_t)len)
		return -ENODATA;
	for (unsigned int i = 1; i < fs->layers.first_data; i++) {
		ply_autofd fd = ply_sys_open_beneath(fs->layers.layer[i].fd, path + strspn(path, "/"), O_PATH);
		struct stat low;

		if (fd < 0 || ply_sys_stat(PLY_FD(fd), &low))
			continue;
		if ((low.st_mode & S_IFMT) != (st->st_mode & S_IFMT))
			break;
		*fsidx = ply_origin_fs(fs, PLY_FD(fd), &low);
		*ino = low.st_ino;
		return 0;
	}
	return -ENODATA;
}

uint64_t ply_origin_st_ino(struct ply_fs *fs, const struct ply_layer *l, struct ply_at at, const struct stat *st)
{
	struct ply_fh fh;
	unsigned int fsidx;
	uint64_t ino;

	if (ply_origin_get(fs, l, at, &fh) || ply_origin_ino(fs, &fh, &fsidx, &ino)) {
		fsidx = ply_origin_fs(fs, at, st);
		ino = st->st_ino;
	}
	return ply_inum_make(&fs->inum, fsidx, ino);
}

/* ---- the index ---- */

int ply_index_find(struct ply_fs *fs, const struct ply_fh *fh, char name[PLY_INDEX_NAME_MAX], struct stat *st)
{
	char hex[PLY_INDEX_NAME_MAX];
	struct stat found;
	int r = ply_format_index_name(fh, hex);

	/* A handle too long for a name: such an inode is never indexed. */
	if (r)
		return r == -ENAMETOOLONG ? -ENOENT : r;
	r = ply_layer_stat(fs->layers.upper, PLY_AT(fs->work.index_fd, hex), &found);
	if (r)
		return r;
	/* Kernel: all aliases were removed, so a lower one that still shows is an error. */
	if (ply_layer_is_whiteout_stat(&found))
		return -EIO;
	strcpy(name, hex);
	*st = found;
	return 0;
}

int ply_index_nlink(struct ply_fs *fs, struct ply_at upper, const struct stat *upper_st,
		    unsigned int lower_nlink, unsigned int *out)
{
	ply_autofree char *val = NULL;
	ssize_t len = ply_layer_getattr(fs->layers.upper, upper, OVL_NLINK, &val);
	bool relative_to_upper;
	long long nlink;
	int diff, r;

	if (len < 0)
		return (int)len;
	r = ply_format_nlink_parse(val, (size_t)len, &relative_to_upper, &diff);
	if (r)
		return -ENODATA;
	if (!relative_to_upper && !lower_nlink)
		return -ENODATA;
	nlink = relative_to_upper ? (long long)upper_st->st_nlink + diff : (long long)lower_nlink + diff;
	if (nlink <= 0 || nlink > UINT32_MAX)
		return -ENODATA;
	*out = (unsigned int)nlink;
	return 0;
}

static int index_write_nlink(struct ply_fs *fs, struct ply_at upper, bool relative_to_upper, int diff)
{
	char val[16];
	size_t len = ply_format_nlink_build(relative_to_upper, diff, val);

	return ply_sys_setxattr(upper, ply_format_attr(fs->layers.xns, OVL_NLINK), val, len, 0);
}

int ply_index_set_nlink(struct ply_fs *fs, struct ply_at upper, int union_minus_upper)
{
	return index_write_nlink(fs, upper, true, union_minus_upper);
}

int ply_index_set_nlink_lower(struct ply_fs *fs, struct ply_at upper, int union_minus_lower)
{
	return index_write_nlink(fs, upper, false, union_minus_lower);
}

int ply_index_drop(struct ply_fs *fs, const struct ply_fh *fh)
{
	char hex[PLY_INDEX_NAME_MAX];
	int r = ply_format_index_name(fh, hex);

	if (!r)
		r = ply_sys_unlink(PLY_AT(fs->work.index_fd, hex));
	return r == -ENOENT || r == -ENAMETOOLONG ? 0 : r;
}
