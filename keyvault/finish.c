/*
 * finish_issue: the CA's answer against the job, then PFX, password, seal and signed result.
 *
 * Expiry was judged when the ticket was made; everything else is judged again, by the policy as it
 * stands.  The key leaves the ticket only into the PFX, the password only into the seal.
 */
#include "keyvault/finish.h"
#include "keyvault/certcheck.h"
#include "keyvault/device.h"
#include "keyvault/keygen.h"
#include "keyvault/order.h"
#include "keyvault/pfx.h"
#include "keyvault/result.h"
#include "keyvault/verify.h"
#include <openssl/x509v3.h>
#include <string.h>

/* All that goes into a result. */
struct finished {
	struct policy_plan plan;
	struct device_key device;
	X509 *leaf;
	STACK_OF(X509) * path;
	cc_blob pfx, sealed, leaf_der;
	cc_blob path_der[CERTCHECK_CHAIN_MAX + 1];
	size_t path_count;
};

static void finished_clear(struct finished *f)
{
	device_key_clear(&f->device);
	X509_free(f->leaf);
	certcheck_path_free(f->path);
	cc_blob_free(&f->pfx);
	cc_blob_free(&f->sealed);
	cc_blob_free(&f->leaf_der);
	for (size_t i = 0; i < f->path_count; i++)
		cc_blob_free(&f->path_der[i]);
}

/* The profile as of the policy in force, and the CA as one of its own. */
static cc_err judge_again(struct call *c, ProtobufCBinaryData ca, struct policy_plan *plan)
{
	cc_err err = CC_OK;

	TRY(call_step(
		c, REASON_POLICY, policy_judge_issue(c->rules->policy, c->ticket->issue, plan)));
	ENSURE(policy_profile_has_ca(plan->profile, codec_view(ca)),
		call_refuse(c, REASON_POLICY, "the CA is not one of the profile's"));
	c->ca = cc_strndup(codec_view(ca));
out:
	return err;
}

/* Whether it has been blocked meanwhile is judged at the commit, so that nothing comes between. */
static cc_err check_device(struct call *c, struct device_key *device)
{
	struct state_change *change = &c->change;
	cc_err err = CC_OK;

	TRY(call_step(c, REASON_DEVICE_KEY, device_key_read(c->ticket->issue->device_key, device)));
	change->device.device_id = cc_blob_copy(codec_view(c->ticket->issue->holder->device_id));
	memcpy(change->device.spki_sha256, device->spki_sha256, SHA256_SIZE);
	change->checks_block = true;
out:
	return err;
}

static cc_err check_certificate(
	struct call *c, const Vault__FinishIssue *request, struct finished *f)
{
	struct certcheck_rules rules = {
		.spki_sha256 = c->spki_sha256,
		.issue = c->ticket->issue,
		.eku = f->plan.eku_allowed,
		.eku_count = f->plan.eku_allowed_count,
		.key_usage = f->plan.key_usage_allowed,
		.validity_s = f->plan.validity_s,
		.template_name = f->plan.template_extension,
		.template_id = f->plan.template_id,
		.roots = pins_roots(c->rules->pins, codec_view(request->ca)),
		.now_s = c->now_s,
	};
	cc_view chain[CERTCHECK_CHAIN_MAX];
	cc_err err = CC_OK;

	ENSURE(request->n_chain >= 1 && request->n_chain <= CERTCHECK_CHAIN_MAX,
		call_refuse(c, REASON_CERTIFICATE, "%zu certificates", request->n_chain));
	ENSURE(rules.roots, call_refuse(c, REASON_CERTIFICATE, "no root is pinned for this CA"));
	for (size_t i = 0; i < request->n_chain; i++)
		chain[i] = codec_view(request->chain[i]);
	TRY(call_step(c, REASON_CERTIFICATE,
		certcheck_issued(&rules, chain, request->n_chain, &f->leaf, &f->path)));
out:
	return err;
}

static cc_err encode_path(struct finished *f)
{
	cc_err err = CC_OK;

	TRY(certcheck_der(f->leaf, &f->leaf_der));
	for (int i = 0; i < sk_X509_num(f->path); i++) {
		ENSURE(f->path_count <= CERTCHECK_CHAIN_MAX,
			cc_fail(CC_TOO_LARGE, "a path too long"));
		TRY(certcheck_der(sk_X509_value(f->path, i), &f->path_der[f->path_count]));
		f->path_count++;
	}
out:
	return err;
}

static cc_err pack_and_seal(const Vault__TicketContent *ticket, struct finished *f)
{
	cc_secret password = CC_SECRET_NONE;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	TRY(keygen_import(codec_view(ticket->private_key), &key));
	password = pfx_password_new();
	TRY(pfx_pack(
		key, f->leaf, f->path, &password, f->plan.pfx_profile, PFX_ITERATIONS, &f->pfx));
	TRY(device_key_seal(&f->device, f->plan.seal, f->plan.windows_pkcs1,
		cc_secret_view(&password), &f->sealed));
out:
	EVP_PKEY_free(key);
	cc_secret_free(&password);
	return err;
}

/* So much of the lifetime is left when the device should ask again; 0: no hint. */
static int64_t renew_at(const X509 *leaf, uint32_t percent)
{
	struct tm from, to;
	int days = 0, seconds = 0;

	if (percent == 0 || ASN1_TIME_to_tm(X509_get0_notBefore(leaf), &from) != 1 ||
		ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &to) != 1 ||
		ASN1_TIME_diff(
			&days, &seconds, X509_get0_notBefore(leaf), X509_get0_notAfter(leaf)) != 1)
		return 0;
	int64_t lifetime = (int64_t)days * 86400 + seconds;
	return (int64_t)timegm(&to) - lifetime * percent / 100;
}

static cc_err sign_issued(struct call *c, const struct finished *f, Certq__SignedDocument **ret)
{
	Certq__ResultDocument document = CERTQ__RESULT_DOCUMENT__INIT;
	ProtobufCBinaryData path[CERTCHECK_CHAIN_MAX + 1];
	uint8_t pfx_sha256[SHA256_SIZE], sealed_sha256[SHA256_SIZE];

	hash_sha256(cc_blob_view(&f->pfx), pfx_sha256);
	hash_sha256(cc_blob_view(&f->sealed), sealed_sha256);
	for (size_t i = 0; i < f->path_count; i++)
		path[i] = codec_bytes(cc_blob_view(&f->path_der[i]));
	document.tenant = c->ticket->tenant;
	document.job_id = c->ticket->job_id;
	document.job_sha256 = c->ticket->job_sha256;
	document.outcome = CERTQ__OUTCOME__OUTCOME_ISSUED;
	document.device_spki = codec_bytes(cc_blob_view(&f->device.spki));
	document.seal = f->plan.seal;
	document.pfx_profile = f->plan.pfx_profile;
	document.pfx_sha256 = codec_bytes(cc_view_of(pfx_sha256, SHA256_SIZE));
	document.sealed_sha256 = codec_bytes(cc_view_of(sealed_sha256, SHA256_SIZE));
	document.certificate = codec_bytes(cc_blob_view(&f->leaf_der));
	document.n_chain = f->path_count;
	document.chain = path;
	document.renew_at_s = renew_at(f->leaf, c->ticket->issue->renew_percent);
	return result_sign(c->vault->keys, &document, ret);
}

static void answer_finished(struct call *c, const struct finished *f, Certq__SignedDocument *result)
{
	Vault__VaultAnswer answer = VAULT__VAULT_ANSWER__INIT;
	Certq__ResultBundle bundle = CERTQ__RESULT_BUNDLE__INIT;

	bundle.result = result;
	bundle.pfx = codec_bytes(cc_blob_view(&f->pfx));
	bundle.sealed_password = codec_bytes(cc_blob_view(&f->sealed));
	answer.answer_case = VAULT__VAULT_ANSWER__ANSWER_RESULT;
	answer.result = &bundle;
	call_answer(c, &answer);
}

void finish_serve(struct call *c)
{
	const Vault__FinishIssue *request = c->request->finish_issue;
	struct finished f = {0};
	Certq__SignedDocument *result = NULL;
	cc_err err = CC_OK;

	TRY(verify_ticket(c, request->ticket));
	TRY(judge_again(c, request->ca, &f.plan));
	TRY(check_device(c, &f.device));
	TRY(check_certificate(c, request, &f));
	TRY(call_step(c, REASON_CERTIFICATE, encode_path(&f)));
	TRY(call_step(c, REASON_CERTIFICATE, pack_and_seal(c->ticket, &f)));
	TRY(call_step(c, REASON_CERTIFICATE, sign_issued(c, &f, &result)));
	TRY(call_step(c, REASON_CERTIFICATE, certcheck_name(f.leaf, &c->issuer, &c->serial)));
	call_plan_issued(c, cc_blob_view(&f.leaf_der));
	answer_finished(c, &f, result);
out:
	(void)err; /* noted by the steps */
	codec_free(result);
	codec_free_secret(c->ticket);
	c->ticket = NULL;
	finished_clear(&f);
}

static bool may_reorder(Vault__OrderOp op)
{
	return op == VAULT__ORDER_OP__ORDER_SUBMIT || op == VAULT__ORDER_OP__ORDER_POLL ||
	       op == VAULT__ORDER_OP__ORDER_WITHDRAW;
}

/* To poll or to withdraw clears up, so the policy may have changed and the time be over: any CA that is
 * pinned, or one of the profile's, may be asked about the ticket's own request. */
static cc_err judge_settling(struct call *c, cc_view ca, struct policy_plan *plan)
{
	const struct policy *policy = c->rules->policy;

	if (policy == NULL || policy_judge_issue(policy, c->ticket->issue, plan) != CC_OK)
		*plan = (struct policy_plan){0};
	if (pins_roots(c->rules->pins, ca) == NULL &&
		(plan->profile == NULL || !policy_profile_has_ca(plan->profile, ca)))
		return call_refuse(c, REASON_POLICY, "the CA is neither pinned nor the profile's");
	c->ca = cc_strndup(ca);
	return CC_OK;
}

/* To submit asks for a certificate: everything is judged as it stands now. */
static cc_err judge_submit(struct call *c, ProtobufCBinaryData ca, struct policy_plan *plan)
{
	struct device_key device = {0};
	cc_err err = CC_OK;

	TRY(judge_again(c, ca, plan));
	TRY(verify_ca_is_pinned(c, codec_view(ca)));
	TRY(check_device(c, &device));
out:
	device_key_clear(&device);
	return err;
}

void finish_serve_reorder(struct call *c)
{
	const Vault__Reorder *request = c->request->reorder;
	Vault__VaultAnswer answer = VAULT__VAULT_ANSWER__INIT;
	struct policy_plan plan = {0};
	struct order_facts facts = {.op = request->op, .now_s = c->now_s};
	Certq__SignedDocument *order = NULL;
	cc_err err = CC_OK;

	ENSURE(may_reorder(request->op),
		call_refuse(c, REASON_MALFORMED, "not an operation that a ticket is good for"));
	if (request->op == VAULT__ORDER_OP__ORDER_SUBMIT) {
		TRY(verify_ticket(c, request->ticket));
		TRY(judge_submit(c, request->ca, &plan));
	} else {
		TRY(verify_ticket_to_settle(c, request->ticket));
		TRY(judge_settling(c, codec_view(request->ca), &plan));
	}
	facts.tenant = codec_view(c->ticket->tenant);
	facts.job_id = codec_view(c->ticket->job_id);
	facts.ca = codec_view(request->ca);
	facts.template_name = cc_view_text(plan.template_name);
	facts.csr = codec_view(c->ticket->csr);
	facts.validity_s = plan.validity_s;
	TRY(call_step(c, REASON_INTERNAL, order_sign(c->vault->keys, &facts, &order)));
	memcpy(c->change.decision.spki_sha256, c->spki_sha256, SHA256_SIZE);
	c->change.decision.has_spki = true;
	answer.answer_case = VAULT__VAULT_ANSWER__ANSWER_ORDER;
	answer.order = order;
	call_answer(c, &answer);
out:
	(void)err; /* noted by the steps */
	codec_free(order);
	codec_free_secret(c->ticket);
	c->ticket = NULL;
}
