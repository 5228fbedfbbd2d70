/*
 * The store's contract for jobs that it has lost: what its connectors offered of them is on record when
 * they are submitted again, and decides whose they are.
 */
#include "tests/support/store_rig_claims.h"
#include "tests/support/store_rig_life.h"

static const char CA[] = "corp-ca";

/* Two connectors are taken back by an older copy, which does not know job 1. */
static void go_back(struct rig *r, struct rig_conn *c, struct rig_conn *other)
{
	rig_connect(r, c, HQ1);
	rig_connect(r, other, HQ2);
	c->generation = other->generation = store_generation(r->store);
	rig_back_up(r);
	rig_restore(r);
	assert_true(rig_dial(r, c).offer);
	assert_true(rig_dial(r, other).offer);
	rig_resume(r, c, NULL, 0);
	rig_resume(r, other, NULL, 0);
}

static void offer_unknown(struct rig *r, struct rig_conn *c, struct store_offered job)
{
	assert_int_equal(rig_offer_one(r, c, job), STORE_UNKNOWN_JOB);
}

static void end_offers(struct rig *r, struct rig_conn *c, struct rig_conn *other)
{
	rig_end_offer(r, c);
	rig_end_offer(r, other);
}

/* Two connectors are taken back; the first one offers this of job 1. */
static void go_back_and_offer(
	struct rig *r, struct rig_conn *c, struct rig_conn *other, struct store_offered job)
{
	go_back(r, c, other);
	offer_unknown(r, c, job);
	end_offers(r, c, other);
}

static void assert_told(
	struct rig *r, const char *connector, enum store_result what, uint32_t epoch)
{
	const struct rig_item *hint = rig_last_hint(r, STORE_HINT_RECALLED);
	assert_string_equal(hint->connector, connector);
	assert_int_equal(hint->result, what);
	assert_int_equal(hint->epoch, epoch);
	r->hint_count = 0;
}

static void wait_for_takeover(struct rig *r)
{
	rig_pass(r, 16 * MINUTE);
	rig_sweep_all(r);
	rig_pass(r, 2 * MINUTE); /* the hold after the jump of the clock */
	assert_int_equal(rig_sweep_all(r).result, STORE_OK);
}

static void a_lost_job_that_is_submitted_again_is_its_connectors_who_is_told_to_send(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back_and_offer(r, &c, &other, rig_finished(r, 1, 3, 5));
	r->hint_count = 0;
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_told(r, "hq-1", STORE_SEND, 3);
	assert_int_equal(rig_take(r, &other, 9), 0);
	assert_int_equal(rig_take(r, &c, 9), 0);
	assert_int_equal(rig_succeed(r, HQ1, 1, 3, 5), STORE_STORED);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 3, CA, STORE_WINNER), STORE_DUPLICATE_SAME);
}

static void its_connector_is_told_again_at_each_resume_and_never_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back_and_offer(r, &c, &other, rig_finished(r, 1, 1, 5));
	rig_hang_up(r, &c);
	rig_enqueue_job(r, 1);
	r->hint_count = 0;
	rig_redial(r, &c, true);
	assert_int_equal(rig_resume(r, &c, NULL, 0).in_doubt, 0);
	assert_told(r, "hq-1", STORE_SEND, 1);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	rig_reopen(r);
	r->hint_count = 0;
	rig_redial(r, &c, true);
	rig_resume(r, &c, NULL, 0);
	assert_told(r, "hq-1", STORE_SEND, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_STORED);
	r->hint_count = 0;
	rig_redial(r, &c, true);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_hints(r, STORE_HINT_RECALLED, 0), 0);
}

static void a_connector_that_stays_away_leaves_the_claim_to_the_next_holder(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back_and_offer(r, &c, &other, rig_finished(r, 1, 1, 5));
	rig_hang_up(r, &c);
	wait_for_takeover(r); /* it is known to be away when the job comes */
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	wait_for_takeover(r);
	assert_int_equal(rig_hints(r, STORE_HINT_TAKEN_OVER, 1), 1);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	assert_int_equal(rig_take_one(r, &other, 1), 2);
	assert_int_equal(r->items[0].prior, 1);
}

static void of_several_claims_all_are_kept_and_the_success_is_asked_for(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back(r, &c, &other);
	offer_unknown(r, &c, rig_only_claimed(r, 1, 1, STORE_UNSETTLED));
	offer_unknown(r, &other, rig_finished(r, 1, 2, 6));
	end_offers(r, &c, &other);
	r->hint_count = 0;
	rig_enqueue_job(r, 1);
	assert_told(r, "hq-2", STORE_SEND, 2);
	assert_int_equal(rig_succeed(r, HQ2, 1, 2, 6), STORE_STORED);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, CA, STORE_NOT_ISSUED), STORE_OK);
}

static void of_two_successes_under_one_epoch_each_has_its_claim(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back(r, &c, &other);
	offer_unknown(r, &c, rig_finished(r, 1, 1, 5));
	offer_unknown(r, &other, rig_finished(r, 1, 1, 6));
	end_offers(r, &c, &other);
	r->hint_count = 0;
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	assert_told(r, "hq-2", STORE_SEND, 2);
	assert_int_equal(rig_succeed(r, HQ2, 1, 2, 6), STORE_STORED);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_ALREADY_DONE);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, CA, STORE_ORPHAN_KEPT), STORE_OK);
}

static void an_open_claim_holds_the_job_until_it_is_settled(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back_and_offer(r, &c, &other, rig_only_claimed(r, 1, 1, STORE_UNSETTLED));
	r->hint_count = 0;
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_state(r, 1), STORE_HELD);
	assert_told(r, "hq-1", STORE_SAME, 1);
	assert_int_equal(rig_take(r, &other, 9), 0);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, CA, STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_take_one(r, &other, 1), 2);
	assert_int_equal(r->items[0].prior, 0);
}

/* Its connector got the job again after a takeover, and asked another CA. */
static void of_two_claims_of_one_connector_none_is_forgotten(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_offered earlier = rig_only_claimed(r, 1, 1, STORE_UNSETTLED);

	go_back(r, &c, &other);
	earlier.ca = cc_view_text("other-ca");
	earlier.settle = STORE_IN_DOUBT;
	offer_unknown(r, &c, rig_only_claimed(r, 1, 2, STORE_UNSETTLED));
	offer_unknown(r, &c, earlier);
	end_offers(r, &c, &other);
	r->hint_count = 0;
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_state(r, 1), STORE_HELD);
	assert_int_equal(rig_claims_of(r).in_doubt, 2);
	assert_told(r, "hq-1", STORE_SAME, 2);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 2, CA, STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, "other-ca", STORE_ORPHAN_KEPT), STORE_OK);
	assert_int_equal(rig_take_one(r, &other, 1), 3);
}

static void of_one_lost_job_no_more_claims_are_kept_than_a_job_may_have(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back(r, &c, &other);
	for (uint32_t epoch = 1; epoch <= 70; epoch++)
		offer_unknown(r, &c, rig_only_claimed(r, 1, epoch, STORE_UNSETTLED));
	end_offers(r, &c, &other);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_claims_of(r).in_doubt, 64);
}

static void an_open_claim_that_is_settled_before_its_job_comes_again_leaves_it_free(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back(r, &c, &other);
	offer_unknown(r, &c, rig_only_claimed(r, 1, 1, STORE_UNSETTLED));
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, CA, STORE_NOT_ISSUED), STORE_UNKNOWN_ATTEMPT);
	end_offers(r, &c, &other);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_take_one(r, &other, 1), 1);
	assert_int_equal(r->items[0].prior, 0);
}

static void a_doubt_of_a_lost_job_goes_to_whoever_gets_the_job(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back_and_offer(r, &c, &other, rig_only_claimed(r, 1, 1, STORE_IN_DOUBT));
	r->hint_count = 0;
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_hints(r, STORE_HINT_RECALLED, 0), 0);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	assert_int_equal(rig_take_one(r, &other, 1), 2);
	assert_int_equal(r->items[0].prior, 1);
}

static void a_result_that_is_not_kept_any_more_ends_the_job(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back_and_offer(r, &c, &other, rig_finished(r, 1, 1, 5));
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_fail(r, HQ1, 1, 1, STORE_IN_DOUBT), STORE_STORED);
	assert_int_equal(rig_state(r, 1), STORE_DEAD);
}

static void what_was_offered_is_forgotten_after_seven_days(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	go_back(r, &c, &other);
	offer_unknown(r, &c, rig_finished(r, 1, 1, 5));
	offer_unknown(r, &c, rig_finished(r, 1, 1, 5)); /* once */
	end_offers(r, &c, &other);
	rig_pass(r, 8 * 24 * (int64_t)HOUR);
	rig_sweep_all(r);
	rig_pass(r, 2 * MINUTE);
	assert_int_equal(rig_sweep_all(r).result, STORE_OK);
	rig_come_back(r, &other);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_take_one(r, &other, 1), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_lost_job_that_is_submitted_again_is_its_connectors_who_is_told_to_send),
		RIG_TEST(its_connector_is_told_again_at_each_resume_and_never_in_doubt),
		RIG_TEST(a_connector_that_stays_away_leaves_the_claim_to_the_next_holder),
		RIG_TEST(of_several_claims_all_are_kept_and_the_success_is_asked_for),
		RIG_TEST(of_two_successes_under_one_epoch_each_has_its_claim),
		RIG_TEST(an_open_claim_holds_the_job_until_it_is_settled),
		RIG_TEST(of_two_claims_of_one_connector_none_is_forgotten),
		RIG_TEST(of_one_lost_job_no_more_claims_are_kept_than_a_job_may_have),
		RIG_TEST(an_open_claim_that_is_settled_before_its_job_comes_again_leaves_it_free),
		RIG_TEST(a_doubt_of_a_lost_job_goes_to_whoever_gets_the_job),
		RIG_TEST(a_result_that_is_not_kept_any_more_ends_the_job),
		RIG_TEST(what_was_offered_is_forgotten_after_seven_days),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
