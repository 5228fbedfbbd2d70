/*
 * Verify: a signed job at the connector's door, believed step by step.
 *
 * Keyvault; a worker's thread.  Statement under the pinned job root, job under the statement, audience,
 * job id, kind, policy, lifetime.  What fails is noted in the call with its reason: signature, tenant and
 * audience unsigned, so that another connector may take the job; what comes after that as a refusal
 * that will be signed.
 */
#pragma once

#include "keyvault/call.h"

/* On success c->job is the verified job, and the change knows tenant, job id, digest and signer. */
cc_err verify_job(struct call *c, ProtobufCBinaryData claimed_id, const Certq__SignedDocument *job,
	const Certq__SignedDocument *signer, Certq__JobDocument__KindCase kind) CC_MUST_USE;
/* Is there a policy to judge by? */
cc_err verify_policy(struct call *c) CC_MUST_USE;
/* Is there a root that what this CA issues can be judged by?  Asked before the CA is: what it made
 * otherwise could not be delivered. */
cc_err verify_ca_is_pinned(struct call *c, cc_view ca) CC_MUST_USE;
/* The ticket, as c->ticket; the change knows tenant, job id and digest.  With a policy only. */
cc_err verify_ticket(struct call *c, ProtobufCBinaryData ticket) CC_MUST_USE;
/* The same for what clears up after a job: past finish_by too, and with or without a policy. */
cc_err verify_ticket_to_settle(struct call *c, ProtobufCBinaryData ticket) CC_MUST_USE;
