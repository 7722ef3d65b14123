/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * control: the socket by which plyctl asks a daemon for its state. It never goes through the mount, and answers
 * while the mount is stuck.
 *
 * /run/plyfs/MAJOR:MINOR.sock of a daemon of root in the initial user namespace, else $XDG_RUNTIME_DIR/plyfs/MAJOR:MINOR.sock
 * (MAJOR:MINOR as in mountinfo). One JSON document to each who connects, if it is root or the daemon's owner.
 */
#ifndef PLY_CONTROL_H
#define PLY_CONTROL_H

#include "fuse_session.h"

struct ply_control;

/* Where that cannot be had, the mount goes on without (logged), and *out is NULL. */
void ply_control_start(struct ply_control **out, struct ply_session *s);
void ply_control_stop(struct ply_control *c);

/* The directories in which sockets are, as this process sees them: up to `max` malloced names; their number. */
size_t ply_control_dirs(char **dirs, size_t max);

#endif
