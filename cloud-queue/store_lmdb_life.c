/*
 * The embedded store: the first transactions of its life in this process, before the committer runs.
 *
 * Here it is found out whether the store went back in time: a copy of its file is not the file that
 * was written to last, and an operator may say so where that cannot be seen (a snapshot of a disk, a
 * file that was overwritten).  Such a store gets a new generation: connectors are taken back with
 * whatever nonce their journal has, bring what they finished meanwhile (store_lmdb_offer.c), and
 * nobody gets work and nothing expires until all of them did, or had the time for it.
 *
 * The clock of the store never goes back by itself.  Where realtime was once far ahead, an operator
 * has it start from realtime again; times that only the wrong clock can have made are put right.
 */
#include "cloud-queue/store_lmdb.h"

#include "base/clock.h"
#include "base/hash.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { FORMAT = 1, PAGE = 1000 };
static const int64_t PARKED_MAX_MS =
	(int64_t)60 * 86400 * 1000; /* longer than a connector may ask */

/* ---- the file ---------------------------------------------------------------------------------- */

/* What tells this file from a copy of it: never 0. */
static cc_err read_file_mark(const struct store_lmdb *s, uint64_t *ret)
{
	char *path = cc_asprintf("%s/data.mdb", db_dir(s->db));
	struct statx file;
	uint8_t digest[SHA256_SIZE];
	uint64_t parts[3];
	cc_err err = CC_OK;

	ENSURE(statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &file) == 0,
		cc_fail_errno(path));
	parts[0] = file.stx_ino;
	parts[1] = (file.stx_mask & STATX_BTIME) != 0 ? (uint64_t)file.stx_btime.tv_sec : 0;
	parts[2] = (file.stx_mask & STATX_BTIME) != 0 ? file.stx_btime.tv_nsec : 0;
	hash_sha256(cc_view_of(parts, sizeof(parts)), digest);
	*ret = cc_get_u64(digest) | 1;
out:
	free(path);
	return err;
}

/* ---- what the store is -------------------------------------------------------------------------- */

static cc_err check_format(struct store_tx *x)
{
	uint64_t format;
	cc_err err = CC_OK;

	TRY(store_row_find_u64(x, "format", &format));
	if (format == 0)
		TRY(store_row_put_u64(x, "format", FORMAT));
	else
		ENSURE(format == FORMAT,
			cc_fail(CC_VERSION, "store: format %llu is not one that this program knows",
				(unsigned long long)format));
out:
	return err;
}

/* Each connector is taken back once with any nonce that its journal has. */
static bool forgive_nonce(const struct store_tx *x, void *message)
{
	Queue__Session *session = message;

	(void)x;
	session->restored = true;
	return true;
}

static cc_err load_generation(struct store_tx *x)
{
	uint64_t generation, file = 0, known;
	cc_err err = CC_OK;

	TRY(read_file_mark(x->s, &file));
	TRY(store_row_find_u64(x, "file", &known));
	TRY(store_row_find_u64(x, "generation", &generation));
	x->s->base.went_back =
		generation != 0 && (x->config->new_generation || (known != 0 && known != file));
	if (known != file)
		TRY(store_row_put_u64(x, "file", file));
	if (generation == 0 || x->s->base.went_back) {
		generation = random_below(UINT64_MAX - 1) + 1;
		TRY(store_row_put_u64(x, "generation", generation));
	}
	x->s->base.generation = generation;
	if (x->s->base.went_back) {
		TRY(store_row_each(x, T_SESSION, &queue__session__descriptor, forgive_nonce));
		TRY(store_row_put_u64(
			x, "restored_until", (uint64_t)(x->now + x->config->restored_wait_ms)));
	}
out:
	return err;
}

/* ---- a clock that starts from realtime again ----------------------------------------------------- */

static void not_after(int64_t *time, int64_t latest)
{
	if (*time > latest)
		*time = latest;
}

static void reset_header(const struct store_tx *x, Queue__JobHeader *h)
{
	int64_t end = h->not_after_ms > x->now ? h->not_after_ms : x->now;

	not_after(&h->created_ms, x->now);
	not_after(&h->changed_ms, x->now);
	not_after(&h->finished_ms, x->now);
	not_after(&h->held_since_ms, x->now);
	if (h->run_at_ms > x->now + STORE_DELAY_MAX_MS)
		h->run_at_ms = x->now;
	not_after(&h->lease_until_ms, x->now + x->config->lease_ms);
	not_after(&h->deadline_ms, h->state == STORE_PARKED
					   ? x->now + PARKED_MAX_MS + x->config->deadline_grace_ms
					   : end + x->config->deadline_grace_ms);
	for (size_t i = 0; i < h->n_excluded; i++)
		not_after(&h->excluded[i]->until_ms, x->now + x->config->exclude_ms);
}

static bool reset_session(const struct store_tx *x, void *message)
{
	Queue__Session *session = message;

	not_after(&session->closed_ms, x->now);
	not_after(&session->seen_ms, x->now);
	return true;
}

static bool reset_route(const struct store_tx *x, void *message)
{
	Queue__Route *route = message;

	not_after(&route->unserved_since_ms, x->now);
	return true;
}

/* One page of jobs from `from` on; *ret_next is empty when that was all. */
static cc_err reset_jobs(
	struct store_tx *x, const struct store_dbkey *from, struct store_dbkey *ret_next)
{
	struct store_dbkey all = {.size = 0};
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_row_scan(x, T_JOB, &all, from->size > 0 ? from : NULL, PAGE, &rows, &count));
	for (size_t i = 0; i < count; i++) {
		cc_view rest = rows[i].key, tenant, id;
		struct store_job_row j;
		TRY(store_key_take_name(&rest, &tenant));
		TRY(store_key_take(&rest, STORE_JOB_ID_SIZE, &id));
		TRY(store_job_find(x, tenant, id, &j));
		reset_header(x, j.h);
		TRY(store_job_save(x, &j));
	}
	ret_next->size = 0;
	if (count == PAGE) {
		store_key_add(ret_next, rows[count - 1].key);
		store_key_add_u8(ret_next, 0);
	}
	TRY(store_quota_flush(x));
out:
	return err;
}

/* ---- what open jobs have set aside --------------------------------------------------------------- */

struct tally {
	struct store_dbkey place;
	uint64_t aside;
	bool over;
};

/* A store of an earlier release: one page of its jobs a transaction. */
static cc_err count_page(struct store_tx *x, void *arg)
{
	struct tally *t = arg;
	struct store_dbkey all = {.size = 0};
	struct store_row *rows;
	size_t count;
	uint64_t known;
	cc_err err = CC_OK;

	TRY(store_row_find_u64(x, "aside", &known));
	t->over = known != 0;
	if (t->over)
		return CC_OK;
	TRY(store_row_scan(
		x, T_JOB, &all, t->place.size > 0 ? &t->place : NULL, PAGE, &rows, &count));
	for (size_t i = 0; i < count; i++) {
		Queue__JobHeader *h;
		TRY(store_row_unpack(x, &queue__job_header__descriptor, rows[i].value, &h));
		t->aside += h->reserve;
	}
	t->place.size = 0;
	if (count == PAGE) {
		store_key_add(&t->place, rows[count - 1].key);
		store_key_add_u8(&t->place, 0);
	} else {
		TRY(store_row_put_u64(x, "aside", t->aside + 1));
	}
out:
	return err;
}

/* ---- transactions ------------------------------------------------------------------------------- */

typedef cc_err (*life_step)(struct store_tx *x, void *arg);

static cc_err in_transaction(struct store_lmdb *s, life_step step, void *arg)
{
	struct store_mem mem = {0};
	struct store_tx x = {
		.s = s, .config = &s->base.config, .mem = &mem, .now = store_clock_now(&s->clock)};
	cc_err err = CC_OK;

	int rc = mdb_txn_begin(db_env(s->db), NULL, 0, &x.txn);
	ENSURE(rc == 0, db_error(s->db, rc, "begin"));
	TRY(step(&x, arg));
	rc = mdb_txn_commit(x.txn);
	x.txn = NULL;
	ENSURE(rc == 0, db_error(s->db, rc, "commit"));
out:
	if (x.txn != NULL)
		mdb_txn_abort(x.txn);
	store_mem_clear(&mem);
	return err;
}

static cc_err read_clock(struct store_tx *x, void *arg)
{
	(void)arg;
	uint64_t mark;
	cc_err err = CC_OK;

	TRY(check_format(x));
	TRY(store_row_find_u64(x, "clock", &mark));
	if (!x->config->reset_clock)
		store_clock_raise(&x->s->clock, (int64_t)mark);
out:
	return err;
}

static cc_err reset_page(struct store_tx *x, void *arg)
{
	struct store_dbkey *place = arg;
	struct store_dbkey next = {.size = 0};
	cc_err err = CC_OK;

	TRY(reset_jobs(x, place, &next));
	*place = next;
out:
	return err;
}

static cc_err reset_rest(struct store_tx *x, void *arg)
{
	uint64_t until;
	cc_err err = CC_OK;

	(void)arg;
	TRY(store_row_each(x, T_SESSION, &queue__session__descriptor, reset_session));
	TRY(store_row_each(x, T_ROUTE, &queue__route__descriptor, reset_route));
	TRY(store_row_find_u64(x, "restored_until", &until));
	if ((int64_t)until > x->now)
		TRY(store_row_put_u64(
			x, "restored_until", (uint64_t)(x->now + x->config->restored_wait_ms)));
out:
	return err;
}

/* The mark is written last: until then a reset that was broken off is simply done again. */
static cc_err reset_clock(struct store_lmdb *s)
{
	struct store_dbkey place = {.size = 0};
	cc_err err = CC_OK;

	do {
		TRY(in_transaction(s, reset_page, &place));
	} while (place.size > 0);
	TRY(in_transaction(s, reset_rest, NULL));
out:
	return err;
}

/* No session survives, the clock goes on where it was. */
static cc_err begin(struct store_tx *x, void *arg)
{
	uint64_t until;
	cc_err err = CC_OK;

	(void)arg;
	TRY(load_generation(x));
	TRY(store_session_close_all(x));
	TRY(store_row_find_u64(x, "restored_until", &until));
	TRY(store_row_put_u64(x, "clock", (uint64_t)x->now));
	x->s->restored_until_ms = (int64_t)until;
out:
	return err;
}

cc_err store_lmdb_begin_life(struct store_lmdb *s)
{
	struct tally tally = {.over = false};
	cc_err err = CC_OK;

	TRY(in_transaction(s, read_clock, NULL));
	if (s->base.config.reset_clock)
		TRY(reset_clock(s));
	while (!tally.over)
		TRY(in_transaction(s, count_page, &tally));
	TRY(in_transaction(s, begin, NULL));
out:
	return err;
}
