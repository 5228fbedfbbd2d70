/*
 * Store: jobs as connectors see them: sessions, leases, claims, results.  Part of cloud-queue/store.h,
 * which says how to call and who may; the rules are those of delivery (docs/protocol.md).
 */
#pragma once

#include "cloud-queue/store_words.h"

/* ---- sessions: the connector's side ----------------------------------------------------------- */

struct store_session_open_in {
	cc_view tenant;
	cc_view connector;
	cc_view instance_id; /* 16 bytes */
	cc_view journal_id;  /* 16 bytes */
	cc_view nonce;       /* of the last HelloAck; empty: the first ever */
	uint64_t generation; /* the last one that its journal was offered to; 0: none yet */
	cc_view software;
	cc_view certificate_sha256; /* of the connection; one of an earlier enrolment: DISABLED */
};
struct store_session_open_out { /* OK, IDENTITY_CONFLICT, DISABLED, UNKNOWN (not enrolled) */
	cc_err err;
	enum store_result result;
	uint64_t session_epoch;
	uint8_t nonce[STORE_NONCE_SIZE]; /* new; valid only when the connector used it */
	uint64_t generation;
	bool offer;       /* the store went back since: no work before the end of store_offer */
	bool reconnected; /* an older session was open: its connection is to be told SUPERSEDED */
};
STORE_OP(session_open);

struct store_held {
	cc_view job_id;
	uint32_t epoch;
	bool claimed, parked, finished, settling;
};
/* A page of HeldLeases, or ResumeEnd (`last`, with or without items).  The nonce confirms the one
 * of session_open.  At `last` what was not listed goes by rule 7; of a session that has to offer, at
 * the end of its offer.  In a store that went back a claimed job that is listed under a later epoch
 * than the store knows is its connector's again. */
struct store_session_resume_in {
	struct store_session session;
	cc_view nonce;
	const struct store_held *held;
	size_t held_count; /* <= STORE_HELD_MAX */
	bool last;
	uint32_t held_total; /* with last */
};
struct store_session_resume_out { /* OK, SUPERSEDED, IDENTITY_CONFLICT (nonce), COUNT_MISMATCH */
	cc_err err;
	enum store_result result;
	const struct store_item_verdict *items; /* KEEP, LOST, ALREADY_DONE(w), CANCELLED */
	size_t count;
	uint32_t kept;        /* with last: jobs this connector holds now ... */
	uint32_t kept_parked; /* ... and how many of them are parked */
	uint32_t requeued;    /* unlisted and unclaimed: READY again */
	uint32_t in_doubt;    /* unlisted but claimed: HELD */
};
STORE_OP(session_resume);

/* A job of the connector's journal.  Success: its result was stored here once.  Else its claim is open
 * (UNSETTLED), or left a certificate that nobody got, as `settle` says. */
struct store_offered {
	cc_view job_id;
	uint32_t epoch;
	bool success;
	struct store_certificate certificate;
	enum store_settlement settle;
	cc_view ca, csr_sha256, spki_sha256, txid; /* the claim; empty: not known any more */
};
/* A page of what a connector finished, for a store that went back in time (rule 15).  What the store
 * knows otherwise is put right in the same transaction, so that no such certificate is without its
 * record: a success whose job is not final makes that job this connector's (CLAIMED) until its result
 * has come; who had claimed it is taken over, and only what another has PARKED stays so until then.  Only
 * issuing jobs are meant.  What is offered of a job that the store does not know is remembered, and does the same when
 * that job is enqueued (STORE_HINT_RECALLED).  At `last`, or when
 * it stands still (sweep), the session gets work like any other. */
struct store_offer_in {
	struct store_session session;
	const struct store_offered *jobs;
	size_t count; /* <= STORE_HELD_MAX */
	bool last;
};
struct store_offer_out { /* OK, SUPERSEDED, NOT_RESUMED, INVALID (nothing is to be offered) */
	cc_err err;
	enum store_result result;
	/* SAME (epoch: the one that its claim has), SEND (epoch: the one to send it under), UNKNOWN_JOB,
	 * ALREADY_DONE(w), ALREADY_DEAD, CANCELLED */
	const struct store_item_verdict *items;
	size_t count;
};
STORE_OP(offer);

struct store_key {
	cc_view key_id;
	cc_view spki;
};
struct store_set_capabilities_in { /* replaces the whole list: gather the pages first */
	struct store_session session;
	uint32_t kinds; /* STORE_KIND_BIT */
	const cc_view *ca_profiles;
	size_t ca_profile_count;
	const struct store_key *keys;
	size_t key_count;
};
STORE_PLAIN_OUT(set_capabilities); /* OK, SUPERSEDED */
STORE_OP(set_capabilities);

/* The connection is gone.  What was claimed stays its holder's; what was only leased does so for the
 * time of a reconnect, and then goes to another.  A job that was given out before, or is suspected of
 * crashing its holders, keeps its whole lease, so that the holder comes back and the crash is counted. */
struct store_session_close_in {
	struct store_session session;
};
STORE_PLAIN_OUT(session_close); /* OK, SUPERSEDED */
STORE_OP(session_close);

struct store_prior { /* a claim of an earlier lease that is UNSETTLED or IN_DOUBT */
	cc_view ca, csr_sha256, spki_sha256, txid;
};
struct store_leased {
	cc_view job_id;
	uint32_t epoch;
	uint32_t run;
	int64_t lease_ms;
	enum store_kind kind;
	cc_view body_sha256;
	cc_view document; /* packed SignedDocument */
	cc_view signer;   /* packed SignedDocument: the statement; empty when it is not known */
	cc_view pfx;
	const cc_view *passwords;
	size_t password_count;
	const struct store_prior *prior;
	size_t prior_count;
};
struct store_lease_in {
	struct store_session session;
	size_t max_jobs;  /* 1..STORE_LEASE_MAX */
	size_t max_bytes; /* of documents, statements, PFX and passwords; 0: no limit */
};
struct store_lease_out { /* OK, EMPTY, SUPERSEDED, NOT_RESUMED, SUSPENDED, DISABLED */
	cc_err err;
	enum store_result result;
	const struct store_leased *jobs;
	size_t count;
	int64_t next_ms; /* EMPTY: in how many ms the next delayed job of a served route is due;
	                         * -1: none is known, wait for HINT_READY */
};
STORE_OP(lease);

struct store_extend_in {
	struct store_session session;
	const struct store_lease_id *leases;
	size_t count; /* <= STORE_HELD_MAX */
};
struct store_extend_out { /* OK, SUPERSEDED */
	cc_err err;
	enum store_result result;
	const struct store_item_verdict *items; /* KEEP(ms), LOST, ALREADY_DONE(w), CANCELLED */
	size_t count;
};
STORE_OP(extend);

struct store_claim {
	cc_view job_id;
	uint32_t epoch;
	cc_view ca;
	cc_view csr_sha256, spki_sha256; /* 32 bytes */
	cc_view txid;                    /* 16 bytes */
};
struct store_claim_in {
	struct store_session session;
	const struct store_claim *claims;
	size_t count; /* <= STORE_HELD_MAX */
};
struct store_claim_out { /* OK, SUPERSEDED */
	cc_err err;
	enum store_result result;
	const struct store_item_verdict
		*items; /* GRANTED, LOST, ALREADY_DONE(w), CANCELLED, EXPIRED,
	                                         * CONFLICT (an earlier claim is not NOT_ISSUED) */
	size_t count;
};
STORE_OP(claim);

struct store_park_in {
	struct store_session session;
	cc_view job_id;
	uint32_t epoch;
	int64_t deadline_ms; /* a duration from now */
	cc_view ref;         /* the CA's request id, for people */
};
struct store_park_out { /* KEEP, LOST, ALREADY_DONE(w), CANCELLED, SUPERSEDED */
	cc_err err;
	enum store_result result;
	struct store_certificate winner;
};
STORE_OP(park);

/* No session: a result counts from any session and any epoch that was leased to this connector, but
 * not from a connection of an earlier enrolment. */
struct store_complete_in {
	cc_view tenant;
	cc_view connector;
	cc_view transport_sha256; /* the connection's certificate */
	cc_view job_id;
	uint32_t epoch;
	bool success;
	cc_view digest; /* SHA-256 of the bundle; same digest: the same result */
	cc_view bundle; /* packed ResultBundle; a failure: a signed refusal, or empty */
	struct store_certificate certificate;
	cc_view error_code; /* failure */
	cc_view error_detail;
	uint32_t error_event;
	bool retryable;
	enum store_settlement
		settle; /* failure of a claimed job: what every open claim of it becomes */
};
struct store_complete_out {
	/* SUCCESS: STORED, DUPLICATE_SAME, ALREADY_DONE(w), ALREADY_DEAD, CANCELLED, UNKNOWN_JOB,
	 * UNKNOWN_ATTEMPT.  FAILURE: the same but UNKNOWN_ATTEMPT, and STALE_EPOCH, INVALID.  TOO_LARGE.
	 * SUPERSEDED: not the certificate of the current enrolment.  A store that ever went back in time
	 * takes a SUCCESS of an issuing job, with its bundle, of an epoch later than those it knows: it lost
	 * the lease, not the connector. */
	cc_err err;
	enum store_result result;
	struct store_certificate winner; /* ALREADY_DONE */
};
STORE_OP(complete);

struct store_nack_in {
	struct store_session session;
	cc_view job_id;
	uint32_t epoch;
	enum store_nack_reason reason;
	int64_t delay_ms;
	bool count;      /* raises attempts */
	bool exclude;    /* not to this connector again for exclude_ms */
	bool not_issued; /* the open (or doubtful) claim of this epoch is settled NOT_ISSUED too */
	cc_view ca;      /* with not_issued; empty: every open claim of this epoch */
};
STORE_PLAIN_OUT(nack); /* OK, STALE_EPOCH, IS_DEAD, SUPERSEDED; INVALID: claimed and not settled */
STORE_OP(nack);

struct store_settle_in {
	cc_view tenant;
	cc_view connector;
	cc_view transport_sha256; /* as in complete */
	cc_view job_id;
	uint32_t epoch;
	cc_view ca;
	enum store_settlement outcome;
	struct store_certificate certificate;
};
STORE_PLAIN_OUT(settle); /* OK, DUPLICATE_SAME, CONFLICT, UNKNOWN_ATTEMPT, SUPERSEDED */
STORE_OP(settle);
