/*
 * The files of a hostile house: its folder, connector.yaml and ca.d, policy.yaml, pins.yaml.
 *
 * For hostile_house.c only; single-threaded.  Every function ends the test program when it fails.
 */
#pragma once

#include "base/err.h"
#include "tests/support/hostile_house.h"
#include <stdio.h>
#include <stdlib.h>

#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "house: %s:%d: %s\n", __FILE__, __LINE__, #condition);     \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* An error's words are worth more than the condition. */
#define NEED_OK(expr)                                                                              \
	do {                                                                                       \
		cc_err err_ = (expr);                                                              \
		if (err_ != CC_OK)                                                                 \
			fprintf(stderr, "house: %s\n", cc_err_detail(err_));                       \
		NEED(err_ == CC_OK);                                                               \
	} while (0)

/* The CAs' one template, "user", and what the policy allows: the same. */
#define HOSTILE_EKU      "1.3.6.1.5.5.7.3.2"
#define HOSTILE_USAGE    "digitalSignature,keyEncipherment"
#define HOSTILE_VALIDITY "365d"

char *hostile_files_path(const struct house *h, const char *name); /* caller frees */

/* A fresh folder with the master key in it; sets h->dir. */
void hostile_files_dir(struct house *h);
void hostile_files_configuration(const struct house *h); /* connector.yaml, ca.d */
void hostile_files_policy(const struct house *h);
void hostile_files_pins(const struct house *h); /* after both local CAs are made */
