/*
 * DSSE signatures over the pre-authentication encoding.  Key types are told apart by the whole SPKI
 * prefix, so that exactly one encoding of each key exists and a key id names one key.
 */
#include "proto/dsse.h"
#include "proto/codec.h"

#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define ED25519_SIGNATURE   64
#define ECDSA_SIGNATURE_MAX 80

static const uint8_t ed25519_prefix[] = {
	0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
static const uint8_t p256_prefix[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce,
	0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42,
	0x00, 0x04};

void dsse_key_id(cc_view spki, uint8_t ret[SHA256_SIZE])
{
	hash_sha256(spki, ret);
}

static bool has_prefix(cc_view spki, const uint8_t *prefix, size_t size, size_t total)
{
	return spki.size == total &&
	       cc_view_equal(cc_view_part(spki, 0, size), cc_view_of(prefix, size));
}

cc_err dsse_public_key(cc_view spki, EVP_PKEY **ret)
{
	const uint8_t *at = spki.data;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	ENSURE(has_prefix(spki, ed25519_prefix, sizeof(ed25519_prefix), 44) ||
			has_prefix(spki, p256_prefix, sizeof(p256_prefix), 91),
		cc_fail(CC_BAD_KEY,
			"a signing key is Ed25519 or P-256 in canonical DER; these %zu bytes are "
			"neither",
			spki.size));
	key = d2i_PUBKEY(NULL, &at, (long)spki.size);
	if (!key) {
		cc_ignore(cc_fail_openssl("signing key"),
			"drains the queue; the caller needs one class");
		err = cc_fail(CC_BAD_KEY, "the signing key is not a point of its curve");
		goto out;
	}
	*ret = key;
out:
	return err;
}

cc_err dsse_spki(const EVP_PKEY *key, cc_blob *ret)
{
	unsigned char *der = NULL;
	int size = i2d_PUBKEY(key, &der);

	if (size <= 0)
		return cc_fail_openssl("encode a public key");
	*ret = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	return CC_OK;
}

static cc_blob encode(const char *type, cc_view body)
{
	cc_blob out = CC_BLOB_NONE;

	cc_blob_reserve(&out, 64 + strlen(type) + body.size);
	cc_blob_printf(&out, "DSSEv1 %zu %s %zu ", strlen(type), type, body.size);
	cc_blob_append(&out, body);
	return out;
}

/* Ed25519 has its hash inside; P-256 takes SHA-256. */
static const EVP_MD *digest_of(const EVP_PKEY *key)
{
	return EVP_PKEY_get_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
}

static cc_err sign(EVP_PKEY *key, cc_view message, uint8_t *signature, size_t *size)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	cc_err err = CC_OK;

	ENSURE(ctx && EVP_DigestSignInit(ctx, NULL, digest_of(key), NULL, key) == 1 &&
			EVP_DigestSign(ctx, signature, size, message.data, message.size) == 1,
		cc_fail_openssl("sign a document"));
out:
	EVP_MD_CTX_free(ctx);
	return err;
}

static ProtobufCBinaryData own(cc_view from)
{
	ProtobufCBinaryData to = {.len = from.size};

	if (from.size > 0) {
		to.data = (uint8_t *)cc_alloc(from.size);
		memcpy(to.data, from.data, from.size);
	}
	return to;
}

cc_err dsse_sign(EVP_PKEY *key, const char *type, cc_view body, Certq__SignedDocument **ret)
{
	uint8_t signature[ECDSA_SIGNATURE_MAX], key_id[SHA256_SIZE];
	size_t signature_size = sizeof(signature);
	Certq__SignedDocument *document;
	EVP_PKEY *public_half = NULL;
	cc_blob spki = CC_BLOB_NONE, message = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(body.size <= DOC_BODY_MAX,
		cc_fail(CC_TOO_LARGE, "a document of %zu bytes", body.size));
	TRY(dsse_spki(key, &spki));
	TRY(dsse_public_key(cc_blob_view(&spki), &public_half));
	message = encode(type, body);
	TRY(sign(key, cc_blob_view(&message), signature, &signature_size));
	dsse_key_id(cc_blob_view(&spki), key_id);

	document = (Certq__SignedDocument *)cc_alloc(sizeof(*document));
	certq__signed_document__init(document);
	document->body = own(body);
	document->key_id = own(cc_view_of(key_id, sizeof(key_id)));
	document->signature = own(cc_view_of(signature, signature_size));
	*ret = document;
out:
	EVP_PKEY_free(public_half);
	cc_blob_free(&message);
	cc_blob_free(&spki);
	return err;
}

static cc_err verify(EVP_PKEY *key, cc_view message, cc_view signature)
{
	bool is_ed25519 = EVP_PKEY_get_id(key) == EVP_PKEY_ED25519;
	EVP_MD_CTX *ctx = NULL;
	cc_err err = CC_OK;

	ENSURE(is_ed25519 ? signature.size == ED25519_SIGNATURE
			  : signature.size > 0 && signature.size <= ECDSA_SIGNATURE_MAX,
		cc_fail(CC_BAD_SIGNATURE, "a signature of %zu bytes", signature.size));
	ctx = EVP_MD_CTX_new();
	ENSURE(ctx && EVP_DigestVerifyInit(ctx, NULL, digest_of(key), NULL, key) == 1,
		cc_fail_openssl("verify a document"));
	if (EVP_DigestVerify(ctx, signature.data, signature.size, message.data, message.size) !=
		1) {
		cc_ignore(cc_fail_openssl("signature"), "drains the queue; the class is ours");
		err = cc_fail(
			CC_BAD_SIGNATURE, "the signature is not over these bytes as this type");
	}
out:
	EVP_MD_CTX_free(ctx);
	return err;
}

cc_err dsse_verify(cc_view spki, const char *type, const Certq__SignedDocument *document)
{
	uint8_t key_id[SHA256_SIZE];
	EVP_PKEY *key = NULL;
	cc_blob message = CC_BLOB_NONE;
	cc_view body;
	cc_err err = CC_OK;

	ENSURE(document, cc_fail(CC_MALFORMED, "no signed document"));
	body = codec_view(document->body);
	ENSURE(body.size <= DOC_BODY_MAX,
		cc_fail(CC_TOO_LARGE, "a document of %zu bytes", body.size));
	dsse_key_id(spki, key_id);
	ENSURE(cc_view_equal(codec_view(document->key_id), cc_view_of(key_id, sizeof(key_id))),
		cc_fail(CC_UNKNOWN_KEY, "signed with another key than the one expected here"));
	TRY(dsse_public_key(spki, &key));
	message = encode(type, body);
	TRY(verify(key, cc_blob_view(&message), codec_view(document->signature)));
out:
	cc_blob_free(&message);
	EVP_PKEY_free(key);
	return err;
}
