/*
 * Role link: what the three roles share of their side of descriptor 3.
 *
 * Setup is received blocking, before the role has a loop; everything after that comes through the
 * loop.  The serial of the newest ends of each conversation is remembered here, so that a role that
 * reports a broken one cannot cut off the ends that are already on their way to it.
 */
#include "proto/role_link.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "proto/codec.h"
#include "proto/greeting.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct peer {
	Role__RoleKind role;
	char *name;
	uint64_t serial;
	struct peer *next;
};

struct role_link {
	struct loop *loop;
	struct role_link_events events;
	void *arg;
	struct loop_watch *watch;
	struct loop_timer *alive;
	struct peer *peers;
	bool over;
	bool serving; /* inside a callback: stopping waits until it is back */
	bool stopped;
};

static cc_err receive(Role__LinkMessage **ret, int fds[LINK_FDS_MAX], size_t *ret_count)
{
	Role__LinkMessage *message = NULL;
	cc_blob packet = CC_BLOB_NONE;
	size_t count = 0;
	cc_err err = CC_OK;

	TRY(link_receive(LINK_FD, &packet, fds, &count));
	TRY(codec_decode(
		&role__link_message__descriptor, cc_blob_view(&packet), LINK_PACKET_MAX, &message));
	*ret = message;
	*ret_count = count;
	count = 0;
out:
	link_close(fds, count);
	cc_blob_free(&packet);
	return err;
}

static cc_err check_setup(const Role__Setup *setup, Role__RoleKind role, size_t fd_count)
{
	if (setup == NULL || setup->protocol != ROLE_LINK_PROTOCOL)
		return cc_fail(CC_PROTOCOL, "link: the first message is not a setup of protocol %d",
			ROLE_LINK_PROTOCOL);
	if (setup->role != role)
		return cc_fail(CC_PROTOCOL, "link: setup for a %s, this is a %s",
			greeting_role_name(setup->role), greeting_role_name(role));
	if (setup->n_descriptors != fd_count)
		return cc_fail(CC_PROTOCOL, "link: setup names %zu descriptors and came with %zu",
			setup->n_descriptors, fd_count);
	if (setup->name[0] == '\0' || setup->state_dir[0] != '/' || setup->build_id[0] == '\0')
		return cc_fail(CC_PROTOCOL, "link: setup lacks name, build id or state directory");
	return CC_OK;
}

static void init_log(const Role__Setup *setup)
{
	bool json = strcmp(setup->log_format, "json") == 0;
	uint32_t level = setup->log_level > LOG_ERROR_ ? LOG_ERROR_ : setup->log_level;
	const char *kind = greeting_role_name(setup->role);
	char *role = setup->role == ROLE__ROLE_KIND__ROLE_CA_RUNNER
			     ? cc_asprintf("%s/%s", kind, setup->name)
			     : cc_strdup(kind);

	log_init(role, json ? LOG_JSON : LOG_LOGFMT, (enum log_level)level);
	free(role);
}

cc_err role_link_setup(Role__RoleKind role, Role__Setup **ret, int fds[LINK_FDS_MAX])
{
	Role__LinkMessage *message = NULL;
	size_t count = 0;
	cc_err err = CC_OK;

	for (size_t i = 0; i < LINK_FDS_MAX; i++)
		fds[i] = -1;
	TRY(receive(&message, fds, &count));
	ENSURE(message->body_case == ROLE__LINK_MESSAGE__BODY_SETUP,
		cc_fail(CC_PROTOCOL, "link: the first message is not a setup"));
	TRY(check_setup(message->setup, role, count));
	init_log(message->setup);
	*ret = message->setup;
	message->setup = NULL;
	message->body_case = ROLE__LINK_MESSAGE__BODY__NOT_SET;
	count = 0;
out:
	link_close(fds, count);
	for (size_t i = 0; i < count; i++)
		fds[i] = -1;
	codec_free(message);
	return err;
}

int role_link_descriptor(const Role__Setup *setup, const int fds[LINK_FDS_MAX], const char *name)
{
	for (size_t i = 0; i < setup->n_descriptors && i < LINK_FDS_MAX; i++) {
		if (strcmp(setup->descriptors[i], name) == 0)
			return fds[i];
	}
	return -1;
}

cc_err role_link_user(const Role__Setup *setup)
{
	if (!setup->change_user)
		return sandbox_drop_capabilities();
	return sandbox_user(setup->uid, setup->gid, setup->groups, setup->n_groups);
}

/* ---- sending ---- */

cc_err role_link_send(const Role__LinkMessage *message)
{
	cc_blob packet = codec_pack(message);
	cc_err err = link_send(LINK_FD, cc_blob_view(&packet), NULL, 0);

	cc_blob_free(&packet);
	return err;
}

cc_err role_link_ready(cc_view approval_spki, int sandbox_abi)
{
	Role__LinkMessage message = ROLE__LINK_MESSAGE__INIT;
	Role__Ready ready = ROLE__READY__INIT;

	ready.approval_spki = codec_bytes(approval_spki);
	ready.sandbox_abi = sandbox_abi > 0 ? (uint32_t)sandbox_abi : 0;
	message.body_case = ROLE__LINK_MESSAGE__BODY_READY;
	message.ready = &ready;
	return role_link_send(&message);
}

static struct peer *find_peer(struct role_link *r, Role__RoleKind role, const char *name)
{
	struct peer *p = r->peers;

	while (p != NULL && (p->role != role || strcmp(p->name, name) != 0))
		p = p->next;
	return p;
}

cc_err role_link_lost(struct role_link *r, Role__RoleKind peer, const char *peer_name)
{
	Role__LinkMessage message = ROLE__LINK_MESSAGE__INIT;
	Role__ConversationLost lost = ROLE__CONVERSATION_LOST__INIT;
	const struct peer *known = find_peer(r, peer, peer_name);
	char *name = cc_strdup(peer_name);
	cc_err err;

	lost.peer = peer;
	lost.peer_name = name;
	lost.serial = known == NULL ? 0 : known->serial;
	message.body_case = ROLE__LINK_MESSAGE__BODY_CONVERSATION_LOST;
	message.conversation_lost = &lost;
	err = role_link_send(&message);
	free(name);
	return err;
}

/* ---- in the loop ---- */

static void free_link(struct role_link *r)
{
	while (r->peers != NULL) {
		struct peer *next = r->peers->next;
		free(r->peers->name);
		free(r->peers);
		r->peers = next;
	}
	free(r);
}

static void end(struct role_link *r, cc_err why)
{
	if (r->over)
		return;
	r->over = true;
	loop_unwatch(r->watch);
	r->watch = NULL;
	loop_timer_stop(r->alive);
	r->events.ended(r->arg, why);
}

static void note_conversation(struct role_link *r, const Role__Conversation *c)
{
	struct peer *p = find_peer(r, c->peer, c->peer_name);

	if (p == NULL) {
		p = cc_alloc(sizeof(*p));
		p->role = c->peer;
		p->name = cc_strdup(c->peer_name);
		p->next = r->peers;
		r->peers = p;
	}
	p->serial = c->serial;
}

static bool hand_over_end(
	struct role_link *r, const Role__Conversation *c, const int *fds, size_t count)
{
	note_conversation(r, c);
	if (count == 1 && r->events.conversation(r->arg, c, fds[0]))
		return true;
	log_event(EV_LINK_BROKEN, LV_TEXT("reason", "a conversation that this role does not have"),
		LV_TEXT("peer", c->peer_name));
	return false;
}

/* The descriptors are ours to close, but for an end that was handed over. */
static void hand_over(
	struct role_link *r, const Role__LinkMessage *message, const int *fds, size_t count)
{
	uint32_t grace_ms = 0;

	switch (message->body_case) {
	case ROLE__LINK_MESSAGE__BODY_CONVERSATION:
		if (hand_over_end(r, message->conversation, fds, count))
			return;
		break;
	case ROLE__LINK_MESSAGE__BODY_STOP:
		grace_ms = message->stop->grace_ms;
		r->events.stop(
			r->arg, grace_ms < ROLE_LINK_GRACE_MS ? grace_ms : ROLE_LINK_GRACE_MS);
		break;
	default:
		if (r->events.message != NULL)
			r->events.message(r->arg, message, fds, count);
		break;
	}
	link_close(fds, count);
}

static cc_err serve_one(struct role_link *r)
{
	Role__LinkMessage *message = NULL;
	int fds[LINK_FDS_MAX];
	size_t count = 0;
	cc_err err = receive(&message, fds, &count);

	if (err != CC_OK)
		return err;
	hand_over(r, message, fds, count);
	codec_free(message);
	return CC_OK;
}

static void on_readable(void *arg, unsigned ready)
{
	struct role_link *r = arg;
	cc_err err = CC_OK;

	(void)ready;
	r->serving = true;
	while (err == CC_OK && !r->stopped)
		err = serve_one(r);
	if (err != CC_AGAIN && !r->stopped)
		end(r, err);
	r->serving = false;
	if (r->stopped)
		free_link(r);
}

static void on_alive(void *arg)
{
	struct role_link *r = arg;
	Role__LinkMessage message = ROLE__LINK_MESSAGE__INIT;
	Role__Alive alive = ROLE__ALIVE__INIT;

	message.body_case = ROLE__LINK_MESSAGE__BODY_ALIVE;
	message.alive = &alive;
	/* a full link is the supervisor's fault or ours; its watchdog judges by what arrives */
	cc_ignore(role_link_send(&message), "a broken link is seen by reading it");
	loop_timer_set(r->alive, ROLE_LINK_ALIVE_MS);
}

cc_err role_link_start(
	struct loop *l, const struct role_link_events *events, void *arg, struct role_link **ret)
{
	struct role_link *r = NULL;
	int flags = fcntl(LINK_FD, F_GETFL);
	cc_err err = CC_OK;

	ENSURE(flags >= 0 && fcntl(LINK_FD, F_SETFL, flags | O_NONBLOCK) == 0,
		cc_fail_errno("link: non-blocking"));
	r = cc_alloc(sizeof(*r));
	r->loop = l;
	r->events = *events;
	r->arg = arg;
	TRY(loop_watch(l, LINK_FD, LOOP_READ, on_readable, r, &r->watch));
	r->alive = loop_timer_new(l, on_alive, r);
	loop_timer_set(r->alive, 0);
	*ret = r;
	r = NULL;
out:
	free(r);
	return err;
}

void role_link_stop(struct role_link *r)
{
	if (r == NULL)
		return;
	loop_unwatch(r->watch);
	r->watch = NULL;
	loop_timer_free(r->alive);
	r->alive = NULL;
	r->stopped = true;
	if (!r->serving)
		free_link(r);
}
