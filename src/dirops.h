/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dirops: names come and go in a directory. All take their locks inside; the caller holds none.
 * *out has a reference; *st as users see it.
 */
#ifndef PLY_DIROPS_H
#define PLY_DIROPS_H

#include "format.h"
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

/* --- steps that rename shares; the caller holds tree and, unless for writing, the dir locks --- */

/* Names that would be read as AUFS marks after a remount, and those over 255 bytes. 0, -EINVAL, -ENAMETOOLONG. */
int ply_dirops_check_name(const char *name);
/* Marks a directory of upper or work opaque: xattr, or an .wh..wh..opq in it. */
int ply_dirops_mark_opaque(struct ply_fs *fs, int dirfd, struct ply_at at);
/*
 * What the loss of one name of `n` does to an indexed file, around the change on disk: begin before it, end after it.
 * The name is an upper's, or has come up by ply_dirops_link_up: so the link count falls in the same step.
 */
struct ply_unlink_index {
	bool indexed, last;
	struct ply_fh fh;
};
int ply_dirops_index_begin(struct ply_fs *fs, struct ply_node *n, struct ply_unlink_index *ui);
void ply_dirops_index_end(struct ply_fs *fs, struct ply_unlink_index *ui);
/*
 * A name of n went and others are left: the kernel counts its own idea of the links down when it gets our answer, also
 * when a LOOKUP or a listing has told it the new count already. So it asks again, once it has done so: the name that
 * went is told first, which waits for the end of the call that removed it. The caller holds no lock.
 */
void ply_dirops_links_left(struct ply_fs *fs, struct ply_node *dir, const char *name, struct ply_node *n);
/* An indexed file's lower name gets its name in upper too (kernel: ovl_link_up). *st: what is there then. */
int ply_dirops_link_up(struct ply_fs *fs, struct ply_node *dir, int updir, const char *name, struct ply_node *n,
		       struct stat *st);

#endif
