// SPDX-License-Identifier: GPL-2.0-or-later
#include "dircache.h"
#include "dcbuild.h"
#include "hash.h"

#include <errno.h>
#include <time.h>

/*
 * Entries are kept sorted by cookie, in chunks that are split when full. Names
 * of a chunk are in one block of memory; removed ones leave holes until it must grow.
 */
#define CHUNK_MAX 128
#define COLLISIONS 8		/* names that may share one hash: 63 bits, so in practice one */
#define COOKIE_FIRST 16
#define IDLE_SECONDS 60
#define BIG_SECONDS 2
#define COOKIE_SEED UINT64_C(0x64697263)

struct chunk {
	uint64_t first;			/* the cookie of e[0] */
	unsigned int n, cap;
	uint32_t heap_len, heap_cap;
	struct ply_dcrec *e;
	char *heap;
};

struct ply_dircaches {
	pthread_mutex_t lock;
	struct ply_list lru;		/* latest used first */
	size_t bytes, limit;
	time_t trimmed;
	uint64_t entries, caches;
};

struct ply_dircache {
	struct ply_dircaches *all;
	struct ply_node *dir;
	struct ply_list lru;		/* all->lock, and the four below */
	unsigned int pins;
	bool used;			/* since the last trim */
	bool dropped;			/* no directory's any more; freed by the last put */
	size_t bytes;			/* what is accounted in all->bytes */

	time_t last;			/* when it was used */

	struct chunk *chunk;		/* dir->lock */
	size_t nchunks, cap;
	size_t held;			/* bytes of the chunks' memory */
	size_t entries;
};

uint64_t ply_dircache_hash(const char *name)
{
	uint64_t h = ply_hash(name, strlen(name), COOKIE_SEED) >> 1;

	return COOKIE_FIRST + h % ((UINT64_C(1) << 63) - 2 * COOKIE_FIRST);
}

/* ---- chunks ---- */

static void cache_free(struct ply_dircache *dc)
{
	for (size_t i = 0; i < dc->nchunks; i++) {
		free(dc->chunk[i].e);
		free(dc->chunk[i].heap);
	}
	free(dc->chunk);
	free(dc);
}

static size_t chunk_bytes(const struct chunk *c)
{
	return c->cap * sizeof(c->e[0]) + c->heap_cap;
}

static size_t cache_bytes(const struct ply_dircache *dc)
{
	return sizeof(*dc) + dc->cap * sizeof(dc->chunk[0]) + dc->held;
}

static uint64_t cookie_at(const void *of, size_t stride, size_t i)
{
	uint64_t cookie;

	memcpy(&cookie, (const char *)of + i * stride, sizeof(cookie));
	return cookie;
}

/*
 * How many of n structures in order, whose first member is a cookie, have a lower one. Cookies are hashes, so how far along
 * one is tells about where it is: found from there in steps that double, wherever it was. To halve a directory of a
 * million names takes a cache miss or two each time.
 */
static size_t count_below(const void *of, size_t stride, size_t n, size_t guess, uint64_t cookie)
{
	size_t lo = 0, hi = n, step = 1;

	if (guess < n && cookie_at(of, stride, guess) < cookie) {
		lo = guess + 1;
		for (; hi - lo > step && cookie_at(of, stride, lo + step) < cookie; step *= 2)
			lo += step + 1;
		hi = ply_min(hi, lo + step);
	} else {
		hi = ply_min(hi, guess);
		for (; hi > step && cookie_at(of, stride, hi - 1 - step) >= cookie; step *= 2)
			hi -= step + 1;
		lo = hi > step ? hi - step : 0;
	}
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (cookie_at(of, stride, mid) < cookie)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* So many of n that lie evenly between 0 and 2^63 are below `cookie`. */
static size_t share_of(size_t n, uint64_t cookie)
{
	return (size_t)((unsigned __int128)n * cookie >> 63);
}

/* Index of the chunk that has, or would have, the cookie. */
static size_t chunk_of(const struct ply_dircache *dc, uint64_t cookie)
{
	size_t n = dc->nchunks, i = count_below(dc->chunk, sizeof(dc->chunk[0]), n, share_of(n, cookie), cookie);

	return i && (i == n || dc->chunk[i].first != cookie) ? i - 1 : i;
}

/* Index of the first entry of a chunk with a cookie >= the one given; n if none. */
static unsigned int entry_at(const struct ply_dircache *dc, const struct chunk *c, uint64_t cookie)
{
	size_t guess = cookie > c->first ? share_of(dc->entries, cookie - c->first) : 0;

	return (unsigned int)count_below(c->e, sizeof(c->e[0]), c->n, ply_min(guess, (size_t)c->n), cookie);
}

struct position {
	size_t chunk;
	unsigned int entry;
};

/* The first entry with a cookie >= the one given. */
static bool cache_seek(const struct ply_dircache *dc, uint64_t cookie, struct position *p)
{
	if (!dc->nchunks)
		return false;
	p->chunk = chunk_of(dc, cookie);
	p->entry = entry_at(dc, &dc->chunk[p->chunk], cookie);
	if (p->entry == dc->chunk[p->chunk].n) {
		p->chunk++;
		p->entry = 0;
	}
	return p->chunk < dc->nchunks;
}

static bool cache_step(const struct ply_dircache *dc, struct position *p)
{
	if (++p->entry == dc->chunk[p->chunk].n) {
		p->chunk++;
		p->entry = 0;
	}
	return p->chunk < dc->nchunks;
}

static struct ply_dcrec *cache_rec(const struct ply_dircache *dc, const struct position *p)
{
	return &dc->chunk[p->chunk].e[p->entry];
}

static const char *cache_name(const struct ply_dircache *dc, const struct position *p)
{
	return dc->chunk[p->chunk].heap + cache_rec(dc, p)->name;
}

/* Where the name is. Otherwise false and *freep is the first cookie that is free for it, 0 if none. */
static bool cache_find(const struct ply_dircache *dc, const char *name, struct position *p, uint64_t *freep)
{
	uint64_t first = ply_dircache_hash(name), want = first;
	bool more = cache_seek(dc, first, p);

	for (; more && cache_rec(dc, p)->cookie < first + COLLISIONS; more = cache_step(dc, p)) {
		if (cache_rec(dc, p)->cookie == want)
			want++;
		if (!strcmp(cache_name(dc, p), name))
			return true;
	}
	*freep = want < first + COLLISIONS ? want : 0;
	return false;
}

static int chunk_grow(struct chunk *c, size_t name_len)
{
	if (c->n == c->cap) {
		unsigned int cap = ply_min(CHUNK_MAX, c->cap + c->cap / 2 + 8);
		struct ply_dcrec *e = realloc(c->e, cap * sizeof(*e));

		if (!e)
			return -ENOMEM;
		c->e = e;
		c->cap = cap;
	}
	if (c->heap_len + name_len + 1 > c->heap_cap) {
		size_t cap = name_len + 1;
		char *heap;
		uint32_t len = 0;

		for (unsigned int i = 0; i < c->n; i++)
			cap += strlen(c->heap + c->e[i].name) + 1;
		cap += cap / 4;
		heap = malloc(cap);
		if (!heap)
			return -ENOMEM;
		for (unsigned int i = 0; i < c->n; i++) {
			size_t l = strlen(c->heap + c->e[i].name) + 1;

			memcpy(heap + len, c->heap + c->e[i].name, l);
			c->e[i].name = len;
			len += (uint32_t)l;
		}
		free(c->heap);
		c->heap = heap;
		c->heap_len = len;
		c->heap_cap = (uint32_t)cap;
	}
	return 0;
}

/* Room for one entry more. */
static int chunk_reserve(struct ply_dircache *dc, struct chunk *c, size_t name_len)
{
	size_t before = chunk_bytes(c);
	int r = chunk_grow(c, name_len);

	dc->held += chunk_bytes(c) - before;
	return r;
}

static void chunk_put(struct chunk *c, unsigned int at, const struct ply_dcrec *rec, const char *name)
{
	size_t len = strlen(name) + 1;

	memmove(&c->e[at + 1], &c->e[at], (c->n - at) * sizeof(c->e[0]));
	c->e[at] = *rec;
	c->e[at].name = c->heap_len;
	memcpy(c->heap + c->heap_len, name, len);
	c->heap_len += (uint32_t)len;
	c->n++;
	c->first = c->e[0].cookie;
}

static int chunk_insert_new(struct ply_dircache *dc, size_t at)
{
	if (dc->nchunks == dc->cap) {
		size_t cap = dc->cap + dc->cap / 2 + 4;
		struct chunk *c = realloc(dc->chunk, cap * sizeof(*c));

		if (!c)
			return -ENOMEM;
		dc->chunk = c;
		dc->cap = cap;
	}
	memmove(&dc->chunk[at + 1], &dc->chunk[at], (dc->nchunks - at) * sizeof(dc->chunk[0]));
	dc->chunk[at] = (struct chunk){ 0 };
	dc->nchunks++;
	return 0;
}

static void chunk_remove(struct ply_dircache *dc, size_t at)
{
	dc->held -= chunk_bytes(&dc->chunk[at]);
	free(dc->chunk[at].e);
	free(dc->chunk[at].heap);
	dc->nchunks--;
	memmove(&dc->chunk[at], &dc->chunk[at + 1], (dc->nchunks - at) * sizeof(dc->chunk[0]));
}

/* Moves the upper half of a full chunk to a new one behind it. */
static int chunk_split(struct ply_dircache *dc, size_t at)
{
	struct chunk *c, *half;
	unsigned int keep;
	int r = chunk_insert_new(dc, at + 1);

	if (r)
		return r;
	c = &dc->chunk[at];
	half = &dc->chunk[at + 1];
	keep = c->n / 2;
	for (unsigned int i = keep; i < c->n; i++) {
		const char *name = c->heap + c->e[i].name;

		r = chunk_reserve(dc, half, strlen(name));
		if (r) {
			chunk_remove(dc, at + 1);
			return r;
		}
		chunk_put(half, half->n, &c->e[i], name);
	}
	c->n = keep;
	return 0;
}

static int cache_insert(struct ply_dircache *dc, const struct ply_dcrec *rec, const char *name)
{
	struct chunk *c;
	size_t at;
	int r;

	if (!dc->nchunks) {
		r = chunk_insert_new(dc, 0);
		if (r)
			return r;
	}
	at = dc->chunk[0].n ? chunk_of(dc, rec->cookie) : 0;
	if (dc->chunk[at].n == CHUNK_MAX) {
		/* Building appends: full chunks stay full. */
		if (at == dc->nchunks - 1 && dc->chunk[at].e[CHUNK_MAX - 1].cookie < rec->cookie)
			r = chunk_insert_new(dc, ++at);
		else
			r = chunk_split(dc, at);
		if (r)
			return r;
		if (dc->chunk[at].n)
			at = chunk_of(dc, rec->cookie);
	}
	c = &dc->chunk[at];
	r = chunk_reserve(dc, c, strlen(name));
	if (r) {
		if (!c->n)
			chunk_remove(dc, at);
		return r;
	}
	chunk_put(c, entry_at(dc, c, rec->cookie), rec, name);
	dc->entries++;
	return 0;
}

/* An empty chunk behind all, with room for exactly these. */
static int chunk_append(struct ply_dircache *dc, const struct ply_dcrec *rec, size_t n, const char *names)
{
	size_t bytes = 0;
	struct chunk *c;
	int r = chunk_insert_new(dc, dc->nchunks);

	if (r)
		return r;
	for (size_t i = 0; i < n; i++)
		bytes += strlen(names + rec[i].name) + 1;
	c = &dc->chunk[dc->nchunks - 1];
	c->e = malloc(n * sizeof(*c->e));
	c->heap = malloc(bytes);
	if (!c->e || !c->heap) {
		chunk_remove(dc, dc->nchunks - 1);
		return -ENOMEM;
	}
	c->cap = (unsigned int)n;
	c->heap_cap = (uint32_t)bytes;
	dc->held += chunk_bytes(c);
	return 0;
}

/* All names of a new cache. In order of (hash, name): the same cookies each time. */
static int cache_fill(struct ply_dircache *dc, const struct ply_dcbuild *b)
{
	uint64_t last = 0;
	int r = 0;

	for (size_t i = 0; i < b->n && !r; i++) {
		const char *name = b->names.data + b->rec[i].name;
		struct ply_dcrec rec = b->rec[i];
		struct position p;

		if (rec.cookie <= last) {
			/* The hash of the one before, or that one itself. */
			if (cache_find(dc, name, &p, &rec.cookie))
				continue;
			r = rec.cookie ? cache_insert(dc, &rec, name) : -EIO;
		} else {
			if (!dc->nchunks || dc->chunk[dc->nchunks - 1].n == CHUNK_MAX)
				r = chunk_append(dc, &b->rec[i], ply_min(b->n - i, (size_t)CHUNK_MAX), b->names.data);
			if (!r)
				r = chunk_reserve(dc, &dc->chunk[dc->nchunks - 1], strlen(name));
			if (!r) {
				chunk_put(&dc->chunk[dc->nchunks - 1], dc->chunk[dc->nchunks - 1].n, &rec, name);
				dc->entries++;
			}
		}
		last = ply_max(last, rec.cookie);
	}
	return r;
}

static void cache_remove(struct ply_dircache *dc, const struct position *p)
{
	struct chunk *c = &dc->chunk[p->chunk];

	c->n--;
	memmove(&c->e[p->entry], &c->e[p->entry + 1], (c->n - p->entry) * sizeof(c->e[0]));
	if (c->n)
		c->first = c->e[0].cookie;
	else
		chunk_remove(dc, p->chunk);
	dc->entries--;
}

/* ---- all caches ---- */

static void caches_forget(struct ply_dircache *dc)
{
	ply_list_del(&dc->lru);
	dc->all->bytes -= dc->bytes;
	dc->all->entries -= dc->entries;
	dc->all->caches--;
	atomic_store(&dc->dir->dir->cache, NULL);
	atomic_store(&dc->dir->dir->lookups, 0);
	dc->dir = NULL;
	dc->dropped = true;
	ply_count(PLY_C_dircache_dropped, 1);
}

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec;
}

/*
 * A cache that is larger than all may be: whoever lists that directory comes back for the next names soon, thousands of
 * times, and each time it would be read anew.
 */
static bool cache_stays(const struct ply_dircache *dc)
{
	return dc->pins || (dc->bytes > dc->all->limit && now() - dc->last <= BIG_SECONDS);
}

/* all->lock held. Idle caches, least recently used first, until the limit holds; they are chained to *gone. */
static void caches_shrink(struct ply_dircaches *all, struct ply_list *gone)
{
	struct ply_list *l = all->lru.prev;

	while (all->bytes > all->limit && l != &all->lru) {
		struct ply_dircache *dc = ply_container_of(l, struct ply_dircache, lru);

		l = l->prev;
		if (cache_stays(dc))
			continue;
		caches_forget(dc);
		ply_list_add(gone, &dc->lru);
	}
}

static void caches_free_list(struct ply_list *gone)
{
	while (!ply_list_empty(gone)) {
		struct ply_dircache *dc = ply_container_of(gone->next, struct ply_dircache, lru);

		ply_list_del(&dc->lru);
		cache_free(dc);
	}
}

/* Its size changed. */
static void caches_account(struct ply_dircache *dc, size_t entries_before)
{
	struct ply_dircaches *all = dc->all;
	struct ply_list gone;

	ply_list_init(&gone);
	pthread_mutex_lock(&all->lock);
	if (!dc->dropped) {
		size_t bytes = cache_bytes(dc);

		all->bytes += bytes - dc->bytes;
		dc->bytes = bytes;
		all->entries += dc->entries - entries_before;
		dc->pins++;
		caches_shrink(all, &gone);
		dc->pins--;
	}
	pthread_mutex_unlock(&all->lock);
	caches_free_list(&gone);
}

static void dircache_dir_gone(struct ply_node *dir)
{
	struct ply_dircache *dc = atomic_load(&dir->dir->cache);
	struct ply_dircaches *all;

	/* Nobody else has the directory; only shrinking can take the cache away meanwhile, and keeps `all`. */
	if (!dc)
		return;
	all = dir->dir->caches;
	pthread_mutex_lock(&all->lock);
	dc = atomic_load(&dir->dir->cache);
	if (dc)
		caches_forget(dc);
	pthread_mutex_unlock(&all->lock);
	if (dc)
		cache_free(dc);
}

int ply_dircaches_new(struct ply_fs *fs, size_t limit)
{
	struct ply_dircaches *all = calloc(1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	pthread_mutex_init(&all->lock, NULL);
	ply_list_init(&all->lru);
	all->limit = limit;
	fs->dircaches = all;
	ply_graph_set_hooks(fs->graph, NULL, dircache_dir_gone, NULL);
	return 0;
}

void ply_dircaches_limit(struct ply_fs *fs, size_t limit)
{
	PLY_MUTEX(lock, &fs->dircaches->lock);

	fs->dircaches->limit = limit;
}

void ply_dircaches_free(struct ply_fs *fs)
{
	if (!fs->dircaches)
		return;
	pthread_mutex_destroy(&fs->dircaches->lock);
	free(fs->dircaches);
	fs->dircaches = NULL;
}

void ply_dircaches_trim(struct ply_fs *fs)
{
	struct ply_dircaches *all = fs->dircaches;
	struct ply_list gone, *l, *next;

	ply_list_init(&gone);
	pthread_mutex_lock(&all->lock);
	for (l = all->lru.next; l != &all->lru; l = next) {
		struct ply_dircache *dc = ply_container_of(l, struct ply_dircache, lru);

		next = l->next;
		if (dc->used || dc->pins) {
			dc->used = false;
			continue;
		}
		caches_forget(dc);
		ply_list_add(&gone, &dc->lru);
	}
	pthread_mutex_unlock(&all->lock);
	caches_free_list(&gone);
}

void ply_dircaches_stats(struct ply_fs *fs, struct ply_dircache_stats *out)
{
	struct ply_dircaches *all = fs->dircaches;

	PLY_MUTEX(lock, &all->lock);
	*out = (struct ply_dircache_stats){ .caches = all->caches, .entries = all->entries, .bytes = all->bytes };
}

/* ---- one cache ---- */

struct ply_dircache *ply_dircache_get(struct ply_fs *fs, struct ply_node *dir)
{
	struct ply_dircaches *all = fs->dircaches;
	struct ply_dircache *dc;

	if (!atomic_load(&dir->dir->cache))
		return NULL;
	PLY_MUTEX(lock, &all->lock);
	dc = atomic_load(&dir->dir->cache);
	if (!dc)
		return NULL;
	dc->pins++;
	dc->used = true;
	dc->last = now();
	ply_list_del(&dc->lru);
	ply_list_add(&all->lru, &dc->lru);
	return dc;
}

void ply_dircache_put(struct ply_fs *fs, struct ply_dircache *dc)
{
	bool last;

	if (!dc)
		return;
	pthread_mutex_lock(&fs->dircaches->lock);
	last = !--dc->pins && dc->dropped;
	pthread_mutex_unlock(&fs->dircaches->lock);
	if (last)
		cache_free(dc);
}

void ply_dircache_drop(struct ply_fs *fs, struct ply_node *dir)
{
	struct ply_dircache *dc;

	pthread_mutex_lock(&fs->dircaches->lock);
	dc = atomic_load(&dir->dir->cache);
	if (dc && dc->pins)
		dc = NULL;
	if (dc)
		caches_forget(dc);
	pthread_mutex_unlock(&fs->dircaches->lock);
	if (dc)
		cache_free(dc);
}

/* Whoever makes a cache looks now and then for those that nobody wants any more. */
static void caches_trim_sometimes(struct ply_fs *fs)
{
	struct ply_dircaches *all = fs->dircaches;
	time_t t = now();
	bool due;

	pthread_mutex_lock(&all->lock);
	due = t - all->trimmed >= IDLE_SECONDS;
	if (due)
		all->trimmed = t;
	pthread_mutex_unlock(&all->lock);
	if (due)
		ply_dircaches_trim(fs);
}

static int dircache_build(struct ply_fs *fs, struct ply_node *dir, uint64_t most, bool keep, struct ply_dircache **out)
{
	struct ply_dircaches *all = fs->dircaches;
	struct ply_dircache *dc = ply_dircache_get(fs, dir);
	ply_autodcbuild b = { .most = most, .keep = keep };
	struct ply_list gone;
	int r;

	if (dc) {
		*out = dc;
		return 0;
	}
	caches_trim_sometimes(fs);
	r = ply_dcbuild_merge(fs, dir, &b);
	if (r)
		return r;
	dc = calloc(1, sizeof(*dc));
	if (!dc)
		return -ENOMEM;
	r = cache_fill(dc, &b);
	if (r) {
		cache_free(dc);
		return r;
	}
	ply_list_init(&gone);
	dc->all = all;
	dc->dir = dir;
	dc->pins = 1;
	dc->used = true;
	dc->last = now();
	dc->bytes = cache_bytes(dc);
	dir->dir->caches = all;
	pthread_mutex_lock(&all->lock);
	atomic_store(&dir->dir->cache, dc);
	ply_list_add(&all->lru, &dc->lru);
	all->bytes += dc->bytes;
	all->entries += dc->entries;
	all->caches++;
	caches_shrink(all, &gone);
	pthread_mutex_unlock(&all->lock);
	caches_free_list(&gone);
	ply_count(PLY_C_dircache_built, 1);
	*out = dc;
	return 0;
}

int ply_dircache_build(struct ply_fs *fs, struct ply_node *dir, struct ply_dircache **out)
{
	return dircache_build(fs, dir, UINT64_MAX, false, out);
}

int ply_dircache_build_within(struct ply_fs *fs, struct ply_node *dir, uint64_t most, struct ply_dircache **out)
{
	return dircache_build(fs, dir, most, true, out);
}

static void cache_show(const struct ply_dircache *dc, const struct position *p, struct ply_dircache_entry *out)
{
	const struct ply_dcrec *rec = cache_rec(dc, p);

	*out = (struct ply_dircache_entry){
		.cookie = rec->cookie, .ino = rec->ino, .layer = rec->layer, .end = rec->end, .type = rec->type,
		.name = cache_name(dc, p),
	};
}

int ply_dircache_find(struct ply_dircache *dc, const char *name, struct ply_dircache_entry *out)
{
	struct position p;
	uint64_t cookie;

	if (!cache_find(dc, name, &p, &cookie))
		return -ENOENT;
	cache_show(dc, &p, out);
	return 0;
}

unsigned int ply_dircache_next(struct ply_dircache *dc, uint64_t after, struct ply_dircache_entry *out, unsigned int max)
{
	struct position p;
	bool more = cache_seek(dc, after + 1, &p);
	unsigned int n = 0;

	for (; more && n < max; more = cache_step(dc, &p))
		cache_show(dc, &p, &out[n++]);
	return n;
}

void ply_dircache_added(struct ply_fs *fs, struct ply_node *dir, const char *name, uint8_t type)
{
	struct ply_dircache *dc = ply_dircache_get(fs, dir);
	struct ply_dcrec rec = { .layer = PLY_LAYER_UPPER, .type = type & 0xf };
	struct position p;
	size_t before;
	int r = 0;

	if (!dc)
		return;
	before = dc->entries;
	if (cache_find(dc, name, &p, &rec.cookie)) {
		/* The lowers have it where they had it; of a name that is new nothing is known. */
		rec.end = cache_rec(dc, &p)->end;
		rec.cookie = cache_rec(dc, &p)->cookie;
		rec.name = cache_rec(dc, &p)->name;
		*cache_rec(dc, &p) = rec;
	} else {
		r = rec.cookie ? cache_insert(dc, &rec, name) : -EIO;
	}
	if (!r)
		caches_account(dc, before);
	ply_dircache_put(fs, dc);
	if (r)
		ply_dircache_drop(fs, dir);
}

void ply_dircache_removed(struct ply_fs *fs, struct ply_node *dir, const char *name)
{
	struct ply_dircache *dc = ply_dircache_get(fs, dir);
	struct position p;
	uint64_t cookie;
	size_t before;

	atomic_store(&dir->dir->lost_name, true);
	if (!dc)
		return;
	before = dc->entries;
	if (cache_find(dc, name, &p, &cookie)) {
		cache_remove(dc, &p);
		caches_account(dc, before);
	}
	ply_dircache_put(fs, dc);
}

void ply_dircache_upped(struct ply_fs *fs, struct ply_node *dir, const char *name)
{
	struct ply_dircache *dc = ply_dircache_get(fs, dir);
	struct position p;
	uint64_t cookie;

	if (!dc)
		return;
	if (cache_find(dc, name, &p, &cookie))
		cache_rec(dc, &p)->layer = PLY_LAYER_UPPER;
	ply_dircache_put(fs, dc);
}

int ply_dircache_is_empty(struct ply_fs *fs, struct ply_node *dir)
{
	struct ply_dircache *dc;
	int r = ply_dircache_build(fs, dir, &dc);

	if (r)
		return r;
	r = dc->entries ? -ENOTEMPTY : 0;
	ply_dircache_put(fs, dc);
	return r;
}
