/*
 * Pins: pins.yaml, what this host believes without asking: who it is, the tenant's job root, and the
 * root certificates of each CA.
 *
 * Keyvault; immutable once parsed, any thread.  The file may be there without an identity (a CA was
 * made before the enrolment): then nothing is enrolled and no job can be verified.
 */
#pragma once

#include "base/blob.h"
#include <openssl/x509.h>

struct pins; /* opaque */

#define PINS_FILE_MAX (1024u * 1024u)

cc_err pins_parse(cc_view text, const char *name, struct pins **ret) CC_MUST_USE;
void pins_free(struct pins *p); /* accepts NULL */

bool pins_are_enrolled(const struct pins *p); /* accepts NULL */
cc_view pins_tenant(const struct pins *p);
cc_view pins_connector_id(const struct pins *p);
const cc_view *pins_groups(const struct pins *p, size_t *ret_count);
cc_view pins_job_root(const struct pins *p); /* SPKI, DER */
/* NULL when nothing is pinned for this CA. */
const STACK_OF(X509) * pins_roots(const struct pins *p, cc_view ca);
