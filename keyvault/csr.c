/*
 * CSRs by OpenSSL: subject, key, one extensionRequest with all extensions.
 */
#include "keyvault/csr.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

/* AES-256-CBC, AES-128-CBC, 3DES (RFC 8551 section 2.5.2). */
static const uint8_t smime_capabilities[] = {0x30, 0x26, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48,
	0x01, 0x65, 0x03, 0x04, 0x01, 0x2a, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
	0x03, 0x04, 0x01, 0x02, 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x03,
	0x07};

typedef STACK_OF(X509_EXTENSION) extensions;

static cc_err add_encoded(extensions **list, int nid, bool critical, void *value)
{
	return X509V3_add1_i2d(list, nid, value, critical, X509V3_ADD_DEFAULT) == 1
		       ? CC_OK
		       : cc_fail_openssl("CSR extension");
}

/* Takes the extension over. */
static cc_err add_extension(extensions **list, X509_EXTENSION *extension)
{
	if (!*list)
		*list = sk_X509_EXTENSION_new_null();
	if (!*list || sk_X509_EXTENSION_push(*list, extension) <= 0) {
		X509_EXTENSION_free(extension);
		return cc_fail_openssl("CSR extension");
	}
	return CC_OK;
}

static cc_err add_bytes(extensions **list, const ASN1_OBJECT *oid, cc_view der)
{
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	X509_EXTENSION *extension = NULL;
	cc_err err = CC_OK;

	ENSURE(value && ASN1_OCTET_STRING_set(value, der.data, (int)der.size) == 1,
		cc_fail_openssl("CSR extension"));
	extension = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
	ENSURE(extension, cc_fail_openssl("CSR extension"));
	TRY(add_extension(list, extension));
out:
	ASN1_OCTET_STRING_free(value);
	return err;
}

/* Critical when nothing else names the holder (RFC 5280 section 4.2.1.6). */
static cc_err add_san(extensions **list, const Certq__Issue *issue)
{
	GENERAL_NAMES *names = NULL;
	cc_err err = CC_OK;

	TRY(names_san(issue, &names));
	if (names)
		TRY(add_encoded(list, NID_subject_alt_name, issue->subject.len == 0, names));
out:
	GENERAL_NAMES_free(names);
	return err;
}

static cc_err add_eku(extensions **list, const cc_view *eku, size_t count)
{
	EXTENDED_KEY_USAGE *usages = sk_ASN1_OBJECT_new_null();
	cc_err err = CC_OK;

	ENSURE(usages, cc_fail_openssl("CSR extension"));
	for (size_t i = 0; i < count; i++) {
		ASN1_OBJECT *oid = NULL;

		TRY(names_oid(eku[i], &oid));
		if (sk_ASN1_OBJECT_push(usages, oid) <= 0)
			cc_die("CSR: out of memory");
	}
	if (count > 0)
		TRY(add_encoded(list, NID_ext_key_usage, false, usages));
out:
	sk_ASN1_OBJECT_pop_free(usages, ASN1_OBJECT_free);
	return err;
}

static cc_err add_key_usage(extensions **list, uint32_t bits)
{
	ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
	cc_err err = CC_OK;

	ENSURE(usage, cc_fail_openssl("CSR extension"));
	for (int bit = 0; bit < 9; bit++)
		if (bits & 1u << bit)
			ENSURE(ASN1_BIT_STRING_set_bit(usage, bit, 1) == 1,
				cc_fail_openssl("CSR extension"));
	if (bits != 0)
		TRY(add_encoded(list, NID_key_usage, true, usage));
out:
	ASN1_BIT_STRING_free(usage);
	return err;
}

static cc_err add_sid(extensions **list, const Certq__Issue *issue)
{
	X509_EXTENSION *extension = NULL;
	cc_err err = CC_OK;

	if (issue->sid_form != CERTQ__SID_FORM__SID_EXTENSION)
		return CC_OK;
	TRY(names_sid_extension(
		cc_view_of(issue->holder->sid.data, issue->holder->sid.len), &extension));
	TRY(add_extension(list, extension));
out:
	return err;
}

static cc_err add_template(extensions **list, const struct csr_request *request)
{
	X509_EXTENSION *name = NULL, *id = NULL;
	cc_err err = CC_OK;

	if (request->template_name.size > 0) {
		TRY(names_template_name(request->template_name, &name));
		TRY(add_extension(list, name));
	}
	if (request->template_id) {
		TRY(names_template_id(request->template_id, &id));
		TRY(add_extension(list, id));
	}
out:
	return err;
}

static cc_err add_all(extensions **list, const struct csr_request *request)
{
	cc_err err = CC_OK;

	TRY(add_san(list, request->issue));
	TRY(add_eku(list, request->eku, request->eku_count));
	TRY(add_key_usage(list, request->key_usage));
	TRY(add_sid(list, request->issue));
	TRY(add_template(list, request));
	if (request->issue->smime_capabilities)
		TRY(add_bytes(list, OBJ_nid2obj(NID_SMIMECapabilities),
			cc_view_of(smime_capabilities, sizeof(smime_capabilities))));
out:
	return err;
}

static const EVP_MD *digest_for(const EVP_PKEY *key)
{
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_ED25519:
		return NULL;
	case EVP_PKEY_EC:
		return EVP_PKEY_get_bits(key) > 256 ? EVP_sha384() : EVP_sha256();
	default:
		return EVP_sha256();
	}
}

static cc_err encode(X509_REQ *req, cc_blob *ret)
{
	unsigned char *der = NULL;
	int size = i2d_X509_REQ(req, &der);

	if (size <= 0)
		return cc_fail_openssl("CSR");
	*ret = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	return CC_OK;
}

cc_err csr_make(EVP_PKEY *key, const struct csr_request *request, cc_blob *ret_der)
{
	const ProtobufCBinaryData *subject = &request->issue->subject;
	X509_REQ *req = X509_REQ_new();
	X509_NAME *name = NULL;
	extensions *list = NULL;
	cc_err err = CC_OK;

	TRY(names_subject(cc_view_of(subject->data, subject->len), &name));
	TRY(add_all(&list, request));
	ENSURE(req && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
			X509_REQ_set_subject_name(req, name) == 1 &&
			X509_REQ_set_pubkey(req, key) == 1 &&
			(!list || X509_REQ_add_extensions(req, list) == 1) &&
			X509_REQ_sign(req, key, digest_for(key)) > 0,
		cc_fail_openssl("CSR"));
	TRY(encode(req, ret_der));
out:
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	X509_NAME_free(name);
	X509_REQ_free(req);
	return err;
}
