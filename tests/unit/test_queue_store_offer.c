/*
 * The store's contract for what a connector may say of jobs to a store that went back: only of its own, only of
 * jobs that ask a CA, within bounds, and without harm to who holds them.
 */
#include "tests/support/store_rig_claims.h"
#include "tests/support/store_rig_life.h"

static const char CA[] = "corp-ca";

/* Two connectors, the copy with job 1 READY; both are back, c has to offer. */
static void go_back(struct rig *r, struct rig_conn *c, struct rig_conn *other, enum store_kind kind)
{
	rig_connect(r, c, HQ1);
	rig_connect(r, other, HQ2);
	rig_enqueue_kind(r, 1, kind);
	rig_go_back(r, c);
	rig_come_back(r, other);
}

static void go_back_after_a_takeover(struct rig *r, struct rig_conn *c, struct rig_conn *other)
{
	rig_connect(r, c, HQ1);
	rig_connect(r, other, HQ2);
	rig_enqueue_job(r, 1);
	c->generation = other->generation = store_generation(r->store);
	rig_back_up(r);
	rig_restore(r);
	assert_true(rig_dial(r, c).offer);
	rig_resume(r, c, NULL, 0);
	assert_true(rig_dial(r, other).offer);
	rig_resume(r, other, NULL, 0);
}

/* The other one has got job 1 meanwhile, and claimed it for another request. */
static uint32_t let_other_claim(struct rig *r, struct rig_conn *other)
{
	uint32_t epoch;

	rig_pass(r, 16 * MINUTE);
	epoch = rig_take_one(r, other, 1);
	assert_int_equal(rig_claim_at(r, other, 1, epoch, CA, 41), STORE_GRANTED);
	r->hint_count = 0;
	return epoch;
}

static uint32_t crashes_of(struct rig *r, uint32_t job)
{
	return rig_fetch(r, (struct store_fetch_in){.tenant = T, .job_id = rig_id(r, job)})
		.job.crash_suspect;
}

/* ---- only jobs that ask a CA ------------------------------------------------------------------------ */

static void a_revocation_that_was_never_given_out_is_not_done_by_who_says_so(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_complete_in done;

	go_back(r, &c, &other, STORE_REVOKE);
	done = rig_success(r, HQ1, 1, 1, 5);
	done.bundle = CC_VIEW_NONE;
	assert_int_equal(rig_complete(r, done).result, STORE_UNKNOWN_ATTEMPT);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SAME);
	assert_int_equal(rig_complete(r, done).result, STORE_UNKNOWN_ATTEMPT);
	assert_int_equal(rig_state(r, 1), STORE_READY);
}

static void a_revocation_is_nobodys_because_it_is_listed_as_claimed(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_held held = {.job_id = rig_id(r, 1), .epoch = 1, .claimed = true};

	rig_connect(r, &c, HQ1);
	rig_enqueue_kind(r, 1, STORE_REVOKE);
	rig_back_up(r);
	rig_restore(r);
	rig_redial(r, &c, true);
	rig_resume(r, &c, &held, 1);
	assert_int_equal(r->items[0].result, STORE_LOST);
	assert_int_equal(rig_state(r, 1), STORE_READY);
}

static void a_forgotten_success_without_its_signed_bundle_is_not_taken(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_complete_in done;

	go_back(r, &c, &other, STORE_ISSUE);
	rig_pass(r, 16 * MINUTE);
	done = rig_success(r, HQ1, 1, 1, 5);
	done.bundle = CC_VIEW_NONE;
	assert_int_equal(rig_complete(r, done).result, STORE_UNKNOWN_ATTEMPT);
	assert_int_equal(rig_state(r, 1), STORE_READY);
}

/* ---- epochs ----------------------------------------------------------------------------------------- */

static void an_epoch_that_no_copy_can_be_behind_by_is_not_taken(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_held held = {.job_id = rig_id(r, 1), .epoch = UINT32_MAX, .claimed = true};

	go_back(r, &c, &other, STORE_ISSUE);
	rig_pass(r, 16 * MINUTE);
	assert_int_equal(rig_succeed(r, HQ1, 1, UINT32_MAX, 5), STORE_UNKNOWN_ATTEMPT);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, UINT32_MAX, 0)), STORE_SAME);
	assert_int_equal(r->items[0].epoch, 1);
	rig_redial(r, &c, true);
	rig_resume(r, &c, &held, 1);
	assert_int_equal(r->items[0].result, STORE_LOST);
	rig_end_offer(r, &c);
	assert_int_equal(rig_take_one(r, &c, 1), 2);
}

static void epochs_that_are_raised_again_and_again_come_to_an_end_and_never_to_0(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_offered job = rig_finished(r, 1, 0, 5);

	go_back_after_a_takeover(r, &c, &other);
	job.ca = CC_VIEW_NONE;
	for (uint32_t i = 1; i <= 1025; i++) {
		job.epoch = i << 20;
		rig_offer_one(r, i % 2 == 0 ? &c : &other, job);
	}
	assert_int_equal(r->items[0].result, STORE_UNKNOWN_JOB);
	assert_int_equal(rig_take_over(r, 1, "op"), STORE_NOT_DUE);
	rig_end_offer(r, &c);
	rig_end_offer(r, &other);
	rig_hang_up(r, &c);
	rig_pass(r, 16 * MINUTE);
	assert_int_equal(rig_take_over(r, 1, "op"), STORE_OK);
	assert_int_equal(rig_take_one(r, &other, 1), ((uint32_t)1 << 30) + 1);
}

/* ---- who may offer ---------------------------------------------------------------------------------- */

static void a_connector_that_enrols_offers_nothing_to_a_store_that_never_went_back(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_held held = {.job_id = rig_id(r, 1), .epoch = 1, .claimed = true};
	struct store_offered job = rig_finished(r, 1, 1, 5);

	rig_enqueue_job(r, 1);
	rig_enrol(r, &c, HQ1);
	c.generation = 1;
	assert_false(rig_dial(r, &c).offer);
	rig_resume(r, &c, &held, 1);
	assert_int_equal(r->items[0].result, STORE_LOST);
	assert_int_equal(rig_offer_page(r, &c, &job, 1, true), STORE_INVALID);
	assert_int_equal(rig_state(r, 1), STORE_READY);
}

static void a_connector_that_enrols_anew_after_a_restore_still_offers(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other, anew;

	go_back(r, &c, &other, STORE_ISSUE);
	rig_enrol(r, &anew, HQ1);
	memcpy(anew.journal, c.journal, sizeof(anew.journal));
	anew.generation = c.generation;
	assert_true(rig_dial(r, &anew).offer);
	rig_resume(r, &anew, NULL, 0);
	assert_int_equal(rig_offer_one(r, &anew, rig_finished(r, 1, 1, 5)), STORE_SEND);
}

static void an_offer_that_stands_still_has_ended(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_offered job = rig_finished(r, 1, 1, 5);

	go_back(r, &c, &other, STORE_ISSUE);
	rig_pass(r, 16 * MINUTE);
	assert_int_equal(rig_offer_page(r, &c, NULL, 0, false), STORE_OK);
	rig_sweep_all(r);
	rig_pass(r, 2 * MINUTE); /* the hold after the jump of the clock */
	assert_int_equal(rig_sweep_all(r).result, STORE_OK);
	assert_int_equal(rig_offer_page(r, &c, NULL, 0, false), STORE_OK);
	rig_pass(r, 6 * MINUTE);
	rig_sweep_all(r);
	assert_int_equal(rig_hints(r, STORE_HINT_OFFER_CUT, 0), 1);
	assert_int_equal(rig_offer_page(r, &c, &job, 1, false), STORE_INVALID);
	assert_int_equal(rig_state(r, 1), STORE_READY);
	assert_false(rig_dial(r, &c).offer);
}

/* ---- who holds the job ------------------------------------------------------------------------------ */

static void a_doubt_that_is_offered_leaves_a_parked_job_to_its_holder(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	uint32_t epoch;

	go_back(r, &c, &other, STORE_ISSUE);
	epoch = let_other_claim(r, &other);
	assert_int_equal(rig_park_one(r, &other, 1, epoch), STORE_KEEP);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, epoch + 1, STORE_IN_DOUBT)),
		STORE_SAME);
	assert_int_equal(rig_state(r, 1), STORE_PARKED);
	assert_string_equal(r->items[0].connector, "hq-2");
	assert_int_equal(rig_hints(r, STORE_HINT_GONE, 1), 0);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	/* the next lease takes another number than the one that is on record */
	assert_int_equal(rig_take_over(r, 1, "op"), STORE_OK);
	assert_int_equal(rig_take_one(r, &other, 1), epoch + 2);
	assert_int_equal(r->items[0].prior, 2);
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch + 1, CA, STORE_NOT_ISSUED), STORE_OK);
}

static void a_success_that_is_offered_of_a_parked_job_wins_when_it_comes(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	uint32_t epoch;

	go_back(r, &c, &other, STORE_ISSUE);
	epoch = let_other_claim(r, &other);
	assert_int_equal(rig_park_one(r, &other, 1, epoch), STORE_KEEP);
	for (int i = 0; i < 3; i++) { /* once, however often it is cut off */
		assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, epoch, 5)), STORE_SEND);
		assert_int_equal(r->items[0].epoch, epoch + 1);
	}
	assert_int_equal(rig_state(r, 1), STORE_PARKED);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch + 1, 5), STORE_STORED);
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->result, STORE_ALREADY_DONE);
	assert_string_equal(rig_last_hint(r, STORE_HINT_GONE)->connector, "hq-2");
	assert_int_equal(
		rig_settle_at(r, HQ1, 1, epoch + 1, CA, STORE_WINNER), STORE_DUPLICATE_SAME);
}

static void a_success_that_is_offered_of_a_claimed_job_is_a_takeover(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	uint32_t epoch;

	go_back(r, &c, &other, STORE_ISSUE);
	epoch = let_other_claim(r, &other);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, epoch, 5)), STORE_SEND);
	assert_int_equal(rig_hints(r, STORE_HINT_TAKEN_OVER, 1), 1);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->epoch, epoch);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_string_equal(r->items[0].connector, "hq-1");
}

static void a_leased_job_that_another_lists_as_claimed_is_lost_to_its_holder(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_held held = {.job_id = rig_id(r, 1), .epoch = 3, .claimed = true};

	go_back(r, &c, &other, STORE_ISSUE);
	rig_pass(r, 16 * MINUTE);
	assert_int_equal(rig_take_one(r, &other, 1), 1);
	rig_redial(r, &c, false);
	rig_resume(r, &c, &held, 1);
	assert_int_equal(r->items[0].result, STORE_KEEP);
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->result, STORE_LOST);
	assert_string_equal(rig_last_hint(r, STORE_HINT_GONE)->connector, "hq-2");
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->epoch, 1);
}

/* The copy has job 1 leased to the other, who was away when it expired; c has done it since. */
static void what_the_copy_knows_of_a_job_waits_for_the_offer_that_it_is_done(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_held held = {.job_id = rig_id(r, 1), .epoch = 1};

	rig_connect(r, &c, HQ1);
	rig_connect(r, &other, HQ2);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_take_one(r, &other, 1), 1);
	c.generation = other.generation = store_generation(r->store);
	rig_back_up(r);
	rig_restore(r);
	rig_redial(r, &other, false);
	rig_resume(r, &other, &held, 1);
	assert_int_equal(r->items[0].result, STORE_KEEP);
	assert_int_equal(rig_claim_at(r, &other, 1, 1, CA, 41), STORE_ON_HOLD);
	assert_int_equal(rig_succeed(r, HQ2, 1, 1, 7), STORE_ON_HOLD);
	assert_int_equal(rig_fail(r, HQ2, 1, 1, STORE_UNSETTLED), STORE_ON_HOLD);
	assert_int_equal(rig_offer_page(r, &other, NULL, 0, true), STORE_OK);
	assert_int_equal(rig_claim_at(r, &other, 1, 1, CA, 41), STORE_ON_HOLD); /* c is missing */

	rig_come_back(r, &c);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 2, 5)), STORE_SEND);
	assert_int_equal(rig_offer_page(r, &c, NULL, 0, true), STORE_OK);
	assert_int_equal(rig_claim_at(r, &other, 1, 1, CA, 41), STORE_LOST);
	assert_int_equal(rig_succeed(r, HQ2, 1, 1, 7), STORE_ON_HOLD); /* c's is on its way */
	assert_int_equal(rig_succeed(r, HQ1, 1, 2, 5), STORE_STORED);
	assert_int_equal(rig_succeed(r, HQ2, 1, 1, 7), STORE_ALREADY_DONE);
}

/* ---- two requests, and nothing that says why -------------------------------------------------------- */

/* As it was made by the other one, who took the job over from c. */
static struct store_offered others_success(struct rig *r)
{
	struct store_offered success = rig_finished(r, 1, 2, 7);

	success.csr_sha256 = success.spki_sha256 = rig_digest(41);
	success.txid = cc_view_part(rig_digest(41), 0, 16);
	return success;
}

/* However the two came: the one that the job is not done by has a record. */
static void assert_one_was_in_doubt(struct rig *r)
{
	struct rig_claims claims;

	assert_int_equal(rig_succeed(r, HQ2, 1, 2, 7), STORE_STORED);
	claims = rig_claims_of(r);
	assert_int_equal(claims.winners, 1);
	assert_int_equal(claims.open, 1);
	assert_int_equal(claims.ever_in_doubt, 1);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	assert_int_equal(
		rig_settle_at(r, HQ1, 1, r->items[0].epoch, CA, STORE_ORPHAN_REVOKED), STORE_OK);
}

static void an_open_claim_before_the_success_of_another_was_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back_after_a_takeover(r, &c, &other);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	assert_int_equal(rig_claims_of(r).open, 1);
	assert_int_equal(rig_offer_one(r, &other, others_success(r)), STORE_SEND);
	assert_int_equal(r->items[0].epoch, 2);
	r->items[0].epoch = 1;
	assert_one_was_in_doubt(r);
}

static void an_open_claim_after_the_success_of_another_was_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back_after_a_takeover(r, &c, &other);
	assert_int_equal(rig_offer_one(r, &other, others_success(r)), STORE_SEND);
	assert_int_equal(r->items[0].epoch, 2);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	assert_int_equal(r->items[0].epoch, 1);
	assert_one_was_in_doubt(r);
}

static void an_orphan_that_is_offered_of_a_job_that_goes_on_was_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back(r, &c, &other, STORE_ISSUE);
	assert_int_equal(
		rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, STORE_ORPHAN_REVOKED)), STORE_SAME);
	assert_int_equal(rig_claims_of(r).ever_in_doubt, 1);
	assert_int_equal(rig_claims_of(r).open + rig_claims_of(r).in_doubt, 0);
}

static void the_claim_of_a_job_that_its_connector_still_has_was_never_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_held held = {.job_id = rig_id(r, 1), .epoch = 1, .claimed = true};

	go_back(r, &c, &other, STORE_ISSUE);
	rig_redial(r, &c, true);
	rig_resume(r, &c, &held, 1);
	assert_int_equal(r->items[0].result, STORE_KEEP);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	assert_int_equal(rig_claims_of(r).open, 1);
	assert_int_equal(rig_claims_of(r).ever_in_doubt, 0);
}

/* ---- one connector, more than one claim ------------------------------------------------------------- */

/* The copy has job 1 with c under epoch 1, claimed at `ca` if there is one; c is back, and has not listed it. */
static void go_back_with_a_lease(struct rig *r, struct rig_conn *c, const char *ca)
{
	rig_connect(r, c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_take_one(r, c, 1), 1);
	if (ca != NULL)
		assert_int_equal(rig_claim_at(r, c, 1, 1, ca, 40), STORE_GRANTED);
	c->generation = store_generation(r->store);
	rig_back_up(r);
	rig_restore(r);
	r->hint_count = 0;
	assert_true(rig_dial(r, c).offer);
}

static void assert_only_the_success_is_settled_exactly(struct rig *r, uint32_t epoch)
{
	struct rig_claims claims;

	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 5), STORE_STORED);
	claims = rig_claims_of(r);
	assert_int_equal(claims.winners, 1);
	assert_int_equal(claims.in_doubt, 1);
	assert_int_equal(claims.open, 0);
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch, CA, STORE_WINNER), STORE_DUPLICATE_SAME);
}

static void a_success_at_another_ca_leaves_the_claim_of_the_copy_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	go_back_with_a_lease(r, &c, "z-ca");
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SEND);
	assert_int_equal(r->items[0].epoch, 1);
	assert_only_the_success_is_settled_exactly(r, 1);
}

static void a_success_of_a_later_lease_leaves_the_claim_of_the_copy_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	go_back_with_a_lease(r, &c, "z-ca");
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 2, 5)), STORE_SEND);
	assert_int_equal(r->items[0].epoch, 2);
	assert_only_the_success_is_settled_exactly(r, 2);
}

/* The store went back twice: the first time the claim was offered as open, the second time as a success. */
static void a_success_that_gets_a_new_epoch_leaves_no_open_claim_under_the_old_one(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back(r, &c, &other, STORE_ISSUE);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	rig_end_offer(r, &c);
	rig_pass(r, 16 * MINUTE);
	assert_int_equal(rig_take_one(r, &other, 1), 2);
	rig_go_back(r, &c);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SEND);
	assert_int_equal(r->items[0].epoch, 3);
	assert_only_the_success_is_settled_exactly(r, 3);
}

/* It was asked again after the copy was made. */
static void a_success_of_a_claim_that_the_copy_has_as_not_issued_is_its_winner(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
	assert_int_equal(rig_claim_one(r, &c, 1, 1), STORE_GRANTED);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, CA, STORE_NOT_ISSUED), STORE_OK);
	rig_go_back(r, &c);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SEND);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_STORED);
	assert_int_equal(rig_claims_of(r).winners, 1);
	assert_int_equal(rig_claims_of(r).not_issued, 0);
}

/* ---- the copy has it leased, its connector has it claimed ------------------------------------------- */

static void a_leased_job_with_an_open_claim_does_not_go_to_another_without_a_takeover(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_held held = {.job_id = rig_id(r, 1), .epoch = 1, .claimed = true};

	go_back_with_a_lease(r, &c, NULL);
	rig_resume(r, &c, &held, 1);
	assert_int_equal(r->items[0].result, STORE_KEEP);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	rig_end_offer(r, &c);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_int_equal(rig_claims_of(r).ever_in_doubt, 0);
	rig_hang_up(r, &c);
	rig_pass(r, 5 * MINUTE);
	rig_sweep_all(r);
	rig_pass(r, 2 * MINUTE); /* the hold after the jump of the clock */
	assert_int_equal(rig_sweep_all(r).result, STORE_OK);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
}

static void a_leased_job_of_which_only_an_open_claim_is_left_is_held(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	go_back_with_a_lease(r, &c, NULL);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	rig_end_offer(r, &c);
	assert_int_equal(rig_state(r, 1), STORE_HELD);
	assert_int_equal(rig_claims_of(r).in_doubt, 1);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, CA, STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_state(r, 1), STORE_READY);
}

static void an_orphan_that_is_offered_of_a_leased_job_was_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	go_back_with_a_lease(r, &c, NULL);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(
		rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, STORE_ORPHAN_REVOKED)), STORE_SAME);
	rig_end_offer(r, &c);
	assert_int_equal(rig_state(r, 1), STORE_READY);
	assert_int_equal(rig_claims_of(r).ever_in_doubt, 1);
	assert_int_equal(rig_claims_of(r).open + rig_claims_of(r).in_doubt, 0);
}

/* It was taken over after the copy was made; nobody works on it now. */
static void a_claimed_job_that_is_only_cleared_up_goes_on_when_that_is_done(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_held held = {
		.job_id = rig_id(r, 1), .epoch = 1, .claimed = true, .settling = true};

	go_back_with_a_lease(r, &c, CA);
	rig_resume(r, &c, &held, 1);
	assert_int_equal(r->items[0].result, STORE_LOST);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	rig_end_offer(r, &c);
	assert_int_equal(rig_state(r, 1), STORE_HELD);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, CA, STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_state(r, 1), STORE_READY);
}

/* Its success has no claim to be known by. */
static void a_lease_that_a_success_is_asked_for_under_is_open_again(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_offered job = rig_finished(r, 1, 1, 5);

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
	assert_int_equal(rig_nack(r, rig_nack_in(r, &c, 1, 1, STORE_NACK_BUSY)).result, STORE_OK);
	rig_go_back(r, &c);
	job.ca = CC_VIEW_NONE;
	assert_int_equal(rig_offer_one(r, &c, job), STORE_SEND);
	assert_int_equal(r->items[0].epoch, 1);
	rig_end_offer(r, &c);
	rig_hang_up(r, &c);
	rig_pass(r, 16 * MINUTE);
	assert_int_equal(rig_take_over(r, 1, "op"), STORE_OK);
	assert_int_equal(rig_claims_of(r).taken_over, 1);
}

static void the_lease_of_a_claim_that_is_only_on_record_is_over(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back(r, &c, &other, STORE_ISSUE);
	assert_int_equal(
		rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, STORE_UNSETTLED)), STORE_SAME);
	assert_int_equal(rig_state(r, 1), STORE_READY);
	assert_int_equal(rig_claims_of(r).open, 1);
	assert_int_equal(rig_claims_of(r).open_leases, 0);
}

/* ---- what else may not decide before the offers ----------------------------------------------------- */

static void a_job_is_not_given_back_as_dead_before_all_offers_have_come(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_held held = {.job_id = rig_id(r, 1), .epoch = 1};

	rig_connect(r, &c, HQ1);
	rig_connect(r, &other, HQ2);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_take_one(r, &other, 1), 1);
	c.generation = other.generation = store_generation(r->store);
	rig_back_up(r);
	rig_restore(r);
	rig_redial(r, &other, false);
	rig_resume(r, &other, &held, 1);
	assert_int_equal(
		rig_nack(r, rig_nack_in(r, &other, 1, 1, STORE_NACK_POISON)).result, STORE_OK);
	assert_int_equal(rig_state(r, 1), STORE_READY);
	rig_come_back(r, &c);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 2, 5)), STORE_SEND);
	assert_int_equal(rig_succeed(r, HQ1, 1, 2, 5), STORE_STORED);
}

static void a_forgotten_success_waits_for_the_offer_of_its_claim(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back(r, &c, &other, STORE_ISSUE);
	rig_pass(r, 16 * MINUTE); /* nobody waits for c any more */
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_ON_HOLD);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_STORED);
	assert_int_equal(rig_claims_of(r).winners, 1);
}

/* ---- the same claim, offered again ------------------------------------------------------------------ */

static void an_open_claim_that_gets_another_epoch_is_told_it_and_its_success_counts(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back(r, &c, &other, STORE_ISSUE);
	rig_pass(r, 16 * MINUTE);
	assert_int_equal(rig_take_one(r, &other, 1), 1);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	assert_int_equal(r->items[0].epoch, 2);
	assert_int_equal(rig_succeed(r, HQ1, 1, 2, 5), STORE_STORED);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 2, CA, STORE_WINNER), STORE_DUPLICATE_SAME);
}

/* The copy knows the lease, and another has got the job since: without the claim it would ask nobody. */
static void a_leased_job_comes_again_with_the_claim_that_its_holder_did_not_get(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	rig_connect(r, &c, HQ1);
	rig_connect(r, &other, HQ2);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
	c.generation = store_generation(r->store);
	rig_back_up(r);
	rig_restore(r);
	rig_pass(r, 16 * MINUTE);
	rig_sweep_all(r);
	rig_come_back(r, &other);
	assert_int_equal(rig_take_one(r, &other, 1), 2);
	assert_true(rig_dial(r, &c).offer);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	assert_int_equal(r->items[0].epoch, 1);
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->result, STORE_LOST);
	assert_int_equal(rig_take_one(r, &other, 1), 3);
	assert_int_equal(r->items[0].prior, 1);
}

static void a_success_that_is_offered_again_keeps_its_epoch_and_its_claim(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	uint32_t epoch;

	go_back(r, &c, &other, STORE_ISSUE);
	epoch = let_other_claim(r, &other);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, epoch, 5)), STORE_SEND);
		assert_int_equal(r->items[0].epoch, epoch + 1);
		rig_redial(r, &c, true);
		rig_resume(r, &c, NULL, 0);
	}
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch + 1, 5), STORE_STORED);
	assert_int_equal(crashes_of(r, 1), 0);
}

static void a_doubt_that_is_offered_twice_is_told_once(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back(r, &c, &other, STORE_ISSUE);
	assert_int_equal(
		rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, STORE_IN_DOUBT)), STORE_SAME);
	assert_int_equal(
		rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, STORE_IN_DOUBT)), STORE_SAME);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
}

/* It has no claim to be known by. */
static void a_success_is_asked_for_under_one_epoch_whatever_the_next_offer_of_it_says(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_offered job = rig_finished(r, 1, 0, 5);

	go_back(r, &c, &other, STORE_ISSUE);
	job.ca = CC_VIEW_NONE;
	for (job.epoch = 7; job.epoch < 20; job.epoch += 3) {
		assert_int_equal(rig_offer_one(r, &c, job), STORE_SEND);
		assert_int_equal(r->items[0].epoch, 7);
	}
}

/* ---- how much --------------------------------------------------------------------------------------- */

static void no_more_claims_of_a_job_are_taken_than_its_next_holder_hears_of(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_offered jobs[70];
	char names[70][8];

	go_back(r, &c, &other, STORE_ISSUE);
	for (uint32_t i = 0; i < 70; i++) {
		jobs[i] = rig_only_claimed(r, 1, 1 + i / 7, STORE_IN_DOUBT);
		snprintf(names[i], sizeof(names[i]), "ca-%u", i);
		jobs[i].ca = cc_view_text(names[i]);
	}
	assert_int_equal(rig_offer_page(r, &c, jobs, 70, false), STORE_OK);
	assert_int_equal(rig_hints(r, STORE_HINT_OFFER_CUT, 1), 1);
	rig_end_offer(r, &c);
	assert_int_equal(rig_take(r, &c, 1), 1);
	assert_int_equal(r->items[0].prior, 64);
}

static void a_connector_that_offers_too_many_unknown_jobs_takes_no_room_of_another(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	r->config.offers_kept_max = 2;
	go_back(r, &c, &other, STORE_ISSUE);
	other.generation = c.generation;
	for (uint32_t job = 11; job <= 14; job++)
		assert_int_equal(
			rig_offer_one(r, &c, rig_finished(r, job, 1, 5)), STORE_UNKNOWN_JOB);
	/* again: it has its room already */
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 11, 1, 5)), STORE_UNKNOWN_JOB);
	assert_true(rig_hints(r, STORE_HINT_OFFER_CUT, 0) > 0);
	rig_enqueue_job(r, 12);
	rig_enqueue_job(r, 13);
	assert_int_equal(rig_state(r, 12), STORE_CLAIMED);
	assert_int_equal(rig_state(r, 13), STORE_READY);
	/* what was taken made room again */
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 15, 1, 5)), STORE_UNKNOWN_JOB);
	rig_enqueue_job(r, 15);
	assert_int_equal(rig_state(r, 15), STORE_CLAIMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_revocation_that_was_never_given_out_is_not_done_by_who_says_so),
		RIG_TEST(a_revocation_is_nobodys_because_it_is_listed_as_claimed),
		RIG_TEST(a_forgotten_success_without_its_signed_bundle_is_not_taken),
		RIG_TEST(an_epoch_that_no_copy_can_be_behind_by_is_not_taken),
		RIG_TEST(epochs_that_are_raised_again_and_again_come_to_an_end_and_never_to_0),
		RIG_TEST(a_connector_that_enrols_offers_nothing_to_a_store_that_never_went_back),
		RIG_TEST(a_connector_that_enrols_anew_after_a_restore_still_offers),
		RIG_TEST(an_offer_that_stands_still_has_ended),
		RIG_TEST(a_doubt_that_is_offered_leaves_a_parked_job_to_its_holder),
		RIG_TEST(a_success_that_is_offered_of_a_parked_job_wins_when_it_comes),
		RIG_TEST(a_success_that_is_offered_of_a_claimed_job_is_a_takeover),
		RIG_TEST(a_leased_job_that_another_lists_as_claimed_is_lost_to_its_holder),
		RIG_TEST(what_the_copy_knows_of_a_job_waits_for_the_offer_that_it_is_done),
		RIG_TEST(an_open_claim_before_the_success_of_another_was_in_doubt),
		RIG_TEST(an_open_claim_after_the_success_of_another_was_in_doubt),
		RIG_TEST(an_orphan_that_is_offered_of_a_job_that_goes_on_was_in_doubt),
		RIG_TEST(the_claim_of_a_job_that_its_connector_still_has_was_never_in_doubt),
		RIG_TEST(a_success_at_another_ca_leaves_the_claim_of_the_copy_in_doubt),
		RIG_TEST(a_success_of_a_later_lease_leaves_the_claim_of_the_copy_in_doubt),
		RIG_TEST(a_success_that_gets_a_new_epoch_leaves_no_open_claim_under_the_old_one),
		RIG_TEST(a_success_of_a_claim_that_the_copy_has_as_not_issued_is_its_winner),
		RIG_TEST(a_leased_job_with_an_open_claim_does_not_go_to_another_without_a_takeover),
		RIG_TEST(a_leased_job_of_which_only_an_open_claim_is_left_is_held),
		RIG_TEST(an_orphan_that_is_offered_of_a_leased_job_was_in_doubt),
		RIG_TEST(a_claimed_job_that_is_only_cleared_up_goes_on_when_that_is_done),
		RIG_TEST(a_lease_that_a_success_is_asked_for_under_is_open_again),
		RIG_TEST(the_lease_of_a_claim_that_is_only_on_record_is_over),
		RIG_TEST(a_job_is_not_given_back_as_dead_before_all_offers_have_come),
		RIG_TEST(a_forgotten_success_waits_for_the_offer_of_its_claim),
		RIG_TEST(an_open_claim_that_gets_another_epoch_is_told_it_and_its_success_counts),
		RIG_TEST(a_leased_job_comes_again_with_the_claim_that_its_holder_did_not_get),
		RIG_TEST(a_success_that_is_offered_again_keeps_its_epoch_and_its_claim),
		RIG_TEST(a_doubt_that_is_offered_twice_is_told_once),
		RIG_TEST(a_success_is_asked_for_under_one_epoch_whatever_the_next_offer_of_it_says),
		RIG_TEST(no_more_claims_of_a_job_are_taken_than_its_next_holder_hears_of),
		RIG_TEST(a_connector_that_offers_too_many_unknown_jobs_takes_no_room_of_another),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
