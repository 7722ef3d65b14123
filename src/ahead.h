/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ahead: small files of a lower are read from the disk before they are asked for. Who archives, copies or searches a
 * tree opens its files one after another, in the order in which they were listed; and that is the order in which they
 * got their node numbers. The daemon's work on one file and the disk's on the next ones happen at the same time then.
 * A file that is in the page cache already costs a look now and then.
 *
 * And who lists one directory after another finds the next ones beside it read: by a thread of its own, since nothing in the
 * kernel reads a directory for nobody. It begins with the first walk through a tree, and idles through what is in memory.
 *
 * Guesses, of no consequence but for speed: threads may overwrite each other's.
 */
#ifndef PLY_AHEAD_H
#define PLY_AHEAD_H

#include "fs.h"

/* This thread (0: not known) has opened the file for reading, to be read through the daemon. No lock is held. */
void ply_ahead_opened(struct ply_fs *fs, const struct ply_node *n, pid_t pid);
/* This thread begins to list the directory. No lock is held. */
void ply_ahead_listed(struct ply_fs *fs, const struct ply_node *dir, pid_t pid);
/* Nobody serves any more: the thread ends. */
void ply_ahead_end(void);

#endif
