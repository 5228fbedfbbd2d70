/*
 * The store's contract for a result that it asked for after it went back: what it keeps from others meanwhile, for
 * how long, and what becomes of the job when it does not come.
 */
#include "tests/support/store_rig_claims.h"
#include "tests/support/store_rig_life.h"

/* Job 1 was READY in the copy; the other one has claimed it since, and c says that it has done it. */
static uint32_t call_for_result(struct rig *r, struct rig_conn *c, struct rig_conn *other)
{
	uint32_t epoch;

	rig_connect(r, c, HQ1);
	rig_connect(r, other, HQ2);
	rig_enqueue_job(r, 1);
	rig_go_back(r, c);
	rig_come_back(r, other);
	rig_pass(r, 16 * MINUTE);
	epoch = rig_take_one(r, other, 1);
	assert_int_equal(rig_claim_at(r, other, 1, epoch, "corp-ca", 41), STORE_GRANTED);
	assert_int_equal(rig_offer_one(r, c, rig_finished(r, 1, epoch, 5)), STORE_SEND);
	assert_int_equal(r->items[0].epoch, epoch + 1);
	return epoch;
}

static void who_has_not_what_was_offered_does_not_end_what_another_has_in_hand(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	uint32_t epoch = call_for_result(r, &c, &other);

	assert_int_equal(rig_fail(r, HQ1, 1, epoch + 1, STORE_IN_DOUBT), STORE_STORED);
	assert_int_equal(rig_state(r, 1), STORE_READY);
	assert_int_equal(rig_succeed(r, HQ2, 1, epoch, 7), STORE_STORED);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
	assert_int_equal(rig_claims_of(r).winners, 1);
	assert_int_equal(rig_claims_of(r).in_doubt, 1);
}

static void who_has_not_what_was_offered_ends_the_job_where_no_other_claim_may_have_made_anything(
	void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	uint32_t epoch = call_for_result(r, &c, &other);

	assert_int_equal(rig_settle_at(r, HQ2, 1, epoch, "corp-ca", STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_fail(r, HQ1, 1, epoch + 1, STORE_IN_DOUBT), STORE_STORED);
	assert_int_equal(rig_state(r, 1), STORE_DEAD);
}

static void a_result_that_was_offered_and_does_not_come_keeps_others_waiting_for_a_time(
	void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	uint32_t epoch = call_for_result(r, &c, &other);

	rig_pass(r, 14 * MINUTE);
	assert_int_equal(rig_succeed(r, HQ2, 1, epoch, 7), STORE_ON_HOLD);
	rig_redial(r, &c, true); /* that it is offered again does not begin anew */
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, epoch + 1, 5)), STORE_SEND);
	rig_pass(r, 2 * MINUTE);
	assert_int_equal(rig_succeed(r, HQ2, 1, epoch, 7), STORE_STORED);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch + 1, 5), STORE_ALREADY_DONE);
	assert_int_equal(rig_claims_of(r).winners, 1);
}

/* Its claim of epoch 1 is in doubt by a takeover, and it has the job again under epoch 2. */
static void lose_and_take_again(struct rig *r, struct rig_conn *c)
{
	rig_connect(r, c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_take_one(r, c, 1), 1);
	assert_int_equal(rig_claim_one(r, c, 1, 1), STORE_GRANTED);
	rig_hang_up(r, c);
	rig_pass(r, 16 * MINUTE);
	assert_int_equal(rig_take_over(r, 1, "op"), STORE_OK);
	rig_come_back(r, c);
	assert_int_equal(rig_take_one(r, c, 1), 2);
}

/* Its journal was put back to a copy from before it won. */
static void the_winner_again_under_an_earlier_lease_stands_at_one_claim(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct rig_claims claims;

	lose_and_take_again(r, &c);
	assert_int_equal(rig_claim_one(r, &c, 1, 2), STORE_GRANTED);
	assert_int_equal(rig_succeed(r, HQ1, 1, 2, 7), STORE_STORED);
	assert_int_equal(rig_claims_of(r).in_doubt, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, 2, 7), STORE_DUPLICATE_SAME);
	assert_int_equal(rig_claims_of(r).in_doubt, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_DUPLICATE_SAME);
	claims = rig_claims_of(r);
	assert_int_equal(claims.winners, 1);
	assert_int_equal(claims.not_issued, 1);
	assert_int_equal(claims.open + claims.in_doubt, 0);
}

/* ---- the same request of a later run ------------------------------------------------------------------- */

/* The copy has what became of the first run, in which job 1 failed.  Since then it ran again: its connector asks the
 * same CA for the same, under epoch 2. */
static void run_again(struct rig *r, struct rig_conn *c, enum store_settlement first)
{
	rig_connect(r, c, HQ1);
	rig_enqueue_job(r, 1);
	c->generation = store_generation(r->store);
	assert_int_equal(rig_take_one(r, c, 1), 1);
	assert_int_equal(rig_claim_one(r, c, 1, 1), STORE_GRANTED);
	assert_int_equal(rig_fail(r, HQ1, 1, 1, first), STORE_STORED);
	assert_int_equal(rig_replay(r, (struct store_replay_in){.tenant = T,
					       .job_id = rig_id(r, 1),
					       .by = cc_view_text("ann")})
				 .result,
		STORE_OK);
	rig_back_up(r);
	rig_restore(r);
	assert_true(rig_dial(r, c).offer);
}

static void assert_open_again(struct rig *r, enum store_state state)
{
	assert_int_equal(r->items[0].epoch, 2);
	assert_int_equal(rig_claims_of(r).open + rig_claims_of(r).in_doubt, 1);
	assert_int_equal(rig_state(r, 1), state);
}

static void a_request_that_made_nothing_once_is_open_again_where_a_later_run_asks_for_it(
	void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	run_again(r, &c, STORE_NOT_ISSUED);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 2, 0)), STORE_SAME);
	assert_open_again(r, STORE_READY);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 2, 0)), STORE_SAME);
	assert_open_again(r, STORE_READY);
	rig_end_offer(r, &c);
	rig_connect(r, &other, HQ2);
	assert_int_equal(rig_take_one(r, &other, 1), 3);
	assert_int_equal(r->items[0].prior, 1);
}

static void an_orphans_request_is_open_again_where_a_later_run_asks_for_it(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	run_again(r, &c, STORE_ORPHAN_KEPT);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 2, 0)), STORE_SAME);
	assert_open_again(r, STORE_READY);
}

static void a_later_runs_request_stays_the_lease_that_was_listed(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_held held = {.job_id = rig_id(r, 1), .epoch = 2, .claimed = true};

	run_again(r, &c, STORE_NOT_ISSUED);
	rig_resume(r, &c, &held, 1);
	assert_int_equal(r->items[0].result, STORE_KEEP);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 2, 0)), STORE_SAME);
	assert_open_again(r, STORE_CLAIMED);
	assert_int_equal(rig_claims_of(r).ever_in_doubt, 0);
	rig_end_offer(r, &c);
	assert_int_equal(rig_fail(r, HQ1, 1, 2, STORE_NOT_ISSUED), STORE_STORED);
	assert_int_equal(rig_claims_of(r).not_issued, 2);
}

/* Otherwise nobody could end the lease: its connector would speak of another. */
static void a_lease_that_was_listed_stays_beside_a_doubt_of_the_same_request(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_held held = {.job_id = rig_id(r, 1), .epoch = 2, .claimed = true};

	run_again(r, &c, STORE_IN_DOUBT);
	rig_resume(r, &c, &held, 1);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 2, 0)), STORE_SAME);
	assert_int_equal(r->items[0].epoch, 2);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	assert_int_equal(r->items[0].epoch, 1);
	rig_end_offer(r, &c);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, "corp-ca", STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_fail(r, HQ1, 1, 2, STORE_NOT_ISSUED), STORE_STORED);
	assert_int_equal(rig_claims_of(r).not_issued, 2);
	assert_int_equal(rig_state(r, 1), STORE_DEAD);
}

static void a_later_runs_result_is_asked_for_with_a_claim_of_its_own(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	run_again(r, &c, STORE_NOT_ISSUED);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 2, 5)), STORE_SEND);
	assert_open_again(r, STORE_CLAIMED);
	assert_int_equal(rig_succeed(r, HQ1, 1, 2, 5), STORE_STORED);
	assert_int_equal(rig_claims_of(r).winners, 1);
	assert_int_equal(rig_claims_of(r).not_issued, 1);
}

/* The first claim was lost to a takeover, and its certificate is what the second lease is answered with. */
static void the_winner_of_a_lease_without_a_claim_stands_at_the_claim_that_made_it(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	lose_and_take_again(r, &c);
	assert_int_equal(rig_succeed(r, HQ1, 1, 2, 7), STORE_STORED);
	assert_int_equal(rig_claims_of(r).winners, 0);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_DUPLICATE_SAME);
	assert_int_equal(rig_claims_of(r).winners, 1);
	assert_int_equal(rig_claims_of(r).in_doubt, 0);
}

/* The copy was made when the CA had refused, and before it was asked again under the same lease. */
static void a_request_that_made_nothing_yet_is_open_where_it_was_asked_again_since(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
	assert_int_equal(rig_claim_one(r, &c, 1, 1), STORE_GRANTED);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, "corp-ca", STORE_NOT_ISSUED), STORE_OK);
	rig_go_back(r, &c);
	assert_int_equal(rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, 0)), STORE_SAME);
	assert_int_equal(r->items[0].epoch, 1);
	assert_int_equal(rig_claims_of(r).open, 1);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, "corp-ca", STORE_ORPHAN_KEPT), STORE_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(who_has_not_what_was_offered_does_not_end_what_another_has_in_hand),
		RIG_TEST(
			who_has_not_what_was_offered_ends_the_job_where_no_other_claim_may_have_made_anything),
		RIG_TEST(
			a_result_that_was_offered_and_does_not_come_keeps_others_waiting_for_a_time),
		RIG_TEST(the_winner_again_under_an_earlier_lease_stands_at_one_claim),
		RIG_TEST(
			a_request_that_made_nothing_once_is_open_again_where_a_later_run_asks_for_it),
		RIG_TEST(an_orphans_request_is_open_again_where_a_later_run_asks_for_it),
		RIG_TEST(a_later_runs_request_stays_the_lease_that_was_listed),
		RIG_TEST(a_lease_that_was_listed_stays_beside_a_doubt_of_the_same_request),
		RIG_TEST(a_later_runs_result_is_asked_for_with_a_claim_of_its_own),
		RIG_TEST(the_winner_of_a_lease_without_a_claim_stands_at_the_claim_that_made_it),
		RIG_TEST(a_request_that_made_nothing_yet_is_open_where_it_was_asked_again_since),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
