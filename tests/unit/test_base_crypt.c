/*
 * Crypt: what was sealed opens with the same key and AAD only; derived keys differ by purpose and salt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/crypt.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

static cc_secret derive(const char *salt, const char *purpose)
{
	cc_secret master = cc_secret_copy(cc_view_text("a master key of thirty-two bytes")), key;

	key = CC_SECRET_NONE;
	assert_int_equal(crypt_derive(&master, cc_view_text(salt), purpose, &key), CC_OK);
	assert_int_equal(key.size, CRYPT_KEY_SIZE);
	cc_secret_free(&master);
	return key;
}

static cc_err open_blob(
	const cc_secret *key, const char *aad, const cc_blob *sealed, const char *expected)
{
	cc_secret plain = CC_SECRET_NONE;
	cc_err err = crypt_open(key, cc_view_text(aad), cc_blob_view(sealed), &plain);

	if (err == CC_OK)
		assert_true(cc_view_equal_secret(cc_secret_view(&plain), cc_view_text(expected)));
	else
		assert_null(plain.data);
	cc_secret_free(&plain);
	return err;
}

static void what_was_sealed_opens(void **state)
{
	cc_secret key = derive("", "test");
	cc_blob sealed = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(
		crypt_seal(&key, cc_view_text("aad"), cc_view_text("plain"), &sealed), CC_OK);
	assert_int_equal(sealed.size, 5 + CRYPT_OVERHEAD);
	assert_int_equal(open_blob(&key, "aad", &sealed, "plain"), CC_OK);
	cc_blob_free(&sealed);
	cc_secret_free(&key);
}

static void nothing_can_be_sealed_too(void **state)
{
	cc_secret key = derive("", "test");
	cc_blob sealed = CC_BLOB_NONE;
	cc_secret plain = CC_SECRET_NONE;

	(void)state;
	assert_int_equal(crypt_seal(&key, CC_VIEW_NONE, CC_VIEW_NONE, &sealed), CC_OK);
	assert_int_equal(crypt_open(&key, CC_VIEW_NONE, cc_blob_view(&sealed), &plain), CC_OK);
	assert_int_equal(plain.size, 0);
	cc_secret_free(&plain);
	cc_blob_free(&sealed);
	cc_secret_free(&key);
}

static void another_aad_or_key_does_not_open_it(void **state)
{
	cc_secret key = derive("", "test"), other = derive("", "other");
	cc_blob sealed = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(
		crypt_seal(&key, cc_view_text("aad"), cc_view_text("plain"), &sealed), CC_OK);
	assert_int_equal(open_blob(&key, "aae", &sealed, ""), CC_CORRUPT);
	assert_int_equal(open_blob(&key, "", &sealed, ""), CC_CORRUPT);
	assert_int_equal(open_blob(&other, "aad", &sealed, ""), CC_CORRUPT);
	cc_blob_free(&sealed);
	cc_secret_free(&other);
	cc_secret_free(&key);
}

static void every_altered_byte_is_noticed(void **state)
{
	cc_secret key = derive("", "test");
	cc_blob sealed = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(
		crypt_seal(&key, cc_view_text("aad"), cc_view_text("plain"), &sealed), CC_OK);
	for (size_t i = 0; i < sealed.size; i++) {
		sealed.data[i] ^= 0x80;
		assert_int_equal(open_blob(&key, "aad", &sealed, ""), CC_CORRUPT);
		sealed.data[i] ^= 0x80;
	}
	for (; sealed.size > 0; sealed.size--) {
		cc_blob shorter = cc_blob_copy(cc_view_of(sealed.data, sealed.size - 1));

		assert_int_equal(open_blob(&key, "aad", &shorter, ""), CC_CORRUPT);
		cc_blob_free(&shorter);
	}
	cc_blob_free(&sealed);
	cc_secret_free(&key);
}

static void the_same_is_never_sealed_to_the_same_bytes(void **state)
{
	cc_secret key = derive("", "test");
	cc_blob one = CC_BLOB_NONE, two = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(crypt_seal(&key, CC_VIEW_NONE, cc_view_text("plain"), &one), CC_OK);
	assert_int_equal(crypt_seal(&key, CC_VIEW_NONE, cc_view_text("plain"), &two), CC_OK);
	assert_false(cc_view_equal(cc_blob_view(&one), cc_blob_view(&two)));
	cc_blob_free(&one);
	cc_blob_free(&two);
	cc_secret_free(&key);
}

static void purpose_and_salt_make_other_keys(void **state)
{
	cc_secret keys[] = {derive("", "a"), derive("", "b"), derive("s", "a"), derive("t", "a")};

	(void)state;
	for (size_t i = 0; i < 4; i++)
		for (size_t j = 0; j < i; j++)
			assert_false(cc_view_equal_secret(
				cc_secret_view(&keys[i]), cc_secret_view(&keys[j])));
	for (size_t i = 0; i < 4; i++)
		cc_secret_free(&keys[i]);
}

/* RFC 5869, test case 1: its first 32 bytes. */
static void the_derivation_is_hkdf_sha256(void **state)
{
	cc_blob ikm = CC_BLOB_NONE, salt = CC_BLOB_NONE, expected = CC_BLOB_NONE;
	cc_secret master, key = CC_SECRET_NONE;

	(void)state;
	assert_int_equal(
		text_from_hex(cc_view_text("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), &ikm),
		CC_OK);
	assert_int_equal(text_from_hex(cc_view_text("000102030405060708090a0b0c"), &salt), CC_OK);
	assert_int_equal(text_from_hex(cc_view_text("3cb25f25faacd57a90434f64d0362f2a"
						    "2d2d0a90cf1a5a4c5db02d56ecc4c5bf"),
				 &expected),
		CC_OK);
	master = cc_secret_copy(cc_blob_view(&ikm));
	assert_int_equal(crypt_derive(&master, cc_blob_view(&salt),
				 "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9", &key),
		CC_OK);
	assert_true(cc_view_equal_secret(cc_secret_view(&key), cc_blob_view(&expected)));
	cc_secret_free(&key);
	cc_secret_free(&master);
	cc_blob_free(&expected);
	cc_blob_free(&salt);
	cc_blob_free(&ikm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_sealed_opens),
		cmocka_unit_test(nothing_can_be_sealed_too),
		cmocka_unit_test(another_aad_or_key_does_not_open_it),
		cmocka_unit_test(every_altered_byte_is_noticed),
		cmocka_unit_test(the_same_is_never_sealed_to_the_same_bytes),
		cmocka_unit_test(purpose_and_salt_make_other_keys),
		cmocka_unit_test(the_derivation_is_hkdf_sha256),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
