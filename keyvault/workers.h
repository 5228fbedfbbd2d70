/*
 * Workers: threads that do the keyvault's cryptography, one per core.
 *
 * workers_start, workers_submit and workers_stop: the loop's thread.  Each kind of work has a queue of
 * its own and a guaranteed share: the next piece comes from the queue that has used the least time for
 * its weight, so a flood of one kind delays the others by its share and no more.  A finished piece comes
 * back in the loop.  Work that is only worth doing when nothing else waits (filling the pool) comes last and
 * never occupies the last free thread, unless there is only one.
 *
 * Each thread has a library context of OpenSSL of its own as its default: decoders and encoders of
 * 3.0 scale over threads only that way.  A key may be made in one and used in another.
 */
#pragma once

#include "base/loop.h"
#include <stddef.h>

enum work_kind { WORK_ISSUE, WORK_FINISH, WORK_REWRAP, WORK_OTHER, WORK_ADMIN, WORK_KIND_COUNT };

#define WORK_QUEUED_MAX 512 /* pieces that wait, per kind */

struct work { /* first member of the piece */
	struct work *next;
	enum work_kind kind;
	void (*run)(struct work *w);  /* a worker's thread */
	void (*done)(struct work *w); /* the loop's thread */
};

struct workers; /* opaque */

/* `idle` (may be NULL) is asked again and again by a thread without work until it returns false. */
cc_err workers_start(struct loop *l, size_t threads, bool (*idle)(void *arg), void *idle_arg,
	struct workers **ret) CC_MUST_USE;
/* false: the kind's queue is full; the piece stays the caller's. */
bool workers_submit(struct workers *w, struct work *piece);
/* Let idle threads look for idle work again. */
void workers_wake(struct workers *w);
size_t workers_busy(struct workers *w); /* pieces submitted and not yet done */
/* Ends the threads after the pieces they are at; calls neither `run` nor `done` for the rest, which
 * `drop` gets. */
void workers_stop(struct workers *w, void (*drop)(struct work *piece)); /* accepts NULL */
/* After workers_stop, and after every key that a worker has touched: keys remember what the library
 * contexts gave them. */
void workers_free(struct workers *w); /* accepts NULL */
