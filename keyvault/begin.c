/*
 * begin_issue: a verified job becomes a key, a CSR, an order and a ticket.
 *
 * The row that the commit makes is what makes it idempotent: the same job finds its CSR and ticket
 * again and only the order is fresh; other bytes under its id are refused.  Two at once both make a
 * key, the second finds the first one's row at the commit and starts over.
 */
#include "keyvault/begin.h"
#include "keyvault/csr.h"
#include "keyvault/device.h"
#include "keyvault/keygen.h"
#include "keyvault/order.h"
#include "keyvault/verify.h"
#include <string.h>

static cc_err make_key(struct call *c, Certq__KeyType type, EVP_PKEY **ret)
{
	EVP_PKEY *ready = type == CERTQ__KEY_TYPE__KEY_RSA_2048 ? pool_take(c->vault->pool) : NULL;

	if (ready != NULL) {
		*ret = ready;
		return CC_OK;
	}
	return keygen_make(type, ret);
}

static cc_err make_csr(
	struct call *c, EVP_PKEY *key, const Certq__Issue *issue, const struct policy_plan *plan)
{
	struct csr_request request = {
		.issue = issue,
		.eku = plan->eku,
		.eku_count = plan->eku_count,
		.key_usage = plan->key_usage,
		.template_name = plan->template_extension,
		.template_id = plan->template_id,
	};

	return csr_make(key, &request, &c->csr);
}

static cc_err make_ticket(struct call *c, EVP_PKEY *key)
{
	Vault__TicketContent content = VAULT__TICKET_CONTENT__INIT;
	cc_secret pkcs8 = CC_SECRET_NONE;
	cc_blob spki = CC_BLOB_NONE;
	struct state_change *change = &c->change;
	cc_err err = CC_OK;

	TRY(keygen_export(key, &pkcs8));
	TRY(dsse_spki(key, &spki));
	hash_sha256(cc_blob_view(&spki), c->spki_sha256);
	change->finish_by_s = c->now_s + (int64_t)c->vault->ticket_life_s;
	content.version = 1;
	content.private_key = codec_bytes(cc_secret_view(&pkcs8));
	content.job_sha256 = codec_bytes(cc_view_of(change->job_sha256, SHA256_SIZE));
	content.tenant = c->job->tenant;
	content.job_id = codec_bytes(cc_view_of(change->job_id, JOB_ID_SIZE));
	content.issue = c->job->issue;
	content.csr = codec_bytes(cc_blob_view(&c->csr));
	content.spki_sha256 = codec_bytes(cc_view_of(c->spki_sha256, SHA256_SIZE));
	content.policy_revision = policy_revision(c->rules->policy);
	content.accepted_s = c->now_s;
	content.finish_by_s = change->finish_by_s;
	TRY(ticket_seal(c->vault->tickets, &content, &change->ticket_number, &c->sealed_ticket));
out:
	cc_secret_free(&pkcs8);
	cc_blob_free(&spki);
	return err;
}

/* The row that will be there after the commit. */
static void plan_row(struct call *c)
{
	Vault__TakenJob *row = &c->change.taken;

	vault__taken_job__init(row);
	row->kind = codec_text("issue");
	row->job_sha256 = codec_bytes(cc_view_of(c->change.job_sha256, SHA256_SIZE));
	row->not_after_s = c->job->not_after_s;
	row->accepted_s = c->now_s;
	row->correlation_id = c->job->correlation_id;
	row->csr = codec_bytes(cc_blob_view(&c->csr));
	row->ticket = codec_bytes(cc_blob_view(&c->sealed_ticket));
	row->spki_sha256 = codec_bytes(cc_view_of(c->spki_sha256, SHA256_SIZE));
	row->finish_by_s = c->change.finish_by_s;
	c->change.take = STATE_TAKE_NEW;
	c->change.rate = "issue";
	c->change.per_hour = policy_limits(c->rules->policy)->issue_per_hour;
}

static cc_err begin_new(struct call *c, const struct policy_plan *plan)
{
	const Certq__Issue *issue = c->job->issue;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	TRY(call_step(c, REASON_POLICY, make_key(c, issue->key_type, &key)));
	TRY(call_step(c, REASON_POLICY, make_csr(c, key, issue, plan)));
	TRY(call_step(c, REASON_INTERNAL, make_ticket(c, key)));
	plan_row(c);
out:
	EVP_PKEY_free(key);
	return err;
}

static cc_err begin_again(struct call *c, const Vault__TakenJob *row)
{
	if (!cc_view_equal(
		    codec_view(row->job_sha256), cc_view_of(c->change.job_sha256, SHA256_SIZE)))
		return call_refuse(c, REASON_CONFLICT, "another job was taken under this id");
	if (row->spki_sha256.len != SHA256_SIZE || row->ticket.len == 0)
		return call_refuse(c, REASON_INTERNAL, "the job's row is not one of an issue");
	c->csr = cc_blob_copy(codec_view(row->csr));
	c->sealed_ticket = cc_blob_copy(codec_view(row->ticket));
	memcpy(c->spki_sha256, row->spki_sha256.data, SHA256_SIZE);
	c->change.finish_by_s = row->finish_by_s;
	return CC_OK;
}

static cc_err sign_order(
	struct call *c, const struct policy_plan *plan, Certq__SignedDocument **ret)
{
	struct order_facts facts = {
		.op = VAULT__ORDER_OP__ORDER_SUBMIT,
		.tenant = cc_blob_view(&c->change.tenant),
		.job_id = cc_view_of(c->change.job_id, JOB_ID_SIZE),
		.ca = cc_view_text(policy_profile_ca(plan->profile, 0)),
		.template_name = cc_view_text(plan->template_name),
		.csr = cc_blob_view(&c->csr),
		.validity_s = plan->validity_s,
		.now_s = c->now_s,
	};

	c->ca = cc_strdup(policy_profile_ca(plan->profile, 0));
	return order_sign(c->vault->keys, &facts, ret);
}

static void answer_begun(
	struct call *c, const struct policy_plan *plan, Certq__SignedDocument *order)
{
	Vault__VaultAnswer answer = VAULT__VAULT_ANSWER__INIT;
	Vault__BegunIssue begun = VAULT__BEGUN_ISSUE__INIT;
	ProtobufCBinaryData cas[16];
	uint8_t csr_sha256[SHA256_SIZE];

	hash_sha256(cc_blob_view(&c->csr), csr_sha256);
	begun.csr = codec_bytes(cc_blob_view(&c->csr));
	begun.order = order;
	begun.ticket = codec_bytes(cc_blob_view(&c->sealed_ticket));
	begun.cas = cas;
	begun.n_cas = policy_profile_ca_count(plan->profile);
	for (size_t i = 0; i < begun.n_cas; i++)
		cas[i] = codec_text(policy_profile_ca(plan->profile, i));
	begun.csr_sha256 = codec_bytes(cc_view_of(csr_sha256, SHA256_SIZE));
	begun.spki_sha256 = codec_bytes(cc_view_of(c->spki_sha256, SHA256_SIZE));
	begun.finish_by_s = c->change.finish_by_s;
	answer.answer_case = VAULT__VAULT_ANSWER__ANSWER_BEGUN;
	answer.begun = &begun;
	call_answer(c, &answer);
}

void begin_serve(struct call *c)
{
	const Vault__BeginIssue *request = c->request->begin_issue;
	struct policy_plan plan = {0};
	struct device_key device = {0};
	Vault__TakenJob *row = NULL;
	Certq__SignedDocument *order = NULL;
	const Certq__Issue *issue = NULL;
	cc_err err = CC_OK;

	TRY(verify_job(c, request->job_id, request->job, request->signer,
		CERTQ__JOB_DOCUMENT__KIND_ISSUE));
	issue = c->job->issue;
	TRY(call_step(c, REASON_POLICY, policy_judge_issue(c->rules->policy, issue, &plan)));
	TRY(verify_ca_is_pinned(c, cc_view_text(policy_profile_ca(plan.profile, 0))));
	TRY(call_step(c, REASON_DEVICE_KEY, device_key_read(issue->device_key, &device)));
	TRY(call_step(c, REASON_DEVICE_KEY, device_key_check_form(&device, plan.seal, c->now_s)));
	TRY(call_step(c, REASON_DEVICE_KEY,
		device_key_judge(c->rules->policy, issue->holder, issue->device_key, &device, false,
			c->now_s, &c->change.device)));
	c->change.has_device = true;
	c->change.what = cc_blob_copy(codec_view(issue->ca_profile));
	TRY(call_step(c, REASON_INTERNAL,
		state_find_taken(c->vault->state, cc_blob_view(&c->change.tenant),
			cc_view_of(c->change.job_id, JOB_ID_SIZE), &row)));
	TRY(row != NULL ? begin_again(c, row) : begin_new(c, &plan));
	TRY(call_step(c, REASON_INTERNAL, sign_order(c, &plan, &order)));
	memcpy(c->change.decision.spki_sha256, c->spki_sha256, SHA256_SIZE);
	c->change.decision.has_spki = true;
	c->change.decision.subject = cc_blob_copy(codec_view(issue->holder->device_id));
	answer_begun(c, &plan, order);
out:
	(void)err; /* noted by the steps */
	codec_free(order);
	codec_free(row);
	device_key_clear(&device);
}
