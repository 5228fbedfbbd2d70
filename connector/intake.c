/*
 * A job came.  New ones begin; one that we hold already has been leased to us again under a new epoch;
 * one that we have done is answered from the journal and never issued again.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "base/hash.h"
#include "connector/steps.h"
#include "proto/job.h"
#include <stdlib.h>

enum { UNREADABLE_MS = 60 * 1000 };

static bool read_kind(const Certq__JobDocument *document, enum job_kind *ret)
{
	switch (document->kind_case) {
	case CERTQ__JOB_DOCUMENT__KIND_ISSUE:
		*ret = JOB_KIND_ISSUE;
		return true;
	case CERTQ__JOB_DOCUMENT__KIND_REWRAP:
		*ret = JOB_KIND_REWRAP;
		return true;
	case CERTQ__JOB_DOCUMENT__KIND_REVOKE:
		*ret = JOB_KIND_REVOKE;
		return true;
	case CERTQ__JOB_DOCUMENT__KIND_CHAIN:
		*ret = JOB_KIND_CHAIN;
		return true;
	default:
		return false;
	}
}

/* What routing and logs need.  No decision: the keyvault judges the document itself. */
static bool peek(struct job *job)
{
	Certq__JobDocument *document = NULL;
	bool good = job_peek(codec_view(job->delivery->job->body), &document) == CC_OK &&
		    read_kind(document, &job->kind);
	if (good && text_is_clean(codec_view(document->correlation_id), 128)) {
		free(job->correlation);
		job->correlation = cc_strndup(codec_view(document->correlation_id));
	}
	if (good)
		job->not_after_s = document->not_after_s;
	codec_free(document);
	return good;
}

static void log_received(const struct job *job)
{
	static const event_id events[] = {
		[JOB_KIND_ISSUE] = EV_PKCS_DOWNLOADED_REQUEST,
		[JOB_KIND_REWRAP] = EV_PFX_DOWNLOADED_REQUEST,
		[JOB_KIND_REVOKE] = EV_REVOKE_DOWNLOADED_REQUEST,
		[JOB_KIND_CHAIN] = EV_JOB_RECEIVED,
	};
	log_event(events[job->kind], LV_JOB(job_id_view(job)), LV_U64("epoch", job->epoch),
		LV_U64("run", job->run), LV_TEXT("correlation", job->correlation));
}

static struct job *add_job(struct flow *f, Certq__Job *delivery)
{
	struct job *job = jobs_add(f->jobs, codec_view(delivery->job_id));
	flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_RECEIVED);
	job->delivery = delivery;
	job->epoch = delivery->epoch;
	job->run = delivery->run;
	job->kept = true;
	job->created_ms = clock_realtime_ms();
	leases_set(f->leases, job, delivery->lease_ms);
	f->outcomes[FLOW_RECEIVED]++;
	return job;
}

static void begin(struct flow *f, struct job *job)
{
	if (!peek(job)) {
		log_event(EV_JOB_REFUSED_HERE, LV_JOB(job_id_view(job)),
			LV_TEXT("reason", "the document does not decode"));
		flow_give_back(f, job, CERTQ__NACK_REASON__NACK_REFUSED_HERE, 0, false, true);
		return;
	}
	log_received(job);
	if (f->stopping || f->draining)
		flow_give_back(f, job, CERTQ__NACK_REASON__NACK_SHUTTING_DOWN, 0, false, false);
	else
		flow_step(f, job);
}

/* ---- done before ---- */

static void answer_expired(struct flow *f, struct job *job)
{
	struct flow_failure why = {.code = cc_view_text("result_expired"),
		.detail = cc_view_text("it was done here, and its result is not kept any more")};
	flow_fail(f, job, &why);
}

/* The store that went back has lost ours, and has taken another one.  A record of an earlier release does not
 * tell. */
static bool is_other(cc_view body_sha256, const Certq__Job *delivery)
{
	uint8_t digest[SHA256_SIZE];
	hash_sha256(codec_view(delivery->job->body), digest);
	return body_sha256.size > 0 &&
	       !cc_view_equal(body_sha256, cc_view_of(digest, sizeof digest));
}

static void answer_other(struct flow *f, struct job *job)
{
	struct flow_failure why = {.code = cc_view_text("idempotency_conflict"),
		.detail = cc_view_text("another document was done here under the job's id")};
	flow_fail(f, job, &why);
}

/* The same bundle under the epoch of today; never a new issue. */
static void answer_again(struct flow *f, struct job *job, const Journal__DoneJob *done)
{
	Certq__Result *result = NULL;
	cc_blob bytes = CC_BLOB_NONE;
	cc_err err = journal_get_blob(f->journal, job_id_view(job), JOURNAL_RESULT, &bytes);
	if (err == CC_OK)
		err = codec_decode(&certq__result__descriptor, cc_blob_view(&bytes),
			WIRE_MESSAGE_MAX, &result);
	cc_blob_free(&bytes);
	if (err != CC_OK) {
		answer_expired(f, job);
		return;
	}
	result->epoch = job->epoch;
	job->result = codec_pack(result);
	job->success = result->success;
	if (result->certificate != NULL)
		job_set_certificate(job, codec_view(result->certificate->cert_sha256),
			codec_view(result->certificate->issuer),
			codec_view(result->certificate->serial));
	job->cas = cc_alloc(sizeof *job->cas);
	job->cas[0] = text_is_name(codec_view(done->ca)) ? cc_strndup(codec_view(done->ca))
							 : cc_strdup("unknown");
	job->ca_count = 1;
	codec_free(result);
	flow_enter(f, job, JOURNAL__JOB_STATE__STATE_READY_TO_SEND);
}

/* A failed job comes again when an operator lets it run again; a certificate of its earlier run may
 * exist, and then the CA is asked first. */
static bool earlier_run_doubtful(const Journal__DoneJob *done)
{
	return done->cert_sha256.len > 0 || text_equal(codec_view(done->outcome), "in_doubt");
}

static void take_new(struct flow *f, Certq__Job *delivery)
{
	Journal__DoneJob *done = NULL;
	struct job *job = add_job(f, delivery);
	cc_err err = journal_get_done(f->journal, job_id_view(job), &done);
	if (err == CC_OK && done->state == JOURNAL__JOB_STATE__STATE_DONE) {
		if (is_other(codec_view(done->body_sha256), delivery))
			answer_other(f, job);
		else
			answer_again(f, job, done);
	} else if (err == CC_OK || err == CC_NOT_FOUND) {
		job->doubtful = err == CC_OK && earlier_run_doubtful(done);
		begin(f, job);
	} else { /* it may have been done */
		log_event(EV_JOB_REFUSED_HERE, LV_JOB(job_id_view(job)), LV_ERR(err));
		flow_give_back(f, job, CERTQ__NACK_REASON__NACK_BUSY, UNREADABLE_MS, false, false);
	}
	codec_free(done);
}

/* ---- held already ---- */

static void take_lease(struct flow *f, struct job *job, const Certq__Job *delivery)
{
	job->epoch = delivery->epoch;
	job->run = delivery->run;
	job->kept = true;
	job->sent = false;
	leases_set(f->leases, job, delivery->lease_ms);
}

/* It may be ours or, found by mistake, another's: the CA is asked first what it has for us. */
static void forget_certificate(struct job *job)
{
	job->doubtful = job->doubtful || job->certificate.sha256.size > 0;
	job_set_certificate(job, CC_VIEW_NONE, CC_VIEW_NONE, CC_VIEW_NONE);
}

/* What else an earlier attempt left. */
static void forget_attempt(struct job *job)
{
	job_set_code(job, CC_VIEW_NONE, 0);
	cc_blob_free(&job->winner_sha256);
	job->orphan_counted = false;
	job->revoking = false; /* that was decided of its certificate, not of the next one */
	job->settle = CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
	job->success = false;
	job->hold_generation = 0;
	job->watch_until_ms = 0;
	job->withdrawals = 0;
	job->keep_told = false;
	job->outcome = NULL;
}

/* The signed job must be the one that the keyvault has judged: CSR and ticket are of that one.  CC_MISMATCH: it
 * is another; CC_NOT_FOUND: only the result of ours was kept.  The job that we hold goes on as it was. */
static cc_err judge_again(struct flow *f, const struct job *job, const Certq__Job *delivery)
{
	Certq__SignedDocument *document = NULL;
	cc_blob bytes = CC_BLOB_NONE;
	cc_err err = CC_OK;
	TRY(journal_get_blob(f->journal, job_id_view(job), JOURNAL_JOB, &bytes));
	TRY(codec_decode(&certq__signed_document__descriptor, cc_blob_view(&bytes),
		WIRE_MESSAGE_MAX, &document));
	ENSURE(cc_view_equal(codec_view(document->body), codec_view(delivery->job->body)),
		cc_fail(CC_MISMATCH,
			"another document came under the id of a job that is under way"));
out:
	codec_free(document);
	cc_blob_free(&bytes);
	return err;
}

/* BUSY: the document may be good, and a refusal would count against this connector. */
static void give_lease_back(struct flow *f, const struct job *job, const Certq__Job *delivery)
{
	Certq__Nack nack = CERTQ__NACK__INIT;
	log_event(EV_JOB_REFUSED_HERE, LV_JOB(job_id_view(job)), LV_ERR(CC_MISMATCH));
	nack.job_id = codec_bytes(job_id_view(job));
	nack.epoch = delivery->epoch;
	nack.reason = CERTQ__NACK_REASON__NACK_BUSY;
	nack.retry_delay_ms = UNREADABLE_MS;
	nack.exclude_me = true;
	/* not sent, the lease runs out */
	(void)session_send_nack(f->session, &nack);
}

/* It was done here, and what is left of it is being settled: nothing can be made or sent under this lease.  Without
 * an answer the lease runs out, and the job comes again. */
static void fail_lease(
	struct flow *f, const struct job *job, const Certq__Job *delivery, const char *code)
{
	Certq__Result result = CERTQ__RESULT__INIT;
	if (!flow_has_room_for_result(f))
		return;
	result.job_id = codec_bytes(job_id_view(job));
	result.epoch = delivery->epoch;
	result.code = codec_text(code);
	result.settle = CERTQ__SETTLEMENT__SETTLE_IN_DOUBT;
	(void)session_send_result(f->session, &result);
}

/* The claim of the old epoch is settled when it is known what became of it (earlier.c). */
static void claim_again(struct flow *f, struct job *job, const Certq__Job *delivery)
{
	cc_err err = judge_again(f, job, delivery);
	if (err == CC_MISMATCH)
		give_lease_back(f, job, delivery);
	else if (err == CC_NOT_FOUND)
		fail_lease(f, job, delivery, "result_expired");
	else if (err != CC_OK)
		f->events->fatal(f->arg, err);
	if (err != CC_OK)
		return;
	if (!flow_is(job, JOURNAL__JOB_STATE__STATE_ORPHAN) ||
		flow_load(f, job, JOURNAL_CHAIN, &job->chain) != CC_OK)
		forget_certificate(job); /* an orphan's is in hand (step_submit.c) */
	job_keep_claim(job);
	take_lease(f, job, delivery);
	forget_attempt(job);
	step_record_intent(f, job);
}

/* Another document than that of our result, which the queue would not take for it.  That one fails at once; under our
 * own epoch the answers would be taken for each other's, so then it goes elsewhere. */
static bool refuse_other(struct flow *f, const struct job *job, const Certq__Job *delivery)
{
	if (!is_other(cc_blob_view(&job->body_sha256), delivery))
		return false;
	if (delivery->epoch != job->epoch)
		fail_lease(f, job, delivery, "idempotency_conflict");
	else
		give_lease_back(f, job, delivery);
	return true;
}

/* The job was not over: its certificate is what it gets, by the result that there is or by a new one.  When its
 * revocation was begun, the lease runs out. */
static void take_orphan_again(struct flow *f, struct job *job, const Certq__Job *delivery)
{
	if (job->holds > 0 || job->orphan_counted || job->revoking)
		return;
	if (job->success) {
		if (refuse_other(f, job, delivery))
			return;
		cc_blob_free(&job->winner_sha256); /* it has not won after all */
		job->sent = false;
		flow_step(f, job);
	} else if (job->earlier_count < JOB_EARLIER_MAX) {
		claim_again(f, job, delivery);
	}
}

static void take_again(struct flow *f, struct job *job, Certq__Job *delivery)
{
	switch (job->state) {
	case JOURNAL__JOB_STATE__STATE_RECEIVED:
		job->nack.reason = CERTQ__NACK_REASON__NACK_UNSPECIFIED;
		take_lease(f, job, delivery);
		if (job->holds > 0)
			break; /* the keyvault has the document: that one is done, under this lease */
		codec_free(job->delivery);
		job->delivery = delivery;
		job->asks_prior = false;
		job->prior_at = 0;
		job->prior_rank = 0;
		flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_RECEIVED);
		begin(f, job);
		return;
	case JOURNAL__JOB_STATE__STATE_INTENT:
	case JOURNAL__JOB_STATE__STATE_CLAIMED:
	case JOURNAL__JOB_STATE__STATE_SETTLING:
	case JOURNAL__JOB_STATE__STATE_WATCH:
		/* what is under way ends first, under its own epoch: this lease runs out, and the job
		 * comes again */
		if (job->holds == 0 && job->earlier_count < JOB_EARLIER_MAX)
			claim_again(f, job, delivery);
		break;
	case JOURNAL__JOB_STATE__STATE_READY_TO_SEND:
		take_lease(f, job, delivery);
		flow_step(f, job);
		break;
	case JOURNAL__JOB_STATE__STATE_RESULT:
		if (refuse_other(f, job, delivery))
			break;
		job->sent = false;
		job->hold_generation = 0; /* the queue knows the job (again) */
		flow_step(f, job);
		break;
	case JOURNAL__JOB_STATE__STATE_ORPHAN:
		take_orphan_again(f, job, delivery);
		break;
	default: /* it is being finished: the lease runs out */
		break;
	}
	codec_free(delivery);
}

void flow_take_delivery(struct flow *f, Certq__Job *delivery)
{
	struct job *job = jobs_find(f->jobs, codec_view(delivery->job_id));
	if (job == NULL)
		take_new(f, delivery);
	else
		take_again(f, job, delivery);
}
