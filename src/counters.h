/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * counters: what plyctl shows. One block per thread (no shared cache line),
 * summed when asked for; a thread's block is folded into the total at its end.
 */
#ifndef PLY_COUNTERS_H
#define PLY_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

#define PLY_COUNTERS(X) \
	X(open_passthrough) X(open_cached) X(open_create) X(handoffs) \
	X(fallback_depth) X(fallback_privilege) X(fallback_policy) X(fallback_live) X(fallback_error) \
	X(backing_open) X(backing_close) X(backing_reuse) \
	X(copyups) X(copyup_bytes) X(copyup_meta) X(copyup_reflinks) X(copyup_failed) \
	X(lookup_negative) X(lookup_cached) X(dircache_built) X(dircache_dropped) \
	X(dirfd_opened) X(dirfd_evicted) X(notify_inval) X(read_ahead)

enum ply_counter {
#define X(n) PLY_C_##n,
	PLY_COUNTERS(X)
#undef X
	PLY_C_COUNT
};

#define PLY_OPCODES 64
#define PLY_DEPTHS 512

struct ply_counter_block {
	uint64_t c[PLY_C_COUNT];
	uint64_t op[PLY_OPCODES];		/* requests by FUSE opcode */
	uint64_t depth[PLY_DEPTHS];		/* lookups answered by layer index */
};

extern const char *const ply_counter_names[PLY_C_COUNT];

/* This thread's block, never NULL (a shared spare one when memory is short). */
struct ply_counter_block *ply_counters_mine(void);
static inline void ply_count(enum ply_counter c, uint64_t n)
{
	uint64_t *p = &ply_counters_mine()->c[c];

	__atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}
void ply_count_op(unsigned int opcode);
void ply_count_depth(unsigned int layer);
void ply_counters_sum(struct ply_counter_block *out);

#endif
