/*
 * Gateway: every connector's session, and what the store's hints mean for them.
 *
 * Loop's thread.  Framing is gateway_wss.c's, one connection's state machine gateway_session.c's,
 * the meaning of messages gateway_messages.c's.
 */
#pragma once

#include "base/blob.h"

struct queue;
struct gateway; /* opaque */

cc_err gateway_open(struct queue *q, struct gateway **ret) CC_MUST_USE;
void gateway_free(struct gateway *g); /* accepts NULL; after loop_free and store_close */

uint32_t gateway_port(const struct gateway *g);
size_t gateway_connected(const struct gateway *g); /* sessions that are greeted */
/* Tell everyone to finish; no job is sent any more, each is closed (1001) when it has finished. */
void gateway_drain(struct gateway *g);
/* Close what is left (1001). */
void gateway_hang_up(struct gateway *g);
/* No session and no operation of one is left. */
bool gateway_is_idle(const struct gateway *g);
/* An operator disabled this connector, or it was enrolled anew: what is connected under its name ends. */
void gateway_disconnect(struct gateway *g, cc_view tenant, cc_view connector, const char *why);
