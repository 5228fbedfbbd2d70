/*
 * Jobs: what is taken, and each way in which one is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "proto/codec.h"
#include "proto/job.h"
#include "tests/support/fixture_jobs.h"
#include <stdlib.h>
#include <string.h>

#define DAY 86400

struct rig {
	struct fixture_tenant tenant;
	Certq__SignerStatement *signer;
	EVP_PKEY *device;
	cc_blob spki;
	struct fixture_job job;
	int64_t now_s;
};

static int rig_open(void **state)
{
	struct rig *rig = (struct rig *)cc_alloc(sizeof(*rig));

	rig->now_s = clock_realtime_s();
	fixture_tenant_make(&rig->tenant, "contoso");
	rig->device = fixture_key("ec-p256");
	rig->spki = fixture_spki(rig->device);
	assert_int_equal(
		signer_verify(cc_blob_view(&rig->tenant.root_spki), cc_view_text("contoso"),
			rig->tenant.statement, rig->now_s, &rig->signer),
		CC_OK);
	fixture_issue(&rig->job, &rig->tenant, "key-1", "corp-user", cc_blob_view(&rig->spki));
	*state = rig;
	return 0;
}

static int rig_close(void **state)
{
	struct rig *rig = *state;

	codec_free(rig->signer);
	cc_blob_free(&rig->spki);
	EVP_PKEY_free(rig->device);
	fixture_tenant_clear(&rig->tenant);
	free(rig);
	return 0;
}

/* Sign the rig's job as it stands and judge it `later_s` seconds from now. */
static cc_err judge_later(struct rig *rig, int64_t later_s)
{
	uint8_t id[JOB_ID_SIZE], expected[JOB_ID_SIZE];
	Certq__SignedDocument *document = fixture_sign(&rig->tenant, &rig->job, expected);
	Certq__JobDocument *job = NULL;
	cc_err err = job_verify(rig->signer, document, rig->now_s + later_s, &job, id);

	if (err == CC_OK)
		assert_memory_equal(id, expected, JOB_ID_SIZE);
	else
		assert_null(job);
	codec_free(job);
	codec_free(document);
	return err;
}

static cc_err judge(struct rig *rig)
{
	return judge_later(rig, 0);
}

static void with_rewrap(struct rig *rig)
{
	static const uint8_t key_id[SHA256_SIZE] = {7};

	fixture_rewrap(&rig->job, &rig->tenant, "key-2", cc_view_text("the pfx"),
		cc_blob_view(&rig->spki));
	fixture_rewrap_add(&rig->job, cc_view_of(key_id, SHA256_SIZE), cc_view_text("encrypted"));
}

static void with_revoke(struct rig *rig)
{
	fixture_revoke(&rig->job, &rig->tenant, "key-3", "corp-user");
	if (rig->job.revoke.issuer.len == 0)
		rig->job.revoke.issuer = codec_text("0x");
	if (rig->job.revoke.serial.len == 0)
		rig->job.revoke.serial = codec_text("1");
}

/* ---- jobs ---- */

static void a_job_of_each_kind_is_taken(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(judge(rig), CC_OK);
	assert_string_equal(job_kind_name(&rig->job.doc), "issue");
	with_rewrap(rig);
	assert_int_equal(judge(rig), CC_OK);
	assert_string_equal(job_kind_name(&rig->job.doc), "rewrap");
	with_revoke(rig);
	assert_int_equal(judge(rig), CC_OK);
	assert_string_equal(job_kind_name(&rig->job.doc), "revoke");
	fixture_chain(&rig->job, &rig->tenant, "key-4", "corp-user");
	assert_int_equal(judge(rig), CC_OK);
	assert_string_equal(job_kind_name(&rig->job.doc), "chain");
}

static void a_job_without_a_kind_is_malformed(void **state)
{
	struct rig *rig = *state;

	rig->job.doc.kind_case = CERTQ__JOB_DOCUMENT__KIND__NOT_SET;
	assert_int_equal(judge(rig), CC_MALFORMED);
	assert_string_equal(job_kind_name(&rig->job.doc), "unknown");
}

static void another_version_is_refused(void **state)
{
	struct rig *rig = *state;

	rig->job.doc.version = 2;
	assert_int_equal(judge(rig), CC_VERSION);
}

static void a_job_of_another_tenant_is_refused(void **state)
{
	struct rig *rig = *state;

	rig->job.doc.tenant = codec_text("fabrikam");
	assert_int_equal(judge(rig), CC_WRONG_TENANT);
}

static void a_job_is_judged_by_its_times(void **state)
{
	struct rig *rig = *state;

	rig->job.doc.not_before_s = rig->now_s;
	rig->job.doc.not_after_s = rig->now_s + 3600;
	assert_int_equal(judge_later(rig, -301), CC_NOT_YET_VALID);
	assert_int_equal(judge_later(rig, -300), CC_OK);
	assert_int_equal(judge_later(rig, 3599), CC_OK);
	assert_int_equal(judge_later(rig, 3600), CC_EXPIRED);
}

static void a_lifetime_is_positive_and_at_most_seven_days(void **state)
{
	struct rig *rig = *state;

	rig->job.doc.not_before_s = rig->now_s - 60;
	rig->job.doc.not_after_s = rig->now_s - 60 + 7 * DAY;
	assert_int_equal(judge(rig), CC_OK);
	rig->job.doc.not_after_s++;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.doc.not_after_s = rig->job.doc.not_before_s;
	assert_int_equal(judge(rig), CC_MALFORMED);
}

static void times_at_the_ends_of_the_range_do_not_overflow(void **state)
{
	struct rig *rig = *state;

	rig->job.doc.not_before_s = INT64_MIN;
	rig->job.doc.not_after_s = INT64_MAX;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.doc.not_before_s = INT64_MAX - 1;
	assert_int_equal(judge(rig), CC_NOT_YET_VALID);
}

static void a_kind_that_the_signer_may_not_sign_is_denied(void **state)
{
	struct rig *rig = *state;

	rig->signer->issue = 0;
	assert_int_equal(judge(rig), CC_DENIED);
	with_rewrap(rig);
	rig->signer->rewrap = 0;
	assert_int_equal(judge(rig), CC_DENIED);
	with_revoke(rig);
	rig->signer->revoke = 0;
	assert_int_equal(judge(rig), CC_DENIED);
	fixture_chain(&rig->job, &rig->tenant, "key-4", "corp-user");
	rig->signer->chain = 0;
	assert_int_equal(judge(rig), CC_DENIED);
}

static void an_idempotency_key_is_a_token_of_1_to_128(void **state)
{
	struct rig *rig = *state;
	char text[130] = {0};

	memset(text, 'k', 129);
	rig->job.doc.idempotency_key = codec_text(text);
	assert_int_equal(judge(rig), CC_MALFORMED);
	text[128] = 0;
	rig->job.doc.idempotency_key = codec_text(text);
	assert_int_equal(judge(rig), CC_OK);
	rig->job.doc.idempotency_key = codec_text("");
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.doc.idempotency_key = codec_text("with space");
	assert_int_equal(judge(rig), CC_MALFORMED);
}

static void unclean_text_is_malformed_wherever_it_stands(void **state)
{
	static const char *const unclean[] = {"a\nb", "a\177b", "\xff", "\xc0\x80", "\xed\xa0\x80"};
	struct rig *rig = *state;
	ProtobufCBinaryData *const places[] = {&rig->job.doc.audience, &rig->job.doc.correlation_id,
		&rig->job.holder.user_id, &rig->job.holder.upn, &rig->job.holder.email,
		&rig->job.holder.sid, &rig->job.holder.device_id, &rig->job.issue.ca_profile,
		&rig->job.issue.subject, &rig->job.issue.template_, &rig->job.san[0].value};

	for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++) {
		ProtobufCBinaryData saved = *places[p];

		for (size_t u = 0; u < sizeof(unclean) / sizeof(unclean[0]); u++) {
			*places[p] = codec_text(unclean[u]);
			assert_int_equal(judge(rig), CC_MALFORMED);
		}
		*places[p] = codec_bytes(cc_view_of("a\0b", 3));
		assert_int_equal(judge(rig), CC_MALFORMED);
		*places[p] = saved;
	}
	assert_int_equal(judge(rig), CC_OK);
}

static void lengths_and_counts_have_limits(void **state)
{
	struct rig *rig = *state;
	cc_blob text = cc_blob_new(4097);
	Certq__AltName *many[65];

	memset(text.data, 'x', text.size);
	rig->job.issue.subject = codec_bytes(cc_view_of(text.data, 4096));
	assert_int_equal(judge(rig), CC_OK);
	rig->job.issue.subject = codec_bytes(cc_view_of(text.data, 4097));
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.issue.subject = codec_text("CN=a");
	rig->job.san[0].value = codec_bytes(cc_view_of(text.data, 1025));
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.san[0].value = codec_text("a@contoso.com");
	for (size_t i = 0; i < 65; i++)
		many[i] = &rig->job.san[0];
	rig->job.issue.san = many;
	rig->job.issue.n_san = 64;
	assert_int_equal(judge(rig), CC_OK);
	rig->job.issue.n_san = 65;
	assert_int_equal(judge(rig), CC_MALFORMED);
	cc_blob_free(&text);
}

static void at_most_32_ekus_in_dotted_form(void **state)
{
	struct rig *rig = *state;
	ProtobufCBinaryData eku[33];

	for (size_t i = 0; i < 33; i++)
		eku[i] = codec_text("1.3.6.1.5.5.7.3.2");
	rig->job.issue.eku = eku;
	rig->job.issue.n_eku = 32;
	assert_int_equal(judge(rig), CC_OK);
	rig->job.issue.n_eku = 33;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.issue.n_eku = 1;
	eku[0] = codec_text("clientAuth");
	assert_int_equal(judge(rig), CC_MALFORMED);
}

static void an_issue_needs_its_parts(void **state)
{
	struct rig *rig = *state;

	rig->job.issue.key_type = CERTQ__KEY_TYPE__KEY_UNSPECIFIED;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.issue.key_type = CERTQ__KEY_TYPE__KEY_EC_P256;
	rig->job.issue.key_usage = 1u << 9;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.issue.key_usage = 0;
	rig->job.issue.renew_percent = 100;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.issue.renew_percent = 0;
	rig->job.issue.sid_form = CERTQ__SID_FORM__SID_EXTENSION;
	rig->job.holder.sid = codec_text("");
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.issue.sid_form = CERTQ__SID_FORM__SID_NONE;
	rig->job.san[0].type = CERTQ__ALT_TYPE__ALT_UNSPECIFIED;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.issue.n_san = 0;
	rig->job.issue.subject = codec_text("");
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.issue.subject = codec_text("CN=a");
	assert_int_equal(judge(rig), CC_OK);
	rig->job.issue.holder = NULL;
	assert_int_equal(judge(rig), CC_MALFORMED);
}

/* Two pairs of braces are what counts: a name may have a brace. */
static void a_variable_that_was_not_filled_in_is_malformed(void **state)
{
	struct rig *rig = *state;

	rig->job.issue.subject = codec_text("CN={{UserName}}");
	assert_int_equal(judge(rig), CC_MALFORMED);
	assert_string_equal(cc_err_detail(CC_MALFORMED),
		"job: subject has a variable in {{ }} that was not replaced by its value");
	rig->job.issue.subject = codec_text("CN={{}}");
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.issue.subject = codec_text("CN={a} {b}, O=}}{{");
	assert_int_equal(judge(rig), CC_OK);
	rig->job.issue.subject = codec_text("CN=Alice");
	rig->job.san[0].value = codec_text("{{mail}}@contoso.com");
	assert_int_equal(judge(rig), CC_MALFORMED);
	assert_string_equal(cc_err_detail(CC_MALFORMED),
		"job: san has a variable in {{ }} that was not replaced by its value");
}

static void an_unknown_enum_value_is_malformed(void **state)
{
	struct rig *rig = *state;

	rig->job.issue.key_type = (Certq__KeyType)6;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.issue.key_type = CERTQ__KEY_TYPE__KEY_RSA_2048;
	rig->job.device_key.seal = (Certq__Seal)77;
	assert_int_equal(judge(rig), CC_MALFORMED);
}

static void a_device_key_is_exactly_one_of_spki_and_chain(void **state)
{
	struct rig *rig = *state;
	ProtobufCBinaryData chain[11];

	for (size_t i = 0; i < 11; i++)
		chain[i] = codec_text("certificate");
	rig->job.device_key.certificate_chain = chain;
	rig->job.device_key.n_certificate_chain = 1;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.device_key.spki = codec_text("");
	assert_int_equal(judge(rig), CC_OK);
	rig->job.device_key.n_certificate_chain = 11;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.device_key.n_certificate_chain = 0;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.issue.device_key = NULL;
	assert_int_equal(judge(rig), CC_MALFORMED);
}

static void a_rewrap_needs_its_parts(void **state)
{
	struct rig *rig = *state;
	Certq__PasswordCopy *many[17];

	with_rewrap(rig);
	rig->job.rewrap.padding = CERTQ__PADDING__PADDING_UNSPECIFIED;
	assert_int_equal(judge(rig), CC_MALFORMED);
	with_rewrap(rig);
	rig->job.rewrap.binding = 2;
	assert_int_equal(judge(rig), CC_MALFORMED);
	with_rewrap(rig);
	rig->job.rewrap.pfx_sha256.len = 31;
	assert_int_equal(judge(rig), CC_MALFORMED);
	with_rewrap(rig);
	rig->job.copies[0].key_id.len = 0;
	assert_int_equal(judge(rig), CC_MALFORMED);
	with_rewrap(rig);
	rig->job.rewrap.n_passwords = 0;
	assert_int_equal(judge(rig), CC_MALFORMED);
	with_rewrap(rig);
	rig->job.holder.user_id = codec_text("");
	assert_int_equal(judge(rig), CC_MALFORMED);
	with_rewrap(rig);
	for (size_t i = 0; i < 17; i++)
		many[i] = &rig->job.copies[0];
	rig->job.rewrap.passwords = many;
	rig->job.rewrap.n_passwords = 16;
	assert_int_equal(judge(rig), CC_OK);
	rig->job.rewrap.binding = 0;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.rewrap.binding = 1;
	rig->job.rewrap.n_passwords = 17;
	assert_int_equal(judge(rig), CC_MALFORMED);
}

static void a_revocation_needs_issuer_serial_and_a_reason_that_exists(void **state)
{
	struct rig *rig = *state;

	with_revoke(rig);
	rig->job.revoke.reason = 7;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.revoke.reason = 8;
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.revoke.reason = 10;
	assert_int_equal(judge(rig), CC_OK);
	rig->job.revoke.serial = codec_text("0123456789012345678901");
	assert_int_equal(judge(rig), CC_MALFORMED);
	rig->job.revoke.serial = codec_text("");
	assert_int_equal(judge(rig), CC_MALFORMED);
}

/* Another form of the same number would not be found in the issued list. */
static void a_serial_has_its_shortest_form(void **state)
{
	static const struct {
		uint8_t octets[3];
		size_t size;
		cc_err expected;
	} cases[] = {{{0x00}, 1, CC_OK}, {{0x00, 0x80}, 2, CC_OK}, {{0xff, 0x7f}, 2, CC_OK},
		{{0x00, 0x7f}, 2, CC_MALFORMED}, {{0x00, 0x00, 0x80}, 3, CC_MALFORMED},
		{{0xff, 0x80}, 2, CC_MALFORMED}};
	struct rig *rig = *state;

	with_revoke(rig);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		rig->job.revoke.serial = codec_bytes(cc_view_of(cases[i].octets, cases[i].size));
		assert_int_equal(judge(rig), cases[i].expected);
	}
}

static void a_signature_by_another_key_or_over_another_type_is_refused(void **state)
{
	struct rig *rig = *state;
	Certq__SignedDocument *foreign = fixture_sign_with(rig->tenant.root, DOC_JOB, &rig->job);
	Certq__SignedDocument *confused =
		fixture_sign_with(rig->tenant.signer, DOC_ORDER, &rig->job);
	Certq__JobDocument *job = NULL;
	uint8_t id[JOB_ID_SIZE];

	assert_int_equal(job_verify(rig->signer, foreign, rig->now_s, &job, id), CC_UNKNOWN_KEY);
	assert_int_equal(job_verify(rig->signer, confused, rig->now_s, &job, id), CC_BAD_SIGNATURE);
	assert_int_equal(job_verify(rig->signer, NULL, rig->now_s, &job, id), CC_MALFORMED);
	codec_free(foreign);
	codec_free(confused);
}

/* A body that protobuf-c would read as another job than a second reader. */
static cc_err judge_body(struct rig *rig, cc_view more)
{
	cc_blob body = codec_pack(&rig->job.doc);
	Certq__SignedDocument *document = NULL;
	Certq__JobDocument *job = NULL;
	uint8_t id[JOB_ID_SIZE];
	cc_err err;

	cc_blob_append(&body, more);
	assert_int_equal(
		dsse_sign(rig->tenant.signer, DOC_JOB, cc_blob_view(&body), &document), CC_OK);
	err = job_verify(rig->signer, document, rig->now_s, &job, id);
	codec_free(job);
	codec_free(document);
	cc_blob_free(&body);
	return err;
}

static void a_signed_body_that_two_readers_may_read_differently_is_refused(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(judge_body(rig, CC_VIEW_NONE), CC_OK);
	/* the tenant again; a second kind; an unknown field; a stray byte */
	assert_int_equal(judge_body(rig, cc_view_of("\x12\x01x", 3)), CC_MALFORMED);
	assert_int_equal(judge_body(rig, cc_view_of("\x6a\x03\x0a\x01p", 5)), CC_MALFORMED);
	assert_int_equal(judge_body(rig, cc_view_of("\xa0\x06\x01", 3)), CC_MALFORMED);
	assert_int_equal(judge_body(rig, cc_view_of("\x00", 1)), CC_MALFORMED);
}

static void an_audience_is_empty_the_connector_or_one_of_its_groups(void **state)
{
	const cc_view groups[] = {cc_view_text("hq"), cc_view_text("lab")};
	struct rig *rig = *state;
	Certq__JobDocument *job = &rig->job.doc;

	job->audience = codec_text("");
	assert_true(job_audience_fits(job, cc_view_text("hq-1"), groups, 2));
	job->audience = codec_text("hq-1");
	assert_true(job_audience_fits(job, cc_view_text("hq-1"), groups, 0));
	job->audience = codec_text("lab");
	assert_true(job_audience_fits(job, cc_view_text("hq-1"), groups, 2));
	job->audience = codec_text("hq-2");
	assert_false(job_audience_fits(job, cc_view_text("hq-1"), groups, 2));
}

static void a_courier_may_peek_without_verifying(void **state)
{
	struct rig *rig = *state;
	cc_blob body = codec_pack(&rig->job.doc);
	Certq__JobDocument *job = NULL;

	assert_int_equal(job_peek(cc_blob_view(&body), &job), CC_OK);
	assert_int_equal(job->kind_case, CERTQ__JOB_DOCUMENT__KIND_ISSUE);
	codec_free(job);
	cc_blob_free(&body);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_open, rig_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(a_job_of_each_kind_is_taken),
		WITH_RIG(a_job_without_a_kind_is_malformed),
		WITH_RIG(another_version_is_refused),
		WITH_RIG(a_job_of_another_tenant_is_refused),
		WITH_RIG(a_job_is_judged_by_its_times),
		WITH_RIG(a_lifetime_is_positive_and_at_most_seven_days),
		WITH_RIG(times_at_the_ends_of_the_range_do_not_overflow),
		WITH_RIG(a_kind_that_the_signer_may_not_sign_is_denied),
		WITH_RIG(an_idempotency_key_is_a_token_of_1_to_128),
		WITH_RIG(unclean_text_is_malformed_wherever_it_stands),
		WITH_RIG(lengths_and_counts_have_limits),
		WITH_RIG(at_most_32_ekus_in_dotted_form),
		WITH_RIG(an_issue_needs_its_parts),
		WITH_RIG(a_variable_that_was_not_filled_in_is_malformed),
		WITH_RIG(an_unknown_enum_value_is_malformed),
		WITH_RIG(a_device_key_is_exactly_one_of_spki_and_chain),
		WITH_RIG(a_rewrap_needs_its_parts),
		WITH_RIG(a_revocation_needs_issuer_serial_and_a_reason_that_exists),
		WITH_RIG(a_serial_has_its_shortest_form),
		WITH_RIG(a_signature_by_another_key_or_over_another_type_is_refused),
		WITH_RIG(a_signed_body_that_two_readers_may_read_differently_is_refused),
		WITH_RIG(an_audience_is_empty_the_connector_or_one_of_its_groups),
		WITH_RIG(a_courier_may_peek_without_verifying),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
