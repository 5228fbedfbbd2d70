/*
 * A CA for tests, in plain OpenSSL calls.  It copies subject and SAN from the request, as a CA with a
 * permissive template does.
 */
#include "tests/support/fixture_ca.h"
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "fixture: %s:%d: %s\n", __FILE__, __LINE__, #condition);   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	NEED(extension != NULL && X509_add_ext(certificate, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

static X509 *blank(
	EVP_PKEY *key, const X509_NAME *subject, const X509_NAME *issuer, long lifetime_s)
{
	X509 *x = X509_new();
	BIGNUM *serial = BN_new();

	NEED(x != NULL && serial != NULL &&
		BN_rand(serial, 126, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1);
	NEED(X509_set_version(x, X509_VERSION_3) == 1);
	NEED(BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x)) != NULL);
	NEED(X509_set_subject_name(x, subject) == 1 && X509_set_issuer_name(x, issuer) == 1);
	NEED(X509_gmtime_adj(X509_getm_notBefore(x), -60) != NULL);
	NEED(X509_gmtime_adj(X509_getm_notAfter(x), lifetime_s) != NULL);
	NEED(X509_set_pubkey(x, key) == 1);
	BN_free(serial);
	return x;
}

static cc_blob to_der(X509 *certificate)
{
	uint8_t *der = NULL;
	int size = i2d_X509(certificate, &der);

	NEED(size > 0);
	cc_blob blob = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	return blob;
}

static X509_NAME *name_of(const char *common_name)
{
	X509_NAME *name = X509_NAME_new();

	NEED(name != NULL);
	NEED(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
		     (const unsigned char *)common_name, -1, -1, 0) == 1);
	return name;
}

static void make(struct fixture_ca *ca, const struct fixture_ca *above, const char *common_name)
{
	X509_NAME *name = name_of(common_name);

	ca->key = EVP_EC_gen("P-256");
	NEED(ca->key != NULL);
	ca->certificate = blank(ca->key, name,
		above ? X509_get_subject_name(above->certificate) : name, 10 * 365 * 86400L);
	X509 *issuer = above ? above->certificate : ca->certificate;
	add_extension(ca->certificate, issuer, NID_basic_constraints, "critical,CA:TRUE");
	add_extension(ca->certificate, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
	add_extension(ca->certificate, issuer, NID_subject_key_identifier, "hash");
	NEED(X509_sign(ca->certificate, above ? above->key : ca->key, EVP_sha256()) > 0);
	ca->der = to_der(ca->certificate);
	X509_NAME_free(name);
}

void fixture_ca_make(struct fixture_ca *ca, const char *common_name)
{
	make(ca, NULL, common_name);
}

void fixture_ca_make_below(
	struct fixture_ca *below, const struct fixture_ca *ca, const char *common_name)
{
	make(below, ca, common_name);
}

void fixture_ca_clear(struct fixture_ca *ca)
{
	EVP_PKEY_free(ca->key);
	X509_free(ca->certificate);
	cc_blob_free(&ca->der);
	*ca = (struct fixture_ca){0};
}

char *fixture_pem(X509 *certificate)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;

	NEED(bio != NULL && PEM_write_bio_X509(bio, certificate) == 1);
	long size = BIO_get_mem_data(bio, &text);
	NEED(size > 0);
	char *pem = cc_strndup(cc_view_of(text, (size_t)size));
	BIO_free(bio);
	return pem;
}

char *fixture_ca_pem(const struct fixture_ca *ca)
{
	return fixture_pem(ca->certificate);
}

static void copy_extensions(const X509_REQ *request, X509 *certificate)
{
	STACK_OF(X509_EXTENSION) *asked = X509_REQ_get_extensions((X509_REQ *)(uintptr_t)request);

	for (int i = 0; i < sk_X509_EXTENSION_num(asked); i++) {
		X509_EXTENSION *e = sk_X509_EXTENSION_value(asked, i);
		int nid = OBJ_obj2nid(X509_EXTENSION_get_object(e));
		if (nid != NID_key_usage && nid != NID_ext_key_usage &&
			nid != NID_basic_constraints)
			NEED(X509_add_ext(certificate, e, -1) == 1);
	}
	sk_X509_EXTENSION_pop_free(asked, X509_EXTENSION_free);
}

cc_blob fixture_ca_issue(const struct fixture_ca *ca, cc_view csr, const char *eku, long lifetime_s,
	void (*change)(X509 *certificate, void *arg), void *arg)
{
	const uint8_t *at = csr.data;
	X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)csr.size);

	NEED(request != NULL && X509_REQ_verify(request, X509_REQ_get0_pubkey(request)) == 1);
	X509 *x = blank(X509_REQ_get0_pubkey(request), X509_REQ_get_subject_name(request),
		X509_get_subject_name(ca->certificate), lifetime_s);
	copy_extensions(request, x);
	add_extension(x, ca->certificate, NID_basic_constraints, "critical,CA:FALSE");
	add_extension(
		x, ca->certificate, NID_key_usage, "critical,digitalSignature,keyEncipherment");
	if (eku != NULL)
		add_extension(x, ca->certificate, NID_ext_key_usage, eku);
	if (change != NULL)
		change(x, arg);
	NEED(X509_sign(x, ca->key, EVP_sha256()) > 0);
	cc_blob der = to_der(x);
	X509_free(x);
	X509_REQ_free(request);
	return der;
}

cc_blob fixture_ca_device(
	const struct fixture_ca *ca, EVP_PKEY *device_key, const char *common_name)
{
	X509_NAME *name = name_of(common_name);
	X509 *x = blank(device_key, name, X509_get_subject_name(ca->certificate), 365 * 86400L);

	add_extension(x, ca->certificate, NID_basic_constraints, "critical,CA:FALSE");
	add_extension(
		x, ca->certificate, NID_key_usage, "critical,digitalSignature,keyEncipherment");
	add_extension(x, ca->certificate, NID_ext_key_usage, "clientAuth");
	NEED(X509_sign(x, ca->key, EVP_sha256()) > 0);
	cc_blob der = to_der(x);
	X509_free(x);
	X509_NAME_free(name);
	return der;
}
