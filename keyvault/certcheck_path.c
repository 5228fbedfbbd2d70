/*
 * Certificates parsed, and the path from one of them up to a pinned root, by OpenSSL's verifier.
 */
#include "keyvault/certcheck_int.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

cc_err certcheck_parse(cc_view der, X509 **ret)
{
	const uint8_t *at = der.data;
	X509 *certificate = NULL;
	cc_err err = CC_OK;

	ENSURE(der.size <= CERTCHECK_CERT_MAX,
		cc_fail(CC_TOO_LARGE, "a certificate of %zu bytes", der.size));
	certificate = der.size > 0 ? d2i_X509(NULL, &at, (long)der.size) : NULL;
	if (!certificate || at != der.data + der.size) {
		ERR_clear_error();
		err = cc_fail(CC_MALFORMED, "a certificate does not parse");
		goto out;
	}
	*ret = certificate;
	certificate = NULL;
out:
	X509_free(certificate);
	return err;
}

cc_err certcheck_der(const X509 *certificate, cc_blob *ret)
{
	unsigned char *der = NULL;
	int size = i2d_X509(certificate, &der);

	if (size <= 0)
		return cc_fail_openssl("encode a certificate");
	*ret = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	return CC_OK;
}

void certcheck_spki_sha256(const X509 *certificate, uint8_t ret[SHA256_SIZE])
{
	unsigned char *der = NULL;
	int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);

	if (size <= 0)
		cc_die("certificate: out of memory");
	hash_sha256(cc_view_of(der, (size_t)size), ret);
	OPENSSL_free(der);
}

void certcheck_path_free(STACK_OF(X509) * path)
{
	sk_X509_pop_free(path, X509_free);
}

cc_err certcheck_parse_chain(const cc_view *chain, size_t count, STACK_OF(X509) * *ret)
{
	STACK_OF(X509) *parsed = sk_X509_new_null();
	cc_err err = CC_OK;

	ENSURE(parsed, cc_fail_openssl("chain"));
	ENSURE(count >= 1 && count <= CERTCHECK_CHAIN_MAX,
		cc_fail(CC_TOO_LARGE, "%zu certificates, 1 to %d are taken", count,
			CERTCHECK_CHAIN_MAX));
	for (size_t i = 0; i < count; i++) {
		X509 *certificate = NULL;

		TRY(certcheck_parse(chain[i], &certificate));
		if (sk_X509_push(parsed, certificate) <= 0)
			cc_die("chain: out of memory");
	}
	*ret = parsed;
	parsed = NULL;
out:
	certcheck_path_free(parsed);
	return err;
}

static cc_err store_of(const STACK_OF(X509) * roots, X509_STORE **ret)
{
	X509_STORE *store = X509_STORE_new();
	cc_err err = CC_OK;

	ENSURE(store, cc_fail_openssl("roots"));
	ENSURE(sk_X509_num(roots) > 0, cc_fail(CC_MISMATCH, "no root is pinned for this CA"));
	for (int i = 0; i < sk_X509_num(roots); i++)
		ENSURE(X509_STORE_add_cert(store, sk_X509_value(roots, i)) == 1,
			cc_fail_openssl("roots"));
	*ret = store;
	store = NULL;
out:
	X509_STORE_free(store);
	return err;
}

cc_err certcheck_path(const STACK_OF(X509) * roots, const STACK_OF(X509) * chain, int64_t at_s,
	STACK_OF(X509) * *ret)
{
	X509_STORE *store = NULL;
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	cc_err err = CC_OK;

	TRY(store_of(roots, &store));
	ENSURE(ctx && X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0),
			      (STACK_OF(X509) *)(uintptr_t)chain) == 1,
		cc_fail_openssl("path"));
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, (time_t)at_s);
	X509_VERIFY_PARAM_set_auth_level(param, CERTCHECK_AUTH_LEVEL);
	X509_VERIFY_PARAM_set_depth(param, CERTCHECK_CHAIN_MAX);
	if (X509_verify_cert(ctx) != 1) {
		ERR_clear_error();
		err = cc_fail(CC_MISMATCH,
			"no path to a pinned root: %s (certificate %d of the path)",
			X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)),
			X509_STORE_CTX_get_error_depth(ctx) + 1);
		goto out;
	}
	*ret = X509_STORE_CTX_get1_chain(ctx);
	ENSURE(*ret, cc_fail_openssl("path"));
out:
	ERR_clear_error();
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return err;
}

cc_err certcheck_ca_chain(const STACK_OF(X509) * roots, const cc_view *chain, size_t count,
	int64_t now_s, STACK_OF(X509) * *ret_path)
{
	STACK_OF(X509) *parsed = NULL;
	cc_err err = CC_OK;

	TRY(certcheck_parse_chain(chain, count, &parsed));
	ENSURE(X509_check_ca(sk_X509_value(parsed, 0)) == 1,
		cc_fail(CC_MISMATCH, "the first certificate of the chain is not a CA's"));
	TRY(certcheck_path(roots, parsed, now_s, ret_path));
out:
	certcheck_path_free(parsed);
	return err;
}

cc_err certcheck_origin(const STACK_OF(X509) * roots, const cc_view *chain, size_t count,
	int64_t now_s, X509 **ret_leaf)
{
	STACK_OF(X509) *parsed = NULL, *path = NULL;
	cc_err err = CC_OK;

	TRY(certcheck_parse_chain(chain, count, &parsed));
	TRY(certcheck_path(roots, parsed, now_s, &path));
	*ret_leaf = sk_X509_shift(parsed);
out:
	certcheck_path_free(path);
	certcheck_path_free(parsed);
	return err;
}

/* A serial is short, so its header is tag and one length octet.  Longer ones than a leaf may have are taken
 * too: what was refused for its serial number is still to be revoked. */
cc_err certcheck_name(const X509 *certificate, cc_blob *ret_issuer, cc_blob *ret_serial)
{
	uint8_t *issuer = NULL, *serial = NULL;
	int issuer_size = i2d_X509_NAME(X509_get_issuer_name(certificate), &issuer);
	int serial_size = i2d_ASN1_INTEGER(X509_get0_serialNumber(certificate), &serial);
	cc_err err = CC_OK;

	ENSURE(issuer_size > 0 && serial_size > 2, cc_fail_openssl("a certificate's name"));
	ENSURE(serial_size <= 2 + 64,
		cc_fail(CC_MISMATCH, "a serial number of %d octets", serial_size));
	*ret_issuer = cc_blob_copy(cc_view_of(issuer, (size_t)issuer_size));
	*ret_serial = cc_blob_copy(cc_view_of(serial + 2, (size_t)serial_size - 2));
out:
	OPENSSL_free(issuer);
	OPENSSL_free(serial);
	return err;
}
