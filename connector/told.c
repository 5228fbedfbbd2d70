/*
 * What a CA says about a request that it has or may have, in whatever state the job is: one function,
 * one row a state for the two answers that differ.
 *
 * ISSUED and PENDING are the same everywhere.  "There is none and there will be none" lets a claimed job
 * ask anew, fails one that is waited for, and settles one that is not ours any more.  "Cannot tell" leaves
 * a doubt, which is recorded and told; nothing here asks for another certificate.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "base/hash.h"
#include "connector/steps.h"
#include <stdlib.h>

enum {
	CHAIN_CERTIFICATES_MAX = 8,
	CHAIN_BYTES_MAX = 48 * 1024,
	COOKIES_REFUSED_MAX = 2,
	WITHDRAWALS_MAX = 2
};

static const int64_t poll_most_ms = INT64_C(86400) * 1000;

/* ---- the certificate ---- */

static bool chain_fits(const Ca__CaAnswer *answer)
{
	size_t total = 0;
	for (size_t i = 0; i < answer->n_chain; i++)
		total += answer->chain[i].len;
	return answer->n_chain <= CHAIN_CERTIFICATES_MAX && total <= CHAIN_BYTES_MAX;
}

static cc_blob pack_chain(const Ca__CaAnswer *answer)
{
	Journal__CertificateList list = JOURNAL__CERTIFICATE_LIST__INIT;
	list.n_certificates = answer->n_chain;
	list.certificates = answer->chain;
	return codec_pack(&list);
}

/* A certificate that cannot be delivered.  One for another key is never touched again: the CA, or its
 * cookie, took us for somebody else. */
static void take_unusable(struct flow *f, struct job *job, cc_err err)
{
	cc_view reason = cc_view_text(err != CC_OK ? cc_err_detail(err) : "the chain is too large");
	const char *code = err == CC_MISMATCH ? FLOW_KEY_MISMATCH : "ca_answer_unusable";
	struct flow_failure why = {
		.code = cc_view_text(code), .event = EV_CERTIFICATE_MISMATCH, .detail = reason};
	log_event(EV_CERTIFICATE_MISMATCH, LV_JOB(job_id_view(job)), LV_TEXT("code", code),
		LV_VIEW("reason", reason), LV_VIEW("ca", job_ca(job)),
		LV_HEX("certificate", cc_blob_view(&job->certificate.sha256)),
		LV_TEXT("correlation", job->correlation));
	job->doubtful = true;
	if (err == CC_MISMATCH)
		flow_suspend_ca(f, job);
	flow_claim_failed(f, job, &why);
}

/* What stands between certificate and root: the one that ends first. */
static void note_issuers(struct flow *f, const struct job *job, const Ca__CaAnswer *answer)
{
	cc_view ca = job_ca(job);
	char *what =
		cc_asprintf("issuing certificate of CA %.*s", (int)ca.size, (const char *)ca.data);
	int64_t first_s = 0;
	for (size_t i = 1; i < answer->n_chain; i++) {
		int64_t end_s = expiry_of_issuer(codec_view(answer->chain[i]));
		if (end_s > 0 && (first_s == 0 || end_s < first_s))
			first_s = end_s;
	}
	expiries_put(f->expiries, what, first_s, 0, clock_realtime_s());
	free(what);
}

/* After WATCH nobody waits for it any more: the queue was told that the job failed. */
void flow_take_issued(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	bool late = flow_is(job, JOURNAL__JOB_STATE__STATE_WATCH);
	cc_err err = answer->n_chain == 0 ? cc_fail(CC_MALFORMED, "the CA gave no certificate")
					  : flow_read_leaf(codec_view(answer->chain[0]), job);
	if (err != CC_OK || !chain_fits(answer)) {
		take_unusable(f, job, err);
		return;
	}
	cc_blob_free(&job->chain);
	job->chain = pack_chain(answer);
	note_issuers(f, job, answer);
	job->doubtful = false;
	log_event(EV_PKCS_ISSUED_SUCCESS, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_HEX("serial", cc_blob_view(&job->certificate.serial)),
		LV_HEX("certificate", cc_blob_view(&job->certificate.sha256)),
		LV_TEXT("correlation", job->correlation));
	struct journal_change *c = flow_change(f);
	flow_set_state(
		f, job, late ? JOURNAL__JOB_STATE__STATE_ORPHAN : JOURNAL__JOB_STATE__STATE_ISSUED);
	job->settle = CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
	flow_put_record(c, job);
	flow_put_claim_known(c, job);
	journal_change_blob(c, job_id_view(job), JOURNAL_CHAIN, cc_blob_view(&job->chain));
	flow_commit_step(f, job, c); /* a failure ends the process: it must not be forgotten */
	if (!late) /* the keyvault packs while ISSUED is on its way to the disk: commits stay in order */
		step_finish(f, job);
}

/* ---- pending ---- */

/* As the CA says, but neither at once nor in a year; and not all of them at the same moment. */
static int64_t poll_delay(const struct flow *f, const struct job *job, const Ca__CaAnswer *answer)
{
	int64_t least = f->settings.poll_min_ms, ms = (int64_t)answer->delay_s * 1000;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_WATCH))
		least *= FLOW_SLOW_POLL;
	if (ms < least)
		ms = least;
	if (ms > poll_most_ms)
		ms = poll_most_ms;
	return ms + (int64_t)random_below((uint64_t)(ms / 8 + 1));
}

static void set_reference(struct job *job, cc_view reference)
{
	if (!text_is_clean(reference, JOB_REFERENCE_MAX) || reference.size == 0)
		return;
	free(job->reference);
	job->reference = cc_strndup(reference);
}

static int64_t pending_deadline(const struct flow *f, const struct job *job)
{
	int64_t at = clock_realtime_ms() + f->settings.pending_max_ms;
	int64_t last =
		job->finish_by_s * 1000; /* later the keyvault would not take the certificate */
	return last > 0 && last < at ? last : at;
}

void flow_take_pending(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	job->doubtful = true; /* the CA may issue at any time */
	if (answer->cookie.len == 0 || answer->cookie.len > JOURNAL_COOKIE_MAX) {
		log_event(EV_CA_FAILED, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
			LV_TEXT("reason", "a pending request with a cookie of no possible size"),
			LV_U64("bytes", answer->cookie.len));
		flow_retry(f, job, 0);
		return;
	}
	struct journal_change *c = flow_change(f);
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_CLAIMED)) {
		flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_PENDING);
		flow_set_deadline(job, pending_deadline(f, job));
		job->parked = false;
	}
	int64_t in_ms = poll_delay(f, job, answer);
	job->poll_due = clock_boottime_ms() + in_ms;
	job->next_due_ms = clock_realtime_ms() + in_ms;
	job->attempts = 0;
	job->cookies_refused = 0;
	set_reference(job, codec_view(answer->reference));
	cc_blob_free(&job->cookie);
	job->cookie = cc_blob_copy(codec_view(answer->cookie));
	flow_put_record(c, job);
	journal_change_blob(c, job_id_view(job), JOURNAL_COOKIE, cc_blob_view(&job->cookie));
	flow_commit_step(f, job, c);
}

/* ---- no certificate ---- */

/* There is none and there will be none, of this request. */
static void take_none(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	struct flow_failure why = {.code = cc_view_text("ca_rejected"),
		.event = EV_PKCS_ISSUED_FAILURE,
		.detail = codec_view(answer->reason)};
	job->doubtful = false;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_CLAIMED)) {
		step_submit(f, job);
		return;
	}
	if (!flow_is(job, JOURNAL__JOB_STATE__STATE_PENDING) &&
		!flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) &&
		!flow_is(job, JOURNAL__JOB_STATE__STATE_WATCH)) {
		flow_step(f, job);
		return;
	}
	log_event(EV_PKCS_ISSUED_FAILURE, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_VIEW("reason", codec_view(answer->reason)),
		LV_TEXT("correlation", job->correlation));
	if (job->code[0] != '\0') { /* why it was asked: not that the CA refused */
		why.code = cc_view_text(job->code);
		why.retryable = true;
	}
	flow_claim_failed(f, job, &why);
}

/* Nobody can tell, or take the request back. */
static void take_cannot_tell(struct flow *f, struct job *job)
{
	switch (job->state) {
	case JOURNAL__JOB_STATE__STATE_CLAIMED:
		job->cannot_find = true;
		step_submit(f, job);
		break;
	case JOURNAL__JOB_STATE__STATE_PENDING:
		flow_resolve(f, job, FLOW_PENDING_LOST);
		break;
	case JOURNAL__JOB_STATE__STATE_SETTLING:
		if (flow_has_cookie(f, job))
			flow_watch_pending(f, job);
		else
			flow_end_in_doubt(f, job);
		break;
	default: /* WATCH: until its time is over */
		flow_retry(f, job, FLOW_SLOW_POLL * f->settings.poll_min_ms);
		break;
	}
}

/* The order holds some minutes only, so a fresh one may do; a cookie that does not open never will, and
 * then the CA is asked which request is ours. */
static void take_order_refused(struct flow *f, struct job *job)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	if (++job->cookies_refused < COOKIES_REFUSED_MAX)
		flow_retry(f, job, 0);
	else if (ca != NULL && ca_client_is_ready(ca) && flow_can_find(ca))
		flow_ask_find(f, job, ca);
	else
		take_cannot_tell(f, job);
}

void flow_take_no_order(struct flow *f, struct job *job)
{
	log_event(EV_CA_FAILED, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_TEXT("reason", "the keyvault gives no order about the pending request"),
		LV_TEXT("correlation", job->correlation));
	take_cannot_tell(f, job);
}

static bool asks_a_ca(const struct job *job)
{
	return flow_is(job, JOURNAL__JOB_STATE__STATE_CLAIMED) ||
	       flow_is(job, JOURNAL__JOB_STATE__STATE_PENDING) ||
	       flow_is(job, JOURNAL__JOB_STATE__STATE_WATCH) ||
	       (flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) &&
		       job->settle == CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED);
}

void flow_take_told(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	if (!asks_a_ca(job)) {
		flow_step(f, job);
		return;
	}
	switch (answer->result) {
	case CA__CA_RESULT__CA_ISSUED:
		flow_take_issued(f, job, answer);
		break;
	case CA__CA_RESULT__CA_PENDING:
		if (flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) &&
			job->withdrawals >= WITHDRAWALS_MAX)
			flow_watch_pending(f, job); /* it does not let go of it */
		else
			flow_take_pending(f, job, answer);
		break;
	case CA__CA_RESULT__CA_NOT_ISSUED:
	case CA__CA_RESULT__CA_REJECTED:
	case CA__CA_RESULT__CA_NEED_REKEY:
		take_none(f, job, answer);
		break;
	case CA__CA_RESULT__CA_CANNOT_TELL:
	case CA__CA_RESULT__CA_NOT_SUPPORTED:
		take_cannot_tell(f, job);
		break;
	case CA__CA_RESULT__CA_ORDER_REFUSED:
		take_order_refused(f, job);
		break;
	default: /* it could not be asked, or did not answer */
		flow_retry(f, job, 0);
		break;
	}
}
