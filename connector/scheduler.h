/*
 * Scheduler: when each job's step is tried again.  One timer a job, in a heap; one timer of the loop.
 *
 * Connector process; the loop's thread only.  Times are boottime.  It is rebuilt from the journal at
 * start by whoever sets the timers.
 */
#pragma once

#include "base/loop.h"
#include "connector/job.h"

struct scheduler; /* opaque */

typedef void (*scheduler_fn)(void *arg, struct job *job);

struct scheduler *scheduler_new(struct loop *l, scheduler_fn fire, void *arg);
void scheduler_free(struct scheduler *s); /* accepts NULL; before the jobs are freed */
/* Once; replaces what was set for the job. */
void scheduler_set(struct scheduler *s, struct job *job, int64_t in_ms);
void scheduler_clear(struct scheduler *s, struct job *job);
/* Fire what is due; the loop's timer does it, and a test that has moved the clock. */
void scheduler_run(struct scheduler *s);
