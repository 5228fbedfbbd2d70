/*
 * The embedded store: connectors and the tokens by which they are enrolled.
 */
#include "cloud-queue/store_lmdb.h"

#include <openssl/crypto.h>

static struct store_dbkey connector_key(cc_view tenant, cc_view id)
{
	struct store_dbkey k = store_key_name(tenant);
	store_key_add_name(&k, id);
	return k;
}

static cc_err tenant_is_known(struct store_tx *x, cc_view name, bool *ret)
{
	struct store_dbkey key = store_key_name(name);
	Queue__Tenant *t;
	cc_err err = CC_OK;

	TRY(store_row_find(x, T_TENANT, &key, &queue__tenant__descriptor, &t));
	*ret = t != NULL;
out:
	return err;
}

/* ---- connectors ------------------------------------------------------------------------------- */

/* The identity starts afresh, with any journal; `any_nonce`: and with what that had from sessions before,
 * otherwise only one that was adopted and has none.  The session epoch goes on, so that what an older
 * connection still says is superseded. */
static cc_err reset_session(struct store_tx *x, cc_view tenant, cc_view id, bool any_nonce)
{
	Queue__Session fresh = QUEUE__SESSION__INIT;
	Queue__Session *old;
	cc_err err = CC_OK;

	TRY(store_session_find(x, tenant, id, &old));
	if (old != NULL)
		fresh.epoch = old->epoch + 1;
	fresh.closed_ms = x->now;
	fresh.any_nonce = any_nonce;
	/* only a store that went back can have lost what its journal knows */
	fresh.restored = any_nonce && x->s->restored_until_ms != 0;
	TRY(store_session_put(x, tenant, id, &fresh));
out:
	return err;
}

/* A used token answers its own request again, in case the answer was lost.  Once the connector is
 * enrolled anew that would give the identity back to whoever had it before: such tokens go. */
static cc_err forget_used_tokens(struct store_tx *x, cc_view tenant, cc_view id)
{
	struct store_dbkey all = {.size = 0};
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_row_scan(x, T_ENROL, &all, NULL, SIZE_MAX, &rows, &count));
	for (size_t i = 0; i < count; i++) {
		Queue__Enrolment *e;
		TRY(store_row_unpack(x, &queue__enrolment__descriptor, rows[i].value, &e));
		OPENSSL_cleanse(e->secret.data, e->secret.len);
		OPENSSL_cleanse((void *)(uintptr_t)rows[i].value.data, rows[i].value.size);
		if (e->used_by.len > 0 && cc_view_equal(store_row_view(e->tenant), tenant) &&
			cc_view_equal(store_row_view(e->connector), id))
			TRY(db_delete(x->s->db, x->txn, T_ENROL, rows[i].key));
	}
out:
	return err;
}

struct enrolment {
	cc_view tenant, id, result_spki, certificate_sha256;
	ProtobufCBinaryData *groups;
	size_t group_count;
};

static cc_err put_connector(struct store_tx *x, const struct enrolment *e, enum store_result *ret)
{
	struct store_dbkey key = connector_key(e->tenant, e->id);
	Queue__Connector row = QUEUE__CONNECTOR__INIT;
	Queue__Connector *old;
	cc_err err = CC_OK;

	TRY(store_row_find(x, T_CONN, &key, &queue__connector__descriptor, &old));
	row.result_spki = store_row_borrow(e->result_spki);
	row.certificate_sha256 = store_row_borrow(e->certificate_sha256);
	row.groups = e->groups;
	row.n_groups = e->group_count;
	row.enrolled_ms = x->now;
	row.disabled = old != NULL && old->disabled;
	TRY(store_row_put(x, T_CONN, &key, &row));
	TRY(reset_session(x, e->tenant, e->id, true));
	TRY(forget_used_tokens(x, e->tenant, e->id));
	*ret = old == NULL ? STORE_NEW : STORE_OK;
out:
	return err;
}

cc_err store_lmdb_connector_put(struct store_tx *x, const struct store_connector_put_in *in,
	struct store_connector_put_out *out)
{
	struct enrolment e = {.tenant = in->tenant,
		.id = in->id,
		.result_spki = in->result_spki,
		.certificate_sha256 = in->certificate_sha256,
		.groups = store_row_binaries(x, in->groups, in->group_count),
		.group_count = in->group_count};
	bool known;
	cc_err err = CC_OK;

	TRY(tenant_is_known(x, in->tenant, &known));
	out->result = STORE_UNKNOWN;
	if (known)
		TRY(put_connector(x, &e, &out->result));
out:
	return err;
}

static void describe_session(const Queue__Session *s, struct store_connector *ret)
{
	ret->suspended = s->suspended;
	ret->online = s->open;
	ret->last_seen_ms = s->seen_ms;
	ret->software = store_row_view(s->software);
	ret->session_epoch = s->epoch;
	ret->journal_id = store_row_view(s->journal_id);
	ret->instance_id = store_row_view(s->instance_id);
}

static void describe_capabilities(
	struct store_tx *x, const Queue__Capability *c, struct store_connector *ret)
{
	struct store_key *keys = store_mem_get(x->mem, c->n_keys * sizeof(*keys));

	for (size_t i = 0; i < c->n_keys; i++)
		keys[i] = (struct store_key){
			store_row_view(c->keys[i]->key_id), store_row_view(c->keys[i]->spki)};
	ret->kinds = c->kinds;
	ret->ca_profiles = store_row_views(x, c->ca_profiles, c->n_ca_profiles);
	ret->ca_profile_count = c->n_ca_profiles;
	ret->keys = keys;
	ret->key_count = c->n_keys;
}

cc_err store_connector_replaced(
	struct store_tx *x, cc_view tenant, cc_view id, cc_view certificate_sha256, bool *ret)
{
	struct store_dbkey key = connector_key(tenant, id);
	Queue__Connector *row;
	cc_err err = CC_OK;

	TRY(store_row_find(x, T_CONN, &key, &queue__connector__descriptor, &row));
	*ret = row != NULL &&
	       !cc_view_equal(store_row_view(row->certificate_sha256), certificate_sha256);
out:
	return err;
}

static cc_err describe(struct store_tx *x, cc_view tenant, cc_view id, struct store_connector *ret,
	bool *ret_found)
{
	struct store_server server;
	Queue__Session *session;
	cc_err err = CC_OK;

	TRY(store_route_server(x, tenant, id, &server));
	*ret_found = server.connector != NULL;
	if (server.connector == NULL)
		return CC_OK;
	TRY(store_session_find(x, tenant, id, &session));
	*ret = (struct store_connector){.tenant = tenant, .id = id};
	ret->result_spki = store_row_view(server.connector->result_spki);
	ret->certificate_sha256 = store_row_view(server.connector->certificate_sha256);
	ret->groups = store_row_views(x, server.connector->groups, server.connector->n_groups);
	ret->group_count = server.connector->n_groups;
	ret->disabled = server.connector->disabled;
	ret->enrolled_ms = server.connector->enrolled_ms;
	if (session != NULL)
		describe_session(session, ret);
	if (server.caps != NULL)
		describe_capabilities(x, server.caps, ret);
out:
	return err;
}

cc_err store_lmdb_connector_get(struct store_tx *x, const struct store_connector_get_in *in,
	struct store_connector_get_out *out)
{
	bool found;
	cc_err err = CC_OK;

	TRY(describe(x, in->tenant, in->id, &out->connector, &found));
	out->result = found ? STORE_OK : STORE_UNKNOWN;
out:
	return err;
}

cc_err store_lmdb_connector_list(struct store_tx *x, const struct store_connector_list_in *in,
	struct store_connector_list_out *out)
{
	struct store_dbkey prefix = store_key_name(in->tenant);
	struct store_dbkey from = connector_key(in->tenant, in->after);
	size_t limit = store_row_limit(in->limit);
	struct store_connector *list = store_mem_get(x->mem, limit * sizeof(*list));
	struct store_row *rows;
	size_t count;
	bool found;
	cc_err err = CC_OK;

	store_key_add_u8(&from, 0);
	TRY(store_row_scan(
		x, T_CONN, &prefix, in->after.size > 0 ? &from : NULL, limit + 1, &rows, &count));
	for (size_t i = 0; i < count && i < limit; i++) {
		cc_view rest =
			cc_view_part(rows[i].key, prefix.size, rows[i].key.size - prefix.size);
		cc_view id;
		TRY(store_key_take_name(&rest, &id));
		TRY(describe(x, in->tenant, id, &list[i], &found));
	}
	out->connectors = list;
	out->count = count > limit ? limit : count;
	out->more = count > limit;
	out->result = STORE_OK;
out:
	return err;
}

cc_err store_lmdb_connector_set(struct store_tx *x, const struct store_connector_set_in *in,
	struct store_connector_set_out *out)
{
	struct store_dbkey key = connector_key(in->tenant, in->id);
	Queue__Connector *row;
	Queue__Session *session;
	cc_err err = CC_OK;

	TRY(store_row_find(x, T_CONN, &key, &queue__connector__descriptor, &row));
	TRY(store_session_find(x, in->tenant, in->id, &session));
	out->result = STORE_UNKNOWN;
	if (row == NULL || session == NULL)
		return CC_OK;
	out->result = STORE_OK;
	if (in->set_disabled) {
		row->disabled = in->disabled;
		TRY(store_row_put(x, T_CONN, &key, row));
	}
	if (in->resume) {
		session->suspended = false;
		session->refused_row = 0;
		TRY(store_session_put(x, in->tenant, in->id, session));
	}
	if (in->forget_journal)
		TRY(reset_session(x, in->tenant, in->id, false));
	x->s->routes_due_ms = 0;
out:
	return err;
}

/* ---- enrolment tokens ------------------------------------------------------------------------- */

static cc_err find_enrolment(struct store_tx *x, cc_view token_id, Queue__Enrolment **ret)
{
	struct store_dbkey key = store_key_name(token_id);
	return store_row_find(x, T_ENROL, &key, &queue__enrolment__descriptor, ret);
}

cc_err store_lmdb_enrol_put(
	struct store_tx *x, const struct store_enrol_put_in *in, struct store_enrol_put_out *out)
{
	struct store_dbkey key = store_key_name(in->token_id);
	Queue__Enrolment row = QUEUE__ENROLMENT__INIT;
	Queue__Enrolment *old;
	bool known;
	cc_err err = CC_OK;

	TRY(tenant_is_known(x, in->tenant, &known));
	TRY(find_enrolment(x, in->token_id, &old));
	out->result = !known ? STORE_UNKNOWN : STORE_CONFLICT;
	if (!known || old != NULL)
		return CC_OK;
	row.tenant = store_row_borrow(in->tenant);
	row.connector = store_row_borrow(in->connector);
	row.groups = store_row_binaries(x, in->groups, in->group_count);
	row.n_groups = in->group_count;
	row.secret = store_row_borrow(in->secret);
	row.not_after_s = in->not_after_s;
	TRY(store_row_put(x, T_ENROL, &key, &row));
	out->result = STORE_NEW;
out:
	return err;
}

cc_err store_lmdb_enrol_get(
	struct store_tx *x, const struct store_enrol_get_in *in, struct store_enrol_get_out *out)
{
	Queue__Enrolment *e;
	cc_err err = CC_OK;

	TRY(find_enrolment(x, in->token_id, &e));
	out->result = e == NULL ? STORE_UNKNOWN : STORE_OK;
	if (e == NULL)
		return CC_OK;
	out->tenant = store_row_view(e->tenant);
	out->connector = store_row_view(e->connector);
	out->groups = store_row_views(x, e->groups, e->n_groups);
	out->group_count = e->n_groups;
	out->secret = store_row_view(e->secret);
	out->not_after_s = e->not_after_s;
	out->used = e->used_by.len > 0;
out:
	return err;
}

/* The answer was lost and the request came again: only the certificate is a new one. */
static cc_err use_again(
	struct store_tx *x, const struct store_enrol_use_in *in, const Queue__Enrolment *e)
{
	struct store_dbkey key =
		connector_key(store_row_view(e->tenant), store_row_view(e->connector));
	Queue__Connector *row;
	cc_err err = CC_OK;

	TRY(store_row_find(x, T_CONN, &key, &queue__connector__descriptor, &row));
	ENSURE(row != NULL, cc_fail(CC_CORRUPT, "store: an enrolled connector is gone"));
	row->certificate_sha256 = store_row_borrow(in->certificate_sha256);
	TRY(store_row_put(x, T_CONN, &key, row));
out:
	return err;
}

static cc_err use_first(
	struct store_tx *x, const struct store_enrol_use_in *in, Queue__Enrolment *e)
{
	struct store_dbkey key = store_key_name(in->token_id);
	struct enrolment enrolment = {.tenant = store_row_view(e->tenant),
		.id = store_row_view(e->connector),
		.result_spki = in->result_spki,
		.certificate_sha256 = in->certificate_sha256,
		.groups = e->groups,
		.group_count = e->n_groups};
	enum store_result made;
	cc_err err = CC_OK;

	TRY(put_connector(x, &enrolment, &made));
	e->used_by = store_row_borrow(in->request_sha256);
	TRY(store_row_put(x, T_ENROL, &key, e));
out:
	return err;
}

cc_err store_lmdb_enrol_use(
	struct store_tx *x, const struct store_enrol_use_in *in, struct store_enrol_use_out *out)
{
	Queue__Enrolment *e;
	cc_err err = CC_OK;

	TRY(find_enrolment(x, in->token_id, &e));
	out->result = STORE_UNKNOWN;
	if (e == NULL)
		return CC_OK;
	out->result = STORE_EXPIRED;
	if (in->now_s > e->not_after_s)
		return CC_OK;
	if (e->used_by.len == 0) {
		TRY(use_first(x, in, e));
		out->result = STORE_OK;
	} else if (cc_view_equal(store_row_view(e->used_by), in->request_sha256)) {
		TRY(use_again(x, in, e));
		out->result = STORE_SAME;
	} else {
		out->result = STORE_USED;
	}
out:
	return err;
}
