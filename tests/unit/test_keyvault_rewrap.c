/*
 * rewrap and chain_result at a real keyvault process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/role.h"
#include "keyvault/sealer.h"
#include "proto/codec.h"
#include "proto/job.h"
#include "tests/support/fixture_vault.h"
#include <openssl/pkcs12.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD "correct horse battery staple"

struct rig {
	struct fixture_vault v;
	EVP_PKEY *device;
	cc_blob spki;
	cc_blob pfx, password; /* of alice@contoso.com, encrypted to the keyvault's key */
	struct fixture_job job;
};

static void add_email(X509 *certificate, void *arg)
{
	X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, arg);

	assert_non_null(san);
	assert_int_equal(X509_add_ext(certificate, san, -1), 1);
	X509_EXTENSION_free(san);
}

/* A real PFX by OpenSSL alone. */
static cc_blob make_pfx(const struct fixture_ca *ca, const char *email)
{
	EVP_PKEY *key = fixture_key("ec-p256");
	X509_REQ *request = X509_REQ_new();
	uint8_t *der = NULL;

	assert_int_equal(X509_REQ_set_pubkey(request, key), 1);
	assert_true(X509_REQ_sign(request, key, EVP_sha256()) > 0);
	int size = i2d_X509_REQ(request, &der);
	char *san = cc_asprintf("email:%s", email);
	cc_blob leaf = fixture_ca_issue(
		ca, cc_view_of(der, (size_t)size), "emailProtection", 86400, add_email, san);
	const uint8_t *at = leaf.data;
	X509 *x = d2i_X509(NULL, &at, (long)leaf.size);
	PKCS12 *p12 = PKCS12_create(PASSWORD, "alice", key, x, NULL, 0, 0, 2048, 2048, 0);
	uint8_t *p12_der = NULL;
	int p12_size = i2d_PKCS12(p12, &p12_der);
	assert_true(p12_size > 0);
	cc_blob pfx = cc_blob_copy(cc_view_of(p12_der, (size_t)p12_size));
	OPENSSL_free(p12_der);
	OPENSSL_free(der);
	PKCS12_free(p12);
	X509_free(x);
	X509_REQ_free(request);
	EVP_PKEY_free(key);
	cc_blob_free(&leaf);
	free(san);
	return pfx;
}

static void make_job(struct rig *rig, const char *key)
{
	fixture_rewrap(
		&rig->job, &rig->v.tenant, key, cc_blob_view(&rig->pfx), cc_blob_view(&rig->spki));
	fixture_rewrap_add(
		&rig->job, cc_blob_view(&rig->v.decrypt_id), cc_blob_view(&rig->password));
}

static int rig_new(void **state)
{
	struct rig *rig = cc_alloc(sizeof(*rig));

	fixture_vault_prepare(&rig->v, keyvault_role_main);
	fixture_vault_start(&rig->v);
	rig->device = fixture_key("ec-p256");
	rig->spki = fixture_spki(rig->device);
	rig->pfx = make_pfx(&rig->v.ca, "alice@contoso.com");
	fixture_rewrap(&rig->job, &rig->v.tenant, "r-1", cc_blob_view(&rig->pfx),
		cc_blob_view(&rig->spki));
	rig->password = fixture_encrypt_password(
		&rig->job, cc_blob_view(&rig->v.decrypt_spki), cc_blob_view(&rig->pfx), PASSWORD);
	make_job(rig, "r-1");
	*state = rig;
	return 0;
}

static int rig_free(void **state)
{
	struct rig *rig = *state;

	fixture_vault_clear(&rig->v);
	EVP_PKEY_free(rig->device);
	cc_blob_free(&rig->spki);
	cc_blob_free(&rig->pfx);
	cc_blob_free(&rig->password);
	free(rig);
	return 0;
}

static Vault__VaultAnswer *rewrap(struct rig *rig)
{
	return fixture_vault_rewrap(
		&rig->v, &rig->job, cc_blob_view(&rig->pfx), cc_blob_view(&rig->password));
}

static void expect(Vault__VaultAnswer *answer, Vault__VaultStatus status, const char *code)
{
	assert_int_equal(answer->status, status);
	assert_true(text_equal(codec_view(answer->code), code));
	assert_null(answer->result);
	assert_int_equal(answer->refusal != NULL, status == VAULT__VAULT_STATUS__VAULT_REFUSED);
	codec_free(answer);
}

static void expect_delivery(struct rig *rig, Vault__VaultAnswer *answer)
{
	uint8_t id[JOB_ID_SIZE], sha[SHA256_SIZE];
	Certq__SignedDocument *job = fixture_sign(&rig->v.tenant, &rig->job, id);
	Certq__ResultDocument *result = NULL;
	cc_secret password = CC_SECRET_NONE;

	hash_sha256(codec_view(job->body), sha);
	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_RESULT);
	assert_int_equal(answer->result->pfx.len, 0);
	assert_int_equal(result_verify(cc_blob_view(&rig->v.result_spki), cc_view_text("contoso"),
				 cc_view_of(id, sizeof(id)), cc_view_of(sha, sizeof(sha)),
				 answer->result, cc_blob_view(&rig->pfx), &result),
		CC_OK);
	assert_int_equal(result->outcome, CERTQ__OUTCOME__OUTCOME_REWRAPPED);
	assert_int_equal(sealer_open(rig->device, result->seal,
				 codec_view(answer->result->sealed_password), &password),
		CC_OK);
	assert_true(cc_view_equal(cc_secret_view(&password), cc_view_text(PASSWORD)));
	cc_secret_free(&password);
	codec_free(result);
	codec_free(job);
	codec_free(answer);
}

#define REFUSED      VAULT__VAULT_STATUS__VAULT_REFUSED
#define REFUSED_HERE VAULT__VAULT_STATUS__VAULT_REFUSED_HERE

/* ---- rewrap ---- */

static void a_bound_record_reaches_its_device(void **state)
{
	struct rig *rig = *state;

	expect_delivery(rig, rewrap(rig));
}

static void a_repeated_rewrap_is_sealed_to_the_same_device_again(void **state)
{
	struct rig *rig = *state;

	expect_delivery(rig, rewrap(rig));
	fixture_vault_kill(&rig->v);
	fixture_vault_start(&rig->v);
	expect_delivery(rig, rewrap(rig));
}

static void another_device_under_the_same_id_is_refused(void **state)
{
	struct rig *rig = *state;
	EVP_PKEY *other = fixture_key("ec-p256");
	cc_blob spki = fixture_spki(other);

	expect_delivery(rig, rewrap(rig));
	rig->job.device_key.spki = codec_bytes(cc_blob_view(&spki));
	expect(rewrap(rig), REFUSED, "idempotency_conflict");
	cc_blob_free(&spki);
	EVP_PKEY_free(other);
}

static void another_pfx_or_password_than_the_jobs_is_refused(void **state)
{
	struct rig *rig = *state;

	rig->pfx.data[rig->pfx.size - 1] ^= 1;
	expect(rewrap(rig), REFUSED, "password_unusable");
	rig->pfx.data[rig->pfx.size - 1] ^= 1;
	rig->password.data[0] ^= 1;
	expect(rewrap(rig), REFUSED, "password_unusable");
}

/* The cloud service itself signs a job that joins somebody's password with another owner. */
static void a_password_bound_to_another_owner_does_not_open(void **state)
{
	struct rig *rig = *state;

	rig->job.holder.user_id = codec_text("user-mallory");
	expect(rewrap(rig), REFUSED, "password_unusable");
	make_job(rig, "r-2");
	rig->job.rewrap.binding = 0;
	expect(rewrap(rig), REFUSED, "policy_denied");
}

static void a_password_for_another_key_is_left_to_others(void **state)
{
	struct rig *rig = *state;

	rig->job.ids[0][0] ^= 1;
	expect(rewrap(rig), REFUSED_HERE, "key_not_held");
}

static void altered_expired_and_foreign_jobs_give_nothing(void **state)
{
	struct rig *rig = *state;

	rig->job.doc.not_before_s -= 7200;
	rig->job.doc.not_after_s = clock_realtime_s() - 1;
	expect(rewrap(rig), REFUSED, "expired");
	make_job(rig, "r-2");
	rig->job.doc.tenant = codec_text("fabrikam");
	expect(rewrap(rig), REFUSED_HERE, "tenant_mismatch");
	make_job(rig, "r-3");
	rig->job.doc.audience = codec_text("other");
	expect(rewrap(rig), REFUSED_HERE, "audience_mismatch");
	make_job(rig, "r-4");
	EVP_PKEY *signer = rig->v.tenant.signer;
	rig->v.tenant.signer = fixture_key("ed25519");
	expect(rewrap(rig), REFUSED_HERE, "unknown_key");
	EVP_PKEY_free(rig->v.tenant.signer);
	rig->v.tenant.signer = signer;
}

static void use_unbound(struct rig *rig, const char *email)
{
	free(rig->v.policy);
	rig->v.policy = fixture_vault_policy(
		"rewrap: {purposes: [smimeEncryption], seals: [cms-auth], unbound_records: check}");
	fixture_vault_reload(&rig->v);
	cc_blob_free(&rig->pfx);
	cc_blob_free(&rig->password);
	rig->pfx = make_pfx(&rig->v.ca, email);
	fixture_rewrap(&rig->job, &rig->v.tenant, "u-1", cc_blob_view(&rig->pfx),
		cc_blob_view(&rig->spki));
	rig->job.rewrap.binding = 0;
	rig->password = fixture_encrypt_password(
		&rig->job, cc_blob_view(&rig->v.decrypt_spki), cc_blob_view(&rig->pfx), PASSWORD);
	fixture_rewrap_add(
		&rig->job, cc_blob_view(&rig->v.decrypt_id), cc_blob_view(&rig->password));
}

static void an_unbound_record_is_checked_where_policy_takes_it(void **state)
{
	struct rig *rig = *state;

	use_unbound(rig, "alice@contoso.com");
	expect_delivery(rig, rewrap(rig));
}

static void an_unbound_record_of_another_user_is_refused(void **state)
{
	struct rig *rig = *state;

	use_unbound(rig, "bob@contoso.com");
	expect(rewrap(rig), REFUSED, "password_unusable");
}

/* ---- chains ---- */

static Vault__VaultAnswer *ask_chain(struct rig *rig, const char *ca, cc_view certificate)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ChainResult body = VAULT__CHAIN_RESULT__INIT;
	ProtobufCBinaryData chain[1] = {codec_bytes(certificate)};
	uint8_t id[JOB_ID_SIZE];

	body.job = fixture_sign(&rig->v.tenant, &rig->job, id);
	body.job_id = codec_bytes(cc_view_of(id, sizeof(id)));
	body.signer = rig->v.tenant.statement;
	body.ca = codec_text(ca);
	body.n_chain = 1;
	body.chain = chain;
	request.op_case = VAULT__VAULT_REQUEST__OP_CHAIN_RESULT;
	request.chain_result = &body;
	Vault__VaultAnswer *answer = fixture_vault_ask(&rig->v, &request);
	codec_free(body.job);
	return answer;
}

static void a_pinned_roots_chain_is_signed(void **state)
{
	struct rig *rig = *state;
	Certq__ResultDocument *result = NULL;

	fixture_chain(&rig->job, &rig->v.tenant, "c-1", "corp-user");
	Vault__VaultAnswer *answer = ask_chain(rig, "corp-ca", cc_blob_view(&rig->v.ca.der));
	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
	assert_int_equal(
		dsse_verify(cc_blob_view(&rig->v.result_spki), DOC_RESULT, answer->result->result),
		CC_OK);
	assert_int_equal(codec_decode_document(&certq__result_document__descriptor,
				 codec_view(answer->result->result->body), 65536, &result),
		CC_OK);
	assert_int_equal(result->outcome, CERTQ__OUTCOME__OUTCOME_CHAIN);
	assert_int_equal(result->n_chain, 1);
	assert_true(cc_view_equal(codec_view(result->chain[0]), cc_blob_view(&rig->v.ca.der)));
	codec_free(result);
	codec_free(answer);
}

static void a_root_that_is_not_pinned_is_not_signed(void **state)
{
	struct rig *rig = *state;
	struct fixture_ca evil = {0};

	fixture_ca_make(&evil, "Contoso Root");
	fixture_chain(&rig->job, &rig->v.tenant, "c-1", "corp-user");
	expect(ask_chain(rig, "corp-ca", cc_blob_view(&evil.der)), REFUSED, "certificate_mismatch");
	expect(ask_chain(rig, "backup-ca", cc_blob_view(&evil.der)), REFUSED,
		"certificate_mismatch");
	expect(ask_chain(rig, "evil-ca", cc_blob_view(&evil.der)), REFUSED, "policy_denied");
	fixture_ca_clear(&evil);
}

int main(void)
{
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_new, rig_free)
	const struct CMUnitTest tests[] = {
		WITH_RIG(a_bound_record_reaches_its_device),
		WITH_RIG(a_repeated_rewrap_is_sealed_to_the_same_device_again),
		WITH_RIG(another_device_under_the_same_id_is_refused),
		WITH_RIG(another_pfx_or_password_than_the_jobs_is_refused),
		WITH_RIG(a_password_bound_to_another_owner_does_not_open),
		WITH_RIG(a_password_for_another_key_is_left_to_others),
		WITH_RIG(altered_expired_and_foreign_jobs_give_nothing),
		WITH_RIG(an_unbound_record_is_checked_where_policy_takes_it),
		WITH_RIG(an_unbound_record_of_another_user_is_refused),
		WITH_RIG(a_pinned_roots_chain_is_signed),
		WITH_RIG(a_root_that_is_not_pinned_is_not_signed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
