/*
 * The administrator's door: the keyvault's own listening socket, which the supervisor has bound.
 *
 * Keyvault; the loop's thread.  Who comes is told by the kernel (SO_PEERCRED): a process that is one of
 * the daemon's own roles is refused, whatever its uid; the uid of anybody else goes into the log and
 * the decision record.  Nothing of this door can be reached through the connector's.
 */
#pragma once

#include "keyvault/vault.h"

/* `listener` stays the caller's; -1: the door stays shut. */
cc_err door_admin_new(struct vault *v, int listener, struct door_admin **ret) CC_MUST_USE;
void door_admin_free(struct door_admin *d); /* accepts NULL */

/* Pids of the daemon's own roles. */
void door_admin_refuse(struct door_admin *d, const uint32_t *pids, size_t count);
