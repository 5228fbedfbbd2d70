/*
 * A hostile program in the connector's place wants the passwords of imported files.  A job that is good
 * gives a password sealed to the job's device, again and again to that device only; anything else gives
 * nothing.
 */
#include "base/clock.h"
#include "proto/codec.h"
#include "proto/job.h"
#include "tests/support/hostile_courier.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define REFUSED      VAULT__VAULT_STATUS__VAULT_REFUSED
#define REFUSED_HERE VAULT__VAULT_STATUS__VAULT_REFUSED_HERE

static struct house house;
static EVP_PKEY *device, *attacker; /* device keys */
static cc_blob device_spki, attacker_spki, vault_spki;

/* A record as it lies in the queue, and the job that asks for it. */
struct record {
	struct fixture_job j;
	cc_blob pfx, password;
	uint8_t job_id[JOB_ID_SIZE];
};

static void make_record(struct record *r, const char *key, const char *file, cc_view to_device)
{
	uint8_t id[SHA256_SIZE];

	r->pfx =
		cc_blob_copy(cc_view_text(file)); /* a bound record is not opened to be delivered */
	fixture_rewrap(&r->j, &house.tenant, key, cc_blob_view(&r->pfx), to_device);
	dsse_key_id(cc_blob_view(&vault_spki), id);
	r->password = fixture_encrypt_password(
		&r->j, cc_blob_view(&vault_spki), cc_blob_view(&r->pfx), COURIER_PASSWORD);
	fixture_rewrap_add(&r->j, cc_view_of(id, sizeof(id)), cc_blob_view(&r->password));
	job_id_derive(cc_view_text(HOUSE_TENANT), cc_view_text(key), r->job_id);
}

static void clear_record(struct record *r)
{
	cc_blob_free(&r->pfx);
	cc_blob_free(&r->password);
}

static Vault__VaultAnswer *ask(const struct record *r, const Certq__SignedDocument *job)
{
	return courier_rewrap(&house, r->job_id, job, house.tenant.statement, cc_blob_view(&r->pfx),
		cc_blob_view(&r->password));
}

/* Signed as it stands, asked, refused. */
static void expect_refused(const struct record *r, Vault__VaultStatus status, const char *code)
{
	Certq__SignedDocument *job = fixture_sign(&house.tenant, &r->j, NULL);

	courier_expect_refusal(&house, ask(r, job), status, code);
	codec_free(job);
}

/* Signed, asked, delivered: the device opens it, the attacker's key does not. */
static cc_blob expect_delivered(const struct record *r)
{
	Certq__SignedDocument *job = fixture_sign(&house.tenant, &r->j, NULL);
	Vault__VaultAnswer *answer = ask(r, job);
	cc_blob plain = CC_BLOB_NONE;

	courier_expect_result(&house, answer, job, r->job_id, cc_blob_view(&r->pfx),
		CERTQ__OUTCOME__OUTCOME_REWRAPPED);
	cc_blob sealed = cc_blob_copy(codec_view(answer->result->sealed_password));
	assert_true(courier_unseal(device, cc_blob_view(&sealed), &plain));
	assert_true(text_equal(cc_blob_view(&plain), COURIER_PASSWORD));
	cc_blob_free(&plain);
	assert_false(courier_unseal(attacker, cc_blob_view(&sealed), &plain));
	cc_blob_free(&plain);
	codec_free(answer);
	codec_free(job);
	return sealed;
}

static void a_repeated_rewrap_is_sealed_to_the_same_device_again(void **state)
{
	struct record r;

	(void)state;
	make_record(&r, "again", "a file", cc_blob_view(&device_spki));
	cc_blob first = expect_delivered(&r);
	cc_blob again = expect_delivered(&r);
	assert_false(cc_view_equal(cc_blob_view(&first), cc_blob_view(&again)));
	house_kill(&house, &house.vault);
	cc_blob after = expect_delivered(&r);
	cc_blob_free(&first);
	cc_blob_free(&again);
	cc_blob_free(&after);
	clear_record(&r);
}

static void a_repeated_rewrap_is_not_sealed_to_another_device(void **state)
{
	struct record r;

	(void)state;
	make_record(&r, "redirect", "a file", cc_blob_view(&device_spki));
	cc_blob sealed = expect_delivered(&r);
	/* the same idempotency key and the signer's own signature: even then */
	r.j.device_key.spki = codec_bytes(cc_blob_view(&attacker_spki));
	expect_refused(&r, REFUSED, "idempotency_conflict");
	house_kill(&house, &house.vault);
	expect_refused(&r, REFUSED, "idempotency_conflict");
	cc_blob_free(&sealed);
	clear_record(&r);
}

static void a_job_for_the_attackers_device_key_needs_the_signer(void **state)
{
	struct record r;
	EVP_PKEY *mallory = fixture_key("ed25519");

	(void)state;
	make_record(&r, "attacker", "a file", cc_blob_view(&device_spki));
	Certq__SignedDocument *good = fixture_sign(&house.tenant, &r.j, NULL);
	r.j.device_key.spki = codec_bytes(cc_blob_view(&attacker_spki));
	/* signed by the attacker, by name and under the signer's name, and under the good signature */
	Certq__SignedDocument *bad = fixture_sign_with(mallory, DOC_JOB, &r.j);
	courier_expect_refusal(&house, ask(&r, bad), REFUSED_HERE, "unknown_key");
	dsse_key_id(cc_blob_view(&house.tenant.signer_spki), bad->key_id.data);
	courier_expect_refusal(&house, ask(&r, bad), REFUSED_HERE, "signature_invalid");
	assert_int_equal(bad->signature.len, good->signature.len);
	memcpy(bad->signature.data, good->signature.data, good->signature.len);
	courier_expect_refusal(&house, ask(&r, bad), REFUSED_HERE, "signature_invalid");
	codec_free(good);
	codec_free(bad);
	EVP_PKEY_free(mallory);
	clear_record(&r);
}

static void an_unsigned_or_altered_rewrap_gives_no_password(void **state)
{
	struct record r;

	(void)state;
	make_record(&r, "altered", "a file", cc_blob_view(&device_spki));
	Certq__SignedDocument *job = fixture_sign(&house.tenant, &r.j, NULL);
	for (size_t at = 0; at < job->body.len; at += 11) {
		Certq__SignedDocument *altered = courier_copy(job);
		courier_flip(&altered->body, at);
		courier_expect_refusal(&house, ask(&r, altered), REFUSED_HERE, "signature_invalid");
		codec_free(altered);
	}
	job->signature.len = 0;
	courier_expect_refusal(&house, ask(&r, job), REFUSED_HERE, "signature_invalid");
	codec_free(job);
	clear_record(&r);
}

static void an_expired_rewrap_gives_no_password(void **state)
{
	struct record r;

	(void)state;
	make_record(&r, "expired", "a file", cc_blob_view(&device_spki));
	r.j.doc.not_before_s = clock_realtime_s() - 7200;
	r.j.doc.not_after_s = clock_realtime_s() - 1;
	expect_refused(&r, REFUSED, "expired");
	clear_record(&r);
}

static void a_foreign_rewrap_gives_no_password(void **state)
{
	struct record r;

	(void)state;
	make_record(&r, "foreign", "a file", cc_blob_view(&device_spki));
	r.j.doc.audience = codec_text("hq-2");
	expect_refused(&r, REFUSED_HERE, "audience_mismatch");
	r.j.doc.audience = codec_text("");
	r.j.doc.tenant = codec_text("fabrikam");
	expect_refused(&r, REFUSED_HERE, "tenant_mismatch");
	clear_record(&r);
}

static void only_issue(Certq__SignerStatement *s)
{
	s->rewrap = s->revoke = s->chain = false;
}

static void a_signer_of_other_kinds_gets_no_password(void **state)
{
	struct record r;
	Certq__SignedDocument *statement = fixture_statement(
		&house.tenant, house.tenant.root, house.tenant.signer, only_issue);

	(void)state;
	make_record(&r, "kind", "a file", cc_blob_view(&device_spki));
	Certq__SignedDocument *job = fixture_sign(&house.tenant, &r.j, NULL);
	courier_expect_refusal(&house,
		courier_rewrap(&house, r.job_id, job, statement, cc_blob_view(&r.pfx),
			cc_blob_view(&r.password)),
		REFUSED_HERE, "signer_not_valid");
	codec_free(job);
	codec_free(statement);
	clear_record(&r);
}

static void another_file_beside_the_job_is_refused(void **state)
{
	struct record r;

	(void)state;
	make_record(&r, "other-file", "a file", cc_blob_view(&device_spki));
	cc_blob_free(&r.pfx);
	r.pfx = cc_blob_copy(cc_view_text("another file"));
	expect_refused(&r, REFUSED, "password_unusable");
	cc_blob_clear(&r.pfx);
	expect_refused(&r, REFUSED, "password_unusable");
	clear_record(&r);
}

/* The attacker has a job and a device of his own, and sends the victim's encrypted password with it. */
static void the_password_of_another_record_beside_the_job_is_refused(void **state)
{
	struct record own, victim;

	(void)state;
	make_record(&victim, "victim", "the victim's file", cc_blob_view(&device_spki));
	make_record(&own, "own", "a file", cc_blob_view(&attacker_spki));
	cc_blob_free(&own.password);
	own.password = cc_blob_copy(cc_blob_view(&victim.password));
	expect_refused(&own, REFUSED, "password_unusable");
	clear_record(&own);
	clear_record(&victim);
}

/* A stolen signer signs the victim's ciphertext into a record of another user or file: the label that
 * binds it does not fit. */
static void a_ciphertext_that_was_moved_to_another_record_does_not_open(void **state)
{
	struct record own, victim;
	uint8_t id[SHA256_SIZE];

	(void)state;
	make_record(&victim, "bound-victim", "the victim's file", cc_blob_view(&device_spki));
	make_record(&own, "bound-file", "a file", cc_blob_view(&attacker_spki));
	cc_blob_free(&own.password);
	own.password = cc_blob_copy(cc_blob_view(&victim.password));
	dsse_key_id(cc_blob_view(&vault_spki), id);
	own.j.rewrap.n_passwords = 0;
	fixture_rewrap_add(&own.j, cc_view_of(id, sizeof(id)), cc_blob_view(&own.password));
	expect_refused(&own, REFUSED, "password_unusable");
	/* the victim's own record, but for another user */
	victim.j.holder.user_id = codec_text("user-mallory");
	victim.j.device_key.spki = codec_bytes(cc_blob_view(&attacker_spki));
	expect_refused(&victim, REFUSED, "password_unusable");
	clear_record(&own);
	clear_record(&victim);
}

static void a_rewrap_under_an_id_that_is_not_its_own_is_refused(void **state)
{
	struct record r;

	(void)state;
	make_record(&r, "true-name", "a file", cc_blob_view(&device_spki));
	r.job_id[0] ^= 1;
	expect_refused(&r, REFUSED_HERE, "job_id_mismatch");
	clear_record(&r);
}

static int open_house(void **state)
{
	(void)state;
	house_open(&house);
	device = fixture_key("rsa-2048");
	attacker = fixture_key("rsa-2048");
	device_spki = fixture_spki(device);
	attacker_spki = fixture_spki(attacker);
	vault_spki = courier_vault_key(&house, "decrypt");
	return 0;
}

static int close_house(void **state)
{
	(void)state;
	house_close(&house);
	EVP_PKEY_free(device);
	EVP_PKEY_free(attacker);
	cc_blob_free(&device_spki);
	cc_blob_free(&attacker_spki);
	cc_blob_free(&vault_spki);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_repeated_rewrap_is_sealed_to_the_same_device_again),
		cmocka_unit_test(a_repeated_rewrap_is_not_sealed_to_another_device),
		cmocka_unit_test(a_job_for_the_attackers_device_key_needs_the_signer),
		cmocka_unit_test(an_unsigned_or_altered_rewrap_gives_no_password),
		cmocka_unit_test(an_expired_rewrap_gives_no_password),
		cmocka_unit_test(a_foreign_rewrap_gives_no_password),
		cmocka_unit_test(a_signer_of_other_kinds_gets_no_password),
		cmocka_unit_test(another_file_beside_the_job_is_refused),
		cmocka_unit_test(the_password_of_another_record_beside_the_job_is_refused),
		cmocka_unit_test(a_ciphertext_that_was_moved_to_another_record_does_not_open),
		cmocka_unit_test(a_rewrap_under_an_id_that_is_not_its_own_is_refused),
	};

	return cmocka_run_group_tests(tests, open_house, close_house);
}
