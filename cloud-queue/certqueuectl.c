/*
 * certqueuectl: the cloud side's tool: sets a queue up, makes job roots and signers, admits tenants,
 * connectors and producers, signs and submits jobs, waits for results.
 *
 * The queue itself never signs: private keys are files of whoever runs this tool.
 */
#include "cloud-queue/certqueuectl.h"
#include "base/tool.h"

/* name, what it does; run by queuectl_NAME */
#define COMMANDS(X)                                                                                \
	X(init, "make the queue's CA, its server certificate and queue.yaml")                      \
	X(root, "root new: make a tenant's job root key (keep it offline)")                        \
	X(signer, "signer new | state | put: online signing keys and statements")                  \
	X(tenant, "tenant add: admit a tenant with its job root")                                  \
	X(token, "token connector | producer: let somebody in")                                    \
	X(connector, "connector adopt | disable | enable: decide about one")                       \
	X(sign, "turn a request (JSON) into a signed job")                                         \
	X(verify, "check a signed job under a signer's statement")                                 \
	X(submit, "submit signed jobs")                                                            \
	X(record, "record put: store an imported PFX record")                                      \
	X(wait, "wait until jobs are final; prints or writes their results")                       \
	X(show, "show a job, or the queue's counters")

#define X(name, help) {#name, help},
static const struct tool_command commands[] = {COMMANDS(X)};
#undef X
#define X(name, help) queuectl_##name,
static int (*const runs[])(struct queuectl *, int argc, char **argv) = {COMMANDS(X)};
#undef X

static const struct tool tool = {
	.program = "certqueuectl",
	.file_option = "socket",
	.file_help = "certqueued's control socket",
	.file = "/run/certqueue/control.sock",
	.exits = TOOL_EXITS,
	.commands = commands,
	.command_count = sizeof(commands) / sizeof(commands[0]),
};

int main(int argc, char **argv)
{
	struct tool_call call;
	int status;

	if (!tool_choose(&tool, argc, argv, &call, &status))
		return status;
	struct queuectl q = {.socket = call.file, .json = call.json};
	return runs[call.command](&q, call.argc, call.argv);
}
