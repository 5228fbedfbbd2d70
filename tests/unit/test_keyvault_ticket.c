/*
 * Tickets: they open for their own tenant and job under a key that still exists, and for nothing else.
 * Orders and refusals: signed with the right key over the right fields.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keyvault/order.h"
#include "keyvault/result.h"
#include "keyvault/ticket.h"
#include "proto/codec.h"
#include "proto/job.h"
#include "tests/support/fixture_vault.h"
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW 1000000

static const uint8_t job_id[JOB_ID_SIZE] = "0123456789abcde";
static const uint8_t digest[SHA256_SIZE] = "digest";

struct rig {
	struct ticket_ring *ring;
	cc_blob ticket;
	uint32_t number;
};

static Vault__TicketContent content_of(
	Certq__Issue *issue, Certq__Holder *holder, Certq__DeviceKey *key)
{
	Vault__TicketContent content = VAULT__TICKET_CONTENT__INIT;

	certq__issue__init(issue);
	certq__holder__init(holder);
	certq__device_key__init(key);
	issue->holder = holder;
	issue->device_key = key;
	content.version = 1;
	content.private_key = codec_text("a private key");
	content.job_sha256 = codec_bytes(cc_view_of(digest, sizeof(digest)));
	content.spki_sha256 = codec_bytes(cc_view_of(digest, sizeof(digest)));
	content.tenant = codec_text("contoso");
	content.job_id = codec_bytes(cc_view_of(job_id, sizeof(job_id)));
	content.issue = issue;
	content.finish_by_s = NOW + 100;
	return content;
}

static int rig_new(void **state)
{
	struct rig *rig = cc_alloc(sizeof(*rig));
	cc_secret master = cc_secret_new(32);
	Certq__Issue issue;
	Certq__Holder holder;
	Certq__DeviceKey key;
	Vault__TicketContent content = content_of(&issue, &holder, &key);

	rig->ring = ticket_ring_new(&master);
	cc_secret_free(&master);
	assert_int_equal(ticket_ring_add(rig->ring, 1, cc_view_text("salt one")), CC_OK);
	assert_int_equal(ticket_seal(rig->ring, &content, &rig->number, &rig->ticket), CC_OK);
	*state = rig;
	return 0;
}

static int rig_free(void **state)
{
	struct rig *rig = *state;

	ticket_ring_free(rig->ring);
	cc_blob_free(&rig->ticket);
	free(rig);
	return 0;
}

static cc_err open_for(struct rig *rig, const char *tenant, int64_t now)
{
	Vault__TicketContent *content = NULL;
	cc_err err = ticket_open(
		rig->ring, cc_view_text(tenant), cc_blob_view(&rig->ticket), now, &content);

	codec_free_secret(content);
	return err;
}

static void a_ticket_opens_again(void **state)
{
	struct rig *rig = *state;
	Vault__TicketContent *content = NULL;

	assert_int_equal(rig->number, 1);
	assert_int_equal(ticket_open(rig->ring, cc_view_text("contoso"), cc_blob_view(&rig->ticket),
				 NOW, &content),
		CC_OK);
	assert_true(text_equal(codec_view(content->private_key), "a private key"));
	codec_free_secret(content);
}

static void the_key_in_a_ticket_cannot_be_seen(void **state)
{
	struct rig *rig = *state;

	assert_null(memmem(rig->ticket.data, rig->ticket.size, "private key", 11));
}

static void every_altered_byte_is_noticed(void **state)
{
	struct rig *rig = *state;

	for (size_t i = 0; i < rig->ticket.size; i++) {
		rig->ticket.data[i] ^= 1;
		assert_int_not_equal(open_for(rig, "contoso", NOW), CC_OK);
		rig->ticket.data[i] ^= 1;
	}
	rig->ticket.size--;
	assert_int_not_equal(open_for(rig, "contoso", NOW), CC_OK);
	rig->ticket.size++;
}

static void another_tenant_cannot_use_it(void **state)
{
	assert_int_equal(open_for(*state, "fabrikam", NOW), CC_MISMATCH);
}

static void it_ends_with_its_finish_by(void **state)
{
	assert_int_equal(open_for(*state, "contoso", NOW + 100), CC_OK);
	assert_int_equal(open_for(*state, "contoso", NOW + 101), CC_EXPIRED);
}

static void a_destroyed_salt_ends_its_tickets(void **state)
{
	struct rig *rig = *state;
	const uint32_t left[] = {2};

	assert_int_equal(ticket_ring_add(rig->ring, 2, cc_view_text("salt two")), CC_OK);
	assert_int_equal(open_for(rig, "contoso", NOW), CC_OK);
	ticket_ring_keep(rig->ring, left, 1);
	assert_int_equal(open_for(rig, "contoso", NOW), CC_NOT_FOUND);
}

static void the_newest_key_seals(void **state)
{
	struct rig *rig = *state;
	Certq__Issue issue;
	Certq__Holder holder;
	Certq__DeviceKey key;
	Vault__TicketContent content = content_of(&issue, &holder, &key);

	assert_int_equal(ticket_ring_add(rig->ring, 7, cc_view_text("salt seven")), CC_OK);
	cc_blob_free(&rig->ticket);
	assert_int_equal(ticket_seal(rig->ring, &content, &rig->number, &rig->ticket), CC_OK);
	assert_int_equal(rig->number, 7);
	assert_int_equal(open_for(rig, "contoso", NOW), CC_OK);
}

/* ---- signatures ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static struct keystore *open_keys(char dir[])
{
	struct keystore *ks = NULL;
	cc_secret master = cc_secret_new(32);

	assert_non_null(mkdtemp(dir));
	assert_int_equal(keystore_open_files(dir, &master, &ks), CC_OK);
	assert_int_equal(keystore_ensure(ks, KEYSTORE_RESULT), CC_OK);
	assert_int_equal(keystore_ensure(ks, KEYSTORE_APPROVAL), CC_OK);
	cc_secret_free(&master);
	return ks;
}

static cc_blob spki_of(struct keystore *ks, enum keystore_use use)
{
	struct keystore_public found;

	for (size_t i = 0; keystore_at(ks, i, &found); i++)
		if (found.use == use)
			return cc_blob_copy(found.spki);
	return CC_BLOB_NONE;
}

static void an_order_is_signed_by_the_approval_key_for_ten_minutes(void **state)
{
	char dir[] = "/tmp/vault-XXXXXX";
	struct keystore *ks = open_keys(dir);
	cc_blob approval = spki_of(ks, KEYSTORE_APPROVAL), result = spki_of(ks, KEYSTORE_RESULT);
	struct order_facts facts = {.op = VAULT__ORDER_OP__ORDER_SUBMIT,
		.tenant = cc_view_text("contoso"),
		.job_id = cc_view_of(job_id, sizeof(job_id)),
		.ca = cc_view_text("corp-ca"),
		.template_name = cc_view_text("user"),
		.csr = cc_view_text("csr"),
		.validity_s = 86400,
		.now_s = NOW};
	Certq__SignedDocument *document = NULL;
	Vault__Order *order = NULL;
	(void)state;

	assert_int_equal(order_sign(ks, &facts, &document), CC_OK);
	assert_int_equal(dsse_verify(cc_blob_view(&approval), DOC_ORDER, document), CC_OK);
	assert_int_not_equal(dsse_verify(cc_blob_view(&result), DOC_ORDER, document), CC_OK);
	assert_int_not_equal(dsse_verify(cc_blob_view(&approval), DOC_RESULT, document), CC_OK);
	assert_int_equal(codec_decode_document(&vault__order__descriptor,
				 codec_view(document->body), 65536, &order),
		CC_OK);
	assert_int_equal(order->not_after_s, NOW + 600);
	assert_int_equal(order->validity_s, 86400);
	assert_true(text_equal(codec_view(order->ca), "corp-ca"));
	codec_free(order);
	codec_free(document);
	cc_blob_free(&approval);
	cc_blob_free(&result);
	keystore_close(ks);
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void a_refusal_carries_code_and_event_and_verifies(void **state)
{
	char dir[] = "/tmp/vault-XXXXXX";
	struct keystore *ks = open_keys(dir);
	cc_blob spki = spki_of(ks, KEYSTORE_RESULT);
	Certq__ResultBundle bundle = CERTQ__RESULT_BUNDLE__INIT;
	Certq__ResultDocument *document = NULL;
	cc_view id = cc_view_of(job_id, sizeof(job_id)), sha = cc_view_of(digest, sizeof(digest));
	(void)state;

	assert_int_equal(result_sign_refusal(ks, cc_view_text("contoso"), id, sha, REASON_POLICY,
				 &bundle.result),
		CC_OK);
	assert_int_equal(result_verify(cc_blob_view(&spki), cc_view_text("contoso"), id, sha,
				 &bundle, CC_VIEW_NONE, &document),
		CC_OK);
	assert_int_equal(document->outcome, CERTQ__OUTCOME__OUTCOME_REFUSED);
	assert_true(text_equal(codec_view(document->code), "policy_denied"));
	assert_int_equal(document->event, 5102);
	codec_free(document);
	codec_free(bundle.result);
	cc_blob_free(&spki);
	keystore_close(ks);
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_new, rig_free)
	const struct CMUnitTest tests[] = {
		WITH_RIG(a_ticket_opens_again),
		WITH_RIG(the_key_in_a_ticket_cannot_be_seen),
		WITH_RIG(every_altered_byte_is_noticed),
		WITH_RIG(another_tenant_cannot_use_it),
		WITH_RIG(it_ends_with_its_finish_by),
		WITH_RIG(a_destroyed_salt_ends_its_tickets),
		WITH_RIG(the_newest_key_seals),
		cmocka_unit_test(an_order_is_signed_by_the_approval_key_for_ten_minutes),
		cmocka_unit_test(a_refusal_carries_code_and_event_and_verifies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
