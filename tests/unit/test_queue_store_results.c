/*
 * The store's contract: results, jobs given back, and what became of claims.
 */
#include "tests/support/store_rig_jobs.h"

/* ---- complete ------------------------------------------------------------------------------------- */

static void a_success_is_stored_and_the_same_again_is_a_duplicate(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_complete_in in;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_STORED);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
	assert_int_equal(r->items[0].winner, 7);
	assert_int_equal(r->items[0].document, strlen("bundle"));
	assert_string_equal(r->items[0].connector, "hq-1");
	assert_int_equal(rig_hints(r, STORE_HINT_FINAL, 1), 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_DUPLICATE_SAME);
	in = rig_success(r, HQ1, 1, epoch, 7);
	in.digest = rig_digest(200); /* sealed anew: other bytes, the same certificate */
	assert_int_equal(rig_complete(r, in).result, STORE_DUPLICATE_SAME);
	in = rig_success(r, HQ1, 1, epoch, 8);
	struct store_complete_out out = rig_complete(r, in);
	assert_int_equal(out.result, STORE_ALREADY_DONE);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
	assert_int_equal(r->items[0].winner, 7);
}

static void a_success_of_a_job_or_an_attempt_that_is_not_there_is_told_so(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_succeed(r, HQ1, 9, 1, 7), STORE_UNKNOWN_JOB);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_UNKNOWN_ATTEMPT);
	rig_take_one(r, &c, 1);
	assert_int_equal(rig_succeed(r, HQ2, 1, 1, 7), STORE_UNKNOWN_ATTEMPT);
	assert_int_equal(rig_succeed(r, HQ1, 1, 2, 7), STORE_UNKNOWN_ATTEMPT);
}

static void a_failure_ends_the_job_and_the_same_again_is_a_duplicate(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_fail(r, HQ1, 9, 1, STORE_UNSETTLED), STORE_UNKNOWN_JOB);
	assert_int_equal(rig_fail(r, HQ1, 1, epoch + 1, STORE_UNSETTLED), STORE_STALE_EPOCH);
	assert_int_equal(rig_fail(r, HQ2, 1, epoch, STORE_UNSETTLED), STORE_STALE_EPOCH);
	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_UNSETTLED), STORE_STORED);
	assert_int_equal(rig_state(r, 1), STORE_DEAD);
	assert_int_equal(r->items[0].dead, STORE_DEAD_FAILURE);
	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_UNSETTLED), STORE_DUPLICATE_SAME);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_ALREADY_DEAD);
}

static void a_failure_of_a_claimed_job_says_what_the_claim_is_settled_as(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED);
	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_UNSETTLED), STORE_INVALID);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_IN_DOUBT), STORE_STORED);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_NOT_ISSUED), STORE_OK);
}

static void a_late_result_of_a_cancelled_job_is_told_so(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_cancel_job(r, 1, false), STORE_OK);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_CANCELLED);
	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_UNSETTLED), STORE_CANCELLED);
}

/* ---- nack and settle ------------------------------------------------------------------------------ */

static void a_nack_gives_the_job_back_after_its_delay(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_nack_in in;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	in = rig_nack_in(r, &c, 1, rig_take_one(r, &c, 1), STORE_NACK_BUSY);
	in.delay_ms = 5000;
	assert_int_equal(rig_nack(r, in).result, STORE_OK);
	assert_int_equal(rig_nack(r, in).result, STORE_STALE_EPOCH);
	struct store_lease_out out = rig_lease(r, (struct store_lease_in){c.s, 1, 0});
	assert_int_equal(out.result, STORE_EMPTY);
	assert_in_range(out.next_ms, 1, 5000);
	rig_pass(r, 5001);
	assert_int_equal(rig_take_one(r, &c, 1), 2);
}

static uint32_t given_back_for(struct rig *r, uint32_t job)
{
	return rig_fetch(r, (struct store_fetch_in){T, rig_id(r, job), false, false})
		.job.given_back;
}

static void counted_nacks_end_the_job_and_approval_never_counts(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_nack_in in;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	for (uint32_t i = 1; i <= 20; i++) {
		in = rig_nack_in(r, &c, 1, rig_take_one(r, &c, 1), STORE_NACK_APPROVAL);
		in.count = true;
		assert_int_equal(rig_nack(r, in).result, STORE_OK);
		assert_int_equal(given_back_for(r, 1), STORE_NACK_APPROVAL);
	}
	for (uint32_t i = 1; i <= 5; i++) {
		in = rig_nack_in(r, &c, 1, rig_take_one(r, &c, 1), STORE_NACK_CA_UNREACHABLE);
		in.count = true;
		assert_int_equal(rig_nack(r, in).result, i < 5 ? STORE_OK : STORE_IS_DEAD);
	}
	assert_int_equal(rig_state(r, 1), STORE_DEAD);
	assert_int_equal(r->items[0].dead, STORE_DEAD_ATTEMPTS);
	assert_int_equal(rig_nack(r, in).result, STORE_IS_DEAD);
}

static void poison_is_dead_at_once(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(
		rig_nack(r, rig_nack_in(r, &c, 1, epoch, STORE_NACK_POISON)).result, STORE_IS_DEAD);
	assert_int_equal(rig_state(r, 1), STORE_DEAD);
	assert_int_equal(r->items[0].dead, STORE_DEAD_POISON);
}

static void a_claimed_job_is_given_back_only_with_not_issued(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_nack_in in;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED);
	in = rig_nack_in(r, &c, 1, epoch, STORE_NACK_CA_UNREACHABLE);
	assert_int_equal(rig_nack(r, in).result, STORE_INVALID);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	in.not_issued = true;
	in.ca = cc_view_text("corp-ca");
	assert_int_equal(rig_nack(r, in).result, STORE_OK);
	assert_int_equal(rig_take(r, &c, 1), 1);
	assert_int_equal(r->items[0].prior, 0);
}

static void a_settlement_is_written_once_but_doubt_may_become_exact(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_NOT_ISSUED),
		STORE_UNKNOWN_ATTEMPT);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED);
	assert_int_equal(rig_settle_at(r, HQ2, 1, epoch, "corp-ca", STORE_NOT_ISSUED),
		STORE_UNKNOWN_ATTEMPT);
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_WINNER), STORE_CONFLICT);
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_IN_DOUBT), STORE_OK);
	assert_int_equal(
		rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_IN_DOUBT), STORE_DUPLICATE_SAME);
	assert_int_equal(
		rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_ORPHAN_REVOKED), STORE_OK);
	assert_int_equal(
		rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_NOT_ISSUED), STORE_CONFLICT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_success_is_stored_and_the_same_again_is_a_duplicate),
		RIG_TEST(a_success_of_a_job_or_an_attempt_that_is_not_there_is_told_so),
		RIG_TEST(a_failure_ends_the_job_and_the_same_again_is_a_duplicate),
		RIG_TEST(a_failure_of_a_claimed_job_says_what_the_claim_is_settled_as),
		RIG_TEST(a_late_result_of_a_cancelled_job_is_told_so),
		RIG_TEST(a_nack_gives_the_job_back_after_its_delay),
		RIG_TEST(counted_nacks_end_the_job_and_approval_never_counts),
		RIG_TEST(poison_is_dead_at_once),
		RIG_TEST(a_claimed_job_is_given_back_only_with_not_issued),
		RIG_TEST(a_settlement_is_written_once_but_doubt_may_become_exact),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
