/*
 * The embedded store: a store that went back in time hears what its connectors finished meanwhile.
 *
 * Each connector offers the headers of the jobs that are over in its journal.  What the store has lost is
 * put right in the transaction of the page, before the answer: a job that was done is its connector's
 * until the result has come again, and a claim that is open, or left a certificate, is on record, so that the
 * next holder of the job asks the CA for it first.  Nothing here makes a job final.
 *
 * Work waits until every connector that the store knows has offered, or restored_wait is over.
 */
#include "cloud-queue/store_lmdb.h"

#define IDLE_MS (5 * 60 * 1000) /* an offer without a page for so long has ended */

/* ---- who is waited for --------------------------------------------------------------------------- */

/* A session's key is its connector's. */
static cc_err is_missing(struct store_tx *x, const struct store_row *row, bool *ret)
{
	Queue__Session *session;
	Queue__Connector *connector;
	struct store_dbkey key = {.size = 0};
	cc_err err = CC_OK;

	TRY(store_row_unpack(x, &queue__session__descriptor, row->value, &session));
	*ret = false;
	if (!session->restored || session->epoch == 0)
		return CC_OK;
	store_key_add(&key, row->key);
	TRY(store_row_find(x, T_CONN, &key, &queue__connector__descriptor, &connector));
	*ret = connector != NULL && !connector->disabled;
out:
	return err;
}

cc_err store_restored_waits(struct store_tx *x, cc_view tenant, bool *ret)
{
	struct store_dbkey prefix = {.size = 0};
	struct store_row *rows;
	size_t count;
	bool waits = false;
	cc_err err = CC_OK;

	*ret = false;
	if (x->now >= x->s->restored_until_ms)
		return CC_OK;
	if (tenant.size > 0)
		prefix = store_key_name(tenant);
	TRY(store_row_scan(x, T_SESSION, &prefix, NULL, SIZE_MAX, &rows, &count));
	for (size_t i = 0; i < count && !waits; i++)
		TRY(is_missing(x, &rows[i], &waits));
	*ret = waits;
out:
	return err;
}

cc_err store_restored_came(struct store_tx *x, cc_view tenant)
{
	struct store_hint hint = {.kind = STORE_HINT_READY, .tenant = tenant};
	bool waits;
	cc_err err = CC_OK;

	if (x->now >= x->s->restored_until_ms)
		return CC_OK;
	TRY(store_restored_waits(x, tenant, &waits));
	if (!waits)
		store_op_hint(x->op, &hint);
out:
	return err;
}

/* ---- one job -------------------------------------------------------------------------------------- */

struct offer {
	struct store_tx *x;
	const struct store_session *s;
	const struct store_offered *item;
	struct store_job_row j;
	uint32_t epoch; /* of the attempt, as this store numbers it; 0: there is none */
};

static bool is_mine(const struct offer *o, ProtobufCBinaryData connector)
{
	return cc_view_equal(store_row_view(connector), o->s->connector);
}

/* Who holds it has to know that it is another's. */
static cc_err take_away(struct offer *o)
{
	cc_view holder = store_row_view(o->j.h->holder);
	bool mine = is_mine(o, o->j.h->holder);
	cc_err err = CC_OK;

	if (!store_job_held(o->j.h))
		return CC_OK;
	if (!mine && o->j.h->state != STORE_LEASED)
		return store_job_take_over(o->x, &o->j);
	TRY(store_attempt_finish(
		o->x, &o->j, o->j.h->state == STORE_LEASED ? END_LOST : END_TAKEN_OVER));
	if (!mine)
		TRY(store_job_tell_gone(o->x, &o->j, holder, STORE_LOST));
	store_job_to_ready(o->x, &o->j, 0);
out:
	return err;
}

static bool knows_claim(const struct store_offered *item)
{
	return item->ca.size > 0 && item->csr_sha256.size == STORE_DIGEST_SIZE &&
	       item->spki_sha256.size == STORE_DIGEST_SIZE && item->txid.size == 16;
}

static bool is_claim(const struct store_claim_row *c, const struct store_offered *item)
{
	return cc_view_equal(c->ca, item->ca) &&
	       cc_view_equal(store_row_view(c->row->csr_sha256), item->csr_sha256) &&
	       cc_view_equal(store_row_view(c->row->spki_sha256), item->spki_sha256) &&
	       cc_view_equal(store_row_view(c->row->txid), item->txid);
}

/* What became of the same request in an earlier run; it is open again since, or has made a certificate. */
static bool is_earlier_run(const struct store_claim_row *c, const struct store_offered *item)
{
	bool open = !item->success && item->settle == STORE_UNSETTLED;

	switch (c->row->settlement) {
	case STORE_NOT_ISSUED:
		return c->epoch != item->epoch;
	case STORE_ORPHAN_REVOKED:
	case STORE_ORPHAN_KEPT:
		return open && c->epoch != item->epoch;
	default:
		return false;
	}
}

/* The lease that it names if that has this claim, else the newest of this connector that has it: an offer that was cut
 * off may have given it a number. */
static cc_err find_claimed(struct offer *o, uint32_t *ret)
{
	struct store_claim_row *claims;
	Queue__Attempt *a;
	size_t count;
	cc_err err = CC_OK;

	*ret = 0;
	TRY(store_claims_of(o->x, &o->j, 0, &claims, &count));
	for (size_t i = 0; i < count; i++) {
		if (!is_claim(&claims[i], o->item) || is_earlier_run(&claims[i], o->item))
			continue;
		TRY(store_attempt_find(o->x, &o->j, claims[i].epoch, &a));
		if (a != NULL && is_mine(o, a->connector) && (*ret == 0 || *ret != o->item->epoch))
			*ret = claims[i].epoch;
	}
out:
	return err;
}

/* The lease that is on record already; for a success only the job's current one will do, which it is asked for under
 * whatever it says the second time. */
static cc_err find_known(struct offer *o, const Queue__Attempt *a, bool newest)
{
	uint32_t offered = a != NULL && is_mine(o, a->connector) ? o->item->epoch : 0;
	uint32_t current = o->j.h->epoch, claimed;
	bool is_called = o->j.h->recalled == STORE_RECALLED_RESULT && is_mine(o, o->j.h->holder);
	cc_err err = CC_OK;

	TRY(find_claimed(o, &claimed));
	if (!newest && offered > 0 && store_job_held_by(o->j.h, o->s->connector, offered))
		o->epoch = offered; /* it was listed, and goes on */
	else if (!newest)
		o->epoch = claimed > 0 ? claimed : offered;
	else if (current > 0 && (is_called || offered == current || claimed == current))
		o->epoch = current;
out:
	return err;
}

/* On record beside the job's current lease, which goes on. */
static cc_err put_aside(struct offer *o, bool is_free)
{
	Queue__Attempt row = QUEUE__ATTEMPT__INIT;
	uint32_t epoch = o->item->epoch;
	cc_err err = CC_OK;

	if (!is_free || (epoch > o->j.h->epoch && !store_epoch_may_be_lost(o->j.h, epoch)))
		TRY(store_epoch_next(o->x, &o->j, &epoch));
	row.connector = store_row_borrow(o->s->connector);
	row.run = o->j.h->run;
	row.leased_ms = o->x->now;
	row.end = END_LOST;
	TRY(store_attempt_put(o->x, &o->j, epoch, &row));
	o->epoch = epoch;
out:
	return err;
}

/* What another one has claimed, only a success takes; what waits for a CA's operator, nobody. */
static bool stays(const struct offer *o, bool newest)
{
	switch (o->j.h->state) {
	case STORE_PARKED:
		return !newest || !is_mine(o, o->j.h->holder);
	case STORE_CLAIMED:
	case STORE_HELD:
		return !newest;
	default:
		return false;
	}
}

/* The offered lease, as this store numbers it: under its own epoch where that is free.  Beyond the last epoch
 * nothing is taken. */
static cc_err recall(struct offer *o, bool newest)
{
	Queue__JobHeader *h = o->j.h;
	uint32_t wanted = o->item->epoch;
	Queue__Attempt *a;
	cc_err err = CC_OK;

	TRY(store_attempt_find(o->x, &o->j, wanted, &a));
	TRY(find_known(o, a, newest && !stays(o, newest)));
	if (o->epoch > 0 || h->epoch >= STORE_EPOCH_MAX)
		return CC_OK;
	if (stays(o, newest))
		return put_aside(o, a == NULL);
	TRY(take_away(o));
	if ((a != NULL && !is_mine(o, a->connector)) || !store_epoch_may_be_lost(h, wanted))
		TRY(store_epoch_next(o->x, &o->j, &wanted));
	TRY(store_attempt_recall(o->x, &o->j, o->s->connector, wanted, &a));
	o->epoch = wanted;
out:
	return err;
}

static void tell_full(struct offer *o)
{
	struct store_hint hint = {.kind = STORE_HINT_OFFER_CUT,
		.tenant = o->s->tenant,
		.job_id = o->item->job_id,
		.connector = o->s->connector,
		.text = cc_view_text("the job has too many claims")};

	store_op_hint(o->x->op, &hint);
}

/* The claim of a job that is not its connector's now, or of which it has ended: another may have got a certificate
 * for the job, or will, and the row that said why is lost with the claim.  So it was in doubt, whatever is known of
 * it now. */
static cc_err note_doubt(struct offer *o, struct store_claim_row *c, enum store_settlement outcome)
{
	bool goes_on =
		outcome == STORE_UNSETTLED && store_job_held_by(o->j.h, o->s->connector, o->epoch);

	if (outcome == STORE_IN_DOUBT || goes_on)
		return CC_OK;
	return store_claim_settle(o->x, &o->j, c, STORE_IN_DOUBT, CC_VIEW_NONE);
}

/* One that is settled exactly stays so; but a request that had made nothing when the copy was made may have been asked
 * again since, as long as its job goes on. */
static bool is_news(
	const struct offer *o, const struct store_claim_row *c, enum store_settlement outcome)
{
	switch (c->row->settlement) {
	case STORE_UNSETTLED:
	case STORE_IN_DOUBT:
		return outcome != STORE_UNSETTLED && (uint32_t)outcome != c->row->settlement;
	case STORE_NOT_ISSUED:
		return !store_job_final(o->j.h) && is_claim(c, o->item);
	default:
		return false;
	}
}

/* The claim as it was made, if the store has lost it. */
static cc_err note_claim(struct offer *o, enum store_settlement outcome)
{
	const struct store_offered *item = o->item;
	struct store_claim claim = {
		item->job_id, o->epoch, item->ca, item->csr_sha256, item->spki_sha256, item->txid};
	struct store_claim_row *claims, made, *c = NULL;
	size_t count;
	bool begins;
	cc_err err = CC_OK;

	if (!knows_claim(item))
		return CC_OK;
	TRY(store_claims_of(o->x, &o->j, o->epoch, &claims, &count));
	for (size_t i = 0; i < count; i++) {
		if (cc_view_equal(claims[i].ca, item->ca))
			c = &claims[i];
	}
	if (c != NULL && !is_news(o, c, outcome))
		return CC_OK;
	if (c == NULL && o->j.h->claims >= STORE_CLAIMS_MAX)
		return CC_OK;
	begins = c == NULL || c->row->settlement == STORE_NOT_ISSUED;
	if (c == NULL) {
		TRY(store_claim_make(o->x, &o->j, &claim, &made));
		c = &made;
		if (o->j.h->claims == STORE_CLAIMS_MAX)
			tell_full(o); /* this one was the last */
	}
	if (begins)
		TRY(note_doubt(o, c, outcome));
	TRY(store_claim_settle(o->x, &o->j, c, outcome, item->certificate.sha256));
out:
	return err;
}

/* A lease that has an open claim is no lease any more: it does not end by itself.  Whether its connector still works
 * on the job is what it has listed. */
static void keep_claimed(struct offer *o)
{
	uint64_t listed = o->j.h->listed;

	if (o->j.h->state != STORE_LEASED || !store_job_held_by(o->j.h, o->s->connector, o->epoch))
		return;
	store_job_to_claimed(o->x, &o->j, o->s);
	o->j.h->listed = listed;
}

/* A certificate that nobody got, or may have been made: on record, the job itself goes on as it is. */
static cc_err note_only(struct offer *o, enum store_settlement outcome)
{
	uint32_t known;
	cc_err err = CC_OK;

	if (!knows_claim(o->item))
		return CC_OK;
	TRY(find_claimed(o, &known));
	if (known == 0 && (o->j.h->claims >= STORE_CLAIMS_MAX || o->j.h->epoch >= STORE_EPOCH_MAX))
		return CC_OK;
	/* another got it without this claim, and does not know whom to ask */
	if (known == 0 && o->j.h->state == STORE_LEASED && !is_mine(o, o->j.h->holder))
		TRY(take_away(o));
	TRY(recall(o, false));
	if (o->epoch == 0)
		return CC_OK;
	TRY(note_claim(o, outcome));
	if (outcome == STORE_UNSETTLED)
		keep_claimed(o);
	if (!store_job_held(o->j.h))
		TRY(store_attempt_finish(o->x, &o->j, END_LOST));
	TRY(store_job_save(o->x, &o->j));
out:
	return err;
}

/* Another claim that the copy has open for this connector had its end before the success; its journal does not
 * know of it any more. */
static cc_err doubt_others(struct offer *o)
{
	struct store_claim_row *claims;
	Queue__Attempt *a;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_claims_of(o->x, &o->j, 0, &claims, &count));
	for (size_t i = 0; i < count; i++) {
		bool its_own = claims[i].epoch == o->epoch &&
			       (!knows_claim(o->item) || is_claim(&claims[i], o->item));
		if (its_own || claims[i].row->settlement != STORE_UNSETTLED)
			continue;
		TRY(store_attempt_find(o->x, &o->j, claims[i].epoch, &a));
		if (a != NULL && is_mine(o, a->connector))
			TRY(store_claim_settle(
				o->x, &o->j, &claims[i], STORE_IN_DOUBT, CC_VIEW_NONE));
	}
out:
	return err;
}

/* The lease that a result is asked for under goes on, whatever ended it here. */
static cc_err open_again(struct offer *o)
{
	Queue__Attempt *a;
	cc_err err = CC_OK;

	TRY(store_attempt_find(o->x, &o->j, o->epoch, &a));
	ENSURE(a != NULL, cc_fail(CC_CORRUPT, "store: an attempt is gone"));
	if (a->end != END_OPEN) {
		a->end = END_OPEN;
		TRY(store_attempt_put(o->x, &o->j, o->epoch, a));
	}
	store_job_to_claimed(o->x, &o->j, o->s);
	/* others wait from the first time on, however often it is offered */
	if (o->j.h->recalled != STORE_RECALLED_RESULT)
		store_job_recall(o->x, &o->j, STORE_RECALLED_RESULT);
out:
	return err;
}

/* Done there, not final here: nobody else gets it while its result is on the way.  Where another waits for a CA's
 * operator, the result wins when it comes. */
static cc_err want_result(struct offer *o, struct store_item_verdict *ret)
{
	cc_err err = CC_OK;

	TRY(recall(o, true));
	ret->result = STORE_UNKNOWN_JOB;
	if (o->epoch == 0)
		return CC_OK;
	if (o->epoch == o->j.h->epoch)
		TRY(open_again(o));
	TRY(doubt_others(o));
	TRY(note_claim(o, STORE_UNSETTLED));
	TRY(store_job_save(o->x, &o->j));
	ret->epoch = o->epoch;
	ret->result = STORE_SEND;
out:
	return err;
}

/* Over here too: with the same certificate, or with another end. */
static cc_err judge_final(struct offer *o, struct store_item_verdict *ret)
{
	cc_err err = CC_OK;

	switch (o->j.h->state) {
	case STORE_DONE:
		TRY(store_job_winner(o->x, &o->j, &ret->winner));
		ret->result = cc_view_equal(ret->winner.sha256, o->item->certificate.sha256)
				      ? STORE_SAME
				      : STORE_ALREADY_DONE;
		break;
	case STORE_CANCELLED_STATE:
		ret->result = STORE_CANCELLED;
		break;
	default:
		ret->result = STORE_ALREADY_DEAD;
		break;
	}
	if (ret->result == STORE_SAME)
		return CC_OK;
	/* a second certificate is on record as a doubt; a dead job may run again: then the CA is asked first */
	TRY(note_only(o, STORE_IN_DOUBT));
	if (ret->result != STORE_ALREADY_DEAD)
		TRY(note_only(o, STORE_ORPHAN_KEPT));
out:
	return err;
}

static cc_err offer_one(struct store_tx *x, const struct store_session *s,
	const struct store_offered *item, struct store_item_verdict *ret)
{
	struct offer o = {.x = x, .s = s, .item = item};
	cc_err err = CC_OK;

	*ret = (struct store_item_verdict){
		.job_id = item->job_id, .epoch = item->epoch, .result = STORE_SAME};
	TRY(store_job_find(x, s->tenant, item->job_id, &o.j));
	if (o.j.h == NULL) {
		ret->result = STORE_UNKNOWN_JOB;
		TRY(store_lost_note(x, s, item));
	} else if (o.j.h->kind != STORE_ISSUE) {
		return CC_OK; /* is done again */
	} else if (!item->success) {
		TRY(note_only(&o, item->settle));
		if (o.epoch > 0)
			ret->epoch = o.epoch;
	} else if (store_job_final(o.j.h)) {
		TRY(judge_final(&o, ret));
	} else {
		TRY(want_result(&o, ret));
	}
out:
	return err;
}

/* ---- the operation -------------------------------------------------------------------------------- */

/* Now what was neither listed nor offered goes its way, and work may come. */
static cc_err end_offer(struct store_tx *x, const struct store_session *s, Queue__Session *session)
{
	struct store_session_resume_out counts = {0};
	cc_err err = CC_OK;

	session->offering = false;
	TRY(store_session_end_unlisted(x, s, session, &counts));
	TRY(store_session_put(x, s->tenant, s->connector, session));
	TRY(store_restored_came(x, s->tenant));
out:
	return err;
}

/* A connector that never ends its offer keeps no hold on what it may say of other jobs. */
cc_err store_offer_look(struct store_tx *x, const struct store_session *s, Queue__Session *session)
{
	struct store_hint hint = {.kind = STORE_HINT_OFFER_CUT,
		.tenant = s->tenant,
		.connector = s->connector,
		.text = cc_view_text("it was not finished in time")};

	if (!session->open || !session->resumed || !session->offering ||
		x->now - session->seen_ms < IDLE_MS)
		return CC_OK;
	store_op_hint(x->op, &hint);
	return end_offer(x, s, session);
}

cc_err store_lmdb_offer(
	struct store_tx *x, const struct store_offer_in *in, struct store_offer_out *out)
{
	Queue__Session *session;
	struct store_item_verdict *items;
	cc_err err = CC_OK;

	out->result = STORE_SUPERSEDED;
	TRY(store_session_current(x, &in->session, &session));
	if (session == NULL)
		return CC_OK;
	out->result = !session->resumed ? STORE_NOT_RESUMED : STORE_INVALID;
	if (!session->resumed || !session->offering)
		return CC_OK;
	items = store_mem_get(x->mem, (in->count + 1) * sizeof(*items));
	for (size_t i = 0; i < in->count; i++)
		TRY(offer_one(x, &in->session, &in->jobs[i], &items[i]));
	session->seen_ms = x->now;
	if (in->last)
		TRY(end_offer(x, &in->session, session));
	else
		TRY(store_session_put(x, in->session.tenant, in->session.connector, session));
	out->items = items;
	out->count = in->count;
	out->result = STORE_OK;
out:
	return err;
}
