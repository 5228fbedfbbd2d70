/*
 * Store: jobs as producers and operators see them, and housekeeping.  Part of cloud-queue/store.h,
 * which says how to call and who may.
 */
#pragma once

#include "cloud-queue/store_words.h"

/* ---- jobs: the producer's side ---------------------------------------------------------------- */

/* Who can do it: hash of all this is the job's route.  The part that a kind lacks is empty. */
struct store_route {
	enum store_kind kind;
	cc_view ca_profile;
	const cc_view *key_ids; /* recipients of the imported record, any order; 32 bytes each */
	size_t key_id_count;
	cc_view audience; /* connector id or group; empty: any connector of the tenant */
};

struct store_enqueue_in {
	cc_view tenant;
	cc_view job_id;   /* 16 bytes, derived from tenant and idempotency key */
	cc_view document; /* packed certq.v1.SignedDocument; the same bytes go to the connector */
	cc_view body_sha256;   /* of the document's body; decides SAME or CONFLICT */
	cc_view signer_key_id; /* the newest statement of that signer travels with the job */
	struct store_route route;
	int64_t not_after_ms; /* realtime */
	cc_view idem_key;
	cc_view correlation_id;
	cc_view batch_id;
	enum store_priority priority;
	cc_view pfx; /* rewrap: copies of the record */
	const cc_view *passwords;
	size_t password_count;
};
struct store_enqueue_out { /* NEW, SAME(state), CONFLICT, QUOTA, TOO_LARGE, EXPIRED, UNKNOWN (tenant) */
	cc_err err;
	enum store_result result;
	enum store_state state;
	enum store_dead dead;
	uint64_t seq;
	int64_t created_ms;
	int64_t not_after_ms;
	bool routable; /* a live connector serves the route right now */
};
STORE_OP(enqueue);

#define STORE_ENQUEUE_MAX 100
/* Several of one tenant as one: all of them are taken, or none.  A job id that is in it twice is a
 * CONFLICT. */
struct store_enqueue_all_in {
	cc_view tenant; /* each item's too */
	const struct store_enqueue_in *items;
	size_t count;
};
struct store_enqueue_all_out { /* OK: each item is NEW or SAME; REFUSED: none was taken */
	cc_err err;
	enum store_result result;
	size_t refused; /* REFUSED: the first item that is not taken; its result says why */
	const struct store_enqueue_out *items;
	size_t count;
};
STORE_OP(enqueue_all);

/* What is known of a job.  Kept for header_retention after the end. */
struct store_job {
	cc_view tenant;
	cc_view job_id;
	uint64_t number; /* order of creation within the store */
	uint64_t seq;    /* of the last change of state, within the tenant */
	enum store_state state;
	enum store_dead dead;
	enum store_kind kind;
	enum store_priority priority;
	cc_view idem_key, correlation_id, batch_id;
	cc_view ca_profile, audience;
	cc_view body_sha256;
	int64_t created_ms, changed_ms, not_after_ms;
	int64_t finished_ms;    /* 0: not terminal */
	int64_t run_at_ms;      /* READY: not before */
	uint32_t given_back;    /* READY: the reason of the nack that made it so; 0: none did */
	int64_t lease_until_ms; /* LEASED */
	int64_t deadline_ms;    /* CLAIMED, PARKED, HELD */
	cc_view park_ref;
	uint32_t run, epoch, deliveries, attempts, crash_suspect;
	cc_view connector;  /* the holder; terminal: whose result it is */
	cc_view error_code; /* DEAD */
	cc_view error_detail;
	uint32_t error_event;
	bool retryable;
	struct store_certificate certificate; /* DONE: the winner */
	bool has_result;                      /* bundle still kept */
	bool result_taken;
};

struct store_fetch_in {
	cc_view tenant;
	cc_view job_id;
	bool want_document; /* fills document, pfx */
	bool want_result; /* fills bundle; and pfx of a rewrap, for it is answered from the copy */
};
struct store_fetch_out { /* OK, UNKNOWN */
	cc_err err;
	enum store_result result;
	struct store_job job;
	cc_view document; /* packed SignedDocument; empty after retention */
	cc_view pfx;
	cc_view bundle; /* packed ResultBundle: the winner's, never a loser's; of a signed refusal too */
};
STORE_OP(fetch);

struct store_result_ack_in { /* the producer has the result: its payload may go before retention */
	cc_view tenant;
	cc_view job_id;
};
STORE_PLAIN_OUT(result_ack); /* OK, UNKNOWN */
STORE_OP(result_ack);

struct store_list_in {
	cc_view tenant;
	uint32_t states;        /* bits 1 << state; 0: all */
	uint32_t dead;          /* with DEAD among the states: bits 1 << reason; 0: all */
	uint32_t kinds;         /* STORE_KIND_BIT; 0: all */
	cc_view batch_id;       /* empty: any */
	cc_view correlation_id; /* empty: any */
	uint64_t after;         /* the cursor: `number` of the last job seen; 0: from the start */
	size_t limit;           /* 1..STORE_LIST_MAX */
};
struct store_list_out { /* OK.  A page may be short, even empty, while `next` is not 0. */
	cc_err err;
	enum store_result result;
	const struct store_job *jobs; /* by `number` */
	size_t count;
	uint64_t next; /* cursor of the next page; 0: that was all */
};
STORE_OP(list);

struct store_event {
	uint64_t seq;
	cc_view job_id;
	enum store_state state;
	enum store_dead dead;
	int64_t at_ms;
};
struct store_events_in { /* jobs that changed after `after`, in order: each once, at its latest change */
	cc_view tenant;
	uint64_t after;
	size_t limit;
};
struct store_events_out { /* OK */
	cc_err err;
	enum store_result result;
	const struct store_event *events;
	size_t count;
	uint64_t last_seq; /* the tenant's newest */
};
STORE_OP(events);

struct store_cancel_in {
	cc_view tenant;
	cc_view job_id;
	bool by_operator; /* any state that is not terminal; else READY, LEASED or PARKED */
	struct store_repeat repeat;
};
struct store_cancel_out { /* OK, SAME, ALREADY(state), TOO_LATE, KEY_TAKEN, UNKNOWN_JOB.  The holder is
	                   * told: HINT_GONE */
	cc_err err;
	enum store_result result;
	enum store_state state; /* afterwards */
};
STORE_OP(cancel);

struct store_bury_in {
	cc_view tenant;
	cc_view job_id;
	cc_view by;
};
STORE_PLAIN_OUT(
	bury); /* OK, ALREADY, TOO_LATE (an unsettled claim before its deadline), UNKNOWN_JOB */
STORE_OP(bury);

struct store_replay_in {
	cc_view tenant;
	cc_view job_id;
	cc_view by;
	struct store_repeat repeat;
};
struct store_replay_out { /* OK, SAME, REFUSED(why), KEY_TAKEN, UNKNOWN_JOB */
	cc_err err;
	enum store_result result;
	const char *why; /* "not_dead", "unsettled_claim", "expired", "document_gone", "quota" */
	uint32_t run;
	enum store_state state; /* OK, SAME: as it is now */
	enum store_dead dead;
};
STORE_OP(replay);

struct store_takeover_in {
	cc_view tenant;
	cc_view job_id;
	cc_view by; /* empty: the rule (CLAIMED, HELD); else an operator's name (PARKED too) */
};
STORE_PLAIN_OUT(takeover); /* OK, NOT_DUE, UNKNOWN_JOB */
STORE_OP(takeover);

/* ---- housekeeping ----------------------------------------------------------------------------- */

struct store_sweep_in { /* call about once a second, and again at once while `more` */
	size_t limit;   /* rows to change; 0: 1,000 */
};
struct store_sweep_out { /* OK, ON_HOLD */
	cc_err err;
	enum store_result result;
	uint32_t leases_expired;
	uint32_t taken_over;
	uint32_t expired; /* DEAD by time */
	uint32_t results_dropped;
	uint32_t headers_dropped;
	bool more;
};
STORE_OP(sweep);

struct store_stats_in {
	cc_view tenant; /* empty: the whole store */
};
struct store_stats_out { /* OK, UNKNOWN */
	cc_err err;
	enum store_result result;
	uint64_t jobs[STORE_STATE_COUNT]; /* by state */
	uint64_t open_jobs;
	uint64_t bytes; /* reservation for results included */
	uint64_t routes;
	uint64_t unroutable; /* routes with work and no live connector for unroutable_after */
	uint64_t connectors, sessions;
	uint64_t file_bytes; /* of the whole store on disk */
	uint64_t generation;
};
STORE_OP(stats);

/* For the invariant checker: every job with its attempts and claims. */
struct store_check_claim {
	uint32_t epoch;
	cc_view ca, csr_sha256, spki_sha256, txid;
	enum store_settlement settlement;
	bool was_in_doubt; /* kept when IN_DOUBT became exact */
	cc_view cert_sha256;
	int64_t claimed_ms, settled_ms;
};
struct store_check_attempt {
	uint32_t epoch;
	uint32_t run;
	cc_view connector;
	int64_t leased_ms;
	const char *end; /* "open", "expired", "given_back", "lost", "taken_over", "winner",
	                         * "failed", "cancelled", "dead" */
	const struct store_check_claim *claims;
	size_t claim_count;
};
struct store_check_row {
	struct store_job job;
	const struct store_check_attempt *attempts;
	size_t attempt_count;
};
struct store_check_in {
	cc_view tenant;
	uint64_t after; /* as in list */
	size_t limit;
};
struct store_check_out { /* OK */
	cc_err err;
	enum store_result result;
	const struct store_check_row *rows;
	size_t count;
	uint64_t next;
};
STORE_OP(check);
