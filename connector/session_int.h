/*
 * The session's own: shared by session.c (state, time) and session_messages.c (what goes out and
 * comes in).
 */
#pragma once

#include "connector/session.h"

#define SESSION_PAGE 128

/* A nonce on its way to the disk; the session may be gone when it arrives. */
struct session_commit {
	struct session *session;
};

struct session_claim;

struct session {
	struct loop *loop;
	struct journal *journal;
	struct wire *wire;
	struct session_settings settings;
	const struct session_events *events;
	void *arg;
	uint8_t instance_id[16];

	enum session_state state;
	bool stopping, closing, backing_off, error_told, identity_conflict;
	bool own_drain, gateway_drains;
	bool wants_offer;
	struct loop_timer *timer;
	int64_t until; /* boottime when the timer fires */
	unsigned failures;
	int64_t least_wait_ms;
	char *last_error;

	/* of this connection */
	uint64_t sent_seq, seen_seq;
	uint64_t jobs_received, credit_sent;
	bool credit_said;
	uint32_t places;
	uint32_t ping_ms, hangup_ms, max_message;
	int64_t heard, ping_sent;
	int64_t connected_ms, clock_skew_ms, round_trip_ms;
	uint8_t nonce[JOURNAL_ID_SIZE];
	struct session_commit *committing;
	struct session_held *held;
	size_t held_count, held_at;
	bool page_waits; /* a page was sent and its verdicts are to come */
	size_t page_size;
	struct session_claim *claims, **last_claim;
	size_t claim_count;
};

void session_close(struct session *s, unsigned status);
void session_fail(struct session *s, Certq__ErrorCode code, const char *text);
void session_was_refused(struct session *s, const Certq__Error *error);
void session_take_hello_ack(struct session *s, const Certq__HelloAck *ack);
void session_continue_resume(struct session *s);
void session_resumed(struct session *s);
void session_take_drain(struct session *s, const Certq__Drain *drain);

void session_take_message(struct session *s, cc_view message);
void session_send_hello(struct session *s);
void session_send_held_page(struct session *s);
void session_send_resume_end(struct session *s);
void session_send_credit(struct session *s);
void session_send_ping(struct session *s);
void session_send_drain(struct session *s, uint32_t grace_ms);
void session_send_error(struct session *s, Certq__ErrorCode code, bool fatal, const char *text);
void session_clear_claims(struct session *s);

/* Anything from nothing to a limit, which doubles with each failure: connectors that lost one gateway
 * together do not come back together. */
int64_t session_backoff_ms(uint32_t min_ms, uint32_t max_ms, unsigned failures);
