/*
 * GET events: the tenant's feed of changed jobs, with a long poll.
 *
 * A job is in it once, at its latest change; `seq` orders the feed and is what the client keeps.
 */
#include "cloud-queue/http_routes.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/http_waiters.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/queue_json.h"
#include <stdlib.h>

#define PAGE_DEFAULT 100u
#define WAIT_MAX_S   60

struct feed {
	struct http_request *request;
	struct queue *queue;
	cc_view tenant;
	uint64_t after, limit, wait_s;
	struct http_waiter *waiter;
};

static void on_events(void *arg, const struct store_events_out *out);

static void look(struct feed *f)
{
	store_events(f->queue->store,
		&(struct store_events_in){
			.tenant = f->tenant, .after = f->after, .limit = (size_t)f->limit},
		on_events, f);
}

/* Something changed, or time is over: look once more and answer whatever there is. */
static void on_waited(void *arg)
{
	struct feed *f = arg;

	http_waiter_free(f->waiter);
	f->waiter = NULL;
	f->wait_s = 0;
	look(f);
}

static json_t *event_json(const struct store_event *e)
{
	json_t *to = json_object();

	json_object_set_new(to, "seq", json_integer((json_int_t)e->seq));
	json_object_set_new(to, "job", queue_json_job_id(e->job_id));
	json_object_set_new(to, "state", json_string(queue_json_state(e->state, e->dead)));
	json_object_set_new(to, "at", queue_json_time(e->at_ms / 1000));
	return to;
}

static json_t *page_json(const struct store_events_out *out)
{
	json_t *events = json_array();

	for (size_t i = 0; i < out->count; i++)
		json_array_append_new(events, event_json(&out->events[i]));
	return json_pack("{s:o, s:I}", "events", events, "last_seq", (json_int_t)out->last_seq);
}

static void on_events(void *arg, const struct store_events_out *out)
{
	struct feed *f = arg;
	struct http_request *r = f->request;

	if (out->err == CC_OK && out->count == 0 && f->wait_s > 0 && !f->queue->draining) {
		if (!http_waiters_full(f->queue->waiters, f->tenant)) {
			f->waiter = http_waiter_new(
				f->queue, f->tenant, NULL, (int64_t)f->wait_s * 1000, on_waited, f);
			return;
		}
		http_answer_problem(
			r, 429, "rate_limited", "too many requests of this tenant wait");
	} else if (out->err != CC_OK) {
		http_answer_store_failed(r, out->err);
	} else {
		http_answer_json(r, 200, page_json(out));
	}
	free(f);
}

void http_events_get(struct http_request *r)
{
	struct feed *f = cc_alloc(sizeof(*f));

	f->request = r;
	f->queue = http_request_queue(r);
	f->tenant = http_request_tenant(r);
	f->limit = PAGE_DEFAULT;
	if (http_request_number(r, "after", 0, INT64_MAX - 1, &f->after) &&
		http_request_number(r, "wait", 0, WAIT_MAX_S, &f->wait_s) &&
		http_request_number(r, "limit", 1, STORE_LIST_MAX, &f->limit))
		look(f);
	else
		free(f); /* it was answered */
}
