/*
 * Session: the connector's side of certq.v1, from dialling to READY and back again.
 *
 *	DISCONNECTED -> CONNECTING -> HELLO_SENT -> RESUMING -> READY <-> DRAINING
 *
 * Connector process; the loop's thread only.  It owns connection, sequence numbers, back-off,
 * resume and credit; what a message means for a job is its owner's (connector/flow.h), told by
 * events.  The nonce of a HelloAck is in the journal before anything more is said.  Anything out of
 * state, out of sequence or over a limit ends the connection with a fatal Error.
 *
 * session_send_* are for READY and DRAINING and return false otherwise: a new session starts with
 * the resume, after which the owner says again what has to be said.
 */
#pragma once

#include "certq/v1/envelope.pb-c.h"
#include "connector/journal.h"
#include "connector/wire.h"

enum session_state {
	SESSION_DISCONNECTED,
	SESSION_CONNECTING,
	SESSION_HELLO_SENT,
	SESSION_RESUMING,
	SESSION_READY,
	SESSION_DRAINING,
};

struct session; /* opaque */

struct session_settings {
	uint32_t max_inflight;
	uint32_t backoff_min_ms, backoff_max_ms;
};

struct session_held {
	uint8_t job_id[JOB_ID_SIZE];
	uint32_t epoch;
	bool claimed, parked, finished, settling;
};

struct session_verdict {
	cc_view job_id;
	uint32_t epoch;
	Certq__JobVerdict verdict;
	uint32_t lease_ms;
	const Certq__CertificateId *winner; /* NULL: none */
};

struct session_events {
	/* What this connector holds; an array of `*ret_count`, freed by the session. */
	struct session_held *(*held)(void *arg, size_t *ret_count);
	/* Of a resume, a lease extension, a Park or a JobGone. */
	void (*verdict)(void *arg, const struct session_verdict *verdict);
	/* Resumed: every verdict was told.  Capabilities and credit are due, then whatever waits; before the
	 * credit the offer, where session_wants_offer says so. */
	void (*ready)(void *arg);
	void (*lost)(void *arg);
	void (*job)(void *arg, Certq__Job *job); /* the owner takes it over (codec_free) */
	void (*claim_ack)(void *arg, const Certq__ClaimAck *ack);
	void (*settle_ack)(void *arg, const Certq__SettleAck *ack);
	void (*result_ack)(void *arg, const Certq__ResultAck *ack);
	void (*nack_ack)(void *arg, const Certq__NackAck *ack);
	/* False: it does not fit the offer.  With `recall` it belongs to none, and may come at any time. */
	bool (*offer_ack)(void *arg, const Certq__OfferAck *ack);
};

/* `wire`, `journal` and `events` must outlive it. */
struct session *session_new(struct loop *l, struct journal *j, struct wire *wire,
	const struct session_settings *settings, const struct session_events *events, void *arg);
void session_free(
	struct session *s); /* accepts NULL; the wire must be freed before or not be used */
/* Dial now, and again for ever. */
void session_start(struct session *s);
/* End the present connection, and dial without waiting: what stood in the way was removed. */
void session_redial(struct session *s);
/* What is due by now; for tests that have moved the clock. */
void session_run_due(struct session *s);
/* Close and do not dial again. */
void session_stop(struct session *s);
/* No new jobs any more, on our own wish; what is under way goes on. */
void session_drain(struct session *s, uint32_t grace_ms);

bool session_can_send(const struct session *s);
/* Claims are gathered until session_flush_claims. */
void session_queue_claim(struct session *s, const Certq__Claim *claim);
bool session_flush_claims(struct session *s);
bool session_send_park(struct session *s, const Certq__Park *park);
bool session_send_settle(struct session *s, const Certq__Settle *settle);
bool session_send_result(struct session *s, const Certq__Result *result);
/* The queue's store went back in time. */
bool session_wants_offer(const struct session *s);
bool session_send_offer(struct session *s, const Certq__Offer *offer);
bool session_send_nack(struct session *s, const Certq__Nack *nack);
bool session_send_extend(struct session *s, Certq__Lease **leases, size_t count);
bool session_send_capabilities(struct session *s, const Certq__Capabilities *capabilities);
/* How many jobs may come beyond those that came: the credit is raised, never lowered. */
void session_set_places(struct session *s, uint32_t places);

struct session_status {
	enum session_state state;
	bool backing_off;
	bool draining;          /* by our own wish, or the gateway's */
	const char *last_error; /* empty: none */
	int64_t connected_ms;   /* realtime; 0: not connected */
	int64_t clock_skew_ms;  /* the queue's clock minus ours */
	int64_t round_trip_ms;
	bool identity_conflict;
	size_t queued;              /* bytes that wait to be sent */
	int64_t server_not_after_s; /* of the queue's certificate; 0: not known */
};
void session_status(const struct session *s, struct session_status *ret);
uint32_t session_max_inflight(const struct session *s);
