/*
 * Ledger: what this runner was ordered to ask for, and what came of it; one CSR for each job.
 *
 * Runner only; the loop's thread.  An LMDB environment of its own in the runner's state directory.
 * The CSR digest of a job is on disk before its CA is asked, and an answer is on disk before it is
 * passed on.  An issued answer is never replaced.  What stays ASKED over a crash is in doubt: only the CA
 * can tell.  Entries live for 90 days: longer than a job, its
 * pending time and the time that it is watched.
 */
#pragma once

#include "base/hash.h"
#include "base/loop.h"

#define LEDGER_KEEP_S (90 * 86400)

struct ledger; /* opaque */

enum ledger_state {
	LEDGER_NEW, /* nothing is known of the job */
	LEDGER_FREE, /* this CSR, and the CA has made nothing for it and will not; here is its word */
	LEDGER_ASKED,   /* the CA was asked, or about to be, and its answer is not known */
	LEDGER_PENDING, /* the CA has the request; here is its answer, with the cookie */
	LEDGER_ISSUED,  /* here is the answer with the certificate; for good */
	LEDGER_OTHER,   /* another CSR was ordered for this job */
};

/* Which entry: all borrowed, copied where it has to last. */
struct ledger_key {
	cc_view tenant;     /* a name */
	cc_view job_id;     /* JOB_ID_SIZE */
	cc_view csr_sha256; /* SHA256_SIZE */
};

/* `answer` (FREE, PENDING, ISSUED) is valid during the call. */
typedef void (*ledger_claimed)(void *arg, cc_err err, enum ledger_state state, cc_view answer);
typedef void (*ledger_recorded)(void *arg, cc_err err);

cc_err ledger_open(const char *dir, struct ledger **ret) CC_MUST_USE;
/* Start the committer's thread: after sandbox_enter.  `fatal`: a commit failed, end the process. */
cc_err ledger_start(struct ledger *l, struct loop *loop, void (*fatal)(void *arg, cc_err err),
	void *arg) CC_MUST_USE;
void ledger_close(struct ledger *l); /* accepts NULL; open claims and records get no call */

/* Reserve the job for this CSR.  The state is the one found.  What was NEW is now ASKED, on disk; with
 * `submits`, because a request is to go out, what was FREE too. */
void ledger_claim(struct ledger *l, const struct ledger_key *key, bool submits, ledger_claimed done,
	void *arg);
/* What the CA answered: LEDGER_FREE, LEDGER_PENDING or LEDGER_ISSUED. */
void ledger_record(struct ledger *l, const struct ledger_key *key, enum ledger_state state,
	cc_view answer, ledger_recorded done, void *arg);
/* Read only.  `ret_answer` is filled for FREE, PENDING and ISSUED. */
cc_err ledger_find(const struct ledger *l, const struct ledger_key *key,
	enum ledger_state *ret_state, cc_blob *ret_answer) CC_MUST_USE;
/* Forget entries that are older than LEDGER_KEEP_S: looks at some thousand and goes on there the next
 * time. */
void ledger_prune(struct ledger *l);
