/*
 * What became of a commit, and room for those to come.
 *
 * LMDB syncs the data, then writes one of two meta pages; a transaction counts when that page has its
 * number.  A failure before leaves the environment as it was.  A failure at that page leaves the
 * outcome open, and LMDB refuses the environment from then on: only opening it anew shows what is so.
 *
 * Room is kept as blocks that the file system has given the data file beyond its end.  LMDB grows its
 * file by writing there, and never makes it shorter.
 */
#include "base/db_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define FULL_BELOW    (64u * 1024u)         /* bytes left where there is no room */
#define RESERVE_STEP  (UINT64_C(16) * 1024) /* so that not every operation asks the file system */
#define COPIES        (UINT64_C(2) << 20)   /* pages are copied before old ones are free */
#define OP_OVERHEAD   (UINT64_C(16) * 1024) /* of an operation's own rows and their pages */
#define NOT_TO_BE_HAD UINT64_MAX            /* this file system gives no blocks ahead */

/* ---- why there was no room ---- */

static int data_file(const struct db *d)
{
	mdb_filehandle_t fd = -1;

	return d->env != NULL && mdb_env_get_fd(d->env, &fd) == MDB_SUCCESS ? fd : -1;
}

static bool is_full(const char *dir)
{
	struct statvfs fs;

	return statvfs(dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BELOW;
}

static bool is_over_limit(uint64_t size)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	       size > limit.rlim_cur;
}

/* Blocks beyond what the file has, which cost nothing else: errno tells. */
static int try_blocks(const struct db *d, int fd, uint64_t size)
{
	uint64_t from = d->allocated != NOT_TO_BE_HAD && d->allocated > size ? d->allocated : size;

	return fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, FULL_BELOW) == 0 ? 0 : errno;
}

/* A write that was cut short: LMDB says EIO for it, as it does for a disk that fails. */
static const char *short_write(const struct db *d)
{
	int fd = data_file(d);
	struct stat st;

	if (is_full(d->dir))
		return db_no_room(d, ENOSPC);
	if (fd < 0 || fstat(fd, &st) != 0)
		return NULL;
	if (is_over_limit((uint64_t)st.st_size + FULL_BELOW))
		return db_no_room(d, EFBIG);
	switch (try_blocks(d, fd, (uint64_t)st.st_size)) {
	case ENOSPC:
		return db_no_room(d, ENOSPC);
	case EDQUOT:
		return db_no_room(d, EDQUOT);
	default:
		return NULL;
	}
}

const char *db_no_room(const struct db *d, int rc)
{
	switch (rc) {
	case ENOSPC:
		return "the file system is full";
	case EDQUOT:
		return "the disk quota is used up";
	case EFBIG:
		return "the limit of a file's size (RLIMIT_FSIZE) is reached";
	case EIO:
		return short_write(d);
	default:
		return NULL;
	}
}

/* ---- a commit ---- */

cc_err db_write_begin(struct db *d, MDB_txn **ret)
{
	if (d->env == NULL)
		return cc_fail(CC_IO, "%s: it could not be opened again", d->dir);
	d->growth = 0;
	return db_error(d, mdb_txn_begin(d->env, NULL, 0, ret), "beginning a transaction");
}

/* LMDB finds these before its first write. */
static bool is_unwritten(int rc)
{
	return rc == MDB_MAP_FULL || rc == MDB_TXN_FULL || rc == MDB_BAD_TXN;
}

/* The next to write would have the same number: this one does not count, and that is certain. */
static bool is_next(const struct db *d, size_t id)
{
	MDB_txn *next = NULL;
	bool same;

	if (mdb_txn_begin(d->env, NULL, 0, &next) != MDB_SUCCESS)
		return false;
	same = mdb_txn_id(next) == id;
	mdb_txn_abort(next);
	return same;
}

static void let_in(struct db *d, bool lost)
{
	pthread_mutex_lock(&d->gate->mutex);
	d->gate->opened++;
	d->gate->lost = lost;
	pthread_cond_broadcast(&d->gate->changed);
	pthread_mutex_unlock(&d->gate->mutex);
}

cc_err db_reopen(struct db *d)
{
	cc_err err;

	pthread_rwlock_wrlock(&d->gate->lock);
	db_close_env(d);
	err = db_open_env(d);
	if (err != CC_OK)
		db_close_env(d);
	d->allocated = 0;
	let_in(d, err != CC_OK);
	pthread_rwlock_unlock(&d->gate->lock);
	return err;
}

bool db_await_opened(const struct db *d, uint64_t before)
{
	struct db_gate *g = d->gate;
	bool again;

	pthread_mutex_lock(&g->mutex);
	while (g->opened == before && !g->lost)
		pthread_cond_wait(&g->changed, &g->mutex);
	again = !g->lost;
	pthread_mutex_unlock(&g->mutex);
	return again;
}

/* Opened anew, and flushed with that: is the transaction in it? */
static cc_err look_for(struct db *d, size_t id, bool *ret_there)
{
	MDB_envinfo info;
	cc_err err = CC_OK;

	TRY(db_reopen(d));
	TRY(db_error(d, mdb_env_info(d->env, &info), "mdb_env_info"));
	*ret_there = info.me_last_txnid >= id;
out:
	return err;
}

enum db_outcome db_commit(struct db *d, MDB_txn *txn, cc_err *ret_err)
{
	size_t id = mdb_txn_id(txn);
	int rc = mdb_txn_commit(txn);
	bool there = false;
	enum db_outcome outcome;
	cc_err err = db_error(d, rc, "commit");
	char *why;

	*ret_err = err;
	if (err == CC_OK)
		return DB_COMMITTED;
	if (is_unwritten(rc))
		return DB_TOO_LARGE;
	if (err == CC_FULL && is_next(d, id))
		return DB_NO_ROOM;
	if (rc == EIO && err != CC_FULL) {
		pthread_rwlock_wrlock(&d->gate->lock);
		let_in(d, true);
		pthread_rwlock_unlock(&d->gate->lock);
		return DB_LOST;
	}
	why = cc_strdup(cc_err_detail(err));
	*ret_err = look_for(d, id, &there);
	if (*ret_err != CC_OK) {
		outcome = DB_LOST;
	} else {
		outcome = there ? DB_MENDED : err == CC_FULL ? DB_NO_ROOM : DB_AGAIN;
		*ret_err = cc_fail(err, "%s", why);
	}
	free(why);
	return outcome;
}

/* ---- room ahead ---- */

static uint64_t end_of_pages(const struct db *d)
{
	MDB_envinfo info;
	MDB_stat stat;

	if (mdb_env_info(d->env, &info) != MDB_SUCCESS ||
		mdb_env_stat(d->env, &stat) != MDB_SUCCESS)
		return 0;
	return ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
}

cc_err db_reserve(struct db *d, uint64_t own, uint64_t ahead)
{
	uint64_t wanted;
	int fd = data_file(d);
	cc_err err = CC_OK;

	d->growth += own + OP_OVERHEAD;
	wanted = end_of_pages(d) + d->growth + ahead + COPIES;
	if (wanted <= d->allocated)
		return CC_OK;
	wanted = (wanted + RESERVE_STEP - 1) / RESERVE_STEP * RESERVE_STEP;
	if (wanted > d->map_bytes)
		return db_error(d, MDB_MAP_FULL, "room for what is begun");
	if (is_over_limit(wanted)) /* blocks are given beyond it, and of no use */
		return db_error(d, EFBIG, "room for what is begun");
	/* from the start, the first time: pages that were never written are holes */
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)d->allocated,
		    (off_t)(wanted - d->allocated)) == 0)
		d->allocated = wanted;
	else if (errno == EOPNOTSUPP || errno == ENOSYS)
		d->allocated = NOT_TO_BE_HAD;
	else
		err = db_error(d, errno, "room for what is begun");
	return err;
}

cc_err db_count(const struct db *d, MDB_txn *txn, size_t dbi, uint64_t *ret)
{
	MDB_stat stat;
	cc_err err = CC_OK;

	TRY(db_error(d, mdb_stat(txn, db_dbi(d, dbi), &stat), "mdb_stat"));
	*ret = stat.ms_entries;
out:
	return err;
}
