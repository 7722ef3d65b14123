// SPDX-License-Identifier: GPL-2.0-or-later
#include "log.h"
#include "util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

static bool log_debug_on;
static bool log_syslog_on;

void ply_log_set_debug(bool on)
{
	__atomic_store_n(&log_debug_on, on, __ATOMIC_RELAXED);
}

void ply_log_to_syslog(const char *ident)
{
	/* Connect now: later /dev/log may be hidden, or below our own mount. */
	openlog(ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	__atomic_store_n(&log_syslog_on, true, __ATOMIC_RELEASE);
}

/* A file name must not be able to forge a line of its own or to drive a terminal. */
static void log_make_printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

void ply_log(enum ply_log_level level, const char *fmt, ...)
{
	static const int prio[] = {
		[PLY_LOG_ERR] = LOG_ERR, [PLY_LOG_WARN] = LOG_WARNING,
		[PLY_LOG_INFO] = LOG_INFO, [PLY_LOG_DEBUG] = LOG_DEBUG,
	};
	int saved_errno = errno;
	ply_autofree char *heap = NULL;
	char stack[512];
	char *line = stack;
	va_list ap;
	int n;

	if (level == PLY_LOG_DEBUG && !__atomic_load_n(&log_debug_on, __ATOMIC_RELAXED))
		return;
	va_start(ap, fmt);
	n = vsnprintf(stack, sizeof(stack), fmt, ap);
	va_end(ap);
	/* Without memory the first 511 bytes have to do. */
	if (n >= (int)sizeof(stack)) {
		va_start(ap, fmt);
		if (vasprintf(&heap, fmt, ap) >= 0)
			line = heap;
		else
			heap = NULL;
		va_end(ap);
	}
	log_make_printable(line);
	if (__atomic_load_n(&log_syslog_on, __ATOMIC_ACQUIRE))
		syslog(prio[level], "%s", line);
	else
		dprintf(STDERR_FILENO, "plyfs: %s%s\n", level == PLY_LOG_WARN ? "warning: " : "", line);
	errno = saved_errno;
}

void ply_log_warn_on(bool *warned, const char *what, const char *file, int line)
{
	if (!__atomic_exchange_n(warned, true, __ATOMIC_RELAXED))
		ply_log(PLY_LOG_ERR, "internal error: %s at %s:%d; the request fails with EIO, please report this",
			what, file, line);
#ifdef PLY_HARD_ASSERTS
	abort();
#endif
}
