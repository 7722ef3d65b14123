/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * util: cleanup variables, small lists and macros that every module uses.
 * No module state, no locks, nothing here blocks.
 */
#ifndef PLY_UTIL_H
#define PLY_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLY_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define ply_container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define ply_min(a, b) ((a) < (b) ? (a) : (b))
#define ply_max(a, b) ((a) > (b) ? (a) : (b))

static inline void ply_close_cleanup(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void ply_free_cleanup(void *p)
{
	free(*(void **)p);
}

/* An fd that is closed, memory that is freed, when its scope ends. */
#define ply_autofd __attribute__((cleanup(ply_close_cleanup))) int
#define ply_autofree __attribute__((cleanup(ply_free_cleanup)))

/* Hands the fd on: the variable forgets it. */
static inline int ply_take_fd(int *fd)
{
	int r = *fd;

	*fd = -1;
	return r;
}

static inline void *ply_take_ptr_(void **p)
{
	void *r = *p;

	*p = NULL;
	return r;
}
#define ply_take_ptr(p) ((__typeof__(*(p)))ply_take_ptr_((void **)(p)))

/* Circular doubly linked list with a head. */
struct ply_list {
	struct ply_list *next, *prev;
};

static inline void ply_list_init(struct ply_list *l)
{
	l->next = l->prev = l;
}

static inline bool ply_list_empty(const struct ply_list *l)
{
	return l->next == l;
}

static inline void ply_list_add(struct ply_list *head, struct ply_list *e)
{
	e->next = head->next;
	e->prev = head;
	head->next->prev = e;
	head->next = e;
}

static inline void ply_list_add_tail(struct ply_list *head, struct ply_list *e)
{
	ply_list_add(head->prev, e);
}

/* Leaves `e` pointing at itself, so that removing twice is harmless. */
static inline void ply_list_del(struct ply_list *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	ply_list_init(e);
}

/* Chain of a hash table. */
struct ply_hlink {
	struct ply_hlink *next;
};

/* Growable byte buffer; all zero is the empty one. */
struct ply_buf {
	char *data;
	size_t len, cap;
};

void ply_buf_free(struct ply_buf *b);
#define ply_autobuf __attribute__((cleanup(ply_buf_free))) struct ply_buf
/* Room for `more` bytes after len. 0 or -ENOMEM. */
int ply_buf_reserve(struct ply_buf *b, size_t more);
int ply_buf_add(struct ply_buf *b, const void *data, size_t len);
/* Appends text and keeps data[len] == 0 (not counted). */
int ply_buf_addstr(struct ply_buf *b, const char *s);
int ply_buf_printf(struct ply_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
