/*
 * Dialer: the connector's way out.
 *
 * Connector process; called from the loop's thread only.  Names, connections and proxies are slow and
 * their libraries block, so each attempt has a thread of its own, which carries the bytes of the
 * connection afterwards (connector/dial_relay.h).  One attempt or connection at a time; a new one gives
 * up the one before.  Threads of attempts that were given up end by themselves and are counted:
 * past DIALER_THREADS_MAX nothing is dialled (CC_BUSY).
 */
#pragma once

#include "base/loop.h"
#include "connector/proxy.h"

#define DIALER_THREADS_MAX 8

struct dialer; /* opaque */

struct dialer_events {
	/* The way is there: connect to the abstract UNIX socket of this name, within ten seconds.  Valid
	 * during the call. */
	void (*found)(void *arg, const char *name);
	/* There is none, and why (connector/dial_judge.h). */
	void (*failed)(void *arg, cc_err why);
};

/* Once for each process that dials, before its first thread. */
cc_err dialer_start_library(void) CC_MUST_USE;

/* `events` must outlive it.  Takes over *proxy (proxy_new). */
cc_err dialer_new(struct loop *l, struct proxy **proxy, const struct dialer_events *events,
	void *arg, struct dialer **ret) CC_MUST_USE;
/* Gives up what is under way; waits a second at most for its thread.  Accepts NULL. */
void dialer_free(struct dialer *d);

/* Tells by exactly one event, never from inside this call, unless it is given up before. */
void dialer_dial(struct dialer *d, const char *host, uint16_t port);
/* No event comes any more.  A connection is cut once what was handed over is delivered, or after half a
 * second. */
void dialer_give_up(struct dialer *d);
/* Threads that have not ended. */
unsigned dialer_thread_count(struct dialer *d);
