/*
 * Names by the table tests/data/names.tsv: each subject, alternative name and extension becomes the DER
 * that python3-cryptography makes of the same name, or is refused in the words that stand there.
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_MAX 16

struct row {
	char *id, *kind, *verdict, *expected;
	cc_blob input;
};

static unsigned run_count, failed_count;

/* ---- the table ---- */

/* %xx back to a byte. */
static cc_blob plain(const char *text)
{
	cc_blob out = CC_BLOB_NONE, byte = CC_BLOB_NONE;

	for (; *text; text++) {
		if (*text != '%') {
			cc_blob_append_byte(&out, (uint8_t)*text);
			continue;
		}
		assert_true(text[1] && text[2]);
		text += 2;
		if (text_from_hex(cc_view_of(text - 1, 2), &byte) != CC_OK)
			fail_msg("%s", text);
		cc_blob_append(&out, cc_blob_view(&byte));
		cc_blob_free(&byte);
	}
	return out;
}

static void read_row(char *line, struct row *ret)
{
	char *fields[5] = {0};

	for (size_t i = 0; i < 5; i++)
		fields[i] = strsep(&line, "\t");
	assert_non_null(fields[4]);
	assert_null(line);
	*ret = (struct row){fields[0], fields[1], fields[3], fields[4], plain(fields[2])};
}

/* Says which row failed, and goes on: one run shows all of them. */
static void judge(const struct row *row, cc_err err, const cc_blob *der)
{
	static const struct {
		const char *name;
		cc_err code;
	} verdicts[] = {{"ok", CC_OK}, {"malformed", CC_MALFORMED}, {"denied", CC_DENIED},
		{"too-large", CC_TOO_LARGE}};
	bool good = false;
	char *hex = text_hex_new(cc_blob_view(der));
	const char *found = err == CC_OK ? hex : cc_err_detail(err);

	for (size_t i = 0; i < 4; i++)
		if (strcmp(verdicts[i].name, row->verdict) == 0)
			good = verdicts[i].code == err;
	good = good && (err == CC_OK ? strcmp(hex, row->expected) == 0
				     : strstr(found, row->expected) != NULL);
	if (!good) {
		print_message("%s: code %d, %s\n  expected: %s, %s\n", row->id, (int)err, found,
			row->verdict, row->expected);
		failed_count++;
	}
	run_count++;
	free(hex);
}

typedef cc_err make_fn(cc_view input, cc_blob *ret_der);

static void run(const char *kind, unsigned at_least, make_fn *make)
{
	FILE *file = fopen(TEST_DATA "/names.tsv", "r");
	char *line = NULL;
	size_t size = 0;
	ssize_t length;

	assert_non_null(file);
	run_count = failed_count = 0;
	while ((length = getline(&line, &size, file)) > 0) {
		struct row row;
		cc_blob der = CC_BLOB_NONE;

		line[length - 1] = 0;
		read_row(line, &row);
		if (strcmp(row.kind, kind) == 0)
			judge(&row, make(cc_blob_view(&row.input), &der), &der);
		cc_blob_free(&der);
		cc_blob_free(&row.input);
	}
	free(line);
	(void)fclose(file);
	assert_int_equal(failed_count, 0);
	assert_true(run_count >= at_least);
}

/* ---- one row's input ---- */

static cc_err make_subject(cc_view input, cc_blob *ret)
{
	X509_NAME *name = NULL;
	unsigned char *der = NULL;
	int size;
	cc_err err = CC_OK;

	TRY(names_subject(input, &name));
	size = i2d_X509_NAME(name, &der);
	assert_true(size > 0);
	*ret = cc_blob_copy(cc_view_of(der, (size_t)size));
out:
	OPENSSL_free(der);
	X509_NAME_free(name);
	return err;
}

static Certq__AltType alt_type(cc_view word)
{
	static const struct {
		const char *name;
		Certq__AltType type;
	} types[] = {{"email", CERTQ__ALT_TYPE__ALT_EMAIL}, {"dns", CERTQ__ALT_TYPE__ALT_DNS},
		{"uri", CERTQ__ALT_TYPE__ALT_URI}, {"ip", CERTQ__ALT_TYPE__ALT_IP},
		{"upn", CERTQ__ALT_TYPE__ALT_UPN}};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (text_equal(word, types[i].name))
			return types[i].type;
	return CERTQ__ALT_TYPE__ALT_UNSPECIFIED;
}

struct san {
	Certq__Issue issue;
	Certq__Holder holder;
	Certq__AltName items[ITEMS_MAX];
	Certq__AltName *list[ITEMS_MAX];
};

/* "email:a@b"; a SID is the job's holder's, and comes last. */
static void add_item(struct san *san, cc_view item)
{
	const uint8_t *colon = memchr(item.data, ':', item.size);
	size_t word = colon ? (size_t)(colon - item.data) : 0;
	cc_view value = cc_view_part(item, word + 1, item.size - word - 1);
	Certq__AltName *alt = &san->items[san->issue.n_san];

	assert_non_null(colon);
	if (text_equal(cc_view_part(item, 0, word), "sid")) {
		san->issue.sid_form = CERTQ__SID_FORM__SID_URI;
		san->holder.sid = codec_bytes(value);
		return;
	}
	assert_true(san->issue.n_san < ITEMS_MAX);
	certq__alt_name__init(alt);
	alt->type = alt_type(cc_view_part(item, 0, word));
	assert_int_not_equal(alt->type, CERTQ__ALT_TYPE__ALT_UNSPECIFIED);
	alt->value = codec_bytes(value);
	san->list[san->issue.n_san++] = alt;
}

static void read_san(cc_view input, struct san *ret)
{
	*ret = (struct san){0};
	certq__issue__init(&ret->issue);
	certq__holder__init(&ret->holder);
	ret->issue.holder = &ret->holder;
	ret->issue.san = ret->list;
	for (size_t start = 0; start < input.size;) {
		cc_view rest = cc_view_part(input, start, input.size - start);
		const uint8_t *bar = memmem(rest.data, rest.size, " | ", 3);
		size_t size = bar ? (size_t)(bar - rest.data) : rest.size;

		add_item(ret, cc_view_part(rest, 0, size));
		start += size + (bar ? 3 : 0);
	}
}

static cc_err make_san(cc_view input, cc_blob *ret)
{
	struct san san;
	GENERAL_NAMES *names = NULL;
	unsigned char *der = NULL;
	int size;
	cc_err err = CC_OK;

	read_san(input, &san);
	TRY(names_san(&san.issue, &names));
	size = i2d_GENERAL_NAMES(names, &der);
	assert_true(size > 0);
	*ret = cc_blob_copy(cc_view_of(der, (size_t)size));
out:
	OPENSSL_free(der);
	GENERAL_NAMES_free(names);
	return err;
}

/* The value of an extension, which is not critical. */
static void take_value(X509_EXTENSION *extension, const char *oid, cc_blob *ret)
{
	const ASN1_OCTET_STRING *data = X509_EXTENSION_get_data(extension);
	char found[64];

	OBJ_obj2txt(found, sizeof(found), X509_EXTENSION_get_object(extension), 1);
	assert_string_equal(found, oid);
	assert_int_equal(X509_EXTENSION_get_critical(extension), 0);
	*ret = cc_blob_copy(
		cc_view_of(ASN1_STRING_get0_data(data), (size_t)ASN1_STRING_length(data)));
	X509_EXTENSION_free(extension);
}

static cc_err make_sid(cc_view input, cc_blob *ret)
{
	X509_EXTENSION *extension = NULL;
	cc_err err = names_sid_extension(input, &extension);

	if (err == CC_OK)
		take_value(extension, "1.3.6.1.4.1.311.25.2", ret);
	return err;
}

static cc_err make_template_name(cc_view input, cc_blob *ret)
{
	X509_EXTENSION *extension = NULL;
	cc_err err = names_template_name(input, &extension);

	if (err == CC_OK)
		take_value(extension, "1.3.6.1.4.1.311.20.2", ret);
	return err;
}

static int64_t version(const char *word)
{
	uint64_t number = 0;

	if (word == NULL || strcmp(word, "-") == 0)
		return -1;
	assert_int_equal(text_to_u64(cc_view_text(word), 0, INT64_MAX, &number), CC_OK);
	return (int64_t)number;
}

/* "OID [major|- [minor]]" */
static cc_err make_template_id(cc_view input, cc_blob *ret)
{
	char *text = cc_strndup(input), *rest = text;
	struct names_template t = {.oid = cc_view_text(strsep(&rest, " "))};
	X509_EXTENSION *extension = NULL;
	cc_err err;

	t.major = version(strsep(&rest, " "));
	t.minor = version(strsep(&rest, " "));
	err = names_template_id(&t, &extension);
	if (err == CC_OK)
		take_value(extension, "1.3.6.1.4.1.311.21.7", ret);
	free(text);
	return err;
}

/* As they stand in a request. */
static cc_err make_smime(cc_view input, cc_blob *ret)
{
	struct san job;
	struct csr_request request = {.issue = &job.issue};
	STACK_OF(X509_EXTENSION) *list = NULL;
	EVP_PKEY *key = NULL;
	X509_REQ *req = NULL;
	cc_blob der = CC_BLOB_NONE;
	const uint8_t *at;
	cc_err err = CC_OK;

	read_san(input, &job);
	job.issue.subject = codec_text("CN=Alice");
	job.issue.smime_capabilities = true;
	TRY(keygen_make(CERTQ__KEY_TYPE__KEY_EC_P256, &key));
	TRY(csr_make(key, &request, &der));
	at = der.data;
	req = d2i_X509_REQ(NULL, &at, (long)der.size);
	list = X509_REQ_get_extensions(req);
	assert_int_equal(sk_X509_EXTENSION_num(list), 1);
	take_value(sk_X509_EXTENSION_pop(list), "1.2.840.113549.1.9.15", ret);
out:
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
	cc_blob_free(&der);
	return err;
}

/* ---- the kinds of rows ---- */

static void every_subject_becomes_its_der_or_is_refused_in_its_words(void **state)
{
	(void)state;
	run("subject", 180, make_subject);
}

static void every_alternative_name_becomes_its_der_or_is_refused_in_its_words(void **state)
{
	(void)state;
	run("san", 70, make_san);
}

static void every_sid_becomes_its_extension_or_is_refused_in_its_words(void **state)
{
	(void)state;
	run("sid", 13, make_sid);
}

static void every_template_becomes_its_extension_or_is_refused_in_its_words(void **state)
{
	(void)state;
	run("template-name", 7, make_template_name);
	run("template-id", 9, make_template_id);
}

static void smime_capabilities_are_the_modern_ones(void **state)
{
	(void)state;
	run("smime", 1, make_smime);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_subject_becomes_its_der_or_is_refused_in_its_words),
		cmocka_unit_test(every_alternative_name_becomes_its_der_or_is_refused_in_its_words),
		cmocka_unit_test(every_sid_becomes_its_extension_or_is_refused_in_its_words),
		cmocka_unit_test(every_template_becomes_its_extension_or_is_refused_in_its_words),
		cmocka_unit_test(smime_capabilities_are_the_modern_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
