/*
 * The runner's ledger: one CSR for each job, an issued answer for good, over restarts too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "ca-backends/ledger.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint8_t job_a[16] = {1}, job_b[16] = {2};
static const uint8_t csr_a[SHA256_SIZE] = {0xa}, csr_b[SHA256_SIZE] = {0xb};

struct rig {
	char dir[256];
	struct loop *loop;
	struct ledger *ledger;
	enum ledger_state state;
	cc_err err;
	cc_blob answer;
};

static struct ledger_key key_of(const uint8_t *job, const uint8_t *csr)
{
	return (struct ledger_key){
		cc_view_text("contoso"), cc_view_of(job, 16), cc_view_of(csr, SHA256_SIZE)};
}

static void on_fatal(void *arg, cc_err err)
{
	(void)arg;
	fail_msg("fatal: %s", cc_err_detail(err));
}

static void open_ledger(struct rig *r)
{
	assert_int_equal(ledger_open(r->dir, &r->ledger), CC_OK);
	assert_int_equal(ledger_start(r->ledger, r->loop, on_fatal, r), CC_OK);
}

static int set_up(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));
	const char *tmp = getenv("TMPDIR");

	snprintf(r->dir, sizeof(r->dir), "%s/ledger-XXXXXX", tmp != NULL ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->dir));
	assert_int_equal(loop_new(&r->loop), CC_OK);
	open_ledger(r);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;
	static const char *const names[] = {"data.mdb", "lock.mdb", "LOCK"};

	clock_shift_for_test(0, 0);
	ledger_close(r->ledger);
	loop_free(r->loop);
	for (size_t i = 0; i < 3; i++) {
		char *path = file_join(r->dir, names[i]);
		unlink(path);
		free(path);
	}
	assert_int_equal(rmdir(r->dir), 0);
	cc_blob_free(&r->answer);
	free(r);
	return 0;
}

static void on_claimed(void *arg, cc_err err, enum ledger_state state, cc_view answer)
{
	struct rig *r = arg;

	r->err = err;
	r->state = state;
	cc_blob_free(&r->answer);
	r->answer = cc_blob_copy(answer);
	loop_stop(r->loop);
}

static void on_recorded(void *arg, cc_err err)
{
	struct rig *r = arg;

	r->err = err;
	loop_stop(r->loop);
}

static enum ledger_state claim(struct rig *r, const uint8_t *job, const uint8_t *csr)
{
	struct ledger_key key = key_of(job, csr);

	ledger_claim(r->ledger, &key, true, on_claimed, r);
	loop_run(r->loop);
	assert_int_equal(r->err, CC_OK);
	return r->state;
}

static cc_err record(struct rig *r, const uint8_t *job, const uint8_t *csr, enum ledger_state state,
	const char *answer)
{
	struct ledger_key key = key_of(job, csr);

	ledger_record(r->ledger, &key, state, cc_view_text(answer), on_recorded, r);
	loop_run(r->loop);
	return r->err;
}

static enum ledger_state look_up(struct rig *r, const uint8_t *job, const uint8_t *csr)
{
	struct ledger_key key = key_of(job, csr);
	enum ledger_state state = LEDGER_NEW;

	cc_blob_free(&r->answer);
	assert_int_equal(ledger_find(r->ledger, &key, &state, &r->answer), CC_OK);
	return state;
}

static void a_first_claim_is_new_and_the_second_is_known(void **state)
{
	assert_int_equal(claim(*state, job_a, csr_a), LEDGER_NEW);
	assert_int_equal(claim(*state, job_a, csr_a), LEDGER_ASKED);
	assert_int_equal(claim(*state, job_b, csr_a), LEDGER_NEW);
}

static void another_csr_for_the_same_job_is_other(void **state)
{
	assert_int_equal(claim(*state, job_a, csr_a), LEDGER_NEW);
	assert_int_equal(claim(*state, job_a, csr_b), LEDGER_OTHER);
	assert_int_equal(look_up(*state, job_a, csr_b), LEDGER_OTHER);
}

static void an_issued_answer_is_given_again(void **state)
{
	struct rig *r = *state;

	claim(r, job_a, csr_a);
	assert_int_equal(record(r, job_a, csr_a, LEDGER_ISSUED, "the chain"), CC_OK);
	assert_int_equal(claim(r, job_a, csr_a), LEDGER_ISSUED);
	assert_true(cc_view_equal(cc_blob_view(&r->answer), cc_view_text("the chain")));
	assert_int_equal(look_up(r, job_a, csr_a), LEDGER_ISSUED);
	assert_true(cc_view_equal(cc_blob_view(&r->answer), cc_view_text("the chain")));
}

static void an_issued_answer_is_never_replaced(void **state)
{
	struct rig *r = *state;

	claim(r, job_a, csr_a);
	assert_int_equal(record(r, job_a, csr_a, LEDGER_ISSUED, "first"), CC_OK);
	assert_int_equal(record(r, job_a, csr_a, LEDGER_FREE, "rejected"), CC_OK);
	assert_int_equal(record(r, job_a, csr_a, LEDGER_ISSUED, "second"), CC_OK);
	assert_int_equal(look_up(r, job_a, csr_a), LEDGER_ISSUED);
	assert_true(cc_view_equal(cc_blob_view(&r->answer), cc_view_text("first")));
}

static enum ledger_state claim_to_poll(struct rig *r, const uint8_t *job, const uint8_t *csr)
{
	struct ledger_key key = key_of(job, csr);

	ledger_claim(r->ledger, &key, false, on_claimed, r);
	loop_run(r->loop);
	assert_int_equal(r->err, CC_OK);
	return r->state;
}

static void a_job_for_which_nothing_was_made_may_be_asked_for_again(void **state)
{
	struct rig *r = *state;

	claim(r, job_a, csr_a);
	assert_int_equal(record(r, job_a, csr_a, LEDGER_FREE, "rejected"), CC_OK);
	assert_int_equal(look_up(r, job_a, csr_a), LEDGER_FREE);
	assert_true(cc_view_equal(cc_blob_view(&r->answer), cc_view_text("rejected")));
	assert_int_equal(claim_to_poll(r, job_a, csr_a), LEDGER_FREE);
	assert_int_equal(claim(r, job_a, csr_a), LEDGER_FREE);
	assert_int_equal(look_up(r, job_a, csr_a), LEDGER_ASKED); /* it is on its way */
	assert_int_equal(claim(r, job_a, csr_b), LEDGER_OTHER);
}

static void a_pending_answer_outlives_the_process_until_there_is_a_better_one(void **state)
{
	struct rig *r = *state;

	claim(r, job_a, csr_a);
	assert_int_equal(record(r, job_a, csr_a, LEDGER_PENDING, "cookie"), CC_OK);
	ledger_close(r->ledger);
	open_ledger(r);
	assert_int_equal(claim(r, job_a, csr_a), LEDGER_PENDING);
	assert_true(cc_view_equal(cc_blob_view(&r->answer), cc_view_text("cookie")));
	assert_int_equal(record(r, job_a, csr_a, LEDGER_ISSUED, "chain"), CC_OK);
	assert_int_equal(record(r, job_a, csr_a, LEDGER_PENDING, "late"), CC_OK);
	assert_int_equal(look_up(r, job_a, csr_a), LEDGER_ISSUED);
	assert_true(cc_view_equal(cc_blob_view(&r->answer), cc_view_text("chain")));
}

static void a_job_that_was_asked_for_stays_so_over_a_crash(void **state)
{
	struct rig *r = *state;

	claim(r, job_a, csr_a);
	ledger_close(r->ledger);
	open_ledger(r);
	assert_int_equal(look_up(r, job_a, csr_a), LEDGER_ASKED);
	assert_int_equal(claim(r, job_a, csr_a), LEDGER_ASKED);
}

static void an_answer_for_a_csr_that_was_not_claimed_is_refused(void **state)
{
	struct rig *r = *state;

	claim(r, job_a, csr_a);
	assert_int_equal(record(r, job_a, csr_b, LEDGER_ISSUED, "foreign"), CC_CONFLICT);
	assert_int_equal(look_up(r, job_a, csr_a), LEDGER_ASKED);
}

static void what_was_claimed_and_recorded_outlives_the_process(void **state)
{
	struct rig *r = *state;

	claim(r, job_a, csr_a);
	claim(r, job_b, csr_b);
	assert_int_equal(record(r, job_b, csr_b, LEDGER_ISSUED, "kept"), CC_OK);
	ledger_close(r->ledger);
	open_ledger(r);
	assert_int_equal(claim(r, job_a, csr_b), LEDGER_OTHER);
	assert_int_equal(claim(r, job_b, csr_b), LEDGER_ISSUED);
}

static void an_old_entry_is_forgotten_and_a_young_one_is_kept(void **state)
{
	struct rig *r = *state;

	claim(r, job_a, csr_a);
	clock_shift_for_test((int64_t)(LEDGER_KEEP_S + 60) * 1000, 0);
	claim(r, job_b, csr_b);
	ledger_prune(r->ledger);
	assert_int_equal(claim(r, job_b, csr_b), LEDGER_ASKED); /* after the prune: one order */
	assert_int_equal(look_up(r, job_a, csr_a), LEDGER_NEW);
}

static void on_one_of_many(void *arg, cc_err err, enum ledger_state state, cc_view answer)
{
	size_t *left = arg;

	(void)state;
	(void)answer;
	assert_int_equal(err, CC_OK);
	(*left)--;
}

static void a_prune_goes_on_where_the_last_one_stopped(void **state)
{
	struct rig *r = *state;
	const uint8_t last[16] = {0xff};
	size_t left = 5100; /* more than one prune looks at */
	uint8_t job[16] = {0};

	claim(r, last, csr_a);
	clock_shift_for_test((int64_t)(LEDGER_KEEP_S + 60) * 1000, 0);
	for (size_t i = left; i-- > 0;) {
		struct ledger_key key = key_of(job, csr_a);
		job[1] = (uint8_t)(i >> 8);
		job[2] = (uint8_t)i;
		ledger_claim(r->ledger, &key, true, on_one_of_many, &left);
	}
	claim(r, job_b, csr_b); /* behind all of them */
	assert_int_equal(left, 0);
	for (size_t i = 0; i < 2; i++) {
		ledger_prune(r->ledger);
		claim(r, job_b, csr_b);
	}
	assert_int_equal(look_up(r, last, csr_a), LEDGER_NEW);
	job[1] = job[2] = 0;
	assert_int_equal(look_up(r, job, csr_a), LEDGER_ASKED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_first_claim_is_new_and_the_second_is_known),
		TEST(another_csr_for_the_same_job_is_other),
		TEST(an_issued_answer_is_given_again),
		TEST(an_issued_answer_is_never_replaced),
		TEST(a_job_for_which_nothing_was_made_may_be_asked_for_again),
		TEST(a_pending_answer_outlives_the_process_until_there_is_a_better_one),
		TEST(a_job_that_was_asked_for_stays_so_over_a_crash),
		TEST(an_answer_for_a_csr_that_was_not_claimed_is_refused),
		TEST(what_was_claimed_and_recorded_outlives_the_process),
		TEST(an_old_entry_is_forgotten_and_a_young_one_is_kept),
		TEST(a_prune_goes_on_where_the_last_one_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
