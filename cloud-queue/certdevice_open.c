/*
 * certdevice open: what came back is believed only as far as it can be checked.
 *
 * The result's signature under the pinned result key, the digests in it, that it is for this job and
 * this device, that the PFX opens with the unsealed password, that its key fits the certificate, and
 * that the chain ends at the pinned root.  Then the parts are written for whoever wants to look.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/role.h"
#include "base/text.h"
#include "base/tool.h"
#include "cloud-queue/certdevice.h"
#include "cloud-queue/job_json.h"
#include "keyvault/pfx.h"
#include "keyvault/sealer.h"
#include "proto/codec.h"
#include "proto/job.h"
#include <getopt.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PART_MAX (256u * 1024u)

struct opening {
	const char *dir, *job_file, *result_file, *keys_file, *root_file, *out;
	cc_blob job_body, result_body, key_id, signature, pfx, sealed, spki, result_spki;
	Certq__JobDocument *job;
	Certq__ResultDocument *result;
	EVP_PKEY *device;
	cc_secret password;
	struct pfx_content content;
};

static cc_err part(const json_t *from, const char *name, cc_blob *ret)
{
	const char *text = json_string_value(json_object_get(from, name));
	if (text == NULL)
		return cc_fail(CC_MALFORMED, "member \"%s\" is missing", name);
	cc_err err = text_from_base64(cc_view_text(text), PART_MAX, ret);
	return err == CC_OK ? CC_OK : cc_fail_in(err, "member \"%s\"", name);
}

static cc_err read_job(struct opening *o)
{
	json_t *job = NULL;
	cc_err err = CC_OK;

	TRY(tool_json_read(o->job_file, &job));
	TRY(part(job, "document", &o->job_body));
	TRY(job_peek(cc_blob_view(&o->job_body), &o->job));
out:
	json_decref(job);
	return err;
}

static cc_err read_result(struct opening *o)
{
	json_t *job = NULL;
	cc_err err = CC_OK;

	TRY(tool_json_read(o->result_file, &job));
	const json_t *result = json_object_get(job, "result");
	const json_t *signature = json_object_get(result, "signature");
	const char *key = json_string_value(json_object_get(signature, "key_id"));
	ENSURE(key != NULL, cc_fail(CC_MALFORMED, "%s: no signed result", o->result_file));
	TRY(part(result, "document", &o->result_body));
	TRY(part(signature, "signature", &o->signature));
	TRY(text_from_hex(cc_view_text(key), &o->key_id));
	if (json_object_get(result, "pfx") != NULL)
		TRY(part(result, "pfx", &o->pfx));
	const json_t *sealed = json_object_get(result, "sealed_password");
	if (sealed != NULL)
		TRY(part(sealed, "data", &o->sealed));
out:
	json_decref(job);
	return err;
}

/* The key that was pinned: from `certconnectorctl --json keys`, on the connector's host. */
static cc_err read_result_key(struct opening *o)
{
	json_t *keys = NULL;
	cc_err err = CC_OK;

	TRY(tool_json_read(o->keys_file, &keys));
	for (size_t i = 0; i < json_array_size(keys); i++) {
		const json_t *key = json_array_get(keys, i);
		const char *use = json_string_value(json_object_get(key, "use"));
		if (use != NULL && strcmp(use, "result") == 0 && o->result_spki.size == 0)
			TRY(part(key, "spki", &o->result_spki));
	}
	ENSURE(o->result_spki.size > 0, cc_fail(CC_NOT_FOUND, "%s: no result key", o->keys_file));
out:
	json_decref(keys);
	return err;
}

static cc_err verify_result(struct opening *o)
{
	Certq__SignedDocument document = CERTQ__SIGNED_DOCUMENT__INIT;
	Certq__ResultBundle bundle = CERTQ__RESULT_BUNDLE__INIT;
	uint8_t job_id[JOB_ID_SIZE];
	uint8_t digest[SHA256_SIZE];

	document.body = codec_bytes(cc_blob_view(&o->result_body));
	document.key_id = codec_bytes(cc_blob_view(&o->key_id));
	document.signature = codec_bytes(cc_blob_view(&o->signature));
	bundle.result = &document;
	/* a rewrap's bundle comes without the file, which the queue adds from the record's copy */
	if (o->job->kind_case == CERTQ__JOB_DOCUMENT__KIND_ISSUE)
		bundle.pfx = codec_bytes(cc_blob_view(&o->pfx));
	bundle.sealed_password = codec_bytes(cc_blob_view(&o->sealed));
	job_id_derive(codec_view(o->job->tenant), codec_view(o->job->idempotency_key), job_id);
	hash_sha256(cc_blob_view(&o->job_body), digest);
	return result_verify(cc_blob_view(&o->result_spki), codec_view(o->job->tenant),
		cc_view_of(job_id, sizeof(job_id)), cc_view_of(digest, sizeof(digest)), &bundle,
		cc_blob_view(&o->pfx), &o->result);
}

static cc_err unseal(struct opening *o)
{
	cc_err err = CC_OK;

	TRY(certdevice_key_read(o->dir, &o->device));
	TRY(dsse_spki(o->device, &o->spki));
	ENSURE(cc_view_equal(codec_view(o->result->device_spki), cc_blob_view(&o->spki)),
		cc_fail(CC_MISMATCH, "the result is for another device"));
	TRY(sealer_open(o->device, o->result->seal, cc_blob_view(&o->sealed), &o->password));
	/* pfx_open takes no file whose key and certificate do not belong together */
	TRY(pfx_open(cc_blob_view(&o->pfx), cc_secret_view(&o->password), NULL, &o->content));
out:
	return err;
}

/* The certificate of the PFX is the one that was signed for, and its chain ends at the pinned root. */
static cc_err check_chain(const struct opening *o)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *check = X509_STORE_CTX_new();
	unsigned char *der = NULL;
	cc_err err = CC_OK;

	int size = i2d_X509(o->content.leaf, &der);
	ENSURE(size > 0 && cc_view_equal(cc_view_of(der, (size_t)size),
				   codec_view(o->result->certificate)),
		cc_fail(CC_MISMATCH, "the PFX holds another certificate than the signed result"));
	ENSURE(store != NULL && check != NULL && X509_STORE_load_file(store, o->root_file) == 1,
		cc_fail_openssl(o->root_file));
	ENSURE(X509_STORE_CTX_init(check, store, o->content.leaf, o->content.others) == 1,
		cc_fail_openssl("verifying the chain"));
	ENSURE(X509_verify_cert(check) == 1,
		cc_fail(CC_MISMATCH, "the chain does not verify: %s",
			X509_verify_cert_error_string(X509_STORE_CTX_get_error(check))));
out:
	OPENSSL_free(der);
	X509_STORE_CTX_free(check);
	X509_STORE_free(store);
	return err;
}

static cc_err write_part(const struct opening *o, const char *name, cc_view data)
{
	char *path = file_join(o->out, name);
	cc_err err = file_write_atomic(path, data, 0600);
	free(path);
	return err;
}

static cc_err write_certificate(const struct opening *o, const char *name, cc_view der)
{
	const unsigned char *at = der.data;
	X509 *certificate = d2i_X509(NULL, &at, (long)der.size);
	BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;
	cc_err err = CC_OK;

	ENSURE(certificate != NULL && PEM_write_bio_X509(bio, certificate) == 1,
		cc_fail_openssl(name));
	long size = BIO_get_mem_data(bio, &data);
	TRY(write_part(o, name, cc_view_of(data, (size_t)size)));
out:
	BIO_free(bio);
	X509_free(certificate);
	return err;
}

static cc_err write_all(const struct opening *o)
{
	cc_err err = CC_OK;

	TRY(file_make_dir(o->out, 0700));
	if (o->pfx.size > 0) {
		TRY(write_part(o, "result.pfx", cc_blob_view(&o->pfx)));
		TRY(write_part(o, "sealed", cc_blob_view(&o->sealed)));
		TRY(write_part(o, "password", cc_secret_view(&o->password)));
	}
	if (o->result->certificate.len > 0)
		TRY(write_certificate(o, "certificate.pem", codec_view(o->result->certificate)));
	for (size_t i = 0; i < o->result->n_chain; i++) {
		char name[32];
		snprintf(name, sizeof(name), "chain-%zu.pem", i);
		TRY(write_certificate(o, name, codec_view(o->result->chain[i])));
	}
out:
	return err;
}

static cc_err open_result(struct opening *o)
{
	cc_err err = CC_OK;

	TRY(read_job(o));
	TRY(read_result(o));
	TRY(read_result_key(o));
	TRY(verify_result(o));
	ENSURE(o->result->outcome != CERTQ__OUTCOME__OUTCOME_REFUSED,
		cc_fail(CC_DENIED, "the keyvault refused: %.*s", (int)o->result->code.len,
			(const char *)o->result->code.data));
	if (o->result->outcome != CERTQ__OUTCOME__OUTCOME_CHAIN)
		TRY(unseal(o));
	if (o->result->outcome == CERTQ__OUTCOME__OUTCOME_ISSUED && o->root_file != NULL)
		TRY(check_chain(o));
	if (o->out != NULL)
		TRY(write_all(o));
	char *word = job_json_word(protobuf_c_enum_descriptor_get_value(
		&certq__outcome__descriptor, (int)o->result->outcome));
	printf("%s: %s, result signature and digests good%s%s\n", o->result_file, word,
		o->content.key ? ", password unsealed, key fits certificate" : "",
		o->root_file && o->content.key &&
				o->result->outcome == CERTQ__OUTCOME__OUTCOME_ISSUED
			? ", chain verifies"
			: "");
	free(word);
out:
	return err;
}

static void opening_clear(struct opening *o)
{
	cc_blob *blobs[] = {&o->job_body, &o->result_body, &o->key_id, &o->signature, &o->pfx,
		&o->sealed, &o->spki, &o->result_spki};
	for (size_t i = 0; i < sizeof(blobs) / sizeof(blobs[0]); i++)
		cc_blob_free(blobs[i]);
	codec_free(o->job);
	codec_free(o->result);
	EVP_PKEY_free(o->device);
	cc_secret_free(&o->password);
	pfx_content_clear(&o->content);
}

static int open_usage(FILE *to, int status)
{
	fprintf(to,
		"usage: certdevice open --dir DIR --job FILE --result FILE --result-keys FILE "
		"[--root FILE] [--out DIR]\n"
		"  --dir DIR           the device\n"
		"  --job FILE          the signed job that was submitted\n"
		"  --result FILE       the job as the producer API answers it\n"
		"  --result-keys FILE  pinned keys: what `certconnectorctl --json keys` printed "
		"on-prem\n"
		"  --root FILE         pinned root of the CA (PEM): the chain has to end there\n"
		"  --out DIR           write PFX, password and certificates there\n");
	return status;
}

int certdevice_open(int argc, char **argv)
{
	static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
		{"job", required_argument, NULL, 'j'}, {"result", required_argument, NULL, 'r'},
		{"result-keys", required_argument, NULL, 'k'},
		{"root", required_argument, NULL, 'c'}, {"out", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	struct opening o = {0};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			o.dir = optarg;
			break;
		case 'j':
			o.job_file = optarg;
			break;
		case 'r':
			o.result_file = optarg;
			break;
		case 'k':
			o.keys_file = optarg;
			break;
		case 'c':
			o.root_file = optarg;
			break;
		case 'o':
			o.out = optarg;
			break;
		default:
			return open_usage(option == 'h' ? stdout : stderr,
				option == 'h' ? EXIT_OK : EXIT_USAGE);
		}
	}
	if (!o.dir || !o.job_file || !o.result_file || !o.keys_file || optind < argc)
		return open_usage(stderr, EXIT_USAGE);
	cc_err err = open_result(&o);
	opening_clear(&o);
	return err == CC_OK ? EXIT_OK : certdevice_fail(o.result_file, err);
}
