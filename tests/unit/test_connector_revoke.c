/*
 * Revocations through the connector's flow: keyvault, then CA, then a result that nobody signs.
 */
#include "tests/support/connector_rig.h"

static void send_revoke(struct rig *r)
{
	rig_cloud_job(
		r, (struct rig_job){.name = "job-1", .kind = CERTQ__JOB_DOCUMENT__KIND_REVOKE});
	rig_turn(r);
}

static void expect_failure(struct rig *r, const char *code, bool retryable)
{
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;

	assert_false(result->success);
	assert_text(result->code, code);
	assert_int_equal(result->retryable, retryable);
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED);
	assert_int_equal(rig_jobs(r), 0);
	assert_int_equal(flow_outcome_count(r->flow, FLOW_REVOKED), 0);
	assert_int_equal(flow_outcome_count(r->flow, FLOW_FAILED), 1);
}

static void a_revocation_is_approved_done_and_told_without_a_signature(void **state)
{
	struct rig *r = *state;

	send_revoke(r);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_int_equal(r->approved, 1);
	assert_int_equal(r->runners[0].revoked, 1);
	assert_int_equal(r->runners[1].revoked, 0);
	assert_int_equal(RIG_SENT(r, CLAIMS), 0);
	assert_true(result->success);
	assert_null(result->bundle);
	assert_null(result->certificate);
	assert_int_equal(rig_jobs(r), 0);
	assert_int_equal(flow_outcome_count(r->flow, FLOW_REVOKED), 1);
	assert_int_equal(flow_outcome_count(r->flow, FLOW_FAILED), 0);
}

static void the_ca_that_the_order_names_is_asked(void **state)
{
	struct rig *r = *state;

	r->revokes_at = "ca-two";
	send_revoke(r);
	assert_int_equal(r->runners[0].revoked, 0);
	assert_int_equal(r->runners[1].revoked, 1);
	assert_true(RIG_LAST(r, RESULT)->result->success);
}

static void the_ca_is_asked_only_when_the_decision_is_on_disk(void **state)
{
	struct rig *r = *state;

	rig_hold_commits(r);
	send_revoke(r);
	assert_int_equal(r->approved, 1);
	assert_int_equal(r->runners[0].revoked, 0);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	rig_release_commits(r);
	rig_turn(r);
	assert_int_equal(r->runners[0].revoked, 1);
	assert_int_equal(r->confirmed, r->decisions);
	assert_true(RIG_LAST(r, RESULT)->result->success);
}

static void what_the_keyvault_refuses_does_not_reach_the_ca(void **state)
{
	struct rig *r = *state;

	r->approve_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	send_revoke(r);
	assert_int_equal(r->runners[0].revoked, 0);
	assert_non_null(RIG_LAST(r, RESULT)->result->bundle);
	expect_failure(r, "policy_denied", false);
}

static void a_limit_makes_the_job_wait(void **state)
{
	struct rig *r = *state;

	r->approve_status = VAULT__VAULT_STATUS__VAULT_BUSY;
	send_revoke(r);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	assert_int_equal(RIG_IN(r, RECEIVED), 1);
	r->approve_status = VAULT__VAULT_STATUS__VAULT_OK;
	rig_jump(r, 15000);
	assert_int_equal(r->runners[0].revoked, 1);
	assert_true(RIG_LAST(r, RESULT)->result->success);
}

static void what_the_ca_refuses_fails_the_job(void **state)
{
	struct rig *r = *state;

	r->runners[0].revoke = CA__CA_RESULT__CA_REJECTED;
	send_revoke(r);
	expect_failure(r, "ca_rejected", false);
}

static void a_ca_that_cannot_revoke_fails_the_job(void **state)
{
	struct rig *r = *state;

	r->runners[0].revoke = CA__CA_RESULT__CA_NOT_SUPPORTED;
	send_revoke(r);
	expect_failure(r, "not_supported", false);
}

static void a_ca_that_is_not_here_fails_the_job_for_others_to_try(void **state)
{
	struct rig *r = *state;

	r->revokes_at = "ca-nine";
	send_revoke(r);
	expect_failure(r, "ca_not_configured", true);
}

static void a_ca_that_is_away_is_asked_again_with_a_fresh_order(void **state)
{
	struct rig *r = *state;

	r->runners[0].revoke = CA__CA_RESULT__CA_UNKNOWN;
	send_revoke(r);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	r->runners[0].revoke = CA__CA_RESULT__CA_DONE;
	rig_jump(r, 15000);
	assert_int_equal(r->approved, 2);
	assert_int_equal(r->runners[0].revoked, 2);
	assert_true(RIG_LAST(r, RESULT)->result->success);
}

static void an_order_that_is_refused_again_and_again_ends_the_job(void **state)
{
	struct rig *r = *state;

	r->runners[0].revoke = CA__CA_RESULT__CA_ORDER_REFUSED;
	send_revoke(r);
	rig_pass(r, 60000);
	assert_int_equal(r->runners[0].revoked, 3);
	expect_failure(r, "order_refused", false);
}

static void a_runner_that_comes_back_is_asked_at_once(void **state)
{
	struct rig *r = *state;

	r->runners[0].away = true;
	rig_kill_ca(r, 0);
	send_revoke(r);
	assert_int_equal(r->runners[0].revoked, 0);
	assert_int_equal(RIG_IN(r, RECEIVED), 1);
	r->runners[0].away = false;
	rig_attach_ca(r, 0);
	rig_turn(r);
	assert_int_equal(r->runners[0].revoked, 1);
	assert_true(RIG_LAST(r, RESULT)->result->success);
}

static bool announces_revoke(const struct rig *r)
{
	const Certq__Capabilities *c = RIG_LAST(r, CAPABILITIES)->capabilities;

	for (size_t i = 0; i < c->n_kinds; i++) {
		if (text_equal(codec_view(c->kinds[i]), "revoke"))
			return true;
	}
	return false;
}

static void the_kind_is_announced_when_a_runner_can_revoke(void **state)
{
	struct rig *r = *state;

	assert_true(announces_revoke(r));
	rig_close(r);
	r->runners[0].can_revoke = r->runners[1].can_revoke = false;
	rig_open(r);
	rig_turn(r);
	assert_false(announces_revoke(r));
	r->runners[1].can_revoke = true;
	rig_kill_ca(r, 1);
	assert_true(announces_revoke(r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_revocation_is_approved_done_and_told_without_a_signature),
		RIG_TEST(the_ca_that_the_order_names_is_asked),
		RIG_TEST(the_ca_is_asked_only_when_the_decision_is_on_disk),
		RIG_TEST(what_the_keyvault_refuses_does_not_reach_the_ca),
		RIG_TEST(a_limit_makes_the_job_wait),
		RIG_TEST(what_the_ca_refuses_fails_the_job),
		RIG_TEST(a_ca_that_cannot_revoke_fails_the_job),
		RIG_TEST(a_ca_that_is_not_here_fails_the_job_for_others_to_try),
		RIG_TEST(a_ca_that_is_away_is_asked_again_with_a_fresh_order),
		RIG_TEST(an_order_that_is_refused_again_and_again_ends_the_job),
		RIG_TEST(a_runner_that_comes_back_is_asked_at_once),
		RIG_TEST(the_kind_is_announced_when_a_runner_can_revoke),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
