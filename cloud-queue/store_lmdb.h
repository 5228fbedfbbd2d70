/*
 * The embedded store's own parts: tables, rows, and what its files share.
 *
 * Only store_lmdb*.c includes it.  Everything with a struct store_tx runs in the committer's thread,
 * inside one transaction, and may run twice (base/committer.h): it writes only to the transaction and
 * to the operation's own memory.  Rows are protobuf messages (proto/queue/v1/store.proto) unpacked
 * into that memory, so they may be edited freely and are never freed one by one; what is put into
 * them may be borrowed from the operation.
 *
 * Errors are storage errors and abort the transaction; an answer of the contract is not an error.
 */
#pragma once

#include "base/committer.h"
#include "cloud-queue/store_clock.h"
#include "cloud-queue/store_int.h"
#include "cloud-queue/store_key.h"
#include "queue/v1/store.pb-c.h"

enum store_table {
	T_META,    /* format, generation, clock, number */
	T_TENANT,  /* tenant */
	T_JOB,     /* tenant‖job id: JobHeader */
	T_FACTS,   /* tenant‖job id: JobFacts */
	T_END,     /* tenant‖job id: JobEnd */
	T_BLOB,    /* tenant‖job id‖part */
	T_READY,   /* tenant‖route‖lane‖priority‖run at‖number: job id */
	T_TIMER,   /* due‖tenant‖job id */
	T_ATTEMPT, /* tenant‖job id‖epoch: Attempt */
	T_CLAIM,   /* tenant‖job id‖epoch‖ca: ClaimRow */
	T_HELD,    /* tenant‖connector‖job id: the session that holds or listed it */
	T_CONN,    /* tenant‖connector: Connector */
	T_SESSION, /* tenant‖connector: Session */
	T_CAPS,    /* tenant‖connector: Capability */
	T_ROUTE,   /* tenant‖route: Route */
	T_LIST,    /* tenant‖'n' | 'b'‖batch | 'c'‖correlation‖number: job id */
	T_EVENT,   /* tenant‖seq: job id */
	T_QUOTA,   /* tenant: Quota */
	T_SIGNER,  /* tenant‖key id: Signer */
	T_TOKEN,   /* SHA-256: Token */
	T_ENROL,   /* token id: Enrolment */
	T_PFX,     /* tenant‖user‖thumbprint: PfxRecord */
	T_REPEAT,  /* 'k'‖tenant‖idempotency key: RepeatRow; 't'‖until‖tenant‖key */
	T_LOST, /* 'k'‖tenant‖job id‖connector‖epoch: Offered; 't'‖until‖the same; 'n'‖tenant‖connector */
	T_COUNT,
};

#define ROUTE_SIZE         16
#define STORE_DELAY_MAX_MS (3600 * 1000) /* how long a job may be put off */

struct store_lmdb {
	struct store base;
	struct db *db;
	struct committer *committer;
	struct store_clock clock;
	store_fatal_fn fatal;
	void *fatal_arg;
	/* committer's thread only: when the rarer parts of sweep are due */
	int64_t takeovers_due_ms, routes_due_ms, enrolments_due_ms;
	int64_t restored_until_ms; /* 0: it never went back; until then it waits for its connectors */
};

struct store_tx {
	struct store_lmdb *s;
	const struct store_config *config;
	MDB_txn *txn;
	struct store_op *op;
	struct store_mem *mem;
	int64_t now;
	cc_view quota_tenant; /* the row that is loaded */
	Queue__Quota *quota;
	uint64_t written,
		aside; /* payload, and room set aside for results, more (modulo 2^64: or less) than before */
};

#define X(name)                                                                                    \
	cc_err store_lmdb_##name(struct store_tx *x, const struct store_##name##_in *in,           \
		struct store_##name##_out *out) CC_MUST_USE;
STORE_OPS(X)
#undef X

/* ---- rows (store_lmdb_row.c) ------------------------------------------------------------------- */

/* *ret is NULL when there is none. */
cc_err store_row_find(struct store_tx *x, enum store_table t, const struct store_dbkey *key,
	const ProtobufCMessageDescriptor *type, void *ret) CC_MUST_USE;
cc_err store_row_put(struct store_tx *x, enum store_table t, const struct store_dbkey *key,
	const void *message) CC_MUST_USE;
cc_err store_row_delete(
	struct store_tx *x, enum store_table t, const struct store_dbkey *key) CC_MUST_USE;
/* Raw values; *ret is empty when there is none. */
cc_err store_row_find_bytes(struct store_tx *x, enum store_table t, const struct store_dbkey *key,
	cc_view *ret) CC_MUST_USE;
cc_err store_row_put_bytes(struct store_tx *x, enum store_table t, const struct store_dbkey *key,
	cc_view value) CC_MUST_USE;
cc_err store_row_unpack(struct store_tx *x, const ProtobufCMessageDescriptor *type, cc_view value,
	void *ret) CC_MUST_USE;
cc_err store_row_find_u64(struct store_tx *x, const char *meta, uint64_t *ret) CC_MUST_USE;
cc_err store_row_put_u64(struct store_tx *x, const char *meta, uint64_t value) CC_MUST_USE;

struct store_row {
	cc_view key, value;
};
/* Rows with the key's beginning `prefix`, from key `from` on (NULL: the first), at most `limit`:
 * copied, so that the transaction may write while they are looked at. */
cc_err store_row_scan(struct store_tx *x, enum store_table t, const struct store_dbkey *prefix,
	const struct store_dbkey *from, size_t limit, struct store_row **ret,
	size_t *ret_count) CC_MUST_USE;
/* Every row of a small table, unpacked; what `change` says true of is written back. */
cc_err store_row_each(struct store_tx *x, enum store_table t,
	const ProtobufCMessageDescriptor *type,
	bool (*change)(const struct store_tx *x, void *message)) CC_MUST_USE;

static inline ProtobufCBinaryData store_row_borrow(cc_view v)
{
	return (ProtobufCBinaryData){.len = v.size, .data = (uint8_t *)(uintptr_t)v.data};
}
static inline cc_view store_row_view(ProtobufCBinaryData b)
{
	return (cc_view){b.data, b.len};
}
const cc_view *store_row_views(struct store_tx *x, const ProtobufCBinaryData *items, size_t count);
ProtobufCBinaryData *store_row_binaries(struct store_tx *x, const cc_view *items, size_t count);
size_t store_row_limit(size_t asked); /* 1..STORE_LIST_MAX */

/* ---- quota (store_lmdb_job.c): the tenant's counters, written at the end of the operation -------- */

cc_err store_quota_use(struct store_tx *x, cc_view tenant) CC_MUST_USE; /* fills x->quota */
cc_err store_quota_flush(struct store_tx *x) CC_MUST_USE;
/* The same for what all open jobs have set aside.  Where it became more, the file system has to give it
 * now: CC_FULL, and only an operation that makes or revives jobs can have that. */
cc_err store_aside_flush(struct store_tx *x) CC_MUST_USE;

/* ---- jobs (store_lmdb_job.c) ------------------------------------------------------------------- */

enum store_attempt_end { /* numbers are stored */
	END_OPEN,
	END_EXPIRED,
	END_GIVEN_BACK,
	END_LOST,
	END_TAKEN_OVER,
	END_WINNER,
	END_FAILED,
	END_CANCELLED,
	END_DEAD,
};

enum store_part { PART_DOCUMENT = 'd', PART_PFX = 'x', PART_PASSWORDS = 'p', PART_BUNDLE = 'b' };

struct store_job_row {
	cc_view tenant, id;
	Queue__JobHeader *h;
	bool fresh;
	struct { /* as it is on disk: what the indexes say now */
		uint32_t state;
		uint32_t dead;
		int64_t run_at, timer;
		cc_view holder;
		uint64_t bytes, reserve, seq;
	} old;
};

/* j->h is NULL when there is no such job. */
cc_err store_job_find(
	struct store_tx *x, cc_view tenant, cc_view id, struct store_job_row *j) CC_MUST_USE;
void store_job_make(struct store_tx *x, cc_view tenant, cc_view id, struct store_job_row *j);
/* Writes the header and brings every index, the counters, the feed and the hints in line with it. */
cc_err store_job_save(struct store_tx *x, struct store_job_row *j) CC_MUST_USE;
cc_err store_job_drop(struct store_tx *x, struct store_job_row *j) CC_MUST_USE;
cc_err store_job_drop_payload(struct store_tx *x, struct store_job_row *j) CC_MUST_USE;

bool store_job_final(const Queue__JobHeader *h);
bool store_job_held(const Queue__JobHeader *h);
/* Counted for the result of an open job of this kind. */
uint64_t store_job_reserve(enum store_kind kind);
bool store_job_held_by(const Queue__JobHeader *h, cc_view connector, uint32_t epoch);

/* Changes of the header; store_job_save follows. */
void store_job_to_ready(struct store_tx *x, struct store_job_row *j, int64_t delay_ms);
void store_job_to_final(
	struct store_tx *x, struct store_job_row *j, enum store_state state, enum store_dead dead);

struct store_dbkey store_job_part_key(const struct store_job_row *j, enum store_part part);
struct store_dbkey store_job_key(const struct store_job_row *j);

/* ---- what belongs to a job (store_lmdb_facts.c) ------------------------------------------------- */

cc_err store_job_facts(
	struct store_tx *x, const struct store_job_row *j, Queue__JobFacts **ret) CC_MUST_USE;
cc_err store_job_end(struct store_tx *x, const struct store_job_row *j,
	Queue__JobEnd **ret) CC_MUST_USE; /* NULL: none */
cc_err store_job_describe(
	struct store_tx *x, const struct store_job_row *j, struct store_job *ret) CC_MUST_USE;
cc_err store_job_winner(struct store_tx *x, const struct store_job_row *j,
	struct store_certificate *ret) CC_MUST_USE;
Queue__JobEnd *store_job_new_end(struct store_tx *x);
cc_err store_job_put_end(
	struct store_tx *x, const struct store_job_row *j, const Queue__JobEnd *end) CC_MUST_USE;

/* Tell the holder that it is gone: LOST, ALREADY_DONE, CANCELLED. */
cc_err store_job_tell_gone(struct store_tx *x, const struct store_job_row *j, cc_view holder,
	enum store_result verdict) CC_MUST_USE;

/* ---- attempts and claims (store_lmdb_claim.c) --------------------------------------------------- */

cc_err store_attempt_find(struct store_tx *x, const struct store_job_row *j, uint32_t epoch,
	Queue__Attempt **ret) CC_MUST_USE;
cc_err store_attempt_put(struct store_tx *x, const struct store_job_row *j, uint32_t epoch,
	const Queue__Attempt *a) CC_MUST_USE;
cc_err store_attempt_finish(struct store_tx *x, const struct store_job_row *j,
	enum store_attempt_end end) CC_MUST_USE; /* the current one */

/* A lease that a store which went back has forgotten, as the newest attempt of the job. */
cc_err store_attempt_recall(struct store_tx *x, struct store_job_row *j, cc_view connector,
	uint32_t epoch, Queue__Attempt **ret) CC_MUST_USE;

enum {
	STORE_EPOCHS_AHEAD_MAX = 1 << 20, /* a copy is not that old */
	STORE_EPOCH_MAX = 1 << 30,        /* nor does a job get that many leases */
	STORE_CLAIMS_MAX = 64,            /* of one job: what its next holder is told of */
};

/* May a store that went back have lost such a lease of this job?  Only a job that asks a CA is taken back. */
bool store_epoch_may_be_lost(const Queue__JobHeader *h, uint32_t epoch);
/* The first epoch after the job's that no attempt has; 0: none is left. */
cc_err store_epoch_next(
	struct store_tx *x, const struct store_job_row *j, uint32_t *ret) CC_MUST_USE;

struct store_claim_row {
	uint32_t epoch;
	cc_view ca;
	Queue__ClaimRow *row;
};
/* Every claim of the job, or of one epoch of it (0: all); none is read when it never had one. */
cc_err store_claims_of(struct store_tx *x, const struct store_job_row *j, uint32_t epoch,
	struct store_claim_row **ret, size_t *ret_count) CC_MUST_USE;
/* A new row, unsettled. */
cc_err store_claim_make(struct store_tx *x, struct store_job_row *j, const struct store_claim *c,
	struct store_claim_row *ret) CC_MUST_USE;
/* Claimed and this connector's in this session, without a lease timer. */
void store_job_to_claimed(
	const struct store_tx *x, struct store_job_row *j, const struct store_session *s);
/* Writes the settlement, counts it in the header, tells of a doubt. */
cc_err store_claim_settle(struct store_tx *x, struct store_job_row *j, struct store_claim_row *c,
	enum store_settlement outcome, cc_view cert_sha256) CC_MUST_USE;
/* The same for every unsettled claim of the job (epoch 0) or of one epoch. */
cc_err store_claims_settle(struct store_tx *x, struct store_job_row *j, uint32_t epoch,
	enum store_settlement outcome) CC_MUST_USE;

/* ---- sessions (store_lmdb_session.c) ------------------------------------------------------------- */

/* *ret is NULL when S is not the current session. */
cc_err store_session_current(
	struct store_tx *x, const struct store_session *s, Queue__Session **ret) CC_MUST_USE;
cc_err store_session_put(struct store_tx *x, cc_view tenant, cc_view connector,
	const Queue__Session *session) CC_MUST_USE;
/* Was the connector enrolled anew since it got this transport certificate? */
cc_err store_connector_replaced(
	struct store_tx *x, cc_view tenant, cc_view id, cc_view certificate_sha256, bool *ret);
cc_err store_session_find(
	struct store_tx *x, cc_view tenant, cc_view connector, Queue__Session **ret) CC_MUST_USE;
cc_err store_session_close_all(struct store_tx *x) CC_MUST_USE;
/* KEEP, LOST, ALREADY_DONE(w) or CANCELLED for what this connector believes to hold. */
cc_err store_session_verdict(struct store_tx *x, const struct store_job_row *j, cc_view connector,
	uint32_t epoch, enum store_result *ret, struct store_certificate *ret_winner) CC_MUST_USE;
/* OK and room for `count` verdicts; SUPERSEDED and NULL when S is not the current session. */
cc_err store_session_items(struct store_tx *x, const struct store_session *s, size_t count,
	struct store_item_verdict **ret, enum store_result *ret_result) CC_MUST_USE;
/* The verdict on job and epoch of `v`; with KEEP the job is this session's to work on. */
cc_err store_session_item(struct store_tx *x, const struct store_session *s,
	struct store_item_verdict *v, struct store_job_row *ret) CC_MUST_USE;

/* What its connector did not list goes by rule 7; `out` counts. */
cc_err store_session_end_unlisted(struct store_tx *x, const struct store_session *s,
	Queue__Session *session, struct store_session_resume_out *out) CC_MUST_USE;

/* ---- a store that went back (store_lmdb_offer.c) -------------------------------------------------- */

/* Does it still wait for a connector of this tenant (empty: of any) that has not offered yet? */
cc_err store_restored_waits(struct store_tx *x, cc_view tenant, bool *ret) CC_MUST_USE;
/* One connector less to wait for: when it was the last of its tenant, there is work again. */
cc_err store_restored_came(struct store_tx *x, cc_view tenant) CC_MUST_USE;
/* Ends an offer that stands still. */
cc_err store_offer_look(
	struct store_tx *x, const struct store_session *s, Queue__Session *session) CC_MUST_USE;

/* ---- jobs that it lost (store_lmdb_lost.c) --------------------------------------------------------- */

enum store_recalled { /* numbers are stored */
	STORE_RECALLED_NOT,
	STORE_RECALLED_RESULT, /* its holder is to send the result that it has */
	STORE_RECALLED_CLAIM,  /* its holder is to say what became of its claim */
};

/* What its holder is to do, and since when (store's clock); store_lost_tell or the answer to the offer says it. */
void store_job_recall(const struct store_tx *x, struct store_job_row *j, enum store_recalled what);
/* Offered, and there is no such job. */
cc_err store_lost_note(struct store_tx *x, const struct store_session *s,
	const struct store_offered *item) CC_MUST_USE;
/* A settlement of a claim of such a job. */
cc_err store_lost_settle(struct store_tx *x, const struct store_settle_in *in) CC_MUST_USE;
/* The job is new again: what was offered goes on record, and decides whose it is.  store_job_save follows. */
cc_err store_lost_take(struct store_tx *x, struct store_job_row *j) CC_MUST_USE;
/* Its holder is to hear of it, if it was taken so. */
void store_lost_tell(struct store_tx *x, const struct store_job_row *j);
cc_err store_lost_sweep(struct store_tx *x, size_t limit, bool *ret_more) CC_MUST_USE;

/* ---- idempotency keys (store_lmdb_repeat.c) ------------------------------------------------------ */

/* SAME, KEY_TAKEN, or RESULT_NONE: go on, and note it when something was done. */
cc_err store_repeat_judge(struct store_tx *x, cc_view tenant, const struct store_repeat *r,
	enum store_result *ret) CC_MUST_USE;
cc_err store_repeat_note(
	struct store_tx *x, cc_view tenant, const struct store_repeat *r) CC_MUST_USE;
cc_err store_repeat_sweep(struct store_tx *x, size_t limit, bool *ret_more) CC_MUST_USE;

/* ---- routes (store_lmdb_route.c) ----------------------------------------------------------------- */

struct store_server { /* what a connector can do */
	cc_view id;
	Queue__Connector *connector;
	Queue__Capability *caps;
};
void store_route_hash(const struct store_route *r, uint8_t ret[ROUTE_SIZE]);
/* A new job takes this route; its row lives until store_route_forget for the last such job. */
cc_err store_route_note(struct store_tx *x, cc_view tenant, const struct store_route *r,
	uint8_t ret_hash[ROUTE_SIZE], bool *ret_routable) CC_MUST_USE;
cc_err store_route_forget(struct store_tx *x, cc_view tenant, cc_view hash) CC_MUST_USE;
cc_err store_route_server(struct store_tx *x, cc_view tenant, cc_view connector,
	struct store_server *ret) CC_MUST_USE;
bool store_route_served(const Queue__Route *r, const struct store_server *by);
/* Routes that have work: the first one after `after` (empty: the first of all). */
cc_err store_route_next_ready(struct store_tx *x, cc_view tenant, cc_view after,
	cc_view *ret) CC_MUST_USE;                        /* empty: no more */
cc_err store_route_watch(struct store_tx *x) CC_MUST_USE; /* looks for routes that nobody serves */
cc_err store_route_unserved(struct store_tx *x, cc_view tenant, uint64_t *ret_routes,
	uint64_t *ret_unserved) CC_MUST_USE;

/* ---- opening (store_lmdb_life.c) ------------------------------------------------------------------- */

/* Before the committer runs: format, generation, clock, sessions. */
cc_err store_lmdb_begin_life(struct store_lmdb *s) CC_MUST_USE;

/* A takeover by the rule or by an operator; the caller has checked that it is due. */
cc_err store_job_take_over(struct store_tx *x, struct store_job_row *j) CC_MUST_USE;
