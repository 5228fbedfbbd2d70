/*
 * Greeting: the first frame in each direction of a conversation between two roles.
 *
 * Any process, any thread.  It carries the protocol version, the build id (both ends must be of one
 * build: the messages between our own processes have no other version) and who speaks.  A channel
 * (base/chan.h) takes what greeting_pack makes, and its check_greeting calls greeting_check.
 */
#pragma once

#include "base/blob.h"
#include "role/v1/role.pb-c.h"

#define GREETING_PROTOCOL 1
#define GREETING_MAX      1024u

/* `role` and `name` say who we are, `build_id` is Setup's.  Free with cc_blob_free. */
cc_blob greeting_pack(Role__RoleKind role, const char *name, const char *build_id);

/* The peer's first frame: CC_VERSION for another protocol or build, CC_PROTOCOL when it is not the
 * expected role or name, CC_MALFORMED. */
cc_err greeting_check(
	cc_view frame, Role__RoleKind role, const char *name, const char *build_id) CC_MUST_USE;

/* "connector", "keyvault", "ca-runner", "supervisor"; "unknown" for anything else. */
const char *greeting_role_name(Role__RoleKind role);
