/*
 * certqueuectl: key files, JSON files, the control socket, the producer API.
 */
#include "base/file.h"
#include "base/https.h"
#include "base/role.h"
#include "base/tool.h"
#include "cloud-queue/certqueuectl.h"
#include "cloud-queue/control.h"
#include "proto/dsse.h"
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASK_TIMEOUT_MS 30000
#define TOKEN_MAX      4096

int queuectl_fail(const char *doing, cc_err err)
{
	return tool_fail("certqueuectl", doing, err);
}

cc_err queuectl_key_new(const char *path, const char *type)
{
	EVP_PKEY *key = strcmp(type, "p256") == 0 ? EVP_EC_gen("P-256")
						  : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	char *public_path = cc_asprintf("%s.pub", path);
	cc_err err = key != NULL ? tool_key_write(key, path, public_path)
				 : cc_fail_openssl("making a key");

	free(public_path);
	EVP_PKEY_free(key);
	return err;
}

cc_err queuectl_public_read(const char *path, cc_blob *ret_spki)
{
	cc_blob pem = CC_BLOB_NONE;
	BIO *bio = NULL;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	TRY(file_read(path, FILE_ANY, 64 * 1024, &pem));
	bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
	ENSURE(key != NULL, cc_fail_openssl(path));
	TRY(dsse_spki(key, ret_spki));
out:
	EVP_PKEY_free(key);
	BIO_free(bio);
	cc_blob_free(&pem);
	return err;
}

void queuectl_json_print(const json_t *value)
{
	char *text = json_dumps(value, JSON_INDENT(2));
	printf("%s\n", text ? text : "");
	free(text);
}

cc_err queuectl_control(const struct queuectl *q, json_t *request, json_t **ret)
{
	json_t *answer = NULL;
	cc_err err = CC_OK;

	ENSURE(request != NULL, cc_fail(CC_USAGE, "an argument is not UTF-8"));
	err = control_ask(q->socket, request, ASK_TIMEOUT_MS, &answer);
	ENSURE(err != CC_UNREACHABLE,
		cc_fail(err, "is certqueued running, and may this user use it? (%s)",
			cc_err_detail(err)));
	TRY(err);
	if (!json_is_true(json_object_get(answer, "ok"))) {
		const char *code = json_string_value(json_object_get(answer, "code"));
		const char *detail = json_string_value(json_object_get(answer, "detail"));
		err = cc_fail(CC_DENIED, "%s: %s", code ? code : "refused", detail ? detail : "");
		goto out;
	}
	*ret = answer;
	answer = NULL;
out:
	json_decref(answer);
	json_decref(request);
	return err;
}

bool queuectl_api_option(struct queuectl_api *api, int option, const char *value)
{
	switch (option) {
	case 1001:
		api->url = value;
		return true;
	case 1002:
		api->tenant = value;
		return true;
	case 1003:
		api->token_file = value;
		return true;
	case 1004:
		api->ca_file = value;
		return true;
	default:
		return false;
	}
}

cc_err queuectl_api_ask(const struct queuectl_api *api, const char *method, const char *path,
	const char *body, json_t **ret)
{
	cc_secret token = CC_SECRET_NONE;
	cc_blob answer = CC_BLOB_NONE;
	char *url = NULL;
	char *words = NULL;
	long status = 0;
	cc_err err = CC_OK;

	ENSURE(api->url && api->tenant && api->token_file && api->ca_file,
		cc_fail(CC_USAGE, "--queue, --tenant, --token-file and --ca-file are all needed"));
	TRY(tool_secret_read(api->token_file, TOKEN_MAX, &token));
	url = cc_asprintf("%s/v1/tenants/%s%s", api->url, api->tenant, path);
	struct https_request ask = {.url = url,
		.ca_file = api->ca_file,
		.bearer = &token,
		.method = method,
		.body = body};
	TRY(https_ask(&ask, &status, &answer));
	if (status < 200 || status > 299) {
		words = https_problem(status, cc_blob_view(&answer));
		err = cc_fail(status >= 500 || status == 429 ? CC_AGAIN : CC_DENIED, "%s: %s", url,
			words);
		goto out;
	}
	*ret = json_loadb((const char *)answer.data, answer.size, 0, NULL);
out:
	free(words);
	free(url);
	cc_blob_free(&answer);
	cc_secret_free(&token);
	return err;
}
