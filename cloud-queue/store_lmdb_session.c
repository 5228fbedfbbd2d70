/*
 * The embedded store: sessions of connectors.  One identity, one journal; nothing is requeued before
 * the connector has said all that it still holds.
 */
#include "cloud-queue/store_lmdb.h"

#include "base/hash.h"
#include <string.h>

enum { CRASHES_MAX = 3 };

static struct store_dbkey connector_key(cc_view tenant, cc_view connector)
{
	struct store_dbkey k = store_key_name(tenant);
	store_key_add_name(&k, connector);
	return k;
}

cc_err store_session_find(
	struct store_tx *x, cc_view tenant, cc_view connector, Queue__Session **ret)
{
	struct store_dbkey key = connector_key(tenant, connector);
	return store_row_find(x, T_SESSION, &key, &queue__session__descriptor, ret);
}

cc_err store_session_put(
	struct store_tx *x, cc_view tenant, cc_view connector, const Queue__Session *session)
{
	struct store_dbkey key = connector_key(tenant, connector);
	return store_row_put(x, T_SESSION, &key, session);
}

cc_err store_session_current(
	struct store_tx *x, const struct store_session *s, Queue__Session **ret)
{
	Queue__Session *session;
	cc_err err = CC_OK;

	TRY(store_session_find(x, s->tenant, s->connector, &session));
	*ret = session != NULL && session->open && session->epoch == s->epoch ? session : NULL;
out:
	return err;
}

static bool close_open(const struct store_tx *x, void *message)
{
	Queue__Session *session = message;

	if (!session->open)
		return false;
	session->open = false;
	session->closed_ms = x->now;
	return true;
}

/* Nobody is connected to a process that has just started. */
cc_err store_session_close_all(struct store_tx *x)
{
	return store_row_each(x, T_SESSION, &queue__session__descriptor, close_open);
}

/* ---- open ------------------------------------------------------------------------------------- */

static bool same(ProtobufCBinaryData a, cc_view b)
{
	return cc_view_equal(store_row_view(a), b);
}

/* The nonce of the journal is the last one that was confirmed, or the one sent after it; a store that
 * went back in time does not know what it sent, and one that enrols the connector anew has sent none. */
static bool true_owner(const Queue__Session *session, const struct store_session_open_in *in)
{
	if (session->journal_id.len > 0 && !same(session->journal_id, in->journal_id))
		return false;
	if (same(session->nonce, in->nonce) || session->any_nonce || session->restored)
		return true;
	return session->next_nonce.len > 0 && same(session->next_nonce, in->nonce);
}

static void tell_identity(struct store_tx *x, cc_view tenant, cc_view connector)
{
	struct store_hint hint = {
		.kind = STORE_HINT_IDENTITY, .tenant = tenant, .connector = connector};
	store_op_hint(x->op, &hint);
}

static void start_session(struct store_tx *x, Queue__Session *session,
	const struct store_session_open_in *in, struct store_session_open_out *out)
{
	random_bytes(out->nonce, sizeof(out->nonce));
	out->reconnected = session->open;
	out->session_epoch = ++session->epoch;
	out->generation = x->s->base.generation;
	out->result = STORE_OK;
	session->nonce =
		store_row_borrow(in->nonce); /* what the journal holds is confirmed by that */
	session->next_nonce = store_row_borrow(cc_view_of(out->nonce, sizeof(out->nonce)));
	session->journal_id = store_row_borrow(in->journal_id);
	session->instance_id = store_row_borrow(in->instance_id);
	session->software = store_row_borrow(in->software);
	session->open = true;
	session->resumed = false;
	session->offering =
		session->restored && in->generation != 0 && in->generation != x->s->base.generation;
	out->offer = session->offering;
	session->listed = 0;
	session->closed_ms = 0;
	session->taken_over = false;
	session->seen_ms = x->now;
}

cc_err store_lmdb_session_open(struct store_tx *x, const struct store_session_open_in *in,
	struct store_session_open_out *out)
{
	struct store_dbkey key = connector_key(in->tenant, in->connector);
	Queue__Connector *connector;
	Queue__Session *session;
	cc_err err = CC_OK;

	TRY(store_row_find(x, T_CONN, &key, &queue__connector__descriptor, &connector));
	TRY(store_session_find(x, in->tenant, in->connector, &session));
	out->result = STORE_UNKNOWN;
	if (connector == NULL || session == NULL)
		return CC_OK;
	out->result = STORE_DISABLED;
	if (connector->disabled || !same(connector->certificate_sha256, in->certificate_sha256))
		return CC_OK;
	if (!true_owner(session, in)) {
		out->result = STORE_IDENTITY_CONFLICT;
		tell_identity(x, in->tenant, in->connector);
		return CC_OK;
	}
	start_session(x, session, in, out);
	TRY(store_session_put(x, in->tenant, in->connector, session));
	x->s->routes_due_ms = 0; /* its routes may have been without anyone */
out:
	return err;
}

/* ---- resume ----------------------------------------------------------------------------------- */

cc_err store_session_verdict(struct store_tx *x, const struct store_job_row *j, cc_view connector,
	uint32_t epoch, enum store_result *ret, struct store_certificate *ret_winner)
{
	*ret = STORE_LOST;
	if (j->h == NULL)
		return CC_OK;
	if (j->h->state == STORE_CANCELLED_STATE) {
		*ret = STORE_CANCELLED;
	} else if (j->h->state == STORE_DONE) {
		*ret = STORE_ALREADY_DONE;
		return store_job_winner(x, j, ret_winner);
	} else if (store_job_held_by(j->h, connector, epoch)) {
		*ret = STORE_KEEP;
	}
	return CC_OK;
}

cc_err store_session_items(struct store_tx *x, const struct store_session *s, size_t count,
	struct store_item_verdict **ret, enum store_result *ret_result)
{
	Queue__Session *session;
	cc_err err = CC_OK;

	TRY(store_session_current(x, s, &session));
	*ret_result = session == NULL ? STORE_SUPERSEDED : STORE_OK;
	*ret = session == NULL ? NULL : store_mem_get(x->mem, (count + 1) * sizeof(**ret));
out:
	return err;
}

cc_err store_session_item(struct store_tx *x, const struct store_session *s,
	struct store_item_verdict *v, struct store_job_row *ret)
{
	cc_err err = CC_OK;

	TRY(store_job_find(x, s->tenant, v->job_id, ret));
	TRY(store_session_verdict(x, ret, s->connector, v->epoch, &v->result, &v->winner));
	if (v->result == STORE_KEEP && ret->h->state == STORE_HELD)
		v->result = STORE_LOST; /* it did not list this job */
out:
	return err;
}

static void keep_listed(struct store_tx *x, struct store_job_row *j, const struct store_held *item,
	uint64_t session_epoch)
{
	j->h->listed = session_epoch;
	if (j->h->state == STORE_LEASED) {
		j->h->lease_until_ms = x->now + x->config->lease_ms;
	} else if (j->h->state == STORE_HELD) {
		/* its journal knows it after all; the doubt stays on record until it is settled */
		j->h->state = item->parked ? STORE_PARKED : STORE_CLAIMED;
		j->h->held_since_ms = 0;
	}
}

/* Claimed after the copy was made: nobody else may ask a CA meanwhile. */
static cc_err recall_claimed(struct store_tx *x, const struct store_session *s,
	const struct store_held *item, struct store_job_row *j)
{
	Queue__Attempt *a;
	cc_view holder;
	cc_err err = CC_OK;

	if (!item->claimed || item->settling || j->h == NULL ||
		!store_epoch_may_be_lost(j->h, item->epoch) ||
		(j->h->state != STORE_READY && j->h->state != STORE_LEASED))
		return CC_OK;
	TRY(store_attempt_find(x, j, item->epoch, &a));
	if (a != NULL && !cc_view_equal(store_row_view(a->connector), s->connector))
		return CC_OK;
	holder = store_row_view(j->h->holder);
	if (j->h->state == STORE_LEASED && !cc_view_equal(holder, s->connector))
		TRY(store_job_tell_gone(x, j, holder, STORE_LOST));
	TRY(store_attempt_recall(x, j, s->connector, item->epoch, &a));
	store_job_to_claimed(x, j, s);
	if (item->parked)
		j->h->state = STORE_PARKED;
out:
	return err;
}

static cc_err list_one(struct store_tx *x, const struct store_session *s, bool restored,
	const struct store_held *item, struct store_item_verdict *ret)
{
	struct store_job_row j;
	cc_err err = CC_OK;

	*ret = (struct store_item_verdict){.job_id = item->job_id, .epoch = item->epoch};
	TRY(store_job_find(x, s->tenant, item->job_id, &j));
	if (restored)
		TRY(recall_claimed(x, s, item, &j));
	TRY(store_session_verdict(x, &j, s->connector, item->epoch, &ret->result, &ret->winner));
	/* the copy does not know that it was told to be another's: as not listed, its claim decides */
	if (restored && item->settling && ret->result == STORE_KEEP)
		ret->result = STORE_LOST;
	if (ret->result != STORE_KEEP)
		return CC_OK;
	keep_listed(x, &j, item, s->epoch);
	ret->lease_ms = j.h->state == STORE_LEASED ? x->config->lease_ms : 0;
	TRY(store_job_save(x, &j));
out:
	return err;
}

/* Rule 7 for a job that its holder did not list. */
static cc_err requeue_unlisted(struct store_tx *x, struct store_job_row *j, bool same_instance)
{
	cc_err err = CC_OK;

	TRY(store_attempt_finish(x, j, END_LOST));
	if (same_instance) {
		store_job_to_ready(x, j, 0);
		return CC_OK;
	}
	j->h->crash_suspect++;
	if (j->h->crash_suspect >= CRASHES_MAX)
		store_job_to_final(x, j, STORE_DEAD, STORE_DEAD_POISON);
	else
		store_job_to_ready(x, j, x->config->crash_delay_ms << (j->h->crash_suspect - 1));
out:
	return err;
}

static cc_err hold_unlisted(struct store_tx *x, struct store_job_row *j)
{
	cc_err err = CC_OK;

	if (j->h->state == STORE_HELD)
		return CC_OK;
	TRY(store_claims_settle(x, j, j->h->epoch, STORE_IN_DOUBT));
	j->h->state = STORE_HELD;
	j->h->held_since_ms = x->now;
out:
	return err;
}

static cc_err end_unlisted(struct store_tx *x, const struct store_session *s, cc_view job_id,
	bool same_instance, struct store_session_resume_out *out)
{
	struct store_job_row j;
	cc_err err = CC_OK;

	TRY(store_job_find(x, s->tenant, job_id, &j));
	ENSURE(j.h != NULL, cc_fail(CC_CORRUPT, "store: a held job that is not there"));
	if (j.h->state == STORE_LEASED) {
		TRY(requeue_unlisted(x, &j, same_instance));
		out->requeued++;
	} else if (j.h->recalled == STORE_RECALLED_RESULT) {
		j.h->listed = s->epoch; /* it is done there, and so not listed */
		out->kept++;
	} else {
		TRY(hold_unlisted(x, &j));
		out->in_doubt++;
	}
	TRY(store_job_save(x, &j));
	store_lost_tell(x, &j);
out:
	return err;
}

static cc_err count_kept(struct store_tx *x, const struct store_session *s, cc_view job_id,
	struct store_session_resume_out *out)
{
	struct store_job_row j;
	cc_err err = CC_OK;

	TRY(store_job_find(x, s->tenant, job_id, &j));
	out->kept++;
	if (j.h != NULL && j.h->state == STORE_PARKED)
		out->kept_parked++;
	if (j.h != NULL)
		store_lost_tell(x, &j);
out:
	return err;
}

cc_err store_session_end_unlisted(struct store_tx *x, const struct store_session *s,
	Queue__Session *session, struct store_session_resume_out *out)
{
	struct store_dbkey prefix = connector_key(s->tenant, s->connector);
	/* what a store that went back does not find listed says nothing about crashes */
	bool same_instance = session->any_nonce || session->restored ||
			     cc_view_equal(store_row_view(session->instance_id),
				     store_row_view(session->resumed_instance));
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_row_scan(x, T_HELD, &prefix, NULL, SIZE_MAX, &rows, &count));
	for (size_t i = 0; i < count; i++) {
		cc_view job_id = cc_view_part(rows[i].key, prefix.size, STORE_JOB_ID_SIZE);
		bool listed = rows[i].value.size == 8 && cc_get_u64(rows[i].value.data) == s->epoch;
		if (listed)
			TRY(count_kept(x, s, job_id, out));
		else
			TRY(end_unlisted(x, s, job_id, same_instance, out));
	}
	session->restored = false;
	session->any_nonce = false;
	session->resumed_instance = session->instance_id;
out:
	return err;
}

/* What it did not list may be among what it is about to offer. */
static cc_err end_resume(struct store_tx *x, const struct store_session *s, Queue__Session *session,
	struct store_session_resume_out *out)
{
	session->resumed = true;
	return session->offering ? CC_OK : store_session_end_unlisted(x, s, session, out);
}

/* The connector says the nonce of HelloAck: its journal has it. */
static bool confirm_nonce(Queue__Session *session, cc_view nonce)
{
	if (session->next_nonce.len > 0 && same(session->next_nonce, nonce)) {
		session->nonce = session->next_nonce;
		session->next_nonce = (ProtobufCBinaryData){0};
		return true;
	}
	return session->next_nonce.len == 0 && same(session->nonce, nonce);
}

cc_err store_lmdb_session_resume(struct store_tx *x, const struct store_session_resume_in *in,
	struct store_session_resume_out *out)
{
	Queue__Session *session;
	struct store_item_verdict *items;
	cc_err err = CC_OK;

	out->result = STORE_SUPERSEDED;
	TRY(store_session_current(x, &in->session, &session));
	if (session == NULL)
		return CC_OK;
	if (!confirm_nonce(session, in->nonce)) {
		out->result = STORE_IDENTITY_CONFLICT;
		tell_identity(x, in->session.tenant, in->session.connector);
		return CC_OK;
	}
	out->result = STORE_OK;
	items = store_mem_get(x->mem, in->held_count * sizeof(*items));
	for (size_t i = 0; i < in->held_count && !session->resumed; i++)
		TRY(list_one(x, &in->session, session->restored, &in->held[i], &items[i]));
	out->items = items;
	out->count = session->resumed ? 0 : in->held_count;
	session->listed += (uint32_t)in->held_count;
	session->seen_ms = x->now;
	if (in->last && in->held_total != session->listed)
		out->result = STORE_COUNT_MISMATCH;
	else if (in->last && !session->resumed)
		TRY(end_resume(x, &in->session, session, out));
	TRY(store_session_put(x, in->session.tenant, in->session.connector, session));
	if (in->last && !session->offering)
		TRY(store_restored_came(x, in->session.tenant));
out:
	return err;
}

/* ---- the rest --------------------------------------------------------------------------------- */

cc_err store_lmdb_set_capabilities(struct store_tx *x, const struct store_set_capabilities_in *in,
	struct store_set_capabilities_out *out)
{
	struct store_dbkey key = connector_key(in->session.tenant, in->session.connector);
	Queue__Capability caps = QUEUE__CAPABILITY__INIT;
	Queue__Session *session;
	cc_err err = CC_OK;

	out->result = STORE_SUPERSEDED;
	TRY(store_session_current(x, &in->session, &session));
	if (session == NULL)
		return CC_OK;
	caps.kinds = in->kinds;
	caps.ca_profiles = store_row_binaries(x, in->ca_profiles, in->ca_profile_count);
	caps.n_ca_profiles = in->ca_profile_count;
	caps.keys = store_mem_get(x->mem, in->key_count * sizeof(Queue__CapabilityKey *));
	caps.n_keys = in->key_count;
	for (size_t i = 0; i < in->key_count; i++) {
		caps.keys[i] = store_mem_get(x->mem, sizeof(Queue__CapabilityKey));
		queue__capability_key__init(caps.keys[i]);
		caps.keys[i]->key_id = store_row_borrow(in->keys[i].key_id);
		caps.keys[i]->spki = store_row_borrow(in->keys[i].spki);
	}
	TRY(store_row_put(x, T_CAPS, &key, &caps));
	x->s->routes_due_ms = 0;
	out->result = STORE_OK;
out:
	return err;
}

/* A kill and a cut look the same from here: a connector that lives is back in a moment.  A job that was given out
 * before, or is suspected, may have killed its holder: it waits for it, so that the crash is counted. */
static cc_err shorten_lease(struct store_tx *x, const struct store_session *s, cc_view job_id)
{
	int64_t until = x->now + x->config->reconnect_grace_ms;
	struct store_job_row j;
	cc_err err = CC_OK;

	TRY(store_job_find(x, s->tenant, job_id, &j));
	ENSURE(j.h != NULL, cc_fail(CC_CORRUPT, "store: a held job that is not there"));
	if (j.h->state != STORE_LEASED || j.h->deliveries > 1 || j.h->crash_suspect > 0 ||
		j.h->lease_until_ms <= until)
		return CC_OK;
	j.h->lease_until_ms = until;
	TRY(store_job_save(x, &j));
out:
	return err;
}

static cc_err shorten_leases(struct store_tx *x, const struct store_session *s)
{
	struct store_dbkey prefix = connector_key(s->tenant, s->connector);
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_row_scan(x, T_HELD, &prefix, NULL, SIZE_MAX, &rows, &count));
	for (size_t i = 0; i < count; i++)
		TRY(shorten_lease(x, s, cc_view_part(rows[i].key, prefix.size, STORE_JOB_ID_SIZE)));
out:
	return err;
}

cc_err store_lmdb_session_close(struct store_tx *x, const struct store_session_close_in *in,
	struct store_session_close_out *out)
{
	Queue__Session *session;
	cc_err err = CC_OK;

	out->result = STORE_SUPERSEDED;
	TRY(store_session_current(x, &in->session, &session));
	if (session == NULL)
		return CC_OK;
	session->open = false;
	session->closed_ms = x->now;
	session->seen_ms = x->now;
	TRY(store_session_put(x, in->session.tenant, in->session.connector, session));
	TRY(shorten_leases(x, &in->session));
	out->result = STORE_OK;
out:
	return err;
}
