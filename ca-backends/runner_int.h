/*
 * What runner.c (process, link, conversation) and runner_calls.c (one call from order to answer)
 * share.  Private to the two.
 */
#pragma once

#include "base/chan.h"
#include "ca-backends/ledger.h"
#include "ca-backends/registry.h"
#include "ca-backends/worker.h"
#include "proto/role_link.h"

struct call;

struct runner {
	Role__Setup *setup;
	struct loop *loop;
	struct role_link *link;
	struct chan *chan;     /* with the connector; NULL: none */
	uint64_t conversation; /* 1, 2, 3 ...: an answer belongs to the one its request came on */
	struct loop_timer *upkeep;
	cc_blob approval_spki;
	cc_secret secret;
	struct ledger *ledger;
	struct ca_worker *worker;
	struct ca_context context;
	struct ca_option *options;
	const struct ca_backend *backend; /* NULL: the configured one does not exist */
	char *problem;                    /* why the configuration cannot be used; NULL: it can */
	void *instance;                   /* worker's thread only */
	struct call *calls;               /* in hand */
	bool ended;
	cc_err why;
};

/* One request from the connector.  An error ends the conversation. */
cc_err runner_take_request(struct runner *r, cc_view frame) CC_MUST_USE;
/* Ask the backend for its health, for its upkeep; nobody waits for the answer. */
void runner_upkeep(struct runner *r);
/* Forget all calls, at the end of the process. */
void runner_drop_calls(struct runner *r);
