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
	c->generation = store_generation(r->store);
	rig_back_up(r);
	rig_restore(r);
	assert_true(rig_dial(r, c).offer);
	rig_resume(r, c, NULL, 0);
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

/* Its journal was put back to a copy from before it won. */
static void the_winner_again_under_an_earlier_lease_stands_at_one_claim(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct rig_claims claims;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
	assert_int_equal(rig_claim_one(r, &c, 1, 1), STORE_GRANTED);
	rig_hang_up(r, &c);
	rig_pass(r, 16 * MINUTE);
	assert_int_equal(rig_take_over(r, 1, "op"), STORE_OK);
	rig_come_back(r, &c);
	assert_int_equal(rig_take_one(r, &c, 1), 2);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(who_has_not_what_was_offered_does_not_end_what_another_has_in_hand),
		RIG_TEST(
			who_has_not_what_was_offered_ends_the_job_where_no_other_claim_may_have_made_anything),
		RIG_TEST(
			a_result_that_was_offered_and_does_not_come_keeps_others_waiting_for_a_time),
		RIG_TEST(the_winner_again_under_an_earlier_lease_stands_at_one_claim),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
