/*
 * Child: start, watch, end, start again.
 *
 * Between fork and exec only async-signal-safe calls are made.  The child is the same file as we are
 * (/proc/self/exe stays the running one when the file on disk is replaced), so both are one build.
 */
#include "connector/child.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/log.h"
#include "base/role.h"
#include "proto/codec.h"
#include "proto/greeting.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
	struct loop *loop;
	Role__RoleKind role;
	char *name;
	const struct child_events *events;
	void *arg;

	enum child_state state;
	bool again; /* start when it has ended */
	bool at_once;
	pid_t pid;
	int link;
	struct loop_watch *watch;
	struct loop_timer *timer; /* back-off, silence, grace: one at a time */
	cc_blob sent_setup;
	int64_t started_ms, alive_ms, backoff_ms;
	uint32_t restarts;
	char *last_exit;
	const char *killed_for; /* why we ended it ourselves */
};

static void set_state(struct child *c, enum child_state state)
{
	c->state = state;
	c->events->changed(c->arg, c);
}

static void close_link(struct child *c)
{
	loop_unwatch(c->watch);
	c->watch = NULL;
	if (c->link >= 0)
		close(c->link);
	c->link = -1;
}

/* ---- start ---- */

static void exec_role(int link, Role__RoleKind role, const char *name)
{
	const char *kind = greeting_role_name(role);
	char *argv[] = {(char *)(uintptr_t) "certconnectord", (char *)(uintptr_t)ROLE_OPTION,
		(char *)(uintptr_t)kind, (char *)(uintptr_t)name, NULL};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0,
		0); /* a terminal's Ctrl-C reaches the supervisor, which stops the roles in order */
	if (link == LINK_FD) {
		fcntl(link, F_SETFD, 0);
	} else if (dup2(link, LINK_FD) < 0) {
		_exit(EXIT_FAILED);
	}
	close_range(LINK_FD + 1, ~0U, 0);
	execv("/proc/self/exe", argv);
	_exit(EXIT_FAILED);
}

static cc_err spawn(struct child *c)
{
	int pair[2] = {-1, -1};
	pid_t pid;
	cc_err err = CC_OK;

	TRY(link_pair(pair));
	crashpoint_offer(greeting_role_name(c->role), c->name, c->restarts == 0);
	pid = fork();
	ENSURE(pid >= 0, cc_fail_errno("fork"));
	if (pid == 0)
		exec_role(pair[1], c->role, c->name);
	c->pid = pid;
	c->link = pair[0];
	pair[0] = -1;
out:
	for (int i = 0; i < 2; i++) {
		if (pair[i] >= 0)
			close(pair[i]);
	}
	return err;
}

static void on_readable(void *arg, unsigned ready);

static cc_err start_now(struct child *c)
{
	struct child_setup setup = {0};
	int flags;
	cc_err err = CC_OK;

	TRY(c->events->setup(c->arg, c, &setup));
	TRY(spawn(c));
	flags = fcntl(c->link, F_GETFL);
	ENSURE(flags >= 0 && fcntl(c->link, F_SETFL, flags | O_NONBLOCK) == 0,
		cc_fail_errno("link: non-blocking"));
	TRY(loop_watch(c->loop, c->link, LOOP_READ, on_readable, c, &c->watch));
	TRY(link_send(c->link, cc_blob_view(&setup.packet), setup.fds, setup.fd_count));
out:
	for (size_t i = 0; i < setup.fd_count; i++)
		close(setup.fds[i]);
	cc_blob_free(&c->sent_setup);
	c->sent_setup = setup.packet;
	return err;
}

static void back_off(struct child *c)
{
	loop_timer_set(c->timer, c->backoff_ms);
	c->backoff_ms *= 2;
	if (c->backoff_ms > CHILD_BACKOFF_MAX_MS)
		c->backoff_ms = CHILD_BACKOFF_MAX_MS;
	set_state(c, CHILD_BACKING_OFF);
}

void child_start(struct child *c)
{
	cc_err err;

	if (c->pid != 0 || c->state == CHILD_STARTING)
		return;
	c->again = true;
	c->at_once = false;
	c->killed_for = NULL;
	c->started_ms = c->alive_ms = clock_boottime_ms();
	err = start_now(c);
	if (err != CC_OK && c->pid == 0) {
		log_event(EV_CHILD_EXITED, LV_TEXT("child", c->name), LV_ERR(err));
		back_off(c);
		return;
	}
	set_state(c, CHILD_STARTING);
	log_event(EV_CHILD_STARTED, LV_TEXT("child", c->name), LV_I64("pid", c->pid));
	loop_timer_set(c->timer, CHILD_SILENT_MS);
	if (err != CC_OK)
		child_kill(c, "its setup could not be sent");
}

/* ---- messages ---- */

static cc_err handle(struct child *c, const Role__LinkMessage *m)
{
	switch (m->body_case) {
	case ROLE__LINK_MESSAGE__BODY_ALIVE:
		return CC_OK;
	case ROLE__LINK_MESSAGE__BODY_READY:
		if (c->state == CHILD_STOPPING)
			return CC_OK;
		if (c->state != CHILD_STARTING)
			return cc_fail(CC_PROTOCOL, "link: ready twice");
		cc_err err = c->events->ready(c->arg, c, m->ready);
		if (err != CC_OK)
			return err;
		log_event(EV_CHILD_READY, LV_TEXT("child", c->name), LV_I64("pid", c->pid));
		set_state(c, CHILD_READY);
		return CC_OK;
	default:
		c->events->message(c->arg, c, m);
		return CC_OK;
	}
}

static cc_err receive_one(struct child *c)
{
	Role__LinkMessage *m = NULL;
	cc_blob packet = CC_BLOB_NONE;
	int fds[LINK_FDS_MAX];
	size_t count = 0;
	cc_err err = CC_OK;

	TRY(link_receive(c->link, &packet, fds, &count));
	c->alive_ms = clock_boottime_ms();
	ENSURE(count == 0, cc_fail(CC_PROTOCOL, "link: a role passes no descriptors"));
	TRY(codec_decode(
		&role__link_message__descriptor, cc_blob_view(&packet), LINK_PACKET_MAX, &m));
	TRY(handle(c, m));
out:
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	codec_free(m);
	cc_blob_free(&packet);
	return err;
}

static void on_readable(void *arg, unsigned ready)
{
	struct child *c = arg;
	cc_err err = CC_OK;

	(void)ready;
	while (err == CC_OK && c->link >= 0)
		err = receive_one(c);
	if (err == CC_AGAIN || c->link < 0)
		return;
	if (err == CC_CLOSED) {
		close_link(c); /* it is ending; SIGCHLD tells how */
		return;
	}
	log_event(EV_LINK_BROKEN, LV_TEXT("child", c->name), LV_ERR(err));
	child_kill(c, "the link broke");
}

void child_send(struct child *c, const Role__LinkMessage *m, const int *fds, size_t fd_count)
{
	cc_blob packet = CC_BLOB_NONE;
	cc_err err;

	if (c->link < 0)
		return;
	packet = codec_pack(m);
	err = link_send(c->link, cc_blob_view(&packet), fds, fd_count);
	cc_blob_free(&packet);
	if (err == CC_OK || err == CC_CLOSED)
		return; /* closed: it is ending */
	log_event(EV_LINK_BROKEN, LV_TEXT("child", c->name), LV_ERR(err));
	child_kill(c, "it does not read its link");
}

/* ---- end ---- */

void child_kill(struct child *c, const char *why)
{
	if (c->pid == 0)
		return;
	c->killed_for = why;
	close_link(c);
	kill(c->pid, SIGKILL);
}

static void stop(struct child *c, uint32_t grace_ms)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__Stop s = ROLE__STOP__INIT;

	if (c->pid == 0) {
		loop_timer_stop(c->timer);
		if (c->state != CHILD_STOPPED)
			set_state(c, CHILD_STOPPED);
		return;
	}
	s.grace_ms = grace_ms;
	m.body_case = ROLE__LINK_MESSAGE__BODY_STOP;
	m.stop = &s;
	loop_timer_set(c->timer, grace_ms);
	set_state(c, CHILD_STOPPING);
	child_send(c, &m, NULL, 0);
}

void child_stop(struct child *c, uint32_t grace_ms)
{
	c->again = false;
	stop(c, grace_ms);
}

void child_restart(struct child *c, uint32_t grace_ms)
{
	if (c->pid == 0) {
		loop_timer_stop(c->timer);
		child_start(c);
		return;
	}
	c->again = true;
	c->at_once = true;
	stop(c, grace_ms);
}

static void note_exit(struct child *c, int status)
{
	free(c->last_exit);
	if (c->killed_for != NULL)
		c->last_exit = cc_asprintf("killed: %s", c->killed_for);
	else if (WIFSIGNALED(status))
		c->last_exit = cc_asprintf("signal %d", WTERMSIG(status));
	else
		c->last_exit = cc_asprintf("exit status %d", WEXITSTATUS(status));
}

void child_ended(struct child *c, int status)
{
	bool asked = c->state == CHILD_STOPPING;
	pid_t pid = c->pid;

	note_exit(c, status);
	close_link(c);
	c->pid = 0;
	loop_timer_stop(c->timer);
	if (!asked)
		log_event(EV_CHILD_EXITED, LV_TEXT("child", c->name), LV_I64("pid", pid),
			LV_TEXT("reason", c->last_exit));
	if (!c->again) {
		set_state(c, CHILD_STOPPED);
		return;
	}
	c->restarts++;
	if (clock_boottime_ms() - c->started_ms >= CHILD_HEALTHY_MS || c->at_once)
		c->backoff_ms = CHILD_BACKOFF_MIN_MS;
	if (c->at_once) {
		set_state(c, CHILD_BACKING_OFF);
		child_start(c);
	} else {
		back_off(c);
	}
}

/* What the timer means depends on where the child is. */
static void on_timer(void *arg)
{
	struct child *c = arg;
	int64_t silent = clock_boottime_ms() - c->alive_ms;

	switch (c->state) {
	case CHILD_BACKING_OFF:
		child_start(c);
		break;
	case CHILD_STARTING:
		child_kill(c, "it was not ready in time");
		break;
	case CHILD_READY:
		if (silent >= CHILD_SILENT_MS)
			child_kill(c, "it was silent for too long");
		else
			loop_timer_set(c->timer, CHILD_SILENT_MS - silent);
		break;
	case CHILD_STOPPING:
		child_kill(c, "it did not end in time");
		break;
	case CHILD_STOPPED:
		break;
	}
}

/* ---- the object ---- */

struct child *child_new(struct loop *l, Role__RoleKind role, const char *name,
	const struct child_events *events, void *arg)
{
	struct child *c = cc_alloc(sizeof(*c));

	c->loop = l;
	c->role = role;
	c->name = cc_strdup(name);
	c->events = events;
	c->arg = arg;
	c->link = -1;
	c->backoff_ms = CHILD_BACKOFF_MIN_MS;
	c->timer = loop_timer_new(l, on_timer, c);
	c->last_exit = cc_strdup("");
	return c;
}

void child_free(struct child *c)
{
	if (c == NULL)
		return;
	if (c->pid != 0)
		kill(c->pid, SIGKILL);
	close_link(c);
	loop_timer_free(c->timer);
	cc_blob_free(&c->sent_setup);
	free(c->last_exit);
	free(c->name);
	free(c);
}

Role__RoleKind child_role(const struct child *c)
{
	return c->role;
}

const char *child_name(const struct child *c)
{
	return c->name;
}

enum child_state child_state(const struct child *c)
{
	return c->state;
}

const char *child_state_name(const struct child *c)
{
	static const char *const names[] = {
		[CHILD_STOPPED] = "stopped",
		[CHILD_STARTING] = "starting",
		[CHILD_READY] = "ready",
		[CHILD_STOPPING] = "stopping",
		[CHILD_BACKING_OFF] = "backing-off",
	};

	return names[c->state];
}

pid_t child_pid(const struct child *c)
{
	return c->pid;
}

uint32_t child_restarts(const struct child *c)
{
	return c->restarts;
}

const char *child_last_exit(const struct child *c)
{
	return c->last_exit;
}

cc_view child_sent_setup(const struct child *c)
{
	return cc_blob_view(&c->sent_setup);
}

int64_t child_alive_ms(const struct child *c)
{
	return c->alive_ms;
}
