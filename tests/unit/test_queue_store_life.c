/*
 * The store's contract over the years: a store that is an older copy of itself, and a clock that was
 * once far ahead.
 */
#include "tests/support/store_rig_jobs.h"

#include "base/file.h"

enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE };
static const int64_t YEAR = (int64_t)365 * 24 * HOUR;

/* ---- an older copy -------------------------------------------------------------------------------- */

static void data_file(const struct rig *r, const char *name, char ret[128])
{
	snprintf(ret, 128, "%s/%s", r->dir, name);
}

static void copy_file(const char *from, const char *to)
{
	cc_blob bytes = CC_BLOB_NONE;

	assert_int_equal(file_read(from, FILE_ANY, (size_t)64 << 20, &bytes), CC_OK);
	unlink(to);
	assert_int_equal(file_write_atomic(to, cc_blob_view(&bytes), 0600), CC_OK);
	cc_blob_free(&bytes);
}

static void close_store(struct rig *r)
{
	store_close(r->store);
	r->store = NULL;
}

static void back_up(struct rig *r)
{
	char data[128], kept[128];

	data_file(r, "data.mdb", data);
	data_file(r, "kept", kept);
	close_store(r);
	copy_file(data, kept);
	rig_open(r);
}

static void restore(struct rig *r)
{
	char data[128], kept[128];

	data_file(r, "data.mdb", data);
	data_file(r, "kept", kept);
	close_store(r);
	copy_file(kept, data);
	unlink(kept);
	rig_open(r);
}

static void a_store_that_is_only_reopened_keeps_its_generation(void **state)
{
	struct rig *r = *state;
	uint64_t generation = store_generation(r->store);

	rig_reopen(r);
	assert_false(store_went_back(r->store));
	assert_int_equal(store_generation(r->store), generation);
}

static void a_copy_that_was_put_back_has_a_new_generation_once(void **state)
{
	struct rig *r = *state;
	uint64_t generation = store_generation(r->store);

	back_up(r);
	restore(r);
	assert_true(store_went_back(r->store));
	assert_int_not_equal(store_generation(r->store), generation);
	generation = store_generation(r->store);
	rig_reopen(r);
	assert_false(store_went_back(r->store));
	assert_int_equal(store_generation(r->store), generation);
}

static void an_operator_may_say_that_a_store_went_back(void **state)
{
	struct rig *r = *state;
	uint64_t generation = store_generation(r->store);

	r->config.new_generation = true;
	rig_reopen(r);
	r->config.new_generation = false;
	assert_true(store_went_back(r->store));
	assert_int_not_equal(store_generation(r->store), generation);
}

static void a_store_that_went_back_takes_its_connectors_back_but_no_other_journal(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	back_up(r);
	rig_redial(r, &c, false);
	rig_resume(r, &c, NULL, 0);
	rig_redial(r, &c, false);
	rig_resume(r, &c, NULL, 0);
	restore(r);
	c.journal[0] ^= 1;
	assert_int_equal(rig_dial(r, &c).result, STORE_IDENTITY_CONFLICT);
	c.journal[0] ^= 1;
	assert_int_equal(rig_dial(r, &c).result, STORE_OK);
	assert_int_equal(rig_resume(r, &c, NULL, 0).result, STORE_OK);
	/* once: from here on the nonce counts again */
	memset(c.nonce, 0x11, sizeof(c.nonce));
	assert_int_equal(rig_dial(r, &c).result, STORE_IDENTITY_CONFLICT);
}

static void a_store_that_went_back_gives_out_nothing_before_connectors_had_their_time(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_lease_out out;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	back_up(r);
	restore(r);
	rig_redial(r, &c, false);
	rig_resume(r, &c, NULL, 0);
	out = rig_lease(r, (struct store_lease_in){.session = c.s, .max_jobs = 1});
	assert_int_equal(out.result, STORE_EMPTY);
	assert_in_range(out.next_ms, RIG_LEASE_MS, 2 * RIG_LEASE_MS);
	/* a restart does not end the wait */
	rig_pass(r, RIG_LEASE_MS + 1000);
	rig_reopen(r);
	rig_redial(r, &c, false);
	rig_resume(r, &c, NULL, 0);
	out = rig_lease(r, (struct store_lease_in){.session = c.s, .max_jobs = 1});
	assert_int_equal(out.result, STORE_EMPTY);
	rig_pass(r, RIG_LEASE_MS + 1000);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
}

static void nothing_expires_before_connectors_of_a_store_that_went_back_had_their_time(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	back_up(r);
	restore(r);
	rig_pass(r, RIG_LEASE_MS + 2000);
	assert_int_equal(rig_sweep_all(r).result, STORE_ON_HOLD);
	rig_pass(r, RIG_LEASE_MS);
	assert_int_equal(rig_sweep_all(r).leases_expired, 1);
}

/* The lease and the claim came after the backup: the result is taken all the same. */
static void a_result_of_a_lease_that_the_store_forgot_is_taken(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	back_up(r);
	rig_redial(r, &c, false);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
	restore(r);
	rig_redial(r, &c, false);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_STORED);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_DUPLICATE_SAME);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
}

static void a_store_that_never_went_back_takes_no_result_without_its_lease(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_UNKNOWN_ATTEMPT);
}

static void a_job_that_a_store_which_went_back_finds_unlisted_counts_no_crash(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	back_up(r);
	restore(r);
	rig_redial(r, &c, true);
	assert_int_equal(rig_resume(r, &c, NULL, 0).requeued, 1);
	assert_int_equal(rig_fetch(r, (struct store_fetch_in){.tenant = T, .job_id = rig_id(r, 1)})
				 .job.crash_suspect,
		0);
}

/* ---- a clock that was far ahead -------------------------------------------------------------------- */

static void reset_clock(struct rig *r)
{
	r->config.reset_clock = true;
	rig_reopen(r);
	r->config.reset_clock = false;
	rig_reopen(r);
}

static void a_clock_that_was_ahead_is_told_and_stays(void **state)
{
	struct rig *r = *state;

	rig_shift(r, YEAR, 0);
	rig_sweep_all(r);
	rig_reopen(r);
	rig_shift(r, -YEAR, 0);
	rig_reopen(r);
	assert_in_range(store_clock_ahead_ms(r->store), YEAR - MINUTE, YEAR + MINUTE);
}

static void a_reset_clock_starts_from_realtime_and_jobs_are_taken_again(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_enqueue_in in;

	rig_connect(r, &c, HQ1);
	rig_shift(r, YEAR, 0);
	rig_reopen(r);
	rig_shift(r, -YEAR, 0);
	rig_reopen(r);
	in = rig_new_job(r, 1, STORE_ISSUE);
	in.not_after_ms = clock_realtime_ms() + HOUR; /* as producers have it */
	assert_int_equal(rig_enqueue(r, in).result, STORE_EXPIRED);
	reset_clock(r);
	assert_in_range(store_clock_ahead_ms(r->store), 0, 1000);
	assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
	rig_redial(r, &c, false);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
}

/* Given out while the clock was ahead: leases, delays and claims end as if they began now. */
static void what_the_wrong_clock_made_too_long_is_shortened(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_shift(r, YEAR, 0);
	for (uint32_t job = 1; job <= 3; job++) {
		struct store_enqueue_in in = rig_new_job(r, job, STORE_ISSUE);
		in.not_after_ms += YEAR;
		assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
		assert_int_equal(rig_take_one(r, &c, job), 1);
	}
	assert_int_equal(rig_claim_one(r, &c, 2, 1), STORE_GRANTED);
	struct store_nack_in nack = rig_nack_in(r, &c, 3, 1, STORE_NACK_BUSY);
	nack.delay_ms = HOUR;
	assert_int_equal(rig_nack(r, nack).result, STORE_OK);
	rig_shift(r, -YEAR, 0);
	reset_clock(r);
	rig_pass(r, RIG_LEASE_MS + 1000);
	assert_int_equal(rig_sweep_all(r).leases_expired, 1);
	assert_int_equal(rig_state(r, 1), STORE_READY);
	assert_int_equal(rig_state(r, 2), STORE_CLAIMED);
	rig_redial(r, &c, false);
	struct store_held held = {.job_id = rig_id(r, 2), .epoch = 1, .claimed = true};
	assert_int_equal(rig_resume(r, &c, &held, 1).kept, 1);
	assert_int_equal(
		rig_lease(r, (struct store_lease_in){.session = c.s, .max_jobs = 9}).count, 2);
}

static void a_finished_job_goes_in_its_time_after_a_reset(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	r->config.retention_s = 3600;
	r->config.header_retention_s = 7200;
	rig_connect(r, &c, HQ1);
	rig_shift(r, YEAR, 0);
	struct store_enqueue_in in = rig_new_job(r, 1, STORE_ISSUE);
	in.not_after_ms += YEAR;
	rig_enqueue(r, in);
	rig_take_one(r, &c, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_STORED);
	rig_shift(r, -YEAR, 0);
	reset_clock(r);
	rig_pass(r, HOUR + MINUTE);
	assert_int_equal(rig_sweep_all(r).results_dropped, 1);
	rig_pass(r, HOUR);
	assert_int_equal(rig_sweep_all(r).headers_dropped, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_store_that_is_only_reopened_keeps_its_generation),
		RIG_TEST(a_copy_that_was_put_back_has_a_new_generation_once),
		RIG_TEST(an_operator_may_say_that_a_store_went_back),
		RIG_TEST(a_store_that_went_back_takes_its_connectors_back_but_no_other_journal),
		RIG_TEST(a_store_that_went_back_gives_out_nothing_before_connectors_had_their_time),
		RIG_TEST(
			nothing_expires_before_connectors_of_a_store_that_went_back_had_their_time),
		RIG_TEST(a_result_of_a_lease_that_the_store_forgot_is_taken),
		RIG_TEST(a_store_that_never_went_back_takes_no_result_without_its_lease),
		RIG_TEST(a_job_that_a_store_which_went_back_finds_unlisted_counts_no_crash),
		RIG_TEST(a_clock_that_was_ahead_is_told_and_stays),
		RIG_TEST(a_reset_clock_starts_from_realtime_and_jobs_are_taken_again),
		RIG_TEST(what_the_wrong_clock_made_too_long_is_shortened),
		RIG_TEST(a_finished_job_goes_in_its_time_after_a_reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
