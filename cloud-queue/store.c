/*
 * Store: what all drivers share.  A public call becomes a struct store_op: the input is copied and
 * its sizes are checked against one table; the driver applies it; `done` and the listeners are
 * called from here.
 */
#include "cloud-queue/store_int.h"

#include "base/clock.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	NAME_MAX_ = 63,
	KEY_MAX_ = 128,
	TEXT_MAX_ = 1024,
	BYTES_MAX_ = 512 * 1024,
	GROUPS_MAX_ = 64,
	PROFILES_MAX_ = 256,
	KEYS_MAX_ = 256,
	PASSWORDS_MAX_ = 16,
};

struct view_rule {
	size_t at;
	size_t min, max; /* max 0: end of the list */
};
#define V(op, field, lo, hi)                                                                       \
	{                                                                                          \
		offsetof(struct store_##op##_in, field), lo, hi                                    \
	}
#define NAME(op, field)           V(op, field, 1, NAME_MAX_)
#define NAME_OR_NONE(op, field)   V(op, field, 0, NAME_MAX_)
#define KEY(op, field)            V(op, field, 1, KEY_MAX_)
#define KEY_OR_NONE(op, field)    V(op, field, 0, KEY_MAX_)
#define JOB(op)                   V(op, job_id, STORE_JOB_ID_SIZE, STORE_JOB_ID_SIZE)
#define DIGEST(op, field)         V(op, field, STORE_DIGEST_SIZE, STORE_DIGEST_SIZE)
#define DIGEST_OR_NONE(op, field) V(op, field, 0, STORE_DIGEST_SIZE)
#define TEXT(op, field)           V(op, field, 0, TEXT_MAX_)
#define BYTES(op, field)          V(op, field, 0, BYTES_MAX_)
#define REPEAT(op)                KEY_OR_NONE(op, repeat.key), DIGEST_OR_NONE(op, repeat.request_sha256)
#define SESSION(op)               NAME(op, session.tenant), NAME(op, session.connector)

struct op_rules {
	struct view_rule views[13];
	bool secret;
};

static const struct op_rules rules[STORE_OP_COUNT] = {
	[STORE_OP_enqueue] = {.views = {NAME(enqueue, tenant), JOB(enqueue),
				      BYTES(enqueue, document), DIGEST(enqueue, body_sha256),
				      DIGEST_OR_NONE(enqueue, signer_key_id),
				      NAME_OR_NONE(enqueue, route.ca_profile),
				      NAME_OR_NONE(enqueue, route.audience),
				      KEY_OR_NONE(enqueue, idem_key),
				      KEY_OR_NONE(enqueue, correlation_id),
				      KEY_OR_NONE(enqueue, batch_id), BYTES(enqueue, pfx)}},
	[STORE_OP_enqueue_all] = {.views = {NAME(enqueue_all, tenant)}},
	[STORE_OP_fetch] = {.views = {NAME(fetch, tenant), JOB(fetch)}},
	[STORE_OP_result_ack] = {.views = {NAME(result_ack, tenant), JOB(result_ack)}},
	[STORE_OP_list] = {.views = {NAME(list, tenant), KEY_OR_NONE(list, batch_id),
				   KEY_OR_NONE(list, correlation_id)}},
	[STORE_OP_events] = {.views = {NAME(events, tenant)}},
	[STORE_OP_cancel] = {.views = {NAME(cancel, tenant), JOB(cancel), REPEAT(cancel)}},
	[STORE_OP_bury] = {.views = {NAME(bury, tenant), JOB(bury), KEY_OR_NONE(bury, by)}},
	[STORE_OP_replay] = {.views = {NAME(replay, tenant), JOB(replay), KEY_OR_NONE(replay, by),
				     REPEAT(replay)}},
	[STORE_OP_takeover] = {.views = {NAME(takeover, tenant), JOB(takeover),
				       KEY_OR_NONE(takeover, by)}},
	[STORE_OP_session_open] =
		{.views = {NAME(session_open, tenant), NAME(session_open, connector),
			 KEY(session_open, instance_id), KEY(session_open, journal_id),
			 KEY_OR_NONE(session_open, nonce), KEY_OR_NONE(session_open, software),
			 DIGEST_OR_NONE(session_open, certificate_sha256)}},
	[STORE_OP_session_resume] = {.views = {SESSION(session_resume),
					     KEY_OR_NONE(session_resume, nonce)}},
	[STORE_OP_offer] = {.views = {SESSION(offer)}},
	[STORE_OP_set_capabilities] = {.views = {SESSION(set_capabilities)}},
	[STORE_OP_session_close] = {.views = {SESSION(session_close)}},
	[STORE_OP_lease] = {.views = {SESSION(lease)}},
	[STORE_OP_extend] = {.views = {SESSION(extend)}},
	[STORE_OP_claim] = {.views = {SESSION(claim)}},
	[STORE_OP_park] = {.views = {SESSION(park), JOB(park), KEY_OR_NONE(park, ref)}},
	[STORE_OP_complete] = {.views = {NAME(complete, tenant), NAME(complete, connector),
				       JOB(complete), DIGEST_OR_NONE(complete, transport_sha256),
				       DIGEST_OR_NONE(complete, digest), BYTES(complete, bundle),
				       DIGEST_OR_NONE(complete, certificate.sha256),
				       TEXT(complete, certificate.issuer),
				       KEY_OR_NONE(complete, certificate.serial),
				       KEY_OR_NONE(complete, error_code),
				       TEXT(complete, error_detail)}},
	[STORE_OP_nack] = {.views = {SESSION(nack), JOB(nack), NAME_OR_NONE(nack, ca)}},
	[STORE_OP_settle] = {.views = {NAME(settle, tenant), NAME(settle, connector), JOB(settle),
				     NAME(settle, ca), DIGEST_OR_NONE(settle, transport_sha256),
				     DIGEST_OR_NONE(settle, certificate.sha256),
				     TEXT(settle, certificate.issuer),
				     KEY_OR_NONE(settle, certificate.serial)}},
	[STORE_OP_stats] = {.views = {NAME_OR_NONE(stats, tenant)}},
	[STORE_OP_check] = {.views = {NAME(check, tenant)}},
	[STORE_OP_tenant_put] = {.views = {NAME(tenant_put, tenant.name),
					 TEXT(tenant_put, tenant.job_root)}},
	[STORE_OP_tenant_get] = {.views = {NAME(tenant_get, name)}},
	[STORE_OP_tenant_list] = {.views = {NAME_OR_NONE(tenant_list, after)}},
	[STORE_OP_signer_put] = {.views = {NAME(signer_put, tenant), DIGEST(signer_put, key_id),
					 BYTES(signer_put, statement)}},
	[STORE_OP_signer_get] = {.views = {NAME(signer_get, tenant), DIGEST(signer_get, key_id)}},
	[STORE_OP_token_put] = {.views = {DIGEST(token_put, sha256), NAME(token_put, tenant),
					KEY_OR_NONE(token_put, name)}},
	[STORE_OP_token_get] = {.views = {DIGEST(token_get, sha256)}},
	[STORE_OP_token_delete] = {.views = {DIGEST(token_delete, sha256)}},
	[STORE_OP_enrol_put] = {.views = {KEY(enrol_put, token_id), NAME(enrol_put, tenant),
					NAME(enrol_put, connector), KEY(enrol_put, secret)},
		.secret = true},
	[STORE_OP_enrol_get] = {.views = {KEY(enrol_get, token_id)}, .secret = true},
	[STORE_OP_enrol_use] =
		{.views = {KEY(enrol_use, token_id), DIGEST(enrol_use, request_sha256),
			 TEXT(enrol_use, result_spki),
			 DIGEST_OR_NONE(enrol_use, certificate_sha256)},
			.secret = true},
	[STORE_OP_connector_put] = {.views = {NAME(connector_put, tenant), NAME(connector_put, id),
					    TEXT(connector_put, result_spki),
					    DIGEST_OR_NONE(connector_put, certificate_sha256)}},
	[STORE_OP_connector_get] = {.views = {NAME(connector_get, tenant),
					    NAME(connector_get, id)}},
	[STORE_OP_connector_list] = {.views = {NAME(connector_list, tenant),
					     NAME_OR_NONE(connector_list, after)}},
	[STORE_OP_connector_set] = {.views = {NAME(connector_set, tenant),
					    NAME(connector_set, id)}},
	[STORE_OP_pfx_put] = {.views = {NAME(pfx_put, tenant), KEY(pfx_put, user),
				      KEY(pfx_put, thumbprint), DIGEST_OR_NONE(pfx_put, if_match),
				      BYTES(pfx_put, record), REPEAT(pfx_put)}},
	[STORE_OP_pfx_get] = {.views = {NAME(pfx_get, tenant), KEY(pfx_get, user),
				      KEY(pfx_get, thumbprint)}},
	[STORE_OP_pfx_delete] = {.views = {NAME(pfx_delete, tenant), KEY(pfx_delete, user),
					 KEY(pfx_delete, thumbprint)}},
	[STORE_OP_pfx_list] = {.views = {NAME(pfx_list, tenant), KEY_OR_NONE(pfx_list, user),
				       KEY_OR_NONE(pfx_list, after_user),
				       KEY_OR_NONE(pfx_list, after_thumbprint)}},
};

static const struct {
	size_t in, out;
} sizes[STORE_OP_COUNT] = {
#define X(name)                                                                                    \
	[STORE_OP_##name] = {sizeof(struct store_##name##_in), sizeof(struct store_##name##_out)},
	STORE_OPS(X)
#undef X
};

/* ---- copying what an operation was given ------------------------------------------------------ */

static cc_err keep_view(struct store_mem *m, cc_view *v, size_t min, size_t max)
{
	if (v->size > max)
		return cc_fail(CC_TOO_LARGE, "store: %zu bytes where %zu fit", v->size, max);
	if (v->size < min)
		return cc_fail(CC_MALFORMED, "store: %zu bytes where %zu are needed", v->size, min);
	*v = store_mem_copy(m, *v);
	return CC_OK;
}

static cc_err check_count(size_t count, size_t max)
{
	if (count > max)
		return cc_fail(CC_TOO_LARGE, "store: %zu items where %zu fit", count, max);
	return CC_OK;
}

static void *keep_items(struct store_mem *m, const void *from, size_t count, size_t size)
{
	void *copy = store_mem_get(m, count * size);
	if (count > 0)
		memcpy(copy, from, count * size);
	return copy;
}

static cc_err keep_views(struct store_mem *m, const cc_view **views, size_t count, size_t max_count,
	size_t min, size_t max)
{
	cc_view *copy = NULL;
	cc_err err = CC_OK;

	TRY(check_count(count, max_count));
	copy = keep_items(m, *views, count, sizeof(*copy));
	for (size_t i = 0; i < count; i++)
		TRY(keep_view(m, &copy[i], min, max));
	*views = copy;
out:
	return err;
}

static cc_err keep_held(struct store_mem *m, struct store_session_resume_in *in)
{
	struct store_held *copy = NULL;
	cc_err err = CC_OK;

	TRY(check_count(in->held_count, STORE_HELD_MAX));
	copy = keep_items(m, in->held, in->held_count, sizeof(*copy));
	for (size_t i = 0; i < in->held_count; i++)
		TRY(keep_view(m, &copy[i].job_id, STORE_JOB_ID_SIZE, STORE_JOB_ID_SIZE));
	in->held = copy;
out:
	return err;
}

static cc_err keep_offered(struct store_mem *m, struct store_offer_in *in)
{
	struct store_offered *copy = NULL;
	cc_err err = CC_OK;

	TRY(check_count(in->count, STORE_HELD_MAX));
	copy = keep_items(m, in->jobs, in->count, sizeof(*copy));
	for (size_t i = 0; i < in->count; i++) {
		TRY(keep_view(m, &copy[i].job_id, STORE_JOB_ID_SIZE, STORE_JOB_ID_SIZE));
		TRY(keep_view(m, &copy[i].certificate.sha256, 0, STORE_DIGEST_SIZE));
		TRY(keep_view(m, &copy[i].certificate.issuer, 0, TEXT_MAX_));
		TRY(keep_view(m, &copy[i].certificate.serial, 0, KEY_MAX_));
		TRY(keep_view(m, &copy[i].ca, 0, NAME_MAX_));
		TRY(keep_view(m, &copy[i].csr_sha256, 0, STORE_DIGEST_SIZE));
		TRY(keep_view(m, &copy[i].spki_sha256, 0, STORE_DIGEST_SIZE));
		TRY(keep_view(m, &copy[i].txid, 0, 16));
	}
	in->jobs = copy;
out:
	return err;
}

static cc_err keep_leases(struct store_mem *m, struct store_extend_in *in)
{
	struct store_lease_id *copy = NULL;
	cc_err err = CC_OK;

	TRY(check_count(in->count, STORE_HELD_MAX));
	copy = keep_items(m, in->leases, in->count, sizeof(*copy));
	for (size_t i = 0; i < in->count; i++)
		TRY(keep_view(m, &copy[i].job_id, STORE_JOB_ID_SIZE, STORE_JOB_ID_SIZE));
	in->leases = copy;
out:
	return err;
}

static cc_err keep_claims(struct store_mem *m, struct store_claim_in *in)
{
	struct store_claim *copy = NULL;
	cc_err err = CC_OK;

	TRY(check_count(in->count, STORE_HELD_MAX));
	copy = keep_items(m, in->claims, in->count, sizeof(*copy));
	for (size_t i = 0; i < in->count; i++) {
		TRY(keep_view(m, &copy[i].job_id, STORE_JOB_ID_SIZE, STORE_JOB_ID_SIZE));
		TRY(keep_view(m, &copy[i].ca, 1, NAME_MAX_));
		TRY(keep_view(m, &copy[i].csr_sha256, STORE_DIGEST_SIZE, STORE_DIGEST_SIZE));
		TRY(keep_view(m, &copy[i].spki_sha256, STORE_DIGEST_SIZE, STORE_DIGEST_SIZE));
		TRY(keep_view(m, &copy[i].txid, 16, 16));
	}
	in->claims = copy;
out:
	return err;
}

static cc_err keep_capabilities(struct store_mem *m, struct store_set_capabilities_in *in)
{
	struct store_key *keys = NULL;
	cc_err err = CC_OK;

	TRY(keep_views(m, &in->ca_profiles, in->ca_profile_count, PROFILES_MAX_, 1, NAME_MAX_));
	TRY(check_count(in->key_count, KEYS_MAX_));
	keys = keep_items(m, in->keys, in->key_count, sizeof(*keys));
	for (size_t i = 0; i < in->key_count; i++) {
		TRY(keep_view(m, &keys[i].key_id, STORE_DIGEST_SIZE, STORE_DIGEST_SIZE));
		TRY(keep_view(m, &keys[i].spki, 0, TEXT_MAX_));
	}
	in->keys = keys;
out:
	return err;
}

/* What the table of views says of this operation. */
static cc_err keep_ruled(struct store_mem *m, enum store_op_id id, void *in)
{
	cc_err err = CC_OK;

	for (const struct view_rule *r = rules[id].views; r->max > 0; r++)
		TRY(keep_view(m, (cc_view *)(void *)((uint8_t *)in + r->at), r->min, r->max));
out:
	return err;
}

static cc_err keep_enqueue(struct store_mem *m, struct store_enqueue_in *in)
{
	cc_err err = CC_OK;

	TRY(keep_views(m, &in->route.key_ids, in->route.key_id_count, PASSWORDS_MAX_,
		STORE_DIGEST_SIZE, STORE_DIGEST_SIZE));
	TRY(keep_views(m, &in->passwords, in->password_count, PASSWORDS_MAX_, 1, BYTES_MAX_));
	ENSURE(in->route.kind >= STORE_ISSUE && in->route.kind <= STORE_CHAIN,
		cc_fail(CC_MALFORMED, "store: no such kind of job"));
	ENSURE(in->priority <= STORE_BULK, cc_fail(CC_MALFORMED, "store: no such priority"));
out:
	return err;
}

static cc_err keep_enqueue_all(struct store_mem *m, struct store_enqueue_all_in *in)
{
	struct store_enqueue_in *items = NULL;
	cc_err err = CC_OK;

	TRY(check_count(in->count, STORE_ENQUEUE_MAX));
	items = keep_items(m, in->items, in->count, sizeof(*items));
	for (size_t i = 0; i < in->count; i++) {
		ENSURE(cc_view_equal(items[i].tenant, in->tenant),
			cc_fail(CC_MALFORMED, "store: items of several tenants"));
		TRY(keep_ruled(m, STORE_OP_enqueue, &items[i]));
		TRY(keep_enqueue(m, &items[i]));
	}
	in->items = items;
out:
	return err;
}

/* What the table of views does not say. */
static cc_err keep_arrays(struct store_mem *m, enum store_op_id id, void *in)
{
	switch (id) {
	case STORE_OP_enqueue:
		return keep_enqueue(m, in);
	case STORE_OP_enqueue_all:
		return keep_enqueue_all(m, in);
	case STORE_OP_session_resume:
		return keep_held(m, in);
	case STORE_OP_offer:
		return keep_offered(m, in);
	case STORE_OP_extend:
		return keep_leases(m, in);
	case STORE_OP_claim:
		return keep_claims(m, in);
	case STORE_OP_set_capabilities:
		return keep_capabilities(m, in);
	case STORE_OP_enrol_put: {
		struct store_enrol_put_in *e = in;
		return keep_views(m, &e->groups, e->group_count, GROUPS_MAX_, 1, NAME_MAX_);
	}
	case STORE_OP_connector_put: {
		struct store_connector_put_in *c = in;
		return keep_views(m, &c->groups, c->group_count, GROUPS_MAX_, 1, NAME_MAX_);
	}
	default:
		return CC_OK;
	}
}

static cc_err keep_input(struct store_op *op, void *in)
{
	cc_err err = CC_OK;

	TRY(keep_ruled(&op->in_mem, op->id, in));
	TRY(keep_arrays(&op->in_mem, op->id, in));
out:
	return err;
}

/* ---- an operation's way ----------------------------------------------------------------------- */

static void submit(
	struct store *s, enum store_op_id id, const void *in, void (*done)(void), void *arg)
{
	struct store_op *op = cc_alloc(sizeof(*op));

	*op = (struct store_op){.store = s, .id = id, .done = done, .arg = arg, .older = s->newest};
	op->in_mem.secret = rules[id].secret;
	op->out_mem.secret = rules[id].secret;
	void *copy = store_mem_get(&op->in_mem, sizes[id].in);
	memcpy(copy, in, sizes[id].in);
	op->refused = keep_input(op, copy);
	op->in = copy;
	op->fail_for_test = s->fail_next;
	s->fail_next = false;
	if (s->newest != NULL)
		s->newest->newer = op;
	s->newest = op;
	s->driver->submit(s, op);
}

#define X(name)                                                                                    \
	static void deliver_##name(const struct store_op *op)                                      \
	{                                                                                          \
		((store_##name##_done)op->done)(op->arg, op->out);                                 \
	}                                                                                          \
	void store_##name(struct store *s, const struct store_##name##_in *in,                     \
		store_##name##_done done, void *arg)                                               \
	{                                                                                          \
		submit(s, STORE_OP_##name, in, (void (*)(void))done, arg);                         \
	}
STORE_OPS(X)
#undef X

static void (*const deliver[STORE_OP_COUNT])(const struct store_op *) = {
#define X(name) [STORE_OP_##name] = deliver_##name,
	STORE_OPS(X)
#undef X
};

void store_op_begin(struct store_op *op)
{
	store_mem_clear(&op->out_mem);
	op->hints = NULL;
	op->last_hint = NULL;
	op->out = store_mem_get(&op->out_mem, sizes[op->id].out);
}

void store_op_hint(struct store_op *op, const struct store_hint *hint)
{
	struct store_op_hint *h = store_mem_get(&op->out_mem, sizeof(*h));

	h->hint = *hint;
	h->hint.tenant = store_mem_copy(&op->out_mem, hint->tenant);
	h->hint.job_id = store_mem_copy(&op->out_mem, hint->job_id);
	h->hint.connector = store_mem_copy(&op->out_mem, hint->connector);
	h->hint.text = store_mem_copy(&op->out_mem, hint->text);
	if (op->last_hint == NULL)
		op->hints = h;
	else
		op->last_hint->next = h;
	op->last_hint = h;
}

static void op_free(struct store_op *op)
{
	if (op->newer != NULL)
		op->newer->older = op->older;
	else
		op->store->newest = op->older;
	if (op->older != NULL)
		op->older->newer = op->newer;
	store_mem_clear(&op->in_mem);
	store_mem_clear(&op->out_mem);
	free(op);
}

static void tell_listeners(struct store *s, const struct store_op *op)
{
	for (const struct store_op_hint *h = op->hints; h != NULL; h = h->next) {
		for (size_t i = 0; i < STORE_LISTENERS_MAX; i++) {
			if (s->listeners[i].fn != NULL &&
				(s->listeners[i].kinds & h->hint.kind) != 0)
				s->listeners[i].fn(s->listeners[i].arg, &h->hint);
		}
	}
}

void store_op_finish(struct store_op *op, cc_err err)
{
	if (op->out == NULL || err != CC_OK)
		store_op_begin(op);
	*(cc_err *)op->out = err;
	if (op->done != NULL)
		deliver[op->id](op);
	if (err == CC_OK)
		tell_listeners(op->store, op);
	op_free(op);
}

/* ---- the rest of the public calls ------------------------------------------------------------- */

void store_config_fill(const struct store_config *given, struct store_config *ret)
{
	struct store_config c = *given;
#define FILL(field, value)                                                                         \
	if (c.field == 0)                                                                          \
	c.field = (value)
	FILL(lease_ms, 60 * 1000);
	FILL(reconnect_grace_ms, 5 * 1000);
	FILL(takeover_after_ms, 15 * 60 * 1000);
	FILL(deadline_grace_ms, 3600 * 1000);
	FILL(restored_wait_ms, 15 * 60 * 1000);
	FILL(crash_delay_ms, 30 * 1000);
	FILL(offers_kept_max, 250 * 1000);
	FILL(exclude_ms, 15 * 60 * 1000);
	FILL(unroutable_after_ms, 5 * 60 * 1000);
	FILL(retention_s, 7 * 86400);
	FILL(header_retention_s, 30 * 86400);
	FILL(max_attempts, 5);
	FILL(max_open_jobs, 1000 * 1000);
	FILL(max_bytes, (uint64_t)64 << 30);
	FILL(map_bytes, (uint64_t)1 << 40);
#undef FILL
	if (c.header_retention_s < c.retention_s)
		c.header_retention_s = c.retention_s;
	*ret = c;
}

void store_close(struct store *s)
{
	if (s == NULL)
		return;
	s->driver->stop(s);
	while (s->newest != NULL)
		op_free(s->newest);
	s->driver->free(s);
}

uint64_t store_generation(const struct store *s)
{
	return s->generation;
}

bool store_went_back(const struct store *s)
{
	return s->went_back;
}

int64_t store_clock_ahead_ms(struct store *s)
{
	int64_t ahead = store_now_ms(s) - clock_realtime_ms();
	return ahead > 0 ? ahead : 0;
}

int64_t store_lease_ms(const struct store *s)
{
	return s->config.lease_ms;
}

int64_t store_now_ms(struct store *s)
{
	return s->driver->now_ms(s);
}

size_t store_waiting(const struct store *s)
{
	return s->driver->waiting(s);
}

void store_fail_next_for_test(struct store *s)
{
	s->fail_next = true;
}

void store_listen(struct store *s, unsigned kinds, store_hint_fn fn, void *arg)
{
	size_t i = 0;

	while (i < STORE_LISTENERS_MAX && s->listeners[i].fn != NULL)
		i++;
	assert(i < STORE_LISTENERS_MAX);
	s->listeners[i] = (struct store_listener){kinds, fn, arg};
}

void store_unlisten(struct store *s, store_hint_fn fn, void *arg)
{
	for (size_t i = 0; i < STORE_LISTENERS_MAX; i++) {
		if (s->listeners[i].fn == fn && s->listeners[i].arg == arg)
			s->listeners[i] = (struct store_listener){0};
	}
}
