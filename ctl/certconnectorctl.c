/*
 * certconnectorctl: the operator's tool of the connector.
 *
 * Reads connector.yaml for where things are, then runs one command.  Talks to the running daemon over
 * its two local sockets: control (status, reload) and vault-admin (keys).
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/role.h"
#include "ctl/ctl.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_CONFIG "/etc/certconnector/connector.yaml"

struct command {
	const char *name;
	int (*run)(struct ctl *, int argc, char **argv);
	const char *help;
};

static const struct command commands[] = {
	{"init", command_init, "make the state directories and the master key file"},
	{"enroll", command_enroll, "join a tenant's queue with an enrolment token"},
	{"ca", command_ca, "ca init NAME: make the local CA of ca.d/NAME.yaml and pin its root"},
	{"pfx", command_pfx, "pfx import FILE...: re-protect PFX files and hand them to the queue"},
	{"keys", command_keys, "show the keyvault's public keys and fingerprints"},
	{"status", command_status, "show connection, jobs, CAs, processes, expiries"},
	{"doctor", command_doctor,
		"check everything that has to be right, with the fix where it is not"},
};

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static void print_help(FILE *to)
{
	fprintf(to, "usage: certconnectorctl [--config FILE] [--json] COMMAND [OPTION...]\n\n"
		    "  --config FILE  connector.yaml (default " DEFAULT_CONFIG ")\n"
		    "  --json         machine-readable output\n\ncommands:\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
	fprintf(to, "\n`certconnectorctl COMMAND --help` tells each command's options.\n"
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

/* Help is there before there is a configuration. */
static bool asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0)
			return true;
	}
	return false;
}

static int run_command(struct ctl *c, const struct command *command, int argc, char **argv)
{
	if (asks_for_help(argc, argv)) {
		char *only_help[] = {argv[0], (char[]){"--help"}, NULL};
		return command->run(c, 2, only_help);
	}
	cc_err err = ctl_settings_read(c->config, &c->settings);
	if (err != CC_OK) {
		(void)ctl_fail("reading the configuration", err);
		return EXIT_CONFIGURATION;
	}
	int status = command->run(c, argc, argv);
	ctl_settings_free(&c->settings);
	return status;
}

int main(int argc, char **argv)
{
	struct ctl c = {.config = DEFAULT_CONFIG};
	int option;

	log_init("certconnectorctl", LOG_LOGFMT, LOG_WARNING_);
	/* "+": options after the command are the command's own */
	while ((option = getopt_long(argc, argv, "+c:jhV", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			c.config = optarg;
			break;
		case 'j':
			c.json = true;
			break;
		case 'h':
			print_help(stdout);
			return EXIT_OK;
		case 'V':
			printf("certconnectorctl %s\n", CC_RELEASE);
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
		fprintf(stderr, "certconnectorctl: no command \"%s\"; see --help\n", argv[optind]);
		return EXIT_USAGE;
	}
	int from = optind;
	optind = 0; /* the command reads its own options anew */
	return run_command(&c, command, argc - from, argv + from);
}
