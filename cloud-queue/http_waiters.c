/*
 * Who waits for which job: buckets by the job id's first byte, which is as good as random; one more
 * for those who wait for any job.
 */
#include "cloud-queue/http_waiters.h"

#include "cloud-queue/queue_int.h"
#include <stdlib.h>
#include <string.h>

#define ANY_JOB    256
#define BUCKETS    (ANY_JOB + 1)
#define TENANT_MAX 1024u

struct http_waiter {
	struct http_waiter *next, **back;
	uint8_t job_id[JOB_ID_SIZE];
	char tenant[64];
	struct loop_timer *timer;
	loop_fn fn;
	void *arg;
};

struct http_waiters {
	struct http_waiter *buckets[BUCKETS];
};

/* By way of the timer, so that a waiter is never called from inside a walk over its bucket. */
static void wake(struct http_waiter *w)
{
	loop_timer_set(w->timer, 0);
}

static void on_hint(void *arg, const struct store_hint *hint)
{
	struct http_waiters *all = arg;

	if (hint->kind == STORE_HINT_EVENT) {
		for (struct http_waiter *w = all->buckets[ANY_JOB]; w; w = w->next) {
			if (text_equal(hint->tenant, w->tenant))
				wake(w);
		}
		return;
	}
	if (hint->job_id.size != JOB_ID_SIZE)
		return;
	for (struct http_waiter *w = all->buckets[hint->job_id.data[0]]; w; w = w->next) {
		if (cc_view_equal(hint->job_id, cc_view_of(w->job_id, sizeof(w->job_id))) &&
			text_equal(hint->tenant, w->tenant))
			wake(w);
	}
}

cc_err http_waiters_open(struct queue *q, struct http_waiters **ret)
{
	struct http_waiters *all = cc_alloc(sizeof(*all));

	store_listen(q->store, STORE_HINT_FINAL | STORE_HINT_EVENT, on_hint, all);
	*ret = all;
	return CC_OK;
}

void http_waiters_free(struct http_waiters *all)
{
	free(all);
}

void http_waiters_wake_all(struct http_waiters *all)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct http_waiter *w = all->buckets[i]; w; w = w->next)
			wake(w);
	}
}

bool http_waiters_full(const struct http_waiters *all, cc_view tenant)
{
	size_t count = 0;

	for (size_t i = 0; i < BUCKETS; i++) {
		for (const struct http_waiter *w = all->buckets[i]; w; w = w->next)
			count += text_equal(tenant, w->tenant);
	}
	return count >= TENANT_MAX;
}

static void on_time(void *arg)
{
	struct http_waiter *w = arg;

	w->fn(w->arg);
}

struct http_waiter *http_waiter_new(struct queue *q, cc_view tenant, const uint8_t *job_id,
	int64_t in_ms, loop_fn fn, void *arg)
{
	struct http_waiter *w = cc_alloc(sizeof(*w));
	struct http_waiter **bucket = &q->waiters->buckets[job_id ? job_id[0] : ANY_JOB];

	if (job_id)
		memcpy(w->job_id, job_id, sizeof(w->job_id));
	if (tenant.size < sizeof(w->tenant))
		memcpy(w->tenant, tenant.data, tenant.size);
	w->fn = fn;
	w->arg = arg;
	w->timer = loop_timer_new(q->loop, on_time, w);
	loop_timer_set(w->timer, in_ms);
	w->next = *bucket;
	w->back = bucket;
	if (w->next)
		w->next->back = &w->next;
	*bucket = w;
	return w;
}

void http_waiter_free(struct http_waiter *w)
{
	if (!w)
		return;
	*w->back = w->next;
	if (w->next)
		w->next->back = w->back;
	loop_timer_free(w->timer);
	free(w);
}
