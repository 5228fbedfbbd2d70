/*
 * Certcheck: does what the CA sent fit the job exactly?
 *
 * Keyvault; pure function, any thread.  Every refusal is CC_MISMATCH with words of its own in the
 * detail (CC_MALFORMED for what does not parse, CC_TOO_LARGE beyond a limit): the CA and the path to it
 * are not believed.
 */
#pragma once

#include "base/hash.h"
#include "certq/v1/job.pb-c.h"
#include "keyvault/names.h"
#include <openssl/x509.h>

#define CERTCHECK_CERT_MAX         (16u * 1024u)
#define CERTCHECK_CHAIN_MAX        10
#define CERTCHECK_AUTH_LEVEL       2    /* 112 bits: RSA of 2048 and more, no SHA-1 */
#define CERTCHECK_SKEW_S           300  /* not_before may be this far ahead */
#define CERTCHECK_VALIDITY_SLACK_S 3600 /* CAs set not_before back, for clocks that lag */

struct certcheck_rules {
	const uint8_t *spki_sha256; /* the ticket's key, SHA256_SIZE bytes */
	const Certq__Issue *issue;  /* subject, san, sid */
	const cc_view *eku;         /* all that the template allows, dotted OIDs */
	size_t eku_count;
	uint32_t key_usage;  /* all bits that the template allows */
	uint64_t validity_s; /* asked for or, when not, the policy's; > 0 */
	/* What the request said of its template: nothing, its name, or its identifier.  A CA's extension of
	 * the same kind has to say the same; one of another kind, or none, is not compared. */
	cc_view template_name; /* empty: not said */
	const struct names_template
		*template_id;         /* NULL: not said; a version left out is not compared */
	const STACK_OF(X509) * roots; /* pinned for this CA */
	int64_t now_s;
};

/* `chain`: DER, leaf first, the rest in any order; more than the path is ignored.
 * `ret_path`: issuing CA first, pinned root last, without the leaf.
 * Free with X509_free and certcheck_path_free. */
cc_err certcheck_issued(const struct certcheck_rules *rules, const cc_view *chain, size_t count,
	X509 **ret_leaf, STACK_OF(X509) * *ret_path) CC_MUST_USE;

/* For a chain job: the path from the first certificate, a CA's, up to a pinned root. */
cc_err certcheck_ca_chain(const STACK_OF(X509) * roots, const cc_view *chain, size_t count,
	int64_t now_s, STACK_OF(X509) * *ret_path) CC_MUST_USE;

/* Nothing about the first certificate but that it comes from a pinned root.  Free with X509_free. */
cc_err certcheck_origin(const STACK_OF(X509) * roots, const cc_view *chain, size_t count,
	int64_t now_s, X509 **ret_leaf) CC_MUST_USE;

/* Issuer (DER) and serial (the INTEGER's content octets): by them a revocation names a certificate. */
cc_err certcheck_name(
	const X509 *certificate, cc_blob *ret_issuer, cc_blob *ret_serial) CC_MUST_USE;

void certcheck_path_free(STACK_OF(X509) * path); /* accepts NULL */

/* One certificate, the whole of the bytes and nothing after it. */
cc_err certcheck_parse(cc_view der, X509 **ret) CC_MUST_USE;
cc_err certcheck_der(const X509 *certificate, cc_blob *ret) CC_MUST_USE;
void certcheck_spki_sha256(const X509 *certificate, uint8_t ret[SHA256_SIZE]);
