/*
 * certqueuectl: the cloud side's tool: sets a queue up, makes job roots and signers, admits tenants,
 * connectors and producers, signs and submits jobs, waits for results.
 *
 * The queue itself never signs: private keys are files of whoever runs this tool.
 */
#include "cloud-queue/certqueuectl.h"
#include "base/log.h"
#include "base/role.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_SOCKET "/run/certqueue/control.sock"

struct command {
	const char *name;
	int (*run)(struct queuectl *, int argc, char **argv);
	const char *help;
};

static const struct command commands[] = {
	{"init", queuectl_init, "make the queue's CA, its server certificate and queue.yaml"},
	{"root", queuectl_root, "root new: make a tenant's job root key (keep it offline)"},
	{"signer", queuectl_signer, "signer new | state | put: online signing keys and statements"},
	{"tenant", queuectl_tenant, "tenant add: admit a tenant with its job root"},
	{"token", queuectl_token, "token connector | producer: let somebody in"},
	{"sign", queuectl_sign, "turn a request (JSON) into a signed job"},
	{"verify", queuectl_verify, "check a signed job under a signer's statement"},
	{"submit", queuectl_submit, "submit signed jobs"},
	{"record", queuectl_record, "record put: store an imported PFX record"},
	{"wait", queuectl_wait, "wait until jobs are final; prints or writes their results"},
	{"show", queuectl_show, "show a job, or the queue's counters"},
};

static const struct option options[] = {
	{"socket", required_argument, NULL, 's'},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static void print_help(FILE *to)
{
	fprintf(to, "usage: certqueuectl [--socket FILE] [--json] COMMAND [OPTION...]\n\n"
		    "  --socket FILE  certqueued's control socket (default " DEFAULT_SOCKET ")\n"
		    "  --json         machine-readable output\n\ncommands:\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(to, "  %-7s %s\n", commands[i].name, commands[i].help);
	fprintf(to, "\n`certqueuectl COMMAND --help` tells each command's options.\n"
		    "exit status: 0 ok, 1 failed, 2 usage, 3 refused, 4 unreachable, 5 "
		    "configuration\n");
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct queuectl q = {.socket = DEFAULT_SOCKET};
	int option;

	log_init("certqueuectl", LOG_LOGFMT, LOG_WARNING_);
	/* "+": options after the command are the command's own */
	while ((option = getopt_long(argc, argv, "+s:jhV", options, NULL)) != -1) {
		switch (option) {
		case 's':
			q.socket = optarg;
			break;
		case 'j':
			q.json = true;
			break;
		case 'h':
			print_help(stdout);
			return EXIT_OK;
		case 'V':
			printf("certqueuectl %s\n", CC_RELEASE);
			return EXIT_OK;
		default:
			print_help(stderr);
			return EXIT_USAGE;
		}
	}
	if (optind >= argc) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	const struct command *command = find_command(argv[optind]);
	if (command == NULL) {
		fprintf(stderr, "certqueuectl: no command \"%s\"; see --help\n", argv[optind]);
		return EXIT_USAGE;
	}
	int from = optind;
	optind = 0; /* the command reads its own options anew */
	return command->run(&q, argc - from, argv + from);
}
