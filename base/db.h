/*
 * An LMDB environment, opened the one way that this project opens them.
 *
 * One process has it open, once: a LOCK file beside it is held by flock (CC_LOCKED otherwise), so
 * another program asks the owner's socket instead.  The address space is reserved at open, less of it
 * (at least 1 GiB) where the system does not give so much; the directory is made 0700; what is found is
 * flushed before it is read.  MDB_NOSYNC and MDB_NOMETASYNC are never set.  Not for a process that
 * forks.
 *
 * Reads: any thread, short.  A read transaction holds the environment open: where a failed commit has it
 * opened anew, that waits for the reads under way, and those that come wait for it.  So no read stays
 * open while its thread writes, or over a turn of a loop.  Writes: only in the environment's one writing
 * thread, which is its committer's (base/committer.h) where it has one.
 *
 * SIGXFSZ is ignored from the first db_open on: a limit of the file's size is an error like a full disk.
 */
#pragma once

#include "base/blob.h"
#include <lmdb.h>

struct db; /* opaque */

/* `names`: the named databases, made when they are not there; db_dbi(i) follows this order.  Kept by
 * reference. */
cc_err db_open(const char *dir, uint64_t map_bytes, const char *const *names, size_t count,
	struct db **ret) CC_MUST_USE;
void db_close(struct db *d);         /* accepts NULL */
MDB_env *db_env(const struct db *d); /* the writing thread's, and until it is opened anew */
MDB_dbi db_dbi(const struct db *d, size_t index);
const char *db_dir(const struct db *d);
/* Bytes of the pages that hold data now; the file may be larger.  0 when it cannot be told. */
uint64_t db_used_bytes(const struct db *d);

/* MDB_* and errno to ours.  LMDB's EIO is CC_FULL where a full file system, a quota or RLIMIT_FSIZE cut a
 * write short, and named as that; else CC_IO. */
cc_err db_error(const struct db *d, int rc, const char *what);

/* ---- the writing thread ---- */

/* What became of a commit.  The first two leave the environment as it was, with nothing changed. */
enum db_outcome {
	DB_TOO_LARGE, /* found before anything was written */
	DB_NO_ROOM,   /* CC_FULL: the same may succeed when there is room */
	DB_COMMITTED,
	DB_MENDED, /* it failed; opened anew, and it is there, and flushed */
	DB_AGAIN,  /* it failed; opened anew, and it is not there: apply it again, once */
	DB_LOST,   /* nobody can tell, or the disk fails: end the process */
};

cc_err db_write_begin(struct db *d, MDB_txn **ret) CC_MUST_USE;
/* Ends `txn`.  *ret_err: CC_OK with DB_COMMITTED; with DB_MENDED and the others why it failed. */
enum db_outcome db_commit(struct db *d, MDB_txn *txn, cc_err *ret_err);
/* Close and open: when a transaction cannot be begun.  Everything of the old one is void. */
cc_err db_reopen(struct db *d) CC_MUST_USE;
/* In a transaction that admits something: `own` bytes are what it writes now, `ahead` is what all that is
 * admitted will still need.  CC_FULL when the file system does not give that much; nothing else can take
 * what it gave.  Kept for the environment as a whole, and until it is used. */
cc_err db_reserve(struct db *d, uint64_t own, uint64_t ahead) CC_MUST_USE;

/* A read transaction.  Views that db_get gives are valid until db_read_end. */
cc_err db_read_begin(const struct db *d, MDB_txn **ret) CC_MUST_USE;
void db_read_end(MDB_txn *txn);

/* Entries of a database. */
cc_err db_count(const struct db *d, MDB_txn *txn, size_t dbi, uint64_t *ret) CC_MUST_USE;

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
