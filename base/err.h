/*
 * Errors: what went wrong, and what that means for whoever asked.
 *
 * Every fallible function of the project returns a cc_err.  The code's category answers "shall it
 * be tried again?"; the detail of the last failure of this thread says what, where and why, in words
 * for an operator.  Library code returns; the boundary that decides logs, once.
 *
 * One clean-up idiom: pointers NULL at the top, `cc_err err = CC_OK`, one `out:` label, frees that
 * accept NULL.  TRY and ENSURE are the only guards, and both end in `goto out`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum cc_category {
	CC_CAT_OK,
	CC_CAT_RETRY_LATER, /* the same again later may succeed */
	CC_CAT_PEER,        /* the other side broke the contract */
	CC_CAT_REJECTED,    /* a rule says no; the same again says no */
	CC_CAT_CONFIG,      /* the administrator has to change something */
	CC_CAT_CRYPTO,
	CC_CAT_STORAGE,
	CC_CAT_INTERNAL,
};

typedef enum cc_err {
#define CC_ERROR(name, category, text) name,
#include "base/errors.def"
#undef CC_ERROR
	CC_ERR_COUNT
} cc_err;

#define CC_MUST_USE          __attribute__((warn_unused_result))
#define CC_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Return `code` after storing the detail for this thread.  Longer than 511 bytes is cut. */
cc_err cc_fail(cc_err code, const char *format, ...) CC_PRINTF(2, 3);

/* Put words in front of the detail of the failure that is on its way up: "journal: " + detail.  The
 * ": " is added when the words do not end in a space.  `code` may be another one than that failure's:
 * the detail stays. */
cc_err cc_fail_in(cc_err code, const char *format, ...) CC_PRINTF(2, 3);

/* The detail of the last cc_fail of this thread, or the code's own text when there is none for it.
 * Valid until the next failure in this thread. */
const char *cc_err_detail(cc_err code);

const char *cc_err_name(cc_err code); /* stable, lower case: "bad_length" */
const char *cc_err_text(cc_err code);
enum cc_category cc_err_category(cc_err code);

/* Translate: errno after a failed call on `what`; the OpenSSL queue, which is drained. */
cc_err cc_fail_errno(const char *what);
cc_err cc_fail_openssl(const char *what);

/* Say that a result does not matter here; `why` is for the reader. */
#define cc_ignore(expr, why)                                                                       \
	do {                                                                                       \
		cc_err cc_ignored_ = (expr);                                                       \
		(void)cc_ignored_;                                                                 \
	} while (0)

#define TRY(expr)                                                                                  \
	do {                                                                                       \
		err = (expr);                                                                      \
		if (err != CC_OK)                                                                  \
			goto out;                                                                  \
	} while (0)

/* `failure` is an expression that yields a cc_err: ENSURE(n <= MAX, cc_fail(CC_TOO_LARGE, ...)). */
#define ENSURE(condition, failure)                                                                 \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			err = (failure);                                                           \
			goto out;                                                                  \
		}                                                                                  \
	} while (0)

/* Log and leave at once: out of memory, an impossible state.  The supervisor starts the role anew. */
void cc_die(const char *format, ...) CC_PRINTF(1, 2) __attribute__((noreturn));
