/*
 * The flow, in good weather and in the order that durability asks for: what is sent and asked, and when.
 */
#include "tests/support/connector_rig.h"

static void a_session_resumes_and_tells_what_it_can_do(void **state)
{
	struct rig *r = *state;
	const Certq__Hello *hello = RIG_LAST(r, HELLO)->hello;
	const Certq__Capabilities *c = RIG_LAST(r, CAPABILITIES)->capabilities;
	assert_int_equal(hello->held_total, 0);
	assert_int_equal(hello->resume_nonce.len, 0);
	assert_int_equal(hello->journal_id.len, 16);
	assert_int_equal(RIG_SENT(r, RESUME_END), 1);
	assert_int_equal(c->n_kinds, 4);
	assert_text(c->ca_profiles[0], "corp-user");
	assert_text(c->sites[0], "hq-1");
	assert_text(c->sites[1], "hq");
	assert_int_equal(RIG_LAST(r, CREDIT)->credit->delivery_limit, 4);
}

static void an_issue_job_ends_with_a_stored_result(void **state)
{
	struct rig *r = *state;
	uint8_t digest[32];
	rig_issue(r, "job-1");
	rig_turn(r);
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_true(result->success);
	hash_sha256(cc_blob_view(&r->ca.der), digest);
	assert_memory_equal(result->certificate->cert_sha256.data, digest, 32);
	assert_true(result->certificate->issuer.len > 0 && result->certificate->serial.len > 0);
	cc_blob bundle = codec_pack(result->bundle);
	hash_sha256(cc_blob_view(&bundle), digest);
	cc_blob_free(&bundle);
	assert_memory_equal(result->digest.data, digest, 32);
	assert_int_equal(rig_jobs(r), 0);
	assert_int_equal(rig_journal_open(r), 0);
	rig_assert_done(r, "job-1", "issue");
	assert_int_equal(flow_outcome_count(r->flow, FLOW_ISSUED), 1);
	assert_int_equal(r->runners[0].submitted, 1);
	assert_int_equal(r->runners[0].found, 0);
}

static void claim_is_sent_only_after_the_intent_is_on_disk(void **state)
{
	struct rig *r = *state;
	rig_hold_commits(r);
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(r->begun, 1);
	assert_int_equal(RIG_SENT(r, CLAIMS), 0);
	rig_release_commits(r);
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, CLAIMS), 1);
}

static void the_ca_is_asked_only_after_the_claim_is_granted(void **state)
{
	struct rig *r = *state;
	r->no_claim_answer = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, CLAIMS), 1);
	assert_int_equal(r->runners[0].submitted, 0);
	rig_claim_acks(r, RIG_LAST(r, CLAIMS)->claims);
	rig_turn(r);
	assert_int_equal(r->runners[0].submitted, 1);
}

static void the_result_is_sent_only_after_it_is_on_disk(void **state)
{
	struct rig *r = *state;
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	Ca__CaAnswer a = CA__CA_ANSWER__INIT;
	ProtobufCBinaryData chain[1] = {codec_bytes(cc_blob_view(&r->ca.der))};
	rig_hold_commits(r);
	a.request_id = r->runners[0].last_id;
	a.result = CA__CA_RESULT__CA_ISSUED;
	a.n_chain = 1;
	a.chain = chain;
	cc_blob packed = codec_pack(&a);
	assert_int_equal(chan_send(r->runners[0].chan, cc_blob_view(&packed)), CC_OK);
	cc_blob_free(&packed);
	rig_turn(r);
	assert_int_equal(r->finished, 1); /* the keyvault packs meanwhile */
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	rig_release_commits(r);
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, RESULT), 1);
}

static void hello_ack_is_followed_only_after_the_nonce_is_on_disk(void **state)
{
	struct rig *r = *state;
	rig_hold_commits(r);
	rig_forget_frames(r);
	rig_cut(r);
	rig_jump(r, 61000); /* more than any back-off */
	assert_int_equal(RIG_SENT(r, HELLO), 1);
	assert_int_equal(RIG_SENT(r, RESUME_END), 0);
	rig_release_commits(r);
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, RESUME_END), 1);
	assert_memory_equal(RIG_LAST(r, RESUME_END)->resume_end->resume_nonce.data, r->nonce, 16);
}

static void claims_of_one_turn_go_in_one_message(void **state)
{
	struct rig *r = *state;
	rig_hold_commits(r);
	rig_issue(r, "job-1");
	rig_issue(r, "job-2");
	rig_issue(r, "job-3");
	rig_turn(r);
	rig_release_commits(r);
	rig_turn(r);
	size_t claims = 0;
	for (size_t i = 0; i < r->out_count; i++) {
		if (r->out[i]->body_case == CERTQ__ENVELOPE__BODY_CLAIMS)
			claims += r->out[i]->claims->n_claims;
	}
	assert_int_equal(claims, 3);
	assert_true(RIG_SENT(r, CLAIMS) < 3);
	assert_int_equal(flow_outcome_count(r->flow, FLOW_ISSUED), 3);
}

static void a_rewrap_is_answered_without_a_claim(void **state)
{
	struct rig *r = *state;
	rig_cloud_job(
		r, (struct rig_job){.name = "job-1", .kind = CERTQ__JOB_DOCUMENT__KIND_REWRAP});
	rig_turn(r);
	assert_int_equal(r->rewrapped, 1);
	assert_int_equal(RIG_SENT(r, CLAIMS), 0);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	assert_null(RIG_LAST(r, RESULT)->result->certificate);
	assert_int_equal(rig_jobs(r), 0);
	assert_int_equal(flow_outcome_count(r->flow, FLOW_REWRAPPED), 1);
}

static void a_rewrap_waits_for_the_audit_record(void **state)
{
	struct rig *r = *state;
	rig_hold_commits(r);
	rig_cloud_job(
		r, (struct rig_job){.name = "job-1", .kind = CERTQ__JOB_DOCUMENT__KIND_REWRAP});
	rig_turn(r);
	assert_int_equal(r->rewrapped, 1);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	rig_release_commits(r);
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, RESULT), 1);
}

static void a_chain_job_asks_runner_and_keyvault(void **state)
{
	struct rig *r = *state;
	rig_cloud_job(
		r, (struct rig_job){.name = "job-1", .kind = CERTQ__JOB_DOCUMENT__KIND_CHAIN});
	rig_turn(r);
	assert_int_equal(r->runners[0].chains, 1);
	assert_int_equal(r->chained, 1);
	assert_true(RIG_LAST(r, RESULT)->result->success);
}

static void credit_is_raised_as_jobs_end_and_never_exceeds_the_limit(void **state)
{
	struct rig *r = *state;
	r->no_claim_answer = true;
	rig_issue(r, "job-1");
	rig_issue(r, "job-2");
	rig_turn(r);
	assert_int_equal(RIG_LAST(r, CREDIT)->credit->delivery_limit, 4);
	r->no_claim_answer = false;
	for (size_t i = 0, n = r->out_count; i < n; i++) {
		if (r->out[i]->body_case == CERTQ__ENVELOPE__BODY_CLAIMS)
			rig_claim_acks(r, r->out[i]->claims);
	}
	rig_turn(r);
	assert_int_equal(RIG_LAST(r, CREDIT)->credit->delivery_limit, 6);
}

static void a_job_beyond_the_credit_ends_the_connection(void **state)
{
	struct rig *r = *state;
	r->vault_silent = true;
	for (int i = 0; i < 5; i++) {
		char name[8] = {'j', (char)('0' + i), 0};
		rig_issue(r, name);
	}
	rig_turn(r);
	assert_int_equal(r->fatal_errors, 1);
	assert_int_equal(RIG_LAST(r, ERROR)->error->code, CERTQ__ERROR_CODE__ERROR_CREDIT);
}

static void leases_are_extended_while_a_job_has_no_claim(void **state)
{
	struct rig *r = *state;
	r->vault_silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_pass(r, 38000);
	assert_int_equal(RIG_SENT(r, LEASE_EXTEND), 0);
	rig_pass(r, 3000); /* a third of 120 s is over */
	assert_int_equal(RIG_SENT(r, LEASE_EXTEND), 1);
	rig_pass(r, 41000);
	assert_int_equal(RIG_SENT(r, LEASE_EXTEND), 2);
	assert_int_equal(r->dialled, 1);
}

static void a_claimed_job_has_no_lease(void **state)
{
	struct rig *r = *state;
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	rig_pass(r, 81000);
	assert_int_equal(RIG_SENT(r, LEASE_EXTEND), 0);
}

static void decisions_are_on_disk_before_they_are_confirmed(void **state)
{
	struct rig *r = *state;
	cc_blob record = CC_BLOB_NONE;
	rig_hold_commits(r);
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(r->decisions, 1);
	assert_int_equal(r->confirmed, 0);
	rig_release_commits(r);
	rig_turn(r);
	assert_int_equal(r->confirmed, r->decisions);
	assert_int_equal(journal_audit_head(r->journal), r->decisions);
	assert_int_equal(journal_get_audit(r->journal, 1, &record), CC_OK);
	cc_blob_free(&record);
}

static void a_stop_gives_back_what_was_not_begun(void **state)
{
	struct rig *r = *state;
	r->vault_silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	flow_stop(r->flow, 5000);
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, DRAIN), 1);
	assert_true(RIG_LAST(r, CREDIT)->credit->drain);
	assert_int_equal(RIG_LAST(r, NACK)->nack->reason, CERTQ__NACK_REASON__NACK_SHUTTING_DOWN);
	assert_false(RIG_LAST(r, NACK)->nack->count_attempt);
	assert_true(r->stopped);
}

static void a_stop_leaves_claimed_jobs_to_the_journal(void **state)
{
	struct rig *r = *state;
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	flow_stop(r->flow, 5000);
	rig_turn(r);
	assert_true(r->stopped);
	assert_int_equal(RIG_SENT(r, NACK), 0);
	assert_int_equal(rig_journal_open(r), 1);
}

static void an_operators_drain_takes_no_more_jobs_and_finishes_the_others(void **state)
{
	struct rig *r = *state;
	r->no_claim_answer = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	flow_drain(r->flow);
	rig_turn(r);
	uint64_t limit = RIG_LAST(r, CREDIT)->credit->delivery_limit;
	assert_true(RIG_LAST(r, CREDIT)->credit->drain);
	rig_claim_acks(r, RIG_LAST(r, CLAIMS)->claims);
	rig_turn(r);
	assert_int_equal(flow_outcome_count(r->flow, FLOW_ISSUED), 1);
	assert_int_equal(RIG_LAST(r, CREDIT)->credit->delivery_limit, limit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_session_resumes_and_tells_what_it_can_do),
		RIG_TEST(an_issue_job_ends_with_a_stored_result),
		RIG_TEST(claim_is_sent_only_after_the_intent_is_on_disk),
		RIG_TEST(the_ca_is_asked_only_after_the_claim_is_granted),
		RIG_TEST(the_result_is_sent_only_after_it_is_on_disk),
		RIG_TEST(hello_ack_is_followed_only_after_the_nonce_is_on_disk),
		RIG_TEST(claims_of_one_turn_go_in_one_message),
		RIG_TEST(a_rewrap_is_answered_without_a_claim),
		RIG_TEST(a_rewrap_waits_for_the_audit_record),
		RIG_TEST(a_chain_job_asks_runner_and_keyvault),
		RIG_TEST(credit_is_raised_as_jobs_end_and_never_exceeds_the_limit),
		RIG_TEST(a_job_beyond_the_credit_ends_the_connection),
		RIG_TEST(leases_are_extended_while_a_job_has_no_claim),
		RIG_TEST(a_claimed_job_has_no_lease),
		RIG_TEST(decisions_are_on_disk_before_they_are_confirmed),
		RIG_TEST(a_stop_gives_back_what_was_not_begun),
		RIG_TEST(a_stop_leaves_claimed_jobs_to_the_journal),
		RIG_TEST(an_operators_drain_takes_no_more_jobs_and_finishes_the_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
