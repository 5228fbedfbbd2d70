/*
 * Addresses: where the queue may be reached, and which is tried next.
 *
 * Connector process; the loop's thread only.  The first is the identity's queue_url, the others come
 * from connector.yaml: a wss://host:port has to show a certificate of its own host, a host:port is only
 * another place to dial and shows that of queue_url.  A round begins with the address that worked, or
 * with the first one again once that has been left alone for a while.
 */
#pragma once

#include "connector/identity.h"

#define ADDRESSES_MAX       9
#define ADDRESSES_PREFER_MS (10 * 60 * 1000) /* then the first is preferred again */
#define ADDRESSES_SHORT_MS  (30 * 1000)      /* a connection that lived less did not work */

struct addresses; /* opaque */

struct address {
	char *host; /* to dial */
	uint16_t port;
	const char *name; /* that the certificate has to show */
};

/* A text of connector.yaml: "host:port" or "wss://host:port". */
cc_err addresses_check(cc_view text) CC_MUST_USE;

/* `id` must outlive it. */
cc_err addresses_new(const struct identity *id, char *const *more, size_t count,
	struct addresses **ret) CC_MUST_USE;
void addresses_free(struct addresses *a); /* accepts NULL */

/* Begin a round; then the address that is tried, valid until it is freed. */
void addresses_begin_round(struct addresses *a);
const struct address *addresses_current(const struct addresses *a);
/* It failed.  False: that was the last of this round. */
bool addresses_next(struct addresses *a);
/* A connection to it opened, and ended. */
void addresses_opened(struct addresses *a);
void addresses_ended(struct addresses *a);
