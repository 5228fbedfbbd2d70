/*
 * Claims of earlier epochs: each is settled by what became of it, and told until the queue has it, over
 * restarts and reconnects; and what else a job brings along that comes again: its document, earlier
 * claims of ours at several CAs, and a claim that was taken away by mistake.
 */
#include "connector/flow_int.h"
#include "tests/support/connector_rig.h"

static void lose_a_claim(struct rig *r)
{
	rig_lose_claim(r);
	assert_int_equal(RIG_IN(r, SETTLING), 1);
	assert_int_equal(RIG_SENT(r, SETTLE), 0);
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_KEEP;
}

/* It is not granted, and the queue says nothing of its settlement. */
static void lose_an_empty_claim(struct rig *r)
{
	r->claim_verdict = CERTQ__CLAIM_VERDICT__CLAIM_LOST;
	r->no_settle_answer = true;
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, SETTLING), 1);
}

static void come_with_two_priors(struct rig *r, Ca__CaResult one, Ca__CaResult two)
{
	r->runners[0].find = one;
	r->runners[1].find = two;
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .two_priors = true});
	rig_turn(r);
}

/* The place among the frames of the first settlement of this epoch's claim; fails when there is none. */
static size_t settled_at(const struct rig *r, uint32_t epoch, Certq__Settlement outcome)
{
	for (size_t i = 0; i < r->out_count; i++) {
		const Certq__Envelope *e = r->out[i];
		if (e->body_case == CERTQ__ENVELOPE__BODY_SETTLE && e->settle->epoch == epoch) {
			assert_text(e->settle->ca, "ca-one");
			assert_int_equal(e->settle->outcome, outcome);
			return i;
		}
	}
	fail_msg("the claim of epoch %u was not settled", epoch);
	return 0;
}

static void an_old_claim_has_made_nothing_when_the_new_one_has_the_certificate(void **state)
{
	struct rig *r = *state;
	lose_a_claim(r);
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	rig_come_again(r, 2);
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 2);
	settled_at(r, 1, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	rig_assert_done(r, "job-1", "issue");
	assert_int_equal(rig_journal_open(r), 0);
}

static void an_old_claim_is_settled_before_the_failure_that_ends_the_job(void **state)
{
	struct rig *r = *state;
	lose_a_claim(r);
	r->runners[0].find = CA__CA_RESULT__CA_NOT_ISSUED;
	r->runners[0].submit = CA__CA_RESULT__CA_REJECTED;
	rig_come_again(r, 2);
	assert_false(RIG_LAST(r, RESULT)->result->success);
	size_t at = settled_at(r, 1, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	assert_ptr_not_equal(RIG_LAST(r, RESULT), r->out[0]);
	for (size_t i = 0; i < at; i++)
		assert_int_not_equal(r->out[i]->body_case, CERTQ__ENVELOPE__BODY_RESULT);
	rig_assert_done(r, "job-1", "failed");
}

static void an_old_claim_that_is_not_confirmed_is_told_again_after_a_restart(void **state)
{
	struct rig *r = *state;
	lose_a_claim(r);
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	r->no_settle_answer = true;
	rig_come_again(r, 2);
	assert_int_equal(rig_journal_open(r), 1);
	rig_restart(r);
	assert_int_equal(rig_journal_open(r), 1);
	rig_forget_frames(r);
	r->no_settle_answer = false;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_DUPLICATE_SAME;
	rig_restart(r);
	settled_at(r, 1, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	rig_assert_done(r, "job-1", "issue");
	assert_int_equal(rig_journal_open(r), 0);
}

static void an_old_claim_that_is_not_confirmed_is_told_again_in_the_next_session(void **state)
{
	struct rig *r = *state;
	lose_a_claim(r);
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	r->no_settle_answer = true;
	rig_come_again(r, 2);
	rig_forget_frames(r);
	r->no_settle_answer = false;
	rig_cut(r);
	rig_pass(r, 61000);
	settled_at(r, 1, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	rig_assert_done(r, "job-1", "issue");
}

static void a_queue_that_puts_the_settlement_of_an_old_claim_off_is_told_again(void **state)
{
	struct rig *r = *state;
	lose_a_claim(r);
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_RETRY_LATER;
	rig_come_again(r, 2);
	assert_int_equal(rig_journal_open(r), 1);
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_UNKNOWN_ATTEMPT;
	rig_pass(r, 60000);
	rig_assert_done(r, "job-1", "issue");
}

static void an_empty_claim_whose_settlement_was_lost_is_told_beside_the_new_one(void **state)
{
	struct rig *r = *state;
	lose_an_empty_claim(r);
	rig_forget_frames(r);
	r->claim_verdict = CERTQ__CLAIM_VERDICT__CLAIM_GRANTED;
	r->runners[0].submit = CA__CA_RESULT__CA_PENDING;
	rig_come_again(r, 2);
	assert_int_equal(RIG_IN(r, PENDING), 1);
	settled_at(r, 1, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	rig_forget_frames(r);
	rig_restart(r); /* it is in the job's record */
	settled_at(r, 1, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
}

static void an_old_claim_stays_in_doubt_where_the_ca_was_asked_anew_in_doubt(void **state)
{
	struct rig *r = *state;
	r->runners[0].resubmit = CA__CA_RESUBMIT__RESUBMIT_NEW_CERT;
	lose_a_claim(r);
	r->runners[0].find = CA__CA_RESULT__CA_CANNOT_TELL;
	rig_come_again(r, 2);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	settled_at(r, 1, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	rig_assert_done(r, "job-1", "issue");
}

/* ---- what comes again ---- */

static void another_document_under_the_id_of_a_job_under_way_goes_elsewhere(void **state)
{
	struct rig *r = *state;
	r->no_claim_answer = true;
	rig_do(r, "job-1");
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = 2, .other_document = true});
	rig_turn(r);
	const Certq__Nack *nack = RIG_LAST(r, NACK)->nack;
	assert_int_equal(nack->reason, CERTQ__NACK_REASON__NACK_BUSY); /* five refusals suspend */
	assert_true(nack->exclude_me);
	assert_int_equal(nack->epoch, 2);
	assert_int_equal(RIG_LAST(r, CLAIMS)->claims->claims[0]->epoch, 1);
	assert_int_equal(RIG_IN(r, INTENT), 1);
}

static void every_ca_with_a_claim_of_ours_is_asked_and_the_one_with_a_request_is_taken(void **state)
{
	struct rig *r = *state;
	come_with_two_priors(r, CA__CA_RESULT__CA_ISSUED, CA__CA_RESULT__CA_NOT_ISSUED);
	assert_int_equal(r->runners[1].found, 1);
	assert_int_equal(r->runners[0].submitted + r->runners[1].submitted, 0);
	assert_text(RIG_LAST(r, CLAIMS)->claims->claims[0]->ca, "ca-one");
	rig_assert_done(r, "job-1", "issue");
}

static void a_ca_that_cannot_tell_of_a_claim_of_ours_gives_way_to_one_that_has_it(void **state)
{
	struct rig *r = *state;
	come_with_two_priors(r, CA__CA_RESULT__CA_CANNOT_TELL, CA__CA_RESULT__CA_ISSUED);
	assert_int_equal(r->runners[0].found, 1);
	assert_int_equal(r->runners[0].submitted + r->runners[1].submitted, 0);
	assert_text(RIG_LAST(r, CLAIMS)->claims->claims[0]->ca, "ca-two");
	rig_assert_done(r, "job-1", "issue");
}

static void a_claim_that_was_taken_away_and_is_kept_again_goes_on(void **state)
{
	struct rig *r = *state;
	lose_a_claim(r);
	r->runners[0].find = CA__CA_RESULT__CA_NOT_ISSUED;
	rig_restart(r);
	assert_int_equal(RIG_SENT(r, SETTLE), 0);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	rig_assert_done(r, "job-1", "issue");
}

static void an_empty_claim_that_is_kept_again_goes_on(void **state)
{
	struct rig *r = *state;
	lose_an_empty_claim(r);
	r->claim_verdict = CERTQ__CLAIM_VERDICT__CLAIM_GRANTED;
	rig_restart(r);
	assert_int_equal(r->runners[0].submitted, 1);
	rig_assert_done(r, "job-1", "issue");
}

/* ---- memory ---- */

static void a_parked_job_keeps_nothing_in_memory_that_the_journal_has(void **state)
{
	struct rig *r = *state;
	uint8_t id[16];
	r->runners[0].submit = CA__CA_RESULT__CA_PENDING;
	rig_do(r, "job-1");
	rig_job_id("job-1", id);
	const struct job *job = jobs_find(r->flow->jobs, cc_view_of(id, 16));
	assert_int_equal(RIG_IN(r, PENDING), 1);
	assert_int_equal(job->csr.size + job->ticket.size + job->order.size + job->cookie.size, 0);
	assert_null(job->delivery);
	r->runners[0].poll = CA__CA_RESULT__CA_ISSUED;
	rig_pass(r, 70000);
	rig_assert_done(r, "job-1", "issue");
}

static void a_suspension_holds_before_it_is_on_disk_and_until_its_end_is(void **state)
{
	struct rig *r = *state;
	cc_view ca = cc_view_text("ca-one");
	for (int suspended = 1; suspended >= 0; suspended--) {
		struct journal_change *c = journal_change_new(r->journal);
		journal_change_suspend(c, ca, suspended == 1);
		rig_hold_commits(r);
		journal_commit(c, NULL, NULL);
		assert_true(journal_is_suspended(r->journal, ca));
		rig_release_commits(r);
		rig_turn(r);
		assert_int_equal(journal_is_suspended(r->journal, ca), suspended == 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(an_old_claim_has_made_nothing_when_the_new_one_has_the_certificate),
		RIG_TEST(an_old_claim_is_settled_before_the_failure_that_ends_the_job),
		RIG_TEST(an_old_claim_that_is_not_confirmed_is_told_again_after_a_restart),
		RIG_TEST(an_old_claim_that_is_not_confirmed_is_told_again_in_the_next_session),
		RIG_TEST(a_queue_that_puts_the_settlement_of_an_old_claim_off_is_told_again),
		RIG_TEST(an_empty_claim_whose_settlement_was_lost_is_told_beside_the_new_one),
		RIG_TEST(an_old_claim_stays_in_doubt_where_the_ca_was_asked_anew_in_doubt),
		RIG_TEST(another_document_under_the_id_of_a_job_under_way_goes_elsewhere),
		RIG_TEST(
			every_ca_with_a_claim_of_ours_is_asked_and_the_one_with_a_request_is_taken),
		RIG_TEST(a_ca_that_cannot_tell_of_a_claim_of_ours_gives_way_to_one_that_has_it),
		RIG_TEST(a_claim_that_was_taken_away_and_is_kept_again_goes_on),
		RIG_TEST(an_empty_claim_that_is_kept_again_goes_on),
		RIG_TEST(a_parked_job_keeps_nothing_in_memory_that_the_journal_has),
		RIG_TEST(a_suspension_holds_before_it_is_on_disk_and_until_its_end_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
