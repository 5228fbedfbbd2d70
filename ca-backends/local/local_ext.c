/*
 * local: the small parts of a certificate: extensions by OpenSSL's own writer, serial, times.
 */
#include "ca-backends/local/local_int.h"
#include <openssl/bn.h>
#include <time.h>

cc_err local_ext_add(X509 *to, const X509 *issuer, X509 *subject, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension = NULL;
	cc_err err = CC_OK;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, (X509 *)(uintptr_t)issuer, subject, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	ENSURE(extension != NULL, cc_fail_openssl(value));
	ENSURE(X509_add_ext(to, extension, -1) == 1, cc_fail_openssl(value));
out:
	X509_EXTENSION_free(extension);
	return err;
}

void local_random_serial(uint8_t ret[LOCAL_SERIAL_SIZE])
{
	random_bytes(ret, LOCAL_SERIAL_SIZE);
	ret[0] = (uint8_t)((ret[0] & 0x7f) | 0x40);
}

cc_err local_serial_set(X509 *to, const uint8_t serial[LOCAL_SERIAL_SIZE])
{
	BIGNUM *number = BN_bin2bn(serial, LOCAL_SERIAL_SIZE, NULL);
	cc_err err = CC_OK;

	ENSURE(number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(to)) != NULL,
		cc_fail_openssl("serial"));
out:
	BN_free(number);
	return err;
}

cc_err local_times_set(X509 *to, int64_t not_before_s, int64_t not_after_s)
{
	if (ASN1_TIME_set(X509_getm_notBefore(to), (time_t)not_before_s) == NULL ||
		ASN1_TIME_set(X509_getm_notAfter(to), (time_t)not_after_s) == NULL)
		return cc_fail_openssl("validity");
	return CC_OK;
}

int64_t local_time_of(const ASN1_TIME *t)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(t, &tm) != 1)
		return -1;
	return (int64_t)timegm(&tm);
}
