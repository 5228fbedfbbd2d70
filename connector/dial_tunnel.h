/*
 * Tunnel: a TCP connection to the queue, direct or through a proxy, by libcurl.
 *
 * Connector process; a thread of the dialer (connector/dialer.h), one tunnel a thread.  libcurl
 * resolves, tries all addresses of a name (RFC 8305), speaks CONNECT or SOCKS and authenticates; what goes
 * through afterwards is the caller's, here TLS between libwebsockets and the queue.  No variable of the
 * environment names a proxy.
 */
#pragma once

#include "connector/proxy.h"

#define DIAL_LIMIT_MS 15000 /* name, connection and proxy together */

struct dial_tunnel; /* opaque */

/* Blocking, at most DIAL_LIMIT_MS but for the Kerberos library's own exchange; sooner, with CC_CLOSED,
 * when `cancel_fd` becomes readable.  `proxy` must outlive it. */
cc_err dial_tunnel_open(const struct proxy *proxy, const char *host, uint16_t port, int limit_ms,
	int cancel_fd, struct dial_tunnel **ret) CC_MUST_USE;
void dial_tunnel_close(struct dial_tunnel *t); /* accepts NULL */

/* For poll.  With an HTTPS proxy bytes may wait inside: read until CC_AGAIN before polling. */
int dial_tunnel_fd(const struct dial_tunnel *t);
/* CC_AGAIN: nothing now.  CC_CLOSED: the end. */
cc_err dial_tunnel_read(
	struct dial_tunnel *t, uint8_t *to, size_t room, size_t *ret_size) CC_MUST_USE;
cc_err dial_tunnel_write(struct dial_tunnel *t, cc_view bytes, size_t *ret_size) CC_MUST_USE;
