/*
 * What a connector says about jobs it holds, apart from their results: extend, claim, park, settle,
 * give back.  Each is one operation of the store; a store that cannot answer, or that is behind, makes
 * RETRY_LATER, and no answer where there is no such verdict: the connector says it again by itself.
 */
#include "base/crashpoint.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud-queue/gateway_int.h"
#include "cloud-queue/queue_int.h"
#include "proto/codec.h"
#include "proto/job.h"
#include <stdlib.h>

#define RETRY_MS     2000u
#define DIGEST_SIZE  32u
#define REF_MAX      256u
#define PARK_MAX_MS  (60ull * 86400 * 1000)
#define DELAY_MAX_MS (24u * 3600 * 1000)

static void malformed(struct gateway_session *s, Certq__Envelope *envelope, const char *what)
{
	gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_MALFORMED, what);
	codec_free(envelope);
}

static bool job_id_ok(ProtobufCBinaryData id)
{
	return id.len == JOB_ID_SIZE;
}

/* ---- LeaseExtend ---- */

static void send_extend_ack(struct gateway_session *s, const struct store_extend_out *out)
{
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__LeaseExtendAck ack = CERTQ__LEASE_EXTEND_ACK__INIT;
	struct gateway_verdicts verdicts;

	gateway_message_verdicts(out->items, out->count, &verdicts);
	ack.n_verdicts = verdicts.count;
	ack.verdicts = verdicts.list;
	envelope.body_case = CERTQ__ENVELOPE__BODY_LEASE_EXTEND_ACK;
	envelope.lease_extend_ack = &ack;
	gateway_session_send(s, &envelope);
}

/* A store that failed gives no answer: the connector extends twice in each lease. */
static void on_extended(void *arg, const struct store_extend_out *out)
{
	struct gateway_op *op = arg;

	if (gateway_op_alive(op) && out->err == CC_OK &&
		!gateway_message_superseded(op->session, out->result))
		send_extend_ack(op->session, out);
	gateway_op_end(op);
}

/* The part of a message that one operation of the store takes. */
static struct gateway_op *begin_part(
	struct gateway_session *s, Certq__Envelope *envelope, size_t from, size_t total)
{
	bool last = total - from <= STORE_HELD_MAX;
	struct gateway_op *op = gateway_op_begin(s, last ? envelope : NULL);

	op->message = envelope;
	op->from = from;
	op->count = last ? total - from : STORE_HELD_MAX;
	return op;
}

static void extend_part(struct gateway_session *s, struct gateway_op *op, bool busy)
{
	Certq__Lease *const *from = op->message->lease_extend->leases + op->from;
	struct store_lease_id leases[STORE_HELD_MAX];
	struct store_extend_in in = {
		.session = gateway_session_id(s), .leases = leases, .count = op->count};

	for (size_t i = 0; i < op->count; i++)
		leases[i] = (struct store_lease_id){
			.job_id = codec_view(from[i]->job_id), .epoch = from[i]->epoch};
	if (busy)
		on_extended(op, &(struct store_extend_out){.err = CC_BUSY});
	else
		store_extend(s->gateway->queue->store, &in, on_extended, op);
}

void gateway_jobs_extend(struct gateway_session *s, Certq__Envelope *envelope)
{
	const Certq__LeaseExtend *message = envelope->lease_extend;
	size_t total = message->n_leases;
	bool busy = gateway_session_busy(s);

	for (size_t i = 0; i < total; i++) {
		if (!job_id_ok(message->leases[i]->job_id)) {
			malformed(s, envelope, "job_id");
			return;
		}
	}
	for (size_t from = 0; from < total; from += STORE_HELD_MAX)
		extend_part(s, begin_part(s, envelope, from, total), busy);
	if (total == 0)
		codec_free(envelope);
}

/* ---- Claims ---- */

static Certq__ClaimVerdict claim_verdict(enum store_result result)
{
	switch (result) {
	case STORE_GRANTED:
		return CERTQ__CLAIM_VERDICT__CLAIM_GRANTED;
	case STORE_ALREADY_DONE:
		return CERTQ__CLAIM_VERDICT__CLAIM_ALREADY_DONE;
	case STORE_CANCELLED:
		return CERTQ__CLAIM_VERDICT__CLAIM_CANCELLED;
	case STORE_EXPIRED:
		return CERTQ__CLAIM_VERDICT__CLAIM_EXPIRED;
	case STORE_CONFLICT: /* an earlier claim has to be settled first */
	case STORE_ON_HOLD:  /* offers are missing */
		return CERTQ__CLAIM_VERDICT__CLAIM_RETRY_LATER;
	default:
		return CERTQ__CLAIM_VERDICT__CLAIM_LOST;
	}
}

static void send_claim_acks(const struct gateway_op *op, const struct store_claim_out *out)
{
	Certq__Claim *const *asked = op->message->claims->claims + op->from;
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__ClaimAcks acks = CERTQ__CLAIM_ACKS__INIT;
	Certq__ClaimAck rows[STORE_HELD_MAX];
	Certq__ClaimAck *list[STORE_HELD_MAX];
	Certq__CertificateId winners[STORE_HELD_MAX];

	for (size_t i = 0; i < op->count; i++) {
		certq__claim_ack__init(&rows[i]);
		rows[i].job_id = asked[i]->job_id;
		rows[i].epoch = asked[i]->epoch;
		rows[i].ca = asked[i]->ca;
		rows[i].verdict = CERTQ__CLAIM_VERDICT__CLAIM_RETRY_LATER;
		if (out->err == CC_OK && i < out->count) {
			rows[i].verdict = claim_verdict(out->items[i].result);
			rows[i].winner = gateway_message_winner(&out->items[i].winner, &winners[i]);
		}
		if (rows[i].verdict == CERTQ__CLAIM_VERDICT__CLAIM_RETRY_LATER)
			rows[i].retry_after_ms = RETRY_MS;
		list[i] = &rows[i];
	}
	acks.n_acks = op->count;
	acks.acks = list;
	envelope.body_case = CERTQ__ENVELOPE__BODY_CLAIM_ACKS;
	envelope.claim_acks = &acks;
	crashpoint_pass(CRASH_QUEUE_BEFORE_CLAIM_ACK);
	gateway_session_send(op->session, &envelope);
}

static void on_claimed(void *arg, const struct store_claim_out *out)
{
	struct gateway_op *op = arg;

	if (gateway_op_alive(op) &&
		!(out->err == CC_OK && gateway_message_superseded(op->session, out->result)))
		send_claim_acks(op, out);
	gateway_op_end(op);
}

static bool claim_ok(const Certq__Claim *claim)
{
	return job_id_ok(claim->job_id) && text_is_name(codec_view(claim->ca)) &&
	       claim->csr_sha256.len == DIGEST_SIZE && claim->spki_sha256.len == DIGEST_SIZE &&
	       claim->txid.len == TXID_SIZE;
}

static void claim_part(struct gateway_session *s, struct gateway_op *op, bool busy)
{
	Certq__Claim *const *from = op->message->claims->claims + op->from;
	struct store_claim claims[STORE_HELD_MAX];
	struct store_claim_in in = {
		.session = gateway_session_id(s), .claims = claims, .count = op->count};

	for (size_t i = 0; i < op->count; i++)
		claims[i] = (struct store_claim){.job_id = codec_view(from[i]->job_id),
			.epoch = from[i]->epoch,
			.ca = codec_view(from[i]->ca),
			.csr_sha256 = codec_view(from[i]->csr_sha256),
			.spki_sha256 = codec_view(from[i]->spki_sha256),
			.txid = codec_view(from[i]->txid)};
	if (busy)
		on_claimed(op, &(struct store_claim_out){.err = CC_BUSY});
	else
		store_claim(s->gateway->queue->store, &in, on_claimed, op);
}

void gateway_jobs_claims(struct gateway_session *s, Certq__Envelope *envelope)
{
	const Certq__Claims *message = envelope->claims;
	size_t total = message->n_claims;
	bool busy = gateway_session_busy(s);

	for (size_t i = 0; i < total; i++) {
		if (!claim_ok(message->claims[i])) {
			malformed(s, envelope, "a Claim's fields");
			return;
		}
	}
	for (size_t from = 0; from < total; from += STORE_HELD_MAX)
		claim_part(s, begin_part(s, envelope, from, total), busy);
	if (total == 0)
		codec_free(envelope);
}

/* ---- Park ---- */

/* No answer after a failure of the store: the job stays CLAIMED, and the connector asks again in its next
 * session.  There is no verdict for "later", so one is taken however far the store is behind. */
static void on_parked(void *arg, const struct store_park_out *out)
{
	struct gateway_op *op = arg;
	struct gateway_session *s = op->session;
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__ParkAck ack = CERTQ__PARK_ACK__INIT;
	Certq__CertificateId winner;

	if (gateway_op_alive(op) && out->err == CC_OK &&
		!gateway_message_superseded(s, out->result)) {
		ack.job_id = op->envelope->park->job_id;
		ack.epoch = op->envelope->park->epoch;
		ack.verdict = gateway_message_verdict(out->result);
		ack.winner = gateway_message_winner(&out->winner, &winner);
		envelope.body_case = CERTQ__ENVELOPE__BODY_PARK_ACK;
		envelope.park_ack = &ack;
		gateway_session_send(s, &envelope);
	}
	gateway_op_end(op);
}

void gateway_jobs_park(struct gateway_session *s, Certq__Envelope *envelope)
{
	const Certq__Park *park = envelope->park;
	struct store_park_in in = {.session = gateway_session_id(s),
		.job_id = codec_view(park->job_id),
		.epoch = park->epoch,
		.ref = codec_view(park->ref)};

	if (!job_id_ok(park->job_id) || park->deadline_ms > PARK_MAX_MS ||
		!text_is_clean(in.ref, REF_MAX)) {
		malformed(s, envelope, "Park");
		return;
	}
	in.deadline_ms = (int64_t)park->deadline_ms;
	store_park(s->gateway->queue->store, &in, on_parked, gateway_op_begin(s, envelope));
}

/* ---- Settle ---- */

static Certq__SettleVerdict settle_verdict(const struct store_settle_out *out)
{
	if (out->err != CC_OK)
		return CERTQ__SETTLE_VERDICT__SETTLE_ACK_RETRY_LATER;
	switch (out->result) {
	case STORE_OK:
		return CERTQ__SETTLE_VERDICT__SETTLE_ACK_OK;
	case STORE_DUPLICATE_SAME:
		return CERTQ__SETTLE_VERDICT__SETTLE_ACK_DUPLICATE_SAME;
	case STORE_CONFLICT:
		return CERTQ__SETTLE_VERDICT__SETTLE_ACK_CONFLICT;
	default:
		return CERTQ__SETTLE_VERDICT__SETTLE_ACK_UNKNOWN_ATTEMPT;
	}
}

static void on_settled(void *arg, const struct store_settle_out *out)
{
	struct gateway_op *op = arg;
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__SettleAck ack = CERTQ__SETTLE_ACK__INIT;

	if (gateway_op_alive(op) &&
		!(out->err == CC_OK && gateway_message_superseded(op->session, out->result))) {
		ack.job_id = op->envelope->settle->job_id;
		ack.epoch = op->envelope->settle->epoch;
		ack.ca = op->envelope->settle->ca;
		ack.verdict = settle_verdict(out);
		envelope.body_case = CERTQ__ENVELOPE__BODY_SETTLE_ACK;
		envelope.settle_ack = &ack;
		gateway_session_send(op->session, &envelope);
	}
	gateway_op_end(op);
}

void gateway_jobs_settle(struct gateway_session *s, Certq__Envelope *envelope)
{
	const Certq__Settle *settle = envelope->settle;
	struct store_settle_in in = {.tenant = cc_view_text(s->who.tenant),
		.connector = cc_view_text(s->who.name),
		.transport_sha256 = cc_view_of(s->who.certificate_sha256, SHA256_SIZE),
		.job_id = codec_view(settle->job_id),
		.epoch = settle->epoch,
		.ca = codec_view(settle->ca),
		.certificate = gateway_result_certificate(settle->certificate)};

	if (!job_id_ok(settle->job_id) || !text_is_name(in.ca) ||
		settle->outcome < CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED ||
		settle->outcome > CERTQ__SETTLEMENT__SETTLE_IN_DOUBT ||
		!gateway_result_certificate_ok(settle->certificate)) {
		malformed(s, envelope, "Settle");
		return;
	}
	if (gateway_session_busy(s)) {
		on_settled(
			gateway_op_begin(s, envelope), &(struct store_settle_out){.err = CC_BUSY});
		return;
	}
	in.outcome = (enum store_settlement)settle->outcome;
	store_settle(s->gateway->queue->store, &in, on_settled, gateway_op_begin(s, envelope));
}

/* ---- Nack ---- */

static Certq__NackVerdict nack_verdict(const struct store_nack_out *out)
{
	if (out->err != CC_OK)
		return CERTQ__NACK_VERDICT__NACK_ACK_RETRY_LATER;
	switch (out->result) {
	case STORE_OK:
		return CERTQ__NACK_VERDICT__NACK_ACK_OK;
	case STORE_IS_DEAD:
		return CERTQ__NACK_VERDICT__NACK_ACK_DEAD;
	default:
		return CERTQ__NACK_VERDICT__NACK_ACK_STALE_EPOCH;
	}
}

static void on_nacked(void *arg, const struct store_nack_out *out)
{
	struct gateway_op *op = arg;
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__NackAck ack = CERTQ__NACK_ACK__INIT;

	if (gateway_op_alive(op) &&
		!(out->err == CC_OK && gateway_message_superseded(op->session, out->result))) {
		ack.job_id = op->envelope->nack->job_id;
		ack.epoch = op->envelope->nack->epoch;
		ack.verdict = nack_verdict(out);
		envelope.body_case = CERTQ__ENVELOPE__BODY_NACK_ACK;
		envelope.nack_ack = &ack;
		gateway_session_send(op->session, &envelope);
	}
	gateway_op_end(op);
}

void gateway_jobs_nack(struct gateway_session *s, Certq__Envelope *envelope)
{
	const Certq__Nack *nack = envelope->nack;
	struct store_nack_in in = {.session = gateway_session_id(s),
		.job_id = codec_view(nack->job_id),
		.epoch = nack->epoch,
		.delay_ms = nack->retry_delay_ms,
		.count = nack->count_attempt,
		.exclude = nack->exclude_me,
		.not_issued = nack->not_issued,
		.ca = codec_view(nack->ca)};

	if (!job_id_ok(nack->job_id) || nack->reason < CERTQ__NACK_REASON__NACK_BUSY ||
		nack->reason > CERTQ__NACK_REASON__NACK_CA_UNREACHABLE ||
		nack->retry_delay_ms > DELAY_MAX_MS || (in.ca.size > 0 && !text_is_name(in.ca))) {
		malformed(s, envelope, "Nack");
		return;
	}
	if (gateway_session_busy(s)) {
		on_nacked(gateway_op_begin(s, envelope), &(struct store_nack_out){.err = CC_BUSY});
		return;
	}
	in.reason = (enum store_nack_reason)nack->reason;
	store_nack(s->gateway->queue->store, &in, on_nacked, gateway_op_begin(s, envelope));
}

/* ---- JobGone ---- */

void gateway_jobs_gone(struct gateway_session *s, const struct store_hint *hint)
{
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__JobGone gone = CERTQ__JOB_GONE__INIT;
	Certq__CertificateId winner;

	/* earlier the connector takes verdicts only; its next message about the job brings one */
	if (s->state != GW_READY && s->state != GW_DRAINING)
		return;
	gone.job_id = codec_bytes(hint->job_id);
	gone.epoch = hint->epoch;
	gone.verdict = gateway_message_verdict(hint->verdict);
	gone.winner = gateway_message_winner(&hint->winner, &winner);
	envelope.body_case = CERTQ__ENVELOPE__BODY_JOB_GONE;
	envelope.job_gone = &gone;
	gateway_session_send(s, &envelope);
}
