/*
 * ca init NAME: make a local CA and pin its root.  ca resume NAME: a CA that the connector has suspended is
 * asked again.  (The other `ca` commands: command_ca_requests.c.)
 *
 * The daemon's binary makes the CA (it has the backend); the tool writes the root into pins.yaml,
 * since only pinned roots are ever believed.
 */
#include "base/file.h"
#include "base/role.h"
#include "base/text.h"
#include "ctl/ctl.h"
#include "proto/codec.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(FILE *to, int status)
{
	fprintf(to, "usage: certconnectorctl ca init NAME [--subject DN] [--days N] [--key TYPE]\n"
		    "Makes the local CA of ca.d/NAME.yaml and pins its root in pins.yaml.\n"
		    "  --subject DN  RFC 4514 name of the root (default CN=NAME)\n"
		    "  --days N      lifetime of the root (default 3650)\n"
		    "  --key TYPE    rsa-3072 (default), rsa-4096, ec-p256 or ec-p384\n\n"
		    "usage: certconnectorctl ca resume NAME\n"
		    "Lets a CA be asked again that gave a certificate for another key.\n\n");
	return command_ca_requests_usage(to, status);
}

static cc_err pin_root(const struct ctl *c, const char *name)
{
	struct ctl_pins pins = {0};
	cc_blob pem = CC_BLOB_NONE;
	char *path = cc_asprintf("%s/ca/%s/local/root.pem", c->settings.state_dir, name);
	cc_err err = CC_OK;

	/* it is the runner's user's, who has the CA's key anyway */
	TRY(file_read(path, FILE_ANY, 64 * 1024, &pem));
	TRY(ctl_pins_read(c->settings.pins, &pins));
	ctl_pins_add_root(&pins, name, cc_blob_text(&pem));
	TRY(ctl_pins_write(c->settings.pins, &pins));
out:
	ctl_pins_free(&pins);
	cc_blob_free(&pem);
	free(path);
	return err;
}

static int resume(const struct ctl *c, int argc, char **argv)
{
	Control__ControlRequest request = CONTROL__CONTROL_REQUEST__INIT;
	Control__ResumeCaRequest op = CONTROL__RESUME_CA_REQUEST__INIT;
	Control__ControlAnswer *answer = NULL;

	if (argc != 2 || !text_is_name(cc_view_text(argv[1])))
		return usage(stderr, EXIT_USAGE);
	op.name = codec_text(argv[1]);
	request.op_case = CONTROL__CONTROL_REQUEST__OP_RESUME_CA;
	request.resume_ca = &op;
	cc_err err = ctl_ask_connector(c, &request, &answer);
	codec_free(answer);
	if (err != CC_OK)
		return ctl_fail("ca resume", err);
	printf("%s is asked again\n", argv[1]);
	return EXIT_OK;
}

int command_ca(struct ctl *c, int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--help") == 0)
		return usage(stdout, EXIT_OK);
	if (argc > 1 && (strcmp(argv[1], "requests") == 0 || strcmp(argv[1], "approve") == 0 ||
				strcmp(argv[1], "deny") == 0))
		return command_ca_requests(c, argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "resume") == 0)
		return resume(c, argc - 1, argv + 1);
	if (argc < 3 || strcmp(argv[1], "init") != 0)
		return usage(stderr, EXIT_USAGE);
	if (strcmp(argv[2], "--help") == 0)
		return usage(stdout, EXIT_OK);
	if (!text_is_name(cc_view_text(argv[2])))
		return usage(stderr, EXIT_USAGE);

	char *daemon = ctl_daemon_path();
	char **command = cc_alloc(((size_t)argc + 4) * sizeof(*command));
	size_t n = 0;
	command[n++] = daemon;
	command[n++] = cc_strdup("--config");
	command[n++] = cc_strdup(c->settings.config);
	command[n++] = cc_strdup("--init-ca");
	for (int i = 2; i < argc; i++)
		command[n++] = cc_strdup(argv[i]);
	int status = EXIT_FAILED;
	cc_err err = ctl_run(command, &status, NULL);
	for (size_t i = 0; i < n; i++)
		free(command[i]);
	free(command);
	if (err != CC_OK)
		return ctl_fail("ca init", err);
	if (status != EXIT_OK)
		return status;
	err = pin_root(c, argv[2]);
	if (err != CC_OK)
		return ctl_fail("pinning the root", err);
	printf("%s: root of %s pinned\n", c->settings.pins, argv[2]);
	return EXIT_OK;
}
