/*
 * What the queue tells of its store: that it cannot be written, once, and that it can again.
 */
#include "tests/support/queue_rig.h"

#include "cloud-queue/queue_int.h"

enum { LOOKS_MAX = 500, LOOK_US = 20000 };

/* The store's first operation is the sweep at the start: nobody has asked the queue anything yet. */
static void fail_the_first_sweep(struct queue *queue)
{
	store_fail_next_for_test(queue->store);
}

static char *read_log(const struct qrig *q)
{
	char *path = file_join(q->dir, "log");
	cc_blob log = CC_BLOB_NONE;
	char *text;

	assert_int_equal(file_read(path, FILE_ANY, 4 << 20, &log), CC_OK);
	text = cc_strndup(cc_blob_view(&log));
	cc_blob_free(&log);
	free(path);
	return text;
}

static size_t count(const char *in, const char *what)
{
	size_t n = 0;

	for (const char *at = in; (at = strstr(at, what)) != NULL; at += strlen(what))
		n++;
	return n;
}

/* The log as it is once `what` is in it; free. */
static char *await_log(const struct qrig *q, const char *what)
{
	char *log = read_log(q);

	for (int i = 0; i < LOOKS_MAX && count(log, what) == 0; i++) {
		usleep(LOOK_US);
		free(log);
		log = read_log(q);
	}
	if (count(log, what) == 0)
		fail_msg("no %s in the log:\n%s", what, log);
	return log;
}

static void a_store_that_fails_is_told_and_so_is_its_end(void **state)
{
	struct qrig *q = *state;
	char *log, *failed, *again, *body;

	log = read_log(q);
	assert_int_equal(count(log, "event=7020"), 0);
	assert_int_equal(count(log, "event=7021"), 0);
	free(log);
	assert_int_equal(qrig_stop(q), 0);
	q->before_run = fail_the_first_sweep;
	qrig_start(q);
	log = await_log(q, "event=7021");
	failed = strstr(log, "event=7020");
	again = strstr(log, "event=7021");
	assert_non_null(failed);
	assert_true(failed < again);
	assert_non_null(strstr(failed, "store: failed for a test")); /* the reason is in the line */
	assert_int_equal(count(log, "event=7020"), 1);
	assert_int_equal(count(log, "event=7021"), 1);
	body = qrig_job(q, "after", "corp-user");
	assert_int_equal(qrig_ask(q, "POST", QRIG_JOBS, body, NULL), 202);
	free(body);
	free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_store_that_fails_is_told_and_so_is_its_end),
	};

	return cmocka_run_group_tests(tests, qrig_setup, qrig_teardown);
}
