/*
 * certqueuectl: what its commands share.  One process, one thread, one command a run; a command
 * returns an exit status of base/role.h.
 */
#pragma once

#include "base/blob.h"
#include <jansson.h>
#include <openssl/evp.h>

struct queuectl {
	const char *socket; /* certqueued's control socket */
	bool json;
};

int queuectl_fail(const char *doing, cc_err err);

/* Keys as PEM files: a private one is 0600, beside it NAME.pub. */
cc_err queuectl_key_new(const char *path, const char *type) CC_MUST_USE; /* ed25519, p256 */
cc_err queuectl_public_read(
	const char *path, cc_blob *ret_spki) CC_MUST_USE; /* of a .pub or a key */
void queuectl_json_print(const json_t *value);

/* Ask the control socket; an answer with "ok": false is CC_DENIED with its words. */
cc_err queuectl_control(const struct queuectl *q, json_t *request, json_t **ret) CC_MUST_USE;

/* The producer API. */
struct queuectl_api {
	const char *url, *tenant, *token_file, *ca_file;
};
/* Read --queue, --tenant, --token-file, --ca-file; false for another option. */
bool queuectl_api_option(struct queuectl_api *api, int option, const char *value);
#define QUEUECTL_API_OPTIONS                                                                       \
	{"queue", required_argument, NULL, 1001}, {"tenant", required_argument, NULL, 1002},       \
		{"token-file", required_argument, NULL, 1003},                                     \
	{                                                                                          \
		"ca-file", required_argument, NULL, 1004                                           \
	}
#define QUEUECTL_API_HELP                                                                          \
	"  --queue URL        https://HOST:PORT of the producer API\n"                             \
	"  --tenant NAME\n"                                                                        \
	"  --token-file FILE  bearer token, mode 0600\n"                                           \
	"  --ca-file FILE     the queue's CA certificate\n"
/* `path` is below /v1/tenants/TENANT.  2xx is CC_OK, a problem CC_DENIED with its words. */
cc_err queuectl_api_ask(const struct queuectl_api *api, const char *method, const char *path,
	const char *body, json_t **ret) CC_MUST_USE;

int queuectl_init(struct queuectl *q, int argc, char **argv);
int queuectl_root(struct queuectl *q, int argc, char **argv);
int queuectl_signer(struct queuectl *q, int argc, char **argv);
int queuectl_tenant(struct queuectl *q, int argc, char **argv);
int queuectl_token(struct queuectl *q, int argc, char **argv);
int queuectl_sign(struct queuectl *q, int argc, char **argv);
int queuectl_verify(struct queuectl *q, int argc, char **argv);
int queuectl_submit(struct queuectl *q, int argc, char **argv);
int queuectl_wait(struct queuectl *q, int argc, char **argv);
int queuectl_show(struct queuectl *q, int argc, char **argv);
int queuectl_connector(struct queuectl *q, int argc, char **argv);
int queuectl_record(struct queuectl *q, int argc, char **argv);

/* certqueuectl_record.c */
/* Completes a request for a rewrap with what only the cloud has: the record's digests.  The record is
 * one that was put, or one as the queue shows it; `key_id` (may be NULL) is for one that names no key. */
cc_err queuectl_record_add(
	json_t *request, const char *record_file, const char *key_id) CC_MUST_USE;
/* Writes the records of `user` (NULL: of all) for `purpose` (NULL: for all) into `out` as
 * THUMBPRINT.json, or prints their ids. */
cc_err queuectl_record_list(const struct queuectl_api *api, const char *user, const char *purpose,
	const char *out) CC_MUST_USE;
