/*
 * Enrolment: a connector proves that it has the token's secret, and gets a client certificate.
 *
 * The proof is an HMAC over token id, request and result key, so none of them can be exchanged on
 * the way.  Every reason to refuse the proof is one answer outside; the log has the true one.  The
 * token is burnt by the same request that made the certificate; that request may be repeated.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud-queue/gateway.h"
#include "cloud-queue/http_routes.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/queue_json.h"
#include "proto/dsse.h"
#include "proto/enroll.h"
#include <stdlib.h>

#define TOKEN_ID_MAX 128u
#define CSR_MAX      (16u * 1024u)
#define SPKI_MAX     1024u

struct enroll {
	struct http_request *request;
	cc_blob token_id, csr, result_key, mac; /* as sent */
	cc_blob certificate;
	cc_blob tenant, connector;
	json_t *groups;
};

static void enroll_free(struct enroll *e)
{
	cc_blob *blobs[] = {&e->token_id, &e->csr, &e->result_key, &e->mac, &e->certificate,
		&e->tenant, &e->connector};

	for (size_t i = 0; i < sizeof(blobs) / sizeof(blobs[0]); i++)
		cc_blob_free(blobs[i]);
	json_decref(e->groups);
	free(e);
}

static void refuse(
	struct enroll *e, int status, const char *code, const char *outside, const char *why)
{
	log_event(EV_ENROLMENT_REFUSED, LV_VIEW("token", cc_blob_view(&e->token_id)),
		LV_VIEW("tenant", cc_blob_view(&e->tenant)),
		LV_VIEW("connector", cc_blob_view(&e->connector)), LV_TEXT("reason", why));
	http_answer_problem(e->request, status, code, outside);
	enroll_free(e);
}

static void refuse_proof(struct enroll *e, const char *why)
{
	refuse(e, 401, "unauthenticated",
		"the enrolment token is not valid, or the proof is not its", why);
}

/* ---- the answer ---- */

static void on_tenant(void *arg, const struct store_tenant_get_out *out)
{
	struct enroll *e = arg;
	const struct queue *q = http_request_queue(e->request);
	json_t *answer;

	if (out->err != CC_OK || out->result != STORE_OK) {
		http_answer_store_failed(e->request, out->err != CC_OK ? out->err : CC_CORRUPT);
		enroll_free(e);
		return;
	}
	log_event(EV_CONNECTOR_ENROLLED, LV_VIEW("tenant", cc_blob_view(&e->tenant)),
		LV_VIEW("connector", cc_blob_view(&e->connector)));
	answer = json_pack("{s:o, s:o, s:O, s:o, s:[], s:o, s:s, s:o}", "tenant",
		queue_json_text(cc_blob_view(&e->tenant)), "connector_id",
		queue_json_text(cc_blob_view(&e->connector)), "groups", e->groups, "certificate",
		queue_json_base64(cc_blob_view(&e->certificate)), "chain", "queue_ca",
		queue_json_base64(queue_ca_certificate(q->ca)), "queue_url", q->connector_url,
		"job_root", queue_json_base64(out->tenant.job_root));
	http_answer_json(e->request, 200, answer);
	enroll_free(e);
}

static void on_used(void *arg, const struct store_enrol_use_out *out)
{
	struct enroll *e = arg;
	struct queue *q = http_request_queue(e->request);
	struct store_tenant_get_in in = {.name = cc_blob_view(&e->tenant)};

	/* results need no session: who was connected before must not bring any under the old key */
	if (out->err == CC_OK && out->result == STORE_OK)
		gateway_disconnect(q->gateway, cc_blob_view(&e->tenant),
			cc_blob_view(&e->connector), "enrolled anew");
	if (out->err != CC_OK) {
		http_answer_store_failed(e->request, out->err);
		enroll_free(e);
	} else if (out->result == STORE_OK || out->result == STORE_SAME) {
		store_tenant_get(q->store, &in, on_tenant, e);
	} else {
		refuse_proof(
			e, out->result == STORE_USED ? "the token was used" : "the token is past");
	}
}

/* ---- the proof ---- */

static const char *proof_fault(const struct enroll *e, const struct store_enrol_get_out *out)
{
	uint8_t mac[SHA256_SIZE];

	if (out->result != STORE_OK)
		return "no such token";
	if (out->not_after_s <= clock_realtime_s())
		return "the token is past";
	enroll_mac(out->secret, cc_blob_view(&e->token_id), cc_blob_view(&e->csr),
		cc_blob_view(&e->result_key), mac);
	if (!cc_view_equal_secret(cc_view_of(mac, sizeof(mac)), cc_blob_view(&e->mac)))
		return "the proof does not fit the token's secret";
	return NULL;
}

static cc_err check_result_key(const struct enroll *e)
{
	EVP_PKEY *key = NULL;
	cc_err err = dsse_public_key(cc_blob_view(&e->result_key), &key);

	EVP_PKEY_free(key);
	return err;
}

static void keep_identity(struct enroll *e, const struct store_enrol_get_out *out)
{
	e->tenant = cc_blob_copy(out->tenant);
	e->connector = cc_blob_copy(out->connector);
	e->groups = json_array();
	for (size_t i = 0; i < out->group_count; i++)
		json_array_append_new(e->groups, queue_json_text(out->groups[i]));
}

static void on_token(void *arg, const struct store_enrol_get_out *out)
{
	struct enroll *e = arg;
	struct queue *q = http_request_queue(e->request);
	uint8_t request_sha256[SHA256_SIZE], certificate_sha256[SHA256_SIZE];
	const char *fault = NULL;
	cc_err err = CC_OK;

	if (out->err != CC_OK) {
		http_answer_store_failed(e->request, out->err);
		enroll_free(e);
		return;
	}
	fault = proof_fault(e, out);
	if (fault) {
		refuse_proof(e, fault);
		return;
	}
	keep_identity(e, out);
	err = check_result_key(e);
	if (err == CC_OK)
		err = queue_ca_issue(q->ca, out->tenant, out->connector, cc_blob_view(&e->csr),
			clock_realtime_s(), &e->certificate);
	if (err != CC_OK) {
		refuse(e, 422, "key_mismatch", cc_err_detail(err), cc_err_detail(err));
		return;
	}
	HASH_ITEMS(request_sha256, cc_blob_view(&e->csr), cc_blob_view(&e->result_key));
	hash_sha256(cc_blob_view(&e->certificate), certificate_sha256);
	store_enrol_use(q->store,
		&(struct store_enrol_use_in){.token_id = cc_blob_view(&e->token_id),
			.request_sha256 = cc_view_of(request_sha256, sizeof(request_sha256)),
			.result_spki = cc_blob_view(&e->result_key),
			.certificate_sha256 =
				cc_view_of(certificate_sha256, sizeof(certificate_sha256)),
			.now_s = clock_realtime_s()},
		on_used, e);
}

/* ---- the request ---- */

static bool take_base64(const json_t *body, const char *name, size_t max, cc_blob *ret)
{
	const char *text = json_string_value(json_object_get(body, name));

	return text && text_from_base64(cc_view_text(text), max, ret) == CC_OK && ret->size > 0;
}

void http_enroll_post(struct http_request *r)
{
	static const char *const members[] = {"token_id", "csr", "result_key", "mac", NULL};
	struct queue *q = http_request_queue(r);
	json_t *body = NULL;
	const char *token_id;
	struct enroll *e;

	if (!http_request_json(r, members, &body))
		return;
	e = cc_alloc(sizeof(*e));
	e->request = r;
	token_id = json_string_value(json_object_get(body, "token_id"));
	if (token_id && text_is_token(cc_view_text(token_id), TOKEN_ID_MAX) &&
		take_base64(body, "csr", CSR_MAX, &e->csr) &&
		take_base64(body, "result_key", SPKI_MAX, &e->result_key) &&
		take_base64(body, "mac", SHA256_SIZE, &e->mac)) {
		e->token_id = cc_blob_copy(cc_view_text(token_id));
		store_enrol_get(q->store,
			&(struct store_enrol_get_in){.token_id = cc_blob_view(&e->token_id)},
			on_token, e);
	} else {
		http_answer_problem(r, 400, "malformed_document",
			"token_id, and csr, result_key and mac in base64");
		enroll_free(e);
	}
	json_decref(body);
}
