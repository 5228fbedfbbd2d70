/*
 * Relay: carries bytes between a tunnel and libwebsockets, which can connect but cannot be handed a
 * connection.
 *
 * Connector process; a thread of the dialer.  The meeting point is an abstract UNIX socket with a
 * random name.  One connection is taken, from this very process (SO_PEERCRED); then the listener is
 * closed.  TLS is end to end: what passes here is ciphertext.
 */
#pragma once

#include "connector/dial_tunnel.h"

#define DIAL_NAME_SIZE 64

/* ret_name is without the NUL that an abstract name begins with. */
cc_err dial_relay_listen(char ret_name[DIAL_NAME_SIZE], int *ret_fd) CC_MUST_USE;

/* Blocking, until either side ends or `cancel_fd` becomes readable.  Closes `listener`. */
void dial_relay_run(struct dial_tunnel *t, int listener, int cancel_fd);
