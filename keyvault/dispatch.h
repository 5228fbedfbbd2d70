/*
 * Dispatch: from a frame at a door to the operation, and back.
 *
 * Keyvault; the loop's thread.  One static table per door says which operations there are.  An
 * operation that is not in the table is an error that ends the channel; one whose feature does not
 * exist answers NOT_SUPPORTED.
 */
#pragma once

#include "keyvault/call.h"

/* Decode a frame into a call that is ready to go; `reply` of the call is still to be set. */
cc_err dispatch_read_request(struct vault *v, cc_view frame, struct call **ret) CC_MUST_USE;
cc_err dispatch_read_admin(struct vault *v, cc_view frame, struct call **ret) CC_MUST_USE;
/* Let it go; c->reply is called in the loop, then the call is freed. */
void dispatch_start(struct call *c);
/* For workers_stop. */
void dispatch_drop(struct work *piece);
