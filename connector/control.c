/*
 * Operators' connections: few, short, one question at a time.  A connection that says nothing is ended
 * after a while, so that the few places are not taken for ever.
 */
#include "connector/control.h"

#include "base/chan.h"
#include "base/log.h"
#include "proto/codec.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS_MAX = 8, REQUEST_MAX = 4096, IDLE_MS = 60 * 1000 };

struct client {
	struct control *control;
	struct chan *chan;
	struct loop_timer *idle;
	uid_t uid;
};

struct control {
	struct loop *loop;
	int listener;
	struct loop_watch *watch;
	struct status *status;
	const struct flow *flow;
	const struct control_events *events;
	void *arg;
	struct client clients[CLIENTS_MAX];
};

static void clear_client(struct client *c)
{
	chan_free(c->chan);
	c->chan = NULL;
	loop_timer_free(c->idle);
	c->idle = NULL;
}

static cc_err answer(struct client *c, uint64_t request_id, cc_err result)
{
	Control__ControlAnswer a = CONTROL__CONTROL_ANSWER__INIT;
	cc_blob packed = CC_BLOB_NONE;
	a.request_id = request_id;
	a.ok = result == CC_OK;
	if (!a.ok)
		a.error = codec_text(cc_err_detail(result));
	packed = codec_pack(&a);
	cc_err err = chan_send(c->chan, cc_blob_view(&packed));
	cc_blob_free(&packed);
	return err;
}

static cc_err serve(struct client *c, const Control__ControlRequest *request)
{
	struct control *k = c->control;
	cc_blob packed = CC_BLOB_NONE;
	cc_err err = CC_OK;
	switch (request->op_case) {
	case CONTROL__CONTROL_REQUEST__OP_STATUS:
		packed = status_answer(k->status, k->flow, request->request_id);
		err = chan_send(c->chan, cc_blob_view(&packed));
		cc_blob_free(&packed);
		return err;
	case CONTROL__CONTROL_REQUEST__OP_DRAIN:
		log_event(EV_OPERATOR_REQUEST, LV_TEXT("request", "drain"), LV_U64("uid", c->uid));
		k->events->drain(k->arg);
		return answer(c, request->request_id, CC_OK);
	case CONTROL__CONTROL_REQUEST__OP_RELOAD:
		log_event(EV_OPERATOR_REQUEST, LV_TEXT("request", "reload"), LV_U64("uid", c->uid));
		return answer(c, request->request_id, k->events->reload(k->arg));
	case CONTROL__CONTROL_REQUEST__OP_RESUME_CA:
		log_event(EV_OPERATOR_REQUEST, LV_TEXT("request", "ca resume"),
			LV_U64("uid", c->uid));
		return answer(c, request->request_id,
			k->events->resume_ca(k->arg, codec_view(request->resume_ca->name)));
	case CONTROL__CONTROL_REQUEST__OP_ADOPT:
		log_event(EV_OPERATOR_REQUEST, LV_TEXT("request", "journal adopt"),
			LV_U64("uid", c->uid));
		return answer(c, request->request_id, k->events->adopt(k->arg));
	default:
		return answer(c, request->request_id, cc_fail(CC_NOT_SUPPORTED, "unknown request"));
	}
}

static cc_err on_frame(void *arg, cc_view frame)
{
	struct client *c = arg;
	Control__ControlRequest *request = NULL;
	cc_err err = CC_OK;
	TRY(codec_decode(&control__control_request__descriptor, frame, REQUEST_MAX, &request));
	loop_timer_set(c->idle, IDLE_MS);
	TRY(serve(c, request));
out:
	codec_free(request);
	return err;
}

static void on_closed(void *arg, cc_err why)
{
	(void)why; /* tools come and go */
	clear_client(arg);
}

static void on_idle(void *arg)
{
	clear_client(arg);
}

static struct client *free_client(struct control *k)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		if (k->clients[i].chan == NULL)
			return &k->clients[i];
	}
	return NULL;
}

static void on_connection(void *arg, unsigned ready)
{
	static const struct chan_events chan_events = {.frame = on_frame, .closed = on_closed};
	struct control *k = arg;
	struct ucred who = {0};
	socklen_t size = sizeof who;
	int fd = accept4(k->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	(void)ready;
	if (fd < 0)
		return; /* gone again, or a limit: the listener stays readable */
	struct client *c = free_client(k);
	if (c == NULL || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) {
		close(fd);
		return;
	}
	c->control = k;
	c->uid = who.uid;
	if (chan_new(k->loop, fd, &chan_events, c, CC_VIEW_NONE, NULL, &c->chan) != CC_OK) {
		c->chan = NULL;
		return;
	}
	c->idle = loop_timer_new(k->loop, on_idle, c);
	loop_timer_set(c->idle, IDLE_MS);
}

cc_err control_new(struct loop *l, int listener, struct status *status, const struct flow *f,
	const struct control_events *events, void *arg, struct control **ret)
{
	struct control *k = cc_alloc(sizeof *k);
	cc_err err = CC_OK;
	k->loop = l;
	k->listener = listener;
	k->status = status;
	k->flow = f;
	k->events = events;
	k->arg = arg;
	ENSURE(fcntl(listener, F_SETFL, O_NONBLOCK) == 0, cc_fail_errno("control-socket"));
	TRY(loop_watch(l, listener, LOOP_READ, on_connection, k, &k->watch));
	*ret = k;
	k = NULL;
out:
	control_free(k);
	return err;
}

void control_free(struct control *c)
{
	if (c == NULL)
		return;
	loop_unwatch(c->watch);
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		clear_client(&c->clients[i]);
	free(c);
}
