/*
 * State: opening, reading, and the way of a change to the committer.  Rows are protobuf messages
 * (vault/v1/state.proto), keys are hashes of fixed size, so that no name from outside becomes part of
 * a key's structure.
 */
#include "base/file.h"
#include "keyvault/state_int.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>

#define MAP_BYTES (64ull << 30) /* address space, not disk */

static const char *const db_names[STATE_DB_COUNT] = {
	[STATE_DB_META] = "meta",
	[STATE_DB_TAKEN] = "taken",
	[STATE_DB_TAKEN_AT] = "taken_at",
	[STATE_DB_DEVICE] = "device",
	[STATE_DB_BLOCKED] = "blocked",
	[STATE_DB_USER] = "user",
	[STATE_DB_GUEST] = "guest",
	[STATE_DB_COUNTER] = "counter",
	[STATE_DB_SIGNER] = "signer",
	[STATE_DB_ISSUED] = "issued",
	[STATE_DB_SALT] = "salt",
	[STATE_DB_DECISION] = "decision",
	[STATE_DB_WAITING] = "waiting",
	[STATE_DB_WAITING_AT] = "waiting_at",
};

/* ---- rows ---- */

cc_err state_row_get(const struct db *d, MDB_txn *txn, size_t dbi, cc_view key,
	const ProtobufCMessageDescriptor *type, void *ret_message)
{
	cc_view value = CC_VIEW_NONE;
	void *none = NULL;
	cc_err err = db_get(d, txn, dbi, key, &value);

	if (err == CC_NOT_FOUND) {
		memcpy(ret_message, &none, sizeof(none));
		return CC_OK;
	}
	if (err == CC_OK)
		err = codec_decode(type, value, STATE_ROW_MAX, ret_message);
	return err == CC_MALFORMED
		       ? cc_fail(CC_CORRUPT, "%s: a row of %s", db_dir(d), db_names[dbi])
		       : err;
}

cc_err state_row_put(const struct db *d, MDB_txn *txn, size_t dbi, cc_view key, const void *message)
{
	cc_blob row = codec_pack(message);
	cc_err err = db_put(d, txn, dbi, key, cc_blob_view(&row));

	cc_blob_free(&row);
	return err;
}

cc_err state_meta_get(const struct db *d, MDB_txn *txn, Vault__StateMeta **ret)
{
	cc_err err = state_row_get(
		d, txn, STATE_DB_META, cc_view_text("meta"), &vault__state_meta__descriptor, ret);

	if (err == CC_OK && (*ret == NULL || (*ret)->format != STATE_FORMAT)) {
		codec_free(*ret);
		*ret = NULL;
		err = cc_fail(CC_CORRUPT, "%s: no meta row of format %d", db_dir(d), STATE_FORMAT);
	}
	return err;
}

cc_err state_meta_put(const struct db *d, MDB_txn *txn, const Vault__StateMeta *meta)
{
	return state_row_put(d, txn, STATE_DB_META, cc_view_text("meta"), meta);
}

void state_taken_key(cc_view tenant, cc_view job_id, uint8_t ret[STATE_TAKEN_KEY_SIZE])
{
	HASH_ITEMS(ret, tenant);
	memset(ret + SHA256_SIZE, 0, JOB_ID_SIZE);
	memcpy(ret + SHA256_SIZE, job_id.data,
		job_id.size < JOB_ID_SIZE ? job_id.size : JOB_ID_SIZE);
}

/* ---- counters ---- */

#define COUNTER_KEY_SIZE (1 + 4 + SHA256_SIZE)

static void counter_key(char tag, uint32_t bucket, cc_view name, uint8_t ret[COUNTER_KEY_SIZE])
{
	ret[0] = (uint8_t)tag;
	ret[1] = (uint8_t)(bucket >> 24);
	ret[2] = (uint8_t)(bucket >> 16);
	ret[3] = (uint8_t)(bucket >> 8);
	ret[4] = (uint8_t)bucket;
	HASH_ITEMS(ret + 5, name);
}

cc_err state_counter_get(
	const struct db *d, MDB_txn *txn, char tag, uint32_t bucket, cc_view name, uint32_t *ret)
{
	uint8_t key[COUNTER_KEY_SIZE];
	cc_view value = CC_VIEW_NONE;

	counter_key(tag, bucket, name, key);
	cc_err err = db_get(d, txn, STATE_DB_COUNTER, cc_view_of(key, sizeof(key)), &value);
	if (err == CC_NOT_FOUND) {
		*ret = 0;
		return CC_OK;
	}
	if (err == CC_OK && value.size != 4)
		err = cc_fail(CC_CORRUPT, "%s: a counter of %zu bytes", db_dir(d), value.size);
	if (err == CC_OK)
		*ret = cc_get_u32(value.data);
	return err;
}

cc_err state_counter_add(const struct db *d, MDB_txn *txn, char tag, uint32_t bucket, cc_view name)
{
	uint8_t key[COUNTER_KEY_SIZE];
	cc_blob value = CC_BLOB_NONE;
	uint32_t count = 0;
	cc_err err = CC_OK;

	TRY(state_counter_get(d, txn, tag, bucket, name, &count));
	counter_key(tag, bucket, name, key);
	cc_blob_append_u32(&value, count + 1);
	TRY(db_put(d, txn, STATE_DB_COUNTER, cc_view_of(key, sizeof(key)), cc_blob_view(&value)));
out:
	cc_blob_free(&value);
	return err;
}

/* ---- open ---- */

/* Before the committer's thread runs, this thread is the only writer. */
static cc_err first_rows(struct state *s, int64_t now_s)
{
	Vault__StateMeta fresh = VAULT__STATE_META__INIT, *meta = NULL;
	struct state_change tend = {.now_s = now_s, .tends = true};
	MDB_txn *txn = NULL;
	cc_err err = CC_OK;

	TRY(db_error(s->db, mdb_txn_begin(db_env(s->db), NULL, 0, &txn), "the first transaction"));
	TRY(state_row_get(s->db, txn, STATE_DB_META, cc_view_text("meta"),
		&vault__state_meta__descriptor, &meta));
	if (meta == NULL) {
		fresh.format = STATE_FORMAT;
		TRY(state_meta_put(s->db, txn, &fresh));
	} else {
		ENSURE(meta->format == STATE_FORMAT,
			cc_fail(CC_VERSION, "%s: format %u, this program knows %d", db_dir(s->db),
				meta->format, STATE_FORMAT));
	}
	TRY(state_tend(s->db, txn, &tend));
	err = db_error(s->db, mdb_txn_commit(txn), "the first commit");
	txn = NULL;
out:
	mdb_txn_abort(txn);
	codec_free(meta);
	return err;
}

cc_err state_open(const char *dir, const cc_secret *audit_key, int64_t now_s, struct state **ret)
{
	struct state *s = cc_alloc(sizeof(*s));
	cc_err err = CC_OK;

	s->audit_key = cc_secret_copy(cc_secret_view(audit_key));
	TRY(db_open(dir, MAP_BYTES, db_names, STATE_DB_COUNT, &s->db));
	TRY(first_rows(s, now_s));
	*ret = s;
	s = NULL;
out:
	state_close(s);
	return err;
}

static void on_dropped(void *arg)
{
	struct state_change *change = arg;

	change->done(change->arg, cc_fail(CC_CLOSED, "the state was closed"));
}

cc_err state_start(struct state *s, struct loop *l, commit_fatal fatal, void *arg)
{
	cc_err err = committer_start(s->db, l, fatal, arg, &s->committer);

	if (err == CC_OK) {
		committer_name_points(
			s->committer, CRASH_VAULT_BEFORE_COMMIT, CRASH_VAULT_AFTER_COMMIT);
		committer_on_drop(s->committer, on_dropped);
	}
	return err;
}

void state_close(struct state *s)
{
	if (s == NULL)
		return;
	committer_stop(s->committer);
	db_close(s->db);
	cc_secret_free(&s->audit_key);
	free(s);
}

/* ---- changes ---- */

static void on_committed(void *arg, cc_err err)
{
	struct state_change *change = arg;

	change->done(change->arg, err);
}

void state_submit(struct state *s, struct state_change *change, void (*done)(void *arg, cc_err err),
	void *arg)
{
	change->state = s;
	change->done = done;
	change->arg = arg;
	committer_submit(s->committer, state_apply, on_committed, change);
}

void state_change_clear(struct state_change *change)
{
	cc_blob_free(&change->tenant);
	cc_blob_free(&change->what);
	cc_blob_free(&change->rules_reason);
	cc_blob_free(&change->said);
	cc_blob_free(&change->device.user_id);
	cc_blob_free(&change->device.device_id);
	cc_blob_free(&change->decision.subject);
	cc_blob_free(&change->record);
	*change = (struct state_change){0};
}

/* ---- reads ---- */

static cc_err find_row(const struct state *s, size_t dbi, cc_view key,
	const ProtobufCMessageDescriptor *type, void *ret)
{
	MDB_txn *txn = NULL;
	cc_err err = CC_OK;

	TRY(db_read_begin(s->db, &txn));
	TRY(state_row_get(s->db, txn, dbi, key, type, ret));
out:
	db_read_end(txn);
	return err;
}

cc_err state_find_taken(
	const struct state *s, cc_view tenant, cc_view job_id, Vault__TakenJob **ret)
{
	uint8_t key[STATE_TAKEN_KEY_SIZE];

	state_taken_key(tenant, job_id, key);
	return find_row(s, STATE_DB_TAKEN, cc_view_of(key, sizeof(key)),
		&vault__taken_job__descriptor, ret);
}

cc_err state_find_issued(
	const struct state *s, cc_view issuer, cc_view serial, Vault__IssuedRow **ret)
{
	uint8_t key[SHA256_SIZE];

	HASH_ITEMS(key, issuer, serial);
	return find_row(s, STATE_DB_ISSUED, cc_view_of(key, sizeof(key)),
		&vault__issued_row__descriptor, ret);
}

static cc_err walk(const struct state *s, size_t dbi,
	cc_err (*take)(void *arg, cc_view key, cc_view row), void *arg)
{
	struct db_cursor cursor = {0};
	MDB_txn *txn = NULL;
	cc_err err = CC_OK;

	TRY(db_read_begin(s->db, &txn));
	TRY(db_scan(s->db, txn, dbi, CC_VIEW_NONE, CC_VIEW_NONE, &cursor));
	while (db_next(&cursor, &err))
		TRY(take(arg, cursor.key, cursor.value));
out:
	db_scan_end(&cursor);
	db_read_end(txn);
	return err;
}

cc_err state_walk_page(const struct state *s, size_t dbi, cc_view from, size_t limit,
	state_take_fn take, void *arg, cc_blob *ret_next)
{
	struct db_cursor cursor = {0};
	MDB_txn *txn = NULL;
	cc_blob next = CC_BLOB_NONE;
	size_t count = 0;
	cc_err err = CC_OK;

	TRY(db_read_begin(s->db, &txn));
	TRY(db_scan(s->db, txn, dbi, CC_VIEW_NONE, from, &cursor));
	while (db_next(&cursor, &err)) {
		bool counts = true;
		if (count == limit) {
			next = cc_blob_copy(cursor.key);
			break;
		}
		TRY(take(arg, txn, cursor.key, cursor.value, &counts));
		count += counts;
	}
	if (err == CC_OK)
		*ret_next = cc_blob_move(&next);
out:
	cc_blob_free(&next);
	db_scan_end(&cursor);
	db_read_end(txn);
	return err;
}

struct each {
	state_each_fn fn;
	void *arg;
	cc_view device_id;
};

static cc_err take_numbered(void *arg, cc_view key, cc_view row)
{
	struct each *each = arg;

	if (key.size != 8)
		return cc_fail(CC_CORRUPT, "a key of %zu bytes where a number belongs", key.size);
	return each->fn(each->arg, cc_get_u64(key.data), row);
}

static cc_err take_device(void *arg, MDB_txn *txn, cc_view key, cc_view row, bool *ret_counts)
{
	struct each *each = arg;
	Vault__Device *device = NULL;
	cc_err err = CC_OK;

	(void)txn;
	(void)key;
	TRY(codec_decode(&vault__device__descriptor, row, STATE_ROW_MAX, &device));
	*ret_counts = each->device_id.size == 0 ||
		      cc_view_equal(codec_view(device->device_id), each->device_id);
	if (*ret_counts)
		TRY(each->fn(each->arg, 0, row));
out:
	codec_free(device);
	return err;
}

cc_err state_list_devices(const struct state *s, cc_view device_id, cc_view after, size_t limit,
	state_each_fn fn, void *arg, cc_blob *ret_next)
{
	struct each each = {fn, arg, device_id};

	return state_walk_page(s, STATE_DB_DEVICE, after, limit, take_device, &each, ret_next);
}

cc_err state_list_decisions(const struct state *s, state_each_fn fn, void *arg)
{
	struct each each = {.fn = fn, .arg = arg};

	return walk(s, STATE_DB_DECISION, take_numbered, &each);
}

cc_err state_list_salts(const struct state *s, state_each_fn fn, void *arg)
{
	struct each each = {.fn = fn, .arg = arg};

	return walk(s, STATE_DB_SALT, take_numbered, &each);
}
