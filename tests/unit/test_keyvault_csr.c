/*
 * CSR: what a job asks for stands in the request, under the key's own signature, and nothing else does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "keyvault/csr.h"
#include "keyvault/keygen.h"
#include "keyvault/names.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>

#define SID "S-1-5-21-1-2-3-1104"

struct rig {
	Certq__Issue issue;
	Certq__Holder holder;
	Certq__AltName san;
	Certq__AltName *san_list[1];
	cc_view eku[2];
	struct csr_request request;
};

static void rig_make(struct rig *rig)
{
	*rig = (struct rig){0};
	certq__issue__init(&rig->issue);
	certq__holder__init(&rig->holder);
	certq__alt_name__init(&rig->san);
	rig->san.type = CERTQ__ALT_TYPE__ALT_EMAIL;
	rig->san.value = codec_text("alice@contoso.com");
	rig->san_list[0] = &rig->san;
	rig->issue.holder = &rig->holder;
	rig->holder.sid = codec_text(SID);
	rig->issue.subject = codec_text("CN=Alice,O=Contoso");
	rig->issue.san = rig->san_list;
	rig->issue.n_san = 1;
	rig->eku[0] = cc_view_text("1.3.6.1.5.5.7.3.2");
	rig->eku[1] = cc_view_text("1.3.6.1.5.5.7.3.4");
	rig->request = (struct csr_request){.issue = &rig->issue,
		.eku = rig->eku,
		.eku_count = 2,
		.key_usage = 1u << 0 | 1u << 2};
}

/* Made with a P-256 key, decoded again, its signature checked. */
static X509_REQ *made(struct rig *rig, Certq__KeyType type)
{
	EVP_PKEY *key = NULL;
	cc_blob der = CC_BLOB_NONE;
	const uint8_t *at;
	X509_REQ *req;

	assert_int_equal(keygen_make(type, &key), CC_OK);
	assert_int_equal(csr_make(key, &rig->request, &der), CC_OK);
	at = der.data;
	req = d2i_X509_REQ(NULL, &at, (long)der.size);
	assert_non_null(req);
	assert_ptr_equal(at, der.data + der.size);
	assert_int_equal(X509_REQ_verify(req, key), 1);
	EVP_PKEY_free(key);
	cc_blob_free(&der);
	return req;
}

static int find(const STACK_OF(X509_EXTENSION) * list, const char *oid)
{
	ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
	int at = X509v3_get_ext_by_OBJ(list, object, -1);

	ASN1_OBJECT_free(object);
	return at;
}

static void a_request_carries_the_job_s_names_and_usages(void **state)
{
	struct rig rig;
	X509_REQ *req;
	STACK_OF(X509_EXTENSION) * list;
	X509_NAME *subject = NULL;
	GENERAL_NAMES *expected = NULL, *found;
	EXTENDED_KEY_USAGE *eku;
	ASN1_BIT_STRING *usage;
	int critical = 0;

	(void)state;
	rig_make(&rig);
	req = made(&rig, CERTQ__KEY_TYPE__KEY_EC_P256);
	assert_int_equal(names_subject(codec_view(rig.issue.subject), &subject), CC_OK);
	assert_int_equal(X509_NAME_cmp(subject, X509_REQ_get_subject_name(req)), 0);
	list = X509_REQ_get_extensions(req);
	assert_int_equal(sk_X509_EXTENSION_num(list), 3);
	assert_int_equal(names_san(&rig.issue, &expected), CC_OK);
	found = X509V3_get_d2i(list, NID_subject_alt_name, &critical, NULL);
	assert_true(names_san_equal(expected, found, NULL));
	assert_int_equal(critical, 0);
	eku = X509V3_get_d2i(list, NID_ext_key_usage, NULL, NULL);
	assert_int_equal(sk_ASN1_OBJECT_num(eku), 2);
	assert_int_equal(OBJ_obj2nid(sk_ASN1_OBJECT_value(eku, 0)), NID_client_auth);
	usage = X509V3_get_d2i(list, NID_key_usage, &critical, NULL);
	assert_int_equal(critical, 1);
	for (int bit = 0; bit < 9; bit++)
		assert_int_equal(ASN1_BIT_STRING_get_bit(usage, bit), bit == 0 || bit == 2);
	ASN1_BIT_STRING_free(usage);
	sk_ASN1_OBJECT_pop_free(eku, ASN1_OBJECT_free);
	GENERAL_NAMES_free(found);
	GENERAL_NAMES_free(expected);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	X509_NAME_free(subject);
	X509_REQ_free(req);
}

static void what_was_not_asked_for_is_not_there(void **state)
{
	struct rig rig;
	X509_REQ *req;
	STACK_OF(X509_EXTENSION) * list;

	(void)state;
	rig_make(&rig);
	rig.issue.n_san = 0;
	rig.request.eku_count = 0;
	rig.request.key_usage = 0;
	req = made(&rig, CERTQ__KEY_TYPE__KEY_EC_P256);
	list = X509_REQ_get_extensions(req);
	assert_int_equal(list ? sk_X509_EXTENSION_num(list) : 0, 0);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	X509_REQ_free(req);
}

static void an_empty_subject_makes_the_alternative_names_critical(void **state)
{
	struct rig rig;
	X509_REQ *req;
	STACK_OF(X509_EXTENSION) * list;
	GENERAL_NAMES *found;
	int critical = 0;

	(void)state;
	rig_make(&rig);
	rig.issue.subject = codec_text("");
	req = made(&rig, CERTQ__KEY_TYPE__KEY_EC_P256);
	list = X509_REQ_get_extensions(req);
	found = X509V3_get_d2i(list, NID_subject_alt_name, &critical, NULL);
	assert_non_null(found);
	assert_int_equal(critical, 1);
	GENERAL_NAMES_free(found);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	X509_REQ_free(req);
}

static void sid_template_and_smime_capabilities_stand_where_they_were_asked_for(void **state)
{
	static const uint8_t user[] = {0x1e, 0x08, 0, 'U', 0, 's', 0, 'e', 0, 'r'};
	struct rig rig;
	X509_REQ *req;
	STACK_OF(X509_EXTENSION) * list;
	const ASN1_OCTET_STRING *data;
	cc_blob sid = CC_BLOB_NONE;
	int at;

	(void)state;
	rig_make(&rig);
	rig.issue.sid_form = CERTQ__SID_FORM__SID_EXTENSION;
	rig.issue.smime_capabilities = 1;
	rig.request.template_name = cc_view_text("User");
	req = made(&rig, CERTQ__KEY_TYPE__KEY_RSA_2048);
	list = X509_REQ_get_extensions(req);
	at = find(list, NAMES_OID_SID);
	assert_true(at >= 0);
	assert_int_equal(names_sid_of(sk_X509_EXTENSION_value(list, at), &sid), CC_OK);
	assert_true(text_equal(cc_blob_view(&sid), SID));
	at = find(list, "1.3.6.1.4.1.311.20.2");
	assert_true(at >= 0);
	data = X509_EXTENSION_get_data(sk_X509_EXTENSION_value(list, at));
	assert_int_equal(ASN1_STRING_length(data), (int)sizeof(user));
	assert_memory_equal(ASN1_STRING_get0_data(data), user, sizeof(user));
	assert_true(find(list, "1.2.840.113549.1.9.15") >= 0);
	cc_blob_free(&sid);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	X509_REQ_free(req);
}

static void a_template_of_version_two_stands_as_identifier_and_version(void **state)
{
	static const uint8_t expected[] = {
		0x30, 0x0a, 0x06, 0x02, 0x2a, 0x03, 0x02, 0x01, 0x64, 0x02, 0x01, 0x03};
	const struct names_template id = {.oid = cc_view_text("1.2.3"), .major = 100, .minor = 3};
	STACK_OF(X509_EXTENSION) * list;
	const ASN1_OCTET_STRING *data;
	struct rig rig;
	X509_REQ *req;
	int at;

	(void)state;
	rig_make(&rig);
	rig.request.template_id = &id;
	req = made(&rig, CERTQ__KEY_TYPE__KEY_EC_P256);
	list = X509_REQ_get_extensions(req);
	at = find(list, "1.3.6.1.4.1.311.21.7");
	assert_true(at >= 0);
	data = X509_EXTENSION_get_data(sk_X509_EXTENSION_value(list, at));
	assert_int_equal(ASN1_STRING_length(data), (int)sizeof(expected));
	assert_memory_equal(ASN1_STRING_get0_data(data), expected, sizeof(expected));
	assert_int_equal(find(list, "1.3.6.1.4.1.311.20.2"), -1);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	X509_REQ_free(req);
}

static void each_kind_of_key_signs_with_its_digest(void **state)
{
	static const struct {
		Certq__KeyType type;
		int signature;
	} cases[] = {{CERTQ__KEY_TYPE__KEY_RSA_2048, NID_sha256WithRSAEncryption},
		{CERTQ__KEY_TYPE__KEY_RSA_3072, NID_sha256WithRSAEncryption},
		{CERTQ__KEY_TYPE__KEY_RSA_4096, NID_sha256WithRSAEncryption},
		{CERTQ__KEY_TYPE__KEY_EC_P256, NID_ecdsa_with_SHA256},
		{CERTQ__KEY_TYPE__KEY_EC_P384, NID_ecdsa_with_SHA384}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rig rig;
		X509_REQ *req;

		rig_make(&rig);
		req = made(&rig, cases[i].type);
		assert_int_equal(X509_REQ_get_signature_nid(req), cases[i].signature);
		X509_REQ_free(req);
	}
}

static cc_err judge(struct rig *rig)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	cc_blob der = CC_BLOB_NONE;
	cc_err err = csr_make(key, &rig->request, &der);

	if (err != CC_OK)
		assert_null(der.data);
	cc_blob_free(&der);
	EVP_PKEY_free(key);
	return err;
}

static void what_does_not_parse_makes_no_request(void **state)
{
	struct rig rig;

	(void)state;
	rig_make(&rig);
	assert_int_equal(judge(&rig), CC_OK);
	rig.issue.subject = codec_text("CN");
	assert_int_equal(judge(&rig), CC_MALFORMED);
	rig_make(&rig);
	rig.san.value = codec_text("alice");
	assert_int_equal(judge(&rig), CC_MALFORMED);
	rig_make(&rig);
	rig.eku[1] = cc_view_text("emailProtection");
	assert_int_equal(judge(&rig), CC_MALFORMED);
	rig_make(&rig);
	rig.issue.sid_form = CERTQ__SID_FORM__SID_EXTENSION;
	rig.holder.sid = codec_text("S-1-5-18");
	assert_int_equal(judge(&rig), CC_MALFORMED);
	rig_make(&rig);
	rig.request.template_name = cc_view_text("Us\ner");
	assert_int_equal(judge(&rig), CC_MALFORMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_carries_the_job_s_names_and_usages),
		cmocka_unit_test(what_was_not_asked_for_is_not_there),
		cmocka_unit_test(an_empty_subject_makes_the_alternative_names_critical),
		cmocka_unit_test(
			sid_template_and_smime_capabilities_stand_where_they_were_asked_for),
		cmocka_unit_test(a_template_of_version_two_stands_as_identifier_and_version),
		cmocka_unit_test(each_kind_of_key_signs_with_its_digest),
		cmocka_unit_test(what_does_not_parse_makes_no_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
