/*
 * RECEIVED, of a job that was taken over: the CAs of the earlier holders' claims are asked first, one after the
 * other, what became of those requests.
 *
 * Another holder's certificate is of no use here, since its key is not, and only that holder can settle its
 * claim; so what is found is told as an event, and the job goes on: a second certificate after a recorded
 * takeover is what the promise allows.  A request with our own CSR can be delivered: the job goes to the CA that
 * has one, else to the first that could not tell, and that CA is asked again in CLAIMED.
 */
#include "connector/flow_int.h"

#include "connector/steps.h"

enum { TRIES = 6, DIGEST = 32, TXID = 16 };
enum { RANK_NONE, RANK_NOT_CLEAR, RANK_HAS_REQUEST };

static void on_told(void *arg, cc_err err, const Ca__CaAnswer *answer);

static const Certq__PriorClaim *present(const struct job *job)
{
	return job->delivery->prior[job->prior_at];
}

static void go_on(struct flow *f, struct job *job)
{
	job->prior_at++;
	job->attempts = 0;
	flow_ask_prior(f, job);
}

static bool is_our_own(const struct job *job, const Certq__PriorClaim *prior)
{
	return cc_view_equal(
		codec_view(prior->csr_sha256), cc_view_of(job->csr_sha256, sizeof job->csr_sha256));
}

/* That CA has a request of ours, or may have one. */
static void heed_own(struct flow *f, struct job *job, cc_view ca, unsigned rank)
{
	size_t at = 0;
	while (at < job->ca_count && !text_equal(ca, job->cas[at]))
		at++;
	if (rank <= job->prior_rank || at == job->ca_count)
		return;
	job->prior_rank = rank;
	job->doubtful = true;
	if (at != job->ca_at) {
		cc_blob_free(&job->order); /* that order is for another */
		job_choose_ca(job, at, cc_view_text(f->tenant));
	}
}

static void tell(struct flow *f, struct job *job, const char *outcome, unsigned rank)
{
	const Certq__PriorClaim *prior = present(job);
	if (is_our_own(job, prior))
		heed_own(f, job, codec_view(prior->ca), rank);
	log_event(EV_PRIOR_CLAIM, LV_JOB(job_id_view(job)), LV_VIEW("ca", codec_view(prior->ca)),
		LV_HEX("csr", codec_view(prior->csr_sha256)),
		LV_HEX("spki", codec_view(prior->spki_sha256)), LV_TEXT("outcome", outcome),
		LV_TEXT("correlation", job->correlation));
	go_on(f, job);
}

static void ask_again(struct flow *f, struct job *job)
{
	if (job->attempts + 1 >= TRIES)
		tell(f, job, "not_answered", RANK_NOT_CLEAR);
	else
		flow_retry(f, job, 0);
}

static void take_answer(struct flow *f, struct job *job, Ca__CaResult result)
{
	switch (result) {
	case CA__CA_RESULT__CA_ISSUED:
		tell(f, job, "issued", RANK_HAS_REQUEST);
		break;
	case CA__CA_RESULT__CA_PENDING:
		tell(f, job, "pending", RANK_HAS_REQUEST);
		break;
	case CA__CA_RESULT__CA_NOT_ISSUED:
	case CA__CA_RESULT__CA_REJECTED:
		tell(f, job, "not_issued", RANK_NONE);
		break;
	case CA__CA_RESULT__CA_CANNOT_TELL:
	case CA__CA_RESULT__CA_NOT_SUPPORTED:
		tell(f, job, "cannot_tell", RANK_NOT_CLEAR);
		break;
	default:
		ask_again(f, job);
		break;
	}
}

static void on_told(void *arg, cc_err err, const Ca__CaAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job = flow_ref_end(arg, &f);
	if (job == NULL)
		return;
	if (job->nack.reason != 0 || !flow_is(job, JOURNAL__JOB_STATE__STATE_RECEIVED)) {
		flow_step(f, job);
		return;
	}
	if (err == CC_OK)
		take_answer(f, job, answer->result);
	else
		ask_again(f, job);
}

static void ask(struct flow *f, struct job *job, struct ca_client *ca)
{
	const Certq__PriorClaim *prior = present(job);
	Ca__Find op = CA__FIND__INIT;
	struct flow_ref *ref = flow_ref_new(f, job);
	op.tenant = codec_text(f->tenant);
	op.job_id = codec_bytes(job_id_view(job));
	if (is_our_own(job, prior))
		op.csr = codec_bytes(cc_blob_view(&job->csr));
	op.csr_sha256 = prior->csr_sha256;
	op.spki_sha256 = prior->spki_sha256;
	op.txid = prior->txid;
	if (ca_client_find(ca, &op, on_told, ref) != CC_OK) {
		flow_ref_cancel(ref);
		ask_again(f, job);
	}
}

/* Of a form that a runner takes. */
static bool is_to_be_asked(const Certq__PriorClaim *prior)
{
	return text_is_name(codec_view(prior->ca)) && prior->csr_sha256.len == DIGEST &&
	       prior->spki_sha256.len <= DIGEST && prior->txid.len <= TXID;
}

void flow_ask_prior(struct flow *f, struct job *job)
{
	job->asks_prior = true;
	while (job->prior_at < job->delivery->n_prior && !is_to_be_asked(present(job)))
		job->prior_at++;
	if (job->prior_at == job->delivery->n_prior) {
		job->asks_prior = false;
		step_record_intent(f, job);
		return;
	}
	struct ca_client *ca = ca_clients_find(f->cas, codec_view(present(job)->ca));
	if (ca == NULL)
		tell(f, job, "no_runner_here", RANK_NOT_CLEAR);
	else
		ask(f, job, ca);
}
