/*
 * RFC 6455 from the client's side, as little as the tests need.
 */
#include "tests/support/ws_client.h"

#include "base/hash.h"
#include "base/text.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MESSAGE_MAX (512u * 1024u)

bool ws_client_open(struct ws_client *w, uint32_t port, const struct tls_client_options *options,
	const char *path, const char *subprotocol, const char *more)
{
	cc_blob request = CC_BLOB_NONE;
	const char *end;
	size_t head;

	*w = (struct ws_client){.tls = tls_client_open(port, options)};
	if (!w->tls)
		return false;
	cc_blob_printf(&request,
		"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: "
		"Upgrade\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
		path);
	if (subprotocol)
		cc_blob_printf(&request, "Sec-WebSocket-Protocol: %s\r\n", subprotocol);
	cc_blob_printf(&request, "%s\r\n", more);
	tls_client_write(w->tls, cc_blob_view(&request));
	cc_blob_free(&request);
	while (!(end = strstr(cc_blob_text(&w->in), "\r\n\r\n"))) {
		if (!tls_client_read(w->tls, &w->in))
			return false;
	}
	w->status = tls_client_status(cc_blob_view(&w->in));
	w->extensions = strcasestr((const char *)w->in.data, "sec-websocket-extensions") != NULL;
	head = (size_t)(end - (const char *)w->in.data) + 4;
	memmove(w->in.data, w->in.data + head, w->in.size - head);
	w->in.size -= head;
	return w->status == 101;
}

void ws_client_close(struct ws_client *w)
{
	tls_client_close(w->tls);
	cc_blob_free(&w->in);
	w->tls = NULL;
}

/* ---- out ---- */

static void put_head(cc_blob *to, bool final, int opcode, uint64_t size)
{
	cc_blob_append_byte(to, (uint8_t)((final ? 0x80 : 0) | opcode));
	if (size < 126) {
		cc_blob_append_byte(to, (uint8_t)(0x80 | size));
	} else if (size < 65536) {
		cc_blob_append_byte(to, 0x80 | 126);
		cc_blob_append_byte(to, (uint8_t)(size >> 8));
		cc_blob_append_byte(to, (uint8_t)size);
	} else {
		cc_blob_append_byte(to, 0x80 | 127);
		cc_blob_append_u64(to, size);
	}
}

void ws_client_put(cc_blob *to, bool final, int opcode, cc_view payload)
{
	uint8_t mask[4];

	random_bytes(mask, sizeof(mask));
	put_head(to, final, opcode, payload.size);
	cc_blob_append(to, cc_view_of(mask, sizeof(mask)));
	for (size_t i = 0; i < payload.size; i++)
		cc_blob_append_byte(to, payload.data[i] ^ mask[i % 4]);
}

bool ws_client_frame(struct ws_client *w, bool final, int opcode, cc_view payload)
{
	cc_blob frame = CC_BLOB_NONE;
	bool sent;

	ws_client_put(&frame, final, opcode, payload);
	sent = tls_client_write(w->tls, cc_blob_view(&frame));
	cc_blob_free(&frame);
	return sent;
}

bool ws_client_send(struct ws_client *w, cc_view message, size_t fragment)
{
	size_t at = 0;

	do {
		cc_view part = cc_view_part(message, at, fragment);

		if (!ws_client_frame(w, at + part.size == message.size,
			    at == 0 ? WS_BINARY : WS_CONTINUATION, part))
			return false;
		at += part.size;
	} while (at < message.size);
	return true;
}

bool ws_client_claim(struct ws_client *w, int opcode, uint64_t size)
{
	cc_blob frame = CC_BLOB_NONE;
	bool sent;

	put_head(&frame, true, opcode, size);
	cc_blob_append_u32(&frame, 0); /* the mask */
	cc_blob_append_u32(&frame, 0); /* and a few bytes */
	sent = tls_client_write(w->tls, cc_blob_view(&frame));
	cc_blob_free(&frame);
	return sent;
}

/* ---- in ---- */

static bool need(struct ws_client *w, size_t size)
{
	while (w->in.size < size) {
		if (!tls_client_read(w->tls, &w->in)) {
			w->closed = w->closed ? w->closed : 1;
			return false;
		}
	}
	return true;
}

/* One frame, taken off the front.  The server does not mask. */
static bool take_frame(struct ws_client *w, bool *final, int *opcode, cc_blob *ret)
{
	size_t head = 2, size;

	if (!need(w, 2))
		return false;
	*final = (w->in.data[0] & 0x80) != 0;
	*opcode = w->in.data[0] & 0x0f;
	size = w->in.data[1] & 0x7f;
	if (size == 126) {
		head = 4;
		if (!need(w, head))
			return false;
		size = (size_t)w->in.data[2] << 8 | w->in.data[3];
	} else if (size == 127) {
		head = 10;
		if (!need(w, head))
			return false;
		size = (size_t)cc_get_u64(w->in.data + 2);
	}
	if (size > MESSAGE_MAX || !need(w, head + size))
		return false;
	cc_blob_append(ret, cc_view_of(w->in.data + head, size));
	memmove(w->in.data, w->in.data + head + size, w->in.size - head - size);
	w->in.size -= head + size;
	return true;
}

bool ws_client_receive(struct ws_client *w, cc_blob *ret)
{
	cc_blob payload = CC_BLOB_NONE;
	bool final = false, done = false;
	int opcode = 0;

	while (!done && take_frame(w, &final, &opcode, &payload)) {
		if (opcode == WS_CLOSE) {
			w->closed = 1005; /* no code */
			if (payload.size >= 2)
				w->closed = (uint16_t)(payload.data[0] << 8 | payload.data[1]);
			break;
		}
		w->pings += opcode == WS_PING;
		if (opcode == WS_PING && !w->deaf)
			ws_client_frame(w, true, WS_PONG, cc_blob_view(&payload));
		else if (opcode < WS_CLOSE)
			cc_blob_append(ret, cc_blob_view(&payload));
		done = final && opcode < WS_CLOSE;
		cc_blob_clear(&payload);
	}
	cc_blob_free(&payload);
	return done;
}

/* ---- envelopes ---- */

bool ws_client_say(struct ws_client *w, Certq__Envelope *envelope)
{
	cc_blob packed;
	bool sent;

	envelope->seq = ++w->seq;
	envelope->ack_seq = w->seen;
	packed = codec_pack(envelope);
	sent = ws_client_send(w, cc_blob_view(&packed), 16 * 1024);
	cc_blob_free(&packed);
	return sent;
}

Certq__Envelope *ws_client_hear(struct ws_client *w)
{
	Certq__Envelope *envelope = NULL;
	cc_blob message = CC_BLOB_NONE;

	if (ws_client_receive(w, &message) &&
		codec_decode(&certq__envelope__descriptor, cc_blob_view(&message), MESSAGE_MAX,
			&envelope) == CC_OK)
		w->seen = envelope->seq;
	cc_blob_free(&message);
	return envelope;
}
