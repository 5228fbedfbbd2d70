/*
 * Requests are packed by the same messages that the real connector uses, but nothing of it is linked in.
 */
#include "tests/support/hostile_courier.h"
#include "base/chan.h"
#include "base/hash.h"
#include "proto/codec.h"
#include "proto/greeting.h"
#include "proto/job.h"
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* protobuf-c's members are not const, and packing writes to none of them. */
static Certq__SignedDocument *borrow(const Certq__SignedDocument *document)
{
	return (Certq__SignedDocument *)(uintptr_t)document;
}

/* ---- frames ---- */

void courier_send(const struct house_role *role, cc_view frame)
{
	cc_err err = chan_write_frame(role->talk, frame, HOUSE_WAIT_MS);

	if (err != CC_OK)
		fail_msg("to %s: %s", role->name, cc_err_detail(err));
}

static bool holds_password(cc_view frame)
{
	return memmem(frame.data, frame.size, COURIER_PASSWORD, strlen(COURIER_PASSWORD)) != NULL;
}

static cc_err receive(const struct house_role *role, cc_blob *ret)
{
	cc_err err = chan_read_frame(role->talk, CHAN_FRAME_MAX, HOUSE_WAIT_MS, ret);

	if (err == CC_OK)
		assert_false(holds_password(cc_blob_view(ret)));
	return err;
}

static cc_blob need_frame(const struct house_role *role)
{
	cc_blob frame = CC_BLOB_NONE;
	cc_err err = receive(role, &frame);

	if (err != CC_OK)
		fail_msg("from %s: %s", role->name, cc_err_detail(err));
	return frame;
}

void courier_expect_greeting(const struct house_role *role)
{
	cc_blob frame = need_frame(role);

	assert_int_equal(
		greeting_check(cc_blob_view(&frame), role->kind, role->name, HOUSE_BUILD_ID),
		CC_OK);
	cc_blob_free(&frame);
}

void courier_expect_cut_off(const struct house_role *role)
{
	for (;;) {
		cc_blob frame = CC_BLOB_NONE;
		Vault__VaultAnswer *records = NULL;
		cc_err err = receive(role, &frame);

		if (err == CC_CLOSED)
			return;
		assert_int_equal(err, CC_OK);
		assert_int_equal(role->kind, ROLE__ROLE_KIND__ROLE_KEYVAULT);
		assert_int_equal(codec_decode(&vault__vault_answer__descriptor,
					 cc_blob_view(&frame), CHAN_FRAME_MAX, &records),
			CC_OK);
		assert_int_equal(records->request_id, 0);
		assert_int_equal(records->answer_case, VAULT__VAULT_ANSWER__ANSWER__NOT_SET);
		codec_free(records);
		cc_blob_free(&frame);
	}
}

/* ---- at the keyvault's door ---- */

Vault__VaultAnswer *courier_ask_vault(struct house *h, Vault__VaultRequest *request)
{
	Vault__VaultAnswer *answer = NULL;

	request->request_id = ++h->requests;
	cc_blob frame = codec_pack(request);
	courier_send(&h->vault, cc_blob_view(&frame));
	do { /* decision records of before come with the id 0 */
		codec_free(answer);
		answer = NULL;
		cc_blob_free(&frame);
		frame = need_frame(&h->vault);
		assert_int_equal(codec_decode(&vault__vault_answer__descriptor,
					 cc_blob_view(&frame), CHAN_FRAME_MAX, &answer),
			CC_OK);
	} while (answer->request_id == 0);
	assert_int_equal(answer->request_id, request->request_id);
	cc_blob_free(&frame);
	return answer;
}

Vault__VaultAnswer *courier_begin(struct house *h, const uint8_t job_id[JOB_ID_SIZE],
	const Certq__SignedDocument *job, const Certq__SignedDocument *signer)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__BeginIssue begin = VAULT__BEGIN_ISSUE__INIT;

	begin.job_id = codec_bytes(cc_view_of(job_id, JOB_ID_SIZE));
	begin.job = borrow(job);
	begin.signer = borrow(signer);
	request.op_case = VAULT__VAULT_REQUEST__OP_BEGIN_ISSUE;
	request.begin_issue = &begin;
	return courier_ask_vault(h, &request);
}

Vault__VaultAnswer *courier_finish(
	struct house *h, cc_view ticket, const char *ca, const cc_view *chain, size_t count)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__FinishIssue finish = VAULT__FINISH_ISSUE__INIT;
	ProtobufCBinaryData list[8];

	assert_true(count <= 8);
	for (size_t i = 0; i < count; i++)
		list[i] = codec_bytes(chain[i]);
	finish.ticket = codec_bytes(ticket);
	finish.ca = codec_text(ca);
	finish.chain = list;
	finish.n_chain = count;
	request.op_case = VAULT__VAULT_REQUEST__OP_FINISH_ISSUE;
	request.finish_issue = &finish;
	return courier_ask_vault(h, &request);
}

Vault__VaultAnswer *courier_reorder(
	struct house *h, cc_view ticket, Vault__OrderOp op, const char *ca)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__Reorder reorder = VAULT__REORDER__INIT;

	reorder.ticket = codec_bytes(ticket);
	reorder.op = op;
	reorder.ca = codec_text(ca);
	request.op_case = VAULT__VAULT_REQUEST__OP_REORDER;
	request.reorder = &reorder;
	return courier_ask_vault(h, &request);
}

Vault__VaultAnswer *courier_rewrap(struct house *h, const uint8_t job_id[JOB_ID_SIZE],
	const Certq__SignedDocument *job, const Certq__SignedDocument *signer, cc_view pfx,
	cc_view password)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__Rewrap rewrap = VAULT__REWRAP__INIT;
	ProtobufCBinaryData copy = codec_bytes(password);

	rewrap.job_id = codec_bytes(cc_view_of(job_id, JOB_ID_SIZE));
	rewrap.job = borrow(job);
	rewrap.signer = borrow(signer);
	rewrap.pfx = codec_bytes(pfx);
	rewrap.passwords = &copy;
	rewrap.n_passwords = 1;
	request.op_case = VAULT__VAULT_REQUEST__OP_REWRAP;
	request.rewrap = &rewrap;
	return courier_ask_vault(h, &request);
}

Vault__VaultAnswer *courier_list(struct house *h)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ListPublic list = VAULT__LIST_PUBLIC__INIT;

	request.op_case = VAULT__VAULT_REQUEST__OP_LIST_PUBLIC;
	request.list_public = &list;
	Vault__VaultAnswer *answer = courier_ask_vault(h, &request);
	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_LIST);
	return answer;
}

cc_blob courier_vault_key(struct house *h, const char *use)
{
	Vault__VaultAnswer *answer = courier_list(h);
	cc_blob spki = CC_BLOB_NONE;

	for (size_t i = 0; i < answer->list->n_keys && spki.size == 0; i++) {
		const Vault__NamedPublicKey *key = answer->list->keys[i];
		if (key->current && text_equal(codec_view(key->use), use))
			spki = cc_blob_copy(codec_view(key->spki));
	}
	assert_true(spki.size > 0);
	codec_free(answer);
	return spki;
}

Vault__VaultAnswer *courier_begin_honest(struct house *h, const struct fixture_job *j)
{
	uint8_t job_id[JOB_ID_SIZE];
	Certq__SignedDocument *job = fixture_sign(&h->tenant, j, job_id);
	Vault__VaultAnswer *answer = courier_begin(h, job_id, job, h->tenant.statement);

	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_BEGUN);
	codec_free(job);
	return answer;
}

static Certq__ResultDocument *read_result(struct house *h, const Certq__ResultBundle *bundle,
	cc_view job_id, cc_view job_sha256, cc_view pfx)
{
	cc_blob key = courier_vault_key(h, "result");
	Certq__ResultDocument *result = NULL;
	cc_err err = result_verify(cc_blob_view(&key), cc_view_text(HOUSE_TENANT), job_id,
		job_sha256, bundle, pfx, &result);

	if (err != CC_OK)
		fail_msg("result: %s", cc_err_detail(err));
	cc_blob_free(&key);
	return result;
}

/* Signed, about the job that it names, and empty of everything but the code. */
static void expect_signed_refusal(
	struct house *h, const Certq__ResultBundle *bundle, const char *code)
{
	Certq__ResultDocument *peek = NULL, *result = NULL;

	assert_int_equal(bundle->pfx.len, 0);
	assert_int_equal(bundle->sealed_password.len, 0);
	assert_int_equal(codec_decode_document(&certq__result_document__descriptor,
				 codec_view(bundle->result->body), DOC_BODY_MAX, &peek),
		CC_OK);
	result = read_result(
		h, bundle, codec_view(peek->job_id), codec_view(peek->job_sha256), CC_VIEW_NONE);
	assert_int_equal(result->outcome, CERTQ__OUTCOME__OUTCOME_REFUSED);
	assert_true(text_equal(codec_view(result->code), code));
	assert_int_equal(result->certificate.len, 0);
	assert_int_equal(result->n_chain, 0);
	codec_free(peek);
	codec_free(result);
}

static void expect_words(cc_view text, const char *words)
{
	if (memmem(text.data, text.size, words, strlen(words)) == NULL)
		fail_msg("\"%.*s\" does not say \"%s\"", (int)text.size, (const char *)text.data,
			words);
}

void courier_expect_words(const Vault__VaultAnswer *answer, const char *words)
{
	expect_words(codec_view(answer->detail), words);
}

void courier_expect_refusal(
	struct house *h, Vault__VaultAnswer *answer, Vault__VaultStatus status, const char *code)
{
	char *found = cc_strndup(codec_view(answer->code));

	assert_string_equal(found, code);
	assert_int_equal(answer->status, status);
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER__NOT_SET);
	if (answer->refusal != NULL) {
		assert_int_equal(status, VAULT__VAULT_STATUS__VAULT_REFUSED);
		expect_signed_refusal(h, answer->refusal, code);
	}
	assert_int_equal(house_count_issued(h), h->issued);
	codec_free(answer);
	free(found);
}

void courier_expect_result(struct house *h, const Vault__VaultAnswer *answer,
	const Certq__SignedDocument *job, const uint8_t job_id[JOB_ID_SIZE], cc_view pfx,
	Certq__Outcome outcome)
{
	uint8_t job_sha256[SHA256_SIZE];

	assert_int_equal(answer->status, VAULT__VAULT_STATUS__VAULT_OK);
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_RESULT);
	hash_sha256(codec_view(job->body), job_sha256);
	Certq__ResultDocument *result = read_result(h, answer->result,
		cc_view_of(job_id, JOB_ID_SIZE), cc_view_of(job_sha256, SHA256_SIZE), pfx);
	assert_int_equal(result->outcome, outcome);
	codec_free(result);
}

/* ---- to a runner ---- */

Ca__CaAnswer *courier_next_answer(const struct house_role *runner)
{
	Ca__CaAnswer *answer = NULL;
	cc_blob frame = need_frame(runner);

	assert_int_equal(codec_decode(&ca__ca_answer__descriptor, cc_blob_view(&frame),
				 CHAN_FRAME_MAX, &answer),
		CC_OK);
	cc_blob_free(&frame);
	return answer;
}

Ca__CaAnswer *courier_ask_runner(
	struct house *h, const struct house_role *runner, Ca__CaRequest *request)
{
	request->request_id = ++h->requests;
	cc_blob frame = codec_pack(request);
	courier_send(runner, cc_blob_view(&frame));
	cc_blob_free(&frame);
	Ca__CaAnswer *answer = courier_next_answer(runner);
	assert_int_equal(answer->request_id, request->request_id);
	return answer;
}

Ca__CaAnswer *courier_submit(
	struct house *h, const struct house_role *runner, Certq__SignedDocument *order)
{
	Ca__CaRequest request = CA__CA_REQUEST__INIT;
	Ca__Submit submit = CA__SUBMIT__INIT;

	submit.order = order;
	request.op_case = CA__CA_REQUEST__OP_SUBMIT;
	request.submit = &submit;
	return courier_ask_runner(h, runner, &request);
}

Ca__CaAnswer *courier_issue(
	struct house *h, const struct house_role *runner, Certq__SignedDocument *order, bool is_new)
{
	Ca__CaAnswer *answer = courier_submit(h, runner, order);

	if (answer->result != CA__CA_RESULT__CA_ISSUED)
		fail_msg("%s: result %d: %.*s", runner->name, (int)answer->result,
			(int)answer->reason.len, (const char *)answer->reason.data);
	assert_true(answer->n_chain >= 2);
	h->issued += is_new ? 1 : 0;
	assert_int_equal(house_count_issued(h), h->issued);
	return answer;
}

void courier_expect_no_certificate(
	struct house *h, Ca__CaAnswer *answer, Ca__CaResult result, const char *words)
{
	expect_words(codec_view(answer->reason), words);
	assert_int_equal(answer->result, result);
	assert_int_equal(answer->n_chain, 0);
	assert_int_equal(answer->cookie.len, 0);
	assert_int_equal(answer->reference.len, 0);
	assert_int_equal(house_count_issued(h), h->issued);
	codec_free(answer);
}

/* ---- documents and seals ---- */

Certq__SignedDocument *courier_copy(const Certq__SignedDocument *document)
{
	cc_blob packed = codec_pack(document);
	Certq__SignedDocument *copy = NULL;

	assert_int_equal(codec_decode(&certq__signed_document__descriptor, cc_blob_view(&packed),
				 packed.size, &copy),
		CC_OK);
	cc_blob_free(&packed);
	return copy;
}

void courier_flip(ProtobufCBinaryData *bytes, size_t at)
{
	assert_true(at < bytes->len);
	bytes->data[at] ^= 1;
}

bool courier_unseal(EVP_PKEY *device, cc_view sealed, cc_blob *ret)
{
	const uint8_t *at = sealed.data;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &at, (long)sealed.size);
	BIO *out = BIO_new(BIO_s_mem());
	char *bytes = NULL;
	bool opened;

	assert_non_null(cms);
	assert_non_null(out);
	opened = CMS_decrypt(cms, device, NULL, NULL, out, 0) == 1;
	if (opened) {
		long size = BIO_get_mem_data(out, &bytes);
		*ret = cc_blob_copy(cc_view_of(bytes, (size_t)size));
	}
	ERR_clear_error();
	BIO_free(out);
	CMS_ContentInfo_free(cms);
	return opened;
}

cc_blob courier_csr_for(cc_view csr, EVP_PKEY *key)
{
	const uint8_t *at = csr.data;
	X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)csr.size);
	uint8_t *der = NULL;

	assert_non_null(request);
	assert_int_equal(X509_REQ_set_pubkey(request, key), 1);
	assert_true(X509_REQ_sign(request, key, EVP_sha256()) > 0);
	int size = i2d_X509_REQ(request, &der);
	assert_true(size > 0);
	cc_blob made = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	X509_REQ_free(request);
	return made;
}
