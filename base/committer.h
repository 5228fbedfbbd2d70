/*
 * Committer: the one thread that writes to an LMDB environment, in batches.
 *
 * The loop hands over {apply, done}; the thread takes all that has gathered, applies it in one
 * transaction, commits, and then posts; the loop calls each `done` in order, and only then does
 * anything that the change caused: persist before you speak.  "Nothing changed" answers travel the
 * same way.
 *
 * An apply that returns an error aborts the batch, which is then applied one by one, so that only
 * the offender fails.  An apply therefore may run more than once and must write nothing but its
 * transaction and its own `arg` (which it resets when it runs).
 *
 * A commit for which the disk has no room is refused in the same way, with CC_FULL: nothing was changed,
 * and the next may succeed; or it is held until there is room (committer_hold).  When a commit fails
 * otherwise its outcome is unknown: the environment is opened anew and looked at, and what is not in it
 * is applied again, without any `done` before.  An EIO, or a second failure, is the end: every `done`
 * gets the error, `fatal` is called in the loop, and the owner exits; the restart replays.  Events 24 to
 * 26 tell of all this.
 */
#pragma once

#include "base/crashpoint.h"
#include "base/db.h"
#include "base/loop.h"

struct committer; /* opaque */

typedef cc_err (*commit_apply)(struct db *d, MDB_txn *txn, void *arg); /* committer's thread */
typedef void (*commit_done)(void *arg, cc_err err);                    /* loop's thread */
typedef void (*commit_fatal)(void *arg, cc_err err);                   /* loop's thread */
typedef void (*commit_drop)(void *arg);                                /* loop's thread */

cc_err committer_start(struct db *d, struct loop *l, commit_fatal fatal, void *fatal_arg,
	struct committer **ret) CC_MUST_USE;
/* Finishes what was handed over (without calling `done` for it) and ends the thread; then `drop`, where
 * one was given, gets the `arg` of each such operation, only so that its owner can free it.  Not from
 * inside one of its callbacks. */
void committer_stop(struct committer *c); /* accepts NULL */

/* Loop's thread.  Never fails: failures arrive at `done`.  `done` may be NULL. */
void committer_submit(struct committer *c, commit_apply apply, commit_done done, void *arg);
size_t committer_waiting(const struct committer *c);   /* handed over, `done` not yet called */
uint64_t committer_commits(const struct committer *c); /* transactions committed so far */

/* The places before and after each commit, of this environment's name.  Before the first submit. */
void committer_name_points(struct committer *c, enum crashpoint before, enum crashpoint after);

void committer_on_drop(struct committer *c, commit_drop drop);

/* No operation is refused because the disk has no room for its commit: it is tried until there is, and
 * everything behind it waits.  What an apply itself refuses (db_reserve) is refused all the same.  A stop
 * gives up what waits, and with it everything behind it.  Before the first submit. */
void committer_hold(struct committer *c);

/* Called in the loop after each batch's `done`s: the moment to look for work again. */
void committer_on_batch(struct committer *c, loop_fn fn, void *arg);
