/*
 * The embedded store: what belongs to a job beside its header: the facts that never change, how it
 * ended, and both told in the contract's words.
 */
#include "cloud-queue/store_lmdb.h"

cc_err store_job_facts(struct store_tx *x, const struct store_job_row *j, Queue__JobFacts **ret)
{
	struct store_dbkey key = store_job_key(j);
	Queue__JobFacts *facts = NULL;
	cc_err err = CC_OK;

	TRY(store_row_find(x, T_FACTS, &key, &queue__job_facts__descriptor, &facts));
	ENSURE(facts != NULL, cc_fail(CC_CORRUPT, "store: a job without facts"));
	*ret = facts;
out:
	return err;
}

cc_err store_job_end(struct store_tx *x, const struct store_job_row *j, Queue__JobEnd **ret)
{
	struct store_dbkey key = store_job_key(j);
	return store_row_find(x, T_END, &key, &queue__job_end__descriptor, ret);
}

Queue__JobEnd *store_job_new_end(struct store_tx *x)
{
	Queue__JobEnd *end = store_mem_get(x->mem, sizeof(*end));
	queue__job_end__init(end);
	end->certificate = store_mem_get(x->mem, sizeof(*end->certificate));
	queue__certificate__init(end->certificate);
	return end;
}

cc_err store_job_put_end(
	struct store_tx *x, const struct store_job_row *j, const Queue__JobEnd *end)
{
	struct store_dbkey key = store_job_key(j);
	return store_row_put(x, T_END, &key, end);
}

static struct store_certificate certificate_of(const Queue__JobEnd *end)
{
	if (end == NULL || end->certificate == NULL)
		return (struct store_certificate){0};
	return (struct store_certificate){store_row_view(end->certificate->sha256),
		store_row_view(end->certificate->issuer), store_row_view(end->certificate->serial)};
}

cc_err store_job_winner(
	struct store_tx *x, const struct store_job_row *j, struct store_certificate *ret)
{
	Queue__JobEnd *end;
	cc_err err = CC_OK;

	*ret = (struct store_certificate){0};
	if (j->h->state != STORE_DONE)
		return CC_OK;
	TRY(store_job_end(x, j, &end));
	*ret = certificate_of(end);
out:
	return err;
}

static void describe_header(const struct store_job_row *j, struct store_job *ret)
{
	const Queue__JobHeader *h = j->h;

	ret->tenant = j->tenant;
	ret->job_id = j->id;
	ret->number = h->number;
	ret->seq = h->seq;
	ret->state = (enum store_state)h->state;
	ret->dead = (enum store_dead)h->dead;
	ret->kind = (enum store_kind)h->kind;
	ret->priority = h->priority == 0   ? STORE_INTERACTIVE
			: h->priority == 2 ? STORE_BULK
					   : STORE_NORMAL;
	ret->created_ms = h->created_ms;
	ret->changed_ms = h->changed_ms;
	ret->not_after_ms = h->not_after_ms;
	ret->finished_ms = h->finished_ms;
	ret->run_at_ms = h->run_at_ms;
	ret->given_back = h->given_back;
	ret->lease_until_ms = h->lease_until_ms;
	ret->deadline_ms = h->deadline_ms;
	ret->park_ref = store_row_view(h->park_ref);
	ret->run = h->run;
	ret->epoch = h->epoch;
	ret->deliveries = h->deliveries;
	ret->attempts = h->attempts;
	ret->crash_suspect = h->crash_suspect;
	ret->connector = store_row_view(h->holder);
	ret->has_result = h->has_result;
	ret->result_taken = h->result_taken;
}

cc_err store_job_describe(struct store_tx *x, const struct store_job_row *j, struct store_job *ret)
{
	Queue__JobFacts *f;
	Queue__JobEnd *end = NULL;
	cc_err err = CC_OK;

	TRY(store_job_facts(x, j, &f));
	if (store_job_final(j->h))
		TRY(store_job_end(x, j, &end));
	*ret = (struct store_job){0};
	describe_header(j, ret);
	ret->idem_key = store_row_view(f->idem_key);
	ret->correlation_id = store_row_view(f->correlation_id);
	ret->batch_id = store_row_view(f->batch_id);
	ret->ca_profile = store_row_view(f->ca_profile);
	ret->audience = store_row_view(f->audience);
	ret->body_sha256 = store_row_view(f->body_sha256);
	if (end != NULL) {
		ret->connector = store_row_view(end->connector);
		ret->error_code = store_row_view(end->error_code);
		ret->error_detail = store_row_view(end->error_detail);
		ret->error_event = end->error_event;
		ret->retryable = end->retryable;
		ret->certificate = certificate_of(end);
	}
out:
	return err;
}

cc_err store_job_tell_gone(struct store_tx *x, const struct store_job_row *j, cc_view holder,
	enum store_result verdict)
{
	struct store_hint hint = {.kind = STORE_HINT_GONE,
		.tenant = j->tenant,
		.job_id = j->id,
		.connector = holder,
		.epoch = j->h->epoch,
		.verdict = verdict};
	cc_err err = CC_OK;

	if (holder.size == 0)
		return CC_OK;
	TRY(store_job_winner(x, j, &hint.winner));
	store_op_hint(x->op, &hint);
out:
	return err;
}
