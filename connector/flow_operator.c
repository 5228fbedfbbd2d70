/*
 * What an operator decides: a CA that was suspended is asked again, and this journal is the true one.
 */
#include "connector/flow_int.h"

#include "connector/steps.h"

bool flow_ca_is_usable(const struct flow *f, cc_view name)
{
	return ca_clients_find(f->cas, name) != NULL && !journal_is_suspended(f->journal, name);
}

void flow_suspend_ca(struct flow *f, struct job *job)
{
	struct journal_change *c = NULL;
	if (journal_is_suspended(f->journal, job_ca(job)))
		return;
	log_event(EV_CA_SUSPENDED, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_TEXT("reason", "it gave a certificate for a key that is not the request's"));
	c = flow_change(f);
	journal_change_suspend(c, job_ca(job), true);
	flow_commit(f, job, c, NULL);
}

static void kick_claimed(void *arg, struct job *job)
{
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_CLAIMED))
		flow_step(arg, job);
}

static void on_resumed(void *arg, cc_err err)
{
	struct flow *f = arg;
	if (f->ending)
		return;
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
	else
		jobs_each(f->jobs, kick_claimed, f);
}

cc_err flow_resume_ca(struct flow *f, cc_view name)
{
	struct journal_change *c = NULL;
	if (!journal_is_suspended(f->journal, name))
		return cc_fail(CC_NOT_FOUND, "this CA is not suspended");
	c = flow_change(f);
	journal_change_suspend(c, name, false);
	journal_commit(c, on_resumed, f);
	log_event(EV_CA_RESUMED, LV_VIEW("ca", name));
	return CC_OK;
}

static void on_adopted(void *arg, cc_err err)
{
	struct flow *f = arg;
	if (f->ending)
		return;
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
	else
		session_redial(f->session);
}

cc_err flow_adopt(struct flow *f)
{
	struct journal_change *c = NULL;
	if (f->session == NULL)
		return cc_fail(CC_NOT_FOUND, "this connector is not enrolled");
	c = flow_change(f);
	journal_change_adopt(c);
	journal_commit(c, on_adopted, f);
	log_event(EV_JOURNAL_ADOPTED, LV_U64("open", jobs_count(f->jobs)));
	return CC_OK;
}
