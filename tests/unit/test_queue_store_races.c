/*
 * The store's contract under races, the operators' side: takeover, bury, cancel, replay, sweep, settle and
 * resume against a connector's operation or against each other in one batch; and a commit that fails.
 */
#include "tests/support/store_rig_jobs.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { HOUR_MS = 3600 * 1000, ANSWERS = 32 };

/* Answers in the order in which they came. */
struct race {
	struct rig *rig;
	size_t waiting, count;
	cc_err err[ANSWERS];
	enum store_result result[ANSWERS];
};

static void note(struct race *a, cc_err err, enum store_result result)
{
	assert_true(a->count < ANSWERS);
	a->err[a->count] = err;
	a->result[a->count++] = result;
	if (--a->waiting == 0)
		rig_answered(a->rig);
}

#define ANSWER(name)                                                                               \
	static void on_##name(void *arg, const struct store_##name##_out *out)                     \
	{                                                                                          \
		note(arg, out->err, out->result);                                                  \
	}
ANSWER(enqueue)
ANSWER(complete)
ANSWER(lease)
ANSWER(cancel)
ANSWER(bury)
ANSWER(replay)
ANSWER(settle)
ANSWER(takeover)
ANSWER(sweep)
ANSWER(session_resume)

static void on_extend(void *arg, const struct store_extend_out *out)
{
	note(arg, out->err, out->count == 1 ? out->items[0].result : out->result);
}

static struct race begin(struct rig *r, size_t count)
{
	r->answered = false;
	return (struct race){.rig = r, .waiting = count};
}

static void take_job(struct rig *r, struct rig_conn *a, uint32_t job)
{
	rig_enqueue_job(r, job);
	rig_take_one(r, a, job);
}

/* Job 1, claimed by HQ1, who is gone for longer than a takeover takes. */
static void claimed_and_gone(struct rig *r, struct rig_conn *a)
{
	rig_connect(r, a, HQ1);
	take_job(r, a, 1);
	assert_int_equal(rig_claim_one(r, a, 1, 1), STORE_GRANTED);
	rig_hang_up(r, a);
	rig_pass(r, 16 * 60 * 1000);
}

static struct race result_and_takeover(struct rig *r, bool result_first)
{
	struct rig_conn a;

	claimed_and_gone(r, &a);
	struct store_complete_in result = rig_success(r, HQ1, 1, 1, 7);
	struct store_takeover_in takeover = {T, rig_id(r, 1), CC_VIEW_NONE};
	struct race got = begin(r, 2);
	if (result_first)
		store_complete(r->store, &result, on_complete, &got);
	store_takeover(r->store, &takeover, on_takeover, &got);
	if (!result_first)
		store_complete(r->store, &result, on_complete, &got);
	rig_wait(r);
	return got;
}

static void a_result_before_the_takeover_ends_the_job(void **state)
{
	struct rig *r = *state;
	struct race got = result_and_takeover(r, true);

	assert_int_equal(got.result[0], STORE_STORED);
	assert_int_equal(got.result[1], STORE_NOT_DUE);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
}

static void a_result_after_the_takeover_still_wins(void **state)
{
	struct rig *r = *state;
	struct race got = result_and_takeover(r, false);

	assert_int_equal(got.result[0], STORE_OK);
	assert_int_equal(got.result[1], STORE_STORED);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
}

static void of_a_burial_and_a_result_the_first_counts(void **state)
{
	struct rig *r = *state;
	struct rig_conn a;
	struct race got;

	rig_connect(r, &a, HQ1);
	for (uint32_t job = 1; job <= 2; job++) {
		take_job(r, &a, job);
	}
	struct store_bury_in bury[] = {
		{T, rig_id(r, 1), cc_view_text("anna")}, {T, rig_id(r, 2), cc_view_text("anna")}};
	struct store_complete_in first = rig_success(r, HQ1, 1, 1, 7);
	struct store_complete_in second = rig_success(r, HQ1, 2, 1, 8);
	got = begin(r, 4);
	store_bury(r->store, &bury[0], on_bury, &got);
	store_complete(r->store, &first, on_complete, &got);
	store_complete(r->store, &second, on_complete, &got);
	store_bury(r->store, &bury[1], on_bury, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_OK);
	assert_int_equal(got.result[1], STORE_ALREADY_DEAD);
	assert_int_equal(got.result[2], STORE_STORED);
	assert_int_equal(got.result[3], STORE_ALREADY);
}

static void of_two_replays_one_runs_the_job(void **state)
{
	struct rig *r = *state;
	struct rig_conn a;
	struct race got;

	rig_connect(r, &a, HQ1);
	take_job(r, &a, 1);
	assert_int_equal(rig_fail(r, HQ1, 1, 1, STORE_UNSETTLED), STORE_STORED);
	struct store_replay_in replay = {.tenant = T, .job_id = rig_id(r, 1)};
	got = begin(r, 2);
	store_replay(r->store, &replay, on_replay, &got);
	store_replay(r->store, &replay, on_replay, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_OK);
	assert_int_equal(got.result[1], STORE_REFUSED);
	assert_int_equal(rig_state(r, 1), STORE_READY);
	assert_int_equal(r->items[0].run, 2);
}

static void of_a_cancel_and_a_lease_the_first_counts(void **state)
{
	struct rig *r = *state;
	struct rig_conn a;
	struct race got;

	rig_connect(r, &a, HQ1);
	rig_enqueue_job(r, 1);
	struct store_cancel_in cancel = {.tenant = T, .job_id = rig_id(r, 1)};
	struct store_lease_in lease = {.session = a.s, .max_jobs = 4};
	got = begin(r, 2);
	store_cancel(r->store, &cancel, on_cancel, &got);
	store_lease(r->store, &lease, on_lease, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_OK);
	assert_int_equal(got.result[1], STORE_EMPTY);

	rig_enqueue_job(r, 2);
	cancel.job_id = rig_id(r, 2);
	got = begin(r, 2);
	store_lease(r->store, &lease, on_lease, &got);
	store_cancel(r->store, &cancel, on_cancel, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_OK);
	assert_int_equal(got.result[1], STORE_OK);
	assert_int_equal(rig_hints(r, STORE_HINT_GONE, 2), 1);
}

static void of_a_sweep_and_an_extension_the_first_counts(void **state)
{
	struct rig *r = *state;
	struct rig_conn a;
	struct race got;

	rig_connect(r, &a, HQ1);
	rig_enqueue_job(r, 1);
	struct store_lease_id lease = {rig_id(r, 1), rig_take_one(r, &a, 1)};
	struct store_extend_in extend = {a.s, &lease, 1};
	struct store_sweep_in sweep = {0};
	rig_pass(r, RIG_LEASE_MS + 1);
	got = begin(r, 2);
	store_extend(r->store, &extend, on_extend, &got);
	store_sweep(r->store, &sweep, on_sweep, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_KEEP);
	assert_int_equal(rig_state(r, 1), STORE_LEASED);

	rig_pass(r, RIG_LEASE_MS + 1);
	got = begin(r, 2);
	store_sweep(r->store, &sweep, on_sweep, &got);
	store_extend(r->store, &extend, on_extend, &got);
	rig_wait(r);
	assert_int_equal(got.result[1], STORE_LOST);
	assert_int_equal(rig_state(r, 1), STORE_READY);
}

static void of_two_settlements_the_first_is_written(void **state)
{
	struct rig *r = *state;
	struct rig_conn a;
	struct race got;

	rig_connect(r, &a, HQ1);
	take_job(r, &a, 1);
	assert_int_equal(rig_claim_one(r, &a, 1, 1), STORE_GRANTED);
	struct store_settle_in settle = {.tenant = T,
		.connector = HQ1,
		.transport_sha256 = rig_digest(9),
		.job_id = rig_id(r, 1),
		.epoch = 1,
		.ca = cc_view_text("corp-ca"),
		.outcome = STORE_ORPHAN_KEPT};
	got = begin(r, 3);
	store_settle(r->store, &settle, on_settle, &got);
	store_settle(r->store, &settle, on_settle, &got);
	settle.outcome = STORE_NOT_ISSUED;
	store_settle(r->store, &settle, on_settle, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_OK);
	assert_int_equal(got.result[1], STORE_DUPLICATE_SAME);
	assert_int_equal(got.result[2], STORE_CONFLICT);
}

static void of_two_resumes_only_the_newer_connections_counts(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, older;
	struct race got;

	rig_connect(r, &a, HQ1);
	take_job(r, &a, 1);
	older = a;
	rig_redial(r, &a, false);
	struct store_session_resume_in first = {.session = older.s,
		.nonce = cc_view_of(older.nonce, STORE_NONCE_SIZE),
		.last = true};
	struct store_session_resume_in second = {
		.session = a.s, .nonce = cc_view_of(a.nonce, STORE_NONCE_SIZE), .last = true};
	got = begin(r, 2);
	store_session_resume(r->store, &first, on_session_resume, &got);
	store_session_resume(r->store, &second, on_session_resume, &got);
	rig_wait(r);
	assert_int_equal(got.result[0], STORE_SUPERSEDED);
	assert_int_equal(got.result[1], STORE_OK);
	assert_int_equal(rig_state(r, 1), STORE_READY);
}

/* Each connector asks for all that it can get: the tenants' turns alternate all the same. */
static void tenants_take_turns_whatever_one_of_them_has_waiting(void **state)
{
	struct rig *r = *state;
	struct rig_conn a;
	struct race got;

	rig_connect(r, &a, HQ1);
	for (uint32_t job = 1; job <= 200; job++)
		rig_enqueue_job(r, job);
	struct store_tenant_put_in other = {
		.tenant = {.name = cc_view_text("fabrikam"), .job_root = cc_view_text("root")}};
	assert_int_equal(rig_tenant_put(r, other).result, STORE_NEW);
	struct store_enqueue_in job = rig_new_job(r, 1, STORE_ISSUE);
	job.tenant = cc_view_text("fabrikam");
	struct store_lease_in lease = {.session = a.s, .max_jobs = 1000};
	got = begin(r, 3);
	store_lease(r->store, &lease, on_lease, &got);
	store_enqueue(r->store, &job, on_enqueue, &got);
	store_lease(r->store, &lease, on_lease, &got);
	rig_wait(r);
	assert_int_equal(got.result[1], STORE_NEW);
	/* one lease is a turn: never more than so many */
	assert_int_equal(
		rig_stats(r, (struct store_stats_in){T}).jobs[STORE_LEASED], 2 * STORE_LEASE_MAX);
}

/* ---- a commit that fails --------------------------------------------------------------------------- */

static void count_fatal(void *arg, cc_err err)
{
	(void)err;
	(*(size_t *)arg)++;
}

struct store_file {
	char path[128], kept[128];
};

static struct store_file file_of(const char *dir)
{
	struct store_file f;

	snprintf(f.path, sizeof(f.path), "%s/data.mdb", dir);
	snprintf(f.kept, sizeof(f.kept), "%s/kept.mdb", dir);
	return f;
}

/* Every descriptor of the store's file is made one that cannot be written, and the store one that cannot
 * be opened again. */
static void break_file(const char *dir)
{
	int no_writes = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct store_file f = file_of(dir);
	char link[64], target[PATH_MAX];

	for (int fd = 3; fd < 256; fd++) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		ssize_t n = readlink(link, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		if (strcmp(target, f.path) == 0)
			dup2(no_writes, fd);
	}
	if (rename(f.path, f.kept) != 0 || mkdir(f.path, 0700) != 0)
		_exit(4);
}

/* In a process of its own: the store is of no use afterwards. */
static int lose_a_commit(struct rig *r)
{
	struct rig_conn a;
	struct race got;
	size_t fatal = 0;

	store_close(r->store);
	if (store_lmdb_open(r->loop, r->dir, &r->config, count_fatal, &fatal, &r->store) != CC_OK)
		return 1;
	rig_connect(r, &a, HQ1);
	take_job(r, &a, 1);
	break_file(r->dir);
	struct store_complete_in result = rig_success(r, HQ1, 1, 1, 7);
	struct store_enqueue_in job = rig_new_job(r, 2, STORE_ISSUE);
	struct store_lease_in lease = {.session = a.s, .max_jobs = 4};
	got = begin(r, 4);
	store_complete(r->store, &result, on_complete, &got);
	store_enqueue(r->store, &job, on_enqueue, &got);
	store_lease(r->store, &lease, on_lease, &got);
	store_complete(r->store, &result, on_complete, &got);
	rig_wait(r);
	for (size_t i = 0; i < 4; i++) {
		if (got.err[i] == CC_OK || got.result[i] != STORE_RESULT_NONE)
			return 2;
	}
	return r->hint_count == 0 && fatal == 1 ? 0 : 3;
}

static void of_a_commit_that_failed_no_answer_and_no_hint_escapes(void **state)
{
	struct rig *r = *state;
	struct store_file f = file_of(r->dir);
	int status = 0;

	store_close(r->store);
	r->store = NULL;
	pid_t child = fork();
	if (child == 0)
		_exit(lose_a_commit(r));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(rmdir(f.path), 0);
	assert_int_equal(rename(f.kept, f.path), 0);
	rig_open(r);
	assert_int_equal(rig_state(r, 1), STORE_LEASED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_result_before_the_takeover_ends_the_job),
		RIG_TEST(a_result_after_the_takeover_still_wins),
		RIG_TEST(of_a_burial_and_a_result_the_first_counts),
		RIG_TEST(of_two_replays_one_runs_the_job),
		RIG_TEST(of_a_cancel_and_a_lease_the_first_counts),
		RIG_TEST(of_a_sweep_and_an_extension_the_first_counts),
		RIG_TEST(of_two_settlements_the_first_is_written),
		RIG_TEST(of_two_resumes_only_the_newer_connections_counts),
		RIG_TEST(tenants_take_turns_whatever_one_of_them_has_waiting),
		RIG_TEST(of_a_commit_that_failed_no_answer_and_no_hint_escapes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
