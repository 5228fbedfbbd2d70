/*
 * Sealing by OpenSSL's CMS and RSA-OAEP.  CMS wants a certificate as the recipient; a bare public key gets
 * a throw-away one that carries nothing but key and subjectKeyIdentifier.
 */
#include "keyvault/sealer.h"

#include <openssl/cms.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

#define SPKI_MAX        640u /* RSA-4096 needs 550 and a long exponent a little more */
#define CERTIFICATE_MAX (16u * 1024u)
#define P256_SPKI       91u /* uncompressed, named curve */
#define P384_SPKI       120u

/* ---- device keys ---- */

static cc_err bad_key(const char *why)
{
	ERR_clear_error();
	return cc_fail(CC_BAD_KEY, "device key: %s", why);
}

static cc_err check_rsa(const EVP_PKEY *key)
{
	BIGNUM *n = NULL, *e = NULL;
	int bits = EVP_PKEY_get_bits(key);
	cc_err err = CC_OK;

	ENSURE(bits >= 2048 && bits <= 4096,
		cc_fail(CC_BAD_KEY, "device key: RSA of %d bits, 2048 to 4096 are taken", bits));
	ENSURE(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
			EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1,
		bad_key("RSA without its numbers"));
	ENSURE(BN_is_odd(n), bad_key("an even RSA modulus"));
	/* A small exponent would let whoever carries the password take a root. */
	ENSURE(BN_is_odd(e) && BN_num_bits(e) >= 17 && BN_num_bits(e) <= 64,
		bad_key("an RSA exponent that is even, or not over 2^16 and under 2^64"));
out:
	BN_free(n);
	BN_free(e);
	return err;
}

/* d2i has checked that the point is on the curve. */
static cc_err check_ec(const EVP_PKEY *key, size_t spki_size)
{
	char name[32] = "";

	(void)EVP_PKEY_get_group_name(key, name, sizeof(name), NULL);
	if (strcmp(name, "prime256v1") == 0 && spki_size == P256_SPKI)
		return CC_OK;
	if (strcmp(name, "secp384r1") == 0 && spki_size == P384_SPKI)
		return CC_OK;
	return bad_key("an elliptic curve other than P-256 and P-384, or not a plain named one");
}

static cc_err check_canonical(const EVP_PKEY *key, cc_view spki)
{
	unsigned char *der = NULL;
	int size = i2d_PUBKEY(key, &der);
	bool same = size > 0 && cc_view_equal(spki, cc_view_of(der, (size_t)size));

	OPENSSL_free(der);
	return same ? CC_OK : bad_key("not in canonical DER");
}

cc_err sealer_device_key(cc_view spki, EVP_PKEY **ret)
{
	const uint8_t *at = spki.data;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	ENSURE(spki.size > 0 && spki.size <= SPKI_MAX, bad_key("of a size that no key here has"));
	key = d2i_PUBKEY(NULL, &at, (long)spki.size);
	ENSURE(key, bad_key("does not parse, or is not on its curve"));
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
		TRY(check_rsa(key));
		break;
	case EVP_PKEY_EC:
		TRY(check_ec(key, spki.size));
		break;
	default:
		err = bad_key("neither RSA nor EC");
		goto out;
	}
	TRY(check_canonical(key, spki));
	*ret = key;
	key = NULL;
out:
	EVP_PKEY_free(key);
	return err;
}

cc_err sealer_device_key_from_certificate(cc_view certificate, EVP_PKEY **ret, cc_blob *ret_spki)
{
	const uint8_t *at = certificate.data;
	X509 *parsed = NULL;
	unsigned char *der = NULL;
	EVP_PKEY *key = NULL;
	int size = 0;
	cc_err err = CC_OK;

	ENSURE(certificate.size > 0 && certificate.size <= CERTIFICATE_MAX,
		bad_key("a certificate that is empty or over 16 KiB"));
	parsed = d2i_X509(NULL, &at, (long)certificate.size);
	ENSURE(parsed && at == certificate.data + certificate.size,
		bad_key("a certificate that does not parse"));
	size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(parsed), &der);
	ENSURE(size > 0, cc_fail_openssl("device key"));
	TRY(sealer_device_key(cc_view_of(der, (size_t)size), &key));
	*ret = key;
	*ret_spki = cc_blob_copy(cc_view_of(der, (size_t)size));
out:
	OPENSSL_free(der);
	X509_free(parsed);
	return err;
}

cc_err sealer_ski(cc_view spki, uint8_t ret[SEALER_SKI_SIZE])
{
	const uint8_t *at = spki.data, *bits = NULL;
	X509_PUBKEY *key = NULL;
	int size = 0;
	cc_err err = CC_OK;

	ENSURE(spki.size > 0 && spki.size <= SPKI_MAX, bad_key("of a size that no key here has"));
	key = d2i_X509_PUBKEY(NULL, &at, (long)spki.size);
	ENSURE(key && X509_PUBKEY_get0_param(NULL, &bits, &size, NULL, key) == 1,
		bad_key("does not parse"));
	ENSURE(EVP_Digest(bits, (size_t)size, ret, NULL, EVP_sha1(), NULL) == 1,
		cc_fail_openssl("SHA-1"));
out:
	X509_PUBKEY_free(key);
	return err;
}

/* ---- OAEP ---- */

/* One hash for OAEP and MGF1; the label is copied, since the context takes it over. */
static cc_err oaep_init(EVP_PKEY_CTX *ctx, const EVP_MD *hash, cc_view label)
{
	cc_err err = CC_OK;
	void *copy = NULL;

	ENSURE(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
			EVP_PKEY_CTX_set_rsa_oaep_md(ctx, hash) == 1 &&
			EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, hash) == 1,
		cc_fail_openssl("OAEP"));
	if (label.size > 0) {
		copy = OPENSSL_memdup(label.data, label.size);
		ENSURE(copy && EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, copy, (int)label.size) == 1,
			cc_fail_openssl("OAEP label"));
		copy = NULL;
	}
out:
	OPENSSL_free(copy);
	return err;
}

static cc_err oaep_encrypt(
	EVP_PKEY *key, const EVP_MD *hash, cc_view label, cc_view plain, cc_blob *ret)
{
	size_t room = (size_t)EVP_PKEY_get_size(key);
	size_t overhead = 2 * (size_t)EVP_MD_get_size(hash) + 2;
	cc_blob out = CC_BLOB_NONE;
	EVP_PKEY_CTX *ctx = NULL;
	cc_err err = CC_OK;

	ENSURE(EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA, bad_key("OAEP needs RSA"));
	ENSURE(plain.size > 0, cc_fail(CC_MALFORMED, "an empty password"));
	ENSURE(room > overhead && plain.size <= room - overhead,
		cc_fail(CC_TOO_LARGE, "a password of %zu bytes does not fit the key", plain.size));
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	ENSURE(ctx && EVP_PKEY_encrypt_init(ctx) == 1, cc_fail_openssl("OAEP encrypt"));
	TRY(oaep_init(ctx, hash, label));
	out = cc_blob_new(room);
	ENSURE(EVP_PKEY_encrypt(ctx, out.data, &out.size, plain.data, plain.size) == 1,
		cc_fail_openssl("OAEP encrypt"));
	*ret = cc_blob_move(&out);
out:
	cc_blob_free(&out);
	EVP_PKEY_CTX_free(ctx);
	return err;
}

static cc_err does_not_open(const char *what)
{
	ERR_clear_error();
	return cc_fail(CC_PASSWORD, "%s does not decrypt with this key, form and label", what);
}

static cc_err oaep_decrypt(
	EVP_PKEY *key, const EVP_MD *hash, cc_view label, cc_view sealed, cc_secret *ret)
{
	size_t size = (size_t)EVP_PKEY_get_size(key);
	cc_secret plain = CC_SECRET_NONE;
	EVP_PKEY_CTX *ctx = NULL;
	cc_err err = CC_OK;

	ENSURE(EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && sealed.size == size,
		does_not_open("a password"));
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	ENSURE(ctx && EVP_PKEY_decrypt_init(ctx) == 1, cc_fail_openssl("OAEP decrypt"));
	TRY(oaep_init(ctx, hash, label));
	plain = cc_secret_new(size);
	ENSURE(EVP_PKEY_decrypt(ctx, plain.data, &size, sealed.data, sealed.size) == 1,
		does_not_open("a password"));
	ENSURE(size > 0, does_not_open("an empty password"));
	cc_secret_resize(&plain, size);
	*ret = cc_secret_move(&plain);
out:
	cc_secret_free(&plain);
	EVP_PKEY_CTX_free(ctx);
	return err;
}

/* ---- CMS ---- */

static cc_err add_identifier(X509 *holder, EVP_PKEY *key)
{
	uint8_t ski[SEALER_SKI_SIZE];
	unsigned char *spki = NULL;
	int size = i2d_PUBKEY(key, &spki);
	ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
	cc_err err = CC_OK;

	ENSURE(id && size > 0, cc_fail_openssl("recipient"));
	TRY(sealer_ski(cc_view_of(spki, (size_t)size), ski));
	ENSURE(ASN1_OCTET_STRING_set(id, ski, SEALER_SKI_SIZE) == 1 &&
			X509_add1_ext_i2d(
				holder, NID_subject_key_identifier, id, 0, X509V3_ADD_DEFAULT) == 1,
		cc_fail_openssl("recipient"));
out:
	ASN1_OCTET_STRING_free(id);
	OPENSSL_free(spki);
	return err;
}

/* The key and its identifier.  It never leaves this file, but OpenSSL reads extensions only from a
 * certificate that encodes, which means one that is signed: with a key that is forgotten at once. */
static cc_err recipient_new(EVP_PKEY *key, X509 **ret)
{
	EVP_PKEY *throw_away = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	X509 *holder = X509_new();
	cc_err err = CC_OK;

	ENSURE(holder && throw_away, cc_fail_openssl("recipient"));
	TRY(add_identifier(holder, key));
	ENSURE(X509_set_version(holder, X509_VERSION_3) == 1 && X509_set_pubkey(holder, key) == 1 &&
			X509_gmtime_adj(X509_getm_notBefore(holder), 0) &&
			X509_gmtime_adj(X509_getm_notAfter(holder), 60) &&
			X509_sign(holder, throw_away, NULL) > 0,
		cc_fail_openssl("recipient"));
	*ret = holder;
	holder = NULL;
out:
	EVP_PKEY_free(throw_away);
	X509_free(holder);
	return err;
}

static cc_err add_recipient(CMS_ContentInfo *cms, EVP_PKEY *key)
{
	X509 *holder = NULL;
	CMS_RecipientInfo *info;
	EVP_PKEY_CTX *ctx = NULL;
	cc_err err = CC_OK;

	TRY(recipient_new(key, &holder));
	info = CMS_add1_recipient_cert(cms, holder, CMS_USE_KEYID | CMS_KEY_PARAM);
	if (info)
		ctx = CMS_RecipientInfo_get0_pkey_ctx(info);
	ENSURE(ctx, cc_fail_openssl("CMS recipient"));
	if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA)
		TRY(oaep_init(ctx, EVP_sha256(), CC_VIEW_NONE));
	else
		ENSURE(EVP_PKEY_CTX_set_ecdh_kdf_md(ctx, EVP_sha256()) == 1,
			cc_fail_openssl("CMS key agreement"));
out:
	X509_free(holder);
	return err;
}

/* Written straight into the cipher: CMS_final would leave a copy of the password on the stack. */
static cc_err cms_encrypt(CMS_ContentInfo *cms, cc_view plain)
{
	BIO *cipher = CMS_dataInit(cms, NULL);
	cc_err err = CC_OK;

	ENSURE(cipher && BIO_write(cipher, plain.data, (int)plain.size) == (int)plain.size &&
			BIO_flush(cipher) == 1 && CMS_dataFinal(cms, cipher) == 1,
		cc_fail_openssl("CMS encrypt"));
out:
	BIO_free_all(cipher);
	return err;
}

static cc_err cms_seal(EVP_PKEY *key, cc_view plain, cc_blob *ret)
{
	CMS_ContentInfo *cms = CMS_encrypt(NULL, NULL, EVP_aes_256_gcm(), CMS_BINARY | CMS_PARTIAL);
	unsigned char *der = NULL;
	int size = 0;
	cc_err err = CC_OK;

	ENSURE(cms, cc_fail_openssl("CMS"));
	TRY(add_recipient(cms, key));
	TRY(cms_encrypt(cms, plain));
	size = i2d_CMS_ContentInfo(cms, &der);
	ENSURE(size > 0, cc_fail_openssl("CMS encode"));
	*ret = cc_blob_copy(cc_view_of(der, (size_t)size));
out:
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	return err;
}

static cc_err cms_parse(cc_view sealed, CMS_ContentInfo **ret)
{
	const uint8_t *at = sealed.data;
	CMS_ContentInfo *cms = NULL;
	cc_err err = CC_OK;

	cms = d2i_CMS_ContentInfo(NULL, &at, (long)sealed.size);
	ENSURE(cms && at == sealed.data + sealed.size, does_not_open("what is not CMS"));
	/* Authenticated encryption only: CBC decrypts to another password without an error. */
	ENSURE(OBJ_obj2nid(CMS_get0_type(cms)) == NID_id_smime_ct_authEnvelopedData,
		does_not_open("CMS without authentication"));
	ENSURE(sk_CMS_RecipientInfo_num(CMS_get0_RecipientInfos(cms)) == 1,
		does_not_open("CMS for several recipients"));
	*ret = cms;
	cms = NULL;
out:
	CMS_ContentInfo_free(cms);
	return err;
}

static cc_err cms_open(EVP_PKEY *key, cc_view sealed, cc_secret *ret)
{
	CMS_ContentInfo *cms = NULL;
	BIO *out_bio = BIO_new(BIO_s_mem()); /* its memory is wiped when it is freed */
	char *plain = NULL;
	long size = 0;
	cc_err err = CC_OK;

	ENSURE(out_bio, cc_fail_openssl("CMS"));
	TRY(cms_parse(sealed, &cms));
	ENSURE(CMS_decrypt_set1_pkey(cms, key, NULL) == 1 &&
			CMS_decrypt(cms, NULL, NULL, NULL, out_bio, CMS_BINARY) == 1,
		does_not_open("a sealed password"));
	size = BIO_get_mem_data(out_bio, &plain);
	ENSURE(size > 0 && size <= (long)SEALER_PLAIN_MAX, does_not_open("content of this size"));
	*ret = cc_secret_copy(cc_view_of(plain, (size_t)size));
out:
	ERR_clear_error(); /* decryption leaves entries also when it succeeds */
	CMS_ContentInfo_free(cms);
	BIO_free(out_bio);
	return err;
}

/* ---- forms ---- */

cc_err sealer_check_form(const EVP_PKEY *device_key, Certq__Seal form)
{
	switch (form) {
	case CERTQ__SEAL__SEAL_CMS_AUTH:
		return CC_OK;
	case CERTQ__SEAL__SEAL_OAEP_SHA256:
		return EVP_PKEY_get_base_id(device_key) == EVP_PKEY_RSA
			       ? CC_OK
			       : bad_key("the form oaep-sha256 needs RSA");
	default:
		return cc_fail(CC_NOT_SUPPORTED, "seal form %d", (int)form);
	}
}

cc_err sealer_seal(EVP_PKEY *device_key, Certq__Seal form, cc_view password, cc_blob *ret)
{
	cc_err err = CC_OK;

	ENSURE(password.size > 0, cc_fail(CC_MALFORMED, "an empty password"));
	ENSURE(password.size <= SEALER_PLAIN_MAX,
		cc_fail(CC_TOO_LARGE, "a password of %zu bytes", password.size));
	TRY(sealer_check_form(device_key, form));
	if (form == CERTQ__SEAL__SEAL_OAEP_SHA256)
		TRY(oaep_encrypt(device_key, EVP_sha256(), CC_VIEW_NONE, password, ret));
	else
		TRY(cms_seal(device_key, password, ret));
out:
	return err;
}

cc_err sealer_open(EVP_PKEY *private_key, Certq__Seal form, cc_view sealed, cc_secret *ret)
{
	cc_err err = CC_OK;

	ENSURE(sealed.size > 0 && sealed.size <= SEALER_SEALED_MAX,
		does_not_open("a sealed password of this size"));
	TRY(sealer_check_form(private_key, form));
	if (form == CERTQ__SEAL__SEAL_OAEP_SHA256)
		TRY(oaep_decrypt(private_key, EVP_sha256(), CC_VIEW_NONE, sealed, ret));
	else
		TRY(cms_open(private_key, sealed, ret));
out:
	return err;
}

/* ---- imported passwords ---- */

static const EVP_MD *padding_hash(Certq__Padding padding)
{
	switch (padding) {
	case CERTQ__PADDING__PADDING_OAEP_SHA256:
		return EVP_sha256();
	case CERTQ__PADDING__PADDING_OAEP_SHA384:
		return EVP_sha384();
	case CERTQ__PADDING__PADDING_OAEP_SHA512:
		return EVP_sha512();
	default:
		return NULL;
	}
}

cc_err sealer_password_encrypt(
	EVP_PKEY *recipient, Certq__Padding padding, cc_view label, cc_view password, cc_blob *ret)
{
	const EVP_MD *hash = padding_hash(padding);

	if (!hash)
		return cc_fail(CC_NOT_SUPPORTED, "padding %d", (int)padding);
	if (EVP_PKEY_get_base_id(recipient) != EVP_PKEY_RSA || EVP_PKEY_get_bits(recipient) < 2048)
		return bad_key("a recipient is RSA of 2048 bits or more");
	return oaep_encrypt(recipient, hash, label, password, ret);
}

cc_err sealer_password_decrypt(EVP_PKEY *private_key, Certq__Padding padding, cc_view label,
	cc_view encrypted, cc_secret *ret)
{
	const EVP_MD *hash = padding_hash(padding);

	if (!hash)
		return does_not_open("a password of an unknown padding");
	return oaep_decrypt(private_key, hash, label, encrypted, ret);
}
