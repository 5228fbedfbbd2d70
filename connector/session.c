/*
 * The session's state machine: dialling and back-off, Hello, resume, keeping alive, ending.
 *
 * What goes out and comes in message by message is session_messages.c.  Back-off is random below a limit
 * that doubles, and starts anew only after the resume, or the offer where there is one: a gateway that accepts
 * connections and then fails must not be called twice a second by every connector there is.
 */
#include "connector/session_int.h"

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/hash.h"
#include "base/log.h"
#include "connector/dial_judge.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>

enum {
	HELLO_LIMIT_MS = 10 * 1000, /* Hello and each step of the resume */
	CONNECT_LIMIT_MS =
		5 * 60 * 1000,      /* all addresses of the queue; the wire has a limit for each */
	REFUSED_MS = 5 * 60 * 1000, /* certificate or authorisation: an administrator has to act */
	CONFLICT_MS = 15 * 60 * 1000,
	SUPERSEDED_MS = 60 * 1000,
	PING_MS = 20 * 1000,
	HANGUP_MS = 30 * 1000,
	SKEW_LIMIT_MS = 60 * 1000,       /* a clock further from the queue's is told of */
	SILENCE_MAX_MS = 15 * 60 * 1000, /* whatever the queue says of pings */
};

static const int64_t wall_max_ms = INT64_C(253402300800000); /* the year 10000 */

static void on_timer(void *arg);

struct session *session_new(struct loop *l, struct journal *j, struct wire *wire,
	const struct session_settings *settings, const struct session_events *events, void *arg)
{
	struct session *s = cc_alloc(sizeof *s);
	s->loop = l;
	s->journal = j;
	s->wire = wire;
	s->settings = *settings;
	if (s->settings.backoff_min_ms == 0)
		s->settings.backoff_min_ms = 500;
	if (s->settings.backoff_max_ms < s->settings.backoff_min_ms)
		s->settings.backoff_max_ms = 60000;
	s->events = events;
	s->arg = arg;
	s->last_error = cc_strdup("");
	random_bytes(s->instance_id, sizeof s->instance_id);
	s->timer = loop_timer_new(l, on_timer, s);
	return s;
}

/* The commit comes back later and finds nobody. */
static void forget_commit(struct session *s)
{
	if (s->committing != NULL)
		s->committing->session = NULL;
	s->committing = NULL;
}

void session_free(struct session *s)
{
	if (s == NULL)
		return;
	loop_timer_free(s->timer);
	session_clear_claims(s);
	free(s->held);
	free(s->last_error);
	forget_commit(s);
	free(s);
}

static void wait_for(struct session *s, int64_t ms)
{
	s->until = clock_boottime_ms() + ms;
	loop_timer_set(s->timer, ms);
}

static void wait_for_nothing(struct session *s)
{
	s->until = 0;
	loop_timer_stop(s->timer);
}

/* ---- ending and dialling again ---- */

int64_t session_backoff_ms(uint32_t min_ms, uint32_t max_ms, unsigned failures)
{
	uint64_t limit = min_ms;
	for (unsigned i = 0; i < failures && limit < max_ms; i++)
		limit *= 2;
	if (limit > max_ms)
		limit = max_ms;
	return (int64_t)random_below(limit + 1);
}

static int64_t next_backoff(struct session *s)
{
	int64_t wait = session_backoff_ms(
		s->settings.backoff_min_ms, s->settings.backoff_max_ms, s->failures);
	if (s->failures < 30)
		s->failures++;
	return wait < s->least_wait_ms ? s->least_wait_ms + wait : wait;
}

static void set_last_error(struct session *s, const char *text)
{
	char *copy = cc_strdup(text);
	free(s->last_error);
	s->last_error = copy;
}

static void on_closed(void *arg, cc_err why)
{
	struct session *s = arg;
	bool was_up = s->state == SESSION_READY || s->state == SESSION_DRAINING;
	bool planned = s->state == SESSION_DRAINING || s->stopping;
	s->state = SESSION_DISCONNECTED;
	s->connected_ms = 0;
	s->closing = false;
	session_clear_claims(s);
	forget_commit(s);
	if (!planned && !s->error_told) {
		set_last_error(s, cc_err_detail(why));
		log_event(dial_event_of(why), LV_ERR(why));
	}
	if (cc_err_category(why) == CC_CAT_REJECTED && s->least_wait_ms < REFUSED_MS)
		s->least_wait_ms = REFUSED_MS;
	if (was_up)
		s->events->lost(s->arg);
	if (s->stopping) {
		wait_for_nothing(s);
		return;
	}
	s->backing_off = true;
	wait_for(s, next_backoff(s));
}

void session_close(struct session *s, unsigned status)
{
	if (s->state == SESSION_DISCONNECTED || s->closing)
		return;
	s->closing = true;
	wait_for_nothing(s);
	s->wire->ops->close(s->wire, status);
}

void session_fail(struct session *s, Certq__ErrorCode code, const char *text)
{
	static const unsigned statuses[] = {
		[CERTQ__ERROR_CODE__ERROR_MALFORMED] = WIRE_CLOSE_PROTOCOL,
		[CERTQ__ERROR_CODE__ERROR_OVER_LIMIT] = WIRE_CLOSE_TOO_BIG,
		[CERTQ__ERROR_CODE__ERROR_TIMEOUT] = WIRE_CLOSE_POLICY,
	};
	unsigned status = WIRE_CLOSE_POLICY;
	if (s->closing)
		return;
	if ((size_t)code < sizeof statuses / sizeof statuses[0] && statuses[code] != 0)
		status = statuses[code];
	set_last_error(s, text);
	s->error_told = true;
	log_event(EV_CONNECTION_FAILED, LV_TEXT("reason", text), LV_TEXT("decided", "here"));
	session_send_error(s, code, true, text);
	session_close(s, status);
}

/* The gateway ends the session. */
void session_was_refused(struct session *s, const Certq__Error *error)
{
	cc_view words = codec_view(error->text);
	char *text = text_is_clean(words, 256) ? cc_strndup(words) : cc_strdup("");
	char *told = cc_asprintf("the queue said: %s (error %d)", text, (int)error->code);
	s->error_told = true;
	s->least_wait_ms =
		error->retry_after_ms > CONFLICT_MS ? CONFLICT_MS : error->retry_after_ms;
	set_last_error(s, told);
	switch (error->code) {
	case CERTQ__ERROR_CODE__ERROR_IDENTITY_CONFLICT:
		s->identity_conflict = true;
		s->least_wait_ms = CONFLICT_MS;
		log_event(EV_IDENTITY_CONFLICT, LV_TEXT("reason", text));
		break;
	case CERTQ__ERROR_CODE__ERROR_DISABLED:
		s->least_wait_ms = REFUSED_MS;
		log_event(EV_CONNECTION_FAILED, LV_TEXT("reason", told));
		break;
	case CERTQ__ERROR_CODE__ERROR_SUPERSEDED:
		s->least_wait_ms = SUPERSEDED_MS;
		log_event(EV_CONNECTION_FAILED, LV_TEXT("reason", told));
		break;
	default:
		log_event(EV_CONNECTION_FAILED, LV_TEXT("reason", told));
		break;
	}
	free(told);
	free(text);
	session_close(s, WIRE_CLOSE_NORMAL);
}

/* ---- coming up ---- */

static void on_opened(void *arg)
{
	struct session *s = arg;
	if (s->stopping || s->closing)
		return;
	free(s->held);
	s->held = s->events->held(s->arg, &s->held_count);
	s->held_at = 0;
	s->state = SESSION_HELLO_SENT;
	wait_for(s, HELLO_LIMIT_MS);
	session_send_hello(s);
}

static void on_message(void *arg, cc_view message)
{
	struct session *s = arg;
	if (s->closing)
		return;
	s->heard = clock_boottime_ms();
	session_take_message(s, message);
}

static void connect_now(struct session *s)
{
	static const struct wire_events wire_events = {
		.opened = on_opened, .message = on_message, .closed = on_closed};
	s->state = SESSION_CONNECTING;
	s->backing_off = false;
	s->error_told = false;
	s->least_wait_ms = 0;
	s->sent_seq = 0;
	s->seen_seq = 0;
	s->jobs_received = 0;
	s->credit_sent = 0;
	s->credit_said = false;
	s->gateway_drains = false;
	s->page_waits = false;
	wait_for(s, CONNECT_LIMIT_MS);
	s->wire->ops->connect(s->wire, &wire_events, s);
}

void session_start(struct session *s)
{
	if (s->state == SESSION_DISCONNECTED && !s->stopping)
		connect_now(s);
}

void session_redial(struct session *s)
{
	if (s->state == SESSION_DISCONNECTED)
		session_start(s);
	else
		session_close(
			s, WIRE_CLOSE_NORMAL); /* the back-off is the shortest after a session */
}

void session_stop(struct session *s)
{
	s->stopping = true;
	wait_for_nothing(s);
	session_close(s, WIRE_CLOSE_GOING_AWAY);
}

/* The nonce is on disk: from here on the queue may hold us to it. */
static void on_nonce_committed(void *arg, cc_err err)
{
	struct session_commit *c = arg;
	struct session *s = c->session;
	free(c);
	if (s == NULL)
		return;
	s->committing = NULL;
	if (s->closing || s->state != SESSION_HELLO_SENT)
		return;
	if (err != CC_OK) {
		if (err == CC_FULL)
			log_event(EV_JOURNAL_FULL, LV_ERR(err));
		session_fail(s, CERTQ__ERROR_CODE__ERROR_STORE, "the nonce could not be recorded");
		return;
	}
	crashpoint_pass(CRASH_CONNECTOR_AFTER_NONCE);
	s->state = SESSION_RESUMING;
	session_continue_resume(s);
}

static void fail_for_version(struct session *s, uint32_t proto)
{
	char *text =
		cc_asprintf("the queue chose version %u of the protocol, only version 1 is spoken "
			    "here: update the older side",
			proto);
	session_fail(s, CERTQ__ERROR_CODE__ERROR_VERSION, text);
	free(text);
}

void session_take_hello_ack(struct session *s, const Certq__HelloAck *ack)
{
	struct journal_change *change = NULL;
	struct session_commit *commit = NULL;
	if (ack->proto != 1) {
		fail_for_version(s, ack->proto);
		return;
	}
	if (ack->resume_nonce.len != JOURNAL_ID_SIZE || s->committing != NULL) {
		session_fail(s, CERTQ__ERROR_CODE__ERROR_MALFORMED,
			"a HelloAck without a usable nonce, or a second one");
		return;
	}
	memcpy(s->nonce, ack->resume_nonce.data, JOURNAL_ID_SIZE);
	s->identity_conflict = false;
	s->ping_ms = ack->ping_ms >= 1000 && ack->ping_ms < SILENCE_MAX_MS ? ack->ping_ms : PING_MS;
	s->hangup_ms = ack->hangup_ms > s->ping_ms && ack->hangup_ms <= SILENCE_MAX_MS
			       ? ack->hangup_ms
			       : s->ping_ms + HANGUP_MS;
	s->max_message = WIRE_MESSAGE_MAX;
	if (ack->max_message >= 1024 && ack->max_message < WIRE_MESSAGE_MAX)
		s->max_message = ack->max_message;
	if (ack->wall_ms > 0 && ack->wall_ms < wall_max_ms)
		s->clock_skew_ms = ack->wall_ms - clock_realtime_ms();
	commit = cc_alloc(sizeof *commit);
	commit->session = s;
	s->committing = commit;
	s->wants_offer = ack->offer;
	change = journal_change_new(s->journal);
	journal_change_session(change, codec_view(ack->resume_nonce), ack->session_epoch,
		ack->store_generation, ack->offer);
	crashpoint_pass(CRASH_CONNECTOR_BEFORE_NONCE);
	journal_commit(change, on_nonce_committed, commit);
}

void session_continue_resume(struct session *s)
{
	wait_for(s, HELLO_LIMIT_MS);
	if (s->held_at < s->held_count) {
		session_send_held_page(s);
		return;
	}
	session_send_resume_end(s);
}

void session_resumed(struct session *s)
{
	free(s->held);
	s->held = NULL;
	s->state = SESSION_READY;
	if (!s->wants_offer)
		s->failures = 0;
	s->connected_ms = clock_realtime_ms();
	set_last_error(s, "");
	log_event(EV_CONNECTED, LV_U64("held", s->held_count), LV_I64("skew_ms", s->clock_skew_ms));
	if (s->clock_skew_ms > SKEW_LIMIT_MS || s->clock_skew_ms < -SKEW_LIMIT_MS)
		log_event(EV_CLOCK_OFF, LV_I64("skew_ms", s->clock_skew_ms),
			LV_TEXT("reason", s->clock_skew_ms > 0
						  ? "this clock is behind the queue's"
						  : "this clock is ahead of the queue's"));
	wait_for(s, s->ping_ms);
	s->events->ready(s->arg);
	if (s->own_drain)
		session_drain(s, 0);
}

/* ---- while it is up ---- */

static void keep_alive(struct session *s)
{
	if (clock_boottime_ms() - s->heard >= (int64_t)s->hangup_ms) {
		session_fail(s, CERTQ__ERROR_CODE__ERROR_TIMEOUT, "nothing was heard of the queue");
		return;
	}
	session_send_ping(s);
	wait_for(s, s->ping_ms);
}

static void on_timer(void *arg)
{
	struct session *s = arg;
	switch (s->state) {
	case SESSION_DISCONNECTED:
		connect_now(s);
		break;
	case SESSION_CONNECTING:
		session_close(s, WIRE_CLOSE_NORMAL);
		break;
	case SESSION_HELLO_SENT:
	case SESSION_RESUMING:
		session_fail(s, CERTQ__ERROR_CODE__ERROR_TIMEOUT, "the queue does not answer");
		break;
	case SESSION_READY:
	case SESSION_DRAINING:
		keep_alive(s);
		break;
	}
}

void session_run_due(struct session *s)
{
	if (s->until != 0 && clock_boottime_ms() >= s->until)
		on_timer(s);
}

void session_take_drain(struct session *s, const Certq__Drain *drain)
{
	s->state = SESSION_DRAINING;
	s->gateway_drains = true;
	s->least_wait_ms =
		drain->retry_after_ms > CONFLICT_MS ? CONFLICT_MS : drain->retry_after_ms;
	session_send_credit(s);
}

void session_drain(struct session *s, uint32_t grace_ms)
{
	s->own_drain = true;
	if (!session_can_send(s))
		return;
	session_send_drain(s, grace_ms);
	session_send_credit(s);
}

bool session_wants_offer(const struct session *s)
{
	return s->wants_offer;
}

bool session_can_send(const struct session *s)
{
	return (s->state == SESSION_READY || s->state == SESSION_DRAINING) && !s->closing;
}

void session_status(const struct session *s, struct session_status *ret)
{
	ret->state = s->state;
	ret->backing_off = s->backing_off;
	ret->draining = s->own_drain || s->gateway_drains;
	ret->last_error = s->last_error;
	ret->connected_ms = s->connected_ms;
	ret->clock_skew_ms = s->clock_skew_ms;
	ret->round_trip_ms = s->round_trip_ms;
	ret->identity_conflict = s->identity_conflict;
	ret->queued = s->wire->ops->queued(s->wire);
	ret->server_not_after_s = s->wire->ops->server_not_after_s != NULL
					  ? s->wire->ops->server_not_after_s(s->wire)
					  : 0;
}

uint32_t session_max_inflight(const struct session *s)
{
	return s->settings.max_inflight;
}
