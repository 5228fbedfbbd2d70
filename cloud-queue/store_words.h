/*
 * Store: its words: states, kinds, results, and the shape of an operation.  Part of cloud-queue/store.h,
 * which says how to call and who may.
 */
#pragma once

#include "base/blob.h"

struct store; /* opaque */

#define STORE_JOB_ID_SIZE 16
#define STORE_NONCE_SIZE  16
#define STORE_DIGEST_SIZE 32
#define STORE_HELD_MAX    128 /* items in a page of session_resume, extend or claim */
#define STORE_LIST_MAX    500 /* rows in a page of any list */
#define STORE_LEASE_MAX   64  /* jobs in one lease */

enum store_state { /* numbers are stored; add at the end only */
	STORE_READY = 1,
	STORE_LEASED = 2,
	STORE_CLAIMED = 3,
	STORE_PARKED = 4,
	STORE_HELD = 5,
	STORE_DONE = 6,
	STORE_DEAD = 7,
	STORE_CANCELLED_STATE = 8,
};
#define STORE_STATE_COUNT 9

enum store_kind { /* also the lane; weights: revoke 8, issue 4, rewrap 4, chain 1 */
	STORE_ISSUE = 1,
	STORE_REWRAP = 2,
	STORE_REVOKE = 3,
	STORE_CHAIN = 4,
};
#define STORE_KIND_COUNT     5
#define STORE_KIND_BIT(kind) (1u << (kind))

enum store_priority { STORE_NORMAL = 0, STORE_INTERACTIVE = 1, STORE_BULK = 2 };

enum store_dead { /* why a job is DEAD */
	STORE_DEAD_NOT = 0,
	STORE_DEAD_FAILURE = 1,  /* a connector's FAILURE: "failed" to producers */
	STORE_DEAD_POISON = 2,   /* it broke keyvaults or connectors */
	STORE_DEAD_EXPIRED = 3,  /* not begun before its time was over */
	STORE_DEAD_DEADLINE = 4, /* claimed or parked, and nothing came in time */
	STORE_DEAD_ATTEMPTS = 5, /* given back too often */
	STORE_DEAD_BURIED = 6,   /* by an operator */
};

enum store_result {
	STORE_RESULT_NONE = 0,
	STORE_OK,
	STORE_NEW,
	STORE_SAME, /* it is there already, and is the same */
	STORE_CONFLICT,
	STORE_QUOTA,
	STORE_TOO_LARGE,
	STORE_EXPIRED,
	STORE_IDENTITY_CONFLICT,
	STORE_DISABLED,
	STORE_SUPERSEDED,     /* S is not the current session of that connector */
	STORE_NOT_RESUMED,    /* lease before session_resume was finished */
	STORE_COUNT_MISMATCH, /* ResumeEnd's count is not that of the pages */
	STORE_KEEP,
	STORE_LOST,
	STORE_ALREADY_DONE, /* `winner` says whose certificate */
	STORE_CANCELLED,
	STORE_GRANTED,
	STORE_EMPTY,
	STORE_SUSPENDED, /* five REFUSED_HERE in a row: no jobs until an operator says so */
	STORE_STORED,
	STORE_DUPLICATE_SAME,
	STORE_ALREADY_DEAD,
	STORE_UNKNOWN_JOB,
	STORE_UNKNOWN_ATTEMPT,
	STORE_STALE_EPOCH,
	STORE_IS_DEAD, /* nack: the job is DEAD now */
	STORE_INVALID, /* complete FAILURE with an unsettled claim and no settlement for it */
	STORE_NOT_DUE,
	STORE_ALREADY,   /* terminal already */
	STORE_TOO_LATE,  /* cancel, bury: claimed at a CA */
	STORE_REFUSED,   /* replay: `why` says it */
	STORE_UNKNOWN,   /* no such record, or another tenant's */
	STORE_USED,      /* an enrolment token that was used already */
	STORE_ON_HOLD,   /* too soon: after open or a clock jump, or before all offers have come */
	STORE_KEY_TAKEN, /* another request has this idempotency key */
	STORE_SEND,      /* offer: the store has lost this result, and wants it again */
};

enum store_settlement { /* numbers as certq.v1.Settlement */
	STORE_UNSETTLED = 0,
	STORE_WINNER = 1,
	STORE_NOT_ISSUED = 2,
	STORE_ORPHAN_REVOKED = 3,
	STORE_ORPHAN_KEPT = 4,
	STORE_IN_DOUBT = 5,
};

enum store_nack_reason { /* numbers as certq.v1.NackReason */
	STORE_NACK_BUSY = 1,
	STORE_NACK_SHUTTING_DOWN = 2,
	STORE_NACK_REFUSED_HERE = 3, /* excludes here; five in a row suspend the connector */
	STORE_NACK_APPROVAL = 4,     /* never counted */
	STORE_NACK_POISON = 5,       /* DEAD(POISON) at once */
	STORE_NACK_NOT_SUPPORTED = 6,
	STORE_NACK_CA_UNREACHABLE = 7,
};

/* S of the contract: compared inside the transaction. */
struct store_session {
	cc_view tenant;
	cc_view connector;
	uint64_t epoch;
};

/* The Idempotency-Key of a request that is not signed; kept for 7 days once the operation did
 * something.  The same request again is SAME, another one under this key KEY_TAKEN. */
struct store_repeat {
	cc_view key; /* empty: none was sent */
	cc_view request_sha256;
};

struct store_certificate { /* of a result, in clear; all empty: none */
	cc_view sha256;
	cc_view issuer; /* DER Name */
	cc_view serial; /* INTEGER content octets */
};

struct store_lease_id {
	cc_view job_id;
	uint32_t epoch;
};

struct store_item_verdict { /* in the order of the items that were sent */
	cc_view job_id;
	uint32_t epoch;
	cc_view ca; /* claim only */
	enum store_result result;
	int64_t lease_ms; /* KEEP of a leased job; 0: it has no lease timer */
	struct store_certificate winner;
};

/* Declares `store_NAME(s, &in, done, arg)` and the type of its `done`. */
#define STORE_OP(name)                                                                             \
	typedef void (*store_##name##_done)(void *arg, const struct store_##name##_out *out);      \
	void store_##name(struct store *s, const struct store_##name##_in *in,                     \
		store_##name##_done done, void *arg)

/* An `out` that is only {err, result}. */
#define STORE_PLAIN_OUT(name)                                                                      \
	struct store_##name##_out {                                                                \
		cc_err err;                                                                        \
		enum store_result result;                                                          \
	}
