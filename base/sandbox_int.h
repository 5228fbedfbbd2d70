/*
 * Parts of sandbox_enter; for sandbox.c only.
 */
#pragma once

#include "base/sandbox.h"

/* seccomp: from here on the process may make the system calls of its profile only. */
cc_err sandbox_filter_calls(enum sandbox_profile profile) CC_MUST_USE;

/* Landlock: from here on it reaches these paths only.  *ret_abi is 0, and nothing is in force, where
 * the kernel has none. */
cc_err sandbox_limit_paths(enum sandbox_profile profile, const char *const *writable,
	const char *const *readable, int *ret_abi) CC_MUST_USE;
