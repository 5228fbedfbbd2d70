/*
 * local: what was issued and what was revoked.
 *
 * Databases: "issued" serial to DER; "request" (tenant NUL job id CSR digest) to serial; "revoked"
 * serial to {time, reason}; "latest" running number to serial, of the last LATEST_MAX; "meta"; "pending"
 * reference to PendingRequest.  The backend's thread is the only writer, so a change is one transaction
 * of its own here, and on disk when the function returns.
 */
#include "ca-backends/local/local_int.h"
#include "base/crashpoint.h"
#include "base/db.h"
#include <stdlib.h>
#include <string.h>

#define MAP_BYTES    (UINT64_C(8) << 30)
#define FORMAT       1
#define REVOKED_SIZE (8 + 1)
#define AHEAD        (UINT64_C(4) << 20)
#define LATEST_MAX   256u /* so many files at the most a crash can have left out */

enum { ISSUED, REQUEST, REVOKED, LATEST, META, PENDING, DATABASES };

static const char *const names[DATABASES] = {
	"issued", "request", "revoked", "latest", "meta", "pending"};
static const char format_key[] = "format", crl_key[] = "crl", latest_key[] = "latest";

struct local_db {
	struct db *db;
};

static cc_err begin(const struct local_db *d, MDB_txn **ret)
{
	cc_err err = db_write_begin(d->db, ret);

	if (err != CC_OK && db_reopen(d->db) != CC_OK)
		cc_die("%s", cc_err_detail(err));
	return err;
}

/* Ends the transaction either way.  What was asked for belongs to a job that was admitted elsewhere, so
 * it may use what is kept ahead, which is renewed whenever it can be. */
static cc_err end(const struct local_db *d, MDB_txn *txn, cc_err err)
{
	if (txn == NULL)
		return err;
	if (err != CC_OK) {
		mdb_txn_abort(txn);
		return err;
	}
	cc_ignore(db_reserve(d->db, 0, AHEAD), "what there is has to do");
	crashpoint_pass(CRASH_LOCAL_BEFORE_COMMIT);
	switch (db_commit(d->db, txn, &err)) {
	case DB_COMMITTED:
		break;
	case DB_MENDED:
		err = CC_OK;
		break;
	case DB_TOO_LARGE:
	case DB_NO_ROOM:
	case DB_AGAIN: /* nothing happened: the caller's failure, after which it is looked up and asked again */
		break;
	case DB_LOST:
		cc_die("%s", cc_err_detail(err));
	}
	crashpoint_pass(CRASH_LOCAL_AFTER_COMMIT);
	return err;
}

static cc_err put_number(const struct local_db *d, MDB_txn *txn, const char *key, uint64_t number)
{
	cc_blob value = CC_BLOB_NONE;
	cc_err err;

	cc_blob_append_u64(&value, number);
	err = db_put(d->db, txn, META, cc_view_text(key), cc_blob_view(&value));
	cc_blob_free(&value);
	return err;
}

static cc_err get_number(const struct local_db *d, MDB_txn *txn, const char *key, uint64_t *ret)
{
	cc_view value;
	cc_err err = db_get(d->db, txn, META, cc_view_text(key), &value);

	if (err != CC_OK)
		return err;
	if (value.size != 8)
		return cc_fail(CC_CORRUPT, "%s: %s", db_dir(d->db), key);
	*ret = cc_get_u64(value.data);
	return CC_OK;
}

static cc_err check_format(const struct local_db *d)
{
	MDB_txn *txn = NULL;
	uint64_t format = 0;
	cc_err err = CC_OK;

	TRY(db_read_begin(d->db, &txn));
	err = get_number(d, txn, format_key, &format);
	ENSURE(err == CC_OK && format == FORMAT,
		cc_fail(CC_CORRUPT,
			"%s: not this CA's database; without it certificates would be forgotten: "
			"restore it",
			db_dir(d->db)));
out:
	if (txn != NULL)
		db_read_end(txn);
	return err;
}

/* A CA whose key file is lost has issued all the same: its records are not made a new CA's. */
static cc_err write_format(const struct local_db *d)
{
	struct db_cursor cursor = {0};
	MDB_txn *txn = NULL;
	cc_err err = CC_OK;

	TRY(begin(d, &txn));
	TRY(db_scan(d->db, txn, ISSUED, CC_VIEW_NONE, CC_VIEW_NONE, &cursor));
	ENSURE(!db_next(&cursor, &err),
		cc_fail(CC_CONFLICT,
			"%s: holds certificates of a CA whose key is missing: restore the key, or "
			"move the directory away",
			db_dir(d->db)));
	TRY(err);
	TRY(put_number(d, txn, format_key, FORMAT));
	TRY(put_number(d, txn, crl_key, 0));
out:
	db_scan_end(&cursor);
	return end(d, txn, err);
}

cc_err local_db_open(const char *dir, bool make, struct local_db **ret)
{
	struct local_db *d = cc_alloc(sizeof(*d));
	cc_err err = CC_OK;

	TRY(db_open(dir, MAP_BYTES, names, DATABASES, &d->db));
	if (make)
		TRY(write_format(d));
	TRY(check_format(d));
	*ret = d;
	d = NULL;
out:
	local_db_close(d);
	return err;
}

void local_db_close(struct local_db *d)
{
	if (d == NULL)
		return;
	db_close(d->db);
	free(d);
}

static cc_blob request_key(const struct local_request *r)
{
	cc_blob key = CC_BLOB_NONE;

	cc_blob_append(&key, r->tenant);
	cc_blob_append_byte(&key, 0);
	cc_blob_append(&key, r->job_id);
	cc_blob_append(&key, r->csr_sha256);
	return key;
}

cc_err local_db_find(const struct local_db *d, const struct local_request *r, cc_blob *ret_der)
{
	cc_blob key = request_key(r);
	MDB_txn *txn = NULL;
	cc_view serial, der;
	cc_err err = CC_OK;

	TRY(db_read_begin(d->db, &txn));
	TRY(db_get(d->db, txn, REQUEST, cc_blob_view(&key), &serial));
	err = db_get(d->db, txn, ISSUED, serial, &der);
	ENSURE(err != CC_NOT_FOUND,
		cc_fail(CC_CORRUPT, "%s: a request without its certificate", db_dir(d->db)));
	TRY(err);
	*ret_der = cc_blob_copy(der);
out:
	if (txn != NULL)
		db_read_end(txn);
	cc_blob_free(&key);
	return err;
}

static cc_err put_latest(const struct local_db *d, MDB_txn *txn, cc_view serial)
{
	cc_blob key = CC_BLOB_NONE, old = CC_BLOB_NONE;
	uint64_t number = 0;
	cc_err err = get_number(d, txn, latest_key, &number);

	if (err == CC_NOT_FOUND)
		err = CC_OK;
	TRY(err);
	number++;
	cc_blob_append_u64(&key, number);
	TRY(db_put(d->db, txn, LATEST, cc_blob_view(&key), serial));
	TRY(put_number(d, txn, latest_key, number));
	if (number > LATEST_MAX) {
		cc_blob_append_u64(&old, number - LATEST_MAX);
		TRY(db_delete(d->db, txn, LATEST, cc_blob_view(&old)));
	}
out:
	cc_blob_free(&old);
	cc_blob_free(&key);
	return err;
}

cc_err local_db_add(struct local_db *d, const struct local_request *r,
	const uint8_t serial[LOCAL_SERIAL_SIZE], cc_view der, cc_view reference)
{
	cc_blob key = request_key(r);
	cc_view number = cc_view_of(serial, LOCAL_SERIAL_SIZE);
	MDB_txn *txn = NULL;
	cc_err err = CC_OK;

	TRY(begin(d, &txn));
	TRY(db_put_new(d->db, txn, ISSUED, number, der));
	TRY(db_put_new(d->db, txn, REQUEST, cc_blob_view(&key), number));
	if (reference.size > 0)
		TRY(db_delete(d->db, txn, PENDING, reference));
	TRY(put_latest(d, txn, number));
out:
	cc_blob_free(&key);
	return end(d, txn, err);
}

cc_err local_db_pending(const struct local_db *d, cc_view reference, cc_blob *ret_row)
{
	MDB_txn *txn = NULL;
	cc_view row;
	cc_err err = CC_OK;

	TRY(db_read_begin(d->db, &txn));
	TRY(db_get(d->db, txn, PENDING, reference, &row));
	*ret_row = cc_blob_copy(row);
out:
	if (txn != NULL)
		db_read_end(txn);
	return err;
}

cc_err local_db_pending_put(struct local_db *d, cc_view reference, cc_view row)
{
	MDB_txn *txn = NULL;
	cc_err err = begin(d, &txn);

	if (err == CC_OK)
		err = db_put(d->db, txn, PENDING, reference, row);
	return end(d, txn, err);
}

cc_err local_db_pending_delete(struct local_db *d, cc_view reference)
{
	MDB_txn *txn = NULL;
	cc_err err = begin(d, &txn);

	if (err == CC_OK)
		err = db_delete(d->db, txn, PENDING, reference);
	return end(d, txn, err);
}

cc_err local_db_revoke(struct local_db *d, cc_view serial, int64_t now_s, uint32_t reason)
{
	cc_blob value = CC_BLOB_NONE;
	MDB_txn *txn = NULL;
	cc_view there;
	cc_err err = CC_OK;

	TRY(begin(d, &txn));
	TRY(db_get(d->db, txn, ISSUED, serial, &there));
	cc_blob_append_u64(&value, (uint64_t)now_s);
	cc_blob_append_byte(&value, (uint8_t)reason);
	err = db_put_new(d->db, txn, REVOKED, serial, cc_blob_view(&value));
	if (err == CC_CONFLICT)
		err = CC_OK;
out:
	cc_blob_free(&value);
	return end(d, txn, err);
}

struct walk {
	local_revoked_fn revoked;
	local_issued_fn issued; /* the values are serials */
	local_pending_fn pending;
	void *arg;
};

static cc_err visit(
	const struct local_db *d, MDB_txn *txn, const struct walk *w, cc_view key, cc_view value)
{
	cc_view der;
	cc_err err = CC_OK;

	if (w->issued != NULL) {
		err = db_get(d->db, txn, ISSUED, value, &der);
		return err == CC_OK ? w->issued(w->arg, value, der) : err;
	}
	if (w->pending != NULL)
		return w->pending(w->arg, key, value);
	if (value.size != REVOKED_SIZE)
		return cc_fail(CC_CORRUPT, "%s: a revocation", db_dir(d->db));
	return w->revoked(w->arg, key, (int64_t)cc_get_u64(value.data), value.data[8]);
}

static cc_err walk(const struct local_db *d, size_t dbi, const struct walk *w)
{
	struct db_cursor cursor = {0};
	MDB_txn *txn = NULL;
	cc_err err = CC_OK;

	TRY(db_read_begin(d->db, &txn));
	TRY(db_scan(d->db, txn, dbi, CC_VIEW_NONE, CC_VIEW_NONE, &cursor));
	while (db_next(&cursor, &err))
		TRY(visit(d, txn, w, cursor.key, cursor.value));
out:
	db_scan_end(&cursor);
	if (txn != NULL)
		db_read_end(txn);
	return err;
}

cc_err local_db_each_revoked(const struct local_db *d, local_revoked_fn fn, void *arg)
{
	return walk(d, REVOKED, &(struct walk){.revoked = fn, .arg = arg});
}

cc_err local_db_each_latest(const struct local_db *d, local_issued_fn fn, void *arg)
{
	return walk(d, LATEST, &(struct walk){.issued = fn, .arg = arg});
}

cc_err local_db_each_pending(const struct local_db *d, local_pending_fn fn, void *arg)
{
	return walk(d, PENDING, &(struct walk){.pending = fn, .arg = arg});
}

cc_err local_db_next_crl(struct local_db *d, uint64_t *ret)
{
	MDB_txn *txn = NULL;
	uint64_t number = 0;
	cc_err err = CC_OK;

	TRY(begin(d, &txn));
	TRY(get_number(d, txn, crl_key, &number));
	TRY(put_number(d, txn, crl_key, ++number));
out:
	err = end(d, txn, err);
	if (err == CC_OK)
		*ret = number;
	return err;
}
