/*
 * SETTLING: the job is not ours any more, or nobody waits for its certificate; what is left is to know,
 * and to say, what became of the claim.
 *
 * Where it is not known the CA is asked: a pending request is withdrawn, anything else is looked for.
 * Nothing is asked for anew.  What comes out is a late result, NOT_ISSUED, or IN_DOUBT with a record.  While
 * the queue still holds the job for us (`kept`) it is told as a failure, which settles the claim too.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "connector/steps.h"
#include <stdlib.h>

enum { TRIES_MAX = 3 }; /* to withdraw, while the queue waits for the end */

/* ---- asking ---- */

static void withdraw(struct flow *f, struct job *job, const struct ca_client *ca)
{
	if (!ca_client_properties(ca)->can_withdraw) {
		flow_watch_pending(f, job);
	} else {
		job->withdrawals++;
		flow_ask_pending(f, job, VAULT__ORDER_OP__ORDER_WITHDRAW);
	}
}

static void ask(struct flow *f, struct job *job)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	bool cookie = flow_has_cookie(f, job);
	if (!f->resumed) /* a restart: first the queue */
		return;
	if (cookie && job->kept && job->attempts >= TRIES_MAX)
		flow_watch_pending(f, job);
	else if (ca == NULL || !ca_client_is_ready(ca))
		flow_retry(f, job, 0);
	else if (cookie)
		withdraw(f, job, ca);
	else if (flow_can_find(ca))
		flow_ask_find(f, job, ca);
	else
		flow_end_in_doubt(f, job);
}

/* ---- telling ---- */

/* Whose claim it is. */
static cc_view told_ca(const struct job *job)
{
	return job->settle_ca != NULL ? cc_view_text(job->settle_ca) : job_ca(job);
}

static void tell(struct flow *f, struct job *job)
{
	Certq__Settle settle = CERTQ__SETTLE__INIT;
	Certq__CertificateId certificate;
	if (job->sent || f->session == NULL || !session_can_send(f->session))
		return;
	settle.job_id = codec_bytes(job_id_view(job));
	settle.epoch = job->epoch;
	settle.ca = codec_bytes(told_ca(job));
	settle.outcome = job->settle;
	if (job->certificate.sha256.size > 0 &&
		job->settle != CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED) {
		flow_put_certificate(job, &certificate);
		settle.certificate = &certificate;
	}
	crashpoint_pass(CRASH_CONNECTOR_BEFORE_SETTLE);
	if (session_send_settle(f->session, &settle)) {
		crashpoint_pass(CRASH_CONNECTOR_AFTER_SETTLE);
		flow_wait_answer(f, job);
	}
}

void step_settle(struct flow *f, struct job *job)
{
	if (job->settle == CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED)
		ask(f, job);
	else
		tell(f, job);
}

/* ---- the queue's answer ---- */

bool flow_settles_later(const struct flow *f, Certq__SettleVerdict verdict)
{
	return verdict == CERTQ__SETTLE_VERDICT__SETTLE_ACK_RETRY_LATER ||
	       (verdict == CERTQ__SETTLE_VERDICT__SETTLE_ACK_UNKNOWN_ATTEMPT && f->offer != NULL);
}

static bool is_put_off(struct flow *f, struct job *job, Certq__SettleVerdict verdict)
{
	if (!flow_settles_later(f, verdict))
		return false;
	job->sent = false;
	flow_retry(f, job, 0);
	return true;
}

static void take_earlier_settled(struct flow *f, struct job *job, Certq__SettleVerdict verdict)
{
	if (is_put_off(f, job, verdict))
		return;
	free(job->settle_ca);
	job->settle_ca = NULL;
	step_record_intent(f, job); /* then the claim of the next CA */
}

static const char *outcome_text(const struct job *job)
{
	static const char *const names[] = {
		[CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED] = "not_issued",
		[CERTQ__SETTLEMENT__SETTLE_ORPHAN_REVOKED] = "orphan_revoked",
		[CERTQ__SETTLEMENT__SETTLE_ORPHAN_KEPT] = "orphan_kept",
		[CERTQ__SETTLEMENT__SETTLE_IN_DOUBT] = "in_doubt",
	};
	const char *name = names[job->settle];
	return name != NULL ? name : "in_doubt";
}

void flow_take_settle_ack(struct flow *f, const Certq__SettleAck *ack)
{
	struct job *job = jobs_find(f->jobs, codec_view(ack->job_id));
	if (job == NULL || flow_take_earlier_ack(f, job, ack))
		return;
	if (!job->sent || ack->epoch != job->epoch || job->holds > 0 ||
		!cc_view_equal(codec_view(ack->ca), told_ca(job)))
		return;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_INTENT) && job->settle_ca != NULL) {
		take_earlier_settled(f, job, ack->verdict);
	} else if (flow_is(job, JOURNAL__JOB_STATE__STATE_CLAIMED)) {
		flow_take_risk_told(f, job, ack->verdict);
	} else if (flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) &&
		   !is_put_off(f, job, ack->verdict)) {
		job->success = false;
		flow_end(f, job, outcome_text(job));
	}
}
