/*
 * A WebSocket client for tests of the gateway: frames exactly as the test says, and envelopes of
 * certq.v1 on top.
 *
 * Any test; blocking, with tls_client's time limit.
 */
#pragma once

#include "certq/v1/envelope.pb-c.h"
#include "tests/support/tls_client.h"

struct ws_client {
	struct tls_client *tls;
	cc_blob in;      /* received and not yet used */
	uint64_t seq;    /* of the last envelope sent */
	uint64_t seen;   /* of the last envelope received */
	uint16_t closed; /* close code of the server; 1: the connection just ended */
	int status;      /* of the upgrade */
	bool extensions; /* the server took one */
	bool deaf;       /* answer no pings */
	unsigned pings;  /* that came */
};

enum { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

/* Upgrade on `path` offering `subprotocol` (NULL: none); `more`: further header lines or "".  False
 * when there was no 101; close it in any case. */
bool ws_client_open(struct ws_client *w, uint32_t port, const struct tls_client_options *options,
	const char *path, const char *subprotocol, const char *more);
void ws_client_close(struct ws_client *w);

/* One frame, masked. */
bool ws_client_frame(struct ws_client *w, bool final, int opcode, cc_view payload);
/* The same, appended to what is to be written in one go. */
void ws_client_put(cc_blob *to, bool final, int opcode, cc_view payload);
/* A binary message in fragments of at most `fragment` bytes. */
bool ws_client_send(struct ws_client *w, cc_view message, size_t fragment);
/* The header of a frame that claims `size` bytes, and nothing of them. */
bool ws_client_claim(struct ws_client *w, int opcode, uint64_t size);
/* The next whole binary message; false when the connection ended (`closed`). */
bool ws_client_receive(struct ws_client *w, cc_blob *ret);

/* Number, pack and send. */
bool ws_client_say(struct ws_client *w, Certq__Envelope *envelope);
/* The next envelope, whatever it is; NULL when the connection ended.  Free with codec_free. */
Certq__Envelope *ws_client_hear(struct ws_client *w);
