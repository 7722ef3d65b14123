/* SPDX-License-Identifier: GPL-2.0-or-later */
/* copyup_data: the bytes of one file into another: shared where the filesystem can, holes kept. */
#ifndef PLY_COPYUP_DATA_H
#define PLY_COPYUP_DATA_H

#include "sys.h"

/*
 * Makes the empty or sparse file `out` (writable) hold the first `size` bytes of `in`, and
 * be that long. try_clone: FICLONE may work between the two; durable: the caller will sync it. Holds no lock; blocks
 * as long as it takes. 1: it is a clone, whose bytes are on disk as soon as its metadata are; 0: they were copied.
 * On failure `out` holds some of it.
 */
int ply_copyup_data(int in, int out, off_t size, bool try_clone, bool durable);

#endif
