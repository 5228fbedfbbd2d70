/*
 * Jobs, signer statements and results: verified first, then parsed from the very bytes that were
 * verified, then judged.  Nothing here knows a policy.
 */
#include "proto/job.h"
#include "proto/codec.h"
#include "proto/job_shape.h"

#include <string.h>

#define NOT_BEFORE_TOLERANCE_S 300

void job_id_derive(cc_view tenant, cc_view idempotency_key, uint8_t ret[JOB_ID_SIZE])
{
	uint8_t digest[SHA256_SIZE];

	HASH_ITEMS(digest, cc_view_text("certq-job-v1"), tenant, idempotency_key);
	memcpy(ret, digest, JOB_ID_SIZE);
}

void job_txid(
	cc_view tenant, cc_view job_id, cc_view ca, cc_view csr_sha256, uint8_t ret[TXID_SIZE])
{
	uint8_t digest[SHA256_SIZE];

	HASH_ITEMS(digest, cc_view_text("certq-tx-v1"), tenant, job_id, ca, csr_sha256);
	memcpy(ret, digest, TXID_SIZE);
}

void job_pfx_label(cc_view tenant, cc_view user_id, cc_view purpose, cc_view pfx_sha256,
	uint8_t ret[SHA256_SIZE])
{
	HASH_ITEMS(ret, cc_view_text("certq/pfx/1"), tenant, user_id, purpose, pfx_sha256);
}

const char *job_kind_name(const Certq__JobDocument *job)
{
	switch (job->kind_case) {
	case CERTQ__JOB_DOCUMENT__KIND_ISSUE:
		return "issue";
	case CERTQ__JOB_DOCUMENT__KIND_REWRAP:
		return "rewrap";
	case CERTQ__JOB_DOCUMENT__KIND_REVOKE:
		return "revoke";
	case CERTQ__JOB_DOCUMENT__KIND_CHAIN:
		return "chain";
	default:
		return "unknown";
	}
}

/* `not_before` is not negative, so neither sum nor difference can overflow. */
static cc_err check_times(
	const char *what, int64_t not_before_s, int64_t not_after_s, int64_t now_s)
{
	if (now_s < not_before_s - NOT_BEFORE_TOLERANCE_S)
		return cc_fail(CC_NOT_YET_VALID, "%s: valid only in %lld s", what,
			(long long)(not_before_s - now_s));
	if (now_s >= not_after_s)
		return cc_fail(CC_EXPIRED, "%s: past its time since %lld s", what,
			(long long)(now_s - not_after_s));
	return CC_OK;
}

static cc_err check_tenant(const char *what, ProtobufCBinaryData found, cc_view expected)
{
	return cc_view_equal(codec_view(found), expected)
		       ? CC_OK
		       : cc_fail(CC_WRONG_TENANT, "%s: for another tenant", what);
}

static cc_err check_statement(
	const Certq__SignerStatement *statement, cc_view tenant, int64_t now_s)
{
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	ENSURE(statement->version == 1,
		cc_fail(CC_VERSION, "signer statement of version %u", statement->version));
	TRY(check_tenant("signer statement", statement->tenant, tenant));
	TRY(dsse_public_key(codec_view(statement->spki), &key));
	ENSURE(statement->not_before_s >= 0 && statement->not_after_s > statement->not_before_s,
		cc_fail(CC_MALFORMED, "signer statement: not_after_s is not after not_before_s"));
	ENSURE(statement->not_after_s - statement->not_before_s <= SIGNER_LIFETIME_MAX_S,
		cc_fail(CC_MALFORMED, "signer statement: longer than 90 days"));
	TRY(check_times(
		"signer statement", statement->not_before_s, statement->not_after_s, now_s));
out:
	EVP_PKEY_free(key);
	return err;
}

cc_err signer_verify(cc_view job_root_spki, cc_view tenant, const Certq__SignedDocument *statement,
	int64_t now_s, Certq__SignerStatement **ret)
{
	Certq__SignerStatement *decoded = NULL;
	cc_err err = CC_OK;

	TRY(dsse_verify(job_root_spki, DOC_SIGNER, statement));
	TRY(codec_decode_document(&certq__signer_statement__descriptor, codec_view(statement->body),
		DOC_BODY_MAX, &decoded));
	TRY(check_statement(decoded, tenant, now_s));
	*ret = decoded;
	decoded = NULL;
out:
	codec_free(decoded);
	return err;
}

static bool may_sign(const Certq__SignerStatement *signer, const Certq__JobDocument *job)
{
	switch (job->kind_case) {
	case CERTQ__JOB_DOCUMENT__KIND_ISSUE:
		return signer->issue;
	case CERTQ__JOB_DOCUMENT__KIND_REWRAP:
		return signer->rewrap;
	case CERTQ__JOB_DOCUMENT__KIND_REVOKE:
		return signer->revoke;
	case CERTQ__JOB_DOCUMENT__KIND_CHAIN:
		return signer->chain;
	default:
		return false;
	}
}

cc_err job_verify(const Certq__SignerStatement *signer, const Certq__SignedDocument *document,
	int64_t now_s, Certq__JobDocument **ret, uint8_t ret_job_id[JOB_ID_SIZE])
{
	Certq__JobDocument *job = NULL;
	cc_err err = CC_OK;

	TRY(dsse_verify(codec_view(signer->spki), DOC_JOB, document));
	TRY(codec_decode_document(
		&certq__job_document__descriptor, codec_view(document->body), DOC_BODY_MAX, &job));
	ENSURE(job->version == 1, cc_fail(CC_VERSION, "job of version %u", job->version));
	TRY(check_tenant("job", job->tenant, codec_view(signer->tenant)));
	TRY(job_shape_check(job));
	ENSURE(may_sign(signer, job),
		cc_fail(CC_DENIED, "job: its signer may not sign the kind %s", job_kind_name(job)));
	TRY(check_times("job", job->not_before_s, job->not_after_s, now_s));
	job_id_derive(codec_view(job->tenant), codec_view(job->idempotency_key), ret_job_id);
	*ret = job;
	job = NULL;
out:
	codec_free(job);
	return err;
}

cc_err job_peek(cc_view body, Certq__JobDocument **ret)
{
	return codec_decode_document(&certq__job_document__descriptor, body, DOC_BODY_MAX, ret);
}

bool job_audience_fits(const Certq__JobDocument *job, cc_view connector_id, const cc_view *groups,
	size_t group_count)
{
	cc_view audience = codec_view(job->audience);

	if (audience.size == 0 || cc_view_equal(audience, connector_id))
		return true;
	for (size_t i = 0; i < group_count; i++)
		if (cc_view_equal(audience, groups[i]))
			return true;
	return false;
}

static cc_err check_digest(const char *what, ProtobufCBinaryData digest, cc_view content)
{
	uint8_t actual[SHA256_SIZE];

	if (content.size == 0)
		return digest.len == 0
			       ? CC_OK
			       : cc_fail(CC_MISMATCH, "result: %s is signed but not there", what);
	hash_sha256(content, actual);
	return cc_view_equal(codec_view(digest), cc_view_of(actual, sizeof(actual)))
		       ? CC_OK
		       : cc_fail(CC_MISMATCH, "result: %s is not the one that was signed", what);
}

/* What each outcome carries, and nothing else. */
static cc_err check_outcome(const Certq__ResultDocument *r, const Certq__ResultBundle *bundle)
{
	bool has_sealed = r->sealed_sha256.len > 0, has_pfx = r->pfx_sha256.len > 0;
	bool ok = false;

	switch (r->outcome) {
	case CERTQ__OUTCOME__OUTCOME_ISSUED:
		ok = has_sealed && has_pfx && bundle->pfx.len > 0 && r->certificate.len > 0;
		break;
	case CERTQ__OUTCOME__OUTCOME_REWRAPPED:
		ok = has_sealed && has_pfx && bundle->pfx.len == 0;
		break;
	case CERTQ__OUTCOME__OUTCOME_CHAIN:
		ok = !has_sealed && !has_pfx && r->n_chain > 0 && r->certificate.len == 0;
		break;
	case CERTQ__OUTCOME__OUTCOME_REFUSED:
		ok = !has_sealed && !has_pfx && r->n_chain == 0 && r->certificate.len == 0 &&
		     text_is_token(codec_view(r->code), 64);
		break;
	default:
		break;
	}
	return ok ? CC_OK : cc_fail(CC_MISMATCH, "result: its content does not fit its outcome");
}

static cc_err check_result(
	const Certq__ResultDocument *r, cc_view tenant, cc_view job_id, cc_view job_sha256)
{
	cc_err err = CC_OK;

	ENSURE(r->version == 1, cc_fail(CC_VERSION, "result of version %u", r->version));
	TRY(check_tenant("result", r->tenant, tenant));
	ENSURE(cc_view_equal(codec_view(r->job_id), job_id),
		cc_fail(CC_MISMATCH, "result: for another job"));
	ENSURE(cc_view_equal(codec_view(r->job_sha256), job_sha256),
		cc_fail(CC_MISMATCH, "result: for other bytes under this job's id"));
out:
	return err;
}

cc_err result_verify(cc_view result_spki, cc_view tenant, cc_view job_id, cc_view job_sha256,
	const Certq__ResultBundle *bundle, cc_view pfx, Certq__ResultDocument **ret)
{
	Certq__ResultDocument *result = NULL;
	cc_err err = CC_OK;

	TRY(dsse_verify(result_spki, DOC_RESULT, bundle->result));
	TRY(codec_decode_document(&certq__result_document__descriptor,
		codec_view(bundle->result->body), DOC_BODY_MAX, &result));
	TRY(check_result(result, tenant, job_id, job_sha256));
	TRY(check_outcome(result, bundle));
	if (result->outcome != CERTQ__OUTCOME__OUTCOME_REWRAPPED)
		pfx = codec_view(bundle->pfx);
	TRY(check_digest("pfx", result->pfx_sha256, pfx));
	TRY(check_digest(
		"sealed_password", result->sealed_sha256, codec_view(bundle->sealed_password)));
	*ret = result;
	result = NULL;
out:
	codec_free(result);
	return err;
}
