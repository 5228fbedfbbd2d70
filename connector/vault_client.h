/*
 * Vault client: what the connector may ask of the keyvault, one function an operation.
 *
 * Lives in the connector process; the loop's thread only.  Each call comes back once through `fn`
 * (connector/peer.h); requests are copied.  A call that returns an error was not made: CC_UNREACHABLE
 * while there is no conversation.  Decision records that ride on the answers are handed to `decisions`
 * before the call comes back, and `decided` is called after it (connector/decisions.h).
 */
#pragma once

#include "certq/v1/envelope.pb-c.h"
#include "connector/peer.h"
#include "vault/v1/vault.pb-c.h"

struct vault_client; /* opaque */

struct vault_client_events {
	void (*connected)(void *arg);
	void (*lost)(void *arg, cc_err why);
	/* `resent`: nobody asked for this answer. */
	void (*decisions)(
		void *arg, Vault__DecisionRecord *const *records, size_t count, bool resent);
	void (*decided)(void *arg);
};

typedef void (*vault_answer_fn)(void *arg, cc_err err, const Vault__VaultAnswer *answer);

struct vault_client *vault_client_new(
	struct loop *l, const char *build_id, const struct vault_client_events *events, void *arg);
void vault_client_free(struct vault_client *v);           /* accepts NULL */
void vault_client_attach(struct vault_client *v, int fd); /* takes over fd */
bool vault_client_is_connected(const struct vault_client *v);

cc_err vault_client_begin_issue(struct vault_client *v, const Certq__Job *delivery,
	vault_answer_fn fn, void *arg) CC_MUST_USE;
cc_err vault_client_finish_issue(struct vault_client *v, cc_view ticket, cc_view ca,
	cc_view packed_chain, vault_answer_fn fn, void *arg) CC_MUST_USE;
cc_err vault_client_reorder(struct vault_client *v, cc_view ticket, Vault__OrderOp op, cc_view ca,
	vault_answer_fn fn, void *arg) CC_MUST_USE;
cc_err vault_client_rewrap(struct vault_client *v, const Certq__Job *delivery, vault_answer_fn fn,
	void *arg) CC_MUST_USE;
/* The answer is an order for the CA that it names. */
cc_err vault_client_approve_revoke(struct vault_client *v, const Certq__Job *delivery,
	vault_answer_fn fn, void *arg) CC_MUST_USE;
/* The same, for a certificate of ours that the queue has no use for. */
cc_err vault_client_approve_orphan(struct vault_client *v, cc_view ticket, cc_view ca,
	cc_view packed_chain, vault_answer_fn fn, void *arg) CC_MUST_USE;
cc_err vault_client_chain_result(struct vault_client *v, const Certq__Job *delivery, cc_view ca,
	ProtobufCBinaryData *chain, size_t count, vault_answer_fn fn, void *arg) CC_MUST_USE;
cc_err vault_client_list_public(struct vault_client *v, vault_answer_fn fn, void *arg) CC_MUST_USE;
/* Without an answer: every record up to this counter is on our disk. */
cc_err vault_client_confirm(struct vault_client *v, uint64_t counter) CC_MUST_USE;
