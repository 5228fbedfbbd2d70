/*
 * Policy: policy.yaml, and what it says about a job.
 *
 * Keyvault; immutable once parsed, so any thread may read it.  Whatever the file does not allow is
 * denied.  Errors of the file name file, line and column; denials are CC_DENIED with words that stay in
 * the local log unless `report_detail: full`.
 */
#pragma once

#include "base/blob.h"
#include "certq/v1/job.pb-c.h"
#include "keyvault/names.h"
#include <openssl/x509.h>

struct policy;         /* a parsed file; opaque */
struct policy_profile; /* one of its CA profiles; opaque */

enum policy_device_keys { POLICY_CERTIFIED, POLICY_PINNED, POLICY_ANY_SIGNED, POLICY_OPERATOR };

struct policy_limits {
	uint32_t pinned_per_user_per_day; /* first device keys; 0: none at all */
	uint32_t pinned_per_tenant_per_day;
	uint32_t issue_per_hour; /* 0: no limit */
	uint32_t rewrap_per_hour;
	uint32_t revoke_per_hour, revoke_per_day;
};

#define POLICY_FILE_MAX (1024u * 1024u)

cc_err policy_parse(cc_view text, const char *name, struct policy **ret) CC_MUST_USE;
void policy_free(struct policy *p); /* accepts NULL */

uint64_t policy_revision(const struct policy *p);
bool policy_reports_detail(const struct policy *p);
bool policy_revokes_any(const struct policy *p); /* also what is not in the issued list */
enum policy_device_keys policy_device_keys(const struct policy *p);
bool policy_asks_operator(
	const struct policy *p); /* about keys that `pinned` and `operator` do not believe */
const char *policy_device_keys_name(enum policy_device_keys mode);
const STACK_OF(X509) * policy_device_cas(const struct policy *p);
const struct policy_limits *policy_limits(const struct policy *p);

size_t policy_profile_count(const struct policy *p);
const struct policy_profile *policy_profile_at(const struct policy *p, size_t i);
const struct policy_profile *policy_profile_find(const struct policy *p, cc_view name);
const char *policy_profile_name(const struct policy_profile *profile);
size_t policy_profile_ca_count(const struct policy_profile *profile);
const char *policy_profile_ca(const struct policy_profile *profile, size_t i);
bool policy_profile_has_ca(const struct policy_profile *profile, cc_view ca);

/* What an allowed Issue comes to.  Views and pointers are the policy's or the job's.  It points into
 * itself: not to be copied. */
struct policy_plan {
	const struct policy_profile *profile;
	const char *template_name;  /* the string for the CA */
	cc_view template_extension; /* the same, where the CSR shall say it; else empty */
	const struct names_template *template_id; /* where the CSR shall say this; else NULL */
	const cc_view *eku;                       /* as the CSR shall ask */
	size_t eku_count;
	const cc_view *eku_allowed; /* all that the certificate may have */
	size_t eku_allowed_count;
	uint32_t key_usage;
	uint32_t key_usage_allowed;
	uint32_t validity_s;
	Certq__Seal seal;
	bool windows_pkcs1; /* key transport of the form windows; false: RSA-OAEP */
	Certq__PfxProfile pfx_profile;
	cc_view asked_eku[32]; /* room for `eku` */
};

/* CC_DENIED, CC_MALFORMED (a name that is none). */
cc_err policy_judge_issue(
	const struct policy *p, const Certq__Issue *issue, struct policy_plan *ret) CC_MUST_USE;
cc_err policy_judge_rewrap(
	const struct policy *p, const Certq__Rewrap *rewrap, Certq__Seal *ret_seal) CC_MUST_USE;
bool policy_rewrap_pkcs1(const struct policy *p); /* as windows_pkcs1 */
/* Is the job's own lifetime below the policy's cap? */
cc_err policy_judge_lifetime(const struct policy *p, const Certq__JobDocument *job) CC_MUST_USE;
