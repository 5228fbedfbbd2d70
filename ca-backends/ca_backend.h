/*
 * CA backend: the contract between a runner and one kind of CA.  Who adds a backend reads this page
 * and ca-backends/local, writes one struct ca_backend, and adds a line to registry.c.
 *
 * Where it runs.  Each configured CA has a process of its own, the runner: its own user, its own state
 * directory, no keys of anybody else.  The runner has already verified that the keyvault signed the
 * order, that it is for this CA, this operation and this moment, that no other CSR was ordered for the
 * job, and that every text is clean UTF-8 without control characters.  It calls the backend in one
 * worker thread, one call at a time, so an operation may block (give network calls a deadline of
 * 30 seconds) and needs no locks.  `open` is called there too.
 *
 * What it answers.  Every operation fills a struct ca_answer with one of the results of CaResult
 * (proto/ca/v1/ca.proto).  The set is closed:
 *
 *	ISSUED         the certificate: add the chain, leaf first
 *	PENDING        submit, poll, find: the CA wants time: set cookie and delay
 *	REJECTED       the CA or this configuration says no, for good; the reason is for people
 *	NOT_SENT       no byte of the request left this host: asking elsewhere is safe
 *	UNKNOWN        bytes left, no answer came: a certificate may exist
 *	MISCONFIGURED  the administrator has to change something; the reason says what
 *	NOT_SUPPORTED  this backend does not do that (also: the operation is NULL)
 *	NEED_REKEY     the CA wants another key; another key is another job
 *	NOT_ISSUED     find, poll, withdraw: there is none and there will be none
 *	CANNOT_TELL    find: the CA cannot be asked
 *	DONE           revoke (also of what is revoked already), health, chain
 *
 * The difference between NOT_SENT and UNKNOWN is what keeps a second certificate from being made:
 * when in doubt, UNKNOWN.
 *
 * State.  A backend keeps no state between calls: what it has to remember about a pending request is in
 * the cookie, which the core keeps for it.  (A CA that lives inside the backend, as `local` does, is of
 * course made of state.)
 *
 * Names.  `template_name` and the attributes come from the administrator's policy, not from the job.
 * A host never comes from a cookie or from a CA's answer.
 */
#pragma once

#include "base/backend_schema.h"
#include "base/blob.h"
#include "ca/v1/ca.pb-c.h"

#define CA_BACKEND_ABI     1
#define CA_COOKIE_MAX      4096u
#define CA_CERTIFICATE_MAX 16384u
#define CA_CHAIN_MAX       8u

/* ---- configuration ---- */

/* A value as the file has it, by a rule (base/backend_schema.h): the supervisor has judged keys and
 * shapes when it read the file, the runner judges the keys again, the backend judges the values. */
struct ca_option {
	const char *name;
	const char *value;
};

/* What `open` is given; all valid until `close`. */
struct ca_context {
	const char *name;                /* of the CA */
	const char *state_dir;           /* its own; the only place it can write */
	const struct ca_option *options; /* every name fits a rule; required ones are there */
	size_t option_count;
	const struct ca_option_rule *schema; /* the backend's own */
	size_t schema_count;
	cc_view secret; /* content of the `secret` file; empty: none configured */
};

/* The value as configured, else the rule's fallback, else NULL. */
const char *ca_option_get(const struct ca_context *c, const char *name);

/* ---- calls ----
 *
 * A submit comes a second time only when the runner's ledger and `find` say that nothing came of the
 * first, or cannot say (see `resubmit`).  A cookie is sealed by the runner for this job before it leaves,
 * and opened again, so a backend is given its own bytes; at most CA_COOKIE_MAX less 29 of them.  An
 * answer PENDING to a poll carries the cookie for the next one. */

struct ca_attribute {
	cc_view name;
	cc_view value;
};

/* Only the fields that an operation needs are set; the rest is empty. */
struct ca_request {
	cc_view tenant;
	cc_view job_id;
	cc_view template_name; /* submit, poll, withdraw */
	cc_view csr;           /* DER; submit, poll, withdraw, find */
	cc_view csr_sha256;
	cc_view spki_sha256; /* find */
	cc_view txid;        /* find; and for submit a name that is the same each time */
	uint32_t validity_s; /* 0: the template's */
	const struct ca_attribute *attributes;
	size_t attribute_count;
	cc_view cookie;         /* poll, withdraw: as the backend gave it */
	cc_view issuer, serial; /* revoke: DER Name, INTEGER content octets */
	uint32_t reason;        /* revoke: RFC 5280 CRLReason */
};

struct ca_answer {
	Ca__CaResult result;
	char *reason;    /* owned; never empty on a refusal */
	char *reference; /* owned; the CA's own id of the request, for people */
	cc_blob chain[CA_CHAIN_MAX];
	size_t chain_count;
	cc_blob cookie;
	uint32_t delay_s;
};

/* Set the result and the reason (printf; "" for none). */
void ca_answer_set(struct ca_answer *a, Ca__CaResult result, const char *format, ...)
	CC_PRINTF(3, 4);
/* Add one certificate in DER; more than CA_CHAIN_MAX, or a larger one than CA_CERTIFICATE_MAX, makes
 * the result UNKNOWN. */
void ca_answer_add(struct ca_answer *a, cc_view certificate);
void ca_answer_clear(struct ca_answer *a);

/* ---- the backend ---- */

struct ca_backend {
	uint32_t abi;            /* CA_BACKEND_ABI */
	const char *name;        /* as in `backend:` */
	const char *description; /* one line, for people */

	const struct ca_option_rule *schema;
	size_t schema_count;

	Ca__CaResubmit resubmit; /* what the CA does with the same CSR again */
	Ca__CaFind find_by;      /* what `find` can look for */

	/* Read the configuration, open what is needed.  An error means MISCONFIGURED or a CA that is
	 * away: it is shown in the CA's health, and `open` is tried again with the next call. */
	cc_err (*open)(const struct ca_context *c, void **ret_instance);
	/* Any of these may be NULL: NOT_SUPPORTED. */
	void (*submit)(void *instance, const struct ca_request *r, struct ca_answer *ret);
	void (*poll)(void *instance, const struct ca_request *r, struct ca_answer *ret);
	void (*find)(void *instance, const struct ca_request *r, struct ca_answer *ret);
	void (*withdraw)(void *instance, const struct ca_request *r, struct ca_answer *ret);
	void (*revoke)(void *instance, const struct ca_request *r, struct ca_answer *ret);
	void (*chain)(void *instance, struct ca_answer *ret); /* issuing CA first, root last */
	/* Cheap; called at least every ten minutes, and so the place for a backend's own upkeep. */
	void (*health)(void *instance, struct ca_answer *ret);
	void (*close)(void *instance);
};
