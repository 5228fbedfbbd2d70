/*
 * The store's contract under races: two sessions at once, late results in every state, duplicates and
 * a failure in the middle of a batch.
 */
#include "tests/support/store_rig_jobs.h"

/* Answers in the order in which they came. */
struct answers {
	struct rig *rig;
	size_t waiting, count;
	cc_err err[64];
	enum store_result result[64];
};

static void note(struct answers *a, cc_err err, enum store_result result)
{
	assert_true(a->count < 64);
	a->err[a->count] = err;
	a->result[a->count] = result;
	a->count++;
	if (--a->waiting == 0)
		rig_answered(a->rig);
}

static void enqueued(void *arg, const struct store_enqueue_out *out)
{
	note(arg, out->err, out->result);
}

static void completed(void *arg, const struct store_complete_out *out)
{
	note(arg, out->err, out->result);
}

static void leased(void *arg, const struct store_lease_out *out)
{
	note(arg, out->err, out->result);
}

static void claimed(void *arg, const struct store_claim_out *out)
{
	note(arg, out->err, out->count == 1 ? out->items[0].result : out->result);
}

static void cancelled(void *arg, const struct store_cancel_out *out)
{
	note(arg, out->err, out->result);
}

static void nacked(void *arg, const struct store_nack_out *out)
{
	note(arg, out->err, out->result);
}

static void settled(void *arg, const struct store_settle_out *out)
{
	note(arg, out->err, out->result);
}

static void opened(void *arg, const struct store_session_open_out *out)
{
	note(arg, out->err, out->result);
}

static void parked(void *arg, const struct store_park_out *out)
{
	note(arg, out->err, out->result);
}

static void extended(void *arg, const struct store_extend_out *out)
{
	note(arg, out->err, out->count == 1 ? out->items[0].result : out->result);
}

static void taken_over(void *arg, const struct store_takeover_out *out)
{
	note(arg, out->err, out->result);
}

static struct answers expect(struct rig *r, size_t count)
{
	r->answered = false;
	return (struct answers){.rig = r, .waiting = count};
}

/* ---- a batch -------------------------------------------------------------------------------------- */

static void a_duplicate_in_one_batch_is_the_same_job(void **state)
{
	struct rig *r = *state;
	struct store_enqueue_in in = rig_new_job(r, 1, STORE_ISSUE);
	struct answers a = expect(r, 3);

	store_enqueue(r->store, &in, enqueued, &a);
	store_enqueue(r->store, &in, enqueued, &a);
	in.body_sha256 = rig_digest(9);
	store_enqueue(r->store, &in, enqueued, &a);
	rig_wait(r);
	assert_int_equal(a.result[0], STORE_NEW);
	assert_int_equal(a.result[1], STORE_SAME);
	assert_int_equal(a.result[2], STORE_CONFLICT);
}

static void the_same_result_twice_in_one_batch_is_stored_once(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct answers a;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	struct store_complete_in in = rig_success(r, HQ1, 1, rig_take_one(r, &c, 1), 7);
	a = expect(r, 2);
	store_complete(r->store, &in, completed, &a);
	store_complete(r->store, &in, completed, &a);
	rig_wait(r);
	assert_int_equal(a.result[0], STORE_STORED);
	assert_int_equal(a.result[1], STORE_DUPLICATE_SAME);
	assert_int_equal(rig_hints(r, STORE_HINT_FINAL, 1), 1);
}

static void a_failure_in_mid_batch_hurts_only_the_one_that_failed(void **state)
{
	struct rig *r = *state;
	struct answers a = expect(r, 5);

	for (uint32_t i = 1; i <= 5; i++) {
		struct store_enqueue_in in = rig_new_job(r, i, STORE_ISSUE);
		if (i == 3)
			store_fail_next_for_test(r->store);
		store_enqueue(r->store, &in, enqueued, &a);
	}
	assert_int_equal(a.count, 0); /* nothing is answered from inside the call */
	rig_wait(r);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(a.err[i], i == 2 ? CC_IO : CC_OK);
		if (i != 2)
			assert_int_equal(a.result[i], STORE_NEW);
	}
	assert_int_equal(rig_hints(r, STORE_HINT_READY, 0), 4);
	assert_int_equal(
		rig_fetch(r, (struct store_fetch_in){T, rig_id(r, 3), false, false}).result,
		STORE_UNKNOWN);
	struct store_stats_out stats = rig_stats(r, (struct store_stats_in){T});
	assert_int_equal(stats.jobs[STORE_READY], 4);
	assert_int_equal(rig_enqueue(r, rig_new_job(r, 3, STORE_ISSUE)).result, STORE_NEW);
}

static void what_was_answered_is_there_after_a_restart(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint64_t generation = store_generation(r->store);

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_enqueue_job(r, 2);
	assert_int_equal(rig_succeed(r, HQ1, 1, rig_take_one(r, &c, 1), 7), STORE_STORED);
	rig_reopen(r);
	assert_int_equal(store_generation(r->store), generation);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
	assert_int_equal(rig_state(r, 2), STORE_READY);
	assert_int_equal(rig_lease(r, (struct store_lease_in){c.s, 1, 0}).result, STORE_SUPERSEDED);
	r->config.new_generation = true;
	rig_reopen(r);
	assert_int_not_equal(store_generation(r->store), generation);
}

static void closing_with_work_in_flight_answers_nobody_and_leaks_nothing(void **state)
{
	struct rig *r = *state;
	struct answers a = expect(r, 20);

	for (uint32_t i = 1; i <= 20; i++) {
		struct store_enqueue_in in = rig_new_job(r, i, STORE_ISSUE);
		store_enqueue(r->store, &in, enqueued, &a);
	}
	rig_reopen(r);
	assert_int_equal(a.count, 0);
	assert_int_equal(rig_state(r, 20), STORE_READY); /* handed over is finished */
}

static void a_store_has_one_opener(void **state)
{
	struct rig *r = *state;
	struct store *first = r->store;

	assert_int_equal(rig_open_store(r), CC_LOCKED);
	assert_ptr_equal(r->store, first);
}

static void who_does_not_listen_any_more_hears_nothing(void **state)
{
	struct rig *r = *state;

	rig_enqueue_job(r, 1);
	assert_int_equal(rig_hints(r, STORE_HINT_READY, 0), 1);
	store_unlisten(r->store, rig_hint, r);
	rig_enqueue_job(r, 2);
	assert_int_equal(rig_hints(r, STORE_HINT_READY, 0), 1);
	assert_int_equal(store_waiting(r->store), 0);
	assert_int_equal(store_lease_ms(r->store), RIG_LEASE_MS);
}

/* ---- two sessions race each operation --------------------------------------------------------------- */

static void one_job_goes_to_one_of_two(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;
	struct answers got;

	rig_connect(r, &a, HQ1);
	rig_connect(r, &b, HQ2);
	rig_enqueue_job(r, 1);
	got = expect(r, 2);
	struct store_lease_in first = {a.s, 4, 0}, second = {b.s, 4, 0};
	store_lease(r->store, &first, leased, &got);
	store_lease(r->store, &second, leased, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_OK);
	assert_int_equal(got.result[1], STORE_EMPTY);
}

/* Two attempts of one job: HQ1's lease ended, HQ2 has epoch 2. */
static void two_attempts(struct rig *r, struct rig_conn *a, struct rig_conn *b)
{
	rig_connect(r, a, HQ1);
	rig_connect(r, b, HQ2);
	rig_enqueue_job(r, 1);
	rig_take_one(r, a, 1);
	rig_pass(r, RIG_LEASE_MS + 1);
	assert_int_equal(rig_sweep_all(r).leases_expired, 1);
	assert_int_equal(rig_take_one(r, b, 1), 2);
}

static void of_two_results_the_first_wins(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;
	struct answers got;

	two_attempts(r, &a, &b);
	struct store_complete_in late = rig_success(r, HQ1, 1, 1, 7);
	struct store_complete_in current = rig_success(r, HQ2, 1, 2, 8);
	got = expect(r, 2);
	store_complete(r->store, &late, completed, &got);
	store_complete(r->store, &current, completed, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_STORED);
	assert_int_equal(got.result[1], STORE_ALREADY_DONE);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
	assert_int_equal(r->items[0].winner, 7);
}

static void of_two_claims_only_the_holders_is_granted(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;
	struct answers got;

	two_attempts(r, &a, &b);
	struct store_claim old = {.job_id = rig_id(r, 1),
		.epoch = 1,
		.ca = cc_view_text("corp-ca"),
		.csr_sha256 = rig_digest(1),
		.spki_sha256 = rig_digest(1),
		.txid = cc_view_part(rig_digest(1), 0, 16)};
	struct store_claim new = old;
	new.epoch = 2;
	struct store_claim_in first = {a.s, &old, 1}, second = {b.s, &new, 1},
			      stolen = {a.s, &new, 1};
	got = expect(r, 3);
	store_claim(r->store, &first, claimed, &got);
	store_claim(r->store, &second, claimed, &got);
	store_claim(r->store, &stolen, claimed, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_LOST);
	assert_int_equal(got.result[1], STORE_GRANTED);
	assert_int_equal(got.result[2], STORE_LOST);
}

static void the_epoch_fences_extend_park_nack_and_failure(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;
	struct answers got;

	two_attempts(r, &a, &b);
	assert_int_equal(rig_claim_one(r, &b, 1, 2), STORE_GRANTED);
	struct store_lease_id lease = {rig_id(r, 1), 1};
	struct store_extend_in extend = {a.s, &lease, 1};
	struct store_park_in park = {.session = a.s, .job_id = rig_id(r, 1), .epoch = 1};
	struct store_nack_in nack = rig_nack_in(r, &a, 1, 1, STORE_NACK_BUSY);
	struct store_complete_in failure = {.tenant = T,
		.connector = HQ1,
		.transport_sha256 = rig_digest(9),
		.job_id = rig_id(r, 1),
		.epoch = 1};
	struct store_settle_in settle = {.tenant = T,
		.connector = HQ1,
		.transport_sha256 = rig_digest(9),
		.job_id = rig_id(r, 1),
		.epoch = 2,
		.ca = cc_view_text("corp-ca"),
		.outcome = STORE_NOT_ISSUED};
	got = expect(r, 5);
	store_extend(r->store, &extend, extended, &got);
	store_park(r->store, &park, parked, &got);
	store_nack(r->store, &nack, nacked, &got);
	store_complete(r->store, &failure, completed, &got);
	store_settle(r->store, &settle, settled, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_LOST);
	assert_int_equal(got.result[1], STORE_LOST);
	assert_int_equal(got.result[2], STORE_STALE_EPOCH);
	assert_int_equal(got.result[3], STORE_STALE_EPOCH);
	assert_int_equal(got.result[4], STORE_UNKNOWN_ATTEMPT);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
}

static void cancel_and_result_in_one_batch_agree_on_one_end(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct answers got;

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 2; i++) {
		rig_enqueue_job(r, i);
		rig_take_one(r, &c, i);
	}
	struct store_cancel_in cancel = {.tenant = T, .job_id = rig_id(r, 1)};
	struct store_complete_in result = rig_success(r, HQ1, 1, 1, 7);
	got = expect(r, 4);
	store_cancel(r->store, &cancel, cancelled, &got);
	store_complete(r->store, &result, completed, &got);
	result = rig_success(r, HQ1, 2, 1, 7);
	cancel.job_id = rig_id(r, 2);
	store_complete(r->store, &result, completed, &got);
	store_cancel(r->store, &cancel, cancelled, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_OK);
	assert_int_equal(got.result[1], STORE_CANCELLED);
	assert_int_equal(got.result[2], STORE_STORED);
	assert_int_equal(got.result[3], STORE_ALREADY);
}

static void two_hellos_with_one_nonce_leave_one_session(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct answers got;

	rig_enrol(r, &c, HQ1);
	struct store_session_open_in in = {.tenant = T,
		.connector = HQ1,
		.instance_id = cc_view_of(c.instance, 16),
		.journal_id = cc_view_of(c.journal, 16),
		.certificate_sha256 = rig_digest(9)};
	got = expect(r, 2);
	store_session_open(r->store, &in, opened, &got);
	store_session_open(r->store, &in, opened, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_OK);
	assert_int_equal(got.result[1], STORE_OK);
	assert_int_equal(rig_stats(r, (struct store_stats_in){T}).sessions, 1);
	struct store_session_close_in first = {{T, HQ1, 1}}, second = {{T, HQ1, 2}};
	assert_int_equal(rig_session_close(r, first).result, STORE_SUPERSEDED);
	assert_int_equal(rig_session_close(r, second).result, STORE_OK);
	assert_int_equal(rig_stats(r, (struct store_stats_in){T}).sessions, 0);
}

static void two_takeovers_of_one_job_are_one(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct answers got;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, rig_take_one(r, &c, 1)), STORE_GRANTED);
	rig_hang_up(r, &c);
	rig_pass(r, 15 * 60 * 1000);
	struct store_takeover_in in = {T, rig_id(r, 1), CC_VIEW_NONE};
	got = expect(r, 2);
	store_takeover(r->store, &in, taken_over, &got);
	store_takeover(r->store, &in, taken_over, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_OK);
	assert_int_equal(got.result[1], STORE_NOT_DUE);
}

/* ---- a result of epoch 1 in each state --------------------------------------------------------------- */

static void a_late_result_wins_a_ready_job(void **state)
{
	struct rig *r = *state;
	struct rig_conn a;

	rig_connect(r, &a, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &a, 1);
	rig_pass(r, RIG_LEASE_MS + 1);
	assert_int_equal(rig_sweep_all(r).leases_expired, 1);
	assert_int_equal(rig_fail(r, HQ1, 1, 1, STORE_UNSETTLED), STORE_STALE_EPOCH);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_STORED);
	assert_int_equal(rig_take(r, &a, 1), 0);
}

static void a_late_result_wins_a_job_leased_to_another(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;

	two_attempts(r, &a, &b);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_STORED);
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->result, STORE_ALREADY_DONE);
	assert_string_equal(rig_last_hint(r, STORE_HINT_GONE)->connector, "hq-2");
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->epoch, 2);
	assert_int_equal(rig_succeed(r, HQ2, 1, 2, 8), STORE_ALREADY_DONE);
}

static void a_late_result_wins_a_job_claimed_by_another(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;

	two_attempts(r, &a, &b);
	assert_int_equal(rig_claim_one(r, &b, 1, 2), STORE_GRANTED);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_STORED);
	/* the claim of the other stays open until it is settled */
	assert_int_equal(rig_claim_one(r, &b, 1, 2), STORE_ALREADY_DONE);
	assert_int_equal(rig_settle_at(r, HQ2, 1, 2, "corp-ca", STORE_NOT_ISSUED), STORE_OK);
}

static void a_late_result_of_a_done_job_hears_of_the_winner(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;

	two_attempts(r, &a, &b);
	assert_int_equal(rig_succeed(r, HQ2, 1, 2, 8), STORE_STORED);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_ALREADY_DONE);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 8), STORE_DUPLICATE_SAME);
	assert_int_equal(rig_fail(r, HQ1, 1, 1, STORE_UNSETTLED), STORE_ALREADY_DONE);
}

static void a_late_result_of_a_dead_job_is_too_late(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;

	two_attempts(r, &a, &b);
	assert_int_equal(rig_fail(r, HQ2, 1, 2, STORE_UNSETTLED), STORE_STORED);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_ALREADY_DEAD);
	assert_int_equal(rig_fail(r, HQ1, 1, 1, STORE_UNSETTLED), STORE_ALREADY_DEAD);
}

static void a_result_of_an_earlier_run_still_wins(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;

	two_attempts(r, &a, &b);
	assert_int_equal(rig_fail(r, HQ2, 1, 2, STORE_UNSETTLED), STORE_STORED);
	assert_int_equal(rig_replay(r,
				 (struct store_replay_in){
					 .tenant = T, .job_id = rig_id(r, 1), .by = CC_VIEW_NONE})
				 .result,
		STORE_OK);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_STORED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_duplicate_in_one_batch_is_the_same_job),
		RIG_TEST(the_same_result_twice_in_one_batch_is_stored_once),
		RIG_TEST(a_failure_in_mid_batch_hurts_only_the_one_that_failed),
		RIG_TEST(what_was_answered_is_there_after_a_restart),
		RIG_TEST(closing_with_work_in_flight_answers_nobody_and_leaks_nothing),
		RIG_TEST(a_store_has_one_opener),
		RIG_TEST(who_does_not_listen_any_more_hears_nothing),
		RIG_TEST(one_job_goes_to_one_of_two),
		RIG_TEST(of_two_results_the_first_wins),
		RIG_TEST(of_two_claims_only_the_holders_is_granted),
		RIG_TEST(the_epoch_fences_extend_park_nack_and_failure),
		RIG_TEST(cancel_and_result_in_one_batch_agree_on_one_end),
		RIG_TEST(two_hellos_with_one_nonce_leave_one_session),
		RIG_TEST(two_takeovers_of_one_job_are_one),
		RIG_TEST(a_late_result_wins_a_ready_job),
		RIG_TEST(a_late_result_wins_a_job_leased_to_another),
		RIG_TEST(a_late_result_wins_a_job_claimed_by_another),
		RIG_TEST(a_late_result_of_a_done_job_hears_of_the_winner),
		RIG_TEST(a_late_result_of_a_dead_job_is_too_late),
		RIG_TEST(a_result_of_an_earlier_run_still_wins),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
