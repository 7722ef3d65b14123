// SPDX-License-Identifier: GPL-2.0-or-later
#include "util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void ply_buf_free(struct ply_buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
}

int ply_buf_reserve(struct ply_buf *b, size_t more)
{
	size_t need, cap;
	char *p;

	if (__builtin_add_overflow(b->len, more, &need))
		return -ENOMEM;
	if (need <= b->cap)
		return 0;
	/* Doubling keeps a long series of appends linear. */
	if (__builtin_mul_overflow(b->cap, (size_t)2, &cap) || cap < need)
		cap = need;
	cap = ply_max(cap, (size_t)64);
	p = realloc(b->data, cap);
	if (!p)
		return -ENOMEM;
	b->data = p;
	b->cap = cap;
	return 0;
}

int ply_buf_add(struct ply_buf *b, const void *data, size_t len)
{
	int r = ply_buf_reserve(b, len);

	if (r < 0)
		return r;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

int ply_buf_addstr(struct ply_buf *b, const char *s)
{
	size_t len = strlen(s);
	int r = ply_buf_reserve(b, len + 1);

	if (r < 0)
		return r;
	memcpy(b->data + b->len, s, len + 1);
	b->len += len;
	return 0;
}

int ply_buf_printf(struct ply_buf *b, const char *fmt, ...)
{
	va_list ap;
	int n, r;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	r = ply_buf_reserve(b, (size_t)n + 1);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}
