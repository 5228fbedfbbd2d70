/*
 * Issues connectors' certificates from PKCS#10 requests, and reads the identity back out of a
 * certificate.  Both sides of the URI's shape are in this one file.
 */
#include "cloud-queue/queue_ca.h"

#include "base/file.h"
#include "base/text.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define PEM_MAX       (64u * 1024u)
#define CSR_MAX       (16u * 1024u)
#define VALID_S       (365 * 86400)
#define CLOCK_SLACK_S 300
#define URI_SCHEME    "certq://"

struct queue_ca {
	X509 *certificate;
	EVP_PKEY *key;
	cc_blob der;
	cc_blob spki;
};

static cc_err read_certificate(const char *path, X509 **ret)
{
	cc_blob pem = CC_BLOB_NONE;
	BIO *bio = NULL;
	X509 *x = NULL;
	cc_err err = CC_OK;

	TRY(file_read(path, FILE_CONFIG, PEM_MAX, &pem));
	bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	ENSURE(bio, cc_fail_openssl(path));
	x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	ENSURE(x, cc_fail_openssl(path));
	*ret = x;
out:
	BIO_free(bio);
	cc_blob_free(&pem);
	return err;
}

static cc_err read_key(const char *path, EVP_PKEY **ret)
{
	cc_secret pem = CC_SECRET_NONE;
	BIO *bio = NULL;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	TRY(file_read_secret(path, PEM_MAX, &pem));
	bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	ENSURE(bio, cc_fail_openssl(path));
	key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	ENSURE(key, cc_fail_openssl(path));
	*ret = key;
out:
	BIO_free(bio);
	cc_secret_free(&pem);
	return err;
}

static cc_err encode_certificate(X509 *x, cc_blob *ret)
{
	unsigned char *der = NULL;
	int size = i2d_X509(x, &der);

	if (size <= 0)
		return cc_fail_openssl("encoding a certificate");
	*ret = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	return CC_OK;
}

static cc_err encode_spki(X509 *x, cc_blob *ret)
{
	unsigned char *der = NULL;
	int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);

	if (size <= 0)
		return cc_fail_openssl("encoding a public key");
	*ret = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	return CC_OK;
}

cc_err queue_ca_open(const char *certificate_path, const char *key_path, struct queue_ca **ret)
{
	struct queue_ca *ca = cc_alloc(sizeof(*ca));
	cc_err err = CC_OK;

	TRY(read_certificate(certificate_path, &ca->certificate));
	TRY(read_key(key_path, &ca->key));
	ENSURE(X509_check_ca(ca->certificate) == 1,
		cc_fail(CC_CONFIG, "%s is not a CA's certificate", certificate_path));
	ENSURE(X509_check_private_key(ca->certificate, ca->key) == 1,
		cc_fail(CC_CONFIG, "%s is not the key of %s", key_path, certificate_path));
	TRY(encode_certificate(ca->certificate, &ca->der));
	TRY(encode_spki(ca->certificate, &ca->spki));
	*ret = ca;
	ca = NULL;
out:
	ERR_clear_error();
	queue_ca_free(ca);
	return err;
}

void queue_ca_free(struct queue_ca *ca)
{
	if (!ca)
		return;
	X509_free(ca->certificate);
	EVP_PKEY_free(ca->key);
	cc_blob_free(&ca->der);
	cc_blob_free(&ca->spki);
	free(ca);
}

cc_view queue_ca_certificate(const struct queue_ca *ca)
{
	return cc_blob_view(&ca->der);
}

cc_view queue_ca_spki(const struct queue_ca *ca)
{
	return cc_blob_view(&ca->spki);
}

/* ---- issue ---- */

static bool key_taken(EVP_PKEY *key)
{
	char group[32] = "";
	int bits = EVP_PKEY_get_bits(key);

	if (EVP_PKEY_is_a(key, "RSA"))
		return bits >= 2048 && bits <= 4096;
	if (EVP_PKEY_is_a(key, "ED25519"))
		return true;
	return EVP_PKEY_is_a(key, "EC") &&
	       EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
	       (strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0);
}

/* The request with its signature checked; *ret_key is the request's own. */
static cc_err read_csr(cc_view csr, X509_REQ **ret, EVP_PKEY **ret_key)
{
	const unsigned char *at = csr.data;
	X509_REQ *req = NULL;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	ENSURE(csr.size > 0 && csr.size <= CSR_MAX,
		cc_fail(CC_TOO_LARGE, "certificate request: %zu bytes, at most %u", csr.size,
			CSR_MAX));
	req = d2i_X509_REQ(NULL, &at, (long)csr.size);
	ENSURE(req && at == csr.data + csr.size,
		cc_fail(CC_MALFORMED, "certificate request: not one PKCS#10 in DER"));
	key = X509_REQ_get0_pubkey(req);
	ENSURE(key && key_taken(key),
		cc_fail(CC_BAD_KEY, "certificate request: key must be RSA 2048..4096, P-256, P-384 "
				    "or Ed25519"));
	ENSURE(X509_REQ_verify(req, key) == 1,
		cc_fail(CC_BAD_SIGNATURE,
			"certificate request: it is not signed with its own key"));
	*ret = req;
	*ret_key = key;
	req = NULL;
out:
	ERR_clear_error();
	X509_REQ_free(req);
	return err;
}

static cc_err add_extension(X509 *x, X509V3_CTX *context, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, context, nid, value);
	cc_err err = CC_OK;

	ENSURE(extension && X509_add_ext(x, extension, -1) == 1,
		cc_fail_openssl("making a certificate's extension"));
out:
	X509_EXTENSION_free(extension);
	return err;
}

static cc_err add_extensions(const struct queue_ca *ca, X509 *x, const char *uri)
{
	X509V3_CTX context;
	cc_err err = CC_OK;

	X509V3_set_ctx(&context, ca->certificate, x, NULL, NULL, 0);
	TRY(add_extension(x, &context, NID_basic_constraints, "critical,CA:FALSE"));
	TRY(add_extension(x, &context, NID_key_usage, "critical,digitalSignature"));
	TRY(add_extension(x, &context, NID_ext_key_usage, "clientAuth"));
	TRY(add_extension(x, &context, NID_subject_key_identifier, "hash"));
	TRY(add_extension(x, &context, NID_authority_key_identifier, "keyid:always"));
	TRY(add_extension(
		x, &context, NID_subject_alt_name, uri)); /* names only: no comma inside */
out:
	return err;
}

static cc_err set_serial(X509 *x)
{
	uint8_t bytes[16];
	BIGNUM *n = NULL;
	cc_err err = CC_OK;

	random_bytes(bytes, sizeof(bytes));
	bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40); /* positive and of full length */
	n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ENSURE(n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)),
		cc_fail_openssl("serial number"));
out:
	BN_free(n);
	return err;
}

static cc_err set_fields(
	const struct queue_ca *ca, X509 *x, EVP_PKEY *key, const char *name, int64_t now_s)
{
	time_t from = (time_t)(now_s - CLOCK_SLACK_S);
	time_t to = (time_t)(now_s + VALID_S);
	const ASN1_TIME *ca_end = X509_get0_notAfter(ca->certificate);
	cc_err err = CC_OK;

	TRY(set_serial(x));
	ENSURE(X509_set_version(x, X509_VERSION_3) == 1 &&
			X509_set_issuer_name(x, X509_get_subject_name(ca->certificate)) == 1 &&
			X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName,
				MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) == 1 &&
			X509_set_pubkey(x, key) == 1 &&
			X509_time_adj_ex(X509_getm_notBefore(x), 0, 0, &from) &&
			X509_time_adj_ex(X509_getm_notAfter(x), 0, 0, &to),
		cc_fail_openssl("filling a certificate"));
	/* never longer than the CA itself */
	if (ASN1_TIME_compare(X509_get0_notAfter(x), ca_end) > 0)
		ENSURE(X509_set1_notAfter(x, ca_end) == 1,
			cc_fail_openssl("filling a certificate"));
out:
	return err;
}

static cc_err sign_certificate(const struct queue_ca *ca, X509 *x)
{
	const EVP_MD *md = EVP_PKEY_is_a(ca->key, "ED25519") ? NULL : EVP_sha256();

	return X509_sign(x, ca->key, md) > 0 ? CC_OK : cc_fail_openssl("signing a certificate");
}

cc_err queue_ca_issue(const struct queue_ca *ca, cc_view tenant, cc_view connector_id, cc_view csr,
	int64_t now_s, cc_blob *ret)
{
	X509_REQ *req = NULL;
	EVP_PKEY *key = NULL; /* the request's */
	X509 *x = NULL;
	char *uri = NULL;
	char *name = NULL;
	cc_err err = CC_OK;

	ENSURE(text_is_name(tenant) && text_is_name(connector_id),
		cc_fail(CC_MALFORMED, "tenant and connector id must be plain names"));
	TRY(read_csr(csr, &req, &key));
	name = cc_strndup(connector_id);
	uri = cc_asprintf("URI:" URI_SCHEME "%.*s/connector/%s", (int)tenant.size,
		(const char *)tenant.data, name);
	x = X509_new();
	ENSURE(x, cc_fail_openssl("a new certificate"));
	TRY(set_fields(ca, x, key, name, now_s));
	TRY(add_extensions(ca, x, uri));
	TRY(sign_certificate(ca, x));
	TRY(encode_certificate(x, ret));
out:
	X509_free(x);
	X509_REQ_free(req);
	free(uri);
	free(name);
	return err;
}

/* ---- read the identity ---- */

static bool copy_name(cc_view part, char *to, size_t room)
{
	if (!text_is_name(part) || part.size >= room)
		return false;
	memcpy(to, part.data, part.size);
	to[part.size] = '\0';
	return true;
}

static cc_view until_slash(cc_view *rest)
{
	size_t n = 0;
	cc_view head;

	while (n < rest->size && rest->data[n] != '/')
		n++;
	head = cc_view_part(*rest, 0, n);
	*rest = n < rest->size ? cc_view_part(*rest, n + 1, rest->size - n - 1) : CC_VIEW_NONE;
	return head;
}

static bool parse_uri(cc_view uri, struct queue_identity *ret)
{
	struct queue_identity id = {0};
	cc_view rest = cc_view_part(uri, strlen(URI_SCHEME), uri.size - strlen(URI_SCHEME));
	cc_view tenant = until_slash(&rest);
	cc_view role = until_slash(&rest);

	if (text_equal(role, "connector"))
		id.role = QUEUE_CONNECTOR;
	else if (text_equal(role, "producer"))
		id.role = QUEUE_PRODUCER;
	else
		return false;
	if (!copy_name(tenant, id.tenant, sizeof(id.tenant)) ||
		!copy_name(rest, id.name, sizeof(id.name)))
		return false;
	*ret = id;
	return true;
}

cc_err queue_ca_identity(X509 *certificate, struct queue_identity *ret)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	struct queue_identity id = {0};
	size_t found = 0;
	bool good = true;
	cc_err err = CC_OK;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		cc_view uri;

		if (name->type != GEN_URI)
			continue;
		uri = cc_view_of(ASN1_STRING_get0_data(name->d.uniformResourceIdentifier),
			(size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier));
		if (uri.size < strlen(URI_SCHEME) ||
			!text_equal(cc_view_part(uri, 0, strlen(URI_SCHEME)), URI_SCHEME))
			continue;
		found++;
		good = good && parse_uri(uri, &id);
	}
	ENSURE(found == 1 && good,
		cc_fail(CC_DENIED, "the client certificate names no identity of this queue"));
	ENSURE(X509_digest(certificate, EVP_sha256(), id.certificate_sha256, NULL) == 1,
		cc_fail_openssl("digest of a certificate"));
	*ret = id;
out:
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	return err;
}
