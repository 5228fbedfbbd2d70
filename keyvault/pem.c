/*
 * PEM text to certificates and public keys.
 */
#include "keyvault/pem.h"
#include "keyvault/certcheck.h"
#include <openssl/err.h>
#include <openssl/pem.h>

static cc_err read_block(BIO *bio, const char *type, cc_blob *ret)
{
	char *name = NULL, *header = NULL;
	unsigned char *data = NULL;
	long size = 0;
	cc_err err = CC_OK;

	if (PEM_read_bio(bio, &name, &header, &data, &size) != 1) {
		bool end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
		ERR_clear_error();
		err = end ? cc_fail(CC_NOT_FOUND, "no more PEM blocks")
			  : cc_fail(CC_MALFORMED, "a PEM block that does not decode");
		goto out;
	}
	ENSURE(cc_view_equal(cc_view_text(name), cc_view_text(type)),
		cc_fail(CC_MALFORMED, "a PEM block %s where %s is expected", name, type));
	*ret = cc_blob_copy(cc_view_of(data, (size_t)size));
out:
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_free(data);
	return err;
}

static cc_err push(cc_view der, STACK_OF(X509) * to)
{
	X509 *certificate = NULL;
	cc_err err = CC_OK;

	TRY(certcheck_parse(der, &certificate));
	ENSURE(sk_X509_push(to, certificate) > 0, cc_fail_openssl("a list of certificates"));
	certificate = NULL;
out:
	X509_free(certificate);
	return err;
}

cc_err pem_certificates(cc_view text, STACK_OF(X509) * to)
{
	BIO *bio = BIO_new_mem_buf(text.data, (int)text.size);
	cc_blob der = CC_BLOB_NONE;
	int before = sk_X509_num(to);
	cc_err err = CC_OK;

	ENSURE(bio, cc_fail_openssl("a PEM text"));
	while ((err = read_block(bio, PEM_STRING_X509, &der)) == CC_OK) {
		err = push(cc_blob_view(&der), to);
		cc_blob_free(&der);
		if (err != CC_OK)
			goto out;
	}
	if (err == CC_NOT_FOUND)
		err = sk_X509_num(to) > before ? CC_OK
					       : cc_fail(CC_MALFORMED, "no PEM certificate");
out:
	BIO_free(bio);
	return err;
}

cc_err pem_public_key(cc_view text, cc_blob *ret)
{
	BIO *bio = BIO_new_mem_buf(text.data, (int)text.size);
	cc_err err = CC_OK;

	ENSURE(bio, cc_fail_openssl("a PEM text"));
	err = read_block(bio, PEM_STRING_PUBLIC, ret);
	if (err == CC_NOT_FOUND)
		err = cc_fail(CC_MALFORMED, "no PEM public key");
out:
	BIO_free(bio);
	return err;
}
