/*
 * Names: subjects, alternative names and SIDs, from the job's text to ASN.1, and compared.
 *
 * Keyvault; pure functions, any thread.  Text comes from a signed job and is checked here again:
 * CC_MALFORMED for what is not the syntax, CC_DENIED for a name that would smuggle in a SID.
 * Comparisons are over decoded values as sets, since a CA may reorder and re-encode: strings by
 * their UTF-8 bytes, IP addresses by their bytes, nothing folded.
 */
#pragma once

#include "base/text.h"
#include "certq/v1/job.pb-c.h"
#include <openssl/x509v3.h>

#define NAMES_SID_MAX        184
#define NAMES_SID_URI_PREFIX "tag:microsoft.com,2022-09-14:sid:"
#define NAMES_OID_SID        "1.3.6.1.4.1.311.25.2"
#define NAMES_TEMPLATE_MAX   256u

#define NAMES_OID_TEMPLATE_NAME "1.3.6.1.4.1.311.20.2"
#define NAMES_OID_TEMPLATE_ID   "1.3.6.1.4.1.311.21.7"

/* RFC 4514: all escapes, several attributes in one RDN, #hex values (a DER string).  The text's last
 * RDN is the first of the sequence.  An empty text is an empty name.  Free with X509_NAME_free. */
cc_err names_subject(cc_view text, X509_NAME **ret) CC_MUST_USE;

/* The job's alternative names, with the SID's URI when the form is SID_URI.  NULL when there is none.
 * E-mail and DNS are ASCII, a DNS name may start with "*.", an IP address is text.
 * Free with GENERAL_NAMES_free. */
cc_err names_san(const Certq__Issue *issue, GENERAL_NAMES **ret) CC_MUST_USE;

/* Labels of ASCII letters, digits and hyphens, with dots between them; no wildcard, no dot at the end. */
bool names_is_dns(cc_view name);

/* "S-1-5-21-A-B-C-RID" and the like; the last number is the RID. */
cc_err names_sid_check(cc_view sid, uint32_t *ret_rid) CC_MUST_USE;
/* Extension 1.3.6.1.4.1.311.25.2, not critical ([MS-WCCE] 2.2.2.7.7.4). */
cc_err names_sid_extension(cc_view sid, X509_EXTENSION **ret) CC_MUST_USE;
/* The SID that such an extension carries. */
cc_err names_sid_of(const X509_EXTENSION *extension, cc_blob *ret) CC_MUST_USE;

/* A template by its object identifier and version, as a CA of version 2 templates knows it. */
struct names_template {
	cc_view oid;          /* dotted */
	int64_t major, minor; /* 0 to UINT32_MAX; -1: left out, and no minor without major */
};

/* Extension 1.3.6.1.4.1.311.20.2, a bare BMPString as AD CS writes and reads it, not the SEQUENCE of
 * [MS-WCCE] 2.2.2.7.7.1; and 1.3.6.1.4.1.311.21.7, section 2.2.2.7.7.2.  Neither is critical. */
cc_err names_template_name(cc_view name, X509_EXTENSION **ret) CC_MUST_USE;
cc_err names_template_id(const struct names_template *t, X509_EXTENSION **ret) CC_MUST_USE;
/* Does an extension of that kind say this?  A name may be a bare string or a SEQUENCE of one, ASCII case
 * does not count, since directories fold it; versions that `t` leaves out are not compared.  What does not
 * decode is not equal. */
bool names_template_name_is(X509_EXTENSION *extension, cc_view name);
bool names_template_id_is(X509_EXTENSION *extension, const struct names_template *t);

/* An EKU as text: dotted numbers only.  Free with ASN1_OBJECT_free. */
cc_err names_oid(cc_view text, ASN1_OBJECT **ret) CC_MUST_USE;

/* The same characters; ASCII case does not count.  Nothing is equal to an empty text. */
bool names_string_is(const ASN1_STRING *string, cc_view expected);
bool names_subject_equal(const X509_NAME *a, const X509_NAME *b);
/* Sets; either may be NULL (empty).  On a difference `ret_what` (may be NULL) gets the words. */
bool names_san_equal(const GENERAL_NAMES *expected, const GENERAL_NAMES *found, cc_blob *ret_what);
