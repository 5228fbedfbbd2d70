/*
 * Device keys at the door of a real keyvault process: every kind that is taken gets a password that it opens,
 * every key that is none is refused in words of its own, and the keyvault serves on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/role.h"
#include "keyvault/sealer.h"
#include "proto/codec.h"
#include "tests/support/fixture_keys.h"
#include "tests/support/fixture_vault.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rig {
	struct fixture_vault v;
	struct fixture_job job;
	pid_t pid;
	unsigned jobs;
};

/* One process for all tests: what one key does to it, the next would see. */
static int rig_new(void **state)
{
	struct rig *rig = cc_alloc(sizeof(*rig));

	fixture_vault_prepare(&rig->v, keyvault_role_main);
	free(rig->v.policy);
	rig->v.policy = fixture_vault_policy("report_detail: full");
	fixture_vault_start(&rig->v);
	rig->pid = rig->v.pid;
	*state = rig;
	return 0;
}

static int rig_free(void **state)
{
	struct rig *rig = *state;

	fixture_vault_clear(&rig->v);
	free(rig);
	return 0;
}

static Vault__VaultAnswer *begin(struct rig *rig, cc_view spki, Certq__Seal form)
{
	char key[32];

	snprintf(key, sizeof(key), "job-%u", ++rig->jobs);
	fixture_issue(&rig->job, &rig->v.tenant, key, "corp-user", spki);
	rig->job.device_key.seal = form;
	return fixture_vault_begin(&rig->v, &rig->job);
}

/* ---- what is taken ---- */

static void deliver(struct rig *rig, const char *kind, Certq__Seal form)
{
	EVP_PKEY *device = fixture_key(kind);
	cc_blob spki = fixture_spki(device);
	cc_secret password = CC_SECRET_NONE;
	Vault__VaultAnswer *begun = begin(rig, cc_blob_view(&spki), form);

	assert_int_equal(begun->answer_case, VAULT__VAULT_ANSWER__ANSWER_BEGUN);
	cc_blob leaf = fixture_ca_issue(
		&rig->v.ca, codec_view(begun->begun->csr), "clientAuth", 86400, NULL, NULL);
	Vault__VaultAnswer *finished = fixture_vault_finish(
		&rig->v, codec_view(begun->begun->ticket), "corp-ca", cc_blob_view(&leaf));
	assert_int_equal(finished->answer_case, VAULT__VAULT_ANSWER__ANSWER_RESULT);
	assert_int_equal(
		sealer_open(device, form, codec_view(finished->result->sealed_password), &password),
		CC_OK);
	assert_int_equal(password.size, 32);
	cc_secret_free(&password);
	codec_free(finished);
	codec_free(begun);
	cc_blob_free(&leaf);
	cc_blob_free(&spki);
	EVP_PKEY_free(device);
}

static void every_kind_of_key_opens_what_is_sealed_to_it(void **state)
{
	deliver(*state, "rsa-2048", CERTQ__SEAL__SEAL_CMS_AUTH);
	deliver(*state, "ec-p256", CERTQ__SEAL__SEAL_CMS_AUTH);
	deliver(*state, "ec-p384", CERTQ__SEAL__SEAL_CMS_AUTH);
	deliver(*state, "rsa-2048", CERTQ__SEAL__SEAL_OAEP_SHA256);
}

/* ---- what is refused ---- */

static const struct {
	const char *name, *words;
} bad[] = {
	{"rsa-1024", "device key: RSA of 1024 bits, 2048 to 4096 are taken"},
	{"rsa-e-1", "device key: an RSA exponent that is even, or not over 2^16 and under 2^64"},
	{"rsa-e-even", "device key: an RSA exponent that is even, or not over 2^16 and under 2^64"},
	{"rsa-n-even", "device key: an even RSA modulus"},
	{"rsa-pss", "device key: neither RSA nor EC"},
	{"dsa", "device key: neither RSA nor EC"},
	{"ed25519", "device key: neither RSA nor EC"},
	{"p-224", "device key: an elliptic curve other than P-256 and P-384"},
	{"p-521", "device key: an elliptic curve other than P-256 and P-384"},
	{"secp256k1", "device key: an elliptic curve other than P-256 and P-384"},
	{"explicit", "device key: a curve or a point that is not in its plain named form"},
	{"compressed", "device key: a curve or a point that is not in its plain named form"},
	{"infinity", "device key: a point at infinity, or numbers that do not encode"},
	{"off-curve", "device key: does not parse, or is not on its curve"},
	{"empty-sequence", "device key: does not parse, or is not on its curve"},
	{"trailing", "device key: not in canonical DER"},
};

static void expect_words(
	Vault__VaultAnswer *answer, const char *what, const char *code, const char *words)
{
	cc_view detail = codec_view(answer->detail);

	if (answer->answer_case != VAULT__VAULT_ANSWER__ANSWER__NOT_SET ||
		!text_equal(codec_view(answer->code), code) || !text_equal(detail, words))
		fail_msg("%s: %.*s: %.*s", what, (int)answer->code.len,
			(const char *)answer->code.data, (int)detail.size,
			(const char *)detail.data);
	codec_free(answer);
}

static void a_key_that_is_none_is_refused_in_words_and_the_next_job_is_served(void **state)
{
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cc_blob spki = fixture_bad_spki(bad[i].name);

		expect_words(begin(rig, cc_blob_view(&spki), CERTQ__SEAL__SEAL_CMS_AUTH),
			bad[i].name, "device_key_refused", bad[i].words);
		cc_blob_free(&spki);
		deliver(rig, "ec-p256", CERTQ__SEAL__SEAL_CMS_AUTH);
	}
	assert_int_equal(rig->v.pid, rig->pid);
}

/* It is over the length that a job's key may have, so the job is none. */
static void a_key_of_16384_bits_is_refused_before_it_is_parsed(void **state)
{
	struct rig *rig = *state;
	cc_blob spki = fixture_bad_spki("rsa-16384");
	EVP_PKEY *key = NULL;

	expect_words(begin(rig, cc_blob_view(&spki), CERTQ__SEAL__SEAL_CMS_AUTH), "rsa-16384",
		"malformed_document", "job: device_key.spki is too long");
	assert_int_equal(sealer_device_key(cc_blob_view(&spki), &key), CC_BAD_KEY);
	assert_string_equal(
		cc_err_detail(CC_BAD_KEY), "device key: of a size that no key here has");
	cc_blob_free(&spki);
	deliver(rig, "ec-p256", CERTQ__SEAL__SEAL_CMS_AUTH);
}

static void a_form_that_the_key_cannot_open_is_refused(void **state)
{
	struct rig *rig = *state;
	EVP_PKEY *device = fixture_key("ec-p384");
	cc_blob spki = fixture_spki(device);

	expect_words(begin(rig, cc_blob_view(&spki), CERTQ__SEAL__SEAL_OAEP_SHA256), "ec-p384",
		"device_key_refused", "device key: the form oaep-sha256 needs RSA");
	cc_blob_free(&spki);
	EVP_PKEY_free(device);
	deliver(rig, "ec-p384", CERTQ__SEAL__SEAL_CMS_AUTH);
}

static void names_that_were_not_filled_in_are_refused(void **state)
{
	static const char words[] =
		"job: %s has a variable in {{ }} that was not replaced by its value";
	struct rig *rig = *state;
	EVP_PKEY *device = fixture_key("ec-p256");
	cc_blob spki = fixture_spki(device);
	char expected[128];

	codec_free(begin(rig, cc_blob_view(&spki), CERTQ__SEAL__SEAL_CMS_AUTH));
	rig->job.doc.idempotency_key = codec_text("variable-1");
	rig->job.issue.subject = codec_text("CN={{UserName}},O=Contoso");
	snprintf(expected, sizeof(expected), words, "subject");
	expect_words(
		fixture_vault_begin(&rig->v, &rig->job), "subject", "malformed_document", expected);
	rig->job.doc.idempotency_key = codec_text("variable-2");
	rig->job.issue.subject = codec_text("CN=Alice");
	rig->job.san[0].value = codec_text("{{EmailAddress}}");
	snprintf(expected, sizeof(expected), words, "san");
	expect_words(
		fixture_vault_begin(&rig->v, &rig->job), "san", "malformed_document", expected);
	cc_blob_free(&spki);
	EVP_PKEY_free(device);
	deliver(rig, "ec-p256", CERTQ__SEAL__SEAL_CMS_AUTH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_key_opens_what_is_sealed_to_it),
		cmocka_unit_test(a_key_that_is_none_is_refused_in_words_and_the_next_job_is_served),
		cmocka_unit_test(a_key_of_16384_bits_is_refused_before_it_is_parsed),
		cmocka_unit_test(a_form_that_the_key_cannot_open_is_refused),
		cmocka_unit_test(names_that_were_not_filled_in_are_refused),
	};

	return cmocka_run_group_tests(tests, rig_new, rig_free);
}
