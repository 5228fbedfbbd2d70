/*
 * Signer statements under the job root, and results under a connector's result key.
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

#define DAY 86400

struct rig {
	struct fixture_tenant tenant;
	int64_t now_s;
};

static int rig_open(void **state)
{
	struct rig *rig = (struct rig *)cc_alloc(sizeof(*rig));

	rig->now_s = clock_realtime_s();
	fixture_tenant_make(&rig->tenant, "contoso");
	*state = rig;
	return 0;
}

static int rig_close(void **state)
{
	struct rig *rig = *state;

	fixture_tenant_clear(&rig->tenant);
	free(rig);
	return 0;
}

/* ---- signers ---- */

static cc_err judge_statement(
	struct rig *rig, void (*change)(Certq__SignerStatement *), int64_t later_s)
{
	Certq__SignedDocument *document =
		fixture_statement(&rig->tenant, rig->tenant.root, rig->tenant.signer, change);
	Certq__SignerStatement *statement = NULL;
	cc_err err = signer_verify(cc_blob_view(&rig->tenant.root_spki), cc_view_text("contoso"),
		document, rig->now_s + later_s, &statement);

	codec_free(statement);
	codec_free(document);
	return err;
}

static void set_times(Certq__SignerStatement *s)
{
	s->not_after_s = s->not_before_s + 90 * DAY;
}

static void set_too_long(Certq__SignerStatement *s)
{
	s->not_after_s = s->not_before_s + 90 * DAY + 1;
}

static void set_backwards(Certq__SignerStatement *s)
{
	s->not_after_s = s->not_before_s;
}

static void set_other_tenant(Certq__SignerStatement *s)
{
	s->tenant = codec_text("fabrikam");
}

static void set_version(Certq__SignerStatement *s)
{
	s->version = 2;
}

static void set_bad_key(Certq__SignerStatement *s)
{
	s->spki.len--;
}

static void a_statement_is_taken_within_its_time(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(judge_statement(rig, set_times, 0), CC_OK);
	assert_int_equal(judge_statement(rig, set_times, -2 * DAY), CC_NOT_YET_VALID);
	assert_int_equal(judge_statement(rig, set_times, 91 * DAY), CC_EXPIRED);
}

static void a_statement_out_of_order_is_refused(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(judge_statement(rig, set_too_long, 0), CC_MALFORMED);
	assert_int_equal(judge_statement(rig, set_backwards, 0), CC_MALFORMED);
	assert_int_equal(judge_statement(rig, set_other_tenant, 0), CC_WRONG_TENANT);
	assert_int_equal(judge_statement(rig, set_version, 0), CC_VERSION);
	assert_int_equal(judge_statement(rig, set_bad_key, 0), CC_BAD_KEY);
}

static void a_statement_that_the_root_did_not_sign_is_refused(void **state)
{
	struct rig *rig = *state;
	Certq__SignedDocument *document =
		fixture_statement(&rig->tenant, rig->tenant.signer, rig->tenant.signer, NULL);
	Certq__SignerStatement *statement = NULL;

	assert_int_equal(signer_verify(cc_blob_view(&rig->tenant.root_spki),
				 cc_view_text("contoso"), document, rig->now_s, &statement),
		CC_UNKNOWN_KEY);
	codec_free(document);
}

/* ---- results ---- */

struct result_rig {
	Certq__ResultDocument doc;
	Certq__ResultBundle bundle;
	uint8_t job_id[JOB_ID_SIZE], job_sha256[SHA256_SIZE], pfx[SHA256_SIZE], sealed[SHA256_SIZE];
};

static void result_make(struct result_rig *r)
{
	*r = (struct result_rig){.job_id = {1}, .job_sha256 = {2}};
	certq__result_document__init(&r->doc);
	certq__result_bundle__init(&r->bundle);
	r->bundle.pfx = codec_text("the pfx");
	r->bundle.sealed_password = codec_text("sealed");
	hash_sha256(codec_view(r->bundle.pfx), r->pfx);
	hash_sha256(codec_view(r->bundle.sealed_password), r->sealed);
	r->doc.version = 1;
	r->doc.tenant = codec_text("contoso");
	r->doc.job_id = codec_bytes(cc_view_of(r->job_id, JOB_ID_SIZE));
	r->doc.job_sha256 = codec_bytes(cc_view_of(r->job_sha256, SHA256_SIZE));
	r->doc.outcome = CERTQ__OUTCOME__OUTCOME_ISSUED;
	r->doc.certificate = codec_text("certificate");
	r->doc.pfx_sha256 = codec_bytes(cc_view_of(r->pfx, SHA256_SIZE));
	r->doc.sealed_sha256 = codec_bytes(cc_view_of(r->sealed, SHA256_SIZE));
}

static cc_err judge_result(struct rig *rig, struct result_rig *r, cc_view pfx)
{
	static const uint8_t job_id[JOB_ID_SIZE] = {1}, job_sha256[SHA256_SIZE] = {2};
	cc_blob body = codec_pack(&r->doc);
	Certq__ResultDocument *result = NULL;
	cc_err err;

	assert_int_equal(
		dsse_sign(rig->tenant.root, DOC_RESULT, cc_blob_view(&body), &r->bundle.result),
		CC_OK);
	err = result_verify(cc_blob_view(&rig->tenant.root_spki), cc_view_text("contoso"),
		cc_view_of(job_id, JOB_ID_SIZE), cc_view_of(job_sha256, SHA256_SIZE), &r->bundle,
		pfx, &result);
	codec_free(result);
	codec_free(r->bundle.result);
	cc_blob_free(&body);
	return err;
}

static void a_result_is_taken_with_what_it_signs(void **state)
{
	struct rig *rig = *state;
	struct result_rig r;

	result_make(&r);
	assert_int_equal(judge_result(rig, &r, CC_VIEW_NONE), CC_OK);
	r.doc.outcome = CERTQ__OUTCOME__OUTCOME_REWRAPPED;
	r.bundle.pfx = codec_text("");
	assert_int_equal(judge_result(rig, &r, cc_view_text("the pfx")), CC_OK);
	assert_int_equal(judge_result(rig, &r, cc_view_text("another")), CC_MISMATCH);
	assert_int_equal(judge_result(rig, &r, CC_VIEW_NONE), CC_MISMATCH);
}

static void a_result_with_a_swapped_part_is_refused(void **state)
{
	struct rig *rig = *state;
	struct result_rig r;

	result_make(&r);
	r.bundle.pfx = codec_text("another");
	assert_int_equal(judge_result(rig, &r, CC_VIEW_NONE), CC_MISMATCH);
	result_make(&r);
	r.bundle.sealed_password = codec_text("another");
	assert_int_equal(judge_result(rig, &r, CC_VIEW_NONE), CC_MISMATCH);
	result_make(&r);
	r.job_id[3] = 9;
	assert_int_equal(judge_result(rig, &r, CC_VIEW_NONE), CC_MISMATCH);
	result_make(&r);
	r.job_sha256[3] = 9;
	assert_int_equal(judge_result(rig, &r, CC_VIEW_NONE), CC_MISMATCH);
	result_make(&r);
	r.doc.tenant = codec_text("fabrikam");
	assert_int_equal(judge_result(rig, &r, CC_VIEW_NONE), CC_WRONG_TENANT);
}

static void a_result_carries_what_its_outcome_says_and_no_more(void **state)
{
	struct rig *rig = *state;
	struct result_rig r;

	result_make(&r);
	r.doc.outcome = CERTQ__OUTCOME__OUTCOME_UNSPECIFIED;
	assert_int_equal(judge_result(rig, &r, CC_VIEW_NONE), CC_MISMATCH);
	r.doc.outcome = CERTQ__OUTCOME__OUTCOME_REFUSED;
	r.doc.code = codec_text("policy_denied");
	assert_int_equal(judge_result(rig, &r, CC_VIEW_NONE), CC_MISMATCH);
	r.doc.certificate = r.doc.pfx_sha256 = r.doc.sealed_sha256 = codec_text("");
	assert_int_equal(
		judge_result(rig, &r, CC_VIEW_NONE), CC_MISMATCH); /* unsigned parts beside it */
	r.bundle.pfx = r.bundle.sealed_password = codec_text("");
	assert_int_equal(judge_result(rig, &r, CC_VIEW_NONE), CC_OK);
	r.doc.code = codec_text("");
	assert_int_equal(judge_result(rig, &r, CC_VIEW_NONE), CC_MISMATCH);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_open, rig_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(a_statement_is_taken_within_its_time),
		WITH_RIG(a_statement_out_of_order_is_refused),
		WITH_RIG(a_statement_that_the_root_did_not_sign_is_refused),
		WITH_RIG(a_result_is_taken_with_what_it_signs),
		WITH_RIG(a_result_with_a_swapped_part_is_refused),
		WITH_RIG(a_result_carries_what_its_outcome_says_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
