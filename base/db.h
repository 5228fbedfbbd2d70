/*
 * An LMDB environment, opened the one way that this project opens them.
 *
 * One process has it open, once: a LOCK file beside it is held by flock (CC_LOCKED otherwise), so
 * another program asks the owner's socket instead.  The address space is reserved at open, less of it
 * (at least 1 GiB) where the system does not give so much; the directory is made 0700.  MDB_NOSYNC and MDB_NOMETASYNC are never set.  Not for a process that
 * forks.
 *
 * Reads: db_view from any thread, short.  Writes: only through the environment's committer
 * (base/committer.h).
 */
#pragma once

#include "base/blob.h"
#include <lmdb.h>

struct db; /* opaque */

/* `names`: the named databases, made when they are not there; db_dbi(i) follows this order. */
cc_err db_open(const char *dir, uint64_t map_bytes, const char *const *names, size_t count,
	struct db **ret) CC_MUST_USE;
void db_close(struct db *d); /* accepts NULL */
MDB_env *db_env(const struct db *d);
MDB_dbi db_dbi(const struct db *d, size_t index);
const char *db_dir(const struct db *d);
/* Bytes of the pages that hold data now; the file may be larger.  0 when it cannot be told. */
uint64_t db_used_bytes(const struct db *d);

/* MDB_* and errno to ours; names the true cause of EIO (a full tmpfs) by statvfs. */
cc_err db_error(const struct db *d, int rc, const char *what);

/* A read transaction.  Views that db_get gives are valid until db_read_end. */
cc_err db_read_begin(const struct db *d, MDB_txn **ret) CC_MUST_USE;
void db_read_end(MDB_txn *txn);

/* CC_NOT_FOUND when the key is absent. */
cc_err db_get(const struct db *d, MDB_txn *txn, size_t dbi, cc_view key, cc_view *ret) CC_MUST_USE;
cc_err db_put(const struct db *d, MDB_txn *txn, size_t dbi, cc_view key, cc_view value) CC_MUST_USE;
cc_err db_put_new(const struct db *d, MDB_txn *txn, size_t dbi, cc_view key,
	cc_view value) CC_MUST_USE; /* CC_CONFLICT when there */
cc_err db_delete(
	const struct db *d, MDB_txn *txn, size_t dbi, cc_view key) CC_MUST_USE; /* absent is fine */

/* Walk keys that begin with `prefix`, from `from` (>= prefix; empty: the prefix itself).  Both views
 * stay the caller's until db_scan_end, which comes before the end of the transaction.  The current
 * entry may be deleted on the way. */
struct db_cursor {
	MDB_cursor *cursor;
	cc_view prefix;
	cc_view key, value; /* of the current entry */
	bool started;
	const struct db *db;
};
cc_err db_scan(const struct db *d, MDB_txn *txn, size_t dbi, cc_view prefix, cc_view from,
	struct db_cursor *ret) CC_MUST_USE;
/* false at the end or on error; *ret_err tells which. */
bool db_next(struct db_cursor *c, cc_err *ret_err);
void db_scan_end(struct db_cursor *c); /* accepts a zeroed one */
