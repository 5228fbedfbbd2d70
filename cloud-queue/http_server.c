/*
 * The libwebsockets side of the producers' vhost: heads and bodies of requests under limits, the
 * answer's bytes out.  Nothing is decoded here but the head.
 */
#include "cloud-queue/http_server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud-queue/gateway_vhost.h"
#include "cloud-queue/http_int.h"
#include <libwebsockets.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK        (32u * 1024u)
#define TOKEN_MAX    2048
#define BODIES_MAX   (64u * 1024u * 1024u) /* of all requests that are being read */
#define REQUESTS_MAX 4096u                 /* being served, waiting ones included */
#define TRANSFER_S   30                    /* for a body to come, for an answer to go */

/* ---- the head ---- */

static bool copy_token(struct lws *wsi, enum lws_token_indexes token, char *to, size_t room)
{
	to[0] = '\0';
	return lws_hdr_total_length(wsi, token) <= 0 || lws_hdr_copy(wsi, to, (int)room, token) > 0;
}

static bool copy_custom(struct lws *wsi, const char *name, char *to, size_t room)
{
	to[0] = '\0';
	return lws_hdr_custom_length(wsi, name, (int)strlen(name)) <= 0 ||
	       lws_hdr_custom_copy(wsi, to, (int)room, name, (int)strlen(name)) > 0;
}

static bool copy_query(struct http_request *r)
{
	char part[HTTP_VALUE_MAX + 1];
	size_t used = 0;

	for (int i = 0; lws_hdr_copy_fragment(
				r->wsi, part, (int)sizeof(part), WSI_TOKEN_HTTP_URI_ARGS, i) > 0;
		i++) {
		size_t n = strlen(part);

		if (used + n + 2 > sizeof(r->query))
			return false;
		memcpy(r->query + used, part, n);
		used += n;
		r->query[used++] = '&';
		r->query[used] = '\0';
	}
	return true;
}

/* Only the digest of a token is kept.  False: something else than "Bearer TOKEN". */
static bool take_token(struct http_request *r)
{
	static const char scheme[] = "Bearer ";
	char value[TOKEN_MAX + sizeof(scheme)];
	cc_view text, token;
	bool good;

	if (!copy_token(r->wsi, WSI_TOKEN_HTTP_AUTHORIZATION, value, sizeof(value)))
		return false;
	if (value[0] == '\0')
		return true;
	text = cc_view_text(value);
	token = cc_view_part(text, strlen(scheme), text.size);
	good = token.size > 0 &&
	       text_equal_nocase(cc_view_part(text, 0, strlen(scheme)), cc_view_text(scheme));
	if (good) {
		hash_sha256(token, r->token_sha256);
		r->has_token = true;
	}
	OPENSSL_cleanse(value, sizeof(value));
	return good;
}

/* A certificate is asked for but not required; TLS has verified one that came. */
static void take_certificate(struct http_request *r)
{
	SSL *ssl = lws_get_ssl(r->wsi);
	X509 *peer = ssl ? SSL_get1_peer_certificate(ssl) : NULL;

	if (peer && SSL_get_verify_result(ssl) == X509_V_OK)
		r->has_certificate = queue_ca_identity(peer, &r->who) == CC_OK;
	X509_free(peer);
}

static void take_request_id(struct http_request *r)
{
	uint8_t bytes[16];
	cc_blob hex = CC_BLOB_NONE;

	if (copy_custom(r->wsi, "x-request-id:", r->request_id, sizeof(r->request_id)) &&
		text_is_token(cc_view_text(r->request_id), HTTP_REQUEST_ID_MAX))
		return;
	random_bytes(bytes, sizeof(bytes));
	text_hex(cc_view_of(bytes, sizeof(bytes)), &hex);
	memcpy(r->request_id, hex.data, hex.size);
	r->request_id[hex.size] = '\0';
	cc_blob_free(&hex);
}

static enum http_method method_of(int index)
{
	switch (index) {
	case LWSHUMETH_GET:
		return HTTP_GET;
	case LWSHUMETH_POST:
		return HTTP_POST;
	case LWSHUMETH_PUT:
		return HTTP_PUT;
	case LWSHUMETH_DELETE:
		return HTTP_DELETE;
	default:
		return HTTP_OTHER;
	}
}

static void take_path(struct http_request *r)
{
	char path[HTTP_VALUE_MAX * 2];
	char *at = NULL;
	int size = 0;

	r->method = method_of(lws_http_get_uri_and_method(r->wsi, &at, &size));
	if (!at || size <= 0 || (size_t)size >= sizeof(path) ||
		!text_is_clean(cc_view_of(at, (size_t)size), sizeof(path)))
		return;
	memcpy(path, at, (size_t)size);
	path[size] = '\0';
	r->route = http_routes_find(
		r->method, path, r->params[0], sizeof(r->params[0]), HTTP_PARAMS_MAX);
}

/* With or without parameters. */
static bool is_json(struct lws *wsi)
{
	char type[64];

	if (!copy_token(wsi, WSI_TOKEN_HTTP_CONTENT_TYPE, type, sizeof(type)))
		return false;
	return text_equal_nocase(
		cc_view_of(type, strcspn(type, "; ")), cc_view_text("application/json"));
}

/* Refused before its body was read: that ends the connection, for what follows cannot be told from a
 * body. */
static void refuse_early(struct http_request *r, int status, const char *code, const char *detail)
{
	r->close_after = true;
	http_answer_problem(r, status, code, detail);
}

/* False: it was answered. */
static bool judge_body(struct http_request *r)
{
	bool may_have = r->method == HTTP_POST || r->method == HTTP_PUT;
	char text[24] = "";
	uint64_t size = 0;

	if (lws_hdr_total_length(r->wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0 ||
		(may_have && lws_hdr_total_length(r->wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0)) {
		refuse_early(r, 411, "length_required", "a body needs Content-Length");
		return false;
	}
	if (!copy_token(r->wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, text, sizeof(text)) ||
		(text[0] && text_to_u64(cc_view_text(text), 0, INT64_MAX, &size) != CC_OK)) {
		refuse_early(r, 411, "length_required", "Content-Length is not a number");
		return false;
	}
	if (size > HTTP_BODY_MAX || (!may_have && size > 0)) {
		refuse_early(r, 413, "too_large", "the body is larger than is taken here");
		return false;
	}
	if (size > 0 && !is_json(r->wsi)) {
		refuse_early(r, 415, "unsupported_type", "the body must be application/json");
		return false;
	}
	r->body_expected = (size_t)size;
	return true;
}

/* False: it was answered. */
static bool judge_head(struct http_request *r)
{
	bool readable;

	take_request_id(r);
	take_path(r);
	take_certificate(r);
	readable = copy_query(r) &&
		   copy_token(r->wsi, WSI_TOKEN_HTTP_ACCEPT, r->accept, sizeof(r->accept)) &&
		   copy_token(r->wsi, WSI_TOKEN_HTTP_IF_MATCH, r->if_match, sizeof(r->if_match)) &&
		   copy_custom(r->wsi, "idempotency-key:", r->idempotency_key,
			   sizeof(r->idempotency_key));
	if (!take_token(r)) {
		refuse_early(r, 401, "unauthenticated",
			"the Authorization header is not a bearer token");
		return false;
	}
	if (!readable) {
		refuse_early(r, 413, "too_large", "a header is too long");
		return false;
	}
	if (!r->route) {
		refuse_early(r, 404, "not_found", "not found");
		return false;
	}
	if (r->server->body_bytes > BODIES_MAX || r->server->requests > REQUESTS_MAX) {
		refuse_early(r, 429, "rate_limited", "too many requests at once");
		return false;
	}
	return judge_body(r);
}

/* ---- a request's way ---- */

static void dispatch(struct http_request *r)
{
	if (r->dispatched)
		return;
	r->dispatched = true;
	lws_set_timeout(r->wsi, NO_PENDING_TIMEOUT, 0); /* handlers have their own limits */
	http_auth_dispatch(r);
}

static int on_http(struct lws *wsi)
{
	struct http_server *h = gateway_vhost_user(wsi);
	struct http_request *r = cc_alloc(sizeof(*r));

	r->server = h;
	r->wsi = wsi;
	r->body_until_ms = clock_boottime_ms() + TRANSFER_S * 1000;
	h->requests++;
	lws_set_opaque_user_data(wsi, r);
	lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, TRANSFER_S);
	if (judge_head(r) && r->body_expected == 0)
		dispatch(r);
	return 0;
}

/* Nobody is authenticated yet, so all bodies together are bounded, and each has one time in all: lws
 * gives a new one with every part. */
static int on_body(struct http_request *r, const void *in, size_t len)
{
	struct http_server *h = r->server;

	/* Refused by its head, or below: the rest is not read.  And lws tells of a body of no bytes too,
	 * when the request has been dispatched already. */
	if (r->answered || len == 0)
		return 0;
	if (r->dispatched || r->body.size + len > r->body_expected ||
		clock_boottime_ms() > r->body_until_ms)
		return -1;
	if (h->body_bytes + len > BODIES_MAX) {
		h->body_bytes -= r->body.size;
		cc_blob_free(&r->body);
		refuse_early(r, 429, "rate_limited", "too many requests at once");
		return 0;
	}
	h->body_bytes += len;
	cc_blob_append(&r->body, cc_view_of(in, len));
	if (r->body.size == r->body_expected)
		dispatch(r);
	return 0;
}

void http_server_send(struct http_request *r)
{
	r->answered = true;
	if (!r->wsi) {
		http_request_free(r);
		return;
	}
	r->sent = LWS_PRE;
	lws_set_timeout(r->wsi, PENDING_TIMEOUT_HTTP_CONTENT, TRANSFER_S);
	lws_callback_on_writable(r->wsi);
}

static int finish(struct lws *wsi, struct http_request *r)
{
	bool close = r->close_after;

	lws_set_opaque_user_data(wsi, NULL);
	http_request_free(r);
	return close || lws_http_transaction_completed(wsi) ? -1 : 0;
}

static int on_writable(struct lws *wsi, struct http_request *r)
{
	size_t n;

	if (!r->answered)
		return 0; /* lws calls unasked */
	n = r->out.size - r->sent;
	if (n > CHUNK)
		n = CHUNK;
	if (lws_write(wsi, r->out.data + r->sent, n, LWS_WRITE_HTTP) < (int)n)
		return -1;
	r->sent += n;
	if (r->sent == r->out.size)
		return finish(wsi, r);
	lws_callback_on_writable(wsi);
	return 0;
}

/* A handler that still has the request frees it by its answer. */
static void on_closed(struct lws *wsi, struct http_request *r)
{
	lws_set_opaque_user_data(wsi, NULL);
	r->wsi = NULL;
	if (!r->dispatched || r->answered)
		http_request_free(r);
}

static int callback(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct http_request *r;
	int verdict = 0;

	(void)user; /* may be NULL when a connection closes */
	if (gateway_vhost_guard(wsi, (int)reason, len, NULL, NULL, &verdict))
		return verdict;
	if (reason == LWS_CALLBACK_HTTP)
		return on_http(wsi);
	r = wsi ? lws_get_opaque_user_data(wsi) : NULL;
	if (!r)
		return 0;
	switch (reason) {
	case LWS_CALLBACK_HTTP_BODY:
		return on_body(r, in, len);
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return on_writable(wsi, r);
	case LWS_CALLBACK_CLOSED_HTTP:
	case LWS_CALLBACK_WSI_DESTROY:
		on_closed(wsi, r);
		return 0;
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{"http", callback, 0, CHUNK, 0, NULL, CHUNK},
	{NULL, NULL, 0, 0, 0, NULL, 0},
};

cc_err http_server_open(struct queue *q, struct http_server **ret)
{
	struct http_server *h = cc_alloc(sizeof(*h));
	const struct gateway_vhost_setup setup = {
		.name = "producers",
		.listen = &q->config->producers,
		.client_ca = q->config->connectors.client_ca,
		.protocols = protocols,
		.user = h,
	};
	cc_err err = CC_OK;

	h->queue = q;
	TRY(gateway_vhost_open(q->loop, &setup, &h->vhost));
	*ret = h;
	h = NULL;
out:
	free(h);
	return err;
}

void http_server_free(struct http_server *h)
{
	if (!h)
		return;
	gateway_vhost_free(h->vhost);
	free(h);
}

uint32_t http_server_port(const struct http_server *h)
{
	return gateway_vhost_port(h->vhost);
}

bool http_server_is_idle(const struct http_server *h)
{
	return h->requests == 0;
}
