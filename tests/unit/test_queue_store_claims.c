/*
 * The store's contract: what becomes of claims.  A doubt is cleared by its holder only, and no operation leaves
 * a job DEAD with a claim that nobody has settled.
 */
#include "tests/support/store_rig_claims.h"

enum { MINUTE = 60 * 1000, DAY = 24 * 60 * MINUTE };

static void assert_dead(struct rig *r, enum store_dead dead, size_t in_doubt)
{
	struct rig_claims c = rig_claims_of(r);

	assert_int_equal(rig_state(r, 1), STORE_DEAD);
	assert_int_equal(r->items[0].dead, dead);
	assert_int_equal(c.open, 0);
	assert_int_equal(c.in_doubt, in_doubt);
}

/* Job 1 is claimed by HQ1. */
static uint32_t begin_claim(struct rig *r, struct rig_conn *c)
{
	rig_connect(r, c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, c, 1);
	assert_int_equal(rig_claim_one(r, c, 1, epoch), STORE_GRANTED);
	assert_int_equal(rig_claims_of(r).open, 1);
	return epoch;
}

/* Job 1 was claimed by HQ1, and is READY again without it. */
static uint32_t begin_takeover(struct rig *r, struct rig_conn *c)
{
	uint32_t epoch = begin_claim(r, c);

	assert_int_equal(rig_park_one(r, c, 1, epoch), STORE_KEEP);
	assert_int_equal(rig_take_over(r, 1, "ann"), STORE_OK);
	assert_int_equal(rig_claims_of(r).in_doubt, 1);
	return epoch;
}

/* ---- a doubt is its holder's to clear ------------------------------------------------------------- */

static void a_winner_of_the_same_request_leaves_an_earlier_doubt_to_its_holder(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t first = begin_takeover(r, &c);
	uint32_t second = rig_take_one(r, &c, 1);

	assert_int_equal(r->items[0].prior, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, second), STORE_GRANTED);
	assert_int_equal(rig_succeed(r, HQ1, 1, second, 7), STORE_STORED);
	assert_int_equal(rig_claims_of(r).winners, 1);
	assert_int_equal(rig_claims_of(r).in_doubt, 1); /* that CA may have made two */
	assert_int_equal(rig_settle_at(r, HQ1, 1, first, "corp-ca", STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_claims_of(r).in_doubt, 0);
	assert_int_equal(rig_claims_of(r).not_issued, 1);
}

/* ---- no way to DEAD with an open claim ------------------------------------------------------------- */

static void a_failure_that_does_not_settle_its_claim_is_not_taken(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t epoch = begin_claim(r, &c);

	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_UNSETTLED), STORE_INVALID);
	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_WINNER), STORE_INVALID);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_IN_DOUBT), STORE_STORED);
	assert_dead(r, STORE_DEAD_FAILURE, 1);
}

static void a_failure_after_a_takeover_leaves_the_first_claim_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	begin_takeover(r, &c);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED);
	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_NOT_ISSUED), STORE_STORED);
	assert_dead(r, STORE_DEAD_FAILURE, 1);
}

static void poison_and_too_many_attempts_end_no_job_with_an_open_claim(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t epoch = begin_claim(r, &c);
	struct store_nack_in in = rig_nack_in(r, &c, 1, epoch, STORE_NACK_POISON);

	assert_int_equal(rig_nack(r, in).result, STORE_INVALID);
	in.reason = STORE_NACK_BUSY;
	in.count = true;
	assert_int_equal(rig_nack(r, in).result, STORE_INVALID);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	in.reason = STORE_NACK_POISON;
	in.not_issued = true;
	in.job_id = rig_id(r, 1);
	assert_int_equal(rig_nack(r, in).result, STORE_IS_DEAD);
	assert_dead(r, STORE_DEAD_POISON, 0);
}

static void poison_after_a_takeover_leaves_the_first_claim_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	begin_takeover(r, &c);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(
		rig_nack(r, rig_nack_in(r, &c, 1, epoch, STORE_NACK_POISON)).result, STORE_IS_DEAD);
	assert_dead(r, STORE_DEAD_POISON, 1);
}

static void crashes_end_no_job_with_an_open_claim(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	begin_takeover(r, &c);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(rig_take(r, &c, 1), 1);
		rig_redial(r, &c, true);
		assert_int_equal(rig_resume(r, &c, NULL, 0).result, STORE_OK);
		rig_offer(r, &c, ~0u, NULL, 0);
		rig_pass(r, 30 * MINUTE);
	}
	assert_dead(r, STORE_DEAD_POISON, 1);
}

static void an_operator_buries_no_job_with_an_open_claim_before_its_deadline(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_bury_in bury = {T, CC_VIEW_NONE, cc_view_text("ann")};

	begin_claim(r, &c);
	bury.job_id = rig_id(r, 1);
	assert_int_equal(rig_bury(r, bury).result, STORE_TOO_LATE);
	assert_int_equal(rig_claims_of(r).open, 1);
	rig_pass(r, (int64_t)30 * DAY);
	assert_int_equal(rig_bury(r, bury).result, STORE_OK);
	assert_dead(r, STORE_DEAD_BURIED, 1);
}

static void a_cancelled_job_is_not_dead_and_its_holder_still_settles_its_claim(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t epoch = begin_claim(r, &c);
	struct store_replay_in replay = {.tenant = T, .by = cc_view_text("ann")};

	assert_int_equal(rig_cancel_job(r, 1, true), STORE_OK);
	assert_int_equal(rig_state(r, 1), STORE_CANCELLED_STATE);
	assert_int_equal(rig_claims_of(r).open, 1);
	replay.job_id = rig_id(r, 1);
	assert_int_equal(rig_replay(r, replay).result, STORE_REFUSED);
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_claims_of(r).open, 0);
}

static void a_claim_nobody_settles_of_a_cancelled_job_is_in_doubt_in_the_end(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	begin_claim(r, &c);
	assert_int_equal(rig_cancel_job(r, 1, true), STORE_OK);
	rig_pass(r, (int64_t)20 * DAY);
	rig_sweep_all(r);
	rig_sweep_all(r);
	rig_pass(r, 2 * RIG_LEASE_MS);
	rig_sweep_all(r);
	assert_int_equal(rig_claims_of(r).open, 0);
	assert_int_equal(rig_claims_of(r).in_doubt, 1);
}

static void let_time_end_it(struct rig *r)
{
	for (size_t i = 0; i < 40; i++) {
		rig_pass(r, DAY);
		rig_sweep_all(r);
		if (rig_state(r, 1) == STORE_DEAD)
			return;
	}
	fail_msg("time did not end the job");
}

static void the_deadline_of_a_claimed_job_leaves_its_claim_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	begin_claim(r, &c);
	let_time_end_it(r);
	assert_dead(r, STORE_DEAD_DEADLINE, 1);
}

static void the_deadline_of_a_parked_job_leaves_its_claim_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t epoch = begin_claim(r, &c);

	assert_int_equal(rig_park_one(r, &c, 1, epoch), STORE_KEEP);
	let_time_end_it(r);
	assert_dead(r, STORE_DEAD_DEADLINE, 1);
}

static void a_job_that_expires_after_a_takeover_leaves_the_first_claim_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	begin_takeover(r, &c);
	assert_int_equal(rig_take(r, &c, 1), 1); /* and the lease runs out after the job's end */
	let_time_end_it(r);
	assert_dead(r, STORE_DEAD_EXPIRED, 1);
}

static void nothing_opens_a_claim_of_a_dead_job_again(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t epoch = begin_claim(r, &c);

	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_NOT_ISSUED), STORE_STORED);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_LOST);
	assert_int_equal(
		rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_UNSETTLED), STORE_CONFLICT);
	assert_int_equal(rig_park_one(r, &c, 1, epoch), STORE_LOST);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_ALREADY_DEAD);
	assert_int_equal(rig_take_over(r, 1, "ann"), STORE_NOT_DUE);
	assert_dead(r, STORE_DEAD_FAILURE, 0);
}

/* ---- run again ------------------------------------------------------------------------------------- */

/* Job 1 is DEAD, its claim ORPHAN_KEPT with certificate 7; it runs again, and is claimed as before. */
static uint32_t begin_second_run(struct rig *r, struct rig_conn *c)
{
	uint32_t epoch = begin_claim(r, c);
	struct store_settle_in settle = {.tenant = T,
		.connector = HQ1,
		.transport_sha256 = rig_digest(9),
		.job_id = rig_id(r, 1),
		.epoch = epoch,
		.ca = cc_view_text("corp-ca"),
		.outcome = STORE_ORPHAN_KEPT,
		.certificate = rig_certificate(7)};
	struct store_replay_in replay = {
		.tenant = T, .job_id = rig_id(r, 1), .by = cc_view_text("ann")};

	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_IN_DOUBT), STORE_STORED);
	assert_int_equal(rig_settle(r, settle).result, STORE_OK);
	assert_int_equal(rig_replay(r, replay).result, STORE_OK);
	epoch = rig_take_one(r, c, 1);
	assert_int_equal(rig_claim_one(r, c, 1, epoch), STORE_GRANTED);
	return epoch;
}

static void a_certificate_that_was_kept_as_an_orphan_is_none_when_a_later_run_wins_with_it(
	void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t epoch = begin_second_run(r, &c);

	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_STORED);
	struct rig_claims claims = rig_claims_of(r);
	assert_int_equal(claims.winners, 1);
	assert_int_equal(claims.not_issued, 1);
	assert_int_equal(claims.open, 0);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, "corp-ca", STORE_ORPHAN_KEPT), STORE_CONFLICT);
}

static void an_orphan_of_an_earlier_run_stays_one_when_another_certificate_wins(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t epoch = begin_second_run(r, &c);

	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 8), STORE_STORED);
	struct rig_claims claims = rig_claims_of(r);
	assert_int_equal(claims.winners, 1);
	assert_int_equal(claims.not_issued, 0);
	assert_int_equal(
		rig_settle_at(r, HQ1, 1, 1, "corp-ca", STORE_ORPHAN_KEPT), STORE_DUPLICATE_SAME);
}

static void a_dead_job_whose_document_is_gone_is_not_run_again(void **state)
{
	struct rig *r = *state;
	struct store_enqueue_in in = rig_new_job(r, 1, STORE_ISSUE);
	struct store_bury_in bury = {T, rig_id(r, 1), cc_view_text("ann")};
	struct store_replay_in replay = {
		.tenant = T, .job_id = rig_id(r, 1), .by = cc_view_text("ann")};

	in.not_after_ms = store_now_ms(r->store) + (int64_t)25 * DAY;
	assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
	assert_int_equal(rig_bury(r, bury).result, STORE_OK);
	rig_pass(r, (int64_t)8 * DAY);
	rig_sweep_all(r);
	rig_pass(r, 2 * RIG_LEASE_MS);
	rig_sweep_all(r);
	struct store_replay_out out = rig_replay(r, replay);
	assert_int_equal(out.result, STORE_REFUSED);
	assert_string_equal(out.why, "document_gone");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_winner_of_the_same_request_leaves_an_earlier_doubt_to_its_holder),
		RIG_TEST(a_failure_that_does_not_settle_its_claim_is_not_taken),
		RIG_TEST(a_failure_after_a_takeover_leaves_the_first_claim_in_doubt),
		RIG_TEST(poison_and_too_many_attempts_end_no_job_with_an_open_claim),
		RIG_TEST(poison_after_a_takeover_leaves_the_first_claim_in_doubt),
		RIG_TEST(crashes_end_no_job_with_an_open_claim),
		RIG_TEST(an_operator_buries_no_job_with_an_open_claim_before_its_deadline),
		RIG_TEST(a_cancelled_job_is_not_dead_and_its_holder_still_settles_its_claim),
		RIG_TEST(a_claim_nobody_settles_of_a_cancelled_job_is_in_doubt_in_the_end),
		RIG_TEST(the_deadline_of_a_claimed_job_leaves_its_claim_in_doubt),
		RIG_TEST(the_deadline_of_a_parked_job_leaves_its_claim_in_doubt),
		RIG_TEST(a_job_that_expires_after_a_takeover_leaves_the_first_claim_in_doubt),
		RIG_TEST(nothing_opens_a_claim_of_a_dead_job_again),
		RIG_TEST(
			a_certificate_that_was_kept_as_an_orphan_is_none_when_a_later_run_wins_with_it),
		RIG_TEST(an_orphan_of_an_earlier_run_stays_one_when_another_certificate_wins),
		RIG_TEST(a_dead_job_whose_document_is_gone_is_not_run_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
