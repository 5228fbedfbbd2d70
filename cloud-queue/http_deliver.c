/*
 * Many signed documents in one request.
 *
 * user-pfx:deliver: Rewrap documents of one user, one for each record, as one batch.  All are checked
 * before any is enqueued, and enqueued by one operation of the store: one fault, a record that is not
 * there, or no room, and none is taken.
 * jobs:batch: any jobs; each is judged and enqueued by itself and has its own answer.
 *
 * Each is idempotent by its own signed key, so that the same request again is safe after any answer,
 * and after none.
 */
#include "base/hash.h"
#include "base/text.h"
#include "cloud-queue/http_graph.h"
#include "cloud-queue/http_routes.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/http_submit.h"
#include "cloud-queue/queue_int.h"
#include "proto/codec.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_MAX    100u
#define BATCH_DIGEST 12 /* bytes of one that stand in a name */

struct deliver {
	struct http_request *request;
	json_t *body;
	bool together;      /* deliver: all or none */
	char batch_id[129]; /* empty: it has none */
	struct http_submit *items;
	size_t count, left;
};

static void deliver_free(struct deliver *d)
{
	for (size_t i = 0; i < d->count; i++)
		http_submit_clear(&d->items[i]);
	free(d->items);
	json_decref(d->body);
	free(d);
}

static void point_at(struct http_fault *fault, size_t item)
{
	snprintf(fault->pointer, sizeof(fault->pointer), "/jobs/%zu", item);
}

/* ---- after all are enqueued ---- */

static json_t *item_json(const struct http_submit *s)
{
	json_t *to;

	if (s->fault.status)
		return json_pack("{s:i, s:s, s:s}", "status", s->fault.status, "code",
			s->fault.code, "detail", s->fault.detail);
	to = http_submit_json(s);
	json_object_set_new(to, "status", json_integer(s->result == STORE_NEW ? 202 : 200));
	return to;
}

/* The fault of the item that is the cause, in the place of an answer. */
static bool refused_together(struct deliver *d)
{
	for (size_t i = 0; i < d->count && d->together; i++) {
		struct http_fault *fault = &d->items[i].fault;

		if (fault->status) {
			point_at(fault, i);
			http_fault_answer(d->request, fault);
			deliver_free(d);
			return true;
		}
	}
	return false;
}

static void enqueued(struct deliver *d)
{
	json_t *jobs, *answer;

	if (--d->left > 0 || refused_together(d))
		return;
	jobs = json_array();
	for (size_t i = 0; i < d->count; i++)
		json_array_append_new(jobs, item_json(&d->items[i]));
	answer = json_pack("{s:o}", "jobs", jobs);
	if (d->batch_id[0])
		json_object_set_new(answer, "batch_id", json_string(d->batch_id));
	http_answer_json(d->request, d->together ? 202 : 200, answer);
	deliver_free(d);
}

static void on_enqueued(struct http_submit *s)
{
	enqueued(s->arg);
}

/* Those without a fault. */
static void enqueue_all(struct deliver *d)
{
	if (d->together) {
		d->left = 1;
		d->items[0].done = on_enqueued;
		http_submit_enqueue_all(d->items, d->count);
		return;
	}
	d->left = d->count + 1;
	for (size_t i = 0; i < d->count; i++) {
		d->items[i].done = on_enqueued;
		if (d->items[i].fault.status)
			d->left--;
		else
			http_submit_enqueue(&d->items[i]);
	}
	enqueued(d);
}

/* ---- after all are checked ---- */

static bool same_user(const struct deliver *d, const struct http_submit *s)
{
	return cc_view_equal(
		codec_view(d->items[0].record->user_id), codec_view(s->record->user_id));
}

static bool repeated(const struct deliver *d, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		if (cc_view_equal(codec_view(d->items[i].job->rewrap->record_id),
			    codec_view(d->items[at].job->rewrap->record_id)))
			return true;
	}
	return false;
}

static void judge_item(const struct deliver *d, size_t i)
{
	struct http_submit *s = &d->items[i];

	if (s->fault.status)
		return;
	if (!s->record)
		http_fault_set(&s->fault, 422, "key_mismatch", NULL, "not a Rewrap document");
	else if (d->items[0].record && !same_user(d, s))
		http_fault_set(&s->fault, 422, "key_mismatch", NULL, "another user's record");
	else if (d->items[0].record && repeated(d, i))
		http_fault_set(&s->fault, 422, "key_mismatch", NULL, "the same record twice");
}

static void checked(struct deliver *d)
{
	if (--d->left > 0)
		return;
	/* up to the first fault: what comes after it is not looked at */
	for (size_t i = 0; i < d->count && d->together; i++) {
		judge_item(d, i);
		if (d->items[i].fault.status)
			break;
	}
	if (!refused_together(d))
		enqueue_all(d);
}

static void on_checked(struct http_submit *s)
{
	checked(s->arg);
}

/* ---- the request ---- */

/* A batch without a name gets one that is made of its documents: the same request again, after an answer
 * that was lost, is told the name that its jobs have. */
static void name_batch(struct deliver *d)
{
	cc_view bodies[ITEMS_MAX];
	uint8_t sha256[SHA256_SIZE];
	cc_blob text = CC_BLOB_NONE;

	for (size_t i = 0; i < d->count; i++)
		bodies[i] = codec_view(d->items[i].document->body);
	hash_items(bodies, d->count, sha256);
	text_hex(cc_view_of(sha256, BATCH_DIGEST), &text);
	snprintf(d->batch_id, sizeof(d->batch_id), "deliver-%.*s", (int)text.size,
		(const char *)text.data);
	cc_blob_free(&text);
}

/* Into the item's own fault. */
static void parse_item(struct deliver *d, const json_t *from, enum store_priority priority)
{
	struct http_submit *s = &d->items[d->count];
	char pointer[32];

	snprintf(pointer, sizeof(pointer), "/jobs/%zu", d->count);
	s->queue = http_request_queue(d->request);
	s->tenant = http_request_tenant(d->request);
	s->priority = priority;
	s->done = on_checked;
	s->arg = d;
	if (json_object_size(from) == 3)
		http_submit_parse(from, DOC_JOB, pointer, &s->document, &s->fault);
	else
		http_fault_set(&s->fault, 400, "unknown_member", pointer,
			"document, document_type and signatures, nothing else");
	d->count++;
}

static bool parse(struct deliver *d, struct http_fault *fault)
{
	const json_t *jobs = json_object_get(d->body, "jobs");
	enum store_priority priority = STORE_NORMAL;
	cc_view batch = CC_VIEW_NONE;
	size_t i;
	json_t *one;

	if (!http_submit_priority(json_object_get(d->body, "priority"), &priority, fault) ||
		!http_submit_batch(json_object_get(d->body, "batch_id"), &batch, fault))
		return false;
	if (json_array_size(jobs) == 0 || json_array_size(jobs) > ITEMS_MAX) {
		http_fault_set(fault, 400, "malformed_json", "/jobs", "1 to 100 signed documents");
		return false;
	}
	if (batch.size > 0)
		memcpy(d->batch_id, batch.data, batch.size);
	d->items = cc_alloc(json_array_size(jobs) * sizeof(*d->items));
	json_array_foreach(jobs, i, one)
	{
		parse_item(d, one, priority);
		if (d->together && d->items[i].fault.status) {
			*fault = d->items[i].fault;
			return false;
		}
	}
	if (batch.size == 0 && d->together)
		name_batch(d);
	for (i = 0; i < d->count; i++)
		d->items[i].batch_id = cc_view_text(d->batch_id);
	return true;
}

static void begin(struct http_request *r, bool together)
{
	static const char *const members[] = {"jobs", "priority", "batch_id", NULL};
	struct http_fault fault = {0};
	json_t *body = NULL;
	struct deliver *d;

	if (!http_request_json(r, members, &body))
		return;
	d = cc_alloc(sizeof(*d));
	d->request = r;
	d->body = body;
	d->together = together;
	if (!parse(d, &fault)) {
		http_fault_answer(r, &fault);
		deliver_free(d);
		return;
	}
	d->left = d->count + 1;
	for (size_t i = 0; i < d->count; i++) {
		if (d->items[i].fault.status)
			d->left--;
		else
			http_submit_check(&d->items[i]);
	}
	checked(d);
}

void http_deliver_post(struct http_request *r)
{
	begin(r, true);
}

void http_deliver_batch(struct http_request *r)
{
	begin(r, false);
}
