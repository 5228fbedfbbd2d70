/*
 * chain_result: a CA's chain, signed when it ends at a pinned root.  Keyvault; a worker's thread.
 */
#pragma once

#include "keyvault/call.h"

void chain_serve(struct call *c);
