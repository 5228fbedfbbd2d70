/*
 * Expiries: until when that is good which the connector depends on: its own certificate, the queue's,
 * the statements of job signers, the roots of CAs.
 *
 * Connector process; the loop's thread only.  Each has a name, by which a newer end replaces an older;
 * what nobody has put for a week (a signer that signs no more) is forgotten.  Times are seconds.
 */
#pragma once

#include "base/blob.h"
#include <openssl/x509.h>

#define EXPIRY_MAX    128 /* more are not kept */
#define EXPIRY_KEEP_S (7 * 86400)

struct expiries; /* opaque */

struct expiry {
	char *what;
	int64_t not_after_s, life_s;
	int64_t seen_s; /* when it was last put */
	int64_t told_s; /* of the last event; 0: none */
	unsigned step;  /* how near the end it was then */
};

struct expiries *expiries_new(void);
void expiries_free(struct expiries *e); /* accepts NULL */
/* `not_after_s` below 1: not known, which changes nothing.  `life_s`: from its beginning to its end,
 * where that may be short; 0: long. */
void expiries_put(
	struct expiries *e, const char *what, int64_t not_after_s, int64_t life_s, int64_t now_s);
/* The end of a certificate above the leaf; 0 for a root, which is pinned and known by that, and for
 * what does not decode. */
int64_t expiry_of_issuer(cc_view der);
size_t expiries_count(const struct expiries *e);
const struct expiry *expiries_at(const struct expiries *e, size_t i);
/* Within 30 days of its end, or past it; of a short life only 14, 7 or 1 days that are less than all
 * of it. */
bool expiry_is_near(const struct expiry *x, int64_t now_s);
/* Forget what was not put for long, then log event 5013 for each that has come within 30, 14, 7 or 1
 * days of its end since it was told last, and 5014 once a day for each that is past it.  To be called
 * at least once an hour; gives how many events there were. */
size_t expiries_tell(struct expiries *e, int64_t now_s);
