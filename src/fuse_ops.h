/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_ops: the requests of the kernel: decode, one call into the core, one reply. */
#ifndef PLY_FUSE_OPS_H
#define PLY_FUSE_OPS_H

#include "fuse_reply.h"

/* Handlers; those that would only say ENOSYS are left out as the mount's options want it. */
void ply_fuse_ops_fill(struct fuse_lowlevel_ops *ops, const struct ply_options *opt);

#endif
