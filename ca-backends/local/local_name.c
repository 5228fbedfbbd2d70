/*
 * local: a distinguished name from an administrator's text.
 *
 * RFC 4514 section 2 without multi-valued RDNs and without "#hex" values: what a CA's own name is
 * made of.  The text begins with the most specific part; the sequence ends with it.
 */
#include "ca-backends/local/local_int.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

#define RDN_MAX   16
#define VALUE_MAX 200

struct rdn {
	char type[32];
	cc_blob value;
};

static bool is_special(char c)
{
	return c != '\0' && strchr(" \"#+,;<=>\\", c) != NULL;
}

static cc_err read_value(const char **at, cc_blob *ret)
{
	const char *p = *at;

	for (; *p != '\0' && *p != ','; p++) {
		if (*p == '\\') {
			p++;
			if (!is_special(*p))
				return cc_fail(CC_USAGE, "subject: a backslash stands before a "
							 "special character only");
		} else if (is_special(*p) && *p != ' ' && *p != '=') {
			return cc_fail(CC_USAGE, "subject: \"%c\" needs a backslash", *p);
		}
		cc_blob_append_byte(ret, (uint8_t)*p);
	}
	if (ret->size == 0 || !text_is_clean(cc_blob_view(ret), VALUE_MAX))
		return cc_fail(
			CC_USAGE, "subject: a value is 1 to %d bytes of clean text", VALUE_MAX);
	*at = p;
	return CC_OK;
}

static cc_err read_rdn(const char **at, struct rdn *ret)
{
	const char *equals;
	size_t size;

	*at += strspn(*at, " ");
	equals = strchr(*at, '=');
	size = equals == NULL ? 0 : (size_t)(equals - *at);
	if (size == 0 || size >= sizeof(ret->type))
		return cc_fail(CC_USAGE, "subject: write it as CN=Name,O=Company");
	memcpy(ret->type, *at, size);
	ret->type[size] = '\0';
	*at = equals + 1;
	return read_value(at, &ret->value);
}

cc_err local_name_parse(const char *text, X509_NAME **ret)
{
	struct rdn rdns[RDN_MAX] = {0};
	size_t count = 0;
	X509_NAME *name = X509_NAME_new();
	const char *at = text;
	cc_err err = CC_OK;

	ENSURE(name != NULL, cc_fail_openssl("subject"));
	do {
		ENSURE(count < RDN_MAX, cc_fail(CC_USAGE, "subject: more than %d parts", RDN_MAX));
		TRY(read_rdn(&at, &rdns[count++]));
	} while (*at++ == ',');
	for (size_t i = count; i-- > 0;)
		ENSURE(X509_NAME_add_entry_by_txt(name, rdns[i].type, MBSTRING_UTF8,
			       rdns[i].value.data, (int)rdns[i].value.size, -1, 0) == 1,
			cc_fail(CC_USAGE, "subject: %s= is not known or its value not allowed",
				rdns[i].type));
	*ret = name;
	name = NULL;
out:
	for (size_t i = 0; i < RDN_MAX; i++)
		cc_blob_free(&rdns[i].value);
	X509_NAME_free(name);
	return err;
}
