/*
 * Walls: what a role gives up before it touches a byte from outside.
 *
 * The ritual of every role, in this order: sandbox_early as the first call after exec; read Setup
 * from descriptor 3; sandbox_user; open what is needed; sandbox_enter; say Ready; loop.
 */
#pragma once

#include "base/blob.h"
#include <sys/types.h>

/* Not dumpable (no core, no ptrace by the same uid), no new privileges, umask 077, close every
 * descriptor above LINK_FD.  The connector of a build with CC_TEST_DUMPABLE stays dumpable, so that a
 * test can look for secrets in it; the keyvault never does. */
void sandbox_early(bool may_stay_dumpable);

/* Change to uid, gid and groups for good, and drop every capability.  Checks that it took. */
cc_err sandbox_user(uid_t uid, gid_t gid, const gid_t *groups, size_t group_count) CC_MUST_USE;
/* Drop every capability without changing the user. */
cc_err sandbox_drop_capabilities(void) CC_MUST_USE;
/* Move to a network namespace without any network.  Needs CAP_SYS_ADMIN, so call it before
 * sandbox_user; false where that is not there.  Sockets that are open, and paths, work as before. */
bool sandbox_leave_network(void);

enum sandbox_profile {
	SANDBOX_CONNECTOR, /* network out, its state directory, resolver files */
	SANDBOX_KEYVAULT,  /* no network, its state directory */
	SANDBOX_RUNNER,    /* network out (by backend), its state directory */
	SANDBOX_TOOL,      /* no network, no files: only what is open */
};

/* Landlock on `writable` directories and `readable` paths (NULL-terminated lists, NULL: none; readable
 * paths that do not exist are passed over), then seccomp of the profile.  Before the first thread.
 * After a kernel without Landlock it is CC_NOT_SUPPORTED with everything else in force: a caller
 * whose walls may be reduced goes on with ABI 0.  *ret_abi is the Landlock ABI in force. */
cc_err sandbox_enter(enum sandbox_profile profile, const char *const *writable,
	const char *const *readable, int *ret_abi) CC_MUST_USE;
