/*
 * What a change does to the journal's databases.  Committer's thread, inside its transaction.
 *
 * Every operation is idempotent: a batch that failed in one member is applied one by one, and a
 * restarted process may record the same again.
 */
#include "connector/journal_int.h"

#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>

enum { SWEEP_AT_ONCE = 256 };

static const cc_view meta_key = {(const uint8_t *)"meta", 4};
static const cc_view mark = {(const uint8_t *)"\1", 1};

static cc_view key_of(struct journal_key *k, cc_view a, cc_view b)
{
	memcpy(k->bytes, a.data, a.size);
	if (b.size > 0)
		memcpy(k->bytes + a.size, b.data, b.size);
	k->size = a.size + b.size;
	return cc_view_of(k->bytes, k->size);
}

static void put_u64(uint8_t to[8], uint64_t n)
{
	for (unsigned i = 0; i < 8; i++)
		to[i] = (uint8_t)(n >> (56 - 8 * i));
}

cc_view journal_key_blob(struct journal_key *k, cc_view job_id, enum journal_part part)
{
	uint8_t byte = (uint8_t)part;
	return key_of(k, job_id, cc_view_of(&byte, 1));
}

cc_view journal_key_timed(struct journal_key *k, uint64_t time, cc_view job_id)
{
	uint8_t number[8];
	put_u64(number, time);
	return key_of(k, cc_view_of(number, sizeof number), job_id);
}

cc_view journal_key_number(struct journal_key *k, uint64_t number)
{
	return journal_key_timed(k, number, CC_VIEW_NONE);
}

static cc_view op_job(const struct journal_op *op)
{
	return cc_view_of(op->job_id, JOB_ID_SIZE);
}

cc_err journal_read_meta(struct db *d, MDB_txn *txn, Journal__JournalMeta **ret)
{
	cc_view bytes;
	cc_err err = CC_OK;
	TRY(db_get(d, txn, JOURNAL_DB_META, meta_key, &bytes));
	TRY(codec_decode(&journal__journal_meta__descriptor, bytes, JOURNAL_RECORD_MAX, ret));
out:
	return err;
}

cc_err journal_write_meta(struct db *d, MDB_txn *txn, const Journal__JournalMeta *meta)
{
	cc_blob packed = codec_pack(meta);
	cc_err err = db_put(d, txn, JOURNAL_DB_META, meta_key, cc_blob_view(&packed));
	cc_blob_free(&packed);
	return err;
}

/* The timer that the present record of the job has, if any. */
static cc_err delete_timer(struct db *d, MDB_txn *txn, cc_view job_id)
{
	Journal__OpenJob *old = NULL;
	cc_view bytes;
	struct journal_key k;
	cc_err err = db_get(d, txn, JOURNAL_DB_OPEN, job_id, &bytes);
	if (err == CC_NOT_FOUND)
		return CC_OK;
	if (err != CC_OK)
		return err;
	TRY(codec_decode(&journal__open_job__descriptor, bytes, JOURNAL_RECORD_MAX, &old));
	if (old->next_due_ms != 0)
		TRY(db_delete(d, txn, JOURNAL_DB_TIMER,
			journal_key_timed(&k, (uint64_t)old->next_due_ms, job_id)));
out:
	codec_free(old);
	return err;
}

uint64_t journal_future_bytes(uint64_t open)
{
	uint64_t mosts = open < JOURNAL_FUTURE_MOSTS ? open : JOURNAL_FUTURE_MOSTS;
	return mosts * JOURNAL_FUTURE_MOST + (open - mosts) * JOURNAL_FUTURE;
}

/* The first INTENT of a job: what all open jobs have before them is reserved with it, so that only this
 * one may be refused for want of room, and none that was admitted. */
static cc_err admit(
	struct db *d, MDB_txn *txn, const struct journal_change *c, const struct journal_op *op)
{
	cc_view bytes;
	uint64_t open = 0, own = 0;
	cc_err err = op->flag ? db_get(d, txn, JOURNAL_DB_OPEN, op_job(op), &bytes) : CC_OK;
	if (err != CC_NOT_FOUND)
		return err;
	TRY(db_count(d, txn, JOURNAL_DB_OPEN, &open));
	for (const struct journal_op *o = c->first; o != NULL; o = o->next)
		own += o->value.size;
	TRY(db_reserve(d, own, journal_future_bytes(open + 1)));
out:
	return err;
}

static cc_err apply_open(
	struct db *d, MDB_txn *txn, const struct journal_change *c, const struct journal_op *op)
{
	struct journal_key k;
	cc_err err = CC_OK;
	TRY(admit(d, txn, c, op));
	TRY(delete_timer(d, txn, op_job(op)));
	TRY(db_put(d, txn, JOURNAL_DB_OPEN, op_job(op), cc_blob_view(&op->value)));
	if (op->number != 0)
		TRY(db_put(d, txn, JOURNAL_DB_TIMER, journal_key_timed(&k, op->number, op_job(op)),
			mark));
out:
	return err;
}

static cc_err apply_blob(struct db *d, MDB_txn *txn, const struct journal_op *op)
{
	struct journal_key k;
	return db_put(d, txn, JOURNAL_DB_BLOB, journal_key_blob(&k, op_job(op), op->part),
		cc_blob_view(&op->value));
}

static cc_err delete_blobs(struct db *d, MDB_txn *txn, cc_view job_id, int last)
{
	struct journal_key k;
	cc_err err = CC_OK;
	for (int part = JOURNAL_JOB; part <= last; part++)
		TRY(db_delete(d, txn, JOURNAL_DB_BLOB,
			journal_key_blob(&k, job_id, (enum journal_part)part)));
out:
	return err;
}

static cc_err apply_done(struct db *d, MDB_txn *txn, const struct journal_op *op)
{
	struct journal_key k;
	cc_err err = CC_OK;
	TRY(delete_timer(d, txn, op_job(op)));
	TRY(db_delete(d, txn, JOURNAL_DB_OPEN, op_job(op)));
	TRY(delete_blobs(d, txn, op_job(op), JOURNAL_PART_LAST - 1));
	TRY(db_put(d, txn, JOURNAL_DB_DONE, op_job(op), cc_blob_view(&op->value)));
	TRY(db_put(
		d, txn, JOURNAL_DB_DONE_AT, journal_key_timed(&k, op->number, op_job(op)), mark));
out:
	return err;
}

static cc_err apply_forget(struct db *d, MDB_txn *txn, const struct journal_op *op)
{
	cc_err err = CC_OK;
	TRY(delete_timer(d, txn, op_job(op)));
	TRY(db_delete(d, txn, JOURNAL_DB_OPEN, op_job(op)));
	TRY(delete_blobs(d, txn, op_job(op), JOURNAL_PART_LAST));
out:
	return err;
}

static cc_view doubt_key(struct journal_key *k, const struct journal_op *op)
{
	return key_of(k, op_job(op), cc_view_part(cc_blob_view(&op->name), 0, 63));
}

static cc_err apply_doubt(struct db *d, MDB_txn *txn, const struct journal_op *op)
{
	struct journal_key k;
	return db_put(d, txn, JOURNAL_DB_DOUBT, doubt_key(&k, op), cc_blob_view(&op->value));
}

static cc_err apply_no_doubt(struct db *d, MDB_txn *txn, const struct journal_op *op)
{
	struct journal_key k;
	return db_delete(d, txn, JOURNAL_DB_DOUBT, doubt_key(&k, op));
}

/* The head is the last counter up to which every record is here.  Records come in any order. */
static cc_err apply_audit(
	struct db *d, MDB_txn *txn, const struct journal_op *op, Journal__JournalMeta *meta)
{
	struct journal_key k;
	cc_view found;
	cc_err err = CC_OK;
	TRY(db_put(d, txn, JOURNAL_DB_AUDIT, journal_key_number(&k, op->number),
		cc_blob_view(&op->value)));
	if (op->number > meta->audit_head + 1 && (op->flag || meta->audit_head == 0))
		meta->audit_head = op->number - 1;
	while (db_get(d, txn, JOURNAL_DB_AUDIT, journal_key_number(&k, meta->audit_head + 1),
		       &found) == CC_OK)
		meta->audit_head++;
out:
	return err;
}

/* What was decoded is the allocator's, and is freed by it. */
static void set_bytes(ProtobufCBinaryData *to, cc_view bytes)
{
	free(to->data);
	to->len = bytes.size;
	to->data = malloc(bytes.size + 1);
	if (to->data == NULL)
		cc_die("out of memory");
	if (bytes.size > 0)
		memcpy(to->data, bytes.data, bytes.size);
}

/* value: session_epoch, generation (64 bits each), nonce */
static void apply_session(const struct journal_op *op, Journal__JournalMeta *meta)
{
	if (!op->flag)
		meta->offered_generation = cc_get_u64(op->value.data + 8);
	else if (meta->offered_generation == 0)
		meta->offered_generation = meta->generation;
	meta->session_epoch = cc_get_u64(op->value.data);
	meta->generation = cc_get_u64(op->value.data + 8);
	set_bytes(&meta->nonce, cc_view_of(op->value.data + 16, op->value.size - 16));
}

static cc_err apply_undone(struct db *d, MDB_txn *txn, const struct journal_op *op)
{
	return db_delete(d, txn, JOURNAL_DB_DONE, op_job(op));
}

static cc_err apply_hold(struct db *d, MDB_txn *txn, const struct journal_op *op)
{
	Journal__DoneJob *done = NULL;
	cc_blob packed = CC_BLOB_NONE;
	cc_view bytes;
	cc_err err = db_get(d, txn, JOURNAL_DB_DONE, op_job(op), &bytes);
	if (err == CC_NOT_FOUND)
		return CC_OK;
	TRY(err);
	TRY(codec_decode(&journal__done_job__descriptor, bytes, JOURNAL_RECORD_MAX, &done));
	if (done->hold_until_ms == 0) {
		done->hold_until_ms = (int64_t)op->number;
		packed = codec_pack(done);
		TRY(db_put(d, txn, JOURNAL_DB_DONE, op_job(op), cc_blob_view(&packed)));
	}
out:
	cc_blob_free(&packed);
	codec_free(done);
	return err;
}

static void apply_adopt(const struct journal_op *op, Journal__JournalMeta *meta)
{
	set_bytes(&meta->journal_id, cc_blob_view(&op->value));
	set_bytes(&meta->nonce, CC_VIEW_NONE);
}

/* A clock that was set back makes the hour longer by that much at most once. */
static void apply_orphan(const struct journal_op *op, Journal__JournalMeta *meta)
{
	if (op->now_ms - meta->orphans_since_ms >= JOURNAL_HOUR_MS) {
		meta->orphans_since_ms = op->now_ms;
		meta->orphans_counted = 0;
	} else if (op->now_ms < meta->orphans_since_ms) {
		meta->orphans_since_ms = op->now_ms;
	}
	meta->orphans_counted++;
}

static void apply_suspend(const struct journal_op *op, Journal__JournalMeta *meta)
{
	size_t count = meta->n_suspended_cas, at = 0;
	cc_view ca = cc_blob_view(&op->name);
	while (at < count && !cc_view_equal(codec_view(meta->suspended_cas[at]), ca))
		at++;
	if (op->flag && at == count) {
		meta->suspended_cas =
			realloc(meta->suspended_cas, (count + 1) * sizeof *meta->suspended_cas);
		if (meta->suspended_cas == NULL)
			cc_die("out of memory");
		meta->suspended_cas[count] = (ProtobufCBinaryData){0};
		set_bytes(&meta->suspended_cas[count], ca);
		meta->n_suspended_cas = count + 1;
	} else if (!op->flag && at < count) {
		free(meta->suspended_cas[at].data);
		meta->suspended_cas[at] = meta->suspended_cas[count - 1];
		meta->n_suspended_cas = count - 1;
	}
}

struct sweep_key {
	uint8_t bytes[8 + JOB_ID_SIZE];
};

static cc_err put_done_at(struct db *d, MDB_txn *txn, int64_t at_ms, cc_view job_id)
{
	struct journal_key k;
	uint64_t hour = (uint64_t)(at_ms / JOURNAL_HOUR_MS) + 1;
	return db_put(d, txn, JOURNAL_DB_DONE_AT, journal_key_timed(&k, hour, job_id), mark);
}

static cc_err sweep_one(
	struct db *d, MDB_txn *txn, const struct sweep_key *at, const struct journal_op *op)
{
	Journal__DoneJob *done = NULL;
	cc_view job_id = cc_view_of(at->bytes + 8, JOB_ID_SIZE), bytes;
	cc_err err = db_get(d, txn, JOURNAL_DB_DONE, job_id, &bytes);
	if (err == CC_OK)
		err = codec_decode(
			&journal__done_job__descriptor, bytes, JOURNAL_RECORD_MAX, &done);
	else if (err == CC_NOT_FOUND)
		err = CC_OK;
	TRY(err);
	TRY(db_delete(d, txn, JOURNAL_DB_DONE_AT, cc_view_of(at->bytes, sizeof at->bytes)));
	if (done != NULL && done->time_ms + (int64_t)op->number > op->now_ms)
		goto out; /* it ran again: that end has an entry of its own */
	if (done != NULL && done->hold_until_ms > op->now_ms) {
		TRY(put_done_at(d, txn, done->hold_until_ms, job_id));
		goto out;
	}
	/* the job may be open again under the same id: its blobs are not ours to take then */
	if (db_get(d, txn, JOURNAL_DB_OPEN, job_id, &bytes) == CC_NOT_FOUND)
		TRY(delete_blobs(d, txn, job_id, JOURNAL_PART_LAST));
	if (done == NULL)
		goto out;
	if (done->keep_until_ms <= op->now_ms) {
		TRY(db_delete(d, txn, JOURNAL_DB_DONE, job_id));
		goto out;
	}
	TRY(put_done_at(d, txn, done->keep_until_ms, job_id));
out:
	codec_free(done);
	return err;
}

static cc_err apply_sweep(struct db *d, MDB_txn *txn, const struct journal_op *op, bool *ret_more)
{
	struct sweep_key keys[SWEEP_AT_ONCE];
	struct db_cursor cursor = {0};
	size_t count = 0;
	uint64_t hour = (uint64_t)(op->now_ms / JOURNAL_HOUR_MS);
	cc_err err = CC_OK;
	TRY(db_scan(d, txn, JOURNAL_DB_DONE_AT, CC_VIEW_NONE, CC_VIEW_NONE, &cursor));
	while (count < SWEEP_AT_ONCE && db_next(&cursor, &err)) {
		if (cursor.key.size != sizeof keys[0].bytes || cc_get_u64(cursor.key.data) > hour)
			break;
		memcpy(keys[count++].bytes, cursor.key.data, sizeof keys[0].bytes);
	}
	db_scan_end(&cursor);
	TRY(err);
	for (size_t i = 0; i < count; i++)
		TRY(sweep_one(d, txn, &keys[i], op));
	*ret_more = count == SWEEP_AT_ONCE;
out:
	return err;
}

static cc_err apply_one(struct db *d, MDB_txn *txn, const struct journal_op *op,
	struct journal_change *c, Journal__JournalMeta *meta)
{
	switch (op->kind) {
	case JOURNAL_OP_OPEN:
		return apply_open(d, txn, c, op);
	case JOURNAL_OP_BLOB:
		return apply_blob(d, txn, op);
	case JOURNAL_OP_DONE:
		return apply_done(d, txn, op);
	case JOURNAL_OP_FORGET:
		return apply_forget(d, txn, op);
	case JOURNAL_OP_DOUBT:
		return apply_doubt(d, txn, op);
	case JOURNAL_OP_NO_DOUBT:
		return apply_no_doubt(d, txn, op);
	case JOURNAL_OP_SUSPEND:
		apply_suspend(op, meta);
		return CC_OK;
	case JOURNAL_OP_ADOPT:
		apply_adopt(op, meta);
		return CC_OK;
	case JOURNAL_OP_ORPHAN:
		apply_orphan(op, meta);
		return CC_OK;
	case JOURNAL_OP_AUDIT:
		return apply_audit(d, txn, op, meta);
	case JOURNAL_OP_SESSION:
		apply_session(op, meta);
		return CC_OK;
	case JOURNAL_OP_OFFERED:
		meta->offered_generation = meta->generation;
		return CC_OK;
	case JOURNAL_OP_UNDONE:
		return apply_undone(d, txn, op);
	case JOURNAL_OP_HOLD:
		return apply_hold(d, txn, op);
	case JOURNAL_OP_SWEEP:
		return apply_sweep(d, txn, op, &c->more);
	}
	return cc_fail(CC_INTERNAL, "an operation of no kind");
}

static bool needs_meta(const struct journal_change *c)
{
	for (const struct journal_op *op = c->first; op != NULL; op = op->next) {
		if (op->kind == JOURNAL_OP_AUDIT || op->kind == JOURNAL_OP_SESSION ||
			op->kind == JOURNAL_OP_OFFERED || op->kind == JOURNAL_OP_SUSPEND ||
			op->kind == JOURNAL_OP_ADOPT || op->kind == JOURNAL_OP_ORPHAN)
			return true;
	}
	return false;
}

cc_err journal_apply(struct db *d, MDB_txn *txn, void *arg)
{
	struct journal_change *c = arg;
	Journal__JournalMeta *meta = NULL;
	cc_err err = CC_OK;
	codec_free(c->meta); /* of an earlier try */
	c->meta = NULL;
	c->more = false;
	if (needs_meta(c))
		TRY(journal_read_meta(d, txn, &meta));
	for (const struct journal_op *op = c->first; op != NULL; op = op->next)
		TRY(apply_one(d, txn, op, c, meta));
	if (meta != NULL)
		TRY(journal_write_meta(d, txn, meta));
	c->meta = meta;
	meta = NULL;
out:
	codec_free(meta);
	return err;
}
