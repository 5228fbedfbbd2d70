/*
 * Leases: those jobs that the queue takes back when it hears nothing, and when to ask for more time.
 *
 * Connector process; the loop's thread only.  A lease is extended at one and at two thirds of its
 * length, counted from the receipt of the message that gave it.  These timers save work; what
 * keeps a job from being done twice is the claim.
 */
#pragma once

#include "base/loop.h"
#include "connector/job.h"
#include "connector/session.h"

struct leases; /* opaque */

/* `session` may be NULL: nothing is ever extended then. */
struct leases *leases_new(struct loop *l, struct jobs *jobs, struct session *session);
void leases_free(struct leases *l); /* accepts NULL */
/* The job has (again) a lease of this length from now on; 0: it has none any more. */
void leases_set(struct leases *l, struct job *job, uint32_t lease_ms);
/* Extend what is due; the loop's timer does it, and a test that has moved the clock. */
void leases_run(struct leases *l);
