/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the race programs share: a seeded generator, file contents that can be told apart, and the count of errors. */
#ifndef PLY_TESTS_RACE_H
#define PLY_TESTS_RACE_H

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RACE_REPORTS 25

static atomic_int race_errors;

static inline uint64_t race_mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static inline uint64_t race_next(uint64_t *state)
{
	return race_mix(*state += 0x9e3779b97f4a7c15ULL);
}

static inline unsigned int race_below(uint64_t *state, unsigned int n)
{
	return (race_next(state) >> 32) % n;
}

/* The byte that content `seed` has at `off`; never 0, so that it cannot be taken for a hole. */
static inline unsigned char race_byte(uint64_t seed, off_t off)
{
	return race_mix(seed + off / 8) >> off % 8 * 8 | 1;
}

static inline void race_fill(uint64_t seed, off_t off, unsigned char *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = race_byte(seed, off + i);
}

static inline void __attribute__((noreturn)) race_die(const char *what, const char *arg)
{
	fprintf(stderr, "%s %s: %s\n", what, arg, strerror(errno));
	exit(2);
}

/* Report something that must not happen. The first ones are shown, all are counted. */
static inline void __attribute__((format(printf, 1, 2))) race_error(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	if (atomic_fetch_add(&race_errors, 1) >= RACE_REPORTS)
		return;
	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (write(2, line, n) < 0)
		_exit(2);
}

static inline int race_result(const char *who)
{
	int n = atomic_load(&race_errors);

	printf("%s: %d errors\n", who, n);
	return n != 0;
}

static inline uint64_t race_seed(const char *arg)
{
	uint64_t seed = arg ? strtoull(arg, NULL, 0) : (uint64_t)time(NULL);

	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

#endif
