/*
 * approve_revoke.  By default only certificates in the issued list may be revoked, that is, those that
 * this keyvault delivered for this tenant; with policy `revoke_scope: any` also others of the profile's
 * CAs.  The order is for the CA that issued the certificate, which for one that is not in the list is
 * the CA whose pinned root bears the issuer's name.
 *
 * The same job may come again (the CA was away): it gets a fresh order and is counted once.
 */
#include "keyvault/revoke.h"
#include "keyvault/order.h"
#include "keyvault/verify.h"
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

/* NULL: none of the profile's CAs has a root of this name. */
static const char *ca_by_issuer(
	const struct pins *pins, const struct policy_profile *profile, const X509_NAME *issuer)
{
	for (size_t i = 0; i < policy_profile_ca_count(profile); i++) {
		const char *ca = policy_profile_ca(profile, i);
		const STACK_OF(X509) *roots = pins_roots(pins, cc_view_text(ca));

		for (int k = 0; roots != NULL && k < sk_X509_num(roots); k++)
			if (X509_NAME_cmp(issuer, X509_get_subject_name(sk_X509_value(roots, k))) ==
				0)
				return ca;
	}
	return NULL;
}

static cc_err find_foreign(struct call *c, const struct policy_profile *profile)
{
	cc_view der = codec_view(c->job->revoke->issuer);
	const uint8_t *at = der.data;
	X509_NAME *issuer = d2i_X509_NAME(NULL, &at, (long)der.size);
	const char *ca = NULL;
	cc_err err = CC_OK;

	ENSURE(policy_revokes_any(c->rules->policy),
		call_refuse(c, REASON_POLICY, "the certificate is not in the issued list"));
	ENSURE(issuer != NULL && at == der.data + der.size,
		call_refuse(c, REASON_POLICY, "the issuer is not a name"));
	ca = ca_by_issuer(c->rules->pins, profile, issuer);
	ENSURE(ca, call_refuse(c, REASON_POLICY, "the issuer is none of the profile's CAs"));
	c->ca = cc_strdup(ca);
out:
	X509_NAME_free(issuer);
	ERR_clear_error();
	return err;
}

static cc_err take_own(
	struct call *c, const struct policy_profile *profile, const Vault__IssuedRow *row)
{
	struct state_decision *decision = &c->change.decision;
	cc_err err = CC_OK;

	ENSURE(cc_view_equal(codec_view(row->tenant), cc_blob_view(&c->change.tenant)),
		call_refuse(c, REASON_POLICY, "the certificate is another tenant's"));
	ENSURE(policy_profile_has_ca(profile, codec_view(row->ca)),
		call_refuse(c, REASON_POLICY, "the certificate's CA is not one of the profile's"));
	c->ca = cc_strndup(codec_view(row->ca));
	if (row->certificate_sha256.len == SHA256_SIZE) {
		memcpy(decision->certificate_sha256, row->certificate_sha256.data, SHA256_SIZE);
		decision->has_certificate = true;
	}
	if (row->spki_sha256.len == SHA256_SIZE) {
		memcpy(decision->spki_sha256, row->spki_sha256.data, SHA256_SIZE);
		decision->has_spki = true;
	}
out:
	return err;
}

/* Whose certificate it is; c->ca is the CA that is to revoke it. */
static cc_err find_certificate(struct call *c)
{
	const Certq__Revoke *job = c->job->revoke;
	const struct policy_profile *profile =
		policy_profile_find(c->rules->policy, codec_view(job->ca_profile));
	Vault__IssuedRow *row = NULL;
	cc_err err = CC_OK;

	ENSURE(profile, call_refuse(c, REASON_POLICY, "no CA profile of this name"));
	TRY(call_step(c, REASON_INTERNAL,
		state_find_issued(
			c->vault->state, codec_view(job->issuer), codec_view(job->serial), &row)));
	if (row != NULL)
		TRY(take_own(c, profile, row));
	else
		TRY(find_foreign(c, profile));
out:
	codec_free(row);
	return err;
}

static cc_err sign_order(struct call *c, Certq__SignedDocument **ret)
{
	const Certq__Revoke *job = c->job->revoke;
	struct order_facts facts = {.op = VAULT__ORDER_OP__ORDER_REVOKE, .now_s = c->now_s};

	facts.tenant = cc_blob_view(&c->change.tenant);
	facts.job_id = cc_view_of(c->change.job_id, JOB_ID_SIZE);
	facts.ca = cc_view_text(c->ca);
	facts.issuer = codec_view(job->issuer);
	facts.serial = codec_view(job->serial);
	facts.crl_reason = job->reason;
	return order_sign(c->vault->keys, &facts, ret);
}

static void plan_effects(struct call *c)
{
	struct state_change *change = &c->change;
	char *serial = text_hex_new(codec_view(c->job->revoke->serial));

	vault__taken_job__init(&change->taken);
	change->taken.kind = codec_text("revoke");
	change->taken.job_sha256 = codec_bytes(cc_view_of(change->job_sha256, SHA256_SIZE));
	change->taken.not_after_s = c->job->not_after_s;
	change->taken.accepted_s = c->now_s;
	change->taken.correlation_id = c->job->correlation_id;
	change->take = STATE_TAKE_SAME;
	change->rate = "revoke";
	change->per_hour = policy_limits(c->rules->policy)->revoke_per_hour;
	change->per_day = policy_limits(c->rules->policy)->revoke_per_day;
	change->decision.subject = cc_blob_copy(cc_view_text(serial));
	free(serial);
}

void revoke_serve(struct call *c)
{
	const Vault__ApproveRevoke *request = c->request->approve_revoke;
	Vault__VaultAnswer answer = VAULT__VAULT_ANSWER__INIT;
	Certq__SignedDocument *order = NULL;
	cc_err err = CC_OK;

	TRY(verify_job(c, request->job_id, request->job, request->signer,
		CERTQ__JOB_DOCUMENT__KIND_REVOKE));
	TRY(find_certificate(c));
	TRY(verify_ca_is_pinned(c, cc_view_text(c->ca)));
	TRY(call_step(c, REASON_INTERNAL, sign_order(c, &order)));
	plan_effects(c);
	answer.answer_case = VAULT__VAULT_ANSWER__ANSWER_ORDER;
	answer.order = order;
	call_answer(c, &answer);
out:
	(void)err; /* noted by the steps */
	codec_free(order);
}
