/*
 * The journal's own: the layout of its databases and the operations of a change.
 *
 * Shared by journal.c (loop's thread: environment, changes, reading) and journal_records.c
 * (committer's thread: what a change does to the databases).
 *
 *   meta      "meta"          JournalMeta
 *   open      job_id          OpenJob
 *   blob      job_id part     bytes
 *   timer     due job_id      1
 *   done      job_id          DoneJob
 *   done_at   hour job_id     1
 *   doubt     job_id ca       Doubt
 *   audit     counter         packed DecisionRecord
 *
 * Integers in keys are 64 bits big-endian.
 */
#pragma once

#include "connector/journal.h"

enum journal_db {
	JOURNAL_DB_META,
	JOURNAL_DB_OPEN,
	JOURNAL_DB_BLOB,
	JOURNAL_DB_TIMER,
	JOURNAL_DB_DONE,
	JOURNAL_DB_DONE_AT,
	JOURNAL_DB_DOUBT,
	JOURNAL_DB_AUDIT,
	JOURNAL_DB_COUNT
};

#define JOURNAL_RECORD_MAX (16u * 1024u)
#define JOURNAL_HOUR_MS    3600000

enum journal_op_kind {
	JOURNAL_OP_OPEN,
	JOURNAL_OP_BLOB,
	JOURNAL_OP_DONE,
	JOURNAL_OP_FORGET,
	JOURNAL_OP_DOUBT,
	JOURNAL_OP_NO_DOUBT,
	JOURNAL_OP_SUSPEND,
	JOURNAL_OP_ADOPT,
	JOURNAL_OP_ORPHAN,
	JOURNAL_OP_AUDIT,
	JOURNAL_OP_SESSION,
	JOURNAL_OP_OFFERED,
	JOURNAL_OP_UNDONE,
	JOURNAL_OP_HOLD,
	JOURNAL_OP_SWEEP,
};

struct journal_op {
	enum journal_op_kind kind;
	uint8_t job_id[JOB_ID_SIZE];
	enum journal_part part;
	uint64_t number; /* audit: counter; open: next_due_ms; done: first hour to look at it;
			    sweep: retention of results */
	bool flag; /* audit: resent; suspend: it is so; open: an INTENT; session: to be offered */
	cc_blob name; /* doubt, no doubt, suspend: the CA */
	cc_blob value;
	int64_t now_ms; /* sweep, orphan */
	struct journal_op *next;
};

struct journal_change {
	struct journal *journal;
	struct journal_op *first, *last;
	commit_done done;
	void *arg;
	/* set by the committer's thread for the loop's */
	Journal__JournalMeta *meta; /* as it is after this change; NULL: unchanged */
	bool more;                  /* sweep: not everything was looked at */
	struct journal_change *in_flight_next, *in_flight_prev;
};

/* For tests: to hold its commits up by a write transaction of their own. */
struct db *journal_db(const struct journal *j);

/* What so many open jobs may still write. */
uint64_t journal_future_bytes(uint64_t open);

/* commit_apply; arg is the change. */
cc_err journal_apply(struct db *d, MDB_txn *txn, void *arg) CC_MUST_USE;

/* From format 1: what a settlement is had its name in `code`. */
cc_err journal_upgrade(struct db *d, MDB_txn *txn, Journal__JournalMeta *meta) CC_MUST_USE;

cc_err journal_read_meta(struct db *d, MDB_txn *txn, Journal__JournalMeta **ret) CC_MUST_USE;
cc_err journal_write_meta(struct db *d, MDB_txn *txn, const Journal__JournalMeta *meta) CC_MUST_USE;

struct journal_key {
	uint8_t bytes[8 + JOB_ID_SIZE + 64];
	size_t size;
};
cc_view journal_key_blob(struct journal_key *k, cc_view job_id, enum journal_part part);
cc_view journal_key_timed(struct journal_key *k, uint64_t time, cc_view job_id);
cc_view journal_key_number(struct journal_key *k, uint64_t number);
