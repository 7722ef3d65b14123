// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * calloc: small blocks of zeros by way of malloc. Each request is one, libfuse's own, and glibc before 2.41 takes them from
 * the arena, under its lock, where malloc has a cache for the thread: 300 instructions of the 2,000 that an open takes.
 * The linker puts it in place of calloc in plyfs (--wrap, src/local.mk), in a libfuse that is linked statically too.
 */
#include <stdlib.h>
#include <string.h>

#define CALLOC_SMALL 1024	/* what is larger may come from the system as zeros */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
	size_t len;
	void *p;

	if (__builtin_mul_overflow(n, size, &len) || len > CALLOC_SMALL)
		return __real_calloc(n, size);
	p = malloc(len);
	/* Or the compiler knows it as calloc, which is this one. */
	__asm__ volatile("" : "+r"(p));
	return p ? memset(p, 0, len) : NULL;
}
