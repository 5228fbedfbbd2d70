/*
 * Template extensions: how a request tells a CA of Microsoft's kind which template is meant.  By name for
 * templates of version 1, by object identifier and version for those after it.  And what a CA's extension says.
 */
#include "keyvault/names.h"

#include <openssl/err.h>

static cc_err bad(const char *what)
{
	ERR_clear_error();
	return cc_fail(CC_MALFORMED, "template: %s", what);
}

static cc_err make(const char *oid, const unsigned char *der, int size, X509_EXTENSION **ret)
{
	ASN1_OBJECT *type = OBJ_txt2obj(oid, 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	cc_err err = CC_OK;

	ENSURE(type && value && size > 0 && ASN1_OCTET_STRING_set(value, der, size) == 1,
		cc_fail_openssl("template"));
	*ret = X509_EXTENSION_create_by_OBJ(NULL, type, 0, value);
	ENSURE(*ret, cc_fail_openssl("template"));
out:
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(type);
	return err;
}

cc_err names_template_name(cc_view name, X509_EXTENSION **ret)
{
	ASN1_STRING *text = NULL;
	unsigned char *der = NULL;
	int size;
	cc_err err = CC_OK;

	ENSURE(name.size > 0 && text_is_clean(name, NAMES_TEMPLATE_MAX),
		bad("its name is empty, too long or not clean text"));
	ENSURE(ASN1_mbstring_copy(
		       &text, name.data, (int)name.size, MBSTRING_UTF8, B_ASN1_BMPSTRING) > 0,
		bad("its name has a character above U+FFFF"));
	size = i2d_ASN1_BMPSTRING(text, &der);
	TRY(make(NAMES_OID_TEMPLATE_NAME, der, size, ret));
out:
	OPENSSL_free(der);
	ASN1_STRING_free(text);
	return err;
}

static void push(ASN1_SEQUENCE_ANY *sequence, int tag, void *value)
{
	ASN1_TYPE *item = ASN1_TYPE_new();

	if (!item || !value || sk_ASN1_TYPE_push(sequence, item) <= 0)
		cc_die("template: out of memory");
	ASN1_TYPE_set(item, tag, value);
}

static void push_number(ASN1_SEQUENCE_ANY *sequence, int64_t number)
{
	ASN1_INTEGER *value = ASN1_INTEGER_new();

	if (!value || ASN1_INTEGER_set_int64(value, number) != 1)
		cc_die("template: out of memory");
	push(sequence, V_ASN1_INTEGER, value);
}

cc_err names_template_id(const struct names_template *t, X509_EXTENSION **ret)
{
	ASN1_SEQUENCE_ANY *sequence = sk_ASN1_TYPE_new_null();
	ASN1_OBJECT *oid = NULL;
	unsigned char *der = NULL;
	int size;
	cc_err err = CC_OK;

	ENSURE(sequence, cc_fail_openssl("template"));
	ENSURE(t->major <= UINT32_MAX && t->minor <= UINT32_MAX,
		bad("a version is above 4294967295"));
	ENSURE(t->minor < 0 || t->major >= 0, bad("a minor version without a major one"));
	if (names_oid(t->oid, &oid) != CC_OK) {
		err = bad("its object identifier is not an OID of dotted numbers");
		goto out;
	}
	push(sequence, V_ASN1_OBJECT, oid);
	oid = NULL;
	if (t->major >= 0)
		push_number(sequence, t->major);
	if (t->minor >= 0)
		push_number(sequence, t->minor);
	size = i2d_ASN1_SEQUENCE_ANY(sequence, &der);
	TRY(make(NAMES_OID_TEMPLATE_ID, der, size, ret));
out:
	OPENSSL_free(der);
	ASN1_OBJECT_free(oid);
	sk_ASN1_TYPE_pop_free(sequence, ASN1_TYPE_free);
	return err;
}

/* ---- what a CA wrote ---- */

/* The whole of the value; NULL when it does not decode, or more is behind it. */
static ASN1_TYPE *value_of(X509_EXTENSION *extension)
{
	const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(extension);
	const unsigned char *at = ASN1_STRING_get0_data(value);
	const unsigned char *end = at + ASN1_STRING_length(value);
	ASN1_TYPE *item = d2i_ASN1_TYPE(NULL, &at, ASN1_STRING_length(value));

	ERR_clear_error();
	if (item && at == end)
		return item;
	ASN1_TYPE_free(item);
	return NULL;
}

/* NULL when it is no SEQUENCE. */
static ASN1_SEQUENCE_ANY *items_of(const ASN1_TYPE *value)
{
	ASN1_SEQUENCE_ANY *items =
		value ? ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(ASN1_SEQUENCE_ANY), value) : NULL;

	ERR_clear_error();
	return items;
}

static bool is_text(const ASN1_TYPE *item, cc_view expected)
{
	return item && (item->type == V_ASN1_BMPSTRING || item->type == V_ASN1_UTF8STRING) &&
	       names_string_is(item->value.asn1_string, expected);
}

bool names_template_name_is(X509_EXTENSION *extension, cc_view name)
{
	ASN1_TYPE *value = value_of(extension);
	ASN1_SEQUENCE_ANY *items = items_of(value);
	bool same = sk_ASN1_TYPE_num(items) == 1 ? is_text(sk_ASN1_TYPE_value(items, 0), name)
						 : is_text(value, name);

	sk_ASN1_TYPE_pop_free(items, ASN1_TYPE_free);
	ASN1_TYPE_free(value);
	return same;
}

static bool is_version(const ASN1_SEQUENCE_ANY *items, int at, int64_t expected)
{
	const ASN1_TYPE *item = sk_ASN1_TYPE_value(items, at);
	int64_t found = -1;

	return expected < 0 || (item && item->type == V_ASN1_INTEGER &&
				       ASN1_INTEGER_get_int64(&found, item->value.integer) == 1 &&
				       found == expected);
}

bool names_template_id_is(X509_EXTENSION *extension, const struct names_template *t)
{
	ASN1_TYPE *value = value_of(extension);
	ASN1_SEQUENCE_ANY *items = items_of(value);
	const ASN1_TYPE *first = sk_ASN1_TYPE_value(items, 0);
	ASN1_OBJECT *oid = NULL;
	bool same = names_oid(t->oid, &oid) == CC_OK && first && first->type == V_ASN1_OBJECT &&
		    OBJ_cmp(first->value.object, oid) == 0 && sk_ASN1_TYPE_num(items) <= 3 &&
		    is_version(items, 1, t->major) && is_version(items, 2, t->minor);

	ASN1_OBJECT_free(oid);
	sk_ASN1_TYPE_pop_free(items, ASN1_TYPE_free);
	ASN1_TYPE_free(value);
	return same;
}
