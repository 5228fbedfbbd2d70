/*
 * SETTLING: the job is not ours any more, or its result is of no use; what is left is to say what
 * became of the claim.  Where nobody knows that yet the job is kept, with an event.
 */
#include "connector/flow_int.h"

#include "connector/steps.h"
#include <stdlib.h>

void step_settle(struct flow *f, struct job *job)
{
	Certq__Settle settle = CERTQ__SETTLE__INIT;
	if (job->settle == CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED) {
		step_keep(f, job);
		return;
	}
	if (job->sent || f->session == NULL || !session_can_send(f->session))
		return;
	settle.job_id = codec_bytes(job_id_view(job));
	settle.epoch = job->epoch;
	settle.ca = job->settle_ca != NULL ? codec_text(job->settle_ca) : codec_bytes(job_ca(job));
	settle.outcome = job->settle;
	if (session_send_settle(f->session, &settle))
		flow_wait_answer(f, job);
}

static void take_earlier_settled(struct flow *f, struct job *job, Certq__SettleVerdict verdict)
{
	if (verdict == CERTQ__SETTLE_VERDICT__SETTLE_ACK_RETRY_LATER) {
		job->sent = false;
		flow_retry(f, job, 0);
		return;
	}
	free(job->settle_ca);
	job->settle_ca = NULL;
	step_record_intent(f, job); /* then the claim of the next CA */
}

void flow_take_settle_ack(struct flow *f, const Certq__SettleAck *ack)
{
	struct job *job = jobs_find(f->jobs, codec_view(ack->job_id));
	if (job == NULL || !job->sent || ack->epoch != job->epoch)
		return;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_INTENT) && job->settle_ca != NULL &&
		text_equal(codec_view(ack->ca), job->settle_ca)) {
		take_earlier_settled(f, job, ack->verdict);
		return;
	}
	if (!flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) || job->holds > 0)
		return;
	if (ack->verdict == CERTQ__SETTLE_VERDICT__SETTLE_ACK_RETRY_LATER) {
		job->sent = false;
		flow_retry(f, job, 0);
		return;
	}
	job->success = false;
	flow_end(f, job,
		job->settle == CERTQ__SETTLEMENT__SETTLE_IN_DOUBT ? "in_doubt" : "not_issued");
}
