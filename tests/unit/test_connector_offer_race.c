/*
 * What is told to a store that went back before it has heard of it by the offer: the answer that it does not know it
 * is not the last word.
 */
#include "tests/support/connector_rig.h"

/* The store forgets everything; its answer to the offer is kept back. */
static void go_back_without_answer(struct rig *r)
{
	r->generation = 2;
	r->wants_offer = true;
	r->offer_verdict = CERTQ__OFFER_VERDICT__OFFER_SAME;
	r->no_offer_answer = true;
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_UNKNOWN_ATTEMPT;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_ATTEMPT;
	rig_forget_frames(r);
	rig_restart(r);
	assert_int_equal(RIG_SENT(r, OFFER), 1);
}

/* The claim is not the job's any more, and its CA is back: it has not issued. */
static void find_nothing(struct rig *r)
{
	r->runners[0].silent = r->runners[0].away = false;
	rig_attach_ca(r, 0);
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, SETTLE), 1);
	RIG_ASSERT_SETTLED(r, NOT_ISSUED);
}

static void claim_and_lose(struct rig *r)
{
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	r->runners[0].away = true;
}

/* Now the store knows what was offered. */
static void answer_offer(struct rig *r)
{
	r->no_offer_answer = false;
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_OK;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_offer_ack(r, RIG_LAST(r, OFFER)->offer);
	rig_turn(r);
}

static void a_settlement_that_is_not_known_before_the_offer_is_told_again(void **state)
{
	struct rig *r = *state;
	claim_and_lose(r);
	go_back_without_answer(r);
	find_nothing(r);
	assert_int_equal(RIG_IN(r, SETTLING), 1);
	assert_int_equal(rig_journal_open(r), 1);
	answer_offer(r);
	rig_forget_frames(r);
	rig_pass(r, 61000);
	assert_int_equal(RIG_SENT(r, SETTLE), 1);
	RIG_ASSERT_SETTLED(r, NOT_ISSUED);
	assert_int_equal(rig_jobs(r), 0);
}

static void a_settlement_that_is_not_known_without_an_offer_is_the_last_word(void **state)
{
	struct rig *r = *state;
	claim_and_lose(r);
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_UNKNOWN_ATTEMPT;
	rig_forget_frames(r);
	rig_restart(r);
	find_nothing(r);
	assert_int_equal(rig_jobs(r), 0);
}

static void a_result_that_is_not_known_before_the_offer_is_sent_again(void **state)
{
	struct rig *r = *state;
	r->no_result_answer = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	r->no_result_answer = false;
	go_back_without_answer(r);
	assert_true(RIG_SENT(r, RESULT) > 0);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	rig_forget_frames(r);
	rig_pass(r, 61000);
	assert_true(RIG_SENT(r, RESULT) > 0); /* it is not held for another generation */
	go_back_without_answer(r);
	answer_offer(r);
	rig_pass(r, 61000);
	rig_assert_done(r, "job-1", "issue");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_settlement_that_is_not_known_before_the_offer_is_told_again),
		RIG_TEST(a_settlement_that_is_not_known_without_an_offer_is_the_last_word),
		RIG_TEST(a_result_that_is_not_known_before_the_offer_is_sent_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
