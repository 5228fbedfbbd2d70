/*
 * PENDING, WATCH and SETTLING, row by row: what the CA says, what the queue says, what time does, and a
 * restart.
 */
#include "tests/support/connector_rig.h"

static void begin_pending(struct rig *r)
{
	r->runners[0].submit = CA__CA_RESULT__CA_PENDING;
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, PENDING), 1);
}

/* The CA's 60 s and what is added so that not all come at once. */
static void until_poll(struct rig *r)
{
	rig_pass(r, 70000);
}

static const int64_t day = INT64_C(86400) * 1000;

static void assert_doubts(const struct rig *r, size_t expected)
{
	size_t doubts = 99;
	assert_int_equal(journal_count_doubts(r->journal, &doubts), CC_OK);
	assert_int_equal(doubts, expected);
}

static void pass_deadline(struct rig *r)
{
	rig_pass_due(r, 7 * day);
}

/* ---- PENDING ---- */

static void a_pending_job_is_parked_with_its_deadline_and_the_cas_reference(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	const Certq__Park *park = RIG_LAST(r, PARK)->park;
	assert_int_equal(RIG_SENT(r, PARK), 1);
	assert_true(
		park->deadline_ms > 6 * (uint64_t)day && park->deadline_ms <= 7 * (uint64_t)day);
	assert_text(park->ref, "request-7");
}

static void a_park_without_an_answer_is_said_again(void **state)
{
	struct rig *r = *state;
	r->no_park_answer = true;
	begin_pending(r);
	r->no_park_answer = false;
	until_poll(r);
	assert_true(RIG_SENT(r, PARK) >= 2);
}

static void a_pending_job_is_polled_when_it_is_due_and_not_before(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	rig_pass(r, 45000);
	assert_int_equal(r->runners[0].polled, 0);
	rig_pass(r, 30000);
	assert_int_equal(r->runners[0].polled, 1);
	assert_int_equal(r->last_op, VAULT__ORDER_OP__ORDER_POLL);
	assert_int_equal(RIG_IN(r, PENDING), 1);
	until_poll(r);
	assert_int_equal(r->runners[0].polled, 2);
}

/* As a host without a battery for its clock starts; the network sets it right. */
static void a_clock_that_was_behind_at_the_start_does_not_put_the_poll_off(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	clock_shift_for_test(r->shift - INT64_C(24) * 3600 * 1000, r->shift);
	rig_restart(r);
	rig_turn(r);
	assert_int_equal(RIG_IN(r, PENDING), 1);
	assert_int_equal(r->runners[0].polled, 0);
	rig_pass(r, 75000); /* the clock is right again */
	assert_int_equal(r->runners[0].polled, 1);
	rig_pass(r, 15000);
	assert_int_equal(r->runners[0].polled, 1);
}

static void a_request_that_is_approved_ends_with_its_certificate(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	r->runners[0].poll = CA__CA_RESULT__CA_ISSUED;
	until_poll(r);
	rig_assert_done(r, "job-1", "issue");
	assert_int_equal(r->runners[0].submitted, 1);
	assert_doubts(r, 0);
}

static void a_request_that_is_refused_fails_the_job_and_settles_its_claim(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	r->runners[0].poll = CA__CA_RESULT__CA_REJECTED;
	until_poll(r);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_false(result->success);
	assert_text(result->code, "ca_rejected");
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	rig_assert_done(r, "job-1", "failed");
}

static void a_request_that_is_gone_at_the_ca_fails_the_job(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	r->runners[0].poll = CA__CA_RESULT__CA_NOT_ISSUED;
	until_poll(r);
	assert_int_equal(RIG_LAST(r, RESULT)->result->settle, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	rig_assert_done(r, "job-1", "failed");
}

static void a_ca_that_is_away_is_polled_again(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	r->runners[0].poll = CA__CA_RESULT__CA_NOT_SENT;
	until_poll(r);
	assert_int_equal(RIG_IN(r, PENDING), 1);
	r->runners[0].poll = CA__CA_RESULT__CA_ISSUED;
	until_poll(r);
	rig_assert_done(r, "job-1", "issue");
}

static void a_cookie_that_does_not_open_is_replaced_by_asking_which_request_is_ours(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	r->runners[0].poll = CA__CA_RESULT__CA_ORDER_REFUSED;
	r->runners[0].find = CA__CA_RESULT__CA_PENDING;
	until_poll(r);
	rig_pass(r, 15000);
	assert_int_equal(r->runners[0].found, 1);
	assert_int_equal(RIG_IN(r, PENDING), 1);
	r->runners[0].poll = CA__CA_RESULT__CA_ISSUED;
	until_poll(r);
	rig_assert_done(r, "job-1", "issue");
}

static void a_pending_answer_without_a_cookie_is_a_doubt_and_the_ca_is_asked_again(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_PENDING;
	r->runners[0].no_cookie = true;
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	rig_pass(r, 15000);
	assert_int_equal(r->runners[0].submitted, 1);
	rig_assert_done(r, "job-1", "issue");
}

static void after_a_restart_nothing_is_asked_before_the_queue_has_spoken(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	r->mute = true;
	rig_restart(r);
	until_poll(r);
	assert_int_equal(r->runners[0].polled, 0);
	r->mute = false;
	rig_restart(r);
	assert_int_equal(r->runners[0].polled, 1);
	assert_true(RIG_SENT(r, PARK) >= 2);
	assert_text(RIG_LAST(r, PARK)->park->ref, "request-7");
}

static void a_restart_does_not_make_the_deadline_longer(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	rig_pass(r, 3 * day);
	rig_restart(r);
	assert_true(RIG_LAST(r, PARK)->park->deadline_ms < 5 * (uint64_t)day);
	rig_pass_due(r, 4 * day);
	assert_int_equal(r->runners[0].withdrawn, 1);
}

static void at_the_deadline_the_request_is_withdrawn_and_the_job_fails(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	pass_deadline(r);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_int_equal(r->runners[0].withdrawn, 1);
	assert_text(result->code, "pending_deadline");
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	rig_assert_done(r, "job-1", "failed");
	assert_doubts(r, 0);
}

static void a_request_that_was_granted_at_the_last_moment_is_delivered(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	r->runners[0].withdraw = CA__CA_RESULT__CA_ISSUED;
	pass_deadline(r);
	rig_assert_done(r, "job-1", "issue");
}

/* ---- WATCH ---- */

/* The deadline passes, and the CA does not take requests back. */
static void begin_watch(struct rig *r)
{
	r->runners[0].can_withdraw = false;
	rig_restart(r); /* the runner says anew what it can do */
	begin_pending(r);
	pass_deadline(r);
	assert_int_equal(RIG_IN(r, WATCH), 1);
	assert_int_equal(r->runners[0].withdrawn, 0);
}

static void what_cannot_be_withdrawn_fails_in_doubt_and_is_watched(void **state)
{
	struct rig *r = *state;
	begin_watch(r);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_text(result->code, "pending_deadline");
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	assert_doubts(r, 1);
	rig_forget_frames(r);
	rig_restart(r);
	assert_int_equal(RIG_IN(r, WATCH), 1);
	assert_int_equal(RIG_LAST(r, HELLO)->hello->held_total, 0);
}

static void a_ca_that_is_away_at_the_deadline_is_tried_and_then_watched(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	r->runners[0].withdraw = CA__CA_RESULT__CA_NOT_SENT;
	rig_pass(r, 7 * day);
	rig_pass(r, 90000);
	assert_int_equal(r->runners[0].withdrawn, 3);
	assert_int_equal(RIG_IN(r, WATCH), 1);
	r->runners[0].withdraw = CA__CA_RESULT__CA_NOT_ISSUED;
	rig_pass_due(r, 12 * 60000);
	RIG_ASSERT_SETTLED(r, NOT_ISSUED);
	rig_assert_done(r, "job-1", "not_issued");
	assert_doubts(r, 0);
}

static void a_watched_request_that_is_refused_settles_the_claim_exactly(void **state)
{
	struct rig *r = *state;
	begin_watch(r);
	r->runners[0].poll = CA__CA_RESULT__CA_REJECTED;
	rig_pass_due(r, 12 * 60000);
	RIG_ASSERT_SETTLED(r, NOT_ISSUED);
	rig_assert_done(r, "job-1", "not_issued");
	assert_doubts(r, 0);
}

static void a_watched_request_that_is_granted_is_an_orphan(void **state)
{
	struct rig *r = *state;
	begin_watch(r);
	r->runners[0].poll = CA__CA_RESULT__CA_ISSUED;
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	rig_pass_due(r, 12 * 60000);
	const Certq__Settle *settle = RIG_LAST(r, SETTLE)->settle;
	assert_int_equal(settle->outcome, CERTQ__SETTLEMENT__SETTLE_ORPHAN_KEPT);
	assert_int_equal(settle->certificate->cert_sha256.len, 32);
	assert_int_equal(r->runners[0].revoked, 0);
	rig_assert_done(r, "job-1", "orphan_kept");
}

/* It was lost before, so nobody was told a result that could be the question. */
static void the_queue_is_asked_about_a_late_certificate_by_a_failure(void **state)
{
	struct rig *r = *state;
	r->runners[0].can_withdraw = false;
	rig_restart(r);
	begin_pending(r);
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	rig_gone(r, "job-1", CERTQ__JOB_VERDICT__VERDICT_LOST);
	rig_turn(r);
	assert_int_equal(RIG_IN(r, WATCH), 1);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	r->runners[0].poll = CA__CA_RESULT__CA_ISSUED;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH;
	rig_pass_due(r, 12 * 60000);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_false(result->success);
	assert_int_equal(result->epoch, 1);
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	assert_int_equal(RIG_SENT(r, SETTLE), 0);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_ALREADY_DEAD;
	rig_restart(r);
	rig_assert_done(r, "job-1", "orphan_kept");
}

static void a_watch_that_is_over_ends_in_doubt(void **state)
{
	struct rig *r = *state;
	begin_watch(r);
	rig_pass_due(r, 31 * day);
	RIG_ASSERT_SETTLED(r, IN_DOUBT);
	rig_assert_done(r, "job-1", "in_doubt");
	assert_doubts(r, 1);
}

/* ---- SETTLING ---- */

static void lose_pending(struct rig *r)
{
	rig_gone(r, "job-1", CERTQ__JOB_VERDICT__VERDICT_LOST);
	rig_turn(r);
}

/* The CA does not take it back. */
static void lose_pending_to_watch(struct rig *r)
{
	begin_pending(r);
	r->runners[0].withdraw = CA__CA_RESULT__CA_NOT_SUPPORTED;
	lose_pending(r);
	assert_int_equal(RIG_IN(r, WATCH), 1);
}

static void a_lost_request_that_was_granted_is_a_late_result(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	r->runners[0].withdraw = CA__CA_RESULT__CA_ISSUED;
	lose_pending(r);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	rig_assert_done(r, "job-1", "issue");
}

static void a_lost_request_that_cannot_be_withdrawn_is_watched_without_a_result(void **state)
{
	struct rig *r = *state;
	lose_pending_to_watch(r);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
}

static void what_was_pending_is_found_and_withdrawn_after_a_restart(void **state)
{
	struct rig *r = *state;
	rig_do_without_answer(r);
	r->runners[0].find = CA__CA_RESULT__CA_PENDING;
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_CANCELLED;
	rig_restart(r);
	assert_int_equal(r->runners[0].submitted, 1);
	assert_int_equal(r->runners[0].withdrawn, 1);
	rig_assert_done(r, "job-1", "not_issued");
}

static void where_nobody_can_tell_the_claim_is_settled_in_doubt(void **state)
{
	struct rig *r = *state;
	size_t settled = 0;
	rig_do_without_answer(r);
	r->runners[0].find = CA__CA_RESULT__CA_CANNOT_TELL;
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	rig_restart(r);
	settled = RIG_SENT(r, SETTLE);
	assert_int_equal(settled, 1);
	RIG_ASSERT_SETTLED(r, IN_DOUBT);
	assert_int_equal(r->runners[0].submitted, 1);
	rig_assert_done(r, "job-1", "in_doubt");
	assert_doubts(r, 1);
}

static void a_keyvault_that_gives_no_order_leaves_a_watch(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	r->reorder_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	lose_pending(r);
	assert_int_equal(r->runners[0].withdrawn, 0);
	assert_int_equal(RIG_IN(r, WATCH), 1);
}

static void a_ca_that_does_not_let_go_of_a_request_is_not_asked_without_end(void **state)
{
	struct rig *r = *state;
	begin_pending(r);
	r->runners[0].withdraw = CA__CA_RESULT__CA_PENDING;
	lose_pending(r);
	assert_int_equal(r->runners[0].withdrawn, 2);
	assert_int_equal(RIG_IN(r, WATCH), 1);
}

/* A doubt that nobody can clear up, at a CA that would make another certificate; and what it says next. */
static void begin_doubt(struct rig *r, Ca__CaResult next)
{
	r->runners[0].resubmit = CA__CA_RESUBMIT__RESUBMIT_NEW_CERT;
	r->runners[0].can_find = CA__CA_FIND__FIND_NONE;
	rig_restart(r);
	r->runners[0].submit = CA__CA_RESULT__CA_UNKNOWN;
	rig_do(r, "job-1");
	r->runners[0].submit = next;
	rig_pass(r, 15000);
}

static void where_the_ca_is_to_be_held_a_doubt_ends_the_job(void **state)
{
	struct rig *r = *state;
	r->holds = true;
	begin_doubt(r, CA__CA_RESULT__CA_ISSUED);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_int_equal(r->runners[0].submitted, 1);
	assert_text(result->code, "ca_in_doubt");
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	rig_assert_done(r, "job-1", "in_doubt");
	assert_doubts(r, 1);
}

static void otherwise_it_is_asked_anew_when_the_queue_has_the_doubt(void **state)
{
	struct rig *r = *state;
	begin_doubt(r, CA__CA_RESULT__CA_ISSUED);
	assert_int_equal(RIG_SENT(r, SETTLE), 1);
	RIG_ASSERT_SETTLED(r, IN_DOUBT);
	assert_int_equal(r->runners[0].submitted, 2);
	assert_true(r->runners[0].submitted_again);
	rig_assert_done(r, "job-1", "issue");
	assert_doubts(r, 1);
}

static void what_was_asked_anew_and_refused_stays_in_doubt(void **state)
{
	struct rig *r = *state;
	begin_doubt(r, CA__CA_RESULT__CA_REJECTED);
	assert_int_equal(RIG_LAST(r, RESULT)->result->settle, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	assert_doubts(r, 1);
}

static void a_watched_job_that_comes_again_goes_on_with_its_request(void **state)
{
	struct rig *r = *state;
	lose_pending_to_watch(r);
	r->runners[0].find = CA__CA_RESULT__CA_PENDING;
	rig_come_again(r, 2);
	assert_int_equal(RIG_IN(r, PENDING), 1);
	assert_int_equal(RIG_LAST(r, PARK)->park->epoch, 2);
	assert_int_equal(r->runners[0].submitted, 1);
}

/* The first request is withdrawn, the second is in doubt: the first one's cookie must not speak for it. */
static void an_earlier_requests_cookie_says_nothing_of_a_later_one(void **state)
{
	struct rig *r = *state;
	lose_pending_to_watch(r);
	unsigned withdrawn = r->runners[0].withdrawn;
	r->runners[0].submit = CA__CA_RESULT__CA_UNKNOWN;
	rig_come_again(r, 2);
	assert_int_equal(r->runners[0].submitted, 2);
	r->runners[0].withdraw = CA__CA_RESULT__CA_NOT_ISSUED;
	r->runners[0].find = CA__CA_RESULT__CA_CANNOT_TELL;
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	rig_restart(r);
	assert_int_equal(r->runners[0].withdrawn, withdrawn);
	RIG_ASSERT_SETTLED(r, IN_DOUBT);
	rig_assert_done(r, "job-1", "in_doubt");
	assert_doubts(r, 1);
}

/* The doubt about its first request stays, so that it cannot be told as NOT_ISSUED. */
static void what_was_asked_anew_in_doubt_does_not_go_to_another_ca(void **state)
{
	struct rig *r = *state;
	r->runners[0].resubmit = CA__CA_RESUBMIT__RESUBMIT_NEW_CERT;
	r->runners[0].find = CA__CA_RESULT__CA_CANNOT_TELL;
	rig_restart(r);
	r->runners[0].submit = CA__CA_RESULT__CA_UNKNOWN;
	rig_do(r, "job-1");
	rig_pass(r, 15000);
	assert_int_equal(r->runners[0].submitted, 2);
	r->runners[0].find = CA__CA_RESULT__CA_NOT_ISSUED;
	r->runners[0].submit = CA__CA_RESULT__CA_NOT_SENT;
	rig_pass(r, 120000);
	assert_true(r->runners[0].submitted > 5);
	assert_int_equal(r->runners[1].submitted, 0);
	assert_int_equal(RIG_SENT(r, SETTLE), 1);
	RIG_ASSERT_SETTLED(r, IN_DOUBT);
	assert_doubts(r, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_pending_job_is_parked_with_its_deadline_and_the_cas_reference),
		RIG_TEST(a_park_without_an_answer_is_said_again),
		RIG_TEST(a_pending_job_is_polled_when_it_is_due_and_not_before),
		RIG_TEST(a_clock_that_was_behind_at_the_start_does_not_put_the_poll_off),
		RIG_TEST(a_request_that_is_approved_ends_with_its_certificate),
		RIG_TEST(a_request_that_is_refused_fails_the_job_and_settles_its_claim),
		RIG_TEST(a_request_that_is_gone_at_the_ca_fails_the_job),
		RIG_TEST(a_ca_that_is_away_is_polled_again),
		RIG_TEST(a_cookie_that_does_not_open_is_replaced_by_asking_which_request_is_ours),
		RIG_TEST(a_pending_answer_without_a_cookie_is_a_doubt_and_the_ca_is_asked_again),
		RIG_TEST(after_a_restart_nothing_is_asked_before_the_queue_has_spoken),
		RIG_TEST(a_restart_does_not_make_the_deadline_longer),
		RIG_TEST(at_the_deadline_the_request_is_withdrawn_and_the_job_fails),
		RIG_TEST(a_request_that_was_granted_at_the_last_moment_is_delivered),
		RIG_TEST(what_cannot_be_withdrawn_fails_in_doubt_and_is_watched),
		RIG_TEST(a_ca_that_is_away_at_the_deadline_is_tried_and_then_watched),
		RIG_TEST(a_watched_request_that_is_refused_settles_the_claim_exactly),
		RIG_TEST(a_watched_request_that_is_granted_is_an_orphan),
		RIG_TEST(the_queue_is_asked_about_a_late_certificate_by_a_failure),
		RIG_TEST(a_watch_that_is_over_ends_in_doubt),
		RIG_TEST(a_lost_request_that_was_granted_is_a_late_result),
		RIG_TEST(a_lost_request_that_cannot_be_withdrawn_is_watched_without_a_result),
		RIG_TEST(what_was_pending_is_found_and_withdrawn_after_a_restart),
		RIG_TEST(where_nobody_can_tell_the_claim_is_settled_in_doubt),
		RIG_TEST(a_keyvault_that_gives_no_order_leaves_a_watch),
		RIG_TEST(a_ca_that_does_not_let_go_of_a_request_is_not_asked_without_end),
		RIG_TEST(where_the_ca_is_to_be_held_a_doubt_ends_the_job),
		RIG_TEST(otherwise_it_is_asked_anew_when_the_queue_has_the_doubt),
		RIG_TEST(what_was_asked_anew_and_refused_stays_in_doubt),
		RIG_TEST(a_watched_job_that_comes_again_goes_on_with_its_request),
		RIG_TEST(an_earlier_requests_cookie_says_nothing_of_a_later_one),
		RIG_TEST(what_was_asked_anew_in_doubt_does_not_go_to_another_ca),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
