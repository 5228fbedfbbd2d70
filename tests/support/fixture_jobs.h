/*
 * Fixture: the cloud's side of a tenant for tests: job root, online signer, statement, signed jobs.
 *
 * Any test; single-threaded.  Every function ends the test program when it fails, so that tests read
 * straight.  A fixture_job points into itself: change any field of its messages between making and
 * signing it, and do not copy or move it.  Text that is stored in a message is borrowed.
 */
#pragma once

#include "base/text.h"
#include "proto/dsse.h"

struct fixture_tenant {
	char name[64];
	EVP_PKEY *root;   /* Ed25519, the offline job root */
	EVP_PKEY *signer; /* Ed25519, the online signer */
	cc_blob root_spki;
	cc_blob signer_spki;
	Certq__SignedDocument *statement; /* all kinds, an hour ago to 30 days ahead, revision 1 */
};

void fixture_tenant_make(struct fixture_tenant *t, const char *name);
void fixture_tenant_clear(struct fixture_tenant *t);
char *fixture_root_pem(const struct fixture_tenant *t); /* "-----BEGIN PUBLIC KEY-----"; free */

/* Another statement; free with codec_free.  `change` may alter it before it is signed, or be NULL. */
Certq__SignedDocument *fixture_statement(const struct fixture_tenant *t, EVP_PKEY *root,
	EVP_PKEY *signer, void (*change)(Certq__SignerStatement *statement));

/* "rsa-2048", "rsa-1024", "ec-p256", "ec-p384" or "ed25519"; free with EVP_PKEY_free. */
EVP_PKEY *fixture_key(const char *type);
cc_blob fixture_spki(EVP_PKEY *key);

struct fixture_job {
	Certq__JobDocument doc;
	Certq__Issue issue;
	Certq__Rewrap rewrap;
	Certq__Revoke revoke;
	Certq__Chain chain;
	Certq__Holder holder;
	Certq__DeviceKey device_key;
	Certq__AltName san[4];
	Certq__AltName *san_list[4];
	Certq__PasswordCopy copies[4];
	Certq__PasswordCopy *copy_list[4];
	ProtobufCBinaryData eku[4];
	uint8_t digests[5][SHA256_SIZE]; /* of the PFX, then of each encrypted password */
	uint8_t ids[4][SHA256_SIZE];
};

/* A job of alice@contoso.com on device "device-1" with one e-mail SAN, EC P-256, valid for an hour
 * from now.  `key` is the idempotency key; it and `device_spki` are borrowed. */
void fixture_issue(struct fixture_job *j, const struct fixture_tenant *t, const char *key,
	const char *profile, cc_view device_spki);
void fixture_issue_add_san(struct fixture_job *j, Certq__AltType type, const char *value);

/* A bound record (binding 1, OAEP-SHA-512) of the same user, purpose smimeEncryption, with one
 * password copy per call of fixture_rewrap_add. */
void fixture_rewrap(struct fixture_job *j, const struct fixture_tenant *t, const char *key,
	cc_view pfx, cc_view device_spki);
void fixture_rewrap_add(struct fixture_job *j, cc_view key_id, cc_view encrypted_password);
/* A password encrypted to `spki` as a bound record wants it: OAEP-SHA-512, label by job_pfx_label. */
cc_blob fixture_encrypt_password(
	const struct fixture_job *j, cc_view spki, cc_view pfx, const char *password);

void fixture_chain(struct fixture_job *j, const struct fixture_tenant *t, const char *key,
	const char *profile);
void fixture_revoke(struct fixture_job *j, const struct fixture_tenant *t, const char *key,
	const char *profile);

/* Sign with the tenant's signer; free with codec_free.  `ret_job_id` may be NULL. */
Certq__SignedDocument *fixture_sign(const struct fixture_tenant *t, const struct fixture_job *j,
	uint8_t ret_job_id[JOB_ID_SIZE]);
Certq__SignedDocument *fixture_sign_with(
	EVP_PKEY *key, const char *type, const struct fixture_job *j);
