/*
 * Policy, the judge: is what a job asks for allowed, and what does it come to?  Default deny: each rule
 * names what it takes, and everything else falls through to a refusal.
 */
#include "base/text.h"
#include "keyvault/names.h"
#include "keyvault/policy_int.h"
#include "proto/codec.h"
#include <string.h>

#define SID_DOMAIN_PREFIX "S-1-5-21-"
#define EKU_SERVER        "1.3.6.1.5.5.7.3.1"

/* ---- what the reader has found ---- */

uint64_t policy_revision(const struct policy *p)
{
	return p->revision;
}

bool policy_reports_detail(const struct policy *p)
{
	return p->full_detail;
}

bool policy_revokes_any(const struct policy *p)
{
	return p->revokes_any;
}

enum policy_device_keys policy_device_keys(const struct policy *p)
{
	return p->device_keys;
}

bool policy_asks_operator(const struct policy *p)
{
	return p->asks_operator;
}

const char *policy_device_keys_name(enum policy_device_keys mode)
{
	static const char *const names[] = {"certified", "pinned", "any_signed", "operator"};

	return names[mode];
}

const STACK_OF(X509) * policy_device_cas(const struct policy *p)
{
	return p->device_cas;
}

bool policy_rewrap_pkcs1(const struct policy *p)
{
	return p->rewrap_windows_pkcs1;
}

const struct policy_limits *policy_limits(const struct policy *p)
{
	return &p->limits;
}

size_t policy_profile_count(const struct policy *p)
{
	return p->profile_count;
}

const struct policy_profile *policy_profile_at(const struct policy *p, size_t i)
{
	return &p->profiles[i];
}

const struct policy_profile *policy_profile_find(const struct policy *p, cc_view name)
{
	for (size_t i = 0; i < p->profile_count; i++)
		if (text_equal(name, p->profiles[i].name))
			return &p->profiles[i];
	return NULL;
}

const char *policy_profile_name(const struct policy_profile *profile)
{
	return profile->name;
}

size_t policy_profile_ca_count(const struct policy_profile *profile)
{
	return profile->cas.count;
}

const char *policy_profile_ca(const struct policy_profile *profile, size_t i)
{
	return profile->ca_names[i];
}

static bool list_has(const struct policy_list *list, cc_view item)
{
	for (size_t i = 0; i < list->count; i++)
		if (cc_view_equal(list->items[i], item))
			return true;
	return false;
}

bool policy_profile_has_ca(const struct policy_profile *profile, cc_view ca)
{
	return list_has(&profile->cas, ca);
}

/* ---- names ---- */

/* The domain is the suffix or below it; ASCII case does not count. */
static bool domain_fits(cc_view domain, const struct policy_list *suffixes)
{
	for (size_t i = 0; i < suffixes->count; i++) {
		cc_view suffix = suffixes->items[i];

		if (text_equal_nocase(domain, suffix))
			return true;
		if (domain.size > suffix.size + 1 && text_ends_nocase(domain, suffix) &&
			domain.data[domain.size - suffix.size - 1] == '.')
			return true;
	}
	return false;
}

/* "local@domain" with exactly one '@' and without anything that quotes or separates. */
static bool address_fits(cc_view address, const struct policy_list *suffixes)
{
	size_t at = 0, count = 0;

	for (size_t i = 0; i < address.size; i++) {
		if (address.data[i] == '@') {
			at = i;
			count++;
		}
		if (strchr("\"<>(),;:\\[] ", (char)address.data[i]) != NULL)
			return false;
	}
	if (count != 1 || at == 0)
		return false;
	cc_view domain = cc_view_part(address, at + 1, address.size - at - 1);
	return names_is_dns(domain) && domain_fits(domain, suffixes);
}

static cc_err judge_alt_name(const struct policy_profile *profile, const Certq__AltName *san)
{
	cc_view value = codec_view(san->value);
	const char *type = "of this type";
	bool ok = false;

	switch (san->type) {
	case CERTQ__ALT_TYPE__ALT_EMAIL:
		type = "email";
		ok = address_fits(value, &profile->san_email);
		break;
	case CERTQ__ALT_TYPE__ALT_UPN:
		type = "upn";
		ok = address_fits(value, &profile->san_upn);
		break;
	case CERTQ__ALT_TYPE__ALT_DNS:
		type = "dns";
		ok = names_is_dns(value) && domain_fits(value, &profile->san_dns);
		break;
	case CERTQ__ALT_TYPE__ALT_URI:
		type = "uri";
		ok = policy_san_uri_fits(profile, value);
		break;
	case CERTQ__ALT_TYPE__ALT_IP:
		type = "ip";
		ok = policy_san_ip_fits(profile, value);
		break;
	default:
		break;
	}
	return ok ? CC_OK
		  : cc_fail(CC_DENIED,
			    "profile %s: an alternative name (%s) is not within what it allows",
			    profile->name, type);
}

static bool is_wide(const ASN1_STRING *s)
{
	return ASN1_STRING_type(s) == V_ASN1_BMPSTRING ||
	       ASN1_STRING_type(s) == V_ASN1_UNIVERSALSTRING;
}

/* Dots and no space, but no e-mail address: what a reader may take for a server's name or address. */
static bool may_name_server(cc_view text)
{
	return text.size > 0 && memchr(text.data, '.', text.size) != NULL &&
	       memchr(text.data, ' ', text.size) == NULL &&
	       memchr(text.data, '@', text.size) == NULL;
}

/* Where a server's certificate has no DNS name, clients take its common name for one (RFC 6125 section
 * 6.4.4). */
static bool common_name_fits(const struct policy_profile *profile, const ASN1_STRING *s)
{
	unsigned char *utf8 = NULL;
	int size = ASN1_STRING_to_UTF8(&utf8, s);
	cc_view text = cc_view_of(utf8, size > 0 ? (size_t)size : 0);
	bool fits =
		size > 0 && (!may_name_server(text) ||
				    (names_is_dns(text) && domain_fits(text, &profile->san_dns)) ||
				    policy_san_ip_fits(profile, text));

	OPENSSL_free(utf8);
	return fits;
}

/* What is in the subject must not go round the rules for alternative names: an e-mail address, under either
 * of its types, and a server's name. */
static cc_err judge_attribute(const struct policy_profile *profile, const X509_NAME_ENTRY *entry)
{
	int type = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
	const ASN1_STRING *s = X509_NAME_ENTRY_get_data(entry);
	cc_view value = cc_view_of(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));

	if ((type == NID_pkcs9_emailAddress || type == NID_rfc822Mailbox) &&
		(is_wide(s) || !address_fits(value, &profile->san_email)))
		return cc_fail(CC_DENIED, "profile %s: the subject's e-mail address is not allowed",
			profile->name);
	if (type == NID_commonName && list_has(&profile->eku, cc_view_text(EKU_SERVER)) &&
		!common_name_fits(profile, s))
		return cc_fail(CC_DENIED,
			"profile %s: for servers, and the subject's common name is a DNS name or "
			"address that is not within what it allows",
			profile->name);
	return CC_OK;
}

static cc_err judge_subject(const struct policy_profile *profile, cc_view text)
{
	X509_NAME *name = NULL;
	cc_err err = CC_OK;

	TRY(names_subject(text, &name));
	for (int i = 0; i < X509_NAME_entry_count(name); i++)
		TRY(judge_attribute(profile, X509_NAME_get_entry(name, i)));
out:
	X509_NAME_free(name);
	return err;
}

static cc_err judge_sid(const struct policy *p, cc_view sid)
{
	uint32_t rid = 0;
	cc_err err = CC_OK;

	if (sid.size == 0)
		return CC_OK;
	TRY(names_sid_check(sid, &rid));
	ENSURE(cc_view_equal(cc_view_part(sid, 0, sizeof(SID_DOMAIN_PREFIX) - 1),
		       cc_view_text(SID_DOMAIN_PREFIX)),
		cc_fail(CC_DENIED, "a SID that is not a domain account's"));
	for (size_t i = 0; i < p->denied_rid_count; i++)
		ENSURE(p->denied_rids[i] != rid,
			cc_fail(CC_DENIED, "the RID %u is privileged", rid));
out:
	return err;
}

static cc_err judge_names(
	const struct policy *p, const struct policy_profile *profile, const Certq__Issue *issue)
{
	GENERAL_NAMES *san = NULL;
	cc_err err = CC_OK;

	TRY(judge_sid(p, codec_view(issue->holder->sid)));
	TRY(judge_subject(profile, codec_view(issue->subject)));
	for (size_t i = 0; i < issue->n_san; i++)
		TRY(judge_alt_name(profile, issue->san[i]));
	TRY(names_san(issue, &san)); /* syntax: now, and not when the CSR is built */
out:
	GENERAL_NAMES_free(san);
	return err;
}

/* ---- the other fields ---- */

static cc_err find_template(const struct policy_profile *profile, cc_view asked, const char **ret)
{
	if (asked.size == 0) {
		*ret = profile->template_name;
		return CC_OK;
	}
	for (size_t i = 0; i < profile->template_keys.count; i++) {
		if (cc_view_equal(profile->template_keys.items[i], asked)) {
			*ret = profile->template_values[i];
			return CC_OK;
		}
	}
	return cc_fail(CC_DENIED, "profile %s: the template that the job names is not listed",
		profile->name);
}

static cc_err plan_template(
	const struct policy_profile *profile, cc_view asked, struct policy_plan *plan)
{
	cc_err err = CC_OK;

	TRY(find_template(profile, asked, &plan->template_name));
	if (profile->template_form == POLICY_TEMPLATE_V1)
		plan->template_extension = cc_view_text(plan->template_name);
	if (profile->template_form == POLICY_TEMPLATE_V2)
		plan->template_id = &profile->template_id;
out:
	return err;
}

/* What a profile gives when a job names no usage: an EC key enciphers nothing (RFC 8813 section 3). */
static uint32_t default_usage(uint32_t usage, Certq__KeyType type)
{
	const uint32_t enciphering = 1u << 2 | 1u << 3; /* keyEncipherment, dataEncipherment */
	bool ec = type == CERTQ__KEY_TYPE__KEY_EC_P256 || type == CERTQ__KEY_TYPE__KEY_EC_P384;

	return ec && (usage & ~enciphering) != 0 ? usage & ~enciphering : usage;
}

static cc_err plan_usages(
	const struct policy_profile *profile, const Certq__Issue *issue, struct policy_plan *plan)
{
	const struct policy_list *fallback =
		profile->default_eku.count > 0 ? &profile->default_eku : &profile->eku;
	cc_err err = CC_OK;

	ENSURE(issue->n_eku <= sizeof(plan->asked_eku) / sizeof(plan->asked_eku[0]),
		cc_fail(CC_DENIED, "profile %s: too many extended key usages", profile->name));
	for (size_t i = 0; i < issue->n_eku; i++) {
		plan->asked_eku[i] = codec_view(issue->eku[i]);
		ENSURE(list_has(&profile->eku, plan->asked_eku[i]),
			cc_fail(CC_DENIED, "profile %s: an extended key usage is not allowed",
				profile->name));
	}
	ENSURE((issue->key_usage & ~profile->key_usage) == 0,
		cc_fail(CC_DENIED, "profile %s: a key usage is not allowed", profile->name));
	plan->eku = issue->n_eku > 0 ? plan->asked_eku : fallback->items;
	plan->eku_count = issue->n_eku > 0 ? issue->n_eku : fallback->count;
	plan->eku_allowed = profile->eku.items;
	plan->eku_allowed_count = profile->eku.count;
	plan->key_usage = issue->key_usage != 0
				  ? issue->key_usage
				  : default_usage(profile->key_usage, issue->key_type);
	plan->key_usage_allowed = profile->key_usage;
out:
	return err;
}

static cc_err plan_seal(const char *where, Certq__Seal asked, Certq__Seal fallback,
	uint32_t allowed, Certq__Seal *ret)
{
	Certq__Seal seal = asked == CERTQ__SEAL__SEAL_UNSPECIFIED ? fallback : asked;

	if ((unsigned)seal > 31 || (allowed & (1u << seal)) == 0)
		return cc_fail(CC_DENIED, "%s: the form of seal is not allowed", where);
	*ret = seal;
	return CC_OK;
}

/* `compat` is weaker, so a job gets it only where the profile says so; `modern` is always fine. */
static cc_err plan_pfx(
	const struct policy_profile *profile, Certq__PfxProfile asked, Certq__PfxProfile *ret)
{
	Certq__PfxProfile form =
		asked == CERTQ__PFX_PROFILE__PFX_UNSPECIFIED ? profile->pfx_profile : asked;

	if (form != profile->pfx_profile && form != CERTQ__PFX_PROFILE__PFX_MODERN)
		return cc_fail(
			CC_DENIED, "profile %s: the PFX profile is not allowed", profile->name);
	*ret = form;
	return CC_OK;
}

cc_err policy_judge_issue(
	const struct policy *p, const Certq__Issue *issue, struct policy_plan *ret)
{
	const struct policy_profile *profile =
		policy_profile_find(p, codec_view(issue->ca_profile));
	cc_err err = CC_OK;

	ENSURE(profile, cc_fail(CC_DENIED, "no CA profile of this name"));
	*ret = (struct policy_plan){.profile = profile};
	ENSURE((unsigned)issue->key_type < 32 &&
			(profile->key_types & (1u << issue->key_type)) != 0,
		cc_fail(CC_DENIED, "profile %s: the key type is not allowed", profile->name));
	TRY(plan_template(profile, codec_view(issue->template_), ret));
	TRY(plan_usages(profile, issue, ret));
	ENSURE(issue->validity_s <= profile->max_validity_s,
		cc_fail(CC_DENIED, "profile %s: a validity of %u s is longer than max_validity",
			profile->name, issue->validity_s));
	ret->validity_s =
		issue->validity_s > 0 ? issue->validity_s : (uint32_t)profile->default_validity_s;
	TRY(plan_seal(
		profile->name, issue->device_key->seal, profile->seal, profile->seals, &ret->seal));
	ret->windows_pkcs1 = profile->windows_pkcs1;
	TRY(plan_pfx(profile, issue->pfx_profile, &ret->pfx_profile));
	TRY(judge_names(p, profile, issue));
out:
	return err;
}

cc_err policy_judge_rewrap(
	const struct policy *p, const Certq__Rewrap *rewrap, Certq__Seal *ret_seal)
{
	cc_err err = CC_OK;

	ENSURE(list_has(&p->rewrap_purposes, codec_view(rewrap->purpose)),
		cc_fail(CC_DENIED, "rewrap: the purpose is not allowed"));
	ENSURE(rewrap->binding == 1 || p->check_unbound,
		cc_fail(CC_DENIED, "rewrap: records without a binding are refused"));
	TRY(plan_seal(
		"rewrap", rewrap->device_key->seal, p->rewrap_seal, p->rewrap_seals, ret_seal));
out:
	return err;
}

cc_err policy_judge_lifetime(const struct policy *p, const Certq__JobDocument *job)
{
	int64_t lifetime = job->not_after_s - job->not_before_s;

	if (lifetime < 0 || (uint64_t)lifetime > p->max_job_lifetime_s)
		return cc_fail(CC_DENIED, "a lifetime of %lld s is longer than max_job_lifetime",
			(long long)lifetime);
	return CC_OK;
}
