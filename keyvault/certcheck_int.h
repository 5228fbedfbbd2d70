/*
 * Shared by the files of certcheck; for them only.
 */
#pragma once

#include "keyvault/certcheck.h"

/* 1 to CERTCHECK_CHAIN_MAX certificates.  Free with certcheck_path_free. */
cc_err certcheck_parse_chain(const cc_view *chain, size_t count, STACK_OF(X509) * *ret) CC_MUST_USE;

/* From the first of `chain` to a root, both in the result, judged at `at_s`. */
cc_err certcheck_path(const STACK_OF(X509) * roots, const STACK_OF(X509) * chain, int64_t at_s,
	STACK_OF(X509) * *ret) CC_MUST_USE;
