/*
 * CLAIMED: ask the CA for a certificate.  When a CA may have issued already and nobody told us, it is asked
 * what became of that first (find); where it cannot tell, the request is repeated if the same request
 * gives the same certificate, or if the CA's on_unknown says so and the doubt is on disk and told.  Another
 * CA, or a failure that settles the claim as NOT_ISSUED, only when it is sure that there is no certificate.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "connector/steps.h"
#include "journal/v1/journal.pb-c.h"
#include <stdlib.h>

enum {
	ORDER_MS = 8 * 60 * 1000,
	OTHER_CA_AFTER = 3,  /* NOT_SENT in a row */
	NO_RUNNER_AFTER = 6, /* tries without a runner: some half a minute */
	ORDERS_REFUSED_MAX = 2,
	SUSPENDED_MS = 60 * 1000,
};

static void submit(struct flow *f, struct job *job);

/* The job is out of our hands (LOST and the like) while a call was under way. */
static bool is_settling(const struct job *job)
{
	return flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING);
}

static void fail(struct flow *f, struct job *job, const char *code, uint32_t event, cc_view reason,
	bool retryable)
{
	struct flow_failure why = {.code = cc_view_text(code),
		.event = event,
		.detail = reason,
		.retryable = retryable};
	if (is_settling(job) && job->doubtful) /* it is asked what became of it */
		flow_step(f, job);
	else
		flow_claim_failed(f, job, &why);
}

/* ---- no certificate ---- */

/* The next CA of the profile that has a runner here, or none.  Only when it is sure that this one has made
 * nothing. */
static bool go_to_other_ca(struct flow *f, struct job *job)
{
	size_t next = job->ca_at + 1;
	if (job->doubtful || job->risked || job->settle_ca != NULL)
		return false;
	while (next < job->ca_count && !flow_ca_is_usable(f, cc_view_text(job->cas[next])))
		next++;
	if (next >= job->ca_count)
		return false;
	job->settle_ca = cc_strndup(job_ca(job));
	cc_blob_free(&job->order);
	job_choose_ca(job, next, cc_view_text(f->tenant));
	step_record_intent(f, job);
	return true;
}

/* No byte of a request is out. */
static void take_not_sent(struct flow *f, struct job *job, cc_view reason)
{
	if (is_settling(job)) {
		fail(f, job, "", 0, reason, true);
		return;
	}
	if (job->not_sent++ == 0)
		log_event(EV_PKCS_ISSUED_FAILED_ATTEMPT, LV_JOB(job_id_view(job)),
			LV_VIEW("ca", job_ca(job)), LV_VIEW("reason", reason),
			LV_TEXT("correlation", job->correlation));
	if (job->not_sent >= OTHER_CA_AFTER && go_to_other_ca(f, job))
		return;
	flow_retry(f, job, 0);
}

/* A runner that starts anew is no reason for another CA, one that stays away is. */
static void wait_for_runner(struct flow *f, struct job *job)
{
	if (job->attempts >= NO_RUNNER_AFTER && go_to_other_ca(f, job))
		return;
	flow_retry(f, job, 0);
}

/* Until an operator lifts it; where there is another CA, that one. */
static void wait_for_operator(struct flow *f, struct job *job)
{
	if (go_to_other_ca(f, job))
		return;
	flow_retry(f, job, SUSPENDED_MS);
}

static void take_unknown(struct flow *f, struct job *job, cc_view reason)
{
	log_event(EV_PKCS_ISSUED_FAILED_ATTEMPT, LV_JOB(job_id_view(job)),
		LV_VIEW("ca", job_ca(job)), LV_VIEW("reason", reason),
		LV_TEXT("outcome", "unknown"), LV_TEXT("correlation", job->correlation));
	job->doubtful = true;
	job->cannot_find = false;
	flow_retry(f, job, 0); /* it is asked what became of it first */
}

static void take_rejected(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	bool same = ca != NULL && ca_client_is_ready(ca) &&
		    ca_client_properties(ca)->resubmit == CA__CA_RESUBMIT__RESUBMIT_SAME_CERT;
	/* a CA that gives the same certificate for the same request has none when it rejects it */
	job->doubtful = job->was_doubtful && !same;
	log_event(EV_PKCS_ISSUED_FAILURE, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_VIEW("reason", codec_view(answer->reason)),
		LV_TEXT("correlation", job->correlation));
	fail(f, job, "ca_rejected", EV_PKCS_ISSUED_FAILURE, codec_view(answer->reason), false);
}

/* An order holds some minutes only, so a fresh one may do; a ledger's refusal will repeat. */
static void take_order_refused(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	job->doubtful = job->was_doubtful;
	cc_blob_free(&job->order);
	if (++job->orders_refused < ORDERS_REFUSED_MAX && !is_settling(job)) {
		flow_retry(f, job, 0);
		return;
	}
	fail(f, job, "order_refused", EV_ORDER_REFUSED, codec_view(answer->reason), false);
}

static void take_answer(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	cc_view reason = codec_view(answer->reason);
	switch (answer->result) {
	case CA__CA_RESULT__CA_ISSUED:
		flow_take_issued(f, job, answer);
		break;
	case CA__CA_RESULT__CA_PENDING:
		flow_take_pending(f, job, answer);
		break;
	case CA__CA_RESULT__CA_REJECTED:
	case CA__CA_RESULT__CA_NEED_REKEY:
		take_rejected(f, job, answer);
		break;
	case CA__CA_RESULT__CA_NOT_SENT:
	case CA__CA_RESULT__CA_MISCONFIGURED:
		job->doubtful = job->was_doubtful;
		take_not_sent(f, job, reason);
		break;
	case CA__CA_RESULT__CA_NOT_SUPPORTED:
		job->doubtful = job->was_doubtful;
		fail(f, job, "not_supported", EV_CA_FAILED, reason, false);
		break;
	case CA__CA_RESULT__CA_ORDER_REFUSED:
		take_order_refused(f, job, answer);
		break;
	default: /* UNKNOWN, and whatever makes no sense here */
		take_unknown(f, job, reason);
		break;
	}
}

static void on_submitted(void *arg, cc_err err, const Ca__CaAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job = flow_ref_end(arg, &f);
	crashpoint_pass(CRASH_CONNECTOR_AFTER_SUBMIT);
	if (job == NULL)
		return;
	if (!flow_is(job, JOURNAL__JOB_STATE__STATE_CLAIMED) && !is_settling(job))
		flow_step(f, job);
	else if (err != CC_OK)
		take_unknown(f, job, cc_view_text(cc_err_detail(err)));
	else
		take_answer(f, job, answer);
}

/* ---- asking ---- */

static void send_order(struct flow *f, struct job *job, struct ca_client *ca)
{
	struct flow_ref *ref = flow_ref_new(f, job);
	job->was_doubtful = job->doubtful;
	job->doubtful = true; /* until the runner has answered */
	crashpoint_pass(CRASH_CONNECTOR_BEFORE_SUBMIT);
	if (ca_client_submit(ca, cc_blob_view(&job->order), job->risked, on_submitted, ref) !=
		CC_OK) {
		job->doubtful = job->was_doubtful;
		flow_ref_cancel(ref);
		wait_for_runner(f, job);
	}
}

static void take_no_order(struct flow *f, struct job *job, const Vault__VaultAnswer *answer)
{
	if (answer->status == VAULT__VAULT_STATUS__VAULT_REFUSED) {
		struct flow_failure why = {.code = codec_view(answer->code),
			.event = answer->event,
			.detail = codec_view(answer->detail),
			.refusal = answer->refusal};
		flow_fail(f, job, &why);
		return;
	}
	flow_retry(f, job, answer->retry_after_ms);
}

static void on_order(void *arg, cc_err err, const Vault__VaultAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job = flow_ref_end(arg, &f);
	if (job == NULL)
		return;
	if (!flow_is(job, JOURNAL__JOB_STATE__STATE_CLAIMED)) {
		flow_step(f, job);
		return;
	}
	if (err != CC_OK) {
		flow_retry(f, job, 0);
	} else if (answer->status == VAULT__VAULT_STATUS__VAULT_OK &&
		   answer->answer_case == VAULT__VAULT_ANSWER__ANSWER_ORDER) {
		cc_blob_free(&job->order);
		job->order = codec_pack(answer->order);
		job->order_due = clock_boottime_ms() + ORDER_MS;
		submit(f, job);
	} else {
		take_no_order(f, job, answer);
	}
}

static void fetch_order(struct flow *f, struct job *job)
{
	struct flow_ref *ref = NULL;
	cc_err err = flow_load(f, job, JOURNAL_TICKET, &job->ticket);
	if (err != CC_OK) {
		f->events->fatal(f->arg, err);
		return;
	}
	ref = flow_ref_new(f, job);
	err = vault_client_reorder(f->vault, cc_blob_view(&job->ticket),
		VAULT__ORDER_OP__ORDER_SUBMIT, job_ca(job), on_order, ref);
	if (err != CC_OK) {
		flow_ref_cancel(ref);
		flow_retry(f, job, 0);
	}
}

static void submit(struct flow *f, struct job *job)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	if (journal_is_suspended(f->journal, job_ca(job)))
		wait_for_operator(f, job);
	else if (ca == NULL || !ca_client_is_ready(ca))
		wait_for_runner(f, job);
	else if (job->order.size == 0 || clock_boottime_ms() >= job->order_due)
		fetch_order(f, job);
	else
		send_order(f, job, ca);
}

/* ---- again, although the CA may have issued ---- */

static bool holds_on_unknown(const struct flow *f, const struct job *job)
{
	for (size_t i = 0; i < f->settings.hold_count; i++) {
		if (text_equal(job_ca(job), f->settings.hold_cas[i]))
			return true;
	}
	return false;
}

static void record_risk(struct flow *f, struct job *job)
{
	struct journal_change *c = flow_change(f);
	job->risked = true;
	flow_put_record(c, job);
	flow_put_doubt(c, job);
	flow_commit_step(f, job, c);
}

static void tell_risk(struct flow *f, struct job *job)
{
	Certq__Settle settle = CERTQ__SETTLE__INIT;
	if (job->sent || f->session == NULL || !session_can_send(f->session))
		return;
	settle.job_id = codec_bytes(job_id_view(job));
	settle.epoch = job->epoch;
	settle.ca = codec_bytes(job_ca(job));
	settle.outcome = CERTQ__SETTLEMENT__SETTLE_IN_DOUBT;
	if (session_send_settle(f->session, &settle))
		flow_wait_answer(f, job);
}

void flow_take_risk_told(struct flow *f, struct job *job, Certq__SettleVerdict verdict)
{
	job->sent = false;
	if (flow_settles_later(f, verdict)) {
		flow_retry(f, job, 0);
		return;
	}
	job->risk_told = true;
	flow_step(f, job);
}

/* The CA cannot tell what became of an earlier request.  A second certificate only with a record of the
 * doubt, here and at the queue. */
static void submit_or_hold(struct flow *f, struct job *job, const struct ca_client *ca)
{
	if (ca_client_properties(ca)->resubmit == CA__CA_RESUBMIT__RESUBMIT_SAME_CERT)
		submit(f, job);
	else if (holds_on_unknown(f, job))
		flow_resolve(f, job, FLOW_IN_DOUBT);
	else if (!job->risked)
		record_risk(f, job);
	else if (!job->risk_told)
		tell_risk(f, job);
	else
		submit(f, job);
}

/* The job of an orphan came again: nothing is asked for. */
static void take_in_hand(struct flow *f, struct job *job)
{
	struct journal_change *c = flow_change(f);
	job->doubtful = false;
	flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_ISSUED);
	flow_put_record(c, job);
	flow_put_claim_known(c, job);
	flow_commit_step(f, job, c);
}

void step_submit(struct flow *f, struct job *job)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	if (!job->kept)
		return;
	if (job->certificate.sha256.size > 0)
		take_in_hand(f, job);
	else if (!job->doubtful || ca == NULL || !ca_client_is_ready(ca))
		submit(f, job);
	else if (!job->cannot_find && flow_can_find(ca))
		flow_ask_find(f, job, ca);
	else
		submit_or_hold(f, job, ca);
}
