/*
 * The embedded store: looking at jobs: lists, the feed of changes, counters, and the rows for the
 * invariant checker.
 */
#include "cloud-queue/store_lmdb.h"

#include <string.h>

enum { EXAMINED_MAX = 5000 };

/* ---- list ------------------------------------------------------------------------------------- */

static struct store_dbkey list_prefix(const struct store_list_in *in)
{
	struct store_dbkey k = store_key_name(in->tenant);
	bool by_batch = in->batch_id.size > 0;
	bool by_correlation = !by_batch && in->correlation_id.size > 0;

	store_key_add_u8(&k, by_batch ? 'b' : by_correlation ? 'c' : 'n');
	store_key_add_name(&k, by_batch         ? in->batch_id
			       : by_correlation ? in->correlation_id
						: CC_VIEW_NONE);
	return k;
}

static bool wanted(const struct store_list_in *in, const Queue__JobHeader *h)
{
	if (in->states != 0 && (in->states & (1u << h->state)) == 0)
		return false;
	if (in->dead != 0 && h->state == STORE_DEAD && (in->dead & (1u << h->dead)) == 0)
		return false;
	return in->kinds == 0 || (in->kinds & STORE_KIND_BIT(h->kind)) != 0;
}

static cc_err list_rows(struct store_tx *x, const struct store_dbkey *prefix, uint64_t after,
	size_t limit, struct store_row **ret, size_t *ret_count)
{
	struct store_dbkey from = *prefix;
	store_key_add_u64(&from, after + 1);
	return store_row_scan(x, T_LIST, prefix, &from, limit, ret, ret_count);
}

static cc_err number_of(const struct store_row *row, size_t prefix_size, uint64_t *ret)
{
	cc_view rest = cc_view_part(row->key, prefix_size, row->key.size - prefix_size);
	return store_key_take_u64(&rest, ret);
}

cc_err store_lmdb_list(
	struct store_tx *x, const struct store_list_in *in, struct store_list_out *out)
{
	struct store_dbkey prefix = list_prefix(in);
	size_t limit = store_row_limit(in->limit);
	size_t examined = in->states == 0 && in->kinds == 0 && in->dead == 0 ? limit : EXAMINED_MAX;
	struct store_job *jobs = store_mem_get(x->mem, limit * sizeof(*jobs));
	struct store_row *rows;
	struct store_job_row j;
	size_t count, i;
	uint64_t number = 0;
	cc_err err = CC_OK;

	TRY(list_rows(x, &prefix, in->after, examined, &rows, &count));
	for (i = 0; i < count && out->count < limit; i++) {
		TRY(number_of(&rows[i], prefix.size, &number));
		TRY(store_job_find(x, in->tenant, rows[i].value, &j));
		if (j.h == NULL || !wanted(in, j.h))
			continue;
		TRY(store_job_describe(x, &j, &jobs[out->count]));
		if (in->correlation_id.size > 0 &&
			!cc_view_equal(jobs[out->count].correlation_id, in->correlation_id))
			continue;
		out->count++;
	}
	out->jobs = jobs;
	out->next = i < count || count == examined ? number : 0;
	out->result = STORE_OK;
out:
	return err;
}

/* ---- events ----------------------------------------------------------------------------------- */

cc_err store_lmdb_events(
	struct store_tx *x, const struct store_events_in *in, struct store_events_out *out)
{
	struct store_dbkey prefix = store_key_name(in->tenant);
	struct store_dbkey from = prefix;
	struct store_event *events;
	struct store_row *rows;
	struct store_job_row j;
	size_t count;
	cc_err err = CC_OK;

	store_key_add_u64(&from, in->after + 1);
	TRY(store_quota_use(x, in->tenant));
	out->last_seq = x->quota->last_seq;
	x->quota = NULL; /* looked at only: nothing to write */
	TRY(store_row_scan(x, T_EVENT, &prefix, &from, store_row_limit(in->limit), &rows, &count));
	events = store_mem_get(x->mem, count * sizeof(*events));
	for (size_t i = 0; i < count; i++) {
		TRY(store_job_find(x, in->tenant, rows[i].value, &j));
		if (j.h == NULL)
			continue;
		events[out->count++] = (struct store_event){.seq = j.h->seq,
			.job_id = j.id,
			.state = (enum store_state)j.h->state,
			.dead = (enum store_dead)j.h->dead,
			.at_ms = j.h->changed_ms};
	}
	out->events = events;
	out->result = STORE_OK;
out:
	return err;
}

/* ---- stats ------------------------------------------------------------------------------------ */

static void add_quota(const Queue__Quota *q, struct store_stats_out *out)
{
	for (size_t i = 0; i < q->n_states && i < STORE_STATE_COUNT; i++)
		out->jobs[i] += q->states[i];
	out->open_jobs += q->open_jobs;
	out->bytes += q->bytes;
}

static cc_err count_connectors(
	struct store_tx *x, const struct store_dbkey *prefix, struct store_stats_out *out)
{
	struct store_row *rows;
	Queue__Session *session;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_row_scan(x, T_SESSION, prefix, NULL, SIZE_MAX, &rows, &count));
	out->connectors = count;
	for (size_t i = 0; i < count; i++) {
		TRY(store_row_unpack(x, &queue__session__descriptor, rows[i].value, &session));
		out->sessions += session->open ? 1 : 0;
	}
out:
	return err;
}

cc_err store_lmdb_stats(
	struct store_tx *x, const struct store_stats_in *in, struct store_stats_out *out)
{
	struct store_dbkey prefix = {.size = 0};
	struct store_row *rows;
	Queue__Quota *quota;
	size_t count;
	cc_err err = CC_OK;

	if (in->tenant.size > 0)
		prefix = store_key_name(in->tenant);
	TRY(store_row_scan(x, T_TENANT, &prefix, NULL, SIZE_MAX, &rows, &count));
	out->result = in->tenant.size > 0 && count == 0 ? STORE_UNKNOWN : STORE_OK;
	for (size_t i = 0; i < count; i++) {
		cc_view rest = rows[i].key, tenant;
		struct store_dbkey key;
		TRY(store_key_take_name(&rest, &tenant));
		key = store_key_name(tenant);
		TRY(store_row_find(x, T_QUOTA, &key, &queue__quota__descriptor, &quota));
		if (quota != NULL)
			add_quota(quota, out);
		TRY(store_route_unserved(x, tenant, &out->routes, &out->unroutable));
	}
	TRY(count_connectors(x, &prefix, out));
	out->generation = x->s->base.generation;
	MDB_envinfo info;
	MDB_stat stat;
	int rc = mdb_env_info(db_env(x->s->db), &info);
	if (rc == 0)
		rc = mdb_env_stat(db_env(x->s->db), &stat);
	ENSURE(rc == 0, db_error(x->s->db, rc, "stat"));
	out->file_bytes = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
out:
	return err;
}

/* ---- check ------------------------------------------------------------------------------------ */

static const char *const end_names[] = {
	[END_OPEN] = "open",
	[END_EXPIRED] = "expired",
	[END_GIVEN_BACK] = "given_back",
	[END_LOST] = "lost",
	[END_TAKEN_OVER] = "taken_over",
	[END_WINNER] = "winner",
	[END_FAILED] = "failed",
	[END_CANCELLED] = "cancelled",
	[END_DEAD] = "dead",
};

static struct store_check_claim describe_claim(const struct store_claim_row *c)
{
	return (struct store_check_claim){.epoch = c->epoch,
		.ca = c->ca,
		.csr_sha256 = store_row_view(c->row->csr_sha256),
		.spki_sha256 = store_row_view(c->row->spki_sha256),
		.txid = store_row_view(c->row->txid),
		.settlement = (enum store_settlement)c->row->settlement,
		.was_in_doubt = c->row->was_in_doubt,
		.cert_sha256 = store_row_view(c->row->cert_sha256),
		.claimed_ms = c->row->claimed_ms,
		.settled_ms = c->row->settled_ms};
}

static cc_err describe_claims(
	struct store_tx *x, const struct store_job_row *j, struct store_check_attempt *a)
{
	struct store_claim_row *rows;
	struct store_check_claim *claims;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_claims_of(x, j, a->epoch, &rows, &count));
	claims = store_mem_get(x->mem, count * sizeof(*claims));
	for (size_t i = 0; i < count; i++)
		claims[i] = describe_claim(&rows[i]);
	a->claims = claims;
	a->claim_count = count;
out:
	return err;
}

static cc_err describe_attempts(
	struct store_tx *x, const struct store_job_row *j, struct store_check_row *ret)
{
	struct store_dbkey prefix = store_job_key(j);
	struct store_check_attempt *attempts;
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_row_scan(x, T_ATTEMPT, &prefix, NULL, SIZE_MAX, &rows, &count));
	attempts = store_mem_get(x->mem, count * sizeof(*attempts));
	for (size_t i = 0; i < count; i++) {
		cc_view rest = cc_view_part(rows[i].key, prefix.size, 4);
		Queue__Attempt *a;
		TRY(store_key_take_u32(&rest, &attempts[i].epoch));
		TRY(store_row_unpack(x, &queue__attempt__descriptor, rows[i].value, &a));
		ENSURE(a->end <= END_DEAD, cc_fail(CC_CORRUPT, "store: an attempt's end"));
		attempts[i].run = a->run;
		attempts[i].connector = store_row_view(a->connector);
		attempts[i].leased_ms = a->leased_ms;
		attempts[i].end = end_names[a->end];
		TRY(describe_claims(x, j, &attempts[i]));
	}
	ret->attempts = attempts;
	ret->attempt_count = count;
out:
	return err;
}

cc_err store_lmdb_check(
	struct store_tx *x, const struct store_check_in *in, struct store_check_out *out)
{
	struct store_list_in all = {.tenant = in->tenant};
	struct store_dbkey prefix = list_prefix(&all);
	size_t limit = store_row_limit(in->limit);
	struct store_check_row *checked;
	struct store_row *rows;
	struct store_job_row j;
	size_t count;
	uint64_t number = 0;
	cc_err err = CC_OK;

	TRY(list_rows(x, &prefix, in->after, limit, &rows, &count));
	checked = store_mem_get(x->mem, count * sizeof(*checked));
	for (size_t i = 0; i < count; i++) {
		TRY(number_of(&rows[i], prefix.size, &number));
		TRY(store_job_find(x, in->tenant, rows[i].value, &j));
		ENSURE(j.h != NULL, cc_fail(CC_CORRUPT, "store: a listed job is gone"));
		TRY(store_job_describe(x, &j, &checked[i].job));
		TRY(describe_attempts(x, &j, &checked[i]));
	}
	out->rows = checked;
	out->count = count;
	out->next = count == limit ? number : 0;
	out->result = STORE_OK;
out:
	return err;
}
