/*
 * A hostile program in the connector's place speaks out of turn: as somebody else, in requests of
 * another door, in requests that do not exist, and at the administrator's socket.
 */
#include "base/chan.h"
#include "proto/codec.h"
#include "proto/greeting.h"
#include "tests/support/hostile_courier.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct house house;

static size_t count_keys(void)
{
	Vault__VaultAnswer *answer = courier_list(&house);
	size_t count = answer->list->n_keys;

	codec_free(answer);
	return count;
}

static void expect_device_works(void)
{
	EVP_PKEY *device = fixture_key("ec-p256");
	cc_blob spki = fixture_spki(device);
	struct fixture_job j;

	fixture_issue(&j, &house.tenant, "after", HOUSE_PROFILE, cc_blob_view(&spki));
	codec_free(courier_begin_honest(&house, &j));
	cc_blob_free(&spki);
	EVP_PKEY_free(device);
}

/* The connector's door reads VaultRequest and nothing else, so what an AdminRequest comes to there is
 * a request of this door or none at all; either way no key is made and nothing is told. */
static void send_admin_request(Vault__AdminRequest *request)
{
	cc_blob frame = codec_pack(request), reply = CC_BLOB_NONE;
	Vault__VaultAnswer *answer = NULL;

	house_converse(&house.vault);
	courier_send(&house.vault, cc_blob_view(&frame));
	cc_err err = CC_OK;
	do {
		codec_free(answer);
		answer = NULL;
		cc_blob_free(&reply);
		err = chan_read_frame(house.vault.talk, CHAN_FRAME_MAX, HOUSE_WAIT_MS, &reply);
		if (err == CC_OK)
			assert_int_equal(codec_decode(&vault__vault_answer__descriptor,
						 cc_blob_view(&reply), CHAN_FRAME_MAX, &answer),
				CC_OK);
	} while (err == CC_OK && answer->request_id == 0);
	if (err != CC_CLOSED) {
		assert_int_equal(err, CC_OK);
		assert_int_not_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
		assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER__NOT_SET);
		assert_null(answer->refusal);
	}
	codec_free(answer);
	cc_blob_free(&reply);
	cc_blob_free(&frame);
}

static void operations_of_the_administrators_door_do_nothing_at_the_connectors(void **state)
{
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminGenerateKey generate = VAULT__ADMIN_GENERATE_KEY__INIT;
	Vault__AdminListDevices devices = VAULT__ADMIN_LIST_DEVICES__INIT;
	Vault__AdminBlockDevice block = VAULT__ADMIN_BLOCK_DEVICE__INIT;
	Vault__AdminApproveJob approve = VAULT__ADMIN_APPROVE_JOB__INIT;
	Vault__AdminOther other = VAULT__ADMIN_OTHER__INIT;
	size_t keys = count_keys();

	(void)state;
	request.request_id = 4242;
	generate.bits = 2048;
	request.op_case = VAULT__ADMIN_REQUEST__OP_GENERATE_KEY;
	request.generate_key = &generate;
	send_admin_request(&request);
	devices.device_id = codec_text("device-1");
	request.op_case = VAULT__ADMIN_REQUEST__OP_LIST_DEVICES;
	request.list_devices = &devices;
	send_admin_request(&request);
	block.tenant = codec_text(HOUSE_TENANT);
	block.device_id = codec_text("device-1");
	request.op_case = VAULT__ADMIN_REQUEST__OP_BLOCK_DEVICE;
	request.block_device = &block;
	send_admin_request(&request);
	approve.job_id = codec_text("0123456789abcdef");
	request.op_case = VAULT__ADMIN_REQUEST__OP_APPROVE_JOB;
	request.approve_job = &approve;
	send_admin_request(&request);
	other.operation = codec_text("backup");
	request.op_case = VAULT__ADMIN_REQUEST__OP_OTHER;
	request.other = &other;
	send_admin_request(&request);
	house_converse(&house.vault);
	assert_int_equal(count_keys(), keys);
	expect_device_works();
}

/* ---- who is not the connector, and what is not a request ---- */

static struct house_role *const roles[] = {&house.vault, &house.corp};

static void an_operation_that_does_not_exist_ends_the_conversation(void **state)
{
	/* request_id 7, then field 99 with an empty message */
	static const uint8_t unknown[] = {0x08, 0x07, 0x9a, 0x06, 0x00};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		courier_send(roles[i], cc_view_of(unknown, sizeof(unknown)));
		courier_expect_cut_off(roles[i]);
		house_converse(roles[i]); /* and the role is well */
	}
}

static void what_is_not_a_message_ends_the_conversation(void **state)
{
	static const uint8_t garbage[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		courier_send(roles[i], cc_view_of(garbage, sizeof(garbage)));
		courier_expect_cut_off(roles[i]);
		house_converse(roles[i]);
	}
}

static void expect_greeting_refused(Role__RoleKind kind, const char *name, const char *build_id)
{
	cc_blob greeting = greeting_pack(kind, name, build_id);

	for (size_t i = 0; i < 2; i++) {
		house_converse_as(roles[i], cc_blob_view(&greeting));
		courier_expect_greeting(roles[i]);
		courier_expect_cut_off(roles[i]);
		house_converse(roles[i]);
	}
	cc_blob_free(&greeting);
}

static void who_greets_as_another_role_is_cut_off(void **state)
{
	(void)state;
	expect_greeting_refused(ROLE__ROLE_KIND__ROLE_SUPERVISOR, "supervisor", HOUSE_BUILD_ID);
	expect_greeting_refused(ROLE__ROLE_KIND__ROLE_SUPERVISOR, "connector", HOUSE_BUILD_ID);
	expect_greeting_refused(ROLE__ROLE_KIND__ROLE_KEYVAULT, "keyvault", HOUSE_BUILD_ID);
	expect_greeting_refused(ROLE__ROLE_KIND__ROLE_CONNECTOR, "another", HOUSE_BUILD_ID);
}

static void a_program_of_another_build_is_cut_off(void **state)
{
	(void)state;
	expect_greeting_refused(ROLE__ROLE_KIND__ROLE_CONNECTOR, "connector", "another-build");
}

static void the_administrators_socket_refuses_the_process_in_the_connectors_place(void **state)
{
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminGenerateKey generate = VAULT__ADMIN_GENERATE_KEY__INIT;
	char *path = house_admin_path(&house);
	size_t keys = count_keys();
	cc_blob answer = CC_BLOB_NONE;
	int fd = -1;

	(void)state;
	house_refuse_pid(&house, getpid());
	house_converse(&house.vault); /* once this is answered, the pids have arrived */
	assert_int_equal(chan_connect_path(path, HOUSE_WAIT_MS, &fd), CC_OK);
	request.request_id = 1;
	request.op_case = VAULT__ADMIN_REQUEST__OP_GENERATE_KEY;
	request.generate_key = &generate;
	cc_blob frame = codec_pack(&request);
	cc_ignore(chan_write_frame(fd, cc_blob_view(&frame), HOUSE_WAIT_MS),
		"it may be cut off already");
	assert_int_equal(chan_read_frame(fd, CHAN_FRAME_MAX, HOUSE_WAIT_MS, &answer), CC_CLOSED);
	assert_int_equal(count_keys(), keys);
	close(fd);
	cc_blob_free(&frame);
	free(path);
}

static int open_house(void **state)
{
	(void)state;
	house_open(&house);
	return 0;
}

static int close_house(void **state)
{
	(void)state;
	house_close(&house);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			operations_of_the_administrators_door_do_nothing_at_the_connectors),
		cmocka_unit_test(an_operation_that_does_not_exist_ends_the_conversation),
		cmocka_unit_test(what_is_not_a_message_ends_the_conversation),
		cmocka_unit_test(who_greets_as_another_role_is_cut_off),
		cmocka_unit_test(a_program_of_another_build_is_cut_off),
		cmocka_unit_test(
			the_administrators_socket_refuses_the_process_in_the_connectors_place),
	};

	return cmocka_run_group_tests(tests, open_house, close_house);
}
