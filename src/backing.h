/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * backing: the io mode of every regular file and its backing ids: the one owner of the rule in
 * DESIGN §1. The kernel allows one backing file per FUSE inode at a time, never changed under an
 * open handle; what the daemon counts from the open reply to RELEASE is a safe over-estimate of what the kernel holds.
 *
 * The decision itself is pure (ply_backing_decide) and unit-tested; registration goes through
 * fs->up.backing_open/_close, so that a broker can do it later.
 *
 * Locks: one mutex of the pool, a leaf above the node lock (lock.h). A file whose registration is under
 * way is marked busy; other opens of that file wait for its end.
 */
#ifndef PLY_BACKING_H
#define PLY_BACKING_H

#include "fs.h"
#include "handle.h"

enum ply_io_mode { PLY_IO_CACHED, PLY_IO_PASSTHROUGH, PLY_IO_HANDOFF /* ESTALE */, PLY_IO_BUSY /* ETXTBSY */ };

/* What a decision depends on. */
struct ply_io_state {
	unsigned int cached, passthrough;	/* live handles */
	bool pt_stale;				/* the live passthrough handles' object is not where the data is now */
	bool stale;				/* node was handed off */
	bool pathless;				/* second open by this thread without a lookup between: no path to retry */
	bool wants_write;
	bool eligible;				/* policy: a fresh open of this file may be passthrough */
};
enum ply_io_mode ply_backing_decide(const struct ply_io_state *s);

int ply_backing_pool_new(struct ply_fs *fs, unsigned int max_ids);	/* sets fs->backing and the graph's file hook */
/* After the session's end; before ply_fs_free(). */
void ply_backing_pool_free(struct ply_fs *fs);

/* What the open reply says. */
struct ply_open_reply {
	struct ply_handle *h;
	bool passthrough;
	int backing_id;
	bool keep_cache, direct_io;
};
/*
 * open(2) of a node: copy-up for writers (O_TRUNC without data), policy, hand-off, registration.
 * flags as in FUSE_OPEN (0x20 = FMODE_EXEC). kill_priv: O_TRUNC drops suid and sgid.
 * -ESTALE: the kernel shall look the path up again; -ETXTBSY: it can't, and a reader's file would be written.
 * pid: the thread that asks (pathless detection).
 */
int ply_backing_open(struct ply_fs *fs, struct ply_node *n, int flags, bool kill_priv, pid_t pid, struct ply_open_reply *out);
/* The file was just created in upper and fd (O_RDWR as far as possible) belongs to it: takes fd on success. */
int ply_backing_opened_new(struct ply_fs *fs, struct ply_node *n, int fd, int flags, struct ply_open_reply *out);
/*
 * RELEASE, or the open reply failed with -ENOENT: uncounts; closes; frees the handle. Notifies attributes
 * of writers (no locks held by caller).
 */
void ply_backing_release(struct ply_fs *fs, struct ply_handle *h);
/* A LOOKUP (by this thread) told the kernel a node: pathless detection starts anew. */
void ply_backing_looked_up(struct ply_fs *fs, struct ply_node *n, pid_t pid);
/*
 * truncate(2) by path. While passthrough readers of the lower file live: -ESTALE, a hand-off was made
 * (after copying up for the size that is to come); 0: go on.
 */
int ply_backing_check_setsize(struct ply_fs *fs, struct ply_node *n, off_t size, pid_t pid);
/*
 * May the file's attributes change without the kernel's FUSE knowing (stores through a mapping of a backing
 * file)? Then a reply must not be cached. May ask the layer (a lease) and wait shortly.
 */
bool ply_backing_attr_volatile(struct ply_fs *fs, struct ply_node *n);
/*
 * A stale node whose old passthrough handles live: size, blocks and times of the file that they read replace
 * those in *st. No-op otherwise.
 */
void ply_backing_snapshot_attr(struct ply_fs *fs, struct ply_node *n, struct stat *st);

/*
 * The file is made `size` long: called before it is done, and after it, just before the reply. The kernel learns of it
 * only when it runs the thread that it was done for. A read that it sent before ends too early for it then: it
 * fills up with zeros, and shows them at the old size. So such a read is answered a little later:
 * ply_backing_cut_wait() says in how many ns, 0: now. off, got: where it began and what it found.
 */
void ply_backing_cut(struct ply_node *n, off_t size);
int64_t ply_backing_cut_wait(struct ply_node *n, off_t off, off_t got);

/* The file got suid or sgid: an id that is kept for its next open would be the wrong answer. */
void ply_backing_mode_changed(struct ply_fs *fs, struct ply_node *n);

/* Is a handle that can write to the node live? Looks through all handles: for rare questions. */
bool ply_backing_has_writer(struct ply_fs *fs, const struct ply_node *n);

struct ply_backing_stats { uint64_t live_ids, cached_ids, cached_handles, passthrough_handles; };
void ply_backing_stats(struct ply_fs *fs, struct ply_backing_stats *out);

#endif
