/*
 * The tables of operations, and the way of a call: worker, committer, door.
 */
#include "keyvault/dispatch.h"
#include "base/chan.h"
#include "base/crashpoint.h"
#include "keyvault/admin.h"
#include "keyvault/begin.h"
#include "keyvault/chain.h"
#include "keyvault/finish.h"
#include "keyvault/listing.h"
#include "keyvault/orphan.h"
#include "keyvault/revoke.h"
#include "keyvault/rewrap.h"

#define OP(name) VAULT__VAULT_REQUEST__OP_##name
static const struct call_op connector_ops[] = {
	{OP(BEGIN_ISSUE), "begin_issue", WORK_ISSUE, begin_serve, true},
	{OP(FINISH_ISSUE), "finish_issue", WORK_FINISH, finish_serve, true},
	{OP(REWRAP), "rewrap", WORK_REWRAP, rewrap_serve, true},
	{OP(REORDER), "reorder", WORK_OTHER, finish_serve_reorder, true},
	{OP(APPROVE_REVOKE), "approve_revoke", WORK_OTHER, revoke_serve, true},
	{OP(APPROVE_ORPHAN), "approve_orphan", WORK_OTHER, orphan_serve, true},
	{OP(CHAIN_RESULT), "chain_result", WORK_OTHER, chain_serve, true},
	{OP(LIST_PUBLIC), "list_public", WORK_OTHER, listing_serve, false},
	{OP(CONFIRM_DECISIONS), "confirm_decisions", WORK_OTHER, listing_serve_confirm, false},
};
#undef OP

#define OP(name) VAULT__ADMIN_REQUEST__OP_##name
static const struct call_op admin_ops[] = {
	{OP(LIST_KEYS), "list_keys", WORK_ADMIN, listing_serve_admin, false},
	{OP(GENERATE_KEY), "generate_key", WORK_ADMIN, admin_serve_generate, true},
	{OP(LIST_DEVICES), "list_devices", WORK_ADMIN, admin_serve_devices, false},
	{OP(BLOCK_DEVICE), "block_device", WORK_ADMIN, admin_serve_block, true},
	{OP(CHECK_POLICY), "check_policy", WORK_ADMIN, listing_serve_admin, false},
	{OP(ACCEPT_CLOCK), "accept_clock", WORK_ADMIN, admin_serve_accept_clock, true},
	{OP(LIST_WAITING), "list_waiting", WORK_ADMIN, admin_serve_waiting, false},
	{OP(APPROVE_JOB), "approve_job", WORK_ADMIN, admin_serve_approve, true},
	{OP(DENY_JOB), "deny_job", WORK_ADMIN, admin_serve_deny, true},
	{OP(OTHER), "other", WORK_ADMIN, NULL, true},
};
#undef OP

static const struct call_op *find_op(const struct call_op *ops, size_t count, unsigned op_case)
{
	for (size_t i = 0; i < count; i++)
		if (ops[i].op_case == op_case)
			return &ops[i];
	return NULL;
}

cc_err dispatch_read_request(struct vault *v, cc_view frame, struct call **ret)
{
	Vault__VaultRequest *request = NULL;
	const struct call_op *op = NULL;
	cc_err err = CC_OK;

	TRY(codec_decode(&vault__vault_request__descriptor, frame, CHAN_FRAME_MAX, &request));
	op = find_op(
		connector_ops, sizeof(connector_ops) / sizeof(connector_ops[0]), request->op_case);
	ENSURE(op, cc_fail(CC_PROTOCOL, "connector's door: an operation that does not exist"));
	*ret = call_new(v, op);
	(*ret)->request_id = request->request_id;
	(*ret)->request = request;
	request = NULL;
out:
	codec_free(request);
	return err;
}

cc_err dispatch_read_admin(struct vault *v, cc_view frame, struct call **ret)
{
	Vault__AdminRequest *request = NULL;
	const struct call_op *op = NULL;
	cc_err err = CC_OK;

	TRY(codec_decode(&vault__admin_request__descriptor, frame, CHAN_FRAME_MAX, &request));
	op = find_op(admin_ops, sizeof(admin_ops) / sizeof(admin_ops[0]), request->op_case);
	ENSURE(op, cc_fail(CC_PROTOCOL, "administrator's door: an operation that does not exist"));
	*ret = call_new(v, op);
	(*ret)->request_id = request->request_id;
	(*ret)->admin = request;
	request = NULL;
out:
	codec_free(request);
	return err;
}

/* ---- the way of a call ---- */

static void end(struct call *c)
{
	call_log(c);
	crashpoint_pass(CRASH_VAULT_BEFORE_ANSWER);
	c->reply(c);
	crashpoint_pass(CRASH_VAULT_AFTER_ANSWER);
	call_free(c);
}

static void run(struct work *w)
{
	struct call *c = (struct call *)w;

	c->op->serve(c);
	call_conclude(c);
}

static void refuse_now(struct call *c, enum reason why)
{
	c->reason = why;
	call_answer_refusal(c);
	end(c);
}

static const char *verdict_words(struct state_change *change)
{
	if (change->said.size > 0)
		return cc_blob_text(&change->said);
	return change->words != NULL ? change->words : "found when it was committed";
}

static void on_committed(void *arg, cc_err err)
{
	struct call *c = arg;

	if (err == CC_CLOSED) { /* nobody is there to be answered */
		call_free(c);
		return;
	}
	if (err != CC_OK) {
		cc_ignore(call_step(c, REASON_INTERNAL, err), "noted");
		call_answer_refusal(c);
	} else if (c->change.verdict == REASON_AGAIN) {
		call_reset(c);
		dispatch_start(c);
		return;
	} else if (c->change.verdict != REASON_NONE) {
		/* Words of an earlier reason are not this one's, and may be a password's. */
		cc_ignore(call_refuse(c, c->change.verdict, "%s", verdict_words(&c->change)),
			"noted");
		call_answer_refusal(c);
	}
	end(c);
}

static bool changes_something(const struct state_change *change)
{
	return change->decides || change->has_signer || change->confirm != 0;
}

static void on_served(struct work *w)
{
	struct call *c = (struct call *)w;

	if (changes_something(&c->change))
		state_submit(c->vault->state, &c->change, on_committed, c);
	else
		end(c);
}

void dispatch_start(struct call *c)
{
	c->work.run = run;
	c->work.done = on_served;
	if (c->op->serve == NULL)
		refuse_now(c, REASON_NOT_SUPPORTED);
	else if (c->vault->stopping || !workers_submit(c->vault->workers, &c->work))
		refuse_now(c, REASON_BUSY);
}

void dispatch_drop(struct work *piece)
{
	call_free((struct call *)piece);
}
