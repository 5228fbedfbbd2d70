/*
 * init: the directories and the master key that a first start needs.
 *
 * The daemon's binary makes them: it knows the whole configuration, and so whom each part belongs to.
 * Run again, it changes nothing that is there.
 */
#include "base/role.h"
#include "ctl/ctl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int command_init(struct ctl *c, int argc, char **argv)
{
	int status = EXIT_FAILED;

	if (argc > 1) {
		bool help = strcmp(argv[1], "--help") == 0;
		fprintf(help ? stdout : stderr,
			"usage: certconnectorctl init\n"
			"Makes state and run directories and the master key file, where they are "
			"missing; as "
			"root,\neach is given to whom `users` in connector.yaml names.\n");
		return help ? EXIT_OK : EXIT_USAGE;
	}
	char *daemon = ctl_daemon_path();
	char *config = cc_strdup(c->settings.config);
	char *command[] = {daemon, (char[]){"--init"}, (char[]){"--config"}, config, NULL};
	cc_err err = ctl_run(command, &status, NULL);
	free(config);
	free(daemon);
	return err == CC_OK ? status : ctl_fail("init", err);
}
