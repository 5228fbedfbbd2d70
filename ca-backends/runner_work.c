/*
 * Runner: one call between ledger and backend.
 *
 * submit:          ledger claim (on disk) -> [find, when in doubt] -> backend -> ledger record (on disk) -> answer
 * poll, withdraw:  ledger claim (on disk) -> backend -> ledger record (on disk) -> answer
 * find:            ledger, else backend -> answer
 * revoke, chain, health:  backend -> answer
 *
 * A job that the ledger has as ASKED when an order comes was asked for by an earlier call whose answer
 * nobody knows: the runner was killed, or the CA did not answer.  It is in doubt, and the CA is asked
 * what became of it before it is asked for anything new.  While the doubt lasts NOT_SENT is never said, nor
 * MISCONFIGURED, which lets the connector go elsewhere too.
 */
#include "base/crashpoint.h"
#include "ca-backends/runner_int.h"
#include <stdlib.h>

static struct ledger_key key_of(const struct call *c)
{
	return (struct ledger_key){c->ask.tenant, c->ask.job_id, c->ask.csr_sha256};
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

	switch (c->step) {
	case CA__CA_REQUEST__OP_SUBMIT:
		crashpoint_pass(CRASH_RUNNER_BEFORE_SUBMIT);
		call_op(c, b->submit);
		crashpoint_pass(CRASH_RUNNER_AFTER_SUBMIT);
		break;
	case CA__CA_REQUEST__OP_POLL:
		call_op(c, b->poll);
		break;
	case CA__CA_REQUEST__OP_WITHDRAW:
		call_op(c, b->withdraw);
		break;
	case CA__CA_REQUEST__OP_REVOKE:
		crashpoint_pass(CRASH_RUNNER_BEFORE_REVOKE);
		call_op(c, b->revoke);
		crashpoint_pass(CRASH_RUNNER_AFTER_REVOKE);
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

static void call_done(void *arg);

static void to_backend(struct call *c, Ca__CaRequest__OpCase step)
{
	ca_answer_clear(&c->answer);
	c->step = step;
	ca_worker_submit(
		c->runner->worker, (struct ca_task){.run = run_call, .done = call_done, .arg = c});
}

/* ---- after the backend ---- */

static void on_recorded(void *arg, cc_err err)
{
	struct call *c = arg;

	if (err != CC_OK) { /* the certificate may be there: the connector has to find it */
		ca_answer_clear(&c->answer);
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_UNKNOWN, "%s", cc_err_detail(err));
	} else {
		crashpoint_pass(CRASH_RUNNER_AFTER_RECORD);
	}
	runner_finish_call(c);
}

/* No byte of this request left; of an earlier one that says nothing. */
static bool says_not_sent(Ca__CaResult result)
{
	return result == CA__CA_RESULT__CA_NOT_SENT || result == CA__CA_RESULT__CA_MISCONFIGURED ||
	       result == CA__CA_RESULT__CA_NOT_SUPPORTED;
}

/* Does this answer say that the CA has made nothing for the request, and will not? */
static bool says_none(const struct call *c)
{
	switch (c->answer.result) {
	case CA__CA_RESULT__CA_NOT_ISSUED:
		return c->op != CA__CA_REQUEST__OP_SUBMIT;
	case CA__CA_RESULT__CA_REJECTED:
	case CA__CA_RESULT__CA_NEED_REKEY:
		return c->op == CA__CA_REQUEST__OP_POLL ||
		       (c->op == CA__CA_REQUEST__OP_SUBMIT && !c->doubt);
	default:
		return c->op == CA__CA_REQUEST__OP_SUBMIT && !c->doubt &&
		       says_not_sent(c->answer.result);
	}
}

/* LEDGER_NEW: nothing is recorded.  A find of a job that was never ordered here leaves no trace. */
static enum ledger_state state_after(const struct call *c)
{
	if (c->op == CA__CA_REQUEST__OP_FIND && !c->doubt)
		return LEDGER_NEW;
	if (c->answer.result == CA__CA_RESULT__CA_ISSUED)
		return LEDGER_ISSUED;
	if (c->answer.result == CA__CA_RESULT__CA_PENDING)
		return LEDGER_PENDING;
	return says_none(c) ? LEDGER_FREE : LEDGER_NEW;
}

static void record(struct call *c)
{
	struct ledger_key key = key_of(c);
	enum ledger_state state;
	cc_blob packed;

	if (c->answer.result == CA__CA_RESULT__CA_PENDING)
		runner_seal_cookie(c);
	state = state_after(c);
	if (state == LEDGER_NEW) {
		runner_finish_call(c);
		return;
	}
	packed = runner_pack_answer(c, 0);
	crashpoint_pass(CRASH_RUNNER_BEFORE_RECORD);
	ledger_record(c->runner->ledger, &key, state, cc_blob_view(&packed), on_recorded, c);
	cc_blob_free(&packed);
}

static void stay_in_doubt(struct call *c)
{
	char *why = c->answer.reason;

	c->answer.reason = NULL;
	ca_answer_set(&c->answer, CA__CA_RESULT__CA_UNKNOWN,
		"an earlier request of this job has no known answer%s%s", why != NULL ? ": " : "",
		why != NULL ? why : "");
	free(why);
	runner_finish_call(c);
}

/* The CA cannot be asked what became of the earlier request.  Another one is made where that comes to
 * the same certificate, or when the connector says that it is to be risked. */
static void submit_in_doubt(struct call *c)
{
	if (c->runner->backend->resubmit == CA__CA_RESUBMIT__RESUBMIT_SAME_CERT ||
		c->request->submit->again)
		to_backend(c, CA__CA_REQUEST__OP_SUBMIT);
	else
		stay_in_doubt(c);
}

/* The find before a submit. */
static void found_first(struct call *c)
{
	switch (c->answer.result) {
	case CA__CA_RESULT__CA_ISSUED:
	case CA__CA_RESULT__CA_PENDING:
		record(c);
		break;
	case CA__CA_RESULT__CA_NOT_ISSUED:
		c->doubt = false;
		to_backend(c, CA__CA_REQUEST__OP_SUBMIT);
		break;
	case CA__CA_RESULT__CA_CANNOT_TELL:
	case CA__CA_RESULT__CA_NOT_SUPPORTED:
		submit_in_doubt(c);
		break;
	default: /* away, or not usable */
		stay_in_doubt(c);
		break;
	}
}

static void call_done(void *arg)
{
	struct call *c = arg;

	switch (c->op) {
	case CA__CA_REQUEST__OP_SUBMIT:
		if (c->step == CA__CA_REQUEST__OP_FIND)
			found_first(c);
		else if (c->doubt && says_not_sent(c->answer.result))
			stay_in_doubt(c);
		else
			record(c);
		break;
	case CA__CA_REQUEST__OP_POLL:
	case CA__CA_REQUEST__OP_WITHDRAW:
	case CA__CA_REQUEST__OP_FIND:
		record(c);
		break;
	default:
		runner_finish_call(c);
		break;
	}
}

/* ---- before the backend ---- */

static void answer_from_ledger(struct call *c, cc_view packed)
{
	runner_read_answer(packed, &c->answer);
	runner_finish_call(c);
}

void runner_turn_away(struct call *c, bool in_hand, cc_err why)
{
	struct ledger_key key = key_of(c);
	enum ledger_state state = LEDGER_ASKED;
	cc_blob answer = CC_BLOB_NONE;

	ca_answer_set(&c->answer, CA__CA_RESULT__CA_UNKNOWN, "%s", cc_err_detail(why));
	if (!in_hand && ledger_find(c->runner->ledger, &key, &state, &answer) == CC_OK &&
		(state == LEDGER_NEW || state == LEDGER_FREE))
		c->answer.result = CA__CA_RESULT__CA_NOT_SENT;
	cc_blob_free(&answer);
	runner_finish_call(c);
}

static void on_claimed(void *arg, cc_err err, enum ledger_state state, cc_view answer)
{
	struct call *c = arg;
	bool submits = c->op == CA__CA_REQUEST__OP_SUBMIT;

	if (err != CC_OK) {
		runner_turn_away(c, false, err);
		return;
	}
	crashpoint_pass(CRASH_RUNNER_AFTER_CLAIM);
	if (state == LEDGER_OTHER) {
		runner_refuse_call(
			c, cc_fail(CC_CONFLICT, "order: another CSR was ordered for this job"));
	} else if (state == LEDGER_ISSUED || (submits && state == LEDGER_PENDING)) {
		answer_from_ledger(c, answer);
	} else if (submits && state == LEDGER_ASKED) {
		c->doubt = true;
		to_backend(c, CA__CA_REQUEST__OP_FIND);
	} else {
		to_backend(c, c->op);
	}
}

static void none_by_ledger(struct call *c, cc_view answer)
{
	runner_read_answer(answer, &c->answer);
	if (c->answer.reason == NULL)
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_NOT_ISSUED, "nothing was issued");
	c->answer.result = CA__CA_RESULT__CA_NOT_ISSUED;
	runner_finish_call(c);
}

static void work_on_find(struct call *c)
{
	struct ledger_key key = key_of(c);
	enum ledger_state state = LEDGER_NEW;
	cc_blob answer = CC_BLOB_NONE;
	cc_err err = ledger_find(c->runner->ledger, &key, &state, &answer);

	if (err != CC_OK) {
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_CANNOT_TELL, "%s", cc_err_detail(err));
		runner_finish_call(c);
	} else if (state == LEDGER_OTHER) {
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_NOT_ISSUED,
			"another CSR was ordered for this job");
		runner_finish_call(c);
	} else if (state == LEDGER_ISSUED || state == LEDGER_PENDING) {
		answer_from_ledger(c, cc_blob_view(&answer));
	} else if (state == LEDGER_FREE) {
		none_by_ledger(c, cc_blob_view(&answer));
	} else {
		c->doubt = state == LEDGER_ASKED;
		to_backend(c, CA__CA_REQUEST__OP_FIND);
	}
	cc_blob_free(&answer);
}

void runner_work_on(struct call *c)
{
	struct ledger_key key = key_of(c);

	c->begun = true;
	switch (c->op) {
	case CA__CA_REQUEST__OP_SUBMIT:
	case CA__CA_REQUEST__OP_POLL:
	case CA__CA_REQUEST__OP_WITHDRAW:
		crashpoint_pass(CRASH_RUNNER_BEFORE_CLAIM);
		ledger_claim(
			c->runner->ledger, &key, c->op == CA__CA_REQUEST__OP_SUBMIT, on_claimed, c);
		break;
	case CA__CA_REQUEST__OP_FIND:
		work_on_find(c);
		break;
	default:
		to_backend(c, c->op);
		break;
	}
}
