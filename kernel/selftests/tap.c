// SPDX-License-Identifier: GPL-2.0-only
#include "tap.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failed, tap_skipped;

static void tap_name(const char *state, const char *fmt, va_list ap)
{
	printf("%s %d ", state, ++tap_count);
	vprintf(fmt, ap);
}

bool tap_ok(bool cond, const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	tap_name(cond ? "ok" : "not ok", fmt, ap);
	va_end(ap);
	printf("\n");
	if (!cond) {
		tap_failed++;
		printf("# errno: %s\n", strerror(err));
	}
	fflush(stdout);
	return cond;
}

static void tap_value(const char *what, long value)
{
	if (value < 0 && value > -4096)
		printf("# %s %ld (%s)\n", what, value, strerror(-(int)value));
	else
		printf("# %s %ld\n", what, value);
}

bool tap_eq(long got, long want, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tap_name(got == want ? "ok" : "not ok", fmt, ap);
	va_end(ap);
	printf("\n");
	if (got != want) {
		tap_failed++;
		tap_value("got ", got);
		tap_value("want", want);
	}
	fflush(stdout);
	return got == want;
}

void tap_skip(const char *reason, const char *fmt, ...)
{
	va_list ap;

	tap_skipped++;
	va_start(ap, fmt);
	tap_name("ok", fmt, ap);
	va_end(ap);
	printf(" # SKIP %s\n", reason);
	fflush(stdout);
}

void tap_note(const char *fmt, ...)
{
	va_list ap;

	printf("# ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

void tap_bail(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	printf("Bail out! ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(": %s\n", strerror(err));
	fflush(stdout);
	exit(KSFT_FAIL);
}

void tap_skip_all(const char *reason)
{
	printf("1..0 # SKIP %s\n", reason);
	fflush(stdout);
	exit(KSFT_SKIP);
}

int tap_done(void)
{
	printf("1..%d\n", tap_count);
	if (tap_failed)
		return KSFT_FAIL;
	return tap_count && tap_skipped == tap_count ? KSFT_SKIP : KSFT_PASS;
}
