/*
 * One timer for all leases: it fires when the earliest is due, and everything that is due by then, or
 * will be soon, goes into one message.
 */
#include "connector/leases.h"

#include "base/clock.h"
#include "proto/codec.h"
#include <stdlib.h>

enum { AT_ONCE = 256, SOON_MS = 500, LEAST_MS = 2 * SOON_MS };

struct leases {
	struct jobs *jobs;
	struct session *session;
	struct loop_timer *timer;
	/* while it runs */
	Certq__Lease items[AT_ONCE], *pointers[AT_ONCE];
	size_t count;
	int64_t now, next;
};

static void on_timer(void *arg)
{
	leases_run(arg);
}

struct leases *leases_new(struct loop *l, struct jobs *jobs, struct session *session)
{
	struct leases *ls = cc_alloc(sizeof *ls);
	ls->jobs = jobs;
	ls->session = session;
	ls->timer = loop_timer_new(l, on_timer, ls);
	return ls;
}

void leases_free(struct leases *l)
{
	if (l == NULL)
		return;
	loop_timer_free(l->timer);
	free(l);
}

/* From `now` on; a lease of no length must not keep the loop busy. */
static void set_due(const struct leases *l, struct job *job)
{
	int64_t third = job->lease_ms / 3;
	job->lease_due = l->now + (third > LEAST_MS ? third : LEAST_MS);
}

static void look_at(void *arg, struct job *job)
{
	struct leases *l = arg;
	if (job->lease_ms == 0)
		return;
	if (job->lease_due <= l->now + SOON_MS && l->count < AT_ONCE) {
		Certq__Lease *item = &l->items[l->count];
		certq__lease__init(item);
		item->job_id = codec_bytes(job_id_view(job));
		item->epoch = job->epoch;
		l->pointers[l->count++] = item;
		set_due(l, job);
	}
	if (l->next == 0 || job->lease_due < l->next)
		l->next = job->lease_due;
}

static void arm(struct leases *l)
{
	if (l->next == 0) {
		loop_timer_stop(l->timer);
		return;
	}
	int64_t in_ms = l->next - l->now;
	loop_timer_set(l->timer, in_ms > 0 ? in_ms : 0);
}

void leases_run(struct leases *l)
{
	l->now = clock_boottime_ms();
	l->next = 0;
	l->count = 0;
	if (l->session == NULL || !session_can_send(l->session))
		return; /* the resume tells of every lease anew */
	jobs_each(l->jobs, look_at, l);
	if (l->count > 0)
		session_send_extend(l->session, l->pointers, l->count);
	arm(l);
}

void leases_set(struct leases *l, struct job *job, uint32_t lease_ms)
{
	job->lease_ms = lease_ms;
	if (lease_ms == 0)
		return;
	l->now = clock_boottime_ms();
	set_due(l, job);
	if (l->next == 0 || job->lease_due < l->next || l->next <= l->now) {
		l->next = job->lease_due;
		arm(l);
	}
}
