/*
 * Codec: what is decoded, what is refused, in messages and in signed documents.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "certq/v1/enroll.pb-c.h"
#include "certq/v1/envelope.pb-c.h"
#include "certq/v1/job.pb-c.h"
#include "proto/codec.h"
#include "role/v1/role.pb-c.h"
#include <stdlib.h>
#include <string.h>

#define JOB_TYPE (&certq__job_document__descriptor)

static cc_err decode_document(const void *bytes, size_t size)
{
	Certq__JobDocument *job = NULL;
	cc_err err = codec_decode_document(JOB_TYPE, cc_view_of(bytes, size), 4096, &job);

	codec_free(job);
	return err;
}

static cc_err decode_message(const void *bytes, size_t size)
{
	Certq__JobDocument *job = NULL;
	cc_err err = codec_decode(JOB_TYPE, cc_view_of(bytes, size), 4096, &job);

	codec_free(job);
	return err;
}

#define DOCUMENT(...)                                                                              \
	decode_document((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define MESSAGE(...)                                                                               \
	decode_message((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void a_document_that_is_in_order_decodes(void **state)
{
	const uint8_t bytes[] = {0x08, 1, 0x12, 2, 'a', 'b', 0x6a, 3, 0x0a, 1, 'p'};
	Certq__JobDocument *job = NULL;

	(void)state;
	assert_int_equal(
		codec_decode_document(JOB_TYPE, cc_view_of(bytes, sizeof(bytes)), 100, &job),
		CC_OK);
	assert_int_equal(job->version, 1);
	assert_memory_equal(job->tenant.data, "ab", 2);
	assert_int_equal(job->kind_case, CERTQ__JOB_DOCUMENT__KIND_CHAIN);
	assert_memory_equal(job->chain->ca_profile.data, "p", 1);
	codec_free(job);
}

static void an_empty_document_is_the_message_of_all_defaults(void **state)
{
	Certq__JobDocument *job = NULL;

	(void)state;
	assert_int_equal(codec_decode_document(JOB_TYPE, CC_VIEW_NONE, 0, &job), CC_OK);
	assert_int_equal(job->version, 0);
	codec_free(job);
}

static void an_input_over_the_limit_is_too_large(void **state)
{
	const uint8_t bytes[] = {0x08, 1};
	Certq__JobDocument *job = NULL;

	(void)state;
	assert_int_equal(codec_decode(JOB_TYPE, cc_view_of(bytes, 2), 1, &job), CC_TOO_LARGE);
	assert_null(job);
}

static void a_singular_field_twice_is_refused_in_a_document_only(void **state)
{
	(void)state;
	assert_int_equal(DOCUMENT(0x08, 1, 0x08, 2), CC_MALFORMED);
	assert_int_equal(MESSAGE(0x08, 1, 0x08, 2), CC_OK);
}

static void a_singular_field_twice_inside_a_nested_message_is_refused(void **state)
{
	(void)state;
	assert_int_equal(DOCUMENT(0x6a, 6, 0x0a, 1, 'p', 0x0a, 1, 'q'), CC_MALFORMED);
}

static void two_members_of_one_oneof_are_refused_in_a_document(void **state)
{
	(void)state;
	assert_int_equal(DOCUMENT(0x62, 0, 0x6a, 0), CC_MALFORMED);
	assert_int_equal(DOCUMENT(0x6a, 0, 0x6a, 0), CC_MALFORMED);
	assert_int_equal(MESSAGE(0x62, 0, 0x6a, 0), CC_OK);
}

static void an_unknown_field_is_refused_in_a_document_only(void **state)
{
	(void)state;
	assert_int_equal(DOCUMENT(0x08, 1, 0xa0, 0x06, 1), CC_MALFORMED);
	assert_int_equal(MESSAGE(0x08, 1, 0xa0, 0x06, 1), CC_OK);
	assert_int_equal(MESSAGE(0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8), CC_OK);
	assert_int_equal(MESSAGE(0xa5, 0x06, 1, 2, 3, 4), CC_OK);
	assert_int_equal(MESSAGE(0xa2, 0x06, 2, 3, 4), CC_OK);
}

static void an_unknown_enum_value_is_refused_in_a_document(void **state)
{
	(void)state;
	assert_int_equal(DOCUMENT(0x52, 2, 0x20, 4), CC_OK);
	assert_int_equal(DOCUMENT(0x52, 2, 0x20, 9), CC_MALFORMED);
	/* minus one, in ten bytes */
	assert_int_equal(DOCUMENT(0x52, 11, 0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
				 0xff, 0x01),
		CC_MALFORMED);
}

static void a_padded_number_is_refused_in_a_document(void **state)
{
	(void)state;
	assert_int_equal(DOCUMENT(0x08, 0x81, 0x00), CC_MALFORMED);
	assert_int_equal(DOCUMENT(0x88, 0x00, 0x01), CC_MALFORMED);
	assert_int_equal(DOCUMENT(0x12, 0x81, 0x00, 'a'), CC_MALFORMED);
}

static void a_default_that_is_written_out_is_refused_in_a_document(void **state)
{
	(void)state;
	assert_int_equal(DOCUMENT(0x08, 0), CC_MALFORMED);
	assert_int_equal(DOCUMENT(0x12, 0), CC_MALFORMED);
}

static void fields_in_another_order_are_refused_in_a_document(void **state)
{
	(void)state;
	assert_int_equal(DOCUMENT(0x12, 1, 'a', 0x08, 1), CC_MALFORMED);
	assert_int_equal(MESSAGE(0x12, 1, 'a', 0x08, 1), CC_OK);
}

static void a_number_beyond_its_field_is_refused_in_a_document(void **state)
{
	(void)state;
	assert_int_equal(DOCUMENT(0x08, 0x81, 0x80, 0x80, 0x80, 0x10), CC_MALFORMED);
}

static void another_wire_type_is_refused_everywhere(void **state)
{
	(void)state;
	assert_int_equal(DOCUMENT(0x0a, 1, 1), CC_MALFORMED);
	assert_int_equal(MESSAGE(0x0a, 1, 1), CC_MALFORMED);
	assert_int_equal(MESSAGE(0x10, 1), CC_MALFORMED);
	assert_int_equal(MESSAGE(0x0b), CC_MALFORMED);
	assert_int_equal(MESSAGE(0x0f), CC_MALFORMED);
}

static void cut_short_anywhere_is_refused(void **state)
{
	const uint8_t bytes[] = {0x08, 1, 0x12, 2, 'a', 'b', 0x6a, 3, 0x0a, 1, 'p'};

	(void)state;
	for (size_t size = 1; size < sizeof(bytes); size++) {
		if (size == 2 || size == 6)
			continue; /* ends of fields */
		assert_int_equal(decode_document(bytes, size), CC_MALFORMED);
		assert_int_equal(decode_message(bytes, size), CC_MALFORMED);
	}
}

static void bytes_after_the_message_are_refused(void **state)
{
	(void)state;
	assert_int_equal(DOCUMENT(0x08, 1, 0), CC_MALFORMED);
	assert_int_equal(MESSAGE(0x08, 1, 0), CC_MALFORMED);
	assert_int_equal(MESSAGE(0x08, 1, 0xff), CC_MALFORMED);
}

static void a_length_beyond_memory_is_refused(void **state)
{
	(void)state;
	assert_int_equal(MESSAGE(0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
		CC_MALFORMED);
	assert_int_equal(MESSAGE(0x12, 0xff, 0xff, 0xff, 0xff, 0x0f), CC_MALFORMED);
	assert_int_equal(MESSAGE(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02),
		CC_MALFORMED);
}

static void a_document_of_one_type_may_decode_as_another_only_if_every_field_fits(void **state)
{
	const uint8_t chain[] = {0x0a, 1, 'p'}; /* a Chain, and a SignedDocument with a body */
	Certq__SignerStatement *statement = NULL;

	(void)state;
	assert_int_equal(codec_decode_document(&certq__signer_statement__descriptor,
				 cc_view_of(chain, sizeof(chain)), 100, &statement),
		CC_MALFORMED);
	assert_null(statement);
}

static void a_repeated_field_has_a_limit_in_both_decoders(void **state)
{
	uint8_t bytes[2 * (CODEC_REPEATED_MAX + 1)];
	Certq__ResultDocument *result = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i += 2) {
		bytes[i] = 0x62; /* chain, empty */
		bytes[i + 1] = 0;
	}
	assert_int_equal(codec_decode(&certq__result_document__descriptor,
				 cc_view_of(bytes, sizeof(bytes)), sizeof(bytes), &result),
		CC_TOO_LARGE);
	assert_int_equal(codec_decode_document(&certq__result_document__descriptor,
				 cc_view_of(bytes, sizeof(bytes)), sizeof(bytes), &result),
		CC_TOO_LARGE);
	assert_int_equal(codec_decode_document(&certq__result_document__descriptor,
				 cc_view_of(bytes, sizeof(bytes) - 2), sizeof(bytes), &result),
		CC_OK);
	assert_int_equal(result->n_chain, CODEC_REPEATED_MAX);
	codec_free(result);
}

static void a_packed_list_has_the_same_limit(void **state)
{
	uint8_t bytes[3 + CODEC_REPEATED_MAX + 1] = {0x0a, 0x81, 0x02};
	Role__RolePids *pids = NULL;

	(void)state;
	memset(bytes + 3, 1, CODEC_REPEATED_MAX + 1);
	assert_int_equal(codec_decode(&role__role_pids__descriptor,
				 cc_view_of(bytes, sizeof(bytes)), sizeof(bytes), &pids),
		CC_TOO_LARGE);
	bytes[1] = 0x80;
	assert_int_equal(codec_decode(&role__role_pids__descriptor,
				 cc_view_of(bytes, sizeof(bytes) - 1), sizeof(bytes), &pids),
		CC_OK);
	assert_int_equal(pids->n_pids, CODEC_REPEATED_MAX);
	codec_free(pids);
}

static void a_nul_in_a_c_string_is_refused(void **state)
{
	const uint8_t bytes[] = {0x0a, 3, 'a', 0, 'b'};
	Role__Option *option = NULL;

	(void)state;
	assert_int_equal(codec_decode(&role__option__descriptor, cc_view_of(bytes, sizeof(bytes)),
				 64, &option),
		CC_MALFORMED);
	assert_null(option);
}

static void a_nul_in_a_string_as_bytes_keeps_its_length(void **state)
{
	const uint8_t bytes[] = {0x12, 3, 'a', 0, 'b'};
	Certq__JobDocument *job = NULL;

	(void)state;
	assert_int_equal(
		codec_decode_document(JOB_TYPE, cc_view_of(bytes, sizeof(bytes)), 64, &job), CC_OK);
	assert_int_equal(job->tenant.len, 3);
	codec_free(job);
}

static void a_small_message_cannot_claim_much_memory(void **state)
{
	const size_t size = 400u * 1024u;
	uint8_t *bytes = malloc(size);
	Certq__JobDocument *job = NULL;

	(void)state;
	assert_non_null(bytes);
	for (size_t i = 0; i < size; i += 4) { /* unknown fields of no content */
		memcpy(bytes + i, "\xa0\x86\x01\x00", 4);
	}
	assert_int_equal(codec_decode(JOB_TYPE, cc_view_of(bytes, size), size, &job), CC_MALFORMED);
	assert_null(job);
	free(bytes);
}

static void what_is_packed_decodes_to_the_same(void **state)
{
	Certq__JobDocument job = CERTQ__JOB_DOCUMENT__INIT, *again = NULL;
	Certq__Chain chain = CERTQ__CHAIN__INIT;
	cc_blob packed;

	(void)state;
	job.version = 1;
	job.tenant = codec_text("contoso");
	job.not_after_s = 1795237200;
	job.kind_case = CERTQ__JOB_DOCUMENT__KIND_CHAIN;
	job.chain = &chain;
	chain.ca_profile = codec_text("corp-user");
	packed = codec_pack(&job);
	assert_int_equal(
		codec_decode_document(JOB_TYPE, cc_blob_view(&packed), 4096, &again), CC_OK);
	assert_int_equal(again->not_after_s, 1795237200);
	assert_true(cc_view_equal(codec_view(again->chain->ca_profile), cc_view_text("corp-user")));
	codec_free(again);
	cc_blob_free(&packed);
}

static void a_secret_message_decodes_and_is_freed(void **state)
{
	Certq__EnrolmentToken token = CERTQ__ENROLMENT_TOKEN__INIT, *again = NULL;
	cc_secret packed;

	(void)state;
	token.version = 1;
	token.secret = codec_text("a secret of some bytes");
	packed = codec_pack_secret(&token);
	assert_int_equal(codec_decode_secret(&certq__enrolment_token__descriptor,
				 cc_secret_view(&packed), 4096, &again),
		CC_OK);
	assert_true(cc_view_equal(codec_view(again->secret), codec_view(token.secret)));
	codec_free_secret(again);
	codec_free_secret(NULL);
	codec_free(NULL);
	cc_secret_free(&packed);
}

static void every_short_input_is_decoded_or_refused_cleanly(void **state)
{
	uint8_t bytes[3];

	(void)state;
	for (unsigned value = 0; value < 1u << 16; value++) {
		bytes[0] = (uint8_t)value;
		bytes[1] = (uint8_t)(value >> 8);
		bytes[2] = (uint8_t)(value >> 3);
		if (decode_document(bytes, 3) == CC_OK)
			assert_int_equal(decode_message(bytes, 3), CC_OK);
		(void)decode_message(bytes, 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_document_that_is_in_order_decodes),
		cmocka_unit_test(an_empty_document_is_the_message_of_all_defaults),
		cmocka_unit_test(an_input_over_the_limit_is_too_large),
		cmocka_unit_test(a_singular_field_twice_is_refused_in_a_document_only),
		cmocka_unit_test(a_singular_field_twice_inside_a_nested_message_is_refused),
		cmocka_unit_test(two_members_of_one_oneof_are_refused_in_a_document),
		cmocka_unit_test(an_unknown_field_is_refused_in_a_document_only),
		cmocka_unit_test(an_unknown_enum_value_is_refused_in_a_document),
		cmocka_unit_test(a_padded_number_is_refused_in_a_document),
		cmocka_unit_test(a_default_that_is_written_out_is_refused_in_a_document),
		cmocka_unit_test(fields_in_another_order_are_refused_in_a_document),
		cmocka_unit_test(a_number_beyond_its_field_is_refused_in_a_document),
		cmocka_unit_test(another_wire_type_is_refused_everywhere),
		cmocka_unit_test(cut_short_anywhere_is_refused),
		cmocka_unit_test(bytes_after_the_message_are_refused),
		cmocka_unit_test(a_length_beyond_memory_is_refused),
		cmocka_unit_test(
			a_document_of_one_type_may_decode_as_another_only_if_every_field_fits),
		cmocka_unit_test(a_repeated_field_has_a_limit_in_both_decoders),
		cmocka_unit_test(a_packed_list_has_the_same_limit),
		cmocka_unit_test(a_nul_in_a_c_string_is_refused),
		cmocka_unit_test(a_nul_in_a_string_as_bytes_keeps_its_length),
		cmocka_unit_test(a_small_message_cannot_claim_much_memory),
		cmocka_unit_test(what_is_packed_decodes_to_the_same),
		cmocka_unit_test(a_secret_message_decodes_and_is_freed),
		cmocka_unit_test(every_short_input_is_decoded_or_refused_cleanly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
