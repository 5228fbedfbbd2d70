/*
 * certconnectorctl: what its commands share.
 *
 * One process, one thread, one command a run.  A command returns an exit status of base/role.h; what
 * went wrong is said once, on stderr, by ctl_fail.
 */
#pragma once

#include "base/blob.h"
#include "control/v1/control.pb-c.h"
#include "vault/v1/vault.pb-c.h"
#include <stdio.h>

/* Where things are, from connector.yaml; all paths absolute.  Freed by ctl_settings_free. */
struct ctl_settings {
	const char *config; /* the file itself */
	char *state_dir;
	char *run_dir;
	char *policy;
	char *pins;
	char *ca_dir;
	char *master_key;
};

struct ctl {
	const char *config;
	bool json;
	struct ctl_settings settings; /* read before a command runs */
};

/* The proxy of connector.yaml, as the tool's own requests to the queue need it.  For Negotiate it sets
 * the environment of the Kerberos library. */
struct ctl_way;
struct https_proxy;
cc_err ctl_way_read(const struct ctl_settings *s, struct ctl_way **ret) CC_MUST_USE;
const struct https_proxy *ctl_way_proxy(const struct ctl_way *w); /* NULL: none */
void ctl_way_free(struct ctl_way *w);                             /* accepts NULL; wipes */

cc_err ctl_settings_read(const char *config, struct ctl_settings *ret) CC_MUST_USE;
/* A path of the file `config`, relative to its directory; caller frees. */
char *ctl_absolute_path(const char *config, cc_view path);
void ctl_settings_free(struct ctl_settings *s);
/* CA names: the files of ca_dir without ".yaml".  Caller frees each and the array. */
cc_err ctl_ca_names(const struct ctl_settings *s, char ***ret_names, size_t *ret_count) CC_MUST_USE;

/* Say what failed and return the exit status of its category. */
int ctl_fail(const char *doing, cc_err err);
/* The daemon's binary: beside this one when it is there, else by PATH.  Caller frees. */
char *ctl_daemon_path(void);
/* Run a program, wait for it, give its exit status; stdout is captured when `ret_output` is given. */
cc_err ctl_run(char *const argv[], int *ret_status, cc_blob *ret_output) CC_MUST_USE;

/* One request, one answer; free with codec_free.  CC_UNREACHABLE says that the daemon does not run. */
cc_err ctl_ask_vault(
	const struct ctl *c, Vault__AdminRequest *request, Vault__AdminAnswer **ret) CC_MUST_USE;
cc_err ctl_ask_connector(const struct ctl *c, Control__ControlRequest *request,
	Control__ControlAnswer **ret) CC_MUST_USE;

/* pins.yaml as a record; absent parts are empty. */
struct ctl_pins {
	char *tenant;
	char *connector_id;
	char **groups;
	size_t group_count;
	char *job_root; /* PEM */
	struct ctl_pinned_ca {
		char *name;
		char **roots; /* PEM */
		size_t root_count;
	} * cas;
	size_t ca_count;
};
cc_err ctl_pins_read(const char *path, struct ctl_pins *ret) CC_MUST_USE; /* absent: empty */
cc_err ctl_pins_write(const char *path, const struct ctl_pins *pins) CC_MUST_USE;
void ctl_pins_add_root(struct ctl_pins *pins, const char *ca, const char *pem);
void ctl_pins_free(struct ctl_pins *pins);

/* The commands: argv[0] is the command's own name. */
int command_init(struct ctl *c, int argc, char **argv);
int command_enroll(struct ctl *c, int argc, char **argv);
int command_ca(struct ctl *c, int argc, char **argv);
int command_ca_requests(
	struct ctl *c, int argc, char **argv);       /* argv[0]: requests, approve or deny */
int command_ca_requests_usage(FILE *to, int status); /* gives `status` back */
int command_journal(struct ctl *c, int argc, char **argv);
int command_pfx(struct ctl *c, int argc, char **argv);
int command_keys(struct ctl *c, int argc, char **argv);
int command_devices(struct ctl *c, int argc, char **argv);
int command_jobs(struct ctl *c, int argc, char **argv);
int command_clock(struct ctl *c, int argc, char **argv);
int command_status(struct ctl *c, int argc, char **argv);
int command_doctor(struct ctl *c, int argc, char **argv);
