/*
 * What the files of the local CA share.  Private to ca-backends/local; worker's thread, or the one
 * thread of --init-ca.
 */
#pragma once

#include "ca-backends/local/local.h"
#include "base/hash.h"
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#define LOCAL_SERIAL_SIZE 16
#define LOCAL_KEY_FILE    "ca.key"
#define LOCAL_ROOT_FILE   "root.pem"
#define LOCAL_CRL_DER     "crl.der"
#define LOCAL_CRL_PEM     "crl.pem"
#define LOCAL_DB_DIR      "db"
#define LOCAL_ISSUED_DIR  "issued"
#define LOCAL_INDEX_FILE  "index.txt"
#define LOCAL_BACKDATE_S  300 /* not_before and this_update, for clocks that lag */

/* ---- key and certificate of the CA (local_key.c) ---- */

/* The secret file is one line of text: a passphrase, as `openssl pkey -passin file:` reads it. */
cc_err local_passphrase(cc_view secret, cc_secret *ret) CC_MUST_USE;
/* rsa-3072, rsa-4096, ec-p256, ec-p384; CC_USAGE for anything else. */
cc_err local_key_generate(const char *type, EVP_PKEY **ret) CC_MUST_USE;
/* PEM, ENCRYPTED PRIVATE KEY. */
cc_err local_key_write(const char *path, EVP_PKEY *key, const cc_secret *passphrase) CC_MUST_USE;
cc_err local_key_read(const char *path, const cc_secret *passphrase, EVP_PKEY **ret) CC_MUST_USE;
const EVP_MD *local_key_digest(const EVP_PKEY *key); /* what this key signs with */
cc_err local_certificate_read(const char *path, X509 **ret) CC_MUST_USE;
cc_err local_certificate_der(const X509 *certificate, cc_blob *ret) CC_MUST_USE;
cc_err local_certificate_pem(cc_view der, cc_blob *ret) CC_MUST_USE;

/* ---- extensions (local_ext.c) ---- */

/* An extension in OpenSSL's text form, such as "critical,CA:FALSE"; `subject` for its key's hash. */
cc_err local_ext_add(
	X509 *to, const X509 *issuer, X509 *subject, int nid, const char *value) CC_MUST_USE;
/* A random positive serial of 128 bits: the first bit is 0, the second 1, so all have one length. */
void local_random_serial(uint8_t ret[LOCAL_SERIAL_SIZE]);
cc_err local_serial_set(X509 *to, const uint8_t serial[LOCAL_SERIAL_SIZE]) CC_MUST_USE;
cc_err local_times_set(X509 *to, int64_t not_before_s, int64_t not_after_s) CC_MUST_USE;
int64_t local_time_of(const ASN1_TIME *t); /* seconds; -1 when it cannot be told */

/* ---- names (local_name.c) ---- */

/* "CN=Corp CA,O=Contoso": RFC 4514, one attribute an RDN, backslash escapes. */
cc_err local_name_parse(const char *text, X509_NAME **ret) CC_MUST_USE;

/* ---- templates (local_template.c) ---- */

#define LOCAL_EKU_MAX 16

enum { /* which extensions of a request are taken over */
	LOCAL_HONOUR_SAN = 1,
	LOCAL_HONOUR_EKU = 2,
	LOCAL_HONOUR_KEY_USAGE = 4,
	LOCAL_HONOUR_SID = 8,
	LOCAL_HONOUR_SMIME = 16,
	LOCAL_HONOUR_TEMPLATE = 32,
	LOCAL_HONOUR_ALL = 63,
};

struct local_template {
	ASN1_OBJECT
	*eku[LOCAL_EKU_MAX]; /* all that may be asked for; all of them when nothing is */
	size_t eku_count;
	uint32_t key_usage; /* RFC 5280 bit n = 1 << n; the same rule */
	uint64_t max_validity_s;
	unsigned honour;
	bool manual; /* a person decides about each request */
};

/* CC_NOT_FOUND when ca.d has no such template, CC_CONFIG when a value is not understood. */
cc_err local_template_read(
	const struct ca_context *c, cc_view name, struct local_template *ret) CC_MUST_USE;
void local_template_clear(struct local_template *t);
/* Read every template once, so that a mistake is told at the start. */
cc_err local_template_check_all(const struct ca_context *c) CC_MUST_USE;

/* ---- issuing (local_issue.c) ---- */

struct local_ca { /* what signs */
	EVP_PKEY *key;
	X509 *root;
	const char *crl_url; /* NULL: no distribution point */
};

/* A certificate for the CSR under the template; category REJECTED or PEER: the request is not one
 * that this CA may grant. */
cc_err local_issue(const struct local_ca *ca, const struct local_template *t, cc_view csr,
	uint32_t validity_s, const uint8_t serial[LOCAL_SERIAL_SIZE], int64_t now_s,
	cc_blob *ret_der) CC_MUST_USE;

/* Would it?  The same checks; nothing is signed. */
cc_err local_issue_check(const struct local_ca *ca, const struct local_template *t, cc_view csr,
	uint32_t validity_s, int64_t now_s) CC_MUST_USE;

/* ---- database (local_db.c) ---- */

struct local_db; /* opaque */

/* `make`: a new, empty one (CC_CONFLICT when certificates are in it); otherwise one that was never
 * made is CC_CORRUPT. */
cc_err local_db_open(const char *dir, bool make, struct local_db **ret) CC_MUST_USE;
void local_db_close(struct local_db *d); /* accepts NULL */

struct local_request { /* who asked for what */
	cc_view tenant, job_id, csr_sha256;
};
/* The certificate of this very request; CC_NOT_FOUND. */
cc_err local_db_find(
	const struct local_db *d, const struct local_request *r, cc_blob *ret_der) CC_MUST_USE;
/* Record serial, certificate and request in one transaction, on disk on return; with it goes the pending
 * request of this reference (empty: none).  CC_CONFLICT when the serial is taken: draw another. */
cc_err local_db_add(struct local_db *d, const struct local_request *r,
	const uint8_t serial[LOCAL_SERIAL_SIZE], cc_view der, cc_view reference) CC_MUST_USE;
/* Pending requests, packed, by their reference.  CC_NOT_FOUND; writes are on disk on return. */
cc_err local_db_pending(const struct local_db *d, cc_view reference, cc_blob *ret_row) CC_MUST_USE;
cc_err local_db_pending_put(struct local_db *d, cc_view reference, cc_view row) CC_MUST_USE;
cc_err local_db_pending_delete(struct local_db *d, cc_view reference) CC_MUST_USE;
/* CC_NOT_FOUND when no certificate has this serial; a revoked one stays as it was. */
cc_err local_db_revoke(
	struct local_db *d, cc_view serial, int64_t now_s, uint32_t reason) CC_MUST_USE;
/* Call `fn` for each; its error ends the walk. */
typedef cc_err (*local_revoked_fn)(void *arg, cc_view serial, int64_t time_s, uint32_t reason);
cc_err local_db_each_revoked(const struct local_db *d, local_revoked_fn fn, void *arg) CC_MUST_USE;
typedef cc_err (*local_issued_fn)(void *arg, cc_view serial, cc_view der);
/* The last 256 issued, however many there are. */
cc_err local_db_each_latest(const struct local_db *d, local_issued_fn fn, void *arg) CC_MUST_USE;
typedef cc_err (*local_pending_fn)(void *arg, cc_view reference, cc_view row);
cc_err local_db_each_pending(const struct local_db *d, local_pending_fn fn, void *arg) CC_MUST_USE;
/* The next CRL number, on disk on return. */
cc_err local_db_next_crl(struct local_db *d, uint64_t *ret) CC_MUST_USE;

/* ---- CRL (local_crl.c) ---- */

cc_err local_crl_make(const struct local_ca *ca, struct local_db *db, const char *dir,
	int64_t now_s, uint64_t validity_s, uint64_t *ret_number) CC_MUST_USE;
/* When the CRL in `dir` has to be replaced: halfway to its next update; 0 when there is none. */
int64_t local_crl_due(const char *dir);

/* ---- the instance, and requests that wait for a person (local.c, local_pending.c) ---- */

struct local {
	const struct ca_context *context;
	char *dir; /* STATE/ca/NAME/local */
	struct local_ca ca;
	struct local_db *db;
	cc_blob root_der;
	uint64_t crl_validity_s;
	uint64_t poll_after_s;
	int64_t crl_due_s;
};

/* Issue and record; `reference` as in local_db_add. */
cc_err local_issue_new(struct local *l, const struct local_template *t, const struct ca_request *r,
	cc_view reference, cc_blob *ret_der) CC_MUST_USE;
void local_answer_issued(const struct local *l, cc_view der, struct ca_answer *ret);

cc_err local_pending_open(struct local *l) CC_MUST_USE; /* the folders */
/* Take every decision, put files and rows in line, forget old denials. */
cc_err local_pending_tend(struct local *l) CC_MUST_USE;
/* What is known of the request, after a decision about it was taken: ISSUED, PENDING, REJECTED (denied)
 * or NOT_ISSUED.  On an error nothing is set. */
cc_err local_pending_tell(
	struct local *l, const struct ca_request *r, struct ca_answer *ret) CC_MUST_USE;
/* A new one.  Durable on return. */
cc_err local_pending_add(struct local *l, const struct local_template *t,
	const struct ca_request *r, struct ca_answer *ret) CC_MUST_USE;
cc_err local_pending_withdraw(struct local *l, const struct ca_request *r) CC_MUST_USE;
