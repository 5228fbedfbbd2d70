/*
 * CA client: the connector's conversations with the ca-runners, one for each configured CA.
 *
 * Lives in the connector process; the loop's thread only.  Calls come back once (connector/peer.h).
 * What a runner's backend can do (Properties) is asked at the start of each conversation; a runner
 * counts as there once it has answered that.  Its health is asked every 30 s, for status only.
 */
#pragma once

#include "ca/v1/ca.pb-c.h"
#include "connector/peer.h"

struct ca_clients; /* all of them; opaque */
struct ca_client;  /* one runner; opaque */

struct ca_client_events {
	void (*ready)(
		void *arg, struct ca_client *ca); /* connected, and its properties are known */
	void (*lost)(void *arg, struct ca_client *ca, cc_err why);
};

typedef void (*ca_answer_fn)(void *arg, cc_err err, const Ca__CaAnswer *answer);

struct ca_clients *ca_clients_new(struct loop *l, char *const *names, size_t count,
	const char *build_id, const struct ca_client_events *events, void *arg);
void ca_clients_free(struct ca_clients *cs);                                  /* accepts NULL */
struct ca_client *ca_clients_find(const struct ca_clients *cs, cc_view name); /* NULL: none */
size_t ca_clients_count(const struct ca_clients *cs);
struct ca_client *ca_clients_at(const struct ca_clients *cs, size_t i);

void ca_client_attach(struct ca_client *ca, int fd); /* takes over fd */
bool ca_client_is_ready(const struct ca_client *ca);
const char *ca_client_name(const struct ca_client *ca);
/* Valid while the runner is ready; NULL before. */
const Ca__Properties *ca_client_properties(const struct ca_client *ca);

/* `order` is a packed SignedDocument.  `again`: an earlier request is in doubt, and that is recorded. */
cc_err ca_client_submit(
	struct ca_client *ca, cc_view order, bool again, ca_answer_fn fn, void *arg) CC_MUST_USE;
cc_err ca_client_poll(struct ca_client *ca, const Certq__SignedDocument *order, cc_view cookie,
	ca_answer_fn fn, void *arg) CC_MUST_USE;
cc_err ca_client_withdraw(struct ca_client *ca, const Certq__SignedDocument *order, cc_view cookie,
	ca_answer_fn fn, void *arg) CC_MUST_USE;
cc_err ca_client_revoke(
	struct ca_client *ca, cc_view order, ca_answer_fn fn, void *arg) CC_MUST_USE;
cc_err ca_client_find(
	struct ca_client *ca, const Ca__Find *find, ca_answer_fn fn, void *arg) CC_MUST_USE;
cc_err ca_client_chain(struct ca_client *ca, ca_answer_fn fn, void *arg) CC_MUST_USE;

struct ca_client_health {
	const char *state; /* starting, ok, unreachable, misconfigured */
	const char *reason;
	cc_view backend;
	int64_t checked_ms; /* realtime; 0: never */
};
void ca_client_health(const struct ca_client *ca, struct ca_client_health *ret);
