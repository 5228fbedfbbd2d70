/*
 * Cookies: what a backend wants to be told again about a pending request, sealed by the runner.
 *
 * Runner only; pure functions but for the key's file.  A cookie is kept by the connector, which must
 * neither read nor make one, nor show one job's cookie with another job's order:
 *   version (1) | nonce, ciphertext and tag of AES-256-GCM (base/crypt.h)
 * under a random key of this runner's own, with CA, tenant, job id and CSR digest authenticated beside
 * it.  Where the key is lost, no cookie opens any more, and `find` gives a new one.
 */
#pragma once

#include "base/blob.h"

/* Whose cookie it is; borrowed. */
struct cookie_owner {
	cc_view ca, tenant, job_id, csr_sha256;
};

/* Read the key from `state_dir`, where it is made when it is not there. */
cc_err cookie_read_key(const char *state_dir, cc_secret *ret) CC_MUST_USE;
/* CC_TOO_LARGE: the sealed one would be larger than CA_COOKIE_MAX. */
cc_err cookie_seal(const cc_secret *key, const struct cookie_owner *owner, cc_view plain,
	cc_blob *ret) CC_MUST_USE;
/* CC_MISMATCH: of another job, CA or runner, or altered. */
cc_err cookie_open(const cc_secret *key, const struct cookie_owner *owner, cc_view sealed,
	cc_secret *ret) CC_MUST_USE;
