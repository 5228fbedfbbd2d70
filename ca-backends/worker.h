/*
 * Worker: the one thread in which a runner's backend is called, so that a CA that is slow does not
 * stop the runner's loop.
 *
 * Tasks run in order, one at a time; each is `run` in the thread and then `done` in the loop.  Start
 * it after sandbox_enter: a thread that is older than the sandbox is outside of it.
 */
#pragma once

#include "base/loop.h"

struct ca_worker; /* opaque */

struct ca_task {
	void (*run)(void *arg);  /* worker's thread */
	void (*done)(void *arg); /* loop's thread; NULL: nothing */
	void *arg;
};

cc_err ca_worker_start(struct loop *l, struct ca_worker **ret) CC_MUST_USE;
/* Ends the thread after the task that runs now.  Tasks that have not begun are dropped, and no `done`
 * is called any more: `drop` (may be NULL) gets each task's arg that was not done. */
void ca_worker_stop(struct ca_worker *w, void (*drop)(void *arg)); /* accepts NULL */
void ca_worker_submit(struct ca_worker *w, struct ca_task task);
size_t ca_worker_waiting(const struct ca_worker *w); /* submitted and not done; loop's thread */
