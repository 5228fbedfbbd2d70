/*
 * One signed job on its way into the store: parse, verify, copy the record of a rewrap, enqueue.
 *
 * Loop's thread.  Shared by POST jobs and user-pfx:deliver.  The queue verifies so that a mistake
 * is told in milliseconds; the keyvault remains the authority.  The caller owns the struct, which
 * must stay until `done` was called; every phase calls `done` once, never from inside the call.
 */
#pragma once

#include "cloud-queue/store.h"
#include "proto/job.h"
#include "queue/v1/store.pb-c.h"
#include <jansson.h>

struct http_request;
struct queue;

struct http_fault {
	int status; /* 0: no fault */
	const char *code;
	char detail[256];
	char pointer[64];
	cc_err store; /* the store failed: status is 503 */
};

struct http_submit {
	struct queue *queue;
	cc_view tenant;
	enum store_priority priority;
	cc_view batch_id;
	const char *idempotency_key; /* NULL: none was sent */
	void (*done)(struct http_submit *s);
	void *arg;

	Certq__SignedDocument *document; /* by http_submit_parse */
	struct http_fault fault;
	size_t together; /* http_submit_enqueue_all: how many this first one stands for */
	/* after http_submit_check */
	Certq__JobDocument *job;
	uint8_t job_id[JOB_ID_SIZE];
	Queue__PfxRecord *record;
	/* after http_submit_enqueue */
	enum store_result result;
	enum store_state state;
	enum store_dead dead;
	uint64_t seq;
	int64_t created_ms, not_after_ms;
};

/* {document, document_type, signatures} of the wanted type, at `place` in the request.  False with a
 * fault.  Free the document with codec_free. */
bool http_submit_parse(const json_t *from, const char *type, const char *place,
	Certq__SignedDocument **ret, struct http_fault *fault);
/* "interactive", "normal", "bulk" or absent. */
bool http_submit_priority(const json_t *value, enum store_priority *ret, struct http_fault *fault);
/* A token of at most 128 characters, or absent. */
bool http_submit_batch(const json_t *value, cc_view *ret, struct http_fault *fault);

void http_submit_check(struct http_submit *s);
void http_submit_enqueue(struct http_submit *s); /* only after a check without fault */
/* `count` of one tenant as one: all of them are taken, or none.  Only the first one's `done` is called.
 * Taken: none has a fault.  Not taken: the one that is the cause has, or each when the store failed. */
void http_submit_enqueue_all(struct http_submit *items, size_t count);
void http_submit_clear(struct http_submit *s);
/* The answer about an enqueued job; its status is 202 or 200, or that of the fault. */
json_t *http_submit_json(const struct http_submit *s);

/* Answers with the fault; ends the request. */
void http_fault_answer(struct http_request *r, const struct http_fault *f);
void http_fault_set(struct http_fault *f, int status, const char *code, const char *pointer,
	const char *format, ...) CC_PRINTF(5, 6);
