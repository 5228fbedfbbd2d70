/*
 * Keys with numbers of the test's choice, and encodings that a careless reader would take.
 */
#include "tests/support/fixture_keys.h"
#include "tests/support/fixture_jobs.h"
#include <openssl/core_names.h>
#include <openssl/dsa.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "fixture: %s:%d: %s\n", __FILE__, __LINE__, #condition);   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

BIGNUM *fixture_number(int bits, bool odd)
{
	BIGNUM *n = BN_new();

	NEED(n && BN_rand(n, bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD) == 1);
	if (!odd)
		NEED(BN_sub_word(n, 1) == 1);
	return n;
}

BIGNUM *fixture_word(unsigned long value)
{
	BIGNUM *n = BN_new();

	NEED(n && BN_set_word(n, value) == 1);
	return n;
}

EVP_PKEY *fixture_rsa_public(BIGNUM *n, BIGNUM *e)
{
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *key = NULL;
	OSSL_PARAM *params;

	NEED(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1);
	NEED(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1);
	params = OSSL_PARAM_BLD_to_param(build);
	NEED(EVP_PKEY_fromdata_init(ctx) == 1);
	NEED(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(ctx);
	BN_free(n);
	BN_free(e);
	return key;
}

static EVP_PKEY *dsa_key(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "DSA", NULL);
	EVP_PKEY *params = NULL, *key = NULL;
	EVP_PKEY_CTX *from = NULL;

	NEED(EVP_PKEY_paramgen_init(ctx) == 1 &&
		EVP_PKEY_CTX_set_dsa_paramgen_bits(ctx, 1024) == 1 &&
		EVP_PKEY_paramgen(ctx, &params) == 1);
	from = EVP_PKEY_CTX_new_from_pkey(NULL, params, NULL);
	NEED(EVP_PKEY_keygen_init(from) == 1 && EVP_PKEY_keygen(from, &key) == 1);
	EVP_PKEY_CTX_free(from);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(params);
	return key;
}

static EVP_PKEY *ec_encoded(const char *parameter, const char *value)
{
	EVP_PKEY *key = fixture_key("ec-p256");

	NEED(EVP_PKEY_set_utf8_string_param(key, parameter, value) == 1);
	return key;
}

static EVP_PKEY *bad_rsa(const char *name)
{
	if (strcmp(name, "rsa-1024") == 0)
		return fixture_key("rsa-1024");
	if (strcmp(name, "rsa-16384") == 0)
		return fixture_rsa_public(fixture_number(16384, true), fixture_word(65537));
	if (strcmp(name, "rsa-e-1") == 0)
		return fixture_rsa_public(fixture_number(2048, true), fixture_word(1));
	if (strcmp(name, "rsa-e-even") == 0)
		return fixture_rsa_public(fixture_number(2048, true), fixture_word(65538));
	if (strcmp(name, "rsa-n-even") == 0)
		return fixture_rsa_public(fixture_number(2048, false), fixture_word(65537));
	if (strcmp(name, "rsa-pss") == 0) {
		EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
		EVP_PKEY *key = NULL;

		NEED(EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_keygen(ctx, &key) == 1);
		EVP_PKEY_CTX_free(ctx);
		return key;
	}
	return NULL;
}

static EVP_PKEY *bad_key(const char *name)
{
	EVP_PKEY *key = bad_rsa(name);

	if (key)
		return key;
	if (strcmp(name, "dsa") == 0)
		return dsa_key();
	if (strcmp(name, "ed25519") == 0)
		return fixture_key("ed25519");
	if (strcmp(name, "p-224") == 0)
		return EVP_EC_gen("P-224");
	if (strcmp(name, "p-521") == 0)
		return EVP_EC_gen("P-521");
	if (strcmp(name, "secp256k1") == 0)
		return EVP_EC_gen("secp256k1");
	if (strcmp(name, "compressed") == 0)
		return ec_encoded(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed");
	if (strcmp(name, "explicit") == 0)
		return ec_encoded(OSSL_PKEY_PARAM_EC_ENCODING, "explicit");
	return fixture_key("ec-p256"); /* its encoding is spoilt afterwards */
}

/* P-256 with the one octet 0 in place of a point. */
static const uint8_t infinity[] = {0x30, 0x19, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d,
	0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x02, 0x00,
	0x00};

cc_blob fixture_bad_spki(const char *name)
{
	EVP_PKEY *key = bad_key(name);

	NEED(key != NULL);
	cc_blob spki = fixture_spki(key);
	EVP_PKEY_free(key);
	if (strcmp(name, "off-curve") == 0)
		spki.data[spki.size - 1] ^= 1;
	if (strcmp(name, "trailing") == 0)
		cc_blob_append_byte(&spki, 0);
	if (strcmp(name, "infinity") == 0) {
		cc_blob_free(&spki);
		spki = cc_blob_copy(cc_view_of(infinity, sizeof(infinity)));
	}
	if (strcmp(name, "empty-sequence") == 0) {
		cc_blob_free(&spki);
		spki = cc_blob_copy(cc_view_of("\x30\x00", 2));
	}
	return spki;
}
