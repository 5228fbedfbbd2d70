/*
 * One connector's session, shared by gateway.c, gateway_session.c and gateway_messages.c.
 * Loop's thread.
 *
 *   HELLO -(Hello)-> OPENING -(store)-> RESUMING -(ResumeEnd, store)-> READY -> DRAINING -> CLOSED
 *
 * A session outlives its connection while operations of it are in the store: `connection` is NULL
 * then, and the last answer frees it.
 */
#pragma once

#include "base/loop.h"
#include "certq/v1/envelope.pb-c.h"
#include "cloud-queue/gateway_wss.h"
#include "cloud-queue/store.h"

enum gateway_state { GW_HELLO, GW_OPENING, GW_RESUMING, GW_READY, GW_DRAINING, GW_CLOSED };
#define GW_IN(state) (1u << (state))

struct queue;
struct gateway;
struct gateway_capabilities;

struct gateway_session {
	struct gateway_session *next, **back;
	struct gateway *gateway;
	struct gateway_connection *connection; /* NULL: gone */
	struct queue_identity who;
	enum gateway_state state;
	struct loop_timer *timer; /* before READY: the time for it is over; then: look for jobs */
	uint64_t in_seq, out_seq;
	size_t pending; /* operations in the store */
	bool paused;

	uint64_t epoch; /* session_epoch */
	cc_blob result_spki;

	uint64_t delivery_limit, limit_bytes, sent;
	bool connector_drains; /* it said so: no more jobs */
	bool leasing;
	bool lease_again; /* a hint came while a lease was under way */
	bool serves;      /* capabilities are known to the store */
	struct gateway_capabilities *gathering;
	struct gateway_offered {
		uint64_t jobs, wanted, unknown;
	} offered; /* by a connector of a store that went back */
};

struct gateway {
	struct queue *queue;
	struct gateway_wss *wss;
	struct gateway_session *sessions;
	size_t session_count;
	bool draining;
};

/* ---- gateway_session.c ---- */

void *gateway_session_opened(
	void *gateway, struct gateway_connection *c, const struct queue_identity *who);
void gateway_session_message(void *session, cc_view message);
void gateway_session_closed(void *session);

/* Number and send an envelope; its body stays the caller's. */
void gateway_session_send(struct gateway_session *s, Certq__Envelope *envelope);
/* A fatal Error, then the connection is closed. */
void gateway_session_fail(struct gateway_session *s, Certq__ErrorCode code, const char *why);
/* A non-fatal Error about the message that was received last. */
void gateway_session_complain(struct gateway_session *s, Certq__ErrorCode code, const char *why);
void gateway_session_enter(struct gateway_session *s, enum gateway_state state);
struct store_session gateway_session_id(const struct gateway_session *s);
bool gateway_session_is(const struct gateway_session *s, cc_view tenant, cc_view connector);

/* An operation in the store on behalf of a message, which it owns until the end.  A message with
 * more items than the store takes at once becomes several operations: the last one owns it, for the
 * store answers in order; each knows its own part. */
struct gateway_op {
	struct gateway_session *session;
	Certq__Envelope *envelope;
	const Certq__Envelope *message; /* the same, also where another operation owns it */
	size_t from, count;             /* items of the message */
};
struct gateway_op *gateway_op_begin(struct gateway_session *s, Certq__Envelope *envelope);
/* Still connected: the answer can be sent.  Call gateway_op_end when done in any case. */
bool gateway_op_alive(const struct gateway_op *op);
/* The store is behind: what has an answer RETRY_LATER gets it, in place of an operation.  To be asked
 * once for a message, before its first operation. */
bool gateway_session_busy(const struct gateway_session *s);
void gateway_op_end(struct gateway_op *op);

/* How many jobs it would take now; 0 where it takes none. */
uint64_t gateway_session_room(const struct gateway_session *s);
/* Lease and send jobs as far as credit goes, a few at a time where others of the tenant want some too. */
void gateway_session_feed(struct gateway_session *s);
void gateway_session_drain(struct gateway_session *s);
/* Draining, and nothing is left to wait for: close. */
void gateway_session_check_drained(struct gateway_session *s);

/* ---- gateway_messages.c: the table, and the messages that are answered at once ---- */

/* One message; takes over the envelope. */
void gateway_message_handle(struct gateway_session *s, Certq__Envelope *envelope);
/* A winner's certificate as the wire has it; NULL: there is none. */
Certq__CertificateId *gateway_message_winner(
	const struct store_certificate *from, Certq__CertificateId *room);
Certq__JobVerdict gateway_message_verdict(enum store_result result);
/* The store's verdicts as rows of a message; they point into the room and into `items`. */
struct gateway_verdicts {
	Certq__HeldVerdict rows[STORE_HELD_MAX];
	Certq__HeldVerdict *list[STORE_HELD_MAX];
	Certq__CertificateId winners[STORE_HELD_MAX];
	size_t count;
};
void gateway_message_verdicts(
	const struct store_item_verdict *items, size_t count, struct gateway_verdicts *ret);
/* The store could not do its work for this session: the connector shall connect again. */
void gateway_message_store_failed(struct gateway_session *s, cc_err err);
/* True for an answer that ends the session, which has been done then. */
bool gateway_message_superseded(struct gateway_session *s, enum store_result result);

/* ---- gateway_resume.c: from Hello to READY, and what the connector can do ---- */

void gateway_resume_hello(struct gateway_session *s, Certq__Envelope *envelope);
void gateway_resume_held(struct gateway_session *s, Certq__Envelope *envelope);
void gateway_resume_end(struct gateway_session *s, Certq__Envelope *envelope);
void gateway_resume_capabilities(struct gateway_session *s, Certq__Envelope *envelope);
void gateway_capabilities_free(struct gateway_capabilities *c); /* accepts NULL */

/* ---- gateway_offer.c: what was finished, for a store that went back ---- */

void gateway_offer_handle(struct gateway_session *s, Certq__Envelope *envelope);
/* A job that the store did not know is submitted again, and its result or its claim is this connector's. */
void gateway_offer_recall(struct gateway_session *s, const struct store_hint *hint);

/* ---- gateway_jobs.c: leases, claims, parking, settlements, giving back ---- */

void gateway_jobs_extend(struct gateway_session *s, Certq__Envelope *envelope);
void gateway_jobs_claims(struct gateway_session *s, Certq__Envelope *envelope);
void gateway_jobs_park(struct gateway_session *s, Certq__Envelope *envelope);
void gateway_jobs_settle(struct gateway_session *s, Certq__Envelope *envelope);
void gateway_jobs_nack(struct gateway_session *s, Certq__Envelope *envelope);
void gateway_jobs_gone(struct gateway_session *s, const struct store_hint *hint);

/* ---- gateway_result.c ---- */

void gateway_result_handle(struct gateway_session *s, Certq__Envelope *envelope);
/* A certificate's identity on the wire has the sizes that it may have; an absent one has. */
bool gateway_result_certificate_ok(const Certq__CertificateId *c);
struct store_certificate gateway_result_certificate(const Certq__CertificateId *c);
