/*
 * Rig, first part: what the rig is, and its fake cloud, which stands in the place of the WebSocket.
 * Tests include connector_rig.h.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/chan.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "connector/flow.h"
#include "connector/journal_int.h"
#include "proto/codec.h"
#include "proto/greeting.h"
#include "tests/support/fixture_ca.h"
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RIG_BUILD    "rig-build"
#define RIG_FRAMES   512
#define RIG_QUIET_MS 25

struct rig_runner {
	struct rig *rig;
	const char *name;
	struct chan *chan;
	Ca__CaResult submit, find; /* what it answers */
	Ca__CaResubmit resubmit;
	Ca__CaFind can_find;
	bool silent, away;
	const struct fixture_ca *signs;
	Ca__CaResult revoke;
	bool can_revoke;
	Ca__CaResult poll, withdraw;
	bool can_withdraw, no_cookie, submitted_again;
	bool long_chain; /* more certificates than may be */
	unsigned submitted, found, chains, revoked, polled, withdrawn;
	uint64_t last_id;
};

struct rig {
	struct wire wire;
	struct loop *loop;
	struct loop_timer *quiet, *deliver;
	char dir[64];
	struct flow *flow;
	struct journal *journal;
	struct fixture_ca ca, other_ca;
	cc_err fatal;
	bool stopped;
	bool holds; /* on_unknown of both CAs; before rig_restart */

	/* cloud */
	cc_blob signer; /* a SignerStatement to come with jobs; empty: nothing that decodes */
	const struct wire_events *events;
	void *arg;
	bool connected, refuses, mute, opening, ending;
	bool no_claim_answer, no_result_answer, no_settle_answer;
	int64_t born_s;
	unsigned dialled, close_status;
	cc_blob inbox[RIG_FRAMES];
	size_t inbox_count;
	Certq__Envelope *out[RIG_FRAMES];
	size_t out_count;
	uint64_t in_seq, out_seq;
	Certq__JobVerdict held_verdict;
	Certq__ClaimVerdict claim_verdict;
	Certq__ResultVerdict result_verdict;
	Certq__SettleVerdict settle_verdict;
	Certq__NackVerdict nack_verdict;
	Certq__JobVerdict park_verdict;
	bool no_park_answer;
	const struct fixture_ca *winner;
	Certq__CertificateId winner_id;
	uint8_t winner_digest[32];
	uint8_t nonce[16];
	uint64_t generation;
	bool wants_offer, no_offer_answer; /* of another generation */
	uint64_t offered_generation;       /* as Hello said */
	Certq__OfferVerdict offer_verdict;
	uint32_t offer_epoch; /* 0: as offered */
	uint32_t max_message; /* 0: as the protocol says */
	int64_t wall_ms;      /* 0: as the clock says */
	bool stray_verdict;   /* the first verdict of a page is about another lease */
	unsigned fatal_errors;
	int64_t shift;
	unsigned quiet_times;
	MDB_txn *held_commits;

	/* keyvault */
	struct chan *vault;
	bool vault_silent, vault_away, full_detail;
	Vault__VaultStatus begin_status, finish_status, rewrap_status, reorder_status,
		approve_status;
	const char *revokes_at; /* the CA of an order to revoke */
	Vault__VaultStatus orphan_status;
	Vault__OrderOp last_op;
	unsigned orphans;
	unsigned begun, finished, reordered, rewrapped, listed, chained, approved;
	uint64_t decisions, confirmed;
	uint64_t last_vault_id;

	struct rig_runner runners[2];
};

static inline void rig_fail(const char *what)
{
	fail_msg("rig: %s", what);
}

/* ---- the cloud ---- */

static inline void rig_post(struct rig *r, Certq__Envelope *e)
{
	e->seq = ++r->in_seq;
	e->ack_seq = r->out_seq;
	if (r->inbox_count == RIG_FRAMES)
		rig_fail("inbox");
	r->inbox[r->inbox_count++] = codec_pack(e);
	loop_timer_set(r->deliver, 0);
}

#define RIG_POST(r, KIND, field, message)                                                          \
	do {                                                                                       \
		Certq__Envelope e_ = CERTQ__ENVELOPE__INIT;                                        \
		e_.body_case = CERTQ__ENVELOPE__BODY_##KIND;                                       \
		e_.field = (message);                                                              \
		rig_post((r), &e_);                                                                \
	} while (0)

/* What goes with a verdict that names a winner; NULL: there is none. */
static inline Certq__CertificateId *rig_winner(struct rig *r)
{
	if (r->winner == NULL)
		return NULL;
	certq__certificate_id__init(&r->winner_id);
	hash_sha256(cc_blob_view(&r->winner->der), r->winner_digest);
	r->winner_id.cert_sha256 = codec_bytes(cc_view_of(r->winner_digest, 32));
	return &r->winner_id;
}

static inline void rig_hello_ack(struct rig *r)
{
	Certq__HelloAck m = CERTQ__HELLO_ACK__INIT;
	random_bytes(r->nonce, sizeof r->nonce);
	m.proto = 1;
	m.session_epoch = r->dialled;
	m.resume_nonce = codec_bytes(cc_view_of(r->nonce, sizeof r->nonce));
	m.store_generation = r->generation;
	m.offer = r->wants_offer && r->offered_generation != 0 &&
		  r->offered_generation != r->generation;
	m.lease_ms = 120000;
	m.max_message = r->max_message;
	m.wall_ms = r->wall_ms != 0 ? r->wall_ms : clock_realtime_ms();
	RIG_POST(r, HELLO_ACK, hello_ack, &m);
}

static inline void rig_verdicts(struct rig *r, const Certq__HeldLeases *held)
{
	Certq__HeldVerdicts m = CERTQ__HELD_VERDICTS__INIT;
	Certq__HeldVerdict *items = cc_alloc((held->n_jobs + 1) * sizeof *items);
	Certq__HeldVerdict **list = cc_alloc((held->n_jobs + 1) * sizeof *list);
	for (size_t i = 0; i < held->n_jobs; i++) {
		certq__held_verdict__init(&items[i]);
		items[i].job_id = held->jobs[i]->job_id;
		items[i].epoch = held->jobs[i]->epoch + (r->stray_verdict && i == 0 ? 1 : 0);
		items[i].verdict = r->held_verdict;
		items[i].lease_ms = held->jobs[i]->claimed ? 0 : 120000;
		items[i].winner = rig_winner(r);
		list[i] = &items[i];
	}
	m.n_verdicts = held->n_jobs;
	m.verdicts = list;
	RIG_POST(r, HELD_VERDICTS, held_verdicts, &m);
	free(items);
	free(list);
}

static inline void rig_claim_acks(struct rig *r, const Certq__Claims *claims)
{
	Certq__ClaimAcks m = CERTQ__CLAIM_ACKS__INIT;
	Certq__ClaimAck *items = cc_alloc((claims->n_claims + 1) * sizeof *items);
	Certq__ClaimAck **list = cc_alloc((claims->n_claims + 1) * sizeof *list);
	for (size_t i = 0; i < claims->n_claims; i++) {
		certq__claim_ack__init(&items[i]);
		items[i].job_id = claims->claims[i]->job_id;
		items[i].epoch = claims->claims[i]->epoch;
		items[i].ca = claims->claims[i]->ca;
		items[i].verdict = r->claim_verdict;
		list[i] = &items[i];
	}
	m.n_acks = claims->n_claims;
	m.acks = list;
	RIG_POST(r, CLAIM_ACKS, claim_acks, &m);
	free(items);
	free(list);
}

static inline void rig_result_ack(struct rig *r, const Certq__Result *result)
{
	Certq__ResultAck m = CERTQ__RESULT_ACK__INIT;
	m.job_id = result->job_id;
	m.epoch = result->epoch;
	m.verdict = r->result_verdict;
	m.winner = rig_winner(r);
	RIG_POST(r, RESULT_ACK, result_ack, &m);
}

static inline void rig_settle_ack(struct rig *r, const Certq__Settle *settle)
{
	Certq__SettleAck m = CERTQ__SETTLE_ACK__INIT;
	m.job_id = settle->job_id;
	m.epoch = settle->epoch;
	m.ca = settle->ca;
	m.verdict = r->settle_verdict;
	RIG_POST(r, SETTLE_ACK, settle_ack, &m);
}

static inline void rig_nack_ack(struct rig *r, const Certq__Nack *nack)
{
	Certq__NackAck m = CERTQ__NACK_ACK__INIT;
	m.job_id = nack->job_id;
	m.epoch = nack->epoch;
	m.verdict = r->nack_verdict;
	RIG_POST(r, NACK_ACK, nack_ack, &m);
}

static inline void rig_extend_ack(struct rig *r, const Certq__LeaseExtend *extend)
{
	Certq__LeaseExtendAck m = CERTQ__LEASE_EXTEND_ACK__INIT;
	Certq__HeldVerdict item = CERTQ__HELD_VERDICT__INIT, *list[1] = {&item};
	item.winner = rig_winner(r);
	for (size_t i = 0; i < extend->n_leases; i++) {
		item.job_id = extend->leases[i]->job_id;
		item.epoch = extend->leases[i]->epoch;
		item.verdict = r->held_verdict;
		item.lease_ms = 120000;
		m.n_verdicts = 1;
		m.verdicts = list;
		RIG_POST(r, LEASE_EXTEND_ACK, lease_extend_ack, &m);
	}
}

/* A job that the store did not know was submitted again. */
static inline void rig_recall(
	struct rig *r, cc_view job_id, uint32_t epoch, Certq__OfferVerdict verdict)
{
	Certq__OfferAck m = CERTQ__OFFER_ACK__INIT;
	Certq__OfferAnswer item = CERTQ__OFFER_ANSWER__INIT, *list[1] = {&item};
	item.job_id = codec_bytes(job_id);
	item.epoch = epoch;
	item.verdict = verdict;
	m.n_answers = 1;
	m.answers = list;
	m.recall = true;
	RIG_POST(r, OFFER_ACK, offer_ack, &m);
}

static inline void rig_offer_ack(struct rig *r, const Certq__Offer *offer)
{
	Certq__OfferAck m = CERTQ__OFFER_ACK__INIT;
	Certq__OfferAnswer *items = cc_alloc((offer->n_jobs + 1) * sizeof *items);
	Certq__OfferAnswer **list = cc_alloc((offer->n_jobs + 1) * sizeof *list);
	for (size_t i = 0; i < offer->n_jobs; i++) {
		certq__offer_answer__init(&items[i]);
		items[i].job_id = offer->jobs[i]->job_id;
		items[i].epoch = r->offer_epoch != 0 ? r->offer_epoch : offer->jobs[i]->epoch;
		items[i].verdict = r->offer_verdict;
		items[i].winner = rig_winner(r);
		list[i] = &items[i];
	}
	m.n_answers = offer->n_jobs;
	m.answers = list;
	m.last = offer->last;
	RIG_POST(r, OFFER_ACK, offer_ack, &m);
	free(items);
	free(list);
}

static inline void rig_park_ack(struct rig *r, const Certq__Park *park)
{
	Certq__ParkAck m = CERTQ__PARK_ACK__INIT;
	m.job_id = park->job_id;
	m.epoch = park->epoch;
	m.verdict = r->park_verdict;
	RIG_POST(r, PARK_ACK, park_ack, &m);
}

static inline void rig_cloud_takes(struct rig *r, const Certq__Envelope *e)
{
	Certq__Envelope answer = CERTQ__ENVELOPE__INIT;
	Certq__Pong pong = CERTQ__PONG__INIT;
	if (r->mute)
		return;
	switch (e->body_case) {
	case CERTQ__ENVELOPE__BODY_HELLO:
		r->offered_generation = e->hello->store_generation;
		rig_hello_ack(r);
		break;
	case CERTQ__ENVELOPE__BODY_HELD_LEASES:
		rig_verdicts(r, e->held_leases);
		break;
	case CERTQ__ENVELOPE__BODY_RESUME_END:
		answer.body_case = CERTQ__ENVELOPE__BODY_RESUME_END;
		answer.resume_end = e->resume_end;
		rig_post(r, &answer);
		break;
	case CERTQ__ENVELOPE__BODY_CLAIMS:
		if (!r->no_claim_answer)
			rig_claim_acks(r, e->claims);
		break;
	case CERTQ__ENVELOPE__BODY_RESULT:
		if (!r->no_result_answer)
			rig_result_ack(r, e->result);
		break;
	case CERTQ__ENVELOPE__BODY_SETTLE:
		if (!r->no_settle_answer)
			rig_settle_ack(r, e->settle);
		break;
	case CERTQ__ENVELOPE__BODY_PARK:
		if (!r->no_park_answer)
			rig_park_ack(r, e->park);
		break;
	case CERTQ__ENVELOPE__BODY_OFFER:
		if (!r->no_offer_answer)
			rig_offer_ack(r, e->offer);
		break;
	case CERTQ__ENVELOPE__BODY_NACK:
		rig_nack_ack(r, e->nack);
		break;
	case CERTQ__ENVELOPE__BODY_LEASE_EXTEND:
		rig_extend_ack(r, e->lease_extend);
		break;
	case CERTQ__ENVELOPE__BODY_PING:
		pong.token = e->ping->token;
		answer.body_case = CERTQ__ENVELOPE__BODY_PONG;
		answer.pong = &pong;
		rig_post(r, &answer);
		break;
	case CERTQ__ENVELOPE__BODY_ERROR:
		r->fatal_errors += e->error->fatal ? 1 : 0;
		break;
	default:
		break;
	}
}

static inline void rig_busy(struct rig *r)
{
	r->quiet_times = 0;
	loop_timer_set(r->quiet, RIG_QUIET_MS);
}

static inline cc_err rig_send(struct wire *w, cc_blob *message)
{
	struct rig *r = (struct rig *)w;
	Certq__Envelope *e = NULL;
	if (!r->connected)
		return cc_fail(CC_CLOSED, "rig");
	assert_int_equal(codec_decode(&certq__envelope__descriptor, cc_blob_view(message),
				 WIRE_MESSAGE_MAX, &e),
		CC_OK);
	assert_int_equal(e->seq, r->out_seq + 1);
	r->out_seq = e->seq;
	cc_blob_free(message);
	if (r->out_count == RIG_FRAMES)
		rig_fail("frames");
	r->out[r->out_count++] = e;
	rig_busy(r);
	rig_cloud_takes(r, e);
	return CC_OK;
}

static inline void rig_connect(struct wire *w, const struct wire_events *events, void *arg)
{
	struct rig *r = (struct rig *)w;
	r->events = events;
	r->arg = arg;
	r->dialled++;
	r->in_seq = 0;
	r->out_seq = 0;
	r->opening = true;
	loop_timer_set(r->deliver, 0);
}

static inline void rig_clear_inbox(struct rig *r)
{
	for (size_t i = 0; i < r->inbox_count; i++)
		cc_blob_free(&r->inbox[i]);
	r->inbox_count = 0;
}

static inline void rig_wire_close(struct wire *w, unsigned status)
{
	struct rig *r = (struct rig *)w;
	r->close_status = status;
	r->ending = true;
	loop_timer_set(r->deliver, 0);
}

static inline size_t rig_wire_queued(const struct wire *w)
{
	(void)w;
	return 0;
}

static inline void rig_end_connection(struct rig *r)
{
	r->ending = false;
	r->opening = false;
	r->connected = false;
	rig_clear_inbox(r);
	r->events->closed(r->arg, cc_fail(CC_CLOSED, "rig: the connection ended"));
}

/* One event a time, as a socket has it. */
static inline void rig_deliver(void *arg)
{
	struct rig *r = arg;
	rig_busy(r);
	if (r->ending) {
		rig_end_connection(r);
	} else if (r->opening && r->refuses) {
		rig_end_connection(r);
	} else if (r->opening) {
		r->opening = false;
		r->connected = true;
		r->events->opened(r->arg);
	} else if (r->inbox_count > 0) {
		cc_blob first = r->inbox[0];
		memmove(r->inbox, r->inbox + 1, (r->inbox_count - 1) * sizeof r->inbox[0]);
		r->inbox_count--;
		r->events->message(r->arg, cc_blob_view(&first));
		cc_blob_free(&first);
	}
	if (r->ending || r->opening || r->inbox_count > 0)
		loop_timer_set(r->deliver, 0);
}
