/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rename: renameat2(2) on the union, with whiteouts, redirects and exchange (kernel: fs/overlayfs/dir.c ovl_rename). */
#ifndef PLY_RENAME_H
#define PLY_RENAME_H

#include "fs.h"

/* flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE. The caller holds no lock; takes tree for writing. */
int ply_rename(struct ply_fs *fs, struct ply_node *odir, const char *oname,
	       struct ply_node *ndir, const char *nname, unsigned int flags);

#endif
