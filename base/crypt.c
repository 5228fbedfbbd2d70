/*
 * AES-256-GCM and HKDF by OpenSSL.  Nonces are random: a key of this project seals far fewer than the
 * 2^32 messages that random nonces allow.
 */
#include "base/crypt.h"
#include "base/hash.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#define NONCE_SIZE 12
#define TAG_SIZE   16

static OSSL_PARAM octets(const char *name, cc_view v)
{
	return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)v.data, v.size);
}

cc_err crypt_derive(const cc_secret *master, cc_view salt, const char *purpose, cc_secret *ret_key)
{
	static char digest[] = "SHA256";
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	cc_secret key = cc_secret_new(CRYPT_KEY_SIZE);
	OSSL_PARAM params[5], *next = params;
	cc_err err = CC_OK;

	assert(master->size > 0);
	*next++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
	*next++ = octets(OSSL_KDF_PARAM_KEY, cc_secret_view(master));
	*next++ = octets(OSSL_KDF_PARAM_INFO, cc_view_text(purpose));
	if (salt.size > 0)
		*next++ = octets(OSSL_KDF_PARAM_SALT, salt);
	*next = OSSL_PARAM_construct_end();
	ENSURE(ctx && EVP_KDF_derive(ctx, key.data, key.size, params) == 1,
		cc_fail_openssl("HKDF"));
	*ret_key = cc_secret_move(&key);
out:
	cc_secret_free(&key);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return err;
}

cc_err crypt_seal(const cc_secret *key, cc_view aad, cc_view plain, cc_blob *ret)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	cc_blob out = CC_BLOB_NONE;
	int written = 0;
	cc_err err = CC_OK;

	assert(key->size == CRYPT_KEY_SIZE);
	ENSURE(plain.size <= INT32_MAX - CRYPT_OVERHEAD && aad.size <= INT32_MAX,
		cc_fail(CC_TOO_LARGE, "%zu bytes to seal", plain.size));
	out = cc_blob_new(plain.size + CRYPT_OVERHEAD);
	random_bytes(out.data, NONCE_SIZE);
	ENSURE(ctx && EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), key->data, out.data, NULL) == 1 &&
			EVP_EncryptUpdate(ctx, NULL, &written, aad.data, (int)aad.size) == 1 &&
			EVP_EncryptUpdate(ctx, out.data + NONCE_SIZE, &written, plain.data,
				(int)plain.size) == 1 &&
			EVP_EncryptFinal_ex(ctx, out.data + NONCE_SIZE + plain.size, &written) ==
				1 &&
			EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE,
				out.data + NONCE_SIZE + plain.size) == 1,
		cc_fail_openssl("AES-GCM"));
	*ret = cc_blob_move(&out);
out:
	cc_blob_free(&out);
	EVP_CIPHER_CTX_free(ctx);
	return err;
}

cc_err crypt_open(const cc_secret *key, cc_view aad, cc_view sealed, cc_secret *ret)
{
	EVP_CIPHER_CTX *ctx = NULL;
	cc_secret out = CC_SECRET_NONE;
	uint8_t tag[TAG_SIZE];
	size_t size;
	int written = 0;
	cc_err err = CC_OK;

	assert(key->size == CRYPT_KEY_SIZE);
	ENSURE(sealed.size >= CRYPT_OVERHEAD && sealed.size <= INT32_MAX && aad.size <= INT32_MAX,
		cc_fail(CC_CORRUPT, "%zu bytes are no sealed blob", sealed.size));
	size = sealed.size - CRYPT_OVERHEAD;
	memcpy(tag, sealed.data + NONCE_SIZE + size, TAG_SIZE);
	out = cc_secret_new(size);
	ctx = EVP_CIPHER_CTX_new();
	ENSURE(ctx &&
			EVP_DecryptInit_ex2(ctx, EVP_aes_256_gcm(), key->data, sealed.data, NULL) ==
				1 &&
			EVP_DecryptUpdate(ctx, NULL, &written, aad.data, (int)aad.size) == 1 &&
			EVP_DecryptUpdate(ctx, out.data, &written, sealed.data + NONCE_SIZE,
				(int)size) == 1 &&
			EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag) == 1,
		cc_fail_openssl("AES-GCM"));
	if (EVP_DecryptFinal_ex(ctx, out.data + size, &written) != 1) {
		ERR_clear_error();
		err = cc_fail(
			CC_CORRUPT, "a sealed blob does not open: another key, or it was altered");
		goto out;
	}
	*ret = cc_secret_move(&out);
out:
	cc_secret_free(&out);
	EVP_CIPHER_CTX_free(ctx);
	return err;
}
