/*
 * Fixture: a small CA for tests, made with plain OpenSSL and nothing of ours, which does with a CSR
 * whatever the test says, also what no honest CA would do.
 *
 * Any test; single-threaded.  Every function ends the test program when it fails.
 */
#pragma once

#include "base/blob.h"
#include <openssl/x509v3.h>

struct fixture_ca {
	EVP_PKEY *key;
	X509 *certificate; /* self-signed root, EC P-256 */
	cc_blob der;
};

void fixture_ca_make(struct fixture_ca *ca, const char *common_name);
void fixture_ca_clear(struct fixture_ca *ca);
char *fixture_ca_pem(const struct fixture_ca *ca); /* free */
char *fixture_pem(X509 *certificate);              /* free */

/* Certificate for a CSR: its subject and SAN, EKU `eku` ("clientAuth"; NULL: none), key usage
 * digitalSignature, keyEncipherment, CA:FALSE, valid from a minute ago for `lifetime_s`.  `change` may alter
 * it before it is signed.  Free with cc_blob_free. */
cc_blob fixture_ca_issue(const struct fixture_ca *ca, cc_view csr, const char *eku, long lifetime_s,
	void (*change)(X509 *certificate, void *arg), void *arg);

/* A certificate for a device key, with `common_name`, usable as a device certificate. */
cc_blob fixture_ca_device(
	const struct fixture_ca *ca, EVP_PKEY *device_key, const char *common_name);

/* An issuing CA below `ca`. */
void fixture_ca_make_below(
	struct fixture_ca *below, const struct fixture_ca *ca, const char *common_name);
