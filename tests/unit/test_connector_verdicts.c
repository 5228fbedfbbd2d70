/*
 * What the queue says: every row of the result-ack table, claim verdicts, LOST and its like in each
 * state, jobs that come twice.
 */
#include "tests/support/connector_rig.h"

static void issue_with_verdict(struct rig *r, Certq__ResultVerdict verdict)
{
	r->result_verdict = verdict;
	rig_do(r, "job-1");
	assert_true(RIG_SENT(r, RESULT) >= 1);
}

/* The claim is settled NOT_ISSUED in the failure itself. */
static void fail_with_verdict(struct rig *r, Certq__ResultVerdict verdict)
{
	r->runners[0].submit = CA__CA_RESULT__CA_REJECTED;
	issue_with_verdict(r, verdict);
}

static void rewrap_with_verdict(struct rig *r, Certq__ResultVerdict verdict)
{
	r->result_verdict = verdict;
	rig_cloud_job(
		r, (struct rig_job){.name = "job-1", .kind = CERTQ__JOB_DOCUMENT__KIND_REWRAP});
	rig_turn(r);
}

static void stored_ends_the_job(void **state)
{
	struct rig *r = *state;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_STORED);
	assert_int_equal(rig_jobs(r), 0);
	rig_assert_done(r, "job-1", "issue");
}

static void duplicate_same_ends_the_job(void **state)
{
	struct rig *r = *state;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_DUPLICATE_SAME);
	rig_assert_done(r, "job-1", "issue");
}

static void already_done_with_our_certificate_ends_the_job(void **state)
{
	struct rig *r = *state;
	r->winner = &r->ca;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_ALREADY_DONE);
	rig_assert_done(r, "job-1", "issue");
}

static void already_done_with_another_certificate_leaves_an_orphan(void **state)
{
	struct rig *r = *state;
	r->winner = &r->other_ca;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_ALREADY_DONE);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
	assert_int_equal(rig_journal_open(r), 1);
}

static void already_dead_leaves_an_orphan_that_is_kept(void **state)
{
	struct rig *r = *state;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_ALREADY_DEAD);
	rig_assert_done(r, "job-1", "orphan_kept");
}

static void cancelled_leaves_an_orphan_that_is_kept(void **state)
{
	struct rig *r = *state;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_CANCELLED);
	rig_assert_done(r, "job-1", "orphan_kept");
}

static void a_rewrap_that_is_not_wanted_is_dropped(void **state)
{
	struct rig *r = *state;
	rewrap_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_CANCELLED);
	assert_int_equal(rig_jobs(r), 0);
	rewrap_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_ALREADY_DONE);
	assert_int_equal(rig_jobs(r), 0);
}

static void a_stale_failure_is_dropped_and_its_claim_settled(void **state)
{
	struct rig *r = *state;
	fail_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH);
	RIG_ASSERT_SETTLED(r, NOT_ISSUED);
	rig_assert_done(r, "job-1", "not_issued");
}

static void a_stale_failure_that_leaves_a_certificate_leaves_an_orphan(void **state)
{
	struct rig *r = *state;
	r->finish_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH);
	assert_int_equal(RIG_IN(r, ORPHAN), 1);
}

static void a_signed_refusal_that_is_stale_is_dropped_when_nothing_was_claimed(void **state)
{
	struct rig *r = *state;
	r->begin_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH);
	assert_non_null(RIG_LAST(r, RESULT)->result->bundle);
	assert_int_equal(rig_jobs(r), 0);
	assert_int_equal(RIG_SENT(r, SETTLE), 0);
}

static void a_signed_refusal_that_is_stale_leaves_its_claim_settled(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_NOT_SENT;
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	r->reorder_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	r->runners[0].find = CA__CA_RESULT__CA_NOT_ISSUED;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH;
	rig_restart(r);
	assert_non_null(RIG_LAST(r, RESULT)->result->bundle);
	RIG_ASSERT_SETTLED(r, NOT_ISSUED);
	rig_assert_done(r, "job-1", "not_issued");
}

static void a_success_is_never_stale(void **state)
{
	struct rig *r = *state;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_pass(r, 120000);
	rig_assert_done(r, "job-1", "issue");
}

static void an_unknown_job_is_held_and_offered_to_a_new_generation(void **state)
{
	struct rig *r = *state;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	rig_forget_frames(r);
	rig_restart(r);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	r->generation = 2;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_restart(r);
	assert_int_equal(RIG_SENT(r, RESULT), 1);
	rig_assert_done(r, "job-1", "issue");
}

static void an_unknown_attempt_is_held_too(void **state)
{
	struct rig *r = *state;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_ATTEMPT);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	assert_int_equal(RIG_SENT(r, RESULT), 1);
}

static void an_unknown_job_is_reported_after_seven_days(void **state)
{
	struct rig *r = *state;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB);
	rig_pass_due(r, INT64_C(8) * 86400000);
	r->generation = 2;
	rig_restart(r);
	assert_int_equal(r->orphans, 0);
	rig_assert_done(r, "job-1", "orphan_kept");
}

static void retry_later_sends_the_same_bytes_later(void **state)
{
	struct rig *r = *state;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_RETRY_LATER);
	cc_blob before = codec_pack(RIG_LAST(r, RESULT)->result);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_pass(r, 90000);
	cc_blob after = codec_pack(RIG_LAST(r, RESULT)->result);
	assert_true(RIG_SENT(r, RESULT) >= 2);
	assert_true(cc_view_equal(cc_blob_view(&before), cc_blob_view(&after)));
	cc_blob_free(&before);
	cc_blob_free(&after);
	rig_assert_done(r, "job-1", "issue");
}

static void an_invalid_result_is_kept_and_tried_again(void **state)
{
	struct rig *r = *state;
	issue_with_verdict(r, CERTQ__RESULT_VERDICT__RESULT_INVALID);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_pass_due(r, 11 * 60 * 1000);
	rig_assert_done(r, "job-1", "issue");
}

/* ---- claims ---- */

static void a_lost_claim_of_this_life_is_settled_not_issued(void **state)
{
	struct rig *r = *state;
	r->claim_verdict = CERTQ__CLAIM_VERDICT__CLAIM_LOST;
	rig_do(r, "job-1");
	const Certq__Settle *settle = RIG_LAST(r, SETTLE)->settle;
	assert_int_equal(settle->outcome, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	assert_text(settle->ca, "ca-one");
	assert_int_equal(r->runners[0].submitted, 0);
	assert_int_equal(rig_jobs(r), 0);
	assert_int_equal(rig_journal_open(r), 0);
}

static void already_done_cancelled_and_expired_claims_end_without_a_request(void **state)
{
	struct rig *r = *state;
	static const Certq__ClaimVerdict verdicts[] = {CERTQ__CLAIM_VERDICT__CLAIM_ALREADY_DONE,
		CERTQ__CLAIM_VERDICT__CLAIM_CANCELLED, CERTQ__CLAIM_VERDICT__CLAIM_EXPIRED};
	for (size_t i = 0; i < 3; i++) {
		char name[] = {'j', (char)('0' + i), 0};
		r->claim_verdict = verdicts[i];
		rig_issue(r, name);
		rig_turn(r);
		rig_assert_done(r, name, "not_issued");
	}
	assert_int_equal(r->runners[0].submitted, 0);
}

static void a_claim_that_is_put_off_is_made_again(void **state)
{
	struct rig *r = *state;
	r->claim_verdict = CERTQ__CLAIM_VERDICT__CLAIM_RETRY_LATER;
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, INTENT), 1);
	r->claim_verdict = CERTQ__CLAIM_VERDICT__CLAIM_GRANTED;
	rig_pass(r, 90000);
	rig_assert_done(r, "job-1", "issue");
}

/* ---- LOST and its like ---- */

static void a_received_job_that_is_gone_is_dropped(void **state)
{
	struct rig *r = *state;
	r->vault_silent = true;
	rig_do(r, "job-1");
	rig_gone(r, "job-1", CERTQ__JOB_VERDICT__VERDICT_CANCELLED);
	rig_turn(r);
	assert_int_equal(rig_jobs(r), 0);
}

static void a_claimed_job_that_is_gone_waits_for_the_call_and_sends_a_late_result(void **state)
{
	struct rig *r = *state;
	Ca__CaAnswer a = CA__CA_ANSWER__INIT;
	ProtobufCBinaryData chain[1] = {codec_bytes(cc_blob_view(&r->ca.der))};
	r->runners[0].silent = true;
	rig_do(r, "job-1");
	rig_gone(r, "job-1", CERTQ__JOB_VERDICT__VERDICT_LOST);
	rig_turn(r);
	assert_int_equal(RIG_IN(r, SETTLING), 1);
	a.request_id = r->runners[0].last_id;
	a.result = CA__CA_RESULT__CA_ISSUED;
	a.n_chain = 1;
	a.chain = chain;
	cc_blob packed = codec_pack(&a);
	assert_int_equal(chan_send(r->runners[0].chan, cc_blob_view(&packed)), CC_OK);
	cc_blob_free(&packed);
	rig_turn(r);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	rig_assert_done(r, "job-1", "issue");
}

static void a_claimed_job_that_is_gone_and_rejected_is_settled_not_issued(void **state)
{
	struct rig *r = *state;
	Ca__CaAnswer a = CA__CA_ANSWER__INIT;
	r->runners[0].silent = true;
	rig_do(r, "job-1");
	rig_gone(r, "job-1", CERTQ__JOB_VERDICT__VERDICT_LOST);
	rig_turn(r);
	a.request_id = r->runners[0].last_id;
	a.result = CA__CA_RESULT__CA_REJECTED;
	cc_blob packed = codec_pack(&a);
	assert_int_equal(chan_send(r->runners[0].chan, cc_blob_view(&packed)), CC_OK);
	cc_blob_free(&packed);
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	RIG_ASSERT_SETTLED(r, NOT_ISSUED);
	rig_assert_done(r, "job-1", "not_issued");
}

static void a_pending_job_that_is_gone_is_withdrawn_and_settled(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_PENDING;
	rig_do(r, "job-1");
	rig_gone(r, "job-1", CERTQ__JOB_VERDICT__VERDICT_CANCELLED);
	rig_turn(r);
	assert_int_equal(r->runners[0].withdrawn, 1);
	assert_int_equal(r->last_op, VAULT__ORDER_OP__ORDER_WITHDRAW);
	RIG_ASSERT_SETTLED(r, NOT_ISSUED);
	rig_assert_done(r, "job-1", "not_issued");
}

/* ---- twice ---- */

static void a_job_that_was_done_is_answered_from_the_journal(void **state)
{
	struct rig *r = *state;
	rig_do(r, "job-1");
	cc_blob before = codec_pack(RIG_LAST(r, RESULT)->result->bundle);
	rig_come_again(r, 2);
	const Certq__Result *again = RIG_LAST(r, RESULT)->result;
	cc_blob after = codec_pack(again->bundle);
	assert_int_equal(RIG_SENT(r, RESULT), 2);
	assert_int_equal(again->epoch, 2);
	assert_true(cc_view_equal(cc_blob_view(&before), cc_blob_view(&after)));
	cc_blob_free(&before);
	cc_blob_free(&after);
	assert_int_equal(r->begun, 1);
	assert_int_equal(r->runners[0].submitted, 1);
	assert_int_equal(rig_jobs(r), 0);
}

static void a_job_whose_result_is_gone_fails_and_is_not_issued_again(void **state)
{
	struct rig *r = *state;
	rig_do(r, "job-1");
	rig_pass(r, INT64_C(26) * 3600 * 1000);
	journal_sweep(r->journal);
	rig_pass(r, 61000);
	rig_come_again(r, 2);
	assert_text(RIG_LAST(r, RESULT)->result->code, "result_expired");
	assert_int_equal(r->runners[0].submitted, 1);
}

static void a_failed_job_may_run_again(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_REJECTED;
	rig_do(r, "job-1");
	rig_assert_done(r, "job-1", "failed");
	r->runners[0].submit = CA__CA_RESULT__CA_ISSUED;
	rig_come_again(r, 2);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	rig_assert_done(r, "job-1", "issue");
}

static void a_job_that_comes_again_before_its_claim_is_claimed_under_the_new_epoch(void **state)
{
	struct rig *r = *state;
	r->no_claim_answer = true;
	rig_do(r, "job-1");
	r->no_claim_answer = false;
	rig_come_again(r, 2);
	assert_int_equal(RIG_LAST(r, CLAIMS)->claims->claims[0]->epoch, 2);
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 2);
	assert_int_equal(r->begun, 1);
	rig_assert_done(r, "job-1", "issue");
}

static void a_kept_job_that_comes_again_asks_the_ca_first(void **state)
{
	struct rig *r = *state;
	rig_lose_claim(r);
	assert_int_equal(flow_unsettled_count(r->flow), 1);
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	rig_come_again(r, 2);
	assert_int_equal(r->runners[0].found, 2);
	assert_int_equal(r->runners[0].submitted, 1);
	rig_assert_done(r, "job-1", "issue");
}

static void a_claim_of_our_own_that_was_taken_over_is_asked_about_first(void **state)
{
	struct rig *r = *state;
	r->runners[1].find = CA__CA_RESULT__CA_ISSUED;
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .own_prior = true});
	rig_turn(r);
	assert_int_equal(r->runners[0].submitted + r->runners[0].found, 0);
	assert_int_equal(r->runners[1].found, 2); /* where it is, and the certificate */
	assert_int_equal(r->runners[1].submitted, 0);
	rig_assert_done(r, "job-1", "issue");
}

static void anothers_claim_is_asked_about_before_anything_of_our_own(void **state)
{
	struct rig *r = *state;
	r->runners[1].find = CA__CA_RESULT__CA_NOT_SENT;
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .other_prior = true});
	rig_turn(r);
	assert_int_equal(r->begun, 1);
	assert_true(r->runners[1].found >= 1);
	assert_int_equal(RIG_SENT(r, CLAIMS), 0);
	assert_int_equal(rig_journal_open(r), 0);
	r->runners[1].find = CA__CA_RESULT__CA_ISSUED;
	rig_pass(r, 15000);
	assert_int_equal(r->begun, 1);
	assert_int_equal(RIG_SENT(r, CLAIMS), 1);
	assert_int_equal(r->runners[0].submitted, 1);
	rig_assert_done(r, "job-1", "issue");
}

static void a_ca_that_does_not_answer_about_anothers_claim_does_not_hold_the_job_for_ever(
	void **state)
{
	struct rig *r = *state;
	r->runners[1].find = CA__CA_RESULT__CA_UNKNOWN;
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .other_prior = true});
	rig_turn(r);
	rig_pass(r, 120000);
	assert_int_equal(r->runners[1].found, 6);
	rig_assert_done(r, "job-1", "issue");
}

static void a_failure_that_leaves_a_certificate_leaves_an_orphan_that_is_kept(void **state)
{
	struct rig *r = *state;
	r->finish_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	rig_do(r, "job-1");
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_false(result->success);
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	assert_int_equal(result->certificate->cert_sha256.len, 32);
	assert_non_null(result->bundle);
	rig_assert_done(r, "job-1", "orphan_kept"); /* the job is over by it */
}

static void a_certificate_for_another_key_fails_the_job_and_is_nobodys_orphan(void **state)
{
	struct rig *r = *state;
	r->runners[0].signs = &r->other_ca;
	rig_do(r, "job-1");
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_false(result->success);
	assert_text(result->code, "key_mismatch");
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	assert_int_equal(r->finished, 0);
	assert_int_equal(RIG_IN(r, ORPHAN), 0);
	rig_assert_done(r, "job-1", "in_doubt");
}

/* ---- a CA that takes us for somebody else ---- */

static void a_ca_with_a_certificate_for_another_key_gets_no_new_requests(void **state)
{
	struct rig *r = *state;
	r->runners[0].signs = &r->other_ca;
	rig_do(r, "job-1");
	r->runners[0].signs = &r->ca;
	rig_restart(r); /* it is on disk */
	rig_issue(r, "job-2");
	rig_turn(r);
	assert_int_equal(r->runners[0].submitted, 1);
	assert_int_equal(r->runners[1].submitted, 1);
	rig_assert_done(r, "job-2", "issue");
}

static void a_job_for_suspended_cas_only_is_given_back(void **state)
{
	struct rig *r = *state;
	r->runners[0].signs = r->runners[1].signs = &r->other_ca;
	rig_issue(r, "job-1");
	rig_issue(r, "job-2");
	rig_turn(r);
	rig_issue(r, "job-3");
	rig_turn(r);
	rig_issue(r, "job-4");
	rig_turn(r);
	assert_int_equal(RIG_LAST(r, NACK)->nack->reason, CERTQ__NACK_REASON__NACK_CA_UNREACHABLE);
}

static void an_operator_lets_a_suspended_ca_be_asked_again(void **state)
{
	struct rig *r = *state;
	r->runners[0].signs = &r->other_ca;
	rig_do(r, "job-1");
	r->runners[0].signs = &r->ca;
	assert_int_equal(flow_resume_ca(r->flow, cc_view_text("ca-two")), CC_NOT_FOUND);
	assert_int_equal(flow_resume_ca(r->flow, cc_view_text("ca-one")), CC_OK);
	rig_turn(r);
	rig_issue(r, "job-2");
	rig_turn(r);
	assert_int_equal(r->runners[0].submitted, 2);
	assert_int_equal(flow_resume_ca(r->flow, cc_view_text("ca-one")), CC_NOT_FOUND);
}

/* Somebody else's certificate is found, and the job comes again before the queue has heard of it. */
static void anothers_certificate_is_forgotten_when_the_job_comes_again(void **state)
{
	struct rig *r = *state;
	rig_do_without_answer(r);
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	r->runners[0].signs = &r->other_ca;
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_RETRY_LATER;
	rig_restart(r);
	assert_int_equal(RIG_IN(r, SETTLING), 1);
	assert_non_null(RIG_LAST(r, SETTLE)->settle->certificate);
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_OK;
	r->runners[0].find = CA__CA_RESULT__CA_NOT_ISSUED;
	r->runners[1].submit = CA__CA_RESULT__CA_REJECTED;
	rig_come_again(r, 2);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_int_equal(result->epoch, 2);
	assert_null(result->certificate);
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	assert_int_equal(RIG_IN(r, ORPHAN), 0);
	rig_assert_done(r, "job-1", "failed");
}

static void an_adopted_journal_has_a_new_id_and_no_nonce(void **state)
{
	struct rig *r = *state;
	uint8_t journal[16];
	memcpy(journal, RIG_LAST(r, HELLO)->hello->journal_id.data, 16);
	assert_int_equal(flow_adopt(r->flow), CC_OK);
	rig_turn(r);
	rig_pass(r, 61000);
	const Certq__Hello *hello = RIG_LAST(r, HELLO)->hello;
	assert_int_equal(RIG_SENT(r, HELLO), 2);
	assert_int_equal(hello->resume_nonce.len, 0);
	assert_memory_not_equal(hello->journal_id.data, journal, 16);
	memcpy(journal, hello->journal_id.data, 16);
	rig_restart(r);
	assert_memory_equal(RIG_LAST(r, HELLO)->hello->journal_id.data, journal, 16);
	assert_int_equal(RIG_LAST(r, HELLO)->hello->resume_nonce.len, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(stored_ends_the_job),
		RIG_TEST(duplicate_same_ends_the_job),
		RIG_TEST(already_done_with_our_certificate_ends_the_job),
		RIG_TEST(already_done_with_another_certificate_leaves_an_orphan),
		RIG_TEST(already_dead_leaves_an_orphan_that_is_kept),
		RIG_TEST(cancelled_leaves_an_orphan_that_is_kept),
		RIG_TEST(a_rewrap_that_is_not_wanted_is_dropped),
		RIG_TEST(a_stale_failure_is_dropped_and_its_claim_settled),
		RIG_TEST(a_stale_failure_that_leaves_a_certificate_leaves_an_orphan),
		RIG_TEST(a_signed_refusal_that_is_stale_is_dropped_when_nothing_was_claimed),
		RIG_TEST(a_signed_refusal_that_is_stale_leaves_its_claim_settled),
		RIG_TEST(a_success_is_never_stale),
		RIG_TEST(an_unknown_job_is_held_and_offered_to_a_new_generation),
		RIG_TEST(an_unknown_attempt_is_held_too),
		RIG_TEST(an_unknown_job_is_reported_after_seven_days),
		RIG_TEST(retry_later_sends_the_same_bytes_later),
		RIG_TEST(an_invalid_result_is_kept_and_tried_again),
		RIG_TEST(a_lost_claim_of_this_life_is_settled_not_issued),
		RIG_TEST(already_done_cancelled_and_expired_claims_end_without_a_request),
		RIG_TEST(a_claim_that_is_put_off_is_made_again),
		RIG_TEST(a_received_job_that_is_gone_is_dropped),
		RIG_TEST(a_claimed_job_that_is_gone_waits_for_the_call_and_sends_a_late_result),
		RIG_TEST(a_claimed_job_that_is_gone_and_rejected_is_settled_not_issued),
		RIG_TEST(a_pending_job_that_is_gone_is_withdrawn_and_settled),
		RIG_TEST(a_job_that_was_done_is_answered_from_the_journal),
		RIG_TEST(a_job_whose_result_is_gone_fails_and_is_not_issued_again),
		RIG_TEST(a_failed_job_may_run_again),
		RIG_TEST(a_job_that_comes_again_before_its_claim_is_claimed_under_the_new_epoch),
		RIG_TEST(a_kept_job_that_comes_again_asks_the_ca_first),
		RIG_TEST(a_claim_of_our_own_that_was_taken_over_is_asked_about_first),
		RIG_TEST(a_ca_with_a_certificate_for_another_key_gets_no_new_requests),
		RIG_TEST(a_job_for_suspended_cas_only_is_given_back),
		RIG_TEST(an_operator_lets_a_suspended_ca_be_asked_again),
		RIG_TEST(anothers_certificate_is_forgotten_when_the_job_comes_again),
		RIG_TEST(an_adopted_journal_has_a_new_id_and_no_nonce),
		RIG_TEST(anothers_claim_is_asked_about_before_anything_of_our_own),
		RIG_TEST(
			a_ca_that_does_not_answer_about_anothers_claim_does_not_hold_the_job_for_ever),
		RIG_TEST(a_failure_that_leaves_a_certificate_leaves_an_orphan_that_is_kept),
		RIG_TEST(a_certificate_for_another_key_fails_the_job_and_is_nobodys_orphan),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
