/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dirops: names come and go in a directory. All take their locks inside; the caller holds none.
 * *out has a reference; *st as users see it.
 */
#ifndef PLY_DIROPS_H
#define PLY_DIROPS_H

#include "fs.h"

int ply_dirops_mkdir(struct ply_fs *fs, struct ply_node *dir, const char *name, mode_t mode,
		     const struct ply_cred *cred, struct ply_node **out, struct stat *st);
/* fifos, sockets, devices, and regular files of mknod(2). */
int ply_dirops_mknod(struct ply_fs *fs, struct ply_node *dir, const char *name, mode_t mode, dev_t rdev,
		     const struct ply_cred *cred, struct ply_node **out, struct stat *st);
int ply_dirops_symlink(struct ply_fs *fs, struct ply_node *dir, const char *name, const char *target,
		       const struct ply_cred *cred, struct ply_node **out, struct stat *st);
/* The file did not exist (else -EEXIST: the caller opens it when O_EXCL is not asked). *fd is O_RDWR. */
int ply_dirops_create(struct ply_fs *fs, struct ply_node *dir, const char *name, mode_t mode, int flags,
		      const struct ply_cred *cred, int *fd, struct ply_node **out, struct stat *st);
/* O_TMPFILE: a file without a name; link gives it one. */
int ply_dirops_tmpfile(struct ply_fs *fs, struct ply_node *dir, mode_t mode, int flags,
		       const struct ply_cred *cred, int *fd, struct ply_node **out, struct stat *st);
int ply_dirops_link(struct ply_fs *fs, struct ply_node *n, struct ply_node *dir, const char *name,
		    struct stat *st);
int ply_dirops_unlink(struct ply_fs *fs, struct ply_node *dir, const char *name);
int ply_dirops_rmdir(struct ply_fs *fs, struct ply_node *dir, const char *name);
int ply_dirops_readlink(struct ply_fs *fs, struct ply_node *n, char **target);

#endif
