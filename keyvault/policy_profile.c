/*
 * Policy, the reader of a CA profile: what may be issued under one name.  Lists stay views into the
 * document; names of the file become the numbers of the messages.
 */
#include "base/text.h"
#include "keyvault/keygen.h"
#include "keyvault/names.h"
#include "keyvault/policy_int.h"
#include <stdlib.h>

#define EKU_ANY "2.5.29.37.0"

static const struct {
	const char *name;
	uint32_t bit;
} usages[] = {
	{"digitalSignature", 1u << 0},
	{"nonRepudiation", 1u << 1},
	{"contentCommitment", 1u << 1},
	{"keyEncipherment", 1u << 2},
	{"dataEncipherment", 1u << 3},
	{"keyAgreement", 1u << 4},
	{"encipherOnly", 1u << 7},
	{"decipherOnly", 1u << 8},
};

/* ---- lists ---- */

cc_err policy_list_read(const struct conf_node *n, const char *what, struct policy_list *ret)
{
	cc_err err = CC_OK;

	if (n == NULL)
		return CC_OK;
	ENSURE(conf_is_list(n), conf_fail(n, "%s has to be a list", what));
	ret->items = cc_alloc((conf_count(n) + 1) * sizeof(*ret->items));
	for (size_t i = 0; i < conf_count(n); i++) {
		const struct conf_node *item = conf_at(n, i);
		cc_view text = conf_text(item);

		ENSURE(text.size > 0, conf_fail(item, "%s: an empty item", what));
		ret->items[ret->count++] = text;
	}
out:
	return err;
}

static char **list_strings(const struct policy_list *list)
{
	char **strings = cc_alloc((list->count + 1) * sizeof(*strings));

	for (size_t i = 0; i < list->count; i++)
		strings[i] = cc_strndup(list->items[i]);
	return strings;
}

static void free_strings(char **strings)
{
	for (size_t i = 0; strings != NULL && strings[i] != NULL; i++)
		free(strings[i]);
	free(strings);
}

static cc_err read_key_types(const struct conf_node *n, uint32_t *ret)
{
	cc_err err = CC_OK;

	ENSURE(conf_is_list(n) && conf_count(n) > 0, conf_fail(n, "key_types has to be a list"));
	for (size_t i = 0; i < conf_count(n); i++) {
		const struct conf_node *item = conf_at(n, i);
		Certq__KeyType type = keygen_type_of(conf_text(item));

		ENSURE(type != CERTQ__KEY_TYPE__KEY_UNSPECIFIED,
			conf_fail(item,
				"not a key type: rsa-2048, rsa-3072, rsa-4096, ec-p256, ec-p384"));
		*ret |= 1u << type;
	}
out:
	return err;
}

static cc_err read_key_usage(const struct conf_node *n, uint32_t *ret)
{
	cc_err err = CC_OK;

	ENSURE(conf_is_list(n) && conf_count(n) > 0, conf_fail(n, "key_usage has to be a list"));
	for (size_t i = 0; i < conf_count(n); i++) {
		const struct conf_node *item = conf_at(n, i);
		uint32_t bit = 0;

		for (size_t u = 0; u < sizeof(usages) / sizeof(usages[0]); u++)
			if (text_equal(conf_text(item), usages[u].name))
				bit = usages[u].bit;
		ENSURE(bit != 0,
			conf_fail(item,
				"not a key usage that is given: digitalSignature, nonRepudiation, "
				"keyEncipherment, dataEncipherment, keyAgreement, encipherOnly, "
				"decipherOnly"));
		*ret |= bit;
	}
out:
	return err;
}

static cc_err read_eku(const struct conf_node *n, const char *what, struct policy_list *ret)
{
	cc_err err = CC_OK;

	TRY(policy_list_read(n, what, ret));
	ENSURE(ret->count <= 32, conf_fail(n, "%s: at most 32", what));
	for (size_t i = 0; i < ret->count; i++) {
		ASN1_OBJECT *oid = NULL;

		ENSURE(names_oid(ret->items[i], &oid) == CC_OK,
			conf_fail(conf_at(n, i), "%s: not a dotted OID", what));
		ASN1_OBJECT_free(oid);
		ENSURE(!text_equal(ret->items[i], EKU_ANY),
			conf_fail(conf_at(n, i), "%s: anyExtendedKeyUsage is never given", what));
	}
out:
	return err;
}

static Certq__Seal seal_of(cc_view name)
{
	if (text_equal(name, "cms-auth"))
		return CERTQ__SEAL__SEAL_CMS_AUTH;
	if (text_equal(name, "oaep-sha256"))
		return CERTQ__SEAL__SEAL_OAEP_SHA256;
	if (text_equal(name, "windows"))
		return CERTQ__SEAL__SEAL_WINDOWS;
	return CERTQ__SEAL__SEAL_UNSPECIFIED;
}

/* The allowed seals; the first is returned too.  Left out: cms-auth. */
cc_err policy_seals_read(const struct conf_node *n, uint32_t *ret, Certq__Seal *ret_first)
{
	cc_err err = CC_OK;

	*ret_first = CERTQ__SEAL__SEAL_CMS_AUTH;
	*ret = 1u << CERTQ__SEAL__SEAL_CMS_AUTH;
	if (n == NULL)
		return CC_OK;
	ENSURE(conf_is_list(n) && conf_count(n) > 0, conf_fail(n, "seals has to be a list"));
	*ret = 0;
	for (size_t i = 0; i < conf_count(n); i++) {
		Certq__Seal seal = seal_of(conf_text(conf_at(n, i)));

		ENSURE(seal != CERTQ__SEAL__SEAL_UNSPECIFIED,
			conf_fail(conf_at(n, i), "not a seal: cms-auth, oaep-sha256, windows"));
		if (i == 0)
			*ret_first = seal;
		*ret |= 1u << seal;
	}
out:
	return err;
}

cc_err policy_transport_read(const struct conf_node *n, int choice, uint32_t seals, bool *ret_pkcs1)
{
	bool pkcs1 = choice == 1;

	if (pkcs1 && (seals & (1u << CERTQ__SEAL__SEAL_WINDOWS)) == 0)
		return conf_fail(conf_get(n, "windows_key_transport"),
			"windows_key_transport: pkcs1 is for the seal windows, which is not one of "
			"seals");
	*ret_pkcs1 = pkcs1;
	return CC_OK;
}

/* What a CSR asks for must be what the certificate may have. */
static cc_err check_default_eku(const struct conf_node *n, const struct policy_profile *profile)
{
	cc_err err = CC_OK;

	for (size_t i = 0; i < profile->default_eku.count; i++) {
		bool allowed = false;

		for (size_t k = 0; k < profile->eku.count; k++)
			allowed = allowed || cc_view_equal(profile->eku.items[k],
						     profile->default_eku.items[i]);
		ENSURE(allowed, conf_fail(conf_at(n, i), "default_eku: not one of eku"));
	}
out:
	return err;
}

/* ---- a profile ---- */

struct profile_file {
	const struct conf_node *cas, *templates, *key_types, *eku, *default_eku, *key_usage, *san,
		*seals;
	const char *template_name;
	struct policy_template_file template_extension;
	uint64_t max_validity_s, default_validity_s;
	int seal, windows_transport, pfx_profile;
};

static const struct conf_key profile_keys[] = {
	{.name = "cas",
		.type = CONF_NODE,
		.offset = offsetof(struct profile_file, cas),
		.required = true,
		.help = "names of CAs, in order of failover"},
	{.name = "template",
		.type = CONF_TEXT,
		.offset = offsetof(struct profile_file, template_name),
		.required = true,
		.help = "the template's name for the CA"},
	{.name = "templates",
		.type = CONF_NODE,
		.offset = offsetof(struct profile_file, templates),
		.help = "lookup key of a job: template's name for the CA"},
	{.name = "template_extension",
		.type = CONF_CHOICE,
		.offset = offsetof(struct profile_file, template_extension.form),
		.fallback = "none",
		.allowed = "none|v1|v2",
		.help = "what a request says of its template: v1 the name, v2 template_oid"},
	{.name = "template_oid",
		.type = CONF_TEXT,
		.offset = offsetof(struct profile_file, template_extension.oid),
		.help = "the template's object identifier, dotted"},
	{.name = "template_major",
		.type = CONF_NODE,
		.offset = offsetof(struct profile_file, template_extension.major),
		.help = "its major version; left out: none"},
	{.name = "template_minor",
		.type = CONF_NODE,
		.offset = offsetof(struct profile_file, template_extension.minor),
		.help = "its minor version; left out: none"},
	{.name = "key_types",
		.type = CONF_NODE,
		.offset = offsetof(struct profile_file, key_types),
		.required = true,
		.help = "allowed key types"},
	{.name = "eku",
		.type = CONF_NODE,
		.offset = offsetof(struct profile_file, eku),
		.required = true,
		.help = "allowed extended key usages, dotted OIDs"},
	{.name = "default_eku",
		.type = CONF_NODE,
		.offset = offsetof(struct profile_file, default_eku),
		.help = "for a job that names none; left out: all that are allowed"},
	{.name = "key_usage",
		.type = CONF_NODE,
		.offset = offsetof(struct profile_file, key_usage),
		.required = true,
		.help = "allowed key usages"},
	{.name = "max_validity",
		.type = CONF_SECONDS,
		.offset = offsetof(struct profile_file, max_validity_s),
		.required = true,
		.min = 3600,
		.max = 3650ull * 86400,
		.help = "longest lifetime of a certificate"},
	{.name = "default_validity",
		.type = CONF_SECONDS,
		.offset = offsetof(struct profile_file, default_validity_s),
		.max = 3650ull * 86400,
		.help = "for a job that names none; left out: max_validity"},
	{.name = "san",
		.type = CONF_NODE,
		.offset = offsetof(struct profile_file, san),
		.help = "suffixes for email, upn and dns, beginnings for uri, networks for ip; a "
			"type left out is denied"},
	{.name = "seal",
		.type = CONF_CHOICE,
		.offset = offsetof(struct profile_file, seal),
		.fallback = "cms-auth",
		.allowed = "cms-auth|oaep-sha256|windows",
		.help = "default form of seal"},
	{.name = "seals",
		.type = CONF_NODE,
		.offset = offsetof(struct profile_file, seals),
		.help = "forms that a job may ask for; left out: the default only"},
	{.name = "windows_key_transport",
		.type = CONF_CHOICE,
		.offset = offsetof(struct profile_file, windows_transport),
		.fallback = "oaep",
		.allowed = "oaep|pkcs1",
		.help = "how the form windows seals to RSA; pkcs1: for devices that know no OAEP"},
	{.name = "pfx_profile",
		.type = CONF_CHOICE,
		.offset = offsetof(struct profile_file, pfx_profile),
		.fallback = "modern",
		.allowed = "modern|compat",
		.help = "algorithms of the PFX"},
};

struct san_file {
	const struct conf_node *email, *upn, *dns, *uri, *ip;
};

static const struct conf_key san_keys[] = {
	{.name = "email",
		.type = CONF_NODE,
		.offset = offsetof(struct san_file, email),
		.help = "domains of e-mail addresses"},
	{.name = "upn",
		.type = CONF_NODE,
		.offset = offsetof(struct san_file, upn),
		.help = "domains of user principal names"},
	{.name = "dns",
		.type = CONF_NODE,
		.offset = offsetof(struct san_file, dns),
		.help = "domains of DNS names"},
	{.name = "uri",
		.type = CONF_NODE,
		.offset = offsetof(struct san_file, uri),
		.help = "beginnings of URIs, ending in / : # ? or =; others are whole URIs"},
	{.name = "ip",
		.type = CONF_NODE,
		.offset = offsetof(struct san_file, ip),
		.help = "addresses and networks"},
};

static cc_err read_san(
	const struct conf *c, const struct conf_node *n, struct policy_profile *profile)
{
	struct san_file f = {0};
	cc_err err = CC_OK;

	if (n == NULL)
		return CC_OK;
	TRY(conf_fill(c, n, san_keys, sizeof(san_keys) / sizeof(san_keys[0]), &f));
	TRY(policy_list_read(f.email, "san.email", &profile->san_email));
	TRY(policy_list_read(f.upn, "san.upn", &profile->san_upn));
	TRY(policy_list_read(f.dns, "san.dns", &profile->san_dns));
	TRY(policy_san_read_uris(f.uri, profile));
	TRY(policy_san_read_networks(f.ip, profile));
out:
	return err;
}

static cc_err read_templates(const struct conf_node *n, struct policy_profile *profile)
{
	cc_err err = CC_OK;

	if (n == NULL)
		return CC_OK;
	TRY(conf_need_map(n, "templates"));
	profile->template_keys.items = cc_alloc((conf_count(n) + 1) * sizeof(cc_view));
	profile->template_values = cc_alloc((conf_count(n) + 1) * sizeof(char *));
	for (size_t i = 0; i < conf_count(n); i++) {
		cc_view value = conf_text(conf_at(n, i));

		ENSURE(value.size > 0 && text_is_clean(value, 256),
			conf_fail(conf_at(n, i), "templates: a template's name is clean text"));
		profile->template_keys.items[i] = conf_key_at(n, i);
		profile->template_values[i] = cc_strndup(value);
		profile->template_keys.count++;
	}
out:
	return err;
}

static cc_err read_cas(const struct conf_node *n, struct policy_profile *profile)
{
	cc_err err = CC_OK;

	TRY(policy_list_read(n, "cas", &profile->cas));
	ENSURE(profile->cas.count > 0 && profile->cas.count <= 16,
		conf_fail(n, "cas: 1 to 16 names"));
	for (size_t i = 0; i < profile->cas.count; i++)
		ENSURE(text_is_name(profile->cas.items[i]),
			conf_fail(conf_at(n, i), "not a CA's name"));
	profile->ca_names = list_strings(&profile->cas);
out:
	return err;
}

cc_err policy_profile_read(
	const struct conf *c, const struct conf_node *n, struct policy_profile *profile)
{
	static const Certq__Seal forms[] = {CERTQ__SEAL__SEAL_CMS_AUTH,
		CERTQ__SEAL__SEAL_OAEP_SHA256, CERTQ__SEAL__SEAL_WINDOWS};
	struct profile_file f = {0};
	Certq__Seal first = CERTQ__SEAL__SEAL_UNSPECIFIED;
	cc_err err = CC_OK;

	TRY(conf_need_map(n, "a CA profile"));
	TRY(conf_fill(c, n, profile_keys, sizeof(profile_keys) / sizeof(profile_keys[0]), &f));
	TRY(read_cas(f.cas, profile));
	profile->template_name = f.template_name;
	TRY(read_templates(f.templates, profile));
	TRY(policy_template_read(n, &f.template_extension, profile));
	TRY(read_key_types(f.key_types, &profile->key_types));
	TRY(read_eku(f.eku, "eku", &profile->eku));
	TRY(read_eku(f.default_eku, "default_eku", &profile->default_eku));
	TRY(check_default_eku(f.default_eku, profile));
	TRY(read_key_usage(f.key_usage, &profile->key_usage));
	TRY(read_san(c, f.san, profile));
	profile->max_validity_s = f.max_validity_s;
	profile->default_validity_s =
		f.default_validity_s > 0 ? f.default_validity_s : f.max_validity_s;
	ENSURE(profile->default_validity_s <= profile->max_validity_s,
		conf_fail(n, "default_validity is longer than max_validity"));
	profile->seal = forms[f.seal];
	TRY(policy_seals_read(f.seals, &profile->seals, &first));
	if (f.seals == NULL)
		profile->seals = 1u << profile->seal;
	ENSURE(profile->seals & (1u << profile->seal), conf_fail(n, "seal is not one of seals"));
	TRY(policy_transport_read(n, f.windows_transport, profile->seals, &profile->windows_pkcs1));
	profile->pfx_profile = f.pfx_profile == 0 ? CERTQ__PFX_PROFILE__PFX_MODERN
						  : CERTQ__PFX_PROFILE__PFX_COMPAT;
out:
	return err;
}

void policy_profile_clear(struct policy_profile *profile)
{
	free((char *)(uintptr_t)profile->name);
	free(profile->cas.items);
	free_strings(profile->ca_names);
	free(profile->template_keys.items);
	free_strings(profile->template_values);
	free(profile->eku.items);
	free(profile->default_eku.items);
	free(profile->san_email.items);
	free(profile->san_upn.items);
	free(profile->san_dns.items);
	free(profile->san_uri.items);
	free(profile->san_ip);
}
