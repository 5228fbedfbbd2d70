/*
 * Call: one request at one of the doors, on its way through the keyvault.
 *
 * loop (decode) -> worker (serve, conclude) -> committer (change) -> loop (answer).  The call belongs to
 * one thread at a time.  An operation verifies everything anew, fills the answer and says what has to
 * be remembered; where it fails, call_step has noted the reason, and call_conclude makes the refusal of
 * it, signed where a job was verified.
 */
#pragma once

#include "keyvault/vault.h"
#include "proto/codec.h"
#include "proto/job.h"

struct call;

struct call_op {
	unsigned op_case; /* of the request's oneof */
	const char *name;
	enum work_kind kind;
	void (*serve)(struct call *c); /* a worker's thread; NULL: not supported */
	bool audited;                  /* its outcome is a decision */
};

struct call {
	struct work work;
	struct vault *vault;
	struct rules *rules;
	const struct call_op *op;

	/* where it came from and goes back to */
	Vault__VaultRequest *request; /* the connector's door, or NULL */
	Vault__AdminRequest *admin;   /* the administrator's door, or NULL */
	uint64_t request_id;
	uint64_t origin;               /* which conversation or session */
	uint32_t uid;                  /* of an administrator */
	void (*reply)(struct call *c); /* the door's: send `answer`; loop's thread */

	/* found on the way */
	int64_t now_s;
	Certq__JobDocument *job;
	Vault__TicketContent *ticket;
	char *correlation;
	char *ca;                                   /* for the log */
	cc_blob csr, sealed_ticket, issuer, serial; /* borrowed by the change */
	uint8_t spki_sha256[SHA256_SIZE];

	enum reason reason;
	char *detail;   /* for the local log */
	cc_blob answer; /* packed, without decision records */
	struct state_change change;
};

struct call *call_new(struct vault *v, const struct call_op *op);
void call_free(struct call *c); /* accepts NULL */
/* Back to the beginning: the state has changed meanwhile. */
void call_reset(struct call *c);

/* `err` as it is; a failure is noted as `why`, or as an internal one when it says nothing about the
 * request (storage, memory, our own cryptography). */
cc_err call_step(struct call *c, enum reason why, cc_err err) CC_MUST_USE;
/* Refuse with words for the local log. */
cc_err call_refuse(struct call *c, enum reason why, const char *format, ...) CC_PRINTF(3, 4);

/* The operation's answer at the connector's door; id and status are set here.  Packed at once. */
void call_answer(struct call *c, Vault__VaultAnswer *answer);
void call_answer_admin(struct call *c, Vault__AdminAnswer *answer);

/* The certificate that c->issuer and c->serial name, from c->ca: a row for the issued list, and named in
 * the decision. */
void call_plan_issued(struct call *c, cc_view certificate);

/* After the operation: the refusal, if it is one, and what is recorded of it. */
void call_conclude(struct call *c);
/* The refusal's answer alone, when the commit has found the reason. */
void call_answer_refusal(struct call *c);

/* One line in the log about how it ended. */
void call_log(const struct call *c);
