/*
 * The job table, the scheduler, and the way of a job into its record and back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "connector/job_table.h"
#include "connector/scheduler.h"
#include "connector/steps.h"
#include "proto/codec.h"
#include "proto/job.h"
#include <stdlib.h>
#include <string.h>

static cc_view id_of(uint32_t n, uint8_t bytes[JOB_ID_SIZE])
{
	memset(bytes, 0, JOB_ID_SIZE);
	memcpy(bytes, &n, sizeof n);
	return cc_view_of(bytes, JOB_ID_SIZE);
}

static void every_state_has_a_row_with_a_name_and_a_step(void **state)
{
	(void)state;
	for (int s = JOURNAL__JOB_STATE__STATE_RECEIVED;
		s <= JOURNAL__JOB_STATE__STATE_READY_TO_SEND; s++) {
		assert_non_null(job_rule((Journal__JobState)s)->name);
		assert_non_null(job_rule((Journal__JobState)s)->step);
	}
}

static void what_waits_for_a_ca_or_clears_up_takes_no_place(void **state)
{
	static const Journal__JobState states[] = {JOURNAL__JOB_STATE__STATE_PENDING,
		JOURNAL__JOB_STATE__STATE_SETTLING, JOURNAL__JOB_STATE__STATE_WATCH,
		JOURNAL__JOB_STATE__STATE_ORPHAN};
	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_false(job_rule(states[i])->takes_place);
	assert_int_equal(
		job_rule(JOURNAL__JOB_STATE__STATE_PENDING)->at_deadline, DEADLINE_WITHDRAW);
	assert_int_equal(job_rule(JOURNAL__JOB_STATE__STATE_WATCH)->at_deadline, DEADLINE_DOUBT);
}

static void states_that_ask_a_ca_go_on_only_after_keep(void **state)
{
	(void)state;
	assert_int_equal(job_rule(JOURNAL__JOB_STATE__STATE_INTENT)->on_restart, RESTART_LIST);
	assert_int_equal(job_rule(JOURNAL__JOB_STATE__STATE_CLAIMED)->on_restart, RESTART_LIST);
}

static void retries_grow_have_jitter_and_a_most(void **state)
{
	static const int64_t most[] = {
		[RETRY_VAULT] = 10000, [RETRY_QUEUE] = 60000, [RETRY_CA] = 300000};
	(void)state;
	for (int retry = RETRY_VAULT; retry <= RETRY_CA; retry++) {
		int64_t largest = 0, smallest = INT64_MAX;
		for (int i = 0; i < 200; i++) {
			int64_t ms = job_retry_delay((enum job_retry)retry, 30);
			largest = ms > largest ? ms : largest;
			smallest = ms < smallest ? ms : smallest;
			assert_true(job_retry_delay((enum job_retry)retry, 0) <= 1000);
		}
		assert_true(largest <= most[retry] && largest > most[retry] / 2);
		assert_true(smallest < largest);
		assert_true(smallest >= most[retry] / 4);
	}
}

static void the_table_finds_adds_and_drops(void **state)
{
	struct jobs *t = jobs_new();
	uint8_t bytes[JOB_ID_SIZE];
	(void)state;
	for (uint32_t i = 0; i < 3000; i++)
		jobs_add(t, id_of(i, bytes))->epoch = i;
	assert_int_equal(jobs_count(t), 3000);
	assert_int_equal(jobs_find(t, id_of(2222, bytes))->epoch, 2222);
	jobs_drop(t, jobs_find(t, id_of(2222, bytes)));
	assert_null(jobs_find(t, id_of(2222, bytes)));
	assert_null(jobs_find(t, cc_view_of(bytes, 3)));
	assert_int_equal(jobs_count(t), 2999);
	jobs_free(t);
}

static void a_dropped_job_lives_until_its_last_call_came_back(void **state)
{
	struct jobs *t = jobs_new();
	uint8_t bytes[JOB_ID_SIZE];
	struct job *job = jobs_add(t, id_of(1, bytes));
	(void)state;
	job_hold(job);
	job_hold(job);
	jobs_drop(t, job);
	assert_false(job_release(job));
	assert_false(job_release(job)); /* freed here: the sanitizer would tell otherwise */
	jobs_free(t);
}

static void name_cas(struct job *job)
{
	job->cas = cc_alloc(2 * sizeof *job->cas);
	job->cas[0] = cc_strdup("ca-one");
	job->cas[1] = cc_strdup("ca-two");
	job->ca_count = 2;
}

static void a_job_is_the_same_after_its_record(void **state)
{
	struct jobs *t = jobs_new();
	uint8_t a[JOB_ID_SIZE], b[JOB_ID_SIZE];
	struct job *from = jobs_add(t, id_of(1, a)), *to = jobs_add(t, id_of(2, b));
	struct job_record_room room;
	Journal__OpenJob record;
	(void)state;
	name_cas(from);
	job_choose_ca(from, 1, cc_view_text("contoso"));
	from->state = JOURNAL__JOB_STATE__STATE_RESULT;
	from->epoch = 4;
	from->success = true;
	from->settle_ca = cc_strdup("ca-one");
	job_set_code(from, cc_view_text("some_code"), 17);
	job_set_certificate(
		from, cc_view_of(a, 16), cc_view_text("issuer"), cc_view_text("serial"));
	job_record(from, &room, &record);
	assert_int_equal(job_from_record(to, &record), CC_OK);
	assert_int_equal(to->state, from->state);
	assert_int_equal(to->epoch, 4);
	assert_true(to->success && to->durable && to->replayed);
	assert_true(text_equal(job_ca(to), "ca-two"));
	assert_string_equal(to->settle_ca, "ca-one");
	assert_string_equal(to->code, "some_code");
	assert_memory_equal(to->txid, from->txid, sizeof to->txid);
	assert_true(cc_view_equal(cc_blob_view(&to->certificate.issuer), cc_view_text("issuer")));
	jobs_free(t);
}

static void a_claim_is_an_intent_on_disk(void **state)
{
	struct jobs *t = jobs_new();
	uint8_t bytes[JOB_ID_SIZE];
	struct job *job = jobs_add(t, id_of(1, bytes));
	struct job_record_room room;
	Journal__OpenJob record;
	(void)state;
	name_cas(job);
	job->state = JOURNAL__JOB_STATE__STATE_CLAIMED;
	job_record(job, &room, &record);
	assert_int_equal(record.state, JOURNAL__JOB_STATE__STATE_INTENT);
	jobs_free(t);
}

static void a_record_is_small(void **state)
{
	struct jobs *t = jobs_new();
	uint8_t bytes[JOB_ID_SIZE], digest[32] = {0};
	struct job *job = jobs_add(t, id_of(1, bytes));
	struct job_record_room room;
	Journal__OpenJob record;
	(void)state;
	name_cas(job);
	job->state = JOURNAL__JOB_STATE__STATE_RESULT;
	job->epoch = 1000;
	job->deadline_ms = job->created_ms = job->hold_until_ms = clock_realtime_ms();
	job->not_after_s = job->finish_by_s = clock_realtime_s();
	job_set_certificate(job, cc_view_of(digest, 32),
		cc_view_text(
			"a distinguished name of some hundred bytes, as they are in real life, "
			"with country, organisation and common name"),
		cc_view_of(digest, 20));
	job_record(job, &room, &record);
	cc_blob packed = codec_pack(&record);
	assert_true(packed.size < 500);
	cc_blob_free(&packed);
	jobs_free(t);
}

static void a_record_with_an_unknown_ca_or_a_short_digest_is_refused(void **state)
{
	struct jobs *t = jobs_new();
	uint8_t a[JOB_ID_SIZE], b[JOB_ID_SIZE];
	struct job *from = jobs_add(t, id_of(1, a)), *to = jobs_add(t, id_of(2, b));
	struct job_record_room room;
	Journal__OpenJob record;
	(void)state;
	name_cas(from);
	from->state = JOURNAL__JOB_STATE__STATE_INTENT;
	job_record(from, &room, &record);
	record.ca = codec_text("ca-three");
	assert_int_equal(job_from_record(to, &record), CC_CORRUPT);
	jobs_drop(t, to);
	to = jobs_add(t, id_of(2, b));
	job_record(from, &room, &record);
	record.txid.len = 3;
	assert_int_equal(job_from_record(to, &record), CC_CORRUPT);
	jobs_free(t);
}

static void the_txid_follows_the_ca(void **state)
{
	struct jobs *t = jobs_new();
	uint8_t bytes[JOB_ID_SIZE], expected[TXID_SIZE];
	struct job *job = jobs_add(t, id_of(1, bytes));
	(void)state;
	name_cas(job);
	job_choose_ca(job, 1, cc_view_text("contoso"));
	job_txid(cc_view_text("contoso"), job_id_view(job), cc_view_text("ca-two"),
		cc_view_of(job->csr_sha256, 32), expected);
	assert_memory_equal(job->txid, expected, TXID_SIZE);
	jobs_free(t);
}

/* ---- scheduler ---- */

struct fired {
	uint32_t epochs[64];
	size_t count;
};

static void note_fired(void *arg, struct job *job)
{
	struct fired *f = arg;
	f->epochs[f->count++] = job->epoch;
}

static void timers_fire_in_order_when_they_are_due(void **state)
{
	static const uint32_t due[] = {500, 100, 900, 300, 700, 200, 800, 400, 600};
	struct jobs *t = jobs_new();
	struct fired fired = {.count = 0};
	struct loop *loop = NULL;
	struct scheduler *s;
	uint8_t bytes[JOB_ID_SIZE];
	(void)state;
	assert_int_equal(loop_new(&loop), CC_OK);
	s = scheduler_new(loop, note_fired, &fired);
	for (uint32_t i = 0; i < 9; i++) {
		struct job *job = jobs_add(t, id_of(i, bytes));
		job->epoch = due[i];
		scheduler_set(s, job, (int64_t)due[i] * 1000);
	}
	scheduler_clear(s, jobs_find(t, id_of(3, bytes)));          /* 300 */
	scheduler_set(s, jobs_find(t, id_of(0, bytes)), 50 * 1000); /* 500, sooner now */
	clock_shift_for_test(0, 450 * 1000);
	scheduler_run(s);
	assert_int_equal(fired.count, 4);
	assert_int_equal(fired.epochs[0], 500);
	assert_int_equal(fired.epochs[1], 100);
	assert_int_equal(fired.epochs[2], 200);
	assert_int_equal(fired.epochs[3], 400);
	clock_shift_for_test(0, 2000 * 1000);
	scheduler_run(s);
	assert_int_equal(fired.count, 8);
	assert_int_equal(fired.epochs[7], 900);
	clock_shift_for_test(0, 0);
	scheduler_free(s);
	jobs_free(t);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_has_a_row_with_a_name_and_a_step),
		cmocka_unit_test(what_waits_for_a_ca_or_clears_up_takes_no_place),
		cmocka_unit_test(states_that_ask_a_ca_go_on_only_after_keep),
		cmocka_unit_test(retries_grow_have_jitter_and_a_most),
		cmocka_unit_test(the_table_finds_adds_and_drops),
		cmocka_unit_test(a_dropped_job_lives_until_its_last_call_came_back),
		cmocka_unit_test(a_job_is_the_same_after_its_record),
		cmocka_unit_test(a_claim_is_an_intent_on_disk),
		cmocka_unit_test(a_record_is_small),
		cmocka_unit_test(a_record_with_an_unknown_ca_or_a_short_digest_is_refused),
		cmocka_unit_test(the_txid_follows_the_ca),
		cmocka_unit_test(timers_fire_in_order_when_they_are_due),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
