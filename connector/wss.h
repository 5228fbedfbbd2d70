/*
 * WebSocket over TLS to the queue: the product's wire (connector/wire.h).
 *
 * Connector process; the loop's thread only (base/lws_loop.h).  The queue's CA is pinned, its name is
 * checked, our certificate is shown; subprotocol certq.v1, HTTP/1.1.  Messages in are assembled under
 * a limit that is checked before anything is allocated; messages out go as fragments of 16 KiB, one
 * write for each time that the socket is writable.
 *
 * This is the only file of the connector that knows libwebsockets.
 */
#pragma once

#include "base/loop.h"
#include "connector/identity.h"
#include "connector/proxy.h"
#include "connector/wire.h"

#define WSS_CLIENT_PATH "/v1/connect"

/* `l` is a loop of base/lws_loop.h; `id` must outlive it. */
/* Takes over *proxy (connector/proxy.h); `addresses` as in connector/addresses.h.  dialer_start_library
 * was called. */
cc_err wss_new(struct loop *l, const struct identity *id, struct proxy **proxy,
	char *const *addresses, size_t address_count, struct wire **ret) CC_MUST_USE;
/* Before the loop; whoever uses the wire must be gone.  Accepts NULL. */
void wss_free(struct wire *w);
