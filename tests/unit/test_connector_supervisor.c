/*
 * The supervisor as a process, with small roles in place of the real ones: the supervisor re-executes
 * its own file, which here is this test, so main() plays connector, keyvault and runner by --role.
 * What the roles see they write to stderr; the test waits for those lines and for log lines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/chan.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/role.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "connector/supervisor.h"
#include "proto/codec.h"
#include "proto/greeting.h"
#include "proto/role_link.h"
#include "tests/support/daemon_rig.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 30000

/* ================ the small roles ================ */

#define PEERS_MAX 4

struct talk {
	struct fake *role;
	Role__RoleKind peer;
	char name[64];
	struct chan *chan;
};

struct fake {
	Role__Setup *setup;
	struct loop *loop;
	struct role_link *link;
	struct talk talks[PEERS_MAX];
	size_t talk_count;
	int control;
};

static void say(const struct fake *f, const char *format, ...) CC_PRINTF(2, 3);
static void say(const struct fake *f, const char *format, ...)
{
	char line[512];
	int size = snprintf(line, sizeof(line), "fake %s: ", f->setup->name);
	va_list args;

	va_start(args, format);
	size += vsnprintf(line + size, sizeof(line) - (size_t)size - 1, format, args);
	va_end(args);
	line[size++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)size) < 0)
		_exit(9);
}

static cc_err hear_greeting(void *arg, cc_view frame)
{
	const struct talk *t = arg;

	return greeting_check(frame, t->peer, t->name, t->role->setup->build_id);
}

static cc_err hear(void *arg, cc_view frame)
{
	const struct talk *t = arg;

	say(t->role, "hears %.*s from %s", (int)frame.size, (const char *)frame.data, t->name);
	return CC_OK;
}

static void hear_end(void *arg, cc_err why)
{
	struct talk *t = arg;

	say(t->role, "lost %s (%s)", t->name, cc_err_name(why));
	chan_free(t->chan);
	t->chan = NULL;
	cc_ignore(role_link_lost(t->role->link, t->peer, t->name), "the test sees it");
}

static void converse(struct fake *f, const Role__Conversation *c, int fd)
{
	static const struct chan_events events = {.frame = hear, .closed = hear_end};
	cc_blob greeting = greeting_pack(f->setup->role, f->setup->name, f->setup->build_id);
	size_t i = 0;

	while (i < f->talk_count && strcmp(f->talks[i].name, c->peer_name) != 0)
		i++;
	if (i == f->talk_count)
		f->talk_count++;
	f->talks[i].role = f;
	f->talks[i].peer = c->peer;
	snprintf(f->talks[i].name, sizeof(f->talks[i].name), "%s", c->peer_name);
	chan_free(f->talks[i].chan);
	if (chan_new(f->loop, fd, &events, &f->talks[i], cc_blob_view(&greeting), hear_greeting,
		    &f->talks[i].chan) != CC_OK ||
		chan_send(f->talks[i].chan, cc_view_text("hello")) != CC_OK)
		_exit(9);
	cc_blob_free(&greeting);
}

static void on_message(void *arg, const Role__LinkMessage *m, const int *fds, size_t count)
{
	struct fake *f = arg;

	(void)fds;
	switch (m->body_case) {
	case ROLE__LINK_MESSAGE__BODY_FILES:
		say(f, "files %zu:%s", count, count > 0 ? m->files->descriptors[0] : "");
		break;
	case ROLE__LINK_MESSAGE__BODY_ROLE_PIDS:
		say(f, "pids %zu", m->role_pids->n_pids);
		break;
	case ROLE__LINK_MESSAGE__BODY_CHILD_STATE:
		say(f, "child %s %s %u", m->child_state->name, m->child_state->state,
			m->child_state->restarts);
		break;
	default:
		break;
	}
}

static bool on_conversation(void *arg, const Role__Conversation *c, int fd)
{
	struct fake *f = arg;

	say(f, "conversation with %s, 1 end", c->peer_name);
	converse(f, c, fd);
	return true;
}

static void on_stop(void *arg, uint32_t grace_ms)
{
	struct fake *f = arg;

	(void)grace_ms;
	say(f, "stop");
	loop_stop(f->loop);
}

static void on_ended(void *arg, cc_err why)
{
	struct fake *f = arg;

	(void)why;
	loop_stop(f->loop);
}

/* The connector's commands, one byte a connection to the control socket. */
static void on_control(void *arg, unsigned ready)
{
	struct fake *f = arg;
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__ReloadRequest reload = ROLE__RELOAD_REQUEST__INIT;
	char command = 0;
	int fd = accept4(f->control, NULL, NULL, SOCK_CLOEXEC);

	(void)ready;
	if (fd < 0)
		return;
	if (read(fd, &command, 1) != 1)
		command = 0;
	close(fd);
	if (command == 'L') {
		chan_free(f->talks[0].chan);
		f->talks[0].chan = NULL;
		cc_ignore(role_link_lost(f->link, f->talks[0].peer, f->talks[0].name), "test");
	} else if (command == 'R') {
		m.body_case = ROLE__LINK_MESSAGE__BODY_RELOAD;
		m.reload = &reload;
		cc_ignore(role_link_send(&m), "test");
	} else if (command == 'X') {
		_exit(7);
	}
}

static void tell_descriptor(const struct fake *f, const int fds[LINK_FDS_MAX], const char *name)
{
	int fd = role_link_descriptor(f->setup, fds, name);
	cc_blob content = CC_BLOB_NONE;

	if (fd >= 0 && file_read_fd(fd, name, 4096, &content) == CC_OK)
		say(f, "%s holds %.*s", name, (int)content.size, (const char *)content.data);
	cc_blob_free(&content);
}

static int play(Role__RoleKind kind)
{
	static const struct role_link_events events = {.conversation = on_conversation,
		.stop = on_stop,
		.message = on_message,
		.ended = on_ended};
	struct fake f = {.control = -1};
	struct loop_watch *watch = NULL;
	int fds[LINK_FDS_MAX];

	sandbox_early(false);
	if (role_link_setup(kind, &f.setup, fds) != CC_OK || role_link_user(f.setup) != CC_OK ||
		loop_new(&f.loop) != CC_OK)
		return 9;
	say(&f, "uid %u, walls %s, descriptors %zu", getuid(),
		f.setup->walls_full ? "full" : "reduced", f.setup->n_descriptors);
	tell_descriptor(&f, fds, "approval-key");
	tell_descriptor(&f, fds, "ca-secret");
	tell_descriptor(&f, fds, "policy");
	f.control = role_link_descriptor(f.setup, fds, "control-socket");
	if (f.control >= 0 &&
		loop_watch(f.loop, f.control, LOOP_READ, on_control, &f, &watch) != CC_OK)
		return 9;
	if (role_link_start(f.loop, &events, &f, &f.link) != CC_OK)
		return 9;
	if (role_link_ready(kind == ROLE__ROLE_KIND__ROLE_KEYVAULT
				    ? cc_view_text("the-approval-key")
				    : CC_VIEW_NONE,
		    1) != CC_OK)
		return 9;
	loop_run(f.loop);
	return 0;
}

/* ================ the test ================ */

static int notify = -1; /* systemd's socket, where a test has one */

static int set_up(void **state)
{
	struct daemon_rig *r = cc_alloc(sizeof(*r));

	daemon_rig_make(r, "sup");
	daemon_rig_put(r, "ca.d/corp-ca.secret", "open-sesame", 0600);
	daemon_rig_put(r, "policy.yaml", "version: 1", 0644);
	daemon_rig_configure(r, "walls: allow_reduced");
	*state = r;
	return 0;
}

static void start(struct daemon_rig *r)
{
	char *argv[] = {(char *)(uintptr_t) "test", (char *)(uintptr_t) "--supervisor",
		r->config_path, NULL};

	r->pid = daemon_rig_run(r, "/proc/self/exe", argv);
}

static void await_all_ready(struct daemon_rig *r)
{
	daemon_rig_await(r, "fake connector: hears hello from keyvault");
	daemon_rig_await(r, "fake connector: hears hello from corp-ca");
	daemon_rig_await(r, "fake keyvault: hears hello from connector");
	daemon_rig_await(r, "fake corp-ca: hears hello from connector");
}

static void command(struct daemon_rig *r, char what)
{
	char *path = file_join(r->dir, "run/control.sock");
	int fd = -1;

	assert_int_equal(chan_connect_path(path, WAIT_MS, &fd), CC_OK);
	assert_int_equal(write(fd, &what, 1), 1);
	close(fd);
	free(path);
}

static int tear_down(void **state)
{
	struct daemon_rig *r = *state;

	daemon_rig_clear(r);
	if (notify >= 0)
		close(notify);
	notify = -1;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	free(r);
	return 0;
}

/* ---- starting ---- */

static void every_role_is_started_and_the_conversations_are_passed(void **state)
{
	struct daemon_rig *r = *state;

	start(r);
	await_all_ready(r);
	daemon_rig_await(r, "fake connector: conversation with keyvault, 1 end");
	assert_null(strstr(cc_blob_text(&r->text), "fake keyvault: conversation with corp-ca"));
	daemon_rig_await(r, "fake keyvault: pids 3");
	daemon_rig_await(r, "fake connector: child corp-ca ready 0");
}

static void a_role_gets_its_files_as_descriptors(void **state)
{
	struct daemon_rig *r = *state;

	start(r);
	daemon_rig_await(r, "fake corp-ca: approval-key holds the-approval-key");
	daemon_rig_await(r, "fake corp-ca: ca-secret holds open-sesame");
	daemon_rig_await(r, "fake keyvault: policy holds version: 1");
	daemon_rig_await(r, "fake keyvault: uid");
}

static void the_master_key_is_made_once(void **state)
{
	struct daemon_rig *r = *state;
	char *path = file_join(r->dir, "master.key");
	struct stat st;

	start(r);
	await_all_ready(r);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 32);
	assert_int_equal(st.st_mode & 0777, 0600);
	free(path);
}

static void a_lost_master_key_is_not_made_anew_beside_a_store(void **state)
{
	struct daemon_rig *r = *state;
	char *vault = file_join(r->dir, "state/vault");

	assert_int_equal(file_make_dir(vault, 0755), CC_OK);
	daemon_rig_put(r, "state/vault/a.key", "x", 0600);
	start(r);
	daemon_rig_await(r, "the master key is missing");
	assert_int_equal(daemon_rig_await_end(r), EXIT_CONFIGURATION);
	free(vault);
}

static void a_socket_of_a_dead_daemon_is_replaced_and_a_second_daemon_refused(void **state)
{
	struct daemon_rig *r = *state, second = *r;

	start(r);
	await_all_ready(r);
	second.lines = -1;
	start(&second);
	daemon_rig_await(&second, "another process listens there");
	assert_int_equal(daemon_rig_await_end(&second), EXIT_FAILED);
	close(second.lines);
	cc_blob_free(&second.text);
	kill(r->pid, SIGKILL);
	(void)daemon_rig_await(r, "fake keyvault");
	assert_int_equal(waitpid(r->pid, NULL, 0), r->pid);
	daemon_rig_mark(r);
	start(r);
	await_all_ready(r);
}

static void systemd_is_told(void **state)
{
	struct daemon_rig *r = *state;
	char *path = file_join(r->dir, "notify");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	bool ready = false, watchdog = false;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(notify, (struct sockaddr *)&address, sizeof(address)), 0);
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "200000", 1);
	start(r);
	while (!ready || !watchdog) {
		struct pollfd p = {.fd = notify, .events = POLLIN};
		char text[64] = "";
		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		assert_true(read(notify, text, sizeof(text) - 1) > 0);
		ready = ready || strcmp(text, "READY=1") == 0;
		watchdog = watchdog || strcmp(text, "WATCHDOG=1") == 0;
	}
	free(path);
}

static void the_sockets_are_the_groups_or_their_owners_only(void **state)
{
	struct daemon_rig *r = *state;
	char *path = file_join(r->dir, "run/vault-admin.sock");
	struct stat st;

	start(r);
	await_all_ready(r);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	kill(r->pid, SIGTERM);
	assert_int_equal(daemon_rig_await_end(r), EXIT_OK);
	daemon_rig_configure(r, "walls: allow_reduced\nadmin_group: 61009");
	daemon_rig_mark(r);
	start(r);
	await_all_ready(r);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, geteuid() == 0 ? 0660 : 0600);
	if (geteuid() == 0)
		assert_int_equal(st.st_gid, 61009);
	free(path);
}

/* ---- restarting ---- */

static void a_killed_keyvault_is_started_again_and_its_conversation_renewed(void **state)
{
	struct daemon_rig *r = *state;
	pid_t pid;

	start(r);
	await_all_ready(r);
	pid = daemon_rig_await_pid(r, "child_started", "keyvault");
	daemon_rig_mark(r);
	assert_int_equal(kill(pid, SIGKILL), 0);
	daemon_rig_await(r, "fake connector: lost keyvault");
	daemon_rig_await(r, "child=keyvault");
	daemon_rig_await(r, "reason=\"signal 9\"");
	assert_int_not_equal(daemon_rig_await_pid(r, "child_started", "keyvault"), pid);
	daemon_rig_await(r, "fake connector: conversation with keyvault, 1 end");
	daemon_rig_await(r, "fake connector: hears hello from keyvault");
	daemon_rig_await(r, "fake keyvault: hears hello from connector");
	daemon_rig_await(r, "fake connector: child keyvault ready 1");
	assert_null(strstr(cc_blob_text(&r->text) + r->mark, "fake corp-ca: stop"));
}

static void a_killed_connector_gets_all_its_conversations_again(void **state)
{
	struct daemon_rig *r = *state;

	start(r);
	await_all_ready(r);
	daemon_rig_mark(r);
	command(r, 'X');
	daemon_rig_await(r, "reason=\"exit status 7\"");
	await_all_ready(r);
}

static void a_killed_runner_is_started_again(void **state)
{
	struct daemon_rig *r = *state;
	pid_t pid;

	start(r);
	await_all_ready(r);
	pid = daemon_rig_await_pid(r, "child_started", "corp-ca");
	daemon_rig_mark(r);
	assert_int_equal(kill(pid, SIGKILL), 0);
	daemon_rig_await(r, "fake corp-ca: approval-key holds the-approval-key");
	daemon_rig_await(r, "fake connector: hears hello from corp-ca");
	daemon_rig_await(r, "fake corp-ca: hears hello from connector");
}

static void a_lost_conversation_is_renewed_once(void **state)
{
	struct daemon_rig *r = *state;

	start(r);
	await_all_ready(r);
	daemon_rig_mark(r);
	command(r, 'L'); /* both sides report it */
	daemon_rig_await(r, "fake connector: conversation with");
	daemon_rig_await(r, "fake connector: hears hello from");
	command(r, 'R'); /* a later event that follows on the same link */
	daemon_rig_await(r, "fake connector: stop");
	const char *first = strstr(cc_blob_text(&r->text) + r->mark, "name=conversation_lost");
	assert_non_null(first);
	assert_null(strstr(first + 1, "name=conversation_lost"));
}

/* ---- reload ---- */

static void a_reload_brings_files_and_a_new_runner(void **state)
{
	struct daemon_rig *r = *state;

	start(r);
	await_all_ready(r);
	daemon_rig_mark(r);
	daemon_rig_put(r, "ca.d/backup-ca.yaml", "backend: local\n", 0644);
	daemon_rig_put(r, "pins.yaml", "tenant: contoso", 0644);
	kill(r->pid, SIGHUP);
	daemon_rig_await(r, "fake keyvault: files 2:policy");
	daemon_rig_await(r, "fake connector: stop");
	daemon_rig_await(r, "fake backup-ca: approval-key holds the-approval-key");
	daemon_rig_await(r, "fake connector: hears hello from backup-ca");
	daemon_rig_await(r, "fake connector: hears hello from keyvault");
	assert_null(strstr(cc_blob_text(&r->text) + r->mark, "fake corp-ca: stop"));
}

static void a_reload_ends_a_runner_whose_ca_is_gone(void **state)
{
	struct daemon_rig *r = *state;
	char *path = file_join(r->dir, "ca.d/corp-ca.yaml");

	start(r);
	await_all_ready(r);
	daemon_rig_mark(r);
	assert_int_equal(unlink(path), 0);
	command(r, 'R');
	daemon_rig_await(r, "fake corp-ca: stop");
	daemon_rig_await(r, "fake connector: hears hello from keyvault");
	daemon_rig_await(r, "fake keyvault: pids 2");
	free(path);
}

static void a_runner_whose_settings_changed_is_restarted(void **state)
{
	struct daemon_rig *r = *state;

	start(r);
	await_all_ready(r);
	daemon_rig_mark(r);
	daemon_rig_put(r, "ca.d/corp-ca.yaml",
		"backend: local\nsecret: corp-ca.secret\ncrl_validity: 3d\n", 0644);
	kill(r->pid, SIGHUP);
	daemon_rig_await(r, "fake corp-ca: stop");
	daemon_rig_await(r, "fake corp-ca: ca-secret holds open-sesame");
	daemon_rig_await(r, "fake connector: hears hello from corp-ca");
}

static void a_bad_configuration_is_told_and_the_old_one_goes_on(void **state)
{
	struct daemon_rig *r = *state;

	start(r);
	await_all_ready(r);
	daemon_rig_mark(r);
	daemon_rig_put(r, "ca.d/corp-ca.yaml", "secret: [\n", 0644);
	kill(r->pid, SIGHUP);
	daemon_rig_await(r, "name=config_refused");
	command(r, 'X'); /* everything still works */
	daemon_rig_await(r, "fake connector: hears hello from corp-ca");
	assert_null(strstr(cc_blob_text(&r->text) + r->mark, "fake corp-ca: stop"));
}

/* ---- ending ---- */

static void sigterm_ends_the_connector_first_and_then_all(void **state)
{
	struct daemon_rig *r = *state;
	const char *connector, *keyvault;
	char *path = file_join(r->dir, "run/control.sock");

	start(r);
	await_all_ready(r);
	daemon_rig_mark(r);
	kill(r->pid, SIGTERM);
	assert_int_equal(daemon_rig_await_end(r), EXIT_OK);
	connector = strstr(cc_blob_text(&r->text) + r->mark, "fake connector: stop");
	keyvault = strstr(cc_blob_text(&r->text) + r->mark, "fake keyvault: stop");
	assert_non_null(connector);
	assert_non_null(keyvault);
	assert_true(connector < keyvault);
	assert_non_null(strstr(cc_blob_text(&r->text) + r->mark, "fake corp-ca: stop"));
	assert_non_null(strstr(cc_blob_text(&r->text) + r->mark, "name=stopped"));
	assert_int_equal(access(path, F_OK), -1);
	free(path);
}

static void the_roles_end_when_the_supervisor_is_killed(void **state)
{
	struct daemon_rig *r = *state;

	start(r);
	await_all_ready(r);
	kill(r->pid, SIGKILL);
	assert_int_equal(daemon_rig_await_end(r), 128);
}

/* ---- walls ---- */

static void reduced_walls_are_refused_unless_they_are_allowed(void **state)
{
	struct daemon_rig *r = *state;

	daemon_rig_configure(r, "walls: require");
	start(r);
	daemon_rig_await(r, "walls: reduced: no users are configured");
	assert_int_equal(daemon_rig_await_end(r), EXIT_CONFIGURATION);
}

static void reduced_walls_are_told_at_the_start(void **state)
{
	struct daemon_rig *r = *state;

	start(r);
	daemon_rig_await(r, "name=walls_reduced");
	daemon_rig_await(r, "walls reduced, descriptors");
}

static void each_role_has_its_own_user_behind_full_walls(void **state)
{
	struct daemon_rig *r = *state;

	if (geteuid() != 0) {
		print_message("SKIPPED: full walls need root\n");
		skip();
	}
	daemon_rig_configure(r, "users: {connector: 61001, keyvault: 61002, ca: 61003}");
	start(r);
	await_all_ready(r);
	daemon_rig_await(r, "name=walls_full");
	daemon_rig_await(r, "fake connector: uid 61001, walls full");
	daemon_rig_await(r, "fake keyvault: uid 61002, walls full");
	daemon_rig_await(r, "fake corp-ca: uid 61003, walls full");
}

static void two_runners_that_share_a_user_are_refused(void **state)
{
	struct daemon_rig *r = *state;

	daemon_rig_put(r, "ca.d/backup-ca.yaml", "backend: local\n", 0644);
	daemon_rig_configure(r, "users: {connector: 61001, keyvault: 61002, ca: 61003}");
	start(r);
	daemon_rig_await(r, "backup-ca and corp-ca share one user");
	assert_int_equal(daemon_rig_await_end(r), EXIT_CONFIGURATION);
}

static void a_missing_configuration_is_an_exit_status_of_its_own(void **state)
{
	struct daemon_rig *r = *state;

	daemon_rig_configure(r, "wals: require");
	start(r);
	daemon_rig_await(r, "connector.yaml:3:1");
	assert_int_equal(daemon_rig_await_end(r), EXIT_CONFIGURATION);
}

static int dispatch_role(const char *role)
{
	if (strcmp(role, "keyvault") == 0)
		return play(ROLE__ROLE_KIND__ROLE_KEYVAULT);
	if (strcmp(role, "connector") == 0)
		return play(ROLE__ROLE_KIND__ROLE_CONNECTOR);
	return play(ROLE__ROLE_KIND__ROLE_CA_RUNNER);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(every_role_is_started_and_the_conversations_are_passed),
		TEST(a_role_gets_its_files_as_descriptors),
		TEST(the_master_key_is_made_once),
		TEST(a_lost_master_key_is_not_made_anew_beside_a_store),
		TEST(a_socket_of_a_dead_daemon_is_replaced_and_a_second_daemon_refused),
		TEST(systemd_is_told),
		TEST(the_sockets_are_the_groups_or_their_owners_only),
		TEST(a_killed_keyvault_is_started_again_and_its_conversation_renewed),
		TEST(a_killed_connector_gets_all_its_conversations_again),
		TEST(a_killed_runner_is_started_again),
		TEST(a_lost_conversation_is_renewed_once),
		TEST(a_reload_brings_files_and_a_new_runner),
		TEST(a_reload_ends_a_runner_whose_ca_is_gone),
		TEST(a_runner_whose_settings_changed_is_restarted),
		TEST(a_bad_configuration_is_told_and_the_old_one_goes_on),
		TEST(sigterm_ends_the_connector_first_and_then_all),
		TEST(the_roles_end_when_the_supervisor_is_killed),
		TEST(reduced_walls_are_refused_unless_they_are_allowed),
		TEST(reduced_walls_are_told_at_the_start),
		TEST(each_role_has_its_own_user_behind_full_walls),
		TEST(two_runners_that_share_a_user_are_refused),
		TEST(a_missing_configuration_is_an_exit_status_of_its_own),
	};

	if (argc >= 3 && strcmp(argv[1], ROLE_OPTION) == 0)
		return dispatch_role(argv[2]);
	if (argc == 3 && strcmp(argv[1], "--supervisor") == 0)
		return supervisor_run(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
