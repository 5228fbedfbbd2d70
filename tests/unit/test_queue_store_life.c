/*
 * The store's contract over the years: a store that is an older copy of itself, and a clock that was
 * once far ahead.
 */
#include "tests/support/store_rig_life.h"

static const int64_t YEAR = (int64_t)365 * 24 * HOUR;

static void a_store_that_is_only_reopened_keeps_its_generation(void **state)
{
	struct rig *r = *state;
	uint64_t generation = store_generation(r->store);

	rig_reopen(r);
	assert_false(store_went_back(r->store));
	assert_int_equal(store_generation(r->store), generation);
}

static void a_copy_that_was_put_back_has_a_new_generation_once(void **state)
{
	struct rig *r = *state;
	uint64_t generation = store_generation(r->store);

	rig_back_up(r);
	rig_restore(r);
	assert_true(store_went_back(r->store));
	assert_int_not_equal(store_generation(r->store), generation);
	generation = store_generation(r->store);
	rig_reopen(r);
	assert_false(store_went_back(r->store));
	assert_int_equal(store_generation(r->store), generation);
}

static void an_operator_may_say_that_a_store_went_back(void **state)
{
	struct rig *r = *state;
	uint64_t generation = store_generation(r->store);

	r->config.new_generation = true;
	rig_reopen(r);
	r->config.new_generation = false;
	assert_true(store_went_back(r->store));
	assert_int_not_equal(store_generation(r->store), generation);
}

static void a_store_that_went_back_takes_its_connectors_back_but_no_other_journal(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_back_up(r);
	rig_come_back(r, &c);
	rig_come_back(r, &c);
	rig_restore(r);
	c.journal[0] ^= 1;
	assert_int_equal(rig_dial(r, &c).result, STORE_IDENTITY_CONFLICT);
	c.journal[0] ^= 1;
	assert_int_equal(rig_dial(r, &c).result, STORE_OK);
	assert_int_equal(rig_resume(r, &c, NULL, 0).result, STORE_OK);
	/* once: from here on the nonce counts again */
	memset(c.nonce, 0x11, sizeof(c.nonce));
	assert_int_equal(rig_dial(r, &c).result, STORE_IDENTITY_CONFLICT);
}

static void a_store_that_went_back_gives_out_nothing_before_connectors_had_their_time(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;
	struct store_lease_out out;

	r->config.restored_wait_ms = 2 * RIG_LEASE_MS;
	rig_connect(r, &c, HQ1);
	rig_connect(r, &other, HQ2);
	rig_enqueue_job(r, 1);
	rig_back_up(r);
	rig_restore(r);
	rig_come_back(r, &c);
	out = rig_lease(r, (struct store_lease_in){.session = c.s, .max_jobs = 1});
	assert_int_equal(out.result, STORE_EMPTY);
	assert_in_range(out.next_ms, RIG_LEASE_MS, 2 * RIG_LEASE_MS);
	/* a restart does not end the wait */
	rig_pass(r, RIG_LEASE_MS + 1000);
	rig_reopen(r);
	rig_come_back(r, &c);
	out = rig_lease(r, (struct store_lease_in){.session = c.s, .max_jobs = 1});
	assert_int_equal(out.result, STORE_EMPTY);
	rig_pass(r, RIG_LEASE_MS + 1000);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
}

static void nothing_expires_before_connectors_of_a_store_that_went_back_had_their_time(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	r->config.restored_wait_ms = 2 * RIG_LEASE_MS;
	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	rig_back_up(r);
	rig_restore(r);
	rig_pass(r, RIG_LEASE_MS + 2000);
	assert_int_equal(rig_sweep_all(r).result, STORE_ON_HOLD);
	rig_pass(r, RIG_LEASE_MS);
	assert_int_equal(rig_sweep_all(r).leases_expired, 1);
}

static void the_wait_ends_when_the_last_connector_that_is_known_has_come(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other, gone;

	rig_connect(r, &c, HQ1);
	rig_connect(r, &other, HQ2);
	rig_connect(r, &gone, cc_view_text("hq-3"));
	rig_connector_set(
		r, (struct store_connector_set_in){
			   .tenant = T, .id = gone.name, .set_disabled = true, .disabled = true});
	rig_enqueue_job(r, 1);
	rig_back_up(r);
	rig_restore(r);
	rig_come_back(r, &c);
	assert_int_equal(rig_take(r, &c, 1), 0);
	r->hint_count = 0;
	rig_come_back(r, &other);
	assert_true(rig_hints(r, STORE_HINT_READY, 0) > 0);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
}

/* ---- what was finished since the copy was made ----------------------------------------------------- */

/* And the other connector is back before it. */
static void lose_a_done_job_beside(struct rig *r, struct rig_conn *c, struct rig_conn *other)
{
	rig_connect(r, other, HQ2);
	rig_lose_a_done_job(r, c);
	rig_come_back(r, other);
}

/* The copy has job 1 READY; its connector has claimed it since, and lists it. */
static enum store_result come_back_with_a_claim(struct rig *r, struct rig_conn *c, bool settling)
{
	struct store_held held = {
		.job_id = rig_id(r, 1), .epoch = 1, .claimed = true, .settling = settling};

	rig_connect(r, c, HQ1);
	rig_enqueue_job(r, 1);
	rig_back_up(r);
	rig_restore(r);
	rig_redial(r, c, true);
	rig_resume(r, c, &held, 1);
	return r->items[0].result;
}

static void a_connector_that_has_to_offer_gets_no_work_before_the_end_of_its_offer(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_lose_a_done_job(r, &c);
	rig_enqueue_job(r, 2);
	assert_int_equal(rig_take(r, &c, 9), 0);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SEND);
	assert_int_equal(rig_take(r, &c, 9), 0);
	rig_end_offer(r, &c);
	assert_int_equal(rig_take_one(r, &c, 2), 1);
	/* and is not asked again, even when it did not get the answer */
	assert_false(rig_dial(r, &c).offer);
}

static void a_lost_result_is_wanted_and_its_job_goes_to_nobody_else(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	lose_a_done_job_beside(r, &c, &other);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SEND);
	assert_int_equal(r->items[0].epoch, 1);
	rig_end_offer(r, &c);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_int_equal(rig_take(r, &other, 9), 0);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_STORED);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
	assert_int_equal(r->items[0].winner, 5);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, "corp-ca", STORE_WINNER),
		STORE_DUPLICATE_SAME); /* its claim is on record */
}

static void a_lost_result_that_never_comes_leaves_its_claim_to_the_next_holder(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	lose_a_done_job_beside(r, &c, &other);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SEND);
	rig_end_offer(r, &c);
	rig_hang_up(r, &c);
	rig_pass(r, 16 * MINUTE);
	rig_sweep_all(r);
	rig_pass(r, 2 * MINUTE); /* the hold after the jump of the clock */
	assert_int_equal(rig_sweep_all(r).result, STORE_OK);
	assert_int_equal(rig_take_one(r, &other, 1), 2);
	assert_int_equal(r->items[0].prior, 1);
}

static void a_store_that_knows_the_result_wants_nothing(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_STORED);
	c.generation = store_generation(r->store);
	rig_back_up(r);
	rig_restore(r);
	rig_come_back(r, &c);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SAME);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 7, 1, 5)), STORE_UNKNOWN_JOB);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 6)), STORE_ALREADY_DONE);
	assert_int_equal(r->items[0].winner, 5);
}

static void a_connector_that_comes_too_late_sends_under_an_epoch_of_its_own(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	lose_a_done_job_beside(r, &c, &other);
	rig_pass(r, 16 * MINUTE);
	assert_int_equal(rig_take_one(r, &other, 1), 1);
	assert_int_equal(rig_claim_at(r, &other, 1, 1, "corp-ca", 41), STORE_GRANTED);
	r->hint_count = 0;
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SEND);
	assert_int_equal(r->items[0].epoch, 2);
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->result, STORE_LOST);
	assert_string_equal(rig_last_hint(r, STORE_HINT_GONE)->connector, "hq-2");
	assert_int_equal(rig_succeed(r, HQ1, 1, 2, 5), STORE_STORED);
	/* the other's certificate, if there is one, is accounted for */
	assert_int_equal(rig_succeed(r, HQ2, 1, 1, 6), STORE_ALREADY_DONE);
	assert_int_equal(rig_settle_at(r, HQ2, 1, 1, "corp-ca", STORE_ORPHAN_KEPT), STORE_OK);
}

static void a_dead_job_of_which_a_certificate_is_offered_asks_the_ca_when_it_runs_again(
	void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_lose_a_done_job(r, &c);
	rig_bury(r, (struct store_bury_in){
			    .tenant = T, .job_id = rig_id(r, 1), .by = cc_view_text("op")});
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_ALREADY_DEAD);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	rig_end_offer(r, &c);
	assert_int_equal(rig_replay(r, (struct store_replay_in){.tenant = T,
					       .job_id = rig_id(r, 1),
					       .by = cc_view_text("op")})
				 .result,
		STORE_OK);
	assert_int_equal(rig_take_one(r, &c, 1), 2);
	assert_int_equal(r->items[0].prior, 1);
}

static void a_doubt_that_is_offered_is_recorded_and_the_job_goes_on(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_lose_a_done_job(r, &c);
	assert_int_equal(
		rig_offer_one(r, &c, rig_only_claimed(r, 1, 1, STORE_IN_DOUBT)), STORE_SAME);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	rig_end_offer(r, &c);
	assert_int_equal(rig_take_one(r, &c, 1), 2);
	assert_int_equal(r->items[0].prior, 1);
}

/* Its connector asks the CA about it; whoever gets the job meanwhile does too, and the settlement counts. */
static void an_open_claim_that_is_offered_is_recorded_and_settled_later(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_offered open = rig_only_claimed(r, 1, 1, STORE_UNSETTLED);

	rig_lose_a_done_job(r, &c);
	assert_int_equal(rig_offer_one(r, &c, open), STORE_SAME);
	assert_int_equal(rig_offer_one(r, &c, open), STORE_SAME);  /* once */
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1); /* the job is nobody's now */
	rig_end_offer(r, &c);
	assert_int_equal(rig_take_one(r, &c, 1), 2);
	assert_int_equal(r->items[0].prior, 1);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, "corp-ca", STORE_NOT_ISSUED), STORE_OK);
}

/* In the copy the job is claimed by its connector, whose journal has it as done. */
static void what_was_claimed_in_the_copy_waits_for_the_offer(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_enqueue_job(r, 2);
	rig_take_one(r, &c, 1);
	rig_take_one(r, &c, 2);
	assert_int_equal(rig_claim_one(r, &c, 1, 1), STORE_GRANTED);
	c.generation = store_generation(r->store);
	rig_back_up(r);
	rig_restore(r);
	rig_redial(r, &c, true);
	assert_int_equal(rig_resume(r, &c, NULL, 0).in_doubt, 0);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SEND);
	rig_end_offer(r, &c);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 0);
	assert_int_equal(rig_state(r, 2), STORE_READY); /* neither listed nor offered */
}

static void a_claimed_job_that_a_store_forgot_is_its_connectors_again(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	assert_int_equal(come_back_with_a_claim(r, &c, false), STORE_KEEP);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_int_equal(rig_claim_one(r, &c, 1, 1), STORE_GRANTED);
}

static void what_is_only_cleared_up_is_not_taken_back(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	assert_int_equal(come_back_with_a_claim(r, &c, true), STORE_LOST);
	assert_int_equal(rig_state(r, 1), STORE_READY);
}

static void an_offer_that_nobody_asked_for_is_not_taken(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_offered job = rig_finished(r, 1, 1, 5);

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_offer_page(r, &c, &job, 1, true), STORE_INVALID);
	assert_int_equal(rig_state(r, 1), STORE_READY);
	c.generation = store_generation(r->store) ^ 1;
	assert_false(rig_dial(r, &c).offer);
}

static void an_offer_that_was_cut_off_begins_anew(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_lose_a_done_job(r, &c);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SEND);
	rig_hang_up(r, &c);
	rig_reopen(r);
	assert_true(rig_dial(r, &c).offer);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_offer_one(r, &c, rig_finished(r, 1, 1, 5)), STORE_SEND);
	assert_int_equal(r->items[0].epoch, 1);
	rig_end_offer(r, &c);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_STORED);
}

/* The lease and the claim came after the backup: the result is taken all the same. */
static void a_result_of_a_lease_that_the_store_forgot_is_taken(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_back_up(r);
	rig_come_back(r, &c);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
	rig_restore(r);
	rig_come_back(r, &c);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_STORED);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_DUPLICATE_SAME);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
}

static void a_store_that_never_went_back_takes_no_result_without_its_lease(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_UNKNOWN_ATTEMPT);
}

static void a_job_that_a_store_which_went_back_finds_unlisted_counts_no_crash(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	rig_back_up(r);
	rig_restore(r);
	rig_redial(r, &c, true);
	assert_int_equal(rig_resume(r, &c, NULL, 0).requeued, 1);
	assert_int_equal(rig_fetch(r, (struct store_fetch_in){.tenant = T, .job_id = rig_id(r, 1)})
				 .job.crash_suspect,
		0);
}

/* ---- a clock that was far ahead -------------------------------------------------------------------- */

static void reset_clock(struct rig *r)
{
	r->config.reset_clock = true;
	rig_reopen(r);
	r->config.reset_clock = false;
	rig_reopen(r);
}

static void a_clock_that_was_ahead_is_told_and_stays(void **state)
{
	struct rig *r = *state;

	rig_shift(r, YEAR, 0);
	rig_sweep_all(r);
	rig_reopen(r);
	rig_shift(r, -YEAR, 0);
	rig_reopen(r);
	assert_in_range(store_clock_ahead_ms(r->store), YEAR - MINUTE, YEAR + MINUTE);
}

static void a_reset_clock_starts_from_realtime_and_jobs_are_taken_again(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_enqueue_in in;

	rig_connect(r, &c, HQ1);
	rig_shift(r, YEAR, 0);
	rig_reopen(r);
	rig_shift(r, -YEAR, 0);
	rig_reopen(r);
	in = rig_new_job(r, 1, STORE_ISSUE);
	in.not_after_ms = clock_realtime_ms() + HOUR; /* as producers have it */
	assert_int_equal(rig_enqueue(r, in).result, STORE_EXPIRED);
	reset_clock(r);
	assert_in_range(store_clock_ahead_ms(r->store), 0, 1000);
	assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
	rig_come_back(r, &c);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
}

/* Given out while the clock was ahead: leases, delays and claims end as if they began now. */
static void what_the_wrong_clock_made_too_long_is_shortened(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_shift(r, YEAR, 0);
	for (uint32_t job = 1; job <= 3; job++) {
		struct store_enqueue_in in = rig_new_job(r, job, STORE_ISSUE);
		in.not_after_ms += YEAR;
		assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
		assert_int_equal(rig_take_one(r, &c, job), 1);
	}
	assert_int_equal(rig_claim_one(r, &c, 2, 1), STORE_GRANTED);
	struct store_nack_in nack = rig_nack_in(r, &c, 3, 1, STORE_NACK_BUSY);
	nack.delay_ms = HOUR;
	assert_int_equal(rig_nack(r, nack).result, STORE_OK);
	rig_shift(r, -YEAR, 0);
	reset_clock(r);
	rig_pass(r, RIG_LEASE_MS + 1000);
	assert_int_equal(rig_sweep_all(r).leases_expired, 1);
	assert_int_equal(rig_state(r, 1), STORE_READY);
	assert_int_equal(rig_state(r, 2), STORE_CLAIMED);
	rig_redial(r, &c, false);
	struct store_held held = {.job_id = rig_id(r, 2), .epoch = 1, .claimed = true};
	assert_int_equal(rig_resume(r, &c, &held, 1).kept, 1);
	assert_int_equal(
		rig_lease(r, (struct store_lease_in){.session = c.s, .max_jobs = 9}).count, 2);
}

static void a_finished_job_goes_in_its_time_after_a_reset(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	r->config.retention_s = 3600;
	r->config.header_retention_s = 7200;
	rig_connect(r, &c, HQ1);
	rig_shift(r, YEAR, 0);
	struct store_enqueue_in in = rig_new_job(r, 1, STORE_ISSUE);
	in.not_after_ms += YEAR;
	rig_enqueue(r, in);
	rig_take_one(r, &c, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_STORED);
	rig_shift(r, -YEAR, 0);
	reset_clock(r);
	rig_pass(r, HOUR + MINUTE);
	assert_int_equal(rig_sweep_all(r).results_dropped, 1);
	rig_pass(r, HOUR);
	assert_int_equal(rig_sweep_all(r).headers_dropped, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_store_that_is_only_reopened_keeps_its_generation),
		RIG_TEST(a_copy_that_was_put_back_has_a_new_generation_once),
		RIG_TEST(an_operator_may_say_that_a_store_went_back),
		RIG_TEST(a_store_that_went_back_takes_its_connectors_back_but_no_other_journal),
		RIG_TEST(a_store_that_went_back_gives_out_nothing_before_connectors_had_their_time),
		RIG_TEST(
			nothing_expires_before_connectors_of_a_store_that_went_back_had_their_time),
		RIG_TEST(the_wait_ends_when_the_last_connector_that_is_known_has_come),
		RIG_TEST(a_connector_that_has_to_offer_gets_no_work_before_the_end_of_its_offer),
		RIG_TEST(a_lost_result_is_wanted_and_its_job_goes_to_nobody_else),
		RIG_TEST(a_lost_result_that_never_comes_leaves_its_claim_to_the_next_holder),
		RIG_TEST(a_store_that_knows_the_result_wants_nothing),
		RIG_TEST(a_connector_that_comes_too_late_sends_under_an_epoch_of_its_own),
		RIG_TEST(
			a_dead_job_of_which_a_certificate_is_offered_asks_the_ca_when_it_runs_again),
		RIG_TEST(a_doubt_that_is_offered_is_recorded_and_the_job_goes_on),
		RIG_TEST(an_open_claim_that_is_offered_is_recorded_and_settled_later),
		RIG_TEST(what_was_claimed_in_the_copy_waits_for_the_offer),
		RIG_TEST(a_claimed_job_that_a_store_forgot_is_its_connectors_again),
		RIG_TEST(what_is_only_cleared_up_is_not_taken_back),
		RIG_TEST(an_offer_that_nobody_asked_for_is_not_taken),
		RIG_TEST(an_offer_that_was_cut_off_begins_anew),
		RIG_TEST(a_result_of_a_lease_that_the_store_forgot_is_taken),
		RIG_TEST(a_store_that_never_went_back_takes_no_result_without_its_lease),
		RIG_TEST(a_job_that_a_store_which_went_back_finds_unlisted_counts_no_crash),
		RIG_TEST(a_clock_that_was_ahead_is_told_and_stays),
		RIG_TEST(a_reset_clock_starts_from_realtime_and_jobs_are_taken_again),
		RIG_TEST(what_the_wrong_clock_made_too_long_is_shortened),
		RIG_TEST(a_finished_job_goes_in_its_time_after_a_reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
