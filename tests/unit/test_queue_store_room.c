/*
 * Room for the ends of open jobs: a new job has to get it, one that was accepted has it, and what ended
 * gives it back.  The disk's end is a limit of the file's size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/db.h"
#include "tests/support/store_rig.h"
#include "tests/support/store_rig_jobs.h"

#include <sys/resource.h>
#include <sys/stat.h>

#define KIB    1024u
#define COPIES (2048u * KIB) /* kept by db_reserve beside what it is asked for */

static void limit_to(rlim_t size)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* So much more than the store's file has now. */
static void leave(const struct rig *r, uint64_t bytes)
{
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s/data.mdb", r->dir);
	assert_int_equal(stat(path, &st), 0);
	limit_to((rlim_t)st.st_size + bytes);
}

static int tear_down(void **state)
{
	limit_to(RLIM_INFINITY);
	return rig_teardown(state);
}

static uint32_t enqueue_until_full(struct rig *r, uint32_t first)
{
	for (uint32_t job = first; job < first + 200; job++) {
		struct store_enqueue_out out = rig_enqueue(r, rig_new_job(r, job, STORE_ISSUE));
		if (out.err == CC_FULL)
			return job - first;
		assert_int_equal(out.err, CC_OK);
		assert_int_equal(out.result, STORE_NEW);
	}
	fail_msg("every job was accepted");
	return 0;
}

static void finish(struct rig *r, struct rig_conn *c, uint32_t job)
{
	uint32_t epoch = rig_take_one(r, c, job);

	assert_int_equal(rig_claim_one(r, c, job, epoch), STORE_GRANTED);
	assert_int_equal(rig_succeed(r, HQ1, job, epoch, 1), STORE_STORED);
}

static void without_room_no_job_is_made_and_those_that_are_can_end(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	for (uint32_t job = 1; job <= 3; job++)
		rig_enqueue_job(r, job);
	leave(r, COPIES / 2);
	assert_int_equal(rig_enqueue(r, rig_new_job(r, 4, STORE_ISSUE)).err, CC_FULL);
	assert_int_equal(rig_state(r, 3), STORE_READY);
	for (uint32_t job = 1; job <= 3; job++)
		finish(r, &c, job);
	limit_to(RLIM_INFINITY);
	rig_enqueue_job(r, 4);
	finish(r, &c, 4);
}

static void what_ended_gives_its_room_back(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t made, more;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	finish(r, &c, 1);
	leave(r, COPIES + 400 * KIB);
	made = enqueue_until_full(r, 100);
	assert_in_range(made, 8, 19);
	for (uint32_t job = 100; job < 106; job++)
		finish(r, &c, job);
	more = enqueue_until_full(r, 500);
	assert_in_range(more, 3, 6); /* pages of what ended are used again as they come free */
}

/* As a store of an earlier release has it: what is set aside was never counted. */
static void forget_the_count(struct rig *r)
{
	static const char *const names[] = {"meta"};
	struct db *d = NULL;
	MDB_txn *txn = NULL;
	cc_err err = CC_OK;

	store_close(r->store);
	r->store = NULL;
	assert_int_equal(db_open(r->dir, UINT64_C(1) << 30, names, 1, &d), CC_OK);
	assert_int_equal(db_write_begin(d, &txn), CC_OK);
	assert_int_equal(db_delete(d, txn, 0, cc_view_text("aside")), CC_OK);
	assert_int_equal(db_commit(d, txn, &err), DB_COMMITTED);
	db_close(d);
	rig_open(r);
}

static void a_store_of_an_earlier_release_is_counted_when_it_is_opened(void **state)
{
	struct rig *r = *state;

	for (uint32_t job = 1; job <= 40; job++)
		rig_enqueue_job(r, job);
	forget_the_count(r);
	leave(r, COPIES + 40 * 20 * KIB - 40 * KIB);
	assert_int_equal(rig_enqueue(r, rig_new_job(r, 99, STORE_ISSUE)).err, CC_FULL);
	leave(r, COPIES + 41 * 20 * KIB + 200 * KIB);
	assert_int_equal(rig_enqueue(r, rig_new_job(r, 99, STORE_ISSUE)).result, STORE_NEW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			without_room_no_job_is_made_and_those_that_are_can_end, rig_setup,
			tear_down),
		cmocka_unit_test_setup_teardown(
			what_ended_gives_its_room_back, rig_setup, tear_down),
		cmocka_unit_test_setup_teardown(
			a_store_of_an_earlier_release_is_counted_when_it_is_opened, rig_setup,
			tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
