/*
 * A hostile program in the connector's place has good tickets and tries them with the wrong certificates,
 * the wrong CAs and the wrong bytes.
 */
#include "proto/codec.h"
#include "proto/dsse.h"
#include "proto/job.h"
#include "tests/support/hostile_courier.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define REFUSED   VAULT__VAULT_STATUS__VAULT_REFUSED
#define MALFORMED VAULT__VAULT_STATUS__VAULT_MALFORMED
#define LIFETIME  (80 * 86400L) /* within the 90 days of the profile */

static struct house house;
static EVP_PKEY *device;
static cc_blob device_spki;

/* A job that was begun, and the certificate that corp-ca made for it. */
struct begun {
	struct fixture_job j;
	Vault__VaultAnswer *answer;
	Ca__CaAnswer *issued; /* NULL: the CA was not asked */
	cc_view ticket, csr;
};

static void begin(struct begun *b, const char *key)
{
	fixture_issue(&b->j, &house.tenant, key, HOUSE_PROFILE, cc_blob_view(&device_spki));
	b->answer = courier_begin_honest(&house, &b->j);
	b->ticket = codec_view(b->answer->begun->ticket);
	b->csr = codec_view(b->answer->begun->csr);
	b->issued = NULL;
}

static void begin_and_issue(struct begun *b, const char *key)
{
	begin(b, key);
	b->issued = courier_issue(&house, &house.corp, b->answer->begun->order, true);
}

static void clear(struct begun *b)
{
	codec_free(b->answer);
	codec_free(b->issued);
}

/* finish_issue with this ticket and what the CA answered to that job. */
static Vault__VaultAnswer *finish(cc_view ticket, const char *ca, const Ca__CaAnswer *issued)
{
	cc_view chain[8];

	assert_true(issued->n_chain <= 8);
	for (size_t i = 0; i < issued->n_chain; i++)
		chain[i] = codec_view(issued->chain[i]);
	return courier_finish(&house, ticket, ca, chain, issued->n_chain);
}

/* finish_issue with a certificate that the test made, and the CA above it. */
static Vault__VaultAnswer *finish_with(
	const struct begun *b, const char *ca, const cc_blob *leaf, const struct fixture_ca *above)
{
	const cc_view chain[] = {cc_blob_view(leaf), cc_blob_view(&above->der)};

	return courier_finish(&house, b->ticket, ca, chain, 2);
}

static void expect_mismatch(Vault__VaultAnswer *answer, const char *words)
{
	courier_expect_words(answer, words);
	courier_expect_refusal(&house, answer, REFUSED, "certificate_mismatch");
}

static void expect_invalid(Vault__VaultAnswer *answer)
{
	courier_expect_refusal(&house, answer, REFUSED, "ticket_invalid");
}

static void expect_issued(const struct begun *b, Vault__VaultAnswer *answer)
{
	uint8_t job_id[JOB_ID_SIZE];
	Certq__SignedDocument *job = fixture_sign(&house.tenant, &b->j, job_id);
	cc_blob password = CC_BLOB_NONE;

	courier_expect_result(
		&house, answer, job, job_id, CC_VIEW_NONE, CERTQ__OUTCOME__OUTCOME_ISSUED);
	assert_true(courier_unseal(device, codec_view(answer->result->sealed_password), &password));
	assert_true(password.size > 0);
	cc_blob_free(&password);
	codec_free(job);
	codec_free(answer);
}

/* ---- what all the refusals below are measured against ---- */

static void the_jobs_own_certificate_is_taken_also_after_a_kill(void **state)
{
	struct begun b;

	(void)state;
	begin_and_issue(&b, "own");
	expect_issued(&b, finish(b.ticket, HOUSE_CORP_CA, b.issued));
	house_kill(&house, &house.vault);
	expect_issued(&b, finish(b.ticket, HOUSE_CORP_CA, b.issued));
	clear(&b);
}

/* ---- certificates ---- */

static void the_certificate_of_another_job_is_refused(void **state)
{
	struct begun a, b;

	(void)state;
	begin_and_issue(&a, "swap-a");
	begin_and_issue(&b, "swap-b");
	expect_mismatch(finish(a.ticket, HOUSE_CORP_CA, b.issued), "its key");
	expect_mismatch(finish(b.ticket, HOUSE_CORP_CA, a.issued), "its key");
	expect_issued(&a, finish(a.ticket, HOUSE_CORP_CA, a.issued));
	expect_issued(&b, finish(b.ticket, HOUSE_CORP_CA, b.issued));
	clear(&a);
	clear(&b);
}

static void a_chain_from_the_attackers_ca_of_the_same_name_is_refused(void **state)
{
	struct fixture_ca evil;
	struct begun b;

	(void)state;
	fixture_ca_make(&evil, "Test CA");
	begin(&b, "own-ca");
	cc_blob leaf = fixture_ca_issue(&evil, b.csr, "clientAuth", LIFETIME, NULL, NULL);
	expect_mismatch(finish_with(&b, HOUSE_TEST_CA, &leaf, &evil), "no path");
	/* the pinned root beside it does not help */
	expect_mismatch(finish_with(&b, HOUSE_TEST_CA, &leaf, &house.test_ca), "no path");
	/* and corp-ca's name under the attacker's key neither */
	fixture_ca_clear(&evil);
	fixture_ca_make(&evil, HOUSE_CORP_CA);
	cc_blob_free(&leaf);
	leaf = fixture_ca_issue(&evil, b.csr, "clientAuth", LIFETIME, NULL, NULL);
	expect_mismatch(finish_with(&b, HOUSE_CORP_CA, &leaf, &evil), "no path");
	cc_blob_free(&leaf);
	fixture_ca_clear(&evil);
	clear(&b);
}

static void a_certificate_for_another_key_is_refused(void **state)
{
	EVP_PKEY *key = fixture_key("ec-p256");
	struct begun b;

	(void)state;
	begin(&b, "other-key");
	cc_blob csr = courier_csr_for(b.csr, key);
	cc_blob leaf = fixture_ca_issue(
		&house.test_ca, cc_blob_view(&csr), "clientAuth", LIFETIME, NULL, NULL);
	expect_mismatch(finish_with(&b, HOUSE_TEST_CA, &leaf, &house.test_ca), "its key");
	cc_blob_free(&leaf);
	/* all else was right: the same for the ticket's key is taken */
	leaf = fixture_ca_issue(&house.test_ca, b.csr, "clientAuth", LIFETIME, NULL, NULL);
	expect_issued(&b, finish_with(&b, HOUSE_TEST_CA, &leaf, &house.test_ca));
	cc_blob_free(&leaf);
	cc_blob_free(&csr);
	EVP_PKEY_free(key);
	clear(&b);
}

static void rename_subject(X509 *certificate, void *arg)
{
	X509_NAME *name = X509_get_subject_name(certificate);

	assert_int_equal(X509_NAME_add_entry_by_txt(
				 name, "CN", MBSTRING_UTF8, (const unsigned char *)arg, -1, -1, 0),
		1);
}

static void a_certificate_that_says_more_than_the_job_is_refused(void **state)
{
	char name[] = "administrator";
	struct begun b;

	(void)state;
	begin(&b, "more");
	cc_blob leaf = fixture_ca_issue(
		&house.test_ca, b.csr, "clientAuth", LIFETIME, rename_subject, name);
	expect_mismatch(finish_with(&b, HOUSE_TEST_CA, &leaf, &house.test_ca), "subject");
	cc_blob_free(&leaf);
	leaf = fixture_ca_issue(
		&house.test_ca, b.csr, "clientAuth,serverAuth", LIFETIME, NULL, NULL);
	expect_mismatch(
		finish_with(&b, HOUSE_TEST_CA, &leaf, &house.test_ca), "extended key usage");
	cc_blob_free(&leaf);
	leaf = fixture_ca_issue(&house.test_ca, b.csr, "clientAuth", 10 * LIFETIME, NULL, NULL);
	expect_mismatch(finish_with(&b, HOUSE_TEST_CA, &leaf, &house.test_ca), "longer");
	cc_blob_free(&leaf);
	clear(&b);
}

static void no_certificate_at_all_is_refused(void **state)
{
	const cc_view nonsense = cc_view_text("not a certificate");
	struct begun b;

	(void)state;
	begin(&b, "none");
	expect_mismatch(courier_finish(&house, b.ticket, HOUSE_CORP_CA, NULL, 0), "0 certificates");
	expect_mismatch(
		courier_finish(&house, b.ticket, HOUSE_CORP_CA, &nonsense, 1), "does not parse");
	expect_mismatch(
		courier_finish(&house, b.ticket, HOUSE_CORP_CA, &b.csr, 1), "does not parse");
	clear(&b);
}

/* ---- CAs ---- */

static void the_name_of_another_ca_is_refused(void **state)
{
	struct begun b;

	(void)state;
	begin_and_issue(&b, "ca-name");
	expect_mismatch(finish(b.ticket, HOUSE_BACKUP_CA, b.issued), "no path");
	expect_mismatch(finish(b.ticket, HOUSE_TEST_CA, b.issued), "no path");
	courier_expect_refusal(
		&house, finish(b.ticket, "no-such-ca", b.issued), REFUSED, "policy_denied");
	courier_expect_refusal(&house, finish(b.ticket, "", b.issued), REFUSED, "policy_denied");
	clear(&b);
}

/* ---- tickets ---- */

static void a_ticket_with_one_bit_flipped_is_refused(void **state)
{
	struct begun b;

	(void)state;
	begin_and_issue(&b, "flip");
	for (size_t at = 0; at < b.ticket.size; at += at < 40 ? 1 : 37) {
		cc_blob flipped = cc_blob_copy(b.ticket);
		flipped.data[at] ^= 0x10;
		expect_invalid(finish(cc_blob_view(&flipped), HOUSE_CORP_CA, b.issued));
		cc_blob_free(&flipped);
	}
	clear(&b);
}

static void a_ticket_under_the_id_of_another_job_is_refused(void **state)
{
	uint8_t id_a[JOB_ID_SIZE], id_b[JOB_ID_SIZE];
	struct begun a, b;

	(void)state;
	begin_and_issue(&a, "id-a");
	begin_and_issue(&b, "id-b");
	job_id_derive(cc_view_text(HOUSE_TENANT), cc_view_text("id-a"), id_a);
	job_id_derive(cc_view_text(HOUSE_TENANT), cc_view_text("id-b"), id_b);
	cc_blob swapped = cc_blob_copy(a.ticket);
	uint8_t *at = memmem(swapped.data, swapped.size, id_a, sizeof(id_a));
	assert_non_null(at); /* the ticket names its job in clear */
	memcpy(at, id_b, sizeof(id_b));
	expect_invalid(finish(cc_blob_view(&swapped), HOUSE_CORP_CA, a.issued));
	expect_invalid(finish(cc_blob_view(&swapped), HOUSE_CORP_CA, b.issued));
	cc_blob_free(&swapped);
	clear(&a);
	clear(&b);
}

static void a_part_of_a_ticket_is_refused(void **state)
{
	struct begun b;

	(void)state;
	begin_and_issue(&b, "part");
	expect_invalid(finish(CC_VIEW_NONE, HOUSE_CORP_CA, b.issued));
	expect_invalid(finish(cc_view_part(b.ticket, 0, 21), HOUSE_CORP_CA, b.issued));
	expect_invalid(
		finish(cc_view_part(b.ticket, 0, b.ticket.size - 1), HOUSE_CORP_CA, b.issued));
	clear(&b);
}

static void a_ticket_of_another_keyvault_is_refused(void **state)
{
	struct house other;
	struct begun b, theirs;

	(void)state;
	begin_and_issue(&b, "elsewhere");
	house_open(&other);
	fixture_issue(
		&theirs.j, &other.tenant, "elsewhere", HOUSE_PROFILE, cc_blob_view(&device_spki));
	theirs.answer = courier_begin_honest(&other, &theirs.j);
	expect_invalid(finish(codec_view(theirs.answer->begun->ticket), HOUSE_CORP_CA, b.issued));
	/* nor is its order an order here */
	courier_expect_no_certificate(&house,
		courier_submit(&house, &house.corp, theirs.answer->begun->order),
		CA__CA_RESULT__CA_ORDER_REFUSED, "another key");
	codec_free(theirs.answer);
	house_close(&other);
	clear(&b);
}

/* ---- orders on a ticket ---- */

static void reorder_gives_nothing_for_a_bad_ticket(void **state)
{
	struct begun b;

	(void)state;
	begin(&b, "reorder-ticket");
	cc_blob flipped = cc_blob_copy(b.ticket);
	flipped.data[flipped.size / 2] ^= 1;
	expect_invalid(courier_reorder(
		&house, cc_blob_view(&flipped), VAULT__ORDER_OP__ORDER_SUBMIT, HOUSE_CORP_CA));
	expect_invalid(courier_reorder(
		&house, CC_VIEW_NONE, VAULT__ORDER_OP__ORDER_SUBMIT, HOUSE_CORP_CA));
	cc_blob_free(&flipped);
	clear(&b);
}

static void reorder_gives_nothing_for_another_ca_or_operation(void **state)
{
	struct begun b;

	(void)state;
	begin(&b, "reorder-op");
	courier_expect_refusal(&house,
		courier_reorder(&house, b.ticket, VAULT__ORDER_OP__ORDER_SUBMIT, "no-such-ca"),
		REFUSED, "policy_denied");
	courier_expect_refusal(&house,
		courier_reorder(&house, b.ticket, VAULT__ORDER_OP__ORDER_REVOKE, HOUSE_CORP_CA),
		MALFORMED, "malformed");
	courier_expect_refusal(&house,
		courier_reorder(
			&house, b.ticket, VAULT__ORDER_OP__ORDER_UNSPECIFIED, HOUSE_CORP_CA),
		MALFORMED, "malformed");
	clear(&b);
}

static void reorder_orders_the_tickets_csr_and_nothing_else(void **state)
{
	struct begun b;
	Vault__Order *order = NULL;

	(void)state;
	begin(&b, "reorder");
	Vault__VaultAnswer *answer =
		courier_reorder(&house, b.ticket, VAULT__ORDER_OP__ORDER_SUBMIT, HOUSE_CORP_CA);
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_ORDER);
	assert_int_equal(
		dsse_verify(cc_blob_view(&house.approval_spki), DOC_ORDER, answer->order), CC_OK);
	assert_int_equal(codec_decode_document(&vault__order__descriptor,
				 codec_view(answer->order->body), DOC_BODY_MAX, &order),
		CC_OK);
	assert_true(cc_view_equal(codec_view(order->csr), b.csr));
	assert_true(text_equal(codec_view(order->template_), "user"));
	/* so a second submit, by the fresh order, is the same certificate */
	Ca__CaAnswer *one = courier_issue(&house, &house.corp, b.answer->begun->order, true);
	Ca__CaAnswer *two = courier_issue(&house, &house.corp, answer->order, false);
	assert_true(cc_view_equal(codec_view(one->chain[0]), codec_view(two->chain[0])));
	codec_free(one);
	codec_free(two);
	codec_free(order);
	codec_free(answer);
	clear(&b);
}

static int open_house(void **state)
{
	(void)state;
	house_open(&house);
	device = fixture_key("ec-p256");
	device_spki = fixture_spki(device);
	return 0;
}

static int close_house(void **state)
{
	(void)state;
	house_close(&house);
	EVP_PKEY_free(device);
	cc_blob_free(&device_spki);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_jobs_own_certificate_is_taken_also_after_a_kill),
		cmocka_unit_test(the_certificate_of_another_job_is_refused),
		cmocka_unit_test(a_chain_from_the_attackers_ca_of_the_same_name_is_refused),
		cmocka_unit_test(a_certificate_for_another_key_is_refused),
		cmocka_unit_test(a_certificate_that_says_more_than_the_job_is_refused),
		cmocka_unit_test(no_certificate_at_all_is_refused),
		cmocka_unit_test(the_name_of_another_ca_is_refused),
		cmocka_unit_test(a_ticket_with_one_bit_flipped_is_refused),
		cmocka_unit_test(a_ticket_under_the_id_of_another_job_is_refused),
		cmocka_unit_test(a_part_of_a_ticket_is_refused),
		cmocka_unit_test(a_ticket_of_another_keyvault_is_refused),
		cmocka_unit_test(reorder_gives_nothing_for_a_bad_ticket),
		cmocka_unit_test(reorder_gives_nothing_for_another_ca_or_operation),
		cmocka_unit_test(reorder_orders_the_tickets_csr_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, open_house, close_house);
}
