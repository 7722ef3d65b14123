/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hash: SipHash-1-3 under a per-process random key: hostile names cannot aim at a bucket. */
#ifndef PLY_HASH_H
#define PLY_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Call once before any thread starts; takes the key from getrandom(2). */
void ply_hash_init(void);
/* SipHash-2-4, the same code with more rounds, for its test vectors: equal on every byte order. */
uint64_t ply_hash_siphash(const uint64_t key[2], const void *data, size_t len);
/* `data` may be NULL when len is 0. Differs for each run of the program: never store it. */
uint64_t ply_hash(const void *data, size_t len, uint64_t seed);
/* Cheap mix of two numbers, for (dev, ino) and node-id keys; keyed too. */
uint64_t ply_hash2(uint64_t a, uint64_t b);

#endif
