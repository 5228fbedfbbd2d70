/*
 * KEEP, LOST, ALREADY_DONE, CANCELLED: what the queue says of a job that we hold, at the resume, to a
 * lease extension, or unasked.  What is done is in the job table's column of that name.
 */
#include "connector/flow_int.h"

#include "connector/steps.h"

/* It was taken from us, and is ours after all (the claim was refused, or an operator gave the job back): it
 * goes on, unless a request is being taken back. */
static bool is_ours_again(struct flow *f, struct job *job)
{
	return flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) && job->holds == 0 &&
	       text_equal(cc_view_text(job->code), FLOW_CLAIM_LOST) &&
	       (job->settle == CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED ||
		       job->settle == CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED) &&
	       !flow_has_cookie(f, job);
}

static void keep(struct flow *f, struct job *job, uint32_t lease_ms)
{
	job->kept = true;
	if (is_ours_again(f, job)) {
		job->settle = CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
		job_set_code(job, CC_VIEW_NONE, 0);
		step_record_intent(f, job);
		return;
	}
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_PENDING) && job->sent) {
		flow_take_parked(f, job);
		return;
	}
	if (lease_ms > 0)
		leases_set(f->leases, job, lease_ms);
	/* no step here: after a resume the ready session looks at every job, and an extended lease
	 * is no reason to cut a back-off short */
}

static void lose(struct flow *f, struct job *job)
{
	f->outcomes[FLOW_LOST]++;
	log_event(EV_JOB_ENDED, LV_JOB(job_id_view(job)), LV_TEXT("outcome", "lost"),
		LV_TEXT("stage", job_rule(job->state)->name),
		LV_TEXT("correlation", job->correlation));
	flow_drop(f, job);
}

/* A certificate in hand, an orphan's, goes back to the claim that made it and waits as before.  Provably
 * none: say so.  Otherwise nobody knows: a call under way is waited for, then the CA is asked. */
void flow_lose_claim(struct flow *f, struct job *job)
{
	job->kept = false;
	if (job->certificate.sha256.size > 0) {
		job_return_claim(job);
		flow_orphan(f, job, NULL);
	} else if (job->doubtful) {
		flow_resolve(f, job, FLOW_CLAIM_LOST);
	} else {
		job_set_code(job, cc_view_text(FLOW_CLAIM_LOST), EV_PKCS_ISSUED_FAILURE);
		flow_settle(f, job, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	}
}

static void gone(struct flow *f, struct job *job)
{
	switch (job->state) {
	case JOURNAL__JOB_STATE__STATE_RECEIVED:
	case JOURNAL__JOB_STATE__STATE_READY_TO_SEND:
		lose(f, job);
		break;
	case JOURNAL__JOB_STATE__STATE_INTENT:
	case JOURNAL__JOB_STATE__STATE_CLAIMED:
		flow_lose_claim(f, job);
		break;
	case JOURNAL__JOB_STATE__STATE_PENDING:
		job->doubtful = true;
		flow_lose_claim(f, job);
		break;
	case JOURNAL__JOB_STATE__STATE_SETTLING:
		job->kept = false;
		break;
	default: /* ISSUED and RESULT go on: the store decides; the rest is settled or kept already */
		break;
	}
}

void flow_take_verdict(struct flow *f, const struct session_verdict *v)
{
	struct job *job = jobs_find(f->jobs, v->job_id);
	if (job == NULL || v->epoch != job->epoch)
		return;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_ORPHAN))
		return; /* it asks by its result */
	if (v->verdict == CERTQ__JOB_VERDICT__VERDICT_KEEP)
		keep(f, job, v->lease_ms);
	else
		gone(f, job);
}
