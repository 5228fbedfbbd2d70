/*
 * Flow: the jobs on their way through the connector.
 *
 * Connector process; the loop's thread only.  It owns the journal, the conversations with keyvault
 * and runners, the session, and the table of jobs, and moves each job along the rows of
 * connector/job_table.h.  Nothing leaves before the change that caused it is on disk: effects run in
 * the callbacks of journal_commit.
 *
 * Without a wire there is no session: the connector is not enrolled and only keeps what it has.
 */
#pragma once

#include "connector/ca_client.h"
#include "connector/expiry.h"
#include "connector/journal.h"
#include "connector/session.h"
#include "connector/vault_client.h"

struct flow; /* opaque */

struct flow_settings {
	const char *build_id;
	const char *tenant; /* empty: not enrolled */
	const char *connector_id;
	char *const *ca_names;
	size_t ca_count;
	uint32_t max_inflight; /* 0: 16 */
	uint32_t backoff_min_ms, backoff_max_ms;
	char *const *hold_cas; /* whose doubtful requests are not repeated */
	size_t hold_count;
	/* 0: 7 days, 30 days, 10 s, 24 hours, 10 */
	int64_t pending_max_ms, watch_ms, poll_min_ms, orphan_grace_ms;
	uint32_t orphan_max_per_hour;
	/* 0: 5 minutes, an hour */
	int64_t approval_retry_ms, approval_retry_max_ms;
};

struct flow_events {
	/* A conversation broke; NULL `ca`: the keyvault's.  Ask the supervisor for new ends. */
	void (*conversation_lost)(void *arg, const char *ca);
	/* The process cannot go on (the journal). */
	void (*fatal)(void *arg, cc_err err);
	/* After flow_stop: nothing is left that has to be said. */
	void (*stopped)(void *arg);
};

/* Takes over the journal, also on failure; `wire` stays the caller's and may be NULL.  Reads the
 * journal's open jobs. */
cc_err flow_new(struct loop *l, const struct flow_settings *settings, struct journal *j,
	struct wire *wire, const struct flow_events *events, void *arg,
	struct flow **ret) CC_MUST_USE;
void flow_free(struct flow *f); /* accepts NULL; the wire must still be there */
void flow_start(struct flow *f);
/* Give back what was not begun, then say `stopped`; the caller bounds the wait. */
void flow_stop(struct flow *f, uint32_t grace_ms);
/* An operator's wish: no new jobs. */
void flow_drain(struct flow *f);
/* Another: a CA that was suspended is asked again.  CC_NOT_FOUND: it is not suspended. */
cc_err flow_resume_ca(struct flow *f, cc_view name) CC_MUST_USE;
/* Another: this journal is the one that the queue is to know; it says Hello at once, as a new one. */
cc_err flow_adopt(struct flow *f) CC_MUST_USE;

void flow_attach_vault(struct flow *f, int fd);
void flow_attach_ca(struct flow *f, cc_view name, int fd); /* an unknown name is closed */

/* For status. */
enum flow_outcome {
	FLOW_RECEIVED,
	FLOW_ISSUED,
	FLOW_REWRAPPED,
	FLOW_CHAIN,
	FLOW_REVOKED,
	FLOW_FAILED,
	FLOW_GIVEN_BACK,
	FLOW_LOST,
	FLOW_OUTCOMES
};
const char *flow_outcome_name(enum flow_outcome o);
uint64_t flow_outcome_count(const struct flow *f, enum flow_outcome o);
size_t flow_state_count(const struct flow *f, Journal__JobState state);
size_t flow_unsettled_count(
	const struct flow *f); /* kept: nobody knows what became of their claim */
uint32_t flow_waiting_count(const struct flow *f);        /* at the keyvault, for an operator */
const struct session *flow_session(const struct flow *f); /* NULL: not enrolled */
const struct journal *flow_journal(const struct flow *f);
const struct ca_clients *flow_cas(const struct flow *f);
bool flow_vault_is_connected(const struct flow *f);
const Vault__PublicList *flow_public_list(const struct flow *f); /* NULL: not known yet */
struct expiries *flow_expiries(const struct flow *f); /* the flow itself puts signers into it */
bool flow_is_draining(const struct flow *f);

/* For tests that have moved the clock: everything that is due now. */
void flow_run_due(struct flow *f);
