/*
 * Jobs that wait for an operator, at the two doors of a real keyvault process: the connector asks, only the
 * administrator answers, and the answer outlives the process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keyvault/sealer.h"
#include "proto/codec.h"
#include "proto/job.h"
#include "tests/support/vault_rig.h"
#include <string.h>

#define WAITS   VAULT__VAULT_STATUS__VAULT_WAITS_OPERATOR
#define REFUSED VAULT__VAULT_STATUS__VAULT_REFUSED
#define OK      VAULT__VAULT_STATUS__VAULT_OK

/* The device is known by another key than rig->device, and job-2 is for rig->device. */
static int known_device_new(void **state)
{
	struct rig *rig;
	EVP_PKEY *old = fixture_key("ec-p256");
	cc_blob spki = fixture_spki(old);

	rig_new(state);
	rig = *state;
	fixture_vault_use_policy(&rig->v, "device_keys: pinned");
	rig->job.device_key.spki = codec_bytes(cc_blob_view(&spki));
	Vault__VaultAnswer *begun = fixture_vault_begin(&rig->v, &rig->job);
	assert_int_equal(begun->status, OK);
	codec_free(begun);
	rig->job.device_key.spki = codec_bytes(cc_blob_view(&rig->spki));
	rig->job.doc.idempotency_key = codec_text("job-2");
	cc_blob_free(&spki);
	EVP_PKEY_free(old);
	return 0;
}

#define KNOWN_DEVICE(test) cmocka_unit_test_setup_teardown(test, known_device_new, rig_free)

static void expect_begin(struct rig *rig, Vault__VaultStatus status, const char *code)
{
	Vault__VaultAnswer *answer = fixture_vault_begin(&rig->v, &rig->job);

	assert_int_equal(answer->status, status);
	assert_true(text_equal(codec_view(answer->code), code));
	if (status == WAITS)
		assert_null(answer->refusal);
	codec_free(answer);
}

static void job_id(struct rig *rig, uint8_t ret[JOB_ID_SIZE])
{
	codec_free(fixture_sign(&rig->v.tenant, &rig->job, ret));
}

static Vault__AdminAnswer *list_waiting(struct rig *rig)
{
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminListWaiting op = VAULT__ADMIN_LIST_WAITING__INIT;

	request.op_case = VAULT__ADMIN_REQUEST__OP_LIST_WAITING;
	request.list_waiting = &op;
	Vault__AdminAnswer *answer = fixture_vault_admin(&rig->v, &request);
	assert_int_equal(answer->answer_case, VAULT__ADMIN_ANSWER__ANSWER_WAITING);
	return answer;
}

/* What is shown of the job, if it waits. */
static void shown(struct rig *rig, cc_view id, uint8_t ret[SHA256_SIZE])
{
	Vault__AdminAnswer *answer = list_waiting(rig);

	for (size_t i = 0; i < answer->waiting->n_jobs; i++) {
		const Vault__WaitingJob *job = answer->waiting->jobs[i];
		if (!cc_view_equal(codec_view(job->job_id), id))
			continue;
		assert_int_equal(job->question_sha256.len, SHA256_SIZE);
		memcpy(ret, job->question_sha256.data, SHA256_SIZE);
	}
	codec_free(answer);
}

/* An administrator's word on rig->job. */
static void rule(struct rig *rig, bool approve, Vault__VaultStatus status, const char *code)
{
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminApproveJob yes = VAULT__ADMIN_APPROVE_JOB__INIT;
	Vault__AdminDenyJob no = VAULT__ADMIN_DENY_JOB__INIT;
	uint8_t id[JOB_ID_SIZE], question[SHA256_SIZE] = {0};

	job_id(rig, id);
	shown(rig, cc_view_of(id, sizeof(id)), question);
	yes.question_sha256 = codec_bytes(cc_view_of(question, sizeof(question)));
	yes.job_id = no.job_id = codec_bytes(cc_view_of(id, sizeof(id)));
	no.reason = codec_text("nobody has ordered a device");
	request.op_case =
		approve ? VAULT__ADMIN_REQUEST__OP_APPROVE_JOB : VAULT__ADMIN_REQUEST__OP_DENY_JOB;
	if (approve)
		request.approve_job = &yes;
	else
		request.deny_job = &no;
	Vault__AdminAnswer *answer = fixture_vault_admin(&rig->v, &request);
	assert_int_equal(answer->status, status);
	assert_true(text_equal(codec_view(answer->code), code));
	codec_free(answer);
}

/* As the connector is told it. */
static unsigned waiting(struct rig *rig)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ListPublic op = VAULT__LIST_PUBLIC__INIT;

	request.op_case = VAULT__VAULT_REQUEST__OP_LIST_PUBLIC;
	request.list_public = &op;
	Vault__VaultAnswer *answer = fixture_vault_ask(&rig->v, &request);
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_LIST);
	unsigned count = answer->list->waiting;
	codec_free(answer);
	return count;
}

static void restart(struct rig *rig)
{
	fixture_vault_kill(&rig->v);
	fixture_vault_start(&rig->v);
}

static void an_approved_key_gets_its_certificate_over_two_deaths_of_the_process(void **state)
{
	struct rig *rig = *state;
	cc_secret password = CC_SECRET_NONE;

	expect_begin(rig, WAITS, "waits_for_operator");
	restart(rig);
	assert_int_equal(waiting(rig), 1);
	rule(rig, true, OK, "");
	restart(rig);
	assert_int_equal(waiting(rig), 0);
	Vault__VaultAnswer *begun = fixture_vault_begin(&rig->v, &rig->job);
	assert_int_equal(begun->answer_case, VAULT__VAULT_ANSWER__ANSWER_BEGUN);
	cc_blob leaf = fixture_ca_issue(
		&rig->v.ca, codec_view(begun->begun->csr), "clientAuth", 86400, NULL, NULL);
	Vault__VaultAnswer *finished = fixture_vault_finish(
		&rig->v, codec_view(begun->begun->ticket), "corp-ca", cc_blob_view(&leaf));
	assert_int_equal(finished->answer_case, VAULT__VAULT_ANSWER__ANSWER_RESULT);
	assert_int_equal(sealer_open(rig->device, CERTQ__SEAL__SEAL_CMS_AUTH,
				 codec_view(finished->result->sealed_password), &password),
		CC_OK);
	cc_secret_free(&password);
	codec_free(finished);
	codec_free(begun);
	cc_blob_free(&leaf);
}

static void a_denied_job_fails_with_a_signed_reason(void **state)
{
	struct rig *rig = *state;
	Certq__ResultDocument *result = NULL;
	uint8_t id[JOB_ID_SIZE], sha[SHA256_SIZE];
	Certq__SignedDocument *job = fixture_sign(&rig->v.tenant, &rig->job, id);

	expect_begin(rig, WAITS, "waits_for_operator");
	rule(rig, false, OK, "");
	Vault__VaultAnswer *answer = fixture_vault_begin(&rig->v, &rig->job);
	assert_int_equal(answer->status, REFUSED);
	assert_non_null(answer->refusal);
	hash_sha256(codec_view(job->body), sha);
	assert_int_equal(result_verify(cc_blob_view(&rig->v.result_spki), cc_view_text("contoso"),
				 cc_view_of(id, sizeof(id)), cc_view_of(sha, sizeof(sha)),
				 answer->refusal, CC_VIEW_NONE, &result),
		CC_OK);
	assert_true(text_equal(codec_view(result->code), "denied_by_operator"));
	rule(rig, true, REFUSED, "decided_already");
	codec_free(result);
	codec_free(answer);
	codec_free(job);
}

static void the_list_names_both_keys(void **state)
{
	struct rig *rig = *state;
	uint8_t digest[SHA256_SIZE], id[JOB_ID_SIZE];

	expect_begin(rig, WAITS, "waits_for_operator");
	Vault__AdminAnswer *answer = list_waiting(rig);
	assert_int_equal(answer->waiting->n_jobs, 1);
	const Vault__WaitingJob *job = answer->waiting->jobs[0];
	job_id(rig, id);
	hash_sha256(cc_blob_view(&rig->spki), digest);
	assert_memory_equal(job->job_id.data, id, sizeof(id));
	assert_memory_equal(job->spki_sha256.data, digest, sizeof(digest));
	assert_int_equal(job->known_spki_sha256.len, SHA256_SIZE);
	assert_memory_not_equal(job->known_spki_sha256.data, digest, sizeof(digest));
	assert_true(text_equal(codec_view(job->device_id), "device-1"));
	assert_int_equal(job->reason, VAULT__WAIT_REASON__WAIT_OTHER_KEY);
	codec_free(answer);
}

/* It can ask as often as it likes; the operation that answers does not exist at its door. */
static void a_hostile_connector_cannot_approve(void **state)
{
	struct rig *rig = *state;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminApproveJob op = VAULT__ADMIN_APPROVE_JOB__INIT;
	uint8_t id[JOB_ID_SIZE];

	expect_begin(rig, WAITS, "waits_for_operator");
	job_id(rig, id);
	op.job_id = codec_bytes(cc_view_of(id, sizeof(id)));
	request.op_case = VAULT__ADMIN_REQUEST__OP_APPROVE_JOB;
	request.approve_job = &op;
	cc_blob frame = codec_pack(&request);
	assert_true(fixture_vault_hangs_up(&rig->v, cc_blob_view(&frame)));
	fixture_vault_converse(&rig->v);
	expect_begin(rig, WAITS, "waits_for_operator");
	assert_int_equal(waiting(rig), 1);
	cc_blob_free(&frame);
}

static void an_approval_is_not_for_another_document_under_its_id(void **state)
{
	struct rig *rig = *state;

	expect_begin(rig, WAITS, "waits_for_operator");
	rule(rig, true, OK, "");
	rig->job.doc.correlation_id = codec_text("another");
	expect_begin(rig, REFUSED, "idempotency_conflict");
}

static void what_does_not_wait_cannot_be_decided(void **state)
{
	struct rig *rig = *state;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminApproveJob op = VAULT__ADMIN_APPROVE_JOB__INIT;

	rule(rig, true, REFUSED, "not_waiting");
	rule(rig, false, REFUSED, "not_waiting");
	op.job_id = codec_text("short");
	op.question_sha256 = codec_text("a question of thirty-two bytes..");
	request.op_case = VAULT__ADMIN_REQUEST__OP_APPROVE_JOB;
	request.approve_job = &op;
	Vault__AdminAnswer *answer = fixture_vault_admin(&rig->v, &request);
	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_MALFORMED);
	codec_free(answer);
}

static void an_approval_without_the_question_is_malformed(void **state)
{
	struct rig *rig = *state;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminApproveJob op = VAULT__ADMIN_APPROVE_JOB__INIT;
	uint8_t id[JOB_ID_SIZE];

	expect_begin(rig, WAITS, "waits_for_operator");
	job_id(rig, id);
	op.job_id = codec_bytes(cc_view_of(id, sizeof(id)));
	request.op_case = VAULT__ADMIN_REQUEST__OP_APPROVE_JOB;
	request.approve_job = &op;
	Vault__AdminAnswer *answer = fixture_vault_admin(&rig->v, &request);
	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_MALFORMED);
	codec_free(answer);
	expect_begin(rig, WAITS, "waits_for_operator");
}

static void where_policy_says_refuse_nobody_is_asked(void **state)
{
	struct rig *rig = *state;

	fixture_vault_use_policy(&rig->v, "device_keys: pinned\nunknown_keys: refuse");
	expect_begin(rig, REFUSED, "device_key_refused");
	assert_int_equal(waiting(rig), 0);
}

static void at_device_keys_operator_a_device_that_is_not_known_waits(void **state)
{
	struct rig *rig = *state;

	fixture_vault_use_policy(&rig->v, "device_keys: operator");
	expect_begin(rig, WAITS, "waits_for_operator");
	rule(rig, true, OK, "");
	expect_begin(rig, OK, "");
}

static void a_record_for_a_users_first_device_waits_and_is_delivered_once_approved(void **state)
{
	struct rig *rig = *state;
	cc_view pfx = cc_view_text("stands for a PFX: a bound record is not opened");
	cc_secret opened = CC_SECRET_NONE;

	fixture_vault_use_policy(&rig->v, "device_keys: pinned");
	fixture_rewrap(&rig->job, &rig->v.tenant, "r-1", pfx, cc_blob_view(&rig->spki));
	cc_blob password = fixture_encrypt_password(
		&rig->job, cc_blob_view(&rig->v.decrypt_spki), pfx, "a password");
	fixture_rewrap_add(&rig->job, cc_blob_view(&rig->v.decrypt_id), cc_blob_view(&password));
	Vault__VaultAnswer *answer =
		fixture_vault_rewrap(&rig->v, &rig->job, pfx, cc_blob_view(&password));
	assert_int_equal(answer->status, WAITS);
	codec_free(answer);
	Vault__AdminAnswer *list = list_waiting(rig);
	assert_int_equal(list->waiting->n_jobs, 1);
	assert_int_equal(list->waiting->jobs[0]->reason, VAULT__WAIT_REASON__WAIT_FIRST_DEVICE);
	codec_free(list);
	rule(rig, true, OK, "");
	answer = fixture_vault_rewrap(&rig->v, &rig->job, pfx, cc_blob_view(&password));
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_RESULT);
	assert_int_equal(sealer_open(rig->device, CERTQ__SEAL__SEAL_CMS_AUTH,
				 codec_view(answer->result->sealed_password), &opened),
		CC_OK);
	assert_int_equal(opened.size, strlen("a password"));
	cc_secret_free(&opened);
	codec_free(answer);
	cc_blob_free(&password);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KNOWN_DEVICE(an_approved_key_gets_its_certificate_over_two_deaths_of_the_process),
		KNOWN_DEVICE(a_denied_job_fails_with_a_signed_reason),
		KNOWN_DEVICE(the_list_names_both_keys),
		KNOWN_DEVICE(a_hostile_connector_cannot_approve),
		KNOWN_DEVICE(an_approval_is_not_for_another_document_under_its_id),
		KNOWN_DEVICE(what_does_not_wait_cannot_be_decided),
		KNOWN_DEVICE(an_approval_without_the_question_is_malformed),
		KNOWN_DEVICE(where_policy_says_refuse_nobody_is_asked),
		WITH_RIG(at_device_keys_operator_a_device_that_is_not_known_waits),
		WITH_RIG(a_record_for_a_users_first_device_waits_and_is_delivered_once_approved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
