/*
 * What config.c, config_ca.c and config_way.c share.  Private to the three.
 */
#pragma once

#include "connector/config.h"

#define CONFIG_OPTIONS_MAX 512
#define CONFIG_QUEUE_KEYS  1
#define CONFIG_PROXY_KEYS  7

extern const struct conf_key config_queue_keys[CONFIG_QUEUE_KEYS];
extern const struct conf_key config_proxy_keys[CONFIG_PROXY_KEYS];

/* A section that is left out has its defaults. */
cc_err config_fill_section(const struct config *c, const struct conf_node *n, const char *what,
	const struct conf_key *table, size_t count, void *to) CC_MUST_USE;

cc_err config_resolve_user(
	const struct conf_node *at, const char *text, struct config_user *ret) CC_MUST_USE;
/* All NAME.yaml of ca_dir, in order of name; no directory: none. */
cc_err config_read_cas(struct config *c) CC_MUST_USE;
void config_clear_ca(struct config_ca *ca);
/* queue: and proxy: */
cc_err config_read_way(struct config *c) CC_MUST_USE;
void config_clear_way(struct config *c);
