/*
 * Keystore: the keyvault's own long-lived private keys.
 *
 * Keyvault only; any thread (a mutex inside).  Keys are named by the SHA-256 of their SPKI.  Uses:
 * decrypt (imported passwords, RSA), result (signs results, Ed25519), approval (signs orders, Ed25519).
 * The newest key of a use is its current one; older ones stay, for decryption.  Decryption is an operation
 * of the store and not a key handed out, so that a key may live in a token.
 *
 * The file store: one file a key, "<key id in hex>.key", 0600, PKCS#8 under AES-256-GCM with a key
 * derived from the master key; version, use, time and key id are authenticated.  All are read at open:
 * a file that does not open is an error there (CC_CORRUPT), never a key that is quietly missing.
 */
#pragma once

#include "base/hash.h"
#include "certq/v1/job.pb-c.h"
#include <openssl/evp.h>

struct keystore; /* opaque */

enum keystore_use { KEYSTORE_DECRYPT = 1, KEYSTORE_RESULT = 2, KEYSTORE_APPROVAL = 3 };

#define KEYSTORE_MASTER_MIN   32 /* bytes */
#define KEYSTORE_DECRYPT_BITS 3072

/* What may be told about a key. */
struct keystore_public {
	enum keystore_use use;
	uint8_t id[SHA256_SIZE];
	int64_t created_s;
	bool current;
	cc_view spki; /* DER; valid until the store is closed */
};

/* The directory is made (0700) when it is not there.  The master key is not kept. */
cc_err keystore_open_files(
	const char *dir, const cc_secret *master, struct keystore **ret) CC_MUST_USE;
void keystore_close(struct keystore *ks); /* accepts NULL */

/* A new key, durable on return, and the use's current one.  `bits` for decrypt: 0 (3072), 2048, 3072,
 * 4096. */
cc_err keystore_generate(struct keystore *ks, enum keystore_use use, uint32_t bits,
	uint8_t ret_id[SHA256_SIZE]) CC_MUST_USE;
/* The same when the use has no key yet; otherwise nothing. */
cc_err keystore_ensure(struct keystore *ks, enum keystore_use use) CC_MUST_USE;

bool keystore_has(struct keystore *ks, enum keystore_use use);
size_t keystore_count(struct keystore *ks);
/* In order of use, then newest first; false past the end. */
bool keystore_at(struct keystore *ks, size_t index, struct keystore_public *ret);
bool keystore_find(struct keystore *ks, cc_view key_id, struct keystore_public *ret);
const char *keystore_use_name(enum keystore_use use); /* decrypt, result, approval */

/* The current signing key of result or approval; a reference: free with EVP_PKEY_free.
 * CC_NOT_FOUND when there is none. */
cc_err keystore_signing_key(struct keystore *ks, enum keystore_use use, EVP_PKEY **ret) CC_MUST_USE;
/* An imported password.  CC_NOT_FOUND when no decrypt key has this id; every failure after that is
 * CC_PASSWORD. */
cc_err keystore_decrypt(struct keystore *ks, cc_view key_id, Certq__Padding padding, cc_view label,
	cc_view encrypted, cc_secret *ret) CC_MUST_USE;
