/*
 * The committer: what is handed over comes back in order and only after it is durable, gathered
 * into few transactions; one bad operation fails alone, and so does one that finds no room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/committer.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024u * 1024u)
#define OPS 1000

static const char *const names[] = {"values"};

struct rig;

struct op {
	struct rig *rig;
	uint32_t number;
	size_t size;     /* of the value */
	cc_err refuse;   /* what apply returns */
	sem_t *hold;     /* apply waits for it */
	sem_t *applying; /* apply posts it */
	int applied;
	int done, dropped;
	cc_err err;
	char detail[200];
};

struct rig {
	char root[64], dir[80];
	struct db *db;
	struct loop *loop;
	struct loop_timer *guard;
	struct committer *committer;
	struct op ops[OPS];
	uint32_t done_count, wait_for;
	uint32_t order_errors;
	int fatal;
	cc_err fatal_err;
	int batches;
	uint32_t done_before_batch;
};

static void guard_due(void *arg)
{
	(void)arg;
	fail_msg("nothing happened within the time");
}

static void on_fatal(void *arg, cc_err err)
{
	struct rig *r = arg;

	r->fatal++;
	r->fatal_err = err;
}

static void on_batch(void *arg)
{
	struct rig *r = arg;

	r->batches++;
	r->done_before_batch = r->done_count;
	if (r->done_count >= r->wait_for)
		loop_stop(r->loop);
}

static void start(struct rig *r, uint64_t map_bytes)
{
	snprintf(r->root, sizeof(r->root), "/tmp/test_base_committer.XXXXXX");
	assert_non_null(mkdtemp(r->root));
	snprintf(r->dir, sizeof(r->dir), "%s/env", r->root);
	assert_int_equal(db_open(r->dir, map_bytes, names, 1, &r->db), CC_OK);
	assert_int_equal(loop_new(&r->loop), CC_OK);
	r->guard = loop_timer_new(r->loop, guard_due, r);
	loop_timer_set(r->guard, 60000);
	assert_int_equal(committer_start(r->db, r->loop, on_fatal, r, &r->committer), CC_OK);
	committer_on_batch(r->committer, on_batch, r);
	for (uint32_t i = 0; i < OPS; i++)
		r->ops[i] = (struct op){.rig = r, .number = i, .size = 8};
}

static int set_up(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));

	start(r, 64 * MIB);
	*state = r;
	return 0;
}

static void finish(struct rig *r)
{
	static const char *const files[] = {"data.mdb", "lock.mdb", "LOCK"};
	char path[128];

	committer_stop(r->committer);
	loop_timer_free(r->guard);
	loop_free(r->loop);
	db_close(r->db);
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", r->dir, files[i]);
		unlink(path);
	}
	rmdir(r->dir);
	rmdir(r->root);
	free(r);
}

static int tear_down(void **state)
{
	finish(*state);
	return 0;
}

static cc_view key_of(const uint32_t *number)
{
	return cc_view_of(number, sizeof(*number));
}

static cc_err apply(struct db *d, MDB_txn *txn, void *arg)
{
	struct op *op = arg;
	cc_blob value = cc_blob_new(op->size);
	cc_err err = CC_OK;

	if (op->applying != NULL)
		sem_post(op->applying);
	if (op->hold != NULL)
		sem_wait(op->hold);
	op->hold = NULL;
	op->applied++;
	err = db_put(d, txn, 0, key_of(&op->number), cc_blob_view(&value));
	if (err == CC_OK && op->refuse != CC_OK)
		err = cc_fail(op->refuse, "operation %u is refused", op->number);
	cc_blob_free(&value);
	return err;
}

static bool is_stored(struct rig *r, const struct op *op)
{
	MDB_txn *txn = NULL;
	cc_view value = CC_VIEW_NONE;
	cc_err err;

	assert_int_equal(db_read_begin(r->db, &txn), CC_OK);
	err = db_get(r->db, txn, 0, key_of(&op->number), &value);
	db_read_end(txn);
	return err == CC_OK;
}

static void done(void *arg, cc_err err)
{
	struct op *op = arg;
	struct rig *r = op->rig;

	op->done++;
	op->err = err;
	if (err != CC_OK)
		snprintf(op->detail, sizeof(op->detail), "%s", cc_err_detail(err));
	if (op->number != r->done_count)
		r->order_errors++;
	r->done_count++;
}

static void submit(struct rig *r, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		committer_submit(r->committer, apply, done, &r->ops[i]);
	r->wait_for = count;
}

/* Let the committer begin with the first operation alone, and gather the others meanwhile. */
static void submit_behind_a_held_one(struct rig *r, uint32_t count)
{
	sem_t hold, applying;

	sem_init(&hold, 0, 0);
	sem_init(&applying, 0, 0);
	r->ops[0].hold = &hold;
	r->ops[0].applying = &applying;
	submit(r, 1);
	sem_wait(&applying);
	for (uint32_t i = 1; i < count; i++)
		committer_submit(r->committer, apply, done, &r->ops[i]);
	r->wait_for = count;
	sem_post(&hold);
	loop_run(r->loop);
	sem_destroy(&hold);
	sem_destroy(&applying);
}

static void done_check_stored(void *arg, cc_err err)
{
	struct op *op = arg;

	assert_true(is_stored(op->rig, op));
	done(arg, err);
}

static void what_is_done_can_be_read(void **state)
{
	struct rig *r = *state;

	r->wait_for = 1;
	committer_submit(r->committer, apply, done_check_stored, &r->ops[0]);
	assert_int_equal(committer_waiting(r->committer), 1);
	loop_run(r->loop);
	assert_int_equal(r->ops[0].done, 1);
	assert_int_equal(r->ops[0].err, CC_OK);
	assert_int_equal(committer_waiting(r->committer), 0);
}

static void effects_come_in_the_order_of_the_operations(void **state)
{
	struct rig *r = *state;

	submit(r, OPS);
	loop_run(r->loop);
	assert_int_equal(r->done_count, OPS);
	assert_int_equal(r->order_errors, 0);
	assert_int_equal(r->done_before_batch, OPS);
}

static void operations_gather_while_a_commit_runs(void **state)
{
	struct rig *r = *state;

	submit_behind_a_held_one(r, 201);
	assert_int_equal(r->done_count, 201);
	assert_int_equal(committer_commits(r->committer), 2);
	assert_int_equal(r->order_errors, 0);
}

static void batch_has_a_limit(void **state)
{
	struct rig *r = *state;

	submit_behind_a_held_one(r, 601);
	assert_int_equal(committer_commits(r->committer), 4); /* 1 + 256 + 256 + 88 */
}

static void one_bad_operation_in_a_batch_fails_alone(void **state)
{
	struct rig *r = *state;

	r->ops[5].refuse = CC_CONFLICT;
	submit_behind_a_held_one(r, 11);
	for (uint32_t i = 0; i < 11; i++) {
		assert_int_equal(r->ops[i].done, 1);
		assert_int_equal(r->ops[i].err, i == 5 ? CC_CONFLICT : CC_OK);
		assert_int_equal(is_stored(r, &r->ops[i]), i != 5);
	}
	assert_string_equal(r->ops[5].detail, "operation 5 is refused");
	assert_int_equal(r->ops[1].applied, 2);
	assert_int_equal(r->order_errors, 0);
	assert_int_equal(r->fatal, 0);
}

static void bad_operation_alone_fails_and_nothing_else_does(void **state)
{
	struct rig *r = *state;

	r->ops[0].refuse = CC_NOT_FOUND;
	submit(r, 1);
	loop_run(r->loop);
	assert_int_equal(r->ops[0].err, CC_NOT_FOUND);
	assert_int_equal(r->ops[0].applied, 1);
	assert_false(is_stored(r, &r->ops[0]));
	assert_int_equal(committer_commits(r->committer), 0);
	assert_int_equal(r->fatal, 0);
}

static void operation_that_fills_the_map_fails_alone(void **state)
{
	struct rig *r = *state;

	r->ops[2].size = 65 * MIB;
	submit_behind_a_held_one(r, 5);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(r->ops[i].err, i == 2 ? CC_FULL : CC_OK);
	assert_int_equal(r->fatal, 0);
}

static void done_and_next(void *arg, cc_err err)
{
	struct op *op = arg;
	struct rig *r = op->rig;

	done(arg, err);
	if (op->number + 1 < r->wait_for)
		committer_submit(r->committer, apply, done_and_next, op + 1);
}

static void done_may_hand_over_more(void **state)
{
	struct rig *r = *state;

	r->wait_for = 10;
	committer_submit(r->committer, apply, done_and_next, &r->ops[0]);
	loop_run(r->loop);
	assert_int_equal(r->done_count, 10);
	assert_int_equal(r->batches, 10);
}

static void done_may_be_left_out(void **state)
{
	struct rig *r = *state;

	committer_submit(r->committer, apply, NULL, &r->ops[0]);
	loop_run(r->loop);
	assert_true(is_stored(r, &r->ops[0]));
	assert_int_equal(committer_waiting(r->committer), 0);
}

static void stop_finishes_what_was_handed_over_without_effects(void **state)
{
	struct rig *r = *state;

	submit(r, 500);
	committer_stop(r->committer);
	r->committer = NULL;
	for (uint32_t i = 0; i < 500; i++)
		assert_true(is_stored(r, &r->ops[i]));
	assert_int_equal(r->done_count, 0);
}

static void drop(void *arg)
{
	struct op *op = arg;

	op->dropped++;
}

static void stop_gives_back_what_was_not_told(void **state)
{
	struct rig *r = *state;

	committer_on_drop(r->committer, drop);
	submit(r, 300);
	loop_run(r->loop);
	assert_int_equal(r->done_count, 300);
	for (uint32_t i = 300; i < 500; i++)
		committer_submit(r->committer, apply, done, &r->ops[i]);
	committer_stop(r->committer);
	r->committer = NULL;
	for (uint32_t i = 0; i < 500; i++)
		assert_int_equal(r->ops[i].dropped, i < 300 ? 0 : 1);
}

/* ---- a commit that fails ---- */

#define CHILD_CHECK(condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                    \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* In a process of its own: the file may not grow, so the writes of a large commit find no room. */
static void fill_the_disk(void)
{
	struct rig *r = cc_alloc(sizeof(*r));
	struct rlimit limit, before;
	struct stat st;
	char path[128];

	start(r, 64 * MIB);
	submit_behind_a_held_one(r, 1);
	CHILD_CHECK(r->ops[0].err == CC_OK);
	snprintf(path, sizeof(path), "%s/data.mdb", r->dir);
	CHILD_CHECK(stat(path, &st) == 0);
	CHILD_CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
	limit = before;
	limit.rlim_cur = (rlim_t)st.st_size;
	CHILD_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);

	r->wait_for = 4;
	for (uint32_t i = 1; i < 4; i++) {
		r->ops[i].size = MIB;
		committer_submit(r->committer, apply, done, &r->ops[i]);
	}
	loop_run(r->loop);
	for (uint32_t i = 1; i < 4; i++)
		CHILD_CHECK(r->ops[i].done == 1 && r->ops[i].err == CC_FULL);
	CHILD_CHECK(strstr(r->ops[1].detail, r->dir) != NULL);
	CHILD_CHECK(strstr(r->ops[1].detail, "RLIMIT_FSIZE") != NULL);
	CHILD_CHECK(r->fatal == 0);

	/* Room again: the same goes through, and only that. */
	CHILD_CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
	r->ops[4].size = MIB;
	r->wait_for = 5;
	committer_submit(r->committer, apply, done, &r->ops[4]);
	loop_run(r->loop);
	CHILD_CHECK(r->ops[4].err == CC_OK && r->fatal == 0);
	CHILD_CHECK(is_stored(r, &r->ops[0]));
	CHILD_CHECK(!is_stored(r, &r->ops[1]));
	CHILD_CHECK(is_stored(r, &r->ops[4]));
	finish(r);
}

static void in_a_process_of_its_own(void (*fn)(void))
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_commit_without_room_changes_nothing_and_the_next_may_succeed(void **state)
{
	(void)state;
	in_a_process_of_its_own(fill_the_disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_done_can_be_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			effects_come_in_the_order_of_the_operations, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			operations_gather_while_a_commit_runs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(batch_has_a_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			one_bad_operation_in_a_batch_fails_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			bad_operation_alone_fails_and_nothing_else_does, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			operation_that_fills_the_map_fails_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(done_may_hand_over_more, set_up, tear_down),
		cmocka_unit_test_setup_teardown(done_may_be_left_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			stop_finishes_what_was_handed_over_without_effects, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			stop_gives_back_what_was_not_told, set_up, tear_down),
		cmocka_unit_test(a_commit_without_room_changes_nothing_and_the_next_may_succeed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
