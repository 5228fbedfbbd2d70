/*
 * Role link: a role's side of the link to the supervisor (descriptor 3).
 *
 * Lives in each role's process, single-threaded.  The ritual of a role:
 *
 *	sandbox_early(...);
 *	role_link_setup(ROLE__ROLE_KIND__ROLE_KEYVAULT, &setup, fds);   blocking; log_init is done by it
 *	role_link_user(setup);                                           uid, gid, capabilities
 *	... open what is needed; role_link_descriptor(setup, fds, "master-key") ...
 *	sandbox_enter(...);
 *	role_link_start(loop, &events, arg, &link);                      from here on in the loop
 *	role_link_ready(approval_spki, abi);
 *	loop_run(loop);
 *
 * While the link is started, Alive is sent from a timer of the loop (the supervisor's watchdog).
 * The end of the link means that the supervisor is gone: the role ends.
 */
#pragma once

#include "base/link.h"
#include "base/loop.h"
#include "role/v1/role.pb-c.h"

#define ROLE_LINK_PROTOCOL 1
#define ROLE_LINK_ALIVE_MS 5000
#define ROLE_LINK_GRACE_MS 60000 /* the most that a Stop gives */

/* Receive Setup (blocking), check protocol and role, set the log up.  fds[i] is the
 * descriptor that setup->descriptors[i] names, the rest is -1; the caller owns them.  Free the
 * message with codec_free. */
cc_err role_link_setup(Role__RoleKind role, Role__Setup **ret, int fds[LINK_FDS_MAX]) CC_MUST_USE;

/* The descriptor of this name, -1 when none was passed. */
int role_link_descriptor(const Role__Setup *setup, const int fds[LINK_FDS_MAX], const char *name);

/* Change to the user that Setup names, or only drop capabilities when it names none. */
cc_err role_link_user(const Role__Setup *setup) CC_MUST_USE;

/* One packet to the supervisor, without descriptors. */
cc_err role_link_send(const Role__LinkMessage *message) CC_MUST_USE;
cc_err role_link_ready(cc_view approval_spki, int sandbox_abi) CC_MUST_USE;

struct role_link; /* opaque */

struct role_link_events {
	/* Take over `fd`, our end of a fresh conversation with this peer.  False, and nothing taken: it
	 * is no peer of this role. */
	bool (*conversation)(void *arg, const Role__Conversation *conversation, int fd);
	/* The supervisor wants this role to end, within this time. */
	void (*stop)(void *arg, uint32_t grace_ms);
	/* Any other message; valid during the call, as its descriptors are.  NULL: there is none for
	 * this role. */
	void (*message)(void *arg, const Role__LinkMessage *message, const int *fds, size_t count);
	/* The link is over (CC_CLOSED: the supervisor is gone).  Called once; end the loop. */
	void (*ended)(void *arg, cc_err why);
};

/* Serve descriptor 3 in the loop (it becomes non-blocking). */
cc_err role_link_start(struct loop *l, const struct role_link_events *events, void *arg,
	struct role_link **ret) CC_MUST_USE;
void role_link_stop(struct role_link *r); /* accepts NULL; descriptor 3 stays open */

/* The current conversation with this peer broke: ask for new ends.  Names the serial of the newest
 * Conversation that came over this link, so that the supervisor can tell old news. */
cc_err role_link_lost(struct role_link *r, Role__RoleKind peer, const char *peer_name) CC_MUST_USE;
