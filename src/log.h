/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log: what a person reads. Before the mount is live to stderr ("plyfs: ..."),
 * afterwards to syslog (LOG_DAEMON) and, with -f or -d, to stderr.
 */
#ifndef PLY_LOG_H
#define PLY_LOG_H

#include <stdbool.h>

enum ply_log_level { PLY_LOG_ERR, PLY_LOG_WARN, PLY_LOG_INFO, PLY_LOG_DEBUG };

void ply_log_set_debug(bool on);
/* After daemonising: stderr is gone. */
void ply_log_to_syslog(const char *ident);
void ply_log(enum ply_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ply_err(...) ply_log(PLY_LOG_ERR, __VA_ARGS__)
#define ply_warn(...) ply_log(PLY_LOG_WARN, __VA_ARGS__)
#define ply_info(...) ply_log(PLY_LOG_INFO, __VA_ARGS__)
#define ply_debug(...) ply_log(PLY_LOG_DEBUG, __VA_ARGS__)

/*
 * True when `cond`; the first time it is logged with its place. The caller
 * answers -EIO. Nothing aborts after the mount, except with --enable-hard-asserts.
 */
#define PLY_WARN_ON(cond) ({						\
	static bool ply_warned_;					\
	bool ply_c_ = (cond);						\
	if (__builtin_expect(ply_c_, 0))				\
		ply_log_warn_on(&ply_warned_, #cond, __FILE__, __LINE__); \
	ply_c_;								\
})
void ply_log_warn_on(bool *warned, const char *what, const char *file, int line);

#endif
