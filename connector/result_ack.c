/*
 * What the queue says to a result: one static table, verdict by verdict.
 *
 * "Mine" is a result whose certificate the queue names as the winner.  A certificate that the queue has
 * no use for is an orphan and is kept; nothing here revokes.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "connector/steps.h"
#include <stdlib.h>

typedef void (*ack_fn)(struct flow *f, struct job *job, const Certq__ResultAck *ack);

/* What it ended with.  A doubt is kept in the header: should the job run again, the CA is asked first. */
static const char *outcome_of(const struct job *job)
{
	if (job->success)
		return job_kind_text(job->kind);
	return job->settle == CERTQ__SETTLEMENT__SETTLE_IN_DOUBT ? "in_doubt" : "failed";
}

static bool has_certificate(const struct job *job)
{
	return job->certificate.sha256.size > 0;
}

/* Wrong names, right key: the certificate is in the world although the job failed. */
static bool leaves_orphan(const struct job *job)
{
	return !job->success && has_certificate(job) && !job->stored &&
	       !text_equal(cc_view_text(job->code), FLOW_KEY_MISMATCH);
}

/* A failure that left a request at the CA. */
static bool is_watched(const struct job *job)
{
	return !job->success && job->watch_until_ms != 0 && !has_certificate(job);
}

static void stored(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	(void)ack;
	if (leaves_orphan(job))
		flow_orphan(f, job, NULL);
	else if (is_watched(job))
		flow_watch(f, job);
	else
		flow_end(f, job, outcome_of(job));
}

static void lose(struct flow *f, struct job *job)
{
	f->outcomes[FLOW_LOST]++;
	flow_drop(f, job);
}

/* A store that went back has lost it, and does not take it again: a device may have it. */
static void keep_stored(struct flow *f, struct job *job)
{
	log_event(EV_ORPHAN_KEPT, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_HEX("certificate", cc_blob_view(&job->certificate.sha256)),
		LV_HEX("serial", cc_blob_view(&job->certificate.serial)),
		LV_TEXT("reason", "it was delivered once, and the queue's store has lost it"),
		LV_TEXT("correlation", job->correlation));
	flow_settle(f, job, CERTQ__SETTLEMENT__SETTLE_ORPHAN_KEPT);
}

/* The queue has no use for the result: what is left is our certificate, or our claim.  An answer from the
 * journal has neither: its certificate was stored once, a device may have it, and it is never an orphan. */
static void give_up(struct flow *f, struct job *job, const Certq__CertificateId *winner)
{
	if (!job->durable)
		lose(f, job);
	else if (job->stored)
		keep_stored(f, job);
	else if (has_certificate(job) && (job->success || leaves_orphan(job)))
		flow_orphan(f, job, winner);
	else if (is_watched(job))
		flow_watch(f, job);
	else
		flow_settle(f, job, job->settle);
}

static void not_wanted(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	log_event(EV_PKCS_UPLOAD_FAILURE, LV_JOB(job_id_view(job)), LV_I64("verdict", ack->verdict),
		LV_TEXT("correlation", job->correlation));
	give_up(f, job, ack->winner);
}

static void already_done(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	if (job->success && ack->winner != NULL && has_certificate(job) &&
		cc_view_equal(codec_view(ack->winner->cert_sha256),
			cc_blob_view(&job->certificate.sha256)))
		stored(f, job, ack);
	else
		not_wanted(f, job, ack);
}

void flow_hold(struct flow *f, struct job *job)
{
	int64_t left_ms = job->hold_until_ms - clock_realtime_ms();
	if (left_ms <= 0) {
		give_up(f, job, NULL);
		return;
	}
	job_forget_blobs(job); /* for days: the journal has them */
	scheduler_set(f->scheduler, job, left_ms);
}

/* The queue's store may have gone back in time: held, and offered to another generation of it. */
static void unknown(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	log_event(EV_PKCS_UPLOAD_FAILURE, LV_JOB(job_id_view(job)), LV_I64("verdict", ack->verdict),
		LV_TEXT("reason", "the queue does not know the job"),
		LV_TEXT("correlation", job->correlation));
	if (job->durable && f->offer != NULL) { /* it may hear of it by the next page */
		flow_retry(f, job, 0);
	} else if (!job->durable || clock_realtime_ms() >= job->hold_until_ms) {
		give_up(f, job, NULL);
	} else {
		struct journal_change *c = flow_change(f);
		scheduler_clear(f->scheduler, job);
		job->hold_generation = journal_generation(f->journal) + 1;
		flow_soon(f); /* its place is free */
		flow_put_record(c, job);
		flow_commit_step(f, job, c);
	}
}

/* The job goes on with another, or with us anew: it may yet get a certificate that was stored once, so the claim is
 * in doubt, and the next holder hears of it. */
static void stale(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	(void)ack;
	if (job->stored)
		flow_settle(f, job, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	else
		give_up(f, job, NULL);
}

static void again(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	flow_retry(f, job, ack->retry_after_ms);
}

/* Our result key may be unknown there: an administrator can mend that, so it is not given up.  One that was
 * valid once, or whose job was not known there, is of another job, which came under the same idempotency key after
 * the store had lost ours. */
static void invalid(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	log_event(EV_PKCS_UPLOAD_FAILURE, LV_JOB(job_id_view(job)),
		LV_TEXT("reason", "the queue holds the result for not valid"),
		LV_TEXT("correlation", job->correlation));
	if (!job->durable)
		not_wanted(f, job, ack);
	else if (job->success && (job->stored || job->hold_generation != 0))
		flow_fail_stored(f, job, "idempotency_conflict");
	else
		flow_retry(f, job, 10 * 60 * 1000);
}

static const ack_fn acks[] = {
	[CERTQ__RESULT_VERDICT__RESULT_STORED] = stored,
	[CERTQ__RESULT_VERDICT__RESULT_DUPLICATE_SAME] = stored,
	[CERTQ__RESULT_VERDICT__RESULT_ALREADY_DONE] = already_done,
	[CERTQ__RESULT_VERDICT__RESULT_ALREADY_DEAD] = not_wanted,
	[CERTQ__RESULT_VERDICT__RESULT_CANCELLED] = not_wanted,
	[CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH] = stale,
	[CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB] = unknown,
	[CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_ATTEMPT] = unknown,
	[CERTQ__RESULT_VERDICT__RESULT_RETRY_LATER] = again,
	[CERTQ__RESULT_VERDICT__RESULT_INVALID] = invalid,
};

void flow_take_result_ack(struct flow *f, const Certq__ResultAck *ack)
{
	struct job *job = jobs_find(f->jobs, codec_view(ack->job_id));
	if (job == NULL || !job->sent || job->holds > 0 || ack->epoch != job->epoch ||
		(!flow_is(job, JOURNAL__JOB_STATE__STATE_RESULT) &&
			!flow_is(job, JOURNAL__JOB_STATE__STATE_ORPHAN) &&
			!flow_is(job, JOURNAL__JOB_STATE__STATE_READY_TO_SEND)))
		return;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_ORPHAN)) {
		flow_take_orphan_ack(f, job, ack);
		return;
	}
	/* a success is never stale: STALE_EPOCH is no answer to it, and never a reason to drop it */
	if (job->success && ack->verdict == CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH) {
		job->sent = false;
		flow_retry(f, job, 60 * 1000);
		return;
	}
	job->sent = false;
	acks[ack->verdict](f, job, ack);
}
