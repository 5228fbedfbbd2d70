/*
 * Who asks: a bearer token, known by its SHA-256, or a producer's client certificate; when both come
 * they must be of one tenant.  A certificate by itself may do everything but read the content of
 * imported records.  Another tenant's path is answered as an absent one.
 */
#include "base/clock.h"
#include "base/text.h"
#include "cloud-queue/http_int.h"

#define CERTIFICATE_SCOPES                                                                         \
	(STORE_SCOPE_JOBS_WRITE | STORE_SCOPE_JOBS_READ | STORE_SCOPE_PFX_WRITE |                  \
		STORE_SCOPE_PFX_READ | STORE_SCOPE_SIGNERS_WRITE | STORE_SCOPE_CONNECTORS_READ)

static void unauthenticated(struct http_request *r)
{
	http_answer_problem(
		r, 401, "unauthenticated", "a valid token or client certificate is needed");
}

static void judge(struct http_request *r, cc_view tenant, uint32_t scopes)
{
	if (!cc_view_equal(tenant, http_request_tenant(r)))
		http_answer_not_found(r);
	else if ((scopes & r->route->scope) != r->route->scope)
		http_answer_problem(r, 403, "scope_missing", "the token lacks the scope for this");
	else
		r->route->handle(r);
}

static void on_token(void *arg, const struct store_token_get_out *out)
{
	struct http_request *r = arg;

	if (out->err != CC_OK)
		http_answer_store_failed(r, out->err);
	else if (out->result != STORE_OK || out->not_after_s <= clock_realtime_s())
		unauthenticated(r);
	else if (r->has_certificate &&
		 (r->who.role != QUEUE_PRODUCER || !text_equal(out->tenant, r->who.tenant)))
		unauthenticated(r);
	else
		judge(r, out->tenant, out->scopes);
}

void http_auth_dispatch(struct http_request *r)
{
	struct queue *q = r->server->queue;

	if (q->draining && r->route->scope != 0) {
		http_answer_problem(r, 503, "draining", "the queue is stopping");
	} else if (r->route->scope == 0) {
		r->route->handle(r);
	} else if (r->has_token) {
		struct store_token_get_in in = {
			.sha256 = cc_view_of(r->token_sha256, sizeof(r->token_sha256))};

		store_token_get(q->store, &in, on_token, r);
	} else if (r->has_certificate && r->who.role == QUEUE_PRODUCER) {
		judge(r, cc_view_text(r->who.tenant), CERTIFICATE_SCOPES);
	} else {
		unauthenticated(r);
	}
}
