/*
 * The libwebsockets side of a connector's connection: assembling messages under limits, the outbox,
 * closing.  What a message means is the session's (gateway_session.c).
 */
#include "cloud-queue/gateway_wss.h"

#include "base/clock.h"
#include "cloud-queue/gateway_vhost.h"
#include <libwebsockets.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK            (16u * 1024u)
#define FRAGMENTS_MAX    64u   /* of one message; 16 carry the largest */
#define MESSAGES_MAX     5000u /* in one second */
#define OUTBOX_MAX       (16u * 1024u * 1024u)
#define CLOSE_WAIT_S     5
#define CLOSE_REASON_MAX 100

struct outgoing {
	struct outgoing *next;
	uint8_t *buffer; /* LWS_PRE bytes of room, then the message */
	size_t size;
	size_t sent;
};

struct gateway_connection {
	struct lws *wsi;
	struct gateway_wss *server;
	void *session;
	size_t message_max;
	cc_blob in;
	unsigned fragments;
	unsigned messages; /* in this second */
	int64_t second;
	struct outgoing *out, **out_end;
	size_t out_bytes;
	bool closing;
	bool peer_closed;
	uint16_t close_code;
	char close_reason[CLOSE_REASON_MAX];
};

struct gateway_wss {
	struct gateway_vhost *vhost;
	const struct gateway_wss_events *events;
	void *arg;
};

/* ---- out ---- */

void gateway_connection_send(struct gateway_connection *c, cc_view message)
{
	struct outgoing *m;

	if (c->closing)
		return;
	if (c->out_bytes + message.size > OUTBOX_MAX) {
		gateway_connection_close(c, WSS_CLOSE_POLICY, "the peer does not read");
		return;
	}
	m = cc_alloc(sizeof(*m));
	m->buffer = cc_alloc(LWS_PRE + message.size);
	memcpy(m->buffer + LWS_PRE, message.data, message.size);
	m->size = message.size;
	*c->out_end = m;
	c->out_end = &m->next;
	c->out_bytes += m->size;
	lws_callback_on_writable(c->wsi);
}

size_t gateway_connection_queued(const struct gateway_connection *c)
{
	return c->out_bytes;
}

static void drop_first(struct gateway_connection *c)
{
	struct outgoing *m = c->out;

	c->out = m->next;
	if (!c->out)
		c->out_end = &c->out;
	c->out_bytes -= m->size;
	free(m->buffer);
	free(m);
}

/* One fragment.  The bytes before it are overwritten by lws's header, which is fine going forward. */
static int send_some(struct gateway_connection *c)
{
	struct outgoing *m = c->out;
	size_t n = m->size - m->sent;
	int flags;

	if (n > CHUNK)
		n = CHUNK;
	flags = lws_write_ws_flags(LWS_WRITE_BINARY, m->sent == 0, m->sent + n == m->size);
	if (lws_write(c->wsi, m->buffer + LWS_PRE + m->sent, n, (enum lws_write_protocol)flags) <
		(int)n)
		return -1;
	m->sent += n;
	if (m->sent == m->size)
		drop_first(c);
	return 0;
}

static int close_now(struct gateway_connection *c)
{
	lws_close_reason(c->wsi, (enum lws_close_status)c->close_code,
		(unsigned char *)c->close_reason, strlen(c->close_reason));
	return -1;
}

static int on_writable(struct gateway_connection *c)
{
	if (c->out && send_some(c) != 0)
		return -1;
	if (c->out)
		lws_callback_on_writable(c->wsi);
	else if (c->closing)
		return close_now(c);
	return 0;
}

void gateway_connection_close(struct gateway_connection *c, uint16_t code, const char *why)
{
	size_t n = strlen(why);

	if (c->closing)
		return;
	if (n >= sizeof(c->close_reason))
		n = sizeof(c->close_reason) - 1;
	memcpy(c->close_reason, why, n);
	c->close_reason[n] = '\0';
	c->close_code = code;
	c->closing = true;
	lws_set_timeout(c->wsi, PENDING_TIMEOUT_CLOSE_SEND, CLOSE_WAIT_S);
	lws_callback_on_writable(c->wsi);
}

void gateway_connection_greeted(struct gateway_connection *c)
{
	c->message_max = WSS_MESSAGE_MAX;
}

void gateway_connection_pause(struct gateway_connection *c, bool paused)
{
	lws_rx_flow_control(c->wsi, paused ? 0 : 1);
}

/* ---- in ---- */

/* Refuse what was received: the close code goes out at once, what was queued does not.  From the write
 * callback, never by a non-zero answer to received bytes: lws 4.1.6 then leaves its receive buffer
 * full, goes on receiving while it waits for the peer's close, and writes behind that buffer. */
static int refuse(struct gateway_connection *c, uint16_t code, const char *why)
{
	log_event(EV_CONNECTOR_REFUSED, LV_TEXT("reason", why), LV_U64("close", code));
	while (c->out)
		drop_first(c);
	gateway_connection_close(c, code, why);
	return 0;
}

static bool too_fast(struct gateway_connection *c)
{
	int64_t second = clock_boottime_ms() / 1000;

	if (second != c->second) {
		c->second = second;
		c->messages = 0;
	}
	return ++c->messages > MESSAGES_MAX;
}

static int on_receive(struct gateway_connection *c, const void *in, size_t len)
{
	if (c->closing)
		return 0;
	if (lws_is_first_fragment(c->wsi)) {
		if (!lws_frame_is_binary(c->wsi))
			return refuse(c, WSS_CLOSE_UNACCEPTABLE, "only binary messages");
		cc_blob_clear(&c->in);
		c->fragments = 0;
	}
	if (c->in.size + len + lws_remaining_packet_payload(c->wsi) > c->message_max)
		return refuse(c, WSS_CLOSE_TOO_LARGE, "message over the limit");
	if (++c->fragments > FRAGMENTS_MAX)
		return refuse(c, WSS_CLOSE_POLICY, "too many fragments");
	cc_blob_append(&c->in, cc_view_of(in, len));
	if (!lws_is_final_fragment(c->wsi))
		return 0;
	if (too_fast(c))
		return refuse(c, WSS_CLOSE_POLICY, "too many messages");
	c->server->events->message(c->session, cc_blob_view(&c->in));
	return 0;
}

/* ---- begin and end ---- */

static cc_err peer_identity(struct lws *wsi, struct queue_identity *ret)
{
	SSL *ssl = lws_get_ssl(wsi);
	X509 *peer = ssl ? SSL_get1_peer_certificate(ssl) : NULL;
	cc_err err = CC_OK;

	ENSURE(peer && SSL_get_verify_result(ssl) == X509_V_OK,
		cc_fail(CC_DENIED, "no verified client certificate"));
	TRY(queue_ca_identity(peer, ret));
	ENSURE(ret->role == QUEUE_CONNECTOR,
		cc_fail(CC_DENIED, "the certificate is not a connector's"));
out:
	X509_free(peer);
	return err;
}

static int on_established(struct lws *wsi)
{
	struct gateway_wss *server = gateway_vhost_user(wsi);
	struct queue_identity who = {0};
	struct gateway_connection *c;
	cc_err err = peer_identity(wsi, &who);

	if (err != CC_OK) {
		log_event(EV_CONNECTOR_REFUSED, LV_ERR(err));
		return -1;
	}
	c = cc_alloc(sizeof(*c));
	c->wsi = wsi;
	c->server = server;
	c->message_max = WSS_HELLO_MAX;
	c->out_end = &c->out;
	lws_set_opaque_user_data(wsi, c);
	c->session = server->events->opened(server->arg, c, &who);
	return 0;
}

static void on_closed(struct lws *wsi, struct gateway_connection *c)
{
	lws_set_opaque_user_data(wsi, NULL);
	/* lws says nothing of what it refuses itself (RFC 6455 section 5).  Before Hello nobody else
	 * would tell of the end. */
	if (!c->closing && !c->peer_closed && c->message_max == WSS_HELLO_MAX)
		log_event(EV_CONNECTOR_GONE,
			LV_TEXT("reason", "it ended before Hello without a close: it was cut, or "
					  "what came is not WebSocket"));
	c->server->events->closed(c->session);
	while (c->out)
		drop_first(c);
	cc_blob_free(&c->in);
	free(c);
}

static int callback(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct gateway_connection *c;
	int verdict = 0;

	(void)user;
	if (gateway_vhost_guard(wsi, (int)reason, len, WSS_PATH, WSS_SUBPROTOCOL, &verdict))
		return verdict;
	switch (reason) {
	case LWS_CALLBACK_HTTP: /* no page is served here */
		lws_return_http_status(wsi, HTTP_STATUS_NOT_FOUND, NULL);
		return -1;
	case LWS_CALLBACK_ESTABLISHED:
		return on_established(wsi);
	default:
		break;
	}
	c = wsi ? lws_get_opaque_user_data(wsi) : NULL;
	if (!c)
		return 0;
	switch (reason) {
	case LWS_CALLBACK_RECEIVE:
		return on_receive(c, in, len);
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return on_writable(c);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		c->peer_closed = true;
		return 0;
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_WSI_DESTROY:
		on_closed(wsi, c);
		return 0;
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{WSS_SUBPROTOCOL, callback, 0, CHUNK, 0, NULL, CHUNK},
	{NULL, NULL, 0, 0, 0, NULL, 0},
};

cc_err gateway_wss_open(struct loop *l, const struct queue_config *config,
	const struct gateway_wss_events *events, void *arg, struct gateway_wss **ret)
{
	struct gateway_wss *w = cc_alloc(sizeof(*w));
	const struct gateway_vhost_setup setup = {
		.name = "connectors",
		.listen = &config->connectors,
		.client_ca = config->connectors.client_ca,
		.websocket = true,
		.protocols = protocols,
		.user = w,
		.ping_s = config->ping_s,
		.hangup_s = config->hangup_s,
	};
	cc_err err = CC_OK;

	w->events = events;
	w->arg = arg;
	TRY(gateway_vhost_open(l, &setup, &w->vhost));
	*ret = w;
	w = NULL;
out:
	free(w);
	return err;
}

void gateway_wss_free(struct gateway_wss *w)
{
	if (!w)
		return;
	gateway_vhost_free(w->vhost);
	free(w);
}

uint32_t gateway_wss_port(const struct gateway_wss *w)
{
	return gateway_vhost_port(w->vhost);
}
