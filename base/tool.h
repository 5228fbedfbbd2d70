/*
 * Tools: what the command-line programs share.
 *
 * One process, one thread, one command a run; blocking calls.  No daemon links it.
 */
#pragma once

#include "base/blob.h"
#include <jansson.h>
#include <openssl/evp.h>

/* A program with commands.  Its own options come before the command: --help, --version, --json unless
 * `plain`, and the file it works with where `file_option` names one.  What follows the command is the
 * command's own. */
struct tool_command {
	const char *name, *help;
};
struct tool {
	const char *program;
	const char *file_option, *file_help,
		*file;     /* "config", what it is, where it is by default */
	const char *exits; /* the line of exit statuses */
	bool plain;
	const struct tool_command *commands;
	size_t command_count;
};
struct tool_call {
	size_t command;   /* index */
	const char *file; /* as given, or the default */
	bool json;
	int argc;
	char **argv; /* argv[0] is the command's name */
};
/* Which command is to be run, with optind set for its own getopt.  False: nothing is, everything has
 * been said, and *ret_status is the exit status. */
bool tool_choose(
	const struct tool *t, int argc, char **argv, struct tool_call *ret_call, int *ret_status);
/* The statuses of base/role.h in words, for `exits`. */
#define TOOL_EXITS "0 ok, 1 failed, 2 usage, 3 refused, 4 unreachable, 5 configuration"

/* The exit status (base/role.h) that says what kind of failure it was. */
int tool_exit_status(cc_err err);
/* "PROGRAM: DOING: detail" on stderr; gives the exit status. */
int tool_fail(const char *program, const char *doing, cc_err err);

/* A private key, PEM, mode 0600.  Free with EVP_PKEY_free. */
cc_err tool_key_read(const char *path, EVP_PKEY **ret) CC_MUST_USE;
/* Both halves as new files, the private one 0600. */
cc_err tool_key_write(EVP_PKEY *key, const char *path, const char *public_path) CC_MUST_USE;
/* The file's text (a token, a password; mode 0600) without the line ends behind it. */
cc_err tool_secret_read(const char *path, size_t max, cc_secret *ret) CC_MUST_USE;
/* A JSON file, "-" for standard input; what is wrong is told with line and column. */
cc_err tool_json_read(const char *path, json_t **ret) CC_MUST_USE;
