/*
 * Calls: reasons noted, answers packed, refusals made and signed.
 */
#include "keyvault/call.h"
#include "base/clock.h"
#include "keyvault/result.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_BUSY_MS    1000
#define RETRY_FAILED_MS  5000
#define RETRY_PROBLEM_MS 60000
#define HOUR_S           3600

struct call *call_new(struct vault *v, const struct call_op *op)
{
	struct call *c = cc_alloc(sizeof(*c));

	c->vault = v;
	c->op = op;
	c->work.kind = op->kind;
	c->rules = rules_hold(v->rules);
	c->now_s = clock_realtime_s();
	v->calls++;
	return c;
}

static void clear_findings(struct call *c)
{
	codec_free(c->job);
	c->job = NULL;
	codec_free_secret(c->ticket);
	c->ticket = NULL;
	free(c->correlation);
	c->correlation = NULL;
	free(c->ca);
	c->ca = NULL;
	free(c->detail);
	c->detail = NULL;
	cc_blob_free(&c->csr);
	cc_blob_free(&c->sealed_ticket);
	cc_blob_free(&c->issuer);
	cc_blob_free(&c->serial);
	cc_blob_free(&c->answer);
	state_change_clear(&c->change);
	c->reason = REASON_NONE;
}

void call_reset(struct call *c)
{
	clear_findings(c);
	c->now_s = clock_realtime_s();
}

void call_free(struct call *c)
{
	if (c == NULL)
		return;
	struct vault *v = c->vault;
	clear_findings(c);
	codec_free(c->request);
	codec_free(c->admin);
	rules_release(c->rules);
	free(c);
	if (--v->calls == 0 && v->on_quiet != NULL)
		v->on_quiet(v);
}

/* ---- reasons ---- */

static void note(struct call *c, enum reason why, const char *detail)
{
	c->reason = why;
	free(c->detail);
	c->detail = cc_strdup(detail);
}

static bool says_nothing(cc_err err)
{
	switch (cc_err_category(err)) {
	case CC_CAT_STORAGE:
	case CC_CAT_INTERNAL:
	case CC_CAT_CRYPTO:
	case CC_CAT_RETRY_LATER:
		return true;
	default:
		return false;
	}
}

cc_err call_step(struct call *c, enum reason why, cc_err err)
{
	if (err != CC_OK)
		note(c, says_nothing(err) ? REASON_INTERNAL : why, cc_err_detail(err));
	return err;
}

cc_err call_refuse(struct call *c, enum reason why, const char *format, ...)
{
	char words[512];
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	note(c, why, words);
	return cc_fail(CC_DENIED, "%s", words);
}

/* ---- answers ---- */

void call_answer(struct call *c, Vault__VaultAnswer *answer)
{
	answer->request_id = c->request_id;
	answer->status = VAULT__VAULT_STATUS__VAULT_OK;
	cc_blob_free(&c->answer);
	c->answer = codec_pack(answer);
}

void call_answer_admin(struct call *c, Vault__AdminAnswer *answer)
{
	answer->request_id = c->request_id;
	answer->status = VAULT__VAULT_STATUS__VAULT_OK;
	cc_blob_free(&c->answer);
	c->answer = codec_pack(answer);
}

static uint32_t retry_after_ms(const struct call *c)
{
	switch (c->reason) {
	case REASON_RATE:
		return (uint32_t)(HOUR_S - c->now_s % HOUR_S) * 1000;
	case REASON_POLICY_PROBLEM:
	case REASON_CLOCK:
		return RETRY_PROBLEM_MS;
	case REASON_INTERNAL:
		return RETRY_FAILED_MS;
	default:
		return reason_status(c->reason) == VAULT__VAULT_STATUS__VAULT_BUSY ? RETRY_BUSY_MS
										   : 0;
	}
}

/* Words about a rule leave this process only where the policy says so; about passwords never. */
static bool may_tell_detail(const struct call *c)
{
	return c->detail != NULL && c->rules->policy != NULL &&
	       policy_reports_detail(c->rules->policy) && c->reason != REASON_PASSWORD;
}

static void answer_admin_refusal(struct call *c)
{
	Vault__AdminAnswer answer = VAULT__ADMIN_ANSWER__INIT;

	answer.request_id = c->request_id;
	answer.status = reason_status(c->reason);
	answer.code = codec_text(reason_code(c->reason));
	answer.detail = codec_text(c->detail); /* to the administrator in person */
	c->answer = codec_pack(&answer);
}

void call_answer_refusal(struct call *c)
{
	Vault__VaultAnswer answer = VAULT__VAULT_ANSWER__INIT;
	Certq__ResultBundle bundle = CERTQ__RESULT_BUNDLE__INIT;

	cc_blob_free(&c->answer);
	if (c->admin != NULL) {
		answer_admin_refusal(c);
		return;
	}
	if (reason_status(c->reason) == VAULT__VAULT_STATUS__VAULT_REFUSED && c->change.has_job) {
		cc_err err = result_sign_refusal(c->vault->keys, cc_blob_view(&c->change.tenant),
			cc_view_of(c->change.job_id, JOB_ID_SIZE),
			cc_view_of(c->change.job_sha256, SHA256_SIZE), c->reason, &bundle.result);
		if (err != CC_OK)
			note(c, REASON_INTERNAL, cc_err_detail(err));
	}
	answer.request_id = c->request_id;
	answer.status = reason_status(c->reason);
	answer.code = codec_text(reason_code(c->reason));
	answer.event = reason_event(c->reason);
	answer.retry_after_ms = retry_after_ms(c);
	if (may_tell_detail(c))
		answer.detail = codec_text(c->detail);
	if (bundle.result != NULL)
		answer.refusal = &bundle;
	c->answer = codec_pack(&answer);
	codec_free(bundle.result);
}

void call_plan_issued(struct call *c, cc_view certificate)
{
	struct state_change *change = &c->change;
	Vault__IssuedRow *row = &change->issued;

	hash_sha256(certificate, change->decision.certificate_sha256);
	change->decision.has_certificate = true;
	memcpy(change->decision.spki_sha256, c->spki_sha256, SHA256_SIZE);
	change->decision.has_spki = true;
	change->has_issued = true;
	vault__issued_row__init(row);
	row->tenant = codec_bytes(cc_blob_view(&change->tenant));
	row->job_id = codec_bytes(cc_view_of(change->job_id, JOB_ID_SIZE));
	row->spki_sha256 = codec_bytes(cc_view_of(c->spki_sha256, SHA256_SIZE));
	row->certificate_sha256 =
		codec_bytes(cc_view_of(change->decision.certificate_sha256, SHA256_SIZE));
	row->ca = codec_text(c->ca);
	row->time_s = c->now_s;
	row->issuer = codec_bytes(cc_blob_view(&c->issuer));
	row->serial = codec_bytes(cc_blob_view(&c->serial));
}

/* What a refused request leaves behind: the decision, and the newest statement of its signer. */
static void forget_effects(struct state_change *change)
{
	change->take = STATE_TAKE_NONE;
	change->has_device = false;
	change->checks_block = false;
	change->rate = NULL;
	change->has_issued = false;
	change->ticket_number = 0;
	change->judges_clock = false;
	change->blocks = false;
	change->rules = STATE_RULES_NOT;
	change->accepts_clock = false;
	change->confirm = 0;
}

void call_conclude(struct call *c)
{
	struct state_change *change = &c->change;

	if (c->reason != REASON_NONE) {
		forget_effects(change);
		call_answer_refusal(c);
	}
	change->now_s = c->now_s;
	change->decides = c->op->audited && reason_is_decision(c->reason);
	change->decision.operation = c->op->name;
	change->decision.reason = c->reason;
	change->decision.uid = c->uid;
}

/* ---- log ---- */

static void log_device(const struct call *c)
{
	const struct state_device *d = &c->change.device;

	log_event(EV_DEVICE_FIRST_SEEN, LV_JOB(cc_view_of(c->change.job_id, JOB_ID_SIZE)),
		LV_VIEW("device", cc_blob_view(&d->device_id)),
		LV_VIEW("user", cc_blob_view(&d->user_id)),
		LV_HEX("spki", cc_view_of(d->spki_sha256, SHA256_SIZE)),
		LV_TEXT("source", c->change.approved ? "approved" : d->source));
}

static void log_question(const struct call *c)
{
	const struct state_change *change = &c->change;

	log_event(EV_APPROVAL_ASKED, LV_JOB(cc_view_of(change->job_id, JOB_ID_SIZE)),
		LV_TEXT("correlation", c->correlation),
		LV_VIEW("device", cc_blob_view(&change->device.device_id)),
		LV_VIEW("user", cc_blob_view(&change->device.user_id)),
		LV_HEX("spki", cc_view_of(change->device.spki_sha256, SHA256_SIZE)),
		LV_HEX("known",
			cc_view_of(change->known_spki, change->has_known ? SHA256_SIZE : 0)),
		LV_TEXT("reason", c->detail));
}

static void log_ruling(const struct call *c)
{
	const struct state_change *change = &c->change;

	log_event(EV_APPROVAL_DECIDED, LV_JOB(cc_view_of(change->job_id, JOB_ID_SIZE)),
		LV_TEXT("decision", change->rules == STATE_RULES_APPROVE ? "approved" : "denied"),
		LV_U64("uid", change->rules_uid),
		LV_VIEW("device", cc_blob_view(&change->decision.subject)),
		LV_VIEW("reason", cc_blob_view(&change->rules_reason)));
}

void call_log(const struct call *c)
{
	cc_view job = c->change.has_job ? cc_view_of(c->change.job_id, JOB_ID_SIZE) : CC_VIEW_NONE;
	uint32_t event = c->reason == REASON_NONE ? EV_VAULT_DECIDED : reason_event(c->reason);

	if (c->admin != NULL) {
		log_event(EV_ADMIN_REQUEST, LV_TEXT("operation", c->op->name),
			LV_U64("uid", c->uid),
			LV_TEXT("outcome",
				c->reason == REASON_NONE ? "done" : reason_code(c->reason)),
			LV_TEXT("reason", c->detail));
		if (c->reason == REASON_NONE && c->change.rules != STATE_RULES_NOT)
			log_ruling(c);
		return;
	}
	if (c->reason == REASON_WAITS) { /* once, however often the job comes */
		if (c->change.asked)
			log_question(c);
		return;
	}
	if (c->reason == REASON_NONE && c->change.device_is_new)
		log_device(c);
	if (event == 0 || !c->op->audited)
		return;
	log_event((event_id)event, LV_JOB(job), LV_TEXT("correlation", c->correlation),
		LV_TEXT("operation", c->op->name),
		LV_TEXT("code", c->reason == REASON_NONE ? NULL : reason_code(c->reason)),
		LV_TEXT("ca", c->ca), LV_TEXT("reason", c->detail));
}
