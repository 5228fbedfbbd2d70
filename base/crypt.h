/*
 * Crypt: AES-256-GCM under derived keys, for tickets and the key store.
 *
 * Keyvault; pure functions, any thread.  A sealed blob is nonce (12 random bytes), ciphertext, tag
 * (16): 28 bytes more than the plaintext.  A key is a fresh derivation for one purpose.
 */
#pragma once

#include "base/blob.h"

#define CRYPT_KEY_SIZE 32
#define CRYPT_OVERHEAD 28

/* HKDF-SHA256 (RFC 5869) of the master key; `purpose` is the info text, and names one use only. */
cc_err crypt_derive(
	const cc_secret *master, cc_view salt, const char *purpose, cc_secret *ret_key) CC_MUST_USE;
cc_err crypt_seal(const cc_secret *key, cc_view aad, cc_view plain, cc_blob *ret) CC_MUST_USE;
/* CC_CORRUPT when key, AAD or any byte is another. */
cc_err crypt_open(const cc_secret *key, cc_view aad, cc_view sealed, cc_secret *ret) CC_MUST_USE;
