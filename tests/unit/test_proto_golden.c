/*
 * Golden vectors, which were made by another implementation (Python's cryptography, protobuf by hand): bytes,
 * signature, ids and labels that every implementation of the protocol has to make.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "proto/codec.h"
#include "proto/job.h"
#include <stdlib.h>
#include <string.h>

static const char golden_secret[] =
	"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
static const char golden_body[] = "08011207636f6e746f736f2218706b63733a6465762d34323a776966693a3230"
				  "32362d313128d0ca84d80630d0ed89d8063a03632d3152d1010a340a04752d31"
				  "371211616c69636540636f6e746f736f2e636f6d1a11616c69636540636f6e74"
				  "6f736f2e636f6d2a066465762d343212300a2c302a300506032b6570032100d7"
				  "5a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a18"
				  "011a09636f72702d7573657220012a12434e3d416c6963652c4f3d436f6e746f"
				  "736f321508011211616c69636540636f6e746f736f2e636f6d32150805121161"
				  "6c69636540636f6e746f736f2e636f6d4211312e332e362e312e352e352e372e"
				  "332e3248055080e7840f";
static const char golden_signature[] =
	"d3703e0cc81502874834c7367131b285095a109c8d219df50b3e955a73e8e6b5"
	"29957b1bc9ddb94c8e36a148d943a112d18c1b2995d6135f8807ac1bfed20907";
static const char golden_spki[] = "302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3"
				  "daa62325af021a68f707511a";

static void fill_golden(Certq__JobDocument *job, Certq__Issue *issue, Certq__AltName *san,
	Certq__AltName **san_list)
{
	job->version = 1;
	job->tenant = codec_text("contoso");
	job->idempotency_key = codec_text("pkcs:dev-42:wifi:2026-11");
	job->not_before_s = 1795237200;
	job->not_after_s = 1795323600;
	job->correlation_id = codec_text("c-1");
	job->kind_case = CERTQ__JOB_DOCUMENT__KIND_ISSUE;
	job->issue = issue;
	issue->ca_profile = codec_text("corp-user");
	issue->key_type = CERTQ__KEY_TYPE__KEY_RSA_2048;
	issue->subject = codec_text("CN=Alice,O=Contoso");
	issue->san = san_list;
	issue->n_san = 2;
	issue->key_usage = 5;
	issue->validity_s = 31536000;
	for (size_t i = 0; i < 2; i++) {
		certq__alt_name__init(&san[i]);
		san[i].type = i == 0 ? CERTQ__ALT_TYPE__ALT_EMAIL : CERTQ__ALT_TYPE__ALT_UPN;
		san[i].value = codec_text("alice@contoso.com");
		san_list[i] = &san[i];
	}
}

static void the_golden_job_has_these_bytes_and_this_signature(void **state)
{
	Certq__JobDocument job = CERTQ__JOB_DOCUMENT__INIT;
	Certq__Issue issue = CERTQ__ISSUE__INIT;
	Certq__Holder holder = CERTQ__HOLDER__INIT;
	Certq__DeviceKey device = CERTQ__DEVICE_KEY__INIT;
	ProtobufCBinaryData eku = codec_text("1.3.6.1.5.5.7.3.2");
	Certq__AltName san[2], *san_list[2];
	Certq__SignedDocument *document = NULL;
	cc_blob secret = CC_BLOB_NONE, spki = CC_BLOB_NONE, body;
	EVP_PKEY *key;
	char *hex;

	(void)state;
	assert_int_equal(text_from_hex(cc_view_text(golden_secret), &secret), CC_OK);
	key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret.data, secret.size);
	assert_int_equal(dsse_spki(key, &spki), CC_OK);
	fill_golden(&job, &issue, san, san_list);
	issue.holder = &holder;
	issue.device_key = &device;
	issue.eku = &eku;
	issue.n_eku = 1;
	holder.user_id = codec_text("u-17");
	holder.upn = holder.email = codec_text("alice@contoso.com");
	holder.device_id = codec_text("dev-42");
	device.spki = codec_bytes(cc_blob_view(&spki));
	device.seal = CERTQ__SEAL__SEAL_CMS_AUTH;

	body = codec_pack(&job);
	hex = text_hex_new(cc_blob_view(&body));
	assert_string_equal(hex, golden_body);
	free(hex);
	assert_int_equal(dsse_sign(key, DOC_JOB, cc_blob_view(&body), &document), CC_OK);
	hex = text_hex_new(codec_view(document->signature));
	assert_string_equal(hex, golden_signature);
	free(hex);
	codec_free(document);
	cc_blob_free(&body);
	cc_blob_free(&spki);
	cc_blob_free(&secret);
	EVP_PKEY_free(key);
}

static void the_golden_job_verifies(void **state)
{
	Certq__SignerStatement signer = CERTQ__SIGNER_STATEMENT__INIT;
	Certq__SignedDocument document = CERTQ__SIGNED_DOCUMENT__INIT;
	cc_blob body = CC_BLOB_NONE, signature = CC_BLOB_NONE, spki = CC_BLOB_NONE;
	Certq__JobDocument *job = NULL;
	uint8_t id[JOB_ID_SIZE], key_id[SHA256_SIZE];
	char *hex;

	(void)state;
	assert_int_equal(text_from_hex(cc_view_text(golden_body), &body), CC_OK);
	assert_int_equal(text_from_hex(cc_view_text(golden_signature), &signature), CC_OK);
	assert_int_equal(text_from_hex(cc_view_text(golden_spki), &spki), CC_OK);
	dsse_key_id(cc_blob_view(&spki), key_id);
	signer.tenant = codec_text("contoso");
	signer.spki = codec_bytes(cc_blob_view(&spki));
	signer.issue = 1;
	document.body = codec_bytes(cc_blob_view(&body));
	document.signature = codec_bytes(cc_blob_view(&signature));
	document.key_id = codec_bytes(cc_view_of(key_id, SHA256_SIZE));

	assert_int_equal(job_verify(&signer, &document, 1795237300, &job, id), CC_OK);
	hex = text_hex_new(cc_view_of(id, sizeof(id)));
	assert_string_equal(hex, "3915bc0b79420a498a7de7b2135ad631");
	free(hex);
	codec_free(job);
	cc_blob_free(&spki);
	cc_blob_free(&signature);
	cc_blob_free(&body);
}

static void the_golden_derivations_stay_the_same(void **state)
{
	uint8_t job_id[JOB_ID_SIZE], csr[SHA256_SIZE], pfx[SHA256_SIZE], txid[TXID_SIZE];
	uint8_t label[SHA256_SIZE];
	char *hex;

	(void)state;
	memset(job_id, 1, sizeof(job_id));
	memset(csr, 2, sizeof(csr));
	memset(pfx, 3, sizeof(pfx));
	job_txid(cc_view_text("contoso"), cc_view_of(job_id, JOB_ID_SIZE), cc_view_text("corp-ca"),
		cc_view_of(csr, SHA256_SIZE), txid);
	hex = text_hex_new(cc_view_of(txid, TXID_SIZE));
	assert_string_equal(hex, "c30e695f00844bd021227614f06aa6b7");
	free(hex);
	job_pfx_label(cc_view_text("contoso"), cc_view_text("u-17"),
		cc_view_text("smimeEncryption"), cc_view_of(pfx, SHA256_SIZE), label);
	hex = text_hex_new(cc_view_of(label, SHA256_SIZE));
	assert_string_equal(
		hex, "21c8ff33aa5b8b36079966f8a6b7006bb3dc857fd3f4bb4387045f51994a4cbb");
	free(hex);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_golden_job_has_these_bytes_and_this_signature),
		cmocka_unit_test(the_golden_job_verifies),
		cmocka_unit_test(the_golden_derivations_stay_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
