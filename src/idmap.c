// SPDX-License-Identifier: GPL-2.0-or-later
#include "idmap.h"

#include "util.h"

#include <errno.h>

/* Decimal without sign or blanks, at most UINT32_MAX; *p moves behind it. */
static int idmap_number(const char **p, uint32_t *out)
{
	uint64_t v = 0;
	const char *s = *p;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++) {
		v = v * 10 + (uint64_t)(*s - '0');
		if (v > UINT32_MAX)
			return -EINVAL;
	}
	*p = s;
	*out = (uint32_t)v;
	return 0;
}

static bool ranges_meet(uint32_t a, uint32_t alen, uint32_t b, uint32_t blen)
{
	return (uint64_t)a < (uint64_t)b + blen && (uint64_t)b < (uint64_t)a + alen;
}

/* An overlap would make one of the two directions ambiguous. */
static int idmap_check(const struct ply_idrange *r, size_t n)
{
	const struct ply_idrange *last = &r[n];

	if (!last->len)
		return -EINVAL;
	/* UINT32_MAX is no id: chown(2) takes it for "leave it". */
	if ((uint64_t)last->disk + last->len > PLY_ID_INVALID ||
	    (uint64_t)last->shown + last->len > PLY_ID_INVALID)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (ranges_meet(r[i].disk, r[i].len, last->disk, last->len) ||
		    ranges_meet(r[i].shown, r[i].len, last->shown, last->len))
			return -EINVAL;
	return 0;
}

int ply_idmap_parse(struct ply_idmap *m, const char *text)
{
	ply_autobuf buf = { 0 };
	const char *p = text;
	size_t n = 0;

	if (*p == ':')
		p++;
	while (*p) {
		struct ply_idrange r;
		int e;

		if (idmap_number(&p, &r.disk) < 0 || *p++ != ':' ||
		    idmap_number(&p, &r.shown) < 0 || *p++ != ':' ||
		    idmap_number(&p, &r.len) < 0 || (*p && *p != ':'))
			return -EINVAL;
		e = ply_buf_add(&buf, &r, sizeof(r));
		if (e < 0)
			return e;
		e = idmap_check((const struct ply_idrange *)(const void *)buf.data, n);
		if (e < 0)
			return e;
		n++;
		if (*p == ':')
			p++;
	}
	free(m->range);
	m->range = (struct ply_idrange *)(void *)buf.data;
	m->n = n;
	buf.data = NULL;
	return 0;
}

void ply_idmap_free(struct ply_idmap *m)
{
	free(m->range);
	*m = (struct ply_idmap){ 0 };
}

bool ply_idmap_is_identity(const struct ply_idmap *m)
{
	if (m->squash)
		return false;
	return !m->range || (m->n == 1 && !m->range[0].disk && !m->range[0].shown &&
			     m->range[0].len == PLY_ID_INVALID);
}

uint32_t ply_idmap_show(const struct ply_idmap *m, uint32_t disk)
{
	if (m->squash)
		return m->squash_to;
	if (!m->range)
		return disk;
	for (size_t i = 0; i < m->n; i++) {
		const struct ply_idrange *r = &m->range[i];

		if (disk >= r->disk && disk - r->disk < r->len)
			return r->shown + (disk - r->disk);
	}
	return PLY_ID_OVERFLOW;
}

uint32_t ply_idmap_store(const struct ply_idmap *m, uint32_t shown)
{
	if (m->squash)
		return m->squash_to;
	if (!m->range)
		return shown;
	for (size_t i = 0; i < m->n; i++) {
		const struct ply_idrange *r = &m->range[i];

		if (shown >= r->shown && shown - r->shown < r->len)
			return r->disk + (shown - r->shown);
	}
	return PLY_ID_INVALID;
}
