/*
 * The store's contract and time: sweep, holds after open and after a jump, takeovers, retention, a
 * clock that was set.
 */
#include "tests/support/store_rig_jobs.h"

enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE };
static const int64_t DAY = (int64_t)24 * HOUR;

static void nothing_is_swept_for_one_lease_after_open(void **state)
{
	struct rig *r = *state;

	assert_int_equal(rig_sweep_all(r).result, STORE_ON_HOLD);
	rig_pass(r, RIG_LEASE_MS + 1);
	assert_int_equal(rig_sweep_all(r).result, STORE_OK);
	rig_reopen(r);
	assert_int_equal(rig_sweep_all(r).result, STORE_ON_HOLD);
}

static void a_lease_that_is_not_extended_ends(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_lease_id lease;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	lease = (struct store_lease_id){rig_id(r, 1), rig_take_one(r, &c, 1)};
	rig_pass(r, RIG_LEASE_MS - 1000);
	rig_extend(r, (struct store_extend_in){c.s, &lease, 1});
	rig_pass(r, RIG_LEASE_MS - 1000);
	assert_int_equal(rig_sweep_all(r).leases_expired, 0);
	rig_pass(r, 1001);
	assert_int_equal(rig_sweep_all(r).leases_expired, 1);
	assert_int_equal(rig_state(r, 1), STORE_READY);
	assert_int_equal(rig_take_one(r, &c, 1), 2);
}

static void only_sweep_ends_a_lease(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_lease_id lease;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	lease = (struct store_lease_id){rig_id(r, 1), rig_take_one(r, &c, 1)};
	rig_pass(r, 10 * RIG_LEASE_MS);
	rig_extend(r, (struct store_extend_in){c.s, &lease, 1});
	assert_int_equal(r->items[0].result, STORE_KEEP);
	assert_int_equal(rig_sweep_all(r).leases_expired, 0);
}

static void a_store_reopened_an_hour_ahead_lets_connectors_extend_first(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_held held = {.epoch = 1};

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	rig_shift(r, HOUR, 0);
	rig_reopen(r);
	assert_int_equal(rig_sweep_all(r).result, STORE_ON_HOLD);
	rig_redial(r, &c, false);
	held.job_id = rig_id(r, 1);
	assert_int_equal(rig_resume(r, &c, &held, 1).kept, 1);
	rig_pass(r, RIG_LEASE_MS / 2);
	assert_int_equal(rig_sweep_all(r).leases_expired, 0);
	assert_int_equal(rig_state(r, 1), STORE_LEASED);
}

static void a_store_reopened_an_hour_behind_does_not_go_back(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	int64_t before;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	before = store_now_ms(r->store);
	rig_shift(r, -HOUR, 0);
	rig_reopen(r);
	assert_true(store_now_ms(r->store) >= before - 1000);
	/* time goes on: the lease ends when it should, not an hour later */
	rig_pass(r, RIG_LEASE_MS + 2000);
	assert_int_equal(rig_sweep_all(r).leases_expired, 1);
}

static void a_time_that_was_told_is_kept_though_the_commit_before_it_failed(void **state)
{
	struct rig *r = *state;
	int64_t before;

	rig_pass(r, HOUR);
	store_fail_next_for_test(r->store);
	assert_int_equal(rig_enqueue(r, rig_new_job(r, 1, STORE_ISSUE)).err, CC_IO);
	rig_enqueue_job(r, 2);
	before = store_now_ms(r->store);
	rig_shift(r, -HOUR, 0);
	rig_reopen(r);
	assert_true(store_now_ms(r->store) >= before - 1000);
}

static void a_jump_of_the_clock_holds_the_sweep(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_lease_id lease;
	int64_t before;

	rig_connect(r, &c, HQ1);
	rig_pass(r, RIG_LEASE_MS + 1);
	rig_enqueue_job(r, 1);
	lease = (struct store_lease_id){rig_id(r, 1), rig_take_one(r, &c, 1)};
	assert_int_equal(rig_sweep_all(r).result, STORE_OK);
	rig_shift(r, HOUR, 0);
	assert_int_equal(rig_sweep_all(r).result, STORE_ON_HOLD);
	rig_extend(r, (struct store_extend_in){c.s, &lease, 1});
	rig_pass(r, RIG_LEASE_MS - 1000);
	assert_int_equal(rig_sweep_all(r).leases_expired, 0);
	before = store_now_ms(r->store);
	rig_shift(r, -2 * HOUR, 0);
	assert_int_equal(rig_sweep_all(r).result, STORE_ON_HOLD);
	assert_true(store_now_ms(r->store) >= before);
}

static void suspend_is_no_jump(void **state)
{
	struct rig *r = *state;

	rig_pass(r, RIG_LEASE_MS + 1);
	assert_int_equal(rig_sweep_all(r).result, STORE_OK);
	rig_pass(r, 8 * HOUR);
	assert_int_equal(rig_sweep_all(r).result, STORE_OK);
}

/* ---- takeover ------------------------------------------------------------------------------------- */

static void claimed_jobs_of_a_connector_that_is_gone_are_taken_over(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;

	rig_connect(r, &a, HQ1);
	rig_connect(r, &b, HQ2);
	for (uint32_t i = 1; i <= 3; i++) {
		rig_enqueue_job(r, i);
		assert_int_equal(rig_claim_one(r, &a, i, rig_take_one(r, &a, i)), STORE_GRANTED);
	}
	assert_int_equal(rig_park_one(r, &a, 3, 1), STORE_KEEP);
	rig_hang_up(r, &a);
	rig_pass(r, 14 * MINUTE);
	assert_int_equal(rig_sweep_all(r).taken_over, 0);
	assert_int_equal(rig_take_over(r, 1, ""), STORE_NOT_DUE);
	rig_pass(r, 1 * MINUTE + 1);
	assert_int_equal(rig_sweep_all(r).taken_over, 2);
	assert_int_equal(rig_hints(r, STORE_HINT_TAKEN_OVER, 0), 2);
	assert_int_equal(rig_state(r, 3), STORE_PARKED); /* an operator's business */
	assert_int_equal(rig_take(r, &b, 5), 2);
	assert_int_equal(r->items[0].prior, 1);
	/* the first one comes back: both are lost, but its certificate still may win */
	struct store_held held[2] = {{.job_id = rig_id(r, 1), .epoch = 1, .claimed = true},
		{.job_id = rig_id(r, 3), .epoch = 1, .claimed = true, .parked = true}};
	rig_redial(r, &a, false);
	assert_int_equal(rig_resume(r, &a, held, 2).kept_parked, 1);
	assert_int_equal(r->items[0].result, STORE_LOST);
	assert_int_equal(r->items[1].result, STORE_KEEP);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_STORED);
}

static void a_takeover_is_swept_in_pieces(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 5; i++) {
		rig_enqueue_job(r, i);
		assert_int_equal(rig_claim_one(r, &c, i, rig_take_one(r, &c, i)), STORE_GRANTED);
	}
	rig_hang_up(r, &c);
	rig_pass(r, 16 * MINUTE);
	struct store_sweep_out out = rig_sweep(r, (struct store_sweep_in){2});
	assert_int_equal(out.taken_over, 2);
	assert_true(out.more);
	assert_int_equal(rig_sweep(r, (struct store_sweep_in){2}).taken_over, 2);
	assert_int_equal(rig_sweep(r, (struct store_sweep_in){2}).taken_over, 1);
}

static void a_restart_of_the_store_starts_the_wait_anew(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, rig_take_one(r, &c, 1)), STORE_GRANTED);
	rig_pass(r, HOUR);
	rig_reopen(r); /* nobody can be connected to a store that was not running */
	rig_pass(r, 14 * MINUTE);
	assert_int_equal(rig_sweep_all(r).taken_over, 0);
	rig_pass(r, 2 * MINUTE);
	assert_int_equal(rig_sweep_all(r).taken_over, 1);
}

static void a_held_job_is_taken_over_although_its_owner_is_connected(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, rig_take_one(r, &c, 1)), STORE_GRANTED);
	rig_redial(r, &c, true);
	assert_int_equal(rig_resume(r, &c, NULL, 0).in_doubt, 1);
	assert_int_equal(rig_take_over(r, 1, ""), STORE_NOT_DUE);
	rig_pass(r, 15 * MINUTE + 1);
	assert_int_equal(rig_sweep_all(r).taken_over, 1);
	assert_int_equal(rig_take_one(r, &c, 1), 2);
	assert_int_equal(r->items[0].prior, 1);
}

/* ---- deadlines and retention ------------------------------------------------------------------------ */

static void a_job_that_nobody_took_in_time_is_dead(void **state)
{
	struct rig *r = *state;

	rig_enqueue_job(r, 1);
	rig_pass(r, DAY + 1);
	assert_int_equal(rig_sweep_all(r).expired, 1);
	assert_int_equal(rig_state(r, 1), STORE_DEAD);
	assert_int_equal(r->items[0].dead, STORE_DEAD_EXPIRED);
	assert_int_equal(rig_hints(r, STORE_HINT_FINAL, 1), 1);
}

static void a_leased_job_past_its_time_dies_with_its_lease(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	rig_pass(r, DAY + 1);
	assert_int_equal(rig_sweep_all(r).expired, 1);
	assert_int_equal(rig_state(r, 1), STORE_DEAD);
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->result, STORE_LOST);
}

static void a_claim_that_leads_to_nothing_ends_in_doubt_at_its_deadline(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, rig_take_one(r, &c, 1)), STORE_GRANTED);
	assert_int_equal(rig_park_one(r, &c, 1, 1), STORE_KEEP);
	rig_pass(r, 7 * DAY);
	assert_int_equal(rig_sweep_all(r).expired, 0);
	rig_pass(r, HOUR + 1);
	assert_int_equal(rig_sweep_all(r).expired, 1);
	assert_int_equal(rig_state(r, 1), STORE_DEAD);
	assert_int_equal(r->items[0].dead, STORE_DEAD_DEADLINE);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_ALREADY_DEAD);
}

static void a_result_goes_after_a_week_and_its_header_after_a_month(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_stats_out stats;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, rig_take_one(r, &c, 1), 7), STORE_STORED);
	rig_pass(r, 7 * DAY - HOUR);
	assert_int_equal(rig_sweep_all(r).results_dropped, 0);
	rig_pass(r, HOUR + 1);
	assert_int_equal(rig_sweep_all(r).results_dropped, 1);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
	assert_int_equal(r->items[0].document, 0);
	assert_int_equal(r->items[0].winner, 7);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_DUPLICATE_SAME);
	assert_int_equal(rig_enqueue(r, rig_new_job(r, 1, STORE_ISSUE)).result, STORE_SAME);
	rig_pass(r, 23 * DAY);
	assert_int_equal(rig_sweep_all(r).headers_dropped, 1);
	assert_int_equal(
		rig_fetch(r, (struct store_fetch_in){T, rig_id(r, 1), false, false}).result,
		STORE_UNKNOWN);
	stats = rig_stats(r, (struct store_stats_in){T});
	assert_int_equal(stats.jobs[STORE_DONE], 0);
	assert_int_equal(stats.bytes, 0);
	assert_int_equal(rig_events(r, (struct store_events_in){.tenant = T, .limit = 9}).count, 0);
	assert_int_equal(rig_list(r, (struct store_list_in){.tenant = T, .limit = 9}).count, 0);
}

static void a_result_that_was_taken_goes_after_a_day(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, rig_take_one(r, &c, 1), 7), STORE_STORED);
	assert_int_equal(
		rig_result_ack(r, (struct store_result_ack_in){T, rig_id(r, 1)}).result, STORE_OK);
	rig_pass(r, DAY + 1);
	assert_int_equal(rig_sweep_all(r).results_dropped, 1);
}

static void a_claim_that_nobody_settled_is_in_doubt_when_the_result_goes(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, rig_take_one(r, &c, 1)), STORE_GRANTED);
	assert_int_equal(rig_cancel_job(r, 1, true), STORE_OK);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 0);
	rig_pass(r, 7 * DAY + 1);
	assert_int_equal(rig_sweep_all(r).results_dropped, 1);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, "corp-ca", STORE_ORPHAN_KEPT), STORE_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(nothing_is_swept_for_one_lease_after_open),
		RIG_TEST(a_lease_that_is_not_extended_ends),
		RIG_TEST(only_sweep_ends_a_lease),
		RIG_TEST(a_store_reopened_an_hour_ahead_lets_connectors_extend_first),
		RIG_TEST(a_store_reopened_an_hour_behind_does_not_go_back),
		RIG_TEST(a_time_that_was_told_is_kept_though_the_commit_before_it_failed),
		RIG_TEST(a_jump_of_the_clock_holds_the_sweep),
		RIG_TEST(suspend_is_no_jump),
		RIG_TEST(claimed_jobs_of_a_connector_that_is_gone_are_taken_over),
		RIG_TEST(a_takeover_is_swept_in_pieces),
		RIG_TEST(a_restart_of_the_store_starts_the_wait_anew),
		RIG_TEST(a_held_job_is_taken_over_although_its_owner_is_connected),
		RIG_TEST(a_job_that_nobody_took_in_time_is_dead),
		RIG_TEST(a_leased_job_past_its_time_dies_with_its_lease),
		RIG_TEST(a_claim_that_leads_to_nothing_ends_in_doubt_at_its_deadline),
		RIG_TEST(a_result_goes_after_a_week_and_its_header_after_a_month),
		RIG_TEST(a_result_that_was_taken_goes_after_a_day),
		RIG_TEST(a_claim_that_nobody_settled_is_in_doubt_when_the_result_goes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
