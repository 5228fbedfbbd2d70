/*
 * The producers' server: HTTPS requests in, answers out, nothing of what they mean.
 *
 * Loop's thread.  A request has been read whole, judged (length, type, authentication, scope, tenant)
 * and matched with a route before a handler (http_routes.h) gets it.  The handler answers exactly
 * once, at once or after operations in the store; the request is gone then.  A client that went
 * away meanwhile makes no difference to the handler: the answer is dropped.
 *
 * Limits: body 1 MiB with Content-Length, headers 4 KiB, token 2 KiB.  Errors are problem documents
 * (RFC 9457) with a stable `code`.
 */
#pragma once

#include "base/hash.h"
#include "cloud-queue/store_words.h"
#include <jansson.h>

#define HTTP_BODY_MAX (1024u * 1024u)

struct queue;
struct http_server;  /* opaque */
struct http_request; /* opaque */

cc_err http_server_open(struct queue *q, struct http_server **ret) CC_MUST_USE;
void http_server_free(struct http_server *h); /* accepts NULL; after loop_free */
uint32_t http_server_port(const struct http_server *h);
bool http_server_is_idle(const struct http_server *h); /* no request is being served */

/* ---- what a handler may ask; valid until it answers ---- */

struct queue *http_request_queue(const struct http_request *r);
cc_view http_request_tenant(const struct http_request *r); /* of the path: the caller's own */
const char *http_request_param(const struct http_request *r, size_t i); /* after the tenant */
cc_view http_request_body(const struct http_request *r);
const char *http_request_idempotency_key(const struct http_request *r); /* NULL: not sent */
/* For requests that are not signed: the key and the digest of what is asked, into `room`.  False: it was
 * answered (400). */
bool http_request_repeat(
	struct http_request *r, uint8_t room[SHA256_SIZE], struct store_repeat *ret);
bool http_request_accepts(const struct http_request *r, const char *type); /* names it in Accept */
/* A query parameter; false when it is absent. */
bool http_request_query(const struct http_request *r, const char *name, cc_view *ret);
/* ... as a number; `ret` stays as it is when the parameter is absent.  False: it was answered (400). */
bool http_request_number(
	struct http_request *r, const char *name, uint64_t min, uint64_t max, uint64_t *ret);
bool http_request_if_match(const struct http_request *r, cc_view *ret); /* as http_request_query */
/* The body as one JSON object with no member but these (NULL-terminated).  False: it was answered.
 * Free with json_decref. */
bool http_request_json(struct http_request *r, const char *const *members, json_t **ret);

/* ---- answers; each ends the request ---- */

/* A header for the answer that follows; the value must be plain ASCII. */
void http_answer_header(struct http_request *r, const char *name, const char *value);
void http_answer_json(struct http_request *r, int status, json_t *body); /* takes over `body` */
void http_answer_bytes(struct http_request *r, int status, const char *type, cc_view body);
void http_answer_empty(struct http_request *r); /* 204 */
void http_answer_problem(struct http_request *r, int status, const char *code, const char *detail);
/* With the place in the request that is wrong, as a JSON pointer. */
void http_answer_fault(struct http_request *r, int status, const char *code, const char *detail,
	const char *pointer);
/* The store could not do its work. */
void http_answer_store_failed(struct http_request *r, cc_err err);
void http_answer_not_found(struct http_request *r); /* absent, or another tenant's: the same text */
