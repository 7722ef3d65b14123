/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mountinfo: questions to /proc/self/mountinfo that mount-time checks ask. */
#ifndef PLY_MOUNTINFO_H
#define PLY_MOUNTINFO_H

#include <stdbool.h>

/* Is directory fd `inside` equal to, or below, directory fd `outer`? Walks ".." with a bound; mounts are crossed. */
int ply_mountinfo_is_below(int inside, int outer, bool *below);

#endif
