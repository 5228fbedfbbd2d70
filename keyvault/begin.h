/*
 * begin_issue: CSR, order and ticket for a signed job.  Keyvault; a worker's thread.
 */
#pragma once

#include "keyvault/call.h"

void begin_serve(struct call *c);
