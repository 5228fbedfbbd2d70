/*
 * State, inside: the databases, and the steps of a change (state_apply.c) that have a file of their own.
 *
 * Everything here runs in the committer's thread, in its transaction, except where it says otherwise.
 */
#pragma once

#include "keyvault/state.h"

enum {
	STATE_DB_META,
	STATE_DB_TAKEN,
	STATE_DB_TAKEN_AT, /* not_after, tenant and job: the order in which rows go */
	STATE_DB_DEVICE,
	STATE_DB_BLOCKED, /* SHA-256 of a blocked device key */
	STATE_DB_USER,
	STATE_DB_GUEST, /* tenant, user, device and key: another user whom an operator has allowed there */
	STATE_DB_COUNTER, /* tag, bucket, name: a number */
	STATE_DB_SIGNER,
	STATE_DB_ISSUED,
	STATE_DB_SALT,
	STATE_DB_DECISION,
	STATE_DB_WAITING,    /* tenant and job: a question to the operator */
	STATE_DB_WAITING_AT, /* not_after, tenant and job: the order in which they end */
	STATE_DB_COUNT
};

#define STATE_FORMAT 1

struct state {
	struct db *db;
	struct committer *committer;
	cc_secret audit_key;
};

#define STATE_TAKEN_KEY_SIZE (SHA256_SIZE + JOB_ID_SIZE)
void state_taken_key(cc_view tenant, cc_view job_id, uint8_t ret[STATE_TAKEN_KEY_SIZE]);

/* A row as its message, NULL when it is absent; free with codec_free. */
cc_err state_row_get(const struct db *d, MDB_txn *txn, size_t dbi, cc_view key,
	const ProtobufCMessageDescriptor *type, void *ret_message) CC_MUST_USE;
cc_err state_row_put(
	const struct db *d, MDB_txn *txn, size_t dbi, cc_view key, const void *message) CC_MUST_USE;
cc_err state_meta_get(const struct db *d, MDB_txn *txn, Vault__StateMeta **ret) CC_MUST_USE;
cc_err state_meta_put(const struct db *d, MDB_txn *txn, const Vault__StateMeta *meta) CC_MUST_USE;

/* Numbers that are counted per hour or day: tag, bucket, name. */
cc_err state_counter_get(const struct db *d, MDB_txn *txn, char tag, uint32_t bucket, cc_view name,
	uint32_t *ret) CC_MUST_USE;
cc_err state_counter_add(
	const struct db *d, MDB_txn *txn, char tag, uint32_t bucket, cc_view name) CC_MUST_USE;

/* state_device.c: sets change->verdict, or records the key (second step, after all verdicts). */
cc_err state_device_judge_block(
	const struct db *d, MDB_txn *txn, struct state_change *change) CC_MUST_USE;
cc_err state_device_judge(
	const struct db *d, MDB_txn *txn, struct state_change *change) CC_MUST_USE;
cc_err state_device_record(
	const struct db *d, MDB_txn *txn, struct state_change *change) CC_MUST_USE;
cc_err state_device_block(
	const struct db *d, MDB_txn *txn, struct state_change *change) CC_MUST_USE;

cc_err state_device_get(const struct db *d, MDB_txn *txn, const struct state_change *change,
	Vault__Device **ret) CC_MUST_USE; /* NULL: it has no row */

/* state_waiting.c: what an operator has said of the job, where change->waits asks for it; the question
 * itself; its end, when the job is served; an operator's word. */
cc_err state_waiting_judge(
	const struct db *d, MDB_txn *txn, struct state_change *change) CC_MUST_USE;
cc_err state_waiting_ask(const struct db *d, MDB_txn *txn, struct state_change *change) CC_MUST_USE;
cc_err state_waiting_end(
	const struct db *d, MDB_txn *txn, const struct state_change *change) CC_MUST_USE;
cc_err state_waiting_judge_ruling(
	const struct db *d, MDB_txn *txn, struct state_change *change) CC_MUST_USE;
cc_err state_waiting_rule(
	const struct db *d, MDB_txn *txn, const struct state_change *change) CC_MUST_USE;

#define STATE_ROW_MAX (512u * 1024u)

/* Any thread.  Entries of a database from key `from`: `take` says of each whether it counts, at most `limit`
 * do.  *ret_next is the key of the next; empty: that was all. */
typedef cc_err (*state_take_fn)(
	void *arg, MDB_txn *txn, cc_view key, cc_view value, bool *ret_counts);
cc_err state_walk_page(const struct state *s, size_t dbi, cc_view from, size_t limit,
	state_take_fn take, void *arg, cc_blob *ret_next) CC_MUST_USE;

/* state_tend.c */
cc_err state_tend(const struct db *d, MDB_txn *txn, struct state_change *change) CC_MUST_USE;
cc_err state_salt_touch(
	const struct db *d, MDB_txn *txn, uint32_t number, int64_t finish_by_s) CC_MUST_USE;

/* state_apply.c: a commit_apply; `arg` is a struct state_change. */
cc_err state_apply(struct db *d, MDB_txn *txn, void *arg) CC_MUST_USE;
