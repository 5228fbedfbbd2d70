/*
 * Two callbacks of OpenSSL and what they mean.
 *
 * In TLS 1.3 a client's handshake is over before the server has looked at its certificate: the refusal
 * comes as an alert to the first read, which lws reports as a connection that ended.
 */
#include "connector/wss_tls.h"

#include "base/clock.h"
#include "base/text.h"
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

static void put_name(const X509_NAME *name, char to[WSS_TLS_TEXT])
{
	BIO *bio = BIO_new(BIO_s_mem());
	int n = 0;

	if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
		n = BIO_read(bio, to, WSS_TLS_TEXT - 1);
	to[n > 0 ? n : 0] = '\0';
	BIO_free(bio);
}

static void put_until(const ASN1_TIME *from, const ASN1_TIME *until, char to[WSS_TLS_TEXT])
{
	BIO *bio = BIO_new(BIO_s_mem());
	int n = 0;

	if (bio != NULL && ASN1_TIME_print(bio, from) == 1 && BIO_puts(bio, " to ") > 0 &&
		ASN1_TIME_print(bio, until) == 1)
		n = BIO_read(bio, to, WSS_TLS_TEXT - 1);
	to[n > 0 ? n : 0] = '\0';
	BIO_free(bio);
}

/* RFC 9525: a number is compared with the numbers of the certificate, a name with its names. */
static bool expect_name(X509_STORE_CTX *ctx, const char *name)
{
	X509_VERIFY_PARAM *p = X509_STORE_CTX_get0_param(ctx);

	if (name == NULL || name[0] == '\0')
		return false;
	X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (X509_VERIFY_PARAM_set1_ip_asc(p, name) == 1)
		return X509_VERIFY_PARAM_set1_host(p, NULL, 0) == 1;
	return X509_VERIFY_PARAM_set1_host(p, name, 0) == 1;
}

static int verify_and_remember(X509_STORE_CTX *ctx, void *arg)
{
	struct wss_tls *t = arg;
	int ok = 0;
	const X509 *shown = X509_STORE_CTX_get0_cert(ctx);

	if (expect_name(ctx, t->name))
		ok = X509_verify_cert(ctx);
	else
		X509_STORE_CTX_set_error(ctx, X509_V_ERR_HOSTNAME_MISMATCH);
	if (ok == 1)
		return ok;
	t->verify_error = X509_STORE_CTX_get_error(ctx);
	if (shown != NULL) {
		put_name(X509_get_issuer_name(shown), t->issuer);
		put_name(X509_get_subject_name(shown), t->subject);
		put_until(X509_get0_notBefore(shown), X509_get0_notAfter(shown), t->until);
	}
	return ok;
}

static int context_index(void)
{
	static int index = -1;

	if (index < 0)
		index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return index;
}

static void take_info(const SSL *ssl, int where, int value)
{
	struct wss_tls *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index());

	if (where == SSL_CB_READ_ALERT && value >> 8 == SSL3_AL_FATAL && t != NULL)
		t->alert = value & 0xff;
}

void wss_tls_watch(SSL_CTX *ctx, struct wss_tls *t)
{
	SSL_CTX_set_cert_verify_callback(ctx, verify_and_remember, t);
	if (SSL_CTX_set_ex_data(ctx, context_index(), t) == 1)
		SSL_CTX_set_info_callback(ctx, take_info);
}

void wss_tls_clear(struct wss_tls *t)
{
	*t = (struct wss_tls){.verify_error = X509_V_OK, .alert = -1};
}

static cc_err judge_certificate(const struct wss_tls *t, const char *host, unsigned port)
{
	const char *words = X509_verify_cert_error_string(t->verify_error);
	char now[RFC3339_SIZE];

	switch (t->verify_error) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return cc_fail(CC_TLS_NAME,
			"%s port %u shows the certificate of another name (subject %s): %s", host,
			port, t->subject, words);
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		text_rfc3339(clock_realtime_s(), now);
		return cc_fail(CC_TLS_EXPIRED,
			"%s port %u shows a certificate that is valid from %s; this host's clock "
			"says %s: %s",
			host, port, t->until, now, words);
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
	case X509_V_ERR_CERT_UNTRUSTED:
		return cc_fail(CC_TLS_INTERCEPTED,
			"%s port %u shows a certificate issued by %s, which is not under the "
			"pinned queue CA: %s",
			host, port, t->issuer, words);
	default:
		return cc_fail(CC_DENIED,
			"%s port %u: the certificate (issued by %s) is not the queue's: %s", host,
			port, t->issuer, words);
	}
}

/* RFC 8446 section 6.2 */
static bool is_about_our_certificate(int alert)
{
	switch (alert) {
	case SSL3_AD_BAD_CERTIFICATE:
	case SSL3_AD_UNSUPPORTED_CERTIFICATE:
	case SSL3_AD_CERTIFICATE_REVOKED:
	case SSL3_AD_CERTIFICATE_EXPIRED:
	case SSL3_AD_CERTIFICATE_UNKNOWN:
	case TLS1_AD_UNKNOWN_CA:
	case TLS1_AD_ACCESS_DENIED:
	case TLS13_AD_CERTIFICATE_REQUIRED:
		return true;
	default:
		return false;
	}
}

cc_err wss_tls_judge(const struct wss_tls *t, const char *host, unsigned port)
{
	if (t->verify_error != X509_V_OK)
		return judge_certificate(t, host, port);
	if (is_about_our_certificate(t->alert))
		return cc_fail(CC_CLIENT_CERTIFICATE,
			"%s port %u does not take this connector's certificate: %s", host, port,
			SSL_alert_desc_string_long(t->alert));
	if (t->alert >= 0)
		return cc_fail(CC_UNREACHABLE, "%s port %u ended TLS: %s", host, port,
			SSL_alert_desc_string_long(t->alert));
	return CC_OK;
}
