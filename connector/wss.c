/*
 * The WebSocket client.  The dialer finds a way to one of the queue's addresses, libwebsockets owns TLS
 * and WebSocket over it; this file owns one connection at a time, the message that is being assembled,
 * and the outbox.
 *
 * A failed dial is told by lws in one of three ways, sometimes from inside the call that dials; here
 * every end goes through one timer, so that the session hears of it once and never from inside an
 * operation of its own.
 */
#include "connector/wss.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/lws_loop.h"
#include "base/text.h"
#include "connector/addresses.h"
#include "connector/dial_judge.h"
#include "connector/dialer.h"
#include "connector/wss_tls.h"
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>

enum {
	FRAGMENT = 16 * 1024,
	FRAGMENTS_MAX = 4096, /* of one message */
	QUEUED_MAX = 8 * 1024 * 1024,
	CLOSE_S = 5,    /* for what is queued when we close */
	PING_S = 15,    /* nothing was heard for so long: a ping */
	SILENCE_S = 25, /* nothing was heard for so long: it is dead, whatever TCP says */
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
	struct dialer *dialer;
	struct addresses *addresses;
	struct wss_tls tls;
	struct lws_vhost *vhost;
	const struct wire_events *events;
	void *arg;
	struct lws *wsi;
	struct loop_timer *ended; /* tells the end */
	bool dialing, open, ending;
	cc_err why;
	char *detail;
	cc_err kept; /* of this round's failures one that may pass by itself; CC_OK: none */
	char *kept_detail;
	char *found; /* what came in that ended it; NULL: nothing of the kind */
	cc_err found_code;
	cc_blob in;
	unsigned fragments;
	struct message *first, *last;
	size_t queued;
	unsigned close_status; /* not 0: close when the outbox is empty */
	int64_t server_not_after_s;
	int64_t heard_ms; /* boottime: when a message or a pong came last */
};

static const lws_retry_bo_t keep_alive = {
	.secs_since_valid_ping = PING_S, .secs_since_valid_hangup = SILENCE_S};

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
	free(w->found);
	w->found = NULL;
	events->closed(w->arg, cc_fail(w->why, "%s", w->detail));
}

/* lws says it in words only; what is known of TLS goes before them. */
static cc_err dial_error(const struct wss *w, const void *in, size_t size)
{
	const struct address *a = addresses_current(w->addresses);
	cc_err err = wss_tls_judge(&w->tls, a->name, a->port);
	char *words;
	if (err != CC_OK)
		return err;
	words = text_printable(size > 0 ? cc_view_of(in, size) : cc_view_text("no answer"));
	err = cc_fail(CC_UNREACHABLE, "%s port %u: %s", a->name, a->port, words);
	free(words);
	return err;
}

/* An end that lws tells without a reason.  What it refuses itself (RFC 6455 section 5) is no different
 * here from a connection that was cut. */
static cc_err end_error(const struct wss *w)
{
	const struct address *a = addresses_current(w->addresses);
	if (w->found != NULL)
		return cc_fail(w->found_code, "%s port %u: %s", a->name, a->port, w->found);
	if (clock_boottime_ms() - w->heard_ms >= (SILENCE_S - 1) * 1000)
		return cc_fail(CC_TIMEOUT, "%s port %u: nothing was heard of the queue for %d s",
			a->name, a->port, SILENCE_S);
	return cc_fail(CC_CLOSED,
		"%s port %u: the connection ended without a close: it was cut, or what came is not "
		"WebSocket",
		a->name, a->port);
}

/* ---- one address after the other ---- */

static void dial(struct wss *w)
{
	const struct address *a = addresses_current(w->addresses);
	wss_tls_clear(&w->tls);
	w->tls.name = a->name;
	w->dialing = true;
	dialer_dial(w->dialer, a->host, a->port);
}

static void clear_kept(struct wss *w)
{
	free(w->kept_detail);
	w->kept_detail = NULL;
	w->kept = CC_OK;
}

/* Of a round's failures the session is told one: the first that may pass by itself, so that the round is
 * not put off for minutes by another address's, or else the last.  The others are logged here. */
static void set_round_end(struct wss *w, cc_err why)
{
	if (w->kept == CC_OK || w->close_status != 0) {
		set_end(w, why);
		return;
	}
	log_event(dial_event_of(why), LV_ERR(why));
	set_end(w, cc_fail(w->kept, "%s", w->kept_detail));
}

static void address_failed(struct wss *w, cc_err why)
{
	const struct address *next;
	w->wsi = NULL;
	w->dialing = false;
	if (w->ending)
		return;
	if (w->close_status != 0 || !addresses_next(w->addresses)) {
		set_round_end(w, why);
		return;
	}
	next = addresses_current(w->addresses);
	if (w->kept == CC_OK && cc_err_category(why) != CC_CAT_REJECTED) {
		w->kept = why;
		w->kept_detail = cc_strdup(cc_err_detail(why));
	} else {
		log_event(dial_event_of(why), LV_ERR(why), LV_TEXT("next", next->host));
	}
	dial(w);
}

/* ---- in ---- */

static int close_with(struct lws *wsi, unsigned status)
{
	lws_close_reason(wsi, (enum lws_close_status)status, NULL, 0);
	return -1;
}

/* Closes from the write callback, never by a non-zero answer to received bytes: lws 4.1.6 then leaves
 * its receive buffer full, goes on receiving while it waits for the peer's close, and writes behind
 * that buffer whatever the peer sends. */
static int refuse(struct wss *w, struct lws *wsi, unsigned status, cc_err code, const char *words)
{
	free(w->found);
	w->found = cc_strdup(words);
	w->found_code = code;
	w->close_status = status;
	clear_outbox(w);
	cc_blob_free(&w->in);
	lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, CLOSE_S);
	lws_callback_on_writable(wsi);
	return 0;
}

/* RFC 6455 section 5.5.1: two bytes of status and words for people, both may be missing. */
static void note_peer_close(struct wss *w, const uint8_t *in, size_t size)
{
	cc_view words = cc_view_part(cc_view_of(in, size), 2, size);
	unsigned status = size >= 2 ? (unsigned)in[0] << 8 | in[1] : 0;

	if (w->found != NULL || w->close_status != 0)
		return; /* we were first */
	w->found_code = CC_CLOSED;
	w->found = cc_asprintf("the queue closed the connection: status %u %.*s", status,
		text_is_clean(words, 123) ? (int)words.size : 0, (const char *)words.data);
}

static int take_fragment(struct wss *w, struct lws *wsi, const void *in, size_t size)
{
	if (w->close_status != 0)
		return 0; /* what comes after our decision to close is not looked at */
	if (lws_is_first_fragment(wsi)) {
		if (!lws_frame_is_binary(wsi))
			return refuse(w, wsi, WIRE_CLOSE_UNSUPPORTED, CC_PROTOCOL,
				"the queue sent text, only binary messages are spoken here");
		cc_blob_clear(&w->in);
		w->fragments = 0;
	}
	if (++w->fragments > FRAGMENTS_MAX)
		return refuse(w, wsi, WIRE_CLOSE_POLICY, CC_TOO_LARGE,
			"the queue sent a message in more fragments than are taken");
	if (w->in.size + size + lws_remaining_packet_payload(wsi) > WIRE_MESSAGE_MAX)
		return refuse(w, wsi, WIRE_CLOSE_TOO_BIG, CC_TOO_LARGE,
			"the queue sent a message over the limit of 256 KiB");
	cc_blob_append(&w->in, cc_view_of(in, size));
	if (!lws_is_final_fragment(wsi))
		return 0;
	w->events->message(w->arg, cc_blob_view(&w->in));
	cc_blob_clear(&w->in);
	return 0;
}

/* ---- out ---- */

static int write_one(struct wss *w, struct lws *wsi)
{
	struct message *m = w->first;
	if (m == NULL)
		return w->close_status != 0 ? close_with(wsi, w->close_status) : 0;
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
	if ((w->wsi == NULL && !w->dialing) || w->close_status != 0)
		return;
	w->close_status = status;
	if (w->dialing) {
		dialer_give_up(w->dialer);
		address_failed(w, cc_fail(CC_CLOSED, "dialling was given up"));
		return;
	}
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

static int64_t wss_server_not_after_s(const struct wire *wire)
{
	return ((const struct wss *)wire)->server_not_after_s;
}

static void note_server(struct wss *w, struct lws *wsi)
{
	SSL *tls = lws_get_ssl(wsi);
	X509 *shown = tls != NULL ? SSL_get0_peer_certificate(tls) : NULL;
	if (shown != NULL)
		w->server_not_after_s = clock_asn1_s(X509_get0_notAfter(shown));
}

/* ---- lws ---- */

static const char unanswered[] = "it ended before an answer to the WebSocket upgrade";

static int on_lws(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
	struct wss *w = user;
	if (reason == LWS_CALLBACK_OPENSSL_LOAD_EXTRA_CLIENT_VERIFY_CERTS) {
		w = lws_get_vhost_user(lws_get_vhost(wsi));
		wss_tls_watch(user, &w->tls);
		return 0;
	}
	if (w == NULL)
		return 0;
	switch (reason) {
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		note_server(w, wsi);
		w->heard_ms = clock_boottime_ms();
		w->open = true;
		clear_kept(w);
		addresses_opened(w->addresses);
		w->events->opened(w->arg);
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
		w->heard_ms = clock_boottime_ms();
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		w->heard_ms = clock_boottime_ms();
		return take_fragment(w, wsi, in, size);
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return write_one(w, wsi);
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		address_failed(w, dial_error(w, in, size));
		return 0;
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		note_peer_close(w, in, size);
		return 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
		addresses_ended(w->addresses);
		set_end(w, end_error(w));
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		/* all that lws 4.1 tells when nothing answers the upgrade */
		if (w->wsi == wsi)
			address_failed(w, dial_error(w, unanswered, sizeof unanswered - 1));
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
	w->events = events;
	w->arg = arg;
	w->open = false;
	w->close_status = 0;
	clear_kept(w);
	addresses_begin_round(w->addresses);
	dial(w);
}

/* The way is there; TLS and WebSocket are lws's, through the relay's socket, with its limit of five
 * seconds for each. */
static void on_found(void *arg, const char *name)
{
	struct wss *w = arg;
	const struct address *a = addresses_current(w->addresses);
	struct lws_client_connect_info i = {0};
	char *meeting = cc_asprintf("+@%s", name); /* + a UNIX socket, @ an abstract one */
	w->dialing = false;
	i.context = lws_loop_context(w->loop);
	i.vhost = w->vhost;
	i.address = meeting;
	i.port = a->port;
	i.host = a->name; /* the name that the certificate has to show */
	i.origin = a->name;
	i.path = WSS_CLIENT_PATH;
	i.protocol = protocols[0].name;
	i.local_protocol_name = protocols[0].name;
	i.ssl_connection =
		LCCSCF_USE_SSL | LCCSCF_PRIORITIZE_READS | LCCSCF_HTTP_NO_FOLLOW_REDIRECT;
	i.alpn = "http/1.1";
	i.retry_and_idle_policy = &keep_alive;
	i.userdata = w;
	i.pwsi = &w->wsi;
	/* an error may have been told from inside already: then there is something that goes on */
	if (lws_client_connect_via_info(&i) == NULL && !w->dialing)
		address_failed(w, cc_fail(CC_UNREACHABLE, "%s port %u: the dial failed at once",
					  a->name, a->port));
	free(meeting);
}

static void on_dial_failed(void *arg, cc_err why)
{
	address_failed(arg, why);
}

static const struct dialer_events dialer_events = {.found = on_found, .failed = on_dial_failed};

static cc_err make_vhost(struct wss *w)
{
	struct lws_context_creation_info info = {0};
	info.vhost_name = "queue";
	info.user = w;
	info.port = CONTEXT_PORT_NO_LISTEN;
	info.protocols = protocols;
	info.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS;
	info.client_ssl_ca_filepath = w->id->queue_ca_path;
	info.client_ssl_cert_filepath = w->id->chain_path;
	info.client_ssl_private_key_filepath = w->id->key_path;
	info.ssl_client_options_set = SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 |
				      SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION;
	info.alpn = "http/1.1";
	info.retry_and_idle_policy = &keep_alive;
	w->vhost = lws_create_vhost(lws_loop_context(w->loop), &info);
	if (w->vhost == NULL)
		return cc_fail(CC_CONFIG,
			"TLS cannot be set up with %s and the transport.pem and queue-ca.pem "
			"beside it: put the right files back, or enroll again",
			w->id->key_path);
	return CC_OK;
}

cc_err wss_new(struct loop *l, const struct identity *id, struct proxy **proxy,
	char *const *addresses, size_t address_count, struct wire **ret)
{
	static const struct wire_ops ops = {.connect = wss_connect,
		.send = wss_send,
		.close = wss_close,
		.queued = wss_queued,
		.server_not_after_s = wss_server_not_after_s};
	struct wss *w = cc_alloc(sizeof *w);
	cc_err err = CC_OK;
	w->wire.ops = &ops;
	w->loop = l;
	w->id = id;
	w->ended = loop_timer_new(l, on_ended, w);
	wss_tls_clear(&w->tls);
	TRY(addresses_new(id, addresses, address_count, &w->addresses));
	TRY(dialer_new(l, proxy, &dialer_events, w, &w->dialer));
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
	dialer_free(w->dialer);
	addresses_free(w->addresses);
	clear_kept(w);
	loop_timer_free(w->ended);
	clear_outbox(w);
	cc_blob_free(&w->in);
	free(w->found);
	free(w->detail);
	free(w);
}
