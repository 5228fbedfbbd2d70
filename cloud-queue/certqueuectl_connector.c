/*
 * connector adopt | disable | enable: what an operator of the queue decides about a connector.
 */
#include "base/role.h"
#include "cloud-queue/certqueuectl.h"
#include <stdio.h>
#include <string.h>

static int usage(FILE *to, int status)
{
	fprintf(to,
		"usage: certqueuectl connector adopt | disable | enable TENANT CONNECTOR\n"
		"  adopt    take the next journal that comes under this identity for the true "
		"one:\n"
		"           after a host was cloned or restored.  Stop the other host first: "
		"whichever\n"
		"           comes first is taken.  Claims that the new journal does not list are\n"
		"           recorded as in doubt.  Then, there: certconnectorctl journal adopt\n"
		"  disable  no session and no jobs any more\n"
		"  enable   the end of that, or of a suspension\n");
	return status;
}

static json_t *request_for(const char *verb, const char *tenant, const char *id)
{
	if (strcmp(verb, "adopt") == 0)
		return json_pack("{s:s, s:s, s:s}", "op", "connector_adopt", "tenant", tenant,
			"connector_id", id);
	if (strcmp(verb, "disable") == 0 || strcmp(verb, "enable") == 0)
		return json_pack("{s:s, s:s, s:s, s:b}", "op", "connector_disable", "tenant",
			tenant, "connector_id", id, "disabled", verb[0] == 'd');
	return NULL;
}

int queuectl_connector(struct queuectl *q, int argc, char **argv)
{
	bool help = argc > 1 && strcmp(argv[argc - 1], "--help") == 0;
	json_t *request = argc == 4 && !help ? request_for(argv[1], argv[2], argv[3]) : NULL;
	json_t *answer = NULL;
	if (request == NULL)
		return usage(help ? stdout : stderr, help ? EXIT_OK : EXIT_USAGE);
	cc_err err = queuectl_control(q, request, &answer);
	json_decref(answer);
	if (err != CC_OK)
		return queuectl_fail(argv[1], err);
	printf("connector %s of %s: %s\n", argv[3], argv[2], argv[1]);
	return EXIT_OK;
}
