/*
 * Rig, second part: the fake keyvault and the fake runners at the other ends of socketpairs.
 * Tests include connector_rig.h.
 */
#pragma once

#include "tests/support/connector_rig_cloud.h"

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
	cc_blob order;
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

static inline void rig_vault_approves(struct rig *r, struct rig_vault_answer *t)
{
	Vault__Order order = VAULT__ORDER__INIT;
	order.version = 1;
	order.op = VAULT__ORDER_OP__ORDER_REVOKE;
	order.ca = codec_text(r->revokes_at);
	t->order = codec_pack(&order);
	t->document.body = codec_bytes(cc_blob_view(&t->order));
	rig_vault_decides(r, t);
	t->a.answer_case = VAULT__VAULT_ANSWER__ANSWER_ORDER;
	t->a.order = &t->document;
	if (r->approve_status != VAULT__VAULT_STATUS__VAULT_OK)
		rig_vault_refuses(t, r->approve_status);
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
		t->list.report_full_detail = r->full_detail;
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
	case VAULT__VAULT_REQUEST__OP_APPROVE_REVOKE:
		r->approved++;
		rig_vault_approves(r, t);
		break;
	case VAULT__VAULT_REQUEST__OP_APPROVE_ORPHAN:
		r->orphans++;
		rig_vault_approves(r, t);
		if (r->orphan_status != VAULT__VAULT_STATUS__VAULT_OK)
			rig_vault_refuses(t, r->orphan_status);
		break;
	case VAULT__VAULT_REQUEST__OP_REORDER:
		r->reordered++;
		r->last_op = q->reorder->op;
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
	cc_blob_free(&t->order);
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

#define RIG_CHAIN 9

static inline void rig_ca_answers(struct rig_runner *c, const Ca__CaRequest *q, Ca__CaAnswer *a,
	Ca__Properties *p, ProtobufCBinaryData chain[RIG_CHAIN])
{
	a->request_id = q->request_id;
	a->result = CA__CA_RESULT__CA_DONE;
	a->reason = codec_text("as the rig says");
	for (size_t i = 0; i < RIG_CHAIN; i++)
		chain[i] = codec_bytes(cc_blob_view(&c->signs->der));
	a->chain = chain;
	switch (q->op_case) {
	case CA__CA_REQUEST__OP_DESCRIBE:
		ca__properties__init(p);
		p->backend = codec_text("rig");
		p->resubmit = c->resubmit;
		p->find = c->can_find;
		p->can_revoke = c->can_revoke;
		p->can_withdraw = c->can_withdraw;
		a->properties = p;
		break;
	case CA__CA_REQUEST__OP_SUBMIT:
		c->submitted++;
		c->submitted_again = q->submit->again;
		a->result = c->submit;
		break;
	case CA__CA_REQUEST__OP_POLL:
		c->polled++;
		a->result = text_equal(codec_view(q->poll->cookie), "cookie")
				    ? c->poll
				    : CA__CA_RESULT__CA_ORDER_REFUSED;
		break;
	case CA__CA_REQUEST__OP_WITHDRAW:
		c->withdrawn++;
		a->result = text_equal(codec_view(q->withdraw->cookie), "cookie")
				    ? c->withdraw
				    : CA__CA_RESULT__CA_ORDER_REFUSED;
		break;
	case CA__CA_REQUEST__OP_FIND:
		c->found++;
		a->result = c->find;
		break;
	case CA__CA_REQUEST__OP_CHAIN:
		c->chains++;
		a->n_chain = 1;
		break;
	case CA__CA_REQUEST__OP_REVOKE:
		c->revoked++;
		a->result = c->revoke;
		break;
	default:
		break;
	}
	if (a->result == CA__CA_RESULT__CA_ISSUED)
		a->n_chain = c->long_chain ? RIG_CHAIN : 1;
	if (a->result == CA__CA_RESULT__CA_PENDING) {
		a->cookie = c->no_cookie ? codec_text("") : codec_text("cookie");
		a->reference = codec_text("request-7");
		a->delay_s = 60;
	}
}

static inline cc_err rig_ca_frame(void *arg, cc_view frame)
{
	struct rig_runner *c = arg;
	Ca__CaRequest *q = NULL;
	Ca__CaAnswer a = CA__CA_ANSWER__INIT;
	Ca__Properties p;
	ProtobufCBinaryData chain[RIG_CHAIN];
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
