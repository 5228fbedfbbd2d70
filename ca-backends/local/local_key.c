/*
 * local: the CA's key in its file, and certificates in and out of files.
 *
 * The key is PKCS#8 under PBES2 with scrypt and AES-256-CBC, so that `openssl pkey` opens it with the
 * secret file as its passphrase: a backup of the two files is a backup of the CA.
 */
#include "ca-backends/local/local_int.h"
#include "base/file.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <string.h>

#define SCRYPT_N       16384 /* 16 MiB */
#define SCRYPT_R       8
#define SCRYPT_P       1
#define PASSPHRASE_MIN 20u
#define PASSPHRASE_MAX 1024u
#define FILE_MAX       65536u

cc_err local_passphrase(cc_view secret, cc_secret *ret)
{
	size_t size = 0;

	while (size < secret.size && secret.data[size] != '\n' && secret.data[size] != '\r')
		size++;
	if (size < PASSPHRASE_MIN || size > PASSPHRASE_MAX ||
		memchr(secret.data, '\0', size) != NULL)
		return cc_fail(CC_CONFIG,
			"the first line of the secret file is not a passphrase of %u to %u bytes",
			PASSPHRASE_MIN, PASSPHRASE_MAX);
	*ret = cc_secret_copy(cc_view_part(secret, 0, size));
	return CC_OK;
}

cc_err local_key_generate(const char *type, EVP_PKEY **ret)
{
	EVP_PKEY *key = NULL;

	if (strcmp(type, "rsa-3072") == 0)
		key = EVP_RSA_gen(3072);
	else if (strcmp(type, "rsa-4096") == 0)
		key = EVP_RSA_gen(4096);
	else if (strcmp(type, "ec-p256") == 0)
		key = EVP_EC_gen("P-256");
	else if (strcmp(type, "ec-p384") == 0)
		key = EVP_EC_gen("P-384");
	else
		return cc_fail(
			CC_USAGE, "key type \"%s\": rsa-3072, rsa-4096, ec-p256 or ec-p384", type);
	if (key == NULL)
		return cc_fail_openssl("generating the CA's key");
	*ret = key;
	return CC_OK;
}

/* PKCS8_encrypt has no way to ask for scrypt: the algorithm is set up first and handed over. */
static cc_err encrypt(PKCS8_PRIV_KEY_INFO *plain, const cc_secret *passphrase, X509_SIG **ret)
{
	unsigned char salt[16];
	X509_ALGOR *algorithm = NULL;
	X509_SIG *sealed;
	cc_err err = CC_OK;

	random_bytes(salt, sizeof(salt));
	algorithm = PKCS5_pbe2_set_scrypt(
		EVP_aes_256_cbc(), salt, sizeof(salt), NULL, SCRYPT_N, SCRYPT_R, SCRYPT_P);
	ENSURE(algorithm != NULL, cc_fail_openssl("CA key: scrypt"));
	sealed = PKCS8_set0_pbe(
		(const char *)passphrase->data, (int)passphrase->size, plain, algorithm);
	ENSURE(sealed != NULL, cc_fail_openssl("CA key: encrypting"));
	algorithm = NULL; /* sealed has it */
	*ret = sealed;
out:
	X509_ALGOR_free(algorithm);
	return err;
}

cc_err local_key_write(const char *path, EVP_PKEY *key, const cc_secret *passphrase)
{
	PKCS8_PRIV_KEY_INFO *plain = EVP_PKEY2PKCS8(key);
	X509_SIG *sealed = NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	long size;
	cc_err err = CC_OK;

	ENSURE(plain != NULL && bio != NULL, cc_fail_openssl(path));
	TRY(encrypt(plain, passphrase, &sealed));
	ENSURE(PEM_write_bio_PKCS8(bio, sealed) == 1, cc_fail_openssl(path));
	size = BIO_get_mem_data(bio, &text);
	TRY(file_write_new(path, cc_view_of(text, (size_t)size), 0600));
out:
	BIO_free(bio);
	X509_SIG_free(sealed);
	PKCS8_PRIV_KEY_INFO_free(plain); /* wipes the key */
	return err;
}

cc_err local_key_read(const char *path, const cc_secret *passphrase, EVP_PKEY **ret)
{
	cc_blob file = CC_BLOB_NONE;
	BIO *bio = NULL;
	X509_SIG *sealed = NULL;
	PKCS8_PRIV_KEY_INFO *plain = NULL;
	EVP_PKEY *key;
	cc_err err = CC_OK;

	TRY(file_read(path, FILE_SECRET, FILE_MAX, &file));
	bio = BIO_new_mem_buf(file.data, (int)file.size);
	ENSURE(bio != NULL, cc_fail_openssl(path));
	sealed = PEM_read_bio_PKCS8(bio, NULL, NULL, NULL);
	ENSURE(sealed != NULL, cc_fail(CC_CORRUPT, "%s: not an encrypted private key", path));
	plain = PKCS8_decrypt(sealed, (const char *)passphrase->data, (int)passphrase->size);
	if (plain == NULL) {
		cc_ignore(cc_fail_openssl(path), "the queue is drained; the words below say more");
		err = cc_fail(CC_PASSWORD, "%s: the CA's secret does not open this key", path);
		goto out;
	}
	key = EVP_PKCS82PKEY(plain);
	ENSURE(key != NULL, cc_fail_openssl(path));
	*ret = key;
out:
	PKCS8_PRIV_KEY_INFO_free(plain);
	X509_SIG_free(sealed);
	BIO_free(bio);
	cc_blob_free(&file);
	return err;
}

const EVP_MD *local_key_digest(const EVP_PKEY *key)
{
	return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) > 256 ? EVP_sha384()
									: EVP_sha256();
}

cc_err local_certificate_read(const char *path, X509 **ret)
{
	cc_blob file = CC_BLOB_NONE;
	BIO *bio = NULL;
	X509 *certificate;
	cc_err err = CC_OK;

	TRY(file_read(path, FILE_CONFIG, FILE_MAX, &file));
	bio = BIO_new_mem_buf(file.data, (int)file.size);
	ENSURE(bio != NULL, cc_fail_openssl(path));
	certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	ENSURE(certificate != NULL, cc_fail_openssl(path));
	*ret = certificate;
out:
	BIO_free(bio);
	cc_blob_free(&file);
	return err;
}

cc_err local_certificate_der(const X509 *certificate, cc_blob *ret)
{
	unsigned char *der = NULL;
	int size = i2d_X509(certificate, &der);

	if (size <= 0)
		return cc_fail_openssl("certificate");
	*ret = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	return CC_OK;
}

cc_err local_certificate_pem(cc_view der, cc_blob *ret)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	long size;
	cc_err err = CC_OK;

	ENSURE(bio != NULL && PEM_write_bio(bio, PEM_STRING_X509, "", der.data, (long)der.size) > 0,
		cc_fail_openssl("certificate"));
	size = BIO_get_mem_data(bio, &text);
	*ret = cc_blob_copy(cc_view_of(text, (size_t)size));
out:
	BIO_free(bio);
	return err;
}
