/*
 * Imported records at a real keyvault process: every padding, passwords of one byte a character, and
 * bad files.  A bad file is refused with its reason, costs nothing, and the process goes on serving.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/role.h"
#include "keyvault/pfx.h"
#include "keyvault/sealer.h"
#include "proto/codec.h"
#include "proto/job.h"
#include "tests/support/fixture_vault.h"
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PASSWORD "correct horse"
#define POLICY   "rewrap: {purposes: [smimeEncryption], seals: [cms-auth], unbound_records: check}"
#define SHA512   CERTQ__PADDING__PADDING_OAEP_SHA512

static struct fixture_vault vault;
static EVP_PKEY *device, *key, *other_key;
static cc_blob device_spki, decrypt_spki;
static X509 *leaf;
static unsigned jobs;

static void add_email(X509 *certificate, void *arg)
{
	X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, arg);

	assert_non_null(san);
	assert_int_equal(X509_add_ext(certificate, san, -1), 1);
	X509_EXTENSION_free(san);
}

static X509 *make_leaf(void)
{
	static char san[] = "email:alice@contoso.com";
	X509_REQ *request = X509_REQ_new();
	uint8_t *der = NULL;
	const uint8_t *at;
	X509 *x;

	assert_int_equal(X509_REQ_set_pubkey(request, key), 1);
	assert_true(X509_REQ_sign(request, key, EVP_sha256()) > 0);
	int size = i2d_X509_REQ(request, &der);
	cc_blob made = fixture_ca_issue(
		&vault.ca, cc_view_of(der, (size_t)size), "emailProtection", 86400, add_email, san);
	at = made.data;
	x = d2i_X509(NULL, &at, (long)made.size);
	assert_non_null(x);
	cc_blob_free(&made);
	OPENSSL_free(der);
	X509_REQ_free(request);
	return x;
}

static int open_vault(void **state)
{
	(void)state;
	fixture_vault_prepare(&vault, keyvault_role_main);
	free(vault.policy);
	vault.policy = fixture_vault_policy(POLICY);
	fixture_vault_start(&vault);
	device = fixture_key("ec-p256");
	device_spki = fixture_spki(device);
	key = fixture_key("ec-p256");
	other_key = fixture_key("ec-p256");
	leaf = make_leaf();
	decrypt_spki = cc_blob_copy(cc_blob_view(&vault.decrypt_spki));
	return 0;
}

static int close_vault(void **state)
{
	(void)state;
	fixture_vault_clear(&vault);
	EVP_PKEY_free(device);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other_key);
	X509_free(leaf);
	cc_blob_free(&device_spki);
	cc_blob_free(&decrypt_spki);
	return 0;
}

/* ---- records as somebody else makes them: OpenSSL alone, empty label ---- */

static cc_blob encrypt(Certq__Padding padding, cc_view password)
{
	const EVP_MD *digest = padding == SHA512                                ? EVP_sha512()
			       : padding == CERTQ__PADDING__PADDING_OAEP_SHA384 ? EVP_sha384()
										: EVP_sha256();
	const uint8_t *at = decrypt_spki.data;
	EVP_PKEY *to = d2i_PUBKEY(NULL, &at, (long)decrypt_spki.size);
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(to, NULL);
	size_t size = (size_t)EVP_PKEY_get_size(to);
	cc_blob out = cc_blob_new(size);

	assert_int_equal(EVP_PKEY_encrypt_init(c), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md(c, digest), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md(c, digest), 1);
	assert_int_equal(EVP_PKEY_encrypt(c, out.data, &size, password.data, password.size), 1);
	EVP_PKEY_CTX_free(c);
	EVP_PKEY_free(to);
	return out;
}

/* A job for this file and password; `claimed` is the padding that the job names. */
static Vault__VaultAnswer *deliver(
	cc_view pfx, cc_view password, Certq__Padding padding, Certq__Padding claimed)
{
	struct fixture_job job;
	char *name = cc_asprintf("imported-%u", jobs++);
	cc_blob encrypted = encrypt(padding, password);
	Vault__VaultAnswer *answer;

	fixture_rewrap(&job, &vault.tenant, name, pfx, cc_blob_view(&device_spki));
	job.rewrap.binding = 0;
	job.rewrap.padding = claimed;
	fixture_rewrap_add(&job, cc_blob_view(&vault.decrypt_id), cc_blob_view(&encrypted));
	answer = fixture_vault_rewrap(&vault, &job, pfx, cc_blob_view(&encrypted));
	cc_blob_free(&encrypted);
	free(name);
	return answer;
}

static void expect_delivered(cc_view pfx, cc_view password, Certq__Padding padding)
{
	Vault__VaultAnswer *answer = deliver(pfx, password, padding, padding);
	Certq__ResultDocument *result = NULL;
	cc_secret opened = CC_SECRET_NONE;

	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
	assert_int_equal(codec_decode_document(&certq__result_document__descriptor,
				 codec_view(answer->result->result->body), 65536, &result),
		CC_OK);
	assert_int_equal(sealer_open(device, result->seal,
				 codec_view(answer->result->sealed_password), &opened),
		CC_OK);
	assert_true(cc_view_equal(cc_secret_view(&opened), password)); /* the very bytes */
	cc_secret_free(&opened);
	codec_free(result);
	codec_free(answer);
}

static void expect_refused(cc_view pfx, Certq__Padding padding, Certq__Padding claimed)
{
	Vault__VaultAnswer *answer = deliver(pfx, cc_view_text(PASSWORD), padding, claimed);

	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_REFUSED);
	assert_true(text_equal(codec_view(answer->code), "password_unusable"));
	assert_int_equal(answer->detail.len, 0); /* the reason stays in the local log */
	assert_null(answer->result);
	codec_free(answer);
}

/* ---- files ---- */

static cc_blob der_of(PKCS12 *p12)
{
	uint8_t *der = NULL;
	int size = i2d_PKCS12(p12, &der);
	cc_blob out;

	assert_true(size > 0);
	out = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	PKCS12_free(p12);
	return out;
}

static PKCS12 *file_with(const char *password, EVP_PKEY *k, X509 *x, STACK_OF(X509) * more)
{
	PKCS12 *p12 = PKCS12_create(
		password, NULL, k, x, more, NID_aes_256_cbc, NID_aes_256_cbc, 2048, 2048, 0);

	assert_non_null(p12);
	return p12;
}

static cc_blob good(void)
{
	return der_of(file_with(PASSWORD, key, leaf, NULL));
}

static X509_SIG *shroud(EVP_PKEY *k, X509_ALGOR *replaced)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(k);
	X509_SIG *sealed = PKCS8_encrypt(
		-1, EVP_aes_256_cbc(), PASSWORD, (int)strlen(PASSWORD), NULL, 0, 2048, info);
	X509_ALGOR *own = NULL;

	assert_non_null(sealed);
	X509_SIG_getm(sealed, &own, NULL);
	if (replaced)
		assert_int_equal(X509_ALGOR_copy(own, replaced), 1);
	X509_ALGOR_free(replaced);
	PKCS8_PRIV_KEY_INFO_free(info);
	return sealed;
}

/* Of bags; `replaced` (may be NULL) is what the encrypted part then claims to be encrypted with. */
static cc_blob file_of(STACK_OF(PKCS12_SAFEBAG) * bags, bool encrypted, X509_ALGOR *replaced)
{
	STACK_OF(PKCS7) *parts = NULL;
	PKCS12 *p12;

	assert_int_equal(PKCS12_add_safe(&parts, bags, encrypted ? NID_aes_256_cbc : -1, 2048,
				 encrypted ? PASSWORD : NULL),
		1);
	if (replaced) {
		PKCS7 *part = sk_PKCS7_value(parts, 0);

		assert_int_equal(
			X509_ALGOR_copy(part->d.encrypted->enc_data->algorithm, replaced), 1);
		X509_ALGOR_free(replaced);
	}
	p12 = PKCS12_add_safes(parts, 0);
	assert_int_equal(PKCS12_set_mac(p12, PASSWORD, -1, NULL, 8, 2048, EVP_sha256()), 1);
	sk_PKCS7_pop_free(parts, PKCS7_free);
	sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
	return der_of(p12);
}

static STACK_OF(PKCS12_SAFEBAG) * leaf_bags(void)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();

	sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create_cert(leaf));
	return bags;
}

static cc_blob encrypted_with(X509_ALGOR *algorithm)
{
	assert_non_null(algorithm);
	return file_of(leaf_bags(), true, algorithm);
}

static X509_ALGOR *algorithm_of(const char *oid)
{
	X509_ALGOR *a = X509_ALGOR_new();

	X509_ALGOR_set0(a, OBJ_txt2obj(oid, 1), V_ASN1_NULL, NULL);
	return a;
}

/* PBES2 with another key derivation function than it was made with. */
static X509_ALGOR *pbes2_with(int nid, const ASN1_ITEM *type, void *parameters)
{
	X509_ALGOR *a = PKCS5_pbe2_set(EVP_aes_256_cbc(), 2048, NULL, 0);
	PBE2PARAM *p = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), a->parameter);

	ASN1_OBJECT_free(p->keyfunc->algorithm);
	p->keyfunc->algorithm = OBJ_nid2obj(nid);
	if (parameters)
		assert_non_null(ASN1_TYPE_pack_sequence(type, parameters, &p->keyfunc->parameter));
	assert_non_null(ASN1_TYPE_pack_sequence(ASN1_ITEM_rptr(PBE2PARAM), p, &a->parameter));
	PBE2PARAM_free(p);
	return a;
}

static X509_ALGOR *scrypt(uint64_t n, uint64_t r, uint64_t p)
{
	SCRYPT_PARAMS *s = SCRYPT_PARAMS_new();
	X509_ALGOR *a;

	ASN1_OCTET_STRING_set(s->salt, (const uint8_t *)"saltsalt", 8);
	ASN1_INTEGER_set_uint64(s->costParameter, n);
	ASN1_INTEGER_set_uint64(s->blockSize, r);
	ASN1_INTEGER_set_uint64(s->parallelizationParameter, p);
	a = pbes2_with(NID_id_scrypt, ASN1_ITEM_rptr(SCRYPT_PARAMS), s);
	SCRYPT_PARAMS_free(s);
	return a;
}

static cc_blob empty(void)
{
	return CC_BLOB_NONE;
}

static cc_blob not_a_file(void)
{
	return cc_blob_copy(cc_view_text("-----BEGIN CERTIFICATE-----"));
}

static cc_blob cut_off(void)
{
	cc_blob pfx = good();

	pfx.size -= 100;
	return pfx;
}

static cc_blob followed_by(cc_view more)
{
	cc_blob pfx = good();

	cc_blob_append(&pfx, more);
	return pfx;
}

static cc_blob with_a_nul_behind(void)
{
	return followed_by(cc_view_of("", 1));
}

static cc_blob with_garbage_behind(void)
{
	return followed_by(cc_view_text("garbage"));
}

static cc_blob of_another_password(void)
{
	return der_of(file_with("another", key, leaf, NULL));
}

static cc_blob with_a_mac_of(const char *oid, long iterations)
{
	PKCS12 *p12 = file_with(PASSWORD, key, leaf, NULL);
	const X509_ALGOR *algorithm = NULL;
	const ASN1_INTEGER *count = NULL;

	PKCS12_get0_mac(NULL, &algorithm, NULL, &count, p12);
	if (oid)
		X509_ALGOR_set0(
			(X509_ALGOR *)(uintptr_t)algorithm, OBJ_txt2obj(oid, 1), V_ASN1_NULL, NULL);
	ASN1_INTEGER_set((ASN1_INTEGER *)(uintptr_t)count, iterations);
	return der_of(p12);
}

static cc_blob with_a_mac_that_takes_minutes(void)
{
	return with_a_mac_of(NULL, INT32_MAX);
}

static cc_blob with_an_unknown_mac(void)
{
	return with_a_mac_of("1.3.6.1.4.1.99999.1", 2048);
}

/* RFC 9579: the derivation is in the MAC's parameters, shaped like those of PBES2. */
static cc_blob with_pbmac1(void)
{
	PKCS12 *p12 = file_with(PASSWORD, key, leaf, NULL);
	X509_ALGOR *costly = PKCS5_pbe2_set(EVP_aes_256_cbc(), INT32_MAX, NULL, 0);
	const X509_ALGOR *algorithm = NULL;

	PKCS12_get0_mac(NULL, &algorithm, NULL, NULL, p12);
	assert_int_equal(X509_ALGOR_copy((X509_ALGOR *)(uintptr_t)algorithm, costly), 1);
	ASN1_OBJECT_free(((X509_ALGOR *)(uintptr_t)algorithm)->algorithm);
	((X509_ALGOR *)(uintptr_t)algorithm)->algorithm = OBJ_nid2obj(NID_pbmac1);
	X509_ALGOR_free(costly);
	return der_of(p12);
}

static cc_blob without_a_mac(void)
{
	return der_of(PKCS12_create(
		PASSWORD, NULL, key, leaf, NULL, NID_aes_256_cbc, NID_aes_256_cbc, 2048, -1, 0));
}

static cc_blob with_pbes2_that_takes_minutes(void)
{
	return encrypted_with(PKCS5_pbe2_set(EVP_aes_256_cbc(), INT32_MAX, NULL, 0));
}

static cc_blob with_pbes2_that_hides(void)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = leaf_bags();

	sk_PKCS12_SAFEBAG_push(
		bags, PKCS12_SAFEBAG_create0_pkcs8(
			      shroud(key, PKCS5_pbe2_set(EVP_aes_256_cbc(), INT32_MAX, NULL, 0))));
	return file_of(bags, true, NULL);
}

static cc_blob with_much_scrypt(void)
{
	return encrypted_with(scrypt(UINT64_C(1) << 40, 8, 1));
}

static cc_blob with_scrypt_that_overflows(void)
{
	return encrypted_with(scrypt(1 << 20, UINT64_C(1) << 44, UINT64_C(1) << 44));
}

static cc_blob with_an_unknown_encryption(void)
{
	return encrypted_with(algorithm_of("1.3.6.1.4.1.99999.2"));
}

static cc_blob with_an_unknown_derivation(void)
{
	return encrypted_with(pbes2_with(NID_md5, NULL, NULL));
}

static cc_blob with_a_thousand_bags(void)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
	uint8_t secret[8] = {0};

	for (int i = 0; i < 1000; i++)
		sk_PKCS12_SAFEBAG_push(
			bags, PKCS12_SAFEBAG_create_secret(
				      NID_pkcs9_challengePassword, V_ASN1_OCTET_STRING, secret, 8));
	return file_of(bags, false, NULL);
}

static cc_blob of_keys(EVP_PKEY *first, EVP_PKEY *second)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = leaf_bags();

	if (first)
		sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create0_pkcs8(shroud(first, NULL)));
	if (second)
		sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create0_pkcs8(shroud(second, NULL)));
	return file_of(bags, true, NULL);
}

static cc_blob of_another_key(void)
{
	return of_keys(other_key, NULL);
}

static cc_blob without_a_key(void)
{
	return of_keys(NULL, NULL);
}

static cc_blob of_two_keys(void)
{
	return of_keys(key, other_key);
}

static cc_blob over_96_kib(void)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = leaf_bags();
	uint8_t *secret = cc_alloc(PFX_MAX);

	sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create_secret(NID_pkcs9_challengePassword,
					     V_ASN1_OCTET_STRING, secret, PFX_MAX));
	sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create0_pkcs8(shroud(key, NULL)));
	free(secret);
	return file_of(bags, false, NULL);
}

static cc_blob with_a_chain_of_nine(void)
{
	STACK_OF(X509) *more = sk_X509_new_null();
	cc_blob pfx;

	for (int i = 0; i < PFX_CHAIN_MAX + 1; i++)
		sk_X509_push(more, vault.ca.certificate);
	pfx = der_of(file_with(PASSWORD, key, leaf, more));
	sk_X509_free(more);
	return pfx;
}

static const struct {
	cc_blob (*make)(void);
	cc_err err;
	const char *message; /* its beginning */
} bad[] = {
	{empty, CC_MALFORMED, "pfx: an empty file"},
	{not_a_file, CC_MALFORMED, "pfx: not a PKCS#12 file, or one that was cut off"},
	{cut_off, CC_MALFORMED, "pfx: not a PKCS#12 file, or one that was cut off"},
	{with_a_nul_behind, CC_MALFORMED, "pfx: 1 bytes behind the end of the file"},
	{with_garbage_behind, CC_MALFORMED, "pfx: 7 bytes behind the end of the file"},
	{over_96_kib, CC_TOO_LARGE, "pfx: "},
	{of_another_password, CC_PASSWORD, "pfx: the password does not fit its MAC"},
	{without_a_mac, CC_NOT_SUPPORTED, "pfx: without a MAC"},
	{with_an_unknown_mac, CC_NOT_SUPPORTED, "pfx: a MAC that is not known"},
	{with_pbmac1, CC_NOT_SUPPORTED, "pfx: a MAC by PBMAC1; export it with an HMAC"},
	{with_a_mac_that_takes_minutes, CC_TOO_LARGE, "pfx: more than 10000000 iterations"},
	{with_pbes2_that_takes_minutes, CC_TOO_LARGE, "pfx: more than 10000000 iterations"},
	{with_pbes2_that_hides, CC_TOO_LARGE, "pfx: more than 10000000 iterations"},
	{with_much_scrypt, CC_TOO_LARGE, "pfx: scrypt over 1048576 in sum"},
	{with_scrypt_that_overflows, CC_TOO_LARGE, "pfx: scrypt over 1048576 in sum"},
	{with_an_unknown_encryption, CC_NOT_SUPPORTED, "pfx: an encryption that is not known"},
	{with_an_unknown_derivation, CC_NOT_SUPPORTED, "pfx: a key derivation that is not known"},
	{with_a_thousand_bags, CC_TOO_LARGE, "pfx: more than 64 bags"},
	{without_a_key, CC_MISMATCH, "pfx: no private key"},
	{of_two_keys, CC_NOT_SUPPORTED, "pfx: more than one private key"},
	{of_another_key, CC_MISMATCH, "pfx: no certificate belongs to its key"},
	{with_a_chain_of_nine, CC_TOO_LARGE,
		"pfx: 9 certificates beside its own, at most 8 are taken"},
};

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void a_bad_file_is_refused_with_its_reason_before_it_costs_anything(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cc_blob pfx = bad[i].make();
		struct pfx_content content = {0};
		double began = seconds();
		cc_err err = pfx_open(cc_blob_view(&pfx), cc_view_text(PASSWORD), NULL, &content);

		if (err != bad[i].err ||
			strncmp(cc_err_detail(err), bad[i].message, strlen(bad[i].message)) != 0)
			fail_msg("file %zu: %s, not %s", i, cc_err_detail(err), bad[i].message);
		assert_true(seconds() - began < 2);
		assert_null(content.key);
		cc_blob_free(&pfx);
	}
}

static void the_keyvault_refuses_each_bad_file_and_goes_on_serving(void **state)
{
	cc_blob fine = good();
	pid_t pid = vault.pid;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cc_blob pfx = bad[i].make();

		expect_refused(cc_blob_view(&pfx), SHA512, SHA512);
		expect_delivered(cc_blob_view(&fine), cc_view_text(PASSWORD), SHA512);
		cc_blob_free(&pfx);
	}
	assert_int_equal(vault.pid, pid);
	cc_blob_free(&fine);
}

/* ---- paddings and passwords ---- */

static void every_padding_reaches_the_device_byte_for_byte(void **state)
{
	cc_blob pfx = good();

	(void)state;
	for (int p = CERTQ__PADDING__PADDING_OAEP_SHA256; p <= SHA512; p++)
		expect_delivered(cc_blob_view(&pfx), cc_view_text(PASSWORD), (Certq__Padding)p);
	cc_blob_free(&pfx);
}

static void a_padding_that_is_not_the_job_s_does_not_open(void **state)
{
	cc_blob pfx = good();

	(void)state;
	for (int p = CERTQ__PADDING__PADDING_OAEP_SHA256; p < SHA512; p++) {
		expect_refused(cc_blob_view(&pfx), (Certq__Padding)p, SHA512);
		expect_refused(cc_blob_view(&pfx), SHA512, (Certq__Padding)p);
	}
	cc_blob_free(&pfx);
}

/* "Grüße", of PBES2 and of 3DES: in the record 5 bytes, for PKCS#12 UTF-8 or UTF-16. */
static void a_password_is_one_byte_a_character(void **state)
{
	static const char utf8[] = "Gr\xc3\xbc\xc3\x9f"
				   "e";
	static const char latin1[] = "Gr\xfc\xdf"
				     "e";
	cc_blob modern = der_of(file_with(utf8, key, leaf, NULL));
	cc_blob compat = der_of(
		PKCS12_create(utf8, NULL, key, leaf, NULL, NID_pbe_WithSHA1And3_Key_TripleDES_CBC,
			NID_pbe_WithSHA1And3_Key_TripleDES_CBC, 2048, 2048, 0));

	(void)state;
	expect_delivered(cc_blob_view(&modern), cc_view_text(latin1), SHA512);
	expect_delivered(cc_blob_view(&compat), cc_view_text(latin1), SHA512);
	cc_blob_free(&modern);
	cc_blob_free(&compat);
}

static void a_record_without_a_binding_is_refused_where_policy_says_so(void **state)
{
	cc_blob pfx = good();
	Vault__VaultAnswer *answer;

	(void)state;
	free(vault.policy);
	vault.policy = fixture_vault_policy("rewrap: {purposes: [smimeEncryption], seals: "
					    "[cms-auth], unbound_records: refuse}");
	fixture_vault_reload(&vault);
	answer = deliver(cc_blob_view(&pfx), cc_view_text(PASSWORD), SHA512, SHA512);
	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_REFUSED);
	assert_true(text_equal(codec_view(answer->code), "policy_denied"));
	codec_free(answer);
	free(vault.policy);
	vault.policy = fixture_vault_policy(POLICY);
	fixture_vault_reload(&vault);
	expect_delivered(cc_blob_view(&pfx), cc_view_text(PASSWORD), SHA512);
	cc_blob_free(&pfx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bad_file_is_refused_with_its_reason_before_it_costs_anything),
		cmocka_unit_test(the_keyvault_refuses_each_bad_file_and_goes_on_serving),
		cmocka_unit_test(every_padding_reaches_the_device_byte_for_byte),
		cmocka_unit_test(a_padding_that_is_not_the_job_s_does_not_open),
		cmocka_unit_test(a_password_is_one_byte_a_character),
		cmocka_unit_test(a_record_without_a_binding_is_refused_where_policy_says_so),
	};

	return cmocka_run_group_tests(tests, open_vault, close_vault);
}
