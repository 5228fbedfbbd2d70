/*
 * Waiters: requests that are answered when a job is final, or any job of a tenant has changed, or after a
 * time.
 *
 * Loop's thread.  The store's hint wakes them; the time-out covers a hint that was missed.
 */
#pragma once

#include "base/loop.h"
#include "base/text.h"

struct queue;
struct http_waiters; /* all of a queue; opaque */
struct http_waiter;  /* one; opaque */

cc_err http_waiters_open(struct queue *q, struct http_waiters **ret) CC_MUST_USE;
void http_waiters_free(struct http_waiters *w); /* accepts NULL; none may be left */
/* Let all go on now: the queue is stopping. */
void http_waiters_wake_all(struct http_waiters *w);

/* This tenant has as many waiters as it may: the requests of all share one limit. */
bool http_waiters_full(const struct http_waiters *w, cc_view tenant);

/* `fn` is called once, from the loop; it frees the waiter.  Without a job id: any change of state of any
 * of the tenant's jobs. */
struct http_waiter *http_waiter_new(struct queue *q, cc_view tenant, const uint8_t *job_id,
	int64_t in_ms, loop_fn fn, void *arg);
void http_waiter_free(struct http_waiter *w); /* accepts NULL */
