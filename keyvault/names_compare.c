/*
 * Names compared as sets.  Each item (an RDN, an alternative name) becomes bytes that do not depend on the
 * order and string type that a CA chose, with every part behind its length; two names are the same
 * when the same items are in both.
 */
#include "keyvault/names.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

struct items {
	cc_blob *list;
	size_t count;
};

static int compare(const void *a, const void *b)
{
	return cc_view_compare(cc_blob_view((const cc_blob *)a), cc_blob_view((const cc_blob *)b));
}

static void items_sort(struct items *items)
{
	if (items->count > 1)
		qsort(items->list, items->count, sizeof(*items->list), compare);
}

static void items_add(struct items *items, cc_blob item)
{
	items->list = (cc_blob *)cc_realloc(items->list, (items->count + 1) * sizeof(*items->list));
	items->list[items->count++] = item;
}

static void items_clear(struct items *items)
{
	for (size_t i = 0; i < items->count; i++)
		cc_blob_free(&items->list[i]);
	free(items->list);
	*items = (struct items){0};
}

static void append_part(cc_blob *item, cc_view part)
{
	cc_blob_append_u32(item, (uint32_t)part.size);
	cc_blob_append(item, part);
}

bool names_string_is(const ASN1_STRING *string, cc_view expected)
{
	unsigned char *utf8 = NULL;
	int size = expected.size > 0 ? ASN1_STRING_to_UTF8(&utf8, string) : -1;
	bool same = size > 0 && text_equal_nocase(cc_view_of(utf8, (size_t)size), expected);

	OPENSSL_free(utf8);
	return same;
}

/* By characters where it is a character string; otherwise tag and bytes. */
static void append_string(cc_blob *item, const ASN1_STRING *string)
{
	unsigned char *utf8 = NULL;
	int size = ASN1_STRING_to_UTF8(&utf8, string);

	if (size >= 0) {
		cc_blob_append_byte(item, 0);
		append_part(item, cc_view_of(utf8, (size_t)size));
		OPENSSL_free(utf8);
		return;
	}
	ERR_clear_error();
	cc_blob_append_byte(item, (uint8_t)ASN1_STRING_type(string));
	append_part(item,
		cc_view_of(ASN1_STRING_get0_data(string), (size_t)ASN1_STRING_length(string)));
}

static void append_oid(cc_blob *item, const ASN1_OBJECT *oid)
{
	append_part(item, cc_view_of(OBJ_get0_data(oid), OBJ_length(oid)));
}

/* ---- subjects ---- */

static void join(struct items *attributes, struct items *rdns)
{
	cc_blob rdn = CC_BLOB_NONE;

	items_sort(attributes);
	for (size_t i = 0; i < attributes->count; i++)
		append_part(&rdn, cc_blob_view(&attributes->list[i]));
	items_add(rdns, rdn);
	items_clear(attributes);
}

static struct items subject_items(const X509_NAME *name)
{
	struct items rdns = {0}, attributes = {0};
	int set = -1;

	for (int i = 0; i < X509_NAME_entry_count(name); i++) {
		const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
		cc_blob attribute = CC_BLOB_NONE;

		if (X509_NAME_ENTRY_set(entry) != set && attributes.count > 0)
			join(&attributes, &rdns);
		set = X509_NAME_ENTRY_set(entry);
		append_oid(&attribute, X509_NAME_ENTRY_get_object(entry));
		append_string(&attribute, X509_NAME_ENTRY_get_data(entry));
		items_add(&attributes, attribute);
	}
	if (attributes.count > 0)
		join(&attributes, &rdns);
	items_sort(&rdns);
	return rdns;
}

bool names_subject_equal(const X509_NAME *a, const X509_NAME *b)
{
	struct items left = subject_items(a), right = subject_items(b);
	bool equal = left.count == right.count;

	for (size_t i = 0; equal && i < left.count; i++)
		equal = cc_view_equal(cc_blob_view(&left.list[i]), cc_blob_view(&right.list[i]));
	items_clear(&left);
	items_clear(&right);
	return equal;
}

/* ---- alternative names ---- */

static void append_der(cc_blob *item, const GENERAL_NAME *name)
{
	unsigned char *der = NULL;
	int size = i2d_GENERAL_NAME(name, &der);

	if (size > 0)
		append_part(item, cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
}

static cc_blob san_item(const GENERAL_NAME *name)
{
	cc_blob item = CC_BLOB_NONE;

	cc_blob_append_byte(&item, (uint8_t)name->type);
	switch (name->type) {
	case GEN_EMAIL:
	case GEN_DNS:
	case GEN_URI:
		append_string(&item, name->d.ia5);
		break;
	case GEN_IPADD:
		append_part(&item, cc_view_of(ASN1_STRING_get0_data(name->d.iPAddress),
					   (size_t)ASN1_STRING_length(name->d.iPAddress)));
		break;
	case GEN_OTHERNAME:
		append_oid(&item, name->d.otherName->type_id);
		if (name->d.otherName->value->type == V_ASN1_UTF8STRING) {
			append_string(&item, name->d.otherName->value->value.utf8string);
			break;
		}
		append_der(&item, name);
		break;
	default:
		append_der(&item, name);
	}
	return item;
}

static struct items san_items(const GENERAL_NAMES *names)
{
	struct items items = {0};

	for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++)
		items_add(&items, san_item(sk_GENERAL_NAME_value(names, i)));
	return items;
}

static bool contains(const struct items *items, const cc_blob *item)
{
	for (size_t i = 0; i < items->count; i++)
		if (cc_view_equal(cc_blob_view(&items->list[i]), cc_blob_view(item)))
			return true;
	return false;
}

static void describe(const char *how, const GENERAL_NAMES *names, size_t index, cc_blob *ret_what)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *text = NULL;
	long size;

	if (!ret_what || !out) {
		BIO_free(out);
		return;
	}
	(void)GENERAL_NAME_print(out, sk_GENERAL_NAME_value(names, (int)index));
	size = BIO_get_mem_data(out, &text);
	cc_blob_clear(ret_what);
	cc_blob_printf(ret_what, "%s ", how);
	cc_blob_append(ret_what, cc_view_of(text, size > 0 ? (size_t)size : 0));
	BIO_free(out);
}

/* Every item of `these` is among `those`. */
static bool covers(const GENERAL_NAMES *these, const struct items *items, const struct items *those,
	const char *how, cc_blob *ret_what)
{
	for (size_t i = 0; i < items->count; i++) {
		if (contains(those, &items->list[i]))
			continue;
		describe(how, these, i, ret_what);
		return false;
	}
	return true;
}

bool names_san_equal(const GENERAL_NAMES *expected, const GENERAL_NAMES *found, cc_blob *ret_what)
{
	struct items left = san_items(expected), right = san_items(found);
	bool equal = covers(expected, &left, &right, "it lacks", ret_what) &&
		     covers(found, &right, &left, "it adds", ret_what);

	items_clear(&left);
	items_clear(&right);
	return equal;
}
