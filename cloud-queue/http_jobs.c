/*
 * Jobs: submit one, look at one (with a long poll), take its result.
 */
#include "base/text.h"
#include "cloud-queue/http_routes.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/http_submit.h"
#include "cloud-queue/http_waiters.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/queue_json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MAX_S 60

/* ---- POST jobs ---- */

struct post {
	struct http_request *request;
	json_t *body;
	struct http_submit submit;
};

static void post_free(struct post *p)
{
	http_submit_clear(&p->submit);
	json_decref(p->body);
	free(p);
}

static void on_posted(struct http_submit *s)
{
	struct post *p = s->arg;
	struct http_request *r = p->request;
	char id[JOB_TEXT_SIZE];
	char location[192];

	if (s->fault.status) {
		http_fault_answer(r, &s->fault);
	} else {
		text_job_id(cc_view_of(s->job_id, sizeof(s->job_id)), id);
		snprintf(location, sizeof(location), "/v1/tenants/%.*s/jobs/%s",
			(int)s->tenant.size, (const char *)s->tenant.data, id);
		http_answer_header(r, "location", location);
		http_answer_json(r, s->result == STORE_NEW ? 202 : 200, http_submit_json(s));
	}
	post_free(p);
}

static void on_checked(struct http_submit *s)
{
	if (s->fault.status) {
		on_posted(s);
		return;
	}
	s->done = on_posted;
	http_submit_enqueue(s);
}

void http_jobs_post(struct http_request *r)
{
	static const char *const members[] = {
		"document", "document_type", "signatures", "priority", "batch_id", NULL};
	struct post *p;
	struct http_submit *s;
	json_t *body = NULL;

	if (!http_request_json(r, members, &body))
		return;
	p = cc_alloc(sizeof(*p));
	p->request = r;
	p->body = body;
	s = &p->submit;
	s->queue = http_request_queue(r);
	s->tenant = http_request_tenant(r);
	s->idempotency_key = http_request_idempotency_key(r);
	s->done = on_checked;
	s->arg = p;
	if (http_submit_priority(json_object_get(body, "priority"), &s->priority, &s->fault) &&
		http_submit_batch(json_object_get(body, "batch_id"), &s->batch_id, &s->fault) &&
		http_submit_parse(body, DOC_JOB, "/document", &s->document, &s->fault)) {
		http_submit_check(s);
		return;
	}
	http_fault_answer(r, &s->fault);
	post_free(p);
}

/* ---- GET jobs/{id} ---- */

struct look {
	struct http_request *request;
	struct queue *queue;
	cc_view tenant;
	uint8_t job_id[JOB_ID_SIZE];
	uint32_t wait_s;
	struct http_waiter *waiter;
};

static void fetch(struct look *l, store_fetch_done done)
{
	struct store_fetch_in in = {.tenant = l->tenant,
		.job_id = cc_view_of(l->job_id, sizeof(l->job_id)),
		.want_result = true};

	store_fetch(l->queue->store, &in, done, l);
}

static void on_looked(void *arg, const struct store_fetch_out *out);

/* The job is final, or time is over: look once more and answer whatever it is. */
static void on_waited(void *arg)
{
	struct look *l = arg;

	http_waiter_free(l->waiter);
	l->waiter = NULL;
	l->wait_s = 0;
	fetch(l, on_looked);
}

/* The result of a job that failed is there when the keyvault signed the refusal. */
static json_t *job_answer(const struct store_fetch_out *out)
{
	json_t *to = queue_json_job(&out->job);
	json_t *result = NULL;

	if (out->bundle.size > 0 || out->job.state == STORE_DONE)
		result = queue_json_result(&out->job, out->bundle, out->pfx);
	if (result && (out->bundle.size > 0 || out->job.kind == STORE_REVOKE))
		json_object_set(to, "result", result);
	json_decref(result);
	return to;
}

static void on_looked(void *arg, const struct store_fetch_out *out)
{
	struct look *l = arg;

	if (out->err == CC_OK && out->result == STORE_OK && l->wait_s > 0 &&
		!queue_json_is_final(out->job.state) && !l->queue->draining) {
		if (http_waiters_full(l->queue->waiters, l->tenant)) {
			http_answer_problem(l->request, 429, "rate_limited",
				"too many requests of this tenant wait for a job");
			free(l);
			return;
		}
		l->waiter = http_waiter_new(
			l->queue, l->tenant, l->job_id, (int64_t)l->wait_s * 1000, on_waited, l);
		return;
	}
	if (out->err != CC_OK)
		http_answer_store_failed(l->request, out->err);
	else if (out->result != STORE_OK)
		http_answer_not_found(l->request);
	else
		http_answer_json(l->request, 200, job_answer(out));
	free(l);
}

/* False: it was answered. */
static bool begin_look(struct http_request *r, struct look **ret)
{
	struct look *l;
	uint8_t id[JOB_ID_SIZE];

	if (text_from_job_id(cc_view_text(http_request_param(r, 0)), id) != CC_OK) {
		http_answer_not_found(r);
		return false;
	}
	l = cc_alloc(sizeof(*l));
	l->request = r;
	l->queue = http_request_queue(r);
	l->tenant = http_request_tenant(r);
	memcpy(l->job_id, id, sizeof(id));
	*ret = l;
	return true;
}

void http_jobs_get(struct http_request *r)
{
	struct look *l = NULL;
	uint64_t wait_s = 0;

	if (!http_request_number(r, "wait", 0, WAIT_MAX_S, &wait_s) || !begin_look(r, &l))
		return;
	l->wait_s = (uint32_t)wait_s;
	fetch(l, on_looked);
}

/* ---- GET jobs/{id}/result ---- */

static void answer_result(struct http_request *r, const struct store_fetch_out *out)
{
	json_t *result = NULL;

	if (!queue_json_is_final(out->job.state)) {
		http_answer_not_found(r);
	} else if (out->bundle.size == 0 && out->job.state == STORE_DONE &&
		   out->job.kind != STORE_REVOKE) {
		http_answer_problem(r, 404, "result_gone", "the result is past its retention");
	} else if (out->bundle.size == 0 && out->job.state != STORE_DONE) {
		http_answer_not_found(r);
	} else if (http_request_accepts(r, "application/x-protobuf")) {
		http_answer_bytes(r, 200, "application/x-protobuf", out->bundle);
	} else {
		result = queue_json_result(&out->job, out->bundle, out->pfx);
		if (result)
			http_answer_json(r, 200, result);
		else
			http_answer_store_failed(
				r, cc_fail(CC_CORRUPT, "a stored result is damaged"));
	}
}

static void on_result(void *arg, const struct store_fetch_out *out)
{
	struct look *l = arg;

	if (out->err != CC_OK)
		http_answer_store_failed(l->request, out->err);
	else if (out->result != STORE_OK)
		http_answer_not_found(l->request);
	else
		answer_result(l->request, out);
	free(l);
}

void http_jobs_result(struct http_request *r)
{
	struct look *l = NULL;

	if (begin_look(r, &l))
		fetch(l, on_result);
}
