/*
 * From Hello to READY: identity and nonce, the jobs that the connector still holds with a verdict
 * for each, and what it can do.  Nothing is sent out to it before its ResumeEnd was answered.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud-queue/gateway_int.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/route.h"
#include "proto/codec.h"
#include "proto/dsse.h"
#include <stdlib.h>

#define PROTO        1u
#define ID_SIZE      16u
#define SOFTWARE_MAX 64u
#define PAGES_MAX    16u /* of Capabilities */
#define SPKI_MAX     1024u

/* ---- Hello ---- */

static const char *hello_fault(const Certq__Hello *hello)
{
	if (hello->proto_min > PROTO || hello->proto_max < PROTO)
		return "the connector speaks another version of the protocol, version 1 is spoken "
		       "here: update the older side";
	if (hello->instance_id.len != ID_SIZE || hello->journal_id.len != ID_SIZE ||
		(hello->resume_nonce.len != 0 && hello->resume_nonce.len != STORE_NONCE_SIZE))
		return "ids of a wrong length";
	if (!text_is_clean(codec_view(hello->software), SOFTWARE_MAX))
		return "software is not plain text";
	return NULL;
}

static void send_hello_ack(struct gateway_session *s, const struct store_session_open_out *out)
{
	const struct queue *q = s->gateway->queue;
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__HelloAck ack = CERTQ__HELLO_ACK__INIT;

	ack.proto = PROTO;
	ack.session_epoch = out->session_epoch;
	ack.resume_nonce = codec_bytes(cc_view_of(out->nonce, sizeof(out->nonce)));
	ack.store_generation = out->generation;
	ack.offer = out->offer;
	ack.lease_ms = (uint32_t)store_lease_ms(q->store);
	ack.ping_ms = (uint32_t)(q->config->ping_s * 1000);
	ack.hangup_ms = (uint32_t)(q->config->hangup_s * 1000);
	ack.max_message = WSS_MESSAGE_MAX;
	ack.wall_ms = clock_realtime_ms();
	envelope.body_case = CERTQ__ENVELOPE__BODY_HELLO_ACK;
	envelope.hello_ack = &ack;
	gateway_session_send(s, &envelope);
}

/* session_epoch orders the connections of one identity: the older ones end.  One that is still being
 * opened is newer, for the store answers in order. */
static void supersede_others(struct gateway_session *s)
{
	for (struct gateway_session *other = s->gateway->sessions, *next; other; other = next) {
		next = other->next;
		if (other != s && other->state > GW_OPENING &&
			gateway_session_is(
				other, cc_view_text(s->who.tenant), cc_view_text(s->who.name)))
			gateway_session_fail(other, CERTQ__ERROR_CODE__ERROR_SUPERSEDED,
				"a newer connection of this connector is open");
	}
}

static void session_is_open(struct gateway_session *s, const struct store_session_open_out *out)
{
	supersede_others(s);
	log_event(EV_CONNECTOR_CONNECTED, LV_TEXT("tenant", s->who.tenant),
		LV_TEXT("connector", s->who.name), LV_U64("session", s->epoch));
	gateway_connection_greeted(s->connection);
	gateway_session_enter(s, GW_RESUMING);
	send_hello_ack(s, out);
}

static void on_open(void *arg, const struct store_session_open_out *out)
{
	struct gateway_op *op = arg;
	struct gateway_session *s = op->session;
	bool alive = gateway_op_alive(op);

	if (out->err == CC_OK && out->result == STORE_OK) {
		s->epoch = out->session_epoch;
		if (alive) {
			session_is_open(s, out);
		} else {
			struct store_session_close_in in = {.session = gateway_session_id(s)};

			store_session_close(s->gateway->queue->store, &in, NULL, NULL);
		}
	} else if (!alive) {
		; /* nobody to tell */
	} else if (out->err != CC_OK) {
		gateway_message_store_failed(s, out->err);
	} else if (out->result == STORE_IDENTITY_CONFLICT) {
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_IDENTITY_CONFLICT,
			"another journal has this identity");
	} else {
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_DISABLED,
			out->result == STORE_DISABLED ? "disabled" : "not enrolled here");
	}
	gateway_op_end(op);
}

static void open_session(struct gateway_op *op)
{
	const struct gateway_session *s = op->session;
	const Certq__Hello *hello = op->envelope->hello;
	struct store_session_open_in in = {.tenant = cc_view_text(s->who.tenant),
		.connector = cc_view_text(s->who.name),
		.instance_id = codec_view(hello->instance_id),
		.journal_id = codec_view(hello->journal_id),
		.nonce = codec_view(hello->resume_nonce),
		.generation = hello->store_generation,
		.software = codec_view(hello->software),
		.certificate_sha256 = cc_view_of(s->who.certificate_sha256, SHA256_SIZE)};

	store_session_open(s->gateway->queue->store, &in, on_open, op);
}

/* Who was enrolled under this name?  A certificate of an earlier enrolment opens no session: it
 * would take the place of the connector that is enrolled now. */
static void on_connector(void *arg, const struct store_connector_get_out *out)
{
	struct gateway_op *op = arg;
	struct gateway_session *s = op->session;
	bool known = out->err == CC_OK && out->result == STORE_OK;

	if (known && cc_view_equal(out->connector.certificate_sha256,
			     cc_view_of(s->who.certificate_sha256, SHA256_SIZE))) {
		s->result_spki = cc_blob_copy(out->connector.result_spki);
		open_session(op);
		return;
	}
	if (out->err != CC_OK)
		gateway_message_store_failed(s, out->err);
	else
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_DISABLED,
			known ? "not the certificate of its enrolment" : "not enrolled here");
	gateway_op_end(op);
}

void gateway_resume_hello(struct gateway_session *s, Certq__Envelope *envelope)
{
	const char *fault = hello_fault(envelope->hello);
	struct store_connector_get_in in = {
		.tenant = cc_view_text(s->who.tenant), .id = cc_view_text(s->who.name)};

	if (fault) {
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_VERSION, fault);
		codec_free(envelope);
		return;
	}
	s->state = GW_OPENING; /* the Hello timer goes on */
	store_connector_get(
		s->gateway->queue->store, &in, on_connector, gateway_op_begin(s, envelope));
}

/* ---- HeldLeases, ResumeEnd ---- */

static void send_verdicts(struct gateway_session *s, const struct store_session_resume_out *out)
{
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__HeldVerdicts message = CERTQ__HELD_VERDICTS__INIT;
	struct gateway_verdicts verdicts;

	gateway_message_verdicts(out->items, out->count, &verdicts);
	message.n_verdicts = verdicts.count;
	message.verdicts = verdicts.list;
	envelope.body_case = CERTQ__ENVELOPE__BODY_HELD_VERDICTS;
	envelope.held_verdicts = &message;
	gateway_session_send(s, &envelope);
}

static void send_resume_end(struct gateway_session *s, const Certq__ResumeEnd *asked)
{
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__ResumeEnd end = CERTQ__RESUME_END__INIT;

	end.resume_nonce = asked->resume_nonce;
	end.held_total = asked->held_total;
	envelope.body_case = CERTQ__ENVELOPE__BODY_RESUME_END;
	envelope.resume_end = &end;
	gateway_session_send(s, &envelope);
}

static void resumed(struct gateway_session *s, Certq__Envelope *envelope,
	const struct store_session_resume_out *out)
{
	switch (out->result) {
	case STORE_OK:
		break;
	case STORE_SUPERSEDED:
		gateway_session_fail(
			s, CERTQ__ERROR_CODE__ERROR_SUPERSEDED, "a newer session is open");
		return;
	case STORE_COUNT_MISMATCH:
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_MALFORMED,
			"held_total is not the number of the jobs that were listed");
		return;
	default:
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_IDENTITY_CONFLICT,
			"the nonce is not the one of HelloAck");
		return;
	}
	if (envelope->body_case == CERTQ__ENVELOPE__BODY_HELD_LEASES) {
		send_verdicts(s, out);
		return;
	}
	send_resume_end(s, envelope->resume_end);
	gateway_session_enter(s, GW_READY);
	if (s->gateway->draining)
		gateway_session_drain(s);
	else
		gateway_session_feed(s);
}

static void on_resume(void *arg, const struct store_session_resume_out *out)
{
	struct gateway_op *op = arg;

	if (gateway_op_alive(op)) {
		if (out->err != CC_OK)
			gateway_message_store_failed(op->session, out->err);
		else
			resumed(op->session, op->envelope, out);
	}
	gateway_op_end(op);
}

void gateway_resume_held(struct gateway_session *s, Certq__Envelope *envelope)
{
	const Certq__HeldLeases *page = envelope->held_leases;
	struct store_held held[STORE_HELD_MAX];
	struct store_session_resume_in in = {.session = gateway_session_id(s), .held = held};

	if (page->n_jobs > STORE_HELD_MAX) {
		gateway_session_fail(
			s, CERTQ__ERROR_CODE__ERROR_OVER_LIMIT, "a page of too many jobs");
		codec_free(envelope);
		return;
	}
	for (size_t i = 0; i < page->n_jobs; i++) {
		const Certq__HeldJob *job = page->jobs[i];

		if (job->job_id.len != JOB_ID_SIZE) {
			gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_MALFORMED, "job_id");
			codec_free(envelope);
			return;
		}
		held[i] = (struct store_held){.job_id = codec_view(job->job_id),
			.epoch = job->epoch,
			.claimed = job->claimed,
			.parked = job->parked,
			.finished = job->finished,
			.settling = job->settling};
	}
	in.held_count = page->n_jobs;
	in.nonce = codec_view(page->resume_nonce);
	store_session_resume(
		s->gateway->queue->store, &in, on_resume, gateway_op_begin(s, envelope));
}

void gateway_resume_end(struct gateway_session *s, Certq__Envelope *envelope)
{
	struct store_session_resume_in in = {.session = gateway_session_id(s),
		.nonce = codec_view(envelope->resume_end->resume_nonce),
		.last = true,
		.held_total = envelope->resume_end->held_total};

	store_session_resume(
		s->gateway->queue->store, &in, on_resume, gateway_op_begin(s, envelope));
}

/* ---- Capabilities ---- */

/* The pages that have come; the views that the store gets point into them. */
struct gateway_capabilities {
	Certq__Envelope *pages[PAGES_MAX];
	size_t count;
};

void gateway_capabilities_free(struct gateway_capabilities *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->count; i++)
		codec_free(c->pages[i]);
	free(c);
}

static bool key_ok(const Certq__PublicKey *key)
{
	uint8_t id[SHA256_SIZE];

	if (key->spki.len == 0 || key->spki.len > SPKI_MAX)
		return false;
	dsse_key_id(codec_view(key->spki), id);
	return cc_view_equal(codec_view(key->key_id), cc_view_of(id, sizeof(id)));
}

static bool page_ok(const Certq__Capabilities *page)
{
	for (size_t i = 0; i < page->n_ca_profiles; i++) {
		if (!text_is_name(codec_view(page->ca_profiles[i])))
			return false;
	}
	for (size_t i = 0; i < page->n_decryption_keys; i++) {
		if (!key_ok(page->decryption_keys[i]))
			return false;
	}
	return true;
}

static void on_capabilities(void *arg, const struct store_set_capabilities_out *out)
{
	struct gateway_op *op = arg;
	struct gateway_session *s = op->session;

	if (gateway_op_alive(op)) {
		if (out->err != CC_OK) {
			gateway_message_store_failed(s, out->err);
		} else if (!gateway_message_superseded(s, out->result)) {
			s->serves = true;
			gateway_session_feed(s);
		}
	}
	gateway_op_end(op);
}

static void hand_over(struct gateway_session *s, const struct gateway_capabilities *c)
{
	struct store_set_capabilities_in in = {.session = gateway_session_id(s)};
	cc_view *profiles = cc_alloc((c->count * CODEC_REPEATED_MAX + 1) * sizeof(*profiles));
	struct store_key *keys = cc_alloc((c->count * CODEC_REPEATED_MAX + 1) * sizeof(*keys));

	for (size_t p = 0; p < c->count; p++) {
		const Certq__Capabilities *page = c->pages[p]->capabilities;

		for (size_t i = 0; i < page->n_kinds; i++) {
			enum store_kind kind = route_kind_named(codec_view(page->kinds[i]));

			if (kind) /* a kind of a newer version: no job of it comes from here */
				in.kinds |= STORE_KIND_BIT(kind);
		}
		for (size_t i = 0; i < page->n_ca_profiles; i++)
			profiles[in.ca_profile_count++] = codec_view(page->ca_profiles[i]);
		for (size_t i = 0; i < page->n_decryption_keys; i++)
			keys[in.key_count++] = (struct store_key){
				.key_id = codec_view(page->decryption_keys[i]->key_id),
				.spki = codec_view(page->decryption_keys[i]->spki)};
	}
	in.ca_profiles = profiles;
	in.keys = keys;
	store_set_capabilities(
		s->gateway->queue->store, &in, on_capabilities, gateway_op_begin(s, NULL));
	free(profiles);
	free(keys);
}

/* `sites` is not used: which groups a connector is in was said at its enrolment, not by itself. */
void gateway_resume_capabilities(struct gateway_session *s, Certq__Envelope *envelope)
{
	bool more = envelope->capabilities->more;
	struct gateway_capabilities *c;

	if (!page_ok(envelope->capabilities)) {
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_MALFORMED, "Capabilities");
		codec_free(envelope);
		return;
	}
	if (!s->gathering)
		s->gathering = cc_alloc(sizeof(*s->gathering));
	c = s->gathering;
	if (c->count == PAGES_MAX) {
		gateway_session_fail(
			s, CERTQ__ERROR_CODE__ERROR_OVER_LIMIT, "too many Capabilities");
		codec_free(envelope);
		return;
	}
	c->pages[c->count++] = envelope;
	if (more)
		return;
	hand_over(s, c);
	gateway_capabilities_free(c);
	s->gathering = NULL;
}
