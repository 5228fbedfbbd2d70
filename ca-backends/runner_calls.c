/*
 * Runner: one call, from the request to its answer.
 *
 * submit, poll, withdraw:  order -> ledger claim (on disk) -> backend -> ledger record (on disk) -> answer
 * revoke:                  order -> backend -> answer
 * find:                    ledger, else backend -> answer
 * chain, health:           backend -> answer
 *
 * Of the calls that name a job, one at a time is worked on: the next one for the same job waits, and
 * so a find cannot say "there is none" while a submit is on its way to the CA.
 */
#include "ca-backends/runner_int.h"
#include "ca-backends/runner_order.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "proto/codec.h"
#include "proto/job.h"
#include <stdlib.h>
#include <string.h>

#define CALLS_MAX 1024u

struct call {
	struct runner *runner;
	struct call *next, *previous;
	uint64_t conversation; /* 0: nobody waits for the answer */
	uint64_t request_id;
	Ca__CaRequest__OpCase op;
	Ca__CaRequest *request; /* NULL: our own upkeep */
	Vault__Order *order;
	struct ca_attribute *attributes;
	struct ca_request ask; /* views into request and order */
	uint8_t csr_sha256[SHA256_SIZE];
	uint8_t txid[TXID_SIZE];
	bool begun; /* otherwise it waits for another call of its job */
	bool claimed;
	struct ca_answer answer;
};

static void work_on(struct call *c);

/* ---- the list of calls ---- */

static struct call *new_call(struct runner *r)
{
	struct call *c = cc_alloc(sizeof(*c));

	c->runner = r;
	c->next = r->calls;
	if (c->next != NULL)
		c->next->previous = c;
	r->calls = c;
	return c;
}

static void free_call(struct call *c)
{
	if (c->previous != NULL)
		c->previous->next = c->next;
	else
		c->runner->calls = c->next;
	if (c->next != NULL)
		c->next->previous = c->previous;
	ca_answer_clear(&c->answer);
	free(c->attributes);
	codec_free(c->order);
	codec_free(c->request);
	free(c);
}

void runner_drop_calls(struct runner *r)
{
	while (r->calls != NULL)
		free_call(r->calls);
}

static size_t count_calls(const struct runner *r)
{
	size_t n = 0;

	for (const struct call *c = r->calls; c != NULL; c = c->next)
		n++;
	return n;
}

static bool same_job(const struct call *a, const struct call *b)
{
	return a->ask.job_id.size > 0 && cc_view_equal(a->ask.job_id, b->ask.job_id) &&
	       cc_view_equal(a->ask.tenant, b->ask.tenant);
}

static bool job_is_busy(const struct call *c)
{
	for (const struct call *other = c->runner->calls; other != NULL; other = other->next) {
		if (other != c && other->begun && same_job(other, c))
			return true;
	}
	return false;
}

/* The oldest that waits for this job; new calls are put at the head. */
static struct call *next_of_job(const struct call *ended)
{
	struct call *found = NULL;

	for (struct call *c = ended->runner->calls; c != NULL; c = c->next) {
		if (c != ended && !c->begun && same_job(c, ended))
			found = c;
	}
	return found;
}

/* ---- answers ---- */

static void send_answer(struct runner *r, const Ca__CaAnswer *answer)
{
	cc_blob frame = codec_pack(answer);

	if (r->chan != NULL)
		cc_ignore(
			chan_send(r->chan, cc_blob_view(&frame)), "closed() tells when it is over");
	cc_blob_free(&frame);
}

static void fill_answer(
	const struct ca_answer *a, ProtobufCBinaryData chain[CA_CHAIN_MAX], Ca__CaAnswer *ret)
{
	ca__ca_answer__init(ret);
	ret->result = a->result;
	ret->reason = codec_text(a->reason);
	ret->reference = codec_text(a->reference);
	ret->cookie = codec_bytes(cc_blob_view(&a->cookie));
	ret->delay_s = a->delay_s;
	for (size_t i = 0; i < a->chain_count; i++)
		chain[i] = codec_bytes(cc_blob_view(&a->chain[i]));
	ret->chain = chain;
	ret->n_chain = a->chain_count;
}

static void log_answer(const struct call *c)
{
	const char *ca = c->runner->setup->name;
	const char *why = c->answer.reason;

	if (c->conversation == 0 && c->answer.result == CA__CA_RESULT__CA_DONE)
		return;
	switch (c->answer.result) {
	case CA__CA_RESULT__CA_ISSUED:
		if (c->claimed)
			log_event(EV_CA_ISSUED, LV_JOB(c->ask.job_id), LV_TEXT("ca", ca),
				LV_TEXT("reference", c->answer.reference));
		break;
	case CA__CA_RESULT__CA_ORDER_REFUSED:
		log_event(EV_ORDER_REFUSED, LV_JOB(c->ask.job_id), LV_TEXT("ca", ca),
			LV_TEXT("reason", why));
		break;
	case CA__CA_RESULT__CA_REJECTED:
	case CA__CA_RESULT__CA_NOT_SENT:
	case CA__CA_RESULT__CA_UNKNOWN:
	case CA__CA_RESULT__CA_MISCONFIGURED:
		log_event(EV_CA_FAILED, LV_JOB(c->ask.job_id), LV_TEXT("ca", ca),
			LV_TEXT("reason", why));
		break;
	default:
		break;
	}
}

/* The end of every call. */
static void finish_call(struct call *c)
{
	struct runner *r = c->runner;
	ProtobufCBinaryData chain[CA_CHAIN_MAX];
	Ca__CaAnswer answer;
	struct call *next;

	log_answer(c);
	fill_answer(&c->answer, chain, &answer);
	if (c->conversation != 0 && c->conversation == r->conversation) {
		answer.request_id = c->request_id;
		send_answer(r, &answer);
	}
	next = c->begun ? next_of_job(c) : NULL;
	free_call(c);
	if (next != NULL)
		work_on(next);
}

static void refuse(struct call *c, cc_err err)
{
	ca_answer_set(&c->answer, CA__CA_RESULT__CA_ORDER_REFUSED, "%s", cc_err_detail(err));
	finish_call(c);
}

/* The ledger has the certificate: the very answer that was recorded. */
static void answer_from_ledger(struct call *c, cc_view packed)
{
	Ca__CaAnswer *stored = NULL;
	cc_err err = codec_decode(&ca__ca_answer__descriptor, packed, CHAN_FRAME_MAX, &stored);

	if (err != CC_OK || stored->result != CA__CA_RESULT__CA_ISSUED) {
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_UNKNOWN,
			"the ledger's record of this job is damaged");
	} else {
		c->answer.result = CA__CA_RESULT__CA_ISSUED;
		for (size_t i = 0; i < stored->n_chain; i++)
			ca_answer_add(&c->answer, codec_view(stored->chain[i]));
		if (stored->reference.len > 0)
			c->answer.reference = cc_strndup(codec_view(stored->reference));
	}
	codec_free(stored);
	finish_call(c);
}

/* ---- the backend, in the worker's thread ---- */

static bool ready_instance(struct runner *r, struct ca_answer *a)
{
	cc_err err;

	if (r->problem != NULL) {
		ca_answer_set(a, CA__CA_RESULT__CA_MISCONFIGURED, "%s", r->problem);
		return false;
	}
	if (r->instance != NULL)
		return true;
	err = r->backend->open(&r->context, &r->instance);
	if (err == CC_OK)
		return true;
	ca_answer_set(a,
		cc_err_category(err) == CC_CAT_RETRY_LATER ? CA__CA_RESULT__CA_NOT_SENT
							   : CA__CA_RESULT__CA_MISCONFIGURED,
		"%s", cc_err_detail(err));
	return false;
}

typedef void (*backend_op)(void *instance, const struct ca_request *r, struct ca_answer *ret);

typedef void (*backend_plain_op)(void *instance, struct ca_answer *ret);

static void not_supported(struct call *c)
{
	ca_answer_set(&c->answer, CA__CA_RESULT__CA_NOT_SUPPORTED, "backend %s does not do that",
		c->runner->backend->name);
}

static void call_op(struct call *c, backend_op op)
{
	if (op == NULL)
		not_supported(c);
	else
		op(c->runner->instance, &c->ask, &c->answer);
}

static void call_plain_op(struct call *c, backend_plain_op op)
{
	if (op == NULL)
		not_supported(c);
	else
		op(c->runner->instance, &c->answer);
}

static void call_backend(struct call *c)
{
	const struct ca_backend *b = c->runner->backend;

	switch (c->op) {
	case CA__CA_REQUEST__OP_SUBMIT:
		call_op(c, b->submit);
		break;
	case CA__CA_REQUEST__OP_POLL:
		call_op(c, b->poll);
		break;
	case CA__CA_REQUEST__OP_WITHDRAW:
		call_op(c, b->withdraw);
		break;
	case CA__CA_REQUEST__OP_REVOKE:
		call_op(c, b->revoke);
		break;
	case CA__CA_REQUEST__OP_FIND:
		call_op(c, b->find);
		break;
	case CA__CA_REQUEST__OP_CHAIN:
		call_plain_op(c, b->chain);
		break;
	default:
		call_plain_op(c, b->health);
		break;
	}
}

static void run_call(void *arg)
{
	struct call *c = arg;

	if (ready_instance(c->runner, &c->answer))
		call_backend(c);
	if (c->answer.result == CA__CA_RESULT__CA_UNSPECIFIED)
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_UNKNOWN, "the backend gave no result");
}

/* ---- after the backend ---- */

static struct ledger_key key_of(const struct call *c)
{
	return (struct ledger_key){c->ask.tenant, c->ask.job_id, c->ask.csr_sha256};
}

static void on_recorded(void *arg, cc_err err)
{
	struct call *c = arg;

	if (err != CC_OK) { /* the certificate may be there: the connector has to find it */
		ca_answer_clear(&c->answer);
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_UNKNOWN, "%s", cc_err_detail(err));
	}
	finish_call(c);
}

static void call_done(void *arg)
{
	struct call *c = arg;
	struct ledger_key key = key_of(c);
	ProtobufCBinaryData chain[CA_CHAIN_MAX];
	Ca__CaAnswer answer;
	cc_blob packed;

	if (!c->claimed || c->answer.result == CA__CA_RESULT__CA_NOT_SENT) {
		finish_call(c);
		return;
	}
	fill_answer(&c->answer, chain, &answer);
	packed = codec_pack(&answer);
	ledger_record(c->runner->ledger, &key, c->answer.result == CA__CA_RESULT__CA_ISSUED,
		cc_blob_view(&packed), on_recorded, c);
	cc_blob_free(&packed);
}

static void to_backend(struct call *c)
{
	ca_worker_submit(
		c->runner->worker, (struct ca_task){.run = run_call, .done = call_done, .arg = c});
}

/* ---- before the backend ---- */

static void on_claimed(void *arg, cc_err err, enum ledger_state state, cc_view answer)
{
	struct call *c = arg;

	if (err != CC_OK) {
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_NOT_SENT, "%s", cc_err_detail(err));
		finish_call(c);
		return;
	}
	switch (state) {
	case LEDGER_OTHER:
		refuse(c, cc_fail(CC_CONFLICT, "order: another CSR was ordered for this job"));
		break;
	case LEDGER_ISSUED:
		answer_from_ledger(c, answer);
		break;
	default:
		c->claimed = true;
		to_backend(c);
		break;
	}
}

static void work_on_find(struct call *c)
{
	struct ledger_key key = key_of(c);
	enum ledger_state state = LEDGER_NEW;
	cc_blob answer = CC_BLOB_NONE;
	cc_err err = ledger_find(c->runner->ledger, &key, &state, &answer);

	if (err != CC_OK) {
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_CANNOT_TELL, "%s", cc_err_detail(err));
		finish_call(c);
	} else if (state == LEDGER_OTHER) {
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_NOT_ISSUED,
			"another CSR was ordered for this job");
		finish_call(c);
	} else if (state == LEDGER_ISSUED) {
		answer_from_ledger(c, cc_blob_view(&answer));
	} else {
		to_backend(c);
	}
	cc_blob_free(&answer);
}

static void work_on(struct call *c)
{
	struct ledger_key key = key_of(c);

	c->begun = true;
	switch (c->op) {
	case CA__CA_REQUEST__OP_SUBMIT:
	case CA__CA_REQUEST__OP_POLL:
	case CA__CA_REQUEST__OP_WITHDRAW:
		ledger_claim(c->runner->ledger, &key, on_claimed, c);
		break;
	case CA__CA_REQUEST__OP_FIND:
		work_on_find(c);
		break;
	default:
		to_backend(c);
		break;
	}
}

/* ---- requests ---- */

static void describe(struct call *c)
{
	const struct ca_backend *b = c->runner->backend;
	Ca__CaAnswer answer = CA__CA_ANSWER__INIT;
	Ca__Properties p = CA__PROPERTIES__INIT;

	answer.request_id = c->request_id;
	answer.result = CA__CA_RESULT__CA_DONE;
	p.backend = codec_text(c->runner->setup->runner->backend);
	p.resubmit = CA__CA_RESUBMIT__RESUBMIT_NEW_CERT;
	p.find = CA__CA_FIND__FIND_NONE;
	if (b != NULL) {
		p.description = codec_text(b->description);
		p.resubmit = b->resubmit;
		p.find = b->find_by;
		p.can_revoke = b->revoke != NULL;
		p.can_withdraw = b->withdraw != NULL;
	}
	answer.properties = &p;
	send_answer(c->runner, &answer);
	free_call(c);
}

static void name_request(struct call *c, cc_view tenant, cc_view job_id)
{
	c->ask.tenant = tenant;
	c->ask.job_id = job_id;
	c->ask.csr_sha256 = cc_view_of(c->csr_sha256, SHA256_SIZE);
}

/* Everything that the backend sees comes from the order. */
static void take_order(struct call *c, cc_view cookie)
{
	const Vault__Order *o = c->order;

	name_request(c, codec_view(o->tenant), codec_view(o->job_id));
	c->ask.template_name = codec_view(o->template_);
	c->ask.csr = codec_view(o->csr);
	hash_sha256(c->ask.csr, c->csr_sha256);
	job_txid(c->ask.tenant, c->ask.job_id, codec_view(o->ca), c->ask.csr_sha256, c->txid);
	c->ask.txid = cc_view_of(c->txid, TXID_SIZE);
	c->ask.validity_s = o->validity_s;
	c->attributes = cc_alloc((o->n_attributes + 1) * sizeof(*c->attributes));
	for (size_t i = 0; i < o->n_attributes; i++)
		c->attributes[i] = (struct ca_attribute){
			codec_view(o->attributes[i]->name), codec_view(o->attributes[i]->value)};
	c->ask.attributes = c->attributes;
	c->ask.attribute_count = o->n_attributes;
	c->ask.cookie = cookie;
	c->ask.issuer = codec_view(o->issuer);
	c->ask.serial = codec_view(o->serial);
	c->ask.reason = o->reason;
}

static void take_ordered(
	struct call *c, Vault__OrderOp op, const Certq__SignedDocument *document, cc_view cookie)
{
	struct runner *r = c->runner;
	cc_err err = CC_OK;

	TRY(order_verify(cc_blob_view(&r->approval_spki), r->setup->name, op, document,
		clock_realtime_s(), &c->order));
	ENSURE(cookie.size <= CA_COOKIE_MAX, cc_fail(CC_TOO_LARGE, "cookie over the limit"));
	take_order(c, cookie);
	if (!job_is_busy(c))
		work_on(c);
out:
	if (err != CC_OK)
		refuse(c, err);
}

static cc_err take_find(struct call *c, const Ca__Find *f)
{
	cc_err err = CC_OK;

	ENSURE(text_is_name(codec_view(f->tenant)) && f->job_id.len == JOB_ID_SIZE &&
			f->csr_sha256.len == SHA256_SIZE && f->csr.len <= ORDER_CSR_MAX &&
			f->spki_sha256.len <= SHA256_SIZE && f->txid.len <= TXID_SIZE,
		cc_fail(CC_MALFORMED, "find: a field is not of its form"));
	memcpy(c->csr_sha256, f->csr_sha256.data, SHA256_SIZE);
	name_request(c, codec_view(f->tenant), codec_view(f->job_id));
	c->ask.csr = codec_view(f->csr);
	c->ask.spki_sha256 = codec_view(f->spki_sha256);
	c->ask.txid = codec_view(f->txid);
	if (!job_is_busy(c))
		work_on(c);
out:
	return err;
}

static cc_err dispatch(struct call *c)
{
	const Ca__CaRequest *q = c->request;

	switch (q->op_case) {
	case CA__CA_REQUEST__OP_SUBMIT:
		take_ordered(c, VAULT__ORDER_OP__ORDER_SUBMIT, q->submit->order, CC_VIEW_NONE);
		return CC_OK;
	case CA__CA_REQUEST__OP_POLL:
		take_ordered(c, VAULT__ORDER_OP__ORDER_POLL, q->poll->order,
			codec_view(q->poll->cookie));
		return CC_OK;
	case CA__CA_REQUEST__OP_WITHDRAW:
		take_ordered(c, VAULT__ORDER_OP__ORDER_WITHDRAW, q->withdraw->order,
			codec_view(q->withdraw->cookie));
		return CC_OK;
	case CA__CA_REQUEST__OP_REVOKE:
		take_ordered(c, VAULT__ORDER_OP__ORDER_REVOKE, q->revoke->order, CC_VIEW_NONE);
		return CC_OK;
	case CA__CA_REQUEST__OP_FIND:
		return take_find(c, q->find);
	case CA__CA_REQUEST__OP_CHAIN:
	case CA__CA_REQUEST__OP_HEALTH:
		work_on(c);
		return CC_OK;
	case CA__CA_REQUEST__OP_DESCRIBE:
		describe(c);
		return CC_OK;
	default:
		return cc_fail(CC_MALFORMED, "a request without a known operation");
	}
}

cc_err runner_take_request(struct runner *r, cc_view frame)
{
	Ca__CaRequest *request = NULL;
	struct call *c;
	cc_err err = CC_OK;

	TRY(codec_decode(&ca__ca_request__descriptor, frame, CHAN_FRAME_MAX, &request));
	ENSURE(request->request_id != 0, cc_fail(CC_MALFORMED, "a request without an id"));
	c = new_call(r);
	c->request = request;
	c->request_id = request->request_id;
	c->op = request->op_case;
	c->conversation = r->conversation;
	if (count_calls(r) > CALLS_MAX) {
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_NOT_SENT, "too much work is waiting");
		finish_call(c);
		return CC_OK;
	}
	err = dispatch(c);
	if (err != CC_OK)
		free_call(c);
	return err;
out:
	codec_free(request);
	return err;
}

void runner_upkeep(struct runner *r)
{
	struct call *c = new_call(r);

	c->op = CA__CA_REQUEST__OP_HEALTH;
	work_on(c);
}
