/*
 * rewrap: an imported password, from the on-prem key to the device's.  Keyvault; a worker's thread.
 *
 * The PFX is not repeated in the answer: the queue has it.
 */
#pragma once

#include "keyvault/call.h"

void rewrap_serve(struct call *c);
