/*
 * journal adopt: after a host was cloned or its disk restored, the queue refuses the connector, since two
 * journals cannot both know what became of its claims.  This makes the journal of this host the one.
 */
#include "base/role.h"
#include "ctl/ctl.h"
#include "proto/codec.h"
#include <string.h>

static const char meaning[] =
	"The queue knows another journal under this connector's identity: this host is a clone, or "
	"its\n"
	"disk was restored from a copy.  What the other journal knew is lost if it is given up:\n"
	"  - claims of jobs that only it knew are recorded as IN DOUBT: a certificate may exist "
	"for them,\n"
	"    and another connector may have one made again;\n"
	"  - results that only it had are made again, or fail.\n"
	"Stop the other host for good first.  Then, on the queue's host:\n"
	"  certqueuectl connector adopt TENANT CONNECTOR\n"
	"and here: certconnectorctl journal adopt --yes\n";

static int usage(FILE *to, int status)
{
	fprintf(to, "usage: certconnectorctl journal adopt --yes\n%s", meaning);
	return status;
}

int command_journal(struct ctl *c, int argc, char **argv)
{
	Control__ControlRequest request = CONTROL__CONTROL_REQUEST__INIT;
	Control__AdoptRequest adopt = CONTROL__ADOPT_REQUEST__INIT;
	Control__ControlAnswer *answer = NULL;
	if (argc > 1 && strcmp(argv[1], "--help") == 0)
		return usage(stdout, EXIT_OK);
	if (argc != 3 || strcmp(argv[1], "adopt") != 0 || strcmp(argv[2], "--yes") != 0)
		return usage(stderr, EXIT_USAGE);
	request.op_case = CONTROL__CONTROL_REQUEST__OP_ADOPT;
	request.adopt = &adopt;
	cc_err err = ctl_ask_connector(c, &request, &answer);
	codec_free(answer);
	if (err != CC_OK)
		return ctl_fail("journal adopt", err);
	printf("this host's journal is the connector's; it dials the queue now\n");
	return EXIT_OK;
}
