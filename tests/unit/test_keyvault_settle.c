/*
 * What clears up after a job, at a real keyvault process: orders to poll and to withdraw, and orders to
 * revoke a certificate that nobody was given (approve_orphan).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/role.h"
#include "proto/codec.h"
#include "tests/support/fixture_vault.h"
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define OK       VAULT__VAULT_STATUS__VAULT_OK
#define REFUSED  VAULT__VAULT_STATUS__VAULT_REFUSED
#define BUSY     VAULT__VAULT_STATUS__VAULT_BUSY
#define SUBMIT   VAULT__ORDER_OP__ORDER_SUBMIT
#define POLL     VAULT__ORDER_OP__ORDER_POLL
#define WITHDRAW VAULT__ORDER_OP__ORDER_WITHDRAW
#define HOUR_S   3600
#define LIFE_S   (39 * 86400) /* of a ticket: pending limit, watch time and margin */

struct rig {
	struct fixture_vault v;
	EVP_PKEY *device;
	cc_blob spki;
	struct fixture_job job;
};

static int rig_new(void **state)
{
	struct rig *rig = cc_alloc(sizeof(*rig));

	fixture_vault_prepare(&rig->v, keyvault_role_main);
	fixture_vault_start(&rig->v);
	rig->device = fixture_key("ec-p256");
	rig->spki = fixture_spki(rig->device);
	*state = rig;
	return 0;
}

static int rig_free(void **state)
{
	struct rig *rig = *state;

	fixture_vault_clear(&rig->v);
	clock_shift_for_test(0, 0);
	EVP_PKEY_free(rig->device);
	cc_blob_free(&rig->spki);
	free(rig);
	return 0;
}

/* The keyvault starts again, so many seconds from now. */
static void move_on(struct rig *rig, int64_t seconds)
{
	assert_int_equal(fixture_vault_stop(&rig->v), 0);
	clock_shift_for_test(seconds * 1000, 0);
	fixture_vault_start(&rig->v);
}

struct begun {
	cc_blob csr, ticket;
};

static struct begun begin(struct rig *rig, const char *key)
{
	struct begun b;

	fixture_issue(&rig->job, &rig->v.tenant, key, "corp-user", cc_blob_view(&rig->spki));
	Vault__VaultAnswer *answer = fixture_vault_begin(&rig->v, &rig->job);
	assert_int_equal(answer->status, OK);
	b.csr = cc_blob_copy(codec_view(answer->begun->csr));
	b.ticket = cc_blob_copy(codec_view(answer->begun->ticket));
	codec_free(answer);
	return b;
}

static void clear(struct begun *b)
{
	cc_blob_free(&b->csr);
	cc_blob_free(&b->ticket);
}

/* Past the finish_by of what was begun before.  A later job of the same week keeps the ticket key. */
static void pass_finish_by(struct rig *rig)
{
	move_on(rig, 2 * HOUR_S);
	struct begun later = begin(rig, "later");
	clear(&later);
	move_on(rig, LIFE_S + HOUR_S);
}

static cc_blob certify(const struct fixture_ca *ca, const struct begun *b)
{
	return fixture_ca_issue(ca, cc_blob_view(&b->csr), "clientAuth", 90 * 86400, NULL, NULL);
}

static void expect(Vault__VaultAnswer *answer, Vault__VaultStatus status, const char *code)
{
	assert_int_equal(answer->status, status);
	assert_true(text_equal(codec_view(answer->code), code));
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER__NOT_SET);
	codec_free(answer);
}

/* The order in the answer, verified. */
static Vault__Order *order_of(struct rig *rig, Vault__VaultAnswer *answer)
{
	Vault__Order *order = NULL;

	assert_int_equal(answer->status, OK);
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_ORDER);
	assert_int_equal(
		dsse_verify(cc_blob_view(&rig->v.approval_spki), DOC_ORDER, answer->order), CC_OK);
	assert_int_equal(codec_decode_document(&vault__order__descriptor,
				 codec_view(answer->order->body), 65536, &order),
		CC_OK);
	codec_free(answer);
	return order;
}

/* ---- reorder ---- */

static Vault__VaultAnswer *reorder(
	struct rig *rig, const struct begun *b, Vault__OrderOp op, const char *ca)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__Reorder body = VAULT__REORDER__INIT;

	body.ticket = codec_bytes(cc_blob_view(&b->ticket));
	body.op = op;
	body.ca = codec_text(ca);
	request.op_case = VAULT__VAULT_REQUEST__OP_REORDER;
	request.reorder = &body;
	return fixture_vault_ask(&rig->v, &request);
}

static void expect_order(struct rig *rig, const struct begun *b, Vault__OrderOp op, const char *ca)
{
	Vault__Order *order = order_of(rig, reorder(rig, b, op, ca));

	assert_int_equal(order->op, op);
	assert_true(text_equal(codec_view(order->ca), ca));
	assert_true(cc_view_equal(codec_view(order->csr), cc_blob_view(&b->csr)));
	assert_true(order->not_after_s <= clock_realtime_s() + 600);
	codec_free(order);
}

static void a_ticket_is_good_for_orders_at_each_of_the_profiles_cas(void **state)
{
	struct rig *rig = *state;
	struct begun b = begin(rig, "job-1");

	expect_order(rig, &b, SUBMIT, "corp-ca");
	expect_order(rig, &b, POLL, "corp-ca");
	expect_order(rig, &b, WITHDRAW, "corp-ca");
	expect_order(rig, &b, POLL, "backup-ca");
	expect_order(rig, &b, WITHDRAW, "backup-ca");
	expect(reorder(rig, &b, POLL, "evil-ca"), REFUSED, "policy_denied");
	expect(reorder(rig, &b, WITHDRAW, "evil-ca"), REFUSED, "policy_denied");
	clear(&b);
}

static void orders_are_given_after_the_job_has_expired(void **state)
{
	struct rig *rig = *state;
	struct begun b = begin(rig, "job-1");

	move_on(rig, 2 * HOUR_S);
	expect_order(rig, &b, SUBMIT, "corp-ca");
	expect_order(rig, &b, POLL, "corp-ca");
	expect_order(rig, &b, WITHDRAW, "corp-ca");
	clear(&b);
}

static void past_finish_by_there_are_orders_to_settle_and_none_to_submit(void **state)
{
	struct rig *rig = *state;
	struct begun b = begin(rig, "job-1");

	pass_finish_by(rig);
	expect(reorder(rig, &b, SUBMIT, "corp-ca"), REFUSED, "ticket_invalid");
	expect_order(rig, &b, POLL, "corp-ca");
	expect_order(rig, &b, WITHDRAW, "corp-ca");
	clear(&b);
}

static void a_policy_that_allows_the_job_no_longer_stops_a_submit_only(void **state)
{
	struct rig *rig = *state;
	struct begun b = begin(rig, "job-1");

	free(rig->v.policy);
	rig->v.policy = NULL;
	fixture_vault_reload(&rig->v);
	expect(reorder(rig, &b, SUBMIT, "corp-ca"), REFUSED, "policy_missing");
	expect_order(rig, &b, POLL, "corp-ca");
	expect_order(rig, &b, WITHDRAW, "corp-ca");
	expect(reorder(rig, &b, WITHDRAW, "backup-ca"), REFUSED, "policy_denied");
	clear(&b);
}

/* ---- approve_orphan ---- */

static Vault__VaultAnswer *give_up(
	struct rig *rig, const struct begun *b, cc_view certificate, const char *ca)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ApproveOrphan body = VAULT__APPROVE_ORPHAN__INIT;

	body.ticket = codec_bytes(cc_blob_view(&b->ticket));
	body.certificate = codec_bytes(certificate);
	body.ca = codec_text(ca);
	request.op_case = VAULT__VAULT_REQUEST__OP_APPROVE_ORPHAN;
	request.approve_orphan = &body;
	return fixture_vault_ask(&rig->v, &request);
}

static void expect_revoke(struct rig *rig, const struct begun *b, const cc_blob *leaf)
{
	Vault__Order *order = order_of(rig, give_up(rig, b, cc_blob_view(leaf), "corp-ca"));
	const uint8_t *at = leaf->data;
	X509 *x = d2i_X509(NULL, &at, (long)leaf->size);
	const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
	uint8_t *issuer = NULL;
	int size = i2d_X509_NAME(X509_get_issuer_name(x), &issuer);

	assert_int_equal(order->op, VAULT__ORDER_OP__ORDER_REVOKE);
	assert_true(text_equal(codec_view(order->ca), "corp-ca"));
	assert_true(cc_view_equal(codec_view(order->issuer), cc_view_of(issuer, (size_t)size)));
	/* content octets: a zero in front where the first bit is set */
	assert_true(order->serial.len >= (size_t)serial->length);
	assert_memory_equal(order->serial.data + order->serial.len - (size_t)serial->length,
		serial->data, (size_t)serial->length);
	assert_int_equal(order->csr.len, 0);
	OPENSSL_free(issuer);
	X509_free(x);
	codec_free(order);
}

static Vault__VaultAnswer *finish(struct rig *rig, const struct begun *b, const cc_blob *leaf)
{
	return fixture_vault_finish(
		&rig->v, cc_blob_view(&b->ticket), "corp-ca", cc_blob_view(leaf));
}

static void a_certificate_that_nobody_was_given_may_be_revoked(void **state)
{
	struct rig *rig = *state;
	struct begun b = begin(rig, "job-1");
	cc_blob leaf = certify(&rig->v.ca, &b);

	expect_revoke(rig, &b, &leaf);
	expect_revoke(rig, &b, &leaf); /* the CA was away */
	pass_finish_by(rig);
	expect_revoke(rig, &b, &leaf);
	cc_blob_free(&leaf);
	clear(&b);
}

static void an_orphan_is_not_delivered_any_more(void **state)
{
	struct rig *rig = *state;
	struct begun b = begin(rig, "job-1");
	cc_blob leaf = certify(&rig->v.ca, &b), second = certify(&rig->v.ca, &b);

	expect_revoke(rig, &b, &leaf);
	expect(finish(rig, &b, &leaf), REFUSED, "certificate_mismatch");
	Vault__VaultAnswer *answer = finish(rig, &b, &second);
	assert_int_equal(answer->status, OK);
	codec_free(answer);
	expect_revoke(rig, &b, &leaf);
	cc_blob_free(&leaf);
	cc_blob_free(&second);
	clear(&b);
}

static void a_certificate_that_was_delivered_is_no_orphan(void **state)
{
	struct rig *rig = *state;
	struct begun b = begin(rig, "job-1");
	cc_blob leaf = certify(&rig->v.ca, &b);
	Vault__VaultAnswer *answer = finish(rig, &b, &leaf);

	assert_int_equal(answer->status, OK);
	codec_free(answer);
	expect(give_up(rig, &b, cc_blob_view(&leaf), "corp-ca"), REFUSED, "policy_denied");
	fixture_vault_kill(&rig->v);
	fixture_vault_start(&rig->v);
	expect(give_up(rig, &b, cc_blob_view(&leaf), "corp-ca"), REFUSED, "policy_denied");
	cc_blob_free(&leaf);
	clear(&b);
}

static void a_certificate_with_another_key_is_never_revoked(void **state)
{
	struct rig *rig = *state;
	struct begun mine = begin(rig, "job-1"), other = begin(rig, "job-2");
	cc_blob leaf = certify(&rig->v.ca, &other);

	expect(give_up(rig, &mine, cc_blob_view(&leaf), "corp-ca"), REFUSED,
		"certificate_mismatch");
	expect(give_up(rig, &mine, CC_VIEW_NONE, "corp-ca"), REFUSED, "certificate_mismatch");
	mine.ticket.data[mine.ticket.size - 1] ^= 1;
	expect(give_up(rig, &mine, cc_blob_view(&leaf), "corp-ca"), REFUSED, "ticket_invalid");
	cc_blob_free(&leaf);
	clear(&mine);
	clear(&other);
}

/* Whoever has the CSR can make a certificate with its key, and with any issuer and serial in it. */
static void a_certificate_that_the_ca_did_not_make_names_nothing(void **state)
{
	struct rig *rig = *state;
	struct begun b = begin(rig, "job-1");
	struct fixture_ca evil;
	cc_blob leaf;

	fixture_ca_make(&evil, "Corp CA");
	assert_int_equal(X509_set_subject_name(
				 evil.certificate, X509_get_subject_name(rig->v.ca.certificate)),
		1);
	leaf = certify(&evil, &b);
	expect(give_up(rig, &b, cc_blob_view(&leaf), "corp-ca"), REFUSED, "certificate_mismatch");
	expect(give_up(rig, &b, cc_blob_view(&leaf), "backup-ca"), REFUSED, "certificate_mismatch");
	fixture_ca_clear(&evil);
	cc_blob_free(&leaf);
	clear(&b);
}

static void orphans_are_limited_and_counted_once(void **state)
{
	struct rig *rig = *state;
	struct begun one, two;
	cc_blob first, second;

	fixture_vault_use_policy(&rig->v, "limits: {revoke_per_hour: 1}");
	one = begin(rig, "job-1");
	two = begin(rig, "job-2");
	first = certify(&rig->v.ca, &one);
	second = certify(&rig->v.ca, &two);
	expect_revoke(rig, &one, &first);
	expect_revoke(rig, &one, &first);
	expect(give_up(rig, &two, cc_blob_view(&second), "corp-ca"), BUSY, "rate_limited");
	cc_blob_free(&first);
	cc_blob_free(&second);
	clear(&one);
	clear(&two);
}

int main(void)
{
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_new, rig_free)
	const struct CMUnitTest tests[] = {
		WITH_RIG(a_ticket_is_good_for_orders_at_each_of_the_profiles_cas),
		WITH_RIG(orders_are_given_after_the_job_has_expired),
		WITH_RIG(past_finish_by_there_are_orders_to_settle_and_none_to_submit),
		WITH_RIG(a_policy_that_allows_the_job_no_longer_stops_a_submit_only),
		WITH_RIG(a_certificate_that_nobody_was_given_may_be_revoked),
		WITH_RIG(an_orphan_is_not_delivered_any_more),
		WITH_RIG(a_certificate_that_was_delivered_is_no_orphan),
		WITH_RIG(a_certificate_with_another_key_is_never_revoked),
		WITH_RIG(a_certificate_that_the_ca_did_not_make_names_nothing),
		WITH_RIG(orphans_are_limited_and_counted_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
#undef WITH_RIG
}
