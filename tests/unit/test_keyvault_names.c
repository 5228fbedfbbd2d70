/*
 * Names: RFC 4514 subjects, alternative names, SIDs, and their comparison as sets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "keyvault/names.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>

#define SID "S-1-5-21-666199682-1411342147-2938717855-1001"

/* ---- subjects ---- */

/* The name as OpenSSL prints it in the order of the sequence, "type=value, type=value + type=value". */
static char *printed(cc_view text, cc_err expected)
{
	X509_NAME *name = NULL;
	BIO *out = BIO_new(BIO_s_mem());
	char *data = NULL, *result;
	long size;

	assert_int_equal(names_subject(text, &name), expected);
	if (expected != CC_OK) {
		assert_null(name);
		BIO_free(out);
		return NULL;
	}
	X509_NAME_print_ex(out, name, 0,
		XN_FLAG_ONELINE & ~(unsigned long)ASN1_STRFLGS_ESC_MSB &
			~(unsigned long)XN_FLAG_SPC_EQ);
	size = BIO_get_mem_data(out, &data);
	result = cc_strndup(cc_view_of(data, (size_t)size));
	X509_NAME_free(name);
	BIO_free(out);
	return result;
}

static void expect(const char *text, const char *expected)
{
	char *found = printed(cc_view_text(text), CC_OK);

	assert_string_equal(found, expected);
	free(found);
}

static void refused(const char *text)
{
	(void)printed(cc_view_text(text), CC_MALFORMED);
}

static void the_last_rdn_of_the_text_comes_first(void **state)
{
	(void)state;
	expect("CN=Alice,OU=Sales,O=Contoso,C=DE", "C=DE, O=Contoso, OU=Sales, CN=Alice");
	expect("UID=jsmith,DC=example,DC=net", "DC=net, DC=example, UID=jsmith");
}

static void an_empty_text_is_an_empty_name(void **state)
{
	X509_NAME *name = NULL;

	(void)state;
	assert_int_equal(names_subject(CC_VIEW_NONE, &name), CC_OK);
	assert_int_equal(X509_NAME_entry_count(name), 0);
	X509_NAME_free(name);
}

static void several_attributes_make_one_rdn(void **state)
{
	X509_NAME *name = NULL;

	(void)state;
	assert_int_equal(names_subject(cc_view_text("CN=Alice+UID=a1,O=Contoso"), &name), CC_OK);
	assert_int_equal(X509_NAME_entry_count(name), 3);
	assert_int_equal(X509_NAME_ENTRY_set(X509_NAME_get_entry(name, 0)), 0);
	assert_int_equal(X509_NAME_ENTRY_set(X509_NAME_get_entry(name, 1)), 1);
	assert_int_equal(X509_NAME_ENTRY_set(X509_NAME_get_entry(name, 2)), 1);
	X509_NAME_free(name);
}

static void every_escape_of_rfc_4514_is_taken(void **state)
{
	(void)state;
	expect("CN=Sue\\, Grabbit and Runn,O=x", "O=x, CN=\"Sue, Grabbit and Runn\"");
	expect("CN=a\\+b", "CN=\"a+b\"");
	expect("CN=\\\"q\\\"\\\\\\<\\>\\;\\=", "CN=\"\\\"q\\\"\\\\<>;=\"");
	expect("CN=\\ lead", "CN=\" lead\"");
	expect("CN=trail\\ ", "CN=\"trail \"");
	expect("CN=\\#hash", "CN=\"#hash\"");
	expect("CN=Lu\\C4\\8Di\\C4\\87", "CN=Lučić");
	expect("CN=Lučić", "CN=Lučić");
	expect("CN=a=b#c", "CN=a=b#c");
}

static void a_value_may_be_der_in_hex(void **state)
{
	(void)state;
	expect("CN=#0c03666f6f", "CN=foo");
	expect("CN=#1303666F6F,O=x", "O=x, CN=foo");
	refused("CN=#");
	refused("CN=#0c03666f");     /* cut short */
	refused("CN=#0c03666f6f00"); /* a byte after it */
	refused("CN=#0c0");
	refused("CN=#0403666f6f"); /* an OCTET STRING */
	refused("CN=#30030c0161"); /* a SEQUENCE */
	refused("CN=#0c03660a6f"); /* a control character */
	refused("CN=#0c00");
}

static void a_type_may_be_a_dotted_oid(void **state)
{
	(void)state;
	expect("2.5.4.3=foo", "CN=foo");
	expect("1.3.6.1.4.1.99999.1=foo", "1.3.6.1.4.1.99999.1=foo");
	refused("2.5.04.3=foo");
	refused("9.5.4.3=foo");
	refused("2..4=foo");
	refused("2.5.4.=foo");
}

static void types_are_found_in_any_case(void **state)
{
	(void)state;
	expect("cn=a,EmailAddress=a@b.c,st=x,street=y", "street=y, ST=x, emailAddress=a@b.c, CN=a");
}

static void space_after_a_separator_is_skipped(void **state)
{
	(void)state;
	expect("CN=Alice, O=Contoso", "O=Contoso, CN=Alice");
}

static void what_is_not_the_grammar_is_malformed(void **state)
{
	static const char *const texts[] = {"CN", "=a", "CN=", "CN=a,", ",CN=a", "CN=a,,O=b",
		"CN=a+", "CN= a", "CN=a ,O=b", "CN=a\"b", "CN=a;b", "CN=a<b", "CN=a>b", "CN=a\\",
		"CN=a\\x", "CN=a\\4", "Nonsense=a", "CN=a\\0Ab", "CN=a\\00b", "CN=\\C3",
		"CN=\\ED\\A0\\80", "C=Germany", "C=D", "CN = a", "C N=a"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		refused(texts[i]);
	(void)printed(cc_view_of("CN=a\0b", 6), CC_MALFORMED);
}

static void a_value_longer_than_its_type_allows_is_malformed(void **state)
{
	char text[4 + 65] = "CN=";

	(void)state;
	memset(text + 3, 'x', 65);
	(void)printed(cc_view_of(text, 3 + 65), CC_MALFORMED);
	free(printed(cc_view_of(text, 3 + 64), CC_OK));
}

static void too_many_attributes_are_too_large(void **state)
{
	cc_blob text = CC_BLOB_NONE;

	(void)state;
	for (int i = 0; i < 33; i++)
		cc_blob_printf(&text, "%sDC=x", i ? "," : "");
	(void)printed(cc_blob_view(&text), CC_TOO_LARGE);
	cc_blob_free(&text);
}

static bool equal(const char *a, const char *b)
{
	X509_NAME *left = NULL, *right = NULL;
	bool result;

	assert_int_equal(names_subject(cc_view_text(a), &left), CC_OK);
	assert_int_equal(names_subject(cc_view_text(b), &right), CC_OK);
	result = names_subject_equal(left, right);
	X509_NAME_free(left);
	X509_NAME_free(right);
	return result;
}

static void subjects_are_compared_as_sets_of_decoded_values(void **state)
{
	(void)state;
	assert_true(equal("CN=a,O=b", "CN=a,O=b"));
	assert_true(equal("CN=a,O=b", "O=b,CN=a"));
	assert_true(equal("CN=a+UID=u,O=b", "O=b,UID=u+CN=a"));
	assert_true(equal("CN=#1303666f6f", "CN=#0c03666f6f"));
	assert_true(equal("", ""));
	assert_false(equal("CN=a,O=b", "CN=a"));
	assert_false(equal("CN=a", "CN=a,CN=a"));
	assert_false(equal("CN=a", "CN=A"));
	assert_false(equal("CN=a+O=b", "CN=a,O=b"));
	assert_false(equal("CN=ab,O=c", "CN=a,O=bc"));
	assert_false(equal("CN=a", "O=a"));
}

/* ---- alternative names ---- */

struct alt {
	Certq__Issue issue;
	Certq__Holder holder;
	Certq__AltName names[4];
	Certq__AltName *list[4];
};

static void alt_make(struct alt *a)
{
	*a = (struct alt){0};
	certq__issue__init(&a->issue);
	certq__holder__init(&a->holder);
	a->holder.sid = codec_text(SID);
	a->issue.holder = &a->holder;
	a->issue.san = a->list;
}

static void alt_add(struct alt *a, Certq__AltType type, const char *value)
{
	Certq__AltName *name = &a->names[a->issue.n_san];

	certq__alt_name__init(name);
	name->type = type;
	name->value = codec_text(value);
	a->list[a->issue.n_san++] = name;
}

static cc_err judge(Certq__AltType type, const char *value)
{
	struct alt a;
	GENERAL_NAMES *names = NULL;
	cc_err err;

	alt_make(&a);
	alt_add(&a, type, value);
	err = names_san(&a.issue, &names);
	if (err == CC_OK)
		assert_int_equal(sk_GENERAL_NAME_num(names), 1);
	else
		assert_null(names);
	GENERAL_NAMES_free(names);
	return err;
}

#define EMAIL CERTQ__ALT_TYPE__ALT_EMAIL
#define DNS   CERTQ__ALT_TYPE__ALT_DNS
#define URI   CERTQ__ALT_TYPE__ALT_URI
#define IP    CERTQ__ALT_TYPE__ALT_IP
#define UPN   CERTQ__ALT_TYPE__ALT_UPN

struct judged {
	Certq__AltType type;
	const char *value;
	cc_err expected;
};

static void each_type_of_name_has_its_syntax(void **state)
{
	static const struct judged cases[] = {
		{EMAIL, "alice@contoso.com", CC_OK},
		{EMAIL, "a.b+c@contoso.com", CC_OK},
		{EMAIL, "alice", CC_MALFORMED},
		{EMAIL, "@contoso.com", CC_MALFORMED},
		{EMAIL, "alice@", CC_MALFORMED},
		{EMAIL, "a@b@contoso.com", CC_MALFORMED},
		{EMAIL, "al ice@contoso.com", CC_MALFORMED},
		{EMAIL, "<a@contoso.com>", CC_MALFORMED},
		{EMAIL, "a,b@contoso.com", CC_MALFORMED},
		{EMAIL, "ä@contoso.com", CC_MALFORMED},
		{EMAIL, "a@contoso.com.", CC_MALFORMED},
		{DNS, "host.contoso.com", CC_OK},
		{DNS, "*.contoso.com", CC_OK},
		{DNS, "host", CC_OK},
		{DNS, "", CC_MALFORMED},
		{DNS, "*", CC_MALFORMED},
		{DNS, "a.*.com", CC_MALFORMED},
		{DNS, "-a.com", CC_MALFORMED},
		{DNS, "a-.com", CC_MALFORMED},
		{DNS, "a..com", CC_MALFORMED},
		{DNS, "a.com.", CC_MALFORMED},
		{DNS, "a b.com", CC_MALFORMED},
		{DNS, "a/b.com", CC_MALFORMED},
		{URI, "https://contoso.com/x?y=1", CC_OK},
		{URI, "urn:uuid:1", CC_OK},
		{URI, "nocolon", CC_MALFORMED},
		{URI, "ht tp://x", CC_MALFORMED},
		{URI, ":x", CC_MALFORMED},
		{URI, "x:", CC_MALFORMED},
		{URI, "https://contoso.com\\@x", CC_MALFORMED},
		{URI, "https://contoso.com/%2e%2E", CC_OK},
		{URI, "https://contoso.com/%2", CC_MALFORMED},
		{URI, "https://contoso.com/%zz", CC_MALFORMED},
		{URI, "https://contoso.com/{x}", CC_MALFORMED},
		{URI, NAMES_SID_URI_PREFIX SID, CC_DENIED},
		{URI, "TAG:Microsoft.com,2022-09-14:sid:" SID, CC_DENIED},
		{IP, "192.0.2.1", CC_OK},
		{IP, "2001:db8::1", CC_OK},
		{IP, "192.0.2", CC_MALFORMED},
		{IP, "192.0.2.1/24", CC_MALFORMED},
		{IP, " 192.0.2.1", CC_MALFORMED},
		{IP, "fe80::1%eth0", CC_MALFORMED},
		{UPN, "alice@contoso.com", CC_OK},
		{UPN, "älice@contoso.com", CC_OK},
		{UPN, "alice", CC_MALFORMED},
		{UPN, "a@b@c", CC_MALFORMED},
		{UPN, "a\nb@c", CC_MALFORMED},
		{CERTQ__ALT_TYPE__ALT_UNSPECIFIED, "x", CC_MALFORMED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (judge(cases[i].type, cases[i].value) != cases[i].expected)
			fail_msg("%s", cases[i].value);
}

static void the_upn_has_the_bytes_of_a_real_certificate(void **state)
{
	static const uint8_t expected[] =
		"\xa0\x21\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03\xa0\x13"
		"\x0c\x11"
		"alice@contoso.com";
	struct alt a;
	GENERAL_NAMES *names = NULL;
	unsigned char *der = NULL;

	(void)state;
	alt_make(&a);
	alt_add(&a, UPN, "alice@contoso.com");
	assert_int_equal(names_san(&a.issue, &names), CC_OK);
	assert_int_equal(
		i2d_GENERAL_NAME(sk_GENERAL_NAME_value(names, 0), &der), (int)sizeof(expected) - 1);
	assert_memory_equal(der, expected, sizeof(expected) - 1);
	OPENSSL_free(der);
	GENERAL_NAMES_free(names);
}

static void no_name_at_all_gives_none(void **state)
{
	struct alt a;
	GENERAL_NAMES *names = NULL;

	(void)state;
	alt_make(&a);
	assert_int_equal(names_san(&a.issue, &names), CC_OK);
	assert_null(names);
}

static void the_sid_uri_comes_from_the_holder(void **state)
{
	struct alt a;
	GENERAL_NAMES *names = NULL;
	const char expected[] = NAMES_SID_URI_PREFIX SID;
	const ASN1_STRING *uri;

	(void)state;
	alt_make(&a);
	a.issue.sid_form = CERTQ__SID_FORM__SID_URI;
	assert_int_equal(names_san(&a.issue, &names), CC_OK);
	uri = sk_GENERAL_NAME_value(names, 0)->d.uniformResourceIdentifier;
	assert_int_equal(ASN1_STRING_length(uri), 78);
	assert_memory_equal(ASN1_STRING_get0_data(uri), expected, 78);
	GENERAL_NAMES_free(names);
	a.holder.sid = codec_text("nonsense");
	names = NULL;
	assert_int_equal(names_san(&a.issue, &names), CC_MALFORMED);
	assert_null(names);
}

/* ---- SIDs ---- */

static void the_sid_of_an_account_is_taken(void **state)
{
	uint32_t rid = 0;

	(void)state;
	assert_int_equal(names_sid_check(cc_view_text(SID), &rid), CC_OK);
	assert_int_equal(rid, 1001);
	assert_int_equal(names_sid_check(cc_view_text("S-1-5-21-1-2-3-500"), &rid), CC_OK);
	assert_int_equal(rid, 500);
	assert_int_equal(names_sid_check(cc_view_text("S-1-12-1-1-2-3-4294967295"), &rid), CC_OK);
}

static void what_is_no_account_s_sid_is_malformed(void **state)
{
	static const char *const texts[] = {"", "S-1-5-18", "S-1-5-32-544", "S-1-5-21-1-2-3",
		"S-1-5-21-1-2-3-4-5", "S-1-5-21-1-2-3-", "S-1-5-21--2-3-4",
		"S-1-5-21-1-2-3-4294967296", "S-1-5-21-1-2-3-0500", "S-1-5-21-1-2-3-5x",
		"s-1-5-21-1-2-3-4", "S-1-5-21-1-2-3-4 ", "S-1-5-21-1-2-3-+4"};
	uint32_t rid = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (names_sid_check(cc_view_text(texts[i]), &rid) != CC_MALFORMED)
			fail_msg("%s", texts[i]);
}

static void the_sid_extension_has_the_bytes_of_a_real_certificate(void **state)
{
	static const uint8_t expected[] = "\x30\x3f\xa0\x3d\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x19"
					  "\x02\x01\xa0\x2f\x04\x2d" SID;
	X509_EXTENSION *extension = NULL;
	const ASN1_OCTET_STRING *data;
	cc_blob sid = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(names_sid_extension(cc_view_text(SID), &extension), CC_OK);
	data = X509_EXTENSION_get_data(extension);
	assert_int_equal(ASN1_STRING_length(data), (int)sizeof(expected) - 1);
	assert_memory_equal(ASN1_STRING_get0_data(data), expected, sizeof(expected) - 1);
	assert_int_equal(X509_EXTENSION_get_critical(extension), 0);
	assert_int_equal(names_sid_of(extension, &sid), CC_OK);
	assert_true(text_equal(cc_blob_view(&sid), SID));
	cc_blob_free(&sid);
	X509_EXTENSION_free(extension);
}

/* ---- sets ---- */

static GENERAL_NAMES *list(
	Certq__AltType type1, const char *value1, Certq__AltType type2, const char *value2)
{
	struct alt a;
	GENERAL_NAMES *names = NULL;

	alt_make(&a);
	alt_add(&a, type1, value1);
	if (value2)
		alt_add(&a, type2, value2);
	assert_int_equal(names_san(&a.issue, &names), CC_OK);
	return names;
}

static void alternative_names_are_compared_as_sets(void **state)
{
	GENERAL_NAMES *ab = list(EMAIL, "a@x.y", UPN, "a@x.y"),
		      *ba = list(UPN, "a@x.y", EMAIL, "a@x.y");
	GENERAL_NAMES *a = list(EMAIL, "a@x.y", EMAIL, NULL), *upn = list(UPN, "a@x.y", UPN, NULL);
	GENERAL_NAMES *upper = list(EMAIL, "A@x.y", EMAIL, NULL);
	cc_blob what = CC_BLOB_NONE;

	(void)state;
	assert_true(names_san_equal(ab, ba, &what));
	assert_true(names_san_equal(NULL, NULL, NULL));
	assert_false(names_san_equal(a, upn, NULL));
	assert_false(names_san_equal(a, upper, NULL));
	assert_false(names_san_equal(a, NULL, &what));
	assert_string_equal(cc_blob_text(&what), "it lacks email:a@x.y");
	assert_false(names_san_equal(upn, ab, &what));
	assert_string_equal(cc_blob_text(&what), "it adds email:a@x.y");
	cc_blob_free(&what);
	GENERAL_NAMES_free(ab);
	GENERAL_NAMES_free(ba);
	GENERAL_NAMES_free(a);
	GENERAL_NAMES_free(upn);
	GENERAL_NAMES_free(upper);
}

static void an_oid_is_dotted_numbers(void **state)
{
	static const char *const bad[] = {
		"", "clientAuth", "1", "1.3.6.1.5.5.7.3.2.", "01.3", "1..3", "3.1.1", "1.3 "};
	ASN1_OBJECT *oid = NULL;

	(void)state;
	assert_int_equal(names_oid(cc_view_text("1.3.6.1.5.5.7.3.2"), &oid), CC_OK);
	assert_int_equal(OBJ_obj2nid(oid), NID_client_auth);
	ASN1_OBJECT_free(oid);
	oid = NULL;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (names_oid(cc_view_text(bad[i]), &oid) != CC_MALFORMED)
			fail_msg("%s", bad[i]);
	assert_null(oid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_rdn_of_the_text_comes_first),
		cmocka_unit_test(an_empty_text_is_an_empty_name),
		cmocka_unit_test(several_attributes_make_one_rdn),
		cmocka_unit_test(every_escape_of_rfc_4514_is_taken),
		cmocka_unit_test(a_value_may_be_der_in_hex),
		cmocka_unit_test(a_type_may_be_a_dotted_oid),
		cmocka_unit_test(types_are_found_in_any_case),
		cmocka_unit_test(space_after_a_separator_is_skipped),
		cmocka_unit_test(what_is_not_the_grammar_is_malformed),
		cmocka_unit_test(a_value_longer_than_its_type_allows_is_malformed),
		cmocka_unit_test(too_many_attributes_are_too_large),
		cmocka_unit_test(subjects_are_compared_as_sets_of_decoded_values),
		cmocka_unit_test(each_type_of_name_has_its_syntax),
		cmocka_unit_test(the_upn_has_the_bytes_of_a_real_certificate),
		cmocka_unit_test(no_name_at_all_gives_none),
		cmocka_unit_test(the_sid_uri_comes_from_the_holder),
		cmocka_unit_test(the_sid_of_an_account_is_taken),
		cmocka_unit_test(what_is_no_account_s_sid_is_malformed),
		cmocka_unit_test(the_sid_extension_has_the_bytes_of_a_real_certificate),
		cmocka_unit_test(alternative_names_are_compared_as_sets),
		cmocka_unit_test(an_oid_is_dotted_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
