/*
 * Control: the operator's socket of the connector (status, reload, drain).
 *
 * Connector process; the loop's thread only.  The supervisor bound the socket and passed it listening;
 * who may connect is its owner, group and mode.  Frames of base/chan.h without a greeting.
 */
#pragma once

#include "base/loop.h"
#include "connector/status.h"

struct control; /* opaque */

struct control_events {
	cc_err (*reload)(void *arg); /* ask the supervisor; an error is told to the operator */
	void (*drain)(void *arg);
	cc_err (*resume_ca)(void *arg, cc_view name);
	cc_err (*adopt)(void *arg);
};

/* `listener` stays the caller's; it becomes non-blocking. */
cc_err control_new(struct loop *l, int listener, struct status *status, const struct flow *f,
	const struct control_events *events, void *arg, struct control **ret) CC_MUST_USE;
void control_free(struct control *c); /* accepts NULL */
