/*
 * State, house-keeping: rows of jobs that are long past, questions to the operator about such, counters of
 * hours and days that are over, and the salts of ticket keys: a fresh one each week, and the end of those
 * under which no ticket can be used any more.
 */
#include "keyvault/state_int.h"
#include "proto/codec.h"
#include <stdlib.h>

#define ROWS_AT_ONCE 1000 /* in one transaction; the next tending goes on */
#define DAY_S        86400

#define WAITING_KEEP_S 3600

/* Keys to delete, gathered first: a cursor does not survive the deletion of what it stands on. */
struct keys {
	cc_blob items[ROWS_AT_ONCE];
	size_t count;
};

static void keys_free(struct keys *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		cc_blob_free(&keys->items[i]);
	free(keys);
}

static cc_err gather(const struct db *d, MDB_txn *txn, size_t dbi, cc_view prefix,
	bool (*is_over)(cc_view key, int64_t now_s), int64_t now_s, struct keys *keys)
{
	struct db_cursor cursor = {0};
	cc_err err = CC_OK;

	TRY(db_scan(d, txn, dbi, prefix, CC_VIEW_NONE, &cursor));
	while (keys->count < ROWS_AT_ONCE && db_next(&cursor, &err)) {
		if (!is_over(cursor.key, now_s))
			break;
		keys->items[keys->count++] = cc_blob_copy(cursor.key);
	}
out:
	db_scan_end(&cursor);
	return err;
}

static bool taken_is_over(cc_view key, int64_t now_s)
{
	return key.size < 8 || (int64_t)cc_get_u64(key.data) < now_s - STATE_KEEP_S;
}

/* Some time longer than the job itself, so that a clock that is set back a little finds the denial. */
static bool waiting_is_over(cc_view key, int64_t now_s)
{
	return key.size < 8 || (int64_t)cc_get_u64(key.data) < now_s - WAITING_KEEP_S;
}

/* Rows of `rows`, by the table `ends` of their ends. */
static cc_err drop_ended(const struct db *d, MDB_txn *txn, size_t rows, size_t ends,
	bool (*is_over)(cc_view key, int64_t now_s), int64_t now_s)
{
	struct keys *keys = cc_alloc(sizeof(*keys));
	cc_err err = CC_OK;

	TRY(gather(d, txn, ends, CC_VIEW_NONE, is_over, now_s, keys));
	for (size_t i = 0; i < keys->count; i++) {
		cc_view at = cc_blob_view(&keys->items[i]);

		TRY(db_delete(d, txn, rows, cc_view_part(at, 8, at.size - 8)));
		TRY(db_delete(d, txn, ends, at));
	}
out:
	keys_free(keys);
	return err;
}

static bool hour_is_over(cc_view key, int64_t now_s)
{
	return key.size < 5 || cc_get_u32(key.data + 1) + 2 < (uint32_t)(now_s / 3600);
}

static bool day_is_over(cc_view key, int64_t now_s)
{
	return key.size < 5 || cc_get_u32(key.data + 1) + 2 < (uint32_t)(now_s / DAY_S);
}

static cc_err drop_counters(const struct db *d, MDB_txn *txn, int64_t now_s)
{
	static const struct {
		const char *tag;
		bool (*is_over)(cc_view key, int64_t now_s);
	} kinds[] = {
		{"h", hour_is_over}, {"d", day_is_over}, {"u", day_is_over}, {"t", day_is_over}};
	struct keys *keys = cc_alloc(sizeof(*keys));
	cc_err err = CC_OK;

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		TRY(gather(d, txn, STATE_DB_COUNTER, cc_view_text(kinds[k].tag), kinds[k].is_over,
			now_s, keys));
	for (size_t i = 0; i < keys->count; i++)
		TRY(db_delete(d, txn, STATE_DB_COUNTER, cc_blob_view(&keys->items[i])));
out:
	keys_free(keys);
	return err;
}

/* ---- salts ---- */

static cc_err put_salt(
	const struct db *d, MDB_txn *txn, uint64_t number, const Vault__TicketSalt *salt)
{
	cc_blob key = CC_BLOB_NONE;

	cc_blob_append_u64(&key, number);
	cc_err err = state_row_put(d, txn, STATE_DB_SALT, cc_blob_view(&key), salt);
	cc_blob_free(&key);
	return err;
}

static cc_err new_salt(const struct db *d, MDB_txn *txn, uint64_t number, int64_t now_s)
{
	Vault__TicketSalt salt = VAULT__TICKET_SALT__INIT;
	uint8_t bytes[STATE_SALT_SIZE];

	random_bytes(bytes, sizeof(bytes));
	salt.salt = codec_bytes(cc_view_of(bytes, sizeof(bytes)));
	salt.made_s = now_s;
	return put_salt(d, txn, number, &salt);
}

/* What the walk over the salts finds: the newest, and those that nobody needs. */
struct salt_walk {
	uint64_t newest;
	int64_t newest_made_s;
	cc_blob over; /* numbers, 8 bytes each */
};

static cc_err walk_salts(const struct db *d, MDB_txn *txn, int64_t now_s, struct salt_walk *walk)
{
	struct db_cursor cursor = {0};
	Vault__TicketSalt *salt = NULL;
	cc_err err = CC_OK;

	TRY(db_scan(d, txn, STATE_DB_SALT, CC_VIEW_NONE, CC_VIEW_NONE, &cursor));
	while (db_next(&cursor, &err)) {
		ENSURE(cursor.key.size == 8, cc_fail(CC_CORRUPT, "%s: a salt's number", db_dir(d)));
		TRY(codec_decode(&vault__ticket_salt__descriptor, cursor.value, 4096, &salt));
		walk->newest = cc_get_u64(cursor.key.data);
		walk->newest_made_s = salt->made_s;
		if (salt->made_s + STATE_SALT_AGE_S < now_s && salt->last_finish_by_s < now_s)
			cc_blob_append(&walk->over, cursor.key);
		codec_free(salt);
		salt = NULL;
	}
out:
	codec_free(salt);
	db_scan_end(&cursor);
	return err;
}

static cc_err tend_salts(const struct db *d, MDB_txn *txn, int64_t now_s)
{
	struct salt_walk walk = {0};
	cc_err err = CC_OK;

	TRY(walk_salts(d, txn, now_s, &walk));
	for (size_t i = 0; i + 8 <= walk.over.size; i += 8)
		TRY(db_delete(d, txn, STATE_DB_SALT, cc_view_of(walk.over.data + i, 8)));
	/* one of a clock that was far ahead would stay the newest for as long */
	if (walk.newest == 0 || llabs(now_s - walk.newest_made_s) > STATE_SALT_AGE_S)
		TRY(new_salt(d, txn, walk.newest + 1, now_s));
out:
	cc_blob_free(&walk.over);
	return err;
}

cc_err state_salt_touch(const struct db *d, MDB_txn *txn, uint32_t number, int64_t finish_by_s)
{
	Vault__TicketSalt *salt = NULL;
	cc_blob key = CC_BLOB_NONE;
	cc_err err = CC_OK;

	cc_blob_append_u64(&key, number);
	TRY(state_row_get(
		d, txn, STATE_DB_SALT, cc_blob_view(&key), &vault__ticket_salt__descriptor, &salt));
	ENSURE(salt, cc_fail(CC_NOT_FOUND, "ticket key %u is no more", number));
	if (salt->last_finish_by_s < finish_by_s) {
		salt->last_finish_by_s = finish_by_s;
		TRY(put_salt(d, txn, number, salt));
	}
out:
	cc_blob_free(&key);
	codec_free(salt);
	return err;
}

cc_err state_tend(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	cc_err err = CC_OK;

	TRY(drop_ended(d, txn, STATE_DB_TAKEN, STATE_DB_TAKEN_AT, taken_is_over, change->now_s));
	TRY(drop_ended(
		d, txn, STATE_DB_WAITING, STATE_DB_WAITING_AT, waiting_is_over, change->now_s));
	TRY(drop_counters(d, txn, change->now_s));
	TRY(tend_salts(d, txn, change->now_s));
out:
	return err;
}
