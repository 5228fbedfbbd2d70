/*
 * Setup: each role's part of the configuration, as the first message on its link.
 *
 * Supervisor only.  setup_pack makes the message without opening anything, so that two
 * configurations can be compared by what a role would see; setup_make adds the descriptors, which
 * are opened here with the checks of base/file.h and passed, never named by a path.
 */
#pragma once

#include "connector/child.h"
#include "connector/config.h"
#include "connector/walls.h"

/* What every Setup is made from; all borrowed. */
struct setup_source {
	const struct config *config;
	const struct walls *walls;
	const char *build_id;
	int control_fd;        /* listening */
	int admin_fd;          /* listening */
	cc_view approval_spki; /* empty before the keyvault was ready */
};

/* `name`: of the CA, for a runner. */
cc_blob setup_pack(const struct setup_source *s, Role__RoleKind role, const char *name);
cc_err setup_make(const struct setup_source *s, Role__RoleKind role, const char *name,
	struct child_setup *ret) CC_MUST_USE;

/* Fresh descriptors of policy and pins, those that exist; names[i] belongs to fds[i].  The caller
 * closes. */
#define SETUP_FILES_MAX 2
cc_err setup_open_files(const struct config *c, const char *ret_names[SETUP_FILES_MAX],
	int ret_fds[SETUP_FILES_MAX], size_t *ret_count) CC_MUST_USE;
