/*
 * State directories: made by the supervisor where they are missing and it may, each 0700 and its
 * role's own.
 *
 * Supervisor only.  One that exists is left as it is: its role checks it when it opens what is inside.
 */
#pragma once

#include "connector/config.h"

/* STATE, STATE/identity, STATE/journal, STATE/vault, STATE/ca/NAME and RUN. */
cc_err state_dirs_make(const struct config *c) CC_MUST_USE;

/* All of it, for an administrator before the first start: as root everything is given to whom
 * `users` names, the master key to the supervisor's. */
cc_err state_dirs_init(const struct config *c) CC_MUST_USE;

/* The master key, 32 random bytes in a file of ours, when it is not there and STATE/vault is empty:
 * a new key beside an old store would lock the store. */
cc_err state_dirs_make_master_key(const struct config *c) CC_MUST_USE;
