// SPDX-License-Identifier: GPL-2.0-or-later
#include "counters.h"

#include "lock.h"
#include "util.h"

const char *const ply_counter_names[PLY_C_COUNT] = {
#define X(n) #n,
	PLY_COUNTERS(X)
#undef X
};

struct block {
	struct ply_counter_block b;
	struct ply_list all;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* leaf: the list and `ended` */
static struct ply_list all = { &all, &all };
static struct ply_counter_block ended;		/* of threads that are gone */
static struct ply_counter_block spare;		/* shared by threads that got no memory: may lose counts */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool have_key;
static __thread struct ply_counter_block *mine;

/* All of a block are uint64_t: it is added up as one array. */
_Static_assert(sizeof(struct ply_counter_block) % sizeof(uint64_t) == 0, "counters only");

static void block_add(struct ply_counter_block *to, struct ply_counter_block *from)
{
	uint64_t *t = (uint64_t *)(void *)to, *f = (uint64_t *)(void *)from;

	for (size_t i = 0; i < sizeof(*to) / sizeof(*t); i++)
		t[i] += __atomic_load_n(&f[i], __ATOMIC_RELAXED);
}

static void thread_ended(void *arg)
{
	struct block *b = arg;

	/* Other destructors of this thread may still count. */
	mine = &spare;
	PLY_MUTEX(guard, &lock);
	block_add(&ended, &b->b);
	ply_list_del(&b->all);
	free(b);
}

static void make_key(void)
{
	have_key = !pthread_key_create(&key, thread_ended);
}

static struct ply_counter_block *block_new(void)
{
	struct block *b;

	pthread_once(&once, make_key);
	b = have_key ? calloc(1, sizeof(*b)) : NULL;
	if (b && pthread_setspecific(key, b)) {
		free(b);
		b = NULL;
	}
	if (!b)
		return mine = &spare;
	PLY_MUTEX(guard, &lock);
	ply_list_add(&all, &b->all);
	return mine = &b->b;
}

struct ply_counter_block *ply_counters_mine(void)
{
	return __builtin_expect(mine != NULL, 1) ? mine : block_new();
}

static void bump(uint64_t *p)
{
	__atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
}

void ply_count_op(unsigned int opcode)
{
	bump(&ply_counters_mine()->op[ply_min(opcode, PLY_OPCODES - 1u)]);
}

void ply_count_depth(unsigned int layer)
{
	bump(&ply_counters_mine()->depth[ply_min(layer, PLY_DEPTHS - 1u)]);
}

void ply_counters_sum(struct ply_counter_block *out)
{
	PLY_MUTEX(guard, &lock);
	*out = ended;
	block_add(out, &spare);
	for (struct ply_list *l = all.next; l != &all; l = l->next)
		block_add(out, &ply_container_of(l, struct block, all)->b);
}
