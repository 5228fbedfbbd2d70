/*
 * Store: what it keeps beside jobs: tenants, signers, tokens, connectors, imported PFX records.  Part
 * of cloud-queue/store.h, which says how to call and who may.
 */
#pragma once

#include "cloud-queue/store_words.h"

/* ---- tenants and signers ---------------------------------------------------------------------- */

struct store_tenant {
	cc_view name;
	cc_view job_root;       /* SPKI, DER */
	uint64_t max_open_jobs; /* 0: the store's */
	uint64_t max_bytes;     /* 0: the store's */
	int64_t created_ms;     /* ignored by put */
};
struct store_tenant_put_in { /* makes or replaces; another job root needs `replace` */
	struct store_tenant tenant;
	bool replace;
};
STORE_PLAIN_OUT(tenant_put); /* NEW, SAME, OK (replaced), CONFLICT */
STORE_OP(tenant_put);

struct store_tenant_get_in {
	cc_view name;
};
struct store_tenant_get_out { /* OK, UNKNOWN */
	cc_err err;
	enum store_result result;
	struct store_tenant tenant;
};
STORE_OP(tenant_get);

struct store_tenant_list_in {
	cc_view after; /* the last name seen; empty: from the start */
	size_t limit;
};
struct store_tenant_list_out { /* OK */
	cc_err err;
	enum store_result result;
	const struct store_tenant *tenants;
	size_t count;
	bool more;
};
STORE_OP(tenant_list);

struct store_signer_put_in { /* the newest statement of that key; verified by the caller */
	cc_view tenant;
	cc_view key_id;
	uint64_t revision;
	cc_view statement; /* packed SignedDocument */
	int64_t not_after_s;
};
STORE_PLAIN_OUT(
	signer_put); /* NEW, OK (newer), SAME, CONFLICT (older, or other bytes), UNKNOWN (tenant) */
STORE_OP(signer_put);

struct store_signer_get_in {
	cc_view tenant;
	cc_view key_id;
};
struct store_signer_get_out { /* OK, UNKNOWN.  With the tenant's job root, to verify in one step. */
	cc_err err;
	enum store_result result;
	cc_view statement;
	uint64_t revision;
	cc_view job_root; /* also with UNKNOWN, when the tenant is known */
};
STORE_OP(signer_get);

/* ---- tokens ----------------------------------------------------------------------------------- */

enum store_scope {
	STORE_SCOPE_JOBS_WRITE = 1 << 0,
	STORE_SCOPE_JOBS_READ = 1 << 1,
	STORE_SCOPE_PFX_WRITE = 1 << 2,
	STORE_SCOPE_PFX_READ = 1 << 3,
	STORE_SCOPE_PFX_CONTENT = 1 << 4,
	STORE_SCOPE_SIGNERS_WRITE = 1 << 5,
	STORE_SCOPE_CONNECTORS_READ = 1 << 6,
};
struct store_token_put_in { /* a producer's bearer token, known only by its SHA-256 */
	cc_view sha256;
	cc_view tenant;
	cc_view name;
	uint32_t scopes;
	int64_t not_after_s;
};
STORE_PLAIN_OUT(token_put); /* NEW, SAME, CONFLICT, UNKNOWN (tenant) */
STORE_OP(token_put);

struct store_token_get_in {
	cc_view sha256;
};
struct store_token_get_out { /* OK, UNKNOWN; expiry is the caller's to judge */
	cc_err err;
	enum store_result result;
	cc_view tenant;
	cc_view name;
	uint32_t scopes;
	int64_t not_after_s;
};
STORE_OP(token_get);

struct store_token_delete_in {
	cc_view sha256;
};
STORE_PLAIN_OUT(token_delete); /* OK, UNKNOWN */
STORE_OP(token_delete);

struct store_enrol_put_in {
	cc_view token_id;
	cc_view tenant;
	cc_view connector; /* the id that the new connector gets */
	const cc_view *groups;
	size_t group_count;
	cc_view secret; /* kept for the proof's HMAC until the token expires */
	int64_t not_after_s;
};
STORE_PLAIN_OUT(enrol_put); /* NEW, CONFLICT, UNKNOWN (tenant) */
STORE_OP(enrol_put);

struct store_enrol_get_in {
	cc_view token_id;
};
struct store_enrol_get_out { /* OK, UNKNOWN; expiry is the caller's to judge */
	cc_err err;
	enum store_result result;
	cc_view tenant;
	cc_view connector;
	const cc_view *groups;
	size_t group_count;
	cc_view secret; /* Safety: copy into a cc_secret or use at once; wiped after `done` */
	int64_t not_after_s;
	bool used; /* then only the request that used it may come again: enrol_use */
};
STORE_OP(enrol_get);

/* Uses the token and makes (or renews) the connector in one transaction.  An enrolment starts the
 * connector's identity afresh: journal and nonce are forgotten.  The same request again (by its
 * digest) is SAME and changes the certificate's fingerprint only, so a lost answer can be repeated. */
struct store_enrol_use_in {
	cc_view token_id;
	cc_view request_sha256; /* over CSR and result key */
	cc_view result_spki;
	cc_view certificate_sha256; /* of the transport certificate that will be answered */
	int64_t now_s;              /* for the expiry */
};
STORE_PLAIN_OUT(enrol_use); /* OK, SAME, USED, EXPIRED, UNKNOWN */
STORE_OP(enrol_use);

/* ---- connectors ------------------------------------------------------------------------------- */

struct store_connector {
	cc_view tenant;
	cc_view id;
	cc_view result_spki;
	const cc_view *groups;
	size_t group_count;
	cc_view certificate_sha256;
	bool disabled;
	bool suspended;
	bool online; /* has a session */
	int64_t enrolled_ms, last_seen_ms;
	cc_view software;
	uint32_t kinds;
	const cc_view *ca_profiles;
	size_t ca_profile_count;
	const struct store_key *keys;
	size_t key_count;
	uint64_t session_epoch;
	cc_view journal_id, instance_id;
};
struct store_connector_put_in { /* without a token: for an operator and for tests */
	cc_view tenant;
	cc_view id;
	cc_view result_spki;
	cc_view certificate_sha256;
	const cc_view *groups;
	size_t group_count;
};
STORE_PLAIN_OUT(connector_put); /* NEW, OK (identity starts afresh), UNKNOWN (tenant) */
STORE_OP(connector_put);

struct store_connector_get_in {
	cc_view tenant;
	cc_view id;
};
struct store_connector_get_out { /* OK, UNKNOWN */
	cc_err err;
	enum store_result result;
	struct store_connector connector;
};
STORE_OP(connector_get);

struct store_connector_list_in {
	cc_view tenant;
	cc_view after;
	size_t limit;
};
struct store_connector_list_out { /* OK */
	cc_err err;
	enum store_result result;
	const struct store_connector *connectors;
	size_t count;
	bool more;
};
STORE_OP(connector_list);

struct store_connector_set_in { /* an operator's */
	cc_view tenant;
	cc_view id;
	bool set_disabled, disabled;
	bool resume;         /* ends a suspension */
	bool forget_journal; /* after `journal adopt`: the next Hello may bring any journal */
};
STORE_PLAIN_OUT(connector_set); /* OK, UNKNOWN */
STORE_OP(connector_set);

/* ---- imported PFX records --------------------------------------------------------------------- */

enum store_pfx_mode { STORE_PFX_CREATE, STORE_PFX_REPLACE };
struct store_pfx_put_in {
	cc_view tenant;
	cc_view user;
	cc_view thumbprint;
	enum store_pfx_mode mode;
	cc_view if_match; /* REPLACE: the version's SHA-256 as pfx_get gave it; empty: any */
	cc_view record;   /* packed queue.v1.PfxRecord */
	struct store_repeat repeat;
};
STORE_PLAIN_OUT(pfx_put); /* NEW, OK, SAME, CONFLICT (there already; if_match), KEY_TAKEN, UNKNOWN,
                           * QUOTA, TOO_LARGE */
STORE_OP(pfx_put);

struct store_pfx_get_in {
	cc_view tenant;
	cc_view user;
	cc_view thumbprint;
};
struct store_pfx_get_out { /* OK, UNKNOWN */
	cc_err err;
	enum store_result result;
	cc_view record;
	uint8_t version[STORE_DIGEST_SIZE]; /* SHA-256 of the record: its ETag */
};
STORE_OP(pfx_get);

struct store_pfx_delete_in {
	cc_view tenant;
	cc_view user;
	cc_view thumbprint;
};
STORE_PLAIN_OUT(pfx_delete); /* OK, UNKNOWN */
STORE_OP(pfx_delete);

struct store_pfx_list_in {
	cc_view tenant;
	cc_view user;       /* empty: all users */
	cc_view after_user; /* the cursor: the last record seen; empty: from the start */
	cc_view after_thumbprint;
	size_t limit;
};
struct store_pfx_list_out { /* OK */
	cc_err err;
	enum store_result result;
	const cc_view *records;
	size_t count;
	bool more;
};
STORE_OP(pfx_list);
