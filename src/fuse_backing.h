/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuse_backing: what this process can have of the kernel's passthrough, and the registration of
 * backing files at the session's device.
 */
#ifndef PLY_FUSE_BACKING_H
#define PLY_FUSE_BACKING_H

#include "fs.h"

/*
 * Before the mount: which stack depth each filesystem of the layers needs, where that is not known by its type by asking an
 * invisible session. Sets
 * fs->stack_depth (the smallest that serves most; 0: no passthrough), the layers' verdicts and reasons, and
 * fs->passthrough_why. Fails (err: one line) only under passthrough=required.
 */
int ply_fuse_backing_probe(struct ply_fs *fs, char *err, size_t errlen);
/* INIT says so. */
void ply_fuse_backing_not_offered(struct ply_fs *fs);
/* Registers fd at a FUSE device, with no privilege but the one that this takes. > 0: the id; -errno. */
int ply_fuse_backing_open(int dev, int fd);
void ply_fuse_backing_close(int dev, int id);
/* After INIT: tries on each filesystem what was granted. Turns passthrough off, or with required fails. */
int ply_fuse_backing_verify(struct ply_fs *fs, char *err, size_t errlen);
/* Logs, once and when the mount is live, which layers have no passthrough and why. */
void ply_fuse_backing_report(const struct ply_fs *fs);

#endif
