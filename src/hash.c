// SPDX-License-Identifier: GPL-2.0-or-later
#include "hash.h"

#include <endian.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

#ifndef GRND_INSECURE
#define GRND_INSECURE 0x0004	/* Linux 5.6: never waits for the pool */
#endif

static uint64_t hash_key[2];

void ply_hash_init(void)
{
	uint64_t k[2];
	ssize_t n = getrandom(k, sizeof(k), GRND_INSECURE);

	/* A mount from fstab must not wait for entropy: the kernel's 16 bytes at exec do as well. */
	if (n != sizeof(k))
		n = getrandom(k, sizeof(k), GRND_NONBLOCK);
	if (n != sizeof(k)) {
		const void *at_random = (const void *)getauxval(AT_RANDOM);

		if (!at_random)
			return;
		memcpy(k, at_random, sizeof(k));
	}
	memcpy(hash_key, k, sizeof(k));
}

static inline uint64_t rotl(uint64_t x, unsigned int b)
{
	return x << b | x >> (64 - b);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

/* Less than 8 bytes, and none behind them. */
static inline uint64_t sip_tail(const uint8_t *p, size_t len)
{
	uint64_t m = 0;
	size_t at = 0;

	if (len & 4) {
		uint32_t four;

		memcpy(&four, p, 4);
		m = le32toh(four);
		at = 4;
	}
	if (len & 2) {
		uint16_t two;

		memcpy(&two, p + at, 2);
		m |= (uint64_t)le16toh(two) << 8 * at;
		at += 2;
	}
	if (len & 1)
		m |= (uint64_t)p[at] << 8 * at;
	return m;
}

static inline __attribute__((always_inline)) uint64_t sip_hash(const uint64_t key[2], const void *data, size_t len,
							       int each, int end_rounds)
{
	const uint8_t *p = data;
	const uint8_t *end = p + (len & ~(size_t)7);
	uint64_t v[4] = {
		key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL,
		key[0] ^ 0x6c7967656e657261ULL, key[1] ^ 0x7465646279746573ULL,
	};
	uint64_t m;

	for (; p != end; p += 8) {
		memcpy(&m, p, 8);
		m = le64toh(m);
		v[3] ^= m;
		for (int i = 0; i < each; i++)
			sip_round(v);
		v[0] ^= m;
	}
	m = sip_tail(p, len & 7) | (uint64_t)len << 56;
	v[3] ^= m;
	for (int i = 0; i < each; i++)
		sip_round(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	for (int i = 0; i < end_rounds; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t ply_hash_siphash(const uint64_t key[2], const void *data, size_t len)
{
	return sip_hash(key, data, len, 2, 4);
}

uint64_t ply_hash(const void *data, size_t len, uint64_t seed)
{
	const uint64_t key[2] = { hash_key[0] ^ seed, hash_key[1] };

	/* SipHash-1-3: for tables nobody needs more. */
	return sip_hash(key, data, len, 1, 3);
}

/* The two halves of a 128-bit product, folded. */
static inline uint64_t fold_mul(uint64_t a, uint64_t b)
{
	unsigned __int128 p = (unsigned __int128)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

uint64_t ply_hash2(uint64_t a, uint64_t b)
{
	uint64_t x = fold_mul(a ^ hash_key[0] ^ 0x9e3779b97f4a7c15ULL,
			      b ^ hash_key[1] ^ 0xc2b2ae3d27d4eb4fULL);

	return fold_mul(x ^ hash_key[1], 0x9fb21c651e98df25ULL) ^ x;
}
