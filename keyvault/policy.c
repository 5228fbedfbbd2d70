/*
 * Policy, the reader: policy.yaml to an immutable struct.  Every complaint names the place.  Free
 * names and lists are walked by hand, everything else is a table of keys.
 */
#include "base/text.h"
#include "keyvault/pem.h"
#include "keyvault/policy_int.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>

/* Accounts and groups whose RID never goes into a certificate: domain administrators, controllers
 * and what can become one ([MS-DTYP] 2.4.2.4). */
static const uint32_t builtin_rids[] = {
	498, 500, 502, 512, 516, 517, 518, 519, 520, 521, 522, 526, 527};

static cc_err read_profiles(struct policy *p, const struct conf_node *n)
{
	cc_err err = CC_OK;

	if (n == NULL)
		return CC_OK;
	TRY(conf_need_map(n, "ca_profiles"));
	ENSURE(conf_count(n) <= CODEC_REPEATED_MAX,
		conf_fail(n, "ca_profiles: %zu of them, %d are the most that can be told of",
			conf_count(n), CODEC_REPEATED_MAX));
	p->profiles = cc_alloc((conf_count(n) + 1) * sizeof(*p->profiles));
	for (size_t i = 0; i < conf_count(n); i++) {
		cc_view name = conf_key_at(n, i);

		ENSURE(text_is_name(name),
			conf_fail(conf_at(n, i), "ca_profiles: not a profile's name"));
		p->profiles[p->profile_count++].name = cc_strndup(name);
		TRY(policy_profile_read(p->conf, conf_at(n, i), &p->profiles[i]));
	}
out:
	return err;
}

/* ---- the rest of the file ---- */

struct policy_file {
	uint64_t version, revision, max_job_lifetime_s;
	int report_detail, device_keys, unknown_keys, revoke_scope;
	const struct conf_node *device_cas, *pinned_limits, *denied_rids, *ca_profiles, *rewrap,
		*limits;
};

static const struct conf_key policy_keys[] = {
	{.name = "version",
		.type = CONF_U64,
		.offset = offsetof(struct policy_file, version),
		.required = true,
		.min = 1,
		.max = 1,
		.help = "of this file's form"},
	{.name = "revision",
		.type = CONF_U64,
		.offset = offsetof(struct policy_file, revision),
		.fallback = "1",
		.help = "of this policy, for records"},
	{.name = "report_detail",
		.type = CONF_CHOICE,
		.offset = offsetof(struct policy_file, report_detail),
		.fallback = "code",
		.allowed = "code|full",
		.help = "what leaves the host with a refusal"},
	{.name = "max_job_lifetime",
		.type = CONF_SECONDS,
		.offset = offsetof(struct policy_file, max_job_lifetime_s),
		.fallback = "72h",
		.min = 60,
		.max = 7 * 86400,
		.help = "longest lifetime of a job"},
	{.name = "device_keys",
		.type = CONF_CHOICE,
		.offset = offsetof(struct policy_file, device_keys),
		.fallback = "certified",
		.allowed = "certified|pinned|any_signed|operator",
		.help = "which device keys are believed"},
	{.name = "unknown_keys",
		.type = CONF_CHOICE,
		.offset = offsetof(struct policy_file, unknown_keys),
		.fallback = "wait",
		.allowed = "wait|refuse",
		.help = "for pinned and operator: a job with a key that they do not believe"},
	{.name = "device_cas",
		.type = CONF_NODE,
		.offset = offsetof(struct policy_file, device_cas),
		.help = "PEM certificates of device CAs, for certified"},
	{.name = "pinned_limits",
		.type = CONF_NODE,
		.offset = offsetof(struct policy_file, pinned_limits),
		.help = "first device keys a day"},
	{.name = "denied_rids",
		.type = CONF_NODE,
		.offset = offsetof(struct policy_file, denied_rids),
		.help = "added to the built-in list"},
	{.name = "ca_profiles",
		.type = CONF_NODE,
		.offset = offsetof(struct policy_file, ca_profiles),
		.help = "what may be issued"},
	{.name = "rewrap",
		.type = CONF_NODE,
		.offset = offsetof(struct policy_file, rewrap),
		.help = "imported PFX; left out: none"},
	{.name = "revoke_scope",
		.type = CONF_CHOICE,
		.offset = offsetof(struct policy_file, revoke_scope),
		.fallback = "issued",
		.allowed = "issued|any",
		.help = "which certificates may be revoked: those issued here, or any of the CAs"},
	{.name = "limits",
		.type = CONF_NODE,
		.offset = offsetof(struct policy_file, limits),
		.help = "jobs an hour or a day"},
};

static const struct conf_key pinned_keys[] = {
	{.name = "per_user_per_day",
		.type = CONF_U32,
		.offset = offsetof(struct policy_limits, pinned_per_user_per_day),
		.fallback = "5",
		.max = UINT32_MAX,
		.help = "first device keys of one user"},
	{.name = "per_tenant_per_day",
		.type = CONF_U32,
		.offset = offsetof(struct policy_limits, pinned_per_tenant_per_day),
		.fallback = "500",
		.max = UINT32_MAX,
		.help = "first device keys of all users"},
};

static const struct conf_key limit_keys[] = {
	{.name = "issue_per_hour",
		.type = CONF_U32,
		.offset = offsetof(struct policy_limits, issue_per_hour),
		.max = UINT32_MAX,
		.help = "0: no limit"},
	{.name = "rewrap_per_hour",
		.type = CONF_U32,
		.offset = offsetof(struct policy_limits, rewrap_per_hour),
		.max = UINT32_MAX,
		.help = "0: no limit"},
	{.name = "revoke_per_hour",
		.type = CONF_U32,
		.offset = offsetof(struct policy_limits, revoke_per_hour),
		.max = UINT32_MAX,
		.help = "0: no limit"},
	{.name = "revoke_per_day",
		.type = CONF_U32,
		.offset = offsetof(struct policy_limits, revoke_per_day),
		.max = UINT32_MAX,
		.help = "0: no limit"},
};

struct rewrap_file {
	const struct conf_node *purposes, *seals;
	int windows_transport, unbound;
};

static const struct conf_key rewrap_keys[] = {
	{.name = "purposes",
		.type = CONF_NODE,
		.offset = offsetof(struct rewrap_file, purposes),
		.required = true,
		.help = "purposes of records that are delivered"},
	{.name = "seals",
		.type = CONF_NODE,
		.offset = offsetof(struct rewrap_file, seals),
		.help = "allowed forms, the first is the default"},
	{.name = "windows_key_transport",
		.type = CONF_CHOICE,
		.offset = offsetof(struct rewrap_file, windows_transport),
		.fallback = "oaep",
		.allowed = "oaep|pkcs1",
		.help = "how the form windows seals to RSA; pkcs1: for devices that know no OAEP"},
	{.name = "unbound_records",
		.type = CONF_CHOICE,
		.offset = offsetof(struct rewrap_file, unbound),
		.fallback = "refuse",
		.allowed = "refuse|check",
		.help = "records without a binding to their owner"},
};

static cc_err read_limits(struct policy *p, const struct policy_file *f)
{
	cc_err err = CC_OK;

	p->limits.pinned_per_user_per_day = 5;
	p->limits.pinned_per_tenant_per_day = 500;
	if (f->pinned_limits != NULL)
		TRY(conf_fill(p->conf, f->pinned_limits, pinned_keys, 2, &p->limits));
	if (f->limits != NULL)
		TRY(conf_fill(p->conf, f->limits, limit_keys,
			sizeof(limit_keys) / sizeof(limit_keys[0]), &p->limits));
out:
	return err;
}

static cc_err read_rewrap(struct policy *p, const struct conf_node *n)
{
	struct rewrap_file f = {0};
	cc_err err = CC_OK;

	if (n == NULL)
		return CC_OK;
	TRY(conf_fill(p->conf, n, rewrap_keys, sizeof(rewrap_keys) / sizeof(rewrap_keys[0]), &f));
	TRY(policy_list_read(f.purposes, "rewrap.purposes", &p->rewrap_purposes));
	TRY(policy_seals_read(f.seals, &p->rewrap_seals, &p->rewrap_seal));
	TRY(policy_transport_read(
		n, f.windows_transport, p->rewrap_seals, &p->rewrap_windows_pkcs1));
	p->check_unbound = f.unbound == 1;
out:
	return err;
}

static cc_err read_rids(struct policy *p, const struct conf_node *n)
{
	size_t builtin = sizeof(builtin_rids) / sizeof(builtin_rids[0]);
	size_t own = n != NULL ? conf_count(n) : 0;
	cc_err err = CC_OK;

	p->denied_rids = cc_alloc((builtin + own) * sizeof(*p->denied_rids));
	memcpy(p->denied_rids, builtin_rids, sizeof(builtin_rids));
	p->denied_rid_count = builtin;
	if (n == NULL)
		return CC_OK;
	ENSURE(conf_is_list(n), conf_fail(n, "denied_rids has to be a list of numbers"));
	for (size_t i = 0; i < own; i++) {
		uint64_t rid = 0;

		ENSURE(text_to_u64(conf_text(conf_at(n, i)), 0, UINT32_MAX, &rid) == CC_OK,
			conf_fail(conf_at(n, i), "denied_rids: not a number"));
		p->denied_rids[p->denied_rid_count++] = (uint32_t)rid;
	}
out:
	return err;
}

static cc_err read_device_cas(struct policy *p, const struct policy_file *f)
{
	const struct conf_node *n = f->device_cas;
	cc_err err = CC_OK;

	p->device_cas = sk_X509_new_null();
	ENSURE(p->device_cas, cc_fail_openssl("a list of certificates"));
	if (n != NULL) {
		ENSURE(conf_is_list(n),
			conf_fail(n, "device_cas has to be a list of PEM certificates"));
		for (size_t i = 0; i < conf_count(n); i++)
			ENSURE(pem_certificates(conf_text(conf_at(n, i)), p->device_cas) == CC_OK,
				conf_fail(conf_at(n, i), "device_cas: not a PEM certificate"));
	}
out:
	return err;
}

cc_err policy_parse(cc_view text, const char *name, struct policy **ret)
{
	struct policy *p = cc_alloc(sizeof(*p));
	struct policy_file f = {0};
	cc_err err = CC_OK;

	TRY(conf_parse(text, name, &p->conf));
	TRY(conf_fill(p->conf, conf_root(p->conf), policy_keys,
		sizeof(policy_keys) / sizeof(policy_keys[0]), &f));
	p->revision = f.revision;
	p->full_detail = f.report_detail == 1;
	p->revokes_any = f.revoke_scope == 1;
	p->max_job_lifetime_s = f.max_job_lifetime_s;
	p->device_keys = (enum policy_device_keys)f.device_keys;
	p->asks_operator = f.unknown_keys == 0;
	TRY(read_limits(p, &f));
	TRY(read_rids(p, f.denied_rids));
	TRY(read_device_cas(p, &f));
	TRY(read_profiles(p, f.ca_profiles));
	TRY(read_rewrap(p, f.rewrap));
	*ret = p;
	p = NULL;
out:
	policy_free(p);
	return err;
}

void policy_free(struct policy *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->profile_count; i++)
		policy_profile_clear(&p->profiles[i]);
	free(p->profiles);
	free(p->rewrap_purposes.items);
	free(p->denied_rids);
	sk_X509_pop_free(p->device_cas, X509_free);
	conf_free(p->conf);
	free(p);
}
