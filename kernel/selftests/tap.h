/* SPDX-License-Identifier: GPL-2.0-only */
/* Results in kselftest's form: TAP, exit 0 if nothing failed, 1 if something did, 4 if all was skipped. */
#ifndef FUSE_PT_TAP_H
#define FUSE_PT_TAP_H

#include <stdbool.h>

#define KSFT_PASS 0
#define KSFT_FAIL 1
#define KSFT_SKIP 4

/* One result; returns cond. errno of a failure is shown. */
bool tap_ok(bool cond, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* One result: the values are equal. Errors are negative numbers. */
bool tap_eq(long got, long want, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* One result that this kernel or machine cannot give. */
void tap_skip(const char *reason, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void tap_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The program cannot go on. */
void tap_bail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void tap_skip_all(const char *reason) __attribute__((noreturn));

/* The plan, and the exit status for main(). */
int tap_done(void);

#endif
