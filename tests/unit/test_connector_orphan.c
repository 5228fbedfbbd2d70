/*
 * ORPHAN: what the queue, the keyvault and the CA have to say before a certificate is revoked, and
 * everything that keeps it from being revoked.
 */
#include "tests/support/connector_rig.h"

static const int64_t day = INT64_C(86400) * 1000;

/* Another certificate has won. */
static void begin_orphan(struct rig *r)
{
	rig_name_other_winner(r);
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	assert_int_equal(r->orphans + r->runners[0].revoked, 0);
}

static void make_orphans(struct rig *r, int count)
{
	rig_name_other_winner(r);
	for (int i = 0; i < count; i++) {
		char name[16];
		snprintf(name, sizeof name, "job-%d", i);
		rig_do(r, name);
	}
}

static void after_the_grace(struct rig *r)
{
	rig_pass_due(r, day + 60000);
}

static void an_orphan_is_revoked_when_the_winner_was_named_twice_a_grace_apart(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	rig_pass_due(r, day / 2);
	assert_int_equal(r->orphans, 0);
	rig_pass_due(r, day / 2);
	assert_int_equal(r->orphans, 1);
	assert_int_equal(r->runners[0].revoked, 1);
	RIG_ASSERT_SETTLED(r, ORPHAN_REVOKED);
	assert_int_equal(RIG_LAST(r, SETTLE)->settle->certificate->cert_sha256.len, 32);
	rig_assert_done(r, "job-1", "orphan_revoked");
}

static void a_restart_does_not_begin_the_grace_anew(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	rig_pass(r, day - 3600 * 1000);
	rig_restart(r);
	assert_int_equal(r->orphans, 0);
	rig_pass_due(r, 2 * 3600 * 1000);
	assert_int_equal(r->runners[0].revoked, 1);
}

/* It says that the job is not over: whoever has won after that is named twice again, a grace apart. */
static void a_queue_that_recalls_the_job_does_not_make_the_grace_shorter(void **state)
{
	struct rig *r = *state;
	uint8_t id[16];
	begin_orphan(r);
	rig_job_id("job-1", id);
	rig_forget_frames(r);
	rig_recall(r, cc_view_of(id, 16), 1, CERTQ__OFFER_VERDICT__OFFER_SAME);
	rig_turn(r);
	rig_pass(r, 61000);
	assert_int_equal(RIG_SENT(r, RESULT), 1);
	assert_int_equal(r->orphans + r->runners[0].revoked, 0);
	after_the_grace(r);
	assert_int_equal(r->runners[0].revoked, 1);
	rig_assert_done(r, "job-1", "orphan_revoked");
}

static void a_certificate_that_the_queue_takes_after_all_is_no_orphan(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	after_the_grace(r);
	assert_int_equal(r->orphans, 0);
	rig_assert_done(r, "job-1", "issue");
}

static void a_certificate_that_is_the_winner_after_all_is_no_orphan(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	r->winner = &r->ca;
	after_the_grace(r);
	assert_int_equal(r->orphans, 0);
	rig_assert_done(r, "job-1", "issue");
}

static void another_generation_of_the_store_has_to_name_the_winner_twice_again(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	r->generation = 2;
	after_the_grace(r);
	assert_int_equal(r->orphans, 0);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	after_the_grace(r);
	assert_int_equal(r->runners[0].revoked, 1);
}

static void an_orphan_is_kept_when_the_queue_names_nobody_the_second_time(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB;
	after_the_grace(r);
	assert_int_equal(r->orphans, 0);
	RIG_ASSERT_SETTLED(r, ORPHAN_KEPT);
	rig_assert_done(r, "job-1", "orphan_kept");
}

static void an_orphan_is_kept_when_the_keyvault_does_not_approve(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	r->orphan_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	after_the_grace(r);
	assert_int_equal(r->orphans, 1);
	assert_int_equal(r->runners[0].revoked, 0);
	rig_assert_done(r, "job-1", "orphan_kept");
}

static void a_ca_that_cannot_be_asked_to_revoke_is_asked_again(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	r->runners[0].revoke = CA__CA_RESULT__CA_UNKNOWN;
	after_the_grace(r);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	r->runners[0].revoke = CA__CA_RESULT__CA_DONE;
	rig_pass_due(r, 11 * 60000);
	rig_assert_done(r, "job-1", "orphan_revoked");
}

/* The CA may have revoked it: no device may get it any more. */
static void once_its_revocation_was_decided_an_orphan_is_not_offered_again(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	r->runners[0].revoke = CA__CA_RESULT__CA_UNKNOWN;
	after_the_grace(r);
	assert_true(r->runners[0].revoked >= 1);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED; /* a store that went back */
	rig_forget_frames(r);
	rig_restart(r);
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = 2});
	rig_pass(r, 61000);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	r->runners[0].revoke = CA__CA_RESULT__CA_DONE;
	rig_pass(r, 11 * 60000);
	rig_pass(r, 61000);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	rig_assert_done(r, "job-1", "orphan_revoked");
}

/* That one was decided, this one was not: the queue may be at a copy from before it named the winner. */
static void the_next_certificate_of_a_job_has_a_grace_of_its_own(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	r->no_settle_answer = true;
	after_the_grace(r);
	assert_int_equal(r->runners[0].revoked, 1);
	assert_int_equal(RIG_IN(r, SETTLING), 1);
	r->no_settle_answer = false;
	rig_come_again(r, 2);
	assert_int_equal(r->runners[0].submitted, 2);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	rig_restart(r); /* nor does the journal say so */
	rig_pass(r, 61000);
	assert_int_equal(r->runners[0].revoked, 1);
	after_the_grace(r);
	assert_int_equal(r->runners[0].revoked, 2);
	rig_assert_done(r, "job-1", "orphan_revoked");
}

static void a_keyvault_that_cannot_judge_now_is_asked_again(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	r->orphan_status = VAULT__VAULT_STATUS__VAULT_FAILED;
	after_the_grace(r);
	assert_true(r->orphans >= 1);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	r->orphan_status = VAULT__VAULT_STATUS__VAULT_OK;
	rig_pass(r, 300000);
	assert_int_equal(r->runners[0].revoked, 1);
	rig_assert_done(r, "job-1", "orphan_revoked");
}

static void an_orphan_whose_chain_was_never_kept_is_kept(void **state)
{
	struct rig *r = *state;
	r->runners[0].long_chain = true;
	rig_name_other_winner(r);
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	after_the_grace(r);
	assert_int_equal(r->fatal, CC_OK);
	assert_int_equal(r->runners[0].revoked, 0);
	rig_assert_done(r, "job-1", "orphan_kept");
}

/* Each may be large, and what the wire does not take ends the session. */
static void no_more_orphans_are_offered_at_a_time_than_results(void **state)
{
	struct rig *r = *state;
	rig_name_other_winner(r);
	for (int i = 0; i < 40; i++) {
		char name[16];
		snprintf(name, sizeof name, "job-%d", i);
		rig_issue(r, name);
		if (i % 4 == 3)
			rig_turn(r);
	}
	assert_int_equal(RIG_IN(r, ORPHAN), 40);
	r->no_result_answer = true;
	rig_forget_frames(r);
	rig_pass_due(r, day + 60000);
	assert_int_equal(RIG_SENT(r, RESULT), 32);
	r->no_result_answer = false;
	rig_pass(r, 300000);
	assert_int_equal(r->runners[0].revoked, 10);
}

static void a_ca_that_refuses_to_revoke_leaves_the_orphan(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	r->runners[0].revoke = CA__CA_RESULT__CA_REJECTED;
	after_the_grace(r);
	rig_assert_done(r, "job-1", "orphan_kept");
}

static void a_failed_jobs_certificate_has_no_winner_in_its_place_and_is_kept(void **state)
{
	struct rig *r = *state;
	r->finish_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	rig_do(r, "job-1");
	assert_int_equal(r->orphans, 0);
	RIG_ASSERT_SETTLED(r, ORPHAN_KEPT);
	rig_assert_done(r, "job-1", "orphan_kept");
}

static void a_failed_jobs_certificate_with_a_winner_is_revoked_after_the_grace(void **state)
{
	struct rig *r = *state;
	r->finish_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	rig_name_other_winner(r);
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	after_the_grace(r);
	rig_assert_done(r, "job-1", "orphan_revoked");
}

/* ---- a job that is not over ---- */

/* Its result was refused by the keyvault, and the job had been taken from us meanwhile. */
static void begin_unfinished(struct rig *r)
{
	r->finish_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH;
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	assert_int_equal(RIG_SENT(r, SETTLE), 0);
}

static void a_certificate_of_a_job_that_is_not_over_is_not_settled(void **state)
{
	struct rig *r = *state;
	begin_unfinished(r);
	after_the_grace(r);
	rig_restart(r);
	after_the_grace(r);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	assert_int_equal(RIG_SENT(r, SETTLE), 0);
	assert_int_equal(r->orphans, 0);
}

static void when_the_job_is_dead_at_last_its_certificate_is_kept(void **state)
{
	struct rig *r = *state;
	begin_unfinished(r);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_ALREADY_DEAD;
	rig_pass(r, 300000);
	RIG_ASSERT_SETTLED(r, ORPHAN_KEPT);
	rig_assert_done(r, "job-1", "orphan_kept");
}

static void when_another_has_won_at_last_the_certificate_is_revoked_after_the_grace(void **state)
{
	struct rig *r = *state;
	begin_unfinished(r);
	rig_name_other_winner(r);
	rig_pass(r, 300000);
	assert_int_equal(r->orphans, 0);
	after_the_grace(r);
	assert_int_equal(r->runners[0].revoked, 1);
	rig_assert_done(r, "job-1", "orphan_revoked");
}

static void a_certificate_whose_job_comes_again_is_what_the_job_gets(void **state)
{
	struct rig *r = *state;
	begin_unfinished(r);
	r->finish_status = VAULT__VAULT_STATUS__VAULT_OK;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	r->runners[0].can_find = CA__CA_FIND__FIND_NONE;
	rig_come_again(r, 2);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_true(result->success);
	assert_int_equal(result->epoch, 2);
	assert_int_equal(r->runners[0].submitted, 1);
	const Certq__Settle *settle = RIG_LAST(r, SETTLE)->settle;
	assert_int_equal(
		RIG_SENT(r, SETTLE), 1); /* of the claim before, by which nothing was made */
	assert_int_equal(settle->epoch, 1);
	assert_int_equal(settle->outcome, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	rig_assert_done(r, "job-1", "issue");
}

static void a_certificate_in_hand_is_still_there_after_a_restart(void **state)
{
	struct rig *r = *state;
	begin_unfinished(r);
	r->finish_status = VAULT__VAULT_STATUS__VAULT_OK;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	r->no_claim_answer = true;
	rig_come_again(r, 2);
	assert_int_equal(RIG_IN(r, INTENT), 1);
	r->no_claim_answer = false;
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_KEEP;
	rig_restart(r);
	assert_int_equal(r->runners[0].submitted, 1);
	assert_int_equal(r->runners[0].found, 0);
	rig_assert_done(r, "job-1", "issue");
}

static void a_certificate_in_hand_whose_job_goes_away_again_waits_as_before(void **state)
{
	struct rig *r = *state;
	begin_unfinished(r);
	r->claim_verdict = CERTQ__CLAIM_VERDICT__CLAIM_LOST;
	rig_come_again(r, 2);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 1);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_CANCELLED;
	rig_pass(r, 300000);
	const Certq__Settle *settle = NULL;
	for (size_t i = 0; i < r->out_count; i++) {
		if (r->out[i]->body_case == CERTQ__ENVELOPE__BODY_SETTLE &&
			r->out[i]->settle->epoch == 1)
			settle = r->out[i]->settle;
		else if (r->out[i]->body_case == CERTQ__ENVELOPE__BODY_SETTLE)
			assert_int_equal(
				r->out[i]->settle->outcome, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	}
	assert_non_null(settle);
	assert_int_equal(settle->outcome, CERTQ__SETTLEMENT__SETTLE_ORPHAN_KEPT);
	rig_assert_done(r, "job-1", "orphan_kept");
}

static void a_certificate_that_is_refused_again_ends_with_its_job(void **state)
{
	struct rig *r = *state;
	begin_unfinished(r);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_come_again(r, 2);
	assert_int_equal(r->runners[0].submitted, 1);
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 2);
	assert_false(RIG_LAST(r, RESULT)->result->success);
	rig_assert_done(r, "job-1", "orphan_kept");
}

/* The journal that knew of the other claim was lost, or the store went back. */
static void a_claim_whose_certificate_has_won_under_another_is_settled_not_issued(void **state)
{
	struct rig *r = *state;
	begin_unfinished(r);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_ALREADY_DONE;
	r->winner = &r->ca;
	rig_pass(r, 300000);
	const Certq__Settle *settle = RIG_LAST(r, SETTLE)->settle;
	assert_int_equal(settle->outcome, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	assert_int_equal(settle->epoch, 1);
	assert_null(settle->certificate);
	assert_int_equal(r->orphans + r->runners[0].revoked, 0);
	rig_assert_done(r, "job-1", "not_issued");
}

static void an_orphan_goes_on_when_another_document_comes_under_its_id(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	rig_forget_frames(r);
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = 2, .other_document = true});
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, RESULT), 1);
	assert_text(RIG_LAST(r, RESULT)->result->code, "idempotency_conflict");
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 2);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	after_the_grace(r);
	rig_assert_done(r, "job-1", "orphan_revoked");
}

/* A store that went back gives out again a job that was done. */
static void a_result_whose_job_comes_again_is_sent_again(void **state)
{
	struct rig *r = *state;
	begin_orphan(r);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_come_again(r, 2);
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 1);
	assert_int_equal(r->runners[0].submitted, 1);
	rig_assert_done(r, "job-1", "issue");
}

static void what_is_not_over_in_all_its_time_ends_in_doubt(void **state)
{
	struct rig *r = *state;
	begin_unfinished(r);
	rig_pass_due(r, 6 * day);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	rig_pass_due(r, 2 * day);
	RIG_ASSERT_SETTLED(r, IN_DOUBT);
	rig_assert_done(r, "job-1", "in_doubt");
}

static void no_more_are_revoked_in_an_hour_than_is_allowed(void **state)
{
	struct rig *r = *state;
	make_orphans(r, 12);
	assert_int_equal(RIG_IN(r, ORPHAN), 12);
	rig_forget_frames(r);
	after_the_grace(r);
	assert_int_equal(r->runners[0].revoked, 10);
	assert_int_equal(RIG_IN(r, ORPHAN), 2);
	rig_forget_frames(r);
	rig_pass_due(r, 3700 * 1000);
	assert_int_equal(r->runners[0].revoked, 12);
}

static void a_restart_does_not_begin_the_hour_of_revocations_anew(void **state)
{
	struct rig *r = *state;
	make_orphans(r, 12);
	rig_forget_frames(r);
	after_the_grace(r);
	assert_int_equal(r->runners[0].revoked, 10);
	rig_restart(r);
	rig_pass(r, 61000);
	assert_int_equal(r->runners[0].revoked, 10);
	assert_int_equal(RIG_IN(r, ORPHAN), 2);
	rig_forget_frames(r);
	rig_pass_due(r, 3700 * 1000);
	assert_int_equal(r->runners[0].revoked, 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(an_orphan_is_revoked_when_the_winner_was_named_twice_a_grace_apart),
		RIG_TEST(a_restart_does_not_begin_the_grace_anew),
		RIG_TEST(a_queue_that_recalls_the_job_does_not_make_the_grace_shorter),
		RIG_TEST(a_certificate_that_the_queue_takes_after_all_is_no_orphan),
		RIG_TEST(a_certificate_that_is_the_winner_after_all_is_no_orphan),
		RIG_TEST(another_generation_of_the_store_has_to_name_the_winner_twice_again),
		RIG_TEST(an_orphan_is_kept_when_the_queue_names_nobody_the_second_time),
		RIG_TEST(an_orphan_is_kept_when_the_keyvault_does_not_approve),
		RIG_TEST(a_ca_that_cannot_be_asked_to_revoke_is_asked_again),
		RIG_TEST(once_its_revocation_was_decided_an_orphan_is_not_offered_again),
		RIG_TEST(the_next_certificate_of_a_job_has_a_grace_of_its_own),
		RIG_TEST(a_keyvault_that_cannot_judge_now_is_asked_again),
		RIG_TEST(an_orphan_whose_chain_was_never_kept_is_kept),
		RIG_TEST(no_more_orphans_are_offered_at_a_time_than_results),
		RIG_TEST(a_ca_that_refuses_to_revoke_leaves_the_orphan),
		RIG_TEST(a_failed_jobs_certificate_has_no_winner_in_its_place_and_is_kept),
		RIG_TEST(a_failed_jobs_certificate_with_a_winner_is_revoked_after_the_grace),
		RIG_TEST(a_certificate_of_a_job_that_is_not_over_is_not_settled),
		RIG_TEST(when_the_job_is_dead_at_last_its_certificate_is_kept),
		RIG_TEST(when_another_has_won_at_last_the_certificate_is_revoked_after_the_grace),
		RIG_TEST(a_certificate_whose_job_comes_again_is_what_the_job_gets),
		RIG_TEST(a_certificate_in_hand_is_still_there_after_a_restart),
		RIG_TEST(a_certificate_in_hand_whose_job_goes_away_again_waits_as_before),
		RIG_TEST(a_certificate_that_is_refused_again_ends_with_its_job),
		RIG_TEST(a_claim_whose_certificate_has_won_under_another_is_settled_not_issued),
		RIG_TEST(an_orphan_goes_on_when_another_document_comes_under_its_id),
		RIG_TEST(a_result_whose_job_comes_again_is_sent_again),
		RIG_TEST(what_is_not_over_in_all_its_time_ends_in_doubt),
		RIG_TEST(no_more_are_revoked_in_an_hour_than_is_allowed),
		RIG_TEST(a_restart_does_not_begin_the_hour_of_revocations_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
