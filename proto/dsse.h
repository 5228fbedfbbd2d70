/*
 * DSSE: the one way that documents are signed here.
 *
 * Any process, any thread.  The signature is over "DSSEv1" SP len(type) SP type SP len(body) SP body
 * (secure-systems-lab/dsse, protocol.md).  The type is the verifier's, never the document's.  The
 * pinned key's type decides the algorithm: Ed25519, or ECDSA P-256 with SHA-256 in DER.
 */
#pragma once

#include "base/hash.h"
#include "certq/v1/job.pb-c.h"
#include <openssl/evp.h>

#define DOC_JOB        "application/vnd.certq.job.v1+protobuf"
#define DOC_ORDER      "application/vnd.certq.order.v1+protobuf"
#define DOC_RESULT     "application/vnd.certq.result.v1+protobuf"
#define DOC_SIGNER     "application/vnd.certq.signer-statement.v1+protobuf"
#define DOC_CHECKPOINT "application/vnd.certq.audit-checkpoint.v1+protobuf"

#define DOC_BODY_MAX (192u * 1024u)

/* SHA-256 of a SubjectPublicKeyInfo: the name of every key in this project. */
void dsse_key_id(cc_view spki, uint8_t ret[SHA256_SIZE]);

/* A signing key's public half: Ed25519 or P-256 in canonical DER; anything else is CC_BAD_KEY.
 * Free with EVP_PKEY_free. */
cc_err dsse_public_key(cc_view spki, EVP_PKEY **ret) CC_MUST_USE;
cc_err dsse_spki(const EVP_PKEY *key, cc_blob *ret) CC_MUST_USE;

/* Sign `body`; the document is allocated, free with codec_free. */
cc_err dsse_sign(
	EVP_PKEY *key, const char *type, cc_view body, Certq__SignedDocument **ret) CC_MUST_USE;

/* CC_UNKNOWN_KEY when key_id is not this key's, CC_BAD_SIGNATURE when it does not verify. */
cc_err dsse_verify(
	cc_view spki, const char *type, const Certq__SignedDocument *document) CC_MUST_USE;
