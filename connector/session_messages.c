/*
 * The session's messages: how each is made, and which may come in which state.
 *
 * Lengths are checked before anything is decoded (proto/codec.h); ids, digests and verdicts are
 * checked here, so that the owner sees only values that can be.
 */
#include "connector/session_int.h"

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/hash.h"
#include "base/log.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>

enum {
	CLAIMS_AT_ONCE = 256,
	SHA256_LEN = 32,
	NAME_MAX_LEN = 1024,
	SERIAL_MAX_LEN = 64,
};

struct session_claim {
	Certq__Claim claim; /* the views are into `ca` and `bytes` */
	uint8_t job_id[JOB_ID_SIZE], csr[SHA256_LEN], spki[SHA256_LEN], txid[16];
	char *ca;
	struct session_claim *next;
};

/* ---- out ---- */

static bool send_envelope(struct session *s, Certq__Envelope *envelope)
{
	cc_blob packed = CC_BLOB_NONE;
	cc_err err;
	envelope->seq = s->sent_seq + 1;
	envelope->ack_seq = s->seen_seq;
	packed = codec_pack(envelope);
	if (packed.size > (s->max_message != 0 ? s->max_message : WIRE_MESSAGE_MAX)) {
		log_event(EV_PKCS_UPLOAD_FAILURE, LV_TEXT("reason", "a message over the limit"),
			LV_U64("bytes", packed.size));
		cc_blob_free(&packed);
		return false;
	}
	err = s->wire->ops->send(s->wire, &packed);
	cc_blob_free(&packed);
	if (err != CC_OK) {
		session_close(s, WIRE_CLOSE_POLICY);
		return false;
	}
	s->sent_seq++;
	return true;
}

void session_send_hello(struct session *s)
{
	static const char software[] = "certconnector " CC_RELEASE;
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Hello m = CERTQ__HELLO__INIT;
	m.proto_min = 1;
	m.proto_max = 1;
	m.instance_id = codec_bytes(cc_view_of(s->instance_id, sizeof s->instance_id));
	m.journal_id = codec_bytes(journal_id(s->journal));
	m.resume_nonce = codec_bytes(journal_nonce(s->journal));
	m.held_total = (uint32_t)s->held_count;
	m.software = codec_text(software);
	m.max_inflight = s->settings.max_inflight;
	m.store_generation = journal_offered_generation(s->journal);
	e.body_case = CERTQ__ENVELOPE__BODY_HELLO;
	e.hello = &m;
	send_envelope(s, &e);
}

void session_send_held_page(struct session *s)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__HeldLeases m = CERTQ__HELD_LEASES__INIT;
	Certq__HeldJob items[SESSION_PAGE];
	Certq__HeldJob *pointers[SESSION_PAGE];
	size_t n = s->held_count - s->held_at;
	if (n > SESSION_PAGE)
		n = SESSION_PAGE;
	for (size_t i = 0; i < n; i++) {
		const struct session_held *held = &s->held[s->held_at + i];
		certq__held_job__init(&items[i]);
		items[i].job_id = codec_bytes(cc_view_of(held->job_id, JOB_ID_SIZE));
		items[i].epoch = held->epoch;
		items[i].claimed = held->claimed;
		items[i].parked = held->parked;
		items[i].finished = held->finished;
		items[i].settling = held->settling;
		pointers[i] = &items[i];
	}
	m.resume_nonce = codec_bytes(cc_view_of(s->nonce, sizeof s->nonce));
	m.n_jobs = n;
	m.jobs = pointers;
	e.body_case = CERTQ__ENVELOPE__BODY_HELD_LEASES;
	e.held_leases = &m;
	s->held_at += n;
	s->page_size = n;
	s->page_waits = true;
	send_envelope(s, &e);
}

void session_send_resume_end(struct session *s)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__ResumeEnd m = CERTQ__RESUME_END__INIT;
	m.resume_nonce = codec_bytes(cc_view_of(s->nonce, sizeof s->nonce));
	m.held_total = (uint32_t)s->held_count;
	e.body_case = CERTQ__ENVELOPE__BODY_RESUME_END;
	e.resume_end = &m;
	send_envelope(s, &e);
}

void session_send_credit(struct session *s)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Credit m = CERTQ__CREDIT__INIT;
	m.delivery_limit = s->credit_sent;
	m.limit_bytes = (uint64_t)s->settings.max_inflight * WIRE_MESSAGE_MAX;
	m.drain = s->own_drain || s->gateway_drains;
	e.body_case = CERTQ__ENVELOPE__BODY_CREDIT;
	e.credit = &m;
	s->credit_said = true;
	send_envelope(s, &e);
}

void session_set_places(struct session *s, uint32_t places)
{
	s->places = places;
	if (!session_can_send(s) || s->own_drain || s->gateway_drains)
		return;
	uint64_t limit = s->jobs_received + places;
	if (s->credit_said && limit <= s->credit_sent)
		return;
	if (limit > s->credit_sent)
		s->credit_sent = limit;
	session_send_credit(s);
}

void session_send_ping(struct session *s)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Ping m = CERTQ__PING__INIT;
	s->ping_sent = clock_boottime_ms();
	m.token = (uint64_t)s->ping_sent;
	e.body_case = CERTQ__ENVELOPE__BODY_PING;
	e.ping = &m;
	send_envelope(s, &e);
}

static void send_pong(struct session *s, uint64_t token)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Pong m = CERTQ__PONG__INIT;
	m.token = token;
	e.body_case = CERTQ__ENVELOPE__BODY_PONG;
	e.pong = &m;
	send_envelope(s, &e);
}

void session_send_drain(struct session *s, uint32_t grace_ms)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Drain m = CERTQ__DRAIN__INIT;
	m.grace_ms = grace_ms;
	e.body_case = CERTQ__ENVELOPE__BODY_DRAIN;
	e.drain = &m;
	send_envelope(s, &e);
}

void session_send_error(struct session *s, Certq__ErrorCode code, bool fatal, const char *text)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Error m = CERTQ__ERROR__INIT;
	m.code = code;
	m.fatal = fatal;
	m.about_seq = s->seen_seq;
	m.text = codec_text(text);
	e.body_case = CERTQ__ENVELOPE__BODY_ERROR;
	e.error = &m;
	send_envelope(s, &e);
}

static void free_claim(struct session_claim *c)
{
	free(c->ca);
	free(c);
}

void session_clear_claims(struct session *s)
{
	while (s->claims != NULL) {
		struct session_claim *c = s->claims;
		s->claims = c->next;
		free_claim(c);
	}
	s->claim_count = 0;
}

/* Lengths are the owner's promise: 16 and 32 bytes. */
void session_queue_claim(struct session *s, const Certq__Claim *claim)
{
	struct session_claim *c = cc_alloc(sizeof *c);
	struct session_claim **last = &s->claims;
	memcpy(c->job_id, claim->job_id.data, sizeof c->job_id);
	memcpy(c->csr, claim->csr_sha256.data, sizeof c->csr);
	memcpy(c->spki, claim->spki_sha256.data, sizeof c->spki);
	memcpy(c->txid, claim->txid.data, sizeof c->txid);
	c->ca = cc_strndup(codec_view(claim->ca));
	certq__claim__init(&c->claim);
	c->claim.job_id = codec_bytes(cc_view_of(c->job_id, sizeof c->job_id));
	c->claim.epoch = claim->epoch;
	c->claim.ca = codec_text(c->ca);
	c->claim.csr_sha256 = codec_bytes(cc_view_of(c->csr, sizeof c->csr));
	c->claim.spki_sha256 = codec_bytes(cc_view_of(c->spki, sizeof c->spki));
	c->claim.txid = codec_bytes(cc_view_of(c->txid, sizeof c->txid));
	while (*last != NULL)
		last = &(*last)->next;
	*last = c;
	s->claim_count++;
}

bool session_flush_claims(struct session *s)
{
	bool sent = true;
	while (s->claims != NULL && sent && session_can_send(s)) {
		Certq__Envelope e = CERTQ__ENVELOPE__INIT;
		Certq__Claims m = CERTQ__CLAIMS__INIT;
		Certq__Claim *pointers[CLAIMS_AT_ONCE];
		struct session_claim *c = s->claims;
		while (c != NULL && m.n_claims < CLAIMS_AT_ONCE) {
			pointers[m.n_claims++] = &c->claim;
			c = c->next;
		}
		m.claims = pointers;
		e.body_case = CERTQ__ENVELOPE__BODY_CLAIMS;
		e.claims = &m;
		crashpoint_pass(CRASH_CONNECTOR_BEFORE_CLAIM);
		sent = send_envelope(s, &e);
		crashpoint_pass(CRASH_CONNECTOR_AFTER_CLAIM);
		for (size_t i = 0; i < m.n_claims; i++) {
			struct session_claim *gone = s->claims;
			s->claims = gone->next;
			free_claim(gone);
			s->claim_count--;
		}
	}
	return sent;
}

bool session_send_park(struct session *s, const Certq__Park *park)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Park m = *park;
	bool sent = false;
	e.body_case = CERTQ__ENVELOPE__BODY_PARK;
	e.park = &m;
	crashpoint_pass(CRASH_CONNECTOR_BEFORE_PARK);
	sent = session_can_send(s) && send_envelope(s, &e);
	crashpoint_pass(CRASH_CONNECTOR_AFTER_PARK);
	return sent;
}

bool session_send_settle(struct session *s, const Certq__Settle *settle)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Settle m = *settle;
	e.body_case = CERTQ__ENVELOPE__BODY_SETTLE;
	e.settle = &m;
	return session_can_send(s) && send_envelope(s, &e);
}

bool session_send_result(struct session *s, const Certq__Result *result)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Result m = *result;
	e.body_case = CERTQ__ENVELOPE__BODY_RESULT;
	e.result = &m;
	return session_can_send(s) && send_envelope(s, &e);
}

bool session_send_offer(struct session *s, const Certq__Offer *offer)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Offer m = *offer;
	e.body_case = CERTQ__ENVELOPE__BODY_OFFER;
	e.offer = &m;
	return session_can_send(s) && send_envelope(s, &e);
}

bool session_send_nack(struct session *s, const Certq__Nack *nack)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Nack m = *nack;
	e.body_case = CERTQ__ENVELOPE__BODY_NACK;
	e.nack = &m;
	return session_can_send(s) && send_envelope(s, &e);
}

bool session_send_extend(struct session *s, Certq__Lease **leases, size_t count)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__LeaseExtend m = CERTQ__LEASE_EXTEND__INIT;
	m.n_leases = count;
	m.leases = leases;
	e.body_case = CERTQ__ENVELOPE__BODY_LEASE_EXTEND;
	e.lease_extend = &m;
	return session_can_send(s) && send_envelope(s, &e);
}

bool session_send_capabilities(struct session *s, const Certq__Capabilities *capabilities)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Capabilities m = *capabilities;
	e.body_case = CERTQ__ENVELOPE__BODY_CAPABILITIES;
	e.capabilities = &m;
	return session_can_send(s) && send_envelope(s, &e);
}

/* ---- in ---- */

static bool malformed(struct session *s, const char *text)
{
	session_fail(s, CERTQ__ERROR_CODE__ERROR_MALFORMED, text);
	return false;
}

static bool good_winner(const Certq__CertificateId *winner)
{
	return winner == NULL ||
	       (winner->cert_sha256.len == SHA256_LEN && winner->issuer.len <= NAME_MAX_LEN &&
		       winner->serial.len <= SERIAL_MAX_LEN);
}

static bool take_verdict(struct session *s, ProtobufCBinaryData job_id, uint32_t epoch,
	Certq__JobVerdict verdict, uint32_t lease_ms, const Certq__CertificateId *winner)
{
	struct session_verdict v = {codec_view(job_id), epoch, verdict, lease_ms, winner};
	if (job_id.len != JOB_ID_SIZE || verdict < CERTQ__JOB_VERDICT__VERDICT_KEEP ||
		verdict > CERTQ__JOB_VERDICT__VERDICT_CANCELLED || !good_winner(winner))
		return malformed(s, "a verdict that cannot be");
	s->events->verdict(s->arg, &v);
	return !s->closing;
}

static bool take_verdicts(struct session *s, Certq__HeldVerdict *const *items, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const Certq__HeldVerdict *v = items[i];
		if (!take_verdict(s, v->job_id, v->epoch, v->verdict, v->lease_ms, v->winner))
			return false;
	}
	return true;
}

/* One verdict for each item, in the order of the page: an item without one would wait for ever. */
static bool fits_page(const struct session *s, const Certq__HeldVerdicts *m)
{
	const struct session_held *page = s->held + (s->held_at - s->page_size);
	if (m->n_verdicts != s->page_size)
		return false;
	for (size_t i = 0; i < m->n_verdicts; i++) {
		if (m->verdicts[i]->epoch != page[i].epoch ||
			!cc_view_equal(codec_view(m->verdicts[i]->job_id),
				cc_view_of(page[i].job_id, JOB_ID_SIZE)))
			return false;
	}
	return true;
}

static void take_page(struct session *s, const Certq__HeldVerdicts *m)
{
	if (!s->page_waits || !fits_page(s, m)) {
		malformed(s, "verdicts that do not fit the page");
		return;
	}
	s->page_waits = false;
	if (take_verdicts(s, m->verdicts, m->n_verdicts))
		session_continue_resume(s);
}

static void take_job(struct session *s, Certq__Envelope *e)
{
	Certq__Job *job = e->job;
	if (job->job_id.len != JOB_ID_SIZE || job->job == NULL || job->signer == NULL ||
		job->epoch == 0) {
		malformed(s, "a job without its parts");
		return;
	}
	if (++s->jobs_received > s->credit_sent) {
		session_fail(s, CERTQ__ERROR_CODE__ERROR_CREDIT, "a job beyond the credit");
		return;
	}
	e->job = NULL;
	e->body_case = CERTQ__ENVELOPE__BODY__NOT_SET;
	s->events->job(s->arg, job);
}

static void take_claim_acks(struct session *s, const Certq__ClaimAcks *m)
{
	for (size_t i = 0; i < m->n_acks; i++) {
		const Certq__ClaimAck *ack = m->acks[i];
		if (ack->job_id.len != JOB_ID_SIZE || !good_winner(ack->winner) ||
			ack->verdict < CERTQ__CLAIM_VERDICT__CLAIM_GRANTED ||
			ack->verdict > CERTQ__CLAIM_VERDICT__CLAIM_RETRY_LATER) {
			malformed(s, "a claim's answer that cannot be");
			return;
		}
		s->events->claim_ack(s->arg, ack);
		if (s->closing)
			return;
	}
}

static void take_result_ack(struct session *s, const Certq__ResultAck *ack)
{
	if (ack->job_id.len != JOB_ID_SIZE || !good_winner(ack->winner) ||
		ack->verdict < CERTQ__RESULT_VERDICT__RESULT_STORED ||
		ack->verdict > CERTQ__RESULT_VERDICT__RESULT_INVALID)
		malformed(s, "a result's answer that cannot be");
	else
		s->events->result_ack(s->arg, ack);
}

static void take_settle_ack(struct session *s, const Certq__SettleAck *ack)
{
	if (ack->job_id.len != JOB_ID_SIZE || ack->verdict < CERTQ__SETTLE_VERDICT__SETTLE_ACK_OK ||
		ack->verdict > CERTQ__SETTLE_VERDICT__SETTLE_ACK_RETRY_LATER)
		malformed(s, "a settlement's answer that cannot be");
	else
		s->events->settle_ack(s->arg, ack);
}

static void take_nack_ack(struct session *s, const Certq__NackAck *ack)
{
	if (ack->job_id.len != JOB_ID_SIZE || ack->verdict < CERTQ__NACK_VERDICT__NACK_ACK_OK ||
		ack->verdict > CERTQ__NACK_VERDICT__NACK_ACK_RETRY_LATER)
		malformed(s, "an answer to a Nack that cannot be");
	else
		s->events->nack_ack(s->arg, ack);
}

static bool good_offer_ack(const Certq__OfferAck *ack)
{
	for (size_t i = 0; i < ack->n_answers; i++) {
		const Certq__OfferAnswer *a = ack->answers[i];
		if (a->job_id.len != JOB_ID_SIZE || a->epoch == 0 || !good_winner(a->winner) ||
			a->verdict < CERTQ__OFFER_VERDICT__OFFER_SAME ||
			a->verdict > CERTQ__OFFER_VERDICT__OFFER_CANCELLED)
			return false;
	}
	return true;
}

static void take_offer_ack(struct session *s, const Certq__OfferAck *ack)
{
	if (!good_offer_ack(ack) || !s->events->offer_ack(s->arg, ack))
		malformed(s, "an answer to an Offer that cannot be");
	else if (ack->last)
		s->failures = 0;
}

static void take_error(struct session *s, const Certq__Error *error)
{
	if (error->fatal)
		session_was_refused(s, error);
	else
		log_event(EV_CONNECTION_FAILED, LV_TEXT("reason", "the queue complains"),
			LV_I64("code", error->code));
}

static void take_pong(struct session *s, const Certq__Pong *pong)
{
	if (pong->token == (uint64_t)s->ping_sent)
		s->round_trip_ms = clock_boottime_ms() - s->ping_sent;
}

/* Messages that may come while the session is coming up. */
static bool take_before_ready(struct session *s, const Certq__Envelope *e)
{
	if (e->body_case == CERTQ__ENVELOPE__BODY_HELLO_ACK && s->state == SESSION_HELLO_SENT) {
		session_take_hello_ack(s, e->hello_ack);
		return true;
	}
	if (s->state != SESSION_RESUMING)
		return false;
	if (e->body_case == CERTQ__ENVELOPE__BODY_HELD_VERDICTS) {
		take_page(s, e->held_verdicts);
		return true;
	}
	if (e->body_case == CERTQ__ENVELOPE__BODY_RESUME_END && !s->page_waits &&
		s->held_at == s->held_count) {
		if (e->resume_end->held_total == s->held_count)
			session_resumed(s);
		else
			malformed(s, "the resume ended with another count");
		return true;
	}
	return false;
}

/* Messages of a session that is up. */
static bool take_when_up(struct session *s, Certq__Envelope *e)
{
	switch (e->body_case) {
	case CERTQ__ENVELOPE__BODY_JOB:
		take_job(s, e);
		return true;
	case CERTQ__ENVELOPE__BODY_CLAIM_ACKS:
		take_claim_acks(s, e->claim_acks);
		return true;
	case CERTQ__ENVELOPE__BODY_PARK_ACK:
		take_verdict(s, e->park_ack->job_id, e->park_ack->epoch, e->park_ack->verdict, 0,
			e->park_ack->winner);
		return true;
	case CERTQ__ENVELOPE__BODY_SETTLE_ACK:
		take_settle_ack(s, e->settle_ack);
		return true;
	case CERTQ__ENVELOPE__BODY_LEASE_EXTEND_ACK:
		take_verdicts(s, e->lease_extend_ack->verdicts, e->lease_extend_ack->n_verdicts);
		return true;
	case CERTQ__ENVELOPE__BODY_RESULT_ACK:
		take_result_ack(s, e->result_ack);
		return true;
	case CERTQ__ENVELOPE__BODY_NACK_ACK:
		take_nack_ack(s, e->nack_ack);
		return true;
	case CERTQ__ENVELOPE__BODY_OFFER_ACK:
		take_offer_ack(s, e->offer_ack);
		return true;
	case CERTQ__ENVELOPE__BODY_JOB_GONE:
		take_verdict(s, e->job_gone->job_id, e->job_gone->epoch, e->job_gone->verdict, 0,
			e->job_gone->winner);
		return true;
	case CERTQ__ENVELOPE__BODY_DRAIN:
		session_take_drain(s, e->drain);
		return true;
	default:
		return false;
	}
}

/* Messages that may come at any time after our Hello. */
static bool take_any_time(struct session *s, const Certq__Envelope *e)
{
	switch (e->body_case) {
	case CERTQ__ENVELOPE__BODY_PING:
		send_pong(s, e->ping->token);
		return true;
	case CERTQ__ENVELOPE__BODY_PONG:
		take_pong(s, e->pong);
		return true;
	case CERTQ__ENVELOPE__BODY_ERROR:
		take_error(s, e->error);
		return true;
	case CERTQ__ENVELOPE__BODY__NOT_SET:
		session_send_error(
			s, CERTQ__ERROR_CODE__ERROR_UNIMPLEMENTED, false, "an unknown message");
		return true;
	default:
		return false;
	}
}

void session_take_message(struct session *s, cc_view message)
{
	Certq__Envelope *e = NULL;
	cc_err err = codec_decode(&certq__envelope__descriptor, message, WIRE_MESSAGE_MAX, &e);
	if (err != CC_OK) {
		malformed(s, "a message that does not decode");
		return;
	}
	if (e->seq != s->seen_seq + 1 || e->ack_seq > s->sent_seq) {
		session_fail(s, CERTQ__ERROR_CODE__ERROR_SEQ_GAP, "a gap in the sequence");
	} else {
		s->seen_seq = e->seq;
		if (!take_any_time(s, e) && !take_before_ready(s, e) &&
			!(session_can_send(s) && take_when_up(s, e)))
			session_fail(s, CERTQ__ERROR_CODE__ERROR_OUT_OF_STATE,
				"a message that may not come now");
	}
	codec_free(e);
}
