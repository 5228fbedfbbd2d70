/*
 * The embedded store: jobs that it has lost, of which a connector has offered a claim or a result.
 *
 * What was offered is kept for as long as the connector keeps it.  When the producer submits such a job
 * again (the same id), it is not free: the claims go on record, and it belongs to the connector that has
 * its result (CLAIMED), or that still has to find out what became of its request (HELD, rule 7).  That
 * connector is told so at once, and after each resume until the job is another's or over.
 *
 * Rows in one table: 'k'‖tenant‖job id‖connector‖epoch is what is asked for, 't'‖until‖tenant‖job id‖
 * connector‖epoch is what sweep takes from the front: one lease has one claim that counts.
 * 'n'‖tenant‖connector counts them: none takes another's room.
 */
#include "cloud-queue/store_lmdb.h"

#include <stdlib.h>

#define KEPT_MS (7 * 86400 * INT64_C(1000))

/* ---- rows ----------------------------------------------------------------------------------------- */

struct lost {
	cc_view connector;
	Queue__Offered *row;
};

static struct store_dbkey job_key(cc_view tenant, cc_view job_id)
{
	struct store_dbkey k = {.size = 0};

	store_key_add_u8(&k, 'k');
	store_key_add_name(&k, tenant);
	store_key_add(&k, job_id);
	return k;
}

static struct store_dbkey row_key(cc_view tenant, cc_view job_id, cc_view connector, uint32_t epoch)
{
	struct store_dbkey k = job_key(tenant, job_id);

	store_key_add_name(&k, connector);
	store_key_add_u32(&k, epoch);
	return k;
}

static struct store_dbkey timer_key(
	int64_t until_ms, cc_view tenant, cc_view job_id, cc_view connector, uint32_t epoch)
{
	struct store_dbkey k = {.size = 0};

	store_key_add_u8(&k, 't');
	store_key_add_u64(&k, (uint64_t)until_ms);
	store_key_add_name(&k, tenant);
	store_key_add(&k, job_id);
	store_key_add_name(&k, connector);
	store_key_add_u32(&k, epoch);
	return k;
}

static cc_err find(struct store_tx *x, cc_view tenant, cc_view job_id, cc_view connector,
	uint32_t epoch, Queue__Offered **ret)
{
	struct store_dbkey key = row_key(tenant, job_id, connector, epoch);
	return store_row_find(x, T_LOST, &key, &queue__offered__descriptor, ret);
}

/* How many rows the connector has, `by` more than before. */
static cc_err count_rows(
	struct store_tx *x, cc_view tenant, cc_view connector, int64_t by, uint64_t *ret)
{
	struct store_dbkey key = {.size = 0}, count = {.size = 0};
	cc_view value;
	uint64_t rows = 0;
	cc_err err = CC_OK;

	store_key_add_u8(&key, 'n');
	store_key_add_name(&key, tenant);
	store_key_add_name(&key, connector);
	TRY(store_row_find_bytes(x, T_LOST, &key, &value));
	if (value.size == 8)
		rows = cc_get_u64(value.data);
	rows = by < 0 && rows == 0 ? 0 : rows + (uint64_t)by;
	store_key_add_u64(&count, rows);
	if (rows == 0)
		TRY(store_row_delete(x, T_LOST, &key));
	else if (by != 0)
		TRY(store_row_put_bytes(x, T_LOST, &key, store_key_view(&count)));
	*ret = rows;
out:
	return err;
}

static cc_err forget(struct store_tx *x, cc_view tenant, cc_view job_id, cc_view connector,
	const Queue__Offered *row)
{
	struct store_dbkey key = row_key(tenant, job_id, connector, row->epoch);
	struct store_dbkey timer = timer_key(row->until_ms, tenant, job_id, connector, row->epoch);
	uint64_t rows;
	cc_err err = CC_OK;

	TRY(store_row_delete(x, T_LOST, &key));
	TRY(store_row_delete(x, T_LOST, &timer));
	TRY(count_rows(x, tenant, connector, -1, &rows));
out:
	return err;
}

static void tell_full(
	struct store_tx *x, const struct store_session *s, cc_view job_id, const char *text)
{
	struct store_hint hint = {.kind = STORE_HINT_OFFER_CUT,
		.tenant = s->tenant,
		.job_id = job_id,
		.connector = s->connector,
		.text = cc_view_text(text)};

	store_op_hint(x->op, &hint);
}

/* ---- what is offered, and what becomes of it meanwhile -------------------------------------------- */

/* Of one job no more than its next holder is told of. */
static cc_err has_room(struct store_tx *x, const struct store_session *s, cc_view job_id, bool *ret)
{
	struct store_dbkey prefix = job_key(s->tenant, job_id);
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	store_key_add_name(&prefix, s->connector);
	TRY(store_row_scan(x, T_LOST, &prefix, NULL, STORE_CLAIMS_MAX, &rows, &count));
	*ret = count < STORE_CLAIMS_MAX;
	if (count + 1 == STORE_CLAIMS_MAX)
		tell_full(x, s, job_id, "the job has too many claims"); /* this one is the last */
out:
	return err;
}

cc_err store_lost_note(
	struct store_tx *x, const struct store_session *s, const struct store_offered *item)
{
	struct store_dbkey key = row_key(s->tenant, item->job_id, s->connector, item->epoch);
	struct store_dbkey timer =
		timer_key(x->now + KEPT_MS, s->tenant, item->job_id, s->connector, item->epoch);
	Queue__Offered row = QUEUE__OFFERED__INIT, *old;
	Queue__Certificate certificate = QUEUE__CERTIFICATE__INIT;
	uint64_t rows;
	bool room;
	cc_err err = CC_OK;

	TRY(find(x, s->tenant, item->job_id, s->connector, item->epoch, &old));
	if (old != NULL)
		TRY(forget(x, s->tenant, item->job_id, s->connector, old));
	TRY(count_rows(x, s->tenant, s->connector, 0, &rows));
	TRY(has_room(x, s, item->job_id, &room));
	if (rows >= x->config->offers_kept_max || !room)
		return CC_OK;
	TRY(count_rows(x, s->tenant, s->connector, 1, &rows));
	if (rows == x->config->offers_kept_max)
		tell_full(x, s, CC_VIEW_NONE,
			"it named too many jobs that are not known"); /* this one was the last */
	certificate.sha256 = store_row_borrow(item->certificate.sha256);
	row.epoch = item->epoch;
	row.success = item->success;
	row.settlement = item->settle;
	row.certificate = &certificate;
	row.ca = store_row_borrow(item->ca);
	row.csr_sha256 = store_row_borrow(item->csr_sha256);
	row.spki_sha256 = store_row_borrow(item->spki_sha256);
	row.txid = store_row_borrow(item->txid);
	row.until_ms = x->now + KEPT_MS;
	TRY(store_row_put(x, T_LOST, &key, &row));
	TRY(store_row_put_bytes(x, T_LOST, &timer, cc_view_text("t")));
out:
	return err;
}

cc_err store_lost_settle(struct store_tx *x, const struct store_settle_in *in)
{
	struct store_dbkey key = row_key(in->tenant, in->job_id, in->connector, in->epoch);
	Queue__Offered *row;
	cc_err err = CC_OK;

	TRY(find(x, in->tenant, in->job_id, in->connector, in->epoch, &row));
	if (row == NULL || row->success || !cc_view_equal(store_row_view(row->ca), in->ca))
		return CC_OK;
	if (in->outcome == STORE_NOT_ISSUED)
		return forget(x, in->tenant, in->job_id, in->connector, row);
	row->settlement = in->outcome;
	if (in->certificate.sha256.size > 0)
		row->certificate->sha256 = store_row_borrow(in->certificate.sha256);
	TRY(store_row_put(x, T_LOST, &key, row));
out:
	return err;
}

cc_err store_lost_sweep(struct store_tx *x, size_t limit, bool *ret_more)
{
	struct store_dbkey timers = {.size = 0};
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	store_key_add_u8(&timers, 't');
	TRY(store_row_scan(x, T_LOST, &timers, NULL, limit, &rows, &count));
	for (size_t i = 0; i < count; i++) {
		cc_view rest = cc_view_part(rows[i].key, timers.size, rows[i].key.size);
		cc_view tenant, job_id, connector;
		Queue__Offered row = QUEUE__OFFERED__INIT;
		uint64_t until;
		TRY(store_key_take_u64(&rest, &until));
		if (until > (uint64_t)x->now)
			return CC_OK;
		TRY(store_key_take_name(&rest, &tenant));
		TRY(store_key_take(&rest, STORE_JOB_ID_SIZE, &job_id));
		TRY(store_key_take_name(&rest, &connector));
		TRY(store_key_take_u32(&rest, &row.epoch));
		row.until_ms = (int64_t)until;
		TRY(forget(x, tenant, job_id, connector, &row));
	}
	*ret_more = count == limit;
out:
	return err;
}

/* ---- the job is submitted again ------------------------------------------------------------------- */

static cc_err load(
	struct store_tx *x, const struct store_job_row *j, struct lost **ret, size_t *ret_count)
{
	struct store_dbkey prefix = job_key(j->tenant, j->id);
	struct store_row *rows;
	struct lost *all;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_row_scan(x, T_LOST, &prefix, NULL, SIZE_MAX, &rows, &count));
	all = store_mem_get(x->mem, (count + 1) * sizeof(*all));
	for (size_t i = 0; i < count; i++) {
		cc_view rest = cc_view_part(rows[i].key, prefix.size, rows[i].key.size);
		TRY(store_key_take_name(&rest, &all[i].connector));
		TRY(store_row_unpack(x, &queue__offered__descriptor, rows[i].value, &all[i].row));
		TRY(forget(x, j->tenant, j->id, all[i].connector, all[i].row));
	}
	*ret = all;
	*ret_count = count;
out:
	return err;
}

static bool is_open(const Queue__Offered *row)
{
	return !row->success && row->settlement == STORE_UNSETTLED;
}

/* 2: its result exists; 1: it may yet; 0: its connector has ended it. */
static int rank(const struct lost *l)
{
	return l->row->success ? 2 : is_open(l->row);
}

static int by_epoch(const void *a, const void *b)
{
	const struct lost *first = a, *second = b;

	return (first->row->epoch > second->row->epoch) - (first->row->epoch < second->row->epoch);
}

/* The one whose connector gets the job is the last, so that its epoch is the job's; the newest where there are
 * several.  The others are in the order of their epochs, so that these can stay as they are. */
static void put_owner_last(struct lost *all, size_t count)
{
	for (size_t i = 0; i + 1 < count; i++) {
		struct lost last = all[count - 1];
		int more = rank(&all[i]) - rank(&last);
		if (more > 0 || (more == 0 && by_epoch(&all[i], &last) > 0)) {
			all[count - 1] = all[i];
			all[i] = last;
		}
	}
	qsort(all, count - 1, sizeof(*all), by_epoch);
}

static bool knows_claim(const Queue__Offered *row)
{
	return row->ca.len > 0 && row->csr_sha256.len == STORE_DIGEST_SIZE &&
	       row->spki_sha256.len == STORE_DIGEST_SIZE && row->txid.len == 16;
}

/* Of one that is not asked for its result now, and of each that had ended, it is on record that the job may get
 * a second certificate. */
static cc_err put_claim(
	struct store_tx *x, struct store_job_row *j, const struct lost *l, bool owner)
{
	const Queue__Offered *row = l->row;
	struct store_claim claim = {.job_id = j->id,
		.epoch = j->h->epoch,
		.ca = store_row_view(row->ca),
		.csr_sha256 = store_row_view(row->csr_sha256),
		.spki_sha256 = store_row_view(row->spki_sha256),
		.txid = store_row_view(row->txid)};
	cc_view sha256 =
		row->certificate != NULL ? store_row_view(row->certificate->sha256) : CC_VIEW_NONE;
	struct store_claim_row made;
	cc_err err = CC_OK;

	if (!knows_claim(row) || (!owner && j->h->claims + 1 >= STORE_CLAIMS_MAX))
		return CC_OK;
	TRY(store_claim_make(x, j, &claim, &made));
	TRY(store_claim_settle(
		x, j, &made, owner && row->success ? STORE_UNSETTLED : STORE_IN_DOUBT, sha256));
	if (row->settlement != STORE_UNSETTLED && row->settlement != STORE_IN_DOUBT)
		TRY(store_claim_settle(
			x, j, &made, (enum store_settlement)row->settlement, sha256));
out:
	return err;
}

static cc_err recall(struct store_tx *x, struct store_job_row *j, const struct lost *l, bool owner)
{
	uint32_t epoch = l->row->epoch;
	Queue__Attempt *a;
	cc_err err = CC_OK;

	if (!store_epoch_may_be_lost(j->h, epoch))
		epoch = j->h->epoch + 1;
	TRY(store_attempt_recall(x, j, l->connector, epoch, &a));
	TRY(put_claim(x, j, l, owner));
out:
	return err;
}

/* Its takeover counts from the end of its session, also where that was long ago. */
static cc_err give_to(struct store_tx *x, struct store_job_row *j, const struct lost *l)
{
	struct store_session s = {.tenant = j->tenant, .connector = l->connector};
	Queue__Session *session;
	cc_err err = CC_OK;

	TRY(store_session_find(x, s.tenant, s.connector, &session));
	if (session == NULL)
		return store_attempt_finish(x, j, END_LOST);
	s.epoch = session->epoch;
	store_job_to_claimed(x, j, &s);
	store_job_recall(x, j, l->row->success ? STORE_RECALLED_RESULT : STORE_RECALLED_CLAIM);
	if (!l->row->success) {
		j->h->state = STORE_HELD;
		j->h->held_since_ms = x->now;
	}
	if (session->taken_over) {
		session->taken_over = false;
		TRY(store_session_put(x, s.tenant, s.connector, session));
	}
	store_lost_tell(x, j);
out:
	return err;
}

cc_err store_lost_take(struct store_tx *x, struct store_job_row *j)
{
	struct lost *all;
	size_t count;
	cc_err err = CC_OK;

	if (j->h->kind != STORE_ISSUE)
		return CC_OK;
	TRY(load(x, j, &all, &count));
	if (count == 0)
		return CC_OK;
	put_owner_last(all, count);
	for (size_t i = 0; i < count; i++)
		TRY(recall(x, j, &all[i], i + 1 == count));
	if (rank(&all[count - 1]) > 0)
		TRY(give_to(x, j, &all[count - 1]));
	else
		TRY(store_attempt_finish(x, j, END_LOST));
out:
	return err;
}

void store_job_recall(const struct store_tx *x, struct store_job_row *j, enum store_recalled what)
{
	j->h->recalled = what;
	j->h->recalled_ms = x->now;
}

void store_lost_tell(struct store_tx *x, const struct store_job_row *j)
{
	struct store_hint hint = {.kind = STORE_HINT_RECALLED,
		.tenant = j->tenant,
		.job_id = j->id,
		.connector = store_row_view(j->h->holder),
		.epoch = j->h->epoch,
		.verdict = j->h->recalled == STORE_RECALLED_RESULT ? STORE_SEND : STORE_SAME};

	if (j->h->recalled != STORE_RECALLED_NOT && hint.connector.size > 0)
		store_op_hint(x->op, &hint);
}
