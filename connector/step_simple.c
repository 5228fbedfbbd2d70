/*
 * RECEIVED, for kinds without a claim: rewrap and chain end with an answer of the keyvault, revoke has a
 * file of its own.  And the Nack of a job that is given back.
 */
#include "connector/flow_int.h"

#include "connector/steps.h"
#include "proto/job.h"

enum { CHAIN_CERTIFICATES_MAX = 8, CHAIN_BYTES_MAX = 48 * 1024 };

static void on_answer(void *arg, cc_err err, const Vault__VaultAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job =
		flow_vault_answered(arg, err, answer, VAULT__VAULT_ANSWER__ANSWER_RESULT, &f);

	if (job != NULL)
		flow_succeed(f, job, answer->result);
}

/* ---- chain ---- */

static bool chain_fits(const Ca__CaAnswer *answer)
{
	size_t total = 0;
	for (size_t i = 0; i < answer->n_chain; i++)
		total += answer->chain[i].len;
	return answer->n_chain > 0 && answer->n_chain <= CHAIN_CERTIFICATES_MAX &&
	       total <= CHAIN_BYTES_MAX;
}

static void on_chain(void *arg, cc_err err, const Ca__CaAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job = flow_ref_end(arg, &f);
	if (job == NULL || job->nack.reason != 0 ||
		!flow_is(job, JOURNAL__JOB_STATE__STATE_RECEIVED))
		return;
	if (err != CC_OK || answer->result != CA__CA_RESULT__CA_DONE || !chain_fits(answer)) {
		flow_retry(f, job, 0);
		return;
	}
	struct flow_ref *ref = flow_ref_new(f, job);
	flow_vault_asked(f, job, ref,
		vault_client_chain_result(f->vault, job->delivery, job_ca(job), answer->chain,
			answer->n_chain, on_answer, ref));
}

/* The first CA of the profile that has a runner here. */
static struct ca_client *profile_ca(struct flow *f, cc_view profile)
{
	for (size_t i = 0; f->list != NULL && i < f->list->n_profiles; i++) {
		const Vault__Profile *p = f->list->profiles[i];
		if (!cc_view_equal(codec_view(p->name), profile))
			continue;
		for (size_t k = 0; k < p->n_cas; k++) {
			struct ca_client *ca = ca_clients_find(f->cas, codec_view(p->cas[k]));
			if (ca != NULL)
				return ca;
		}
	}
	return NULL;
}

static void ask_for_chain(struct flow *f, struct job *job, struct ca_client *ca)
{
	struct flow_ref *ref = flow_ref_new(f, job);
	job_set_only_ca(job, cc_view_text(ca_client_name(ca)));
	if (ca_client_chain(ca, on_chain, ref) != CC_OK) {
		flow_ref_cancel(ref);
		flow_retry(f, job, 0);
	}
}

static void begin_chain(struct flow *f, struct job *job)
{
	static const char code[] = "ca_not_configured";
	struct flow_failure why = {.code = cc_view_text(code),
		.retryable = true,
		.detail = cc_view_text("no CA of the profile is configured here")};
	Certq__JobDocument *document = NULL;
	struct ca_client *ca = NULL;
	if (f->list == NULL) {
		flow_retry(f, job, 0);
		return;
	}
	if (job_peek(codec_view(job->delivery->job->body), &document) == CC_OK &&
		document->kind_case == CERTQ__JOB_DOCUMENT__KIND_CHAIN)
		ca = profile_ca(f, codec_view(document->chain->ca_profile));
	codec_free(document);
	if (ca == NULL)
		flow_fail(f, job, &why);
	else
		ask_for_chain(f, job, ca);
}

/* ---- the others ---- */

static void begin_rewrap(struct flow *f, struct job *job)
{
	struct flow_ref *ref = flow_ref_new(f, job);
	flow_vault_asked(f, job, ref, vault_client_rewrap(f->vault, job->delivery, on_answer, ref));
}

void step_simple(struct flow *f, struct job *job)
{
	if (!flow_vault_is_free(f, job)) {
		flow_retry(f, job, 0);
		return;
	}
	switch (job->kind) {
	case JOB_KIND_REWRAP:
		begin_rewrap(f, job);
		break;
	case JOB_KIND_CHAIN:
		begin_chain(f, job);
		break;
	case JOB_KIND_REVOKE:
		step_revoke(f, job);
		break;
	case JOB_KIND_ISSUE: /* it has a claim: step_begin */
		cc_die("an issuing job among those without a claim");
	}
}

/* ---- given back ---- */

void step_give_back(struct flow *f, struct job *job)
{
	if (job->sent || f->session == NULL)
		return;
	job->nack.job_id = codec_bytes(job_id_view(job));
	if (session_send_nack(f->session, &job->nack))
		flow_wait_answer(f, job);
}

void flow_take_nack_ack(struct flow *f, const Certq__NackAck *ack)
{
	struct job *job = jobs_find(f->jobs, codec_view(ack->job_id));
	if (job == NULL || job->nack.reason == 0 || ack->epoch != job->nack.epoch)
		return;
	if (ack->verdict != CERTQ__NACK_VERDICT__NACK_ACK_RETRY_LATER) {
		flow_drop(f, job);
		return;
	}
	job->sent = false;
	flow_retry(f, job, 1000);
}
