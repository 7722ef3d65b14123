// SPDX-License-Identifier: GPL-2.0-or-later
#include "ring.h"
#include "compat.h"
#include "util.h"
#include <errno.h>
#include <linux/io_uring.h>
#include <sys/mman.h>

#define RING_SQE 128

/* Linux 6.0 and 6.1; Debian 12's header has them, older ones do not. */
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif
#ifndef IORING_SETUP_SQE128
#define IORING_SETUP_SQE128 (1U << 10)
#endif

/* Members of struct io_uring_sqe by their offset: the command area has no name in older headers. */
enum { SQE_OPCODE = 0, SQE_FLAGS = 1, SQE_FD = 4, SQE_CMD_OP = 8, SQE_ADDR = 16, SQE_LEN = 24, SQE_USER_DATA = 32, SQE_CMD = 48 };
#define RING_OP_URING_CMD 46

_Static_assert(offsetof(struct io_uring_sqe, addr) == SQE_ADDR && offsetof(struct io_uring_sqe, len) == SQE_LEN, "ABI");
_Static_assert(offsetof(struct io_uring_sqe, user_data) == SQE_USER_DATA, "ABI");

static int ring_map(struct ply_ring *r, const struct io_uring_params *p)
{
	size_t sq = p->sq_off.array + p->sq_entries * sizeof(unsigned int);
	size_t cq = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	char *base;

	r->rings_size = ply_max(sq, cq);
	r->sqes_size = (size_t)p->sq_entries * RING_SQE;
	base = mmap(NULL, r->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	if (base == MAP_FAILED)
		return -errno;
	r->rings = base;
	r->sqes = mmap(NULL, r->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	if (r->sqes == MAP_FAILED) {
		r->sqes = NULL;
		return -errno;
	}
	r->sq_tail = (unsigned int *)(void *)(base + p->sq_off.tail);
	r->sq_array = (unsigned int *)(void *)(base + p->sq_off.array);
	r->sq_mask = *(unsigned int *)(void *)(base + p->sq_off.ring_mask);
	r->cq_head = (unsigned int *)(void *)(base + p->cq_off.head);
	r->cq_tail = (unsigned int *)(void *)(base + p->cq_off.tail);
	r->cq_mask = *(unsigned int *)(void *)(base + p->cq_off.ring_mask);
	r->cqes = base + p->cq_off.cqes;
	return 0;
}

int ply_ring_init(struct ply_ring *r, unsigned int entries, int file)
{
	/* Results are made when this thread asks for them, not by an interrupt of what it does. */
	struct io_uring_params p = { .flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };
	int err = 0;

	*r = (struct ply_ring){ .fd = (int)syscall(SYS_io_uring_setup, entries, &p) };
	if (r->fd < 0)
		return -errno;
	if (!(p.features & IORING_FEAT_SINGLE_MMAP))
		err = -EINVAL;
	else
		err = ring_map(r, &p);
	if (!err && syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_FILES, &file, 1) < 0)
		err = -errno;
	if (err)
		ply_ring_free(r);
	return err;
}

void ply_ring_free(struct ply_ring *r)
{
	if (r->fd < 0)
		return;
	/* The kernel frees a ring some time after its last close, and what the ring has open only then. */
	(void)syscall(SYS_io_uring_register, r->fd, IORING_UNREGISTER_FILES, NULL, 0);
	if (r->sqes)
		munmap(r->sqes, r->sqes_size);
	if (r->rings)
		munmap(r->rings, r->rings_size);
	close(r->fd);
	r->fd = -1;
}

void ply_ring_fill(struct ply_ring *r, const struct ply_ring_cmd *c)
{
	unsigned int tail = *r->sq_tail, slot = tail & r->sq_mask;
	unsigned char *sqe = r->sqes + (size_t)slot * RING_SQE;

	memset(sqe, 0, RING_SQE);
	sqe[SQE_OPCODE] = RING_OP_URING_CMD;
	/* Number 0 of the registered files: that is `fd`, already. */
	sqe[SQE_FLAGS] = IOSQE_FIXED_FILE;
	memcpy(sqe + SQE_CMD_OP, &c->op, sizeof(c->op));
	memcpy(sqe + SQE_ADDR, &c->addr, sizeof(c->addr));
	memcpy(sqe + SQE_LEN, &c->len, sizeof(c->len));
	memcpy(sqe + SQE_USER_DATA, &c->tag, sizeof(c->tag));
	memcpy(sqe + SQE_CMD, c->cmd, c->cmd_size);
	r->sq_array[slot] = slot;
	__atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
	r->filled++;
}

int ply_ring_enter(struct ply_ring *r, bool wait)
{
	long n = syscall(SYS_io_uring_enter, r->fd, r->filled, wait ? 1 : 0, IORING_ENTER_GETEVENTS, NULL, 0);

	if (n < 0)
		return -errno;
	r->filled -= ply_min((unsigned int)n, r->filled);
	return 0;
}

bool ply_ring_has_next(const struct ply_ring *r)
{
	return *r->cq_head != __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE);
}

bool ply_ring_next(struct ply_ring *r, uint64_t *tag, int32_t *res)
{
	const struct io_uring_cqe *cqes = r->cqes;
	unsigned int head = *r->cq_head;

	if (!ply_ring_has_next(r))
		return false;
	*tag = cqes[head & r->cq_mask].user_data;
	*res = cqes[head & r->cq_mask].res;
	__atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
	return true;
}
