/*
 * The journal: its environment, its changes on their way to the disk, and reading.
 *
 * The databases' layout is in journal_int.h; what a change does to them is in journal_records.c and
 * runs in the committer's thread.  This file is the loop's side.
 */
#include "connector/journal_int.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

static const uint64_t map_bytes = 64ull << 30; /* address space only */
static const uint64_t disk_reserve = 64ull << 20;

static const char *const db_names[JOURNAL_DB_COUNT] = {
	[JOURNAL_DB_META] = "meta",
	[JOURNAL_DB_OPEN] = "open",
	[JOURNAL_DB_BLOB] = "blob",
	[JOURNAL_DB_TIMER] = "timer",
	[JOURNAL_DB_DONE] = "done",
	[JOURNAL_DB_DONE_AT] = "done_at",
	[JOURNAL_DB_DOUBT] = "doubt",
	[JOURNAL_DB_AUDIT] = "audit",
};

struct journal {
	struct db *db;
	struct committer *committer;
	struct loop_timer *sweep;
	uint64_t max_bytes;
	int64_t retention_ms;
	Journal__JournalMeta *meta;
	commit_fatal fatal;
	void *fatal_arg;
	struct journal_change *in_flight; /* those whose `done` is still to come */
};

static cc_err make_meta(struct db *d, MDB_txn *txn, Journal__JournalMeta **ret)
{
	uint8_t id[JOURNAL_ID_SIZE];
	Journal__JournalMeta meta = JOURNAL__JOURNAL_META__INIT;
	cc_err err = CC_OK;
	random_bytes(id, sizeof id);
	meta.format = JOURNAL_FORMAT;
	meta.journal_id = codec_bytes(cc_view_of(id, sizeof id));
	TRY(journal_write_meta(d, txn, &meta));
	TRY(journal_read_meta(d, txn, ret));
out:
	return err;
}

/* Before the committer is there: the one write that is not its own. */
static cc_err load_meta(struct db *d, Journal__JournalMeta **ret)
{
	MDB_txn *txn = NULL;
	Journal__JournalMeta *meta = NULL;
	int rc;
	cc_err err = CC_OK;
	rc = mdb_txn_begin(db_env(d), NULL, 0, &txn);
	ENSURE(rc == 0, db_error(d, rc, "begin"));
	err = journal_read_meta(d, txn, &meta);
	if (err == CC_NOT_FOUND)
		err = make_meta(d, txn, &meta);
	TRY(err);
	if (meta->format < JOURNAL_FORMAT)
		TRY(journal_upgrade(d, txn, meta));
	ENSURE(meta->format == JOURNAL_FORMAT,
		cc_fail(CC_VERSION, "the journal in %s has format %u, this release knows %d",
			db_dir(d), meta->format, JOURNAL_FORMAT));
	ENSURE(meta->journal_id.len == JOURNAL_ID_SIZE,
		cc_fail(CC_CORRUPT, "the journal in %s has no id", db_dir(d)));
	rc = mdb_txn_commit(txn);
	txn = NULL;
	ENSURE(rc == 0, db_error(d, rc, "commit"));
	*ret = meta;
	meta = NULL;
out:
	if (txn != NULL)
		mdb_txn_abort(txn);
	codec_free(meta);
	return err;
}

static void on_sweep(void *arg)
{
	journal_sweep(arg);
}

static void on_fatal(void *arg, cc_err err)
{
	struct journal *j = arg;
	if (j->fatal == NULL)
		cc_die("journal: %s", cc_err_detail(err));
	j->fatal(j->fatal_arg, err);
}

void journal_on_fatal(struct journal *j, commit_fatal fatal, void *arg)
{
	j->fatal = fatal;
	j->fatal_arg = arg;
}

cc_err journal_open(const struct journal_settings *settings, struct loop *l, struct journal **ret)
{
	struct journal *j = cc_alloc(sizeof *j);
	cc_err err = CC_OK;
	j->max_bytes = settings->max_bytes;
	j->retention_ms = settings->result_retention_ms;
	TRY(db_open(settings->dir, map_bytes, db_names, JOURNAL_DB_COUNT, &j->db));
	TRY(load_meta(j->db, &j->meta));
	TRY(committer_start(j->db, l, on_fatal, j, &j->committer));
	committer_hold(j->committer);
	committer_name_points(
		j->committer, CRASH_JOURNAL_BEFORE_COMMIT, CRASH_JOURNAL_AFTER_COMMIT);
	j->sweep = loop_timer_new(l, on_sweep, j);
	loop_timer_set(j->sweep, 60 * 1000);
	*ret = j;
	j = NULL;
out:
	journal_close(j);
	return err;
}

static void free_ops(struct journal_change *c)
{
	while (c->first != NULL) {
		struct journal_op *op = c->first;
		c->first = op->next;
		cc_blob_free(&op->name);
		cc_blob_free(&op->value);
		free(op);
	}
}

void journal_change_free(struct journal_change *c)
{
	if (c == NULL)
		return;
	free_ops(c);
	codec_free(c->meta);
	free(c);
}

void journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	loop_timer_free(j->sweep);
	committer_stop(j->committer);
	while (j->in_flight != NULL) {
		struct journal_change *c = j->in_flight;
		j->in_flight = c->in_flight_next;
		if (c->done != NULL)
			c->done(c->arg, cc_fail(CC_CLOSED, "the journal was closed"));
		journal_change_free(c);
	}
	db_close(j->db);
	codec_free(j->meta);
	free(j);
}

struct db *journal_db(const struct journal *j)
{
	return j->db;
}

bool journal_is_busy(const struct journal *j)
{
	return j->in_flight != NULL;
}

void journal_on_batch(struct journal *j, loop_fn fn, void *arg)
{
	committer_on_batch(j->committer, fn, arg);
}

cc_view journal_id(const struct journal *j)
{
	return codec_view(j->meta->journal_id);
}

cc_view journal_nonce(const struct journal *j)
{
	return codec_view(j->meta->nonce);
}

uint64_t journal_generation(const struct journal *j)
{
	return j->meta->generation;
}

/* A suspension holds from the moment at which it is to be recorded; its end, when it is. */
static bool is_being_suspended(const struct journal *j, cc_view ca)
{
	for (const struct journal_change *c = j->in_flight; c != NULL; c = c->in_flight_next) {
		for (const struct journal_op *op = c->first; op != NULL; op = op->next) {
			if (op->kind == JOURNAL_OP_SUSPEND && op->flag &&
				cc_view_equal(cc_blob_view(&op->name), ca))
				return true;
		}
	}
	return false;
}

/* A journal of an earlier release has never offered: what it knew last is what it had told. */
uint64_t journal_offered_generation(const struct journal *j)
{
	return j->meta->offered_generation != 0 ? j->meta->offered_generation : j->meta->generation;
}

bool journal_is_suspended(const struct journal *j, cc_view ca)
{
	if (is_being_suspended(j, ca))
		return true;
	for (size_t i = 0; i < j->meta->n_suspended_cas; i++) {
		if (cc_view_equal(codec_view(j->meta->suspended_cas[i]), ca))
			return true;
	}
	return false;
}

uint32_t journal_orphans(const struct journal *j, int64_t *ret_left_ms)
{
	int64_t gone_ms = clock_realtime_ms() - j->meta->orphans_since_ms;
	bool is_this_hour = gone_ms < JOURNAL_HOUR_MS;
	uint32_t count = is_this_hour ? j->meta->orphans_counted : 0;
	for (const struct journal_change *c = j->in_flight; c != NULL; c = c->in_flight_next) {
		for (const struct journal_op *op = c->first; op != NULL; op = op->next)
			count += op->kind == JOURNAL_OP_ORPHAN;
	}
	*ret_left_ms = is_this_hour && gone_ms > 0 ? JOURNAL_HOUR_MS - gone_ms : JOURNAL_HOUR_MS;
	return count;
}

uint64_t journal_audit_head(const struct journal *j)
{
	return j->meta->audit_head;
}

uint64_t journal_used_bytes(const struct journal *j)
{
	MDB_txn *txn = NULL;
	uint64_t open = 0;
	cc_err err = CC_OK;
	TRY(db_read_begin(j->db, &txn));
	TRY(db_count(j->db, txn, JOURNAL_DB_OPEN, &open));
out:
	db_read_end(txn);
	cc_ignore(err, "a commit will tell");
	return db_used_bytes(j->db) + journal_future_bytes(open);
}

uint64_t journal_max_bytes(const struct journal *j)
{
	return j->max_bytes;
}

uint64_t journal_disk_free(const struct journal *j)
{
	struct statvfs disk;
	if (statvfs(db_dir(j->db), &disk) != 0)
		return UINT64_MAX; /* a commit will tell */
	return (uint64_t)disk.f_bavail * disk.f_frsize;
}

enum journal_room journal_room(const struct journal *j)
{
	uint64_t used = journal_used_bytes(j), left = journal_disk_free(j);
	if (used / 9 >= j->max_bytes / 10 || left < disk_reserve / 2)
		return JOURNAL_ROOM_RESERVE;
	if (left < disk_reserve)
		return JOURNAL_ROOM_NO_INTAKE;
	return used / 8 >= j->max_bytes / 10 ? JOURNAL_ROOM_NO_INTAKE : JOURNAL_ROOM_FREE;
}

/* ---- changes ---- */

struct journal_change *journal_change_new(struct journal *j)
{
	struct journal_change *c = cc_alloc(sizeof *c);
	c->journal = j;
	return c;
}

bool journal_change_is_empty(const struct journal_change *c)
{
	return c->first == NULL;
}

static struct journal_op *add_op(
	struct journal_change *c, enum journal_op_kind kind, cc_view job_id)
{
	struct journal_op *op = cc_alloc(sizeof *op);
	op->kind = kind;
	if (job_id.size == JOB_ID_SIZE)
		memcpy(op->job_id, job_id.data, JOB_ID_SIZE);
	if (c->last == NULL)
		c->first = op;
	else
		c->last->next = op;
	c->last = op;
	return op;
}

void journal_change_open(struct journal_change *c, cc_view job_id, const Journal__OpenJob *record)
{
	struct journal_op *op = add_op(c, JOURNAL_OP_OPEN, job_id);
	op->number = (uint64_t)record->next_due_ms;
	op->flag = record->state == JOURNAL__JOB_STATE__STATE_INTENT;
	op->value = codec_pack(record);
}

void journal_change_blob(
	struct journal_change *c, cc_view job_id, enum journal_part part, cc_view bytes)
{
	struct journal_op *op = add_op(c, JOURNAL_OP_BLOB, job_id);
	op->part = part;
	op->value = cc_blob_copy(bytes);
}

void journal_change_done(struct journal_change *c, cc_view job_id, const Journal__DoneJob *record)
{
	struct journal_op *op = add_op(c, JOURNAL_OP_DONE, job_id);
	int64_t until = record->time_ms + c->journal->retention_ms;
	op->number = (uint64_t)(until / JOURNAL_HOUR_MS) + 1;
	op->value = codec_pack(record);
}

void journal_change_forget(struct journal_change *c, cc_view job_id)
{
	add_op(c, JOURNAL_OP_FORGET, job_id);
}

void journal_change_doubt(struct journal_change *c, cc_view job_id, const Journal__Doubt *record)
{
	struct journal_op *op = add_op(c, JOURNAL_OP_DOUBT, job_id);
	op->name = cc_blob_copy(codec_view(record->ca));
	op->value = codec_pack(record);
}

void journal_change_no_doubt(struct journal_change *c, cc_view job_id, cc_view ca)
{
	struct journal_op *op = add_op(c, JOURNAL_OP_NO_DOUBT, job_id);
	op->name = cc_blob_copy(ca);
}

void journal_change_suspend(struct journal_change *c, cc_view ca, bool suspended)
{
	struct journal_op *op = add_op(c, JOURNAL_OP_SUSPEND, CC_VIEW_NONE);
	op->name = cc_blob_copy(ca);
	op->flag = suspended;
}

void journal_change_orphan(struct journal_change *c)
{
	struct journal_op *op = add_op(c, JOURNAL_OP_ORPHAN, CC_VIEW_NONE);
	op->now_ms = clock_realtime_ms();
}

void journal_change_adopt(struct journal_change *c)
{
	uint8_t id[JOURNAL_ID_SIZE];
	struct journal_op *op = add_op(c, JOURNAL_OP_ADOPT, CC_VIEW_NONE);
	random_bytes(id, sizeof id);
	op->value = cc_blob_copy(cc_view_of(id, sizeof id));
}

void journal_change_audit(struct journal_change *c, uint64_t counter, cc_view record, bool resent)
{
	struct journal_op *op = add_op(c, JOURNAL_OP_AUDIT, CC_VIEW_NONE);
	op->number = counter;
	op->flag = resent;
	op->value = cc_blob_copy(record);
}

void journal_change_session(struct journal_change *c, cc_view nonce, uint64_t session_epoch,
	uint64_t generation, bool offer)
{
	struct journal_op *op = add_op(c, JOURNAL_OP_SESSION, CC_VIEW_NONE);
	op->flag = offer;
	cc_blob_append_u64(&op->value, session_epoch);
	cc_blob_append_u64(&op->value, generation);
	cc_blob_append(&op->value, nonce);
}

void journal_change_offered(struct journal_change *c)
{
	add_op(c, JOURNAL_OP_OFFERED, CC_VIEW_NONE);
}

void journal_change_reopen(struct journal_change *c, cc_view job_id, const Journal__OpenJob *record)
{
	add_op(c, JOURNAL_OP_UNDONE, job_id);
	journal_change_open(c, job_id, record);
}

void journal_change_hold(struct journal_change *c, cc_view job_id, int64_t until_ms)
{
	struct journal_op *op = add_op(c, JOURNAL_OP_HOLD, job_id);
	op->number = (uint64_t)until_ms;
}

static void unlink_change(struct journal_change *c)
{
	if (c->in_flight_prev != NULL)
		c->in_flight_prev->in_flight_next = c->in_flight_next;
	else
		c->journal->in_flight = c->in_flight_next;
	if (c->in_flight_next != NULL)
		c->in_flight_next->in_flight_prev = c->in_flight_prev;
}

static void on_committed(void *arg, cc_err err)
{
	struct journal_change *c = arg;
	struct journal *j = c->journal;
	commit_done done = c->done;
	void *done_arg = c->arg;
	unlink_change(c);
	if (err == CC_OK && c->meta != NULL) {
		codec_free(j->meta);
		j->meta = c->meta;
		c->meta = NULL;
	}
	if (err == CC_OK && c->more)
		loop_timer_set(j->sweep, 100);
	journal_change_free(c);
	if (done != NULL)
		done(done_arg, err);
}

void journal_commit(struct journal_change *c, commit_done done, void *arg)
{
	struct journal *j = c->journal;
	c->done = done;
	c->arg = arg;
	c->in_flight_next = j->in_flight;
	if (j->in_flight != NULL)
		j->in_flight->in_flight_prev = c;
	j->in_flight = c;
	committer_submit(j->committer, journal_apply, on_committed, c);
}

void journal_sweep(struct journal *j)
{
	struct journal_change *c = journal_change_new(j);
	struct journal_op *op = add_op(c, JOURNAL_OP_SWEEP, CC_VIEW_NONE);
	op->now_ms = clock_realtime_ms();
	op->number = (uint64_t)j->retention_ms;
	loop_timer_set(j->sweep, JOURNAL_HOUR_MS);
	journal_commit(c, NULL, NULL);
}

/* ---- reading ---- */

cc_err journal_each_open(const struct journal *j, journal_job_fn fn, void *arg)
{
	MDB_txn *txn = NULL;
	struct db_cursor cursor = {0};
	Journal__OpenJob *record = NULL;
	cc_err err = CC_OK;
	TRY(db_read_begin(j->db, &txn));
	TRY(db_scan(j->db, txn, JOURNAL_DB_OPEN, CC_VIEW_NONE, CC_VIEW_NONE, &cursor));
	while (db_next(&cursor, &err)) {
		TRY(codec_decode(
			&journal__open_job__descriptor, cursor.value, JOURNAL_RECORD_MAX, &record));
		ENSURE(cursor.key.size == JOB_ID_SIZE,
			cc_fail(CC_CORRUPT, "a key of %zu bytes in the journal", cursor.key.size));
		TRY(fn(arg, cursor.key, record));
		codec_free(record);
		record = NULL;
	}
out:
	codec_free(record);
	db_scan_end(&cursor);
	db_read_end(txn);
	return err;
}

static cc_err get_copy(const struct journal *j, enum journal_db db, cc_view key, cc_blob *ret)
{
	MDB_txn *txn = NULL;
	cc_view bytes;
	cc_err err = CC_OK;
	TRY(db_read_begin(j->db, &txn));
	TRY(db_get(j->db, txn, db, key, &bytes));
	*ret = cc_blob_copy(bytes);
out:
	db_read_end(txn);
	return err;
}

cc_err journal_get_blob(
	const struct journal *j, cc_view job_id, enum journal_part part, cc_blob *ret)
{
	struct journal_key k;
	return get_copy(j, JOURNAL_DB_BLOB, journal_key_blob(&k, job_id, part), ret);
}

cc_err journal_get_done(const struct journal *j, cc_view job_id, Journal__DoneJob **ret)
{
	cc_blob bytes = CC_BLOB_NONE;
	cc_err err = CC_OK;
	TRY(get_copy(j, JOURNAL_DB_DONE, job_id, &bytes));
	TRY(codec_decode(
		&journal__done_job__descriptor, cc_blob_view(&bytes), JOURNAL_RECORD_MAX, ret));
out:
	cc_blob_free(&bytes);
	return err;
}

cc_err journal_get_audit(const struct journal *j, uint64_t counter, cc_blob *ret)
{
	struct journal_key k;
	return get_copy(j, JOURNAL_DB_AUDIT, journal_key_number(&k, counter), ret);
}

/* An entry may be older than the job's last end, or than its being open again. */
static cc_err read_done(
	const struct journal *j, MDB_txn *txn, cc_view job_id, Journal__DoneJob **ret)
{
	cc_view bytes;
	cc_err err = db_get(j->db, txn, JOURNAL_DB_DONE, job_id, &bytes);
	if (err == CC_OK)
		err = codec_decode(&journal__done_job__descriptor, bytes, JOURNAL_RECORD_MAX, ret);
	return err == CC_NOT_FOUND ? CC_OK : err;
}

cc_err journal_next_done(const struct journal *j, struct journal_place *place, size_t limit,
	journal_done_fn fn, void *arg)
{
	MDB_txn *txn = NULL;
	struct db_cursor cursor = {0};
	Journal__DoneJob *record = NULL;
	cc_view from = cc_view_of(place->key, sizeof place->key);
	size_t looked_at = 0;
	bool more = true;
	cc_err err = CC_OK;
	TRY(db_read_begin(j->db, &txn));
	TRY(db_scan(j->db, txn, JOURNAL_DB_DONE_AT, CC_VIEW_NONE,
		place->begun ? from : CC_VIEW_NONE, &cursor));
	while (more && looked_at < limit) {
		if (!db_next(&cursor, &err)) {
			place->over = err == CC_OK;
			break;
		}
		ENSURE(cursor.key.size == sizeof place->key,
			cc_fail(CC_CORRUPT, "a key of %zu bytes in the journal", cursor.key.size));
		if (place->begun && cc_view_equal(cursor.key, from))
			continue;
		TRY(read_done(j, txn, cc_view_part(cursor.key, 8, JOB_ID_SIZE), &record));
		memcpy(place->key, cursor.key.data, sizeof place->key);
		place->begun = true;
		looked_at++;
		if (record != NULL)
			more = fn(arg, cc_view_of(place->key + 8, JOB_ID_SIZE), record);
		record = NULL;
	}
	TRY(err);
out:
	db_scan_end(&cursor);
	db_read_end(txn);
	return err;
}

cc_err journal_count_doubts(const struct journal *j, size_t *ret)
{
	MDB_txn *txn = NULL;
	struct db_cursor cursor = {0};
	size_t count = 0;
	cc_err err = CC_OK;
	TRY(db_read_begin(j->db, &txn));
	TRY(db_scan(j->db, txn, JOURNAL_DB_DOUBT, CC_VIEW_NONE, CC_VIEW_NONE, &cursor));
	while (db_next(&cursor, &err))
		count++;
	if (err == CC_OK)
		*ret = count;
out:
	db_scan_end(&cursor);
	db_read_end(txn);
	return err;
}
