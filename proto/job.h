/*
 * Jobs and signers: what queue and keyvault both have to judge, in one place.
 *
 * Any process, any thread.  The queue judges so that a mistake is told in milliseconds; the keyvault
 * judges because it believes nobody.  Verify before parse; parse the bytes that were verified.
 */
#pragma once

#include "base/text.h"
#include "proto/dsse.h"

#define JOB_LIFETIME_MAX_S    (7 * 86400)
#define SIGNER_LIFETIME_MAX_S (90 * 86400)
#define TXID_SIZE             16

/* H("certq-job-v1", tenant, key)[0..15] */
void job_id_derive(cc_view tenant, cc_view idempotency_key, uint8_t ret[JOB_ID_SIZE]);
/* H("certq-tx-v1", tenant, job_id, ca, csr_sha256)[0..15] */
void job_txid(
	cc_view tenant, cc_view job_id, cc_view ca, cc_view csr_sha256, uint8_t ret[TXID_SIZE]);
/* OAEP label of a bound record: H("certq/pfx/1", tenant, user id, purpose, SHA-256(PFX)). */
void job_pfx_label(cc_view tenant, cc_view user_id, cc_view purpose, cc_view pfx_sha256,
	uint8_t ret[SHA256_SIZE]);

const char *job_kind_name(const Certq__JobDocument *job); /* issue, rewrap, revoke, chain */

/* The job root's statement about a signer: signature, tenant, times (at `now_s`), length <= 90 d.
 * The statement is allocated; free with codec_free. */
cc_err signer_verify(cc_view job_root_spki, cc_view tenant, const Certq__SignedDocument *statement,
	int64_t now_s, Certq__SignerStatement **ret) CC_MUST_USE;

/* A job under a verified statement: signature, version, tenant, kind allowed to this signer,
 * idempotency key, lifetime, shape (lengths, clean text, counts, enums: everything that needs no
 * policy).  Times are judged at `now_s` with 5 minutes of tolerance for not_before. */
cc_err job_verify(const Certq__SignerStatement *signer, const Certq__SignedDocument *document,
	int64_t now_s, Certq__JobDocument **ret, uint8_t ret_job_id[JOB_ID_SIZE]) CC_MUST_USE;

/* Decode without verifying, for the courier: routing, kind, correlation id.  Never a decision. */
cc_err job_peek(cc_view body, Certq__JobDocument **ret) CC_MUST_USE;

/* audience is empty, the connector's id, or one of its groups. */
bool job_audience_fits(const Certq__JobDocument *job, cc_view connector_id, const cc_view *groups,
	size_t group_count);

/* A result under a connector's registered result key: signature, version, tenant, job id, digest of
 * the job's body, and the digests over pfx and sealed password in the bundle (`pfx`: the record's
 * copy for a rewrap).  Free with codec_free. */
cc_err result_verify(cc_view result_spki, cc_view tenant, cc_view job_id, cc_view job_sha256,
	const Certq__ResultBundle *bundle, cc_view pfx, Certq__ResultDocument **ret) CC_MUST_USE;
