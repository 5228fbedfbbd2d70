/*
 * Supervisor: what happens when a child is ready, changes, speaks, or ends.
 *
 * The keyvault is first, because the runners need the public half of its approval key; runners and
 * connector start when it is ready, and stay up when it is restarted later.
 */
#include "connector/supervisor_int.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/role.h"
#include "base/sandbox.h"
#include "connector/listener.h"
#include "connector/notify.h"
#include "connector/state_dirs.h"
#include "proto/codec.h"
#include <errno.h>
#include "base/hash.h"
#include <fcntl.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_FIRST_MS 10000 /* the connector finishes what it has in hand */
#define STOP_REST_MS  5000
#define ALIVE_MS      30000 /* older than this: systemd is not told that all is well */

/* ---- what the children are told ---- */

static void tell_pids(struct supervisor *s)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__RolePids pids = ROLE__ROLE_PIDS__INIT;
	uint32_t *list;

	if (child_state(s->keyvault) != CHILD_READY)
		return;
	/* after a reload, runners that are ending stand beside the new ones */
	list = cc_alloc(s->child_count * sizeof(*list));
	for (size_t i = 0; i < s->child_count; i++) {
		if (child_pid(s->children[i]) != 0)
			list[pids.n_pids++] = (uint32_t)child_pid(s->children[i]);
	}
	pids.pids = list;
	m.body_case = ROLE__LINK_MESSAGE__BODY_ROLE_PIDS;
	m.role_pids = &pids;
	child_send(s->keyvault, &m, NULL, 0);
	free(list);
}

static void tell_state(struct supervisor *s, const struct child *c)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__ChildState state = ROLE__CHILD_STATE__INIT;

	if (child_state(s->connector) != CHILD_READY)
		return;
	state.role = child_role(c);
	state.name = (char *)(uintptr_t)child_name(c);
	state.state = (char *)(uintptr_t)child_state_name(c);
	state.restarts = child_restarts(c);
	state.last_exit = (char *)(uintptr_t)child_last_exit(c);
	state.pid = (uint32_t)child_pid(c);
	m.body_case = ROLE__LINK_MESSAGE__BODY_CHILD_STATE;
	m.child_state = &state;
	child_send(s->connector, &m, NULL, 0);
}

/* ---- children's events ---- */

static cc_err on_setup(void *arg, struct child *c, struct child_setup *ret)
{
	struct supervisor *s = arg;
	struct setup_source source = supervisor_source(s);

	return setup_make(&source, child_role(c), child_name(c), ret);
}

static bool is_up(const struct child *c)
{
	return child_state(c) == CHILD_STARTING || child_state(c) == CHILD_READY;
}

/* A keyvault that comes back with another approval key (its store was replaced) makes every
 * runner's copy wrong.  One that is ending stays so: its CA may be gone from the configuration. */
static cc_err take_approval_key(struct supervisor *s, const Role__Ready *r)
{
	cc_view spki = codec_view(r->approval_spki);

	if (spki.size == 0 || spki.size > 4096)
		return cc_fail(CC_PROTOCOL, "keyvault: no approval key in its ready");
	if (cc_view_equal(spki, cc_blob_view(&s->approval_spki)))
		return CC_OK;
	cc_blob_free(&s->approval_spki);
	s->approval_spki = cc_blob_copy(spki);
	for (size_t i = 0; i < s->child_count; i++) {
		if (child_role(s->children[i]) == ROLE__ROLE_KIND__ROLE_CA_RUNNER &&
			is_up(s->children[i]))
			child_restart(s->children[i], STOP_REST_MS);
	}
	return CC_OK;
}

static cc_err on_ready(void *arg, struct child *c, const Role__Ready *r)
{
	struct supervisor *s = arg;

	if (c == s->keyvault) {
		cc_err err = take_approval_key(s, r);
		if (err != CC_OK)
			return err;
	}
	if (r->sandbox_abi == 0)
		log_event(EV_WALLS_REDUCED, LV_TEXT("child", child_name(c)),
			LV_TEXT("reason", "this kernel has no Landlock"));
	return CC_OK;
}

static void start_the_rest(struct supervisor *s)
{
	for (size_t i = 0; i < s->child_count; i++) {
		if (child_state(s->children[i]) == CHILD_STOPPED)
			child_start(s->children[i]);
	}
}

static void say_ready(struct supervisor *s)
{
	if (s->told_ready || child_state(s->keyvault) != CHILD_READY ||
		child_state(s->connector) != CHILD_READY)
		return;
	s->told_ready = true;
	cc_ignore(notify_send("READY=1"), "systemd times out and says so itself");
}

static void on_changed(void *arg, struct child *c)
{
	struct supervisor *s = arg;

	conversations_child_changed(s->conversations, c);
	tell_pids(s);
	tell_state(s, c);
	if (s->stopping || child_state(c) != CHILD_READY)
		return;
	if (c == s->keyvault)
		start_the_rest(s);
	if (c == s->connector) {
		for (size_t i = 0; i < s->child_count; i++)
			tell_state(s, s->children[i]);
	}
	say_ready(s);
}

static void on_message(void *arg, struct child *c, const Role__LinkMessage *m)
{
	struct supervisor *s = arg;

	if (m->body_case == ROLE__LINK_MESSAGE__BODY_CONVERSATION_LOST)
		conversations_lost(s->conversations, c, m->conversation_lost);
	else if (m->body_case == ROLE__LINK_MESSAGE__BODY_RELOAD && c == s->connector)
		loop_timer_set(s->reload_timer, 0); /* not from inside the child's own callback */
	else
		child_kill(c, "it said on its link what its role may not");
}

static const struct child_events child_events = {
	.setup = on_setup,
	.message = on_message,
	.ready = on_ready,
	.changed = on_changed,
};

struct child *supervisor_add_child(struct supervisor *s, Role__RoleKind role, const char *name)
{
	struct child *c = child_new(s->loop, role, name, &child_events, s);

	s->children = cc_realloc(s->children, (s->child_count + 1) * sizeof(struct child *));
	s->children[s->child_count++] = c;
	return c;
}

void supervisor_add_runner(struct supervisor *s, const char *name)
{
	struct child *c = supervisor_add_child(s, ROLE__ROLE_KIND__ROLE_CA_RUNNER, name);

	conversations_permit(s->conversations, s->connector, c);
}

struct setup_source supervisor_source(const struct supervisor *s)
{
	return (struct setup_source){
		.config = s->config,
		.walls = &s->walls,
		.build_id = s->build_id,
		.control_fd = s->control_fd,
		.admin_fd = s->admin_fd,
		.approval_spki = cc_blob_view(&s->approval_spki),
	};
}

/* ---- ending ---- */

static void go_on_stopping(struct supervisor *s)
{
	bool all = true;

	if (child_state(s->connector) != CHILD_STOPPED)
		return;
	for (size_t i = 0; i < s->child_count; i++) {
		struct child *c = s->children[i];
		if (child_state(c) != CHILD_STOPPED && child_state(c) != CHILD_STOPPING)
			child_stop(c, STOP_REST_MS);
		all = all && child_state(c) == CHILD_STOPPED;
	}
	if (all)
		loop_stop(s->loop);
}

static void begin_stopping(struct supervisor *s)
{
	if (s->stopping) { /* asked again: no more patience */
		for (size_t i = 0; i < s->child_count; i++)
			child_kill(s->children[i], "the daemon was told to end twice");
		return;
	}
	s->stopping = true;
	cc_ignore(notify_send("STOPPING=1"), "it ends anyway");
	child_stop(s->connector, STOP_FIRST_MS);
	go_on_stopping(s);
}

/* ---- signals and timers ---- */

static void reap(struct supervisor *s)
{
	int status = 0;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < s->child_count; i++) {
			if (child_pid(s->children[i]) == pid) {
				child_ended(s->children[i], status);
				break;
			}
		}
	}
	supervisor_forget_removed(s);
	if (s->stopping)
		go_on_stopping(s);
}

static void on_signal(void *arg, int signal)
{
	struct supervisor *s = arg;

	if (signal == SIGCHLD)
		reap(s);
	else if (signal == SIGHUP)
		supervisor_reload(s);
	else
		begin_stopping(s);
}

static void on_reload(void *arg)
{
	supervisor_reload(arg);
}

/* Children that are down are being dealt with; one that is up and silent is not. */
static void on_watchdog(void *arg)
{
	struct supervisor *s = arg;
	int64_t now = clock_boottime_ms();
	bool well = true;

	for (size_t i = 0; i < s->child_count; i++) {
		const struct child *c = s->children[i];
		if (child_pid(c) != 0 && now - child_alive_ms(c) > ALIVE_MS)
			well = false;
	}
	if (well)
		cc_ignore(notify_send("WATCHDOG=1"), "systemd acts on its absence");
	loop_timer_set(s->watchdog_timer, notify_watchdog_ms());
}

/* ---- start and end ---- */

static cc_err compute_build_id(char ret[33])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t digest[SHA256_SIZE], room[65536];
	EVP_MD_CTX *md = NULL;
	ssize_t got = 0;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	cc_err err = CC_OK;

	ENSURE(fd >= 0, cc_fail_errno("/proc/self/exe"));
	md = EVP_MD_CTX_new();
	ENSURE(md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1,
		cc_fail_openssl("build id"));
	while ((got = read(fd, room, sizeof(room))) > 0)
		ENSURE(EVP_DigestUpdate(md, room, (size_t)got) == 1, cc_fail_openssl("build id"));
	ENSURE(got == 0, cc_fail_errno("/proc/self/exe"));
	ENSURE(EVP_DigestFinal_ex(md, digest, NULL) == 1, cc_fail_openssl("build id"));
	for (size_t i = 0; i < 16; i++) {
		ret[2 * i] = hex[digest[i] >> 4];
		ret[2 * i + 1] = hex[digest[i] & 15];
	}
	ret[32] = '\0';
out:
	EVP_MD_CTX_free(md);
	if (fd >= 0)
		close(fd);
	return err;
}

static cc_err judge_walls(struct supervisor *s)
{
	walls_judge(s->config, &s->walls);
	if (s->walls.full) {
		log_event(EV_WALLS_FULL, LV_U64("runners", s->config->ca_count));
		return CC_OK;
	}
	if (s->config->walls == WALLS_REQUIRE)
		return cc_fail(CC_CONFIG,
			"walls: reduced: %s; give each role its own user (users:), or write walls: "
			"allow_reduced",
			s->walls.why);
	log_event(EV_WALLS_REDUCED, LV_TEXT("reason", s->walls.why));
	return CC_OK;
}

static cc_err open_socket(struct supervisor *s, const char *name, int *ret_fd)
{
	gid_t group = s->config->admin_group_given ? s->config->admin_group : (gid_t)-1;
	char *path = file_join(s->config->run_dir, name);
	bool shared = false;
	cc_err err = listener_open(path, group, ret_fd, &shared);

	if (err == CC_OK && s->config->admin_group_given && !shared)
		log_event(EV_ADMIN_GROUP_NOT_SET, LV_TEXT("socket", path), LV_U64("gid", group));
	free(path);
	return err;
}

static void remove_socket(const struct supervisor *s, const char *name, int fd)
{
	char *path;

	if (fd < 0)
		return;
	close(fd);
	path = file_join(s->config->run_dir, name);
	unlink(path);
	free(path);
}

static cc_err prepare(struct supervisor *s)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGCHLD, SIGHUP};
	cc_err err = CC_OK;

	TRY(compute_build_id(s->build_id));
	TRY(judge_walls(s));
	TRY(state_dirs_make(s->config));
	TRY(state_dirs_make_master_key(s->config));
	TRY(open_socket(s, SUPERVISOR_CONTROL_SOCKET, &s->control_fd));
	TRY(open_socket(s, SUPERVISOR_ADMIN_SOCKET, &s->admin_fd));
	TRY(loop_new(&s->loop));
	TRY(loop_signals(s->loop, signals, sizeof(signals) / sizeof(signals[0]), on_signal, s));
	s->reload_timer = loop_timer_new(s->loop, on_reload, s);
	s->watchdog_timer = loop_timer_new(s->loop, on_watchdog, s);
	s->conversations = conversations_new(s->loop);
	s->keyvault = supervisor_add_child(s, ROLE__ROLE_KIND__ROLE_KEYVAULT, "keyvault");
	s->connector = supervisor_add_child(s, ROLE__ROLE_KIND__ROLE_CONNECTOR, "connector");
	conversations_permit(s->conversations, s->connector, s->keyvault);
	for (size_t i = 0; i < s->config->ca_count; i++)
		supervisor_add_runner(s, s->config->cas[i].name);
out:
	return err;
}

static void clear(struct supervisor *s)
{
	conversations_free(s->conversations);
	for (size_t i = 0; i < s->child_count; i++)
		child_free(s->children[i]);
	free(s->children);
	loop_timer_free(s->reload_timer);
	loop_timer_free(s->watchdog_timer);
	if (s->config != NULL) {
		remove_socket(s, SUPERVISOR_CONTROL_SOCKET, s->control_fd);
		remove_socket(s, SUPERVISOR_ADMIN_SOCKET, s->admin_fd);
	}
	loop_free(s->loop);
	cc_blob_free(&s->approval_spki);
	config_free(s->config);
}

static int exit_status(cc_err err)
{
	return cc_err_category(err) == CC_CAT_CONFIG ? EXIT_CONFIGURATION : EXIT_FAILED;
}

int supervisor_run(const char *config_path)
{
	struct supervisor s = {.config_path = config_path, .control_fd = -1, .admin_fd = -1};
	cc_err err = CC_OK;

	sandbox_early(false);
	notify_init();
	log_init("supervisor", LOG_LOGFMT, LOG_INFO_);
	TRY(config_read(config_path, &s.config));
	log_init("supervisor", (enum log_format)s.config->log_format,
		(enum log_level)s.config->log_level);
	TRY(prepare(&s));
	log_event(EV_STARTED, LV_TEXT("version", CC_RELEASE), LV_TEXT("build", s.build_id),
		LV_TEXT("config", config_path));
	child_start(s.keyvault);
	if (notify_watchdog_ms() > 0)
		loop_timer_set(s.watchdog_timer, 0);
	loop_run(s.loop);
	log_event(EV_STOPPED, LV_TEXT("config", config_path));
out:
	if (err != CC_OK)
		log_event(exit_status(err) == EXIT_CONFIGURATION ? EV_CONFIG_REFUSED : EV_FATAL,
			LV_ERR(err));
	clear(&s);
	return err == CC_OK ? EXIT_OK : exit_status(err);
}
