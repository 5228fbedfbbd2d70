/*
 * The daemon with its real roles: all come up, each comes back when it is killed, and SIGTERM ends
 * them.  The program is the one of this build (CC_BUILD_DIR).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "tests/support/local_rig.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 60000

struct rig {
	char dir[256];
	char *config_path;
	char *program;
	pid_t pid;
	int lines;
	cc_blob text;
	size_t mark;
};

static char *find_program(void)
{
	const char *build = getenv("CC_BUILD_DIR");

	assert_non_null(build);
	return file_join(build, "connector/certconnectord");
}

static void put(const struct rig *r, const char *name, const char *text)
{
	char *path = file_join(r->dir, name);

	assert_int_equal(file_write_atomic(path, cc_view_text(text), 0644), CC_OK);
	free(path);
}

static int set_up(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));
	const char *tmp = getenv("TMPDIR");
	char *ca_dir, *text;

	*state = r;
	r->lines = -1;
	r->program = find_program();
	/* a role that is sandboxed cannot be traced, which the leak check needs */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	snprintf(r->dir, sizeof(r->dir), "%s/daemon-XXXXXX", tmp != NULL ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->dir));
	r->config_path = file_join(r->dir, "connector.yaml");
	ca_dir = file_join(r->dir, "ca.d");
	assert_int_equal(mkdir(ca_dir, 0755), 0);
	free(ca_dir);
	text = cc_asprintf("state_dir: %s/state\nrun_dir: %s/run\nwalls: allow_reduced\n"
			   "keyvault: {threads: 1, pool_rsa_2048: 0}\n",
		r->dir, r->dir);
	put(r, "connector.yaml", text);
	put(r, "ca.d/corp-ca.yaml", "backend: local\nsecret: corp-ca.secret\n");
	free(text);
	return 0;
}

static pid_t run(struct rig *r, char *const argv[])
{
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		execv(r->program, argv);
		_exit(9);
	}
	close(fds[1]);
	if (r->lines >= 0)
		close(r->lines);
	r->lines = fds[0];
	return pid;
}

static bool read_more(struct rig *r, int64_t until)
{
	struct pollfd p = {.fd = r->lines, .events = POLLIN};
	int64_t left = until - clock_boottime_ms();
	char room[4096];
	ssize_t got;

	if (left <= 0 || poll(&p, 1, (int)left) != 1)
		return false;
	got = read(r->lines, room, sizeof(room));
	if (got <= 0)
		return false;
	cc_blob_append(&r->text, cc_view_of(room, (size_t)got));
	return true;
}

static const char *await(struct rig *r, const char *words)
{
	int64_t until = clock_boottime_ms() + WAIT_MS;

	for (;;) {
		const char *found = strstr(cc_blob_text(&r->text) + r->mark, words);
		if (found != NULL && strchr(found, '\n') != NULL)
			return found + strlen(words);
		if (!read_more(r, until))
			fail_msg("no \"%s\" in:\n%s", words, cc_blob_text(&r->text) + r->mark);
	}
}

static int await_exit(struct rig *r, pid_t pid)
{
	int status = 0;

	while (read_more(r, clock_boottime_ms() + WAIT_MS))
		continue;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static pid_t await_ready(struct rig *r, const char *child)
{
	char words[128];
	const char *at;
	uint64_t pid = 0;

	snprintf(words, sizeof(words), "name=child_ready role=supervisor child=%s pid=", child);
	at = await(r, words);
	assert_int_equal(
		text_to_u64(cc_view_of(at, strspn(at, "0123456789")), 1, INT32_MAX, &pid), CC_OK);
	return (pid_t)pid;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	if (r->pid > 0) {
		kill(r->pid, SIGTERM);
		assert_int_equal(await_exit(r, r->pid), 0);
	}
	if (r->lines >= 0)
		close(r->lines);
	local_rig_remove_tree(r->dir);
	cc_blob_free(&r->text);
	free(r->program);
	free(r->config_path);
	free(r);
	return 0;
}

static void init_ca(struct rig *r)
{
	char *argv[] = {r->program, (char *)(uintptr_t) "--init-ca", (char *)(uintptr_t) "--config",
		r->config_path, (char *)(uintptr_t) "corp-ca", (char *)(uintptr_t) "--key",
		(char *)(uintptr_t) "ec-p256", NULL};

	assert_int_equal(await_exit(r, run(r, argv)), 0);
	await(r, "fingerprint: sha256:");
}

static void start(struct rig *r)
{
	char *argv[] = {r->program, (char *)(uintptr_t) "--config", r->config_path, NULL};

	r->pid = run(r, argv);
}

static void the_real_roles_come_up_and_come_back(void **state)
{
	struct rig *r = *state;
	static const char *const children[] = {"keyvault", "corp-ca", "connector"};
	pid_t pids[3];

	init_ca(r);
	start(r);
	for (size_t i = 0; i < 3; i++)
		pids[i] = await_ready(r, children[i]);
	await(r, "name=crl_made");
	for (size_t i = 0; i < 3; i++) {
		r->mark = r->text.size;
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		await(r, "name=child_exited");
		assert_int_not_equal(await_ready(r, children[i]), pids[i]);
	}
	kill(r->pid, SIGTERM);
	assert_int_equal(await_exit(r, r->pid), 0);
	r->pid = 0;
}

static void the_configuration_can_be_checked_without_running(void **state)
{
	struct rig *r = *state;
	char *argv[] = {r->program, (char *)(uintptr_t) "--check", (char *)(uintptr_t) "--config",
		r->config_path, NULL};

	assert_int_equal(await_exit(r, run(r, argv)), 0);
	await(r, "the configuration is fine, 1 CA");
	put(r, "ca.d/corp-ca.yaml", "secret: x\n");
	assert_int_equal(await_exit(r, run(r, argv)), 5);
	await(r, "corp-ca.yaml:1:1: backend is missing");
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
