/*
 * What supervisor.c and supervisor_reload.c share.  Private to the two.
 */
#pragma once

#include "connector/conversations.h"
#include "connector/setup.h"
#include "connector/supervisor.h"

#define SUPERVISOR_CONTROL_SOCKET "control.sock"
#define SUPERVISOR_ADMIN_SOCKET   "vault-admin.sock"

struct supervisor {
	const char *config_path;
	struct config *config;
	struct walls walls;
	char build_id[33];
	int control_fd, admin_fd;
	struct loop *loop;
	struct loop_timer *reload_timer, *watchdog_timer;
	struct conversations *conversations;
	struct child *keyvault, *connector; /* also in the list */
	struct child **children;
	size_t child_count;
	cc_blob approval_spki;
	bool told_ready;
	bool stopping;
};

struct child *supervisor_add_child(struct supervisor *s, Role__RoleKind role, const char *name);
void supervisor_add_runner(struct supervisor *s, const char *name);
struct setup_source supervisor_source(const struct supervisor *s);

/* Read the configuration again and bring the children in line with it; a bad one is logged and the
 * old one goes on. */
void supervisor_reload(struct supervisor *s);
/* Free the runners whose CA is gone from the configuration and whose process has ended. */
void supervisor_forget_removed(struct supervisor *s);
