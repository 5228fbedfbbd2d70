/*
 * The table of messages: which states allow each, and who handles it.  A message that its state
 * does not allow is fatal; a body that this version does not know is not.
 */
#include "base/log.h"
#include "base/text.h"
#include "cloud-queue/gateway_int.h"
#include "cloud-queue/queue_int.h"
#include "proto/codec.h"

#define RESUMED  (GW_IN(GW_READY) | GW_IN(GW_DRAINING))
#define GREETED  (GW_IN(GW_RESUMING) | RESUMED)
#define TEXT_MAX 1024u

typedef void (*handler)(struct gateway_session *s, Certq__Envelope *envelope);

/* `delivery_limit` is absolute, so the message may be lost, repeated or late without harm. */
static void on_credit(struct gateway_session *s, Certq__Envelope *envelope)
{
	const Certq__Credit *credit = envelope->credit;

	s->delivery_limit = credit->delivery_limit;
	s->limit_bytes = credit->limit_bytes;
	s->connector_drains = credit->drain;
	codec_free(envelope);
	gateway_session_feed(s);
	gateway_session_check_drained(s);
}

static void on_ping(struct gateway_session *s, Certq__Envelope *envelope)
{
	Certq__Pong pong = CERTQ__PONG__INIT;
	Certq__Envelope answer = CERTQ__ENVELOPE__INIT;

	pong.token = envelope->ping->token;
	answer.body_case = CERTQ__ENVELOPE__BODY_PONG;
	answer.pong = &pong;
	codec_free(envelope);
	gateway_session_send(s, &answer);
}

/* Of use to a reader of frames only. */
static void on_nothing(struct gateway_session *s, Certq__Envelope *envelope)
{
	(void)s;
	codec_free(envelope);
}

/* The connector goes away: it takes no more jobs; what it holds it settles or gives back itself. */
static void on_drain(struct gateway_session *s, Certq__Envelope *envelope)
{
	s->connector_drains = true;
	codec_free(envelope);
	gateway_session_check_drained(s);
}

static void on_error(struct gateway_session *s, Certq__Envelope *envelope)
{
	const Certq__Error *error = envelope->error;
	cc_view text = codec_view(error->text);

	log_event(EV_CONNECTOR_REFUSED, LV_TEXT("tenant", s->who.tenant),
		LV_TEXT("connector", s->who.name),
		LV_TEXT("reason", error->fatal ? "the connector ended the session"
					       : "the connector complains"),
		LV_U64("code", (uint64_t)error->code),
		LV_VIEW("detail", text_is_clean(text, TEXT_MAX) ? text : CC_VIEW_NONE));
	if (error->fatal) {
		gateway_connection_close(s->connection, WSS_CLOSE_GOING_AWAY, "as you say");
		gateway_session_enter(s, GW_CLOSED);
	}
	codec_free(envelope);
}

static const struct rule {
	Certq__Envelope__BodyCase body;
	unsigned states;
	handler handle;
} rules[] = {
	{CERTQ__ENVELOPE__BODY_HELLO, GW_IN(GW_HELLO), gateway_resume_hello},
	{CERTQ__ENVELOPE__BODY_HELD_LEASES, GW_IN(GW_RESUMING), gateway_resume_held},
	{CERTQ__ENVELOPE__BODY_RESUME_END, GW_IN(GW_RESUMING), gateway_resume_end},
	{CERTQ__ENVELOPE__BODY_OFFER, RESUMED, gateway_offer_handle},
	{CERTQ__ENVELOPE__BODY_CAPABILITIES, GREETED, gateway_resume_capabilities},
	{CERTQ__ENVELOPE__BODY_CREDIT, GREETED, on_credit},
	{CERTQ__ENVELOPE__BODY_CLAIMS, RESUMED, gateway_jobs_claims},
	{CERTQ__ENVELOPE__BODY_PARK, RESUMED, gateway_jobs_park},
	{CERTQ__ENVELOPE__BODY_SETTLE, GREETED, gateway_jobs_settle},
	{CERTQ__ENVELOPE__BODY_LEASE_EXTEND, RESUMED, gateway_jobs_extend},
	{CERTQ__ENVELOPE__BODY_RESULT, GREETED, gateway_result_handle},
	{CERTQ__ENVELOPE__BODY_NACK, RESUMED, gateway_jobs_nack},
	{CERTQ__ENVELOPE__BODY_DRAIN, GREETED, on_drain},
	{CERTQ__ENVELOPE__BODY_PING, GREETED, on_ping},
	{CERTQ__ENVELOPE__BODY_PONG, GREETED, on_nothing},
	{CERTQ__ENVELOPE__BODY_STATUS, GREETED, on_nothing},
	{CERTQ__ENVELOPE__BODY_ERROR, GW_IN(GW_HELLO) | GW_IN(GW_OPENING) | GREETED, on_error},
};

void gateway_message_handle(struct gateway_session *s, Certq__Envelope *envelope)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (rules[i].body == envelope->body_case && (rules[i].states & GW_IN(s->state))) {
			rules[i].handle(s, envelope);
			return;
		}
	}
	if (envelope->body_case == CERTQ__ENVELOPE__BODY__NOT_SET && (GREETED & GW_IN(s->state)))
		gateway_session_complain(s, CERTQ__ERROR_CODE__ERROR_UNIMPLEMENTED,
			"a message that is not known here");
	else
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_OUT_OF_STATE,
			"a message that this state does not allow");
	codec_free(envelope);
}

/* ---- words shared by the handlers ---- */

Certq__CertificateId *gateway_message_winner(
	const struct store_certificate *from, Certq__CertificateId *room)
{
	if (from->sha256.size == 0)
		return NULL;
	certq__certificate_id__init(room);
	room->cert_sha256 = codec_bytes(from->sha256);
	room->issuer = codec_bytes(from->issuer);
	room->serial = codec_bytes(from->serial);
	return room;
}

Certq__JobVerdict gateway_message_verdict(enum store_result result)
{
	switch (result) {
	case STORE_KEEP:
		return CERTQ__JOB_VERDICT__VERDICT_KEEP;
	case STORE_ALREADY_DONE:
		return CERTQ__JOB_VERDICT__VERDICT_ALREADY_DONE;
	case STORE_CANCELLED:
		return CERTQ__JOB_VERDICT__VERDICT_CANCELLED;
	default:
		return CERTQ__JOB_VERDICT__VERDICT_LOST;
	}
}

void gateway_message_verdicts(
	const struct store_item_verdict *items, size_t count, struct gateway_verdicts *ret)
{
	ret->count = count < STORE_HELD_MAX ? count : STORE_HELD_MAX;
	for (size_t i = 0; i < ret->count; i++) {
		Certq__HeldVerdict *row = &ret->rows[i];

		certq__held_verdict__init(row);
		row->job_id = codec_bytes(items[i].job_id);
		row->epoch = items[i].epoch;
		row->verdict = gateway_message_verdict(items[i].result);
		row->lease_ms = (uint32_t)items[i].lease_ms;
		row->winner = gateway_message_winner(&items[i].winner, &ret->winners[i]);
		ret->list[i] = row;
	}
}

void gateway_message_store_failed(struct gateway_session *s, cc_err err)
{
	log_event(EV_CONNECTOR_REFUSED, LV_TEXT("tenant", s->who.tenant),
		LV_TEXT("connector", s->who.name), LV_ERR(err));
	gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_STORE, "the store cannot answer now");
}

bool gateway_message_superseded(struct gateway_session *s, enum store_result result)
{
	if (result != STORE_SUPERSEDED)
		return false;
	gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_SUPERSEDED, "a newer session is open");
	return true;
}
