/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * options: -o text -> struct ply_options. Pure: touches no filesystem. (The name
 * config.h belongs to autoconf.) Sources of what is accepted: plyfs(8), CONTRACTS.md.
 */
#ifndef PLY_OPTIONS_H
#define PLY_OPTIONS_H

#include "idmap.h"
#include <stdbool.h>
#include <stddef.h>

#define PLY_MAX_LAYERS 500

enum ply_fsync_mode { PLY_FSYNC_AUTO, PLY_FSYNC_OFF /* 0, volatile */, PLY_FSYNC_ON /* 1 */, PLY_FSYNC_STRICT };
enum ply_pt_policy { PLY_PT_AUTO, PLY_PT_FULL, PLY_PT_OFF, PLY_PT_REQUIRED };
enum ply_tri { PLY_OFF, PLY_ON, PLY_AUTO };
enum ply_redirect { PLY_REDIRECT_ON, PLY_REDIRECT_FOLLOW, PLY_REDIRECT_NOFOLLOW, PLY_REDIRECT_OFF };
enum ply_xattr_perm { PLY_XPERM_NONE, PLY_XPERM_PRIVILEGED /* 1 */, PLY_XPERM_CONTAINERS /* 2 */ };

struct ply_options {
	char **lower;			/* top first, unescaped */
	size_t nlower;
	size_t ndata;			/* the last ndata of lower are data-only */
	char *upper, *work;		/* NULL: read-only mount */
	char *source;			/* SOURCE argument or NULL */
	char *mountpoint;
	char *fsname, *subtype;		/* never NULL: what mountinfo shows. fsname=, else SOURCE, else our name */
	char *context;			/* SELinux options for mount(2), NULL or a comma list of context="...", always quoted */
	char *kernel_opts;		/* comma list for the kernel's fuse mount: "nosuid,nodev,..." words that are mount flags and no default; NULL: none */
	char **static_paths;		/* static=, NULL terminated, may be empty; default: plyfs(8) */
	char *plugins;
	struct ply_idmap uids, gids;
	enum ply_redirect redirect_dir;	/* default on; never on without an upper: follow */
	enum ply_tri index;		/* default auto: on where file handles exist */
	enum ply_tri metacopy;		/* default off; reading always */
	enum ply_tri xino;		/* accepted; numbers are always xino's */
	enum ply_fsync_mode fsync;	/* default auto */
	enum ply_pt_policy passthrough;
	enum ply_xattr_perm xattr_perm;
	int max_stack_depth;		/* -1: as small as the layers allow; 0, 1, 2 */
	double timeout;			/* seconds of kernel attribute and entry caching; <0: for ever (default) */
	unsigned int threads;		/* 0: default; 1: single */
	bool userxattr, volatile_, noacl, noxattrs, ro;
	bool suid, nosuid, dev, nodev, exec, noexec, atime_off;
	bool allow_other, allow_root, default_permissions, has_allow;	/* has_allow: said by the user */
	bool static_nlink, fast_ino, writeback_off;
	bool squash_to_root;			/* already in uids, gids */
	bool foreground, debug;		/* debug implies foreground */
	bool show_help, show_version;	/* nothing else in here is checked then */
	bool fake;			/* mount -f, as mount.TYPE: check all, mount nothing, exit 0 */
	bool as_fuse_overlayfs;		/* called by that name: unknown options warn */
	bool clone_fd;
	bool io_uring;			/* requests over io_uring, where the kernel allows it */
};

/*
 * Parses argv (argv[0] decides as_fuse_overlayfs). Errors are one line in err
 * (what was asked, which option, why, what to do) with -EINVAL / -ENOMEM.
 * Warnings (ignored words): *warn becomes malloc'ed text, one a line, or NULL
 * when there are none; `warn` may be NULL.
 * On failure the struct is freed.
 */
int ply_options_parse(struct ply_options *o, int argc, char **argv,
		      char *err, size_t errlen, char **warn);
/* Frees a NULL-terminated list and its strings; NULL is fine. */
void ply_options_free_list(char **list);
void ply_options_free(struct ply_options *o);
/* Text of --help; every option with its default. */
extern const char ply_options_help[];

#endif
