/*
 * The embedded store: attempts and claims, the rows by which every certificate that may exist is known.
 *
 * An attempt is one delivery (job, epoch) to one connector; a claim says that its holder is about to
 * ask a CA.  Both outlive takeovers and the end of the job.  A settlement is written once, except that
 * IN_DOUBT may become exact, a NOT_ISSUED claim may be opened again by the same request, and an orphan that
 * was kept is none any more when its certificate wins (store_lmdb_result.c).
 */
#include "cloud-queue/store_lmdb.h"

static struct store_dbkey epoch_key(const struct store_job_row *j, uint32_t epoch)
{
	struct store_dbkey k = store_job_key(j);
	store_key_add_u32(&k, epoch);
	return k;
}

static struct store_dbkey claim_key(const struct store_job_row *j, uint32_t epoch, cc_view ca)
{
	struct store_dbkey k = epoch_key(j, epoch);
	store_key_add(&k, ca);
	return k;
}

cc_err store_attempt_find(
	struct store_tx *x, const struct store_job_row *j, uint32_t epoch, Queue__Attempt **ret)
{
	struct store_dbkey key = epoch_key(j, epoch);
	return store_row_find(x, T_ATTEMPT, &key, &queue__attempt__descriptor, ret);
}

cc_err store_attempt_put(
	struct store_tx *x, const struct store_job_row *j, uint32_t epoch, const Queue__Attempt *a)
{
	struct store_dbkey key = epoch_key(j, epoch);
	return store_row_put(x, T_ATTEMPT, &key, a);
}

cc_err store_attempt_finish(
	struct store_tx *x, const struct store_job_row *j, enum store_attempt_end end)
{
	Queue__Attempt *a;
	cc_err err = CC_OK;

	TRY(store_attempt_find(x, j, j->h->epoch, &a));
	if (a == NULL || a->end != END_OPEN)
		return CC_OK;
	a->end = end;
	TRY(store_attempt_put(x, j, j->h->epoch, a));
out:
	return err;
}

bool store_epoch_may_be_lost(const Queue__JobHeader *h, uint32_t epoch)
{
	return h->kind == STORE_ISSUE && epoch > h->epoch &&
	       epoch - h->epoch <= STORE_EPOCHS_AHEAD_MAX && epoch <= STORE_EPOCH_MAX;
}

cc_err store_epoch_next(struct store_tx *x, const struct store_job_row *j, uint32_t *ret)
{
	uint32_t epoch = j->h->epoch;
	Queue__Attempt *a = NULL;
	cc_err err = CC_OK;

	do {
		epoch++; /* after the last one comes 0 */
		if (epoch > 0)
			TRY(store_attempt_find(x, j, epoch, &a));
	} while (epoch > 0 && a != NULL);
	*ret = epoch;
out:
	return err;
}

cc_err store_attempt_recall(struct store_tx *x, struct store_job_row *j, cc_view connector,
	uint32_t epoch, Queue__Attempt **ret)
{
	Queue__Attempt *a = store_mem_get(x->mem, sizeof(*a));
	cc_err err = CC_OK;

	TRY(store_attempt_finish(x, j, END_LOST));
	queue__attempt__init(a);
	a->connector = store_row_borrow(connector);
	a->run = j->h->run;
	a->leased_ms = x->now;
	j->h->epoch = epoch;
	TRY(store_attempt_put(x, j, epoch, a));
	*ret = a;
out:
	return err;
}

cc_err store_claims_of(struct store_tx *x, const struct store_job_row *j, uint32_t epoch,
	struct store_claim_row **ret, size_t *ret_count)
{
	struct store_dbkey prefix = epoch == 0 ? store_job_key(j) : epoch_key(j, epoch);
	struct store_row *rows;
	struct store_claim_row *claims;
	size_t count;
	cc_err err = CC_OK;

	*ret = NULL;
	*ret_count = 0;
	if (j->h->claims == 0)
		return CC_OK;
	TRY(store_row_scan(x, T_CLAIM, &prefix, NULL, SIZE_MAX, &rows, &count));
	claims = store_mem_get(x->mem, count * sizeof(*claims));
	for (size_t i = 0; i < count; i++) {
		size_t job_key = store_job_key(j).size;
		cc_view rest = cc_view_part(rows[i].key, job_key, rows[i].key.size - job_key);
		TRY(store_key_take_u32(&rest, &claims[i].epoch));
		claims[i].ca = rest;
		TRY(store_row_unpack(
			x, &queue__claim_row__descriptor, rows[i].value, &claims[i].row));
	}
	*ret = claims;
	*ret_count = count;
out:
	return err;
}

static cc_err put_claim(
	struct store_tx *x, const struct store_job_row *j, const struct store_claim_row *c)
{
	struct store_dbkey key = claim_key(j, c->epoch, c->ca);
	return store_row_put(x, T_CLAIM, &key, c->row);
}

/* IN_DOUBT is reported with the connector that made the claim. */
static cc_err tell_doubt(
	struct store_tx *x, const struct store_job_row *j, const struct store_claim_row *c)
{
	Queue__Attempt *a;
	cc_err err = CC_OK;

	TRY(store_attempt_find(x, j, c->epoch, &a));
	struct store_hint hint = {.kind = STORE_HINT_IN_DOUBT,
		.tenant = j->tenant,
		.job_id = j->id,
		.epoch = c->epoch,
		.text = c->ca,
		.connector = a == NULL ? CC_VIEW_NONE : store_row_view(a->connector)};
	store_op_hint(x->op, &hint);
out:
	return err;
}

cc_err store_claim_settle(struct store_tx *x, struct store_job_row *j, struct store_claim_row *c,
	enum store_settlement outcome, cc_view cert_sha256)
{
	bool was_open = c->row->settlement == STORE_UNSETTLED;
	cc_err err = CC_OK;

	if (outcome == STORE_IN_DOUBT) {
		c->row->was_in_doubt = true;
		TRY(tell_doubt(x, j, c));
	}
	c->row->settlement = outcome;
	c->row->settled_ms = outcome == STORE_UNSETTLED ? 0 : x->now;
	if (cert_sha256.size > 0)
		c->row->cert_sha256 = store_row_borrow(cert_sha256);
	if (was_open && outcome != STORE_UNSETTLED)
		j->h->open_claims--;
	if (!was_open && outcome == STORE_UNSETTLED)
		j->h->open_claims++;
	TRY(put_claim(x, j, c));
out:
	return err;
}

cc_err store_claims_settle(
	struct store_tx *x, struct store_job_row *j, uint32_t epoch, enum store_settlement outcome)
{
	struct store_claim_row *claims;
	size_t count;
	cc_err err = CC_OK;

	if (j->h->open_claims == 0)
		return CC_OK;
	TRY(store_claims_of(x, j, epoch, &claims, &count));
	for (size_t i = 0; i < count; i++) {
		if (claims[i].row->settlement == STORE_UNSETTLED)
			TRY(store_claim_settle(x, j, &claims[i], outcome, CC_VIEW_NONE));
	}
out:
	return err;
}

/* ---- claim ------------------------------------------------------------------------------------ */

static bool same_request(const Queue__ClaimRow *row, const struct store_claim *c)
{
	return cc_view_equal(store_row_view(row->csr_sha256), c->csr_sha256) &&
	       cc_view_equal(store_row_view(row->spki_sha256), c->spki_sha256) &&
	       cc_view_equal(store_row_view(row->txid), c->txid);
}

cc_err store_claim_make(struct store_tx *x, struct store_job_row *j, const struct store_claim *c,
	struct store_claim_row *ret)
{
	Queue__ClaimRow *row = store_mem_get(x->mem, sizeof(*row));

	queue__claim_row__init(row);
	row->csr_sha256 = store_row_borrow(c->csr_sha256);
	row->spki_sha256 = store_row_borrow(c->spki_sha256);
	row->txid = store_row_borrow(c->txid);
	row->claimed_ms = x->now;
	j->h->claims++;
	j->h->open_claims++;
	*ret = (struct store_claim_row){.epoch = c->epoch, .ca = c->ca, .row = row};
	return put_claim(x, j, ret);
}

static int64_t claimed_until(const struct store_tx *x, const Queue__JobHeader *h)
{
	return (h->not_after_ms > x->now ? h->not_after_ms : x->now) + x->config->deadline_grace_ms;
}

void store_job_to_claimed(
	const struct store_tx *x, struct store_job_row *j, const struct store_session *s)
{
	j->h->state = STORE_CLAIMED;
	j->h->holder = store_row_borrow(s->connector);
	j->h->listed = s->epoch;
	j->h->lease_until_ms = 0;
	j->h->held_since_ms = 0;
	j->h->park_ref = (ProtobufCBinaryData){0};
	j->h->deadline_ms = claimed_until(x, j->h);
}

/* A claim that is repeated changes nothing; a new one of a parked job means that its holder goes to
 * another CA, so the job is not one that waits for a CA's operator any more. */
static void to_claimed(struct store_tx *x, struct store_job_row *j, bool renewed)
{
	if (j->h->state != STORE_LEASED && !(renewed && j->h->state == STORE_PARKED))
		return;
	j->h->state = STORE_CLAIMED;
	j->h->lease_until_ms = 0;
	j->h->park_ref = (ProtobufCBinaryData){0};
	j->h->deadline_ms = claimed_until(x, j->h);
}

/* The job is this connector's: may it ask this CA? */
static cc_err grant(struct store_tx *x, struct store_job_row *j, const struct store_claim *c,
	enum store_result *ret)
{
	struct store_claim_row *claims, *same = NULL, made;
	size_t count;
	bool renewed = false;
	cc_err err = CC_OK;

	TRY(store_claims_of(x, j, c->epoch, &claims, &count));
	*ret = STORE_CONFLICT;
	for (size_t i = 0; i < count; i++) {
		if (cc_view_equal(claims[i].ca, c->ca))
			same = &claims[i];
		else if (claims[i].row->settlement != STORE_NOT_ISSUED)
			return CC_OK;
	}
	if (same != NULL && !same_request(same->row, c))
		return CC_OK;
	if (same != NULL && (same->row->settlement == STORE_UNSETTLED ||
				    same->row->settlement == STORE_IN_DOUBT)) {
		*ret = STORE_GRANTED;
	} else if (same != NULL && same->row->settlement != STORE_NOT_ISSUED) {
		return CC_OK;
	} else if (x->now > j->h->not_after_ms) {
		*ret = STORE_EXPIRED;
	} else {
		TRY(same != NULL ? store_claim_settle(x, j, same, STORE_UNSETTLED, CC_VIEW_NONE)
				 : store_claim_make(x, j, c, &made));
		renewed = true;
		*ret = STORE_GRANTED;
	}
	if (*ret == STORE_GRANTED) {
		to_claimed(x, j, renewed);
		TRY(store_job_save(x, j));
	}
out:
	return err;
}

/* While a store that went back waits for offers, no CA is asked: the job may be done already. */
static cc_err claim_one(struct store_tx *x, const struct store_session *s,
	const struct store_claim *c, bool waits, struct store_item_verdict *ret)
{
	struct store_job_row j;
	cc_err err = CC_OK;

	*ret = (struct store_item_verdict){.job_id = c->job_id, .epoch = c->epoch, .ca = c->ca};
	TRY(store_session_item(x, s, ret, &j));
	if (ret->result == STORE_KEEP && waits)
		ret->result = STORE_ON_HOLD;
	else if (ret->result == STORE_KEEP)
		TRY(grant(x, &j, c, &ret->result));
out:
	return err;
}

cc_err store_lmdb_claim(
	struct store_tx *x, const struct store_claim_in *in, struct store_claim_out *out)
{
	struct store_item_verdict *items;
	bool waits;
	cc_err err = CC_OK;

	TRY(store_session_items(x, &in->session, in->count, &items, &out->result));
	TRY(store_restored_waits(x, in->session.tenant, &waits));
	for (size_t i = 0; items != NULL && i < in->count; i++)
		TRY(claim_one(x, &in->session, &in->claims[i], waits, &items[i]));
	out->items = items;
	out->count = items == NULL ? 0 : in->count;
out:
	return err;
}

/* ---- park and settle -------------------------------------------------------------------------- */

cc_err store_lmdb_park(
	struct store_tx *x, const struct store_park_in *in, struct store_park_out *out)
{
	Queue__Session *session;
	struct store_job_row j;
	cc_err err = CC_OK;

	out->result = STORE_SUPERSEDED;
	TRY(store_session_current(x, &in->session, &session));
	if (session == NULL)
		return CC_OK;
	TRY(store_job_find(x, in->session.tenant, in->job_id, &j));
	TRY(store_session_verdict(
		x, &j, in->session.connector, in->epoch, &out->result, &out->winner));
	if (out->result != STORE_KEEP)
		return CC_OK;
	if (j.h->state != STORE_CLAIMED && j.h->state != STORE_PARKED) {
		out->result = STORE_LOST;
		return CC_OK;
	}
	j.h->state = STORE_PARKED;
	j.h->deadline_ms =
		x->now + (in->deadline_ms > 0 ? in->deadline_ms : 0) + x->config->deadline_grace_ms;
	j.h->park_ref = store_row_borrow(in->ref);
	TRY(store_job_save(x, &j));
out:
	return err;
}

/* A HELD job whose certificates are all known not to exist can be done elsewhere. */
static cc_err release_if_clear(
	struct store_tx *x, struct store_job_row *j, cc_view connector, uint32_t epoch)
{
	struct store_claim_row *claims;
	size_t count;
	cc_err err = CC_OK;

	if (j->h->state != STORE_HELD || !store_job_held_by(j->h, connector, epoch))
		return CC_OK;
	TRY(store_claims_of(x, j, epoch, &claims, &count));
	for (size_t i = 0; i < count; i++) {
		if (claims[i].row->settlement != STORE_NOT_ISSUED)
			return CC_OK;
	}
	TRY(store_attempt_finish(x, j, END_GIVEN_BACK));
	store_job_to_ready(x, j, 0);
out:
	return err;
}

static enum store_result judge_settlement(const Queue__ClaimRow *row, enum store_settlement outcome)
{
	if (outcome == STORE_UNSETTLED || outcome == STORE_WINNER)
		return row->settlement == outcome ? STORE_DUPLICATE_SAME : STORE_CONFLICT;
	if (row->settlement == outcome)
		return STORE_DUPLICATE_SAME;
	if (row->settlement == STORE_UNSETTLED || row->settlement == STORE_IN_DOUBT)
		return STORE_OK;
	return STORE_CONFLICT;
}

cc_err store_lmdb_settle(
	struct store_tx *x, const struct store_settle_in *in, struct store_settle_out *out)
{
	struct store_job_row j;
	struct store_claim_row claim = {.epoch = in->epoch, .ca = in->ca};
	struct store_dbkey key;
	Queue__Attempt *a;
	bool replaced;
	cc_err err = CC_OK;

	TRY(store_connector_replaced(
		x, in->tenant, in->connector, in->transport_sha256, &replaced));
	out->result = STORE_SUPERSEDED;
	if (replaced)
		return CC_OK;
	out->result = STORE_UNKNOWN_ATTEMPT;
	TRY(store_job_find(x, in->tenant, in->job_id, &j));
	if (j.h == NULL)
		return store_lost_settle(x, in);
	TRY(store_attempt_find(x, &j, in->epoch, &a));
	if (a == NULL || !cc_view_equal(store_row_view(a->connector), in->connector))
		return CC_OK;
	key = claim_key(&j, in->epoch, in->ca);
	TRY(store_row_find(x, T_CLAIM, &key, &queue__claim_row__descriptor, &claim.row));
	if (claim.row == NULL)
		return CC_OK;
	out->result = judge_settlement(claim.row, in->outcome);
	if (out->result != STORE_OK)
		return CC_OK;
	TRY(store_claim_settle(x, &j, &claim, in->outcome, in->certificate.sha256));
	TRY(release_if_clear(x, &j, in->connector, in->epoch));
	TRY(store_job_save(x, &j));
out:
	return err;
}
