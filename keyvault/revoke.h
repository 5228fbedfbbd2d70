/*
 * approve_revoke: an order to revoke, for certificates that policy lets a job revoke.  Keyvault; a worker's
 * thread.
 */
#pragma once

#include "keyvault/call.h"

void revoke_serve(struct call *c);
