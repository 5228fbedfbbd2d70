/*
 * The forms that are CMS, by OpenSSL: cms-auth and windows.  CMS wants a certificate as the recipient; for
 * cms-auth a bare public key gets a throw-away one that carries nothing but key and subjectKeyIdentifier,
 * for windows it is the device's own.
 */
#include "keyvault/sealer_int.h"

#include <openssl/cms.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

/* ---- cms-auth ---- */

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

static cc_err add_key(CMS_ContentInfo *cms, EVP_PKEY *key)
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
		TRY(sealer_oaep_init(ctx, EVP_sha256(), CC_VIEW_NONE));
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

static cc_err encode(CMS_ContentInfo *cms, cc_view plain, cc_blob *ret)
{
	unsigned char *der = NULL;
	int size = 0;
	cc_err err = CC_OK;

	TRY(cms_encrypt(cms, plain));
	size = i2d_CMS_ContentInfo(cms, &der);
	ENSURE(size > 0, cc_fail_openssl("CMS encode"));
	*ret = cc_blob_copy(cc_view_of(der, (size_t)size));
out:
	OPENSSL_free(der);
	return err;
}

cc_err sealer_cms_seal(EVP_PKEY *key, cc_view plain, cc_blob *ret)
{
	CMS_ContentInfo *cms = CMS_encrypt(NULL, NULL, EVP_aes_256_gcm(), CMS_BINARY | CMS_PARTIAL);
	cc_err err = CC_OK;

	ENSURE(cms, cc_fail_openssl("CMS"));
	TRY(add_key(cms, key));
	TRY(encode(cms, plain, ret));
out:
	CMS_ContentInfo_free(cms);
	return err;
}

/* ---- windows ---- */

/* A clock may lag behind the CA that made the certificate. */
#define SKEW_S 300

cc_err sealer_check_certificate(X509 *certificate, int64_t now_s)
{
	time_t now = (time_t)now_s, soon = (time_t)(now_s + SKEW_S);
	cc_err err = CC_OK;

	ENSURE((X509_get_extension_flags(certificate) & EXFLAG_CA) == 0,
		sealer_bad_key("the certificate is a CA's"));
	ENSURE(X509_cmp_time(X509_get0_notBefore(certificate), &soon) < 0,
		sealer_bad_key("its certificate is not valid yet"));
	ENSURE(X509_cmp_time(X509_get0_notAfter(certificate), &now) > 0,
		sealer_bad_key("its certificate has expired"));
	/* RFC 5280 section 4.2.1.3; without the extension it is good for everything */
	ENSURE((X509_get_key_usage(certificate) & KU_KEY_ENCIPHERMENT) != 0,
		sealer_bad_key("its certificate is not for keyEncipherment"));
out:
	return err;
}

/* Without CMS_USE_KEYID the recipient is named by issuer and serial number; RSA that is told nothing else
 * transports by PKCS#1 v1.5. */
cc_err sealer_cms_seal_windows(X509 *certificate, bool pkcs1, cc_view plain, cc_blob *ret)
{
	CMS_ContentInfo *cms = CMS_encrypt(NULL, NULL, EVP_aes_256_cbc(), CMS_BINARY | CMS_PARTIAL);
	CMS_RecipientInfo *info = NULL;
	EVP_PKEY_CTX *ctx = NULL;
	cc_err err = CC_OK;

	ENSURE(cms, cc_fail_openssl("CMS"));
	info = CMS_add1_recipient_cert(cms, certificate, CMS_KEY_PARAM);
	if (info)
		ctx = CMS_RecipientInfo_get0_pkey_ctx(info);
	ENSURE(ctx, cc_fail_openssl("CMS recipient"));
	if (!pkcs1)
		TRY(sealer_oaep_init(ctx, EVP_sha256(), CC_VIEW_NONE));
	TRY(encode(cms, plain, ret));
out:
	CMS_ContentInfo_free(cms);
	return err;
}

/* ---- opening ---- */

/* OAEP and nothing else: whoever answers differently to good and bad PKCS#1 v1.5 decrypts for others. */
static bool is_oaep(CMS_RecipientInfo *info)
{
	X509_ALGOR *algorithm = NULL;
	const ASN1_OBJECT *oid = NULL;

	if (CMS_RecipientInfo_type(info) != CMS_RECIPINFO_TRANS ||
		CMS_RecipientInfo_ktri_get0_algs(info, NULL, NULL, &algorithm) != 1)
		return false;
	X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
	return OBJ_obj2nid(oid) == NID_rsaesOaep;
}

static cc_err check_recipient(CMS_ContentInfo *cms, Certq__Seal form)
{
	STACK_OF(CMS_RecipientInfo) *infos = CMS_get0_RecipientInfos(cms);
	CMS_RecipientInfo *info;

	if (sk_CMS_RecipientInfo_num(infos) != 1)
		return sealer_does_not_open("CMS for several recipients");
	info = sk_CMS_RecipientInfo_value(infos, 0);
	if (form == CERTQ__SEAL__SEAL_WINDOWS && !is_oaep(info))
		return sealer_does_not_open("CMS with a key transport other than OAEP");
	return CC_OK;
}

static cc_err cms_parse(cc_view sealed, Certq__Seal form, CMS_ContentInfo **ret)
{
	int expected = form == CERTQ__SEAL__SEAL_WINDOWS ? NID_pkcs7_enveloped
							 : NID_id_smime_ct_authEnvelopedData;
	const uint8_t *at = sealed.data;
	CMS_ContentInfo *cms = NULL;
	cc_err err = CC_OK;

	cms = d2i_CMS_ContentInfo(NULL, &at, (long)sealed.size);
	ENSURE(cms && at == sealed.data + sealed.size, sealer_does_not_open("what is not CMS"));
	/* CBC decrypts to another password without an error; where the form is not windows, it is not taken. */
	ENSURE(OBJ_obj2nid(CMS_get0_type(cms)) == expected,
		sealer_does_not_open("CMS without authentication, or of another form"));
	TRY(check_recipient(cms, form));
	*ret = cms;
	cms = NULL;
out:
	CMS_ContentInfo_free(cms);
	return err;
}

cc_err sealer_cms_open(EVP_PKEY *key, Certq__Seal form, cc_view sealed, cc_secret *ret)
{
	CMS_ContentInfo *cms = NULL;
	BIO *out_bio = BIO_new(BIO_s_mem()); /* its memory is wiped when it is freed */
	char *plain = NULL;
	long size = 0;
	cc_err err = CC_OK;

	ENSURE(out_bio, cc_fail_openssl("CMS"));
	TRY(cms_parse(sealed, form, &cms));
	/* CMS_DEBUG_DECRYPT: a key that does not fit is an error and not a random key, as it would be for
	 * PKCS#1 v1.5, which does not come this far. */
	ENSURE(CMS_decrypt(cms, key, NULL, NULL, out_bio, CMS_BINARY | CMS_DEBUG_DECRYPT) == 1,
		sealer_does_not_open("a sealed password"));
	size = BIO_get_mem_data(out_bio, &plain);
	ENSURE(size > 0 && size <= (long)SEALER_PLAIN_MAX,
		sealer_does_not_open("content of this size"));
	*ret = cc_secret_copy(cc_view_of(plain, (size_t)size));
out:
	ERR_clear_error(); /* decryption leaves entries also when it succeeds */
	CMS_ContentInfo_free(cms);
	BIO_free(out_bio);
	return err;
}
