/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * listers: does whoever lists directories look at what he lists? The kernel asks for names with attributes (READDIRPLUS),
 * always; each costs a stat of the layer, which is a tenth of the request that it spares, or in vain: find(1)
 * and shells want names. So now and then one name of a listing is given without attributes. The kernel
 * must look it up when somebody wants them. Who leaves six such names alone gets names only, until a file in
 * a directory that he listed is looked up. In a big directory that is decided while it is listed.
 *
 * Guesses, of no consequence but for speed: threads may overwrite each other's.
 */
#ifndef PLY_LISTERS_H
#define PLY_LISTERS_H

#include "node.h"

/* Shall this thread (0: not known) be given attributes? Called once for each listing of a directory. */
bool ply_listers_want(pid_t pid);
/* Is it time to leave one out? */
bool ply_listers_probe(pid_t pid);
/* So many names of the directory were given to it with attributes, in one reply. */
void ply_listers_given(pid_t pid, const struct ply_node *dir, unsigned int names);
/* In the middle of a listing: is it time to leave another one out? */
bool ply_listers_probe_on(pid_t pid, const struct ply_node *dir);
/* `name` was given to it without attributes. NULL: all files of the directory were. */
void ply_listers_left_out(pid_t pid, const struct ply_node *dir, const char *name);
/* A file was looked up. */
void ply_listers_looked_up(const struct ply_node *dir, const char *name);

#endif
