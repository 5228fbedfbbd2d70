/*
 * The embedded store: routes, that is who can do a job.
 *
 * A route is the hash of what a job needs; its row spells it out.  Lease walks the routes that have
 * work, so a queue full of work for an absent key costs one look and starves nobody.  A route that no
 * live connector serves for a while is reported once.  Connectors refer to no row, jobs do until their
 * header goes (a replay makes one READY again): the row counts them and goes with the last.
 */
#include "cloud-queue/store_lmdb.h"

#include "base/hash.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WATCH_EVERY_MS = 30 * 1000, PAGE = 256 };

static int by_bytes(const void *a, const void *b)
{
	return cc_view_compare(*(const cc_view *)a, *(const cc_view *)b);
}

void store_route_hash(const struct store_route *r, uint8_t ret[ROUTE_SIZE])
{
	cc_view items[3 + 16 + 1];
	uint8_t kind = (uint8_t)r->kind;
	uint8_t digest[SHA256_SIZE];
	size_t keys = r->key_id_count > 16 ? 16 : r->key_id_count;

	items[0] = cc_view_of(&kind, 1);
	items[1] = r->ca_profile;
	items[2] = r->audience;
	for (size_t i = 0; i < keys; i++)
		items[3 + i] = r->key_ids[i];
	qsort(items + 3, keys, sizeof(items[0]), by_bytes);
	hash_items(items, 3 + keys, digest);
	memcpy(ret, digest, ROUTE_SIZE);
}

static struct store_dbkey route_key(cc_view tenant, cc_view hash)
{
	struct store_dbkey k = store_key_name(tenant);
	store_key_add(&k, hash);
	return k;
}

static struct store_dbkey connector_key(cc_view tenant, cc_view id)
{
	struct store_dbkey k = store_key_name(tenant);
	store_key_add_name(&k, id);
	return k;
}

/* ---- who serves ------------------------------------------------------------------------------- */

cc_err store_route_server(
	struct store_tx *x, cc_view tenant, cc_view connector, struct store_server *ret)
{
	struct store_dbkey key = connector_key(tenant, connector);
	struct store_server s = {.id = connector};
	cc_err err = CC_OK;

	TRY(store_row_find(x, T_CONN, &key, &queue__connector__descriptor, &s.connector));
	TRY(store_row_find(x, T_CAPS, &key, &queue__capability__descriptor, &s.caps));
	*ret = s;
out:
	return err;
}

static bool among(cc_view what, const ProtobufCBinaryData *items, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (cc_view_equal(what, store_row_view(items[i])))
			return true;
	}
	return false;
}

static bool has_a_key(const Queue__Route *r, const Queue__Capability *caps)
{
	for (size_t i = 0; i < caps->n_keys; i++) {
		if (among(store_row_view(caps->keys[i]->key_id), r->key_ids, r->n_key_ids))
			return true;
	}
	return r->n_key_ids == 0;
}

bool store_route_served(const Queue__Route *r, const struct store_server *by)
{
	cc_view profile = store_row_view(r->ca_profile);
	cc_view audience = store_row_view(r->audience);

	if (by->connector == NULL || by->connector->disabled || by->caps == NULL)
		return false;
	if ((by->caps->kinds & STORE_KIND_BIT(r->kind)) == 0)
		return false;
	if (profile.size > 0 && !among(profile, by->caps->ca_profiles, by->caps->n_ca_profiles))
		return false;
	if (audience.size > 0 && !cc_view_equal(audience, by->id) &&
		!among(audience, by->connector->groups, by->connector->n_groups))
		return false;
	return has_a_key(r, by->caps);
}

/* Connectors of the tenant that have a session and are not suspended. */
static cc_err live_servers(
	struct store_tx *x, cc_view tenant, struct store_server **ret, size_t *ret_count)
{
	struct store_dbkey prefix = store_key_name(tenant);
	struct store_row *rows;
	struct store_server *servers = NULL;
	size_t count, live = 0;
	cc_err err = CC_OK;

	TRY(store_row_scan(x, T_SESSION, &prefix, NULL, SIZE_MAX, &rows, &count));
	for (size_t i = 0; i < count; i++) {
		cc_view rest =
			cc_view_part(rows[i].key, prefix.size, rows[i].key.size - prefix.size);
		cc_view id;
		Queue__Session *session;
		TRY(store_key_take_name(&rest, &id));
		TRY(store_row_unpack(x, &queue__session__descriptor, rows[i].value, &session));
		if (!session->open || session->suspended)
			continue;
		servers = store_mem_grow(x->mem, servers, live, sizeof(*servers));
		TRY(store_route_server(x, tenant, id, &servers[live]));
		live++;
	}
	*ret = servers;
	*ret_count = live;
out:
	return err;
}

static bool anyone_serves(const Queue__Route *r, const struct store_server *servers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (store_route_served(r, &servers[i]))
			return true;
	}
	return false;
}

/* ---- rows of routes --------------------------------------------------------------------------- */

static Queue__Route *make_route(struct store_tx *x, const struct store_route *r)
{
	Queue__Route *row = store_mem_get(x->mem, sizeof(*row));

	queue__route__init(row);
	row->kind = r->kind;
	row->ca_profile = store_row_borrow(r->ca_profile);
	row->audience = store_row_borrow(r->audience);
	row->key_ids = store_row_binaries(x, r->key_ids, r->key_id_count);
	row->n_key_ids = r->key_id_count;
	row->unserved_since_ms = x->now;
	row->counted = true;
	return row;
}

cc_err store_route_note(struct store_tx *x, cc_view tenant, const struct store_route *r,
	uint8_t ret_hash[ROUTE_SIZE], bool *ret_routable)
{
	struct store_dbkey key;
	struct store_server *servers;
	Queue__Route *row;
	size_t count;
	cc_err err = CC_OK;

	store_route_hash(r, ret_hash);
	key = route_key(tenant, cc_view_of(ret_hash, ROUTE_SIZE));
	TRY(store_row_find(x, T_ROUTE, &key, &queue__route__descriptor, &row));
	if (row == NULL)
		row = make_route(x, r);
	/* the watch sees only routes with waiting work, so "unserved" may be old news */
	if (row->unserved_since_ms != 0) {
		TRY(live_servers(x, tenant, &servers, &count));
		if (anyone_serves(row, servers, count)) {
			row->unserved_since_ms = 0;
			row->reported = false;
		}
	}
	row->jobs++;
	TRY(store_row_put(x, T_ROUTE, &key, row));
	*ret_routable = row->unserved_since_ms == 0;
out:
	return err;
}

cc_err store_route_forget(struct store_tx *x, cc_view tenant, cc_view hash)
{
	struct store_dbkey key = route_key(tenant, hash);
	Queue__Route *row;
	cc_err err = CC_OK;

	TRY(store_row_find(x, T_ROUTE, &key, &queue__route__descriptor, &row));
	if (row == NULL || !row->counted)
		return CC_OK;
	row->jobs = row->jobs > 0 ? row->jobs - 1 : 0;
	if (row->jobs == 0)
		TRY(store_row_delete(x, T_ROUTE, &key));
	else
		TRY(store_row_put(x, T_ROUTE, &key, row));
out:
	return err;
}

cc_err store_route_next_ready(struct store_tx *x, cc_view tenant, cc_view after, cc_view *ret)
{
	struct store_dbkey prefix = store_key_name(tenant);
	struct store_dbkey from = route_key(tenant, after);
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	if (after.size > 0)
		store_key_add_last(&from);
	TRY(store_row_scan(x, T_READY, &prefix, &from, 1, &rows, &count));
	if (count == 0)
		*ret = CC_VIEW_NONE;
	else
		*ret = cc_view_part(rows[0].key, prefix.size, ROUTE_SIZE);
out:
	return err;
}

/* ---- routes that nobody serves ---------------------------------------------------------------- */

static const char *const kind_names[] = {"", "issue", "rewrap", "revoke", "chain"};

static void tell_unroutable(struct store_tx *x, cc_view tenant, const Queue__Route *r)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "kind=%s ca_profile=%.*s audience=%.*s keys=%zu",
		r->kind < 5 ? kind_names[r->kind] : "", (int)r->ca_profile.len,
		(const char *)r->ca_profile.data, (int)r->audience.len,
		(const char *)r->audience.data, r->n_key_ids);
	struct store_hint hint = {.kind = STORE_HINT_UNROUTABLE,
		.tenant = tenant,
		.text = cc_view_of(text, n > 0 && (size_t)n < sizeof(text) ? (size_t)n : 0)};
	store_op_hint(x->op, &hint);
}

static cc_err watch_route(struct store_tx *x, cc_view tenant, cc_view hash,
	const struct store_server *servers, size_t count)
{
	struct store_dbkey key = route_key(tenant, hash);
	Queue__Route *r;
	cc_err err = CC_OK;

	TRY(store_row_find(x, T_ROUTE, &key, &queue__route__descriptor, &r));
	if (r == NULL)
		return CC_OK;
	bool served = anyone_serves(r, servers, count);
	if (served == (r->unserved_since_ms == 0) &&
		(served || r->reported ||
			x->now - r->unserved_since_ms < x->config->unroutable_after_ms))
		return CC_OK;
	if (served) {
		r->unserved_since_ms = 0;
		r->reported = false;
	} else if (r->unserved_since_ms == 0) {
		r->unserved_since_ms = x->now;
	} else {
		r->reported = true;
		tell_unroutable(x, tenant, r);
	}
	TRY(store_row_put(x, T_ROUTE, &key, r));
out:
	return err;
}

static cc_err watch_tenant(struct store_tx *x, cc_view tenant)
{
	struct store_server *servers;
	size_t count;
	cc_view route = CC_VIEW_NONE;
	cc_err err = CC_OK;

	TRY(live_servers(x, tenant, &servers, &count));
	for (;;) {
		TRY(store_route_next_ready(x, tenant, route, &route));
		if (route.size == 0)
			break;
		TRY(watch_route(x, tenant, route, servers, count));
	}
out:
	return err;
}

cc_err store_route_watch(struct store_tx *x)
{
	struct store_dbkey all = {.size = 0}, from = {.size = 0};
	struct store_row *rows;
	size_t count = PAGE;
	cc_err err = CC_OK;

	if (x->now < x->s->routes_due_ms)
		return CC_OK;
	while (count == PAGE) {
		TRY(store_row_scan(
			x, T_TENANT, &all, from.size > 0 ? &from : NULL, PAGE, &rows, &count));
		for (size_t i = 0; i < count; i++) {
			cc_view rest = rows[i].key, tenant;
			TRY(store_key_take_name(&rest, &tenant));
			TRY(watch_tenant(x, tenant));
			from = store_key_name(tenant);
			store_key_add_u8(&from, 0);
		}
	}
	x->s->routes_due_ms = x->now + WATCH_EVERY_MS;
out:
	return err;
}

cc_err store_route_unserved(
	struct store_tx *x, cc_view tenant, uint64_t *ret_routes, uint64_t *ret_unserved)
{
	cc_view route = CC_VIEW_NONE;
	Queue__Route *r;
	cc_err err = CC_OK;

	for (;;) {
		TRY(store_route_next_ready(x, tenant, route, &route));
		if (route.size == 0)
			break;
		struct store_dbkey key = route_key(tenant, route);
		TRY(store_row_find(x, T_ROUTE, &key, &queue__route__descriptor, &r));
		(*ret_routes)++;
		if (r != NULL && r->reported)
			(*ret_unserved)++;
	}
out:
	return err;
}
