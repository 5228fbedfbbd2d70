/*
 * approve_orphan: an order to revoke a certificate that a CA made for a ticket and that nobody was given.
 *
 * Keyvault; a worker's thread.
 */
#pragma once

#include "keyvault/call.h"

void orphan_serve(struct call *c);
