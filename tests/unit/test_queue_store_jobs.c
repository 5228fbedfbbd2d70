/*
 * The store's contract, operation by operation: precondition, effect, result.
 */
#include "cloud-queue/store_int.h"
#include "tests/support/store_rig_jobs.h"

/* ---- enqueue and fetch ---------------------------------------------------------------------------- */

static void a_new_job_is_ready_and_the_same_again_tells_its_state(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_enqueue_out out = rig_enqueue(r, rig_new_job(r, 1, STORE_ISSUE));

	assert_int_equal(out.result, STORE_NEW);
	assert_int_equal(out.state, STORE_READY);
	assert_int_equal(out.seq, 1);
	assert_false(out.routable);
	rig_connect(r, &c, HQ1);
	rig_take_one(r, &c, 1);
	out = rig_enqueue(r, rig_new_job(r, 1, STORE_ISSUE));
	assert_int_equal(out.result, STORE_SAME);
	assert_int_equal(out.state, STORE_LEASED);
}

static void other_bytes_under_the_same_id_are_a_conflict(void **state)
{
	struct rig *r = *state;
	struct store_enqueue_in in = rig_new_job(r, 1, STORE_ISSUE);

	assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
	in.body_sha256 = rig_digest(99);
	assert_int_equal(rig_enqueue(r, in).result, STORE_CONFLICT);
}

static void a_job_past_its_time_too_large_or_of_nobody_is_not_taken(void **state)
{
	struct rig *r = *state;
	struct store_enqueue_in in = rig_new_job(r, 1, STORE_ISSUE);
	uint8_t *large = cc_alloc(200 * 1024);

	in.not_after_ms = store_now_ms(r->store) - 1;
	assert_int_equal(rig_enqueue(r, in).result, STORE_EXPIRED);
	in = rig_new_job(r, 1, STORE_ISSUE);
	in.document = cc_view_of(large, 200 * 1024);
	assert_int_equal(rig_enqueue(r, in).result, STORE_TOO_LARGE);
	in = rig_new_job(r, 1, STORE_ISSUE);
	in.tenant = cc_view_text("nobody");
	assert_int_equal(rig_enqueue(r, in).result, STORE_UNKNOWN);
	free(large);
}

static void a_tenant_that_has_its_number_of_open_jobs_gets_quota(void **state)
{
	struct rig *r = *state;
	struct store_tenant_put_in t = {
		.tenant = {.name = T, .job_root = cc_view_text("root"), .max_open_jobs = 2}};

	assert_int_equal(rig_tenant_put(r, t).result, STORE_OK);
	rig_enqueue_job(r, 1);
	rig_enqueue_job(r, 2);
	assert_int_equal(rig_enqueue(r, rig_new_job(r, 3, STORE_ISSUE)).result, STORE_QUOTA);
	assert_int_equal(rig_enqueue(r, rig_new_job(r, 2, STORE_ISSUE)).result, STORE_SAME);
	assert_int_equal(rig_cancel_job(r, 1, false), STORE_OK);
	assert_int_equal(rig_enqueue(r, rig_new_job(r, 3, STORE_ISSUE)).result, STORE_NEW);
}

static void room_for_the_result_is_reserved_until_the_job_is_done(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_stats_out before, after;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	before = rig_stats(r, (struct store_stats_in){T});
	assert_true(before.bytes >= 16 * 1024);
	assert_int_equal(before.jobs[STORE_READY], 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, rig_take_one(r, &c, 1), 7), STORE_STORED);
	after = rig_stats(r, (struct store_stats_in){T});
	assert_true(after.bytes < 1024);
	assert_int_equal(after.open_jobs, 0);
	assert_int_equal(after.jobs[STORE_READY], 0);
	assert_int_equal(after.jobs[STORE_DONE], 1);
}

static void each_kind_reserves_what_its_result_can_need(void **state)
{
	struct rig *r = *state;
	static const struct {
		enum store_kind kind;
		uint64_t bytes;
	} kinds[] = {{STORE_ISSUE, 16 * 1024}, {STORE_REWRAP, 2 * 1024}, {STORE_REVOKE, 1024},
		{STORE_CHAIN, 12 * 1024}};
	uint64_t before = 0;

	for (uint32_t i = 0; i < 4; i++) {
		struct store_enqueue_in in = rig_new_job(r, i + 1, kinds[i].kind);
		assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
		uint64_t now = rig_stats(r, (struct store_stats_in){T}).bytes;
		assert_int_equal(now - before, kinds[i].bytes + in.document.size + in.pfx.size);
		before = now;
	}
}

static void the_default_quotas_fit_each_other(void **state)
{
	struct store_config given = {0}, c;
	(void)state;

	store_config_fill(&given, &c);
	/* an issuing job's document is 2 to 4 KiB */
	assert_true(c.max_open_jobs * (16 + 4) * 1024 <= c.max_bytes);
}

static void a_job_that_ends_without_a_result_gives_its_reserve_back(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_enqueue_in late = rig_new_job(r, 2, STORE_ISSUE);

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	late.not_after_ms = store_now_ms(r->store) + RIG_LEASE_MS;
	assert_int_equal(rig_enqueue(r, late).result, STORE_NEW);
	assert_int_equal(rig_cancel_job(r, 1, false), STORE_OK);
	rig_pass(r, 2 * RIG_LEASE_MS);
	assert_int_equal(rig_sweep_all(r).expired, 1);
	assert_true(rig_stats(r, (struct store_stats_in){T}).bytes < 1024);
}

static void a_replay_reserves_room_again_and_once(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint64_t before;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	before = rig_stats(r, (struct store_stats_in){T}).bytes;
	assert_int_equal(
		rig_bury(r, (struct store_bury_in){T, rig_id(r, 1), cc_view_text("op")}).result,
		STORE_OK);
	assert_int_equal(rig_replay(r, (struct store_replay_in){.tenant = T,
					       .job_id = rig_id(r, 1),
					       .by = cc_view_text("op")})
				 .result,
		STORE_OK);
	assert_int_equal(rig_stats(r, (struct store_stats_in){T}).bytes, before);
}

static void a_name_that_is_too_long_is_answered_in_its_turn(void **state)
{
	struct rig *r = *state;
	struct store_fetch_in in = {cc_view_text("0123456789012345678901234567890123456789"
						 "012345678901234567890123456789"),
		rig_id(r, 1), false, false};

	assert_int_equal(rig_fetch(r, in).err, CC_TOO_LARGE);
	in = (struct store_fetch_in){T, cc_view_text("short"), false, false};
	assert_int_equal(rig_fetch(r, in).err, CC_MALFORMED);
}

static void another_tenants_job_is_unknown(void **state)
{
	struct rig *r = *state;

	rig_enqueue_job(r, 1);
	rig_tenant_put(
		r, (struct store_tenant_put_in){.tenant = {.name = cc_view_text("fabrikam")}});
	assert_int_equal(rig_fetch(r, (struct store_fetch_in){cc_view_text("fabrikam"),
					      rig_id(r, 1), false, false})
				 .result,
		STORE_UNKNOWN);
}

/* ---- lease and extend ----------------------------------------------------------------------------- */

static void a_lease_carries_what_the_connector_needs(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	cc_view passwords[2] = {cc_view_text("one"), cc_view_text("two")};
	struct store_enqueue_in in = rig_new_job(r, 1, STORE_REWRAP);

	in.pfx = cc_view_text("a pfx");
	in.passwords = passwords;
	in.password_count = 2;
	assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
	rig_connect(r, &c, HQ1);
	assert_int_equal(rig_take(r, &c, 5), 1);
	assert_int_equal(r->items[0].epoch, 1);
	assert_int_equal(r->items[0].run, 1);
	assert_int_equal(r->items[0].document, strlen("a signed document"));
	assert_int_equal(r->items[0].pfx, 5);
	assert_int_equal(r->items[0].passwords, 2);
	assert_int_equal(rig_take(r, &c, 5), 0);
}

static void lease_stops_at_its_bytes(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_lease_in in = {
		.max_jobs = 5, .max_bytes = 2 * strlen("a signed document") + 1};

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 3; i++)
		rig_enqueue_job(r, i);
	in.session = c.s;
	assert_int_equal(rig_lease(r, in).count, 2);
	assert_int_equal(rig_lease(r, in).count, 1);
}

static void extend_keeps_what_is_leased_here_and_loses_the_rest(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_lease_id leases[4];
	uint32_t epoch;

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 3; i++) {
		rig_enqueue_job(r, i);
		epoch = rig_take_one(r, &c, i);
		leases[i - 1] = (struct store_lease_id){rig_id(r, i), epoch};
	}
	assert_int_equal(rig_succeed(r, HQ1, 2, 1, 7), STORE_STORED);
	assert_int_equal(rig_cancel_job(r, 3, false), STORE_OK);
	leases[3] = (struct store_lease_id){rig_id(r, 1), 9};
	assert_int_equal(rig_extend(r, (struct store_extend_in){c.s, leases, 4}).result, STORE_OK);
	assert_int_equal(r->items[0].result, STORE_KEEP);
	assert_int_equal(r->items[1].result, STORE_ALREADY_DONE);
	assert_int_equal(r->items[1].winner, 7);
	assert_int_equal(r->items[2].result, STORE_CANCELLED);
	assert_int_equal(r->items[3].result, STORE_LOST);
}

/* ---- claim and park ------------------------------------------------------------------------------- */

static void a_claim_is_granted_once_and_again_for_the_same_request(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_claim_at(r, &c, 1, epoch, "corp-ca", 40), STORE_GRANTED);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_int_equal(rig_claim_at(r, &c, 1, epoch, "corp-ca", 40), STORE_GRANTED);
	assert_int_equal(rig_claim_at(r, &c, 1, epoch, "corp-ca", 41), STORE_CONFLICT);
	assert_int_equal(rig_claim_at(r, &c, 1, epoch + 1, "corp-ca", 40), STORE_LOST);
}

static void another_ca_is_granted_only_after_the_first_is_settled_not_issued(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_claim_at(r, &c, 1, epoch, "corp-ca", 40), STORE_GRANTED);
	assert_int_equal(rig_claim_at(r, &c, 1, epoch, "backup-ca", 40), STORE_CONFLICT);
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_IN_DOUBT), STORE_OK);
	assert_int_equal(rig_claim_at(r, &c, 1, epoch, "backup-ca", 40), STORE_CONFLICT);
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_claim_at(r, &c, 1, epoch, "backup-ca", 40), STORE_GRANTED);
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch, "backup-ca", STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_claim_at(r, &c, 1, epoch, "corp-ca", 40), STORE_GRANTED);
}

static void a_job_past_its_time_is_not_claimed_for_a_ca(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_enqueue_in in = rig_new_job(r, 1, STORE_ISSUE);

	in.not_after_ms = store_now_ms(r->store) + 1000;
	rig_connect(r, &c, HQ1);
	assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
	uint32_t epoch = rig_take_one(r, &c, 1);
	rig_pass(r, 2000);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_EXPIRED);
}

static void claims_tell_who_won_and_what_was_cancelled(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 2; i++) {
		rig_enqueue_job(r, i);
		rig_take_one(r, &c, i);
	}
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_STORED);
	assert_int_equal(rig_cancel_job(r, 2, false), STORE_OK);
	assert_int_equal(rig_claim_one(r, &c, 1, 1), STORE_ALREADY_DONE);
	assert_int_equal(r->items[0].winner, 7);
	assert_int_equal(rig_claim_one(r, &c, 2, 1), STORE_CANCELLED);
	assert_int_equal(rig_claim_one(r, &c, 3, 1), STORE_LOST);
}

static void only_a_claimed_job_is_parked_and_parking_may_be_repeated(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_park_one(r, &c, 1, epoch), STORE_LOST);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED);
	assert_int_equal(rig_park_one(r, &c, 1, epoch), STORE_KEEP);
	assert_int_equal(rig_state(r, 1), STORE_PARKED);
	assert_int_equal(rig_park_one(r, &c, 1, epoch), STORE_KEEP);
	assert_int_equal(rig_park_one(r, &c, 1, epoch + 1), STORE_LOST);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_STORED);
	assert_int_equal(rig_park_one(r, &c, 1, epoch), STORE_ALREADY_DONE);
}

static void a_claim_at_another_ca_takes_a_job_out_of_parking(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED);
	assert_int_equal(rig_park_one(r, &c, 1, epoch), STORE_KEEP);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED); /* the same again */
	assert_int_equal(rig_state(r, 1), STORE_PARKED);
	assert_int_equal(rig_claim_at(r, &c, 1, epoch, "other-ca", 41), STORE_CONFLICT);
	assert_int_equal(rig_state(r, 1), STORE_PARKED);
	assert_int_equal(rig_settle(r, (struct store_settle_in){.tenant = T,
					       .connector = HQ1,
					       .transport_sha256 = rig_digest(9),
					       .job_id = rig_id(r, 1),
					       .epoch = epoch,
					       .ca = cc_view_text("corp-ca"),
					       .outcome = STORE_NOT_ISSUED})
				 .result,
		STORE_OK);
	assert_int_equal(rig_claim_at(r, &c, 1, epoch, "other-ca", 41), STORE_GRANTED);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	/* not an operator's business any more: taken over when its connector stays away */
	rig_session_close(r, (struct store_session_close_in){.session = c.s});
	rig_pass(r, 16 * 60 * 1000);
	rig_sweep_all(r);
	assert_int_equal(rig_state(r, 1), STORE_READY);
}

/* ---- cancel, bury, replay, takeover --------------------------------------------------------------- */

static void a_producer_cancels_until_a_ca_was_claimed_and_while_parked(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_cancel_job(r, 9, false), STORE_UNKNOWN_JOB);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED);
	assert_int_equal(rig_cancel_job(r, 1, false), STORE_TOO_LATE);
	assert_int_equal(rig_park_one(r, &c, 1, epoch), STORE_KEEP);
	assert_int_equal(rig_cancel_job(r, 1, false), STORE_OK);
	const struct rig_item *gone = rig_last_hint(r, STORE_HINT_GONE);
	assert_int_equal(gone->result, STORE_CANCELLED);
	assert_string_equal(gone->connector, "hq-1");
	assert_int_equal(rig_cancel_job(r, 1, false), STORE_ALREADY);
}

static void an_operator_cancels_what_is_claimed(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, rig_take_one(r, &c, 1)), STORE_GRANTED);
	assert_int_equal(rig_cancel_job(r, 1, true), STORE_OK);
	assert_int_equal(rig_state(r, 1), STORE_CANCELLED_STATE);
}

static void bury_waits_for_open_claims_and_replay_runs_the_job_again(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_bury_in bury = {T, CC_VIEW_NONE, cc_view_text("ann")};
	struct store_replay_in replay = {.tenant = T, .by = cc_view_text("ann")};

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED);
	bury.job_id = rig_id(r, 1);
	replay.job_id = rig_id(r, 1);
	assert_int_equal(rig_bury(r, bury).result, STORE_TOO_LATE);
	struct store_replay_out out = rig_replay(r, replay);
	assert_int_equal(out.result, STORE_REFUSED);
	assert_string_equal(out.why, "not_dead");
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_bury(r, bury).result, STORE_OK);
	assert_int_equal(rig_bury(r, bury).result, STORE_ALREADY);
	out = rig_replay(r, replay);
	assert_int_equal(out.result, STORE_OK);
	assert_int_equal(out.run, 2);
	assert_int_equal(rig_take_one(r, &c, 1), epoch + 1); /* the epoch is not reset */
	assert_int_equal(r->items[0].run, 2);
}

static void a_job_with_an_unsettled_claim_or_a_done_one_is_not_replayed(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_replay_out out;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_STORED);
	out = rig_replay(r,
		(struct store_replay_in){.tenant = T, .job_id = rig_id(r, 1), .by = CC_VIEW_NONE});
	assert_string_equal(out.why, "not_dead");

	struct store_enqueue_in in = rig_new_job(r, 2, STORE_ISSUE);
	in.not_after_ms = store_now_ms(r->store) + 1000;
	assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
	epoch = rig_take_one(r, &c, 2);
	assert_int_equal(rig_fail(r, HQ1, 2, epoch, STORE_UNSETTLED), STORE_STORED);
	rig_pass(r, 2000);
	out = rig_replay(r,
		(struct store_replay_in){.tenant = T, .job_id = rig_id(r, 2), .by = CC_VIEW_NONE});
	assert_string_equal(out.why, "expired");
	out = rig_replay(r,
		(struct store_replay_in){.tenant = T, .job_id = rig_id(r, 3), .by = CC_VIEW_NONE});
	assert_int_equal(out.result, STORE_UNKNOWN_JOB);
}

static void the_next_holder_hears_of_the_claims_of_the_one_before(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;

	rig_connect(r, &a, HQ1);
	rig_connect(r, &b, HQ2);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &a, 1);
	assert_int_equal(rig_claim_one(r, &a, 1, epoch), STORE_GRANTED);
	assert_int_equal(rig_take_over(r, 1, ""), STORE_NOT_DUE);
	assert_int_equal(rig_park_one(r, &a, 1, epoch), STORE_KEEP);
	assert_int_equal(rig_take_over(r, 1, ""), STORE_NOT_DUE);
	assert_int_equal(rig_take_over(r, 1, "ann"), STORE_OK);
	assert_int_equal(rig_take_over(r, 9, "ann"), STORE_UNKNOWN_JOB);
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->result, STORE_LOST);
	assert_int_equal(rig_take_one(r, &b, 1), 2);
	assert_int_equal(r->items[0].prior, 1);
	/* the first holder's certificate still counts: no one else has made one */
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_STORED);
	assert_string_equal(rig_last_hint(r, STORE_HINT_GONE)->connector, "hq-2");
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->result, STORE_ALREADY_DONE);
	assert_int_equal(rig_last_hint(r, STORE_HINT_GONE)->winner, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_new_job_is_ready_and_the_same_again_tells_its_state),
		RIG_TEST(other_bytes_under_the_same_id_are_a_conflict),
		RIG_TEST(a_job_past_its_time_too_large_or_of_nobody_is_not_taken),
		RIG_TEST(a_tenant_that_has_its_number_of_open_jobs_gets_quota),
		RIG_TEST(room_for_the_result_is_reserved_until_the_job_is_done),
		RIG_TEST(each_kind_reserves_what_its_result_can_need),
		RIG_TEST(the_default_quotas_fit_each_other),
		RIG_TEST(a_job_that_ends_without_a_result_gives_its_reserve_back),
		RIG_TEST(a_replay_reserves_room_again_and_once),
		RIG_TEST(a_name_that_is_too_long_is_answered_in_its_turn),
		RIG_TEST(another_tenants_job_is_unknown),
		RIG_TEST(a_lease_carries_what_the_connector_needs),
		RIG_TEST(lease_stops_at_its_bytes),
		RIG_TEST(extend_keeps_what_is_leased_here_and_loses_the_rest),
		RIG_TEST(a_claim_is_granted_once_and_again_for_the_same_request),
		RIG_TEST(another_ca_is_granted_only_after_the_first_is_settled_not_issued),
		RIG_TEST(a_job_past_its_time_is_not_claimed_for_a_ca),
		RIG_TEST(claims_tell_who_won_and_what_was_cancelled),
		RIG_TEST(only_a_claimed_job_is_parked_and_parking_may_be_repeated),
		RIG_TEST(a_claim_at_another_ca_takes_a_job_out_of_parking),
		RIG_TEST(a_producer_cancels_until_a_ca_was_claimed_and_while_parked),
		RIG_TEST(an_operator_cancels_what_is_claimed),
		RIG_TEST(bury_waits_for_open_claims_and_replay_runs_the_job_again),
		RIG_TEST(a_job_with_an_unsettled_claim_or_a_done_one_is_not_replayed),
		RIG_TEST(the_next_holder_hears_of_the_claims_of_the_one_before),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
