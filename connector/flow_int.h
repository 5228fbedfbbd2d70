/*
 * The flow's own: what steps and handlers share.
 *
 * The pattern of every handler: take the job back from its reference (NULL: it is gone, or the flow
 * ends), see that it is still in the state that began the call, then move it on.
 */
#pragma once

#include "base/crashpoint.h"
#include "connector/decisions.h"
#include "connector/flow.h"
#include "connector/job_table.h"
#include "connector/leases.h"
#include "connector/scheduler.h"
#include "base/log.h"
#include "proto/codec.h"

#define FLOW_APPROVALS         64
#define FLOW_RESULTS_IN_FLIGHT 32
#define FLOW_HOLD_MS           (INT64_C(7) * 86400 * 1000) /* a result that the queue does not know */
#define FLOW_SLOW_POLL         60 /* WATCH polls so many times more seldom than poll_min */

struct flow_approval { /* how often a job was given back for an operator's approval */
	uint8_t job_id[JOB_ID_SIZE];
	unsigned times;
};

struct flow {
	struct loop *loop;
	struct flow_settings settings;
	char *tenant;
	const struct flow_events *events;
	void *arg;
	struct journal *journal;
	struct jobs *jobs;
	struct scheduler *scheduler;
	struct leases *leases;
	struct decisions *decisions;
	struct vault_client *vault;
	struct ca_clients *cas;
	struct session *session;
	Vault__PublicList *list;
	struct expiries *expiries;
	struct flow_offer *offer; /* NULL: the store did not go back, or has everything */
	struct loop_timer
		*soon; /* claims to be flushed, credit to be raised, the end to be noticed */
	struct loop_timer *relist;
	struct loop_timer *clock_timer;
	int64_t clock_offset; /* realtime minus boottime, as it was looked at last */
	struct flow_approval approvals[FLOW_APPROVALS];
	size_t next_approval;
	unsigned suspects; /* calls of jobs that were there when a keyvault died */
	uint32_t waiting;  /* jobs that wait for an operator, as the keyvault said last */
	uint64_t outcomes[FLOW_OUTCOMES];
	bool ending, stopping, draining, room_told;
	bool resumed;        /* this process has had a session: the queue knows of its life */
	int64_t parks_since; /* boottime: the second in which `parks` were sent */
	unsigned parks;
};

/* ---- references: one for each call and commit ---- */

struct flow_ref {
	struct flow *flow;
	struct job *job;
	void (*committed)(struct flow *f, struct job *job, cc_err err);
};
struct flow_ref *flow_ref_new(struct flow *f, struct job *job);
/* Ends the reference.  NULL: the job was dropped, or the flow ends. */
struct job *flow_ref_end(struct flow_ref *ref, struct flow **ret_flow);
/* Ends a reference of a call that was not made. */
void flow_ref_cancel(struct flow_ref *ref);

/* ---- moving a job ---- */

/* The state, without its step: before the commit that records it. */
void flow_set_state(struct flow *f, struct job *job, Journal__JobState state);
/* In realtime, which the journal has: the deadline that the state's row leaves open. */
void flow_set_deadline(struct job *job, int64_t at_ms);
/* The state and its step. */
void flow_enter(struct flow *f, struct job *job, Journal__JobState state);
/* The step of the present state, unless something of the job is under way; a job that is given back only
 * says so. */
void flow_step(struct flow *f, struct job *job);
/* The step again, after the back-off of its state or `at_least_ms`. */
void flow_retry(struct flow *f, struct job *job, int64_t at_least_ms);
/* Something was sent that is answered: the step again when no answer comes. */
void flow_wait_answer(struct flow *f, struct job *job);
/* Out of the table; credit is looked at soon. */
void flow_drop(struct flow *f, struct job *job);
/* Claims are flushed, credit is raised, the end is noticed: in this turn of the loop. */
void flow_soon(struct flow *f);

/* ---- recording ---- */

/* A change with the decision records that wait. */
struct journal_change *flow_change(struct flow *f);
/* The job's record as it is now. */
void flow_put_record(struct journal_change *c, struct job *job);
/* Commits, then `fn`; without a job to tell, a failed commit ends the process. */
void flow_commit(struct flow *f, struct job *job, struct journal_change *c,
	void (*fn)(struct flow *f, struct job *job, cc_err err));
/* Commits, then the step of the state that the job is in by then; a failed commit ends the process. */
void flow_commit_step(struct flow *f, struct job *job, struct journal_change *c);
/* What the journal has of a replayed job and memory has not. */
cc_err flow_load(struct flow *f, struct job *job, enum journal_part part, cc_blob *to) CC_MUST_USE;

/* ---- ends ---- */

/* What the queue takes of a certificate's id: a longer one would end every session in which it is sent. */
enum { FLOW_ISSUER_MAX = 1024, FLOW_SERIAL_MAX = 32 };

struct flow_failure {
	cc_view code; /* stable, as producers see it */
	uint32_t event;
	cc_view detail;
	bool retryable;
	const Certq__ResultBundle *refusal; /* signed by the keyvault; NULL: none */
};
/* The job has failed: FAILURE with what is known of its claim, recorded where the job is. */
void flow_fail(struct flow *f, struct job *job, const struct flow_failure *why);
/* Certificate made, packed, sealed and signed: RESULT.  Or the bundle of a kind without a claim; NULL for
 * a revocation, of which nothing is signed. */
void flow_succeed(struct flow *f, struct job *job, const Certq__ResultBundle *bundle);
void flow_give_back(struct flow *f, struct job *job, Certq__NackReason reason, int64_t delay_ms,
	bool count_attempt, bool exclude_me);
/* The claim is settled so: SETTLING, until the queue has it. */
void flow_settle(struct flow *f, struct job *job, Certq__Settlement outcome);
/* It is to be known what became of the claim: SETTLING, which asks the CA.  `code`: what the producer is
 * told, should the queue still wait for us. */
void flow_lose_claim(struct flow *f, struct job *job); /* verdict.c: the queue takes it from us */
void flow_resolve(struct flow *f, struct job *job, const char *code);
/* There will be no certificate, or none that can be delivered: a failure while the queue waits for us, else
 * only the claim is settled, by what job->doubtful says. */
void flow_claim_failed(struct flow *f, struct job *job, const struct flow_failure *why);
/* Nobody can tell what became of the claim. */
void flow_end_in_doubt(struct flow *f, struct job *job);
#define FLOW_IN_DOUBT     "ca_in_doubt"
#define FLOW_CLAIM_LOST   "claim_lost"      /* the queue takes, or took, it from us */
#define FLOW_PENDING_LOST "ca_pending_lost" /* a pending request that cannot be asked about */
#define FLOW_PENDING_OVER "pending_deadline"
/* Who has won in our place, as the queue says now. */
void flow_set_winner(struct flow *f, struct job *job, const Certq__CertificateId *winner);
/* A certificate that the queue has no use for. */
void flow_orphan(struct flow *f, struct job *job, const Certq__CertificateId *winner);
/* A FAILURE of the claim's epoch, for want of a result by which the queue can be asked about the job. */
void flow_put_question(struct journal_change *c, struct job *job);
/* Over: header into `done`, out of the table. */
void flow_end(struct flow *f, struct job *job, const char *outcome);
/* A CA may have made a certificate that nobody can tell of. */
void flow_put_doubt(struct journal_change *c, const struct job *job);
/* It is known after all, unless an earlier request is still in doubt. */
void flow_put_claim_known(struct journal_change *c, const struct job *job);
void flow_put_certificate(const struct job *job, Certq__CertificateId *to);
/* The certificate id of the chain's leaf, into the job.  CC_MISMATCH: its key is not the job's. */
cc_err flow_read_leaf(cc_view der, struct job *job) CC_MUST_USE;
#define FLOW_KEY_MISMATCH                                                                          \
	"key_mismatch" /* the code of such a job: its certificate is nobody's orphan */

/* ---- claims of earlier epochs: earlier.c ---- */

/* What became of them follows from what the job knows now; before the commit that records it. */
void flow_resolve_earlier(struct job *job);
/* Those that are known and were not told in this session. */
void flow_tell_earlier(struct flow *f, struct job *job);
/* True: the job ends with this outcome when the last of them is confirmed. */
bool flow_waits_for_earlier(struct flow *f, struct job *job, const char *outcome);
/* False: it is not about one of them. */
bool flow_take_earlier_ack(struct flow *f, struct job *job, const Certq__SettleAck *ack);

/* ---- what a CA has, or may have: ask.c, told.c ---- */

void flow_ask_find(struct flow *f, struct job *job, struct ca_client *ca);
/* Poll or withdraw; the cookie must be in the job or the journal. */
void flow_ask_pending(struct flow *f, struct job *job, Vault__OrderOp op);
bool flow_has_cookie(struct flow *f, struct job *job);
bool flow_can_find(const struct ca_client *ca);
void flow_take_told(struct flow *f, struct job *job, const Ca__CaAnswer *answer);
void flow_take_no_order(struct flow *f, struct job *job); /* the keyvault refuses to give one */
void flow_take_issued(struct flow *f, struct job *job, const Ca__CaAnswer *answer);
void flow_take_pending(struct flow *f, struct job *job, const Ca__CaAnswer *answer);
/* Earlier holders' claims first, then INTENT (step_prior.c). */
void flow_ask_prior(struct flow *f, struct job *job);
/* Has it a runner here, and is it not suspended? */
bool flow_ca_is_usable(const struct flow *f, cc_view name);
/* It gave a certificate for another key: nothing new is asked of it. */
void flow_suspend_ca(struct flow *f, struct job *job);
void flow_watch(struct flow *f, struct job *job); /* step_pending.c: until watch_until_ms */
/* The pending request cannot be taken back. */
void flow_watch_pending(struct flow *f, struct job *job);

/* ---- what came ---- */

void flow_take_delivery(struct flow *f, Certq__Job *delivery);           /* intake.c */
void flow_take_verdict(struct flow *f, const struct session_verdict *v); /* verdict.c */
void flow_take_claim_ack(struct flow *f, const Certq__ClaimAck *ack);    /* step_claim.c */
void flow_take_settle_ack(struct flow *f, const Certq__SettleAck *ack);  /* step_settle.c */
void flow_take_risk_told(
	struct flow *f, struct job *job, Certq__SettleVerdict verdict); /* step_submit.c */
void flow_take_parked(struct flow *f, struct job *job);                 /* step_pending.c */
void flow_take_orphan_ack(
	struct flow *f, struct job *job, const Certq__ResultAck *ack);  /* step_orphan.c */
void flow_take_nack_ack(struct flow *f, const Certq__NackAck *ack);     /* step_simple.c */
void flow_take_result_ack(struct flow *f, const Certq__ResultAck *ack); /* result_ack.c */
/* Not too many are under way, those of orphans counted (step_send.c). */
bool flow_has_room_for_result(struct flow *f);
/* A result that the queue does not know: waits for another generation of its store, as long as it may. */
void flow_hold(struct flow *f, struct job *job); /* result_ack.c */
/* ---- a store that went back in time: flow_offer.c ---- */

void flow_offer_begin(struct flow *f);
/* The next page, when the last one is answered and recorded; without an offer nothing. */
void flow_offer_go(struct flow *f);
void flow_offer_end(struct flow *f); /* the session is gone: the next one begins anew */
bool flow_take_offer_ack(struct flow *f, const Certq__OfferAck *ack);
/* flow_recall.c: a job that is done, whose result the store has lost: RESULT, under the store's epoch. */
cc_err flow_send_again(
	struct flow *f, cc_view id, const Journal__DoneJob *done, uint32_t epoch) CC_MUST_USE;
/* A claim of ours, the present one or an earlier one, that the store has under another epoch. */
cc_err flow_renumber(struct flow *f, cc_view id, uint32_t was, uint32_t epoch) CC_MUST_USE;
/* An answer that may be another one in a moment: RETRY_LATER, and while an offer is under way that an attempt is not
 * known, since the store may hear of it by the next page. */
bool flow_settles_later(const struct flow *f, Certq__SettleVerdict verdict);
/* Jobs that the store did not know are submitted again. */
void flow_take_recalls(struct flow *f, const Certq__OfferAck *ack);
/* A result that was stored once, or held, is none for the job that the queue has now: FAILURE in its place, the
 * claim IN_DOUBT. */
void flow_fail_stored(struct flow *f, struct job *job, const char *code);

/* An answer of the keyvault other than OK, about a job that has no claim yet. */
void flow_take_refusal(
	struct flow *f, struct job *job, const Vault__VaultAnswer *answer); /* refusal.c */
/* The keyvault died, or did not answer, while it had this job, which has no claim yet. */
void flow_vault_failed(struct flow *f, struct job *job, cc_err err);
/* A call for a RECEIVED job was made, or could not be: then again later. */
void flow_vault_asked(struct flow *f, struct job *job, struct flow_ref *ref, cc_err err);
/* Its answer came: the job when that is what was wanted.  Everything else is dealt with, NULL. */
struct job *flow_vault_answered(struct flow_ref *ref, cc_err err, const Vault__VaultAnswer *answer,
	Vault__VaultAnswer__AnswerCase wanted, struct flow **ret_flow);
/* Whether this job may be with the keyvault now: those that were there when one died go one by one. */
bool flow_vault_is_free(const struct flow *f, const struct job *job);
/* What the keyvault tells of itself may have changed. */
void flow_relist_soon(struct flow *f);
/* Looks from now on whether the clock was set (flow_clock.c); at once, for tests that have moved it. */
void flow_clock_start(struct flow *f);
void flow_clock_look(struct flow *f);
/* Public keys and profiles changed, or the session is new. */
void flow_send_capabilities(struct flow *f); /* capabilities.c */

static inline bool flow_is(const struct job *job, Journal__JobState state)
{
	return job->state == state;
}
