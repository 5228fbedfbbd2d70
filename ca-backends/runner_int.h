/*
 * What the files of the runner share: runner.c (process, link, conversation), runner_calls.c (requests,
 * and the list of calls), runner_work.c (one call between ledger and backend) and runner_answer.c (its
 * answer).  Private to them; the loop's thread, but for what says otherwise.
 */
#pragma once

#include "base/chan.h"
#include "ca-backends/ledger.h"
#include "ca-backends/registry.h"
#include "ca-backends/runner_order.h"
#include "ca-backends/worker.h"
#include "proto/job.h"
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
	cc_secret cookie_key;
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

struct call {
	struct runner *runner;
	struct call *next, *previous;
	uint64_t conversation; /* 0: nobody waits for the answer */
	uint64_t request_id;
	Ca__CaRequest__OpCase op;   /* what was asked for */
	Ca__CaRequest__OpCase step; /* what the backend is asked: a submit may need a find first */
	Ca__CaRequest *request;     /* NULL: our own upkeep */
	Vault__Order *order;
	struct ca_attribute *attributes;
	struct ca_request ask; /* views into request, order and cookie */
	cc_secret cookie;      /* opened */
	uint8_t csr_sha256[SHA256_SIZE];
	uint8_t txid[TXID_SIZE];
	bool begun; /* otherwise it waits for another call of its job */
	bool doubt; /* the CA was asked before, and what came of it is not known */
	struct ca_answer answer;
};

/* ---- runner_calls.c ---- */

/* One request from the connector.  An error ends the conversation. */
cc_err runner_take_request(struct runner *r, cc_view frame) CC_MUST_USE;
/* Ask the backend for its health, for its upkeep; nobody waits for the answer. */
void runner_upkeep(struct runner *r);
/* Forget all calls, at the end of the process. */
void runner_drop_calls(struct runner *r);
/* The end of every call: its answer is sent, it is freed, and the next one for its job begins. */
void runner_finish_call(struct call *c);
/* The same, for an order that is not believed. */
void runner_refuse_call(struct call *c, cc_err err);

/* ---- runner_work.c ---- */

/* From a call whose order is believed to its end. */
void runner_work_on(struct call *c);
/* A call that names a job ends without being worked on.  NOT_SENT where nothing is asked for by another
 * call (`in_hand`) and, by the ledger, nothing ever was; otherwise UNKNOWN: there is something to find. */
void runner_turn_away(struct call *c, bool in_hand, cc_err why);

/* ---- runner_answer.c ---- */

void runner_send_answer(struct runner *r, const Ca__CaAnswer *answer);
/* The call's answer as a message; for the connector when `request_id` is not 0, else for the ledger. */
cc_blob runner_pack_answer(const struct call *c, uint64_t request_id);
void runner_send_call(struct call *c);
/* An answer that the ledger has.  A damaged one becomes UNKNOWN. */
void runner_read_answer(cc_view packed, struct ca_answer *ret);
/* The backend's cookie of a pending request becomes one that the connector may keep. */
void runner_seal_cookie(struct call *c);
struct cookie_owner runner_cookie_owner(const struct call *c);
void runner_log_answer(const struct call *c);
