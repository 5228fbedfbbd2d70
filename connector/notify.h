/*
 * Notify: tells systemd READY, STOPPING and WATCHDOG (sd_notify(3): one datagram of text to the
 * socket that NOTIFY_SOCKET names, a path or an abstract name).
 *
 * Supervisor only.  Without NOTIFY_SOCKET nothing is sent.
 */
#pragma once

#include "base/err.h"
#include <stdint.h>

/* Take what the environment says and remove it from there: the roles do not speak to systemd. */
void notify_init(void);
/* "READY=1" and the like.  Fails only when a socket is named and cannot be reached. */
cc_err notify_send(const char *text) CC_MUST_USE;
/* How often WATCHDOG=1 is wanted: half of WATCHDOG_USEC; 0: not at all. */
int64_t notify_watchdog_ms(void);
