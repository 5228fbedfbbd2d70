/*
 * ISSUED: the keyvault checks the chain against the job, packs, seals and signs.  It asks no CA, so it
 * is done again at once after a restart.  A keyvault that dies over it is asked again, since the certificate
 * exists, but not for ever.
 */
#include "connector/flow_int.h"

#include "base/hash.h"
#include "connector/steps.h"

enum { BUNDLE_MAX = 192 * 1024, DEATHS_MAX = 4, DEATH_MS = 2000 };

static bool bundle_fits(const Certq__ResultBundle *bundle)
{
	return bundle->result != NULL &&
	       bundle->pfx.len + bundle->sealed_password.len + bundle->result->body.len <=
		       BUNDLE_MAX;
}

static void refuse(struct flow *f, struct job *job, const Vault__VaultAnswer *answer)
{
	struct flow_failure why = {.code = codec_view(answer->code),
		.event = answer->event,
		.detail = codec_view(answer->detail),
		.refusal = answer->refusal};
	log_event(EV_CERTIFICATE_MISMATCH, LV_JOB(job_id_view(job)), LV_VIEW("code", why.code),
		LV_VIEW("reason", why.detail), LV_VIEW("ca", job_ca(job)),
		LV_HEX("certificate", cc_blob_view(&job->certificate.sha256)),
		LV_TEXT("correlation", job->correlation));
	if (why.code.size == 0)
		why.code = cc_view_text("certificate_mismatch");
	flow_fail(f, job, &why);
}

static void take_answer(struct flow *f, struct job *job, const Vault__VaultAnswer *answer)
{
	switch (answer->status) {
	case VAULT__VAULT_STATUS__VAULT_OK:
		if (answer->answer_case == VAULT__VAULT_ANSWER__ANSWER_RESULT &&
			bundle_fits(answer->result))
			flow_succeed(f, job, answer->result);
		else
			refuse(f, job, answer);
		break;
	case VAULT__VAULT_STATUS__VAULT_REFUSED:
	case VAULT__VAULT_STATUS__VAULT_REFUSED_HERE:
	case VAULT__VAULT_STATUS__VAULT_NOT_SUPPORTED:
	case VAULT__VAULT_STATUS__VAULT_MALFORMED:
		refuse(f, job, answer);
		break;
	default:
		flow_retry(f, job, answer->retry_after_ms);
		break;
	}
}

/* Others may have been there when it died: each waits longer, so that in the end it is with it alone.  After
 * four deaths it is the one, and the certificate is left over. */
static void take_death(struct flow *f, struct job *job, cc_err err)
{
	struct flow_failure why = {.code = cc_view_text("poison"),
		.event = EV_VAULT_FAILED,
		.detail = cc_view_text(cc_err_detail(err))};
	if (++job->vault_deaths >= DEATHS_MAX)
		flow_fail(f, job, &why);
	else
		flow_retry(f, job,
			(int64_t)job->vault_deaths * DEATH_MS + (int64_t)random_below(DEATH_MS));
}

static void on_finished(void *arg, cc_err err, const Vault__VaultAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job = flow_ref_end(arg, &f);
	if (job == NULL || !flow_is(job, JOURNAL__JOB_STATE__STATE_ISSUED))
		return;
	if (err == CC_PEER_RESTARTED)
		take_death(f, job, err);
	else if (err != CC_OK)
		flow_retry(f, job, 0);
	else
		take_answer(f, job, answer);
}

void step_finish(struct flow *f, struct job *job)
{
	struct flow_ref *ref = NULL;
	cc_err err = flow_load(f, job, JOURNAL_TICKET, &job->ticket);
	if (err == CC_OK)
		err = flow_load(f, job, JOURNAL_CHAIN, &job->chain);
	if (err != CC_OK) {
		f->events->fatal(f->arg, err);
		return;
	}
	ref = flow_ref_new(f, job);
	err = vault_client_finish_issue(f->vault, cc_blob_view(&job->ticket), job_ca(job),
		cc_blob_view(&job->chain), on_finished, ref);
	if (err != CC_OK) {
		flow_ref_cancel(ref);
		flow_retry(f, job, 0);
	}
}
