/*
 * finish_issue and reorder: the operations that take a ticket.  Keyvault; a worker's thread.
 *
 * finish_issue may be repeated: each time another password, the same certificate and key.
 */
#pragma once

#include "keyvault/call.h"

void finish_serve(struct call *c);
void finish_serve_reorder(struct call *c);
