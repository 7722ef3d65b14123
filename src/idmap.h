/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * idmap: owners on disk <-> owners presented (uidmapping=, gidmapping=,
 * squash_to_uid=, squash_to_gid=, squash_to_root; CONTRACTS.md). Pure, immutable after parsing.
 */
#ifndef PLY_IDMAP_H
#define PLY_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLY_ID_INVALID UINT32_MAX
#define PLY_ID_OVERFLOW 65534u

struct ply_idrange { uint32_t disk, shown, len; };
struct ply_idmap {
	struct ply_idrange *range;	/* NULL: identity */
	size_t n;
	bool squash;			/* everything shows as squash_to; new files get it on disk too */
	uint32_t squash_to;
};

/* "0:1:1234:1234:0:1" triples, tolerates a leading and a trailing ':'. Overlaps are -EINVAL. */
int ply_idmap_parse(struct ply_idmap *m, const char *text);
void ply_idmap_free(struct ply_idmap *m);
bool ply_idmap_is_identity(const struct ply_idmap *m);
/* On-disk id as users see it; PLY_ID_OVERFLOW where unmapped. */
uint32_t ply_idmap_show(const struct ply_idmap *m, uint32_t disk);
/* Id asked for by a user as it goes to disk; PLY_ID_INVALID where unmapped (caller: EOVERFLOW). */
uint32_t ply_idmap_store(const struct ply_idmap *m, uint32_t shown);

#endif
