/*
 * INTENT: claim at the queue, after the commit and before the CA is asked.  A job that goes to
 * another CA first settles the claim of the one before as NOT_ISSUED.
 */
#include "connector/flow_int.h"

#include "connector/steps.h"
#include <stdlib.h>

static void settle_earlier(struct flow *f, struct job *job)
{
	Certq__Settle settle = CERTQ__SETTLE__INIT;
	settle.job_id = codec_bytes(job_id_view(job));
	settle.epoch = job->epoch;
	settle.ca = codec_text(job->settle_ca);
	settle.outcome = CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED;
	if (session_send_settle(f->session, &settle))
		flow_wait_answer(f, job);
}

static void queue_claim(struct flow *f, struct job *job)
{
	Certq__Claim claim = CERTQ__CLAIM__INIT;
	claim.job_id = codec_bytes(job_id_view(job));
	claim.epoch = job->epoch;
	claim.ca = codec_bytes(job_ca(job));
	claim.csr_sha256 = codec_bytes(cc_view_of(job->csr_sha256, sizeof job->csr_sha256));
	claim.spki_sha256 = codec_bytes(cc_view_of(job->spki_sha256, sizeof job->spki_sha256));
	claim.txid = codec_bytes(cc_view_of(job->txid, sizeof job->txid));
	session_queue_claim(f->session, &claim);
	flow_wait_answer(f, job);
	flow_soon(f); /* it goes out with the others of this turn */
}

void step_claim(struct flow *f, struct job *job)
{
	if (!job->kept || job->sent || f->session == NULL || !session_can_send(f->session))
		return;
	if (job->settle_ca != NULL)
		settle_earlier(f, job);
	else
		queue_claim(f, job);
}

void flow_take_claim_ack(struct flow *f, const Certq__ClaimAck *ack)
{
	struct job *job = jobs_find(f->jobs, codec_view(ack->job_id));
	if (job == NULL || !flow_is(job, JOURNAL__JOB_STATE__STATE_INTENT) || !job->sent ||
		job->settle_ca != NULL || ack->epoch != job->epoch ||
		!cc_view_equal(codec_view(ack->ca), job_ca(job)))
		return;
	switch (ack->verdict) {
	case CERTQ__CLAIM_VERDICT__CLAIM_GRANTED:
		leases_set(f->leases, job, 0); /* a claimed job has no lease timer */
		flow_enter(f, job, JOURNAL__JOB_STATE__STATE_CLAIMED);
		break;
	case CERTQ__CLAIM_VERDICT__CLAIM_RETRY_LATER:
		job->sent = false;
		flow_retry(f, job, ack->retry_after_ms);
		break;
	default: /* LOST, ALREADY_DONE, CANCELLED, EXPIRED */
		flow_lose_claim(f, job);
		break;
	}
}
