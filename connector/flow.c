/*
 * The flow: making and ending it, what the other processes and the session tell it, and the loop's
 * small duties.  How a job moves is flow_move.c, how it ends is flow_ends.c.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "connector/steps.h"
#include <stdlib.h>
#include <unistd.h>

/* A key may be made, or the policy changed, at the administrator's door at any time. */
enum { RELIST_EVERY_MS = 60 * 1000 };

enum {
	RELIST_MS = 5000,
	RELIST_SOON_MS = 100,
	ROOM_LOOK_MS = 2000,
	POLL_MOST_MS = 2 * 86400 * 1000
};

/* ---- the keyvault ---- */

static bool is_same_list(const Vault__PublicList *a, const Vault__PublicList *b)
{
	cc_blob first = codec_pack(a), second = codec_pack(b);
	bool same = cc_view_equal(cc_blob_view(&first), cc_blob_view(&second));
	cc_blob_free(&first);
	cc_blob_free(&second);
	return same;
}

static void on_listed(void *arg, cc_err err, const Vault__VaultAnswer *answer)
{
	struct flow *f = arg;
	cc_blob packed = CC_BLOB_NONE;
	Vault__PublicList *list = NULL;
	if (f->ending)
		return;
	if (err != CC_OK || answer->status != VAULT__VAULT_STATUS__VAULT_OK ||
		answer->list == NULL || answer->answer_case != VAULT__VAULT_ANSWER__ANSWER_LIST) {
		loop_timer_set(f->relist, RELIST_MS);
		return;
	}
	packed = codec_pack(answer->list);
	err = codec_decode(
		&vault__public_list__descriptor, cc_blob_view(&packed), CHAN_FRAME_MAX, &list);
	cc_blob_free(&packed);
	if (err != CC_OK)
		return;
	loop_timer_set(f->relist, RELIST_EVERY_MS);
	f->waiting = list->waiting;
	list->waiting = 0; /* nothing that the queue is told */
	bool same = f->list != NULL && is_same_list(f->list, list);
	codec_free(f->list);
	f->list = list;
	if (!same)
		flow_send_capabilities(f);
}

static void ask_for_list(void *arg)
{
	struct flow *f = arg;
	if (vault_client_is_connected(f->vault) &&
		vault_client_list_public(f->vault, on_listed, f) != CC_OK)
		loop_timer_set(f->relist, RELIST_MS);
}

void flow_relist_soon(struct flow *f)
{
	loop_timer_set(f->relist, RELIST_SOON_MS);
}

static void kick(void *arg, struct job *job)
{
	flow_step(arg, job);
}

static void kick_vault_step(void *arg, struct job *job)
{
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_ISSUED) && job->vault_deaths > 0)
		return; /* one that may have killed it waits for its time */
	if (job_rule(job->state)->retry == RETRY_VAULT ||
		flow_is(job, JOURNAL__JOB_STATE__STATE_CLAIMED))
		flow_step(arg, job);
}

static void on_vault_connected(void *arg)
{
	struct flow *f = arg;
	decisions_forget_confirmed(f->decisions);
	ask_for_list(f);
	jobs_each(f->jobs, kick_vault_step, f);
}

static void on_vault_lost(void *arg, cc_err why)
{
	struct flow *f = arg;
	(void)why; /* logged by the conversation */
	f->events->conversation_lost(f->arg, NULL);
}

static void on_decisions(
	void *arg, Vault__DecisionRecord *const *records, size_t count, bool resent)
{
	struct flow *f = arg;
	decisions_add(f->decisions, records, count, resent);
	if (resent) /* an administrator has been at work, or the conversation is new */
		flow_relist_soon(f);
}

static void on_decisions_recorded(void *arg, cc_err err)
{
	struct flow *f = arg;
	if (f->ending)
		return;
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
	else
		decisions_confirm(f->decisions, f->vault);
}

static void on_decided(void *arg)
{
	struct flow *f = arg;
	decisions_flush(f->decisions, on_decisions_recorded, f);
}

static const struct vault_client_events vault_events = {
	.connected = on_vault_connected,
	.lost = on_vault_lost,
	.decisions = on_decisions,
	.decided = on_decided,
};

/* ---- the runners ---- */

static void kick_claimed(void *arg, struct job *job)
{
	if (job_rule(job->state)->retry == RETRY_CA ||
		flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) ||
		(flow_is(job, JOURNAL__JOB_STATE__STATE_RECEIVED) &&
			(job->kind == JOB_KIND_CHAIN || job->kind == JOB_KIND_REVOKE)))
		flow_step(arg, job);
}

static void on_ca_ready(void *arg, struct ca_client *ca)
{
	struct flow *f = arg;
	if (ca_client_properties(ca)->can_revoke)
		flow_send_capabilities(f);
	jobs_each(f->jobs, kick_claimed, f);
}

static void on_ca_lost(void *arg, struct ca_client *ca, cc_err why)
{
	struct flow *f = arg;
	(void)why;
	f->events->conversation_lost(f->arg, ca_client_name(ca));
}

static const struct ca_client_events ca_events = {.ready = on_ca_ready, .lost = on_ca_lost};

/* ---- the session ---- */

struct held_list {
	struct session_held *items;
	size_t count;
};

static void list_held(void *arg, struct job *job)
{
	struct held_list *list = arg;
	struct session_held *item = &list->items[list->count];
	Journal__JobState s = job->state;
	/* what is given back, over, or no more the queue's: unlisted */
	if (job->nack.reason != 0 || s == JOURNAL__JOB_STATE__STATE_DONE ||
		s == JOURNAL__JOB_STATE__STATE_FAILED || s == JOURNAL__JOB_STATE__STATE_WATCH)
		return;
	for (size_t i = 0; i < JOB_ID_SIZE; i++)
		item->job_id[i] = job->id[i];
	item->epoch = job->epoch;
	item->claimed = s != JOURNAL__JOB_STATE__STATE_RECEIVED &&
			s != JOURNAL__JOB_STATE__STATE_READY_TO_SEND;
	item->parked = s == JOURNAL__JOB_STATE__STATE_PENDING;
	item->finished = s == JOURNAL__JOB_STATE__STATE_RESULT ||
			 s == JOURNAL__JOB_STATE__STATE_READY_TO_SEND ||
			 s == JOURNAL__JOB_STATE__STATE_ORPHAN;
	item->settling =
		s == JOURNAL__JOB_STATE__STATE_SETTLING || s == JOURNAL__JOB_STATE__STATE_ORPHAN;
	list->count++;
}

static struct session_held *on_held(void *arg, size_t *ret_count)
{
	struct flow *f = arg;
	struct held_list list = {NULL, 0};
	list.items = cc_alloc((jobs_count(f->jobs) + 1) * sizeof *list.items);
	jobs_each(f->jobs, list_held, &list);
	*ret_count = list.count;
	return list.items;
}

static void on_verdict(void *arg, const struct session_verdict *v)
{
	flow_take_verdict(arg, v);
}

static void on_ready(void *arg)
{
	struct flow *f = arg;
	f->resumed = true;
	flow_send_capabilities(f);
	if (session_wants_offer(f->session))
		flow_offer_begin(f);
	jobs_each(f->jobs, kick, f);
	flow_offer_go(
		f); /* held results, which are none on their way, have their timers only now */
	flow_soon(f);
}

/* What was sent and not answered is not known to have arrived. */
static void forget_sent(void *arg, struct job *job)
{
	struct flow *f = arg;
	job->sent = false;
	job->parked = false;
	job->lease_ms = 0;
	job_forget_told(job);
	if (job->nack.reason != 0)
		flow_drop(f, job); /* unlisted, it is READY at the queue */
}

static void on_session_lost(void *arg)
{
	struct flow *f = arg;
	flow_offer_end(f);
	jobs_each(f->jobs, forget_sent, f);
	flow_soon(f);
}

static void on_job(void *arg, Certq__Job *job)
{
	flow_take_delivery(arg, job);
	flow_soon(arg);
}

static void on_claim_ack(void *arg, const Certq__ClaimAck *ack)
{
	flow_take_claim_ack(arg, ack);
}

static void on_settle_ack(void *arg, const Certq__SettleAck *ack)
{
	flow_take_settle_ack(arg, ack);
}

static void send_waiting(void *arg, struct job *job)
{
	/* one with a timer waits for its time, not for a place */
	if (job->heap_index == 0 && (flow_is(job, JOURNAL__JOB_STATE__STATE_RESULT) ||
					    flow_is(job, JOURNAL__JOB_STATE__STATE_READY_TO_SEND)))
		flow_step(arg, job);
}

static void on_result_ack(void *arg, const Certq__ResultAck *ack)
{
	struct flow *f = arg;
	flow_take_result_ack(f, ack);
	jobs_each(f->jobs, send_waiting, f); /* one of those in flight has landed */
	flow_offer_go(f);
}

static void on_nack_ack(void *arg, const Certq__NackAck *ack)
{
	flow_take_nack_ack(arg, ack);
}

static bool on_offer_ack(void *arg, const Certq__OfferAck *ack)
{
	return flow_take_offer_ack(arg, ack);
}

static const struct session_events session_events = {
	.held = on_held,
	.verdict = on_verdict,
	.ready = on_ready,
	.lost = on_session_lost,
	.job = on_job,
	.claim_ack = on_claim_ack,
	.settle_ack = on_settle_ack,
	.result_ack = on_result_ack,
	.nack_ack = on_nack_ack,
	.offer_ack = on_offer_ack,
};

/* ---- small duties, once a turn ---- */

struct tally {
	uint32_t places, ending;
};

static void tally_job(void *arg, struct job *job)
{
	struct tally *t = arg;
	/* a result that the queue does not know is held for days: it must not keep others out */
	if (job_rule(job->state)->takes_place && job->hold_generation == 0)
		t->places++;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_RECEIVED) ||
		flow_is(job, JOURNAL__JOB_STATE__STATE_READY_TO_SEND))
		t->ending++;
}

static uint32_t free_places(struct flow *f, uint32_t taken)
{
	if (f->list == NULL || f->draining || f->stopping)
		return 0;
	if (journal_room(f->journal) != JOURNAL_ROOM_FREE) {
		if (!f->room_told)
			log_event(EV_JOURNAL_FULL, LV_U64("bytes", journal_used_bytes(f->journal)),
				LV_U64("limit", journal_max_bytes(f->journal)),
				LV_U64("disk_free", journal_disk_free(f->journal)));
		f->room_told = true;
		loop_timer_set(f->soon, ROOM_LOOK_MS); /* nothing tells when there is room again */
		return 0;
	}
	f->room_told = false;
	return taken < f->settings.max_inflight ? f->settings.max_inflight - taken : 0;
}

static bool nothing_queued(const struct flow *f)
{
	struct session_status status;
	session_status(f->session, &status);
	return status.queued == 0;
}

static void on_soon(void *arg)
{
	struct flow *f = arg;
	struct tally t = {0};
	if (f->session != NULL)
		session_flush_claims(f->session);
	jobs_each(f->jobs, tally_job, &t);
	if (f->session != NULL && f->list != NULL && f->offer == NULL)
		session_set_places(f->session, free_places(f, t.places));
	if (!f->stopping)
		return;
	if (f->session == NULL || !session_can_send(f->session) ||
		(t.ending == 0 && nothing_queued(f)))
		f->events->stopped(f->arg);
	else
		loop_timer_set(f->soon, 20);
}

void flow_soon(struct flow *f)
{
	loop_timer_set(f->soon, 0);
}

static void on_batch(void *arg)
{
	struct flow *f = arg;
	if (f->session != NULL)
		session_flush_claims(f->session);
	decisions_confirm(f->decisions, f->vault);
	flow_offer_go(f);
}

/* ---- making and ending ---- */

/* The journal's realtime as time that waits; a clock that was set does not make it longer. */
static int64_t due_of(int64_t at_ms, int64_t most_ms)
{
	int64_t left = at_ms - clock_realtime_ms();
	if (left > most_ms)
		left = most_ms;
	return clock_boottime_ms() + (left > 0 ? left : 0);
}

static void set_times(const struct flow *f, struct job *job)
{
	bool open_ended = flow_is(job, JOURNAL__JOB_STATE__STATE_PENDING) ||
			  flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) ||
			  flow_is(job, JOURNAL__JOB_STATE__STATE_WATCH);
	job->poll_due = due_of(job->next_due_ms, POLL_MOST_MS);
	job->orphan_due = due_of(
		job->winner_told_ms + f->settings.orphan_grace_ms, f->settings.orphan_grace_ms);
	int64_t last = clock_realtime_ms() + (flow_is(job, JOURNAL__JOB_STATE__STATE_PENDING)
							     ? f->settings.pending_max_ms
							     : f->settings.watch_ms);
	/* an earlier release had no end for it, and a clock that was set back makes none later */
	if (open_ended)
		flow_set_deadline(job,
			job->deadline_ms != 0 && job->deadline_ms < last ? job->deadline_ms : last);
}

static cc_err take_open_job(void *arg, cc_view job_id, const Journal__OpenJob *record)
{
	struct flow *f = arg;
	struct job *job = jobs_add(f->jobs, job_id);
	cc_err err = job_from_record(job, record);
	if (err == CC_OK)
		set_times(f, job);
	return err;
}

static void fill_settings(struct flow_settings *s)
{
	const int64_t day_ms = INT64_C(86400) * 1000;
	s->max_inflight = s->max_inflight > 0 ? s->max_inflight : 16;
	s->pending_max_ms = s->pending_max_ms > 0 ? s->pending_max_ms : 7 * day_ms;
	s->watch_ms = s->watch_ms > 0 ? s->watch_ms : 30 * day_ms;
	s->poll_min_ms = s->poll_min_ms > 0 ? s->poll_min_ms : 10 * 1000;
	s->orphan_grace_ms = s->orphan_grace_ms > 0 ? s->orphan_grace_ms : day_ms;
	s->orphan_max_per_hour = s->orphan_max_per_hour > 0 ? s->orphan_max_per_hour : 10;
	s->approval_retry_ms = s->approval_retry_ms > 0 ? s->approval_retry_ms : 5 * 60 * 1000;
	s->approval_retry_max_ms =
		s->approval_retry_max_ms > 0 ? s->approval_retry_max_ms : 60 * 60 * 1000;
}

static void on_due(void *arg, struct job *job)
{
	struct flow *f = arg;
	job->sent = false; /* what was sent has had its time */
	job_forget_told(job);
	flow_step(f, job);
}

static void on_journal_fatal(void *arg, cc_err err)
{
	struct flow *f = arg;
	if (!f->ending)
		f->events->fatal(f->arg, err);
}

static void make_session(struct flow *f, struct wire *wire)
{
	struct session_settings s = {.max_inflight = f->settings.max_inflight,
		.backoff_min_ms = f->settings.backoff_min_ms,
		.backoff_max_ms = f->settings.backoff_max_ms};
	if (wire != NULL)
		f->session = session_new(f->loop, f->journal, wire, &s, &session_events, f);
}

cc_err flow_new(struct loop *l, const struct flow_settings *settings, struct journal *j,
	struct wire *wire, const struct flow_events *events, void *arg, struct flow **ret)
{
	struct flow *f = cc_alloc(sizeof *f);
	cc_err err = CC_OK;
	f->loop = l;
	f->settings = *settings;
	fill_settings(&f->settings);
	f->tenant = cc_strdup(settings->tenant);
	f->events = events;
	f->arg = arg;
	f->journal = j;
	f->jobs = jobs_new();
	f->expiries = expiries_new();
	f->scheduler = scheduler_new(l, on_due, f);
	f->decisions = decisions_new(j);
	f->soon = loop_timer_new(l, on_soon, f);
	f->relist = loop_timer_new(l, ask_for_list, f);
	flow_clock_start(f);
	f->vault = vault_client_new(l, settings->build_id, &vault_events, f);
	f->cas = ca_clients_new(
		l, settings->ca_names, settings->ca_count, settings->build_id, &ca_events, f);
	make_session(f, wire);
	f->leases = leases_new(l, f->jobs, f->session);
	journal_on_batch(j, on_batch, f);
	journal_on_fatal(j, on_journal_fatal, f);
	TRY(journal_each_open(j, take_open_job, f));
	*ret = f;
	f = NULL;
out:
	flow_free(f);
	return err;
}

/* Calls and commits come back while this runs, and find that the flow ends. */
void flow_free(struct flow *f)
{
	if (f == NULL)
		return;
	f->ending = true;
	flow_offer_end(f);
	vault_client_free(f->vault);
	ca_clients_free(f->cas);
	leases_free(f->leases);
	session_free(f->session);
	journal_close(f->journal);
	decisions_free(f->decisions);
	scheduler_free(f->scheduler);
	jobs_free(f->jobs);
	loop_timer_free(f->soon);
	loop_timer_free(f->relist);
	loop_timer_free(f->clock_timer);
	codec_free(f->list);
	expiries_free(f->expiries);
	free(f->tenant);
	free(f);
}

static void start_job(void *arg, struct job *job)
{
	enum job_restart rule = job_rule(job->state)->on_restart;
	if (rule == RESTART_AGAIN)
		flow_step(arg, job);
}

void flow_start(struct flow *f)
{
	jobs_each(f->jobs, start_job, f);
	if (f->session == NULL)
		log_event(EV_NOT_ENROLLED, LV_U64("open", jobs_count(f->jobs)));
	else
		session_start(f->session);
}

static void give_back_unbegun(void *arg, struct job *job)
{
	struct flow *f = arg;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_RECEIVED) && job->nack.reason == 0)
		flow_give_back(f, job, CERTQ__NACK_REASON__NACK_SHUTTING_DOWN, 0, false, false);
}

void flow_stop(struct flow *f, uint32_t grace_ms)
{
	if (f->stopping)
		return;
	f->stopping = true;
	if (f->session != NULL)
		session_drain(f->session, grace_ms);
	jobs_each(f->jobs, give_back_unbegun, f);
	flow_soon(f);
}

void flow_drain(struct flow *f)
{
	f->draining = true;
	if (f->session != NULL)
		session_drain(f->session, 0);
}

void flow_attach_vault(struct flow *f, int fd)
{
	vault_client_attach(f->vault, fd);
}

void flow_attach_ca(struct flow *f, cc_view name, int fd)
{
	struct ca_client *ca = ca_clients_find(f->cas, name);
	if (ca == NULL)
		close(fd);
	else
		ca_client_attach(ca, fd);
}

void flow_run_due(struct flow *f)
{
	if (f->session != NULL)
		session_run_due(f->session);
	flow_clock_look(f);
	scheduler_run(f->scheduler);
	leases_run(f->leases);
}
