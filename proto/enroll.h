/*
 * Enrolment token: text form and proof of possession.  notes of the protocol: docs/protocol.md.
 *
 * Used by the queue's tool (makes it), the queue (checks the proof) and certconnectorctl (uses it).
 * The token's secret is wiped with codec_free_secret.
 */
#pragma once

#include "base/hash.h"
#include "certq/v1/enroll.pb-c.h"

#define ENROLL_PREFIX "certq-enroll-1."

cc_err enroll_token_read(
	cc_view text, Certq__EnrolmentToken **ret) CC_MUST_USE;  /* checks all fields */
cc_secret enroll_token_text(const Certq__EnrolmentToken *token); /* ends with a newline */
/* HMAC-SHA256 under the secret over H("certq-enroll-v1", token id, CSR (DER), result key (SPKI)). */
void enroll_mac(cc_view secret, cc_view token_id, cc_view csr, cc_view result_spki,
	uint8_t ret[SHA256_SIZE]);
