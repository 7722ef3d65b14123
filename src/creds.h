/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * creds: privileges of the process and of single threads (raw capset(2): per thread).
 */
#ifndef PLY_CREDS_H
#define PLY_CREDS_H

#include <stdbool.h>
#include <sys/types.h>

/* Who asks: comes with each request. gid/uid as presented (before idmap). */
struct ply_cred {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	mode_t umask;
};

bool ply_creds_has(int cap);			/* in this thread's effective set */
bool ply_creds_in_init_userns(void);
/*
 * Drops from the effective and permitted sets (all threads made later inherit) what
 * mounting and serving never need; keeps CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, MKNOD,
 * SETFCAP, SYS_ADMIN, LEASE, LINUX_IMMUTABLE where held. Not SYS_RESOURCE: no quota would bind whoever writes through us. 0 or -errno.
 */
int ply_creds_drop(void);
/* This thread keeps CAP_SYS_ADMIN alone in its effective set (BACKING_OPEN) until restored. */
int ply_creds_registration_begin(void);
void ply_creds_registration_end(void);
/*
 * This thread loses / regains CAP_FSETID in its effective set: writes, truncates
 * and fallocates then drop suid, sgid as they do for an ordinary user. Cheap no-op when already so.
 */
int ply_creds_fsetid(bool on);

/* Has that thread the fsuid 0 in our user namespace? False where it cannot be known. Reads /proc. */
bool ply_creds_is_root(pid_t pid);

#endif
