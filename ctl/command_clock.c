/*
 * clock accept: the way back for a keyvault that has seen a time far ahead.  It refuses jobs while the
 * clock is behind that time, since an older time would let expired jobs in again; only an administrator can
 * say that the clock is right now.
 */
#include "base/role.h"
#include "ctl/ctl.h"
#include "proto/codec.h"
#include <stdio.h>
#include <string.h>

int command_clock(struct ctl *c, int argc, char **argv)
{
	Vault__AdminAcceptClock accept = VAULT__ADMIN_ACCEPT_CLOCK__INIT;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminAnswer *answer = NULL;
	cc_err err = CC_OK;

	if (argc != 2 || strcmp(argv[1], "accept") != 0) {
		bool help = argc == 2 && strcmp(argv[1], "--help") == 0;

		fprintf(help ? stdout : stderr, "usage: certconnectorctl clock accept   this "
						"host's clock is right: the keyvault "
						"takes jobs\n"
						"                                       again, "
						"though it has seen a later time\n");
		return help ? EXIT_OK : EXIT_USAGE;
	}
	request.op_case = VAULT__ADMIN_REQUEST__OP_ACCEPT_CLOCK;
	request.accept_clock = &accept;
	TRY(ctl_ask_vault(c, &request, &answer));
	printf("the keyvault goes by this host's clock again\n");
out:
	codec_free(answer);
	return err == CC_OK ? EXIT_OK : ctl_fail("clock accept", err);
}
