/* base/hash.c: known answers, and random numbers within their limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/text.h"

static void assert_hex(const uint8_t hash[SHA256_SIZE], const char *expected)
{
	char *hex = text_hex_new(cc_view_of(hash, SHA256_SIZE));

	assert_string_equal(hex, expected);
	free(hex);
}

/* FIPS 180-4 */
static void sha256_gives_the_known_answers(void **state)
{
	uint8_t hash[SHA256_SIZE];

	(void)state;
	hash_sha256(CC_VIEW_NONE, hash);
	assert_hex(hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	hash_sha256(cc_view_text("abc"), hash);
	assert_hex(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* RFC 4231 section 4.3 */
static void hmac_gives_the_known_answers(void **state)
{
	uint8_t mac[SHA256_SIZE];

	(void)state;
	hash_hmac_sha256(cc_view_text("Jefe"), cc_view_text("what do ya want for nothing?"), mac);
	assert_hex(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	hash_hmac_sha256(CC_VIEW_NONE, CC_VIEW_NONE, mac);
	assert_hex(mac, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void items_are_hashed_with_their_lengths(void **state)
{
	uint8_t items[SHA256_SIZE];
	uint8_t whole[SHA256_SIZE];
	uint8_t other[SHA256_SIZE];

	(void)state;
	HASH_ITEMS(items, cc_view_text("ab"), CC_VIEW_NONE, cc_view_text("c"));
	hash_sha256(cc_view_of("\0\0\0\2ab\0\0\0\0\0\0\0\1c", 15), whole);
	assert_memory_equal(items, whole, SHA256_SIZE);
	HASH_ITEMS(other, cc_view_text("a"), CC_VIEW_NONE, cc_view_text("bc"));
	assert_memory_not_equal(items, other, SHA256_SIZE);
}

static void random_numbers_stay_below_their_limit(void **state)
{
	bool seen[5] = {false};

	(void)state;
	for (int i = 0; i < 1000; i++) {
		uint64_t n = random_below(5);
		assert_true(n < 5);
		seen[n] = true;
	}
	for (int i = 0; i < 5; i++)
		assert_true(seen[i]);
	assert_int_equal(random_below(1), 0);
	(void)random_below(UINT64_MAX);
}

static void random_bytes_fill_all_and_only_their_place(void **state)
{
	uint8_t bytes[66] = {0};
	uint8_t more[66] = {0};

	(void)state;
	random_bytes(bytes + 1, 64);
	random_secret(more + 1, 64);
	assert_int_equal(bytes[0] | bytes[65] | more[0] | more[65], 0);
	assert_memory_not_equal(bytes, more, 66);
	assert_memory_not_equal(bytes + 33, (uint8_t[32]){0}, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_gives_the_known_answers),
		cmocka_unit_test(hmac_gives_the_known_answers),
		cmocka_unit_test(items_are_hashed_with_their_lengths),
		cmocka_unit_test(random_numbers_stay_below_their_limit),
		cmocka_unit_test(random_bytes_fill_all_and_only_their_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
