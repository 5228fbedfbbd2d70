/*
 * Wire: what a session needs of its transport, so that a test can stand in its place.
 *
 * Connector process; the loop's thread only.  wss.c is the product's, over libwebsockets.  Messages
 * are whole; one connection at a time.  None of the events is called from inside an operation.
 */
#pragma once

#include "base/blob.h"

#define WIRE_MESSAGE_MAX (256u * 1024u)

struct wire;

struct wire_events {
	void (*opened)(void *arg);
	/* Valid during the call.  The session closes by itself when it does not like it. */
	void (*message)(void *arg, cc_view message);
	/* Once for each connect, also when it never opened. */
	void (*closed)(void *arg, cc_err why);
};

struct wire_ops {
	void (*connect)(struct wire *w, const struct wire_events *events, void *arg);
	/* Takes over the message's memory.  CC_BUSY when too much is queued. */
	cc_err (*send)(struct wire *w, cc_blob *message);
	/* What is queued is written first, as far as the other side takes it within some seconds.  It may
	 * be lost with the connection: who needs an answer waits for it before. */
	void (*close)(struct wire *w, unsigned status);
	size_t (*queued)(const struct wire *w); /* bytes that wait to be sent */
	/* The end of the server's certificate, as it was shown last; 0: never.  NULL: has none. */
	int64_t (*server_not_after_s)(const struct wire *w);
};

struct wire { /* first member of an implementation's own struct */
	const struct wire_ops *ops;
};

/* Close statuses of RFC 6455 section 7.4.1. */
enum {
	WIRE_CLOSE_NORMAL = 1000,
	WIRE_CLOSE_GOING_AWAY = 1001,
	WIRE_CLOSE_PROTOCOL = 1002,
	WIRE_CLOSE_UNSUPPORTED = 1003,
	WIRE_CLOSE_POLICY = 1008,
	WIRE_CLOSE_TOO_BIG = 1009,
};
