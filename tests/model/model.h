/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The model test: one seeded stream of operations is applied to a union and to a plain directory, and both must answer
 * alike. The program knows two directories and nothing of who made the union.
 */
#ifndef PLY_TESTS_MODEL_H
#define PLY_TESTS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

#define MODEL_PATH 1024		/* longest path an operation names; objects may lie deeper */
#define MODEL_SLOTS 12		/* descriptors held open over operations */
#define MODEL_OUT 2048		/* the text of one result */

enum side { UNION, PLAIN };

/* A small deterministic generator: the stream depends on the seed alone, never on libc. */
struct rng {
	uint64_t s;
};

uint64_t rng_next(struct rng *r);
unsigned int rng_below(struct rng *r, unsigned int n);
bool rng_chance(struct rng *r, unsigned int percent);
uint64_t hash_bytes(uint64_t h, const void *p, size_t n);
/* Fill buf with the bytes that pattern `seed` has at offset off. */
void pattern(uint64_t seed, off_t off, unsigned char *buf, size_t n);

#define OP_KINDS(X) \
	X(open) X(tmpfile) X(opendir) X(close) X(read) X(write) X(pread) X(pwrite) X(mmapread) X(mmapwrite) \
	X(ftruncate) X(truncate) X(fallocate) X(seek) X(fsync) X(copyrange) X(fstat) X(fchmod) X(fchown) X(futimens) \
	X(fsetxattr) X(fgetxattr) X(fremovexattr) X(linkfd) X(stat) X(access) X(readlink) X(readfile) X(writefile) \
	X(rename) X(exchange) X(link) X(symlink) X(unlink) X(rmdir) X(mkdir) X(mknod) X(device) X(chmod) X(chown) \
	X(utimens) X(setxattr) X(getxattr) X(removexattr) X(listxattr) X(setacl) X(setcap) X(list) X(listchange) \
	X(seekdir) X(umask)

enum op_kind {
#define X(name) OP_##name,
	OP_KINDS(X)
#undef X
	OP_COUNT
};

extern const char *const op_names[OP_COUNT];

/* One operation with every argument fixed: it can be printed, read back and run alone. */
struct op {
	int kind;		/* enum op_kind */
	int dslot;		/* the slot of the directory that paths start from, -1: the root */
	int slot, slot2;
	unsigned int user;	/* file system uid and gid; 0: as we are */
	int flags;		/* open, rename, fallocate, xattr or AT_ flags */
	unsigned int mode;
	long long off, len;
	uint64_t seed;
	char path[MODEL_PATH], path2[MODEL_PATH];
};

struct slot {
	int fd[2];
	int flags;
	bool dir, reg;
};

/* What the target and the caller can do; filled in by probing the plain directory and by the options. */
struct features {
	bool off[OP_COUNT];	/* left out by --without */
	bool chown, devices, trusted, users;
	bool direct;		/* O_DIRECT */
	bool stale_readers;	/* hold read-only descriptors over another one's write */
	bool ino, nlink, dino;	/* compare link counts, stable inode numbers, d_ino */
	bool holes;		/* copy-up keeps holes (the kernel's fills those in a chunk of 1 MiB) */
	bool root_strips;	/* root's write drops suid and sgid, as everybody's does */
	bool cached;		/* FUSE's writeback cache is in use: it keeps times its own way */
	bool sgid_lax;		/* sgid without execution by the group may stay */
	bool ovlxattr;		/* users may set trusted.overlay.* */
	bool mapped;		/* hold shared read mappings over writes */
};

struct model {
	const char *dir[2];
	int root[2];
	struct slot slots[MODEL_SLOTS];
	struct features feat;
	uint64_t seed;
	time_t start;
	char **paths;		/* sorted names of the plain tree, as of the last scan */
	mode_t *types;
	size_t npaths;
};

/* pick.c */
void op_pick(const struct model *m, struct rng *r, struct op *op);
void op_print(FILE *f, const struct op *op);
/* 0, or -1 when the line is no operation. */
int op_parse(const char *line, struct op *op);

/* ops.c: run op on one side; out gets a text that must be the same on both. */
void op_run(struct model *m, enum side s, const struct op *op, char out[MODEL_OUT]);
void slots_close(struct model *m);

/* tree.c */
/* Text of the attributes that must agree; returns its length. */
int stat_text(const struct model *m, const struct stat *st, char *out, size_t size);
/* The sorted xattrs of an open file or, with fd -1, of a path, as text. */
int xattr_text(int fd, const char *path, char *out, size_t size);
/* Refresh m->paths from the plain tree. */
void tree_scan(struct model *m);
/* Compare both trees; returns the number of differences, each printed to stderr. */
int tree_compare(struct model *m, bool keep_ino);

/* gen.c: fill the plain directory and the layers (bottom first), so that their union is the plain directory. */
int generate(struct model *m, int nlayers, char **layers, int scale, bool links, bool userxattr);

void model_die(const char *what, const char *arg) __attribute__((noreturn));

#endif
