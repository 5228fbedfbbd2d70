/*
 * chain_result.  A chain becomes a trusted-root profile on devices, so only what was pinned on-prem for a CA
 * of the profile is signed, whatever the runner sent.
 */
#include "keyvault/chain.h"
#include "keyvault/certcheck.h"
#include "keyvault/result.h"
#include "keyvault/verify.h"

static cc_err check_chain(
	struct call *c, const Vault__ChainResult *request, STACK_OF(X509) * *ret_path)
{
	const struct policy_profile *profile =
		policy_profile_find(c->rules->policy, codec_view(c->job->chain->ca_profile));
	const STACK_OF(X509) *roots = pins_roots(c->rules->pins, codec_view(request->ca));
	cc_view chain[CERTCHECK_CHAIN_MAX];
	cc_err err = CC_OK;

	ENSURE(profile, call_refuse(c, REASON_POLICY, "no CA profile of this name"));
	ENSURE(policy_profile_has_ca(profile, codec_view(request->ca)),
		call_refuse(c, REASON_POLICY, "the CA is not one of the profile's"));
	ENSURE(roots, call_refuse(c, REASON_CERTIFICATE, "no root is pinned for this CA"));
	ENSURE(request->n_chain >= 1 && request->n_chain <= CERTCHECK_CHAIN_MAX,
		call_refuse(c, REASON_CERTIFICATE, "%zu certificates", request->n_chain));
	for (size_t i = 0; i < request->n_chain; i++)
		chain[i] = codec_view(request->chain[i]);
	TRY(call_step(c, REASON_CERTIFICATE,
		certcheck_ca_chain(roots, chain, request->n_chain, c->now_s, ret_path)));
	c->ca = cc_strndup(codec_view(request->ca));
out:
	return err;
}

static cc_err sign_chain(struct call *c, const STACK_OF(X509) * path, Certq__SignedDocument **ret)
{
	Certq__ResultDocument document = CERTQ__RESULT_DOCUMENT__INIT;
	cc_blob der[CERTCHECK_CHAIN_MAX + 1] = {0};
	ProtobufCBinaryData items[CERTCHECK_CHAIN_MAX + 1];
	size_t count = 0;
	cc_err err = CC_OK;

	for (int i = 0; i < sk_X509_num(path); i++) {
		ENSURE(count <= CERTCHECK_CHAIN_MAX, cc_fail(CC_TOO_LARGE, "a path too long"));
		TRY(certcheck_der(sk_X509_value(path, i), &der[count]));
		items[count] = codec_bytes(cc_blob_view(&der[count]));
		count++;
	}
	document.tenant = c->job->tenant;
	document.job_id = codec_bytes(cc_view_of(c->change.job_id, JOB_ID_SIZE));
	document.job_sha256 = codec_bytes(cc_view_of(c->change.job_sha256, SHA256_SIZE));
	document.outcome = CERTQ__OUTCOME__OUTCOME_CHAIN;
	document.n_chain = count;
	document.chain = items;
	TRY(result_sign(c->vault->keys, &document, ret));
out:
	for (size_t i = 0; i < count; i++)
		cc_blob_free(&der[i]);
	return err;
}

void chain_serve(struct call *c)
{
	const Vault__ChainResult *request = c->request->chain_result;
	Vault__VaultAnswer answer = VAULT__VAULT_ANSWER__INIT;
	Certq__ResultBundle bundle = CERTQ__RESULT_BUNDLE__INIT;
	STACK_OF(X509) *path = NULL;
	cc_err err = CC_OK;

	TRY(verify_job(c, request->job_id, request->job, request->signer,
		CERTQ__JOB_DOCUMENT__KIND_CHAIN));
	TRY(check_chain(c, request, &path));
	TRY(call_step(c, REASON_CERTIFICATE, sign_chain(c, path, &bundle.result)));
	answer.answer_case = VAULT__VAULT_ANSWER__ANSWER_RESULT;
	answer.result = &bundle;
	call_answer(c, &answer);
out:
	(void)err; /* noted by the steps */
	codec_free(bundle.result);
	certcheck_path_free(path);
}
