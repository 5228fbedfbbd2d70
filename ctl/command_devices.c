/*
 * devices: the keyvault's table of devices, each with the key that is known for it and why it is believed.
 */
#include "base/role.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "proto/codec.h"
#include <getopt.h>
#include <string.h>

static json_t *as_json(const Vault__Device *device)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "device",
		ctl_json_text(device->device_id), "tenant", ctl_json_text(device->tenant), "user",
		ctl_json_text(device->user_id), "key_sha256", ctl_json_hex(device->spki_sha256),
		"first_seen", ctl_json_time(device->first_seen_s), "source",
		ctl_json_text(device->source), "blocked", device->blocked ? "yes" : "no");
}

static cc_err take_page(const struct ctl *c, const char *device, cc_blob *after, json_t *list)
{
	Vault__AdminListDevices op = VAULT__ADMIN_LIST_DEVICES__INIT;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminAnswer *answer = NULL;
	cc_err err = CC_OK;

	op.device_id = codec_text(device);
	op.after = codec_bytes(cc_blob_view(after));
	request.op_case = VAULT__ADMIN_REQUEST__OP_LIST_DEVICES;
	request.list_devices = &op;
	TRY(ctl_ask_vault(c, &request, &answer));
	ENSURE(answer->answer_case == VAULT__ADMIN_ANSWER__ANSWER_DEVICES,
		cc_fail(CC_PROTOCOL, "the keyvault answered with something else"));
	for (size_t i = 0; i < answer->devices->n_devices; i++)
		json_array_append_new(list, as_json(answer->devices->devices[i]));
	cc_blob_free(after);
	*after = cc_blob_copy(codec_view(answer->devices->next));
out:
	codec_free(answer);
	return err;
}

static int list_devices(const struct ctl *c, const char *device, bool json)
{
	json_t *list = json_array();
	cc_blob after = CC_BLOB_NONE;
	cc_err err = CC_OK;

	do {
		TRY(take_page(c, device, &after, list));
	} while (after.size > 0);
	ctl_json_print(list, "device", json, "no device is known");
out:
	cc_blob_free(&after);
	json_decref(list);
	return err == CC_OK ? EXIT_OK : ctl_fail("devices", err);
}

static int usage(FILE *to, int status)
{
	fprintf(to, "usage: certconnectorctl devices [--device ID] [--json]\n"
		    "Devices, the key that is known for each, since when, and why.\n"
		    "  --device ID  only the one with this id\n"
		    "  --json       machine-readable list\n");
	return status;
}

int command_devices(struct ctl *c, int argc, char **argv)
{
	static const struct option options[] = {{"device", required_argument, NULL, 'd'},
		{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
	const char *device = "";
	bool json = c->json;
	int option;

	if (argc > 1 && strcmp(argv[1], "--help") == 0)
		return usage(stdout, EXIT_OK);
	optind = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'd')
			device = optarg;
		else if (option == 'j')
			json = true;
		else
			return usage(stderr, EXIT_USAGE);
	}
	return optind == argc ? list_devices(c, device, json) : usage(stderr, EXIT_USAGE);
}
