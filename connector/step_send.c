/*
 * RESULT and READY_TO_SEND: the exact bytes, until the queue has acknowledged them.  At most 32 are
 * under way at a time, so that a slow store is not buried.
 */
#include "connector/flow_int.h"

#include "connector/steps.h"
#include <stdlib.h>

static bool is_sending(const struct job *job)
{
	return flow_is(job, JOURNAL__JOB_STATE__STATE_RESULT) ||
	       flow_is(job, JOURNAL__JOB_STATE__STATE_READY_TO_SEND) ||
	       flow_is(job, JOURNAL__JOB_STATE__STATE_ORPHAN);
}

static void count_sent(void *arg, struct job *job)
{
	unsigned *count = arg;
	if (job->sent && is_sending(job))
		(*count)++;
}

bool flow_has_room_for_result(struct flow *f)
{
	unsigned under_way = 0;
	jobs_each(f->jobs, count_sent, &under_way);
	return under_way < FLOW_RESULTS_IN_FLIGHT;
}

/* One that the queue does not know is offered again only to another generation of its store. */
static bool is_held(struct flow *f, const struct job *job)
{
	return job->hold_generation != 0 &&
	       job->hold_generation == journal_generation(f->journal) + 1;
}

static void send(struct flow *f, struct job *job, const Certq__Result *result)
{
	crashpoint_pass(CRASH_CONNECTOR_BEFORE_RESULT);
	if (!session_send_result(f->session, result))
		return;
	crashpoint_pass(CRASH_CONNECTOR_AFTER_RESULT);
	flow_wait_answer(f, job);
}

void step_send(struct flow *f, struct job *job)
{
	Certq__Result *result = NULL;
	if (job->sent || f->session == NULL || !session_can_send(f->session))
		return;
	if (!flow_has_room_for_result(f))
		return; /* the next answer looks again */
	cc_err err = flow_load(f, job, JOURNAL_RESULT, &job->result);
	if (err == CC_OK)
		err = codec_decode(&certq__result__descriptor, cc_blob_view(&job->result),
			WIRE_MESSAGE_MAX, &result);
	if (err != CC_OK) {
		f->events->fatal(f->arg, err);
		return;
	}
	job->settle = result->settle; /* after a restart only the bytes know */
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_READY_TO_SEND))
		result->epoch = job->epoch; /* it may have been leased to us again */
	if (is_held(f, job))
		flow_hold(f, job);
	else
		send(f, job, result);
	codec_free(result);
}
