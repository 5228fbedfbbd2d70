/*
 * Subjects: RFC 4514 text to an X509_NAME.  The whole grammar, read once from left to right; unescaped
 * space is taken only after a separator, where people write it, and never as part of a value.
 */
#include "keyvault/names.h"

#include <openssl/err.h>
#include <string.h>

#define ATTRIBUTES_MAX 32
#define VALUE_MAX      1024u

/* RFC 4514 section 3 with the long names of RFC 4519, and what certificates for people and devices use
 * besides; G, I, S, T and E are Microsoft's. */
static const struct {
	const char *name;
	int nid;
} types[] = {
	{"CN", NID_commonName},
	{"L", NID_localityName},
	{"ST", NID_stateOrProvinceName},
	{"S", NID_stateOrProvinceName},
	{"O", NID_organizationName},
	{"OU", NID_organizationalUnitName},
	{"C", NID_countryName},
	{"STREET", NID_streetAddress},
	{"DC", NID_domainComponent},
	{"UID", NID_userId},
	{"E", NID_pkcs9_emailAddress},
	{"emailAddress", NID_pkcs9_emailAddress},
	{"serialNumber", NID_serialNumber},
	{"SN", NID_surname},
	{"surname", NID_surname},
	{"givenName", NID_givenName},
	{"GN", NID_givenName},
	{"initials", NID_initials},
	{"title", NID_title},
	{"generationQualifier", NID_generationQualifier},
	{"dnQualifier", NID_dnQualifier},
	{"pseudonym", NID_pseudonym},
	{"description", NID_description},
	{"postalCode", NID_postalCode},
	{"organizationIdentifier", NID_organizationIdentifier},
	{"businessCategory", NID_businessCategory},
	{"telephoneNumber", NID_telephoneNumber},
	{"name", NID_name},
	{"G", NID_givenName},
	{"I", NID_initials},
	{"T", NID_title},
	{"commonName", NID_commonName},
	{"localityName", NID_localityName},
	{"stateOrProvinceName", NID_stateOrProvinceName},
	{"organizationName", NID_organizationName},
	{"organizationalUnitName", NID_organizationalUnitName},
	{"countryName", NID_countryName},
	{"streetAddress", NID_streetAddress},
	{"domainComponent", NID_domainComponent},
	{"userId", NID_userId},
};

struct attribute {
	X509_NAME_ENTRY *entry;
	unsigned rdn;
};

struct reader {
	const uint8_t *at, *end;
	struct attribute attributes[ATTRIBUTES_MAX];
	size_t count;
	unsigned rdn;
};

static cc_err bad(const char *what)
{
	ERR_clear_error();
	return cc_fail(CC_MALFORMED, "subject: %s", what);
}

/* ---- types ---- */

static bool is_type_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.';
}

static cc_err find_type(cc_view name, ASN1_OBJECT **ret)
{
	if (name.size > 0 && name.data[0] >= '0' && name.data[0] <= '9')
		return names_oid(name, ret);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (!text_equal_nocase(name, cc_view_text(types[i].name)))
			continue;
		*ret = OBJ_nid2obj(types[i].nid);
		return CC_OK;
	}
	return bad("an attribute of a type that is not known");
}

static cc_err read_type(struct reader *r, ASN1_OBJECT **ret)
{
	const uint8_t *start = r->at;
	ASN1_OBJECT *type = NULL;
	cc_err err = CC_OK;

	while (r->at < r->end && is_type_char(*r->at))
		r->at++;
	ENSURE(r->at > start && r->at < r->end && *r->at == '=', bad("no attribute type and ="));
	TRY(find_type(cc_view_of(start, (size_t)(r->at - start)), &type));
	r->at++;
	*ret = type;
out:
	return err;
}

/* ---- values ---- */

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool at_separator(const struct reader *r)
{
	return r->at == r->end || *r->at == ',' || *r->at == '+';
}

static bool read_hex_pair(struct reader *r, uint8_t *ret)
{
	int high, low;

	if (r->end - r->at < 2)
		return false;
	high = hex_digit(r->at[0]);
	low = hex_digit(r->at[1]);
	if (high < 0 || low < 0)
		return false;
	*ret = (uint8_t)(high << 4 | low);
	r->at += 2;
	return true;
}

static cc_err read_escape(struct reader *r, cc_blob *value)
{
	uint8_t byte;

	if (r->at < r->end && memchr("\"+,;<> #=\\", *r->at, 10))
		byte = *r->at++;
	else if (!read_hex_pair(r, &byte))
		return bad("a backslash before what needs none");
	cc_blob_append_byte(value, byte);
	return CC_OK;
}

/* Stops at a separator.  The space rules of RFC 4514 section 3: neither end has an unescaped one. */
static cc_err read_string(struct reader *r, cc_blob *value)
{
	bool open_space = false;
	cc_err err = CC_OK;

	ENSURE(at_separator(r) || *r->at != ' ', bad("a space before a value that is not escaped"));
	while (!at_separator(r)) {
		uint8_t c = *r->at++;

		open_space = c == ' ';
		if (c == '\\') {
			TRY(read_escape(r, value));
			continue;
		}
		ENSURE(!memchr("\";<>", c, 4), bad("a special character that is not escaped"));
		cc_blob_append_byte(value, c);
	}
	ENSURE(!open_space, bad("a space after a value that is not escaped"));
out:
	return err;
}

static cc_err entry_of_string(const ASN1_OBJECT *type, cc_view value, X509_NAME_ENTRY **ret)
{
	if (value.size == 0 || !text_is_clean(value, VALUE_MAX))
		return bad("a value that is empty, too long or not clean text");
	*ret = X509_NAME_ENTRY_create_by_OBJ(
		NULL, type, MBSTRING_UTF8, value.data, (int)value.size);
	return *ret ? CC_OK : bad("a value that its type does not allow");
}

static bool is_string_tag(int tag)
{
	return tag == V_ASN1_UTF8STRING || tag == V_ASN1_PRINTABLESTRING ||
	       tag == V_ASN1_IA5STRING || tag == V_ASN1_BMPSTRING ||
	       tag == V_ASN1_UNIVERSALSTRING || tag == V_ASN1_NUMERICSTRING;
}

/* Kinds of strings and numbers of characters as OpenSSL holds the other form of values to them. */
static bool type_allows(const ASN1_OBJECT *type, int tag, cc_view utf8)
{
	const ASN1_STRING_TABLE *rule = ASN1_STRING_TABLE_get(OBJ_obj2nid(type));
	long characters = 0;

	for (size_t i = 0; i < utf8.size; i++)
		characters += (utf8.data[i] & 0xc0) != 0x80;
	return !rule || ((ASN1_tag2bit(tag) & rule->mask) != 0 && characters >= rule->minsize &&
				(rule->maxsize < 0 || characters <= rule->maxsize));
}

static cc_err check_string(const ASN1_OBJECT *type, const ASN1_STRING *string)
{
	unsigned char *utf8 = NULL;
	int size = ASN1_STRING_to_UTF8(&utf8, string);
	cc_view text = cc_view_of(utf8, size > 0 ? (size_t)size : 0);
	cc_err err = CC_OK;

	ENSURE(text.size > 0 && text_is_clean(text, VALUE_MAX),
		bad("a #value that is empty, too long or not clean text"));
	ENSURE(type_allows(type, ASN1_STRING_type(string), text),
		bad("a #value that its type does not allow"));
out:
	OPENSSL_free(utf8);
	return err;
}

/* #hex: the DER of the value, which has to be a character string. */
static cc_err entry_of_der(const ASN1_OBJECT *type, cc_view der, X509_NAME_ENTRY **ret)
{
	const uint8_t *at = der.data;
	ASN1_TYPE *value = NULL;
	const ASN1_STRING *string;
	cc_err err = CC_OK;

	ENSURE(der.size > 0, bad("an empty #value"));
	value = d2i_ASN1_TYPE(NULL, &at, (long)der.size);
	ENSURE(value && at == der.data + der.size && is_string_tag(value->type),
		bad("a #value that is no character string in DER"));
	string = value->value.asn1_string;
	TRY(check_string(type, string));
	*ret = X509_NAME_ENTRY_create_by_OBJ(NULL, type, ASN1_STRING_type(string),
		ASN1_STRING_get0_data(string), ASN1_STRING_length(string));
	ENSURE(*ret, bad("a #value that its type does not allow"));
out:
	ASN1_TYPE_free(value);
	return err;
}

static cc_err read_der(struct reader *r, cc_blob *der)
{
	uint8_t byte;

	r->at++; /* # */
	while (read_hex_pair(r, &byte))
		cc_blob_append_byte(der, byte);
	return at_separator(r) ? CC_OK : bad("a #value that is not pairs of hex digits");
}

static cc_err read_value(struct reader *r, const ASN1_OBJECT *type, X509_NAME_ENTRY **ret)
{
	bool is_der = r->at < r->end && *r->at == '#';
	cc_blob value = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(is_der ? read_der(r, &value) : read_string(r, &value));
	TRY(is_der ? entry_of_der(type, cc_blob_view(&value), ret)
		   : entry_of_string(type, cc_blob_view(&value), ret));
out:
	cc_blob_free(&value);
	return err;
}

/* ---- the whole ---- */

/* X.501 section 9.3: each type at most once in an RDN. */
static bool is_second(const struct reader *r, const ASN1_OBJECT *type)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->attributes[i].rdn == r->rdn &&
			OBJ_cmp(X509_NAME_ENTRY_get_object(r->attributes[i].entry), type) == 0)
			return true;
	return false;
}

static cc_err read_attribute(struct reader *r)
{
	ASN1_OBJECT *type = NULL;
	X509_NAME_ENTRY *entry = NULL;
	cc_err err = CC_OK;

	ENSURE(r->count < ATTRIBUTES_MAX, cc_fail(CC_TOO_LARGE, "subject: too many attributes"));
	while (r->at < r->end && *r->at == ' ')
		r->at++;
	TRY(read_type(r, &type));
	ENSURE(!is_second(r, type), bad("the same attribute twice in one RDN"));
	TRY(read_value(r, type, &entry));
	r->attributes[r->count++] = (struct attribute){.entry = entry, .rdn = r->rdn};
out:
	ASN1_OBJECT_free(type);
	return err;
}

static cc_err read_all(struct reader *r)
{
	cc_err err = CC_OK;

	for (;;) {
		TRY(read_attribute(r));
		if (r->at == r->end)
			break;
		if (*r->at++ == ',')
			r->rdn++;
	}
out:
	return err;
}

/* The text's last RDN comes first (RFC 4514 section 2.1). */
static cc_err build(const struct reader *r, X509_NAME **ret)
{
	X509_NAME *name = X509_NAME_new();
	cc_err err = CC_OK;

	ENSURE(name, cc_fail_openssl("subject"));
	for (unsigned rdn = r->rdn + 1; rdn-- > 0;) {
		int set = 0; /* a new RDN, then more of the same */

		for (size_t i = 0; i < r->count; i++) {
			if (r->attributes[i].rdn != rdn)
				continue;
			ENSURE(X509_NAME_add_entry(name, r->attributes[i].entry, -1, set) == 1,
				cc_fail_openssl("subject"));
			set = -1;
		}
	}
	*ret = name;
	name = NULL;
out:
	X509_NAME_free(name);
	return err;
}

cc_err names_subject(cc_view text, X509_NAME **ret)
{
	struct reader r = {.at = text.data, .end = text.size ? text.data + text.size : text.data};
	cc_err err = CC_OK;

	if (text.size > 0)
		TRY(read_all(&r));
	TRY(build(&r, ret));
out:
	for (size_t i = 0; i < r.count; i++)
		X509_NAME_ENTRY_free(r.attributes[i].entry);
	return err;
}

cc_err names_oid(cc_view text, ASN1_OBJECT **ret)
{
	char dotted[129], again[129];
	ASN1_OBJECT *oid = NULL;
	cc_err err = CC_OK;

	ENSURE(text.size > 0 && text.size < sizeof(dotted), bad("an OID of no or too many digits"));
	memcpy(dotted, text.data, text.size);
	dotted[text.size] = 0;
	oid = OBJ_txt2obj(dotted, 1);
	ENSURE(oid && OBJ_obj2txt(again, sizeof(again), oid, 1) == (int)text.size &&
			strcmp(dotted, again) == 0,
		bad("not an OID of dotted numbers"));
	*ret = oid;
	oid = NULL;
out:
	ASN1_OBJECT_free(oid);
	return err;
}
