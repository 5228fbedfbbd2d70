/*
 * Device keys, which form fits which key, and RSA-OAEP, for devices and for imported passwords.  The forms
 * that are CMS are in sealer_cms.c.
 */
#include "keyvault/sealer_int.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <string.h>

#define SPKI_MAX        640u /* RSA-4096 needs 550 and a long exponent a little more */
#define CERTIFICATE_MAX (16u * 1024u)
#define P256_SPKI       91u /* uncompressed, named curve */
#define P384_SPKI       120u

/* ---- device keys ---- */

cc_err sealer_bad_key(const char *why)
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
		sealer_bad_key("RSA without its numbers"));
	ENSURE(BN_is_odd(n), sealer_bad_key("an even RSA modulus"));
	/* A small exponent would let whoever carries the password take a root. */
	ENSURE(BN_is_odd(e) && BN_num_bits(e) >= 17 && BN_num_bits(e) <= 64,
		sealer_bad_key("an RSA exponent that is even, or not over 2^16 and under 2^64"));
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
	if (strcmp(name, "prime256v1") != 0 && strcmp(name, "secp384r1") != 0)
		return sealer_bad_key("an elliptic curve other than P-256 and P-384");
	size_t plain = strcmp(name, "prime256v1") == 0 ? P256_SPKI : P384_SPKI;
	return spki_size == plain
		       ? CC_OK
		       : sealer_bad_key("a curve or a point that is not in its plain named form");
}

static cc_err check_canonical(const EVP_PKEY *key, cc_view spki)
{
	unsigned char *der = NULL;
	int size = i2d_PUBKEY(key, &der);
	bool same = size > 0 && cc_view_equal(spki, cc_view_of(der, (size_t)size));

	OPENSSL_free(der);
	if (size <= 0)
		return sealer_bad_key("a point at infinity, or numbers that do not encode");
	return same ? CC_OK : sealer_bad_key("not in canonical DER");
}

cc_err sealer_device_key(cc_view spki, EVP_PKEY **ret)
{
	const uint8_t *at = spki.data;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	ENSURE(spki.size > 0 && spki.size <= SPKI_MAX,
		sealer_bad_key("of a size that no key here has"));
	key = d2i_PUBKEY(NULL, &at, (long)spki.size);
	ENSURE(key, sealer_bad_key("does not parse, or is not on its curve"));
	TRY(check_canonical(key, spki));
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
		TRY(check_rsa(key));
		break;
	case EVP_PKEY_EC:
		TRY(check_ec(key, spki.size));
		break;
	default:
		err = sealer_bad_key("neither RSA nor EC");
		goto out;
	}
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
		sealer_bad_key("a certificate that is empty or over 16 KiB"));
	parsed = d2i_X509(NULL, &at, (long)certificate.size);
	ENSURE(parsed && at == certificate.data + certificate.size,
		sealer_bad_key("a certificate that does not parse"));
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

	ENSURE(spki.size > 0 && spki.size <= SPKI_MAX,
		sealer_bad_key("of a size that no key here has"));
	key = d2i_X509_PUBKEY(NULL, &at, (long)spki.size);
	ENSURE(key && X509_PUBKEY_get0_param(NULL, &bits, &size, NULL, key) == 1,
		sealer_bad_key("does not parse"));
	ENSURE(EVP_Digest(bits, (size_t)size, ret, NULL, EVP_sha1(), NULL) == 1,
		cc_fail_openssl("SHA-1"));
out:
	X509_PUBKEY_free(key);
	return err;
}

/* ---- OAEP ---- */

/* One hash for OAEP and MGF1; the label is copied, since the context takes it over. */
cc_err sealer_oaep_init(EVP_PKEY_CTX *ctx, const EVP_MD *hash, cc_view label)
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

	ENSURE(EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA, sealer_bad_key("OAEP needs RSA"));
	ENSURE(plain.size > 0, cc_fail(CC_MALFORMED, "an empty password"));
	ENSURE(room > overhead && plain.size <= room - overhead,
		cc_fail(CC_TOO_LARGE, "a password of %zu bytes does not fit the key", plain.size));
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	ENSURE(ctx && EVP_PKEY_encrypt_init(ctx) == 1, cc_fail_openssl("OAEP encrypt"));
	TRY(sealer_oaep_init(ctx, hash, label));
	out = cc_blob_new(room);
	ENSURE(EVP_PKEY_encrypt(ctx, out.data, &out.size, plain.data, plain.size) == 1,
		cc_fail_openssl("OAEP encrypt"));
	*ret = cc_blob_move(&out);
out:
	cc_blob_free(&out);
	EVP_PKEY_CTX_free(ctx);
	return err;
}

cc_err sealer_does_not_open(const char *what)
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
		sealer_does_not_open("a password"));
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	ENSURE(ctx && EVP_PKEY_decrypt_init(ctx) == 1, cc_fail_openssl("OAEP decrypt"));
	TRY(sealer_oaep_init(ctx, hash, label));
	plain = cc_secret_new(size);
	ENSURE(EVP_PKEY_decrypt(ctx, plain.data, &size, sealed.data, sealed.size) == 1,
		sealer_does_not_open("a password"));
	ENSURE(size > 0, sealer_does_not_open("an empty password"));
	cc_secret_resize(&plain, size);
	*ret = cc_secret_move(&plain);
out:
	cc_secret_free(&plain);
	EVP_PKEY_CTX_free(ctx);
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
			       : sealer_bad_key("the form oaep-sha256 needs RSA");
	case CERTQ__SEAL__SEAL_WINDOWS:
		return EVP_PKEY_get_base_id(device_key) == EVP_PKEY_RSA
			       ? CC_OK
			       : sealer_bad_key("the form windows needs RSA");
	default:
		return cc_fail(CC_NOT_SUPPORTED, "seal form %d", (int)form);
	}
}

static cc_err check_password(cc_view password)
{
	if (password.size == 0)
		return cc_fail(CC_MALFORMED, "an empty password");
	if (password.size > SEALER_PLAIN_MAX)
		return cc_fail(CC_TOO_LARGE, "a password of %zu bytes", password.size);
	return CC_OK;
}

cc_err sealer_seal(EVP_PKEY *device_key, Certq__Seal form, cc_view password, cc_blob *ret)
{
	cc_err err = CC_OK;

	TRY(check_password(password));
	TRY(sealer_check_form(device_key, form));
	ENSURE(form != CERTQ__SEAL__SEAL_WINDOWS,
		sealer_bad_key("the form windows needs the device's certificate"));
	if (form == CERTQ__SEAL__SEAL_OAEP_SHA256)
		TRY(oaep_encrypt(device_key, EVP_sha256(), CC_VIEW_NONE, password, ret));
	else
		TRY(sealer_cms_seal(device_key, password, ret));
out:
	return err;
}

cc_err sealer_seal_windows(X509 *certificate, bool pkcs1, cc_view password, cc_blob *ret)
{
	EVP_PKEY *key = X509_get0_pubkey(certificate);
	cc_err err = CC_OK;

	TRY(check_password(password));
	ENSURE(key, sealer_bad_key("a certificate without a key that is known"));
	TRY(sealer_check_form(key, CERTQ__SEAL__SEAL_WINDOWS));
	TRY(sealer_cms_seal_windows(certificate, pkcs1, password, ret));
out:
	return err;
}

cc_err sealer_open(EVP_PKEY *private_key, Certq__Seal form, cc_view sealed, cc_secret *ret)
{
	cc_err err = CC_OK;

	ENSURE(sealed.size > 0 && sealed.size <= SEALER_SEALED_MAX,
		sealer_does_not_open("a sealed password of this size"));
	TRY(sealer_check_form(private_key, form));
	if (form == CERTQ__SEAL__SEAL_OAEP_SHA256)
		TRY(oaep_decrypt(private_key, EVP_sha256(), CC_VIEW_NONE, sealed, ret));
	else
		TRY(sealer_cms_open(private_key, form, sealed, ret));
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
		return sealer_bad_key("a recipient is RSA of 2048 bits or more");
	return oaep_encrypt(recipient, hash, label, password, ret);
}

cc_err sealer_password_decrypt(EVP_PKEY *private_key, Certq__Padding padding, cc_view label,
	cc_view encrypted, cc_secret *ret)
{
	const EVP_MD *hash = padding_hash(padding);

	if (!hash)
		return sealer_does_not_open("a password of an unknown padding");
	return oaep_decrypt(private_key, hash, label, encrypted, ret);
}
