/*
 * DSSE: one signature, over type and body, by the one key that is expected.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "proto/codec.h"
#include "proto/dsse.h"
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

struct rig {
	EVP_PKEY *key;
	cc_blob spki;
	Certq__SignedDocument *document;
};

static const char body[] = "the body of a document";

static void rig_open(struct rig *rig, const char *algorithm)
{
	*rig = (struct rig){0};
	rig->key = strcmp(algorithm, "EC") == 0 ? EVP_EC_gen("P-256")
						: EVP_PKEY_Q_keygen(NULL, NULL, algorithm);
	assert_non_null(rig->key);
	assert_int_equal(dsse_spki(rig->key, &rig->spki), CC_OK);
	assert_int_equal(dsse_sign(rig->key, DOC_JOB, cc_view_text(body), &rig->document), CC_OK);
}

static void rig_close(struct rig *rig)
{
	codec_free(rig->document);
	cc_blob_free(&rig->spki);
	EVP_PKEY_free(rig->key);
}

static cc_err check(const struct rig *rig, const char *type)
{
	return dsse_verify(cc_blob_view(&rig->spki), type, rig->document);
}

static void an_ed25519_signature_verifies(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, "ED25519");
	assert_int_equal(check(&rig, DOC_JOB), CC_OK);
	assert_int_equal(rig.document->signature.len, 64);
	rig_close(&rig);
}

static void a_p256_signature_verifies(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, "EC");
	assert_int_equal(check(&rig, DOC_JOB), CC_OK);
	rig_close(&rig);
}

static void the_type_is_part_of_what_is_signed(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, "ED25519");
	assert_int_equal(check(&rig, DOC_ORDER), CC_BAD_SIGNATURE);
	rig_close(&rig);
}

static void an_altered_body_does_not_verify(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, "EC");
	for (size_t i = 0; i < rig.document->body.len; i++) {
		rig.document->body.data[i] ^= 1;
		assert_int_equal(check(&rig, DOC_JOB), CC_BAD_SIGNATURE);
		rig.document->body.data[i] ^= 1;
	}
	rig_close(&rig);
}

static void an_altered_or_cut_signature_does_not_verify(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, "ED25519");
	rig.document->signature.data[7] ^= 0x40;
	assert_int_equal(check(&rig, DOC_JOB), CC_BAD_SIGNATURE);
	rig.document->signature.data[7] ^= 0x40;
	rig.document->signature.len--;
	assert_int_equal(check(&rig, DOC_JOB), CC_BAD_SIGNATURE);
	rig.document->signature.len = 0;
	assert_int_equal(check(&rig, DOC_JOB), CC_BAD_SIGNATURE);
	rig_close(&rig);
}

static void another_key_is_unknown(void **state)
{
	struct rig rig, other;

	(void)state;
	rig_open(&rig, "ED25519");
	rig_open(&other, "ED25519");
	assert_int_equal(
		dsse_verify(cc_blob_view(&other.spki), DOC_JOB, rig.document), CC_UNKNOWN_KEY);
	rig_close(&other);
	rig_close(&rig);
}

static void a_key_id_that_names_another_key_does_not_help(void **state)
{
	struct rig rig, other;

	(void)state;
	rig_open(&rig, "ED25519");
	rig_open(&other, "ED25519");
	memcpy(rig.document->key_id.data, other.document->key_id.data, SHA256_SIZE);
	assert_int_equal(
		dsse_verify(cc_blob_view(&other.spki), DOC_JOB, rig.document), CC_BAD_SIGNATURE);
	rig_close(&other);
	rig_close(&rig);
}

static void no_document_is_malformed(void **state)
{
	(void)state;
	assert_int_equal(dsse_verify(CC_VIEW_NONE, DOC_JOB, NULL), CC_MALFORMED);
}

static void expect_bad_key(cc_view spki)
{
	EVP_PKEY *key = NULL;

	assert_int_equal(dsse_public_key(spki, &key), CC_BAD_KEY);
	assert_null(key);
}

static void keys_of_other_kinds_are_not_taken(void **state)
{
	EVP_PKEY *rsa = EVP_RSA_gen(2048), *p384 = EVP_EC_gen("P-384");
	EVP_PKEY *x25519 = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	EVP_PKEY *keys[] = {rsa, p384, x25519};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		Certq__SignedDocument *document = NULL;
		cc_blob spki = CC_BLOB_NONE;

		assert_int_equal(dsse_spki(keys[i], &spki), CC_OK);
		expect_bad_key(cc_blob_view(&spki));
		assert_int_equal(
			dsse_sign(keys[i], DOC_JOB, cc_view_text(body), &document), CC_BAD_KEY);
		cc_blob_free(&spki);
		EVP_PKEY_free(keys[i]);
	}
}

static void another_encoding_of_a_key_is_not_taken(void **state)
{
	struct rig rig;
	unsigned char *compressed = NULL;
	int size;

	(void)state;
	rig_open(&rig, "EC");
	cc_blob_append_byte(&rig.spki, 0);
	expect_bad_key(cc_blob_view(&rig.spki)); /* a byte after it */
	expect_bad_key(cc_view_part(cc_blob_view(&rig.spki), 0, 90));
	assert_int_equal(EVP_PKEY_set_utf8_string_param(
				 rig.key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed"),
		1);
	size = i2d_PUBKEY(rig.key, &compressed);
	assert_int_equal(size, 59);
	expect_bad_key(cc_view_of(compressed, (size_t)size));
	OPENSSL_free(compressed);
	rig_close(&rig);
}

static void a_point_off_the_curve_is_not_taken(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, "EC");
	rig.spki.data[90] ^= 1;
	expect_bad_key(cc_blob_view(&rig.spki));
	rig_close(&rig);
}

static void a_body_over_the_limit_is_neither_signed_nor_verified(void **state)
{
	Certq__SignedDocument *document = NULL;
	cc_blob large = cc_blob_new(DOC_BODY_MAX + 1);
	struct rig rig;

	(void)state;
	rig_open(&rig, "ED25519");
	assert_int_equal(
		dsse_sign(rig.key, DOC_JOB, cc_blob_view(&large), &document), CC_TOO_LARGE);
	Certq__SignedDocument hostile = *rig.document;
	hostile.body = codec_bytes(cc_blob_view(&large));
	assert_int_equal(dsse_verify(cc_blob_view(&rig.spki), DOC_JOB, &hostile), CC_TOO_LARGE);
	rig_close(&rig);
	cc_blob_free(&large);
}

/* RFC 8032 section 7.1, the secret key of test 1. */
static const char fixed_secret[] =
	"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

static void the_golden_signature_stays_the_same(void **state)
{
	static const char expected[] =
		"b560c6487aeaa2cfb16038a8e4e7de613202875bdfe9e991115b2d8a6675a437"
		"fb3451724f948981668eba1ccc49b951a819c940b8a12f75e6d0a1220bccbd09";
	Certq__SignedDocument *document = NULL;
	cc_blob secret = CC_BLOB_NONE;
	EVP_PKEY *key;
	char *hex;

	(void)state;
	assert_int_equal(text_from_hex(cc_view_text(fixed_secret), &secret), CC_OK);
	key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret.data, secret.size);
	assert_non_null(key);
	assert_int_equal(dsse_sign(key, DOC_JOB, cc_view_text("hello"), &document), CC_OK);
	hex = text_hex_new(codec_view(document->signature));
	assert_string_equal(hex, expected);
	free(hex);
	codec_free(document);
	cc_blob_free(&secret);
	EVP_PKEY_free(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ed25519_signature_verifies),
		cmocka_unit_test(a_p256_signature_verifies),
		cmocka_unit_test(the_type_is_part_of_what_is_signed),
		cmocka_unit_test(an_altered_body_does_not_verify),
		cmocka_unit_test(an_altered_or_cut_signature_does_not_verify),
		cmocka_unit_test(another_key_is_unknown),
		cmocka_unit_test(a_key_id_that_names_another_key_does_not_help),
		cmocka_unit_test(no_document_is_malformed),
		cmocka_unit_test(keys_of_other_kinds_are_not_taken),
		cmocka_unit_test(another_encoding_of_a_key_is_not_taken),
		cmocka_unit_test(a_point_off_the_curve_is_not_taken),
		cmocka_unit_test(a_body_over_the_limit_is_neither_signed_nor_verified),
		cmocka_unit_test(the_golden_signature_stays_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
