/*
 * Greeting: one small protobuf message, packed and judged here for both ends of a conversation.
 */
#include "proto/greeting.h"
#include "base/text.h"
#include "proto/codec.h"

const char *greeting_role_name(Role__RoleKind role)
{
	static const char *const names[] = {
		[ROLE__ROLE_KIND__ROLE_SUPERVISOR] = "supervisor",
		[ROLE__ROLE_KIND__ROLE_CONNECTOR] = "connector",
		[ROLE__ROLE_KIND__ROLE_KEYVAULT] = "keyvault",
		[ROLE__ROLE_KIND__ROLE_CA_RUNNER] = "ca-runner",
	};
	size_t i = (size_t)role;

	if (i >= sizeof(names) / sizeof(names[0]) || names[i] == NULL)
		return "unknown";
	return names[i];
}

cc_blob greeting_pack(Role__RoleKind role, const char *name, const char *build_id)
{
	Role__Greeting greeting = ROLE__GREETING__INIT;

	greeting.protocol = GREETING_PROTOCOL;
	greeting.build_id = codec_text(build_id);
	greeting.role = role;
	greeting.name = codec_text(name);
	return codec_pack(&greeting);
}

cc_err greeting_check(cc_view frame, Role__RoleKind role, const char *name, const char *build_id)
{
	Role__Greeting *greeting = NULL;
	cc_err err = CC_OK;

	TRY(codec_decode(&role__greeting__descriptor, frame, GREETING_MAX, &greeting));
	ENSURE(greeting->protocol == GREETING_PROTOCOL,
		cc_fail(CC_VERSION, "greeting: protocol %u, expected %d", greeting->protocol,
			GREETING_PROTOCOL));
	ENSURE(greeting->role == role,
		cc_fail(CC_PROTOCOL, "greeting: from a %s, expected a %s",
			greeting_role_name(greeting->role), greeting_role_name(role)));
	ENSURE(text_equal(codec_view(greeting->name), name),
		cc_fail(CC_PROTOCOL, "greeting: not from %s", name));
	ENSURE(text_equal(codec_view(greeting->build_id), build_id),
		cc_fail(CC_VERSION, "greeting: %s is of another build", name));
out:
	codec_free(greeting);
	return err;
}
