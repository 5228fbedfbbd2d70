/*
 * RECEIVED, for a revocation: the keyvault's order, then the CA.  The decision is on disk before the CA
 * is asked.  There is no claim: to revoke again what is revoked already is a success, so a job that was
 * interrupted is done again from its beginning, with a fresh order.
 */
#include "connector/flow_int.h"

#include "connector/steps.h"
#include "proto/dsse.h"

enum { ORDERS_REFUSED_MAX = 2 };

/* Given back, or moved on, while a call was under way. */
static bool is_over(const struct job *job)
{
	return job->nack.reason != 0 || !flow_is(job, JOURNAL__JOB_STATE__STATE_RECEIVED);
}

static void fail(struct flow *f, struct job *job, const char *code, cc_view reason, bool retryable)
{
	struct flow_failure why = {.code = cc_view_text(code),
		.event = EV_CA_FAILED,
		.detail = reason,
		.retryable = retryable};
	flow_fail(f, job, &why);
}

static void try_again(struct flow *f, struct job *job, cc_view reason)
{
	log_event(EV_REVOKE_FAILED_ATTEMPT, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_VIEW("reason", reason), LV_TEXT("correlation", job->correlation));
	flow_retry(f, job, job_retry_delay(RETRY_CA, job->attempts));
}

/* ---- the CA ---- */

static void take_revoked(struct flow *f, struct job *job)
{
	log_event(EV_REVOKE_SUCCESS, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_TEXT("correlation", job->correlation));
	flow_succeed(f, job, NULL);
}

static void take_answer(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	cc_view reason = codec_view(answer->reason);
	switch (answer->result) {
	case CA__CA_RESULT__CA_DONE:
		take_revoked(f, job);
		break;
	case CA__CA_RESULT__CA_REJECTED:
		fail(f, job, "ca_rejected", reason, false);
		break;
	case CA__CA_RESULT__CA_NOT_SUPPORTED:
		fail(f, job, "not_supported", reason, false);
		break;
	case CA__CA_RESULT__CA_ORDER_REFUSED:
		if (++job->orders_refused > ORDERS_REFUSED_MAX)
			fail(f, job, "order_refused", reason, false);
		else
			try_again(f, job, reason);
		break;
	default: /* it could not be asked, or did not answer */
		try_again(f, job, reason);
		break;
	}
}

static void on_revoked(void *arg, cc_err err, const Ca__CaAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job = flow_ref_end(arg, &f);
	crashpoint_pass(CRASH_CONNECTOR_AFTER_REVOKE);
	if (job == NULL || is_over(job))
		return;
	if (err != CC_OK)
		try_again(f, job, cc_view_text(cc_err_detail(err)));
	else
		take_answer(f, job, answer);
}

static void ask_ca(struct flow *f, struct job *job)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	if (ca == NULL) {
		fail(f, job, "ca_not_configured",
			cc_view_text("the CA of the certificate is not configured here"), true);
		return;
	}
	struct flow_ref *ref = flow_ref_new(f, job);
	crashpoint_pass(CRASH_CONNECTOR_BEFORE_REVOKE);
	cc_err err = ca_client_revoke(ca, cc_blob_view(&job->order), on_revoked, ref);
	if (err != CC_OK) {
		flow_ref_cancel(ref);
		try_again(f, job, cc_view_text(cc_err_detail(err)));
	}
}

/* ---- the keyvault ---- */

static void on_recorded(struct flow *f, struct job *job, cc_err err)
{
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
	else if (!is_over(job))
		ask_ca(f, job);
}

static void take_order(struct flow *f, struct job *job, const Certq__SignedDocument *document)
{
	Vault__Order *order = NULL;
	cc_err err = codec_decode_document(
		&vault__order__descriptor, codec_view(document->body), DOC_BODY_MAX, &order);
	if (err != CC_OK) {
		try_again(f, job, cc_view_text(cc_err_detail(err)));
		return;
	}
	job_set_only_ca(job, codec_view(order->ca));
	codec_free(order);
	cc_blob_free(&job->order);
	job->order = codec_pack(document);
	flow_commit(f, job, flow_change(f), on_recorded);
}

static void on_approved(void *arg, cc_err err, const Vault__VaultAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job =
		flow_vault_answered(arg, err, answer, VAULT__VAULT_ANSWER__ANSWER_ORDER, &f);

	if (job != NULL)
		take_order(f, job, answer->order);
}

void step_revoke(struct flow *f, struct job *job)
{
	struct flow_ref *ref = flow_ref_new(f, job);
	flow_vault_asked(f, job, ref,
		vault_client_approve_revoke(f->vault, job->delivery, on_approved, ref));
}
