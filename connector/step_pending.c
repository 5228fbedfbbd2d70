/*
 * PENDING and WATCH: a request waits for the CA's operator.
 *
 * PENDING is parked at the queue, in every session anew, and polled as the CA says; it counts against
 * nothing.  WATCH is what is left when the queue was told that the job failed, or has given it away, and
 * the request could not be taken back: polled slowly, so that a certificate that comes late is known.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "base/hash.h"
#include "connector/steps.h"

enum { PARKS_A_SECOND = 200 };

/* Until the next poll; the deadline is looked at then too. */
static void wait_for_poll(struct flow *f, struct job *job, int64_t now)
{
	int64_t until = job->poll_due;
	if (job->deadline_due != 0 && job->deadline_due < until)
		until = job->deadline_due;
	job_forget_blobs(job); /* thousands may wait here */
	scheduler_set(f->scheduler, job, until > now ? until - now : 0);
}

static void park(struct flow *f, struct job *job, int64_t now)
{
	Certq__Park park = CERTQ__PARK__INIT;
	int64_t left = job->deadline_due - now;
	park.job_id = codec_bytes(job_id_view(job));
	park.epoch = job->epoch;
	park.deadline_ms = left > 0 ? (uint64_t)left : 0;
	park.ref = codec_text(job->reference);
	job->sent = session_send_park(f->session, &park);
}

/* Thousands may be parked anew after a reconnect: they are spread, so that nothing waits behind them and the
 * queue is not flooded.  0: now; else in so many milliseconds. */
static int64_t wait_to_park(struct flow *f, int64_t now)
{
	if (now - f->parks_since >= 1000) {
		f->parks_since = now;
		f->parks = 0;
	}
	if (f->parks < PARKS_A_SECOND) {
		f->parks++;
		return 0;
	}
	return 1000 + (int64_t)random_below(2000 * (jobs_count(f->jobs) / PARKS_A_SECOND + 1));
}

static bool is_ready(const struct ca_client *ca)
{
	return ca != NULL && ca_client_is_ready(ca);
}

void step_pending(struct flow *f, struct job *job)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	int64_t now = clock_boottime_ms();
	if (!job->kept) /* a restart: first the queue */
		return;
	leases_set(f->leases, job, 0);
	if (!job->parked && !job->sent && f->session != NULL && session_can_send(f->session)) {
		int64_t wait_ms = wait_to_park(f, now);
		if (wait_ms > 0) {
			scheduler_set(f->scheduler, job, wait_ms);
			return;
		}
		park(f, job, now);
	}
	if (job->poll_due > now)
		wait_for_poll(f, job, now);
	else if (!is_ready(ca))
		flow_retry(f, job, 0);
	else
		flow_ask_pending(f, job, VAULT__ORDER_OP__ORDER_POLL);
}

void flow_take_parked(struct flow *f, struct job *job)
{
	job->sent = false;
	job->parked = true;
	log_event(EV_JOB_PARKED, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_TEXT("reference", job->reference), LV_TEXT("correlation", job->correlation));
	flow_step(f, job);
}

void flow_watch(struct flow *f, struct job *job)
{
	struct journal_change *c = flow_change(f);
	int64_t in_ms = FLOW_SLOW_POLL * f->settings.poll_min_ms;
	flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_WATCH);
	flow_set_deadline(job, job->watch_until_ms);
	leases_set(f->leases, job, 0);
	job->settle = CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
	job->poll_due = clock_boottime_ms() + in_ms;
	job->next_due_ms = clock_realtime_ms() + in_ms;
	flow_put_record(c, job);
	flow_commit_step(f, job, c);
}

void flow_watch_pending(struct flow *f, struct job *job)
{
	struct flow_failure why = {
		.code = cc_view_text(job->code[0] != '\0' ? job->code : FLOW_PENDING_LOST),
		.event = EV_PKCS_ISSUED_FAILURE,
		.detail = cc_view_text("the request could not be taken back at the CA")};
	log_event(EV_JOB_WATCHED, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_TEXT("reference", job->reference), LV_TEXT("correlation", job->correlation));
	job->doubtful = true;
	job->watch_until_ms = clock_realtime_ms() + f->settings.watch_ms;
	if (job->kept) /* the queue waits for us: it is told first */
		flow_fail(f, job, &why);
	else
		flow_watch(f, job);
}

void step_watch(struct flow *f, struct job *job)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	int64_t now = clock_boottime_ms();
	if (!f->resumed)
		return;
	if (job->poll_due > now)
		wait_for_poll(f, job, now);
	else if (!is_ready(ca) || !flow_has_cookie(f, job))
		flow_retry(f, job, f->settings.poll_min_ms);
	else
		flow_ask_pending(f, job,
			ca_client_properties(ca)->can_withdraw ? VAULT__ORDER_OP__ORDER_WITHDRAW
							       : VAULT__ORDER_OP__ORDER_POLL);
}
