/*
 * Listener: the local sockets in RUN, bound by the supervisor and served by a role.
 *
 * Supervisor only.  The supervisor keeps the listening descriptor and passes it anew to each start of
 * the role, so that a client's connect survives a restart.
 */
#pragma once

#include "base/err.h"
#include <sys/types.h>

/* A socket that nobody listens on is removed; one that somebody does is CC_LOCKED.  Mode 0660 and the
 * group when one is given (`group` != (gid_t)-1) and may be set, otherwise 0600: *ret_shared tells. */
cc_err listener_open(const char *path, gid_t group, int *ret_fd, bool *ret_shared) CC_MUST_USE;
