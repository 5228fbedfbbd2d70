/*
 * CSR: the request that the keyvault itself builds for a job (RFC 2986).
 *
 * Keyvault; pure functions, any thread.  Policy has already decided: EKU and key usage are given as
 * they shall stand, the rest comes from the job's Issue.
 */
#pragma once

#include "base/blob.h"
#include "certq/v1/job.pb-c.h"
#include "keyvault/names.h"
#include <openssl/evp.h>

struct csr_request {
	const Certq__Issue *issue; /* subject, san, sid_form and holder.sid, smime_capabilities */
	const cc_view *eku;        /* dotted OIDs; none: no extension */
	size_t eku_count;
	uint32_t key_usage;    /* RFC 5280 bit n = 1 << n; 0: no extension */
	cc_view template_name; /* 1.3.6.1.4.1.311.20.2 as BMPString; empty: no extension */
	const struct names_template *template_id; /* 1.3.6.1.4.1.311.21.7; NULL: no extension */
};

/* DER, signed with SHA-256 (SHA-384 for P-384, Ed25519 as it is).  Key usage is critical. */
cc_err csr_make(EVP_PKEY *key, const struct csr_request *request, cc_blob *ret_der) CC_MUST_USE;
