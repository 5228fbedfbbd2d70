/*
 * A request from the inside, for http_server.c (socket), http_request.c (reading and answering) and
 * http_auth.c.  Loop's thread.
 */
#pragma once

#include "base/hash.h"
#include "base/loop.h"
#include "cloud-queue/http_routes.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/queue_ca.h"
#include "cloud-queue/queue_int.h"

#define HTTP_PARAMS_MAX     3
#define HTTP_PARAM_MAX      256
#define HTTP_REQUEST_ID_MAX 128
#define HTTP_VALUE_MAX      384

struct lws;

struct http_server {
	struct queue *queue;
	struct gateway_vhost *vhost;
	size_t requests;   /* being served */
	size_t body_bytes; /* of all requests that are being read */
};

struct http_request {
	struct http_server *server;
	struct lws *wsi; /* NULL: the client is gone */
	enum http_method method;
	const struct http_route *route; /* NULL: none fits */
	char params[HTTP_PARAMS_MAX][HTTP_PARAM_MAX + 1];
	char query[HTTP_VALUE_MAX * 4 + 1];
	char accept[HTTP_VALUE_MAX + 1];
	char idempotency_key[HTTP_VALUE_MAX + 1];
	char if_match[HTTP_VALUE_MAX + 1];
	char request_id[HTTP_REQUEST_ID_MAX + 1];
	bool has_token;
	uint8_t token_sha256[SHA256_SIZE];
	bool has_certificate; /* a verified one with an identity */
	struct queue_identity who;
	cc_blob body;
	size_t body_expected;
	int64_t body_until_ms; /* boottime */
	bool dispatched;

	cc_blob headers; /* extra ones of the answer */
	cc_blob out;     /* LWS_PRE bytes of room, then head and body of the answer */
	size_t sent;     /* including the room */
	bool answered;
	bool close_after;
};

/* http_request.c: frees a request that no handler has; called by the socket's side. */
void http_request_free(struct http_request *r);

/* http_server.c: the answer in `out` is complete. */
void http_server_send(struct http_request *r);

/* http_auth.c: who asks, and may they?  Answers itself, or calls the route's handler. */
void http_auth_dispatch(struct http_request *r);
