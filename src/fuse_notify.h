/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuse_notify: what the kernel is told without being asked. Names are told by a thread of their own: the kernel
 * takes the directory's lock for them, which the very caller that a worker is serving may hold.
 */
#ifndef PLY_FUSE_NOTIFY_H
#define PLY_FUSE_NOTIFY_H

#include <fuse_lowlevel.h>
#include <stdint.h>

struct ply_notify;

/* A thread is made when there is something to tell. */
int ply_notify_start(struct ply_notify **out, struct fuse_session *se);
/*
 * Ends the thread: what is still queued, or comes, is told to nobody. Workers may still serve: the kernel may hold for one of
 * them the lock that the thread waits for.
 */
void ply_notify_stop(struct ply_notify *n);
/* Nobody calls it any more. NULL is fine. */
void ply_notify_free(struct ply_notify *n);
/*
 * The kernel looks the name up again before it uses it; what is open stays. Returns at once; told in order. Name "":
 * the attributes of node `parent` itself.
 */
void ply_notify_expire_entry(struct ply_notify *n, uint64_t parent, const char *name);

#endif
