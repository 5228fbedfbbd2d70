/*
 * Questions to a CA about a request that it has or may have: find, poll, withdraw.
 *
 * None of them can make a certificate.  A find needs no order; the other two need a fresh one of the
 * keyvault, and the cookie.  What the CA says goes to one place (told.c), whatever the state; a question
 * that could not be put is put again after the back-off of the state.
 */
#include "connector/flow_int.h"

#include <stdlib.h>

struct ask {
	struct flow_ref *ref;
	Vault__OrderOp op;
	Journal__JobState state; /* in which it was asked */
};

static void on_told(void *arg, cc_err err, const Ca__CaAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job = flow_ref_end(arg, &f);
	if (job == NULL)
		return;
	if (err != CC_OK)
		flow_retry(f, job, 0);
	else
		flow_take_told(f, job, answer);
}

void flow_ask_find(struct flow *f, struct job *job, struct ca_client *ca)
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
	if (ca_client_find(ca, &op, on_told, ref) != CC_OK) {
		flow_ref_cancel(ref);
		flow_retry(f, job, 0);
	}
}

/* ---- with an order ---- */

static void send_order(
	struct flow *f, struct job *job, Vault__OrderOp op, const Certq__SignedDocument *order)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	cc_view cookie = cc_blob_view(&job->cookie);
	struct flow_ref *ref = flow_ref_new(f, job);
	cc_err err = CC_UNREACHABLE;
	if (ca != NULL && op == VAULT__ORDER_OP__ORDER_POLL)
		err = ca_client_poll(ca, order, cookie, on_told, ref);
	else if (ca != NULL)
		err = ca_client_withdraw(ca, order, cookie, on_told, ref);
	if (err != CC_OK) {
		flow_ref_cancel(ref);
		flow_retry(f, job, 0);
	}
}

static bool is_order(const Vault__VaultAnswer *answer)
{
	return answer->status == VAULT__VAULT_STATUS__VAULT_OK &&
	       answer->answer_case == VAULT__VAULT_ANSWER__ANSWER_ORDER;
}

/* The keyvault gives no order any more: nothing can be asked of the CA by one. */
static bool is_final(const Vault__VaultAnswer *answer)
{
	return answer->status == VAULT__VAULT_STATUS__VAULT_REFUSED ||
	       answer->status == VAULT__VAULT_STATUS__VAULT_REFUSED_HERE ||
	       answer->status == VAULT__VAULT_STATUS__VAULT_NOT_SUPPORTED;
}

static void on_order(void *arg, cc_err err, const Vault__VaultAnswer *answer)
{
	struct ask ask = *(struct ask *)arg;
	struct flow *f = NULL;
	struct job *job = flow_ref_end(ask.ref, &f);
	free(arg);
	if (job == NULL)
		return;
	if (job->state != ask.state) /* it may be for something else now */
		flow_step(f, job);
	else if (err == CC_OK && is_order(answer))
		send_order(f, job, ask.op, answer->order);
	else if (err == CC_OK && is_final(answer))
		flow_take_no_order(f, job);
	else
		flow_retry(f, job, err == CC_OK ? answer->retry_after_ms : 0);
}

void flow_ask_pending(struct flow *f, struct job *job, Vault__OrderOp op)
{
	struct ask *ask = NULL;
	cc_err err = flow_load(f, job, JOURNAL_TICKET, &job->ticket);
	if (err == CC_OK)
		err = flow_load(f, job, JOURNAL_COOKIE, &job->cookie);
	if (err != CC_OK) {
		f->events->fatal(f->arg, err);
		return;
	}
	ask = cc_alloc(sizeof *ask);
	ask->op = op;
	ask->state = job->state;
	ask->ref = flow_ref_new(f, job);
	err = vault_client_reorder(
		f->vault, cc_blob_view(&job->ticket), op, job_ca(job), on_order, ask);
	if (err != CC_OK) {
		flow_ref_cancel(ask->ref);
		free(ask);
		flow_retry(f, job, 0);
	}
}

bool flow_has_cookie(struct flow *f, struct job *job)
{
	cc_err err = flow_load(f, job, JOURNAL_COOKIE, &job->cookie);
	if (err != CC_OK && err != CC_NOT_FOUND)
		f->events->fatal(f->arg, err);
	return err == CC_OK && job->cookie.size > 0;
}

bool flow_can_find(const struct ca_client *ca)
{
	return ca_client_properties(ca)->find == CA__CA_FIND__FIND_BY_CSR ||
	       ca_client_properties(ca)->find == CA__CA_FIND__FIND_BY_SPKI;
}
