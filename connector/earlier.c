/*
 * Claims of earlier epochs: each is told to the queue, until the queue has confirmed what became of it.
 *
 * A job that comes again under a new epoch leaves a claim behind, and only its holder can settle that one.
 * It stays in the job's record: over restarts and reconnects it is told again, and the job does not end
 * before it was confirmed.  What an ended job is told of, its own result or settlement, is told again
 * too, which the queue answers the same way; so nothing but the list itself has to be recorded.
 *
 * Every request of a job is for one CSR, so at most one certificate came of all its claims at a CA, unless the CA
 * was asked anew in doubt (`risked`): once the present claim has that certificate, or there is none, the
 * earlier ones have made nothing.
 */
#include "connector/flow_int.h"

static bool is_fate_known(const struct job *job)
{
	return !job->risked && job->settle != CERTQ__SETTLEMENT__SETTLE_IN_DOUBT &&
	       (job->certificate.sha256.size > 0 ||
		       job->settle == CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
}

static void resolve(struct job *job, Certq__Settlement outcome)
{
	for (size_t i = 0; i < job->earlier_count; i++) {
		if (job->earlier[i].outcome == CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED)
			job->earlier[i].outcome = outcome;
	}
}

void flow_resolve_earlier(struct job *job)
{
	if (is_fate_known(job))
		resolve(job, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
}

static bool tell(struct flow *f, const struct job *job, const struct job_claim *claim)
{
	Certq__Settle settle = CERTQ__SETTLE__INIT;
	settle.job_id = codec_bytes(job_id_view(job));
	settle.epoch = claim->epoch;
	settle.ca = codec_text(claim->ca);
	settle.outcome = claim->outcome;
	return session_send_settle(f->session, &settle);
}

void flow_tell_earlier(struct flow *f, struct job *job)
{
	if (f->session == NULL || !session_can_send(f->session))
		return;
	for (size_t i = 0; i < job->earlier_count; i++) {
		struct job_claim *claim = &job->earlier[i];
		if (claim->outcome != CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED && !claim->told)
			claim->told = tell(f, job, claim);
	}
}

bool flow_waits_for_earlier(struct flow *f, struct job *job, const char *outcome)
{
	if (job->earlier_count == 0)
		return false;
	flow_resolve_earlier(job);
	resolve(job, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	job->outcome = outcome;
	flow_tell_earlier(f, job);
	flow_wait_answer(f, job);
	return true;
}

static struct job_claim *find(struct job *job, const Certq__SettleAck *ack)
{
	for (size_t i = 0; i < job->earlier_count; i++) {
		struct job_claim *claim = &job->earlier[i];
		if (claim->told && claim->epoch == ack->epoch &&
			text_equal(codec_view(ack->ca), claim->ca))
			return claim;
	}
	return NULL;
}

bool flow_take_earlier_ack(struct flow *f, struct job *job, const Certq__SettleAck *ack)
{
	struct job_claim *claim = find(job, ack);
	if (claim == NULL)
		return false;
	if (flow_settles_later(f, ack->verdict)) {
		claim->told = false;
		if (job->outcome != NULL)
			flow_retry(f, job, 0);
		return true;
	}
	job_drop_earlier(job, (size_t)(claim - job->earlier));
	if (job->outcome != NULL && job->earlier_count == 0)
		flow_end(f, job, job->outcome);
	return true;
}
