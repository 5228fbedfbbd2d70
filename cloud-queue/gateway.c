/*
 * The list of sessions, and the store's hints: new work wakes the sessions of its tenant, a job that
 * went elsewhere is told to its holder.
 */
#include "cloud-queue/gateway.h"

#include "base/text.h"
#include "cloud-queue/gateway_int.h"
#include "cloud-queue/queue_int.h"
#include <stdlib.h>

/* Who has the most room asks first; the others ask for what is left. */
static void feed_all(struct gateway *g, cc_view tenant)
{
	struct gateway_session *first = NULL;

	for (struct gateway_session *s = g->sessions; s; s = s->next) {
		if (text_equal(tenant, s->who.tenant) &&
			(!first || gateway_session_room(s) > gateway_session_room(first)))
			first = s;
	}
	if (!first)
		return;
	gateway_session_feed(first);
	for (struct gateway_session *s = g->sessions; s; s = s->next) {
		if (s != first && text_equal(tenant, s->who.tenant))
			gateway_session_feed(s);
	}
}

static void on_hint(void *arg, const struct store_hint *hint)
{
	struct gateway *g = arg;

	if (hint->kind == STORE_HINT_READY) {
		feed_all(g, hint->tenant);
		return;
	}
	for (struct gateway_session *s = g->sessions, *next; s; s = next) {
		next = s->next;
		if (!gateway_session_is(s, hint->tenant, hint->connector))
			continue;
		if (hint->kind == STORE_HINT_GONE)
			gateway_jobs_gone(s, hint);
		else
			gateway_offer_recall(s, hint);
	}
}

cc_err gateway_open(struct queue *q, struct gateway **ret)
{
	static const struct gateway_wss_events events = {
		.opened = gateway_session_opened,
		.message = gateway_session_message,
		.closed = gateway_session_closed,
	};
	struct gateway *g = cc_alloc(sizeof(*g));
	cc_err err = CC_OK;

	g->queue = q;
	TRY(gateway_wss_open(q->loop, q->config, &events, g, &g->wss));
	store_listen(
		q->store, STORE_HINT_READY | STORE_HINT_GONE | STORE_HINT_RECALLED, on_hint, g);
	*ret = g;
	g = NULL;
out:
	free(g);
	return err;
}

void gateway_free(struct gateway *g)
{
	if (!g)
		return;
	gateway_wss_free(g->wss);
	free(g);
}

uint32_t gateway_port(const struct gateway *g)
{
	return gateway_wss_port(g->wss);
}

size_t gateway_connected(const struct gateway *g)
{
	size_t n = 0;

	for (const struct gateway_session *s = g->sessions; s; s = s->next)
		n += s->state >= GW_RESUMING && s->state < GW_CLOSED;
	return n;
}

void gateway_drain(struct gateway *g)
{
	g->draining = true;
	for (struct gateway_session *s = g->sessions, *next; s; s = next) {
		next = s->next;
		gateway_session_drain(s);
	}
}

void gateway_hang_up(struct gateway *g)
{
	for (struct gateway_session *s = g->sessions; s; s = s->next) {
		if (s->connection)
			gateway_connection_close(s->connection, WSS_CLOSE_GOING_AWAY, "stopping");
	}
}

bool gateway_is_idle(const struct gateway *g)
{
	return g->session_count == 0;
}

void gateway_disconnect(struct gateway *g, cc_view tenant, cc_view connector, const char *why)
{
	for (struct gateway_session *s = g->sessions, *next; s; s = next) {
		next = s->next;
		if (gateway_session_is(s, tenant, connector))
			gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_DISABLED, why);
	}
}
