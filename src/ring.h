/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring: one io_uring(7) for commands to a file, as the daemon uses it: 128-byte entries, made, filled and waited for by one thread.
 */
#ifndef PLY_RING_H
#define PLY_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ply_ring {
	int fd;				/* -1: none */
	unsigned int *sq_tail, *cq_head, *cq_tail, sq_mask, cq_mask;
	unsigned int *sq_array;
	unsigned char *sqes;
	const void *cqes;
	void *rings;
	size_t rings_size, sqes_size;
	unsigned int filled;		/* not submitted yet */
};

/* A command of its driver's own; `cmd` is at most 80 bytes. */
struct ply_ring_cmd {
	uint32_t op;
	uint64_t addr;
	uint32_t len;
	const void *cmd;
	size_t cmd_size;
	uint64_t tag;			/* comes back with the result */
};

/*
 * By the thread that will use it. entries: commands that can be under way at once. file: the only one that commands go to.
 * -errno: -ENOSYS, -EPERM where the kernel or the one who runs us forbids it, -EINVAL where it is older than 6.1.
 */
int ply_ring_init(struct ply_ring *r, unsigned int entries, int file);
void ply_ring_free(struct ply_ring *r);
/* Never more than `entries` that have no result yet. */
void ply_ring_fill(struct ply_ring *r, const struct ply_ring_cmd *c);
/* Submits what is filled in, and waits for a result if asked. 0, -EINTR, -errno. */
int ply_ring_enter(struct ply_ring *r, bool wait);
/* Is there a result? */
bool ply_ring_has_next(const struct ply_ring *r);
/* The next result. False: there is none. */
bool ply_ring_next(struct ply_ring *r, uint64_t *tag, int32_t *res);

#endif
