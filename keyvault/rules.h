/*
 * Rules: policy and pins as they stand now, read from the descriptors that the supervisor passes.
 *
 * Keyvault.  A set of rules is immutable; a reload makes a new one, and each request keeps the set that
 * it began with.  References are counted in the loop's thread only.
 */
#pragma once

#include "keyvault/pins.h"
#include "keyvault/policy.h"

struct rules {
	unsigned references;
	struct policy *policy;  /* NULL: there is none, or it is not usable */
	struct pins *pins;      /* NULL: there are none, or they are not usable */
	char *problem;          /* why nothing is issued; NULL: fine */
	bool policy_is_missing; /* there is no file, which is not a mistake */
};

/* -1: there is no such file.  Never fails: what is not usable is in `problem`.  One reference. */
struct rules *rules_load(int policy_fd, int pins_fd);
struct rules *rules_hold(struct rules *r);
void rules_release(struct rules *r); /* accepts NULL */
/* One line on what was loaded, and a warning where device keys are the cloud's word. */
void rules_log(const struct rules *r);
