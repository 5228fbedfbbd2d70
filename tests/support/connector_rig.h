/*
 * Rig: a connector's flow between a fake cloud, a fake keyvault and fake runners, in one process.
 *
 * The cloud is a struct wire; keyvault and runners are the other ends of socketpairs.  All of them
 * answer by themselves as the rig's members say, and record what they were asked, so that a test
 * changes one thing and looks at what came of it.  rig_turn runs the loop until nothing happens any more.
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
	unsigned submitted, found, chains;
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

	/* cloud */
	const struct wire_events *events;
	void *arg;
	bool connected, refuses, mute, opening, ending;
	bool no_claim_answer, no_result_answer;
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
	const struct fixture_ca *winner;
	uint8_t nonce[16];
	uint64_t generation;
	unsigned fatal_errors;
	int64_t shift;
	unsigned quiet_times;
	MDB_txn *held_commits;

	/* keyvault */
	struct chan *vault;
	bool vault_silent, vault_away;
	Vault__VaultStatus begin_status, finish_status, rewrap_status, reorder_status;
	unsigned begun, finished, reordered, rewrapped, listed, chained;
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

static inline void rig_put_winner(const struct rig *r, Certq__CertificateId *id, uint8_t digest[32])
{
	certq__certificate_id__init(id);
	hash_sha256(cc_blob_view(&r->winner->der), digest);
	id->cert_sha256 = codec_bytes(cc_view_of(digest, 32));
}

static inline void rig_hello_ack(struct rig *r)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__HelloAck m = CERTQ__HELLO_ACK__INIT;
	random_bytes(r->nonce, sizeof r->nonce);
	m.proto = 1;
	m.session_epoch = r->dialled;
	m.resume_nonce = codec_bytes(cc_view_of(r->nonce, sizeof r->nonce));
	m.store_generation = r->generation;
	m.lease_ms = 120000;
	m.wall_ms = clock_realtime_ms();
	e.body_case = CERTQ__ENVELOPE__BODY_HELLO_ACK;
	e.hello_ack = &m;
	rig_post(r, &e);
}

static inline void rig_verdicts(struct rig *r, const Certq__HeldLeases *held)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__HeldVerdicts m = CERTQ__HELD_VERDICTS__INIT;
	Certq__HeldVerdict *items = cc_alloc((held->n_jobs + 1) * sizeof *items);
	Certq__HeldVerdict **list = cc_alloc((held->n_jobs + 1) * sizeof *list);
	Certq__CertificateId winner;
	uint8_t digest[32];
	if (r->winner != NULL)
		rig_put_winner(r, &winner, digest);
	for (size_t i = 0; i < held->n_jobs; i++) {
		certq__held_verdict__init(&items[i]);
		items[i].job_id = held->jobs[i]->job_id;
		items[i].epoch = held->jobs[i]->epoch;
		items[i].verdict = r->held_verdict;
		items[i].lease_ms = held->jobs[i]->claimed ? 0 : 120000;
		items[i].winner = r->winner != NULL ? &winner : NULL;
		list[i] = &items[i];
	}
	m.n_verdicts = held->n_jobs;
	m.verdicts = list;
	e.body_case = CERTQ__ENVELOPE__BODY_HELD_VERDICTS;
	e.held_verdicts = &m;
	rig_post(r, &e);
	free(items);
	free(list);
}

static inline void rig_claim_acks(struct rig *r, const Certq__Claims *claims)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
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
	e.body_case = CERTQ__ENVELOPE__BODY_CLAIM_ACKS;
	e.claim_acks = &m;
	rig_post(r, &e);
	free(items);
	free(list);
}

static inline void rig_result_ack(struct rig *r, const Certq__Result *result)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__ResultAck m = CERTQ__RESULT_ACK__INIT;
	Certq__CertificateId winner;
	uint8_t digest[32];
	m.job_id = result->job_id;
	m.epoch = result->epoch;
	m.verdict = r->result_verdict;
	if (r->winner != NULL) {
		rig_put_winner(r, &winner, digest);
		m.winner = &winner;
	}
	e.body_case = CERTQ__ENVELOPE__BODY_RESULT_ACK;
	e.result_ack = &m;
	rig_post(r, &e);
}

static inline void rig_settle_ack(struct rig *r, const Certq__Settle *settle)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__SettleAck m = CERTQ__SETTLE_ACK__INIT;
	m.job_id = settle->job_id;
	m.epoch = settle->epoch;
	m.ca = settle->ca;
	m.verdict = r->settle_verdict;
	e.body_case = CERTQ__ENVELOPE__BODY_SETTLE_ACK;
	e.settle_ack = &m;
	rig_post(r, &e);
}

static inline void rig_nack_ack(struct rig *r, const Certq__Nack *nack)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__NackAck m = CERTQ__NACK_ACK__INIT;
	m.job_id = nack->job_id;
	m.epoch = nack->epoch;
	m.verdict = r->nack_verdict;
	e.body_case = CERTQ__ENVELOPE__BODY_NACK_ACK;
	e.nack_ack = &m;
	rig_post(r, &e);
}

static inline void rig_extend_ack(struct rig *r, const Certq__LeaseExtend *extend)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__LeaseExtendAck m = CERTQ__LEASE_EXTEND_ACK__INIT;
	Certq__HeldVerdict item = CERTQ__HELD_VERDICT__INIT, *list[1] = {&item};
	for (size_t i = 0; i < extend->n_leases; i++) {
		item.job_id = extend->leases[i]->job_id;
		item.epoch = extend->leases[i]->epoch;
		item.verdict = r->held_verdict;
		item.lease_ms = 120000;
		m.n_verdicts = 1;
		m.verdicts = list;
		e.body_case = CERTQ__ENVELOPE__BODY_LEASE_EXTEND_ACK;
		e.lease_extend_ack = &m;
		rig_post(r, &e);
	}
}

static inline void rig_cloud_takes(struct rig *r, const Certq__Envelope *e)
{
	Certq__Envelope answer = CERTQ__ENVELOPE__INIT;
	Certq__Pong pong = CERTQ__PONG__INIT;
	if (r->mute)
		return;
	switch (e->body_case) {
	case CERTQ__ENVELOPE__BODY_HELLO:
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
		rig_settle_ack(r, e->settle);
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

/* ---- the keyvault ---- */

static inline Certq__SignedDocument rig_document(uint8_t *body)
{
	Certq__SignedDocument d = CERTQ__SIGNED_DOCUMENT__INIT;
	d.body = codec_bytes(cc_view_of(body, 8));
	d.key_id = codec_bytes(cc_view_of(body, 8));
	d.signature = codec_bytes(cc_view_of(body, 8));
	return d;
}

static inline void rig_spki_digest(const struct fixture_ca *ca, uint8_t ret[32])
{
	unsigned char *spki = NULL;
	int size = i2d_PUBKEY(ca->key, &spki);
	hash_sha256(cc_view_of(spki, (size_t)size), ret);
	OPENSSL_free(spki);
}

struct rig_vault_answer {
	Vault__VaultAnswer a;
	Vault__BegunIssue begun;
	Certq__ResultBundle bundle;
	Certq__SignedDocument document;
	Vault__PublicList list;
	Vault__Profile profile, *profiles[1];
	Vault__NamedPublicKey key, *keys[1];
	Vault__DecisionRecord record, *records[1];
	ProtobufCBinaryData cas[2], groups[1];
	uint8_t body[8], csr_sha256[32], spki_sha256[32], decision[4], previous[32];
};

static inline void rig_vault_begun(struct rig *r, struct rig_vault_answer *t)
{
	vault__begun_issue__init(&t->begun);
	hash_sha256(cc_view_text("csr"), t->csr_sha256);
	rig_spki_digest(&r->ca, t->spki_sha256);
	t->begun.csr = codec_text("csr");
	t->begun.ticket = codec_text("ticket");
	t->begun.order = &t->document;
	t->cas[0] = codec_text("ca-one");
	t->cas[1] = codec_text("ca-two");
	t->begun.n_cas = 2;
	t->begun.cas = t->cas;
	t->begun.csr_sha256 = codec_bytes(cc_view_of(t->csr_sha256, 32));
	t->begun.spki_sha256 = codec_bytes(cc_view_of(t->spki_sha256, 32));
	t->a.answer_case = VAULT__VAULT_ANSWER__ANSWER_BEGUN;
	t->a.begun = &t->begun;
}

static inline void rig_vault_bundle(struct rig_vault_answer *t)
{
	certq__result_bundle__init(&t->bundle);
	t->bundle.result = &t->document;
	t->bundle.pfx = codec_text("pfx");
	t->bundle.sealed_password = codec_text("sealed");
}

static inline void rig_vault_list(struct rig_vault_answer *t)
{
	vault__public_list__init(&t->list);
	vault__profile__init(&t->profile);
	vault__named_public_key__init(&t->key);
	t->profile.name = codec_text("corp-user");
	t->cas[0] = codec_text("ca-one");
	t->cas[1] = codec_text("ca-two");
	t->profile.n_cas = 2;
	t->profile.cas = t->cas;
	t->profiles[0] = &t->profile;
	t->list.n_profiles = 1;
	t->list.profiles = t->profiles;
	t->key.use = codec_text("decrypt");
	t->key.key_id = codec_text("key-id");
	t->key.spki = codec_text("spki");
	t->keys[0] = &t->key;
	t->list.n_keys = 1;
	t->list.keys = t->keys;
	t->groups[0] = codec_text("hq");
	t->list.n_groups = 1;
	t->list.groups = t->groups;
	t->list.device_keys = codec_text("certified");
	t->a.answer_case = VAULT__VAULT_ANSWER__ANSWER_LIST;
	t->a.list = &t->list;
}

static inline void rig_vault_decides(struct rig *r, struct rig_vault_answer *t)
{
	vault__decision_record__init(&t->record);
	t->record.counter = ++r->decisions;
	t->record.previous_sha256 = codec_bytes(cc_view_of(t->previous, 32));
	t->record.decision = codec_bytes(cc_view_of(t->decision, 4));
	t->record.mac = codec_bytes(cc_view_of(t->previous, 32));
	t->records[0] = &t->record;
	t->a.n_decisions = 1;
	t->a.decisions = t->records;
}

static inline void rig_vault_refuses(struct rig_vault_answer *t, Vault__VaultStatus status)
{
	t->a.status = status;
	t->a.code = codec_text("policy_denied");
	t->a.event = 5102;
	t->a.detail = codec_text("not allowed");
	t->a.answer_case = VAULT__VAULT_ANSWER__ANSWER__NOT_SET;
	if (status == VAULT__VAULT_STATUS__VAULT_REFUSED) {
		rig_vault_bundle(t);
		t->bundle.pfx = codec_text("");
		t->bundle.sealed_password = codec_text("");
		t->a.refusal = &t->bundle;
	}
}

static inline void rig_vault_results(
	struct rig *r, struct rig_vault_answer *t, Vault__VaultStatus status)
{
	rig_vault_decides(r, t);
	rig_vault_bundle(t);
	t->a.answer_case = VAULT__VAULT_ANSWER__ANSWER_RESULT;
	t->a.result = &t->bundle;
	if (status != VAULT__VAULT_STATUS__VAULT_OK)
		rig_vault_refuses(t, status);
}

static inline cc_err rig_vault_frame(void *arg, cc_view frame)
{
	struct rig *r = arg;
	Vault__VaultRequest *q = NULL;
	struct rig_vault_answer *t = cc_alloc(sizeof *t);
	cc_blob packed = CC_BLOB_NONE;
	bool answers = !r->vault_silent;
	rig_busy(r);
	assert_int_equal(
		codec_decode(&vault__vault_request__descriptor, frame, CHAN_FRAME_MAX, &q), CC_OK);
	vault__vault_answer__init(&t->a);
	t->document = rig_document(t->body);
	t->a.request_id = q->request_id;
	t->a.status = VAULT__VAULT_STATUS__VAULT_OK;
	r->last_vault_id = q->request_id;
	switch (q->op_case) {
	case VAULT__VAULT_REQUEST__OP_LIST_PUBLIC:
		r->listed++;
		rig_vault_list(t);
		answers = true;
		break;
	case VAULT__VAULT_REQUEST__OP_BEGIN_ISSUE:
		r->begun++;
		rig_vault_decides(r, t);
		rig_vault_begun(r, t);
		if (r->begin_status != VAULT__VAULT_STATUS__VAULT_OK)
			rig_vault_refuses(t, r->begin_status);
		break;
	case VAULT__VAULT_REQUEST__OP_FINISH_ISSUE:
		r->finished++;
		rig_vault_results(r, t, r->finish_status);
		break;
	case VAULT__VAULT_REQUEST__OP_REWRAP:
		r->rewrapped++;
		rig_vault_results(r, t, r->rewrap_status);
		break;
	case VAULT__VAULT_REQUEST__OP_CHAIN_RESULT:
		r->chained++;
		rig_vault_results(r, t, VAULT__VAULT_STATUS__VAULT_OK);
		break;
	case VAULT__VAULT_REQUEST__OP_REORDER:
		r->reordered++;
		t->a.answer_case = VAULT__VAULT_ANSWER__ANSWER_ORDER;
		t->a.order = &t->document;
		if (r->reorder_status != VAULT__VAULT_STATUS__VAULT_OK)
			rig_vault_refuses(t, r->reorder_status);
		break;
	case VAULT__VAULT_REQUEST__OP_CONFIRM_DECISIONS:
		r->confirmed = q->confirm_decisions->counter;
		answers = false;
		break;
	default:
		rig_fail("a request to the keyvault that the connector may not make");
	}
	packed = codec_pack(&t->a);
	if (answers)
		assert_int_equal(chan_send(r->vault, cc_blob_view(&packed)), CC_OK);
	cc_blob_free(&packed);
	codec_free(q);
	free(t);
	return CC_OK;
}

static inline void rig_vault_closed(void *arg, cc_err why)
{
	struct rig *r = arg;
	(void)why;
	chan_free(r->vault);
	r->vault = NULL;
}

static inline cc_err rig_any_greeting(void *arg, cc_view frame)
{
	(void)arg;
	return greeting_check(frame, ROLE__ROLE_KIND__ROLE_CONNECTOR, "connector", RIG_BUILD);
}

static inline void rig_attach_vault(struct rig *r)
{
	static const struct chan_events events = {
		.frame = rig_vault_frame, .closed = rig_vault_closed};
	int fds[2];
	cc_blob greeting = greeting_pack(ROLE__ROLE_KIND__ROLE_KEYVAULT, "keyvault", RIG_BUILD);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(chan_new(r->loop, fds[0], &events, r, cc_blob_view(&greeting),
				 rig_any_greeting, &r->vault),
		CC_OK);
	cc_blob_free(&greeting);
	flow_attach_vault(r->flow, fds[1]);
}

/* ---- the runners ---- */

static inline void rig_ca_answers(struct rig_runner *c, const Ca__CaRequest *q, Ca__CaAnswer *a,
	Ca__Properties *p, ProtobufCBinaryData chain[1])
{
	a->request_id = q->request_id;
	a->result = CA__CA_RESULT__CA_DONE;
	a->reason = codec_text("as the rig says");
	chain[0] = codec_bytes(cc_blob_view(&c->signs->der));
	a->chain = chain;
	switch (q->op_case) {
	case CA__CA_REQUEST__OP_DESCRIBE:
		ca__properties__init(p);
		p->backend = codec_text("rig");
		p->resubmit = c->resubmit;
		p->find = c->can_find;
		a->properties = p;
		break;
	case CA__CA_REQUEST__OP_SUBMIT:
		c->submitted++;
		a->result = c->submit;
		break;
	case CA__CA_REQUEST__OP_FIND:
		c->found++;
		a->result = c->find;
		break;
	case CA__CA_REQUEST__OP_CHAIN:
		c->chains++;
		a->n_chain = 1;
		break;
	default:
		break;
	}
	if (a->result == CA__CA_RESULT__CA_ISSUED)
		a->n_chain = 1;
	if (a->result == CA__CA_RESULT__CA_PENDING) {
		a->cookie = codec_text("cookie");
		a->delay_s = 60;
	}
}

static inline cc_err rig_ca_frame(void *arg, cc_view frame)
{
	struct rig_runner *c = arg;
	Ca__CaRequest *q = NULL;
	Ca__CaAnswer a = CA__CA_ANSWER__INIT;
	Ca__Properties p;
	ProtobufCBinaryData chain[1];
	cc_blob packed = CC_BLOB_NONE;
	rig_busy(c->rig);
	assert_int_equal(
		codec_decode(&ca__ca_request__descriptor, frame, CHAN_FRAME_MAX, &q), CC_OK);
	rig_ca_answers(c, q, &a, &p, chain);
	c->last_id = q->request_id;
	if (!c->silent || q->op_case == CA__CA_REQUEST__OP_DESCRIBE ||
		q->op_case == CA__CA_REQUEST__OP_HEALTH) {
		packed = codec_pack(&a);
		assert_int_equal(chan_send(c->chan, cc_blob_view(&packed)), CC_OK);
		cc_blob_free(&packed);
	}
	codec_free(q);
	return CC_OK;
}

static inline void rig_ca_closed(void *arg, cc_err why)
{
	struct rig_runner *c = arg;
	(void)why;
	chan_free(c->chan);
	c->chan = NULL;
}

static inline void rig_attach_ca(struct rig *r, size_t i)
{
	static const struct chan_events events = {.frame = rig_ca_frame, .closed = rig_ca_closed};
	struct rig_runner *c = &r->runners[i];
	int fds[2];
	cc_blob greeting = greeting_pack(ROLE__ROLE_KIND__ROLE_CA_RUNNER, c->name, RIG_BUILD);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(chan_new(r->loop, fds[0], &events, c, cc_blob_view(&greeting),
				 rig_any_greeting, &c->chan),
		CC_OK);
	cc_blob_free(&greeting);
	flow_attach_ca(r->flow, cc_view_text(c->name), fds[1]);
}

/* ---- running ---- */

/* Nothing happened for a while, twice, and nothing is on its way to the disk. */
static inline void rig_quiet(void *arg)
{
	struct rig *r = arg;
	bool commits = r->flow != NULL && r->held_commits == NULL && journal_is_busy(r->journal);
	if (++r->quiet_times >= 2 && !commits)
		loop_stop(r->loop);
	else
		loop_timer_set(r->quiet, RIG_QUIET_MS / 2);
}

/* Nothing reaches the disk from here on until rig_release_commits. */
static inline void rig_hold_commits(struct rig *r)
{
	assert_int_equal(
		mdb_txn_begin(db_env(journal_db(r->journal)), NULL, 0, &r->held_commits), 0);
}

static inline void rig_release_commits(struct rig *r)
{
	mdb_txn_abort(r->held_commits);
	r->held_commits = NULL;
}

static inline void rig_turn(struct rig *r)
{
	rig_busy(r);
	loop_run(r->loop);
}

/* Time passes at once; what is due is done.  A session does not survive a minute of it. */
static inline void rig_jump(struct rig *r, int64_t ms)
{
	r->shift += ms;
	clock_shift_for_test(r->shift, r->shift);
	flow_run_due(r->flow);
	rig_turn(r);
}

/* Time passes, in steps that a session survives; a long time is one jump, and a new session. */
static inline void rig_pass(struct rig *r, int64_t ms)
{
	int64_t step = ms > 600000 ? ms : 15000;
	for (int64_t left = ms; left > 0; left -= step)
		rig_jump(r, left < step ? left : step);
}

static inline void rig_conversation_lost(void *arg, const char *ca)
{
	struct rig *r = arg;
	if (ca == NULL && !r->vault_away)
		rig_attach_vault(r);
	for (size_t i = 0; ca != NULL && i < 2; i++) {
		if (strcmp(ca, r->runners[i].name) == 0 && !r->runners[i].away)
			rig_attach_ca(r, i);
	}
}

static inline void rig_on_fatal(void *arg, cc_err err)
{
	((struct rig *)arg)->fatal = err;
}

static inline void rig_on_stopped(void *arg)
{
	((struct rig *)arg)->stopped = true;
}

static inline void rig_open(struct rig *r)
{
	static const struct flow_events events = {.conversation_lost = rig_conversation_lost,
		.fatal = rig_on_fatal,
		.stopped = rig_on_stopped};
	static char one[] = "ca-one", two[] = "ca-two";
	static char *const names[] = {one, two};
	struct journal_settings js = {
		.dir = r->dir, .max_bytes = 64ull << 20, .result_retention_ms = 86400000};
	struct flow_settings fs = {.build_id = RIG_BUILD,
		.tenant = "contoso",
		.connector_id = "hq-1",
		.ca_names = names,
		.ca_count = 2,
		.max_inflight = 4,
		.backoff_min_ms = 500,
		.backoff_max_ms = 60000};
	assert_int_equal(journal_open(&js, r->loop, &r->journal), CC_OK);
	assert_int_equal(flow_new(r->loop, &fs, r->journal, &r->wire, &events, r, &r->flow), CC_OK);
	if (!r->vault_away)
		rig_attach_vault(r);
	for (size_t i = 0; i < 2; i++) {
		if (!r->runners[i].away)
			rig_attach_ca(r, i);
	}
	flow_start(r->flow);
}

static inline void rig_close(struct rig *r)
{
	flow_free(r->flow);
	r->flow = NULL;
	r->connected = false;
	r->opening = false;
	r->ending = false;
	rig_clear_inbox(r);
	chan_free(r->vault);
	r->vault = NULL;
	for (size_t i = 0; i < 2; i++) {
		chan_free(r->runners[i].chan);
		r->runners[i].chan = NULL;
	}
}

/* The process ends and starts again, with the same journal. */
static inline void rig_restart(struct rig *r)
{
	rig_close(r);
	rig_open(r);
	rig_turn(r);
}

static inline void rig_kill_vault(struct rig *r)
{
	chan_free(r->vault);
	r->vault = NULL;
	rig_turn(r);
}

static inline void rig_kill_ca(struct rig *r, size_t i)
{
	chan_free(r->runners[i].chan);
	r->runners[i].chan = NULL;
	rig_turn(r);
}

static inline void rig_cut(struct rig *r)
{
	r->ending = true;
	loop_timer_set(r->deliver, 0);
	rig_turn(r);
}

static inline int rig_setup(void **state)
{
	static const struct wire_ops ops = {.connect = rig_connect,
		.send = rig_send,
		.close = rig_wire_close,
		.queued = rig_wire_queued};
	struct rig *r = cc_alloc(sizeof *r);
	const char *tmp = getenv("TMPDIR");
	r->wire.ops = &ops;
	assert_int_equal(loop_new(&r->loop), CC_OK);
	r->quiet = loop_timer_new(r->loop, rig_quiet, r);
	r->deliver = loop_timer_new(r->loop, rig_deliver, r);
	snprintf(r->dir, sizeof r->dir, "%s/conn-XXXXXX",
		tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->dir));
	fixture_ca_make(&r->ca, "the CA");
	fixture_ca_make(&r->other_ca, "another CA");
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_KEEP;
	r->claim_verdict = CERTQ__CLAIM_VERDICT__CLAIM_GRANTED;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_OK;
	r->nack_verdict = CERTQ__NACK_VERDICT__NACK_ACK_OK;
	r->generation = 1;
	r->begin_status = r->finish_status = r->rewrap_status = r->reorder_status =
		VAULT__VAULT_STATUS__VAULT_OK;
	for (size_t i = 0; i < 2; i++) {
		r->runners[i] = (struct rig_runner){.rig = r,
			.name = i == 0 ? "ca-one" : "ca-two",
			.submit = CA__CA_RESULT__CA_ISSUED,
			.find = CA__CA_RESULT__CA_NOT_ISSUED,
			.resubmit = CA__CA_RESUBMIT__RESUBMIT_SAME_CERT,
			.can_find = CA__CA_FIND__FIND_BY_CSR,
			.signs = &r->ca};
	}
	rig_open(r);
	rig_turn(r);
	*state = r;
	return 0;
}

static inline void rig_remove_dir(const char *dir)
{
	static const char *const names[] = {"data.mdb", "lock.mdb", "LOCK"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char *path = file_join(dir, names[i]);
		unlink(path);
		free(path);
	}
	assert_int_equal(rmdir(dir), 0);
}

static inline void rig_forget_frames(struct rig *r)
{
	for (size_t i = 0; i < r->out_count; i++)
		codec_free(r->out[i]);
	r->out_count = 0;
}

static inline int rig_teardown(void **state)
{
	struct rig *r = *state;
	if (r->held_commits != NULL)
		rig_release_commits(r);
	rig_close(r);
	rig_forget_frames(r);
	loop_timer_free(r->quiet);
	loop_timer_free(r->deliver);
	loop_free(r->loop);
	rig_remove_dir(r->dir);
	fixture_ca_clear(&r->ca);
	fixture_ca_clear(&r->other_ca);
	clock_shift_for_test(0, 0);
	free(r);
	return 0;
}

/* ---- what the cloud sends ---- */

static inline void rig_job_id(const char *name, uint8_t ret[16])
{
	uint8_t digest[32];
	hash_sha256(cc_view_text(name), digest);
	memcpy(ret, digest, 16);
}

struct rig_job {
	const char *name;
	Certq__JobDocument__KindCase kind;
	uint32_t epoch;
	bool own_prior;
};

static inline void rig_cloud_job(struct rig *r, struct rig_job j)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Job m = CERTQ__JOB__INIT;
	Certq__JobDocument d = CERTQ__JOB_DOCUMENT__INIT;
	Certq__Issue issue = CERTQ__ISSUE__INIT;
	Certq__Rewrap rewrap = CERTQ__REWRAP__INIT;
	Certq__Revoke revoke = CERTQ__REVOKE__INIT;
	Certq__Chain chain = CERTQ__CHAIN__INIT;
	Certq__SignedDocument document, signer;
	Certq__PriorClaim prior = CERTQ__PRIOR_CLAIM__INIT, *priors[1] = {&prior};
	uint8_t id[16], body[8] = {0}, csr[32];
	cc_blob packed;
	rig_job_id(j.name, id);
	d.version = 1;
	d.tenant = codec_text("contoso");
	d.idempotency_key = codec_text(j.name);
	d.not_before_s = clock_realtime_s();
	d.not_after_s = d.not_before_s + 3600;
	d.correlation_id = codec_text("corr-1");
	d.kind_case = j.kind;
	switch (j.kind) {
	case CERTQ__JOB_DOCUMENT__KIND_REWRAP:
		d.rewrap = &rewrap;
		break;
	case CERTQ__JOB_DOCUMENT__KIND_REVOKE:
		revoke.reason = 1;
		d.revoke = &revoke;
		break;
	case CERTQ__JOB_DOCUMENT__KIND_CHAIN:
		chain.ca_profile = codec_text("corp-user");
		d.chain = &chain;
		break;
	default:
		d.kind_case = CERTQ__JOB_DOCUMENT__KIND_ISSUE;
		issue.ca_profile = codec_text("corp-user");
		d.issue = &issue;
	}
	packed = codec_pack(&d);
	document = rig_document(body);
	document.body = codec_bytes(cc_blob_view(&packed));
	signer = rig_document(body);
	m.job_id = codec_bytes(cc_view_of(id, 16));
	m.epoch = j.epoch == 0 ? 1 : j.epoch;
	m.run = 1;
	m.lease_ms = 120000;
	m.job = &document;
	m.signer = &signer;
	if (j.own_prior) {
		hash_sha256(cc_view_text("csr"), csr);
		prior.ca = codec_text("ca-two");
		prior.csr_sha256 = codec_bytes(cc_view_of(csr, 32));
		m.n_prior = 1;
		m.prior = priors;
	}
	e.body_case = CERTQ__ENVELOPE__BODY_JOB;
	e.job = &m;
	rig_post(r, &e);
	cc_blob_free(&packed);
}

static inline void rig_issue(struct rig *r, const char *name)
{
	rig_cloud_job(r, (struct rig_job){.name = name});
}

static inline void rig_gone(struct rig *r, const char *name, Certq__JobVerdict verdict)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__JobGone m = CERTQ__JOB_GONE__INIT;
	uint8_t id[16];
	rig_job_id(name, id);
	m.job_id = codec_bytes(cc_view_of(id, 16));
	m.epoch = 1;
	m.verdict = verdict;
	e.body_case = CERTQ__ENVELOPE__BODY_JOB_GONE;
	e.job_gone = &m;
	rig_post(r, &e);
}

/* ---- what is looked at ---- */

static inline size_t rig_count(const struct rig *r, Certq__Envelope__BodyCase body)
{
	size_t count = 0;
	for (size_t i = 0; i < r->out_count; i++)
		count += r->out[i]->body_case == body;
	return count;
}

/* The last of this kind; the test fails when there is none. */
static inline const Certq__Envelope *rig_last(const struct rig *r, Certq__Envelope__BodyCase body)
{
	for (size_t i = r->out_count; i > 0; i--) {
		if (r->out[i - 1]->body_case == body)
			return r->out[i - 1];
	}
	fail_msg("no frame of kind %d was sent", (int)body);
	return NULL;
}

#define RIG_SENT(r, KIND)         rig_count((r), CERTQ__ENVELOPE__BODY_##KIND)
#define RIG_LAST(r, KIND)         rig_last((r), CERTQ__ENVELOPE__BODY_##KIND)
#define RIG_IN(r, STATE)          flow_state_count((r)->flow, JOURNAL__JOB_STATE__STATE_##STATE)
#define assert_text(bytes, words) assert_true(text_equal(codec_view(bytes), (words)))

/* Every job of the table, in whatever state. */
static inline size_t rig_jobs(const struct rig *r)
{
	size_t count = 0;
	for (int s = JOURNAL__JOB_STATE__STATE_RECEIVED;
		s <= JOURNAL__JOB_STATE__STATE_READY_TO_SEND; s++)
		count += flow_state_count(r->flow, (Journal__JobState)s);
	return count;
}

static inline cc_err rig_count_one(void *arg, cc_view job_id, const Journal__OpenJob *record)
{
	(void)job_id;
	(void)record;
	(*(size_t *)arg)++;
	return CC_OK;
}

static inline size_t rig_journal_open(const struct rig *r)
{
	size_t count = 0;
	assert_int_equal(journal_each_open(r->journal, rig_count_one, &count), CC_OK);
	return count;
}

static inline void rig_assert_done(const struct rig *r, const char *name, const char *outcome)
{
	Journal__DoneJob *done = NULL;
	uint8_t id[16];
	rig_job_id(name, id);
	assert_int_equal(journal_get_done(r->journal, cc_view_of(id, 16), &done), CC_OK);
	assert_text(done->outcome, outcome);
	codec_free(done);
}

#define RIG_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
