/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The passthrough ABI on top of whatever <linux/fuse.h> the system has. Members that older headers call padding are
 * reached by their offset.
 */
#ifndef FUSE_PT_ABI_H
#define FUSE_PT_ABI_H

#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fuse.h>

#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH (1ULL << 37)
#endif
#ifndef FOPEN_PASSTHROUGH
#define FOPEN_PASSTHROUGH (1 << 7)
#endif
#ifndef FUSE_DEV_IOC_BACKING_OPEN
struct fuse_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define FUSE_DEV_IOC_BACKING_OPEN _IOW(FUSE_DEV_IOC_MAGIC, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(FUSE_DEV_IOC_MAGIC, 2, uint32_t)
#endif

static inline void abi_set_depth(struct fuse_init_out *out, uint32_t depth)
{
	memcpy((char *)out + 36, &depth, sizeof(depth));
}

static inline void abi_set_backing(struct fuse_open_out *out, int32_t id)
{
	memcpy((char *)out + 12, &id, sizeof(id));
}

#endif
