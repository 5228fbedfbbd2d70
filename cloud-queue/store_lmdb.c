/*
 * The embedded store: opening it, and an operation's way through the committer.
 *
 * One environment, one committer.  An operation is applied inside the committer's transaction by the
 * function of its name in the other store_lmdb_*.c files; the counters of the tenant and the clock's
 * high-water mark are written at its end.
 */
#include "cloud-queue/store_lmdb.h"

#include <stdlib.h>

enum {
	CLOCK_STORED_EVERY_MS = 1000,
	POOL_PAGES = 256,
	PAGE_VALUE = 3000, /* too large for a place beside others: a page for each */
};

static const char *const tables[T_COUNT] = {
	[T_META] = "meta",
	[T_TENANT] = "tenant",
	[T_JOB] = "job",
	[T_FACTS] = "facts",
	[T_END] = "end",
	[T_BLOB] = "blob",
	[T_READY] = "ready",
	[T_TIMER] = "timer",
	[T_ATTEMPT] = "attempt",
	[T_CLAIM] = "claim",
	[T_HELD] = "held",
	[T_CONN] = "conn",
	[T_SESSION] = "session",
	[T_CAPS] = "caps",
	[T_ROUTE] = "route",
	[T_LIST] = "list",
	[T_EVENT] = "event",
	[T_QUOTA] = "quota",
	[T_SIGNER] = "signer",
	[T_TOKEN] = "token",
	[T_ENROL] = "enrol",
	[T_PFX] = "pfx",
	[T_REPEAT] = "repeat",
	[T_LOST] = "lost",
};

#define X(name)                                                                                    \
	static cc_err run_##name(struct store_tx *x)                                               \
	{                                                                                          \
		return store_lmdb_##name(x, x->op->in, x->op->out);                                \
	}
STORE_OPS(X)
#undef X

static cc_err (*const run[STORE_OP_COUNT])(struct store_tx *) = {
#define X(name) [STORE_OP_##name] = run_##name,
	STORE_OPS(X)
#undef X
};

/* The mark lets a later run start its clock where this one was; once a second is enough.  How old it is
 * is read, not remembered: the transaction that wrote it may not have been committed. */
static cc_err mark_clock(struct store_tx *x)
{
	uint64_t mark;
	cc_err err = CC_OK;

	TRY(store_row_find_u64(x, "clock", &mark));
	if (x->now - (int64_t)mark >= CLOCK_STORED_EVERY_MS || x->now < (int64_t)mark)
		TRY(store_row_put_u64(x, "clock", (uint64_t)x->now));
out:
	return err;
}

/* Only operations that change jobs need the mark; reads stay free of writes. */
static bool marks_clock(enum store_op_id id)
{
	return id == STORE_OP_enqueue || id == STORE_OP_enqueue_all || id == STORE_OP_lease ||
	       id == STORE_OP_extend || id == STORE_OP_complete || id == STORE_OP_sweep;
}

static cc_err apply(struct db *d, MDB_txn *txn, void *arg)
{
	struct store_op *op = arg;
	struct store_lmdb *s = (struct store_lmdb *)op->store;
	struct store_tx x = {.s = s,
		.config = &s->base.config,
		.txn = txn,
		.op = op,
		.mem = &op->out_mem,
		.now = store_clock_now(&s->clock)};
	cc_err err = CC_OK;

	(void)d;
	store_op_begin(op);
	if (op->refused != CC_OK)
		return CC_OK;
	TRY(run[op->id](&x));
	TRY(store_quota_flush(&x));
	TRY(store_aside_flush(&x));
	if (marks_clock(op->id))
		TRY(mark_clock(&x));
	ENSURE(!op->fail_for_test, cc_fail(CC_IO, "store: failed for a test"));
out:
	return err;
}

static void finished(void *arg, cc_err err)
{
	struct store_op *op = arg;
	store_op_finish(op, err == CC_OK ? op->refused : err);
}

static void died(void *arg, cc_err err)
{
	struct store_lmdb *s = arg;
	if (s->fatal != NULL)
		s->fatal(s->fatal_arg, err);
}

static void driver_submit(struct store *s, struct store_op *op)
{
	committer_submit(((struct store_lmdb *)s)->committer, apply, finished, op);
}

static size_t driver_waiting(const struct store *s)
{
	return committer_waiting(((const struct store_lmdb *)s)->committer);
}

static int64_t driver_now(struct store *s)
{
	return store_clock_now(&((struct store_lmdb *)s)->clock);
}

static void driver_stop(struct store *s)
{
	committer_stop(((struct store_lmdb *)s)->committer);
}

static void driver_free(struct store *base)
{
	struct store_lmdb *s = (struct store_lmdb *)base;
	db_close(s->db);
	store_clock_end(&s->clock);
	free(s);
}

static const struct store_driver driver = {
	.submit = driver_submit,
	.waiting = driver_waiting,
	.now_ms = driver_now,
	.stop = driver_stop,
	.free = driver_free,
};

/* LMDB takes the page buffers of a transaction from a pool that it never gives back.  It is filled here to
 * what a few dozen operations need in a large store: otherwise it grows by and by to the same size, with
 * buffers that lie between what comes and goes and keep its memory from being used again.  A transaction
 * that needs more still gets it.  Nothing of this one stays, and no room for all of it is no failure. */
static void fill_page_pool(struct store_lmdb *s)
{
	static const uint8_t page[PAGE_VALUE];
	MDB_txn *txn = NULL;
	cc_err err = CC_OK;

	if (mdb_txn_begin(db_env(s->db), NULL, 0, &txn) != 0)
		return; /* the committer meets that too, and tells it */
	for (uint64_t i = 0; i < POOL_PAGES && err == CC_OK; i++) {
		struct store_dbkey key = {.size = 0};
		store_key_add_u64(&key, i);
		err = db_put(
			s->db, txn, T_META, store_key_view(&key), cc_view_of(page, sizeof(page)));
	}
	mdb_txn_abort(txn);
}

cc_err store_lmdb_open(struct loop *l, const char *dir, const struct store_config *config,
	store_fatal_fn fatal, void *fatal_arg, struct store **ret)
{
	struct store_lmdb *s = cc_alloc(sizeof(*s));
	cc_err err = CC_OK;

	s->base.driver = &driver;
	store_config_fill(config, &s->base.config);
	s->fatal = fatal;
	s->fatal_arg = fatal_arg;
	store_clock_start(&s->clock, s->base.config.lease_ms);
	TRY(db_open(dir, s->base.config.map_bytes, tables, T_COUNT, &s->db));
	TRY(store_lmdb_begin_life(s));
	fill_page_pool(s);
	TRY(committer_start(s->db, l, died, s, &s->committer));
	committer_name_points(s->committer, CRASH_QUEUE_BEFORE_COMMIT, CRASH_QUEUE_AFTER_COMMIT);
	*ret = &s->base;
	s = NULL;
out:
	if (s != NULL)
		driver_free(&s->base);
	return err;
}
