/*
 * A queue whose store went back in time: what was finished is offered before any work, what the store has
 * lost is sent again, nothing is issued or revoked for it.
 */
#include "tests/support/connector_rig.h"

enum { HOUR_MS = 3600 * 1000 };

static void do_one(struct rig *r)
{
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_assert_done(r, "job-1", "issue");
}

/* Another copy of the store: it wants to hear of everything. */
static void go_back(struct rig *r, uint64_t generation, Certq__OfferVerdict verdict)
{
	r->generation = generation;
	r->wants_offer = true;
	r->offer_verdict = verdict;
	rig_forget_frames(r);
	rig_restart(r);
}

static const Certq__Offer *first_offer(const struct rig *r)
{
	for (size_t i = 0; i < r->out_count; i++) {
		if (r->out[i]->body_case == CERTQ__ENVELOPE__BODY_OFFER)
			return r->out[i]->offer;
	}
	fail_msg("nothing was offered");
	return NULL;
}

static size_t place_of(const struct rig *r, Certq__Envelope__BodyCase body)
{
	size_t i = 0;
	while (i < r->out_count && r->out[i]->body_case != body)
		i++;
	return i;
}

static void assert_nothing_new(const struct rig *r)
{
	assert_int_equal(r->runners[0].submitted, 1);
	assert_int_equal(r->runners[0].revoked, 0);
	assert_int_equal(r->orphans, 0);
	assert_int_equal(r->begun, 1);
}

static bool has_result(const struct rig *r, const char *name)
{
	cc_blob bytes = CC_BLOB_NONE;
	uint8_t id[16];
	rig_job_id(name, id);
	bool has =
		journal_get_blob(r->journal, cc_view_of(id, 16), JOURNAL_RESULT, &bytes) == CC_OK;
	cc_blob_free(&bytes);
	return has;
}

static void sweep(struct rig *r)
{
	journal_sweep(r->journal);
	rig_turn(r);
}

/* ---- the offer ---- */

static void what_was_done_is_offered_before_the_credit_and_once(void **state)
{
	struct rig *r = *state;
	do_one(r);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	const Certq__OfferedJob *job = first_offer(r)->jobs[0];
	assert_int_equal(RIG_LAST(r, HELLO)->hello->store_generation, 1);
	assert_int_equal(first_offer(r)->n_jobs, 1);
	assert_true(job->success);
	assert_int_equal(job->epoch, 1);
	assert_text(job->ca, "ca-one");
	assert_int_equal(job->certificate->cert_sha256.len, 32);
	assert_true(job->certificate->issuer.len > 0 && job->certificate->serial.len > 0);
	assert_int_equal(job->csr_sha256.len + job->spki_sha256.len + job->txid.len, 80);
	assert_int_equal(RIG_SENT(r, OFFER), 2);
	assert_true(RIG_LAST(r, OFFER)->offer->last);
	assert_true(place_of(r, CERTQ__ENVELOPE__BODY_CREDIT) >
		    place_of(r, CERTQ__ENVELOPE__BODY_OFFER));
	assert_int_equal(RIG_SENT(r, CREDIT), 1);
	rig_forget_frames(r);
	rig_restart(r);
	assert_int_equal(RIG_LAST(r, HELLO)->hello->store_generation, 2);
	assert_int_equal(RIG_SENT(r, OFFER), 0);
	assert_int_equal(RIG_SENT(r, CREDIT), 1);
}

static void an_offer_that_is_cut_off_begins_anew_and_no_work_is_asked_for(void **state)
{
	struct rig *r = *state;
	do_one(r);
	r->no_offer_answer = true;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_int_equal(RIG_SENT(r, OFFER), 1);
	assert_int_equal(RIG_SENT(r, CREDIT), 0);
	r->no_offer_answer = false;
	rig_forget_frames(r);
	rig_restart(r);
	assert_int_equal(RIG_LAST(r, HELLO)->hello->store_generation, 1);
	assert_int_equal(first_offer(r)->n_jobs, 1);
	assert_int_equal(RIG_SENT(r, CREDIT), 1);
}

static void put_done(struct rig *r, uint32_t number)
{
	Journal__DoneJob done = JOURNAL__DONE_JOB__INIT;
	struct journal_change *c = journal_change_new(r->journal);
	uint8_t bytes[32] = {1, 2, 3};
	memcpy(bytes, &number, sizeof number);
	done.state = JOURNAL__JOB_STATE__STATE_DONE;
	done.epoch = 1;
	done.kind = codec_text("issue");
	done.outcome = codec_text("issue");
	done.ca = codec_text("ca-one");
	done.cert_sha256 = codec_bytes(cc_view_of(bytes, 32));
	done.time_ms = clock_realtime_ms();
	done.keep_until_ms = done.time_ms + INT64_C(7) * 24 * HOUR_MS;
	journal_change_done(c, cc_view_of(bytes, 16), &done);
	journal_commit(c, NULL, NULL);
}

static void many_are_offered_page_by_page(void **state)
{
	struct rig *r = *state;
	for (uint32_t i = 0; i < 1300; i++) /* more than one look at the journal */
		put_done(r, i);
	rig_turn(r);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	size_t offered = 0;
	for (size_t i = 0; i < r->out_count; i++) {
		if (r->out[i]->body_case == CERTQ__ENVELOPE__BODY_OFFER)
			offered += r->out[i]->offer->n_jobs;
	}
	assert_int_equal(offered, 1300);
	assert_int_equal(RIG_SENT(r, OFFER), 12); /* ten full pages, a part, the end */
	assert_int_equal(RIG_SENT(r, CREDIT), 1);
	assert_int_equal(rig_jobs(r), 0);
}

static void a_failure_without_a_doubt_is_not_offered(void **state)
{
	struct rig *r = *state;
	r->runners[0].submit = CA__CA_RESULT__CA_REJECTED;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_assert_done(r, "job-1", "failed");
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_int_equal(RIG_SENT(r, OFFER), 1);
	assert_int_equal(first_offer(r)->n_jobs, 0);
}

static void an_orphan_that_was_kept_is_offered_as_such_and_never_sent(void **state)
{
	struct rig *r = *state;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_CANCELLED;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_assert_done(r, "job-1", "orphan_kept");
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	assert_false(first_offer(r)->jobs[0]->success);
	assert_int_equal(first_offer(r)->jobs[0]->settle, CERTQ__SETTLEMENT__SETTLE_ORPHAN_KEPT);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	assert_int_equal(rig_jobs(r), 0);
}

/* The same request, run again by an operator: to the store they are one claim. */
static void the_end_of_an_earlier_run_is_not_offered_beside_the_open_claim(void **state)
{
	struct rig *r = *state;
	r->finish_status = VAULT__VAULT_STATUS__VAULT_REFUSED;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_assert_done(r, "job-1", "orphan_kept");
	r->runners[0].silent = true;
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = 2});
	rig_turn(r);
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_int_equal(first_offer(r)->n_jobs, 1);
	assert_int_equal(first_offer(r)->jobs[0]->epoch, 2);
	assert_int_equal(first_offer(r)->jobs[0]->settle, CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED);
}

static void an_open_claim_is_offered_as_open(void **state)
{
	struct rig *r = *state;
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST; /* the store has forgotten the lease */
	r->generation = 2;
	r->wants_offer = true;
	rig_forget_frames(r);
	rig_cut(r);
	rig_pass(r, 61000); /* the back-off */
	const Certq__OfferedJob *job = first_offer(r)->jobs[0];
	assert_int_equal(first_offer(r)->n_jobs, 1);
	assert_false(job->success);
	assert_int_equal(job->settle, CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED);
	assert_text(job->ca, "ca-one");
	assert_int_equal(job->csr_sha256.len + job->spki_sha256.len + job->txid.len, 80);
	assert_null(job->certificate);
	assert_int_equal(RIG_IN(r, SETTLING), 1);
	assert_int_equal(RIG_SENT(r, CREDIT), 1);
}

static void an_open_claim_goes_on_under_the_epoch_that_the_store_has_for_it(void **state)
{
	struct rig *r = *state;
	r->no_result_answer = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	r->offer_epoch = 2;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_int_equal(first_offer(r)->jobs[0]->epoch, 1);
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 2);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	rig_forget_frames(r);
	r->no_result_answer = false;
	rig_restart(r); /* it is on disk */
	assert_int_equal(RIG_LAST(r, HELD_LEASES)->held_leases->jobs[0]->epoch, 2);
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 2);
	rig_assert_done(r, "job-1", "issue");
	assert_nothing_new(r);
}

static void a_settlement_goes_under_the_epoch_that_the_store_has_for_its_claim(void **state)
{
	struct rig *r = *state;
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	r->runners[0].silent = false;
	r->runners[0].away = true; /* before it is asked, the store has spoken */
	r->offer_epoch = 3;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	r->runners[0].away = false;
	rig_attach_ca(r, 0);
	rig_turn(r);
	assert_int_equal(
		RIG_LAST(r, SETTLE)->settle->outcome, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	assert_int_equal(RIG_LAST(r, SETTLE)->settle->epoch, 3);
	assert_int_equal(rig_jobs(r), 0);
}

/* The present claim has epoch 2, the CA has to be asked about the first one. */
static void take_twice(struct rig *r)
{
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	r->runners[0].silent = false;
	r->runners[0].find = CA__CA_RESULT__CA_NOT_SENT;
	rig_restart(r);
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_KEEP;
	r->no_claim_answer = true;
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = 2});
	rig_turn(r);
	assert_int_equal(RIG_IN(r, INTENT), 1);
}

static void each_earlier_claim_is_offered_too(void **state)
{
	struct rig *r = *state;
	take_twice(r);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	const Certq__Offer *offer = first_offer(r);
	assert_int_equal(offer->n_jobs, 2);
	assert_int_equal(offer->jobs[0]->epoch, 2);
	assert_int_equal(offer->jobs[1]->epoch, 1);
	assert_text(offer->jobs[1]->ca, "ca-one");
	assert_true(
		cc_view_equal(codec_view(offer->jobs[0]->txid), codec_view(offer->jobs[1]->txid)));
	assert_int_equal(offer->jobs[1]->settle, CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED);
}

static void claims_that_are_one_at_the_store_are_settled_as_one(void **state)
{
	struct rig *r = *state;
	take_twice(r);
	r->no_claim_answer = false;
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	r->offer_epoch = 4;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_int_equal(first_offer(r)->n_jobs, 2);
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 4);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	assert_int_equal(RIG_SENT(r, SETTLE), 0);
	rig_assert_done(r, "job-1", "issue");
}

static void pages_are_as_small_as_the_queue_takes_them(void **state)
{
	struct rig *r = *state;
	for (uint32_t i = 0; i < 300; i++)
		put_done(r, i);
	rig_turn(r);
	r->max_message = 2048;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	size_t offered = 0;
	for (size_t i = 0; i < r->out_count; i++) {
		if (r->out[i]->body_case == CERTQ__ENVELOPE__BODY_OFFER)
			offered += r->out[i]->offer->n_jobs;
	}
	assert_int_equal(offered, 300);
	assert_true(RIG_LAST(r, OFFER)->offer->last);
	assert_int_equal(RIG_SENT(r, CREDIT), 1);
}

static void a_certificate_that_the_queue_never_took_is_not_offered(void **state)
{
	struct rig *r = *state;
	Journal__DoneJob done = JOURNAL__DONE_JOB__INIT;
	struct journal_change *c = journal_change_new(r->journal);
	uint8_t bytes[40] = {9};
	put_done(r, 1);
	done.state = JOURNAL__JOB_STATE__STATE_DONE;
	done.epoch = 1;
	done.cert_sha256 = codec_bytes(cc_view_of(bytes, 32));
	done.serial = codec_bytes(cc_view_of(bytes, sizeof bytes));
	done.keep_until_ms = clock_realtime_ms() + HOUR_MS;
	done.time_ms = clock_realtime_ms();
	journal_change_done(c, cc_view_of(bytes, 16), &done);
	journal_commit(c, NULL, NULL);
	rig_turn(r);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_int_equal(first_offer(r)->n_jobs, 1);
	assert_int_equal(first_offer(r)->jobs[0]->job_id.data[0], 1);
}

static void answers_that_do_not_fit_the_page_end_the_session(void **state)
{
	struct rig *r = *state;
	do_one(r);
	r->no_offer_answer = true;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	Certq__Offer other = CERTQ__OFFER__INIT;
	rig_offer_ack(r, &other);
	rig_turn(r);
	assert_int_equal(r->fatal_errors, 1);
	assert_int_equal(RIG_SENT(r, CREDIT), 0);
}

/* ---- what the store has lost ---- */

static void a_lost_result_is_sent_again_byte_for_byte(void **state)
{
	struct rig *r = *state;
	do_one(r);
	cc_blob before = codec_pack(RIG_LAST(r, RESULT)->result);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	cc_blob after = codec_pack(RIG_LAST(r, RESULT)->result);
	assert_true(cc_view_equal(cc_blob_view(&before), cc_blob_view(&after)));
	assert_int_equal(RIG_SENT(r, RESULT), 1);
	assert_int_equal(rig_journal_open(r), 0);
	rig_assert_done(r, "job-1", "issue");
	assert_nothing_new(r);
	cc_blob_free(&before);
	cc_blob_free(&after);
}

static void a_lost_result_goes_under_the_epoch_that_the_store_names(void **state)
{
	struct rig *r = *state;
	do_one(r);
	cc_blob before = codec_pack(RIG_LAST(r, RESULT)->result->bundle);
	r->offer_epoch = 4;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	const Certq__Result *sent = RIG_LAST(r, RESULT)->result;
	cc_blob after = codec_pack(sent->bundle);
	assert_int_equal(sent->epoch, 4);
	assert_true(cc_view_equal(cc_blob_view(&before), cc_blob_view(&after)));
	rig_assert_done(r, "job-1", "issue");
	cc_blob_free(&before);
	cc_blob_free(&after);
}

static void a_lost_result_survives_a_restart_before_it_is_answered(void **state)
{
	struct rig *r = *state;
	do_one(r);
	r->no_result_answer = true;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	rig_pass(r, 26 * HOUR_MS);
	sweep(r);
	r->no_result_answer = false;
	rig_forget_frames(r);
	rig_restart(r);
	assert_int_equal(RIG_SENT(r, OFFER), 0); /* it is listed, and sent again */
	assert_true(RIG_LAST(r, HELLO)->hello->held_total == 1);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	rig_assert_done(r, "job-1", "issue");
	assert_nothing_new(r);
}

static void a_result_that_is_not_kept_any_more_is_expired_and_never_made_anew(void **state)
{
	struct rig *r = *state;
	do_one(r);
	rig_pass(r, 26 * HOUR_MS);
	sweep(r);
	assert_false(has_result(r, "job-1"));
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	const Certq__Result *sent = RIG_LAST(r, RESULT)->result;
	assert_false(sent->success);
	assert_text(sent->code, "result_expired");
	assert_int_equal(sent->settle, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	assert_int_equal(sent->certificate->cert_sha256.len, 32);
	rig_assert_done(r, "job-1", "in_doubt");
	assert_int_equal(rig_jobs(r), 0);
	assert_nothing_new(r);
}

/* It may yet get the certificate that was stored once. */
static void a_result_that_is_not_kept_any_more_of_a_job_that_goes_on_leaves_a_doubt(void **state)
{
	struct rig *r = *state;
	do_one(r);
	rig_pass(r, 26 * HOUR_MS);
	sweep(r);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	assert_text(RIG_LAST(r, RESULT)->result->code, "result_expired");
	assert_int_equal(RIG_LAST(r, SETTLE)->settle->outcome, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	rig_assert_done(r, "job-1", "in_doubt");
	assert_nothing_new(r);
}

static void a_result_that_was_delivered_once_is_never_an_orphan(void **state)
{
	struct rig *r = *state;
	do_one(r);
	r->winner = &r->other_ca;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_ALREADY_DONE;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	assert_int_equal(
		RIG_LAST(r, SETTLE)->settle->outcome, CERTQ__SETTLEMENT__SETTLE_ORPHAN_KEPT);
	rig_assert_done(r, "job-1", "orphan_kept");
	rig_pass(r, INT64_C(50) * HOUR_MS);
	assert_nothing_new(r);
}

static void another_winner_is_reported_and_the_job_stays_done(void **state)
{
	struct rig *r = *state;
	do_one(r);
	r->winner = &r->other_ca;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_ALREADY_DONE);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	assert_int_equal(rig_jobs(r), 0);
	rig_assert_done(r, "job-1", "issue");
	rig_pass(r, INT64_C(50) * HOUR_MS);
	assert_nothing_new(r);
}

/* ---- a job that the store has lost ---- */

static void the_result_of_an_unknown_job_is_kept_for_seven_days(void **state)
{
	struct rig *r = *state;
	do_one(r);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_UNKNOWN_JOB);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	assert_int_equal(rig_jobs(r), 0); /* on disk, not in memory */
	rig_pass(r, INT64_C(6) * 24 * HOUR_MS);
	sweep(r);
	assert_true(has_result(r, "job-1"));
	rig_pass(r, INT64_C(26) * HOUR_MS);
	sweep(r);
	assert_false(has_result(r, "job-1"));
	assert_nothing_new(r);
}

static void an_unknown_job_is_offered_again_to_the_next_generation(void **state)
{
	struct rig *r = *state;
	do_one(r);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_UNKNOWN_JOB);
	rig_pass(r, INT64_C(3) * 24 * HOUR_MS);
	sweep(r);
	go_back(r, 3, CERTQ__OFFER_VERDICT__OFFER_SEND);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	rig_assert_done(r, "job-1", "issue");
	assert_nothing_new(r);
}

static void an_unknown_job_that_is_submitted_again_is_answered_from_the_journal(void **state)
{
	struct rig *r = *state;
	do_one(r);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_UNKNOWN_JOB);
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_true(RIG_LAST(r, RESULT)->result->success);
	assert_nothing_new(r);
}

static void assert_conflict(struct rig *r, uint32_t epoch)
{
	rig_forget_frames(r);
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = epoch, .other_document = true});
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, RESULT), 1);
	assert_false(RIG_LAST(r, RESULT)->result->success);
	assert_text(RIG_LAST(r, RESULT)->result->code, "idempotency_conflict");
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, epoch);
	rig_assert_done(r, "job-1", "issue");
	assert_nothing_new(r);
}

static void another_document_under_the_id_of_a_job_that_is_done_fails(void **state)
{
	struct rig *r = *state;
	do_one(r);
	rig_restart(r);
	assert_conflict(r, 2);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SEND); /* open again, and over again */
	assert_conflict(r, 3);
}

static void a_lease_of_a_job_whose_result_is_all_that_was_kept_is_answered(void **state)
{
	struct rig *r = *state;
	do_one(r);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_ALREADY_DEAD;
	r->no_settle_answer = true;
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	assert_int_equal(RIG_IN(r, SETTLING), 1);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_forget_frames(r);
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = 5});
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, NACK), 0);
	assert_false(RIG_LAST(r, RESULT)->result->success);
	assert_text(RIG_LAST(r, RESULT)->result->code, "result_expired");
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 5);
	assert_int_equal(RIG_IN(r, SETTLING), 1); /* our own claim is settled as it was */
	assert_nothing_new(r);
}

static void put_open(struct rig *r, uint32_t number, Journal__JobState in)
{
	static char name[] = "ca-one";
	ProtobufCBinaryData cas[] = {codec_text(name)};
	Journal__OpenJob open = JOURNAL__OPEN_JOB__INIT;
	Certq__Result result = CERTQ__RESULT__INIT;
	struct journal_change *c = journal_change_new(r->journal);
	uint8_t bytes[32] = {1, 2, 3};
	cc_blob packed;
	memcpy(bytes, &number, sizeof number);
	open.state = in;
	open.kind = codec_text("issue");
	open.epoch = 1;
	open.ca = cas[0];
	open.n_cas = 1;
	open.cas = cas;
	open.txid = codec_bytes(cc_view_of(bytes, 16));
	open.csr_sha256 = open.spki_sha256 = codec_bytes(cc_view_of(bytes, 32));
	open.hold_until_ms = clock_realtime_ms() + INT64_C(7) * 24 * HOUR_MS;
	open.hold_generation = 3; /* plus one */
	result.job_id = open.txid;
	result.epoch = 1;
	packed = codec_pack(&result);
	journal_change_open(c, open.txid.len == 16 ? codec_view(open.txid) : CC_VIEW_NONE, &open);
	if (in == JOURNAL__JOB_STATE__STATE_RESULT)
		journal_change_blob(
			c, codec_view(open.txid), JOURNAL_RESULT, cc_blob_view(&packed));
	journal_commit(c, NULL, NULL);
	cc_blob_free(&packed);
}

static void results_that_are_held_do_not_keep_an_offer_from_its_end(void **state)
{
	struct rig *r = *state;
	for (uint32_t i = 0; i < 300; i++)
		put_open(r, i, JOURNAL__JOB_STATE__STATE_RESULT);
	rig_turn(r);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_int_equal(RIG_IN(r, RESULT), 300);
	assert_int_equal(RIG_SENT(r, RESULT), 0);
	assert_true(RIG_LAST(r, OFFER)->offer->last);
	assert_int_equal(RIG_SENT(r, CREDIT), 1);
}

/* ---- it is submitted again, and the queue wants what is here ---- */

static void recall(struct rig *r, const char *name, uint32_t epoch, Certq__OfferVerdict verdict)
{
	uint8_t id[16];
	rig_job_id(name, id);
	rig_forget_frames(r);
	rig_recall(r, cc_view_of(id, 16), epoch, verdict);
	rig_turn(r);
}

static void what_the_queue_recalls_is_sent_at_any_time_under_its_epoch(void **state)
{
	struct rig *r = *state;
	do_one(r);
	cc_blob before = codec_pack(RIG_LAST(r, RESULT)->result->bundle);
	go_back(r, 2, CERTQ__OFFER_VERDICT__OFFER_UNKNOWN_JOB);
	recall(r, "job-1", 3, CERTQ__OFFER_VERDICT__OFFER_SEND);
	assert_int_equal(RIG_SENT(r, RESULT), 1);
	const Certq__Result *sent = RIG_LAST(r, RESULT)->result;
	cc_blob after = codec_pack(sent->bundle);
	assert_int_equal(sent->epoch, 3);
	assert_true(sent->success);
	assert_true(cc_view_equal(cc_blob_view(&before), cc_blob_view(&after)));
	rig_assert_done(r, "job-1", "issue");
	assert_nothing_new(r);
	cc_blob_free(&before);
	cc_blob_free(&after);
}

static void a_result_that_was_held_is_sent_when_its_job_is_recalled(void **state)
{
	struct rig *r = *state;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	recall(r, "job-1", 1, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_int_equal(RIG_SENT(r, RESULT), 1);
	rig_assert_done(r, "job-1", "issue");
	assert_nothing_new(r);
}

static void a_held_result_goes_under_the_epoch_of_today(void **state)
{
	struct rig *r = *state;
	r->no_result_answer = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	r->no_result_answer = false;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB;
	rig_cut(r);
	rig_pass(r, 61000);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	recall(r, "job-1", 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 2);
	rig_assert_done(r, "job-1", "issue");
}

static void the_result_of_another_document_than_the_recalled_one_fails_the_job(void **state)
{
	struct rig *r = *state;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_INVALID;
	recall(r, "job-1", 3, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_false(RIG_LAST(r, RESULT)->result->success);
	assert_text(RIG_LAST(r, RESULT)->result->code, "idempotency_conflict");
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 3);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_pass(r, HOUR_MS);
	rig_restart(r);
	assert_int_equal(RIG_LAST(r, SETTLE)->settle->epoch, 3);
	rig_assert_done(r, "job-1", "orphan_kept");
	assert_nothing_new(r);
}

static void another_document_under_the_id_of_a_held_result_fails_at_once(void **state)
{
	struct rig *r = *state;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB;
	rig_issue(r, "job-1");
	rig_turn(r);
	rig_forget_frames(r);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = 2, .other_document = true});
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, RESULT), 1);
	assert_text(RIG_LAST(r, RESULT)->result->code, "idempotency_conflict");
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 2);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	/* under the epoch of ours its answer could be taken for that to ours */
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = 1, .other_document = true});
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, RESULT), 1);
	assert_int_equal(RIG_LAST(r, NACK)->nack->reason, CERTQ__NACK_REASON__NACK_BUSY);
	assert_int_equal(RIG_IN(r, RESULT), 1);
	assert_nothing_new(r);
}

/* Thirty-two results are on their way, so the queue was not asked about it yet. */
static void a_late_certificate_that_is_recalled_is_asked_about_under_the_epoch_of_today(
	void **state)
{
	struct rig *r = *state;
	uint8_t id[16] = {0, 0, 0, 0}, number[4] = {0};
	memcpy(id, (const uint8_t[16]){1, 2, 3}, sizeof id);
	memcpy(id, number, sizeof number);
	put_open(r, 0, JOURNAL__JOB_STATE__STATE_ORPHAN); /* the first in is the last to be asked */
	for (uint32_t i = 1; i <= 32; i++)
		put_open(r, i, JOURNAL__JOB_STATE__STATE_RESULT);
	rig_turn(r);
	r->no_result_answer = true;
	r->generation = 4;
	rig_restart(r);
	assert_int_equal(RIG_SENT(r, RESULT), 32);
	rig_recall(r, cc_view_of(id, 16), 5, CERTQ__OFFER_VERDICT__OFFER_SAME);
	rig_turn(r);
	assert_int_equal(RIG_SENT(r, RESULT), 32);
	r->no_result_answer = false;
	rig_restart(r);
	rig_pass(r, 61000);
	assert_int_equal(
		RIG_LAST(r, SETTLE)->settle->outcome, CERTQ__SETTLEMENT__SETTLE_ORPHAN_KEPT);
	assert_int_equal(RIG_LAST(r, SETTLE)->settle->epoch, 5);
	assert_int_equal(rig_jobs(r), 0);
}

static void a_recalled_result_that_is_not_kept_any_more_is_expired(void **state)
{
	struct rig *r = *state;
	do_one(r);
	rig_pass(r, 26 * HOUR_MS);
	sweep(r);
	rig_restart(r);
	recall(r, "job-1", 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	assert_text(RIG_LAST(r, RESULT)->result->code, "result_expired");
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 2);
	assert_nothing_new(r);
}

static void a_recalled_job_of_which_nothing_is_known_here_is_expired(void **state)
{
	struct rig *r = *state;
	recall(r, "job-9", 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	assert_false(RIG_LAST(r, RESULT)->result->success);
	assert_text(RIG_LAST(r, RESULT)->result->code, "result_expired");
	assert_int_equal(RIG_LAST(r, RESULT)->result->settle, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
	assert_int_equal(r->runners[0].submitted, 0);
	assert_int_equal(rig_jobs(r), 0);
}

static void a_recalled_result_that_is_of_other_bytes_fails_the_job_and_is_never_revoked(
	void **state)
{
	struct rig *r = *state;
	do_one(r);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_INVALID;
	recall(r, "job-1", 2, CERTQ__OFFER_VERDICT__OFFER_SEND);
	assert_false(RIG_LAST(r, RESULT)->result->success);
	assert_text(RIG_LAST(r, RESULT)->result->code, "idempotency_conflict");
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 2);
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	rig_pass(r, HOUR_MS);
	rig_restart(r);
	rig_assert_done(r, "job-1", "in_doubt");
	rig_pass(r, INT64_C(50) * HOUR_MS);
	assert_nothing_new(r);
}

static void a_claim_that_is_asked_about_goes_on_as_it_was(void **state)
{
	struct rig *r = *state;
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	recall(r, "job-1", 1, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	assert_int_equal(r->out_count, 0);
	recall(r, "job-9", 1, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_int_equal(r->out_count, 0);
}

static void a_claim_that_is_asked_about_goes_on_under_the_epoch_that_the_queue_has_for_it(
	void **state)
{
	struct rig *r = *state;
	r->runners[0].silent = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	recall(r, "job-1", 4, CERTQ__OFFER_VERDICT__OFFER_SAME);
	assert_int_equal(RIG_IN(r, CLAIMED), 1);
	r->runners[0].silent = false;
	r->runners[0].find = CA__CA_RESULT__CA_ISSUED;
	rig_restart(r);
	assert_int_equal(RIG_LAST(r, CLAIMS)->claims->claims[0]->epoch, 4);
	assert_int_equal(RIG_LAST(r, RESULT)->result->epoch, 4);
	rig_assert_done(r, "job-1", "issue");
	assert_nothing_new(r);
}

/* Its end is on its way to the disk. */
static void a_claim_that_has_just_ended_is_not_opened_again_by_a_recall(void **state)
{
	struct rig *r = *state;
	uint8_t id[16];
	rig_job_id("job-1", id);
	r->claim_verdict = CERTQ__CLAIM_VERDICT__CLAIM_LOST;
	r->no_settle_answer = true;
	rig_issue(r, "job-1");
	rig_turn(r);
	assert_int_equal(RIG_IN(r, SETTLING), 1);
	rig_hold_commits(r);
	rig_settle_ack(r, RIG_LAST(r, SETTLE)->settle);
	rig_turn(r);
	assert_int_equal(RIG_IN(r, FAILED), 1);
	rig_recall(r, cc_view_of(id, 16), 4, CERTQ__OFFER_VERDICT__OFFER_SAME);
	rig_turn(r);
	rig_release_commits(r);
	rig_turn(r);
	assert_int_equal(rig_journal_open(r), 0);
	rig_assert_done(r, "job-1", "not_issued");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(what_was_done_is_offered_before_the_credit_and_once),
		RIG_TEST(an_offer_that_is_cut_off_begins_anew_and_no_work_is_asked_for),
		RIG_TEST(many_are_offered_page_by_page),
		RIG_TEST(a_failure_without_a_doubt_is_not_offered),
		RIG_TEST(an_orphan_that_was_kept_is_offered_as_such_and_never_sent),
		RIG_TEST(the_end_of_an_earlier_run_is_not_offered_beside_the_open_claim),
		RIG_TEST(an_open_claim_is_offered_as_open),
		RIG_TEST(an_open_claim_goes_on_under_the_epoch_that_the_store_has_for_it),
		RIG_TEST(a_settlement_goes_under_the_epoch_that_the_store_has_for_its_claim),
		RIG_TEST(each_earlier_claim_is_offered_too),
		RIG_TEST(claims_that_are_one_at_the_store_are_settled_as_one),
		RIG_TEST(pages_are_as_small_as_the_queue_takes_them),
		RIG_TEST(a_certificate_that_the_queue_never_took_is_not_offered),
		RIG_TEST(answers_that_do_not_fit_the_page_end_the_session),
		RIG_TEST(a_lost_result_is_sent_again_byte_for_byte),
		RIG_TEST(a_lost_result_goes_under_the_epoch_that_the_store_names),
		RIG_TEST(a_lost_result_survives_a_restart_before_it_is_answered),
		RIG_TEST(a_result_that_is_not_kept_any_more_is_expired_and_never_made_anew),
		RIG_TEST(a_result_that_is_not_kept_any_more_of_a_job_that_goes_on_leaves_a_doubt),
		RIG_TEST(a_result_that_was_delivered_once_is_never_an_orphan),
		RIG_TEST(another_winner_is_reported_and_the_job_stays_done),
		RIG_TEST(the_result_of_an_unknown_job_is_kept_for_seven_days),
		RIG_TEST(an_unknown_job_is_offered_again_to_the_next_generation),
		RIG_TEST(an_unknown_job_that_is_submitted_again_is_answered_from_the_journal),
		RIG_TEST(another_document_under_the_id_of_a_job_that_is_done_fails),
		RIG_TEST(a_lease_of_a_job_whose_result_is_all_that_was_kept_is_answered),
		RIG_TEST(results_that_are_held_do_not_keep_an_offer_from_its_end),
		RIG_TEST(what_the_queue_recalls_is_sent_at_any_time_under_its_epoch),
		RIG_TEST(a_result_that_was_held_is_sent_when_its_job_is_recalled),
		RIG_TEST(a_held_result_goes_under_the_epoch_of_today),
		RIG_TEST(the_result_of_another_document_than_the_recalled_one_fails_the_job),
		RIG_TEST(another_document_under_the_id_of_a_held_result_fails_at_once),
		RIG_TEST(
			a_late_certificate_that_is_recalled_is_asked_about_under_the_epoch_of_today),
		RIG_TEST(a_recalled_result_that_is_not_kept_any_more_is_expired),
		RIG_TEST(a_recalled_job_of_which_nothing_is_known_here_is_expired),
		RIG_TEST(
			a_recalled_result_that_is_of_other_bytes_fails_the_job_and_is_never_revoked),
		RIG_TEST(a_claim_that_is_asked_about_goes_on_as_it_was),
		RIG_TEST(
			a_claim_that_is_asked_about_goes_on_under_the_epoch_that_the_queue_has_for_it),
		RIG_TEST(a_claim_that_has_just_ended_is_not_opened_again_by_a_recall),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
