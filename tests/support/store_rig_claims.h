/*
 * For tests of what becomes of claims: those of all jobs of the store, counted as the invariant checker is told.
 */
#pragma once

#include "tests/support/store_rig_jobs.h"

struct rig_claims {
	struct rig *r;
	size_t open, in_doubt, not_issued, winners;
	size_t ever_in_doubt; /* also where the doubt became exact, or was open again */
	size_t open_leases, taken_over;
};

static inline void rig_count_claims(void *arg, const struct store_check_out *out)
{
	struct rig_claims *c = arg;

	assert_int_equal(out->err, CC_OK);
	for (size_t i = 0; i < out->count; i++) {
		for (size_t k = 0; k < out->rows[i].attempt_count; k++) {
			const struct store_check_attempt *a = &out->rows[i].attempts[k];
			c->open_leases += strcmp(a->end, "open") == 0;
			c->taken_over += strcmp(a->end, "taken_over") == 0;
			for (size_t m = 0; m < a->claim_count; m++) {
				enum store_settlement s = a->claims[m].settlement;
				c->open += s == STORE_UNSETTLED;
				c->in_doubt += s == STORE_IN_DOUBT;
				c->not_issued += s == STORE_NOT_ISSUED;
				c->winners += s == STORE_WINNER;
				c->ever_in_doubt += a->claims[m].was_in_doubt;
			}
		}
	}
	rig_answered(c->r);
}

static inline struct rig_claims rig_claims_of(struct rig *r)
{
	struct rig_claims c = {.r = r};

	r->answered = false;
	store_check(r->store, &(struct store_check_in){.tenant = T, .limit = STORE_LIST_MAX},
		rig_count_claims, &c);
	rig_wait(r);
	return c;
}
