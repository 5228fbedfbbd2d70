/*
 * Runner: requests from the connector, and the list of calls.
 *
 * What names a job is done only on an order that the keyvault signed; a poll or a withdrawal comes with
 * the job's own cookie besides.  Of the calls that name a job, one at a time is worked on: the next one for
 * the same job waits, and so a find cannot say "there is none" while a submit is on its way to the CA.
 */
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/text.h"
#include "ca-backends/cookie.h"
#include "ca-backends/runner_int.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>

#define CALLS_MAX 1024u
#define TOO_MUCH  "too much work is waiting"

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
	cc_secret_free(&c->cookie);
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

/* With the call that has just come. */
static bool is_full(const struct runner *r)
{
	size_t n = 0;

	for (const struct call *c = r->calls; c != NULL; c = c->next)
		n++;
	return n > CALLS_MAX;
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

/* ---- the end of a call ---- */

void runner_finish_call(struct call *c)
{
	struct call *next;

	runner_log_answer(c);
	crashpoint_pass(CRASH_RUNNER_BEFORE_ANSWER);
	runner_send_call(c);
	next = c->begun ? next_of_job(c) : NULL;
	free_call(c);
	if (next != NULL)
		runner_work_on(next);
}

void runner_refuse_call(struct call *c, cc_err err)
{
	ca_answer_set(&c->answer, CA__CA_RESULT__CA_ORDER_REFUSED, "%s", cc_err_detail(err));
	runner_finish_call(c);
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
	runner_send_answer(c->runner, &answer);
	free_call(c);
}

static void name_request(struct call *c, cc_view tenant, cc_view job_id)
{
	c->ask.tenant = tenant;
	c->ask.job_id = job_id;
	c->ask.csr_sha256 = cc_view_of(c->csr_sha256, SHA256_SIZE);
}

/* Everything that the backend sees comes from the order. */
static void take_order(struct call *c)
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
	c->ask.issuer = codec_view(o->issuer);
	c->ask.serial = codec_view(o->serial);
	c->ask.reason = o->reason;
}

/* The job's own cookie, which this runner sealed. */
static cc_err take_cookie(struct call *c, cc_view sealed)
{
	struct cookie_owner owner = runner_cookie_owner(c);
	cc_err err = cookie_open(&c->runner->cookie_key, &owner, sealed, &c->cookie);

	if (err == CC_OK)
		c->ask.cookie = cc_secret_view(&c->cookie);
	return err;
}

/* `cookie` is NULL where the operation has none. */
static void take_ordered(struct call *c, Vault__OrderOp op, const Certq__SignedDocument *document,
	const ProtobufCBinaryData *cookie)
{
	struct runner *r = c->runner;
	cc_err err = CC_OK;

	TRY(order_verify(cc_blob_view(&r->approval_spki), r->setup->name, op, document,
		clock_realtime_s(), &c->order));
	take_order(c);
	if (cookie != NULL)
		TRY(take_cookie(c, codec_view(*cookie)));
	if (is_full(r))
		runner_turn_away(c, job_is_busy(c), cc_fail(CC_BUSY, TOO_MUCH));
	else if (!job_is_busy(c))
		runner_work_on(c);
out:
	if (err != CC_OK)
		runner_refuse_call(c, err);
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
		runner_work_on(c);
out:
	return err;
}

static cc_err dispatch(struct call *c)
{
	const Ca__CaRequest *q = c->request;

	switch (q->op_case) {
	case CA__CA_REQUEST__OP_SUBMIT:
		take_ordered(c, VAULT__ORDER_OP__ORDER_SUBMIT, q->submit->order, NULL);
		return CC_OK;
	case CA__CA_REQUEST__OP_POLL:
		take_ordered(c, VAULT__ORDER_OP__ORDER_POLL, q->poll->order, &q->poll->cookie);
		return CC_OK;
	case CA__CA_REQUEST__OP_WITHDRAW:
		take_ordered(c, VAULT__ORDER_OP__ORDER_WITHDRAW, q->withdraw->order,
			&q->withdraw->cookie);
		return CC_OK;
	case CA__CA_REQUEST__OP_REVOKE:
		take_ordered(c, VAULT__ORDER_OP__ORDER_REVOKE, q->revoke->order, NULL);
		return CC_OK;
	case CA__CA_REQUEST__OP_FIND:
		return take_find(c, q->find);
	case CA__CA_REQUEST__OP_CHAIN:
	case CA__CA_REQUEST__OP_HEALTH:
		runner_work_on(c);
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
	if (is_full(r) && c->op != CA__CA_REQUEST__OP_SUBMIT) {
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_NOT_SENT, TOO_MUCH);
		runner_finish_call(c);
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
	runner_work_on(c);
}
