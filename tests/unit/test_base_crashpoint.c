/*
 * Crash points: a process ends itself by SIGKILL at the pass that was named, at no other, and only the
 * child that was meant is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/crashpoint.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SURVIVED 42

/* How a process ends that reads `setting` and passes the point so often. */
static int end_of(const char *setting, enum crashpoint at, int passes)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		setenv(CRASHPOINT_VARIABLE, setting, 1);
		crashpoint_read_setting();
		if (getenv(CRASHPOINT_VARIABLE) != NULL)
			_exit(1);
		for (int i = 0; i < passes; i++)
			crashpoint_count(at);
		_exit(SURVIVED);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void a_process_ends_at_the_pass_that_was_named(void **state)
{
	(void)state;
	assert_int_equal(end_of("runner.after-submit:1", CRASH_RUNNER_AFTER_SUBMIT, 1), -SIGKILL);
	assert_int_equal(end_of("runner.after-submit:3", CRASH_RUNNER_AFTER_SUBMIT, 3), -SIGKILL);
}

static void it_lives_before_that_pass_and_at_other_places(void **state)
{
	(void)state;
	assert_int_equal(end_of("runner.after-submit:3", CRASH_RUNNER_AFTER_SUBMIT, 2), SURVIVED);
	assert_int_equal(end_of("runner.after-submit:1", CRASH_RUNNER_BEFORE_SUBMIT, 5), SURVIVED);
	assert_int_equal(end_of("runner.after-submit:1", CRASH_NONE, 5), SURVIVED);
}

static void a_wrong_setting_is_an_error(void **state)
{
	static const char *const wrong[] = {"", "runner.after-submit",
		"runner.after-submit:", "runner.after-submit:0", "runner.after-submit:x",
		"no.such-place:1", ":1"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(crashpoint_set(wrong[i]), CC_USAGE);
}

static void every_place_has_a_word_of_its_own(void **state)
{
	(void)state;
	assert_true(CRASH_COUNT > 30);
	for (enum crashpoint i = CRASH_NONE + 1; i < CRASH_COUNT; i++) {
		assert_non_null(strchr(crashpoint_word(i), '.'));
		assert_null(strchr(crashpoint_word(i), ':'));
		for (enum crashpoint k = i + 1; k < CRASH_COUNT; k++)
			assert_string_not_equal(crashpoint_word(i), crashpoint_word(k));
	}
}

/* What this child finds in its environment; the offers are those of one supervisor. */
static const char *offer(const char *role, const char *name, bool first_start)
{
	crashpoint_write_offer(role, name, first_start);
	return getenv(CRASHPOINT_VARIABLE);
}

static void only_the_first_start_of_the_named_child_is_told(void **state)
{
	(void)state;
	setenv(CRASHPOINT_VARIABLE, "corp-ca:runner.after-submit:2", 1);
	assert_null(offer("keyvault", "keyvault", true));
	assert_null(offer("ca-runner", "backup-ca", true));
	assert_string_equal(offer("ca-runner", "corp-ca", true), "runner.after-submit:2");
	assert_null(offer("connector", "connector", true));
	assert_null(offer("ca-runner", "corp-ca", false));
}

/* The inline functions do what the build says: nothing, unless it has crash points. */
static void a_build_without_crash_points_passes_them_by(void **state)
{
	(void)state;
	setenv(CRASHPOINT_VARIABLE, "not even looked at", 1);
	if (!CC_CRASH_POINTS) {
		crashpoint_arm();
		crashpoint_offer("keyvault", "keyvault", true);
		assert_string_equal(getenv(CRASHPOINT_VARIABLE), "not even looked at");
		assert_int_equal(crashpoint_set("vault.before-answer:1"), CC_OK);
		crashpoint_pass(CRASH_VAULT_BEFORE_ANSWER);
	}
	unsetenv(CRASHPOINT_VARIABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_process_ends_at_the_pass_that_was_named),
		cmocka_unit_test(it_lives_before_that_pass_and_at_other_places),
		cmocka_unit_test(a_wrong_setting_is_an_error),
		cmocka_unit_test(every_place_has_a_word_of_its_own),
		cmocka_unit_test(only_the_first_start_of_the_named_child_is_told),
		cmocka_unit_test(a_build_without_crash_points_passes_them_by),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
