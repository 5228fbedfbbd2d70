/*
 * The keyvault's process and its two doors: what each carries, what ends a channel, who is turned away,
 * and what decisions leave behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "proto/codec.h"
#include "tests/support/vault_rig.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void begin(struct rig *rig, const char *key)
{
	rig->job.doc.idempotency_key = codec_text(key);
	Vault__VaultAnswer *answer = fixture_vault_begin(&rig->v, &rig->job);
	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
	codec_free(answer);
}

/* ---- the process ---- */

static void an_orderly_stop_ends_with_status_0(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(fixture_vault_stop(&rig->v), 0);
}

static void the_end_of_the_link_ends_the_role(void **state)
{
	struct rig *rig = *state;
	int status = 0;

	close(rig->v.link);
	rig->v.link = -1;
	assert_int_equal(waitpid(rig->v.pid, &status, 0), rig->v.pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	rig->v.pid = 0;
}

static void own_keys_are_the_same_after_a_restart(void **state)
{
	struct rig *rig = *state;
	cc_blob approval = cc_blob_copy(cc_blob_view(&rig->v.approval_spki));
	cc_blob result = cc_blob_copy(cc_blob_view(&rig->v.result_spki));

	fixture_vault_kill(&rig->v);
	fixture_vault_start(&rig->v);
	assert_true(cc_view_equal(cc_blob_view(&approval), cc_blob_view(&rig->v.approval_spki)));
	assert_true(cc_view_equal(cc_blob_view(&result), cc_blob_view(&rig->v.result_spki)));
	assert_false(cc_view_equal(cc_blob_view(&approval), cc_blob_view(&result)));
	cc_blob_free(&approval);
	cc_blob_free(&result);
}

/* ---- the connector's door ---- */

static void the_public_list_tells_who_what_and_no_secrets(void **state)
{
	struct rig *rig = *state;
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ListPublic list = VAULT__LIST_PUBLIC__INIT;

	request.op_case = VAULT__VAULT_REQUEST__OP_LIST_PUBLIC;
	request.list_public = &list;
	Vault__VaultAnswer *answer = fixture_vault_ask(&rig->v, &request);
	assert_int_equal(answer->list->n_keys, 3);
	assert_true(text_equal(codec_view(answer->list->tenant), "contoso"));
	assert_true(text_equal(codec_view(answer->list->connector_id), "hq-1"));
	assert_true(text_equal(codec_view(answer->list->device_keys), "any_signed"));
	assert_int_equal(answer->list->policy_revision, 7);
	assert_int_equal(answer->list->policy_problem.len, 0);
	assert_int_equal(answer->list->n_profiles, 1);
	assert_true(text_equal(codec_view(answer->list->profiles[0]->cas[0]), "corp-ca"));
	assert_int_equal(answer->list->n_expiries, 1);
	assert_true(text_equal(codec_view(answer->list->expiries[0]->what), "root of CA corp-ca"));
	assert_int_equal(answer->list->expiries[0]->not_after_s,
		clock_asn1_s(X509_get0_notAfter(rig->v.ca.certificate)));
	codec_free(answer);
}

static void an_orphan_without_a_ticket_is_refused(void **state)
{
	struct rig *rig = *state;
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ApproveOrphan orphan = VAULT__APPROVE_ORPHAN__INIT;

	request.op_case = VAULT__VAULT_REQUEST__OP_APPROVE_ORPHAN;
	request.approve_orphan = &orphan;
	Vault__VaultAnswer *answer = fixture_vault_ask(&rig->v, &request);
	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_REFUSED);
	assert_true(text_equal(codec_view(answer->code), "ticket_invalid"));
	codec_free(answer);
}

static void an_unknown_operation_ends_the_conversation(void **state)
{
	static const uint8_t unknown[] = {0x08, 0x01, 0xfa, 0x01, 0x00}; /* field 31 */
	struct rig *rig = *state;

	assert_true(fixture_vault_hangs_up(&rig->v, cc_view_of(unknown, sizeof(unknown))));
	fixture_vault_converse(&rig->v);
	begin(rig, "job-1");
}

static void an_administrators_request_is_none_at_this_door(void **state)
{
	struct rig *rig = *state;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminOther other = VAULT__ADMIN_OTHER__INIT;

	/* the doors share no field number: what is meant for the other one is unknown here */
	request.request_id = 1;
	request.op_case = VAULT__ADMIN_REQUEST__OP_OTHER;
	request.other = &other;
	cc_blob frame = codec_pack(&request);
	assert_true(fixture_vault_hangs_up(&rig->v, cc_blob_view(&frame)));
	cc_blob_free(&frame);
}

static void garbage_ends_the_conversation(void **state)
{
	struct rig *rig = *state;

	assert_true(fixture_vault_hangs_up(&rig->v, cc_view_text("\xff\xff\xff\xff garbage")));
}

static void an_empty_request_of_each_operation_gives_nothing(void **state)
{
	struct rig *rig = *state;
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__BeginIssue begin_issue = VAULT__BEGIN_ISSUE__INIT;
	Vault__FinishIssue finish = VAULT__FINISH_ISSUE__INIT;
	Vault__Rewrap rewrap = VAULT__REWRAP__INIT;
	Vault__ChainResult chain = VAULT__CHAIN_RESULT__INIT;
	Vault__Reorder reorder = VAULT__REORDER__INIT;
	static const Vault__VaultRequest__OpCase ops[] = {VAULT__VAULT_REQUEST__OP_BEGIN_ISSUE,
		VAULT__VAULT_REQUEST__OP_FINISH_ISSUE, VAULT__VAULT_REQUEST__OP_REWRAP,
		VAULT__VAULT_REQUEST__OP_CHAIN_RESULT, VAULT__VAULT_REQUEST__OP_REORDER};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		request.op_case = ops[i];
		switch (ops[i]) {
		case VAULT__VAULT_REQUEST__OP_BEGIN_ISSUE:
			request.begin_issue = &begin_issue;
			break;
		case VAULT__VAULT_REQUEST__OP_FINISH_ISSUE:
			request.finish_issue = &finish;
			break;
		case VAULT__VAULT_REQUEST__OP_REWRAP:
			request.rewrap = &rewrap;
			break;
		case VAULT__VAULT_REQUEST__OP_CHAIN_RESULT:
			request.chain_result = &chain;
			break;
		default:
			request.reorder = &reorder;
			break;
		}
		Vault__VaultAnswer *answer = fixture_vault_ask(&rig->v, &request);
		assert_int_not_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
		assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER__NOT_SET);
		assert_null(answer->refusal);
		codec_free(answer);
	}
}

/* ---- decisions ---- */

static uint64_t counter_at(const struct rig *rig, size_t i)
{
	assert_true(rig->v.decisions.size >= (i + 1) * 8);
	return cc_get_u64(rig->v.decisions.data + i * 8);
}

static void confirm(struct rig *rig, uint64_t counter)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ConfirmDecisions body = VAULT__CONFIRM_DECISIONS__INIT;

	body.counter = counter;
	request.op_case = VAULT__VAULT_REQUEST__OP_CONFIRM_DECISIONS;
	request.confirm_decisions = &body;
	Vault__VaultAnswer *answer = fixture_vault_ask(&rig->v, &request);
	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
	codec_free(answer);
}

static void each_answer_brings_its_decision_in_order(void **state)
{
	struct rig *rig = *state;

	begin(rig, "job-1");
	begin(rig, "job-2");
	rig->job.san[0].value = codec_text("alice@evil.com");
	rig->job.doc.idempotency_key = codec_text("job-3");
	codec_free(fixture_vault_begin(&rig->v, &rig->job));
	assert_int_equal(rig->v.decisions.size, 3 * 8);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(counter_at(rig, i), i + 1);
}

static void unconfirmed_decisions_come_again_in_the_next_conversation(void **state)
{
	struct rig *rig = *state;

	begin(rig, "job-1");
	begin(rig, "job-2");
	confirm(rig, 1);
	cc_blob_clear(&rig->v.decisions);
	fixture_vault_kill(&rig->v);
	fixture_vault_start(&rig->v);
	begin(rig, "job-3");
	assert_int_equal(rig->v.decisions.size, 2 * 8);
	assert_int_equal(counter_at(rig, 0), 2);
	assert_int_equal(counter_at(rig, 1), 3);
	confirm(rig, 3);
	cc_blob_clear(&rig->v.decisions);
	fixture_vault_converse(&rig->v);
	begin(rig, "job-4");
	assert_int_equal(rig->v.decisions.size, 8);
	assert_int_equal(counter_at(rig, 0), 4);
}

/* ---- the administrator's door ---- */

static void an_administrator_makes_and_lists_keys(void **state)
{
	struct rig *rig = *state;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminGenerateKey generate = VAULT__ADMIN_GENERATE_KEY__INIT;
	Vault__AdminListKeys list = VAULT__ADMIN_LIST_KEYS__INIT;
	size_t decrypt = 0;

	generate.bits = 2048;
	request.op_case = VAULT__ADMIN_REQUEST__OP_GENERATE_KEY;
	request.generate_key = &generate;
	Vault__AdminAnswer *made = fixture_vault_admin(&rig->v, &request);
	assert_int_equal(made->status, VAULT__VAULT_STATUS__VAULT_OK);
	assert_true(made->key->current);
	request.op_case = VAULT__ADMIN_REQUEST__OP_LIST_KEYS;
	request.list_keys = &list;
	Vault__AdminAnswer *answer = fixture_vault_admin(&rig->v, &request);
	for (size_t i = 0; i < answer->list->n_keys; i++) {
		if (!text_equal(codec_view(answer->list->keys[i]->use), "decrypt"))
			continue;
		decrypt++;
		assert_int_equal(answer->list->keys[i]->current,
			cc_view_equal(codec_view(answer->list->keys[i]->key_id),
				codec_view(made->key->key_id)));
	}
	assert_int_equal(decrypt, 2);
	codec_free(made);
	codec_free(answer);
}

static void an_administrators_decision_reaches_the_connectors_journal(void **state)
{
	struct rig *rig = *state;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminBlockDevice block = VAULT__ADMIN_BLOCK_DEVICE__INIT;

	block.tenant = codec_text("contoso");
	block.device_id = codec_text("device-1");
	request.op_case = VAULT__ADMIN_REQUEST__OP_BLOCK_DEVICE;
	request.block_device = &block;
	codec_free(fixture_vault_admin(&rig->v, &request));
	Vault__VaultAnswer *told = fixture_vault_next(&rig->v);
	assert_int_equal(told->request_id, 0);
	assert_int_equal(told->n_decisions, 1);
	codec_free(told);
}

static void a_blocked_device_gets_nothing_at_once(void **state)
{
	struct rig *rig = *state;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminBlockDevice block = VAULT__ADMIN_BLOCK_DEVICE__INIT;
	Vault__AdminListDevices list = VAULT__ADMIN_LIST_DEVICES__INIT;

	rig->job.doc.idempotency_key = codec_text("job-1");
	Vault__VaultAnswer *begun = fixture_vault_begin(&rig->v, &rig->job);
	block.device_id = codec_text("device-1");
	request.op_case = VAULT__ADMIN_REQUEST__OP_BLOCK_DEVICE;
	request.block_device = &block;
	codec_free(fixture_vault_admin(&rig->v, &request));
	cc_blob leaf = fixture_ca_issue(
		&rig->v.ca, codec_view(begun->begun->csr), "clientAuth", 86400, NULL, NULL);
	Vault__VaultAnswer *finished = fixture_vault_finish(
		&rig->v, codec_view(begun->begun->ticket), "corp-ca", cc_blob_view(&leaf));
	assert_int_equal(finished->status, VAULT__VAULT_STATUS__VAULT_REFUSED);
	assert_true(text_equal(codec_view(finished->code), "device_key_refused"));
	request.op_case = VAULT__ADMIN_REQUEST__OP_LIST_DEVICES;
	request.list_devices = &list;
	Vault__AdminAnswer *devices = fixture_vault_admin(&rig->v, &request);
	assert_int_equal(devices->devices->n_devices, 1);
	assert_true(devices->devices->devices[0]->blocked);
	assert_true(text_equal(codec_view(devices->devices->devices[0]->user_id), "user-alice"));
	codec_free(devices);
	codec_free(finished);
	codec_free(begun);
	cc_blob_free(&leaf);
}

/* The ticket's key is not the one that the device table knows by now: blocked is the device. */
static void a_blocked_device_gets_nothing_under_an_older_key(void **state)
{
	struct rig *rig = *state;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminBlockDevice block = VAULT__ADMIN_BLOCK_DEVICE__INIT;
	Vault__VaultRequest again = VAULT__VAULT_REQUEST__INIT;
	Vault__Reorder reorder = VAULT__REORDER__INIT;
	EVP_PKEY *newer = fixture_key("ec-p256");
	cc_blob spki = fixture_spki(newer);

	rig->job.doc.idempotency_key = codec_text("job-1");
	Vault__VaultAnswer *begun = fixture_vault_begin(&rig->v, &rig->job);
	rig->job.doc.idempotency_key = codec_text("job-2");
	rig->job.device_key.spki = codec_bytes(cc_blob_view(&spki));
	codec_free(fixture_vault_begin(&rig->v, &rig->job));
	block.device_id = codec_text("device-1");
	request.op_case = VAULT__ADMIN_REQUEST__OP_BLOCK_DEVICE;
	request.block_device = &block;
	codec_free(fixture_vault_admin(&rig->v, &request));
	cc_blob leaf = fixture_ca_issue(
		&rig->v.ca, codec_view(begun->begun->csr), "clientAuth", 86400, NULL, NULL);
	Vault__VaultAnswer *finished = fixture_vault_finish(
		&rig->v, codec_view(begun->begun->ticket), "corp-ca", cc_blob_view(&leaf));
	assert_int_equal(finished->status, VAULT__VAULT_STATUS__VAULT_REFUSED);
	assert_true(text_equal(codec_view(finished->code), "device_key_refused"));
	reorder.ticket = begun->begun->ticket;
	reorder.ca = codec_text("corp-ca");
	again.op_case = VAULT__VAULT_REQUEST__OP_REORDER;
	again.reorder = &reorder;
	reorder.op = VAULT__ORDER_OP__ORDER_SUBMIT;
	Vault__VaultAnswer *submit = fixture_vault_ask(&rig->v, &again);
	assert_int_equal(submit->status, VAULT__VAULT_STATUS__VAULT_REFUSED);
	reorder.op = VAULT__ORDER_OP__ORDER_WITHDRAW;
	Vault__VaultAnswer *withdraw = fixture_vault_ask(&rig->v, &again);
	assert_int_equal(withdraw->status, VAULT__VAULT_STATUS__VAULT_OK);
	codec_free(withdraw);
	codec_free(submit);
	codec_free(finished);
	codec_free(begun);
	cc_blob_free(&leaf);
	cc_blob_free(&spki);
	EVP_PKEY_free(newer);
}

static void a_role_of_the_daemon_is_turned_away(void **state)
{
	struct rig *rig = *state;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminListKeys list = VAULT__ADMIN_LIST_KEYS__INIT;

	request.op_case = VAULT__ADMIN_REQUEST__OP_LIST_KEYS;
	request.list_keys = &list;
	fixture_vault_refuse_pid(&rig->v, getpid());
	begin(rig,
		"job-1"); /* the link's message has been read by now, or will be before the next */
	Vault__AdminAnswer *answer = fixture_vault_admin(&rig->v, &request);
	assert_null(answer);
}

static void administrators_an_orphan_without_a_ticket_is_refused(void **state)
{
	struct rig *rig = *state;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminOther other = VAULT__ADMIN_OTHER__INIT;

	other.operation = codec_text("backup");
	request.op_case = VAULT__ADMIN_REQUEST__OP_OTHER;
	request.other = &other;
	Vault__AdminAnswer *answer = fixture_vault_admin(&rig->v, &request);
	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_NOT_SUPPORTED);
	codec_free(answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(an_orderly_stop_ends_with_status_0),
		WITH_RIG(the_end_of_the_link_ends_the_role),
		WITH_RIG(own_keys_are_the_same_after_a_restart),
		WITH_RIG(the_public_list_tells_who_what_and_no_secrets),
		WITH_RIG(an_orphan_without_a_ticket_is_refused),
		WITH_RIG(an_unknown_operation_ends_the_conversation),
		WITH_RIG(an_administrators_request_is_none_at_this_door),
		WITH_RIG(garbage_ends_the_conversation),
		WITH_RIG(an_empty_request_of_each_operation_gives_nothing),
		WITH_RIG(each_answer_brings_its_decision_in_order),
		WITH_RIG(unconfirmed_decisions_come_again_in_the_next_conversation),
		WITH_RIG(an_administrator_makes_and_lists_keys),
		WITH_RIG(an_administrators_decision_reaches_the_connectors_journal),
		WITH_RIG(a_blocked_device_gets_nothing_at_once),
		WITH_RIG(a_blocked_device_gets_nothing_under_an_older_key),
		WITH_RIG(a_role_of_the_daemon_is_turned_away),
		WITH_RIG(administrators_an_orphan_without_a_ticket_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
