/*
 * begin_issue, finish_issue and reorder at a real keyvault process: the test takes the supervisor's and
 * the connector's part, honest and hostile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "keyvault/certcheck.h"
#include "keyvault/pfx.h"
#include "keyvault/sealer.h"
#include "proto/codec.h"
#include "proto/job.h"
#include "tests/support/vault_rig.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void use_policy(struct rig *rig, const char *line)
{
	free(rig->v.policy);
	rig->v.policy = fixture_vault_policy(line);
	fixture_vault_reload(&rig->v);
}

/* The status, code and whether a signed refusal came; checks the refusal's signature. */
static void expect_refusal(
	struct rig *rig, Vault__VaultAnswer *answer, Vault__VaultStatus status, const char *code)
{
	assert_int_equal(answer->status, status);
	assert_true(text_equal(codec_view(answer->code), code));
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER__NOT_SET);
	if (status == VAULT__VAULT_STATUS__VAULT_REFUSED) {
		uint8_t id[JOB_ID_SIZE], sha[SHA256_SIZE];
		Certq__SignedDocument *job = fixture_sign(&rig->v.tenant, &rig->job, id);
		Certq__ResultDocument *result = NULL;

		hash_sha256(codec_view(job->body), sha);
		assert_non_null(answer->refusal);
		assert_int_equal(
			result_verify(cc_blob_view(&rig->v.result_spki), cc_view_text("contoso"),
				cc_view_of(id, sizeof(id)), cc_view_of(sha, sizeof(sha)),
				answer->refusal, CC_VIEW_NONE, &result),
			CC_OK);
		assert_true(text_equal(codec_view(result->code), code));
		codec_free(result);
		codec_free(job);
	} else {
		assert_null(answer->refusal);
	}
	codec_free(answer);
}

#define REFUSED      VAULT__VAULT_STATUS__VAULT_REFUSED
#define REFUSED_HERE VAULT__VAULT_STATUS__VAULT_REFUSED_HERE

static Vault__VaultAnswer *begin_ok(struct rig *rig)
{
	Vault__VaultAnswer *answer = fixture_vault_begin(&rig->v, &rig->job);

	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_BEGUN);
	return answer;
}

/* Sent as it is: whatever document, statement and id the test wants. */
static Vault__VaultAnswer *begin_raw(struct rig *rig, const Certq__SignedDocument *job,
	const Certq__SignedDocument *signer, cc_view id)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__BeginIssue begin = VAULT__BEGIN_ISSUE__INIT;

	begin.job_id = codec_bytes(id);
	begin.job = (Certq__SignedDocument *)(uintptr_t)job;
	begin.signer = (Certq__SignedDocument *)(uintptr_t)signer;
	request.op_case = VAULT__VAULT_REQUEST__OP_BEGIN_ISSUE;
	request.begin_issue = &begin;
	return fixture_vault_ask(&rig->v, &request);
}

static Vault__VaultAnswer *reorder(
	struct rig *rig, cc_view ticket, Vault__OrderOp op, const char *ca)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__Reorder body = VAULT__REORDER__INIT;

	body.ticket = codec_bytes(ticket);
	body.op = op;
	body.ca = codec_text(ca);
	request.op_case = VAULT__VAULT_REQUEST__OP_REORDER;
	request.reorder = &body;
	return fixture_vault_ask(&rig->v, &request);
}

static Vault__Order *order_of(struct rig *rig, const Certq__SignedDocument *document)
{
	Vault__Order *order = NULL;

	assert_int_equal(
		dsse_verify(cc_blob_view(&rig->v.approval_spki), DOC_ORDER, document), CC_OK);
	assert_int_equal(codec_decode_document(&vault__order__descriptor,
				 codec_view(document->body), 65536, &order),
		CC_OK);
	return order;
}

/* ---- the main road ---- */

/* What the device does: open the seal, open the PFX, and find key and certificate fitting. */
static void check_delivery(struct rig *rig, const Certq__ResultBundle *bundle, cc_view leaf)
{
	uint8_t id[JOB_ID_SIZE], sha[SHA256_SIZE];
	Certq__SignedDocument *job = fixture_sign(&rig->v.tenant, &rig->job, id);
	Certq__ResultDocument *result = NULL;
	cc_secret password = CC_SECRET_NONE;
	struct pfx_content content = {0};

	hash_sha256(codec_view(job->body), sha);
	assert_int_equal(result_verify(cc_blob_view(&rig->v.result_spki), cc_view_text("contoso"),
				 cc_view_of(id, sizeof(id)), cc_view_of(sha, sizeof(sha)), bundle,
				 CC_VIEW_NONE, &result),
		CC_OK);
	assert_int_equal(result->outcome, CERTQ__OUTCOME__OUTCOME_ISSUED);
	assert_true(cc_view_equal(codec_view(result->certificate), leaf));
	assert_true(cc_view_equal(codec_view(result->device_spki), cc_blob_view(&rig->spki)));
	assert_int_equal(result->n_chain, 1);
	assert_true(cc_view_equal(codec_view(result->chain[0]), cc_blob_view(&rig->v.ca.der)));
	assert_int_equal(sealer_open(rig->device, result->seal, codec_view(bundle->sealed_password),
				 &password),
		CC_OK);
	assert_int_equal(
		pfx_open(codec_view(bundle->pfx), cc_secret_view(&password), NULL, &content),
		CC_OK);
	assert_int_equal(X509_check_private_key(content.leaf, content.key), 1);
	assert_int_equal(sk_X509_num(content.others), 1);
	pfx_content_clear(&content);
	cc_secret_free(&password);
	codec_free(result);
	codec_free(job);
}

static void issue_and_deliver(struct rig *rig)
{
	Vault__VaultAnswer *begun = begin_ok(rig);
	cc_blob leaf = fixture_ca_issue(
		&rig->v.ca, codec_view(begun->begun->csr), "clientAuth", 90 * 86400, NULL, NULL);
	Vault__VaultAnswer *finished = fixture_vault_finish(
		&rig->v, codec_view(begun->begun->ticket), "corp-ca", cc_blob_view(&leaf));

	assert_int_equal(finished->status, VAULT__VAULT_STATUS__VAULT_OK);
	assert_int_equal(finished->answer_case, VAULT__VAULT_ANSWER__ANSWER_RESULT);
	check_delivery(rig, finished->result, cc_blob_view(&leaf));
	codec_free(finished);
	codec_free(begun);
	cc_blob_free(&leaf);
}

static void a_job_is_issued_and_the_device_can_use_what_comes(void **state)
{
	issue_and_deliver(*state);
}

static void an_rsa_key_and_the_other_seal_work_too(void **state)
{
	struct rig *rig = *state;

	EVP_PKEY_free(rig->device);
	cc_blob_free(&rig->spki);
	rig->device = fixture_key("rsa-2048");
	rig->spki = fixture_spki(rig->device);
	rig->job.device_key.spki = codec_bytes(cc_blob_view(&rig->spki));
	rig->job.issue.key_type = CERTQ__KEY_TYPE__KEY_RSA_2048;
	rig->job.device_key.seal = CERTQ__SEAL__SEAL_OAEP_SHA256;
	issue_and_deliver(rig);
}

static void keys_from_the_pool_are_used_once(void **state)
{
	struct rig *rig = *state;
	char key[16];

	assert_int_equal(fixture_vault_stop(&rig->v), 0);
	rig->v.pool = 2;
	fixture_vault_start(&rig->v);
	rig->job.issue.key_type = CERTQ__KEY_TYPE__KEY_RSA_2048;
	cc_blob seen = CC_BLOB_NONE;
	for (int i = 0; i < 4; i++) {
		snprintf(key, sizeof(key), "pool-%d", i);
		rig->job.doc.idempotency_key = codec_text(key);
		Vault__VaultAnswer *begun = begin_ok(rig);
		cc_view spki = codec_view(begun->begun->spki_sha256);
		for (size_t at = 0; at < seen.size; at += SHA256_SIZE)
			assert_memory_not_equal(seen.data + at, spki.data, SHA256_SIZE);
		cc_blob_append(&seen, spki);
		codec_free(begun);
	}
	cc_blob_free(&seen);
}

static void the_order_carries_the_configured_strings(void **state)
{
	struct rig *rig = *state;

	rig->job.issue.template_ = codec_text("vpn");
	Vault__VaultAnswer *begun = begin_ok(rig);
	Vault__Order *order = order_of(rig, begun->begun->order);
	assert_int_equal(order->op, VAULT__ORDER_OP__ORDER_SUBMIT);
	assert_true(text_equal(codec_view(order->tenant), "contoso"));
	assert_true(text_equal(codec_view(order->ca), "corp-ca"));
	assert_true(text_equal(codec_view(order->template_), "vpn-template"));
	assert_true(cc_view_equal(codec_view(order->csr), codec_view(begun->begun->csr)));
	assert_int_equal(order->validity_s, 90 * 86400);
	assert_true(order->not_after_s <= clock_realtime_s() + 600);
	assert_int_equal(begun->begun->n_cas, 2);
	assert_true(text_equal(codec_view(begun->begun->cas[1]), "backup-ca"));
	codec_free(order);
	codec_free(begun);
}

/* The hint of a certificate made for 90 days; 0: none. */
static int64_t hint(struct rig *rig, const char *key, uint32_t percent, int64_t *ret_end_s)
{
	rig->job.doc.idempotency_key = codec_text(key);
	rig->job.issue.renew_percent = percent;
	Vault__VaultAnswer *begun = begin_ok(rig);
	cc_blob leaf = fixture_ca_issue(
		&rig->v.ca, codec_view(begun->begun->csr), "clientAuth", 90 * 86400, NULL, NULL);
	Vault__VaultAnswer *finished = fixture_vault_finish(
		&rig->v, codec_view(begun->begun->ticket), "corp-ca", cc_blob_view(&leaf));
	Certq__ResultDocument *result = NULL;
	X509 *certificate = NULL;
	struct tm end;
	int64_t at_s;

	assert_int_equal(finished->status, VAULT__VAULT_STATUS__VAULT_OK);
	assert_int_equal(codec_decode_document(&certq__result_document__descriptor,
				 codec_view(finished->result->result->body), 65536, &result),
		CC_OK);
	assert_int_equal(certcheck_parse(cc_blob_view(&leaf), &certificate), CC_OK);
	assert_int_equal(ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end), 1);
	*ret_end_s = (int64_t)timegm(&end);
	at_s = result->renew_at_s;
	X509_free(certificate);
	codec_free(result);
	codec_free(finished);
	codec_free(begun);
	cc_blob_free(&leaf);
	return at_s;
}

static void the_result_says_when_to_renew(void **state)
{
	int64_t end_s = 0, at_s = hint(*state, "r-0", 0, &end_s);

	assert_int_equal(at_s, 0);
	at_s = hint(*state, "r-20", 20, &end_s);
	assert_in_range(end_s - at_s, 18 * 86400, 18 * 86400 + 3600);
	at_s = hint(*state, "r-99", 99, &end_s);
	assert_in_range(end_s - at_s, 90 * 86400 * 99 / 100, 90 * 86400 * 99 / 100 + 3600);
}

/* ---- once and only once ---- */

static void the_same_job_gives_the_same_csr_and_ticket(void **state)
{
	struct rig *rig = *state;
	Vault__VaultAnswer *first = begin_ok(rig), *second = begin_ok(rig);

	assert_true(cc_view_equal(codec_view(first->begun->csr), codec_view(second->begun->csr)));
	assert_true(
		cc_view_equal(codec_view(first->begun->ticket), codec_view(second->begun->ticket)));
	codec_free(first);
	codec_free(second);
}

static void the_same_job_gives_the_same_csr_after_a_restart(void **state)
{
	struct rig *rig = *state;
	Vault__VaultAnswer *first = begin_ok(rig);

	fixture_vault_kill(&rig->v);
	fixture_vault_start(&rig->v);
	Vault__VaultAnswer *second = begin_ok(rig);
	assert_true(cc_view_equal(codec_view(first->begun->csr), codec_view(second->begun->csr)));
	cc_blob leaf = fixture_ca_issue(
		&rig->v.ca, codec_view(first->begun->csr), "clientAuth", 90 * 86400, NULL, NULL);
	Vault__VaultAnswer *finished = fixture_vault_finish(
		&rig->v, codec_view(first->begun->ticket), "corp-ca", cc_blob_view(&leaf));
	assert_int_equal(finished->status, VAULT__VAULT_STATUS__VAULT_OK);
	check_delivery(rig, finished->result, cc_blob_view(&leaf));
	codec_free(finished);
	codec_free(first);
	codec_free(second);
	cc_blob_free(&leaf);
}

static void two_at_once_get_one_csr(void **state)
{
	struct rig *rig = *state;
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__BeginIssue begin = VAULT__BEGIN_ISSUE__INIT;
	uint8_t id[JOB_ID_SIZE];
	cc_blob csr = CC_BLOB_NONE;

	begin.job = fixture_sign(&rig->v.tenant, &rig->job, id);
	begin.job_id = codec_bytes(cc_view_of(id, sizeof(id)));
	begin.signer = rig->v.tenant.statement;
	request.op_case = VAULT__VAULT_REQUEST__OP_BEGIN_ISSUE;
	request.begin_issue = &begin;
	cc_blob frames = CC_BLOB_NONE;
	for (uint64_t i = 0; i < 8; i++) {
		request.request_id = 1000 + i;
		cc_blob frame = codec_pack(&request);
		cc_blob_append_u32(&frames, (uint32_t)frame.size);
		cc_blob_append(&frames, cc_blob_view(&frame));
		cc_blob_free(&frame);
	}
	assert_int_equal(
		write(rig->v.conversation, frames.data, frames.size), (ssize_t)frames.size);
	for (size_t i = 0; i < 8; i++) {
		Vault__VaultAnswer *answer = fixture_vault_next(&rig->v);

		assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
		if (csr.size == 0)
			csr = cc_blob_copy(codec_view(answer->begun->csr));
		assert_true(cc_view_equal(codec_view(answer->begun->csr), cc_blob_view(&csr)));
		codec_free(answer);
	}
	cc_blob_free(&csr);
	cc_blob_free(&frames);
	codec_free(begin.job);
}

static void other_bytes_under_the_same_id_are_refused(void **state)
{
	struct rig *rig = *state;

	codec_free(begin_ok(rig));
	rig->job.issue.validity_s = 86400;
	expect_refusal(
		rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED, "idempotency_conflict");
}

static void finish_may_be_repeated_with_another_password(void **state)
{
	struct rig *rig = *state;

	issue_and_deliver(rig);
	issue_and_deliver(rig);
}

/* ---- jobs that are not to be believed ---- */

static void an_unsigned_job_is_refused_without_a_signature(void **state)
{
	struct rig *rig = *state;
	uint8_t id[JOB_ID_SIZE];
	Certq__SignedDocument *job = fixture_sign(&rig->v.tenant, &rig->job, id);
	ProtobufCBinaryData signature = job->signature;

	job->signature = (ProtobufCBinaryData){0};
	expect_refusal(rig,
		begin_raw(rig, job, rig->v.tenant.statement, cc_view_of(id, sizeof(id))),
		REFUSED_HERE, "signature_invalid");
	job->signature = signature;
	codec_free(job);
}

static void an_altered_job_is_refused(void **state)
{
	struct rig *rig = *state;
	uint8_t id[JOB_ID_SIZE];
	Certq__SignedDocument *job = fixture_sign(&rig->v.tenant, &rig->job, id);

	job->body.data[job->body.len / 2] ^= 1;
	expect_refusal(rig,
		begin_raw(rig, job, rig->v.tenant.statement, cc_view_of(id, sizeof(id))),
		REFUSED_HERE, "signature_invalid");
	codec_free(job);
}

static void a_job_of_an_unknown_signer_is_refused(void **state)
{
	struct rig *rig = *state;
	EVP_PKEY *other = fixture_key("ed25519");
	Certq__SignedDocument *job = fixture_sign_with(other, DOC_JOB, &rig->job);
	Certq__SignedDocument *own = fixture_statement(&rig->v.tenant, other, other, NULL);
	uint8_t id[JOB_ID_SIZE];

	job_id_derive(cc_view_text("contoso"), cc_view_text("job-1"), id);
	expect_refusal(rig,
		begin_raw(rig, job, rig->v.tenant.statement, cc_view_of(id, sizeof(id))),
		REFUSED_HERE, "unknown_key");
	expect_refusal(rig, begin_raw(rig, job, own, cc_view_of(id, sizeof(id))), REFUSED_HERE,
		"unknown_key");
	codec_free(own);
	codec_free(job);
	EVP_PKEY_free(other);
}

static void a_document_of_another_type_is_no_job(void **state)
{
	struct rig *rig = *state;
	Certq__SignedDocument *job = fixture_sign_with(rig->v.tenant.signer, DOC_ORDER, &rig->job);
	uint8_t id[JOB_ID_SIZE];

	job_id_derive(cc_view_text("contoso"), cc_view_text("job-1"), id);
	expect_refusal(rig,
		begin_raw(rig, job, rig->v.tenant.statement, cc_view_of(id, sizeof(id))),
		REFUSED_HERE, "signature_invalid");
	codec_free(job);
}

static void a_job_of_another_tenant_is_refused(void **state)
{
	struct rig *rig = *state;

	rig->job.doc.tenant = codec_text("fabrikam");
	expect_refusal(
		rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED_HERE, "tenant_mismatch");
}

static void a_job_for_another_connector_is_refused_and_a_group_is_fine(void **state)
{
	struct rig *rig = *state;

	rig->job.doc.audience = codec_text("branch-2");
	expect_refusal(
		rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED_HERE, "audience_mismatch");
	rig->job.doc.audience = codec_text("hq");
	codec_free(begin_ok(rig));
}

static void the_envelopes_job_id_must_be_the_derived_one(void **state)
{
	struct rig *rig = *state;
	uint8_t id[JOB_ID_SIZE];
	Certq__SignedDocument *job = fixture_sign(&rig->v.tenant, &rig->job, id);

	id[0] ^= 1;
	expect_refusal(rig,
		begin_raw(rig, job, rig->v.tenant.statement, cc_view_of(id, sizeof(id))),
		REFUSED_HERE, "job_id_mismatch");
	codec_free(job);
}

static void an_expired_job_is_refused_with_a_signature(void **state)
{
	struct rig *rig = *state;

	rig->job.doc.not_before_s = clock_realtime_s() - 7200;
	rig->job.doc.not_after_s = clock_realtime_s() - 3600;
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED, "expired");
}

static void a_job_of_tomorrow_is_left_to_others(void **state)
{
	struct rig *rig = *state;

	rig->job.doc.not_before_s = clock_realtime_s() + 86400;
	rig->job.doc.not_after_s = clock_realtime_s() + 90000;
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED_HERE, "not_yet_valid");
}

static void issue_is_not_for_this_signer(Certq__SignerStatement *statement)
{
	statement->issue = false;
}

static void a_signer_may_sign_its_kinds_only(void **state)
{
	struct rig *rig = *state;
	struct fixture_tenant *t = &rig->v.tenant;

	codec_free(t->statement);
	t->statement = fixture_statement(t, t->root, t->signer, issue_is_not_for_this_signer);
	expect_refusal(
		rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED_HERE, "signer_not_valid");
}

static void revision_two_and_past(Certq__SignerStatement *statement)
{
	statement->revision = 2;
	statement->not_before_s -= 86400;
	statement->not_after_s = clock_realtime_s() - 60;
}

static void a_withdrawn_statement_does_not_come_back(void **state)
{
	struct rig *rig = *state;
	struct fixture_tenant *t = &rig->v.tenant;
	Certq__SignedDocument *older = t->statement;

	t->statement = fixture_statement(t, t->root, t->signer, revision_two_and_past);
	expect_refusal(
		rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED_HERE, "signer_not_valid");
	codec_free(t->statement);
	t->statement = older;
	expect_refusal(
		rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED_HERE, "signer_not_valid");
}

static void a_job_of_another_kind_is_malformed(void **state)
{
	struct rig *rig = *state;

	fixture_chain(&rig->job, &rig->v.tenant, "job-1", "corp-user");
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job),
		VAULT__VAULT_STATUS__VAULT_MALFORMED, "malformed");
}

/* ---- policy ---- */

static void what_policy_denies_is_refused_with_a_signature(void **state)
{
	struct rig *rig = *state;

	rig->job.san[0].value = codec_text("alice@evil.com");
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED, "policy_denied");
}

static void a_rules_name_leaves_only_where_policy_says_so(void **state)
{
	struct rig *rig = *state;

	rig->job.san[0].value = codec_text("alice@evil.com");
	Vault__VaultAnswer *answer = fixture_vault_begin(&rig->v, &rig->job);
	assert_int_equal(answer->detail.len, 0);
	codec_free(answer);
	use_policy(rig, "report_detail: full");
	rig->job.doc.idempotency_key = codec_text("job-2");
	answer = fixture_vault_begin(&rig->v, &rig->job);
	assert_true(answer->detail.len > 0);
	codec_free(answer);
}

static void without_a_policy_file_nothing_is_issued(void **state)
{
	struct rig *rig = *state;

	free(rig->v.policy);
	rig->v.policy = NULL;
	fixture_vault_reload(&rig->v);
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED, "policy_missing");
}

static void with_a_broken_policy_file_jobs_wait(void **state)
{
	struct rig *rig = *state;

	use_policy(rig, "device_keys: whatever");
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job),
		VAULT__VAULT_STATUS__VAULT_BUSY, "policy_problem");
	use_policy(rig, NULL);
	codec_free(begin_ok(rig));
}

static void a_ca_without_a_pinned_root_is_not_asked(void **state)
{
	struct rig *rig = *state;
	Vault__VaultAnswer *begun = begin_ok(rig);
	char *cas = strstr(rig->v.pins, "\ncas:");

	expect_refusal(rig,
		reorder(rig, codec_view(begun->begun->ticket), VAULT__ORDER_OP__ORDER_SUBMIT,
			"backup-ca"),
		VAULT__VAULT_STATUS__VAULT_BUSY, "policy_problem");
	assert_non_null(cas);
	cas[1] = '\0';
	fixture_vault_reload(&rig->v);
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job),
		VAULT__VAULT_STATUS__VAULT_BUSY, "policy_problem");
	codec_free(begun);
}

static void without_pins_the_keyvault_is_not_enrolled(void **state)
{
	struct rig *rig = *state;

	free(rig->v.pins);
	rig->v.pins = NULL;
	fixture_vault_reload(&rig->v);
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job),
		VAULT__VAULT_STATUS__VAULT_NOT_ENROLLED, "not_enrolled");
}

static void a_rate_limit_makes_jobs_wait(void **state)
{
	struct rig *rig = *state;

	use_policy(rig, "limits: {issue_per_hour: 1}");
	codec_free(begin_ok(rig));
	codec_free(begin_ok(rig)); /* a repeat is not counted */
	rig->job.doc.idempotency_key = codec_text("job-2");
	Vault__VaultAnswer *answer = fixture_vault_begin(&rig->v, &rig->job);
	assert_true(answer->retry_after_ms > 0);
	expect_refusal(rig, answer, VAULT__VAULT_STATUS__VAULT_BUSY, "rate_limited");
}

/* ---- device keys ---- */

static void a_weak_device_key_is_refused(void **state)
{
	struct rig *rig = *state;
	EVP_PKEY *weak = fixture_key("rsa-1024");
	cc_blob spki = fixture_spki(weak);

	rig->job.device_key.spki = codec_bytes(cc_blob_view(&spki));
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED, "device_key_refused");
	cc_blob_free(&spki);
	EVP_PKEY_free(weak);
}

static void a_pinned_device_keeps_its_key(void **state)
{
	struct rig *rig = *state;
	EVP_PKEY *other = fixture_key("ec-p256");
	cc_blob spki = fixture_spki(other);

	use_policy(rig, "device_keys: pinned\nunknown_keys: refuse");
	codec_free(begin_ok(rig));
	rig->job.doc.idempotency_key = codec_text("job-2");
	rig->job.device_key.spki = codec_bytes(cc_blob_view(&spki));
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED, "device_key_refused");
	cc_blob_free(&spki);
	EVP_PKEY_free(other);
}

static cc_blob signed_with_sha1(const struct fixture_ca *ca, cc_view certificate)
{
	const uint8_t *at = certificate.data;
	X509 *x = d2i_X509(NULL, &at, (long)certificate.size);
	unsigned char *der = NULL;

	assert_non_null(x);
	assert_true(X509_sign(x, ca->key, EVP_sha1()) > 0);
	int size = i2d_X509(x, &der);
	assert_true(size > 0);
	cc_blob copy = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	X509_free(x);
	return copy;
}

static void a_certified_device_needs_its_certificate(void **state)
{
	struct rig *rig = *state;
	struct fixture_ca device_ca = {0}, other_ca = {0};
	ProtobufCBinaryData chain[1];
	cc_blob line = CC_BLOB_NONE;

	fixture_ca_make(&device_ca, "Device CA");
	fixture_ca_make(&other_ca, "Device CA");
	char *pem = fixture_ca_pem(&device_ca);
	cc_blob_printf(&line, "device_cas:\n  - \"");
	for (const char *p = pem; *p != '\0'; p++)
		cc_blob_printf(&line, "%s", *p == '\n' ? "\\n" : (char[]){*p, '\0'});
	cc_blob_printf(&line, "\"\ndevice_keys: certified");
	char *base = fixture_vault_policy("device_keys: certified");
	char *without = strstr(base, "device_keys:");
	*without = '\0';
	free(rig->v.policy);
	rig->v.policy = cc_asprintf("%s%s\n", base, cc_blob_text(&line));
	fixture_vault_reload(&rig->v);

	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED, "device_key_refused");
	rig->job.device_key.spki = (ProtobufCBinaryData){0};
	rig->job.device_key.certificate_chain = chain;
	rig->job.device_key.n_certificate_chain = 1;
	cc_blob foreign = fixture_ca_device(&other_ca, rig->device, "device-1");
	chain[0] = codec_bytes(cc_blob_view(&foreign));
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED, "device_key_refused");
	cc_blob wrong = fixture_ca_device(&device_ca, rig->device, "device-2");
	chain[0] = codec_bytes(cc_blob_view(&wrong));
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED, "device_key_refused");
	cc_blob right = fixture_ca_device(&device_ca, rig->device, "device-1");
	cc_blob weak = signed_with_sha1(&device_ca, cc_blob_view(&right));
	chain[0] = codec_bytes(cc_blob_view(&weak));
	expect_refusal(rig, fixture_vault_begin(&rig->v, &rig->job), REFUSED, "device_key_refused");
	cc_blob_free(&weak);
	chain[0] = codec_bytes(cc_blob_view(&right));
	issue_and_deliver(rig);
	cc_blob_free(&foreign);
	cc_blob_free(&wrong);
	cc_blob_free(&right);
	cc_blob_free(&line);
	free(base);
	free(pem);
	fixture_ca_clear(&device_ca);
	fixture_ca_clear(&other_ca);
}

/* ---- finish and reorder ---- */

static void swapped_and_foreign_tickets_are_refused(void **state)
{
	struct rig *rig = *state;
	Vault__VaultAnswer *first = begin_ok(rig);

	rig->job.doc.idempotency_key = codec_text("job-2");
	Vault__VaultAnswer *second = begin_ok(rig);
	cc_blob leaf = fixture_ca_issue(
		&rig->v.ca, codec_view(first->begun->csr), "clientAuth", 90 * 86400, NULL, NULL);
	expect_refusal(rig,
		fixture_vault_finish(
			&rig->v, codec_view(second->begun->ticket), "corp-ca", cc_blob_view(&leaf)),
		REFUSED, "certificate_mismatch");
	second->begun->ticket.data[40] ^= 1;
	Vault__VaultAnswer *answer = fixture_vault_finish(
		&rig->v, codec_view(second->begun->ticket), "corp-ca", cc_blob_view(&leaf));
	assert_int_equal(answer->status, REFUSED);
	assert_true(text_equal(codec_view(answer->code), "ticket_invalid"));
	assert_null(answer->refusal);
	assert_null(answer->result);
	codec_free(answer);
	cc_blob_free(&leaf);
	codec_free(first);
	codec_free(second);
}

static void a_certificate_of_another_ca_is_refused(void **state)
{
	struct rig *rig = *state;
	struct fixture_ca evil = {0};
	Vault__VaultAnswer *begun = begin_ok(rig);

	fixture_ca_make(&evil, "Contoso Root");
	cc_blob leaf = fixture_ca_issue(
		&evil, codec_view(begun->begun->csr), "clientAuth", 90 * 86400, NULL, NULL);
	expect_refusal(rig,
		fixture_vault_finish(
			&rig->v, codec_view(begun->begun->ticket), "corp-ca", cc_blob_view(&leaf)),
		REFUSED, "certificate_mismatch");
	expect_refusal(rig,
		fixture_vault_finish(&rig->v, codec_view(begun->begun->ticket), "backup-ca",
			cc_blob_view(&leaf)),
		REFUSED, "certificate_mismatch");
	expect_refusal(rig,
		fixture_vault_finish(
			&rig->v, codec_view(begun->begun->ticket), "evil-ca", cc_blob_view(&leaf)),
		REFUSED, "policy_denied");
	cc_blob_free(&leaf);
	codec_free(begun);
	fixture_ca_clear(&evil);
}

static void a_certificate_with_more_than_asked_for_is_refused(void **state)
{
	struct rig *rig = *state;
	Vault__VaultAnswer *begun = begin_ok(rig);
	cc_blob too_long = fixture_ca_issue(
		&rig->v.ca, codec_view(begun->begun->csr), "clientAuth", 200 * 86400, NULL, NULL);
	cc_blob too_wide = fixture_ca_issue(&rig->v.ca, codec_view(begun->begun->csr),
		"clientAuth,codeSigning", 90 * 86400, NULL, NULL);

	expect_refusal(rig,
		fixture_vault_finish(&rig->v, codec_view(begun->begun->ticket), "corp-ca",
			cc_blob_view(&too_long)),
		REFUSED, "certificate_mismatch");
	expect_refusal(rig,
		fixture_vault_finish(&rig->v, codec_view(begun->begun->ticket), "corp-ca",
			cc_blob_view(&too_wide)),
		REFUSED, "certificate_mismatch");
	cc_blob_free(&too_long);
	cc_blob_free(&too_wide);
	codec_free(begun);
}

static void a_fresh_order_names_one_of_the_profiles_cas(void **state)
{
	struct rig *rig = *state;
	Vault__VaultAnswer *begun = begin_ok(rig);
	cc_view ticket = codec_view(begun->begun->ticket);
	Vault__VaultAnswer *answer = reorder(rig, ticket, VAULT__ORDER_OP__ORDER_POLL, "backup-ca");

	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_ORDER);
	Vault__Order *order = order_of(rig, answer->order);
	assert_int_equal(order->op, VAULT__ORDER_OP__ORDER_POLL);
	assert_true(text_equal(codec_view(order->ca), "backup-ca"));
	assert_true(cc_view_equal(codec_view(order->csr), codec_view(begun->begun->csr)));
	codec_free(order);
	codec_free(answer);
	expect_refusal(rig, reorder(rig, ticket, VAULT__ORDER_OP__ORDER_SUBMIT, "evil-ca"), REFUSED,
		"policy_denied");
	expect_refusal(rig, reorder(rig, ticket, VAULT__ORDER_OP__ORDER_REVOKE, "corp-ca"),
		VAULT__VAULT_STATUS__VAULT_MALFORMED, "malformed");
	codec_free(begun);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(a_job_is_issued_and_the_device_can_use_what_comes),
		WITH_RIG(an_rsa_key_and_the_other_seal_work_too),
		WITH_RIG(keys_from_the_pool_are_used_once),
		WITH_RIG(the_order_carries_the_configured_strings),
		WITH_RIG(the_result_says_when_to_renew),
		WITH_RIG(the_same_job_gives_the_same_csr_and_ticket),
		WITH_RIG(the_same_job_gives_the_same_csr_after_a_restart),
		WITH_RIG(two_at_once_get_one_csr),
		WITH_RIG(other_bytes_under_the_same_id_are_refused),
		WITH_RIG(finish_may_be_repeated_with_another_password),
		WITH_RIG(an_unsigned_job_is_refused_without_a_signature),
		WITH_RIG(an_altered_job_is_refused),
		WITH_RIG(a_job_of_an_unknown_signer_is_refused),
		WITH_RIG(a_document_of_another_type_is_no_job),
		WITH_RIG(a_job_of_another_tenant_is_refused),
		WITH_RIG(a_job_for_another_connector_is_refused_and_a_group_is_fine),
		WITH_RIG(the_envelopes_job_id_must_be_the_derived_one),
		WITH_RIG(an_expired_job_is_refused_with_a_signature),
		WITH_RIG(a_job_of_tomorrow_is_left_to_others),
		WITH_RIG(a_signer_may_sign_its_kinds_only),
		WITH_RIG(a_withdrawn_statement_does_not_come_back),
		WITH_RIG(a_job_of_another_kind_is_malformed),
		WITH_RIG(what_policy_denies_is_refused_with_a_signature),
		WITH_RIG(a_rules_name_leaves_only_where_policy_says_so),
		WITH_RIG(without_a_policy_file_nothing_is_issued),
		WITH_RIG(with_a_broken_policy_file_jobs_wait),
		WITH_RIG(a_ca_without_a_pinned_root_is_not_asked),
		WITH_RIG(without_pins_the_keyvault_is_not_enrolled),
		WITH_RIG(a_rate_limit_makes_jobs_wait),
		WITH_RIG(a_weak_device_key_is_refused),
		WITH_RIG(a_pinned_device_keeps_its_key),
		WITH_RIG(a_certified_device_needs_its_certificate),
		WITH_RIG(swapped_and_foreign_tickets_are_refused),
		WITH_RIG(a_certificate_of_another_ca_is_refused),
		WITH_RIG(a_certificate_with_more_than_asked_for_is_refused),
		WITH_RIG(a_fresh_order_names_one_of_the_profiles_cas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
