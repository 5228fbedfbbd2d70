/*
 * The operations of the control socket: one table of name, members and function.  Each checks its
 * members, asks the store, and answers in the store's callback.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud-queue/control_int.h"
#include "cloud-queue/gateway.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/queue_json.h"
#include "proto/codec.h"
#include "proto/dsse.h"
#include "proto/enroll.h"
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define ENROLMENT_S  86400u
#define PRODUCER_S   7776000u
#define LIFETIME_MAX (366u * 86400u)
#define GROUPS_MAX   16u
#define SPKI_MAX     1024u
#define TOKEN_PREFIX "certq-producer-1."

/* ---- answers; each ends the op ---- */

static void finish(struct control_op *op, json_t *answer)
{
	struct control_peer *peer = op->peer;

	json_decref(op->request);
	json_decref(op->answer);
	free(op);
	control_answer(peer, answer);
}

void control_op_done(struct control_op *op)
{
	json_t *answer = op->answer;

	op->answer = NULL;
	json_object_set_new(answer, "ok", json_true());
	finish(op, answer);
}

void control_op_fail(struct control_op *op, const char *code, const char *detail)
{
	finish(op, json_pack("{s:b, s:s, s:s}", "ok", 0, "code", code, "detail", detail));
}

/* The words for a verdict of the store that is not success. */
void control_op_refuse(struct control_op *op, cc_err err, enum store_result result)
{
	if (err != CC_OK)
		control_op_fail(op, "store", cc_err_detail(err));
	else if (result == STORE_UNKNOWN || result == STORE_UNKNOWN_JOB)
		control_op_fail(op, "not_found", "not found");
	else if (result == STORE_CONFLICT || result == STORE_SAME)
		control_op_fail(op, "conflict", "something else is registered under this name");
	else if (result == STORE_NOT_DUE)
		control_op_fail(op, "not_due", "its owner may still finish it");
	else if (result == STORE_ALREADY)
		control_op_fail(op, "already", "the job is final already");
	else if (result == STORE_TOO_LATE)
		control_op_fail(op, "refused", "it is claimed at a CA and not settled");
	else
		control_op_fail(op, "refused", "the store refuses");
}

/* ---- members ---- */

cc_view control_op_text(const struct control_op *op, const char *name)
{
	const json_t *value = json_object_get(op->request, name);

	return json_is_string(value)
		       ? cc_view_of(json_string_value(value), json_string_length(value))
		       : CC_VIEW_NONE;
}

static bool lifetime(const struct control_op *op, uint32_t fallback, int64_t *ret_not_after)
{
	const json_t *value = json_object_get(op->request, "lifetime_s");
	json_int_t seconds = value ? json_integer_value(value) : (json_int_t)fallback;

	if (seconds < 1 || seconds > (json_int_t)LIFETIME_MAX)
		return false;
	*ret_not_after = clock_realtime_s() + (int64_t)seconds;
	return true;
}

/* ---- ping, stats ---- */

static void op_ping(struct control_op *op)
{
	json_object_set_new(op->answer, "version", json_string(CC_RELEASE));
	json_object_set_new(
		op->answer, "connector_port", json_integer(queue_connector_port(op->queue)));
	json_object_set_new(
		op->answer, "producer_port", json_integer(queue_producer_port(op->queue)));
	control_op_done(op);
}

static void on_stats(void *arg, const struct store_stats_out *out)
{
	static const char *const names[STORE_STATE_COUNT] = {[STORE_READY] = "ready",
		[STORE_LEASED] = "leased",
		[STORE_CLAIMED] = "claimed",
		[STORE_PARKED] = "parked",
		[STORE_HELD] = "held",
		[STORE_DONE] = "done",
		[STORE_DEAD] = "dead",
		[STORE_CANCELLED_STATE] = "cancelled"};
	struct control_op *op = arg;
	json_t *jobs;

	if (out->err != CC_OK || out->result != STORE_OK) {
		control_op_refuse(op, out->err, out->result);
		return;
	}
	jobs = json_object();
	for (size_t i = STORE_READY; i < STORE_STATE_COUNT; i++)
		json_object_set_new(jobs, names[i], json_integer((json_int_t)out->jobs[i]));
	json_object_set_new(op->answer, "jobs", jobs);
	json_object_set_new(op->answer, "connected",
		json_integer((json_int_t)gateway_connected(op->queue->gateway)));
	json_object_set_new(op->answer, "routes", json_integer((json_int_t)out->routes));
	json_object_set_new(op->answer, "unroutable", json_integer((json_int_t)out->unroutable));
	json_object_set_new(op->answer, "store_bytes", json_integer((json_int_t)out->file_bytes));
	/* a full 64-bit number: as text, for JSON numbers are not exact there */
	json_object_set_new(op->answer, "generation",
		json_sprintf("%llu", (unsigned long long)out->generation));
	control_op_done(op);
}

static void op_stats(struct control_op *op)
{
	store_stats(op->queue->store,
		&(struct store_stats_in){.tenant = control_op_text(op, "tenant")}, on_stats, op);
}

/* ---- tenants and tokens ---- */

static void on_tenant(void *arg, const struct store_tenant_put_out *out)
{
	struct control_op *op = arg;

	if (out->err == CC_OK &&
		(out->result == STORE_NEW || out->result == STORE_SAME || out->result == STORE_OK))
		control_op_done(op);
	else
		control_op_refuse(op, out->err, out->result);
}

static void op_tenant_add(struct control_op *op)
{
	struct store_tenant_put_in in = {.tenant = {.name = control_op_text(op, "tenant")}};
	uint8_t id[SHA256_SIZE];
	cc_blob spki = CC_BLOB_NONE;
	EVP_PKEY *key = NULL;

	if (!text_is_name(in.tenant.name) ||
		text_from_base64(control_op_text(op, "job_root"), SPKI_MAX, &spki) != CC_OK ||
		dsse_public_key(cc_blob_view(&spki), &key) != CC_OK) {
		cc_blob_free(&spki);
		control_op_fail(op, "malformed",
			"tenant: a name; job_root: base64 of an Ed25519 or P-256 SPKI");
		return;
	}
	EVP_PKEY_free(key);
	dsse_key_id(cc_blob_view(&spki), id);
	in.tenant.job_root = cc_blob_view(&spki);
	json_object_set_new(op->answer, "tenant", queue_json_text(in.tenant.name));
	json_object_set_new(op->answer, "job_root_id", queue_json_hex(cc_view_of(id, sizeof(id))));
	store_tenant_put(op->queue->store, &in, on_tenant, op);
	cc_blob_free(&spki);
}

static void on_enrolment(void *arg, const struct store_enrol_put_out *out)
{
	struct control_op *op = arg;

	if (out->err == CC_OK && out->result == STORE_NEW)
		control_op_done(op);
	else
		control_op_refuse(op, out->err, out->result);
}

/* The token's text: everything the connector's host has to know, and the secret. */
static void set_enrolment_text(
	struct control_op *op, const struct store_enrol_put_in *in, cc_view job_root)
{
	Certq__EnrolmentToken token = CERTQ__ENROLMENT_TOKEN__INIT;
	ProtobufCBinaryData groups[GROUPS_MAX];
	uint8_t pin[SHA256_SIZE], root[SHA256_SIZE];
	cc_secret whole = CC_SECRET_NONE;

	dsse_key_id(queue_ca_spki(op->queue->ca), pin);
	dsse_key_id(job_root, root);
	for (size_t i = 0; i < in->group_count; i++)
		groups[i] = codec_bytes(in->groups[i]);
	token.version = 1;
	token.token_id = codec_bytes(in->token_id);
	token.tenant = codec_bytes(in->tenant);
	token.connector_id = codec_bytes(in->connector);
	token.n_groups = in->group_count;
	token.groups = groups;
	token.url = codec_text(op->queue->producer_url);
	token.queue_ca_pin = codec_bytes(cc_view_of(pin, sizeof(pin)));
	token.job_root_id = codec_bytes(cc_view_of(root, sizeof(root)));
	token.secret = codec_bytes(in->secret);
	token.not_after_s = in->not_after_s;
	whole = enroll_token_text(&token);
	while (whole.size > 0 && whole.data[whole.size - 1] == '\n')
		whole.size--;
	json_object_set_new(
		op->answer, "token", json_stringn((const char *)whole.data, whole.size));
	cc_secret_free(&whole);
}

static bool read_groups(const struct control_op *op, cc_view *groups, size_t *ret_count)
{
	const json_t *list = json_object_get(op->request, "groups");
	size_t i;
	json_t *one;

	if ((list && !json_is_array(list)) || json_array_size(list) > GROUPS_MAX)
		return false;
	json_array_foreach(list, i, one)
	{
		groups[i] = cc_view_of(json_string_value(one), json_string_length(one));
		if (!text_is_name(groups[i]))
			return false;
	}
	*ret_count = json_array_size(list);
	return true;
}

static void on_enrolment_tenant(void *arg, const struct store_tenant_get_out *out)
{
	struct control_op *op = arg;
	cc_view groups[GROUPS_MAX];
	uint8_t id[16], secret[32];
	cc_blob token_id = CC_BLOB_NONE;
	struct store_enrol_put_in in = {.tenant = control_op_text(op, "tenant"),
		.connector = control_op_text(op, "connector_id"),
		.groups = groups};

	if (out->err != CC_OK || out->result != STORE_OK) {
		control_op_refuse(op, out->err, out->result);
		return;
	}
	if (!text_is_name(in.connector) || !read_groups(op, groups, &in.group_count) ||
		!lifetime(op, ENROLMENT_S, &in.not_after_s)) {
		control_op_fail(op, "malformed",
			"connector_id and groups: names; lifetime_s: up to 366 days");
		return;
	}
	random_bytes(id, sizeof(id));
	random_secret(secret, sizeof(secret));
	text_hex(cc_view_of(id, sizeof(id)), &token_id);
	in.token_id = cc_blob_view(&token_id);
	in.secret = cc_view_of(secret, sizeof(secret));
	set_enrolment_text(op, &in, out->tenant.job_root);
	json_object_set_new(op->answer, "token_id", queue_json_text(in.token_id));
	json_object_set_new(op->answer, "not_after", queue_json_time(in.not_after_s));
	store_enrol_put(op->queue->store, &in, on_enrolment, op);
	OPENSSL_cleanse(secret, sizeof(secret));
	cc_blob_free(&token_id);
}

static void op_enrolment_token_new(struct control_op *op)
{
	store_tenant_get(op->queue->store,
		&(struct store_tenant_get_in){.name = control_op_text(op, "tenant")},
		on_enrolment_tenant, op);
}

static bool read_scopes(const struct control_op *op, uint32_t *ret)
{
	static const struct {
		const char *name;
		uint32_t scope;
	} names[] = {{"jobs:write", STORE_SCOPE_JOBS_WRITE}, {"jobs:read", STORE_SCOPE_JOBS_READ},
		{"pfx:write", STORE_SCOPE_PFX_WRITE}, {"pfx:read", STORE_SCOPE_PFX_READ},
		{"pfx:content", STORE_SCOPE_PFX_CONTENT},
		{"signers:write", STORE_SCOPE_SIGNERS_WRITE},
		{"connectors:read", STORE_SCOPE_CONNECTORS_READ}};
	const json_t *list = json_object_get(op->request, "scopes");
	uint32_t scopes = 0;
	size_t i;
	json_t *one;

	json_array_foreach(list, i, one)
	{
		uint32_t found = 0;

		for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
			if (json_is_string(one) &&
				strcmp(json_string_value(one), names[n].name) == 0)
				found = names[n].scope;
		}
		if (!found)
			return false;
		scopes |= found;
	}
	*ret = scopes;
	return scopes != 0;
}

static void on_producer(void *arg, const struct store_token_put_out *out)
{
	struct control_op *op = arg;

	if (out->err == CC_OK && out->result == STORE_NEW)
		control_op_done(op);
	else
		control_op_refuse(op, out->err, out->result);
}

static void op_producer_token_new(struct control_op *op)
{
	struct store_token_put_in in = {
		.tenant = control_op_text(op, "tenant"), .name = control_op_text(op, "name")};
	uint8_t bytes[32], sha256[SHA256_SIZE];
	cc_secret whole = CC_SECRET_NONE;
	cc_blob hex = CC_BLOB_NONE;

	if (!text_is_name(in.name) || !read_scopes(op, &in.scopes) ||
		!lifetime(op, PRODUCER_S, &in.not_after_s)) {
		control_op_fail(op, "malformed",
			"name: a name; scopes: a list of scopes; lifetime_s: up to 366 days");
		return;
	}
	random_secret(bytes, sizeof(bytes));
	text_hex(cc_view_of(bytes, sizeof(bytes)), &hex);
	cc_secret_append(&whole, cc_view_text(TOKEN_PREFIX));
	cc_secret_append(&whole, cc_blob_view(&hex));
	hash_sha256(cc_secret_view(&whole), sha256);
	in.sha256 = cc_view_of(sha256, sizeof(sha256));
	json_object_set_new(
		op->answer, "token", json_stringn((const char *)whole.data, whole.size));
	json_object_set_new(op->answer, "not_after", queue_json_time(in.not_after_s));
	store_token_put(op->queue->store, &in, on_producer, op);
	OPENSSL_cleanse(bytes, sizeof(bytes));
	OPENSSL_cleanse(hex.data, hex.size);
	cc_blob_free(&hex);
	cc_secret_free(&whole);
}

/* ---- connectors ---- */

static void on_connectors(void *arg, const struct store_connector_list_out *out)
{
	struct control_op *op = arg;
	json_t *list = json_object_get(op->answer, "connectors");
	struct store_connector_list_in in = {
		.tenant = control_op_text(op, "tenant"), .limit = STORE_LIST_MAX};

	if (out->err != CC_OK) {
		control_op_refuse(op, out->err, out->result);
		return;
	}
	if (!list) {
		list = json_array();
		json_object_set_new(op->answer, "connectors", list);
	}
	for (size_t i = 0; i < out->count; i++) {
		json_t *one = queue_json_connector(&out->connectors[i]);

		json_object_set_new(one, "disabled", json_boolean(out->connectors[i].disabled));
		json_array_append_new(list, one);
	}
	if (out->more && out->count > 0) {
		in.after = out->connectors[out->count - 1].id;
		store_connector_list(op->queue->store, &in, on_connectors, op);
		return;
	}
	control_op_done(op);
}

static void op_connector_list(struct control_op *op)
{
	struct store_connector_list_in in = {
		.tenant = control_op_text(op, "tenant"), .limit = STORE_LIST_MAX};

	store_connector_list(op->queue->store, &in, on_connectors, op);
}

static void on_connector_set(void *arg, const struct store_connector_set_out *out)
{
	struct control_op *op = arg;

	if (out->err != CC_OK || out->result != STORE_OK) {
		control_op_refuse(op, out->err, out->result);
		return;
	}
	if (json_is_true(json_object_get(op->request, "disabled")))
		gateway_disconnect(op->queue->gateway, control_op_text(op, "tenant"),
			control_op_text(op, "connector_id"), "disabled");
	control_op_done(op);
}

static void op_connector_disable(struct control_op *op)
{
	const json_t *disabled = json_object_get(op->request, "disabled");
	struct store_connector_set_in in = {.tenant = control_op_text(op, "tenant"),
		.id = control_op_text(op, "connector_id"),
		.set_disabled = true,
		.disabled = json_is_true(disabled),
		.resume = json_is_false(disabled)};

	if (!json_is_boolean(disabled))
		control_op_fail(op, "malformed", "disabled: true or false");
	else
		store_connector_set(op->queue->store, &in, on_connector_set, op);
}

/* Whoever comes next under this identity is the one: a connection of now is of the journal that is given up. */
static void op_connector_adopt(struct control_op *op)
{
	struct store_connector_set_in in = {.tenant = control_op_text(op, "tenant"),
		.id = control_op_text(op, "connector_id"),
		.forget_journal = true};

	gateway_disconnect(op->queue->gateway, in.tenant, in.id, "adopt");
	store_connector_set(op->queue->store, &in, on_connector_set, op);
}

/* ---- the table ---- */

#define MEMBERS_MAX 5

static const struct rule {
	const char *name;
	void (*run)(struct control_op *op);
	bool logged; /* it changes something */
	const char *members[MEMBERS_MAX];
} rules[] = {
	{"ping", op_ping, false, {NULL}},
	{"stats", op_stats, false, {"tenant"}},
	{"tenant_add", op_tenant_add, true, {"tenant", "job_root"}},
	{"enrolment_token_new", op_enrolment_token_new, true,
		{"tenant", "connector_id", "groups", "lifetime_s"}},
	{"producer_token_new", op_producer_token_new, true,
		{"tenant", "name", "scopes", "lifetime_s"}},
	{"connector_list", op_connector_list, false, {"tenant"}},
	{"connector_disable", op_connector_disable, true, {"tenant", "connector_id", "disabled"}},
	{"connector_adopt", op_connector_adopt, true, {"tenant", "connector_id"}},
	{"job_show", control_job_show, false, {"tenant", "job"}},
	{"job_takeover", control_job_takeover, true, {"tenant", "job"}},
	{"job_bury", control_job_bury, true, {"tenant", "job"}},
	{"job_replay", control_job_replay, true, {"tenant", "job"}},
	{"job_cancel", control_job_cancel, true, {"tenant", "job"}},
	{"check", control_check, false, {"tenant", "cursor"}},
};

static const struct rule *find_rule(const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "op"));

	for (size_t i = 0; name && i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (strcmp(name, rules[i].name) == 0)
			return &rules[i];
	}
	return NULL;
}

static bool members_known(const struct rule *rule, json_t *request)
{
	const char *key;
	json_t *value;

	json_object_foreach(request, key, value)
	{
		bool known = strcmp(key, "op") == 0;

		for (size_t i = 0; i < MEMBERS_MAX && rule->members[i]; i++)
			known = known || strcmp(key, rule->members[i]) == 0;
		if (!known)
			return false;
	}
	return true;
}

void control_handle(struct queue *q, struct control_peer *peer, json_t *request)
{
	const struct rule *rule = find_rule(request);
	struct control_op *op = cc_alloc(sizeof(*op));

	op->queue = q;
	op->peer = peer;
	op->request = request;
	op->answer = json_object();
	if (!json_is_object(request)) {
		control_op_fail(op, "malformed", "not one JSON object on a line");
	} else if (!rule) {
		control_op_fail(op, "unknown_op", "no such operation");
	} else if (!members_known(rule, request)) {
		control_op_fail(op, "malformed", "a member that this operation does not know");
	} else {
		if (rule->logged)
			log_event(EV_OPERATOR_REQUEST, LV_TEXT("op", rule->name),
				LV_VIEW("tenant", control_op_text(op, "tenant")),
				LV_VIEW("job", control_op_text(op, "job")),
				LV_VIEW("connector", control_op_text(op, "connector_id")));
		rule->run(op);
	}
}
