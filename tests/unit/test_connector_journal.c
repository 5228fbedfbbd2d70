/*
 * The journal: what is on disk after a commit, after a restart, and after its retention time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "connector/journal_int.h"
#include "proto/codec.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct bench {
	struct loop *loop;
	struct journal *journal;
	char dir[64];
	cc_err result;
	bool came;
};

static const uint8_t id_bytes[JOB_ID_SIZE] = {
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static cc_view job_1(void)
{
	return cc_view_of(id_bytes, sizeof id_bytes);
}

static void open_with(struct bench *b, uint64_t max_bytes)
{
	struct journal_settings s = {
		.dir = b->dir, .max_bytes = max_bytes, .result_retention_ms = 86400000};
	assert_int_equal(journal_open(&s, b->loop, &b->journal), CC_OK);
}

static int setup(void **state)
{
	struct bench *b = cc_alloc(sizeof *b);
	snprintf(b->dir, sizeof b->dir, "/tmp/journal-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	assert_int_equal(loop_new(&b->loop), CC_OK);
	open_with(b, 64ull << 20);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {"data.mdb", "lock.mdb", "LOCK"};
	struct bench *b = *state;
	journal_close(b->journal);
	loop_free(b->loop);
	for (size_t i = 0; i < 3; i++) {
		char *path = file_join(b->dir, names[i]);
		unlink(path);
		free(path);
	}
	assert_int_equal(rmdir(b->dir), 0);
	clock_shift_for_test(0, 0);
	free(b);
	return 0;
}

static void reopen(struct bench *b)
{
	journal_close(b->journal);
	open_with(b, 64ull << 20);
}

static void on_done(void *arg, cc_err err)
{
	struct bench *b = arg;
	b->result = err;
	b->came = true;
	loop_stop(b->loop);
}

static void commit(struct bench *b, struct journal_change *c)
{
	b->came = false;
	journal_commit(c, on_done, b);
	loop_run(b->loop);
	assert_true(b->came);
	assert_int_equal(b->result, CC_OK);
}

static struct journal_change *with_open(struct bench *b, int64_t next_due_ms)
{
	struct journal_change *c = journal_change_new(b->journal);
	Journal__OpenJob r = JOURNAL__OPEN_JOB__INIT;
	r.state = JOURNAL__JOB_STATE__STATE_INTENT;
	r.epoch = 7;
	r.next_due_ms = next_due_ms;
	journal_change_open(c, job_1(), &r);
	journal_change_blob(c, job_1(), JOURNAL_TICKET, cc_view_text("ticket"));
	journal_change_blob(c, job_1(), JOURNAL_RESULT, cc_view_text("result"));
	return c;
}

static cc_err note_one(void *arg, cc_view job_id, const Journal__OpenJob *record)
{
	unsigned *count = arg;
	assert_true(cc_view_equal(job_id, job_1()));
	assert_int_equal(record->epoch, 7);
	(*count)++;
	return CC_OK;
}

static unsigned count_open(struct bench *b)
{
	unsigned count = 0;
	assert_int_equal(journal_each_open(b->journal, note_one, &count), CC_OK);
	return count;
}

static size_t count_timers(struct bench *b)
{
	MDB_txn *txn = NULL;
	struct db_cursor cursor = {0};
	size_t count = 0;
	cc_err err = CC_OK;
	assert_int_equal(db_read_begin(journal_db(b->journal), &txn), CC_OK);
	assert_int_equal(db_scan(journal_db(b->journal), txn, JOURNAL_DB_TIMER, CC_VIEW_NONE,
				 CC_VIEW_NONE, &cursor),
		CC_OK);
	while (db_next(&cursor, &err))
		count++;
	db_scan_end(&cursor);
	db_read_end(txn);
	return count;
}

static bool has_blob(struct bench *b, enum journal_part part)
{
	cc_blob blob = CC_BLOB_NONE;
	cc_err err = journal_get_blob(b->journal, job_1(), part, &blob);
	cc_blob_free(&blob);
	return err == CC_OK;
}

static struct journal_change *with_done(struct bench *b)
{
	struct journal_change *c = journal_change_new(b->journal);
	Journal__DoneJob d = JOURNAL__DONE_JOB__INIT;
	d.state = JOURNAL__JOB_STATE__STATE_DONE;
	d.time_ms = clock_realtime_ms();
	d.keep_until_ms = d.time_ms + INT64_C(7) * 86400000;
	journal_change_done(c, job_1(), &d);
	return c;
}

static bool has_done(struct bench *b)
{
	Journal__DoneJob *done = NULL;
	cc_err err = journal_get_done(b->journal, job_1(), &done);
	codec_free(done);
	return err == CC_OK;
}

static void sweep_at(struct bench *b, int64_t ms)
{
	clock_shift_for_test(ms, ms);
	journal_sweep(b->journal);
	commit(b, journal_change_new(b->journal)); /* commits are in order */
}

static void a_journal_keeps_its_id(void **state)
{
	struct bench *b = *state;
	uint8_t id[JOURNAL_ID_SIZE];
	memcpy(id, journal_id(b->journal).data, sizeof id);
	reopen(b);
	assert_int_equal(journal_id(b->journal).size, JOURNAL_ID_SIZE);
	assert_memory_equal(journal_id(b->journal).data, id, sizeof id);
}

static void a_journal_is_open_once(void **state)
{
	struct bench *b = *state;
	struct journal_settings s = {.dir = b->dir, .max_bytes = 1 << 20};
	struct journal *second = NULL;
	assert_int_equal(journal_open(&s, b->loop, &second), CC_LOCKED);
}

static void a_journal_of_another_format_is_refused(void **state)
{
	struct bench *b = *state;
	struct journal_settings s = {.dir = b->dir, .max_bytes = 1 << 20};
	Journal__JournalMeta *meta = NULL;
	MDB_txn *txn = NULL;
	assert_int_equal(mdb_txn_begin(db_env(journal_db(b->journal)), NULL, 0, &txn), 0);
	assert_int_equal(journal_read_meta(journal_db(b->journal), txn, &meta), CC_OK);
	meta->format = JOURNAL_FORMAT + 1;
	assert_int_equal(journal_write_meta(journal_db(b->journal), txn, meta), CC_OK);
	assert_int_equal(mdb_txn_commit(txn), 0);
	codec_free(meta);
	journal_close(b->journal);
	b->journal = NULL;
	assert_int_equal(journal_open(&s, b->loop, &b->journal), CC_VERSION);
}

static void what_was_committed_is_there_after_a_restart(void **state)
{
	struct bench *b = *state;
	commit(b, with_open(b, 0));
	reopen(b);
	assert_int_equal(count_open(b), 1);
	assert_true(has_blob(b, JOURNAL_TICKET));
	assert_false(has_blob(b, JOURNAL_CHAIN));
}

static void a_change_that_is_under_way_at_the_end_is_finished(void **state)
{
	struct bench *b = *state;
	b->came = false;
	journal_commit(with_open(b, 0), on_done, b);
	reopen(b);
	assert_true(b->came); /* only so that its argument can be freed */
	assert_int_equal(b->result, CC_CLOSED);
	assert_int_equal(count_open(b), 1);
}

static void the_nonce_of_a_session_is_kept(void **state)
{
	struct bench *b = *state;
	struct journal_change *c = journal_change_new(b->journal);
	assert_int_equal(journal_nonce(b->journal).size, 0);
	journal_change_session(c, cc_view_of(id_bytes, 16), 5, 9, false);
	commit(b, c);
	assert_int_equal(journal_generation(b->journal), 9);
	reopen(b);
	assert_true(cc_view_equal(journal_nonce(b->journal), job_1()));
	assert_int_equal(journal_generation(b->journal), 9);
}

static void a_timer_moves_with_its_job(void **state)
{
	struct bench *b = *state;
	commit(b, with_open(b, 1000));
	assert_int_equal(count_timers(b), 1);
	commit(b, with_open(b, 2000));
	assert_int_equal(count_timers(b), 1);
	commit(b, with_open(b, 0));
	assert_int_equal(count_timers(b), 0);
	commit(b, with_open(b, 3000));
	commit(b, with_done(b));
	assert_int_equal(count_timers(b), 0);
}

static void of_a_finished_job_only_header_and_result_stay(void **state)
{
	struct bench *b = *state;
	commit(b, with_open(b, 0));
	commit(b, with_done(b));
	assert_int_equal(count_open(b), 0);
	assert_true(has_done(b));
	assert_true(has_blob(b, JOURNAL_RESULT));
	assert_false(has_blob(b, JOURNAL_TICKET));
}

static void a_result_goes_after_a_day_and_the_header_after_a_week(void **state)
{
	struct bench *b = *state;
	commit(b, with_open(b, 0));
	commit(b, with_done(b));
	sweep_at(b, INT64_C(23) * 3600000);
	assert_true(has_blob(b, JOURNAL_RESULT));
	sweep_at(b, INT64_C(26) * 3600000);
	assert_false(has_blob(b, JOURNAL_RESULT));
	assert_true(has_done(b));
	sweep_at(b, INT64_C(6) * 86400000);
	assert_true(has_done(b));
	sweep_at(b, INT64_C(8) * 86400000);
	assert_false(has_done(b));
}

static void a_sweep_leaves_a_job_that_runs_again(void **state)
{
	struct bench *b = *state;
	commit(b, with_open(b, 0));
	commit(b, with_done(b));
	commit(b, with_open(b, 0));
	sweep_at(b, INT64_C(8) * 86400000);
	assert_int_equal(count_open(b), 1);
	assert_true(has_blob(b, JOURNAL_TICKET));
}

static void a_second_run_keeps_its_result_for_its_own_day(void **state)
{
	struct bench *b = *state;
	commit(b, with_open(b, 0));
	commit(b, with_done(b));
	clock_shift_for_test(INT64_C(20) * 3600000, 0);
	commit(b, with_open(b, 0));
	commit(b, with_done(b));
	sweep_at(b, INT64_C(30) * 3600000);
	assert_true(has_blob(b, JOURNAL_RESULT));
	sweep_at(b, INT64_C(46) * 3600000);
	assert_false(has_blob(b, JOURNAL_RESULT));
	assert_true(has_done(b));
}

static void a_job_that_is_forgotten_leaves_no_trace(void **state)
{
	struct bench *b = *state;
	struct journal_change *c;
	commit(b, with_open(b, 1000));
	c = journal_change_new(b->journal);
	journal_change_forget(c, job_1());
	commit(b, c);
	assert_int_equal(count_open(b), 0);
	assert_int_equal(count_timers(b), 0);
	assert_false(has_blob(b, JOURNAL_RESULT));
	assert_false(has_done(b));
}

static void add_audit(struct bench *b, uint64_t counter, bool resent)
{
	struct journal_change *c = journal_change_new(b->journal);
	journal_change_audit(c, counter, cc_view_text("record"), resent);
	commit(b, c);
}

static void the_audit_head_is_the_end_of_what_has_no_gap(void **state)
{
	struct bench *b = *state;
	add_audit(b, 1, false);
	assert_int_equal(journal_audit_head(b->journal), 1);
	add_audit(b, 3, false);
	assert_int_equal(journal_audit_head(b->journal), 1);
	add_audit(b, 4, false);
	add_audit(b, 2, false);
	assert_int_equal(journal_audit_head(b->journal), 4);
	reopen(b);
	assert_int_equal(journal_audit_head(b->journal), 4);
}

static void a_record_that_is_sent_again_tells_where_the_chain_goes_on(void **state)
{
	struct bench *b = *state;
	add_audit(b, 1, false);
	add_audit(b, 9, true);
	assert_int_equal(journal_audit_head(b->journal), 9);
	add_audit(b, 9, true); /* twice is once */
	assert_int_equal(journal_audit_head(b->journal), 9);
}

static void a_doubt_is_counted_once_for_each_job_and_ca(void **state)
{
	struct bench *b = *state;
	size_t count = 0;
	for (int i = 0; i < 3; i++) {
		struct journal_change *c = journal_change_new(b->journal);
		Journal__Doubt d = JOURNAL__DOUBT__INIT;
		d.ca = codec_text(i < 2 ? "ca-one" : "ca-two");
		journal_change_doubt(c, job_1(), &d);
		commit(b, c);
	}
	assert_int_equal(journal_count_doubts(b->journal, &count), CC_OK);
	assert_int_equal(count, 2);
}

static void fill(struct bench *b, size_t bytes)
{
	cc_blob blob = cc_blob_new(bytes);
	struct journal_change *c = journal_change_new(b->journal);
	journal_change_blob(c, job_1(), JOURNAL_CHAIN, cc_blob_view(&blob));
	cc_blob_free(&blob);
	commit(b, c);
}

static void intake_ends_at_four_fifths_and_intent_at_nine_tenths(void **state)
{
	struct bench *b = *state;
	journal_close(b->journal);
	open_with(b, 1000 * 1000);
	assert_int_equal(journal_room(b->journal), JOURNAL_ROOM_FREE);
	fill(b, 820 * 1000);
	assert_int_equal(journal_room(b->journal), JOURNAL_ROOM_NO_INTAKE);
	fill(b, 920 * 1000);
	assert_int_equal(journal_room(b->journal), JOURNAL_ROOM_RESERVE);
	fill(b, 1000); /* what is under way may use the reserve, and room comes back */
	assert_int_equal(journal_room(b->journal), JOURNAL_ROOM_FREE);
}

static void an_open_job_counts_with_what_it_will_still_need(void **state)
{
	struct bench *b = *state;
	uint64_t before;
	journal_close(b->journal);
	open_with(b, 2 * JOURNAL_FUTURE_MOST);
	before = journal_used_bytes(b->journal);
	assert_int_equal(journal_room(b->journal), JOURNAL_ROOM_FREE);
	commit(b, with_open(b, 0));
	assert_in_range(journal_used_bytes(b->journal) - before, JOURNAL_FUTURE_MOST,
		JOURNAL_FUTURE_MOST + 100 * 1024);
	fill(b, 250 * 1000);
	assert_int_equal(journal_room(b->journal), JOURNAL_ROOM_NO_INTAKE);
}

/* `count` more, from this number on. */
static void open_many(struct bench *b, uint8_t from, uint8_t count)
{
	struct journal_change *c = journal_change_new(b->journal);
	Journal__OpenJob r = JOURNAL__OPEN_JOB__INIT;
	uint8_t id[JOB_ID_SIZE] = {0};
	r.state = JOURNAL__JOB_STATE__STATE_PENDING;
	for (uint8_t i = 0; i < count; i++) {
		id[0] = from + i;
		journal_change_open(c, cc_view_of(id, sizeof id), &r);
	}
	commit(b, c);
}

static void many_that_wait_do_not_all_count_with_the_most(void **state)
{
	struct bench *b = *state;
	uint64_t empty = journal_used_bytes(b->journal), before;
	open_many(b, 0, JOURNAL_FUTURE_MOSTS);
	before = journal_used_bytes(b->journal);
	assert_in_range(before - empty, JOURNAL_FUTURE_MOSTS * JOURNAL_FUTURE_MOST,
		JOURNAL_FUTURE_MOSTS * JOURNAL_FUTURE_MOST + 100 * 1024);
	open_many(b, JOURNAL_FUTURE_MOSTS, 100);
	assert_in_range(journal_used_bytes(b->journal) - before, 100 * JOURNAL_FUTURE,
		100 * JOURNAL_FUTURE + 100 * 1024);
}

static void limit_file_size(rlim_t size)
{
	struct rlimit limit;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The limit stands for a disk with room for what a job writes, and none for a job more. */
static void without_room_a_job_is_not_admitted_and_one_that_was_goes_on(void **state)
{
	struct bench *b = *state;
	struct journal_change *c;
	Journal__OpenJob other = JOURNAL__OPEN_JOB__INIT;
	uint8_t id[JOB_ID_SIZE] = {9};
	char *path = file_join(b->dir, "data.mdb");
	struct stat st;
	commit(b, with_open(b, 0));
	assert_int_equal(stat(path, &st), 0);
	limit_file_size((rlim_t)st.st_size + (1u << 20));
	c = journal_change_new(b->journal);
	other.state = JOURNAL__JOB_STATE__STATE_INTENT;
	journal_change_open(c, cc_view_of(id, sizeof id), &other);
	journal_commit(c, on_done, b);
	loop_run(b->loop);
	assert_int_equal(b->result, CC_FULL);
	fill(b, 200 * 1000);           /* ISSUED: its chain */
	commit(b, with_open(b, 1000)); /* an INTENT of a job that is open is no admission */
	limit_file_size(RLIM_INFINITY);
	assert_int_equal(count_open(b), 1);
	free(path);
}

/* ---- formats ---- */

/* As release 1 wrote it: the settlement in `code`. */
static void put_format_1(struct bench *b, const char *code)
{
	uint8_t digest[32] = {0};
	MDB_txn *txn = NULL;
	struct db *d = journal_db(b->journal);
	Journal__JournalMeta *meta = NULL;
	Journal__OpenJob record = JOURNAL__OPEN_JOB__INIT;
	cc_blob packed;
	assert_int_equal(mdb_txn_begin(db_env(d), NULL, 0, &txn), 0);
	assert_int_equal(journal_read_meta(d, txn, &meta), CC_OK);
	meta->format = 1;
	assert_int_equal(journal_write_meta(d, txn, meta), CC_OK);
	codec_free(meta);
	record.state = JOURNAL__JOB_STATE__STATE_SETTLING;
	record.code = codec_text(code);
	record.csr_sha256 = codec_bytes(cc_view_of(digest, 32));
	packed = codec_pack(&record);
	assert_int_equal(db_put(d, txn, JOURNAL_DB_OPEN, job_1(), cc_blob_view(&packed)), CC_OK);
	assert_int_equal(mdb_txn_commit(txn), 0);
	cc_blob_free(&packed);
}

static cc_err take_settlement(void *arg, cc_view job_id, const Journal__OpenJob *record)
{
	uint32_t *settle = arg;
	(void)job_id;
	assert_int_equal(record->code.len, 0);
	*settle = record->settle;
	return CC_OK;
}

static void a_journal_of_format_1_is_brought_up_to_this_one(void **state)
{
	struct bench *b = *state;
	uint32_t settle = 0;
	uint8_t id[JOURNAL_ID_SIZE];
	memcpy(id, journal_id(b->journal).data, sizeof id);
	put_format_1(b, "in_doubt");
	reopen(b);
	assert_int_equal(journal_each_open(b->journal, take_settlement, &settle), CC_OK);
	assert_int_equal(settle, 5); /* IN_DOUBT of the protocol */
	assert_memory_equal(journal_id(b->journal).data, id, sizeof id);
	settle = 0;
	reopen(b); /* once only */
	assert_int_equal(journal_each_open(b->journal, take_settlement, &settle), CC_OK);
	assert_int_equal(settle, 5);
}

static void a_doubt_that_is_cleared_up_is_gone(void **state)
{
	struct bench *b = *state;
	Journal__Doubt doubt = JOURNAL__DOUBT__INIT;
	size_t count = 0;
	struct journal_change *c = journal_change_new(b->journal);
	doubt.ca = codec_text("ca-one");
	journal_change_doubt(c, job_1(), &doubt);
	doubt.ca = codec_text("ca-two");
	journal_change_doubt(c, job_1(), &doubt);
	commit(b, c);
	c = journal_change_new(b->journal);
	journal_change_no_doubt(c, job_1(), cc_view_text("ca-one"));
	journal_change_no_doubt(c, job_1(), cc_view_text("ca-three")); /* none: no matter */
	commit(b, c);
	assert_int_equal(journal_count_doubts(b->journal, &count), CC_OK);
	assert_int_equal(count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_journal_of_format_1_is_brought_up_to_this_one, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_doubt_that_is_cleared_up_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_journal_keeps_its_id, setup, teardown),
		cmocka_unit_test_setup_teardown(a_journal_is_open_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_journal_of_another_format_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_was_committed_is_there_after_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_change_that_is_under_way_at_the_end_is_finished, setup, teardown),
		cmocka_unit_test_setup_teardown(the_nonce_of_a_session_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(a_timer_moves_with_its_job, setup, teardown),
		cmocka_unit_test_setup_teardown(
			of_a_finished_job_only_header_and_result_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_result_goes_after_a_day_and_the_header_after_a_week, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_sweep_leaves_a_job_that_runs_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_second_run_keeps_its_result_for_its_own_day, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_job_that_is_forgotten_leaves_no_trace, setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_audit_head_is_the_end_of_what_has_no_gap, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_record_that_is_sent_again_tells_where_the_chain_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_doubt_is_counted_once_for_each_job_and_ca, setup, teardown),
		cmocka_unit_test_setup_teardown(
			intake_ends_at_four_fifths_and_intent_at_nine_tenths, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_open_job_counts_with_what_it_will_still_need, setup, teardown),
		cmocka_unit_test_setup_teardown(
			many_that_wait_do_not_all_count_with_the_most, setup, teardown),
		cmocka_unit_test_setup_teardown(
			without_room_a_job_is_not_admitted_and_one_that_was_goes_on, setup,
			teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
