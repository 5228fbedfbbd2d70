/*
 * A daemon as a process: its directory, its output, and waiting for words in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/daemon_rig.h"

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

void daemon_rig_make(struct daemon_rig *r, const char *name)
{
	const char *tmp = getenv("TMPDIR");
	char *ca_dir;

	*r = (struct daemon_rig){.lines = -1};
	snprintf(r->dir, sizeof(r->dir), "%s/%s-XXXXXX", tmp != NULL ? tmp : "/tmp", name);
	assert_non_null(mkdtemp(r->dir));
	assert_int_equal(chmod(r->dir, 0755), 0);
	r->config_path = file_join(r->dir, "connector.yaml");
	ca_dir = file_join(r->dir, "ca.d");
	assert_int_equal(mkdir(ca_dir, 0755), 0);
	free(ca_dir);
	daemon_rig_put(r, "ca.d/corp-ca.yaml", "backend: local\nsecret: corp-ca.secret\n", 0644);
}

void daemon_rig_clear(struct daemon_rig *r)
{
	if (r->pid > 0) {
		kill(r->pid, SIGTERM);
		assert_int_equal(daemon_rig_await_end(r), 0);
	}
	if (r->lines >= 0)
		close(r->lines);
	local_rig_remove_tree(r->dir);
	cc_blob_free(&r->text);
	free(r->config_path);
}

void daemon_rig_put(const struct daemon_rig *r, const char *name, const char *text, mode_t mode)
{
	char *path = file_join(r->dir, name);

	assert_int_equal(file_write_atomic(path, cc_view_text(text), mode), CC_OK);
	free(path);
}

void daemon_rig_configure(const struct daemon_rig *r, const char *more)
{
	char *text =
		cc_asprintf("state_dir: %s/state\nrun_dir: %s/run\n%s\n", r->dir, r->dir, more);

	daemon_rig_put(r, "connector.yaml", text, 0644);
	free(text);
}

pid_t daemon_rig_run(struct daemon_rig *r, const char *program, char *const argv[])
{
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		/* neither supervisor nor roles may be traced, which the leak check needs */
		setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
		execv(program, argv);
		_exit(9);
	}
	close(fds[1]);
	if (r->lines >= 0)
		close(r->lines);
	r->lines = fds[0];
	return pid;
}

static bool read_more(struct daemon_rig *r, int64_t until)
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

const char *daemon_rig_await(struct daemon_rig *r, const char *words)
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

pid_t daemon_rig_await_pid(struct daemon_rig *r, const char *name, const char *child)
{
	char words[128];
	const char *at;
	uint64_t pid = 0;

	snprintf(words, sizeof(words), "name=%s role=supervisor child=%s pid=", name, child);
	at = daemon_rig_await(r, words);
	assert_int_equal(
		text_to_u64(cc_view_of(at, strspn(at, "0123456789")), 1, INT32_MAX, &pid), CC_OK);
	return (pid_t)pid;
}

void daemon_rig_mark(struct daemon_rig *r)
{
	r->mark = r->text.size;
}

int daemon_rig_await_exit(struct daemon_rig *r, pid_t pid)
{
	int status = 0;

	while (read_more(r, clock_boottime_ms() + WAIT_MS))
		continue; /* to the end of the pipe: everybody is gone */
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int daemon_rig_await_end(struct daemon_rig *r)
{
	pid_t pid = r->pid;

	r->pid = 0;
	return daemon_rig_await_exit(r, pid);
}
