/*
 * policy.yaml: what the file may say, and what it then allows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keyvault/policy.h"
#include "proto/codec.h"
#include "tests/support/fixture_vault.h"
#include <stdlib.h>
#include <string.h>

struct rig {
	struct policy *policy, *other;
	struct fixture_tenant tenant;
	cc_blob spki;
	struct fixture_job job;
	struct policy_plan plan;
};

static cc_err parse(const char *line, struct policy **ret)
{
	char *text = fixture_vault_policy(line);
	cc_err err = policy_parse(cc_view_text(text), "policy.yaml", ret);

	free(text);
	return err;
}

static int rig_new(void **state)
{
	struct rig *rig = cc_alloc(sizeof(*rig));
	EVP_PKEY *device = fixture_key("ec-p256");

	assert_int_equal(parse(NULL, &rig->policy), CC_OK);
	fixture_tenant_make(&rig->tenant, "contoso");
	rig->spki = fixture_spki(device);
	fixture_issue(&rig->job, &rig->tenant, "k", "corp-user", cc_blob_view(&rig->spki));
	EVP_PKEY_free(device);
	*state = rig;
	return 0;
}

static int rig_free(void **state)
{
	struct rig *rig = *state;

	policy_free(rig->policy);
	policy_free(rig->other);
	fixture_tenant_clear(&rig->tenant);
	cc_blob_free(&rig->spki);
	free(rig);
	return 0;
}

static cc_err judge(struct rig *rig)
{
	return policy_judge_issue(rig->policy, &rig->job.issue, &rig->plan);
}

static void judge_says_no(struct rig *rig)
{
	assert_int_equal(judge(rig), CC_DENIED);
}

/* ---- what is allowed ---- */

static void an_allowed_job_gets_the_configured_strings_and_defaults(void **state)
{
	struct rig *rig = *state;

	rig->job.issue.key_type = CERTQ__KEY_TYPE__KEY_RSA_2048;
	assert_int_equal(judge(rig), CC_OK);
	assert_string_equal(rig->plan.template_name, "user-template");
	assert_string_equal(policy_profile_ca(rig->plan.profile, 0), "corp-ca");
	assert_int_equal(policy_profile_ca_count(rig->plan.profile), 2);
	assert_int_equal(rig->plan.validity_s, 90 * 86400);
	assert_int_equal(rig->plan.eku_count, 1);
	assert_true(text_equal(rig->plan.eku[0], "1.3.6.1.5.5.7.3.2"));
	assert_int_equal(rig->plan.key_usage, 1u << 0 | 1u << 2);
	assert_int_equal(rig->plan.seal, CERTQ__SEAL__SEAL_CMS_AUTH);
	assert_int_equal(rig->plan.pfx_profile, CERTQ__PFX_PROFILE__PFX_MODERN);
}

static void an_ec_key_is_not_given_an_enciphering_usage_unasked(void **state)
{
	struct rig *rig = *state;

	rig->job.issue.key_type = CERTQ__KEY_TYPE__KEY_EC_P256;
	assert_int_equal(judge(rig), CC_OK);
	assert_int_equal(rig->plan.key_usage, 1u << 0);
	rig->job.issue.key_usage = 1u << 2; /* asked for: the profile allows it */
	assert_int_equal(judge(rig), CC_OK);
	assert_int_equal(rig->plan.key_usage, 1u << 2);
}

static void a_template_in_a_job_is_a_lookup_key(void **state)
{
	struct rig *rig = *state;

	rig->job.issue.template_ = codec_text("vpn");
	assert_int_equal(judge(rig), CC_OK);
	assert_string_equal(rig->plan.template_name, "vpn-template");
	rig->job.issue.template_ = codec_text("vpn-template");
	judge_says_no(rig);
}

static void names_below_the_suffixes_are_allowed(void **state)
{
	struct rig *rig = *state;

	fixture_issue_add_san(&rig->job, CERTQ__ALT_TYPE__ALT_UPN, "alice@sub.contoso.com");
	fixture_issue_add_san(&rig->job, CERTQ__ALT_TYPE__ALT_DNS, "pc1.Corp.Contoso.com");
	fixture_issue_add_san(&rig->job, CERTQ__ALT_TYPE__ALT_EMAIL, "a.b+c@CONTOSO.com");
	assert_int_equal(judge(rig), CC_OK);
}

static void a_seal_of_the_list_may_be_asked_for(void **state)
{
	struct rig *rig = *state;

	rig->job.device_key.seal = CERTQ__SEAL__SEAL_OAEP_SHA256;
	assert_int_equal(judge(rig), CC_OK);
	assert_int_equal(rig->plan.seal, CERTQ__SEAL__SEAL_OAEP_SHA256);
}

/* ---- what is denied ---- */

static void an_unknown_profile_is_denied(void **state)
{
	struct rig *rig = *state;

	rig->job.issue.ca_profile = codec_text("other");
	judge_says_no(rig);
}

static void a_key_type_that_is_not_listed_is_denied(void **state)
{
	struct rig *rig = *state;

	rig->job.issue.key_type = CERTQ__KEY_TYPE__KEY_RSA_4096;
	judge_says_no(rig);
	rig->job.issue.key_type = (Certq__KeyType)77;
	judge_says_no(rig);
}

static void usages_beyond_the_template_are_denied(void **state)
{
	struct rig *rig = *state;

	rig->job.eku[0] = codec_text("1.3.6.1.5.5.7.3.1");
	rig->job.issue.eku = rig->job.eku;
	rig->job.issue.n_eku = 1;
	judge_says_no(rig);
	rig->job.issue.n_eku = 0;
	rig->job.issue.key_usage = 1u << 5;
	judge_says_no(rig);
}

static void a_validity_beyond_the_policy_is_denied_and_not_cut(void **state)
{
	struct rig *rig = *state;

	rig->job.issue.validity_s = 366 * 86400;
	judge_says_no(rig);
}

static void names_outside_the_suffixes_are_denied(void **state)
{
	static const struct {
		Certq__AltType type;
		const char *value;
	} names[] = {
		{CERTQ__ALT_TYPE__ALT_EMAIL, "alice@evil.com"},
		{CERTQ__ALT_TYPE__ALT_EMAIL, "alice@notcontoso.com"},
		{CERTQ__ALT_TYPE__ALT_EMAIL, "alice@evil.com@contoso.com"},
		{CERTQ__ALT_TYPE__ALT_EMAIL, "@contoso.com"},
		{CERTQ__ALT_TYPE__ALT_EMAIL, "contoso.com"},
		{CERTQ__ALT_TYPE__ALT_EMAIL, "a b@contoso.com"},
		{CERTQ__ALT_TYPE__ALT_EMAIL, "alice@.contoso.com"},
		{CERTQ__ALT_TYPE__ALT_UPN, "administrator@contoso.com.evil"},
		{CERTQ__ALT_TYPE__ALT_DNS, "contoso.com"},
		{CERTQ__ALT_TYPE__ALT_DNS, "*.corp.contoso.com"},
		{CERTQ__ALT_TYPE__ALT_DNS, "xcorp.contoso.com"},
		{CERTQ__ALT_TYPE__ALT_DNS, "a..corp.contoso.com"},
		{CERTQ__ALT_TYPE__ALT_URI, "https://contoso.com/"},
		{CERTQ__ALT_TYPE__ALT_IP, "10.0.0.1"},
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		rig->job.san[0].type = names[i].type;
		rig->job.san[0].value = codec_text(names[i].value);
		judge_says_no(rig);
	}
}

static void a_type_that_the_profile_leaves_out_is_denied(void **state)
{
	struct rig *rig = *state;

	policy_free(rig->policy);
	rig->policy = NULL;
	assert_int_equal(parse("ca_profiles: {corp-user: {cas: [corp-ca], template: t, key_types: "
			       "[ec-p256], eku: "
			       "[1.3.6.1.5.5.7.3.2], key_usage: [digitalSignature], max_validity: "
			       "365d, san: {upn: "
			       "[contoso.com]}}}",
				 &rig->policy),
		CC_OK);
	judge_says_no(rig);
	rig->job.san[0].type = CERTQ__ALT_TYPE__ALT_UPN;
	assert_int_equal(judge(rig), CC_OK);
}

static cc_err use_profile(struct rig *rig, const char *more)
{
	char *line =
		cc_asprintf("ca_profiles: {corp-user: {cas: [corp-ca], template: User, key_types: "
			    "[ec-p256], eku: [1.3.6.1.5.5.7.3.2], key_usage: "
			    "[digitalSignature], max_validity: 365d, %s}}",
			more);
	cc_err err;

	policy_free(rig->policy);
	rig->policy = NULL;
	err = parse(line, &rig->policy);
	free(line);
	return err;
}

static void judge_name(struct rig *rig, Certq__AltType type, const char *value, cc_err expected)
{
	rig->job.san[0].type = type;
	rig->job.san[0].value = codec_text(value);
	if (judge(rig) != expected)
		fail_msg("%s", value);
}

static void a_uri_is_allowed_by_its_beginning_or_as_a_whole(void **state)
{
	const Certq__AltType uri = CERTQ__ALT_TYPE__ALT_URI;
	struct rig *rig = *state;

	assert_int_equal(use_profile(rig, "san: {uri: ['https://contoso.com/users/', "
					  "'https://contoso.com', 'urn:uuid:']}"),
		CC_OK);
	judge_name(rig, uri, "https://contoso.com/users/alice", CC_OK);
	judge_name(rig, uri, "https://contoso.com", CC_OK);
	judge_name(rig, uri, "urn:uuid:0f3a6d3c", CC_OK);
	judge_name(rig, uri, "https://contoso.com.evil", CC_DENIED);
	judge_name(rig, uri, "https://contoso.com/admins/alice", CC_DENIED);
	judge_name(rig, uri, "HTTPS://contoso.com/users/alice", CC_DENIED);
	judge_name(rig, uri, "urn:uui", CC_DENIED);
	judge_name(rig, uri, "", CC_DENIED);
	judge_name(rig, CERTQ__ALT_TYPE__ALT_IP, "10.0.0.1", CC_DENIED);
}

static void a_uri_that_leads_out_of_its_beginning_is_denied(void **state)
{
	static const char *const away[] = {"https://contoso.com/users/../admins",
		"https://contoso.com/users/..", "https://contoso.com/users/./../admins",
		"https://contoso.com/users/%2e%2E/admins", "https://contoso.com/users/.%2e/admins",
		"https://contoso.com/users/x%2f..%2fadmins",
		"https://contoso.com/users/..%5Cadmins", "https://contoso.com/users/..?a",
		"https://contoso.com/users/..#a", "https://shop.contoso.com:x@contoso.example/",
		"https://shop.contoso.com:443@contoso.example"};
	static const char *const within[] = {"https://contoso.com/users/a..b/...",
		"https://contoso.com/users/a?b=/../c",
		"https://contoso.com/users/alice@contoso.com", "https://shop.contoso.com:8443/a"};
	const Certq__AltType uri = CERTQ__ALT_TYPE__ALT_URI;
	struct rig *rig = *state;

	assert_int_equal(use_profile(rig, "san: {uri: ['https://contoso.com/users/', "
					  "'https://shop.contoso.com:']}"),
		CC_OK);
	for (size_t i = 0; i < sizeof(away) / sizeof(away[0]); i++)
		judge_name(rig, uri, away[i], CC_DENIED);
	for (size_t i = 0; i < sizeof(within) / sizeof(within[0]); i++)
		judge_name(rig, uri, within[i], CC_OK);
}

static void an_address_is_allowed_by_its_network(void **state)
{
	const Certq__AltType ip = CERTQ__ALT_TYPE__ALT_IP;
	struct rig *rig = *state;

	assert_int_equal(use_profile(rig, "san: {ip: [10.16.0.0/12, 192.168.1.7, '2001:db8::/33', "
					  "'::1']}"),
		CC_OK);
	judge_name(rig, ip, "10.31.255.255", CC_OK);
	judge_name(rig, ip, "10.32.0.0", CC_DENIED);
	judge_name(rig, ip, "10.15.255.255", CC_DENIED);
	judge_name(rig, ip, "192.168.1.7", CC_OK);
	judge_name(rig, ip, "192.168.1.6", CC_DENIED);
	judge_name(rig, ip, "2001:db8:7fff::1", CC_OK);
	judge_name(rig, ip, "2001:db8:8000::1", CC_DENIED);
	judge_name(rig, ip, "0:0:0:0:0:0:0:1", CC_OK);
	judge_name(rig, ip, "::ffff:10.16.0.1", CC_DENIED);
	judge_name(rig, ip, "10.16.0.1/12", CC_DENIED);
	judge_name(rig, ip, "alice", CC_DENIED);
	assert_int_equal(use_profile(rig, "san: {ip: [0.0.0.0/0]}"), CC_OK);
	judge_name(rig, ip, "255.1.2.3", CC_OK);
	judge_name(rig, ip, "::1", CC_DENIED);
}

static void what_a_request_says_of_its_template_is_the_profile_s(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(judge(rig), CC_OK);
	assert_int_equal(rig->plan.template_extension.size, 0);
	assert_null(rig->plan.template_id);
	assert_int_equal(use_profile(rig, "san: {email: [contoso.com]}, templates: {vpn: VPN}, "
					  "template_extension: v1"),
		CC_OK);
	assert_int_equal(judge(rig), CC_OK);
	assert_true(text_equal(rig->plan.template_extension, "User"));
	rig->job.issue.template_ = codec_text("vpn");
	assert_int_equal(judge(rig), CC_OK);
	assert_true(text_equal(rig->plan.template_extension, "VPN"));
	assert_null(rig->plan.template_id);
	rig->job.issue.template_ = codec_text("");
	assert_int_equal(
		use_profile(rig, "san: {email: [contoso.com]}, template_extension: v2, "
				 "template_oid: 1.3.6.1.4.1.311.21.8.1.2, template_major: 0"),
		CC_OK);
	assert_int_equal(judge(rig), CC_OK);
	assert_int_equal(rig->plan.template_extension.size, 0);
	assert_true(text_equal(rig->plan.template_id->oid, "1.3.6.1.4.1.311.21.8.1.2"));
	assert_int_equal(rig->plan.template_id->major, 0);
	assert_int_equal(rig->plan.template_id->minor, -1);
}

static void a_profile_s_names_and_templates_that_cannot_be_are_told(void **state)
{
	static const struct {
		const char *more, *words;
	} cases[] = {
		{"san: {ip: [10.1.0.0/8]}", "san.ip"},
		{"san: {ip: [10.0.0.0/33]}", "san.ip"},
		{"san: {ip: [localhost]}", "san.ip"},
		{"san: {ip: [10.0.0.0/]}", "san.ip"},
		{"san: {uri: [contoso.com]}", "san.uri"},
		{"template_extension: v3", "none"},
		{"template_extension: v2", "template_oid is missing"},
		{"template_extension: v2, template_oid: User", "not a dotted OID"},
		{"template_extension: v2, template_oid: 1.2.3, template_minor: 1",
			"not without template_major"},
		{"template_extension: v2, template_oid: 1.2.3, template_major: -1",
			"template_major"},
		{"template_extension: v2, template_oid: 1.2.3, template_major: 4294967296",
			"template_major"},
		{"template_extension: v2, template_oid: 1.2.3, templates: {a: b}",
			"not together with templates"},
		{"template_extension: v1, template_oid: 1.2.3", "are for template_extension: v2"},
		{"template_extension: v1, templates: {a: \"\xf0\x9f\x94\x92\"}", "U+FFFF"},
		{"template_oid: 1.2.3", "are for template_extension: v2"},
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (use_profile(rig, cases[i].more) == CC_OK ||
			!strstr(cc_err_detail(CC_CONFIG), cases[i].words) ||
			!strstr(cc_err_detail(CC_CONFIG), "policy.yaml:"))
			fail_msg("%s: %s", cases[i].more, cc_err_detail(CC_CONFIG));
	}
}

static void an_address_in_the_subject_is_under_the_same_rule(void **state)
{
	struct rig *rig = *state;

	rig->job.issue.subject = codec_text("CN=alice,1.2.840.113549.1.9.1=alice@evil.com");
	assert_int_not_equal(judge(rig), CC_OK);
	rig->job.issue.subject = codec_text("CN=alice,0.9.2342.19200300.100.1.3=alice@evil.com");
	judge_says_no(rig);
	rig->job.issue.subject = codec_text("CN=alice,0.9.2342.19200300.100.1.3=alice@contoso.com");
	assert_int_equal(judge(rig), CC_OK);
	rig->job.issue.subject = codec_text("CN=alice,O=Contoso");
	assert_int_equal(judge(rig), CC_OK);
}

/* OpenSSL's X509_check_host and others take it where there is no DNS name. */
static void a_common_name_for_servers_is_under_the_rule_for_dns_names(void **state)
{
	static const char *const denied[] = {"CN=www.contoso.example", "CN=*.corp.contoso.com",
		"CN=www.contoso.example.", "CN=alice,CN=www.contoso.example", "CN=10.2.0.1",
		"OU=a+CN=www.contoso.example", "2.5.4.3=www.contoso.example",
		"CN=#1e0a0077002e00650078002e", "CN=b\xc3\xbc.example"};
	static const char *const allowed[] = {"CN=www.corp.contoso.com", "CN=10.1.0.1", "CN=alice",
		"CN=Dr. Alice Smith", "CN=alice@contoso.com", "O=contoso.example"};
	struct rig *rig = *state;

	assert_int_equal(parse("ca_profiles: {corp-user: {cas: [corp-ca], template: t, key_types: "
			       "[ec-p256], eku: [1.3.6.1.5.5.7.3.1], key_usage: "
			       "[digitalSignature], max_validity: 365d, san: {email: "
			       "[contoso.com], dns: [corp.contoso.com], ip: [10.1.0.0/16]}}}",
				 &rig->other),
		CC_OK);
	for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++) {
		rig->job.issue.subject = codec_text(denied[i]);
		if (policy_judge_issue(rig->other, &rig->job.issue, &rig->plan) != CC_DENIED)
			fail_msg("%s", denied[i]);
		assert_int_equal(judge(rig), CC_OK); /* for clients only */
	}
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		rig->job.issue.subject = codec_text(allowed[i]);
		if (policy_judge_issue(rig->other, &rig->job.issue, &rig->plan) != CC_OK)
			fail_msg("%s", allowed[i]);
	}
}

static void privileged_rids_are_denied(void **state)
{
	static const char *const sids[] = {"S-1-5-21-1-2-3-500", "S-1-5-21-1-2-3-512",
		"S-1-5-21-1-2-3-519", "S-1-5-21-1-2-3-502", "S-1-5-32-544", "S-1-5-18"};
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(sids) / sizeof(sids[0]); i++) {
		rig->job.holder.sid = codec_text(sids[i]);
		assert_int_not_equal(judge(rig), CC_OK);
	}
	rig->job.holder.sid = codec_text("S-1-5-21-1-2-3-1105");
	assert_int_equal(judge(rig), CC_OK);
}

static void the_file_adds_rids(void **state)
{
	struct rig *rig = *state;

	policy_free(rig->policy);
	rig->policy = NULL;
	assert_int_equal(parse("denied_rids: [1105]", &rig->policy), CC_OK);
	rig->job.holder.sid = codec_text("S-1-5-21-1-2-3-1105");
	judge_says_no(rig);
	rig->job.holder.sid = codec_text("S-1-5-21-1-2-3-500");
	judge_says_no(rig);
}

static void a_seal_or_pfx_form_that_is_not_listed_is_denied(void **state)
{
	struct rig *rig = *state;

	rig->job.device_key.seal = CERTQ__SEAL__SEAL_WINDOWS;
	judge_says_no(rig);
	rig->job.device_key.seal = CERTQ__SEAL__SEAL_UNSPECIFIED;
	rig->job.issue.pfx_profile = CERTQ__PFX_PROFILE__PFX_COMPAT;
	judge_says_no(rig);
}

#define WINDOWS_PROFILE                                                                            \
	"ca_profiles: {corp-user: {cas: [a], template: t, key_types: [ec-p256], eku: [], "         \
	"key_usage: [digitalSignature], max_validity: 1d, san: {email: [contoso.com]}, "

/* PKCS#1 v1.5 is never the default, and never without the form that it is for. */
static void the_form_windows_and_its_key_transport_are_the_profile_s(void **state)
{
	struct rig *rig = *state;

	policy_free(rig->policy);
	rig->policy = NULL;
	assert_int_equal(parse(WINDOWS_PROFILE "seal: windows}}", &rig->policy), CC_OK);
	assert_int_equal(judge(rig), CC_OK);
	assert_int_equal(rig->plan.seal, CERTQ__SEAL__SEAL_WINDOWS);
	assert_false(rig->plan.windows_pkcs1);
	policy_free(rig->policy);
	rig->policy = NULL;
	assert_int_equal(parse(WINDOWS_PROFILE "seals: [cms-auth, windows], "
					       "windows_key_transport: pkcs1}}",
				 &rig->policy),
		CC_OK);
	assert_int_equal(judge(rig), CC_OK);
	assert_int_equal(rig->plan.seal, CERTQ__SEAL__SEAL_CMS_AUTH);
	assert_true(rig->plan.windows_pkcs1);
	assert_false(policy_rewrap_pkcs1(rig->policy));
	policy_free(rig->policy);
	rig->policy = NULL;
	assert_int_equal(parse("rewrap: {purposes: [smimeEncryption], seals: [windows], "
			       "windows_key_transport: pkcs1}",
				 &rig->policy),
		CC_OK);
	assert_true(policy_rewrap_pkcs1(rig->policy));
}

static void a_job_that_lives_too_long_is_denied(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(policy_judge_lifetime(rig->policy, &rig->job.doc), CC_OK);
	rig->job.doc.not_after_s = rig->job.doc.not_before_s + 73 * 3600;
	assert_int_equal(policy_judge_lifetime(rig->policy, &rig->job.doc), CC_DENIED);
}

static void a_rewrap_needs_its_purpose_listed_and_a_binding(void **state)
{
	struct rig *rig = *state;
	Certq__Seal seal = CERTQ__SEAL__SEAL_UNSPECIFIED;

	fixture_rewrap(&rig->job, &rig->tenant, "k", cc_view_text("pfx"), cc_blob_view(&rig->spki));
	assert_int_equal(policy_judge_rewrap(rig->policy, &rig->job.rewrap, &seal), CC_OK);
	assert_int_equal(seal, CERTQ__SEAL__SEAL_CMS_AUTH);
	rig->job.rewrap.binding = 0;
	assert_int_equal(policy_judge_rewrap(rig->policy, &rig->job.rewrap, &seal), CC_DENIED);
	rig->job.rewrap.binding = 1;
	rig->job.rewrap.purpose = codec_text("vpn");
	assert_int_equal(policy_judge_rewrap(rig->policy, &rig->job.rewrap, &seal), CC_DENIED);
}

static void a_file_without_profiles_allows_nothing(void **state)
{
	struct rig *rig = *state;
	Certq__Seal seal;

	policy_free(rig->policy);
	rig->policy = NULL;
	assert_int_equal(
		policy_parse(cc_view_text("version: 1\n"), "policy.yaml", &rig->policy), CC_OK);
	judge_says_no(rig);
	assert_int_equal(policy_device_keys(rig->policy), POLICY_CERTIFIED);
	fixture_rewrap(&rig->job, &rig->tenant, "k", cc_view_text("pfx"), cc_blob_view(&rig->spki));
	assert_int_equal(policy_judge_rewrap(rig->policy, &rig->job.rewrap, &seal), CC_DENIED);
}

static void revocations_are_of_our_own_unless_the_file_says_otherwise(void **state)
{
	struct rig *rig = *state;

	assert_false(policy_revokes_any(rig->policy));
	assert_int_equal(policy_limits(rig->policy)->revoke_per_day, 0);
	policy_free(rig->policy);
	rig->policy = NULL;
	assert_int_equal(parse("revoke_scope: any", &rig->policy), CC_OK);
	assert_true(policy_revokes_any(rig->policy));
	policy_free(rig->policy);
	rig->policy = NULL;
	assert_int_equal(
		parse("limits: {revoke_per_hour: 3, revoke_per_day: 20}", &rig->policy), CC_OK);
	assert_int_equal(policy_limits(rig->policy)->revoke_per_hour, 3);
	assert_int_equal(policy_limits(rig->policy)->revoke_per_day, 20);
	assert_int_equal(policy_limits(rig->policy)->issue_per_hour, 0);
}

/* ---- the file ---- */

/* The connector is told of every profile in one message; a list that does not fit would end each conversation. */
static void more_profiles_than_can_be_told_of_are_refused(void **state)
{
	cc_blob text = CC_BLOB_NONE;
	struct policy *policy = NULL;

	(void)state;
	cc_blob_printf(&text, "ca_profiles: {");
	for (unsigned i = 0; i < 257; i++)
		cc_blob_printf(&text,
			"%sp%u: {cas: [a], template: t, key_types: [ec-p256], eku: [], key_usage: "
			"[digitalSignature], max_validity: 1d}",
			i == 0 ? "" : ", ", i);
	cc_blob_printf(&text, "}");
	assert_int_not_equal(parse(cc_blob_text(&text), &policy), CC_OK);
	assert_non_null(strstr(cc_err_detail(CC_CONFIG), "257"));
	assert_null(policy);
	cc_blob_free(&text);
}

static void mistakes_are_named_with_their_place(void **state)
{
	static const char *const lines[] = {
		"device_keys: everybody",
		"revoke_scope: everything",
		"no_such_key: 1",
		"version: 2",
		"max_job_lifetime: 300d",
		"device_cas: [nonsense]",
		"denied_rids: [x]",
		"ca_profiles: {p: {cas: [], template: t, key_types: [ec-p256], eku: [], key_usage: "
		"[digitalSignature], max_validity: 1d}}",
		"ca_profiles: {p: {cas: [a], template: t, key_types: [dsa], eku: [], key_usage: "
		"[digitalSignature], max_validity: 1d}}",
		"ca_profiles: {p: {cas: [a], template: t, key_types: [ec-p256], eku: "
		"[2.5.29.37.0], "
		"key_usage: [digitalSignature], max_validity: 1d}}",
		"ca_profiles: {p: {cas: [a], template: t, key_types: [ec-p256], eku: [], "
		"key_usage: "
		"[keyCertSign], max_validity: 1d}}",
		"ca_profiles: {p: {cas: [a], template: t, key_types: [ec-p256], eku: [], "
		"key_usage: "
		"[digitalSignature], max_validity: 1d, default_validity: 2d}}",
		"ca_profiles: {p: {cas: [a], template: t, key_types: [ec-p256], eku: [], "
		"key_usage: "
		"[digitalSignature], max_validity: 1d, seals: [windows]}}",
		"ca_profiles: {p: {cas: [a], template: t, key_types: [ec-p256], eku: [], "
		"key_usage: [digitalSignature], max_validity: 1d, windows_key_transport: pkcs1}}",
		"rewrap: {purposes: [smimeEncryption], windows_key_transport: pkcs1}",
		"rewrap: {purposes: [smimeEncryption], seals: [windows], windows_key_transport: "
		"v15}",
		"ca_profiles: {p: {cas: [a], template: t, key_types: [ec-p256], eku: "
		"[1.3.6.1.5.5.7.3.2], default_eku: [1.3.6.1.5.5.7.3.1], key_usage: "
		"[digitalSignature], max_validity: 1d}}",
	};
	(void)state;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct policy *policy = NULL;

		cc_err err = parse(lines[i], &policy);
		assert_int_not_equal(err, CC_OK);
		assert_non_null(strstr(cc_err_detail(err), "policy.yaml:"));
		assert_null(policy);
	}
}

int main(void)
{
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_new, rig_free)
	const struct CMUnitTest tests[] = {
		WITH_RIG(an_allowed_job_gets_the_configured_strings_and_defaults),
		WITH_RIG(an_ec_key_is_not_given_an_enciphering_usage_unasked),
		WITH_RIG(a_template_in_a_job_is_a_lookup_key),
		WITH_RIG(a_uri_is_allowed_by_its_beginning_or_as_a_whole),
		WITH_RIG(a_uri_that_leads_out_of_its_beginning_is_denied),
		WITH_RIG(an_address_is_allowed_by_its_network),
		WITH_RIG(what_a_request_says_of_its_template_is_the_profile_s),
		WITH_RIG(a_profile_s_names_and_templates_that_cannot_be_are_told),
		WITH_RIG(names_below_the_suffixes_are_allowed),
		WITH_RIG(a_seal_of_the_list_may_be_asked_for),
		WITH_RIG(an_unknown_profile_is_denied),
		WITH_RIG(a_key_type_that_is_not_listed_is_denied),
		WITH_RIG(usages_beyond_the_template_are_denied),
		WITH_RIG(a_validity_beyond_the_policy_is_denied_and_not_cut),
		WITH_RIG(names_outside_the_suffixes_are_denied),
		WITH_RIG(a_type_that_the_profile_leaves_out_is_denied),
		WITH_RIG(an_address_in_the_subject_is_under_the_same_rule),
		WITH_RIG(a_common_name_for_servers_is_under_the_rule_for_dns_names),
		WITH_RIG(privileged_rids_are_denied),
		WITH_RIG(the_file_adds_rids),
		WITH_RIG(a_seal_or_pfx_form_that_is_not_listed_is_denied),
		WITH_RIG(the_form_windows_and_its_key_transport_are_the_profile_s),
		WITH_RIG(a_job_that_lives_too_long_is_denied),
		WITH_RIG(a_rewrap_needs_its_purpose_listed_and_a_binding),
		WITH_RIG(a_file_without_profiles_allows_nothing),
		WITH_RIG(revocations_are_of_our_own_unless_the_file_says_otherwise),
		cmocka_unit_test(mistakes_are_named_with_their_place),
		cmocka_unit_test(more_profiles_than_can_be_told_of_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
