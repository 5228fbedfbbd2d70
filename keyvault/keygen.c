/*
 * Key generation.  nettle's RSA numbers go to OpenSSL through buffers that are wiped; GMP's allocator is
 * replaced before its first use, since nettle leaves primes in what it frees.
 */
#include "keyvault/keygen.h"
#include "base/hash.h"
#include "base/text.h"

#include <gmp.h>
#include <nettle/rsa.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define EXPONENT   65537u
#define NUMBER_MAX 512u /* bytes of the largest number, a 4096 bit modulus */
#define NUMBERS    8
#define PKCS8_MAX  (16u * 1024u)

/* ---- memory ---- */

static void *gmp_alloc(size_t size)
{
	return cc_alloc(size);
}

static void gmp_free(void *block, size_t size)
{
	if (block)
		OPENSSL_cleanse(block, size);
	free(block);
}

static void *gmp_realloc(void *block, size_t old_size, size_t new_size)
{
	void *moved = cc_alloc(new_size);

	if (block)
		memcpy(moved, block, old_size < new_size ? old_size : new_size);
	gmp_free(block, old_size);
	return moved;
}

static void set_allocator(void)
{
	mp_set_memory_functions(gmp_alloc, gmp_realloc, gmp_free);
}

static void set_allocator_once(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (pthread_once(&once, set_allocator) != 0)
		cc_die("keygen: pthread_once");
}

/* ---- RSA ---- */

static void draw(void *ctx, size_t length, uint8_t *to)
{
	(void)ctx;
	random_secret(to, length);
}

/* OpenSSL and importers expect p > q; nettle does not say. */
static void order_primes(struct rsa_private_key *key)
{
	if (mpz_cmp(key->p, key->q) >= 0)
		return;
	mpz_swap(key->p, key->q);
	mpz_swap(key->a, key->b);
	(void)mpz_invert(key->c, key->q, key->p);
}

/* One parameter in the machine's byte order, which is what OSSL_PARAM wants (little endian here and on
 * every port of Debian that this is built for; mpz_export's "native" follows the machine). */
static OSSL_PARAM number(const char *name, const mpz_t value, cc_secret *room)
{
	size_t offset = room->size, size = (mpz_sizeinbase(value, 2) + 7) / 8, count = 0;
	static const uint16_t probe = 1;
	int order = *(const uint8_t *)&probe ? -1 : 1;

	room->size += size;
	(void)mpz_export(room->data + offset, &count, order, 1, 0, 0, value);
	return OSSL_PARAM_construct_BN(name, room->data + offset, size);
}

static cc_err to_openssl(
	const struct rsa_public_key *public_half, const struct rsa_private_key *key, EVP_PKEY **ret)
{
	cc_secret room = cc_secret_new(NUMBERS * NUMBER_MAX);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM params[NUMBERS + 1];
	cc_err err = CC_OK;
	size_t whole = room.size;

	room.size = 0; /* filled from the start; the room stays reserved */
	params[0] = number(OSSL_PKEY_PARAM_RSA_N, public_half->n, &room);
	params[1] = number(OSSL_PKEY_PARAM_RSA_E, public_half->e, &room);
	params[2] = number(OSSL_PKEY_PARAM_RSA_D, key->d, &room);
	params[3] = number(OSSL_PKEY_PARAM_RSA_FACTOR1, key->p, &room);
	params[4] = number(OSSL_PKEY_PARAM_RSA_FACTOR2, key->q, &room);
	params[5] = number(OSSL_PKEY_PARAM_RSA_EXPONENT1, key->a, &room);
	params[6] = number(OSSL_PKEY_PARAM_RSA_EXPONENT2, key->b, &room);
	params[7] = number(OSSL_PKEY_PARAM_RSA_COEFFICIENT1, key->c, &room);
	params[8] = OSSL_PARAM_construct_end();
	ENSURE(ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
			EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_KEYPAIR, params) == 1,
		cc_fail_openssl("RSA key"));
out:
	room.size = whole;
	EVP_PKEY_CTX_free(ctx);
	cc_secret_free(&room);
	return err;
}

static cc_err check_pair(EVP_PKEY *key)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	cc_err err = CC_OK;

	ENSURE(ctx && EVP_PKEY_pairwise_check(ctx) == 1,
		cc_fail_openssl("pairwise check of a new key"));
out:
	EVP_PKEY_CTX_free(ctx);
	return err;
}

cc_err keygen_make_rsa(uint32_t bits, EVP_PKEY **ret)
{
	struct rsa_public_key public_half;
	struct rsa_private_key private_half;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	if (bits != 2048 && bits != 3072 && bits != 4096)
		return cc_fail(CC_NOT_SUPPORTED, "RSA of %u bits", bits);
	set_allocator_once();
	rsa_public_key_init(&public_half);
	rsa_private_key_init(&private_half);
	mpz_set_ui(public_half.e, EXPONENT);
	ENSURE(rsa_generate_keypair(&public_half, &private_half, NULL, draw, NULL, NULL, bits, 0) ==
			1,
		cc_fail(CC_CRYPTO, "RSA key generation failed"));
	order_primes(&private_half);
	TRY(to_openssl(&public_half, &private_half, &key));
	TRY(check_pair(key));
	*ret = key;
	key = NULL;
out:
	EVP_PKEY_free(key);
	rsa_private_key_clear(&private_half);
	rsa_public_key_clear(&public_half);
	return err;
}

/* ---- other kinds ---- */

static cc_err make_by_openssl(const char *algorithm, const char *curve, EVP_PKEY **ret)
{
	EVP_PKEY *key = curve ? EVP_PKEY_Q_keygen(NULL, NULL, algorithm, curve)
			      : EVP_PKEY_Q_keygen(NULL, NULL, algorithm);
	cc_err err = CC_OK;

	ENSURE(key, cc_fail_openssl("key generation"));
	TRY(check_pair(key));
	*ret = key;
	key = NULL;
out:
	EVP_PKEY_free(key);
	return err;
}

static const struct {
	Certq__KeyType type;
	const char *name;
} type_names[] = {
	{CERTQ__KEY_TYPE__KEY_RSA_2048, "rsa-2048"},
	{CERTQ__KEY_TYPE__KEY_RSA_3072, "rsa-3072"},
	{CERTQ__KEY_TYPE__KEY_RSA_4096, "rsa-4096"},
	{CERTQ__KEY_TYPE__KEY_EC_P256, "ec-p256"},
	{CERTQ__KEY_TYPE__KEY_EC_P384, "ec-p384"},
};

#define TYPE_COUNT (sizeof(type_names) / sizeof(type_names[0]))

const char *keygen_type_name(Certq__KeyType type)
{
	for (size_t i = 0; i < TYPE_COUNT; i++)
		if (type_names[i].type == type)
			return type_names[i].name;
	return NULL;
}

Certq__KeyType keygen_type_of(cc_view name)
{
	for (size_t i = 0; i < TYPE_COUNT; i++)
		if (text_equal(name, type_names[i].name))
			return type_names[i].type;
	return CERTQ__KEY_TYPE__KEY_UNSPECIFIED;
}

cc_err keygen_make(Certq__KeyType type, EVP_PKEY **ret)
{
	switch (type) {
	case CERTQ__KEY_TYPE__KEY_RSA_2048:
		return keygen_make_rsa(2048, ret);
	case CERTQ__KEY_TYPE__KEY_RSA_3072:
		return keygen_make_rsa(3072, ret);
	case CERTQ__KEY_TYPE__KEY_RSA_4096:
		return keygen_make_rsa(4096, ret);
	case CERTQ__KEY_TYPE__KEY_EC_P256:
		return make_by_openssl("EC", "P-256", ret);
	case CERTQ__KEY_TYPE__KEY_EC_P384:
		return make_by_openssl("EC", "P-384", ret);
	default:
		return cc_fail(CC_NOT_SUPPORTED, "key type %d", (int)type);
	}
}

cc_err keygen_make_ed25519(EVP_PKEY **ret)
{
	return make_by_openssl("ED25519", NULL, ret);
}

/* ---- PKCS#8 ---- */

cc_err keygen_export(const EVP_PKEY *key, cc_secret *ret)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
	int size = info ? i2d_PKCS8_PRIV_KEY_INFO(info, NULL) : 0;
	unsigned char *at;
	cc_err err = CC_OK;

	ENSURE(size > 0, cc_fail_openssl("export a key"));
	*ret = cc_secret_new((size_t)size);
	at = ret->data;
	(void)i2d_PKCS8_PRIV_KEY_INFO(info, &at);
out:
	PKCS8_PRIV_KEY_INFO_free(info);
	return err;
}

cc_err keygen_import(cc_view pkcs8, EVP_PKEY **ret)
{
	const uint8_t *at = pkcs8.data;
	PKCS8_PRIV_KEY_INFO *info = NULL;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	ENSURE(pkcs8.size > 0 && pkcs8.size <= PKCS8_MAX,
		cc_fail(CC_MALFORMED, "not a private key"));
	info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)pkcs8.size);
	key = info && at == pkcs8.data + pkcs8.size ? EVP_PKCS82PKEY(info) : NULL;
	if (!key) {
		cc_ignore(cc_fail_openssl("private key"), "drains the queue; the class is ours");
		err = cc_fail(CC_MALFORMED, "not a private key in PKCS#8");
		goto out;
	}
	*ret = key;
out:
	PKCS8_PRIV_KEY_INFO_free(info);
	return err;
}
