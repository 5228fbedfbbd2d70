/*
 * Expiries: what is kept, when it is told, and when it is forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "connector/expiry.h"
#include "tests/support/fixture_ca.h"
#include "tests/support/fixture_jobs.h"
#include <stdlib.h>

#define NOW 1800000000
#define DAY INT64_C(86400)

static int set_up(void **state)
{
	*state = expiries_new();
	return 0;
}

static int tear_down(void **state)
{
	expiries_free(*state);
	return 0;
}

static void a_newer_end_replaces_the_older(void **state)
{
	struct expiries *e = *state;

	expiries_put(e, "transport certificate", NOW + DAY, 0, NOW);
	expiries_put(e, "queue's CA", NOW + 2 * DAY, 0, NOW);
	expiries_put(e, "transport certificate", NOW + 90 * DAY, 0, NOW);
	assert_int_equal(expiries_count(e), 2);
	assert_string_equal(expiries_at(e, 0)->what, "transport certificate");
	assert_int_equal(expiries_at(e, 0)->not_after_s, NOW + 90 * DAY);
}

static void an_end_that_is_not_known_changes_nothing(void **state)
{
	struct expiries *e = *state;

	expiries_put(e, "queue's server certificate", 0, 0, NOW);
	expiries_put(e, "queue's server certificate", -1, 0, NOW);
	assert_int_equal(expiries_count(e), 0);
}

static void it_is_told_once_at_30_14_7_and_1_days(void **state)
{
	struct expiries *e = *state;
	static const int64_t at[] = {40, 31, 30, 29, 20, 14, 13, 8, 7, 6, 2, 1};
	static const size_t told[] = {0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1};

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		expiries_put(e, "root of CA corp-ca", NOW, 0, NOW - at[i] * DAY);
		assert_int_equal(expiries_tell(e, NOW - at[i] * DAY), told[i]);
		assert_int_equal(expiries_tell(e, NOW - at[i] * DAY + 3600), 0);
	}
}

static void a_first_look_near_the_end_tells_once(void **state)
{
	struct expiries *e = *state;

	expiries_put(e, "root of CA corp-ca", NOW + 3 * DAY, 0, NOW);
	assert_int_equal(expiries_tell(e, NOW), 1);
	assert_int_equal(expiries_tell(e, NOW + 3600), 0);
}

static void what_is_over_is_told_once_a_day(void **state)
{
	struct expiries *e = *state;
	size_t told = 0;

	for (int64_t hour = 0; hour < 72; hour++) {
		expiries_put(e, "transport certificate", NOW, 0, NOW + hour * 3600);
		told += expiries_tell(e, NOW + hour * 3600);
	}
	assert_int_equal(told, 3);
}

static void what_was_renewed_is_told_anew_when_its_time_comes(void **state)
{
	struct expiries *e = *state;

	expiries_put(e, "transport certificate", NOW + 5 * DAY, 0, NOW);
	assert_int_equal(expiries_tell(e, NOW), 1);
	expiries_put(e, "transport certificate", NOW + 60 * DAY, 0, NOW);
	assert_int_equal(expiries_tell(e, NOW), 0);
	expiries_put(e, "transport certificate", NOW + 60 * DAY, 0, NOW + 55 * DAY);
	assert_int_equal(expiries_tell(e, NOW + 55 * DAY), 1);
}

static void of_a_short_life_not_all_is_near_the_end(void **state)
{
	struct expiries *e = *state;

	expiries_put(e, "statement of signer 00", NOW + 30 * DAY, 30 * DAY, NOW);
	assert_false(expiry_is_near(expiries_at(e, 0), NOW));
	assert_int_equal(expiries_tell(e, NOW), 0);
	expiries_put(e, "statement of signer 00", NOW + 30 * DAY, 30 * DAY, NOW + 16 * DAY);
	assert_true(expiry_is_near(expiries_at(e, 0), NOW + 16 * DAY));
	assert_int_equal(expiries_tell(e, NOW + 16 * DAY), 1);
}

static void a_signer_that_signs_no_more_is_forgotten(void **state)
{
	struct expiries *e = *state;

	expiries_put(e, "statement of signer 00", NOW + 3 * DAY, 0, NOW);
	expiries_put(e, "transport certificate", NOW + 90 * DAY, 0, NOW + 8 * DAY);
	assert_int_equal(expiries_tell(e, NOW + 8 * DAY), 0);
	assert_int_equal(expiries_count(e), 1);
	assert_string_equal(expiries_at(e, 0)->what, "transport certificate");
}

static void an_issuers_end_is_read_and_a_roots_is_not(void **state)
{
	struct fixture_ca ca;
	EVP_PKEY *key = fixture_key("ec-p256");
	X509_REQ *request = X509_REQ_new();
	unsigned char *der = NULL;
	int size;
	cc_blob made;
	(void)state;

	fixture_ca_make(&ca, "Root");
	assert_int_equal(X509_REQ_set_pubkey(request, key), 1);
	assert_true(X509_REQ_sign(request, key, EVP_sha256()) > 0);
	size = i2d_X509_REQ(request, &der);
	made = fixture_ca_issue(
		&ca, cc_view_of(der, (size_t)size), "clientAuth", 86400, NULL, NULL);
	assert_true(expiry_of_issuer(cc_blob_view(&made)) > clock_realtime_s());
	assert_int_equal(expiry_of_issuer(cc_view_text("no certificate")), 0);
	OPENSSL_free(der);
	der = NULL;
	size = i2d_X509(ca.certificate, &der);
	assert_int_equal(expiry_of_issuer(cc_view_of(der, (size_t)size)), 0);
	OPENSSL_free(der);
	cc_blob_free(&made);
	X509_REQ_free(request);
	EVP_PKEY_free(key);
	fixture_ca_clear(&ca);
}

static void there_is_a_limit(void **state)
{
	struct expiries *e = *state;

	for (int i = 0; i < EXPIRY_MAX + 5; i++) {
		char *what = cc_asprintf("item %d", i);
		expiries_put(e, what, NOW, 0, NOW);
		free(what);
	}
	assert_int_equal(expiries_count(e), EXPIRY_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_newer_end_replaces_the_older),
		TEST(an_end_that_is_not_known_changes_nothing),
		TEST(it_is_told_once_at_30_14_7_and_1_days),
		TEST(a_first_look_near_the_end_tells_once),
		TEST(what_is_over_is_told_once_a_day),
		TEST(what_was_renewed_is_told_anew_when_its_time_comes),
		TEST(of_a_short_life_not_all_is_near_the_end),
		TEST(a_signer_that_signs_no_more_is_forgotten),
		TEST(an_issuers_end_is_read_and_a_roots_is_not),
		TEST(there_is_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
