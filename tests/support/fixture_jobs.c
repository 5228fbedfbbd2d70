/*
 * The cloud's side of a tenant for tests.  Everything is made fresh, with the same functions that the
 * programs use for signing, and with plain OpenSSL for keys, so that a mistake in our own key code
 * cannot hide behind itself.
 */
#include "tests/support/fixture_jobs.h"
#include "base/clock.h"
#include "proto/codec.h"
#include "proto/job.h"
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "fixture: %s:%d: %s\n", __FILE__, __LINE__, #condition);   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

EVP_PKEY *fixture_key(const char *type)
{
	EVP_PKEY *key = NULL;

	if (strcmp(type, "rsa-2048") == 0)
		key = EVP_RSA_gen(2048);
	else if (strcmp(type, "rsa-1024") == 0)
		key = EVP_RSA_gen(1024);
	else if (strcmp(type, "ec-p256") == 0)
		key = EVP_EC_gen("P-256");
	else if (strcmp(type, "ec-p384") == 0)
		key = EVP_EC_gen("P-384");
	else if (strcmp(type, "ed25519") == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	NEED(key != NULL);
	return key;
}

cc_blob fixture_spki(EVP_PKEY *key)
{
	uint8_t *der = NULL;
	int size = i2d_PUBKEY(key, &der);

	NEED(size > 0);
	cc_blob spki = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	return spki;
}

Certq__SignedDocument *fixture_statement(const struct fixture_tenant *t, EVP_PKEY *root,
	EVP_PKEY *signer, void (*change)(Certq__SignerStatement *statement))
{
	Certq__SignerStatement s = CERTQ__SIGNER_STATEMENT__INIT;
	Certq__SignedDocument *document = NULL;
	cc_blob spki = fixture_spki(signer);
	int64_t now = clock_realtime_s();

	s.version = 1;
	s.tenant = codec_text(t->name);
	s.spki = codec_bytes(cc_blob_view(&spki));
	s.not_before_s = now - 3600;
	s.not_after_s = now + 30 * 86400;
	s.issue = s.rewrap = s.revoke = s.chain = true;
	s.revision = 1;
	if (change != NULL)
		change(&s);
	cc_blob body = codec_pack(&s);
	NEED(dsse_sign(root, DOC_SIGNER, cc_blob_view(&body), &document) == CC_OK);
	cc_blob_free(&body);
	cc_blob_free(&spki);
	return document;
}

void fixture_tenant_make(struct fixture_tenant *t, const char *name)
{
	*t = (struct fixture_tenant){0};
	NEED((size_t)snprintf(t->name, sizeof(t->name), "%s", name) < sizeof(t->name));
	t->root = fixture_key("ed25519");
	t->signer = fixture_key("ed25519");
	t->root_spki = fixture_spki(t->root);
	t->signer_spki = fixture_spki(t->signer);
	t->statement = fixture_statement(t, t->root, t->signer, NULL);
}

void fixture_tenant_clear(struct fixture_tenant *t)
{
	EVP_PKEY_free(t->root);
	EVP_PKEY_free(t->signer);
	cc_blob_free(&t->root_spki);
	cc_blob_free(&t->signer_spki);
	codec_free(t->statement);
	*t = (struct fixture_tenant){0};
}

char *fixture_root_pem(const struct fixture_tenant *t)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;

	NEED(bio != NULL && PEM_write_bio_PUBKEY(bio, t->root) == 1);
	long size = BIO_get_mem_data(bio, &text);
	NEED(size > 0);
	char *pem = cc_strndup(cc_view_of(text, (size_t)size));
	BIO_free(bio);
	return pem;
}

static void job_init(struct fixture_job *j, const struct fixture_tenant *t, const char *key)
{
	int64_t now = clock_realtime_s();

	memset(j, 0, sizeof(*j));
	certq__job_document__init(&j->doc);
	certq__issue__init(&j->issue);
	certq__rewrap__init(&j->rewrap);
	certq__revoke__init(&j->revoke);
	certq__chain__init(&j->chain);
	certq__holder__init(&j->holder);
	certq__device_key__init(&j->device_key);
	for (size_t i = 0; i < 4; i++) {
		certq__alt_name__init(&j->san[i]);
		certq__password_copy__init(&j->copies[i]);
		j->san_list[i] = &j->san[i];
		j->copy_list[i] = &j->copies[i];
	}
	j->doc.version = 1;
	j->doc.tenant = codec_text(t->name);
	j->doc.idempotency_key = codec_text(key);
	j->doc.not_before_s = now - 60;
	j->doc.not_after_s = now + 3600;
	j->doc.correlation_id = codec_text("corr-1");
	j->holder.user_id = codec_text("user-alice");
	j->holder.upn = codec_text("alice@contoso.com");
	j->holder.email = codec_text("alice@contoso.com");
	j->holder.device_id = codec_text("device-1");
}

void fixture_issue(struct fixture_job *j, const struct fixture_tenant *t, const char *key,
	const char *profile, cc_view device_spki)
{
	job_init(j, t, key);
	j->doc.kind_case = CERTQ__JOB_DOCUMENT__KIND_ISSUE;
	j->doc.issue = &j->issue;
	j->device_key.spki = codec_bytes(device_spki);
	j->issue.holder = &j->holder;
	j->issue.device_key = &j->device_key;
	j->issue.ca_profile = codec_text(profile);
	j->issue.key_type = CERTQ__KEY_TYPE__KEY_EC_P256;
	j->issue.subject = codec_text("CN=alice,O=Contoso");
	j->issue.san = j->san_list;
	fixture_issue_add_san(j, CERTQ__ALT_TYPE__ALT_EMAIL, "alice@contoso.com");
}

void fixture_issue_add_san(struct fixture_job *j, Certq__AltType type, const char *value)
{
	NEED(j->issue.n_san < 4);
	Certq__AltName *san = j->san_list[j->issue.n_san++];
	san->type = type;
	san->value = codec_text(value);
}

void fixture_rewrap(struct fixture_job *j, const struct fixture_tenant *t, const char *key,
	cc_view pfx, cc_view device_spki)
{
	job_init(j, t, key);
	j->doc.kind_case = CERTQ__JOB_DOCUMENT__KIND_REWRAP;
	j->doc.rewrap = &j->rewrap;
	j->device_key.spki = codec_bytes(device_spki);
	j->rewrap.holder = &j->holder;
	j->rewrap.device_key = &j->device_key;
	j->rewrap.record_id = codec_text("user-alice-0123456789abcdef");
	j->rewrap.purpose = codec_text("smimeEncryption");
	hash_sha256(pfx, j->digests[0]);
	j->rewrap.pfx_sha256 = codec_bytes(cc_view_of(j->digests[0], SHA256_SIZE));
	j->rewrap.padding = CERTQ__PADDING__PADDING_OAEP_SHA512;
	j->rewrap.binding = 1;
	j->rewrap.passwords = j->copy_list;
}

void fixture_rewrap_add(struct fixture_job *j, cc_view key_id, cc_view encrypted_password)
{
	size_t i = j->rewrap.n_passwords++;

	NEED(i < 4 && key_id.size == SHA256_SIZE);
	memcpy(j->ids[i], key_id.data, SHA256_SIZE);
	hash_sha256(encrypted_password, j->digests[i + 1]);
	j->copies[i].key_id = codec_bytes(cc_view_of(j->ids[i], SHA256_SIZE));
	j->copies[i].sha256 = codec_bytes(cc_view_of(j->digests[i + 1], SHA256_SIZE));
}

cc_blob fixture_encrypt_password(
	const struct fixture_job *j, cc_view spki, cc_view pfx, const char *password)
{
	const uint8_t *at = spki.data;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)spki.size);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	uint8_t pfx_sha256[SHA256_SIZE];
	uint8_t *label = OPENSSL_malloc(SHA256_SIZE);
	uint8_t out[512];
	size_t size = sizeof(out);

	NEED(key != NULL && ctx != NULL && label != NULL);
	hash_sha256(pfx, pfx_sha256);
	job_pfx_label(codec_view(j->doc.tenant), codec_view(j->holder.user_id),
		codec_view(j->rewrap.purpose), cc_view_of(pfx_sha256, SHA256_SIZE), label);
	NEED(EVP_PKEY_encrypt_init(ctx) == 1);
	NEED(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1);
	NEED(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha512()) == 1);
	NEED(EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha512()) == 1);
	if (j->rewrap.binding == 1)
		NEED(EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, label, SHA256_SIZE) == 1);
	else
		OPENSSL_free(label);
	NEED(EVP_PKEY_encrypt(ctx, out, &size, (const uint8_t *)password, strlen(password)) == 1);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
	return cc_blob_copy(cc_view_of(out, size));
}

void fixture_chain(
	struct fixture_job *j, const struct fixture_tenant *t, const char *key, const char *profile)
{
	job_init(j, t, key);
	j->doc.kind_case = CERTQ__JOB_DOCUMENT__KIND_CHAIN;
	j->doc.chain = &j->chain;
	j->chain.ca_profile = codec_text(profile);
}

void fixture_revoke(
	struct fixture_job *j, const struct fixture_tenant *t, const char *key, const char *profile)
{
	static const uint8_t empty_name[] = {0x30, 0x00};
	static const uint8_t one[] = {0x01};

	job_init(j, t, key);
	j->doc.kind_case = CERTQ__JOB_DOCUMENT__KIND_REVOKE;
	j->doc.revoke = &j->revoke;
	j->revoke.ca_profile = codec_text(profile);
	j->revoke.issuer = codec_bytes(cc_view_of(empty_name, sizeof(empty_name)));
	j->revoke.serial = codec_bytes(cc_view_of(one, sizeof(one)));
}

Certq__SignedDocument *fixture_sign_with(
	EVP_PKEY *key, const char *type, const struct fixture_job *j)
{
	Certq__SignedDocument *document = NULL;
	cc_blob body = codec_pack(&j->doc);

	NEED(dsse_sign(key, type, cc_blob_view(&body), &document) == CC_OK);
	cc_blob_free(&body);
	return document;
}

Certq__SignedDocument *fixture_sign(const struct fixture_tenant *t, const struct fixture_job *j,
	uint8_t ret_job_id[JOB_ID_SIZE])
{
	if (ret_job_id != NULL)
		job_id_derive(
			codec_view(j->doc.tenant), codec_view(j->doc.idempotency_key), ret_job_id);
	return fixture_sign_with(t->signer, DOC_JOB, j);
}
