/*
 * pfx import: existing PFX files into the queue, re-protected so that the cloud never holds a file
 * under a human's password.
 *
 * Recipients are the keyvault's own current decryption keys, asked on this host.  The record goes out
 * as Graph's userPFXCertificate JSON with our own members beside it.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/https.h"
#include "base/role.h"
#include "base/text.h"
#include "base/tool.h"
#include "ctl/ctl.h"
#include "ctl/password.h"
#include "ctl/pfx_worker.h"
#include "proto/codec.h"
#include <getopt.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PFX_FILE_MAX (96u * 1024u)
#define RECORD_MAX   (256u * 1024u) /* as the queue's */

struct import {
	const char *upn, *user_id, *purpose, *password_file;
	const char *queue, *token_file, *ca_file, *out;
	bool compat;
	char *tenant;
	char *folded; /* the UPN as a user id */
	Vault__AdminAnswer *keys;
	cc_secret password;
	cc_secret token;
};

static int usage(FILE *to, int status)
{
	fprintf(to, "usage: certconnectorctl pfx import FILE... --upn UPN (--queue URL "
		    "--token-file FILE | --out DIR)\n"
		    "  --upn UPN             whose certificate it is\n"
		    "  --user-id ID          the tenant's stable id of the user (default: the UPN "
		    "in lower case)\n"
		    "  --purpose WORD        smimeEncryption (default) or smimeSigning\n"
		    "  --password-file FILE  the password of the files, mode 0600; left out: asked "
		    "for\n"
		    "  --compat              re-protect with 3DES for old devices\n"
		    "  --queue URL           https://HOST:PORT of the producer API\n"
		    "  --token-file FILE     producer token with scope pfx:write, mode 0600\n"
		    "  --ca-file FILE        the queue's CA (default: the enrolled one)\n"
		    "  --out DIR             write the records there (too): what a signer of "
		    "deliveries needs\n");
	return status;
}

/* Passwords of such records are one byte a character wherever they go, so that above U+00FF they would
 * be cut to another password.  Which character it is stays unsaid. */
static cc_err check_characters(cc_view password)
{
	size_t position = 0, size;
	uint32_t character = 0;

	for (cc_view rest = password; rest.size > 0; rest = cc_view_part(rest, size, rest.size)) {
		position++;
		size = text_utf8_char(rest, &character);
		if (size == 0 || character > 0xff)
			return cc_fail(CC_USAGE,
				"character %zu of the password is above U+00FF, which does not fit "
				"the one byte that a device has for it: give the file another "
				"password first",
				position);
	}
	return CC_OK;
}

/* One line from the terminal without echo, or the file's first line. */
static cc_err read_password(struct import *i)
{
	cc_err err = CC_OK;

	if (i->password_file != NULL)
		TRY(file_read_secret(i->password_file, PASSWORD_MAX, &i->password));
	else
		TRY(password_ask("password of the PFX files: ", &i->password));
	while (i->password.size > 0 && (i->password.data[i->password.size - 1] == '\n' ||
					       i->password.data[i->password.size - 1] == '\r'))
		cc_secret_resize(&i->password, i->password.size - 1);
	ENSURE(text_is_clean(cc_secret_view(&i->password), 1024),
		cc_fail(CC_USAGE, "the password has a control character or is not UTF-8"));
	TRY(check_characters(cc_secret_view(&i->password)));
out:
	return err;
}

static cc_err prepare(const struct ctl *c, struct import *i)
{
	Vault__AdminListKeys list = VAULT__ADMIN_LIST_KEYS__INIT;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	cc_blob folded = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(text_is_clean(cc_view_text(i->upn), 1024) &&
			(i->user_id == NULL || text_is_clean(cc_view_text(i->user_id), 1024)),
		cc_fail(CC_USAGE, "--upn or --user-id has a control character or is not UTF-8"));
	ENSURE(strcmp(i->purpose, "smimeEncryption") == 0 ||
			strcmp(i->purpose, "smimeSigning") == 0,
		cc_fail(CC_USAGE, "--purpose is smimeEncryption or smimeSigning"));
	request.op_case = VAULT__ADMIN_REQUEST__OP_LIST_KEYS;
	request.list_keys = &list;
	TRY(ctl_ask_vault(c, &request, &i->keys));
	ENSURE(i->keys->list != NULL && i->keys->list->tenant.len > 0,
		cc_fail(CC_CONFIG,
			"this connector is not enrolled; certconnectorctl enroll comes first"));
	i->tenant = cc_strndup(codec_view(i->keys->list->tenant));
	folded = cc_blob_copy(cc_view_text(i->upn));
	text_lower_ascii(&folded);
	i->folded = cc_strndup(cc_blob_view(&folded));
	if (i->user_id == NULL)
		i->user_id = i->folded;
	if (i->token_file != NULL) {
		TRY(tool_secret_read(i->token_file, 4096, &i->token));
	}
	TRY(read_password(i));
out:
	cc_blob_free(&folded);
	return err;
}

static cc_err reprotect(const struct import *i, const char *file, Ctl__ImportAnswer **ret)
{
	Ctl__ImportRequest request = CTL__IMPORT_REQUEST__INIT;
	const Vault__PublicList *list = i->keys->list;
	ProtobufCBinaryData *recipients = cc_alloc((list->n_keys + 1) * sizeof(*recipients));
	cc_blob pfx = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(file_read(file, FILE_ANY, PFX_FILE_MAX, &pfx));
	for (size_t k = 0; k < list->n_keys; k++) {
		if (text_equal(codec_view(list->keys[k]->use), "decrypt") && list->keys[k]->current)
			recipients[request.n_recipients++] = list->keys[k]->spki;
	}
	ENSURE(request.n_recipients > 0,
		cc_fail(CC_NOT_FOUND, "the keyvault has no decryption key"));
	request.recipients = recipients;
	request.pfx = codec_bytes(cc_blob_view(&pfx));
	request.password = codec_bytes(cc_secret_view(&i->password));
	request.tenant = codec_text(i->tenant);
	request.user_id = codec_text(i->user_id);
	request.purpose = codec_text(i->purpose);
	request.profile =
		i->compat ? CERTQ__PFX_PROFILE__PFX_COMPAT : CERTQ__PFX_PROFILE__PFX_MODERN;
	TRY(pfx_worker_run(&request, ret));
out:
	cc_blob_free(&pfx);
	free(recipients);
	return err;
}

static json_t *password_members(const Ctl__ImportAnswer *made)
{
	json_t *recipients = json_array();
	for (size_t k = 0; k < made->n_passwords; k++) {
		char *id = text_hex_new(codec_view(made->passwords[k]->key_id));
		char *data = text_base64_new(codec_view(made->passwords[k]->encrypted));
		json_array_append_new(recipients,
			json_pack("{s:s, s:s}", "keyId", id, "encryptedPfxPassword", data));
		free(data);
		free(id);
	}
	return recipients;
}

/* Graph's userPFXCertificate; `binding`, `keyId` and `recipients` are ours. */
static json_t *record(const struct import *i, const Ctl__ImportAnswer *made)
{
	uint8_t sha1[SHA_DIGEST_LENGTH];
	char start[RFC3339_SIZE], end[RFC3339_SIZE];
	SHA1(made->certificate.data, made->certificate.len, sha1);
	char *thumbprint = text_hex_new(cc_view_of(sha1, sizeof(sha1)));
	char *id = cc_asprintf("%s-%s", i->user_id, thumbprint);
	char *blob = text_base64_new(codec_view(made->pfx));
	json_t *recipients = password_members(made);
	const json_t *first = json_array_get(recipients, 0);

	text_rfc3339(made->not_before_s, start);
	text_rfc3339(made->not_after_s, end);
	json_t *r = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:i, s:O}",
		"id", id, "thumbprint", thumbprint, "intendedPurpose", i->purpose,
		"userPrincipalName", i->upn, "startDateTime", start, "expirationDateTime", end,
		"providerName", "certconnector", "keyName",
		json_string_value(json_object_get(first, "keyId")), "paddingScheme", "oaepSha512",
		"encryptedPfxBlob", blob, "encryptedPfxPassword",
		json_object_get(first, "encryptedPfxPassword"), "binding", 1, "keyId",
		json_object_get(first, "keyId"));
	if (json_array_size(recipients) > 1) {
		json_array_remove(recipients, 0);
		json_object_set(r, "recipients", recipients);
	}
	json_decref(recipients);
	free(blob);
	free(id);
	free(thumbprint);
	return r;
}

/* CC_DENIED when the queue has said no; anything else leaves open whether it has the record. */
static cc_err upload(const struct ctl *c, const struct import *i, const char *body)
{
	char *url = cc_asprintf("%s/v1/tenants/%s/user-pfx", i->queue, i->tenant);
	char *enrolled = cc_asprintf("%s/identity/queue-ca.pem", c->settings.state_dir);
	uint8_t digest[SHA256_SIZE];
	char *key = NULL;
	struct ctl_way *way = NULL;
	cc_blob answer = CC_BLOB_NONE;
	char *words = NULL;
	long status = 0;
	cc_err err = CC_OK;

	hash_sha256(cc_view_text(body), digest);
	key = text_hex_new(cc_view_of(digest, sizeof(digest)));
	TRY(ctl_way_read(&c->settings, &way));
	TRY(https_ask(&(struct https_request){.url = url,
			      .ca_file = i->ca_file ? i->ca_file : enrolled,
			      .bearer = &i->token,
			      .body = body,
			      .idempotency_key = key,
			      .proxy = ctl_way_proxy(way)},
		&status, &answer));
	words = https_problem(status, cc_blob_view(&answer));
	ENSURE(status < 500, cc_fail(CC_UNREACHABLE, "%s: %s", url, words));
	ENSURE(status == 200 || status == 201, cc_fail(CC_DENIED, "%s: %s", url, words));
out:
	ctl_way_free(way);
	free(words);
	free(key);
	cc_blob_free(&answer);
	free(enrolled);
	free(url);
	return err;
}

/* The record of an earlier try whose end is not known is sent again as it is: protected anew it would be
 * another one, and the queue may have the first. */
static cc_err take_earlier(const char *path, const char *id, char **body)
{
	cc_blob bytes = CC_BLOB_NONE;
	json_t *earlier = NULL;
	char *text = NULL;
	cc_err err = CC_OK;

	TRY(file_read(path, FILE_SECRET, RECORD_MAX, &bytes));
	text = cc_strndup(cc_blob_view(&bytes));
	earlier = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	const char *its_id = json_string_value(json_object_get(earlier, "id"));
	ENSURE(its_id != NULL && strcmp(its_id, id) == 0,
		cc_fail(CC_CONFLICT, "%s: there is another record in this file: move it away",
			path));
	free(*body);
	*body = text;
	text = NULL;
	fprintf(stderr, "%s: the record of an earlier try is sent again\n", path);
out:
	json_decref(earlier);
	free(text);
	cc_blob_free(&bytes);
	return err;
}

/* *ret_earlier: the file was there before, and what the queue knows of it is not for this run to say. */
static cc_err write_record(
	const struct import *i, const char *path, const char *id, char **body, bool *ret_earlier)
{
	*ret_earlier = i->queue != NULL && access(path, F_OK) == 0;
	if (*ret_earlier)
		return take_earlier(path, id, body);
	return file_write_new(path, cc_view_text(*body), 0600);
}

/* A refused record that is new goes; of one that the queue may have, the file is needed for the next try. */
static void after_failed_upload(const char *path, bool earlier, cc_err err)
{
	if (!earlier && (err == CC_DENIED || err == CC_CONFIG || err == CC_BAD_SIGNATURE))
		(void)unlink(path);
	else
		fprintf(stderr,
			"%s: kept, for the queue may have this record: run the same command "
			"again\n",
			path);
}

static void print_json(const char *file, const char *id)
{
	json_t *line = json_pack("{s:s, s:s}", "file", file, "id", id);
	char *text = json_dumps(line, JSON_COMPACT);
	printf("%s\n", text ? text : "{}");
	free(text);
	json_decref(line);
}

static cc_err import_file(const struct ctl *c, const struct import *i, const char *file)
{
	Ctl__ImportAnswer *made = NULL;
	json_t *r = NULL;
	char *body = NULL;
	char *path = NULL;
	bool earlier = false;
	cc_err err = CC_OK;

	TRY(reprotect(i, file, &made));
	r = record(i, made);
	body = json_dumps(r, JSON_COMPACT);
	const char *id = json_string_value(json_object_get(r, "id"));
	if (i->out != NULL) {
		path = cc_asprintf(
			"%s/%s.json", i->out, json_string_value(json_object_get(r, "thumbprint")));
		TRY(write_record(i, path, id, &body, &earlier));
	}
	if (i->queue != NULL) {
		err = upload(c, i, body);
		if (err != CC_OK && path != NULL)
			after_failed_upload(path, earlier, err);
		TRY(err);
	}
	if (c->json)
		print_json(file, id);
	else
		printf("%s: imported as %s\n", file, id);
out:
	free(path);
	free(body);
	json_decref(r);
	codec_free(made);
	return err;
}

static int read_options(struct import *i, int argc, char **argv)
{
	static const struct option options[] = {
		{"upn", required_argument, NULL, 'u'},
		{"user-id", required_argument, NULL, 'i'},
		{"purpose", required_argument, NULL, 'p'},
		{"password-file", required_argument, NULL, 'w'},
		{"compat", no_argument, NULL, 'c'},
		{"queue", required_argument, NULL, 'q'},
		{"token-file", required_argument, NULL, 't'},
		{"ca-file", required_argument, NULL, 'a'},
		{"out", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'u':
			i->upn = optarg;
			break;
		case 'i':
			i->user_id = optarg;
			break;
		case 'p':
			i->purpose = optarg;
			break;
		case 'w':
			i->password_file = optarg;
			break;
		case 'c':
			i->compat = true;
			break;
		case 'q':
			i->queue = optarg;
			break;
		case 't':
			i->token_file = optarg;
			break;
		case 'a':
			i->ca_file = optarg;
			break;
		case 'o':
			i->out = optarg;
			break;
		case 'h':
			return EXIT_OK;
		default:
			return EXIT_USAGE;
		}
	}
	bool target = (i->queue != NULL && i->token_file != NULL) || i->out != NULL;
	return i->upn != NULL && target && optind < argc ? -1 : EXIT_USAGE;
}

int command_pfx(struct ctl *c, int argc, char **argv)
{
	struct import i = {.purpose = "smimeEncryption"};
	size_t failed = 0;
	cc_err err = CC_OK;

	if (argc > 1 && strcmp(argv[1], "--help") == 0)
		return usage(stdout, EXIT_OK);
	if (argc < 3 || strcmp(argv[1], "import") != 0)
		return usage(stderr, EXIT_USAGE);
	int status = read_options(&i, argc - 1, argv + 1);
	if (status >= 0)
		return usage(status == EXIT_OK ? stdout : stderr, status);
	err = prepare(c, &i);
	status = err == CC_OK ? EXIT_OK : ctl_fail("pfx import", err);
	for (int k = optind; err == CC_OK && k < argc - 1; k++) {
		cc_err one = import_file(c, &i, argv[1 + k]);
		if (one != CC_OK) {
			status = ctl_fail(argv[1 + k], one);
			failed++;
		}
	}
	if (failed > 0)
		fprintf(stderr, "certconnectorctl: %zu of %d files were not imported\n", failed,
			argc - 1 - optind);
	codec_free(i.keys);
	free(i.tenant);
	free(i.folded);
	cc_secret_free(&i.password);
	cc_secret_free(&i.token);
	return status;
}
