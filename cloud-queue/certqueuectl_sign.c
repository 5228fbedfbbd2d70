/*
 * certqueuectl signer, sign, verify: documents made and judged on the producer's side.
 *
 * A signer is an online key; the offline job root states what it may sign and until when.  A signed
 * job is the very JSON body of POST /v1/tenants/{t}/jobs.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/role.h"
#include "base/text.h"
#include "base/tool.h"
#include "cloud-queue/certqueuectl.h"
#include "cloud-queue/job_json.h"
#include "proto/codec.h"
#include "proto/job.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *document_json(const char *type, const Certq__SignedDocument *document)
{
	char *body = text_base64_new(codec_view(document->body));
	char *signature = text_base64_new(codec_view(document->signature));
	char *key = text_hex_new(codec_view(document->key_id));
	json_t *value = json_pack("{s:s, s:s, s:[{s:s, s:s}]}", "document", body, "document_type",
		type, "signatures", "key_id", key, "signature", signature);
	free(key);
	free(signature);
	free(body);
	return value;
}

/* The reverse; the caller frees the three parts. */
struct parts {
	cc_blob body, key_id, signature;
};

static void parts_free(struct parts *p)
{
	cc_blob_free(&p->body);
	cc_blob_free(&p->key_id);
	cc_blob_free(&p->signature);
}

static cc_err document_read(const char *path, struct parts *ret)
{
	json_t *value = NULL;
	cc_err err = CC_OK;

	TRY(tool_json_read(path, &value));
	const json_t *signature = json_array_get(json_object_get(value, "signatures"), 0);
	const char *body = json_string_value(json_object_get(value, "document"));
	const char *key = json_string_value(json_object_get(signature, "key_id"));
	const char *bytes = json_string_value(json_object_get(signature, "signature"));
	ENSURE(body && key && bytes, cc_fail(CC_MALFORMED, "%s: not a signed document", path));
	TRY(text_from_base64(cc_view_text(body), DOC_BODY_MAX, &ret->body));
	TRY(text_from_hex(cc_view_text(key), &ret->key_id));
	TRY(text_from_base64(cc_view_text(bytes), 1024, &ret->signature));
out:
	json_decref(value);
	return err;
}

static Certq__SignedDocument document_of(const struct parts *p)
{
	Certq__SignedDocument document = CERTQ__SIGNED_DOCUMENT__INIT;
	document.body = codec_bytes(cc_blob_view(&p->body));
	document.key_id = codec_bytes(cc_blob_view(&p->key_id));
	document.signature = codec_bytes(cc_blob_view(&p->signature));
	return document;
}

static cc_err write_or_print(const char *path, const json_t *value)
{
	if (path == NULL) {
		queuectl_json_print(value);
		return CC_OK;
	}
	char *text = json_dumps(value, JSON_COMPACT);
	cc_err err = file_write_atomic(path, cc_view_text(text), 0644);
	free(text);
	return err;
}

struct statement_options {
	const char *root, *signer, *tenant, *kinds, *out;
	uint64_t days, revision;
};

/* "issue,rewrap": each word is a kind, and there is one at least. */
static cc_err set_kinds(const char *words, Certq__SignerStatement *to)
{
	const struct {
		const char *word;
		protobuf_c_boolean *to;
	} kinds[] = {{"issue", &to->issue}, {"rewrap", &to->rewrap}, {"revoke", &to->revoke},
		{"chain", &to->chain}};
	const size_t count = sizeof(kinds) / sizeof(kinds[0]);

	for (const char *at = words;; at++) {
		size_t size = strcspn(at, ",");
		size_t k = 0;
		while (k < count && !text_equal(cc_view_of(at, size), kinds[k].word))
			k++;
		if (k == count)
			return cc_fail(CC_USAGE,
				"--kinds: \"%.*s\" is not one of issue, rewrap, revoke, chain",
				(int)size, at);
		*kinds[k].to = true;
		at += size;
		if (*at == '\0')
			return CC_OK;
	}
}

static cc_err state_signer(const struct statement_options *o)
{
	Certq__SignerStatement statement = CERTQ__SIGNER_STATEMENT__INIT;
	Certq__SignedDocument *document = NULL;
	EVP_PKEY *root = NULL;
	cc_blob spki = CC_BLOB_NONE;
	cc_blob body = CC_BLOB_NONE;
	json_t *value = NULL;
	cc_err err = CC_OK;

	TRY(tool_key_read(o->root, &root));
	TRY(queuectl_public_read(o->signer, &spki));
	statement.version = 1;
	statement.tenant = codec_text(o->tenant);
	statement.spki = codec_bytes(cc_blob_view(&spki));
	statement.not_before_s = clock_realtime_s() - 60;
	statement.not_after_s = statement.not_before_s + (int64_t)o->days * 86400;
	TRY(set_kinds(o->kinds, &statement));
	statement.revision = o->revision;
	body = codec_pack(&statement);
	TRY(dsse_sign(root, DOC_SIGNER, cc_blob_view(&body), &document));
	value = document_json(DOC_SIGNER, document);
	TRY(write_or_print(o->out, value));
out:
	json_decref(value);
	codec_free(document);
	cc_blob_free(&body);
	cc_blob_free(&spki);
	EVP_PKEY_free(root);
	return err;
}

static cc_err put_signer(const struct queuectl_api *api, const char *file)
{
	struct parts parts = {0};
	Certq__SignerStatement *statement = NULL;
	json_t *value = NULL;
	json_t *answer = NULL;
	char *body = NULL;
	char *path = NULL;
	char *id_text = NULL;
	uint8_t id[SHA256_SIZE];
	cc_err err = CC_OK;

	TRY(document_read(file, &parts));
	TRY(codec_decode_document(&certq__signer_statement__descriptor, cc_blob_view(&parts.body),
		DOC_BODY_MAX, &statement));
	dsse_key_id(codec_view(statement->spki), id);
	id_text = text_hex_new(cc_view_of(id, sizeof(id)));
	path = cc_asprintf("/signers/%s", id_text);
	TRY(tool_json_read(file, &value));
	body = json_dumps(value, JSON_COMPACT);
	TRY(queuectl_api_ask(api, "PUT", path, body, &answer));
	printf("signer %s: statement stored\n", id_text);
out:
	free(id_text);
	free(path);
	free(body);
	json_decref(answer);
	json_decref(value);
	codec_free(statement);
	parts_free(&parts);
	return err;
}

static int signer_usage(FILE *to, int status)
{
	fprintf(to, "usage: certqueuectl signer new FILE [--p256]\n"
		    "       certqueuectl signer state --root FILE --signer FILE.pub --tenant NAME "
		    "--kinds issue,rewrap,...\n"
		    "                                 [--days 90] [--revision N] [--out FILE]\n"
		    "       certqueuectl signer put FILE --queue URL --tenant NAME --token-file "
		    "FILE --ca-file FILE\n" QUEUECTL_API_HELP);
	return status;
}

static int signer_state(int argc, char **argv)
{
	static const struct option options[] = {{"root", required_argument, NULL, 'r'},
		{"signer", required_argument, NULL, 's'}, {"tenant", required_argument, NULL, 't'},
		{"kinds", required_argument, NULL, 'k'}, {"days", required_argument, NULL, 'd'},
		{"revision", required_argument, NULL, 'v'}, {"out", required_argument, NULL, 'o'},
		{NULL, 0, NULL, 0}};
	struct statement_options o = {.days = 90, .revision = 1};
	cc_err err = CC_OK;
	int option;

	while (err == CC_OK && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			o.root = optarg;
			break;
		case 's':
			o.signer = optarg;
			break;
		case 't':
			o.tenant = optarg;
			break;
		case 'k':
			o.kinds = optarg;
			break;
		case 'd':
			err = text_to_u64(cc_view_text(optarg), 1, 90, &o.days);
			break;
		case 'v':
			err = text_to_u64(cc_view_text(optarg), 1, UINT32_MAX, &o.revision);
			break;
		case 'o':
			o.out = optarg;
			break;
		default:
			return signer_usage(stderr, EXIT_USAGE);
		}
	}
	if (err != CC_OK)
		return queuectl_fail("signer state: --days or --revision",
			cc_fail_in(CC_USAGE, "\"%s\"", optarg));
	if (!(o.root && o.signer && o.tenant && o.kinds) || optind < argc)
		return signer_usage(stderr, EXIT_USAGE);
	err = state_signer(&o);
	return err == CC_OK ? EXIT_OK : queuectl_fail("signer state", err);
}

static int signer_put(int argc, char **argv)
{
	static const struct option options[] = {QUEUECTL_API_OPTIONS, {NULL, 0, NULL, 0}};
	struct queuectl_api api = {0};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (!queuectl_api_option(&api, option, optarg))
			return signer_usage(stderr, EXIT_USAGE);
	}
	if (optind + 1 != argc)
		return signer_usage(stderr, EXIT_USAGE);
	cc_err err = put_signer(&api, argv[optind]);
	return err == CC_OK ? EXIT_OK : queuectl_fail("signer put", err);
}

int queuectl_signer(struct queuectl *q, int argc, char **argv)
{
	(void)q;
	if (argc > 1 && strcmp(argv[argc - 1], "--help") == 0)
		return signer_usage(stdout, EXIT_OK);
	if (argc > 1 && strcmp(argv[1], "state") == 0)
		return signer_state(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "put") == 0)
		return signer_put(argc - 1, argv + 1);
	bool p256 = argc == 4 && strcmp(argv[3], "--p256") == 0;
	if ((argc != 3 && !p256) || strcmp(argv[1], "new") != 0 || argv[2][0] == '-')
		return signer_usage(stderr, EXIT_USAGE);
	cc_err err = queuectl_key_new(argv[2], p256 ? "p256" : "ed25519");
	if (err != CC_OK)
		return queuectl_fail("signer new", err);
	printf("%s and %s.pub made\n", argv[2], argv[2]);
	return EXIT_OK;
}

struct sign_options {
	const char *key, *record, *key_id, *out;
};

static cc_err sign(const struct sign_options *o, const char *request_file)
{
	Certq__SignedDocument *document = NULL;
	EVP_PKEY *key = NULL;
	json_t *request = NULL;
	json_t *value = NULL;
	cc_blob body = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(tool_key_read(o->key, &key));
	TRY(tool_json_read(request_file, &request));
	if (o->record != NULL)
		TRY(queuectl_record_add(request, o->record, o->key_id));
	TRY(job_json_pack(&certq__job_document__descriptor, request, &body));
	TRY(dsse_sign(key, DOC_JOB, cc_blob_view(&body), &document));
	value = document_json(DOC_JOB, document);
	TRY(write_or_print(o->out, value));
out:
	json_decref(value);
	json_decref(request);
	codec_free(document);
	cc_blob_free(&body);
	EVP_PKEY_free(key);
	return err;
}

int queuectl_sign(struct queuectl *q, int argc, char **argv)
{
	static const struct option options[] = {{"key", required_argument, NULL, 'k'},
		{"record", required_argument, NULL, 'r'}, {"key-id", required_argument, NULL, 'i'},
		{"out", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	struct sign_options o = {0};
	int option;

	(void)q;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'k')
			o.key = optarg;
		else if (option == 'r')
			o.record = optarg;
		else if (option == 'i')
			o.key_id = optarg;
		else if (option == 'o')
			o.out = optarg;
		else
			break;
	}
	if (option == -1 && o.key != NULL && optind + 1 == argc) {
		cc_err err = sign(&o, argv[optind]);
		return err == CC_OK ? EXIT_OK : queuectl_fail("sign", err);
	}
	fprintf(option == 'h' ? stdout : stderr,
		"usage: certqueuectl sign --key FILE [--record FILE [--key-id HEX]] [--out FILE] "
		"REQUEST\n"
		"  --key FILE     the signer's private key (PEM, 0600)\n"
		"  --record FILE  for a rewrap: the imported record, as it was put or as the "
		"queue lists it\n"
		"  --key-id HEX   of the on-prem key, for a record that does not name it\n"
		"REQUEST is a JobDocument as JSON; - reads standard input\n");
	return option == 'h' ? EXIT_OK : EXIT_USAGE;
}

static cc_err verify(
	const char *statement_file, const char *root, const char *tenant, const char *file)
{
	struct parts statement = {0}, job = {0};
	Certq__SignerStatement *signer = NULL;
	Certq__JobDocument *document = NULL;
	uint8_t job_id[JOB_ID_SIZE];
	char id[JOB_TEXT_SIZE];
	cc_blob spki = CC_BLOB_NONE;
	json_t *value = NULL;
	cc_err err = CC_OK;

	TRY(queuectl_public_read(root, &spki));
	TRY(document_read(statement_file, &statement));
	TRY(document_read(file, &job));
	Certq__SignedDocument statement_document = document_of(&statement);
	Certq__SignedDocument job_document = document_of(&job);
	TRY(signer_verify(cc_blob_view(&spki), cc_view_text(tenant), &statement_document,
		clock_realtime_s(), &signer));
	TRY(job_verify(signer, &job_document, clock_realtime_s(), &document, job_id));
	value = job_json_of(&document->base);
	queuectl_json_print(value);
	text_job_id(cc_view_of(job_id, sizeof(job_id)), id);
	fprintf(stderr, "%s: good signature\n", id);
out:
	json_decref(value);
	codec_free(document);
	codec_free(signer);
	parts_free(&job);
	parts_free(&statement);
	cc_blob_free(&spki);
	return err;
}

int queuectl_verify(struct queuectl *q, int argc, char **argv)
{
	static const struct option options[] = {{"root", required_argument, NULL, 'r'},
		{"statement", required_argument, NULL, 's'},
		{"tenant", required_argument, NULL, 't'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	const char *root = NULL, *statement = NULL, *tenant = NULL;
	int option;

	(void)q;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'r')
			root = optarg;
		else if (option == 's')
			statement = optarg;
		else if (option == 't')
			tenant = optarg;
		else
			break;
	}
	if (option == -1 && root && statement && tenant && optind + 1 == argc) {
		cc_err err = verify(statement, root, tenant, argv[optind]);
		return err == CC_OK ? EXIT_OK : queuectl_fail("verify", err);
	}
	fprintf(option == 'h' ? stdout : stderr,
		"usage: certqueuectl verify --root FILE.pub --statement FILE --tenant NAME JOB\n");
	return option == 'h' ? EXIT_OK : EXIT_USAGE;
}
