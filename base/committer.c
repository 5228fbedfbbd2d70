/*
 * The committer's thread, and the way of an operation through it: gathered in the loop's queue,
 * taken as a batch, applied and committed, posted, done in the loop.  One mutex guards the two lists;
 * a batch that is being worked on belongs to the thread alone.
 */
#include "base/committer.h"

#include "base/log.h"
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define BATCH_MAX 256 /* beyond this latency grows and nothing is won */
#define HOLD_S    1   /* between two looks for room */

struct op {
	struct op *next;
	commit_apply apply;
	commit_done done;
	void *arg;
	cc_err err;
	char *detail; /* of err: details live in the thread where they arise */
};

struct op_list {
	struct op *first, *last;
};

struct committer {
	struct db *db;
	struct loop_wake *wake;
	pthread_t thread;
	bool thread_runs;
	enum crashpoint before, after; /* a commit */
	bool holds;                    /* until there is room */

	/* the thread's */
	bool waits_for_room; /* told */
	bool failed;         /* the last commit did, and was looked into */

	commit_fatal fatal;
	void *fatal_arg;
	commit_drop drop;
	loop_fn on_batch;
	void *on_batch_arg;
	size_t waiting; /* loop's thread */
	bool posting;   /* loop's thread: inside the callbacks */
	bool fatal_called;

	pthread_mutex_t mutex;
	pthread_cond_t changed;
	/* under the mutex */
	struct op_list gathered, posted;
	bool stopping;
	uint64_t commits;
	cc_err broken; /* a commit failed: nothing is tried any more */
	char *broken_detail;
};

static void list_append(struct op_list *to, struct op *op)
{
	op->next = NULL;
	if (to->last != NULL)
		to->last->next = op;
	else
		to->first = op;
	to->last = op;
}

static struct op *list_take(struct op_list *from)
{
	struct op *op = from->first;

	if (op == NULL)
		return NULL;
	from->first = op->next;
	if (from->first == NULL)
		from->last = NULL;
	return op;
}

static void free_op(struct op *op)
{
	free(op->detail);
	free(op);
}

/* Nobody is told any more; the owners get back what they handed over. */
static void drop_list(struct op_list *list, commit_drop drop)
{
	struct op *op;

	while ((op = list_take(list)) != NULL) {
		if (drop != NULL)
			drop(op->arg);
		free_op(op);
	}
}

static void set_result(struct op *op, cc_err err)
{
	free(op->detail);
	op->err = err;
	op->detail = err == CC_OK ? NULL : cc_strdup(cc_err_detail(err));
}

static void lock(struct committer *c)
{
	pthread_mutex_lock(&c->mutex);
}

static void unlock(struct committer *c)
{
	pthread_mutex_unlock(&c->mutex);
}

/* ---- the thread ---- */

enum outcome {
	COMMITTED,
	REFUSED, /* nothing happened, and it is the operation's own fault */
	NO_ROOM, /* nothing happened */
	AGAIN,   /* it is not there after a failure; the environment is new */
	BROKEN,  /* nobody can tell, or it is the second failure */
};

static enum outcome broken(struct committer *c, cc_err err)
{
	lock(c);
	c->broken = err;
	c->broken_detail = cc_strdup(cc_err_detail(err));
	unlock(c);
	return BROKEN;
}

static enum outcome failed(struct committer *c, cc_err err)
{
	if (c->failed)
		return broken(c, err);
	c->failed = true;
	return AGAIN;
}

static enum outcome committed(struct committer *c)
{
	crashpoint_pass(c->after);
	c->failed = false;
	if (c->waits_for_room)
		log_event(EV_COMMIT_GOES_ON, LV_TEXT("store", db_dir(c->db)));
	c->waits_for_room = false;
	lock(c);
	c->commits++;
	unlock(c);
	return COMMITTED;
}

static enum outcome commit(struct committer *c, MDB_txn *txn, cc_err *ret_err)
{
	cc_err err = CC_OK;
	enum db_outcome outcome;

	crashpoint_pass(c->before);
	outcome = db_commit(c->db, txn, &err);
	*ret_err = err;
	if (outcome == DB_MENDED || outcome == DB_AGAIN)
		log_event(EV_COMMIT_FAILED, LV_TEXT("store", db_dir(c->db)), LV_ERR(err));
	switch (outcome) {
	case DB_COMMITTED:
	case DB_MENDED:
		return committed(c);
	case DB_TOO_LARGE:
		return REFUSED;
	case DB_NO_ROOM:
		return NO_ROOM;
	case DB_AGAIN:
		return failed(c, err);
	case DB_LOST:
		break;
	}
	return broken(c, err);
}

/* No transaction lies between: it is opened anew and begun again. */
static enum outcome cannot_begin(struct committer *c, cc_err err)
{
	char *why = cc_strdup(cc_err_detail(err));
	enum outcome outcome;
	cc_err opened;

	log_event(EV_COMMIT_FAILED, LV_TEXT("store", db_dir(c->db)), LV_ERR(err));
	opened = db_reopen(c->db);
	if (opened != CC_OK)
		outcome = broken(c, opened);
	else
		outcome = failed(c, cc_fail(err, "%s", why));
	free(why);
	return outcome;
}

/* Apply `first` and what follows it up to `end` (exclusive) as one transaction. */
static enum outcome try_range(
	struct committer *c, struct op *first, struct op *end, cc_err *ret_err)
{
	MDB_txn *txn = NULL;
	cc_err err = db_write_begin(c->db, &txn);

	if (err != CC_OK)
		return cannot_begin(c, err);
	for (struct op *op = first; op != end; op = op->next) {
		err = op->apply(c->db, txn, op->arg);
		if (err != CC_OK) {
			mdb_txn_abort(txn);
			*ret_err = err;
			return REFUSED;
		}
	}
	return commit(c, txn, ret_err);
}

/* What failed once, and is known not to be there, is applied again at once. */
static enum outcome commit_range(
	struct committer *c, struct op *first, struct op *end, cc_err *ret_err)
{
	enum outcome outcome = try_range(c, first, end, ret_err);

	return outcome == AGAIN ? try_range(c, first, end, ret_err) : outcome;
}

/* False: the owner wants to stop, and does not wait for room. */
static bool wait_for_room(struct committer *c, cc_err err)
{
	struct timespec until;
	bool goes_on;

	if (!c->waits_for_room)
		log_event(EV_COMMIT_WAITS, LV_TEXT("store", db_dir(c->db)), LV_ERR(err));
	c->waits_for_room = true;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += HOLD_S;
	lock(c);
	while (!c->stopping && pthread_cond_timedwait(&c->changed, &c->mutex, &until) != ETIMEDOUT)
		; /* more was gathered */
	goes_on = !c->stopping;
	unlock(c);
	return goes_on;
}

/* One operation, for as long as it takes where the owner wants that. */
static enum outcome commit_one(struct committer *c, struct op *op, cc_err *ret_err)
{
	enum outcome outcome = commit_range(c, op, op->next, ret_err);

	while (outcome == NO_ROOM && c->holds) {
		if (!wait_for_room(c, *ret_err))
			return broken(c, *ret_err); /* what is behind it never goes without it */
		outcome = commit_range(c, op, op->next, ret_err);
	}
	return outcome;
}

static void fail_rest(struct committer *c, struct op *first)
{
	cc_err err = cc_fail(c->broken, "%s", c->broken_detail);

	for (struct op *op = first; op != NULL; op = op->next)
		set_result(op, err);
}

/* Only the thread writes `broken`, so it may read it without the mutex. */
static void run_batch(struct committer *c, struct op_list *batch)
{
	enum outcome outcome = BROKEN;
	cc_err err = CC_OK;

	if (c->broken == CC_OK)
		outcome = commit_range(c, batch->first, NULL, &err);
	if (outcome == COMMITTED)
		return;
	if (outcome == BROKEN) {
		fail_rest(c, batch->first);
		return;
	}
	if (outcome == REFUSED && batch->first == batch->last) {
		set_result(batch->first, err);
		return;
	}
	for (struct op *op = batch->first; op != NULL; op = op->next) {
		outcome = commit_one(c, op, &err);
		if (outcome == BROKEN) {
			fail_rest(c, op);
			return;
		}
		if (outcome != COMMITTED)
			set_result(op, err);
	}
}

/* Waits; false when all is done and the owner wants to stop. */
static bool take_batch(struct committer *c, struct op_list *ret)
{
	size_t count = 0;

	lock(c);
	while (c->gathered.first == NULL && !c->stopping)
		pthread_cond_wait(&c->changed, &c->mutex);
	while (count < BATCH_MAX && c->gathered.first != NULL) {
		list_append(ret, list_take(&c->gathered));
		count++;
	}
	unlock(c);
	return count > 0;
}

static void *committer_thread(void *arg)
{
	struct committer *c = arg;
	struct op_list batch = {0};

	while (take_batch(c, &batch)) {
		struct op *op;

		run_batch(c, &batch);
		lock(c);
		while ((op = list_take(&batch)) != NULL)
			list_append(&c->posted, op);
		unlock(c);
		loop_wake_up(c->wake);
	}
	return NULL;
}

/* ---- the loop's side ---- */

static void call_done(struct committer *c, struct op *op)
{
	c->waiting--;
	if (op->done != NULL)
		op->done(op->arg, op->err == CC_OK ? CC_OK : cc_fail(op->err, "%s", op->detail));
	free_op(op);
}

static void call_fatal(struct committer *c, cc_err broken_by)
{
	if (broken_by == CC_OK || c->fatal_called)
		return;
	c->fatal_called = true;
	if (c->fatal != NULL)
		c->fatal(c->fatal_arg, cc_fail(broken_by, "%s", c->broken_detail));
}

static void on_posted(void *arg)
{
	struct committer *c = arg;
	struct op_list posted;
	struct op *op;
	cc_err broken_by;

	lock(c);
	posted = c->posted;
	c->posted = (struct op_list){0};
	broken_by = c->broken;
	unlock(c);
	c->posting = true;
	while ((op = list_take(&posted)) != NULL)
		call_done(c, op);
	call_fatal(c, broken_by);
	if (c->on_batch != NULL)
		c->on_batch(c->on_batch_arg);
	c->posting = false;
}

void committer_submit(struct committer *c, commit_apply apply, commit_done done, void *arg)
{
	struct op *op = cc_alloc(sizeof(*op));

	op->apply = apply;
	op->done = done;
	op->arg = arg;
	c->waiting++;
	lock(c);
	list_append(&c->gathered, op);
	pthread_cond_signal(&c->changed);
	unlock(c);
}

size_t committer_waiting(const struct committer *c)
{
	return c->waiting;
}

uint64_t committer_commits(const struct committer *c)
{
	struct committer *mine = (struct committer *)(uintptr_t)c; /* for the mutex only */
	uint64_t commits;

	lock(mine);
	commits = c->commits;
	unlock(mine);
	return commits;
}

void committer_name_points(struct committer *c, enum crashpoint before, enum crashpoint after)
{
	c->before = before;
	c->after = after;
}

void committer_on_drop(struct committer *c, commit_drop drop)
{
	c->drop = drop;
}

void committer_hold(struct committer *c)
{
	c->holds = true;
}

void committer_on_batch(struct committer *c, loop_fn fn, void *arg)
{
	c->on_batch = fn;
	c->on_batch_arg = arg;
}

/* Signals belong to the loop: the thread starts with all of them blocked. */
static cc_err start_thread(struct committer *c)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	errno = pthread_create(&c->thread, NULL, committer_thread, c);
	c->thread_runs = errno == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return c->thread_runs ? CC_OK : cc_fail_errno("the committer's thread");
}

/* Its waits with a limit are measured by a clock that nobody sets. */
static void init_condition(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

cc_err committer_start(
	struct db *d, struct loop *l, commit_fatal fatal, void *fatal_arg, struct committer **ret)
{
	struct committer *c = cc_alloc(sizeof(*c));
	cc_err err = CC_OK;

	c->db = d;
	c->fatal = fatal;
	c->fatal_arg = fatal_arg;
	pthread_mutex_init(&c->mutex, NULL);
	init_condition(&c->changed);
	TRY(loop_wake_new(l, on_posted, c, &c->wake));
	TRY(start_thread(c));
	*ret = c;
	c = NULL;
out:
	committer_stop(c);
	return err;
}

void committer_stop(struct committer *c)
{
	if (c == NULL)
		return;
	assert(!c->posting);
	if (c->thread_runs) {
		lock(c);
		c->stopping = true;
		pthread_cond_signal(&c->changed);
		unlock(c);
		pthread_join(c->thread, NULL);
	}
	loop_wake_free(c->wake);
	drop_list(&c->posted, c->drop);
	free(c->broken_detail);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->mutex);
	free(c);
}
