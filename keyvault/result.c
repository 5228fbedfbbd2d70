/*
 * Results and refusals, signed.
 */
#include "keyvault/result.h"
#include "proto/codec.h"
#include "proto/dsse.h"

cc_err result_sign(
	struct keystore *ks, Certq__ResultDocument *document, Certq__SignedDocument **ret)
{
	EVP_PKEY *key = NULL;
	cc_blob body = CC_BLOB_NONE;
	cc_err err = CC_OK;

	document->version = 1;
	body = codec_pack(document);
	ENSURE(body.size <= DOC_BODY_MAX, cc_fail(CC_TOO_LARGE, "result: %zu bytes", body.size));
	TRY(keystore_signing_key(ks, KEYSTORE_RESULT, &key));
	TRY(dsse_sign(key, DOC_RESULT, cc_blob_view(&body), ret));
out:
	EVP_PKEY_free(key);
	cc_blob_free(&body);
	return err;
}

cc_err result_sign_refusal(struct keystore *ks, cc_view tenant, cc_view job_id, cc_view job_sha256,
	enum reason why, Certq__SignedDocument **ret)
{
	Certq__ResultDocument document = CERTQ__RESULT_DOCUMENT__INIT;

	document.tenant = codec_bytes(tenant);
	document.job_id = codec_bytes(job_id);
	document.job_sha256 = codec_bytes(job_sha256);
	document.outcome = CERTQ__OUTCOME__OUTCOME_REFUSED;
	document.code = codec_text(reason_code(why));
	document.event = reason_event(why);
	return result_sign(ks, &document, ret);
}
