/*
 * What the keyvault says instead of yes, about a job that has no claim yet, and what is done when it
 * dies over one.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "connector/steps.h"
#include "proto/dsse.h"
#include <stdlib.h>
#include <string.h>

enum {
	POISON_DEATHS = 2,
};

/* How often this job was given back for approval, this time included. */
static unsigned count_approval(struct flow *f, const struct job *job)
{
	for (size_t i = 0; i < FLOW_APPROVALS; i++) {
		struct flow_approval *a = &f->approvals[i];
		if (a->times > 0 &&
			cc_view_equal(cc_view_of(a->job_id, JOB_ID_SIZE), job_id_view(job)))
			return ++a->times;
	}
	struct flow_approval *fresh = &f->approvals[f->next_approval++ % FLOW_APPROVALS];
	memcpy(fresh->job_id, job->id, JOB_ID_SIZE);
	fresh->times = 1;
	return 1;
}

/* Longer each time, but so that the job comes again before its end: it may be approved meanwhile. */
static void wait_for_approval(struct flow *f, struct job *job)
{
	int64_t left = job->not_after_s * 1000 - clock_realtime_ms();
	int64_t delay = f->settings.approval_retry_ms, most = f->settings.approval_retry_max_ms;
	for (unsigned n = count_approval(f, job); n > 1 && delay < most; n--)
		delay *= 2;
	if (delay > most)
		delay = most;
	if (delay > left / 2)
		delay = left / 2 > f->settings.approval_retry_ms ? left / 2
								 : f->settings.approval_retry_ms;
	flow_relist_soon(f);
	flow_give_back(f, job, CERTQ__NACK_REASON__NACK_APPROVAL, delay, false, false);
}

static void refuse_here(struct flow *f, struct job *job, const Vault__VaultAnswer *answer)
{
	log_event(EV_JOB_REFUSED_HERE, LV_JOB(job_id_view(job)),
		LV_VIEW("code", codec_view(answer->code)),
		LV_VIEW("reason", codec_view(answer->detail)));
	flow_give_back(f, job, CERTQ__NACK_REASON__NACK_REFUSED_HERE, 0, false, true);
}

void flow_take_refusal(struct flow *f, struct job *job, const Vault__VaultAnswer *answer)
{
	struct flow_failure why = {
		.code = codec_view(answer->code),
		.event = answer->event,
		.detail = codec_view(answer->detail),
		.refusal = answer->refusal,
	};
	switch (answer->status) {
	case VAULT__VAULT_STATUS__VAULT_REFUSED:
		flow_fail(f, job, &why);
		break;
	case VAULT__VAULT_STATUS__VAULT_REFUSED_HERE:
		refuse_here(f, job, answer);
		break;
	case VAULT__VAULT_STATUS__VAULT_WAITS_OPERATOR:
		wait_for_approval(f, job);
		break;
	case VAULT__VAULT_STATUS__VAULT_NOT_SUPPORTED:
		why.code = cc_view_text("not_supported");
		flow_fail(f, job, &why);
		break;
	case VAULT__VAULT_STATUS__VAULT_BUSY:
	case VAULT__VAULT_STATUS__VAULT_FAILED:
	case VAULT__VAULT_STATUS__VAULT_NOT_ENROLLED:
		flow_retry(f, job, answer->retry_after_ms);
		break;
	default:
		why.code = cc_view_text("internal");
		flow_fail(f, job, &why);
		break;
	}
}

bool flow_vault_is_free(const struct flow *f, const struct job *job)
{
	return job->vault_deaths == 0 || f->suspects == 0;
}

/* Once more, then another connector shall try: the job may be what kills it. */
void flow_vault_failed(struct flow *f, struct job *job, cc_err err)
{
	if (err == CC_PEER_RESTARTED && ++job->vault_deaths >= POISON_DEATHS)
		flow_give_back(f, job, CERTQ__NACK_REASON__NACK_POISON, 0, true, false);
	else
		flow_retry(f, job, 0);
}

void flow_vault_asked(struct flow *f, struct job *job, struct flow_ref *ref, cc_err err)
{
	if (err != CC_OK) {
		flow_ref_cancel(ref);
		flow_retry(f, job, 0);
	} else if (job->vault_deaths > 0) {
		f->suspects++;
	}
}

/* The keyvault has verified the job under this statement. */
static void note_signer(struct flow *f, const struct job *job)
{
	Certq__SignerStatement *signer = NULL;
	uint8_t id[SHA256_SIZE];
	char *hex, *what;

	if (job->delivery == NULL || job->delivery->signer == NULL ||
		codec_decode_document(&certq__signer_statement__descriptor,
			codec_view(job->delivery->signer->body), DOC_BODY_MAX, &signer) != CC_OK)
		return;
	hash_sha256(codec_view(signer->spki), id);
	hex = text_hex_new(cc_view_of(id, 8));
	what = cc_asprintf("statement of signer %s", hex);
	expiries_put(f->expiries, what, signer->not_after_s,
		signer->not_after_s - signer->not_before_s, clock_realtime_s());
	free(what);
	free(hex);
	codec_free(signer);
}

struct job *flow_vault_answered(struct flow_ref *ref, cc_err err, const Vault__VaultAnswer *answer,
	Vault__VaultAnswer__AnswerCase wanted, struct flow **ret_flow)
{
	struct flow *f = NULL;

	if (ref->job->vault_deaths > 0)
		ref->flow->suspects--;
	struct job *job = flow_ref_end(ref, &f);
	if (job == NULL || job->nack.reason != 0 ||
		!flow_is(job, JOURNAL__JOB_STATE__STATE_RECEIVED))
		return NULL; /* given back, or gone, while the keyvault was at it */
	if (err != CC_OK) {
		flow_vault_failed(f, job, err);
		return NULL;
	}
	if (answer->status != VAULT__VAULT_STATUS__VAULT_OK || answer->answer_case != wanted) {
		flow_take_refusal(f, job, answer);
		return NULL;
	}
	note_signer(f, job);
	*ret_flow = f;
	return job;
}
