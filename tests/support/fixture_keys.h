/*
 * Fixture: public keys that no honest device has.
 *
 * Any test; single-threaded.  Every function ends the test program when it fails.
 */
#pragma once

#include "base/blob.h"
#include <openssl/evp.h>

BIGNUM *fixture_number(int bits, bool odd); /* random, of exactly so many bits */
BIGNUM *fixture_word(unsigned long value);
/* A public key with these numbers, whatever they are; both are consumed.  Free with EVP_PKEY_free. */
EVP_PKEY *fixture_rsa_public(BIGNUM *n, BIGNUM *e);

/* The SPKI of a public key by name; free with cc_blob_free.
 * rsa-1024, rsa-16384, rsa-e-1, rsa-e-even, rsa-n-even, rsa-pss, dsa, ed25519, p-224, p-521, secp256k1,
 * off-curve, infinity, compressed, explicit, trailing, empty-sequence. */
cc_blob fixture_bad_spki(const char *name);
