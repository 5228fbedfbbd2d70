/*
 * A hostile program in the connector's place asks a runner for certificates that the keyvault did not
 * order.  corp-ca believes the keyvault; backup-ca believes a key of the test's, so that orders can be
 * made here which the keyvault would never sign.
 */
#include "base/clock.h"
#include "proto/codec.h"
#include "proto/dsse.h"
#include "proto/job.h"
#include "tests/support/hostile_courier.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ORDER_REFUSED CA__CA_RESULT__CA_ORDER_REFUSED
#define NOT_ISSUED    CA__CA_RESULT__CA_NOT_ISSUED

static struct house house;
static cc_blob device_spki;
static EVP_PKEY *mallory;    /* a signing key that no runner believes */
static cc_blob csr_a, csr_b; /* two requests with the same names for two keys */

/* An order of the keyvault for corp-ca. */
static Vault__VaultAnswer *begin(const char *key)
{
	struct fixture_job j;

	fixture_issue(&j, &house.tenant, key, HOUSE_PROFILE, cc_blob_view(&device_spki));
	return courier_begin_honest(&house, &j);
}

/* An order for backup-ca that would be good; `id` must live as long. */
static void draft(Vault__Order *o, const char *key, uint8_t id[JOB_ID_SIZE])
{
	vault__order__init(o);
	job_id_derive(cc_view_text(HOUSE_TENANT), cc_view_text(key), id);
	o->version = 1;
	o->op = VAULT__ORDER_OP__ORDER_SUBMIT;
	o->tenant = codec_text(HOUSE_TENANT);
	o->job_id = codec_bytes(cc_view_of(id, JOB_ID_SIZE));
	o->ca = codec_text(HOUSE_BACKUP_CA);
	o->template_ = codec_text("user");
	o->csr = codec_bytes(cc_blob_view(&csr_a));
	o->validity_s = 86400;
	o->not_after_s = clock_realtime_s() + 300;
}

static Certq__SignedDocument *sign_as(const char *type, const Vault__Order *o)
{
	Certq__SignedDocument *document = NULL;
	cc_blob body = codec_pack(o);

	assert_int_equal(dsse_sign(house.approval, type, cc_blob_view(&body), &document), CC_OK);
	cc_blob_free(&body);
	return document;
}

static Ca__CaAnswer *submit_draft(const Vault__Order *o)
{
	Certq__SignedDocument *order = sign_as(DOC_ORDER, o);
	Ca__CaAnswer *answer = courier_submit(&house, &house.backup, order);

	codec_free(order);
	return answer;
}

static void expect_order_refused(
	const struct house_role *runner, Certq__SignedDocument *order, const char *words)
{
	courier_expect_no_certificate(
		&house, courier_submit(&house, runner, order), ORDER_REFUSED, words);
}

static void expect_draft_refused(const Vault__Order *o, const char *words)
{
	courier_expect_no_certificate(&house, submit_draft(o), ORDER_REFUSED, words);
}

static cc_blob issue_draft(const Vault__Order *o, bool is_new)
{
	Certq__SignedDocument *order = sign_as(DOC_ORDER, o);
	Ca__CaAnswer *answer = courier_issue(&house, &house.backup, order, is_new);
	cc_blob certificate = cc_blob_copy(codec_view(answer->chain[0]));

	codec_free(answer);
	codec_free(order);
	return certificate;
}

static Ca__CaAnswer *find(
	const struct house_role *runner, const char *tenant, cc_view job_id, cc_view csr)
{
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Find f = CA__FIND__INIT;
	uint8_t csr_sha256[SHA256_SIZE];

	hash_sha256(csr, csr_sha256);
	f.tenant = codec_text(tenant);
	f.job_id = codec_bytes(job_id);
	f.csr = codec_bytes(csr);
	f.csr_sha256 = codec_bytes(cc_view_of(csr_sha256, SHA256_SIZE));
	request.op_case = CA__CA_REQUEST__OP_FIND;
	request.find = &f;
	return courier_ask_runner(&house, runner, &request);
}

/* ---- who signed it ---- */

static void an_unsigned_order_is_refused(void **state)
{
	Vault__VaultAnswer *begun = begin("unsigned");
	Certq__SignedDocument *order = courier_copy(begun->begun->order);

	(void)state;
	expect_order_refused(&house.corp, NULL, "there is none");
	order->signature.len = 0;
	expect_order_refused(&house.corp, order, "signature of 0 bytes");
	order->key_id.len = 0;
	expect_order_refused(&house.corp, order, "another key");
	codec_free(order);
	codec_free(begun);
}

static void an_order_signed_by_another_key_is_refused(void **state)
{
	Vault__VaultAnswer *begun = begin("stranger");
	Certq__SignedDocument *order = NULL;

	(void)state;
	assert_int_equal(
		dsse_sign(mallory, DOC_ORDER, codec_view(begun->begun->order->body), &order),
		CC_OK);
	expect_order_refused(&house.corp, order, "another key");
	dsse_key_id(cc_blob_view(&house.approval_spki), order->key_id.data);
	expect_order_refused(&house.corp, order, "signature is not");
	/* the approval key of another house, and the tenant's own signer */
	codec_free(order);
	order = NULL;
	assert_int_equal(dsse_sign(house.tenant.signer, DOC_ORDER,
				 codec_view(begun->begun->order->body), &order),
		CC_OK);
	expect_order_refused(&house.corp, order, "another key");
	codec_free(order);
	codec_free(begun);
}

static void an_order_that_was_altered_is_refused(void **state)
{
	Vault__VaultAnswer *begun = begin("altered");

	(void)state;
	for (size_t at = 0; at < begun->begun->order->body.len; at += 13) {
		Certq__SignedDocument *altered = courier_copy(begun->begun->order);
		courier_flip(&altered->body, at);
		expect_order_refused(&house.corp, altered, "signature is not");
		codec_free(altered);
	}
	codec_free(begun);
}

static void an_order_with_another_csr_inside_is_refused(void **state)
{
	Vault__VaultAnswer *begun = begin("swapped");
	Certq__SignedDocument *order = courier_copy(begun->begun->order);
	Vault__Order *content = NULL;

	(void)state;
	assert_int_equal(codec_decode_document(&vault__order__descriptor, codec_view(order->body),
				 DOC_BODY_MAX, &content),
		CC_OK);
	ProtobufCBinaryData good = content->csr;
	content->csr = codec_bytes(cc_blob_view(&csr_b));
	cc_blob body = codec_pack(content);
	content->csr = good;
	ProtobufCBinaryData signed_body = order->body;
	order->body = codec_bytes(cc_blob_view(&body));
	expect_order_refused(&house.corp, order, "signature is not");
	order->body = signed_body;
	codec_free(courier_issue(&house, &house.corp, order, true));
	cc_blob_free(&body);
	codec_free(content);
	codec_free(order);
	codec_free(begun);
}

static void a_document_of_another_type_is_not_an_order(void **state)
{
	static const char *const types[] = {DOC_JOB, DOC_RESULT, DOC_SIGNER};
	uint8_t id[JOB_ID_SIZE];
	Vault__Order o;

	(void)state;
	draft(&o, "type", id);
	for (size_t i = 0; i < 3; i++) {
		Certq__SignedDocument *order = sign_as(types[i], &o);
		expect_order_refused(&house.backup, order, "signature is not");
		codec_free(order);
	}
}

/* ---- what it is for ---- */

static void an_order_for_another_operation_is_refused(void **state)
{
	static const Vault__OrderOp ops[] = {
		VAULT__ORDER_OP__ORDER_POLL, VAULT__ORDER_OP__ORDER_WITHDRAW};
	Vault__VaultAnswer *begun = begin("operation");

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		Vault__VaultAnswer *answer = courier_reorder(
			&house, codec_view(begun->begun->ticket), ops[i], HOUSE_CORP_CA);
		assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_ORDER);
		expect_order_refused(&house.corp, answer->order, "another operation");
		codec_free(answer);
	}
	codec_free(begun);
}

static void an_order_to_submit_does_not_poll_withdraw_or_revoke(void **state)
{
	Vault__VaultAnswer *begun = begin("submit-only");
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Poll poll = CA__POLL__INIT;
	Ca__Withdraw withdraw = CA__WITHDRAW__INIT;
	Ca__Revoke revoke = CA__REVOKE__INIT;

	(void)state;
	poll.order = withdraw.order = revoke.order = begun->begun->order;
	request.op_case = CA__CA_REQUEST__OP_POLL;
	request.poll = &poll;
	courier_expect_no_certificate(&house, courier_ask_runner(&house, &house.corp, &request),
		ORDER_REFUSED, "another operation");
	request.op_case = CA__CA_REQUEST__OP_WITHDRAW;
	request.withdraw = &withdraw;
	courier_expect_no_certificate(&house, courier_ask_runner(&house, &house.corp, &request),
		ORDER_REFUSED, "another operation");
	request.op_case = CA__CA_REQUEST__OP_REVOKE;
	request.revoke = &revoke;
	courier_expect_no_certificate(&house, courier_ask_runner(&house, &house.corp, &request),
		ORDER_REFUSED, "another operation");
	codec_free(begun);
}

static void an_order_for_another_ca_is_refused(void **state)
{
	Vault__VaultAnswer *begun = begin("other-ca");
	Vault__VaultAnswer *answer = courier_reorder(&house, codec_view(begun->begun->ticket),
		VAULT__ORDER_OP__ORDER_SUBMIT, HOUSE_BACKUP_CA);
	uint8_t id[JOB_ID_SIZE];
	Vault__Order o;

	(void)state;
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_ORDER);
	expect_order_refused(&house.corp, answer->order, "another CA");
	draft(&o, "other-ca-own", id);
	o.ca = codec_text(HOUSE_CORP_CA);
	expect_draft_refused(&o, "another CA");
	codec_free(answer);
	codec_free(begun);
}

static void an_expired_order_is_refused(void **state)
{
	uint8_t id[JOB_ID_SIZE];
	Vault__Order o;

	(void)state;
	draft(&o, "expired", id);
	o.not_after_s = clock_realtime_s() - 1;
	expect_draft_refused(&o, "over since");
	o.not_after_s = 0;
	expect_draft_refused(&o, "over since");
}

static void an_order_that_would_live_too_long_is_refused(void **state)
{
	uint8_t id[JOB_ID_SIZE];
	Vault__Order o;

	(void)state;
	draft(&o, "long", id);
	o.not_after_s = clock_realtime_s() + 3600;
	expect_draft_refused(&o, "longer");
	o.not_after_s = INT64_MAX;
	expect_draft_refused(&o, "longer");
}

static void an_order_with_odd_fields_is_refused(void **state)
{
	uint8_t id[JOB_ID_SIZE];
	Vault__Order o;

	(void)state;
	draft(&o, "odd", id);
	o.version = 2;
	expect_draft_refused(&o, "version 2");
	draft(&o, "odd", id);
	o.tenant = codec_text("Not A Name");
	expect_draft_refused(&o, "tenant");
	draft(&o, "odd", id);
	o.job_id.len = JOB_ID_SIZE - 1;
	expect_draft_refused(&o, "job id");
	draft(&o, "odd", id);
	o.csr.len = 0;
	expect_draft_refused(&o, "no CSR");
	draft(&o, "odd", id);
	o.template_ = codec_text("user\nother");
	expect_draft_refused(&o, "template");
}

static void an_order_with_a_field_that_nobody_knows_is_refused(void **state)
{
	static const uint8_t unknown[] = {0x98, 0x06, 0x01}; /* field 99, varint 1 */
	uint8_t id[JOB_ID_SIZE];
	Certq__SignedDocument *order = NULL;
	Vault__Order o;

	(void)state;
	draft(&o, "unknown", id);
	cc_blob body = codec_pack(&o);
	cc_blob_append(&body, cc_view_of(unknown, sizeof(unknown)));
	assert_int_equal(dsse_sign(house.approval, DOC_ORDER, cc_blob_view(&body), &order), CC_OK);
	expect_order_refused(&house.backup, order, "field 99");
	codec_free(order);
	cc_blob_free(&body);
}

/* ---- once more ---- */

static void the_same_order_twice_is_the_same_certificate(void **state)
{
	Vault__VaultAnswer *begun = begin("twice");
	Ca__CaAnswer *one = courier_issue(&house, &house.corp, begun->begun->order, true);
	Ca__CaAnswer *two = courier_issue(&house, &house.corp, begun->begun->order, false);

	(void)state;
	assert_true(cc_view_equal(codec_view(one->chain[0]), codec_view(two->chain[0])));
	codec_free(two);
	house_kill(&house, &house.corp);
	two = courier_issue(&house, &house.corp, begun->begun->order, false);
	assert_true(cc_view_equal(codec_view(one->chain[0]), codec_view(two->chain[0])));
	codec_free(one);
	codec_free(two);
	codec_free(begun);
}

static void many_at_once_are_still_one_certificate(void **state)
{
	enum { AT_ONCE = 8 };
	Vault__VaultAnswer *begun = begin("at-once");
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Submit submit = CA__SUBMIT__INIT;
	cc_blob first = CC_BLOB_NONE;

	(void)state;
	submit.order = begun->begun->order;
	request.op_case = CA__CA_REQUEST__OP_SUBMIT;
	request.submit = &submit;
	for (size_t i = 0; i < AT_ONCE; i++) {
		request.request_id = 1000000 + i;
		cc_blob frame = codec_pack(&request);
		courier_send(&house.corp, cc_blob_view(&frame));
		cc_blob_free(&frame);
	}
	for (size_t i = 0; i < AT_ONCE; i++) {
		Ca__CaAnswer *answer = courier_next_answer(&house.corp);
		assert_int_equal(answer->result, CA__CA_RESULT__CA_ISSUED);
		if (i == 0)
			first = cc_blob_copy(codec_view(answer->chain[0]));
		assert_true(cc_view_equal(cc_blob_view(&first), codec_view(answer->chain[0])));
		codec_free(answer);
	}
	house.issued++;
	assert_int_equal(house_count_issued(&house), house.issued);
	cc_blob_free(&first);
	codec_free(begun);
}

static void a_second_csr_for_a_job_is_refused(void **state)
{
	uint8_t id[JOB_ID_SIZE];
	Vault__Order o;

	(void)state;
	draft(&o, "second-csr", id);
	cc_blob one = issue_draft(&o, true);
	o.csr = codec_bytes(cc_blob_view(&csr_b));
	expect_draft_refused(&o, "another CSR");
	house_kill(&house, &house.backup);
	expect_draft_refused(&o, "another CSR");
	o.csr = codec_bytes(cc_blob_view(&csr_a));
	cc_blob again = issue_draft(&o, false);
	assert_true(cc_view_equal(cc_blob_view(&one), cc_blob_view(&again)));
	cc_blob_free(&one);
	cc_blob_free(&again);
}

/* ---- looking ---- */

static void find_for_an_unknown_job_finds_nothing(void **state)
{
	uint8_t id[JOB_ID_SIZE];

	(void)state;
	job_id_derive(cc_view_text(HOUSE_TENANT), cc_view_text("never-seen"), id);
	courier_expect_no_certificate(&house,
		find(&house.corp, HOUSE_TENANT, cc_view_of(id, sizeof(id)), cc_blob_view(&csr_a)),
		NOT_ISSUED, "nothing was issued");
}

static void find_finds_only_the_very_request(void **state)
{
	uint8_t id[JOB_ID_SIZE], other[JOB_ID_SIZE];
	Vault__Order o;

	(void)state;
	draft(&o, "find", id);
	job_id_derive(cc_view_text(HOUSE_TENANT), cc_view_text("find-other"), other);
	cc_blob made = issue_draft(&o, true);
	cc_view job = cc_view_of(id, sizeof(id)), csr = cc_blob_view(&csr_a);
	courier_expect_no_certificate(&house, find(&house.backup, "fabrikam", job, csr), NOT_ISSUED,
		"nothing was issued");
	courier_expect_no_certificate(&house,
		find(&house.backup, HOUSE_TENANT, cc_view_of(other, sizeof(other)), csr),
		NOT_ISSUED, "nothing was issued");
	courier_expect_no_certificate(&house,
		find(&house.backup, HOUSE_TENANT, job, cc_blob_view(&csr_b)), NOT_ISSUED,
		"another CSR");
	Ca__CaAnswer *found = find(&house.backup, HOUSE_TENANT, job, csr);
	assert_int_equal(found->result, CA__CA_RESULT__CA_ISSUED);
	assert_true(cc_view_equal(codec_view(found->chain[0]), cc_blob_view(&made)));
	codec_free(found);
	cc_blob_free(&made);
}

static cc_blob make_csr(cc_view like)
{
	EVP_PKEY *key = fixture_key("ec-p256");
	cc_blob csr = courier_csr_for(like, key);

	EVP_PKEY_free(key);
	return csr;
}

static int open_house(void **state)
{
	EVP_PKEY *device = fixture_key("ec-p256");

	(void)state;
	house_open(&house);
	device_spki = fixture_spki(device);
	EVP_PKEY_free(device);
	mallory = fixture_key("ed25519");
	Vault__VaultAnswer *begun = begin("a-model");
	csr_a = make_csr(codec_view(begun->begun->csr));
	csr_b = make_csr(codec_view(begun->begun->csr));
	codec_free(begun);
	return 0;
}

static int close_house(void **state)
{
	(void)state;
	house_close(&house);
	EVP_PKEY_free(mallory);
	cc_blob_free(&device_spki);
	cc_blob_free(&csr_a);
	cc_blob_free(&csr_b);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_unsigned_order_is_refused),
		cmocka_unit_test(an_order_signed_by_another_key_is_refused),
		cmocka_unit_test(an_order_that_was_altered_is_refused),
		cmocka_unit_test(an_order_with_another_csr_inside_is_refused),
		cmocka_unit_test(a_document_of_another_type_is_not_an_order),
		cmocka_unit_test(an_order_for_another_operation_is_refused),
		cmocka_unit_test(an_order_to_submit_does_not_poll_withdraw_or_revoke),
		cmocka_unit_test(an_order_for_another_ca_is_refused),
		cmocka_unit_test(an_expired_order_is_refused),
		cmocka_unit_test(an_order_that_would_live_too_long_is_refused),
		cmocka_unit_test(an_order_with_odd_fields_is_refused),
		cmocka_unit_test(an_order_with_a_field_that_nobody_knows_is_refused),
		cmocka_unit_test(the_same_order_twice_is_the_same_certificate),
		cmocka_unit_test(many_at_once_are_still_one_certificate),
		cmocka_unit_test(a_second_csr_for_a_job_is_refused),
		cmocka_unit_test(find_for_an_unknown_job_finds_nothing),
		cmocka_unit_test(find_finds_only_the_very_request),
	};

	return cmocka_run_group_tests(tests, open_house, close_house);
}
