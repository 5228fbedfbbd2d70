/*
 * Shared by the files of the sealer; for them only.
 */
#pragma once

#include "keyvault/sealer.h"

/* CC_BAD_KEY "device key: ..." and CC_PASSWORD "... does not decrypt ..."; both drain OpenSSL's queue. */
cc_err sealer_bad_key(const char *why) CC_MUST_USE;
cc_err sealer_does_not_open(const char *what) CC_MUST_USE;

/* OAEP with this hash for MGF1 too; an empty label is none. */
cc_err sealer_oaep_init(EVP_PKEY_CTX *ctx, const EVP_MD *hash, cc_view label) CC_MUST_USE;

/* sealer_cms.c; key and password are checked. */
cc_err sealer_cms_seal(EVP_PKEY *key, cc_view plain, cc_blob *ret) CC_MUST_USE;
cc_err sealer_cms_seal_windows(
	X509 *certificate, bool pkcs1, cc_view plain, cc_blob *ret) CC_MUST_USE;
cc_err sealer_cms_open(EVP_PKEY *key, Certq__Seal form, cc_view sealed, cc_secret *ret) CC_MUST_USE;
