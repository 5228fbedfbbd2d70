/*
 * approve_revoke at a real keyvault process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/role.h"
#include "proto/codec.h"
#include "proto/job.h"
#include "tests/support/fixture_vault.h"
#include <stdlib.h>
#include <string.h>

#define REFUSED      VAULT__VAULT_STATUS__VAULT_REFUSED
#define REFUSED_HERE VAULT__VAULT_STATUS__VAULT_REFUSED_HERE
#define BUSY         VAULT__VAULT_STATUS__VAULT_BUSY

struct rig {
	struct fixture_vault v;
	EVP_PKEY *device;
	cc_blob spki;
	cc_blob leaf, issuer, serial; /* a certificate that was issued and delivered */
	struct fixture_job job;
};

static void read_names(struct rig *rig)
{
	const uint8_t *at = rig->leaf.data;
	X509 *x = d2i_X509(NULL, &at, (long)rig->leaf.size);
	uint8_t *issuer = NULL, *serial = NULL;
	int issuer_size = i2d_X509_NAME(X509_get_issuer_name(x), &issuer);
	int serial_size = i2d_ASN1_INTEGER(X509_get0_serialNumber(x), &serial);

	assert_true(issuer_size > 0 && serial_size > 2);
	cc_blob_free(&rig->issuer);
	cc_blob_free(&rig->serial);
	rig->issuer = cc_blob_copy(cc_view_of(issuer, (size_t)issuer_size));
	rig->serial = cc_blob_copy(cc_view_of(serial + 2, (size_t)serial_size - 2));
	OPENSSL_free(issuer);
	OPENSSL_free(serial);
	X509_free(x);
}

/* A job that revokes the rig's certificate. */
static void make_job(struct rig *rig, const char *key)
{
	fixture_revoke(&rig->job, &rig->v.tenant, key, "corp-user");
	rig->job.revoke.issuer = codec_bytes(cc_blob_view(&rig->issuer));
	rig->job.revoke.serial = codec_bytes(cc_blob_view(&rig->serial));
	rig->job.revoke.reason = 1;
}

static void issue_one(struct rig *rig)
{
	fixture_issue(&rig->job, &rig->v.tenant, "issued", "corp-user", cc_blob_view(&rig->spki));
	Vault__VaultAnswer *begun = fixture_vault_begin(&rig->v, &rig->job);

	assert_int_equal(begun->status, VAULT__VAULT_STATUS__VAULT_OK);
	rig->leaf = fixture_ca_issue(
		&rig->v.ca, codec_view(begun->begun->csr), "clientAuth", 90 * 86400, NULL, NULL);
	Vault__VaultAnswer *finished = fixture_vault_finish(
		&rig->v, codec_view(begun->begun->ticket), "corp-ca", cc_blob_view(&rig->leaf));
	assert_int_equal(finished->status, VAULT__VAULT_STATUS__VAULT_OK);
	codec_free(finished);
	codec_free(begun);
	read_names(rig);
}

static int rig_new(void **state)
{
	struct rig *rig = cc_alloc(sizeof(*rig));

	fixture_vault_prepare(&rig->v, keyvault_role_main);
	fixture_vault_start(&rig->v);
	rig->device = fixture_key("ec-p256");
	rig->spki = fixture_spki(rig->device);
	issue_one(rig);
	make_job(rig, "revoke-1");
	*state = rig;
	return 0;
}

static int rig_free(void **state)
{
	struct rig *rig = *state;

	fixture_vault_clear(&rig->v);
	EVP_PKEY_free(rig->device);
	cc_blob_free(&rig->spki);
	cc_blob_free(&rig->leaf);
	cc_blob_free(&rig->issuer);
	cc_blob_free(&rig->serial);
	free(rig);
	return 0;
}

static void use_policy(struct rig *rig, const char *line)
{
	free(rig->v.policy);
	rig->v.policy = fixture_vault_policy(line);
	fixture_vault_reload(&rig->v);
}

static Vault__VaultAnswer *approve_as(struct rig *rig, Certq__SignedDocument *signer)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ApproveRevoke body = VAULT__APPROVE_REVOKE__INIT;
	uint8_t id[JOB_ID_SIZE];

	body.job = fixture_sign(&rig->v.tenant, &rig->job, id);
	body.signer = signer;
	body.job_id = codec_bytes(cc_view_of(id, sizeof(id)));
	request.op_case = VAULT__VAULT_REQUEST__OP_APPROVE_REVOKE;
	request.approve_revoke = &body;
	Vault__VaultAnswer *answer = fixture_vault_ask(&rig->v, &request);
	codec_free(body.job);
	return answer;
}

static Vault__VaultAnswer *approve(struct rig *rig)
{
	return approve_as(rig, rig->v.tenant.statement);
}

static void expect_refusal(
	struct rig *rig, Vault__VaultAnswer *answer, Vault__VaultStatus status, const char *code)
{
	assert_int_equal(answer->status, status);
	assert_true(text_equal(codec_view(answer->code), code));
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER__NOT_SET);
	assert_int_equal(answer->refusal != NULL, status == REFUSED);
	if (status == REFUSED) {
		uint8_t id[JOB_ID_SIZE], sha[SHA256_SIZE];
		Certq__SignedDocument *job = fixture_sign(&rig->v.tenant, &rig->job, id);
		Certq__ResultDocument *result = NULL;

		hash_sha256(codec_view(job->body), sha);
		assert_int_equal(
			result_verify(cc_blob_view(&rig->v.result_spki), cc_view_text("contoso"),
				cc_view_of(id, sizeof(id)), cc_view_of(sha, sizeof(sha)),
				answer->refusal, CC_VIEW_NONE, &result),
			CC_OK);
		assert_true(text_equal(codec_view(result->code), code));
		codec_free(result);
		codec_free(job);
	}
	codec_free(answer);
}

/* An order, signed, for exactly this job's certificate at this CA. */
static void expect_order(struct rig *rig, Vault__VaultAnswer *answer, const char *ca)
{
	Vault__Order *order = NULL;
	uint8_t id[JOB_ID_SIZE];

	codec_free(fixture_sign(&rig->v.tenant, &rig->job, id));
	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_ORDER);
	assert_int_equal(
		dsse_verify(cc_blob_view(&rig->v.approval_spki), DOC_ORDER, answer->order), CC_OK);
	assert_int_equal(codec_decode_document(&vault__order__descriptor,
				 codec_view(answer->order->body), 65536, &order),
		CC_OK);
	assert_int_equal(order->version, 1);
	assert_int_equal(order->op, VAULT__ORDER_OP__ORDER_REVOKE);
	assert_true(text_equal(codec_view(order->tenant), "contoso"));
	assert_true(cc_view_equal(codec_view(order->job_id), cc_view_of(id, sizeof(id))));
	assert_true(text_equal(codec_view(order->ca), ca));
	assert_true(cc_view_equal(codec_view(order->issuer), codec_view(rig->job.revoke.issuer)));
	assert_true(cc_view_equal(codec_view(order->serial), codec_view(rig->job.revoke.serial)));
	assert_int_equal(order->reason, rig->job.revoke.reason);
	assert_int_equal(order->csr.len, 0);
	assert_in_range(order->not_after_s, clock_realtime_s() + 500, clock_realtime_s() + 600);
	codec_free(order);
	codec_free(answer);
}

/* ---- which certificates ---- */

static void a_certificate_of_our_own_is_ordered_revoked_at_its_ca(void **state)
{
	struct rig *rig = *state;
	Vault__VaultAnswer *answer = approve(rig);
	Vault__Decision *decision = NULL;
	uint8_t digest[SHA256_SIZE];

	assert_true(answer->n_decisions > 0);
	assert_int_equal(codec_decode(&vault__decision__descriptor,
				 codec_view(answer->decisions[answer->n_decisions - 1]->decision),
				 65536, &decision),
		CC_OK);
	hash_sha256(cc_blob_view(&rig->leaf), digest);
	assert_true(text_equal(codec_view(decision->operation), "approve_revoke"));
	assert_true(text_equal(codec_view(decision->outcome), "done"));
	assert_true(cc_view_equal(
		codec_view(decision->certificate_sha256), cc_view_of(digest, sizeof(digest))));
	codec_free(decision);
	expect_order(rig, answer, "corp-ca");
}

static void a_certificate_that_is_not_in_the_issued_list_is_refused(void **state)
{
	struct rig *rig = *state;
	static const uint8_t other[] = {0x11, 0x22};

	rig->job.revoke.serial = codec_bytes(cc_view_of(other, sizeof(other)));
	expect_refusal(rig, approve(rig), REFUSED, "policy_denied");
}

static void with_scope_any_the_issuer_finds_the_ca(void **state)
{
	struct rig *rig = *state;
	static const uint8_t other[] = {0x11, 0x22};

	use_policy(rig, "revoke_scope: any");
	rig->job.revoke.serial = codec_bytes(cc_view_of(other, sizeof(other)));
	expect_order(rig, approve(rig), "corp-ca");
}

static void with_scope_any_an_issuer_that_is_not_pinned_is_refused(void **state)
{
	struct rig *rig = *state;
	static const uint8_t junk[] = {0x04, 0x01, 0x00};

	use_policy(rig, "revoke_scope: any");
	fixture_revoke(&rig->job, &rig->v.tenant, "revoke-2", "corp-user");
	expect_refusal(rig, approve(rig), REFUSED, "policy_denied");
	rig->job.doc.idempotency_key = codec_text("revoke-3");
	rig->job.revoke.issuer = codec_bytes(cc_view_of(junk, sizeof(junk)));
	expect_refusal(rig, approve(rig), REFUSED, "policy_denied");
}

static void a_profile_that_does_not_exist_is_refused(void **state)
{
	struct rig *rig = *state;

	rig->job.revoke.ca_profile = codec_text("nobody");
	expect_refusal(rig, approve(rig), REFUSED, "policy_denied");
}

static void a_certificate_of_another_profiles_ca_is_refused(void **state)
{
	struct rig *rig = *state;
	static const char profiles[] =
		"ca_profiles: {corp-user: {cas: [corp-ca], template: user-template, key_types: "
		"[ec-p256], eku: [1.3.6.1.5.5.7.3.2], key_usage: [digitalSignature], max_validity: "
		"365d, san: {}}, vpn: {cas: [vpn-ca], template: vpn-template, key_types: "
		"[ec-p256], "
		"eku: [1.3.6.1.5.5.7.3.2], key_usage: [digitalSignature], max_validity: 365d, san: "
		"{}}}";

	use_policy(rig, profiles);
	rig->job.revoke.ca_profile = codec_text("vpn");
	expect_refusal(rig, approve(rig), REFUSED, "policy_denied");
	make_job(rig, "revoke-2");
	expect_order(rig, approve(rig), "corp-ca");
}

/* ---- who asks ---- */

static void withdraw_revoke(Certq__SignerStatement *s)
{
	s->revoke = false;
	s->revision = 2;
}

static void a_signer_that_may_not_revoke_is_refused(void **state)
{
	struct rig *rig = *state;
	Certq__SignedDocument *statement = fixture_statement(
		&rig->v.tenant, rig->v.tenant.root, rig->v.tenant.signer, withdraw_revoke);

	expect_refusal(rig, approve_as(rig, statement), REFUSED_HERE, "signer_not_valid");
	codec_free(statement);
}

static void a_job_of_another_kind_is_malformed(void **state)
{
	struct rig *rig = *state;

	fixture_chain(&rig->job, &rig->v.tenant, "chain-1", "corp-user");
	expect_refusal(rig, approve(rig), VAULT__VAULT_STATUS__VAULT_MALFORMED, "malformed");
}

/* ---- how often ---- */

static void expect_one_a_bucket(struct rig *rig)
{
	int64_t not_before_s = rig->job.doc.not_before_s, not_after_s = rig->job.doc.not_after_s;

	expect_order(rig, approve(rig), "corp-ca");
	expect_order(rig, approve(rig), "corp-ca"); /* the same job again is not another one */
	make_job(rig, "revoke-2");
	expect_refusal(rig, approve(rig), BUSY, "rate_limited");
	make_job(rig, "revoke-1");
	rig->job.doc.not_before_s = not_before_s; /* a second may have passed */
	rig->job.doc.not_after_s = not_after_s;
	expect_order(rig, approve(rig), "corp-ca");
}

static void an_hours_limit_makes_jobs_wait(void **state)
{
	struct rig *rig = *state;

	use_policy(rig, "limits: {revoke_per_hour: 1}");
	expect_one_a_bucket(rig);
}

static void a_days_limit_makes_jobs_wait(void **state)
{
	struct rig *rig = *state;

	use_policy(rig, "limits: {revoke_per_hour: 100, revoke_per_day: 1}");
	expect_one_a_bucket(rig);
}

static void other_bytes_under_the_same_id_are_refused(void **state)
{
	struct rig *rig = *state;

	expect_order(rig, approve(rig), "corp-ca");
	rig->job.revoke.reason = 4;
	expect_refusal(rig, approve(rig), REFUSED, "idempotency_conflict");
}

static void the_issued_list_survives_a_restart(void **state)
{
	struct rig *rig = *state;

	fixture_vault_kill(&rig->v);
	fixture_vault_start(&rig->v);
	expect_order(rig, approve(rig), "corp-ca");
}

int main(void)
{
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_new, rig_free)
	const struct CMUnitTest tests[] = {
		WITH_RIG(a_certificate_of_our_own_is_ordered_revoked_at_its_ca),
		WITH_RIG(a_certificate_that_is_not_in_the_issued_list_is_refused),
		WITH_RIG(with_scope_any_the_issuer_finds_the_ca),
		WITH_RIG(with_scope_any_an_issuer_that_is_not_pinned_is_refused),
		WITH_RIG(a_profile_that_does_not_exist_is_refused),
		WITH_RIG(a_certificate_of_another_profiles_ca_is_refused),
		WITH_RIG(a_signer_that_may_not_revoke_is_refused),
		WITH_RIG(a_job_of_another_kind_is_malformed),
		WITH_RIG(an_hours_limit_makes_jobs_wait),
		WITH_RIG(a_days_limit_makes_jobs_wait),
		WITH_RIG(other_bytes_under_the_same_id_are_refused),
		WITH_RIG(the_issued_list_survives_a_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
