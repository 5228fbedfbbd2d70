/*
 * The embedded store: sweep, the only place where time does something to a job.
 *
 * Each job has one row in `timer`; what is due is looked at by its state.  Nothing is swept within one
 * lease time after the store was opened or its clock jumped: connectors first get the chance to
 * extend what they hold.
 */
#include "cloud-queue/store_lmdb.h"

#include <openssl/crypto.h>

enum {
	LIMIT = 1000,
	TAKEOVERS_EVERY_MS = 10 * 1000,
	ENROLMENTS_EVERY_MS = 3600 * 1000,
	ENROLMENT_KEPT_S = 86400, /* so that a late try is told EXPIRED */
};

/* Time ended the job; what may exist at a CA is not known any more. */
static cc_err die(
	struct store_tx *x, struct store_job_row *j, enum store_dead dead, const char *code)
{
	Queue__JobEnd *end = store_job_new_end(x);
	cc_view holder = store_row_view(j->h->holder);
	cc_err err = CC_OK;

	if (store_job_held(j->h))
		TRY(store_attempt_finish(x, j, END_DEAD));
	if (dead == STORE_DEAD_DEADLINE)
		TRY(store_claims_settle(x, j, 0, STORE_IN_DOUBT));
	end->error_code = store_row_borrow(cc_view_text(code));
	end->connector = store_row_borrow(holder);
	TRY(store_job_put_end(x, j, end));
	store_job_to_final(x, j, STORE_DEAD, dead);
	TRY(store_job_save(x, j));
	TRY(store_job_tell_gone(x, j, holder, STORE_LOST));
out:
	return err;
}

static cc_err expire_lease(struct store_tx *x, struct store_job_row *j, struct store_sweep_out *out)
{
	cc_err err = CC_OK;

	out->leases_expired++;
	if (j->h->not_after_ms <= x->now) {
		out->expired++;
		return die(x, j, STORE_DEAD_EXPIRED, "expired");
	}
	TRY(store_attempt_finish(x, j, END_EXPIRED));
	store_job_to_ready(x, j, 0);
	TRY(store_job_save(x, j));
out:
	return err;
}

static cc_err held_due(struct store_tx *x, struct store_job_row *j, struct store_sweep_out *out)
{
	if (j->h->deadline_ms <= x->now) {
		out->expired++;
		return die(x, j, STORE_DEAD_DEADLINE, "deadline");
	}
	out->taken_over++;
	return store_job_take_over(x, j);
}

/* Payload first; a claim that nobody settled until then is in doubt.  Much later the rest. */
static cc_err retention_due(
	struct store_tx *x, struct store_job_row *j, struct store_sweep_out *out)
{
	cc_err err = CC_OK;

	if (!j->h->has_document && !j->h->has_result) {
		out->headers_dropped++;
		return store_job_drop(x, j);
	}
	out->results_dropped++;
	TRY(store_claims_settle(x, j, 0, STORE_IN_DOUBT));
	TRY(store_job_drop_payload(x, j));
	TRY(store_job_save(x, j));
out:
	return err;
}

static cc_err job_due(struct store_tx *x, struct store_job_row *j, struct store_sweep_out *out)
{
	switch (j->h->state) {
	case STORE_READY:
		out->expired++;
		return die(x, j, STORE_DEAD_EXPIRED, "expired");
	case STORE_LEASED:
		return expire_lease(x, j, out);
	case STORE_CLAIMED:
	case STORE_PARKED:
		out->expired++;
		return die(x, j, STORE_DEAD_DEADLINE, "deadline");
	case STORE_HELD:
		return held_due(x, j, out);
	default:
		return retention_due(x, j, out);
	}
}

static cc_err sweep_timers(struct store_tx *x, size_t limit, struct store_sweep_out *out)
{
	struct store_dbkey all = {.size = 0};
	struct store_row *rows;
	struct store_job_row j;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_row_scan(x, T_TIMER, &all, NULL, limit, &rows, &count));
	for (size_t i = 0; i < count; i++) {
		cc_view rest = rows[i].key, tenant, id;
		uint64_t due;
		TRY(store_key_take_u64(&rest, &due));
		TRY(store_key_take_name(&rest, &tenant));
		TRY(store_key_take(&rest, STORE_JOB_ID_SIZE, &id));
		if (due > (uint64_t)x->now)
			return CC_OK;
		TRY(store_job_find(x, tenant, id, &j));
		ENSURE(j.h != NULL && j.h->timer_ms == (int64_t)due,
			cc_fail(CC_CORRUPT, "store: a timer without its job"));
		TRY(job_due(x, &j, out));
	}
	out->more = count == limit;
out:
	return err;
}

/* ---- takeovers from connectors that went away, offers that stand still --------------------------------------------------- */

static cc_err take_claimed(struct store_tx *x, cc_view tenant, cc_view connector, size_t limit,
	bool *ret_all, struct store_sweep_out *out)
{
	struct store_dbkey prefix = store_key_name(tenant);
	struct store_row *rows;
	struct store_job_row j;
	size_t count, taken = 0;
	cc_err err = CC_OK;

	store_key_add_name(&prefix, connector);
	TRY(store_row_scan(x, T_HELD, &prefix, NULL, SIZE_MAX, &rows, &count));
	*ret_all = true;
	for (size_t i = 0; i < count; i++) {
		cc_view id = cc_view_part(rows[i].key, prefix.size, STORE_JOB_ID_SIZE);
		TRY(store_job_find(x, tenant, id, &j));
		if (j.h == NULL || j.h->state != STORE_CLAIMED)
			continue;
		if (taken == limit) {
			*ret_all = false;
			return CC_OK;
		}
		TRY(store_job_take_over(x, &j));
		taken++;
		out->taken_over++;
	}
out:
	return err;
}

static cc_err take_over(struct store_tx *x, size_t limit, struct store_sweep_out *out)
{
	struct store_dbkey all = {.size = 0};
	struct store_row *rows;
	size_t count;
	bool complete = true;
	cc_err err = CC_OK;

	if (x->now < x->s->takeovers_due_ms)
		return CC_OK;
	TRY(store_row_scan(x, T_SESSION, &all, NULL, SIZE_MAX, &rows, &count));
	for (size_t i = 0; i < count && complete; i++) {
		cc_view rest = rows[i].key, tenant, connector;
		Queue__Session *session;
		TRY(store_row_unpack(x, &queue__session__descriptor, rows[i].value, &session));
		TRY(store_key_take_name(&rest, &tenant));
		TRY(store_key_take_name(&rest, &connector));
		struct store_session s = {tenant, connector, session->epoch};
		TRY(store_offer_look(x, &s, session));
		if (session->open || session->taken_over || session->closed_ms == 0 ||
			x->now - session->closed_ms < x->config->takeover_after_ms)
			continue;
		TRY(take_claimed(x, tenant, connector, limit, &complete, out));
		session->taken_over = complete;
		TRY(store_session_put(x, tenant, connector, session));
	}
	if (complete)
		x->s->takeovers_due_ms = x->now + TAKEOVERS_EVERY_MS;
	else
		out->more = true;
out:
	return err;
}

/* A token that cannot be used any more takes its secret with it. */
static cc_err drop_enrolments(struct store_tx *x)
{
	struct store_dbkey all = {.size = 0};
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	if (x->now < x->s->enrolments_due_ms)
		return CC_OK;
	TRY(store_row_scan(x, T_ENROL, &all, NULL, SIZE_MAX, &rows, &count));
	for (size_t i = 0; i < count; i++) {
		Queue__Enrolment *e;
		TRY(store_row_unpack(x, &queue__enrolment__descriptor, rows[i].value, &e));
		OPENSSL_cleanse(e->secret.data, e->secret.len);
		OPENSSL_cleanse((void *)(uintptr_t)rows[i].value.data, rows[i].value.size);
		if (e->not_after_s + ENROLMENT_KEPT_S < x->now / 1000)
			TRY(db_delete(x->s->db, x->txn, T_ENROL, rows[i].key));
	}
	x->s->enrolments_due_ms = x->now + ENROLMENTS_EVERY_MS;
out:
	return err;
}

cc_err store_lmdb_sweep(
	struct store_tx *x, const struct store_sweep_in *in, struct store_sweep_out *out)
{
	size_t limit = in->limit == 0 ? LIMIT : in->limit;
	bool more = false, waits;
	cc_err err = CC_OK;

	out->result = STORE_ON_HOLD;
	TRY(store_restored_waits(x, CC_VIEW_NONE, &waits));
	if (waits || store_clock_on_hold(&x->s->clock))
		return CC_OK;
	out->result = STORE_OK;
	TRY(sweep_timers(x, limit, out));
	TRY(take_over(x, limit, out));
	TRY(store_route_watch(x));
	TRY(drop_enrolments(x));
	TRY(store_repeat_sweep(x, limit, &more));
	out->more |= more;
	more = false;
	TRY(store_lost_sweep(x, limit, &more));
	out->more |= more;
out:
	return err;
}
