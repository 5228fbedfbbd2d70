/*
 * Admin: the operations of the administrator's door that change or show more than public lists.
 *
 * Keyvault; a worker's thread.
 */
#pragma once

#include "keyvault/call.h"

void admin_serve_generate(struct call *c); /* a new decryption key */
void admin_serve_devices(struct call *c);
void admin_serve_block(struct call *c);
void admin_serve_accept_clock(struct call *c);
void admin_serve_waiting(struct call *c); /* jobs that wait for an operator */
void admin_serve_approve(struct call *c);
void admin_serve_deny(struct call *c);
