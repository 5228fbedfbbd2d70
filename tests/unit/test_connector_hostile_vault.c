/*
 * A hostile program in the connector's place asks the keyvault for keys, CSRs and orders that nobody
 * entitled asked for.  The keyvault and the runners are the real programs; each refusal is exact, carries
 * nothing, and leaves the lists of the CAs as they were.
 */
#include "base/clock.h"
#include "proto/codec.h"
#include "proto/job.h"
#include "tests/support/hostile_courier.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define REFUSED      VAULT__VAULT_STATUS__VAULT_REFUSED
#define REFUSED_HERE VAULT__VAULT_STATUS__VAULT_REFUSED_HERE
#define MALFORMED    VAULT__VAULT_STATUS__VAULT_MALFORMED

static struct house house;
static cc_blob device_spki;
static EVP_PKEY *mallory; /* a signing key that nobody vouches for */

/* A job of the tenant that would be good, to be spoilt by the test. */
static void prepare(struct fixture_job *j, const char *key)
{
	fixture_issue(j, &house.tenant, key, HOUSE_PROFILE, cc_blob_view(&device_spki));
}

static Vault__VaultAnswer *begin(
	const Certq__SignedDocument *job, const Certq__SignedDocument *signer, const char *key)
{
	uint8_t job_id[JOB_ID_SIZE];

	job_id_derive(cc_view_text(HOUSE_TENANT), cc_view_text(key), job_id);
	return courier_begin(&house, job_id, job, signer);
}

/* Signed by the tenant's signer as it stands now, and refused. */
static void expect_refused(
	const struct fixture_job *j, const char *key, Vault__VaultStatus status, const char *code)
{
	Certq__SignedDocument *job = fixture_sign(&house.tenant, j, NULL);

	courier_expect_refusal(&house, begin(job, house.tenant.statement, key), status, code);
	codec_free(job);
}

static cc_blob issue(Certq__SignedDocument *order, bool is_new)
{
	Ca__CaAnswer *answer = courier_issue(&house, &house.corp, order, is_new);
	cc_blob certificate = cc_blob_copy(codec_view(answer->chain[0]));

	codec_free(answer);
	return certificate;
}

/* ---- not signed by whom it should be ---- */

static void an_unsigned_job_is_refused(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "unsigned");
	Certq__SignedDocument *job = fixture_sign(&house.tenant, &j, NULL);
	job->signature.len = 0;
	courier_expect_refusal(&house, begin(job, house.tenant.statement, "unsigned"), REFUSED_HERE,
		"signature_invalid");
	job->key_id.len = 0;
	courier_expect_refusal(&house, begin(job, house.tenant.statement, "unsigned"), REFUSED_HERE,
		"unknown_key");
	courier_expect_refusal(
		&house, begin(NULL, house.tenant.statement, "unsigned"), MALFORMED, "malformed");
	courier_expect_refusal(&house, begin(job, NULL, "unsigned"), MALFORMED, "malformed");
	codec_free(job);
}

static void a_job_that_was_altered_in_one_byte_is_refused(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "altered");
	Certq__SignedDocument *job = fixture_sign(&house.tenant, &j, NULL);
	for (size_t at = 0; at < job->body.len; at += 7) {
		Certq__SignedDocument *altered = courier_copy(job);
		courier_flip(&altered->body, at);
		courier_expect_refusal(&house, begin(altered, house.tenant.statement, "altered"),
			REFUSED_HERE, "signature_invalid");
		codec_free(altered);
	}
	courier_flip(&job->signature, 40);
	courier_expect_refusal(&house, begin(job, house.tenant.statement, "altered"), REFUSED_HERE,
		"signature_invalid");
	codec_free(job);
}

static void a_job_signed_by_a_key_that_nobody_vouches_for_is_refused(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "stranger");
	Certq__SignedDocument *job = fixture_sign_with(mallory, DOC_JOB, &j);
	courier_expect_refusal(&house, begin(job, house.tenant.statement, "stranger"), REFUSED_HERE,
		"unknown_key");
	dsse_key_id(cc_blob_view(&house.tenant.signer_spki), job->key_id.data);
	courier_expect_refusal(&house, begin(job, house.tenant.statement, "stranger"), REFUSED_HERE,
		"signature_invalid");
	codec_free(job);
}

static void a_statement_that_is_not_by_the_pinned_root_is_refused(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "own-root");
	Certq__SignedDocument *job = fixture_sign_with(mallory, DOC_JOB, &j);
	Certq__SignedDocument *statement = fixture_statement(&house.tenant, mallory, mallory, NULL);
	courier_expect_refusal(
		&house, begin(job, statement, "own-root"), REFUSED_HERE, "unknown_key");
	dsse_key_id(cc_blob_view(&house.tenant.root_spki), statement->key_id.data);
	courier_expect_refusal(
		&house, begin(job, statement, "own-root"), REFUSED_HERE, "signature_invalid");
	codec_free(statement);
	codec_free(job);
}

static void a_statement_that_was_altered_is_refused(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "statement");
	Certq__SignedDocument *job = fixture_sign(&house.tenant, &j, NULL);
	for (size_t at = 0; at < house.tenant.statement->body.len; at += 5) {
		Certq__SignedDocument *altered = courier_copy(house.tenant.statement);
		courier_flip(&altered->body, at);
		courier_expect_refusal(&house, begin(job, altered, "statement"), REFUSED_HERE,
			"signature_invalid");
		codec_free(altered);
	}
	codec_free(job);
}

static void a_document_of_another_type_is_not_a_job(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "type");
	Certq__SignedDocument *job = fixture_sign_with(house.tenant.signer, DOC_SIGNER, &j);
	courier_expect_refusal(&house, begin(job, house.tenant.statement, "type"), REFUSED_HERE,
		"signature_invalid");
	codec_free(job);
}

static void only_rewrap(Certq__SignerStatement *s)
{
	s->issue = s->revoke = s->chain = false;
}

static void a_kind_that_the_signer_may_not_sign_is_refused(void **state)
{
	struct fixture_job j;
	Certq__SignedDocument *statement = fixture_statement(
		&house.tenant, house.tenant.root, house.tenant.signer, only_rewrap);

	(void)state;
	prepare(&j, "kind");
	Certq__SignedDocument *job = fixture_sign(&house.tenant, &j, NULL);
	courier_expect_refusal(
		&house, begin(job, statement, "kind"), REFUSED_HERE, "signer_not_valid");
	codec_free(job);
	codec_free(statement);
}

static void is_over(Certq__SignerStatement *s)
{
	s->not_after_s = clock_realtime_s() - 1;
	s->revision = 2;
}

static void a_signer_whose_statement_is_over_stays_withdrawn(void **state)
{
	struct fixture_job j;
	EVP_PKEY *signer = fixture_key("ec-p256");
	Certq__SignedDocument *old =
		fixture_statement(&house.tenant, house.tenant.root, signer, NULL);
	Certq__SignedDocument *over =
		fixture_statement(&house.tenant, house.tenant.root, signer, is_over);

	(void)state;
	prepare(&j, "withdrawn");
	Certq__SignedDocument *job = fixture_sign_with(signer, DOC_JOB, &j);
	courier_expect_refusal(
		&house, begin(job, over, "withdrawn"), REFUSED_HERE, "signer_not_valid");
	/* a courier that shows the older statement instead, which is good for another month */
	courier_expect_refusal(
		&house, begin(job, old, "withdrawn"), REFUSED_HERE, "signer_not_valid");
	codec_free(job);
	codec_free(old);
	codec_free(over);
	EVP_PKEY_free(signer);
}

/* ---- signed, but not for here and now ---- */

static void an_expired_job_is_refused(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "expired");
	j.doc.not_before_s = clock_realtime_s() - 7200;
	j.doc.not_after_s = clock_realtime_s() - 1;
	expect_refused(&j, "expired", REFUSED, "expired");
}

static void a_job_of_another_tenant_is_refused(void **state)
{
	struct fixture_tenant fabrikam;
	struct fixture_job j;
	uint8_t job_id[JOB_ID_SIZE];

	(void)state;
	fixture_tenant_make(&fabrikam, "fabrikam");
	fixture_issue(&j, &fabrikam, "foreign", HOUSE_PROFILE, cc_blob_view(&device_spki));
	/* all of it the other tenant's own */
	Certq__SignedDocument *job = fixture_sign(&fabrikam, &j, job_id);
	courier_expect_refusal(&house, courier_begin(&house, job_id, job, fabrikam.statement),
		REFUSED_HERE, "unknown_key");
	codec_free(job);
	/* the other tenant's job under this tenant's signer */
	job = fixture_sign(&house.tenant, &j, NULL);
	courier_expect_refusal(&house, courier_begin(&house, job_id, job, house.tenant.statement),
		REFUSED_HERE, "tenant_mismatch");
	/* and under a statement for the other tenant, by the pinned root */
	Certq__SignedDocument *statement =
		fixture_statement(&fabrikam, house.tenant.root, house.tenant.signer, NULL);
	courier_expect_refusal(&house, courier_begin(&house, job_id, job, statement), REFUSED_HERE,
		"tenant_mismatch");
	codec_free(statement);
	codec_free(job);
	fixture_tenant_clear(&fabrikam);
}

static void a_job_for_another_audience_is_refused(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "audience");
	j.doc.audience = codec_text("hq-2");
	expect_refused(&j, "audience", REFUSED_HERE, "audience_mismatch");
}

static void a_job_under_an_id_that_is_not_its_own_is_refused(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "true-name");
	expect_refused(&j, "false-name", REFUSED_HERE, "job_id_mismatch");
}

static void a_job_against_the_policy_is_refused_and_its_signer_does_not_help(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "policy-san");
	j.san[0].value = codec_text("ceo@fabrikam.com");
	expect_refused(&j, "policy-san", REFUSED, "policy_denied");
	prepare(&j, "policy-profile");
	j.issue.ca_profile = codec_text("no-such-profile");
	expect_refused(&j, "policy-profile", REFUSED, "policy_denied");
}

static void a_job_of_one_kind_is_not_taken_by_the_operation_of_another(void **state)
{
	struct fixture_job j;

	(void)state;
	fixture_chain(&j, &house.tenant, "chain-as-issue", HOUSE_PROFILE);
	expect_refused(&j, "chain-as-issue", MALFORMED, "malformed");
}

/* ---- once more ---- */

static void expect_begun_again(const Vault__BegunIssue *first, const Vault__BegunIssue *again)
{
	assert_true(cc_view_equal(codec_view(first->csr), codec_view(again->csr)));
	assert_true(cc_view_equal(codec_view(first->ticket), codec_view(again->ticket)));
	assert_true(cc_view_equal(codec_view(first->spki_sha256), codec_view(again->spki_sha256)));
	assert_int_equal(first->finish_by_s, again->finish_by_s);
}

static void a_repeated_job_gives_the_same_csr_and_the_same_certificate(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "repeated");
	Vault__VaultAnswer *first = courier_begin_honest(&house, &j);
	Vault__VaultAnswer *again = courier_begin_honest(&house, &j);
	expect_begun_again(first->begun, again->begun);
	cc_blob one = issue(first->begun->order, true);
	cc_blob two = issue(again->begun->order, false);
	assert_true(cc_view_equal(cc_blob_view(&one), cc_blob_view(&two)));
	codec_free(first);
	codec_free(again);
	cc_blob_free(&one);
	cc_blob_free(&two);
}

static void a_killed_keyvault_remembers_the_csr_of_a_job(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "killed");
	Vault__VaultAnswer *first = courier_begin_honest(&house, &j);
	house_kill(&house, &house.vault);
	Vault__VaultAnswer *again = courier_begin_honest(&house, &j);
	expect_begun_again(first->begun, again->begun);
	cc_blob one = issue(first->begun->order, true);
	house_kill(&house, &house.corp);
	cc_blob two = issue(again->begun->order, false);
	assert_true(cc_view_equal(cc_blob_view(&one), cc_blob_view(&two)));
	codec_free(first);
	codec_free(again);
	cc_blob_free(&one);
	cc_blob_free(&two);
}

static void other_bytes_under_a_known_idempotency_key_are_refused(void **state)
{
	struct fixture_job j;

	(void)state;
	prepare(&j, "conflict");
	codec_free(courier_begin_honest(&house, &j));
	j.issue.subject = codec_text("CN=bob,O=Contoso");
	expect_refused(&j, "conflict", REFUSED, "idempotency_conflict");
	house_kill(&house, &house.vault);
	expect_refused(&j, "conflict", REFUSED, "idempotency_conflict");
}

/* ---- revocations ---- */

/* The signer may revoke, but the certificate is one that a CA made and the keyvault never delivered. */
static void a_certificate_that_the_keyvault_did_not_deliver_is_not_revoked(void **state)
{
	struct fixture_job j;
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ApproveRevoke revoke = VAULT__APPROVE_REVOKE__INIT;
	uint8_t job_id[JOB_ID_SIZE];
	uint8_t *issuer = NULL, *serial = NULL;

	(void)state;
	prepare(&j, "undelivered");
	Vault__VaultAnswer *begun = courier_begin_honest(&house, &j);
	cc_blob certificate = issue(begun->begun->order, true);
	const uint8_t *at = certificate.data;
	X509 *x = d2i_X509(NULL, &at, (long)certificate.size);
	int issuer_size = i2d_X509_NAME(X509_get_issuer_name(x), &issuer);
	int serial_size = i2d_ASN1_INTEGER(X509_get0_serialNumber(x), &serial);
	fixture_revoke(&j, &house.tenant, "revoke", HOUSE_PROFILE);
	j.revoke.issuer = codec_bytes(cc_view_of(issuer, (size_t)issuer_size));
	j.revoke.serial = codec_bytes(cc_view_of(serial + 2, (size_t)serial_size - 2));
	revoke.job = fixture_sign(&house.tenant, &j, job_id);
	revoke.signer = house.tenant.statement;
	revoke.job_id = codec_bytes(cc_view_of(job_id, JOB_ID_SIZE));
	request.op_case = VAULT__VAULT_REQUEST__OP_APPROVE_REVOKE;
	request.approve_revoke = &revoke;
	courier_expect_refusal(
		&house, courier_ask_vault(&house, &request), REFUSED, "policy_denied");
	codec_free(revoke.job);
	codec_free(begun);
	cc_blob_free(&certificate);
	OPENSSL_free(issuer);
	OPENSSL_free(serial);
	X509_free(x);
}

/* ---- operations of later ---- */

static void another_jobs_certificate_is_not_revoked_as_an_orphan(void **state)
{
	struct fixture_job j;
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ApproveOrphan orphan = VAULT__APPROVE_ORPHAN__INIT;

	(void)state;
	prepare(&j, "orphan-victim");
	Vault__VaultAnswer *victim = courier_begin_honest(&house, &j);
	cc_blob certificate = issue(victim->begun->order, true);
	codec_free(victim);
	prepare(&j, "orphan");
	Vault__VaultAnswer *begun = courier_begin_honest(&house, &j);
	orphan.ticket = begun->begun->ticket;
	orphan.certificate = codec_bytes(cc_blob_view(&certificate));
	orphan.ca = codec_text(HOUSE_CORP_CA);
	request.op_case = VAULT__VAULT_REQUEST__OP_APPROVE_ORPHAN;
	request.approve_orphan = &orphan;
	courier_expect_refusal(
		&house, courier_ask_vault(&house, &request), REFUSED, "certificate_mismatch");
	codec_free(begun);
	cc_blob_free(&certificate);
}

static int open_house(void **state)
{
	EVP_PKEY *device = fixture_key("ec-p256");

	(void)state;
	house_open(&house);
	mallory = fixture_key("ed25519");
	device_spki = fixture_spki(device);
	EVP_PKEY_free(device);
	return 0;
}

static int close_house(void **state)
{
	(void)state;
	house_close(&house);
	EVP_PKEY_free(mallory);
	cc_blob_free(&device_spki);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_unsigned_job_is_refused),
		cmocka_unit_test(a_job_that_was_altered_in_one_byte_is_refused),
		cmocka_unit_test(a_job_signed_by_a_key_that_nobody_vouches_for_is_refused),
		cmocka_unit_test(a_statement_that_is_not_by_the_pinned_root_is_refused),
		cmocka_unit_test(a_statement_that_was_altered_is_refused),
		cmocka_unit_test(a_document_of_another_type_is_not_a_job),
		cmocka_unit_test(a_kind_that_the_signer_may_not_sign_is_refused),
		cmocka_unit_test(a_signer_whose_statement_is_over_stays_withdrawn),
		cmocka_unit_test(an_expired_job_is_refused),
		cmocka_unit_test(a_job_of_another_tenant_is_refused),
		cmocka_unit_test(a_job_for_another_audience_is_refused),
		cmocka_unit_test(a_job_under_an_id_that_is_not_its_own_is_refused),
		cmocka_unit_test(a_job_against_the_policy_is_refused_and_its_signer_does_not_help),
		cmocka_unit_test(a_job_of_one_kind_is_not_taken_by_the_operation_of_another),
		cmocka_unit_test(a_repeated_job_gives_the_same_csr_and_the_same_certificate),
		cmocka_unit_test(a_killed_keyvault_remembers_the_csr_of_a_job),
		cmocka_unit_test(other_bytes_under_a_known_idempotency_key_are_refused),
		cmocka_unit_test(a_certificate_that_the_keyvault_did_not_deliver_is_not_revoked),
		cmocka_unit_test(another_jobs_certificate_is_not_revoked_as_an_orphan),
	};

	return cmocka_run_group_tests(tests, open_house, close_house);
}
