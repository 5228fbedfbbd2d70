/*
 * approve_orphan.  Whether a certificate is an orphan, the queue and the connector say; this door is what
 * neither of them can get past:
 *
 * - its key is the ticket's, and it comes from the CA, by a path to a root that is pinned for it (the issuer
 *   and the serial of a certificate that anybody could make name whatever he wants revoked);
 * - finish_issue has not delivered it: what a device may hold is revoked by a signed job only;
 * - so many in an hour as policy allows revocations.
 *
 * The commit judges the second, so that nothing comes between, and writes the certificate down as an orphan:
 * it is not delivered later.  The same question gets a fresh order and is counted once.
 */
#include "keyvault/orphan.h"
#include "keyvault/certcheck.h"
#include "keyvault/order.h"
#include "keyvault/verify.h"
#include <openssl/x509v3.h>
#include <string.h>

static cc_err read_certificate(
	struct call *c, const Vault__ApproveOrphan *request, const STACK_OF(X509) * roots)
{
	cc_view chain[CERTCHECK_CHAIN_MAX];
	uint8_t spki[SHA256_SIZE];
	X509 *leaf = NULL;
	cc_err err = CC_OK;

	ENSURE(request->n_chain < CERTCHECK_CHAIN_MAX,
		call_refuse(c, REASON_CERTIFICATE, "%zu certificates", request->n_chain + 1));
	chain[0] = codec_view(request->certificate);
	for (size_t i = 0; i < request->n_chain; i++)
		chain[i + 1] = codec_view(request->chain[i]);
	TRY(call_step(c, REASON_CERTIFICATE,
		certcheck_origin(roots, chain, request->n_chain + 1, c->now_s, &leaf)));
	certcheck_spki_sha256(leaf, spki);
	ENSURE(cc_view_equal(
		       cc_view_of(spki, SHA256_SIZE), cc_view_of(c->spki_sha256, SHA256_SIZE)),
		call_refuse(c, REASON_CERTIFICATE, "the certificate's key is not the ticket's"));
	TRY(call_step(c, REASON_CERTIFICATE, certcheck_name(leaf, &c->issuer, &c->serial)));
out:
	X509_free(leaf);
	return err;
}

static void plan_effects(struct call *c, const Vault__ApproveOrphan *request)
{
	struct state_change *change = &c->change;

	call_plan_issued(c, codec_view(request->certificate));
	change->issued.orphan = true;
	change->rate = "orphan";
	change->per_hour = policy_limits(c->rules->policy)->revoke_per_hour;
	change->per_day = policy_limits(c->rules->policy)->revoke_per_day;
}

static cc_err sign_order(struct call *c, Certq__SignedDocument **ret)
{
	struct order_facts facts = {.op = VAULT__ORDER_OP__ORDER_REVOKE,
		.tenant = cc_blob_view(&c->change.tenant),
		.job_id = cc_view_of(c->change.job_id, JOB_ID_SIZE),
		.ca = cc_view_text(c->ca),
		.issuer = cc_blob_view(&c->issuer),
		.serial = cc_blob_view(&c->serial),
		.crl_reason = CRL_REASON_CESSATION_OF_OPERATION,
		.now_s = c->now_s};

	return order_sign(c->vault->keys, &facts, ret);
}

void orphan_serve(struct call *c)
{
	const Vault__ApproveOrphan *request = c->request->approve_orphan;
	Vault__VaultAnswer answer = VAULT__VAULT_ANSWER__INIT;
	const STACK_OF(X509) *roots = NULL;
	Certq__SignedDocument *order = NULL;
	cc_err err = CC_OK;

	TRY(verify_ticket_to_settle(c, request->ticket));
	TRY(verify_policy(c));
	roots = pins_roots(c->rules->pins, codec_view(request->ca));
	ENSURE(roots, call_refuse(c, REASON_CERTIFICATE, "no root is pinned for this CA"));
	c->ca = cc_strndup(codec_view(request->ca));
	TRY(read_certificate(c, request, roots));
	TRY(call_step(c, REASON_INTERNAL, sign_order(c, &order)));
	plan_effects(c, request);
	answer.answer_case = VAULT__VAULT_ANSWER__ANSWER_ORDER;
	answer.order = order;
	call_answer(c, &answer);
out:
	(void)err; /* noted by the steps */
	codec_free(order);
	codec_free_secret(c->ticket);
	c->ticket = NULL;
}
