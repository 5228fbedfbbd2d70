/*
 * The embedded store: one job's row and everything that follows from it.
 *
 * Operations edit the header and call store_job_save, which alone keeps the indexes: a job has a row
 * in `ready` exactly when it is READY, one in `held` exactly when a connector holds it, one in `timer`
 * always (when sweep has to look at it next), one in `event` at its latest change.
 */
#include "cloud-queue/store_lmdb.h"

#include <string.h>

enum { TAKEN_RETENTION_MS = 86400 * 1000 };
enum { ROWS_TO_COME = 4 * 1024 }; /* attempt, claim, end: with half of each page empty */

/* ---- the tenant's counters -------------------------------------------------------------------- */

cc_err store_quota_use(struct store_tx *x, cc_view tenant)
{
	struct store_dbkey key = store_key_name(tenant);
	cc_err err = CC_OK;

	if (x->quota != NULL && cc_view_equal(x->quota_tenant, tenant))
		return CC_OK;
	TRY(store_quota_flush(x));
	TRY(store_row_find(x, T_QUOTA, &key, &queue__quota__descriptor, &x->quota));
	if (x->quota == NULL) {
		x->quota = store_mem_get(x->mem, sizeof(*x->quota));
		queue__quota__init(x->quota);
	}
	if (x->quota->n_states < STORE_STATE_COUNT) {
		uint64_t *states = store_mem_get(x->mem, STORE_STATE_COUNT * sizeof(*states));
		if (x->quota->n_states > 0)
			memcpy(states, x->quota->states, x->quota->n_states * sizeof(*states));
		x->quota->states = states;
		x->quota->n_states = STORE_STATE_COUNT;
	}
	x->quota_tenant = store_mem_copy(x->mem, tenant);
out:
	return err;
}

cc_err store_quota_flush(struct store_tx *x)
{
	struct store_dbkey key;
	cc_err err = CC_OK;

	if (x->quota == NULL)
		return CC_OK;
	key = store_key_name(x->quota_tenant);
	TRY(store_row_put(x, T_QUOTA, &key, x->quota));
	x->quota = NULL;
out:
	return err;
}

/* ---- room for the ends of open jobs -------------------------------------------------------------- */

/* The row holds one more than the number: without a row it was never counted. */
static cc_err reserve(struct store_tx *x, uint64_t aside)
{
	uint64_t ready, held;
	cc_err err = CC_OK;

	TRY(db_count(x->s->db, x->txn, T_READY, &ready));
	TRY(db_count(x->s->db, x->txn, T_HELD, &held));
	TRY(db_reserve(x->s->db, x->written, aside + (ready + held) * ROWS_TO_COME));
out:
	return err;
}

cc_err store_aside_flush(struct store_tx *x)
{
	bool more = x->aside != 0 && x->aside <= INT64_MAX;
	uint64_t aside;
	cc_err err = CC_OK;

	if (x->aside == 0)
		return CC_OK;
	TRY(store_row_find_u64(x, "aside", &aside));
	aside += x->aside;
	x->aside = 0;
	TRY(store_row_put_u64(x, "aside", aside));
	if (more)
		TRY(reserve(x, aside));
out:
	return err;
}

/* ---- keys ------------------------------------------------------------------------------------- */

struct store_dbkey store_job_key(const struct store_job_row *j)
{
	return store_key_job(j->tenant, j->id);
}

struct store_dbkey store_job_part_key(const struct store_job_row *j, enum store_part part)
{
	struct store_dbkey k = store_key_job(j->tenant, j->id);
	store_key_add_u8(&k, (uint8_t)part);
	return k;
}

static struct store_dbkey ready_key(const struct store_job_row *j, int64_t run_at)
{
	struct store_dbkey k = store_key_name(j->tenant);
	store_key_add(&k, store_row_view(j->h->route));
	store_key_add_u8(&k, (uint8_t)j->h->kind);
	store_key_add_u8(&k, (uint8_t)j->h->priority);
	store_key_add_u64(&k, (uint64_t)run_at);
	store_key_add_u64(&k, j->h->number);
	return k;
}

static struct store_dbkey timer_key(const struct store_job_row *j, int64_t due)
{
	struct store_dbkey k = {.size = 0};
	store_key_add_u64(&k, (uint64_t)due);
	store_key_add_name(&k, j->tenant);
	store_key_add(&k, j->id);
	return k;
}

static struct store_dbkey held_key(const struct store_job_row *j, cc_view holder)
{
	struct store_dbkey k = store_key_name(j->tenant);
	store_key_add_name(&k, holder);
	store_key_add(&k, j->id);
	return k;
}

static struct store_dbkey event_key(const struct store_job_row *j, uint64_t seq)
{
	struct store_dbkey k = store_key_name(j->tenant);
	store_key_add_u64(&k, seq);
	return k;
}

/* ---- state ------------------------------------------------------------------------------------ */

bool store_job_final(const Queue__JobHeader *h)
{
	return h->state >= STORE_DONE;
}

bool store_job_held(const Queue__JobHeader *h)
{
	return h->state >= STORE_LEASED && h->state <= STORE_HELD;
}

/* Measured: an issued PFX with its password and the signed document takes 5 to 7 KiB, and each
 * certificate of the path stands in it twice; a re-wrapped one is answered from the queue's own copy of
 * the file, so it is a password and a document; of a revocation only the outcome is kept.  A larger
 * result is stored all the same and counted as what it is. */
uint64_t store_job_reserve(enum store_kind kind)
{
	static const uint64_t of[STORE_KIND_COUNT] = {
		[STORE_ISSUE] = 16 * 1024,
		[STORE_REWRAP] = 2 * 1024,
		[STORE_REVOKE] = 1024,
		[STORE_CHAIN] = 12 * 1024,
	};
	return (unsigned)kind < STORE_KIND_COUNT ? of[kind] : 0;
}

bool store_job_held_by(const Queue__JobHeader *h, cc_view connector, uint32_t epoch)
{
	return store_job_held(h) && h->epoch == epoch &&
	       cc_view_equal(store_row_view(h->holder), connector);
}

static void let_go(Queue__JobHeader *h)
{
	h->holder = (ProtobufCBinaryData){0};
	h->lease_until_ms = 0;
	h->deadline_ms = 0;
	h->held_since_ms = 0;
	h->park_ref = (ProtobufCBinaryData){0};
	h->listed = 0;
	h->recalled = STORE_RECALLED_NOT;
}

void store_job_to_ready(struct store_tx *x, struct store_job_row *j, int64_t delay_ms)
{
	if (delay_ms > STORE_DELAY_MAX_MS)
		delay_ms = STORE_DELAY_MAX_MS;
	let_go(j->h);
	j->h->state = STORE_READY;
	j->h->run_at_ms = x->now + (delay_ms < 0 ? 0 : delay_ms);
	j->h->given_back = 0;
}

void store_job_to_final(
	struct store_tx *x, struct store_job_row *j, enum store_state state, enum store_dead dead)
{
	let_go(j->h);
	j->h->state = state;
	j->h->dead = dead;
	/* what enqueue set aside for the result is free; put_bundle has counted what it really takes */
	j->h->bytes = j->h->bytes > j->h->reserve ? j->h->bytes - j->h->reserve : 0;
	j->h->reserve = 0;
	j->h->finished_ms = x->now;
}

/* When sweep has to look at the job next. */
static int64_t next_look(const struct store_tx *x, const Queue__JobHeader *h)
{
	switch (h->state) {
	case STORE_READY:
		return h->not_after_ms;
	case STORE_LEASED:
		return h->lease_until_ms;
	case STORE_CLAIMED:
	case STORE_PARKED:
		return h->deadline_ms;
	case STORE_HELD: {
		int64_t due = h->held_since_ms + x->config->takeover_after_ms;
		return due < h->deadline_ms ? due : h->deadline_ms;
	}
	default:
		if (!h->has_document && !h->has_result)
			return h->finished_ms + x->config->header_retention_s * 1000;
		if (h->result_taken && x->config->retention_s * 1000 > TAKEN_RETENTION_MS)
			return h->finished_ms + TAKEN_RETENTION_MS;
		return h->finished_ms + x->config->retention_s * 1000;
	}
}

/* As producers see it: LEASED, CLAIMED and HELD are one. */
static uint32_t outward(uint32_t state)
{
	return state == STORE_CLAIMED || state == STORE_HELD ? STORE_LEASED : state;
}

/* ---- load and save ---------------------------------------------------------------------------- */

static void remember(struct store_job_row *j)
{
	j->old.state = j->h->state;
	j->old.dead = j->h->dead;
	j->old.run_at = j->h->run_at_ms;
	j->old.timer = j->h->timer_ms;
	j->old.holder = store_row_view(j->h->holder);
	j->old.bytes = j->h->bytes;
	j->old.reserve = j->h->reserve;
	j->old.seq = j->h->seq;
	j->fresh = false;
}

cc_err store_job_find(struct store_tx *x, cc_view tenant, cc_view id, struct store_job_row *j)
{
	struct store_dbkey key = store_key_job(tenant, id);
	cc_err err = CC_OK;

	*j = (struct store_job_row){.tenant = tenant, .id = id};
	TRY(store_row_find(x, T_JOB, &key, &queue__job_header__descriptor, &j->h));
	if (j->h == NULL)
		return CC_OK;
	ENSURE(j->h->route.len == ROUTE_SIZE && j->h->state >= STORE_READY &&
			j->h->state < STORE_STATE_COUNT,
		cc_fail(CC_CORRUPT, "store: a job's header"));
	remember(j);
out:
	return err;
}

void store_job_make(struct store_tx *x, cc_view tenant, cc_view id, struct store_job_row *j)
{
	*j = (struct store_job_row){.tenant = tenant, .id = id, .fresh = true};
	j->h = store_mem_get(x->mem, sizeof(*j->h));
	queue__job_header__init(j->h);
}

static cc_err save_ready(struct store_tx *x, struct store_job_row *j)
{
	bool was = !j->fresh && j->old.state == STORE_READY;
	bool is = j->h->state == STORE_READY;
	struct store_dbkey key;
	cc_err err = CC_OK;

	if (was && is && j->old.run_at == j->h->run_at_ms)
		return CC_OK;
	if (was) {
		key = ready_key(j, j->old.run_at);
		TRY(store_row_delete(x, T_READY, &key));
	}
	if (is) {
		key = ready_key(j, j->h->run_at_ms);
		TRY(store_row_put_bytes(x, T_READY, &key, j->id));
	}
out:
	return err;
}

static cc_err save_held(struct store_tx *x, struct store_job_row *j)
{
	cc_view holder = store_row_view(j->h->holder);
	struct store_dbkey key;
	struct store_dbkey listed = {.size = 0};
	cc_err err = CC_OK;

	if (j->old.holder.size > 0 && !cc_view_equal(j->old.holder, holder)) {
		key = held_key(j, j->old.holder);
		TRY(store_row_delete(x, T_HELD, &key));
	}
	if (holder.size > 0) {
		key = held_key(j, holder);
		store_key_add_u64(&listed, j->h->listed);
		TRY(store_row_put_bytes(x, T_HELD, &key, store_key_view(&listed)));
	}
out:
	return err;
}

static cc_err save_timer(struct store_tx *x, struct store_job_row *j)
{
	int64_t due = next_look(x, j->h);
	struct store_dbkey key;
	cc_err err = CC_OK;

	j->h->timer_ms = due;
	if (!j->fresh && j->old.timer == due)
		return CC_OK;
	if (!j->fresh) {
		key = timer_key(j, j->old.timer);
		TRY(store_row_delete(x, T_TIMER, &key));
	}
	key = timer_key(j, due);
	TRY(store_row_put_bytes(x, T_TIMER, &key, j->id));
out:
	return err;
}

static cc_err save_event(struct store_tx *x, struct store_job_row *j)
{
	struct store_dbkey key;
	cc_err err = CC_OK;

	if (!j->fresh && outward(j->old.state) == outward(j->h->state))
		return CC_OK;
	if (!j->fresh) {
		key = event_key(j, j->old.seq);
		TRY(store_row_delete(x, T_EVENT, &key));
	}
	j->h->seq = ++x->quota->last_seq;
	key = event_key(j, j->h->seq);
	TRY(store_row_put_bytes(x, T_EVENT, &key, j->id));
	struct store_hint hint = {.kind = STORE_HINT_EVENT,
		.tenant = j->tenant,
		.job_id = j->id,
		.state = (enum store_state)j->h->state,
		.dead = (enum store_dead)j->h->dead};
	store_op_hint(x->op, &hint);
	if (j->h->state == STORE_READY || store_job_final(j->h)) {
		hint.kind = j->h->state == STORE_READY ? STORE_HINT_READY : STORE_HINT_FINAL;
		store_op_hint(x->op, &hint);
	}
out:
	return err;
}

static void count_job(struct store_tx *x, const struct store_job_row *j)
{
	Queue__Quota *q = x->quota;
	bool was_open = !j->fresh && j->old.state < STORE_DONE;

	if (!j->fresh)
		q->states[j->old.state]--;
	q->states[j->h->state]++;
	q->open_jobs += (uint64_t)!store_job_final(j->h) - (uint64_t)was_open;
	q->bytes += j->h->bytes - (j->fresh ? 0 : j->old.bytes);
	x->aside += j->h->reserve - (j->fresh ? 0 : j->old.reserve);
	x->written += j->fresh ? j->h->bytes - j->h->reserve : 0;
}

cc_err store_job_save(struct store_tx *x, struct store_job_row *j)
{
	struct store_dbkey key = store_job_key(j);
	cc_err err = CC_OK;

	TRY(store_quota_use(x, j->tenant));
	if (j->fresh || j->old.state != j->h->state)
		j->h->changed_ms = x->now;
	TRY(save_ready(x, j));
	TRY(save_held(x, j));
	TRY(save_timer(x, j));
	TRY(save_event(x, j));
	count_job(x, j);
	TRY(store_row_put(x, T_JOB, &key, j->h));
	remember(j);
out:
	return err;
}

/* ---- going ------------------------------------------------------------------------------------ */

/* The bytes go, the header and the outcome stay: late results are still answered right. */
cc_err store_job_drop_payload(struct store_tx *x, struct store_job_row *j)
{
	static const enum store_part parts[] = {
		PART_DOCUMENT, PART_PFX, PART_PASSWORDS, PART_BUNDLE};
	cc_err err = CC_OK;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		struct store_dbkey key = store_job_part_key(j, parts[i]);
		TRY(store_row_delete(x, T_BLOB, &key));
	}
	j->h->has_document = false;
	j->h->has_result = false;
	j->h->bytes = 0;
	j->h->reserve = 0;
out:
	return err;
}

static cc_err drop_rows(struct store_tx *x, enum store_table t, const struct store_dbkey *prefix)
{
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_row_scan(x, t, prefix, NULL, SIZE_MAX, &rows, &count));
	for (size_t i = 0; i < count; i++)
		TRY(db_delete(x->s->db, x->txn, t, rows[i].key));
out:
	return err;
}

static cc_err drop_list_rows(struct store_tx *x, const struct store_job_row *j)
{
	Queue__JobFacts *f;
	cc_err err = CC_OK;

	TRY(store_job_facts(x, j, &f));
	const struct {
		char kind;
		cc_view name;
	} lists[] = {{'n', CC_VIEW_NONE}, {'b', store_row_view(f->batch_id)},
		{'c', store_row_view(f->correlation_id)}};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct store_dbkey key = store_key_name(j->tenant);
		store_key_add_u8(&key, (uint8_t)lists[i].kind);
		store_key_add_name(&key, lists[i].name);
		store_key_add_u64(&key, j->h->number);
		TRY(store_row_delete(x, T_LIST, &key));
	}
out:
	return err;
}

cc_err store_job_drop(struct store_tx *x, struct store_job_row *j)
{
	struct store_dbkey key = store_job_key(j);
	struct store_dbkey timer = timer_key(j, j->old.timer);
	struct store_dbkey event = event_key(j, j->old.seq);
	cc_err err = CC_OK;

	TRY(store_quota_use(x, j->tenant));
	TRY(store_job_drop_payload(x, j));
	TRY(drop_list_rows(x, j));
	TRY(drop_rows(x, T_ATTEMPT, &key));
	TRY(drop_rows(x, T_CLAIM, &key));
	TRY(store_row_delete(x, T_FACTS, &key));
	TRY(store_row_delete(x, T_END, &key));
	TRY(store_row_delete(x, T_TIMER, &timer));
	TRY(store_row_delete(x, T_EVENT, &event));
	TRY(store_row_delete(x, T_JOB, &key));
	TRY(store_route_forget(x, j->tenant, store_row_view(j->h->route)));
	x->quota->states[j->old.state]--;
	x->quota->bytes -= j->old.bytes;
out:
	return err;
}
