/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * plyfs-fuse: <linux/fuse.h>, and what it lacks on systems whose kernel headers are older than 7.45 (Debian 12 has 7.38).
 *
 * The numbers are the kernel's ABI and never change. Each item says since when the kernel has it: whether the running
 * kernel does is negotiated in INIT, never concluded from a header. The sizes and ioctl numbers are asserted below,
 * for the system's own definitions too.
 */
#ifndef PLYFS_FUSE_H
#define PLYFS_FUSE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fuse.h>

/* --- INIT flags (64 bits: flags | flags2 << 32) --- */

/* since 7.39 */
#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#endif
/* since 7.40: the kernel may read and write backing files that the daemon registered */
#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH (1ULL << 37)
#endif
/* since 7.40 */
#ifndef FUSE_NO_EXPORT_SUPPORT
#define FUSE_NO_EXPORT_SUPPORT (1ULL << 38)
#endif
/* since 7.40: FUSE_NOTIFY_RESEND is understood */
#ifndef FUSE_HAS_RESEND
#define FUSE_HAS_RESEND (1ULL << 39)
#endif
/* since 7.41 */
#ifndef FUSE_ALLOW_IDMAP
#define FUSE_ALLOW_IDMAP (1ULL << 40)
#endif
/* since 7.42 */
#ifndef FUSE_OVER_IO_URING
#define FUSE_OVER_IO_URING (1ULL << 41)
#endif
/* since 7.43 */
#ifndef FUSE_REQUEST_TIMEOUT
#define FUSE_REQUEST_TIMEOUT (1ULL << 42)
#endif

/* --- OPEN --- */

/* since 7.40: fuse_open_out.backing_id names the file that serves reads, writes and mappings of this handle */
#ifndef FOPEN_PASSTHROUGH
#define FOPEN_PASSTHROUGH (1 << 7)
#endif

/* --- requests and notifications; enumerators in the kernel's header, so its version decides --- */

#if FUSE_KERNEL_VERSION == 7 && FUSE_KERNEL_MINOR_VERSION < 40
/* since 7.40: send again what was read and not answered; such requests come with FUSE_UNIQUE_RESEND */
#define FUSE_NOTIFY_RESEND 7
#define FUSE_UNIQUE_RESEND (1ULL << 63)
#endif
#if FUSE_KERNEL_VERSION == 7 && FUSE_KERNEL_MINOR_VERSION < 41
/* since 7.41: uid and gid of requests that have no mapping, on idmapped mounts */
#define FUSE_INVALID_UIDGID ((uint32_t)(-1))
#endif
#if FUSE_KERNEL_VERSION == 7 && FUSE_KERNEL_MINOR_VERSION < 44
/* since 7.44: every cached name is looked up again */
#define FUSE_NOTIFY_INC_EPOCH 8
#endif

/* --- backing files, ioctls of /dev/fuse --- */

/* since 7.40 */
#ifndef FUSE_DEV_IOC_BACKING_OPEN
struct fuse_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define FUSE_DEV_IOC_BACKING_OPEN _IOW(FUSE_DEV_IOC_MAGIC, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(FUSE_DEV_IOC_MAGIC, 2, uint32_t)
#endif

/*
 * since 7.40: two members that were padding before. Offsets instead of members, so that one source reads and writes them
 * with any header.
 */
#define PLYFS_FUSE_INIT_OUT_MAX_STACK_DEPTH 36
#define PLYFS_FUSE_OPEN_OUT_BACKING_ID 12

/* How deep the mount counts as stacked: 1 takes backing files on plain filesystems, 2 also on those that are stacked once. */
static inline void plyfs_fuse_set_max_stack_depth(struct fuse_init_out *out, uint32_t depth)
{
	memcpy((char *)out + PLYFS_FUSE_INIT_OUT_MAX_STACK_DEPTH, &depth, sizeof(depth));
}

static inline void plyfs_fuse_set_backing_id(struct fuse_open_out *out, int32_t id)
{
	memcpy((char *)out + PLYFS_FUSE_OPEN_OUT_BACKING_ID, &id, sizeof(id));
}

/* --- requests over io_uring --- */

/* since 7.42; the guard is an enumerator in the kernel's header, so its version decides */
#if FUSE_KERNEL_VERSION == 7 && FUSE_KERNEL_MINOR_VERSION < 42
struct fuse_uring_ent_in_out {
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_sz;
	uint32_t padding;
	uint64_t reserved;
};
struct fuse_uring_req_header {
	char in_out[128];		/* struct fuse_in_header, struct fuse_out_header */
	char op_in[128];		/* the operation's own */
	struct fuse_uring_ent_in_out ring_ent_in_out;
};
enum fuse_uring_cmd {
	FUSE_IO_URING_CMD_INVALID = 0,
	FUSE_IO_URING_CMD_REGISTER = 1,
	FUSE_IO_URING_CMD_COMMIT_AND_FETCH = 2,
};
struct fuse_uring_cmd_req {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid;
	uint8_t padding[6];
};
#endif

/* --- the ABI, asserted --- */

_Static_assert(FUSE_KERNEL_VERSION == 7, "another protocol");
_Static_assert(FUSE_DIRECT_IO_ALLOW_MMAP == 0x1000000000ULL, "ABI");
_Static_assert(FUSE_PASSTHROUGH == 0x2000000000ULL, "ABI");
_Static_assert(FUSE_NO_EXPORT_SUPPORT == 0x4000000000ULL, "ABI");
_Static_assert(FUSE_HAS_RESEND == 0x8000000000ULL, "ABI");
_Static_assert(FUSE_ALLOW_IDMAP == 0x10000000000ULL, "ABI");
_Static_assert(FUSE_OVER_IO_URING == 0x20000000000ULL, "ABI");
_Static_assert(FUSE_REQUEST_TIMEOUT == 0x40000000000ULL, "ABI");
_Static_assert(FOPEN_PASSTHROUGH == 0x80, "ABI");
_Static_assert(FUSE_NOTIFY_RESEND == 7 && FUSE_NOTIFY_INC_EPOCH == 8, "ABI");
_Static_assert(FUSE_UNIQUE_RESEND == 0x8000000000000000ULL, "ABI");
_Static_assert(FUSE_INVALID_UIDGID == 0xffffffffU, "ABI");

_Static_assert(sizeof(struct fuse_uring_ent_in_out) == 32 && sizeof(struct fuse_uring_req_header) == 288, "ABI");
_Static_assert(offsetof(struct fuse_uring_req_header, op_in) == 128 &&
	       offsetof(struct fuse_uring_req_header, ring_ent_in_out) == 256, "ABI");
_Static_assert(sizeof(struct fuse_uring_cmd_req) == 24 && offsetof(struct fuse_uring_cmd_req, qid) == 16, "ABI");
_Static_assert(FUSE_IO_URING_CMD_REGISTER == 1 && FUSE_IO_URING_CMD_COMMIT_AND_FETCH == 2, "ABI");

_Static_assert(sizeof(struct fuse_backing_map) == 16, "ABI");
_Static_assert(offsetof(struct fuse_backing_map, fd) == 0 && offsetof(struct fuse_backing_map, flags) == 4 &&
	       offsetof(struct fuse_backing_map, padding) == 8, "ABI");
_Static_assert(sizeof(struct fuse_init_out) == 64, "ABI");
_Static_assert(offsetof(struct fuse_init_out, flags2) + sizeof(uint32_t) == PLYFS_FUSE_INIT_OUT_MAX_STACK_DEPTH, "ABI");
_Static_assert(sizeof(struct fuse_open_out) == 16, "ABI");
_Static_assert(offsetof(struct fuse_open_out, open_flags) + sizeof(uint32_t) == PLYFS_FUSE_OPEN_OUT_BACKING_ID, "ABI");

/* _IOC's layout differs between architectures; these are those of the common one (x86, arm, riscv, s390). */
#if _IOC_SIZEBITS == 14 && _IOC_WRITE == 1U
_Static_assert(FUSE_DEV_IOC_BACKING_OPEN == 0x4010e501U, "ABI");
_Static_assert(FUSE_DEV_IOC_BACKING_CLOSE == 0x4004e502U, "ABI");
#endif

#endif
