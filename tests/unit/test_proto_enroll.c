/*
 * Enrolment token: its text, its checks, and the proof of possession.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "proto/codec.h"
#include "proto/enroll.h"
#include <stdlib.h>
#include <string.h>

struct rig {
	Certq__EnrolmentToken token;
	ProtobufCBinaryData groups[17];
	uint8_t pin[SHA256_SIZE], root[SHA256_SIZE], secret[SHA256_SIZE];
};

static void rig_make(struct rig *rig)
{
	*rig = (struct rig){.pin = {1}, .root = {2}, .secret = {3}};
	certq__enrolment_token__init(&rig->token);
	rig->token.version = 1;
	rig->token.token_id = codec_text("tok-1");
	rig->token.tenant = codec_text("contoso");
	rig->token.connector_id = codec_text("hq-1");
	for (size_t i = 0; i < 17; i++)
		rig->groups[i] = codec_text("hq");
	rig->token.groups = rig->groups;
	rig->token.n_groups = 1;
	rig->token.url = codec_text("https://queue.example:8444");
	rig->token.queue_ca_pin = codec_bytes(cc_view_of(rig->pin, SHA256_SIZE));
	rig->token.job_root_id = codec_bytes(cc_view_of(rig->root, SHA256_SIZE));
	rig->token.secret = codec_bytes(cc_view_of(rig->secret, SHA256_SIZE));
	rig->token.not_after_s = 1795323600;
}

static cc_err read_back(struct rig *rig)
{
	cc_secret text = enroll_token_text(&rig->token);
	Certq__EnrolmentToken *token = NULL;
	cc_err err = enroll_token_read(cc_secret_view(&text), &token);

	if (err == CC_OK)
		assert_memory_equal(token->secret.data, rig->secret, SHA256_SIZE);
	codec_free_secret(token);
	cc_secret_free(&text);
	return err;
}

static void a_token_is_read_as_it_was_written(void **state)
{
	struct rig rig;
	cc_secret text;

	(void)state;
	rig_make(&rig);
	assert_int_equal(read_back(&rig), CC_OK);
	text = enroll_token_text(&rig.token);
	assert_memory_equal(text.data, ENROLL_PREFIX, strlen(ENROLL_PREFIX));
	assert_int_equal(text.data[text.size - 1], '\n');
	assert_null(memchr(text.data, 0, text.size));
	cc_secret_free(&text);
}

static void a_token_with_a_field_out_of_order_is_refused(void **state)
{
	struct rig rig;

#define REFUSED(change)                                                                            \
	rig_make(&rig);                                                                            \
	change;                                                                                    \
	assert_int_equal(read_back(&rig), CC_MALFORMED)
	(void)state;
	REFUSED(rig.token.token_id = codec_text("a b"));
	REFUSED(rig.token.tenant = codec_text("Contoso"));
	REFUSED(rig.token.connector_id = codec_text(""));
	REFUSED(rig.token.n_groups = 17);
	REFUSED(rig.groups[0] = codec_text("../hq"));
	REFUSED(rig.token.url = codec_text("http://queue.example"));
	REFUSED(rig.token.url = codec_text("https://"));
	REFUSED(rig.token.queue_ca_pin.len = 31);
	REFUSED(rig.token.job_root_id.len = 0);
	REFUSED(rig.token.secret.len = 16);
	REFUSED(rig.token.not_after_s = 0);
}

static void another_version_is_refused(void **state)
{
	struct rig rig;

	(void)state;
	rig_make(&rig);
	rig.token.version = 2;
	assert_int_equal(read_back(&rig), CC_VERSION);
}

static void what_is_not_a_token_is_refused(void **state)
{
	static const char *const texts[] = {"", "certq-enroll-1", "certq-enroll-2.AAAA",
		"certq-enroll-1.", "certq-enroll-1.A", "certq-enroll-1.!!!!",
		"certq-enroll-1.////"};
	Certq__EnrolmentToken *token = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_not_equal(enroll_token_read(cc_view_text(texts[i]), &token), CC_OK);
		assert_null(token);
	}
}

static void the_golden_proof_stays_the_same(void **state)
{
	uint8_t secret[SHA256_SIZE], mac[SHA256_SIZE];
	char *hex;

	(void)state;
	memset(secret, 5, sizeof(secret));
	enroll_mac(cc_view_of(secret, SHA256_SIZE), cc_view_text("tok-1"), cc_view_text("csr"),
		cc_view_text("spki"), mac);
	hex = text_hex_new(cc_view_of(mac, SHA256_SIZE));
	assert_string_equal(
		hex, "78d9718dd6cc44c6540c00952033b45b88d4ecdfcc39b1dfcf1144298b5b1cd2");
	free(hex);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_is_read_as_it_was_written),
		cmocka_unit_test(a_token_with_a_field_out_of_order_is_refused),
		cmocka_unit_test(another_version_is_refused),
		cmocka_unit_test(what_is_not_a_token_is_refused),
		cmocka_unit_test(the_golden_proof_stays_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
