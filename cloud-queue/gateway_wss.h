/*
 * WebSocket connections of connectors: frames in and out, nothing of their meaning.
 *
 * Loop's thread.  One binary message is one view for the session; its length is judged before
 * anything is allocated for it (close 1009), and fragments per message and messages per second are
 * bounded.  Messages out wait in an outbox and go as fragments of 16 KiB, one write per writable
 * callback.  Identity is the URI in the client's certificate, which TLS has verified.
 */
#pragma once

#include "cloud-queue/queue_ca.h"
#include "cloud-queue/queue_config.h"

#define WSS_PATH        "/v1/connect"
#define WSS_SUBPROTOCOL "certq.v1"
#define WSS_MESSAGE_MAX (256u * 1024u)
#define WSS_HELLO_MAX   (16u * 1024u)

enum {
	WSS_CLOSE_GOING_AWAY = 1001,
	WSS_CLOSE_PROTOCOL = 1002,
	WSS_CLOSE_UNACCEPTABLE = 1003,
	WSS_CLOSE_POLICY = 1008,
	WSS_CLOSE_TOO_LARGE = 1009,
};

struct loop;
struct gateway_wss;        /* the listening side; opaque */
struct gateway_connection; /* one connection; opaque */

struct gateway_wss_events {
	/* A connection with a connector's certificate.  Gives the session, which gets the rest. */
	void *(*opened)(void *arg, struct gateway_connection *c, const struct queue_identity *who);
	/* One whole message; valid during the call. */
	void (*message)(void *session, cc_view message);
	/* Over, once.  The connection is gone afterwards. */
	void (*closed)(void *session);
};

cc_err gateway_wss_open(struct loop *l, const struct queue_config *config,
	const struct gateway_wss_events *events, void *arg, struct gateway_wss **ret) CC_MUST_USE;
void gateway_wss_free(struct gateway_wss *w); /* accepts NULL; call after loop_free */
uint32_t gateway_wss_port(const struct gateway_wss *w);

/* Queue one message; copies it.  A peer that lets too much gather is cut off. */
void gateway_connection_send(struct gateway_connection *c, cc_view message);
size_t gateway_connection_queued(const struct gateway_connection *c); /* bytes */
/* Close once what is queued has been sent; later messages from the peer are dropped. */
void gateway_connection_close(struct gateway_connection *c, uint16_t code, const char *why);
/* Take messages up to WSS_MESSAGE_MAX from now on (WSS_HELLO_MAX before). */
void gateway_connection_greeted(struct gateway_connection *c);
/* Stop and start reading: back-pressure.  Never for longer than the hang-up time. */
void gateway_connection_pause(struct gateway_connection *c, bool paused);
