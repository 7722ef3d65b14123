/* SPDX-License-Identifier: GPL-2.0-or-later */
/* copyup_ctx: what one copy-up knows; shared by copyup.c (making) and publish.c (publication) alone. */
#ifndef PLY_COPYUP_CTX_H
#define PLY_COPYUP_CTX_H

#include "fs.h"

struct ply_copyup_ctx {
	struct ply_fs *fs;
	struct ply_node *n;
	bool trunc;			/* the content is about to be thrown away */

	/* the object as it is in lower */
	const struct ply_layer *from;
	struct ply_loc src;
	int data;			/* for reading; -1: no bytes to copy */
	struct stat st;			/* override_stat applied */
	char *target;			/* symlinks */
	struct ply_fh origin;
	char index_name[PLY_INDEX_NAME_MAX];
	struct ply_dataref *dataref;	/* metacopy: where its data are (NULL: stays what the node knows) */

	/* what it becomes */
	bool is_dir, has_origin, metacopy, indexed;
	bool regular;			/* a regular file on disk (also a device kept in override_stat) */

	/* the new object, not yet visible */
	bool made;
	bool cloned;			/* its bytes are on disk with its metadata */
	int fd;				/* writable, of regular ones; else -1 */
	char tmp[PLY_TMP_MAX];		/* its name in work; "": it has none */
	int pin;			/* O_PATH: how it is reached where names may not lead to it */
};

/* The new object. */
static inline struct ply_at ply_copyup_at(const struct ply_copyup_ctx *c)
{
	return c->tmp[0] ? PLY_AT(c->fs->work.fd, c->tmp) : PLY_FD(c->fd);
}

#endif
