/*
 * Keygen: keys of every kind are whole and fresh, also from several threads at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "keyvault/keygen.h"
#include "keyvault/sealer.h"
#include "tests/support/fixture_jobs.h"
#include <gmp.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>

static EVP_PKEY *make(Certq__KeyType type)
{
	EVP_PKEY *key = NULL;

	assert_int_equal(keygen_make(type, &key), CC_OK);
	return key;
}

static void expect_whole(EVP_PKEY *key)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	cc_blob spki = fixture_spki(key);
	EVP_PKEY *taken = NULL;

	assert_int_equal(EVP_PKEY_check(ctx), 1);
	assert_int_equal(sealer_device_key(cc_blob_view(&spki), &taken), CC_OK);
	EVP_PKEY_free(taken);
	cc_blob_free(&spki);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
}

static void rsa_keys_have_their_size_and_are_valid(void **state)
{
	static const Certq__KeyType types[] = {CERTQ__KEY_TYPE__KEY_RSA_2048,
		CERTQ__KEY_TYPE__KEY_RSA_3072, CERTQ__KEY_TYPE__KEY_RSA_4096};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		EVP_PKEY *key = make(types[i]);

		assert_int_equal(EVP_PKEY_get_bits(key), 2048 + 1024 * (int)i);
		expect_whole(key);
	}
}

static void ec_keys_are_on_their_curve(void **state)
{
	EVP_PKEY *p256 = make(CERTQ__KEY_TYPE__KEY_EC_P256),
		 *p384 = make(CERTQ__KEY_TYPE__KEY_EC_P384);

	(void)state;
	assert_int_equal(EVP_PKEY_get_bits(p256), 256);
	assert_int_equal(EVP_PKEY_get_bits(p384), 384);
	expect_whole(p256);
	expect_whole(p384);
}

static void the_first_prime_is_the_larger_one(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++) {
		EVP_PKEY *key = make(CERTQ__KEY_TYPE__KEY_RSA_2048);
		BIGNUM *p = NULL, *q = NULL;

		assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR1, &p), 1);
		assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR2, &q), 1);
		assert_true(BN_cmp(p, q) > 0);
		BN_free(p);
		BN_free(q);
		expect_whole(key);
	}
}

static void a_key_is_never_the_same(void **state)
{
	EVP_PKEY *one = make(CERTQ__KEY_TYPE__KEY_RSA_2048),
		 *two = make(CERTQ__KEY_TYPE__KEY_RSA_2048);

	(void)state;
	assert_int_equal(EVP_PKEY_eq(one, two), 0);
	ERR_clear_error();
	EVP_PKEY_free(one);
	EVP_PKEY_free(two);
}

static void other_types_are_not_supported(void **state)
{
	EVP_PKEY *key = NULL;

	(void)state;
	assert_int_equal(keygen_make(CERTQ__KEY_TYPE__KEY_UNSPECIFIED, &key), CC_NOT_SUPPORTED);
	assert_int_equal(keygen_make((Certq__KeyType)6, &key), CC_NOT_SUPPORTED);
	assert_int_equal(keygen_make_rsa(1024, &key), CC_NOT_SUPPORTED);
	assert_int_equal(keygen_make_rsa(16384, &key), CC_NOT_SUPPORTED);
	assert_null(key);
}

static void an_ed25519_key_is_made(void **state)
{
	EVP_PKEY *key = NULL;

	(void)state;
	assert_int_equal(keygen_make_ed25519(&key), CC_OK);
	assert_int_equal(EVP_PKEY_get_id(key), EVP_PKEY_ED25519);
	EVP_PKEY_free(key);
}

static void a_key_is_exported_and_imported_again(void **state)
{
	(void)state;
	for (int type = CERTQ__KEY_TYPE__KEY_RSA_2048; type <= CERTQ__KEY_TYPE__KEY_EC_P384;
		type++) {
		EVP_PKEY *key = make((Certq__KeyType)type), *again = NULL;
		cc_secret pkcs8 = CC_SECRET_NONE;

		assert_int_equal(keygen_export(key, &pkcs8), CC_OK);
		assert_int_equal(keygen_import(cc_secret_view(&pkcs8), &again), CC_OK);
		assert_int_equal(EVP_PKEY_eq(key, again), 1);
		EVP_PKEY_free(again);
		EVP_PKEY_free(key);
		again = NULL;
		cc_secret_resize(&pkcs8, pkcs8.size - 1);
		assert_int_equal(keygen_import(cc_secret_view(&pkcs8), &again), CC_MALFORMED);
		assert_null(again);
		cc_secret_free(&pkcs8);
	}
}

static void names_and_types_belong_together(void **state)
{
	(void)state;
	assert_string_equal(keygen_type_name(CERTQ__KEY_TYPE__KEY_EC_P256), "ec-p256");
	assert_null(keygen_type_name(CERTQ__KEY_TYPE__KEY_UNSPECIFIED));
	assert_int_equal(keygen_type_of(cc_view_text("rsa-3072")), CERTQ__KEY_TYPE__KEY_RSA_3072);
	assert_int_equal(keygen_type_of(cc_view_text("dsa")), CERTQ__KEY_TYPE__KEY_UNSPECIFIED);
}

static void *make_in_thread(void *arg)
{
	EVP_PKEY **slot = arg;

	return keygen_make_rsa(2048, slot) == CC_OK ? slot : NULL;
}

static void several_threads_make_keys_at_once(void **state)
{
	pthread_t threads[4];
	EVP_PKEY *keys[4] = {NULL};

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_in_thread, &keys[i]), 0);
	for (size_t i = 0; i < 4; i++) {
		void *done = NULL;

		assert_int_equal(pthread_join(threads[i], &done), 0);
		assert_non_null(done);
		expect_whole(keys[i]);
	}
}

static void gmp_s_allocator_is_ours_and_grows_and_shrinks(void **state)
{
	void *(*allocate)(size_t) = NULL;
	void *(*reallocate)(void *, size_t, size_t) = NULL;
	void (*release)(void *, size_t) = NULL;
	mpz_t number;

	(void)state;
	EVP_PKEY_free(make(CERTQ__KEY_TYPE__KEY_RSA_2048));
	mp_get_memory_functions(&allocate, &reallocate, &release);
	assert_true(release != NULL && (void (*)(void *))(uintptr_t)release != free);
	mpz_init_set_ui(number, 7);
	mpz_pow_ui(number, number, 5000);
	mpz_set_ui(number, 7);
	mpz_realloc2(number, 64);
	assert_int_equal(mpz_get_ui(number), 7);
	mpz_clear(number);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rsa_keys_have_their_size_and_are_valid),
		cmocka_unit_test(ec_keys_are_on_their_curve),
		cmocka_unit_test(the_first_prime_is_the_larger_one),
		cmocka_unit_test(a_key_is_never_the_same),
		cmocka_unit_test(other_types_are_not_supported),
		cmocka_unit_test(an_ed25519_key_is_made),
		cmocka_unit_test(a_key_is_exported_and_imported_again),
		cmocka_unit_test(names_and_types_belong_together),
		cmocka_unit_test(several_threads_make_keys_at_once),
		cmocka_unit_test(gmp_s_allocator_is_ours_and_grows_and_shrinks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
