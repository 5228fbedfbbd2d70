/*
 * Sealer: round trips with keys of all kinds and with the openssl program, hostile device keys, labels.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/text.h"
#include "keyvault/sealer.h"
#include "tests/support/fixture_ca.h"
#include "tests/support/fixture_jobs.h"
#include "tests/support/fixture_keys.h"
#include <openssl/cms.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CMS  CERTQ__SEAL__SEAL_CMS_AUTH
#define OAEP CERTQ__SEAL__SEAL_OAEP_SHA256

static const char password[] = "0123456789abcdefghijklmnopqrstuv";
static const char *const kinds[] = {"rsa-2048", "ec-p256", "ec-p384"};

/* ---- device keys ---- */

static cc_err take(cc_view spki)
{
	EVP_PKEY *key = NULL;
	cc_err err = sealer_device_key(spki, &key);

	EVP_PKEY_free(key);
	return err;
}

static cc_err take_key(EVP_PKEY *key)
{
	cc_blob spki = fixture_spki(key);
	cc_err err = take(cc_blob_view(&spki));

	cc_blob_free(&spki);
	EVP_PKEY_free(key);
	return err;
}

static void rsa_and_the_two_curves_are_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(take_key(fixture_key(kinds[i])), CC_OK);
}

static void other_kinds_of_keys_are_not_taken(void **state)
{
	(void)state;
	assert_int_equal(take_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")), CC_BAD_KEY);
	assert_int_equal(take_key(EVP_PKEY_Q_keygen(NULL, NULL, "X25519")), CC_BAD_KEY);
	assert_int_equal(take_key(EVP_EC_gen("P-521")), CC_BAD_KEY);
	assert_int_equal(take_key(EVP_EC_gen("secp256k1")), CC_BAD_KEY);
	assert_int_equal(take_key(EVP_RSA_gen(1024)), CC_BAD_KEY);
	assert_int_equal(take(CC_VIEW_NONE), CC_BAD_KEY);
	assert_int_equal(take(cc_view_text("not a key")), CC_BAD_KEY);
}

static void a_small_exponent_is_not_taken(void **state)
{
	(void)state;
	assert_int_equal(take_key(fixture_rsa_public(fixture_number(2048, true), fixture_word(1))),
		CC_BAD_KEY);
	assert_int_equal(take_key(fixture_rsa_public(fixture_number(2048, true), fixture_word(3))),
		CC_BAD_KEY);
	assert_int_equal(
		take_key(fixture_rsa_public(fixture_number(2048, true), fixture_word(65535))),
		CC_BAD_KEY);
	assert_int_equal(
		take_key(fixture_rsa_public(fixture_number(2048, true), fixture_word(65536))),
		CC_BAD_KEY);
	assert_int_equal(
		take_key(fixture_rsa_public(fixture_number(2048, true), fixture_word(65537))),
		CC_OK);
}

static void a_huge_exponent_is_not_taken(void **state)
{
	(void)state;
	assert_int_equal(
		take_key(fixture_rsa_public(fixture_number(2048, true), fixture_number(64, true))),
		CC_OK);
	assert_int_equal(
		take_key(fixture_rsa_public(fixture_number(2048, true), fixture_number(65, true))),
		CC_BAD_KEY);
	assert_int_equal(take_key(fixture_rsa_public(
				 fixture_number(2048, true), fixture_number(2000, true))),
		CC_BAD_KEY);
}

static void a_modulus_out_of_range_or_even_is_not_taken(void **state)
{
	(void)state;
	assert_int_equal(
		take_key(fixture_rsa_public(fixture_number(2047, true), fixture_word(65537))),
		CC_BAD_KEY);
	assert_int_equal(
		take_key(fixture_rsa_public(fixture_number(4096, true), fixture_word(65537))),
		CC_OK);
	assert_int_equal(
		take_key(fixture_rsa_public(fixture_number(4097, true), fixture_word(65537))),
		CC_BAD_KEY);
	assert_int_equal(
		take_key(fixture_rsa_public(fixture_number(16384, true), fixture_word(65537))),
		CC_BAD_KEY);
	assert_int_equal(
		take_key(fixture_rsa_public(fixture_number(2048, false), fixture_word(65537))),
		CC_BAD_KEY);
}

static void a_point_off_the_curve_is_not_taken(void **state)
{
	EVP_PKEY *key = fixture_key("ec-p256");
	cc_blob spki = fixture_spki(key);

	(void)state;
	spki.data[spki.size - 1] ^= 1;
	assert_int_equal(take(cc_blob_view(&spki)), CC_BAD_KEY);
	spki.data[spki.size - 1] ^= 1;
	assert_int_equal(take(cc_blob_view(&spki)), CC_OK);
	cc_blob_free(&spki);
	EVP_PKEY_free(key);
}

static void another_encoding_of_a_key_is_not_taken(void **state)
{
	EVP_PKEY *compressed = fixture_key("ec-p256"), *explicit_curve = fixture_key("ec-p256");
	EVP_PKEY *rsa = fixture_key("rsa-2048");
	cc_blob spki = fixture_spki(rsa);

	(void)state;
	assert_int_equal(EVP_PKEY_set_utf8_string_param(compressed,
				 OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed"),
		1);
	assert_int_equal(take_key(compressed), CC_BAD_KEY);
	assert_int_equal(EVP_PKEY_set_utf8_string_param(
				 explicit_curve, OSSL_PKEY_PARAM_EC_ENCODING, "explicit"),
		1);
	assert_int_equal(take_key(explicit_curve), CC_BAD_KEY);
	cc_blob_append_byte(&spki, 0);
	assert_int_equal(take(cc_blob_view(&spki)), CC_BAD_KEY);
	cc_blob_free(&spki);
	EVP_PKEY_free(rsa);
}

static void a_certificate_gives_its_key_and_spki(void **state)
{
	struct fixture_ca ca;
	EVP_PKEY *device = fixture_key("rsa-2048"), *key = NULL;
	cc_blob certificate, expected = fixture_spki(device), spki = CC_BLOB_NONE;

	(void)state;
	fixture_ca_make(&ca, "Devices");
	certificate = fixture_ca_device(&ca, device, "device-1");
	assert_int_equal(
		sealer_device_key_from_certificate(cc_blob_view(&certificate), &key, &spki), CC_OK);
	assert_true(cc_view_equal(cc_blob_view(&spki), cc_blob_view(&expected)));
	assert_int_equal(EVP_PKEY_eq(key, device), 1);
	EVP_PKEY_free(key);
	cc_blob_free(&spki);
	cc_blob_append_byte(&certificate, 0);
	assert_int_equal(
		sealer_device_key_from_certificate(cc_blob_view(&certificate), &key, &spki),
		CC_BAD_KEY);
	cc_blob_free(&expected);
	cc_blob_free(&certificate);
	EVP_PKEY_free(device);
	fixture_ca_clear(&ca);
}

/* ---- sealing ---- */

struct sealed {
	EVP_PKEY *device; /* private */
	EVP_PKEY *public_key;
	cc_blob bytes;
};

static void seal(struct sealed *s, const char *kind, Certq__Seal form)
{
	cc_blob spki;

	*s = (struct sealed){.device = fixture_key(kind)};
	spki = fixture_spki(s->device);
	assert_int_equal(sealer_device_key(cc_blob_view(&spki), &s->public_key), CC_OK);
	assert_int_equal(
		sealer_seal(s->public_key, form, cc_view_text(password), &s->bytes), CC_OK);
	cc_blob_free(&spki);
}

static cc_err open_sealed(const struct sealed *s, Certq__Seal form)
{
	cc_secret plain = CC_SECRET_NONE;
	cc_err err = sealer_open(s->device, form, cc_blob_view(&s->bytes), &plain);

	if (err == CC_OK)
		assert_true(cc_view_equal_secret(cc_secret_view(&plain), cc_view_text(password)));
	else
		assert_null(plain.data);
	cc_secret_free(&plain);
	return err;
}

static void sealed_free(struct sealed *s)
{
	cc_blob_free(&s->bytes);
	EVP_PKEY_free(s->public_key);
	EVP_PKEY_free(s->device);
}

static void cms_opens_with_every_kind_of_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct sealed s;

		seal(&s, kinds[i], CMS);
		assert_int_equal(open_sealed(&s, CMS), CC_OK);
		sealed_free(&s);
	}
}

static void raw_oaep_opens_and_has_the_size_of_the_key(void **state)
{
	struct sealed s;

	(void)state;
	seal(&s, "rsa-2048", OAEP);
	assert_int_equal(s.bytes.size, 256);
	assert_int_equal(open_sealed(&s, OAEP), CC_OK);
	assert_int_equal(open_sealed(&s, CMS), CC_PASSWORD);
	sealed_free(&s);
}

static void the_cms_recipient_is_named_by_the_key_s_identifier(void **state)
{
	struct sealed s;
	cc_blob spki;
	uint8_t ski[SEALER_SKI_SIZE];
	const uint8_t *at;
	CMS_ContentInfo *cms;
	CMS_RecipientInfo *info;
	ASN1_OCTET_STRING *id = NULL;
	X509_NAME *issuer = NULL;

	(void)state;
	seal(&s, "rsa-2048", CMS);
	spki = fixture_spki(s.device);
	assert_int_equal(sealer_ski(cc_blob_view(&spki), ski), CC_OK);
	at = s.bytes.data;
	cms = d2i_CMS_ContentInfo(NULL, &at, (long)s.bytes.size);
	assert_int_equal(OBJ_obj2nid(CMS_get0_type(cms)), NID_id_smime_ct_authEnvelopedData);
	info = sk_CMS_RecipientInfo_value(CMS_get0_RecipientInfos(cms), 0);
	assert_int_equal(CMS_RecipientInfo_ktri_get0_signer_id(info, &id, &issuer, NULL), 1);
	assert_null(issuer);
	assert_memory_equal(ASN1_STRING_get0_data(id), ski, SEALER_SKI_SIZE);
	CMS_ContentInfo_free(cms);
	cc_blob_free(&spki);
	sealed_free(&s);
}

static char *path_in(const char *dir, const char *name)
{
	return cc_asprintf("%s/%s", dir, name);
}

static void run_openssl(const char *sealed, const char *key, const char *plain)
{
	char *const argv[] = {cc_strdup("openssl"), cc_strdup("cms"), cc_strdup("-decrypt"),
		cc_strdup("-binary"), cc_strdup("-inform"), cc_strdup("DER"), cc_strdup("-in"),
		cc_strdup(sealed), cc_strdup("-inkey"), cc_strdup(key), cc_strdup("-out"),
		cc_strdup(plain), NULL};
	pid_t pid = 0;
	int status = -1;

	assert_int_equal(posix_spawnp(&pid, "openssl", NULL, NULL, argv, environ), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (size_t i = 0; argv[i]; i++)
		free(argv[i]);
}

static void opens_with_the_openssl_program(const char *kind)
{
	char dir[] = "/tmp/sealer-XXXXXX";
	char *key_path, *cms_path, *out_path;
	struct sealed s;
	cc_blob plain = CC_BLOB_NONE;
	FILE *file;

	assert_non_null(mkdtemp(dir));
	key_path = path_in(dir, "key.pem");
	cms_path = path_in(dir, "sealed.der");
	out_path = path_in(dir, "plain");
	seal(&s, kind, CMS);
	file = fopen(key_path, "w");
	assert_non_null(file);
	assert_int_equal(PEM_write_PrivateKey(file, s.device, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
	assert_int_equal(file_write_atomic(cms_path, cc_blob_view(&s.bytes), 0600), CC_OK);
	run_openssl(cms_path, key_path, out_path);
	assert_int_equal(file_read(out_path, FILE_ANY, 1024, &plain), CC_OK);
	assert_true(text_equal(cc_blob_view(&plain), password));
	unlink(key_path);
	unlink(cms_path);
	unlink(out_path);
	rmdir(dir);
	cc_blob_free(&plain);
	free(key_path);
	free(cms_path);
	free(out_path);
	sealed_free(&s);
}

static void the_openssl_program_opens_cms_with_the_bare_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++)
		opens_with_the_openssl_program(kinds[i]);
}

static void another_key_does_not_open_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct sealed s;

		seal(&s, kinds[i], CMS);
		EVP_PKEY_free(s.device);
		s.device = fixture_key(kinds[i]);
		assert_int_equal(open_sealed(&s, CMS), CC_PASSWORD);
		EVP_PKEY_free(s.device);
		s.device = fixture_key(kinds[(i + 1) % 3]);
		assert_int_equal(open_sealed(&s, CMS), CC_PASSWORD);
		sealed_free(&s);
	}
}

/* At the end stand 32 bytes of ciphertext and the tag of 16, each behind two of DER. */
static void every_altered_byte_of_the_content_is_noticed(void **state)
{
	struct sealed s;

	(void)state;
	seal(&s, "ec-p256", CMS);
	for (size_t i = s.bytes.size - 52; i < s.bytes.size; i++) {
		s.bytes.data[i] ^= 1;
		assert_int_equal(open_sealed(&s, CMS), CC_PASSWORD);
		s.bytes.data[i] ^= 1;
	}
	assert_int_equal(open_sealed(&s, CMS), CC_OK);
	sealed_free(&s);
}

static void what_is_cut_or_longer_does_not_open(void **state)
{
	struct sealed s;

	(void)state;
	seal(&s, "rsa-2048", CMS);
	s.bytes.size--;
	assert_int_equal(open_sealed(&s, CMS), CC_PASSWORD);
	s.bytes.size++;
	cc_blob_append_byte(&s.bytes, 0);
	assert_int_equal(open_sealed(&s, CMS), CC_PASSWORD);
	s.bytes.size = 0;
	assert_int_equal(open_sealed(&s, CMS), CC_PASSWORD);
	sealed_free(&s);
}

/* CBC under the right key: it would decrypt, but nothing says that nobody changed it. */
static void cms_without_authentication_does_not_open(void **state)
{
	struct fixture_ca ca;
	struct sealed s = {.device = fixture_key("rsa-2048")};
	cc_blob der;
	const uint8_t *at;
	STACK_OF(X509) *to = sk_X509_new_null();
	BIO *in = BIO_new_mem_buf(password, -1);
	CMS_ContentInfo *cms;
	unsigned char *encoded = NULL;
	int size;

	(void)state;
	fixture_ca_make(&ca, "Devices");
	der = fixture_ca_device(&ca, s.device, "device-1");
	at = der.data;
	sk_X509_push(to, d2i_X509(NULL, &at, (long)der.size));
	cms = CMS_encrypt(to, in, EVP_aes_256_cbc(), CMS_BINARY);
	size = i2d_CMS_ContentInfo(cms, &encoded);
	assert_true(size > 0);
	s.bytes = cc_blob_copy(cc_view_of(encoded, (size_t)size));
	assert_int_equal(open_sealed(&s, CMS), CC_PASSWORD);
	OPENSSL_free(encoded);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	sk_X509_pop_free(to, X509_free);
	cc_blob_free(&der);
	fixture_ca_clear(&ca);
	sealed_free(&s);
}

static void forms_that_do_not_fit_are_refused(void **state)
{
	EVP_PKEY *ec = fixture_key("ec-p256"), *rsa = fixture_key("rsa-2048");
	cc_blob bytes = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(sealer_check_form(ec, OAEP), CC_BAD_KEY);
	assert_int_equal(sealer_seal(ec, OAEP, cc_view_text(password), &bytes), CC_BAD_KEY);
	assert_int_equal(sealer_check_form(ec, CERTQ__SEAL__SEAL_WINDOWS), CC_BAD_KEY);
	assert_int_equal(
		sealer_seal(rsa, CERTQ__SEAL__SEAL_WINDOWS, cc_view_text(password), &bytes),
		CC_BAD_KEY);
	assert_non_null(strstr(cc_err_detail(CC_BAD_KEY), "needs the device's certificate"));
	assert_int_equal(
		sealer_seal(rsa, CERTQ__SEAL__SEAL_UNSPECIFIED, cc_view_text(password), &bytes),
		CC_NOT_SUPPORTED);
	assert_int_equal(sealer_seal(rsa, CMS, CC_VIEW_NONE, &bytes), CC_MALFORMED);
	assert_null(bytes.data);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(rsa);
}

/* ---- imported passwords ---- */

static const Certq__Padding paddings[] = {CERTQ__PADDING__PADDING_OAEP_SHA256,
	CERTQ__PADDING__PADDING_OAEP_SHA384, CERTQ__PADDING__PADDING_OAEP_SHA512};

static cc_err decrypt(
	EVP_PKEY *key, Certq__Padding padding, cc_view label, const cc_blob *encrypted)
{
	cc_secret plain = CC_SECRET_NONE;
	cc_err err = sealer_password_decrypt(key, padding, label, cc_blob_view(encrypted), &plain);

	if (err == CC_OK)
		assert_true(cc_view_equal_secret(cc_secret_view(&plain), cc_view_text(password)));
	cc_secret_free(&plain);
	return err;
}

static void an_imported_password_opens_with_its_padding_only(void **state)
{
	EVP_PKEY *key = fixture_key("rsa-2048");

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		cc_blob encrypted = CC_BLOB_NONE;

		assert_int_equal(sealer_password_encrypt(key, paddings[i], CC_VIEW_NONE,
					 cc_view_text(password), &encrypted),
			CC_OK);
		for (size_t j = 0; j < 3; j++)
			assert_int_equal(decrypt(key, paddings[j], CC_VIEW_NONE, &encrypted),
				i == j ? CC_OK : CC_PASSWORD);
		cc_blob_free(&encrypted);
	}
	EVP_PKEY_free(key);
}

static void another_label_does_not_open_it(void **state)
{
	EVP_PKEY *key = fixture_key("rsa-2048");
	cc_blob encrypted = CC_BLOB_NONE;
	cc_view label = cc_view_text("the label of alice"),
		other = cc_view_text("the label of mallory");

	(void)state;
	assert_int_equal(sealer_password_encrypt(
				 key, paddings[2], label, cc_view_text(password), &encrypted),
		CC_OK);
	assert_int_equal(decrypt(key, paddings[2], label, &encrypted), CC_OK);
	assert_int_equal(decrypt(key, paddings[2], other, &encrypted), CC_PASSWORD);
	assert_int_equal(decrypt(key, paddings[2], CC_VIEW_NONE, &encrypted), CC_PASSWORD);
	cc_blob_free(&encrypted);
	EVP_PKEY_free(key);
}

static void pkcs1_padding_is_not_decrypted(void **state)
{
	EVP_PKEY *key = fixture_key("rsa-2048");
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	cc_blob encrypted = cc_blob_new(256);

	(void)state;
	assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
	/* without a word OpenSSL pads as PKCS#1 v1.5 */
	assert_int_equal(EVP_PKEY_encrypt(ctx, encrypted.data, &encrypted.size,
				 (const uint8_t *)password, strlen(password)),
		1);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(decrypt(key, paddings[i], CC_VIEW_NONE, &encrypted), CC_PASSWORD);
	assert_int_equal(
		decrypt(key, CERTQ__PADDING__PADDING_UNSPECIFIED, CC_VIEW_NONE, &encrypted),
		CC_PASSWORD);
	cc_blob_free(&encrypted);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
}

static void ciphertexts_of_another_size_or_content_fail_alike(void **state)
{
	EVP_PKEY *key = fixture_key("rsa-2048"), *ec = fixture_key("ec-p256");
	cc_blob garbage = cc_blob_new(256);

	(void)state;
	assert_int_equal(decrypt(key, paddings[0], CC_VIEW_NONE, &garbage), CC_PASSWORD);
	memset(garbage.data, 0xff, garbage.size);
	assert_int_equal(decrypt(key, paddings[0], CC_VIEW_NONE, &garbage), CC_PASSWORD);
	garbage.size = 255;
	assert_int_equal(decrypt(key, paddings[0], CC_VIEW_NONE, &garbage), CC_PASSWORD);
	garbage.size = 0;
	assert_int_equal(decrypt(key, paddings[0], CC_VIEW_NONE, &garbage), CC_PASSWORD);
	garbage.size = 256;
	assert_int_equal(decrypt(ec, paddings[0], CC_VIEW_NONE, &garbage), CC_PASSWORD);
	cc_blob_free(&garbage);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(key);
}

static void the_longest_password_is_what_the_padding_leaves(void **state)
{
	EVP_PKEY *key = fixture_key("rsa-2048");
	cc_blob longest = cc_blob_new(127), encrypted = CC_BLOB_NONE;

	(void)state;
	memset(longest.data, 'x', longest.size);
	assert_int_equal(sealer_password_encrypt(key, paddings[2], CC_VIEW_NONE,
				 cc_view_of(longest.data, 126), &encrypted),
		CC_OK);
	cc_blob_free(&encrypted);
	assert_int_equal(sealer_password_encrypt(key, paddings[2], CC_VIEW_NONE,
				 cc_blob_view(&longest), &encrypted),
		CC_TOO_LARGE);
	cc_blob_free(&longest);
	EVP_PKEY_free(key);
}

static void a_weak_or_foreign_recipient_is_refused(void **state)
{
	EVP_PKEY *weak = fixture_key("rsa-1024"), *ec = fixture_key("ec-p256");
	cc_blob encrypted = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(sealer_password_encrypt(
				 weak, paddings[0], CC_VIEW_NONE, cc_view_text("pw"), &encrypted),
		CC_BAD_KEY);
	assert_int_equal(sealer_password_encrypt(
				 ec, paddings[0], CC_VIEW_NONE, cc_view_text("pw"), &encrypted),
		CC_BAD_KEY);
	EVP_PKEY_free(weak);
	EVP_PKEY_free(ec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rsa_and_the_two_curves_are_taken),
		cmocka_unit_test(other_kinds_of_keys_are_not_taken),
		cmocka_unit_test(a_small_exponent_is_not_taken),
		cmocka_unit_test(a_huge_exponent_is_not_taken),
		cmocka_unit_test(a_modulus_out_of_range_or_even_is_not_taken),
		cmocka_unit_test(a_point_off_the_curve_is_not_taken),
		cmocka_unit_test(another_encoding_of_a_key_is_not_taken),
		cmocka_unit_test(a_certificate_gives_its_key_and_spki),
		cmocka_unit_test(cms_opens_with_every_kind_of_key),
		cmocka_unit_test(raw_oaep_opens_and_has_the_size_of_the_key),
		cmocka_unit_test(the_cms_recipient_is_named_by_the_key_s_identifier),
		cmocka_unit_test(the_openssl_program_opens_cms_with_the_bare_key),
		cmocka_unit_test(another_key_does_not_open_it),
		cmocka_unit_test(every_altered_byte_of_the_content_is_noticed),
		cmocka_unit_test(what_is_cut_or_longer_does_not_open),
		cmocka_unit_test(cms_without_authentication_does_not_open),
		cmocka_unit_test(forms_that_do_not_fit_are_refused),
		cmocka_unit_test(an_imported_password_opens_with_its_padding_only),
		cmocka_unit_test(another_label_does_not_open_it),
		cmocka_unit_test(pkcs1_padding_is_not_decrypted),
		cmocka_unit_test(ciphertexts_of_another_size_or_content_fail_alike),
		cmocka_unit_test(the_longest_password_is_what_the_padding_leaves),
		cmocka_unit_test(a_weak_or_foreign_recipient_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
