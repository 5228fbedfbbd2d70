/*
 * local: the revocation list (RFC 5280 section 5), as DER and PEM in the CA's directory.
 */
#include "ca-backends/local/local_int.h"
#include "base/file.h"
#include <openssl/bn.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <time.h>

#define CRL_MAX (64u << 20)

static cc_err set_reason(X509_REVOKED *entry, uint32_t reason)
{
	ASN1_ENUMERATED *code;
	int rc;

	if (reason == CRL_REASON_UNSPECIFIED) /* is said by leaving it out */
		return CC_OK;
	code = ASN1_ENUMERATED_new();
	rc = code != NULL && ASN1_ENUMERATED_set(code, (long)reason) == 1 &&
	     X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, code, 0, 0) == 1;
	ASN1_ENUMERATED_free(code);
	return rc ? CC_OK : cc_fail_openssl("CRL entry");
}

static cc_err add_entry(void *arg, cc_view serial, int64_t time_s, uint32_t reason)
{
	X509_CRL *crl = arg;
	X509_REVOKED *entry = X509_REVOKED_new();
	BIGNUM *number = BN_bin2bn(serial.data, (int)serial.size, NULL);
	ASN1_INTEGER *serial_number = NULL;
	ASN1_TIME *when = ASN1_TIME_set(NULL, (time_t)time_s);
	cc_err err = CC_OK;

	ENSURE(entry != NULL && number != NULL && when != NULL, cc_fail_openssl("CRL entry"));
	serial_number = BN_to_ASN1_INTEGER(number, NULL);
	ENSURE(serial_number != NULL && X509_REVOKED_set_serialNumber(entry, serial_number) == 1 &&
			X509_REVOKED_set_revocationDate(entry, when) == 1,
		cc_fail_openssl("CRL entry"));
	TRY(set_reason(entry, reason));
	ENSURE(X509_CRL_add0_revoked(crl, entry) == 1, cc_fail_openssl("CRL entry"));
	entry = NULL;
out:
	ASN1_TIME_free(when);
	ASN1_INTEGER_free(serial_number);
	BN_free(number);
	X509_REVOKED_free(entry);
	return err;
}

static cc_err set_number(X509_CRL *crl, uint64_t number)
{
	ASN1_INTEGER *value = ASN1_INTEGER_new();
	int rc = value != NULL && ASN1_INTEGER_set_uint64(value, number) == 1 &&
		 X509_CRL_add1_ext_i2d(crl, NID_crl_number, value, 0, 0) == 1;

	ASN1_INTEGER_free(value);
	return rc ? CC_OK : cc_fail_openssl("CRL number");
}

static cc_err set_key_id(X509_CRL *crl, X509 *root)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	int rc;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, root, NULL, NULL, crl, 0);
	extension =
		X509V3_EXT_conf_nid(NULL, &context, NID_authority_key_identifier, "keyid:always");
	rc = extension != NULL && X509_CRL_add_ext(crl, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return rc ? CC_OK : cc_fail_openssl("CRL");
}

static cc_err set_times(X509_CRL *crl, int64_t now_s, uint64_t validity_s)
{
	ASN1_TIME *this = ASN1_TIME_set(NULL, (time_t)(now_s - LOCAL_BACKDATE_S));
	ASN1_TIME *next = ASN1_TIME_set(NULL, (time_t)(now_s + (int64_t)validity_s));
	int rc = this != NULL && next != NULL && X509_CRL_set1_lastUpdate(crl, this) == 1 &&
		 X509_CRL_set1_nextUpdate(crl, next) == 1;

	ASN1_TIME_free(this);
	ASN1_TIME_free(next);
	return rc ? CC_OK : cc_fail_openssl("CRL");
}

static cc_err write_files(X509_CRL *crl, const char *dir)
{
	char *der_path = file_join(dir, LOCAL_CRL_DER), *pem_path = file_join(dir, LOCAL_CRL_PEM);
	unsigned char *der = NULL;
	int der_size = i2d_X509_CRL(crl, &der);
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem = NULL;
	cc_err err = CC_OK;

	ENSURE(der_size > 0 && bio != NULL && PEM_write_bio_X509_CRL(bio, crl) == 1,
		cc_fail_openssl("CRL"));
	TRY(file_write_atomic(der_path, cc_view_of(der, (size_t)der_size), 0644));
	der_size = (int)BIO_get_mem_data(bio, &pem);
	TRY(file_write_atomic(pem_path, cc_view_of(pem, (size_t)der_size), 0644));
out:
	BIO_free(bio);
	OPENSSL_free(der);
	free(der_path);
	free(pem_path);
	return err;
}

cc_err local_crl_make(const struct local_ca *ca, struct local_db *db, const char *dir,
	int64_t now_s, uint64_t validity_s, uint64_t *ret_number)
{
	X509_CRL *crl = X509_CRL_new();
	uint64_t number = 0;
	cc_err err = CC_OK;

	ENSURE(crl != NULL && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
			X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->root)) == 1,
		cc_fail_openssl("CRL"));
	TRY(set_times(crl, now_s, validity_s));
	TRY(set_key_id(crl, ca->root));
	TRY(local_db_next_crl(db, &number));
	TRY(set_number(crl, number));
	TRY(local_db_each_revoked(db, add_entry, crl));
	ENSURE(X509_CRL_sort(crl) == 1, cc_fail_openssl("CRL"));
	ENSURE(X509_CRL_sign(crl, ca->key, local_key_digest(ca->key)) > 0,
		cc_fail_openssl("signing the CRL"));
	TRY(write_files(crl, dir));
	*ret_number = number;
out:
	X509_CRL_free(crl);
	return err;
}

int64_t local_crl_due(const char *dir)
{
	char *path = file_join(dir, LOCAL_CRL_DER);
	cc_blob file = CC_BLOB_NONE;
	X509_CRL *crl = NULL;
	const unsigned char *at;
	int64_t from, to, due = 0;

	if (file_read(path, FILE_ANY, CRL_MAX, &file) == CC_OK) {
		at = file.data;
		crl = d2i_X509_CRL(NULL, &at, (long)file.size);
	}
	if (crl != NULL && X509_CRL_get0_nextUpdate(crl) != NULL) {
		from = local_time_of(X509_CRL_get0_lastUpdate(crl));
		to = local_time_of(X509_CRL_get0_nextUpdate(crl));
		due = from < 0 || to < from ? 0 : from + (to - from) / 2;
	}
	X509_CRL_free(crl);
	cc_blob_free(&file);
	free(path);
	return due;
}
