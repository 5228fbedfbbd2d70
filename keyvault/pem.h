/*
 * PEM: certificates and public keys as they stand in policy.yaml and pins.yaml.
 *
 * Keyvault; pure functions, any thread.
 */
#pragma once

#include "base/blob.h"
#include <openssl/x509.h>

/* Append every certificate of the text, at least one, and nothing but certificates. */
cc_err pem_certificates(cc_view text, STACK_OF(X509) * to) CC_MUST_USE;
/* One "PUBLIC KEY": its SubjectPublicKeyInfo in DER, as it stands. */
cc_err pem_public_key(cc_view text, cc_blob *ret) CC_MUST_USE;
