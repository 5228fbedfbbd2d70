/*
 * Template extensions: how a request tells a CA of Microsoft's kind which template is meant.  By name for
 * templates of version 1, by object identifier and version for those after it.
 */
#include "keyvault/names.h"

#include <openssl/err.h>

#define OID_TEMPLATE_NAME "1.3.6.1.4.1.311.20.2"
#define OID_TEMPLATE_ID   "1.3.6.1.4.1.311.21.7"

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
	TRY(make(OID_TEMPLATE_NAME, der, size, ret));
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
	TRY(make(OID_TEMPLATE_ID, der, size, ret));
out:
	OPENSSL_free(der);
	ASN1_OBJECT_free(oid);
	sk_ASN1_TYPE_pop_free(sequence, ASN1_TYPE_free);
	return err;
}
