/*
 * Steps: what is begun in each state.  One file a step; the table of job_table.c names them.
 *
 * Connector process; the loop's thread only.  A step is called when its state is entered and when its
 * retry is due, never while a call or commit of the job is under way.  It begins something and
 * returns; what comes back moves the job on through flow_int.h.
 */
#pragma once

#include "connector/job.h"

struct flow;

void step_begin(struct flow *f, struct job *job);  /* RECEIVED: the keyvault judges; then INTENT */
void step_simple(struct flow *f, struct job *job); /* RECEIVED, kinds without a claim */
void step_revoke(struct flow *f, struct job *job); /* the same, for a revocation */
void step_claim(struct flow *f, struct job *job);  /* INTENT: claim at the queue */
void step_submit(struct flow *f, struct job *job); /* CLAIMED: ask the CA */
void step_finish(struct flow *f, struct job *job); /* ISSUED: the keyvault packs, seals and signs */
void step_send(struct flow *f, struct job *job);   /* RESULT, READY_TO_SEND: until acknowledged */
void step_pending(struct flow *f, struct job *job); /* PENDING: parked, polled */
void step_watch(struct flow *f, struct job *job);   /* WATCH: polled slowly */
void step_settle(struct flow *f,
	struct job *job); /* SETTLING: find out what became of the claim, and say it */
void step_orphan(struct flow *f, struct job *job); /* ORPHAN: revoke by the rules, or report */
void step_none(struct flow *f, struct job *job);   /* DONE, FAILED: the last commit is under way */

/* Given back: the Nack, until acknowledged. */
void step_give_back(struct flow *f, struct job *job);
/* INTENT is to be recorded (again), then claimed. */
void step_record_intent(struct flow *f, struct job *job);
