/*
 * What TLS had to say against a connection: each verdict and each alert has its own name and event.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connector/dial_judge.h"
#include "connector/wss_tls.h"
#include <openssl/x509_vfy.h>
#include <string.h>

static struct wss_tls seen(int verify_error, int alert)
{
	struct wss_tls t;
	wss_tls_clear(&t);
	t.verify_error = verify_error;
	t.alert = alert;
	memcpy(t.issuer, "CN=Inspection", sizeof("CN=Inspection"));
	memcpy(t.until, "then to now", sizeof("then to now"));
	return t;
}

static void judged(const struct wss_tls *t, cc_err code, enum cc_category category, event_id event)
{
	cc_err err = wss_tls_judge(t, "queue.example", 8443);
	assert_int_equal(err, code);
	assert_int_equal(cc_err_category(err), category);
	assert_int_equal(dial_event_of(err), event);
	assert_non_null(strstr(cc_err_detail(err), "queue.example port 8443"));
}

static void a_certificate_of_another_ca_is_called_interception_and_names_its_issuer(void **state)
{
	static const int errors[] = {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
		X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
		X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE};
	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct wss_tls t = seen(errors[i], -1);
		judged(&t, CC_TLS_INTERCEPTED, CC_CAT_REJECTED, EV_TLS_INTERCEPTED);
		assert_non_null(strstr(
			cc_err_detail(CC_TLS_INTERCEPTED), "issued by CN=Inspection, which"));
	}
}

static void a_certificate_out_of_time_tells_this_hosts_clock_and_is_tried_again(void **state)
{
	struct wss_tls expired = seen(X509_V_ERR_CERT_HAS_EXPIRED, -1);
	struct wss_tls early = seen(X509_V_ERR_CERT_NOT_YET_VALID, -1);
	(void)state;
	judged(&expired, CC_TLS_EXPIRED, CC_CAT_RETRY_LATER, EV_TLS_OUT_OF_TIME);
	assert_non_null(strstr(cc_err_detail(CC_TLS_EXPIRED), "this host's clock says 2"));
	assert_non_null(strstr(cc_err_detail(CC_TLS_EXPIRED), "then to now"));
	judged(&early, CC_TLS_EXPIRED, CC_CAT_RETRY_LATER, EV_TLS_OUT_OF_TIME);
}

static void a_certificate_of_another_name_is_called_that(void **state)
{
	struct wss_tls t = seen(X509_V_ERR_HOSTNAME_MISMATCH, -1);
	(void)state;
	judged(&t, CC_TLS_NAME, CC_CAT_REJECTED, EV_TLS_NAME_MISMATCH);
}

static void alerts_about_our_certificate_are_a_refusal(void **state)
{
	static const int alerts[] = {SSL3_AD_BAD_CERTIFICATE, SSL3_AD_CERTIFICATE_REVOKED,
		SSL3_AD_CERTIFICATE_EXPIRED, SSL3_AD_CERTIFICATE_UNKNOWN, TLS1_AD_UNKNOWN_CA,
		TLS1_AD_ACCESS_DENIED, TLS13_AD_CERTIFICATE_REQUIRED};
	(void)state;
	for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++) {
		struct wss_tls t = seen(X509_V_OK, alerts[i]);
		judged(&t, CC_CLIENT_CERTIFICATE, CC_CAT_REJECTED, EV_CLIENT_CERTIFICATE_REFUSED);
	}
}

static void another_alert_is_a_failure_that_may_pass(void **state)
{
	struct wss_tls t = seen(X509_V_OK, SSL3_AD_HANDSHAKE_FAILURE);
	(void)state;
	judged(&t, CC_UNREACHABLE, CC_CAT_RETRY_LATER, EV_QUEUE_UNREACHABLE);
}

static void without_a_finding_tls_is_not_the_cause(void **state)
{
	struct wss_tls t = seen(X509_V_OK, -1);
	(void)state;
	assert_int_equal(wss_tls_judge(&t, "queue.example", 8443), CC_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_certificate_of_another_ca_is_called_interception_and_names_its_issuer),
		cmocka_unit_test(
			a_certificate_out_of_time_tells_this_hosts_clock_and_is_tried_again),
		cmocka_unit_test(a_certificate_of_another_name_is_called_that),
		cmocka_unit_test(alerts_about_our_certificate_are_a_refusal),
		cmocka_unit_test(another_alert_is_a_failure_that_may_pass),
		cmocka_unit_test(without_a_finding_tls_is_not_the_cause),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
