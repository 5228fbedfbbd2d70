/*
 * The flow after a restart: from each state that is on disk, the journal says how the job goes on.
 */
#include "tests/support/connector_rig.h"

static const Certq__HeldJob *only_held(struct rig *r)
{
	const Certq__HeldLeases *page = RIG_LAST(r, HELD_LEASES)->held_leases;
	assert_int_equal(page->n_jobs, 1);
	return page->jobs[0];
}

static void in_intent(struct rig *r)
{
	r->no_claim_answer = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, INTENT), 1);
	r->no_claim_answer = false;
	rig_forget_frames(r);
}

static void in_claimed(struct rig *r)
{
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	r->runners[0].silent = false;
	rig_forget_frames(r);
}

static void in_issued(struct rig *r)
{
	r->finish_status = VAULT__VAULT_STATUS__VAULT_BUSY;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, ISSUED), 1);
	r->finish_status = VAULT__VAULT_STATUS__VAULT_OK;
	rig_forget_frames(r);
}

static void in_result(struct rig *r)
{
	r->no_result_answer = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	r->no_result_answer = false;
}

static void a_received_job_is_forgotten_and_not_listed(void **state)
{
	struct rig *r = *state;
	r->vault_silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_forget_frames(r);
	rig_restart(r);
	assert_int_equal(RIG_LAST(r, HELLO)->hello->held_total, 0);
	assert_int_equal(rig_jobs(r), 0);
}

static void an_intent_is_listed_and_claimed_again_after_keep(void **state)
{
	struct rig *r = *state;
	in_intent(r);
	r->no_claim_answer = true;
	rig_restart(r);
	assert_true(only_held(r)->claimed);
	assert_int_equal(RIG_SENT(r, CLAIMS), 1);
	assert_int_equal(r->runners[0].submitted + r->runners[0].found, 0);
	r->no_claim_answer = false;
	rig_claim_acks(r, RIG_LAST(r, CLAIMS)->claims);
	rig_turn(r);
	assert_int_equal(r->runners[0].found, 1); /* it is asked first */
	assert_int_equal(r->reordered, 1);
	rig_assert_done(r, "job-1", "issue");
}

static void no_ca_is_asked_before_keep(void **state)
{
	struct rig *r = *state;
	in_claimed(r);
	r->mute = true;
	rig_restart(r);
	assert_int_equal(r->runners[0].found, 0);
	assert_int_equal(r->runners[0].submitted, 1); /* of the life before */
}

static void after_keep_the_ca_is_asked_what_became_of_the_request(void **state)
{
	struct rig *r = *state;
	in_claimed(r);
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	rig_restart(r);
	assert_int_equal(r->runners[0].found, 1);
	assert_int_equal(r->runners[0].submitted, 1);
	rig_assert_done(r, "job-1", "issue");
}

static void where_the_ca_cannot_be_asked_the_same_request_is_repeated_for_the_same_certificate(
	void **state)
{
	struct rig *r = *state;
	in_claimed(r);
	r->runners[0].can_find = CA__CA_FIND__FIND_NONE;
	rig_restart(r);
	assert_int_equal(r->runners[0].found, 0);
	assert_int_equal(r->runners[0].submitted, 2);
	rig_assert_done(r, "job-1", "issue");
}

static void where_a_new_certificate_would_come_the_doubt_is_recorded_and_told_first(void **state)
{
	struct rig *r = *state;
	size_t doubts = 0;
	in_claimed(r);
	r->runners[0].can_find = CA__CA_FIND__FIND_NONE;
	r->runners[0].resubmit = CA__CA_RESUBMIT__RESUBMIT_NEW_CERT;
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_RETRY_LATER;
	rig_restart(r);
	assert_int_equal(r->runners[0].submitted, 1);
	assert_int_equal(journal_count_doubts(r->journal, &doubts), CC_OK);
	assert_int_equal(doubts, 1);
	assert_int_equal(RIG_LAST(r, SETTLE)->settle->outcome, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_OK;
	rig_pass(r, 15000);
	assert_int_equal(r->runners[0].submitted, 2);
	assert_true(r->runners[0].submitted_again);
	rig_assert_done(r, "job-1", "issue");
	assert_int_equal(journal_count_doubts(r->journal, &doubts), CC_OK);
	assert_int_equal(doubts, 1); /* the first request is still in doubt */
}

static void a_lost_intent_is_settled_as_the_ca_says_after_a_restart(void **state)
{
	struct rig *r = *state;
	in_intent(r);
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	r->runners[0].find = CA__CA_RESULT__CA_NOT_SENT;
	rig_restart(r);
	assert_int_equal(RIG_IN(r, SETTLING), 1);
	assert_int_equal(flow_unsettled_count(r->flow), 1);
	assert_int_equal(RIG_SENT(r, SETTLE), 0);
	rig_restart(r); /* and again */
	assert_int_equal(flow_unsettled_count(r->flow), 1);
	r->runners[0].find = CA__CA_RESULT__CA_NOT_ISSUED;
	rig_restart(r);
	assert_int_equal(
		RIG_LAST(r, SETTLE)->settle->outcome, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	assert_int_equal(r->runners[0].submitted, 0);
	rig_assert_done(r, "job-1", "not_issued");
}

/* Its claim at the first CA is not settled yet, so the other one was asked nothing. */
static void one_that_is_lost_on_its_way_to_another_ca_is_known_not_to_be_issued(void **state)
{
	struct rig *r = *state;
	size_t doubts = 99;
	r->runners[0].submit = CA__CA_RESULT__CA_NOT_SENT;
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_RETRY_LATER;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_pass(r, 30000);
	assert_int_equal(RIG_IN(r, INTENT), 1);
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_OK;
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	r->runners[1].find = CA__CA_RESULT__CA_CANNOT_TELL;
	rig_restart(r);
	assert_int_equal(r->runners[1].found, 0);
	assert_text(RIG_LAST(r, SETTLE)->settle->ca, "ca-one");
	rig_assert_done(r, "job-1", "not_issued");
	assert_int_equal(journal_count_doubts(r->journal, &doubts), CC_OK);
	assert_int_equal(doubts, 0);
}

static void an_issued_job_is_sealed_at_once_without_the_queue(void **state)
{
	struct rig *r = *state;
	in_issued(r);
	unsigned finished = r->finished;
	r->mute = true;
	rig_restart(r);
	assert_int_equal(r->finished, finished + 1);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	assert_int_equal(r->runners[0].submitted, 1);
}

static void an_issued_job_is_sent_as_a_late_result_although_it_was_lost(void **state)
{
	struct rig *r = *state;
	in_issued(r);
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	rig_restart(r);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	rig_assert_done(r, "job-1", "issue");
}

static void a_result_is_sent_again_with_the_same_bytes(void **state)
{
	struct rig *r = *state;
	in_result(r);
	cc_blob before = codec_pack(RIG_LAST(r, RESULT)->result);
	rig_forget_frames(r);
	rig_restart(r);
	assert_true(only_held(r)->finished);
	cc_blob after = codec_pack(RIG_LAST(r, RESULT)->result);
	assert_true(cc_view_equal(cc_blob_view(&before), cc_blob_view(&after)));
	cc_blob_free(&before);
	cc_blob_free(&after);
	rig_assert_done(r, "job-1", "issue");
	assert_int_equal(r->runners[0].submitted, 1);
}

static void a_known_settlement_is_told_again(void **state)
{
	struct rig *r = *state;
	r->claim_verdict = CERTQ__CLAIM_VERDICT__CLAIM_LOST;
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_RETRY_LATER;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, SETTLING), 1);
	rig_forget_frames(r);
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_DUPLICATE_SAME;
	rig_restart(r);
	assert_int_equal(
		RIG_LAST(r, SETTLE)->settle->outcome, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	rig_assert_done(r, "job-1", "not_issued");
}

static void the_nonce_is_that_of_the_last_session_and_the_instance_is_new(void **state)
{
	struct rig *r = *state;
	uint8_t nonce[16], instance[16], journal[16];
	memcpy(nonce, r->nonce, 16);
	memcpy(instance, RIG_LAST(r, HELLO)->hello->instance_id.data, 16);
	memcpy(journal, RIG_LAST(r, HELLO)->hello->journal_id.data, 16);
	rig_restart(r);
	const Certq__Hello *hello = RIG_LAST(r, HELLO)->hello;
	assert_int_equal(hello->resume_nonce.len, 16);
	assert_memory_equal(hello->resume_nonce.data, nonce, 16);
	assert_memory_equal(hello->journal_id.data, journal, 16);
	assert_memory_not_equal(hello->instance_id.data, instance, 16);
}

static void what_is_pending_at_the_ca_is_kept_with_its_cookie(void **state)
{
	struct rig *r = *state;
	cc_blob cookie = CC_BLOB_NONE;
	uint8_t id[16];
	r->runners[0].submit = CA__CA_RESULT__CA_PENDING;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, PENDING), 1);
	rig_forget_frames(r);
	rig_restart(r);
	assert_int_equal(RIG_IN(r, PENDING), 1);
	assert_true(only_held(r)->parked);
	rig_job_id("job-1", id);
	assert_int_equal(
		journal_get_blob(r->journal, cc_view_of(id, 16), JOURNAL_COOKIE, &cookie), CC_OK);
	assert_true(text_equal(cc_blob_view(&cookie), "cookie"));
	cc_blob_free(&cookie);
}

static void pending_jobs_take_no_place(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_PENDING;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_LAST(r, CREDIT)->credit->delivery_limit, 5);
	rig_restart(r);
	assert_int_equal(RIG_LAST(r, CREDIT)->credit->delivery_limit, 4);
}

static void the_first_credit_counts_the_jobs_that_are_kept(void **state)
{
	struct rig *r = *state;
	in_claimed(r);
	r->runners[0].silent = true;
	r->runners[0].can_find = CA__CA_FIND__FIND_NONE;
	rig_restart(r);
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	assert_int_equal(RIG_LAST(r, CREDIT)->credit->delivery_limit, 3);
}

static void many_held_jobs_are_listed_in_pages(void **state)
{
	struct rig *r = *state;
	size_t listed = 0;
	r->runners[0].submit = CA__CA_RESULT__CA_PENDING;
	for (int i = 0; i < 130; i++) {
		char name[16];
		snprintf(name, sizeof name, "job-%d", i);
		rig_issue(r, name);
		if (i % 4 == 3)
			rig_turn(r);
		if (i % 20 == 19)
			rig_forget_frames(r);
	}
	rig_turn(r);
	assert_int_equal(RIG_IN(r, PENDING), 130);
	rig_forget_frames(r);
	rig_restart(r);
	assert_int_equal(RIG_LAST(r, HELLO)->hello->held_total, 130);
	assert_int_equal(RIG_SENT(r, HELD_LEASES), 2);
	for (size_t i = 0; i < r->out_count; i++) {
		if (r->out[i]->body_case == CERTQ__ENVELOPE__BODY_HELD_LEASES) {
			assert_true(r->out[i]->held_leases->n_jobs <= 128);
			listed += r->out[i]->held_leases->n_jobs;
		}
	}
	assert_int_equal(listed, 130);
	assert_int_equal(RIG_LAST(r, RESUME_END)->resume_end->held_total, 130);
}

static void an_orphan_is_kept(void **state)
{
	struct rig *r = *state;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_ALREADY_DONE;
	r->winner = &r->other_ca;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	rig_restart(r);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_received_job_is_forgotten_and_not_listed),
		RIG_TEST(an_intent_is_listed_and_claimed_again_after_keep),
		RIG_TEST(no_ca_is_asked_before_keep),
		RIG_TEST(after_keep_the_ca_is_asked_what_became_of_the_request),
		RIG_TEST(
			where_the_ca_cannot_be_asked_the_same_request_is_repeated_for_the_same_certificate),
		RIG_TEST(where_a_new_certificate_would_come_the_doubt_is_recorded_and_told_first),
		RIG_TEST(a_lost_intent_is_settled_as_the_ca_says_after_a_restart),
		RIG_TEST(one_that_is_lost_on_its_way_to_another_ca_is_known_not_to_be_issued),
		RIG_TEST(an_issued_job_is_sealed_at_once_without_the_queue),
		RIG_TEST(an_issued_job_is_sent_as_a_late_result_although_it_was_lost),
		RIG_TEST(a_result_is_sent_again_with_the_same_bytes),
		RIG_TEST(a_known_settlement_is_told_again),
		RIG_TEST(the_nonce_is_that_of_the_last_session_and_the_instance_is_new),
		RIG_TEST(what_is_pending_at_the_ca_is_kept_with_its_cookie),
		RIG_TEST(pending_jobs_take_no_place),
		RIG_TEST(the_first_credit_counts_the_jobs_that_are_kept),
		RIG_TEST(many_held_jobs_are_listed_in_pages),
		RIG_TEST(an_orphan_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
