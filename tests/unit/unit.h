/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the unit tests of the pure modules share: cmocka in the right order, and exact copies. */
#ifndef PLY_TESTS_UNIT_H
#define PLY_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A copy that ends where the bytes end: a sanitizer sees each byte read behind it. Free it. */
static inline void *exact(const void *data, size_t len)
{
	char *p = malloc(len ? len : 1);

	assert_non_null(p);
	if (len)
		memcpy(p, data, len);
	return len ? p : (free(p), malloc(0));
}

/* "00fb1d" -> bytes; returns their number. */
static inline size_t from_hex(const char *hex, uint8_t *out)
{
	size_t n = 0;

	for (; hex[0] && hex[1]; hex += 2) {
		char two[3] = { hex[0], hex[1], 0 };

		out[n++] = (uint8_t)strtoul(two, NULL, 16);
	}
	return n;
}

/* xorshift64: the same numbers in each run. */
static inline uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

#endif
