/*
 * One connector's connection as a state machine: who may say what when, numbering, errors, credit.
 * The session keeps nothing that the store does not know: after a crash of the queue the
 * connector's Hello and its list of held jobs rebuild all of it.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud-queue/gateway_int.h"
#include "cloud-queue/queue_int.h"
#include "proto/codec.h"
#include "proto/dsse.h"
#include <stdlib.h>

#define HELLO_MS        10000
#define RESUME_MS       60000
#define LEASE_MAX       32u
#define LEASE_SHARED    4u /* at once, while others of the tenant have room */
#define LEASE_BYTES     (1024u * 1024u)
#define OUTBOX_HIGH     (2u * 1024u * 1024u) /* no new jobs while this much waits to be sent */
#define OUTBOX_RETRY_MS 50
#define LOOK_MS         60000 /* for what no hint tells of: an exclusion or a suspension that ended */
#define PENDING_BUSY    64u   /* at this many operations in the store: RETRY_LATER */
#define PENDING_HIGH    192u /* what has no such answer could go on: stop reading, */
#define PENDING_LOW     16u  /* read on at this many */

struct store_session gateway_session_id(const struct gateway_session *s)
{
	return (struct store_session){.tenant = cc_view_text(s->who.tenant),
		.connector = cc_view_text(s->who.name),
		.epoch = s->epoch};
}

bool gateway_session_is(const struct gateway_session *s, cc_view tenant, cc_view connector)
{
	return text_equal(tenant, s->who.tenant) && text_equal(connector, s->who.name);
}

/* ---- out ---- */

void gateway_session_send(struct gateway_session *s, Certq__Envelope *envelope)
{
	cc_blob packed = CC_BLOB_NONE;

	if (!s->connection || s->state == GW_CLOSED)
		return;
	envelope->seq = ++s->out_seq;
	envelope->ack_seq = s->in_seq;
	packed = codec_pack(envelope);
	gateway_connection_send(s->connection, cc_blob_view(&packed));
	cc_blob_free(&packed);
}

static void send_error(
	struct gateway_session *s, Certq__ErrorCode code, bool fatal, const char *why)
{
	Certq__Error error = CERTQ__ERROR__INIT;
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;

	error.code = code;
	error.fatal = fatal;
	error.about_seq = s->in_seq;
	error.text = codec_text(why);
	envelope.body_case = CERTQ__ENVELOPE__BODY_ERROR;
	envelope.error = &error;
	gateway_session_send(s, &envelope);
}

static uint16_t close_code(Certq__ErrorCode code)
{
	switch (code) {
	case CERTQ__ERROR_CODE__ERROR_MALFORMED:
	case CERTQ__ERROR_CODE__ERROR_OUT_OF_STATE:
	case CERTQ__ERROR_CODE__ERROR_SEQ_GAP:
		return WSS_CLOSE_PROTOCOL;
	case CERTQ__ERROR_CODE__ERROR_OVER_LIMIT:
		return WSS_CLOSE_TOO_LARGE;
	default:
		return WSS_CLOSE_POLICY;
	}
}

void gateway_session_fail(struct gateway_session *s, Certq__ErrorCode code, const char *why)
{
	if (!s->connection || s->state == GW_CLOSED)
		return;
	log_event(EV_CONNECTOR_REFUSED, LV_TEXT("tenant", s->who.tenant),
		LV_TEXT("connector", s->who.name), LV_TEXT("reason", why),
		LV_U64("code", (uint64_t)code));
	send_error(s, code, true, why);
	gateway_connection_close(s->connection, close_code(code), why);
	gateway_session_enter(s, GW_CLOSED);
}

void gateway_session_complain(struct gateway_session *s, Certq__ErrorCode code, const char *why)
{
	send_error(s, code, false, why);
}

/* ---- operations ---- */

static void free_session(struct gateway_session *s)
{
	*s->back = s->next;
	if (s->next)
		s->next->back = s->back;
	s->gateway->session_count--;
	loop_timer_free(s->timer);
	gateway_capabilities_free(s->gathering);
	cc_blob_free(&s->result_spki);
	free(s);
}

struct gateway_op *gateway_op_begin(struct gateway_session *s, Certq__Envelope *envelope)
{
	struct gateway_op *op = cc_alloc(sizeof(*op));

	op->session = s;
	op->envelope = envelope;
	op->message = envelope;
	s->pending++;
	if (s->pending >= PENDING_HIGH && !s->paused && s->connection) {
		s->paused = true;
		gateway_connection_pause(s->connection, true);
	}
	return op;
}

bool gateway_session_busy(const struct gateway_session *s)
{
	return s->pending >= PENDING_BUSY;
}

bool gateway_op_alive(const struct gateway_op *op)
{
	return op->session->connection && op->session->state != GW_CLOSED;
}

void gateway_op_end(struct gateway_op *op)
{
	struct gateway_session *s = op->session;

	codec_free(op->envelope);
	free(op);
	s->pending--;
	if (!s->connection) {
		if (s->pending == 0)
			free_session(s);
		return;
	}
	if (s->paused && s->pending <= PENDING_LOW) {
		s->paused = false;
		gateway_connection_pause(s->connection, false);
	}
	gateway_session_check_drained(s);
}

/* ---- jobs out ---- */

static bool packed_document(cc_view packed, Certq__SignedDocument **ret)
{
	return codec_decode(&certq__signed_document__descriptor, packed, DOC_BODY_MAX + 1024,
		       ret) == CC_OK;
}

static void fill_priors(const struct store_leased *from, Certq__Job *job, Certq__PriorClaim *room,
	Certq__PriorClaim **list)
{
	for (size_t i = 0; i < from->prior_count; i++) {
		certq__prior_claim__init(&room[i]);
		room[i].ca = codec_bytes(from->prior[i].ca);
		room[i].csr_sha256 = codec_bytes(from->prior[i].csr_sha256);
		room[i].spki_sha256 = codec_bytes(from->prior[i].spki_sha256);
		room[i].txid = codec_bytes(from->prior[i].txid);
		list[i] = &room[i];
	}
	job->n_prior = from->prior_count;
	job->prior = list;
}

static void send_job(struct gateway_session *s, const struct store_leased *from)
{
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__Job job = CERTQ__JOB__INIT;
	Certq__SignedDocument *document = NULL;
	Certq__SignedDocument *signer = NULL;
	Certq__PriorClaim *room = cc_alloc((from->prior_count + 1) * sizeof(*room));
	Certq__PriorClaim **list = cc_alloc((from->prior_count + 1) * sizeof(*list));
	ProtobufCBinaryData *passwords = cc_alloc((from->password_count + 1) * sizeof(*passwords));

	/* without its statement a job would only be refused: better late, when the lease is over */
	if (from->signer.size > 0 && packed_document(from->document, &document) &&
		packed_document(from->signer, &signer)) {
		for (size_t i = 0; i < from->password_count; i++)
			passwords[i] = codec_bytes(from->passwords[i]);
		fill_priors(from, &job, room, list);
		job.job_id = codec_bytes(from->job_id);
		job.epoch = from->epoch;
		job.run = from->run;
		job.lease_ms = (uint32_t)from->lease_ms;
		job.job = document;
		job.signer = signer;
		job.pfx = codec_bytes(from->pfx);
		job.n_passwords = from->password_count;
		job.passwords = passwords;
		envelope.body_case = CERTQ__ENVELOPE__BODY_JOB;
		envelope.job = &job;
		gateway_session_send(s, &envelope);
		s->sent++;
	}
	codec_free(document);
	codec_free(signer);
	free(room);
	free(list);
	free(passwords);
}

static void after_lease(struct gateway_session *s, const struct store_lease_out *out)
{
	if (out->err != CC_OK) {
		loop_timer_set(s->timer, 1000);
		return;
	}
	switch (out->result) {
	case STORE_OK:
		for (size_t i = 0; i < out->count; i++)
			send_job(s, &out->jobs[i]);
		gateway_session_feed(s);
		return;
	case STORE_EMPTY:
		if (s->lease_again)
			gateway_session_feed(s);
		else
			loop_timer_set(s->timer, out->next_ms >= 0 && out->next_ms < LOOK_MS
							 ? out->next_ms + 1
							 : LOOK_MS);
		return;
	case STORE_SUPERSEDED:
		gateway_session_fail(
			s, CERTQ__ERROR_CODE__ERROR_SUPERSEDED, "a newer session is open");
		return;
	case STORE_DISABLED:
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_DISABLED, "disabled");
		return;
	default: /* suspended: no jobs until an operator says so */
		loop_timer_set(s->timer, LOOK_MS);
		return;
	}
}

static void on_leased(void *arg, const struct store_lease_out *out)
{
	struct gateway_op *op = arg;
	struct gateway_session *s = op->session;

	s->leasing = false;
	if (gateway_op_alive(op))
		after_lease(s, out);
	gateway_op_end(op);
}

uint64_t gateway_session_room(const struct gateway_session *s)
{
	if (!s->connection || s->state != GW_READY || s->connector_drains || !s->serves ||
		s->sent >= s->delivery_limit)
		return 0;
	return s->delivery_limit - s->sent;
}

/* The store answers in the order in which it was asked: with small parts, a burst is shared. */
static size_t lease_part(const struct gateway_session *s)
{
	for (const struct gateway_session *o = s->gateway->sessions; o; o = o->next) {
		if (o != s && text_equal(cc_view_text(o->who.tenant), s->who.tenant) &&
			gateway_session_room(o) > 0)
			return LEASE_SHARED;
	}
	return LEASE_MAX;
}

void gateway_session_feed(struct gateway_session *s)
{
	struct store_lease_in in = {.session = gateway_session_id(s)};
	uint64_t room = gateway_session_room(s);

	if (room == 0)
		return;
	if (s->leasing) {
		s->lease_again = true;
		return;
	}
	if (gateway_connection_queued(s->connection) > OUTBOX_HIGH) {
		loop_timer_set(s->timer, OUTBOX_RETRY_MS);
		return;
	}
	in.max_jobs = lease_part(s);
	if (room < in.max_jobs)
		in.max_jobs = (size_t)room;
	in.max_bytes = s->limit_bytes && s->limit_bytes < LEASE_BYTES ? (size_t)s->limit_bytes
								      : LEASE_BYTES;
	s->leasing = true;
	s->lease_again = false;
	store_lease(s->gateway->queue->store, &in, on_leased, gateway_op_begin(s, NULL));
}

/* ---- states ---- */

void gateway_session_enter(struct gateway_session *s, enum gateway_state state)
{
	s->state = state;
	if (state == GW_HELLO)
		loop_timer_set(s->timer, HELLO_MS);
	else if (state == GW_RESUMING)
		loop_timer_set(s->timer, RESUME_MS);
	else
		loop_timer_stop(s->timer);
}

static void on_timer(void *arg)
{
	struct gateway_session *s = arg;

	if (s->state < GW_READY)
		gateway_session_fail(
			s, CERTQ__ERROR_CODE__ERROR_TIMEOUT, "no Hello, or not resumed, in time");
	else
		gateway_session_feed(s);
}

void gateway_session_drain(struct gateway_session *s)
{
	Certq__Drain drain = CERTQ__DRAIN__INIT;
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;

	if (!s->connection || s->state >= GW_DRAINING)
		return;
	if (s->state < GW_READY) {
		gateway_connection_close(s->connection, WSS_CLOSE_GOING_AWAY, "stopping");
		gateway_session_enter(s, GW_CLOSED);
		return;
	}
	drain.grace_ms = (uint32_t)(s->gateway->queue->config->drain_grace_s * 1000);
	drain.retry_after_ms = (uint32_t)(500 + random_below(2000));
	envelope.body_case = CERTQ__ENVELOPE__BODY_DRAIN;
	envelope.drain = &drain;
	gateway_session_send(s, &envelope);
	gateway_session_enter(s, GW_DRAINING);
	gateway_session_check_drained(s);
}

void gateway_session_check_drained(struct gateway_session *s)
{
	if (s->state != GW_DRAINING || !s->connector_drains || s->pending > 0 || !s->connection)
		return;
	gateway_connection_close(s->connection, WSS_CLOSE_GOING_AWAY, "drained");
	gateway_session_enter(s, GW_CLOSED);
}

/* ---- events of the connection ---- */

void *gateway_session_opened(
	void *gateway, struct gateway_connection *c, const struct queue_identity *who)
{
	struct gateway *g = gateway;
	struct gateway_session *s = cc_alloc(sizeof(*s));

	s->gateway = g;
	s->connection = c;
	s->who = *who;
	s->timer = loop_timer_new(g->queue->loop, on_timer, s);
	s->next = g->sessions;
	s->back = &g->sessions;
	if (s->next)
		s->next->back = &s->next;
	g->sessions = s;
	g->session_count++;
	gateway_session_enter(s, GW_HELLO);
	if (g->draining) {
		gateway_connection_close(c, WSS_CLOSE_GOING_AWAY, "stopping");
		gateway_session_enter(s, GW_CLOSED);
	}
	return s;
}

void gateway_session_message(void *session, cc_view message)
{
	struct gateway_session *s = session;
	Certq__Envelope *envelope = NULL;

	if (s->state == GW_CLOSED)
		return;
	if (codec_decode(&certq__envelope__descriptor, message, WSS_MESSAGE_MAX, &envelope) !=
		CC_OK) {
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_MALFORMED, "not an Envelope");
		return;
	}
	if (envelope->seq != s->in_seq + 1 || envelope->ack_seq > s->out_seq) {
		codec_free(envelope);
		gateway_session_fail(
			s, CERTQ__ERROR_CODE__ERROR_SEQ_GAP, "sequence numbers have a gap");
		return;
	}
	s->in_seq = envelope->seq;
	gateway_message_handle(s, envelope);
}

void gateway_session_closed(void *session)
{
	struct gateway_session *s = session;

	s->connection = NULL;
	loop_timer_stop(s->timer);
	if (s->epoch && s->gateway->queue->store) {
		struct store_session_close_in in = {.session = gateway_session_id(s)};

		log_event(EV_CONNECTOR_GONE, LV_TEXT("tenant", s->who.tenant),
			LV_TEXT("connector", s->who.name), LV_U64("session", s->epoch));
		store_session_close(s->gateway->queue->store, &in, NULL, NULL);
	}
	s->state = GW_CLOSED;
	if (s->pending == 0)
		free_session(s);
}
