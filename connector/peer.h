/*
 * Peer: the connector's end of one conversation, with request ids and callbacks.
 *
 * Lives in the connector process; the loop's thread only.  The supervisor passes the ends, again
 * whenever one side was restarted.  A call either comes back exactly once or is refused at once:
 * calls in flight when the conversation breaks come back with CC_PEER_RESTARTED, calls without an
 * answer in time with CC_TIMEOUT; peer_call returns CC_UNREACHABLE while there is no conversation.
 * Calls are not repeated here: that is each state's rule.
 *
 * vault_client and ca_client are this with their messages.
 */
#pragma once

#include "base/chan.h"
#include "proto/codec.h"
#include "role/v1/role.pb-c.h"

struct peer; /* opaque */

struct peer_kind {
	Role__RoleKind role;
	const ProtobufCMessageDescriptor *answer;
	uint64_t (*answer_id)(const void *answer);
};

struct peer_events {
	/* The peer's greeting fits and calls are taken. */
	void (*connected)(void *arg);
	/* Every answer, before its call comes back, and those that nobody asked for (or no more). */
	void (*seen)(void *arg, const void *answer);
	/* After the call of that answer came back. */
	void (*handled)(void *arg);
	/* The conversation is over; calls in flight came back before. */
	void (*lost)(void *arg, cc_err why);
};

/* `answer` is NULL when `err` is not CC_OK; it is valid during the call. */
typedef void (*peer_answer_fn)(void *arg, cc_err err, const void *answer);

/* `name` is the peer's; `kind`, `events` and `build_id` must outlive it.  `events` members may be NULL. */
struct peer *peer_new(struct loop *l, const struct peer_kind *kind, const char *name,
	const char *build_id, const struct peer_events *events, void *arg);
/* Calls in flight come back with CC_CLOSED.  Accepts NULL. */
void peer_free(struct peer *p);

/* Take over `fd`, the new end; an old one is closed and its calls come back. */
void peer_attach(struct peer *p, int fd);
bool peer_is_connected(const struct peer *p);
const char *peer_name(const struct peer *p);

/* `request` is a packed request whose id is the one that peer_next_id gave just before. */
uint64_t peer_next_id(struct peer *p);
cc_err peer_call(struct peer *p, uint64_t id, cc_view request, int64_t timeout_ms,
	peer_answer_fn fn, void *arg) CC_MUST_USE;
/* A request without an answer. */
cc_err peer_tell(struct peer *p, cc_view request) CC_MUST_USE;
