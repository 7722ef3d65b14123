/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mountinfo: where a directory is, for the checks at mount time: its ancestors as
 * ".." leads to them, and its path inside its filesystem (/proc/self/mountinfo,
 * proc(5)), which tells the same for directories that are reached through bind mounts.
 */
#ifndef PLY_MOUNTINFO_H
#define PLY_MOUNTINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What is mounted. One reading of /proc/self/mountinfo, which takes the kernel some microseconds a mount; or, where none of the
 * kernel's overlayfs is mounted, nothing but the word that mounts can be asked for one by one. All zero: neither, and places
 * know only ancestors.
 */
struct ply_mountinfo {
	bool ask;			/* statmount(2), Linux 6.8 */
	char *text;
	size_t len;
};

struct ply_place {
	struct ply_place_dir { dev_t dev; uint64_t ino, mnt; } *dir;	/* [0] is the directory itself, then up to "/" */
	size_t n;
	uint64_t mnt;			/* mount id, 0 unknown */
	bool idmapped;			/* its mount shifts owners */
	char fs[24];			/* "major:minor" of its filesystem, "" unknown */
	char *fs_path;			/* from the filesystem's root, no '/' at the end ("" is the root); NULL unknown */
};

int ply_mountinfo_read(struct ply_mountinfo *mi);
/* The file in any case. */
int ply_mountinfo_read_text(struct ply_mountinfo *mi);
void ply_mountinfo_free(struct ply_mountinfo *mi);

/*
 * Of a directory fd (O_PATH too). Asks nothing of a network or FUSE server. near, which may be NULL: a place whose ancestors
 * are taken over from where the way up meets them. 0, -ENOMEM or the errno of the fd itself.
 */
int ply_mountinfo_place(const struct ply_mountinfo *mi, int fd, const struct ply_place *near, struct ply_place *out);
void ply_mountinfo_place_free(struct ply_place *p);
bool ply_mountinfo_is_same(const struct ply_place *a, const struct ply_place *b);
/* Is `inside` equal to `outer` or below it, as paths lead or inside their filesystem? */
bool ply_mountinfo_is_below(const struct ply_place *inside, const struct ply_place *outer);
/* The same as paths lead only: would a mount on `inside` be seen by who walks down from `outer`? */
bool ply_mountinfo_is_reached_from(const struct ply_place *inside, const struct ply_place *outer);
/*
 * Does a kernel overlayfs of this mount namespace have the directory fd as
 * its option `key` ("upperdir", "workdir")? Compares text only; false when in doubt.
 */
bool ply_mountinfo_used_by_overlay(const struct ply_mountinfo *mi, const char *key, int fd);

#endif
