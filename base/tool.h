/*
 * Tools: what the command-line programs share.
 *
 * One process, one thread, one command a run; blocking calls.  No daemon links it.
 */
#pragma once

#include "base/blob.h"
#include <jansson.h>
#include <openssl/evp.h>

/* The exit status (base/role.h) that says what kind of failure it was. */
int tool_exit_status(cc_err err);
/* "PROGRAM: DOING: detail" on stderr; gives the exit status. */
int tool_fail(const char *program, const char *doing, cc_err err);

/* A private key, PEM, mode 0600.  Free with EVP_PKEY_free. */
cc_err tool_key_read(const char *path, EVP_PKEY **ret) CC_MUST_USE;
/* Both halves as new files, the private one 0600. */
cc_err tool_key_write(EVP_PKEY *key, const char *path, const char *public_path) CC_MUST_USE;
/* The file's text (a token, a password; mode 0600) without the line ends behind it. */
cc_err tool_secret_read(const char *path, size_t max, cc_secret *ret) CC_MUST_USE;
/* A JSON file, "-" for standard input; what is wrong is told with line and column. */
cc_err tool_json_read(const char *path, json_t **ret) CC_MUST_USE;
