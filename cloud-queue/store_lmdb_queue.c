/*
 * The embedded store: the producer's and the operator's operations on a job.
 */
#include "cloud-queue/store_lmdb.h"

enum {
	DOCUMENT_MAX = 193 * 1024, /* a body of 192 KiB, key id and signature */
	ATTACHED_MAX = 240 * 1024, /* all that travels in one envelope of 256 KiB */
};

/* ---- enqueue ---------------------------------------------------------------------------------- */

static size_t payload_size(const struct store_enqueue_in *in)
{
	size_t size = in->document.size + in->pfx.size;
	for (size_t i = 0; i < in->password_count; i++)
		size += in->passwords[i].size;
	return size;
}

/* `jobs` more, which take `bytes`. */
static cc_err quota_allows(struct store_tx *x, const Queue__Tenant *t, cc_view tenant,
	uint64_t jobs, uint64_t bytes, bool *ret)
{
	uint64_t max_jobs = t->max_open_jobs > 0 ? t->max_open_jobs : x->config->max_open_jobs;
	uint64_t max_bytes = t->max_bytes > 0 ? t->max_bytes : x->config->max_bytes;
	cc_err err = CC_OK;

	TRY(store_quota_use(x, tenant));
	*ret = jobs <= max_jobs && x->quota->open_jobs <= max_jobs - jobs && bytes <= max_bytes &&
	       x->quota->bytes <= max_bytes - bytes;
out:
	return err;
}

static cc_err find_tenant(struct store_tx *x, cc_view name, Queue__Tenant **ret)
{
	struct store_dbkey key = store_key_name(name);
	return store_row_find(x, T_TENANT, &key, &queue__tenant__descriptor, ret);
}

/* The same job again: its bytes decide, its state is told. */
static cc_err seen_before(struct store_tx *x, const struct store_enqueue_in *in,
	const struct store_job_row *j, struct store_enqueue_out *out)
{
	Queue__JobFacts *facts;
	cc_err err = CC_OK;

	TRY(store_job_facts(x, j, &facts));
	out->result = cc_view_equal(store_row_view(facts->body_sha256), in->body_sha256)
			      ? STORE_SAME
			      : STORE_CONFLICT;
	out->state = (enum store_state)j->h->state;
	out->dead = (enum store_dead)j->h->dead;
	out->seq = j->h->seq;
	out->created_ms = j->h->created_ms;
	out->not_after_ms = j->h->not_after_ms;
out:
	return err;
}

static cc_err put_facts(
	struct store_tx *x, const struct store_enqueue_in *in, const struct store_job_row *j)
{
	struct store_dbkey key = store_job_key(j);
	Queue__JobFacts facts = QUEUE__JOB_FACTS__INIT;

	facts.body_sha256 = store_row_borrow(in->body_sha256);
	facts.signer_key_id = store_row_borrow(in->signer_key_id);
	facts.idem_key = store_row_borrow(in->idem_key);
	facts.correlation_id = store_row_borrow(in->correlation_id);
	facts.batch_id = store_row_borrow(in->batch_id);
	facts.ca_profile = store_row_borrow(in->route.ca_profile);
	facts.audience = store_row_borrow(in->route.audience);
	return store_row_put(x, T_FACTS, &key, &facts);
}

static cc_err put_payload(
	struct store_tx *x, const struct store_enqueue_in *in, const struct store_job_row *j)
{
	struct store_dbkey document = store_job_part_key(j, PART_DOCUMENT);
	struct store_dbkey pfx = store_job_part_key(j, PART_PFX);
	struct store_dbkey passwords = store_job_part_key(j, PART_PASSWORDS);
	Queue__ByteList list = QUEUE__BYTE_LIST__INIT;
	cc_err err = CC_OK;

	TRY(store_row_put_bytes(x, T_BLOB, &document, in->document));
	if (in->pfx.size > 0)
		TRY(store_row_put_bytes(x, T_BLOB, &pfx, in->pfx));
	if (in->password_count > 0) {
		list.items = store_row_binaries(x, in->passwords, in->password_count);
		list.n_items = in->password_count;
		TRY(store_row_put(x, T_BLOB, &passwords, &list));
	}
out:
	return err;
}

static cc_err put_list_row(
	struct store_tx *x, const struct store_job_row *j, char kind, cc_view name)
{
	struct store_dbkey key = store_key_name(j->tenant);
	store_key_add_u8(&key, (uint8_t)kind);
	store_key_add_name(&key, name);
	store_key_add_u64(&key, j->h->number);
	return store_row_put_bytes(x, T_LIST, &key, j->id);
}

static cc_err put_lists(
	struct store_tx *x, const struct store_enqueue_in *in, const struct store_job_row *j)
{
	cc_err err = CC_OK;

	TRY(put_list_row(x, j, 'n', CC_VIEW_NONE));
	if (in->batch_id.size > 0)
		TRY(put_list_row(x, j, 'b', in->batch_id));
	if (in->correlation_id.size > 0)
		TRY(put_list_row(x, j, 'c', in->correlation_id));
out:
	return err;
}

static uint32_t rank_of(enum store_priority p)
{
	return p == STORE_INTERACTIVE ? 0 : p == STORE_BULK ? 2 : 1;
}

static cc_err make_job(
	struct store_tx *x, const struct store_enqueue_in *in, struct store_enqueue_out *out)
{
	struct store_job_row j;
	uint8_t *route = store_mem_get(x->mem, ROUTE_SIZE);
	uint64_t number;
	cc_err err = CC_OK;

	TRY(store_row_find_u64(x, "number", &number));
	TRY(store_row_put_u64(x, "number", number + 1));
	TRY(store_route_note(x, in->tenant, &in->route, route, &out->routable));
	store_job_make(x, in->tenant, in->job_id, &j);
	j.h->number = number + 1;
	j.h->state = STORE_READY;
	j.h->kind = in->route.kind;
	j.h->priority = rank_of(in->priority);
	j.h->route = store_row_borrow(cc_view_of(route, ROUTE_SIZE));
	j.h->created_ms = x->now;
	j.h->run_at_ms = x->now;
	j.h->not_after_ms = in->not_after_ms;
	j.h->run = 1;
	j.h->has_document = true;
	j.h->reserve = store_job_reserve(in->route.kind);
	j.h->bytes = payload_size(in) + j.h->reserve;
	TRY(put_facts(x, in, &j));
	TRY(put_payload(x, in, &j));
	TRY(put_lists(x, in, &j));
	TRY(store_lost_take(x, &j));
	TRY(store_job_save(x, &j));
	out->result = STORE_NEW;
	out->state = (enum store_state)j.h->state;
	out->seq = j.h->seq;
	out->created_ms = x->now;
	out->not_after_ms = in->not_after_ms;
out:
	return err;
}

struct room { /* what new jobs of one operation take */
	uint64_t jobs, bytes;
};

/* NEW: it may be made, and its room is added; anything else is the answer.  Nothing is written. */
static cc_err judge_job(struct store_tx *x, const Queue__Tenant *tenant,
	const struct store_enqueue_in *in, struct room *room, struct store_enqueue_out *out)
{
	struct store_job_row j;
	bool allowed;
	cc_err err = CC_OK;

	out->result = STORE_UNKNOWN;
	if (tenant == NULL)
		return CC_OK;
	TRY(store_job_find(x, in->tenant, in->job_id, &j));
	if (j.h != NULL)
		return seen_before(x, in, &j, out);
	out->result = STORE_TOO_LARGE;
	if (in->document.size > DOCUMENT_MAX || payload_size(in) > ATTACHED_MAX)
		return CC_OK;
	out->result = STORE_EXPIRED;
	if (in->not_after_ms <= x->now)
		return CC_OK;
	room->jobs++;
	room->bytes += payload_size(in) + store_job_reserve(in->route.kind);
	TRY(quota_allows(x, tenant, in->tenant, room->jobs, room->bytes, &allowed));
	out->result = allowed ? STORE_NEW : STORE_QUOTA;
out:
	return err;
}

cc_err store_lmdb_enqueue(
	struct store_tx *x, const struct store_enqueue_in *in, struct store_enqueue_out *out)
{
	Queue__Tenant *tenant;
	struct room room = {0};
	cc_err err = CC_OK;

	TRY(find_tenant(x, in->tenant, &tenant));
	TRY(judge_job(x, tenant, in, &room, out));
	if (out->result == STORE_NEW)
		TRY(make_job(x, in, out));
out:
	return err;
}

static bool job_id_before(const struct store_enqueue_all_in *in, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		if (cc_view_equal(in->items[i].job_id, in->items[at].job_id))
			return true;
	}
	return false;
}

/* All are judged before any is made, since one answer of the contract does not undo what another item
 * has written. */
cc_err store_lmdb_enqueue_all(struct store_tx *x, const struct store_enqueue_all_in *in,
	struct store_enqueue_all_out *out)
{
	struct store_enqueue_out *items = store_mem_get(x->mem, in->count * sizeof(*items));
	Queue__Tenant *tenant;
	struct room room = {0};
	cc_err err = CC_OK;

	out->items = items;
	out->count = in->count;
	TRY(find_tenant(x, in->tenant, &tenant));
	out->result = STORE_REFUSED;
	for (size_t i = 0; i < in->count; i++) {
		out->refused = i;
		if (job_id_before(in, i))
			items[i].result = STORE_CONFLICT;
		else
			TRY(judge_job(x, tenant, &in->items[i], &room, &items[i]));
		if (items[i].result != STORE_NEW && items[i].result != STORE_SAME)
			return CC_OK;
	}
	for (size_t i = 0; i < in->count; i++) {
		if (items[i].result == STORE_NEW)
			TRY(make_job(x, &in->items[i], &items[i]));
	}
	out->result = STORE_OK;
out:
	return err;
}

/* ---- fetch ------------------------------------------------------------------------------------ */

cc_err store_lmdb_fetch(
	struct store_tx *x, const struct store_fetch_in *in, struct store_fetch_out *out)
{
	struct store_job_row j;
	struct store_dbkey document, pfx, bundle;
	cc_err err = CC_OK;

	out->result = STORE_UNKNOWN;
	TRY(store_job_find(x, in->tenant, in->job_id, &j));
	if (j.h == NULL)
		return CC_OK;
	document = store_job_part_key(&j, PART_DOCUMENT);
	pfx = store_job_part_key(&j, PART_PFX);
	bundle = store_job_part_key(&j, PART_BUNDLE);
	TRY(store_job_describe(x, &j, &out->job));
	if (in->want_document)
		TRY(store_row_find_bytes(x, T_BLOB, &document, &out->document));
	if (in->want_document || in->want_result)
		TRY(store_row_find_bytes(x, T_BLOB, &pfx, &out->pfx));
	if (in->want_result && store_job_final(j.h))
		TRY(store_row_find_bytes(x, T_BLOB, &bundle, &out->bundle));
	out->result = STORE_OK;
out:
	return err;
}

cc_err store_lmdb_result_ack(
	struct store_tx *x, const struct store_result_ack_in *in, struct store_result_ack_out *out)
{
	struct store_job_row j;
	cc_err err = CC_OK;

	out->result = STORE_UNKNOWN;
	TRY(store_job_find(x, in->tenant, in->job_id, &j));
	if (j.h == NULL || !store_job_final(j.h))
		return CC_OK;
	out->result = STORE_OK;
	if (!j.h->result_taken) {
		j.h->result_taken = true;
		TRY(store_job_save(x, &j));
	}
out:
	return err;
}

/* ---- cancel, bury, replay, takeover ------------------------------------------------------------- */

static bool may_cancel(const Queue__JobHeader *h, bool by_operator)
{
	return by_operator || h->state == STORE_READY || h->state == STORE_LEASED ||
	       h->state == STORE_PARKED;
}

cc_err store_lmdb_cancel(
	struct store_tx *x, const struct store_cancel_in *in, struct store_cancel_out *out)
{
	struct store_job_row j;
	cc_view holder;
	cc_err err = CC_OK;

	out->result = STORE_UNKNOWN_JOB;
	TRY(store_job_find(x, in->tenant, in->job_id, &j));
	if (j.h == NULL)
		return CC_OK;
	out->state = (enum store_state)j.h->state;
	TRY(store_repeat_judge(x, in->tenant, &in->repeat, &out->result));
	if (out->result != STORE_RESULT_NONE)
		return CC_OK;
	out->result = STORE_ALREADY;
	if (store_job_final(j.h))
		return CC_OK;
	out->result = STORE_TOO_LATE;
	if (!may_cancel(j.h, in->by_operator))
		return CC_OK;
	holder = store_row_view(j.h->holder);
	if (store_job_held(j.h))
		TRY(store_attempt_finish(x, &j, END_CANCELLED));
	store_job_to_final(x, &j, STORE_CANCELLED_STATE, STORE_DEAD_NOT);
	TRY(store_job_save(x, &j));
	TRY(store_job_tell_gone(x, &j, holder, STORE_CANCELLED));
	TRY(store_repeat_note(x, in->tenant, &in->repeat));
	out->state = STORE_CANCELLED_STATE;
	out->result = STORE_OK;
out:
	return err;
}

cc_err store_lmdb_bury(
	struct store_tx *x, const struct store_bury_in *in, struct store_bury_out *out)
{
	struct store_job_row j;
	Queue__JobEnd *end;
	cc_view holder;
	cc_err err = CC_OK;

	out->result = STORE_UNKNOWN_JOB;
	TRY(store_job_find(x, in->tenant, in->job_id, &j));
	if (j.h == NULL)
		return CC_OK;
	out->result = STORE_ALREADY;
	if (store_job_final(j.h))
		return CC_OK;
	out->result = STORE_TOO_LATE;
	if (j.h->open_claims > 0 &&
		x->now < (j.h->deadline_ms > 0 ? j.h->deadline_ms : j.h->not_after_ms))
		return CC_OK;
	holder = store_row_view(j.h->holder);
	if (store_job_held(j.h))
		TRY(store_attempt_finish(x, &j, END_DEAD));
	TRY(store_claims_settle(x, &j, 0, STORE_IN_DOUBT));
	end = store_job_new_end(x);
	end->error_code = store_row_borrow(cc_view_text("buried"));
	end->error_detail = store_row_borrow(in->by);
	TRY(store_job_put_end(x, &j, end));
	store_job_to_final(x, &j, STORE_DEAD, STORE_DEAD_BURIED);
	TRY(store_job_save(x, &j));
	TRY(store_job_tell_gone(x, &j, holder, STORE_LOST));
	out->result = STORE_OK;
out:
	return err;
}

static cc_err why_not_replay(struct store_tx *x, const struct store_job_row *j, const char **ret)
{
	Queue__Tenant *tenant;
	bool allowed;
	cc_err err = CC_OK;

	*ret = NULL;
	if (j->h->state != STORE_DEAD) {
		*ret = "not_dead";
	} else if (j->h->open_claims > 0) {
		*ret = "unsettled_claim";
	} else if (j->h->not_after_ms <= x->now) {
		*ret = "expired";
	} else if (!j->h->has_document) {
		*ret = "document_gone";
	} else {
		TRY(find_tenant(x, j->tenant, &tenant));
		ENSURE(tenant != NULL, cc_fail(CC_CORRUPT, "store: a job without a tenant"));
		TRY(quota_allows(x, tenant, j->tenant, 1,
			store_job_reserve((enum store_kind)j->h->kind), &allowed));
		if (!allowed)
			*ret = "quota";
	}
out:
	return err;
}

cc_err store_lmdb_replay(
	struct store_tx *x, const struct store_replay_in *in, struct store_replay_out *out)
{
	struct store_job_row j;
	struct store_dbkey key, bundle;
	cc_view old_bundle;
	cc_err err = CC_OK;

	out->result = STORE_UNKNOWN_JOB;
	TRY(store_job_find(x, in->tenant, in->job_id, &j));
	if (j.h == NULL)
		return CC_OK;
	out->state = (enum store_state)j.h->state;
	out->dead = (enum store_dead)j.h->dead;
	TRY(store_repeat_judge(x, in->tenant, &in->repeat, &out->result));
	if (out->result != STORE_RESULT_NONE)
		return CC_OK;
	TRY(why_not_replay(x, &j, &out->why));
	out->result = STORE_REFUSED;
	if (out->why != NULL)
		return CC_OK;
	key = store_job_key(&j);
	bundle = store_job_part_key(&j, PART_BUNDLE);
	TRY(store_row_find_bytes(x, T_BLOB, &bundle, &old_bundle));
	TRY(store_row_delete(x, T_BLOB, &bundle));
	TRY(store_row_delete(x, T_END, &key));
	j.h->run++;
	j.h->dead = STORE_DEAD_NOT;
	j.h->finished_ms = 0;
	j.h->attempts = 0;
	j.h->crash_suspect = 0;
	j.h->n_excluded = 0;
	j.h->has_result = false;
	j.h->result_taken = false;
	j.h->reserve = store_job_reserve((enum store_kind)j.h->kind);
	j.h->bytes =
		(j.h->bytes > old_bundle.size ? j.h->bytes - old_bundle.size : 0) + j.h->reserve;
	store_job_to_ready(x, &j, 0);
	TRY(store_job_save(x, &j));
	TRY(store_repeat_note(x, in->tenant, &in->repeat));
	out->run = j.h->run;
	out->state = STORE_READY;
	out->dead = STORE_DEAD_NOT;
	out->result = STORE_OK;
out:
	return err;
}

/* What its holder claimed may have been issued, and the holder may come back with an empty disk, or
 * never: IN_DOUBT is on record until somebody knows better. */
cc_err store_job_take_over(struct store_tx *x, struct store_job_row *j)
{
	struct store_hint hint = {.kind = STORE_HINT_TAKEN_OVER,
		.tenant = j->tenant,
		.job_id = j->id,
		.connector = store_row_view(j->h->holder),
		.epoch = j->h->epoch};
	cc_err err = CC_OK;

	TRY(store_attempt_finish(x, j, END_TAKEN_OVER));
	TRY(store_claims_settle(x, j, j->h->epoch, STORE_IN_DOUBT));
	store_job_to_ready(x, j, 0);
	TRY(store_job_save(x, j));
	store_op_hint(x->op, &hint);
	TRY(store_job_tell_gone(x, j, hint.connector, STORE_LOST));
out:
	return err;
}

static cc_err takeover_is_due(
	struct store_tx *x, const struct store_job_row *j, bool by_operator, bool *ret)
{
	int64_t after = x->config->takeover_after_ms;
	Queue__Session *session;
	cc_err err = CC_OK;

	*ret = false;
	if (j->h->state == STORE_HELD) {
		*ret = x->now - j->h->held_since_ms >= after;
	} else if (j->h->state == STORE_PARKED) {
		*ret = by_operator;
	} else if (j->h->state == STORE_CLAIMED) {
		TRY(store_session_find(x, j->tenant, store_row_view(j->h->holder), &session));
		*ret = session == NULL || (!session->open && x->now - session->closed_ms >= after);
	}
out:
	return err;
}

cc_err store_lmdb_takeover(
	struct store_tx *x, const struct store_takeover_in *in, struct store_takeover_out *out)
{
	struct store_job_row j;
	bool due;
	cc_err err = CC_OK;

	out->result = STORE_UNKNOWN_JOB;
	TRY(store_job_find(x, in->tenant, in->job_id, &j));
	if (j.h == NULL)
		return CC_OK;
	TRY(takeover_is_due(x, &j, in->by.size > 0, &due));
	out->result = STORE_NOT_DUE;
	if (due) {
		TRY(store_job_take_over(x, &j));
		out->result = STORE_OK;
	}
out:
	return err;
}
