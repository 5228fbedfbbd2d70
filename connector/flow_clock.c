/*
 * A clock that was set: what waits for a time of the journal's waits for it anew.
 *
 * A host whose clock is behind at its start reads every stored time as far ahead.  Once the clock is right again,
 * the CA is asked when it was to be asked, and not as much later.  What waits in boottime alone (leases, deadlines,
 * retries) does not concern itself with it.
 */
#include "connector/flow_int.h"

#include "base/clock.h"

enum { LOOK_MS = 10 * 1000, SET_MS = 5 * 1000 };

static int64_t offset(void)
{
	return clock_realtime_ms() - clock_boottime_ms();
}

/* Sooner only: to wait as long as it was to wait is never wrong. */
static void wait_anew(void *arg, struct job *job)
{
	struct flow *f = arg;
	int64_t left = job->next_due_ms - clock_realtime_ms();
	int64_t due = clock_boottime_ms() + (left > 0 ? left : 0);
	if (job->next_due_ms == 0 || due >= job->poll_due)
		return;
	job->poll_due = due;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_PENDING) ||
		flow_is(job, JOURNAL__JOB_STATE__STATE_WATCH))
		flow_step(f, job);
}

void flow_clock_look(struct flow *f)
{
	int64_t now = offset(), by = now - f->clock_offset;
	if (by < -SET_MS || by > SET_MS)
		f->clock_offset = now;
	if (by > SET_MS)
		jobs_each(f->jobs, wait_anew, f);
}

static void on_look(void *arg)
{
	struct flow *f = arg;
	flow_clock_look(f);
	loop_timer_set(f->clock_timer, LOOK_MS);
}

void flow_clock_start(struct flow *f)
{
	f->clock_offset = offset();
	f->clock_timer = loop_timer_new(f->loop, on_look, f);
	loop_timer_set(f->clock_timer, LOOK_MS);
}
