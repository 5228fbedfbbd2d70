/*
 * PFX: what is packed opens again, and what would cost or confuse us is refused before it does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "keyvault/pfx.h"
#include "tests/support/fixture_ca.h"
#include "tests/support/fixture_jobs.h"
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <stdlib.h>
#include <string.h>

#define MODERN CERTQ__PFX_PROFILE__PFX_MODERN
#define COMPAT CERTQ__PFX_PROFILE__PFX_COMPAT

struct rig {
	struct fixture_ca ca;
	EVP_PKEY *key;
	X509 *leaf;
	STACK_OF(X509) * chain;
	cc_secret password;
} rig;

static int rig_open(void **state)
{
	cc_blob der;
	const uint8_t *at;

	(void)state;
	fixture_ca_make(&rig.ca, "Test CA");
	rig.key = fixture_key("rsa-2048");
	der = fixture_ca_device(&rig.ca, rig.key, "alice");
	at = der.data;
	rig.leaf = d2i_X509(NULL, &at, (long)der.size);
	rig.chain = sk_X509_new_null();
	assert_true(sk_X509_push(rig.chain, rig.ca.certificate) > 0);
	rig.password = pfx_password_new();
	cc_blob_free(&der);
	return 0;
}

static int rig_close(void **state)
{
	(void)state;
	cc_secret_free(&rig.password);
	sk_X509_free(rig.chain);
	X509_free(rig.leaf);
	EVP_PKEY_free(rig.key);
	fixture_ca_clear(&rig.ca);
	return 0;
}

static cc_blob pack(Certq__PfxProfile profile, uint32_t iterations)
{
	cc_blob pfx = CC_BLOB_NONE;

	assert_int_equal(
		pfx_pack(rig.key, rig.leaf, rig.chain, &rig.password, profile, iterations, &pfx),
		CC_OK);
	return pfx;
}

static cc_err open_with(cc_view pfx, cc_view password)
{
	struct pfx_content content = {0};
	cc_err err = pfx_open(pfx, password, NULL, &content);

	pfx_content_clear(&content);
	return err;
}

static void a_password_has_32_letters_and_digits_and_is_never_the_same(void **state)
{
	cc_secret other = pfx_password_new();

	(void)state;
	assert_int_equal(rig.password.size, 32);
	for (size_t i = 0; i < 32; i++)
		assert_true((rig.password.data[i] >= '0' && rig.password.data[i] <= '9') ||
			    (rig.password.data[i] >= 'A' && rig.password.data[i] <= 'Z') ||
			    (rig.password.data[i] >= 'a' && rig.password.data[i] <= 'z'));
	assert_false(cc_view_equal_secret(cc_secret_view(&rig.password), cc_secret_view(&other)));
	cc_secret_free(&other);
}

static void every_character_occurs_about_equally_often(void **state)
{
	unsigned counts[256] = {0};

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		cc_secret password = pfx_password_new();

		for (size_t j = 0; j < password.size; j++)
			counts[password.data[j]]++;
		cc_secret_free(&password);
	}
	/* 16000 draws of 62: 258 expected, sigma 16 */
	for (unsigned c = 0; c < 256; c++)
		if (counts[c] > 0)
			assert_in_range(counts[c], 258 - 7 * 16, 258 + 7 * 16);
}

static void opens_as_packed(Certq__PfxProfile profile)
{
	cc_blob pfx = pack(profile, PFX_ITERATIONS);
	struct pfx_content content = {0};

	assert_int_equal(
		pfx_open(cc_blob_view(&pfx), cc_secret_view(&rig.password), NULL, &content), CC_OK);
	assert_int_equal(EVP_PKEY_eq(content.key, rig.key), 1);
	assert_int_equal(X509_cmp(content.leaf, rig.leaf), 0);
	assert_int_equal(sk_X509_num(content.others), 1);
	assert_int_equal(X509_cmp(sk_X509_value(content.others, 0), rig.ca.certificate), 0);
	pfx_content_clear(&content);
	cc_blob_free(&pfx);
}

static void a_modern_file_opens_as_it_was_packed(void **state)
{
	(void)state;
	opens_as_packed(MODERN);
}

static void a_compat_file_opens_as_it_was_packed(void **state)
{
	(void)state;
	opens_as_packed(COMPAT);
}

static void a_file_without_a_chain_opens(void **state)
{
	cc_blob pfx = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(
		pfx_pack(rig.key, rig.leaf, NULL, &rig.password, MODERN, 2048, &pfx), CC_OK);
	assert_int_equal(open_with(cc_blob_view(&pfx), cc_secret_view(&rig.password)), CC_OK);
	cc_blob_free(&pfx);
}

static void expect_mac(Certq__PfxProfile profile, int nid)
{
	cc_blob pfx = pack(profile, 2048);
	const uint8_t *at = pfx.data;
	PKCS12 *p12 = d2i_PKCS12(NULL, &at, (long)pfx.size);
	const ASN1_OCTET_STRING *salt = NULL;
	const X509_ALGOR *algorithm = NULL;
	const ASN1_INTEGER *iterations = NULL;

	assert_non_null(p12);
	PKCS12_get0_mac(NULL, &algorithm, &salt, &iterations, p12);
	assert_int_equal(ASN1_STRING_length(salt), 8);
	assert_int_equal(ASN1_INTEGER_get(iterations), 2048);
	assert_int_equal(OBJ_obj2nid(algorithm->algorithm), nid);
	PKCS12_free(p12);
	cc_blob_free(&pfx);
}

static void the_mac_has_an_8_byte_salt_and_the_profile_s_digest(void **state)
{
	(void)state;
	expect_mac(MODERN, NID_sha256);
	expect_mac(COMPAT, NID_sha1);
}

static void openssl_s_own_reader_opens_both_profiles(void **state)
{
	(void)state;
	for (int profile = MODERN; profile <= COMPAT; profile++) {
		cc_blob pfx = pack((Certq__PfxProfile)profile, 2048);
		const uint8_t *at = pfx.data;
		PKCS12 *p12 = d2i_PKCS12(NULL, &at, (long)pfx.size);
		char *password = cc_strndup(cc_secret_view(&rig.password));
		EVP_PKEY *key = NULL;
		X509 *leaf = NULL;

		assert_int_equal(PKCS12_parse(p12, password, &key, &leaf, NULL), 1);
		assert_int_equal(EVP_PKEY_eq(key, rig.key), 1);
		EVP_PKEY_free(key);
		X509_free(leaf);
		free(password);
		PKCS12_free(p12);
		cc_blob_free(&pfx);
	}
}

static void another_password_does_not_open_it(void **state)
{
	cc_blob pfx = pack(MODERN, 2048);

	(void)state;
	assert_int_equal(open_with(cc_blob_view(&pfx), cc_view_text("wrong")), CC_PASSWORD);
	assert_int_equal(open_with(cc_blob_view(&pfx), CC_VIEW_NONE), CC_PASSWORD);
	cc_blob_free(&pfx);
}

static void a_password_with_a_nul_is_malformed(void **state)
{
	cc_blob pfx = pack(MODERN, 2048);

	(void)state;
	assert_int_equal(open_with(cc_blob_view(&pfx), cc_view_of("a\0b", 3)), CC_MALFORMED);
	cc_blob_free(&pfx);
}

static void an_altered_file_does_not_open(void **state)
{
	cc_blob pfx = pack(MODERN, 2048);

	(void)state;
	for (size_t i = 60; i < pfx.size; i += 97) {
		pfx.data[i] ^= 1;
		assert_int_not_equal(
			open_with(cc_blob_view(&pfx), cc_secret_view(&rig.password)), CC_OK);
		pfx.data[i] ^= 1;
	}
	cc_blob_free(&pfx);
}

static void a_key_of_another_certificate_is_not_packed(void **state)
{
	EVP_PKEY *other = fixture_key("rsa-2048");
	cc_blob pfx = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(
		pfx_pack(other, rig.leaf, NULL, &rig.password, MODERN, 2048, &pfx), CC_MISMATCH);
	assert_null(pfx.data);
	EVP_PKEY_free(other);
}

static void no_profile_or_no_iterations_is_not_supported(void **state)
{
	cc_blob pfx = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(pfx_pack(rig.key, rig.leaf, NULL, &rig.password,
				 CERTQ__PFX_PROFILE__PFX_UNSPECIFIED, 2048, &pfx),
		CC_NOT_SUPPORTED);
	assert_int_equal(pfx_pack(rig.key, rig.leaf, NULL, &rig.password, MODERN, 0, &pfx),
		CC_NOT_SUPPORTED);
}

static void what_is_not_pkcs12_is_malformed(void **state)
{
	cc_blob pfx = pack(MODERN, 2048);

	(void)state;
	assert_int_equal(pfx_inspect(CC_VIEW_NONE, NULL), CC_MALFORMED);
	assert_int_equal(pfx_inspect(cc_view_text("not a file"), NULL), CC_MALFORMED);
	assert_int_equal(
		pfx_inspect(cc_view_part(cc_blob_view(&pfx), 0, pfx.size - 1), NULL), CC_MALFORMED);
	cc_blob_append_byte(&pfx, 0);
	assert_int_equal(pfx_inspect(cc_blob_view(&pfx), NULL), CC_MALFORMED);
	cc_blob_free(&pfx);
}

static void a_file_over_96_kib_is_too_large(void **state)
{
	cc_blob large = cc_blob_new(PFX_MAX + 1);

	(void)state;
	assert_int_equal(pfx_inspect(cc_blob_view(&large), NULL), CC_TOO_LARGE);
	cc_blob_free(&large);
}

static void inspection_counts_without_the_password(void **state)
{
	cc_blob pfx = pack(MODERN, 3000);
	struct pfx_facts facts = {0};

	(void)state;
	assert_int_equal(pfx_inspect(cc_blob_view(&pfx), &facts), CC_OK);
	assert_int_equal(facts.iterations, 3 * 3000);
	assert_int_equal(facts.bags, 1);
	assert_int_equal(facts.scrypt, 0);
	cc_blob_free(&pfx);
}

/* Overwrites each DER INTEGER 70000 with 8388607. */
static unsigned raise_iterations(cc_blob *pfx)
{
	static const uint8_t from[] = {0x02, 0x03, 0x01, 0x11, 0x70}, to[] = {0x7f, 0xff, 0xff};
	unsigned count = 0;

	for (size_t i = 0; i + sizeof(from) <= pfx->size; i++)
		if (memcmp(pfx->data + i, from, sizeof(from)) == 0) {
			memcpy(pfx->data + i + 2, to, sizeof(to));
			count++;
		}
	return count;
}

static void too_many_iterations_in_sum_are_refused_before_any_is_done(void **state)
{
	cc_blob pfx = pack(MODERN, 70000);

	(void)state;
	assert_int_equal(raise_iterations(&pfx), 3);
	assert_int_equal(pfx_inspect(cc_blob_view(&pfx), NULL), CC_TOO_LARGE);
	assert_int_equal(
		open_with(cc_blob_view(&pfx), cc_secret_view(&rig.password)), CC_TOO_LARGE);
	cc_blob_free(&pfx);
}

static cc_blob der_of(PKCS12 *p12)
{
	unsigned char *der = NULL;
	int size = i2d_PKCS12(p12, &der);
	cc_blob out;

	assert_true(size > 0);
	out = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	return out;
}

/* A file from safe contents, MAC set under the password "pw". */
static cc_blob file_of(STACK_OF(PKCS12_SAFEBAG) * bags, int pbe)
{
	STACK_OF(PKCS7) *safes = NULL;
	PKCS12 *p12;
	cc_blob out;

	assert_int_equal(PKCS12_add_safe(&safes, bags, pbe, 2048, "pw"), 1);
	p12 = PKCS12_add_safes(safes, 0);
	assert_int_equal(PKCS12_set_mac(p12, "pw", -1, NULL, 8, 2048, EVP_sha256()), 1);
	out = der_of(p12);
	PKCS12_free(p12);
	sk_PKCS7_pop_free(safes, PKCS7_free);
	sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
	return out;
}

static X509_SIG *shrouded(void)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(rig.key);
	X509_SIG *sealed = PKCS8_encrypt(-1, EVP_aes_256_cbc(), "pw", 2, NULL, 0, 2048, info);

	assert_non_null(sealed);
	PKCS8_PRIV_KEY_INFO_free(info);
	return sealed;
}

/* Claims so many iterations; nothing in it decrypts. */
static X509_SIG *expensive(int iterations)
{
	X509_SIG *sealed = shrouded();
	X509_ALGOR *claimed = PKCS5_pbe2_set(EVP_aes_256_cbc(), iterations, NULL, 0), *own = NULL;

	assert_non_null(claimed);
	X509_SIG_getm(sealed, &own, NULL);
	assert_int_equal(X509_ALGOR_copy(own, claimed), 1);
	X509_ALGOR_free(claimed);
	return sealed;
}

static void iterations_that_hide_behind_the_encryption_are_counted_too(void **state)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
	struct pfx_facts facts = {0};
	cc_blob pfx;

	(void)state;
	sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create0_pkcs8(expensive(INT32_MAX)));
	pfx = file_of(bags, NID_aes_256_cbc);
	assert_int_equal(pfx_inspect(cc_blob_view(&pfx), &facts), CC_OK);
	assert_int_equal(facts.iterations, 2 * 2048);
	assert_int_equal(open_with(cc_blob_view(&pfx), cc_view_text("pw")), CC_TOO_LARGE);
	cc_blob_free(&pfx);
}

static void more_than_64_bags_are_refused(void **state)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
	cc_blob pfx;

	(void)state;
	for (int i = 0; i < 65; i++)
		sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create_cert(rig.ca.certificate));
	pfx = file_of(bags, -1);
	assert_int_equal(pfx_inspect(cc_blob_view(&pfx), NULL), CC_TOO_LARGE);
	cc_blob_free(&pfx);
}

static void two_private_keys_are_not_supported(void **state)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
	cc_blob pfx;

	(void)state;
	for (int i = 0; i < 2; i++)
		sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create0_pkcs8(shrouded()));
	pfx = file_of(bags, -1);
	assert_int_equal(open_with(cc_blob_view(&pfx), cc_view_text("pw")), CC_NOT_SUPPORTED);
	cc_blob_free(&pfx);
}

static void a_key_without_its_certificate_does_not_belong(void **state)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
	cc_blob pfx;

	(void)state;
	sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create0_pkcs8(shrouded()));
	sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create_cert(rig.ca.certificate));
	pfx = file_of(bags, -1);
	assert_int_equal(open_with(cc_blob_view(&pfx), cc_view_text("pw")), CC_MISMATCH);
	cc_blob_free(&pfx);
}

static void a_certificate_without_a_key_does_not_belong(void **state)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
	cc_blob pfx;

	(void)state;
	sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create_cert(rig.leaf));
	pfx = file_of(bags, NID_aes_256_cbc);
	assert_int_equal(open_with(cc_blob_view(&pfx), cc_view_text("pw")), CC_MISMATCH);
	cc_blob_free(&pfx);
}

static void a_file_without_a_mac_is_not_supported(void **state)
{
	PKCS12 *p12 = PKCS12_create(
		"pw", NULL, rig.key, rig.leaf, NULL, NID_aes_256_cbc, NID_aes_256_cbc, 2048, -1, 0);
	cc_blob pfx = der_of(p12);

	(void)state;
	assert_int_equal(open_with(cc_blob_view(&pfx), cc_view_text("pw")), CC_NOT_SUPPORTED);
	cc_blob_free(&pfx);
	PKCS12_free(p12);
}

/* RC2-40 as an old exporter writes it; made in a library context with the legacy provider. */
static cc_blob legacy_file(void)
{
	OSSL_LIB_CTX *library = OSSL_LIB_CTX_new();
	OSSL_PROVIDER *normal = OSSL_PROVIDER_load(library, "default");
	OSSL_PROVIDER *legacy = OSSL_PROVIDER_load(library, "legacy");
	PKCS12 *p12 = PKCS12_create_ex("pw", NULL, rig.key, rig.leaf, NULL,
		NID_pbe_WithSHA1And3_Key_TripleDES_CBC, NID_pbe_WithSHA1And40BitRC2_CBC, 2000, 2000,
		0, library, NULL);
	cc_blob out;

	assert_non_null(legacy);
	assert_non_null(p12);
	out = der_of(p12);
	PKCS12_free(p12);
	OSSL_PROVIDER_unload(legacy);
	OSSL_PROVIDER_unload(normal);
	OSSL_LIB_CTX_free(library);
	return out;
}

static void rc2_is_read_only_where_it_was_asked_for(void **state)
{
	cc_blob pfx = legacy_file();
	struct pfx_legacy *legacy = NULL;
	struct pfx_content content = {0};

	(void)state;
	assert_int_equal(pfx_inspect(cc_blob_view(&pfx), NULL), CC_OK);
	assert_int_equal(open_with(cc_blob_view(&pfx), cc_view_text("pw")), CC_NOT_SUPPORTED);
	assert_int_equal(pfx_legacy_load(&legacy), CC_OK);
	assert_int_equal(pfx_open(cc_blob_view(&pfx), cc_view_text("pw"), legacy, &content), CC_OK);
	assert_int_equal(EVP_PKEY_eq(content.key, rig.key), 1);
	pfx_legacy_free(legacy);
	pfx_content_clear(&content);
	cc_blob_free(&pfx);
}

static void an_empty_password_opens_a_file_that_has_none(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		PKCS12 *p12 = PKCS12_create(i == 0 ? "" : NULL, NULL, rig.key, rig.leaf, NULL,
			NID_pbe_WithSHA1And3_Key_TripleDES_CBC,
			NID_pbe_WithSHA1And3_Key_TripleDES_CBC, 2048, 2048, 0);
		cc_blob pfx = der_of(p12);

		assert_int_equal(open_with(cc_blob_view(&pfx), CC_VIEW_NONE), CC_OK);
		cc_blob_free(&pfx);
		PKCS12_free(p12);
	}
}

static void scrypt_is_bounded(void **state)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(rig.key);
	STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
	X509_ALGOR *algorithm =
		PKCS5_pbe2_set_scrypt(EVP_aes_256_cbc(), NULL, 0, NULL, 16384, 8, 1);
	X509_SIG *sealed = PKCS8_set0_pbe("pw", 2, info, algorithm);
	struct pfx_facts facts = {0};
	cc_blob pfx;

	(void)state;
	assert_non_null(sealed);
	sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create0_pkcs8(sealed));
	pfx = file_of(bags, -1);
	assert_int_equal(pfx_inspect(cc_blob_view(&pfx), &facts), CC_OK);
	assert_int_equal(facts.scrypt, 16384 * 8);
	/* N = 16384 is 02 02 40 00; block size 8 is 02 01 08 after it: make it 127 */
	static const uint8_t from[] = {0x02, 0x02, 0x40, 0x00, 0x02, 0x01, 0x08};
	for (size_t i = 0; i + sizeof(from) <= pfx.size; i++)
		if (memcmp(pfx.data + i, from, sizeof(from)) == 0)
			pfx.data[i + 6] = 0x7f;
	assert_int_equal(pfx_inspect(cc_blob_view(&pfx), NULL), CC_TOO_LARGE);
	cc_blob_free(&pfx);
	PKCS8_PRIV_KEY_INFO_free(info);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_password_has_32_letters_and_digits_and_is_never_the_same),
		cmocka_unit_test(every_character_occurs_about_equally_often),
		cmocka_unit_test(a_modern_file_opens_as_it_was_packed),
		cmocka_unit_test(a_compat_file_opens_as_it_was_packed),
		cmocka_unit_test(a_file_without_a_chain_opens),
		cmocka_unit_test(the_mac_has_an_8_byte_salt_and_the_profile_s_digest),
		cmocka_unit_test(openssl_s_own_reader_opens_both_profiles),
		cmocka_unit_test(another_password_does_not_open_it),
		cmocka_unit_test(a_password_with_a_nul_is_malformed),
		cmocka_unit_test(an_altered_file_does_not_open),
		cmocka_unit_test(a_key_of_another_certificate_is_not_packed),
		cmocka_unit_test(no_profile_or_no_iterations_is_not_supported),
		cmocka_unit_test(what_is_not_pkcs12_is_malformed),
		cmocka_unit_test(a_file_over_96_kib_is_too_large),
		cmocka_unit_test(inspection_counts_without_the_password),
		cmocka_unit_test(too_many_iterations_in_sum_are_refused_before_any_is_done),
		cmocka_unit_test(iterations_that_hide_behind_the_encryption_are_counted_too),
		cmocka_unit_test(more_than_64_bags_are_refused),
		cmocka_unit_test(two_private_keys_are_not_supported),
		cmocka_unit_test(a_key_without_its_certificate_does_not_belong),
		cmocka_unit_test(a_certificate_without_a_key_does_not_belong),
		cmocka_unit_test(a_file_without_a_mac_is_not_supported),
		cmocka_unit_test(rc2_is_read_only_where_it_was_asked_for),
		cmocka_unit_test(an_empty_password_opens_a_file_that_has_none),
		cmocka_unit_test(scrypt_is_bounded),
	};

	return cmocka_run_group_tests(tests, rig_open, rig_close);
}
