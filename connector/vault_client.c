/*
 * The keyvault's operations as messages.  Time limits are generous: the keyvault queues its work by kind
 * and a key of 4096 bits takes seconds; a dead keyvault is noticed by its closed conversation at once.
 */
#include "connector/vault_client.h"

#include "journal/v1/journal.pb-c.h"
#include <stdlib.h>

enum { CALL_MS = 120 * 1000 };

struct vault_client {
	struct peer *peer;
	const struct vault_client_events *events;
	void *arg;
};

/* The caller's function, since its type is not the peer's. */
struct vault_call {
	vault_answer_fn fn;
	void *arg;
};

static uint64_t answer_id(const void *answer)
{
	return ((const Vault__VaultAnswer *)answer)->request_id;
}

static const struct peer_kind kind = {
	.role = ROLE__ROLE_KIND__ROLE_KEYVAULT,
	.answer = &vault__vault_answer__descriptor,
	.answer_id = answer_id,
};

static void on_connected(void *arg)
{
	struct vault_client *v = arg;
	v->events->connected(v->arg);
}

static void on_lost(void *arg, cc_err why)
{
	struct vault_client *v = arg;
	v->events->lost(v->arg, why);
}

static void on_seen(void *arg, const void *message)
{
	struct vault_client *v = arg;
	const Vault__VaultAnswer *answer = message;
	if (answer->n_decisions > 0)
		v->events->decisions(
			v->arg, answer->decisions, answer->n_decisions, answer->request_id == 0);
}

static void on_handled(void *arg)
{
	struct vault_client *v = arg;
	v->events->decided(v->arg);
}

static const struct peer_events peer_events = {
	.connected = on_connected,
	.seen = on_seen,
	.handled = on_handled,
	.lost = on_lost,
};

struct vault_client *vault_client_new(
	struct loop *l, const char *build_id, const struct vault_client_events *events, void *arg)
{
	struct vault_client *v = cc_alloc(sizeof *v);
	v->events = events;
	v->arg = arg;
	v->peer = peer_new(l, &kind, "keyvault", build_id, &peer_events, v);
	return v;
}

void vault_client_free(struct vault_client *v)
{
	if (v == NULL)
		return;
	peer_free(v->peer);
	free(v);
}

void vault_client_attach(struct vault_client *v, int fd)
{
	peer_attach(v->peer, fd);
}

bool vault_client_is_connected(const struct vault_client *v)
{
	return peer_is_connected(v->peer);
}

static void on_answer(void *arg, cc_err err, const void *answer)
{
	struct vault_call call = *(struct vault_call *)arg;
	free(arg);
	call.fn(call.arg, err, answer);
}

static cc_err make_call(
	struct vault_client *v, Vault__VaultRequest *request, vault_answer_fn fn, void *arg)
{
	struct vault_call *call = cc_alloc(sizeof *call);
	cc_blob packed = CC_BLOB_NONE;
	cc_err err;
	call->fn = fn;
	call->arg = arg;
	request->request_id = peer_next_id(v->peer);
	packed = codec_pack(request);
	err = peer_call(
		v->peer, request->request_id, cc_blob_view(&packed), CALL_MS, on_answer, call);
	if (err != CC_OK)
		free(call);
	cc_blob_free(&packed);
	return err;
}

cc_err vault_client_begin_issue(
	struct vault_client *v, const Certq__Job *delivery, vault_answer_fn fn, void *arg)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__BeginIssue op = VAULT__BEGIN_ISSUE__INIT;
	op.job_id = delivery->job_id;
	op.job = delivery->job;
	op.signer = delivery->signer;
	request.op_case = VAULT__VAULT_REQUEST__OP_BEGIN_ISSUE;
	request.begin_issue = &op;
	return make_call(v, &request, fn, arg);
}

cc_err vault_client_finish_issue(struct vault_client *v, cc_view ticket, cc_view ca,
	cc_view packed_chain, vault_answer_fn fn, void *arg)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__FinishIssue op = VAULT__FINISH_ISSUE__INIT;
	Journal__CertificateList *chain = NULL;
	cc_err err = CC_OK;
	TRY(codec_decode(
		&journal__certificate_list__descriptor, packed_chain, CHAN_FRAME_MAX, &chain));
	op.ticket = codec_bytes(ticket);
	op.ca = codec_bytes(ca);
	op.n_chain = chain->n_certificates;
	op.chain = chain->certificates;
	request.op_case = VAULT__VAULT_REQUEST__OP_FINISH_ISSUE;
	request.finish_issue = &op;
	TRY(make_call(v, &request, fn, arg));
out:
	codec_free(chain);
	return err;
}

cc_err vault_client_reorder(struct vault_client *v, cc_view ticket, Vault__OrderOp order_op,
	cc_view ca, vault_answer_fn fn, void *arg)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__Reorder op = VAULT__REORDER__INIT;
	op.ticket = codec_bytes(ticket);
	op.op = order_op;
	op.ca = codec_bytes(ca);
	request.op_case = VAULT__VAULT_REQUEST__OP_REORDER;
	request.reorder = &op;
	return make_call(v, &request, fn, arg);
}

cc_err vault_client_rewrap(
	struct vault_client *v, const Certq__Job *delivery, vault_answer_fn fn, void *arg)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__Rewrap op = VAULT__REWRAP__INIT;
	op.job_id = delivery->job_id;
	op.job = delivery->job;
	op.signer = delivery->signer;
	op.pfx = delivery->pfx;
	op.n_passwords = delivery->n_passwords;
	op.passwords = delivery->passwords;
	request.op_case = VAULT__VAULT_REQUEST__OP_REWRAP;
	request.rewrap = &op;
	return make_call(v, &request, fn, arg);
}

cc_err vault_client_approve_revoke(
	struct vault_client *v, const Certq__Job *delivery, vault_answer_fn fn, void *arg)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ApproveRevoke op = VAULT__APPROVE_REVOKE__INIT;
	op.job_id = delivery->job_id;
	op.job = delivery->job;
	op.signer = delivery->signer;
	request.op_case = VAULT__VAULT_REQUEST__OP_APPROVE_REVOKE;
	request.approve_revoke = &op;
	return make_call(v, &request, fn, arg);
}

cc_err vault_client_approve_orphan(struct vault_client *v, cc_view ticket, cc_view ca,
	cc_view packed_chain, vault_answer_fn fn, void *arg)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ApproveOrphan op = VAULT__APPROVE_ORPHAN__INIT;
	Journal__CertificateList *chain = NULL;
	cc_err err = CC_OK;
	TRY(codec_decode(
		&journal__certificate_list__descriptor, packed_chain, CHAN_FRAME_MAX, &chain));
	ENSURE(chain->n_certificates > 0, cc_fail(CC_CORRUPT, "a chain without a certificate"));
	op.ticket = codec_bytes(ticket);
	op.ca = codec_bytes(ca);
	op.certificate = chain->certificates[0];
	op.n_chain = chain->n_certificates - 1;
	op.chain = chain->certificates + 1;
	request.op_case = VAULT__VAULT_REQUEST__OP_APPROVE_ORPHAN;
	request.approve_orphan = &op;
	TRY(make_call(v, &request, fn, arg));
out:
	codec_free(chain);
	return err;
}

cc_err vault_client_chain_result(struct vault_client *v, const Certq__Job *delivery, cc_view ca,
	ProtobufCBinaryData *chain, size_t count, vault_answer_fn fn, void *arg)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ChainResult op = VAULT__CHAIN_RESULT__INIT;
	op.job_id = delivery->job_id;
	op.job = delivery->job;
	op.signer = delivery->signer;
	op.ca = codec_bytes(ca);
	op.n_chain = count;
	op.chain = chain;
	request.op_case = VAULT__VAULT_REQUEST__OP_CHAIN_RESULT;
	request.chain_result = &op;
	return make_call(v, &request, fn, arg);
}

cc_err vault_client_list_public(struct vault_client *v, vault_answer_fn fn, void *arg)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ListPublic op = VAULT__LIST_PUBLIC__INIT;
	request.op_case = VAULT__VAULT_REQUEST__OP_LIST_PUBLIC;
	request.list_public = &op;
	return make_call(v, &request, fn, arg);
}

cc_err vault_client_confirm(struct vault_client *v, uint64_t counter)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ConfirmDecisions op = VAULT__CONFIRM_DECISIONS__INIT;
	cc_blob packed = CC_BLOB_NONE;
	op.counter = counter;
	request.request_id = peer_next_id(v->peer);
	request.op_case = VAULT__VAULT_REQUEST__OP_CONFIRM_DECISIONS;
	request.confirm_decisions = &op;
	packed = codec_pack(&request);
	cc_err err = peer_tell(v->peer, cc_blob_view(&packed));
	cc_blob_free(&packed);
	return err;
}
