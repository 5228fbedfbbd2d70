/*
 * Keyvault and runners: what they answer instead of yes, and what happens when they die.
 */
#include "tests/support/connector_rig.h"

static void begin_with(struct rig *r, Vault__VaultStatus status)
{
	r->begin_status = status;
	rig_issue(r, "job-1");
	rig_turn(r);
}

static void a_refusal_is_sent_as_a_signed_failure(void **state)
{
	struct rig *r = *state;
	begin_with(r, VAULT__VAULT_STATUS__VAULT_REFUSED);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_false(result->success);
	assert_text(result->code, "policy_denied");
	assert_int_equal(result->event, 5102);
	assert_non_null(result->bundle->result);
	assert_int_equal(result->detail.len, 0); /* report_detail: code */
	assert_int_equal(RIG_SENT(r, CLAIMS), 0);
	assert_int_equal(rig_jobs(r), 0);
	assert_int_equal(r->confirmed, 1);
}

static void refused_here_is_given_to_another_connector(void **state)
{
	struct rig *r = *state;
	begin_with(r, VAULT__VAULT_STATUS__VAULT_REFUSED_HERE);
	const Certq__Nack *nack = RIG_LAST(r, NACK)->nack;
	assert_int_equal(nack->reason, CERTQ__NACK_REASON__NACK_REFUSED_HERE);
	assert_true(nack->exclude_me);
	assert_int_equal(rig_jobs(r), 0);
}

static void approval_is_waited_for_at_the_queue_longer_each_time(void **state)
{
	struct rig *r = *state;
	begin_with(r, VAULT__VAULT_STATUS__VAULT_WAITS_OPERATOR);
	assert_int_equal(RIG_LAST(r, NACK)->nack->reason, CERTQ__NACK_REASON__NACK_APPROVAL);
	assert_false(RIG_LAST(r, NACK)->nack->count_attempt);
	assert_int_equal(RIG_LAST(r, NACK)->nack->retry_delay_ms, 300000);
	for (uint32_t i = 2; i < 8; i++) {
		rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = i, .life_s = 86400});
		rig_turn(r);
	}
	assert_int_equal(RIG_LAST(r, NACK)->nack->retry_delay_ms, 3600000);
}

static void approval_is_not_waited_for_beyond_the_jobs_end(void **state)
{
	struct rig *r = *state;
	begin_with(r, VAULT__VAULT_STATUS__VAULT_WAITS_OPERATOR);
	for (uint32_t i = 2; i < 8; i++) {
		rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = i});
		rig_turn(r);
	}
	assert_in_range(RIG_LAST(r, NACK)->nack->retry_delay_ms, 1700000, 1800000);
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = 8, .life_s = 500});
	rig_turn(r);
	assert_int_equal(RIG_LAST(r, NACK)->nack->retry_delay_ms, 300000);
}

static void a_busy_keyvault_is_asked_again(void **state)
{
	struct rig *r = *state;
	begin_with(r, VAULT__VAULT_STATUS__VAULT_BUSY);
	assert_int_equal(RIG_IN(r, RECEIVED), 1);
	r->begin_status = VAULT__VAULT_STATUS__VAULT_OK;
	rig_pass(r, 30000);
	rig_assert_done(r, "job-1", "issue");
}

static void a_keyvault_that_stays_busy_loses_the_job_to_others(void **state)
{
	struct rig *r = *state;
	begin_with(r, VAULT__VAULT_STATUS__VAULT_FAILED);
	rig_pass(r, 590000);
	rig_pass(r, 590000);
	rig_pass(r, 590000);
	rig_pass(r, 120000);
	assert_int_equal(RIG_LAST(r, NACK)->nack->reason, CERTQ__NACK_REASON__NACK_BUSY);
	assert_int_equal(rig_jobs(r), 0);
}

static void what_the_keyvault_does_not_support_fails(void **state)
{
	struct rig *r = *state;
	begin_with(r, VAULT__VAULT_STATUS__VAULT_NOT_SUPPORTED);
	assert_text(RIG_LAST(r, RESULT)->result->code, "not_supported");
}

static void a_keyvault_death_is_survived_once_more(void **state)
{
	struct rig *r = *state;
	r->vault_silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	r->vault_silent = false;
	rig_kill_vault(r);
	rig_pass(r, 15000);
	rig_assert_done(r, "job-1", "issue");
}

static void two_keyvault_deaths_are_poison(void **state)
{
	struct rig *r = *state;
	r->vault_silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_kill_vault(r);
	rig_pass(r, 15000);
	assert_int_equal(r->begun, 2);
	rig_kill_vault(r);
	assert_int_equal(RIG_LAST(r, NACK)->nack->reason, CERTQ__NACK_REASON__NACK_POISON);
	assert_true(RIG_LAST(r, NACK)->nack->count_attempt);
	assert_int_equal(rig_jobs(r), 0);
}

static void jobs_that_saw_a_death_go_one_by_one(void **state)
{
	struct rig *r = *state;
	r->vault_silent = true;
	rig_issue(r, "job-1");
	rig_issue(r, "job-2");
	rig_issue(r, "job-3");
	rig_turn(r);
	assert_int_equal(r->begun, 3);
	rig_kill_vault(r);
	rig_pass(r, 15000);
	assert_int_equal(r->begun, 4);
	rig_kill_vault(r); /* it is one of them that is given back */
	assert_int_equal(RIG_SENT(r, NACK), 1);
	r->vault_silent = false;
	rig_kill_vault(r);
	rig_pass(r, 60000);
	assert_true(flow_outcome_count(r->flow, FLOW_ISSUED) >= 1);
}

static void a_death_over_an_issued_job_is_never_poison(void **state)
{
	struct rig *r = *state;
	r->finish_status = VAULT__VAULT_STATUS__VAULT_FAILED;
	rig_issue(r, "job-1");
	rig_turn(r);
	for (int i = 0; i < 3; i++) {
		r->vault_silent = true;
		rig_pass(r, 15000);
		rig_kill_vault(r);
	}
	r->vault_silent = false;
	r->finish_status = VAULT__VAULT_STATUS__VAULT_OK;
	rig_kill_vault(r);
	rig_pass(r, 15000);
	assert_int_equal(RIG_SENT(r, NACK), 0);
	rig_assert_done(r, "job-1", "issue");
}

static void decisions_that_come_unasked_are_recorded_and_confirmed(void **state)
{
	struct rig *r = *state;
	struct rig_vault_answer *t = cc_alloc(sizeof *t);
	vault__vault_answer__init(&t->a);
	t->a.status = VAULT__VAULT_STATUS__VAULT_OK;
	r->decisions = 499; /* all before was confirmed to another journal */
	rig_vault_decides(r, t);
	cc_blob packed = codec_pack(&t->a);
	assert_int_equal(chan_send(r->vault, cc_blob_view(&packed)), CC_OK);
	cc_blob_free(&packed);
	free(t);
	rig_turn(r);
	assert_int_equal(r->confirmed, 500);
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(r->confirmed, r->decisions);
}

/* ---- the CA ---- */

static void a_rejection_settles_the_claim_in_the_failure(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_REJECTED;
	rig_issue(r, "job-1");
	rig_turn(r);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_text(result->code, "ca_rejected");
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	assert_null(result->certificate);
	assert_int_equal(RIG_SENT(r, SETTLE), 0);
	rig_assert_done(r, "job-1", "failed");
}

static void need_rekey_is_a_rejection(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_NEED_REKEY;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_text(RIG_LAST(r, RESULT)->result->code, "ca_rejected");
}

static void not_sent_is_tried_again_at_the_same_ca(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_NOT_SENT;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	r->runners[0].submit = CA__CA_RESULT__CA_ISSUED;
	rig_pass(r, 15000);
	assert_int_equal(r->runners[0].found, 0);
	assert_int_equal(RIG_SENT(r, CLAIMS), 1);
	rig_assert_done(r, "job-1", "issue");
}

static void not_sent_for_long_goes_to_the_next_ca_with_a_new_claim(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_NOT_SENT;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_pass(r, 60000);
	assert_int_equal(
		RIG_LAST(r, SETTLE)->settle->outcome, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	assert_text(RIG_LAST(r, SETTLE)->settle->ca, "ca-one");
	assert_text(RIG_LAST(r, CLAIMS)->claims->claims[0]->ca, "ca-two");
	assert_int_equal(r->runners[1].submitted, 1);
	assert_int_equal(r->reordered, 1);
	rig_assert_done(r, "job-1", "issue");
}

static void a_ca_that_cannot_be_reached_until_the_deadline_fails_the_job(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_NOT_SENT;
	r->runners[1].submit = CA__CA_RESULT__CA_NOT_SENT;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_pass(r, 60000);
	rig_pass(r, INT64_C(121) * 60 * 1000);
	rig_pass(r, 61000);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_text(result->code, "ca_unreachable");
	assert_true(result->retryable);
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
}

static void after_unknown_the_ca_is_asked_before_anything_else(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_UNKNOWN;
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_pass(r, 15000);
	assert_int_equal(r->runners[0].submitted, 1);
	assert_int_equal(r->runners[0].found, 1);
	assert_int_equal(r->runners[1].submitted, 0);
	rig_assert_done(r, "job-1", "issue");
}

static void after_unknown_and_not_issued_it_is_submitted_again(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_UNKNOWN;
	rig_issue(r, "job-1");
	rig_turn(r);
	r->runners[0].submit = CA__CA_RESULT__CA_ISSUED;
	rig_pass(r, 15000);
	assert_int_equal(r->runners[0].submitted, 2);
	rig_assert_done(r, "job-1", "issue");
}

static void after_unknown_without_an_answer_the_job_is_kept_at_its_deadline(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_UNKNOWN;
	r->runners[0].find = CA__CA_RESULT__CA_UNKNOWN;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_pass(r, INT64_C(121) * 60 * 1000);
	rig_pass(r, 61000);
	assert_int_equal(flow_unsettled_count(r->flow), 1);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	assert_int_equal(r->runners[1].submitted, 0);
}

static void a_runner_that_dies_over_a_request_is_asked_first_when_it_is_back(void **state)
{
	struct rig *r = *state;
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	r->runners[0].silent = false;
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	rig_kill_ca(r, 0);
	rig_pass(r, 15000);
	assert_int_equal(r->runners[0].submitted, 1);
	assert_int_equal(r->runners[0].found, 1);
	rig_assert_done(r, "job-1", "issue");
}

static void a_runner_that_is_away_is_waited_for(void **state)
{
	struct rig *r = *state;
	r->runners[0].away = true;
	rig_kill_ca(r, 0);
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	r->runners[0].away = false;
	rig_attach_ca(r, 0);
	rig_turn(r);
	rig_assert_done(r, "job-1", "issue");
}

static void a_refused_order_is_replaced_once(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_ORDER_REFUSED;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_pass(r, 30000);
	assert_int_equal(r->reordered, 1);
	assert_int_equal(r->runners[0].submitted, 2);
	assert_text(RIG_LAST(r, RESULT)->result->code, "order_refused");
}

static void an_order_that_is_old_is_not_used(void **state)
{
	struct rig *r = *state;
	r->no_claim_answer = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_pass(r, 9 * 60 * 1000); /* it holds ten minutes, by the keyvault's clock */
	rig_claim_acks(r, RIG_LAST(r, CLAIMS)->claims);
	rig_turn(r);
	assert_int_equal(r->reordered, 1);
	assert_int_equal(r->runners[0].submitted, 1);
	rig_assert_done(r, "job-1", "issue");
}

static void a_failed_keyvault_call_in_the_middle_does_not_lose_the_certificate(void **state)
{
	struct rig *r = *state;
	r->finish_status = VAULT__VAULT_STATUS__VAULT_FAILED;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, ISSUED), 1);
	rig_pass(r, INT64_C(31) * 60 * 1000); /* past the deadline of the state */
	assert_int_equal(RIG_IN(r, ISSUED), 1);
	r->finish_status = VAULT__VAULT_STATUS__VAULT_OK;
	rig_pass(r, 61000);
	rig_assert_done(r, "job-1", "issue");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_refusal_is_sent_as_a_signed_failure),
		RIG_TEST(refused_here_is_given_to_another_connector),
		RIG_TEST(approval_is_waited_for_at_the_queue_longer_each_time),
		RIG_TEST(approval_is_not_waited_for_beyond_the_jobs_end),
		RIG_TEST(a_busy_keyvault_is_asked_again),
		RIG_TEST(a_keyvault_that_stays_busy_loses_the_job_to_others),
		RIG_TEST(what_the_keyvault_does_not_support_fails),
		RIG_TEST(a_keyvault_death_is_survived_once_more),
		RIG_TEST(two_keyvault_deaths_are_poison),
		RIG_TEST(jobs_that_saw_a_death_go_one_by_one),
		RIG_TEST(a_death_over_an_issued_job_is_never_poison),
		RIG_TEST(decisions_that_come_unasked_are_recorded_and_confirmed),
		RIG_TEST(a_rejection_settles_the_claim_in_the_failure),
		RIG_TEST(need_rekey_is_a_rejection),
		RIG_TEST(not_sent_is_tried_again_at_the_same_ca),
		RIG_TEST(not_sent_for_long_goes_to_the_next_ca_with_a_new_claim),
		RIG_TEST(a_ca_that_cannot_be_reached_until_the_deadline_fails_the_job),
		RIG_TEST(after_unknown_the_ca_is_asked_before_anything_else),
		RIG_TEST(after_unknown_and_not_issued_it_is_submitted_again),
		RIG_TEST(after_unknown_without_an_answer_the_job_is_kept_at_its_deadline),
		RIG_TEST(a_runner_that_dies_over_a_request_is_asked_first_when_it_is_back),
		RIG_TEST(a_runner_that_is_away_is_waited_for),
		RIG_TEST(a_refused_order_is_replaced_once),
		RIG_TEST(an_order_that_is_old_is_not_used),
		RIG_TEST(a_failed_keyvault_call_in_the_middle_does_not_lose_the_certificate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
