/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * inum: st_ino policy. One st_dev for the union; the number of a layer object
 * is its own inode number with the index of its filesystem in the highest bits
 * (as the kernel's xino does), so it is the same after a remount of the same
 * layers. What does not fit gets a hashed number above bit 62. Pure and thread safe.
 */
#ifndef PLY_INUM_H
#define PLY_INUM_H

#include <stdint.h>

struct ply_inum {
	unsigned int bits;		/* how many high bits hold the filesystem's index */
};

/* nfs: number of distinct filesystems (st_dev) among the layers, 1..1024. */
void ply_inum_init(struct ply_inum *in, unsigned int nfs);
/* fs = 0 is the upper's filesystem (or the first lower's). Never 0 or 1 (1 is the root's). */
uint64_t ply_inum_make(const struct ply_inum *in, unsigned int fs, uint64_t ino);

#endif
