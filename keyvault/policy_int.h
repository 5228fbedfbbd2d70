/*
 * Policy, inside: what the reader (policy.c) fills and the judge (policy_judge.c) asks.
 *
 * Lists are views into the document, which the policy keeps.
 */
#pragma once

#include "base/conf.h"
#include "keyvault/policy.h"

struct policy_list {
	cc_view *items;
	size_t count;
};

struct policy_profile {
	const char *name;
	struct policy_list cas;
	char **ca_names;
	const char *template_name;
	const struct conf_node *templates_node;
	struct policy_list template_keys;
	char **template_values;
	uint32_t key_types; /* 1 << Certq__KeyType */
	struct policy_list eku, default_eku;
	uint32_t key_usage;
	uint64_t max_validity_s, default_validity_s;
	struct policy_list san_email, san_upn, san_dns; /* suffixes */
	Certq__Seal seal;
	uint32_t seals; /* 1 << Certq__Seal */
	Certq__PfxProfile pfx_profile;
};

struct policy {
	struct conf *conf;
	uint64_t revision;
	bool full_detail;
	uint64_t max_job_lifetime_s;
	enum policy_device_keys device_keys;
	STACK_OF(X509) * device_cas;
	struct policy_limits limits;
	uint32_t *denied_rids;
	size_t denied_rid_count;
	struct policy_profile *profiles;
	size_t profile_count;
	struct policy_list rewrap_purposes;
	uint32_t rewrap_seals;
	Certq__Seal rewrap_seal;
	bool check_unbound; /* records without a binding are opened and compared, not refused */
};

/* policy_profile.c: the readers; all fail at the place in the document. */
cc_err policy_list_read(const struct conf_node *n, const char *what,
	struct policy_list *ret) CC_MUST_USE; /* NULL: an empty list */
/* The allowed seals; the first is returned too.  NULL: cms-auth. */
cc_err policy_seals_read(
	const struct conf_node *n, uint32_t *ret, Certq__Seal *ret_first) CC_MUST_USE;
cc_err policy_profile_read(const struct conf *c, const struct conf_node *n,
	struct policy_profile *profile) CC_MUST_USE;
void policy_profile_clear(struct policy_profile *profile);
