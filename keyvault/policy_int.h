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

/* `template_extension: none|v1|v2`, in this order. */
enum policy_template_form { POLICY_TEMPLATE_NONE, POLICY_TEMPLATE_V1, POLICY_TEMPLATE_V2 };

struct policy_network {
	uint8_t address[16];
	unsigned size, bits; /* bytes of the address; bits that have to be the same */
};

struct policy_profile {
	const char *name;
	struct policy_list cas;
	char **ca_names;
	const char *template_name;
	struct policy_list template_keys;
	char **template_values;
	enum policy_template_form template_form;
	struct names_template template_id; /* POLICY_TEMPLATE_V2 */
	uint32_t key_types;                /* 1 << Certq__KeyType */
	struct policy_list eku, default_eku;
	uint32_t key_usage;
	uint64_t max_validity_s, default_validity_s;
	struct policy_list san_email, san_upn, san_dns; /* suffixes */
	struct policy_list san_uri;                     /* prefixes, or a whole URI */
	struct policy_network *san_ip;
	size_t san_ip_count;
	Certq__Seal seal;
	uint32_t seals; /* 1 << Certq__Seal */
	bool windows_pkcs1;
	Certq__PfxProfile pfx_profile;
};

struct policy {
	struct conf *conf;
	uint64_t revision;
	bool full_detail;
	bool revokes_any;
	uint64_t max_job_lifetime_s;
	enum policy_device_keys device_keys;
	bool asks_operator;
	STACK_OF(X509) * device_cas;
	struct policy_limits limits;
	uint32_t *denied_rids;
	size_t denied_rid_count;
	struct policy_profile *profiles;
	size_t profile_count;
	struct policy_list rewrap_purposes;
	uint32_t rewrap_seals;
	Certq__Seal rewrap_seal;
	bool rewrap_windows_pkcs1;
	bool check_unbound; /* records without a binding are opened and compared, not refused */
};

/* policy_profile.c: the readers; all fail at the place in the document. */
cc_err policy_list_read(const struct conf_node *n, const char *what,
	struct policy_list *ret) CC_MUST_USE; /* NULL: an empty list */
/* The allowed seals; the first is returned too.  NULL: cms-auth. */
cc_err policy_seals_read(
	const struct conf_node *n, uint32_t *ret, Certq__Seal *ret_first) CC_MUST_USE;
/* `windows_key_transport: oaep|pkcs1`, as conf_fill left its choice; pkcs1 only where windows is allowed. */
cc_err policy_transport_read(
	const struct conf_node *n, int choice, uint32_t seals, bool *ret_pkcs1) CC_MUST_USE;
cc_err policy_profile_read(const struct conf *c, const struct conf_node *n,
	struct policy_profile *profile) CC_MUST_USE;
void policy_profile_clear(struct policy_profile *profile);

/* policy_san.c: alternative names that do not end in a domain. */
cc_err policy_san_read_uris(const struct conf_node *n, struct policy_profile *profile) CC_MUST_USE;
cc_err policy_san_read_networks(
	const struct conf_node *n, struct policy_profile *profile) CC_MUST_USE;
bool policy_san_uri_fits(const struct policy_profile *profile, cc_view uri);
bool policy_san_ip_fits(const struct policy_profile *profile, cc_view text);

/* policy_template.c: what a request tells the CA of its template. */
struct policy_template_file {
	int form;
	const char *oid;
	const struct conf_node *major, *minor;
};
cc_err policy_template_read(const struct conf_node *n, const struct policy_template_file *f,
	struct policy_profile *profile) CC_MUST_USE;
