/*
 * One conversation: the channel, the calls that are in flight, and their time limits.
 *
 * Calls are few (some dozens at most), so they are a list in the order of their making, and one timer
 * serves the earliest limit.  A callback may make new calls and may cause a new end to be attached.
 */
#include "connector/peer.h"

#include "base/clock.h"
#include "base/log.h"
#include "proto/greeting.h"
#include <stdlib.h>

struct call {
	uint64_t id;
	int64_t until;
	peer_answer_fn fn;
	void *arg;
	struct call *next;
};

struct peer {
	struct loop *loop;
	const struct peer_kind *kind;
	const struct peer_events *events;
	void *arg;
	char *name;
	const char *build_id;
	struct chan *chan;
	bool greeted;
	uint64_t last_id;
	struct call *calls, **last_call;
	struct loop_timer *timer;
};

static void on_timer(void *arg);

struct peer *peer_new(struct loop *l, const struct peer_kind *kind, const char *name,
	const char *build_id, const struct peer_events *events, void *arg)
{
	struct peer *p = cc_alloc(sizeof *p);
	p->loop = l;
	p->kind = kind;
	p->events = events;
	p->arg = arg;
	p->name = cc_strdup(name);
	p->build_id = build_id;
	p->last_call = &p->calls;
	p->timer = loop_timer_new(l, on_timer, p);
	return p;
}

/* Those that are there now; what a callback adds is not ended with them. */
static void end_calls(struct peer *p, cc_err why)
{
	struct call *call = p->calls;
	p->calls = NULL;
	p->last_call = &p->calls;
	while (call != NULL) {
		struct call *next = call->next;
		call->fn(call->arg, cc_fail(why, "%s: the conversation ended", p->name), NULL);
		free(call);
		call = next;
	}
}

void peer_free(struct peer *p)
{
	if (p == NULL)
		return;
	chan_free(p->chan);
	p->chan = NULL;
	p->greeted = false;
	end_calls(p, CC_CLOSED);
	loop_timer_free(p->timer);
	free(p->name);
	free(p);
}

static void arm(struct peer *p)
{
	int64_t first = 0;
	for (struct call *call = p->calls; call != NULL; call = call->next) {
		if (first == 0 || call->until < first)
			first = call->until;
	}
	if (first == 0) {
		loop_timer_stop(p->timer);
		return;
	}
	int64_t in_ms = first - clock_boottime_ms();
	loop_timer_set(p->timer, in_ms > 0 ? in_ms : 0);
}

static void on_timer(void *arg)
{
	struct peer *p = arg;
	int64_t now = clock_boottime_ms();
	struct call *call = p->calls, *late = NULL, **late_last = &late;
	p->calls = NULL;
	p->last_call = &p->calls;
	while (call != NULL) {
		struct call *next = call->next;
		struct call ***to = call->until <= now ? &late_last : &p->last_call;
		call->next = NULL;
		**to = call;
		*to = &call->next;
		call = next;
	}
	while (late != NULL) {
		struct call *next = late->next;
		late->fn(late->arg, cc_fail(CC_TIMEOUT, "%s: no answer in time", p->name), NULL);
		free(late);
		late = next;
	}
	arm(p);
}

static struct call *take_call(struct peer *p, uint64_t id)
{
	struct call **link = &p->calls;
	while (*link != NULL && (*link)->id != id)
		link = &(*link)->next;
	struct call *call = *link;
	if (call == NULL)
		return NULL;
	*link = call->next;
	if (p->last_call == &call->next)
		p->last_call = link;
	return call;
}

static cc_err on_frame(void *arg, cc_view frame)
{
	struct peer *p = arg;
	void *answer = NULL;
	struct call *call;
	cc_err err = CC_OK;
	TRY(codec_decode(p->kind->answer, frame, CHAN_FRAME_MAX, &answer));
	if (p->events->seen != NULL)
		p->events->seen(p->arg, answer);
	call = take_call(p, p->kind->answer_id(answer));
	if (call != NULL)
		call->fn(call->arg, CC_OK, answer);
	free(call);
	if (p->events->handled != NULL)
		p->events->handled(p->arg);
	arm(p);
out:
	codec_free(answer);
	return err;
}

static void on_closed(void *arg, cc_err why)
{
	struct peer *p = arg;
	log_event(EV_CONVERSATION_LOST, LV_TEXT("peer", p->name), LV_ERR(why));
	chan_free(p->chan);
	p->chan = NULL;
	p->greeted = false;
	end_calls(p, CC_PEER_RESTARTED);
	arm(p);
	if (p->events->lost != NULL)
		p->events->lost(p->arg, why);
}

static cc_err on_greeting(void *arg, cc_view frame)
{
	struct peer *p = arg;
	cc_err err = greeting_check(frame, p->kind->role, p->name, p->build_id);
	if (err != CC_OK)
		return err;
	p->greeted = true;
	if (p->events->connected != NULL)
		p->events->connected(p->arg);
	return CC_OK;
}

void peer_attach(struct peer *p, int fd)
{
	static const struct chan_events chan_events = {.frame = on_frame, .closed = on_closed};
	cc_blob greeting = CC_BLOB_NONE;
	bool renewed = p->chan != NULL;
	chan_free(p->chan);
	p->chan = NULL;
	p->greeted = false;
	greeting = greeting_pack(ROLE__ROLE_KIND__ROLE_CONNECTOR, "connector", p->build_id);
	cc_err err = chan_new(
		p->loop, fd, &chan_events, p, cc_blob_view(&greeting), on_greeting, &p->chan);
	cc_blob_free(&greeting);
	if (renewed)
		end_calls(p, CC_PEER_RESTARTED);
	if (err != CC_OK) {
		log_event(EV_CONVERSATION_LOST, LV_TEXT("peer", p->name), LV_ERR(err));
		if (p->events->lost != NULL)
			p->events->lost(p->arg, err);
	}
}

bool peer_is_connected(const struct peer *p)
{
	return p->chan != NULL && p->greeted;
}

const char *peer_name(const struct peer *p)
{
	return p->name;
}

uint64_t peer_next_id(struct peer *p)
{
	return ++p->last_id;
}

cc_err peer_tell(struct peer *p, cc_view request)
{
	if (!peer_is_connected(p))
		return cc_fail(CC_UNREACHABLE, "%s: no conversation", p->name);
	return chan_send(p->chan, request);
}

cc_err peer_call(struct peer *p, uint64_t id, cc_view request, int64_t timeout_ms,
	peer_answer_fn fn, void *arg)
{
	cc_err err = peer_tell(p, request);
	if (err != CC_OK)
		return err;
	struct call *call = cc_alloc(sizeof *call);
	call->id = id;
	call->until = clock_boottime_ms() + timeout_ms;
	call->fn = fn;
	call->arg = arg;
	*p->last_call = call;
	p->last_call = &call->next;
	arm(p);
	return CC_OK;
}
