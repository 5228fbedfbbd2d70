/*
 * keys: the keyvault's public keys.  The result key's fingerprint is what the cloud service and its
 * devices pin; it is taken from here, on the host, never from the queue.
 */
#include "base/role.h"
#include "base/text.h"
#include "ctl/ctl.h"
#include "proto/codec.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *as_json(const Vault__NamedPublicKey *key)
{
	char *id = text_hex_new(codec_view(key->key_id));
	char *spki = text_base64_new(codec_view(key->spki));
	char *use = cc_strndup(codec_view(key->use));
	json_t *item = json_pack("{s:s, s:s, s:s, s:b}", "use", use, "key_id", id, "spki", spki,
		"current", (int)key->current);
	free(use);
	free(spki);
	free(id);
	return item;
}

static void print_keys(const Vault__PublicList *list, bool json)
{
	json_t *keys = json_array();
	for (size_t i = 0; i < list->n_keys; i++)
		json_array_append_new(keys, as_json(list->keys[i]));
	if (json) {
		char *text = json_dumps(keys, JSON_INDENT(2));
		printf("%s\n", text);
		free(text);
	} else {
		for (size_t i = 0; i < json_array_size(keys); i++) {
			const json_t *k = json_array_get(keys, i);
			printf("%-8s  %s  %s\n", json_string_value(json_object_get(k, "use")),
				json_string_value(json_object_get(k, "key_id")),
				json_is_true(json_object_get(k, "current"))
					? "current"
					: "kept for decryption");
		}
	}
	json_decref(keys);
}

static cc_err list_keys(const struct ctl *c, Vault__AdminAnswer **ret)
{
	Vault__AdminListKeys list = VAULT__ADMIN_LIST_KEYS__INIT;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	request.op_case = VAULT__ADMIN_REQUEST__OP_LIST_KEYS;
	request.list_keys = &list;
	return ctl_ask_vault(c, &request, ret);
}

static cc_err generate_key(const struct ctl *c, Vault__AdminAnswer **ret)
{
	Vault__AdminGenerateKey generate = VAULT__ADMIN_GENERATE_KEY__INIT;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	request.op_case = VAULT__ADMIN_REQUEST__OP_GENERATE_KEY;
	request.generate_key = &generate;
	return ctl_ask_vault(c, &request, ret);
}

int command_keys(struct ctl *c, int argc, char **argv)
{
	Vault__AdminAnswer *answer = NULL;
	cc_err err = CC_OK;

	if (argc > 2 || (argc == 2 && strcmp(argv[1], "generate") != 0)) {
		bool help = strcmp(argv[1], "--help") == 0;
		fprintf(help ? stdout : stderr,
			"usage: certconnectorctl keys            list the public keys\n"
			"       certconnectorctl keys generate   make a new decryption key; older "
			"ones stay\n");
		return help ? EXIT_OK : EXIT_USAGE;
	}
	if (argc > 1) {
		TRY(generate_key(c, &answer));
		codec_free(answer);
		answer = NULL;
	}
	TRY(list_keys(c, &answer));
	ENSURE(answer->answer_case == VAULT__ADMIN_ANSWER__ANSWER_LIST,
		cc_fail(CC_PROTOCOL, "the keyvault answered with something else"));
	print_keys(answer->list, c->json);
out:
	codec_free(answer);
	return err == CC_OK ? EXIT_OK : ctl_fail("keys", err);
}
