/*
 * How a job moves: references, states, retries, and the commits that come first.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "connector/steps.h"
#include <stdlib.h>

enum { ANSWER_MS = 60 * 1000 };

struct flow_ref *flow_ref_new(struct flow *f, struct job *job)
{
	struct flow_ref *ref = cc_alloc(sizeof *ref);
	ref->flow = f;
	ref->job = job;
	job_hold(job);
	return ref;
}

struct job *flow_ref_end(struct flow_ref *ref, struct flow **ret_flow)
{
	struct flow *f = ref->flow;
	struct job *job = ref->job;
	free(ref);
	if (!job_release(job))
		return NULL;
	*ret_flow = f;
	return f->ending ? NULL : job;
}

void flow_ref_cancel(struct flow_ref *ref)
{
	ref->job->holds--; /* it is the caller's: it cannot be the last of a dropped one */
	free(ref);
}

void flow_set_state(struct flow *f, struct job *job, Journal__JobState state)
{
	int64_t limit = job_rule(state)->deadline_ms;
	scheduler_clear(f->scheduler, job);
	job->state = state;
	job->attempts = 0;
	job->sent = false;
	job->deadline_due = limit == 0 ? 0 : clock_boottime_ms() + limit;
	job->deadline_ms = 0;
	flow_soon(f); /* it may have freed a place */
}

/* It waits by boottime: a realtime that is set does not end it. */
void flow_set_deadline(struct job *job, int64_t at_ms)
{
	int64_t left = at_ms - clock_realtime_ms();
	job->deadline_ms = at_ms;
	job->deadline_due = clock_boottime_ms() + (left > 0 ? left : 0);
}

void flow_enter(struct flow *f, struct job *job, Journal__JobState state)
{
	flow_set_state(f, job, state);
	flow_step(f, job);
}

static void keep_told(struct job *job, const char *why)
{
	if (!job->keep_told)
		log_event(EV_JOB_KEPT, LV_JOB(job_id_view(job)),
			LV_TEXT("stage", job_rule(job->state)->name), LV_TEXT("reason", why),
			LV_VIEW("ca", job_ca(job)), LV_TEXT("correlation", job->correlation));
	job->keep_told = true;
}

/* True when the deadline has taken the job out of its state. */
static bool past_deadline(struct flow *f, struct job *job)
{
	static const char ca_code[] = "ca_unreachable";
	struct flow_failure why = {
		.code = {(const uint8_t *)ca_code, sizeof ca_code - 1},
		.event = EV_PKCS_ISSUED_FAILED_ATTEMPT,
		.retryable = true,
	};
	if (job->deadline_due == 0 || clock_boottime_ms() < job->deadline_due)
		return false;
	switch (job_rule(job->state)->at_deadline) {
	case DEADLINE_GIVE_BACK:
		flow_give_back(f, job, CERTQ__NACK_REASON__NACK_BUSY, 60 * 1000, true, false);
		return true;
	case DEADLINE_FAIL:
		if (job->doubtful)
			flow_resolve(f, job, ca_code);
		else
			flow_fail(f, job, &why);
		return true;
	case DEADLINE_TELL:
		keep_told(job, "the time of this state is over; it is tried on");
		return false;
	case DEADLINE_WITHDRAW:
		if (!job->kept) /* a restart: first the queue */
			return false;
		flow_resolve(f, job, FLOW_PENDING_OVER);
		return true;
	case DEADLINE_DOUBT:
		if (!f->resumed || job->settle != CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED)
			return false;
		flow_end_in_doubt(f, job);
		return true;
	case DEADLINE_NONE:
		return false;
	}
	return false;
}

void flow_step(struct flow *f, struct job *job)
{
	if (f->ending)
		return;
	if (job->nack.reason != 0) /* whatever is under way does not matter any more */
		step_give_back(f, job);
	else if (job->holds == 0) {
		flow_tell_earlier(f, job);
		if (!past_deadline(f, job))
			job_rule(job->state)->step(f, job);
	}
}

void flow_retry(struct flow *f, struct job *job, int64_t at_least_ms)
{
	int64_t in_ms = job_retry_delay(job_rule(job->state)->retry, job->attempts++);
	scheduler_set(f->scheduler, job, in_ms > at_least_ms ? in_ms : at_least_ms);
}

void flow_wait_answer(struct flow *f, struct job *job)
{
	job->sent = true;
	scheduler_set(f->scheduler, job, ANSWER_MS);
}

void flow_drop(struct flow *f, struct job *job)
{
	scheduler_clear(f->scheduler, job);
	jobs_drop(f->jobs, job);
	flow_soon(f);
}

/* ---- recording ---- */

struct journal_change *flow_change(struct flow *f)
{
	struct journal_change *c = journal_change_new(f->journal);
	decisions_put(f->decisions, c);
	return c;
}

void flow_put_record(struct journal_change *c, struct job *job)
{
	struct job_record_room room;
	Journal__OpenJob record;
	job_record(job, &room, &record);
	journal_change_open(c, job_id_view(job), &record);
	job->durable = true;
}

static void on_committed(void *arg, cc_err err)
{
	struct flow_ref *ref = arg;
	void (*fn)(struct flow * f, struct job * job, cc_err err) = ref->committed;
	struct flow *f = ref->flow;
	struct job *job = flow_ref_end(ref, &f);
	if (job != NULL && fn != NULL)
		fn(f, job, err);
	else if (err != CC_OK && !f->ending)
		f->events->fatal(f->arg, err);
}

void flow_commit(struct flow *f, struct job *job, struct journal_change *c,
	void (*fn)(struct flow *f, struct job *job, cc_err err))
{
	struct flow_ref *ref = flow_ref_new(f, job);
	ref->committed = fn;
	journal_commit(c, on_committed, ref);
}

static void on_recorded(struct flow *f, struct job *job, cc_err err)
{
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
	else
		flow_step(f, job);
}

void flow_commit_step(struct flow *f, struct job *job, struct journal_change *c)
{
	flow_commit(f, job, c, on_recorded);
}

cc_err flow_load(struct flow *f, struct job *job, enum journal_part part, cc_blob *to)
{
	if (to->size > 0 || !job->durable)
		return CC_OK;
	return journal_get_blob(f->journal, job_id_view(job), part, to);
}

void step_none(struct flow *f, struct job *job)
{
	(void)f;
	(void)job;
}
