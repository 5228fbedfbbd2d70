/*
 * Routes: which connectors can do a job, as the store wants to know it (notes: the route is the hash
 * of kind, CA profile, sorted key ids of the recipients, and site; the store makes the hash).
 *
 * Any thread; no state.  The kind is also the lane: within a tenant revoke 8, issue 4, rewrap 4,
 * chain 1.
 */
#pragma once

#include "cloud-queue/store.h"
#include "proto/codec.h"
#include "proto/job.h"

#define ROUTE_KEYS_MAX 16

struct route {
	struct store_route in; /* views into the job; key_ids points to `key_ids` below */
	cc_view key_ids[ROUTE_KEYS_MAX];
};

/* The job must outlive `ret`, and `ret` must not be copied. */
void route_of_job(const Certq__JobDocument *job, struct route *ret);

enum store_kind route_kind_of_job(const Certq__JobDocument *job); /* 0: none of ours */
enum store_kind route_kind_named(cc_view name);                   /* 0: unknown */
const char *route_kind_name(enum store_kind kind);
