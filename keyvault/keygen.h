/*
 * Keygen: fresh key pairs.
 *
 * Keyvault; any thread.  RSA primes are found by nettle over GMP (twice as fast as OpenSSL's), with
 * an allocator for GMP that wipes what it frees, set before the first key: nothing else in this
 * process uses GMP.  Randomness is OpenSSL's private generator.  Every key passes a pairwise check.
 */
#pragma once

#include "base/blob.h"
#include "certq/v1/job.pb-c.h"
#include <openssl/evp.h>

/* KEY_UNSPECIFIED and unknown values are CC_NOT_SUPPORTED.  Free with EVP_PKEY_free. */
cc_err keygen_make(Certq__KeyType type, EVP_PKEY **ret) CC_MUST_USE;
/* 2048, 3072 or 4096 bits. */
cc_err keygen_make_rsa(uint32_t bits, EVP_PKEY **ret) CC_MUST_USE;
/* Ed25519, for results and orders. */
cc_err keygen_make_ed25519(EVP_PKEY **ret) CC_MUST_USE;
/* "rsa-2048", "ec-p256" and so on; NULL for an unknown one. */
const char *keygen_type_name(Certq__KeyType type);
/* KEY_UNSPECIFIED when the text names none. */
Certq__KeyType keygen_type_of(cc_view name);
/* PKCS#8 DER, out and in.  What is read is a private key with a public half. */
cc_err keygen_export(const EVP_PKEY *key, cc_secret *ret) CC_MUST_USE;
cc_err keygen_import(cc_view pkcs8, EVP_PKEY **ret) CC_MUST_USE;
