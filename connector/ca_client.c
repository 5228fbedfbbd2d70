/*
 * The runners' operations as messages, what each backend can do, and how each CA is.
 */
#include "connector/ca_client.h"

#include "base/clock.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

enum {
	CALL_MS = 120 * 1000,
	HEALTH_EVERY_MS = 30 * 1000,
	HEALTH_LIMIT_MS = 20 * 1000,
};

struct ca_client {
	struct ca_clients *all;
	struct peer *peer;
	Ca__Properties *properties;
	const char *state;
	char *reason;
	int64_t checked_ms;
	bool checking;
};

struct ca_clients {
	const struct ca_client_events *events;
	void *arg;
	struct ca_client **items;
	size_t count;
	struct loop_timer *timer;
};

struct ca_call {
	ca_answer_fn fn;
	void *arg;
};

static uint64_t answer_id(const void *answer)
{
	return ((const Ca__CaAnswer *)answer)->request_id;
}

static const struct peer_kind kind = {
	.role = ROLE__ROLE_KIND__ROLE_CA_RUNNER,
	.answer = &ca__ca_answer__descriptor,
	.answer_id = answer_id,
};

static void on_answer(void *arg, cc_err err, const void *answer)
{
	struct ca_call call = *(struct ca_call *)arg;
	free(arg);
	call.fn(call.arg, err, answer);
}

static cc_err make_call(
	struct ca_client *ca, Ca__CaRequest *request, int64_t limit_ms, ca_answer_fn fn, void *arg)
{
	struct ca_call *call = cc_alloc(sizeof *call);
	cc_blob packed = CC_BLOB_NONE;
	cc_err err;
	call->fn = fn;
	call->arg = arg;
	request->request_id = peer_next_id(ca->peer);
	packed = codec_pack(request);
	err = peer_call(
		ca->peer, request->request_id, cc_blob_view(&packed), limit_ms, on_answer, call);
	if (err != CC_OK)
		free(call);
	cc_blob_free(&packed);
	return err;
}

/* ---- health ---- */

static void set_health(struct ca_client *ca, const char *state, cc_view reason)
{
	char *copy = text_is_clean(reason, 512) ? cc_strndup(reason) : cc_strdup("");
	free(ca->reason);
	ca->reason = copy;
	ca->state = state;
	ca->checked_ms = clock_realtime_ms();
}

static void on_health(void *arg, cc_err err, const Ca__CaAnswer *answer)
{
	struct ca_client *ca = arg;
	ca->checking = false;
	if (err != CC_OK) {
		set_health(ca, "unreachable", cc_view_text(cc_err_detail(err)));
		return;
	}
	cc_view reason = codec_view(answer->reason);
	switch (answer->result) {
	case CA__CA_RESULT__CA_DONE:
		set_health(ca, "ok", reason);
		break;
	case CA__CA_RESULT__CA_MISCONFIGURED:
		set_health(ca, "misconfigured", reason);
		break;
	default:
		set_health(ca, "unreachable", reason);
		break;
	}
}

static void check_health(struct ca_client *ca)
{
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Health op = CA__HEALTH__INIT;
	request.op_case = CA__CA_REQUEST__OP_HEALTH;
	request.health = &op;
	if (ca->checking || !peer_is_connected(ca->peer))
		return;
	ca->checking = make_call(ca, &request, HEALTH_LIMIT_MS, on_health, ca) == CC_OK;
}

static void on_described(void *arg, cc_err err, const Ca__CaAnswer *answer)
{
	struct ca_client *ca = arg;
	cc_blob packed = CC_BLOB_NONE;
	if (err != CC_OK || answer->properties == NULL) {
		set_health(
			ca, "unreachable", cc_view_text("the runner did not say what it can do"));
		return;
	}
	packed = codec_pack(answer->properties);
	codec_free(ca->properties);
	ca->properties = NULL;
	err = codec_decode(&ca__properties__descriptor, cc_blob_view(&packed), CHAN_FRAME_MAX,
		&ca->properties);
	cc_blob_free(&packed);
	if (err != CC_OK)
		return;
	check_health(ca);
	ca->all->events->ready(ca->all->arg, ca);
}

static void describe(struct ca_client *ca)
{
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Describe op = CA__DESCRIBE__INIT;
	request.op_case = CA__CA_REQUEST__OP_DESCRIBE;
	request.describe = &op;
	cc_ignore(make_call(ca, &request, HEALTH_LIMIT_MS, on_described, ca),
		"a conversation that breaks is renewed, and it is asked again");
}

static void on_timer(void *arg)
{
	struct ca_clients *cs = arg;
	for (size_t i = 0; i < cs->count; i++) {
		struct ca_client *ca = cs->items[i];
		if (peer_is_connected(ca->peer) && ca->properties == NULL)
			describe(ca);
		else
			check_health(ca);
	}
	loop_timer_set(cs->timer, HEALTH_EVERY_MS);
}

/* ---- conversations ---- */

static void on_connected(void *arg)
{
	describe(arg);
}

static void on_lost(void *arg, cc_err why)
{
	struct ca_client *ca = arg;
	codec_free(ca->properties);
	ca->properties = NULL;
	set_health(ca, "starting", cc_view_text("the conversation with the runner broke"));
	ca->all->events->lost(ca->all->arg, ca, why);
}

static const struct peer_events peer_events = {.connected = on_connected, .lost = on_lost};

struct ca_clients *ca_clients_new(struct loop *l, char *const *names, size_t count,
	const char *build_id, const struct ca_client_events *events, void *arg)
{
	struct ca_clients *cs = cc_alloc(sizeof *cs);
	cs->events = events;
	cs->arg = arg;
	cs->items = cc_alloc((count + 1) * sizeof *cs->items);
	cs->count = count;
	for (size_t i = 0; i < count; i++) {
		struct ca_client *ca = cc_alloc(sizeof *ca);
		ca->all = cs;
		ca->state = "starting";
		ca->reason = cc_strdup("");
		ca->peer = peer_new(l, &kind, names[i], build_id, &peer_events, ca);
		cs->items[i] = ca;
	}
	cs->timer = loop_timer_new(l, on_timer, cs);
	loop_timer_set(cs->timer, HEALTH_EVERY_MS);
	return cs;
}

void ca_clients_free(struct ca_clients *cs)
{
	if (cs == NULL)
		return;
	loop_timer_free(cs->timer);
	for (size_t i = 0; i < cs->count; i++) {
		struct ca_client *ca = cs->items[i];
		peer_free(ca->peer);
		codec_free(ca->properties);
		free(ca->reason);
		free(ca);
	}
	free(cs->items);
	free(cs);
}

struct ca_client *ca_clients_find(const struct ca_clients *cs, cc_view name)
{
	for (size_t i = 0; i < cs->count; i++) {
		if (text_equal(name, peer_name(cs->items[i]->peer)))
			return cs->items[i];
	}
	return NULL;
}

size_t ca_clients_count(const struct ca_clients *cs)
{
	return cs->count;
}

struct ca_client *ca_clients_at(const struct ca_clients *cs, size_t i)
{
	return cs->items[i];
}

void ca_client_attach(struct ca_client *ca, int fd)
{
	codec_free(ca->properties);
	ca->properties = NULL;
	peer_attach(ca->peer, fd);
}

bool ca_client_is_ready(const struct ca_client *ca)
{
	return ca->properties != NULL && peer_is_connected(ca->peer);
}

const char *ca_client_name(const struct ca_client *ca)
{
	return peer_name(ca->peer);
}

const Ca__Properties *ca_client_properties(const struct ca_client *ca)
{
	return ca->properties;
}

/* ---- operations ---- */

cc_err ca_client_submit(struct ca_client *ca, cc_view order, bool again, ca_answer_fn fn, void *arg)
{
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Submit op = CA__SUBMIT__INIT;
	cc_err err = CC_OK;
	TRY(codec_decode(&certq__signed_document__descriptor, order, CHAN_FRAME_MAX, &op.order));
	request.op_case = CA__CA_REQUEST__OP_SUBMIT;
	request.submit = &op;
	op.again = again;
	TRY(make_call(ca, &request, CALL_MS, fn, arg));
out:
	codec_free(op.order);
	return err;
}

/* Of an order that was just decoded: packing does not change it. */
cc_err ca_client_poll(struct ca_client *ca, const Certq__SignedDocument *order, cc_view cookie,
	ca_answer_fn fn, void *arg)
{
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Poll op = CA__POLL__INIT;
	Certq__SignedDocument copy = *order;
	op.order = &copy;
	op.cookie = codec_bytes(cookie);
	request.op_case = CA__CA_REQUEST__OP_POLL;
	request.poll = &op;
	return make_call(ca, &request, CALL_MS, fn, arg);
}

cc_err ca_client_withdraw(struct ca_client *ca, const Certq__SignedDocument *order, cc_view cookie,
	ca_answer_fn fn, void *arg)
{
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Withdraw op = CA__WITHDRAW__INIT;
	Certq__SignedDocument copy = *order;
	op.order = &copy;
	op.cookie = codec_bytes(cookie);
	request.op_case = CA__CA_REQUEST__OP_WITHDRAW;
	request.withdraw = &op;
	return make_call(ca, &request, CALL_MS, fn, arg);
}

cc_err ca_client_revoke(struct ca_client *ca, cc_view order, ca_answer_fn fn, void *arg)
{
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Revoke op = CA__REVOKE__INIT;
	cc_err err = CC_OK;
	TRY(codec_decode(&certq__signed_document__descriptor, order, CHAN_FRAME_MAX, &op.order));
	request.op_case = CA__CA_REQUEST__OP_REVOKE;
	request.revoke = &op;
	TRY(make_call(ca, &request, CALL_MS, fn, arg));
out:
	codec_free(op.order);
	return err;
}

cc_err ca_client_find(struct ca_client *ca, const Ca__Find *find, ca_answer_fn fn, void *arg)
{
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Find op = *find;
	request.op_case = CA__CA_REQUEST__OP_FIND;
	request.find = &op;
	return make_call(ca, &request, CALL_MS, fn, arg);
}

cc_err ca_client_chain(struct ca_client *ca, ca_answer_fn fn, void *arg)
{
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Chain op = CA__CHAIN__INIT;
	request.op_case = CA__CA_REQUEST__OP_CHAIN;
	request.chain = &op;
	return make_call(ca, &request, CALL_MS, fn, arg);
}

void ca_client_health(const struct ca_client *ca, struct ca_client_health *ret)
{
	ret->state = ca->state;
	ret->reason = ca->reason;
	ret->checked_ms = ca->checked_ms;
	ret->backend = CC_VIEW_NONE;
	if (ca->properties != NULL && text_is_clean(codec_view(ca->properties->backend), 64))
		ret->backend = codec_view(ca->properties->backend);
}
