/*
 * What config.c and config_ca.c share.  Private to the two.
 */
#pragma once

#include "connector/config.h"

#define CONFIG_OPTIONS_MAX 512

cc_err config_resolve_user(
	const struct conf_node *at, const char *text, struct config_user *ret) CC_MUST_USE;
/* All NAME.yaml of ca_dir, in order of name; no directory: none. */
cc_err config_read_cas(struct config *c) CC_MUST_USE;
void config_clear_ca(struct config_ca *ca);
