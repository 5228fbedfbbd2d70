/*
 * The order of the checks is the order of belief: nothing is parsed before it is verified, nothing is
 * signed about a job whose signature, tenant and audience have not been found good.
 */
#include "keyvault/verify.h"
#include <string.h>

static enum reason reason_of(cc_err err)
{
	switch (err) {
	case CC_BAD_SIGNATURE:
		return REASON_SIGNATURE;
	case CC_UNKNOWN_KEY:
		return REASON_UNKNOWN_KEY;
	case CC_WRONG_TENANT:
		return REASON_TENANT;
	case CC_EXPIRED: /* of the statement; a job's own expiry does not come here */
	case CC_DENIED:
		return REASON_SIGNER;
	case CC_NOT_YET_VALID:
		return REASON_NOT_YET;
	default:
		return REASON_DOCUMENT;
	}
}

static void note_signer(struct call *c, const Certq__SignerStatement *signer)
{
	c->change.has_signer = true;
	hash_sha256(codec_view(signer->spki), c->change.signer);
	c->change.signer_revision = signer->revision;
}

/* A statement that is past its time still withdraws older ones of its key: when all else about it is
 * good its revision is remembered. */
static void learn_past_statement(struct call *c, const Certq__SignedDocument *document)
{
	const struct pins *pins = c->rules->pins;
	Certq__SignerStatement *peek = NULL, *signer = NULL;
	cc_err err = CC_OK;

	TRY(codec_decode_document(&certq__signer_statement__descriptor, codec_view(document->body),
		DOC_BODY_MAX, &peek));
	ENSURE(peek->not_after_s > 0, cc_fail(CC_MALFORMED, "signer statement: its times"));
	TRY(signer_verify(
		pins_job_root(pins), pins_tenant(pins), document, peek->not_after_s - 1, &signer));
	note_signer(c, signer);
out:
	codec_free(peek);
	codec_free(signer);
}

static cc_err verify_signer(
	struct call *c, const Certq__SignedDocument *document, Certq__SignerStatement **ret)
{
	const struct pins *pins = c->rules->pins;
	cc_err err = signer_verify(pins_job_root(pins), pins_tenant(pins), document, c->now_s, ret);

	if (err == CC_OK) {
		note_signer(c, *ret);
		return CC_OK;
	}
	err = call_step(c, reason_of(err), err);
	if (err == CC_EXPIRED)
		learn_past_statement(c, document);
	return err;
}

/* *ret_expired: all is good but the time, so that a refusal may be signed. */
static cc_err verify_document(struct call *c, const Certq__SignerStatement *signer,
	const Certq__SignedDocument *document, bool *ret_expired)
{
	Certq__JobDocument *peek = NULL;
	cc_err err = job_verify(signer, document, c->now_s, &c->job, c->change.job_id);

	if (err == CC_EXPIRED) {
		*ret_expired = true;
		err = job_peek(codec_view(document->body), &peek);
		if (err == CC_OK)
			err = job_verify(
				signer, document, peek->not_after_s - 1, &c->job, c->change.job_id);
		codec_free(peek);
	}
	return call_step(c, reason_of(err), err);
}

static cc_err check_audience(struct call *c)
{
	size_t count = 0;
	const cc_view *groups = pins_groups(c->rules->pins, &count);

	if (job_audience_fits(c->job, pins_connector_id(c->rules->pins), groups, count))
		return CC_OK;
	return call_refuse(c, REASON_AUDIENCE, "for another connector or group");
}

cc_err verify_policy(struct call *c)
{
	const struct rules *r = c->rules;

	if (r->policy != NULL)
		return CC_OK;
	return call_refuse(c, r->policy_is_missing ? REASON_POLICY_MISSING : REASON_POLICY_PROBLEM,
		"%s", r->problem);
}

cc_err verify_ca_is_pinned(struct call *c, cc_view ca)
{
	if (pins_roots(c->rules->pins, ca) != NULL)
		return CC_OK;
	return call_refuse(c, REASON_POLICY_PROBLEM, "no root is pinned for the CA %.*s",
		(int)ca.size, (const char *)ca.data);
}

static cc_err check_enrolled(struct call *c)
{
	if (pins_are_enrolled(c->rules->pins))
		return CC_OK;
	return call_refuse(c, REASON_NOT_ENROLLED, "pins.yaml names no tenant");
}

cc_err verify_job(struct call *c, ProtobufCBinaryData claimed_id, const Certq__SignedDocument *job,
	const Certq__SignedDocument *signer, Certq__JobDocument__KindCase kind)
{
	Certq__SignerStatement *statement = NULL;
	bool expired = false;
	cc_err err = CC_OK;

	TRY(check_enrolled(c));
	ENSURE(job != NULL && signer != NULL,
		call_refuse(c, REASON_MALFORMED, "a job comes with its signer's statement"));
	TRY(verify_signer(c, signer, &statement));
	TRY(verify_document(c, statement, job, &expired));
	c->correlation = cc_strndup(codec_view(c->job->correlation_id));
	ENSURE(cc_view_equal(codec_view(claimed_id), cc_view_of(c->change.job_id, JOB_ID_SIZE)),
		call_refuse(c, REASON_JOB_ID, "the job is not the one that the envelope names"));
	TRY(check_audience(c));
	ENSURE(c->job->kind_case == kind,
		call_refuse(c, REASON_MALFORMED, "the job is of another kind than the operation"));
	c->change.has_job = true;
	c->change.tenant = cc_blob_copy(codec_view(c->job->tenant));
	hash_sha256(codec_view(job->body), c->change.job_sha256);
	c->change.not_after_s = c->job->not_after_s;
	ENSURE(!expired, call_refuse(c, REASON_EXPIRED, "past its not_after"));
	c->change.judges_clock = true;
	TRY(verify_policy(c));
	TRY(call_step(c, REASON_POLICY, policy_judge_lifetime(c->rules->policy, c->job)));
out:
	codec_free(statement);
	return err;
}

/* A ticket that does not open is refused without a signature: nobody knows which job it was. */
static cc_err open_ticket(struct call *c, ProtobufCBinaryData ticket, int64_t at_s)
{
	Vault__TakenJob *taken = NULL;
	cc_err err = CC_OK;

	TRY(check_enrolled(c));
	TRY(call_step(c, REASON_TICKET,
		ticket_open(c->vault->tickets, pins_tenant(c->rules->pins), codec_view(ticket),
			at_s, &c->ticket)));
	c->change.has_job = true;
	c->change.tenant = cc_blob_copy(codec_view(c->ticket->tenant));
	memcpy(c->change.job_id, c->ticket->job_id.data, JOB_ID_SIZE);
	memcpy(c->change.job_sha256, c->ticket->job_sha256.data, SHA256_SIZE);
	memcpy(c->spki_sha256, c->ticket->spki_sha256.data, SHA256_SIZE);
	TRY(call_step(c, REASON_INTERNAL,
		state_find_taken(c->vault->state, codec_view(c->ticket->tenant),
			codec_view(c->ticket->job_id), &taken)));
	if (taken != NULL)
		c->correlation = cc_strndup(codec_view(taken->correlation_id));
out:
	codec_free(taken);
	return err;
}

cc_err verify_ticket(struct call *c, ProtobufCBinaryData ticket)
{
	cc_err err = open_ticket(c, ticket, c->now_s);

	return err != CC_OK ? err : verify_policy(c);
}

cc_err verify_ticket_to_settle(struct call *c, ProtobufCBinaryData ticket)
{
	return open_ticket(c, ticket, TICKET_WHENEVER);
}
