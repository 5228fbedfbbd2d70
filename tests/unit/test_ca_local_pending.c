/*
 * The local CA's requests that wait for a person: durable, decided by a file in the CA's own directory,
 * issued once, withdrawn, and found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/role.h"
#include "base/text.h"
#include "ca-backends/local/local.h"
#include "proto/ca_request.h"
#include "proto/codec.h"
#include "tests/support/local_rig.h"
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ISSUED     CA__CA_RESULT__CA_ISSUED
#define PENDING    CA__CA_RESULT__CA_PENDING
#define REJECTED   CA__CA_RESULT__CA_REJECTED
#define NOT_ISSUED CA__CA_RESULT__CA_NOT_ISSUED

static const struct ca_option options[] = {
	{"templates.desk.eku", "1.3.6.1.5.5.7.3.2"},
	{"templates.desk.approval", "manual"},
	{"poll_after", "90s"},
};

/* What the administrator has changed the file to meanwhile. */
static const struct ca_option narrower[] = {
	{"templates.desk.eku", "1.3.6.1.5.5.7.3.4"},
	{"templates.desk.approval", "manual"},
	{"poll_after", "90s"},
};

static const uint8_t job[16] = {1};

struct rig {
	struct local_rig files;
	char *dir; /* the CA's own */
	struct ca_context context;
	void *ca;
	cc_blob csr;
	uint8_t digest[SHA256_SIZE];
	struct ca_answer answer;
};

static void open_again(struct rig *r)
{
	local_backend.close(r->ca);
	r->ca = NULL;
	assert_int_equal(local_backend.open(&r->context, &r->ca), CC_OK);
}

static const struct local_rig_ext usual[] = {{NID_subject_alt_name, "email:alice@contoso.com"},
	{NID_ext_key_usage, "1.3.6.1.5.5.7.3.2"}, {0, NULL}};

static int set_up(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));

	local_rig_make(&r->files, local_ca_init_main);
	r->dir = file_join(r->files.state_dir, "local");
	r->context = (struct ca_context){
		.name = "corp-ca",
		.state_dir = r->files.state_dir,
		.options = options,
		.option_count = sizeof(options) / sizeof(options[0]),
		.schema = local_backend.schema,
		.schema_count = local_backend.schema_count,
		.secret = cc_blob_view(&r->files.secret),
	};
	r->csr = local_rig_csr("alice", usual);
	hash_sha256(cc_blob_view(&r->csr), r->digest);
	open_again(r);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	clock_shift_for_test(0, 0);
	ca_answer_clear(&r->answer);
	local_backend.close(r->ca);
	local_rig_clear(&r->files);
	cc_blob_free(&r->csr);
	free(r->dir);
	free(r);
	return 0;
}

typedef void (*op)(void *instance, const struct ca_request *r, struct ca_answer *ret);

static Ca__CaResult call(struct rig *r, op f)
{
	const struct ca_request q = {.tenant = cc_view_text("contoso"),
		.job_id = cc_view_of(job, 16),
		.template_name = cc_view_text("desk"),
		.csr = cc_blob_view(&r->csr),
		.csr_sha256 = cc_view_of(r->digest, SHA256_SIZE)};

	ca_answer_clear(&r->answer);
	f(r->ca, &q, &r->answer);
	return r->answer.result;
}

static Ca__CaResult submit(struct rig *r)
{
	return call(r, local_backend.submit);
}

static Ca__CaResult ask(struct rig *r)
{
	return call(r, local_backend.poll);
}

static Ca__CaResult withdraw(struct rig *r)
{
	return call(r, local_backend.withdraw);
}

static Ca__CaResult look_up(struct rig *r)
{
	return call(r, local_backend.find);
}

static void upkeep(struct rig *r)
{
	ca_answer_clear(&r->answer);
	local_backend.health(r->ca, &r->answer);
	assert_int_equal(r->answer.result, CA__CA_RESULT__CA_DONE);
}

static const char *reference(struct rig *r)
{
	static char text[CA_REQUEST_REFERENCE_SIZE];

	ca_request_reference(cc_view_text("contoso"), cc_view_of(job, 16),
		cc_view_of(r->digest, SHA256_SIZE), text);
	return text;
}

static cc_err decide_on(struct rig *r, bool approve, const uint8_t *digest)
{
	Ca__RequestDecision d = CA__REQUEST_DECISION__INIT;

	d.version = CA_REQUEST_VERSION;
	d.reference = codec_text(reference(r));
	d.csr_sha256 = codec_bytes(cc_view_of(digest, SHA256_SIZE));
	d.approve = approve;
	d.reason = codec_text(approve ? "" : "not one of ours");
	return ca_request_write_decision(r->dir, &d);
}

static void decide(struct rig *r, bool approve)
{
	assert_int_equal(decide_on(r, approve, r->digest), CC_OK);
}

static cc_err count_one(void *arg, const char *name)
{
	(void)name;
	(*(size_t *)arg)++;
	return CC_OK;
}

static void assert_files(struct rig *r, size_t requests, size_t decisions)
{
	size_t count = 0;

	assert_int_equal(
		ca_request_each(r->dir, CA_REQUEST_REQUESTS_DIR, count_one, &count), CC_OK);
	assert_int_equal(count, requests);
	count = 0;
	assert_int_equal(
		ca_request_each(r->dir, CA_REQUEST_DECISIONS_DIR, count_one, &count), CC_OK);
	assert_int_equal(count, decisions);
}

static void a_request_waits_until_it_is_approved(void **state)
{
	struct rig *r = *state;

	assert_int_equal(submit(r), PENDING);
	assert_string_equal(r->answer.reference, reference(r));
	assert_int_equal(r->answer.delay_s, 90);
	assert_true(r->answer.cookie.size > 0);
	assert_int_equal(r->answer.chain_count, 0);
	assert_files(r, 1, 0);
	assert_int_equal(ask(r), PENDING);
	assert_int_equal(look_up(r), PENDING);
	assert_true(r->answer.cookie.size > 0);
	decide(r, true);
	assert_int_equal(ask(r), ISSUED);
	assert_int_equal(r->answer.chain_count, 2);
	assert_files(r, 0, 0);
	assert_int_equal(look_up(r), ISSUED);
	assert_int_equal(submit(r), ISSUED);
}

static void the_file_for_the_administrator_says_what_is_asked_for(void **state)
{
	struct rig *r = *state;
	Ca__PendingRequest *p = NULL;

	assert_int_equal(submit(r), PENDING);
	assert_int_equal(ca_request_read(r->dir, reference(r), &p), CC_OK);
	assert_true(cc_view_equal(codec_view(p->csr), cc_blob_view(&r->csr)));
	assert_true(text_equal(codec_view(p->template_), "desk"));
	assert_true(text_equal(codec_view(p->tenant), "contoso"));
	codec_free(p);
	p = NULL;
	assert_int_equal(ca_request_read(r->dir, "0123456789abcdef", &p), CC_NOT_FOUND);
	assert_int_equal(ca_request_read(r->dir, "../../../etc/passwd", &p), CC_USAGE);
}

static void a_denied_request_is_denied_for_good(void **state)
{
	struct rig *r = *state;

	assert_int_equal(submit(r), PENDING);
	decide(r, false);
	assert_int_equal(ask(r), REJECTED);
	assert_non_null(strstr(r->answer.reason, "not one of ours"));
	assert_files(r, 0, 0);
	open_again(r);
	assert_int_equal(submit(r), REJECTED);
	assert_int_equal(look_up(r), NOT_ISSUED);
	assert_int_equal(withdraw(r), NOT_ISSUED);
}

static void an_undecided_request_can_be_withdrawn_and_made_again(void **state)
{
	struct rig *r = *state;

	assert_int_equal(submit(r), PENDING);
	assert_int_equal(withdraw(r), NOT_ISSUED);
	assert_files(r, 0, 0);
	assert_int_equal(withdraw(r), NOT_ISSUED);
	assert_int_equal(ask(r), NOT_ISSUED);
	assert_int_equal(look_up(r), NOT_ISSUED);
	decide(r, true); /* too late, and not about the next one */
	assert_int_equal(submit(r), PENDING);
	assert_int_equal(ask(r), PENDING);
	assert_files(r, 1, 0);
}

static void a_request_that_was_granted_cannot_be_withdrawn(void **state)
{
	struct rig *r = *state;

	assert_int_equal(submit(r), PENDING);
	decide(r, true);
	assert_int_equal(withdraw(r), ISSUED);
	assert_int_equal(withdraw(r), ISSUED);
}

static void a_request_and_its_decision_outlive_the_process(void **state)
{
	struct rig *r = *state;
	char *path = cc_asprintf("%s/" CA_REQUEST_REQUESTS_DIR "/%s", r->dir, reference(r));

	assert_int_equal(submit(r), PENDING);
	assert_int_equal(unlink(path), 0); /* a crash before it was written */
	open_again(r);
	upkeep(r);
	assert_files(r, 1, 0);
	decide(r, true);
	open_again(r);
	upkeep(r); /* nobody has asked */
	assert_files(r, 0, 0);
	assert_int_equal(look_up(r), ISSUED);
	free(path);
}

static void a_decision_counts_for_the_csr_that_was_looked_at(void **state)
{
	struct rig *r = *state;
	uint8_t other[SHA256_SIZE] = {1};

	assert_int_equal(submit(r), PENDING);
	assert_int_equal(decide_on(r, true, other), CC_OK);
	assert_int_equal(ask(r), PENDING);
}

static void a_decision_cannot_be_changed(void **state)
{
	struct rig *r = *state;

	assert_int_equal(submit(r), PENDING);
	decide(r, false);
	assert_int_equal(decide_on(r, true, r->digest), CC_CONFLICT);
	assert_int_equal(ask(r), REJECTED);
}

static void a_damaged_decision_decides_nothing(void **state)
{
	struct rig *r = *state;
	char *path = cc_asprintf("%s/" CA_REQUEST_DECISIONS_DIR "/%s", r->dir, reference(r));

	assert_int_equal(submit(r), PENDING);
	assert_int_equal(file_write_new(path, cc_view_text("approve"), 0600), CC_OK);
	assert_int_equal(ask(r), PENDING);
	assert_files(r, 1, 0);
	decide(r, true);
	assert_int_equal(ask(r), ISSUED);
	free(path);
}

static void what_the_template_does_not_allow_never_waits(void **state)
{
	struct rig *r = *state;
	const struct local_rig_ext ext[] = {{NID_ext_key_usage, "serverAuth"}, {0, NULL}};

	cc_blob_free(&r->csr);
	r->csr = local_rig_csr("alice", ext);
	hash_sha256(cc_blob_view(&r->csr), r->digest);
	assert_int_equal(submit(r), REJECTED);
	assert_files(r, 0, 0);
}

static void an_approval_does_not_go_past_the_template_as_it_stands(void **state)
{
	struct rig *r = *state;

	assert_int_equal(submit(r), PENDING);
	decide(r, true);
	r->context.options = narrower;
	open_again(r);
	assert_int_equal(ask(r), REJECTED);
	assert_non_null(strstr(r->answer.reason, "extended key usage"));
	assert_int_equal(look_up(r), NOT_ISSUED);
}

static void an_approved_request_whose_template_is_gone_goes_on_waiting(void **state)
{
	struct rig *r = *state;

	assert_int_equal(submit(r), PENDING);
	decide(r, true);
	r->context.option_count = 0;
	open_again(r);
	assert_int_equal(ask(r), CA__CA_RESULT__CA_MISCONFIGURED);
	r->context.option_count = sizeof(options) / sizeof(options[0]);
	open_again(r);
	assert_int_equal(ask(r), ISSUED);
}

static void an_approved_request_whose_template_is_gone_can_be_withdrawn(void **state)
{
	struct rig *r = *state;

	assert_int_equal(submit(r), PENDING);
	decide(r, true);
	r->context.option_count = 0;
	open_again(r);
	assert_int_equal(withdraw(r), NOT_ISSUED);
	assert_files(r, 0, 0);
	assert_int_equal(look_up(r), NOT_ISSUED);
}

static void upkeep_passes_over_a_request_whose_template_is_gone(void **state)
{
	struct rig *r = *state;

	assert_int_equal(submit(r), PENDING);
	decide(r, true);
	r->context.option_count = 0;
	open_again(r);
	upkeep(r);
	assert_files(r, 1, 1);
}

static void an_old_denial_is_forgotten(void **state)
{
	struct rig *r = *state;

	assert_int_equal(submit(r), PENDING);
	decide(r, false);
	assert_int_equal(ask(r), REJECTED);
	clock_shift_for_test((int64_t)91 * 86400 * 1000, 0);
	upkeep(r);
	assert_int_equal(ask(r), NOT_ISSUED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_waits_until_it_is_approved),
		TEST(the_file_for_the_administrator_says_what_is_asked_for),
		TEST(a_denied_request_is_denied_for_good),
		TEST(an_undecided_request_can_be_withdrawn_and_made_again),
		TEST(a_request_that_was_granted_cannot_be_withdrawn),
		TEST(a_request_and_its_decision_outlive_the_process),
		TEST(a_decision_counts_for_the_csr_that_was_looked_at),
		TEST(a_decision_cannot_be_changed),
		TEST(a_damaged_decision_decides_nothing),
		TEST(what_the_template_does_not_allow_never_waits),
		TEST(an_approval_does_not_go_past_the_template_as_it_stands),
		TEST(an_approved_request_whose_template_is_gone_goes_on_waiting),
		TEST(an_approved_request_whose_template_is_gone_can_be_withdrawn),
		TEST(upkeep_passes_over_a_request_whose_template_is_gone),
		TEST(an_old_denial_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
