/*
 * Configuration of the daemon: connector.yaml and ca.d/NAME.yaml, read by the supervisor.
 *
 * Supervisor and `certconnectord --check`; single-threaded.  All text belongs to the struct config.
 * Failures are CC_CONFIG, CC_PERMISSION or CC_IO with file, line and what is allowed.  Policy and pins
 * are the keyvault's to read; here they are only paths.
 */
#pragma once

#include "base/conf.h"
#include "base/log.h"
#include "connector/addresses.h"
#include "connector/proxy.h"
#include <sys/types.h>

#define CONFIG_DEFAULT_PATH "/etc/certconnector/connector.yaml"
#define CONFIG_GROUPS_MAX   32
#define CONFIG_CAS_MAX      64

enum config_walls { WALLS_REQUIRE, WALLS_ALLOW_REDUCED };

struct config_user {
	bool given; /* otherwise: the caller's own */
	uid_t uid;
	gid_t gid;
	gid_t groups[CONFIG_GROUPS_MAX];
	size_t group_count;
};

struct config_option { /* "templates.user.eku" = "1.2.3,1.2.4" */
	char *name;
	char *value;
};

struct config_ca {
	char *name; /* of the file, without .yaml */
	char *backend;
	char *secret;         /* path; NULL: none */
	bool hold_on_unknown; /* a request in doubt is not repeated */
	struct config_user user;
	struct config_option *options; /* the backend's own keys, flattened */
	size_t option_count;
};

struct config_connector {
	uint32_t max_inflight;
	uint64_t journal_max;
	uint64_t result_retention_s;
	uint32_t backoff_min_ms;
	uint32_t backoff_max_ms;
	uint64_t pending_max_s;
	uint64_t watch_s;
	uint64_t poll_min_s;
	uint64_t orphan_grace_s;
	uint32_t orphan_max_per_hour;
	uint64_t approval_retry_s;
	uint64_t approval_retry_max_s;
};

struct config_queue { /* beside the identity's queue_url */
	char *addresses[ADDRESSES_MAX];
	size_t address_count;
};

struct config_proxy {
	int kind; /* enum proxy_kind */
	int auth; /* enum proxy_auth */
	const char *address, *user, *secret, *ca, *krb5_config;
	char *host; /* of address */
	uint16_t port;
};

struct config_keyvault {
	const char *master_key;
	uint32_t threads;
	uint32_t pool_rsa_2048;
};

struct config {
	const char *state_dir;
	const char *run_dir;
	const char *policy;
	const char *pins;
	const char *ca_dir;
	int walls;                          /* enum config_walls */
	struct config_user supervisor_user; /* whom STATE, RUN and secrets belong to */
	struct config_user connector_user;
	struct config_user keyvault_user;
	struct config_user ca_user;
	bool admin_group_given;
	gid_t admin_group;
	int log_format; /* enum log_format */
	int log_level;  /* enum log_level */
	struct config_connector connector;
	struct config_queue queue;
	struct config_proxy proxy;
	struct config_keyvault keyvault;
	struct config_ca *cas; /* by name */
	size_t ca_count;
	/* the rest is config.c's own */
	struct conf *document, *defaults;
	const struct conf_node *users_node, *log_node, *connector_node, *keyvault_node, *queue_node,
		*proxy_node;
	const char *admin_group_name;
};

cc_err config_read(const char *path, struct config **ret) CC_MUST_USE;
void config_free(struct config *c); /* accepts NULL */

/* NULL when there is no such CA. */
const struct config_ca *config_find_ca(const struct config *c, const char *name);
/* The user that the CA's runner has: its own, or users.ca. */
const struct config_user *config_runner_user(const struct config *c, const struct config_ca *ca);
/* STATE/ca/NAME; caller frees. */
char *config_ca_state_dir(const struct config *c, const char *name);

/* All keys as a page of text. */
void config_print_reference(cc_blob *out);
