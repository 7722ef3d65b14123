/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mask: makes this process, and all that it starts, live on a kernel or filesystem that lacks
 * something. A seccomp filter answers the system calls in question as such a kernel would,
 * so it holds for static programs, sanitizers and every libc alike. It cannot be taken off again.
 *
 *	mask_install("openat2,tmpfile")	0, or -1 with a message on stderr
 *
 * The words:
 *	openat2 fchmodat2 xattrat	the system calls of these names (xattrat: all four): ENOSYS
 *	tmpfile				O_TMPFILE: EOPNOTSUPP
 *	whiteout			mknod of a 0/0 character device: EPERM
 *	mknod				mknod of any device: EPERM
 *	xattr				no extended attributes at all: EOPNOTSUPP
 *	setxattr			none can be set or removed: EOPNOTSUPP
 *	handles				name_to_handle_at: EOPNOTSUPP; open_by_handle_at: EPERM
 *	open-handles			open_by_handle_at alone: EPERM
 *	clone				open_tree, mount_setattr: EPERM
 *	mountapi			open_tree, mount_setattr, fsopen, fsmount, fsconfig, move_mount: ENOSYS
 *	rename-flags			renameat2 with any flag: EINVAL
 *	rename-exchange rename-whiteout rename-noreplace	with that flag: EINVAL
 *	link-empty			linkat with AT_EMPTY_PATH: ENOENT
 *	utimens-empty			utimensat with AT_EMPTY_PATH: EINVAL
 *	link				linkat: EPERM
 *	copy-range			copy_file_range: EXDEV
 *	reflink				ioctl FICLONE: EOPNOTSUPP
 *	uuid				ioctl FS_IOC_GETFSUUID: ENOTTY
 *	passthrough			ioctl FUSE_DEV_IOC_BACKING_OPEN: EPERM
 *	flock				flock: ENOLCK
 *	fallocate			fallocate: EOPNOTSUPP
 *	statx				statx: ENOSYS
 */
#ifndef PLY_TEST_MASK_H
#define PLY_TEST_MASK_H

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define MASK_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define MASK_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define MASK_ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define MASK_ARCH AUDIT_ARCH_PPC64LE
#endif

#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

enum mask_test {
	MASK_ALWAYS,
	MASK_BITS,			/* all of `value` set in the argument */
	MASK_ANY_BIT,			/* any bit set in the argument */
	MASK_EQUAL,			/* (argument & mask) == value */
};

/* When the call `nr` has an argument like that (and another like that), it fails with `err`. */
struct mask_rule {
	const char *word;
	int nr, err;
	struct mask_arg { enum mask_test test; int index; uint32_t mask, value; } a, b;
};

static const struct mask_rule mask_rules[] = {
	{ "openat2", SYS_openat2, ENOSYS, { 0 }, { 0 } },
	{ "fchmodat2", 452, ENOSYS, { 0 }, { 0 } },
	{ "xattrat", 463, ENOSYS, { 0 }, { 0 } },
	{ "xattrat", 464, ENOSYS, { 0 }, { 0 } },
	{ "xattrat", 465, ENOSYS, { 0 }, { 0 } },
	{ "xattrat", 466, ENOSYS, { 0 }, { 0 } },
	{ "tmpfile", SYS_openat, EOPNOTSUPP, { MASK_BITS, 2, 0, O_TMPFILE }, { 0 } },
	{ "whiteout", SYS_mknodat, EPERM, { MASK_EQUAL, 2, S_IFMT, S_IFCHR }, { MASK_EQUAL, 3, 0xffffffff, 0 } },
	{ "mknod", SYS_mknodat, EPERM, { MASK_EQUAL, 2, S_IFMT, S_IFCHR }, { 0 } },
	{ "mknod", SYS_mknodat, EPERM, { MASK_EQUAL, 2, S_IFMT, S_IFBLK }, { 0 } },
	{ "xattr", SYS_getxattr, EOPNOTSUPP, { 0 }, { 0 } },
	{ "xattr", SYS_lgetxattr, EOPNOTSUPP, { 0 }, { 0 } },
	{ "xattr", SYS_fgetxattr, EOPNOTSUPP, { 0 }, { 0 } },
	{ "xattr", SYS_listxattr, EOPNOTSUPP, { 0 }, { 0 } },
	{ "xattr", SYS_llistxattr, EOPNOTSUPP, { 0 }, { 0 } },
	{ "xattr", SYS_flistxattr, EOPNOTSUPP, { 0 }, { 0 } },
	{ "xattr", 464, ENOSYS, { 0 }, { 0 } },
	{ "xattr", 465, ENOSYS, { 0 }, { 0 } },
#define MASK_SETXATTR(word)								\
	{ word, SYS_setxattr, EOPNOTSUPP, { 0 }, { 0 } },				\
	{ word, SYS_lsetxattr, EOPNOTSUPP, { 0 }, { 0 } },				\
	{ word, SYS_fsetxattr, EOPNOTSUPP, { 0 }, { 0 } },				\
	{ word, SYS_removexattr, EOPNOTSUPP, { 0 }, { 0 } },				\
	{ word, SYS_lremovexattr, EOPNOTSUPP, { 0 }, { 0 } },				\
	{ word, SYS_fremovexattr, EOPNOTSUPP, { 0 }, { 0 } },				\
	{ word, 463, EOPNOTSUPP, { 0 }, { 0 } },					\
	{ word, 466, EOPNOTSUPP, { 0 }, { 0 } },
	MASK_SETXATTR("xattr")
	MASK_SETXATTR("setxattr")
	{ "handles", SYS_name_to_handle_at, EOPNOTSUPP, { 0 }, { 0 } },
	{ "handles", SYS_open_by_handle_at, EPERM, { 0 }, { 0 } },
	{ "open-handles", SYS_open_by_handle_at, EPERM, { 0 }, { 0 } },
	{ "clone", SYS_open_tree, EPERM, { 0 }, { 0 } },
	{ "clone", SYS_mount_setattr, EPERM, { 0 }, { 0 } },
	{ "mountapi", SYS_open_tree, ENOSYS, { 0 }, { 0 } },
	{ "mountapi", SYS_mount_setattr, ENOSYS, { 0 }, { 0 } },
	{ "mountapi", SYS_move_mount, ENOSYS, { 0 }, { 0 } },
	{ "mountapi", SYS_fsopen, ENOSYS, { 0 }, { 0 } },
	{ "mountapi", SYS_fsconfig, ENOSYS, { 0 }, { 0 } },
	{ "mountapi", SYS_fsmount, ENOSYS, { 0 }, { 0 } },
	{ "rename-flags", SYS_renameat2, EINVAL, { MASK_ANY_BIT, 4, 0, 0 }, { 0 } },
	{ "rename-noreplace", SYS_renameat2, EINVAL, { MASK_BITS, 4, 0, 1 }, { 0 } },
	{ "rename-exchange", SYS_renameat2, EINVAL, { MASK_BITS, 4, 0, 2 }, { 0 } },
	{ "rename-whiteout", SYS_renameat2, EINVAL, { MASK_BITS, 4, 0, 4 }, { 0 } },
	{ "link-empty", SYS_linkat, ENOENT, { MASK_BITS, 4, 0, AT_EMPTY_PATH }, { 0 } },
	{ "utimens-empty", SYS_utimensat, EINVAL, { MASK_BITS, 3, 0, AT_EMPTY_PATH }, { 0 } },
	{ "link", SYS_linkat, EPERM, { 0 }, { 0 } },
	{ "copy-range", SYS_copy_file_range, EXDEV, { 0 }, { 0 } },
	{ "reflink", SYS_ioctl, EOPNOTSUPP, { MASK_EQUAL, 1, 0xffffffff, (uint32_t)FICLONE }, { 0 } },
	{ "uuid", SYS_ioctl, ENOTTY, { MASK_EQUAL, 1, 0xffffffff, 0x80111500 }, { 0 } },
	{ "passthrough", SYS_ioctl, EPERM, { MASK_EQUAL, 1, 0xffffffff, 0x4010e501 }, { 0 } },
	{ "flock", SYS_flock, ENOLCK, { 0 }, { 0 } },
	{ "fallocate", SYS_fallocate, EOPNOTSUPP, { 0 }, { 0 } },
	{ "statx", SYS_statx, ENOSYS, { 0 }, { 0 } },
};

#define MASK_RULES (sizeof(mask_rules) / sizeof(mask_rules[0]))
#define MASK_ROOM (MASK_RULES * 8 + 8)

struct mask_prog {
	struct sock_filter f[MASK_ROOM];
	unsigned short n;
};

static inline void mask_op(struct mask_prog *p, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	p->f[p->n++] = (struct sock_filter){ code, jt, jf, k };
}

/* The lower half of an argument; where it does not fit, jumps over `left` further instructions. */
static inline void mask_arg(struct mask_prog *p, const struct mask_arg *a, uint8_t left)
{
	uint32_t off = (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (size_t)a->index);

	if (a->test == MASK_ALWAYS)
		return;
	mask_op(p, BPF_LD | BPF_W | BPF_ABS, off, 0, 0);
	if (a->test == MASK_ANY_BIT) {
		mask_op(p, BPF_JMP | BPF_JSET | BPF_K, 0xffffffff, 0, left);
		return;
	}
	mask_op(p, BPF_ALU | BPF_AND | BPF_K, a->test == MASK_BITS ? a->value : a->mask, 0, 0);
	mask_op(p, BPF_JMP | BPF_JEQ | BPF_K, a->value, 0, left);
}

static inline uint8_t mask_len(const struct mask_arg *a)
{
	return a->test == MASK_ALWAYS ? 0 : a->test == MASK_ANY_BIT ? 2 : 3;
}

static inline int mask_add(struct mask_prog *p, const char *word, size_t len)
{
	int found = 0;

	for (size_t i = 0; i < MASK_RULES; i++) {
		const struct mask_rule *r = &mask_rules[i];
		uint8_t b = mask_len(&r->b), a = mask_len(&r->a);

		if (strlen(r->word) != len || memcmp(r->word, word, len))
			continue;
		found = 1;
		if ((size_t)p->n + a + b + 3u > MASK_ROOM)
			return -1;
		mask_op(p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
		mask_op(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r->nr, 0, (uint8_t)(a + b + 1));
		mask_arg(p, &r->a, (uint8_t)(b + 1));
		mask_arg(p, &r->b, 1);
		mask_op(p, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)r->err, 0, 0);
	}
	return found ? 0 : -1;
}

static inline int mask_install(const char *words)
{
#if !defined(MASK_ARCH) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
	fprintf(stderr, "mask: not on this architecture\n");
	return -1;
#else
	struct mask_prog p = { .n = 0 };
	struct sock_fprog prog;

	/* The arch is looked at first: numbers of another one mean other calls. */
	mask_op(&p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	mask_op(&p, BPF_JMP | BPF_JEQ | BPF_K, MASK_ARCH, 1, 0);
	mask_op(&p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	while (*words) {
		size_t n = strcspn(words, ", ");

		if (n && mask_add(&p, words, n)) {
			fprintf(stderr, "mask: unknown word '%.*s'\n", (int)n, words);
			return -1;
		}
		words += n + strspn(words + n, ", ");
	}
	mask_op(&p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	prog.len = p.n;
	prog.filter = p.f;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0)
		return 0;
	/* Without CAP_SYS_ADMIN: no setuid program (fusermount3) will work below. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0)
		return 0;
	perror("mask: seccomp");
	return -1;
#endif
}

#endif
