/*
 * Results: what the keyvault says about a job, signed with its result key.
 *
 * Keyvault; any thread.  The document is filled by the operation; version is set here.
 */
#pragma once

#include "keyvault/keystore.h"
#include "keyvault/reason.h"

/* Free with codec_free. */
cc_err result_sign(struct keystore *ks, Certq__ResultDocument *document,
	Certq__SignedDocument **ret) CC_MUST_USE;
/* A refusal: a stable code and an event number, nothing about the rule. */
cc_err result_sign_refusal(struct keystore *ks, cc_view tenant, cc_view job_id, cc_view job_sha256,
	enum reason why, Certq__SignedDocument **ret) CC_MUST_USE;
