/*
 * The session: its states, what ends it, and how it comes back.
 */
#include "connector/session_int.h"
#include "tests/support/connector_rig.h"

static const struct session *session_of(const struct rig *r)
{
	return flow_session(r->flow);
}

/* A connection on which the cloud says only what the test says. */
static void dial_to_a_mute_cloud(struct rig *r)
{
	r->mute = true;
	rig_cut(r);
	rig_forget_frames(r);
	rig_jump(r, 61000);
	assert_int_equal(RIG_SENT(r, HELLO), 1);
}

static void assert_ended_with(struct rig *r, Certq__ErrorCode code)
{
	assert_int_equal(RIG_LAST(r, ERROR)->error->code, code);
	assert_true(RIG_LAST(r, ERROR)->error->fatal);
	assert_int_equal(session_of(r)->state, SESSION_DISCONNECTED);
}

static void post_error(struct rig *r, Certq__ErrorCode code)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Error m = CERTQ__ERROR__INIT;
	m.code = code;
	m.fatal = true;
	m.text = codec_text("as the rig says");
	e.body_case = CERTQ__ENVELOPE__BODY_ERROR;
	e.error = &m;
	rig_post(r, &e);
	rig_turn(r);
}

static void a_gap_in_the_sequence_ends_the_session(void **state)
{
	struct rig *r = *state;
	r->in_seq++;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_ended_with(r, CERTQ__ERROR_CODE__ERROR_SEQ_GAP);
	assert_int_equal(rig_jobs(r), 0);
}

static void an_ack_of_what_was_never_sent_ends_the_session(void **state)
{
	struct rig *r = *state;
	r->out_seq += 5;
	rig_issue(r, "job-1");
	r->out_seq -= 5;
	rig_turn(r);
	assert_ended_with(r, CERTQ__ERROR_CODE__ERROR_SEQ_GAP);
}

static void a_job_before_the_resume_ends_the_session(void **state)
{
	struct rig *r = *state;
	dial_to_a_mute_cloud(r);
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_ended_with(r, CERTQ__ERROR_CODE__ERROR_OUT_OF_STATE);
}

static void a_second_hello_ack_ends_the_session(void **state)
{
	struct rig *r = *state;
	rig_hello_ack(r);
	rig_turn(r);
	assert_ended_with(r, CERTQ__ERROR_CODE__ERROR_OUT_OF_STATE);
}

static void bytes_that_do_not_decode_end_the_session(void **state)
{
	struct rig *r = *state;
	r->inbox[r->inbox_count++] = cc_blob_copy(cc_view_text("\xff\xff\xff nonsense"));
	loop_timer_set(r->deliver, 0);
	rig_turn(r);
	assert_ended_with(r, CERTQ__ERROR_CODE__ERROR_MALFORMED);
}

static void an_unknown_message_is_answered_and_survived(void **state)
{
	struct rig *r = *state;
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	rig_post(r, &e);
	rig_turn(r);
	assert_int_equal(RIG_LAST(r, ERROR)->error->code, CERTQ__ERROR_CODE__ERROR_UNIMPLEMENTED);
	assert_false(RIG_LAST(r, ERROR)->error->fatal);
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(flow_outcome_count(r->flow, FLOW_ISSUED), 1);
}

static void a_verdict_that_is_none_ends_the_session(void **state)
{
	struct rig *r = *state;
	rig_gone(r, "job-1", CERTQ__JOB_VERDICT__VERDICT_UNSPECIFIED);
	rig_turn(r);
	assert_ended_with(r, CERTQ__ERROR_CODE__ERROR_MALFORMED);
}

static void a_page_without_all_its_verdicts_ends_the_session(void **state)
{
	struct rig *r = *state;
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__HeldVerdicts m = CERTQ__HELD_VERDICTS__INIT;
	r->no_claim_answer = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	dial_to_a_mute_cloud(r);
	rig_hello_ack(r);
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, HELD_LEASES), 1);
	e.body_case = CERTQ__ENVELOPE__BODY_HELD_VERDICTS;
	e.held_verdicts = &m;
	rig_post(r, &e);
	rig_turn(r);
	assert_ended_with(r, CERTQ__ERROR_CODE__ERROR_MALFORMED);
	assert_int_equal(rig_journal_open(r), 1);
}

static void hello_waits_ten_seconds(void **state)
{
	struct rig *r = *state;
	dial_to_a_mute_cloud(r);
	rig_jump(r, 9000);
	assert_int_equal(session_of(r)->state, SESSION_HELLO_SENT);
	rig_jump(r, 2000);
	assert_int_equal(RIG_LAST(r, ERROR)->error->code, CERTQ__ERROR_CODE__ERROR_TIMEOUT);
}

static void a_ping_is_answered(void **state)
{
	struct rig *r = *state;
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Ping m = CERTQ__PING__INIT;
	m.token = 77;
	e.body_case = CERTQ__ENVELOPE__BODY_PING;
	e.ping = &m;
	rig_post(r, &e);
	rig_turn(r);
	assert_int_equal(RIG_LAST(r, PONG)->pong->token, 77);
}

static void a_silent_queue_is_left(void **state)
{
	struct rig *r = *state;
	r->mute = true;
	rig_jump(r, 21000);
	assert_int_equal(RIG_SENT(r, PING), 1);
	rig_jump(r, 40000);
	assert_ended_with(r, CERTQ__ERROR_CODE__ERROR_TIMEOUT);
}

static void back_off_grows_and_has_a_most(void **state)
{
	struct rig *r = *state;
	r->refuses = true;
	rig_cut(r);
	for (int i = 0; i < 12; i++) {
		unsigned dialled = r->dialled;
		rig_jump(r, 60001);
		assert_true(r->dialled > dialled);
	}
	assert_true(session_of(r)->failures >= 12);
	assert_true(session_of(r)->until - clock_boottime_ms() <= 60000);
}

static void back_off_starts_anew_only_after_a_hello_ack(void **state)
{
	struct rig *r = *state;
	r->refuses = true;
	rig_cut(r);
	for (int i = 0; i < 5; i++)
		rig_jump(r, 60001);
	unsigned failures = session_of(r)->failures;
	r->refuses = false;
	r->mute = true;
	rig_jump(r, 60001); /* it opens, and nothing is said */
	rig_jump(r, 11000);
	assert_true(session_of(r)->failures > failures);
	r->mute = false;
	rig_jump(r, 60001);
	assert_int_equal(session_of(r)->state, SESSION_READY);
	assert_int_equal(session_of(r)->failures, 0);
}

static void back_off_does_not_start_anew_before_an_offer_is_answered(void **state)
{
	struct rig *r = *state;
	r->refuses = true;
	rig_cut(r);
	for (int i = 0; i < 5; i++)
		rig_jump(r, 60001);
	unsigned failures = session_of(r)->failures;
	r->refuses = false;
	r->generation = 2;
	r->wants_offer = true;
	r->no_offer_answer = true;
	rig_jump(r, 60001);
	assert_int_equal(session_of(r)->state, SESSION_READY);
	assert_true(session_of(r)->failures >= failures);
	post_error(r, CERTQ__ERROR_CODE__ERROR_MALFORMED);
	assert_true(session_of(r)->failures > failures);
	r->no_offer_answer = false;
	rig_jump(r, 60001);
	assert_int_equal(session_of(r)->state, SESSION_READY);
	assert_int_equal(session_of(r)->failures, 0);
}

static void an_identity_conflict_is_an_alarm_and_waits_long(void **state)
{
	struct rig *r = *state;
	struct session_status status;
	dial_to_a_mute_cloud(r);
	post_error(r, CERTQ__ERROR_CODE__ERROR_IDENTITY_CONFLICT);
	session_status(session_of(r), &status);
	assert_true(status.identity_conflict);
	assert_true(session_of(r)->until - clock_boottime_ms() > 14 * 60 * 1000);
	unsigned dialled = r->dialled;
	rig_jump(r, 60001);
	assert_int_equal(r->dialled, dialled);
}

static void the_wait_before_dialling_again_is_anything_up_to_its_limit(void **state)
{
	int64_t shortest = 60000, longest = 0;
	(void)state;
	for (int i = 0; i < 2000; i++) {
		int64_t late = session_backoff_ms(500, 60000, 20);
		assert_in_range(session_backoff_ms(500, 60000, 0), 0, 500);
		assert_in_range(late, 0, 60000);
		shortest = late < shortest ? late : shortest;
		longest = late > longest ? late : longest;
	}
	assert_true(shortest < 1500 && longest > 58500);
}

static void a_superseded_connection_is_not_taken_back_at_once(void **state)
{
	struct rig *r = *state;
	post_error(r, CERTQ__ERROR_CODE__ERROR_SUPERSEDED);
	unsigned dialled = r->dialled;
	rig_jump(r, 55000);
	assert_int_equal(r->dialled, dialled);
	rig_jump(r, 66000);
	assert_int_equal(r->dialled, dialled + 1);
}

static void a_gateway_that_drains_is_answered_and_called_again_later(void **state)
{
	struct rig *r = *state;
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Drain m = CERTQ__DRAIN__INIT;
	m.grace_ms = 5000;
	m.retry_after_ms = 30000;
	e.body_case = CERTQ__ENVELOPE__BODY_DRAIN;
	e.drain = &m;
	r->no_claim_answer = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_post(r, &e);
	rig_turn(r);
	assert_int_equal(session_of(r)->state, SESSION_DRAINING);
	assert_true(RIG_LAST(r, CREDIT)->credit->drain);
	rig_claim_acks(r, RIG_LAST(r, CLAIMS)->claims); /* what is under way goes on */
	rig_turn(r);
	assert_int_equal(flow_outcome_count(r->flow, FLOW_ISSUED), 1);
	rig_cut(r);
	unsigned dialled = r->dialled;
	rig_jump(r, 25000);
	assert_int_equal(r->dialled, dialled);
	rig_jump(r, 36000);
	assert_int_equal(r->dialled, dialled + 1);
	assert_int_equal(session_of(r)->state, SESSION_READY);
}

static void a_cut_in_the_middle_loses_nothing(void **state)
{
	struct rig *r = *state;
	r->no_result_answer = true;
	rig_issue(r, "job-1");
	rig_cloud_job(
		r, (struct rig_job){.name = "job-2", .kind = CERTQ__JOB_DOCUMENT__KIND_REWRAP});
	rig_turn(r);
	rig_cut(r);
	r->no_result_answer = false;
	rig_forget_frames(r);
	rig_jump(r, 61000);
	assert_int_equal(RIG_LAST(r, HELLO)->hello->held_total, 2);
	assert_int_equal(RIG_SENT(r, RESULT), 2);
	assert_int_equal(rig_jobs(r), 0);
	assert_int_equal(r->begun, 1);
	assert_int_equal(r->rewrapped, 1);
}

static void a_connection_that_breaks_while_the_nonce_is_written_leaves_a_usable_journal(
	void **state)
{
	struct rig *r = *state;
	dial_to_a_mute_cloud(r);
	rig_hold_commits(r);
	rig_hello_ack(r);
	rig_turn(r);
	rig_cut(r);
	rig_release_commits(r);
	r->mute = false;
	rig_jump(r, 61000);
	assert_int_equal(session_of(r)->state, SESSION_READY);
}

static void the_instance_is_the_same_for_all_sessions_of_a_process(void **state)
{
	struct rig *r = *state;
	uint8_t instance[16];
	memcpy(instance, RIG_LAST(r, HELLO)->hello->instance_id.data, 16);
	rig_cut(r);
	rig_jump(r, 61000);
	assert_int_equal(RIG_SENT(r, HELLO), 2);
	assert_memory_equal(RIG_LAST(r, HELLO)->hello->instance_id.data, instance, 16);
}

static void a_clock_that_cannot_be_is_no_skew(void **state)
{
	struct rig *r = *state;
	struct session_status status;
	r->wall_ms = INT64_MIN;
	rig_cut(r);
	rig_jump(r, 61000);
	session_status(session_of(r), &status);
	assert_int_equal(status.state, SESSION_READY);
	assert_in_range(status.clock_skew_ms + 61000, 0, 122000);
}

static void a_verdict_on_what_was_not_listed_ends_the_session(void **state)
{
	struct rig *r = *state;
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	r->stray_verdict = true;
	rig_forget_frames(r);
	rig_restart(r);
	assert_ended_with(r, CERTQ__ERROR_CODE__ERROR_MALFORMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_gap_in_the_sequence_ends_the_session),
		RIG_TEST(an_ack_of_what_was_never_sent_ends_the_session),
		RIG_TEST(a_job_before_the_resume_ends_the_session),
		RIG_TEST(a_second_hello_ack_ends_the_session),
		RIG_TEST(bytes_that_do_not_decode_end_the_session),
		RIG_TEST(an_unknown_message_is_answered_and_survived),
		RIG_TEST(a_verdict_that_is_none_ends_the_session),
		RIG_TEST(a_page_without_all_its_verdicts_ends_the_session),
		RIG_TEST(hello_waits_ten_seconds),
		RIG_TEST(a_ping_is_answered),
		RIG_TEST(a_silent_queue_is_left),
		RIG_TEST(back_off_grows_and_has_a_most),
		RIG_TEST(back_off_starts_anew_only_after_a_hello_ack),
		RIG_TEST(back_off_does_not_start_anew_before_an_offer_is_answered),
		RIG_TEST(an_identity_conflict_is_an_alarm_and_waits_long),
		cmocka_unit_test(the_wait_before_dialling_again_is_anything_up_to_its_limit),
		RIG_TEST(a_superseded_connection_is_not_taken_back_at_once),
		RIG_TEST(a_gateway_that_drains_is_answered_and_called_again_later),
		RIG_TEST(a_cut_in_the_middle_loses_nothing),
		RIG_TEST(
			a_connection_that_breaks_while_the_nonce_is_written_leaves_a_usable_journal),
		RIG_TEST(the_instance_is_the_same_for_all_sessions_of_a_process),
		RIG_TEST(a_clock_that_cannot_be_is_no_skew),
		RIG_TEST(a_verdict_on_what_was_not_listed_ends_the_session),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
