/*
 * The WebSocket client.  libwebsockets owns socket and TLS; this file owns one connection at a time,
 * the message that is being assembled, and the outbox.
 *
 * A failed dial is told by lws in one of three ways, sometimes from inside the call that dials; here
 * every end goes through one timer, so that the session hears of it once and never from inside an
 * operation of its own.
 */
#include "connector/wss.h"

#include "base/lws_loop.h"
#include "base/text.h"
#include <libwebsockets.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

enum {
	FRAGMENT = 16 * 1024,
	FRAGMENTS_MAX = 4096, /* of one message */
	QUEUED_MAX = 8 * 1024 * 1024,
	CONNECT_S = 20,
	CLOSE_S = 5, /* for what is queued when we close */
};

struct message {
	cc_blob bytes; /* LWS_PRE free bytes first */
	size_t sent;
	struct message *next;
};

struct wss {
	struct wire wire;
	struct loop *loop;
	const struct identity *id;
	struct lws_vhost *vhost;
	const struct wire_events *events;
	void *arg;
	struct lws *wsi;
	struct loop_timer *ended; /* tells the end */
	bool open, ending;
	cc_err why;
	char *detail;
	cc_blob in;
	unsigned fragments;
	struct message *first, *last;
	size_t queued;
	unsigned close_status; /* not 0: close when the outbox is empty */
};

/* Nothing heard for 20 s: ping; for 30 s: hang up. */
static const lws_retry_bo_t keep_alive = {
	.secs_since_valid_ping = 20, .secs_since_valid_hangup = 30};

static void free_first(struct wss *w)
{
	struct message *m = w->first;
	w->first = m->next;
	if (w->first == NULL)
		w->last = NULL;
	w->queued -= m->bytes.size - LWS_PRE - m->sent;
	cc_blob_free(&m->bytes);
	free(m);
}

static void clear_outbox(struct wss *w)
{
	while (w->first != NULL)
		free_first(w);
}

/* ---- the end of a connection ---- */

static void set_end(struct wss *w, cc_err why)
{
	if (w->ending)
		return;
	w->ending = true;
	w->wsi = NULL;
	w->open = false;
	w->why = why;
	free(w->detail);
	w->detail = cc_strdup(cc_err_detail(why));
	loop_timer_set(w->ended, 0);
}

static void on_ended(void *arg)
{
	struct wss *w = arg;
	const struct wire_events *events = w->events;
	w->ending = false;
	w->close_status = 0;
	clear_outbox(w);
	cc_blob_free(&w->in);
	events->closed(w->arg, cc_fail(w->why, "%s", w->detail));
}

/* lws says it in words only.  A certificate that does not verify will not do so in a second either. */
static cc_err dial_error(const struct wss *w, struct lws *wsi, const void *in, size_t size)
{
	char words[200] = "no answer";
	size_t n = size < sizeof words - 1 ? size : sizeof words - 1;
	SSL *tls = lws_get_ssl(wsi);
	long verified = tls != NULL ? SSL_get_verify_result(tls) : X509_V_OK;
	if (verified != X509_V_OK)
		return cc_fail(CC_DENIED, "%s port %u: the certificate is not the queue's: %s",
			w->id->host, w->id->port, X509_verify_cert_error_string(verified));
	if (in != NULL && size > 0) {
		memcpy(words, in, n);
		words[n] = '\0';
	}
	for (char *c = words; *c != '\0'; c++) {
		if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
			*c = ' ';
	}
	return cc_fail(CC_UNREACHABLE, "%s port %u: %s", w->id->host, w->id->port, words);
}

/* ---- in ---- */

static int refuse(struct lws *wsi, enum lws_close_status status)
{
	lws_close_reason(wsi, status, NULL, 0);
	return -1;
}

static int take_fragment(struct wss *w, struct lws *wsi, const void *in, size_t size)
{
	if (lws_is_first_fragment(wsi)) {
		if (!lws_frame_is_binary(wsi))
			return refuse(wsi, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE);
		cc_blob_clear(&w->in);
		w->fragments = 0;
	}
	if (++w->fragments > FRAGMENTS_MAX ||
		w->in.size + size + lws_remaining_packet_payload(wsi) > WIRE_MESSAGE_MAX)
		return refuse(wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE);
	cc_blob_append(&w->in, cc_view_of(in, size));
	if (!lws_is_final_fragment(wsi))
		return 0;
	if (w->close_status == 0)
		w->events->message(w->arg, cc_blob_view(&w->in));
	cc_blob_clear(&w->in);
	return 0;
}

/* ---- out ---- */

static int write_one(struct wss *w, struct lws *wsi)
{
	struct message *m = w->first;
	if (m == NULL)
		return w->close_status != 0 ? refuse(wsi, (enum lws_close_status)w->close_status)
					    : 0;
	size_t whole = m->bytes.size - LWS_PRE, n = whole - m->sent;
	if (n > FRAGMENT)
		n = FRAGMENT;
	int flags = lws_write_ws_flags(LWS_WRITE_BINARY, m->sent == 0, m->sent + n == whole);
	/* lws writes its header into the bytes before: those of this message were sent already */
	if (lws_write(wsi, m->bytes.data + LWS_PRE + m->sent, n, (enum lws_write_protocol)flags) <
		(int)n)
		return -1;
	m->sent += n;
	w->queued -= n;
	if (m->sent == whole)
		free_first(w);
	if (w->first != NULL || w->close_status != 0)
		lws_callback_on_writable(wsi);
	return 0;
}

static cc_err wss_send(struct wire *wire, cc_blob *message)
{
	struct wss *w = (struct wss *)wire;
	struct message *m = NULL;
	if (!w->open || w->close_status != 0)
		return cc_fail(CC_CLOSED, "there is no connection to the queue");
	if (w->queued + message->size > QUEUED_MAX)
		return cc_fail(CC_BUSY, "the queue does not read what is sent");
	m = cc_alloc(sizeof *m);
	m->bytes = cc_blob_new(LWS_PRE + message->size);
	memcpy(m->bytes.data + LWS_PRE, message->data, message->size);
	w->queued += message->size;
	cc_blob_free(message);
	if (w->last == NULL)
		w->first = m;
	else
		w->last->next = m;
	w->last = m;
	lws_callback_on_writable(w->wsi);
	return CC_OK;
}

static void wss_close(struct wire *wire, unsigned status)
{
	struct wss *w = (struct wss *)wire;
	if (w->wsi == NULL || w->close_status != 0)
		return;
	w->close_status = status;
	if (!w->open) {
		lws_set_timeout(w->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
		return;
	}
	lws_set_timeout(w->wsi, PENDING_TIMEOUT_USER_REASON_BASE, CLOSE_S);
	lws_callback_on_writable(w->wsi);
}

static size_t wss_queued(const struct wire *wire)
{
	return ((const struct wss *)wire)->queued;
}

/* ---- lws ---- */

static int on_lws(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
	struct wss *w = user;
	if (w == NULL)
		return 0;
	switch (reason) {
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		w->open = true;
		w->events->opened(w->arg);
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		return take_fragment(w, wsi, in, size);
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return write_one(w, wsi);
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		set_end(w, dial_error(w, wsi, in, size));
		return 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
		set_end(w, cc_fail(CC_CLOSED, "%s port %u: the connection ended", w->id->host,
				   w->id->port));
		return 0;
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{.name = "certq.v1", .callback = on_lws, .rx_buffer_size = FRAGMENT},
	{0},
};

static void wss_connect(struct wire *wire, const struct wire_events *events, void *arg)
{
	struct wss *w = (struct wss *)wire;
	struct lws_client_connect_info i = {0};
	w->events = events;
	w->arg = arg;
	w->open = false;
	w->close_status = 0;
	i.context = lws_loop_context(w->loop);
	i.vhost = w->vhost;
	i.address = w->id->host;
	i.port = w->id->port;
	i.host = w->id->host; /* the name that the certificate has to show */
	i.origin = w->id->host;
	i.path = WSS_CLIENT_PATH;
	i.protocol = protocols[0].name;
	i.local_protocol_name = protocols[0].name;
	i.ssl_connection =
		LCCSCF_USE_SSL | LCCSCF_PRIORITIZE_READS | LCCSCF_HTTP_NO_FOLLOW_REDIRECT;
	i.alpn = "http/1.1";
	i.retry_and_idle_policy = &keep_alive;
	i.userdata = w;
	i.pwsi = &w->wsi;
	if (lws_client_connect_via_info(&i) == NULL)
		set_end(w, cc_fail(CC_UNREACHABLE, "%s port %u: the dial failed at once",
				   w->id->host, w->id->port));
}

static cc_err make_vhost(struct wss *w)
{
	struct lws_context_creation_info info = {0};
	info.vhost_name = "queue";
	info.port = CONTEXT_PORT_NO_LISTEN;
	info.protocols = protocols;
	info.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS;
	info.client_ssl_ca_filepath = w->id->queue_ca_path;
	info.client_ssl_cert_filepath = w->id->chain_path;
	info.client_ssl_private_key_filepath = w->id->key_path;
	info.ssl_client_options_set = SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 |
				      SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION;
	info.alpn = "http/1.1";
	info.timeout_secs = CONNECT_S;
	info.retry_and_idle_policy = &keep_alive;
	w->vhost = lws_create_vhost(lws_loop_context(w->loop), &info);
	if (w->vhost == NULL)
		return cc_fail(CC_CONFIG, "TLS cannot be set up with the files in %s's directory",
			w->id->key_path);
	return CC_OK;
}

cc_err wss_new(struct loop *l, const struct identity *id, struct wire **ret)
{
	static const struct wire_ops ops = {
		.connect = wss_connect, .send = wss_send, .close = wss_close, .queued = wss_queued};
	struct wss *w = cc_alloc(sizeof *w);
	cc_err err = CC_OK;
	w->wire.ops = &ops;
	w->loop = l;
	w->id = id;
	w->ended = loop_timer_new(l, on_ended, w);
	TRY(make_vhost(w));
	*ret = &w->wire;
	w = NULL;
out:
	if (w != NULL)
		wss_free(&w->wire);
	return err;
}

void wss_free(struct wire *wire)
{
	struct wss *w = (struct wss *)wire;
	if (w == NULL)
		return;
	if (w->wsi != NULL)
		lws_set_wsi_user(w->wsi, NULL);
	if (w->vhost != NULL)
		lws_vhost_destroy(w->vhost);
	loop_timer_free(w->ended);
	clear_outbox(w);
	cc_blob_free(&w->in);
	free(w->detail);
	free(w);
}
