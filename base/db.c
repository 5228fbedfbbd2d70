/*
 * LMDB, opened the one way that this project opens it, and its errors in our words.
 *
 * LMDB's own lock file guards readers against the writer, not one opener against another: a second
 * environment on the same files in one process breaks its locks.  The LOCK file is for that.
 */
#include "base/db_int.h"

#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define MAP_LEAST (UINT64_C(1) << 30)

static MDB_val val_of(cc_view v)
{
	/* MDB_val has no const; LMDB does not write through a key or a value that it is given */
	return (MDB_val){v.size, (void *)(uintptr_t)v.data};
}

static cc_view view_of(MDB_val v)
{
	return cc_view_of(v.mv_data, v.mv_size);
}

MDB_env *db_env(const struct db *d)
{
	return d->env;
}

MDB_dbi db_dbi(const struct db *d, size_t index)
{
	assert(index < d->count);
	return d->dbis[index];
}

const char *db_dir(const struct db *d)
{
	return d->dir;
}

/* ---- errors ---- */

static cc_err code_of(int rc)
{
	switch (rc) {
	case MDB_NOTFOUND:
		return CC_NOT_FOUND;
	case MDB_KEYEXIST:
		return CC_CONFLICT;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
		return CC_FULL;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
		return CC_CORRUPT;
	case MDB_BAD_VALSIZE:
		return CC_TOO_LARGE;
	case MDB_READERS_FULL:
		return CC_BUSY;
	case EACCES:
	case EPERM:
		return CC_PERMISSION;
	default:
		/* MDB_PANIC and the system's other errors; the rest are our own mistakes. */
		return rc > 0 || rc == MDB_PANIC ? CC_IO : CC_INTERNAL;
	}
}

cc_err db_error(const struct db *d, int rc, const char *what)
{
	const char *no_room;

	if (rc == MDB_SUCCESS)
		return CC_OK;
	no_room = db_no_room(d, rc);
	if (no_room != NULL)
		return cc_fail(CC_FULL, "%s: %s: %s", d->dir, what, no_room);
	return cc_fail(code_of(rc), "%s: %s: %s", d->dir, what, mdb_strerror(rc));
}

/* ---- open and close ---- */

static cc_err lock_dir(const char *dir, int *ret_fd)
{
	char *path = file_join(dir, "LOCK");
	int fd = -1;
	cc_err err = CC_OK;

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	ENSURE(fd >= 0, cc_fail_errno(path));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		ENSURE(errno == EWOULDBLOCK, cc_fail_errno(path));
		err = cc_fail(CC_LOCKED, "%s: another process has it open", dir);
		goto out;
	}
	*ret_fd = fd;
	fd = -1;
out:
	if (fd >= 0)
		close(fd);
	free(path);
	return err;
}

static cc_err try_env(struct db *d, int *ret_rc)
{
	cc_err err = CC_OK;

	TRY(db_error(d, mdb_env_create(&d->env), "mdb_env_create"));
	TRY(db_error(d, mdb_env_set_userctx(d->env, d), "mdb_env_set_userctx"));
	TRY(db_error(d, mdb_env_set_mapsize(d->env, d->map_bytes), "reserving address space"));
	TRY(db_error(d, mdb_env_set_maxdbs(d->env, (MDB_dbi)d->count), "mdb_env_set_maxdbs"));
	/* NOTLS: a read transaction belongs to its owner, not to the thread that began it. */
	*ret_rc = mdb_env_open(d->env, d->dir, MDB_NORDAHEAD | MDB_NOTLS, 0600);
	TRY(db_error(d, *ret_rc, "opening"));
out:
	return err;
}

void db_close_env(struct db *d)
{
	if (d->env != NULL)
		mdb_env_close(d->env);
	d->env = NULL;
}

static cc_err open_dbis(struct db *d)
{
	MDB_txn *txn = NULL;
	cc_err err = CC_OK;

	TRY(db_error(d, mdb_txn_begin(d->env, NULL, 0, &txn), "the first transaction"));
	for (size_t i = 0; i < d->count; i++)
		TRY(db_error(
			d, mdb_dbi_open(txn, d->names[i], MDB_CREATE, &d->dbis[i]), d->names[i]));
	err = db_error(d, mdb_txn_commit(txn), "the first commit");
	txn = NULL;
out:
	mdb_txn_abort(txn);
	return err;
}

/* Where so much address space is not to be had (a limit of the process, an emulator) less has to do.
 * What is found may be in the page cache only: the meta page that a writer before left there, or put back
 * when a commit failed.  It is flushed before anybody reads it, and before a page is used again that the
 * disk's own meta page may still name. */
cc_err db_open_env(struct db *d)
{
	int rc = 0;
	cc_err err = try_env(d, &rc);

	while ((rc == EINVAL || rc == ENOMEM) && d->map_bytes / 2 >= MAP_LEAST) {
		d->map_bytes /= 2;
		db_close_env(d);
		rc = 0;
		err = try_env(d, &rc);
	}
	TRY(err);
	TRY(open_dbis(d));
	TRY(db_error(d, mdb_env_sync(d->env, 1), "flushing"));
out:
	return err;
}

cc_err db_open(const char *dir, uint64_t map_bytes, const char *const *names, size_t count,
	struct db **ret)
{
	struct db *d = cc_alloc(sizeof(*d));
	cc_err err = CC_OK;

	d->lock = -1;
	d->dir = cc_strdup(dir);
	d->names = names;
	d->count = count;
	d->map_bytes = map_bytes;
	d->dbis = cc_alloc((count + 1) * sizeof(*d->dbis));
	d->gate = cc_alloc(sizeof(*d->gate));
	pthread_rwlock_init(&d->gate->lock, NULL);
	pthread_mutex_init(&d->gate->mutex, NULL);
	pthread_cond_init(&d->gate->changed, NULL);
	signal(SIGXFSZ, SIG_IGN);
	TRY(file_make_dir(dir, 0700));
	TRY(lock_dir(dir, &d->lock));
	TRY(db_open_env(d));
	*ret = d;
	d = NULL;
out:
	db_close(d);
	return err;
}

void db_close(struct db *d)
{
	if (d == NULL)
		return;
	db_close_env(d);
	if (d->lock >= 0)
		close(d->lock);
	pthread_rwlock_destroy(&d->gate->lock);
	pthread_mutex_destroy(&d->gate->mutex);
	pthread_cond_destroy(&d->gate->changed);
	free(d->gate);
	free(d->dbis);
	free(d->dir);
	free(d);
}

static uint64_t pages_of(const MDB_stat *s)
{
	return (uint64_t)s->ms_branch_pages + s->ms_leaf_pages + s->ms_overflow_pages;
}

uint64_t db_used_bytes(const struct db *d)
{
	MDB_txn *txn = NULL;
	MDB_stat stat;
	uint64_t used = 0;
	cc_err err = CC_OK;

	TRY(db_read_begin(d, &txn));
	for (size_t i = 0; i < d->count; i++) {
		TRY(db_error(d, mdb_stat(txn, d->dbis[i], &stat), "mdb_stat"));
		used += pages_of(&stat) * stat.ms_psize;
	}
out:
	db_read_end(txn);
	return err == CC_OK ? used : 0;
}

/* ---- access ---- */

cc_err db_read_begin(const struct db *d, MDB_txn **ret)
{
	uint64_t opened;
	int rc;

	do {
		pthread_rwlock_rdlock(&d->gate->lock);
		opened = d->gate->opened;
		rc = d->env == NULL ? MDB_PANIC : mdb_txn_begin(d->env, NULL, MDB_RDONLY, ret);
		if (rc == MDB_SUCCESS)
			return CC_OK;
		pthread_rwlock_unlock(&d->gate->lock);
	} while (rc == MDB_PANIC && db_await_opened(d, opened));
	return db_error(d, rc, "a read transaction");
}

void db_read_end(MDB_txn *txn)
{
	const struct db *d;

	if (txn == NULL)
		return;
	d = mdb_env_get_userctx(mdb_txn_env(txn));
	mdb_txn_abort(txn);
	pthread_rwlock_unlock(&d->gate->lock);
}

cc_err db_get(const struct db *d, MDB_txn *txn, size_t dbi, cc_view key, cc_view *ret)
{
	MDB_val k = val_of(key);
	MDB_val v;
	cc_err err = CC_OK;

	TRY(db_error(d, mdb_get(txn, db_dbi(d, dbi), &k, &v), "reading"));
	*ret = view_of(v);
out:
	return err;
}

static cc_err put(
	const struct db *d, MDB_txn *txn, size_t dbi, cc_view key, cc_view value, unsigned flags)
{
	MDB_val k = val_of(key);
	MDB_val v = val_of(value);

	return db_error(d, mdb_put(txn, db_dbi(d, dbi), &k, &v, flags), "writing");
}

cc_err db_put(const struct db *d, MDB_txn *txn, size_t dbi, cc_view key, cc_view value)
{
	return put(d, txn, dbi, key, value, 0);
}

cc_err db_put_new(const struct db *d, MDB_txn *txn, size_t dbi, cc_view key, cc_view value)
{
	return put(d, txn, dbi, key, value, MDB_NOOVERWRITE);
}

cc_err db_delete(const struct db *d, MDB_txn *txn, size_t dbi, cc_view key)
{
	MDB_val k = val_of(key);
	int rc = mdb_del(txn, db_dbi(d, dbi), &k, NULL);

	return db_error(d, rc == MDB_NOTFOUND ? MDB_SUCCESS : rc, "deleting");
}

/* ---- scans ---- */

cc_err db_scan(const struct db *d, MDB_txn *txn, size_t dbi, cc_view prefix, cc_view from,
	struct db_cursor *ret)
{
	struct db_cursor c = {.prefix = prefix, .key = from.size > 0 ? from : prefix, .db = d};
	cc_err err = CC_OK;

	TRY(db_error(d, mdb_cursor_open(txn, db_dbi(d, dbi), &c.cursor), "a cursor"));
	*ret = c;
out:
	return err;
}

bool db_next(struct db_cursor *c, cc_err *ret_err)
{
	MDB_cursor_op op = MDB_NEXT;
	MDB_val k = val_of(c->key);
	MDB_val v = {0};
	int rc;

	/* The first call: `key` still holds where to start, which may be anywhere. */
	if (!c->started)
		op = c->key.size > 0 ? MDB_SET_RANGE : MDB_FIRST;
	c->started = true;
	rc = mdb_cursor_get(c->cursor, &k, &v, op);
	*ret_err = db_error(c->db, rc == MDB_NOTFOUND ? MDB_SUCCESS : rc, "scanning");
	if (rc != MDB_SUCCESS)
		return false;
	c->key = view_of(k);
	c->value = view_of(v);
	return c->key.size >= c->prefix.size &&
	       cc_view_equal(cc_view_part(c->key, 0, c->prefix.size), c->prefix);
}

void db_scan_end(struct db_cursor *c)
{
	if (c->cursor != NULL)
		mdb_cursor_close(c->cursor);
	c->cursor = NULL;
}
