// SPDX-License-Identifier: GPL-2.0-or-later
#include "backing.h"

enum ply_io_mode ply_backing_decide(const struct ply_io_state *s)
{
	if (s->stale && !s->pathless)
		return PLY_IO_HANDOFF;
	if (s->cached)
		return PLY_IO_CACHED;
	if (s->passthrough) {
		if (!s->pt_stale)
			return PLY_IO_PASSTHROUGH;
		if (!s->pathless)
			return PLY_IO_HANDOFF;
		/* Only the old object can be given: a reader gets its snapshot, a writer must not have it. */
		return s->wants_write ? PLY_IO_BUSY : PLY_IO_PASSTHROUGH;
	}
	return s->eligible ? PLY_IO_PASSTHROUGH : PLY_IO_CACHED;
}
