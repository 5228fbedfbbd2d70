/*
 * RECEIVED: the keyvault judges the job, makes the key and answers with CSR, order and ticket; that is
 * recorded as INTENT before anything is claimed.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "base/hash.h"
#include "connector/steps.h"
#include <stdlib.h>
#include <string.h>

enum {
	ORDER_MS = 8 * 60 * 1000, /* an order holds 10 minutes by the keyvault's clock */
	CSR_MAX = 16 * 1024,
	TICKET_MAX = 64 * 1024,
	BUSY_MS = 60 * 1000,
	SUSPENDED_MS = 5 * 60 * 1000,
	ROOM_MS = 5 * 1000, /* there is room before the next job is asked for (flow.c) */
};

static const char no_ca[] = "ca_not_configured";

static bool copy_cas(struct job *job, const Vault__BegunIssue *begun)
{
	if (begun->n_cas == 0 || begun->n_cas > JOB_CAS_MAX)
		return false;
	for (size_t i = 0; i < job->ca_count; i++)
		free(job->cas[i]);
	free(job->cas);
	job->cas = cc_alloc(begun->n_cas * sizeof *job->cas);
	job->ca_count = 0;
	for (size_t i = 0; i < begun->n_cas; i++) {
		if (!text_is_name(codec_view(begun->cas[i])))
			return false;
		job->cas[job->ca_count++] = cc_strndup(codec_view(begun->cas[i]));
	}
	return true;
}

static bool copy_begun(struct job *job, const Vault__BegunIssue *begun)
{
	if (begun->csr.len == 0 || begun->csr.len > CSR_MAX || begun->ticket.len == 0 ||
		begun->ticket.len > TICKET_MAX || begun->csr_sha256.len != sizeof job->csr_sha256 ||
		begun->spki_sha256.len != sizeof job->spki_sha256 || begun->order == NULL)
		return false;
	if (!copy_cas(job, begun))
		return false;
	memcpy(job->csr_sha256, begun->csr_sha256.data, sizeof job->csr_sha256);
	memcpy(job->spki_sha256, begun->spki_sha256.data, sizeof job->spki_sha256);
	cc_blob_free(&job->csr);
	cc_blob_free(&job->ticket);
	cc_blob_free(&job->order);
	job->csr = cc_blob_copy(codec_view(begun->csr));
	job->ticket = cc_blob_copy(codec_view(begun->ticket));
	job->order = codec_pack(begun->order);
	job->order_due = clock_boottime_ms() + ORDER_MS;
	job->finish_by_s = begun->finish_by_s;
	return true;
}

/* The first CA of the profile that has a runner here.  False: none has. */
static bool choose_ca(struct flow *f, struct job *job)
{
	size_t at = 0;
	while (at < job->ca_count && !flow_ca_is_usable(f, cc_view_text(job->cas[at])))
		at++;
	if (at == job->ca_count)
		return false;
	if (at != 0)
		cc_blob_free(&job->order); /* that order is for the first */
	job_choose_ca(job, at, cc_view_text(f->tenant));
	return true;
}

/* Not for ever: an operator can lift it, and another connector may have done so. */
static bool has_suspended(const struct flow *f, const struct job *job)
{
	for (size_t i = 0; i < job->ca_count; i++) {
		if (ca_clients_find(f->cas, cc_view_text(job->cas[i])) != NULL)
			return true;
	}
	return false;
}

static void on_intent(struct flow *f, struct job *job, cc_err err)
{
	bool first = job->delivery != NULL && flow_is(job, JOURNAL__JOB_STATE__STATE_INTENT);
	if (err == CC_OK) {
		job_forget_delivery(job);
		flow_step(f, job);
	} else if (first) {
		decisions_return(f->decisions);
		log_event(EV_JOURNAL_FULL, LV_JOB(job_id_view(job)), LV_ERR(err));
		flow_give_back(f, job, CERTQ__NACK_REASON__NACK_BUSY,
			err == CC_FULL ? ROOM_MS : BUSY_MS, false, false);
	} else { /* an earlier record of it, and its claim, or a later one, still stand */
		f->events->fatal(f->arg, err);
	}
}

/* By it the job is known again when its document is not kept any more. */
static void keep_digest(struct job *job)
{
	uint8_t digest[SHA256_SIZE];
	hash_sha256(codec_view(job->delivery->job->body), digest);
	cc_blob_free(&job->body_sha256);
	job->body_sha256 = cc_blob_copy(cc_view_of(digest, sizeof digest));
}

void step_record_intent(struct flow *f, struct job *job)
{
	struct journal_change *c = flow_change(f);
	flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_INTENT);
	if (job->delivery != NULL)
		keep_digest(job);
	flow_put_record(c, job);
	if (job->delivery != NULL) {
		cc_blob document = codec_pack(job->delivery->job);
		journal_change_blob(c, job_id_view(job), JOURNAL_JOB, cc_blob_view(&document));
		cc_blob_free(&document);
		journal_change_blob(c, job_id_view(job), JOURNAL_CSR, cc_blob_view(&job->csr));
		journal_change_blob(
			c, job_id_view(job), JOURNAL_TICKET, cc_blob_view(&job->ticket));
	} else if (flow_has_cookie(f, job)) { /* it must not speak for the next request */
		cc_blob_free(&job->cookie);
		journal_change_blob(c, job_id_view(job), JOURNAL_COOKIE, CC_VIEW_NONE);
	}
	flow_commit(f, job, c, on_intent);
}

static void take_begun(struct flow *f, struct job *job, const Vault__BegunIssue *begun)
{
	struct flow_failure why = {.code = cc_view_text(no_ca),
		.retryable = true,
		.detail = cc_view_text("no CA of the profile is configured here")};
	if (!copy_begun(job, begun)) {
		why.code = cc_view_text("internal");
		why.detail = cc_view_text("the keyvault's answer makes no sense");
		flow_fail(f, job, &why);
	} else if (!choose_ca(f, job)) {
		if (has_suspended(f, job))
			flow_give_back(f, job, CERTQ__NACK_REASON__NACK_CA_UNREACHABLE,
				SUSPENDED_MS, false, false);
		else
			flow_fail(f, job, &why);
	} else if (journal_room(f->journal) == JOURNAL_ROOM_RESERVE) {
		flow_give_back(f, job, CERTQ__NACK_REASON__NACK_BUSY, ROOM_MS, false, false);
	} else {
		flow_ask_prior(f, job);
	}
}

static void on_begun(void *arg, cc_err err, const Vault__VaultAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job =
		flow_vault_answered(arg, err, answer, VAULT__VAULT_ANSWER__ANSWER_BEGUN, &f);

	if (job != NULL)
		take_begun(f, job, answer->begun);
}

void step_begin(struct flow *f, struct job *job)
{
	if (job->kind != JOB_KIND_ISSUE) {
		step_simple(f, job);
		return;
	}
	if (job->asks_prior) {
		flow_ask_prior(f, job);
		return;
	}
	if (!flow_vault_is_free(f, job)) {
		flow_retry(f, job, 0);
		return;
	}
	struct flow_ref *ref = flow_ref_new(f, job);
	flow_vault_asked(
		f, job, ref, vault_client_begin_issue(f->vault, job->delivery, on_begun, ref));
}
