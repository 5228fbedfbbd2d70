/*
 * The store's contract: looking at jobs: lists, the feed of changes, the rows for the checker.
 */
#include "tests/support/store_rig_jobs.h"

/* ---- list, events, result_ack --------------------------------------------------------------------- */

static void lists_go_by_creation_and_filter(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_list_in in = {.tenant = T, .limit = 3};
	struct store_list_out out;

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 7; i++) {
		struct store_enqueue_in job = rig_new_job(r, i, i % 2 ? STORE_ISSUE : STORE_REVOKE);
		job.batch_id = cc_view_text(i < 5 ? "one" : "two");
		job.correlation_id = cc_view_text(i == 6 ? "trace" : "");
		assert_int_equal(rig_enqueue(r, job).result, STORE_NEW);
	}
	out = rig_list(r, in);
	assert_int_equal(out.count, 3);
	assert_int_equal(r->items[0].job, 1);
	in.after = out.next;
	out = rig_list(r, in);
	assert_int_equal(r->items[0].job, 4);
	in.after = out.next;
	out = rig_list(r, in);
	assert_int_equal(out.count, 1);
	assert_int_equal(out.next, 0);

	in = (struct store_list_in){.tenant = T, .limit = 100, .batch_id = cc_view_text("two")};
	assert_int_equal(rig_list(r, in).count, 3);
	in = (struct store_list_in){
		.tenant = T, .limit = 100, .correlation_id = cc_view_text("trace")};
	assert_int_equal(rig_list(r, in).count, 1);
	assert_int_equal(r->items[0].job, 6);
	in = (struct store_list_in){
		.tenant = T, .limit = 100, .kinds = STORE_KIND_BIT(STORE_REVOKE)};
	assert_int_equal(rig_list(r, in).count, 3);
	assert_int_equal(rig_take(r, &c, 1), 1);
	in = (struct store_list_in){.tenant = T, .limit = 100, .states = 1u << STORE_LEASED};
	assert_int_equal(rig_list(r, in).count, 1);
}

static void the_feed_has_each_job_once_at_its_latest_change(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_events_in in = {.tenant = T, .limit = 10};
	struct store_events_out out;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_enqueue_job(r, 2);
	out = rig_events(r, in);
	assert_int_equal(out.count, 2);
	assert_int_equal(out.last_seq, 2);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED);
	in.after = 2;
	out = rig_events(r, in);
	assert_int_equal(out.count, 1); /* leased; that it is claimed concerns no producer */
	assert_int_equal(r->items[0].job, 1);
	assert_int_equal(r->items[0].seq, 3);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_STORED);
	in.after = 0;
	out = rig_events(r, in);
	assert_int_equal(out.count, 2);
	assert_int_equal(r->items[0].job, 2);
	assert_int_equal(r->items[1].job, 1);
	assert_int_equal(r->items[1].state, STORE_DONE);
	assert_int_equal(r->items[1].seq, 4);
}

static void a_result_can_be_acknowledged_when_it_is_final(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_result_ack_in in = {T, CC_VIEW_NONE};

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	in.job_id = rig_id(r, 1);
	assert_int_equal(rig_result_ack(r, in).result, STORE_UNKNOWN);
	assert_int_equal(rig_succeed(r, HQ1, 1, rig_take_one(r, &c, 1), 7), STORE_STORED);
	in.job_id = rig_id(r, 1);
	assert_int_equal(rig_result_ack(r, in).result, STORE_OK);
	assert_int_equal(rig_result_ack(r, in).result, STORE_OK);
}

/* ---- check ---------------------------------------------------------------------------------------- */

static void check_rows(void *arg, const struct store_check_out *out)
{
	struct rig *r = arg;
	assert_int_equal(out->err, CC_OK);
	assert_int_equal(out->count, 1);
	const struct store_check_row *row = &out->rows[0];
	assert_int_equal(row->job.state, STORE_DONE);
	assert_int_equal(row->attempt_count, 2);
	assert_string_equal(row->attempts[0].end, "taken_over");
	assert_string_equal(row->attempts[1].end, "winner");
	assert_int_equal(row->attempts[0].claim_count, 1);
	assert_int_equal(row->attempts[0].claims[0].settlement, STORE_ORPHAN_REVOKED);
	assert_int_equal(row->attempts[0].claims[0].cert_sha256.data[0], 8);
	assert_int_equal(row->attempts[1].claims[0].settlement, STORE_WINNER);
	assert_int_equal(row->attempts[1].claims[0].cert_sha256.data[0], 7);
	rig_answered(r);
}

static void the_checker_sees_every_claim_and_what_became_of_it(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;
	struct store_check_in in = {.tenant = T, .limit = 10};

	rig_connect(r, &a, HQ1);
	rig_connect(r, &b, HQ2);
	rig_enqueue_job(r, 1);
	assert_int_equal(
		rig_claim_at(r, &a, 1, rig_take_one(r, &a, 1), "corp-ca", 40), STORE_GRANTED);
	assert_int_equal(rig_park_one(r, &a, 1, 1), STORE_KEEP);
	assert_int_equal(rig_take_over(r, 1, "ann"), STORE_OK);
	assert_int_equal(
		rig_claim_at(r, &b, 1, rig_take_one(r, &b, 1), "corp-ca", 41), STORE_GRANTED);
	assert_int_equal(rig_succeed(r, HQ2, 1, 2, 7), STORE_STORED);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 8), STORE_ALREADY_DONE);
	assert_int_equal(rig_settle_at(r, HQ1, 1, 1, "corp-ca", STORE_ORPHAN_REVOKED), STORE_OK);
	r->answered = false;
	store_check(r->store, &in, check_rows, r);
	rig_wait(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(lists_go_by_creation_and_filter),
		RIG_TEST(the_feed_has_each_job_once_at_its_latest_change),
		RIG_TEST(a_result_can_be_acknowledged_when_it_is_final),
		RIG_TEST(the_checker_sees_every_claim_and_what_became_of_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
