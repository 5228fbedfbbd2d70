/*
 * The golden vectors of proto/vectors against our own code: the bytes that protobuf-c makes of each job, the
 * signatures that OpenSSL makes, the ids, and the verdict on every one that must be refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "cloud-queue/job_json.h"
#include "proto/codec.h"
#include "proto/job.h"
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

static json_t *vectors;

static int load(void **state)
{
	json_error_t where;

	(void)state;
	vectors = json_load_file(
		TEST_DATA "/../../proto/vectors/jobs.json", JSON_REJECT_DUPLICATES, &where);
	if (!vectors)
		print_error("jobs.json:%d: %s\n", where.line, where.text);
	return vectors ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	json_decref(vectors);
	return 0;
}

static const char *text_at(const json_t *from, const char *key)
{
	const char *text = json_string_value(json_object_get(from, key));

	if (!text)
		fail_msg("%s is not there", key);
	return text;
}

static cc_blob bytes_at(const json_t *from, const char *key)
{
	cc_blob bytes = CC_BLOB_NONE;

	assert_int_equal(
		text_from_base64(cc_view_text(text_at(from, key)), 1u << 20, &bytes), CC_OK);
	return bytes;
}

static int64_t made_for(void)
{
	return json_integer_value(json_object_get(vectors, "made_for_s"));
}

/* ---- a signed document as it is submitted ---- */

struct submit {
	cc_blob body, key_id, signature;
	Certq__SignedDocument document;
};

static struct submit submit_of(const json_t *vector)
{
	const json_t *from = json_object_get(vector, "submit");
	const json_t *one = json_array_get(json_object_get(from, "signatures"), 0);
	struct submit s = {.body = bytes_at(from, "document"),
		.key_id = CC_BLOB_NONE,
		.signature = bytes_at(one, "signature"),
		.document = CERTQ__SIGNED_DOCUMENT__INIT};

	assert_int_equal(text_from_hex(cc_view_text(text_at(one, "key_id")), &s.key_id), CC_OK);
	s.document.body = codec_bytes(cc_blob_view(&s.body));
	s.document.key_id = codec_bytes(cc_blob_view(&s.key_id));
	s.document.signature = codec_bytes(cc_blob_view(&s.signature));
	return s;
}

static void submit_free(struct submit *s)
{
	cc_blob_free(&s->body);
	cc_blob_free(&s->key_id);
	cc_blob_free(&s->signature);
}

static EVP_PKEY *key_of(const char *signer)
{
	const json_t *from = json_object_get(json_object_get(vectors, "signers"), signer);
	cc_blob der = bytes_at(from, "private_key");
	const uint8_t *at = der.data;
	EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)der.size);

	assert_non_null(key);
	cc_blob_free(&der);
	return key;
}

/* The statement of this key; a key without one is judged by the first statement, which is not its own. */
static Certq__SignerStatement *statement_of(const char *signer)
{
	const json_t *list = json_object_get(vectors, "statements");
	const json_t *chosen = json_array_get(list, 0);
	cc_blob root = bytes_at(json_object_get(vectors, "job_root"), "spki");
	Certq__SignerStatement *statement = NULL;
	struct submit s;
	size_t i;
	json_t *one;

	json_array_foreach(list, i, one)
	{
		if (strcmp(text_at(one, "signer"), signer) == 0)
			chosen = one;
	}
	s = submit_of(chosen);
	assert_int_equal(
		signer_verify(cc_blob_view(&root), cc_view_text(text_at(vectors, "tenant")),
			&s.document, made_for(), &statement),
		CC_OK);
	submit_free(&s);
	cc_blob_free(&root);
	return statement;
}

static cc_err verdict_of(const json_t *vector, uint8_t ret_job_id[JOB_ID_SIZE])
{
	Certq__SignerStatement *statement = statement_of(text_at(vector, "signer"));
	struct submit s = submit_of(vector);
	Certq__JobDocument *job = NULL;
	cc_err err = job_verify(statement, &s.document, made_for(), &job, ret_job_id);

	codec_free(job);
	codec_free(statement);
	submit_free(&s);
	return err;
}

/* ---- tests ---- */

static void every_job_is_encoded_to_the_golden_bytes(void **state)
{
	const json_t *list = json_object_get(vectors, "jobs");
	size_t i;
	json_t *vector;

	(void)state;
	assert_true(json_array_size(list) >= 15);
	json_array_foreach(list, i, vector)
	{
		struct submit s = submit_of(vector);
		cc_blob made = CC_BLOB_NONE;

		assert_int_equal(job_json_pack(&certq__job_document__descriptor,
					 json_object_get(vector, "job"), &made),
			CC_OK);
		if (!cc_view_equal(cc_blob_view(&made), cc_blob_view(&s.body)))
			fail_msg("%s: other bytes", text_at(vector, "name"));
		cc_blob_free(&made);
		submit_free(&s);
	}
}

static void every_signer_makes_the_golden_signature(void **state)
{
	size_t i, same = 0;
	json_t *vector;

	(void)state;
	json_array_foreach(json_object_get(vectors, "jobs"), i, vector)
	{
		struct submit s = submit_of(vector);
		EVP_PKEY *key = key_of(text_at(vector, "signer"));
		Certq__SignedDocument *made = NULL;

		assert_int_equal(dsse_sign(key, text_at(vectors, "document_type"),
					 cc_blob_view(&s.body), &made),
			CC_OK);
		assert_true(cc_view_equal(codec_view(made->key_id), cc_blob_view(&s.key_id)));
		if (EVP_PKEY_is_a(key, "ED25519")) {
			assert_true(cc_view_equal(
				codec_view(made->signature), cc_blob_view(&s.signature)));
			same++;
		}
		codec_free(made);
		EVP_PKEY_free(key);
		submit_free(&s);
	}
	assert_true(same >= 10);
}

static void every_job_verifies_and_has_the_golden_id(void **state)
{
	size_t i;
	json_t *vector;

	(void)state;
	json_array_foreach(json_object_get(vectors, "jobs"), i, vector)
	{
		uint8_t id[JOB_ID_SIZE] = {0};
		char text[JOB_TEXT_SIZE];
		cc_err err = verdict_of(vector, id);

		if (err != CC_OK)
			fail_msg("%s: %s", text_at(vector, "name"), cc_err_detail(err));
		text_job_id(cc_view_of(id, sizeof(id)), text);
		assert_string_equal(text, text_at(vector, "job_id"));
	}
}

static void every_wrong_one_is_refused_with_its_code(void **state)
{
	const json_t *list = json_object_get(vectors, "refused");
	size_t i;
	json_t *vector;

	(void)state;
	assert_true(json_array_size(list) >= 50);
	json_array_foreach(list, i, vector)
	{
		uint8_t id[JOB_ID_SIZE];
		cc_err err = verdict_of(vector, id);

		if (strcmp(cc_err_name(err), text_at(vector, "verdict")) != 0)
			fail_msg("%s: %s instead of %s (%s)", text_at(vector, "name"),
				cc_err_name(err), text_at(vector, "verdict"), cc_err_detail(err));
	}
}

/* A document that is refused for anything but its signature has a good one: nothing hides behind it. */
static void the_wrong_ones_are_wrong_in_one_way_only(void **state)
{
	size_t i;
	json_t *vector;

	(void)state;
	json_array_foreach(json_object_get(vectors, "refused"), i, vector)
	{
		struct submit s = submit_of(vector);
		EVP_PKEY *key = key_of(text_at(vector, "signer"));
		cc_blob spki = CC_BLOB_NONE;

		assert_int_equal(dsse_spki(key, &spki), CC_OK);
		cc_err err = dsse_verify(
			cc_blob_view(&spki), text_at(vectors, "document_type"), &s.document);
		if ((err == CC_OK) != json_is_true(json_object_get(vector, "signature_valid")) ||
			(err != CC_OK) !=
				(strcmp(text_at(vector, "verdict"), "bad_signature") == 0))
			fail_msg("%s: %s", text_at(vector, "name"), cc_err_name(err));
		cc_blob_free(&spki);
		EVP_PKEY_free(key);
		submit_free(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_job_is_encoded_to_the_golden_bytes),
		cmocka_unit_test(every_signer_makes_the_golden_signature),
		cmocka_unit_test(every_job_verifies_and_has_the_golden_id),
		cmocka_unit_test(every_wrong_one_is_refused_with_its_code),
		cmocka_unit_test(the_wrong_ones_are_wrong_in_one_way_only),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
