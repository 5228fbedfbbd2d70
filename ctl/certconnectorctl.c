/*
 * certconnectorctl: the operator's tool of the connector.
 *
 * Reads connector.yaml for where things are, then runs one command.  Talks to the running daemon over
 * its two local sockets: control (status, reload) and vault-admin (keys).
 */
#include "base/role.h"
#include "base/tool.h"
#include "ctl/ctl.h"
#include <string.h>

/* name, what it does; run by command_NAME */
#define COMMANDS(X)                                                                                \
	X(init, "make the state directories and the master key file")                              \
	X(enroll, "join a tenant's queue with an enrolment token")                                 \
	X(ca, "make a local CA, decide about requests that wait at one, resume a suspended one")   \
	X(journal, "journal adopt: make this host's journal the one of its identity")              \
	X(pfx, "pfx import FILE...: re-protect PFX files and hand them to the queue")              \
	X(keys, "show the keyvault's public keys and fingerprints")                                \
	X(jobs, "jobs that wait for an operator: jobs waiting, jobs approve, jobs deny")           \
	X(devices, "show the devices and the key that is known for each")                          \
	X(clock, "clock accept: go on after the clock was ahead")                                  \
	X(status, "show connection, jobs, CAs, processes, expiries")                               \
	X(doctor, "check everything that has to be right, with the fix where it is not")

#define X(name, help) {#name, help},
static const struct tool_command commands[] = {COMMANDS(X)};
#undef X
#define X(name, help) command_##name,
static int (*const runs[])(struct ctl *, int argc, char **argv) = {COMMANDS(X)};
#undef X

static const struct tool tool = {
	.program = "certconnectorctl",
	.file_option = "config",
	.file_help = "connector.yaml",
	.file = "/etc/certconnector/connector.yaml",
	.exits = TOOL_EXITS,
	.commands = commands,
	.command_count = sizeof(commands) / sizeof(commands[0]),
};

/* Help is there before there is a configuration. */
static bool asks_for_help(const struct tool_call *call)
{
	for (int i = 1; i < call->argc && strcmp(call->argv[i], "--") != 0; i++) {
		if (strcmp(call->argv[i], "--help") == 0)
			return true;
	}
	return false;
}

static int run_command(struct ctl *c, const struct tool_call *call)
{
	if (asks_for_help(call)) {
		char *only_help[] = {call->argv[0], (char[]){"--help"}, NULL};
		return runs[call->command](c, 2, only_help);
	}
	cc_err err = ctl_settings_read(c->config, &c->settings);
	if (err != CC_OK) {
		(void)ctl_fail("reading the configuration", err);
		return EXIT_CONFIGURATION;
	}
	int status = runs[call->command](c, call->argc, call->argv);
	ctl_settings_free(&c->settings);
	return status;
}

int main(int argc, char **argv)
{
	struct tool_call call;
	int status;

	if (!tool_choose(&tool, argc, argv, &call, &status))
		return status;
	struct ctl c = {.config = call.file, .json = call.json};
	return run_command(&c, &call);
}
