/*
 * certdevice: what its commands share.  A stand-in device for demonstration and tests: it has its own
 * key and what was pinned on it, no signing key and no token.
 */
#pragma once

#include "base/blob.h"
#include "certq/v1/job.pb-c.h"
#include <jansson.h>
#include <openssl/evp.h>

int certdevice_fail(const char *doing, cc_err err);
/* DIR/device.key and DIR/device.pub, PEM. */
cc_err certdevice_key_read(const char *dir, EVP_PKEY **ret) CC_MUST_USE;

int certdevice_new(int argc, char **argv);
int certdevice_ask(int argc, char **argv);
int certdevice_open(int argc, char **argv);
