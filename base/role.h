/*
 * Roles: one binary, re-executed once per process.  The daemon's main knows the entry points by this
 * header only, so that no room includes another.
 */
#pragma once

#define ROLE_OPTION                                                                                \
	"--role" /* certconnectord --role keyvault|connector|ca-runner, descriptor 3 open */

/* Each reads Setup from descriptor 3, runs, and returns the process's exit status. */
int connector_role_main(void);
int keyvault_role_main(void);
int runner_role_main(void);

/* certconnectord --init-ca: make the local CA of one ca.d file (ca-backends/local). */
int local_ca_init_main(int argc, char **argv);

/* Exit statuses of every program. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_REFUSED = 3,
	EXIT_UNREACHABLE = 4,
	EXIT_CONFIGURATION = 5,
};
