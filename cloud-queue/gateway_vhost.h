/*
 * Virtual hosts: one constructor for both of the queue's listening sockets, so that no guard can be
 * present in one and forgotten in the other.
 *
 * Loop's thread; for the files that own sockets (gateway_wss.c, http_server.c).  What it makes sure
 * of: TLS 1.2 or newer and never plaintext; HTTP/1.1 only (ALPN, and no h2c upgrade); an IPv4
 * literal listens on that address only; client certificates are verified, where they are required
 * and where they are merely offered; no WebSocket extensions; no trust in the system's CAs.
 */
#pragma once

#include "cloud-queue/queue_config.h"

/* What a peer is given for TLS and the head of its first request, from the moment it connects. */
#define GATEWAY_HANDSHAKE_S 10

struct lws;
struct lws_protocols;
struct loop;
struct gateway_vhost; /* opaque */

struct gateway_vhost_setup {
	const char *name;
	const struct queue_listen *listen;
	const char *client_ca; /* PEM file: who signs client certificates */
	bool websocket;        /* connectors: certificate required, upgrade allowed */
	const struct lws_protocols *protocols; /* [0] serves everything; must outlive the vhost */
	void *user;                            /* for gateway_vhost_user */
	uint64_t ping_s;                       /* websocket only */
	uint64_t hangup_s;
};

/* CC_CONFIG when a file or the address cannot be used. */
cc_err gateway_vhost_open(struct loop *l, const struct gateway_vhost_setup *setup,
	struct gateway_vhost **ret) CC_MUST_USE;
/* Frees our part; lws's own goes with the loop.  Accepts NULL; call after loop_free. */
void gateway_vhost_free(struct gateway_vhost *v);
uint32_t gateway_vhost_port(const struct gateway_vhost *v); /* the one that was bound */
void *gateway_vhost_user(struct lws *wsi);

/* Every protocol callback asks here first.  True: the callback is decided and must return
 * *ret_verdict.  `path` and `subprotocol` are what an upgrade has to name exactly; NULL: no upgrade
 * is taken. */
bool gateway_vhost_guard(struct lws *wsi, int reason, size_t len, const char *path,
	const char *subprotocol, int *ret_verdict);
