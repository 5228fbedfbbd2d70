/*
 * Alternative names and SIDs.  A SID reaches a certificate in two ways only, both from holder.sid: as the
 * extension, or as the URI that is made here.  A URI of the job that looks like one is refused.
 */
#include "keyvault/names.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <string.h>

#define MAIL_MAX     320u /* RFC 5321: 64 and 255 around the @ */
#define DNS_MAX      253u
#define URI_MAX      1024u
#define UPN_MAX      1024u
#define SID_TYPE     "1.3.6.1.4.1.311.25.2.1"
#define SID_TAG      "tag:microsoft.com"
#define SID_PARTS_21 4 /* S-1-5-21-A-B-C-RID */

static cc_err bad(const char *kind)
{
	ERR_clear_error();
	return cc_fail(CC_MALFORMED, "san: not %s", kind);
}

/* ---- syntax ---- */

static bool is_alnum(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_label(cc_view label)
{
	if (label.size < 1 || label.size > 63 || !is_alnum(label.data[0]) ||
		!is_alnum(label.data[label.size - 1]))
		return false;
	for (size_t i = 0; i < label.size; i++)
		if (!is_alnum(label.data[i]) && label.data[i] != '-')
			return false;
	return true;
}

bool names_is_dns(cc_view name)
{
	size_t start = 0;

	if (name.size < 1 || name.size > DNS_MAX)
		return false;
	for (size_t i = 0; i <= name.size; i++) {
		if (i < name.size && name.data[i] != '.')
			continue;
		if (!is_label(cc_view_part(name, start, i - start)))
			return false;
		start = i + 1;
	}
	return true;
}

static bool is_dns_or_wildcard(cc_view name)
{
	if (name.size > 2 && name.data[0] == '*' && name.data[1] == '.')
		name = cc_view_part(name, 2, name.size - 2);
	return names_is_dns(name);
}

static bool is_visible_ascii(cc_view text)
{
	for (size_t i = 0; i < text.size; i++)
		if (text.data[i] < 0x21 || text.data[i] > 0x7e)
			return false;
	return true;
}

/* The place of the only @, which has something on both sides; 0 when there is none. */
static size_t find_at(cc_view text)
{
	const uint8_t *at = text.size ? memchr(text.data, '@', text.size) : NULL;
	size_t place = at ? (size_t)(at - text.data) : 0;

	if (place == 0 || place + 1 == text.size || memchr(at + 1, '@', text.size - place - 1))
		return 0;
	return place;
}

static bool is_mail(cc_view text)
{
	size_t at = find_at(text);

	if (at == 0 || text.size > MAIL_MAX || !is_visible_ascii(text))
		return false;
	for (size_t i = 0; i < at; i++)
		if (memchr("\"(),:;<>[\\]", text.data[i], 11))
			return false;
	return names_is_dns(cc_view_part(text, at + 1, text.size - at - 1));
}

/* RFC 3986 section 2: what it reserves and what it does not, and octets as % and two hex digits. */
static bool is_uri_text(cc_view text)
{
	static const char digits[] = "0123456789ABCDEFabcdef";

	for (size_t i = 0; i < text.size; i++) {
		uint8_t c = text.data[i];

		if (!is_alnum(c) && !memchr("-._~:/?#[]@!$&'()*+,;=%", c, 23))
			return false;
		if (c == '%' && (text.size - i < 3 || !memchr(digits, text.data[i + 1], 22) ||
					!memchr(digits, text.data[i + 2], 22)))
			return false;
	}
	return true;
}

static bool is_uri(cc_view text)
{
	const uint8_t *colon = text.size ? memchr(text.data, ':', text.size) : NULL;
	size_t scheme = colon ? (size_t)(colon - text.data) : 0;

	if (scheme == 0 || scheme + 1 == text.size || text.size > URI_MAX || !is_uri_text(text))
		return false;
	for (size_t i = 0; i < scheme; i++)
		if (!is_alnum(text.data[i]) && (i == 0 || !memchr("+-.", text.data[i], 3)))
			return false;
	return true;
}

/* ---- items ---- */

static cc_err make_ia5(int type, cc_view text, GENERAL_NAME **ret)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *value = ASN1_IA5STRING_new();

	if (!name || !value || ASN1_STRING_set(value, text.data, (int)text.size) != 1)
		cc_die("san: out of memory");
	GENERAL_NAME_set0_value(name, type, value);
	*ret = name;
	return CC_OK;
}

static cc_err make_ip(cc_view text, GENERAL_NAME **ret)
{
	char address[INET6_ADDRSTRLEN];
	uint8_t bytes[16];
	int size = 0;
	GENERAL_NAME *name;
	ASN1_OCTET_STRING *value;

	if (text.size == 0 || text.size >= sizeof(address))
		return bad("an IP address");
	memcpy(address, text.data, text.size);
	address[text.size] = 0;
	if (inet_pton(AF_INET, address, bytes) == 1)
		size = 4;
	else if (inet_pton(AF_INET6, address, bytes) == 1)
		size = 16;
	else
		return bad("an IP address");
	name = GENERAL_NAME_new();
	value = ASN1_OCTET_STRING_new();
	if (!name || !value || ASN1_OCTET_STRING_set(value, bytes, size) != 1)
		cc_die("san: out of memory");
	GENERAL_NAME_set0_value(name, GEN_IPADD, value);
	*ret = name;
	return CC_OK;
}

static GENERAL_NAME *make_other(const char *oid, int tag, cc_view text)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_STRING *string = ASN1_STRING_type_new(tag);
	ASN1_TYPE *value = ASN1_TYPE_new();
	ASN1_OBJECT *type = OBJ_txt2obj(oid, 1);

	if (!name || !value || !string || !type ||
		ASN1_STRING_set(string, text.data, (int)text.size) != 1)
		cc_die("san: out of memory");
	ASN1_TYPE_set(value, tag, string);
	if (GENERAL_NAME_set0_othername(name, type, value) != 1)
		cc_die("san: out of memory");
	return name;
}

static cc_err make_uri(cc_view text, GENERAL_NAME **ret)
{
	const size_t tag = sizeof(SID_TAG) - 1;

	if (!is_uri(text))
		return bad("a URI");
	if (text_equal_nocase(cc_view_part(text, 0, tag), cc_view_text(SID_TAG)))
		return cc_fail(
			CC_DENIED, "san: a URI that stands for a SID comes only from holder.sid");
	return make_ia5(GEN_URI, text, ret);
}

static cc_err make_name(const Certq__AltName *alt, GENERAL_NAME **ret)
{
	cc_view text = cc_view_of(alt->value.data, alt->value.len);

	switch (alt->type) {
	case CERTQ__ALT_TYPE__ALT_EMAIL:
		return is_mail(text) ? make_ia5(GEN_EMAIL, text, ret) : bad("an e-mail address");
	case CERTQ__ALT_TYPE__ALT_DNS:
		return is_dns_or_wildcard(text) ? make_ia5(GEN_DNS, text, ret) : bad("a DNS name");
	case CERTQ__ALT_TYPE__ALT_URI:
		return make_uri(text, ret);
	case CERTQ__ALT_TYPE__ALT_IP:
		return make_ip(text, ret);
	case CERTQ__ALT_TYPE__ALT_UPN:
		if (find_at(text) == 0 || !text_is_clean(text, UPN_MAX))
			return bad("a UPN");
		*ret = make_other("1.3.6.1.4.1.311.20.2.3", V_ASN1_UTF8STRING, text);
		return CC_OK;
	default:
		return bad("of a type that is known");
	}
}

static void push(GENERAL_NAMES *names, GENERAL_NAME *name)
{
	if (sk_GENERAL_NAME_push(names, name) <= 0)
		cc_die("san: out of memory");
}

static cc_err push_sid_uri(GENERAL_NAMES *names, const Certq__Issue *issue)
{
	cc_view sid = cc_view_of(issue->holder->sid.data, issue->holder->sid.len);
	cc_blob uri = CC_BLOB_NONE;
	GENERAL_NAME *name = NULL;
	uint32_t rid = 0;
	cc_err err = CC_OK;

	TRY(names_sid_check(sid, &rid));
	cc_blob_append(&uri, cc_view_text(NAMES_SID_URI_PREFIX));
	cc_blob_append(&uri, sid);
	TRY(make_ia5(GEN_URI, cc_blob_view(&uri), &name));
	push(names, name);
out:
	cc_blob_free(&uri);
	return err;
}

cc_err names_san(const Certq__Issue *issue, GENERAL_NAMES **ret)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	cc_err err = CC_OK;

	ENSURE(names, cc_fail_openssl("san"));
	for (size_t i = 0; i < issue->n_san; i++) {
		GENERAL_NAME *name = NULL;

		TRY(make_name(issue->san[i], &name));
		push(names, name);
	}
	if (issue->sid_form == CERTQ__SID_FORM__SID_URI)
		TRY(push_sid_uri(names, issue));
	if (sk_GENERAL_NAME_num(names) > 0) {
		*ret = names;
		names = NULL;
	} else {
		*ret = NULL;
	}
out:
	GENERAL_NAMES_free(names);
	return err;
}

/* ---- SIDs ---- */

static cc_err bad_sid(void)
{
	ERR_clear_error();
	return cc_fail(
		CC_MALFORMED, "not the SID of an account: S-1-5-21-A-B-C-RID or S-1-12-1-A-B-C-D");
}

/* Accounts of a domain, and of a cloud directory; never built-in groups and services. */
cc_err names_sid_check(cc_view sid, uint32_t *ret_rid)
{
	static const char *const authorities[] = {"S-1-5-21-", "S-1-12-1-"};
	cc_view rest = CC_VIEW_NONE;
	uint64_t number = 0;
	unsigned parts = 0;
	cc_err err = CC_OK;

	ENSURE(sid.size <= NAMES_SID_MAX, bad_sid());
	for (size_t i = 0; i < 2; i++) {
		size_t prefix = strlen(authorities[i]);

		if (text_equal(cc_view_part(sid, 0, prefix), authorities[i]))
			rest = cc_view_part(sid, prefix, sid.size - prefix);
	}
	for (size_t start = 0, i = 0; rest.size > 0 && i <= rest.size; i++) {
		cc_view part;

		if (i < rest.size && rest.data[i] != '-')
			continue;
		part = cc_view_part(rest, start, i - start);
		ENSURE((part.size == 1 || (part.size > 1 && part.data[0] != '0')) &&
				text_to_u64(part, 0, UINT32_MAX, &number) == CC_OK,
			bad_sid());
		parts++;
		start = i + 1;
	}
	ENSURE(parts == SID_PARTS_21, bad_sid());
	*ret_rid = (uint32_t)number;
out:
	return err;
}

cc_err names_sid_extension(cc_view sid, X509_EXTENSION **ret)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	ASN1_OBJECT *oid = OBJ_txt2obj(NAMES_OID_SID, 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	unsigned char *der = NULL;
	uint32_t rid = 0;
	int size = 0;
	cc_err err = CC_OK;

	ENSURE(names && oid && value, cc_fail_openssl("SID"));
	TRY(names_sid_check(sid, &rid));
	push(names, make_other(SID_TYPE, V_ASN1_OCTET_STRING, sid));
	size = i2d_GENERAL_NAMES(names, &der);
	ENSURE(size > 0 && ASN1_OCTET_STRING_set(value, der, size) == 1, cc_fail_openssl("SID"));
	*ret = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
	ENSURE(*ret, cc_fail_openssl("SID"));
out:
	OPENSSL_free(der);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(oid);
	GENERAL_NAMES_free(names);
	return err;
}

static bool is_sid_name(const GENERAL_NAME *name)
{
	char oid[64];

	return name->type == GEN_OTHERNAME &&
	       OBJ_obj2txt(oid, sizeof(oid), name->d.otherName->type_id, 1) > 0 &&
	       strcmp(oid, SID_TYPE) == 0 && name->d.otherName->value->type == V_ASN1_OCTET_STRING;
}

cc_err names_sid_of(const X509_EXTENSION *extension, cc_blob *ret)
{
	const ASN1_OCTET_STRING *data =
		X509_EXTENSION_get_data((X509_EXTENSION *)(uintptr_t)extension);
	const uint8_t *at = ASN1_STRING_get0_data(data), *end = at + ASN1_STRING_length(data);
	GENERAL_NAMES *names = d2i_GENERAL_NAMES(NULL, &at, end - at);
	const ASN1_STRING *text;
	cc_view sid;
	uint32_t rid = 0;
	cc_err err = CC_OK;

	ENSURE(names && at == end && sk_GENERAL_NAME_num(names) == 1 &&
			is_sid_name(sk_GENERAL_NAME_value(names, 0)),
		bad_sid());
	text = sk_GENERAL_NAME_value(names, 0)->d.otherName->value->value.octet_string;
	sid = cc_view_of(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
	TRY(names_sid_check(sid, &rid));
	*ret = cc_blob_copy(sid);
out:
	GENERAL_NAMES_free(names);
	return err;
}
