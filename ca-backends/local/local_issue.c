/*
 * local: a certificate for a CSR (RFC 2986 in, RFC 5280 out).
 *
 * The certificate is built anew: only what the template allows is taken over from the request, each
 * extension decoded and written again, and what is neither known nor honoured is refused rather than
 * dropped, so that nobody gets less than was asked for without a word.
 */
#include "ca-backends/local/local_int.h"
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#define RSA_BITS_MIN      2048
#define RSA_BITS_MAX      8192
#define OID_SID           "1.3.6.1.4.1.311.25.2"
#define OID_TEMPLATE_NAME "1.3.6.1.4.1.311.20.2"
#define OID_TEMPLATE_ID   "1.3.6.1.4.1.311.21.7"

struct issuing {
	const struct local_ca *ca;
	const struct local_template *t;
	X509_REQ *req;
	STACK_OF(X509_EXTENSION) * asked;
	X509 *cert;
	bool has_san, has_eku, has_key_usage;
};

/* ---- the request ---- */

static cc_err check_key(EVP_PKEY *key)
{
	int bits = EVP_PKEY_get_bits(key);
	char group[32] = "";

	if (EVP_PKEY_is_a(key, "RSA")) {
		if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
			return cc_fail(CC_BAD_KEY, "CSR: RSA with %d bits", bits);
		return CC_OK;
	}
	if (EVP_PKEY_is_a(key, "EC") &&
		EVP_PKEY_get_utf8_string_param(key, "group", group, sizeof(group), NULL) == 1 &&
		(strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0))
		return CC_OK;
	return cc_fail(CC_BAD_KEY, "CSR: neither RSA nor EC on P-256 or P-384");
}

static cc_err read_request(cc_view csr, struct issuing *i)
{
	const unsigned char *at = csr.data;
	EVP_PKEY *key;
	cc_err err;

	ERR_clear_error();
	i->req = d2i_X509_REQ(NULL, &at, (long)csr.size);
	if (i->req == NULL || at != csr.data + csr.size) {
		ERR_clear_error();
		return cc_fail(CC_MALFORMED, "CSR: not a PKCS#10 request");
	}
	key = X509_REQ_get0_pubkey(i->req);
	if (key == NULL) {
		ERR_clear_error();
		return cc_fail(CC_BAD_KEY, "CSR: the key is not understood");
	}
	err = check_key(key);
	if (err != CC_OK)
		return err;
	if (X509_REQ_verify(i->req, key) != 1) {
		ERR_clear_error();
		return cc_fail(CC_BAD_SIGNATURE, "CSR: not signed with its own key");
	}
	i->asked = X509_REQ_get_extensions(i->req); /* NULL: none, or damaged */
	ERR_clear_error();
	if (i->asked == NULL && (X509_REQ_get_attr_by_NID(i->req, NID_ext_req, -1) >= 0 ||
					X509_REQ_get_attr_by_NID(i->req, NID_ms_ext_req, -1) >= 0))
		return cc_fail(CC_MALFORMED, "CSR: the extension request does not decode");
	return CC_OK;
}

/* ---- extensions that are asked for ---- */

static cc_err honour(const struct issuing *i, unsigned what, const char *name)
{
	if ((i->t->honour & what) == 0)
		return cc_fail(CC_DENIED, "the template does not take over %s", name);
	return CC_OK;
}

/* Decoded as what it claims to be, and written again. */
static cc_err copy_decoded(
	struct issuing *i, X509_EXTENSION *extension, int nid, int critical, const char *name)
{
	void *value = X509V3_EXT_d2i(extension);
	int rc;

	if (value == NULL) {
		ERR_clear_error();
		return cc_fail(CC_MALFORMED, "CSR: %s does not decode", name);
	}
	rc = X509_add1_ext_i2d(i->cert, nid, value, critical, X509V3_ADD_DEFAULT);
	ASN1_item_free(value, ASN1_ITEM_ptr(X509V3_EXT_get_nid(nid)->it));
	return rc == 1 ? CC_OK : cc_fail_openssl(name);
}

/* An empty subject makes the alternative name critical (RFC 5280 section 4.2.1.6). */
static cc_err take_san(struct issuing *i, X509_EXTENSION *extension)
{
	bool empty = X509_NAME_entry_count(X509_REQ_get_subject_name(i->req)) == 0;
	cc_err err = honour(i, LOCAL_HONOUR_SAN, "alternative names");

	i->has_san = true;
	return err != CC_OK ? err
			    : copy_decoded(i, extension, NID_subject_alt_name, empty ? 1 : 0,
				      "alternative names");
}

static bool template_has(const struct local_template *t, const ASN1_OBJECT *oid)
{
	for (size_t n = 0; n < t->eku_count; n++) {
		if (OBJ_cmp(t->eku[n], oid) == 0)
			return true;
	}
	return false;
}

static cc_err take_eku(struct issuing *i, X509_EXTENSION *extension)
{
	EXTENDED_KEY_USAGE *eku = NULL;
	char text[80];
	cc_err err = CC_OK;

	TRY(honour(i, LOCAL_HONOUR_EKU, "extended key usages"));
	eku = X509V3_EXT_d2i(extension);
	ENSURE(eku != NULL && sk_ASN1_OBJECT_num(eku) > 0,
		cc_fail(CC_MALFORMED, "CSR: extended key usage does not decode"));
	for (int n = 0; n < sk_ASN1_OBJECT_num(eku); n++) {
		const ASN1_OBJECT *oid = sk_ASN1_OBJECT_value(eku, n);
		if (template_has(i->t, oid))
			continue;
		OBJ_obj2txt(text, sizeof(text), oid, 1);
		err = cc_fail(CC_DENIED, "the template does not allow extended key usage %s", text);
		goto out;
	}
	ENSURE(X509_add1_ext_i2d(i->cert, NID_ext_key_usage, eku, 0, X509V3_ADD_DEFAULT) == 1,
		cc_fail_openssl("extended key usage"));
	i->has_eku = true;
out:
	EXTENDED_KEY_USAGE_free(eku);
	return err;
}

static cc_err add_key_usage(X509 *to, uint32_t bits)
{
	ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
	cc_err err = CC_OK;

	ENSURE(usage != NULL, cc_fail_openssl("key usage"));
	for (int n = 0; n < 9; n++) {
		if ((bits >> n & 1) != 0)
			ENSURE(ASN1_BIT_STRING_set_bit(usage, n, 1) == 1,
				cc_fail_openssl("key usage"));
	}
	ENSURE(X509_add1_ext_i2d(to, NID_key_usage, usage, 1, X509V3_ADD_DEFAULT) == 1,
		cc_fail_openssl("key usage"));
out:
	ASN1_BIT_STRING_free(usage);
	return err;
}

static cc_err take_key_usage(struct issuing *i, X509_EXTENSION *extension)
{
	ASN1_BIT_STRING *usage = NULL;
	uint32_t bits = 0;
	cc_err err = CC_OK;

	TRY(honour(i, LOCAL_HONOUR_KEY_USAGE, "key usage"));
	usage = X509V3_EXT_d2i(extension);
	ENSURE(usage != NULL && usage->length <= 2,
		cc_fail(CC_MALFORMED, "CSR: key usage does not decode"));
	for (int n = 0; n < 9; n++)
		bits |= ASN1_BIT_STRING_get_bit(usage, n) ? 1u << n : 0;
	ENSURE((bits & ~i->t->key_usage) == 0,
		cc_fail(CC_DENIED, "the template does not allow key usage 0x%x",
			bits & ~i->t->key_usage));
	if (bits != 0)
		TRY(add_key_usage(i->cert, bits));
	i->has_key_usage = bits != 0;
out:
	ASN1_BIT_STRING_free(usage);
	return err;
}

/* Opaque to OpenSSL: taken over byte by byte, never critical. */
static cc_err take_raw(
	struct issuing *i, X509_EXTENSION *extension, unsigned what, const char *name)
{
	X509_EXTENSION *copy = NULL;
	cc_err err = CC_OK;

	TRY(honour(i, what, name));
	copy = X509_EXTENSION_create_by_OBJ(
		NULL, X509_EXTENSION_get_object(extension), 0, X509_EXTENSION_get_data(extension));
	ENSURE(copy != NULL && X509_add_ext(i->cert, copy, -1) == 1, cc_fail_openssl(name));
out:
	X509_EXTENSION_free(copy);
	return err;
}

/* It is the order that names the template, so these two only tell; without `honour` they are left out. */
static cc_err take_template(struct issuing *i, X509_EXTENSION *extension)
{
	const ASN1_OCTET_STRING *data = X509_EXTENSION_get_data(extension);
	const unsigned char *at = ASN1_STRING_get0_data(data), *end = at + ASN1_STRING_length(data);
	ASN1_TYPE *value = d2i_ASN1_TYPE(NULL, &at, end - at);
	bool whole = value != NULL && at == end;

	ASN1_TYPE_free(value);
	if (!whole)
		return cc_fail(CC_MALFORMED, "CSR: the template's extension does not decode");
	if ((i->t->honour & LOCAL_HONOUR_TEMPLATE) == 0)
		return CC_OK;
	return take_raw(i, extension, LOCAL_HONOUR_TEMPLATE, "the template");
}

static cc_err take_basic_constraints(X509_EXTENSION *extension)
{
	BASIC_CONSTRAINTS *value = X509V3_EXT_d2i(extension);
	bool is_ca = value == NULL || value->ca != 0;

	BASIC_CONSTRAINTS_free(value);
	return is_ca ? cc_fail(CC_DENIED, "CSR: asks for a CA's certificate") : CC_OK;
}

static cc_err take_extension(struct issuing *i, X509_EXTENSION *extension)
{
	const ASN1_OBJECT *oid = X509_EXTENSION_get_object(extension);
	char text[80];

	switch (OBJ_obj2nid(oid)) {
	case NID_subject_alt_name:
		return take_san(i, extension);
	case NID_ext_key_usage:
		return take_eku(i, extension);
	case NID_key_usage:
		return take_key_usage(i, extension);
	case NID_SMIMECapabilities:
		return take_raw(i, extension, LOCAL_HONOUR_SMIME, "S/MIME capabilities");
	case NID_basic_constraints:
		return take_basic_constraints(extension);
	case NID_subject_key_identifier:
		return CC_OK; /* made anew */
	default:
		OBJ_obj2txt(text, sizeof(text), oid, 1);
		if (strcmp(text, OID_SID) == 0)
			return take_raw(i, extension, LOCAL_HONOUR_SID, "the SID");
		if (strcmp(text, OID_TEMPLATE_NAME) == 0 || strcmp(text, OID_TEMPLATE_ID) == 0)
			return take_template(i, extension);
		return cc_fail(CC_DENIED, "CSR: asks for extension %s, which is not known", text);
	}
}

static cc_err take_extensions(struct issuing *i)
{
	for (int n = 0; n < sk_X509_EXTENSION_num(i->asked); n++) {
		X509_EXTENSION *extension = sk_X509_EXTENSION_value(i->asked, n);
		const ASN1_OBJECT *oid = X509_EXTENSION_get_object(extension);
		cc_err err;
		if (X509v3_get_ext_by_OBJ(i->asked, oid, n) >= 0)
			return cc_fail(CC_MALFORMED, "CSR: an extension occurs twice");
		err = take_extension(i, extension);
		ERR_clear_error();
		if (err != CC_OK)
			return err;
	}
	return CC_OK;
}

/* ---- the certificate ---- */

static cc_err add_template_defaults(struct issuing *i)
{
	EXTENDED_KEY_USAGE *eku = NULL;
	cc_err err = CC_OK;

	if (!i->has_key_usage && i->t->key_usage != 0)
		TRY(add_key_usage(i->cert, i->t->key_usage));
	if (i->has_eku || i->t->eku_count == 0)
		goto out;
	eku = sk_ASN1_OBJECT_new_null();
	ENSURE(eku != NULL, cc_fail_openssl("extended key usage"));
	for (size_t n = 0; n < i->t->eku_count; n++) {
		ASN1_OBJECT *copy = OBJ_dup(i->t->eku[n]);
		ENSURE(copy != NULL && sk_ASN1_OBJECT_push(eku, copy) > 0,
			cc_fail_openssl("extended key usage"));
	}
	ENSURE(X509_add1_ext_i2d(i->cert, NID_ext_key_usage, eku, 0, X509V3_ADD_DEFAULT) == 1,
		cc_fail_openssl("extended key usage"));
out:
	EXTENDED_KEY_USAGE_free(eku);
	return err;
}

static cc_err add_ca_extensions(struct issuing *i)
{
	const X509 *root = i->ca->root;
	char *point = NULL;
	cc_err err = CC_OK;

	TRY(local_ext_add(i->cert, root, i->cert, NID_basic_constraints, "critical,CA:FALSE"));
	TRY(local_ext_add(i->cert, root, i->cert, NID_subject_key_identifier, "hash"));
	TRY(local_ext_add(i->cert, root, i->cert, NID_authority_key_identifier, "keyid:always"));
	if (i->ca->crl_url != NULL) {
		point = cc_asprintf("URI:%s", i->ca->crl_url);
		TRY(local_ext_add(i->cert, root, i->cert, NID_crl_distribution_points, point));
	}
out:
	free(point);
	return err;
}

/* Never longer than asked for, than the template's limit, or than the CA itself. */
static int64_t end_of(const struct issuing *i, uint32_t validity_s, int64_t now_s)
{
	int64_t length = (int64_t)i->t->max_validity_s;
	int64_t root_end = local_time_of(X509_get0_notAfter(i->ca->root));

	if (validity_s != 0 && validity_s < length)
		length = validity_s;
	return now_s + length < root_end ? now_s + length : root_end;
}

static cc_err fill(struct issuing *i, const uint8_t serial[LOCAL_SERIAL_SIZE], uint32_t validity_s,
	int64_t now_s)
{
	int64_t end = end_of(i, validity_s, now_s);
	cc_err err = CC_OK;

	ENSURE(end > now_s, cc_fail(CC_CONFIG, "the CA's own certificate is over"));
	ENSURE(X509_set_version(i->cert, X509_VERSION_3) == 1 &&
			X509_set_issuer_name(i->cert, X509_get_subject_name(i->ca->root)) == 1 &&
			X509_set_subject_name(i->cert, X509_REQ_get_subject_name(i->req)) == 1 &&
			X509_set_pubkey(i->cert, X509_REQ_get0_pubkey(i->req)) == 1,
		cc_fail_openssl("certificate"));
	TRY(local_serial_set(i->cert, serial));
	TRY(local_times_set(i->cert, now_s - LOCAL_BACKDATE_S, end));
	TRY(add_ca_extensions(i));
	TRY(take_extensions(i));
	TRY(add_template_defaults(i));
	ENSURE(i->has_san || X509_NAME_entry_count(X509_REQ_get_subject_name(i->req)) > 0,
		cc_fail(CC_DENIED, "CSR: neither subject nor alternative name"));
out:
	return err;
}

/* Everything but the signature. */
static cc_err build(struct issuing *i, cc_view csr, uint32_t validity_s,
	const uint8_t serial[LOCAL_SERIAL_SIZE], int64_t now_s)
{
	cc_err err = CC_OK;

	TRY(read_request(csr, i));
	i->cert = X509_new();
	ENSURE(i->cert != NULL, cc_fail_openssl("certificate"));
	TRY(fill(i, serial, validity_s, now_s));
out:
	return err;
}

static void clear(struct issuing *i)
{
	X509_free(i->cert);
	sk_X509_EXTENSION_pop_free(i->asked, X509_EXTENSION_free);
	X509_REQ_free(i->req);
}

cc_err local_issue_check(const struct local_ca *ca, const struct local_template *t, cc_view csr,
	uint32_t validity_s, int64_t now_s)
{
	struct issuing i = {.ca = ca, .t = t};
	uint8_t serial[LOCAL_SERIAL_SIZE];
	cc_err err;

	local_random_serial(serial);
	err = build(&i, csr, validity_s, serial, now_s);
	clear(&i);
	return err;
}

cc_err local_issue(const struct local_ca *ca, const struct local_template *t, cc_view csr,
	uint32_t validity_s, const uint8_t serial[LOCAL_SERIAL_SIZE], int64_t now_s,
	cc_blob *ret_der)
{
	struct issuing i = {.ca = ca, .t = t};
	cc_err err = CC_OK;

	TRY(build(&i, csr, validity_s, serial, now_s));
	ENSURE(X509_sign(i.cert, ca->key, local_key_digest(ca->key)) > 0,
		cc_fail_openssl("signing a certificate"));
	TRY(local_certificate_der(i.cert, ret_der));
out:
	clear(&i);
	return err;
}
