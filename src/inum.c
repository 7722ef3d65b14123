// SPDX-License-Identifier: GPL-2.0-or-later
#include "inum.h"

#define INUM_HASHED (UINT64_C(1) << 63)

void ply_inum_init(struct ply_inum *in, unsigned int nfs)
{
	in->bits = 0;
	while (in->bits < 16 && (1U << in->bits) < nfs)
		in->bits++;
}

/* splitmix64's finaliser: a bijection. Unkeyed, for a remount must give the same number. */
static uint64_t inum_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

uint64_t ply_inum_make(const struct ply_inum *in, unsigned int fs, uint64_t ino)
{
	unsigned int shift = 63 - in->bits;

	/* Inode 1 of a layer (tmpfs' root, say) may be a plain directory of ours. */
	if (ino >> shift == 0 && fs >> in->bits == 0) {
		uint64_t n = (uint64_t)fs << shift | ino;

		if (n > 1)
			return n;
	}
	return inum_mix(ino + inum_mix(fs + UINT64_C(1))) | INUM_HASHED;
}
