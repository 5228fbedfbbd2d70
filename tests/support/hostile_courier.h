/*
 * Courier: a hostile program in the connector's place.  It says what a test wants at the keyvault's door
 * and to the runners, and judges what comes back.
 *
 * Any test, over a house (tests/support/hostile_house.h); single-threaded.  An answer is the caller's, free
 * with codec_free, except where a function takes it.  A wrong answer fails the test by cmocka's asserts.
 *
 * Safety: every frame that comes from a role is searched for COURIER_PASSWORD, the one password of all
 * imported records of these tests: it is never seen in clear.
 */
#pragma once

#include "ca/v1/ca.pb-c.h"
#include "tests/support/hostile_house.h"
#include "vault/v1/vault.pb-c.h"

#define COURIER_PASSWORD "the-Password-of-an-imported-file"

/* ---- at the keyvault's door ---- */

/* Sends the request under a fresh id and waits for its answer. */
Vault__VaultAnswer *courier_ask_vault(struct house *h, Vault__VaultRequest *request);
/* Either of `job` and `signer` may be NULL: left out. */
Vault__VaultAnswer *courier_begin(struct house *h, const uint8_t job_id[JOB_ID_SIZE],
	const Certq__SignedDocument *job, const Certq__SignedDocument *signer);
Vault__VaultAnswer *courier_finish(
	struct house *h, cc_view ticket, const char *ca, const cc_view *chain, size_t count);
Vault__VaultAnswer *courier_reorder(
	struct house *h, cc_view ticket, Vault__OrderOp op, const char *ca);
Vault__VaultAnswer *courier_rewrap(struct house *h, const uint8_t job_id[JOB_ID_SIZE],
	const Certq__SignedDocument *job, const Certq__SignedDocument *signer, cc_view pfx,
	cc_view password);
Vault__VaultAnswer *courier_list(struct house *h);

/* The public half of the keyvault's current key of this use: decrypt, result. */
cc_blob courier_vault_key(struct house *h, const char *use);

/* An honest begin_issue, which succeeds; the answer's `begun` is there. */
Vault__VaultAnswer *courier_begin_honest(struct house *h, const struct fixture_job *j);

/* The answer is this refusal and nothing else: no CSR, no order, no ticket, no password, no result but a
 * signed refusal, and no local CA made anything.  Takes the answer. */
void courier_expect_refusal(
	struct house *h, Vault__VaultAnswer *answer, Vault__VaultStatus status, const char *code);

/* The detail for the local log has these words; the house's policy lets it be told. */
void courier_expect_words(const Vault__VaultAnswer *answer, const char *words);

/* The answer is a result of this outcome, signed by the keyvault for this job.  `pfx`: the record's, for a
 * rewrap.  Does not take the answer. */
void courier_expect_result(struct house *h, const Vault__VaultAnswer *answer,
	const Certq__SignedDocument *job, const uint8_t job_id[JOB_ID_SIZE], cc_view pfx,
	Certq__Outcome outcome);

/* ---- to a runner ---- */

Ca__CaAnswer *courier_ask_runner(
	struct house *h, const struct house_role *runner, Ca__CaRequest *request);
Ca__CaAnswer *courier_next_answer(const struct house_role *runner); /* whatever it answers to */
/* `order` may be NULL: left out. */
Ca__CaAnswer *courier_submit(
	struct house *h, const struct house_role *runner, Certq__SignedDocument *order);
/* Submit an order that is good: a certificate comes.  `is_new`: and the list has one more. */
Ca__CaAnswer *courier_issue(struct house *h, const struct house_role *runner,
	Certq__SignedDocument *order, bool is_new);
/* Neither certificate nor cookie, nothing new in a list, and these words in the reason.  Takes the answer. */
void courier_expect_no_certificate(
	struct house *h, Ca__CaAnswer *answer, Ca__CaResult result, const char *words);

/* ---- either ---- */

/* Sends a frame as it is. */
void courier_send(const struct house_role *role, cc_view frame);
/* The role's own greeting comes, after house_converse_as. */
void courier_expect_greeting(const struct house_role *role);
/* The role ends the conversation, and says nothing before that but decision records. */
void courier_expect_cut_off(const struct house_role *role);

/* ---- documents and seals ---- */

Certq__SignedDocument *courier_copy(const Certq__SignedDocument *document); /* codec_free */
/* One bit of the body, the key id or the signature. */
void courier_flip(ProtobufCBinaryData *bytes, size_t at);
/* The device's side, by plain OpenSSL: CMS AuthEnvelopedData.  False when this key does not open it. */
bool courier_unseal(EVP_PKEY *device, cc_view sealed, cc_blob *ret);
/* The CSR again, with the same names, for a key of the attacker's. */
cc_blob courier_csr_for(cc_view csr, EVP_PKEY *key);
