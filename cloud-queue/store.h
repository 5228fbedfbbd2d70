/*
 * Store: where the queue keeps jobs, connectors, tenants, signers, tokens and imported records.
 *
 * Lives in certqueued.  All calls from the loop's thread; they never block and never fail at once.
 * Each operation is one transaction: `store_OP(s, &in, done, arg)` copies what `in` points to, and
 * `done` is called in the loop after the durable commit, in the order of the calls ("nothing
 * changed" answers travel the same way).  It is never called from inside the call.  `out` and all its
 * views are valid during `done` only.  `out->err` is CC_OK, or says that the store could not do its
 * work (storage): then nothing else in `out` means anything, and the peer is told RETRY_LATER.  What
 * the rules of delivery say is `result`, one enum for all operations; each lists what it may give.
 *
 * `done` may be NULL.  It may call the store again.  Times are milliseconds of the store's own clock
 * (store_now_ms), which starts from realtime, never goes backwards and survives restarts; only
 * durations go to other machines.  Views of text are without a terminator; an empty view is "none".
 * Names (tenant, connector, ca) are at most 63 bytes, other keys at most 128; longer ones give
 * CC_TOO_LARGE in `err`.
 *
 * Validity of signatures, results and tokens is judged by the caller before it comes here.
 */
#pragma once

#include "base/loop.h"
#include "cloud-queue/store_jobs.h"
#include "cloud-queue/store_records.h"
#include "cloud-queue/store_sessions.h"

/* ---- open and close --------------------------------------------------------------------------- */

struct store_config {               /* zero anywhere: the default in brackets */
	int64_t lease_ms;           /* [60 s] */
	int64_t reconnect_grace_ms; /* [5 s] what is left of an unclaimed lease without a connection */
	int64_t takeover_after_ms; /* [15 min] */
	int64_t deadline_grace_ms; /* [1 h] a claimed job's time after its deadline until it is DEAD */
	int64_t restored_wait_ms; /* [15 min] how long one that went back waits for its connectors */
	int64_t crash_delay_ms;   /* [30 s] doubled with each crash */
	uint32_t offers_kept_max; /* [250,000] of each connector: offered jobs that are not known */
	int64_t exclude_ms;       /* [15 min] how long a nack with exclude keeps a job off */
	int64_t unroutable_after_ms; /* [5 min] */
	int64_t retention_s;         /* [7 d] results; header only after it */
	int64_t header_retention_s;  /* [30 d] headers after the end, then gone */
	uint32_t max_attempts;       /* [5] */
	uint64_t max_open_jobs;      /* [1,000,000] for each tenant */
	uint64_t max_bytes;          /* [64 GiB] for each tenant, room for results included */
	uint64_t map_bytes;          /* [1 TiB] address space of the embedded driver */
	bool new_generation; /* an operator says that commits were lost: a restored backup */
	bool reset_clock;    /* an operator says that its clock was ahead: start from realtime */
};

typedef void (*store_fatal_fn)(
	void *arg, cc_err err); /* the outcome of a commit is unknown: exit */

/* The embedded driver; `dir` is made where needed.  CC_LOCKED when another process has it. */
cc_err store_lmdb_open(struct loop *l, const char *dir, const struct store_config *config,
	store_fatal_fn fatal, void *fatal_arg, struct store **ret) CC_MUST_USE;
/* Finishes what was handed over, without calling `done` for it.  Accepts NULL. */
void store_close(struct store *s);

uint64_t store_generation(const struct store *s);
bool store_went_back(
	const struct store *s); /* when it was opened: an older copy, a new generation */
int64_t store_clock_ahead_ms(struct store *s); /* of realtime, which it never follows backwards */
int64_t store_lease_ms(const struct store *s);
int64_t store_now_ms(struct store *s); /* the store's clock as the loop may use it for durations */
size_t store_waiting(const struct store *s); /* operations handed over and not yet committed */

/* For tests: the next operation that is handed over fails in the midst of its transaction. */
void store_fail_next_for_test(struct store *s);

/* ---- hints: what others may want to know, after the commit ------------------------------------- */

enum store_hint_kind {
	STORE_HINT_READY = 1 << 0, /* a tenant has new READY work: lease again */
	STORE_HINT_FINAL = 1 << 1, /* a job is terminal (job_id, state): answer who waits */
	STORE_HINT_EVENT = 1 << 2, /* a tenant's job changed state (any) */
	STORE_HINT_GONE = 1 << 3,  /* tell the holder (connector, job_id, epoch, verdict, winner) */
	STORE_HINT_IN_DOUBT = 1 << 4,  /* a claim of connector at ca (text) is IN_DOUBT: log it */
	STORE_HINT_SUSPENDED = 1 << 5, /* the connector was suspended: alarm */
	STORE_HINT_UNROUTABLE =
		1 << 6, /* a route (text describes it) has work and no live connector */
	STORE_HINT_TAKEN_OVER = 1 << 7, /* job_id was taken from connector */
	STORE_HINT_IDENTITY = 1 << 8,   /* another journal or an old nonce under connector: alarm */
	STORE_HINT_RECALLED =
		1
		<< 9, /* a job that was unknown is here again: tell connector (job_id, epoch, verdict) */
	STORE_HINT_OFFER_CUT =
		1 << 10, /* connector offered more than is put on record (text: why): log it */
};
struct store_hint {
	enum store_hint_kind kind;
	cc_view tenant;
	cc_view job_id;
	cc_view connector;
	cc_view text;
	uint32_t epoch;
	enum store_state state;
	enum store_dead dead;
	enum store_result verdict; /* GONE: LOST, ALREADY_DONE, CANCELLED; RECALLED: SEND, SAME */
	struct store_certificate winner;
};
typedef void (*store_hint_fn)(void *arg, const struct store_hint *hint);

/* Called in the loop after the `done` of the operation that caused it; `hint` is valid during the
 * call.  A hint is only that: it may be missed by a restart.  At most 8 listeners; `kinds` is a mask. */
void store_listen(struct store *s, unsigned kinds, store_hint_fn fn, void *arg);
void store_unlisten(struct store *s, store_hint_fn fn, void *arg);
