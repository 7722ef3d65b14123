/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuse_reply: the answers to requests. Every request is answered once; lookup counts
 * go up before the kernel can know of a node, and down again where the answer did not arrive.
 * No lock is held by callers.
 */
#ifndef PLY_FUSE_REPLY_H
#define PLY_FUSE_REPLY_H

#include "backing.h"
#include <fuse_lowlevel.h>

struct fuse_in_header;

/* What requests find as their userdata. */
struct ply_fuse {
	struct ply_fs *fs;
	struct fuse_session *se;
	int fd;					/* the device */
	double timeout;				/* seconds; attributes and entries */
	uint64_t valid;				/* the same, as the kernel is told it */
	uint32_t valid_nsec;
	bool setxattr_ext;
	bool debug, allow_root;
	uid_t owner;				/* who mounted */
	/* INIT: what is asked for; called once, before the reply. */
	void (*on_init)(struct ply_fuse *f, struct fuse_conn_info *conn);
};

static inline struct ply_fuse *ply_reply_fuse(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* The request that this thread is serving, as it came; set by the loop. NULL: not in one piece in memory. */
extern _Thread_local const struct fuse_in_header *ply_fuse_request;

/* What the kernel is told of err (0 or -errno): 0, or an errno. */
int ply_reply_errno(int err);
void ply_reply_err(fuse_req_t req, int err);
/* st as users see it. The caller keeps its reference. */
void ply_reply_entry(fuse_req_t req, struct ply_node *n, const struct stat *st);
void ply_reply_attr(fuse_req_t req, struct ply_node *n, const struct stat *st);
/* The handle goes to the kernel; or is released, if the answer does not arrive. */
void ply_reply_create(fuse_req_t req, struct ply_node *n, const struct stat *st, const struct ply_open_reply *o);

/* The handle as the kernel knows it. */
static inline uint64_t ply_reply_fh(const struct ply_open_reply *o)
{
	atomic_store_explicit(&o->h->told, true, memory_order_release);
	return (uintptr_t)o->h;
}
static inline struct ply_handle *ply_reply_handle(uint64_t fh)
{
	struct ply_handle *h = (struct ply_handle *)(uintptr_t)fh;

	(void)atomic_load_explicit(&h->told, memory_order_acquire);
	return h;
}
/* FOPEN_... */
uint32_t ply_reply_open_flags(const struct ply_open_reply *o);

/* A read that met the end of a file which was just made shorter (backing.h): lets the kernel learn of it first. */
void ply_reply_read_wait(struct ply_node *n, off_t off, off_t got);

/* A listing under construction. */
struct ply_reply_dir {
	fuse_req_t req;
	bool plus;
	char *buf;
	size_t size, used;
	struct ply_buf told;		/* nodeids that the kernel learns from it */
};
int ply_reply_dir_begin(struct ply_reply_dir *d, fuse_req_t req, size_t size, bool plus);
/* 0 taken; 1 full. n may be NULL. Does not take the node reference. */
int ply_reply_dir_add(struct ply_reply_dir *d, const char *name, uint64_t off, uint64_t ino, uint8_t type,
		      struct ply_node *n, const struct stat *st);
/* Sends (err: that instead) and frees. */
void ply_reply_dir_end(struct ply_reply_dir *d, int err);

#endif
