/*
 * A job came.  New ones begin; one that we hold already has been leased to us again under a new epoch;
 * one that we have done is answered from the journal and never issued again.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
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

/* What an earlier attempt left.  A certificate may be ours or, found by mistake, another's: the CA is asked
 * first what it has for us. */
static void forget_attempt(struct job *job)
{
	job->doubtful = job->doubtful || job->certificate.sha256.size > 0;
	job_set_certificate(job, CC_VIEW_NONE, CC_VIEW_NONE, CC_VIEW_NONE);
	job_set_code(job, CC_VIEW_NONE, 0);
	cc_blob_free(&job->winner_sha256);
	job->settle = CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
	job->watch_until_ms = 0;
	job->withdrawals = 0;
	job->keep_told = false;
	job->outcome = NULL;
}

/* The signed job must be the one that the keyvault has judged: CSR and ticket are of that one.  UNSPECIFIED: it
 * is; else why the lease is given back, while the job that we hold goes on as it was. */
static Certq__NackReason judge_again(
	struct flow *f, const struct job *job, const Certq__Job *delivery)
{
	Certq__SignedDocument *document = NULL;
	cc_blob bytes = CC_BLOB_NONE;
	Certq__NackReason reason = CERTQ__NACK_REASON__NACK_BUSY;
	cc_err err = CC_OK;
	TRY(journal_get_blob(f->journal, job_id_view(job), JOURNAL_JOB, &bytes));
	TRY(codec_decode(&certq__signed_document__descriptor, cc_blob_view(&bytes),
		WIRE_MESSAGE_MAX, &document));
	reason = cc_view_equal(codec_view(document->body), codec_view(delivery->job->body))
			 ? CERTQ__NACK_REASON__NACK_UNSPECIFIED
			 : CERTQ__NACK_REASON__NACK_REFUSED_HERE;
out:
	if (err != CC_OK && err != CC_NOT_FOUND) /* not there: only its result was kept */
		f->events->fatal(f->arg, err);
	codec_free(document);
	cc_blob_free(&bytes);
	return reason;
}

static void give_lease_back(
	struct flow *f, const struct job *job, const Certq__Job *delivery, Certq__NackReason reason)
{
	Certq__Nack nack = CERTQ__NACK__INIT;
	if (reason == CERTQ__NACK_REASON__NACK_REFUSED_HERE)
		log_event(EV_JOB_REFUSED_HERE, LV_JOB(job_id_view(job)),
			LV_TEXT("reason",
				"another document came under the id of a job that is under way"));
	nack.job_id = codec_bytes(job_id_view(job));
	nack.epoch = delivery->epoch;
	nack.reason = reason;
	nack.retry_delay_ms = UNREADABLE_MS;
	nack.exclude_me = reason == CERTQ__NACK_REASON__NACK_REFUSED_HERE;
	/* not sent, the lease runs out */
	(void)session_send_nack(f->session, &nack);
}

/* The claim of the old epoch is settled when it is known what became of it (earlier.c). */
static void claim_again(struct flow *f, struct job *job, const Certq__Job *delivery)
{
	Certq__NackReason reason = judge_again(f, job, delivery);
	if (reason != CERTQ__NACK_REASON__NACK_UNSPECIFIED) {
		give_lease_back(f, job, delivery, reason);
		return;
	}
	job_keep_claim(job);
	take_lease(f, job, delivery);
	forget_attempt(job);
	step_record_intent(f, job);
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
		job->sent = false;
		job->hold_generation = 0; /* the queue knows the job (again) */
		flow_step(f, job);
		break;
	default: /* it is being finished, or kept: the lease runs out */
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
