/*
 * The flow at its edges: what an odd CA, an odd queue, a slow disk or a restart in the middle may not do to
 * a job, or to the others.
 */
#include "tests/support/connector_rig.h"

static size_t doubts(const struct rig *r)
{
	size_t count = 0;
	assert_int_equal(journal_count_doubts(r->journal, &count), CC_OK);
	return count;
}

/* ---- the CA ---- */

static void sign_again(struct fixture_ca *ca)
{
	unsigned char *der = NULL;
	assert_true(X509_sign(ca->certificate, ca->key, EVP_sha256()) > 0);
	int size = i2d_X509(ca->certificate, &der);
	assert_true(size > 0);
	cc_blob_free(&ca->der);
	ca->der = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
}

static void assert_unusable(struct rig *r)
{
	rig_do(r, "job-1");
	const Certq__Result *result = RIG_LAST(r, RESULT)->result;
	assert_text(result->code, "ca_answer_unusable");
	assert_null(result->certificate);
	assert_int_equal(result->settle, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	assert_int_equal(r->finished, 0);
	rig_assert_done(r, "job-1", "in_doubt");
	assert_int_equal(doubts(r), 1);
}

/* The queue would end the session over it, each time that it is sent. */
static void an_issuer_that_is_too_long_for_the_queue_fails_only_its_job(void **state)
{
	struct rig *r = *state;
	X509_NAME *name = X509_NAME_new();
	unsigned char unit[60];
	memset(unit, 'x', sizeof unit);
	for (int i = 0; i < 16; i++)
		assert_int_equal(X509_NAME_add_entry_by_txt(
					 name, "OU", MBSTRING_ASC, unit, sizeof unit, -1, 0),
			1);
	assert_int_equal(X509_set_issuer_name(r->ca.certificate, name), 1);
	X509_NAME_free(name);
	sign_again(&r->ca);
	assert_unusable(r);
}

static void a_serial_number_that_is_too_long_for_the_queue_fails_only_its_job(void **state)
{
	struct rig *r = *state;
	ASN1_INTEGER *serial = ASN1_INTEGER_new();
	unsigned char bytes[33];
	memset(bytes, 0x11, sizeof bytes);
	BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
	assert_non_null(BN_to_ASN1_INTEGER(number, serial));
	assert_int_equal(X509_set_serialNumber(r->ca.certificate, serial), 1);
	ASN1_INTEGER_free(serial);
	BN_free(number);
	sign_again(&r->ca);
	assert_unusable(r);
}

/* ---- doubts ---- */

static void a_doubt_of_an_earlier_run_makes_the_next_one_ask_the_ca_first(void **state)
{
	struct rig *r = *state;
	rig_do_without_answer(r);
	r->runners[0].find = CA__CA_RESULT__CA_CANNOT_TELL;
	r->reorder_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	rig_restart(r);
	assert_int_equal(RIG_LAST(r, RESULT)->result->settle, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	rig_assert_done(r, "job-1", "in_doubt");
	assert_int_equal(doubts(r), 1);
	r->reorder_status = VAULT__VAULT_STATUS__VAULT_OK;
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	rig_come_again(r, 2);
	assert_int_equal(r->runners[0].found, 2);
	assert_int_equal(r->runners[0].submitted, 1);
	rig_assert_done(r, "job-1", "issue");
}

static void a_known_settlement_of_a_failure_survives_a_restart(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_REJECTED;
	r->no_result_answer = true;
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, RESULT), 1);
	r->no_result_answer = false;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH;
	rig_restart(r);
	RIG_ASSERT_SETTLED(r, NOT_ISSUED);
	rig_assert_done(r, "job-1", "not_issued");
}

static void a_known_certificate_that_does_not_fit_is_no_doubt_after_a_restart(void **state)
{
	struct rig *r = *state;
	r->finish_status = VAULT__VAULT_STATUS__VAULT_BUSY;
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, ISSUED), 1);
	r->finish_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	rig_restart(r);
	rig_assert_done(r, "job-1", "orphan_kept");
	assert_int_equal(doubts(r), 0);
}

/* ---- the queue ---- */

/* A store that went back in time may name another winner; a device may have what was stored first. */
static void a_certificate_that_was_stored_never_becomes_an_orphan(void **state)
{
	struct rig *r = *state;
	rig_do(r, "job-1");
	rig_name_other_winner(r);
	rig_come_again(r, 2);
	assert_int_equal(RIG_SENT(r, RESULT), 2);
	assert_int_equal(rig_jobs(r), 0);
	assert_int_equal(rig_journal_open(r), 0);
	rig_assert_done(r, "job-1", "issue");
}

static void results_that_the_queue_does_not_know_keep_no_job_out(void **state)
{
	struct rig *r = *state;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB;
	for (int i = 0; i < 4; i++) {
		char name[] = {'j', (char)('0' + i), 0};
		rig_issue(r, name);
	}
	rig_turn(r);
	assert_int_equal(RIG_IN(r, RESULT), 4);
	assert_int_equal(RIG_LAST(r, CREDIT)->credit->delivery_limit, 8);
	r->generation = 2;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_cut(r);
	rig_jump(r, 61000);
	assert_int_equal(rig_jobs(r), 0);
	rig_assert_done(r, "j0", "issue");
}

/* In the same generation, without another word of the queue. */
static void a_result_is_not_held_longer_than_seven_days(void **state)
{
	struct rig *r = *state;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB;
	rig_do(r, "job-1");
	rig_pass_due(r, INT64_C(6) * 86400 * 1000);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	rig_pass_due(r, INT64_C(1) * 86400 * 1000);
	assert_int_equal(r->orphans, 0);
	assert_int_equal(RIG_SENT(r, RESULT), 2); /* asked a last time, then reported */
	rig_assert_done(r, "job-1", "orphan_kept");
}

static void a_failure_that_was_held_too_long_leaves_no_orphan(void **state)
{
	struct rig *r = *state;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB;
	r->runners[0].submit = CA__CA_RESULT__CA_REJECTED;
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, RESULT), 1);
	rig_pass_due(r, INT64_C(7) * 86400 * 1000);
	assert_int_equal(RIG_IN(r, ORPHAN), 0);
	rig_assert_done(r, "job-1", "not_issued");
}

static void an_answer_to_an_earlier_epoch_is_not_taken_for_ours(void **state)
{
	struct rig *r = *state;
	Certq__Result earlier = CERTQ__RESULT__INIT;
	uint8_t id[16];
	r->no_result_answer = true;
	rig_come_again(r, 2);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	rig_job_id("job-1", id);
	earlier.job_id = codec_bytes(cc_view_of(id, 16));
	earlier.epoch = 1;
	rig_result_ack(r, &earlier);
	rig_turn(r);
	assert_int_equal(RIG_IN(r, RESULT), 1);
}

static void a_job_that_comes_again_with_another_document_is_done_by_that_one(void **state)
{
	struct rig *r = *state;
	r->begin_status = VAULT__VAULT_STATUS__VAULT_BUSY;
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, RECEIVED), 1);
	rig_cloud_job(
		r, (struct rig_job){
			   .name = "job-1", .kind = CERTQ__JOB_DOCUMENT__KIND_REWRAP, .epoch = 2});
	rig_turn(r);
	assert_int_equal(r->rewrapped, 1);
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 2);
	assert_int_equal(flow_outcome_count(r->flow, FLOW_REWRAPPED), 1);
}

/* What the journal has of the intent is what is claimed. */
static void a_lease_that_comes_during_the_commit_does_not_change_the_claim(void **state)
{
	struct rig *r = *state;
	rig_hold_commits(r);
	rig_do(r, "job-1");
	assert_int_equal(RIG_IN(r, INTENT), 1);
	rig_come_again(r, 2);
	rig_release_commits(r);
	rig_turn(r);
	assert_int_equal(RIG_LAST(r, CLAIMS)->claims->claims[0]->epoch, 1);
}

static void a_nack_that_is_put_off_is_said_again_while_the_keyvault_is_at_it(void **state)
{
	struct rig *r = *state;
	r->vault_silent = true;
	r->nack_verdict = CERTQ__NACK_VERDICT__NACK_ACK_RETRY_LATER;
	rig_do(r, "job-1");
	flow_stop(r->flow, 5000);
	loop_timer_set(r->quiet, RIG_QUIET_MS);
	loop_run(r->loop);
	assert_int_equal(RIG_SENT(r, NACK), 1);
	r->nack_verdict = CERTQ__NACK_VERDICT__NACK_ACK_OK;
	rig_jump(r, 2000);
	assert_int_equal(RIG_SENT(r, NACK), 2);
	assert_int_equal(rig_jobs(r), 0);
}

/* ---- the disk ---- */

static void a_job_whose_header_cannot_be_read_is_given_back_and_not_issued(void **state)
{
	struct rig *r = *state;
	struct db *d = journal_db(r->journal);
	MDB_txn *txn = NULL;
	uint8_t id[16];
	rig_job_id("job-1", id);
	assert_int_equal(mdb_txn_begin(db_env(d), NULL, 0, &txn), 0);
	assert_int_equal(db_put(d, txn, JOURNAL_DB_DONE, cc_view_of(id, 16),
				 cc_view_text("no header at all")),
		CC_OK);
	assert_int_equal(mdb_txn_commit(txn), 0);
	rig_do(r, "job-1");
	assert_int_equal(r->begun, 0);
	assert_int_equal(RIG_LAST(r, NACK)->nack->reason, CERTQ__NACK_REASON__NACK_BUSY);
	assert_int_equal(rig_jobs(r), 0);
}

/* The keyvault is tried again although the time for it came while ISSUED was not yet on the disk. */
static void a_slow_commit_does_not_let_an_issued_job_sleep(void **state)
{
	struct rig *r = *state;
	Ca__CaAnswer a = CA__CA_ANSWER__INIT;
	ProtobufCBinaryData chain[1] = {codec_bytes(cc_blob_view(&r->ca.der))};
	r->runners[0].silent = true;
	rig_do(r, "job-1");
	rig_hold_commits(r);
	r->finish_status = VAULT__VAULT_STATUS__VAULT_BUSY;
	a.request_id = r->runners[0].last_id;
	a.result = CA__CA_RESULT__CA_ISSUED;
	a.n_chain = 1;
	a.chain = chain;
	cc_blob packed = codec_pack(&a);
	assert_int_equal(chan_send(r->runners[0].chan, cc_blob_view(&packed)), CC_OK);
	cc_blob_free(&packed);
	rig_turn(r);
	assert_int_equal(r->finished, 1);
	r->finish_status = VAULT__VAULT_STATUS__VAULT_OK;
	rig_jump(r, 5000);
	assert_int_equal(RIG_IN(r, ISSUED), 1);
	rig_release_commits(r);
	rig_turn(r);
	rig_assert_done(r, "job-1", "issue");
}

/* ---- detail ---- */

static void a_failure_tells_the_detail_where_the_policy_says_so(void **state)
{
	struct rig *r = *state;
	r->full_detail = true;
	rig_kill_vault(r); /* the next one says what its policy is */
	r->runners[0].submit = CA__CA_RESULT__CA_REJECTED;
	rig_do(r, "job-1");
	assert_text(RIG_LAST(r, RESULT)->result->detail, "as the rig says");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(an_issuer_that_is_too_long_for_the_queue_fails_only_its_job),
		RIG_TEST(a_serial_number_that_is_too_long_for_the_queue_fails_only_its_job),
		RIG_TEST(a_doubt_of_an_earlier_run_makes_the_next_one_ask_the_ca_first),
		RIG_TEST(a_known_settlement_of_a_failure_survives_a_restart),
		RIG_TEST(a_known_certificate_that_does_not_fit_is_no_doubt_after_a_restart),
		RIG_TEST(a_certificate_that_was_stored_never_becomes_an_orphan),
		RIG_TEST(results_that_the_queue_does_not_know_keep_no_job_out),
		RIG_TEST(a_result_is_not_held_longer_than_seven_days),
		RIG_TEST(a_failure_that_was_held_too_long_leaves_no_orphan),
		RIG_TEST(an_answer_to_an_earlier_epoch_is_not_taken_for_ours),
		RIG_TEST(a_job_that_comes_again_with_another_document_is_done_by_that_one),
		RIG_TEST(a_lease_that_comes_during_the_commit_does_not_change_the_claim),
		RIG_TEST(a_nack_that_is_put_off_is_said_again_while_the_keyvault_is_at_it),
		RIG_TEST(a_job_whose_header_cannot_be_read_is_given_back_and_not_issued),
		RIG_TEST(a_slow_commit_does_not_let_an_issued_job_sleep),
		RIG_TEST(a_failure_tells_the_detail_where_the_policy_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
