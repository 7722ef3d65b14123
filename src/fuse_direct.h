/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuse_direct: the requests of which there are most, and which are small: LOOKUP, FORGET, GETATTR, OPEN, RELEASE, and READ
 * of little. They are decoded and answered here. By way of libfuse each would be an object of its own on the heap with a lock
 * in it, and its answer two pieces of memory, which the kernel looks up one by one: a third of all instructions of an open
 * and its close.
 */
#ifndef PLY_FUSE_DIRECT_H
#define PLY_FUSE_DIRECT_H

#include "fuse_reply.h"

/* After INIT. size: bytes of the request. False: it is another one, for libfuse. */
bool ply_direct_serve(struct ply_fuse *f, const struct fuse_in_header *in, size_t size);

/* This thread serves no more requests. */
void ply_direct_thread_end(void);

#endif
