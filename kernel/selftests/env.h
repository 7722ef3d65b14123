/* SPDX-License-Identifier: GPL-2.0-only */
/* A private mount namespace and filesystems in it; small helpers for files. */
#ifndef FUSE_PT_ENV_H
#define FUSE_PT_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Root, /dev/fuse, and passthrough where need_passthrough: or the program is skipped. The working directory is an empty
 * tmpfs that nobody else sees. The program is killed when it takes very long.
 */
void env_init(bool need_passthrough);

/* Does the kernel offer FUSE_PASSTHROUGH? Mounts and unmounts something. */
bool env_has_passthrough(void);

/* Mount something at DIR. false if this kernel or machine cannot. */
bool env_mount_tmpfs(const char *dir);
bool env_mount_ext4(const char *dir);
bool env_mount_overlay(const char *dir, const char *lower, const char *upper, const char *work);

/* Files; paths are printf formats. They bail out when they fail. */
void env_write(const char *data, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool env_contains(const char *data, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
long env_size(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Does the fd read DATA, and nothing more, from the beginning? */
bool env_fd_contains(int fd, const char *data);

/* Wait for a child; its exit status, or 128 + signal. */
int env_wait(pid_t pid);

/* Take a capability out of the effective set (or back: on) for this thread. */
void env_cap(int cap, bool on);

#endif
