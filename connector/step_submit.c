/*
 * CLAIMED: ask the CA.  When a CA may have issued already and nobody told us, it is asked first
 * (find); where it cannot be asked, the request is repeated only if the same request gives the same
 * certificate.  Another CA, or a failure that settles the claim as NOT_ISSUED, only when it is sure
 * that there is no certificate.
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
	CHAIN_CERTIFICATES_MAX = 8,
	CHAIN_BYTES_MAX = 48 * 1024,
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
	if (is_settling(job)) /* nobody waits for the failure, only for the claim */
		flow_settle(f, job,
			job->doubtful ? CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED
				      : CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	else
		flow_fail(f, job, &why);
}

/* ---- the certificate ---- */

static void on_issued_recorded(struct flow *f, struct job *job, cc_err err)
{
	(void)job;
	if (err != CC_OK)
		f->events->fatal(f->arg, err); /* the certificate must not be forgotten */
}

static bool chain_fits(const Ca__CaAnswer *answer)
{
	size_t total = 0;
	for (size_t i = 0; i < answer->n_chain; i++)
		total += answer->chain[i].len;
	return answer->n_chain <= CHAIN_CERTIFICATES_MAX && total <= CHAIN_BYTES_MAX;
}

static cc_blob pack_chain(const Ca__CaAnswer *answer)
{
	Journal__CertificateList list = JOURNAL__CERTIFICATE_LIST__INIT;
	list.n_certificates = answer->n_chain;
	list.certificates = answer->chain;
	return codec_pack(&list);
}

/* A certificate that cannot be delivered.  One for another key is never touched again: the CA, or its
 * cookie, took us for somebody else. */
static void take_unusable(struct flow *f, struct job *job, cc_err err)
{
	cc_view reason = cc_view_text(err != CC_OK ? cc_err_detail(err) : "the chain is too large");
	const char *code = err == CC_MISMATCH ? FLOW_KEY_MISMATCH : "ca_answer_unusable";
	log_event(EV_CERTIFICATE_MISMATCH, LV_JOB(job_id_view(job)), LV_TEXT("code", code),
		LV_VIEW("reason", reason), LV_VIEW("ca", job_ca(job)),
		LV_HEX("certificate", cc_blob_view(&job->certificate.sha256)),
		LV_TEXT("correlation", job->correlation));
	job->doubtful = true;
	fail(f, job, code, EV_CERTIFICATE_MISMATCH, reason, false);
}

/* ISSUED is on its way to the disk while the keyvault packs: the commits stay in order. */
static void take_issued(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	cc_err err = answer->n_chain == 0 ? cc_fail(CC_MALFORMED, "the CA gave no certificate")
					  : flow_read_leaf(codec_view(answer->chain[0]), job);
	if (err != CC_OK || !chain_fits(answer)) {
		take_unusable(f, job, err);
		return;
	}
	cc_blob_free(&job->chain);
	job->chain = pack_chain(answer);
	job->doubtful = false;
	log_event(EV_PKCS_ISSUED_SUCCESS, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_HEX("serial", cc_blob_view(&job->certificate.serial)),
		LV_HEX("certificate", cc_blob_view(&job->certificate.sha256)),
		LV_TEXT("correlation", job->correlation));
	struct journal_change *c = flow_change(f);
	flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_ISSUED);
	flow_put_record(c, job);
	journal_change_blob(c, job_id_view(job), JOURNAL_CHAIN, cc_blob_view(&job->chain));
	flow_commit(f, job, c, on_issued_recorded);
	step_finish(f, job);
}

static void on_pending_recorded(struct flow *f, struct job *job, cc_err err)
{
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
	else
		flow_step(f, job);
}

static void take_pending(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	struct journal_change *c = flow_change(f);
	if (!is_settling(job))
		flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_PENDING);
	job->next_due_ms = clock_realtime_ms() + (int64_t)answer->delay_s * 1000;
	flow_put_record(c, job);
	if (answer->cookie.len <= JOURNAL_COOKIE_MAX)
		journal_change_blob(
			c, job_id_view(job), JOURNAL_COOKIE, codec_view(answer->cookie));
	flow_commit(f, job, c, on_pending_recorded);
}

/* ---- no certificate ---- */

/* The next CA of the profile that has a runner here, or none. */
static bool go_to_other_ca(struct flow *f, struct job *job)
{
	size_t next = job->ca_at + 1;
	while (next < job->ca_count &&
		ca_clients_find(f->cas, cc_view_text(job->cas[next])) == NULL)
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
	if (job->not_sent >= OTHER_CA_AFTER && !job->doubtful && job->settle_ca == NULL &&
		go_to_other_ca(f, job))
		return;
	flow_retry(f, job, 0);
}

/* A runner that starts anew is no reason for another CA, one that stays away is. */
static void wait_for_runner(struct flow *f, struct job *job)
{
	if (job->attempts >= NO_RUNNER_AFTER && !job->doubtful && job->settle_ca == NULL &&
		go_to_other_ca(f, job))
		return;
	flow_retry(f, job, 0);
}

static void take_unknown(struct flow *f, struct job *job, cc_view reason)
{
	log_event(EV_PKCS_ISSUED_FAILED_ATTEMPT, LV_JOB(job_id_view(job)),
		LV_VIEW("ca", job_ca(job)), LV_VIEW("reason", reason),
		LV_TEXT("outcome", "unknown"), LV_TEXT("correlation", job->correlation));
	job->doubtful = true;
	if (is_settling(job))
		flow_settle(f, job, CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED);
	else
		flow_retry(f, job, 0);
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
		take_issued(f, job, answer);
		break;
	case CA__CA_RESULT__CA_PENDING:
		take_pending(f, job, answer);
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
	if (job == NULL)
		return;
	if (err != CC_OK)
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
	if (ca_client_submit(ca, cc_blob_view(&job->order), on_submitted, ref) != CC_OK) {
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
	if (ca == NULL || !ca_client_is_ready(ca))
		wait_for_runner(f, job);
	else if (job->order.size == 0 || clock_boottime_ms() >= job->order_due)
		fetch_order(f, job);
	else
		send_order(f, job, ca);
}

/* The CA cannot be asked what became of an earlier request. */
static void submit_or_hold(struct flow *f, struct job *job, const struct ca_client *ca)
{
	if (ca_client_properties(ca)->resubmit == CA__CA_RESUBMIT__RESUBMIT_SAME_CERT)
		submit(f, job);
	else
		flow_settle(f, job, CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED);
}

static void take_found(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	switch (answer->result) {
	case CA__CA_RESULT__CA_ISSUED:
		take_issued(f, job, answer);
		break;
	case CA__CA_RESULT__CA_PENDING:
		take_pending(f, job, answer);
		break;
	case CA__CA_RESULT__CA_NOT_ISSUED:
		job->doubtful = false;
		if (is_settling(job))
			flow_settle(f, job, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
		else
			submit(f, job);
		break;
	case CA__CA_RESULT__CA_CANNOT_TELL:
	case CA__CA_RESULT__CA_NOT_SUPPORTED:
		if (is_settling(job) || ca == NULL || !ca_client_is_ready(ca))
			flow_step(f, job);
		else
			submit_or_hold(f, job, ca);
		break;
	default:
		flow_retry(f, job, 0);
		break;
	}
}

static void on_found(void *arg, cc_err err, const Ca__CaAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job = flow_ref_end(arg, &f);
	if (job == NULL)
		return;
	if (err != CC_OK)
		flow_retry(f, job, 0);
	else
		take_found(f, job, answer);
}

static void find(struct flow *f, struct job *job, struct ca_client *ca)
{
	Ca__Find op = CA__FIND__INIT;
	struct flow_ref *ref = NULL;
	cc_err err = flow_load(f, job, JOURNAL_CSR, &job->csr);
	if (err != CC_OK) {
		f->events->fatal(f->arg, err);
		return;
	}
	op.tenant = codec_text(f->tenant);
	op.job_id = codec_bytes(job_id_view(job));
	op.csr = codec_bytes(cc_blob_view(&job->csr));
	op.csr_sha256 = codec_bytes(cc_view_of(job->csr_sha256, sizeof job->csr_sha256));
	op.spki_sha256 = codec_bytes(cc_view_of(job->spki_sha256, sizeof job->spki_sha256));
	op.txid = codec_bytes(cc_view_of(job->txid, sizeof job->txid));
	ref = flow_ref_new(f, job);
	if (ca_client_find(ca, &op, on_found, ref) != CC_OK) {
		flow_ref_cancel(ref);
		flow_retry(f, job, 0);
	}
}

void step_submit(struct flow *f, struct job *job)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	if (!job->kept)
		return;
	if (!job->doubtful || ca == NULL || !ca_client_is_ready(ca))
		submit(f, job);
	else if (ca_client_properties(ca)->find == CA__CA_FIND__FIND_BY_CSR ||
		 ca_client_properties(ca)->find == CA__CA_FIND__FIND_BY_SPKI)
		find(f, job, ca);
	else
		submit_or_hold(f, job, ca);
}
