/*
 * Conversations: the list, and the renewal of each entry.
 *
 * Each pair of ends has a serial.  A loss is believed only for the newest serial: both sides report
 * the same break, and the second report must not void the ends that the first one brought.
 */
#include "connector/conversations.h"
#include "base/clock.h"
#include "base/log.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RENEW_PAUSE_MS 1000

struct conversation {
	struct conversations *all;
	struct child *side[2];
	bool up;
	uint64_t serial;
	int64_t passed_ms; /* boottime; 0: never */
	struct loop_timer *timer;
	struct conversation *next;
};

struct conversations {
	struct loop *loop;
	struct conversation *first;
};

static void pass_end(struct child *to, const struct child *peer, uint64_t serial, int fd)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__Conversation c = ROLE__CONVERSATION__INIT;
	char *name = cc_strdup(child_name(peer));

	c.peer = child_role(peer);
	c.peer_name = name;
	c.peer_pid = (uint32_t)child_pid(peer);
	c.serial = serial;
	m.body_case = ROLE__LINK_MESSAGE__BODY_CONVERSATION;
	m.conversation = &c;
	child_send(to, &m, &fd, 1);
	free(name);
}

static void renew(struct conversation *c)
{
	int64_t now = clock_boottime_ms();
	int fds[2];

	if (child_state(c->side[0]) != CHILD_READY || child_state(c->side[1]) != CHILD_READY)
		return;
	if (c->passed_ms != 0 && now - c->passed_ms < RENEW_PAUSE_MS) {
		loop_timer_set(c->timer, RENEW_PAUSE_MS - (now - c->passed_ms));
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
		log_event(EV_CONVERSATION_LOST, LV_TEXT("child", child_name(c->side[1])),
			LV_ERR(cc_fail_errno("socketpair")));
		loop_timer_set(c->timer, RENEW_PAUSE_MS);
		return;
	}
	c->up = true;
	c->serial++;
	c->passed_ms = now;
	pass_end(c->side[0], c->side[1], c->serial, fds[0]);
	pass_end(c->side[1], c->side[0], c->serial, fds[1]);
	close(fds[0]);
	close(fds[1]);
}

static void on_timer(void *arg)
{
	renew(arg);
}

struct conversations *conversations_new(struct loop *l)
{
	struct conversations *c = cc_alloc(sizeof(*c));

	c->loop = l;
	return c;
}

static void free_one(struct conversation *c)
{
	loop_timer_free(c->timer);
	free(c);
}

void conversations_free(struct conversations *c)
{
	if (c == NULL)
		return;
	while (c->first != NULL) {
		struct conversation *next = c->first->next;
		free_one(c->first);
		c->first = next;
	}
	free(c);
}

void conversations_permit(struct conversations *all, struct child *a, struct child *b)
{
	struct conversation *c = cc_alloc(sizeof(*c));

	c->all = all;
	c->side[0] = a;
	c->side[1] = b;
	c->timer = loop_timer_new(all->loop, on_timer, c);
	c->next = all->first;
	all->first = c;
	renew(c);
}

static bool has(const struct conversation *c, const struct child *child)
{
	return c->side[0] == child || c->side[1] == child;
}

void conversations_drop(struct conversations *all, const struct child *child)
{
	struct conversation **at = &all->first;

	while (*at != NULL) {
		struct conversation *c = *at;
		if (has(c, child)) {
			*at = c->next;
			free_one(c);
		} else {
			at = &c->next;
		}
	}
}

void conversations_child_changed(struct conversations *all, const struct child *child)
{
	for (struct conversation *c = all->first; c != NULL; c = c->next) {
		if (!has(c, child))
			continue;
		if (child_state(child) != CHILD_READY) {
			c->up = false;
			loop_timer_stop(c->timer);
		} else if (!c->up) {
			renew(c);
		}
	}
}

void conversations_lost(
	struct conversations *all, const struct child *child, const Role__ConversationLost *lost)
{
	for (struct conversation *c = all->first; c != NULL; c = c->next) {
		const struct child *peer = c->side[0] == child ? c->side[1] : c->side[0];
		if (!has(c, child) || child_role(peer) != lost->peer ||
			strcmp(child_name(peer), lost->peer_name) != 0)
			continue;
		if (!c->up || (lost->serial != 0 && lost->serial != c->serial))
			continue;
		c->up = false;
		log_event(EV_CONVERSATION_LOST, LV_TEXT("child", child_name(child)),
			LV_TEXT("peer", child_name(peer)));
		renew(c);
	}
}
