/*
 * Sessions of administrators: a few at a time, each a channel of its own.
 */
#include "keyvault/door_admin.h"
#include "base/chan.h"
#include "keyvault/dispatch.h"
#include "keyvault/door_connector.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SESSIONS_MAX 16

struct session {
	struct door_admin *door;
	struct chan *chan; /* NULL: this place is free */
	uint64_t number;
	uint32_t uid, pid;
};

struct door_admin {
	struct vault *vault;
	int listener;
	struct loop_watch *watch;
	uint32_t *refused;
	size_t refused_count;
	uint64_t numbers;
	struct session sessions[SESSIONS_MAX];
};

static void over(struct session *s)
{
	chan_free(s->chan);
	s->chan = NULL;
	s->number = 0;
}

static struct session *find_session(struct door_admin *d, uint64_t number)
{
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		if (d->sessions[i].number == number)
			return &d->sessions[i];
	return NULL;
}

static void reply(struct call *c)
{
	struct session *s = find_session(c->vault->admin, c->origin);

	if (c->change.counter != 0)
		door_connector_tell(
			c->vault->connector, c->change.counter, cc_blob_view(&c->change.record));
	if (s != NULL && s->chan != NULL)
		cc_ignore(chan_send(s->chan, cc_blob_view(&c->answer)), "the channel ends");
}

static cc_err on_frame(void *arg, cc_view frame)
{
	struct session *s = arg;
	struct call *c = NULL;
	cc_err err = dispatch_read_admin(s->door->vault, frame, &c);

	if (err != CC_OK) {
		log_event(EV_ADMIN_REFUSED, LV_U64("uid", s->uid), LV_U64("pid", s->pid),
			LV_ERR(err));
		return err;
	}
	c->origin = s->number;
	c->uid = s->uid;
	c->reply = reply;
	dispatch_start(c);
	return CC_OK;
}

static void on_closed(void *arg, cc_err why)
{
	(void)why;
	over(arg);
}

static const struct chan_events events = {.frame = on_frame, .closed = on_closed};

static bool is_refused(const struct door_admin *d, uint32_t pid)
{
	if (pid == 0 || pid == (uint32_t)getpid())
		return true;
	for (size_t i = 0; i < d->refused_count; i++)
		if (d->refused[i] == pid)
			return true;
	return false;
}

static cc_err let_in(struct door_admin *d, int fd, const struct ucred *peer)
{
	struct session *s = find_session(d, 0);
	cc_err err = CC_OK;

	ENSURE(!is_refused(d, (uint32_t)peer->pid),
		cc_fail(CC_DENIED, "the process is one of the daemon's own roles"));
	ENSURE(s, cc_fail(CC_BUSY, "too many sessions"));
	*s = (struct session){.door = d, .uid = peer->uid, .pid = (uint32_t)peer->pid};
	err = chan_new(d->vault->loop, fd, &events, s, CC_VIEW_NONE, NULL, &s->chan);
	fd = -1; /* the channel's now, also when it failed */
	TRY(err);
	s->number = ++d->numbers;
out:
	if (fd >= 0)
		close(fd);
	return err;
}

static void accept_one(void *arg, unsigned ready)
{
	struct door_admin *d = arg;
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);
	int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)ready;
	if (fd < 0)
		return; /* gone again, or a limit: the listener stays readable */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
		close(fd);
		return;
	}
	cc_err err = let_in(d, fd, &peer);
	if (err != CC_OK)
		log_event(EV_ADMIN_REFUSED, LV_U64("uid", peer.uid),
			LV_U64("pid", (uint64_t)peer.pid), LV_ERR(err));
}

cc_err door_admin_new(struct vault *v, int listener, struct door_admin **ret)
{
	struct door_admin *d = cc_alloc(sizeof(*d));
	cc_err err = CC_OK;

	d->vault = v;
	d->listener = listener;
	if (listener >= 0)
		TRY(loop_watch(v->loop, listener, LOOP_READ, accept_one, d, &d->watch));
	*ret = d;
	d = NULL;
out:
	door_admin_free(d);
	return err;
}

void door_admin_free(struct door_admin *d)
{
	if (d == NULL)
		return;
	loop_unwatch(d->watch);
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		over(&d->sessions[i]);
	free(d->refused);
	free(d);
}

void door_admin_refuse(struct door_admin *d, const uint32_t *pids, size_t count)
{
	free(d->refused);
	d->refused = cc_alloc((count + 1) * sizeof(*d->refused));
	memcpy(d->refused, pids, count * sizeof(*pids));
	d->refused_count = count;
	/* Whoever came before the supervisor could name it. */
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		if (d->sessions[i].chan != NULL && is_refused(d, d->sessions[i].pid))
			over(&d->sessions[i]);
}
