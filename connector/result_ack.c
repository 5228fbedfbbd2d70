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

static bool has_certificate(const struct job *job)
{
	return job->certificate.sha256.size > 0;
}

/* Wrong names, right key: the certificate is in the world although the job failed. */
static bool leaves_orphan(const struct job *job)
{
	return !job->success && has_certificate(job) &&
	       !text_equal(cc_view_text(job->code), FLOW_KEY_MISMATCH);
}

static void stored(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	(void)ack;
	if (leaves_orphan(job))
		flow_orphan(f, job, NULL);
	else
		flow_end(f, job, job->success ? job_kind_text(job->kind) : "failed");
}

/* The job ended otherwise: what is left is our certificate, or our claim. */
static void not_wanted(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	log_event(EV_PKCS_UPLOAD_FAILURE, LV_JOB(job_id_view(job)), LV_I64("verdict", ack->verdict),
		LV_TEXT("correlation", job->correlation));
	if (job->kind == JOB_KIND_ISSUE && has_certificate(job) &&
		(job->success || leaves_orphan(job))) {
		flow_orphan(f, job, ack->winner);
	} else if (job->durable) {
		flow_settle(f, job, job->settle);
	} else {
		f->outcomes[FLOW_LOST]++;
		flow_drop(f, job);
	}
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

static void on_held_recorded(struct flow *f, struct job *job, cc_err err)
{
	(void)job;
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
}

/* The queue's store may have gone back in time: held, and offered to another generation of it. */
static void unknown(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	log_event(EV_PKCS_UPLOAD_FAILURE, LV_JOB(job_id_view(job)), LV_I64("verdict", ack->verdict),
		LV_TEXT("reason", "the queue does not know the job"),
		LV_TEXT("correlation", job->correlation));
	if (!job->durable) {
		f->outcomes[FLOW_LOST]++;
		flow_drop(f, job);
	} else if (job->hold_until_ms != 0 && clock_realtime_ms() >= job->hold_until_ms) {
		flow_orphan(f, job, NULL);
	} else {
		struct journal_change *c = flow_change(f);
		scheduler_clear(f->scheduler, job);
		job->hold_generation = journal_generation(f->journal) + 1;
		flow_put_record(c, job);
		flow_commit(f, job, c, on_held_recorded);
	}
}

static void stale(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	(void)ack;
	if (job->durable) {
		flow_settle(f, job, job->settle);
	} else {
		f->outcomes[FLOW_LOST]++;
		flow_drop(f, job);
	}
}

static void again(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	flow_retry(f, job, ack->retry_after_ms);
}

/* Our result key may be unknown there: an administrator can mend that, so it is not given up. */
static void invalid(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	log_event(EV_PKCS_UPLOAD_FAILURE, LV_JOB(job_id_view(job)),
		LV_TEXT("reason", "the queue holds the result for not valid"),
		LV_TEXT("correlation", job->correlation));
	if (!job->durable)
		not_wanted(f, job, ack);
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
	if (job == NULL || !job->sent || job->holds > 0 ||
		(!flow_is(job, JOURNAL__JOB_STATE__STATE_RESULT) &&
			!flow_is(job, JOURNAL__JOB_STATE__STATE_READY_TO_SEND)))
		return;
	/* a success is never stale: STALE_EPOCH is no answer to it, and never a reason to drop it */
	if (job->success && ack->verdict == CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH) {
		job->sent = false;
		flow_retry(f, job, 60 * 1000);
		return;
	}
	job->sent = false;
	acks[ack->verdict](f, job, ack);
}
