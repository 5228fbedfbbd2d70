/*
 * Reasons: why the keyvault says no, as one table.
 *
 * Keyvault; pure functions, any thread.  A reason fixes the status at the connector's door, the stable
 * code that producers see, and the event of the local log.  Status REFUSED is for good and is
 * signed where a job was verified; REFUSED_HERE says that another connector may take the job; BUSY
 * and FAILED say that the same may succeed later, WAITS_OPERATOR that it may when somebody has said so.
 */
#pragma once

#include "base/log.h"
#include "vault/v1/vault.pb-c.h"

/* name, status, code, event (0: none) */
#define REASON_TABLE(X)                                                                            \
	X(REASON_NONE, OK, "", 0)                                                                  \
	X(REASON_MALFORMED, MALFORMED, "malformed", 0)                                             \
	X(REASON_SIGNATURE, REFUSED_HERE, "signature_invalid", EV_JOB_REFUSED_HERE)                \
	X(REASON_UNKNOWN_KEY, REFUSED_HERE, "unknown_key", EV_JOB_REFUSED_HERE)                    \
	X(REASON_SIGNER, REFUSED_HERE, "signer_not_valid", EV_JOB_REFUSED_HERE)                    \
	X(REASON_TENANT, REFUSED_HERE, "tenant_mismatch", EV_JOB_REFUSED_HERE)                     \
	X(REASON_AUDIENCE, REFUSED_HERE, "audience_mismatch", EV_JOB_REFUSED_HERE)                 \
	X(REASON_JOB_ID, REFUSED_HERE, "job_id_mismatch", EV_JOB_REFUSED_HERE)                     \
	X(REASON_DOCUMENT, REFUSED_HERE, "malformed_document", EV_JOB_REFUSED_HERE)                \
	X(REASON_NOT_YET, REFUSED_HERE, "not_yet_valid", EV_JOB_REFUSED_HERE)                      \
	X(REASON_KEY_NOT_HELD, REFUSED_HERE, "key_not_held", EV_PASSWORD_UNUSABLE)                 \
	X(REASON_EXPIRED, REFUSED, "expired", EV_JOB_EXPIRED)                                      \
	X(REASON_POLICY_MISSING, REFUSED, "policy_missing", EV_POLICY_DENIED)                      \
	X(REASON_POLICY, REFUSED, "policy_denied", EV_POLICY_DENIED)                               \
	X(REASON_DEVICE_KEY, REFUSED, "device_key_refused", EV_DEVICE_KEY_REFUSED)                 \
	X(REASON_WAITS, WAITS_OPERATOR, "waits_for_operator", EV_APPROVAL_ASKED)                   \
	X(REASON_WAITING_FULL, REFUSED, "too_many_wait", EV_APPROVALS_FULL)                        \
	X(REASON_DENIED, REFUSED, "denied_by_operator", EV_APPROVAL_DENIED)                        \
	X(REASON_NOT_WAITING, REFUSED, "not_waiting", 0)                                           \
	X(REASON_OTHER_QUESTION, REFUSED, "other_question", 0)                                     \
	X(REASON_DECIDED, REFUSED, "decided_already", 0)                                           \
	X(REASON_CONFLICT, REFUSED, "idempotency_conflict", EV_POLICY_DENIED)                      \
	X(REASON_TICKET, REFUSED, "ticket_invalid", EV_JOB_REFUSED_HERE)                           \
	X(REASON_CERTIFICATE, REFUSED, "certificate_mismatch", EV_CERTIFICATE_MISMATCH)            \
	X(REASON_PASSWORD, REFUSED, "password_unusable", EV_PASSWORD_UNUSABLE)                     \
	X(REASON_NOT_SUPPORTED, NOT_SUPPORTED, "not_supported", 0)                                 \
	X(REASON_NOT_ENROLLED, NOT_ENROLLED, "not_enrolled", EV_NOT_ENROLLED)                      \
	X(REASON_POLICY_PROBLEM, BUSY, "policy_problem", EV_POLICY_PROBLEM)                        \
	X(REASON_RATE, BUSY, "rate_limited", EV_POLICY_DENIED)                                     \
	X(REASON_BUSY, BUSY, "busy", 0)                                                            \
	X(REASON_CLOCK, FAILED, "clock", EV_CLOCK_BACK)                                            \
	X(REASON_INTERNAL, FAILED, "internal", EV_VAULT_FAILED)                                    \
	X(REASON_AGAIN, FAILED, "again", 0)

enum reason {
#define REASON_NAME(name, status, code, event) name,
	REASON_TABLE(REASON_NAME)
#undef REASON_NAME
};

Vault__VaultStatus reason_status(enum reason r);
const char *reason_code(enum reason r);
uint32_t reason_event(enum reason r);

/* Is it a decision that belongs into the audit?  OK, REFUSED and REFUSED_HERE are, and WAITS_OPERATOR when
 * the question is asked. */
bool reason_is_decision(enum reason r);
