// SPDX-License-Identifier: GPL-2.0-or-later
#include "unit.h"
#include "hash.h"

/* Vectors of the SipHash paper's reference code: key 00..0f, data 00 01 02 ... */
static void siphash_gives_the_published_values(void **state)
{
	static const struct {
		size_t len;
		uint64_t want;
	} v[] = {
		{ 0, 0x726fdb47dd0e0e31ULL }, { 1, 0x74f839c593dc67fdULL },
		{ 2, 0x0d6c8009d9a94f5aULL }, { 3, 0x85676696d7fb7e2dULL },
		{ 7, 0xab0200f58b01d137ULL }, { 8, 0x93f5f5799a932462ULL },
		{ 15, 0xa129ca6149be45e5ULL }, { 63, 0x958a324ceb064572ULL },
	};
	const uint64_t key[2] = { 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL };
	uint8_t data[64];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		uint8_t *copy = exact(data, v[i].len);

		assert_int_equal(ply_hash_siphash(key, copy, v[i].len), v[i].want);
		free(copy);
	}
}

static void hashes_depend_on_everything(void **state)
{
	(void)state;
	ply_hash_init();
	assert_int_equal(ply_hash("abc", 3, 1), ply_hash("abcd", 3, 1));
	assert_int_not_equal(ply_hash("abc", 3, 1), ply_hash("abc", 3, 2));
	assert_int_not_equal(ply_hash("abc", 3, 1), ply_hash("abd", 3, 1));
	assert_int_not_equal(ply_hash("abc", 3, 1), ply_hash("abc\0", 4, 1));
	assert_int_equal(ply_hash(NULL, 0, 7), ply_hash("", 0, 7));
	assert_int_equal(ply_hash2(1, 2), ply_hash2(1, 2));
	assert_int_not_equal(ply_hash2(1, 2), ply_hash2(2, 1));
}

/* Small consecutive numbers, as inode numbers are, must fill a table evenly. */
static void pairs_spread_over_buckets(void **state)
{
	unsigned int low[256] = { 0 }, high[256] = { 0 };

	(void)state;
	ply_hash_init();
	for (uint64_t a = 0; a < 64; a++)
		for (uint64_t b = 0; b < 1024; b++) {
			uint64_t h = ply_hash2(a, b << (a % 5));

			low[h & 255]++;
			high[h >> 56]++;
		}
	/* 256 a bucket on the average, a standard deviation of 16. */
	for (int i = 0; i < 256; i++) {
		assert_in_range(low[i], 128, 384);
		assert_in_range(high[i], 128, 384);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(siphash_gives_the_published_values),
		cmocka_unit_test(hashes_depend_on_everything),
		cmocka_unit_test(pairs_spread_over_buckets),
	};

	return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
