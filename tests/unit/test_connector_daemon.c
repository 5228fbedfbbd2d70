/*
 * The daemon with its real roles: all come up, each comes back when it is killed, and SIGTERM ends
 * them.  The program is the one of this build (CC_BUILD_DIR).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "tests/support/daemon_rig.h"
#include <signal.h>
#include <stdlib.h>

struct rig {
	struct daemon_rig d;
	char *program;
};

static char *find_program(void)
{
	const char *build = getenv("CC_BUILD_DIR");

	assert_non_null(build);
	return file_join(build, "connector/certconnectord");
}

static int set_up(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));

	r->program = find_program();
	daemon_rig_make(&r->d, "daemon");
	daemon_rig_configure(
		&r->d, "walls: allow_reduced\nkeyvault: {threads: 1, pool_rsa_2048: 0}");
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	daemon_rig_clear(&r->d);
	free(r->program);
	free(r);
	return 0;
}

static pid_t run(struct rig *r, char *const argv[])
{
	return daemon_rig_run(&r->d, r->program, argv);
}

static void init_ca(struct rig *r)
{
	char *argv[] = {r->program, (char *)(uintptr_t) "--init-ca", (char *)(uintptr_t) "--config",
		r->d.config_path, (char *)(uintptr_t) "corp-ca", (char *)(uintptr_t) "--key",
		(char *)(uintptr_t) "ec-p256", NULL};

	assert_int_equal(daemon_rig_await_exit(&r->d, run(r, argv)), 0);
	daemon_rig_await(&r->d, "fingerprint: sha256:");
}

static void start(struct rig *r)
{
	char *argv[] = {r->program, (char *)(uintptr_t) "--config", r->d.config_path, NULL};

	r->d.pid = run(r, argv);
}

static void the_real_roles_come_up_and_come_back(void **state)
{
	struct rig *r = *state;
	static const char *const children[] = {"keyvault", "corp-ca", "connector"};
	pid_t pids[3];

	init_ca(r);
	start(r);
	for (size_t i = 0; i < 3; i++)
		pids[i] = daemon_rig_await_pid(&r->d, "child_ready", children[i]);
	daemon_rig_await(&r->d, "name=crl_made");
	for (size_t i = 0; i < 3; i++) {
		daemon_rig_mark(&r->d);
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		daemon_rig_await(&r->d, "name=child_exited");
		assert_int_not_equal(
			daemon_rig_await_pid(&r->d, "child_ready", children[i]), pids[i]);
	}
	kill(r->d.pid, SIGTERM);
	assert_int_equal(daemon_rig_await_end(&r->d), 0);
}

static void the_configuration_can_be_checked_without_running(void **state)
{
	struct rig *r = *state;
	char *argv[] = {r->program, (char *)(uintptr_t) "--check", (char *)(uintptr_t) "--config",
		r->d.config_path, NULL};

	assert_int_equal(daemon_rig_await_exit(&r->d, run(r, argv)), 0);
	daemon_rig_await(&r->d, "the configuration is fine, 1 CA");
	daemon_rig_put(&r->d, "ca.d/corp-ca.yaml", "secret: x\n", 0644);
	assert_int_equal(daemon_rig_await_exit(&r->d, run(r, argv)), 5);
	daemon_rig_await(&r->d, "corp-ca.yaml:1:1: backend is missing");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			the_real_roles_come_up_and_come_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			the_configuration_can_be_checked_without_running, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
