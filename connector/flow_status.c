/*
 * What the flow tells of itself: counts for status, and the parts that status and tests look at.
 */
#include "connector/flow_int.h"

const char *flow_outcome_name(enum flow_outcome o)
{
	static const char *const names[FLOW_OUTCOMES] = {
		[FLOW_RECEIVED] = "received",
		[FLOW_ISSUED] = "issued",
		[FLOW_REWRAPPED] = "rewrapped",
		[FLOW_CHAIN] = "chain",
		[FLOW_REVOKED] = "revoked",
		[FLOW_FAILED] = "failed",
		[FLOW_GIVEN_BACK] = "given_back",
		[FLOW_LOST] = "lost",
	};
	return names[o];
}

uint64_t flow_outcome_count(const struct flow *f, enum flow_outcome o)
{
	return f->outcomes[o];
}

struct count {
	Journal__JobState state;
	size_t in_state, unsettled;
};

static void count_job(void *arg, struct job *job)
{
	struct count *c = arg;
	if (job->state == c->state)
		c->in_state++;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) &&
		job->settle == CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED)
		c->unsettled++;
}

size_t flow_state_count(const struct flow *f, Journal__JobState state)
{
	struct count c = {.state = state};
	jobs_each(f->jobs, count_job, &c);
	return c.in_state;
}

uint32_t flow_waiting_count(const struct flow *f)
{
	return f->waiting;
}

size_t flow_unsettled_count(const struct flow *f)
{
	struct count c = {0};
	jobs_each(f->jobs, count_job, &c);
	return c.unsettled;
}

const struct session *flow_session(const struct flow *f)
{
	return f->session;
}

const struct journal *flow_journal(const struct flow *f)
{
	return f->journal;
}

const struct ca_clients *flow_cas(const struct flow *f)
{
	return f->cas;
}

bool flow_vault_is_connected(const struct flow *f)
{
	return vault_client_is_connected(f->vault);
}

const Vault__PublicList *flow_public_list(const struct flow *f)
{
	return f->list;
}

struct expiries *flow_expiries(const struct flow *f)
{
	return f->expiries;
}

bool flow_is_draining(const struct flow *f)
{
	return f->draining || f->stopping;
}
