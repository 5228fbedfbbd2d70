/*
 * Listing: what the keyvault tells about itself: ids, public keys, profiles, identity, policy's state.
 *
 * Keyvault; a worker's thread.  Also the operation that takes the connector's confirmation of decision
 * records.
 */
#pragma once

#include "keyvault/call.h"

void listing_serve(struct call *c);         /* list_public, at the connector's door */
void listing_serve_admin(struct call *c);   /* list_keys, check_policy */
void listing_serve_confirm(struct call *c); /* confirm_decisions */
