/*
 * local: templates from ca.d/NAME.yaml.
 *
 * What a template lists may be asked for; a request that asks for nothing gets all that it lists.
 */
#include "ca-backends/local/local_int.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

#define PREFIX "templates."

struct named_bit {
	const char *name;
	uint32_t bit;
};

static const struct named_bit key_usages[] = {
	{"digitalSignature", 1u << 0},
	{"nonRepudiation", 1u << 1},
	{"keyEncipherment", 1u << 2},
	{"dataEncipherment", 1u << 3},
	{"keyAgreement", 1u << 4},
	{NULL, 0},
};

static const struct named_bit honours[] = {
	{"san", LOCAL_HONOUR_SAN},
	{"eku", LOCAL_HONOUR_EKU},
	{"key_usage", LOCAL_HONOUR_KEY_USAGE},
	{"sid", LOCAL_HONOUR_SID},
	{"smime_capabilities", LOCAL_HONOUR_SMIME},
	{"template", LOCAL_HONOUR_TEMPLATE},
	{NULL, 0},
};

/* The next item of a list with commas; false at its end. */
static bool next_item(const char **at, char *room, size_t size)
{
	size_t length = strcspn(*at, ",");

	if (**at == '\0' || length == 0 || length >= size)
		return false;
	memcpy(room, *at, length);
	room[length] = '\0';
	*at += length + ((*at)[length] == ',' ? 1 : 0);
	return true;
}

static cc_err read_bits(
	const char *key, const char *list, const struct named_bit *names, uint32_t *ret)
{
	char item[64];
	uint32_t bits = 0;

	while (next_item(&list, item, sizeof(item))) {
		const struct named_bit *n = names;
		while (n->name != NULL && strcmp(n->name, item) != 0)
			n++;
		if (n->name == NULL)
			return cc_fail(CC_CONFIG, "%s: \"%s\" is not known", key, item);
		bits |= n->bit;
	}
	if (*list != '\0')
		return cc_fail(CC_CONFIG, "%s: an item is empty or too long", key);
	*ret = bits;
	return CC_OK;
}

static cc_err read_eku(const char *key, const char *list, struct local_template *to)
{
	char item[128];

	while (next_item(&list, item, sizeof(item))) {
		ASN1_OBJECT *oid = OBJ_txt2obj(item, 0); /* names of OpenSSL too: clientAuth */
		if (oid == NULL)
			return cc_fail(CC_CONFIG, "%s: \"%s\" is not an OID", key, item);
		if (to->eku_count == LOCAL_EKU_MAX || OBJ_obj2nid(oid) == NID_anyExtendedKeyUsage) {
			ASN1_OBJECT_free(oid);
			return cc_fail(CC_CONFIG, "%s: at most %d, and not anyExtendedKeyUsage",
				key, LOCAL_EKU_MAX);
		}
		to->eku[to->eku_count++] = oid;
	}
	return *list == '\0' ? CC_OK : cc_fail(CC_CONFIG, "%s: an item is empty or too long", key);
}

static cc_err read_approval(const char *key, const char *value, bool *ret_manual)
{
	if (strcmp(value, "manual") != 0 && strcmp(value, "none") != 0)
		return cc_fail(CC_CONFIG, "%s: none or manual, not \"%s\"", key, value);
	*ret_manual = value[0] == 'm';
	return CC_OK;
}

static cc_err read_fields(const struct ca_context *c, const char *name, struct local_template *t)
{
	char *key = cc_asprintf(PREFIX "%s.eku", name);
	const char *value = ca_option_get(c, key);
	cc_err err = CC_OK;

	if (value != NULL)
		TRY(read_eku(key, value, t));
	free(key);
	key = cc_asprintf(PREFIX "%s.key_usage", name);
	value = ca_option_get(c, key);
	if (value != NULL)
		TRY(read_bits(key, value, key_usages, &t->key_usage));
	free(key);
	key = cc_asprintf(PREFIX "%s.max_validity", name);
	err = text_to_seconds(cc_view_text(ca_option_get(c, key)), UINT64_C(10) * 365 * 86400,
		&t->max_validity_s);
	ENSURE(err == CC_OK && t->max_validity_s >= 60,
		cc_fail(CC_CONFIG, "%s: a time such as 365d, from 1m to 3650d", key));
	free(key);
	key = cc_asprintf(PREFIX "%s.honour", name);
	TRY(read_bits(key, ca_option_get(c, key), honours, &t->honour));
	free(key);
	key = cc_asprintf(PREFIX "%s.approval", name);
	TRY(read_approval(key, ca_option_get(c, key), &t->manual));
out:
	free(key);
	return err;
}

/* A template exists when one of its keys is written. */
static bool exists(const struct ca_context *c, const char *name)
{
	char *prefix = cc_asprintf(PREFIX "%s.", name);
	bool found = false;

	for (size_t i = 0; i < c->option_count && !found; i++)
		found = strncmp(c->options[i].name, prefix, strlen(prefix)) == 0;
	free(prefix);
	return found;
}

cc_err local_template_read(const struct ca_context *c, cc_view name, struct local_template *ret)
{
	struct local_template t = {0};
	char *text = NULL;
	cc_err err = CC_OK;

	ENSURE(text_is_token(name, 64) && memchr(name.data, '.', name.size) == NULL,
		cc_fail(CC_NOT_FOUND, "the order's template is not a name of one"));
	text = cc_strndup(name);
	ENSURE(exists(c, text),
		cc_fail(CC_NOT_FOUND, "ca.d/%s.yaml has no template \"%s\"", c->name, text));
	TRY(read_fields(c, text, &t));
	*ret = t;
	t = (struct local_template){0};
out:
	local_template_clear(&t);
	free(text);
	return err;
}

void local_template_clear(struct local_template *t)
{
	for (size_t i = 0; i < t->eku_count; i++)
		ASN1_OBJECT_free(t->eku[i]);
	*t = (struct local_template){0};
}

cc_err local_template_check_all(const struct ca_context *c)
{
	for (size_t i = 0; i < c->option_count; i++) {
		struct local_template t = {0};
		const char *name = c->options[i].name;
		cc_err err;
		if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		name += strlen(PREFIX);
		err = local_template_read(c, cc_view_of(name, strcspn(name, ".")), &t);
		if (err != CC_OK)
			return err;
		local_template_clear(&t);
	}
	return CC_OK;
}
