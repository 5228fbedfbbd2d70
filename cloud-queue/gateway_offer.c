/*
 * Offer: what a connector finished, page by page, after the store went back in time.  Sizes are checked
 * here; what an offered job means is the store's, in one transaction a page.  After the last page the
 * session gets work.
 */
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud-queue/gateway_int.h"
#include "cloud-queue/queue_int.h"
#include "proto/codec.h"

#define TXID_SIZE 16u

static Certq__OfferVerdict verdict_of(enum store_result result)
{
	switch (result) {
	case STORE_SEND:
		return CERTQ__OFFER_VERDICT__OFFER_SEND;
	case STORE_UNKNOWN_JOB:
		return CERTQ__OFFER_VERDICT__OFFER_UNKNOWN_JOB;
	case STORE_ALREADY_DONE:
		return CERTQ__OFFER_VERDICT__OFFER_ALREADY_DONE;
	case STORE_ALREADY_DEAD:
		return CERTQ__OFFER_VERDICT__OFFER_ALREADY_DEAD;
	case STORE_CANCELLED:
		return CERTQ__OFFER_VERDICT__OFFER_CANCELLED;
	default:
		return CERTQ__OFFER_VERDICT__OFFER_SAME;
	}
}

static void count(struct gateway_offered *to, const struct store_offer_out *out)
{
	for (size_t i = 0; i < out->count; i++) {
		to->jobs++;
		to->wanted += out->items[i].result == STORE_SEND;
		to->unknown += out->items[i].result == STORE_UNKNOWN_JOB;
	}
}

static void send_answers(struct gateway_session *s, const struct store_offer_out *out, bool last)
{
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__OfferAck ack = CERTQ__OFFER_ACK__INIT;
	Certq__OfferAnswer rows[STORE_HELD_MAX];
	Certq__OfferAnswer *list[STORE_HELD_MAX];
	Certq__CertificateId winners[STORE_HELD_MAX];

	for (size_t i = 0; i < out->count && i < STORE_HELD_MAX; i++) {
		certq__offer_answer__init(&rows[i]);
		rows[i].job_id = codec_bytes(out->items[i].job_id);
		rows[i].epoch = out->items[i].epoch;
		rows[i].verdict = verdict_of(out->items[i].result);
		rows[i].winner = gateway_message_winner(&out->items[i].winner, &winners[i]);
		list[ack.n_answers++] = &rows[i];
	}
	ack.answers = list;
	ack.last = last;
	envelope.body_case = CERTQ__ENVELOPE__BODY_OFFER_ACK;
	envelope.offer_ack = &ack;
	gateway_session_send(s, &envelope);
}

static void answered(
	struct gateway_session *s, const Certq__Offer *offer, const struct store_offer_out *out)
{
	if (out->err != CC_OK) {
		gateway_message_store_failed(s, out->err);
		return;
	}
	if (gateway_message_superseded(s, out->result))
		return;
	if (out->result != STORE_OK) {
		gateway_session_fail(
			s, CERTQ__ERROR_CODE__ERROR_OUT_OF_STATE, "an Offer that nobody asked for");
		return;
	}
	count(&s->offered, out);
	send_answers(s, out, offer->last);
	if (!offer->last)
		return;
	log_event(EV_CONNECTOR_OFFERED, LV_TEXT("tenant", s->who.tenant),
		LV_TEXT("connector", s->who.name), LV_U64("jobs", s->offered.jobs),
		LV_U64("lost", s->offered.wanted), LV_U64("unknown", s->offered.unknown));
	gateway_session_feed(s);
}

static void on_offered(void *arg, const struct store_offer_out *out)
{
	struct gateway_op *op = arg;

	if (gateway_op_alive(op))
		answered(op->session, op->envelope->offer, out);
	gateway_op_end(op);
}

static bool absent_or(ProtobufCBinaryData b, size_t size)
{
	return b.len == 0 || b.len == size;
}

/* Without a success there is a reason to offer it: its claim is open, or left a certificate or a doubt. */
static bool settle_ok(const Certq__OfferedJob *job)
{
	if (job->success)
		return job->certificate != NULL;
	return job->settle >= CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED &&
	       job->settle <= CERTQ__SETTLEMENT__SETTLE_IN_DOUBT &&
	       job->settle != CERTQ__SETTLEMENT__SETTLE_WINNER &&
	       job->settle != CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED;
}

static bool job_ok(const Certq__OfferedJob *job)
{
	return job->job_id.len == JOB_ID_SIZE && job->epoch > 0 && settle_ok(job) &&
	       gateway_result_certificate_ok(job->certificate) &&
	       (job->ca.len == 0 || text_is_name(codec_view(job->ca))) &&
	       absent_or(job->csr_sha256, SHA256_SIZE) &&
	       absent_or(job->spki_sha256, SHA256_SIZE) && absent_or(job->txid, TXID_SIZE);
}

static const char *offer_fault(const Certq__Offer *offer)
{
	if (offer->n_jobs > STORE_HELD_MAX)
		return "a page of too many jobs";
	for (size_t i = 0; i < offer->n_jobs; i++) {
		if (!job_ok(offer->jobs[i]))
			return "an offered job that cannot be";
	}
	return NULL;
}

void gateway_offer_handle(struct gateway_session *s, Certq__Envelope *envelope)
{
	const Certq__Offer *offer = envelope->offer;
	const char *fault = offer_fault(offer);
	struct store_offered jobs[STORE_HELD_MAX];
	struct store_offer_in in = {.session = gateway_session_id(s), .jobs = jobs};

	if (fault) {
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_MALFORMED, fault);
		codec_free(envelope);
		return;
	}
	for (size_t i = 0; i < offer->n_jobs; i++) {
		const Certq__OfferedJob *job = offer->jobs[i];

		jobs[i] = (struct store_offered){.job_id = codec_view(job->job_id),
			.epoch = job->epoch,
			.success = job->success,
			.certificate = gateway_result_certificate(job->certificate),
			.settle = (enum store_settlement)job->settle,
			.ca = codec_view(job->ca),
			.csr_sha256 = codec_view(job->csr_sha256),
			.spki_sha256 = codec_view(job->spki_sha256),
			.txid = codec_view(job->txid)};
	}
	in.count = offer->n_jobs;
	in.last = offer->last;
	store_offer(s->gateway->queue->store, &in, on_offered, gateway_op_begin(s, envelope));
}

/* Before the resume is over it is not told: the store does so at its end. */
void gateway_offer_recall(struct gateway_session *s, const struct store_hint *hint)
{
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__OfferAck ack = CERTQ__OFFER_ACK__INIT;
	Certq__OfferAnswer row = CERTQ__OFFER_ANSWER__INIT, *list[1] = {&row};

	if (s->state != GW_READY && s->state != GW_DRAINING)
		return;
	row.job_id = codec_bytes(hint->job_id);
	row.epoch = hint->epoch;
	row.verdict = verdict_of(hint->verdict);
	ack.n_answers = 1;
	ack.answers = list;
	ack.recall = true;
	envelope.body_case = CERTQ__ENVELOPE__BODY_OFFER_ACK;
	envelope.offer_ack = &ack;
	gateway_session_send(s, &envelope);
}
