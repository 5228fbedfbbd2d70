/*
 * PFX: PKCS#12 files, packed and opened (RFC 7292).
 *
 * A library without state: keyvault, certconnectorctl and certdevice use it; any thread.  A file
 * from outside is judged before a single iteration is spent on it (pfx_inspect), and what hides
 * behind its outer encryption is judged again before it is decrypted.
 *
 * Errors: CC_MALFORMED what is not a PKCS#12 file, CC_TOO_LARGE beyond a limit, CC_PASSWORD when
 * the password does not open it, CC_MISMATCH when no certificate belongs to the key,
 * CC_NOT_SUPPORTED for algorithms and shapes that are not taken.
 */
#pragma once

#include "base/blob.h"
#include "certq/v1/job.pb-c.h"
#include <openssl/evp.h>
#include <openssl/x509.h>

#define PFX_MAX            (96u * 1024u)
#define PFX_BAGS_MAX       64
#define PFX_CHAIN_MAX      8          /* certificates beside the key's own */
#define PFX_ITERATIONS_MAX 10000000u  /* MAC and every encryption, in sum */
#define PFX_SCRYPT_MAX     (1u << 20) /* N * r * p, in sum */
#define PFX_ITERATIONS     2048u      /* default: the password has 190 bits */
#define PFX_PASSWORD_SIZE  32

/* 32 characters of [A-Za-z0-9] without bias. */
cc_secret pfx_password_new(void);

/* Pack.  `chain` (may be NULL) goes in after the leaf, in its order.  The password is text, without a
 * terminator and without NUL.  MODERN: AES-256-CBC by PBES2 with PBKDF2-HMAC-SHA256, MAC SHA-256.
 * COMPAT: 3DES-SHA1, MAC SHA-1.  The MAC's salt has 8 bytes, which is what every importer takes.
 * The key must belong to the leaf (CC_MISMATCH). */
cc_err pfx_pack(EVP_PKEY *key, X509 *leaf, STACK_OF(X509) * chain, const cc_secret *password,
	Certq__PfxProfile profile, uint32_t iterations, cc_blob *ret) CC_MUST_USE;

/* What can be seen without the password. */
struct pfx_facts {
	uint64_t iterations; /* in sum */
	uint64_t scrypt;     /* N * r * p in sum */
	size_t bags;         /* that are not behind an encryption */
};
/* Limits only: no key derivation takes place.  `ret` may be NULL. */
cc_err pfx_inspect(cc_view pfx, struct pfx_facts *ret) CC_MUST_USE;

struct pfx_content {
	EVP_PKEY *key;
	X509 *leaf;              /* belongs to the key */
	STACK_OF(X509) * others; /* the rest, in the file's order; never NULL */
};
/* OpenSSL's legacy provider in a library context of its own, so that nothing else of the process finds
 * it: for files under RC2, which old exporters write.  It comes from a file: load it before the walls.
 * One thread at a time. */
struct pfx_legacy; /* opaque */
cc_err pfx_legacy_load(struct pfx_legacy **ret) CC_MUST_USE;
void pfx_legacy_free(struct pfx_legacy *l); /* accepts NULL */

/* Exactly one private key is taken.  `legacy` NULL: files under RC2 are refused.  Clear `ret` with
 * pfx_content_clear. */
cc_err pfx_open(cc_view pfx, cc_view password, const struct pfx_legacy *legacy,
	struct pfx_content *ret) CC_MUST_USE;
void pfx_content_clear(struct pfx_content *content); /* accepts an empty one */
