/*
 * The embedded store: results and jobs given back.
 *
 * The first valid SUCCESS wins, from any epoch that was ever leased to that connector, and is never
 * answered STALE_EPOCH; the epoch fences failures and nacks only.
 */
#include "cloud-queue/store_lmdb.h"

enum { BUNDLE_MAX = 256 * 1024, EXCLUDED_MAX = 8, REFUSED_ROW_MAX = 5 };

/* ---- complete --------------------------------------------------------------------------------- */

static cc_err is_duplicate(struct store_tx *x, const struct store_job_row *j,
	const struct store_complete_in *in, bool *ret)
{
	Queue__JobEnd *end;
	cc_err err = CC_OK;

	*ret = false;
	TRY(store_job_end(x, j, &end));
	if (end == NULL)
		return CC_OK;
	cc_view winner =
		end->certificate == NULL ? CC_VIEW_NONE : store_row_view(end->certificate->sha256);
	if (in->success) {
		*ret = (in->digest.size > 0 &&
			       cc_view_equal(store_row_view(end->digest), in->digest)) ||
		       (winner.size > 0 && cc_view_equal(winner, in->certificate.sha256));
	} else {
		*ret = j->h->dead == STORE_DEAD_FAILURE && end->epoch == in->epoch &&
		       cc_view_equal(store_row_view(end->connector), in->connector);
	}
out:
	return err;
}

/* The job was over before this result came. */
static cc_err late_result(struct store_tx *x, const struct store_job_row *j,
	const struct store_complete_in *in, struct store_complete_out *out)
{
	bool duplicate = false;
	cc_err err = CC_OK;

	if (j->h->state == STORE_CANCELLED_STATE) {
		out->result = STORE_CANCELLED;
		return CC_OK;
	}
	if (in->success == (j->h->state == STORE_DONE))
		TRY(is_duplicate(x, j, in, &duplicate));
	if (duplicate)
		out->result = STORE_DUPLICATE_SAME;
	else
		out->result = j->h->state == STORE_DONE ? STORE_ALREADY_DONE : STORE_ALREADY_DEAD;
	if (out->result == STORE_ALREADY_DONE)
		TRY(store_job_winner(x, j, &out->winner));
out:
	return err;
}

static cc_err put_end(
	struct store_tx *x, const struct store_job_row *j, const struct store_complete_in *in)
{
	Queue__JobEnd *end = store_job_new_end(x);

	end->digest = store_row_borrow(in->digest);
	end->epoch = in->epoch;
	end->connector = store_row_borrow(in->connector);
	if (in->success) {
		end->certificate->sha256 = store_row_borrow(in->certificate.sha256);
		end->certificate->issuer = store_row_borrow(in->certificate.issuer);
		end->certificate->serial = store_row_borrow(in->certificate.serial);
	} else {
		end->error_code = store_row_borrow(in->error_code);
		end->error_detail = store_row_borrow(in->error_detail);
		end->error_event = in->error_event;
		end->retryable = in->retryable;
	}
	return store_job_put_end(x, j, end);
}

static cc_err put_bundle(struct store_tx *x, struct store_job_row *j, cc_view bundle)
{
	struct store_dbkey key = store_job_part_key(j, PART_BUNDLE);
	cc_err err = CC_OK;

	j->h->bytes += bundle.size;
	j->h->has_result = bundle.size > 0;
	if (bundle.size > 0)
		TRY(store_row_put_bytes(x, T_BLOB, &key, bundle));
out:
	return err;
}

/* Kept as an orphan when an earlier run ended, the CA gave it again, and now a device gets it. */
static bool is_no_orphan(const struct store_claim_row *c, const struct store_complete_in *in)
{
	return c->row->settlement == STORE_ORPHAN_KEPT && in->certificate.sha256.size > 0 &&
	       cc_view_equal(store_row_view(c->row->cert_sha256), in->certificate.sha256);
}

/* A store that went back may have an attempt's claim as open, and a later one as what it was before it was asked
 * again. */
static int likelihood(const struct store_claim_row *c)
{
	switch (c->row->settlement) {
	case STORE_UNSETTLED:
		return 2;
	case STORE_NOT_ISSUED:
		return 0;
	default:
		return 1;
	}
}

/* The last claim of the attempt that may have made it is the winner's, an open one first.  What became of the others
 * only their holders know: some CAs give a second certificate for the same request.  But the winning certificate
 * stands at no other claim, lest a person revokes it there as an orphan. */
static cc_err settle_winner(
	struct store_tx *x, struct store_job_row *j, const struct store_complete_in *in)
{
	struct store_claim_row *claims, *winner = NULL;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_claims_of(x, j, 0, &claims, &count));
	for (size_t i = 0; i < count; i++) {
		if (claims[i].epoch == in->epoch &&
			(winner == NULL || likelihood(&claims[i]) >= likelihood(winner)))
			winner = &claims[i];
	}
	if (winner == NULL)
		return CC_OK;
	for (size_t i = 0; i < count; i++) {
		if (&claims[i] == winner || !is_no_orphan(&claims[i], in))
			continue;
		claims[i].row->cert_sha256 = (ProtobufCBinaryData){0};
		TRY(store_claim_settle(x, j, &claims[i], STORE_NOT_ISSUED, CC_VIEW_NONE));
	}
	TRY(store_claim_settle(x, j, winner, STORE_WINNER, in->certificate.sha256));
out:
	return err;
}

static bool is_vague(const struct store_claim_row *c)
{
	return c->row->settlement == STORE_UNSETTLED || c->row->settlement == STORE_IN_DOUBT;
}

/* The winner again, under another lease: it stands at the winner's claim, so this one made nothing.  Where no claim is
 * the winner's, it was taken before its claim was offered. */
static cc_err settle_same(
	struct store_tx *x, struct store_job_row *j, const struct store_complete_in *in)
{
	struct store_claim_row *claims, *last = NULL;
	enum store_settlement outcome = STORE_WINNER;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_claims_of(x, j, 0, &claims, &count));
	for (size_t i = 0; i < count; i++) {
		if (claims[i].row->settlement == STORE_WINNER && claims[i].epoch == in->epoch)
			return CC_OK;
		if (claims[i].row->settlement == STORE_WINNER)
			outcome = STORE_NOT_ISSUED;
		if (is_vague(&claims[i]) && claims[i].epoch == in->epoch)
			last = &claims[i];
	}
	if (last != NULL)
		TRY(store_claim_settle(x, j, last, outcome,
			outcome == STORE_WINNER ? in->certificate.sha256 : CC_VIEW_NONE));
out:
	return err;
}

/* A loser's certificate is noted at its claim, so that it is accounted for until it is settled. */
static cc_err note_orphan(
	struct store_tx *x, struct store_job_row *j, const struct store_complete_in *in)
{
	struct store_claim_row *claims;
	size_t count;
	cc_err err = CC_OK;

	if (in->certificate.sha256.size == 0)
		return CC_OK;
	TRY(store_claims_of(x, j, in->epoch, &claims, &count));
	for (size_t i = 0; i < count; i++) {
		if (is_vague(&claims[i]))
			TRY(store_claim_settle(x, j, &claims[i],
				(enum store_settlement)claims[i].row->settlement,
				in->certificate.sha256));
	}
out:
	return err;
}

static cc_err trusted_again(struct store_tx *x, cc_view tenant, cc_view connector)
{
	Queue__Session *session;
	cc_err err = CC_OK;

	TRY(store_session_find(x, tenant, connector, &session));
	if (session == NULL || session->refused_row == 0)
		return CC_OK;
	session->refused_row = 0;
	TRY(store_session_put(x, tenant, connector, session));
out:
	return err;
}

static cc_err mark_winner(
	struct store_tx *x, const struct store_job_row *j, const struct store_complete_in *in)
{
	Queue__Attempt *a;
	cc_err err = CC_OK;

	if (store_job_held(j->h) && j->h->epoch != in->epoch)
		TRY(store_attempt_finish(x, j, END_LOST));
	TRY(store_attempt_find(x, j, in->epoch, &a));
	ENSURE(a != NULL, cc_fail(CC_CORRUPT, "store: an attempt is gone"));
	a->end = END_WINNER;
	TRY(store_attempt_put(x, j, in->epoch, a));
out:
	return err;
}

static cc_err win(struct store_tx *x, struct store_job_row *j, const struct store_complete_in *in,
	struct store_complete_out *out)
{
	bool held_elsewhere =
		store_job_held(j->h) && !store_job_held_by(j->h, in->connector, in->epoch);
	cc_view holder = held_elsewhere ? store_row_view(j->h->holder) : CC_VIEW_NONE;
	cc_err err = CC_OK;

	TRY(mark_winner(x, j, in));
	TRY(settle_winner(x, j, in));
	TRY(put_end(x, j, in));
	TRY(put_bundle(x, j, in->bundle));
	store_job_to_final(x, j, STORE_DONE, STORE_DEAD_NOT);
	TRY(store_job_save(x, j));
	TRY(store_job_tell_gone(x, j, holder, STORE_ALREADY_DONE));
	TRY(trusted_again(x, in->tenant, in->connector));
	out->result = STORE_STORED;
out:
	return err;
}

/* A lease that a store which went back does not know any more: the result, signed over this very job,
 * says that there was one.  Later leases get higher epochs.  While its connector still offers, the claim may be
 * on its way: no certificate without one. */
static cc_err recall_attempt(struct store_tx *x, struct store_job_row *j,
	const struct store_complete_in *in, Queue__Attempt **ret, enum store_result *ret_result)
{
	Queue__Session *session;
	cc_err err = CC_OK;

	if (x->s->restored_until_ms == 0 || in->bundle.size == 0 ||
		!store_epoch_may_be_lost(j->h, in->epoch) || store_job_final(j->h))
		return CC_OK;
	TRY(store_session_find(x, in->tenant, in->connector, &session));
	if (session != NULL && session->open && session->offering)
		*ret_result = STORE_ON_HOLD;
	else
		TRY(store_attempt_recall(x, j, in->connector, in->epoch, ret));
out:
	return err;
}

static cc_err complete_success(struct store_tx *x, struct store_job_row *j,
	const struct store_complete_in *in, struct store_complete_out *out)
{
	Queue__Attempt *a;
	cc_err err = CC_OK;

	TRY(store_attempt_find(x, j, in->epoch, &a));
	out->result = STORE_UNKNOWN_ATTEMPT;
	if (a == NULL)
		TRY(recall_attempt(x, j, in, &a, &out->result));
	if (a == NULL || !cc_view_equal(store_row_view(a->connector), in->connector))
		return CC_OK;
	if (!store_job_final(j->h))
		return win(x, j, in, out);
	TRY(late_result(x, j, in, out));
	TRY(out->result == STORE_DUPLICATE_SAME ? settle_same(x, j, in) : note_orphan(x, j, in));
	TRY(store_job_save(x, j));
out:
	return err;
}

/* What the failure says of its claims; a doubt stays unless it says something exact. */
static cc_err settle_failed(struct store_tx *x, struct store_job_row *j,
	struct store_claim_row *claims, size_t count, enum store_settlement outcome)
{
	bool exact = outcome == STORE_NOT_ISSUED || outcome == STORE_ORPHAN_REVOKED ||
		     outcome == STORE_ORPHAN_KEPT;
	cc_err err = CC_OK;

	for (size_t i = 0; i < count; i++) {
		uint32_t now = claims[i].row->settlement;
		if (now == STORE_UNSETTLED || (now == STORE_IN_DOUBT && exact))
			TRY(store_claim_settle(x, j, &claims[i], outcome, CC_VIEW_NONE));
	}
out:
	return err;
}

/* Whoever was asked for a result and has none does not end what another may have in hand. */
static cc_err leaves_to_others(struct store_tx *x, const struct store_job_row *j, bool *ret)
{
	struct store_claim_row *claims;
	Queue__Attempt *a;
	size_t count;
	bool found = false;
	cc_err err = CC_OK;

	*ret = false;
	if (j->h->recalled != STORE_RECALLED_RESULT)
		return CC_OK;
	TRY(store_claims_of(x, j, 0, &claims, &count));
	for (size_t i = 0; i < count && !found; i++) {
		if (!is_vague(&claims[i]))
			continue;
		TRY(store_attempt_find(x, j, claims[i].epoch, &a));
		found = a != NULL &&
			!cc_view_equal(store_row_view(a->connector), store_row_view(j->h->holder));
	}
	*ret = found;
out:
	return err;
}

static cc_err complete_failure(struct store_tx *x, struct store_job_row *j,
	const struct store_complete_in *in, struct store_complete_out *out)
{
	struct store_claim_row *claims;
	size_t count;
	bool open = false, leaves;
	cc_err err = CC_OK;

	if (store_job_final(j->h))
		return late_result(x, j, in, out);
	out->result = STORE_STALE_EPOCH;
	if (!store_job_held_by(j->h, in->connector, in->epoch))
		return CC_OK;
	TRY(store_claims_of(x, j, in->epoch, &claims, &count));
	for (size_t i = 0; i < count; i++)
		open = open || claims[i].row->settlement == STORE_UNSETTLED;
	out->result = STORE_INVALID;
	if (open && (in->settle == STORE_UNSETTLED || in->settle == STORE_WINNER))
		return CC_OK;
	TRY(settle_failed(x, j, claims, count, in->settle));
	TRY(store_attempt_finish(x, j, END_FAILED));
	TRY(leaves_to_others(x, j, &leaves));
	if (leaves) {
		store_job_to_ready(x, j, 0);
	} else {
		TRY(put_end(x, j, in));
		TRY(put_bundle(x, j, in->bundle));
		store_job_to_final(x, j, STORE_DEAD, STORE_DEAD_FAILURE);
	}
	TRY(store_job_save(x, j));
	TRY(trusted_again(x, in->tenant, in->connector));
	out->result = STORE_STORED;
out:
	return err;
}

/* Which end a job had before the store went back, the offers say: until all have come, nothing else decides on
 * what was issued; and of a job that was offered as done, nobody else's certificate becomes the winner while that
 * result is on its way, for as long as offers are waited for: an offer is a word without proof. */
static cc_err must_wait(struct store_tx *x, const struct store_job_row *j,
	const struct store_complete_in *in, bool *ret)
{
	bool is_called = j->h->recalled == STORE_RECALLED_RESULT &&
			 x->now - j->h->recalled_ms < x->config->restored_wait_ms;

	*ret = false;
	if (j->h->kind != STORE_ISSUE || store_job_final(j->h))
		return CC_OK;
	if (is_called && store_job_held_by(j->h, in->connector, in->epoch))
		return CC_OK;
	*ret = is_called && in->success;
	return *ret ? CC_OK : store_restored_waits(x, in->tenant, ret);
}

cc_err store_lmdb_complete(
	struct store_tx *x, const struct store_complete_in *in, struct store_complete_out *out)
{
	struct store_job_row j;
	bool replaced, waits;
	cc_err err = CC_OK;

	TRY(store_connector_replaced(
		x, in->tenant, in->connector, in->transport_sha256, &replaced));
	out->result = STORE_SUPERSEDED;
	if (replaced)
		return CC_OK;
	out->result = STORE_UNKNOWN_JOB;
	TRY(store_job_find(x, in->tenant, in->job_id, &j));
	if (j.h == NULL)
		return CC_OK;
	out->result = STORE_ON_HOLD;
	TRY(must_wait(x, &j, in, &waits));
	if (waits)
		return CC_OK;
	out->result = STORE_TOO_LARGE;
	if (in->bundle.size > BUNDLE_MAX)
		return CC_OK;
	TRY(in->success ? complete_success(x, &j, in, out) : complete_failure(x, &j, in, out));
out:
	return err;
}

/* ---- nack ------------------------------------------------------------------------------------- */

static cc_err exclude_here(struct store_tx *x, Queue__JobHeader *h, cc_view connector)
{
	Queue__Excluded **list = store_mem_get(x->mem, EXCLUDED_MAX * sizeof(*list));
	Queue__Excluded *mine = store_mem_get(x->mem, sizeof(*mine));
	size_t count = 0;

	/* this one first, then the others that still count; the oldest falls off */
	queue__excluded__init(mine);
	mine->connector = store_row_borrow(connector);
	mine->until_ms = x->now + x->config->exclude_ms;
	list[count++] = mine;
	for (size_t i = 0; i < h->n_excluded && count < EXCLUDED_MAX; i++) {
		if (h->excluded[i]->until_ms > x->now &&
			!cc_view_equal(store_row_view(h->excluded[i]->connector), connector))
			list[count++] = h->excluded[i];
	}
	h->excluded = list;
	h->n_excluded = count;
	return CC_OK;
}

/* Bad signature on what the queue verified: one such job is the job's, five in a row are its own. */
static cc_err distrust(struct store_tx *x, const struct store_session *s, Queue__Session *session)
{
	cc_err err = CC_OK;

	session->refused_row++;
	if (session->refused_row >= REFUSED_ROW_MAX && !session->suspended) {
		struct store_hint hint = {.kind = STORE_HINT_SUSPENDED,
			.tenant = s->tenant,
			.connector = s->connector};
		session->suspended = true;
		store_op_hint(x->op, &hint);
	}
	TRY(store_session_put(x, s->tenant, s->connector, session));
out:
	return err;
}

static cc_err settle_not_issued(
	struct store_tx *x, struct store_job_row *j, const struct store_nack_in *in, bool *ret_open)
{
	struct store_claim_row *claims;
	size_t count;
	cc_err err = CC_OK;

	*ret_open = false;
	TRY(store_claims_of(x, j, in->epoch, &claims, &count));
	for (size_t i = 0; i < count; i++) {
		bool named = in->ca.size == 0 || cc_view_equal(in->ca, claims[i].ca);
		bool vague = claims[i].row->settlement == STORE_UNSETTLED ||
			     claims[i].row->settlement == STORE_IN_DOUBT;
		if (vague && in->not_issued && named)
			TRY(store_claim_settle(x, j, &claims[i], STORE_NOT_ISSUED, CC_VIEW_NONE));
		if (claims[i].row->settlement != STORE_NOT_ISSUED)
			*ret_open = true;
	}
out:
	return err;
}

static cc_err give_back(struct store_tx *x, struct store_job_row *j, const struct store_nack_in *in,
	struct store_nack_out *out)
{
	bool counts = in->count && in->reason != STORE_NACK_APPROVAL;
	enum store_dead dead = STORE_DEAD_NOT;
	bool waits = false;
	cc_err err = CC_OK;

	TRY(store_attempt_finish(x, j, END_GIVEN_BACK));
	if (in->exclude || in->reason == STORE_NACK_REFUSED_HERE ||
		in->reason == STORE_NACK_NOT_SUPPORTED)
		TRY(exclude_here(x, j->h, in->session.connector));
	if (counts)
		j->h->attempts++;
	if (in->reason == STORE_NACK_POISON)
		dead = STORE_DEAD_POISON;
	else if (counts && j->h->attempts >= x->config->max_attempts)
		dead = STORE_DEAD_ATTEMPTS;
	if (dead != STORE_DEAD_NOT && j->h->kind == STORE_ISSUE)
		TRY(store_restored_waits(x, in->session.tenant, &waits));
	if (waits) /* it may be done: an offer says so */
		dead = STORE_DEAD_NOT;
	if (dead != STORE_DEAD_NOT) {
		store_job_to_final(x, j, STORE_DEAD, dead);
	} else {
		store_job_to_ready(x, j, in->delay_ms);
		j->h->given_back = in->reason;
	}
	TRY(store_job_save(x, j));
	out->result = dead != STORE_DEAD_NOT ? STORE_IS_DEAD : STORE_OK;
out:
	return err;
}

cc_err store_lmdb_nack(
	struct store_tx *x, const struct store_nack_in *in, struct store_nack_out *out)
{
	Queue__Session *session;
	struct store_job_row j;
	bool open;
	cc_err err = CC_OK;

	out->result = STORE_SUPERSEDED;
	TRY(store_session_current(x, &in->session, &session));
	if (session == NULL)
		return CC_OK;
	TRY(store_job_find(x, in->session.tenant, in->job_id, &j));
	out->result = j.h != NULL && j.h->state == STORE_DEAD ? STORE_IS_DEAD : STORE_STALE_EPOCH;
	if (j.h == NULL || !store_job_held_by(j.h, in->session.connector, in->epoch))
		return CC_OK;
	TRY(settle_not_issued(x, &j, in, &open));
	out->result = STORE_INVALID;
	if (open)
		return store_job_save(x, &j);
	TRY(give_back(x, &j, in, out));
	if (in->reason == STORE_NACK_REFUSED_HERE)
		TRY(distrust(x, &in->session, session));
out:
	return err;
}
