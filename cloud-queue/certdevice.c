/*
 * certdevice: the device's side of the main job, for demonstration and tests.
 */
#include "cloud-queue/certdevice.h"
#include "base/file.h"
#include "base/log.h"
#include "base/role.h"
#include "base/tool.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{"new", certdevice_new, "make a device key"},
	{"ask", certdevice_ask, "write a request that `certqueuectl sign` turns into a job"},
	{"open", certdevice_open, "check and open what came back"},
};

static int print_help(FILE *to, int status)
{
	fprintf(to, "usage: certdevice COMMAND [OPTION...]\n\ncommands:\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(to, "  %-5s %s\n", commands[i].name, commands[i].help);
	fprintf(to, "\n`certdevice COMMAND --help` tells each command's options.\n"
		    "exit status: 0 ok, 1 failed, 2 usage, 3 refused: a check did not hold, "
		    "5 configuration\n");
	return status;
}

int certdevice_fail(const char *doing, cc_err err)
{
	return tool_fail("certdevice", doing, err);
}

cc_err certdevice_key_read(const char *dir, EVP_PKEY **ret)
{
	char *path = file_join(dir, "device.key");
	cc_err err = tool_key_read(path, ret);

	free(path);
	return err;
}

int main(int argc, char **argv)
{
	log_init("certdevice", LOG_LOGFMT, LOG_WARNING_);
	if (argc > 1 && strcmp(argv[1], "--help") == 0)
		return print_help(stdout, EXIT_OK);
	if (argc > 1 && strcmp(argv[1], "--version") == 0) {
		printf("certdevice %s\n", CC_RELEASE);
		return EXIT_OK;
	}
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, argv[1]) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	if (argc < 2)
		return print_help(stderr, EXIT_USAGE);
	fprintf(stderr, "certdevice: no command \"%s\"; see --help\n", argv[1]);
	return EXIT_USAGE;
}
